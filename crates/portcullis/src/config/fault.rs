//! What is wrong with a file that somebody wrote, where, why, and how to mend it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::escape::printable;

/// The longest piece of a line that is shown, in characters; longer ones are cut around the fault.
const SHOWN: usize = 120;

/// One fault of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file.
    #[serde(serialize_with = "path_as_text")]
    pub path: PathBuf,
    /// The line, counted from 1; 0 where the file as a whole is at fault.
    pub line: usize,
    /// The character within the line, counted from 1; 0 where the file as a whole is at fault.
    pub column: usize,
    /// How many characters are at fault, at least 1.
    pub length: usize,
    /// What is wrong, and why.
    pub message: String,
    /// The line as it stands in the file (empty where the file as a whole is at fault).
    pub line_text: String,
    /// What to write instead.
    pub mend: String,
}

impl Fault {
    /// A fault of the file as a whole: it cannot be read, or is no text.
    #[must_use]
    pub fn of_file(path: &Path, message: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault {
            path: path.to_owned(),
            line: 0,
            column: 0,
            length: 1,
            message: message.into(),
            line_text: String::new(),
            mend: mend.into(),
        }
    }
}

/// `path:line:column: message`, the line with a caret below the fault, and the mend. Nothing that stands in the
/// file reaches the terminal unescaped.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", printable(&self.path.to_string_lossy()))?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        write!(f, " {}", printable(&self.message))?;
        // A line that is not to be shown, since it may be a secret, is empty here.
        if self.line > 0 && !self.line_text.is_empty() {
            let (before, marked, after) = self.shown();
            let caret = marked.chars().count().max(1);
            let margin = self.line.to_string().len();
            write!(f, "\n  {} | {before}{marked}{after}", self.line)?;
            write!(f, "\n  {:margin$} | {:2$}{3}", "", "", before.chars().count(), "^".repeat(caret))?;
        }
        if !self.mend.is_empty() {
            write!(f, "\n  {}", printable(&self.mend))?;
        }
        Ok(())
    }
}

impl Fault {
    /// The line in three escaped pieces: before the fault, the fault, behind it; cut where it is very long.
    fn shown(&self) -> (String, String, String) {
        let line: Vec<char> = self.line_text.chars().collect();
        let start = self.column.saturating_sub(1).min(line.len());
        let end = start.saturating_add(self.length).min(line.len());
        let first = if line.len() > SHOWN { start.saturating_sub(SHOWN / 2) } else { 0 };
        let last = line.len().min(first + SHOWN);
        let marked_end = end.min(last);
        // A tab becomes one blank, so that the caret below keeps its place.
        let piece = |range: &[char]| {
            let text: String = range.iter().map(|&c| if c == '\t' { ' ' } else { c }).collect();
            printable(&text)
        };
        let mut before = piece(&line[first..start]);
        let mut after = piece(&line[marked_end..last]);
        if first > 0 {
            before.insert(0, '…');
        }
        if last < line.len() {
            after.push('…');
        }
        (before, piece(&line[start..marked_end]), after)
    }
}

impl std::error::Error for Fault {}

/// All faults of a configuration; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{fault}\n")?;
        }
        match self.0.len() {
            1 => write!(f, "1 fault"),
            count => write!(f, "{count} faults"),
        }
    }
}

impl std::error::Error for Faults {}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    #[serde(serialize_with = "path_as_text")]
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", printable(&self.path.to_string_lossy()), self.line)
    }
}

/// Any path as a text of JSON, also one that is no UTF-8, which serde refuses.
pub(super) fn path_as_text<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// A text with places in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// Where it was read.
    pub path: &'a Path,
    /// What stands there.
    pub text: &'a str,
}

impl Source<'_> {
    /// A fault at the bytes `span` of the text.
    pub fn fault(
        &self,
        span: std::ops::Range<usize>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Fault {
        let (line, column, line_text) = self.place(span.start);
        let start = self.boundary(span.start);
        let end = self.boundary(span.end.max(start));
        Fault {
            path: self.path.to_owned(),
            line,
            column,
            length: self.text[start..end].lines().next().unwrap_or("").chars().count().max(1),
            message: message.into(),
            line_text: line_text.to_owned(),
            mend: mend.into(),
        }
    }

    /// Line and column (both from 1, the column in characters) of the byte `at`, and the text of that line.
    pub fn place(&self, at: usize) -> (usize, usize, &str) {
        let at = self.boundary(at);
        let before = &self.text[..at];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[at..].find('\n').map_or(self.text.len(), |length| at + length);
        let line = before.matches('\n').count() + 1;
        (line, self.text[start..at].chars().count() + 1, self.text[start..end].trim_end_matches('\r'))
    }

    /// The nearest character boundary at or before the byte `at`.
    fn boundary(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_shows_place_line_caret_and_mend() {
        let source = Source { path: Path::new("/etc/p.toml"), text: "[judge]\n\ttrigger = 900\n" };
        let at = source.text.find("900").unwrap();
        assert_eq!(
            source.fault(at..at + 3, "too much", "write less").to_string(),
            "/etc/p.toml:2:12: too much\n  2 |  trigger = 900\n    |            ^^^\n  write less"
        );
    }

    #[test]
    fn a_fault_never_passes_a_control_character_on() {
        let text = "x = \"\u{1b}[2J\u{202e}\u{7f}\"";
        let source = Source { path: Path::new("/tmp/\u{1b}c"), text };
        let shown = source.fault(4..text.len(), text, text).to_string();
        assert!(shown.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{shown:?}");
    }

    #[test]
    fn a_very_long_line_is_cut_around_the_fault() {
        let text = format!("{}HERE{}", "a".repeat(5000), "b".repeat(5000));
        let shown = Source { path: Path::new("f"), text: &text }.fault(5000..5004, "m", "").to_string();
        assert!(shown.contains("HERE") && shown.contains("^^^^") && shown.len() < 400, "{shown}");
    }

    #[test]
    fn places_beyond_the_end_or_inside_a_character_do_no_harm() {
        let source = Source { path: Path::new("f"), text: "ä\n“" };
        for at in 0..9 {
            for end in 0..9 {
                assert!(!source.fault(at..end, "m", "").to_string().is_empty());
            }
        }
    }
}
