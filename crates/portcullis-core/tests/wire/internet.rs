//! IPv4 and IPv6 headers, their lengths, checksums and extension headers.

use portcullis_core::wire::build::{self, Extension};
use portcullis_core::wire::{Checksums, MAXIMUM_EXTENSION_HEADERS, REACH, Refusal, Transport};

use super::*;

#[test]
fn padding_behind_the_ip_length_is_no_part_of_the_packet() {
    for packet in [
        build::ip(STRANGER, HOST, build::udp(9, 53, b"ab")),
        build::ip(STRANGER6, HOST6, build::udp(9, 53, b"ab")),
    ] {
        let padded = [packet.bytes(), vec![0xaa; 30]].concat();
        let expected = Transport::Udp { source_port: 9, destination_port: 53, payload: b"ab" };
        assert_eq!(accepted(&padded), expected);
    }
    for probe in probes(22) {
        assert_eq!(accepted(&[probe.bytes(), vec![0xaa; 2]].concat()), syn(22));
    }
}

#[test]
fn ipv4_options_are_passed_over_and_told_of() {
    let packet = build::ip(STRANGER, HOST, syn_to(22)).options(&[7, 7, 4, 0, 0, 0, 0, 0]).bytes();
    let mut decoder = decoder();
    let decoded = decoder.decode(NOW, raw(&packet)).expect("a good packet");
    assert_eq!((decoded.transport, decoded.has_ip_options), (syn(22), true));
}

#[test]
fn an_ipv4_header_must_be_right_whatever_is_known_of_the_transport_checksum() {
    let [probe, _] = probes(22).map(|probe| probe.bytes());
    let bad = with_byte(&probe, 8, 63, Repair::Nothing);
    for checksums in [Checksums::Verify, Checksums::Valid, Checksums::Unfinished] {
        frame_refused(Frame { checksums, ..raw(&bad) }, Refusal::BadIpChecksum);
    }
    refused(&with_byte(&probe, 0, 0x44, Repair::Nothing), Refusal::BadIpHeaderLength);
    refused(&with_byte(&probe, 3, 19, Repair::IpChecksum), Refusal::BadIpLength);
    refused(&with_byte(&probe, 3, 0, Repair::IpChecksum), Refusal::BadIpLength);
    refused(&with_byte(&probe, 3, 45, Repair::IpChecksum), Refusal::BadIpLength);
    refused(&with_byte(&probe, 3, 39, Repair::IpChecksum), Refusal::TooShort);
}

#[test]
fn a_recorded_ipv4_header_may_have_left_its_checksum_to_the_card() {
    let [probe, _] = probes(22).map(|probe| probe.bytes());
    let unfinished = with_byte(&with_byte(&probe, 10, 0, Repair::Nothing), 11, 0, Repair::Nothing);
    refused(&unfinished, Refusal::BadIpChecksum);
    let checksums = Checksums::Recorded;
    let mut decoder = decoder();
    let packet = decoder.decode(NOW, Frame { checksums, ..raw(&unfinished) }).expect("a good packet");
    assert_eq!(packet.transport, syn(22));
    let wrong = with_byte(&probe, 8, 63, Repair::Nothing);
    frame_refused(Frame { checksums, ..raw(&wrong) }, Refusal::BadIpChecksum);
}

#[test]
fn an_ipv6_packet_longer_than_its_frame_is_refused() {
    let [_, probe6] = probes(22).map(|probe| probe.bytes());
    refused(&with_byte(&probe6, 5, 25, Repair::Nothing), Refusal::BadIpLength);
    refused(&with_byte(&probe6, 5, 19, Repair::Nothing), Refusal::TooShort);
}

#[test]
fn segments_merged_beyond_64_kib_are_read() {
    let [mut probe, mut probe6] = probes(22).map(|probe| [probe.bytes(), vec![0x55; 100_000]].concat());
    probe[2..4].fill(0);
    probe6[4..6].fill(0);
    for bytes in [probe, probe6] {
        let Transport::Tcp(tcp) = accepted(&bytes) else { panic!("not TCP") };
        assert_eq!((tcp.destination_port, tcp.payload_length), (22, 100_000));
    }
}

#[test]
fn a_merged_frame_below_64_kib_is_read_although_its_checksum_is_unfinished() {
    let segment = syn_to(22).payload(&[1; 60_000]);
    for packet in [build::ip(STRANGER, HOST, segment.clone()), build::ip(STRANGER6, HOST6, segment)] {
        let bytes = packet.damaged().bytes();
        let frame = Frame { checksums: Checksums::Unfinished, ..raw(&bytes) };
        let mut decoder = decoder();
        let Transport::Tcp(tcp) = decoder.decode(NOW, frame).expect("a good packet").transport else {
            panic!("not TCP")
        };
        assert_eq!(tcp.payload_length, 60_000);
    }
}

#[test]
fn every_extension_header_is_passed_over() {
    let all = [
        Extension::HopByHop(8),
        Extension::DestinationOptions(0),
        Extension::Routing { segments_left: 0 },
        Extension::AtomicFragment,
        Extension::Authentication,
        Extension::DestinationOptions(64),
        Extension::Mobility,
        Extension::HostIdentity,
        Extension::Shim6,
    ];
    for extension in &all {
        let packet = build::ip(STRANGER6, HOST6, syn_to(22)).extension(extension.clone());
        assert_eq!(accepted(&packet.bytes()), syn(22), "{extension:?}");
        refused(&packet.damaged().bytes(), Refusal::BadTcpChecksum);
    }
    let packet = all.into_iter().fold(build::ip(STRANGER6, HOST6, syn_to(22)), build::Packet::extension);
    assert_eq!(accepted(&packet.bytes()), syn(22));
}

