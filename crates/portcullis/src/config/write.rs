//! Configuration as text: the commented sample, and a given [`Config`] written so that it reads back the same.

use std::fmt::Write;
use std::time::Duration;

use super::Config;
use super::doors::{self, DoorConfig, Draft, WrittenStep};
use super::duration::Span;
use super::schema::{Form, Key, NameKind, SECTIONS};

/// The commented sample: every key with what it does, its bounds and its default, each commented out.
/// `packaging/portcullis.toml` is this text; with any of its keys uncommented it still means the defaults.
#[must_use]
pub fn sample() -> String {
    let mut text = String::from(
        "# What portcullis watches, whom it holds to be a scanner, and what it does about it.\n\
         #\n\
         # Every key stands here with its default: take the \"#\" away from a key that you want to change.\n\
         # `portcullis check` reads this file, says what is wrong, and says in plain words what it means.\n\
         # Files in conf.d/ beside this one are read after it, by name; what they say holds.\n",
    );
    for section in SECTIONS {
        text += &format!("\n# {}\n[{}]\n", section.about, section.name);
        for key in section.keys {
            text.push('\n');
            for line in key.about {
                text += &format!("# {line}\n");
            }
            for line in key.form.explained() {
                text += &format!("# {line}\n");
            }
            text += &format!("#{} = {}\n", key.name, key.default);
        }
    }
    text += "\n\
             # A door: ports that are shut to everybody but those who have knocked. Write one section for each, such as\n\
             # [door.ssh]; the name is yours. A key that is empty says that there is no such thing.\n\
             #[door.NAME]\n";
    for group in doors::GROUPS {
        text += &format!("\n# {}\n", group.about);
        for key in group.keys {
            text.push('\n');
            for line in key.about {
                text += &format!("# {line}\n");
            }
            for line in key.form.explained() {
                text += &format!("# {line}\n");
            }
            text += &format!("#{} = {}\n", key.name, key.default);
        }
    }
    text
}

/// `config` as a file with every key, which reads back as `config`.
#[must_use]
pub fn write(config: &Config) -> String {
    let mut text = String::new();
    for section in SECTIONS {
        text += &format!("{}[{}]\n", if text.is_empty() { "" } else { "\n" }, section.name);
        for key in section.keys {
            text += &format!("{} = {}\n", key.name, key.written(config));
        }
    }
    for door in &config.doors {
        text += &format!("\n{}", write_door(door));
    }
    text
}

/// The section of one door: its kind, and all that differs from the defaults.
#[must_use]
pub fn write_door(door: &DoorConfig) -> String {
    let mut text = format!("[door.{}]\n", door.name);
    for (key, value) in Draft::of(door).written() {
        text += &format!("{} = {value}\n", key.name);
    }
    text
}

/// Keys of a door whose values nobody is shown who cannot read the file: what is knocked.
const HIDDEN: [&str; 2] = ["sequence", "close_sequence"];

/// One key with the value that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The key with its section: `respond.mode`, `door.ssh.opens`.
    pub key: String,
    /// The value as TOML text, for comparing. It may be the secret of a door.
    pub value: String,
    /// The value for showing: of a sequence only how many steps it has.
    pub shown: String,
}

/// Every key of `config`, in the order of the sample; of each door those that its kind has.
#[must_use]
pub fn lines(config: &Config) -> Vec<Line> {
    let keys = SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section.name, key)));
    let line = |(section, key): (&str, &Key)| {
        let value = key.written(config);
        Line { key: format!("{section}.{}", key.name), shown: value.clone(), value }
    };
    let mut lines: Vec<Line> = keys.map(line).collect();
    for door in &config.doors {
        for (key, value) in Draft::of(door).all() {
            let shown = match HIDDEN.contains(&key.name) && value != key.default {
                true => format!("({} steps)", value.matches(',').count() + 1),
                false => value.clone(),
            };
            lines.push(Line { key: format!("door.{}.{}", door.name, key.name), value, shown });
        }
    }
    lines
}

