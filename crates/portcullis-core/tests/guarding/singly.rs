//! What the engine promises where events are judged one by one, as PortSentry did.

use std::time::Duration;

use portcullis_core::engine::singly;
use portcullis_core::event::{Kind, Mode};
use portcullis_core::ledger::Terms;

use crate::story::{self, Story};

const FRIEND: &str = "203.0.113.7";
const STRANGER: &str = "198.51.100.7";

fn story(enough: u32, mode: Mode) -> Story {
    let terms = Terms { first: None, growth: 1.0, ..story::settings(mode).terms };
    let singly =
        singly::Settings { enough, sources: 1024, blocks_tcp: true, blocks_udp: false, tells_blocked: true };
    Story::with(portcullis_core::engine::Settings { terms, singly: Some(singly), ..story::settings(mode) })
}

#[test]
fn the_first_event_blocks_for_ever_and_each_later_one_is_told() {
    let mut story = story(0, Mode::Enforce);
    assert_eq!(
        story.contact(STRANGER, Kind::Syn, 111),
        ["probe 198.51.100.7 syn 111 Blocked", "ban 198.51.100.7/32 ever in force"]
    );
    story.pass(Duration::from_secs(400 * 86_400));
    assert_eq!(story.contact(STRANGER, Kind::Fin, 1), ["probe 198.51.100.7 fin 1 BlockedBefore"]);
}

#[test]
fn the_nth_event_blocks_whenever_the_others_were_and_whatever_they_hit() {
    let mut story = story(3, Mode::Enforce);
    for _ in 0..2 {
        assert_eq!(story.contact(STRANGER, Kind::Syn, 111), ["probe 198.51.100.7 syn 111 Counted"]);
        story.pass(Duration::from_secs(30 * 86_400));
    }
    assert_eq!(story.contact(STRANGER, Kind::Syn, 111)[0], "probe 198.51.100.7 syn 111 Blocked");
}

#[test]
fn a_transport_that_is_only_watched_is_told_and_blocks_nobody() {
    let mut story = story(1, Mode::Enforce);
    assert_eq!(
        story.contact(STRANGER, Kind::Udp, 69),
        ["probe 198.51.100.7 udp 69 OnlyTold { is_first: true }"]
    );
    assert_eq!(
        story.contact(STRANGER, Kind::Udp, 69),
        ["probe 198.51.100.7 udp 69 OnlyTold { is_first: false }"]
    );
    assert!(story.kernel.is_empty());
}

#[test]
fn friends_gateways_and_resolvers_are_told_as_such_and_never_counted() {
    let mut story = story(2, Mode::Enforce);
    for _ in 0..5 {
        assert_eq!(story.contact(FRIEND, Kind::Syn, 111), ["probe 203.0.113.7 syn 111 Protected(Allowed)"]);
    }
    assert_eq!(story.contact("192.0.2.1", Kind::Syn, 111), ["probe 192.0.2.1 syn 111 Protected(Gateway)"]);
    assert!(story.kernel.is_empty());
}

#[test]
fn segments_of_connections_and_answers_are_no_events() {
    let mut story = story(0, Mode::Enforce);
    assert!(story.contact(STRANGER, Kind::Maimon, 111).is_empty());
    assert!(story.contact(STRANGER, Kind::Sctp, 111).is_empty());
    assert_eq!(story.engine.counters().no_contact, 2);
}

#[test]
fn a_service_shields_its_port_from_odd_flags_too_and_one_that_has_just_come_as_well() {
    let mut story = story(0, Mode::Enforce);
    story.services.ports.insert(143);
    story.services.come_lately.insert(20);
    assert!(story.contact(STRANGER, Kind::Xmas, 143).is_empty());
    assert!(story.contact(STRANGER, Kind::Syn, 20).is_empty());
    assert!(story.kernel.is_empty());
}

#[test]
fn a_source_whose_line_was_taken_out_is_let_in_and_begins_anew() {
    let mut story = story(0, Mode::Enforce);
    story.contact(STRANGER, Kind::Syn, 111);
    story.engine.rearm(story.now, STRANGER.parse().expect("an address"));
    assert_eq!(story.told(), ["release [198.51.100.7/32]", "unban 198.51.100.7/32 by hand"]);
    assert_eq!(story.contact(STRANGER, Kind::Syn, 111)[0], "probe 198.51.100.7 syn 111 Blocked");
}

#[test]
fn neighbours_in_one_ipv6_network_are_judged_one_by_one() {
    let mut story = story(0, Mode::Enforce);
    story.contact("2001:db8:9::1", Kind::Syn, 111);
    assert_eq!(story.contact("2001:db8:9::2", Kind::Syn, 111)[0], "probe 2001:db8:9::2 syn 111 Blocked");
}

#[test]
fn told_only_where_the_mode_is_observe() {
    let mut story = story(0, Mode::Observe);
    assert_eq!(
        story.contact(STRANGER, Kind::Syn, 111),
        ["probe 198.51.100.7 syn 111 OnlyTold { is_first: true }"]
    );
    assert!(story.kernel.is_empty());
}
