//! Who has not proved that his packets are his own is held; a ban needs a proof, or an administrator who takes the risk.

use std::time::Duration;

use portcullis_core::engine::answering::{self, Unproved};
use portcullis_core::engine::operator::Selector;
use portcullis_core::engine::{Settings, brake};
use portcullis_core::event::{How, Kind, Mode, Until};
use portcullis_core::ledger::{Change, Found, Past};
use portcullis_core::time::Wall;

use super::story::{self, Story};
use super::{STRANGER, prefix, seconds};

/// A host with the defaults.
pub fn careful() -> Story {
    let answering = answering::Settings {
        unproved: Unproved::Hold,
        brake: brake::Settings { limit: 0 },
        ..answering::Settings::default()
    };
    Story::with(Settings { answering, ..story::settings(Mode::Enforce) })
}

/// One finished handshake to each port, a millisecond apart.
fn connect(story: &mut Story, source: &str, ports: impl IntoIterator<Item = u16>) -> Vec<String> {
    let mut told = Vec::new();
    for port in ports {
        story.pass(Duration::from_millis(1));
        told.extend(story.contact(source, Kind::Connect, port));
    }
    told
}

#[test]
fn a_scan_that_proves_nothing_is_held_for_a_short_time_that_grows() {
    let mut story = careful();
    for length in [60, 120, 120] {
        assert_eq!(
            story.scan(STRANGER, 1..=5),
            [
                "scan 198.51.100.7 syn [1, 2, 3, 4, 5] Hold".to_owned(),
                format!("hold 198.51.100.7/32 {length}s in force")
            ]
        );
        assert_eq!((story.held.len(), story.kernel.len()), (1, 0));
        assert_eq!(story.scan(STRANGER, 6..=100), [""; 0], "passed over");
        story.pass(seconds(length - 1));
        assert_eq!(
            story.pass(seconds(2)),
            ["release [198.51.100.7/32]", "hold of 198.51.100.7/32 expired"],
            "within two minutes he can connect again"
        );
    }
    story.pass(seconds(86_401));
    assert!(story.scan(STRANGER, 1..=5)[1].contains(" 60s"), "who stays away counts as new");
}

#[test]
fn holds_that_others_may_have_forged_lengthen_no_ban() {
    let mut story = careful();
    for _ in 0..3 {
        story.scan(STRANGER, 1..=5);
        story.pass(seconds(121));
    }
    let told = connect(&mut story, STRANGER, 1..=5);
    assert_eq!(told[1], "ban 198.51.100.7/32 600s in force");
}

#[test]
fn a_finished_handshake_at_every_port_of_the_scan_is_a_proof() {
    let mut story = careful();
    assert_eq!(
        connect(&mut story, STRANGER, 1..=5),
        ["scan 198.51.100.7 connect [1, 2, 3, 4, 5] Block", "ban 198.51.100.7/32 600s in force"]
    );
    assert_eq!((story.held.len(), story.kernel.len()), (0, 1));
}

#[test]
fn one_proved_slip_of_a_friend_does_not_make_forged_probes_his() {
    let mut story = careful();
    assert_eq!(connect(&mut story, STRANGER, [1]), [""; 0]);
    let told = story.scan(STRANGER, 2..=5);
    assert_eq!(told[0], "scan 198.51.100.7 syn+connect [1, 2, 3, 4, 5] Hold");
    assert!(story.kernel.is_empty());
}

#[test]
fn who_is_held_and_then_proves_himself_is_banned() {
    let mut story = careful();
    connect(&mut story, STRANGER, [1, 2]);
    assert_eq!(story.scan(STRANGER, 11..=13)[1], "hold 198.51.100.7/32 60s in force");
    // Handshakes that he had begun before are finished now.
    assert_eq!(connect(&mut story, STRANGER, [3, 4]), [""; 0]);
    assert_eq!(connect(&mut story, STRANGER, [5]).last().unwrap(), "ban 198.51.100.7/32 600s in force");
    let ban = story.engine.ban_of(story.now, &prefix(STRANGER)).unwrap();
    assert_eq!((ban.how, ban.times, story.engine.holds()), (How::Banned, 1, 0));
    let over = story.pass(seconds(601));
    assert!(over.contains(&"unban 198.51.100.7/32 expired".to_owned()), "the hold is forgotten: {over:?}");
    assert!(story.held.is_empty() && story.kernel.is_empty());
}

