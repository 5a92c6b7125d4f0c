//! Connect mode with real sockets: which ports are open, who gives way to whom, and what strangers are told.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use portcullis::capture::listen::{Listener, Listening, Notice, Reply, Unopened, Why};
use portcullis_core::net::{PortSet, Protocol};
use portcullis_core::scan::Contact;
use portcullis_core::time::Mono;
use testbed::{Lab, Namespace, Running, Stream, wait_until};

const SOON: Duration = Duration::from_secs(20);
const START: Mono = Mono(Duration::from_secs(1000));
const BANNER: &[u8] = b"\x00** UNAUTHORIZED ACCESS PROHIBITED \xff\t**\r";

fn ports(text: &str) -> PortSet {
    text.parse().unwrap()
}

fn listen(on: &Namespace, tcp: &str, udp: &str, banner: Option<&[u8]>) -> Listener {
    let listening =
        Listening { tcp: ports(tcp), udp: ports(udp), ceiling: None, banner: banner.map(<[u8]>::to_vec) };
    on.enter(|| Listener::open(&listening, START)).unwrap()
}

/// Takes what has come until there are so many contacts.
fn contacts(listener: &mut Listener, count: usize, reply: Reply) -> Vec<Contact> {
    let mut seen = Vec::new();
    wait_until(SOON, &format!("{count} contacts"), || {
        listener.drain(START, 256, |contact| {
            seen.push(contact);
            reply
        });
        (seen.len() >= count).then_some(())
    });
    seen
}

fn connect(from: &Namespace, to: impl Into<IpAddr>, port: u16) -> TcpStream {
    let to = SocketAddr::new(to.into(), port);
    from.enter(|| TcpStream::connect_timeout(&to, SOON)).unwrap()
}

fn targets(seen: &[Contact]) -> BTreeSet<(IpAddr, u16)> {
    seen.iter().map(|contact| (contact.target.address, contact.target.port)).collect()
}

fn later(seconds: u64) -> Mono {
    START + Duration::from_secs(seconds)
}

/// Lets time go on until a port is opened; a child that another test starts may hold its old socket for a moment.
fn opened_again(on: &Namespace, listener: &mut Listener, protocol: Protocol, port: u16) {
    let mut time = later(10);
    wait_until(SOON, "the port to be opened again", || {
        on.enter(|| listener.tick(time));
        time = listener.next_timeout();
        (listener.take_notices() == [Notice::Opened(protocol, port)]).then_some(())
    });
}

#[test]
fn thousands_of_ports_are_opened_and_each_contact_names_the_port_that_was_hit() {
    let Some(lab) = Lab::direct() else { return };
    let (v4, v6) = (IpAddr::from(lab.victim4()), IpAddr::from(lab.victim6()));
    let _tcp_service = lab.victim.enter(|| TcpListener::bind("0.0.0.0:143")).unwrap();
    let _udp_service = lab.victim.enter(|| UdpSocket::bind("127.0.0.1:69")).unwrap();
    let mut listener = listen(&lab.victim, "1-3000", "1-300", None);
    let unopened: Vec<Unopened> = listener.unopened().collect();
    let in_use = |protocol, port| Unopened { protocol, port, why: Why::InUse };
    assert_eq!(unopened, [in_use(Protocol::Tcp, 143), in_use(Protocol::Udp, 69)]);
    assert_eq!(listener.opened().count(), 2999 + 299);

    // What follows an unopened port in the list was reported under a wrong number by PortSentry 1.2.
    let hit = [(v4, 1), (v4, 142), (v4, 144), (v6, 145), (v4, 2999), (v6, 3000)];
    let _open: Vec<TcpStream> = hit.map(|(to, port)| connect(&lab.attacker, to, port)).into();
    let seen = contacts(&mut listener, hit.len(), Reply::Silent);
    assert_eq!(targets(&seen), BTreeSet::from(hit));
    assert!(
        seen.iter().all(|contact| contact.source == lab.attacker4() || contact.source == lab.attacker6())
    );

    // For a datagram too it is known which address was hit.
    let hit = [(v4, 68), (v6, 70), (v4, 300)];
    for (to, port) in hit {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let sender = lab.attacker.enter(|| UdpSocket::bind(any)).unwrap();
        sender.send_to(b"probe", SocketAddr::new(to, port)).unwrap();
    }
    let seen = contacts(&mut listener, hit.len(), Reply::Silent);
    assert_eq!(targets(&seen), BTreeSet::from(hit));
    assert!(seen.iter().all(|contact| contact.target.protocol == Protocol::Udp && contact.interface > 0));
}

