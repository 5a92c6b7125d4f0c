//! Doors in the engine: openings, past policy and on their way out; what an operator may ask of doors.

use super::knocks::{Right, SpaOutcome};
use super::*;
use crate::door::hearing::Hearing;
use crate::door::openings::{Openings, Wish};
use crate::door::spa::{self, Spa};
use crate::door::traces::Traces;
use crate::door::{
    By, Change, Closing, Door, DoorId, Event, Lock, Mode as DoorMode, Name, Opening, OpeningState, Reach,
    Sequence, Settings, Spending, User,
};
use crate::time::Wall;

/// Why a door was not opened by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenRefusal {
    /// There is no such door.
    NoDoor,
    /// The address is nobody's own: unspecified, multicast or broadcast.
    Special,
    /// This door keeps nothing open (it has no time to be open for), and no length was given.
    NoLength,
    /// It only observes.
    Observes,
}

/// Who is to be let in, and why.
pub(super) struct Request {
    pub(super) door: DoorId,
    pub(super) address: IpAddr,
    /// As the door says, if not said otherwise.
    pub(super) length: Option<Duration>,
    pub(super) by: By,
    pub(super) user: Option<User>,
}

/// Right knocks whose door waits for the disk.
pub(super) struct Pending {
    pub(super) name: Name,
    pub(super) which: Spending,
    /// The one-time sequence.
    pub(super) sequence: Option<Sequence>,
    pub(super) right: Right,
}

/// What the engine keeps of doors.
pub(super) struct Doors {
    pub(super) settings: Settings,
    pub(super) openings: Openings,
    pub(super) hearing: Hearing,
    pub(super) traces: Traces,
    pub(super) spas: Vec<(DoorId, Spa)>,
    pub(super) spa_outcomes: Vec<SpaOutcome>,
    pub(super) pending: Vec<Pending>,
    /// One-time sequences that were used and are not known to be struck from their file: a reload may find them there.
    pub(super) struck: Vec<(Name, Sequence)>,
    /// Who is allowed by hand only because a door is open to him.
    pub(super) pardoned: BTreeSet<IpAddr>,
    /// How far the mark on the disk reaches.
    covered: Wall,
}

impl Doors {
    pub(super) fn new(settings: Settings, secret: Secret) -> Doors {
        let mut doors = Doors {
            openings: Openings::default(),
            hearing: Hearing::new(&settings, secret),
            traces: Traces::default(),
            spas: Vec::new(),
            spa_outcomes: Vec::new(),
            pending: Vec::new(),
            struck: Vec::new(),
            pardoned: BTreeSet::new(),
            covered: Wall::default(),
            settings,
        };
        doors.spas = doors.make_spas(&[]);
        doors
    }

    pub(super) fn are_none(&self) -> bool {
        self.settings.doors.is_empty()
    }

    pub(super) fn name(&self, id: DoorId) -> Option<Name> {
        self.door(id).map(|door| door.name.clone())
    }

    pub(super) fn next_timeout(&self) -> Option<Mono> {
        self.openings.next_timeout().into_iter().chain(self.hearing.next_timeout()).min()
    }

    pub(super) fn refuse_before(&mut self, floor: Wall) {
        self.hearing.refuse_before(floor);
        for (_, spa) in &mut self.spas {
            spa.refuse_before(floor);
        }
    }

    pub(super) fn cover(&mut self, mark: Wall) {
        self.covered = mark;
        self.hearing.cover(mark);
        for (_, spa) in &mut self.spas {
            spa.covered_until(mark);
        }
    }

    pub(super) fn spa_user(&self, id: DoorId, place: usize) -> Option<User> {
        let (_, spa) = self.spas.iter().find(|(own, _)| *own == id)?;
        spa.users().get(place).map(|user| User(user.name.as_str().into()))
    }

    /// The locks of the kind `spa`, which remember what those of the same name `before` have seen.
    fn make_spas(&self, before: &[(Name, Spa)]) -> Vec<(DoorId, Spa)> {
        let mut spas = Vec::new();
        for (door, id) in self.settings.doors.iter().take(crate::door::DOORS).zip(0..) {
            let Lock::Spa(lock) = &door.lock else { continue };
            // The configuration has shown all faults; a lock with one opens to nobody.
            let Ok(mut spa) = Spa::new(lock.users.clone(), lock.window) else { continue };
            if let Some((_, before)) = before.iter().find(|(name, _)| *name == door.name) {
                spa.refuse_before(before.floor());
                spa.restore(before.entries());
            }
            spa.refuse_before(self.hearing.floor());
            spa.covered_until(self.covered);
            spas.push((DoorId(id), spa));
        }
        spas
    }

