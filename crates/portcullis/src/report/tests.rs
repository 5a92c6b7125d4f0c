use super::*;
use crate::record::events::tally::{Bar, Count, DoorCount, Remark};

fn report() -> Report {
    let bar = |hour: u32, scans, bans| Bar { time: format!("2026-11-21T{hour:02}:00:00.000Z"), scans, bans };
    let count = |name: &str, count| Count { name: name.into(), count };
    Report {
        since: "2026-11-21T00:00:00.000Z".into(),
        until: "2026-11-22T00:00:00.000Z".into(),
        first_kept: Some("2026-11-21T00:00:01.000Z".into()),
        events: 31,
        by_event: [("scan", 14), ("ban", 12), ("fault", 1), ("open", 2)]
            .map(|(name, count)| (name.to_owned(), count))
            .into(),
        scans: 14,
        sources: 9,
        decisions: [("block".to_owned(), 12), ("protected".to_owned(), 2)].into(),
        bans: 12,
        timeline: (0..24).map(|hour| bar(hour, u64::from(hour % 5), u64::from(hour % 3))).collect(),
        bar_seconds: 3600,
        top_sources: vec![count("203.0.113.9", 5), count("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", 1)],
        top_networks: vec![count("203.0.113.0/24", 5), count("2001:db8:aaaa::/48", 1)],
        top_ports: vec![count("22", 9), count("23", 4), count("31337", 1)],
        kinds: vec![count("syn", 12), count("udp", 2)],
        doors: vec![DoorCount { door: "ssh".into(), opened: 2, failed: 1 }],
        protected: vec![Remark {
            time: "2026-11-21T03:00:00.000Z".into(),
            what: "192.0.2.1 is a default gateway, and was not banned: 5 probes".into(),
        }],
        faults: vec![Remark {
            time: "2026-11-21T04:00:00.000Z".into(),
            what: "the kernel dropped 7 packets <script>alert(1)</script> \u{1b}[2J".into(),
        }],
        ..Report::default()
    }
}

const HEADING: Heading<'_> = Heading { host: "web<1>" };

#[test]
fn the_text_fits_a_mail_and_says_what_matters_first() {
    let told = text(HEADING, &report());
    assert!(told.lines().all(|line| line.chars().count() <= 72), "{told}");
    assert!(!told.contains('\u{1b}'));
    let place = |part: &str| told.find(part).unwrap_or_else(|| panic!("{part}\n{told}"));
    assert!(place("14 scans from 9 addresses: 12 led to a ban, 2 came from") < place("To look at"));
    assert!(place("the kernel dropped 7 packets") < place("192.0.2.1 is a default gateway"));
    assert!(place("To look at") < place("When (each column 1 hour)"));
    for part in ["203.0.113.9", "22 ssh", "syn", "opened 2, knocks that failed 1"] {
        place(part);
    }
}

#[test]
fn what_is_summed_up_is_what_is_promised() {
    crate::schema::check("report", &crate::record::json::text(&report()));
}

#[test]
fn a_quiet_while_is_said_and_not_drawn() {
    let quiet = Report { events: 2, ..Report::default() };
    let told = text(HEADING, &quiet);
    assert!(told.contains("Nobody scanned this host.") && !told.contains("When"), "{told}");
    assert!(text(HEADING, &Report::default()).contains("Nothing happened that is kept."));
    let page = page(HEADING, &Report::default());
    for part in
        ["Nothing happened that is kept.", "No scan and no ban", "No port was probed", "Nobody knocked"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<ol"));
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_lets_nothing_foreign_in() {
    let page = page(HEADING, &report());
    for part in
        ["<script", "http:", "https:", "url(", "@import", "<img", "<link", "onload", "web<1>", "\u{1b}"]
    {
        assert!(!page.contains(part), "{part}");
    }
    assert!(page.contains("&lt;script&gt;") && page.contains("web&lt;1&gt;"));
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn every_element_that_is_opened_is_closed() {
    let page = page(HEADING, &report());
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
        if tag.starts_with('!') || tag.ends_with('/') || name == "meta" {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}
