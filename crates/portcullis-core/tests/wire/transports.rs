//! TCP, UDP, SCTP and ICMP headers, their checksums, and the packets that ICMP errors quote.

use portcullis_core::wire::build::{self, Extension};
use portcullis_core::wire::{Checksums, Quoted, Refusal, TcpFlags, Transport};

use super::*;

#[test]
fn a_tcp_header_is_read_exactly() {
    let segment = build::tcp(65_535, 1, 0xff)
        .sequence(0xdead_beef)
        .acknowledgement(0x0102_0304)
        .options(&[1; 40])
        .payload(&[9; 333]);
    for packet in [build::ip(STRANGER, HOST, segment.clone()), build::ip(STRANGER6, HOST6, segment)] {
        let expected = Tcp {
            source_port: 65_535,
            destination_port: 1,
            sequence: 0xdead_beef,
            acknowledgement: 0x0102_0304,
            flags: TcpFlags(0xff),
            window: 0x0400,
            header_length: 60,
            payload_length: 333,
        };
        let bytes = packet.bytes();
        assert_eq!(accepted(&bytes), Transport::Tcp(expected));
        // A short capture loses the options, not the fields.
        let cut = Frame { bytes: &bytes[..bytes.len() - 373], ..raw(&bytes) };
        let mut decoder = decoder();
        assert_eq!(decoder.decode(NOW, cut).expect("a good packet").transport, Transport::Tcp(expected));
    }
}

#[test]
fn a_tcp_data_offset_outside_of_the_packet_is_refused() {
    for (probe, offset) in probes(22).into_iter().zip([32, 52]) {
        for wrong in [0x00, 0x40, 0x70, 0xf0] {
            refused(&with_byte(&probe.bytes(), offset, wrong, Repair::Nothing), Refusal::BadTcpOffset);
        }
    }
}

#[test]
fn a_damaged_transport_checksum_is_seen_where_it_can_be() {
    let payload = [7; 101];
    for (packet, reason) in [
        (build::ip(STRANGER, HOST, syn_to(22)), Refusal::BadTcpChecksum),
        (build::ip(STRANGER6, HOST6, syn_to(22)), Refusal::BadTcpChecksum),
        (build::ip(STRANGER, HOST, build::udp(9, 53, &payload)), Refusal::BadUdpChecksum),
        (build::ip(STRANGER6, HOST6, build::udp(9, 53, &payload)), Refusal::BadUdpChecksum),
        (build::ip(STRANGER, HOST, build::icmp(8, 0, &payload)), Refusal::BadIcmpChecksum),
        (build::ip(STRANGER6, HOST6, build::icmpv6(128, 0, &payload)), Refusal::BadIcmpChecksum),
    ] {
        assert!(decoder().decode(NOW, raw(&packet.bytes())).is_ok(), "{reason:?}");
        let bytes = packet.damaged().bytes();
        refused(&bytes, reason);
        for checksums in [Checksums::Valid, Checksums::Unfinished] {
            assert!(decoder().decode(NOW, Frame { checksums, ..raw(&bytes) }).is_ok(), "{reason:?}");
        }
        let cut = Frame { bytes: &bytes[..bytes.len() - 1], ..raw(&bytes) };
        assert!(decoder().decode(NOW, cut).is_ok(), "{reason:?}: a cut packet can't be verified");
    }
}

#[test]
fn a_recorded_packet_with_an_unfinished_checksum_is_read_and_a_damaged_one_is_not() {
    let payload = [7; 101];
    for (packet, reason) in [
        (build::ip(STRANGER, HOST, syn_to(22).payload(&payload)), Refusal::BadTcpChecksum),
        (build::ip(STRANGER6, HOST6, syn_to(22).payload(&payload)), Refusal::BadTcpChecksum),
        (build::ip(STRANGER, HOST, build::udp(9, 53, &payload)), Refusal::BadUdpChecksum),
        (build::ip(STRANGER6, HOST6, build::udp(9, 53, &payload)), Refusal::BadUdpChecksum),
    ] {
        let checksums = Checksums::Recorded;
        let unfinished = packet.clone().unfinished().bytes();
        refused(&unfinished, reason);
        assert!(decoder().decode(NOW, Frame { checksums, ..raw(&unfinished) }).is_ok(), "{reason:?}");
        let right = packet.bytes();
        assert!(decoder().decode(NOW, Frame { checksums, ..raw(&right) }).is_ok(), "{reason:?}");
        let damaged = packet.damaged().bytes();
        frame_refused(Frame { checksums, ..raw(&damaged) }, reason);
    }
}

