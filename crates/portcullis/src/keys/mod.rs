//! Files with the secrets of doors, as both sides read and make them: the key of a rotating sequence ([`rotating`]) and
//! sequences that are used once ([`one_time`]).
//!
//! The daemon, `check` and the verbs `key`, `knock` and `spa` come here. What is read lies in memory that is wiped when it
//! goes; no [`Fault`] ever repeats what stands in a file, since it may be a secret that was mistyped; and
//! [`memory::keep_out_of_dumps`] keeps all of it out of core dumps.

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