/// Connections that the last run has closed still stand in TIME_WAIT. 1.2 lost their ports, and called the others by
/// wrong numbers (fault 17).
#[test]
fn closing_connections_of_the_last_run_cost_no_port_and_shift_no_number() {
    let Some(lab) = Lab::direct() else { return };
    lab.victim.sysctl("net.ipv4.tcp_max_tw_buckets", "4096");
    let v4 = IpAddr::from(lab.victim4());
    let numbers = [79, 111, 540];
    let mut before = listen(&lab.victim, "79,111,540", "", None);
    let clients = numbers.map(|port| connect(&lab.attacker, v4, port));
    assert_eq!(contacts(&mut before, numbers.len(), Reply::Silent).len(), numbers.len());
    drop(before);
    drop(clients);
    wait_until(SOON, "closing connections", || {
        let listed = lab.victim.run(&["ss", "-Htan", "state", "time-wait"]).stdout;
        (String::from_utf8_lossy(&listed).lines().count() == numbers.len()).then_some(())
    });
    let mut listener = listen(&lab.victim, "79,111,540", "", None);
    assert_eq!(listener.unopened().count(), 0);
    for port in numbers {
        let _client = connect(&lab.attacker, v4, port);
        assert_eq!(targets(&contacts(&mut listener, 1, Reply::Silent)), BTreeSet::from([(v4, port)]));
    }
}

#[test]
fn a_host_whose_ipv6_is_off_is_listened_on() {
    let Some(lab) = Lab::direct() else { return };
    lab.victim.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    let mut listener = listen(&lab.victim, "111", "111", None);
    let _open = connect(&lab.attacker, lab.victim4(), 111);
    assert_eq!(contacts(&mut listener, 1, Reply::Silent)[0].target.address, IpAddr::from(lab.victim4()));
}

#[test]
fn a_port_that_was_in_use_is_opened_when_it_is_free() {
    let Some(lab) = Lab::direct() else { return };
    let service = lab.victim.enter(|| TcpListener::bind("[::]:143")).unwrap();
    let mut listener = listen(&lab.victim, "111,143", "", None);
    let tick = |listener: &mut Listener, seconds| lab.victim.enter(|| listener.tick(later(seconds)));
    tick(&mut listener, 5);
    assert_eq!(listener.take_notices(), []);
    drop(service);
    assert_eq!(listener.next_timeout(), later(10));
    tick(&mut listener, 9);
    assert_eq!(listener.take_notices(), []);
    opened_again(&lab.victim, &mut listener, Protocol::Tcp, 143);
    assert_eq!(listener.unopened().count(), 0);
    let _open = connect(&lab.attacker, lab.victim4(), 143);
    assert_eq!(contacts(&mut listener, 1, Reply::Silent)[0].target.port, 143);
}

#[test]
fn not_one_free_port_is_an_error_that_names_each() {
    let Some(lab) = Lab::direct() else { return };
    let _service = lab.victim.enter(|| TcpListener::bind("[::]:143")).unwrap();
    let listening = Listening { tcp: ports("143"), ..Listening::default() };
    let error = lab.victim.enter(|| Listener::open(&listening, START)).err().unwrap();
    assert_eq!(error.unopened, [Unopened { protocol: Protocol::Tcp, port: 143, why: Why::InUse }]);
}

/// A socket as a service makes it that lets others in, listening if it is TCP.
fn service(at: &str, kind: SockType, is_for_ipv6_only: bool) -> OwnedFd {
    let at: SocketAddr = at.parse().unwrap();
    let family = if at.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None).unwrap();
    setsockopt(&socket, sockopt::ReusePort, &true).unwrap();
    if kind == SockType::Stream {
        // As servers do, so that their last connections don't keep the port.
        setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
    }
    if at.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &is_for_ipv6_only).unwrap();
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at)).unwrap();
    if kind == SockType::Stream {
        nix::sys::socket::listen(&socket, Backlog::new(128).unwrap()).unwrap();
    }
    socket
}

