//! Datagrams in fragments: one packet each, whatever a stranger does to them, at a bounded price.

use std::time::Duration;

use portcullis_core::time::Mono;
use portcullis_core::wire::build::{self, Extension};
use portcullis_core::wire::{
    BYTES_KEPT, Checksums, Decoder, FragmentLimits, Packet, Refusal, TcpFlags, Transport,
};

use super::*;

use Refusal::{FragmentPending, FragmentRest};

/// What a decoder says to IP packets that come all at once: the destination port, or the refusal.
fn ports<'a>(
    decoder: &mut Decoder,
    pieces: impl IntoIterator<Item = &'a Vec<u8>>,
) -> Vec<Result<u16, Refusal>> {
    pieces.into_iter().map(|piece| port(decoder, NOW, piece)).collect()
}

fn port(decoder: &mut Decoder, now: Mono, piece: &[u8]) -> Result<u16, Refusal> {
    decoder.decode(now, raw(piece)).map(|packet| match packet.transport {
        Transport::Tcp(tcp) => tcp.destination_port,
        Transport::Udp { destination_port, .. } | Transport::Sctp { destination_port, .. } => {
            destination_port
        }
        Transport::Icmp { .. } | Transport::Hidden { .. } | Transport::Other(_) => 0,
    })
}

fn is_hidden(decoder: &mut Decoder, piece: &[u8]) -> bool {
    matches!(decoder.decode(NOW, raw(piece)), Ok(Packet { transport: Transport::Hidden { .. }, .. }))
}

#[test]
fn nmaps_eight_byte_fragments_give_their_probe_once() {
    for probe in probes(22) {
        let pieces = probe.hop_limit(57).fragments(8);
        assert_eq!(pieces.len(), 3);
        let mut decoder = decoder();
        assert_eq!(decoder.decode(NOW, raw(&pieces[0])), Err(FragmentPending));
        assert_eq!(decoder.decode(NOW, raw(&pieces[1])), Err(FragmentPending));
        let packet = decoder.decode(NOW, raw(&pieces[2])).expect("the header is complete");
        assert_eq!((packet.transport, packet.is_fragmented, packet.hop_limit), (syn(22), true, 57));
        assert_eq!(decoder.refusals().count(FragmentPending), 2);
    }
}

#[test]
fn a_datagram_is_told_of_once_and_early() {
    let payload = [3; 4000];
    for packet in [
        build::ip(STRANGER, HOST, build::udp(9, 53, &payload)),
        build::ip(STRANGER6, HOST6, build::udp(9, 53, &payload)),
    ] {
        let outcomes = ports(&mut decoder(), &packet.fragments(1480));
        assert_eq!(outcomes, [Ok(53), Err(FragmentRest), Err(FragmentRest)]);
        let outcomes = ports(&mut decoder(), packet.fragments(1480).iter().rev());
        assert_eq!(outcomes, [Err(FragmentPending), Err(FragmentPending), Ok(53)]);
    }
}

#[test]
fn the_payload_of_a_joined_datagram_is_what_was_kept() {
    let payload: Vec<u8> = (0..200).collect();
    let pieces = build::ip(STRANGER, HOST, build::udp(9, 53, &payload)).fragments(64);
    let mut decoder = decoder();
    assert_eq!(ports(&mut decoder, pieces.iter().skip(1).rev()), [Err(FragmentPending); 3]);
    let packet = decoder.decode(NOW, raw(&pieces[0])).expect("the header is complete");
    let kept = &payload[..BYTES_KEPT - 8];
    assert_eq!(packet.transport, Transport::Udp { source_port: 9, destination_port: 53, payload: kept });
}

#[test]
fn one_identification_can_carry_many_probes_in_turn() {
    let mut decoder = decoder();
    for port in 1..=100 {
        for probe in probes(port) {
            let outcomes = ports(&mut decoder, &probe.fragments(8));
            assert_eq!(outcomes, [Err(FragmentPending), Err(FragmentPending), Ok(port)]);
        }
    }
}

