//! Reader of portsentry.conf, both dialects. It reads what PortSentry read, also what it silently passed over where
//! only one thing can have been meant, and says so; nothing is silently different.

mod commands;
mod explain;
mod ignore;
mod ignore_build;
mod keys;
mod lines;
mod modes;
mod own;
mod ports;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::net::PortSet;
use serde::Serialize;

use super::fault::Fault;
use crate::escape::printable;

pub use self::commands::{MissingProgram, is_packet_filter, missing_programs, programs};
pub use self::explain::{Explanation, explain};
pub use self::ignore::{IgnoreEntry, read_ignore};
pub use self::ignore_build::{
    OwnAddresses, RefreshOutcome, Refreshed, debian, is_made_at_the_start, made_from_line, red_hat,
    refresh_ignore, static_part,
};
pub use self::keys::{KeyName, read};
pub use self::lines::decode;
pub use self::modes::{StartMode, StartModes, is_modes, read_modes, start_modes};

/// Which PortSentry a file was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// 1.0 to 1.2: one process a mode, advanced modes.
    One,
    /// 2.x: ranges, IPv6, optional files.
    Two,
}

impl Dialect {
    /// As messages call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dialect::One => "PortSentry 1.x",
            Dialect::Two => "PortSentry 2.x",
        }
    }
}

/// `BLOCK_TCP`, `BLOCK_UDP`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockMode {
    /// 0: log, and nothing else.
    #[default]
    LogOnly,
    /// 1: every response.
    Respond,
    /// 2: only `KILL_RUN_CMD`.
    CommandOnly,
}

/// `KILL_ROUTE_BY`, a key of ours: what becomes of a `KILL_ROUTE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KillRouteBy {
    /// It is run as written.
    #[default]
    Command,
    /// If it is one that only shuts an address out ([`is_packet_filter`]), our own nftables set does that in its
    /// place; any other is run as written.
    Nftables,
}

/// What a portsentry.conf says; a key that is absent has the original's default.
#[derive(Clone, Debug, PartialEq)]
pub struct PortsentryConfig {
    /// Which PortSentry the file was read as.
    pub dialect: Dialect,
    /// `TCP_PORTS`; `None` where absent.
    pub tcp_ports: Option<PortSet>,
    /// `UDP_PORTS`; `None` where absent.
    pub udp_ports: Option<PortSet>,
    /// `ADVANCED_PORTS_TCP`: the advanced mode watches the ports below it.
    pub advanced_ports_tcp: u32,
    /// `ADVANCED_PORTS_UDP`, likewise.
    pub advanced_ports_udp: u32,
    /// `ADVANCED_EXCLUDE_TCP`: left out of the advanced mode.
    pub advanced_exclude_tcp: PortSet,
    /// `ADVANCED_EXCLUDE_UDP`, likewise.
    pub advanced_exclude_udp: PortSet,
    /// `IGNORE_FILE`.
    pub ignore_file: Option<PathBuf>,
    /// `HISTORY_FILE`.
    pub history_file: Option<PathBuf>,
    /// `BLOCKED_FILE`, without the suffix that 1.x appends.
    pub blocked_file: Option<PathBuf>,
    /// `RESOLVE_HOST`.
    pub resolve_host: bool,
    /// `BLOCK_TCP`.
    pub block_tcp: BlockMode,
    /// `BLOCK_UDP`.
    pub block_udp: BlockMode,
    /// `KILL_ROUTE`, as written.
    pub kill_route: Option<String>,
    /// `KILL_HOSTS_DENY`, as written.
    pub kill_hosts_deny: Option<String>,
    /// `KILL_RUN_CMD`, as written.
    pub kill_run_cmd: Option<String>,
    /// `KILL_RUN_CMD_FIRST`: whether that command runs before the block.
    pub kill_run_cmd_first: bool,
    /// `SCAN_TRIGGER`: 0 and 1 react to the first event, n to the n-th.
    pub scan_trigger: u32,
    /// `PORT_BANNER`, sent as written.
    pub port_banner: Option<String>,
    /// `BLOCK_TIME`, ours: when a block ends; `None` is never, as with PortSentry.
    pub block_time: Option<Duration>,
    /// `KILL_ROUTE_BY`, ours.
    pub kill_route_by: KillRouteBy,
    /// The line of each key that the file has.
    pub lines: BTreeMap<KeyName, usize>,
}

