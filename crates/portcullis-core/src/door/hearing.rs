//! Every packet is heard here: whether it is the next right step of an attempt of its source, a wrong one, or nothing
//! to a door.
//!
//! The state is each source's own: whatever others send fails nobody's knock (with knockd 0.8 it did). An attempt ends
//! when its time is over, not with the next packet. How packets are matched is told at [`super::Style`].

mod whole;

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::attempts::{self, AT_ONCE, Attempt, Goal, Identity, Knocker, Mark, bit};
use super::guessing::Guessing;
use super::touched::{Port, Touched};
use super::turns::{Good, Turn, Turns};
use super::ways::{Leads, Way, Ways};
use super::{Door, DoorId, Lock, Name, Sequence, Settings, User, Why};
use crate::net::{Endpoint, Prefix};
use crate::scan::Contact;
use crate::scan::sources::{Secret, Sources};
use crate::time::{Mono, Now, Wall};
use crate::wire::TcpFlags;

/// Sources that knock at once; about 40 MiB if all these places are taken by a flood.
pub const SOURCES: usize = 131_072;

/// How often it is looked whether the mark on the disk has come. Until then such a knock waits.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// For so long after a sequence has opened a door its source is watched: a scan that begins with the steps in their order
/// is known for one only by what it touches next.
const WATCHED: Duration = Duration::from_secs(10);

/// Of all the places those who are no guests may take so many: their knocks are followed only to say why they are in vain.
const FOR_OTHERS: usize = SOURCES / 2;

/// One packet, as doors hear it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knock {
    pub(crate) source: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) target: Endpoint,
    /// None for a datagram.
    pub(crate) flags: TcpFlags,
    /// TCP's sequence number; `None` for a datagram, of which each is a new one.
    pub(crate) sequence: Option<u32>,
    /// Whether it is for an address of this host.
    pub(crate) is_local: bool,
    /// The contact that it makes.
    pub(crate) contact: Option<Contact>,
}

impl Knock {
    fn port(&self) -> Port {
        (self.target.protocol, self.target.port)
    }
}

/// What a packet was to the doors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// It is no probe, for now.
    pub(crate) is_excused: bool,
    /// A step of a door at which its source has an attempt: records must not show its port.
    pub(crate) mark: Option<Mark>,
}

/// What came of it.
pub(crate) enum Outcome {
    /// A right step.
    Step { door: DoorId, source: IpAddr, step: u8, of: u8 },
    /// An attempt failed.
    Failed {
        door: DoorId,
        source: IpAddr,
        step: u8,
        of: u8,
        why: Why,
        user: Option<User>,
        clock: Option<i64>,
    },
    /// An attempt succeeded.
    Right { door: DoorId, source: IpAddr, of: u8, leads: Leads, user: Option<User>, clock: Option<i64> },
    /// What opened the door was the beginning of a scan.
    Scan { door: DoorId, source: IpAddr, of: u8 },
    /// A packet was no knock after all, and counts as what it is.
    Probe { contact: Contact, at: Now, mark: Mark },
}

/// A right rotating sequence that waits: its time step has not begun by our clock, or the mark on the disk has not reached
/// it, since the clock has just been set forward: then a start after a crash would not refuse it.
struct Early {
    at: Mono,
    door: Name,
    source: IpAddr,
    turn: Arc<Turn>,
}

/// Everything that is kept of knocks.
pub(crate) struct Hearing {
    /// The doors' names, by place.
    names: Vec<Name>,
    ways: Ways,
    turns: Vec<Turns>,
    early: Vec<Early>,
    knockers: Sources<Knocker>,
    ends: BTreeSet<(Mono, IpAddr)>,
    touched: Touched,
    guessing: Guessing,
    floor: Wall,
    /// How far the mark on the disk reaches, if anybody keeps one.
    covered: Option<Wall>,
    outcomes: VecDeque<Outcome>,
}

