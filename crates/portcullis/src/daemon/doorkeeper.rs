//! The slow path's part at doors: commands and services that an opening starts and its end stops, sequences that are
//! struck from their file, sessions that are cut.
//!
//! What an opening's end owes (its stop command) is handed out to be stored before anything is started, and kept until it
//! has been run: after a crash it is run by the next start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_core::door::spa::replay::Entry;
use portcullis_core::door::{DoorId, Name, Spending};
use portcullis_core::net::{PortSet, Protocol};
use portcullis_sys::sock_diag::Sockets;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::causes;
use crate::config::doors::{Command, Commands};
use crate::keys::one_time::OneTimeFile;
use crate::respond::command::{CommandError, End, Invocation, Limits};
use crate::respond::doors::DoorErrand;

/// How commands of doors are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many at the same time.
    pub at_once: usize,
    /// How long each may take.
    pub limits: Limits,
}

impl Default for Pace {
    /// 32 at once, and the limits of every command.
    fn default() -> Pace {
        Pace { at_once: 32, limits: Limits::default() }
    }
}

/// In a command it stands for the guest's address (knockd 0.8, measured: any number of times, no other macro).
const GUEST: &str = "%IP%";

/// What a door does besides the kernel's sets.
#[derive(Clone, Debug, Default)]
pub struct DoorActions {
    /// Commands.
    pub commands: Commands,
    /// A unit that runs as long as anybody's opening lasts.
    pub service: Option<String>,
    /// Whether commands are run with the first opening and with the end of the last, rather than for each guest.
    pub for_everyone: bool,
    /// Ports whose sessions with the guest are cut at the end of his opening.
    pub cut: Option<(PortSet, PortSet)>,
    /// Where used sequences are struck.
    pub sequences: Option<Arc<OneTimeFile>>,
    /// Whether openings are told in the order of their commands ([`DoorDone::Begins`]), even if there are none.
    pub is_told: bool,
}

impl DoorActions {
    /// Whether the slow path has nothing to do at this door.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.commands.is_empty() && self.service.is_none() && self.cut.is_none() && !self.is_told
    }

    /// Whether the end of an opening owes something.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.commands.close.is_some() || self.commands.close_6.is_some() || self.service.is_some()
    }
}

/// What the end of an opening owes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// To be run in this order.
    #[serde(default)]
    runs: Vec<Run>,
}

/// An invocation as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Run {
    Shell(String),
    Program(Vec<String>),
}

impl From<Run> for Invocation {
    fn from(run: Run) -> Invocation {
        match run {
            Run::Shell(line) => Invocation::Shell(line),
            Run::Program(words) => Invocation::Program(words),
        }
    }
}

/// What came of an errand.
#[derive(Debug)]
pub enum DoorDone {
    /// This is owed from now on; store it, then let it begin ([`Doorkeeper::begin_opening`]).
    Owing {
        /// Which door.
        name: Name,
        /// For whom.
        address: IpAddr,
        /// For the store.
        owes: String,
    },
    /// An opening's commands, or those of its end, are begun; for who tells them ([`DoorActions::is_told`]).
    Begins {
        /// Which door.
        name: Name,
        /// For whom.
        address: IpAddr,
        /// Whether it is the end.
        is_end: bool,
        /// The commands as they are run, in this order.
        runs: Vec<String>,
    },
    /// A command of an opening has ended.
    Ran {
        /// Which door.
        name: Name,
        /// For whom.
        address: IpAddr,
        /// Whether it was the one that is run at the end: then nothing is owed any more.
        is_end: bool,
        /// What failed of it.
        failed: Vec<Failed>,
    },
    /// This packet is to be kept as used, before the door opens.
    Used {
        /// Which door.
        door: DoorId,
        /// The packet.
        packet: Entry,
    },
    /// A sequence was struck, or could not be.
    Struck {
        /// Which door.
        door: DoorId,
        /// The sequence's number.
        which: u32,
        /// Its complaint.
        result: Result<(), String>,
    },
}

/// A part of an opening's commands that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What was run, and what it complained of.
    pub why: String,
    /// The status that it ended with, if that was all.
    pub status: Option<i32>,
}

impl From<CommandError> for Failed {
    fn from(error: CommandError) -> Failed {
        let status = match error.end {
            End::Status(status) | End::NotFound { status, .. } => Some(status),
            _ => None,
        };
        Failed { why: causes::said(&error), status }
    }
}

type Place = (Name, IpAddr);

