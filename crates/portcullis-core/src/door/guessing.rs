//! Who has guessed wrong too often.

use std::net::IpAddr;

use super::Patience;
use crate::net::Prefix;
use crate::scan::sources::{Memory, Secret, Sources};
use crate::time::Mono;

/// Sources kept; who guessed more is forgotten later.
const SOURCES: usize = 16_384;

struct Tries {
    wrong: u32,
    last: Mono,
}

impl Memory for Tries {
    fn suspicion(&self, _: Mono) -> u32 {
        self.wrong
    }

    fn last(&self) -> Mono {
        self.last
    }
}

pub(crate) struct Guessing {
    sources: Sources<Tries>,
}

impl Guessing {
    pub(crate) fn new(secret: Secret) -> Guessing {
        Guessing { sources: Sources::new(SOURCES, secret) }
    }

    /// A try was wrong.
    pub(crate) fn add(&mut self, now: Mono, source: IpAddr, patience: Patience) {
        let tries = self.sources.remember(now, Prefix::single(source), || Tries { wrong: 0, last: now });
        if now.since(tries.last) >= patience.pause {
            tries.wrong = 0;
        }
        tries.wrong = tries.wrong.saturating_add(1);
        tries.last = now;
    }

    /// Whether this source is not listened to for now.
    pub(crate) fn is_ignored(&self, now: Mono, source: IpAddr, patience: Patience) -> bool {
        self.sources
            .get(&Prefix::single(source))
            .is_some_and(|tries| tries.wrong >= patience.tries && now.since(tries.last) < patience.pause)
    }

    /// It has got it right.
    pub(crate) fn forget(&mut self, source: IpAddr) {
        self.sources.forget(&Prefix::single(source));
    }
}