#[test]
fn udp_may_go_without_a_checksum_over_ipv4_only() {
    let bare = || build::udp(9, 53, b"x").without_checksum();
    let expected = Transport::Udp { source_port: 9, destination_port: 53, payload: b"x" };
    assert_eq!(accepted(&build::ip(STRANGER, HOST, bare()).bytes()), expected);
    refused(&build::ip(STRANGER6, HOST6, bare()).bytes(), Refusal::MissingUdpChecksum);
}

#[test]
fn a_udp_length_that_contradicts_the_packet_is_refused() {
    let packet = build::ip(STRANGER, HOST, build::udp(9, 53, b"abcd").without_checksum()).bytes();
    for wrong in [0, 7, 13] {
        refused(&with_byte(&packet, 25, wrong, Repair::Nothing), Refusal::BadUdpLength);
    }
    let shorter = with_byte(&packet, 25, 10, Repair::Nothing);
    assert_eq!(accepted(&shorter), Transport::Udp { source_port: 9, destination_port: 53, payload: b"ab" });
}

#[test]
fn a_udp_length_of_0_over_ipv6_means_all_that_is_there() {
    let packet = build::ip(STRANGER6, HOST6, build::udp(9, 53, b"abcd"));
    let expected = Transport::Udp { source_port: 9, destination_port: 53, payload: b"abcd" };
    // Twelve less in the length field, twelve more in the checksum's.
    let mut bytes = packet.bytes();
    let checksum =
        u16::from_be_bytes([bytes[46], bytes[47]]).checked_add(12).expect("no carry in this packet");
    bytes[44..46].fill(0);
    bytes[46..48].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(accepted(&bytes), expected);
    refused(&with_byte(&bytes, 50, b'x', Repair::Nothing), Refusal::BadUdpChecksum);

    let mut first = build::ip(STRANGER6, HOST6, build::udp(9, 53, &[0; 64])).fragment(0, 16);
    first[52..54].fill(0);
    let expected = Transport::Udp { source_port: 9, destination_port: 53, payload: &[0; 8] };
    assert_eq!(accepted(&first), expected, "the rest of the datagram is still to come");
}

#[test]
fn the_payload_of_a_cut_udp_datagram_is_what_was_captured() {
    let bytes = build::ip(STRANGER, HOST, build::udp(9, 53, b"abcdef")).bytes();
    let mut decoder = decoder();
    let packet = decoder.decode(NOW, Frame { bytes: &bytes[..30], ..raw(&bytes) }).expect("a good packet");
    assert_eq!(packet.transport, Transport::Udp { source_port: 9, destination_port: 53, payload: b"ab" });
}

#[test]
fn the_first_sctp_chunk_is_read() {
    for (from, to) in [(STRANGER, HOST), (STRANGER6, HOST6)] {
        let bytes = build::ip(from, to, build::sctp(1000, 36_412, 0xcafe_f00d, 6)).bytes();
        let expected = Transport::Sctp {
            source_port: 1000,
            destination_port: 36_412,
            verification_tag: 0xcafe_f00d,
            first_chunk: 6,
        };
        assert_eq!(accepted(&bytes), expected);
        refused(&build::ip(from, to, build::other(132, &[0; 12])).bytes(), Refusal::TooShort);
    }
}