impl Hearing {
    pub(crate) fn new(settings: &Settings, secret: Secret) -> Hearing {
        let mut hearing = Hearing {
            names: Vec::new(),
            ways: Ways::default(),
            turns: Vec::new(),
            early: Vec::new(),
            knockers: Sources::new(SOURCES, secret),
            ends: BTreeSet::new(),
            touched: Touched::new(secret),
            guessing: Guessing::new(secret),
            floor: Wall::default(),
            covered: None,
            outcomes: VecDeque::new(),
        };
        hearing.reconfigure(settings, &[]);
        hearing
    }

    /// Other doors: attempts at those that stay as they are go on.
    pub(crate) fn reconfigure(&mut self, settings: &Settings, struck: &[(Name, Sequence)]) {
        self.names = settings.doors.iter().take(super::DOORS).map(|door| door.name.clone()).collect();
        self.ways = Ways::new(settings, &self.ways, struck);
        let before = std::mem::take(&mut self.turns);
        for (door, id) in settings.doors.iter().take(super::DOORS).zip(0..) {
            if let Lock::Rotating(lock) = &door.lock {
                let mut turns = Turns::new(DoorId(id), door.name.clone(), lock.clone());
                if let Some(before) = before.iter().find(|before| before.name == door.name) {
                    turns.inherit(before);
                }
                self.turns.push(turns);
            }
        }
    }

    /// Whatever carries a time before `floor` is refused. It never sinks.
    pub(crate) fn refuse_before(&mut self, floor: Wall) {
        self.floor = self.floor.max(floor);
    }

    /// The mark on the disk is `mark` by now: a start would refuse whatever carries a time before it.
    pub(crate) fn cover(&mut self, mark: Wall) {
        self.covered = Some(mark);
    }

    pub(crate) fn floor(&self) -> Wall {
        self.floor
    }

