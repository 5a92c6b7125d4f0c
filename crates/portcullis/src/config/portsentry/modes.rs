//! How PortSentry was started: the words of `/etc/default/portsentry`, `/etc/sysconfig/portsentry` and
//! `portsentry.modes`.

use std::path::Path;

use super::super::fault::Source;
use super::{Diagnostic, Weight};

/// One of the six modes of 1.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StartMode {
    /// `-tcp`: listening sockets.
    Tcp,
    /// `-udp`: listening sockets.
    Udp,
    /// `-stcp`: the listed ports, raw.
    Stcp,
    /// `-sudp`: the listed ports, raw.
    Sudp,
    /// `-atcp`: every port below a number, raw.
    Atcp,
    /// `-audp`: every port below a number, raw.
    Audp,
}

impl StartMode {
    /// Every mode.
    pub const ALL: [StartMode; 6] =
        [StartMode::Tcp, StartMode::Udp, StartMode::Stcp, StartMode::Sudp, StartMode::Atcp, StartMode::Audp];

    /// The word, as files and the command line have it (there behind a dash), and as `$MODE$` becomes.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            StartMode::Tcp => "tcp",
            StartMode::Udp => "udp",
            StartMode::Stcp => "stcp",
            StartMode::Sudp => "sudp",
            StartMode::Atcp => "atcp",
            StartMode::Audp => "audp",
        }
    }

    /// The mode of that word.
    #[must_use]
    pub fn of(word: &str) -> Option<StartMode> {
        StartMode::ALL.into_iter().find(|mode| mode.word() == word)
    }

    /// Whether it watches TCP; the others watch UDP.
    #[must_use]
    pub fn is_tcp(self) -> bool {
        self.word().ends_with("tcp")
    }
}

/// What a file of the system's start says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartModes {
    /// The modes that it starts, each once.
    pub modes: Vec<StartMode>,
    /// Words that are no mode, or none of the protocol whose setting has them.
    pub invalid: Vec<String>,
    /// What is to be known of its lines.
    pub diagnostics: Vec<Diagnostic>,
}

/// Whether a text is one that says modes: nothing but comments, `TCP_MODE=`, `UDP_MODE=`, `MODE=`, and mode words.
#[must_use]
pub fn is_modes(text: &str) -> bool {
    let mut words = words(text).peekable();
    words.peek().is_some()
        && words
            .all(|word| word.setting.is_some() || word.text == "none" || StartMode::of(word.text).is_some())
}

/// The modes that `text`, which stands in the file at `path`, starts; as [`start_modes`].
#[must_use]
pub fn read_modes(path: &Path, text: &str) -> (Vec<StartMode>, Vec<Diagnostic>) {
    let read = start_modes(path, text);
    (read.modes, read.diagnostics)
}

/// What `text`, which stands in the file at `path`, starts. Of several lines with one setting the last holds, as in
/// the shell that read these files; `none` and an empty word start nothing.
#[must_use]
pub fn start_modes(path: &Path, text: &str) -> StartModes {
    let source = Source { path, text };
    let mut read = StartModes::default();
    let words: Vec<Word> = words(text).collect();
    let holds = |word: &Word| {
        let last = words.iter().rfind(|other| other.setting == word.setting);
        word.setting.is_none() || last.is_some_and(|last| last.line == word.line)
    };
    for word in words.iter().filter(|word| holds(word)) {
        let span = word.at..word.at + word.text.len();
        let plain = word.text.trim_matches(QUOTES).trim();
        let mut say = |weight, span, says: String, mend: String| {
            read.diagnostics.push(Diagnostic { weight, fault: source.fault(span, says, mend) });
        };
        if word.text.contains(&QUOTES[2..]) {
            let says = "typographic quotes, which the shell takes for part of the word";
            let mend = format!("write \"{plain}\" with plain double quotes");
            say(Weight::Repaired, span.clone(), says.to_owned(), mend);
        }
        let bare = plain.strip_prefix('-').unwrap_or(plain);
        if bare != plain {
            let says = "the dash belongs to the command line".to_owned();
            say(Weight::Repaired, span.clone(), says, format!("write {bare}"));
        }
        match StartMode::of(bare) {
            Some(mode) if word.setting.is_none_or(|setting| setting.takes(mode)) => {
                if !read.modes.contains(&mode) {
                    read.modes.push(mode);
                }
            }
            None if bare.is_empty() || bare == "none" => {}
            found => {
                let (says, mend) = match (found, word.setting) {
                    (Some(_), Some(Setting::Tcp)) => ("no mode of TCP", "its modes are tcp, stcp, atcp"),
                    (Some(_), Some(Setting::Udp)) => ("no mode of UDP", "its modes are udp, sudp, audp"),
                    _ => ("no mode", "the modes are tcp, udp, stcp, sudp, atcp, audp"),
                };
                say(Weight::LeftOut, span, format!("\"{bare}\" is {says}"), mend.to_owned());
                read.invalid.push(bare.to_owned());
            }
        }
    }
    read
}

