//! The fast path: one plain thread that owns the ring and the engine. A packet is read, judged, and a block is sent
//! to the kernel, all here. It never forks, never writes a file, never waits for another thread.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use portcullis_core::door::{self, DoorId, Spending};
use portcullis_core::engine::{Counters, Engine, Settings};
use portcullis_core::event::{Action, Ban, BanState, Fate, Fault, Mode, Record, What};
use portcullis_core::ledger::{Change, Found};
use portcullis_core::net::{Endpoint, Prefix, Protocol};
use portcullis_core::policy::Surroundings;
use portcullis_core::time::{Mono, Now, Wall};
use portcullis_core::wire::Refusals;
use portcullis_sys::filter::{FilterSpec, Program};
use portcullis_sys::nftables;
use portcullis_sys::wake::{Pace, Pause, Poller, Waker};
use portcullis_sys::{clock, priority};
use tokio::sync::{mpsc, oneshot};

use super::desk;
use super::doors::{DoorPlan, GuestsByDoor};
use super::host::{KernelHost, Muted};
use super::plan::Plan;
use super::surroundings::Look;
use crate::capture::Eyes;
use crate::capture::listen::Reply;
use crate::causes;
use crate::control::{Answer, Command};
use crate::respond::hands::Hands;
use crate::respond::nftables::{NotShut, bans_of};
use crate::respond::responses::Responses;

/// Orders under way at once; the slow path waits for room, the fast one never does.
const ORDERS: usize = 256;

/// Frames judged before orders and time-outs are looked at again.
const BATCH: usize = 256;

/// Changes given to the store at once.
const CHANGES: usize = 4096;

/// After the store has refused changes (a full disk), they are offered again after this.
const SAVE_AGAIN: Duration = Duration::from_secs(5);

/// What the slow path may ask of the fast one.
pub enum Order {
    /// An operator's command that concerns the engine.
    Command(Command, oneshot::Sender<Answer>),
    /// The host looks like this now.
    Surround(Box<Surroundings>, Box<FilterSpec>),
    /// What the kernel held when a listing was begun: bans, and the guests of its doors.
    Compare(Mono, nftables::Held, GuestsByDoor),
    /// The store has (or has not) kept these.
    Saved(Vec<Change>, bool),
    /// A new configuration; a persona's has responses. Nothing has changed where its doors could not be shut.
    Configure(Box<Settings>, Option<Box<Responses>>, Box<DoorPlan>, oneshot::Sender<AreShut>),
    /// The same doors, to be shut otherwise in the kernel.
    ShutAnew(Box<DoorPlan>, oneshot::Sender<AreShut>),
    /// Whether a one-time sequence has been struck from its file.
    Spent(DoorId, Spending, bool),
    /// What carries a time before this would be refused by a start from now on.
    Covered(Wall),
    /// The store has (or has not) kept these changes of openings.
    OpeningsSaved(Vec<door::Change>, bool),
    /// How the responses to an event of this source ended; why they failed, or nothing if that has been told.
    Answered(Prefix, Result<(), String>),
    /// The responses failed too often.
    GiveUp(Prefix),
    /// Somebody took these out of the blocked file.
    Rearm(Vec<IpAddr>),
    /// How are things?
    Vitals(oneshot::Sender<Vitals>),
    /// A day of observing is over; another one begins.
    NewDay,
    /// The end; the last changes for the store come back.
    Stop {
        /// Whether bans stay in the kernel, which ends them in time by itself.
        keep_bans: bool,
        /// Where the changes go.
        changes: oneshot::Sender<Last>,
    },
}

/// Whether the kernel has shut the doors as asked; else they are as before.
pub type AreShut = Result<(), NotShut>;

/// What the fast path leaves to the store.
pub struct Last {
    /// Of bans.
    pub bans: Vec<Change>,
    /// The first number that is free.
    pub next_id: u64,
    /// Of openings.
    pub openings: Vec<door::Change>,
}

impl Order {
    /// The host looks like this now.
    #[must_use]
    pub fn surround(look: &Look) -> Order {
        Order::Surround(Box::new(look.surroundings.clone()), Box::new(look.filter.clone()))
    }

