use portcullis_core::event::{Id, Kind, Protection, Record, Shape};
use portcullis_core::net::Protocol;

use super::*;
use crate::record::json::text;

/// 2026-11-21T02:08:20.453Z
const TIME: Wall = Wall(Duration::from_millis(1_795_226_900_453));

fn scan() -> Scan {
    Scan {
        id: Id(0x7f3a),
        source: "203.0.113.9".parse().unwrap(),
        prefix: "203.0.113.9".parse().unwrap(),
        protocols: vec![Protocol::Tcp],
        kinds: vec![Kind::Syn],
        shape: Shape::Vertical,
        together: None,
        targets: 1,
        ports: (22..36).collect(),
        steps: vec![],
        probes: 14,
        first: Wall(TIME.0 - Duration::from_millis(400)),
        last: TIME,
        receipt: None,
        decision: Decision::Block,
        ban: Some(Some(Duration::from_secs(600))),
        is_ended: false,
    }
}

#[test]
fn a_scan_of_ports_out_of_sight_claims_none() {
    let hidden = Scan { protocols: vec![], kinds: vec![Kind::Fragments], ports: vec![], ..scan() };
    assert_eq!(words::evidence_with_kinds(&hidden), "14 cut-up probes to ports out of sight in 0.4 s");
}

fn ban() -> Ban {
    Ban {
        id: Id(0x7f3b),
        prefix: "203.0.113.9".parse().unwrap(),
        how: How::Banned,
        cause: Cause::Scan { id: Id(0x7f3a), why: "5 probes".into() },
        since: TIME,
        until: Until::At(TIME + Duration::from_secs(600)),
        state: BanState::InForce,
        times: 1,
        pardoned: None,
    }
}

fn event(what: What) -> LogEvent {
    LogEvent::from(Record { time: TIME, what })
}

fn told(told: Told) -> LogEvent {
    LogEvent { time: TIME, told }
}

fn in_words(event: &LogEvent) -> String {
    sentence(event).1
}

fn in_json(event: &LogEvent) -> serde_json::Value {
    serde_json::from_str(&text(&Line::from(event))).unwrap()
}

