//! The one door to this room: told events and results, it writes them where they belong, and never holds its caller
//! up: no socket, name or disk is waited for.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use portcullis_core::net::Protocol;
use portcullis_core::time::{Mono, Now};

use super::append::Notice;
use super::blocked::{BlockedFile, Held};
use super::history::History;
use super::names::{Answer, Names, PATIENCE};
use super::order::{HELD_EACH, Order, Told};
use super::screen::Screen;
use super::syslog::{Severity, Syslog, left_out_text};
use super::words::{self, Host};
use super::{Attack, AttackFate, Settled, StepDone, Voice};

/// Lines a second that strangers can cause, in the long run.
pub const RATE: u64 = 1000;

/// Lines at once after a quiet while.
pub const BURST: u64 = 10_000;

/// Sources that wait for their names at once.
const NAMELESS: usize = 1024;

/// How often names are looked for while a line waits for one.
const LOOK: Duration = Duration::from_millis(20);

/// How often it is said that lines were left out.
const SAY: Duration = Duration::from_secs(1);

/// Where and how it is written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose words are used.
    pub voice: Voice,
    /// The socket of the system's log ([`super::syslog::SOCKET`]); none: not there.
    pub syslog: Option<PathBuf>,
    /// Whether lines go to standard output (2.x without `-l syslog`).
    pub screen: bool,
    /// `HISTORY_FILE`.
    pub history: Option<PathBuf>,
    /// `BLOCKED_FILE`, with 1.x with its suffix ([`super::blocked_path`]).
    pub blocked: Option<PathBuf>,
    /// `RESOLVE_HOST`.
    pub resolve_host: bool,
    /// Stands in each line of the log.
    pub pid: u32,
    /// In which times are written: [`TimeZone::system`].
    pub zone: TimeZone,
}

/// Writes what happens as PortSentry did.
#[derive(Debug)]
pub struct Writer {
    voice: Voice,
    syslog: Option<Syslog>,
    screen: Option<Screen>,
    history: Option<History>,
    blocked: Option<BlockedFile>,
    names: Option<Names>,
    nameless: HashMap<IpAddr, Nameless>,
    looked_at: Mono,
    order: Order,
    budget: Budget,
    left_out: u64,
    left_out_ever: u64,
    said_at: Mono,
}

/// A source whose name is being looked up, with what was told of it meanwhile.
#[derive(Debug)]
struct Nameless {
    until: Mono,
    told: Vec<Input>,
    attacks: usize,
    counted: u64,
}

#[derive(Debug)]
enum Input {
    Attack(Attack),
    Step(StepDone),
    Settled(Protocol, u16, Settled),
}

impl Writer {
    /// Opens the places. A file that can't be written is said to the log, not an error: detection goes on.
    ///
    /// # Errors
    /// No thread can be started (for names or the screen).
    pub fn new(settings: Settings, now: Now) -> io::Result<Writer> {
        let Settings { voice, syslog, screen, history, blocked, resolve_host, pid, zone } = settings;
        let mut writer = Writer {
            voice,
            syslog: syslog.map(|path| Syslog::new(path, pid, zone.clone())),
            screen: screen.then(Screen::new).transpose()?,
            history: history.map(|path| History::new(path, voice, zone.clone())),
            blocked: blocked.map(|path| BlockedFile::new(path, voice, zone)),
            names: resolve_host.then(Names::new).transpose()?,
            nameless: HashMap::new(),
            looked_at: now.mono,
            order: Order::new(voice),
            budget: Budget::new(now.mono),
            left_out: 0,
            left_out_ever: 0,
            said_at: now.mono,
        };
        if let Some(history) = &mut writer.history {
            history.prepare(now.mono);
        }
        if let Some(blocked) = &mut writer.blocked {
            blocked.prepare(now.mono);
        }
        writer.say_notices(now);
        Ok(writer)
    }

    /// The engine saw something.
    pub fn attack(&mut self, attack: Attack, now: Now) {
        let is_silent = matches!(self.voice, Voice::One(_))
            && matches!(attack.fate, AttackFate::Ignored | AttackFate::BelowTrigger);
        if is_silent {
            return;
        }
        self.take(attack.source, Input::Attack(attack), now);
    }

    /// A response step was done or failed.
    pub fn step(&mut self, source: IpAddr, done: StepDone, now: Now) {
        self.take(source, Input::Step(done), now);
    }

    /// The responses for a source that were begun because of this protocol and port are done, or have failed. May be
    /// told again when they are tried again.
    pub fn settled(&mut self, source: IpAddr, protocol: Protocol, port: u16, outcome: Settled, now: Now) {
        self.take(source, Input::Settled(protocol, port, outcome), now);
    }

    /// A ban of an earlier run whose responses are not done: nothing calls it blocked before they are.
    pub fn pending(&mut self, source: IpAddr) {
        self.order.pending(source);
    }

