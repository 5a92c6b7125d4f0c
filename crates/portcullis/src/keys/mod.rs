//! Files with the secrets of doors, as both sides read and make them: the key of a rotating sequence ([`rotating`]),
//! sequences that are used once ([`one_time`]), and the guest's keys of single packets, in fwknop's file ([`client`]; the
//! host's is read by `config::fwknop`).
//!
//! The daemon, `check` and the verbs `key`, `knock` and `spa` come here. What is read lies in memory that is wiped when it
//! goes; no [`Fault`] ever repeats what stands in a file, since it may be a secret that was mistyped; and
//! [`memory::keep_out_of_dumps`] keeps all of it out of core dumps.

pub mod client;
pub mod make;
pub mod memory;
pub mod one_time;
pub mod place;
pub mod rotating;

use std::fmt;
use std::path::{Path, PathBuf};

pub use place::Place;

/// What is wrong with a file of secrets, without anything that stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, if it is one line's fault.
    pub line: Option<u32>,
    /// What is wrong, and why.
    pub message: String,
    /// How to mend it.
    pub mend: String,
}

impl Fault {
    fn of_file(path: &Path, message: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault { path: path.to_owned(), line: None, message: message.into(), mend: mend.into() }
    }

    fn of_line(path: &Path, line: u32, message: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault { line: Some(line), ..Fault::of_file(path, message, mend) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}\n  {}", self.message, self.mend)
    }
}

impl std::error::Error for Fault {}

/// Numbers the lines of a text from 1.
fn numbered(text: &str) -> impl Iterator<Item = (u32, &str)> {
    (1..).zip(text.lines())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::doors::Flags;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn no_text_makes_a_reader_panic_or_is_repeated(
            head in "portcullis rotating key, version 1\n|\\[a\\]\n|SOURCE ANY\nOPEN_PORTS tcp/22\n| 7000,8000\n|",
            word in "key = |KEY_BASE64 |HMAC_KEY |KEY |steps = | 7000,|[0-9=]{0,12}",
            secret in "[0-9A-Za-z+/=,;:#% ]{0,20}\\PC{0,3}",
        ) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), format!("{head}{word}XqZ{secret}\n")).unwrap();
            let place = Place::closed(file.path());
            let mut faults: Vec<Fault> = Vec::new();
            faults.extend(rotating::KeyFile::read(&place).err());
            faults.extend(client::read(&place, None).err());
            let sequences = one_time::read(&place, Flags::FIRST, Duration::from_secs(1)).unwrap();
            faults.extend(sequences.faults);
            for fault in faults {
                prop_assert!(!fault.message.contains("XqZ") && !fault.mend.contains("XqZ"), "{}", fault);
            }
        }
    }
}
