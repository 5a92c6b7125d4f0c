//! Sessions behind a door: those that stood before it, those that keep it open, those that end with it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use testbed::Lab;

use crate::harness::{Guard, Place, SOON};
use crate::knocks::{SERVICE, door, enter, guests, let_in, reload, serve, wait_until_over};
use crate::shutting::{gets_in, lab};

const GUEST: &str = "10.77.0.1";

/// A session between a source and the service: both ends.
#[track_caller]
fn session(lab: &Lab, service: &TcpListener, source: &str) -> (TcpStream, TcpStream) {
    let source = SocketAddr::new(source.parse().unwrap(), 0);
    let target = SocketAddr::new(lab.victim4().into(), SERVICE);
    let guest: TcpStream = lab.attacker.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&source.into()).unwrap();
        socket.connect_timeout(&target.into(), Duration::from_secs(5)).unwrap();
        socket.into()
    });
    let address = guest.local_addr().unwrap();
    loop {
        // Others that were only tried stand in the queue too.
        let (host, from) = service.accept().unwrap();
        if from.port() == address.port() {
            guest.set_read_timeout(Some(SOON)).unwrap();
            host.set_read_timeout(Some(SOON)).unwrap();
            return (guest, host);
        }
    }
}

/// Whether both ends can still talk.
fn stands((guest, host): &mut (TcpStream, TcpStream)) -> bool {
    let mut byte = [0];
    let there = guest.write_all(b"?").and_then(|()| host.read_exact(&mut byte));
    there.and_then(|()| host.write_all(b"!")).and_then(|()| guest.read_exact(&mut byte)).is_ok()
}

