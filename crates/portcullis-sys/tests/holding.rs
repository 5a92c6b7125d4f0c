//! Sources that are held, in a real kernel: they begin nothing new, and nothing that stands notices.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use portcullis_core::net::Prefix;
use portcullis_sys::netlink::NetlinkError;
use portcullis_sys::nftables::{Element, Held, Nftables};
use testbed::{Lab, Namespace};

const SOON: Duration = Duration::from_secs(10);

/// Long enough for a packet that is let through on one machine.
const A_WHILE: Duration = Duration::from_millis(300);

fn element(prefix: &str, seconds: u64) -> Element {
    Element { prefix: prefix.parse().unwrap(), remaining: Some(Duration::from_secs(seconds)) }
}

/// Two hosts; ours has the table.
fn lab() -> Option<(Lab, Nftables)> {
    if !testbed::has(&["nft"]) {
        return None;
    }
    let lab = Lab::direct()?;
    let mut nftables = lab.victim.enter(|| Nftables::open("portcullis").unwrap());
    nftables.ensure().unwrap();
    Some((lab, nftables))
}

/// A conversation that stands: both sides, ours second.
fn conversation(client: &Namespace, server: &Namespace, address: &str) -> (TcpStream, TcpStream) {
    let listener = server.enter(|| TcpListener::bind(address)).unwrap();
    let to = listener.local_addr().unwrap();
    let client = client.enter(|| TcpStream::connect_timeout(&to, SOON)).unwrap();
    (client, listener.accept().unwrap().0)
}

#[track_caller]
fn goes_on(from: &mut TcpStream, to: &mut TcpStream) {
    for stream in [&*from, to] {
        stream.set_read_timeout(Some(SOON)).unwrap();
    }
    for _ in 0..2 {
        from.write_all(b"still there?").unwrap();
        let mut heard = [0; 12];
        to.read_exact(&mut heard).unwrap();
        to.write_all(b"yes").unwrap();
        let mut heard = [0; 3];
        from.read_exact(&mut heard).unwrap();
    }
}

fn socket(namespace: &Namespace, address: (&str, u16), patience: Duration) -> UdpSocket {
    let socket = namespace.enter(|| UdpSocket::bind(address)).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket
}

fn packets(nftables: &mut Nftables, rule: &str) -> u64 {
    nftables.counters().unwrap().iter().find(|counter| counter.rule == rule).unwrap().packets
}

#[test]
fn what_is_held_begins_nothing_and_nothing_that_stands_notices() {
    let Some((lab, mut nftables)) = lab() else { return };
    for (friend, own, hold) in [
        ("10.77.0.1", "10.77.0.2", "10.77.0.1"),
        ("fd77::1", "fd77::2", "fd77::1"),
        ("fd77::1", "fd77::2", "fd77::/64"),
    ] {
        let at =
            |address: &str, port: u16| SocketAddr::new(address.parse::<IpAddr>().unwrap(), port).to_string();
        let (mut his, mut ours) = conversation(&lab.attacker, &lab.victim, &at(own, 0));
        let (mut our_own, mut his_service) = conversation(&lab.victim, &lab.attacker, &at(friend, 0));
        let service = lab.victim.enter(|| TcpListener::bind(at(own, 0))).unwrap();
        nftables.hold(&[element(hold, 60)]).unwrap();
        goes_on(&mut his, &mut ours);
        goes_on(&mut ours, &mut his);
        goes_on(&mut our_own, &mut his_service);
        let (dropped, to) = (packets(&mut nftables, "held-tcp"), service.local_addr().unwrap());
        let refused = lab.attacker.enter(|| TcpStream::connect_timeout(&to, A_WHILE)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TimedOut, "{hold}");
        assert!(packets(&mut nftables, "held-tcp") > dropped, "{hold}");
        // New connections of ours: his SYN-ACK arrives.
        let (mut later, mut his_later) = conversation(&lab.victim, &lab.attacker, &at(friend, 0));
        goes_on(&mut later, &mut his_later);
        nftables.remove(&[hold.parse().unwrap()]).unwrap();
        lab.attacker.enter(|| TcpStream::connect_timeout(&to, SOON)).unwrap();
    }
}

