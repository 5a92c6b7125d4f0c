//! A persona's journal: what the engine and the errands tell, in the words and files of PortSentry.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use portcullis_core::engine::Engine;
use portcullis_core::event::{BanState, Cause, Ending, Fate, Fault, Protection, What};
use portcullis_core::net::{PortSet, Protocol};
use portcullis_core::scan::Contact;
use portcullis_core::time::{Mono, Now, Wall};
use portcullis_sys::clock;

use super::persona::Persona;
use crate::capture::listen::Unopened;
use crate::cli::portsentry::SHUTTING_DOWN_TWO;
use crate::config::portsentry::{Dialect, StartMode};
use crate::escape::one_line;
use crate::record::portsentry::syslog::{SOCKET, Severity, Syslog};
use crate::record::portsentry::{
    Attack, AttackFate, Seen, Settings, Settled, StepDone, Voice, Writer, blocked_path, words,
};
use crate::record::{LogEvent, Told};

/// What 1.x says at every end.
const LAST_WORDS_ONE: [&str; 2] =
    ["securityalert: PortSentry is shutting down", "adminalert: PortSentry is shutting down"];

/// How long the last lines may wait for the system's log.
const PATIENCE: Duration = Duration::from_secs(1);

/// Hosts that one complaint names.
const NAMED_TO_MEND: usize = 5;

/// Ports that the start names one by one; of more, a range is said instead.
const NAMED: usize = 1024;

/// The journal. 1.x wrote one blocked file a mode, so there is one writer a mode.
#[derive(Debug)]
pub struct Journal {
    writers: Vec<Written>,
    /// The transports whose ports are opened.
    opened: Vec<Protocol>,
    /// Whom somebody has taken out of a blocked file just now, and who is to be let in for that.
    taken_out: BTreeSet<IpAddr>,
}

#[derive(Debug)]
struct Written {
    /// `None` with 2.x, which has one for both transports.
    mode: Option<StartMode>,
    writer: Writer,
    /// Who stands in the blocked file, as far as we know.
    listed: BTreeSet<IpAddr>,
}

