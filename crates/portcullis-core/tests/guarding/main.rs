//! Stories of scanners, friends and operators, on virtual time.

#![expect(clippy::unwrap_used, reason = "a story fails where it stands")]

mod brake;
mod doors;
mod evidence;
mod holding;
mod kinds;
mod knocks;
mod properties;
mod singly;
mod story;
mod trial;

use std::time::Duration;

use portcullis_core::engine::operator::{BanRefusal, Selector};
use portcullis_core::event::{Ban, BanState, Cause, How, Id, Kind, Mode, Protection, Until};
use portcullis_core::ledger::{Found, Past};
use portcullis_core::net::Prefix;
use portcullis_core::policy::Connected;
use portcullis_core::time::Wall;
use portcullis_core::wire::build::{self, Extension};
use portcullis_core::wire::{Checksums, Frame, Link, REACH, TcpFlags};
use story::Story;

const STRANGER: &str = "198.51.100.7";
const MINUTES: u64 = 60;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn a_scan_is_told_and_nothing_is_done_while_observing() {
    let mut story = Story::new(Mode::Observe);
    assert_eq!(story.scan(STRANGER, [21, 22, 23, 25]), [""; 0]);
    assert_eq!(story.scan(STRANGER, [80]), ["scan 198.51.100.7 syn [21, 22, 23, 25, 80] Observe"]);
    assert!(story.kernel.is_empty());
    assert_eq!(story.engine.would_have_banned().len(), 1);
}

#[test]
fn a_scanner_is_banned_and_then_passed_over() {
    let mut story = Story::new(Mode::Enforce);
    assert_eq!(
        story.scan(STRANGER, 1..=5),
        ["scan 198.51.100.7 syn [1, 2, 3, 4, 5] Block", "ban 198.51.100.7/32 600s in force"]
    );
    assert_eq!(story.kernel, [prefix(STRANGER)]);
    assert_eq!(story.scan(STRANGER, 6..=1000), [""; 0]);
    assert_eq!(story.engine.counters().banned, 995);
}

#[test]
fn a_scan_that_goes_on_is_told_once_more_when_it_is_over() {
    let mut story = Story::new(Mode::Observe);
    story.scan(STRANGER, 1..=5);
    assert_eq!(story.scan(STRANGER, 6..=8), [""; 0]);
    assert_eq!(story.pass(seconds(59)), [""; 0]);
    assert_eq!(story.pass(seconds(2)), ["scan ended 198.51.100.7 syn [1, 2, 3, 4, 5, 6, 7, 8] Observe"]);
    assert_eq!(story.pass(seconds(3600)), [""; 0]);
}

#[test]
fn bans_end_and_grow_for_who_comes_back() {
    let mut story = Story::new(Mode::Enforce);
    for length in [600, 1200, 2400, 4800, 7200, 7200] {
        let told = story.scan(STRANGER, 1..=5);
        assert!(told.iter().any(|line| line.contains(&format!("ban 198.51.100.7/32 {length}s"))), "{told:?}");
        assert_eq!(story.pass(seconds(length - 1)), [""; 0]);
        assert_eq!(
            story.pass(seconds(2)),
            ["release [198.51.100.7/32]", "unban 198.51.100.7/32 expired"],
            "the kernel's clock may have slept"
        );
    }
    story.pass(seconds(86_400 + 1));
    assert!(story.scan(STRANGER, 1..=5)[1].contains("600s"), "who stays away counts as new");
}

#[test]
fn services_are_nobodys_probe_unless_the_flags_prove_it() {
    let mut story = Story::new(Mode::Enforce);
    story.services.ports.extend(1..=100);
    assert_eq!(story.scan(STRANGER, 1..=100), [""; 0]);
    for port in 1..=4 {
        assert_eq!(story.contact(STRANGER, Kind::Fin, port), [""; 0]);
    }
    assert_eq!(story.contact(STRANGER, Kind::Null, 5)[0], "scan 198.51.100.7 fin+null [1, 2, 3, 4, 5] Block");
}

