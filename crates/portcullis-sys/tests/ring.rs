//! The packet ring and its filter against real traffic, in namespaces of the test's own.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use portcullis_core::net::PortSet;
use portcullis_core::wire::{Checksums, Link, TcpFlags};
use portcullis_sys::capabilities::{self, Capability};
use portcullis_sys::filter::{Coverage, FilterSpec, InterfaceChoice, LONGEST_PROGRAM, Program};
use portcullis_sys::ring::{Ring, RingError, RingOptions, Statistics};
use portcullis_sys::wake::Poller;
use portcullis_sys::{clock, filter};
use testbed::{Lab, Namespace};

const DEADLINE: Duration = Duration::from_secs(20);

/// A UDP port that tells the test "everything sent before has arrived".
const MARK: u16 = 65_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    interface: u32,
    protocol: u8,
    port: u16,
    flags: u8,
}

fn spec(tcp: &str, udp: &str) -> FilterSpec {
    let udp: PortSet = udp.parse().unwrap();
    let with_mark = udp.ranges().iter().copied().chain([(MARK, MARK)]);
    FilterSpec {
        tcp: tcp.parse().unwrap(),
        udp: PortSet::from_ranges(with_mark),
        interfaces: InterfaceChoice::AllBut(vec![1]),
        muted_udp: Vec::new(),
        heard_tcp: PortSet::default(),
        heard_udp: PortSet::default(),
        acks: PortSet::default(),
        all_protocols_but: None,
        pings: false,
        networks: Vec::new(),
    }
}

fn open(victim: &Namespace, spec: &FilterSpec) -> Ring {
    victim.enter(|| {
        Ring::open(&RingOptions { mebibytes: 1, ..RingOptions::default() }, &Program::compile(spec)).unwrap()
    })
}

/// Marks the end of what was sent, and reads the ring up to there.
fn read_all(lab: &Lab, ring: &mut Ring) -> Vec<Seen> {
    send_udp(lab, MARK, 1);
    let mut poller = Poller::new().unwrap();
    let (mut seen, mut is_complete) = (Vec::new(), false);
    let begin = Instant::now();
    while !is_complete {
        assert!(begin.elapsed() < DEADLINE, "the mark never came; seen {seen:?}");
        poller.wait(&[ring.as_fd()], Some(DEADLINE)).unwrap();
        ring.drain(usize::MAX, |captured| {
            let bytes = captured.frame.bytes;
            assert_eq!(captured.frame.link, Link::Network { ethertype: 0x0800 });
            let transport = &bytes[usize::from(bytes[0] & 15) * 4..];
            let port = u16::from_be_bytes([transport[2], transport[3]]);
            let flags = if bytes[9] == 6 { transport[13] } else { 0 };
            is_complete = bytes[9] == 17 && port == MARK;
            if !is_complete {
                seen.push(Seen { interface: captured.interface, protocol: bytes[9], port, flags });
            }
        });
    }
    seen
}

fn send_udp(lab: &Lab, port: u16, times: usize) {
    let socket = lab.attacker.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    for _ in 0..times {
        assert_eq!(socket.send_to(b"hello", (lab.victim4(), port)).unwrap(), 5);
    }
}

#[test]
fn every_probe_of_a_real_scan_is_seen() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let mut ring = open(&lab.victim, &spec("all", "none"));
    lab.attacker.run(&["nmap", "-n", "-Pn", "-sS", "-p", "1-200", &lab.victim4().to_string()]);
    let seen = read_all(&lab, &mut ring);
    assert!(seen.iter().all(|probe| probe.protocol == 6 && probe.flags == TcpFlags::SYN), "{seen:?}");
    let ports: BTreeSet<u16> = seen.iter().map(|probe| probe.port).collect();
    assert_eq!(ports, (1..=200).collect());
    assert_eq!(ring.statistics().unwrap(), Statistics { received: seen.len() as u64 + 1, dropped: 0 });
    assert_eq!((ring.size(), ring.slots()), (1024 * 1024, 2048));
}

