//! Doors in a real kernel: who gets through, with real packets, and what becomes of the rules.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_core::net::PortSet;
use portcullis_sys::nftables::{
    DoorFault, DoorName, DoorRules, Doors, Element, Guest, InterfaceName, Mark, Nftables,
};
use testbed::{Lab, Namespace, wait_until};

const SOON: Duration = Duration::from_secs(5);
/// Long enough for a handshake on a busy machine; a SYN that is dropped is sent again after a second only.
const A_MOMENT: Duration = Duration::from_millis(400);
const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

fn name(text: &str) -> DoorName {
    DoorName::new(text).unwrap()
}

fn ports(text: &str) -> PortSet {
    text.parse().unwrap()
}

fn tcp_door(text: &str, tcp: &str) -> DoorRules {
    DoorRules { name: name(text), tcp: ports(tcp), udp: PortSet::default(), mark: None }
}

fn doors(doors: Vec<DoorRules>) -> Doors {
    Doors::new(doors).unwrap()
}

fn with(mut doors: Doors, change: impl FnOnce(&mut Doors)) -> Doors {
    change(&mut doors);
    doors
}

/// A lab whose victim has our table, or nothing where tests lack rights or `nft`.
fn lab() -> Option<(Lab, Nftables)> {
    if !testbed::has(&["nft"]) {
        return None;
    }
    let lab = Lab::direct()?;
    let mut nftables = lab.victim.enter(|| Nftables::open("portcullis").unwrap());
    nftables.ensure().unwrap();
    Some((lab, nftables))
}

fn both(lab: &Lab, port: u16) -> [(IpAddr, SocketAddr); 2] {
    [
        (lab.attacker4().into(), (lab.victim4(), port).into()),
        (lab.attacker6().into(), (lab.victim6(), port).into()),
    ]
}

fn listen(namespace: &Namespace, port: u16) -> TcpListener {
    namespace.enter(|| TcpListener::bind(("::", port)).unwrap())
}

fn connect(from: &Namespace, to: SocketAddr) -> Option<TcpStream> {
    from.enter(|| TcpStream::connect_timeout(&to, A_MOMENT).ok())
}

#[track_caller]
fn assert_alive(client: &TcpStream, server: &TcpStream) {
    for (mut from, mut to) in [(client, server), (server, client)] {
        from.write_all(b"x").unwrap();
        to.set_read_timeout(Some(SOON)).unwrap();
        to.read_exact(&mut [0]).unwrap();
    }
}

fn ruleset(namespace: &Namespace) -> String {
    String::from_utf8(namespace.run(&["nft", "list", "ruleset"]).stdout).unwrap()
}

/// Door, address and whole seconds, rounded up.
fn guests(nftables: &mut Nftables) -> Vec<(String, String, Option<u64>)> {
    let guests = nftables.guests().unwrap().guests;
    let up = |time: Duration| time.as_millis().div_ceil(1000) as u64;
    guests
        .into_iter()
        .map(|guest| (guest.door.as_str().to_owned(), guest.address.to_string(), guest.remaining.map(up)))
        .collect()
}

