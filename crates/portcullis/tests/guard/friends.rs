//! What looks a little like a scan and is none: nobody is accused, and nothing is counted.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use testbed::Lab;

use crate::harness::{Guard, SOON};
use crate::peers::{
    accused, bind, converse, converse_by_datagram, echo, echo_datagrams, everything_is_judged, knock, listen,
    nothing_was_a_probe,
};

#[test]
fn packets_with_bad_checksums_do_not_count() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    // The kernel finds the neighbour: nmap would spoil its own question for him too.
    let nmap = ["nmap", "-n", "-Pn", "--send-ip", "-T5", "--max-retries", "0", "--badsum", "-p", "21-40"];
    for options in [&["-sS", "10.77.0.2"][..], &["-sU", "10.77.0.2"], &["-sS", "-6", "fd77::2"]] {
        lab.attacker.run(&[&nmap[..], options].concat());
    }
    nothing_was_a_probe(&lab, &mut guard);
    let refused = guard.status()["refused"].clone();
    let refused: u64 = refused.as_object().unwrap().values().filter_map(|count| count.as_u64()).sum();
    assert_eq!(refused, 60, "each was seen, and refused");
}

#[test]
fn the_last_segments_of_transfers_whose_listener_is_gone_are_no_probes() {
    let Some(lab) = Lab::direct() else { return };
    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    // As passive FTP does it: a port for each transfer, below those that the stack chooses, and a listener that goes
    // with its first guest. Both ends are first to close in turn.
    for (number, port) in (20_001..=20_040).enumerate() {
        let listener = lab.victim.enter(|| TcpListener::bind((lab.victim4(), port))).unwrap();
        let mut guest = lab.attacker.enter(|| TcpStream::connect((lab.victim4(), port))).unwrap();
        let (mut host, _) = listener.accept().unwrap();
        drop(listener);
        guest.write_all(b"hello").unwrap();
        host.read_exact(&mut [0; 5]).unwrap();
        host.write_all(&[7; 100_000]).unwrap();
        guest.read_exact(&mut [0; 100_000]).unwrap();
        let (first, mut second) = if number % 2 == 0 { (guest, host) } else { (host, guest) };
        drop(first);
        assert_eq!(second.read(&mut [0; 1]).unwrap(), 0);
    }
    nothing_was_a_probe(&lab, &mut guard);
}

#[test]
fn who_breaks_off_downloads_and_refuses_posts_blames_nobody() {
    let Some(lab) = Lab::direct() else { return };
    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    let server = lab.attacker.enter(|| TcpListener::bind((lab.attacker4(), 8000))).unwrap();
    let service = lab.victim.enter(|| TcpListener::bind((lab.victim4(), 80))).unwrap();
    for _ in 0..40 {
        // Closed with data unread, both end by RST, and what is under way is answered by another.
        let client = lab.victim.enter(|| TcpStream::connect((lab.attacker4(), 8000))).unwrap();
        let (mut download, _) = server.accept().unwrap();
        download.write_all(&[7; 50_000]).unwrap();
        drop(client);
        drop(download);
        let mut post = lab.attacker.enter(|| TcpStream::connect((lab.victim4(), 80))).unwrap();
        let (request, _) = service.accept().unwrap();
        post.write_all(&[7; 50_000]).unwrap();
        drop(request);
        drop(post);
    }
    nothing_was_a_probe(&lab, &mut guard);
}

#[test]
fn a_busy_service_is_left_out_of_the_filter_soon_and_its_neighbours_are_watched() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    echo(listen(&lab.victim, "10.77.0.2", 80..=80));
    let mut stream = lab.attacker.enter(|| TcpStream::connect((lab.victim4(), 80))).unwrap();
    for _ in 0..2000 {
        stream.write_all(b"hello").unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
    }
    nothing_was_a_probe(&lab, &mut guard);
    let looked_at = guard.status()["packets"].as_u64().unwrap();
    assert!(looked_at < 400, "{looked_at} of 2000 segments or more");
    lab.attacker.run(&["nmap", "-n", "-Pn", "-sA", "-p", "70-90", "10.77.0.2"]);
    let told = guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == "10.77.0.1");
    assert_eq!(told["kinds"], serde_json::json!(["ack"]));
}

#[test]
fn what_is_sent_to_many_is_nobodys_probe() {
    let Some(lab) = Lab::direct() else { return };
    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    // A service on the last port shows that they do arrive.
    lab.victim.sysctl("net.ipv6.bindv6only", "1");
    let arrivals = ["0.0.0.0", "::"].map(|any| bind(&lab.victim, any, 1029..=1029).remove(0));
    lab.attacker.ip("route add 224.0.0.0/4 dev eth0\nroute add 255.255.255.255/32 dev eth0\n");
    for (own, many) in [
        ("0.0.0.0:0", "255.255.255.255"),
        ("0.0.0.0:0", "10.77.0.255"),
        ("0.0.0.0:0", "224.0.0.1"),
        ("[::]:0", "ff02::1"),
    ] {
        let sender = lab.attacker.enter(|| UdpSocket::bind(own)).unwrap();
        sender.set_broadcast(true).unwrap();
        for port in 1000..1030 {
            sender.send_to(b"anyone there?", (many, port)).unwrap_or_else(|error| panic!("{many}: {error}"));
        }
        let arrivals = &arrivals[usize::from(many.contains(':'))];
        arrivals.set_read_timeout(Some(SOON)).unwrap();
        arrivals.recv(&mut [0; 16]).unwrap_or_else(|error| panic!("{many}: {error}"));
    }
    nothing_was_a_probe(&lab, &mut guard);
}

