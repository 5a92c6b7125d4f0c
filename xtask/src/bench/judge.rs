//! What a packet costs in the engine, without the kernel.

use super::table::Line;
use super::{Bench, output};
use crate::program;

const WORDS: [&str; 6] = ["bench", "--quiet", "--package", "portcullis-core", "--bench", "judge"];

/// Builds it, so that nothing is built as root later.
///
/// # Errors
/// If it doesn't build.
pub fn build() -> Result<(), String> {
    let mut command = program::cargo(&WORDS);
    program::succeed(command.arg("--no-run").stderr(std::process::Stdio::null()))
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