#[test]
fn only_a_guest_begins_a_session_and_the_kernel_alone_ends_his_time() {
    let Some((lab, mut nftables)) = lab() else { return };
    let listener = listen(&lab.victim, 22);
    nftables.set_doors(doors(vec![tcp_door("ssh", "22")]), &[]).unwrap();
    assert!(nftables.is_intact().unwrap());
    for (guest, at) in both(&lab, 22) {
        assert!(connect(&lab.attacker, at).is_none(), "{guest} is a stranger");
        nftables.open_door(&name("ssh"), guest, HOUR).unwrap();
        let client = connect(&lab.attacker, at).expect("a guest");
        let (server, _) = listener.accept().unwrap();
        // Refreshed, in the other direction: it ends sooner.
        nftables.open_door(&name("ssh"), guest, Some(Duration::from_millis(100))).unwrap();
        wait_until(SOON, "his time to be over", || guests(&mut nftables).is_empty().then_some(()));
        assert!(connect(&lab.attacker, at).is_none(), "{guest}'s time is over");
        assert_alive(&client, &server);
        // By hand, for ever and then no more; twice is no fault.
        nftables.open_door(&name("ssh"), guest, None).unwrap();
        assert_eq!(guests(&mut nftables), [("ssh".to_owned(), guest.to_string(), None)]);
        assert!(connect(&lab.attacker, at).is_some());
        listener.accept().unwrap();
        nftables.shut_door(&name("ssh"), guest).unwrap();
        nftables.shut_door(&name("ssh"), guest).unwrap();
        assert!(connect(&lab.attacker, at).is_none(), "{guest} was shut out");
        assert_alive(&client, &server);
    }
    let traffic = nftables.door_traffic().unwrap();
    assert_eq!((traffic.len(), traffic[0].door.as_str()), (1, "ssh"));
    assert_eq!(traffic[0].guests.packets, 4);
    assert!(traffic[0].shut_out.packets >= 6, "{traffic:?}");
    // Other ports are nobody's business.
    let _other = listen(&lab.victim, 23);
    assert!(connect(&lab.attacker, both(&lab, 23)[0].1).is_some());
}

#[test]
fn what_stands_when_a_door_is_first_shut_goes_on() {
    let Some((lab, mut nftables)) = lab() else { return };
    let listener = listen(&lab.victim, 22);
    let pairs: Vec<(TcpStream, TcpStream)> = both(&lab, 22)
        .into_iter()
        .map(|(_, at)| (connect(&lab.attacker, at).unwrap(), listener.accept().unwrap().0))
        .collect();
    nftables.set_doors(doors(vec![tcp_door("ssh", "1-1000")]), &[]).unwrap();
    for (client, server) in &pairs {
        assert_alive(client, server);
    }
    // Our own connections from a door's port, and to others' ports, too.
    let theirs = listen(&lab.attacker, 22);
    assert!(connect(&lab.victim, (lab.attacker4(), 22).into()).is_some());
    drop(theirs);
    assert!(connect(&lab.attacker, both(&lab, 22)[0].1).is_none());
}

#[test]
fn a_syn_cut_into_fragments_is_shut_out() {
    let Some((lab, mut nftables)) = lab() else { return };
    if !testbed::has(&["hping3"]) {
        return;
    }
    let _listener = listen(&lab.victim, 22);
    // In 16 bytes of the first fragment there are ports and flags; in 8 of them only ports (RFC 1858 §3).
    let answers = |size: &str| {
        let mut hping = lab.attacker.command("hping3");
        let ran = hping.args(["-S", "-f", "-m", size, "-p", "22", "-c", "1", "10.77.0.2"]).output().unwrap();
        String::from_utf8_lossy(&ran.stdout).contains("flags=SA")
    };
    assert!(answers("8") && answers("16"), "Linux puts them together");
    nftables.set_doors(doors(vec![tcp_door("ssh", "22")]), &[]).unwrap();
    assert!(!answers("8"));
    assert!(!answers("16"));
    nftables.open_door(&name("ssh"), lab.attacker4().into(), HOUR).unwrap();
    assert!(answers("8") && answers("16"), "a guest's may be cut");
}

#[test]
fn a_port_of_two_doors_is_open_to_the_guests_of_either() {
    let Some((lab, mut nftables)) = lab() else { return };
    let _listeners = [listen(&lab.victim, 22), listen(&lab.victim, 80)];
    nftables.set_doors(doors(vec![tcp_door("one", "22,80"), tcp_door("two", "22")]), &[]).unwrap();
    for (guest, at) in both(&lab, 22) {
        assert!(connect(&lab.attacker, at).is_none());
        for door in ["one", "two"] {
            nftables.open_door(&name(door), guest, HOUR).unwrap();
            assert!(connect(&lab.attacker, at).is_some(), "a guest of {door}");
            let other = SocketAddr::new(at.ip(), 80);
            assert_eq!(connect(&lab.attacker, other).is_some(), door == "one");
            nftables.shut_door(&name(door), guest).unwrap();
        }
        assert!(connect(&lab.attacker, at).is_none());
    }
}

