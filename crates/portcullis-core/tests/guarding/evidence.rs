//! Stories of the judge that weighs: scanners slow and fast, friends of every kind, and attempts to switch it off.

use std::time::Duration;

use portcullis_core::engine::Settings;
use portcullis_core::event::{Kind, Mode};
use portcullis_core::judge;
use portcullis_core::judge::evidence;

use crate::STRANGER;
use crate::story::{Story, settings};

fn weighing(care: evidence::Care) -> Story {
    let judge = evidence::Settings { enough: care.enough(), sources: 1024, ..Default::default() };
    Story::with(Settings { judge: judge::Settings::Evidence(judge), ..settings(Mode::Enforce) })
}

fn normal() -> Story {
    let mut story = weighing(evidence::Care::Normal);
    story.services.ports.extend([80, 443, 22]);
    story
}

/// Seconds since the step before, the contact's kind, its port, ours.
type Step = (f64, Kind, u16, u16);

/// A contact for each step. Ends as the story is told "Block";
/// gives after how many contacts.
fn blamed_after(story: &mut Story, script: impl IntoIterator<Item = Step>) -> Option<usize> {
    for (count, (wait, kind, from, to)) in script.into_iter().enumerate() {
        story.pass(Duration::from_secs_f64(wait));
        let told = story.contact_from(STRANGER, from, kind, to);
        if told.iter().any(|line| line.ends_with("Block")) {
            return Some(count + 1);
        }
    }
    None
}

/// SYNs to these ports, so many seconds apart.
fn syns(ports: impl IntoIterator<Item = u16>, seconds: f64) -> impl Iterator<Item = Step> {
    ports.into_iter().enumerate().map(move |(n, port)| (seconds, Kind::Syn, 40_000 + n as u16, port))
}

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

#[test]
fn a_scan_is_seen_at_its_fourth_or_fifth_closed_port_whatever_its_pace() {
    let ports = [21, 23, 3389, 5900, 1433, 6379, 9200];
    for (seconds, care, at) in [
        (0.001, evidence::Care::Normal, 4),
        (15.0, evidence::Care::Normal, 4),
        (300.0, evidence::Care::Normal, 5),
        (HOUR, evidence::Care::Normal, 5),
        (DAY, evidence::Care::Normal, 5),
        (0.001, evidence::Care::Careful, 6),
        (HOUR, evidence::Care::Careful, 6),
        (0.001, evidence::Care::Strict, 4),
        (HOUR, evidence::Care::Strict, 4),
    ] {
        let found = blamed_after(&mut weighing(care), syns(ports, seconds));
        assert_eq!(found, Some(at), "{care:?}, one in {seconds} s");
    }
}

#[test]
fn the_slowest_scan_that_check_promises_is_seen_and_a_slower_one_is_not() {
    for care in [evidence::Care::Careful, evidence::Care::Normal, evidence::Care::Strict] {
        let slowest = evidence::Settings { enough: care.enough(), ..Default::default() }.slowest();
        let ports = 7001..7001 + slowest.ports as u16;
        let gap = slowest.gap.as_secs_f64().floor();
        assert!(gap > DAY, "{slowest:?}");
        assert_eq!(
            blamed_after(&mut weighing(care), syns(ports, gap)),
            Some(slowest.ports as usize),
            "{care:?}"
        );
        assert_eq!(blamed_after(&mut weighing(care), syns(7001..7101, gap * 1.5)), None, "{care:?}");
    }
}

#[test]
fn usual_ports_are_a_scan_too_where_they_come_at_once() {
    for ports in
        [[21, 22, 23, 25, 80], [22, 25, 53, 5432, 3306], [135, 139, 445, 3389, 5900], [8080, 25, 21, 22, 23]]
    {
        let mut story = weighing(evidence::Care::Normal);
        let found = blamed_after(&mut story, syns(ports, 0.01));
        assert!(found.is_some(), "{ports:?}");
    }
}

#[test]
fn flags_that_no_stack_sends_take_three_ports_open_or_not() {
    for kind in [Kind::Fin, Kind::Null, Kind::Xmas, Kind::Flags] {
        let script = [80, 443, 22].map(|port| (300.0, kind, 50_000, port));
        assert_eq!(blamed_after(&mut normal(), script), Some(3), "{kind:?}");
    }
}

#[test]
fn the_odd_flags_of_a_fingerprint_need_two_ports_only() {
    let script = [(Kind::Null, 22), (Kind::Flags, 22), (Kind::Xmas, 25)];
    let script = script.map(|(kind, port)| (0.1, kind, 50_000, port));
    assert_eq!(blamed_after(&mut normal(), script), Some(3));
}

