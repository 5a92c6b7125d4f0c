//! The lines of a knockd.conf.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::doors::{FLAG_NAMES, Flags, Step, WrittenStep, pieces};
use super::super::fault::{Fault, Source};
use super::super::portsentry::{Diagnostic, Weight};
use super::super::suggest::nearest;
use super::sequence::{Remark, atoi};
use super::{Knock, KnockdConfig, KnockdDoor, Options, Reading, commands, sequence};

/// The longest line that knockd read as one, in bytes (`PATH_MAX` less its end).
const LONGEST_LINE: usize = 4095;

/// The longest name of a door.
const LONGEST_NAME: usize = 127;

/// What is told of one file; a file with more is no knockd.conf.
const MOST_DIAGNOSTICS: usize = 200;

const SEQ_TIMEOUT: u64 = 25;
const CMD_TIMEOUT: u64 = 10;

/// The keys of `[options]`.
const OPTION_KEYS: [&str; 5] = ["usesyslog", "logfile", "pidfile", "interface", "scansmayopen"];

/// The keys of a door, with their other names.
const DOOR_KEYS: [&str; 14] = [
    "sequence",
    "one_time_sequences",
    "seq_timeout",
    "timeout",
    "tcpflags",
    "target",
    "start_command",
    "command",
    "start_command_6",
    "command_6",
    "cmd_timeout",
    "stop_command",
    "stop_command_6",
    "usesyslog",
];

/// Whether `word` is a key of knockd, in any case.
pub(super) fn is_key(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    OPTION_KEYS.iter().chain(&DOOR_KEYS).any(|key| *key == word)
}

/// Reads a knockd.conf. It goes on after a fault, where knockd ended, so that one run shows them all.
#[must_use]
pub fn read(path: &Path, text: &str) -> Reading {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        source: Source { path, text },
        config: KnockdConfig::default(),
        diagnostics: Vec::new(),
        more: 0,
        scope: Scope::Nowhere,
    };
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        reader.line(start, line);
        start += line.len();
    }
    reader.end_section();
    reader.finish()
}

/// Where a line stands.
enum Scope {
    /// Before the first section.
    Nowhere,
    /// Below `[options]`.
    Options,
    /// Below the name of a door.
    Door(Box<Building>),
}

/// A door whose lines are being read.
struct Building {
    name: String,
    header: Range<usize>,
    sequence: Option<(Vec<WrittenStep>, Range<usize>)>,
    one_time: Option<PathBuf>,
    /// A value of the door has no meaning, so that it could never open.
    is_dead: bool,
    /// Its sequence has a fault, which has been told.
    is_faulty: bool,
    seq_timeout: u64,
    flags: Option<Flags>,
    target: Option<std::net::IpAddr>,
    start: String,
    start_6: Option<String>,
    stop: Option<(String, Range<usize>)>,
    stop_6: Option<String>,
    cmd_timeout: u64,
    lines: BTreeMap<&'static str, usize>,
}

impl Building {
    fn new(name: &str, header: Range<usize>) -> Building {
        Building {
            name: name.to_owned(),
            header,
            sequence: None,
            one_time: None,
            is_dead: false,
            is_faulty: false,
            seq_timeout: SEQ_TIMEOUT,
            flags: None,
            target: None,
            start: String::new(),
            start_6: None,
            stop: None,
            stop_6: None,
            cmd_timeout: CMD_TIMEOUT,
            lines: BTreeMap::new(),
        }
    }
}

struct Reader<'a> {
    source: Source<'a>,
    config: KnockdConfig,
    diagnostics: Vec<(usize, Diagnostic)>,
    more: usize,
    scope: Scope,
}

