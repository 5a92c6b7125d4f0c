//! The order of lines. PortSentry did one thing after the other: alert, responses, and only then the next packet. Our
//! responses run beside the packets, so the later events of a source are held back until its responses are settled;
//! then all lines of one source stand as in the original, and nothing is called blocked before it is.
//!
//! Held are at most [`HELD_EACH`] events of a source and [`HELD`] in all (more are counted), and none longer than
//! [`HELD_FOR`]: a command that hangs must not hide an attack. What is let go then says that the host is still being
//! blocked. Pure: time goes in, lines come out.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::net::Protocol;
use portcullis_core::time::{Mono, Wall};

use super::syslog::Severity;
use super::words::{self, Host, IsBlocked};
use super::{Attack, AttackFate, Settled, StepDone, Voice};

/// Events held of one source; more are counted.
pub const HELD_EACH: usize = 32;

/// Events held in all; more are counted.
pub const HELD: usize = 10_000;

/// How long an event is held at most.
pub const HELD_FOR: Duration = Duration::from_secs(60);

/// Sources whose responses are not settled, at most: more than the queue of responses takes (100,000). What is
/// beyond is written at once, as a host that is not blocked yet.
const OPEN: usize = 131_072;

/// Something to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A line of the log.
    Line(Severity, String),
    /// 2.x: a line of the log, and of the history file.
    Event {
        /// When it happened.
        time: Wall,
        /// [`words::two_event`].
        text: String,
    },
    /// A host is blocked: the blocked file, and with 1.x the history file.
    Blocked {
        /// Whom.
        source: IpAddr,
        /// As it stands in the log.
        name: String,
        /// Of the event that caused it.
        protocol: Protocol,
        /// Likewise.
        port: u16,
    },
}

/// Which lines of which source wait for what.
#[derive(Debug)]
pub struct Order {
    voice: Voice,
    open: HashMap<IpAddr, Open>,
    /// Those that are awaited, oldest first; who is settled meanwhile is passed over.
    deadlines: VecDeque<(Mono, IpAddr)>,
    held: usize,
    told: Vec<Told>,
}

/// A source whose responses are not settled.
#[derive(Debug)]
struct Open {
    /// The event that began them; none if that was in an earlier run.
    cause: Option<Attack>,
    name: String,
    standing: Standing,
    held: Vec<Attack>,
    counted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Later events are held until then.
    Awaited { until: Mono },
    /// Too long, or from an earlier run.
    Overdue,
    /// They failed; perhaps they are tried again.
    Failed,
}

impl Order {
    /// Nothing waits.
    #[must_use]
    pub fn new(voice: Voice) -> Order {
        Order { voice, open: HashMap::new(), deadlines: VecDeque::new(), held: 0, told: Vec::new() }
    }

    /// What is to be written now, in this order.
    pub fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// An event of a source that is called `name`.
    pub fn attack(&mut self, attack: Attack, name: &str, now: Mono) {
        if matches!(self.voice, Voice::One(_))
            && matches!(attack.fate, AttackFate::Ignored | AttackFate::BelowTrigger)
        {
            // 1.2 says nothing of these (measured).
            return;
        }
        if attack.fate == AttackFate::Blocking {
            return self.begin(attack, name, now);
        }
        let standing = match self.open.get_mut(&attack.source) {
            Some(Open { standing: Standing::Awaited { .. }, held, counted, .. }) => {
                if held.len() < HELD_EACH && self.held < HELD {
                    held.push(attack);
                    self.held += 1;
                } else {
                    *counted += 1;
                }
                return;
            }
            Some(open) => Some(open.standing),
            None => None,
        };
        self.write(&attack, name, standing);
    }

    /// The host is about to be blocked since an earlier run.
    pub fn pending(&mut self, source: IpAddr) {
        if self.open.len() < OPEN {
            self.open.entry(source).or_insert_with(|| Open {
                cause: None,
                name: source.to_string(),
                standing: Standing::Overdue,
                held: Vec::new(),
                counted: 0,
            });
        }
    }

    /// The host is neither blocked nor about to be any more: an operator has ended it.
    pub fn forget(&mut self, source: IpAddr) {
        if let Some(open) = self.open.remove(&source) {
            self.release(open, Some(Standing::Overdue));
        }
    }

    /// A step was done, or failed.
    pub fn step(&mut self, source: IpAddr, done: &StepDone) {
        let severity = self.severity(done.result.is_err());
        for line in words::step(source, done) {
            self.told.push(Told::Line(severity, line));
        }
    }

    /// All steps are done, or the whole has failed; `name` is used if no event of ours began it.
    pub fn settled(&mut self, source: IpAddr, name: &str, of: Protocol, port: u16, outcome: &Settled) {
        match outcome {
            Settled::Blocked => {
                let open = self.open.remove(&source);
                let name = open.as_ref().map_or(name, |open| &open.name).to_owned();
                self.told.push(Told::Blocked { source, name: name.clone(), protocol: of, port });
                let Some(open) = open else { return };
                if let (Voice::Two, Some(cause)) = (self.voice, &open.cause) {
                    self.event(cause, &name, IsBlocked::Yes);
                }
                self.release(open, None);
            }
            Settled::Restored => {
                if let Some(open) = self.open.remove(&source) {
                    self.release(open, None);
                }
            }
            Settled::Failed { why } => {
                let mut open = self.open.remove(&source);
                let name = open.as_ref().map_or(name, |open| &open.name).to_owned();
                let host = Host { name: &name, address: source };
                if !why.is_empty() {
                    self.line(true, words::why_not_blocked(source, why));
                }
                self.line(true, words::not_blocked(self.voice, host));
                if let Some(open) = &mut open {
                    let kept = Open {
                        cause: open.cause,
                        name: name.clone(),
                        standing: Standing::Failed,
                        held: Vec::new(),
                        counted: 0,
                    };
                    if let (Voice::Two, Standing::Awaited { .. }, Some(cause)) =
                        (self.voice, open.standing, &open.cause)
                    {
                        self.event(cause, &name, IsBlocked::No);
                    }
                    self.open.insert(source, kept);
                }
                if let Some(open) = open {
                    self.release(open, Some(Standing::Failed));
                } else {
                    self.pending(source);
                    if let Some(open) = self.open.get_mut(&source) {
                        open.standing = Standing::Failed;
                    }
                }
            }
        }
    }