impl PortsentryConfig {
    /// What holds where a file says nothing.
    #[must_use]
    pub fn empty(dialect: Dialect) -> PortsentryConfig {
        PortsentryConfig {
            dialect,
            tcp_ports: None,
            udp_ports: None,
            advanced_ports_tcp: 1024,
            advanced_ports_udp: 1024,
            advanced_exclude_tcp: PortSet::default(),
            advanced_exclude_udp: PortSet::default(),
            ignore_file: None,
            history_file: None,
            blocked_file: None,
            resolve_host: false,
            block_tcp: BlockMode::LogOnly,
            block_udp: BlockMode::LogOnly,
            kill_route: None,
            kill_hosts_deny: None,
            kill_run_cmd: None,
            kill_run_cmd_first: false,
            scan_trigger: 0,
            port_banner: None,
            block_time: None,
            kill_route_by: KillRouteBy::default(),
            lines: BTreeMap::new(),
        }
    }

    /// Whether our own nftables set does what `KILL_ROUTE` would do.
    #[must_use]
    pub fn replaces_kill_route(&self) -> bool {
        self.kill_route_by == KillRouteBy::Nftables
            && self.kill_route.as_ref().is_some_and(|command| is_packet_filter(command))
    }

    /// The ports that 1.x watches with `-atcp`.
    #[must_use]
    pub fn advanced_tcp(&self) -> PortSet {
        below(self.advanced_ports_tcp).without(&self.advanced_exclude_tcp)
    }

    /// The ports that 1.x watches with `-audp`.
    #[must_use]
    pub fn advanced_udp(&self) -> PortSet {
        below(self.advanced_ports_udp).without(&self.advanced_exclude_udp)
    }
}

fn below(end: u32) -> PortSet {
    match end.checked_sub(1) {
        None => PortSet::default(),
        Some(last) => PortSet::from_ranges([(0, u16::try_from(last).unwrap_or(u16::MAX))]),
    }
}

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// For knowing; the value is used as PortSentry used it.
    Note,
    /// Only one thing can be meant, so it is read; PortSentry did not.
    Repaired,
    /// Used as written, though it will hardly do what was meant.
    Doubtful,
    /// A part has no meaning and is left out; the rest is used.
    LeftOut,
    /// The key has no usable value; start only if it is mended.
    Fault,
}

/// Something to know about a line of an old file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How much it matters.
    pub weight: Weight,
    /// Where, what and how to mend it.
    #[serde(flatten)]
    pub fault: Fault,
}

impl Weight {
    fn word(self) -> &'static str {
        match self {
            Weight::Note => "note",
            Weight::Repaired => "read as meant",
            Weight::Doubtful => "doubtful",
            Weight::LeftOut => "left out",
            Weight::Fault => "fault",
        }
    }
}

impl Diagnostic {
    /// For a log: without the line that it is about, whose place it names.
    #[must_use]
    pub fn on_one_line(&self) -> String {
        let Fault { path, line, message, mend, .. } = &self.fault;
        let place = if *line > 0 { format!(":{line}") } else { String::new() };
        let mend = if mend.is_empty() { String::new() } else { format!("; {mend}") };
        let text = format!("{}{place}: {}: {message}{mend}", path.display(), self.weight.word());
        printable(&text)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.weight.word();
        let message = format!("{word}: {}", self.fault.message);
        Fault { message, ..self.fault.clone() }.fmt(f)
    }
}

/// A portsentry.conf, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What it says.
    pub config: PortsentryConfig,
    /// What is to be known about it, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Reading {
    /// Whether nothing stands in the way of starting with it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.diagnostics.iter().all(|diagnostic| diagnostic.weight < Weight::Fault)
    }
}

/// Whether a file is a portsentry.conf rather than one of ours: a line begins with one of its keys.
#[must_use]
pub fn is_portsentry(bytes: &[u8]) -> bool {
    decode(bytes).lines().any(|line| {
        let key: &str = line.trim_start();
        let end = key.find(|c: char| !(c.is_ascii_alphabetic() || c == '_')).unwrap_or(key.len());
        KeyName::of(&key[..end].to_ascii_uppercase()).is_some()
            && key[end..].trim_start().starts_with(['=', '"', '“', '”', '\''])
    })
}

/// Reads the portsentry.conf at `path`; without a `dialect` it is told by its content.
///
/// # Errors
/// The file cannot be read, or is larger than 1 MiB.
pub fn read_file(path: &Path, dialect: Option<Dialect>) -> Result<Reading, Box<Fault>> {
    let bytes = super::toml::read_bytes(path)?;
    Ok(read(path, &decode(&bytes), dialect))
}
