//! Who has been banned before: bans grow for a source that comes back.

use std::time::Duration;

use crate::net::Prefix;
use crate::scan::sources::{Memory, Secret, Sources};
use crate::time::{Mono, Now, Wall};

/// Sources that were banned before are remembered up to this many; who came back least often is forgotten first.
const CAPACITY: usize = 65_536;

/// How long bans are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// The first one; `None` is for ever.
    pub first: Option<Duration>,
    /// What each return multiplies it by, at least 1.
    pub growth: f64,
    /// No automatic ban gets longer than this.
    pub ceiling: Duration,
    /// Who stays away so long after a ban counts as new.
    pub memory: Duration,
}

/// What is remembered of a prefix whose ban has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// How often it was banned, from 1.
    pub times: u32,
    /// When the last ban ended.
    pub ended: Wall,
}

/// The table.
pub(super) struct History {
    terms: Terms,
    sources: Sources<Ended>,
}

struct Ended {
    times: u32,
    at: Mono,
    /// How long ago it was already at `at`: a ban of an earlier run may have ended before the machine booted.
    before: Duration,
}

impl Ended {
    fn ago(&self, now: Mono) -> Duration {
        now.since(self.at).saturating_add(self.before)
    }
}

impl Memory for Ended {
    fn suspicion(&self, _: Mono) -> u32 {
        self.times
    }

    fn last(&self) -> Mono {
        self.at
    }
}

impl History {
    pub(super) fn new(terms: Terms, secret: Secret) -> History {
        History { terms, sources: Sources::new(CAPACITY, secret) }
    }

    pub(super) fn set_terms(&mut self, terms: Terms) {
        self.terms = terms;
    }

    pub(super) fn add(&mut self, now: Now, prefix: Prefix, times: u32) {
        let begin = || Ended { times, at: now.mono, before: Duration::ZERO };
        let ended = self.sources.remember(now.mono, prefix, begin);
        *ended = Ended { times, at: now.mono, before: Duration::ZERO };
    }

    pub(super) fn restore(&mut self, now: Now, prefix: Prefix, past: Past) {
        let before = now.wall.since(past.ended);
        if before <= self.terms.memory {
            self.sources.remember(now.mono, prefix, || Ended { times: past.times, at: now.mono, before });
        }
    }

    pub(super) fn times(&self, now: Now, prefix: &Prefix) -> u32 {
        match self.sources.get(prefix) {
            Some(ended) if ended.ago(now.mono) <= self.terms.memory => ended.times,
            _ => 0,
        }
    }

    pub(super) fn get(&self, now: Now, prefix: &Prefix) -> Option<Past> {
        let ended = self.sources.get(prefix)?;
        let ago = ended.ago(now.mono);
        Some(Past { times: ended.times, ended: Wall(now.wall.0.saturating_sub(ago)) })
    }

    pub(super) fn term(&self, now: Now, prefix: &Prefix) -> Option<Duration> {
        let first = self.terms.first?;
        let returns = i32::try_from(self.times(now, prefix)).unwrap_or(i32::MAX);
        let factor = self.terms.growth.max(1.0).powi(returns);
        let ceiling = self.terms.ceiling.max(first);
        let seconds = (first.as_secs_f64() * factor).min(ceiling.as_secs_f64());
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(ceiling).min(ceiling))
    }
}
