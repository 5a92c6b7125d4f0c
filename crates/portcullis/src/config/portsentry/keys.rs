//! Keys of portsentry.conf, read into a [`PortsentryConfig`].

use std::path::{Path, PathBuf};

use super::lines::{Entry, Lines};
use super::{BlockMode, Dialect, PortsentryConfig, Reading, Weight, own, ports};

/// A key of portsentry.conf.
#[expect(
    missing_docs,
    reason = "each is the key of the same name, explained at its field in PortsentryConfig"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyName {
    BlockTcp,
    BlockUdp,
    ResolveHost,
    ScanTrigger,
    KillRoute,
    KillHostsDeny,
    KillRunCmd,
    KillRunCmdFirst,
    BlockedFile,
    HistoryFile,
    IgnoreFile,
    TcpPorts,
    UdpPorts,
    PortBanner,
    AdvancedPortsTcp,
    AdvancedPortsUdp,
    AdvancedExcludeTcp,
    AdvancedExcludeUdp,
    BlockTime,
    KillRouteBy,
}

impl KeyName {
    /// Every key; those of both dialects first, in the order in which 2.x looks for abbreviations (PortSentry 2.0.7,
    /// measured), then those of 1.x, then our own.
    pub const ALL: [KeyName; 20] = [
        KeyName::BlockTcp,
        KeyName::BlockUdp,
        KeyName::ResolveHost,
        KeyName::ScanTrigger,
        KeyName::KillRoute,
        KeyName::KillHostsDeny,
        KeyName::KillRunCmd,
        KeyName::KillRunCmdFirst,
        KeyName::BlockedFile,
        KeyName::HistoryFile,
        KeyName::IgnoreFile,
        KeyName::TcpPorts,
        KeyName::UdpPorts,
        KeyName::PortBanner,
        KeyName::AdvancedPortsTcp,
        KeyName::AdvancedPortsUdp,
        KeyName::AdvancedExcludeTcp,
        KeyName::AdvancedExcludeUdp,
        KeyName::BlockTime,
        KeyName::KillRouteBy,
    ];

    /// As the file writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KeyName::BlockTcp => "BLOCK_TCP",
            KeyName::BlockUdp => "BLOCK_UDP",
            KeyName::ResolveHost => "RESOLVE_HOST",
            KeyName::ScanTrigger => "SCAN_TRIGGER",
            KeyName::KillRoute => "KILL_ROUTE",
            KeyName::KillHostsDeny => "KILL_HOSTS_DENY",
            KeyName::KillRunCmd => "KILL_RUN_CMD",
            KeyName::KillRunCmdFirst => "KILL_RUN_CMD_FIRST",
            KeyName::BlockedFile => "BLOCKED_FILE",
            KeyName::HistoryFile => "HISTORY_FILE",
            KeyName::IgnoreFile => "IGNORE_FILE",
            KeyName::TcpPorts => "TCP_PORTS",
            KeyName::UdpPorts => "UDP_PORTS",
            KeyName::PortBanner => "PORT_BANNER",
            KeyName::AdvancedPortsTcp => "ADVANCED_PORTS_TCP",
            KeyName::AdvancedPortsUdp => "ADVANCED_PORTS_UDP",
            KeyName::AdvancedExcludeTcp => "ADVANCED_EXCLUDE_TCP",
            KeyName::AdvancedExcludeUdp => "ADVANCED_EXCLUDE_UDP",
            KeyName::BlockTime => "BLOCK_TIME",
            KeyName::KillRouteBy => "KILL_ROUTE_BY",
        }
    }

    /// The key that is written so.
    #[must_use]
    pub fn of(name: &str) -> Option<KeyName> {
        KeyName::ALL.into_iter().find(|key| key.name() == name)
    }

    /// The key that 2.x takes an abbreviation for: the first that begins so.
    pub(super) fn abbreviated(text: &str) -> Option<KeyName> {
        let known_to_two = &KeyName::ALL[..14];
        known_to_two.iter().copied().find(|key| !text.is_empty() && key.name().starts_with(text))
    }

    /// Whether only 1.x has it.
    #[must_use]
    pub fn is_of_one_only(self) -> bool {
        self.name().starts_with("ADVANCED")
    }

    /// Whether no PortSentry has it: 1.x passes over it, 2.x does not start with it.
    #[must_use]
    pub fn is_ours(self) -> bool {
        matches!(self, KeyName::BlockTime | KeyName::KillRouteBy)
    }

    /// Whether its value is a list of ports.
    pub(super) fn is_list(self) -> bool {
        matches!(
            self,
            KeyName::TcpPorts | KeyName::UdpPorts | KeyName::AdvancedExcludeTcp | KeyName::AdvancedExcludeUdp
        )
    }
}

