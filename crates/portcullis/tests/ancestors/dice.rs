//! Chance that can be repeated: each test prints its seed, and takes one from the environment.

use std::time::{SystemTime, UNIX_EPOCH};

/// With this number in the environment a run throws the same dice again.
const SEED: &str = "PORTCULLIS_SEED";

/// SplitMix64 (Steele, Lea, Flood 2014): small, and even enough to choose ports.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// From the environment or the clock; the seed is printed, which is shown when the test fails.
    pub fn new(what: &str) -> Self {
        let given = std::env::var(SEED).ok();
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().to_string();
        let seed: u64 = given.unwrap_or_else(clock).parse().expect("a seed is a number");
        println!("{what}: {SEED}={seed}");
        Self { state: seed }
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// A port from `begin` on and below `end`.
    pub fn port(&mut self, begin: u16, end: u16) -> u16 {
        begin + u16::try_from(self.below(u64::from(end - begin))).expect("it is below a port")
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[usize::try_from(self.below(choice.len() as u64)).expect("it is below a length")]
    }
}
