//! What ordinary traffic pays: one TCP stream of iperf3, with and without the guard, in turns.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testbed::{Lab, Offloads, Running};

use super::guard::{Guard, State};
use super::restore::store_bans;
use super::table::{Line, median};
use super::{Bench, lab, output};

const PATIENCE: Duration = Duration::from_secs(10);

/// What watches the victim's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Beside {
    Nobody,
    Guard,
    /// libpcap on ETH_P_ALL, as PortSentry 2.x listens.
    Tcpdump,
    GuardWithMany,
}

/// Bits per second into the victim and out of it, of each turn.
type Turns = BTreeMap<Beside, Vec<(f64, f64)>>;

struct Lane<'a> {
    lab: Lab,
    /// Ends with the lane.
    _server: Running,
    bench: &'a Bench,
    few: &'a State,
    many: &'a State,
    /// Where sender and receiver run.
    processors: [&'static str; 2],
}

/// With offloads, and packet by packet.
pub fn measure(bench: &Bench) -> Result<Vec<Line>, String> {
    let (few, many) = (State::new("hundred-bans")?, State::new("many-bans")?);
    store_bans(bench, &few, 100)?;
    store_bans(bench, &many, 100_000)?;
    let runs = bench.runs(7);
    let with = [Beside::Nobody, Beside::Guard];
    let turns = Lane::open(bench, Offloads::On, [&few, &many])?.run(&with, runs)?;
    let (guard, said) = ratio(&turns, Beside::Guard);
    let what = format!("one TCP stream with offloads, in / out, 100 bans, median of {runs}");
    let mut lines =
        vec![Line::told(what, said).peer(speed(&turns), "1").target("at least 98 %", guard >= 0.98)];

    let with = [Beside::Nobody, Beside::Guard, Beside::Tcpdump, Beside::GuardWithMany];
    let turns = Lane::open(bench, Offloads::Off, [&few, &many])?.run(&with, runs)?;
    let (guard, said) = ratio(&turns, Beside::Guard);
    let (tcpdump, tcpdump_said) = ratio(&turns, Beside::Tcpdump);
    let what = format!("the same packet by packet on one CPU, 100 bans, median of {runs}");
    let beside = format!("tcpdump {tcpdump_said}, {}", speed(&turns));
    let line = Line::told(what, said).peer(beside, format!("{:.2} × tcpdump's", guard / tcpdump));
    lines.push(line.target("at least 92 %, more than beside tcpdump", guard >= 0.92 && guard > tcpdump));
    lines.push(Line::told("the same with 100,000 bans", ratio(&turns, Beside::GuardWithMany).1));
    Ok(lines)
}

/// The worse of both directions against the bare host, and both in words.
fn ratio(turns: &Turns, beside: Beside) -> (f64, String) {
    let ((into, out), (bare_in, bare_out)) = (medians(turns, beside), medians(turns, Beside::Nobody));
    let (into, out) = (into / bare_in, out / bare_out);
    (into.min(out), format!("{:.1} % / {:.1} %", into * 100.0, out * 100.0))
}

fn medians(turns: &Turns, beside: Beside) -> (f64, f64) {
    let turns = &turns[&beside];
    let (into, out): (Vec<f64>, Vec<f64>) = turns.iter().copied().unzip();
    (median(&into), median(&out))
}

fn speed(turns: &Turns) -> String {
    let (into, out) = medians(turns, Beside::Nobody);
    format!("bare host {:.1} / {:.1} Gbit/s", into / 1e9, out / 1e9)
}

impl<'a> Lane<'a> {
    fn open(bench: &'a Bench, offloads: Offloads, [few, many]: [&'a State; 2]) -> Result<Self, String> {
        let lab = lab()?;
        lab.switch_offloads(offloads);
        // With offloads each has its own processor, so that both are busy all the time.
        let processors = if offloads == Offloads::On { ["0", "1"] } else { ["0", "0"] };
        let mut server = lab.victim.start(&["taskset", "-c", processors[1], "iperf3", "-s", "--forceflush"]);
        server.wait_for_line(PATIENCE, |line| line.contains("Server listening"));
        Ok(Self { lab, _server: server, bench, few, many, processors })
    }

    fn run(self, with: &[Beside], runs: usize) -> Result<Turns, String> {
        let mut turns = Turns::new();
        // The first stream after a start is slower than the others; it counts for nobody.
        self.stream(&[])?;
        for run in 0..runs {
            for turn in 0..with.len() {
                // Whoever is first changes from run to run.
                let beside = with[(turn + run) % with.len()];
                turns.entry(beside).or_default().push(self.turn(beside)?);
            }
        }
        Ok(turns)
    }

    fn turn(&self, beside: Beside) -> Result<(f64, f64), String> {
        let (bench, few, many) = (self.bench, self.few, self.many);
        let mut tcpdump = None;
        let mut guarded = None;
        match beside {
            Beside::Nobody => {}
            Beside::Guard | Beside::GuardWithMany => {
                let (state, bans) = if beside == Beside::Guard { (few, 100) } else { (many, 100_000) };
                let guard = Guard::start(&self.lab.victim, &bench.program, state, "--enforce");
                testbed::wait_until(PATIENCE, "all bans in force", || {
                    let status = guard.status().ok()?;
                    (status.number("bans") - status.number("bans_not_in_force") == bans).then_some(())
                });
                guarded = Some(guard);
            }
            Beside::Tcpdump => {
                let victim = self.lab.victim4();
                let filter = format!(
                    "ip dst host {victim} and ((tcp dst portrange 1-5000 and (tcp[13] & 0x14) == 0) or udp dst \
                     portrange 1-5000)"
                );
                let words =
                    ["tcpdump", "-p", "-n", "-i", "eth0", "--immediate-mode", "-w", "/dev/null", &filter];
                let mut running = self.lab.victim.start(&words);
                running.wait_for_line(PATIENCE, |line| line.contains("listening on"));
                tcpdump = Some(running);
            }
        }
        let measured = (self.stream(&[])?, self.stream(&["-R"])?);
        if let Some(mut tcpdump) = tcpdump {
            tcpdump.stop(PATIENCE);
        }
        if let Some(guard) = guarded {
            guard.stop();
            // Bans stay in the kernel when the guard ends, and the next turn may be nobody's.
            output(self.lab.victim.command("nft").args(["delete", "table", "inet", "portcullis"]))?;
        }
        Ok(measured)
    }

    /// One stream of a second; returns bits per second as they were received.
    fn stream(&self, more: &[&str]) -> Result<f64, String> {
        let victim = self.lab.victim4().to_string();
        let mut command: Command = self.lab.attacker.command("taskset");
        command.args(["-c", self.processors[0], "iperf3", "-J", "-t", "1", "-c", &victim]).args(more);
        let printed = output(&mut command)?;
        let value: Value = serde_json::from_str(&printed).map_err(|error| format!("iperf3: {error}"))?;
        let speed = value["end"]["sum_received"]["bits_per_second"].as_f64();
        speed.ok_or_else(|| format!("iperf3 received nothing:\n{printed}"))
    }
}
