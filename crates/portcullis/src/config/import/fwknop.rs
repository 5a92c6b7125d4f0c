//! Old files of fwknop as doors of ours: access.conf, and with it fwknopd.conf and .fwknoprc.
//!
//! Keys never go into the new configuration, the report or a message: they go into access files of their own, which
//! only whoever calls writes, where his user says.

mod stanzas;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use portcullis_core::door::spa::envelope::Keys;
use portcullis_core::door::spa::message::Port;
use portcullis_core::net::{PortSet, Protocol};
use zeroize::Zeroizing;

use self::stanzas::{Group, groups};
use super::super::doors::{DoorConfig, DoorKind, DoorMode, Opens, SecretFile, SpaDoor, Weakness};
use super::super::duration::Span;
use super::super::fault::{Fault, Faults};
use super::super::fwknop::{AllowedAddress, Client, Daemon, Section, read_client, read_daemon};
use super::super::{Config, toml, write_door};
use super::{Fate, Import, Outcome};
use crate::config::portsentry::{Diagnostic, Weight, decode};
use crate::escape::printable;

/// Where access files are looked for if nobody says where they are to be written.
const DIRECTORY: &str = "/etc/portcullis";

/// The new configuration, and what must not stand in it. Has no `Debug`, since it holds keys.
pub struct FwknopImport {
    /// The configuration with its report.
    pub import: Import,
    /// The access files that it names.
    pub secrets: Vec<AccessFile>,
}

/// An access file: users and their keys, in fwknop's form. To be made with mode 0600.
pub struct AccessFile {
    /// Where the configuration says that it is.
    pub path: PathBuf,
    /// What stands in it.
    pub text: Zeroizing<String>,
}

/// Reads files of fwknop, each told by its content: at least one access.conf. Access files are to lie in `directory`; weak
/// settings of clients are carried over if they are among `weak`, and otherwise whoever has them is left out.
///
/// # Errors
/// A file cannot be read, or is no file of fwknop.
pub fn import_fwknop(
    files: &[PathBuf],
    directory: Option<&Path>,
    weak: &[Weakness],
) -> Result<FwknopImport, Faults> {
    let (mut old, mut faults) = (Old::default(), Vec::new());
    for path in files {
        match toml::read_bytes(path).map(Zeroizing::new) {
            Ok(bytes) => old.add(path, Zeroizing::new(decode(&bytes)), &mut faults),
            Err(fault) => faults.push(*fault),
        }
    }
    if old.access.is_empty() && faults.is_empty() {
        let path = files.first().map_or(Path::new("access.conf"), PathBuf::as_path);
        let mend = "give the path of an access.conf, such as /etc/fwknop/access.conf";
        faults.push(Fault::of_file(path, "there is nobody in it who may knock", mend));
    }
    let absolute = directory.map(std::path::absolute).transpose();
    let absolute = absolute.map_err(|error| Faults(vec![no_directory(directory, &error.to_string())]))?;
    if absolute.as_ref().is_some_and(|path| path.to_str().is_none()) {
        faults.push(no_directory(directory, "its name is no UTF-8"));
    }
    if faults.is_empty() {
        Ok(Carrying::default().carry(files, &old, absolute, weak))
    } else {
        Err(Faults(faults))
    }
}

fn no_directory(directory: Option<&Path>, why: &str) -> Fault {
    let path = directory.unwrap_or(Path::new(DIRECTORY));
    Fault::of_file(path, format!("the keys cannot be put there: {why}"), "name another directory with --keys")
}

/// The old files, read.
#[derive(Default)]
struct Old {
    access: Vec<(PathBuf, Zeroizing<String>)>,
    daemon: Option<(PathBuf, Zeroizing<String>)>,
    clients: Vec<(PathBuf, Client)>,
}

/// Whose file it is.
enum Whose {
    Users,
    Daemon,
    Client,
}

