//! The brake: when more sources are found scanning than there are scanners at a time, somebody forges them, or we err.
//!
//! It never switches protection off. While it is on, sources whose address is not proved get the shortest hold and
//! nothing longer, those that are proved are banned as ever, and whoever has a connection with this host is kept back for
//! a minute: neither held nor banned, and listed. If it goes on, he gets the shortest hold like everybody: his sessions go
//! on, and a connection is no way to be immune. It lets go by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::event;
use crate::net::Prefix;
use crate::time::Mono;

/// So many are kept back; those who come then get the shortest hold.
pub const KEPT_BACK: usize = 256;

/// The time that the limit is meant for, and for which a peer is kept back.
const MINUTE: Duration = Duration::from_secs(60);

/// So long it is remembered that a peer was kept back: he is not each time that the brake is put on.
const HOUR: Duration = Duration::from_secs(3600);

/// How it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Automatic bans and holds a minute that are usual; beyond it the brake is put on. 0: it never is.
    pub limit: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { limit: 100 }
    }
}

/// A bucket that fills by the limit within a minute. Empty, the brake goes on; half full again, it lets go.
pub(super) struct Brake {
    settings: Settings,
    /// In thousandths of a ban.
    tokens: u64,
    filled: Mono,
    is_on: bool,
    blocks: u64,
    /// Since it was put on.
    kept_back: BTreeSet<Prefix>,
    /// Within the last hour, and since when.
    peers: BTreeMap<Prefix, Mono>,
}

impl Brake {
    pub(super) fn new(settings: Settings) -> Brake {
        let (blocks, kept_back, peers) = (0, BTreeSet::new(), BTreeMap::new());
        let mut brake =
            Brake { settings, tokens: 0, filled: Mono::default(), is_on: false, blocks, kept_back, peers };
        brake.tokens = brake.most();
        brake
    }

    /// New settings; what was counted stays.
    pub(super) fn set(&mut self, settings: Settings) {
        self.settings = settings;
        self.tokens = self.tokens.min(self.most());
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whom it has kept back since it was put on.
    pub(super) fn kept_back(&self) -> &BTreeSet<Prefix> {
        &self.kept_back
    }

    /// A source was found that would be banned or held; says what to tell, if that puts the brake on.
    pub(super) fn count(&mut self, now: Mono) -> Option<event::Brake> {
        if self.settings.limit == 0 {
            return None;
        }
        self.fill(now);
        self.blocks += u64::from(self.is_on);
        match self.tokens.checked_sub(1000) {
            Some(rest) => {
                self.tokens = rest;
                None
            }
            None if self.is_on => None,
            None => {
                (self.is_on, self.blocks) = (true, 1);
                self.kept_back.clear();
                Some(event::Brake {
                    is_on: true,
                    limit: self.settings.limit,
                    blocks: 0,
                    kept_back: Vec::new(),
                })
            }
        }
    }

    /// Whether this one may be kept back, if he is connected with us.
    pub(super) fn may_keep_back(&self, now: Mono, prefix: &Prefix) -> bool {
        self.is_on
            && match self.peers.get(prefix).map(|since| now.since(*since)) {
                None => self.peers.len() < KEPT_BACK,
                Some(age) => age <= MINUTE || age > HOUR,
            }
    }

    /// This one is connected with us, and not touched.
    pub(super) fn keep_back(&mut self, now: Mono, prefix: Prefix) {
        self.peers.retain(|_, since| now.since(*since) <= HOUR);
        self.peers.entry(prefix).or_insert(now);
        self.kept_back.insert(prefix);
    }

    /// When it is worth looking whether it may let go.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        if !self.is_on || self.is_loose() {
            return self.is_on.then_some(self.filled);
        }
        let missing = self.enough().saturating_sub(self.tokens);
        let rate = u64::from(self.settings.limit) * 1000;
        let milliseconds = missing.saturating_mul(60_000).div_ceil(rate.max(1));
        Some(self.filled + Duration::from_millis(milliseconds.max(1)))
    }

    /// Lets go if it may; says what to tell then.
    pub(super) fn tick(&mut self, now: Mono) -> Option<event::Brake> {
        if !self.is_on {
            return None;
        }
        self.fill(now);
        if !self.is_loose() {
            return None;
        }
        self.is_on = false;
        let kept_back = std::mem::take(&mut self.kept_back).into_iter().collect();
        Some(event::Brake { is_on: false, limit: self.settings.limit, blocks: self.blocks, kept_back })
    }

    fn is_loose(&self) -> bool {
        self.settings.limit == 0 || self.tokens >= self.enough()
    }

    fn most(&self) -> u64 {
        u64::from(self.settings.limit) * 1000
    }

    fn enough(&self) -> u64 {
        self.most() / 2
    }

    fn fill(&mut self, now: Mono) {
        let gone = now.since(self.filled).min(MINUTE);
        let milliseconds = u64::try_from(gone.as_millis()).unwrap_or(u64::MAX);
        let new = milliseconds.saturating_mul(u64::from(self.settings.limit) * 1000) / 60_000;
        // What is too little to count stays in the clock.
        if new > 0 {
            self.filled = now;
            self.tokens = self.tokens.saturating_add(new).min(self.most());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Mono {
        Mono(Duration::from_millis(milliseconds))
    }

    #[test]
    fn it_goes_on_beyond_the_limit_and_lets_go_when_it_is_quiet() {
        let mut brake = Brake::new(Settings { limit: 10 });
        for _ in 0..10 {
            assert_eq!(brake.count(at(0)), None);
        }
        assert!(!brake.is_on() && brake.next_timeout().is_none());
        assert!(brake.count(at(1)).is_some_and(|told| told.is_on));
        for n in 2..50 {
            assert_eq!(brake.count(at(n)), None, "told once");
        }
        let peer = "192.0.2.1/32".parse().unwrap();
        brake.keep_back(at(50), peer);
        assert!(brake.may_keep_back(at(60_050), &peer) && !brake.may_keep_back(at(60_051), &peer));
        assert!(brake.may_keep_back(at(3_600_051), &peer), "after an hour he is a friend again");
        assert_eq!(brake.tick(at(29_000)), None);
        let due = brake.next_timeout().unwrap();
        let told = brake.tick(due).unwrap();
        assert_eq!((told.is_on, told.blocks, told.kept_back.len()), (false, 49, 1));
        assert!(due <= at(31_000) && brake.next_timeout().is_none());
    }

    #[test]
    fn it_stays_on_while_they_keep_coming_and_can_be_switched_off() {
        let mut brake = Brake::new(Settings { limit: 60 });
        let mut told = 0;
        for n in 0..600 {
            told += usize::from(brake.count(at(n * 500)).is_some());
            told += usize::from(brake.tick(at(n * 500)).is_some());
        }
        assert_eq!((told, brake.is_on()), (1, true));
        brake.set(Settings { limit: 0 });
        assert!(brake.next_timeout().is_some_and(|due| due <= at(300_000)));
        assert!(brake.tick(at(300_000)).is_some_and(|told| !told.is_on));
        assert_eq!(brake.count(at(300_001)), None);
    }

    #[test]
    fn a_rate_below_the_limit_never_puts_it_on() {
        let mut brake = Brake::new(Settings { limit: 60 });
        for n in 0..100_000 {
            assert_eq!(brake.count(at(n * 1001)), None);
        }
    }
}