    /// Lets go what was held for too long.
    pub fn tick(&mut self, now: Mono) {
        while let Some(&(until, source)) = self.deadlines.front() {
            if now < until {
                return;
            }
            self.deadlines.pop_front();
            let Some(open) = self.open.get_mut(&source) else { continue };
            if open.standing != (Standing::Awaited { until }) {
                continue;
            }
            open.standing = Standing::Overdue;
            let overdue = Open {
                cause: open.cause,
                name: open.name.clone(),
                standing: Standing::Overdue,
                held: std::mem::take(&mut open.held),
                counted: std::mem::take(&mut open.counted),
            };
            if let (Voice::Two, Some(cause)) = (self.voice, &overdue.cause) {
                let host = Host { name: &overdue.name, address: source };
                self.line(false, words::still_being_blocked(host));
                self.event(cause, &overdue.name, IsBlocked::No);
            }
            self.release(overdue, Some(Standing::Overdue));
        }
    }

    /// When [`Order::tick`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        self.deadlines.front().map(|(until, _)| *until)
    }

    /// Events that wait.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Ours: more events of a source than are held were seen.
    pub(super) fn not_listed(&mut self, source: IpAddr, name: &str, events: u64) {
        if events > 0 {
            self.line(false, words::not_listed(Host { name, address: source }, events));
        }
    }

    fn begin(&mut self, attack: Attack, name: &str, now: Mono) {
        if let Some(before) = self.open.remove(&attack.source) {
            if let (Voice::Two, Standing::Awaited { .. }, Some(cause)) =
                (self.voice, before.standing, &before.cause)
            {
                self.event(cause, &before.name, IsBlocked::No);
            }
            self.release(before, Some(Standing::Overdue));
        }
        if let Voice::One(_) = self.voice {
            self.alert(&attack, name);
        }
        if self.open.len() >= OPEN {
            if self.voice == Voice::Two {
                self.event(&attack, name, IsBlocked::No);
            }
            return;
        }
        let until = now + HELD_FOR;
        self.deadlines.push_back((until, attack.source));
        self.open.insert(
            attack.source,
            Open {
                cause: Some(attack),
                name: name.to_owned(),
                standing: Standing::Awaited { until },
                held: Vec::new(),
                counted: 0,
            },
        );
    }

    /// Writes what was held of a source, which stands like this now; none: it is blocked.
    fn release(&mut self, open: Open, standing: Option<Standing>) {
        self.held -= open.held.len();
        let source = open.held.first().or(open.cause.as_ref()).map(|attack| attack.source);
        for attack in &open.held {
            self.write(attack, &open.name, standing);
        }
        if let Some(source) = source {
            self.not_listed(source, &open.name, open.counted);
        }
    }

    fn write(&mut self, attack: &Attack, name: &str, standing: Option<Standing>) {
        let host = Host { name, address: attack.source };
        let verdict = match standing {
            None => words::already_blocked(self.voice, host),
            Some(Standing::Failed) => words::not_blocked(self.voice, host),
            Some(Standing::Awaited { .. } | Standing::Overdue) => words::still_being_blocked(host),
        };
        let is_blocked = if standing.is_none() { IsBlocked::Yes } else { IsBlocked::No };
        match self.voice {
            Voice::One(_) => {
                self.alert(attack, name);
                match attack.fate {
                    AttackFate::LogOnly { is_first: true } => {
                        self.line(false, words::one_ignoring_response(attack.protocol));
                        // The original calls this blocked, and so do the scripts that read it (1.2, measured).
                        self.told.push(Told::Blocked {
                            source: attack.source,
                            name: name.to_owned(),
                            protocol: attack.protocol,
                            port: attack.port,
                        });
                    }
                    AttackFate::Local => self.line(false, words::never_blocked(host)),
                    _ => self.line(false, verdict),
                }
            }
            Voice::Two => {
                if attack.fate == AttackFate::AlreadyBlocked {
                    self.line(standing == Some(Standing::Failed), verdict);
                }
                self.event(attack, name, is_blocked);
            }
        }
    }

    /// 1.x: the line of an event, and of its IP options.
    fn alert(&mut self, attack: &Attack, name: &str) {
        let Voice::One(mode) = self.voice else { return };
        self.line(false, words::one_alert(mode, attack, name));
        if let Some(line) = words::one_ip_options(attack, name) {
            self.line(false, line);
        }
    }

    fn event(&mut self, attack: &Attack, name: &str, is_blocked: IsBlocked) {
        let text = words::two_event(attack, name, is_blocked);
        self.told.push(Told::Event { time: attack.time, text });
    }

    fn line(&mut self, is_error: bool, text: String) {
        let severity = self.severity(is_error);
        self.told.push(Told::Line(severity, text));
    }

    /// 1.x writes everything as a notice.
    fn severity(&self, is_error: bool) -> Severity {
        match self.voice {
            Voice::Two if is_error => Severity::Error,
            _ => Severity::Notice,
        }
    }
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;