#[test]
fn a_patient_client_of_a_dead_port_is_no_scanner() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nft"]) {
        return;
    }
    lab.victim.run_with_input(
        &["nft", "-f", "-"],
        "add table inet wall\n\
         add chain inet wall input { type filter hook input priority 0; }\n\
         add rule inet wall input tcp dport 22 drop\n",
    );
    // Two probes would be a scan here; a SYN that the stack repeats is one.
    let configuration = "[judge]\nby = \"trigger\"\ncount = \"probes\"\ntrigger = 2\n";
    let mut guard = Guard::configured(&lab.victim, configuration, &["--observe"]);
    let dead = SocketAddr::new(lab.victim4().into(), 22);
    assert_eq!(knock(&lab.attacker, dead, Duration::from_millis(3300)), ErrorKind::TimedOut);
    everything_is_judged(&lab, &mut guard);
    assert!(accused(&guard).is_empty(), "{:#?}", guard.told("scan"));
    assert!(guard.status()["probes"].as_u64() >= Some(8 + 3), "the SYN came at least three times");
    knock(&lab.attacker, dead, Duration::from_millis(50));
    guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == "10.77.0.1");
}

#[test]
fn answers_that_come_too_late_accuse_nobody() {
    let Some(lab) = Lab::direct() else { return };
    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    for (resolver, own) in [("10.77.0.1", "10.77.0.2"), ("fd77::1", "fd77::2")] {
        let resolver = bind(&lab.attacker, resolver, 53..=53).remove(0);
        resolver.set_read_timeout(Some(SOON)).unwrap();
        let to = resolver.local_addr().unwrap();
        for _ in 0..30 {
            let client = lab.victim.enter(|| UdpSocket::bind((own, 0))).unwrap();
            client.send_to(b"who?", to).unwrap();
            let mut question = [0; 4];
            let (_, from) = resolver.recv_from(&mut question).unwrap();
            drop(client);
            // The error that answers a late answer reaches the resolver with its next one.
            while resolver.send_to(b"me", from).is_err() {}
        }
    }
    nothing_was_a_probe(&lab, &mut guard);
}

#[test]
fn segments_after_the_close_and_errors_that_answer_us_accuse_nobody() {
    let Some(lab) = Lab::direct() else { return };
    lab.attacker.sysctl("net.ipv4.icmp_ratelimit", "0");
    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    let server = lab.attacker.enter(|| TcpListener::bind("10.77.0.1:80")).unwrap();
    for _ in 0..30 {
        let client = lab.victim.enter(|| TcpStream::connect("10.77.0.1:80")).unwrap();
        let (mut stream, _) = server.accept().unwrap();
        stream.write_all(b"unread").unwrap();
        let mut peeked = [0; 1];
        client.peek(&mut peeked).unwrap();
        // Closed with data unread: a reset, and what the server still says comes to nobody.
        drop(client);
        let _ = stream.write_all(b"too late");
    }
    for port in 2000..2030 {
        let refuses = SocketAddr::new(lab.attacker4().into(), port);
        assert_eq!(knock(&lab.victim, refuses, SOON), ErrorKind::ConnectionRefused);
        let client = lab.victim.enter(|| UdpSocket::bind("10.77.0.2:0")).unwrap();
        client.connect(refuses).unwrap();
        client.send(b"?").unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(client.recv(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    nothing_was_a_probe(&lab, &mut guard);
}

#[test]
fn busy_clients_and_a_busy_host_accuse_nobody() {
    let Some(lab) = Lab::direct() else { return };
    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    for (server, client, address) in
        [(&lab.victim, &lab.attacker, "10.77.0.2"), (&lab.attacker, &lab.victim, "fd77::1")]
    {
        echo(listen(server, address, 8001..=8008));
        echo_datagrams(bind(server, address, 8001..=8008));
        for _ in 0..10 {
            for port in 8001..=8008 {
                let service = SocketAddr::new(address.parse().unwrap(), port);
                converse(client, service);
                converse_by_datagram(client, service);
            }
        }
    }
    // Answers by datagram may come when their socket has been closed: doubts, but nobody is accused.
    everything_is_judged(&lab, &mut guard);
    assert!(accused(&guard).is_empty(), "{:#?}", guard.told("scan"));
}
