//! From the start of a frame to its IP packet.

use portcullis_core::wire::{Link, MAXIMUM_VLAN_TAGS, Refusal, build};

use super::*;

#[test]
fn every_link_leads_to_the_same_packet() {
    for (probe, ethertype) in probes(22).into_iter().zip([0x0800, 0x86dd]) {
        let network = Link::Network { ethertype };
        for link in [Link::Ethernet, Link::CookedV1, Link::CookedV2, Link::RawIp, Link::Null, network] {
            let bytes = build::frame(link, &probe.clone().hop_limit(57).bytes());
            let mut decoder = decoder();
            let packet = decoder.decode(NOW, on(link, &bytes)).expect("a good packet");
            assert_eq!(packet.transport, syn(22), "{link:?}");
            assert_eq!((packet.hop_limit, packet.is_fragmented, packet.has_ip_options), (57, false, false));
        }
    }
}

#[test]
fn vlan_tags_of_any_sensible_depth_are_passed_over() {
    for probe in probes(22) {
        let packet = probe.bytes();
        for depth in 1..=MAXIMUM_VLAN_TAGS {
            let tags: Vec<(u16, u16)> =
                [(0x8100, 0), (0x88a8, 0x2fff), (0x9100, 7)].into_iter().cycle().take(depth).collect();
            for link in [Link::Ethernet, Link::CookedV1, Link::CookedV2, Link::Network { ethertype: 0x8100 }]
            {
                let bytes = build::tagged(link, &tags, &packet);
                let mut decoder = decoder();
                let decoded = decoder.decode(NOW, on(link, &bytes)).expect("a good packet");
                assert_eq!(decoded.transport, syn(22), "{link:?}, {depth} tags");
            }
        }
        let bytes = build::tagged(Link::Ethernet, &[(0x8100, 1); MAXIMUM_VLAN_TAGS + 1], &packet);
        frame_refused(on(Link::Ethernet, &bytes), Refusal::TooManyVlanTags);
    }
}

#[test]
fn bsd_loopback_is_read_in_both_byte_orders_and_by_every_systems_number_for_ipv6() {
    let [probe, probe6] = probes(22).map(|probe| probe.bytes());
    for (family, packet) in [(2_u32, &probe), (10, &probe6), (24, &probe6), (28, &probe6), (30, &probe6)] {
        for header in [family.to_le_bytes(), family.to_be_bytes()] {
            let bytes = [&header, &packet[..]].concat();
            let mut decoder = decoder();
            let decoded = decoder.decode(NOW, on(Link::Null, &bytes)).expect("a good packet");
            assert_eq!(decoded.transport, syn(22), "{header:?}");
        }
    }
    frame_refused(on(Link::Null, &[&[7, 0, 0, 0], &probe[..]].concat()), Refusal::NotIp);
}

#[test]
fn what_is_not_ip_is_refused_as_such() {
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x08, 0x06], &[0; 28]].concat();
    frame_refused(on(Link::Ethernet, &arp), Refusal::NotIp);
    let spanning_tree = [&[1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 38], &[0x42; 38][..]].concat();
    frame_refused(on(Link::Ethernet, &spanning_tree), Refusal::NotIp);
    frame_refused(on(Link::Network { ethertype: 0x0806 }, &[0; 28]), Refusal::NotIp);
}

#[test]
fn a_version_that_the_link_did_not_announce_is_refused() {
    let [probe, probe6] = probes(22).map(|probe| probe.bytes());
    frame_refused(on(Link::Network { ethertype: 0x0800 }, &probe6), Refusal::BadIpVersion);
    frame_refused(on(Link::Network { ethertype: 0x86dd }, &probe), Refusal::BadIpVersion);
    refused(&[0x50; 40], Refusal::BadIpVersion);
}

#[test]
fn a_frame_cut_by_the_capture_is_told_from_one_that_is_too_short() {
    let bytes = build::frame(Link::Ethernet, &probes(22)[0].bytes());
    for length in [0, 5, 13, 14, 33, 50] {
        frame_refused(
            on(Link::Ethernet, &bytes[..length]),
            match length {
                // Here the IP header is whole, and longer than the frame.
                34.. => Refusal::BadIpLength,
                _ => Refusal::TooShort,
            },
        );
        let cut = Frame { bytes: &bytes[..length], ..on(Link::Ethernet, &bytes) };
        frame_refused(cut, Refusal::Truncated);
    }
}