    pub(super) fn door(&self, id: DoorId) -> Option<&Door> {
        self.settings.doors.get(usize::from(id.0)).filter(|_| usize::from(id.0) < crate::door::DOORS)
    }

    pub(super) fn named(&self, name: &Name) -> impl Iterator<Item = DoorId> {
        let doors = self.settings.doors.iter().take(crate::door::DOORS).zip(0..);
        doors.filter(move |(door, _)| door.name == *name).map(|(_, id)| DoorId(id))
    }
}

impl Engine {
    /// The configured doors, in order: the first is `DoorId(0)`.
    #[must_use]
    pub fn doors(&self) -> &[Door] {
        &self.doors.settings.doors
    }

    /// The door of this name; the first, where knockd's style has more than one.
    #[must_use]
    pub fn door_named(&self, name: &str) -> Option<DoorId> {
        self.doors.named(&Name::verbatim(name)).next()
    }

    /// The openings in force and on their way, by door and address.
    #[must_use]
    pub fn openings(&self, now: Now) -> Vec<Opening> {
        self.doors.openings.all(now)
    }

    /// Opens `door` for `address`, for `length` or as long as the door says; what stands lasts longer, never shorter.
    /// Whom the door has for guests is not asked: an operator may let in anybody.
    ///
    /// # Errors
    /// There is no such door, or such an address can't be let in.
    pub fn open_by_hand(
        &mut self,
        now: Now,
        door: DoorId,
        address: IpAddr,
        length: Option<Duration>,
    ) -> Result<Opening, OpenRefusal> {
        let found = self.doors.door(door).ok_or(OpenRefusal::NoDoor)?;
        if length.or(found.open_for).is_none() {
            return Err(OpenRefusal::NoLength);
        }
        if !self.policy.may_be_let_in(address) {
            return Err(OpenRefusal::Special);
        }
        let request = Request { door, address, length, by: By::Operator, user: None };
        self.open(now, request).ok_or(OpenRefusal::Observes)
    }

    /// Shuts `door` for `address`, or for everybody; says for whom it was open.
    pub fn close(&mut self, now: Now, door: DoorId, address: Option<IpAddr>) -> Vec<Opening> {
        let meant: Vec<IpAddr> = match address {
            Some(address) => vec![address],
            None => self.doors.openings.of(door).collect(),
        };
        meant.into_iter().filter_map(|address| self.shut(now, door, address, Closing::Operator)).collect()
    }

    /// Shuts `door` for everybody, since the program ends and what the openings' ends owe would not be done in time.
    pub fn close_at_end(&mut self, now: Now, door: DoorId) {
        let all: Vec<IpAddr> = self.doors.openings.of(door).collect();
        for address in all {
            self.shut(now, door, address, Closing::Stopped);
        }
    }

    /// How an [`Action::Open`] or [`Action::Shut`] went: nothing, or the complaint. What was refused is tried again.
    pub fn door_answered(&mut self, now: Now, door: DoorId, address: IpAddr, answer: Result<(), String>) {
        let place = (door, address);
        let is_news = self.doors.openings.answered(now, place, answer.is_ok());
        if let (true, Err(answer)) = (is_news, answer) {
            let is_opening = self.doors.openings.get(now, place).is_some();
            self.tell_of(now, door, Event::NotDone { address, is_opening, answer });
        }
    }

    /// All openings go out again with the time that they have left: the kernel's sets may have been emptied.
    pub fn send_openings(&mut self, now: Now) {
        for Opening { door, address, .. } in self.doors.openings.all(now) {
            self.send_opening(now, door, address);
        }
    }

    /// The guests of each door that is in the kernel, as it held them when a listing was begun at `listed`: openings that
    /// are missing there go out again with the time that they have left.
    pub fn compare_openings(&mut self, now: Now, listed: Mono, held: &BTreeMap<Name, BTreeSet<IpAddr>>) {
        let is_held = |name: &Name, address| held.get(name).is_none_or(|guests| guests.contains(&address));
        let missing = self.doors.openings.missing(now, listed, is_held);
        if missing.is_empty() {
            return;
        }
        self.record(now, What::Repair { bans: 0, guests: missing.len() });
        for (door, address) in missing {
            self.send_opening(now, door, address);
        }
    }