/// Reads `text`, which stands in the file at `path`; without a `dialect` it is told by the content.
#[must_use]
pub fn read(path: &Path, text: &str, dialect: Option<Dialect>) -> Reading {
    let dialect = dialect.unwrap_or_else(|| guess(path, text));
    let mut lines = Lines::new(path, text, dialect);
    let entries = lines.entries();
    let mut config = PortsentryConfig::empty(dialect);
    for entry in winners(&mut lines, entries) {
        config.lines.insert(entry.key, lines.source.place(entry.key_span.start).0);
        value(&mut lines, &mut config, &entry);
    }
    mandatory(&mut lines, &config);
    if lines.more > 0 {
        let says = format!("{} more is to be said of this file", lines.more);
        lines.say_of_file(Weight::Note, says, "mend what is said above first");
    }
    let mut diagnostics = lines.diagnostics;
    diagnostics.sort_by_key(|(at, _)| *at);
    Reading { config, diagnostics: diagnostics.into_iter().map(|(_, diagnostic)| diagnostic).collect() }
}

/// Which PortSentry a file is for: advanced keys are of 1.x; ranges, or files left out that 1.x insists on, of 2.x.
fn guess(path: &Path, text: &str) -> Dialect {
    let entries = Lines::new(path, text, Dialect::One).entries();
    let has = |key: KeyName| entries.iter().any(|entry| entry.key == key);
    let ranges = entries
        .iter()
        .any(|entry| matches!(entry.key, KeyName::TcpPorts | KeyName::UdpPorts) && entry.value.contains('-'));
    let files = [KeyName::IgnoreFile, KeyName::HistoryFile, KeyName::BlockedFile].into_iter().all(has);
    match entries.iter().any(|entry| entry.key.is_of_one_only()) {
        true => Dialect::One,
        false if ranges || !files => Dialect::Two,
        false => Dialect::One,
    }
}

/// One entry a key: 1.x takes the first, 2.x the last.
fn winners(lines: &mut Lines, entries: Vec<Entry>) -> Vec<Entry> {
    let mut winners: Vec<Entry> = Vec::new();
    // Counted once a key: a file may repeat one very often.
    let mut firsts: Vec<usize> = Vec::new();
    for entry in entries {
        let Some(held) = winners.iter().position(|earlier| earlier.key == entry.key) else {
            firsts.push(lines.source.place(entry.key_span.start).0);
            winners.push(entry);
            continue;
        };
        let first = firsts[held];
        let is_exact = |entry: &Entry| lines.source.text[entry.key_span.clone()] == *entry.key.name();
        if is_exact(&entry) != is_exact(&winners[held]) {
            // PortSentry knew no other spelling, so the key in its own one is what it used.
            let says = format!("{} stands in line {first} too; the one in capitals holds", entry.key.name());
            let is_better = is_exact(&entry);
            lines.say(Weight::Note, entry.key_span.clone(), says, "keep only the one in capitals");
            if is_better {
                winners[held] = entry;
            }
            continue;
        }
        let (rule, word) = match lines.dialect {
            Dialect::One => ("the first one holds", "first"),
            Dialect::Two => ("the last one holds", "last"),
        };
        let says = format!("{} stands in line {first} already; {rule}", entry.key.name());
        lines.say(Weight::Note, entry.key_span.clone(), says, format!("keep only the {word}"));
        if lines.dialect == Dialect::Two {
            winners[held] = entry;
        }
    }
    winners
}

