//! What the decoder promises, packet by packet. The arbitrary ones are in `wire_properties.rs`.

use std::time::Duration;

use portcullis_core::time::Mono;
use portcullis_core::wire::build;
use portcullis_core::wire::{
    Checksums, Decoder, FragmentLimits, Frame, Link, Refusal, Tcp, TcpFlags, Transport,
};

const STRANGER: &str = "192.0.2.9";
const HOST: &str = "198.51.100.1";
const STRANGER6: &str = "2001:db8::9";
const HOST6: &str = "2001:db8:1::1";

const SYN_OPTIONS: [u8; 4] = [2, 4, 5, 0xb4];

fn decoder() -> Decoder {
    Decoder::new(FragmentLimits::default(), *b"a key for a test")
}

fn seconds(seconds: u64) -> Mono {
    Mono(Duration::from_secs(seconds))
}

fn raw(bytes: &[u8]) -> Frame<'_> {
    on(Link::RawIp, bytes)
}

fn on(link: Link, bytes: &[u8]) -> Frame<'_> {
    Frame { link, bytes, wire_length: bytes.len(), checksums: Checksums::Verify }
}

/// What a decoder that has seen nothing before says to one IP packet.
#[track_caller]
fn refused(bytes: &[u8], reason: Refusal) {
    let mut decoder = decoder();
    assert_eq!(decoder.decode(seconds(1), raw(bytes)).map(|_| ()), Err(reason));
    assert_eq!(decoder.refusals().count(reason), 1);
    assert_eq!(decoder.refusals().total(), 1);
}

fn syn(port: u16) -> Tcp {
    Tcp {
        source_port: 40_000,
        destination_port: port,
        sequence: 7,
        acknowledgement: 0,
        flags: TcpFlags(TcpFlags::SYN),
        payload_length: 0,
    }
}

/// The probe that `syn` describes; 24 bytes of TCP header, as nmap sends.
fn syn_to(port: u16) -> build::Segment {
    build::tcp(40_000, port, TcpFlags::SYN).sequence(7).options(&SYN_OPTIONS)
}

#[test]
fn every_link_leads_to_the_same_packet() {
    let probe = build::ip(STRANGER, HOST, syn_to(22)).hop_limit(57).bytes();
    let probe6 = build::ip(STRANGER6, HOST6, syn_to(22)).hop_limit(57).bytes();
    for (packet, ethertype) in [(&probe, 0x0800), (&probe6, 0x86dd)] {
        let links = [
            Link::Ethernet,
            Link::CookedV1,
            Link::CookedV2,
            Link::RawIp,
            Link::Null,
            Link::Network { ethertype },
        ];
        for link in links {
            let mut decoder = decoder();
            let bytes = build::frame(link, packet);
            let decoded = decoder.decode(seconds(1), on(link, &bytes)).expect("a good packet");
            assert_eq!(decoded.transport, Transport::Tcp(syn(22)), "{link:?}");
            assert_eq!((decoded.hop_limit, decoded.is_fragmented), (57, false), "{link:?}");
        }
    }
}

#[test]
fn nmaps_eight_byte_fragments_give_their_probe_once() {
    for packet in [build::ip(STRANGER, HOST, syn_to(22)), build::ip(STRANGER6, HOST6, syn_to(22))] {
        let pieces = packet.fragments(8);
        assert_eq!(pieces.len(), 3);
        let mut decoder = decoder();
        assert_eq!(decoder.decode(seconds(1), raw(&pieces[0])), Err(Refusal::FragmentPending));
        assert_eq!(decoder.decode(seconds(1), raw(&pieces[1])), Err(Refusal::FragmentPending));
        let decoded = decoder.decode(seconds(1), raw(&pieces[2])).expect("the header is complete");
        assert_eq!(decoded.transport, Transport::Tcp(syn(22)));
        assert!(decoded.is_fragmented);
    }
}

#[test]
fn a_damaged_transport_checksum_is_seen_where_it_can_be() {
    let payload = [7; 100];
    for (packet, reason) in [
        (build::ip(STRANGER, HOST, syn_to(22)), Refusal::BadTcpChecksum),
        (build::ip(STRANGER6, HOST6, syn_to(22)), Refusal::BadTcpChecksum),
        (build::ip(STRANGER, HOST, build::udp(9, 53, &payload)), Refusal::BadUdpChecksum),
        (build::ip(STRANGER6, HOST6, build::udp(9, 53, &payload)), Refusal::BadUdpChecksum),
        (build::ip(STRANGER, HOST, build::icmp(8, 0, &payload)), Refusal::BadIcmpChecksum),
        (build::ip(STRANGER6, HOST6, build::icmpv6(128, 0, &payload)), Refusal::BadIcmpChecksum),
    ] {
        let whole = packet.bytes();
        assert!(decoder().decode(seconds(1), raw(&whole)).is_ok(), "{reason:?}");
        let damaged = packet.damaged();
        let bytes = damaged.bytes();
        refused(&bytes, reason);
        for checksums in [Checksums::Valid, Checksums::Unfinished] {
            assert!(decoder().decode(seconds(1), Frame { checksums, ..raw(&bytes) }).is_ok(), "{reason:?}");
        }
        let cut = Frame { bytes: &bytes[..bytes.len() - 1], ..raw(&bytes) };
        assert!(decoder().decode(seconds(1), cut).is_ok(), "{reason:?}: a cut packet can't be verified");
        // Backwards, so that the header comes last and the whole can be verified.
        let mut decoder = decoder();
        let outcomes: Vec<_> = damaged
            .fragments(16)
            .iter()
            .rev()
            .map(|piece| decoder.decode(seconds(1), raw(piece)).map(|_| ()))
            .collect();
        assert_eq!(outcomes.last(), Some(&Err(reason)));
    }
}