fn whose(path: &Path, text: &str) -> Option<Whose> {
    let by_line = entries(text).find_map(|(_, word, _)| match word.as_str() {
        "SOURCE" => Some(Whose::Users),
        word if word.starts_with('[') => Some(Whose::Client),
        "ENABLE_UDP_SERVER" | "UDPSERV_PORT" | "MAX_SPA_PACKET_AGE" | "ENABLE_SPA_PACKET_AGING" => {
            Some(Whose::Daemon)
        }
        word if word.starts_with("PCAP_") || word.starts_with("ENABLE_IPT_") => Some(Whose::Daemon),
        _ => None,
    });
    // As it is shipped it has comments only.
    by_line.or_else(|| path.file_name().is_some_and(|name| name == "fwknopd.conf").then_some(Whose::Daemon))
}

/// Whether a file is fwknop's: then what it is called there. Our own files have `=` behind each word.
pub fn is_fwknops(path: &Path, text: &str) -> Option<&'static str> {
    if entries(text).any(|(_, _, value)| value.starts_with('=')) {
        return None;
    }
    let has_default = || entries(text).any(|(_, word, _)| word == "[DEFAULT]");
    match whose(path, text)? {
        Whose::Users => Some("access.conf"),
        Whose::Daemon => Some("fwknopd.conf"),
        Whose::Client => has_default().then_some(".fwknoprc"),
    }
}

/// Each line that says something: its number, from 1, its keyword in capitals, and what is behind it, which may be a key.
fn entries(text: &str) -> impl Iterator<Item = (usize, String, &str)> {
    (1..).zip(text.lines().map(str::trim)).filter_map(|(number, line)| {
        let word =
            line.split([' ', '\t', ';']).next().filter(|word| !word.is_empty() && !word.starts_with('#'))?;
        let behind = line[word.len()..].trim_start();
        let value = behind.split(';').next().unwrap_or_default().trim_end();
        Some((number, word.to_ascii_uppercase(), value))
    })
}

impl Old {
    fn add(&mut self, path: &Path, text: Zeroizing<String>, faults: &mut Vec<Fault>) {
        match whose(path, &text) {
            Some(Whose::Users) => self.access.push((path.to_owned(), text)),
            Some(Whose::Client) => self.clients.push((path.to_owned(), read_client(path, &text))),
            Some(Whose::Daemon) if self.daemon.is_none() => self.daemon = Some((path.to_owned(), text)),
            Some(Whose::Daemon) => {
                faults.push(Fault::of_file(path, "this is a second fwknopd.conf", "import one at a time"));
            }
            None => faults.push(Fault::of_file(
                path,
                "no line of it is a setting of fwknop, such as SOURCE ANY",
                "give the path of an access.conf, such as /etc/fwknop/access.conf",
            )),
        }
    }

    /// What clients ask for, where the server does not say what they may.
    fn asked(&self) -> Opens {
        let sections = self.clients.iter().flat_map(|(_, client)| &client.sections);
        let ports: Vec<Port> = sections.filter_map(|section| section.access.clone()).flatten().collect();
        let of = |protocol| {
            let own = ports.iter().filter(|port| port.protocol == protocol);
            PortSet::from_ranges(own.map(|port| (port.number, port.number)))
        };
        Opens { tcp: of(Protocol::Tcp), udp: of(Protocol::Udp) }
    }
}

/// The new configuration while it is made.
#[derive(Default)]
struct Carrying {
    config: Config,
    text: String,
    report: Vec<Fate>,
    diagnostics: Vec<Diagnostic>,
    warnings: Vec<String>,
}

impl Carrying {
    fn tell(
        &mut self,
        outcome: Outcome,
        path: &Path,
        line: usize,
        what: impl Into<String>,
        why: impl Into<String>,
    ) {
        let path = path.to_owned();
        self.report.push(Fate { outcome, path, line, what: what.into(), why: why.into() });
    }