#[test]
fn a_service_that_has_just_started_saves_its_friend() {
    let mut story = Story::new(Mode::Enforce);
    story.services.come_lately.insert(3);
    assert_eq!(story.scan(STRANGER, 1..=5), [""; 0]);
    assert_eq!(story.engine.counters().withdrawn, 1);
    story.services.come_lately.clear();
    assert_eq!(story.scan(STRANGER, [6])[0], "scan 198.51.100.7 syn [1, 2, 4, 5, 6] Block");
}

#[test]
fn where_the_kernel_cannot_be_asked_nobody_is_blamed() {
    let mut story = Story::new(Mode::Enforce);
    story.services.is_mute = true;
    assert_eq!(story.scan(STRANGER, 1..=1000), [""; 0]);
    assert_eq!(story.engine.counters().unknown, 1000);
}

#[test]
fn nobody_protected_is_banned_whatever_asks() {
    for (source, why) in [
        ("192.0.2.1", "Gateway"),
        ("192.0.2.2", "Own"),
        ("198.51.100.53", "Resolver"),
        ("203.0.113.9", "Allowed"),
    ] {
        let mut story = Story::new(Mode::Enforce);
        let told = story.scan(source, 1..=5);
        assert_eq!(told, [format!("scan {source} syn [1, 2, 3, 4, 5] Protected({why})")]);
        assert!(story.kernel.is_empty());
        let by_hand = story.engine.ban(story.now, prefix(source), None, String::new());
        assert!(matches!(by_hand, Err(BanRefusal::Protected { .. })), "{by_hand:?}");
        assert!(story.told()[0].starts_with("refused"));
    }
}

#[test]
fn far_ipv6_sources_are_banned_by_64_and_near_ones_alone() {
    let mut story = Story::new(Mode::Enforce);
    let far: Vec<String> =
        (1..=5).flat_map(|n| story.contact(&format!("2001:db8:7::{n}"), Kind::Syn, n)).collect();
    assert_eq!(far.len(), 6, "one line for each member, one for the ban: {far:?}");
    assert_eq!(story.kernel, [prefix("2001:db8:7::/64")]);
    story.kernel.clear();
    story.scan("2001:db8::77", 1..=5);
    story.scan("2001:db8:1::bad", 1..=5);
    assert_eq!(
        story.kernel,
        [prefix("2001:db8::77"), prefix("2001:db8:1::bad")],
        "the gateway shares its /64"
    );
}

#[test]
fn who_shares_a_64_with_somebody_protected_neither_hides_behind_him_nor_blames_a_neighbour() {
    let mut story = Story::new(Mode::Enforce);
    story.scan("2001:db8:1::bad", 1..=4);
    story.scan("2001:db8:1::1", [5]);
    story.scan("2001:db8:1::900d", [5]);
    assert!(story.kernel.is_empty(), "one probe each is no scan of the gateway or a neighbour");
    story.scan("2001:db8:1::bad", 5..=60);
    assert_eq!(story.kernel, [prefix("2001:db8:1::bad")]);
}

#[test]
fn protection_that_is_over_shields_nobody() {
    let mut story = Story::new(Mode::Enforce);
    story.engine.allow(story.now, &[prefix(STRANGER)], Some(seconds(600))).unwrap();
    story.scan(STRANGER, 1..=5);
    let mut port = 100;
    for _ in 0..12 {
        story.pass(seconds(50));
        port += 1;
        story.scan(STRANGER, [port]);
    }
    story.pass(seconds(1));
    story.scan(STRANGER, 1..=5);
    assert_eq!(story.kernel, [prefix(STRANGER)]);
}

#[test]
fn a_neighbours_address_by_the_wrong_interface_is_nobodys_probe() {
    let mut story = Story::new(Mode::Enforce);
    let mut surroundings = story::surroundings();
    surroundings.connected.push(Connected { network: prefix("172.17.0.0/16"), interface: 7 });
    story.engine.surround(story.now, surroundings);
    story.scan("172.17.0.2", 1..=100);
    assert!(story.kernel.is_empty());
    assert_eq!(story.engine.counters().misplaced, 100);
}

