//! Measures how long a packet takes to reach us, and what it costs, with version 2 and version 3 of the packet ring.
//!
//! `cargo run --release -p portcullis-sys --example ring_versions` makes two namespaces joined by veth. One thread
//! sends UDP with the sending time inside; another waits in poll(2) and reads the ring. First 2,000 packets 1.3 ms
//! apart (latency), then a burst as fast as one core sends (CPU time of the reading thread). The numbers that decided
//! are in `docs/decisions/0002-packet-ring.md`.

#![expect(clippy::unwrap_used, reason = "a measurement fails where it stands")]

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use portcullis_core::net::PortSet;
use portcullis_sys::filter::{FilterSpec, InterfaceChoice, Program};
use portcullis_sys::ring::{Ring, RingOptions};
use portcullis_sys::wake::{Pace, Pause, Poller};
use testbed::Lab;

const PORT: u16 = 4000;
const QUIET: usize = 2000;
const BURST: usize = 1_000_000;

fn main() {
    let Some(lab) = Lab::direct() else { return };
    // A socket that takes the datagrams and is never read: no ICMP errors go back.
    let _sink = lab.victim.enter(|| UdpSocket::bind((lab.victim4(), PORT)).unwrap());
    println!("| ring | latency median / p99, µs | CPU of the reader, µs a packet | received of {BURST} |");
    println!("|---|---|---|---|");
    for (name, is_napping) in [("V2, a wake-up per packet", false), ("V2, napping in bursts", true)] {
        let spec = FilterSpec {
            tcp: PortSet::default(),
            udp: PortSet::from_ranges([(PORT, PORT)]),
            interfaces: InterfaceChoice::AllBut(vec![1]),
            muted_udp: Vec::new(),
            heard_tcp: PortSet::default(),
            heard_udp: PortSet::default(),
            acks: PortSet::default(),
            all_protocols_but: None,
            pings: false,
            networks: Vec::new(),
        };
        let ring = || Ring::open(&RingOptions::default(), &Program::compile(&spec)).unwrap();
        let mut version_2 = Version2 { ring: lab.victim.enter(ring), is_napping };
        measure(name, &lab, &mut version_2);
    }
    measure("V3, blocks of 1 MiB, timer 1 ms", &lab, &mut lab.victim.enter(|| Version3::open(1 << 20)));
    measure("V3, blocks of 64 KiB, timer 1 ms", &lab, &mut lab.victim.enter(|| Version3::open(1 << 16)));
}

/// A way of reading packets as they come.
trait Tap: Send {
    fn descriptor(&self) -> BorrowedFd<'_>;
    /// Gives the content of all datagrams that wait.
    fn drain(&mut self, look: &mut dyn FnMut(&[u8])) -> usize;
    fn pause(&self, pace: &mut Pace, count: usize) -> Pause;
}

fn measure(name: &str, lab: &Lab, tap: &mut dyn Tap) {
    let (mut latencies, _) = run(lab, tap, QUIET, Some(Duration::from_micros(1300)));
    latencies.sort_unstable();
    let (received, cpu) = run(lab, tap, BURST, None);
    let count = received.len();
    println!(
        "| {name} | {:.0} / {:.0} | {:.2} | {count} |",
        micros(latencies[latencies.len() / 2]),
        micros(latencies[latencies.len() * 99 / 100]),
        micros(cpu) / count as f64,
    );
}

fn micros(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

/// Sends `count` packets and returns the time each one took that came, and the reader's CPU time, in nanoseconds.
fn run(lab: &Lab, tap: &mut dyn Tap, count: usize, gap: Option<Duration>) -> (Vec<u64>, u64) {
    let socket = lab.attacker.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let target: (Ipv4Addr, u16) = (lab.victim4(), PORT);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read(tap, count));
        for _ in 0..count {
            socket.send_to(&clock(libc::CLOCK_MONOTONIC).to_ne_bytes(), target).unwrap();
            if let Some(gap) = gap {
                std::thread::sleep(gap);
            }
        }
        reader.join().unwrap()
    })
}