#[test]
fn a_connection_shows_its_beginning_and_end_and_nothing_between() {
    let Some(lab) = Lab::direct() else { return };
    let mut ring = open(&lab.victim, &spec("all", "none"));
    let listener = lab.victim.enter(|| TcpListener::bind((lab.victim4(), 8080)).unwrap());
    let mut client = lab.attacker.enter(|| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    let (mut server, _) = listener.accept().unwrap();
    let echo = std::thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        loop {
            match server.read(&mut buffer).unwrap() {
                0 => return,
                count => server.write_all(&buffer[..count]).unwrap(),
            }
        }
    });
    let mut answer = vec![0; 65536];
    for _ in 0..200 {
        client.write_all(&[7; 65536]).unwrap();
        client.read_exact(&mut answer).unwrap();
    }
    drop(client);
    echo.join().unwrap();
    let flags: Vec<u8> = read_all(&lab, &mut ring).iter().map(|seen| seen.flags).collect();
    assert_eq!(flags, [TcpFlags::SYN, TcpFlags::FIN | TcpFlags::ACK]);
}

#[test]
fn what_this_host_sends_and_what_stays_inside_is_not_seen() {
    let Some(lab) = Lab::direct() else { return };
    let mut ring = open(&lab.victim, &spec("all", "all"));
    let socket = lab.victim.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.send_to(b"out", (lab.attacker4(), 9)).unwrap();
    socket.send_to(b"inside", ("127.0.0.1", 9)).unwrap();
    socket.send_to(b"inside", (lab.victim4(), 9)).unwrap();
    assert_eq!(read_all(&lab, &mut ring), []);
}

#[test]
fn an_interface_that_comes_back_is_seen_without_opening_anew() {
    let Some(lab) = Lab::direct() else { return };
    let mut ring = open(&lab.victim, &spec("none", "9"));
    send_udp(&lab, 9, 1);
    let before = read_all(&lab, &mut ring);
    lab.victim.ip("link set eth0 down\nlink delete eth0\n");
    ring.take_error().unwrap();
    lab.victim.ip("link add filler type veth peer name other\n"); // so that the next index is another one
    lab.attacker.join("eth0", &lab.victim, "eth0");
    lab.attacker.add_address("eth0", "10.77.0.1/24");
    lab.victim.add_address("eth0", "10.77.0.2/24");
    send_udp(&lab, 9, 1);
    let after = read_all(&lab, &mut ring);
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before[0].interface, after[0].interface);
}

#[test]
fn packets_without_room_are_counted() {
    let Some(lab) = Lab::direct() else { return };
    let mut ring = open(&lab.victim, &spec("none", "9"));
    send_udp(&lab, 9, 3000);
    let full = testbed::wait_until(DEADLINE, "3,000 packets counted", || {
        let now = ring.statistics().unwrap();
        (now.received + now.dropped == 3000).then_some(now)
    });
    assert_eq!(full, Statistics { received: 2048, dropped: 952 });
    assert_eq!(ring.statistics().unwrap(), full, "the kernel's own counter begins anew, ours doesn't");
    assert_eq!(ring.drain(48, |_| {}), 48);
    assert_eq!(ring.drain(usize::MAX, |_| {}), 2000);
    // With room again it goes on, round the end of the ring as well.
    for _ in 0..3 {
        send_udp(&lab, 9, 1000);
        assert_eq!(read_all(&lab, &mut ring).len(), 1000);
    }
    assert_eq!(ring.statistics().unwrap(), Statistics { received: 2048 + 3003, dropped: 952 });
}

#[test]
fn another_filter_takes_over_at_run_time() {
    let Some(lab) = Lab::direct() else { return };
    let mut ring = open(&lab.victim, &spec("none", "9"));
    send_udp(&lab, 9, 2);
    send_udp(&lab, 10, 2);
    assert_eq!(read_all(&lab, &mut ring).iter().map(|seen| seen.port).collect::<Vec<_>>(), [9, 9]);
    ring.set_filter(&Program::compile(&FilterSpec { muted_udp: vec![9], ..spec("none", "9-10") })).unwrap();
    send_udp(&lab, 9, 2);
    send_udp(&lab, 10, 2);
    assert_eq!(read_all(&lab, &mut ring).iter().map(|seen| seen.port).collect::<Vec<_>>(), [10, 10]);
}

