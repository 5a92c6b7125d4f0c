//! Where is told what happens: a log for people, lines of JSON, or the files and words of a persona.

use std::io::{self, Stderr, Stdout};
use std::net::IpAddr;

use portcullis_core::door::Name;
use portcullis_core::event::Record;
use portcullis_core::time::{Mono, Now};
use portcullis_sys::clock;

use super::archive::Archive;
use super::journal::Journal;
use super::knockd::journal::Journal as KnockdJournal;
use super::plan::{Plan, Started};
use crate::record::log::{Log, Style};
use crate::record::{LogEvent, Told};

/// What is told, and where: a log, and the archive.
pub struct Output {
    way: Way,
    /// Every event is kept here too; `None` before the archive is open.
    archive: Option<Archive>,
}

/// Where the log goes.
enum Way {
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
        Ok(Output { way: Way::of(started, plan)?, archive: None })
    }

    /// Keeps every event from now on.
    pub fn keep_in(&mut self, archive: Archive) {
        self.archive = Some(archive);
    }

    /// Where events are kept.
    #[must_use]
    pub fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    /// The journal of a persona.
    pub fn journal(&mut self) -> Option<&mut Journal> {
        match &mut self.way {
            Way::Portsentry(journal) => Some(journal),
            Way::People(_) | Way::Json(_) | Way::Knockd(_) => None,
        }
    }

    /// The journal of knockd.
    pub fn knockd(&mut self) -> Option<&mut KnockdJournal> {
        match &mut self.way {
            Way::Knockd(journal) => Some(journal),
            Way::People(_) | Way::Json(_) | Way::Portsentry(_) => None,
        }
    }

    /// Tells that an opening's commands, or those of its end, are begun, where that is told.
    pub fn at_door(&mut self, door: &Name, address: IpAddr, is_end: bool, runs: &[String]) {
        if let Way::Knockd(journal) = &mut self.way {
            journal.begins(door, address, is_end, runs);
        }
    }

    /// When [`Output::catch_up`] has something to do that should not wait for the next second.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        match &self.way {
            Way::Portsentry(journal) => journal.due(),
            Way::Knockd(journal) => journal.due(),
            Way::People(_) | Way::Json(_) => None,
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
        if let Some(archive) = &self.archive {
            archive.keep(event);
        }
        let told = match &mut self.way {
            Way::People(log) => log.tell(now.mono, event),
            Way::Json(log) => log.tell(now.mono, event),
            Way::Portsentry(journal) => return journal.event(event, now),
            Way::Knockd(journal) => return journal.event(event, now),
        };
        drop(told);
    }

    /// What time brings about: lines that waited, accounts of those left out. Call it once a second.
    pub fn catch_up(&mut self) {
        let now = clock::now();
        let told = match &mut self.way {
            Way::People(log) => log.catch_up(now.mono, now.wall),
            Way::Json(log) => log.catch_up(now.mono, now.wall),
            Way::Portsentry(journal) => return journal.tick(now),
            Way::Knockd(journal) => return journal.tick(now),
        };
        drop(told);
    }
}

impl Way {
    fn of(started: &Started, plan: &Plan) -> io::Result<Way> {
        if let Some(persona) = &plan.persona {
            return Ok(Way::Portsentry(Box::new(Journal::open(persona, clock::now())?)));
        }
        if let Some(knockd) = &plan.knockd {
            return Ok(Way::Knockd(Box::new(KnockdJournal::open(knockd, clock::now())?)));
        }
        Ok(match started {
            Started::Run(arguments) if arguments.json => Way::Json(Log::live(io::stdout(), Style::Json)),
            _ => Way::People(Log::live(io::stderr(), Style::for_people(io::stderr()))),
        })
    }
}
