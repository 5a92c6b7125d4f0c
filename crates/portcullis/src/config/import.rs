//! An old configuration as one of ours that does the same, with a report of what is kept, what changes and what is
//! dropped: here PortSentry's, knockd's and fwknop's in files of their own.

mod fwknop;
mod knockd;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::net::{PortSet, Prefix};
use serde::Serialize;

use super::fault::{Fault, Faults, path_as_text};
use super::portsentry::{
    self, BlockMode, Diagnostic, Dialect, IgnoreEntry, KeyName, PortsentryConfig, StartMode,
};
use super::{By, Config, Mode, Trigger, schema, toml};
use crate::escape::printable;

pub use self::fwknop::{AccessFile, FwknopImport, import_fwknop, is_fwknops};
pub use self::knockd::import_knockd;

/// What has become of a line of the old files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It means the same.
    Kept,
    /// It is done otherwise.
    Changed,
    /// It has no counterpart.
    Dropped,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fate {
    /// What has become of it.
    pub outcome: Outcome,
    /// The old file.
    #[serde(serialize_with = "path_as_text")]
    pub path: PathBuf,
    /// The line there, counted from 1; 0 where no line says it.
    pub line: usize,
    /// The old key, or what else is spoken of.
    pub what: String,
    /// What is so now, and why.
    pub why: String,
}

/// An old configuration, carried over.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// The new configuration.
    pub config: Config,
    /// The same as text, with a comment at each key that says where it comes from.
    pub toml: String,
    /// What has become of each line.
    pub report: Vec<Fate>,
    /// What was found in the old files.
    pub diagnostics: Vec<Diagnostic>,
    /// What was so before, is so now, and is worth a thought.
    pub warnings: Vec<String>,
}

impl fmt::Display for Import {
    /// The report, grouped by outcome; files by their names alone, where these differ.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut files: Vec<&Path> = self.report.iter().map(|fate| fate.path.as_path()).collect();
        files.sort_unstable();
        files.dedup();
        let name_of = |path: &Path| -> PathBuf {
            let name = path.file_name();
            let is_alone = files.iter().filter(|other| other.file_name() == name).count() == 1;
            name.filter(|_| is_alone).map_or_else(|| path.to_owned(), PathBuf::from)
        };
        for file in files.iter().filter(|file| name_of(file) != **file) {
            let (name, path) = (name_of(file), file.to_string_lossy());
            writeln!(f, "{} is {}", printable(&name.to_string_lossy()), printable(&path))?;
        }
        for (outcome, title) in
            [(Outcome::Kept, "Kept"), (Outcome::Changed, "Changed"), (Outcome::Dropped, "Dropped")]
        {
            let fates: Vec<&Fate> = self.report.iter().filter(|fate| fate.outcome == outcome).collect();
            if !fates.is_empty() {
                writeln!(f, "{title}:")?;
            }
            for fate in fates {
                let path = printable(&name_of(&fate.path).to_string_lossy());
                let place = if fate.line == 0 { path } else { format!("{path}:{}", fate.line) };
                writeln!(f, "  {place}: {}: {}", printable(&fate.what), printable(&fate.why))?;
            }
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "Warning: {}", printable(warning)))
    }
}

/// Reads old files, each told by its content: a portsentry.conf (exactly one), ignore files, and files that say the
/// modes (`/etc/default/portsentry` and the like). Without an ignore file the one that the configuration names is
/// read.
///
/// # Errors
/// A file cannot be read, or there is not exactly one portsentry.conf.
pub fn import_portsentry(files: &[PathBuf]) -> Result<Import, Faults> {
    let mut faults = Vec::new();
    let mut old = Old::default();
    for path in files {
        match toml::read_bytes(path) {
            Ok(bytes) => old.add(path, &bytes, &mut faults),
            Err(fault) => faults.push(*fault),
        }
    }
    let named = old.reading.as_ref().and_then(|(_, reading)| reading.config.ignore_file.clone());
    if let Some(named) = named.filter(|_| old.ignored.is_none()) {
        // Where there is a static part, the whole file is made from it at each start.
        let path = portsentry::static_part(&named).unwrap_or(named);
        match toml::read_bytes(&path) {
            Ok(bytes) => old.add_ignore(&path, &bytes),
            Err(fault) => old.ignore_unreadable = Some(fault.message),
        }
    }
    if old.reading.is_none() && faults.is_empty() {
        let path = files.first().map_or(Path::new("portsentry.conf"), PathBuf::as_path);
        faults.push(Fault::of_file(
            path,
            "no line of it is a setting of PortSentry, such as TCP_PORTS=\"1,11,15\"",
            "give the path of a portsentry.conf, such as /etc/portsentry/portsentry.conf",
        ));
    }
    match old.reading.take() {
        Some((path, reading)) if faults.is_empty() => Ok(Carrying::new(path, reading.config).carry(&old)),
        _ => Err(Faults(faults)),
    }
}

