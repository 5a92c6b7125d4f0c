//! Stories of doors whose sequence follows from a key and the time.

use portcullis_core::door::rotating::{HostId, Shape, derive};
use portcullis_core::door::{Key, Rotating, Trace, User};
use portcullis_core::time::Wall;
use zeroize::Zeroizing;

use super::*;

fn key(byte: u8) -> Key {
    Key::new(Zeroizing::new(vec![byte; 32])).unwrap()
}

const HOST: HostId = HostId([7; 16]);

pub(super) fn rotating() -> Door {
    let keys = vec![(User("ann".into()), key(1)), (User("bob".into()), key(2))];
    let lock = Rotating { keys, host: HOST, shape: Shape::default(), drift: 1, window: seconds(20) };
    Door { lock: Lock::Rotating(lock), ..ssh() }
}

/// The steps for the time step that is so many away from now.
pub(super) fn steps(story: &Story, key_byte: u8, away: i64) -> Vec<(Protocol, u16)> {
    let now = Shape::default().time_step(story.now.wall);
    let step = now.checked_add_signed(away).unwrap();
    derive(&key(key_byte), &"ssh".parse().unwrap(), HOST, &Shape::default(), step)
}

pub(super) fn send(story: &mut Story, source: &str, steps: &[(Protocol, u16)]) {
    for step in steps {
        story.step(source, *step);
        story.pass(millis(5));
    }
}

#[test]
fn a_rotating_knock_opens_once_in_any_order_and_with_repeated_packets() {
    for source in [GUEST, "2001:db8:7::7"] {
        let mut story = Story::with(with(vec![rotating()]));
        let mut knock = steps(&story, 2, 0);
        knock.swap(0, 3);
        knock.insert(2, knock[1]);
        send(&mut story, source, &knock);
        assert!(story.is_open(source));
        assert_eq!(story.engine.openings(story.now)[0].user, Some(User("bob".into())));
        for thief in [source, "198.51.100.9"] {
            story.engine.close(story.now, SSH, None);
            send(&mut story, thief, &knock);
            assert!(story.open.is_empty(), "recorded and sent again by {thief}");
        }
        assert!(story.engine.traces().iter().any(|trace| trace.why == Why::Replayed));
    }
}

#[test]
fn a_rotating_knock_is_good_for_its_time_only_and_the_trace_tells_the_clock() {
    for (away, opens) in [(-2, false), (-1, true), (0, true), (2, false), (-9, false)] {
        let mut story = Story::with(with(vec![rotating()]));
        let knock = steps(&story, 1, away);
        send(&mut story, GUEST, &knock);
        assert_eq!(story.is_open(GUEST), opens, "{away}");
        if !opens {
            let trace = story.engine.traces().remove(0);
            assert_eq!((trace.why, trace.clock_difference), (Why::Clock, Some(away * 30)), "{away}");
            assert!(story.engine.counters().probes > 0);
        }
    }
}

#[test]
fn a_guest_whose_clock_is_ahead_waits_until_ours_is_there() {
    let mut story = Story::with(with(vec![rotating()]));
    let knock = steps(&story, 1, 1);
    send(&mut story, GUEST, &knock);
    assert!(story.open.is_empty());
    story.pass(seconds(30));
    assert!(story.is_open(GUEST));
    assert_eq!(story.engine.counters().probes, 0);
}

#[test]
fn after_a_start_nothing_opens_that_may_have_been_used_before() {
    let mut story = Story::with(with(vec![rotating()]));
    story.pass(seconds(10));
    let used = steps(&story, 1, 0);
    send(&mut story, GUEST, &used);
    assert!(story.is_open(GUEST));
    let stopped = story.now;
    for set_back in [0, 20, 3600] {
        let mut again = Story::with(with(vec![rotating()]));
        again.now = stopped.later(seconds(1));
        again.now.wall = Wall(again.now.wall.0 - seconds(set_back));
        again.engine.refuse_before(stopped.wall + seconds(5));
        send(&mut again, "198.51.100.9", &used);
        assert!(again.open.is_empty(), "replayed after a crash, with the clock set back by {set_back} s");
        again.now = stopped.later(seconds(60));
        let fresh = steps(&again, 1, 0);
        send(&mut again, GUEST, &fresh);
        assert!(again.is_open(GUEST));
    }
}