#[test]
fn each_door_counts_its_own_guests_and_strangers() {
    let Some((lab, mut nftables)) = lab() else { return };
    let _listeners = [22, 23, 24, 25, 26].map(|port| listen(&lab.victim, port));
    // The set of a's IPv4 guests is called as the chain of a4; wide overlaps with both ends' doors, alone with none.
    let all = [("a", "22-23"), ("a4", "25"), ("wide", "23-24,25"), ("alone", "26")];
    nftables.set_doors(doors(all.map(|(name, ports)| tcp_door(name, ports)).into()), &[]).unwrap();
    let reaches = |port: u16| connect(&lab.attacker, (lab.victim4(), port).into()).is_some();
    for door in ["a", "alone"] {
        nftables.open_door(&name(door), lab.attacker4().into(), HOUR).unwrap();
    }
    assert_eq!([22, 23, 24, 25, 26].map(reaches), [true, true, false, false, true]);
    let counted = |nftables: &mut Nftables| -> Vec<(u64, bool)> {
        let traffic = nftables.door_traffic().unwrap();
        traffic.iter().map(|of| (of.guests.packets, of.shut_out.packets > 0)).collect()
    };
    // At port 25 the stranger counts for the first of its doors.
    assert_eq!(counted(&mut nftables), [(2, false), (0, true), (0, true), (1, false)]);
    nftables.shut_door(&name("alone"), lab.attacker4().into()).unwrap();
    nftables.open_door(&name("wide"), lab.attacker4().into(), HOUR).unwrap();
    assert_eq!([23, 24, 25, 26].map(reaches), [true, true, true, false]);
    assert_eq!(counted(&mut nftables), [(3, false), (0, true), (2, true), (1, true)]);
    assert!(nftables.is_intact().unwrap());
}

/// Whether a datagram arrives; one behind it to a port that is no door's shows that it would be there by now.
fn datagram_arrives(lab: &Lab, at: &UdpSocket, beside: &UdpSocket, is_ipv4: bool) -> bool {
    let to: IpAddr = if is_ipv4 { lab.victim4().into() } else { lab.victim6().into() };
    let any = if is_ipv4 { "0.0.0.0:0" } else { "[::]:0" };
    let sender = lab.attacker.enter(|| UdpSocket::bind(any).unwrap());
    sender.send_to(b"x", (to, at.local_addr().unwrap().port())).unwrap();
    sender.send_to(b"x", (to, beside.local_addr().unwrap().port())).unwrap();
    beside.set_read_timeout(Some(SOON)).unwrap();
    beside.recv(&mut [0; 8]).unwrap();
    at.set_nonblocking(true).unwrap();
    at.recv(&mut [0; 8]).is_ok()
}

#[test]
fn a_udp_door_drops_every_datagram_of_strangers() {
    let Some((lab, mut nftables)) = lab() else { return };
    let [at, beside] = [51820, 51821].map(|port| lab.victim.enter(|| UdpSocket::bind(("::", port)).unwrap()));
    let vpn = DoorRules { udp: ports("51820"), ..tcp_door("vpn", "none") };
    nftables.set_doors(doors(vec![vpn]), &[]).unwrap();
    for (guest, _) in both(&lab, 0) {
        assert!(!datagram_arrives(&lab, &at, &beside, guest.is_ipv4()));
        nftables.open_door(&name("vpn"), guest, HOUR).unwrap();
        assert!(datagram_arrives(&lab, &at, &beside, guest.is_ipv4()));
        nftables.shut_door(&name("vpn"), guest).unwrap();
        assert!(!datagram_arrives(&lab, &at, &beside, guest.is_ipv4()));
    }
    // A broadcast is for us too.
    let sender = lab.attacker.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    sender.set_broadcast(true).unwrap();
    let before = nftables.door_traffic().unwrap()[0].shut_out.packets;
    sender.send_to(b"x", "10.77.0.255:51820").unwrap();
    wait_until(SOON, "the broadcast to be dropped", || {
        (nftables.door_traffic().unwrap()[0].shut_out.packets > before).then_some(())
    });
    // TCP at the same port is no door's.
    let _listener = listen(&lab.victim, 51820);
    assert!(connect(&lab.attacker, both(&lab, 51820)[0].1).is_some());
}

