//! The log: one line an event, for people or as JSON, to a terminal, a file or the journal.
//!
//! A stranger decides how many events there are, so lines have a ceiling: [`RATE`] a second after a burst of
//! [`BURST`]; what is beyond is counted and told in a line of its own. Faults have the same ceiling for themselves.

use std::env;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use jiff::tz::TimeZone;
use portcullis_core::event::{
    Ban, BanState, Brake, Cause, Decision, Ending, Fate, Fault, How, Mode, Scan, Until, What,
};
use portcullis_core::net::Prefix;
use portcullis_core::scan::Contact;
use portcullis_core::time::{Mono, Wall};

use super::json::{self, Line, ban_id, scan_id};
use super::{LogEvent, SinglePackets, Start, Stuck, Summary, Told, words};
use crate::control::term::Term;
use crate::doctor::Grade;
use crate::escape::Escaped;

/// Lines a second in the long run.
pub const RATE: u32 = 50;

/// Lines at once after a quiet while.
pub const BURST: u32 = 200;

/// How the lines are made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One object of JSON a line.
    Json,
    /// For people, local time of day first, with colour.
    Colour,
    /// For people, local time of day first.
    Plain,
    /// For people who read it later: full time in UTC first.
    File,
    /// For the journal, which knows the time: the priority first, as sd-daemon(3) wants it.
    Journal,
}

impl Style {
    /// The style for people that fits `stream`.
    #[must_use]
    pub fn for_people(stream: impl AsFd + IsTerminal) -> Style {
        if stream.is_terminal() {
            // no-color.org: set and not empty, whatever it says.
            let is_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
                || env::var_os("TERM").is_some_and(|value| value == "dumb");
            if is_plain { Style::Plain } else { Style::Colour }
        } else if is_journal(stream) {
            Style::Journal
        } else {
            Style::File
        }
    }
}

/// Whether this very stream leads to the journal (systemd.exec(5), `JOURNAL_STREAM`): the variable is inherited also
/// by those whose output was redirected.
fn is_journal(stream: impl AsFd) -> bool {
    let Ok(named) = env::var("JOURNAL_STREAM") else { return false };
    let Ok(stream) = stream.as_fd().try_clone_to_owned() else { return false };
    File::from(stream).metadata().is_ok_and(|found| named == format!("{}:{}", found.dev(), found.ino()))
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// sd-daemon(3) `<3>`.
    Fault,
    /// `<4>`
    Warning,
    /// `<5>`
    Notice,
    /// `<6>`
    Plain,
}

/// Where lines go.
#[derive(Debug)]
pub struct Log<W> {
    out: W,
    style: Style,
    ceilings: Option<Ceilings>,
}

impl<W: Write> Log<W> {
    /// A log of what strangers cause, with the ceiling.
    pub fn live(out: W, style: Style) -> Log<W> {
        Log { out, style, ceilings: Some(Ceilings::default()) }
    }

    /// A log of what the caller asked for himself, such as a replay: every line comes out.
    pub fn whole(out: W, style: Style) -> Log<W> {
        Log { out, style, ceilings: None }
    }

    /// Tells `event`, or counts it as left out. Beginning, end, and what an operator did always come out.
    ///
    /// # Errors
    /// What the stream says; the line may be cut then.
    pub fn tell(&mut self, now: Mono, event: &LogEvent) -> io::Result<()> {
        self.catch_up(now, event.time)?;
        let ceiling = self.ceilings.as_mut().and_then(|ceilings| ceilings.over(&event.told));
        match ceiling.is_none_or(|ceiling| ceiling.admits(now)) {
            true => self.line(event),
            false => Ok(()),
        }
    }

    /// Tells how many lines were left out, once there is room again. Call it now and then while nothing happens.
    ///
    /// # Errors
    /// As [`Log::tell`].
    pub fn catch_up(&mut self, now: Mono, time: Wall) -> io::Result<()> {
        let left_out = self.ceilings.as_mut().map_or(0, |ceilings| ceilings.account(now));
        match left_out {
            0 => Ok(()),
            lines => self.line(&LogEvent { time, told: Told::LeftOut { lines } }),
        }
    }

    fn line(&mut self, event: &LogEvent) -> io::Result<()> {
        let mut line = match self.style {
            Style::Json => json::text(&Line::from(event)),
            style => {
                let (weight, sentence) = sentence(event);
                dress(style, weight, event.time, &sentence)
            }
        };
        line.push('\n');
        self.out.write_all(line.as_bytes())?;
        self.out.flush()
    }
}