#[test]
fn datagrams_of_one_time_do_not_mix() {
    let mut decoder = decoder();
    let from =
        |source: &str, id: u32, port| build::ip(source, HOST, syn_to(port)).identification(id).fragments(8);
    let probes = [from(STRANGER, 1, 21), from(STRANGER, 2, 22), from("192.0.2.10", 1, 23)];
    for round in 0..3 {
        for (probe, expected) in probes.iter().zip([21, 22, 23]) {
            let outcome = port(&mut decoder, NOW, &probe[round]);
            assert_eq!(outcome, if round == 2 { Ok(expected) } else { Err(FragmentPending) });
        }
    }
}

#[test]
fn a_duplicate_changes_nothing() {
    for probe in probes(22) {
        let pieces = probe.fragments(8);
        let outcomes =
            ports(&mut decoder(), [&pieces[0], &pieces[0], &pieces[1], &pieces[1], &pieces[0], &pieces[2]]);
        assert_eq!(outcomes[5], Ok(22));
        assert_eq!(outcomes[..5], [Err(FragmentPending); 5]);
    }
}

#[test]
fn a_header_that_comes_twice_and_differently_is_called_hidden() {
    for (probe, other) in probes(22).into_iter().zip(probes(23)) {
        let (pieces, others) = (probe.fragments(8), other.fragments(8));
        let mut decoder = decoder();
        assert_eq!(port(&mut decoder, NOW, &pieces[0]), Err(FragmentPending));
        // Linux takes it for a duplicate, unless it has forgotten the first.
        assert!(is_hidden(&mut decoder, &others[0]));
        let outcomes = ports(&mut decoder, [&others[1], &others[2]]);
        assert_eq!(outcomes, [Err(FragmentPending), Ok(23)]);
    }
}

/// As [`probes`], with eight bytes behind the header, so that the first 24 are not all.
fn longer_probes(port: u16) -> [build::Packet; 2] {
    let segment = || syn_to(port).payload(&[0; 8]);
    [build::ip(STRANGER, HOST, segment()), build::ip(STRANGER6, HOST6, segment())]
}

#[test]
fn a_probe_behind_a_datagram_that_linux_has_dropped_is_seen() {
    for (decoy, probe) in longer_probes(80).into_iter().zip(longer_probes(22)) {
        let overlap = decoy.fragment(16, 32);
        let overlap = with_byte(&overlap, overlap.len() - 1, 0xff, Repair::Nothing);
        let empty = decoy.fragment(8, 8);
        // Dropped by an overlap, by an empty fragment, or after 64 other fragments, which is not to be seen.
        for killer in [vec![], vec![overlap], vec![empty]] {
            for pieces in [probe.fragments(24), probe.fragments(16), probe.fragments(8)] {
                for is_reversed in [false, true] {
                    let mut decoder = decoder();
                    assert_eq!(port(&mut decoder, NOW, &decoy.fragment(0, 24)), Ok(80));
                    let _ = ports(&mut decoder, &killer);
                    let mut outcomes = if is_reversed {
                        ports(&mut decoder, pieces.iter().take(3).rev())
                    } else {
                        ports(&mut decoder, pieces.iter().take(3))
                    };
                    outcomes.retain(|outcome| *outcome == Ok(22) || *outcome == Ok(0));
                    assert!(!outcomes.is_empty(), "{} pieces, reversed: {is_reversed}", pieces.len());
                }
            }
        }
    }
}

#[test]
fn an_ipv4_fragment_is_cut_to_a_multiple_of_eight_bytes_as_linux_does() {
    let [probe, _] = longer_probes(22);
    for (from, to) in [(0, 25), (0, 31)] {
        assert_eq!(port(&mut decoder(), NOW, &probe.fragment(from, to)), Ok(22));
    }
    let mut decoder = decoder();
    let outcomes = ports(
        &mut decoder,
        [&probe.fragment(0, 13), &probe.fragment(8, 17), &probe.fragment(24, 32), &probe.fragment(16, 27)],
    );
    assert_eq!(outcomes, [Err(FragmentPending), Err(FragmentPending), Err(FragmentPending), Ok(22)]);
    refused(&probe.fragment(8, 13), Refusal::BadFragment);
}

