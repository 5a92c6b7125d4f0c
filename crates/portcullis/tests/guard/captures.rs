//! A capture of a scan is judged as the scan itself was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testbed::{Lab, Running, Signal};

use crate::harness::{Guard, Place, SOON, portcullis};

/// A scan is over, and told with all its ports, when it was quiet for so long.
const WINDOW: &str = "[judge]\nby = \"trigger\"\nwindow = \"2s\"\n";

/// The scans that are captured: their source, and what nmap is told.
const SCANS: [(&str, &str); 6] = [
    ("10.77.0.101", "-sS -p 21-40 10.77.0.2"),
    ("10.77.0.102", "-sT -p 21-40 10.77.0.2"),
    ("10.77.0.103", "-sU -p 21-40 10.77.0.2"),
    ("10.77.0.104", "-sN -p 21-40 10.77.0.2"),
    ("10.77.0.105", "-sS -f -p 21-40 10.77.0.2"),
    ("fd77::106", "-6 -sS -p 21-40 fd77::2"),
];

/// Enough for a verdict where answers show that nothing was there, too little where they are not captured.
const SHORT: (&str, &str) = ("10.77.0.107", "-sS -p 21-28 10.77.0.2");

/// Begins to capture; returns when it does.
fn tcpdump(lab: &Lab, file: &Path, words: &[&str]) -> Running {
    let mut command = lab.victim.command("tcpdump");
    // At once, and with slots no longer than a frame: of the usual 256 KiB only eight have room, and some are lost.
    command.args(["-n", "-U", "--immediate-mode", "-s", "2048", "-w"]).arg(file).args(words);
    let mut running = Running::spawn(&mut command);
    running.wait_for_line(SOON, |line| line.contains("listening on"));
    running
}

/// Ends a capture, which must be whole.
fn finish(mut tcpdump: Running) {
    tcpdump.signal(Signal::SIGINT);
    assert!(tcpdump.wait(SOON).success());
    tcpdump.wait_for_line(SOON, |line| line == "0 packets dropped by kernel");
}

fn scan(lab: &Lab, scans: &[(&str, &str)]) {
    lab.victim.sysctl("net.ipv4.icmp_ratelimit", "0");
    let start = |(source, options): &(&str, &str)| {
        lab.add_attacker(&format!("{source}/{}", if source.contains(':') { 64 } else { 24 }));
        let words = format!("nmap -n -Pn -T4 -e eth0 -S {source} {options}");
        lab.attacker.start(&words.split(' ').collect::<Vec<_>>())
    };
    let mut running: Vec<Running> = scans.iter().map(start).collect();
    assert!(running.iter_mut().all(|nmap| nmap.wait(3 * SOON).success()));
}

/// What is said of each source, without what depends on the moment.
fn verdicts(scans: &[Value]) -> BTreeMap<String, Value> {
    let fields = ["prefix", "protocol", "kinds", "shape", "targets", "ports", "decision", "ban_seconds"];
    let verdict = |scan: &Value| fields.map(|field| (field.to_owned(), scan[field].clone()));
    scans
        .iter()
        .map(|scan| {
            (scan["source"].as_str().unwrap().to_owned(), Value::Object(verdict(scan).into_iter().collect()))
        })
        .collect()
}

/// Replays a capture; the scans, and the summary.
#[track_caller]
fn replay(file: &Path) -> (Vec<Value>, Value) {
    let said = portcullis(&["replay", "--local", "10.77.0.2,fd77::2", "--json", file.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{said:?}");
    let mut lines = said.lines();
    let summary = lines.pop().unwrap();
    assert_eq!(summary["event"], "summary");
    assert!(lines.iter().all(|line| line["event"] == "scan"), "{said:?}");
    (lines, summary)
}

#[test]
fn a_capture_is_judged_as_the_living_guard_judged() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap", "tcpdump"]) {
        return;
    }
    let place = Place::new(WINDOW);
    let (ethernet, cooked) = (place.file("ethernet.pcap"), place.file("cooked.pcap"));
    let taps = [tcpdump(&lab, &ethernet, &["-i", "eth0"]), tcpdump(&lab, &cooked, &["-i", "any"])];
    let mut guard = Guard::at(&lab.victim, &place, &["--observe"]);
    scan(&lab, &SCANS);
    for (source, _) in SCANS {
        guard.wait_for(SOON, |event| event["source"] == source && event["ended"] == true);
    }
    taps.into_iter().for_each(finish);
    // The last line of a source has everything.
    let live = verdicts(&guard.told("scan"));
    assert_eq!(live.len(), SCANS.len());
    let all: Vec<u16> = (21..=40).collect();
    assert!(live.values().all(|verdict| verdict["ports"] == json!(all)), "{live:#?}");
    assert_eq!(verdicts(&replay(&ethernet).0), live);
    assert_eq!(verdicts(&replay(&cooked).0), live);
    let both = portcullis(&["replay", "--json", ethernet.to_str().unwrap()]).lines();
    assert_eq!(verdicts(&both[..both.len() - 1]), live, "also where nobody says whose capture it is");
}

#[test]
fn a_capture_that_was_cut_is_judged_as_far_as_it_goes() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap", "tcpdump"]) {
        return;
    }
    let place = Place::new("");
    let (whole, cut) = (place.file("whole.pcap"), place.file("cut.pcap"));
    let tap = tcpdump(&lab, &whole, &["-i", "eth0"]);
    scan(&lab, &SCANS[..1]);
    finish(tap);
    let bytes = fs::read(&whole).unwrap();
    let (scans, summary) = replay(&whole);
    assert_eq!(scans.len(), 1);
    // In the middle of a record: the header of the last one is whole, its packet is not.
    for length in [bytes.len() * 3 / 4, bytes.len() - 1] {
        fs::write(&cut, &bytes[..length]).unwrap();
        let (judged, less) = replay(&cut);
        assert!(less["packets"].as_u64() < summary["packets"].as_u64());
        assert_eq!((judged.len(), &judged[0]["source"]), (1, &scans[0]["source"]));
        let ports = |scan: &Value| scan["ports"].as_array().unwrap().len();
        assert!((5..=ports(&scans[0])).contains(&ports(&judged[0])), "{judged:#?}");
    }
    let said = portcullis(&["replay", cut.to_str().unwrap()]);
    assert!(said.err.contains("cut after"), "{said:?}");
}

#[test]
fn scans_are_seen_also_where_answers_are_not_captured() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap", "tcpdump"]) {
        return;
    }
    let place = Place::new("");
    let (both_ways, one_way) = (place.file("both.pcap"), place.file("one.pcap"));
    let taps = [
        tcpdump(&lab, &both_ways, &["-i", "eth0"]),
        tcpdump(&lab, &one_way, &["-i", "eth0", "dst", "host", "10.77.0.2"]),
    ];
    scan(&lab, &[SCANS[0], SCANS[3], SHORT]);
    taps.into_iter().for_each(finish);
    let sources = |file| verdicts(&replay(file).0).into_keys().collect::<Vec<_>>();
    assert_eq!(sources(&both_ways), ["10.77.0.101", "10.77.0.104", "10.77.0.107"]);
    assert_eq!(sources(&one_way), sources(&both_ways));
}
