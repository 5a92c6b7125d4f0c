//! The words of knockd's command line, as getopt_long(3) read them: short options in one word, long ones shortened as far
//! as they differ.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::{Asked, KnockdArguments};
use crate::cli::portsentry::BACKGROUND_CHILD;

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Interface,
    Daemon,
    Configuration,
    Debug,
    Lookup,
    PidFile,
    LogFile,
    Verbose,
    OnlyFour,
    Version,
    Help,
    State,
    BackgroundChild,
}

struct Declared {
    name: Name,
    long: &'static str,
    short: Option<u8>,
    takes_value: bool,
}

const fn declare(name: Name, long: &'static str, short: Option<u8>, takes_value: bool) -> Declared {
    Declared { name, long, short, takes_value }
}

/// Those of knockd first; ours must not change what a short form means.
const OPTIONS: [Declared; 13] = [
    declare(Name::Interface, "interface", Some(b'i'), true),
    declare(Name::Daemon, "daemon", Some(b'd'), false),
    declare(Name::Configuration, "config", Some(b'c'), true),
    declare(Name::Debug, "debug", Some(b'D'), false),
    declare(Name::Lookup, "lookup", Some(b'l'), false),
    declare(Name::PidFile, "pidfile", Some(b'p'), true),
    declare(Name::LogFile, "logfile", Some(b'g'), true),
    declare(Name::Verbose, "verbose", Some(b'v'), false),
    declare(Name::OnlyFour, "only-ip-v4", Some(b'4'), false),
    declare(Name::Version, "version", Some(b'V'), false),
    declare(Name::Help, "help", Some(b'h'), false),
    declare(Name::State, "state", None, true),
    declare(Name::BackgroundChild, BACKGROUND_CHILD, None, false),
];
const OF_THE_ORIGINAL: usize = 11;

/// Reads the words behind the program's name. Help and version end the reading where they stand; plain words are
/// passed over, as knockd did.
///
/// # Errors
/// A word is no option, or lacks its value; what is wrong with it.
pub(super) fn parse(words: &[OsString]) -> Result<Asked, String> {
    let mut arguments = KnockdArguments::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_bytes() {
            b"--" => break,
            [b'-', b'-', long @ ..] => {
                let (name, attached) = match long.iter().position(|byte| *byte == b'=') {
                    Some(at) => (&long[..at], Some(OsString::from_vec(long[at + 1..].to_vec()))),
                    None => (long, None),
                };
                let declared = find(name)?;
                let long = declared.long;
                let value = match (declared.takes_value, attached) {
                    (false, Some(_)) => return Err(format!("option '--{long}' takes no value")),
                    (false, None) => OsString::new(),
                    (true, Some(value)) => value,
                    (true, None) => {
                        let lacks = || format!("option '--{long}' needs a value behind it");
                        words.next().cloned().ok_or_else(lacks)?
                    }
                };
                if let Some(asked) = arguments.take(declared.name, value) {
                    return Ok(asked);
                }
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                let mut rest = letters;
                while let Some((&letter, behind)) = rest.split_first() {
                    rest = behind;
                    let shown = letter.escape_ascii();
                    let declared = OPTIONS.iter().find(|own| own.short == Some(letter));
                    let declared = declared.ok_or_else(|| format!("there is no option -{shown}"))?;
                    let value = match declared.takes_value {
                        false => OsString::new(),
                        true if rest.is_empty() => {
                            let lacks = || format!("option -{shown} needs a value behind it");
                            words.next().cloned().ok_or_else(lacks)?
                        }
                        true => OsStr::from_bytes(std::mem::take(&mut rest)).to_owned(),
                    };
                    if let Some(asked) = arguments.take(declared.name, value) {
                        return Ok(asked);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(Asked::Start(Box::new(arguments)))
}

/// The option that a long word names, whole or in a short form that fits only one of knockd's.
fn find(name: &[u8]) -> Result<&'static Declared, String> {
    let shown = String::from_utf8_lossy(name);
    if let Some(option) = OPTIONS.iter().find(|option| option.long.as_bytes() == name) {
        return Ok(option);
    }
    let mut fitting =
        OPTIONS[..OF_THE_ORIGINAL].iter().filter(|option| option.long.as_bytes().starts_with(name));
    match (fitting.next(), fitting.next()) {
        (Some(option), None) => Ok(option),
        (Some(first), Some(second)) => Err(format!("--{shown} may be --{} or --{}", first.long, second.long)),
        (None, _) => Err(format!("there is no option --{shown}")),
    }
}

impl KnockdArguments {
    fn take(&mut self, name: Name, value: OsString) -> Option<Asked> {
        match name {
            Name::Interface => self.interface = Some(value.to_string_lossy().into_owned()),
            Name::Daemon => self.is_background = true,
            Name::Configuration => self.configuration = PathBuf::from(value),
            Name::Debug => self.is_debug = true,
            Name::Lookup => self.looks_up = true,
            Name::PidFile => self.pid_file = Some(PathBuf::from(value)),
            Name::LogFile => self.log_file = Some(PathBuf::from(value)),
            Name::Verbose => self.is_verbose = true,
            Name::OnlyFour => self.only_four = true,
            Name::State => self.state = Some(PathBuf::from(value)),
            Name::BackgroundChild => self.is_background_child = true,
            Name::Version => return Some(Asked::Version),
            Name::Help => return Some(Asked::Help),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn start(line: &str) -> KnockdArguments {
        match parse(&words(line)) {
            Ok(Asked::Start(arguments)) => *arguments,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_are_read_as_getopt_read_them() {
        let all = KnockdArguments {
            interface: Some("eth1".to_owned()),
            is_background: true,
            configuration: "/k".into(),
            is_debug: true,
            looks_up: true,
            pid_file: Some("/p".into()),
            log_file: Some("/l".into()),
            is_verbose: true,
            only_four: true,
            ..KnockdArguments::default()
        };
        assert_eq!(start("-i eth1 -d -c /k -D -l -p /p -g /l -v -4"), all);
        assert_eq!(start("-dDlv4ieth1 -c/k plain -p/p -g/l"), all);
        let long = "--interface=eth1 --da --conf /k --deb --loo --pid /p --logf=/l --verb --only";
        assert_eq!(start(long), all);
        assert_eq!(start("-- -d"), KnockdArguments::default());
        assert_eq!(KnockdArguments::default().configuration, PathBuf::from("/etc/knockd.conf"));
    }

    #[test]
    fn help_version_and_what_is_not_understood() {
        assert_eq!(parse(&words("-d -V --nope")), Ok(Asked::Version));
        assert_eq!(parse(&words("--help")), Ok(Asked::Help));
        for (line, why) in [
            ("-x", "there is no option -x"),
            ("--nope", "there is no option --nope"),
            ("-i", "option -i needs a value behind it"),
            ("--config", "option '--config' needs a value behind it"),
            ("--daemon=1", "option '--daemon' takes no value"),
            ("--ver", "--ver may be --verbose or --version"),
            ("--stat /x", "there is no option --stat"),
        ] {
            assert_eq!(parse(&words(line)), Err(why.to_owned()), "{line}");
        }
    }
}
