//! Stories of openings: by hand, refreshed, expired, renewed, restored, and what a stranger to the kernel does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::door::{
    Change, Door, DoorId, FlagTests, Lock, Name, Opening, OpeningState, Sequence, Settings, Step,
};
use portcullis_core::engine;
use portcullis_core::engine::doors::OpenRefusal;
use portcullis_core::event::Mode;
use portcullis_core::net::{PortSet, Protocol};

use crate::seconds;
use crate::story::{self, Story};

pub const GUEST: &str = "198.51.100.7";
pub const SSH: DoorId = DoorId(0);

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn syns(ports: &[u16]) -> Sequence {
    let step = |&port| Step { port, protocol: Protocol::Tcp, flags: FlagTests::SYN };
    Sequence::new(ports.iter().map(step).collect(), seconds(10)).unwrap()
}

/// A door named ssh, open for a minute to who sends SYNs to 7000, 9000, 8000, and shut by 8000, 9000, 7000.
pub fn ssh() -> Door {
    let lock = Lock::Sequence { open: syns(&[7000, 9000, 8000]), close: Some(syns(&[8000, 9000, 7000])) };
    let opens = vec![(Protocol::Tcp, PortSet::from_ranges([(22, 22)]))];
    Door::new("ssh".parse().unwrap(), lock, opens, Some(seconds(60)))
}

pub fn with(doors: Vec<Door>) -> engine::Settings {
    engine::Settings { doors: Settings { doors }, ..story::settings(Mode::Enforce) }
}

#[test]
fn a_door_opened_by_hand_is_shut_when_its_time_is_over() {
    let mut story = Story::with(with(vec![ssh()]));
    let opening = story.engine.open_by_hand(story.now, SSH, address(GUEST), None).unwrap();
    assert_eq!(opening.until, Some(story.now.wall + seconds(60)));
    assert_eq!(story.told(), ["door ssh opens for 198.51.100.7 (operator)"]);
    assert_eq!(story.open, [(SSH, address(GUEST))]);
    assert_eq!(story.engine.openings(story.now)[0].state, OpeningState::InForce);
    assert_eq!(story.pass(seconds(59)), [""; 0]);
    assert_eq!(story.pass(seconds(1)), ["door ssh is shut for 198.51.100.7 (expired)"]);
    assert!(story.open.is_empty() && story.engine.openings(story.now).is_empty());
}

#[test]
fn opening_again_lasts_longer_and_never_shorter() {
    let mut story = Story::with(with(vec![ssh()]));
    let open = |story: &mut Story, length| {
        story.engine.open_by_hand(story.now, SSH, address(GUEST), length).unwrap();
        story.told()
    };
    open(&mut story, Some(seconds(100)));
    story.pass(seconds(50));
    assert_eq!(open(&mut story, Some(seconds(10))), ["door ssh stays open for 198.51.100.7 (operator)"]);
    story.pass(seconds(49));
    assert_eq!(open(&mut story, None).len(), 1);
    assert_eq!(story.pass(seconds(59)), [""; 0]);
    assert_eq!(story.pass(seconds(2)).len(), 1, "sixty seconds from the last");
}

#[test]
fn an_operator_shuts_what_he_means() {
    let mut story = Story::with(with(vec![ssh()]));
    for guest in [GUEST, "198.51.100.8", "2001:db8:5::1"] {
        story.engine.open_by_hand(story.now, SSH, address(guest), None).unwrap();
    }
    story.told();
    assert_eq!(story.engine.close(story.now, SSH, Some(address(GUEST))).len(), 1);
    assert_eq!(story.engine.close(story.now, SSH, Some(address(GUEST))).len(), 0);
    assert_eq!(story.engine.close(story.now, SSH, None).len(), 2);
    story.told();
    assert!(story.open.is_empty());
}

