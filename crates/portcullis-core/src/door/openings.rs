//! Openings in force: for whom, since, until. What is in the kernel in truth comes back as answers
//! (`Openings::answered`); what is refused is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::{By, DoorId, Name, User};
use crate::ledger;
use crate::time::{Mono, Now, Wall};

/// More openings than this are not kept: the one that ends soonest makes room. As many as a kernel set of doors holds.
pub const CAPACITY: usize = 65_536;

/// How long before its end an opening is looked at whether a session goes on behind it; half its length if that is less.
const LOOK_AHEAD: Duration = Duration::from_secs(2);

/// One opening, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Which door.
    pub door: DoorId,
    /// Its name, which stays when the configuration's order changes.
    pub name: Name,
    /// For whom.
    pub address: IpAddr,
    /// Since when.
    pub since: Wall,
    /// Until when; `None` where nothing is kept open ([`super::Door::open_for`]).
    pub until: Option<Wall>,
    /// What opened it.
    pub by: By,
    /// Whose key that was.
    pub user: Option<User>,
    /// How far it has got.
    pub state: OpeningState,
}

/// How far an opening has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpeningState {
    /// Sent, not yet acknowledged.
    Pending,
    /// Acknowledged.
    InForce,
    /// Refused; it is tried again.
    Failed,
}

impl OpeningState {
    /// The words in lists.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            OpeningState::Pending => "pending",
            OpeningState::InForce => "in force",
            OpeningState::Failed => "not in force",
        }
    }
}

/// A change for the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// This opening stands.
    Opened {
        /// As it stands.
        opening: Opening,
        /// How long from its last refresh; the stored end is believed only as far as this.
        length: Duration,
    },
    /// None stands for this guest.
    Shut {
        /// Which door.
        door: Name,
        /// For whom.
        address: IpAddr,
    },
}

type Place = (DoorId, IpAddr);

#[derive(Clone, Debug)]
struct Entry {
    name: Name,
    since: Wall,
    length: Duration,
    deadline: Mono,
    /// When to look for a session; behind the deadline where nobody asks.
    look: Mono,
    by: By,
    user: Option<User>,
    state: OpeningState,
    /// When the kernel said so last.
    acknowledged: Mono,
    tries: u32,
}

/// What is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) door: DoorId,
    pub(crate) name: Name,
    pub(crate) address: IpAddr,
    pub(crate) length: Duration,
    pub(crate) by: By,
    pub(crate) user: Option<User>,
    /// Whether to look for a session before the end.
    pub(crate) renews: bool,
}

/// The table.
#[derive(Default)]
pub(crate) struct Openings {
    open: BTreeMap<Place, Entry>,
    ends: BTreeSet<(Mono, Place)>,
    looks: BTreeSet<(Mono, Place)>,
    /// Refused shuttings, with how often they were tried. Only what was open can be owed, and each is tried until it
    /// is done or open again; a shutting that finds this full is not tried again, since the kernel's time-out shuts.
    owed: BTreeMap<Place, u32>,
    retries: BTreeSet<(Mono, Place)>,
    /// By name, since a change may be of a door that is not configured any more.
    dirty: BTreeSet<(Name, IpAddr)>,
}

