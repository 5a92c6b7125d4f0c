//! Scans in somebody else's name: who is named goes on working, and nobody who is needed is shut out.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use portcullis_core::net::Prefix;
use portcullis_sys::nftables::Nftables;
use testbed::{Lab, Namespace, Running, wait_until};

use crate::harness::{Guard, Place, SOON, portcullis};
use crate::kernel::{banned, can_connect, nmap, wait_for_bans};
use crate::probes::{Forge, SYN};

/// Somebody with a session here, in whose name the attacker scans.
const FRIEND: &str = "10.77.0.9";

/// A service of ours, and one of the friend's.
const SERVICE: u16 = 2222;

/// Who is held in the kernel, and for how long still.
fn held(namespace: &Namespace) -> BTreeMap<Prefix, Option<Duration>> {
    let found = namespace.enter(|| Nftables::open("portcullis").unwrap().list().unwrap());
    found.held.into_iter().map(|element| (element.prefix, element.remaining)).collect()
}

#[track_caller]
fn wait_for_holds(namespace: &Namespace, prefixes: &[&str]) {
    let mut expected: Vec<Prefix> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
    expected.sort_unstable();
    let what = format!("the kernel to hold {prefixes:?} and nothing else");
    wait_until(SOON, &what, || held(namespace).into_keys().eq(expected.iter().copied()).then_some(()));
}

/// A scan of closed ports in the friend's name.
#[track_caller]
fn forge_scan(lab: &Lab) {
    let forge = Forge::new(&lab.attacker);
    let from: Ipv4Addr = FRIEND.parse().unwrap();
    for port in 21..41 {
        forge.tcp(SocketAddrV4::new(from, 40_000), SocketAddrV4::new(lab.victim4(), port), SYN);
    }
}

/// A connection that stands, the one who began it first.
fn session(client: &Namespace, from: &str, server: &Namespace, to: &str) -> (TcpStream, TcpStream) {
    let listener = server.enter(|| TcpListener::bind((to, 0))).unwrap();
    let to = listener.local_addr().unwrap();
    let stream = client.enter(|| {
        let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
        socket.connect_timeout(&to.into(), SOON).unwrap();
        TcpStream::from(socket)
    });
    (stream, listener.accept().unwrap().0)
}

#[track_caller]
fn goes_on((one, other): &mut (TcpStream, TcpStream)) {
    one.set_read_timeout(Some(SOON)).unwrap();
    other.set_read_timeout(Some(SOON)).unwrap();
    let mut heard = [0; 4];
    one.write_all(b"ping").unwrap();
    other.read_exact(&mut heard).unwrap();
    other.write_all(b"pong").unwrap();
    one.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"pong");
}

/// Runs iperf3 through the port for some seconds, both ways at once, and returns when it has moved something.
fn transfer(lab: &Lab) -> (Running, Running) {
    let mut server = lab.victim.start(&["iperf3", "-s", "-1", "-p", "5201", "--forceflush"]);
    server.wait_for_line(SOON, |line| line.contains("listening"));
    let client = ["iperf3", "-c", "10.77.0.2", "-p", "5201", "-B", FRIEND, "-t", "5", "-i", "0.1", "--bidir"];
    let words = [&client[..], &["-b", "20M", "--forceflush"]].concat();
    let mut client = lab.attacker.start(&words);
    client.wait_for_line(SOON, |line| line.contains("Mbits/sec"));
    (server, client)
}

