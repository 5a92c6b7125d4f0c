//! What a packet costs in the engine: `cargo bench -p portcullis-core --bench judge`. Prints `NANOSECONDS ns: WHAT`.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock; the engine is told the time")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use portcullis_core::engine::{Engine, Freshness, Host, Presence, Settings, View, answering};
use portcullis_core::event::{Action, Kind, Mode};
use portcullis_core::judge::evidence::{self, Timing};
use portcullis_core::judge::trigger::{self, Rule};
use portcullis_core::judge::{self, Verdict};
use portcullis_core::ledger::Terms;
use portcullis_core::net::{Endpoint, PortSet, Prefix, Protocol};
use portcullis_core::policy::{EPHEMERAL, Local, Surroundings};
use portcullis_core::scan::sources::Secret;
use portcullis_core::scan::{Contact, Fingerprint, Probe, Weight};
use portcullis_core::time::{Mono, Now, Wall};
use portcullis_core::wire::{Checksums, Frame, Link, TcpFlags, build};

/// Each figure is the best of so many passes: what disturbs can only make it slower.
const PASSES: usize = 5;

/// Packets of a pass; more sources than the table of suspects holds.
const PACKETS: u32 = 200_000;

const VICTIM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A host without services, which answers at once.
struct Bare;

impl Host for Bare {
    fn presence(&mut self, _: &Contact, _: Freshness) -> Presence {
        Presence::Nothing
    }
}

fn main() {
    let far = |number: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number));
    let six = |number: u32| IpAddr::from(Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number) << 64));
    measure_judge("judged: unknown sources", &|n| probe(n, far(n), 40_000, Kind::Syn, 23, Weight::Firm));
    measure_judge("judged: 1,000 sources at one port each, again and again", &|n| {
        probe(n, far(n % 1000), n as u16, Kind::Syn, 23, Weight::Firm)
    });
    measure_judge("judged: 1,000 sources that go on after their verdict", &|n| {
        probe(n, far(n % 1000), 40_000, Kind::Syn, (n / 1000 + 1) as u16, Weight::Firm)
    });
    measure_judge("judged, made up to be slow: full memory of each source, IPv6, many doubts", &|n| {
        probe(n, six(n % 1000), n as u16, Kind::Udp, 33_690 + (n / 1000) as u16, Weight::Doubtful)
    });
    measure_judge("judged, made up to be slow: full memory, a new address of ours each time", &|n| {
        let plain = probe(n, six(n % 1000), n as u16, Kind::Syn, 6881, Weight::Unanswered);
        let address = Ipv6Addr::from(u128::from(n) << 80).into();
        let target = Endpoint { address, ..plain.contact.target };
        Probe { contact: Contact { target, ..plain.contact }, ..plain }
    });
    flood();
    let source = |number: u32| Ipv4Addr::from(0x0a00_0000 + number);
    let measure = |what: &str, mode, packet: &dyn Fn(u32) -> (Ipv4Addr, u16)| {
        let frames: Vec<Vec<u8>> = (0..PACKETS)
            .map(|number| {
                let (from, port) = packet(number);
                build::ip(from, VICTIM, build::tcp(40_000, port, 0x02)).bytes()
            })
            .collect();
        let best = (0..PASSES).map(|_| pass(mode, &frames)).min().unwrap_or_default();
        println!("{} ns: {what}", best.as_nanos() / u128::from(PACKETS));
    };
    measure("SYNs of unknown sources", Mode::Observe, &|number| (source(number), 23));
    measure("SYNs of 1,000 known sources below the trigger", Mode::Observe, &|number| {
        (source(number % 1000), 23)
    });
    measure("a scan that goes on, observing", Mode::Observe, &|number| {
        (source(0), (number % 60_000 + 1) as u16)
    });
    measure("a banned source", Mode::Enforce, &|number| (source(0), (number % 60_000 + 1) as u16));
    measure("scanners of five ports each, up to the ban", Mode::Enforce, &|number| {
        (source(number / 5), (number % 5 + 1) as u16)
    });
}

/// The judge alone, without wire, engine and host. Each figure is of batches, so that reading the clock costs nothing; the
/// median of all batches, and the slowest hundredth.
fn measure_judge(what: &str, probe: &dyn Fn(u32) -> Probe) {
    let mut judge = evidence().judge(Timing::Live, Secret([7; 16]));
    let probes: Vec<Probe> = (0..PACKETS).map(probe).collect();
    let mut batches: Vec<Duration> = probes
        .chunks(BATCH)
        .map(|batch| {
            let start = Instant::now();
            for probe in batch {
                black_box(judge.weigh(Prefix::single(probe.contact.source), probe) == Verdict::Scanner);
            }
            start.elapsed() / BATCH as u32
        })
        .collect();
    batches.sort_unstable();
    println!("{} ns: {what}, median", batches[batches.len() / 2].as_nanos());
    println!("{} ns: {what}, slowest of a hundred", batches[batches.len() * 99 / 100].as_nanos());
}

