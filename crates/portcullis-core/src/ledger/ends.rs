//! When bans end: the only expiry queue, and who makes room in a full ledger.

use std::collections::BTreeSet;

use super::Entry;
use crate::event::How;
use crate::net::Prefix;
use crate::time::Mono;

/// The ends of all bans that have one. Those of holds make room first, since strangers bring them about at will, and
/// then those of automatic bans.
#[derive(Default)]
pub(super) struct Ends {
    holds: BTreeSet<(Mono, Prefix)>,
    automatic: BTreeSet<(Mono, Prefix)>,
    others: BTreeSet<(Mono, Prefix)>,
}

impl Ends {
    pub(super) fn add(&mut self, prefix: Prefix, entry: &Entry) {
        if let Some(deadline) = entry.deadline {
            self.of(entry).insert((deadline, prefix));
        }
    }

    pub(super) fn remove(&mut self, prefix: Prefix, entry: &Entry) {
        if let Some(deadline) = entry.deadline {
            self.of(entry).remove(&(deadline, prefix));
        }
    }

    /// Whose end has come by `now`, soonest first. They stay until they are removed.
    pub(super) fn until(&self, now: Mono) -> Vec<Prefix> {
        let mut over: Vec<(Mono, Prefix)> = Vec::new();
        for ends in [&self.holds, &self.automatic, &self.others] {
            over.extend(ends.iter().take_while(|(deadline, _)| *deadline <= now));
        }
        over.sort_unstable();
        over.into_iter().map(|(_, prefix)| prefix).collect()
    }

    /// The hold that ends soonest; without holds, the automatic ban, and without those, any that does.
    pub(super) fn soonest(&self) -> Option<Prefix> {
        let first = self.holds.first().or(self.automatic.first()).or(self.others.first());
        first.map(|(_, prefix)| *prefix)
    }

    /// The next end.
    pub(super) fn next(&self) -> Option<Mono> {
        let firsts = [self.holds.first(), self.automatic.first(), self.others.first()];
        firsts.into_iter().flatten().map(|(deadline, _)| *deadline).min()
    }

    fn of(&mut self, entry: &Entry) -> &mut BTreeSet<(Mono, Prefix)> {
        match entry.how {
            How::Held => &mut self.holds,
            How::Banned if entry.cause.is_automatic() => &mut self.automatic,
            How::Banned => &mut self.others,
        }
    }
}