impl Journal {
    /// Opens what `persona` writes to.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn open(persona: &Persona, now: Now) -> io::Result<Journal> {
        let modes: Vec<Option<StartMode>> = match persona.arguments.dialect {
            Dialect::One => persona.arguments.modes.iter().copied().map(Some).collect(),
            Dialect::Two => vec![None],
        };
        let open = |mode: Option<StartMode>| {
            let (writer, listed) = (Writer::new(settings(persona, mode), now)?, BTreeSet::new());
            Ok(Written { mode, writer, listed })
        };
        let writers = modes.into_iter().map(open).collect::<io::Result<Vec<Written>>>()?;
        let opened = [Protocol::Tcp, Protocol::Udp].into_iter().filter(|own| persona.opens(*own)).collect();
        Ok(Journal { writers, opened, taken_out: BTreeSet::new() })
    }

    /// Who stood in the blocked files at the start and may be taken for blocked: not whom a run that only tells has
    /// written there, nor whom an earlier boot has shut out. A file that cannot be read is said, and holds nobody.
    pub fn blocked_before(&mut self, persona: &Persona, now: Now) -> BTreeSet<IpAddr> {
        let mut all = BTreeSet::new();
        for own in &mut self.writers {
            own.listed = own.read(now).unwrap_or_default();
            if persona.has_blocked_since_boot(own.mode) {
                all.extend(own.listed.iter().copied());
            }
        }
        all
    }

    /// Whether a blocked file named this host when it was read last.
    #[must_use]
    pub fn is_listed(&self, source: IpAddr) -> bool {
        self.writers.iter().any(|own| own.listed.contains(&source))
    }

    fn say_of_let_in(&mut self, source: IpAddr, why: &str, now: Now) {
        if let Some(own) = self.writers.first_mut() {
            let text = words::let_in(own.mode.map_or(Voice::Two, Voice::One), source, why);
            // As many as there are bans may end at once.
            own.writer.say_of_stranger(&text, now);
        }
    }

    /// The bans of these have ended: the blocked files name them no longer. That is told where there is a `why`; what
    /// ends while we run tells it itself.
    pub fn let_in(&mut self, ended: BTreeSet<IpAddr>, why: Option<&str>, now: Now) {
        let named = |own: &Written| own.listed.intersection(&ended).copied().collect::<BTreeSet<IpAddr>>();
        let named: BTreeSet<IpAddr> = self.writers.iter().flat_map(named).collect();
        if !named.is_empty() {
            self.forget(&named, now);
        }
        if let Some(why) = why {
            named.into_iter().for_each(|source| self.say_of_let_in(source, why, now));
        }
    }

    /// Tells one event of the program.
    pub fn event(&mut self, event: &LogEvent, now: Now) {
        match &event.told {
            Told::Seen(What::Probe { contact, fate }) => self.attack(event.time, contact, *fate, now),
            Told::Seen(What::Unban { prefix, why, .. }) if *why != Ending::GivenUp => {
                let source = prefix.address();
                self.forget(&BTreeSet::from([source]), now);
                let is_taken_out = self.taken_out.remove(&source);
                let why = match why {
                    // Another ban, longer or wider, keeps him out.
                    Ending::Replaced => return,
                    Ending::Operator if is_taken_out => "taken out of the blocked file",
                    Ending::Expired => "its time is over",
                    why => why.words(),
                };
                self.say_of_let_in(source, why, now);
            }
            // A response's own step has told it.
            Told::Seen(What::Fault(Fault::NotEnforced { answer, .. })) if answer.is_empty() => {}
            Told::Seen(What::Fault(Fault::NotEnforced { answer, .. })) => {
                self.fault(&format!("a block is not in force: {answer}"), "", now);
            }
            Told::Seen(What::Fault(Fault::NotChanged { answer })) => self.fault(answer, "", now),
            // What bans come to is told by their responses; the rest is for logs of the program itself.
            Told::Seen(_) | Told::Start(_) | Told::Stuck(_) | Told::LeftOut { .. } | Told::Summary(_) => {}
            Told::Fault { why, mend } => self.fault(why, mend, now),
            Told::Notice { what } => self.say(&format!("adminalert: {}", one_line(what)), now),
            Told::Reload { changes } => {
                // The changes are those of the ports, the friends and the mode; commands and files are read too.
                self.say("adminalert: The configuration has been read again and holds from now on.", now);
                for change in changes {
                    self.say(&format!("adminalert: {}", one_line(change)), now);
                }
            }
            Told::Observe { by } => {
                let by = one_line(by);
                self.say(&format!("adminalert: nobody is blocked from now on, as {by} said"), now);
            }
            Told::Enforce { by } => {
                self.say(&format!("adminalert: blocking again, as {} said", one_line(by)), now);
            }
            Told::Stop { .. } => self.end(now),
        }
    }

    /// What the start says: the ports, what is odd about the files, and that everything is watched.
    pub fn begin(&mut self, persona: &Persona, tcp: &PortSet, udp: &PortSet, now: Now) {
        let (first, two) = (words::ONE_STARTING, persona.arguments.dialect == Dialect::Two);
        if !two {
            self.say(first, now);
        }
        self.remark(persona, None, now);
        for unopened in persona.unopened.iter().take(NAMED) {
            self.say(&unbound(unopened, two), now);
        }
        for (protocol, ports) in [(Protocol::Tcp, tcp), (Protocol::Udp, udp)] {
            if ports.count() > 0 {
                self.begin_transport(persona, protocol, ports, now);
            }
        }
        self.say(if two { words::TWO_READY } else { words::ONE_READY }, now);
    }

    /// What is odd about the files of `persona`, but for what was told of `before`.
    pub fn remark(&mut self, persona: &Persona, before: Option<&Persona>, now: Now) {
        let is_told = |remark: &String| before.is_some_and(|before| before.odd().any(|own| own == *remark));
        for remark in persona.odd().filter(|remark| !is_told(remark)) {
            match persona.arguments.dialect {
                Dialect::One => self.say(&format!("adminalert: {remark}"), now),
                // A word that 2.x did not have.
                Dialect::Two => self.say(&remark, now),
            }
        }
    }

    fn begin_transport(&mut self, persona: &Persona, protocol: Protocol, ports: &PortSet, now: Now) {
        let config = &persona.portsentry;
        let mode = persona.mode(protocol);
        if let Some(mode @ (StartMode::Atcp | StartMode::Audp)) = mode {
            let (end, excluded) = match mode {
                StartMode::Atcp => (config.advanced_ports_tcp, &config.advanced_exclude_tcp),
                _ => (config.advanced_ports_udp, &config.advanced_exclude_udp),
            };
            self.say(&words::one_advanced(end), now);
            for port in each(excluded).take(NAMED) {
                self.say(&words::one_excludes(port), now);
            }
            if excluded.count() == 0 {
                self.say("adminalert: Advanced mode will manually exclude no ports", now);
            }
            for port in each(excluded).take(NAMED) {
                self.say(&words::one_ignored_port(mode, port), now);
            }
            return;
        }
        for port in each(ports).take(NAMED) {
            match mode {
                Some(mode) => {
                    if let Some(line) = words::one_listening(mode, port) {
                        self.say(&line, now);
                    }
                }
                None if self.opened.contains(&protocol) => {
                    self.say(&words::two_listening(protocol, port), now)
                }
                None => {}
            }
        }
        if ports.count() > NAMED && mode.is_some() {
            let more = ports.count() - NAMED;
            self.say(&format!("adminalert: and {more} more {} ports", words::protocol(protocol)), now);
        }
    }

    /// A response step was done or failed.
    pub fn step(&mut self, protocol: Protocol, source: IpAddr, step: StepDone, now: Now) {
        if let Some(own) = self.of(protocol) {
            own.writer.step(source, step, now);
        }
    }

    /// The responses for a source are done, or have failed for good.
    pub fn settled(&mut self, source: IpAddr, protocol: Protocol, port: u16, outcome: Settled, now: Now) {
        if let Some(own) = self.of(protocol) {
            if outcome == Settled::Blocked {
                own.listed.insert(source);
            }
            own.writer.settled(source, protocol, port, outcome, now);
        }
    }

    /// Bans of an earlier run that are to be put in force first: nobody is called blocked before he is.
    pub fn begin_pending(&mut self, engine: &Engine, now: Now) {
        for ban in engine.bans(now, None, usize::MAX) {
            if let (BanState::Pending, Cause::Probe { protocol, .. }) = (ban.state, ban.cause)
                && let Some(own) = self.of(protocol)
            {
                own.writer.pending(ban.prefix.address());
            }
        }
    }

    /// Who was taken out of a blocked file by somebody else since the last call.
    pub fn taken_out(&mut self, now: Now) -> Vec<IpAddr> {
        let mut taken_out = Vec::new();
        for own in &mut self.writers {
            if own.writer.blocked_changed()
                && let Some(listed) = own.read(now)
            {
                taken_out.extend(own.listed.difference(&listed).copied());
                own.listed = listed;
            }
        }
        if !taken_out.is_empty() {
            self.taken_out = taken_out.iter().copied().collect();
        }
        taken_out
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        for own in &mut self.writers {
            own.writer.tick(now);
        }
    }

    /// When [`Journal::tick`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        self.writers.iter().filter_map(|own| own.writer.due()).min()
    }

    /// The files were rotated.
    pub fn reopen(&mut self) {
        for own in &mut self.writers {
            own.writer.reopen();
        }
    }

    /// A line of the program's own.
    pub fn say(&mut self, text: &str, now: Now) {
        if let Some(own) = self.writers.first_mut() {
            own.writer.say(text, now);
        }
    }

    /// Something is wrong that a person should know.
    pub fn fault(&mut self, why: &str, mend: &str, now: Now) {
        let mend = if mend.is_empty() { String::new() } else { format!("; to mend it: {mend}") };
        self.say(&format!("adminalert: ERROR: {}", one_line(&format!("{why}{mend}"))), now);
    }

    /// What was held back is told, then come the last words of every end.
    fn end(&mut self, now: Now) {
        let is_one = self.writers.iter().any(|own| own.mode.is_some());
        let mut writers = std::mem::take(&mut self.writers).into_iter();
        let first = writers.next();
        let mut missing: u64 = writers.map(|own| own.writer.finish(&[], now, PATIENCE)).sum();
        if let Some(own) = first {
            let last: &[&str] = if is_one { &LAST_WORDS_ONE } else { &[SHUTTING_DOWN_TWO] };
            missing += own.writer.finish(last, now, PATIENCE);
        }
        if missing > 0 {
            super::slow::complain(&format!("{missing} lines were left out of the system's log"));
        }
    }

    fn attack(&mut self, time: Wall, contact: &Contact, fate: Fate, now: Now) {
        let protocol = contact.target.protocol;
        let seen = match self.opened.contains(&protocol) {
            true => Seen::Connection,
            false => Seen::Packet {
                flags: contact.flags.0,
                has_ip_options: contact.source.is_ipv4().then_some(contact.has_ip_options),
            },
        };
        let fate = match fate {
            Fate::Protected(Protection::Allowed | Protection::AllowedByHand) => AttackFate::Ignored,
            Fate::Protected(_) => AttackFate::Local,
            Fate::Counted => AttackFate::BelowTrigger,
            Fate::OnlyTold { is_first } => AttackFate::LogOnly { is_first },
            Fate::Blocked => AttackFate::Blocking,
            Fate::BlockedBefore => AttackFate::AlreadyBlocked,
        };
        let Some(own) = self.of(protocol) else { return };
        let fate = match fate {
            // It stands in the file of an earlier run.
            AttackFate::LogOnly { is_first: true } => {
                AttackFate::LogOnly { is_first: own.listed.insert(contact.source) }
            }
            fate => fate,
        };
        let (source, port) = (contact.source, contact.target.port);
        own.writer.attack(Attack { time, source, protocol, port, seen, fate }, now);
    }

    fn forget(&mut self, sources: &BTreeSet<IpAddr>, now: Now) {
        let mut faults = Vec::new();
        for own in &mut self.writers {
            own.listed.retain(|source| !sources.contains(source));
            if let Err(error) = own.writer.forget(sources, now) {
                let named: Vec<String> = sources.iter().take(NAMED_TO_MEND).map(IpAddr::to_string).collect();
                let more = if sources.len() > NAMED_TO_MEND { " and others" } else { "" };
                let named = named.join(", ");
                faults.push(format!("{named}{more} could not be taken out of the blocked file: {error}"));
            }
        }
        for fault in faults {
            self.fault(&fault, "take the lines out by hand", now);
        }
    }

    fn of(&mut self, protocol: Protocol) -> Option<&mut Written> {
        let is_tcp = protocol == Protocol::Tcp;
        self.writers.iter_mut().find(|own| own.mode.is_none_or(|mode| mode.is_tcp() == is_tcp))
    }
}

