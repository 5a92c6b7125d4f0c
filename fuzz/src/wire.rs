//! Frames to packets.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::time::Mono;
use portcullis_core::wire::{Checksums, Decoder, FragmentLimits, Frame, Link, Packet, Refusal, Transport};

/// Feeds frames to one decoder with few places for fragments.
///
/// The input: one byte for the link, then for each frame a byte for what is known of its checksum and how the clock
/// steps before it, one for the bytes that the capture has cut off, two (little-endian) for its length, and its
/// bytes; the last frame may be shorter than it says.
pub fn wire_decode(input: &[u8]) {
    let Some((&first, mut rest)) = input.split_first() else { return };
    let links = [
        Link::Ethernet,
        Link::CookedV1,
        Link::CookedV2,
        Link::RawIp,
        Link::Null,
        Link::Network { ethertype: 0x0800 },
        Link::Network { ethertype: 0x86dd },
        Link::Network { ethertype: 0x8100 },
    ];
    let link = links[usize::from(first) % links.len()];
    let limits = FragmentLimits { datagrams: 16, per_second: 1000, ..FragmentLimits::default() };
    let mut decoder = Decoder::new(limits, [first; 16]);
    let mut now = Mono(Duration::from_secs(1000));
    let (mut packets, mut refused) = (0_u64, 0);
    while let Some((&[how, cut, low, high], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(behind.len());
        let (bytes, next) = behind.split_at(length);
        rest = next;
        now = match how >> 2 {
            0..=47 => now + Duration::from_millis(u64::from(how)),
            48..=55 => now + Duration::from_secs(u64::from(how)),
            _ => now - Duration::from_secs(u64::from(how)),
        };
        let checksums = match how & 3 {
            0 => Checksums::Verify,
            1 => Checksums::Recorded,
            // Mostly past the checksums, which a fuzzer finds hard to guess.
            _ => Checksums::Valid,
        };
        let frame = Frame { link, bytes, wire_length: length + usize::from(cut), checksums };
        match decoder.decode(now, frame) {
            Ok(packet) => {
                check_packet(&packet, bytes);
                packets += 1;
            }
            Err(refusal) => {
                assert!(Refusal::ALL.contains(&refusal));
                refused += 1;
            }
        }
        assert_eq!(decoder.refusals().total(), refused, "each refusal is counted once, packets: {packets}");
    }
}

/// What holds of every packet, whatever it was read from.
fn check_packet(packet: &Packet<'_>, frame: &[u8]) {
    check_addresses(packet.source, packet.destination);
    match packet.transport {
        Transport::Udp { payload, .. } => {
            assert!(payload.len() <= if packet.is_fragmented { 120 } else { frame.len() });
        }
        Transport::Tcp(tcp) => assert!(!packet.is_fragmented || tcp.payload_length == 0),
        Transport::Icmp { quoted: Some(quoted), .. } => {
            check_addresses(quoted.source, quoted.destination);
            assert_eq!(quoted.source.is_ipv4(), packet.source.is_ipv4());
        }
        Transport::Icmp { .. } | Transport::Sctp { .. } | Transport::Hidden { .. } | Transport::Other(_) => {}
    }
}

fn check_addresses(source: IpAddr, destination: IpAddr) {
    assert_eq!(source.is_ipv4(), destination.is_ipv4());
    for address in [source, destination] {
        assert_eq!(address, address.to_canonical(), "an IPv4-mapped address came out");
    }
}