    /// To do as `plan` says, in this mode; and where the answer comes, when the kernel has given its own.
    #[must_use]
    pub fn configure(plan: &Plan, mode: Mode) -> (Order, oneshot::Receiver<AreShut>) {
        let responses = plan.persona.as_ref().map(|persona| Box::new(persona.responses.clone()));
        let (to, answer) = oneshot::channel();
        let settings = Box::new(plan.settings(mode));
        (Order::Configure(settings, responses, Box::new(plan.doors.clone()), to), answer)
    }
}

/// What the fast path has to tell.
pub enum Report {
    /// To be written down.
    Record(Box<Record>),
    /// To be kept, and the first number that is free.
    Save(Vec<Change>, u64),
    /// Changes of openings, to be kept.
    SaveOpenings(Vec<door::Change>),
    /// Something has changed that is worth a sentence, and no fault.
    Notice(String),
    /// The kernel did not hold what it should: a listing is wanted.
    Doubt,
}

/// How the fast path is.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// What the engine counted.
    pub counters: Counters,
    /// What the wire refused.
    pub refusals: Refusals,
    /// Packets that passed the filter, and of these the ones dropped for want of room.
    pub received: u64,
    /// See `received`.
    pub dropped: u64,
    /// Sources remembered, and those forgotten for want of room.
    pub suspects: (usize, u64),
    /// Bans, without holds.
    pub bans: usize,
    /// Holds.
    pub held: usize,
    /// Whom the brake has kept back, while it is on.
    pub brake: Option<Vec<String>>,
    /// Of both, not in force.
    pub bans_not_in_force: usize,
    /// Of these, not in the store.
    pub bans_unsaved: usize,
    /// Allowed by hand.
    pub allowances: usize,
    /// When the mode ends by itself.
    pub mode_until: Option<Wall>,
    /// The sources that would have been banned in the last day.
    pub observed: BTreeSet<IpAddr>,
    /// Questions about services that the kernel left open.
    pub unanswered: u64,
    /// Records that found no room on their way to the slow path.
    pub left_out: u64,
    /// Whether ports with ordinary traffic are too many to look for segments with ACK beside them.
    pub are_acks_unseen: bool,
    /// What the kernel has refused.
    pub complaints: Complaints,
}

/// The way to the fast path.
#[derive(Clone)]
pub struct Orders {
    queue: SyncSender<Order>,
    waker: Waker,
}

impl Orders {
    /// Gives an order, waiting for room if there are many; `false` if the fast path has ended.
    #[must_use]
    pub fn give(&self, order: Order) -> bool {
        // Whoever reads them is awake since the first of those that fill the queue.
        let is_given = self.queue.send(order).is_ok();
        self.waker.wake();
        is_given
    }
}

/// The fast path.
pub struct Guard {
    eyes: Eyes,
    filter: FilterSpec,
    muted: Muted,
    engine: Engine,
    host: KernelHost,
    hands: Hands,
    poller: Poller,
    orders: Receiver<Order>,
    out: Out,
    is_saving: bool,
    is_saving_openings: bool,
    save_not_before: Mono,
    complaints: Complaints,
}

/// What the kernel has refused and not taken since; each is cleared by its own success.
#[derive(Clone, Debug, Default)]
pub struct Complaints {
    /// The filter of the ring.
    pub filter: Option<String>,
    /// Table, chain and rules.
    pub table: Option<String>,
    /// Bans.
    pub bans: Option<String>,
    /// Releases.
    pub releases: Option<String>,
    /// The allow list.
    pub allowances: Option<String>,
    /// Doors.
    pub doors: Option<String>,
}

/// The way to the slow path: bounded, and never waited for.
struct Out {
    reports: mpsc::Sender<Report>,
    left_out: u64,
}