impl Reader<'_> {
    fn say(&mut self, weight: Weight, at: Range<usize>, message: impl Into<String>, mend: impl Into<String>) {
        if self.diagnostics.len() >= MOST_DIAGNOSTICS && weight < Weight::Fault {
            self.more += 1;
            return;
        }
        let (start, fault) = (at.start, self.source.fault(at, message, mend));
        self.diagnostics.push((start, Diagnostic { weight, fault }));
    }

    fn remark(&mut self, at: usize, remarks: Vec<Remark>) {
        for Remark { weight, within, message, mend } in remarks {
            self.say(weight, at + within.start..at + within.end, message, mend);
        }
    }

    fn finish(mut self) -> Reading {
        self.diagnostics.sort_by_key(|(at, _)| *at);
        let mut diagnostics: Vec<Diagnostic> = self.diagnostics.into_iter().map(|(_, said)| said).collect();
        if self.more > 0 {
            let says = format!("there is more to be said of this file, {} times", self.more);
            let fault = Fault::of_file(self.source.path, says, "mend what is said above first");
            diagnostics.push(Diagnostic { weight: Weight::Note, fault });
        }
        Reading { config: self.config, diagnostics }
    }

    fn line(&mut self, start: usize, line: &str) {
        let trimmed = line.trim();
        let start = start + (line.len() - line.trim_start().len());
        let whole = start..start + trimmed.len();
        if line.trim_end_matches('\n').len() > LONGEST_LINE {
            let says =
                "knockd split a line as long as this, and took the rest for another line; it is read whole";
            self.say(
                Weight::Doubtful,
                start..start + 1,
                says,
                "write a shorter line; a long command can be a script",
            );
        }
        if trimmed.is_empty() || trimmed.starts_with('#') {
            return;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            self.end_section();
            self.section(name, start + 1..start + 1 + name.len(), whole);
            return;
        }
        let (key, value) = match trimmed.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value)),
            None => (trimmed, None),
        };
        let at_key = start..start + key.len();
        let lower = key.to_ascii_lowercase();
        // A value's place is behind the = and the blanks that follow it.
        let value = value.map(|value| {
            let at = start + trimmed.len() - value.trim_start().len();
            (at, value.trim())
        });
        match std::mem::replace(&mut self.scope, Scope::Nowhere) {
            Scope::Nowhere => {
                let mend = "write [options] or the name of a door, such as [openSSH], on a line before";
                self.say(Weight::Fault, whole, "all directives must belong to a section", mend);
            }
            Scope::Options => {
                self.scope = Scope::Options;
                self.option(&lower, at_key, value);
            }
            Scope::Door(mut door) => {
                self.door_line(&mut door, &lower, at_key, value);
                self.scope = Scope::Door(door);
            }
        }
    }

    fn section(&mut self, name: &str, at: Range<usize>, whole: Range<usize>) {
        self.scope = match name {
            "options" => Scope::Options,
            _ => Scope::Door(Box::new(Building::new(name, at.clone()))),
        };
        if name.is_empty() {
            self.say(
                Weight::Fault,
                whole,
                "bad section name: it is empty",
                "write a name, such as [openSSH]",
            );
        } else if name.eq_ignore_ascii_case("options") && name != "options" {
            let says = format!("[{name}] is a door of that name; only [options] is the section of options");
            self.say(Weight::Doubtful, at, says, "write [options]");
        } else if name.len() > LONGEST_NAME {
            let says = format!("knockd took no names longer than {LONGEST_NAME} bytes");
            self.say(Weight::Doubtful, at, says, "write a shorter name");
        } else if self.config.doors.iter().any(|door| door.name == name) {
            let says = format!("there is a door [{name}] already; this is another with the same name");
            self.say(
                Weight::Note,
                at,
                says,
                "give it a name of its own, so that the log can tell them apart",
            );
        }
    }

    fn option(&mut self, key: &str, at_key: Range<usize>, value: Option<(usize, &str)>) {
        if let Some(key) = OPTION_KEYS.into_iter().find(|known| *known == key) {
            self.config.options.lines.insert(key, self.source.place(at_key.start).0);
        }
        match (key, value) {
            ("usesyslog", None) => self.config.options.use_syslog = true,
            ("scansmayopen", None) => {
                self.config.options.scans_may_open = true;
                let says = "a scan that comes by the right ports in their order opens a door, as with knockd; knockd \
                            itself does not know this key, and would not start with it";
                let mend = "take the line out before knockd is to read this file again";
                self.say(Weight::Note, at_key, says, mend);
            }
            ("logfile", Some((_, value))) => self.config.options.log_file = Some(PathBuf::from(value)),
            ("pidfile", Some((_, value))) => self.config.options.pid_file = Some(PathBuf::from(value)),
            ("interface", Some((at, value))) => {
                if value.is_empty() || value.len() > 15 {
                    let says = format!("\"{value}\" can't be the name of an interface");
                    self.say(
                        Weight::Doubtful,
                        at..at + value.len(),
                        says,
                        "write a name as `ip link` shows it",
                    );
                }
                self.config.options.interface = Some(value.to_owned());
            }
            _ => self.syntax_error(key, at_key, value, &OPTION_KEYS, "[options]"),
        }
    }

    /// A line that is no setting here (knockd: `config: line N: syntax error`).
    fn syntax_error(
        &mut self,
        key: &str,
        at: Range<usize>,
        value: Option<(usize, &str)>,
        here: &[&'static str],
        section: &str,
    ) {
        let is_here = here.contains(&key);
        let mend = if key.starts_with(';') {
            "a comment begins with #".to_owned()
        } else if key == "usesyslog" {
            "write UseSyslog alone on its line".to_owned()
        } else if key == "scansmayopen" {
            "write ScansMayOpen alone on its line".to_owned()
        } else if is_here && value.is_none() {
            format!("write {key} = and a value")
        } else if OPTION_KEYS.contains(&key) {
            format!("\"{key}\" belongs below [options]")
        } else if DOOR_KEYS.contains(&key) {
            format!("\"{key}\" belongs below the name of a door")
        } else {
            match nearest(key, here.iter().copied()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("{section} has {}", here.join(", ")),
            }
        };
        let says = match (value, is_here) {
            (None, _) => format!("syntax error: \"{key}\" has no ="),
            (Some(_), true) => format!("syntax error: {key} takes no value"),
            (Some(_), false) => format!("syntax error: {section} has no \"{key}\""),
        };
        self.say(Weight::Fault, at, says, mend);
    }

    fn door_line(
        &mut self,
        door: &mut Building,
        key: &str,
        at_key: Range<usize>,
        value: Option<(usize, &str)>,
    ) {
        let Some(known) = DOOR_KEYS.into_iter().find(|known| *known == key) else {
            return self.syntax_error(key, at_key, value, &DOOR_KEYS, "a door");
        };
        let (at, value) = match (known, value) {
            ("usesyslog", None) => {
                self.config.options.use_syslog = true;
                return self.say(
                    Weight::Note,
                    at_key,
                    "this holds for all doors",
                    "write it below [options]",
                );
            }
            (_, Some(value)) if known != "usesyslog" => value,
            _ => return self.syntax_error(key, at_key, value, &DOOR_KEYS, "a door"),
        };
        let name = match known {
            "timeout" => "seq_timeout",
            "command" => "start_command",
            "command_6" => "start_command_6",
            other => other,
        };
        let line = self.source.place(at_key.start).0;
        if door.lines.insert(name, line).is_some() && name != "tcpflags" {
            self.say(
                Weight::Note,
                at_key,
                format!("{name} stands above already; this one holds"),
                "keep one of them",
            );
        }
        self.door_value(door, name, at, value);
    }

    fn door_value(&mut self, door: &mut Building, name: &'static str, at: usize, value: &str) {
        let whole = at..at + value.len();
        match name {
            "sequence" => {
                let (steps, remarks) = sequence::read(value);
                door.is_faulty = remarks.iter().any(|remark| remark.weight == Weight::Fault);
                door.is_dead = steps.is_none() && !door.is_faulty;
                self.remark(at, remarks);
                door.sequence = Some((steps.unwrap_or_default(), whole));
            }
            "one_time_sequences" => door.one_time = Some(PathBuf::from(value)),
            "seq_timeout" => {
                door.seq_timeout = self.seconds(name, value, whole.clone());
                if door.seq_timeout == 0 {
                    let says = "with 0 seconds no sequence of two or more ports can be right";
                    self.say(Weight::Doubtful, whole, says, "write seconds, such as 5");
                }
            }
            "cmd_timeout" => door.cmd_timeout = self.seconds(name, value, whole),
            "tcpflags" => self.flags(door, at, value),
            "target" => match value.parse() {
                Ok(address) => door.target = Some(address),
                Err(_) => {
                    let says = format!(
                        "\"{value}\" is no address; knockd ended at a name that it could not resolve, and never heard one that it could"
                    );
                    self.say(Weight::Fault, whole, says, "write an IPv4 or IPv6 address");
                }
            },
            _ => {
                self.remark(at, commands::remarks(value));
                let value = value.to_owned();
                match name {
                    "start_command" => door.start = value,
                    "start_command_6" => door.start_6 = Some(value),
                    "stop_command" => door.stop = Some((value, whole)),
                    _ => door.stop_6 = Some(value),
                }
            }
        }
    }

    fn seconds(&mut self, name: &str, value: &str, at: Range<usize>) -> u64 {
        let (number, rest) = atoi(value);
        if !rest.is_empty() || value.is_empty() {
            let says = format!("{name} is a number of seconds; knockd read {number} here");
            self.say(Weight::Doubtful, at, says, "write seconds alone, such as 10");
        } else if number < 0 {
            self.say(
                Weight::Doubtful,
                at,
                format!("{number} seconds is taken for 0"),
                "write a number from 1",
            );
        }
        u64::try_from(number).unwrap_or(0)
    }

    /// Flags add up over several lines; of one flag the last word holds.
    fn flags(&mut self, door: &mut Building, at: usize, value: &str) {
        let flags = door.flags.get_or_insert(Flags::ANY);
        let mut said = Vec::new();
        for (place, (start, item)) in pieces(value, ',').enumerate() {
            let within = at + start..at + start + item.len();
            let (is_clear, flag) = match item.strip_prefix('!') {
                Some(flag) => (true, flag.trim_start()),
                None => (false, item),
            };
            let Some(bit) = FLAG_NAMES.iter().position(|other| other.eq_ignore_ascii_case(flag)) else {
                let mend = "the flags are fin, syn, rst, psh, ack and urg, each with ! before it if it must be clear";
                said.push((Weight::Fault, within, format!("unrecognized flag \"{item}\""), mend));
                continue;
            };
            if place > 0 && value[..start].ends_with(char::is_whitespace) {
                let says = format!("knockd refused the blank before \"{item}\"; it is read as {item}");
                said.push((Weight::Repaired, within.clone(), says, "take the blank away for knockd"));
            }
            let bit = 1u8 << bit;
            let (to, from) = match is_clear {
                true => (&mut flags.clear, &mut flags.set),
                false => (&mut flags.set, &mut flags.clear),
            };
            if *from & bit != 0 {
                let says = format!("\"{item}\" says the opposite of what stands before; this one holds");
                said.push((Weight::Doubtful, within, says, "keep one of them"));
            }
            *from &= !bit;
            *to |= bit;
        }
        for (weight, at, says, mend) in said {
            self.say(weight, at, says, mend);
        }
    }

    /// Puts the door away whose lines have ended.
    fn end_section(&mut self) {
        let Scope::Door(door) = std::mem::replace(&mut self.scope, Scope::Nowhere) else { return };
        let Building { name, header, sequence, one_time, is_dead, is_faulty, flags, .. } = &*door;
        if is_faulty == &true {
            return;
        }
        let knock = match (sequence, one_time) {
            (_, Some(path)) => Knock::OneTime(path.clone()),
            (Some((steps, _)), None) => {
                let steps: Vec<Step> =
                    steps.iter().map(|step| step.with(flags.unwrap_or_default())).collect();
                Knock::Sequence(steps)
            }
            (None, None) => {
                let says = format!("section '{name}' has an empty knock sequence");
                return self.say(
                    Weight::Fault,
                    header.clone(),
                    says,
                    "write sequence = 7000,8000,9000 below it",
                );
            }
        };
        if let (Some((_, at)), Some(_)) = (sequence, one_time) {
            let says = "the door has a file of sequences too, which holds";
            self.say(Weight::Doubtful, at.clone(), says, "keep one of them");
        } else if *is_dead {
            let says = format!("the door [{name}] is left out, since its sequence could never be right");
            return self.say(Weight::LeftOut, header.clone(), says, "mend its sequence");
        } else if let (Knock::Sequence(steps), Some((_, at))) = (&knock, sequence) {
            self.weak_sequence(steps, at.clone());
        }
        if flags.is_none() {
            let says = format!(
                "the door [{name}] has no TCPFlags, so any TCP packet to a port of it counts, also answers and ends of connections"
            );
            self.say(Weight::Note, header.clone(), says, "write tcpflags = syn,!ack");
        }
        if let (true, None | Some(""), Some((_, at))) =
            (door.start.is_empty(), door.start_6.as_deref(), &door.stop)
        {
            let says = "a stop command runs only after a start command, and there is none";
            self.say(Weight::Doubtful, at.clone(), says, "write start_command, or delete it");
        }
        let line = self.source.place(header.start).0;
        let door = *door;
        self.config.doors.push(KnockdDoor {
            name: door.name,
            line,
            knock,
            seq_timeout: Duration::from_secs(door.seq_timeout),
            flags: door.flags.unwrap_or_default(),
            target: door.target,
            start: door.start,
            start_6: door.start_6,
            stop: door.stop.map(|(command, _)| command).unwrap_or_default(),
            stop_6: door.stop_6,
            cmd_timeout: Duration::from_secs(door.cmd_timeout),
            lines: door.lines,
        });
    }

    /// Sequences that a scan completes: with knockd an ascending scan of all ports opened such a door (measured).
    fn weak_sequence(&mut self, steps: &[Step], at: Range<usize>) {
        let rises = steps.windows(2).all(|pair| pair[0].port < pair[1].port);
        if steps.len() == 1 {
            let says = "a door of one port opens to every packet there, also to any scan";
            self.say(Weight::Note, at, says, "write three ports or more");
        } else if rises {
            let says = "the ports rise, as a scan goes over them";
            self.say(Weight::Note, at, says, "write them in another order");
        }
    }
}

/// So that the default of a configuration is that of an empty file.
impl Options {
    /// The interface that holds.
    #[must_use]
    pub fn interface(&self) -> &str {
        self.interface.as_deref().unwrap_or(Options::INTERFACE)
    }
}