#[test]
fn an_overlap_within_the_header_is_called_hidden() {
    for (first, second) in probes(22).into_iter().zip(probes(23)) {
        let mut decoder = decoder();
        assert_eq!(port(&mut decoder, NOW, &first.fragment(8, 16)), Err(FragmentPending));
        assert!(is_hidden(&mut decoder, &second.fragment(0, 16)));
        let mut decoder = self::decoder();
        assert_eq!(port(&mut decoder, NOW, &first.fragment(0, 16)), Err(FragmentPending));
        // With this piece there is a header, whether or not Linux will have it.
        assert_eq!(port(&mut decoder, NOW, &second.fragment(8, 24)), Ok(22));
    }
}

#[test]
fn an_overlap_far_behind_the_header_drops_the_datagram() {
    let payload = [7; 2000];
    for (from, to) in [(STRANGER, HOST), (STRANGER6, HOST6)] {
        let packet = build::ip(from, to, build::udp(9, 53, &payload));
        let mut decoder = decoder();
        let outcomes = ports(&mut decoder, [&packet.fragment(800, 1600), &packet.fragment(400, 1200)]);
        assert_eq!(outcomes, [Err(FragmentPending), Err(Refusal::FragmentOverlap)]);
        let outcomes = ports(&mut decoder, [&packet.fragment(0, 400), &packet.fragment(400, 1200)]);
        assert_eq!(outcomes, [Ok(53), Err(FragmentRest)]);
    }
}

#[test]
fn a_damaged_checksum_is_seen_if_the_whole_is_there_by_then() {
    let payload = [7; 301];
    for (packet, reason) in [
        (build::ip(STRANGER, HOST, syn_to(22).payload(&payload)), Refusal::BadTcpChecksum),
        (build::ip(STRANGER6, HOST6, syn_to(22).payload(&payload)), Refusal::BadTcpChecksum),
        (build::ip(STRANGER6, HOST6, build::udp(9, 22, &payload)), Refusal::BadUdpChecksum),
        (
            build::ip(STRANGER6, HOST6, build::udp(9, 22, &payload)).extension(Extension::Authentication),
            Refusal::BadUdpChecksum,
        ),
    ] {
        let last = |pieces: Vec<Vec<u8>>| ports(&mut decoder(), pieces.iter().rev()).pop();
        assert_eq!(last(packet.fragments(24)), Some(Ok(22)), "{reason:?}");
        assert_eq!(last(packet.clone().damaged().fragments(24)), Some(Err(reason)));
        let mut decoder = decoder();
        let mut outcome = Err(FragmentPending);
        for piece in packet.damaged().fragments(24).iter().rev() {
            let frame = Frame { checksums: Checksums::Unfinished, ..raw(piece) };
            outcome = decoder.decode(NOW, frame).map(|_| ());
        }
        assert_eq!(outcome, Ok(()), "an unfinished checksum is not verified");
    }
}

#[test]
fn extension_headers_may_be_cut_as_well() {
    let packet = build::ip(STRANGER6, HOST6, syn_to(22))
        .unfragmentable(Extension::HopByHop(0))
        .unfragmentable(Extension::Routing { segments_left: 0 })
        .extension(Extension::DestinationOptions(40))
        .extension(Extension::Authentication);
    let outcomes = ports(&mut decoder(), &packet.fragments(8));
    assert_eq!(outcomes.last(), Some(&Ok(22)));
    assert!(outcomes.iter().rev().skip(1).all(|outcome| *outcome == Err(FragmentPending)));
}

#[test]
fn ports_beyond_what_is_kept_are_called_hidden_once() {
    for bytes in [120, 160] {
        let packet = build::ip(STRANGER6, HOST6, syn_to(22)).extension(Extension::DestinationOptions(bytes));
        let mut decoder = decoder();
        let hidden: Vec<_> =
            packet.fragments(64).iter().map(|piece| is_hidden(&mut decoder, piece)).collect();
        assert_eq!(hidden, [false, true, false], "{bytes} bytes of options");
    }
    let ping = build::ip(STRANGER6, HOST6, build::icmpv6(128, 0, b"ping"));
    let packet = ping.extension(Extension::DestinationOptions(120));
    let outcomes = ports(&mut decoder(), &packet.fragments(128));
    assert_eq!(outcomes, [Err(Refusal::FragmentHeaderTooLong), Err(FragmentRest)], "a ping has no ports");
}