/// How many of 20 connections each over IPv4 and IPv6 the services, and then we, have got.
fn divide(lab: &Lab, ours: &mut Listener, services: &[&TcpListener], port: u16) -> Vec<usize> {
    let open: Vec<TcpStream> = (0..20)
        .flat_map(|_| [IpAddr::from(lab.victim4()), IpAddr::from(lab.victim6())])
        .map(|to| connect(&lab.attacker, to, port))
        .collect();
    let mut counts = vec![0; services.len() + 1];
    wait_until(SOON, "all connections", || {
        ours.drain(START, 256, |_| {
            counts[services.len()] += 1;
            Reply::Silent
        });
        for (count, service) in counts.iter_mut().zip(services) {
            *count += std::iter::from_fn(|| service.accept().ok()).count();
        }
        (counts.iter().sum::<usize>() >= open.len()).then_some(())
    });
    counts
}

#[test]
fn a_tcp_service_that_lets_others_in_gets_every_connection_and_then_the_port() {
    let Some(lab) = Lab::direct() else { return };
    let mut listener = listen(&lab.victim, "111,143", "", None);
    let worker = || TcpListener::from(lab.victim.enter(|| service("[::]:143", SockType::Stream, false)));
    let first = worker();
    let counts = divide(&lab, &mut listener, &[&first], 143);
    assert_eq!(counts, [40, 0], "a client of the service was taken for a scanner");

    let second = worker();
    lab.victim.enter(|| listener.tick(later(5)));
    assert_eq!(listener.take_notices(), [Notice::GivenUp(Protocol::Tcp, 143)]);
    // The kernel divides them among the two: nothing of ours is left in their group.
    let counts = divide(&lab, &mut listener, &[&first, &second], 143);
    assert!(counts[0] > 0 && counts[1] > 0 && counts[2] == 0, "{counts:?}");

    drop((first, second));
    opened_again(&lab.victim, &mut listener, Protocol::Tcp, 143);
}

#[test]
fn a_service_for_ipv6_only_gets_the_port_with_the_first_client_at_the_latest() {
    let Some(lab) = Lab::direct() else { return };
    let mut listener = listen(&lab.victim, "111,143", "", None);
    let service = lab.victim.enter(|| service("[::]:143", SockType::Stream, true));
    let _early = connect(&lab.attacker, lab.victim6(), 143);
    let _other = connect(&lab.attacker, lab.victim6(), 111);
    let seen = contacts(&mut listener, 1, Reply::Silent);
    assert_eq!(targets(&seen), BTreeSet::from([(IpAddr::from(lab.victim6()), 111)]));
    wait_until(SOON, "the port to be given up", || {
        listener.drain(START, 256, |contact| panic!("a client of the service was judged: {contact:?}"));
        (listener.take_notices() == [Notice::GivenUp(Protocol::Tcp, 143)]).then_some(())
    });
    let _late = connect(&lab.attacker, lab.victim6(), 143);
    assert!(TcpListener::from(service).accept().is_ok());
}

#[test]
fn a_service_at_one_address_gets_that_and_the_port_stays_watched_at_the_others() {
    let Some(lab) = Lab::direct() else { return };
    lab.victim.add_address("eth0", "10.77.0.22/24");
    let mut listener = listen(&lab.victim, "143", "", None);
    let service = TcpListener::from(lab.victim.enter(|| service("10.77.0.22:143", SockType::Stream, false)));
    lab.victim.enter(|| listener.tick(later(5)));
    assert_eq!(listener.take_notices(), []);
    let _client = connect(&lab.attacker, IpAddr::from([10, 77, 0, 22]), 143);
    assert!(service.accept().is_ok());
    let _scanner = connect(&lab.attacker, lab.victim4(), 143);
    assert_eq!(
        targets(&contacts(&mut listener, 1, Reply::Silent)),
        BTreeSet::from([(lab.victim4().into(), 143)])
    );
}

#[test]
fn a_udp_service_that_lets_others_in_gets_every_datagram_and_then_the_port() {
    let Some(lab) = Lab::direct() else { return };
    let mut listener = listen(&lab.victim, "", "69,111", None);
    let service = UdpSocket::from(lab.victim.enter(|| service("[::]:69", SockType::Datagram, false)));
    let client = lab.attacker.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    for _ in 0..20 {
        client.send_to(b"question", (lab.victim4(), 69)).unwrap();
    }
    client.send_to(b"probe", (lab.victim4(), 111)).unwrap();
    // On one wire the last to be sent is the last to come.
    assert_eq!(
        targets(&contacts(&mut listener, 1, Reply::Silent)),
        BTreeSet::from([(lab.victim4().into(), 111)])
    );
    assert_eq!(std::iter::from_fn(|| service.recv(&mut [0]).ok()).count(), 20);
    lab.victim.enter(|| listener.tick(later(5)));
    assert_eq!(listener.take_notices(), [Notice::GivenUp(Protocol::Udp, 69)]);
}

