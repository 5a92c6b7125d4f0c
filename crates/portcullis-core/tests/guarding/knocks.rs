//! Stories of those who knock, of scanners who come by, and of those who listen in.

mod rotating;
mod single_packets;

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::door::{Door, DoorId, Lock, Mode as DoorMode, OneTime, Patience, Why};
use portcullis_core::net::Protocol;
use portcullis_core::wire::build::{self, Payload};
use portcullis_core::wire::{Checksums, Frame, Link, TcpFlags};

use self::rotating::{rotating, send, steps};
use crate::doors::{GUEST, SSH, address, ssh, syns, with};
use crate::seconds;
use crate::story::{HERE, Story};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Story {
    fn packet(&mut self, source: &str, payload: impl Into<Payload>) -> Vec<String> {
        let here = if source.contains(':') { "2001:db8::2" } else { HERE };
        let bytes = build::ip(source, here, payload).bytes();
        let frame = Frame {
            link: Link::RawIp,
            bytes: &bytes,
            wire_length: bytes.len(),
            checksums: Checksums::Verify,
        };
        self.engine.frame(self.now, frame, 2, &mut self.services);
        self.told()
    }

    /// One fresh SYN.
    fn syn(&mut self, source: &str, port: u16) -> Vec<String> {
        self.fresh += 1;
        let segment =
            build::tcp(20_000 + self.fresh as u16 % 20_000, port, TcpFlags::SYN).sequence(self.fresh);
        self.packet(source, segment)
    }

    fn step(&mut self, source: &str, (protocol, port): (Protocol, u16)) -> Vec<String> {
        match protocol {
            Protocol::Udp => self.packet(source, build::udp(4000, port, &[0])),
            _ => self.syn(source, port),
        }
    }

    fn knock(&mut self, source: &str, ports: &[u16]) -> Vec<String> {
        let mut told = Vec::new();
        for port in ports {
            told.extend(self.pass(millis(30)));
            told.extend(self.syn(source, *port));
        }
        told
    }

    fn is_open(&self, source: &str) -> bool {
        self.open.contains(&(SSH, address(source)))
    }

    fn last_why(&self) -> Why {
        self.engine.traces()[0].why
    }
}

fn no_patience() -> Door {
    Door { patience: None, ..ssh() }
}

#[test]
fn who_knocks_is_let_in_and_can_shut_the_door_behind_him() {
    let mut story = Story::with(with(vec![ssh()]));
    assert_eq!(
        story.knock(GUEST, &[7000, 9000, 8000]),
        [
            "door ssh step 1 of 3 by 198.51.100.7",
            "door ssh step 2 of 3 by 198.51.100.7",
            "door ssh step 3 of 3 by 198.51.100.7",
            "door ssh step 3 of 3: the knock by 198.51.100.7 opened the door",
            "door ssh opens for 198.51.100.7 (sequence)",
        ]
    );
    assert!(story.is_open(GUEST) && story.open.len() == 1);
    assert_eq!((story.engine.counters().knocks, story.engine.counters().probes), (3, 0));
    story.knock(GUEST, &[8000, 9000, 7000]);
    assert!(story.open.is_empty());
    story.pass(seconds(10));
    assert_eq!(story.engine.knockers().0, 0, "nothing is kept of who is done");
}

#[test]
fn a_retransmission_is_no_step_and_no_mistake() {
    let mut story = Story::with(with(vec![ssh()]));
    for (port, number) in [(7000, 1), (7000, 1), (9000, 2), (7000, 1), (9000, 2), (8000, 3)] {
        story.packet(GUEST, build::tcp(30_000 + number as u16, port, TcpFlags::SYN).sequence(number));
    }
    assert!(story.is_open(GUEST));
    assert_eq!(story.engine.counters().probes, 0);
}

#[test]
fn excused_packets_count_after_all_when_the_knock_fails() {
    let mut story = Story::with(with(vec![ssh()]));
    story.knock(GUEST, &[7000, 9000]);
    assert_eq!((story.engine.counters().knocks, story.engine.counters().probes), (2, 0));
    let told = story.pass(seconds(11));
    assert_eq!(told, ["door ssh step 2 of 3: the knock by 198.51.100.7 took too long"]);
    assert_eq!((story.engine.counters().knocks, story.engine.counters().probes), (0, 2));
    let told = story.scan(GUEST, [1, 2, 3]);
    let expected = "scan 198.51.100.7 syn [1, 2, 3] + door ssh step 1 + door ssh step 2 Block";
    assert_eq!(told[0], expected, "with the two that were steps, whose ports are not told");
}

