//! What a packet costs in the engine, without the kernel.

use super::table::Line;
use super::{Bench, output};
use crate::program;

const WORDS: [&str; 6] = ["bench", "--quiet", "--package", "portcullis-core", "--bench", "judge"];

/// A million single packets, and a million knocks; none should cost more than 50 µs.
const PACKETS: [&str; 8] =
    ["bench", "--quiet", "--package", "portcullis-core", "--bench", "spa", "--bench", "knocks"];

/// Builds it, so that nothing is built as root later.
///
/// # Errors
/// If it doesn't build.
pub fn build() -> Result<(), String> {
    for words in [&WORDS[..], &PACKETS] {
        let mut command = program::cargo(words);
        program::succeed(command.arg("--no-run").stderr(std::process::Stdio::null()))?;
    }
    Ok(())
}

/// Runs `crates/portcullis-core/benches/spa.rs` and `knocks.rs`, of which only the slowest packets are told here.
pub fn measure_packets(_: &Bench) -> Result<Vec<Line>, String> {
    let printed = output(&mut program::cargo(&PACKETS))?;
    let slowest = printed.lines().filter_map(|line| line.split_once(" ns: the slowest of "));
    let lines: Vec<Line> = slowest
        .map(|(number, what)| {
            let is_met = number.trim().parse::<u64>().is_ok_and(|number| number <= 50_000);
            Line::told(format!("the slowest of {what}"), format!("{number} ns")).target("50 µs", is_met)
        })
        .collect();
    if lines.len() == 2 { Ok(lines) } else { Err(format!("there should be two slowest packets:\n{printed}")) }
}

/// Runs `crates/portcullis-core/benches/judge.rs`, which prints `NANOSECONDS what`.
pub fn measure(_: &Bench) -> Result<Vec<Line>, String> {
    let printed = output(&mut program::cargo(&WORDS))?;
    let mut lines = Vec::new();
    for line in printed.lines() {
        if let Some((number, what)) = line.split_once(" ns: ") {
            lines.push(Line::told(format!("a packet in the engine: {what}"), format!("{number} ns")));
        }
    }
    if lines.is_empty() {
        return Err(format!("benches/judge.rs printed nothing to read:\n{printed}"));
    }
    Ok(lines)
}