/// What is different between two configurations, one sentence each.
#[must_use]
pub fn differences(old: &Config, new: &Config) -> Vec<String> {
    let (old_lines, new_lines) = (lines(old), lines(new));
    let mut differences = Vec::new();
    for line in &new_lines {
        match old_lines.iter().find(|other| other.key == line.key) {
            Some(before) if before.value == line.value => {}
            Some(before) if before.shown == line.shown => {
                differences.push(format!("{} is another", line.key))
            }
            Some(before) => differences.push(format!("{} = {} (was {})", line.key, line.shown, before.shown)),
            None if line.key.ends_with(".kind") => {
                differences.push(format!("{} = {} (new)", line.key, line.shown));
            }
            // A key of a new door, or one that comes with a new kind of door.
            None => {}
        }
    }
    let is_gone = |door: &&DoorConfig| new.doors.iter().all(|other| other.name != door.name);
    differences.extend(old.doors.iter().filter(is_gone).map(|door| format!("door.{} is gone", door.name)));
    differences
}

impl<T: Clone> Key<T> {
    /// The value that `config` holds for this key, as TOML text.
    #[must_use]
    pub fn written(&self, config: &T) -> String {
        // The places are reached through `&mut T`, so that the table needs one function a key.
        let mut config = config.clone();
        match &self.form {
            Form::Word { words, get, .. } => quoted(words[get(&config)].0),
            Form::Switch(at) => at(&mut config).to_string(),
            Form::Whole { get, .. } => get(&config).to_string(),
            Form::Factor { at, .. } => at(&mut config).to_string(),
            Form::Span { at, .. } => span(*at(&mut config)),
            Form::SpanOrEver { at, .. } => at(&mut config).map_or_else(|| quoted("ever"), span),
            Form::Ports(at) => quoted(&at(&mut config).to_string()),
            Form::Prefixes(at) => list(at(&mut config).iter().map(ToString::to_string)),
            Form::Friends(at) => {
                let (prefixes, names) = at(&mut config);
                list(prefixes.iter().map(ToString::to_string).chain(names.iter().cloned()))
            }
            Form::Names(_, at) => list(at(&mut config).iter().cloned()),
            Form::Name(_, at) => quoted(at(&mut config)),
            Form::Path(_, at) => quoted(&at(&mut config).to_string_lossy()),
            Form::WordSet(words, at) => list(
                at(&mut config)
                    .iter()
                    .filter_map(|place| words.get(*place))
                    .map(|(word, _)| (*word).to_owned()),
            ),
            Form::Secret(at) => quoted(at(&mut config).as_ref().map_or("", |file| file.written())),
            Form::Secrets(at) => list(at(&mut config).iter().map(ToString::to_string)),
            Form::Command { at, .. } => {
                at(&mut config).as_ref().map_or_else(|| quoted("same"), |words| list(words.iter().cloned()))
            }
            Form::Unit(at) => quoted(at(&mut config).as_deref().unwrap_or("")),
            Form::Bit(at) => at(&mut config).map_or_else(|| "0".to_owned(), |bit| format!("{bit:#x}")),
            Form::Opens(at) => quoted(&at(&mut config).to_string()),
            Form::Steps(at) => quoted(&steps(at(&mut config))),
            Form::Flags(at) => quoted(&at(&mut config).written(", ")),
        }
    }
}