#[test]
fn a_line_says_what_who_evidence_consequence_and_how_to_undo_it() {
    let observed = Scan { decision: Decision::Observe, ..scan() };
    let gateway = Scan { decision: Decision::Protected(Protection::Gateway), ban: None, ..scan() };
    let network = Scan {
        source: "2001:db8::5".parse().unwrap(),
        prefix: "2001:db8::/64".parse().unwrap(),
        protocols: vec![Protocol::Tcp, Protocol::Udp],
        kinds: vec![Kind::Syn, Kind::Fin, Kind::Udp],
        targets: 3,
        ports: vec![22],
        steps: vec![],
        probes: 1,
        ban: Some(None),
        ..scan()
    };
    let over = Scan { is_ended: true, probes: 1000, ..scan() };
    let by_hand = Ban {
        cause: Cause::Operator { why: "noisy\n\u{1b}[2J".into() },
        until: Until::Ever,
        times: 3,
        state: BanState::Unsaved,
        ..ban()
    };
    for (event, line) in [
        (
            event(What::Scan(scan())),
            "scan from 203.0.113.9: 14 SYN probes to 14 closed TCP ports in 0.4 s (22 23 24 25 26 27 28 29 …); \
             to be banned for 10m (s-7f3a); undo: portcullis unban 203.0.113.9",
        ),
        (
            event(What::Scan(observed)),
            "scan from 203.0.113.9: 14 SYN probes to 14 closed TCP ports in 0.4 s (22 23 24 25 26 27 28 29 …); \
             would be shut out for 10m (s-7f3a); to act: portcullis enforce",
        ),
        (
            event(What::Scan(gateway)),
            "scan from 203.0.113.9: 14 SYN probes to 14 closed TCP ports in 0.4 s (22 23 24 25 26 27 28 29 …); \
             not banned: it is a default gateway (s-7f3a)",
        ),
        (
            event(What::Scan(network)),
            "scan from 2001:db8::5: 1 SYN, FIN and UDP probe to 1 TCP and UDP port of 3 addresses in 0.4 s (22); \
             to be banned with all of 2001:db8::/64 for ever (s-7f3a); undo: portcullis unban 2001:db8::/64",
        ),
        (
            event(What::Scan(over)),
            "scan from 203.0.113.9 has gone quiet: 1000 SYN probes to 14 closed TCP ports in 0.4 s \
             (22 23 24 25 26 27 28 29 …) (s-7f3a)",
        ),
        (
            event(What::Ban(ban())),
            "203.0.113.9 banned for 10m (b-7f3b, s-7f3a); undo: portcullis unban 203.0.113.9",
        ),
        (
            event(What::Ban(by_hand)),
            "203.0.113.9 banned, but not saved over a restart, for ever (b-7f3b, by hand: noisy\\n\\u{1b}[2J, time 3); \
             undo: portcullis unban 203.0.113.9",
        ),
        (
            event(What::Unban { id: Id(1), prefix: ban().prefix, how: How::Banned, why: Ending::Operator }),
            "ban of 203.0.113.9 has ended: by hand (b-1)",
        ),
        (
            event(What::Allow { prefix: "10.0.0.0/8".parse().unwrap(), until: Some(Until::Ever) }),
            "10.0.0.0/8 is allowed for ever; undo: portcullis allow --remove 10.0.0.0/8",
        ),
        (
            told(Told::Start(Start {
                version: "0.1.0".into(),
                mode: "observe".into(),
                engine: "ring".into(),
                interfaces: vec!["eth0".into(), "e\u{7}1".into()],
                configuration: None,
                bans: 2,
                shut: Vec::new(),
                single_packets: None,
            })),
            "portcullis 0.1.0 watches eth0, e\\u{7}1 (ring), built-in defaults, 2 bans hold on; \
             observing: nothing is blocked; to block: portcullis enforce",
        ),
        (
            told(Told::Start(Start {
                version: "0.1.0".into(),
                mode: "observe".into(),
                engine: "ring".into(),
                interfaces: vec!["eth0".into()],
                configuration: Some("/etc/portcullis/portcullis.toml".into()),
                bans: 0,
                shut: vec!["tcp/22,8443".into(), "udp/1194".into()],
                single_packets: Some(SinglePackets { by: "wire", ports: "udp/62201".into() }),
            })),
            "portcullis 0.1.0 watches eth0 (ring), configuration /etc/portcullis/portcullis.toml; doors shut \
             tcp/22,8443 and udp/1194 to all who have not knocked; single packets to udp/62201 are seen on the wire, \
             where no port is open; observing: no scanner is blocked; to block: portcullis enforce",
        ),
        (
            told(Told::Start(Start {
                version: "0.1.0".into(),
                mode: "enforce".into(),
                engine: "listen".into(),
                interfaces: vec!["eth0".into()],
                single_packets: Some(SinglePackets { by: "socket", ports: "udp/62201".into() }),
                ..Start::default()
            })),
            "portcullis 0.1.0 watches eth0 (listen), built-in defaults; udp/62201 is open for single packets; \
             enforcing: scanners are blocked; to stop: portcullis observe",
        ),
        (
            told(Told::Summary(Summary {
                packets: 1,
                seconds: 86_400.0,
                sources: Some(12),
                scanners: 1,
                faults: [("bad checksum".to_owned(), 3)].into(),
                would_have_banned: Some(5),
                would_have_banned_peers: Some(1),
                ..Summary::default()
            })),
            "1 packet in 24 h: 12 sources counted, 1 of them a scanner; would have banned 5 sources, 1 of them a \
             peer of yours; to block: portcullis enforce; not readable: 3 bad checksum",
        ),
        (
            told(Told::Summary(Summary { packets: 2, seconds: 86_400.0, scanners: 3, ..Summary::default() })),
            "2 packets in 24 h: 3 scans",
        ),
    ] {
        assert_eq!(in_words(&event), line);
    }
}

