//! The slow path: the log, the store, the control socket, and what the kernel announces. One thread, one runtime; it
//! may wait, since the fast path never waits for it.

mod doors;
mod ears;
mod events;
mod mode;
mod persona;
mod ways;

use std::io::{self, Write};
use std::time::Duration;

use portcullis_core::event::Mode;
use portcullis_core::ledger::Change;
use portcullis_core::time::Wall;
use portcullis_sys::clock;
use portcullis_sys::filter::SNAP_LENGTH;
use portcullis_sys::nftables::{self, DoorRules, Monitor, Nftables};
use portcullis_sys::route::Watch;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::ears::{Ear, announced, at, at_mono};
pub use self::persona::Undoing;
use self::persona::next_errand;
pub use self::ways::Ways;
use super::background::Ready;
use super::doorkeeper::Doorkeeper;
use super::doors::{shut, standing_sessions};
use super::errands::Errands;
use super::friends::names::Names;
use super::friends::{self, Watch as FriendsWatch};
use super::guard::{Last, Order, Orders, Report, Vitals};
use super::output::Output;
use super::persona::Persona;
use super::plan::{ModeBy, Plan, Started};
use super::status::Counted;
use super::surroundings::{self, Look};
use super::{archive, peers, status};
use crate::capture::reads_whole_packets;
use crate::causes;
use crate::control::access::Access;
use crate::control::{Answer, Asked, Command};
use crate::exit::Exit;
use crate::record::store::{Changes, Store};
use crate::record::words::plural;
use crate::record::{Start, Told};

/// Whether our table is whole is looked at this often, beside each time that the kernel announces a change.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The kernel's sets are compared with the ledger element by element this often; a list of 100,000 takes a second.
const COMPARE_EVERY: Duration = Duration::from_secs(600);

/// A ban that is on its way to the kernel while somebody changes our sets is not missed by the listing of that moment. So
/// long after a change there is one more, when it has arrived.
const ARRIVED: Duration = Duration::from_secs(2);

/// Several changes at once (an interface that comes up) are looked at together.
const SETTLE: Duration = Duration::from_millis(50);

/// The line about what would have been banned comes this often.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What errands have done goes into the store in pieces of this many sources.
const EFFECTS: usize = 4096;

/// Everything that the slow path owns.
pub struct Slow {
    /// As the process was started.
    pub started: Started,
    /// What it is to do.
    pub plan: Plan,
    /// The mode in force, and who determined it.
    pub mode: (Mode, ModeBy),
    /// How the host looked last.
    pub look: Look,
    /// The names of friends.
    pub names: Names,
    /// The fast path.
    pub orders: Orders,
    /// The log.
    pub output: Output,
    /// The store; `None` where it could not be opened, with the reason in `faults`.
    pub store: Option<Store>,
    /// For listings; `None` without the right to block.
    pub listing: Option<Nftables>,
    /// Faults of the start that hold on.
    pub faults: Vec<String>,
    /// Who may speak with us.
    pub access: watch::Sender<Access>,
    /// Since when we run.
    pub since: portcullis_core::time::Now,
    /// Whether the store's last complaint was told.
    pub store_fault: Option<String>,
    /// `ring` or `listen`.
    pub engine: &'static str,
    /// Whether the ring was made with room for whole packets.
    pub reads_whole_packets: bool,
    /// Packets dropped when that was last told.
    pub dropped: u64,
    /// What had been counted when the last day was over.
    pub yesterday: Counted,
    /// When the store was last given what responses had done.
    pub effects_saved: Option<Instant>,
    /// A persona's responses.
    pub errands: Option<Errands>,
    /// Operators who wait for these to have undone what they did.
    pub undoing: Vec<Undoing>,
    /// Commands and files of doors.
    pub keeper: Doorkeeper,
    /// The mark that was last given to the store: what carries a time before it, the next start refuses.
    pub marked: Wall,
    /// Whether guests come to what is behind doors.
    pub ways: Ways,
    /// To be told when everything is watched.
    pub ready: Option<Ready>,
}

/// Why the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, by this signal.
    Signal(SignalKind),
    /// A part of it has ended by itself.
    Fault,
}

/// What the slow path listens to.
pub struct Ears {
    /// From the control socket.
    pub asked: mpsc::Receiver<Asked>,
    /// From the fast path.
    pub reports: mpsc::Receiver<Report>,
    /// Changes of our table.
    pub monitor: Option<Monitor>,
    /// Changes of interfaces, addresses and routes.
    pub watch: Watch,
    /// Changes of files that say who is a friend; `None` where they can't be watched.
    pub friends: Option<FriendsWatch>,
}