/// The doorkeeper.
pub struct Doorkeeper {
    actions: BTreeMap<Name, DoorActions>,
    queue: mpsc::Receiver<DoorErrand>,
    owed: BTreeMap<Place, Owed>,
    /// Something is under way; what else concerns it waits.
    busy: BTreeSet<Place>,
    after: VecDeque<DoorErrand>,
    ready: VecDeque<DoorErrand>,
    begun: VecDeque<DoorDone>,
    running: JoinSet<DoorDone>,
    pace: Pace,
}

impl Doorkeeper {
    /// A doorkeeper that owes what an earlier run left (door, guest, and what [`DoorDone::Owing`] gave); what of that
    /// cannot be read comes back.
    #[must_use]
    pub fn new(
        actions: BTreeMap<Name, DoorActions>,
        pace: Pace,
        queue: mpsc::Receiver<DoorErrand>,
        stored: &[(Name, IpAddr, String)],
    ) -> (Doorkeeper, Vec<String>) {
        let (mut owed, mut faults) = (BTreeMap::new(), Vec::new());
        for (name, address, owes) in stored {
            match serde_json::from_str(owes) {
                Ok(debt) => drop(owed.insert((name.clone(), *address), debt)),
                Err(error) => faults.push(format!("what door {name} owes {address} cannot be read: {error}")),
            }
        }
        let keeper = Doorkeeper {
            actions,
            queue,
            owed,
            busy: BTreeSet::new(),
            after: VecDeque::new(),
            ready: VecDeque::new(),
            begun: VecDeque::new(),
            running: JoinSet::new(),
            pace,
        };
        (keeper, faults)
    }

    /// The doors do this now; what is owed is what was owed.
    pub fn set_actions(&mut self, actions: BTreeMap<Name, DoorActions>) {
        self.actions = actions;
    }

    /// What an earlier run owes to openings that are not `standing` any more is done now, and what it did not get to
    /// for those that are. Of those that are `over` sessions are cut, if they are to be.
    pub fn settle(&mut self, standing: &BTreeSet<Place>, over: &BTreeSet<Place>) {
        // At a door for everyone what the first guest's opening owes is not due before the last guest's has ended.
        let stands = |place: &Place| {
            standing.contains(place)
                || (self.is_for_everyone(&place.0) && standing.iter().any(|(name, _)| *name == place.0))
        };
        let mut due: BTreeSet<Place> = self.owed.keys().filter(|place| !stands(place)).cloned().collect();
        let cuts = |(name, _): &&Place| self.actions.get(name).is_some_and(|actions| actions.cut.is_some());
        due.extend(over.iter().filter(cuts).cloned());
        let errands = due.into_iter().map(|(name, address)| {
            let left = standing.iter().filter(|(own, _)| *own == name).count();
            DoorErrand::Shut { name, address, left, may_cut: true }
        });
        self.ready.extend(errands);
        // A kill between an opening and its commands: the guest would stand before a door that is called open.
        let begun: Vec<&Place> = standing
            .iter()
            .filter(|place| !self.owed.contains_key(place))
            .filter(|(name, _)| self.actions.get(name).is_some_and(|actions| !actions.is_nothing()))
            .collect();
        let errands = begun
            .into_iter()
            .map(|(name, address)| DoorErrand::Open { name: name.clone(), address: *address });
        self.ready.extend(errands);
    }

    fn is_for_everyone(&self, door: &Name) -> bool {
        self.actions.get(door).is_some_and(|actions| actions.for_everyone)
    }

    /// Whether something is under way that has to end before anything else is done for this guest. What is run for
    /// everyone is run one after the other, whoever it came from.
    fn is_busy_with(&self, place: &Place) -> bool {
        let of_door = || self.busy.iter().any(|(name, _)| *name == place.0);
        self.busy.contains(place) || (self.is_for_everyone(&place.0) && of_door())
    }

    /// Whether a door of this name runs commands.
    #[must_use]
    pub fn has_commands(&self, door: &str) -> bool {
        let is_meant = |(name, actions): (&Name, &DoorActions)| {
            name.as_str() == door && (!actions.commands.is_empty() || actions.service.is_some())
        };
        self.actions.iter().any(is_meant)
    }

