//! The fuzz targets' bodies as property tests: on arbitrary bytes, and on packets with some bytes changed, which
//! get much farther.

#[path = "../../../fuzz/src/doors.rs"]
mod doors;
#[path = "../../../fuzz/src/engine.rs"]
mod engine;
#[path = "../../../fuzz/src/wire.rs"]
mod fuzz_bodies;
#[path = "../../../fuzz/src/spa.rs"]
mod spa;

use portcullis_core::wire::{Link, TcpFlags, build};
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn packet() -> impl Strategy<Value = build::Packet> {
    let inner = build::ip("192.0.2.1", "192.0.2.2", build::udp(1, 2, &[0; 8])).bytes();
    let inner6 = build::ip("2001:db8::1", "2001:db8::2", build::udp(1, 2, &[0; 8])).bytes();
    select(vec![
        build::ip("192.0.2.1", "192.0.2.2", build::tcp(1, 2, TcpFlags::SYN).options(&[1; 40])),
        build::ip("192.0.2.1", "192.0.2.2", build::udp(1, 2, &[3; 200])).options(&[0; 8]),
        build::ip("192.0.2.1", "192.0.2.2", build::icmp(3, 3, &inner)),
        build::ip("2001:db8::1", "2001:db8::2", build::tcp(1, 2, TcpFlags::SYN))
            .extension(build::Extension::DestinationOptions(16)),
        build::ip("2001:db8::1", "2001:db8::2", build::udp(1, 2, &[3; 200]))
            .unfragmentable(build::Extension::HopByHop(0))
            .extension(build::Extension::Authentication),
        build::ip("2001:db8::1", "2001:db8::2", build::icmpv6(1, 4, &inner6)),
        build::ip("2001:db8::1", "2001:db8::2", build::sctp(1, 2, 0, 1)),
    ])
}

/// A link, as the first byte of the input, and the frames that it should see: whole packets, or any of their
/// fragments, with some bytes changed.
fn frames() -> impl Strategy<Value = (u8, Vec<Vec<u8>>)> {
    let change = (any::<Index>(), any::<u8>());
    let frame = (packet(), any::<Index>(), 1..8_usize, any::<bool>(), prop::collection::vec(change, 0..3));
    (0..8_u8, prop::collection::vec(frame, 1..20)).prop_map(|(first, frames)| {
        let frames = frames.into_iter().map(|(packet, which, units, is_whole, changes)| {
            let pieces = if is_whole { vec![packet.bytes()] } else { packet.fragments(units * 8) };
            let bytes = &pieces[which.index(pieces.len())];
            let link = match first {
                0 => Link::Ethernet,
                1 => Link::CookedV1,
                2 => Link::CookedV2,
                4 => Link::Null,
                _ => Link::RawIp,
            };
            let mut bytes = build::frame(link, bytes);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes
        });
        (first, frames.collect())
    })
}

/// Knocks at the few ports of the fuzz body's doors, from two sources, by TCP with any flags or UDP.
fn knocks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let knock =
        (any::<bool>(), 1..6_u16, select(vec![2_u8, 2, 2, 0x12, 0x10, 4, 1]), any::<bool>(), 0..4_u32);
    prop::collection::vec(knock, 1..60).prop_map(|knocks| {
        let one = |(is_first, port, flags, is_tcp, sequence): (bool, u16, u8, bool, u32)| {
            let source = if is_first { "198.51.100.1" } else { "198.51.100.2" };
            if is_tcp {
                build::ip(source, "192.0.2.2", build::tcp(9, port, flags).sequence(sequence)).bytes()
            } else {
                build::ip(source, "192.0.2.2", build::udp(9, port, &[0])).bytes()
            }
        };
        knocks.into_iter().map(one).collect()
    })
}

proptest! {
    #[test]
    fn whatever_knocks_come_openings_end(knocks in knocks(), how in any::<[u8; 60]>()) {
        let mut input = Vec::new();
        for (frame, how) in knocks.iter().zip(how) {
            input.extend([how, frame.len() as u8]);
            input.extend(frame);
        }
        doors::doors_frames(&input);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(input in prop::collection::vec(any::<u8>(), 0..2000)) {
        fuzz_bodies::wire_decode(&input);
    }

    #[test]
    fn whatever_frames_come_nobody_protected_is_blocked((_, frames) in frames(), how in any::<[u8; 20]>()) {
        let mut input = Vec::new();
        for (frame, how) in frames.iter().zip(how) {
            let frame = &frame[..frame.len().min(255)];
            input.extend([how, frame.len() as u8]);
            input.extend(frame);
        }
        engine::engine_frames(&input);
        doors::doors_frames(&input);
    }

    #[test]
    fn changed_packets_and_fragments_do_no_harm((first, frames) in frames(), how in any::<[u8; 20]>(), cut in 0..3_u8) {
        let mut input = vec![first];
        for (frame, how) in frames.iter().zip(how) {
            input.extend([how, cut / 2]);
            input.extend((frame.len() as u16).to_le_bytes());
            input.extend(frame);
        }
        fuzz_bodies::wire_decode(&input);
    }

    #[test]
    fn single_packets_of_any_kind_do_no_harm(how in any::<u8>(), rest in prop::collection::vec(any::<u8>(), 0..600)) {
        spa::spa_packet(&[&[how - how % 3], &rest[..]].concat());
    }

    #[test]
    fn changed_single_packets_open_nothing(how in any::<u8>(), changes in prop::collection::vec(any::<u8>(), 0..8)) {
        spa::spa_packet(&[&[(how / 3 % 3) * 3 + 1], &changes[..]].concat());
    }

    #[test]
    fn any_text_behind_the_right_keys_does_no_harm(
        how in any::<u8>(),
        at in any::<Index>(),
        length in 0..12_usize,
        instead in "[ -~]{0,12}",
    ) {
        let mut text = spa::MESSAGE.to_owned();
        let start = at.index(text.len());
        text.replace_range(start..(start + length).min(text.len()), &instead);
        spa::spa_packet(&[&[(how / 3 % 3) * 3 + 2], text.as_bytes()].concat());
    }
}
