//! An error with everything that led to it, in one sentence.

use std::error::Error;

/// What `error` says, then what its causes say: `cannot make the directory /x: Permission denied (os error 13)`. A cause
/// that the error has told already is not told twice.
#[must_use]
pub fn said(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !said.contains(&words) {
            said.push_str(": ");
            said.push_str(&words);
        }
        cause = inner.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error, &'static str);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.1)
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn the_cause_stands_behind_what_failed_once() {
        let full = || io::Error::other("no room");
        assert_eq!(said(&Outer(full(), "cannot save")), "cannot save: no room");
        assert_eq!(said(&Outer(full(), "cannot save: no room")), "cannot save: no room");
    }
}