/// The old files, read.
#[derive(Default)]
struct Old {
    reading: Option<(PathBuf, portsentry::Reading)>,
    modes: Option<Vec<StartMode>>,
    ignored: Option<(PathBuf, Vec<IgnoreEntry>)>,
    /// Where the part of an ignore file begins that is made at each start, and how many entries it has.
    made: Vec<(PathBuf, usize, usize)>,
    ignore_unreadable: Option<String>,
    diagnostics: Vec<Diagnostic>,
}

impl Old {
    fn add(&mut self, path: &Path, bytes: &[u8], faults: &mut Vec<Fault>) {
        let text = portsentry::decode(bytes);
        if portsentry::is_portsentry(bytes) {
            if let Some((first, _)) = &self.reading {
                let says = format!("this is a second portsentry.conf beside {}", first.display());
                faults.push(Fault::of_file(path, says, "import one at a time"));
                return;
            }
            let reading = portsentry::read(path, &text, None);
            self.diagnostics.extend(reading.diagnostics.iter().cloned());
            self.reading = Some((path.to_owned(), reading));
        } else if portsentry::is_modes(&text) {
            let (modes, diagnostics) = portsentry::read_modes(path, &text);
            self.modes.get_or_insert_default().extend(modes);
            self.diagnostics.extend(diagnostics);
        } else {
            self.add_ignore(path, bytes);
        }
    }

    fn add_ignore(&mut self, path: &Path, bytes: &[u8]) {
        let dialect = self.reading.as_ref().map_or(Dialect::One, |(_, reading)| reading.config.dialect);
        let text = portsentry::decode(bytes);
        let (mut entries, diagnostics) = portsentry::read_ignore(path, &text, dialect);
        self.diagnostics.extend(diagnostics);
        if let Some(line) = portsentry::made_from_line(&text) {
            let all = entries.len();
            entries.retain(|entry| entry.line < line);
            self.made.push((path.to_owned(), line, all - entries.len()));
        }
        self.ignored.get_or_insert_with(|| (path.to_owned(), Vec::new())).1.extend(entries);
    }
}

/// The new configuration while it is made.
struct Carrying {
    path: PathBuf,
    old: PortsentryConfig,
    new: Config,
    report: Vec<Fate>,
    /// Keys to write, each with its comment.
    written: Vec<(&'static str, &'static str, String)>,
    warnings: Vec<String>,
}

