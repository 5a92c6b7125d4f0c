//! The history file: the permanent record, appended to and never truncated.
//!
//! 1.2 writes a line for each host that it blocked, 2.x one for every event; fail2ban reads the latter.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use portcullis_core::net::Protocol;
use portcullis_core::time::{Mono, Wall};

use super::append::{AppendOnly, Holds, Notice};
use super::words::{self, Host};
use super::{Voice, time};

/// The history file.
#[derive(Debug)]
pub struct History {
    file: AppendOnly,
    zone: TimeZone,
}

impl History {
    /// The file at `path`, made when it isn't there: 0600 as by 1.2, 0644 as by 2.x (both measured).
    #[must_use]
    pub fn new(path: PathBuf, voice: Voice, zone: TimeZone) -> History {
        let mode = match voice {
            Voice::One(_) => 0o600,
            Voice::Two => 0o644,
        };
        History { file: AppendOnly::new(path, mode), zone }
    }

    /// Creates it, so that a fault is known at the start.
    pub fn prepare(&mut self, now: Mono) {
        self.file.prepare(now);
    }

    /// 1.x: a host was blocked at `time`.
    pub fn blocked(&mut self, time: Wall, host: Host<'_>, of: Protocol, port: u16, now: Mono) {
        let line = format!("{} {}\n", time::one(time, &self.zone), words::one_blocked(host, of, port));
        self.file.append(line.into_bytes(), Holds::Lines, now);
    }

    /// 2.x: an event of `time`, as [`words::two_event`] words it.
    pub fn event(&mut self, time: Wall, text: &str, now: Mono) {
        let line = format!("{} {text}\n", time::two(time, &self.zone));
        self.file.append(line.into_bytes(), Holds::Lines, now);
    }

    /// Tries again what could not be written.
    pub fn tick(&mut self, now: Mono) {
        self.file.tick(Holds::Lines, now);
    }

    /// When [`History::tick`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        self.file.due()
    }

    /// It was rotated; the next line goes to whatever has the name then.
    pub fn reopen(&mut self) {
        self.file.reopen();
    }

    /// Faults that began or ended, one sentence each.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.file.take_notices()
    }

    /// Its place.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        self.file.path()
    }

    /// Lines that wait for the disk.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.file.waiting().len()
    }
}