    /// What has no counterpart goes into the report; the rest is told as it is.
    fn found(&mut self, diagnostics: Vec<Diagnostic>) {
        for diagnostic in diagnostics {
            if diagnostic.weight != Weight::LeftOut {
                self.diagnostics.push(diagnostic);
                continue;
            }
            let Fault { path, line, message, mend, .. } = diagnostic.fault;
            let (what, why) = message.split_once(": ").unwrap_or(("line", &message));
            self.tell(Outcome::Dropped, &path, line, what, format!("{why}; {mend}"));
        }
    }

    fn is_told(&self, path: &Path, line: usize) -> bool {
        self.report.iter().any(|fate| fate.line == line && fate.path == path)
    }

    fn carry(
        mut self,
        files: &[PathBuf],
        old: &Old,
        directory: Option<PathBuf>,
        weak: &[Weakness],
    ) -> FwknopImport {
        let daemon = self.daemon(old);
        let groups = groups(&mut self, &old.access, &old.asked(), weak);
        let place = directory.as_deref().unwrap_or(Path::new(DIRECTORY));
        let mut secrets = Vec::new();
        let mut kept: Vec<(String, Vec<Keys>)> = Vec::new();
        for group in groups {
            let name = match kept.len() {
                0 => "fwknop".to_owned(),
                count => format!("fwknop-{}", count + 1),
            };
            if let Some(file) = self.door(&name, &group, place, &daemon) {
                secrets.push(file);
                kept.push((name, group.keys));
            }
        }
        for (path, client) in &old.clients {
            self.client(path, client, &kept, daemon.port);
        }
        self.finish(files, directory.is_some(), secrets)
    }

    fn daemon(&mut self, old: &Old) -> Daemon {
        let Some((path, text)) = &old.daemon else { return read_daemon(Path::new("fwknopd.conf"), "") };
        let mut daemon = read_daemon(path, text);
        self.found(std::mem::take(&mut daemon.diagnostics));
        for (line, word, value) in entries(text) {
            if self.is_told(path, line) {
                continue;
            }
            let is_on = value.starts_with(['y', 'Y']);
            let (outcome, why) = match word.as_str() {
                "PCAP_INTF" => (
                    Outcome::Changed,
                    "knocks are heard on every interface that is watched; [watch] interfaces narrows that, for scans too"
                        .to_owned(),
                ),
                "PCAP_FILTER" | "UDPSERV_PORT" => (Outcome::Kept, format!("udp_port = {}", daemon.port)),
                "ENABLE_UDP_SERVER" if is_on => {
                    (Outcome::Changed, "no port is opened: packets are seen on the wire".to_owned())
                }
                "MAX_SPA_PACKET_AGE" => (Outcome::Kept, format!("max_age = \"{}\"", Span(daemon.max_age))),
                "ENABLE_SPA_PACKET_AGING" | "ENABLE_DIGEST_PERSISTENCE" => {
                    (Outcome::Kept, "it is always so".to_owned())
                }
                _ => (Outcome::Dropped, "it says how fwknopd works inside".to_owned()),
            };
            self.tell(outcome, path, line, word, why);
        }
        daemon
    }

