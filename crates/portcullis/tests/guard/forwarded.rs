//! Doors of a host that forwards: what goes to others passes, what comes to the host does not.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use testbed::{Lab, Namespace, wait_until};

use crate::harness::{Guard, Place, SOON};

/// Long enough for a handshake on a busy machine; a SYN that is dropped is sent again after a second only.
const A_MOMENT: Duration = Duration::from_millis(400);

const DOOR: &str = "[door.ssh]\nkind = \"sequence\"\nopens = \"tcp/22\"\nsequence = \"7000, 9000, 8000\"\n";

fn reaches(from: &Namespace, to: &str) -> bool {
    let to: SocketAddr = to.parse().unwrap();
    from.enter(|| TcpStream::connect_timeout(&to, A_MOMENT).is_ok())
}

#[test]
fn who_is_behind_a_router_with_a_door_reaches_the_same_port_of_others() {
    if !testbed::has(&["nft"]) {
        return;
    }
    let Some(lab) = Lab::routed() else { return };
    let router = lab.router.as_ref().unwrap();
    let listen = |at: &Namespace| at.enter(|| TcpListener::bind("[::]:22").unwrap());
    let _listeners = [listen(&lab.victim), listen(router)];
    let (others, own) = (["10.77.0.2:22", "[fd77::2]:22"], ["10.78.0.254:22", "[fd78::fe]:22"]);
    let all = |to: [&str; 2]| to.map(|to| reaches(&lab.attacker, to));
    assert_eq!((all(others), all(own)), ([true; 2], [true; 2]), "before there is a door");

    let place = Place::new(DOOR);
    let guard = Guard::at(router, &place, &[]);
    assert_eq!((all(others), all(own)), ([true; 2], [false; 2]));

    // As a transparent proxy is set up: now packets to anywhere may be for this host.
    router.ip("route add local 198.51.100.0/24 dev lo table 100\n");
    wait_until(SOON, "the routes to be noticed", || (all(others) == [false; 2]).then_some(()));
    router.ip("route del local 198.51.100.0/24 dev lo table 100\n");
    wait_until(SOON, "the routes to be noticed", || (all(others) == [true; 2]).then_some(()));
    assert_eq!(all(own), [false; 2]);
    drop(guard);
}

#[test]
fn a_host_that_begins_to_forward_later_spares_from_then_on() {
    if !testbed::has(&["nft"]) {
        return;
    }
    let Some(lab) = Lab::routed() else { return };
    let router = lab.router.as_ref().unwrap();
    let _listener = lab.victim.enter(|| TcpListener::bind("[::]:22").unwrap());
    for family in ["ipv4", "ipv6"] {
        router.sysctl(&format!("net.{family}.conf.all.forwarding"), "0");
    }
    let _guard = Guard::at(router, &Place::new(DOOR), &[]);
    let rules = || String::from_utf8(router.run(&["nft", "list", "ruleset"]).stdout).unwrap();
    assert!(rules().contains("door_ssh") && !rules().contains("forwarded"), "{}", rules());
    // As a container engine does: it makes a bridge, and switches forwarding on.
    router.sysctl("net.ipv4.conf.all.forwarding", "1");
    router.ip("link add docker0 type bridge\n");
    wait_until(SOON, "the change to be noticed", || rules().contains("forwarded").then_some(()));
    assert!(reaches(&lab.attacker, "10.77.0.2:22"));
}

#[test]
fn machines_on_a_bridge_of_a_host_with_a_door_reach_the_same_port_of_each_other() {
    if !testbed::has(&["nft"]) {
        return;
    }
    let (Some(host), Some(one), Some(other)) = (Namespace::new(), Namespace::new(), Namespace::new()) else {
        return;
    };
    if host.enter(|| std::fs::metadata("/proc/sys/net/bridge")).is_err() {
        return; // Without br_netfilter frames between machines pass no chain of ours.
    }
    host.sysctl("net.bridge.bridge-nf-call-iptables", "1");
    host.ip("link add br0 type bridge\nlink set br0 up\naddr add 10.77.0.1/24 dev br0\n");
    for (port, machine, address) in [("one0", &one, "10.77.0.2/24"), ("other0", &other, "10.77.0.3/24")] {
        host.join(port, machine, "eth0");
        host.ip(&format!("link set {port} master br0\n"));
        machine.add_address("eth0", address);
    }
    let listen = |at: &Namespace| at.enter(|| TcpListener::bind("0.0.0.0:22").unwrap());
    let _listeners = [listen(&host), listen(&other)];
    wait_until(SOON, "the bridge to carry", || reaches(&one, "10.77.0.3:22").then_some(()));
    assert!(reaches(&one, "10.77.0.1:22"));

    let _guard = Guard::at(&host, &Place::new(DOOR), &[]);
    assert!(reaches(&one, "10.77.0.3:22"), "the door has shut the port of another machine");
    assert!(!reaches(&one, "10.77.0.1:22"));
}
