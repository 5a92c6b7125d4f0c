//! From packets to probes: what a packet is (`classify`), who is remembered ([`sources`]), how a capture answers
//! "is a service there?" (`answers`), who asks many addresses (`sweeps`), who scans together
//! (`patterns`), and what one scan adds up to ([`incidents`]).
//!
//! Called by the engine, in this order, for each packet that is for us.

pub(crate) mod answers;
pub(crate) mod classify;
pub mod incidents;
pub(crate) mod patterns;
pub mod sources;
pub(crate) mod sweeps;

use std::net::IpAddr;

pub use classify::{FIRST_CHOSEN_PORT, is_spoken};
pub use sweeps::MANY as MANY_PINGED;

use crate::door::Mark;
use crate::event::Kind;
use crate::net::{Endpoint, Protocol};
use crate::time::Now;
use crate::wire::TcpFlags;

/// A packet that is a probe if nothing answers at its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Who claims to have sent it.
    pub source: IpAddr,
    /// From which port.
    pub source_port: u16,
    /// What it was aimed at. Where [`Contact::is_out_of_sight`], transport and port stand for one that can't be read:
    /// the port only tells such contacts apart.
    pub target: Endpoint,
    /// How it looks.
    pub kind: Kind,
    /// The TCP flags that it carried; none where it was no TCP packet (a datagram, a connection taken by a socket).
    pub flags: TcpFlags,
    /// Whether its IPv4 header carried options.
    pub has_ip_options: bool,
    /// Whether its transport header came in pieces, as no honest sender cuts it.
    pub is_cut_up: bool,
    /// What else tells its sender from others.
    pub fingerprint: Fingerprint,
    /// The interface it came in by, 0 where there is none (a capture).
    pub interface: u32,
}

/// What a packet shows of whoever made it, besides what it asks for. Packets of one tool are alike here, also those
/// that it sends under other names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint {
    /// Time to live or hop limit as it arrived; 0 where it is not known.
    pub hop_limit: u8,
    /// TCP's sequence number, otherwise 0. A stack draws it anew for each connection (RFC 6528).
    pub sequence: u32,
    /// The window that a TCP segment offers, otherwise 0.
    pub window: u16,
    /// Bytes of its TCP header, which tell how many options it has; otherwise 0.
    pub header_length: u8,
}

impl Contact {
    /// Whether it alone proves a probe, whatever listens there: no stack sends FIN, nothing, or FIN, PSH and URG to open
    /// a connection, and a segment of a connection carries ACK (RFC 9293 §3.10.7). Nor does one hide its ports, or cut a
    /// TCP header: the smallest packet that a link must carry has room for it (RFC 791 §3.1: 68 bytes).
    #[must_use]
    pub fn is_proved_by_flags(&self) -> bool {
        match self.kind {
            Kind::Fin | Kind::Null | Kind::Xmas | Kind::Flags | Kind::Fragments => true,
            _ => self.is_cut_up && self.target.protocol == Protocol::Tcp,
        }
    }

    /// Whether nobody can say to which port it went.
    #[must_use]
    pub fn is_out_of_sight(&self) -> bool {
        self.kind == Kind::Fragments
    }

    /// Whether its target has a port that a record may name.
    #[must_use]
    pub fn has_port(&self) -> bool {
        !self.is_out_of_sight() && !matches!(self.kind, Kind::IpProtocol | Kind::IcmpSweep)
    }

    /// Whether it can only be judged by what went before it: it looks like a part of a conversation.
    #[must_use]
    pub fn is_mid_conversation(&self) -> bool {
        matches!(self.kind, Kind::Ack | Kind::Maimon)
    }

    /// Whether nobody but its source can have sent it: a handshake was finished with a number that we chose. All
    /// others can be forged, and a RST that answers our SYN-ACK proves nothing, since its number is the sender's (RFC
    /// 9293 §3.10.7).
    #[must_use]
    pub fn proves_its_source(&self) -> bool {
        self.kind == Kind::Connect
    }
}

/// How sure it is that a contact was no answer to something of ours, surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It began of itself.
    Firm,
    /// Nothing answered, in a capture that shows no answers at all.
    Unanswered,
    /// It may be a late answer: UDP to the local ephemeral range. Erring towards doubt costs a later verdict on a
    /// scanner; erring the other way costs a friend.
    Doubtful,
    /// A service answered, and the handshake was broken off without a word. Many a client does so once; only over many
    /// addresses it is evidence.
    HalfOpen,
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
