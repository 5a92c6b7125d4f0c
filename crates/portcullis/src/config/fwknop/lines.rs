//! Lines of fwknop's files: `KEYWORD VALUE`, and what is said about them.

use std::ops::Range;
use std::path::Path;

use super::super::fault::Source;
use super::super::portsentry::{Diagnostic, Weight};
use super::super::suggest::nearest;

/// Where a value ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// At `;` or the end of the line: access.conf and fwknopd.conf. So a key may have blanks (measured).
    Line,
    /// At a blank, `;` or `#`: .fwknoprc. So a key with blanks is cut (vector `rcfile-plain`).
    Word,
}

/// One line that says something.
pub(super) struct Entry<'t> {
    /// In capitals.
    pub keyword: String,
    pub keyword_span: Range<usize>,
    pub value: &'t str,
    pub value_span: Range<usize>,
    /// What stands behind a value that ended before the line did, without `;` and comments.
    pub rest: &'t str,
}

/// A file whose secrets are covered with stars, and what is to be known about it.
pub(super) struct Lines<'a> {
    path: &'a Path,
    covered: String,
    pub diagnostics: Vec<Diagnostic>,
}

/// How many diagnostics of one file are told.
const MOST: usize = 200;

impl<'a> Lines<'a> {
    /// Splits `text`. Wherever a line is shown, values are covered but for those of keywords in `open`, and so is a
    /// keyword that looks like none: it may be the rest of a key.
    pub fn of<'t>(
        path: &'a Path,
        text: &'t str,
        ends: Ends,
        open: &[&str],
        others: &[&str],
    ) -> (Lines<'a>, Vec<Entry<'t>>) {
        let known = [open, others].concat();
        let mut covered = String::with_capacity(text.len());
        let mut entries = Vec::new();
        let mut at = 0;
        for whole in text.split_inclusive('\n') {
            let line = whole.trim_end();
            let start = at + (line.len() - line.trim_start().len());
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                // A comment may well be a key that was used before.
                covered.extend(whole.chars().map(cover));
                at += whole.len();
                continue;
            }
            let length = line.find([' ', '\t', ';']).unwrap_or(line.len());
            let keyword = line[..length].to_ascii_uppercase();
            let behind = &line[length..];
            let value_at = start + length + (behind.len() - behind.trim_start().len());
            let behind = behind.trim_start();
            let end = match ends {
                Ends::Line => behind.find(';'),
                Ends::Word => behind.find([' ', '\t', ';', '#']),
            };
            let value = behind[..end.unwrap_or(behind.len())].trim_end();
            let rest = behind[value.len()..].trim_start().trim_start_matches(';').trim_start();
            let rest = if rest.starts_with('#') { "" } else { rest };
            if open.contains(&keyword.as_str()) || line.starts_with(['[', '%']) {
                covered.push_str(whole);
            } else {
                let is_keyword =
                    known.contains(&keyword.as_str()) || nearest(&keyword, known.iter().copied()).is_some();
                let is_keyword =
                    is_keyword && keyword.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
                let (shown, hidden) = whole.split_at(if is_keyword { start + length - at } else { 0 });
                covered.push_str(shown);
                covered.extend(hidden.chars().map(cover));
            }
            entries.push(Entry {
                keyword,
                keyword_span: start..start + length,
                value,
                value_span: value_at..value_at + value.len(),
                rest,
            });
            at += whole.len();
        }
        debug_assert_eq!(covered.len(), text.len(), "places must stay where they are");
        (Lines { path, covered, diagnostics: Vec::new() }, entries)
    }

    pub fn say(
        &mut self,
        weight: Weight,
        span: Range<usize>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        if self.diagnostics.len() < MOST {
            let source = Source { path: self.path, text: &self.covered };
            self.diagnostics.push(Diagnostic { weight, fault: source.fault(span, message, mend) });
        }
    }

    /// The line, counted from 1, of a place.
    pub fn line(&self, span: &Range<usize>) -> usize {
        Source { path: self.path, text: &self.covered }.place(span.start).0
    }

    /// Says that a value is not what it must be.
    pub fn wrong(&mut self, entry: &Entry, must: &str, mend: &str) {
        let says = format!("{}: {must}", entry.keyword);
        self.say(Weight::Fault, entry.value_span.clone(), says, mend);
    }

    /// Says that a line has no counterpart here.
    pub fn left_out(&mut self, entry: &Entry, why: &str, mend: &str) {
        let says = format!("{}: {why}", entry.keyword);
        self.say(Weight::LeftOut, entry.keyword_span.clone(), says, mend);
    }

    /// Says that nobody knows the keyword.
    pub fn unknown(&mut self, entry: &Entry, known: &[&str]) {
        let mend = match nearest(&entry.keyword, known.iter().copied()) {
            Some(name) => format!("did you mean {name}?"),
            None => "take the line out".to_owned(),
        };
        self.say(Weight::LeftOut, entry.keyword_span.clone(), "fwknop has no such keyword here", mend);
    }

    /// `Y` or `N`; fwknop looks at the first letter.
    pub fn switch(&mut self, entry: &Entry) -> bool {
        let first = entry.value.chars().next().map(|letter| letter.to_ascii_uppercase());
        if !matches!(first, Some('Y' | 'N')) {
            self.wrong(entry, "is Y or N", "write Y or N");
        }
        first == Some('Y')
    }

    /// A whole number up to `most`.
    pub fn number(&mut self, entry: &Entry, most: u64) -> Option<u64> {
        let is_number = entry.value.bytes().all(|byte| byte.is_ascii_digit());
        let number = entry.value.parse().ok().filter(|number| is_number && *number <= most);
        if number.is_none() {
            self.wrong(entry, &format!("is a whole number from 0 to {most}"), "write one");
        }
        number
    }
}

/// Stars of the same length in bytes, so that places stay where they are.
fn cover(letter: char) -> &'static str {
    match letter {
        '\n' => "\n",
        letter => &"****"[..letter.len_utf8()],
    }
}