#[test]
fn datagrams_and_maimons_are_weighed_likewise() {
    let datagrams = (1..).map(|port| (0.5, Kind::Udp, 50_000, 160 + port)).take(5);
    assert_eq!(blamed_after(&mut normal(), datagrams), Some(4));
    let maimons = (1..).map(|port| (0.5, Kind::Maimon, 50_000, 160 + port)).take(7);
    assert!(blamed_after(&mut normal(), maimons).is_some());
}

#[test]
fn visits_to_services_between_the_probes_hide_no_scan() {
    // Web, then a closed port, then ssh, then a closed port...
    let hiding = |seconds| {
        let services = [80, 443, 22].into_iter().cycle();
        let closed = 7001..7021;
        services
            .zip(closed)
            .flat_map(|(open, closed)| [open, open, closed])
            .zip(40_000..)
            .map(move |(port, from)| (seconds, Kind::Syn, from, port))
    };
    for (seconds, at_most) in [(0.1, 6), (60.0, 7), (HOUR, 8)] {
        let mut story = normal();
        let found = blamed_after(&mut story, hiding(seconds)).expect("he is found");
        assert!(found / 3 < at_most, "{found} contacts, one in {seconds} s");
    }
}

#[test]
fn a_habit_of_each_port_hides_no_scan_either() {
    let hammering = (7001..7031).flat_map(|port| std::iter::repeat_n(port, 10));
    let script = hammering.zip(30_000..).map(|(port, from)| (0.1, Kind::Syn, from, port));
    let found = blamed_after(&mut normal(), script).expect("he is found");
    assert!(found <= 140, "{found}");
}

/// Friends of a host with web and ssh; each is (who, script). None of them may be blamed, by any care.
#[test]
fn friends_are_not_blamed() {
    let syn = |wait: f64, from: u16, to: u16| (wait, Kind::Syn, from, to);
    let udp = |wait: f64, from: u16, to: u16| (wait, Kind::Udp, from, to);
    let friends: Vec<(&str, Vec<Step>)> = vec![
        (
            "a client that hammers one dead port for days",
            (0..5000).map(|n| syn(60.0, 1024 + n, 8443)).collect(),
        ),
        (
            "an old DNS entry: the web",
            (0..600).map(|n| syn(1.0, 1024 + n, [8080, 8443][usize::from(n) % 2])).collect(),
        ),
        (
            "a mail program that guesses",
            [143, 993, 110, 995, 25, 587, 465]
                .into_iter()
                .zip(50_000..)
                .map(|(to, from)| syn(0.2, from, to))
                .collect(),
        ),
        (
            "a Windows client of a share that is gone",
            [445, 139, 80, 445, 139, 445, 139]
                .into_iter()
                .zip(50_000..)
                .map(|(to, from)| syn(1.0, from, to))
                .collect(),
        ),
        (
            "health checks of four services that are down",
            (0..4000).map(|n| syn(5.0, 1024 + n, [3306, 5432, 6379, 9200][usize::from(n) % 4])).collect(),
        ),
        (
            "monitoring of a server that is gone: ssh, the web, mail and a database",
            (0..4000).map(|n| syn(5.0, 1024 + n, [22, 80, 25, 3306][usize::from(n) % 4])).collect(),
        ),
        (
            "a manager of Windows servers whose server has moved",
            (0..400).map(|n| syn(1.0, 50_000 + n, [445, 3389, 1433, 139][usize::from(n) % 4])).collect(),
        ),
        (
            "a former user of everything on this address, over a week",
            [21, 22, 25, 80, 443, 993, 587]
                .into_iter()
                .zip(50_000..)
                .map(|(to, from)| syn(DAY / 2.0, from, to))
                .collect(),
        ),
        ("peers of an old BitTorrent client", (0..50).map(|n| udp(2.0, 6881 + n % 2, 51_413)).collect()),
        ("late answers of a resolver", (0..500).map(|n| udp(0.1, 53, 32_768 + n * 50)).collect()),
        (
            "late answers of a service with many ports",
            (0..500).map(|n| udp(0.1, 20_000 + n, 32_768 + n * 50)).collect(),
        ),
        ("traceroute by datagrams", (0..90).map(|n| udp(0.05, 40_000 + n, 33_434 + n)).collect()),
        ("tcptraceroute", (0..90).map(|n| syn(0.05, 40_000 + n, 8080)).collect()),
        (
            "an FTP server whose data connections come late",
            (0..20).map(|n| syn(1.0, 20, 40_000 + n * 10)).collect(),
        ),
        (
            "late answers to a resolver that asks from any port",
            (0..500).map(|n| udp(0.1, 53, 1024 + n * 60)).collect(),
        ),
        (
            "streams that go on after their call has ended",
            (0..4000).map(|n| udp(0.02, 16_384 + n % 3 * 2, 10_000 + n / 1000 * 2 + n % 2)).collect(),
        ),
        (
            "a busy gateway: people use the web, and one in a hundred has something out of date",
            (0..3000)
                .map(|n| match n % 500 {
                    17 => syn(20.0, 1024 + n, [8080, 25, 993, 21, 3389, 8443][usize::from(n / 500) % 6]),
                    _ => syn(20.0, 1024 + n, [443, 80][usize::from(n % 2)]),
                })
                .collect(),
        ),
        (
            "closing segments of old connections",
            (0..200).map(|n| (0.3, Kind::Maimon, 1024 + n, 443)).collect(),
        ),
        (
            "a broken box on the way that strips flags of one connection",
            (0..50).map(|_| (1.0, Kind::Null, 50_000, 443)).collect(),
        ),
    ];
    for (who, script) in friends {
        let mut story = normal();
        let contacts = script.len();
        let blamed = blamed_after(&mut story, script);
        assert_eq!(blamed, None, "{who} is blamed after {blamed:?} of {contacts} contacts");
    }
}

