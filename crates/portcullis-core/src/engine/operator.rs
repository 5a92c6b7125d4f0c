//! What an operator may ask: by hand, through the same policy and the same ledger as everything else.

use super::*;
use crate::event::{How, Until};

/// Why a ban by hand was not entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BanRefusal {
    /// It would hit somebody protected.
    Protected {
        /// Whom.
        prefix: Prefix,
        /// Why that one is protected.
        why: Protection,
    },
    /// A wider ban holds already, or one inside lasts longer.
    Overlaps {
        /// Its number.
        id: Id,
        /// Whose.
        prefix: Prefix,
    },
}

/// No more prefixes than this are allowed by hand; whole networks belong into the configuration.
pub const ALLOWANCES: usize = 4096;

/// There would be more than [`ALLOWANCES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// Which bans are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Of this prefix, and of whatever lies inside; if there is none, an automatic one that covers it (an IPv6 address
    /// is banned by its /64).
    Prefix(Prefix),
    /// With this number.
    Id(Id),
    /// All of them.
    All,
}

impl Engine {
    /// Bans `prefix` for `length` (`None` is for ever), whatever the mode; a ban of the same prefix is replaced,
    /// and so are those inside that end earlier.
    ///
    /// # Errors
    /// Somebody protected would be hit, or another ban overlaps.
    pub fn ban(
        &mut self,
        now: Now,
        prefix: Prefix,
        length: Option<Duration>,
        why: String,
    ) -> Result<Ban, BanRefusal> {
        let block = match self.policy.block(prefix, length) {
            Ok(block) => block,
            Err(protected) => {
                self.record(now, What::Refused { prefix, protected: protected.prefix, why: protected.why });
                return Err(BanRefusal::Protected { prefix: protected.prefix, why: protected.why });
            }
        };
        let mut overlapping = self.ledger.around(&prefix);
        overlapping.extend(self.ledger.inside(&prefix).into_iter().filter(|inner| *inner != prefix));
        let (mut replaced, end) = (Vec::new(), length.map(|length| now.wall + length));
        for other in overlapping.iter().filter_map(|other| self.ledger.get(now, other)) {
            // A hold gives way to whatever an operator says.
            if other.how == How::Held {
                if prefix.covers(&other.prefix) {
                    replaced.push(other.prefix);
                }
                continue;
            }
            let ends_first = match (other.until, end) {
                (_, None) => true,
                (Until::Ever, Some(_)) => false,
                (Until::At(other), Some(end)) => other <= end,
            };
            if !prefix.covers(&other.prefix) || !ends_first {
                return Err(BanRefusal::Overlaps { id: other.id, prefix: other.prefix });
            }
            replaced.push(other.prefix);
        }
        self.lift(now, &replaced, Ending::Replaced);
        self.block(now, block, Cause::Operator { why });
        let ban = self.ledger.get(now, &prefix);
        ban.ok_or(BanRefusal::Overlaps { id: Id(0), prefix })
    }

    /// Ends the bans that are meant; says which they were. Scanners among them have to be found anew.
    pub fn unban(&mut self, now: Now, which: Selector) -> Vec<Ban> {
        let meant: Vec<Prefix> = match which {
            Selector::Prefix(prefix) => {
                let inside = self.ledger.inside(&prefix);
                if inside.is_empty() { self.automatic_around(now, &prefix) } else { inside }
            }
            Selector::All => self.ledger.prefixes(|_, _| true),
            Selector::Id(id) => self.ledger.find(id).into_iter().collect(),
        };
        for prefix in &meant {
            self.forget_evidence(prefix);
            if let Some(singly) = &mut self.singly {
                singly.forget(prefix);
            }
        }
        self.lift(now, &meant, Ending::Operator)
    }

    /// What counts against it no longer does.
    pub(super) fn forget_evidence(&mut self, prefix: &Prefix) {
        self.judge.forget(prefix);
        self.judge_of_proved.forget(prefix);
    }

    fn automatic_around(&self, now: Now, prefix: &Prefix) -> Vec<Prefix> {
        let around = self.ledger.around(prefix).into_iter();
        around.filter(|outer| self.ledger.get(now, outer).is_some_and(|ban| ban.is_automatic())).collect()
    }

    /// The bans that `prefix` lies inside of, widest first: what still shuts it out.
    #[must_use]
    pub fn bans_around(&self, now: Now, prefix: &Prefix) -> Vec<Ban> {
        self.ledger.around(prefix).iter().filter_map(|outer| self.ledger.get(now, outer)).collect()
    }

    /// Allows `prefixes` for `length` (`None` is for ever); bans inside end. Says which those were.
    ///
    /// # Errors
    /// There would be more than [`ALLOWANCES`]; nothing was changed.
    pub fn allow(
        &mut self,
        now: Now,
        prefixes: &[Prefix],
        length: Option<Duration>,
    ) -> Result<Vec<Ban>, TooMany> {
        let new = prefixes.iter().filter(|prefix| !self.allowances.contains_key(prefix)).count();
        if self.allowances.len() + new > ALLOWANCES {
            return Err(TooMany);
        }
        let until = length.map_or(Until::Ever, |length| Until::At(now.wall + length));
        let mut lifted = Vec::new();
        for prefix in prefixes {
            self.allowances.insert(*prefix, length.map(|length| now.mono + length));
            let inside = self.ledger.inside(prefix);
            lifted.extend(self.lift(now, &inside, Ending::Protected));
            self.record(now, What::Allow { prefix: *prefix, until: Some(until) });
        }
        self.allowances_changed(now);
        Ok(lifted)
    }