impl Guard {
    /// A guard and the way to it.
    ///
    /// # Errors
    /// The wake-up call could not be made.
    pub fn new(
        eyes: Eyes,
        filter: FilterSpec,
        engine: Engine,
        host: KernelHost,
        hands: Hands,
        reports: mpsc::Sender<Report>,
    ) -> std::io::Result<(Guard, Orders)> {
        let poller = Poller::new()?;
        let (queue, orders) = sync_channel(ORDERS);
        let way = Orders { queue, waker: poller.waker() };
        let out = Out { reports, left_out: 0 };
        let guard = Guard {
            eyes,
            filter,
            muted: Muted::nothing(),
            engine,
            host,
            hands,
            poller,
            orders,
            out,
            is_saving: false,
            is_saving_openings: false,
            save_not_before: Mono::default(),
            complaints: Complaints::default(),
        };
        Ok((guard, way))
    }

    /// Carries out what the engine decided before the first packet: bans of an earlier run go in.
    pub fn begin(&mut self, now: Now) {
        self.perform(now);
    }

    /// Watches until it is told to stop.
    ///
    /// # Errors
    /// Waiting for packets failed, which leaves nothing to do.
    pub fn run(mut self) -> std::io::Result<()> {
        // On a busy host it decides how many probes get through before the block. The unit does the same by Nice=;
        // without the right to, the guard is only slower.
        drop(priority::raise());
        let mut pace = Pace::default();
        let mut pause = Pause::UntilReady;
        loop {
            self.wait(pause)?;
            let now = clock::now();
            if self.take_orders(now) {
                return Ok(());
            }
            let frames = self.look(now);
            for notice in self.eyes.tick(now.mono) {
                self.out.tell(Report::Notice(notice));
            }
            if self.engine.next_timeout().is_some_and(|due| due <= now.mono) {
                self.host.set_time(now.mono);
                self.engine.tick(now, &mut self.host);
                self.perform(now);
            }
            if let Some(muted) = self.host.muted() {
                self.muted = muted;
                self.set_filter();
            }
            self.save(now);
            pause = pace.after_drain(frames);
        }
    }

    /// Waits for a packet, an order or a time-out; while packets are many, only a moment, for orders.
    fn wait(&mut self, pause: Pause) -> std::io::Result<()> {
        match pause {
            Pause::Nap(nap) => {
                self.poller.wait(&[], Some(nap))?;
            }
            Pause::UntilReady => {
                let now = clock::now().mono;
                let bans = self.engine.is_dirty() && !self.is_saving;
                let openings = self.engine.are_openings_dirty() && !self.is_saving_openings;
                let save = (bans || openings).then_some(self.save_not_before);
                let eyes = self.eyes.next_timeout();
                let due = [self.engine.next_timeout(), self.host.next_timeout(), save, eyes];
                let due = due.into_iter().flatten().min();
                let descriptors = self.eyes.descriptors();
                self.poller.wait(&descriptors, due.map(|due| due.since(now)))?;
            }
        }
        Ok(())
    }

    /// Judges what has come, and acts after each packet.
    fn look(&mut self, now: Now) -> usize {
        self.host.set_time(now.mono);
        let Guard { eyes, engine, host, hands, out, complaints, .. } = self;
        let mut seen = 0;
        if let Some(ring) = &mut eyes.ring {
            seen = ring.drain(BATCH, |captured| {
                engine.frame(now, captured.frame, captured.interface, host);
                perform(engine, hands, out, complaints, now);
            });
            if seen == 0 {
                // An interface that went down leaves an error, which would end every wait at once. The ring
                // outlives it, and that interfaces come and go is told elsewhere.
                drop(ring.take_error());
            }
        }
        if let Some(listener) = &mut eyes.listener {
            seen += listener.drain(now.mono, BATCH, |contact| {
                let fate = engine.contact(now, contact, &mut super::host::Ours);
                perform(engine, hands, out, complaints, now);
                reply(fate)
            });
        }
        if let Some(datagrams) = &mut eyes.datagrams {
            seen += datagrams.drain(BATCH, |taken| {
                let target = Endpoint { protocol: Protocol::Udp, address: taken.to, port: taken.port };
                engine.datagram(now, taken.source, target, taken.interface, taken.payload, host);
                perform(engine, hands, out, complaints, now);
            });
        }
        seen
    }

