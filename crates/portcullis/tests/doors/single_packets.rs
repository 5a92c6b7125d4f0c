//! Doors that one packet opens: seen on the wire, or taken by a socket where that is not permitted.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::{Lab, Namespace, wait_until};

use crate::harness::{Guard, PROGRAM, Place, SOON, portcullis};
use crate::knocks::{SERVICE, let_in, reload, serve};
use crate::replays::{Listener, lab_with_tools};
use crate::shutting::{gets_in, lab};

/// Root without the right to capture.
const WITHOUT_RAW: [&str; 5] = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"];

/// Of several addresses the kernel sends from these.
const GUESTS: [&str; 2] = ["10.77.0.1", "fd77::9"];

const STRANGERS: [&str; 2] = ["10.77.0.9", "fd77::1"];

const PORT: u16 = 62_201;

/// A door `ssh` of the kind `spa` for one user, and the files of both sides. `words` go to `key spa`, `more` are lines of
/// its table.
pub fn spa_door(place: &Place, words: &[&str], more: &str) -> PathBuf {
    let (host, guest) = (place.file("host.access"), place.file("guest.fwknoprc"));
    let opens = format!("tcp/{SERVICE}");
    let own = ["key", "spa", "--user", "anna", "--opens", &opens, "-o", host.to_str().unwrap()];
    let client = ["--client", guest.to_str().unwrap()];
    let said = portcullis(&[&own[..], &client, words].concat());
    assert_eq!(said.code, 0, "{said:?}");
    place.configure(&format!(
        "[door.ssh]\nkind = \"spa\"\nusers = \"{}\"\nopens = \"tcp/{SERVICE}\"\nopen_for = \"1h\"\n{more}\n",
        host.display()
    ));
    guest
}

