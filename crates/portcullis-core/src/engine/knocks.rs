//! Knocks in the engine: every packet is heard by the doors before it is classified, and what comes of it is carried
//! past policy.

use std::net::IpAddr;
use std::time::Duration;

use super::doors::{Doors, Pending, Request};
use super::{Ending, Engine, Freshness, Host, Presence, classify};
use crate::door::hearing::{Heard, Knock, Outcome};
use crate::door::spa::access::Granted;
use crate::door::spa::refusal::Refusal;
use crate::door::spa::{Accepted, Denied};
use crate::door::ways::Leads;
use crate::door::{By, DoorId, Event, Lock, Mark, Mode as DoorMode, Spending, Trace, User, Why};
use crate::event::{Action, What};
use crate::net::{Endpoint, Prefix, Protocol};
use crate::policy::Policy;
use crate::scan::Contact;
use crate::time::{Now, Wall};
use crate::wire::{Packet, TcpFlags, Transport};

/// How an attempt ended, before it has a name and a time.
#[derive(Clone)]
struct Told {
    door: DoorId,
    source: IpAddr,
    step: u8,
    of: u8,
    user: Option<User>,
    clock: Option<i64>,
}

/// A knock that is right, by whatever lock.
pub(super) struct Right {
    door: DoorId,
    source: IpAddr,
    address: IpAddr,
    of: u8,
    by: By,
    user: Option<User>,
    clock: Option<i64>,
    length: Option<Duration>,
}

/// What a datagram was to a lock of the kind `spa`.
pub(super) enum SpaOutcome {
    Accepted(DoorId, IpAddr, Accepted),
    Denied(DoorId, IpAddr, Denied),
}

impl Doors {
    /// Hears one packet.
    pub(super) fn hear_packet(
        &mut self,
        now: Now,
        packet: &Packet<'_>,
        interface: u32,
        policy: &Policy,
        host: &mut dyn Host,
    ) -> Heard {
        // Forged: it came by an interface that does not lead to its source.
        if policy.is_misplaced(packet.source, interface) {
            return Heard::default();
        }
        let address = packet.destination;
        let is_local = policy.is_local(address) && !policy.is_for_many(address);
        let contact = classify::contact(packet, interface);
        let (protocol, source_port, port, flags, sequence) = match packet.transport {
            Transport::Tcp(tcp) => {
                (Protocol::Tcp, tcp.source_port, tcp.destination_port, tcp.flags, Some(tcp.sequence))
            }
            Transport::Udp { source_port, destination_port, .. } => {
                (Protocol::Udp, source_port, destination_port, TcpFlags::default(), None)
            }
            _ => return Heard::default(),
        };
        let target = Endpoint { protocol, address, port };
        let mut mark = None;
        if let Transport::Udp { payload, .. } = packet.transport {
            let heard = self.hear_datagram(now, packet.source, target, is_local, payload);
            if heard.is_excused {
                return heard;
            }
            mark = heard.mark;
        }
        let knock = Knock { source: packet.source, source_port, target, flags, sequence, is_local, contact };
        let template = Contact {
            source: packet.source,
            source_port,
            target,
            kind: crate::event::Kind::Syn,
            flags,
            has_ip_options: packet.has_ip_options,
            is_cut_up: packet.is_cut_up,
            fingerprint: crate::scan::Fingerprint::default(),
            interface,
        };
        let mut is_service = |(protocol, port): (Protocol, u16)| {
            let kind = match protocol {
                Protocol::Udp => crate::event::Kind::Udp,
                _ => crate::event::Kind::Syn,
            };
            let contact = Contact { target: Endpoint { protocol, address, port }, kind, ..template };
            host.presence(&contact, Freshness::Recent) == Presence::Service
        };
        let heard = self.hearing.hear(now, &self.settings.doors, &knock, &mut is_service);
        Heard { mark: heard.mark.or(mark), ..heard }
    }