#[test]
fn what_an_earlier_run_remembers_grows_no_younger_by_a_reboot() {
    let mut story = Story::new(Mode::Enforce);
    let ended = |days_ago: u64| Past { times: 3, ended: Wall(story.now.wall.0 - seconds(days_ago * 86_400)) };
    let past = [(prefix(STRANGER), ended(5)), (prefix("198.51.100.8"), ended(0))];
    story.engine.restore(story.now, &[], &past, &[], 1);
    assert!(story.scan(STRANGER, 1..=5)[1].contains(" 600s"), "memory is a day");
    assert!(story.scan("198.51.100.8", 1..=5)[1].contains(" 4800s"));
}

#[test]
fn late_answers_ban_nobody() {
    let mut story = Story::new(Mode::Enforce);
    for port in 40_000..41_000 {
        assert_eq!(story.contact(STRANGER, Kind::Udp, port), [""; 0]);
        assert_eq!(story.contact(STRANGER, Kind::Maimon, port), [""; 0]);
    }
    assert_eq!(story.scan(STRANGER, 1..=4), [""; 0], "all the answers of one port are a quarter of a probe");
    assert!(!story.scan(STRANGER, [5]).is_empty());
}

#[test]
fn a_refused_ban_is_tried_again_and_never_called_done() {
    let mut story = Story::new(Mode::Enforce);
    story.kernel_agrees = false;
    let told = story.scan(STRANGER, 1..=5);
    assert_eq!(told[1], "ban 198.51.100.7/32 600s not in force");
    assert_eq!(told[2], "fault NotEnforced { bans: 1, answer: \"no\" }");
    assert_eq!(story.pass(seconds(1)).len(), 3, "after 0.1, 0.3 and 0.7 s");
    story.kernel_agrees = true;
    assert_eq!(story.pass(seconds(1)), ["ban 198.51.100.7/32 600s in force"]);
    assert_eq!(story.kernel, [prefix(STRANGER)]);
}

#[test]
fn what_was_flushed_is_put_back_with_the_time_it_has_left() {
    let mut story = Story::new(Mode::Enforce);
    story.scan(STRANGER, 1..=5);
    story.pass(seconds(5 * MINUTES));
    story.kernel.clear();
    story.engine.compare(story.now, story.now.mono, &[]);
    assert_eq!(story.told(), ["repair 1"], "each ban was told when it began");
    assert_eq!(story.kernel, [prefix(STRANGER)]);
    let ended = story.pass(seconds(5 * MINUTES));
    assert!(
        ended.contains(&"unban 198.51.100.7/32 expired".to_owned()),
        "ten minutes after it began: {ended:?}"
    );
}

#[test]
fn what_a_listing_could_not_know_is_neither_missed_nor_adopted() {
    let mut story = Story::new(Mode::Enforce);
    let listed = story.now.mono;
    story.scan(STRANGER, 1..=5);
    story.engine.compare(story.now, listed, &[]);
    assert_eq!(story.told(), [""; 0], "banned after the listing was begun");
    let listed = story.now.mono;
    story.engine.unban(story.now, Selector::All);
    story.told();
    story.engine.compare(story.now, listed, &[Found::banned(prefix(STRANGER), Some(seconds(60)))]);
    assert_eq!(story.told(), [""; 0], "released after the listing was begun");
}

#[test]
fn a_stranger_in_the_sets_is_adopted_but_nobody_protected() {
    let mut story = Story::new(Mode::Observe);
    let held = [Found::banned(prefix(STRANGER), Some(seconds(60))), Found::banned(prefix("192.0.2.1"), None)];
    story.engine.compare(story.now, story.now.mono, &held);
    assert_eq!(story.told(), ["ban 198.51.100.7/32 60s in force", "release [192.0.2.1/32]"]);
}

#[test]
fn observing_lets_automatic_bans_out_and_keeps_those_made_by_hand() {
    let mut story = Story::new(Mode::Enforce);
    story.scan(STRANGER, 1..=5);
    story.engine.ban(story.now, prefix("198.18.0.0/15"), None, "noise".into()).unwrap();
    story.told();
    assert_eq!(story.engine.set_mode(story.now, Mode::Observe).len(), 1);
    story.told();
    assert_eq!(story.kernel, [prefix("198.18.0.0/15")]);
    assert!(!story.scan(STRANGER, 1..=5).is_empty(), "he is judged anew");
    story.engine.set_mode(story.now, Mode::Enforce);
    assert!(story.scan(STRANGER, 1..=5)[0].ends_with("Block"), "also while his scan is under way");
}