#[test]
fn a_scan_forged_in_a_friends_name_costs_him_new_connections_for_a_moment_and_nothing_else() {
    let Some(lab) = Lab::direct() else { return };
    lab.add_attacker("10.77.0.9/24");
    let victim = lab.victim4().to_string();
    let _service = lab.victim.enter(|| TcpListener::bind(("0.0.0.0", SERVICE))).unwrap();
    // How long a hold is, is told by the engine's stories; here it ends within the test.
    let place = Place::new("[respond]\nhold = \"3s\"\n");
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    let mut his = session(&lab.attacker, FRIEND, &lab.victim, &victim);
    let mut ours = session(&lab.victim, &victim, &lab.attacker, FRIEND);
    let transfer = testbed::has(&["iperf3"]).then(|| transfer(&lab));
    assert!(can_connect(&lab.attacker, FRIEND, lab.victim4().into(), SERVICE));

    let begin = Instant::now();
    forge_scan(&lab);
    let scan = guard.wait_for(SOON, |event| event["event"] == "scan");
    assert_eq!((&scan["source"], &scan["decision"]), (&FRIEND.into(), &"hold".into()), "{scan}");
    let ban = guard.wait_for(SOON, |event| event["event"] == "ban");
    assert_eq!((&ban["how"], &ban["state"]), (&"held".into(), &"in force".into()), "{ban}");
    assert!(banned(&lab.victim).is_empty());
    let listed = guard.verb(&["bans", "--json"]).lines();
    assert_eq!((listed.len(), &listed[0]["how"]), (1, &"held".into()));
    let status = guard.status();
    assert_eq!((&status["bans"], &status["held"]), (&0.into(), &1.into()));

    // What stands goes on, both ways.
    goes_on(&mut his);
    goes_on(&mut ours);
    // He is a server of ours as well: our new connections and questions work.
    goes_on(&mut session(&lab.victim, &victim, &lab.attacker, FRIEND));
    let server = lab.attacker.enter(|| UdpSocket::bind((FRIEND, 53))).unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    let client = lab.victim.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.send_to(b"who?", (FRIEND, 53)).unwrap();
    let mut heard = [0; 8];
    let (_, from) = server.recv_from(&mut heard).unwrap();
    server.send_to(b"me", from).unwrap();
    assert_eq!(client.recv(&mut heard).unwrap(), 2);
    // But he begins nothing new, as long as he is held.
    if held(&lab.victim).len() == 1 && begin.elapsed() < Duration::from_secs(2) {
        assert!(!can_connect(&lab.attacker, FRIEND, lab.victim4().into(), SERVICE));
    }
    guard.wait_for(SOON, |event| event["event"] == "unban" && event["how"] == "held");
    wait_until(SOON, "the friend to get in", || {
        can_connect(&lab.attacker, FRIEND, lab.victim4().into(), SERVICE).then_some(())
    });
    goes_on(&mut his);
    goes_on(&mut ours);
    if let Some((_server, mut client)) = transfer {
        let ended = client.wait(2 * SOON);
        let printed = client.text(testbed::Stream::Out);
        assert!(ended.success(), "{printed}");
        // No tenth of a second without a byte in either direction: TCP would have had to wait for a retransmission.
        let stood_still = printed.lines().filter(|line| line.contains(" 0.00 bits/sec")).count();
        assert_eq!(stood_still, 0, "{printed}");
    }
}

#[test]
fn a_friend_who_is_forged_again_and_again_waits_for_the_longest_hold_at_most() {
    let Some(lab) = Lab::direct() else { return };
    lab.add_attacker("10.77.0.9/24");
    let _service = lab.victim.enter(|| TcpListener::bind(("0.0.0.0", SERVICE))).unwrap();
    let place = Place::new("[respond]\nhold = \"1s\"\nhold_max = \"2s\"\n");
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    for seconds in [1, 2, 2, 2] {
        let told = guard.running.count();
        forge_scan(&lab);
        let scan =
            guard.wait_for_after(told, SOON, |event| event["event"] == "scan" && event["ended"].is_null());
        assert_eq!(scan["ban_seconds"], seconds, "{scan}");
        guard.wait_for_after(told, SOON, |event| event["event"] == "unban" && event["how"] == "held");
        wait_until(SOON, "the friend to get in", || {
            can_connect(&lab.attacker, FRIEND, lab.victim4().into(), SERVICE).then_some(())
        });
    }
    // Without a word in the configuration the longest is two minutes.
    let checked = portcullis(&["check", "--json", &Place::new("").configuration().to_string_lossy()]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.out.contains("\"hold_max_seconds\":120"), "{checked:?}");
}