#[test]
fn a_wrong_step_fails_the_knock_and_counts_with_the_rest() {
    let mut story = Story::with(with(vec![ssh()]));
    let told = story.knock(GUEST, &[7000, 8000]);
    assert!(told.iter().any(|line| line.contains("had a step out of order")), "{told:?}");
    assert_eq!(story.engine.counters().probes, 2);
    story.knock(GUEST, &[9000]);
    assert!(!story.is_open(GUEST));
    story.knock(GUEST, &[7000, 9000, 8000]);
    assert!(story.is_open(GUEST), "he begins anew");
}

#[test]
fn a_forged_packet_to_a_port_of_the_door_costs_a_sequence_one_try() {
    let mut story = Story::with(with(vec![ssh()]));
    story.knock(GUEST, &[7000, 22, 9000, 443, 80, 8000]);
    assert!(story.is_open(GUEST), "packets to other ports disturb nobody");
    let mut story = Story::with(with(vec![ssh()]));
    story.knock(GUEST, &[7000, 9000]);
    story.syn(GUEST, 7000);
    story.knock(GUEST, &[8000]);
    assert!(!story.is_open(GUEST));
}

/// The ports in an order that is mixed by this number, the same each time.
fn mixed(mut ports: Vec<u16>, mut state: u64) -> Vec<u16> {
    for place in (1..ports.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ports.swap(place, (state >> 33) as usize % (place + 1));
    }
    ports
}

#[test]
fn no_scan_gets_through_a_door_whatever_its_order() {
    let ascending =
        Door { lock: Lock::Sequence { open: syns(&[7000, 8000, 9000]), close: None }, ..no_patience() };
    let near =
        Door { lock: Lock::Sequence { open: syns(&[7000, 7001, 7002]), close: None }, ..no_patience() };
    let descending =
        Door { lock: Lock::Sequence { open: syns(&[9000, 8000, 7000]), close: None }, ..no_patience() };
    for (door, number) in [ascending, near, descending, ssh()].into_iter().zip(0..) {
        let mut story = Story::with(with(vec![door]));
        let all: Vec<u16> = (1..=65_535).collect();
        let around: Vec<u16> = (6990..=7010).collect();
        let few: Vec<u16> = (6996..=7016).collect();
        let mut orders: Vec<(Vec<u16>, u64)> = vec![(all.clone(), 20), (mixed(all.clone(), number), 20)];
        orders.push((all.into_iter().rev().collect(), 20));
        if number > 1 {
            // Two doors have seen the long ones.
            orders.clear();
        }
        for round in 0..30 {
            // The twenty ports around, in any order, fast and slow.
            orders.push((mixed(around.clone(), round), 1000));
            orders.push((mixed(around.clone(), round + 1000), 300_000));
        }
        orders.extend([
            (around.clone(), 1000),
            (few.clone(), 400_000),
            (few.into_iter().rev().collect(), 400_000),
        ]);
        for (ports, micros) in orders {
            let (mut opened, mut others) = (false, 0);
            for port in ports {
                story.now = story.now.later(Duration::from_micros(micros));
                story.syn("198.51.100.66", port);
                others += u32::from(!opened);
                if !story.open.is_empty() {
                    // It began with the steps in their order; what it touches next tells it.
                    assert!(others <= 7, "door {number}");
                    opened = true;
                }
            }
            assert!(story.open.is_empty(), "door {number}");
            // Another day, as if nothing had been.
            story.pass(seconds(90_000));
        }
    }
}

#[test]
fn a_scan_that_begins_with_the_steps_is_shut_out_by_its_fifth_other_port() {
    let mut story = Story::with(with(vec![ssh()]));
    story.knock(GUEST, &[1, 7000, 2, 9000, 8000]);
    assert!(story.is_open(GUEST), "nothing tells it from a guest so far");
    story.knock(GUEST, &[3, 4]);
    assert!(story.is_open(GUEST));
    let told = story.knock(GUEST, &[5]);
    assert!(
        told.contains(&"door ssh is shut for 198.51.100.7 (its source goes on to scan)".to_owned()),
        "{told:?}"
    );
    assert!(story.open.is_empty());
}