    /// Hears one datagram by the locks that are opened by one. Behind a right HMAC it is the knock of who has the key, even
    /// if it opens nothing (a clock is wrong, or it was made before the start); but what was seen before may be anybody's.
    pub(super) fn hear_datagram(
        &mut self,
        now: Now,
        source: IpAddr,
        target: Endpoint,
        is_local: bool,
        payload: &[u8],
    ) -> Heard {
        let mut heard = Heard::default();
        for (id, spa) in &mut self.spas {
            let Some(door) = self.settings.doors.get(usize::from(id.0)) else { continue };
            let Lock::Spa(lock) = &door.lock else { continue };
            let is_target = door.target.map_or(is_local, |own| own == target.address);
            if lock.port != target.port || !is_target || !door.is_guest(source) {
                continue;
            }
            match spa.receive(now.wall, source, payload) {
                Ok(accepted) => {
                    heard.is_excused = true;
                    self.spa_outcomes.push(SpaOutcome::Accepted(*id, source, accepted));
                }
                Err(denied) => {
                    if denied.user.is_some() {
                        heard.is_excused |= denied.refusal != Refusal::Replayed;
                        heard.mark = Some(Mark { door: *id, step: 1 });
                    }
                    self.spa_outcomes.push(SpaOutcome::Denied(*id, source, denied));
                }
            }
        }
        heard
    }
}

impl Engine {
    /// One datagram that a socket of ours has taken from `source` at `interface` (0 if unknown), where packets can't be
    /// seen: for doors of the kind `spa`. The socket is a service; nobody is a prober for having sent to it.
    pub fn datagram(
        &mut self,
        now: Now,
        source: IpAddr,
        target: Endpoint,
        interface: u32,
        payload: &[u8],
        host: &mut dyn Host,
    ) {
        let source = source.to_canonical();
        // As with packets on the wire: neither forged, nor for many.
        if self.policy.is_misplaced(source, interface) {
            return;
        }
        let is_local = self.policy.is_local(target.address) && !self.policy.is_for_many(target.address);
        self.doors.hear_datagram(now, source, target, is_local, payload);
        self.settle_doors(now, host);
    }

    /// Whatever carries a time before `floor` is refused from now on, since it may have been used by a run that left no
    /// word of it. To be called on each start, with the later of the start's own time and the mark that the last run left.
    /// It never sinks.
    pub fn refuse_before(&mut self, floor: Wall) {
        self.doors.refuse_before(floor);
    }

    /// The mark on the disk is `mark` by now: the next run will refuse whatever carries a time before it. A single packet
    /// that carries a later one opens only after it is on the disk itself ([`Spending::Packet`]), a rotating sequence when
    /// the mark has come so far.
    pub fn covered_until(&mut self, mark: Wall) {
        self.doors.cover(mark);
    }

    /// What is on the disk as used up (or could not be brought there): the door opens (or stays shut; what was used in
    /// vain is refused until the configuration is read again).
    pub fn spent(&mut self, now: Now, door: DoorId, which: Spending, is_done: bool) {
        let name = self.doors.name(door);
        let is_it = |pending: &Pending| Some(&pending.name) == name.as_ref() && pending.which == which;
        let Some(place) = self.doors.pending.iter().position(is_it) else { return };
        let Pending { right, name, sequence, .. } = self.doors.pending.remove(place);
        let right = Right { door, ..right };
        if is_done {
            if let Some(sequence) = sequence {
                self.doors.struck.retain(|own| *own != (name.clone(), sequence.clone()));
            }
            self.let_in_knocker(now, right);
        } else {
            self.trace(now, &right.told(), Why::NotSpent);
        }
    }

    /// The latest attempts, newest first: why is it still shut?
    #[must_use]
    pub fn traces(&self) -> Vec<Trace> {
        self.doors.traces.latest()
    }

    /// How many sources are knocking, and how many were forgotten to make room.
    #[must_use]
    pub fn knockers(&self) -> (usize, u64) {
        self.doors.hearing.memory()
    }

    /// What is due of knocks.
    pub(super) fn tick_knocks(&mut self, now: Now, host: &mut dyn Host) {
        let Doors { hearing, settings, .. } = &mut self.doors;
        hearing.expire(now, &settings.doors);
        self.settle_doors(now, host);
    }

