//! More probes than anybody sends by mistake, and more sources than there are.

use std::net::SocketAddrV4;
use std::time::Instant;

use testbed::{Lab, wait_until};

use super::guard::{Guard, Memory, PATIENCE, State};
use super::sender::{Probe, Sender, stranger};
use super::stream::route_strangers;
use super::table::{Line, mebibytes, time};
use super::{Bench, lab, system};

const SOURCES: u32 = 2000;
const PROBES_OF_EACH: u16 = 100;

const MADE_UP: u32 = 1_000_000;

/// The many probes, observing and enforcing.
pub fn measure(bench: &Bench) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    let sent = u64::from(SOURCES) * u64::from(PROBES_OF_EACH);
    for mode in ["--observe", "--enforce"] {
        let (lab, state) = (lab()?, State::new("flood")?);
        let guard = Guard::start(&lab.victim, &bench.program, &state, mode);
        route_strangers(&lab);
        let rate = flood(&lab)?;
        // Whatever passed the filter is counted by now, or soon.
        let status = wait_until(PATIENCE, "every probe counted", || {
            let status = guard.status().ok()?;
            (status.number("packets") + status.number("dropped") >= sent).then_some(status)
        });
        let dropped = status.number("dropped");
        let lost = format!("{:.3} % dropped", dropped as f64 * 100.0 / sent as f64);
        let count = format!("{sent} probes of {SOURCES} sources at {:.0},000/s", rate / 1000.0);
        if mode == "--observe" {
            let counted = status.number("probes");
            let is_complete = counted + dropped == sent;
            let said = format!("{counted} counted, {lost}");
            let line = Line::told(format!("{count}, observing"), said);
            lines.push(line.target(
                "all counted or counted as dropped, at most 0.1 %",
                is_complete && dropped * 1000 <= sent,
            ));
        } else {
            // Nobody here proves who he is.
            let all = status.number("bans") + status.number("held");
            let blocked = all - status.number("bans_not_in_force");
            let said = format!("{blocked} blocked, {lost}");
            let line = Line::told(format!("{count}, enforcing"), said);
            lines.push(line.target("every source blocked", blocked == u64::from(SOURCES)));
        }
        guard.stop();
    }
    Ok(lines)
}

/// Returns the probes in a second.
fn flood(lab: &Lab) -> Result<f64, String> {
    let mut sender = Sender::open(&lab.attacker, lab.victim4()).map_err(system)?;
    let probes: Vec<Probe> = (0..PROBES_OF_EACH)
        .flat_map(|port| {
            let to = SocketAddrV4::new(lab.victim4(), 1000 + port);
            (0..SOURCES).map(move |source| Probe::new(stranger(source), to))
        })
        .collect();
    let start = Instant::now();
    sender.send(&probes).map_err(system)?;
    Ok(probes.len() as f64 / start.elapsed().as_secs_f64())
}

/// The made-up sources, and then a real scanner.
pub fn measure_made_up(bench: &Bench) -> Result<Vec<Line>, String> {
    let (lab, state) = (lab()?, State::new("made-up")?);
    let guard = Guard::start(&lab.victim, &bench.program, &state, "--enforce");
    route_strangers(&lab);
    let before = Memory::of(guard.id())?;
    let mut sender = Sender::open(&lab.attacker, lab.victim4()).map_err(system)?;
    let to = SocketAddrV4::new(lab.victim4(), 23);
    let probes: Vec<Probe> = (0..MADE_UP).map(|number| Probe::new(stranger(number), to)).collect();
    let start = Instant::now();
    sender.send(&probes).map_err(system)?;
    let took = start.elapsed();
    let real: Vec<Probe> = (0..5)
        .map(|port| Probe::new(lab.attacker4(), SocketAddrV4::new(lab.victim4(), 300 + port)))
        .collect();
    sender.send(&real).map_err(system)?;
    let status = wait_until(PATIENCE, "every probe seen", || {
        let status = guard.status().ok()?;
        let seen = status.number("packets") + status.number("dropped");
        (seen >= u64::from(MADE_UP) + real.len() as u64).then_some(status)
    });
    let memory = Memory::of(guard.id())?;
    let is_caught = status.number("held") == 1 && guard.told().contains(&lab.attacker4().to_string());
    guard.stop();
    let said = format!(
        "scanner {}, {} (before {}), {} dropped, {} sources forgotten",
        if is_caught { "caught" } else { "**not caught**" },
        mebibytes(memory.besides_ring),
        mebibytes(before.besides_ring),
        status.number("dropped"),
        status.number("forgotten"),
    );
    let what =
        format!("{MADE_UP} made-up sources in {}, then a real scanner: memory besides the ring", time(took));
    let is_met = is_caught && memory.besides_ring <= 64 << 20;
    Ok(vec![Line::told(what, said).target("caught, at most 64 MB", is_met)])
}