impl Slow {
    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// What the system said when something could not be waited on.
    pub async fn run(mut self, mut ears: Ears, start: Start) -> io::Result<Ended> {
        let mut monitor = ears.monitor.map(Ear::new).transpose()?;
        let mut watch = Ear::new(ears.watch)?;
        let mut friends = ears.friends.map(Ear::new).transpose()?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // From here on a signal ends it in order; whoever reads this may send one.
        if let (Some(journal), Some(persona)) = (self.output.journal(), &self.plan.persona) {
            let watch = &self.plan.config.watch;
            journal.begin(persona, &watch.tcp, &watch.udp, clock::now());
        }
        if let (Some(journal), Some(knockd)) = (self.output.knockd(), &self.plan.knockd) {
            journal.tell_of(knockd, clock::now());
        }
        self.output.tell(Told::Start(start));
        for why in &self.faults {
            self.output.tell(Told::Fault { why: why.clone(), mend: String::new() });
        }
        let mut compare = interval(COMPARE_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look_at: Option<Instant> = None;
        let mut day = interval(DAY);
        day.tick().await;
        let mut mark = interval(doors::MARK_EVERY);
        mark.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tell_service_manager(&[NotifyState::Ready]);
        if let Some(ready) = self.ready.take()
            && let Err(error) = ready.ready()
        {
            self.fault(&format!("the terminal could not be let go of: {error}"), "");
        }
        let (ended, why) = loop {
            tokio::select! {
                            _ = terminate.recv() => break (Ended::Signal(SignalKind::terminate()), "SIGTERM"),
                            _ = interrupt.recv() => break (Ended::Signal(SignalKind::interrupt()), "SIGINT"),
                            _ = hangup.recv() => { self.reload().await; }
                            asked = ears.asked.recv() => match asked {
                                Some(asked) => self.answer(asked).await,
                                None => break (Ended::Fault, "the control socket has ended"),
                            },
                            report = ears.reports.recv() => match report {
                                Some(report) => self.take(report),
                                None => {
                                    self.fault("the packet loop has ended", "start portcullis again, and report this");
                                    return Ok(Ended::Fault);
                                }
                            },
                            changed = announced(monitor.as_mut(), Monitor::drain) => {
                                match changed {
                                    Ok(nftables::Change::None) => {}
                                    Ok(_) => {
                                        self.compare();
                                        compare.reset_after(ARRIVED);
                                    }
                                    Err(error) => self.missed("changes of our table", &error),
                                }
                            }
                            changed = announced(Some(&mut watch), Watch::drain) => {
                                let is_changed = changed.unwrap_or_else(|error| {
                                    self.missed("changes of interfaces and addresses", &error);
                                    true
                                });
                                if is_changed {
                                    look_at = look_at.or(Some(Instant::now() + SETTLE));
                                }
                            }
            changed = announced(friends.as_mut(), FriendsWatch::drain) => {
                                // What could not be read is looked at in any case.
                                if changed.unwrap_or(true) {
                                    look_at = look_at.or(Some(Instant::now() + SETTLE));
                                }
                            }
                            () = self.names.changed.notified() => self.look().await,
                            () = at(look_at) => { look_at = None; self.look().await; }
                            _ = look.tick() => { self.look().await; self.check_table(); self.tell_of_drops().await; }
                                        _ = compare.tick() => self.compare(),
                            done = next_errand(self.errands.as_mut()) => self.finish(done),
                            done = self.keeper.next() => {
                                // What led to it was told before it, and is written down before it.
                                while let Ok(report) = ears.reports.try_recv() {
                                    self.take(report);
                                }
                                self.finish_at_door(done);
                            }
                            () = at_mono(self.output.due()) => self.output.catch_up(),
                            _ = mark.tick() => self.move_mark(),
                            _ = second.tick() => self.every_second(),
                            _ = day.tick() => self.tell_of_the_day().await,
                        }
        };
        self.stop(why, &mut ears.reports).await;
        Ok(ended)
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Record(record) => self.record(*record),
            Report::SaveOpenings(changes) => {
                let is_kept = self.save_openings(&changes);
                self.give(Order::OpeningsSaved(changes, is_kept));
            }
            Report::Notice(what) => self.output.tell(Told::Notice { what }),
            Report::Doubt => self.compare(),
            Report::Save(changes, next_id) => {
                let is_kept = self.save_all(&changes, next_id);
                self.give(Order::Saved(changes, is_kept));
            }
        }
    }