/// What is told of a knock by somebody who then scans, and how the knock ended.
fn told_of(mut story: Story, source: &str, knock: &[(Protocol, u16)]) -> (Vec<String>, Option<Why>) {
    let mut told = Vec::new();
    for step in knock {
        told.extend(story.step(source, *step));
        told.extend(story.pass(millis(5)));
    }
    let why = story.engine.traces().first().map(|trace| trace.why);
    told.extend(story.pass(seconds(30)));
    told.extend(story.scan(source, [11, 12, 13, 14, 15]));
    told.extend(story.pass(seconds(120)));
    (told, why)
}

#[test]
fn a_knock_that_the_start_refuses_is_a_refusal_and_no_probe() {
    let mut story = Story::with(with(vec![rotating(), Door { name: "web".parse().unwrap(), ..ssh() }]));
    story.engine.refuse_before(story.now.wall + seconds(3));
    let knock = steps(&story, 1, 0);
    send(&mut story, GUEST, &knock);
    assert_eq!((story.engine.counters().probes, story.last_why()), (0, Why::BeforeStart));
    assert!(story.open.is_empty() && story.kernel.is_empty());
    story.knock(GUEST, &[7000, 9000, 8000]);
    assert!(story.open.contains(&(DoorId(1), address(GUEST))), "nor does it spoil what comes next");
    story.pass(seconds(31));
    let next = steps(&story, 1, 0);
    send(&mut story, GUEST, &next);
    assert!(story.is_open(GUEST));
    assert_eq!(story.engine.counters().probes, 0);
}

#[test]
fn half_a_knock_that_the_start_would_refuse_counts_after_all() {
    let mut story = Story::with(with(vec![rotating()]));
    story.engine.refuse_before(story.now.wall + seconds(3));
    let knock = steps(&story, 1, 0);
    send(&mut story, GUEST, &knock[..5]);
    assert_eq!(story.engine.counters().probes, 0);
    story.pass(seconds(21));
    assert_eq!((story.engine.counters().probes, story.last_why()), (5, Why::TimedOut));
}

#[test]
fn a_guest_who_knocks_twice_is_no_scanner_and_who_repeats_his_knock_is() {
    let mut story = Story::with(with(vec![rotating()]));
    let knock = steps(&story, 1, 0);
    for _ in 0..3 {
        send(&mut story, GUEST, &knock);
    }
    assert_eq!((story.engine.counters().probes, story.last_why()), (0, Why::Repeated));
    assert!(story.is_open(GUEST) && story.kernel.is_empty());
    send(&mut story, "198.51.100.9", &knock);
    assert!(!story.is_open("198.51.100.9"));
    let distinct = knock.len() as u64;
    assert!((5..=distinct).contains(&story.engine.counters().probes), "{}", story.engine.counters().probes);
    assert_eq!(story.kernel.len(), 1);
}

#[test]
fn no_record_of_a_rotating_knock_that_failed_names_its_ports() {
    for (away, before, why) in
        [(0, 3, Why::BeforeStart), (-1, 0, Why::Opened), (5, 0, Why::Clock), (-9, 0, Why::Clock)]
    {
        for count in [3, 6] {
            let mut story = Story::with(with(vec![rotating()]));
            story.engine.refuse_before(Wall(story.now.wall.0.saturating_sub(seconds(600))));
            if before > 0 {
                story.engine.refuse_before(story.now.wall + seconds(before));
            }
            let knock = steps(&story, 1, away);
            let (told, last) = told_of(story, GUEST, &knock[..count]);
            if count == 6 {
                assert_eq!(last, Some(why));
            }
            let scan = told.iter().find(|line| line.starts_with("scan"));
            assert!(scan.is_some(), "he is told as a scanner in the end: {told:?}");
            for (_, port) in &knock {
                let names = |line: &&String| {
                    line.split(|c: char| !c.is_ascii_digit()).any(|word| word == port.to_string())
                };
                assert!(!told.iter().any(|line| names(&line)), "{away}, {count} of 6: {port} in {told:?}");
            }
        }
    }
}