/// The ceilings of a live log. Faults have their own: a stranger who fills the log must not hide what is wrong.
#[derive(Debug, Default)]
struct Ceilings {
    strangers: Ceiling,
    faults: Ceiling,
}

impl Ceilings {
    /// The one that this event stands under. Beginning, end, and what an operator did stand under none.
    fn over(&mut self, told: &Told) -> Option<&mut Ceiling> {
        match told {
            Told::Fault { .. } | Told::Stuck(_) | Told::Seen(What::Fault(_) | What::Repair { .. }) => {
                Some(&mut self.faults)
            }
            Told::Seen(_) => Some(&mut self.strangers),
            _ => None,
        }
    }

    fn account(&mut self, now: Mono) -> u64 {
        [&mut self.strangers, &mut self.faults].map(|ceiling| ceiling.account(now)).into_iter().sum()
    }
}

/// A token bucket.
#[derive(Debug)]
struct Ceiling {
    /// In thousandths of a line.
    tokens: u64,
    filled: Option<Mono>,
    left_out: u64,
}

impl Default for Ceiling {
    fn default() -> Ceiling {
        Ceiling { tokens: u64::from(BURST) * 1000, filled: None, left_out: 0 }
    }
}

impl Ceiling {
    fn fill(&mut self, now: Mono) {
        // A bucket that was never looked at is full already.
        let gone = self.filled.map_or(Duration::ZERO, |filled| now.since(filled));
        // `as_millis` of centuries fits u64; more than the burst is poured away below.
        let new = u64::try_from(gone.as_millis()).unwrap_or(u64::MAX).saturating_mul(u64::from(RATE));
        if new > 0 || self.filled.is_none() {
            self.filled = Some(now);
            self.tokens = self.tokens.saturating_add(new).min(u64::from(BURST) * 1000);
        }
    }

    /// Whether one more line may come out now; counted if not.
    fn admits(&mut self, now: Mono) -> bool {
        self.fill(now);
        match self.tokens.checked_sub(1000) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => {
                self.left_out += 1;
                false
            }
        }
    }

    /// How many were left out, once at least a second's worth of lines may come out again.
    fn account(&mut self, now: Mono) -> u64 {
        self.fill(now);
        let is_time = self.tokens >= u64::from(RATE) * 1000;
        if is_time { std::mem::take(&mut self.left_out) } else { 0 }
    }
}

fn dress(style: Style, weight: Weight, time: Wall, sentence: &str) -> String {
    let clock = || json::stamp(time).to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string();
    match style {
        Style::Journal => {
            let priority = match weight {
                Weight::Fault => 3,
                Weight::Warning => 4,
                Weight::Notice => 5,
                Weight::Plain => 6,
            };
            format!("<{priority}>{sentence}")
        }
        Style::Colour => {
            let colour = match weight {
                Weight::Fault => "\x1b[31m",
                Weight::Warning => "\x1b[33m",
                Weight::Notice => "\x1b[1m",
                Weight::Plain => "",
            };
            let end = if colour.is_empty() { "" } else { "\x1b[0m" };
            format!("\x1b[2m{}\x1b[0m {colour}{sentence}{end}", clock())
        }
        Style::Plain => format!("{} {sentence}", clock()),
        Style::File | Style::Json => format!("{} {sentence}", json::time(time)),
    }
}