#[test]
fn a_wider_ban_takes_the_place_of_those_that_end_earlier() {
    let mut story = Story::new(Mode::Enforce);
    story.scan(STRANGER, 1..=5);
    let refused = story.engine.ban(story.now, prefix("198.51.100.0/28"), Some(seconds(60)), String::new());
    assert!(matches!(refused, Err(BanRefusal::Overlaps { .. })), "the scanner's ban lasts longer");
    story.engine.ban(story.now, prefix("198.51.100.0/28"), Some(seconds(3600)), String::new()).unwrap();
    story.told();
    assert_eq!(story.kernel, [prefix("198.51.100.0/28")]);
    assert_eq!(story.scan("198.51.100.3", 1..=100), [""; 0], "its members are banned");
}

#[test]
fn an_allowance_lifts_the_ban_and_ends_in_time() {
    let mut story = Story::new(Mode::Enforce);
    story.scan(STRANGER, 1..=5);
    story.engine.allow(story.now, &[prefix(STRANGER)], Some(seconds(60))).unwrap();
    assert_eq!(
        story.told(),
        ["release [198.51.100.7/32]", "unban 198.51.100.7/32 protected now", "allow 198.51.100.7/32 true"]
    );
    let told = story.scan(STRANGER, 1..=5);
    assert!(told.iter().any(|line| line.ends_with(&format!("Protected({:?})", Protection::AllowedByHand))));
    assert!(story.pass(seconds(61)).contains(&"allow 198.51.100.7/32 false".to_owned()));
    story.pass(seconds(61));
    assert!(story.scan(STRANGER, 1..=5)[0].ends_with("Block"));
}

#[test]
fn a_clock_that_jumps_changes_no_ban() {
    let mut story = Story::new(Mode::Enforce);
    story.scan(STRANGER, 1..=5);
    story.now.wall.0 += seconds(86_400 * 365);
    assert_eq!(story.pass(seconds(590)), [""; 0]);
    story.now.wall.0 -= seconds(2 * 86_400 * 365);
    assert_eq!(story.pass(seconds(11))[1], "unban 198.51.100.7/32 expired");
}

#[test]
fn what_the_store_refuses_is_called_unsaved_and_offered_again() {
    let mut story = Story::new(Mode::Enforce);
    story.scan(STRANGER, 1..=5);
    let state = |story: &Story| story.engine.ban_of(story.now, &prefix(STRANGER)).unwrap().state;
    let changes = story.engine.changes(story.now, 100);
    assert_eq!((changes.len(), story.engine.is_dirty()), (1, false));
    story.engine.saved(&changes, false);
    assert_eq!((state(&story).words(), story.engine.is_dirty()), ("in force, unsaved", true));
    let changes = story.engine.changes(story.now, 100);
    story.engine.saved(&changes, true);
    assert_eq!((state(&story).words(), story.engine.is_dirty()), ("in force", false));
}

#[test]
fn the_largest_numbers_that_a_store_can_hold_stop_nothing() {
    let mut story = Story::new(Mode::Enforce);
    let ended = story.now.wall;
    let past = [(prefix(STRANGER), Past { times: u32::MAX, ended })];
    let ban = Ban {
        id: Id(u64::MAX - 8),
        prefix: prefix("198.18.0.1"),
        how: How::Banned,
        cause: Cause::FoundInForce,
        since: ended,
        until: Until::Ever,
        state: BanState::Pending,
        times: u32::MAX,
        pardoned: None,
    };
    story.engine.restore(story.now, &[(ban, None)], &past, &[], 0);
    story.told();
    assert!(story.scan(STRANGER, 1..=5).contains(&"ban 198.51.100.7/32 7200s in force".to_owned()));
}

