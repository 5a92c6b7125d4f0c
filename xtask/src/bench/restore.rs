//! How long many bans take to be in force: after a start, and after somebody flushed the ruleset.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use testbed::{Lab, Running};

use super::guard::{Guard, State};
use super::sender::stranger;
use super::stream::{Stream, route_strangers};
use super::table::{Line, median, time};
use super::{Bench, lab, output, system};

const STORED: u32 = 100_000;
const FLUSHED: u32 = 10_000;

/// Between two datagrams: the guard needs the processor too.
const PAUSE: Duration = Duration::from_micros(50);

const LIMIT: Duration = Duration::from_secs(30);

/// Bans by hand, of as many strangers, so that a later start finds them in the store.
///
/// # Errors
/// If they can't be made.
pub fn store_bans(bench: &Bench, state: &State, count: u32) -> Result<(), String> {
    let lab = lab()?;
    let guard = Guard::start(&lab.victim, &bench.program, state, "--enforce");
    guard.ban(&list(count))?;
    guard.stop();
    Ok(())
}

fn list(count: u32) -> String {
    (0..count).fold(String::new(), |mut list, number| {
        writeln!(list, "{}", stranger(number)).expect("writing to a String cannot fail");
        list
    })
}

/// Strangers from the whole length of the list: which goes in last is the guard's choice.
fn some_of(count: u32) -> [u32; 5] {
    [0, count / 4, count / 2, count / 4 * 3, count - 1]
}

/// From the start of the process until its stored bans are in force, in a kernel that holds none of them.
pub fn measure(bench: &Bench) -> Result<Vec<Line>, String> {
    let state = State::new("restore")?;
    store_bans(bench, &state, STORED)?;
    let mut times = Vec::new();
    for _ in 0..bench.runs(5) {
        let lab = lab()?;
        route_strangers(&lab);
        let mut stream = Stream::open(&lab).map_err(system)?;
        stream.begin(&lab.attacker, &some_of(STORED)).map_err(system)?;
        let mut command = Guard::command(&lab.victim, &bench.program, &state, "--enforce");
        let started = stream.now();
        let running = Running::spawn(&mut command);
        let quiet = Duration::from_millis(100);
        let seen = stream.until_shut_out(PAUSE, quiet, LIMIT).map_err(system)?;
        let (_, last) = seen.ok_or("nothing got through before the start")?;
        times.push(last - started);
        let mut guard = Guard::of(running, &lab.victim, &bench.program, &state);
        guard.wait_until_started();
        let status = guard.status()?;
        let in_force = status.number("bans") - status.number("bans_not_in_force");
        if in_force != u64::from(STORED) {
            return Err(format!("{in_force} of {STORED} bans came back"));
        }
        guard.stop();
    }
    let what = format!("{STORED} stored bans in force after the start, median of {}", times.len());
    let line = Line::told(what, time(median(&times)));
    Ok(vec![line.target("200 ms", median(&times) <= Duration::from_millis(200))])
}

/// From the first packet let through after `nft flush ruleset` to the last.
pub fn measure_flush(bench: &Bench) -> Result<Vec<Line>, String> {
    let mut times = Vec::new();
    for run in 0..bench.runs(5) {
        let (lab, state) = (lab()?, State::new(&format!("flush-{run}"))?);
        route_strangers(&lab);
        let guard = Guard::start(&lab.victim, &bench.program, &state, "--enforce");
        guard.ban(&list(FLUSHED))?;
        let mut stream = Stream::open(&lab).map_err(system)?;
        stream.begin(&lab.attacker, &some_of(FLUSHED)).map_err(system)?;
        output(lab.victim.command("nft").args(["flush", "ruleset"]))?;
        let seen = stream.until_shut_out(PAUSE, Duration::from_millis(500), LIMIT).map_err(system)?;
        // All were back before the first datagram was sent: as good as at once.
        times.push(seen.map_or(Duration::ZERO, |(first, last)| last - first));
        let back = elements(&lab)?;
        if back != FLUSHED as usize {
            return Err(format!("{back} of {FLUSHED} bans came back"));
        }
        guard.stop();
    }
    let what = format!("{FLUSHED} bans back after `nft flush ruleset`, median of {}", times.len());
    let slowest = times.iter().copied().max().unwrap_or_default();
    let line = Line::told(what, format!("{} (slowest {})", time(median(&times)), time(slowest)));
    Ok(vec![line.target("1 s", slowest <= Duration::from_secs(1))])
}

fn elements(lab: &Lab) -> Result<usize, String> {
    let printed =
        output(lab.victim.command("nft").args(["-j", "list", "set", "inet", "portcullis", "banned4"]))?;
    let value: Value = serde_json::from_str(&printed).map_err(|error| format!("nft: {error}"))?;
    let objects = value["nftables"].as_array().ok_or("nft printed no list")?;
    Ok(objects.iter().filter_map(|object| object["set"]["elem"].as_array()).map(Vec::len).sum())
}