    /// Whether anything is under way or waits for something that is.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let waits = !self.ready.is_empty() || !self.after.is_empty() || !self.queue.is_empty();
        waits || !self.running.is_empty() || !self.begun.is_empty()
    }

    /// The next thing that came of an errand. May be dropped and called again.
    pub async fn next(&mut self) -> DoorDone {
        loop {
            if let Some(begun) = self.begun.pop_front() {
                return begun;
            }
            if let Some(errand) = self.ready.pop_front() {
                match self.begin(errand) {
                    Some(done) => return done,
                    None => continue,
                }
            }
            tokio::select! {
                Some(errand) = self.queue.recv(), if self.running.len() < self.pace.at_once => {
                    if let Some(done) = self.begin(errand) {
                        return done;
                    }
                }
                Some(ended) = self.running.join_next(), if !self.running.is_empty() => match ended {
                    Ok(done) => {
                        self.end(&done);
                        return done;
                    }
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                else => std::future::pending().await,
            }
        }
    }

    /// What is owed was stored (or could not be, which is told elsewhere): the opening's commands begin.
    pub fn begin_opening(&mut self, name: &Name, address: IpAddr) {
        let Some(actions) = self.actions.get(name) else { return };
        let mut runs = Vec::new();
        runs.extend(actions.service.as_deref().map(|unit| service("start", unit)));
        runs.extend(for_family(&actions.commands.open, &actions.commands.open_6, address));
        self.tell(name, address, false, &runs);
        self.run((name.clone(), address), runs, false, None);
    }

    fn begin(&mut self, errand: DoorErrand) -> Option<DoorDone> {
        match &errand {
            DoorErrand::Spend { door, which: Spending::Packet(packet), .. } => {
                Some(DoorDone::Used { door: *door, packet: *packet })
            }
            DoorErrand::Spend { door, name, which: Spending::Sequence(which) } => {
                self.strike(*door, name, *which);
                None
            }
            DoorErrand::Open { name, address } | DoorErrand::Shut { name, address, .. } => {
                let place = (name.clone(), *address);
                if self.is_busy_with(&place) {
                    // However often somebody knocks while a command runs, it is run once more.
                    let is_about = |own: &&DoorErrand| place_of(own) == Some((&place.0, place.1));
                    let last = self.after.iter().rev().find(is_about);
                    if last != Some(&errand) {
                        self.after.push_back(errand);
                    }
                    return None;
                }
                match errand {
                    DoorErrand::Shut { left, may_cut, .. } => self.shut(place, left, may_cut),
                    _ => return self.open(place),
                }
                None
            }
        }
    }

    fn open(&mut self, place: Place) -> Option<DoorDone> {
        let (name, address) = &place;
        let actions = self.actions.get(name)?;
        let is_done = match actions.for_everyone {
            true => self.owed.keys().any(|(own, _)| own == name),
            // An opening that the kernel refused at first is sent again.
            false => self.owed.contains_key(&place),
        };
        if is_done {
            return None;
        }
        let mut runs = Vec::new();
        // knockd 0.8 ran no stop command where there was no start command (measured).
        if actions.commands.open.is_some() || actions.commands.open_6.is_some() || actions.service.is_some() {
            runs.extend(for_family(&actions.commands.close, &actions.commands.close_6, *address));
        }
        runs.extend(actions.service.as_deref().map(|unit| service("stop", unit)));
        if runs.is_empty() && actions.is_told {
            // Nothing to remember: knockd's doors are never shut where nothing is to be run, and it would stay for ever.
            self.busy.insert(place.clone());
            self.begin_opening(&place.0, place.1);
            return None;
        }
        let owed = Owed { runs };
        let owes = serde_json::to_string(&owed).expect("texts and lists can always be said in JSON");
        self.owed.insert(place.clone(), owed);
        self.busy.insert(place.clone());
        Some(DoorDone::Owing { name: place.0, address: place.1, owes })
    }

    fn shut(&mut self, place: Place, left: usize, may_cut: bool) {
        let cut = self.actions.get(&place.0).and_then(|actions| actions.cut.clone()).filter(|_| may_cut);
        let is_for_everyone = self.is_for_everyone(&place.0);
        let owed = match self.owed.get(&place) {
            Some(_) if is_for_everyone && left > 0 => None,
            Some(owed) => Some(owed.clone()),
            // Of a door for everyone the first guest's opening owes; the last one's end pays.
            None if is_for_everyone && left == 0 => {
                let of_door = self.owed.iter().find(|((name, _), _)| *name == place.0);
                let (first, owed) = match of_door {
                    Some((first, owed)) => (first.clone(), owed.clone()),
                    None => return,
                };
                self.busy.insert(first.clone());
                return self.run(first, owed.runs, true, cut);
            }
            None => None,
        };
        if owed.is_none() && cut.is_none() {
            return;
        }
        self.busy.insert(place.clone());
        let runs = owed.unwrap_or_default().runs;
        self.tell(&place.0, place.1, true, &runs);
        self.run(place, runs, true, cut);
    }

    /// Has an opening told that is told in the order of its commands; its end also where the door is gone.
    fn tell(&mut self, name: &Name, address: IpAddr, is_end: bool, runs: &[Run]) {
        if self.actions.get(name).is_none_or(|actions| actions.is_told) {
            let runs = runs.iter().map(|run| Invocation::from(run.clone()).shown()).collect();
            self.begun.push_back(DoorDone::Begins { name: name.clone(), address, is_end, runs });
        }
    }

    fn run(&mut self, (name, address): Place, runs: Vec<Run>, is_end: bool, cut: Option<(PortSet, PortSet)>) {
        let limits = self.pace.limits;
        self.running.spawn(async move {
            let mut failed = Vec::new();
            for run in runs {
                if let Err(error) = Invocation::from(run).run(&limits).await {
                    failed.push(Failed::from(error));
                }
            }
            if let Some(ports) = cut {
                let result = tokio::task::spawn_blocking(move || cut_sessions(&ports, address)).await;
                let result = result.unwrap_or_else(|error| Err(error.to_string()));
                failed.extend(result.err().map(|why| Failed {
                    why: format!("the guest's sessions were not cut: {why}"),
                    status: None,
                }));
            }
            DoorDone::Ran { name, address, is_end, failed }
        });
    }

    fn strike(&mut self, door: DoorId, name: &Name, which: u32) {
        let file = self.actions.get(name).and_then(|actions| actions.sequences.clone());
        self.running.spawn(async move {
            let Some(file) = file else {
                let why = "the door has no file of sequences any more".to_owned();
                return DoorDone::Struck { door, which, result: Err(why) };
            };
            let result = match tokio::task::spawn_blocking(move || file.strike(which)).await {
                Ok(result) => result.map_err(|fault| fault.to_string()),
                Err(error) => Err(error.to_string()),
            };
            DoorDone::Struck { door, which, result }
        });
    }

    fn end(&mut self, done: &DoorDone) {
        let DoorDone::Ran { name, address, is_end, .. } = done else { return };
        let place = (name.clone(), *address);
        self.busy.remove(&place);
        if *is_end {
            self.owed.remove(&place);
        }
        // Whoever still has to wait goes back there, in the same order.
        let (about, after): (VecDeque<DoorErrand>, VecDeque<DoorErrand>) = self
            .after
            .drain(..)
            .partition(|errand| place_of(errand).is_some_and(|(name, _)| *name == place.0));
        self.after = after;
        self.ready.extend(about);
    }
}

