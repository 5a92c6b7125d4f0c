//! What the chain of doors costs the packets of everybody else: nanoseconds a packet, and iperf3's throughput.
//!
//! `cargo run --release -p portcullis-sys --example doors_cost`, as root, with nft and iperf3. Two namespaces joined by
//! veth. The sender is bound to one CPU, whose queue the packets go through in their order: a last datagram that arrives
//! shows that all are through the chains. What comes behind those is cut off by a drop of everything else. With and
//! without doors take turns.

#![expect(clippy::unwrap_used, reason = "a measurement that fails is none")]

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use portcullis_core::net::PortSet;
use portcullis_sys::nftables::{DoorName, DoorRules, Doors, Mark, Nftables};
use testbed::Lab;

const DOORS: u16 = 32;
/// Many short ones: on a machine with other work only the best of them tell something.
const ROUNDS: usize = 100;
/// Fewer than a CPU's queue holds (`net.core.netdev_max_backlog`).
const PACKETS: u32 = 400;

fn main() {
    let lab = Lab::direct().expect("root, or a user namespace");
    let mut nftables = lab.victim.enter(|| Nftables::open("portcullis").unwrap());
    nftables.ensure().unwrap();
    println!("iperf3, Gbit/s, without and with {DOORS} doors:");
    for _ in 0..3 {
        let without = throughput(&lab);
        nftables.set_doors(doors(false), &[]).unwrap();
        let with = throughput(&lab);
        nftables.remove_doors().unwrap();
        println!("  {without:.1}  {with:.1}");
    }
    let cut = "table inet cut { chain c { type filter hook prerouting priority -290; \
               iifname eth0 udp dport != 9 drop; iifname eth0 meta l4proto tcp drop; }; }";
    lab.victim.run_with_input(&["nft", "-f", "-"], cut);
    let last = lab.victim.enter(|| UdpSocket::bind("10.77.0.2:9").unwrap());
    last.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    println!(
        "ns a packet, best twentieth of {ROUNDS} rounds: no doors, {DOORS} doors, {DOORS} doors with marks"
    );
    for (name, frame) in [
        ("TCP with ACK", frame(6, 443, 0x10)),
        ("SYN to another port", frame(6, 443, 0x02)),
        ("UDP to another port", frame(17, 443, 0)),
        ("SYN of a stranger to the last door", frame(6, 1000 + 2 * (DOORS - 1), 0x02)),
    ] {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for (index, times) in times.iter_mut().enumerate() {
                match index {
                    0 => nftables.remove_doors().unwrap(),
                    _ => nftables.set_doors(doors(index == 2), &[]).unwrap(),
                }
                times.push(send(&lab, &frame, &last));
            }
        }
        let [none, some, marked] = times.map(best);
        println!("  {name:<36} {none:>6.0} {some:>6.0} {marked:>6.0}");
    }
}

fn doors(are_marked: bool) -> Doors {
    let mark = are_marked.then(|| Mark::new(0x0200_0000).unwrap());
    let door = |index: u16| {
        let ports = |first: u16| PortSet::from_ranges([(first + 2 * index, first + 2 * index)]);
        let name = DoorName::new(&format!("door{index}")).unwrap();
        DoorRules { name, tcp: ports(1000), udp: ports(2000), mark }
    };
    Doors::new((0..DOORS).map(door).collect()).unwrap()
}

fn throughput(lab: &Lab) -> f64 {
    let mut server = lab.victim.start(&["iperf3", "-s", "-1", "--forceflush"]);
    server.wait_for_line(Duration::from_secs(10), |line| line.contains("listening"));
    let ran = lab.attacker.run(&["iperf3", "-c", "10.77.0.2", "-t", "3", "-f", "m", "-M", "1400"]).stdout;
    let text = String::from_utf8(ran).unwrap();
    let line = text.lines().find(|line| line.contains("receiver")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "Mbits/sec").unwrap();
    words[at - 1].parse::<f64>().unwrap() / 1000.0
}

fn best(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 20]
}

/// Nanoseconds a packet.
fn send(lab: &Lab, frame: &[u8], last: &UdpSocket) -> f64 {
    lab.attacker.enter(|| {
        // SAFETY: all bytes zero is a valid cpu_set_t, and CPU 0 lies within it.
        let cpus = unsafe {
            let mut cpus: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(0, &mut cpus);
            cpus
        };
        // SAFETY: `cpus` is live and of the size given; 0 is this thread, which ends with the closure.
        assert_eq!(unsafe { libc::sched_setaffinity(0, size_of_val(&cpus), &raw const cpus) }, 0);
        let ending = UdpSocket::bind("10.77.0.1:0").unwrap();
        // SAFETY: no pointers are passed, and nobody else owns the new descriptor.
        let socket = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)) };
        // SAFETY: all bytes zero is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        // SAFETY: a constant text that ends with 0.
        address.sll_ifindex = unsafe { libc::if_nametoindex(c"eth0".as_ptr()) } as i32;
        let begin = Instant::now();
        for _ in 0..PACKETS {
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
        ending.send_to(b"x", "10.77.0.2:9").unwrap();
        last.recv(&mut [0]).unwrap();
        begin.elapsed().as_nanos() as f64 / f64::from(PACKETS)
    })
}

/// An Ethernet frame from 10.77.0.1 to 10.77.0.2, without checksums of TCP and UDP: nobody looks at them.
fn frame(protocol: u8, port: u16, flags: u8) -> Vec<u8> {
    // To everybody, which goes through the same chains.
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 8, 0]);
    let mut header = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2];
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame.extend(header);
    let mut transport = [0; 20];
    transport[..2].copy_from_slice(&4000_u16.to_be_bytes());
    transport[2..4].copy_from_slice(&port.to_be_bytes());
    // UDP: the length; TCP: a part of its number.
    transport[4..6].copy_from_slice(&20_u16.to_be_bytes());
    if protocol == 6 {
        transport[12..14].copy_from_slice(&[0x50, flags]);
    }
    frame.extend(transport);
    frame
}
