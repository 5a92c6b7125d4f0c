//! Spans of time as the configuration writes them: `10m`, `1h30m`, `250ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Units, longest first, with their length in milliseconds.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A span of time that reads and prints in the configuration's form; whole milliseconds, at most [`Span::LONGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// 100 years of 365 days. Beyond it nothing is meant but "ever", and there is a word for that.
    pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
}

/// Prints the longest units first; what is shorter than a millisecond is left out. Weeks are read, but not printed.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_millis();
        if left == 0 {
            return write!(f, "0s");
        }
        for (unit, length) in UNITS.iter().skip(1) {
            let count = left / u128::from(*length);
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
            left %= u128::from(*length);
        }
        Ok(())
    }
}

/// Why a text is no span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanError {
    /// Nothing stands there, or no number where one must.
    Form,
    /// A number has no unit; it.
    NoUnit(u64),
    /// No such unit; it.
    Unit(String),
    /// Longer than [`Span::LONGEST`].
    TooLong,
}

impl fmt::Display for SpanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpanError::Form => write!(f, "not a span of time"),
            SpanError::NoUnit(number) => write!(f, "{number} has no unit"),
            SpanError::Unit(unit) => {
                write!(f, "there is no unit \"{}\" (there are ms, s, m, h, d, w)", unit.escape_default())
            }
            SpanError::TooLong => write!(f, "longer than 100 years"),
        }
    }
}

impl std::error::Error for SpanError {}

/// Whole numbers with a unit (`ms s m h d w`), one after the other, blanks between them or not: `1h30m`, `1h 30m`.
impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Span, SpanError> {
        let mut rest = text.trim();
        let mut milliseconds: u64 = 0;
        if rest.is_empty() {
            return Err(SpanError::Form);
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            if digits == 0 {
                return Err(SpanError::Form);
            }
            let number: u64 = rest[..digits].parse().map_err(|_| SpanError::TooLong)?;
            rest = rest[digits..].trim_start();
            let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
            let unit = &rest[..letters];
            if unit.is_empty() {
                return Err(if rest.is_empty() { SpanError::NoUnit(number) } else { SpanError::Form });
            }
            let Some((_, length)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(SpanError::Unit(unit.to_owned()));
            };
            milliseconds = number
                .checked_mul(*length)
                .and_then(|part| milliseconds.checked_add(part))
                .ok_or(SpanError::TooLong)?;
            rest = rest[letters..].trim_start();
        }
        let span = Duration::from_millis(milliseconds);
        if span > Span::LONGEST { Err(SpanError::TooLong) } else { Ok(Span(span)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans_of_time_read_and_print() {
        for (text, milliseconds, printed) in [
            ("10m", 600_000, "10m"),
            ("1h30m", 5_400_000, "1h30m"),
            (" 1h 30m ", 5_400_000, "1h30m"),
            ("250ms", 250, "250ms"),
            ("90s", 90_000, "1m30s"),
            ("2w", 1_209_600_000, "14d"),
            ("0s", 0, "0s"),
            ("1d1ms", 86_400_001, "1d1ms"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(span.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_is_no_span_of_time_says_why() {
        for (text, error) in [
            ("", SpanError::Form),
            ("m", SpanError::Form),
            ("-5s", SpanError::Form),
            ("1.5h", SpanError::Form),
            ("10", SpanError::NoUnit(10)),
            ("1h30", SpanError::NoUnit(30)),
            ("10min", SpanError::Unit("min".to_owned())),
            ("10 µs", SpanError::Unit("µs".to_owned())),
            ("101000d", SpanError::TooLong),
            ("99999999999999999999999s", SpanError::TooLong),
        ] {
            assert_eq!(text.parse::<Span>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_span_prints_as_what_reads_back(milliseconds in 0u64..3_153_600_000_000) {
            let span = Span(Duration::from_millis(milliseconds));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,12}|[0-9a-z ]{0,30}") {
            let _either_is_fine = text.parse::<Span>();
        }
    }
}
