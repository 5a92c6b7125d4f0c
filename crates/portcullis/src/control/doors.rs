//! Doors on the wire, as `doors` lists them.

use portcullis_core::door::{Door, Lock, Mode, Opening};
use serde::{Deserialize, Serialize};

use crate::doctor::Finding;
use crate::record::json;

/// A door and its openings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DoorFields {
    /// Its name.
    pub door: String,
    /// `sequence`, `one-time`, `rotating` or `spa`.
    pub kind: String,
    /// `act` or `observe`.
    pub mode: String,
    /// What is behind it: `tcp/22, udp/51820`; empty where it only runs commands.
    pub opens: String,
    /// How many sequences are left; told of one-time doors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequences_left: Option<usize>,
    /// For whom it is open.
    pub openings: Vec<OpeningFields>,
}

/// One opening.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpeningFields {
    /// For whom.
    pub source: String,
    /// Since when.
    pub since: String,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What opened it: a kind of door, or `operator`.
    pub by: String,
    /// Whose key that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `in force`, `pending` or `not in force`.
    pub state: String,
    /// What was found when the door was tried for the guest: whether he comes to what is behind it. Empty until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub way: Vec<Finding>,
}

impl DoorFields {
    /// `door` with those of `openings` that are its own.
    #[must_use]
    pub fn of<'a>(door: &Door, openings: impl Iterator<Item = &'a Opening>) -> DoorFields {
        let opens = door.opens.iter().flat_map(|(protocol, ports)| {
            let each = ports.ranges().iter().map(move |(low, high)| match low == high {
                true => format!("{}/{low}", protocol.name()),
                false => format!("{}/{low}-{high}", protocol.name()),
            });
            each.collect::<Vec<String>>()
        });
        DoorFields {
            door: door.name.to_string(),
            kind: door.lock.by().name().to_owned(),
            mode: if door.mode == Mode::Act { "act" } else { "observe" }.to_owned(),
            opens: opens.collect::<Vec<String>>().join(", "),
            sequences_left: match &door.lock {
                Lock::OneTime(sequences) => Some(sequences.sequences.len()),
                _ => None,
            },
            openings: openings.filter(|own| own.name == door.name).map(OpeningFields::of).collect(),
        }
    }
}

impl OpeningFields {
    fn of(opening: &Opening) -> OpeningFields {
        OpeningFields {
            source: opening.address.to_string(),
            since: json::time(opening.since),
            until: opening.until.map(json::time),
            by: opening.by.name().to_owned(),
            user: opening.user.as_ref().map(ToString::to_string),
            state: opening.state.words().to_owned(),
            way: Vec::new(),
        }
    }
}