/// Sends the guest's packet.
#[track_caller]
pub fn send(lab: &Lab, secret: &Path, host: &str) {
    let mut command = lab.attacker.command(PROGRAM);
    let output = command.args(["spa", "--key"]).arg(secret).arg(host).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Sends packets until one opens the door: what was made in the second of the start, or before the mark that the last
/// run left, is refused.
#[track_caller]
pub fn enter_by_packet(lab: &Lab, secret: &Path, guest: &str) {
    let (host, set) = match guest.contains(':') {
        true => (lab.victim6().to_string(), "door_ssh6"),
        false => (lab.victim4().to_string(), "door_ssh4"),
    };
    wait_until(SOON, "a packet that opens", || {
        send(lab, secret, &host);
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(500) {
            if let_in(&lab.victim, set, guest).is_some() {
                return Some(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    });
}

/// Whether anybody has the port.
fn is_open(namespace: &Namespace, port: u16) -> bool {
    let tables = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"];
    let local = format!(":{port:04X}");
    namespace.enter(|| {
        tables.iter().any(|table| {
            let sockets = fs::read_to_string(table).unwrap();
            sockets
                .lines()
                .any(|line| line.split_whitespace().nth(1).is_some_and(|own| own.ends_with(&local)))
        })
    })
}

fn listening(lab: &Lab, place: &Place) -> Guard {
    let arguments = ["--engine", "listen"];
    Guard::of(&mut place.command_through(&lab.victim, &WITHOUT_RAW, &arguments), &place.state())
}

fn how_packets_come(guard: &Guard) -> Value {
    guard.told("start").remove(0)["single_packets"].clone()
}

#[test]
fn a_packet_on_the_wire_opens_for_both_families_and_no_port_is_open() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new("");
    let secret = spa_door(&place, &[], "");
    let guard = Guard::at(&lab.victim, &place, &[]);
    assert_eq!(how_packets_come(&guard), json!({ "by": "wire", "ports": "udp/62201" }));
    for (guest, stranger) in GUESTS.into_iter().zip(STRANGERS) {
        assert!(!gets_in(&lab, guest));
        enter_by_packet(&lab, &secret, guest);
        assert!(gets_in(&lab, guest) && !gets_in(&lab, stranger));
    }
    assert!(!is_open(&lab.victim, PORT));
}

#[test]
fn without_the_right_to_capture_a_socket_takes_the_packets() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new("");
    let watch = "[watch]\ntcp = \"2001-2002\"\nudp = \"2001, 62201\"";
    let secret = spa_door(&place, &[], watch);
    let mut guard = listening(&lab, &place);
    assert_eq!(how_packets_come(&guard), json!({ "by": "socket", "ports": "udp/62201" }));
    assert!(is_open(&lab.victim, PORT));
    for (guest, stranger) in GUESTS.into_iter().zip(STRANGERS) {
        assert!(!gets_in(&lab, guest));
        enter_by_packet(&lab, &secret, guest);
        assert!(gets_in(&lab, guest) && !gets_in(&lab, stranger));
    }
    assert_eq!(guard.told("open")[0]["user"], "anna");
    // Junk is told as what it is, and is no probe: the port is as good as a service.
    let sender = lab.attacker.enter(|| UdpSocket::bind((STRANGERS[0], 0))).unwrap();
    for length in [0, 1, 180, 1400, 60_000] {
        sender.send_to(&vec![b'x'; length], (lab.victim4(), PORT)).unwrap();
    }
    guard.wait_for(SOON, |event| event["event"] == "knock" && event["source"] == STRANGERS[0]);
    assert!(guard.told("scan").is_empty());
    // Knocks by several packets are not heard, which is said; and a port that is no door's any more is free again.
    let more = "[door.old]\nkind = \"sequence\"\nsequence = \"7000, 9000, 8000\"\nopens = \"tcp/2223\"\n";
    place.configure(&format!("{more}{watch}\n"));
    reload(&guard);
    assert!(!is_open(&lab.victim, PORT));
    spa_door_again(&place, more);
    reload(&guard);
    assert!(is_open(&lab.victim, PORT));
    assert_eq!(guard.stop(), 0);
    let mut guard = listening(&lab, &place);
    guard.wait_for(SOON, |event| {
        event["why"]
            .as_str()
            .is_some_and(|why| why.contains("no knock is heard but single packets: door old"))
    });
}

/// A packet for so many ports that it is as long as the format allows (399 characters, as fwknopd has it): the ring takes
/// frames whole, and so does the socket.
#[test]
fn the_longest_packet_is_read_whole() {
    let Some(lab) = lab_with_tools() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new("");
    let many = |count: u16| {
        let ports: Vec<String> = (0..count).map(|port| format!("tcp/{}", 60_000 + port)).collect();
        format!("tcp/{SERVICE},{}", ports.join(","))
    };
    let secret = spa_door(&place, &[], "[watch]\ntcp = \"2001-2002\"\nudp = \"2001\"");
    let text = fs::read_to_string(place.file("host.access")).unwrap();
    let all = format!("tcp/{SERVICE}, tcp/60000-60020");
    let open: Vec<String> = (0..=20).map(|port| format!("tcp/{}", 60_000 + port)).collect();
    let text = text.replace(
        &format!("OPEN_PORTS tcp/{SERVICE}"),
        &format!("OPEN_PORTS tcp/{SERVICE},{}", open.join(",")),
    );
    let mut file = fs::OpenOptions::new().write(true).truncate(true).open(place.file("host.access")).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    let configuration = fs::read_to_string(place.configuration()).unwrap();
    place.configure(
        &configuration.replace(&format!("opens = \"tcp/{SERVICE}\""), &format!("opens = \"{all}\"")),
    );
    for engine in ["ring", "listen"] {
        let mut guard = Guard::at(&lab.victim, &place, &["--engine", engine]);
        for (host, guest) in [(lab.victim4().to_string(), GUESTS[0]), (lab.victim6().to_string(), GUESTS[1])]
        {
            let mut longest = 0;
            wait_until(SOON, "the longest packet to open", || {
                let listener = Listener::start_for(&lab, place.file("longest.pcap"), guest);
                // As many ports as make a packet that the client agrees to.
                let sent = (0..20).rev().find(|count| {
                    let mut command = lab.attacker.command(PROGRAM);
                    command.args(["spa", "--opens", &many(*count), "--key"]).arg(&secret).arg(&host);
                    command.output().unwrap().status.success()
                });
                assert!(sent.is_some_and(|count| count > 5), "{sent:?}");
                longest = listener.finish(1).payload(guest.contains(':'));
                std::thread::sleep(Duration::from_millis(200));
                let set = if guest.contains(':') { "door_ssh6" } else { "door_ssh4" };
                let_in(&lab.victim, set, guest)
            });
            assert!((385..400).contains(&longest), "{longest} characters");
        }
        assert_eq!(guard.verb(&["close", "ssh"]).code, 0);
        assert_eq!(guard.stop(), 0);
    }
}

/// A ring that was made for headers reads usual packets, and says that of the longest it does not.
#[test]
fn the_first_door_that_a_reload_adds_opens_and_its_limit_is_told() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new("");
    let secret = spa_door(&place, &[], "");
    let with_door = fs::read_to_string(place.configuration()).unwrap();
    place.configure("");
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    place.configure(&with_door);
    reload(&guard);
    guard.wait_for(SOON, |event| {
        event["why"].to_string().contains("the ring was made without room for whole")
    });
    enter_by_packet(&lab, &secret, GUESTS[0]);
    assert!(gets_in(&lab, GUESTS[0]));
    assert_eq!(guard.stop(), 0);
}

/// The same door as [`spa_door`] has made, and others.
fn spa_door_again(place: &Place, more: &str) {
    place.configure(&format!(
        "[watch]\ntcp = \"2001-2002\"\nudp = \"2001, 62201\"\n[door.ssh]\nkind = \"spa\"\nusers = \"{}\"\n\
         opens = \"tcp/{SERVICE}\"\nopen_for = \"1h\"\n{more}",
        place.file("host.access").display()
    ));
}

#[test]
fn a_doors_port_that_is_in_use_is_told_and_taken_when_it_is_free() {
    let Some(lab) = lab() else { return };
    let place = Place::new("");
    let secret = spa_door(&place, &[], "udp_port = 5000\n[watch]\ntcp = \"\"\nudp = \"\"");
    let other = lab.victim.enter(|| UdpSocket::bind("0.0.0.0:5000")).unwrap();
    // With nothing else to see by there is nothing to begin with.
    let mut running = testbed::Running::spawn(&mut place.command_through(
        &lab.victim,
        &WITHOUT_RAW,
        &["--engine", "listen"],
    ));
    assert_eq!(running.wait(SOON).code(), Some(1));
    let text = fs::read_to_string(place.configuration()).unwrap();
    place.configure(&text.replace("tcp = \"\"", "tcp = \"2001\""));
    let mut guard = listening(&lab, &place);
    let is_told = |event: &Value, what: &str| event["why"].as_str().is_some_and(|why| why.contains(what));
    guard.wait_for(SOON, |event| is_told(event, "cannot be knocked at: not opened: 5000/udp (in use)"));
    drop(other);
    wait_until(SOON, "the port to be taken", || is_open(&lab.victim, 5000).then_some(()));
    let text = fs::read_to_string(&secret).unwrap();
    assert!(!text.contains("5000"));
    wait_until(SOON, "a packet that opens", || {
        let mut command = lab.attacker.command(PROGRAM);
        command.args(["spa", "-p", "5000", "--key"]).arg(&secret).arg(lab.victim4().to_string());
        assert!(command.output().unwrap().status.success());
        std::thread::sleep(Duration::from_millis(100));
        let_in(&lab.victim, "door_ssh4", GUESTS[0])
    });
}
