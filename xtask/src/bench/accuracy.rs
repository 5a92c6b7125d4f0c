//! How well captures are judged, over the generated corpus. Not a speed: it needs neither root nor a release build.

use std::process::Command;

use super::table::{Line, promised};
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

/// The promises alone, for the table of everything: as its example prints them.
pub fn measure(bench: &Bench) -> Result<Vec<Line>, String> {
    let printed = output(&mut example(bench.runs))?;
    let lines = promised(&printed)?.into_iter();
    Ok(lines.map(|line| Line { what: format!("accuracy: {}", line.what), ..line }).collect())
}
