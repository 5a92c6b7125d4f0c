//! How PortSentry wrote things down, byte for byte: syslog lines, the history file, the blocked file. Scripts, fail2ban
//! filters and logcheck rules of twenty years read them.
//!
//! Called by the slow path of a persona, through [`Writer`] alone. An event passes three stations: [`names`] (who is
//! it?), [`order`] (lines of one source stand as the synchronous original wrote them, and nothing is called blocked
//! before it is), and then the places: [`syslog`], [`screen`], [`history`], [`blocked`]. [`words`] has every text.

pub(in crate::record) mod append;
pub mod blocked;
pub mod history;
pub mod names;
pub mod order;
pub mod screen;
pub mod syslog;
pub(in crate::record) mod time;
pub mod words;
mod writer;

use std::net::IpAddr;

use portcullis_core::net::Protocol;
use portcullis_core::time::Wall;

use crate::config::portsentry::StartMode;

pub use self::append::Notice;
pub use self::blocked::{BlockedFile, blocked_path};
pub use self::writer::{Settings, Writer};

/// Whose words are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// PortSentry 1.2 in one of its six modes.
    One(StartMode),
    /// PortSentry 2.x.
    Two,
}

/// One event, as the engine told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attack {
    /// When the packet came.
    pub time: Wall,
    /// From whom.
    pub source: IpAddr,
    /// TCP or UDP; PortSentry knew nothing else.
    pub protocol: Protocol,
    /// The port that was asked for.
    pub port: u16,
    /// What was seen.
    pub seen: Seen,
    /// What becomes of it.
    pub fate: AttackFate,
}

/// What was seen of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A packet (stealth modes).
    Packet {
        /// The flags byte of TCP (RFC 9293 §3.1, with ECE and CWR of RFC 3168); 0 for UDP.
        flags: u8,
        /// Whether the IPv4 header had options; none with IPv6, which has no such field.
        has_ip_options: Option<bool>,
    },
    /// A finished connection or a datagram at a socket of ours (connect modes).
    Connection,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttackFate {
    /// Its source is on the ignore list.
    Ignored,
    /// `SCAN_TRIGGER` is not reached.
    BelowTrigger,
    /// Its source is this host, or otherwise one that is never blocked.
    Local,
    /// `BLOCK_TCP` or `BLOCK_UDP` is 0.
    LogOnly {
        /// Whether it is the first of this source; PortSentry 1.2 writes its files then (measured).
        is_first: bool,
    },
    /// Responses were begun because of it.
    Blocking,
    /// Its source is blocked already, or about to be.
    AlreadyBlocked,
}

/// A step of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `KILL_HOSTS_DENY`.
    HostsDeny,
    /// `KILL_ROUTE`.
    Route,
    /// `KILL_RUN_CMD`.
    Command,
    /// Our own nftables set, which no PortSentry had.
    Set,
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepDone {
    /// Which.
    pub step: Step,
    /// The line as it stands in hosts.deny, the command as it was run, or the name of the set.
    pub text: String,
    /// Whether it succeeded, and if not, why.
    pub result: Result<(), String>,
}

/// How all steps for a source ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is blocked.
    Blocked,
    /// It is blocked still, or again, and the files name it since then.
    Restored,
    /// It is not; when it is tried again, the outcome is told again.
    Failed {
        /// Why, in one sentence; may be empty where the steps have said it.
        why: String,
    },
}
