//! How the program ends: the exit codes that scripts may depend on.

use std::process::ExitCode;

/// The exit codes of every verb (they stand in the manual; the personas keep their ancestors').
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// It could not be done.
    Failed = 1,
    /// The command line is not understood.
    Usage = 2,
    /// No daemon answers.
    NotReachable = 3,
    /// The configuration has faults.
    ConfigurationInvalid = 4,
    /// Refused because a protected address would have been blocked.
    RefusedForSafety = 5,
    /// The caller lacks the right to do this.
    NotPermitted = 77,
}

impl Exit {
    /// Every code, smallest first.
    pub const ALL: [Exit; 7] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::NotReachable,
        Exit::ConfigurationInvalid,
        Exit::RefusedForSafety,
        Exit::NotPermitted,
    ];

    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit with this number; any other number is a failure.
    #[must_use]
    pub fn from_code(code: u8) -> Exit {
        Exit::ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Exit::Failed)
    }

    /// Of two parts of one task, how the whole ended: what was refused outranks what failed, and both outrank
    /// what was done.
    #[must_use]
    pub fn and(self, other: Exit) -> Exit {
        if other.rank() > self.rank() { other } else { self }
    }

    fn rank(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::RefusedForSafety => 2,
            Exit::ConfigurationInvalid => 3,
            Exit::Usage => 4,
            Exit::NotReachable => 5,
            Exit::NotPermitted => 6,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_that_were_promised() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 3, 4, 5, 77]);
        for exit in Exit::ALL {
            assert_eq!(Exit::from_code(exit.code()), exit);
        }
        assert_eq!(Exit::from_code(42), Exit::Failed);
    }

    #[test]
    fn one_refusal_among_many_successes_is_seen() {
        assert_eq!(Exit::Done.and(Exit::RefusedForSafety).and(Exit::Failed), Exit::RefusedForSafety);
    }
}
