//! The persona of PortSentry: what its old files say, as the daemon needs it. A configuration and a way of writing
//! records in front of the same engine, and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::engine::singly;
use portcullis_core::event::{Ban, Cause, Protection, Until};
use portcullis_core::ledger::Found;
use portcullis_core::net::{PortSet, Prefix, Protocol};
use portcullis_core::policy::{Local, Surroundings};
use portcullis_core::time::{Now, Wall};
use tokio::sync::mpsc;

use super::TABLE;
use super::doors::DoorPlan;
use super::errands::Errands;
use super::plan::{Names, Plan};
use crate::capture::listen::Unopened;
use crate::cli::portsentry::{Interfaces, PortsentryArguments};
use crate::config::portsentry::{
    Diagnostic, Dialect, OwnAddresses, PortsentryConfig, StartMode, Weight, decode, is_made_at_the_start,
    read_file, read_ignore, refresh_ignore,
};
use crate::config::{Config, EngineChoice, Fault, Faults, Mode};
use crate::escape::one_line;
use crate::record::portsentry::blocked_path;
use crate::record::store::Stored;
use crate::respond::effects::Effects;
use crate::respond::hands;
use crate::respond::hosts_deny::HostsDeny;
use crate::respond::responses::{Response, Responses};

/// Sources counted at once. 1.x counted 50 events, 2.x a million sources; a flood of made-up ones displaces whoever
/// has caused the fewest events.
const SOURCES: usize = 262_144;

/// Where TCP wrappers look (hosts_access(5)); PortSentry knew no other place.
const HOSTS_DENY: &str = "/etc/hosts.deny";

/// Below [`RUN`], also with `--state`: there is one hosts.deny, so all who write to it must meet at one lock.
const HOSTS_DENY_LOCK: &str = "hosts.deny.lock";

/// Where sockets of personas are, unless `--state` says otherwise.
pub const RUN: &str = "/run/portcullis";
/// And where their stores are.
pub const STATE: &str = "/var/lib/portcullis";

/// What goes another way than with the program itself.
#[derive(Clone, Debug)]
pub struct Persona {
    /// How it was called.
    pub arguments: PortsentryArguments,
    /// The name of this instance: `ps-atcp`, `ps-stealth`.
    pub instance: String,
    /// The old configuration, and where it is.
    pub portsentry: PortsentryConfig,
    /// The file that it was read from.
    pub file: PathBuf,
    /// What is done about whom.
    pub responses: Responses,
    /// What a person should know of the files, in the order of finding.
    pub diagnostics: Vec<Diagnostic>,
    /// The same where no line can be named.
    pub remarks: Vec<String>,
    /// Ports that could not be opened at the start (connect modes).
    pub unopened: Vec<Unopened>,
    /// The ignore file as it was read.
    ignore_file: Option<FileState>,
    /// And as it was found last.
    ignore_file_found: Option<FileState>,
}

/// By what a file that was written anew is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl FileState {
    /// `None` where there is no such file.
    fn of(path: &Path) -> Option<FileState> {
        let data = fs::metadata(path).ok()?;
        let changed = (data.ctime(), data.ctime_nsec());
        Some(FileState { device: data.dev(), inode: data.ino(), size: data.len(), changed })
    }
}

