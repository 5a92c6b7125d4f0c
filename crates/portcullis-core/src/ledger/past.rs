//! Who has been banned before: bans grow for a source that comes back.

use std::time::Duration;

use crate::event::How;
use crate::net::Prefix;
use crate::scan::sources::{Memory, Secret, Sources};
use crate::time::{Mono, Now, Wall};

/// Sources that were banned before are remembered up to this many; who came back least often is forgotten first.
const CAPACITY: usize = 65_536;

/// How long bans and holds are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// The first ban; `None` is for ever.
    pub first: Option<Duration>,
    /// What each return multiplies it by, at least 1.
    pub growth: f64,
    /// No automatic ban gets longer than this.
    pub ceiling: Duration,
    /// Who stays away so long after a ban or a hold counts as new.
    pub memory: Duration,
    /// The first hold; it grows likewise.
    pub hold: Duration,
    /// No hold gets longer than this.
    pub hold_ceiling: Duration,
}

/// What is remembered of a prefix whose ban has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// How often it was banned; 0 if somebody has let it in before its time, and the count begins anew.
    pub times: u32,
    /// When the last ban ended.
    pub ended: Wall,
}

/// The table.
pub(super) struct History {
    terms: Terms,
    sources: Sources<Ended>,
}

/// What has ended for one prefix. Bans and holds are counted apart, since somebody else may have brought the holds.
#[derive(Default)]
struct Ended {
    bans: Option<Spell>,
    holds: Option<Spell>,
}

/// So many of one kind, and when the last of them ended.
#[derive(Clone, Copy)]
struct Spell {
    /// 0: it was pardoned.
    times: u32,
    at: Mono,
    /// How long ago it was already at `at`: a ban of an earlier run may have ended before the machine booted.
    before: Duration,
}

impl Spell {
    fn ago(&self, now: Mono) -> Duration {
        now.since(self.at).saturating_add(self.before)
    }
}

impl Ended {
    fn of(&self, how: How) -> Option<&Spell> {
        match how {
            How::Held => self.holds.as_ref(),
            How::Banned => self.bans.as_ref(),
        }
    }
}

impl Memory for Ended {
    /// Holds, which strangers can bring about, never push out the memory of a ban.
    fn suspicion(&self, _: Mono) -> u32 {
        const MORE_THAN_HOLDS: u32 = 16;
        let holds = self.holds.map_or(0, |spell| spell.times.min(MORE_THAN_HOLDS - 1));
        self.bans.map_or(holds, |spell| spell.times.saturating_add(MORE_THAN_HOLDS))
    }

    fn last(&self) -> Mono {
        [self.bans, self.holds].into_iter().flatten().map(|spell| spell.at).max().unwrap_or_default()
    }
}

impl History {
    pub(super) fn new(terms: Terms, secret: Secret) -> History {
        History { terms, sources: Sources::new(CAPACITY, secret) }
    }

    pub(super) fn set_terms(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// The ban or hold with this number of times has ended.
    pub(super) fn add(&mut self, now: Now, prefix: Prefix, how: How, times: u32) {
        let spell = Some(Spell { times, at: now.mono, before: Duration::ZERO });
        let ended = self.sources.remember(now.mono, prefix, Ended::default);
        match how {
            How::Held => ended.holds = spell,
            How::Banned => ended.bans = spell,
        }
    }

    /// Somebody has let it in before its time: what was before no longer counts, and that is remembered.
    pub(super) fn pardon(&mut self, now: Now, prefix: Prefix) {
        let bans = Some(Spell { times: 0, at: now.mono, before: Duration::ZERO });
        *self.sources.remember(now.mono, prefix, Ended::default) = Ended { bans, holds: None };
    }

    pub(super) fn restore(&mut self, now: Now, prefix: Prefix, past: Past) {
        let before = now.wall.since(past.ended);
        if before <= self.terms.memory {
            let bans = Some(Spell { times: past.times, at: now.mono, before });
            self.sources.remember(now.mono, prefix, || Ended { bans, holds: None });
        }
    }

    pub(super) fn times(&self, now: Now, prefix: &Prefix, how: How) -> u32 {
        self.spell(now, prefix, how).map_or(0, |spell| spell.times)
    }

    /// When it was pardoned, if it has not been banned since.
    pub(super) fn pardoned(&self, now: Now, prefix: &Prefix) -> Option<Wall> {
        let spell = self.spell(now, prefix, How::Banned).filter(|spell| spell.times == 0)?;
        Some(Wall(now.wall.0.saturating_sub(spell.ago(now.mono))))
    }

    fn spell(&self, now: Now, prefix: &Prefix, how: How) -> Option<&Spell> {
        let spell = self.sources.get(prefix)?.of(how)?;
        (spell.ago(now.mono) <= self.terms.memory).then_some(spell)
    }

    pub(super) fn get(&self, now: Now, prefix: &Prefix) -> Option<Past> {
        let bans = self.sources.get(prefix)?.bans?;
        let ended = Wall(now.wall.0.saturating_sub(bans.ago(now.mono)));
        Some(Past { times: bans.times, ended })
    }

    pub(super) fn term(&self, now: Now, prefix: &Prefix, how: How) -> Option<Duration> {
        let (first, ceiling) = match how {
            How::Held => (self.terms.hold, self.terms.hold_ceiling),
            How::Banned => (self.terms.first?, self.terms.ceiling),
        };
        let returns = i32::try_from(self.times(now, prefix, how)).unwrap_or(i32::MAX);
        let factor = self.terms.growth.max(1.0).powi(returns);
        let ceiling = ceiling.max(first);
        let seconds = (first.as_secs_f64() * factor).min(ceiling.as_secs_f64());
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(ceiling).min(ceiling))
    }
}