#[test]
fn own_connections_friends_and_trusted_interfaces_pass_every_door() {
    let Some((lab, mut nftables)) = lab() else { return };
    let _listener = listen(&lab.victim, 22);
    let shut = doors(vec![tcp_door("ssh", "22")]);
    nftables.set_doors(shut.clone(), &[]).unwrap();
    for own in ["127.0.0.1:22", "[::1]:22", "10.77.0.2:22", "[fd77::2]:22"] {
        assert!(connect(&lab.victim, own.parse().unwrap()).is_some(), "{own}");
    }
    // Never banned is not the same as a guest of every door.
    let everybody = ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap());
    nftables.set_allowed(&everybody.map(|prefix| Element { prefix, remaining: None })).unwrap();
    for (_, at) in both(&lab, 22) {
        assert!(connect(&lab.attacker, at).is_none());
    }
    let friends = ["10.77.0.0/24", "10.77.0.1", "fd77::/64"].map(|text| text.parse().unwrap()).to_vec();
    nftables.set_doors(with(shut.clone(), |doors| doors.friends = friends), &[]).unwrap();
    for (_, at) in both(&lab, 22) {
        assert!(connect(&lab.attacker, at).is_some(), "a friend");
    }
    assert!(nftables.is_intact().unwrap());
    let trusted = ["eth0", "wg0"].map(|text| InterfaceName::new(text).unwrap()).to_vec();
    nftables.set_doors(with(shut.clone(), |doors| doors.trusted = trusted), &[]).unwrap();
    for (_, at) in both(&lab, 22) {
        assert!(connect(&lab.attacker, at).is_some(), "through a trusted interface");
    }
    assert!(nftables.is_intact().unwrap());
    let trusted = vec![InterfaceName::new("eth").unwrap()];
    nftables.set_doors(with(shut, |doors| doors.trusted = trusted), &[]).unwrap();
    assert!(connect(&lab.attacker, both(&lab, 22)[0].1).is_none());
}

#[test]
fn what_is_forwarded_is_spared_only_if_asked_for() {
    if !testbed::has(&["nft"]) {
        return;
    }
    let Some(lab) = Lab::routed() else { return };
    let router = lab.router.as_ref().unwrap();
    let mut nftables = router.enter(|| Nftables::open("portcullis").unwrap());
    nftables.ensure().unwrap();
    let _listeners = [listen(&lab.victim, 22), listen(router, 22), listen(&lab.victim, 23)];
    router.run_with_input(
        &["nft", "-f", "-"],
        "table ip nat { chain prerouting { type nat hook prerouting priority dstnat; \
         ip daddr 10.78.0.254 tcp dport 80 dnat to 10.77.0.2:23; }; }",
    );
    let shut = doors(vec![tcp_door("ssh", "22,80")]);
    let behind = both(&lab, 22).map(|(_, at)| at);
    let published: SocketAddr = "10.78.0.254:80".parse().unwrap();
    let own: [SocketAddr; 2] = ["10.78.0.254:22", "[fd78::fe]:22"].map(|text| text.parse().unwrap());
    let all = || behind.into_iter().chain(own).chain([published]);
    assert!(all().all(|at| connect(&lab.attacker, at).is_some()), "without doors");
    nftables.set_doors(shut.clone(), &[]).unwrap();
    assert!(all().all(|at| connect(&lab.attacker, at).is_none()), "with a door before everybody");
    nftables.set_doors(with(shut, |doors| doors.spares_forwarded = true), &[]).unwrap();
    assert!(nftables.is_intact().unwrap());
    assert!(behind.into_iter().all(|at| connect(&lab.attacker, at).is_some()), "for others");
    assert!(own.into_iter().chain([published]).all(|at| connect(&lab.attacker, at).is_none()), "for us");
    nftables.open_door(&name("ssh"), lab.attacker4().into(), HOUR).unwrap();
    assert!(connect(&lab.attacker, published).is_some(), "a guest reaches the published port");
}

