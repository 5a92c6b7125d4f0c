//! Bytes to packets: the first station. Never panics, never allocates for a packet (only a fragment may open a
//! bounded table entry), and refuses by a counted [`Refusal`], which is a reason and not an error.
//!
//! Called by the engine for live frames and for captures alike; [`Decoder::decode`] is the door.

mod budget;
#[cfg(any(test, feature = "build"))]
pub mod build;
mod checksum;
mod extension;
mod fragments;
mod icmp;
mod ipv4;
mod ipv6;
mod link;
mod ranges;
mod read;
mod refusal;
mod sctp;
mod tcp;
mod transport;
mod udp;

use std::net::IpAddr;

pub use extension::MAXIMUM_EXTENSION_HEADERS;
pub use fragments::{BYTES_KEPT, FragmentLimits};
pub use ipv6::REACH;
pub use link::MAXIMUM_VLAN_TAGS;
pub use refusal::{Refusal, Refusals};

use crate::time::Mono;
use fragments::Fragments;
use link::Version;

/// Bytes to packets. Keeps the fragments of datagrams under way and counts what it refuses; everything else of a
/// packet is forgotten with it.
#[derive(Debug)]
pub struct Decoder {
    fragments: Fragments,
    refusals: Refusals,
    /// Of the next packet whose ports are hidden.
    hidden: u16,
}

impl Decoder {
    /// `secret` keys the table of fragments, so that no stranger can aim at a place in it; draw it at random.
    #[must_use]
    pub fn new(limits: FragmentLimits, secret: [u8; 16]) -> Decoder {
        Decoder { fragments: Fragments::new(limits, &secret), refusals: Refusals::default(), hidden: 1 }
    }

    /// The packet in `frame`, or why there is none.
    ///
    /// A datagram in fragments gives one packet, by the frame that completes its transport header; the others are
    /// [`Refusal::FragmentPending`] before and [`Refusal::FragmentRest`] afterwards. Its transport checksum is
    /// verified if all of it has come by then. `now` matters to fragments only, and may step back.
    ///
    /// # Errors
    ///
    /// The reason why the frame gave no packet. It is counted already.
    #[inline]
    pub fn decode<'a>(&'a mut self, now: Mono, frame: Frame<'a>) -> Result<Packet<'a>, Refusal> {
        let mut outcome = match link::network(&frame) {
            Ok((Version::V4, rest)) => ipv4::decode(&mut self.fragments, now, rest),
            Ok((Version::V6, rest)) => ipv6::decode(&mut self.fragments, now, rest),
            Err(refusal) => Err(refusal),
        };
        match &mut outcome {
            Ok(Packet { transport: Transport::Hidden { number }, .. }) => {
                *number = self.hidden;
                self.hidden = self.hidden.checked_add(1).unwrap_or(1);
            }
            Ok(_) => {}
            Err(refusal) => self.refusals.add(*refusal),
        }
        outcome
    }

    /// How many frames were refused so far, by reason.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// How many fragmented datagrams lost their place in the table to others before they were told of. More than a
    /// few mean that somebody floods with fragments, or that [`FragmentLimits::datagrams`] is too small.
    #[must_use]
    pub fn evicted_datagrams(&self) -> u64 {
        self.fragments.evicted()
    }
}

/// What stands at the start of a frame's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// IEEE 802.3 header, perhaps with 802.1Q / 802.1ad tags behind it.
    Ethernet,
    /// Linux cooked capture, version 1 (`LINKTYPE_LINUX_SLL`, 113).
    CookedV1,
    /// Linux cooked capture, version 2 (`LINKTYPE_LINUX_SLL2`, 276).
    CookedV2,
    /// An IPv4 or IPv6 header at once, told apart by its version (`LINKTYPE_RAW`, 101).
    RawIp,
    /// BSD loopback: four bytes of address family in either byte order (`LINKTYPE_NULL`, 0, and `_LOOP`, 108).
    Null,
    /// The kernel has taken the link header off and told the EtherType (`AF_PACKET`, `SOCK_DGRAM`).
    Network {
        /// In host byte order: 0x0800, 0x86dd, or a VLAN tag's where an inner tag is left.
        ethertype: u16,
    },
}