fn value(lines: &mut Lines, config: &mut PortsentryConfig, entry: &Entry) {
    let name = entry.key.name();
    if entry.key.is_of_one_only() && lines.dialect == Dialect::Two {
        let says = format!(
            "{name} is a key of PortSentry 1.x; 2.x does not start with it, portcullis passes over it"
        );
        let mend =
            "2.x has no advanced mode: write a range less the excluded ports in TCP_PORTS or UDP_PORTS";
        lines.say(Weight::Note, entry.key_span.clone(), says, mend);
    }
    if entry.value.is_empty() && lines.dialect == Dialect::Two {
        if !entry.key.is_ours() {
            let says = format!("{name} is empty; PortSentry 2.x did not start with it. Read as absent");
            lines.say(Weight::Repaired, entry.key_span.clone(), says, "delete the line");
        }
        return;
    }
    let text = || Some(entry.value.clone()).filter(|value| !value.is_empty());
    match entry.key {
        KeyName::TcpPorts => config.tcp_ports = Some(ports::read(lines, entry)),
        KeyName::UdpPorts => config.udp_ports = Some(ports::read(lines, entry)),
        KeyName::AdvancedExcludeTcp => config.advanced_exclude_tcp = ports::read(lines, entry),
        KeyName::AdvancedExcludeUdp => config.advanced_exclude_udp = ports::read(lines, entry),
        KeyName::AdvancedPortsTcp => config.advanced_ports_tcp = number(lines, entry, 65_536, 1024),
        KeyName::AdvancedPortsUdp => config.advanced_ports_udp = number(lines, entry, 65_536, 1024),
        KeyName::IgnoreFile => config.ignore_file = file(lines, entry),
        KeyName::HistoryFile => config.history_file = file(lines, entry),
        KeyName::BlockedFile => config.blocked_file = file(lines, entry),
        KeyName::ResolveHost => config.resolve_host = switch(lines, entry),
        KeyName::KillRunCmdFirst => config.kill_run_cmd_first = switch(lines, entry),
        KeyName::BlockTcp => config.block_tcp = block(lines, entry),
        KeyName::BlockUdp => config.block_udp = block(lines, entry),
        KeyName::ScanTrigger => {
            config.scan_trigger = number(lines, entry, u32::from(u16::MAX), 0);
            if lines.dialect == Dialect::One && config.scan_trigger > 50 {
                let says = "above 50 PortSentry 1.x reacted to the first event; here the number holds";
                lines.say(Weight::Note, entry.value_span(), says, "nothing to mend for portcullis");
            }
        }
        KeyName::KillRoute => {
            target(lines, entry);
            config.kill_route = text();
        }
        KeyName::KillHostsDeny => {
            target(lines, entry);
            config.kill_hosts_deny = text();
        }
        KeyName::KillRunCmd => config.kill_run_cmd = text(),
        KeyName::PortBanner => config.port_banner = text(),
        KeyName::BlockTime => config.block_time = own::block_time(lines, entry),
        KeyName::KillRouteBy => config.kill_route_by = own::kill_route_by(lines, entry),
    }
    if matches!(entry.key, KeyName::KillRoute | KeyName::KillRunCmd | KeyName::KillHostsDeny) {
        foreign_characters(lines, entry);
        misspelt_hosts_deny(lines, entry);
    }
}

/// Dashes and quotes of word processors in a command: they are other characters than the program expects, but what
/// was meant is the administrator's to say, since a shell will run it as root.
fn foreign_characters(lines: &mut Lines, entry: &Entry) {
    let Some((place, found)) = entry.value.char_indices().find(|(_, c)| !c.is_ascii()) else { return };
    let (what, mend) = match found {
        '–' | '—' | '−' => ("a long dash", "write - (or --) as the program's manual has it"),
        '“' | '”' | '„' | '‘' | '’' => ("a typographic quote", "write a plain single quote: '"),
        '\u{a0}' => ("a blank that does not break", "write a plain blank"),
        _ => ("a character beyond ASCII", "write what the program expects"),
    };
    let says = format!(
        "{}: {what} in a command; it is run as written, and will hardly do what was meant",
        entry.key.name()
    );
    lines.say(Weight::Doubtful, entry.place(place..place + found.len_utf8()), says, mend);
}

