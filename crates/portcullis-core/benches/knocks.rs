//! What a knock costs the engine, of whatever kind: `cargo bench -p portcullis-core --bench knocks`. A million knocks, right
//! and wrong ones, random and damaged, at doors of every kind that a sequence opens, from few and from many sources. Prints
//! `NANOSECONDS ns: WHAT`, and how many took longer than 50 µs each time that the same million was gone through: none should.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock; the core is told the time")]

#[path = "../../../fuzz/src/doors.rs"]
#[expect(dead_code, reason = "its body runs among the tests")]
mod body;

use std::time::{Duration, Instant};

use portcullis_core::event::Action;
use portcullis_core::wire::build;

/// Knocks.
const KNOCKS: usize = 1_000_000;
/// The same million so often, each time with a new engine: whoever takes the processor away hardly does it at the same
/// knock each time.
const PASSES: usize = 5;
/// What no knock should cost.
const LIMIT: Duration = Duration::from_micros(50);

fn main() {
    let mut best = vec![u32::MAX; KNOCKS];
    let mut fastest = Duration::MAX;
    for _ in 0..PASSES {
        fastest = fastest.min(pass(&mut best));
    }
    let slowest = Duration::from_nanos(best.iter().copied().max().unwrap_or_default().into());
    println!("{} ns: a knock at doors of every kind, mean", fastest.as_nanos() / KNOCKS as u128);
    println!("{} ns: the slowest of {KNOCKS} random and damaged knocks", slowest.as_nanos());
    let over = best.iter().filter(|took| Duration::from_nanos(u64::from(**took)) > LIMIT).count();
    println!("{over} of them took longer than {LIMIT:?} each time");
}

/// Goes through all of them once; how long the engine took in all.
fn pass(best: &mut [u32]) -> Duration {
    let (mut engine, mut now) = body::engine();
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        // xorshift64: the same knocks in each pass.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut total = Duration::ZERO;
    for best in best {
        let (one, other) = (next(), next());
        let frame = knock(one, other);
        now = now.later(Duration::from_micros(one % 2000));
        let start = Instant::now();
        body::hear(&mut engine, now, &frame);
        engine.tick(now, &mut body::Nothing);
        let took = start.elapsed();
        total += took;
        *best = (*best).min(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
        while let Some(action) = engine.poll_action() {
            answer(&mut engine, now, action);
        }
    }
    total
}

/// One packet: mostly to the few ports of the doors, of which one in eight is damaged and one in eight is noise.
fn knock(one: u64, other: u64) -> Vec<u8> {
    let source = match one >> 8 & 3 {
        // Few who get far, and many who don't.
        0..=2 => u32::from_be_bytes([198, 51, 100, (one >> 16 & 7) as u8]),
        _ => 0x0b00_0000 | (one >> 16 & 0xf_ffff) as u32,
    };
    let source = std::net::Ipv4Addr::from(source).to_string();
    let port = match other & 7 {
        0 => (other >> 8) as u16,
        1 => 1 + (other >> 8 & 0x3ff) as u16,
        _ => 1 + (other >> 8 & 3) as u16,
    };
    let flags = [2_u8, 2, 2, 2, 0x12, 0x10, 4, 1][(other >> 32 & 7) as usize];
    let packet = match other >> 40 & 3 {
        0 => build::ip(&*source, "192.0.2.2", build::udp(9, port, &[0])),
        _ => {
            let segment = build::tcp(9, port, flags).sequence((other >> 44) as u32);
            build::ip(&*source, "192.0.2.2", segment)
        }
    };
    let mut bytes = packet.bytes();
    match one >> 40 & 7 {
        0 => {
            let at = (one >> 44) as usize % bytes.len();
            bytes[at] ^= (one >> 56) as u8;
        }
        1 => bytes = [one, other, one ^ other].iter().flat_map(|word| word.to_le_bytes()).collect(),
        _ => {}
    }
    bytes
}

/// As the program would: everything is done.
fn answer(engine: &mut portcullis_core::engine::Engine, now: portcullis_core::time::Now, action: Action) {
    match action {
        Action::Open { door, address, .. } | Action::Shut { door, address, .. } => {
            engine.door_answered(now, door, address, Ok(()));
        }
        Action::Spend { door, which, .. } => engine.spent(now, door, which, true),
        Action::Enforce(blocks) => {
            let answers: Vec<_> = blocks.iter().map(|block| (block.prefix(), Ok(()))).collect();
            engine.enforced(now, &answers);
        }
        Action::Release(prefixes) => engine.released(now, &prefixes, true),
        _ => {}
    }
}