impl Openings {
    pub(crate) fn of(&self, door: DoorId) -> impl Iterator<Item = IpAddr> {
        let first: IpAddr = std::net::Ipv4Addr::UNSPECIFIED.into();
        self.open
            .range((door, first)..)
            .take_while(move |((own, _), _)| *own == door)
            .map(|((_, address), _)| *address)
    }

    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        self.open.keys().any(|(_, own)| *own == address)
    }

    /// Whether a door is open to `address` by a knock that can't be sniffed and replayed.
    pub(crate) fn is_guest(&self, address: IpAddr) -> bool {
        self.open.iter().any(|((_, own), entry)| *own == address && entry.by.proves())
    }

    pub(crate) fn all(&self, now: Now) -> Vec<Opening> {
        self.open.iter().map(|(place, entry)| entry.opening(now, *place)).collect()
    }

    pub(crate) fn get(&self, now: Now, place: Place) -> Option<Opening> {
        self.open.get(&place).map(|entry| entry.opening(now, place))
    }

    pub(crate) fn remaining(&self, now: Now, place: Place) -> Option<Duration> {
        self.open.get(&place).map(|entry| entry.deadline.since(now.mono))
    }

    /// The next to end where there is no room left.
    pub(crate) fn next_evicted(&self, place: Place) -> Option<Place> {
        let is_full = self.open.len() >= CAPACITY && !self.open.contains_key(&place);
        is_full.then(|| self.ends.first().map(|(_, place)| *place)).flatten()
    }

    /// Opens, or lets what stands last longer; never shorter. Whether it stood.
    pub(crate) fn enter(&mut self, now: Now, wish: Wish) -> bool {
        let place = (wish.door, wish.address);
        let mut entry = Entry {
            name: wish.name,
            since: now.wall,
            length: wish.length,
            deadline: now.mono + wish.length,
            look: Mono(Duration::MAX),
            by: wish.by,
            user: wish.user,
            state: OpeningState::Pending,
            acknowledged: Mono::default(),
            tries: 0,
        };
        let before = self.take(place);
        if let Some(before) = &before {
            entry.since = before.since;
            if before.deadline > entry.deadline {
                (entry.deadline, entry.length) = (before.deadline, before.length);
            }
        }
        if wish.renews {
            entry.look = entry.deadline - LOOK_AHEAD.min(wish.length / 2);
        }
        self.owed.remove(&place);
        self.dirty.insert((entry.name.clone(), wish.address));
        self.put(place, entry);
        before.is_some()
    }

    /// Brings back an opening of an earlier run: its end on the calendar is believed only as far as its whole length.
    /// `false` if its time is over, or there is no room.
    pub(crate) fn restore(&mut self, now: Now, opening: &Opening, length: Duration, renews: bool) -> bool {
        let left = opening.until.map_or(Duration::ZERO, |until| until.since(now.wall)).min(length);
        if left.is_zero() || self.open.len() >= CAPACITY {
            return false;
        }
        let deadline = now.mono + left;
        let look = if renews { deadline - LOOK_AHEAD.min(length / 2) } else { Mono(Duration::MAX) };
        let entry = Entry {
            name: opening.name.clone(),
            since: opening.since,
            length,
            deadline,
            look,
            by: opening.by,
            user: opening.user.clone(),
            state: OpeningState::Pending,
            acknowledged: Mono::default(),
            tries: 0,
        };
        let place = (opening.door, opening.address);
        self.take(place);
        self.put(place, entry);
        true
    }

    /// Lets an opening last for its length again from now.
    pub(crate) fn renew(&mut self, now: Now, place: Place) -> Option<Opening> {
        let mut entry = self.take(place)?;
        entry.deadline = now.mono + entry.length;
        entry.look = entry.deadline - LOOK_AHEAD.min(entry.length / 2);
        let opening = entry.opening(now, place);
        self.dirty.insert((entry.name.clone(), place.1));
        self.put(place, entry);
        Some(opening)
    }

    /// Shuts.
    pub(crate) fn remove(&mut self, now: Now, place: Place) -> Option<Opening> {
        let entry = self.take(place)?;
        self.dirty.insert((entry.name.clone(), place.1));
        Some(entry.opening(now, place))
    }

    /// What has come to its end by now; still in the table.
    pub(crate) fn over(&self, now: Now) -> Vec<Place> {
        self.ends.iter().take_while(|(at, _)| *at <= now.mono).map(|(_, place)| *place).collect()
    }

    /// For whom it is to be looked whether a session goes on; each is named once.
    pub(crate) fn due_looks(&mut self, now: Now) -> Vec<Place> {
        let mut due = Vec::new();
        while let Some(&(at, place)) = self.looks.first() {
            if at > now.mono {
                break;
            }
            self.looks.pop_first();
            due.push(place);
        }
        due
    }

    /// It has (or has not) been opened or shut, whichever was asked for. Whether a refusal is news.
    pub(crate) fn answered(&mut self, now: Now, place: Place, is_done: bool) -> bool {
        if place.0 == DoorId::GONE {
            // Its set is taken away with the door.
            return false;
        }
        if let Some(entry) = self.open.get_mut(&place) {
            let is_news = !is_done && entry.state != OpeningState::Failed;
            if is_done {
                (entry.state, entry.tries, entry.acknowledged) = (OpeningState::InForce, 0, now.mono);
            } else {
                entry.state = OpeningState::Failed;
                self.retries.insert((now.mono + ledger::pause(entry.tries), place));
                entry.tries += 1;
            }
            return is_news;
        }
        if is_done {
            self.owed.remove(&place);
            return false;
        }
        let is_news = !self.owed.contains_key(&place);
        if self.owed.len() < CAPACITY || !is_news {
            let tries = self.owed.entry(place).or_insert(0);
            self.retries.insert((now.mono + ledger::pause(*tries), place));
            *tries += 1;
        }
        is_news
    }

    /// Openings in force that the kernel did not hold when a listing was begun at `listed`. Those that it has
    /// acknowledged since are not missed, nor those that end now.
    pub(crate) fn missing(
        &self,
        now: Now,
        listed: Mono,
        is_held: impl Fn(&Name, IpAddr) -> bool,
    ) -> Vec<Place> {
        let is_missing = |((_, address), entry): &(&Place, &Entry)| {
            entry.state == OpeningState::InForce
                && entry.acknowledged < listed
                && entry.deadline.since(now.mono) >= ledger::TOLERANCE
                && !is_held(&entry.name, *address)
        };
        self.open.iter().filter(is_missing).map(|(place, _)| *place).collect()
    }

    /// The store still has this, and it is over.
    pub(crate) fn forget_stored(&mut self, opening: &Opening) {
        self.dirty.insert((opening.name.clone(), opening.address));
    }

    /// What is to be tried again by now: whether to open, and which.
    pub(crate) fn retry(&mut self, now: Now) -> Vec<(bool, Place)> {
        let mut due = Vec::new();
        while let Some(&(at, place)) = self.retries.first() {
            if at > now.mono {
                break;
            }
            self.retries.pop_first();
            match self.open.get(&place) {
                Some(entry) if entry.state == OpeningState::Failed => due.push((true, place)),
                Some(_) => {}
                None if self.owed.contains_key(&place) => due.push((false, place)),
                None => {}
            }
        }
        due
    }

    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        let firsts = [&self.ends, &self.looks, &self.retries].map(|queue| queue.first().map(|(at, _)| *at));
        firsts.into_iter().flatten().min()
    }

    /// Up to `limit` changes for the store; `doors` tells which have a name (more than one in knockd's style).
    pub(crate) fn changes(
        &mut self,
        now: Now,
        limit: usize,
        doors: impl Fn(&Name) -> Vec<DoorId>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        while changes.len() < limit
            && let Some((door, address)) = self.dirty.pop_first()
        {
            let places = doors(&door).into_iter().map(|door| (door, address));
            let mut open = places.filter_map(|place| Some((place, self.open.get(&place)?)));
            changes.push(match open.next() {
                Some((place, entry)) => {
                    Change::Opened { opening: entry.opening(now, place), length: entry.length }
                }
                None => Change::Shut { door, address },
            });
        }
        changes
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The store has (or has not) kept these; those that it has not come again.
    pub(crate) fn saved(&mut self, changes: &[Change], is_kept: bool) {
        for change in changes.iter().filter(|_| !is_kept) {
            self.dirty.insert(match change {
                Change::Opened { opening, .. } => (opening.name.clone(), opening.address),
                Change::Shut { door, address } => (door.clone(), *address),
            });
        }
    }

    /// The doors stand in another order: `find` tells where each is now. Those whose door is gone were shut before.
    pub(crate) fn renumber(&mut self, find: impl Fn(DoorId) -> Option<DoorId>) {
        let moved = |place: &Place| find(place.0).map(|door| (door, place.1));
        let queue = |queue: &BTreeSet<(Mono, Place)>| {
            queue.iter().filter_map(|(at, place)| Some((*at, moved(place)?))).collect()
        };
        (self.ends, self.looks) = (queue(&self.ends), queue(&self.looks));
        self.retries = queue(&self.retries);
        self.owed = self.owed.iter().filter_map(|(place, tries)| Some((moved(place)?, *tries))).collect();
        let open = std::mem::take(&mut self.open);
        self.open = open.into_iter().filter_map(|(place, entry)| Some((moved(&place)?, entry))).collect();
    }

    fn put(&mut self, place: Place, entry: Entry) {
        self.ends.insert((entry.deadline, place));
        if entry.look < entry.deadline {
            self.looks.insert((entry.look, place));
        }
        self.open.insert(place, entry);
    }

    fn take(&mut self, place: Place) -> Option<Entry> {
        let entry = self.open.remove(&place)?;
        self.ends.remove(&(entry.deadline, place));
        self.looks.remove(&(entry.look, place));
        Some(entry)
    }
}

impl Entry {
    fn opening(&self, now: Now, (door, address): Place) -> Opening {
        Opening {
            door,
            name: self.name.clone(),
            address,
            since: self.since,
            until: Some(now.wall + self.deadline.since(now.mono)),
            by: self.by,
            user: self.user.clone(),
            state: self.state,
        }
    }
}
