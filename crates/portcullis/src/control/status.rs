//! What `status` tells: one flat object, the same for people and for programs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The state of the running program. What is not known is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Its process number.
    pub process: u32,
    /// Since when it runs, RFC 3339.
    pub since: String,
    /// `observe` or `enforce`.
    pub mode: String,
    /// Who said so: `configuration`, `command line`, `by hand`, `built-in default`.
    pub mode_by: String,
    /// Until when; left out where it has no end. Then the other mode holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_until: Option<String>,
    /// The configuration file; left out with the built-in defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// `ring` or `listen`.
    pub engine: String,
    /// What it watches now.
    pub interfaces: Vec<String>,
    /// Packets that the filter let through to the program; 0 with `listen`, which sees none.
    pub packets: u64,
    /// Packets that the kernel dropped because the ring was full.
    pub dropped: u64,
    /// Packets that could not be read, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
    /// Probes that counted.
    pub probes: u64,
    /// Sources that are remembered now.
    pub sources: u64,
    /// Sources that were forgotten because the table was full.
    pub forgotten: u64,
    /// Scans that were reported.
    pub scans: u64,
    /// Bans that hold; holds are counted apart.
    pub bans: u64,
    /// Sources that are held: their address is not proved.
    #[serde(default)]
    pub held: u64,
    /// Of both, not (yet) acknowledged by the kernel.
    pub bans_not_in_force: u64,
    /// Of these, not (yet) in the store.
    pub bans_unsaved: u64,
    /// While the brake is on: whom it has kept back. Left out while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brake: Option<Vec<String>>,
    /// Scanners that were spared: protected, or nobody's own address.
    #[serde(default)]
    pub spared: u64,
    /// Allowances made by hand.
    pub allowances: u64,
    /// Who is never blocked, beside this host's own addresses and the allow lists: at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protected: Vec<ProtectedFields>,
    /// What doors shut to strangers, whatever the mode: `tcp/22`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shut: Vec<String>,
    /// While observing: sources that would have been banned since the start, or since the line of the day was told;
    /// at most 16,384.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_have_banned: Option<u64>,
    /// Of these, those that this host has a TCP connection with now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_have_banned_peers: Option<u64>,
    /// Records that were left out because the slow path could not follow.
    pub records_left_out: u64,
    /// Events that were kept since the start.
    pub events_kept: u64,
    /// Events that were not, since there were too many at once or the disk was full.
    pub events_lost: u64,
    /// Bytes that the events take.
    pub events_bytes: u64,
    /// Other instances that answer beside this one; known to who asks, not to the daemon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// Kinds of scans that can't be seen now, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
    /// What is wrong now, one sentence each, with the way to mend it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// Somebody who is never blocked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProtectedFields {
    /// Who.
    pub prefix: String,
    /// Completes "… is".
    pub why: String,
}