    /// Openings as the store knew them; call once, before the first packet. Hands back those that can't be brought back,
    /// since their time is over or their door is gone: whoever still owes them something (a stop command) does it now,
    /// and the store is to forget them.
    pub fn restore_openings(&mut self, now: Now, stored: &[(Opening, Duration)]) -> Vec<Opening> {
        let mut over = Vec::new();
        for (opening, length) in stored {
            let door = self.doors.named(&opening.name).next();
            let is_back = door.is_some_and(|door| {
                let renews = self.doors.door(door).is_some_and(|door| door.renews);
                let may_act = self.doors.door(door).is_some_and(|door| door.mode == DoorMode::Act);
                let opening = Opening { door, ..opening.clone() };
                may_act && self.doors.openings.restore(now, &opening, *length, renews)
            });
            match door.filter(|_| is_back) {
                Some(door) => {
                    self.welcome(opening.address);
                    self.send_opening(now, door, opening.address);
                }
                None => {
                    self.doors.openings.forget_stored(opening);
                    over.push(opening.clone());
                }
            }
        }
        over
    }

    /// Up to `limit` changes of openings that the store lacks.
    pub fn opening_changes(&mut self, now: Now, limit: usize) -> Vec<Change> {
        let Doors { settings, openings, .. } = &mut self.doors;
        let doors = &settings.doors;
        openings.changes(now, limit, |name| {
            let all = doors.iter().zip(0..).filter(|(door, _)| door.name == *name);
            all.map(|(_, id)| DoorId(id)).collect()
        })
    }

    /// The store has (or has not) kept these.
    pub fn openings_saved(&mut self, changes: &[Change], is_kept: bool) {
        self.doors.openings.saved(changes, is_kept);
    }

    /// Whether the store lacks a change of an opening.
    #[must_use]
    pub fn are_openings_dirty(&self) -> bool {
        self.doors.openings.is_dirty()
    }

    /// Enters an opening and sends it on its way; `None` where the door only observes.
    pub(super) fn open(&mut self, now: Now, request: Request) -> Option<Opening> {
        let Request { door: id, address, length, by, user } = request;
        let door = self.doors.door(id)?;
        if door.mode == DoorMode::Observe || self.view == View::Capture {
            self.tell_of(now, id, Event::WouldOpen { address, by, user });
            return None;
        }
        let (name, renews) = (door.name.clone(), door.renews);
        let Some(length) = length.or(door.open_for) else {
            // Nothing is kept: it is done, and that is all.
            let opening = Opening {
                door: id,
                name,
                address,
                since: now.wall,
                until: None,
                by,
                user,
                state: OpeningState::Pending,
            };
            let name = opening.name.clone();
            self.actions.push_back(Action::Open {
                door: id,
                name,
                address,
                remaining: None,
                is_refresh: false,
            });
            self.tell_of(now, id, Event::Opened { opening: opening.clone(), is_refresh: false });
            return Some(opening);
        };
        if let Some((door, address)) = self.doors.openings.next_evicted((id, address)) {
            self.counters.openings_evicted += 1;
            self.shut(now, door, address, Closing::Evicted);
        }
        let is_refresh =
            self.doors.openings.enter(now, Wish { door: id, name, address, length, by, user, renews });
        self.welcome(address);
        let opening = self.doors.openings.get(now, (id, address))?;
        let remaining = self.doors.openings.remaining(now, (id, address));
        let name = opening.name.clone();
        self.actions.push_back(Action::Open { door: id, name, address, remaining, is_refresh });
        self.tell_of(now, id, Event::Opened { opening: opening.clone(), is_refresh });
        Some(opening)
    }

    /// Shuts one opening, if there is one.
    pub(super) fn shut(&mut self, now: Now, door: DoorId, address: IpAddr, why: Closing) -> Option<Opening> {
        let opening = self.doors.openings.remove(now, (door, address))?;
        let left = self.doors.openings.of(door).count();
        let place = if why == Closing::Removed { DoorId::GONE } else { door };
        self.actions.push_back(Action::Shut {
            door: place,
            name: opening.name.clone(),
            address,
            left,
            may_cut: why != Closing::Stopped,
        });
        self.tell_of(now, door, Event::Closed { opening: opening.clone(), why, left });
        self.welcome(address);
        self.end_pardon(now, address);
        Some(opening)
    }

    /// Policy knows whether `address` is a guest.
    fn welcome(&mut self, address: IpAddr) {
        self.policy.welcome(address, self.doors.openings.is_guest(address));
    }

