//! Text from outside, made fit for a terminal or a log line.
//!
//! A stranger chooses banner texts and names, an operator chooses reasons: none of it may move the cursor, start a
//! second log line, or show its letters in another order than they stand. [`Escaped`] is for a text that stands alone,
//! [`printable`] for one in which a person reads what stands in a file, [`one_line`] for a message of ours in several
//! lines, where a log knows only one.

use std::fmt::{self, Write};

/// A foreign text that prints without harm: control characters, invisible formatting (bidirectional overrides above
/// all, CVE-2021-42574) and private or unassigned separators come out as `\u{…}`, line ends as `\n`, a backslash as
/// `\\`, so that nobody can forge an escape. Everything else prints as it is.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\\' => f.write_str("\\\\")?,
                _ if is_harmful(letter) => write!(f, "\\u{{{:x}}}", u32::from(letter))?,
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// Bytes that should be text: what is no UTF-8 comes out as `\xNN`, the rest as [`Escaped`].
#[derive(Clone, Copy)]
pub struct EscapedBytes<'a>(pub &'a [u8]);

impl fmt::Display for EscapedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            Escaped(chunk.valid()).fmt(f)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A foreign text made harmless where it is to be compared with its file: as [`Escaped`], but a backslash, of which old
/// commands are full, stays single, so that a text escaped in parts is not escaped again.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (index, part) in text.split('\\').enumerate() {
        if index > 0 {
            safe.push('\\');
        }
        safe += &Escaped(part).to_string();
    }
    safe
}

/// Characters that a terminal obeys, hides, or lets rearrange their neighbours (Unicode categories Cc, Cf, Zl, Zp and
/// the variation selectors and tags that carry hidden text).
fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}'                        // soft hyphen
            | '\u{61c}'                     // Arabic letter mark
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers: letters that show nothing
            | '\u{180b}'..='\u{180f}'       // Mongolian selectors
            | '\u{200b}'..='\u{200f}'       // zero width, direction marks
            | '\u{2028}'..='\u{202e}'       // line and paragraph separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}'       // word joiner, isolates, deprecated formats
            | '\u{fe00}'..='\u{fe0f}'       // variation selectors
            | '\u{feff}'                    // byte order mark
            | '\u{fff9}'..='\u{fffb}'       // interlinear annotation
            | '\u{1bca0}'..='\u{1bca3}'     // shorthand formats
            | '\u{1d173}'..='\u{1d17a}'     // musical formats
            | '\u{e0000}'..='\u{e0fff}') // tags and further variation selectors
}

/// A message of several lines (what is wrong, and how to mend it) on one, for a log that knows no other: `; ` between
/// them, a blank behind one that announces the next. What a fault shows of its file (`7 | BLOCK_TCP="1"`, and the caret
/// below) is left out: its place is named, and on one line the caret points nowhere. The rest as [`printable`].
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let is_shown = |part: &str| {
        part.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ' ').starts_with("| ")
    };
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty() && !is_shown(part)) {
        if !line.is_empty() {
            line += if line.ends_with(':') { " " } else { "; " };
        }
        line += &printable(part);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_stranger_sent_cannot_command_a_terminal() {
        for (text, shown) in [
            ("office scanner", "office scanner"),
            ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("one\ntwo\r\ttab", "one\\ntwo\\r\\ttab"),
            ("a\u{202e}fdp.exe", "a\\u{202e}fdp.exe"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\\u{1b}", "\\\\u{1b}"),
            ("Zürich 東京", "Zürich 東京"),
            ("\u{0}\u{7f}", "\\u{0}\\u{7f}"),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
        }
    }

    #[test]
    fn a_backslash_of_a_file_is_shown_as_it_stands() {
        assert_eq!(printable("a\\b\u{1b}\\"), "a\\b\\u{1b}\\");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        assert_eq!(EscapedBytes(b"eth\xff0\x07").to_string(), "eth\\xff0\\u{7}");
    }

    proptest! {
        #[test]
        fn nothing_harmful_gets_through(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let shown = EscapedBytes(&bytes).to_string();
            prop_assert!(!shown.chars().any(is_harmful));
        }
    }

    #[test]
    fn a_message_of_several_lines_becomes_one() {
        for (text, expected) in [
            ("plain", "plain"),
            ("/etc/a.conf:14:12: wrong\n  write it right\n", "/etc/a.conf:14:12: wrong; write it right"),
            ("not taken over:\n/etc/a.conf:1: no\n\nmend it", "not taken over: /etc/a.conf:1: no; mend it"),
            ("a.conf:14:3: wrong\n  14 | a = 1\n     |   ^\n  write 2", "a.conf:14:3: wrong; write 2"),
            ("iptables | sh", "iptables | sh"),
            ("\n\r\n", ""),
            ("a\rb\u{1b}[2J\n\\n", "a\\rb\\u{1b}[2J; \\n"),
        ] {
            assert_eq!(one_line(text), expected);
        }
    }
}
