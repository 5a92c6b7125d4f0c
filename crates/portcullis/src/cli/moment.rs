//! Moments as a person writes them: `24h` ago, a day, a time of day in local time, or RFC 3339.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use portcullis_core::time::Wall;

use crate::config::Span;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long ago.
    Ago(Duration),
    /// At that time.
    At(Wall),
}

impl Moment {
    /// On the clock of the wall, before which so much has gone by until now.
    #[must_use]
    pub fn wall(self, now: Wall) -> Wall {
        match self {
            Moment::Ago(span) => Wall(now.0.saturating_sub(span)),
            Moment::At(wall) => wall,
        }
    }
}

/// The time of day, by the system's clock.
#[must_use]
pub fn now() -> Wall {
    // Before 1970 nothing was kept.
    Wall(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Milliseconds since 1970.
#[must_use]
pub fn milliseconds(wall: Wall) -> i64 {
    i64::try_from(wall.0.as_millis()).unwrap_or(i64::MAX)
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        if let Ok(Span(span)) = text.parse() {
            return Ok(Moment::Ago(span));
        }
        let stamp = text.parse::<Timestamp>().ok().or_else(|| {
            let local: DateTime = text.parse().ok()?;
            Some(local.to_zoned(TimeZone::system()).ok()?.timestamp())
        });
        let milliseconds = stamp.and_then(|stamp| u64::try_from(stamp.as_millisecond()).ok());
        milliseconds.map(|milliseconds| Moment::At(Wall(Duration::from_millis(milliseconds)))).ok_or_else(|| {
            "not a moment; write 30m, 24h or 7d for so long ago, 2026-11-21 or 2026-11-21T14:30 for local \
             time, or 2026-11-21T14:30:00Z"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_said_in_three_ways() {
        assert_eq!("90m".parse(), Ok(Moment::Ago(Duration::from_secs(5400))));
        let at = |seconds| Ok(Moment::At(Wall(Duration::from_secs(seconds))));
        assert_eq!("2026-11-21T02:08:20Z".parse::<Moment>(), at(1_795_226_900));
        assert_eq!("2026-11-21T03:08:20+01:00".parse::<Moment>(), at(1_795_226_900));
        for local in ["2026-11-21", "2026-11-21T02:08", "2026-11-21 02:08:20"] {
            assert!(matches!(local.parse(), Ok(Moment::At(_))), "{local}");
        }
        for text in ["", "10", "yesterday", "2026-13-01", "1969-12-31T00:00:00Z", "-1h"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
