//! The corpus is what it says: the same each time, made of whole packets, with the truth in it.

use std::collections::BTreeSet;
use std::time::Duration;

use corpus::{Class, Scenario, families, rules};
use portcullis_core::time::Mono;
use portcullis_core::wire::{Checksums, Decoder, FragmentLimits, Frame, Link, Refusal};

fn each(check: impl Fn(&Scenario)) {
    for family in families() {
        check(&family.scenario(1));
    }
}

#[test]
fn names_are_unique_also_as_files() {
    let files: BTreeSet<String> = families().iter().map(|family| family.scenario(0).file_name()).collect();
    assert_eq!(files.len(), families().len());
}

#[test]
fn the_same_seed_gives_the_same_packets_and_another_one_others() {
    each(|scenario| {
        let family = families().into_iter().find(|family| family.name == scenario.family).unwrap();
        assert_eq!(family.scenario(scenario.seed).packets, scenario.packets, "{}", scenario.family);
        assert_ne!(family.scenario(scenario.seed + 1).packets, scenario.packets, "{}", scenario.family);
    });
}

#[test]
fn every_packet_is_whole_and_time_steps_back_by_milliseconds_at_most() {
    each(|scenario| {
        let mut decoder = Decoder::new(FragmentLimits::default(), [0; 16]);
        let mut last = Duration::ZERO;
        assert!(scenario.packets.len() >= 3, "{}: {} packets", scenario.family, scenario.packets.len());
        for captured in &scenario.packets {
            let bytes = &captured.bytes;
            let frame =
                Frame { link: Link::RawIp, bytes, wire_length: bytes.len(), checksums: Checksums::Verify };
            if let Err(refusal) = decoder.decode(Mono(captured.at), frame) {
                let is_fragment = matches!(refusal, Refusal::FragmentPending | Refusal::FragmentRest);
                assert!(is_fragment, "{}: {refusal:?} of {bytes:02x?}", scenario.family);
            }
            let steps = if scenario.about.contains("merged") { 70 * 86_400_000 } else { 10 };
            assert!(captured.at + Duration::from_millis(steps) > last, "{}", scenario.family);
            last = last.max(captured.at);
        }
    });
}

#[test]
fn scans_have_somebody_to_find_and_friends_nobody() {
    each(|scenario| {
        assert_eq!(scenario.class.is_scan(), !scenario.incidents.is_empty(), "{}", scenario.family);
        for incident in &scenario.incidents {
            assert!((1..=incident.sources.len()).contains(&incident.enough));
            for source in &incident.sources {
                let tried = rules::places_tried(scenario, *source, Duration::MAX);
                let least = match scenario.class {
                    Class::Scan => 5,
                    _ if scenario.about.contains("outbound only") => 0,
                    _ => 1,
                };
                assert!(tried >= least, "{} tried {tried} of {}", source, scenario.family);
                assert!(!scenario.local.contains(source));
            }
        }
    });
}
