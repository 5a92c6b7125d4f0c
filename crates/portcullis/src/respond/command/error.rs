//! What went wrong with a command, for the person who wrote it.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use super::LONGEST_LINE;
use crate::config::portsentry::MissingProgram;
use crate::escape::printable;

/// How much of a command or of its last words a message repeats, in characters.
const QUOTED: usize = 300;

/// A command that did not succeed.
#[derive(Debug)]
pub struct CommandError {
    /// As it was run, macros replaced.
    pub command: String,
    /// How it ended.
    pub end: End,
    /// The last line that it printed; as it came, so to be cleaned before it is shown.
    pub said: Option<String>,
}

/// How a command ended that did not succeed.
#[derive(Debug)]
pub enum End {
    /// It is longer than a line may be, and was not run.
    TooLong,
    /// There was no shell, no process, no memory to run it.
    NotStarted(io::Error),
    /// With this exit status, from 1 to 255.
    Status(i32),
    /// With status 126 or 127, by which the shell says that a program can't be run or is not there.
    NotFound {
        /// 126 or 127.
        status: i32,
        /// The programs of the line that don't exist.
        missing: Vec<MissingProgram>,
    },
    /// The shell was killed by this signal.
    Signal(i32),
    /// It took too long and was ended.
    TimedOut {
        /// The time that it had.
        after: Duration,
        /// Whether it has really ended; a process that waits for a dead disk does not.
        is_gone: bool,
    },
    /// It could not be waited for.
    Unknown(io::Error),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the command \"{}\" ", shortened(&self.command))?;
        match &self.end {
            End::TooLong => write!(f, "is longer than {} KiB and was not run", LONGEST_LINE >> 10)?,
            End::NotStarted(error) => write!(f, "could not be started: {error}")?,
            End::Status(status) | End::NotFound { status, .. } => write!(f, "ended with status {status}")?,
            // In the words of std: `signal: 9 (SIGKILL)`.
            End::Signal(signal) => write!(f, "was ended by a {}", ExitStatus::from_raw(*signal))?,
            End::TimedOut { after, is_gone: true } => {
                write!(f, "was ended, as it still ran after {after:?}")?
            }
            End::TimedOut { after, is_gone: false } => {
                write!(f, "still ran after {after:?} and could not be ended")?;
            }
            End::Unknown(error) => write!(f, "was run, but its end is unknown: {error}")?,
        }
        if let Some(said) = &self.said {
            write!(f, ": {}", shortened(said))?;
        }
        f.write_str("; ")?;
        self.mend(f)
    }
}

impl CommandError {
    fn mend(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            End::TooLong => f.write_str("put it into a script, and name that"),
            End::NotStarted(error) if error.kind() == io::ErrorKind::InvalidInput => {
                f.write_str("take the NUL byte out of it")
            }
            End::NotStarted(_) => f.write_str(
                "see that /bin/sh exists, and that there is room for one more process (TasksMax= of the unit, memory)",
            ),
            End::NotFound { missing, .. } if missing.is_empty() => {
                f.write_str("see that its programs exist and may be executed")
            }
            End::NotFound { status, missing } => {
                let lack = if *status == 126 { "is no program that can be run" } else { "does not exist" };
                for (index, MissingProgram { program, found }) in missing.iter().enumerate() {
                    let separator = if index > 0 { "; " } else { "" };
                    let program = shortened(program);
                    match found {
                        Some(found) => {
                            let found = printable(&found.to_string_lossy());
                            write!(f, "{separator}{program} {lack}, but there is {found}: write that")?;
                        }
                        None => write!(
                            f,
                            "{separator}{program} {lack} on this host: install it, or write another command"
                        )?,
                    }
                }
                Ok(())
            }
            End::Status(status @ 129..=192) => write!(
                f,
                "a program in it was ended by a {}; run it by hand as root to see why",
                ExitStatus::from_raw(status - 128)
            ),
            End::Status(_) | End::Signal(_) => f.write_str("run it by hand as root to see what it lacks"),
            End::TimedOut { is_gone: true, .. } => f.write_str(
                "see what it waits for (a lock, a name server); long work belongs into the background, with & at its end",
            ),
            End::TimedOut { is_gone: false, .. } => {
                f.write_str("it waits for something in the kernel, often a dead disk or network file system; mend that")
            }
            End::Unknown(_) => f.write_str("see whether it did what it should"),
        }
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.end {
            End::NotStarted(error) | End::Unknown(error) => Some(error),
            _ => None,
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", printable(&text[..end])),
        None => printable(text),
    }
}