/// Plain quotes, then those of word processors.
const QUOTES: [char; 9] = ['"', '\'', '“', '”', '„', '‘', '’', '«', '»'];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Tcp,
    Udp,
    Either,
}

impl Setting {
    fn takes(self, mode: StartMode) -> bool {
        match self {
            Setting::Tcp => mode.is_tcp(),
            Setting::Udp => !mode.is_tcp(),
            Setting::Either => true,
        }
    }
}

/// A word that should be a mode.
struct Word<'a> {
    /// The setting whose value it is, if any.
    setting: Option<Setting>,
    /// As written, with its quotes.
    text: &'a str,
    /// Where it begins in the text, in bytes.
    at: usize,
    /// The line, counted from 0.
    line: usize,
}

fn words(text: &str) -> impl Iterator<Item = Word<'_>> {
    const SETTINGS: [(&str, Setting); 3] =
        [("TCP_MODE=", Setting::Tcp), ("UDP_MODE=", Setting::Udp), ("MODE=", Setting::Either)];
    let start_of = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    text.lines().enumerate().flat_map(move |(number, line)| {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        let line = line.trim().strip_prefix("export ").unwrap_or(line.trim()).trim_start_matches('\u{feff}');
        let found = SETTINGS.into_iter().find_map(|(name, setting)| {
            let value = line.strip_prefix(name)?.trim_end_matches([';', ' ', '\t']);
            Some((setting, value))
        });
        let word = |setting, text| Word { setting, text, at: start_of(text), line: number };
        match found {
            // An empty value is one too: it takes the place of an earlier one.
            Some((setting, value)) if value.trim().is_empty() => vec![word(Some(setting), value)],
            Some((setting, value)) => {
                value.split_whitespace().map(|text| word(Some(setting), text)).collect()
            }
            None => line.split_whitespace().map(|text| word(None, text)).collect::<Vec<Word>>(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_files_that_say_modes_are_read() {
        use StartMode::{Atcp, Sudp, Tcp, Udp};
        for (text, modes, said) in [
            ("# Debian\nTCP_MODE=\"tcp\"\nUDP_MODE=\"udp\"\n", vec![Tcp, Udp], 0),
            ("TCP_MODE=”tcp”\nUDP_MODE=''", vec![Tcp], 1),
            ("MODE=atcp\n", vec![Atcp], 0),
            ("MODE=none\n", vec![], 0),
            ("atcp # advanced\nsudp sudp\n", vec![Atcp, Sudp], 0),
            ("TCP_MODE=\"fast\"\n", vec![], 1),
            ("TCP_MODE=\"tcp\" # listening\nUDP_MODE=udp;\n", vec![Tcp, Udp], 0),
            ("TCP_MODE=”tcp”\r\nUDP_MODE=“udp”\r\n", vec![Tcp, Udp], 2),
            ("TCP_MODE=\"tcp\"\nTCP_MODE=\"atcp\"\n", vec![Atcp], 0),
            ("TCP_MODE=\"tcp\"\nTCP_MODE=\"\"\n", vec![], 0),
            ("TCP_MODE=\"tcp\"\nTCP_MODE=\n", vec![], 0),
            ("MODE=\"tcp udp\"\n", vec![Tcp, Udp], 0),
            ("MODE=-atcp\n", vec![Atcp], 1),
            ("TCP_MODE=\"udp\"\n", vec![], 1),
            ("UDP_MODE=\"$OTHER\"\n", vec![], 1),
        ] {
            assert!(is_modes(text), "{text}");
            let (read, diagnostics) = read_modes(Path::new("m"), text);
            assert_eq!((read, diagnostics.len()), (modes, said), "{text}");
        }
        let read = start_modes(Path::new("m"), "TCP_MODE=\"udp\"\nUDP_MODE=\"fast\"\n");
        assert_eq!(read.invalid, ["udp", "fast"]);
        for text in ["", "127.0.0.1\n", "TCP_PORTS=\"1\"\n", "# nothing\n"] {
            assert!(!is_modes(text), "{text}");
        }
    }
}
