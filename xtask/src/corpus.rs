//! `cargo xtask corpus DIR [SEEDS]`: what the judge is measured on, as captures.

use std::process::ExitCode;

use crate::{Outcome, program};

/// Writes the captures and `truth.tsv`.
pub fn perform(arguments: &[String]) -> Outcome {
    let mut writer = program::cargo(&["run", "--quiet", "--package", "corpus", "--"]);
    // The directory is meant from where the person stands, and cargo works in the workspace.
    let here = std::env::current_dir().map_err(|error| format!("the working directory: {error}"))?;
    let mut words = arguments.iter();
    writer.args(words.next().map(|directory| here.join(directory))).args(words);
    program::succeed(&mut writer)?;
    Ok(ExitCode::SUCCESS)
}
