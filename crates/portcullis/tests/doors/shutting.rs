//! Who is shut out, who gets in, and which mode changes that.

use std::time::{Duration, Instant};

use testbed::{Lab, wait_until};

use crate::harness::{Guard, Place, SOON};
use crate::kernel::can_connect;
use crate::knocks::{
    RIGHT, SERVICE, door, enter, guests, knock, let_in, listed, reload, serve, wait_until_over,
};

const STRANGERS: [&str; 2] = ["10.77.0.9", "fd77::9"];

const GUESTS: [&str; 2] = ["10.77.0.1", "fd77::1"];

/// A lab with strangers besides the guests; `None` where it can't be made.
pub fn lab() -> Option<Lab> {
    let lab = Lab::direct()?;
    if !testbed::has(&["nft"]) {
        return None;
    }
    lab.add_attacker("10.77.0.9/24");
    lab.add_attacker("fd77::9/64");
    Some(lab)
}

/// Whether a connection to the service comes about.
pub fn gets_in(lab: &Lab, source: &str) -> bool {
    let target = if source.contains(':') { lab.victim6().into() } else { lab.victim4().into() };
    can_connect(&lab.attacker, source, target, SERVICE)
}

#[test]
fn a_stranger_stays_outside_and_a_guest_is_in_until_the_door_shuts() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, &door("open_for = \"4s\""), &[]);
    assert_eq!(listed(&guard, "ssh")["opens"], "tcp/2222");
    for (guest, stranger) in GUESTS.into_iter().zip(STRANGERS) {
        assert!(!gets_in(&lab, guest) && !gets_in(&lab, stranger));
        let before = Instant::now();
        let opened = enter(&lab, &mut guard, guest);
        assert_eq!((&opened["door"], &opened["by"]), (&"ssh".into(), &"sequence".into()));
        assert!(gets_in(&lab, guest), "the guest {guest} is not let in");
        assert!(!gets_in(&lab, stranger), "the door is open to a stranger");
        assert_eq!(guests(&guard, "ssh"), [guest]);
        let closed = guard.wait_for(SOON, |event| event["event"] == "close" && event["source"] == guest);
        assert_eq!(closed["why"], "expired");
        assert!(before.elapsed() >= Duration::from_secs(4), "shut after {:?}", before.elapsed());
        assert!(!gets_in(&lab, guest));
        assert!(guests(&guard, "ssh").is_empty());
    }
    assert_eq!(guard.stop(), 0);
}

#[test]
fn the_kernel_alone_shuts_the_door_of_a_guard_that_was_killed() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, &door("open_for = \"5s\""), &[]);
    let since = Instant::now();
    for guest in GUESTS {
        enter(&lab, &mut guard, guest);
    }
    guard.kill();
    let before = since.elapsed() < Duration::from_secs(4);
    assert!(!before || GUESTS.iter().all(|guest| gets_in(&lab, guest)), "a guest is out before his time");
    assert!(STRANGERS.iter().all(|stranger| !gets_in(&lab, stranger)));
    let after = wait_until_over(since, "the door to be shut", || {
        let set = |guest: &str| if guest.contains(':') { "door_ssh6" } else { "door_ssh4" };
        GUESTS.iter().any(|guest| let_in(&lab.victim, set(guest), guest).is_some())
    });
    assert!((4..9).contains(&after.as_secs()), "shut after {after:?}");
    assert!(GUESTS.iter().chain(&STRANGERS).all(|stranger| !gets_in(&lab, stranger)));
}

#[test]
fn a_guest_shuts_the_door_behind_himself_and_an_operator_opens_and_shuts_it() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let more = "open_for = \"1h\"\nclose_sequence = \"46119, 45121, 47113\"";
    let mut guard = Guard::configured(&lab.victim, &door(more), &[]);
    enter(&lab, &mut guard, GUESTS[0]);
    knock(&lab.attacker, GUESTS[0], lab.victim4(), "46119 45121 47113");
    guard.wait_for(SOON, |event| event["event"] == "close" && event["why"] == "by knock");
    assert!(!gets_in(&lab, GUESTS[0]));

    assert_eq!(guard.verb(&["open", "ssh", STRANGERS[0], "--for", "1m"]).code, 0);
    assert!(gets_in(&lab, STRANGERS[0]));
    assert!((50..=60).contains(&let_in(&lab.victim, "door_ssh4", STRANGERS[0]).unwrap()));
    assert_eq!(guard.verb(&["close", "ssh", STRANGERS[0]]).code, 0);
    assert!(!gets_in(&lab, STRANGERS[0]));
    assert_ne!(guard.verb(&["open", "shed", STRANGERS[0]]).code, 0);
    assert_eq!(guard.stop(), 0);
}

#[test]
fn only_guests_of_the_list_are_let_in() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, &door("guests = [\"10.77.0.1\", \"fd77::/126\"]"), &[]);
    for stranger in STRANGERS {
        let target =
            if stranger.contains(':') { lab.victim6().into() } else { std::net::IpAddr::from(lab.victim4()) };
        knock(&lab.attacker, stranger, target, RIGHT);
        let told = guard.wait_for(SOON, |event| event["event"] == "knock" && event["source"] == stranger);
        assert_eq!(told["why"], "was for an address that is no guest of this door", "{told}");
    }
    for guest in GUESTS {
        enter(&lab, &mut guard, guest);
        assert!(gets_in(&lab, guest));
    }
    assert!(STRANGERS.iter().all(|stranger| !gets_in(&lab, stranger)));
    assert_eq!(guard.told("open").len(), 2);
}