#[test]
fn what_cannot_be_opened_is_refused() {
    let mut story = Story::with(with(vec![ssh(), Door { open_for: None, ..ssh() }]));
    for (door, guest, why) in [
        (SSH, "0.0.0.0", OpenRefusal::Special),
        (SSH, "224.0.0.1", OpenRefusal::Special),
        (SSH, "192.0.2.255", OpenRefusal::Special),
        (SSH, "ff02::1", OpenRefusal::Special),
        (DoorId(1), GUEST, OpenRefusal::NoLength),
        (DoorId(2), GUEST, OpenRefusal::NoDoor),
        (DoorId::GONE, GUEST, OpenRefusal::NoDoor),
    ] {
        assert_eq!(story.engine.open_by_hand(story.now, door, address(guest), None), Err(why), "{guest}");
    }
}

#[test]
fn what_the_kernel_refuses_is_told_once_and_tried_again() {
    let mut story = Story::with(with(vec![ssh()]));
    story.kernel_agrees = false;
    story.engine.open_by_hand(story.now, SSH, address(GUEST), None).unwrap();
    assert_eq!(story.told().len(), 2, "opened, and not done");
    assert_eq!(story.pass(seconds(5)), [""; 0]);
    story.kernel_agrees = true;
    story.pass(seconds(10));
    assert_eq!(story.engine.openings(story.now)[0].state, OpeningState::InForce);
    story.kernel_agrees = false;
    assert_eq!(story.engine.close(story.now, SSH, None).len(), 1);
    assert!(story.told()[1].contains("could not be shut"));
    assert_eq!(story.open.len(), 1);
    story.kernel_agrees = true;
    story.pass(seconds(120));
    assert!(story.open.is_empty());
    assert_eq!(story.engine.next_timeout(), None);
}

#[test]
fn an_opening_survives_a_restart_with_the_time_that_it_has_left() {
    let mut story = Story::with(with(vec![ssh()]));
    story.engine.open_by_hand(story.now, SSH, address(GUEST), None).unwrap();
    let changes = story.engine.opening_changes(story.now, 10);
    let [Change::Opened { opening, length }] = &changes[..] else { panic!("{changes:?}") };
    story.engine.openings_saved(&changes, false);
    assert!(story.engine.are_openings_dirty());
    let stored = [(opening.clone(), *length)];

    let mut again = Story::with(with(vec![Door { name: "web".parse().unwrap(), ..ssh() }, ssh()]));
    again.pass(seconds(40));
    assert_eq!(again.engine.restore_openings(again.now, &stored), []);
    again.told();
    assert_eq!(again.open, [(DoorId(1), address(GUEST))]);
    assert_eq!(again.pass(seconds(19)), [""; 0]);
    assert_eq!(again.pass(seconds(1)).len(), 1);

    let mut later = Story::with(with(vec![ssh()]));
    later.pass(seconds(61));
    let over = later.engine.restore_openings(later.now, &stored);
    assert_eq!((over.len(), later.open.len()), (1, 0), "its stop command is still owed");

    let mut set_back = Story::with(with(vec![ssh()]));
    set_back.now.wall = portcullis_core::time::Wall(seconds(0));
    set_back.engine.restore_openings(set_back.now, &stored);
    assert_eq!(set_back.pass(seconds(60)).len(), 1, "a clock set back keeps no door open");
}

#[test]
fn a_reload_keeps_openings_of_doors_that_stay() {
    let web = || Door { name: "web".parse().unwrap(), ..ssh() };
    let mut story = Story::with(with(vec![ssh(), web()]));
    for door in [SSH, DoorId(1)] {
        story.engine.open_by_hand(story.now, door, address(GUEST), None).unwrap();
    }
    story.told();
    story.engine.reconfigure(story.now, with(vec![web()]));
    assert_eq!(story.told(), ["door ssh is shut for 198.51.100.7 (not configured any more)"]);
    let left: Vec<Opening> = story.engine.openings(story.now);
    assert_eq!((left.len(), left[0].door, left[0].name.as_str()), (1, SSH, "web"));
    assert_eq!(story.pass(seconds(60)), ["door web is shut for 198.51.100.7 (expired)"]);
}