    /// Shuts what a guest's knock to close is about.
    pub(super) fn shut_by_knock(&mut self, now: Now, door: DoorId, address: IpAddr) {
        let reach = self.doors.door(door).map(|door| door.reach);
        let meant: Vec<IpAddr> = match reach {
            Some(Reach::Everyone) => self.doors.openings.of(door).collect(),
            _ => vec![address],
        };
        for address in meant {
            self.shut(now, door, address, Closing::Knock);
        }
    }

    /// What is due of openings: renewed while a session lasts, shut, tried again.
    pub(super) fn tick_openings(&mut self, now: Now, host: &mut dyn Host) {
        for (door, address) in self.doors.openings.due_looks(now) {
            let has_session =
                self.doors.door(door).is_some_and(|door| host.has_session(address, &door.opens));
            if has_session && self.doors.openings.renew(now, (door, address)).is_some() {
                self.send_opening(now, door, address);
            }
        }
        for (door, address) in self.doors.openings.over(now) {
            self.shut(now, door, address, Closing::Expired);
        }
        for (is_opening, (door, address)) in self.doors.openings.retry(now) {
            if is_opening {
                self.send(now, door, address, false);
            } else if let Some(name) = self.doors.door(door).map(|door| door.name.clone()) {
                let left = self.doors.openings.of(door).count();
                self.actions.push_back(Action::Shut { door, name, address, left, may_cut: true });
            }
        }
    }

    /// New doors: openings of doors that are gone, or that only observe now, are shut; the others stay, with the time that
    /// they have left.
    pub(super) fn reconfigure_doors(&mut self, now: Now, settings: Settings) {
        if settings == self.doors.settings {
            return;
        }
        let places: Vec<Option<DoorId>> = self
            .doors
            .settings
            .doors
            .iter()
            .map(|old| {
                let same = |new: &&Door| new.name == old.name && new.mode == DoorMode::Act;
                let found = settings.doors.iter().zip(0..).find(|(new, _)| same(new));
                found.map(|(_, id)| DoorId(id))
            })
            .collect();
        for (place, id) in places.iter().zip(0..).map(|(place, id)| (place, DoorId(id))) {
            let staying = place.and_then(|place| settings.doors.get(usize::from(place.0)));
            let leaving: Vec<IpAddr> = self
                .doors
                .openings
                .of(id)
                .filter(|address| !staying.is_some_and(|door| door.is_guest(*address)))
                .collect();
            for address in leaving {
                self.shut(now, id, address, Closing::Removed);
            }
        }
        self.doors.openings.renumber(|old| places.get(usize::from(old.0)).copied().flatten());
        let before = std::mem::take(&mut self.doors.spas).into_iter();
        let before: Vec<(Name, Spa)> =
            before.filter_map(|(id, spa)| Some((self.doors.name(id)?, spa))).collect();
        self.doors.settings = settings;
        self.doors.hearing.reconfigure(&self.doors.settings, &self.doors.struck);
        self.doors.spas = self.doors.make_spas(&before);
    }

    /// What single packets have been seen since this was asked last, by door: for the store, so that they open nothing
    /// after a restart either.
    pub fn seen_packets(&mut self) -> Vec<(Name, spa::replay::Entry)> {
        let doors = &self.doors.settings.doors;
        let mut seen = Vec::new();
        for (id, spa) in &mut self.doors.spas {
            let Some(door) = doors.get(usize::from(id.0)) else { continue };
            seen.extend(spa.take_unsaved().into_iter().map(|entry| (door.name.clone(), entry)));
        }
        seen
    }

    /// Gives back what the store kept of single packets; call before the first packet.
    pub fn restore_seen_packets(&mut self, entries: &[(Name, spa::replay::Entry)]) {
        let doors = &self.doors.settings.doors;
        for (id, spa) in &mut self.doors.spas {
            let Some(door) = doors.get(usize::from(id.0)) else { continue };
            spa.restore(entries.iter().filter(|(name, _)| *name == door.name).map(|(_, entry)| *entry));
        }
    }

    pub(super) fn tell_of(&mut self, now: Now, door: DoorId, event: Event) {
        if let Some(door) = self.doors.door(door).map(|door| door.name.clone()) {
            self.record(now, What::Door { door, event });
        }
    }

    fn send_opening(&mut self, now: Now, door: DoorId, address: IpAddr) {
        self.send(now, door, address, true);
    }

    fn send(&mut self, now: Now, door: DoorId, address: IpAddr, is_refresh: bool) {
        let remaining = self.doors.openings.remaining(now, (door, address));
        let name = self.doors.door(door).map(|door| door.name.clone());
        if let (Some(_), Some(name)) = (remaining, name) {
            self.actions.push_back(Action::Open { door, name, address, remaining, is_refresh });
        }
    }
}
