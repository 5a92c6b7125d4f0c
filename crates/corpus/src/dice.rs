//! Numbers that look drawn and are not: the same seed gives the same corpus on every machine.

use std::time::Duration;

/// A generator of numbers (SplitMix64, Steele, Lea and Flood 2014): small, and good enough for ports and pauses.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The numbers of `seed` for `name`; two names with the same seed have nothing to do with each other.
    #[must_use]
    pub fn new(name: &str, seed: u64) -> Dice {
        // FNV-1a.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut dice = Dice { state: hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        dice.number();
        dice
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low + 1)
    }

    /// A port of `low` to `high`.
    pub fn port(&mut self, low: u16, high: u16) -> u16 {
        self.between(low.into(), high.into()) as u16
    }

    /// A count of `low` to `high`.
    pub fn count(&mut self, low: usize, high: usize) -> usize {
        self.between(low as u64, high as u64) as usize
    }

    /// True in `part` of 100 cases.
    pub fn percent(&mut self, part: u64) -> bool {
        self.number() % 100 < part
    }

    /// One of these.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.between(0, all.len() as u64 - 1) as usize]
    }

    /// These in another order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.between(0, last as u64) as usize);
        }
    }

    /// A pause of about `mean`: half of it to half as long again.
    pub fn about(&mut self, mean: Duration) -> Duration {
        let micros = mean.as_micros() as u64;
        Duration::from_micros(self.between(micros / 2, micros + micros / 2))
    }

    /// A pause of `low` to `high` microseconds.
    pub fn micros(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.between(low, high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_name_others() {
        let draw = |name, seed| {
            let mut dice = Dice::new(name, seed);
            [dice.number(), dice.number(), dice.number()]
        };
        assert_eq!(draw("one", 1), draw("one", 1));
        assert_ne!(draw("one", 1), draw("one", 2));
        assert_ne!(draw("one", 1), draw("two", 1));
        let mut dice = Dice::new("bounds", 0);
        assert!((0..1000).all(|_| (3..=5).contains(&dice.between(3, 5))));
    }
}