#[test]
fn a_mark_is_on_a_guests_first_packet_and_on_no_other() {
    const BIT: u32 = 0x0200_0000;
    let Some((lab, mut nftables)) = lab() else { return };
    let _listeners = [listen(&lab.victim, 22), listen(&lab.victim, 23)];
    let marked = DoorRules { mark: Some(Mark::new(BIT).unwrap()), ..tcp_door("ssh", "22") };
    nftables.set_doors(doors(vec![marked, tcp_door("web", "23")]), &[]).unwrap();
    // Somebody before us marks everything, with our bit and one of his own; another firewall behind us counts.
    lab.victim.run_with_input(
        &["nft", "-f", "-"],
        "table inet others {
            counter ours { }
            counter his { }
            counter every { }
            chain before { type filter hook prerouting priority -310; meta mark set 0x02000004; }
            chain behind { type filter hook input priority 0; policy accept;
                meta l4proto tcp counter name every
                meta mark & 0x02000000 == 0x02000000 counter name ours
                meta l4proto tcp meta mark & 0x00000004 == 0x00000004 counter name his
            }
        }",
    );
    let count = |which: &str| -> u64 {
        let listed = lab.victim.run(&["nft", "list", "counter", "inet", "others", which]).stdout;
        let listed = String::from_utf8(listed).unwrap();
        let mut words = listed.split_whitespace();
        words.find(|word| *word == "packets").unwrap();
        words.next().unwrap().parse().unwrap()
    };
    for ((index, (guest, at)), (_, other)) in (0..).zip(both(&lab, 22)).zip(both(&lab, 23)) {
        assert!(connect(&lab.attacker, at).is_none());
        nftables.open_door(&name("web"), guest, HOUR).unwrap();
        assert!(connect(&lab.attacker, other).is_some(), "a guest of the door that doesn't mark");
        assert_eq!(count("ours"), index);
        nftables.open_door(&name("ssh"), guest, HOUR).unwrap();
        assert!(connect(&lab.attacker, at).is_some());
        assert_eq!(count("ours"), index + 1, "{guest}: his SYN, and nothing else of his connection");
    }
    assert!(count("every") > 8);
    assert_eq!(count("his"), count("every"), "the bits of others stay");
    assert!(nftables.is_intact().unwrap());
}