#[test]
fn a_door_that_only_observes_shuts_nothing_and_tells_what_it_heard() {
    for (more, arguments) in [("mode = \"observe\"", &[][..]), ("", &["--observe"])] {
        let Some(lab) = lab() else { return };
        let _service = serve(&lab.victim);
        let mut guard = Guard::configured(&lab.victim, &door(more), arguments);
        assert!(gets_in(&lab, STRANGERS[0]) && gets_in(&lab, STRANGERS[1]), "{more}{arguments:?}");
        assert_eq!(listed(&guard, "ssh")["mode"], "observe");
        knock(&lab.attacker, GUESTS[0], lab.victim4(), RIGHT);
        let told = guard.wait_for(SOON, |event| event["event"] == "knock" && event["why"].is_string());
        assert!(told["why"].as_str().unwrap().contains("observes"), "{told}");
        assert!(guard.told("open").is_empty() && guests(&guard, "ssh").is_empty());
        assert_ne!(guard.verb(&["open", "ssh", GUESTS[0]]).code, 0);
        assert_eq!(guard.stop(), 0);
    }
}

#[test]
fn doors_do_not_ask_for_the_mode_of_bans() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let mut guard =
        Guard::configured(&lab.victim, &format!("[respond]\nmode = \"enforce\"\n{}", door("")), &[]);
    enter(&lab, &mut guard, GUESTS[0]);
    for verb in ["observe", "enforce", "observe"] {
        assert_eq!(guard.verb(&[verb]).code, 0);
        assert!(gets_in(&lab, GUESTS[0]), "after {verb}");
        assert!(!gets_in(&lab, STRANGERS[0]), "after {verb}");
    }
    enter(&lab, &mut guard, STRANGERS[1]);
    assert!(gets_in(&lab, STRANGERS[1]));
}

#[test]
fn a_reload_shuts_doors_that_are_new_and_opens_those_that_are_gone() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new("");
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    assert!(gets_in(&lab, STRANGERS[0]));

    place.configure(&door("open_for = \"1h\""));
    reload(&guard);
    assert!(!gets_in(&lab, STRANGERS[0]) && !gets_in(&lab, STRANGERS[1]));
    enter(&lab, &mut guard, GUESTS[0]);

    // A door that comes before it moves it to another place, and that is all.
    let other = "[door.aaa]\nkind = \"sequence\"\nsequence = \"1001, 1002, 1003\"\nopens = \"tcp/2223\"\n";
    place.configure(&format!("{other}{}", door("open_for = \"2h\"")));
    reload(&guard);
    assert!(gets_in(&lab, GUESTS[0]) && !gets_in(&lab, STRANGERS[0]));
    assert_eq!(guests(&guard, "ssh"), [GUESTS[0]]);
    assert!(guests(&guard, "aaa").is_empty());

    place.configure(other);
    reload(&guard);
    assert!(gets_in(&lab, STRANGERS[0]) && gets_in(&lab, STRANGERS[1]));
    wait_until(SOON, "the opening to end with its door", || {
        let closed = guard.told("close");
        closed.iter().any(|event| event["why"] == "not configured any more").then_some(())
    });

    place.configure(&door(""));
    reload(&guard);
    assert!(!gets_in(&lab, GUESTS[0]), "an opening of a door that was gone has come back with it");
}

#[test]
fn a_reload_whose_doors_the_kernel_refuses_fails_and_changes_nothing() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new(&door("open_for = \"1h\""));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    // Somebody has a set of that name, for something else.
    lab.victim.run(&["nft", "add set inet portcullis door_web4 { type inet_service; }"]);
    let web = "[door.web]\nkind = \"sequence\"\nsequence = \"1001, 1002, 1003\"\nopens = \"tcp/80\"\n";
    place.configure(web);
    let said = guard.verb(&["reload"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("nothing was changed: the doors could not be shut"), "{said:?}");
    enter(&lab, &mut guard, GUESTS[0]);
    assert!(gets_in(&lab, GUESTS[0]) && !gets_in(&lab, STRANGERS[0]));
    lab.victim.run(&["nft", "delete set inet portcullis door_web4"]);
    reload(&guard);
    assert!(gets_in(&lab, STRANGERS[0]) && guests(&guard, "web").is_empty());
}

#[test]
fn doors_stay_shut_when_the_guard_ends_whatever_becomes_of_bans() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let configuration = format!("[respond]\nkeep_on_stop = false\n{}", door("open_for = \"1h\""));
    let mut guard = Guard::configured(&lab.victim, &configuration, &[]);
    assert_eq!(guard.verb(&["ban", "10.77.0.8", "--for", "1h"]).code, 0);
    enter(&lab, &mut guard, GUESTS[0]);
    assert_eq!(guard.stop(), 0);
    assert!(crate::kernel::banned(&lab.victim).is_empty());
    assert!(!gets_in(&lab, STRANGERS[0]) && !gets_in(&lab, STRANGERS[1]));
    assert!(gets_in(&lab, GUESTS[0]));
}