impl Written {
    fn read(&mut self, now: Now) -> Option<BTreeSet<IpAddr>> {
        match self.writer.read_blocked(now) {
            Ok(listed) => Some(listed),
            Err(error) => {
                let why = one_line(&format!("the blocked file could not be read: {error}"));
                self.writer.say(&format!("adminalert: ERROR: {why}"), now);
                None
            }
        }
    }
}

/// What a start that failed says: to the caller, and with the words of every end to the system's log.
pub fn last_words(dialect: Dialect, to_syslog: bool, why: &str) {
    super::slow::complain(why);
    if dialect == Dialect::Two {
        println!("{SHUTTING_DOWN_TWO}");
    }
    if to_syslog {
        farewell(dialect, Some(why));
    }
}

/// The words of every end in the system's log, also of one before the beginning: 1.x wrote them even where it only
/// printed its usage (measured). Behind `why`, if there is more to say.
pub fn farewell(dialect: Dialect, why: Option<&str>) {
    let now = clock::now();
    let mut syslog = Syslog::new(PathBuf::from(SOCKET), std::process::id(), TimeZone::system());
    if let Some(why) = why {
        syslog.send(Severity::Notice, &format!("adminalert: ERROR: {}", one_line(why)), now);
    }
    let lines: &[&str] = match dialect {
        Dialect::One => &LAST_WORDS_ONE,
        Dialect::Two => &[SHUTTING_DOWN_TWO],
    };
    for line in lines {
        syslog.send(Severity::Notice, line, now);
    }
}

