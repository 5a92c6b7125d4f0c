//! Lines of portsentry.conf: `KEY="value"`, and every way in which the world writes it.

use std::ops::Range;
use std::path::Path;

use super::super::fault::{Fault, Source};
use super::{Diagnostic, Dialect, KeyName, Weight};

/// Longest line that the originals read in one piece, in bytes.
const LONGEST: usize = 1023;

/// The text of an old file. Bytes that are not UTF-8 are taken as Windows-1252, where the typographic quotes and
/// dashes of word processors live.
#[must_use]
pub fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| match byte {
            0x84 => '„',
            0x91 => '‘',
            0x92 => '’',
            0x93 => '“',
            0x94 => '”',
            0x96 => '–',
            0x97 => '—',
            other => char::from(*other),
        }));
    }
    text
}

/// One setting, as it stands in the file.
pub(super) struct Entry {
    /// The key that is meant.
    pub key: KeyName,
    /// Where the key stands.
    pub key_span: Range<usize>,
    /// The value, without its quotes.
    pub value: String,
    /// Where the value's pieces stand; more than one where it was wrapped.
    pieces: Vec<Range<usize>>,
}

impl Entry {
    /// Where the bytes `part` of the value stand in the file.
    pub fn place(&self, part: Range<usize>) -> Range<usize> {
        let mut skipped = 0;
        for piece in &self.pieces {
            if part.start < skipped + piece.len() || (part.is_empty() && part.start == skipped + piece.len())
            {
                let start = piece.start + part.start - skipped;
                return start..(start + part.len()).min(piece.end);
            }
            skipped += piece.len();
        }
        self.key_span.clone()
    }

    /// Where the whole value stands, as far as it is on its first line.
    pub fn value_span(&self) -> Range<usize> {
        self.pieces.first().cloned().unwrap_or_else(|| self.key_span.clone())
    }
}

/// Everything that is read off one text: what it says, and what is to be known about it.
pub(super) struct Lines<'a> {
    pub source: Source<'a>,
    pub dialect: Dialect,
    pub diagnostics: Vec<(usize, Diagnostic)>,
    /// How many diagnostics there are beyond those that are told.
    pub more: usize,
    has_fault: bool,
    lines: Vec<Range<usize>>,
}

/// How many diagnostics of one file are told, and the first fault beyond them.
const MOST: usize = 200;

const TYPOGRAPHIC: [char; 5] = ['“', '”', '„', '«', '»'];
const SINGLE: [char; 3] = ['\'', '‘', '’'];