#[test]
fn other_flags_scan_no_door_open_either() {
    let door = || {
        let any = portcullis_core::door::FlagTests::default();
        let step = |port| portcullis_core::door::Step { port, protocol: Protocol::Tcp, flags: any };
        let open =
            portcullis_core::door::Sequence::new([7000, 8000, 9000].map(step).into(), seconds(25)).unwrap();
        Door { lock: Lock::Sequence { open, close: None }, ..no_patience() }
    };
    for flags in [0, 1, 0x10, 0x04, 0x11, 0x12, 0x14, 0x29, 0x3f] {
        let mut story = Story::with(with(vec![door()]));
        for port in 1..=10_000 {
            story.now = story.now.later(Duration::from_micros(100));
            story.packet("198.51.100.66", build::tcp(1000, port, flags).sequence(u32::from(port)));
        }
        assert!(story.open.is_empty(), "flags {flags:#x}");
    }
}

#[test]
fn services_that_a_guest_uses_are_no_scan() {
    let mut story = Story::with(with(vec![ssh()]));
    story.services.ports.extend([25, 110, 143, 587, 993, 995]);
    story.knock(GUEST, &[25, 110, 143, 587, 993, 995, 7000, 9000, 8000]);
    assert!(story.is_open(GUEST));
    let mut story = Story::with(with(vec![ssh()]));
    story.knock(GUEST, &[25, 110, 143, 587, 993, 7000, 9000, 8000]);
    assert!(!story.is_open(GUEST), "the same where nothing is");
    assert_eq!(story.last_why(), Why::OtherPorts);
    story.pass(seconds(11));
    assert!(!story.is_open(GUEST));
}

#[test]
fn who_touched_five_closed_ports_before_his_knock_is_told_so() {
    let mut story = Story::with(with(vec![ssh()]));
    story.knock(GUEST, &[1001, 1002, 1003, 1004, 1005]);
    story.pass(seconds(5));
    story.knock(GUEST, &[7000, 9000, 8000]);
    assert!(!story.is_open(GUEST));
    let trace = story.engine.traces().remove(0);
    assert_eq!((trace.why, trace.step, trace.source), (Why::OtherPorts, 1, address(GUEST)));
    assert!(trace.why.words().contains("shortly before it"), "{}", trace.why.words());
    story.pass(seconds(11));
    story.knock(GUEST, &[7000, 9000, 8000]);
    assert!(story.is_open(GUEST), "a few seconds later he gets in");
}

#[test]
fn who_guesses_is_not_listened_to_for_a_while() {
    let patience = Some(Patience { tries: 3, pause: seconds(100) });
    let mut story = Story::with(with(vec![Door { patience, ..ssh() }]));
    for _ in 0..3 {
        story.knock(GUEST, &[7000, 8000]);
    }
    story.knock(GUEST, &[7000, 9000, 8000]);
    assert!(!story.is_open(GUEST));
    assert_eq!(story.last_why(), Why::Ignored);
    story.knock("198.51.100.8", &[7000, 9000, 8000]);
    assert!(story.is_open("198.51.100.8"), "nobody else is meant");
    story.pass(seconds(101));
    story.knock(GUEST, &[7000, 9000, 8000]);
    assert!(story.is_open(GUEST));
}

#[test]
fn only_guests_are_heard_and_an_observing_door_stays_shut() {
    let guests = vec!["198.51.100.0/25".parse().unwrap()];
    let mut story = Story::with(with(vec![Door { guests, ..ssh() }]));
    story.knock("198.51.100.200", &[7000, 9000, 8000]);
    assert!(story.open.is_empty() && story.engine.counters().probes == 3);
    story.knock(GUEST, &[7000, 9000, 8000]);
    assert!(story.is_open(GUEST));
    let mut story = Story::with(with(vec![Door { mode: DoorMode::Observe, ..ssh() }]));
    let told = story.knock(GUEST, &[7000, 9000, 8000]);
    assert_eq!(told.last().unwrap(), "door ssh would open for 198.51.100.7 (sequence)");
    assert!(story.open.is_empty() && story.last_why() == Why::Observed);
}