#[test]
fn the_number_of_extension_headers_has_a_bound() {
    let chain = |count| {
        (0..count).fold(build::ip(STRANGER6, HOST6, syn_to(22)), |packet, _| {
            packet.extension(Extension::DestinationOptions(0))
        })
    };
    assert_eq!(accepted(&chain(MAXIMUM_EXTENSION_HEADERS).bytes()), syn(22));
    assert_eq!(accepted(&chain(MAXIMUM_EXTENSION_HEADERS + 1).bytes()), Transport::Hidden { number: 1 });
}

#[test]
fn ports_behind_longer_headers_than_the_capture_shows_are_called_hidden() {
    let packet = |payload: build::Payload, options| {
        let packet = build::ip(STRANGER6, HOST6, payload);
        packet.extension(Extension::DestinationOptions(options)).bytes()
    };
    let mut decoder = decoder();
    let mut number = 0;
    for length in [336, 344, 360, 392, 1000] {
        for payload in [syn_to(22).into(), build::udp(9, 53, b"x"), build::sctp(9, 80, 0, 1)] {
            let bytes = packet(payload, length);
            number += 1;
            let cut = Frame { bytes: &bytes[..REACH], ..raw(&bytes) };
            let transport = decoder.decode(NOW, cut).map(|packet| packet.transport);
            assert_eq!(transport, Ok(Transport::Hidden { number }), "{length} bytes of options");
            let cut = Frame { bytes: &bytes[..REACH - 1], ..raw(&bytes) };
            frame_refused(cut, Refusal::Truncated);
        }
    }
    let bytes = packet(build::icmpv6(128, 0, b"ping"), 360);
    frame_refused(Frame { bytes: &bytes[..REACH], ..raw(&bytes) }, Refusal::Truncated);
    assert_eq!(accepted(&packet(syn_to(22).into(), 1000)), syn(22), "shown in full, it is read");
}

#[test]
fn encrypted_payload_and_no_next_header_end_the_chain() {
    for protocol in [50, 59, 41, 200] {
        let packet = build::ip(STRANGER6, HOST6, build::other(protocol, &[1; 20]))
            .extension(Extension::DestinationOptions(0));
        assert_eq!(accepted(&packet.bytes()), Transport::Other(protocol));
    }
    assert_eq!(
        accepted(&build::ip(STRANGER, HOST, build::other(58, &[1; 20])).bytes()),
        Transport::Other(58)
    );
    assert_eq!(
        accepted(&build::ip(STRANGER6, HOST6, build::other(1, &[1; 20])).bytes()),
        Transport::Other(1)
    );
    assert_eq!(accepted(&build::ip(STRANGER6, HOST6, build::other(59, &[])).bytes()), Transport::Other(59));
}

#[test]
fn extension_headers_in_the_wrong_place_are_refused() {
    let probe = || build::ip(STRANGER6, HOST6, syn_to(22));
    let late = probe().extension(Extension::DestinationOptions(0)).extension(Extension::HopByHop(0));
    refused(&late.bytes(), Refusal::BadExtensionHeader);
    let twice = probe().extension(Extension::AtomicFragment).extension(Extension::AtomicFragment);
    refused(&twice.bytes(), Refusal::BadExtensionHeader);
    let behind = probe().extension(Extension::AtomicFragment).extension(Extension::HopByHop(0));
    refused(&behind.bytes(), Refusal::BadExtensionHeader);
}

#[test]
fn a_packet_under_way_to_another_address_is_not_verified_against_this_one() {
    let packet = build::ip(STRANGER6, HOST6, syn_to(22)).extension(Extension::Routing { segments_left: 1 });
    assert_eq!(accepted(&packet.damaged().bytes()), syn(22));
}

#[test]
fn an_extension_header_that_reaches_beyond_the_packet_is_refused() {
    let packet = build::ip(STRANGER6, HOST6, syn_to(22)).extension(Extension::DestinationOptions(0)).bytes();
    refused(&with_byte(&packet, 41, 200, Repair::Nothing), Refusal::TooShort);
    let cut = Frame { bytes: &packet[..41], ..raw(&packet) };
    frame_refused(cut, Refusal::Truncated);
}

#[test]
fn jumbograms_are_refused() {
    let mut packet = build::ip(STRANGER6, HOST6, syn_to(22)).extension(Extension::HopByHop(0)).bytes();
    packet[4..6].fill(0);
    refused(&packet, Refusal::Jumbogram);
}

#[test]
fn no_ipv4_mapped_address_comes_out() {
    let mapped: std::net::Ipv6Addr = "::ffff:192.0.2.9".parse().unwrap();
    refused(&build::ip(mapped, HOST6, syn_to(22)).bytes(), Refusal::MappedAddress);
    refused(&build::ip(STRANGER6, mapped, syn_to(22)).bytes(), Refusal::MappedAddress);
}