/// Whether the kernel resets it, on the guest's side too.
fn is_reset((guest, _): &mut (TcpStream, TcpStream)) -> bool {
    guest.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn sessions_that_stand_when_a_door_is_first_shut_go_on_and_are_counted() {
    let Some(lab) = lab() else { return };
    let service = serve(&lab.victim);
    let mut sessions = [session(&lab, &service, GUEST), session(&lab, &service, "10.77.0.9")];
    let place = Place::new(&door(""));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    let told = guard.wait_for(SOON, |event| event["what"].is_string());
    assert!(told["what"].as_str().unwrap().contains("2 behind door ssh"), "{told}");
    assert!(sessions.iter_mut().all(stands));
    assert!(!gets_in(&lab, GUEST) && !gets_in(&lab, "10.77.0.9"));
    assert_eq!(guard.stop(), 0);
    let guard = Guard::at(&lab.victim, &place, &[]);
    assert!(sessions.iter_mut().all(stands));
    let again = guard.events().iter().any(|event| event["what"].to_string().contains("behind door"));
    assert!(!again, "the doors were shut already: {:?}", guard.events());
}

#[test]
fn sessions_behind_a_door_that_a_reload_brings_go_on_and_are_counted() {
    let Some(lab) = lab() else { return };
    let service = serve(&lab.victim);
    let mut session = session(&lab, &service, GUEST);
    let place = Place::new("");
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    place.configure(&door(""));
    reload(&guard);
    let told = guard.wait_for(SOON, |event| event["what"].to_string().contains("behind door"));
    assert!(told["what"].as_str().unwrap().contains("1 behind door ssh"), "{told}");
    assert!(stands(&mut session) && !gets_in(&lab, GUEST));
}

#[test]
fn a_session_outlasts_its_opening_unless_it_is_to_be_cut() {
    for (more, is_cut) in [("", false), ("cut_on_close = true", true)] {
        let Some(lab) = lab() else { return };
        let service = serve(&lab.victim);
        let mut before = session(&lab, &service, "10.77.0.9");
        let mut guard = Guard::configured(&lab.victim, &door(&format!("open_for = \"1h\"\n{more}")), &[]);
        enter(&lab, &mut guard, GUEST);
        let mut own = session(&lab, &service, GUEST);
        assert!(stands(&mut own));
        assert_eq!(guard.verb(&["close", "ssh", GUEST]).code, 0);
        assert!(!gets_in(&lab, GUEST));
        if is_cut {
            assert!(is_reset(&mut own));
        } else {
            assert!(stands(&mut own));
        }
        assert!(stands(&mut before), "it is nobody's business here");
        assert!(guard.told("fault").is_empty(), "{:?}", guard.told("fault"));
    }
}

#[test]
fn a_restart_neither_shuts_a_door_that_cuts_sessions_nor_cuts_one() {
    let Some(lab) = lab() else { return };
    let service = serve(&lab.victim);
    let place = Place::new(&door("open_for = \"1h\"\ncut_on_close = true"));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    enter(&lab, &mut guard, GUEST);
    let mut own = session(&lab, &service, GUEST);
    assert_eq!(guard.stop(), 0);
    assert!(guard.told("close").is_empty(), "{:?}", guard.told("close"));
    assert!(stands(&mut own) && gets_in(&lab, GUEST));
    let guard = Guard::at(&lab.victim, &place, &[]);
    assert!(stands(&mut own) && gets_in(&lab, GUEST));
    assert_eq!(guests(&guard, "ssh"), [GUEST]);
    assert_eq!(guard.verb(&["close", "ssh"]).code, 0);
    assert!(is_reset(&mut own));
}

#[test]
fn sessions_of_an_opening_that_ended_while_nobody_ran_are_cut_by_the_next_start() {
    let Some(lab) = lab() else { return };
    let service = serve(&lab.victim);
    let place = Place::new(&door("open_for = \"2s\"\ncut_on_close = true"));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    enter(&lab, &mut guard, GUEST);
    let mut own = session(&lab, &service, GUEST);
    // In order, so that the store knows the opening.
    assert_eq!(guard.stop(), 0);
    wait_until_over(Instant::now(), "the door to be shut", || {
        let_in(&lab.victim, "door_ssh4", GUEST).is_some()
    });
    assert!(stands(&mut own));
    std::thread::sleep(Duration::from_millis(100));
    let _guard = Guard::at(&lab.victim, &place, &[]);
    assert!(is_reset(&mut own));
}

#[test]
fn an_end_that_runs_what_is_owed_says_why_the_door_is_shut_and_cuts_nothing() {
    let Some(lab) = lab() else { return };
    let service = serve(&lab.victim);
    let more = "open_for = \"1h\"\ncut_on_close = true\ncommand_open = [\"/bin/true\"]\n\
                command_close = [\"/bin/true\"]";
    let mut guard = Guard::configured(&lab.victim, &door(more), &[]);
    enter(&lab, &mut guard, GUEST);
    let mut own = session(&lab, &service, GUEST);
    assert_eq!(guard.stop(), 0);
    let closed = guard.told("close");
    assert!(closed[0]["why"].as_str().unwrap().starts_with("the program ends"), "{closed:?}");
    assert!(stands(&mut own) && !gets_in(&lab, GUEST));
}

#[test]
fn a_door_that_renews_stays_open_as_long_as_the_session_and_no_longer() {
    let Some(lab) = lab() else { return };
    let service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, &door("open_for = \"3s\"\nrenew = true"), &[]);
    enter(&lab, &mut guard, GUEST);
    let since = Instant::now();
    let mut own = session(&lab, &service, GUEST);
    // Twice its time, which only passing shows.
    while since.elapsed() < Duration::from_secs(7) {
        assert!(gets_in(&lab, GUEST), "shut after {:?} in spite of a session", since.elapsed());
        while service_has_more(&service) {}
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(stands(&mut own));
    assert_eq!(guests(&guard, "ssh"), [GUEST]);
    assert!(guard.told("close").is_empty());
    let ended = Instant::now();
    drop(own);
    while service_has_more(&service) {}
    let after = wait_until_over(ended, "the door to be shut", || !guests(&guard, "ssh").is_empty());
    assert!(after < Duration::from_secs(7), "shut {after:?} after the session");
    assert!(!gets_in(&lab, GUEST));
}

/// Takes a connection that was only tried out of the queue; whether there was one.
fn service_has_more(service: &TcpListener) -> bool {
    service.set_nonblocking(true).unwrap();
    let was_there = service.accept().is_ok();
    service.set_nonblocking(false).unwrap();
    was_there
}