    fn perform(&mut self, now: Now) {
        perform(&mut self.engine, &mut self.hands, &mut self.out, &mut self.complaints, now);
    }

    /// Carries out orders; whether one was to stop.
    fn take_orders(&mut self, now: Now) -> bool {
        // Without a slow path (disconnected) the guard goes on: only the end of the process ends it.
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Stop { keep_bans, changes } => {
                    self.stop(now, keep_bans, changes);
                    return true;
                }
                order => self.carry_out(now, order),
            }
        }
        false
    }

    fn stop(&mut self, now: Now, keep_bans: bool, changes: oneshot::Sender<Last>) {
        // Scans that are under way get their last word.
        self.engine.finish(now, &mut self.host);
        self.perform(now);
        self.shut_what_owes(now);
        if !keep_bans && let Err(answer) = self.lift_all(now) {
            let what = What::Fault(Fault::NotChanged { answer });
            self.out.tell(Report::Record(Box::new(Record { time: now.wall, what })));
        }
        // If nobody waits for them the slow path has ended before us, and the kernel still holds the bans.
        let last = Last {
            bans: self.engine.changes(now, usize::MAX),
            next_id: self.engine.ids_from(),
            openings: self.engine.opening_changes(now, usize::MAX),
        };
        drop(changes.send(last));
    }

    /// Takes all bans out of the kernel. Doors stay shut.
    fn lift_all(&mut self, now: Now) -> Result<(), String> {
        let Some(kernel) = &mut self.hands.kernel else { return Ok(()) };
        if self.hands.doors.in_kernel.is_empty() {
            return kernel.remove_table().map_err(|error| causes::said(&error));
        }
        let bans = self.engine.bans(now, None, usize::MAX);
        let prefixes: Vec<Prefix> = bans.iter().map(|ban| ban.prefix).collect();
        kernel.release(&prefixes).map_err(|error| causes::said(&error))
    }

    /// Nobody would run the stop commands in time: these doors are shut with us. Those of a name are all of it.
    fn shut_what_owes(&mut self, now: Now) {
        let owing = &self.hands.doors.owing;
        let doors = self.engine.doors().iter().zip(0..).filter(|(door, _)| owing.contains(&door.name));
        let doors: Vec<DoorId> = doors.map(|(_, place)| DoorId(place)).collect();
        for door in doors {
            self.engine.close_at_end(now, door);
        }
        self.perform(now);
    }

    fn carry_out(&mut self, now: Now, order: Order) {
        match order {
            Order::Command(command, answer) => {
                let can_block = self.hands.kernel.is_some();
                self.host.set_time(now.mono);
                let host = &mut self.host;
                let said = desk::answer(&mut self.engine, now, command, can_block, host, |engine| {
                    perform(engine, &mut self.hands, &mut self.out, &mut self.complaints, now);
                });
                // A client that has gone away in between has no use for it.
                drop(answer.send(said));
            }
            Order::Surround(surroundings, filter) => {
                self.engine.surround(now, *surroundings);
                self.filter = *filter;
                self.set_filter();
            }
            Order::Compare(listed, held, guests) => {
                if held.is_intact {
                    self.engine.compare_openings(now, listed, &guests);
                }
                if !held.is_intact
                    && let Some(kernel) = &mut self.hands.kernel
                {
                    // Even without bans: the next one must not go into a set that no rule asks.
                    kernel.distrust();
                    if self.engine.bans_in_all() > 0 || !self.hands.doors.in_kernel.is_empty() {
                        self.complaints.table = complaint(kernel.make());
                        self.engine.send_openings(now);
                    }
                }
                let in_set = bans_of(&held);
                let mut held = in_set.clone();
                held.extend(self.held_elsewhere(now));
                self.engine.compare(now, listed, &held);
                self.hands.adopt(&self.engine, now, &in_set);
            }
            Order::Answered(prefix, answer) => self.engine.enforced(now, &[(prefix, answer)]),
            Order::GiveUp(prefix) => self.engine.give_up(now, prefix),
            Order::Spent(door, which, is_done) => self.engine.spent(now, door, which, is_done),
            Order::Covered(mark) => self.engine.covered_until(mark),
            Order::OpeningsSaved(changes, is_kept) => {
                self.is_saving_openings = false;
                self.engine.openings_saved(&changes, is_kept);
                self.save_not_before = if is_kept { now.mono } else { now.mono + SAVE_AGAIN };
            }
            Order::Rearm(sources) => {
                for source in sources {
                    self.engine.rearm(now, source);
                }
            }
            Order::Saved(changes, is_kept) => {
                self.is_saving = false;
                self.engine.saved(&changes, is_kept);
                self.save_not_before = if is_kept { now.mono } else { now.mono + SAVE_AGAIN };
            }
            Order::Configure(settings, responses, doors, answer) => {
                // Before the engine is told: what it shuts then is shut in the kernel already, or goes with its door.
                let are_shut = self.shut(&doors);
                if are_shut.is_ok() {
                    self.complaints.doors = None;
                    if let Some(datagrams) = &mut self.eyes.datagrams {
                        datagrams.set(&doors.listened.single, now.mono);
                    }
                    if let (Some(errands), Some(responses)) = (&mut self.hands.errands, responses) {
                        errands.responses = *responses;
                    }
                    self.engine.reconfigure(now, *settings);
                }
                // Whoever asked may have gone away.
                drop(answer.send(are_shut));
            }
            Order::ShutAnew(doors, answer) => {
                let are_shut = self.shut(&doors);
                self.complaints.doors = match &are_shut {
                    Err(NotShut::Refused(why)) => Some(why.clone()),
                    _ => None,
                };
                drop(answer.send(are_shut));
            }
            // Whoever asked may have gone away.
            Order::Vitals(answer) => drop(answer.send(self.vitals())),
            Order::NewDay => self.engine.forget_observed(),
            Order::Stop { .. } => {}
        }
        if self.engine.mode() == Mode::Enforce {
            self.complaints.table = complaint(self.hands.prepare());
        }
        self.perform(now);
    }

    fn shut(&mut self, doors: &DoorPlan) -> AreShut {
        self.hands.set_doors(doors.hands_by(self.hands.doors.queue.clone()))
    }

    /// What shuts these out is no set of ours, so that no listing can show it.
    fn held_elsewhere(&self, now: Now) -> Vec<Found> {
        if self.hands.errands.is_none() {
            return Vec::new();
        }
        let bans = self.engine.bans(now, None, usize::MAX).into_iter();
        let is_elsewhere = |ban: &Ban| {
            matches!(ban.state, BanState::InForce | BanState::Unsaved)
                && !self.hands.is_for_kernel(&ban.prefix, &ban.cause)
        };
        let remaining = |prefix: &Prefix| self.engine.remaining(now, prefix).flatten();
        bans.filter(is_elsewhere).map(|ban| Found::banned(ban.prefix, remaining(&ban.prefix))).collect()
    }

    fn set_filter(&mut self) {
        if let Some(ring) = &mut self.eyes.ring {
            self.complaints.filter =
                complaint(ring.set_filter(&Program::compile(&self.muted.of(&self.filter))));
        }
    }

    fn save_openings(&mut self, now: Now) {
        if self.is_saving_openings || !self.engine.are_openings_dirty() || now.mono < self.save_not_before {
            return;
        }
        // Room first, as with bans.
        if let Ok(room) = self.out.reports.try_reserve() {
            room.send(Report::SaveOpenings(self.engine.opening_changes(now, CHANGES)));
            self.is_saving_openings = true;
        } else {
            self.save_not_before = now.mono + Duration::from_millis(10);
        }
    }

    fn save(&mut self, now: Now) {
        self.save_openings(now);
        if self.is_saving || !self.engine.is_dirty() || now.mono < self.save_not_before {
            return;
        }
        // Room first: changes that were taken and found none would be called unsaved, though nobody refused them.
        match self.out.reports.try_reserve() {
            Ok(room) => {
                let changes = self.engine.changes(now, CHANGES);
                room.send(Report::Save(changes, self.engine.ids_from()));
                self.is_saving = true;
            }
            Err(mpsc::error::TrySendError::Full(())) => {
                self.save_not_before = now.mono + Duration::from_millis(10);
            }
            Err(mpsc::error::TrySendError::Closed(())) => self.save_not_before = now.mono + SAVE_AGAIN,
        }
    }

    fn vitals(&mut self) -> Vitals {
        let (received, dropped) = self.eyes.statistics();
        let (engine, now) = (&self.engine, clock::now());
        Vitals {
            counters: engine.counters().clone(),
            refusals: engine.refusals().clone(),
            received,
            dropped,
            suspects: engine.suspects(),
            bans: engine.bans_in_all() - engine.holds(),
            held: engine.holds(),
            brake: engine.kept_back().map(|own| own.iter().map(ToString::to_string).collect()),
            bans_not_in_force: engine.bans_in(BanState::Pending) + engine.bans_in(BanState::Failed),
            bans_unsaved: engine.bans_in(BanState::Unsaved),
            allowances: engine.allowances(now).len(),
            mode_until: engine.trial(now).map(|(_, left)| now.wall + left),
            observed: engine.would_have_banned().clone(),
            unanswered: self.host.failures(),
            left_out: self.out.left_out,
            are_acks_unseen: self.muted.acks.is_none(),
            complaints: self.complaints.clone(),
        }
    }
}