/// Sends frames that no socket of ours would make, from the attacker's `eth0`.
fn send_raw(lab: &Lab, frames: &[Vec<u8>]) {
    lab.attacker.enter(|| {
        // SAFETY: no pointers are passed, and nobody else owns the new descriptor.
        let socket = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)) };
        // SAFETY: all bytes zero is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        // SAFETY: a constant text that ends with 0.
        address.sll_ifindex = unsafe { libc::if_nametoindex(c"eth0".as_ptr()) } as i32;
        for frame in frames {
            // SAFETY: `frame` and `address` are live and of the lengths given.
            let sent = unsafe {
                libc::sendto(
                    socket.as_raw_fd(),
                    frame.as_ptr().cast(),
                    frame.len(),
                    0,
                    (&raw const address).cast(),
                    size_of_val(&address) as u32,
                )
            };
            assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
        }
    });
}

#[test]
fn a_packet_of_a_vlan_is_left_to_the_vlans_own_interface() {
    let Some(lab) = Lab::direct() else { return };
    let mut ring = open(&lab.victim, &spec("22", "none"));
    let about = String::from_utf8(lab.victim.run(&["ip", "-br", "link", "show", "eth0"]).stdout).unwrap();
    let address: Vec<u8> = about
        .split_whitespace()
        .find(|word| word.len() == 17 && word.matches(':').count() == 5)
        .map(|word| word.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect())
        .unwrap();
    let frame = |tags: &[[u8; 4]], source_port: u8| {
        let mut frame = [&address[..], &[2, 0, 0, 0, 0, 9]].concat();
        frame.extend(tags.concat());
        frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2]);
        frame.extend([0, source_port, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, TcpFlags::SYN, 4, 0, 0, 0, 0, 0]);
        frame
    };
    let (vlan_5, priority_only, service_5) = ([0x81, 0, 0, 5], [0x81, 0, 0xe0, 0], [0x88, 0xa8, 0, 5]);
    send_raw(
        &lab,
        &[frame(&[], 1), frame(&[vlan_5], 2), frame(&[priority_only], 3), frame(&[service_5, vlan_5], 4)],
    );
    send_udp(&lab, MARK, 1);
    let mut poller = Poller::new().unwrap();
    let mut source_ports = Vec::new();
    while source_ports.last() != Some(&None) {
        assert!(poller.wait(&[ring.as_fd()], Some(DEADLINE)).unwrap().is_ready(0), "{source_ports:?}");
        ring.drain(usize::MAX, |captured| {
            let bytes = captured.frame.bytes;
            source_ports.push((bytes[9] == 6).then(|| bytes[21]));
        });
    }
    assert_eq!(source_ports, [Some(1), Some(3), None]);
}

#[test]
fn a_frame_says_when_and_how_long_and_what_its_checksum_is_worth() {
    let Some(lab) = Lab::direct() else { return };
    let mut ring = open(&lab.victim, &spec("none", "9"));
    let before = clock::now().wall;
    let socket = lab.attacker.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.send_to(&[7; 1000], (lab.victim4(), 9)).unwrap();
    let mut poller = Poller::new().unwrap();
    assert!(poller.wait(&[ring.as_fd()], Some(DEADLINE)).unwrap().is_ready(0));
    let mut count = 0;
    ring.drain(10, |captured| {
        count += 1;
        assert!(before <= captured.time && captured.time <= clock::now().wall);
        assert_eq!(captured.frame.wire_length, 20 + 8 + 1000);
        assert_eq!(captured.frame.bytes.len(), filter::SNAP_LENGTH as usize);
        assert!(captured.frame.bytes[28..].iter().all(|byte| *byte == 7));
        assert_eq!(captured.frame.checksums, Checksums::Unfinished, "veth crosses no wire");
    });
    assert_eq!(count, 1);
}