#[test]
fn transport_headers_that_the_packet_has_no_room_for_are_refused() {
    for (protocol, least) in [(6, 20), (17, 8), (132, 16)] {
        refused(
            &build::ip(STRANGER, HOST, build::other(protocol, &vec![0; least - 1])).bytes(),
            Refusal::TooShort,
        );
        refused(&build::ip(STRANGER6, HOST6, build::other(protocol, &[])).bytes(), Refusal::TooShort);
    }
    refused(&build::ip(STRANGER, HOST, build::other(1, &[0; 7])).bytes(), Refusal::TooShort);
    refused(&build::ip(STRANGER6, HOST6, build::other(58, &[0; 7])).bytes(), Refusal::TooShort);
}

fn quoted(packet: &build::Packet) -> Option<Quoted> {
    let bytes = packet.bytes();
    match accepted(&bytes) {
        Transport::Icmp { quoted, .. } => quoted,
        other => panic!("not ICMP: {other:?}"),
    }
}

#[test]
fn an_error_tells_which_packet_it_complains_of() {
    let inner = build::ip(HOST, STRANGER, build::tcp(22, 40_000, TcpFlags::RST)).options(&[1; 8]).bytes();
    let expected = Quoted {
        source: HOST.parse().unwrap(),
        destination: STRANGER.parse().unwrap(),
        protocol: 6,
        source_port: 22,
        destination_port: 40_000,
    };
    for kind in [3, 4, 5, 11, 12] {
        // Routers owe no more than eight bytes behind the header.
        let error = build::ip(STRANGER, HOST, build::icmp(kind, 1, &inner[..36]));
        assert_eq!(quoted(&error), Some(expected), "type {kind}");
    }
    let expected =
        Quoted { source: HOST6.parse().unwrap(), destination: STRANGER6.parse().unwrap(), ..expected };
    let inner = build::ip(HOST6, STRANGER6, build::tcp(22, 40_000, TcpFlags::RST))
        .extension(Extension::DestinationOptions(8))
        .extension(Extension::Routing { segments_left: 0 });
    for inner in [inner.bytes(), inner.fragment(0, 32)] {
        for kind in [1, 2, 3, 4] {
            let error = build::ip(STRANGER6, HOST6, build::icmpv6(kind, 4, &inner));
            assert_eq!(quoted(&error), Some(expected), "type {kind}");
        }
    }
}

#[test]
fn what_was_quoted_without_ports_names_no_ports() {
    let inner = build::ip(HOST, STRANGER, build::udp(53, 9, &[0; 64]));
    let whole = inner.bytes();
    for inner in [&whole[..0], &whole[..19], &whole[..23], &inner.fragment(16, 32)] {
        assert_eq!(quoted(&build::ip(STRANGER, HOST, build::icmp(3, 3, inner))), None);
    }
    let inner = build::ip(HOST6, STRANGER6, build::udp(53, 9, &[0; 64]));
    let whole = inner.bytes();
    for inner in [&whole[..0], &whole[..39], &whole[..43], &inner.fragment(16, 32)] {
        assert_eq!(quoted(&build::ip(STRANGER6, HOST6, build::icmpv6(1, 4, inner))), None);
    }
    let ping = build::ip(HOST, STRANGER, build::icmp(8, 0, b"ping")).bytes();
    let error = quoted(&build::ip(STRANGER, HOST, build::icmp(3, 1, &ping))).expect("a quoted ping");
    assert_eq!((error.protocol, error.source_port, error.destination_port), (1, 0, 0));
}

#[test]
fn messages_that_are_no_errors_quote_nothing() {
    let inner = build::ip(HOST, STRANGER, build::udp(53, 9, b"x")).bytes();
    assert_eq!(quoted(&build::ip(STRANGER, HOST, build::icmp(8, 0, &inner))), None);
    let inner = build::ip(HOST6, STRANGER6, build::udp(53, 9, b"x")).bytes();
    assert_eq!(quoted(&build::ip(STRANGER6, HOST6, build::icmpv6(128, 0, &inner))), None);
}
