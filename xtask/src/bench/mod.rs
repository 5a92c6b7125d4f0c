//! `cargo xtask bench`: every speed that is claimed, side by side with the peer, in one run.
//!
//! One file a row, and here what they share. All of it happens in network namespaces that vanish with the run.

mod accuracy;
mod commands;
mod doors;
mod flood;
mod guard;
mod idle;
mod judge;
mod latency;
mod machine;
mod portsentry;
mod restore;
mod sender;
mod shut_out;
mod store;
mod stream;
mod table;
mod throughput;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use testbed::{Lab, Namespace};

use crate::{Outcome, privilege, program, tools};
use portsentry::PortSentry;
use table::Line;

/// A part of the table that can be asked for by name.
struct Row {
    name: &'static str,
    measure: fn(&Bench) -> Result<Vec<Line>, String>,
}

const ROWS: [Row; 14] = [
    Row { name: "shut-out", measure: shut_out::measure },
    Row { name: "latency", measure: latency::measure },
    Row { name: "doors", measure: doors::measure },
    Row { name: "flood", measure: flood::measure },
    Row { name: "made-up", measure: flood::measure_made_up },
    Row { name: "commands", measure: commands::measure },
    Row { name: "throughput", measure: throughput::measure },
    Row { name: "restore", measure: restore::measure },
    Row { name: "flush", measure: restore::measure_flush },
    Row { name: "store", measure: store::measure },
    Row { name: "idle", measure: idle::measure },
    Row { name: "judge", measure: judge::measure },
    Row { name: "packets", measure: judge::measure_packets },
    Row { name: "accuracy", measure: accuracy::measure },
];

const TOOLS: [&str; 9] =
    ["ip", "nsenter", "setpriv", "nft", "iptables", "nmap", "iperf3", "tcpdump", "ethtool"];

/// How the benchmark calls itself, built for speed, and through sudo.
const INSIDE: &str = "--inside";

/// What the rows need.
struct Bench {
    /// The program under test.
    program: PathBuf,
    /// The peer; `None` where there is no Debian to take it from.
    peer: Option<String>,
    /// Instead of each row's own number of repetitions.
    runs: Option<usize>,
}

impl Bench {
    fn runs(&self, usual: usize) -> usize {
        self.runs.unwrap_or(usual).max(1)
    }
}

/// Measures the rows that are named, or all; all go into `docs/benchmarks.md`.
pub fn perform(arguments: &[String]) -> Outcome {
    let (names, runs, is_inside) = read(arguments)?;
    if is_inside {
        return inside(&names, runs);
    }
    if names == ["accuracy"] {
        accuracy::show(runs)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("xtask: builds portcullis, then measures it in network namespaces; nothing leaves this machine");
    program::build_release()?;
    let itself = ["build", "--quiet", "--release", "--package", "xtask"];
    program::succeed(&mut program::cargo(&itself))?;
    if names.is_empty() || names.contains(&"judge") || names.contains(&"packets") {
        judge::build()?;
    }
    if names.is_empty() || names.contains(&"accuracy") {
        accuracy::build()?;
    }
    if names.is_empty() || names.contains(&"store") {
        store::build()?;
    }
    tools::install_missing(&TOOLS)?;
    tools::unpack_ancestors()?;
    let itself = testbed::target_directory().join("release/xtask");
    let why = "measuring in network namespaces needs root";
    let mut again = privilege::as_root(&itself.display().to_string(), why)?;
    again.args(["bench", INSIDE]).args(&names);
    if let Some(runs) = runs {
        again.args(["--runs", &runs.to_string()]);
    }
    let error = again.exec();
    Err(format!("{}: {error}", itself.display()))
}

fn read(arguments: &[String]) -> Result<(Vec<&'static str>, Option<usize>, bool), String> {
    let (mut names, mut runs, mut is_inside) = (Vec::new(), None, false);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), ROWS.iter().find(|row| row.name == word)) {
            (_, Some(row)) => names.push(row.name),
            (INSIDE, _) => is_inside = true,
            ("--runs", _) => {
                let count = words.next().and_then(|count| count.parse().ok());
                runs = Some(count.ok_or("--runs wants a number of repetitions")?);
            }
            _ => {
                let known: Vec<_> = ROWS.iter().map(|row| row.name).collect();
                return Err(format!("{word}: there is no such row; there are {}", known.join(", ")));
            }
        }
    }
    Ok((names, runs, is_inside))
}

fn inside(names: &[&str], runs: Option<usize>) -> Outcome {
    let peer = testbed::is_installed("apt-get").then(|| testbed::unpack("portsentry")).transpose()?;
    let peer = peer.and_then(|place| PortSentry::program(&place));
    let program = testbed::target_directory().join("release/portcullis");
    let bench = Bench { program, peer, runs };
    let mut lines = Vec::new();
    for row in ROWS.iter().filter(|row| names.is_empty() || names.contains(&row.name)) {
        let start = Instant::now();
        let measured = (row.measure)(&bench).map_err(|why| format!("{}: {why}", row.name))?;
        println!("xtask: {} took {:.0} s", row.name, start.elapsed().as_secs_f64());
        lines.extend(measured);
    }
    let table = format!("{}\n\n{}", machine::describe()?, table::markdown(&lines));
    println!("\n{table}");
    if names.is_empty() {
        let place = machine::keep(&table)?;
        println!("xtask: kept in {}", place.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// A lab, or why there is none.
fn lab() -> Result<Lab, String> {
    Lab::direct().ok_or_else(|| "no network namespaces can be made here".to_owned())
}

/// A lab whose victim has mounts of its own, for the peer.
fn lab_for_peer() -> Result<Lab, String> {
    let attacker = Namespace::new().ok_or("no network namespaces can be made here")?;
    let victim = Namespace::with_mounts().ok_or("no mount namespaces can be made here")?;
    Ok(Lab::direct_of(attacker, victim))
}

/// What a program printed; an error with its own words if it failed.
fn output(command: &mut Command) -> Result<String, String> {
    let name = program::describe(command);
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].map(|text| String::from_utf8_lossy(&text).into_owned());
        return Err(format!("{name}: {}\n{}", output.status, said.concat()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn system(error: std::io::Error) -> String {
    error.to_string()
}