impl Persona {
    /// Reads the old files and makes a plan of them.
    ///
    /// # Errors
    /// What stands in the way of a start.
    pub fn plan(arguments: &PortsentryArguments) -> Result<Plan, Faults> {
        let file = arguments.configuration_or_default(Path::exists);
        let reading = read_file(&file, Some(arguments.dialect)).map_err(|fault| Faults(vec![*fault]))?;
        let is_usable = reading.is_usable();
        let (portsentry, mut diagnostics) = (reading.config, reading.diagnostics);
        if !is_usable {
            let faults = diagnostics.into_iter().filter(|own| own.weight == Weight::Fault);
            return Err(Faults(faults.map(|own| own.fault).collect()));
        }
        let [mode_tcp, mode_udp] = mode_words(arguments);
        let responses = Responses::of(&portsentry, mode_tcp, mode_udp);
        let mut remarks: Vec<String> = Responses::without_target(&portsentry)
            .into_iter()
            .map(|key| format!("No target variable specified in {key} option. Skipping."))
            .collect();
        let (tcp, udp) = ports(arguments, &portsentry, &file)?;
        // Before it is read: what changes in between is read again.
        let ignore_file = portsentry.ignore_file.as_deref().and_then(FileState::of);
        let ignored = ignored(&portsentry, &mut diagnostics, &mut remarks)?;
        let instance = instance(arguments);
        let config = config(arguments, &portsentry, &responses, tcp, udp, ignored, &instance);
        let names = Names {
            table: format!("{TABLE}-{instance}"),
            store: config.record.state.join(format!("{instance}.db")),
        };
        let persona = Persona {
            arguments: arguments.clone(),
            instance,
            portsentry,
            file: file.clone(),
            responses,
            diagnostics,
            remarks,
            unopened: Vec::new(),
            ignore_file,
            ignore_file_found: ignore_file,
        };
        let doors = DoorPlan::default();
        Ok(Plan {
            config,
            files: vec![file],
            mode_of_run: None,
            names,
            doors,
            persona: Some(persona),
            knockd: None,
        })
    }

    /// What a person should know of the files, a line each.
    pub fn odd(&self) -> impl Iterator<Item = String> {
        let diagnostics = self.diagnostics.iter().map(Diagnostic::on_one_line);
        diagnostics.chain(self.remarks.iter().map(|remark| one_line(remark)))
    }

    /// How the engine judges.
    #[must_use]
    pub fn judging(&self) -> singly::Settings {
        let is_told_after_a_drop = self.arguments.dialect == Dialect::Two;
        singly::Settings {
            enough: self.portsentry.scan_trigger,
            sources: SOURCES,
            blocks_tcp: self.responses.blocks(Protocol::Tcp),
            blocks_udp: self.responses.blocks(Protocol::Udp),
            // 1.x read its sockets behind the packet filter, and heard no more of whom that dropped; 2.x did.
            tells_blocked: is_told_after_a_drop || !self.responses.drops_incoming(),
        }
    }

    /// Whether the ignore file has changed since it was read, and is at rest since it was last asked about here: who
    /// has written half of it, or has moved it away to put another in its place, takes nobody's protection.
    pub fn is_ignore_file_changed(&mut self) -> bool {
        let now = self.portsentry.ignore_file.as_deref().and_then(FileState::of);
        let is_at_rest = std::mem::replace(&mut self.ignore_file_found, now) == now;
        is_at_rest && std::mem::replace(&mut self.ignore_file, now) != now
    }

    /// Whether another ignore file stands there than the one that was read, at rest or not: for the start, which has
    /// just made it itself.
    #[must_use]
    pub fn is_ignore_file_another(&self) -> bool {
        self.portsentry.ignore_file.as_deref().and_then(FileState::of) != self.ignore_file
    }