#[test]
fn datagrams_pass_to_services_and_to_who_has_asked_and_nowhere_else() {
    let Some((lab, mut nftables)) = lab() else { return };
    for (friend, own, hold) in [("10.77.0.1", "10.77.0.2", "10.77.0.1"), ("fd77::1", "fd77::2", "fd77::/64")]
    {
        nftables.hold(&[element(hold, 60)]).unwrap();
        let server = socket(&lab.attacker, (friend, 53), SOON);
        let mut heard = [0; 16];
        // We ask from a high port, and from a low one, as an old resolver does.
        for port in [0, 1053] {
            let client = socket(&lab.victim, (own, port), SOON);
            client.connect((friend, 53)).unwrap();
            client.send(b"who?").unwrap();
            let (_, from) = server.recv_from(&mut heard).unwrap();
            server.send_to(b"me", from).unwrap();
            assert_eq!(client.recv(&mut heard).unwrap(), 2, "an answer to port {port}");
        }
        // A session with a service of ours goes on.
        let service = socket(&lab.victim, (own, 5353), SOON);
        server.send_to(b"more", (own, 5353)).unwrap();
        assert_eq!(service.recv(&mut heard).unwrap(), 4);
        // Where nothing is, nothing answers: no error comes back.
        let dropped = packets(&mut nftables, "held-udp");
        let stranger = socket(&lab.attacker, (friend, 0), A_WHILE);
        stranger.connect((own, 111)).unwrap();
        stranger.send(b"anyone?").unwrap();
        let silence = stranger.recv(&mut heard).unwrap_err();
        assert_eq!(silence.kind(), ErrorKind::WouldBlock, "{silence}");
        assert_eq!(packets(&mut nftables, "held-udp"), dropped + 1);
        // A socket that speaks with somebody else is none for him.
        let elsewhere = socket(&lab.victim, (own, 1054), SOON);
        elsewhere.connect((friend, 9999)).unwrap();
        server.send_to(b"not asked", (own, 1054)).unwrap();
        assert_eq!(packets(&mut nftables, "held-udp"), dropped + 2);
        nftables.remove(&[hold.parse().unwrap()]).unwrap();
    }
}

#[test]
fn holds_are_listed_apart_end_in_time_and_go_with_a_release() {
    let Some((_lab, mut nftables)) = lab() else { return };
    let holds = [element("192.0.2.1", 60), element("2001:db8::1", 61), element("2001:db8:1::/64", 62)];
    nftables.hold(&holds).unwrap();
    nftables.hold(&[element("192.0.2.1", 5), element("192.0.2.1", 90)]).unwrap();
    nftables.add(&[element("192.0.2.1", 600), element("192.0.2.9", 600)]).unwrap();
    let held = nftables.list().unwrap();
    let of = |elements: &[Element]| -> Vec<Prefix> {
        let mut all: Vec<Prefix> = elements.iter().map(|element| element.prefix).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(of(&held.held), of(&holds));
    let first = held.held.iter().find(|element| element.prefix == holds[0].prefix).unwrap();
    assert!(first.remaining > Some(Duration::from_secs(80)), "the last time holds: {first:?}");
    assert_eq!(held.elements.len(), 2);
    // Whoever is let in is let in wholly.
    nftables.remove(&of(&holds)).unwrap();
    let held = nftables.list().unwrap();
    assert_eq!((held.held.len(), held.elements.len()), (0, 1));
    nftables.hold(&[Element { remaining: Some(Duration::from_millis(30)), ..holds[0] }]).unwrap();
    testbed::wait_until(SOON, "the hold to end", || nftables.list().unwrap().held.is_empty().then_some(()));
}

#[test]
fn what_is_too_wide_to_be_held_is_refused_and_nothing_changes() {
    let Some((_lab, mut nftables)) = lab() else { return };
    for wide in ["192.0.2.0/24", "2001:db8::/56", "2001:db8::/48", "::/0"] {
        let refused = nftables.hold(&[element("192.0.2.1", 60), element(wide, 60)]).unwrap_err();
        assert!(
            matches!(refused, NetlinkError::NotHeld { .. }) && refused.has_changed_nothing(),
            "{refused}"
        );
    }
    let empty = Held { is_intact: true, is_settled: true, ..Held::default() };
    assert_eq!(nftables.list().unwrap(), empty);
}

#[test]
fn a_fragment_that_shows_no_flags_begins_nothing() {
    let Some((lab, mut nftables)) = lab() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    nftables.hold(&[element("10.77.0.1", 60)]).unwrap();
    let _service = lab.victim.enter(|| TcpListener::bind("10.77.0.2:22")).unwrap();
    let dropped = packets(&mut nftables, "held-tcp");
    let scan = ["nmap", "-n", "-Pn", "-sS", "-f", "--max-retries", "0", "-p", "22", "10.77.0.2"];
    let said = String::from_utf8(lab.attacker.run(&scan).stdout).unwrap();
    assert!(said.contains("filtered"), "{said}");
    assert!(packets(&mut nftables, "held-tcp") > dropped);
}