#[test]
fn half_a_knock_that_is_sent_again_and_again_is_not_told_by_its_ports() {
    for count in 1..=5 {
        let story = Story::with(with(vec![rotating()]));
        let knock = steps(&story, 1, 0);
        let again: Vec<_> = (0..4).flat_map(|_| knock[..count].iter().copied()).collect();
        let (told, _) = told_of(story, GUEST, &again);
        assert!(
            told.iter().any(|line| line.starts_with("scan")),
            "he is told as a scanner in the end: {told:?}"
        );
        for (_, port) in knock {
            let names =
                |line: &str| line.split(|c: char| !c.is_ascii_digit()).any(|own| own == port.to_string());
            assert!(!told.iter().any(|line| names(line)), "{count} of 6: {port} in {told:?}");
        }
    }
}

#[test]
fn a_knock_waits_until_a_start_after_a_crash_would_refuse_it() {
    let mut story = Story::with(with(vec![rotating()]));
    story.engine.covered_until(story.now.wall + seconds(15));
    story.now.wall = story.now.wall + seconds(3600);
    let knock = steps(&story, 1, 0);
    send(&mut story, GUEST, &knock);
    story.pass(seconds(3));
    assert!(story.open.is_empty(), "the clock was set forward, and the mark lies behind");
    story.engine.covered_until(story.now.wall + seconds(15));
    story.pass(seconds(1));
    assert!(story.is_open(GUEST));
    assert_eq!(story.engine.counters().probes, 0);
    let other = steps(&story, 2, 0);
    story.engine.covered_until(Wall(story.now.wall.0 - seconds(600)));
    send(&mut story, "198.51.100.9", &other);
    story.pass(seconds(100));
    assert!(!story.is_open("198.51.100.9"), "the disk keeps no mark any more");
    assert_eq!(story.last_why(), Why::NotSpent);
}

#[test]
fn a_clock_set_back_brings_no_old_knock_to_life() {
    let mut story = Story::with(with(vec![rotating()]));
    let recorded = steps(&story, 1, 0);
    send(&mut story, GUEST, &recorded);
    story.pass(seconds(600));
    let other = steps(&story, 2, 0);
    send(&mut story, "198.51.100.9", &other);
    story.engine.close(story.now, SSH, None);
    story.told();
    story.now.wall = Wall(story.now.wall.0 - seconds(600));
    send(&mut story, "198.51.100.10", &recorded);
    assert!(story.open.is_empty());
}

#[test]
fn a_knock_made_for_another_host_or_door_or_with_another_key_opens_nothing() {
    let mut story = Story::with(with(vec![rotating()]));
    let step = Shape::default().time_step(story.now.wall);
    let name = |text: &str| text.parse().unwrap();
    for (number, knock) in [
        derive(&key(1), &name("ssh"), HostId([8; 16]), &Shape::default(), step),
        derive(&key(1), &name("web"), HOST, &Shape::default(), step),
        derive(&key(3), &name("ssh"), HOST, &Shape::default(), step),
    ]
    .iter()
    .enumerate()
    {
        send(&mut story, &format!("198.51.100.{}", 20 + number), knock);
        assert!(story.open.is_empty());
    }
}

#[test]
fn forged_packets_in_the_middle_do_not_disturb_a_rotating_knock() {
    let mut story = Story::with(with(vec![rotating()]));
    let knock = steps(&story, 1, 0);
    send(&mut story, GUEST, &knock[..3]);
    story.knock(GUEST, &[7000, 30_000, 22, 9]);
    story.syn(GUEST, knock[1].1);
    send(&mut story, GUEST, &knock[3..]);
    assert!(story.is_open(GUEST));
}

