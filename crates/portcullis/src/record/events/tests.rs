use std::fs;
use std::os::unix::fs::FileExt;

use tempfile::TempDir;

use super::query::{EventReader, Filter, Found, Page};
use super::*;

const START: i64 = 1_795_000_000_000;

fn at(seconds: i64) -> String {
    let time = Wall(Duration::from_millis((START + seconds * 1000).cast_unsigned()));
    crate::record::json::time(time)
}

fn scan(number: u64, seconds: i64, source: &str, kind: &str, ports: &[u16]) -> Node {
    parse(&format!(
        r#"{{"time":"{}","event":"scan","id":"s-{number:x}","source":"{source}","prefix":"{source}/32","kinds":["{kind}"],"ports":{ports:?},"why":"a scan"}}"#,
        at(seconds)
    ))
    .unwrap()
}

fn ban(number: u64, seconds: i64, prefix: &str) -> Node {
    parse(&format!(
        r#"{{"time":"{}","event":"ban","id":"b-{number:x}","prefix":"{prefix}","state":"in force"}}"#,
        at(seconds)
    ))
    .unwrap()
}

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state").join("portcullis-events.db")
    }

    fn open(&self) -> EventStore {
        let opened = EventStore::open(&self.path()).unwrap();
        assert_eq!(opened.warning, None);
        opened.store
    }

    fn reader(&self) -> EventReader {
        EventReader::open(&self.path()).unwrap()
    }

    /// Every line that `filter` asks for, page by page.
    fn ask(&self, filter: &Filter, is_backwards: bool) -> Vec<String> {
        let reader = self.reader();
        let mut page = Page { filter: filter.clone(), is_backwards, after: None, at_most: 101 };
        let mut all = Vec::new();
        loop {
            let Found { lines, next, damaged, .. } = reader.page(&page).unwrap();
            assert!(lines.len() <= 101 && damaged == 0);
            all.extend(lines);
            match next {
                Some(next) => page.after = Some(next),
                None => return all,
            }
        }
    }

    fn count(&self, filter: Filter) -> usize {
        let forwards = self.ask(&filter, false);
        let mut backwards = self.ask(&filter, true);
        backwards.reverse();
        assert_eq!(forwards, backwards, "both ways find the same: {filter:?}");
        let mut walked = 0;
        let needs_line = filter.door.is_some();
        self.reader().walk(&filter, |_| walked += 1).unwrap();
        assert!(needs_line || walked == forwards.len(), "{filter:?}");
        forwards.len()
    }
}

#[test]
fn what_is_kept_comes_back_as_it_was_told_and_in_order() {
    let place = Place::new();
    let lines: Vec<Node> = (0..1000).map(|n| scan(n, n as i64, "203.0.113.9", "syn", &[22, 80])).collect();
    let mut store = place.open();
    for some in lines.chunks(37) {
        assert_eq!(store.append(some).unwrap(), some.len());
    }
    drop(store);
    place.open().append(&lines[..1]).unwrap();
    let told: Vec<String> = lines.iter().chain(&lines[..1]).map(crate::record::json::text).collect();
    assert_eq!(place.ask(&Filter::default(), false), told);
}