fn read(tap: &mut dyn Tap, count: usize) -> (Vec<u64>, u64) {
    let mut poller = Poller::new().unwrap();
    let mut pace = Pace::default();
    let mut latencies = Vec::with_capacity(count);
    let before = clock(libc::CLOCK_THREAD_CPUTIME_ID);
    while latencies.len() < count {
        // A second of silence: the rest was lost.
        if !poller.wait(&[tap.descriptor()], Some(Duration::from_secs(1))).unwrap().is_ready(0) {
            break;
        }
        loop {
            let drained = tap.drain(&mut |content| {
                let sent = u64::from_ne_bytes(content[28..36].try_into().unwrap());
                latencies.push(clock(libc::CLOCK_MONOTONIC) - sent);
            });
            match tap.pause(&mut pace, drained) {
                Pause::UntilReady => break,
                Pause::Nap(nap) => {
                    poller.wait(&[], Some(nap)).unwrap();
                }
            }
        }
    }
    (latencies, clock(libc::CLOCK_THREAD_CPUTIME_ID) - before)
}

fn clock(which: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that the call fills.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

struct Version2 {
    ring: Ring,
    is_napping: bool,
}

impl Tap for Version2 {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    fn drain(&mut self, look: &mut dyn FnMut(&[u8])) -> usize {
        self.ring.drain(4096, |captured| look(captured.frame.bytes))
    }

    fn pause(&self, pace: &mut Pace, count: usize) -> Pause {
        if self.is_napping { pace.after_drain(count) } else { Pause::UntilReady }
    }
}

/// As small as can be, and only for this measurement: 16 MiB, never unmapped.
struct Version3 {
    socket: OwnedFd,
    blocks: *mut u8,
    block_size: usize,
    next: usize,
}

const RING_SIZE: usize = 16 << 20;

// SAFETY: the mapping belongs to the process and is reached only through this value.
unsafe impl Send for Version3 {}

impl Version3 {
    fn open(block_size: usize) -> Version3 {
        let option = |socket: &OwnedFd, name, value: *const libc::c_void, size: usize| {
            // SAFETY: every caller below passes a live value and its size.
            let result =
                unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, name, value, size as u32) };
            assert_eq!(result, 0);
        };
        let protocol = (libc::ETH_P_IP as u16).to_be();
        // SAFETY: no pointers are passed, and nobody else owns the new descriptor.
        let socket = unsafe {
            OwnedFd::from_raw_fd(libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM, i32::from(protocol)))
        };
        let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
        option(&socket, libc::PACKET_VERSION, (&raw const version).cast(), 4);
        let request = libc::tpacket_req3 {
            tp_block_size: block_size as u32,
            tp_block_nr: (RING_SIZE / block_size) as u32,
            tp_frame_size: 512,
            tp_frame_nr: (RING_SIZE / 512) as u32,
            tp_retire_blk_tov: 1,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        option(&socket, libc::PACKET_RX_RING, (&raw const request).cast(), size_of_val(&request));
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choosing.
        let blocks = unsafe {
            libc::mmap(std::ptr::null_mut(), RING_SIZE, access, libc::MAP_SHARED, socket.as_raw_fd(), 0)
        };
        assert_ne!(blocks, libc::MAP_FAILED);
        Version3 { socket, blocks: blocks.cast(), block_size, next: 0 }
    }
}

impl Tap for Version3 {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn drain(&mut self, look: &mut dyn FnMut(&[u8])) -> usize {
        let mut count = 0;
        loop {
            // SAFETY: `next` stays below the number of blocks; a block begins with its description, and between
            // the acquire and the release it is ours; packets lie where the kernel says, within the block.
            unsafe {
                let block = self.blocks.add(self.next * self.block_size);
                let about = &raw mut (*block.cast::<libc::tpacket_block_desc>()).hdr.bh1;
                let status = AtomicU32::from_ptr(&raw mut (*about).block_status);
                if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                    return count;
                }
                let mut packet = block.add((*about).offset_to_first_pkt as usize);
                for _ in 0..(*about).num_pkts {
                    let header = packet.cast::<libc::tpacket3_hdr>().read();
                    look(std::slice::from_raw_parts(
                        packet.add(usize::from(header.tp_mac)),
                        header.tp_snaplen as usize,
                    ));
                    packet = packet.add(header.tp_next_offset as usize);
                    count += 1;
                }
                status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
            }
            self.next = (self.next + 1) % (RING_SIZE / self.block_size);
        }
    }

    fn pause(&self, _: &mut Pace, _: usize) -> Pause {
        Pause::UntilReady
    }
}
