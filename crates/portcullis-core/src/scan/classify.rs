//! What a packet is, by itself: the kind of probe that it would be, or none.

use std::net::IpAddr;

use crate::event::Kind;
use crate::net::{Endpoint, Protocol};
use crate::scan::{Contact, Fingerprint, Weight};
use crate::wire::{Packet, TcpFlags, Transport};

/// SCTP's INIT (RFC 9260 §3.3.2): the only chunk that opens an association.
const SCTP_INIT: u8 = 1;

/// SCTP's COOKIE ECHO (§3.3.11): it answers an INIT ACK, or it is a probe.
const SCTP_COOKIE_ECHO: u8 = 10;

/// From here on a port may have been chosen by a stack for a connection of its own, whatever this host's range is
/// (behind a translating router other hosts' ports are seen too): Linux begins at 32768, others at 49152 (RFC 6335 §6).
/// Segments of conversations to these ports prove nothing.
pub const FIRST_CHOSEN_PORT: u16 = 32_768;

/// Protocols that are spoken between hosts without ports, by IANA's numbers: ICMP, IGMP, IP in IP, EGP, IGP, TCP, UDP,
/// DCCP, IPv6, routing, RSVP, GRE, ESP, AH, SWIPE, mobile IP, ICMPv6, no next header, EIGRP, OSPF, IPIP, EtherIP, PIM,
/// IPComp, VRRP and CARP, L2TP, IS-IS, SCTP, FC, mobility, UDP-Lite, MPLS, HIP, shim6, Ethernet. That one of these comes
/// proves nothing: there may be a tunnel or a routing protocol. The price: a scan of only these is not seen.
const SPOKEN: [u8; 35] = [
    1, 2, 4, 6, 8, 9, 17, 33, 41, 43, 46, 47, 50, 51, 53, 55, 58, 59, 88, 89, 94, 97, 103, 108, 112, 115,
    124, 132, 133, 135, 136, 137, 139, 140, 143,
];

/// Whether this protocol of IP is one that hosts speak to each other, so that a packet of it is no probe.
#[must_use]
pub fn is_spoken(protocol: u8) -> bool {
    SPOKEN.contains(&protocol)
}

/// The contact that this packet makes, or `None` if it cannot be a probe: a segment of a connection, an answer, an
/// error message.
///
/// Where the ports are hidden, the packet's number takes the place of the port: so a few of them are a scan, as a few
/// ports are. On a host that watches few TCP ports, most of these numbers are not watched, and such a scan takes longer
/// to be seen.
#[must_use]
pub fn contact(packet: &Packet<'_>, interface: u32) -> Option<Contact> {
    let mut flags = TcpFlags::default();
    let mut fingerprint = Fingerprint { hop_limit: packet.hop_limit, ..Fingerprint::default() };
    let (protocol, source_port, port, kind) = match packet.transport {
        Transport::Tcp(tcp) => {
            flags = tcp.flags;
            fingerprint.sequence = tcp.sequence;
            fingerprint.window = tcp.window;
            fingerprint.header_length = tcp.header_length;
            (Protocol::Tcp, tcp.source_port, tcp.destination_port, tcp_kind(flags)?)
        }
        Transport::Udp { source_port, destination_port, .. } => {
            (Protocol::Udp, source_port, destination_port, Kind::Udp)
        }
        Transport::Sctp {
            source_port, destination_port, first_chunk: SCTP_INIT | SCTP_COOKIE_ECHO, ..
        } => (Protocol::Sctp, source_port, destination_port, Kind::Sctp),
        Transport::Hidden { number } => (Protocol::Tcp, 0, number, Kind::Fragments),
        Transport::Icmp { kind, .. } if is_question(packet.source, kind) => {
            (Protocol::Icmp, 0, 0, Kind::IcmpSweep)
        }
        Transport::Other(number) if !is_spoken(number) => (Protocol::Ip, 0, number.into(), Kind::IpProtocol),
        _ => return None,
    };
    let target = Endpoint { protocol, address: packet.destination, port };
    let (source, has_ip_options, is_cut_up) = (packet.source, packet.has_ip_options, packet.is_cut_up);
    Some(Contact {
        source,
        source_port,
        target,
        kind,
        flags,
        has_ip_options,
        is_cut_up,
        fingerprint,
        interface,
    })
}

/// Whether an ICMP message asks who is there: echo, timestamp, address mask (RFC 792, RFC 950 Appendix I); ICMPv6's echo
/// (RFC 4443 §4.1).
fn is_question(source: IpAddr, kind: u8) -> bool {
    match source {
        IpAddr::V4(_) => matches!(kind, 8 | 13 | 17),
        IpAddr::V6(_) => kind == 128,
    }
}

/// Whether a packet answers an echo (RFC 792; RFC 4443 §4.2).
pub(crate) fn is_echo_reply(packet: &Packet<'_>) -> bool {
    match (packet.transport, packet.source) {
        (Transport::Icmp { kind, .. }, IpAddr::V4(_)) => kind == 0,
        (Transport::Icmp { kind, .. }, IpAddr::V6(_)) => kind == 129,
        _ => false,
    }
}

