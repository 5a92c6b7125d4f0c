//! What a packet costs in the engine: `cargo bench -p portcullis-core --bench judge`. Prints `NANOSECONDS ns: WHAT`.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock; the engine is told the time")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use portcullis_core::engine::{Engine, Freshness, Host, Presence, Settings, View, answering};
use portcullis_core::event::{Action, Mode};
use portcullis_core::judge;
use portcullis_core::judge::trigger::{self, Rule};
use portcullis_core::ledger::Terms;
use portcullis_core::net::PortSet;
use portcullis_core::policy::{EPHEMERAL, Local, Surroundings};
use portcullis_core::scan::Contact;
use portcullis_core::scan::sources::Secret;
use portcullis_core::time::{Mono, Now, Wall};
use portcullis_core::wire::{Checksums, Frame, Link, build};

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