    /// Gives the ledger's changes to the store, and with them what errands have done.
    fn save_all(&mut self, ledger: &[Change], next_id: u64) -> bool {
        let effects = self.errands.as_mut().map(|errands| errands.changes(EFFECTS)).unwrap_or_default();
        let is_kept = self.save(&Changes { ledger, effects: &effects, next_id, ..Changes::default() });
        if let Some(errands) = &mut self.errands
            && !is_kept
        {
            errands.not_saved(&effects);
        }
        is_kept
    }

    /// Gives changes to the store; a complaint is told once, and once when it is over.
    fn save(&mut self, changes: &Changes<'_>) -> bool {
        let Some(store) = &mut self.store else { return false };
        match (store.save(changes), self.store_fault.take()) {
            (Ok(()), None) => true,
            (Ok(()), Some(_)) => {
                self.fault("the store takes changes again", "");
                true
            }
            (Err(error), before) => {
                let why = format!("what must outlive a restart cannot be stored: {}", causes::said(&error));
                if before.as_ref() != Some(&why) {
                    self.fault(
                        &why,
                        "it holds all the same, and bans are offered to the store again; make room below the state \
                         directory, or mend its rights",
                    );
                }
                self.store_fault = Some(why);
                false
            }
        }
    }

    /// Looks whether our table is whole; if not, the sets are compared.
    fn check_table(&mut self) {
        if let Some(listing) = &mut self.listing
            && !listing.is_intact().unwrap_or(false)
        {
            self.compare();
        }
    }

    /// Lists what the kernel holds and lets the fast path compare.
    fn compare(&mut self) {
        let Some(listing) = &mut self.listing else { return };
        let listed = clock::now().mono;
        let held = listing.list().and_then(|held| Ok((held, listing.guests()?)));
        match held {
            Ok((held, guests)) => {
                let guests = self.plan.doors.by_door(&guests);
                self.give(Order::Compare(listed, held, guests));
            }
            Err(error) => self.fault(
                &format!("the kernel's sets could not be read: {}", causes::said(&error)),
                "whether bans are in force, and guests of doors let in, is not known; it is tried again",
            ),
        }
    }

    /// Looks at the host again, and tells the fast path if it has changed.
    async fn look(&mut self) {
        match self.plan.doors.look_at_forwarding() {
            Ok(false) => {}
            Ok(true) => self.shut_anew().await,
            Err(error) => self.fault(
                &format!("routes could not be read: {}", causes::said(&error)),
                "packets to other hosts pass the doors, or do not, as before; it is tried again",
            ),
        }
        match surroundings::look(&self.plan, &self.names) {
            Ok(look) if look == self.look => {}
            Ok(look) => {
                self.give(Order::surround(&look));
                self.look = look;
                let refresh = |own: &Persona| own.refresh_ignore_file(&self.look.surroundings);
                for fault in self.plan.persona.as_ref().map(refresh).unwrap_or_default() {
                    self.fault(&fault, "");
                }
            }
            Err(error) => self.fault(
                &format!("interfaces and addresses could not be read: {}", causes::said(&error)),
                "what was known before holds on; it is tried again",
            ),
        }
    }

    async fn answer(&mut self, asked: Asked) {
        let Some(asked) = self.ask_archive(asked) else { return };
        let by = format!("uid {}", asked.by.user);
        let answer = match asked.command {
            Command::Status => self.status().await,
            Command::Reload => self.reload().await,
            Command::Doors => {
                let mut answer = self.ask(Command::Doors, by).await;
                if let Answer::Doors(doors) = &mut answer {
                    self.ways.tell(doors);
                }
                answer
            }
            Command::Open { ref door, .. } | Command::Close { ref door, .. }
                if asked.by.user != 0 && self.keeper.has_commands(door) =>
            {
                let message = format!("door {door} runs commands, so it is for root to open and close");
                Answer::Refused { exit: Exit::NotPermitted, message }
            }
            command => self.ask(command, by).await,
        };
        self.reply(asked.answer, answer);
    }

    async fn fast(&mut self, command: Command) -> Answer {
        let (to, answer) = oneshot::channel();
        self.give(Order::Command(command, to));
        answer.await.unwrap_or_else(|_| busy())
    }