/// The event in one sentence: what, who, evidence, consequence, and how to undo it.
fn sentence(event: &LogEvent) -> (Weight, String) {
    match &event.told {
        Told::Seen(what) => seen(what, event.time),
        Told::Start(start) => (Weight::Notice, begin(start)),
        Told::Stop { why } => (Weight::Notice, format!("stopped: {}", Escaped(why))),
        Told::Reload { changes } if changes.is_empty() => {
            (Weight::Notice, "configuration read anew; nothing in it is different".to_owned())
        }
        Told::Reload { changes } => {
            let changes: Vec<String> = changes.iter().map(|change| Escaped(change).to_string()).collect();
            (Weight::Notice, format!("configuration read anew: {}", changes.join("; ")))
        }
        Told::Observe { by } => {
            (Weight::Notice, format!("observing from now on ({}); to block: portcullis enforce", Escaped(by)))
        }
        Told::Enforce { by } => {
            (Weight::Notice, format!("enforcing from now on ({}); to stop: portcullis observe", Escaped(by)))
        }
        Told::Notice { what } => (Weight::Plain, Escaped(what).to_string()),
        Told::Fault { why, mend } if mend.is_empty() => (Weight::Fault, format!("fault: {}", Escaped(why))),
        Told::Fault { why, mend } => {
            (Weight::Fault, format!("fault: {}; to mend it: {}", Escaped(why), Escaped(mend)))
        }
        Told::Stuck(Stuck { door, source, finding }) => {
            let (door, what) = (Escaped(door), Escaped(&finding.what));
            let mut line = format!("door {door} is open to {source}, but: {what}");
            for (number, step) in finding.mend.iter().enumerate() {
                let lead = if number == 0 { "; to mend it: " } else { "; " };
                let _ = write!(line, "{lead}{}", Escaped(&step.text()));
            }
            (if finding.grade == Grade::Fault { Weight::Fault } else { Weight::Warning }, line)
        }
        Told::LeftOut { lines } => (
            Weight::Warning,
            format!(
                "{lines} {} left out here: more than {RATE} a second",
                words::plural(*lines, "line was", "lines were")
            ),
        ),
        Told::Summary(summary) => (Weight::Notice, sum_up(summary)),
    }
}

fn seen(what: &What, time: Wall) -> (Weight, String) {
    match what {
        What::Scan(scan) => (Weight::Warning, tell_scan(scan)),
        What::Probe { contact, fate } => (Weight::Notice, tell_probe(contact, *fate)),
        What::Ban(ban) => tell_ban(ban, time),
        What::Unban { id, prefix, how, why: Ending::Expired } => {
            (Weight::Plain, format!("{} of {} is over ({})", noun(*how), short(*prefix), ban_id(*id)))
        }
        What::Unban { id, prefix, how, why } => (
            Weight::Notice,
            format!("{} of {} has ended: {} ({})", noun(*how), short(*prefix), why.words(), ban_id(*id)),
        ),
        What::Brake(brake) => tell_brake(brake),
        What::Allow { prefix, until: Some(until) } => (
            Weight::Notice,
            format!(
                "{} is allowed {}; undo: portcullis allow --remove {0}",
                short(*prefix),
                words::until(*until)
            ),
        ),
        What::Allow { prefix, until: None } => {
            (Weight::Notice, format!("{} is no longer allowed by hand", short(*prefix)))
        }
        What::Refused { prefix, protected, why } if prefix == protected => {
            (Weight::Notice, format!("{} was not banned: it is {}", short(*prefix), why.words()))
        }
        What::Refused { prefix, protected, why } => (
            Weight::Notice,
            format!("{} was not banned: {} in it is {}", short(*prefix), short(*protected), why.words()),
        ),
        What::Repair { bans, guests } => {
            let counted = [
                (*bans, words::plural(*bans as u64, "ban", "bans")),
                (*guests, words::plural(*guests as u64, "guest of a door", "guests of doors")),
            ];
            let counted = counted.iter().filter(|(count, _)| *count > 0);
            let what: Vec<String> = counted.map(|(count, word)| format!("{count} {word}")).collect();
            let what = what.join(" and ");
            (Weight::Warning, format!("the kernel's table had been changed by somebody; putting back {what}"))
        }
        What::TrialOver { mode: Mode::Observe } => {
            (Weight::Notice, format!("observing again: {}; to block: portcullis enforce", words::UNCONFIRMED))
        }
        What::TrialOver { mode: Mode::Enforce } => {
            (Weight::Notice, format!("enforcing again: {}; to stop: portcullis observe", words::OBSERVED))
        }
        What::Door { door, event } => (Weight::Notice, Escaped(&event.sentence(door)).to_string()),
        What::Fault(Fault::NotEnforced { bans, answer }) => {
            (Weight::Fault, format!("fault: {}", words::not_enforced(*bans, answer)))
        }
        What::Fault(Fault::NotChanged { answer }) => {
            (Weight::Fault, format!("fault: {}", words::not_changed(answer)))
        }
    }
}

