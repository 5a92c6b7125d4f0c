//! The cases that programs made (`knock`, nmap in its ways), run once more by the same programs against both.

use std::collections::BTreeSet;

use serde_json::Value;
use testbed::wait_until;

use super::cases;
use super::host::{Host, Program, SOON, is_possible, translated};

/// Where ours writes other lines or opens other doors, and why; the rest of the lines is the same.
const DIFFERENCES: &[(&str, &[&str], &str)] = &[
    (
        "scan-sequential",
        &[],
        "a scan opens nothing (ScansMayOpen lets it), and its first steps are refused too",
    ),
    ("scan-sequential-full", &[], "as scan-sequential"),
];

/// How the first ends hangs on the resolver, which nmap asks for names, and the second on the order that nmap draws: both
/// programs hear the same packets, side by side.
const SIDE_BY_SIDE: &[&str] = &["nmap-plain-closed", "nmap-one-call"];

const KNOCK: &[&str] = &[
    "knock",
    "knock-noflags",
    "knock-drop",
    "knock-delay-drop",
    "open-port-syn",
    "open-port-noflags",
    "udp-mix-knock",
    "udp-mix-knock-UPPER",
    "udp-knock-u",
    "ipv6-knock",
];
const NMAP: &[&str] = &[
    "nmap-noflags-closed",
    "nmap-one-call-r",
    "nmap-sF-closed",
    "nmap-sT-closed",
    "nmap-sA",
    "nmap-open-port-syn",
    "nmap-open-port-noflags",
    "ipv6-nmap",
];
const NMAP_DROPPED: &[&str] = &[
    "nmap-syn-drop",
    "nmap-syn-drop-noretry",
    "nmap-one-call-r-drop",
    "nmap-sF-drop",
    "nmap-sF-drop-noretry",
];
const SCANS: &[&str] = &["scan-sequential", "scan-sequential-full"];

fn has_client(case: &Value) -> bool {
    case["steps"].as_array().unwrap().iter().any(|step| step["run_on_client"].is_string())
}

/// What a case writes, up to what it opened.
fn run(host: &Host, program: Program, case: &Value) -> Vec<String> {
    let _services: Vec<_> = case["listening_on_server"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| host.listen(port.as_u64().unwrap() as u16))
        .collect();
    let doors = case["config"].as_str().unwrap().replace("[options]\n", "");
    let daemon = host.start(program, &doors);
    for step in case["steps"].as_array().unwrap() {
        if let Some(command) = step["run_on_client"].as_str() {
            host.guest(&translated(command));
        }
    }
    drop(daemon.log());
    // knockd's line about a command comes from another process, when that has begun.
    wait_until(SOON, "the commands", || {
        let log = host.log();
        let count = |part: &str| log.iter().filter(|line| line.contains(part)).count();
        (count("OPEN SESAME") == count("running command")).then_some(log)
    })
}