    /// Reads the configuration anew: wholly, or not at all. What was said by hand about the mode ends with it.
    async fn reload(&mut self) -> Answer {
        tell_service_manager(&[NotifyState::Reloading]);
        if let Some(journal) = self.output.journal() {
            journal.reopen();
        }
        if let (Some(journal), Some(knockd)) = (self.output.knockd(), &self.plan.knockd) {
            journal.re_reading(knockd, clock::now());
        }
        let answer = match Plan::read(&self.started).map_err(|faults| faults.to_string()).and_then(|plan| {
            let look = surroundings::look(&plan, &self.names).map_err(|error| causes::said(&error))?;
            Ok((plan, look))
        }) {
            Err(why) => {
                self.fault(&format!("the configuration was not changed:\n{why}"), "mend it and reload again");
                Answer::Refused { exit: Exit::ConfigurationInvalid, message: why }
            }
            Ok((plan, look)) => self.adopt(plan, look).await,
        };
        tell_service_manager(&[NotifyState::Ready]);
        answer
    }

    async fn adopt(&mut self, mut plan: Plan, look: Look) -> Answer {
        let (mode, by) = plan.mode(None);
        if mode == Mode::Enforce && self.listing.is_none() {
            let message = super::NO_RIGHT_TO_BLOCK.to_owned();
            self.fault(&message, "the configuration was not changed");
            return Answer::Refused { exit: Exit::NotPermitted, message };
        }
        let mut changes = crate::config::differences(&self.plan.config, &plan.config);
        let mut fixed: Vec<&str> = changes
            .iter()
            .map(String::as_str)
            .filter(|own| status::needs_restart(own, self.plan.listening().is_some()))
            .collect();
        if let (Some(old), Some(new)) = (&self.plan.persona, &plan.persona) {
            fixed.extend(old.needs_restart(new));
        }
        if !fixed.is_empty() {
            let message = format!(
                "nothing was changed, since this takes a restart of portcullis: {}",
                fixed.join("; ")
            );
            self.fault(&message, "restart it, or take that back and reload");
            return Answer::Refused { exit: Exit::Failed, message };
        }
        if mode != self.mode.0 {
            changes.push(match mode {
                Mode::Observe if plan.persona.is_some() => {
                    "BLOCK_TCP and BLOCK_UDP are 0: nobody is blocked from now on, and whoever is blocked stays so"
                        .to_owned()
                }
                Mode::Observe => format!(
                    "the mode is observe again ({}): bans that scans had brought have ended; to block: portcullis \
                     enforce",
                    by.words()
                ),
                Mode::Enforce => format!("the mode is enforce again ({})", by.words()),
            });
        }
        if let Err(why) = self.configure(&mut plan, mode).await {
            let message = format!("nothing was changed: {why}");
            self.fault(&message, "mend that and reload again");
            return Answer::Refused { exit: Exit::Failed, message };
        }
        self.save(&Changes { mode: Some(None), ..Changes::default() });
        self.keeper.set_actions(plan.doors.actions.clone());
        let before = self.plan.doors.kernel.doors();
        let is_new =
            |door: &&DoorRules| !before.iter().any(|old| (&old.tcp, &old.udp) == (&door.tcp, &door.udp));
        if let Some(what) = standing_sessions(plan.doors.kernel.doors().iter().filter(is_new)) {
            self.output.tell(Told::Notice { what });
        }
        if let (Some(errands), Some(persona)) = (&mut self.errands, &plan.persona) {
            errands.set_responses(persona.responses.clone());
        }
        self.give(Order::surround(&look));
        let (access, complaints) = Access::of(&plan.config.control);
        self.access.send_replace(access);
        for complaint in complaints {
            self.fault(&complaint, "");
        }
        if reads_whole_packets(&plan.config) && !self.reads_whole_packets && self.engine == "ring" {
            self.fault(
                &format!(
                    "the ring was made without room for whole packets, so that of single packets for doors those with \
                     more than {SNAP_LENGTH} bytes are not read"
                ),
                "restart portcullis",
            );
        }
        if let (Some(journal), Some(knockd)) = (self.output.knockd(), &plan.knockd) {
            journal.adopt(knockd, clock::now());
        }
        if let Some(archive) = self.output.archive() {
            archive.retain(archive::retention(&plan.config));
        }
        let before = std::mem::replace(&mut self.plan, plan);
        self.look = look;
        self.names.want(friends::wanted(&self.plan.config.protect));
        self.output.tell(Told::Reload { changes: changes.clone() });
        if let (Some(journal), Some(new), Some(old)) =
            (self.output.journal(), &self.plan.persona, &before.persona)
        {
            journal.remark(new, Some(old), clock::now());
        }
        match self.plan.persona {
            // The changes have told it, and it ends no block.
            Some(_) => self.mode = (mode, by),
            None => self.set_mode(mode, by, "reload".to_owned()),
        }
        Answer::Reloaded(changes)
    }