fn tell_scan(scan: &Scan) -> String {
    let mut line = format!("scan from {}", scan.source);
    if scan.is_ended {
        line += " has gone quiet";
    }
    let evidence = words::evidence_with_kinds(scan);
    // Writing to a String cannot fail.
    let _ = write!(line, ": {evidence}{}", some_ports(&scan.ports));
    if scan.is_ended {
        let _ = write!(line, " ({})", scan_id(scan.id));
        return line;
    }
    let length = match scan.ban {
        Some(Some(length)) => format!(" for {}", Term::For(length)),
        Some(None) => " for ever".to_owned(),
        None => String::new(),
    };
    let whom = if scan.prefix.is_single() { String::new() } else { format!(" with all of {}", scan.prefix) };
    let _ = match scan.decision {
        Decision::Block => write!(
            line,
            "; to be banned{whom}{length} ({}); undo: portcullis unban {}",
            scan_id(scan.id),
            short(scan.prefix)
        ),
        Decision::Hold => write!(
            line,
            "; its address is not proved, so it is to be held{whom}{length} ({}); undo: portcullis unban {}",
            scan_id(scan.id),
            short(scan.prefix)
        ),
        Decision::Observe => {
            write!(
                line,
                "; would be shut out{whom}{length} ({}); to act: portcullis enforce",
                scan_id(scan.id)
            )
        }
        Decision::Protected(why) => {
            write!(line, "; not banned: it is {} ({})", why.words(), scan_id(scan.id))
        }
    };
    line
}

fn tell_probe(contact: &Contact, fate: Fate) -> String {
    let fate = match fate {
        Fate::Protected(why) => format!("not counted: it is {}", why.words()),
        Fate::Counted => "counted".to_owned(),
        Fate::OnlyTold { .. } => "would be banned".to_owned(),
        Fate::Blocked => "to be banned".to_owned(),
        Fate::BlockedBefore => "banned already".to_owned(),
    };
    format!("{} from {}; {fate}", portcullis_core::words::event(contact), contact.source)
}

/// The first few ports: enough to see what the scan is after.
fn some_ports(ports: &[u16]) -> String {
    const SHOWN: usize = 8;
    if ports.is_empty() {
        return String::new();
    }
    let mut shown: Vec<String> = ports.iter().take(SHOWN).map(u16::to_string).collect();
    if ports.len() > SHOWN {
        shown.push("…".to_owned());
    }
    format!(" ({})", shown.join(" "))
}

fn tell_brake(brake: &Brake) -> (Weight, String) {
    if brake.is_on {
        let line = format!(
            "the brake is on: more than {} sources a minute were found scanning, so somebody forges them; who is not \
             proved gets the shortest hold, and who is connected with this host is left alone, until it is quiet",
            brake.limit
        );
        return (Weight::Warning, line);
    }
    let mut line = format!(
        "the brake has let go; {} {} found scanning in the meantime",
        brake.blocks,
        words::plural(brake.blocks, "source was", "sources were")
    );
    if !brake.kept_back.is_empty() {
        const SHOWN: usize = 8;
        let mut shown: Vec<String> = brake.kept_back.iter().take(SHOWN).map(|own| short(*own)).collect();
        if brake.kept_back.len() > SHOWN {
            shown.push("…".to_owned());
        }
        // Writing to a String cannot fail.
        let _ = write!(line, "; kept back, since connected with this host: {}", shown.join(" "));
    }
    (Weight::Notice, line)
}

/// What there is of a source.
fn noun(how: How) -> &'static str {
    match how {
        How::Held => "hold",
        How::Banned => "ban",
    }
}

fn tell_ban(ban: &Ban, time: Wall) -> (Weight, String) {
    let length = match ban.until {
        Until::At(end) => format!("for {}", Term::For(end.since(time))),
        Until::Ever => "for ever".to_owned(),
    };
    let cause = match &ban.cause {
        Cause::Scan { id, .. } => scan_id(*id),
        Cause::Operator { why } if why.is_empty() => "by hand".to_owned(),
        Cause::Operator { why } => format!("by hand: {}", Escaped(why)),
        Cause::Probe { why, .. } => why.clone(),
        Cause::FoundInForce => "found in force".to_owned(),
    };
    let again = if ban.times > 1 { format!(", time {}", ban.times) } else { String::new() };
    if ban.how == How::Held {
        return tell_hold(ban, &length, &cause, &again);
    }
    let pardoned = match ban.pardoned {
        Some(at) => format!(", let in before its time {} ago", words::seconds(time.since(at))),
        None => String::new(),
    };
    let (weight, state) = match ban.state {
        BanState::InForce => (Weight::Warning, "banned"),
        BanState::Unsaved => (Weight::Fault, "banned, but not saved over a restart,"),
        BanState::Pending => (Weight::Plain, "about to be banned"),
        BanState::Failed => (Weight::Fault, "could not be banned yet (it is tried again)"),
    };
    let whom = short(ban.prefix);
    let id = ban_id(ban.id);
    (
        weight,
        format!("{whom} {state} {length} ({id}, {cause}{again}{pardoned}); undo: portcullis unban {whom}"),
    )
}