impl Carrying {
    fn new(path: PathBuf, old: PortsentryConfig) -> Carrying {
        Carrying {
            path,
            old,
            new: Config::default(),
            report: Vec::new(),
            written: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn carry(mut self, old: &Old) -> Import {
        self.ports(old.modes.as_deref());
        self.judge();
        self.respond();
        self.protect(old);
        self.rest();
        Import {
            toml: self.text(),
            config: self.new,
            report: {
                self.report.sort_by_key(|fate| (fate.outcome, fate.line));
                self.report
            },
            diagnostics: old.diagnostics.clone(),
            warnings: self.warnings,
        }
    }

    /// Reports on a key, if the old file has it.
    fn tell(&mut self, outcome: Outcome, key: KeyName, why: impl Into<String>) {
        if let Some(line) = self.old.lines.get(&key).copied() {
            let path = self.path.clone();
            self.report.push(Fate { outcome, path, line, what: key.name().to_owned(), why: why.into() });
        }
    }

    fn tell_of_file(&mut self, outcome: Outcome, what: &str, why: impl Into<String>) {
        let path = self.path.clone();
        self.report.push(Fate { outcome, path, line: 0, what: what.to_owned(), why: why.into() });
    }

    fn write(&mut self, section: &'static str, key: &'static str, comment: impl Into<String>) {
        self.written.push((section, key, comment.into()));
    }

    fn ports(&mut self, modes: Option<&[StartMode]>) {
        let nothing = PortSet::default;
        let (tcp_list, udp_list) =
            (self.old.tcp_ports.clone().unwrap_or_default(), self.old.udp_ports.clone().unwrap_or_default());
        let unknown = [StartMode::Tcp, StartMode::Udp];
        let started = modes.unwrap_or(&unknown);
        let union = |tcp: bool, list: &PortSet, advanced: PortSet| {
            let of = started.iter().filter(|mode| mode.is_tcp() == tcp).map(|mode| match mode {
                StartMode::Atcp | StartMode::Audp => advanced.clone(),
                _ => list.clone(),
            });
            of.fold(nothing(), |all, some| {
                PortSet::from_ranges(all.ranges().iter().chain(some.ranges()).copied())
            })
        };
        self.new.watch.tcp = union(true, &tcp_list, self.old.advanced_tcp());
        self.new.watch.udp = union(false, &udp_list, self.old.advanced_udp());
        let has = |modes: &[StartMode]| modes.iter().any(|mode| started.contains(mode));
        let words: Vec<String> = started.iter().map(|mode| format!("-{}", mode.word())).collect();
        let words = if words.is_empty() { "no mode".to_owned() } else { words.join(" ") };
        let not_used = format!("not used with {words}");
        for (key, is_used) in [
            (KeyName::TcpPorts, has(&[StartMode::Tcp, StartMode::Stcp])),
            (KeyName::UdpPorts, has(&[StartMode::Udp, StartMode::Sudp])),
            (KeyName::AdvancedPortsTcp, has(&[StartMode::Atcp])),
            (KeyName::AdvancedExcludeTcp, has(&[StartMode::Atcp])),
            (KeyName::AdvancedPortsUdp, has(&[StartMode::Audp])),
            (KeyName::AdvancedExcludeUdp, has(&[StartMode::Audp])),
        ] {
            match is_used {
                true => self.tell(Outcome::Kept, key, "the same ports are watched"),
                false => self.tell(Outcome::Dropped, key, not_used.clone()),
            }
        }
        let mut comment = format!("Ports as PortSentry watched them with {words}.");
        if modes.is_none() && self.old.dialect == Dialect::One {
            let advanced =
                format!("tcp = \"{}\" and udp = \"{}\"", self.old.advanced_tcp(), self.old.advanced_udp());
            let why = format!(
                "no file says how PortSentry was started, so the lists of ports are taken; name it too (/etc/default/portsentry, /etc/sysconfig/portsentry or portsentry.modes), or for -atcp and -audp write {advanced}"
            );
            self.tell_of_file(Outcome::Changed, "modes", why);
            comment = format!(
                "The lists of ports, as for -tcp -udp -stcp -sudp; for -atcp and -audp write\n{advanced}."
            );
        }
        if has(&[StartMode::Tcp, StartMode::Udp]) && (modes.is_some() || self.old.dialect == Dialect::One) {
            let why = "-tcp and -udp opened their ports; portcullis opens none, and sees half-open scans too";
            self.tell_of_file(Outcome::Changed, "connect mode", why);
        }
        self.write("watch", "tcp", comment);
        self.write("watch", "udp", "");
    }

    fn judge(&mut self) {
        let old = self.old.scan_trigger;
        let trigger = old.clamp(1, 64);
        self.new.judge.trigger = Trigger::Probes(trigger);
        if old > trigger {
            let why = format!("the highest trigger is 64; it is {trigger} now");
            self.tell(Outcome::Changed, KeyName::ScanTrigger, why);
        } else if trigger == 1 {
            self.tell(Outcome::Kept, KeyName::ScanTrigger, "the first probe is a scan");
        } else {
            self.new.judge.window = Duration::from_secs(86_400);
            let why = format!(
                "{trigger} probes are a scan, as before, but within a day; PortSentry never forgot one. TCP and UDP add up"
            );
            self.tell(Outcome::Changed, KeyName::ScanTrigger, why);
        }
        self.new.judge.by = By::Trigger;
        self.write(
            "judge",
            "by",
            "PortSentry's rule; \"evidence\" finds slower scans and spares more friends.",
        );
        self.write("judge", "count", "PortSentry counts every probe, also of one port.");
        self.write("judge", "trigger", format!("SCAN_TRIGGER was {old}."));
        self.write(
            "judge",
            "window",
            if trigger == 1 { "" } else { "PortSentry had no window; this is the longest." },
        );
    }

    fn respond(&mut self) {
        let blocks =
            [(KeyName::BlockTcp, self.old.block_tcp, "tcp"), (KeyName::BlockUdp, self.old.block_udp, "udp")];
        let watched = [!self.new.watch.tcp.is_empty(), !self.new.watch.udp.is_empty()];
        let any =
            blocks.iter().zip(watched).any(|((_, mode, _), watched)| *mode == BlockMode::Respond && watched);
        self.new.respond.mode = if any { Mode::Enforce } else { Mode::Observe };
        for ((key, mode, name), watched) in blocks.into_iter().zip(watched) {
            let ports = if name == "tcp" { &mut self.new.watch.tcp } else { &mut self.new.watch.udp };
            match mode {
                _ if !watched => self.tell(Outcome::Dropped, key, format!("{name} was not watched")),
                BlockMode::Respond => self.tell(Outcome::Kept, key, "scanners are banned"),
                _ if any => {
                    let was = std::mem::take(ports);
                    let what =
                        if mode == BlockMode::LogOnly { "only logged" } else { "given to a command only" };
                    let why = format!(
                        "{name} was {what}, but one mode holds for both here, so {name} is not watched; write {name} = \"{was}\" to ban for it too"
                    );
                    match self.old.lines.contains_key(&key) {
                        true => self.tell(Outcome::Dropped, key, why),
                        false => self.tell_of_file(Outcome::Dropped, key.name(), why),
                    }
                }
                BlockMode::LogOnly => self.tell(Outcome::Kept, key, "nothing is blocked for it"),
                BlockMode::CommandOnly => {
                    self.tell(Outcome::Dropped, key, "portcullis runs no commands, so it only tells");
                }
            }
        }
        self.write("respond", "mode", "BLOCK_TCP and BLOCK_UDP.");
        self.block_time(any);
        if any && self.new.judge.trigger == Trigger::Probes(1) {
            let warning = "trigger = 1 bans at the first packet, and the sender of one packet can write any \
                           source into it: whoever wants to can have a stranger banned. With [judge] trigger = 3 \
                           or more, and count = \"ports\", a scan is still seen at once";
            self.warnings.push(warning.to_owned());
        }
        let filter = match (any, &self.old.kill_route) {
            (true, Some(command)) if portsentry::is_packet_filter(command) => Some((
                Outcome::Changed,
                "bans are made in portcullis' own nftables table; the command is not run, and what it blocked earlier stays",
            )),
            (true, Some(_)) => Some((
                Outcome::Dropped,
                "bans are made in portcullis' own nftables table; it runs no commands",
            )),
            (false, Some(_)) => Some((Outcome::Dropped, "nothing was blocked, so it was never run")),
            (_, None) => None,
        };
        if let Some((outcome, why)) = filter {
            self.tell(outcome, KeyName::KillRoute, why);
        }
        let why = if any {
            "hosts.deny is not written; the ban in the packet filter covers every service"
        } else {
            "nothing was blocked, so it was never written"
        };
        self.tell(Outcome::Dropped, KeyName::KillHostsDeny, why);
        for key in [KeyName::KillRunCmd, KeyName::KillRunCmdFirst] {
            self.tell(Outcome::Dropped, key, "portcullis runs no commands");
        }
    }

    fn block_time(&mut self, any: bool) {
        if !any {
            self.tell(Outcome::Dropped, KeyName::BlockTime, "nothing was blocked");
            self.tell(Outcome::Dropped, KeyName::KillRouteBy, "nothing was blocked");
            return;
        }
        let by = "bans are made in portcullis' own nftables table, whatever it said";
        self.tell(Outcome::Kept, KeyName::KillRouteBy, by);
        self.new.respond.ban = self.old.block_time;
        if self.old.block_time.is_some() {
            self.new.respond.growth = 1.0;
            self.write("respond", "ban", "BLOCK_TIME.");
            self.write("respond", "growth", "Every block was as long as the first.");
            self.tell(Outcome::Kept, KeyName::BlockTime, "bans last as long");
            return;
        }
        let comment =
            "A block of PortSentry never ended. \"10m\" with growth forgives those who inherit an address.";
        self.write("respond", "ban", comment);
        let why = "they have no end, as before; a time in [respond] ban gives them one";
        self.tell_of_file(Outcome::Kept, "blocks", why);
        self.tell(Outcome::Kept, KeyName::BlockTime, "bans have no end");
    }

    fn protect(&mut self, old: &Old) {
        match (&old.ignored, &old.ignore_unreadable) {
            (Some((path, entries)), _) => {
                for entry in entries {
                    let fate = self.ignored(entry);
                    self.report.push(Fate { path: path.clone(), ..fate });
                }
                let why = format!("read from {}", path.display());
                self.tell(Outcome::Kept, KeyName::IgnoreFile, why);
                let text = format!("From {}.", path.display());
                self.write("protect", "allow", text);
            }
            (None, Some(why)) => {
                let why = format!("{why}, so nobody was carried over; write them in [protect] allow");
                self.tell(Outcome::Dropped, KeyName::IgnoreFile, why);
            }
            (None, None) => {}
        }
        for (path, line, count) in &old.made {
            let why = format!(
                "{count} left out, for they are made anew at each start from this host's own addresses, which are never \
                 blocked"
            );
            let (outcome, path, what) = (Outcome::Dropped, path.clone(), "addresses from here on".to_owned());
            self.report.push(Fate { outcome, path, line: *line, what, why });
        }
        let why = "this host's addresses, its gateways and resolvers are never blocked; they need no entry";
        self.tell_of_file(Outcome::Changed, "protection", why);
    }

    fn ignored(&mut self, entry: &IgnoreEntry) -> Fate {
        let nobody = Prefix::single(std::net::Ipv4Addr::UNSPECIFIED.into());
        let (outcome, why) = if entry.prefix == nobody {
            (Outcome::Dropped, "0.0.0.0 is nobody's address; packets from it are not judged")
        } else if entry.prefix.length() == 0 {
            (
                Outcome::Dropped,
                "PortSentry took /0 for one address, here it would be everyone; write it yourself if it is meant",
            )
        } else if self.new.protect.allow.iter().any(|other| other.covers(&entry.prefix)) {
            (Outcome::Kept, "another line covers it")
        } else {
            self.new.protect.allow.push(entry.prefix);
            (Outcome::Kept, "never blocked")
        };
        Fate {
            outcome,
            path: PathBuf::new(),
            line: entry.line,
            what: entry.prefix.to_string(),
            why: why.to_owned(),
        }
    }

    fn rest(&mut self) {
        let store = "kept in the store below /var/lib/portcullis; the old file is left as it is";
        self.tell(Outcome::Changed, KeyName::HistoryFile, store);
        self.tell(Outcome::Changed, KeyName::BlockedFile, store);
        match self.old.resolve_host {
            true => self.tell(Outcome::Dropped, KeyName::ResolveHost, "names are not looked up"),
            false => self.tell(Outcome::Kept, KeyName::ResolveHost, "names are not looked up"),
        }
        self.tell(
            Outcome::Dropped,
            KeyName::PortBanner,
            "no port is opened, so there is nobody to show it to",
        );
    }

    fn text(&self) -> String {
        let mut text = format!(
            "# Made by `portcullis import portsentry` from {}.\n# Keys that are not here have their defaults.\n",
            printable(&self.path.to_string_lossy())
        );
        for section in schema::SECTIONS {
            let mut written = self.written.iter().filter(|(name, ..)| *name == section.name).peekable();
            if written.peek().is_some() {
                text += &format!("\n[{}]\n", section.name);
            }
            for (_, name, comment) in written {
                for line in comment.lines() {
                    text += &format!("# {}\n", printable(line));
                }
                let key = section.key(name).expect("only keys of the table are written");
                text += &format!("{name} = {}\n", key.written(&self.new));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests;
