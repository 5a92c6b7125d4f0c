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

/// Whether a text is one that says modes: nothing but comments, `TCP_MODE=`, `UDP_MODE=`, `MODE=`, and mode words.
#[must_use]
pub fn is_modes(text: &str) -> bool {
    let mut words = words(text).peekable();
    words.peek().is_some()
        && words.all(|(setting, word, _)| setting || StartMode::of(word).is_some() || word == "none")
}

/// The modes that `text`, which stands in the file at `path`, starts. `none` and an empty word start nothing.
#[must_use]
pub fn read_modes(path: &Path, text: &str) -> (Vec<StartMode>, Vec<Diagnostic>) {
    let source = Source { path, text };
    let (mut modes, mut diagnostics) = (Vec::new(), Vec::new());
    for (_, written, at) in words(text) {
        let span = at..at + written.len();
        let word = written.trim_matches(['"', '\'', '“', '”', '„', '‘', '’']);
        if written.contains(['“', '”', '„', '‘', '’']) {
            let says = "typographic quotes, which the shell takes for part of the word";
            let mend = format!("write \"{word}\" with plain double quotes");
            diagnostics
                .push(Diagnostic { weight: Weight::Repaired, fault: source.fault(span.clone(), says, mend) });
        }
        match StartMode::of(word) {
            Some(mode) if modes.contains(&mode) => {}
            Some(mode) => modes.push(mode),
            None if word.is_empty() || word == "none" => {}
            None => {
                let fault = source.fault(
                    span,
                    format!("\"{word}\" is no mode"),
                    "the modes are tcp, udp, stcp, sudp, atcp, audp",
                );
                diagnostics.push(Diagnostic { weight: Weight::LeftOut, fault });
            }
        }
    }
    (modes, diagnostics)
}

/// Each word that should be a mode: whether it is the value of a setting, the word as written, and where it stands.
fn words(text: &str) -> impl Iterator<Item = (bool, &str, usize)> {
    let start_of = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    text.lines().flat_map(move |line| {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        let line = line.trim().strip_prefix("export ").unwrap_or(line.trim());
        let setting =
            ["TCP_MODE=", "UDP_MODE=", "MODE="].into_iter().find_map(|name| line.strip_prefix(name));
        let words: Vec<(bool, &str, usize)> = match setting {
            Some(value) => {
                let value = value.trim();
                vec![(true, value, start_of(value))]
            }
            None => line.split_whitespace().map(|word| (false, word, start_of(word))).collect(),
        };
        words
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
        ] {
            assert!(is_modes(text), "{text}");
            let (read, diagnostics) = read_modes(Path::new("m"), text);
            assert_eq!((read, diagnostics.len()), (modes, said), "{text}");
        }
        for text in ["", "127.0.0.1\n", "TCP_PORTS=\"1\"\n", "# nothing\n"] {
            assert!(!is_modes(text), "{text}");
        }
    }
}
