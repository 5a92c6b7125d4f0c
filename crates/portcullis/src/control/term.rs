//! How long a ban or an allowance by hand shall hold: `10m`, `1h30m`, `ever`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::config::{Span, SpanError};

/// A length as an operator says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// So long, at least a second.
    For(Duration),
    /// Without an end; said by the word `ever` only, never by a number.
    Ever,
}

/// The shortest term: what is shorter is over before anybody has seen it.
const SHORTEST: Duration = Duration::from_secs(1);

impl Term {
    /// The duration; `None` for ever.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        match self {
            Term::For(duration) => Some(duration),
            Term::Ever => None,
        }
    }
}

/// Why a text is no term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TermError {
    /// Not a span of time.
    Span(SpanError),
    /// Shorter than a second, or nothing at all.
    TooShort,
}

impl fmt::Display for TermError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TermError::Span(error) => write!(f, "{error}; write 30s, 10m, 2h, 7d or ever"),
            TermError::TooShort => write!(f, "shorter than a second; write 1s or more, or ever for no end"),
        }
    }
}

impl std::error::Error for TermError {}

impl FromStr for Term {
    type Err = TermError;

    fn from_str(text: &str) -> Result<Term, TermError> {
        if text.trim() == "ever" {
            return Ok(Term::Ever);
        }
        match text.parse() {
            // A bare 0 was nearly always meant as "no end", which has a word.
            Err(SpanError::NoUnit(0)) => Err(TermError::TooShort),
            Err(error) => Err(TermError::Span(error)),
            Ok(Span(duration)) if duration < SHORTEST => Err(TermError::TooShort),
            Ok(Span(duration)) => Ok(Term::For(duration)),
        }
    }
}

/// In whole seconds, rounded up, so that what still holds never shows as over.
impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::For(duration) => {
                let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
                Span(Duration::from_secs(seconds)).fmt(f)
            }
            Term::Ever => f.write_str("ever"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_ever_is_said_by_its_word_only() {
        assert_eq!("10m".parse(), Ok(Term::For(Duration::from_secs(600))));
        assert_eq!("ever".parse(), Ok(Term::Ever));
        for text in ["0", "0s", "999ms"] {
            assert_eq!(text.parse::<Term>(), Err(TermError::TooShort), "{text}");
        }
        for text in ["", "10", "-1s", "for ever", "never", "99999999999w"] {
            assert!(matches!(text.parse::<Term>(), Err(TermError::Span(_))), "{text}");
        }
    }

    #[test]
    fn what_still_holds_never_shows_as_over() {
        assert_eq!(Term::For(Duration::from_millis(1)).to_string(), "1s");
        assert_eq!(Term::For(Duration::from_millis(599_001)).to_string(), "10m");
        assert_eq!(Term::Ever.to_string(), "ever");
    }
}