    pub(crate) fn next_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        let early = self.early.iter().map(|early| early.at).min();
        self.ends.first().map(|(at, _)| *at).into_iter().chain(early).min()
    }

    /// How many sources knock, and how many were forgotten to make room.
    pub(crate) fn memory(&self) -> (usize, u64) {
        (self.knockers.len(), self.knockers.evicted())
    }

    /// A one-time sequence is used up; how many are left.
    pub(crate) fn spend(&mut self, id: DoorId, door: &Door, which: u32) -> usize {
        self.ways.spend(id, door, which)
    }

    /// Attempts whose time is over fail; what came too early by our clock has its time.
    pub(crate) fn expire(&mut self, now: Now, doors: &[Door]) {
        while let Some(&(at, source)) = self.ends.first() {
            if at > now.mono {
                break;
            }
            self.ends.pop_first();
            let Some(mut knocker) = self.knockers.forget(&Prefix::single(source)) else { continue };
            knocker.due = None;
            let over: Vec<Attempt> =
                knocker.attempts.extract_if(.., |attempt| attempt.ends <= now.mono).collect();
            self.fail(now, source, doors, &mut knocker, over, Why::TimedOut);
            self.put(now, source, knocker, doors);
        }
        let due: Vec<Early> = self.early.extract_if(.., |early| early.at <= now.mono).collect();
        for early in due {
            let Some(turns) = self.turns.iter().find(|turns| turns.name == early.door) else { continue };
            let (door, turn) = (turns.id, &early.turn);
            let is_covered = self.is_covered(turns, turn);
            if !is_covered && !turns.is_over(now.wall, turn) {
                self.early.push(Early { at: now.mono + LOOK_AGAIN, ..early });
                continue;
            }
            let clock = Some(turns.clock_difference(now.wall, turn));
            let (source, of, user) = (early.source, turn.steps.len() as u8, Some(turn.user.clone()));
            self.outcomes.push_back(if is_covered {
                Outcome::Right { door, source, of, leads: Leads::Open, user, clock }
            } else {
                Outcome::Failed { door, source, step: of, of, why: Why::NotSpent, user, clock }
            });
        }
    }

    /// Hears one packet. `is_service` tells whether something of ours is at a port.
    pub(crate) fn hear(
        &mut self,
        now: Now,
        doors: &[Door],
        knock: &Knock,
        is_service: &mut dyn FnMut(Port) -> bool,
    ) -> Heard {
        self.expire(now, doors);
        let (source, port) = (knock.source, knock.port());
        let is_known = self.knockers.get(&Prefix::single(source)).is_some();
        let may_be_step = self.ways.iter().any(|(_, way)| way.has(port))
            || (knock.contact.is_some()
                && self.turns.iter_mut().any(|turns| !turns.at(now.wall, port).is_empty()));
        let mut heard = Heard::default();
        if is_known || may_be_step {
            let mut knocker = self.knockers.forget(&Prefix::single(source)).unwrap_or_default();
            if let Some(due) = knocker.due.take() {
                self.ends.remove(&(due, source));
            }
            self.count_others(knock, &mut knocker);
            if may_be_step {
                heard = self.judge(now, doors, knock, &mut knocker, is_service);
            }
            if !heard.is_excused {
                self.touch(now, knock);
                self.spoil(now, doors, source, &mut knocker, is_service);
            }
            knocker.last = now.mono;
            self.put(now, source, knocker, doors);
        } else {
            self.touch(now, knock);
        }
        heard
    }

    fn touch(&mut self, now: Now, knock: &Knock) {
        if knock.is_local && (knock.contact.is_some() || self.ways.iter().any(|(_, way)| way.is_knockds())) {
            self.touched.add(now.mono, knock.source, knock.port());
        }
    }

    /// What a rotating attempt is spoiled by, if there is very much of it: whatever might have been a step and was none.
    fn count_others(&self, knock: &Knock, knocker: &mut Knocker) {
        if knock.contact.is_none() || !knock.is_local {
            return;
        }
        for attempt in &mut knocker.attempts {
            let Goal::Turn(turn) = &attempt.goal else { continue };
            let turns = self.turns.iter().find(|turns| turns.name == turn.door);
            // A knock that was lost on its way and made again in the next time step is no scan.
            let is_other =
                |turns: &Turns| turns.is_choice(knock.port()) && !turns.is_of(&turn.user, knock.port());
            if turns.is_some_and(is_other) {
                attempt.others = attempt.others.saturating_add(1);
            }
        }
    }

    /// One packet to a port that is a step of something.
    fn judge(
        &mut self,
        now: Now,
        doors: &[Door],
        knock: &Knock,
        knocker: &mut Knocker,
        is_service: &mut dyn FnMut(Port) -> bool,
    ) -> Heard {
        let (port, flags) = (knock.port(), knock.flags);
        let identity = Identity {
            target: knock.target,
            source_port: knock.source_port,
            sequence: knock.sequence.unwrap_or_default(),
            flags: flags.0,
        };
        if knock.sequence.is_some() && knocker.is_repeated(identity) {
            return Heard { is_excused: true, mark: None };
        }
        let in_filter = self.ways.iter().any(|(_, way)| {
            way.is_knockds()
                && way.is_target(knock.target.address, knock.is_local)
                && way.place(port, flags).is_some()
        });
        let concerns = |way: &Way| {
            way.is_target(knock.target.address, knock.is_local)
                && way.regards(port, flags)
                && if way.is_knockds() {
                    in_filter
                } else {
                    knock.contact.is_some() && way.place(port, flags).is_some()
                }
        };
        // knockd's attempts keep all its doors from beginning anew, even those that ignore the packet.
        let mut blocks = [false, false];
        for attempt in &knocker.attempts {
            if let Goal::Way(way) = &attempt.goal
                && !attempt.is_done
                && way.is_target(knock.target.address, knock.is_local)
                && (way.is_knockds() || concerns(way))
            {
                blocks[usize::from(way.is_knockds())] = true;
            }
        }
        let mut right: Vec<Attempt> = Vec::new();
        let mut wrong: Vec<Attempt> = Vec::new();
        let mut rest: Vec<Attempt> = Vec::new();
        let mut mark = None;
        for mut attempt in std::mem::take(&mut knocker.attempts) {
            match &attempt.goal {
                Goal::Way(way) if !attempt.is_done && concerns(way) => {
                    let door = self.ways.door(way);
                    if let (Some(door), Some(step)) = (door, way.place(port, flags)) {
                        mark.get_or_insert(Mark { door, step });
                    }
                    if way.is_next(attempt.right, port, flags) {
                        attempt.right += 1;
                        right.push(attempt);
                    } else {
                        wrong.push(attempt);
                    }
                }
                Goal::Turn(turn) if knock.contact.is_some() && knock.is_local => match bit(&turn.steps, port)
                {
                    Some(bit) if attempt.which & bit == 0 => {
                        attempt.which |= bit;
                        attempt.right += 1;
                        let door = self.turns.iter().find(|own| own.name == turn.door).map(|own| own.id);
                        mark = mark.or(door.map(|door| Mark { door, step: attempt.right }));
                        right.push(attempt);
                    }
                    // Hit once more it is no further step, and as secret as before.
                    Some(_) => {
                        let door = self.turns.iter().find(|own| own.name == turn.door).map(|own| own.id);
                        mark = mark.or(door.map(|door| Mark { door, step: attempt.right }));
                        rest.push(attempt);
                    }
                    None => rest.push(attempt),
                },
                Goal::Way(_) | Goal::Turn(_) => rest.push(attempt),
            }
        }
        let goals = self.beginnings(now, doors, knock, &concerns, blocks, &right, &rest);
        let mut crowded = Vec::new();
        for goal in goals {
            if right.len() + rest.len() >= AT_ONCE {
                // Packets in a guest's name hit single steps by chance; they shall not keep out his own first step.
                let by_chance =
                    |attempt: &Attempt| attempt.right == 1 && matches!(attempt.goal, Goal::Turn(_));
                let hits = rest.iter().zip(0..).filter(|(attempt, _)| by_chance(attempt));
                let Some((_, oldest)) = hits.min_by_key(|(attempt, _)| attempt.first) else { break };
                crowded.push(rest.swap_remove(oldest));
            }
            let (window, which) = match &goal {
                Goal::Way(way) => (way.sequence.window(), 0),
                Goal::Turn(turn) => (turn.window, bit(&turn.steps, port).unwrap_or_default()),
            };
            // A sequence of another time is worth nothing now, and may be the right one later: so its ports are not told.
            if let (Goal::Turn(_), Some(door)) = (&goal, self.door(&goal)) {
                mark.get_or_insert(Mark { door, step: 1 });
            }
            right.push(Attempt {
                goal,
                first: now.mono,
                ends: now.mono + window,
                right: 1,
                which,
                others: 0,
                is_done: false,
                held: Vec::new(),
            });
        }
        knocker.attempts = rest;
        self.fail(now, knock.source, doors, knocker, wrong, Why::WrongStep);
        let mut spoiled = Vec::new();
        let mut standing = Vec::new();
        for attempt in right {
            let is_scan = self.looks_like_a_scan(knock.source, &attempt, is_service);
            if is_scan { spoiled.push(attempt) } else { standing.push(attempt) }
        }
        self.fail(now, knock.source, doors, knocker, spoiled, Why::OtherPorts);
        let in_vain = standing.iter().find(|attempt| !self.is_guest(doors, knock.source, &attempt.goal));
        if let Some((attempt, door)) = in_vain.and_then(|own| Some((own, self.door(&own.goal)?))) {
            mark.get_or_insert(Mark { door, step: attempt.right });
        }
        // Nor is a port told that begins nothing, for want of room.
        if mark.is_none() && knock.contact.is_some() && knock.is_local {
            let own = |turns: &mut Turns| (!turns.at(now.wall, port).is_empty()).then_some(turns.id);
            mark = self.turns.iter_mut().find_map(own).map(|door| Mark { door, step: 1 });
        }
        let is_excused = self.advance(now, doors, knock, knocker, identity, standing);
        self.fail(now, knock.source, doors, knocker, crowded, Why::Crowded);
        Heard { is_excused, mark }
    }

    /// What this packet begins an attempt at.
    #[expect(clippy::too_many_arguments, reason = "it is one step of `judge`, apart for reading")]
    fn beginnings(
        &mut self,
        now: Now,
        doors: &[Door],
        knock: &Knock,
        concerns: &dyn Fn(&Way) -> bool,
        blocks: [bool; 2],
        right: &[Attempt],
        rest: &[Attempt],
    ) -> Vec<Goal> {
        let (source, port) = (knock.source, knock.port());
        let has_room = self.knockers.len() < FOR_OTHERS;
        let mut goals = Vec::new();
        let mut ignored = Vec::new();
        for (id, way) in self.ways.iter() {
            let Some(door) = doors.get(usize::from(id.0)) else { continue };
            let begins = concerns(way)
                && !blocks[usize::from(way.is_knockds())]
                && way.is_next(0, port, knock.flags)
                && (has_room || door.is_guest(source));
            if !begins {
                continue;
            }
            if door.patience.is_some_and(|patience| self.guessing.is_ignored(now.mono, source, patience)) {
                ignored.push((id, way.sequence.length()));
                continue;
            }
            goals.push(Goal::Way(way.clone()));
        }
        for (door, of) in ignored {
            let (user, clock) = (None, None);
            self.outcomes.push_back(Outcome::Failed {
                door,
                source,
                step: 0,
                of,
                why: Why::Ignored,
                user,
                clock,
            });
        }
        if knock.contact.is_some() && knock.is_local {
            let is_under_way = |turn: &Arc<Turn>| {
                let is_it =
                    |attempt: &Attempt| matches!(&attempt.goal, Goal::Turn(own) if Arc::ptr_eq(own, turn));
                right.iter().any(is_it) || rest.iter().any(is_it)
            };
            for turns in &mut self.turns {
                let Some(door) = doors.get(usize::from(turns.id.0)) else { continue };
                if has_room || door.is_guest(source) {
                    let new = turns.at(now.wall, port).iter().filter(|turn| !is_under_way(turn));
                    goals.extend(new.cloned().map(Goal::Turn));
                }
            }
        }
        goals
    }

    /// These attempts have failed: packets that no other attempt holds count after all.
    fn fail(
        &mut self,
        now: Now,
        source: IpAddr,
        doors: &[Door],
        knocker: &mut Knocker,
        failed: Vec<Attempt>,
        why: Why,
    ) {
        if failed.is_empty() {
            return;
        }
        let unheld = knocker.take_unheld();
        let mut patience = None;
        for attempt in &failed {
            if attempt.is_done {
                if let (Why::OtherPorts, Some(door)) = (why, self.watched_door(&attempt.goal)) {
                    self.outcomes.push_back(Outcome::Scan { door, source, of: attempt.right });
                }
                continue;
            }
            // What another attempt has made good of was no failure; knockd told its time-outs all the same.
            let is_lost =
                attempt.held.is_empty() || unheld.iter().any(|packet| attempt.held.contains(&packet.number));
            let Some(door) = self.door(&attempt.goal) else { continue };
            // Of those who are no guests only a whole knock is told: the rest is what strangers do.
            if !self.is_guest(doors, source, &attempt.goal) {
                continue;
            }
            let is_knockds = matches!(&attempt.goal, Goal::Way(way) if way.is_knockds());
            let is_proved = match &attempt.goal {
                Goal::Way(_) => true,
                // One port of many users' many sequences is hit by chance.
                Goal::Turn(_) => attempt.right > 1,
            };
            if (is_lost && is_proved) || is_knockds {
                // With the step that spoiled it, if that was a right one.
                let step = attempt.right;
                let of = attempt.goal.length();
                let user = attempt.goal.user().filter(|_| attempt.right > 2).cloned();
                self.outcomes.push_back(Outcome::Failed { door, source, step, of, why, user, clock: None });
            }
            if is_lost && matches!(attempt.goal, Goal::Way(_)) {
                patience = patience.or(doors.get(usize::from(door.0)).and_then(|door| door.patience));
            }
        }
        if let Some(patience) = patience {
            self.guessing.add(now.mono, source, patience);
        }
        self.count_after_all(source, unheld);
    }

    /// Packets that no attempt holds any more are what they look like.
    fn count_after_all(&mut self, source: IpAddr, unheld: Vec<attempts::Packet>) {
        for packet in unheld {
            // He did touch it.
            let target = packet.identity.target;
            self.touched.add(packet.at.mono, source, (target.protocol, target.port));
            if let Some(contact) = packet.contact {
                self.outcomes.push_back(Outcome::Probe { contact, at: packet.at, mark: packet.mark });
            }
        }
    }

    /// Attempts of a source that has touched too much fail.
    fn spoil(
        &mut self,
        now: Now,
        doors: &[Door],
        source: IpAddr,
        knocker: &mut Knocker,
        is_service: &mut dyn FnMut(Port) -> bool,
    ) {
        let attempts = std::mem::take(&mut knocker.attempts);
        let mut spoiled = Vec::new();
        for attempt in attempts {
            let is_scan = self.looks_like_a_scan(source, &attempt, is_service);
            if is_scan { spoiled.push(attempt) } else { knocker.attempts.push(attempt) }
        }
        self.fail(now, source, doors, knocker, spoiled, Why::OtherPorts);
    }

    fn looks_like_a_scan(
        &self,
        source: IpAddr,
        attempt: &Attempt,
        is_service: &mut dyn FnMut(Port) -> bool,
    ) -> bool {
        match &attempt.goal {
            Goal::Way(way) if !way.refuses_scans() => false,
            Goal::Way(way) => {
                self.touched.looks_like_a_scan(source, attempt.first, |port| way.has(port), is_service)
            }
            Goal::Turn(turn) => {
                let Some(turns) = self.turns.iter().find(|turns| turns.name == turn.door) else {
                    return false;
                };
                match turns.others {
                    Some(limit) => attempt.others > limit,
                    None => {
                        let is_own = |port| turns.is_of(&turn.user, port);
                        self.touched.looks_like_a_scan(source, attempt.first, is_own, is_service)
                    }
                }
            }
        }
    }

    /// Whether a start after a crash would refuse it by its time.
    fn is_covered(&self, turns: &Turns, turn: &Turn) -> bool {
        self.covered.is_none_or(|mark| turns.begins(turn) < mark)
    }

    fn good(&self, now: Now, turn: &Turn) -> Good {
        let turns = self.turns.iter().find(|turns| turns.name == turn.door);
        turns.map_or(Good::Refused(Why::NotAuthentic), |turns| turns.judge(now.wall, self.floor, turn))
    }

    /// Whether the door that an attempt is about lets in its source.
    fn is_guest(&self, doors: &[Door], source: IpAddr, goal: &Goal) -> bool {
        let door = self.door(goal).and_then(|id| doors.get(usize::from(id.0)));
        door.is_none_or(|door| door.is_guest(source))
    }

    fn door(&self, goal: &Goal) -> Option<DoorId> {
        match goal {
            Goal::Way(way) => self.ways.door(way),
            Goal::Turn(turn) => self.turns.iter().find(|turns| turns.name == turn.door).map(|turns| turns.id),
        }
    }

    /// The door of a way that may be used up by now.
    fn watched_door(&self, goal: &Goal) -> Option<DoorId> {
        let Goal::Way(way) = goal else { return None };
        self.names
            .iter()
            .position(|name| *name == way.door)
            .and_then(|place| u16::try_from(place).ok())
            .map(DoorId)
    }

    /// Keeps a source as long as it has an attempt.
    fn put(&mut self, now: Now, source: IpAddr, mut knocker: Knocker, doors: &[Door]) {
        let Some(due) = knocker.first_end() else { return };
        knocker.due = Some(due);
        self.ends.insert((due, source));
        let mut knocker = Some(knocker);
        let begin = || knocker.take().unwrap_or_default();
        let (_, evicted) = self.knockers.remember_telling(now.mono, Prefix::single(source), begin);
        if let Some((prefix, mut evicted)) = evicted {
            let other = prefix.address();
            if let Some(due) = evicted.due {
                self.ends.remove(&(due, other));
            }
            let attempts = std::mem::take(&mut evicted.attempts);
            self.fail(now, other, doors, &mut evicted, attempts, Why::Crowded);
        }
    }
}
