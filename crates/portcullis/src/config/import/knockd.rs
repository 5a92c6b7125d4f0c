//! An old knockd.conf as doors of ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::net::{PortSet, Prefix};

use super::super::doors::{
    Command, Commands, DoorConfig, DoorKind, DoorMode, Flags, OneTimeDoor, Opens, SecretFile, SequenceDoor,
    Step,
};
use super::super::duration::Span;
use super::super::fault::{Fault, Faults};
use super::super::knockd::{self, Knock, KnockdDoor, Options};
use super::super::{Config, toml, write_door};
use super::{Fate, Import, Outcome};
use crate::config::portsentry::{Diagnostic, decode};
use crate::escape::printable;
use crate::respond::undo;

/// The longest and the shortest time that a door of ours stands open.
const OPEN_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// The longest and the shortest window.
const WINDOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// The same defaults as in `[door.NAME]`.
const TRIES: (u32, Duration) = (10, Duration::from_secs(600));

/// Reads one or more knockd.conf, and `/etc/default/knockd` if it is among them.
///
/// # Errors
/// A file cannot be read, or is no file of knockd.
pub fn import_knockd(files: &[PathBuf]) -> Result<Import, Faults> {
    let mut faults = Vec::new();
    let mut carrying = Carrying::default();
    for path in files {
        match toml::read_bytes(path) {
            Ok(bytes) if knockd::is_knockd(&bytes) => {
                let reading = knockd::read(path, &decode(&bytes));
                carrying.diagnostics.extend(reading.diagnostics);
                carrying.options(path, &reading.config.options);
                carrying.doors(path, &reading.config.doors);
            }
            Ok(bytes) if carrying.start_file(path, &decode(&bytes)) => {}
            Ok(_) => faults.push(Fault::of_file(
                path,
                "no line of it is a setting of knockd, such as sequence = 7000,8000,9000",
                "give the path of a knockd.conf, such as /etc/knockd.conf",
            )),
            Err(fault) => faults.push(*fault),
        }
    }
    if faults.is_empty() { Ok(carrying.finish(files)) } else { Err(Faults(faults)) }
}

#[derive(Default)]
struct Carrying {
    config: Config,
    names: BTreeSet<String>,
    text: String,
    report: Vec<Fate>,
    diagnostics: Vec<Diagnostic>,
    shuts: Vec<String>,
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

    fn options(&mut self, path: &Path, options: &Options) {
        let journal = "what happens is in the journal and in `portcullis events`";
        let interface = "knocks are heard on every interface that is watched; [watch] interfaces narrows that, for scans too";
        for (key, outcome, why) in [
            ("usesyslog", Outcome::Changed, journal),
            ("logfile", Outcome::Changed, journal),
            ("pidfile", Outcome::Dropped, "systemd knows the process"),
            ("interface", Outcome::Changed, interface),
        ] {
            if let Some(line) = options.lines.get(key) {
                self.tell(outcome, path, *line, key, why);
            }
        }
    }

    /// `/etc/default/knockd` of Debian: whether to start, and options of the command line.
    fn start_file(&mut self, path: &Path, text: &str) -> bool {
        let mut is_one = false;
        for (number, line) in text.lines().enumerate() {
            let why = match line.trim().split_once('=').map(|(key, _)| key) {
                Some("START_KNOCKD") => "`systemctl enable portcullis` says whether it starts",
                Some("KNOCKD_OPTS") => {
                    "knocks are heard on every interface that is watched; nothing else is needed"
                }
                _ => continue,
            };
            is_one = true;
            let what = line.trim().split('=').next().unwrap_or("").to_owned();
            self.tell(Outcome::Dropped, path, number + 1, what, why);
        }
        is_one
    }

    fn doors(&mut self, path: &Path, doors: &[KnockdDoor]) {
        let mut closers = BTreeSet::new();
        let pairs: Vec<Option<usize>> = (0..doors.len())
            .map(|place| {
                let closer = closer_of(doors, place).filter(|closer| closers.insert(*closer));
                closer.filter(|closer| *closer != place)
            })
            .collect();
        for (place, door) in doors.iter().enumerate() {
            if !closers.contains(&place) {
                self.door(path, door, pairs[place].map(|closer| &doors[closer]));
            }
        }
    }