#[test]
fn gateway_resolver_admin_and_our_own_address_are_spared_and_reported_and_everybody_else_is_not() {
    let Some(victim) = Namespace::with_mounts() else { return };
    let Some(attacker) = Namespace::new() else { return };
    let lab = Lab::direct_of(attacker, victim);
    lab.victim.ip("route add default via 10.77.0.3\n");
    lab.victim.enter(|| fs::write("/etc/resolv.conf", "nameserver 10.77.0.53\n")).unwrap();
    // One packet is enough to be accused: what is not banned then, never is.
    let place = Place::new("[protect]\nallow = [\"10.77.0.70\"]\n[judge]\nby = \"trigger\"\ntrigger = 1\n");
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    let forge = Forge::new(&lab.attacker);
    let to = SocketAddrV4::new(lab.victim4(), 23);
    for (source, why) in [
        ("10.77.0.3", "a default gateway"),
        ("10.77.0.53", "a configured resolver"),
        ("10.77.0.70", "on the configured allow list"),
        ("10.77.0.2", "an address of this host"),
        ("224.0.0.1", "a special address (unspecified, loopback, multicast or broadcast)"),
        ("10.77.0.255", "a special address (unspecified, loopback, multicast or broadcast)"),
    ] {
        forge.tcp(SocketAddrV4::new(source.parse().unwrap(), 40_000), to, SYN);
        let told = guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == source);
        assert_eq!((&told["decision"], &told["protection"]), (&"protected".into(), &why.into()), "{told}");
    }
    assert_eq!(guard.status()["spared"], 6);
    forge.tcp(SocketAddrV4::new(FRIEND.parse().unwrap(), 40_000), to, SYN);
    wait_for_holds(&lab.victim, &[FRIEND]);
    assert!(banned(&lab.victim).is_empty());
}

#[test]
fn ten_thousand_forged_scanners_at_once_put_the_brake_on_and_hit_no_peer() {
    let Some(lab) = Lab::direct() else { return };
    lab.add_attacker("10.77.0.9/24");
    let victim = lab.victim4().to_string();
    let place = Place::new("[judge]\nby = \"trigger\"\ntrigger = 1\n");
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    let mut his = session(&lab.attacker, FRIEND, &lab.victim, &victim);
    let forge = Forge::new(&lab.attacker);
    let to = SocketAddrV4::new(lab.victim4(), 23);
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 0));
    for number in 0..10_000 {
        forge.tcp(SocketAddrV4::new(Ipv4Addr::from(first + number), 40_000), to, SYN);
    }
    let told = guard.wait_for(SOON, |event| event["event"] == "brake");
    assert_eq!((&told["state"], &told["limit"]), (&"on".into(), &100.into()), "{told}");
    // In the middle of it, a scan in the name of somebody who is connected.
    forge_scan(&lab);
    let status = wait_until(SOON, "the friend to be kept back", || {
        let status = guard.status();
        status["brake"].as_array().is_some_and(|kept| !kept.is_empty()).then_some(status)
    });
    assert_eq!(status["brake"][0], "10.77.0.9/32", "{status}");
    goes_on(&mut his);
    // By hand one can go on, and has to say so.
    let said = guard.verb(&["ban", FRIEND, "--for", "1h"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("the brake is on") && said.err.contains("--despite-brake"), "{said:?}");
    // Protection goes on for everybody else: all are held, and who comes next as well.
    wait_until(SOON, "all to be held", || (held(&lab.victim).len() == 10_000).then_some(()));
    forge.tcp(SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 40_000), to, SYN);
    let stranger: Prefix = "203.0.113.7".parse().unwrap();
    wait_until(SOON, "the next one to be held", || held(&lab.victim).contains_key(&stranger).then_some(()));
    assert!(banned(&lab.victim).is_empty());
    assert!(!held(&lab.victim).contains_key(&FRIEND.parse().unwrap()));
    assert_eq!(guard.verb(&["ban", FRIEND, "--for", "1h", "--despite-brake"]).code, 0);
    wait_for_bans(&lab.victim, &[FRIEND]);
}