#[test]
fn a_64_is_held_and_a_neighbour_alone() {
    let mut story = careful();
    for n in 1..=5 {
        story.contact(&format!("2001:db8:7::{n}"), Kind::Syn, n);
    }
    story.scan("2001:db8::99", 1..=5);
    assert_eq!(story.held, [prefix("2001:db8:7::/64"), prefix("2001:db8::99")]);
}

#[test]
fn where_the_configuration_knows_that_a_64_has_many_owners_each_is_judged_alone() {
    let mut settings = story::settings(Mode::Enforce);
    settings.answering.apart = vec![prefix("2001:db8:7::/48")];
    let mut story = Story::with(settings);
    for n in 1..=5 {
        story.contact(&format!("2001:db8:7::{n}"), Kind::Syn, n);
    }
    assert!(story.kernel.is_empty());
    story.scan("2001:db8:7::1", 1..=5);
    assert_eq!(story.kernel, [prefix("2001:db8:7::1")]);
}

#[test]
fn holds_are_not_for_the_store_and_bans_are() {
    let mut story = careful();
    story.scan(STRANGER, 1..=5);
    assert!(!story.engine.is_dirty());
    story.pass(seconds(61));
    assert!(!story.engine.is_dirty(), "nor that it ended");
    connect(&mut story, STRANGER, 1..=5);
    let changes = story.engine.changes(story.now, 10);
    assert!(matches!(&changes[..], [Change::Banned { ban, .. }] if ban.how == How::Banned), "{changes:?}");
}

#[test]
fn a_restart_finds_holds_in_the_kernel_and_lets_them_end() {
    let mut story = careful();
    let found = Found { prefix: prefix(STRANGER), how: How::Held, remaining: Some(seconds(30)) };
    story.engine.restore(story.now, &[], &[], &[found], 1);
    assert_eq!(story.told(), ["hold 198.51.100.7/32 30s in force"]);
    assert_eq!(story.scan(STRANGER, 1..=100), [""; 0]);
    assert!(story.pass(seconds(31)).contains(&"hold of 198.51.100.7/32 expired".to_owned()));
}

#[test]
fn a_hold_that_somebody_flushed_is_put_back_as_a_hold() {
    let mut story = careful();
    story.scan(STRANGER, 1..=5);
    story.held.clear();
    story.pass(seconds(1));
    story.engine.compare(story.now, story.now.mono, &[]);
    assert_eq!(story.told(), ["repair 1"]);
    assert_eq!((story.held.clone(), story.kernel.len()), (vec![prefix(STRANGER)], 0));
}

#[test]
fn a_ban_of_which_only_the_hold_is_left_is_put_back() {
    let mut story = careful();
    story.scan(STRANGER, 1..=5);
    story.engine.ban(story.now, prefix(STRANGER), None, "by hand".into()).unwrap();
    story.told();
    story.kernel.clear();
    story.pass(seconds(1));
    let held = Found { prefix: prefix(STRANGER), how: How::Held, remaining: Some(seconds(50)) };
    story.engine.compare(story.now, story.now.mono, &[held]);
    assert_eq!(story.told(), ["repair 1"]);
    assert_eq!(story.kernel, [prefix(STRANGER)]);
}

#[test]
fn what_an_operator_says_stands_over_a_hold() {
    let mut story = careful();
    for n in 1..=5 {
        story.contact(&format!("2001:db8:7::{n}"), Kind::Syn, n);
    }
    let single = prefix("2001:db8:7::1");
    let banned = story.engine.ban(story.now, single, Some(seconds(5)), String::new()).unwrap();
    assert_eq!((banned.how, banned.until), (How::Banned, Until::At(story.now.wall + seconds(5))));
    story.engine.ban(story.now, prefix("2001:db8:7::/48"), Some(seconds(9)), String::new()).unwrap();
    story.told();
    assert!(story.held.is_empty(), "the wider ban took its place");
    story.scan(STRANGER, 1..=5);
    assert_eq!(story.engine.unban(story.now, Selector::Prefix(prefix(STRANGER)))[0].how, How::Held);
    story.scan(STRANGER, 1..=5);
    assert_eq!(story.engine.allow(story.now, &[prefix(STRANGER)], None).unwrap()[0].how, How::Held);
    story.told();
    assert!(story.held.is_empty());
}

