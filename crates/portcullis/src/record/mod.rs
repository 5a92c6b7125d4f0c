//! What happened, kept and told: the readable log and the lines of JSON for those who watch, the events for those who ask
//! later, the store for the next start.
//!
//! Called by the daemon's slow path and by `replay`. The engine's records and the program's own notes meet in
//! [`LogEvent`], which has two renderings: [`json::Line`] and [`log`].

pub mod events;
pub mod json;
pub mod knockd;
pub mod log;
pub mod portsentry;
pub mod store;
pub mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;

use portcullis_core::event::{Record, What};
use portcullis_core::time::Wall;
use serde::Serialize;

use crate::doctor::Finding;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEvent {
    /// When it happened.
    pub time: Wall,
    /// What happened.
    pub told: Told,
}

/// What the engine saw or did, or what the program has to say of itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// The engine's.
    Seen(What),
    /// The program watches from now on.
    Start(Start),
    /// It has ended.
    Stop {
        /// Why: a signal's name, or the fault that ended it.
        why: String,
    },
    /// The configuration was read anew and holds.
    Reload {
        /// What is different now, one sentence each.
        changes: Vec<String>,
    },
    /// Only told from now on.
    Observe {
        /// Who said so.
        by: String,
    },
    /// Blocked from now on.
    Enforce {
        /// Who said so.
        by: String,
    },
    /// Something has changed, and nobody has to do anything about it.
    Notice {
        /// What.
        what: String,
    },
    /// Something is wrong that a person should know.
    Fault {
        /// What, where and why.
        why: String,
        /// How to mend it; may be empty.
        mend: String,
    },
    /// A door was opened, and its guest does not come to what is behind it.
    Stuck(Stuck),
    /// Lines are missing here, because there were too many at once.
    LeftOut {
        /// How many.
        lines: u64,
    },
    /// Numbers, at the end of a replay or after a day.
    Summary(Summary),
}

/// What stands between an open door and its guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The door's name.
    pub door: String,
    /// The guest.
    pub source: IpAddr,
    /// What was found.
    pub finding: Finding,
}

/// How the program began.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Start {
    /// The program's version.
    pub version: String,
    /// `observe` or `enforce`.
    pub mode: String,
    /// `ring` or `listen`.
    pub engine: String,
    /// What it watches.
    pub interfaces: Vec<String>,
    /// The configuration file; none with the built-in defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// How many bans of the last run hold on.
    pub bans: u64,
    /// What doors shut to strangers, whatever the mode: `tcp/22`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shut: Vec<String>,
    /// How the packets of doors of the kind `spa` come in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single_packets: Option<SinglePackets>,
}

/// How single packets come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SinglePackets {
    /// `wire`: seen there, and no port is open. `socket`: the ports are open.
    pub by: &'static str,
    /// The ports that they are sent to: `udp/62201`.
    pub ports: String,
}

/// Numbers that sum up a capture or a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Packets that were read.
    pub packets: u64,
    /// Seconds from the first packet to the last, or of the while that is summed up.
    pub seconds: f64,
    /// Sources whose probes counted; told by a replay only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<u64>,
    /// Sources that were held to be scanners; who scanned again after a pause counts again.
    pub scanners: u64,
    /// Packets that the kernel dropped before they were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// Packets that could not be read, by reason.
    pub faults: BTreeMap<String, u64>,
    /// While observing: how many would have been banned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_have_banned: Option<u64>,
    /// Of these, those that this host has a TCP connection with now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_have_banned_peers: Option<u64>,
}

impl From<Record> for LogEvent {
    fn from(record: Record) -> LogEvent {
        LogEvent { time: record.time, told: Told::Seen(record.what) }
    }
}