/// A how-to that many have followed writes the file without its s.
fn misspelt_hosts_deny(lines: &mut Lines, entry: &Entry) {
    const WRONG: &str = "host.deny";
    if let Some(place) = entry.value.find(WRONG) {
        let says = "no program reads a file host.deny; it is used as written";
        let span = entry.place(place..place + WRONG.len());
        lines.say(Weight::Doubtful, span, says, "write hosts.deny");
    }
}

/// KILL_ROUTE and KILL_HOSTS_DENY are nothing without their target.
fn target(lines: &mut Lines, entry: &Entry) {
    if !entry.value.is_empty() && !entry.value.contains("$TARGET$") {
        let instead = match entry.key {
            KeyName::KillRoute => {
                "; our own nftables set blocks in its place, where PortSentry called each block failed"
            }
            _ => "",
        };
        let says = format!("{} lacks $TARGET$, so it is never used{instead}", entry.key.name());
        lines.say(Weight::Doubtful, entry.value_span(), says, "write $TARGET$ where the address belongs");
    }
}

fn file(lines: &mut Lines, entry: &Entry) -> Option<PathBuf> {
    let value = Some(entry.value.as_str()).filter(|value| !value.is_empty())?;
    if !value.starts_with('/') {
        let says = format!(
            "{} is no absolute path; where it lies depends on where the program is started",
            entry.key.name()
        );
        lines.say(Weight::Note, entry.value_span(), says, "write the whole path");
    }
    if let Some(place) = value.find([' ', '\u{a0}']) {
        let says = format!("{}: a blank in a path; it is used as written", entry.key.name());
        let mend = "take the blank out, unless the file is really called so";
        lines.say(Weight::Doubtful, entry.place(place..place + 1), says, mend);
    }
    Some(PathBuf::from(value))
}

/// The number that a value begins with, as C's `atoi` reads it; `None` is no digit at all.
fn leading_number(value: &str) -> Option<i64> {
    let value = value.trim_start();
    let (sign, digits) = match value.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, value.strip_prefix('+').unwrap_or(value)),
    };
    let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if length == 0 {
        return None;
    }
    Some(sign * digits[..length].parse::<i64>().unwrap_or(i64::MAX))
}

/// A whole number from 0 to `high`; otherwise it is said, and `default` holds.
fn number(lines: &mut Lines, entry: &Entry, high: u32, default: u32) -> u32 {
    let name = entry.key.name();
    let trimmed = entry.value.trim();
    let exact = trimmed.bytes().all(|byte| byte.is_ascii_digit());
    let found =
        leading_number(&entry.value).and_then(|number| u32::try_from(number).ok()).filter(|n| *n <= high);
    match (found, exact, lines.dialect) {
        (Some(number), true, _) => number,
        (Some(number), false, Dialect::One) => {
            let says = format!("{name} is read as {number}, as PortSentry 1.x did");
            lines.say(Weight::Note, entry.value_span(), says, format!("write {name}=\"{number}\""));
            number
        }
        _ => {
            let says = format!("{name} is no number from 0 to {high}; {default} holds");
            let weight = if lines.dialect == Dialect::One { Weight::LeftOut } else { Weight::Fault };
            lines.say(
                weight,
                entry.value_span(),
                says,
                format!("write {name}=\"{default}\" or another number"),
            );
            default
        }
    }
}

