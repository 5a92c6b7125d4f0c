//! What happened, asked for afterwards: from the guard while it runs, and from its file when it does not.

use std::process::{Command, Stdio};

use serde_json::Value;
use testbed::{Lab, Running};

use crate::harness::{Guard, PROGRAM, Place, SOON, portcullis};

/// Ports without a service, as many as are a scan where they are counted, so that all of them are told.
const PORTS: &str = "21,23,25,110,3306";

fn scan(lab: &Lab, source: &str) {
    let target = lab.victim4().to_string();
    lab.attacker.run(&["nmap", "-n", "-Pn", "-sS", "-p", PORTS, "-S", source, "-e", "eth0", &target]);
}

/// The lines that were told, less what is no event to be kept: the log's own.
fn told(guard: &Guard) -> Vec<String> {
    guard.running.lines().into_iter().map(|line| line.text).filter(|line| line.starts_with('{')).collect()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn what_was_told_is_kept_word_by_word_also_when_nobody_runs() {
    let Some(lab) = Lab::direct() else { return };
    let place = Place::new("[judge]\nby = \"trigger\"\n");
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    scan(&lab, "10.77.0.1");
    guard.wait_for(SOON, |event| event["event"] == "ban");
    guard.verb(&["unban", "10.77.0.1"]);
    guard.wait_for(SOON, |event| event["event"] == "unban");
    let said = guard.verb(&["events", "--json"]);
    assert_eq!((said.code, lines(&said.out)), (0, told(&guard)), "{}", said.err);

    for (words, count) in [
        (&["--source", "10.77.0.1"][..], 3),
        (&["--source", "10.77.0.0/24"], 3),
        (&["--source", "10.78.0.0/24"], 0),
        (&["--port", "3306"], 1),
        (&["--port", "3307"], 0),
        (&["--kind", "syn"], 1),
        (&["--event", "ban", "--event", "unban"], 2),
        (&["--since", "2100-01-01"], 0),
        (&["--until", "1h"], 0),
        (&["--limit", "1"], 1),
    ] {
        let said = guard.verb(&[&["events", "--json"], words].concat());
        assert_eq!(lines(&said.out).len(), count, "{words:?}: {said:?}");
    }
    let said = guard.verb(&["events", "--export", "csv", "--event", "ban"]);
    assert!(said.out.lines().nth(1).unwrap().contains(",ban,b-"), "{said:?}");
    let said = guard.verb(&["events", "--event", "scan"]);
    assert!(said.out.contains("10.77.0.1: ") && said.out.contains("held for 1m"), "{said:?}");

    let said = guard.verb(&["explain", "10.77.0.1"]);
    for part in ["10.77.0.1 is not banned", "evidence    ", "closed TCP ports", "by hand"] {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    guard.verb(&["ban", "10.77.0.1", "--why", "again"]);
    let said = guard.verb(&["explain", "10.77.0.1", "--json"]).json();
    assert_eq!((&said["state"], &said["undo"]), (&"banned".into(), &"portcullis unban 10.77.0.1".into()));
    let id = said["ban"]["id"].as_str().unwrap();
    assert!(guard.verb(&["explain", id]).out.contains("cause       by hand: again"));
    assert_eq!(guard.verb(&["explain", "192.0.2.77"]).code, 1);
    let report = guard.verb(&["report", "--json"]).json();
    assert_eq!((&report["scans"], &report["sources"], &report["bans"]), (&1.into(), &1.into(), &2.into()));
    let page = place.file("report.html");
    assert_eq!(guard.verb(&["report", "--html", page.to_str().unwrap()]).code, 0);
    assert!(std::fs::read_to_string(&page).unwrap().ends_with("</html>\n"));
    assert!(guard.verb(&["report"]).out.contains("1 scan from 1 address: 1 led to a hold."));

    assert_eq!(guard.stop(), 0);
    let state = place.state();
    let said = portcullis(&["events", "--json", "--state", state.to_str().unwrap()]);
    assert_eq!((said.code, lines(&said.out)), (0, told(&guard)), "{}", said.err);
    assert!(said.err.contains("nobody runs"), "{}", said.err);
    let said = portcullis(&["events", "--follow", "--state", state.to_str().unwrap()]);
    assert_eq!(said.code, 3, "{said:?}");

    // The next run goes on where this one ended.
    let before = told(&guard).len();
    let guard = Guard::at(&lab.victim, &place, &["--observe"]);
    let said = guard.verb(&["events", "--json"]);
    assert_eq!(lines(&said.out).len(), before + 1, "{said:?}");
}

#[test]
fn who_follows_sees_each_event_as_it_comes_and_nothing_twice() {
    let Some(lab) = Lab::direct() else { return };
    let place = Place::new("");
    let mut guard = Guard::at(&lab.victim, &place, &["--observe"]);
    guard.verb(&["allow", "192.0.2.1"]);
    let mut command = Command::new(PROGRAM);
    command.args(["events", "--follow", "--json", "--state"]).arg(place.state());
    let mut follower = Running::spawn(command.stdin(Stdio::null()));
    follower.wait_for_line(SOON, |line| line.contains("\"allow\""));
    for number in 1..=3 {
        guard.verb(&["allow", &format!("192.0.2.{}", number * 10)]);
        follower.wait_for_line(SOON, |line| line.contains(&format!("192.0.2.{}/32", number * 10)));
    }
    let seen: Vec<Value> =
        follower.lines().iter().map(|line| serde_json::from_str(&line.text).unwrap()).collect();
    let allowed = seen.iter().filter(|event| event["event"] == "allow").count();
    assert_eq!(allowed, 4, "{seen:?}");
    guard.stop();
    assert_eq!(follower.wait(SOON).code(), Some(3), "it is told that the guard has gone");
}

#[test]
fn a_kill_loses_at_most_what_was_told_in_the_last_moment() {
    let Some(lab) = Lab::direct() else { return };
    let place = Place::new("");
    for round in 1..=5 {
        let mut guard = Guard::at(&lab.victim, &place, &["--observe"]);
        guard.verb(&["allow", &format!("192.0.2.{round}")]);
        // Whoever has asked has what was told before on the disk.
        guard.verb(&["events"]);
        guard.verb(&["allow", &format!("198.51.100.{round}")]);
        guard.kill();
    }
    let mut guard = Guard::at(&lab.victim, &place, &["--observe"]);
    let said = guard.verb(&["events", "--json", "--event", "allow"]);
    for round in 1..=5 {
        assert!(said.out.contains(&format!("192.0.2.{round}/32")), "{said:?}");
    }
    assert!(said.err.is_empty(), "{said:?}");
    guard.stop();
}

#[test]
fn events_that_cannot_be_kept_are_said_and_nothing_else_suffers() {
    let Some(lab) = Lab::direct() else { return };
    let place = Place::new("");
    // A directory stands where the file is to be: root cannot write there either.
    std::fs::create_dir_all(place.state().join("portcullis-events.db")).unwrap();
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    guard.wait_for(SOON, |event| {
        event["event"] == "fault" && event["why"].to_string().contains("events are not kept")
    });
    scan(&lab, "10.77.0.1");
    guard.wait_for(SOON, |event| event["event"] == "ban" && event["state"] == "in force");
    let status = guard.status();
    assert!(status["events_lost"].as_u64().unwrap() > 0, "{status}");
    assert!(status["faults"].to_string().contains("events are not kept"), "{status}");
    let said = guard.verb(&["events"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("events are not kept"), "{said:?}");
}
