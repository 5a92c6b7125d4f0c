//! Reader of knockd.conf (knockd 0.8, measured: `tests/ancestors/knockd-cases.json`). What knockd refused is a fault;
//! what it read otherwise than it was meant is said. A door that could never open is left out, and the others serve.

mod commands;
mod explain;
mod one_time;
mod read;
mod sequence;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::doors::{Flags, Step};
use super::fault::Fault;
use super::portsentry::{Diagnostic, Weight, decode};

pub use self::explain::{DoorExplained, explain};
pub use self::one_time::{OneTimeEntry, OneTimeFile, read_one_time, struck};
pub use self::read::read;

/// What a knockd.conf says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnockdConfig {
    /// `[options]`
    pub options: Options,
    /// The doors in the order of the file; two may have the same name.
    pub doors: Vec<KnockdDoor>,
}

/// `[options]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `UseSyslog`
    pub use_syslog: bool,
    /// `LogFile`; it replaces what `-g` says.
    pub log_file: Option<PathBuf>,
    /// `PidFile`, or [`Options::PID_FILE`]; written only by a daemon.
    pub pid_file: Option<PathBuf>,
    /// `Interface`, or [`Options::INTERFACE`]; `-i` outranks it.
    pub interface: Option<String>,
    /// `ScansMayOpen`, a key of ours that stands alone as `UseSyslog` does: a port scan may open doors, as with knockd.
    pub scans_may_open: bool,
    /// The line of each key that the file has, in lower case.
    pub lines: BTreeMap<&'static str, usize>,
}

impl Options {
    /// Where the process number goes unless something else is said.
    pub const PID_FILE: &str = "/var/run/knockd.pid";
    /// The interface unless something else is said.
    pub const INTERFACE: &str = "eth0";
}

/// One door.
#[derive(Clone, Debug, PartialEq)]
pub struct KnockdDoor {
    /// Its name, verbatim.
    pub name: String,
    /// The line of its header.
    pub line: usize,
    /// What opens it.
    pub knock: Knock,
    /// `Seq_Timeout`: from the first knock to the last. With 0 only a sequence of one step can be right.
    pub seq_timeout: Duration,
    /// `TCPFlags`
    pub flags: Flags,
    /// `Target`
    pub target: Option<IpAddr>,
    /// `Start_Command`; empty is none.
    pub start: String,
    /// `Start_Command_6`; `None` is as [`KnockdDoor::start`], empty is none.
    pub start_6: Option<String>,
    /// `Stop_Command`
    pub stop: String,
    /// `Stop_Command_6`
    pub stop_6: Option<String>,
    /// `Cmd_Timeout`: from the start command to the stop command.
    pub cmd_timeout: Duration,
    /// The line of each key that the file has, in lower case and by its first name.
    pub lines: BTreeMap<&'static str, usize>,
}

/// What opens a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knock {
    /// `Sequence`, with the door's flags in each step of TCP.
    Sequence(Vec<Step>),
    /// `One_Time_Sequences`: the file.
    OneTime(PathBuf),
}

impl KnockdDoor {
    /// The command that is run as it opens for `address`, `%IP%` still in it.
    #[must_use]
    pub fn start_for(&self, address: IpAddr) -> Option<&str> {
        let own = self.start_6.as_deref().filter(|_| address.is_ipv6());
        Some(own.unwrap_or(&self.start)).filter(|command| !command.is_empty())
    }

    /// The command that is run [`KnockdDoor::cmd_timeout`] later. There is none without one that starts (knockd 0.8,
    /// measured).
    #[must_use]
    pub fn stop_for(&self, address: IpAddr) -> Option<&str> {
        self.start_for(address)?;
        let own = self.stop_6.as_deref().filter(|_| address.is_ipv6());
        Some(own.unwrap_or(&self.stop)).filter(|command| !command.is_empty())
    }
}

/// A knockd.conf, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// What it says.
    pub config: KnockdConfig,
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

/// Whether a file is a knockd.conf rather than one of ours: it has no section of ours, and a line that only knockd
/// would read.
#[must_use]
pub fn is_knockd(bytes: &[u8]) -> bool {
    let text = decode(bytes);
    let is_ours = |line: &str| {
        line.starts_with("[door") || super::schema::SECTIONS.iter().any(|s| line == format!("[{}]", s.name))
    };
    let is_theirs = |line: &str| match line.split_once('=') {
        None => line.eq_ignore_ascii_case("usesyslog"),
        Some((key, value)) => read::is_key(key.trim()) && !value.trim_start().starts_with(['"', '\'', '[']),
    };
    let lines = || text.lines().map(str::trim);
    !lines().any(is_ours) && lines().any(is_theirs)
}

/// Reads the knockd.conf at `path`.
///
/// # Errors
/// The file cannot be read, or is larger than 1 MiB.
pub fn read_file(path: &Path) -> Result<Reading, Box<Fault>> {
    let bytes = super::toml::read_bytes(path)?;
    Ok(read(path, &decode(&bytes)))
}