impl<'a> Lines<'a> {
    pub fn new(path: &'a Path, text: &'a str, dialect: Dialect) -> Lines<'a> {
        let mut lines = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            lines.push(start..start + line.trim_end_matches(['\n', '\r']).len());
            start += line.len();
        }
        Lines {
            source: Source { path, text },
            dialect,
            diagnostics: Vec::new(),
            more: 0,
            has_fault: false,
            lines,
        }
    }

    pub fn say(
        &mut self,
        weight: Weight,
        span: Range<usize>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        if self.diagnostics.len() >= MOST && (weight != Weight::Fault || self.has_fault) {
            self.more += 1;
            return;
        }
        self.has_fault |= weight == Weight::Fault;
        let at = span.start;
        let fault: Fault = self.source.fault(span, message, mend);
        self.diagnostics.push((at, Diagnostic { weight, fault }));
    }

    /// Says something about the file as a whole.
    pub fn say_of_file(&mut self, weight: Weight, message: impl Into<String>, mend: impl Into<String>) {
        let fault = Fault::of_file(self.source.path, message, mend);
        self.diagnostics.push((usize::MAX, Diagnostic { weight, fault }));
    }

    /// Every setting of the text.
    pub fn entries(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut number = 0;
        while let Some(line) = self.lines.get(number).cloned() {
            number += 1;
            let text = &self.source.text[line.clone()];
            let trimmed = text.trim_start_matches([' ', '\t', '\u{feff}']);
            if trimmed.trim().is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let start = line.start + (text.len() - trimmed.len());
            let length =
                trimmed.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(trimmed.len());
            let written = start..start + length;
            if !self.looks_like_a_setting(&written, line.end) {
                self.no_setting(start..line.end);
                continue;
            }
            let Some(key) = self.key(written.clone()) else {
                number = self.skip_value(number, written.end..line.end);
                continue;
            };
            if text.len() > LONGEST {
                let says = format!(
                    "this line has {} bytes; {} read only the first {LONGEST}, here all are read",
                    text.len(),
                    self.dialect.name()
                );
                self.say(Weight::Note, written.clone(), says, "nothing to mend for portcullis");
            }
            if start > line.start && !text.starts_with('\u{feff}') {
                let says = format!("{} passed over a key behind blanks", self.dialect.name());
                self.say(Weight::Repaired, line.start..written.end, says, "begin the line with the key");
            }
            if let Some((value, pieces)) = self.value(key, written.clone(), line.end, &mut number) {
                entries.push(Entry { key, key_span: written, value, pieces });
            }
        }
        entries
    }

    fn text(&self, span: Range<usize>) -> &'a str {
        &self.source.text[span]
    }

    /// Whether behind the word comes `=` or a quote.
    fn looks_like_a_setting(&self, key: &Range<usize>, end: usize) -> bool {
        let rest = self.text(key.end..end).trim_start();
        !key.is_empty()
            && (rest.starts_with('=')
                || (rest.starts_with(TYPOGRAPHIC) || rest.starts_with(['"', '\'']))
                || KeyName::of(self.text(key.clone())).is_some())
    }

    fn no_setting(&mut self, span: Range<usize>) {
        let (weight, did) = match self.dialect {
            Dialect::One => (Weight::LeftOut, "passed over it in silence"),
            Dialect::Two => (Weight::Fault, "did not start with it"),
        };
        let says = format!("this line is neither a setting nor a comment; {} {did}", self.dialect.name());
        self.say(weight, span, says, "write KEY=\"value\", or # before a comment");
    }

    /// The key that is meant by the word at `span`, if any.
    fn key(&mut self, span: Range<usize>) -> Option<KeyName> {
        let written = self.text(span.clone());
        if let Some(key) = KeyName::of(written) {
            return Some(key);
        }
        if let Some(key) = KeyName::of(&written.to_ascii_uppercase()) {
            let says = format!("{} knows keys in capitals only", self.dialect.name());
            self.say(Weight::Repaired, span, says, format!("write {}", key.name()));
            return Some(key);
        }
        if self.dialect == Dialect::Two
            && let Some(key) = KeyName::abbreviated(written)
        {
            let says =
                format!("{written} is short for {}, which PortSentry 2.x takes by accident", key.name());
            self.say(Weight::Repaired, span, says, format!("write {}", key.name()));
            return Some(key);
        }
        let (weight, did) = match self.dialect {
            Dialect::One => (Weight::LeftOut, "passes over it in silence"),
            Dialect::Two => (Weight::Fault, "does not start with it"),
        };
        let mend = match super::super::suggest::nearest(written, KeyName::ALL.iter().map(|key| key.name())) {
            Some(name) => format!("did you mean {name}?"),
            None => "delete the line, or put # before it".to_owned(),
        };
        self.say(weight, span, format!("there is no key {written}; {} {did}", self.dialect.name()), mend);
        None
    }

    /// Passes over the further lines of a value whose key is unknown, which would only repeat the fault.
    fn skip_value(&self, number: usize, rest: Range<usize>) -> usize {
        let unclosed = self.text(rest).matches('"').count() == 1;
        if unclosed { self.closing_line(number).map_or(number, |closing| closing + 1) } else { number }
    }

    /// The value behind the key at `key`, and the places of its pieces.
    fn value(
        &mut self,
        key: KeyName,
        key_span: Range<usize>,
        end: usize,
        number: &mut usize,
    ) -> Option<(String, Vec<Range<usize>>)> {
        let rest = self.text(key_span.end..end);
        let (before, after) = match rest.split_once('=') {
            Some((before, after)) if before.trim().is_empty() => (before, Some(after)),
            _ => (rest, None),
        };
        let name = key.name();
        if after.is_some() && before.contains('\t') && self.dialect == Dialect::One {
            let says = "PortSentry 1.x passed over a key with a tab before the =";
            self.say(Weight::Repaired, key_span.clone(), says, format!("write {name}=\"…\""));
        }
        if after.is_none() && self.dialect == Dialect::Two {
            let says = "the = is missing; PortSentry 2.x did not start with it";
            self.say(Weight::Repaired, key_span.clone(), says, format!("write {name}=\"…\""));
        }
        let behind = after.unwrap_or(rest);
        let value = behind.trim_start();
        let start = end - value.len();
        let Some(first) = value.chars().next() else {
            self.say(Weight::Fault, key_span, format!("{name} has no value"), format!("write {name}=\"…\""));
            return None;
        };
        let inner = start + first.len_utf8();
        if first == '"' {
            return self.quoted(key, inner, end, &['"'], number);
        }
        let did = match self.dialect {
            Dialect::One => "took the key for absent",
            Dialect::Two => "did not start with it",
        };
        let mend = format!("write {name}=\"…\" with plain double quotes: \"");
        if TYPOGRAPHIC.contains(&first) {
            let says = format!("typographic quotes; {} {did}", self.dialect.name());
            self.say(Weight::Repaired, start..inner, says, mend);
            return self.quoted(key, inner, end, &['“', '”', '„', '«', '»', '"'], number);
        }
        if SINGLE.contains(&first)
            && let Some(last) = self.text(inner..end).rfind(SINGLE)
        {
            let says = format!("single quotes; {} {did}", self.dialect.name());
            self.say(Weight::Repaired, start..inner, says, mend);
            return Some(self.whole(inner..inner + last));
        }
        if let Some(quote) = value.find('"').filter(|_| self.dialect == Dialect::One) {
            let says =
                "the value begins at the quote; what stands before it is passed over, as PortSentry did";
            self.say(Weight::Note, start..start + quote, says, format!("write {name}=\"…\""));
            return self.quoted(key, start + quote + 1, end, &['"'], number);
        }
        let bare = value.trim_end();
        if bare.contains(['#', '\'', '"']) || bare.contains(TYPOGRAPHIC) {
            let says = format!("{name} has no quotes around its value, and where it ends is not plain");
            self.say(Weight::Fault, start..start + bare.len(), says, mend);
            return None;
        }
        let says = format!("quotes are missing; {} {did}", self.dialect.name());
        self.say(Weight::Repaired, start..start + bare.len(), says, format!("write {name}=\"{bare}\""));
        Some(self.whole(start..start + bare.len()))
    }

    fn whole(&self, span: Range<usize>) -> (String, Vec<Range<usize>>) {
        (self.text(span.clone()).to_owned(), vec![span])
    }

    /// The value from `start` to one of the closing quotes, on this line, or behind a wrap.
    fn quoted(
        &mut self,
        key: KeyName,
        start: usize,
        end: usize,
        closers: &[char],
        number: &mut usize,
    ) -> Option<(String, Vec<Range<usize>>)> {
        let text = self.text(start..end);
        if let Some(length) = text.find(closers) {
            self.tail(key, &text[length..], start + length);
            self.control_characters(start..start + length);
            return Some(self.whole(start..start + length));
        }
        let trimmed = text.trim_end();
        if let Some(close) = trimmed.chars().next_back().filter(|last| TYPOGRAPHIC.contains(last)) {
            let length = trimmed.len() - close.len_utf8();
            let says = "the closing quote is typographic; PortSentry did not see it";
            self.say(
                Weight::Repaired,
                start + length..start + trimmed.len(),
                says,
                "close the value with a plain double quote: \"",
            );
            return Some(self.whole(start..start + length));
        }
        if key.is_list()
            && is_list_text(text)
            && self.lines.get(*number).is_some_and(|next| self.continues(next))
        {
            return Some(self.wrapped_list(key, start..start + trimmed.len(), closers, number));
        }
        if let Some(closing) = self.closing_line(*number) {
            let says = format!(
                "{} is not closed on its line and seems to go on below; PortSentry read no further",
                key.name()
            );
            self.say(Weight::Fault, start..end, says, "write the whole value on one line");
            *number = closing + 1;
            return None;
        }
        let weight = match self.dialect {
            Dialect::One => Weight::Note,
            Dialect::Two => Weight::Repaired,
        };
        self.say(
            weight,
            start..end,
            "the closing quote is missing; the value ends with the line",
            "add a \" at the end",
        );
        self.control_characters(start..start + trimmed.len());
        Some(self.whole(start..start + trimmed.len()))
    }

    /// Whether a line can only be more of a list: digits, commas, dashes and blanks, perhaps a closing quote.
    fn continues(&self, line: &Range<usize>) -> bool {
        let text = self.text(line.clone()).trim();
        let text = text.trim_end_matches(|c: char| c == '"' || TYPOGRAPHIC.contains(&c));
        is_list_text(text) && text.contains(|c: char| c.is_ascii_digit())
    }

    /// A list that somebody's mail program or web page has wrapped: its lines, put together as they were.
    fn wrapped_list(
        &mut self,
        key: KeyName,
        first: Range<usize>,
        closers: &[char],
        number: &mut usize,
    ) -> (String, Vec<Range<usize>>) {
        let mut value = self.text(first.clone()).to_owned();
        let mut pieces = vec![first.clone()];
        let mut broken = Vec::new();
        while let Some(line) = self.lines.get(*number).cloned().filter(|line| self.continues(line)) {
            *number += 1;
            let text = self.text(line.clone());
            let lead = text.len() - text.trim_start().len();
            let close = text.find(|c: char| closers.contains(&c) || TYPOGRAPHIC.contains(&c) || c == '"');
            let body = text[lead..close.unwrap_or(text.len())].trim_end();
            let number_before: String = {
                // Six digits are no port any more, so more need not be looked at.
                let digits = value.bytes().rev().take(6).take_while(u8::is_ascii_digit).count();
                value[value.len() - digits..].to_owned()
            };
            let number_behind: String = body.chars().take_while(char::is_ascii_digit).collect();
            if !number_before.is_empty() && !number_behind.is_empty() {
                broken.push(format!("{number_before} and {number_behind} as {number_before}{number_behind}"));
            }
            value.push_str(body);
            pieces.push(line.start + lead..line.start + lead + body.len());
            if close.is_some() {
                break;
            }
        }
        let broken = match broken.as_slice() {
            [] => String::new(),
            some => format!(", {}", some.join(", ")),
        };
        let says = format!(
            "{} is wrapped over several lines; PortSentry read only the first. Read as one list{broken}",
            key.name()
        );
        self.say(Weight::Repaired, first, says, format!("write {}=\"{value}\" on one line", key.name()));
        (value, pieces)
    }

    /// The line below that closes a value which was left open, if one does before the next setting or comment.
    fn closing_line(&self, number: usize) -> Option<usize> {
        for (index, line) in self.lines.iter().enumerate().skip(number).take(20) {
            let text = self.text(line.clone());
            let word = text.trim_start();
            let length = word.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(word.len());
            let start = line.start + (text.len() - word.len());
            let setting =
                word[length..].trim_start().starts_with('=') && KeyName::of(&word[..length]).is_some();
            if text.trim().is_empty() || text.starts_with('#') || setting {
                return None;
            }
            if self.text(start..line.end).contains('"') {
                return Some(index);
            }
        }
        None
    }

    /// Says what stands behind the closing quote, which begins `tail`.
    fn tail(&mut self, key: KeyName, tail: &str, at: usize) {
        let quote = tail.chars().next().map_or(0, char::len_utf8);
        let rest = tail[quote..].trim();
        if rest.is_empty() || rest.starts_with('#') {
            return;
        }
        let span = at..at + tail.trim_end().len();
        let says =
            format!("{}: the value ends here; what follows is passed over, as PortSentry did", key.name());
        let mend = "inside a value use single quotes; a comment begins with #";
        self.say(if rest.contains('"') { Weight::Doubtful } else { Weight::Note }, span, says, mend);
    }

    fn control_characters(&mut self, span: Range<usize>) {
        let text = self.text(span.clone());
        if let Some(place) = text.find(char::is_control).filter(|_| self.dialect == Dialect::One) {
            let at = span.start + place;
            let says = "PortSentry 1.x cut the value at this character; it is read whole";
            self.say(Weight::Repaired, at..at + 1, says, "write a blank instead of a tab");
        }
    }
}

fn is_list_text(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '-' | ' ' | '\t'))
}
