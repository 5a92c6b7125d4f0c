//! The words of PortSentry's command line, one after the other, as getopt_long(3) read them for 2.x; clap cannot,
//! since `-tcp` is one word there and three options here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::config::portsentry::StartMode;

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Stealth,
    Connect,
    Method,
    Interface,
    LogOutput,
    ConfigurationFile,
    Daemon,
    DisableLocalCheck,
    DisableServiceCheck,
    Debug,
    Verbose,
    Help,
    Version,
    State,
    PidFile,
    Foreground,
    Modes,
    AsConfigured,
    BackgroundChild,
}

/// How an option is written.
struct Declared {
    name: Name,
    long: &'static str,
    short: Option<u8>,
    takes_value: bool,
}

const fn declare(name: Name, long: &'static str, short: Option<u8>, takes_value: bool) -> Declared {
    Declared { name, long, short, takes_value }
}

/// Those of 2.x first; they may be shortened as long as they differ, and ours must not change what a short form means.
const OPTIONS: [Declared; 19] = [
    declare(Name::Stealth, "stealth", None, false),
    declare(Name::Connect, "connect", None, false),
    declare(Name::Method, "method", Some(b'm'), true),
    declare(Name::Interface, "interface", Some(b'i'), true),
    declare(Name::LogOutput, "logoutput", Some(b'l'), true),
    declare(Name::ConfigurationFile, "configfile", Some(b'c'), true),
    declare(Name::Daemon, "daemon", Some(b'D'), false),
    declare(Name::DisableLocalCheck, "disable-local-check", Some(b'L'), false),
    declare(Name::DisableServiceCheck, "disable-service-check", Some(b'S'), false),
    declare(Name::Debug, "debug", Some(b'd'), false),
    declare(Name::Verbose, "verbose", Some(b'v'), false),
    declare(Name::Help, "help", Some(b'h'), false),
    declare(Name::Version, "version", Some(b'V'), false),
    declare(Name::State, "state", None, true),
    declare(Name::PidFile, "pid-file", None, true),
    declare(Name::Foreground, "foreground", None, false),
    declare(Name::Modes, "modes", None, false),
    declare(Name::AsConfigured, "as-configured", None, false),
    declare(Name::BackgroundChild, super::BACKGROUND_CHILD, None, false),
];
const OF_THE_ORIGINAL: usize = 13;

/// One thing that the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Mode(StartMode),
    Option(Name),
    Value(Name, OsString),
    Plain(OsString),
}

/// A word that is no option, or a wrong one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    pub why: String,
    pub character: Option<u8>,
}

/// The mode that a one-dash word of 1.x names.
pub(super) fn mode(word: &OsStr) -> Option<StartMode> {
    word.to_str()?.strip_prefix('-').and_then(StartMode::of)
}

/// The words, read from the left. Whatever follows `--` is plain.
pub(super) struct Words<'a> {
    words: std::slice::Iter<'a, OsString>,
    /// The rest of a word of one-letter options.
    letters: Vec<u8>,
    is_over: bool,
}

impl<'a> Words<'a> {
    pub fn new(words: &'a [OsString]) -> Words<'a> {
        Words { words: words.iter(), letters: Vec::new(), is_over: false }
    }

    fn long(&mut self, written: &[u8]) -> Result<Word, Unknown> {
        let (name, attached) = match written.iter().position(|byte| *byte == b'=') {
            Some(at) => (&written[..at], Some(OsString::from_vec(written[at + 1..].to_vec()))),
            None => (written, None),
        };
        let shown = String::from_utf8_lossy(name).into_owned();
        let unknown = |why: String| Unknown { why, character: None };
        let declared = match OPTIONS.iter().find(|option| option.long.as_bytes() == name) {
            Some(option) => option,
            None => {
                let mut fitting = OPTIONS[..OF_THE_ORIGINAL]
                    .iter()
                    .filter(|option| option.long.as_bytes().starts_with(name));
                match (fitting.next(), fitting.next()) {
                    (Some(option), None) => option,
                    (Some(first), Some(second)) => {
                        let why = format!("--{shown} may be --{} or --{}", first.long, second.long);
                        return Err(unknown(why));
                    }
                    (None, _) => return Err(unknown(format!("there is no option --{shown}"))),
                }
            }
        };
        match (declared.takes_value, attached) {
            (false, None) => Ok(Word::Option(declared.name)),
            (false, Some(_)) => Err(unknown(format!("--{} takes no value", declared.long))),
            (true, Some(value)) => Ok(Word::Value(declared.name, value)),
            (true, None) => match self.words.next() {
                Some(value) => Ok(Word::Value(declared.name, value.clone())),
                None => Err(unknown(format!("--{} needs a value behind it", declared.long))),
            },
        }
    }

    fn letter(&mut self) -> Result<Word, Unknown> {
        let letter = self.letters.remove(0);
        let shown = letter.escape_ascii().to_string();
        let Some(declared) = OPTIONS.iter().find(|option| option.short == Some(letter)) else {
            let why = format!("there is no option -{shown}");
            return Err(Unknown { why, character: Some(letter) });
        };
        if !declared.takes_value {
            return Ok(Word::Option(declared.name));
        }
        let attached = std::mem::take(&mut self.letters);
        let value = match attached.is_empty() {
            false => Some(OsString::from_vec(attached)),
            true => self.words.next().cloned(),
        };
        match value {
            Some(value) => Ok(Word::Value(declared.name, value)),
            None => {
                Err(Unknown { why: format!("-{shown} needs a value behind it"), character: Some(letter) })
            }
        }
    }
}

impl Iterator for Words<'_> {
    type Item = Result<Word, Unknown>;

    fn next(&mut self) -> Option<Result<Word, Unknown>> {
        if !self.letters.is_empty() {
            return Some(self.letter());
        }
        let word = self.words.next()?;
        if self.is_over {
            return Some(Ok(Word::Plain(word.clone())));
        }
        if word == "--" {
            self.is_over = true;
            return self.next();
        }
        if let Some(mode) = mode(word) {
            return Some(Ok(Word::Mode(mode)));
        }
        match word.as_bytes() {
            [b'-', b'-', rest @ ..] => Some(self.long(rest)),
            [b'-', first, rest @ ..] => {
                self.letters = [&[*first], rest].concat();
                Some(self.letter())
            }
            _ => Some(Ok(Word::Plain(word.clone()))),
        }
    }
}
