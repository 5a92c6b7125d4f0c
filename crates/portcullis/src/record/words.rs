//! The sentences that both renderings share.

use portcullis_core::event::Until;
pub use portcullis_core::words::{and, evidence, evidence_with_kinds, plural, seconds};

use super::json;
use crate::escape::Escaped;

/// Why blocking ended by itself.
pub const UNCONFIRMED: &str = "nobody has confirmed the trial in time (portcullis enforce --keep)";

/// Why blocking began again by itself.
pub const OBSERVED: &str = "the time of observing is over";

/// That the kernel did not take bans.
#[must_use]
pub fn not_enforced(bans: usize, answer: &str) -> String {
    format!(
        "the kernel did not take {bans} {}: {}; trying again",
        plural(bans as u64, "ban", "bans"),
        Escaped(answer)
    )
}

/// That the kernel did not let go of something.
#[must_use]
pub fn not_changed(answer: &str) -> String {
    format!("the kernel did not take a change of its sets: {}", Escaped(answer))
}

/// `until 2026-11-21T02:18:20.453Z`, or `for ever`.
#[must_use]
pub fn until(until: Until) -> String {
    match until {
        Until::At(_) => format!("until {}", json::until(until)),
        Until::Ever => "for ever".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_read_as_a_person_would_say_them() {
        for (milliseconds, words) in [
            (0, "less than 1 ms"),
            (4, "4 ms"),
            (99, "99 ms"),
            (400, "0.4 s"),
            (9_960, "10 s"),
            (61_000, "61 s"),
            (600_000, "10 min"),
            (86_400_000, "24 h"),
        ] {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), words);
        }
    }

    #[test]
    fn lists_read_as_a_person_would_say_them() {
        assert_eq!(and(&[]), "");
        assert_eq!(and(&["SYN"]), "SYN");
        assert_eq!(and(&["SYN", "FIN", "UDP"]), "SYN, FIN and UDP");
    }
}
