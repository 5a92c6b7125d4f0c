//! Claims about packets and bytes of any kind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_core::wire::build::{self, Extension};
use portcullis_core::wire::{Link, Refusal, Transport};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// A packet with what the decoder should make of it.
#[derive(Clone, Debug)]
struct Case {
    packet: build::Packet,
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    has_ip_options: bool,
    carried: Carried,
}

#[derive(Clone, Debug)]
enum Carried {
    Tcp(Tcp),
    Udp { source_port: u16, destination_port: u16, payload: Vec<u8> },
    Sctp { source_port: u16, destination_port: u16, verification_tag: u32, first_chunk: u8 },
    Echo { kind: u8, code: u8 },
}

impl Carried {
    fn transport(&self) -> Transport<'_> {
        match self {
            Carried::Tcp(tcp) => Transport::Tcp(*tcp),
            Carried::Udp { source_port, destination_port, payload } => {
                Transport::Udp { source_port: *source_port, destination_port: *destination_port, payload }
            }
            Carried::Sctp { source_port, destination_port, verification_tag, first_chunk } => {
                Transport::Sctp {
                    source_port: *source_port,
                    destination_port: *destination_port,
                    verification_tag: *verification_tag,
                    first_chunk: *first_chunk,
                }
            }
            Carried::Echo { kind, code } => Transport::Icmp { kind: *kind, code: *code, quoted: None },
        }
    }
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    (0..=10_usize).prop_flat_map(|words| prop::collection::vec(any::<u8>(), words * 4))
}

fn carried(is_ipv6: bool) -> BoxedStrategy<(build::Payload, Carried)> {
    let ports = (any::<u16>(), any::<u16>());
    let content = || prop::collection::vec(any::<u8>(), 0..300);
    let tcp = (ports, any::<(u32, u32, u8)>(), words(), content()).prop_map(
        |((source_port, destination_port), (sequence, acknowledgement, flags), options, payload)| {
            let segment = build::tcp(source_port, destination_port, flags)
                .sequence(sequence)
                .acknowledgement(acknowledgement)
                .options(&options)
                .payload(&payload);
            let (flags, payload_length) = (TcpFlags(flags), payload.len());
            let header_length = 20 + options.len() as u8;
            let tcp = Tcp {
                source_port,
                destination_port,
                sequence,
                acknowledgement,
                flags,
                window: 0x0400,
                header_length,
                payload_length,
            };
            (segment.into(), Carried::Tcp(tcp))
        },
    );
    let udp = (ports, content()).prop_map(|((source_port, destination_port), payload)| {
        let built = build::udp(source_port, destination_port, &payload);
        (built, Carried::Udp { source_port, destination_port, payload })
    });
    let sctp = (ports, any::<(u32, u8)>()).prop_map(
        |((source_port, destination_port), (verification_tag, first_chunk))| {
            let built = build::sctp(source_port, destination_port, verification_tag, first_chunk);
            (built, Carried::Sctp { source_port, destination_port, verification_tag, first_chunk })
        },
    );
    let echo = (any::<(bool, u8)>(), content()).prop_map(move |((is_reply, code), body)| {
        let (kind, built) = if is_ipv6 {
            let kind = 128 + u8::from(is_reply);
            (kind, build::icmpv6(kind, code, &body))
        } else {
            let kind = 8 * u8::from(is_reply);
            (kind, build::icmp(kind, code, &body))
        };
        (built, Carried::Echo { kind, code })
    });
    prop_oneof![tcp, udp, sctp, echo].boxed()
}

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        (0..4_usize).prop_map(|units| Extension::DestinationOptions(units * 8)),
        Just(Extension::Routing { segments_left: 0 }),
        Just(Extension::Authentication),
        Just(Extension::HostIdentity),
        Just(Extension::Shim6),
        Just(Extension::Mobility),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let ipv4 = (any::<[Ipv4Addr; 2]>(), any::<u8>(), words(), carried(false)).prop_map(
        |([source, destination], hop_limit, options, (payload, carried))| Case {
            packet: build::ip(source, destination, payload).hop_limit(hop_limit).options(&options),
            source: source.into(),
            destination: destination.into(),
            hop_limit,
            has_ip_options: !options.is_empty(),
            carried,
        },
    );
    // Proptest likes IPv4-mapped addresses, which the decoder refuses.
    let addresses = any::<[Ipv6Addr; 2]>().prop_map(|addresses| {
        addresses
            .map(|address| if address.to_ipv4_mapped().is_some() { Ipv6Addr::LOCALHOST } else { address })
    });
    let chain = || prop::collection::vec(extension(), 0..3);
    let ipv6 = (addresses, any::<(u8, bool)>(), chain(), chain(), carried(true)).prop_map(
        |([source, destination], (hop_limit, has_hop_by_hop), before, behind, (payload, carried))| {
            let mut packet = build::ip(source, destination, payload).hop_limit(hop_limit);
            if has_hop_by_hop {
                packet = packet.unfragmentable(Extension::HopByHop(8));
            }
            packet = before.into_iter().fold(packet, build::Packet::unfragmentable);
            packet = behind.into_iter().fold(packet, build::Packet::extension);
            let (source, destination) = (source.into(), destination.into());
            Case { packet, source, destination, hop_limit, has_ip_options: false, carried }
        },
    );
    prop_oneof![ipv4, ipv6]
}