impl<T> Form<T> {
    /// What may be written, with unit and bounds, in one phrase: `a whole number of MiB from 1 to 1024`.
    #[must_use]
    pub fn phrase(&self) -> String {
        match self {
            Form::Word { words, .. } => {
                let words: Vec<String> = words.iter().map(|(word, _)| quoted(word)).collect();
                words.join(" or ")
            }
            Form::Switch(_) => "true or false".to_owned(),
            Form::Whole { low, high, unit: "", .. } => format!("a whole number from {low} to {high}"),
            Form::Whole { low, high, unit, .. } => format!("a whole number of {unit} from {low} to {high}"),
            Form::Factor { low, high, .. } => format!("a number from {low} to {high}"),
            Form::Span { low, high, .. } => format!("a time from {} to {}", span(*low), span(*high)),
            Form::SpanOrEver { low, high, .. } => {
                format!("a time from {} to {}, or \"ever\"", span(*low), span(*high))
            }
            Form::Ports(_) => {
                "ports, ranges and exceptions, such as \"1-1023, !113, !139\"; or \"all\", \"none\""
                    .to_owned()
            }
            Form::Prefixes(_) => {
                "a list of addresses and networks, such as [\"192.0.2.7\", \"2001:db8::/32\"]".to_owned()
            }
            Form::Friends(_) => {
                "a list of addresses, networks and names, such as [\"192.0.2.7\", \"home.example.org\"]"
                    .to_owned()
            }
            Form::Names(NameKind::Interface, _) => {
                "a list of interfaces, such as [\"eth0\", \"wg0\"]".to_owned()
            }
            Form::Names(NameKind::User | NameKind::Group, _) => {
                "a list of users, such as [\"anna\"]".to_owned()
            }
            Form::Name(kind, _) => format!("the name of {}", kind.word()),
            Form::Path(..) => "a path that begins with /".to_owned(),
            Form::WordSet(words, _) => {
                let words: Vec<String> = words.iter().map(|(word, _)| quoted(word)).collect();
                format!("a list of {}", words.join(", "))
            }
            Form::Secret(_) => {
                "a path that begins with /, or %d/NAME for a credential; a file of mode 0600".to_owned()
            }
            Form::Secrets(_) => {
                "a list of paths that begin with /, or %d/NAME for credentials; files of mode 0600".to_owned()
            }
            Form::Command { or_same: false, .. } => "a list of words".to_owned(),
            Form::Command { or_same: true, .. } => "a list of words, or \"same\"".to_owned(),
            Form::Unit(_) => "a unit, such as \"ssh.service\"".to_owned(),
            Form::Bit(_) => "one bit of 32, such as 0x2000, or 0".to_owned(),
            Form::Opens(_) => "ports with their protocols, such as \"tcp/22, udp/51820\"".to_owned(),
            Form::Steps(_) => {
                "steps PORT, PORT:udp or PORT:tcp:FLAGS, such as \"7000, 8000:udp, 9000:tcp:fin\"".to_owned()
            }
            Form::Flags(_) => {
                "some of fin, syn, rst, psh, ack, urg, with ! before what must be clear; or \"any\""
                    .to_owned()
            }
        }
    }

    /// The lines in which the sample says what may be written.
    fn explained(&self) -> Vec<String> {
        match self {
            Form::Word { words, .. } => {
                let width = words.iter().map(|(word, _)| word.len()).max().unwrap_or(0) + 2;
                words.iter().map(|(word, meaning)| format!("  {:width$}  {meaning}", quoted(word))).collect()
            }
            Form::WordSet(words, _) => {
                let width = words.iter().map(|(word, _)| word.len()).max().unwrap_or(0) + 2;
                let mut lines = vec!["A list of:".to_owned()];
                lines.extend(
                    words.iter().map(|(word, meaning)| format!("  {:width$}  {meaning}", quoted(word))),
                );
                lines
            }
            Form::Switch(_) => Vec::new(),
            other => {
                let phrase = other.phrase();
                let mut letters = phrase.chars();
                let capital = letters.next().map(|first| first.to_ascii_uppercase());
                vec![format!("{}{}.", capital.map(String::from).unwrap_or_default(), letters.as_str())]
            }
        }
    }
}

fn steps(steps: &[WrittenStep]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn span(length: Duration) -> String {
    quoted(&Span(length).to_string())
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.map(|item| quoted(&item)).collect();
    format!("[{}]", items.join(", "))
}

/// A TOML basic string (toml.io/en/v1.0.0, "String").
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(control)).expect("a String takes every text");
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