fn switch(lines: &mut Lines, entry: &Entry) -> bool {
    match (entry.value.as_str(), lines.dialect) {
        ("0", _) => false,
        ("1", _) => true,
        (value, Dialect::One) => {
            let on = leading_number(value).unwrap_or(0) != 0;
            let says = format!("{} is read as {}, as PortSentry 1.x did", entry.key.name(), u8::from(on));
            lines.say(Weight::Note, entry.value_span(), says, "write 0 or 1");
            on
        }
        (_, Dialect::Two) => {
            let says =
                format!("{} is neither 0 nor 1; PortSentry 2.x did not start with it", entry.key.name());
            lines.say(Weight::Fault, entry.value_span(), says, "write 0 or 1");
            false
        }
    }
}

fn block(lines: &mut Lines, entry: &Entry) -> BlockMode {
    let mode = |number| match number {
        Some(1) => BlockMode::Respond,
        Some(2) => BlockMode::CommandOnly,
        _ => BlockMode::LogOnly,
    };
    match (entry.value.as_str(), lines.dialect) {
        ("0" | "1" | "2", _) => mode(leading_number(&entry.value)),
        (value, Dialect::One) => {
            let read = mode(leading_number(value));
            let says = format!("{} is read as {}, as PortSentry 1.x did", entry.key.name(), read as u8);
            lines.say(
                Weight::Note,
                entry.value_span(),
                says,
                "write 0 (log), 1 (block) or 2 (only KILL_RUN_CMD)",
            );
            read
        }
        (_, Dialect::Two) => {
            let says =
                format!("{} is none of 0, 1, 2; PortSentry 2.x did not start with it", entry.key.name());
            lines.say(
                Weight::Fault,
                entry.value_span(),
                says,
                "write 0 (log), 1 (block) or 2 (only KILL_RUN_CMD)",
            );
            BlockMode::LogOnly
        }
    }
}

/// What a dialect insists on.
fn mandatory(lines: &mut Lines, config: &PortsentryConfig) {
    let files = [
        (KeyName::IgnoreFile, &config.ignore_file),
        (KeyName::HistoryFile, &config.history_file),
        (KeyName::BlockedFile, &config.blocked_file),
    ];
    if lines.dialect == Dialect::One {
        for (key, _) in files.iter().filter(|(_, value)| value.is_none()) {
            let says = format!("{} is missing; PortSentry 1.x did not start without it", key.name());
            lines.say_of_file(Weight::Note, says, format!("write {}=\"/…\" to keep such a file", key.name()));
        }
    }
    let no_port =
        |ports: &Option<portcullis_core::net::PortSet>| ports.as_ref().is_none_or(|ports| ports.is_empty());
    if no_port(&config.tcp_ports) && no_port(&config.udp_ports) {
        // The advanced modes of 1.x need no list.
        let (weight, says) = match lines.dialect {
            Dialect::One if !config.lines.is_empty() => {
                (Weight::Note, "TCP_PORTS and UDP_PORTS are missing or empty: only -atcp and -audp can start")
            }
            _ => (Weight::Fault, "no port to watch: TCP_PORTS and UDP_PORTS are missing or empty"),
        };
        lines.say_of_file(weight, says, "write TCP_PORTS=\"1,11,15,79,111\" or another list");
    }
    let responds = config.kill_route.is_some() || config.kill_hosts_deny.is_some();
    for (key, mode) in [(KeyName::BlockTcp, config.block_tcp), (KeyName::BlockUdp, config.block_udp)] {
        let lacks = match mode {
            BlockMode::LogOnly => None,
            BlockMode::Respond if responds => None,
            BlockMode::Respond => {
                Some("1, but neither KILL_ROUTE nor KILL_HOSTS_DENY is set: the packet filter blocks")
            }
            BlockMode::CommandOnly if config.kill_run_cmd.is_some() => None,
            BlockMode::CommandOnly => Some("2, but KILL_RUN_CMD is not set: nothing is done"),
        };
        if let Some(lacks) = lacks {
            let says = format!("{} is {lacks}", key.name());
            let line = config.lines.get(&key).copied().unwrap_or(1);
            let start = lines.source.text.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>();
            lines.say(
                Weight::Note,
                start..start + key.name().len(),
                says,
                "set what shall be done, or write 0",
            );
        }
    }
}