    /// Whom the ignore file names now, and what is odd about it. Nothing else is read again: the rest of the
    /// configuration may be half-edited.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn ignored_now(&self) -> Result<(Vec<Prefix>, Vec<Diagnostic>), Faults> {
        let Some(path) = &self.portsentry.ignore_file else { return Ok((Vec::new(), Vec::new())) };
        let bytes = fs::read(path).map_err(|error| {
            let message = format!("the ignore file cannot be read: {error}");
            Faults(vec![Fault::of_file(path, message, "make it; an empty one ignores nobody")])
        })?;
        let (entries, diagnostics) = read_ignore(path, &decode(&bytes), self.portsentry.dialect);
        Ok((entries.into_iter().map(|entry| entry.prefix).collect(), diagnostics))
    }

    /// The keys whose values hold from start to end, and are others in `new`: what they name is opened once.
    #[must_use]
    pub fn needs_restart(&self, new: &Persona) -> Vec<&'static str> {
        let (old, new) = (&self.portsentry, &new.portsentry);
        let opens = self.opens(Protocol::Tcp);
        [
            ("HISTORY_FILE", old.history_file != new.history_file),
            ("BLOCKED_FILE", old.blocked_file != new.blocked_file),
            ("RESOLVE_HOST", old.resolve_host != new.resolve_host),
            ("PORT_BANNER", opens && old.port_banner != new.port_banner),
        ]
        .into_iter()
        .filter_map(|(key, is_other)| is_other.then_some(key))
        .collect()
    }

    /// Brings an ignore file that init scripts made up to date with the host; that it has changed is noticed like any
    /// other change. What went wrong comes back, for the journal.
    #[must_use]
    pub fn refresh_ignore_file(&self, surroundings: &Surroundings) -> Vec<String> {
        let Some(path) = &self.portsentry.ignore_file else { return Vec::new() };
        let Local::Addresses(addresses) = &surroundings.local else { return Vec::new() };
        let those = |why| -> Vec<IpAddr> {
            let friends = surroundings.friends.iter().filter(|friend| friend.why == why);
            friends.map(|friend| friend.prefix.address()).collect()
        };
        let own = OwnAddresses {
            addresses: addresses.iter().copied().collect(),
            gateways: those(Protection::Gateway),
            nameservers: those(Protection::Resolver),
        };
        match refresh_ignore(path, &own) {
            Ok(refreshed) => refreshed.diagnostics.iter().map(Diagnostic::to_string).collect(),
            Err(fault) => vec![fault.to_string()],
        }
    }

    /// The two ends of the errands: the slow path's, and the fast path's.
    #[must_use]
    pub fn errands(&self, names: &Names, stored: &Stored) -> (Errands, hands::Errands) {
        let (queue, fetched) = mpsc::channel(hands::WAITING);
        let effects = stored.effects.iter().cloned().collect();
        let hosts_deny = HostsDeny::new(PathBuf::from(HOSTS_DENY), Path::new(RUN).join(HOSTS_DENY_LOCK));
        let responses = self.responses.clone();
        let errands =
            Errands::new(responses.clone(), hosts_deny, names.table.clone(), boot(), effects, fetched);
        (errands, hands::Errands { responses, queue, refused: 0 })
    }

    /// Makes `held`, what the kernel's sets hold, to what is in force: our sets do not show what commands have done, and
    /// a source whose commands an earlier run did not come to is not done with. Whoever stands in a blocked file
    /// and in no store was blocked by PortSentry itself, and is left as he is.
    #[must_use]
    pub fn in_force(
        &self,
        held: Vec<Found>,
        stored: &Stored,
        blocked_before: &BTreeSet<IpAddr>,
        now: Now,
    ) -> Vec<Found> {
        let boot = boot();
        let effects: HashMap<Prefix, &Effects> =
            stored.effects.iter().map(|(prefix, effects)| (*prefix, effects)).collect();
        let nothing = Effects::default();
        let mut in_force: BTreeMap<Prefix, Option<Duration>> =
            held.into_iter().map(|found| (found.prefix, found.remaining)).collect();
        let mut known = BTreeSet::new();
        for (ban, length) in &stored.bans {
            known.insert(ban.prefix);
            let (prefix, address) = (ban.prefix, ban.prefix.address());
            let left = match (ban.until, length) {
                (Until::At(end), Some(length)) => Some(end.since(now.wall).min(*length)),
                _ => None,
            };
            let (protocol, port) = match ban.cause {
                Cause::Probe { protocol, port, .. } => (protocol, port),
                // As it was found: whoever shut it out has not been asked then either.
                Cause::FoundInForce => {
                    in_force.entry(prefix).or_insert(left);
                    continue;
                }
                _ => continue,
            };
            let done = effects.get(&prefix).copied().unwrap_or(&nothing);
            let responses = self.responses.about(protocol, address, port);
            let mut beside_our_set = responses.iter().filter(|own| **own != Response::Set);
            let is_done = beside_our_set.all(|own| own.is_done(done, &boot));
            let uses_set = self.responses.uses_set(protocol, address);
            if !is_done {
                in_force.remove(&prefix);
            } else if !uses_set {
                in_force.insert(prefix, left);
            }
        }
        let by_portsentry = blocked_before.iter().map(|address| Prefix::single(*address));
        for prefix in by_portsentry.filter(|prefix| !known.contains(prefix)) {
            in_force.entry(prefix).or_insert(None);
        }
        in_force.into_iter().map(|(prefix, remaining)| Found::banned(prefix, remaining)).collect()
    }

    /// A reboot has ended what others had in force: those bans are over, and their hosts begin anew, as with PortSentry.
    pub fn end_what_a_reboot_undid(&self, stored: &mut Stored) {
        let Some(boot) = booted_at() else { return };
        let boot = Wall(Duration::from_secs(boot.unsigned_abs()));
        let is_gone = |ban: &Ban| ban.cause == Cause::FoundInForce && ban.since < boot;
        for (ban, length) in stored.bans.iter_mut().filter(|(ban, _)| is_gone(ban)) {
            (ban.until, *length) = (Until::At(ban.since), Some(Duration::ZERO));
        }
    }

    /// Whose ban ended while nobody ran, as far as traces of it may be left.
    #[must_use]
    pub fn ended(&self, stored: &Stored, now: Now) -> BTreeSet<Prefix> {
        let holds = |until: Until| match until {
            Until::Ever => true,
            Until::At(end) => !end.since(now.wall).is_zero(),
        };
        let held: BTreeSet<Prefix> =
            stored.bans.iter().filter(|(ban, _)| holds(ban.until)).map(|(ban, _)| ban.prefix).collect();
        let over = stored.bans.iter().map(|(ban, _)| ban.prefix);
        let traces = stored.effects.iter().map(|(prefix, _)| *prefix);
        let past = stored.past.iter().map(|(prefix, _)| *prefix);
        over.chain(traces).chain(past).filter(|prefix| !held.contains(prefix)).collect()
    }

    /// Whether hosts in the blocked file of a mode (`None` is 2.x) may be shut out now: if this configuration blocks
    /// at all, and the file was written since the machine was started. What commands did before that is gone.
    #[must_use]
    pub fn has_blocked_since_boot(&self, mode: Option<StartMode>) -> bool {
        let Some(base) = &self.portsentry.blocked_file else { return false };
        let blocks = |protocol| self.responses.blocks(protocol);
        let (blocks, path) = match mode {
            Some(mode) => {
                let protocol = if mode.is_tcp() { Protocol::Tcp } else { Protocol::Udp };
                (blocks(protocol), blocked_path(base, mode))
            }
            None => (blocks(Protocol::Tcp) || blocks(Protocol::Udp), base.clone()),
        };
        let written = fs::metadata(path).map_or(0, |data| data.mtime());
        blocks && booted_at().is_some_and(|boot| written >= boot)
    }

    /// Whether the ports of this transport are opened rather than watched on the wire.
    #[must_use]
    pub fn opens(&self, protocol: Protocol) -> bool {
        self.arguments.is_connect || matches!(self.mode(protocol), Some(StartMode::Tcp | StartMode::Udp))
    }

    /// The mode of 1.x that watches this transport.
    #[must_use]
    pub fn mode(&self, protocol: Protocol) -> Option<StartMode> {
        let is_tcp = protocol == Protocol::Tcp;
        self.arguments.modes.iter().copied().find(|mode| mode.is_tcp() == is_tcp)
    }
}

