//! Bans and holds in force: cause, since, until. The only expiry queue, and the only place that knows what should be in the
//! kernel; what is there in truth comes back as acknowledgements ([`Ledger::acknowledge`]) and comparisons
//! ([`Ledger::compare`]). What is said of bans here holds for holds too, unless they are named; but a hold is not for
//! the store: it ends within minutes, and over a restart the kernel keeps it.

mod compare;
mod ends;
mod past;
mod states;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::event::{Ban, BanState, Cause, How, Id, Until};
use crate::net::Prefix;
use crate::policy::Block;
use crate::scan::sources::Secret;
use crate::time::{Mono, Now, Wall};

pub(crate) use compare::TOLERANCE;
pub use compare::{Difference, Found};
use ends::Ends;
pub use past::{Past, Terms};
use states::States;

/// More bans than this are not kept: the one that ends soonest makes room, automatic ones first. The kernel's hash sets
/// take 262,143.
pub const CAPACITY: usize = 250_000;

/// The first retry of a ban that the kernel refused comes after this; each further one after twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest pause between two retries.
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// How long to wait after the kernel has refused something so many times before.
pub(crate) fn pause(tries: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << tries.min(16)).min(RETRY_LONGEST)
}

/// A change for the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// This ban is in force (or wanted to be).
    Banned {
        /// As it stands.
        ban: Ban,
        /// Its whole length; `None` is for ever. The stored end is believed only as far as this.
        length: Option<Duration>,
    },
    /// No ban of this prefix is left, and this is what is remembered of it.
    Gone {
        /// Whose.
        prefix: Prefix,
        /// How often, and until when.
        past: Option<Past>,
    },
}

/// A ban as the ledger keeps it.
#[derive(Clone, Debug)]
struct Entry {
    id: Id,
    how: How,
    cause: Cause,
    since: Wall,
    length: Option<Duration>,
    deadline: Option<Mono>,
    state: BanState,
    times: u32,
    pardoned: Option<Wall>,
    /// When the kernel acknowledged it last.
    acknowledged: Mono,
    tries: u32,
    /// That this one holds was told before (by an earlier run, or before it was repaired); that it does so again is
    /// told as a number, with the others.
    is_told: bool,
}

/// The ledger.
pub struct Ledger {
    bans: HashMap<Prefix, Entry, Keyed>,
    /// The same prefixes in order, for lists that are read page by page.
    order: BTreeSet<Prefix>,
    /// How many bans there are of each length, IPv4 and IPv6 apart: which prefixes of a source to look up.
    lengths: BTreeMap<(bool, u8), usize>,
    ends: Ends,
    states: States,
    /// How many of them are holds.
    holds: usize,
    retries: BTreeSet<(Mono, Prefix)>,
    /// Changed since the store last took them; bounded by what the ledger ever held between two saves.
    dirty: BTreeSet<Prefix>,
    past: past::History,
    released: compare::Released,
    next_id: u64,
}