/// The kind of probe that these flags make.
///
/// With RST it is an answer or the end of a connection, which is no probe, except for the mixes that no stack sends. With
/// ACK it is a segment of a connection, or the probe of an ACK scan, with FIN besides Maimon's probe or the usual end of
/// a connection: whether there was one is for the service question to tell. ECE and CWR do not change a SYN (RFC 3168
/// §6.1.1).
fn tcp_kind(flags: TcpFlags) -> Option<Kind> {
    const XMAS: u8 = TcpFlags::FIN | TcpFlags::PSH | TcpFlags::URG;
    if flags.has(TcpFlags::SYN) {
        return match flags.classic() {
            TcpFlags::SYN => Some(Kind::Syn),
            classic if classic == TcpFlags::SYN | TcpFlags::ACK => None,
            _ => Some(Kind::Flags),
        };
    }
    if flags.has(TcpFlags::RST) {
        return None;
    }
    match flags.classic() {
        classic if classic & TcpFlags::ACK != 0 => {
            Some(if classic & TcpFlags::FIN != 0 { Kind::Maimon } else { Kind::Ack })
        }
        0 if flags.0 == 0 => Some(Kind::Null),
        TcpFlags::FIN => Some(Kind::Fin),
        XMAS => Some(Kind::Xmas),
        _ => Some(Kind::Flags),
    }
}

/// How much a contact proves, given the local ephemeral ports (inclusive); `None` if it is taken for a late answer
/// and proves nothing.
///
/// An answer comes to a port that our own stack chose. By UDP from a service's port (below 1024) it is taken for one
/// outright; from elsewhere it is doubtful. A segment with ACK to such a port belongs to a connection that we opened, or
/// that a host behind us did.
/// The price: probes of these kinds to these ports are not seen, or later.
#[must_use]
pub fn weight(contact: &Contact, ephemeral: (u16, u16)) -> Option<Weight> {
    let is_ephemeral = (ephemeral.0..=ephemeral.1).contains(&contact.target.port);
    match contact.kind {
        Kind::Maimon | Kind::Ack if is_ephemeral || contact.target.port >= FIRST_CHOSEN_PORT => None,
        Kind::Udp if is_ephemeral && contact.source_port < 1024 => None,
        Kind::Udp if is_ephemeral => Some(Weight::Doubtful),
        _ => Some(Weight::Firm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_tell_the_kind() {
        for (flags, kind) in [
            (0x02, Some(Kind::Syn)),
            (0xc2, Some(Kind::Syn)),
            (0x42, Some(Kind::Syn)),
            (0x01, Some(Kind::Fin)),
            (0x81, Some(Kind::Fin)),
            (0x00, Some(Kind::Null)),
            (0xc0, Some(Kind::Flags)),
            (0x29, Some(Kind::Xmas)),
            (0xe9, Some(Kind::Xmas)),
            (0x11, Some(Kind::Maimon)),
            (0x09, Some(Kind::Flags)),
            (0x20, Some(Kind::Flags)),
            (0x08, Some(Kind::Flags)),
            (0x28, Some(Kind::Flags)),
            (0x03, Some(Kind::Flags)),
            (0x0a, Some(Kind::Flags)),
            (0x2b, Some(Kind::Flags)),
            (0x06, Some(Kind::Flags)),
            (0x13, Some(Kind::Flags)),
            (0x12, None),
            (0x10, Some(Kind::Ack)),
            (0x18, Some(Kind::Ack)),
            (0x30, Some(Kind::Ack)),
            (0xd0, Some(Kind::Ack)),
            (0x19, Some(Kind::Maimon)),
            (0x04, None),
            (0x14, None),
            (0x05, None),
        ] {
            assert_eq!(tcp_kind(TcpFlags(flags)), kind, "flags {flags:#04x}");
        }
    }

    #[test]
    fn late_answers_prove_little_or_nothing() {
        let contact = |kind, source_port, port| Contact {
            source: "192.0.2.1".parse().unwrap(),
            source_port,
            target: Endpoint { protocol: Protocol::Udp, address: "192.0.2.2".parse().unwrap(), port },
            kind,
            flags: TcpFlags::default(),
            has_ip_options: false,
            is_cut_up: false,
            fingerprint: Fingerprint::default(),
            interface: 0,
        };
        let ephemeral = (32768, 60999);
        assert_eq!(weight(&contact(Kind::Udp, 53, 40000), ephemeral), None);
        assert_eq!(weight(&contact(Kind::Udp, 5060, 40000), ephemeral), Some(Weight::Doubtful));
        assert_eq!(weight(&contact(Kind::Udp, 53, 111), ephemeral), Some(Weight::Firm));
        assert_eq!(weight(&contact(Kind::Maimon, 443, 40000), ephemeral), None);
        assert_eq!(weight(&contact(Kind::Maimon, 443, 111), ephemeral), Some(Weight::Firm));
        assert_eq!(weight(&contact(Kind::Syn, 443, 40000), ephemeral), Some(Weight::Firm));
    }
}