    /// An operator has ended a ban, or it has run out: takes the host out of the blocked file.
    ///
    /// # Errors
    /// The blocked file can't be read or written anew; the host is still in it.
    pub fn forget(&mut self, sources: &BTreeSet<IpAddr>, now: Now) -> io::Result<usize> {
        for &source in sources {
            self.order.forget(source);
        }
        self.perform(now);
        self.blocked.as_mut().map_or(Ok(0), |blocked| blocked.remove(sources))
    }

    /// A line as it stands, of the program's own doing: never left out for being too many.
    pub fn say(&mut self, text: &str, now: Now) {
        self.say_as(Severity::Notice, text, now);
    }

    /// The same with a severity; 1.x has no other than notice.
    pub fn say_as(&mut self, severity: Severity, text: &str, now: Now) {
        let severity = match self.voice {
            Voice::One(_) => Severity::Notice,
            Voice::Two => severity,
        };
        if let Some(syslog) = &mut self.syslog {
            syslog.send(severity, text, now);
        }
        if let Some(screen) = &self.screen {
            screen.send(severity, text);
        }
    }

    /// A line that strangers can bring about in any number, under the ceiling of `RATE` and `BURST`.
    pub fn say_of_stranger(&mut self, text: &str, now: Now) {
        if self.may_say(now.mono) {
            self.say(text, now);
        }
    }

    /// Does what is due: names that came, lines that waited too long, sockets and disks that are there again.
    pub fn tick(&mut self, now: Now) {
        self.take_names(now);
        self.order.tick(now.mono);
        self.perform(now);
        if let Some(history) = &mut self.history {
            history.tick(now.mono);
        }
        if let Some(blocked) = &mut self.blocked {
            blocked.tick(now.mono);
        }
        self.say_notices(now);
        if self.left_out > 0 && now.mono.since(self.said_at) >= SAY {
            self.said_at = now.mono;
            let text = left_out_text(std::mem::take(&mut self.left_out));
            self.say_as(Severity::Error, &text, now);
        }
        if let Some(syslog) = &mut self.syslog {
            syslog.tick(now);
        }
    }

    /// When [`Writer::tick`] has something to do; none: not before the next call. It may lie in the past.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        [
            (!self.nameless.is_empty()).then(|| self.looked_at + LOOK),
            self.order.due(),
            self.history.as_ref().and_then(History::due),
            self.blocked.as_ref().and_then(BlockedFile::due),
            (self.left_out > 0).then(|| self.said_at + SAY),
            self.syslog.as_ref().and_then(Syslog::due),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The files were rotated: what is written next goes to whatever has the names then.
    pub fn reopen(&mut self) {
        if let Some(history) = &mut self.history {
            history.reopen();
        }
    }

    /// The end: writes what is held (a host that is not blocked yet is not called blocked), then `last` lines, and
    /// waits for the log and the screen to take them, but no longer than `patience`. Returns how many lines nobody
    /// took.
    pub fn finish(mut self, last: &[&str], now: Now, patience: Duration) -> u64 {
        let end = Instant::now() + patience;
        for nameless in self.nameless.values_mut() {
            nameless.until = now.mono;
        }
        self.take_names(now);
        self.order.tick(Mono(Duration::MAX));
        self.perform(now);
        self.tick(now);
        for line in last {
            self.say(line, now);
        }
        let mut missing = self.left_out_ever();
        if let Some(syslog) = &mut self.syslog {
            while let Some(due) = syslog.due()
                && Instant::now() < end
            {
                syslog.tick(Now { mono: due, ..now });
                if syslog.due().is_some() {
                    // Nothing else is left to do here, and it is over soon.
                    thread::sleep(Duration::from_millis(5));
                }
            }
            missing += syslog.waiting();
        }
        if let Some(screen) = self.screen {
            screen.finish(end.saturating_duration_since(Instant::now()));
        }
        missing
    }

    /// Who is in the blocked file. What is odd in it is said to the log.
    ///
    /// # Errors
    /// As [`BlockedFile::read`].
    pub fn read_blocked(&mut self, now: Now) -> io::Result<BTreeSet<IpAddr>> {
        let Some(blocked) = &mut self.blocked else { return Ok(BTreeSet::new()) };
        let Held { addresses, notices } = blocked.read()?;
        for notice in notices {
            self.say(&format!("adminalert: {notice}"), now);
        }
        Ok(addresses)
    }

    /// Whether somebody else has changed the blocked file since it was read. Cheap: metadata only.
    pub fn blocked_changed(&mut self) -> bool {
        self.blocked.as_mut().is_some_and(BlockedFile::changed)
    }

    /// Lines that were left out since the start: too many, or nobody took them.
    #[must_use]
    pub fn left_out_ever(&self) -> u64 {
        self.left_out_ever + self.syslog.as_ref().map_or(0, Syslog::left_out_ever)
    }