/// The kernel's name of this boot (random(4)); empty where it does not tell, which is as good as one more boot.
fn boot() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    name.trim().to_owned()
}

/// When this boot began, in seconds since 1970 (proc_stat(5), `btime`).
fn booted_at() -> Option<i64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// Whether nothing is watched on the wire, and the right to do so not needed.
fn opens_all(arguments: &PortsentryArguments) -> bool {
    let opens = |mode: &StartMode| matches!(mode, StartMode::Tcp | StartMode::Udp);
    match arguments.dialect {
        Dialect::One => arguments.modes.iter().all(opens),
        Dialect::Two => arguments.is_connect,
    }
}

/// What `$MODE$` becomes for TCP and for UDP events.
fn mode_words(arguments: &PortsentryArguments) -> [&'static str; 2] {
    let word = |is_tcp: bool| {
        let mode = arguments.modes.iter().find(|mode| mode.is_tcp() == is_tcp);
        mode.map_or("", |mode| mode.word())
    };
    match arguments.dialect {
        Dialect::One => [word(true), word(false)],
        Dialect::Two if arguments.is_connect => ["connect"; 2],
        Dialect::Two => ["stealth"; 2],
    }
}

/// `ps-atcp`, `ps-stcp-sudp`, `ps-stealth`, `ps-connect`; the same in whichever order the modes were said.
fn instance(arguments: &PortsentryArguments) -> String {
    let words: Vec<&str> = match arguments.dialect {
        Dialect::One => mode_words(arguments).into_iter().filter(|word| !word.is_empty()).collect(),
        Dialect::Two => vec![mode_words(arguments)[0]],
    };
    format!("ps-{}", words.join("-"))
}

