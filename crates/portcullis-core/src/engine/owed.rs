//! Changes that the kernel has refused and that are still owed: somebody to be let in, the allow list to be sent. They
//! are tried again, at growing intervals, until they are done or no longer wanted.

use std::collections::BTreeSet;

use crate::ledger;
use crate::net::Prefix;
use crate::time::Mono;

/// What is owed. Bounded by the ledger: only who was banned can have to be let in.
#[derive(Default)]
pub(super) struct Owed {
    releases: BTreeSet<Prefix>,
    is_allow_list: bool,
    tries: u32,
    again: Option<Mono>,
}

impl Owed {
    /// The kernel has (or has not) let these in.
    pub(super) fn released(&mut self, now: Mono, prefixes: &[Prefix], is_done: bool) {
        for prefix in prefixes {
            if is_done {
                self.releases.remove(prefix);
            } else {
                self.releases.insert(*prefix);
            }
        }
        self.plan(now, is_done);
    }

    /// The kernel has (or has not) taken the allow list.
    pub(super) fn allowed(&mut self, now: Mono, is_done: bool) {
        self.is_allow_list = !is_done;
        self.plan(now, is_done);
    }

    /// Whoever is banned anew is not owed his release any more.
    pub(super) fn forget(&mut self, prefix: &Prefix) {
        self.releases.remove(prefix);
    }

    pub(super) fn is_release(&self, prefix: &Prefix) -> bool {
        self.releases.contains(prefix)
    }

    pub(super) fn next_timeout(&self) -> Option<Mono> {
        self.again
    }

    /// What is due to be tried again: releases, and whether the allow list is.
    pub(super) fn due(&mut self, now: Mono) -> (Vec<Prefix>, bool) {
        if self.again.is_none_or(|again| again > now) {
            return (Vec::new(), false);
        }
        self.again = None;
        (self.releases.iter().copied().collect(), self.is_allow_list)
    }

    fn plan(&mut self, now: Mono, is_done: bool) {
        if self.releases.is_empty() && !self.is_allow_list {
            (self.tries, self.again) = (0, None);
        } else if !is_done {
            self.again = Some(now + ledger::pause(self.tries));
            self.tries += 1;
        }
    }
}