#[test]
fn a_slow_reader_who_talks_first_reads_the_banner_to_its_last_byte() {
    let Some(lab) = Lab::direct() else { return };
    // Larger than the window that this reader opens, and as long as a line of portsentry.conf may be.
    let banner: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let mut listener = listen(&lab.victim, "111", "", Some(&banner));
    let mut stream = lab.attacker.enter(|| {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&socket, sockopt::RcvBuf, &1).unwrap();
        let to = SocketAddr::new(lab.victim4().into(), 111);
        nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
        TcpStream::from(socket)
    });
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&[b'x'; 3000]).unwrap();
    contacts(&mut listener, 1, Reply::Banner);
    assert_eq!(listener.counts().banners.sent, 1);
    let mut read = Vec::new();
    let mut byte = [0];
    // A reset would come here as an error.
    while stream.read(&mut byte).unwrap() == 1 {
        read.push(byte[0]);
        if read.len().is_multiple_of(100) {
            stream.write_all(b"still talking").unwrap();
            listener.drain(START, 256, |contact| panic!("no new contact: {contact:?}"));
        }
    }
    assert_eq!(read, banner);
    drop(stream);
    wait_until(SOON, "the connection to be closed", || {
        listener.drain(START, 256, |contact| panic!("no new contact: {contact:?}"));
        (listener.next_timeout() == later(5)).then_some(())
    });
}

#[test]
fn the_banner_is_these_bytes_and_nobody_gets_it_who_is_not_to() {
    let Some(lab) = Lab::direct() else { return };
    let mut listener = listen(&lab.victim, "111", "", Some(BANNER));
    for (reply, expected) in [(Reply::Silent, &b""[..]), (Reply::Banner, BANNER)] {
        let mut stream = connect(&lab.attacker, lab.victim6(), 111);
        stream.set_read_timeout(Some(SOON)).unwrap();
        contacts(&mut listener, 1, reply);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).unwrap();
        assert_eq!(read, expected);
    }
}

#[test]
fn who_neither_reads_nor_closes_is_closed_when_his_time_is_over() {
    let Some(lab) = Lab::direct() else { return };
    let mut listener = listen(&lab.victim, "111", "", Some(BANNER));
    let mut stream = connect(&lab.attacker, lab.victim4(), 111);
    contacts(&mut listener, 1, Reply::Banner);
    assert_eq!(listener.next_timeout(), later(3));
    listener.tick(later(3));
    assert_eq!(listener.next_timeout(), later(5));
    wait_until(SOON, "the reset that follows what is said to a closed connection", || {
        stream.write_all(b"anybody there?").is_err().then_some(())
    });
}

#[test]
fn over_udp_a_source_gets_three_banners_a_minute_from_the_address_it_asked() {
    let Some(lab) = Lab::direct() else { return };
    lab.victim.add_address("eth0", "10.77.0.22/24");
    let mut listener = listen(&lab.victim, "", "111", Some(BANNER));
    let second: SocketAddr = "10.77.0.22:111".parse().unwrap();
    let ask = |listener: &mut Listener, now: Mono| {
        let client = lab.attacker.enter(|| UdpSocket::bind("10.77.0.1:0")).unwrap();
        client.connect(second).unwrap();
        for _ in 0..5 {
            client.send(b"question").unwrap();
        }
        let mut seen = 0;
        wait_until(SOON, "five datagrams", || {
            seen += listener.drain(now, 256, |_| Reply::Banner);
            (seen == 5).then_some(())
        });
        client.set_nonblocking(true).unwrap();
        // Answers are there before drain returns: between two namespaces sending is receiving.
        let mut buffer = [0; 2000];
        std::iter::from_fn(|| {
            let length = client.recv(&mut buffer).ok()?;
            Some(buffer[..length].to_vec())
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(ask(&mut listener, START), vec![BANNER; 3]);
    assert_eq!(ask(&mut listener, later(59)), [] as [&[u8]; 0]);
    assert_eq!(ask(&mut listener, later(60)), vec![BANNER; 3]);
    assert_eq!(listener.counts().banners.withheld, 2 + 5 + 2);
}

#[test]
fn ten_thousand_connections_of_one_source_are_seen_and_held_in_bounds() {
    let Some(lab) = Lab::direct() else { return };
    const MANY: usize = 10_000;
    let mut listener = listen(&lab.victim, "1-100", "", Some(BANNER));
    let to = lab.victim4();
    let mut seen = 0;
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            lab.attacker.enter(|| {
                // Kept open a while, so that none of them ends of its own accord.
                let mut open = VecDeque::new();
                for number in 0..MANY {
                    let to = SocketAddr::new(to.into(), 1 + (number % 100) as u16);
                    open.push_back(TcpStream::connect_timeout(&to, SOON).unwrap());
                    if open.len() > 200 {
                        open.pop_front();
                    }
                }
            });
        });
        wait_until(SOON * 3, "every connection", || {
            seen += listener.drain(START, 256, |contact| {
                assert_eq!(contact.source, IpAddr::from(lab.attacker4()));
                Reply::Banner
            });
            assert!(listener.counts().banners.leaving <= 16);
            (seen >= MANY).then_some(())
        });
        client.join().unwrap();
    });
    let counts = listener.counts();
    assert_eq!((seen, counts.accepted), (MANY, MANY as u64));
    assert_eq!(
        (counts.banners.sent + counts.banners.failed, counts.banners.withheld),
        (120, MANY as u64 - 120)
    );
}