#[test]
fn the_longest_single_packet_arrives_whole_where_it_is_heard() {
    let Some(lab) = Lab::direct() else { return };
    let heard =
        FilterSpec { heard_udp: "62201".parse().unwrap(), muted_udp: vec![62201], ..spec("none", "9") };
    let options = RingOptions { mebibytes: 1, is_for_whole_packets: true };
    let mut ring = lab.victim.enter(|| Ring::open(&options, &Program::compile(&heard)).unwrap());
    assert_eq!(ring.slots(), 512);
    let mut poller = Poller::new().unwrap();
    // 1,500 bytes with their headers.
    for (any, to, headers) in [
        ("0.0.0.0:0", std::net::IpAddr::from(lab.victim4()), 20 + 8),
        ("[::]:0", lab.victim6().into(), 40 + 8),
    ] {
        let payload: Vec<u8> = (0..1500 - headers).map(|index| (index % 251) as u8).collect();
        let socket = lab.attacker.enter(|| UdpSocket::bind(any).unwrap());
        socket.send_to(&payload, (to, 62201)).unwrap();
        assert!(poller.wait(&[ring.as_fd()], Some(DEADLINE)).unwrap().is_ready(0));
        let mut count = 0;
        ring.drain(10, |captured| {
            count += 1;
            assert_eq!((captured.frame.wire_length, captured.frame.bytes.len()), (1500, 1500));
            assert_eq!(captured.frame.bytes[headers..], payload);
        });
        assert_eq!(count, 1);
    }
}

#[test]
fn every_segment_to_a_heard_port_is_seen_also_on_its_way_to_another_host() {
    let Some(lab) = Lab::direct() else { return };
    let heard = FilterSpec { heard_tcp: "7000".parse().unwrap(), ..spec("1-1024", "none") };
    let mut ring = open(&lab.victim, &heard);
    let listeners =
        [7000, 80].map(|port| lab.victim.enter(|| TcpListener::bind((lab.victim4(), port)).unwrap()));
    for listener in &listeners {
        let client = lab.attacker.enter(|| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let (mut server, _) = listener.accept().unwrap();
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }
    let seen = read_all(&lab, &mut ring);
    let of = |port: u16| -> Vec<u8> {
        seen.iter().filter(|seen| seen.port == port).map(|seen| seen.flags).collect()
    };
    let (syn, ack, fin) = (TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN | TcpFlags::ACK);
    assert_eq!(of(7000)[..3], [syn, ack, fin]);
    assert_eq!(of(80), [syn, fin]);
    // As knockd's Target wants it: what is routed through us comes to our link address.
    lab.attacker.ip("route add 10.99.0.0/24 via 10.77.0.2\n");
    let socket = lab
        .attacker
        .enter(|| TcpStream::connect_timeout(&"10.99.0.9:7000".parse().unwrap(), Duration::from_millis(100)));
    assert!(socket.is_err());
    assert_eq!(read_all(&lab, &mut ring)[0].port, 7000);
}

#[test]
fn a_kernel_with_little_option_memory_gets_a_coarser_filter() {
    let Some(lab) = Lab::direct() else { return };
    let limit = "/proc/sys/net/core/optmem_max";
    let is_per_namespace = lab.victim.enter(|| std::fs::write(limit, "20480").is_ok());
    if !is_per_namespace {
        eprintln!("skipped: {limit} belongs to the whole machine before Linux 6.8");
        return;
    }
    let ports = PortSet::from_ranges((0..1500u16).map(|index| (index * 40, index * 40)));
    let fine = FilterSpec { tcp: ports, ..spec("none", "9") };
    let program = Program::compile(&fine);
    assert_eq!(program.coverage(), Coverage::Exact);
    let mut ring = open(&lab.victim, &fine);
    assert_eq!(ring.program().coverage(), Coverage::Coarse);
    assert!(ring.program().length() < program.length() && program.length() < LONGEST_PROGRAM);
    send_udp(&lab, 9, 1);
    assert_eq!(read_all(&lab, &mut ring).len(), 1);
}

#[test]
fn without_the_right_to_capture_the_error_says_so() {
    let Some(lab) = Lab::direct() else { return };
    let program = Program::compile(&spec("all", "all"));
    let (may_capture, result) = lab.victim.enter(|| {
        // SAFETY: no pointers are passed. The raw call changes this thread alone, which ends with the closure.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(result, 0);
        (capabilities::has(Capability::NetRaw).unwrap(), Ring::open(&RingOptions::default(), &program))
    });
    assert!(!may_capture);
    assert!(matches!(result, Err(RingError::NotPermitted(_))), "{result:?}");
}

#[test]
fn a_size_out_of_bounds_is_refused() {
    let program = Program::compile(&spec("all", "all"));
    for mebibytes in [0, 1025] {
        let refused = Ring::open(&RingOptions { mebibytes, ..RingOptions::default() }, &program);
        assert!(matches!(refused, Err(RingError::Size(size)) if size == mebibytes));
    }
}