fn link(case: &Case) -> impl Strategy<Value = Link> + use<> {
    let ethertype = if case.source.is_ipv4() { 0x0800 } else { 0x86dd };
    let network = Link::Network { ethertype };
    select(vec![Link::Ethernet, Link::CookedV1, Link::CookedV2, Link::RawIp, Link::Null, network])
}

fn case_on_link() -> impl Strategy<Value = (Case, Link)> {
    case().prop_flat_map(|case| (link(&case), Just(case)).prop_map(|(link, case)| (case, link)))
}

proptest! {
    #[test]
    fn what_was_built_is_what_is_read((case, link) in case_on_link()) {
        let bytes = build::frame(link, &case.packet.bytes());
        let mut decoder = decoder();
        let packet = decoder.decode(NOW, on(link, &bytes));
        let packet = packet.map_err(|refusal| TestCaseError::fail(refusal.name()))?;
        prop_assert_eq!(packet.source, case.source);
        prop_assert_eq!(packet.destination, case.destination);
        prop_assert_eq!(packet.hop_limit, case.hop_limit);
        prop_assert_eq!(packet.has_ip_options, case.has_ip_options);
        prop_assert!(!packet.is_fragmented);
        prop_assert_eq!(packet.transport, case.carried.transport());
    }

    #[test]
    fn a_capture_cut_anywhere_gives_the_same_packet_or_none((case, link) in case_on_link()) {
        let bytes = build::frame(link, &case.packet.bytes());
        let mut decoder = decoder();
        for length in 0..bytes.len() {
            let cut = Frame { bytes: &bytes[..length], ..on(link, &bytes) };
            match (decoder.decode(NOW, cut).map(|packet| packet.transport), &case.carried) {
                (Err(refusal), _) => prop_assert_eq!(refusal, Refusal::Truncated),
                (Ok(Transport::Udp { payload, .. }), Carried::Udp { payload: whole, .. }) => {
                    prop_assert!(whole.starts_with(payload));
                }
                (Ok(transport), carried) => prop_assert_eq!(transport, carried.transport()),
            }
            // The same bytes as a whole frame contradict their lengths: any refusal will do, a panic will not.
            let _ = decoder.decode(NOW, on(link, &bytes[..length]));
        }
    }

    #[test]
    fn fragments_in_any_order_and_twice_give_the_packet_once(
        case in case(),
        units in 1..20_usize,
        order in prop::collection::vec(any::<Index>(), 80),
    ) {
        let mut pieces = case.packet.fragments(units * 8);
        let is_fragmented = pieces.len() > 1;
        for (place, with) in order.iter().enumerate().take(pieces.len()) {
            let with = with.index(pieces.len());
            pieces.swap(place, with);
        }
        let mut decoder = decoder();
        let mut told = 0;
        for (number, piece) in pieces.iter().enumerate() {
            // The last fragment ends the datagram; sent again it would begin another one.
            let times = if number + 1 < pieces.len() { 2 } else { 1 };
            for _ in 0..times {
                let Ok(packet) = decoder.decode(NOW, raw(piece)) else { continue };
                told += 1;
                prop_assert_eq!((packet.source, packet.destination), (case.source, case.destination));
                prop_assert_eq!(packet.hop_limit, case.hop_limit);
                prop_assert_eq!(packet.is_fragmented, is_fragmented);
                match (packet.transport, &case.carried) {
                    (Transport::Tcp(tcp), Carried::Tcp(sent)) => {
                        let payload_length = if is_fragmented { 0 } else { sent.payload_length };
                        prop_assert_eq!(tcp, Tcp { payload_length, ..*sent });
                    }
                    (Transport::Udp { payload, .. }, Carried::Udp { payload: whole, .. }) => {
                        prop_assert!(whole.starts_with(payload));
                    }
                    (transport, carried) => prop_assert_eq!(transport, carried.transport()),
                }
            }
        }
        prop_assert_eq!(told, 1, "{:?}", decoder.refusals());
    }

    #[test]
    fn a_changed_byte_never_panics((case, link) in case_on_link(), at in any::<Index>(), value in any::<u8>()) {
        let mut bytes = build::frame(link, &case.packet.bytes());
        let at = at.index(bytes.len());
        bytes[at] = value;
        let checksums = Checksums::Valid;
        let _ = decoder().decode(NOW, Frame { checksums, ..on(link, &bytes) });
    }
}