/// The name under which the next test runs itself with few descriptors.
const STARVED: &str = "PORTCULLIS_TEST_STARVED";

#[test]
fn without_a_descriptor_left_each_connection_is_still_seen_and_that_is_said_once() {
    if std::env::var_os(STARVED).is_some() {
        return starved();
    }
    let Some(lab) = Lab::direct() else { return };
    let itself = std::env::current_exe().unwrap();
    let name = "without_a_descriptor_left_each_connection_is_still_seen_and_that_is_said_once";
    let mut command = lab.victim.command(itself.to_str().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(STARVED, "1");
    let mut child = Running::spawn(&mut command);
    child.wait_for_line(SOON, |line| line.contains("starved"));
    let open: Vec<TcpStream> = (0..50).map(|_| connect(&lab.attacker, lab.victim4(), 111)).collect();
    child.wait_for_line(SOON, |line| line.contains("seen 50"));
    let one_more = connect(&lab.attacker, lab.victim4(), 111);
    let status = child.wait(SOON);
    assert!(status.success(), "{}", child.text(Stream::Out) + &child.text(Stream::Err));
    drop((open, one_more));
}

/// In a process of its own: all descriptors are used up, connections come, descriptors come back.
fn starved() {
    let listening = Listening { tcp: ports("111"), banner: Some(BANNER.to_vec()), ..Listening::default() };
    let mut listener = Listener::open(&listening, START).unwrap();
    let few = 64;
    setrlimit(Resource::RLIMIT_NOFILE, few, few).unwrap();
    let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(hoard.len() > 10 && File::open("/dev/null").is_err());
    println!("starved");
    let ready = |listener: &Listener| {
        let mut entry = [PollFd::new(listener.descriptors()[0], PollFlags::POLLIN)];
        assert!(poll(&mut entry, PollTimeout::from(20_000u16)).unwrap() > 0, "nothing came");
    };
    let mut seen = 0;
    while seen < 50 {
        ready(&listener);
        seen += listener.drain(START, 256, |contact| {
            assert_eq!(contact.target.port, 111);
            Reply::Banner
        });
        listener.tick(START);
    }
    let counts = listener.counts();
    assert!(counts.accepted == 50 && counts.out_of_descriptors > 0, "{counts:?}");
    assert_eq!(counts.banners.sent, 50);
    assert_eq!(listener.take_notices(), [Notice::OutOfDescriptors]);

    // When not even the spare one can be had it rests, instead of trying in vain all the time, and goes on.
    println!("seen 50");
    ready(&listener);
    setrlimit(Resource::RLIMIT_NOFILE, 0, few).unwrap();
    assert_eq!(listener.drain(START, 256, |_| Reply::Banner), 0);
    assert!(listener.descriptors().is_empty());
    let rested = listener.next_timeout();
    assert!(rested > START && rested < later(1));
    assert_eq!(listener.drain(START, 256, |_| Reply::Banner), 0);
    setrlimit(Resource::RLIMIT_NOFILE, few, few).unwrap();
    assert_eq!(listener.drain(rested, 256, |_| Reply::Banner), 1);

    drop(hoard);
    listener.tick(later(9));
    assert_eq!(listener.take_notices(), []);
    listener.tick(later(11));
    assert_eq!(listener.take_notices(), [Notice::DescriptorsAgain]);
}