    /// Takes allowances back; says for each whether there was one.
    pub fn disallow(&mut self, now: Now, prefixes: &[Prefix]) -> Vec<bool> {
        let was_allowed: Vec<bool> =
            prefixes.iter().map(|prefix| self.allowances.remove(prefix).is_some()).collect();
        for (prefix, _) in prefixes.iter().zip(&was_allowed).filter(|(_, was)| **was) {
            self.record(now, What::Allow { prefix: *prefix, until: None });
        }
        if was_allowed.contains(&true) {
            self.allowances_changed(now);
        }
        was_allowed
    }

    /// Who is allowed by hand, and how long still (`None` is for ever).
    #[must_use]
    pub fn allowances(&self, now: Now) -> Vec<Allowance> {
        self.allowances
            .iter()
            .map(|(prefix, until)| Allowance {
                prefix: *prefix,
                remaining: until.map(|until| until.since(now.mono)),
            })
            .collect()
    }

    /// Begins or stops banning, without an end. Scans under way are judged anew; switching to observe ends automatic
    /// bans, and says which those were.
    pub fn set_mode(&mut self, now: Now, mode: Mode) -> Vec<Ban> {
        self.trial = None;
        if self.settings.mode == mode {
            return Vec::new();
        }
        self.settings.mode = mode;
        self.observed.clear();
        for scan in self.incidents.end_all() {
            self.record(now, What::Scan(scan));
        }
        match mode {
            Mode::Enforce => Vec::new(),
            Mode::Observe => self.lift_automatic(now),
        }
    }

    /// The mode in force.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.settings.mode
    }

    /// New settings, without losing bans, scans under way or (unless the judge's own settings change) suspects.
    pub fn reconfigure(&mut self, now: Now, mut settings: Settings) {
        let mode = settings.mode;
        if settings.judge != self.settings.judge {
            self.judge = settings.judge.judge(self.view.timing(), self.secret);
            self.judge_of_proved = settings.judge.judge(self.view.timing(), self.secret);
        }
        if settings.singly != self.settings.singly {
            self.singly = settings.singly.map(|own| singly::Singly::new(own, self.secret));
        }
        self.reconfigure_answering(settings.terms, &settings.answering);
        self.reconfigure_doors(now, std::mem::take(&mut settings.doors));
        self.policy.allow(settings.allow.clone());
        self.settings = Settings { mode: self.settings.mode, ..settings };
        self.lift_protected(now);
        self.allowances_changed(now);
        self.set_mode(now, mode);
    }

    /// Up to `limit` bans behind `after`, in the order of their prefixes.
    #[must_use]
    pub fn bans(&self, now: Now, after: Option<Prefix>, limit: usize) -> Vec<Ban> {
        self.ledger.page(now, after, limit)
    }

    /// The ban of exactly this prefix.
    #[must_use]
    pub fn ban_of(&self, now: Now, prefix: &Prefix) -> Option<Ban> {
        self.ledger.get(now, prefix)
    }

    /// What is left of the time of a ban: `Some(None)` is for ever, `None` no ban.
    #[must_use]
    pub fn remaining(&self, now: Now, prefix: &Prefix) -> Option<Option<Duration>> {
        self.ledger.remaining(now, prefix)
    }

    /// How many bans there are.
    #[must_use]
    pub fn bans_in_all(&self) -> usize {
        self.ledger.len()
    }

    /// How long a ban by hand is that names no length: the first automatic one's.
    #[must_use]
    pub fn usual_ban(&self) -> Option<Duration> {
        self.settings.terms.first
    }

    /// How many bans are in a state.
    #[must_use]
    pub fn bans_in(&self, state: BanState) -> usize {
        self.ledger.count(state)
    }

    /// Sources that the judge remembers, and those that it forgot to make room.
    #[must_use]
    pub fn suspects(&self) -> (usize, u64) {
        self.singly.as_ref().map_or_else(|| self.judge.memory(), singly::Singly::memory)
    }

    /// The first number for scans and bans that is not taken.
    #[must_use]
    pub fn ids_from(&self) -> u64 {
        self.ledger.ids_from()
    }

    /// The sources that would have been banned in enforce mode, since start or the last
    /// [`Engine::forget_observed`]; at most [`OBSERVED_KEPT`].
    #[must_use]
    pub fn would_have_banned(&self) -> &BTreeSet<IpAddr> {
        &self.observed
    }

    /// Begins to count anew who would have been banned.
    pub fn forget_observed(&mut self) {
        self.observed.clear();
    }

    /// Whether the kernel still shuts `prefix` out though it is to be let in.
    #[must_use]
    pub fn is_release_owed(&self, prefix: &Prefix) -> bool {
        self.owed.is_release(prefix)
    }

    /// The whole allow list goes to the kernel again: what is configured, and what is allowed by hand.
    pub fn send_allow_list(&mut self, now: Now) {
        let configured =
            self.settings.allow.iter().map(|prefix| Allowance { prefix: *prefix, remaining: None });
        let all: Vec<Allowance> = configured.chain(self.allowances(now)).collect();
        self.actions.push_back(Action::Allow(all));
    }

    pub(super) fn allowances_changed(&mut self, now: Now) {
        self.allowance_ends = self.allowances.values().flatten().min().copied();
        self.policy.allow_by_hand(self.allowances.keys().copied().collect());
        self.send_allow_list(now);
    }

    pub(super) fn end_allowances(&mut self, now: Now) {
        let over: Vec<Prefix> = self
            .allowances
            .iter()
            .filter(|(_, until)| until.is_some_and(|until| until <= now.mono))
            .map(|(prefix, _)| *prefix)
            .collect();
        self.disallow(now, &over);
    }
}
