//! What an opening outlasts: a flushed ruleset, a restart, SIGKILL.

use std::time::Instant;

use testbed::wait_until;

use crate::harness::{Guard, Place, SOON};
use crate::knocks::{door, enter, guests, let_in, serve};
use crate::shutting::{gets_in, lab};

const GUEST: &str = "10.77.0.1";

const STRANGER: &str = "10.77.0.9";

/// The seconds that are left of an hour that began at `since`, and one more on each side for rounding.
fn is_rest_of_hour(left: u64, since: Instant) -> bool {
    let expected = 3600 - since.elapsed().as_secs();
    left.abs_diff(expected) <= 1
}

#[test]
fn a_flushed_ruleset_comes_back_with_doors_and_guests() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, &door("open_for = \"1h\""), &[]);
    let since = Instant::now();
    enter(&lab, &mut guard, GUEST);
    enter(&lab, &mut guard, "fd77::1");
    let destructions: [&[&str]; 3] = [
        &["nft", "flush", "ruleset"],
        &["nft", "delete", "table", "inet", "portcullis"],
        &["nft", "flush", "chain", "inet", "portcullis", "doors"],
    ];
    for destruction in destructions {
        lab.victim.run(destruction);
        let left = wait_until(SOON, &format!("the guest to be back after {destruction:?}"), || {
            let left = let_in(&lab.victim, "door_ssh4", GUEST)?;
            let _ = let_in(&lab.victim, "door_ssh6", "fd77::1")?;
            (!gets_in(&lab, STRANGER) && gets_in(&lab, GUEST)).then_some(left)
        });
        assert!(is_rest_of_hour(left, since), "{left} s are left after {destruction:?}");
        assert!(!gets_in(&lab, "fd77::9") && gets_in(&lab, "fd77::1"));
    }
    assert_eq!(guests(&guard, "ssh"), [GUEST, "fd77::1"]);
    assert_eq!(guard.told("open").len(), 2, "that it is open still is no news");
}

#[test]
fn a_guest_stays_in_while_the_guard_restarts_or_is_killed() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new(&door("open_for = \"1h\""));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    let since = Instant::now();
    enter(&lab, &mut guard, GUEST);
    // The stop comes first: what it has stored is there after a kill.
    for way in ["a stop", "a kill", "a kill and a flushed ruleset"] {
        if way == "a stop" {
            assert_eq!(guard.stop(), 0);
        } else {
            guard.kill();
        }
        assert!(gets_in(&lab, GUEST) && !gets_in(&lab, STRANGER), "during {way}");
        if way.contains("flushed") {
            lab.victim.run(&["nft", "flush", "ruleset"]);
        }
        guard = Guard::at(&lab.victim, &place, &[]);
        assert!(gets_in(&lab, GUEST) && !gets_in(&lab, STRANGER), "after {way}");
        let left = let_in(&lab.victim, "door_ssh4", GUEST).unwrap();
        assert!(is_rest_of_hour(left, since), "{left} s are left after {way}");
        assert_eq!(guests(&guard, "ssh"), [GUEST], "after {way}");
    }
}

#[test]
fn guests_taken_out_by_hand_are_back_with_the_time_that_they_had() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, &door("open_for = \"1h\""), &[]);
    let since = Instant::now();
    enter(&lab, &mut guard, GUEST);
    enter(&lab, &mut guard, "fd77::1");
    let takings: [(&[&str], u64); 2] = [
        (&["nft", "delete", "element", "inet", "portcullis", "door_ssh4", "{", GUEST, "}"], 1),
        (&["nft", "flush", "set", "inet", "portcullis", "door_ssh6"], 1),
    ];
    for (taking, guests) in takings {
        let told = guard.running.count();
        lab.victim.run(taking);
        guard.wait_for_after(told, SOON, |event| event["event"] == "repair" && event["guests"] == guests);
        let left = wait_until(SOON, &format!("the guest to be back after {taking:?}"), || {
            let _ = let_in(&lab.victim, "door_ssh6", "fd77::1")?;
            let_in(&lab.victim, "door_ssh4", GUEST)
        });
        assert!(is_rest_of_hour(left, since), "{left} s are left after {taking:?}");
        assert!(gets_in(&lab, GUEST) && gets_in(&lab, "fd77::1") && !gets_in(&lab, STRANGER));
    }
    assert_eq!(guard.verb(&["close", "ssh"]).code, 0);
    assert!(!gets_in(&lab, GUEST));
    assert_eq!(guard.told("repair").len(), 2, "what was shut by us is not missed");
}