/// Keyed hashing for maps over what strangers choose.
#[derive(Clone)]
struct Keyed(Secret);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0.0)
    }
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(terms: Terms, secret: Secret) -> Ledger {
        Ledger {
            bans: HashMap::with_hasher(Keyed(secret)),
            order: BTreeSet::new(),
            lengths: BTreeMap::new(),
            ends: Ends::default(),
            states: States::default(),
            holds: 0,
            retries: BTreeSet::new(),
            dirty: BTreeSet::new(),
            past: past::History::new(terms, secret),
            released: compare::Released::default(),
            next_id: 1,
        }
    }

    /// New terms for bans to come; those in force keep theirs.
    pub fn set_terms(&mut self, terms: Terms) {
        self.past.set_terms(terms);
    }

    /// The next number for a scan or a ban.
    pub fn next_id(&mut self) -> Id {
        let id = Id(self.next_id);
        self.next_id += 1;
        id
    }

    /// Numbers below `next` are taken (by an earlier run).
    pub fn begin_ids(&mut self, next: u64) {
        self.next_id = self.next_id.max(next);
    }

    /// The first number that is not taken.
    #[must_use]
    pub fn ids_from(&self) -> u64 {
        self.next_id
    }

    /// The ban that covers `source`, if there is one.
    #[must_use]
    pub fn covering(&self, source: IpAddr) -> Option<Prefix> {
        self.lengths
            .range((source.is_ipv6(), 0)..=(source.is_ipv6(), 128))
            .map(|(&(_, length), _)| Prefix::containing(source, length))
            .find(|prefix| self.bans.contains_key(prefix))
    }

    /// Why exactly this prefix is banned.
    #[must_use]
    pub fn cause(&self, prefix: &Prefix) -> Option<&Cause> {
        self.bans.get(prefix).map(|entry| &entry.cause)
    }

    /// How much of exactly this prefix is shut out.
    #[must_use]
    pub fn how(&self, prefix: &Prefix) -> Option<How> {
        self.bans.get(prefix).map(|entry| entry.how)
    }

    /// The ban of exactly this prefix.
    #[must_use]
    pub fn get(&self, now: Now, prefix: &Prefix) -> Option<Ban> {
        self.bans.get(prefix).map(|entry| entry.ban(now, *prefix))
    }

    /// Up to `limit` bans behind `after`, in the order of their prefixes.
    #[must_use]
    pub fn page(&self, now: Now, after: Option<Prefix>, limit: usize) -> Vec<Ban> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.order
            .range((from, Bound::Unbounded))
            .take(limit)
            .filter_map(|prefix| self.get(now, prefix))
            .collect()
    }

    /// The ban with this number.
    #[must_use]
    pub fn find(&self, id: Id) -> Option<Prefix> {
        self.bans.iter().find(|(_, entry)| entry.id == id).map(|(prefix, _)| *prefix)
    }

    /// The banned prefixes that lie inside `outer` (itself included), sorted. Costs what it finds.
    #[must_use]
    pub fn inside(&self, outer: &Prefix) -> Vec<Prefix> {
        // In the order of prefixes whatever lies inside follows its outer one.
        let behind = self.order.range(outer..);
        behind.take_while(|prefix| outer.contains(prefix.address())).copied().collect()
    }

    /// The banned prefixes that `inner` lies inside of, without itself, widest first.
    #[must_use]
    pub fn around(&self, inner: &Prefix) -> Vec<Prefix> {
        let is_ipv6 = inner.address().is_ipv6();
        self.lengths
            .range((is_ipv6, 0)..(is_ipv6, inner.length()))
            .map(|(&(_, length), _)| Prefix::containing(inner.address(), length))
            .filter(|prefix| self.bans.contains_key(prefix))
            .collect()
    }

    /// The prefixes of all bans that `is_meant`, sorted.
    #[must_use]
    pub fn prefixes(&self, is_meant: impl Fn(&Prefix, &Cause) -> bool) -> Vec<Prefix> {
        let mut prefixes: Vec<Prefix> = self
            .bans
            .iter()
            .filter(|(prefix, entry)| is_meant(prefix, &entry.cause))
            .map(|(prefix, _)| *prefix)
            .collect();
        prefixes.sort_unstable();
        prefixes
    }

    /// How many bans there are, by state.
    #[must_use]
    pub fn count(&self, state: BanState) -> usize {
        self.states.count(state)
    }

    /// How many of them are holds.
    #[must_use]
    pub fn holds(&self) -> usize {
        self.holds
    }

    /// How many bans there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }

    /// How long the next automatic ban, or hold, of `prefix` is; `None` is for ever.
    #[must_use]
    pub fn term(&self, now: Now, prefix: &Prefix, how: How) -> Option<Duration> {
        self.past.term(now, prefix, how)
    }

    /// Enters a ban that policy has granted; it is pending until the kernel agrees. A ban of the same prefix is
    /// replaced. Returns who had to make room.
    pub fn enter(&mut self, now: Now, block: Block, cause: Cause) -> Option<Ban> {
        let prefix = block.prefix();
        let before = self.bans.get(&prefix).map(|entry| (entry.how, entry.times));
        let evicted = if self.bans.len() >= CAPACITY && before.is_none() {
            self.soonest_to_end().and_then(|prefix| self.remove(now, &prefix))
        } else {
            None
        };
        if let Some((How::Held, times)) = before {
            self.past.add(now, prefix, How::Held, times);
        }
        let entry = self.begin(now, block, cause, BanState::Pending);
        self.put(prefix, entry);
        self.changed(prefix, block.how());
        evicted
    }

    /// Whether the store has to hear of it: not of holds.
    fn changed(&mut self, prefix: Prefix, how: How) {
        if how == How::Banned {
            self.dirty.insert(prefix);
        }
    }

    /// Brings back a ban of an earlier run, not yet in the kernel. Its end on the calendar is believed only as far
    /// as its whole length, since the calendar may have been set in between. `false` if its time is over.
    pub fn restore(&mut self, now: Now, ban: &Ban, length: Option<Duration>) -> bool {
        let remaining = match (ban.until, length) {
            (Until::Ever, _) | (_, None) => None,
            (Until::At(end), Some(length)) => {
                let left = end.since(now.wall).min(length);
                if left.is_zero() {
                    return false;
                }
                Some(left)
            }
        };
        let entry = Entry {
            id: ban.id,
            how: ban.how,
            cause: ban.cause.clone(),
            since: ban.since,
            length,
            deadline: remaining.map(|left| now.mono + left),
            state: BanState::Pending,
            times: ban.times,
            pardoned: ban.pardoned,
            acknowledged: now.mono,
            tries: 0,
            is_told: true,
        };
        self.begin_ids(ban.id.0.saturating_add(1));
        // Not a change: the store has it.
        self.put(ban.prefix, entry);
        true
    }

    /// Remembers what an earlier run knew of a prefix whose ban had ended.
    pub fn restore_past(&mut self, now: Now, prefix: Prefix, past: Past) {
        self.past.restore(now, prefix, past);
    }

    /// Ends a ban before its time (or because its time is over).
    pub fn remove(&mut self, now: Now, prefix: &Prefix) -> Option<Ban> {
        let entry = self.take(prefix)?;
        self.released.add(now.mono, *prefix);
        self.past.add(now, *prefix, entry.how, entry.times);
        self.changed(*prefix, entry.how);
        Some(entry.ban(now, *prefix))
    }

    /// Ends a ban because somebody wants the prefix to come in: should it be banned again, that begins small.
    pub fn pardon(&mut self, now: Now, prefix: &Prefix) -> Option<Ban> {
        let ban = self.remove(now, prefix)?;
        self.past.pardon(now, *prefix);
        self.dirty.insert(*prefix);
        Some(ban)
    }

    /// The bans whose time is over by `now`, taken out.
    pub fn expire(&mut self, now: Now) -> Vec<Ban> {
        let over = self.ends.until(now.mono);
        over.iter().filter_map(|prefix| self.remove(now, prefix)).collect()
    }

    /// The kernel has (or has not) taken this one. Returns the ban where that is news: not if it held before, and is
    /// only back in the kernel.
    pub fn acknowledge(&mut self, now: Now, prefix: &Prefix, is_in_force: bool) -> Option<Ban> {
        let entry = self.bans.get_mut(prefix)?;
        let before = entry.state;
        if is_in_force {
            entry.acknowledged = now.mono;
            entry.tries = 0;
            // Whether the store has it is told by the store, as soon as it has refused.
            if before != BanState::Unsaved {
                entry.state = BanState::InForce;
            }
        } else {
            entry.state = BanState::Failed;
            let pause = pause(entry.tries);
            entry.tries += 1;
            self.retries.insert((now.mono + pause, *prefix));
        }
        self.states.change(before, entry.state);
        let is_news = entry.state != before && !(is_in_force && entry.is_told);
        entry.is_told = is_in_force;
        is_news.then(|| entry.ban(now, *prefix))
    }

    /// What is to be sent to the kernel again by now.
    pub fn retry(&mut self, now: Now) -> Vec<Prefix> {
        let mut due = Vec::new();
        while let Some(&(at, prefix)) = self.retries.first() {
            if at > now.mono {
                break;
            }
            self.retries.pop_first();
            if self.bans.get(&prefix).is_some_and(|entry| entry.state == BanState::Failed) {
                due.push(prefix);
            }
        }
        due
    }

    /// What is left of a ban's time: `Some(None)` is for ever, `None` no ban.
    #[must_use]
    pub fn remaining(&self, now: Now, prefix: &Prefix) -> Option<Option<Duration>> {
        self.bans.get(prefix).map(|entry| entry.deadline.map(|deadline| deadline.since(now.mono)))
    }

    /// Up to `limit` changes for the store. They count as taken; give them back with
    /// [`Ledger::saved`].
    pub fn changes(&mut self, now: Now, limit: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        while changes.len() < limit
            && let Some(prefix) = self.dirty.pop_first()
        {
            changes.push(match self.bans.get(&prefix) {
                Some(entry) if entry.how == How::Banned => {
                    Change::Banned { ban: entry.ban(now, prefix), length: entry.length }
                }
                _ => Change::Gone { prefix, past: self.past.get(now, &prefix) },
            });
        }
        changes
    }

    /// Whether the store lacks something.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The store has (or has not) kept these changes; those that it has not come again.
    pub fn saved(&mut self, changes: &[Change], is_kept: bool) {
        for change in changes {
            match change {
                Change::Banned { ban, .. } => {
                    if !is_kept {
                        self.dirty.insert(ban.prefix);
                    }
                    if let Some(entry) = self.bans.get_mut(&ban.prefix)
                        && entry.id == ban.id
                    {
                        let before = entry.state;
                        entry.state = match (before, is_kept) {
                            (BanState::Unsaved, true) => BanState::InForce,
                            (BanState::InForce, false) => BanState::Unsaved,
                            (state, _) => state,
                        };
                        self.states.change(before, entry.state);
                    }
                }
                Change::Gone { prefix, .. } => {
                    if !is_kept {
                        self.dirty.insert(*prefix);
                    }
                }
            }
        }
    }

    /// When something is to be done next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        let retry = self.retries.first().map(|(at, _)| *at);
        self.ends.next().into_iter().chain(retry).min()
    }

    /// A ban that begins now, with the next number; [`Ledger::put`] enters it.
    fn begin(&mut self, now: Now, block: Block, cause: Cause, state: BanState) -> Entry {
        let (prefix, how) = (block.prefix(), block.how());
        Entry {
            id: self.next_id(),
            how,
            cause,
            since: now.wall,
            length: block.remaining(),
            deadline: block.remaining().map(|length| now.mono + length),
            state,
            times: self.past.times(now, &prefix, how).saturating_add(1),
            pardoned: self.past.pardoned(now, &prefix),
            acknowledged: now.mono,
            tries: 0,
            is_told: state == BanState::InForce,
        }
    }

    fn put(&mut self, prefix: Prefix, entry: Entry) {
        if let Some(before) = self.bans.get(&prefix) {
            self.ends.remove(prefix, before);
            self.states.remove(before.state);
            self.holds -= usize::from(before.how == How::Held);
        }
        self.ends.add(prefix, &entry);
        self.states.add(entry.state);
        self.holds += usize::from(entry.how == How::Held);
        if self.bans.insert(prefix, entry).is_none() {
            *self.lengths.entry((prefix.address().is_ipv6(), prefix.length())).or_default() += 1;
            self.order.insert(prefix);
        }
    }

    fn take(&mut self, prefix: &Prefix) -> Option<Entry> {
        let entry = self.bans.remove(prefix)?;
        self.order.remove(prefix);
        self.ends.remove(*prefix, &entry);
        self.states.remove(entry.state);
        self.holds -= usize::from(entry.how == How::Held);
        let length = (prefix.address().is_ipv6(), prefix.length());
        if let Some(count) = self.lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length);
            }
        }
        Some(entry)
    }

    /// Who makes room when the ledger is full.
    fn soonest_to_end(&self) -> Option<Prefix> {
        self.ends.soonest().or_else(|| self.order.first().copied())
    }
}

impl Entry {
    fn ban(&self, now: Now, prefix: Prefix) -> Ban {
        let until = match self.deadline {
            None => Until::Ever,
            Some(deadline) => Until::At(now.wall + deadline.since(now.mono)),
        };
        Ban {
            id: self.id,
            prefix,
            how: self.how,
            cause: self.cause.clone(),
            since: self.since,
            until,
            state: self.state,
            times: self.times,
            pardoned: self.pardoned,
        }
    }
}
