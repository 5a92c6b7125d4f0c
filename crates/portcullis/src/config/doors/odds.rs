//! How hard a sequence is to guess.

use std::time::Duration;

use super::SequenceDoor;

/// What somebody faces who knows that there is a door, and knows nothing of its sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Odds {
    /// How many sequences of as many steps there are, with the protocols known.
    pub one_in: f64,
    /// How many years a thousand sources need on average, each of them guessing as fast as its wrong tries are not
    /// ignored.
    pub years_for_a_thousand: f64,
}

const YEAR_SECONDS: f64 = 365.25 * 86_400.0;

/// Ports that a guesser must choose from at each step; he is held to know the protocols.
const CHOICES: f64 = 65_535.0;

/// The odds of guessing a sequence of `steps`, where a source may try `wrong_tries` times within `ignored_for`.
#[must_use]
pub fn odds(steps: usize, wrong_tries: u32, ignored_for: Duration) -> Odds {
    let one_in = CHOICES.powi(i32::try_from(steps).unwrap_or(i32::MAX));
    let tries_a_second = 1000.0 * f64::from(wrong_tries.max(1)) / ignored_for.as_secs_f64().max(0.001);
    Odds { one_in, years_for_a_thousand: one_in / 2.0 / tries_a_second / YEAR_SECONDS }
}

impl SequenceDoor {
    /// The odds of guessing what opens it.
    #[must_use]
    pub fn odds(&self) -> Odds {
        odds(self.open.len(), self.wrong_tries, self.ignored_for)
    }
}

/// A large number as people say it: three digits, and the power of ten in words up to a trillion.
pub(super) fn said(number: f64) -> String {
    const NAMES: [(f64, &str); 4] =
        [(1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")];
    if number >= 1e15 {
        return format!("{number:.0e}").replace('e', " × 10^");
    }
    match NAMES.iter().find(|(size, _)| number >= *size) {
        Some((size, name)) => format!("{:.0} {name}", number / size),
        None if number >= 10.0 => format!("{number:.0}"),
        None => format!("{number:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odds_follow_from_steps_and_tries() {
        let three = odds(3, 10, Duration::from_secs(600));
        assert!((three.one_in / 65_535f64.powi(3) - 1.0).abs() < 1e-12);
        // 2.81e14 / 2 tries, 16.7 of them each second.
        assert!((three.years_for_a_thousand / 267_580.0 - 1.0).abs() < 0.01, "{three:?}");
        let slower = odds(3, 5, Duration::from_secs(1200));
        assert!((slower.years_for_a_thousand / three.years_for_a_thousand - 4.0).abs() < 1e-9);
    }

    #[test]
    fn large_numbers_are_said_in_words() {
        for (number, words) in [
            (2.25e15, "2 × 10^15"),
            (3.4e12, "3 trillion"),
            (2_140_700.0, "2 million"),
            (17_000.0, "17 thousand"),
            (12.0, "12"),
            (0.5, "0.5"),
        ] {
            assert_eq!(said(number), words);
        }
    }
}