fn tell_hold(ban: &Ban, length: &str, cause: &str, again: &str) -> (Weight, String) {
    let (weight, state) = match ban.state {
        BanState::InForce | BanState::Unsaved => (Weight::Warning, "held"),
        BanState::Pending => (Weight::Plain, "about to be held"),
        BanState::Failed => (Weight::Fault, "could not be held yet (it is tried again)"),
    };
    let (whom, id) = (short(ban.prefix), ban_id(ban.id));
    let line = format!(
        "{whom} {state} {length} ({id}, {cause}{again}): it begins nothing new here, what stands goes on; \
         undo: portcullis unban {whom}"
    );
    (weight, line)
}

fn begin(start: &Start) -> String {
    let interfaces: Vec<String> = start.interfaces.iter().map(|name| Escaped(name).to_string()).collect();
    let mut line = format!(
        "portcullis {} watches {} ({})",
        start.version,
        if interfaces.is_empty() { "no interface yet".to_owned() } else { interfaces.join(", ") },
        start.engine,
    );
    // Writing to a String cannot fail.
    let _ = match &start.configuration {
        Some(path) => write!(line, ", configuration {}", Escaped(path)),
        None => write!(line, ", built-in defaults"),
    };
    if start.bans > 0 {
        let _ = write!(line, ", {} {} on", start.bans, words::plural(start.bans, "ban holds", "bans hold"));
    }
    if !start.shut.is_empty() {
        let _ =
            write!(line, "; doors shut {} to all who have not knocked", Escaped(&start.shut.join(" and ")));
    }
    if let Some(SinglePackets { by, ports }) = &start.single_packets {
        let _ = match *by {
            "socket" => write!(line, "; {ports} is open for single packets"),
            _ => write!(line, "; single packets to {ports} are seen on the wire, where no port is open"),
        };
    }
    line += match start.mode.as_str() {
        "observe" if !start.shut.is_empty() => {
            "; observing: no scanner is blocked; to block: portcullis enforce"
        }
        "observe" => "; observing: nothing is blocked; to block: portcullis enforce",
        _ => "; enforcing: scanners are blocked; to stop: portcullis observe",
    };
    line
}

fn sum_up(summary: &Summary) -> String {
    let mut line = format!(
        "{} {} in {}: ",
        summary.packets,
        words::plural(summary.packets, "packet", "packets"),
        words::seconds(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default()),
    );
    // Writing to a String cannot fail.
    let _ = match summary.sources {
        Some(sources) => write!(
            line,
            "{sources} {} counted, {} of them {}",
            words::plural(sources, "source", "sources"),
            summary.scanners,
            words::plural(summary.scanners, "a scanner", "scanners"),
        ),
        None => {
            write!(line, "{} {}", summary.scanners, words::plural(summary.scanners, "scan", "scans"))
        }
    };
    if let Some(would) = summary.would_have_banned {
        let _ = write!(line, "; would have banned {would} {}", words::plural(would, "source", "sources"));
        if let Some(peers) = summary.would_have_banned_peers {
            let _ = write!(line, ", {peers} of them {} of yours", words::plural(peers, "a peer", "peers"));
        }
        line += "; to block: portcullis enforce";
    }
    if let Some(dropped) = summary.dropped.filter(|&dropped| dropped > 0) {
        let _ = write!(line, "; {dropped} dropped by the kernel");
    }
    if !summary.faults.is_empty() {
        let faults: Vec<String> =
            summary.faults.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let _ = write!(line, "; not readable: {}", faults.join(", "));
    }
    line
}

/// A single address without its length, as people write it; the verbs understand both.
fn short(prefix: Prefix) -> String {
    if prefix.is_single() { prefix.address().to_string() } else { prefix.to_string() }
}

#[cfg(test)]
mod tests;