    fn door(&mut self, path: &Path, old: &KnockdDoor, closer: Option<&KnockdDoor>) {
        let mut fates = Vec::new();
        let mut note = |outcome, key: &str, why: String| {
            let line = old.lines.get(key).copied().unwrap_or(old.line);
            let what = format!("[{}] {key}", old.name);
            fates.push(Fate { outcome, path: path.to_owned(), line, what, why });
        };
        let name = self.name(&old.name);
        let native = native(old);
        let window = old.seq_timeout.clamp(WINDOW.0, WINDOW.1);
        if window != old.seq_timeout {
            let why = format!("{} is out of bounds; it is {} now", Span(old.seq_timeout), Span(window));
            note(Outcome::Changed, "seq_timeout", why);
        } else {
            note(Outcome::Kept, "seq_timeout", format!("window = \"{}\"", Span(window)));
        }
        let Some(kind) = kind(old, closer, window) else {
            note(
                Outcome::Dropped,
                "one_time_sequences",
                "the file has no absolute path; so the door is not carried over".to_owned(),
            );
            self.report.extend(fates);
            return;
        };
        match (old.flags, closer) {
            (Flags::ANY, _) => note(
                Outcome::Changed,
                "tcpflags",
                "any TCP packet counts, but for those with ACK or RST: a scan with them looks like traffic"
                    .to_owned(),
            ),
            _ => note(Outcome::Kept, "tcpflags", "the same flags are asked for".to_owned()),
        }
        if old.target.is_some() {
            let why = "knocks are heard at this host's own addresses".to_owned();
            note(Outcome::Dropped, "target", why);
        }
        let has_end = !old.stop.is_empty() || old.stop_6.as_ref().is_some_and(|stop| !stop.is_empty());
        let open_for = match (has_end, native.is_some()) {
            (true, _) => old.cmd_timeout.clamp(OPEN_FOR.0, OPEN_FOR.1),
            (false, true) => OPEN_FOR.1,
            (false, false) => Duration::from_secs(30),
        };
        match (&native, has_end, closer) {
            (Some(opens), true, _) => note(
                Outcome::Changed,
                "start_command",
                format!(
                    "opens = \"{opens}\" for {}: portcullis does it itself, and the kernel ends it",
                    Span(open_for)
                ),
            ),
            (Some(opens), false, Some(closer)) => note(
                Outcome::Changed,
                "start_command",
                format!(
                    "opens = \"{opens}\" until the sequence of [{}] closes it, at the latest after a day",
                    closer.name
                ),
            ),
            (Some(opens), false, None) => note(
                Outcome::Changed,
                "start_command",
                format!("opens = \"{opens}\", for a day at most: nothing closed it before"),
            ),
            (None, ..) if old.start.is_empty() && old.start_6.is_none() => {}
            (None, ..) => note(Outcome::Kept, "start_command", "run by the shell as before".to_owned()),
        }
        if has_end {
            let (outcome, why) = match native.is_some() {
                true => (Outcome::Changed, "the door closes by itself".to_owned()),
                false => {
                    (Outcome::Kept, "run by the shell as before, also after a crash or a restart".to_owned())
                }
            };
            note(outcome, "stop_command", why);
            note(Outcome::Kept, "cmd_timeout", format!("open_for = \"{}\"", Span(open_for)));
        }
        let no_six = native.is_some() && old.start_6.as_deref() == Some("");
        let everything_four = Prefix::containing(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        let door = DoorConfig {
            name: name.clone(),
            kind,
            commands: if native.is_some() { Commands::default() } else { commands(old) },
            opens: native.unwrap_or_default(),
            open_for,
            guests: if no_six { vec![everything_four] } else { Vec::new() },
            renew: false,
            cut_on_close: false,
            mode: DoorMode::Act,
            service: None,
            for_everyone: false,
            pardon: matches!(old.knock, Knock::OneTime(_)),
            mark: None,
        };
        let text = write_door(&door);
        // The same reader that will read it has the last word.
        match toml::parse(path, &text) {
            Ok(read) => {
                let from = if name == old.name { String::new() } else { format!(", [{}]", old.name) };
                note(Outcome::Kept, "sequence", format!("[door.{name}]"));
                self.text +=
                    &format!("\n# From {}:{}{from}.\n{text}", path.display(), old.line).replace('\r', "");
                if let Some(closer) = closer {
                    let (line, what) = (closer.line, format!("[{}]", closer.name));
                    let why = format!("its sequence is close_sequence of [door.{name}]");
                    fates.push(Fate { outcome: Outcome::Changed, path: path.to_owned(), line, what, why });
                }
                if !door.opens.is_empty() {
                    self.shuts.push(format!("{} ([door.{name}])", door.opens));
                }
                self.names.insert(name);
                self.config.doors.extend(read.doors);
                self.report.extend(fates);
            }
            Err(faults) => {
                let first = faults.0.first().map_or_else(String::new, |fault| {
                    let message = fault.message.split_once(": ").map_or(&*fault.message, |(_, says)| says);
                    format!("{message}: {}", fault.mend)
                });
                let why = format!("not carried over: {first}");
                self.tell(Outcome::Dropped, path, old.line, format!("[{}]", old.name), why);
                if let Some(closer) = closer {
                    let why = format!("it closed [{}], which is not carried over", old.name);
                    self.tell(Outcome::Dropped, path, closer.line, format!("[{}]", closer.name), why);
                }
            }
        }
    }

    /// A name of ours for a door: no other door has it.
    fn name(&self, old: &str) -> String {
        let plain: String = old
            .trim()
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
            .take(28)
            .collect();
        let plain = plain.trim_matches(['-', '_']).to_owned();
        let plain = if plain.is_empty() { "door".to_owned() } else { plain };
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !self.names.contains(name));
        free.unwrap_or(plain)
    }