#[test]
fn whatever_somebody_changes_is_noticed_and_mended_with_the_guests() {
    let Some((lab, mut nftables)) = lab() else { return };
    let mut wanted = doors(vec![tcp_door("ssh", "22,2200-2299,65535"), tcp_door("web", "80")]);
    wanted.friends = vec!["192.0.2.0/24".parse().unwrap()];
    nftables.set_doors(wanted.clone(), &[]).unwrap();
    nftables.open_door(&name("ssh"), "192.0.2.1".parse().unwrap(), Some(Duration::from_secs(600))).unwrap();
    nftables.open_door(&name("web"), "2001:db8::1".parse().unwrap(), None).unwrap();
    let inside = guests(&mut nftables);
    // One who only watches, as the comparing thread does.
    let mut watcher = lab.victim.enter(|| Nftables::open("portcullis").unwrap());
    watcher.expect_doors(wanted.clone());
    for change in [
        "flush chain inet portcullis doors",
        "insert rule inet portcullis doors accept",
        "add rule inet portcullis doors accept",
        "chain inet portcullis doors { policy drop; }",
        "flush set inet portcullis friends4",
        "add element inet portcullis friends6 { 2001:db8::/32 }",
        "flush chain inet portcullis doors; delete set inet portcullis friends6",
        "flush chain inet portcullis door_ssh",
        "insert rule inet portcullis door_web accept",
        "flush chain inet portcullis doors; delete chain inet portcullis door_web",
        "flush chain inet portcullis prerouting",
    ] {
        assert!(watcher.is_intact().unwrap(), "before {change}");
        lab.victim.run_with_input(&["nft", "-f", "-"], change);
        assert!(!watcher.is_intact().unwrap(), "{change}");
        nftables.ensure().unwrap();
        assert!(watcher.is_intact().unwrap(), "after {change}");
        assert_eq!(guests(&mut nftables), inside, "{change}");
    }
    // The same rules with other ports.
    let listed = ruleset(&lab.victim).replace("2200-2299", "2200-2298");
    lab.victim.run_with_input(&["nft", "-f", "-"], &format!("flush ruleset\n{listed}"));
    assert!(!watcher.is_intact().unwrap());
    nftables.ensure().unwrap();
    assert!(watcher.is_intact().unwrap());
    assert_eq!(guests(&mut nftables), inside, "they came back with the list");
    // All gone: doors and guests come back at one moment.
    lab.victim.run(&["nft", "flush", "ruleset"]);
    assert!(!watcher.is_intact().unwrap());
    assert_eq!(guests(&mut nftables), []);
    assert!(nftables.open_door(&name("ssh"), "192.0.2.1".parse().unwrap(), None).unwrap_err().is_missing());
    let again: Vec<Guest> = [
        ("ssh", "192.0.2.1", Some(5)),
        ("web", "2001:db8::1", None),
        ("ssh", "192.0.2.1", Some(600)),
        ("gone", "192.0.2.9", None),
    ]
    .into_iter()
    .map(|(door, address, seconds)| Guest {
        door: name(door),
        address: address.parse().unwrap(),
        remaining: seconds.map(Duration::from_secs),
    })
    .collect();
    nftables.set_doors(wanted, &again).unwrap();
    assert_eq!(guests(&mut nftables), inside);
    assert!(!watcher.is_intact().unwrap(), "the bans are missing");
    nftables.restore(&[], &[]).unwrap();
    assert!(watcher.is_intact().unwrap());
    assert_eq!(guests(&mut nftables), inside);
}

#[test]
fn a_reload_keeps_the_guests_of_doors_that_stay() {
    let Some((lab, mut nftables)) = lab() else { return };
    let _listeners = [22, 80, 2222].map(|port| listen(&lab.victim, port));
    let reaches = |port: u16| connect(&lab.attacker, both(&lab, port)[0].1).is_some();
    nftables.set_doors(doors(vec![tcp_door("ssh", "22"), tcp_door("web", "80")]), &[]).unwrap();
    for door in ["ssh", "web"] {
        nftables.open_door(&name(door), lab.attacker4().into(), Some(Duration::from_secs(600))).unwrap();
    }
    assert!(reaches(22) && reaches(80) && reaches(2222));
    nftables.set_doors(doors(vec![tcp_door("new", "80"), tcp_door("ssh", "2222")]), &[]).unwrap();
    let [(door, _, Some(seconds))] = &guests(&mut nftables)[..] else { panic!("one guest") };
    assert!(door == "ssh" && *seconds > 590, "{door} {seconds}");
    assert!(reaches(22) && !reaches(80) && reaches(2222));
    assert!(!ruleset(&lab.victim).contains("door_web"));
    // The same again sends nothing, so that counters stay.
    let before = nftables.door_traffic().unwrap();
    assert!(before[0].shut_out.packets > 0 && before[1].guests.packets > 0, "{before:?}");
    nftables.set_doors(doors(vec![tcp_door("new", "80"), tcp_door("ssh", "2222")]), &[]).unwrap();
    assert_eq!(nftables.door_traffic().unwrap(), before);
    // Another program's start finds what stands, and takes over.
    let mut next = lab.victim.enter(|| Nftables::open("portcullis").unwrap());
    next.set_doors(doors(vec![tcp_door("ssh", "2222")]), &[]).unwrap();
    assert_eq!(guests(&mut next).len(), 1);
    assert!(!nftables.is_intact().unwrap() && next.is_intact().unwrap());
    assert!(reaches(80));
    // Purged, or none left: open to everybody, the bans stay.
    next.shut_door(&name("ssh"), lab.attacker4().into()).unwrap();
    assert!(!reaches(2222));
    next.remove_doors().unwrap();
    next.remove_doors().unwrap();
    assert!(reaches(2222) && next.is_intact().unwrap());
    assert!(!ruleset(&lab.victim).contains("door"));
    next.set_doors(doors(vec![tcp_door("ssh", "2222")]), &[]).unwrap();
    next.set_doors(Doors::default(), &[]).unwrap();
    assert!(!ruleset(&lab.victim).contains("door") && next.is_intact().unwrap());
    lab.victim.run(&["nft", "add", "chain", "inet", "portcullis", "doors"]);
    assert!(!next.is_intact().unwrap());
    next.ensure().unwrap();
    assert!(next.is_intact().unwrap());
}

