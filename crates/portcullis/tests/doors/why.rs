//! "Why is it still shut?": what `doors` and `events` say, and what nobody says: the ports.

use serde_json::json;

use crate::harness::{Guard, Place, SOON};
use crate::knocks::{RIGHT, door, enter, knock, listed, serve};
use crate::shutting::{gets_in, lab};

const GUEST: &str = "10.77.0.1";

/// The digits of [`RIGHT`].
const SECRETS: [&str; 3] = ["47113", "48117", "46119"];

/// Everything that the guard says to somebody who asks.
#[track_caller]
pub fn everything(guard: &Guard) -> String {
    let asked = [
        &["doors"][..],
        &["doors", "--json"],
        &["events"],
        &["events", "--json"],
        &["events", "--export", "csv"],
        &["status"],
        &["status", "--json"],
    ];
    let said = asked.iter().map(|words| guard.verb(words));
    let said: String = said.map(|said| format!("{}{}", said.out, said.err)).collect();
    let told: String = guard.running.lines().iter().map(|line| format!("{}\n", line.text)).collect();
    said + &told
}

#[test]
fn each_way_to_fail_is_named_and_no_port_ever() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    for number in 21..=25 {
        lab.add_attacker(&format!("10.77.0.{number}/24"));
    }
    let mut guard = Guard::configured(&lab.victim, &door("window = \"1s\""), &[]);
    let failures = [
        ("10.77.0.21", "47113 46119", "had a step out of order", 1),
        ("10.77.0.22", "47113 48117:udp", "took too long", 2),
        ("10.77.0.23", "47113 1001 1002 1003 1004 1005", "looked like a scan", 1),
    ];
    for (source, steps, why, step) in failures {
        knock(&lab.attacker, source, lab.victim4(), steps);
        let told = guard.wait_for(SOON, |event| {
            event["event"] == "knock" && event["source"] == source && event["why"].is_string()
        });
        assert!(told["why"].as_str().unwrap().contains(why), "{told}");
        assert_eq!((&told["door"], &told["step"], &told["of"]), (&"ssh".into(), &step.into(), &3.into()));
        assert!(!gets_in(&lab, source));
        for verb in [&["doors"][..], &["events"], &["events", "--door", "ssh", "--source", source]] {
            let said = guard.verb(verb);
            let line = format!("door ssh step {step} of 3: the knock by {source} {why}");
            assert!(said.out.contains(&line), "{verb:?}: {said:?}");
        }
    }
    // Whoever goes on from a failed knock is a scanner, and his scan is told without the steps' ports.
    knock(&lab.attacker, "10.77.0.24", lab.victim4(), "47113 46119 1001 1002 1003 1004 1005 1006 1007");
    let scan = guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == "10.77.0.24");
    assert_eq!(scan["ports"], json!([1001, 1002]), "{scan}");
    assert_eq!(scan["steps"], json!(["door ssh step 1", "door ssh step 3"]), "{scan}");
    enter(&lab, &mut guard, GUEST);
    let said = everything(&guard);
    for secret in SECRETS {
        let line = said.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a step's port is told");
    }
}

#[test]
fn guessing_is_given_up_after_wrong_tries_and_the_others_are_let_in() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, &door("wrong_tries = 3\nignored_for = \"1h\""), &[]);
    for _ in 0..3 {
        knock(&lab.attacker, GUEST, lab.victim4(), "47113 46119");
    }
    let told = guard.running.count();
    knock(&lab.attacker, GUEST, lab.victim4(), RIGHT);
    guard.wait_for_after(told, SOON, |event| {
        event["why"].to_string().contains("ignored: too many wrong tries")
    });
    assert!(!gets_in(&lab, GUEST));
    enter(&lab, &mut guard, "10.77.0.9");
    assert!(gets_in(&lab, "10.77.0.9"));
}

#[test]
fn a_table_of_others_that_drops_is_not_overruled() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new(&door("open_for = \"1h\""));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    enter(&lab, &mut guard, GUEST);
    assert_eq!(listed(&guard, "ssh")["openings"][0]["state"], "in force");
    lab.victim.run_with_input(
        &["nft", "-f", "-"],
        "table inet filter {
            chain input {
                type filter hook input priority filter; policy drop
            }
        }\n",
    );
    assert!(!gets_in(&lab, GUEST), "an accept of ours cannot overrule a drop of theirs");
    assert_eq!(listed(&guard, "ssh")["openings"][0]["state"], "in force");
}
