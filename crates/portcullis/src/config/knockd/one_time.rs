//! A file of sequences that are used once each: which is the next, and how it is struck out.

use std::path::Path;

use super::super::doors::{Flags, Step, WrittenStep};
use super::super::fault::Source;
use super::super::portsentry::{Diagnostic, Weight};
use super::sequence;

/// One sequence that has not been used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTimeEntry {
    /// Its line, counted from 1.
    pub line: usize,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// A file of sequences, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OneTimeFile {
    /// The sequences that are left, in the order in which they are used.
    pub entries: Vec<OneTimeEntry>,
    /// How many lines begin with `#` and hold a sequence behind it: those that have been used.
    pub used: usize,
    /// What is to be known of its lines.
    pub diagnostics: Vec<Diagnostic>,
}

impl OneTimeFile {
    /// The sequence that is right now: the first that is left.
    #[must_use]
    pub fn current(&self) -> Option<&OneTimeEntry> {
        self.entries.first()
    }
}

/// Reads a file of sequences, for a door that asks `flags` of TCP segments. A line that is no sequence is left out, and
/// the next one counts, as with knockd; steps may also have flags of their own (`9000:tcp:fin`), which knockd has not.
#[must_use]
pub fn read_one_time(path: &Path, text: &str, flags: Flags) -> OneTimeFile {
    let source = Source { path, text };
    let mut file = OneTimeFile::default();
    let mut start = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let trimmed = line.trim();
        let at = start + (line.len() - line.trim_start().len());
        start += line.len();
        if trimmed.is_empty() {
            continue;
        }
        if let Some(struck) = trimmed.strip_prefix('#') {
            file.used += usize::from(read(struck.trim()).is_ok_and(|steps| !steps.is_empty()));
            continue;
        }
        match read(trimmed) {
            Ok(steps) => {
                let steps = steps.into_iter().map(|step| step.with(flags)).collect();
                file.entries.push(OneTimeEntry { line: number + 1, steps });
            }
            Err((within, message)) => {
                // The line is not shown: the others like it are secrets.
                let fault = source.fault(
                    at + within.start..at + within.end,
                    format!("{message}; the line is passed over"),
                    "write ports from 1 to 65535 with commas between them, or # before the line",
                );
                let fault =
                    super::super::fault::Fault { line_text: String::new(), line: number + 1, ..fault };
                file.diagnostics.push(Diagnostic { weight: Weight::LeftOut, fault });
            }
        }
    }
    file
}

/// `text` with the sequence of this line struck out: its leading blank becomes `#`, or `#` is put before it, so that no
/// digit is lost. `None` if there is no such line, or it is struck out already.
#[must_use]
pub fn struck(text: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let place = line.checked_sub(1)?;
    let used =
        lines.get(place).filter(|used| !used.trim().is_empty() && !used.trim_start().starts_with('#'))?;
    let rest = used.strip_prefix([' ', '\t']).unwrap_or(used);
    Some(format!("{}#{rest}{}", lines[..place].concat(), lines[place + 1..].concat()))
}

fn read(text: &str) -> Result<Vec<WrittenStep>, (std::ops::Range<usize>, String)> {
    if let Ok(steps) = WrittenStep::read_all(text) {
        return Ok(steps);
    }
    let (steps, remarks) = sequence::read(text);
    steps.ok_or_else(|| {
        let worst = remarks.into_iter().max_by_key(|remark| remark.weight);
        worst.map_or((0..text.len(), "this is no sequence".to_owned()), |remark| {
            (remark.within, remark.message)
        })
    })
}
