//! Too many scanners at once: protection goes on, and friends are kept out of it.

use portcullis_core::engine::answering::{self, Unproved};
use portcullis_core::engine::{Settings, brake};
use portcullis_core::event::{Kind, Mode};

use super::story::{self, Story};
use super::{prefix, seconds};

fn with(unproved: Unproved) -> Story {
    let answering = answering::Settings {
        unproved,
        brake: brake::Settings { limit: 10 },
        ..answering::Settings::default()
    };
    Story::with(Settings { answering, ..story::settings(Mode::Enforce) })
}

fn flood(story: &mut Story, count: u8) -> Vec<String> {
    (0..count).flat_map(|n| story.scan(&format!("198.18.0.{n}"), 1..=5)).collect()
}

#[test]
fn beyond_the_rate_who_is_not_proved_gets_the_short_hold_and_who_is_proved_a_ban() {
    let mut story = with(Unproved::Ban);
    let told = flood(&mut story, 20);
    assert!(told.contains(&"brake true []".to_owned()), "{told:?}");
    assert_eq!((story.kernel.len(), story.held.len()), (10, 10));
    assert!(told.iter().filter(|line| line.starts_with("hold")).all(|line| line.contains(" 60s ")));
    for port in 1..=5 {
        story.contact("198.18.1.1", Kind::Connect, port);
    }
    assert!(story.kernel.contains(&prefix("198.18.1.1")), "a proved one is banned as ever");
    assert_eq!(story.kernel.len(), 11);
}

#[test]
fn holds_do_not_grow_while_it_is_on() {
    let mut story = with(Unproved::Hold);
    for _ in 0..2 {
        story.scan("198.18.7.7", 1..=5);
        story.pass(seconds(121));
    }
    flood(&mut story, 20);
    assert_eq!(story.scan("198.18.7.7", 1..=5)[1], "hold 198.18.7.7/32 60s in force");
}

#[test]
fn who_is_connected_with_us_is_kept_back_and_listed() {
    let mut story = with(Unproved::Hold);
    let friend = "198.51.100.7";
    story.services.peers.insert(friend.parse().unwrap());
    assert!(story.engine.kept_back().is_none());
    flood(&mut story, 20);
    assert_eq!(story.scan(friend, 1..=5), ["scan 198.51.100.7 syn [1, 2, 3, 4, 5] Protected(Peer)"]);
    assert!(!story.held.contains(&prefix(friend)));
    assert_eq!(story.engine.kept_back().unwrap().iter().collect::<Vec<_>>(), [&prefix(friend)]);
    assert_eq!(story.engine.counters().kept_back, 1);
    assert!(story.engine.would_keep_back(&prefix("198.51.100.0/24"), &mut story.services));
    // A connection to some service makes nobody immune.
    story.services.peers.insert("198.51.100.66".parse().unwrap());
    for port in 1..=5 {
        story.contact("198.51.100.66", Kind::Connect, port);
    }
    assert_eq!(story.kernel, [prefix("198.51.100.66")]);
    let told = story.pass(seconds(60));
    assert!(told.contains(&"brake false [198.51.100.7/32]".to_owned()), "it lets go by itself: {told:?}");
    flood(&mut story, 20);
    assert!(story.engine.kept_back().is_some());
    assert_eq!(
        story.scan(friend, 6..=10).last().unwrap(),
        "hold 198.51.100.7/32 60s in force",
        "who goes on is held like everybody: a connection is no way to be immune"
    );
}

#[test]
fn who_is_kept_back_does_not_keep_it_on() {
    let mut story = with(Unproved::Hold);
    flood(&mut story, 20);
    for n in 0..25 {
        let peer = format!("198.51.100.{n}");
        story.services.peers.insert(peer.parse().unwrap());
        story.pass(seconds(1));
        story.scan(&peer, 1..=5);
    }
    story.pass(seconds(10));
    assert!(story.engine.kept_back().is_none(), "half a minute after the last that counted it has let go");
}

#[test]
fn while_observing_there_is_nothing_to_brake() {
    let mut story = with(Unproved::Hold);
    story.engine.set_mode(story.now, Mode::Observe);
    let told = flood(&mut story, 50);
    assert!(!told.iter().any(|line| line.starts_with("brake")), "{told:?}");
}

#[test]
fn what_is_protected_never_puts_it_on() {
    let mut story = with(Unproved::Hold);
    for _ in 0..50 {
        for source in ["192.0.2.1", "224.0.0.1", "0.0.0.0"] {
            story.scan(source, 1..=5);
        }
        story.pass(seconds(1));
    }
    assert!(story.engine.kept_back().is_none());
}