#[test]
fn each_question_finds_its_own_and_nothing_else() {
    let place = Place::new();
    let mut lines = Vec::new();
    for n in 0..3000u64 {
        let source = format!("10.0.{}.{}", n / 250 % 4, n % 250);
        lines.push(scan(
            n,
            n as i64,
            &source,
            if n % 100 == 0 { "xmas" } else { "syn" },
            &[80, 1000 + n as u16],
        ));
    }
    lines.push(ban(5000, 3000, "10.0.1.0/24"));
    lines.push(ban(5001, 3001, "2001:db8::/64"));
    lines.push(scan(5002, 3002, "2001:db8::7", "udp", &[53]));
    let door = r#""event":"knock","door":"ssh","source":"198.51.100.7","step":1,"of":3}"#;
    lines.push(parse(&format!(r#"{{"time":"{}",{door}"#, at(3003))).unwrap());
    place.open().append(&lines).unwrap();

    let source =
        |text: &str| Filter { source: Some(query::parse_source(text).unwrap()), ..Filter::default() };
    assert_eq!(place.count(Filter::default()), 3004);
    assert_eq!(place.count(source("10.0.1.7")), 3 + 1, "with the ban of its network");
    assert_eq!(place.count(source("10.0.1.0/24")), 750 + 1);
    assert_eq!(place.count(source("10.0.0.0/8")), 3001);
    assert_eq!(place.count(source("0.0.0.0/0")), 3002);
    assert_eq!(place.count(source("2001:db8::7")), 2);
    assert_eq!(place.count(source("2001:db8::8")), 1);
    assert_eq!(place.count(source("2001:db8:0:1::/64")), 0);
    let port = |port| Filter { port: Some(port), ..Filter::default() };
    assert_eq!(place.count(port(80)), 3000);
    assert_eq!(place.count(port(1700)), 1);
    assert_eq!(place.count(port(22)), 0);
    let kind = |kind: &str| Filter { kind: Some(kind.into()), ..Filter::default() };
    assert_eq!(place.count(kind("xmas")), 30);
    assert_eq!(place.count(kind("fin")), 0);
    let events = |names: &[&str]| Filter {
        events: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Filter::default()
    };
    assert_eq!(place.count(events(&["ban"])), 2);
    assert_eq!(place.count(events(&["ban", "knock"])), 3);
    assert_eq!(place.count(Filter { door: Some("ssh".into()), ..Filter::default() }), 1);
    assert_eq!(place.count(Filter { door: Some("web".into()), ..Filter::default() }), 0);
    assert_eq!(place.count(Filter { id: Some(5001), ..Filter::default() }), 1);
    let between = |from: i64, to: i64| Filter {
        since: Some(START + from * 1000),
        until: Some(START + to * 1000),
        ..Filter::default()
    };
    assert_eq!(place.count(between(100, 199)), 100);
    assert_eq!(place.count(Filter { port: Some(80), kind: Some("xmas".into()), ..between(0, 999) }), 10);
}

#[test]
fn a_clock_that_steps_back_hides_nothing() {
    let place = Place::new();
    let mut store = place.open();
    let lines: Vec<Node> =
        (0..600).map(|n| scan(n, 10_000 - n as i64 * 10, "10.0.0.1", "syn", &[1])).collect();
    store.append(&lines).unwrap();
    let since = Filter { since: Some(START + 9_000 * 1000), ..Filter::default() };
    assert_eq!(place.count(since), 101);
}

#[test]
fn what_is_too_old_goes_in_small_steps_and_its_number_never_comes_again() {
    let place = Place::new();
    let mut store = place.open();
    let lines: Vec<Node> = (0..10_000).map(|n| scan(n, n as i64, "10.0.0.1", "syn", &[1])).collect();
    store.append(&lines).unwrap();
    let now = |seconds: i64| Wall(Duration::from_millis((START + seconds * 1000).cast_unsigned()));
    let retention = Retention { keep: Duration::from_secs(1000), bytes: 1 << 30 };
    assert!(store.retain(now(10_000), &retention).unwrap(), "not all at once");
    assert!(place.count(Filter::default()) > 5000);
    while store.retain(now(10_000), &retention).unwrap() {}
    assert_eq!(place.count(Filter::default()), 1000);
    while store.retain(now(1_000_000), &retention).unwrap() {}
    assert_eq!(place.count(Filter::default()), 0);
    assert!(!store.retain(now(1_000_000), &retention).unwrap());
    drop(store);
    let mut store = place.open();
    store.append(&lines[..1]).unwrap();
    let page = Page { filter: Filter::default(), is_backwards: true, after: None, at_most: 1 };
    assert_eq!(place.reader().page(&page).unwrap().newest, 10_001);
}

#[test]
fn the_file_never_grows_beyond_what_it_may() {
    let place = Place::new();
    let mut store = place.open();
    let retention = Retention { keep: Duration::from_secs(1 << 30), bytes: 600_000 };
    for round in 0..40 {
        let lines: Vec<Node> = (0..500)
            .map(|n| {
                scan(round * 500 + n, n as i64, &format!("10.0.{}.{}", n % 7, n % 200), "syn", &[1, 2, 3])
            })
            .collect();
        store.append(&lines).unwrap();
        while store.retain(Wall(Duration::ZERO), &retention).unwrap() {}
        assert!(store.bytes().unwrap() <= 600_000);
    }
    assert!(place.count(Filter::default()) > 2000);
    drop(store);
    assert!(fs::metadata(place.path()).unwrap().len() <= 700_000);
}

#[test]
fn a_damaged_file_is_put_aside_and_new_ones_are_kept() {
    let place = Place::new();
    let lines: Vec<Node> = (0..2000).map(|n| scan(n, n as i64, "10.0.0.1", "syn", &[1])).collect();
    place.open().append(&lines).unwrap();
    let file = fs::File::options().write(true).open(place.path()).unwrap();
    file.write_all_at(&[0xff; 4096 * 8], 0).unwrap();
    let opened = EventStore::open(&place.path()).unwrap();
    let warning = opened.warning.unwrap();
    assert!(warning.contains(".broken-1"), "{warning}");
    let mut store = opened.store;
    store.append(&lines[..3]).unwrap();
    assert_eq!(place.count(Filter::default()), 3);
}

#[test]
fn a_row_that_makes_no_sense_costs_only_itself() {
    let place = Place::new();
    let mut store = place.open();
    store.append(&(0..3).map(|n| scan(n, 0, "10.0.0.1", "syn", &[1])).collect::<Vec<_>>()).unwrap();
    store.connection.execute("UPDATE events SET body = x'ffff' WHERE number = 2", []).unwrap();
    let page = Page { filter: Filter::default(), is_backwards: false, after: None, at_most: 10 };
    let found = place.reader().page(&page).unwrap();
    assert_eq!((found.lines.len(), found.damaged), (2, 1));
}

#[test]
fn a_torn_write_leaves_what_was_committed_before_it() {
    let place = Place::new();
    let lines: Vec<Node> = (0..300).map(|n| scan(n, n as i64, "10.0.0.1", "syn", &[1])).collect();
    let mut store = place.open();
    store.append(&lines[..200]).unwrap();
    let mut wal = place.path().into_os_string();
    wal.push("-wal");
    let whole = fs::metadata(&wal).unwrap().len();
    store.append(&lines[200..]).unwrap();
    // As a kill in the middle of a write leaves it: nobody closes the file, and the log ends within a page.
    let copy = Place::new();
    fs::create_dir(copy.path().parent().unwrap()).unwrap();
    fs::copy(place.path(), copy.path()).unwrap();
    let mut copied = copy.path().into_os_string();
    copied.push("-wal");
    fs::write(&copied, &fs::read(&wal).unwrap()[..usize::try_from(whole).unwrap() + 700]).unwrap();
    drop(copy.open());
    assert_eq!(copy.count(Filter::default()), 200);
}

#[test]
fn a_full_disk_drops_events_and_the_next_are_kept_when_there_is_room() {
    let place = Place::new();
    let mut store = place.open();
    let lines: Vec<Node> =
        (0..2000).map(|n| scan(n, n as i64, &format!("10.1.{}.{}", n / 200, n % 200), "syn", &[1])).collect();
    store.append(&lines[..10]).unwrap();
    let pages = pragma(&store.connection, "page_count").unwrap();
    store
        .connection
        .pragma_update_and_check(None, "max_page_count", (pages + 2).cast_signed(), |_| Ok(()))
        .unwrap();
    assert!(matches!(store.append(&lines), Err(StoreError::Full(_))));
    store.connection.pragma_update_and_check(None, "max_page_count", 1 << 20, |_| Ok(())).unwrap();
    store.append(&lines[10..20]).unwrap();
    assert_eq!(place.count(Filter::default()), 20);
}

#[test]
fn a_while_is_summed_up_and_each_scan_counts_once() {
    let place = Place::new();
    let ended = |number: u64, seconds: i64, ports: &[u16]| {
        parse(&format!(
            r#"{{"time":"{}","event":"scan","id":"s-{number:x}","source":"10.0.0.1","kinds":["syn","udp"],"ports":{ports:?},"decision":"block","ended":true}}"#,
            at(seconds)
        ))
        .unwrap()
    };
    let fault = parse(&format!(r#"{{"time":"{}","event":"fault","why":"broken"}}"#, at(9))).unwrap();
    let lines = [
        scan(1, 0, "10.0.0.1", "syn", &[22, 23]),
        ban(2, 1, "10.0.0.1/32"),
        scan(3, 2, "10.0.0.2", "udp", &[22]),
        ended(1, 5, &[22, 23, 24]),
        scan(4, 100_000, "10.0.0.2", "udp", &[22]),
        fault,
    ];
    place.open().append(&lines).unwrap();
    let wall = |seconds: i64| Wall(Duration::from_millis((START + seconds * 1000).cast_unsigned()));
    let report = place.reader().report(wall(-10), wall(3590)).unwrap();
    assert_eq!((report.scans, report.bans, report.sources, report.events), (2, 1, 2, 5));
    let counts = |counts: &[tally::Count]| -> Vec<String> {
        counts.iter().map(|own| format!("{} {}", own.name, own.count)).collect()
    };
    assert_eq!(counts(&report.top_ports), ["22 2", "23 1", "24 1"]);
    assert_eq!(counts(&report.kinds), ["udp 2", "syn 1"]);
    assert_eq!(counts(&report.top_networks), ["10.0.0.0/24 2"]);
    assert_eq!(report.faults[0].what, "broken");
    assert_eq!(report.bar_seconds, 120);
    assert_eq!(report.timeline.iter().map(|bar| bar.scans).sum::<u64>(), 2);
    assert!(report.timeline.len() <= 61);
    let empty = place.reader().report(wall(200_000), wall(300_000)).unwrap();
    assert_eq!((empty.events, empty.first_kept), (0, None));
}