#[test]
fn a_json_line_has_the_promised_fields() {
    assert_eq!(
        text(&Line::from(&event(What::Scan(scan())))),
        "{\"time\":\"2026-11-21T02:08:20.453Z\",\"event\":\"scan\",\"id\":\"s-7f3a\",\"source\":\"203.0.113.9\",\
         \"prefix\":\"203.0.113.9/32\",\"protocol\":[\"tcp\"],\"kinds\":[\"syn\"],\"shape\":\"vertical\",\
         \"targets\":1,\"ports\":[22,23,24,25,26,27,28,29,30,31,32,33,34,35],\"probes\":14,\
         \"first\":\"2026-11-21T02:08:20.053Z\",\"last\":\"2026-11-21T02:08:20.453Z\",\"decision\":\"block\",\
         \"ban_seconds\":600,\"why\":\"14 probes to 14 closed TCP ports in 0.4 s\"}"
    );
    let line = in_json(&event(What::Ban(Ban { until: Until::Ever, ..ban() })));
    for (field, value) in [
        ("event", "ban"),
        ("id", "b-7f3b"),
        ("prefix", "203.0.113.9/32"),
        ("how", "banned"),
        ("cause", "s-7f3a"),
        ("until", "ever"),
        ("state", "in force"),
        ("why", "5 probes"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    let line = in_json(&event(What::Ban(Ban { cause: Cause::FoundInForce, ..ban() })));
    assert_eq!(line.get("why"), None, "what is not known is left out");
}

#[test]
fn every_event_goes_by_its_promised_name() {
    let prefix = ban().prefix;
    for (event, name) in [
        (event(What::Unban { id: Id(1), prefix, how: How::Held, why: Ending::Expired }), "unban"),
        (event(What::Allow { prefix, until: None }), "allow"),
        (event(What::Refused { prefix, protected: prefix, why: Protection::Own }), "refused"),
        (event(What::Repair { bans: 3, guests: 0 }), "repair"),
        (event(What::Fault(Fault::NotChanged { answer: "EBUSY".into() })), "fault"),
        (told(Told::Start(Start::default())), "start"),
        (told(Told::Stop { why: "SIGTERM".into() }), "stop"),
        (told(Told::Reload { changes: vec![] }), "reload"),
        (told(Told::Observe { by: "root".into() }), "observe"),
        (told(Told::Enforce { by: "root".into() }), "enforce"),
        (told(Told::Fault { why: "x".into(), mend: String::new() }), "fault"),
        (told(Told::LeftOut { lines: 4 }), "summary"),
        (told(Told::Summary(Summary::default())), "summary"),
    ] {
        assert_eq!(in_json(&event)["event"], name);
        assert_eq!(in_json(&event)["time"], "2026-11-21T02:08:20.453Z");
    }
}

#[test]
fn a_year_that_no_calendar_has_is_no_panic() {
    for seconds in [0, 253_402_300_800, u64::MAX / 2, u64::MAX] {
        let shown = json::time(Wall(Duration::from_secs(seconds)));
        assert!(shown.ends_with('Z') && shown.len() >= 24, "{shown}");
    }
}

#[test]
fn a_stranger_decides_not_how_much_is_written() {
    let mut log = Log::live(Vec::new(), Style::File);
    let scan = event(What::Scan(scan()));
    let stop = told(Told::Stop { why: "SIGTERM".into() });
    let mut now = Mono(Duration::from_secs(5));
    for _ in 0..10_000 {
        log.tell(now, &scan).unwrap();
    }
    let lines = |log: &Log<Vec<u8>>| log.out.iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(lines(&log), BURST as usize);
    log.tell(now, &stop).unwrap();
    assert_eq!(lines(&log), BURST as usize + 1, "the end is told all the same");
    log.tell(now, &told(Told::Fault { why: "no room".into(), mend: String::new() })).unwrap();
    assert_eq!(lines(&log), BURST as usize + 2, "and what is wrong");

    now = now + Duration::from_secs(1);
    log.catch_up(now, TIME).unwrap();
    let last = String::from_utf8(log.out.clone()).unwrap().lines().last().unwrap().to_owned();
    assert!(last.ends_with("9800 lines were left out here: more than 50 a second"), "{last}");
    // In the long run it is the rate, plus one line a second that owns up.
    let before = lines(&log);
    for _ in 0..10_000 {
        now = now + Duration::from_millis(1);
        log.tell(now, &scan).unwrap();
    }
    let in_ten_seconds = lines(&log) - before;
    assert!((RATE as usize * 9..=RATE as usize * 12).contains(&in_ten_seconds), "{in_ten_seconds}");
}

#[test]
fn a_replay_tells_every_line() {
    let mut log = Log::whole(Vec::new(), Style::Json);
    for _ in 0..1_000 {
        log.tell(Mono::default(), &event(What::Scan(scan()))).unwrap();
    }
    assert_eq!(String::from_utf8(log.out).unwrap().lines().count(), 1_000);
}

#[test]
fn the_journal_gets_the_priority_and_nobody_else_does() {
    let line = |style| dress(style, Weight::Warning, TIME, "scan");
    assert_eq!(line(Style::Journal), "<4>scan");
    assert_eq!(line(Style::File), "2026-11-21T02:08:20.453Z scan");
    assert!(!line(Style::Plain).contains('\u{1b}'));
    assert!(line(Style::Colour).contains("\u{1b}[33mscan\u{1b}[0m"));
}