    /// Carries out what the doors have found.
    pub(super) fn settle_doors(&mut self, now: Now, host: &mut dyn Host) {
        for outcome in std::mem::take(&mut self.doors.spa_outcomes) {
            self.settle_spa(now, outcome);
        }
        while let Some(outcome) = self.doors.hearing.next_outcome() {
            match outcome {
                Outcome::Step { door, source, step, of } => {
                    if self.doors.traces.may_tell(now.mono, step, of) {
                        self.tell_of(now, door, Event::Knocked { source, step, of });
                    } else {
                        self.counters.knocks_not_told += 1;
                    }
                }
                Outcome::Failed { door, source, step, of, why, user, clock } => {
                    let is_in = || self.doors.openings.get(now, (door, source)).is_some();
                    let why = if why == Why::Replayed && is_in() { Why::Repeated } else { why };
                    self.trace(now, &Told { door, source, step, of, user, clock }, why);
                }
                Outcome::Right { door, source, of, leads, user, clock } => {
                    let by = self.doors.door(door).map_or(By::Sequence, |door| door.lock.by());
                    let right = Right { door, source, address: source, of, by, user, clock, length: None };
                    self.succeed(now, leads, right);
                }
                Outcome::Scan { door, source, of } => {
                    self.trace(
                        now,
                        &Told { door, source, step: of, of, user: None, clock: None },
                        Why::OtherPorts,
                    );
                    let name = self.doors.name(door);
                    self.doors.pending.retain(|pending| {
                        Some(&pending.name) != name.as_ref() || pending.right.source != source
                    });
                    self.shut(now, door, source, crate::door::Closing::Scan);
                }
                Outcome::Probe { contact, at, mark } => self.count_after_all(at, contact, mark, host),
            }
        }
    }

    /// A packet was excused, and no knock came of it.
    fn count_after_all(&mut self, at: Now, contact: Contact, mark: Mark, host: &mut dyn Host) {
        self.counters.knocks = self.counters.knocks.saturating_sub(1);
        if self.policy.surroundings().trusted.contains(&contact.interface) {
            self.counters.trusted += 1;
        } else {
            self.contact_marked(at, contact, Some(mark), host);
        }
    }

    fn succeed(&mut self, now: Now, leads: Leads, right: Right) {
        match leads {
            Leads::Open => self.let_in_knocker(now, right),
            Leads::Close => {
                self.trace(now, &right.told(), Why::Closed);
                self.shut_by_knock(now, right.door, right.address);
            }
            Leads::Once(number) => {
                let Some(door) = self.doors.door(right.door).cloned() else { return };
                let sequence = match &door.lock {
                    Lock::OneTime(one_time) => {
                        one_time.sequences.iter().find(|(own, _)| *own == number).map(|(_, own)| own.clone())
                    }
                    _ => None,
                };
                if let Some(sequence) = &sequence {
                    self.doors.struck.push((door.name.clone(), sequence.clone()));
                }
                let left = self.doors.hearing.spend(right.door, &door, number);
                self.tell_of(now, right.door, Event::Spent { left });
                self.spend(now, Spending::Sequence(number), right, sequence);
            }
        }
    }

    fn settle_spa(&mut self, now: Now, outcome: SpaOutcome) {
        match outcome {
            SpaOutcome::Accepted(door, source, accepted) => {
                let user = self.doors.spa_user(door, accepted.user);
                let clock = Some(accepted.ahead);
                let told = Told { door, source, step: 1, of: 1, user: user.clone(), clock };
                let Granted::Opening(opening) = accepted.granted else {
                    return self.trace(now, &told, Why::NotOffered);
                };
                let Some(found) = self.doors.door(door) else { return };
                let is_offered = opening.ports.iter().all(|port| {
                    let offers = |(protocol, ports): &(Protocol, crate::net::PortSet)| {
                        *protocol == port.protocol && ports.contains(port.number)
                    };
                    found.opens.iter().any(offers)
                });
                if !is_offered {
                    return self.trace(now, &told, Why::NotOffered);
                }
                let right = Right {
                    door,
                    source,
                    address: opening.address,
                    of: 1,
                    by: By::Spa,
                    user,
                    clock,
                    length: found.open_for.and(Some(opening.length)),
                };
                if accepted.record_first {
                    self.spend(now, Spending::Packet(accepted.entry), right, None);
                } else {
                    self.let_in_knocker(now, right);
                }
            }
            SpaOutcome::Denied(door, source, denied) => {
                let user = denied.user.and_then(|user| self.doors.spa_user(door, user));
                let step = u8::from(user.is_some());
                let told = Told { door, source, step, of: 1, user, clock: denied.ahead };
                self.trace(now, &told, Why::Spa(denied.refusal));
            }
        }
    }

