//! From the probe that completes the trigger to the last packet that is let through.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use testbed::{Lab, Namespace};

use super::guard::{Guard, State};
use super::portsentry::PortSentry;
use super::sender::{Probe, Sender, stranger};
use super::stream::{Stream, route_strangers};
use super::table::{Line, median, quantile, time};
use super::{Bench, lab, lab_for_peer, output, system};

/// Nothing got through for so long: shut out. A datagram is sent every few µs.
const QUIET: Duration = Duration::from_millis(3);

/// PortSentry has to start a shell and iptables, which may wait for somebody's ruleset.
const LIMIT: Duration = Duration::from_secs(5);

/// Elements of the ruleset that somebody else loads.
const OTHERS_ELEMENTS: u32 = 20_000;

/// Where somebody else loads rulesets meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    Nobody,
    Elsewhere,
    Here,
}

/// In a quiet machine, and beside somebody who loads rulesets.
pub fn measure(bench: &Bench) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for others in [Others::Nobody, Others::Elsewhere, Others::Here] {
        let ours = measure_guard(bench, others, bench.runs(400))?;
        let what = match others {
            Others::Nobody => "probe to block in force, median / p99".to_owned(),
            Others::Elsewhere => {
                format!(
                    "the same while another namespace loads rulesets of {OTHERS_ELEMENTS} elements in a loop"
                )
            }
            Others::Here => "the same while the same namespace loads them".to_owned(),
        };
        let said = |times: &[Duration]| format!("{} / {}", time(median(times)), time(quantile(times, 0.99)));
        let mut line = Line::told(format!("{what} ({} scanners)", ours.len()), said(&ours));
        let mut is_faster = true;
        if let Some(peer) = &bench.peer {
            let theirs = measure_peer(peer, others, bench.runs(400) / 4 + 1)?;
            let ratio = median(&theirs).as_secs_f64() / median(&ours).as_secs_f64();
            is_faster = ratio >= 25.0;
            line = line.peer(format!("PortSentry 1.2 {}", said(&theirs)), format!("{ratio:.0} ×"));
        }
        let is_quick =
            median(&ours) <= Duration::from_micros(100) && quantile(&ours, 0.99) <= Duration::from_millis(2);
        lines.push(line.target("0.1 ms / 2 ms, 25 × faster", is_quick && is_faster));
    }
    Ok(lines)
}

fn measure_guard(bench: &Bench, others: Others, rounds: usize) -> Result<Vec<Duration>, String> {
    let (lab, state) = (lab()?, State::new("latency")?);
    let guard = Guard::start(&lab.victim, &bench.program, &state, "--enforce");
    let loading = Loading::start(&lab, others)?;
    // What the default judge takes of bare SYNs to ports that are nobody's left-overs.
    let times = rounds_of(&lab, 4, rounds, || Ok(()))?;
    drop(loading);
    guard.stop();
    Ok(times)
}

fn measure_peer(program: &str, others: Others, rounds: usize) -> Result<Vec<Duration>, String> {
    let lab = lab_for_peer()?;
    let _peer = PortSentry::start(&lab.victim, program)?;
    let loading = Loading::start(&lab, others)?;
    // It reacts at the first probe. Its rules are taken away after each, as many of them would slow it down.
    let times = rounds_of(&lab, 1, rounds, || {
        output(lab.victim.command("iptables").args(["-F", "INPUT"])).map(drop)
    })?;
    drop(loading);
    Ok(times)
}

fn rounds_of(
    lab: &Lab,
    trigger: u16,
    rounds: usize,
    mut after: impl FnMut() -> Result<(), String>,
) -> Result<Vec<Duration>, String> {
    route_strangers(lab);
    let mut stream = Stream::open(lab).map_err(system)?;
    let mut sender = Sender::open(&lab.attacker, lab.victim4()).map_err(system)?;
    let mut times = Vec::with_capacity(rounds);
    for round in 0..u32::try_from(rounds).map_err(|error| error.to_string())? {
        stream.begin(&lab.attacker, &[round]).map_err(system)?;
        let probes: Vec<Probe> = (0..trigger)
            .map(|port| Probe::new(stranger(round), SocketAddrV4::new(lab.victim4(), 200 + port)))
            .collect();
        let (last, before) = probes.split_last().ok_or("a trigger of no probes")?;
        sender.send(before).map_err(system)?;
        let completed = stream.now();
        sender.send(std::slice::from_ref(last)).map_err(system)?;
        let seen = stream.until_shut_out(Duration::ZERO, QUIET, LIMIT).map_err(system)?;
        // Nothing let through at all: it was in force before the first datagram.
        times.push(seen.map_or(Duration::ZERO, |(_, last)| last.saturating_sub(completed)));
        after()?;
    }
    Ok(times)
}

/// Somebody who loads a large ruleset again and again.
struct Loading {
    child: Option<Child>,
    _namespace: Option<Namespace>,
}

impl Loading {
    fn start(lab: &Lab, others: Others) -> Result<Self, String> {
        if others == Others::Nobody {
            return Ok(Self { child: None, _namespace: None });
        }
        let file = testbed::target_directory().join(format!("bench-{}.nft", std::process::id()));
        let elements: Vec<String> = (0..OTHERS_ELEMENTS).map(|n| format!("{}", 0x0b00_0000 + n)).collect();
        let text = format!(
            "table inet others {{ }}\ndelete table inet others\ntable inet others {{\n set many {{\n type \
             ipv4_addr;\n elements = {{ {} }}\n }}\n}}\n",
            elements.join(", ")
        );
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        let elsewhere = match others {
            Others::Elsewhere => Some(Namespace::new().ok_or("no network namespaces can be made here")?),
            _ => None,
        };
        let place = elsewhere.as_ref().unwrap_or(&lab.victim);
        load_once(place, &file)?;
        let mut command = place.command("sh");
        command.args(["-c", "while nft -f \"$0\"; do :; done"]).arg(&file);
        let child = command.spawn().map_err(|error| format!("sh: {error}"))?;
        Ok(Self { child: Some(child), _namespace: elsewhere })
    }
}

fn load_once(place: &Namespace, file: &Path) -> Result<(), String> {
    output(place.command("nft").arg("-f").arg(file)).map(drop)
}

impl Drop for Loading {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Either fails only if it has ended, which is what we want.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