    fn take(&mut self, source: IpAddr, input: Input, now: Now) {
        if let Some(nameless) = self.nameless.get_mut(&source) {
            match input {
                Input::Attack(attack) if attack.fate != AttackFate::Blocking => {
                    if nameless.attacks < HELD_EACH {
                        nameless.attacks += 1;
                        nameless.told.push(input);
                    } else {
                        nameless.counted += 1;
                    }
                }
                // As many as there are responses, which have a ceiling of their own.
                _ => nameless.told.push(input),
            }
            if now.mono.since(self.looked_at) >= LOOK {
                self.take_names(now);
            }
            return;
        }
        let name = match &mut self.names {
            None => source.to_string(),
            Some(names) => match names.ask(source, now.mono) {
                Answer::Name(name) => name,
                Answer::Later if self.nameless.len() < NAMELESS && matches!(input, Input::Attack(_)) => {
                    let until = now.mono + PATIENCE;
                    self.nameless
                        .insert(source, Nameless { until, told: vec![input], attacks: 1, counted: 0 });
                    return;
                }
                Answer::Later => source.to_string(),
            },
        };
        self.order_in(source, &name, input, now);
        self.perform(now);
    }

    fn order_in(&mut self, source: IpAddr, name: &str, input: Input, now: Now) {
        match input {
            Input::Attack(attack) => self.order.attack(attack, name, now.mono),
            Input::Step(done) => self.order.step(source, &done),
            Input::Settled(protocol, port, outcome) => {
                self.order.settled(source, name, protocol, port, &outcome);
            }
        }
    }

    /// Passes on whose names have come, and who has waited long enough.
    fn take_names(&mut self, now: Now) {
        let Some(names) = &mut self.names else { return };
        self.looked_at = now.mono;
        let mut ready = names.take_answers(now.mono);
        ready
            .extend(self.nameless.iter().filter(|(_, one)| one.until <= now.mono).map(|(source, _)| *source));
        for source in ready {
            let Some(nameless) = self.nameless.remove(&source) else { continue };
            let name = match self.names.as_mut().map(|names| names.ask(source, now.mono)) {
                Some(Answer::Name(name)) => name,
                Some(Answer::Later) | None => source.to_string(),
            };
            for input in nameless.told {
                self.order_in(source, &name, input, now);
            }
            self.order.not_listed(source, &name, nameless.counted);
        }
        self.perform(now);
    }

    fn perform(&mut self, now: Now) {
        for told in self.order.take() {
            match told {
                Told::Line(severity, text) => {
                    if self.may_say(now.mono) {
                        self.say_as(severity, &text, now);
                    }
                }
                // The history of 2.x is the log with a time in front: what a flood leaves out, it leaves out in both.
                Told::Event { time, text } => {
                    if self.may_say(now.mono) {
                        self.say_as(Severity::Notice, &text, now);
                        if let Some(history) = &mut self.history {
                            history.event(time, &text, now.mono);
                        }
                    }
                }
                Told::Blocked { source, name, protocol, port } => {
                    let host = Host { name: &name, address: source };
                    if let Some(blocked) = &mut self.blocked {
                        blocked.append(now.wall, host, protocol, port, now.mono);
                    }
                    if let (Voice::One(_), Some(history)) = (self.voice, &mut self.history) {
                        history.blocked(now.wall, host, protocol, port, now.mono);
                    }
                }
            }
        }
        self.say_notices(now);
    }

    fn may_say(&mut self, now: Mono) -> bool {
        let may = self.budget.take(now);
        if !may {
            self.left_out += 1;
            self.left_out_ever += 1;
        }
        may
    }

    fn say_notices(&mut self, now: Now) {
        let mut lines = Vec::new();
        let is_one = matches!(self.voice, Voice::One(_));
        if let Some(history) = &mut self.history {
            let original = words::one_history_fault(history.path());
            lines.extend(history.take_notices().into_iter().map(|notice| (original.clone(), notice)));
        }
        if let Some(blocked) = &mut self.blocked {
            let original = words::one_blocked_fault(blocked.path());
            lines.extend(blocked.take_notices().into_iter().map(|notice| (original.clone(), notice)));
        }
        for (original, notice) in lines {
            match notice {
                Notice::Fault(text) => {
                    if is_one {
                        self.say(&original, now);
                    }
                    self.say_as(Severity::Error, &format!("adminalert: ERROR: {text}"), now);
                }
                Notice::Note(text) => self.say(&format!("adminalert: {text}"), now),
            }
        }
    }
}

/// How many lines may still be written: [`RATE`] a second, at most [`BURST`] at once. Counts in thousandths.
#[derive(Debug)]
struct Budget {
    left: u64,
    filled_at: Mono,
}

impl Budget {
    fn new(now: Mono) -> Budget {
        Budget { left: BURST * 1000, filled_at: now }
    }

    fn take(&mut self, now: Mono) -> bool {
        // RATE lines a second are RATE thousandths a millisecond.
        let passed = u64::try_from(now.since(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        if passed > 0 {
            self.left = self.left.saturating_add(passed.saturating_mul(RATE)).min(BURST * 1000);
            self.filled_at = now;
        }
        match self.left.checked_sub(1000) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