    fn finish(mut self, files: &[PathBuf]) -> Import {
        let names: Vec<String> = files.iter().map(|path| printable(&path.to_string_lossy())).collect();
        let mut warnings = Vec::new();
        if !self.shuts.is_empty() {
            warnings.push(format!(
                "portcullis shuts {} itself, to all but its guests. A firewall that drops these ports as well still drops \
                 the guest: take that rule away, or set mark in the door and let the mark through",
                self.shuts.join(", ")
            ));
        }
        self.report.sort_by_key(|fate| (fate.outcome, fate.line));
        Import {
            toml: format!(
                "# Made by `portcullis import knockd` from {}.\n# Keys that are not here have their defaults.\n{}",
                names.join(", "),
                self.text
            ),
            config: self.config,
            report: self.report,
            diagnostics: self.diagnostics,
            warnings,
        }
    }
}

/// The door whose command undoes what this one's has done, where neither closes by itself.
fn closer_of(doors: &[KnockdDoor], place: usize) -> Option<usize> {
    let door = &doors[place];
    native(door)?;
    let is_closer = |other: &&KnockdDoor| {
        matches!(other.knock, Knock::Sequence(_))
            && other.stop.is_empty()
            && undo::undoes(&door.start, &other.start)
            && other.target == door.target
    };
    if !door.stop.is_empty() || !matches!(door.knock, Knock::Sequence(_)) {
        return None;
    }
    doors.iter().position(|other| is_closer(&other))
}

/// The ports that a door of knockd opens to its knocker, if that is all it does.
fn native(door: &KnockdDoor) -> Option<Opens> {
    let (protocol, ports) = undo::opened(&door.start, "%IP%")?;
    let same =
        |six: &str| undo::opened(six, "%IP%").is_some_and(|(own, others)| own == protocol && others == ports);
    let stops = |start: &str, stop: &str| stop.is_empty() || undo::undoes(start, stop);
    let six = door.start_6.as_deref().filter(|six| !six.is_empty());
    let is_plain = six.is_none_or(same)
        && stops(&door.start, &door.stop)
        && door.stop_6.as_deref().is_none_or(|stop| stops(six.unwrap_or(&door.start), stop));
    let ports = PortSet::from_ranges(ports.into_iter().map(|port| (port, port)));
    let opens = match protocol {
        "udp" => Opens { udp: ports, ..Opens::default() },
        _ => Opens { tcp: ports, ..Opens::default() },
    };
    is_plain.then_some(opens)
}

fn kind(old: &KnockdDoor, closer: Option<&KnockdDoor>, window: Duration) -> Option<DoorKind> {
    let (wrong_tries, ignored_for) = TRIES;
    Some(match &old.knock {
        Knock::Sequence(open) => {
            let close: Vec<Step> = match closer.map(|closer| &closer.knock) {
                Some(Knock::Sequence(close)) => close.clone(),
                _ => Vec::new(),
            };
            let flags = old.flags;
            DoorKind::Sequence(SequenceDoor {
                open: open.clone(),
                close,
                window,
                flags,
                wrong_tries,
                ignored_for,
            })
        }
        Knock::OneTime(path) => DoorKind::OneTime(OneTimeDoor {
            sequences: SecretFile::new(path.to_str()?)?,
            window,
            flags: old.flags,
            warn_left: 5,
            wrong_tries,
            ignored_for,
        }),
    })
}

fn commands(old: &KnockdDoor) -> Commands {
    let shell = |line: &str| (!line.is_empty()).then(|| Command::Shell(line.to_owned()));
    let six = |six: &Option<String>, four: &str| shell(six.as_deref().unwrap_or(four));
    let has_start = !old.start.is_empty() || old.start_6.as_ref().is_some_and(|start| !start.is_empty());
    // Without a command that starts, knockd ran none that stops.
    let stop = if has_start { old.stop.as_str() } else { "" };
    let stop_6 = if has_start { six(&old.stop_6, stop) } else { None };
    Commands {
        open: shell(&old.start),
        open_6: six(&old.start_6, &old.start),
        close: shell(stop),
        close_6: stop_6,
    }
}

#[cfg(test)]
mod tests;
