//! Without the right to capture: no quiet way out, and the other engine that needs none.

use std::net::{SocketAddr, TcpStream, UdpSocket};

use serde_json::json;
use testbed::{Lab, Running};

use crate::harness::{Guard, Place, SOON, portcullis};

/// Ports that nothing uses; a scan of one transport may cover all of them.
const PORTS: &str = "[watch]\ntcp = \"2001-2008\"\nudp = \"2001-2008\"\n";

/// Root without the right to capture.
const WITHOUT_RAW: [&str; 5] = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"];

/// A sender and eight datagrams to watched ports.
fn send_datagrams(lab: &Lab, source: &str) {
    let sender = lab.attacker.enter(|| UdpSocket::bind((source, 0))).unwrap();
    for port in 2001..=2008 {
        sender.send_to(b"?", (lab.victim4(), port)).unwrap();
    }
}

#[test]
fn without_the_right_to_capture_it_ends_with_77_and_names_both_ways() {
    let Some(lab) = Lab::direct() else { return };
    let place = Place::new("");
    let mut running = Running::spawn(&mut place.command_through(&lab.victim, &WITHOUT_RAW, &["--observe"]));
    assert_eq!(running.wait(SOON).code(), Some(77));
    let said = running.text(testbed::Stream::Err);
    assert!(said.contains("setcap cap_net_raw"), "the rights: {said}");
    assert!(said.contains("--engine listen"), "the other engine: {said}");
    assert_eq!(running.text(testbed::Stream::Out), "", "nothing was watched");
}

#[test]
fn listening_sees_finished_connections_and_datagrams_and_says_what_it_misses() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    for source in ["10.77.0.11", "10.77.0.12"] {
        lab.add_attacker(&format!("{source}/24"));
    }
    let place = Place::new(PORTS);
    let arguments = ["--observe", "--engine", "listen"];
    let mut guard =
        Guard::of(&mut place.command_through(&lab.victim, &WITHOUT_RAW, &arguments), &place.state());
    let start = guard.told("start").remove(0);
    assert_eq!(start["engine"], "listen");
    let remark = "listening on 8 TCP and 8 UDP ports: only finished connections and datagrams are seen";
    guard.wait_for(SOON, |event| event["why"].as_str().is_some_and(|why| why.starts_with(remark)));

    // Half-open: nothing to see. The datagrams show that everything before has been judged.
    let half_open = "nmap -n -Pn -sS -e eth0 -S 10.77.0.11 -p 2001-2008 10.77.0.2";
    lab.attacker.run(&half_open.split(' ').collect::<Vec<_>>());
    send_datagrams(&lab, "10.77.0.12");
    let told = guard.wait_for(SOON, |event| event["event"] == "scan");
    assert_eq!((&told["source"], &told["kinds"]), (&json!("10.77.0.12"), &json!(["udp"])));
    assert_eq!(told["ports"], json!([2001, 2002, 2003, 2004]));
    for port in 2001..=2008 {
        let trap = SocketAddr::new(lab.victim4().into(), port);
        lab.attacker.enter(|| TcpStream::connect_timeout(&trap, SOON)).unwrap();
    }
    let told = guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == "10.77.0.1");
    assert_eq!(told["kinds"], json!(["connect"]));
    assert_eq!(told["protocol"], json!(["tcp"]));
    assert_eq!(guard.told("scan").len(), 2, "nothing of the half-open scan");
    assert_eq!(guard.stop(), 0);
}

#[test]
fn ports_that_are_taken_are_left_to_their_service() {
    let Some(lab) = Lab::direct() else { return };
    let _service = lab.victim.enter(|| UdpSocket::bind("10.77.0.2:2003")).unwrap();
    let mut guard = Guard::configured(&lab.victim, PORTS, &["--observe", "--engine", "listen"]);
    guard.wait_for(SOON, |event| {
        event["why"].as_str().is_some_and(|why| why.contains("not opened: 2003/udp"))
    });
    send_datagrams(&lab, "10.77.0.1");
    let told = guard.wait_for(SOON, |event| event["event"] == "scan");
    assert_eq!(told["ports"], json!([2001, 2002, 2004, 2005]));
}

#[test]
fn a_verb_without_a_guard_says_how_to_start_one() {
    let place = Place::new("");
    let said = portcullis(&["status", "--state", place.state().to_str().unwrap()]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("portcullis run"), "{said:?}");
}