    /// Writes down a door; nothing if the reader of our own configuration does not take it.
    fn door(&mut self, name: &str, group: &Group, place: &Path, daemon: &Daemon) -> Option<AccessFile> {
        let path = place.join(format!("{name}.access"));
        let users = SecretFile::new(path.to_str()?)?;
        let kind =
            SpaDoor { udp_port: daemon.port, users, max_age: daemon.max_age, weak: group.weak.clone() };
        let door = DoorConfig {
            name: name.to_owned(),
            kind: DoorKind::Spa(kind),
            commands: group.commands.clone(),
            opens: group.opens.clone(),
            open_for: group.open_for,
            guests: Vec::new(),
            renew: false,
            cut_on_close: false,
            mode: DoorMode::Act,
            service: None,
            for_everyone: false,
            pardon: true,
            mark: None,
        };
        let text = write_door(&door);
        let lines: Vec<String> =
            group.from.iter().map(|(path, line)| format!("{}:{line}", path.display())).collect();
        // The same reader that will read it has the last word.
        match toml::parse(Path::new(name), &text) {
            Ok(read) => {
                let from = printable(&lines.join(", "));
                self.text += &format!("\n# The users of {from}.\n{text}");
                self.config.doors.extend(read.doors);
                self.report.extend(group.fates(name));
                Some(AccessFile { path, text: group.access_file(name) })
            }
            Err(faults) => {
                let first = faults
                    .0
                    .first()
                    .map_or_else(String::new, |fault| format!("{}: {}", fault.message, fault.mend));
                for (path, line) in &group.from {
                    self.tell(Outcome::Dropped, path, *line, "SOURCE", format!("not carried over: {first}"));
                }
                None
            }
        }
    }

    fn client(&mut self, path: &Path, client: &Client, kept: &[(String, Vec<Keys>)], port: u16) {
        self.found(client.diagnostics.clone());
        let is_alone = client.sections.len() == 1;
        for section in
            client.sections.iter().filter(|own| is_alone || !own.name.eq_ignore_ascii_case("default"))
        {
            let what = format!("[{}]", section.name);
            let Some(keys) = section.keys() else {
                self.tell(Outcome::Dropped, path, 0, what, "it has no keys of its own that can be used");
                continue;
            };
            match kept.iter().find(|(_, of_door)| of_door.contains(&keys)) {
                Some((door, _)) => {
                    let why = format!(
                        "it opens [door.{door}] as before; portcullis spa --key FILE -n NAME reads it too"
                    );
                    self.tell(Outcome::Kept, path, 0, what, why);
                }
                None => {
                    self.tell(Outcome::Changed, path, 0, what, "no user who was carried over has its keys")
                }
            }
            self.differences(section, port);
        }
    }

    fn differences(&mut self, section: &Section, port: u16) {
        let name = printable(&section.name);
        if let Some(other) = section.port.filter(|other| *other != port) {
            self.warnings.push(format!(
                "[{name}] sends to port {other}, and the doors listen at {port}: give the fwknopd.conf of that host too, or \
                 change udp_port"
            ));
        }
        if section.allow == Some(AllowedAddress::Source) {
            self.warnings.push(format!(
                "[{name}] lets in whoever its packet comes from, so whoever carries it off and brings it first is let in: \
                 name the guest's address (ALLOW_IP), and write REQUIRE_SOURCE_ADDRESS Y into the access file"
            ));
        }
    }

    fn finish(mut self, files: &[PathBuf], are_written: bool, secrets: Vec<AccessFile>) -> FwknopImport {
        let names: Vec<String> = files.iter().map(|path| printable(&path.to_string_lossy())).collect();
        let shuts: Vec<String> =
            self.config.doors.iter().map(|door| format!("{} ([door.{}])", door.opens, door.name)).collect();
        if !shuts.is_empty() {
            self.warnings.push(format!(
                "portcullis shuts {} itself, to all but its guests. A firewall that drops these ports as well still drops \
                 the guest: take that rule away, or set mark in the door and let the mark through; `portcullis doctor` says which",
                shuts.join(", ")
            ));
            if !are_written {
                self.warnings.push(format!(
                    "the keys were written nowhere, and the doors look for them in {DIRECTORY}: give a directory with --keys"
                ));
            }
        }
        self.report.sort_by_key(|fate| (fate.outcome, fate.line));
        let import = Import {
            toml: format!(
                "# Made by `portcullis import fwknop` from {}.\n# Keys that are not here have their defaults.\n{}",
                names.join(", "),
                self.text
            ),
            config: self.config,
            report: self.report,
            diagnostics: self.diagnostics,
            warnings: self.warnings,
        };
        FwknopImport { import, secrets }
    }
}