/// PortSentry gave its banner to whoever had come too often, and to nobody else.
fn reply(fate: Option<Fate>) -> Reply {
    match fate {
        None | Some(Fate::Protected(_) | Fate::Counted) => Reply::Silent,
        Some(Fate::OnlyTold { .. } | Fate::Blocked | Fate::BlockedBefore) => Reply::Banner,
    }
}

/// Carries out what the engine has decided, and tells it how that went.
fn perform(engine: &mut Engine, hands: &mut Hands, out: &mut Out, complaints: &mut Complaints, now: Now) {
    while let Some(action) = engine.poll_action() {
        let refused = match action {
            Action::Enforce(blocks) => {
                let answers = hands.enforce(engine, now, &blocks);
                complaints.bans = answers.iter().find_map(|(_, answer)| answer.as_ref().err().cloned());
                engine.enforced(now, &answers);
                continue;
            }
            Action::Release(prefixes) => {
                let (done, refused) = hands.release(&prefixes);
                complaints.releases = refused;
                let (done, owed) = prefixes.split_at(done);
                engine.released(now, done, true);
                engine.released(now, owed, owed.is_empty());
                &complaints.releases
            }
            Action::Allow(allowances) => {
                complaints.allowances = complaint(hands.allow(&allowances));
                engine.allowed(now, complaints.allowances.is_none());
                &complaints.allowances
            }
            Action::Open { door, name, address, remaining, is_refresh } => {
                let answer = hands.open_door(&name, address, remaining, is_refresh);
                engine.door_answered(now, door, address, answer);
                continue;
            }
            Action::Shut { door, name, address, left, may_cut } => {
                let answer = hands.shut_door(&name, address, left, may_cut);
                engine.door_answered(now, door, address, answer);
                continue;
            }
            Action::Spend { door, name, which } => {
                if hands.doors.spend(door, name, which).is_err() {
                    engine.spent(now, door, which, false);
                }
                continue;
            }
            Action::Record(record) => {
                out.tell(Report::Record(Box::new(record)));
                continue;
            }
        };
        if let Some(answer) = refused.clone() {
            let what = What::Fault(Fault::NotChanged { answer });
            out.tell(Report::Record(Box::new(Record { time: now.wall, what })));
        }
    }
}

/// What the kernel said, if it refused.
fn complaint<E: std::error::Error + 'static>(answer: Result<(), E>) -> Option<String> {
    answer.err().map(|error| causes::said(&error))
}

impl Out {
    fn tell(&mut self, report: Report) {
        if self.reports.try_send(report).is_err() {
            self.left_out += 1;
        }
    }
}