#[test]
fn a_flood_of_first_steps_keeps_no_guest_out() {
    let mut story = Story::with(with(vec![ssh()]));
    let flood = |story: &mut Story, from: u32, count: u32| {
        for number in from..from + count {
            let source = IpAddr::from((0x0b00_0000 + number).to_be_bytes());
            let bytes = build::ip(source, address(HERE), build::tcp(1, 7000, TcpFlags::SYN)).bytes();
            let checksums = Checksums::Verify;
            let frame = Frame { link: Link::RawIp, bytes: &bytes, wire_length: bytes.len(), checksums };
            story.now = story.now.later(Duration::from_micros(10));
            story.engine.frame(story.now, frame, 2, &mut story.services);
            while story.engine.poll_action().is_some() {}
        }
    };
    flood(&mut story, 0, 100_000);
    story.syn(GUEST, 7000);
    flood(&mut story, 100_000, 20_000);
    story.syn(GUEST, 9000);
    flood(&mut story, 120_000, 20_000);
    story.syn(GUEST, 8000);
    assert!(story.is_open(GUEST));
    assert!(story.engine.knockers().0 <= 131_072);
    assert_eq!(story.engine.traces()[0].why, Why::Opened, "and his trace is not lost in theirs");
    assert!(story.engine.counters().knocks_not_told > 100_000);
    story.pass(seconds(20));
    assert_eq!(story.engine.knockers().0, 0);
}

#[test]
fn a_reload_keeps_a_knock_that_is_under_way() {
    let mut story = Story::with(with(vec![ssh()]));
    story.knock(GUEST, &[7000, 9000]);
    story
        .engine
        .reconfigure(story.now, with(vec![Door { name: "web".parse().unwrap(), ..no_patience() }, ssh()]));
    story.knock(GUEST, &[8000]);
    assert!(story.open.contains(&(DoorId(1), address(GUEST))), "{:?}", story.open);
}

fn one_time() -> Door {
    let sequences = vec![(4, syns(&[7000, 8000])), (5, syns(&[7100, 8100])), (9, syns(&[7200, 8200]))];
    Door { lock: Lock::OneTime(OneTime { sequences, ahead: 2 }), ..ssh() }
}

#[test]
fn a_one_time_sequence_opens_once_and_only_when_it_is_struck() {
    let mut story = Story::with(with(vec![one_time()]));
    story.strikes = None;
    story.knock(GUEST, &[7000, 8000]);
    assert!(story.open.is_empty(), "the disk has not answered");
    story.knock(GUEST, &[7000, 8000]);
    let (door, which) = story.spending.remove(0);
    assert!(story.spending.is_empty(), "a second time is no time");
    story.engine.spent(story.now, door, which, true);
    story.told();
    assert!(story.is_open(GUEST));
    story.engine.spent(story.now, door, which, true);
    assert_eq!(story.told(), [""; 0], "an answer twice is harmless");
}

#[test]
fn a_sequence_that_cannot_be_struck_opens_nothing_not_even_after_a_reload() {
    let mut story = Story::with(with(vec![one_time()]));
    story.strikes = Some(false);
    story.knock(GUEST, &[7000, 8000]);
    assert_eq!((story.open.len(), story.last_why()), (0, Why::NotSpent));
    story.strikes = Some(true);
    story.engine.reconfigure(story.now, with(vec![one_time()]));
    story.knock("198.51.100.8", &[7000, 8000]);
    assert!(story.open.is_empty(), "the file may still have it");
    story.knock(GUEST, &[7100, 8100]);
    assert!(story.is_open(GUEST));
}

#[test]
fn who_lost_a_sequence_goes_on_to_the_next_and_the_lost_one_is_worth_nothing() {
    let mut story = Story::with(with(vec![one_time()]));
    story.knock(GUEST, &[7200, 8200]);
    assert!(story.open.is_empty(), "only two are listened for");
    story.knock(GUEST, &[7100, 8100]);
    assert!(story.is_open(GUEST));
    story.knock("198.51.100.8", &[7000, 8000]);
    assert!(!story.is_open("198.51.100.8"), "recorded and held back, it comes too late");
    story.knock("198.51.100.9", &[7200, 8200]);
    assert!(story.is_open("198.51.100.9"));
}

#[test]
fn a_knock_that_proves_its_sender_pardons_him_and_a_sequence_does_not() {
    let mut story = Story::with(with(vec![rotating()]));
    story.scan(GUEST, 1..=5);
    assert_eq!(story.kernel.len(), 1);
    story.pass(seconds(15));
    let knock = steps(&story, 1, 0);
    send(&mut story, GUEST, &knock);
    assert!(story.is_open(GUEST) && story.kernel.is_empty(), "heard though banned, and let in");

    let mut story = Story::with(with(vec![ssh()]));
    story.scan(GUEST, 1..=5);
    story.pass(seconds(15));
    story.knock(GUEST, &[7000, 9000, 8000]);
    assert!(story.is_open(GUEST) && story.kernel.len() == 1, "whoever has seen it can send it");
}