#[test]
fn after_a_pardon_bans_begin_small_again_and_say_so() {
    let mut story = Story::new(Mode::Enforce);
    for _ in 0..3 {
        story.scan(STRANGER, 1..=5);
        story.pass(seconds(7200));
    }
    assert_eq!(story.scan(STRANGER, 1..=5)[1], "ban 198.51.100.7/32 4800s in force");
    story.engine.unban(story.now, Selector::Prefix(prefix(STRANGER)));
    story.told();
    let changes = story.engine.changes(story.now, 10);
    let times = |change: &Change| matches!(change, Change::Gone { past: Some(Past { times: 0, .. }), .. });
    assert!(changes.iter().any(times), "{changes:?}");
    story.pass(seconds(600));
    let told = story.scan(STRANGER, 1..=5);
    assert_eq!(told.last().unwrap(), "ban 198.51.100.7/32 600s in force, pardoned before");
    story.pass(seconds(601));
    assert_eq!(story.scan(STRANGER, 1..=5)[1], "ban 198.51.100.7/32 1200s in force");
}

#[test]
fn a_pardon_is_remembered_over_a_restart() {
    let mut story = Story::new(Mode::Enforce);
    let ended = Wall(story.now.wall.0 - seconds(600));
    story.engine.restore(story.now, &[], &[(prefix(STRANGER), Past { times: 0, ended })], &[], 1);
    assert_eq!(story.scan(STRANGER, 1..=5)[1], "ban 198.51.100.7/32 600s in force, pardoned before");
}

#[test]
fn addresses_that_are_nobodys_own_are_refused_and_counted_and_nothing_more() {
    let mut story = careful();
    for source in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.255", "192.0.2.0", "192.0.2.2"] {
        let told = story.scan(source, 1..=5);
        assert!(told.iter().all(|line| line.contains("Protected")), "{source}: {told:?}");
    }
    assert_eq!(story.engine.counters().spared, 6);
    assert!(story.held.is_empty() && story.kernel.is_empty());
    assert_eq!(story.scan(STRANGER, 1..=5)[1], "hold 198.51.100.7/32 60s in force");
}

#[test]
fn four_banned_64_of_one_56_are_banned_as_one_and_held_ones_are_not() {
    let mut story = Story::new(Mode::Enforce);
    for n in 1..=4 {
        story.scan(&format!("2001:db8:7:{n}::1"), 1..=5);
    }
    assert_eq!(story.kernel, [prefix("2001:db8:7::/56")]);
    assert_eq!(story.scan("2001:db8:7:77::1", 1..=5), [""; 0]);
    let ban = story.engine.ban_of(story.now, &prefix("2001:db8:7::/56")).unwrap();
    assert!(format!("{:?}", ban.cause).contains("4 /64 networks"), "{:?}", ban.cause);
    let mut story = careful();
    for n in 1..=8 {
        story.scan(&format!("2001:db8:7:{n}::1"), 1..=5);
    }
    assert_eq!((story.held.len(), story.kernel.len()), (8, 0), "forged, for all we know");
}

#[test]
fn a_wider_ban_shrinks_until_it_hits_nobody_protected() {
    // A gateway is in 2001:db8:1::/64, which lies in the /56.
    let mut story = Story::new(Mode::Enforce);
    for n in 1..=8 {
        story.scan(&format!("2001:db8:1:{n}::1"), 1..=5);
    }
    assert_eq!(story.kernel.len(), 8);
    assert!(story.kernel.iter().all(|prefix| prefix.length() == 64));
    // And where the /48 holds one, its other /56 are banned one by one.
    for n in [0x100, 0x200, 0x300, 0x400] {
        for m in 1..=4 {
            story.scan(&format!("2001:db8:1:{:x}::1", n + m), 1..=5);
        }
    }
    let lengths: Vec<u8> = story.kernel.iter().map(|prefix| prefix.length()).collect();
    assert_eq!(lengths.iter().filter(|length| **length == 56).count(), 4, "{:?}", story.kernel);
    assert!(!lengths.contains(&48));
}

#[test]
fn four_banned_56_are_banned_as_a_48() {
    let mut story = Story::new(Mode::Enforce);
    for n in [0x100, 0x200, 0x300, 0x400] {
        for m in 1..=4 {
            story.scan(&format!("2001:db8:7:{:x}::1", n + m), 1..=5);
        }
    }
    assert_eq!(story.kernel, [prefix("2001:db8:7::/48")]);
}