/// So many ports that are no steps, but might be.
fn others(story: &Story, count: usize) -> Vec<u16> {
    let of_ann: Vec<u16> = (-12..=12).flat_map(|away| steps(story, 1, away)).map(|(_, port)| port).collect();
    (20_000..50_000).step_by(7).filter(|port| !of_ann.contains(port)).take(count).collect()
}

#[test]
fn hundreds_of_forged_packets_before_and_amid_it_do_not_disturb_a_rotating_knock() {
    for (before, amid) in [(5, 0), (4000, 0), (0, 5), (0, 450), (2000, 450)] {
        let mut story = Story::with(with(vec![rotating()]));
        let knock = steps(&story, 1, 0);
        let forged = others(&story, before + amid);
        for port in &forged[..before] {
            story.syn(GUEST, *port);
            story.now = story.now.later(millis(4));
        }
        send(&mut story, GUEST, &knock[..3]);
        for port in &forged[before..] {
            story.syn(GUEST, *port);
        }
        send(&mut story, GUEST, &knock[3..]);
        assert!(story.is_open(GUEST), "{before} before, {amid} amid");
    }
}

#[test]
fn more_other_packets_than_chance_allows_spoil_a_rotating_knock_and_leave_a_trace() {
    for (amid, opens) in [(470, true), (471, false)] {
        let mut story = Story::with(with(vec![rotating()]));
        let knock = steps(&story, 1, 0);
        send(&mut story, GUEST, &knock[..2]);
        for port in others(&story, amid) {
            story.syn(GUEST, port);
        }
        send(&mut story, GUEST, &knock[2..]);
        assert_eq!(story.is_open(GUEST), opens, "{amid}");
        if !opens {
            let spoiled = |trace: &Trace| {
                trace.why == Why::OtherPorts
                    && (trace.step, trace.of) == (2, 6)
                    && trace.source == address(GUEST)
            };
            assert!(story.engine.traces().iter().any(spoiled), "{:?}", story.engine.traces());
            send(&mut story, GUEST, &knock);
            assert!(story.is_open(GUEST), "the next one of the same half minute");
        }
    }
}

#[test]
fn who_hits_single_steps_in_a_guests_name_does_not_keep_out_his_knock() {
    let mut story = Story::with(with(vec![rotating()]));
    let mut knock = steps(&story, 1, 0);
    let hit: Vec<_> = (-10..=10)
        .filter(|away| *away != 0)
        .flat_map(|away| [(1, away), (2, away)])
        .map(|(key, away)| steps(&story, key, away)[0])
        .filter(|hit| !knock.contains(hit))
        .collect();
    assert!(hit.len() > 32, "more than are followed at once");
    send(&mut story, GUEST, &hit);
    knock.reverse();
    send(&mut story, GUEST, &knock);
    assert!(story.is_open(GUEST));
}

#[test]
fn a_knock_again_in_the_same_half_minute_says_that_the_door_is_open() {
    let mut story = Story::with(with(vec![rotating()]));
    let knock = steps(&story, 1, 0);
    send(&mut story, GUEST, &knock);
    send(&mut story, GUEST, &knock);
    assert_eq!(story.last_why(), Why::Repeated);
    story.engine.close(story.now, SSH, None);
    story.told();
    send(&mut story, GUEST, &knock);
    assert_eq!(story.last_why(), Why::Replayed);
}

#[test]
fn no_scan_opens_a_rotating_door() {
    let mut story = Story::with(with(vec![rotating()]));
    for order in [(1..=65_535).collect(), mixed((1..=65_535).collect(), 5)] {
        let ports: Vec<u16> = order;
        for port in ports {
            story.now = story.now.later(Duration::from_micros(20));
            story.syn("198.51.100.66", port);
        }
        assert!(story.open.is_empty());
        story.pass(seconds(90_000));
    }
}