fn settings(persona: &Persona, mode: Option<StartMode>) -> Settings {
    let config = &persona.portsentry;
    let blocked = |base: &PathBuf| mode.map_or_else(|| base.clone(), |mode| blocked_path(base, mode));
    Settings {
        voice: mode.map_or(Voice::Two, Voice::One),
        syslog: persona.arguments.logs_to_syslog.then(|| Path::new(SOCKET).to_owned()),
        screen: persona.arguments.logs_to_stdout,
        history: config.history_file.clone(),
        blocked: config.blocked_file.as_ref().map(blocked),
        resolve_host: config.resolve_host,
        pid: std::process::id(),
        zone: TimeZone::system(),
    }
}

/// A port that could not be opened; it is tried again for as long as we run, which PortSentry did not.
fn unbound(unopened: &Unopened, is_two: bool) -> String {
    let (protocol, port) = (words::protocol(unopened.protocol), unopened.port);
    match is_two {
        false => {
            format!("adminalert: ERROR: could not bind {protocol} socket: {port}. Attempting to continue")
        }
        true => format!("Could not bind {protocol} socket on port {port}. Attempting to continue"),
    }
}

fn each(ports: &PortSet) -> impl Iterator<Item = u16> + '_ {
    ports.ranges().iter().flat_map(|(low, high)| *low..=*high)
}