    async fn status(&mut self) -> Answer {
        match self.vitals().await {
            Some(vitals) => Answer::Status(Box::new(status::status(self, &vitals))),
            None => busy(),
        }
    }

    async fn vitals(&self) -> Option<Vitals> {
        let (to, vitals) = oneshot::channel();
        if !self.orders.give(Order::Vitals(to)) {
            return None;
        }
        vitals.await.ok()
    }

    /// Says when packets were lost: what was in them nobody has judged.
    async fn tell_of_drops(&mut self) {
        let Some(vitals) = self.vitals().await else { return };
        let lost = vitals.dropped - self.dropped.min(vitals.dropped);
        self.dropped = vitals.dropped;
        if lost > 0 {
            self.fault(
                &format!("the kernel dropped {lost} packets, since the ring was full"),
                "if that happens often, give the ring more room: [watch] ring_mib",
            );
        }
    }

    async fn tell_of_the_day(&mut self) {
        let Some(vitals) = self.vitals().await else { return };
        let yesterday = std::mem::replace(&mut self.yesterday, Counted::of(&vitals));
        if self.mode.0 == Mode::Observe {
            let summary = status::summary(&vitals, &yesterday, &peers::connected(), DAY);
            self.output.tell(Told::Summary(summary));
            self.give(Order::NewDay);
        }
    }

    async fn stop(&mut self, why: &str, reports: &mut mpsc::Receiver<Report>) {
        tell_service_manager(&[NotifyState::Stopping]);
        let (to, last) = oneshot::channel();
        let keep_bans = self.plan.config.respond.keep_on_stop;
        let bans = self.vitals().await.map_or(0, |vitals| vitals.bans);
        self.give(Order::Stop { keep_bans, changes: to });
        let last = last.await;
        // What was on its way when the packet loop ended.
        while let Ok(report) = reports.try_recv() {
            match report {
                Report::Record(record) => self.record(*record),
                Report::SaveOpenings(changes) => {
                    self.save_openings(&changes);
                }
                Report::Save(changes, next_id) => {
                    self.save_all(&changes, next_id);
                }
                Report::Notice(_) | Report::Doubt => {}
            }
        }
        self.end_errands().await;
        self.end_at_doors().await;
        if let Ok(Last { bans, next_id, openings }) = last {
            self.save_all(&bans, next_id);
            self.save_openings(&openings);
        }
        let mut why = why.to_owned();
        if keep_bans && bans > 0 {
            why.push_str(&format!(
                "; {bans} {} in the kernel until {} end; to take all away: nft delete table inet {}",
                plural(bans as u64, "ban stays", "bans stay"),
                plural(bans as u64, "its", "their"),
                self.plan.names.table
            ));
        }
        let shut = shut(self.plan.doors.kernel.doors().iter());
        if !shut.is_empty() {
            why.push_str(&format!(
                "; doors stay shut ({}), and nobody is left to hear a knock; to open them: nft delete table inet {}",
                shut.join(" and "),
                self.plan.names.table
            ));
        }
        self.output.tell(Told::Stop { why });
    }

    fn give(&mut self, order: Order) {
        // If it has ended, the end of its reports says so, and ends us as well.
        let _ = self.orders.give(order);
    }

    /// What the kernel announced could not be read: it may have been anything, so everything is compared.
    fn missed(&mut self, what: &str, error: &io::Error) {
        self.fault(
            &format!("what the kernel announced of {what} could not be read: {error}"),
            "it is compared now, and read again at the next announcement",
        );
        self.compare();
    }

    fn fault(&mut self, why: &str, mend: &str) {
        self.output.tell(Told::Fault { why: why.to_owned(), mend: mend.to_owned() });
    }
}

fn busy() -> Answer {
    Answer::Refused {
        exit: Exit::Failed,
        message: "the packet loop did not answer; it is overloaded or ending: try again".to_owned(),
    }
}

/// Without a service manager there is nobody to tell, and that is no fault.
fn tell_service_manager(states: &[NotifyState<'_>]) {
    drop(sd_notify::notify(states));
}

/// For the last words of a process that could not begin.
pub fn complain(message: &str) {
    // If standard error is closed nobody reads it.
    drop(writeln!(io::stderr(), "portcullis: {message}"));
}