#[test]
fn who_has_proved_himself_is_protected_while_the_door_is_open_to_him_and_no_longer() {
    let mut story = Story::with(with(vec![rotating()]));
    let knock = steps(&story, 1, 0);
    send(&mut story, GUEST, &knock);
    let told = story.scan(GUEST, 1..=5);
    assert!(
        told[0].ends_with("Protected(Guest)") && story.kernel.is_empty(),
        "a forged scan in his name: {told:?}"
    );
    story.engine.close(story.now, SSH, None);
    story.told();
    story.scan(GUEST, 1..=5);
    assert_eq!(story.kernel.len(), 1);

    let mut story = Story::with(with(vec![ssh()]));
    story.knock(GUEST, &[7000, 9000, 8000]);
    assert!(story.is_open(GUEST));
    story.scan(GUEST, 1..=5);
    assert_eq!(story.kernel.len(), 1, "whoever has seen a sequence can send it");
}

#[test]
fn a_ban_by_hand_is_not_pardoned() {
    let mut story = Story::with(with(vec![rotating()]));
    let single = GUEST.parse().unwrap();
    story.engine.ban(story.now, single, Some(seconds(600)), "enough".to_owned()).unwrap();
    story.told();
    let knock = steps(&story, 1, 0);
    send(&mut story, GUEST, &knock);
    assert!(story.is_open(GUEST) && story.kernel.len() == 1);
}

#[test]
fn inside_a_banned_network_only_the_guest_is_allowed_and_only_while_he_is_let_in() {
    let guest = "2001:db8:7::7";
    let mut story = Story::with(with(vec![rotating()]));
    story.scan("2001:db8:7::bad", 1..=5);
    assert_eq!(story.kernel[0].length(), 64);
    let knock = steps(&story, 1, 0);
    send(&mut story, guest, &knock);
    assert!(story.is_open(guest) && story.kernel.len() == 1, "the others stay out");
    let allowed = story.engine.allowances(story.now);
    assert_eq!((allowed.len(), allowed[0].prefix), (1, guest.parse().unwrap()));
    story.engine.close(story.now, SSH, None);
    assert_eq!(story.engine.allowances(story.now).len(), 0);
}

#[test]
fn a_knock_is_heard_from_where_probes_are_not_judged() {
    let mut story = Story::with(with(vec![ssh()]));
    for port in [7000, 9000, 8000] {
        let bytes = build::ip(GUEST, HERE, build::tcp(1, port, TcpFlags::SYN)).bytes();
        let frame = Frame {
            link: Link::RawIp,
            bytes: &bytes,
            wire_length: bytes.len(),
            checksums: Checksums::Verify,
        };
        story.engine.frame(story.now, frame, 9, &mut story.services);
        story.told();
    }
    assert!(story.is_open(GUEST));
    assert_eq!(story.engine.counters().trusted, 3);
}

#[test]
fn a_knock_from_outside_the_guests_is_refused_and_told() {
    let door = || Door { guests: vec!["198.51.100.0/24".parse().unwrap()], ..no_patience() };
    let stranger = "203.0.114.9";
    let mut story = Story::with(with(vec![door()]));
    assert_eq!(
        story.knock(stranger, &[7000, 9000, 8000]),
        ["door ssh step 3 of 3: the knock by 203.0.114.9 was for an address that is no guest of this door"]
    );
    assert!(story.open.is_empty());
    assert_eq!(story.last_why(), Why::NotAGuest);
    assert_eq!(
        (story.engine.counters().knocks, story.engine.counters().probes),
        (0, 3),
        "nothing is excused"
    );
    let told = story.scan(stranger, [1, 2]);
    let steps = "door ssh step 1 + door ssh step 2 + door ssh step 3";
    assert_eq!(told[0], format!("scan {stranger} syn [1, 2] + {steps} Block"), "no record shows the ports");
    assert_eq!(story.knock(stranger, &[7000, 8000]), [""; 0], "what is no whole knock is a stranger's noise");
    assert_eq!(story.engine.knockers().0, 0);

    let mut story = Story::with(with(vec![door()]));
    for round in 0..200_u32 {
        let source = format!("203.0.{}.{}", 114 + round / 100, round % 100 + 1);
        for port in [7000, 9000, 8000] {
            story.syn(&source, port);
        }
    }
    let left_out = story.engine.counters().knocks_not_told;
    assert!(left_out > 0, "as many as strangers like");
    story.knock(GUEST, &[7000, 9000, 8000]);
    assert!(story.is_open(GUEST));
}
