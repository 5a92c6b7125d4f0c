//! What should be in the kernel against what is there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Ledger;
use crate::event::{Ban, BanState, Cause, How};
use crate::net::Prefix;
use crate::policy::Block;
use crate::time::{Mono, Now};

/// A release is remembered so long, so that a listing begun before it does not bring the ban back.
const RELEASED_KEPT: Duration = Duration::from_secs(60);

/// Releases remembered at once; beyond it nothing is adopted until they are old.
const RELEASED_MOST: usize = 65_536;

/// A ban in the ledger and an element in the kernel may end this far apart (the kernel's clock ticks coarsely).
pub(crate) const TOLERANCE: Duration = Duration::from_secs(2);

/// An element as it was found in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whom.
    pub prefix: Prefix,
    /// In which kind of set. Whoever is in both is banned.
    pub how: How,
    /// How long still; `None` is for ever.
    pub remaining: Option<Duration>,
}

impl Found {
    /// In the sets of those who are banned.
    #[must_use]
    pub fn banned(prefix: Prefix, remaining: Option<Duration>) -> Found {
        Found { prefix, how: How::Banned, remaining }
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// These were missing from the kernel; they have to go in again.
    pub missing: Vec<Prefix>,
    /// These stood in the kernel and were unknown; they are in the ledger now.
    pub adopted: Vec<Ban>,
    /// These stand in the kernel and policy forbids them; they have to go out.
    pub forbidden: Vec<Prefix>,
}

/// Bans that were taken out lately.
#[derive(Default)]
pub(super) struct Released {
    recent: VecDeque<(Mono, Prefix)>,
    overflowed: Mono,
}

impl Released {
    pub(super) fn add(&mut self, now: Mono, prefix: Prefix) {
        while self.recent.front().is_some_and(|(at, _)| now.since(*at) > RELEASED_KEPT) {
            self.recent.pop_front();
        }
        if self.recent.len() >= RELEASED_MOST {
            self.recent.pop_front();
            self.overflowed = now;
        }
        self.recent.push_back((now, prefix));
    }

    fn since(&self, listed: Mono) -> impl Fn(&Prefix) -> bool + '_ {
        let horizon = listed - TOLERANCE;
        let everything = self.overflowed != Mono::default() && self.overflowed >= horizon;
        let recent: BTreeSet<Prefix> =
            self.recent.iter().filter(|(at, _)| *at >= horizon).map(|(_, prefix)| *prefix).collect();
        move |prefix| everything || recent.contains(prefix)
    }
}

impl Ledger {
    /// Compares with what the kernel held when a listing was begun at `listed`. Bans acknowledged since then are
    /// not missed, bans released since then are not adopted. `grant` is policy's word on what may be adopted.
    pub fn compare(
        &mut self,
        now: Now,
        listed: Mono,
        found: &[Found],
        grant: impl Fn(&Found) -> Option<Block>,
    ) -> Difference {
        let mut in_kernel: BTreeMap<Prefix, Found> = BTreeMap::new();
        for own in found {
            let known = in_kernel.entry(own.prefix).or_insert(*own);
            if own.how > known.how {
                *known = *own;
            }
        }
        let mut difference = Difference::default();
        for (prefix, entry) in &self.bans {
            let is_expected = matches!(entry.state, BanState::InForce | BanState::Unsaved);
            let ends_now = entry.deadline.is_some_and(|deadline| deadline.since(now.mono) < TOLERANCE);
            let is_there = in_kernel.get(prefix).is_some_and(|found| found.how >= entry.how);
            if is_expected && entry.acknowledged < listed && !ends_now && !is_there {
                difference.missing.push(*prefix);
            }
        }
        difference.missing.sort_unstable();
        for prefix in &difference.missing {
            if let Some(entry) = self.bans.get_mut(prefix) {
                self.states.change(entry.state, BanState::Pending);
                entry.state = BanState::Pending;
            }
        }
        let was_released = self.released.since(listed);
        let unknown: Vec<Found> = in_kernel
            .into_values()
            .filter(|found| !self.bans.contains_key(&found.prefix) && !was_released(&found.prefix))
            .collect();
        drop(was_released);
        for found in unknown {
            let prefix = found.prefix;
            let Some(block) = grant(&found) else {
                difference.forbidden.push(prefix);
                continue;
            };
            let entry = self.begin(now, block, Cause::FoundInForce, BanState::InForce);
            difference.adopted.push(entry.ban(now, prefix));
            self.put(prefix, entry);
            self.changed(prefix, found.how);
        }
        difference
    }

    /// At start, before anything is sent: a restored ban that the kernel already holds is in force, until the time
    /// that the kernel says.
    pub fn recognise(&mut self, now: Now, found: &[Found]) {
        for Found { prefix, how, remaining } in found {
            // Who is only held there is not banned yet.
            if self.bans.get(prefix).is_none_or(|entry| entry.how != *how) {
                continue;
            }
            let Some(mut entry) = self.take(prefix) else { continue };
            entry.state = BanState::InForce;
            entry.acknowledged = now.mono;
            entry.deadline = remaining.map(|left| now.mono + left);
            self.put(*prefix, entry);
        }
    }

    /// The bans that wait for the kernel, sorted.
    #[must_use]
    pub fn pending(&self) -> Vec<Prefix> {
        let mut pending: Vec<Prefix> = self
            .bans
            .iter()
            .filter(|(_, entry)| entry.state == BanState::Pending)
            .map(|(prefix, _)| *prefix)
            .collect();
        pending.sort_unstable();
        pending
    }
}