    /// Has something brought to the disk before a door opens.
    fn spend(&mut self, now: Now, which: Spending, right: Right, sequence: Option<crate::door::Sequence>) {
        let Some(name) = self.doors.name(right.door) else { return };
        self.trace(now, &right.told(), Why::Spending);
        self.actions.push_back(Action::Spend { door: right.door, name: name.clone(), which });
        // One for each sequence that is used, or packet of a user that is seen: both have their own ceilings.
        self.doors.pending.push(Pending { name, which, sequence, right });
    }

    /// A knock was right: policy has its word, then the door opens.
    fn let_in_knocker(&mut self, now: Now, right: Right) {
        let told = right.told();
        let Right { door: id, source, address, by, user, length, .. } = right;
        let Some(door) = self.doors.door(id) else { return };
        let (is_guest, is_acting) = (door.is_guest(address), door.mode == DoorMode::Act);
        let (pardons, lasts) = (door.pardons && by != By::Sequence, length.or(door.open_for));
        let own = self.policy.protected(&Prefix::single(address)).is_some_and(|protected| {
            matches!(protected.why, crate::event::Protection::Own | crate::event::Protection::Special)
        });
        if !self.policy.may_be_let_in(address) || (own && address != source) {
            return self.trace(now, &told, Why::Address);
        }
        if !is_guest {
            return self.trace(now, &told, Why::NotAGuest);
        }
        self.trace(now, &told, if is_acting { Why::Opened } else { Why::Observed });
        let request = Request { door: id, address, length, by, user };
        if self.open(now, request).is_some() && pardons && address == source {
            self.pardon(now, address, lasts);
        }
    }

    /// Ends the automatic ban of who has proved himself; inside a wider one he is allowed alone, for as long as the door
    /// is open to him.
    fn pardon(&mut self, now: Now, address: IpAddr, lasts: Option<Duration>) {
        /// Where the door keeps nothing open.
        const AT_LEAST: Duration = Duration::from_secs(60);
        let single = Prefix::single(address);
        if self.policy.unit(address, address) == single {
            self.forget_evidence(&single);
        }
        let around = self.ledger.around(&single);
        let own = self.ledger.get(now, &single);
        let mut covering = around.iter().filter_map(|prefix| self.ledger.get(now, prefix)).chain(own.clone());
        if !covering.all(|ban| ban.is_automatic()) {
            return;
        }
        if own.is_some() {
            self.lift(now, &[single], Ending::Pardoned);
        }
        let is_ours = self.doors.pardoned.contains(&address);
        if around.is_empty() && !is_ours {
            return;
        }
        if self.allowances.contains_key(&single) && !is_ours {
            return;
        }
        if self.allow(now, &[single], Some(lasts.unwrap_or(AT_LEAST))).is_ok() {
            self.doors.pardoned.insert(address);
        } else {
            self.counters.pardons_left_out += 1;
        }
    }

    /// No door is open to `address` any more: what allowed it alone ends too.
    pub(super) fn end_pardon(&mut self, now: Now, address: IpAddr) {
        if self.doors.pardoned.contains(&address) && !self.doors.openings.has_address(address) {
            self.doors.pardoned.remove(&address);
            self.disallow(now, &[Prefix::single(address)]);
        }
    }

    fn trace(&mut self, now: Now, told: &Told, why: Why) {
        let Some(door) = self.doors.name(told.door) else { return };
        let trace = Trace {
            door: door.clone(),
            source: told.source,
            at: now.wall,
            step: told.step,
            of: told.of,
            why,
            user: told.user.clone(),
            clock_difference: told.clock,
        };
        self.doors.traces.add(trace.clone());
        if self.doors.traces.may_tell(now.mono, told.step, told.of) {
            self.record(now, What::Door { door, event: Event::Attempt(trace) });
        } else {
            self.counters.knocks_not_told += 1;
        }
    }
}

impl Right {
    fn told(&self) -> Told {
        Told {
            door: self.door,
            source: self.source,
            step: self.of,
            of: self.of,
            user: self.user.clone(),
            clock: self.clock,
        }
    }
}