#[test]
fn a_reload_has_neither_an_open_nor_a_shut_moment() {
    let Some((lab, mut nftables)) = lab() else { return };
    lab.add_attacker("10.77.0.9/24");
    let at = lab.victim.enter(|| UdpSocket::bind("10.77.0.2:4000").unwrap());
    at.set_read_timeout(Some(SOON)).unwrap();
    let [guest, stranger] =
        ["10.77.0.1:0", "10.77.0.9:0"].map(|from| lab.attacker.enter(|| UdpSocket::bind(from).unwrap()));
    let udp = |text: &str| DoorRules { udp: ports(text), ..tcp_door("vpn", "none") };
    let configurations = [
        doors(vec![udp("4000")]),
        doors(vec![tcp_door("before", "1-1024"), udp("3000-5000,9000")]),
        doors(vec![udp("4000-4001"), tcp_door("behind", "80")]),
    ];
    nftables.set_doors(configurations[0].clone(), &[]).unwrap();
    nftables.open_door(&name("vpn"), lab.attacker4().into(), HOUR).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut sent = 0;
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..5 {
                    stranger.send_to(b"stranger", "10.77.0.2:4000").unwrap();
                }
                guest.send_to(b"guest", "10.77.0.2:4000").unwrap();
                let mut received = [0; 16];
                let length = at.recv(&mut received).expect("the guest's datagram");
                assert_eq!(&received[..length], b"guest");
                sent += 1;
            }
            sent
        });
        for round in 0..150 {
            nftables.set_doors(configurations[round % 3].clone(), &[]).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(sending.join().unwrap() > 100);
    });
}