#[test]
fn whoever_meets_services_that_start_again_is_not_blamed() {
    let mut story = weighing(evidence::Care::Normal);
    let ports = [80, 443, 25, 993, 5432, 6379, 8000, 9000];
    story.services.ports.extend(ports);
    for (from, port) in (50_000..).zip(ports) {
        story.contact_from("198.51.100.8", from, Kind::Syn, port);
    }
    story.pass(Duration::from_secs(30));
    story.services.ports.clear();
    // The machine restarts its services, and its clients come back before they are there.
    let script: Vec<_> = (0..64).map(|n| (0.1, Kind::Syn, 50_000 + n, ports[usize::from(n) % 8])).collect();
    assert_eq!(blamed_after(&mut story, script), None);
    assert_eq!(blamed_after(&mut story, syns(7001..7006, 0.1)).map(|count| count <= 5), Some(true));
}

#[test]
fn flags_that_no_stack_sends_are_blamed_also_where_a_service_has_just_been_met() {
    for kind in [Kind::Fin, Kind::Null, Kind::Xmas] {
        let mut story = normal();
        story.services.ports.extend(8001..=8010);
        for port in 8001..=8010 {
            story.contact_from("198.51.100.8", 50_000, Kind::Syn, port);
        }
        let script = (8001..=8010).map(|port| (0.1, kind, 40_000, port));
        assert_eq!(blamed_after(&mut story, script), Some(3), "{kind:?}");
    }
}

#[test]
fn a_service_that_has_come_takes_its_evidence_away_and_leaves_the_rest() {
    let mut story = weighing(evidence::Care::Normal);
    story.services.come_lately.insert(7003);
    assert_eq!(blamed_after(&mut story, syns(7001..7005, 0.1)), None);
    assert_eq!(story.engine.counters().withdrawn, 1);
    story.services.come_lately.clear();
    assert_eq!(blamed_after(&mut story, syns([7006], 0.1)), Some(1));
}

#[test]
fn ten_thousand_forged_sources_with_fewer_ports_do_not_push_a_slow_scanner_out() {
    let mut story = weighing(evidence::Care::Normal);
    assert_eq!(
        blamed_after(&mut story, syns([80, 443, 8080], HOUR)),
        None,
        "the lightest three ports there are"
    );
    for number in 0..60_000u32 {
        let source = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number / 2).to_string();
        story.contact_from(&source, 40_000, Kind::Null, 7001 + (number % 2) as u16);
    }
    assert!(story.engine.suspects().0 <= 1024);
    assert!(blamed_after(&mut story, syns([7001, 7002, 7003, 7004], HOUR)).is_some());
}

#[test]
fn a_step_back_of_the_clock_changes_no_verdict() {
    let mut story = weighing(evidence::Care::Normal);
    story.scan(STRANGER, [7001, 7002]);
    story.now.mono.0 -= Duration::from_millis(2);
    story.now.wall.0 -= Duration::from_secs(2 * 86_400);
    assert_eq!(story.scan(STRANGER, [7003]), [""; 0]);
    assert!(story.scan(STRANGER, [7004])[0].ends_with("Block"));
}