#[test]
fn a_door_that_renews_stays_open_while_a_session_lasts() {
    let mut story = Story::with(with(vec![Door { renews: true, ..ssh() }]));
    story.engine.open_by_hand(story.now, SSH, address(GUEST), None).unwrap();
    story.services.sessions.insert(address(GUEST));
    assert_eq!(story.pass(seconds(600)).len(), 1, "only that it was opened");
    story.services.sessions.clear();
    assert_eq!(story.pass(seconds(60)), ["door ssh is shut for 198.51.100.7 (expired)"]);
}

#[test]
fn a_flushed_table_gets_its_openings_back() {
    let mut story = Story::with(with(vec![ssh()]));
    story.engine.open_by_hand(story.now, SSH, address(GUEST), None).unwrap();
    story.told();
    story.open.clear();
    story.pass(Duration::from_secs(30));
    story.engine.send_openings(story.now);
    assert_eq!(story.told(), [""; 0]);
    assert_eq!(story.open, [(SSH, address(GUEST))]);
}

#[test]
fn a_guest_taken_out_by_hand_comes_back_with_the_time_that_he_has_left() {
    let other = "2001:db8:5::1";
    let mut story = Story::with(with(vec![ssh()]));
    for guest in [GUEST, other] {
        story.engine.open_by_hand(story.now, SSH, address(guest), None).unwrap();
    }
    story.told();
    let ssh = |guests: &[&str]| -> BTreeMap<Name, BTreeSet<IpAddr>> {
        let guests = guests.iter().map(|guest| address(guest)).collect();
        [("ssh".parse().unwrap(), guests)].into()
    };
    let compare = |story: &mut Story, listed, held: &BTreeMap<_, _>| {
        story.engine.compare_openings(story.now, listed, held);
        story.told()
    };
    let acknowledged = story.now.mono;
    story.pass(seconds(30));
    story.open.retain(|(_, guest)| *guest != address(GUEST));
    assert_eq!(
        compare(&mut story, acknowledged, &ssh(&[other])),
        [""; 0],
        "listed before the kernel had him"
    );
    let listed = story.now.mono;
    assert_eq!(compare(&mut story, listed, &BTreeMap::new()), [""; 0], "no door of the kernel's");
    assert_eq!(compare(&mut story, listed, &ssh(&[GUEST, other])), [""; 0]);
    assert_eq!(compare(&mut story, listed, &ssh(&[other])), ["repair 1 guests"]);
    assert!(story.open.contains(&(SSH, address(GUEST))));
    assert_eq!(story.pass(seconds(29)), [""; 0]);
    let listed = story.now.mono;
    assert_eq!(compare(&mut story, listed, &ssh(&[])), [""; 0], "the kernel ends him a moment before");
    assert_eq!(story.pass(seconds(1)).len(), 2, "with the time that he had");
}

#[test]
fn the_store_forgets_openings_that_ended_while_nobody_ran() {
    let mut before = Story::with(with(vec![ssh()]));
    before.engine.open_by_hand(before.now, SSH, address(GUEST), None).unwrap();
    let changes = before.engine.opening_changes(before.now, 10);
    let [Change::Opened { opening, length }] = &changes[..] else { panic!("{changes:?}") };
    let gone = Opening { name: "gone".parse().unwrap(), ..opening.clone() };
    let mut story = Story::with(with(vec![ssh()]));
    story.pass(seconds(61));
    let stored = [(opening.clone(), *length), (gone, *length)];
    assert_eq!(story.engine.restore_openings(story.now, &stored).len(), 2);
    let shut = |name: &str| Change::Shut { door: name.parse().unwrap(), address: address(GUEST) };
    assert_eq!(story.engine.opening_changes(story.now, 10), [shut("gone"), shut("ssh")]);
}

#[test]
fn a_door_shut_because_the_program_ends_says_so() {
    let mut story = Story::with(with(vec![ssh()]));
    story.engine.open_by_hand(story.now, SSH, address(GUEST), None).unwrap();
    story.told();
    story.engine.close_at_end(story.now, SSH);
    let told = story.told();
    assert_eq!(
        told,
        ["door ssh is shut for 198.51.100.7 (the program ends, and nobody would be there to do it in time)"]
    );
    assert!(story.open.is_empty());
}
