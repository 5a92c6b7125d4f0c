//! What should be in the kernel against what is there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Ledger;
use crate::event::{Ban, BanState, Cause};
use crate::net::Prefix;
use crate::policy::Block;
use crate::time::{Mono, Now};

/// A release is remembered so long, so that a listing begun before it does not bring the ban back.
const RELEASED_KEPT: Duration = Duration::from_secs(60);

/// Releases remembered at once; beyond it nothing is adopted until they are old.
const RELEASED_MOST: usize = 65_536;

/// A ban in the ledger and an element in the kernel may end this far apart (the kernel's clock ticks coarsely).
pub(crate) const TOLERANCE: Duration = Duration::from_secs(2);

/// An element as the kernel holds it: whom, and how long still (`None` is for ever).
pub type Held = (Prefix, Option<Duration>);

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
        held: &[Held],
        grant: impl Fn(Prefix, Option<Duration>) -> Option<Block>,
    ) -> Difference {
        let in_kernel: BTreeMap<Prefix, Option<Duration>> = held.iter().copied().collect();
        let mut difference = Difference::default();
        for (prefix, entry) in &self.bans {
            let is_expected = matches!(entry.state, BanState::InForce | BanState::Unsaved);
            let ends_now = entry.deadline.is_some_and(|deadline| deadline.since(now.mono) < TOLERANCE);
            if is_expected && entry.acknowledged < listed && !ends_now && !in_kernel.contains_key(prefix) {
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
        let unknown: Vec<Held> = in_kernel
            .into_iter()
            .filter(|(prefix, _)| !self.bans.contains_key(prefix) && !was_released(prefix))
            .collect();
        drop(was_released);
        for (prefix, remaining) in unknown {
            let Some(block) = grant(prefix, remaining) else {
                difference.forbidden.push(prefix);
                continue;
            };
            let entry = self.begin(now, block, Cause::FoundInForce, BanState::InForce);
            difference.adopted.push(entry.ban(now, prefix));
            self.put(prefix, entry);
            self.dirty.insert(prefix);
        }
        difference
    }

    /// At start, before anything is sent: a restored ban that the kernel already holds is in force, until the time
    /// that the kernel says.
    pub fn recognise(&mut self, now: Now, held: &[Held]) {
        for (prefix, remaining) in held {
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
