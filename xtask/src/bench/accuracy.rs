//! How well captures are judged, over the generated corpus. Not a speed: it needs neither root nor a release build.

use std::process::Command;

use super::table::{Line, Verdict};
use super::{Bench, output};
use crate::program;

fn example(seeds: Option<usize>) -> Command {
    let mut command = program::cargo(&["run", "--quiet", "--package", "portcullis", "--example", "accuracy"]);
    if let Some(seeds) = seeds {
        command.args(["--", "--seeds", &seeds.to_string()]);
    }
    command
}

/// Builds it, so that nothing is built as root later.
///
/// # Errors
/// If it doesn't build.
pub fn build() -> Result<(), String> {
    let words = ["build", "--quiet", "--package", "portcullis", "--example", "accuracy"];
    program::succeed(&mut program::cargo(&words))
}

/// Prints the whole table as it is.
///
/// # Errors
/// If it can't be made.
pub fn show(seeds: Option<usize>) -> Result<(), String> {
    program::succeed(&mut example(seeds))
}

/// The promises alone, for the table of everything: lines of `met | FIGURE | PROMISE`.
pub fn measure(bench: &Bench) -> Result<Vec<Line>, String> {
    let printed = output(&mut example(bench.runs))?;
    let mut lines = Vec::new();
    for line in printed.lines() {
        let mut parts = line.splitn(3, " | ");
        let (Some(verdict @ ("met" | "MISSED")), Some(figure), Some(promise)) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (what, target) = promise.rsplit_once(": ").unwrap_or((promise, ""));
        let line = Line::told(format!("accuracy: {what}"), figure);
        lines.push(Line { target: target.to_owned(), verdict: Verdict::of(verdict == "met"), ..line });
    }
    if lines.is_empty() {
        return Err(format!("the example accuracy printed nothing to read:\n{printed}"));
    }
    Ok(lines)
}
