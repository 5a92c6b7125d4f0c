//! What a packet is, by itself: the kind of probe that it would be, or none.

use crate::event::Kind;
use crate::net::{Endpoint, Protocol};
use crate::scan::{Contact, Weight};
use crate::wire::{Packet, TcpFlags, Transport};

/// SCTP's INIT (RFC 9260 §3.3.2): the only chunk that opens an association.
const SCTP_INIT: u8 = 1;

/// The contact that this packet makes, or `None` if it cannot be a probe: a segment of a connection, an answer, an
/// error message.
///
/// Where the ports are hidden, the packet's number takes the place of the port: so a few of them are a scan, as a few
/// ports are. On a host that watches few TCP ports, most of these numbers are not watched, and such a scan takes longer
/// to be seen.
#[must_use]
pub fn contact(packet: &Packet<'_>, interface: u32) -> Option<Contact> {
    let mut flags = TcpFlags::default();
    let (protocol, source_port, port, kind) = match packet.transport {
        Transport::Tcp(tcp) => {
            flags = tcp.flags;
            (Protocol::Tcp, tcp.source_port, tcp.destination_port, tcp_kind(flags)?)
        }
        Transport::Udp { source_port, destination_port, .. } => {
            (Protocol::Udp, source_port, destination_port, Kind::Udp)
        }
        Transport::Sctp { source_port, destination_port, first_chunk: SCTP_INIT, .. } => {
            (Protocol::Sctp, source_port, destination_port, Kind::Sctp)
        }
        Transport::Hidden { number } => (Protocol::Tcp, 0, number, Kind::Hidden),
        _ => return None,
    };
    let target = Endpoint { protocol, address: packet.destination, port };
    let (source, has_ip_options) = (packet.source, packet.has_ip_options);
    Some(Contact { source, source_port, target, kind, flags, has_ip_options, interface })
}

/// The kind of probe that these flags make.
///
/// With RST it is an answer or the end of a connection, with ACK a segment of one; both are no probes, except for
/// the mixes that no stack sends. FIN+ACK alone is Maimon's probe, and also the usual end of a connection: whether
/// there was one is for the service question to tell. ECE and CWR do not change a SYN (RFC 3168 §6.1.1).
fn tcp_kind(flags: TcpFlags) -> Option<Kind> {
    const FIN_ACK: u8 = TcpFlags::FIN | TcpFlags::ACK;
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
        FIN_ACK => Some(Kind::Maimon),
        classic if classic & TcpFlags::ACK != 0 => None,
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
/// outright; from elsewhere it is doubtful. FIN+ACK to such a port is the late end of a connection that we opened.
/// The price: probes of these kinds to these ports are not seen, or later.
#[must_use]
pub fn weight(contact: &Contact, ephemeral: (u16, u16)) -> Option<Weight> {
    let is_ephemeral = (ephemeral.0..=ephemeral.1).contains(&contact.target.port);
    match contact.kind {
        Kind::Maimon if is_ephemeral => None,
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
            (0x10, None),
            (0x18, None),
            (0x19, None),
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