/// Whose opening an errand is about.
fn place_of(errand: &DoorErrand) -> Option<(&Name, IpAddr)> {
    match errand {
        DoorErrand::Open { name, address } | DoorErrand::Shut { name, address, .. } => Some((name, *address)),
        DoorErrand::Spend { .. } => None,
    }
}

/// `systemctl` with the unit's name as it is.
fn service(verb: &str, unit: &str) -> Run {
    Run::Program(["systemctl", "--no-ask-password", verb, "--", unit].map(str::to_owned).to_vec())
}

/// The command for a guest of this family, with his address in it. An empty line for IPv6 means: nothing.
fn for_family(four: &Option<Command>, six: &Option<Command>, guest: IpAddr) -> Option<Run> {
    let command = if guest.is_ipv6() { six.as_ref().or(four.as_ref()) } else { four.as_ref() };
    let guest = guest.to_string();
    match command? {
        Command::Shell(line) if line.trim().is_empty() => None,
        Command::Shell(line) => Some(Run::Shell(line.replace(GUEST, &guest))),
        Command::Argv(words) => {
            Some(Run::Program(words.iter().map(|word| word.replace(GUEST, &guest)).collect()))
        }
    }
}

fn cut_sessions((tcp, udp): &(PortSet, PortSet), guest: IpAddr) -> Result<(), String> {
    let mut sockets = Sockets::open().map_err(|error| causes::said(&error))?;
    for (protocol, ports) in [(Protocol::Tcp, tcp), (Protocol::Udp, udp)] {
        if ports.count() > 0 {
            sockets.destroy(protocol, ports, guest).map_err(|error| causes::said(&error))?;
        }
    }
    Ok(())
}