/// Probes of a batch.
const BATCH: usize = 50;

fn evidence() -> judge::Settings {
    judge::Settings::Evidence(evidence::Settings::default())
}

fn probe(at: u32, source: IpAddr, source_port: u16, kind: Kind, port: u16, weight: Weight) -> Probe {
    let protocol = if kind == Kind::Udp { Protocol::Udp } else { Protocol::Tcp };
    let address = if source.is_ipv4() { VICTIM.into() } else { Ipv6Addr::LOCALHOST.into() };
    let contact = Contact {
        source,
        source_port,
        target: Endpoint { protocol, address, port },
        kind,
        flags: TcpFlags::default(),
        has_ip_options: false,
        is_cut_up: false,
        fingerprint: Fingerprint::default(),
        interface: 2,
    };
    Probe { contact, at: Now::default().later(Duration::from_micros(at.into())), weight, mark: None }
}

/// A slow scanner who had shown three ports, then ten million forged sources with two each, then his fourth to seventh.
fn flood() {
    let mut judge = evidence().judge(Timing::Live, Secret([7; 16]));
    let scanner: IpAddr = Ipv4Addr::new(198, 51, 100, 7).into();
    let syn = |at, source, port| probe(at, source, 40_000, Kind::Syn, port, Weight::Firm);
    let mut weigh = |probe: &Probe| judge.weigh(Prefix::single(probe.contact.source), probe);
    assert!((21..24).all(|port| weigh(&syn(0, scanner, port)) == Verdict::Open));
    let start = Instant::now();
    for number in 0..20_000_000u32 {
        let source = Ipv4Addr::from(0x0a00_0000 + number / 2);
        let _ = black_box(weigh(&syn(number, source.into(), 3389 + (number % 2) as u16)));
    }
    println!("{} ns: a probe of one of 10,000,000 forged sources", start.elapsed().as_nanos() / 20_000_000);
    let is_found = (6000..6004).any(|port| weigh(&syn(20_000_000, scanner, port)) == Verdict::Scanner);
    assert!(is_found, "the slow scanner was pushed out");
    let (kept, evicted) = judge.memory();
    println!("{kept} sources kept, {evicted} forgotten; the slow scanner was found");
}

fn pass(mode: Mode, frames: &[Vec<u8>]) -> Duration {
    let mut engine = engine(mode);
    let mut now = Now { mono: Mono(Duration::from_secs(1)), wall: Wall(Duration::from_secs(1_800_000_000)) };
    let start = Instant::now();
    for bytes in frames {
        now = now.later(Duration::from_micros(1));
        let link = Link::Network { ethertype: 0x0800 };
        let frame = Frame { link, bytes, wire_length: bytes.len(), checksums: Checksums::Verify };
        engine.frame(now, frame, 2, &mut Bare);
        while let Some(action) = engine.poll_action() {
            if let Action::Enforce(blocks) = &action {
                let answers: Vec<_> = blocks.iter().map(|block| (block.prefix(), Ok(()))).collect();
                engine.enforced(now, &answers);
            }
            black_box(action);
        }
    }
    start.elapsed()
}

fn engine(mode: Mode) -> Engine {
    let settings = Settings {
        tcp: PortSet::all(),
        udp: PortSet::all(),
        judge: judge::Settings::Trigger(trigger::Settings {
            rule: Rule::Ports(5),
            window: Duration::from_secs(60),
            sources: 32_768,
        }),
        mode,
        terms: Terms {
            first: Some(Duration::from_secs(600)),
            growth: 2.0,
            ceiling: Duration::from_secs(7200),
            memory: Duration::from_secs(86_400),
            hold: Duration::from_secs(60),
            hold_ceiling: Duration::from_secs(120),
        },
        answering: answering::Settings::default(),
        allow: Vec::new(),
        singly: None,
        doors: portcullis_core::door::Settings::default(),
    };
    let mut engine = Engine::new(settings, View::Live, Secret([7; 16]));
    let now = Now { mono: Mono(Duration::from_secs(1)), wall: Wall(Duration::from_secs(1_800_000_000)) };
    let surroundings = Surroundings {
        local: Local::Addresses(BTreeSet::from([VICTIM.into()])),
        connected: Vec::new(),
        friends: Vec::new(),
        trusted: Vec::new(),
        ephemeral: EPHEMERAL,
        protect: Vec::new(),
    };
    engine.surround(now, surroundings);
    engine
}