#[test]
fn the_chain_is_made_as_documented() {
    let Some((lab, mut nftables)) = lab() else { return };
    nftables.remove_table().unwrap();
    let ssh = DoorRules { mark: Some(Mark::new(0x10).unwrap()), ..tcp_door("ssh", "22,2200-2299") };
    let mut wanted = doors(vec![ssh, DoorRules { udp: ports("51820"), ..tcp_door("vpn", "none") }]);
    wanted.trusted = vec![InterfaceName::new("wg0").unwrap()];
    wanted.spares_forwarded = true;
    nftables.set_doors(wanted, &[]).unwrap();
    let printed = ruleset(&lab.victim);
    let chain = &printed[printed.find("\tchain doors").unwrap()..];
    let expected = "	chain doors {
		type filter hook prerouting priority raw; policy accept;
		meta mark & 0x00000010 != 0x00000000 counter packets 0 bytes 0 meta mark set meta mark & 0xffffffef comment \"marks-of-others\"
		iif \"lo\" counter packets 0 bytes 0 accept comment \"lo\"
		iifname \"wg0\" counter packets 0 bytes 0 accept comment \"trusted wg0\"
		tcp flags != syn / syn,ack counter packets 0 bytes 0 accept comment \"standing\"
		tcp dport != 22 tcp dport != 2200-2299 counter packets 0 bytes 0 accept comment \"other-tcp\"
		udp dport != 51820 counter packets 0 bytes 0 accept comment \"other-udp\"
		meta l4proto != tcp meta l4proto != udp counter packets 0 bytes 0 accept comment \"other-protocols\"
		fib daddr type unicast counter packets 0 bytes 0 accept comment \"forwarded\"
		ip saddr @friends4 counter packets 0 bytes 0 accept comment \"friends4\"
		ip6 saddr @friends6 counter packets 0 bytes 0 accept comment \"friends6\"
		tcp dport 22 jump door_ssh comment \"door_ssh\"
		tcp dport 2200-2299 jump door_ssh comment \"door_ssh\"
		udp dport 51820 jump door_vpn comment \"door_vpn\"
	}
}
";
    assert_eq!(chain, expected);
    let expected = "	chain door_ssh {
		ip saddr @door_ssh4 counter packets 0 bytes 0 meta mark set meta mark | 0x00000010 accept comment \"door_ssh4\"
		ip6 saddr @door_ssh6 counter packets 0 bytes 0 meta mark set meta mark | 0x00000010 accept comment \"door_ssh6\"
		counter packets 0 bytes 0 drop comment \"door_ssh\"
	}

	chain door_vpn {
		ip saddr @door_vpn4 counter packets 0 bytes 0 accept comment \"door_vpn4\"
		ip6 saddr @door_vpn6 counter packets 0 bytes 0 accept comment \"door_vpn6\"
		counter packets 0 bytes 0 drop comment \"door_vpn\"
	}
";
    assert!(printed.contains(expected), "{printed}");
    nftables.ensure().unwrap();
    assert!(nftables.is_intact().unwrap());
}

#[test]
fn the_most_doors_with_the_most_ranges_go_in_at_once_and_are_exact() {
    let Some((lab, mut nftables)) = lab() else { return };
    let _listeners = [20_000, 20_001, 20_766].map(|port| listen(&lab.victim, port));
    let many = (0..255).map(|index| tcp_door(&format!("d{index}"), &format!("{}", 20_000 + index * 3)));
    let scattered = PortSet::from_ranges((0..769).map(|index| (30_000 + index * 2, 30_000 + index * 2)));
    let wide = DoorRules { udp: scattered, ..tcp_door("wide", "none") };
    nftables.set_doors(doors(many.chain([wide]).collect()), &[]).unwrap();
    assert!(nftables.is_intact().unwrap());
    let reaches = |port: u16| connect(&lab.attacker, (lab.victim4(), port).into()).is_some();
    assert!(!reaches(20_000) && reaches(20_001) && reaches(20_766));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_asked() {
    for wrong in ["", "a b", "x}", "ssh;", "tür", &"x".repeat(65)] {
        assert_eq!(DoorName::new(wrong), Err(DoorFault::Name(wrong.to_owned())));
    }
    assert!(DoorName::new(&"x".repeat(64)).is_ok() && DoorName::new("4").is_ok());
    for wrong in [0, 3, 0x8000_0001] {
        assert_eq!(Mark::new(wrong), Err(DoorFault::Mark(wrong)));
    }
    for wrong in ["", "a b", "a/b", "sixteen-letters-"] {
        assert_eq!(InterfaceName::new(wrong), Err(DoorFault::Interface(wrong.to_owned())));
    }
    let twice = Doors::new(vec![tcp_door("a", "1"), tcp_door("b", "1"), tcp_door("a", "2")]);
    assert_eq!(twice, Err(DoorFault::Twice("a".to_owned())));
    let many = Doors::new((0..257).map(|index| tcp_door(&index.to_string(), "1")).collect());
    assert_eq!(many, Err(DoorFault::TooMany(257)));
    let scattered = PortSet::from_ranges((0..1025).map(|index| (index * 2, index * 2)));
    let wide = Doors::new(vec![DoorRules { udp: scattered, ..tcp_door("wide", "none") }]);
    assert_eq!(wide, Err(DoorFault::TooManyRanges(1025)));
}
