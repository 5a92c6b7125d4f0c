//! `cargo xtask bench store`: a file of many made-up events, as a busy host tells them in 30 days, and what it takes.
//!
//! `make PATH COUNT` makes the file, and prints how many bytes an event takes and how fast they go in; `forget PATH` takes
//! half of them out again, and prints how long that takes and that the file keeps to its size. What the verbs make of it
//! is measured by the benchmark itself.

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use portcullis::record::events::{BATCH, EventStore, Node, Retention, parse};
use portcullis::record::json;
use portcullis_core::time::Wall;

/// The last event's moment: a full hour, so that runs can be compared.
const END: u64 = 1_795_226_400_000;

/// From the first event to the last.
const SPAN: u64 = 30 * 86_400_000;

/// What strangers are after, most wanted first.
const WANTED: [u16; 24] = [
    22, 23, 80, 443, 3389, 445, 8080, 5900, 3306, 21, 25, 8443, 6379, 2222, 5060, 1433, 5432, 81, 8000, 9200,
    27017, 111, 139, 11211,
];

/// A small generator (xorshift64*, Vigna 2014): the same events each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    /// A few come often, many seldom.
    fn stranger(&mut self) -> (String, String) {
        let number = match self.roll(4) {
            0 => self.roll(50),
            1 => self.roll(5000),
            _ => self.roll(400_000),
        };
        let mixed = u32::try_from(number).unwrap_or(0).wrapping_mul(0x9e37_79b1);
        if self.roll(7) == 0 {
            let address =
                Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | (u128::from(mixed) << 64) | u128::from(mixed));
            let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64));
            return (address.to_string(), format!("{network}/64"));
        }
        let address = Ipv4Addr::from_bits(0x0b00_0000 | (mixed >> 6));
        (address.to_string(), format!("{address}/32"))
    }

    fn ports(&mut self, count: u64) -> Vec<u16> {
        let mut ports: Vec<u16> = (0..count)
            .map(|_| match self.roll(5) {
                0 => u16::try_from(1 + self.roll(65_000)).unwrap_or(1),
                _ => WANTED[usize::try_from(self.roll(24).min(self.roll(24))).unwrap_or(0)],
            })
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// The lines of one stranger's visit: found, banned, over, forgiven; now and then something else.
fn visit(dice: &mut Dice, number: u64, at: u64, lines: &mut Vec<String>) {
    let time = |at: u64| json::time(Wall(Duration::from_millis(at)));
    if dice.roll(50) == 0 {
        let (source, _) = dice.stranger();
        let step = 1 + dice.roll(3);
        lines.push(format!(
            r#"{{"time":"{}","event":"knock","door":"ssh","source":"{source}","step":{step},"of":3}}"#,
            time(at)
        ));
        return;
    }
    let (source, prefix) = dice.stranger();
    let (kind, protocol) = match dice.roll(1000) {
        0 => ("xmas", "tcp"),
        1..100 => ("udp", "udp"),
        _ => ("syn", "tcp"),
    };
    let begun = at - 400;
    let first = dice.ports(7);
    let more = dice.roll(20);
    let mut all = [first.clone(), dice.ports(more)].concat();
    all.sort_unstable();
    all.dedup();
    let scan = |at: u64, ports: &[u16], probes: u64, last: u64, ended: &str| {
        format!(
            r#"{{"time":"{}","event":"scan","id":"s-{:x}","source":"{source}","prefix":"{prefix}","protocol":["{protocol}"],"kinds":["{kind}"],"shape":"vertical","targets":1,"ports":{ports:?},"probes":{probes},"first":"{}","last":"{}","decision":"block","ban_seconds":600{ended},"why":"{probes} probes to {} closed TCP ports in {} s"}}"#,
            time(at),
            number * 2,
            time(begun),
            time(last),
            ports.len(),
            (last - begun) as f64 / 1000.0
        )
    };
    lines.push(scan(at, &first, first.len() as u64, at, ""));
    let (id, since, until) = (number * 2 + 1, time(at), time(at + 600_000));
    lines.push(format!(
        r#"{{"time":"{since}","event":"ban","id":"b-{id:x}","prefix":"{prefix}","how":"banned","cause":"s-{:x}","since":"{since}","until":"{until}","state":"in force","times":1,"why":"5 SYN probes to 5 closed TCP ports in 0.4 s"}}"#,
        number * 2
    ));
    let probes = all.len() as u64 + dice.roll(40);
    lines.push(scan(at + 20_000, &all, probes, at + 10_000 + dice.roll(9000), r#","ended":true"#));
    let over = time(at + 600_000);
    lines.push(format!(
        r#"{{"time":"{over}","event":"unban","id":"b-{id:x}","prefix":"{prefix}","why":"expired"}}"#
    ));
}

fn make(path: &Path, count: u64) -> Result<(), Box<dyn Error>> {
    let mut store = EventStore::open(path)?.store;
    let mut dice = Dice(0x0070_6f72_7463_756c);
    let (mut made, mut number, mut writing) = (0u64, 0u64, Duration::ZERO);
    let mut waiting: Vec<Node> = Vec::new();
    while made < count {
        number += 1;
        let at = END - 1_000_000 - SPAN + SPAN * made / count;
        let mut lines = Vec::new();
        visit(&mut dice, number, at, &mut lines);
        made += lines.len() as u64;
        waiting.extend(lines.iter().filter_map(|line| parse(line)));
        if waiting.len() >= BATCH || made >= count {
            let start = Instant::now();
            store.append(&waiting)?;
            writing += start.elapsed();
            waiting.clear();
        }
    }
    drop(store);
    let each = std::fs::metadata(path)?.len() as f64 / made as f64;
    say(
        each <= 200.0,
        &format!("{each:.0} bytes"),
        &format!("room that an event takes, of {made}: at most 200 bytes"),
    );
    println!("told | {:.0}/s | events into the store", made as f64 / writing.as_secs_f64());
    Ok(())
}

/// Half of the room, in steps as the daemon takes them; then new ones, which must keep to it.
fn forget(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut store = EventStore::open(path)?.store;
    let bytes = store.bytes()?;
    let (mut dice, mut number) = (Dice(0x0067_7561_7264), 1u64 << 32);
    let retention = Retention { keep: Duration::from_secs(1 << 32), bytes: bytes / 2 };
    let (mut steps, mut slowest, start) = (0u32, Duration::ZERO, Instant::now());
    loop {
        let step = Instant::now();
        let is_more = store.retain(Wall(Duration::from_millis(END)), &retention)?;
        (steps, slowest) = (steps + 1, slowest.max(step.elapsed()));
        if !is_more {
            break;
        }
    }
    println!(
        "told | {:.2} s in {steps} steps, slowest {:.0} ms | half of them forgotten",
        start.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1000.0
    );
    let mut largest = 0;
    for round in 0..200u64 {
        let mut lines = Vec::new();
        while lines.len() < BATCH {
            number += 1;
            visit(&mut dice, number, END + round * 1000, &mut lines);
        }
        let lines: Vec<Node> = lines.iter().filter_map(|line| parse(line)).collect();
        store.append(&lines)?;
        while store.retain(Wall(Duration::from_millis(END)), &retention)? {}
        largest = largest.max(store.bytes()?);
    }
    let share = largest as f64 * 100.0 / retention.bytes as f64;
    let promise = "room taken while 200 batches more go in: at most what is allowed";
    say(share <= 100.0, &format!("{share:.1} % of what is allowed"), promise);
    Ok(())
}

/// As `xtask` reads it: met or missed, the figure, and the promise.
fn say(is_met: bool, figure: &str, promise: &str) {
    println!("{} | {figure} | {promise}", if is_met { "met" } else { "MISSED" });
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (verb, path) = (words.next(), words.next().unwrap_or_default());
    let count = words.next().and_then(|count| count.parse().ok());
    let done = match (verb.as_deref(), count) {
        (Some("make"), Some(count)) => make(Path::new(&path), count),
        (Some("forget"), None) => forget(Path::new(&path)),
        _ => {
            eprintln!("events: make PATH COUNT, or forget PATH");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("events: {error}");
            ExitCode::FAILURE
        }
    }
}
