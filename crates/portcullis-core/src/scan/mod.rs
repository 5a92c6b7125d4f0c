//! From packets to probes: what a packet is (`classify`), who is remembered ([`sources`]), how a capture answers
//! "is a service there?" (`answers`), and what one scan adds up to ([`incidents`]).
//!
//! Called by the engine, in this order, for each packet that is for us.

pub(crate) mod answers;
pub(crate) mod classify;
pub mod incidents;
pub mod sources;

use std::net::IpAddr;

use crate::door::Mark;
use crate::event::Kind;
use crate::net::Endpoint;
use crate::time::Now;
use crate::wire::TcpFlags;

/// A packet that is a probe if nothing answers at its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Who claims to have sent it.
    pub source: IpAddr,
    /// From which port.
    pub source_port: u16,
    /// What it was aimed at. With [`Kind::Hidden`] transport and port stand for one that can't be read: the port only
    /// tells such contacts apart.
    pub target: Endpoint,
    /// How it looks.
    pub kind: Kind,
    /// The TCP flags that it carried; none where it was no TCP packet (a datagram, a connection taken by a socket).
    pub flags: TcpFlags,
    /// Whether its IPv4 header carried options.
    pub has_ip_options: bool,
    /// The interface it came in by, 0 where there is none (a capture).
    pub interface: u32,
}

impl Contact {
    /// Whether its flags alone prove a probe, whatever listens there: no stack sends FIN, nothing, or FIN, PSH and
    /// URG to open a connection, and a segment of a connection carries ACK (RFC 9293 §3.10.7). Nor does one hide its
    /// ports.
    #[must_use]
    pub fn is_proved_by_flags(&self) -> bool {
        matches!(self.kind, Kind::Fin | Kind::Null | Kind::Xmas | Kind::Flags | Kind::Hidden)
    }
}

/// How sure it is that a contact was no answer to something of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It began of itself.
    Firm,
    /// Nothing answered, in a capture that shows no answers at all.
    Unanswered,
    /// It may be a late answer: UDP to the local ephemeral range. Erring towards doubt costs a later verdict on a
    /// scanner; erring the other way costs a friend.
    Doubtful,
}

/// A contact that found nothing: evidence against its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What came.
    pub contact: Contact,
    /// When.
    pub at: Now,
    /// How much it proves.
    pub weight: Weight,
    /// The door's step that it was, or could have been: no record shows its port.
    pub mark: Option<Mark>,
}