#[test]
fn a_finished_handshake_at_every_trap_is_a_proof_and_forged_probes_are_none() {
    let Some(lab) = Lab::direct() else { return };
    lab.add_attacker("10.77.0.9/24");
    let place = Place::new("[watch]\ntcp = \"9001-9009\"\nudp = \"9001-9009\"\nengine = \"listen\"\n");
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    for port in 9001..9005 {
        assert!(can_connect(&lab.attacker, "10.77.0.1", lab.victim4().into(), port));
    }
    wait_for_bans(&lab.victim, &["10.77.0.1/32"]);
    // Datagrams arrive at the same traps, and anybody can have sent them.
    let forger = lab.attacker.enter(|| UdpSocket::bind((FRIEND, 0))).unwrap();
    for port in 9001..9006 {
        forger.send_to(b"?", (lab.victim4(), port)).unwrap();
    }
    let told = guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == FRIEND);
    assert_eq!(told["decision"], "hold", "{told}");
    wait_for_holds(&lab.victim, &[FRIEND]);
}

#[test]
fn holds_outlive_the_program_and_are_found_again() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let place = Place::new("");
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    nmap(&lab.attacker, &["-sS", "-p", "21-40", "10.77.0.2"]);
    wait_for_holds(&lab.victim, &["10.77.0.1"]);
    guard.kill();
    let left = held(&lab.victim)[&"10.77.0.1".parse().unwrap()].unwrap();
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    wait_for_holds(&lab.victim, &["10.77.0.1"]);
    let listed = guard.verb(&["bans", "--json"]).lines();
    assert_eq!((&listed[0]["how"], &listed[0]["cause"]), (&"held".into(), &"found in force".into()));
    assert!(held(&lab.victim)[&"10.77.0.1".parse().unwrap()].unwrap() <= left, "its time was not begun anew");
    // Somebody empties the set: it is put back as what it was.
    if testbed::has(&["nft"]) {
        lab.victim.run(&["nft", "flush", "set", "inet", "portcullis", "held4"]);
        guard.wait_for(SOON, |event| event["event"] == "repair");
        wait_for_holds(&lab.victim, &["10.77.0.1"]);
        assert!(banned(&lab.victim).is_empty());
    }
    assert_eq!(guard.verb(&["allow", "10.77.0.1"]).code, 0);
    wait_for_holds(&lab.victim, &[]);
}

#[test]
fn what_a_hold_was_for_is_told_to_people() {
    let Some(lab) = Lab::direct() else { return };
    let guard = Guard::start(&lab.victim, &["--enforce"]);
    forge_scan(&lab);
    wait_for_holds(&lab.victim, &[FRIEND]);
    let listed = guard.verb(&["bans"]).out;
    assert!(
        listed.contains("10.77.0.9/32") && listed.contains(" held ") && listed.contains("SYN probes"),
        "{listed}"
    );
    let status = guard.verb(&["status"]).out;
    assert!(status.contains("bans           0, and 1 held"), "{status}");
    let said = guard.verb(&["ban", FRIEND, "--for", "1h"]);
    assert_eq!(said.code, 0, "{said:?}");
    wait_for_bans(&lab.victim, &[FRIEND]);
    let is_shut_out: IpAddr = FRIEND.parse().unwrap();
    assert!(banned(&lab.victim).contains_key(&Prefix::single(is_shut_out)), "by hand it is a full ban");
}