#[test]
fn an_unbanned_scanner_has_to_be_found_anew() {
    let mut story = Story::new(Mode::Enforce);
    story.scan(STRANGER, 1..=5);
    assert_eq!(story.engine.unban(story.now, Selector::Prefix(prefix("198.51.100.0/24"))).len(), 1);
    story.told();
    assert_eq!(story.scan(STRANGER, 6..=9), [""; 0]);
    assert!(story.scan(STRANGER, [10])[0].contains("Block"));
}

#[test]
fn an_address_is_let_in_again_though_its_64_was_banned_but_never_out_of_a_ban_by_hand() {
    let mut story = Story::new(Mode::Enforce);
    story.scan("2001:db8:7::1", 1..=5);
    let single = Selector::Prefix(prefix("2001:db8:7::1"));
    assert_eq!(story.engine.unban(story.now, single)[0].prefix, prefix("2001:db8:7::/64"));
    story.engine.ban(story.now, prefix("2001:db8:7::/48"), None, String::new()).unwrap();
    story.told();
    assert_eq!(story.engine.unban(story.now, single), []);
    assert_eq!(story.engine.bans_around(story.now, &prefix("2001:db8:7::1"))[0].prefix.length(), 48);
}

#[test]
fn who_is_to_be_let_in_is_let_in_as_soon_as_the_kernel_agrees() {
    let mut story = Story::new(Mode::Enforce);
    story.scan(STRANGER, 1..=5);
    story.kernel_agrees = false;
    story.engine.unban(story.now, Selector::All);
    story.told();
    assert!(story.engine.is_release_owed(&prefix(STRANGER)));
    story.pass(seconds(61));
    let held = [Found::banned(prefix(STRANGER), Some(seconds(500)))];
    story.engine.compare(story.now, story.now.mono, &held);
    assert_eq!(story.told(), [""; 0], "he is not adopted as somebody's ban");
    story.kernel_agrees = true;
    assert_eq!(story.pass(seconds(60)), ["release [198.51.100.7/32]"]);
    assert!(story.kernel.is_empty());
    assert_eq!(story.pass(seconds(3600)), [""; 0]);
}

#[test]
fn who_is_banned_anew_is_not_let_in_by_an_old_debt() {
    let mut story = Story::new(Mode::Enforce);
    story.scan(STRANGER, 1..=5);
    story.kernel_agrees = false;
    story.engine.unban(story.now, Selector::All);
    story.told();
    story.kernel_agrees = true;
    story.scan(STRANGER, 1..=5);
    story.pass(seconds(120));
    assert_eq!(story.kernel.len(), 2, "in the sets twice in this story, and not taken out");
}

#[test]
fn early_and_repeated_ticks_are_harmless() {
    let mut story = Story::new(Mode::Enforce);
    story.scan(STRANGER, 1..=5);
    for _ in 0..1000 {
        story.engine.tick(story.now, &mut story.services);
        assert_eq!(story.told(), [""; 0]);
    }
}

#[test]
fn a_flood_of_made_up_sources_does_not_hide_a_scanner() {
    let mut story = Story::new(Mode::Enforce);
    story.scan(STRANGER, [1, 2]);
    for number in 0..200_000u32 {
        let source = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
        story.contact(&source, Kind::Syn, 80);
    }
    assert!(story.engine.suspects().0 <= 1024);
    assert_eq!(story.scan(STRANGER, [3, 4, 5])[0], "scan 198.51.100.7 syn [1, 2, 3, 4, 5] Block");
}

#[test]
fn ports_out_of_sight_make_a_scan_whose_record_names_none() {
    let mut story = Story::new(Mode::Enforce);
    let packet = build::ip("2001:db8:7::1", "2001:db8::2", build::tcp(40_000, 22, TcpFlags::SYN))
        .extension(Extension::DestinationOptions(392))
        .bytes();
    let bytes = &packet[..REACH];
    let mut told = Vec::new();
    for _ in 0..5 {
        assert_eq!(told, [""; 0]);
        let (link, checksums) = (Link::RawIp, Checksums::Verify);
        let frame = Frame { link, bytes, wire_length: packet.len(), checksums };
        story.engine.frame(story.now, frame, 1, &mut story.services);
        told = story.told();
    }
    assert_eq!(told[0], "scan 2001:db8:7::1 fragments [] Block");
}