/// The ports to watch.
fn ports(
    arguments: &PortsentryArguments,
    portsentry: &PortsentryConfig,
    file: &Path,
) -> Result<(PortSet, PortSet), Faults> {
    let mut faults = Vec::new();
    let mut list = |name: &str, list: &Option<PortSet>| match list {
        Some(list) if list.count() > 0 => list.clone(),
        _ => {
            let message = format!("{name} names no port, and this mode watches nothing else");
            let mend = format!("write {name}=\"1,11,15,79,111\" or the ports that you want watched");
            faults.push(Fault::of_file(file, message, mend));
            PortSet::default()
        }
    };
    let (mut tcp, mut udp) = (PortSet::default(), PortSet::default());
    for mode in &arguments.modes {
        match mode {
            StartMode::Tcp | StartMode::Stcp => tcp = list("TCP_PORTS", &portsentry.tcp_ports),
            StartMode::Udp | StartMode::Sudp => udp = list("UDP_PORTS", &portsentry.udp_ports),
            StartMode::Atcp => tcp = portsentry.advanced_tcp(),
            StartMode::Audp => udp = portsentry.advanced_udp(),
        }
    }
    if arguments.dialect == Dialect::Two {
        tcp = portsentry.tcp_ports.clone().unwrap_or_default();
        udp = portsentry.udp_ports.clone().unwrap_or_default();
    }
    if faults.is_empty() { Ok((tcp, udp)) } else { Err(Faults(faults)) }
}

/// Whom the ignore file names. 2.x did not start without the file that it was told of.
fn ignored(
    portsentry: &PortsentryConfig,
    diagnostics: &mut Vec<Diagnostic>,
    remarks: &mut Vec<String>,
) -> Result<Vec<Prefix>, Faults> {
    let Some(path) = &portsentry.ignore_file else { return Ok(Vec::new()) };
    match fs::read(path) {
        Ok(bytes) => {
            let (entries, of_file) = read_ignore(path, &decode(&bytes), portsentry.dialect);
            diagnostics.extend(of_file);
            Ok(entries.into_iter().map(|entry| entry.prefix).collect())
        }
        Err(error) => {
            let message = format!("the ignore file cannot be read: {error}");
            let mend = "make it (an empty one ignores nobody), or take IGNORE_FILE out";
            let is_needed = portsentry.dialect == Dialect::Two && !is_made_at_the_start(path);
            if is_needed || error.kind() != ErrorKind::NotFound {
                return Err(Faults(vec![Fault::of_file(path, message, mend)]));
            }
            let path = path.display();
            remarks.push(format!(
                "cannot open ignore file: {path}: nobody is ignored but this host, its gateways and its resolvers"
            ));
            Ok(Vec::new())
        }
    }
}

