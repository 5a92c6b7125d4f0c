//! Configuration as text: the commented sample, and a given [`Config`] written so that it reads back the same.

use std::fmt::Write;
use std::time::Duration;

use super::Config;
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
    text
}

/// Every key of `config` with its value as TOML text, in the order of the sample: `respond.mode`, `"observe"`.
#[must_use]
pub fn lines(config: &Config) -> Vec<(String, String)> {
    let keys = SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section.name, key)));
    keys.map(|(section, key)| (format!("{section}.{}", key.name), key.written(config))).collect()
}

impl Key {
    /// The value that `config` holds for this key, as TOML text.
    #[must_use]
    pub fn written(&self, config: &Config) -> String {
        // The places are reached through `&mut Config`, so that the table needs one function a key.
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
            Form::Names(_, at) => list(at(&mut config).iter().cloned()),
            Form::Name(_, at) => quoted(at(&mut config)),
            Form::Path(_, at) => quoted(&at(&mut config).to_string_lossy()),
        }
    }
}

impl Form {
    /// What may be written, with unit and bounds, in one phrase: `a whole number of MiB from 1 to 1024`.
    #[must_use]
    pub fn phrase(&self) -> String {
        match self {
            Form::Word { words, .. } => {
                let words: Vec<String> = words.iter().map(|(word, _)| quoted(word)).collect();
                words.join(" or ")
            }
            Form::Switch(_) => "true or false".to_owned(),
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
            Form::Names(NameKind::Interface, _) => {
                "a list of interfaces, such as [\"eth0\", \"wg0\"]".to_owned()
            }
            Form::Names(NameKind::User | NameKind::Group, _) => {
                "a list of users, such as [\"anna\"]".to_owned()
            }
            Form::Name(kind, _) => format!("the name of {}", kind.word()),
            Form::Path(..) => "a path that begins with /".to_owned(),
        }
    }

    /// The lines in which the sample says what may be written.
    fn explained(&self) -> Vec<String> {
        match self {
            Form::Word { words, .. } => {
                let width = words.iter().map(|(word, _)| word.len()).max().unwrap_or(0) + 2;
                words.iter().map(|(word, meaning)| format!("  {:width$}  {meaning}", quoted(word))).collect()
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