/// Runs the cases with both, on a host that drops everything but the test's own knocks if it `drops`.
fn check(ids: &[&str], drops: bool) {
    if !is_possible() {
        return;
    }
    let Some(host) = Host::new() else { return };
    let text = cases();
    let mut wrong = Vec::new();
    for id in ids {
        let case = text["sequence_cases"].as_array().unwrap().iter().find(|case| case["id"] == *id).unwrap();
        let is_dropping = case["server_firewall"].as_str().unwrap().starts_with("drop all");
        assert!(!drops || is_dropping, "{id}");
        if is_dropping {
            for protocol in ["tcp", "udp"] {
                host.lab.victim.run(&["iptables", "-A", "INPUT", "-p", protocol, "-j", "DROP"]);
            }
        }
        let theirs = run(&host, Program::Original, case);
        let ours = run(&host, Program::Ours, case);
        host.lab.victim.run(&["iptables", "-F", "INPUT"]);
        let opened = |log: &[String]| {
            let opened = log.iter().filter_map(|line| line.strip_suffix(": OPEN SESAME"));
            opened.map(str::to_owned).collect::<Vec<_>>()
        };
        let measured = case["opened"].as_array().unwrap().iter().map(|opening| {
            let source = translated(opening["src"].as_str().unwrap());
            format!("{source}: {}", opening["door"].as_str().unwrap())
        });
        assert_eq!(opened(&theirs), measured.collect::<Vec<_>>(), "{id}: knockd did as it was measured to");
        let difference = DIFFERENCES.iter().find(|(own, _, _)| own == id);
        if let Some((_, lines, _)) = difference {
            assert_ne!(theirs[1..], **lines, "{id} is no difference");
        }
        let expected = match difference {
            Some((_, lines, _)) => {
                let start = ["starting up, listening on eth0"].iter().chain(*lines);
                start.map(|line| (*line).to_owned()).collect()
            }
            None => theirs,
        };
        if ours != expected {
            wrong.push(format!("{id}: {ours:#?} instead of {expected:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_that_a_program_made_is_run() {
    let text = cases();
    let made = text["sequence_cases"].as_array().unwrap().iter().filter(|case| has_client(case));
    let made: BTreeSet<&str> = made.map(|case| case["id"].as_str().unwrap()).collect();
    let run = [KNOCK, NMAP, NMAP_DROPPED, SCANS, SIDE_BY_SIDE].concat();
    assert_eq!(made, run.into_iter().collect::<BTreeSet<_>>());
}

#[test]
fn the_distributions_knock_is_heard_alike() {
    check(KNOCK, false);
}

#[test]
fn nmap_is_heard_alike() {
    check(NMAP, false);
}

#[test]
fn nmap_is_heard_alike_where_its_packets_are_dropped() {
    check(NMAP_DROPPED, true);
}

#[test]
fn scans_open_nothing() {
    check(SCANS, false);
}

#[test]
fn scans_open_where_that_is_asked_for() {
    if !is_possible() {
        return;
    }
    let Some(host) = Host::new() else { return };
    let doors = "ScansMayOpen\n[A]\nsequence = 7000,8000,9000\nseq_timeout = 5\ntcpflags = syn\n";
    let daemon = host.start(Program::Ours, doors);
    host.guest("nmap -n -r -p 6990-9010 10.77.0.2");
    assert!(daemon.log().contains(&"10.77.0.1: A: OPEN SESAME".to_owned()));
}

/// Has a guest knock at both at the same time; what they wrote, which is the same.
#[track_caller]
fn heard_alike(host: &Host, doors: &str, commands: &[String]) -> Vec<String> {
    let [theirs, ours] = host.start_both(doors);
    for command in commands {
        host.guest(command);
    }
    let theirs = theirs.log();
    // Commands are told by another process of knockd's, in no order with what else is heard.
    let without_commands = |log: Vec<String>| -> Vec<String> {
        log.into_iter().filter(|line| !line.contains("running command")).collect()
    };
    let (theirs, ours) = (without_commands(theirs), without_commands(ours.log()));
    assert_eq!(ours, theirs, "{commands:?}");
    ours
}

fn case_of(id: &str) -> (String, Vec<String>) {
    let text = cases();
    let case = text["sequence_cases"].as_array().unwrap().iter().find(|case| case["id"] == id).unwrap();
    let doors = case["config"].as_str().unwrap().replace("[options]\n", "");
    let commands = case["steps"].as_array().unwrap().iter();
    (doors, commands.map(|step| translated(step["run_on_client"].as_str().unwrap())).collect())
}

#[test]
fn an_nmap_that_waits_for_names_comes_too_late_to_both() {
    if !is_possible() {
        return;
    }
    let Some(host) = Host::new() else { return };
    let (doors, commands) = case_of("nmap-plain-closed");
    // A resolver that is silent, whatever this machine has.
    host.lab.victim.run(&["iptables", "-A", "INPUT", "-p", "udp", "--dport", "53", "-j", "DROP"]);
    let commands: Vec<String> =
        commands.iter().map(|command| format!("{command} --dns-servers 10.77.0.2")).collect();
    let heard = heard_alike(&host, &doors, &commands);
    let expected = ["10.77.0.1: A: Stage 1", "10.77.0.1: A: sequence timeout (stage 1)"];
    assert_eq!(heard[1..], expected);
}

#[test]
fn an_nmap_that_draws_its_order_is_heard_alike_whichever_that_is() {
    if !is_possible() {
        return;
    }
    let Some(host) = Host::new() else { return };
    let (doors, commands) = case_of("nmap-one-call");
    for _ in 0..6 {
        heard_alike(&host, &doors, &commands);
    }
}

#[test]
fn three_calls_of_nmap_with_datagrams_open_with_both() {
    if !is_possible() {
        return;
    }
    let Some(host) = Host::new() else { return };
    let doors = "[A]\nsequence = 7000:udp,8000:udp,9000:udp\nseq_timeout = 15\ncommand = /bin/true %IP%\n";
    let commands = [7000, 8000, 9000].map(|port| format!("nmap -n -sU -p {port} 10.77.0.2"));
    let heard = heard_alike(&host, doors, &commands);
    assert_eq!(heard.last().unwrap(), "10.77.0.1: A: OPEN SESAME");
}