#[test]
fn ports_that_the_capture_cut_off_behind_a_fragment_header_are_called_hidden() {
    let packet = build::ip(STRANGER6, HOST6, syn_to(22).payload(&[0; 8]))
        .unfragmentable(Extension::DestinationOptions(360));
    let first = packet.fragment(0, 24);
    let mut decoder = decoder();
    let cut = Frame { bytes: &first[..432], ..raw(&first) };
    let packet = decoder.decode(NOW, cut).expect("an accusation");
    assert_eq!((packet.transport, packet.is_fragmented), (Transport::Hidden { number: 1 }, true));
}

#[test]
fn an_atomic_fragment_joins_nothing_and_disturbs_nothing() {
    let [_, probe] = probes(22);
    let atomic = build::ip(STRANGER6, HOST6, syn_to(23)).extension(Extension::AtomicFragment).bytes();
    let pieces = probe.identification(0).fragments(8);
    let outcomes = ports(&mut decoder(), [&pieces[0], &atomic, &pieces[1], &pieces[2]]);
    assert_eq!(outcomes, [Err(FragmentPending), Ok(23), Err(FragmentPending), Ok(22)]);
}

#[test]
fn an_error_in_fragments_waits_for_the_packet_that_it_quotes() {
    let inner = build::ip(HOST, STRANGER, build::tcp(22, 40_000, TcpFlags::RST)).bytes();
    let pieces = build::ip(STRANGER, HOST, build::icmp(3, 3, &inner)).fragments(8);
    let mut decoder = decoder();
    let told: Vec<_> = pieces
        .iter()
        .filter_map(|piece| match decoder.decode(NOW, raw(piece)).ok()?.transport {
            Transport::Icmp { quoted, .. } => Some(quoted.map(|quoted| quoted.source_port)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [Some(22)]);
}

#[test]
fn fragments_that_cannot_be_are_refused() {
    let [probe, _] = probes(22);
    let ragged = build::ip(STRANGER6, HOST6, build::udp(9, 53, &[0; 64])).fragment(0, 13);
    refused(&ragged, Refusal::BadFragment);
    let empty = probe.fragment(8, 8);
    refused(&empty, Refusal::BadFragment);
    // The last place that an offset can name, and more bytes than fit behind it.
    let mut far = probe.fragment(16, 24);
    far[6..8].copy_from_slice(&0x1fff_u16.to_be_bytes());
    refused(&with_byte(&far, 8, 64, Repair::IpChecksum), Refusal::BadFragment);
}

#[test]
fn fragments_that_disagree_about_the_end_begin_the_datagram_anew() {
    let long = build::ip(STRANGER, HOST, syn_to(22).payload(&[0; 16]));
    let [short, _] = probes(22);
    let mut decoder = decoder();
    assert_eq!(port(&mut decoder, NOW, &short.fragment(16, 24)), Err(FragmentPending));
    assert!(is_hidden(&mut decoder, &long.fragment(24, 32)));
    let mut decoder = self::decoder();
    assert_eq!(port(&mut decoder, NOW, &long.fragment(24, 32)), Err(FragmentPending));
    assert!(is_hidden(&mut decoder, &short.fragment(16, 24)));
    // Where no byte of a header is in dispute, nobody is accused: the identification came round again.
    let big = build::ip(STRANGER, HOST, build::udp(9, 53, &[0; 1000]));
    let bigger = build::ip(STRANGER, HOST, build::udp(9, 53, &[0; 1200]));
    let mut decoder = self::decoder();
    let outcomes = ports(
        &mut decoder,
        [&big.fragment(800, 1008), &bigger.fragment(800, 1208), &bigger.fragment(0, 800)],
    );
    assert_eq!(outcomes, [Err(FragmentPending), Err(Refusal::BadFragment), Ok(53)]);
}

#[test]
fn an_unfinished_datagram_is_forgotten_after_its_time() {
    for (probe, timeout) in probes(22).into_iter().zip([30, 60]) {
        let pieces = probe.fragments(16);
        for (late, expected) in [(timeout, Ok(22)), (timeout + 1, Err(FragmentPending))] {
            let mut decoder = decoder();
            assert_eq!(port(&mut decoder, NOW, &pieces[0]), Err(FragmentPending));
            let now = NOW + Duration::from_secs(late);
            assert_eq!(port(&mut decoder, now, &pieces[1]), expected, "after {late} s");
        }
    }
}

#[test]
fn time_may_run_backwards() {
    for probe in probes(22) {
        let pieces = probe.fragments(8);
        let mut decoder = decoder();
        for (piece, step) in pieces.iter().zip([2, 1, 0]) {
            let outcome = port(&mut decoder, NOW - Duration::from_secs(step), piece);
            assert_eq!(outcome, if step == 0 { Ok(22) } else { Err(FragmentPending) });
        }
        let mut now = NOW;
        for piece in &pieces {
            now = now - Duration::from_secs(3600);
            assert_eq!(port(&mut decoder, now, piece), Err(FragmentPending), "an hour back is another time");
        }
    }
}

#[test]
fn a_flood_of_fragments_costs_a_bounded_amount_of_work() {
    let mut decoder =
        Decoder::new(FragmentLimits { per_second: 100, ..FragmentLimits::default() }, *b"a key for a test");
    for id in 1000..2000 {
        let piece = build::ip(STRANGER, HOST, syn_to(22)).identification(id).fragment(0, 8);
        port(&mut decoder, NOW, &piece).expect_err("eight bytes are no TCP header");
    }
    assert_eq!(decoder.refusals().count(FragmentPending), 100);
    assert_eq!(decoder.refusals().count(Refusal::FragmentRate), 900);
    let outcome = port(&mut decoder, NOW, &probes(22)[0].bytes());
    assert_eq!(outcome, Ok(22), "whole packets are not held up");
    let outcomes: Vec<_> = probes(23)[0]
        .fragments(8)
        .iter()
        .map(|piece| port(&mut decoder, NOW + Duration::from_secs(1), piece))
        .collect();
    assert_eq!(outcomes.last(), Some(&Ok(23)), "a second later there is room again");
}

#[test]
fn a_full_table_gives_up_what_is_oldest_and_says_so() {
    let limits = FragmentLimits { datagrams: 8, ..FragmentLimits::default() };
    let mut decoder = Decoder::new(limits, *b"a key for a test");
    let pieces = |id: u32| build::ip(STRANGER, HOST, syn_to(22)).identification(id).fragments(16);
    for id in 0..9 {
        let now = NOW + Duration::from_millis(u64::from(id));
        assert_eq!(port(&mut decoder, now, &pieces(id)[0]), Err(FragmentPending));
    }
    assert_eq!(decoder.evicted_datagrams(), 1);
    for id in 1..9 {
        assert_eq!(port(&mut decoder, NOW, &pieces(id)[1]), Ok(22), "datagram {id}");
    }
    assert_eq!(port(&mut decoder, NOW, &pieces(0)[1]), Err(FragmentPending));
}

#[test]
fn a_fragment_cut_by_the_capture_counts_as_far_as_it_goes() {
    let packet = build::ip(STRANGER, HOST, syn_to(22).payload(&[5; 64]));
    let pieces = packet.fragments(48);
    let mut decoder = decoder();
    let cut = Frame { bytes: &pieces[0][..46], ..raw(&pieces[0]) };
    assert_eq!(decoder.decode(NOW, cut).expect("the header is there").transport, syn(22));
    let mut decoder = self::decoder();
    let cut = Frame { bytes: &pieces[0][..36], ..raw(&pieces[0]) };
    assert_eq!(decoder.decode(NOW, cut), Err(FragmentPending));
    assert_eq!(decoder.decode(NOW, raw(&pieces[1])), Err(Refusal::Truncated));
}

#[test]
fn no_number_of_scattered_duplicates_makes_the_count_of_bytes_overflow() {
    let limits = FragmentLimits { per_second: u32::MAX, ..FragmentLimits::default() };
    let mut decoder = Decoder::new(limits, *b"a key for a test");
    let packet = build::ip(STRANGER, HOST, build::udp(9, 53, &[0; 62_000]));
    // So many gaps that the large fragment behind them can't be remembered, and counts whenever it comes.
    for start in (16..1000).step_by(16) {
        assert_eq!(port(&mut decoder, NOW, &packet.fragment(start, start + 8)), Err(FragmentPending));
    }
    let large = packet.fragment(1000, 61_000);
    let header_only = Frame { bytes: &large[..20], ..raw(&large) };
    for _ in 0..=u32::MAX / 60_000 {
        assert_eq!(decoder.decode(NOW, header_only), Err(FragmentPending));
    }
}