/// What is known of a frame's transport checksum before looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// Nothing: verify what can be verified.
    Verify,
    /// Nothing, because a capture file can't tell: verify it, but take what looks unfinished for unfinished. That is
    /// a transport checksum that covers nothing but the pseudo header, and an IPv4 header checksum of 0. Otherwise
    /// a capture taken on the sending host, or in front of a virtual one, would lose what was sent there.
    Recorded,
    /// Somebody has verified it already (`TP_STATUS_CSUM_VALID`).
    Valid,
    /// The sender left it unfinished because no wire was to be crossed (`TP_STATUS_CSUMNOTREADY`).
    Unfinished,
}

/// One frame as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What the bytes begin with.
    pub link: Link,
    /// The captured bytes, perhaps fewer than were on the wire.
    pub bytes: &'a [u8],
    /// How many bytes were on the wire, counted as `bytes` counts.
    pub wire_length: usize,
    /// What is known of the transport checksum.
    pub checksums: Checksums,
}

/// A packet, as far as judging needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Who claims to have sent it (never IPv4-mapped).
    pub source: IpAddr,
    /// Whom it is for (never IPv4-mapped).
    pub destination: IpAddr,
    /// Time to live or hop limit.
    pub hop_limit: u8,
    /// Whether an IPv4 header carries options (header longer than 20 bytes).
    pub has_ip_options: bool,
    /// Whether it came in fragments.
    pub is_fragmented: bool,
    /// Whether its transport header came in more than one fragment, or fragments contradict each other: no honest
    /// sender cuts it so.
    pub is_cut_up: bool,
    /// The transport.
    pub transport: Transport<'a>,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// RFC 9293.
    Tcp(Tcp),
    /// RFC 768.
    Udp {
        /// Sender's port.
        source_port: u16,
        /// Receiver's port.
        destination_port: u16,
        /// The datagram's content, as far as it was captured; of one in fragments only what came with the first
        /// [`BYTES_KEPT`] bytes.
        payload: &'a [u8],
    },
    /// RFC 9260.
    Sctp {
        /// Sender's port.
        source_port: u16,
        /// Receiver's port.
        destination_port: u16,
        /// 0 on INIT; otherwise the number that the receiver chose.
        verification_tag: u32,
        /// Type of the first chunk: 1 INIT, 2 INIT ACK, 6 ABORT, 10 COOKIE ECHO.
        first_chunk: u8,
    },
    /// RFC 792 and RFC 4443; the packet's family tells which.
    Icmp {
        /// ICMP or ICMPv6 type.
        kind: u8,
        /// Its code.
        code: u8,
        /// The packet that an error message complains of.
        quoted: Option<Quoted>,
    },
    /// The ports can't be read: more IPv6 extension headers than [`MAXIMUM_EXTENSION_HEADERS`], or longer ones than
    /// what is captured (at least [`REACH`] bytes of the packet) or kept of a fragmented datagram ([`BYTES_KEPT`]);
    /// or fragments that contradict each other. Linux delivers such packets, nobody honest sends them.
    Hidden {
        /// Counts such packets, from 1 to 65,535 and again from 1.
        number: u16,
    },
    /// Anything else, by IP protocol number.
    Other(u8),
}

/// The TCP header's fields that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number, meaningful only with ACK.
    pub acknowledgement: u32,
    /// The flag byte.
    pub flags: TcpFlags,
    /// How many bytes the sender would take.
    pub window: u16,
    /// Bytes of the header, 20 to 60.
    pub header_length: u8,
    /// Bytes behind the header as the IP header tells, 0 where it came in fragments.
    pub payload_length: usize,
}

/// The flag byte of a TCP header (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// Acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
    /// Urgent pointer field is significant.
    pub const URG: u8 = 0x20;
    /// The six flags of RFC 793; ECE and CWR (RFC 3168) are left out.
    pub const CLASSIC: u8 = 0x3f;

    /// The six classic flags alone.
    #[must_use]
    pub fn classic(self) -> u8 {
        self.0 & Self::CLASSIC
    }

    /// Whether all of `flags` are set.
    #[must_use]
    pub fn has(self, flags: u8) -> bool {
        self.0 & flags == flags
    }
}

/// The packet inside an ICMP error, as far as it was quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Its sender: where the error was sent to.
    pub source: IpAddr,
    /// Whom it was for.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Sender's port, for TCP, UDP and SCTP; otherwise 0.
    pub source_port: u16,
    /// Receiver's port; otherwise 0.
    pub destination_port: u16,
}
