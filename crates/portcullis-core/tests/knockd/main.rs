//! What knockd 0.8 did (`tests/ancestors/knockd-cases.json`, measured), done by ours on virtual time: 93 scenarios of
//! packets and 10 with one-time sequences. Each ends the same, or stands in a table of differences with its reason.

#![expect(clippy::unwrap_used, reason = "a case fails where it stands")]

mod client;
mod host;
mod one_time;

use std::time::Duration;

use host::{CaseHost, Packet};
use serde_json::Value;

/// Where ours ends otherwise, and why. `opened` is what ours opens.
const DIFFERENCES: &[(&str, &[&str], &str)] = &[
    (
        "two-clients",
        &["A 10.78.0.1", "A 10.78.0.3"],
        "each source has its own state; with knockd the first to finish wiped the others",
    ),
    ("two-clients-first-fails", &["A 10.78.0.3"], "who fails, fails alone"),
    ("head-timeout-kills", &["A 10.78.0.3"], "whose time is over takes nobody else with him"),
    (
        "retrans-first",
        &["A 10.78.0.1"],
        "the same segment again is a retransmission (same port and number), not another knock",
    ),
    ("retrans-second", &["A 10.78.0.1"], "as retrans-first"),
    ("ipv6-exthdr", &["A fd78::1"], "extension headers are read"),
    ("scan-sequential", &[], "a scan opens nothing unless that is asked for (scans_may_open)"),
    ("scan-sequential-full", &[], "as scan-sequential"),
];

/// The doors of a case's configuration are made here; that knockd.conf is read as knockd did is shown with its reader.
fn text() -> Value {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/ancestors/knockd-cases.json"));
    serde_json::from_str(text).unwrap()
}

fn opened_by_knockd(case: &Value) -> Vec<String> {
    let opened = case["opened"].as_array().unwrap().iter();
    opened
        .map(|opening| format!("{} {}", opening["door"].as_str().unwrap(), opening["src"].as_str().unwrap()))
        .collect()
}

fn run(case: &Value, scans_may_open: bool) -> Vec<String> {
    let id = case["id"].as_str().unwrap();
    let mut host = CaseHost::new(case["config"].as_str().unwrap(), scans_may_open);
    for port in case["listening_on_server"].as_array().into_iter().flatten() {
        host.services.insert(port.as_u64().unwrap() as u16);
    }
    let is_dropping = case["server_firewall"].as_str().unwrap().contains("rop");
    let gap = Duration::from_secs_f64(case["gap_s"].as_f64().unwrap_or(0.0));
    for (step, number) in case["steps"].as_array().unwrap().iter().zip(0_u32..) {
        if let Some(seconds) = step["sleep_s"].as_f64() {
            host.pass(Duration::from_secs_f64(seconds));
        } else if let Some(command) = step["run_on_client"].as_str() {
            for (packet, pause) in client::packets(id, command, is_dropping, &host.services) {
                host.send(&packet);
                host.pass(pause);
            }
        } else {
            let mut packet = Packet::of(step, number);
            if id.starts_with("retrans-") && number > 0 {
                // The case says that the packet is a retransmission: the same port and number again.
                let before = &case["steps"][number as usize - 1];
                if before["dport"] == step["dport"] {
                    packet.number -= 1;
                }
            }
            host.send(&packet);
            host.pass(gap);
        }
    }
    host.opened
}

#[test]
fn each_scenario_ends_as_with_knockd_or_has_its_reason() {
    let text = text();
    let cases = text["sequence_cases"].as_array().unwrap();
    assert_eq!(cases.len(), 93);
    let mut wrong = Vec::new();
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let ours = run(case, false);
        let theirs = opened_by_knockd(case);
        let difference = DIFFERENCES.iter().find(|(own, _, _)| *own == id);
        let expected: Vec<String> = match difference {
            Some((_, opened, _)) => opened.iter().map(ToString::to_string).collect(),
            None => theirs.clone(),
        };
        if ours != expected {
            wrong.push(format!("{id}: {ours:?} instead of {expected:?}"));
        }
        assert!(difference.is_none() || expected != theirs, "{id} is no difference");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (id, _, _) in DIFFERENCES {
        assert!(cases.iter().any(|case| case["id"] == *id), "{id} is no case");
    }
}

#[test]
fn scans_open_where_that_is_asked_for() {
    let text = text();
    let cases = text["sequence_cases"].as_array().unwrap().iter();
    for case in cases.filter(|case| case["id"].as_str().unwrap().starts_with("scan-")) {
        assert_eq!(run(case, true), opened_by_knockd(case), "{}", case["id"]);
    }
}
