//! What the engine and the doorkeeper tell, in the words of knockd 0.8 (measured).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use jiff::tz::TimeZone;
use portcullis_core::door::{Event, Name, Why};
use portcullis_core::event::{Fault, What};
use portcullis_core::time::{Mono, Now};
use portcullis_sys::clock;

use super::Knockd;
use crate::config::portsentry::Weight;
use crate::escape::one_line;
use crate::record::knockd::Lines;
use crate::record::{LogEvent, Told};

/// The journal.
#[derive(Debug)]
pub struct Journal {
    lines: Lines,
    shown: BTreeMap<Name, String>,
    interface: String,
    is_talkative: bool,
    /// What was said of the file when it was read last.
    said: BTreeSet<String>,
}

impl Journal {
    /// Opens what `knockd` writes to.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn open(knockd: &Knockd, now: Now) -> io::Result<Journal> {
        Ok(Journal {
            lines: Lines::open(knockd.lines.clone(), TimeZone::system(), now)?,
            shown: knockd.shown.clone(),
            interface: knockd.interface.clone(),
            is_talkative: knockd.arguments.is_verbose || knockd.arguments.is_debug,
            said: BTreeSet::new(),
        })
    }

    /// What there is to say of a file that was read, less what was said of it before.
    pub fn tell_of(&mut self, knockd: &Knockd, now: Now) {
        let least = if self.is_talkative { Weight::Note } else { Weight::Repaired };
        let diagnostics = knockd.diagnostics.iter().filter(|own| own.weight >= least);
        let lines = diagnostics.map(|own| format!("config: {}", own.on_one_line()));
        let lines: Vec<String> = lines.chain(knockd.remarks.iter().map(|own| one_line(own))).collect();
        for line in lines.iter().filter(|line| !self.said.contains(*line)) {
            self.lines.say(None, line, now);
        }
        self.said = lines.into_iter().collect();
    }

    /// The file is about to be read again, and the log may have been moved away.
    pub fn re_reading(&mut self, knockd: &Knockd, now: Now) {
        self.lines.reopen();
        let file = knockd.arguments.configuration.display().to_string();
        self.say(&format!("re-reading config file: {file}"), now);
    }

    /// What it says holds.
    pub fn adopt(&mut self, knockd: &Knockd, now: Now) {
        self.lines.set(knockd.lines.clone(), now);
        // A door that is gone still has its end told.
        self.shown.extend(knockd.shown.clone());
        self.interface.clone_from(&knockd.interface);
        self.tell_of(knockd, now);
    }

    /// Tells one event of the program.
    pub fn event(&mut self, event: &LogEvent, now: Now) {
        match &event.told {
            Told::Seen(What::Door { door, event }) => self.of_door(door, event, now),
            Told::Seen(What::Fault(Fault::NotChanged { answer })) => self.fault(answer, "", now),
            // Nothing is judged and nobody banned here.
            Told::Seen(_) | Told::Stuck(_) | Told::LeftOut { .. } | Told::Summary(_) => {}
            Told::Start(_) => {
                let text = format!("starting up, listening on {}", self.interface);
                self.say(&text, now);
            }
            Told::Fault { why, mend } => self.fault(why, mend, now),
            Told::Notice { what } => self.say(what, now),
            Told::Reload { changes } => {
                for change in changes.iter().filter(|_| self.is_talkative).cloned().collect::<Vec<_>>() {
                    self.say(&change, now);
                }
            }
            Told::Observe { .. } | Told::Enforce { .. } => {}
            Told::Stop { .. } => {
                self.say("shutting down", now);
                self.lines.finish(now);
            }
        }
    }

    /// An opening's commands, or those of its end, are begun. That it opens is told here, in front of them.
    pub fn begins(&mut self, door: &Name, address: IpAddr, is_end: bool, runs: &[String]) {
        let (shown, now) = (self.shown(door), clock::now());
        if !is_end {
            self.lines.say(Some(address), &format!("{shown}: OPEN SESAME"), now);
        } else if !runs.is_empty() {
            self.lines.say(Some(address), &format!("{shown}: command timeout"), now);
        }
        for run in runs {
            self.say(&format!("{shown}: running command: {run}"), now);
        }
    }

    /// A command has ended with this status, which is not 0.
    pub fn status(&mut self, door: &Name, status: i32, why: &str) {
        let now = clock::now();
        let text = format!("{}: command returned non-zero status code ({status})", self.shown(door));
        self.say(&text, now);
        if self.is_talkative {
            self.say(why, now);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        self.lines.tick(now);
    }

    /// When [`Journal::tick`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        self.lines.due()
    }

    fn of_door(&mut self, door: &Name, event: &Event, now: Now) {
        let shown = self.shown(door);
        let (who, text) = match event {
            Event::Knocked { source, step, .. } => (Some(*source), format!("Stage {step}")),
            // Its commands run on; only its end is later now.
            Event::Opened { opening, is_refresh: true } => (Some(opening.address), "OPEN SESAME".to_owned()),
            Event::Attempt(trace) => match trace.why {
                Why::TimedOut => (Some(trace.source), format!("sequence timeout (stage {})", trace.step)),
                // Not knockd's words, since it opened to scans.
                Why::OtherPorts if trace.step > 1 => {
                    let text = "not opened, since it touched too many other ports, as a scan does (ScansMayOpen \
                                below [options] lets scans open)";
                    (Some(trace.source), text.to_owned())
                }
                Why::Address | Why::NotSpent => {
                    (Some(trace.source), format!("the knock {}", trace.why.words()))
                }
                _ => return,
            },
            Event::Spent { left: 0 } => return self.say(&no_more_sequences(&shown), now),
            Event::NotDone { .. } => return self.fault(&event.sentence(&Name::verbatim(&shown)), "", now),
            Event::Opened { .. } | Event::WouldOpen { .. } | Event::Closed { .. } | Event::Spent { .. } => {
                return;
            }
        };
        self.lines.say(who, &format!("{shown}: {text}"), now);
    }

    fn fault(&mut self, why: &str, mend: &str, now: Now) {
        let mend = if mend.is_empty() { String::new() } else { format!("; to mend it: {mend}") };
        self.say(&format!("error: {why}{mend}"), now);
    }

    fn say(&mut self, text: &str, now: Now) {
        self.lines.say(None, &one_line(text), now);
    }

    fn shown(&self, door: &Name) -> String {
        let own = self.shown.get(door).map_or(door.as_str(), String::as_str);
        one_line(own).to_string()
    }
}

/// Said of a door whose file has no sequence left (knockd 0.8, measured).
#[must_use]
pub fn no_more_sequences(door: &str) -> String {
    format!("no more sequences left in the one time sequences file for door {door} --> disabling the door")
}