fn config(
    arguments: &PortsentryArguments,
    portsentry: &PortsentryConfig,
    responses: &Responses,
    tcp: PortSet,
    udp: PortSet,
    ignored: Vec<Prefix>,
    instance: &str,
) -> Config {
    let mut config = Config::default();
    config.watch.tcp = tcp;
    config.watch.udp = udp;
    config.watch.engine = if opens_all(arguments) { EngineChoice::Listen } else { EngineChoice::Ring };
    if let Interfaces::Named(names) = &arguments.interfaces {
        config.watch.interfaces.clone_from(names);
    }
    let blocks = responses.blocks(Protocol::Tcp) || responses.blocks(Protocol::Udp);
    config.respond.mode = if blocks { Mode::Enforce } else { Mode::Observe };
    config.respond.ban = portsentry.block_time;
    config.respond.growth = 1.0;
    config.respond.ban_max = portsentry.block_time.unwrap_or(config.respond.ban_max);
    config.protect.allow = ignored;
    let (run, state) = match &arguments.state {
        Some(directory) => (directory.clone(), directory.clone()),
        None => (PathBuf::from(RUN), PathBuf::from(STATE)),
    };
    config.record.state = state;
    config.control.socket = run.join(format!("{instance}.sock"));
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::portsentry::{Asked, parse};

    fn plan(text: &str, words: &str) -> Result<Plan, Faults> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("portsentry.conf");
        fs::write(&file, text).unwrap();
        let mut words: Vec<_> = words.split_whitespace().map(Into::into).collect();
        words.extend(["-c".into(), file.into_os_string()]);
        let Ok(Asked::Start(arguments)) = parse(&words) else { panic!("{words:?}") };
        Persona::plan(&arguments)
    }

    const FILES: &str = "HISTORY_FILE=\"/h\"\nBLOCKED_FILE=\"/b\"\nIGNORE_FILE=\"/no/such/file\"\n";

    #[test]
    fn what_only_tells_ends_no_block_of_before() {
        let told = plan(&format!("{FILES}TCP_PORTS=\"1,7\"\nBLOCK_TCP=\"0\"\n"), "-stcp").unwrap();
        assert_eq!(told.mode(None).0, Mode::Observe, "as status says");
        let settings = told.settings(Mode::Observe);
        assert_eq!(settings.mode, Mode::Enforce);
        assert!(settings.singly.is_some_and(|singly| !singly.blocks_tcp && !singly.blocks_udp));
        let blocking = plan(&format!("{FILES}TCP_PORTS=\"1,7\"\nBLOCK_TCP=\"1\"\n"), "-stcp").unwrap();
        assert_eq!(blocking.settings(Mode::Observe).mode, Mode::Observe, "said by hand");
    }

    #[test]
    fn instances_have_names_of_their_own() {
        let text = format!("{FILES}TCP_PORTS=\"1\"\nUDP_PORTS=\"7\"\n");
        for (words, instance) in
            [("-stcp -sudp", "ps-stcp-sudp"), ("-atcp", "ps-atcp"), ("--connect", "ps-connect")]
        {
            let plan = plan(&text, words);
            let Ok(plan) = plan else {
                assert_eq!(words, "--connect");
                continue;
            };
            assert_eq!(plan.names.table, format!("portcullis-{instance}"));
            assert_eq!(plan.names.store, Path::new(STATE).join(format!("{instance}.db")));
        }
    }

    #[test]
    fn a_mode_without_ports_does_not_start_and_says_what_to_write() {
        let faults = plan(FILES, "-stcp").unwrap_err().to_string();
        assert!(faults.contains("TCP_PORTS") && faults.contains("write TCP_PORTS="), "{faults}");
        assert!(plan(FILES, "-atcp").is_ok(), "1024 is the documented default");
    }
}
