//! Where is told what happens: a log for people, lines of JSON, or the files and words of a persona.

use std::io::{self, Stderr, Stdout};
use std::net::IpAddr;

use portcullis_core::door::Name;
use portcullis_core::event::Record;
use portcullis_core::time::{Mono, Now};
use portcullis_sys::clock;

use super::journal::Journal;
use super::knockd::journal::Journal as KnockdJournal;
use super::plan::{Plan, Started};
use crate::record::log::{Log, Style};
use crate::record::{LogEvent, Told};

/// Where the log goes.
pub enum Output {
    /// For people.
    People(Log<Stderr>),
    /// As JSON.
    Json(Log<Stdout>),
    /// As PortSentry did.
    Portsentry(Box<Journal>),
    /// As knockd did.
    Knockd(Box<KnockdJournal>),
}

impl Output {
    /// Where a program that was started so tells what happens.
    ///
    /// # Errors
    /// A persona's journal could not be opened.
    pub fn of(started: &Started, plan: &Plan) -> io::Result<Output> {
        if let Some(persona) = &plan.persona {
            return Ok(Output::Portsentry(Box::new(Journal::open(persona, clock::now())?)));
        }
        if let Some(knockd) = &plan.knockd {
            return Ok(Output::Knockd(Box::new(KnockdJournal::open(knockd, clock::now())?)));
        }
        Ok(match started {
            Started::Run(arguments) if arguments.json => Output::Json(Log::live(io::stdout(), Style::Json)),
            _ => Output::People(Log::live(io::stderr(), Style::for_people(io::stderr()))),
        })
    }

    /// The journal of a persona.
    pub fn journal(&mut self) -> Option<&mut Journal> {
        match self {
            Output::Portsentry(journal) => Some(journal),
            Output::People(_) | Output::Json(_) | Output::Knockd(_) => None,
        }
    }

    /// The journal of knockd.
    pub fn knockd(&mut self) -> Option<&mut KnockdJournal> {
        match self {
            Output::Knockd(journal) => Some(journal),
            Output::People(_) | Output::Json(_) | Output::Portsentry(_) => None,
        }
    }

    /// Tells that an opening's commands, or those of its end, are begun, where that is told.
    pub fn at_door(&mut self, door: &Name, address: IpAddr, is_end: bool, runs: &[String]) {
        if let Output::Knockd(journal) = self {
            journal.begins(door, address, is_end, runs);
        }
    }

    /// When [`Output::catch_up`] has something to do that should not wait for the next second.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        match self {
            Output::Portsentry(journal) => journal.due(),
            Output::Knockd(journal) => journal.due(),
            Output::People(_) | Output::Json(_) => None,
        }
    }

    /// Tells an event; a log that cannot be written (a closed pipe) must not stop the guard, so the fault is dropped.
    pub fn tell(&mut self, told: Told) {
        let now = clock::now();
        self.event(now, &LogEvent { time: now.wall, told });
    }

    /// Tells what the engine has to say.
    pub fn record(&mut self, record: Record) {
        self.event(clock::now(), &LogEvent::from(record));
    }

    fn event(&mut self, now: Now, event: &LogEvent) {
        let told = match self {
            Output::People(log) => log.tell(now.mono, event),
            Output::Json(log) => log.tell(now.mono, event),
            Output::Portsentry(journal) => return journal.event(event, now),
            Output::Knockd(journal) => return journal.event(event, now),
        };
        drop(told);
    }

    /// What time brings about: lines that waited, accounts of those left out. Call it once a second.
    pub fn catch_up(&mut self) {
        let now = clock::now();
        let told = match self {
            Output::People(log) => log.catch_up(now.mono, now.wall),
            Output::Json(log) => log.catch_up(now.mono, now.wall),
            Output::Portsentry(journal) => return journal.tick(now),
            Output::Knockd(journal) => return journal.tick(now),
        };
        drop(told);
    }
}
