//! One value of the file, read into its place by what the table says of its key.

use std::ops::Range;
use std::path::PathBuf;

use ::toml::de::DeValue;
use portcullis_core::net::{PortSet, PortSetError, Prefix, PrefixError};

use super::doors::{Flags, Opens, SecretFile, Slip, WrittenStep};
use super::duration::{Span, SpanError};
use super::host_name::{HOST_NAMES, is_host_name};
use super::schema::{Form, NameKind};
use super::suggest::nearest;
use super::write::quoted;

/// What is wrong with a value.
pub(super) struct Wrong {
    /// Where, in bytes from the value's beginning; `None` is the whole value.
    pub within: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// What to write; `{key}` stands for the key's name. `None`: what the key's form says of itself.
    pub mend: Option<String>,
}

impl Wrong {
    fn new(message: impl Into<String>) -> Wrong {
        Wrong { within: None, message: message.into(), mend: None }
    }

    fn mend(self, mend: impl Into<String>) -> Wrong {
        Wrong { mend: Some(mend.into()), ..self }
    }

    /// At the first place where `part` stands in `raw`, the value as written.
    fn at_part(self, raw: &str, part: &str) -> Wrong {
        let place = raw.find(part).filter(|_| !part.is_empty());
        Wrong { within: place.map(|start| start..start + part.len()), ..self }
    }
}

/// Puts `value`, which stands in the file as `raw`, into `config` (all of it, or a door), or says all that is wrong
/// with it and leaves `config` alone.
///
/// `start` is where the value begins in the file: items of a list know their places from the file's beginning.
pub(super) fn read<T>(
    form: &Form<T>,
    value: &DeValue,
    start: usize,
    raw: &str,
    config: &mut T,
) -> Vec<Wrong> {
    let outcome = match form {
        Form::Word { words, set, .. } => word(words, value).map(|index| set(config, index)),
        Form::Switch(at) => switch(value).map(|on| *at(config) = on),
        Form::Whole { low, high, set, .. } => whole(*low, *high, value).map(|number| set(config, number)),
        Form::Factor { low, high, at } => factor(*low, *high, value).map(|factor| *at(config) = factor),
        Form::Span { low, high, at } => span(value)
            .and_then(|read| bounded(read, Span(*low), Span(*high)))
            .map(|read| *at(config) = read.0),
        Form::SpanOrEver { low, high, at } => match value.as_str() {
            Some("ever") => {
                *at(config) = None;
                Ok(())
            }
            _ => span(value)
                .and_then(|read| bounded(read, Span(*low), Span(*high)))
                .map(|read| *at(config) = Some(read.0)),
        },
        Form::Ports(at) => ports(value, raw).map(|ports| *at(config) = ports),
        Form::Prefixes(at) => {
            return list(value, start, prefix).map_or_else(|wrongs| wrongs, |read| put(at(config), read));
        }
        Form::Friends(at) => {
            return list(value, start, friend).map_or_else(|wrongs| wrongs, |read| friends(at(config), read));
        }
        Form::Names(kind, at) => {
            let one = |text: &str| name(*kind, text).map(|()| text.to_owned());
            return list(value, start, one).map_or_else(|wrongs| wrongs, |read| put(at(config), read));
        }
        Form::Name(kind, at) => text(value)
            .and_then(|text| name(*kind, text).map(|()| text.to_owned()))
            .map(|name| *at(config) = name),
        Form::Path(longest, at) => path(*longest, value).map(|path| *at(config) = path),
        Form::WordSet(words, at) => {
            let one = |text: &str| word_of(words, text);
            return list(value, start, one).map_or_else(
                |wrongs| wrongs,
                |mut places| {
                    places.sort_unstable();
                    places.dedup();
                    put(at(config), places)
                },
            );
        }
        Form::Secret(at) => text(value)
            .and_then(|text| if text.is_empty() { Ok(None) } else { secret(text).map(Some) })
            .map(|file| *at(config) = file),
        Form::Secrets(at) => {
            return list(value, start, secret).map_or_else(|wrongs| wrongs, |read| put(at(config), read));
        }
        Form::Command { or_same: true, at } if value.as_str() == Some("same") => {
            *at(config) = None;
            Ok(())
        }
        Form::Command { at, .. } => {
            return command(value, start, raw).map_or_else(
                |wrongs| wrongs,
                |words| {
                    *at(config) = Some(words);
                    Vec::new()
                },
            );
        }
        Form::Unit(at) => text(value).and_then(unit).map(|unit| *at(config) = unit),
        Form::Bit(at) => bit(value).map(|bit| *at(config) = bit),
        Form::Opens(at) => text(value)
            .and_then(|text| slipped(raw, text, Opens::read(text)))
            .map(|opens| *at(config) = opens),
        Form::Steps(at) => text(value)
            .and_then(|text| slipped(raw, text, WrittenStep::read_all(text)))
            .map(|steps| *at(config) = steps),
        Form::Flags(at) => text(value)
            .and_then(|text| slipped(raw, text, Flags::read(text, ',')))
            .map(|flags| *at(config) = flags),
    };
    outcome.err().into_iter().collect()
}

fn put<T>(place: &mut Vec<T>, read: Vec<T>) -> Vec<Wrong> {
    *place = read;
    Vec::new()
}

/// What stands there, as a reader who knows no TOML calls it.
fn kind_of(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

fn unexpected(value: &DeValue) -> Wrong {
    Wrong::new(format!("{} cannot stand here", kind_of(value)))
}

fn text<'v>(value: &'v DeValue) -> Result<&'v str, Wrong> {
    value.as_str().ok_or_else(|| unexpected(value))
}

fn word(words: &[(&str, &str)], value: &DeValue) -> Result<usize, Wrong> {
    text(value).and_then(|written| word_of(words, written))
}

fn word_of(words: &[(&str, &str)], written: &str) -> Result<usize, Wrong> {
    words.iter().position(|(word, _)| *word == written).ok_or_else(|| {
        let wrong = Wrong::new(format!("\"{written}\" is not one of its values"));
        match nearest(written, words.iter().map(|(word, _)| *word)) {
            Some(word) => wrong.mend(format!("did you mean \"{word}\"?")),
            None => {
                let all: Vec<String> =
                    words.iter().map(|(word, about)| format!("\"{word}\" ({about})")).collect();
                wrong.mend(format!("the values are {}", all.join(", ")))
            }
        }
    })
}

fn switch(value: &DeValue) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| match value.as_str().map(str::to_lowercase).as_deref() {
        Some("true" | "yes" | "on") => unexpected(value).mend("write {key} = true, without quotes"),
        Some("false" | "no" | "off") => unexpected(value).mend("write {key} = false, without quotes"),
        _ => unexpected(value),
    })
}

/// The number of an integer value; TOML's are 64 bits wide, longer ones are out of every bound.
fn integer(value: &DeValue) -> Option<Result<i64, Wrong>> {
    let integer = value.as_integer()?;
    let number = i64::from_str_radix(integer.as_str(), integer.radix());
    Some(number.map_err(|_| Wrong::new(format!("{integer} is out of bounds"))))
}

fn whole(low: u64, high: u64, value: &DeValue) -> Result<u64, Wrong> {
    let number = match integer(value) {
        Some(number) => number?,
        None => {
            let wrong = unexpected(value);
            return Err(match value.as_str().and_then(|text| text.trim().parse::<u64>().ok()) {
                Some(number) => wrong.mend(format!("write {{key}} = {number}, without quotes")),
                None => wrong,
            });
        }
    };
    match u64::try_from(number) {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        _ => Err(Wrong::new(format!("{number} is out of bounds"))),
    }
}

fn factor(low: f64, high: f64, value: &DeValue) -> Result<f64, Wrong> {
    let number = match (integer(value), value.as_float()) {
        (Some(number), _) => number? as f64,
        (None, Some(float)) => float.as_str().parse().map_err(|_| unexpected(value))?,
        (None, None) => return Err(unexpected(value)),
    };
    if (low..=high).contains(&number) {
        Ok(number)
    } else {
        Err(Wrong::new(format!("{number} is out of bounds")))
    }
}

fn span(value: &DeValue) -> Result<Span, Wrong> {
    let no_unit = |number: &str| {
        Wrong::new(format!("{number} has no unit"))
            .mend(format!("write {{key}} = \"{number}s\" for seconds, or \"{number}m\" for minutes"))
    };
    if let Some(number) = value.as_integer() {
        return Err(no_unit(number.as_str()));
    }
    let written = text(value)?;
    written.parse().map_err(|error: SpanError| match error {
        SpanError::NoUnit(_) if written.trim().bytes().all(|b| b.is_ascii_digit()) => no_unit(written.trim()),
        SpanError::Unit(ref unit) => {
            let unit = unit.to_lowercase();
            let meant = ["ms", "s", "m", "h", "d", "w"].into_iter().find(|short| {
                let long = match *short {
                    "ms" => "milliseconds",
                    "s" => "seconds",
                    "m" => "minutes",
                    "h" => "hours",
                    "d" => "days",
                    _ => "weeks",
                };
                unit == *short
                    || (unit.len() > 1 && long.starts_with(&unit))
                    || (*short == "s" && unit == "sec")
            });
            let wrong = Wrong::new(error.to_string());
            match meant {
                Some(short) => {
                    let number: String = written.chars().take_while(|c| c.is_ascii_digit()).collect();
                    wrong.mend(format!("write the unit short, such as \"{number}{short}\""))
                }
                None => wrong,
            }
        }
        other => Wrong::new(format!("\"{written}\" is {other}"))
            .mend("write a number and a unit, such as \"90s\", \"10m\", \"1h30m\", \"7d\""),
    })
}

fn bounded(read: Span, low: Span, high: Span) -> Result<Span, Wrong> {
    if (low..=high).contains(&read) {
        Ok(read)
    } else {
        Err(Wrong::new(format!("\"{read}\" is out of bounds")))
    }
}

fn ports(value: &DeValue, raw: &str) -> Result<PortSet, Wrong> {
    let written = match value {
        DeValue::String(written) => written,
        DeValue::Integer(number) => {
            return Err(unexpected(value).mend(format!("write {{key}} = \"{number}\", with quotes")));
        }
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    DeValue::Integer(number) => Some(number.to_string()),
                    _ => None,
                })
                .collect();
            let wrong = unexpected(value);
            return Err(match items {
                Some(items) => wrong.mend(format!("write {{key}} = {}", quoted(&items.join(", ")))),
                None => wrong,
            });
        }
        _ => return Err(unexpected(value)),
    };
    written.parse().map_err(|error: PortSetError| match error {
        PortSetError::Part(part) => Wrong::new(format!("\"{part}\" is no port")).at_part(raw, &part),
        PortSetError::Backwards(low, high) => {
            let (backwards, forwards) = (format!("{high}-{low}"), format!("{low}-{high}"));
            Wrong::new(format!("the range {backwards} runs backwards"))
                .mend(format!("write {forwards}"))
                .at_part(raw, &backwards)
        }
    })
}

fn prefix(text: &str) -> Result<Prefix, Wrong> {
    text.parse().map_err(|error| match error {
        PrefixError::HostBits(meant) => Wrong::new(format!("\"{text}\" has bits set behind its length"))
            .mend(format!("write \"{meant}\" for the network, or the address without its length")),
        PrefixError::Address => Wrong::new(format!("\"{text}\" is no IPv4 or IPv6 address"))
            .mend("write addresses and networks, such as \"192.0.2.7\" or \"2001:db8::/32\""),
        PrefixError::Length => Wrong::new(format!("\"{text}\" has a length that does not fit"))
            .mend("write 0 to 32 behind the / for IPv4, 0 to 128 for IPv6"),
    })
}

/// A prefix, or the name of a host. What looks like neither was most likely meant as an address.
fn friend(text: &str) -> Result<Friend, Wrong> {
    match is_host_name(text) {
        true => Ok(Friend::Name(text.to_owned())),
        false => prefix(text).map(Friend::Prefix).map_err(|wrong| match wrong.mend.as_deref() {
            Some(mend) if mend.starts_with("write addresses") => wrong
                .mend("write addresses, networks and names, such as \"192.0.2.7\" or \"home.example.org\""),
            _ => wrong,
        }),
    }
}

/// Puts them where they belong; too many names are one mistake.
fn friends((prefixes, names): (&mut Vec<Prefix>, &mut Vec<String>), read: Vec<Friend>) -> Vec<Wrong> {
    let count = read.iter().filter(|friend| matches!(friend, Friend::Name(_))).count();
    if count > HOST_NAMES {
        return vec![
            Wrong::new(format!("{count} names are more than are looked up"))
                .mend(format!("write at most {HOST_NAMES} names, and networks for the others")),
        ];
    }
    prefixes.clear();
    names.clear();
    for friend in read {
        match friend {
            Friend::Prefix(prefix) => prefixes.push(prefix),
            Friend::Name(name) => names.push(name),
        }
    }
    Vec::new()
}

/// One entry of an allow list.
enum Friend {
    Prefix(Prefix),
    Name(String),
}

fn name(kind: NameKind, name: &str) -> Result<(), Wrong> {
    if kind.fits(name) {
        return Ok(());
    }
    Err(Wrong::new(format!("\"{name}\" cannot be the name of {}", kind.word())).mend(match kind {
        NameKind::Interface => "write a name as `ip link` shows it, such as \"eth0\"",
        NameKind::User => "write a name as the first column of /etc/passwd has it",
        NameKind::Group => "write a name as the first column of /etc/group has it",
    }))
}

fn path(longest: usize, value: &DeValue) -> Result<PathBuf, Wrong> {
    let written = text(value)?;
    if !written.starts_with('/') || written.contains('\0') {
        return Err(Wrong::new(format!("\"{written}\" is no absolute path")));
    }
    if written.len() > longest {
        return Err(Wrong::new(format!("this path has {} bytes", written.len()))
            .mend(format!("write one of at most {longest} bytes")));
    }
    Ok(PathBuf::from(written))
}

fn secret(text: &str) -> Result<SecretFile, Wrong> {
    SecretFile::new(text).ok_or_else(|| {
        Wrong::new(format!("\"{text}\" is no absolute path"))
            .mend("write a path that begins with /, or %d/NAME for a credential of the unit")
    })
}

/// The words of a command. A TOML text may hold a NUL, which no argument can (execve(2)).
fn command(value: &DeValue, start: usize, raw: &str) -> Result<Vec<String>, Vec<Wrong>> {
    if let Some(line) = value.as_str() {
        let words: Vec<String> = line.split_whitespace().map(quoted).collect();
        return Err(vec![unexpected(value).mend(format!(
            "write each word by itself, {{key}} = [{}]; or for a shell {{key}} = [{}] and shell = true",
            words.join(", "),
            quoted(line)
        ))]);
    }
    let one = |text: &str| match text {
        _ if text.contains('\0') => {
            Err(Wrong::new("a word of a command can't hold a NUL").mend("take it out"))
        }
        _ => Ok(text.to_owned()),
    };
    let words = list(value, start, one)?;
    match words.first() {
        Some(program) if program.trim().is_empty() => {
            let wrong = Wrong::new("the program is missing").at_part(raw, "\"\"");
            Err(vec![wrong.mend("write its path first, such as \"/usr/bin/logger\"")])
        }
        _ => Ok(words),
    }
}

/// The name of a unit (systemd.unit(5)): letters, digits and `:-_.\@`, at most 255 bytes, with what it is at its end.
fn unit(text: &str) -> Result<Option<String>, Wrong> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
    };
    let kinds = ["service", "socket", "target"];
    match text.rsplit_once('.') {
        Some((name, kind)) if is_name(name) && kinds.contains(&kind) && text.len() <= 255 => {
            Ok(Some(text.to_owned()))
        }
        _ if is_name(text) && !text.contains('.') => {
            Err(Wrong::new(format!("\"{text}\" does not say what it is"))
                .mend(format!("write \"{text}.service\"")))
        }
        _ => Err(Wrong::new(format!("\"{text}\" can't be the name of a unit"))
            .mend("write a name as `systemctl` shows it, such as \"ssh.service\"")),
    }
}

fn bit(value: &DeValue) -> Result<Option<u32>, Wrong> {
    let number = match integer(value) {
        Some(number) => number?,
        None => return Err(unexpected(value)),
    };
    match u32::try_from(number) {
        Ok(0) => Ok(None),
        Ok(bit) if bit.is_power_of_two() => Ok(Some(bit)),
        Ok(bits) => Err(Wrong::new(format!("{bits:#x} has {} bits", bits.count_ones()))),
        Err(_) => Err(Wrong::new(format!("{number} is no bit of 32"))),
    }
}

/// What was read of `text`, which stands in the file as `raw`; a slip is shown at its place, unless the text was
/// written with escapes.
fn slipped<R>(raw: &str, text: &str, read: Result<R, Slip>) -> Result<R, Wrong> {
    read.map_err(|slip| {
        let is_plain = raw.get(1..raw.len().saturating_sub(1)) == Some(text);
        let within = is_plain.then(|| {
            let start = slip.within.start + 1;
            start..(slip.within.end + 1).max(start + 1)
        });
        Wrong { within, message: slip.message, mend: Some(slip.mend) }
    })
}

/// Each item of a list of texts by `one`; all that is wrong with them, each at its place.
fn list<T>(
    value: &DeValue,
    start: usize,
    one: impl Fn(&str) -> Result<T, Wrong>,
) -> Result<Vec<T>, Vec<Wrong>> {
    let DeValue::Array(items) = value else {
        let wrong = unexpected(value);
        return Err(vec![match value.as_str() {
            Some(text) => {
                let items: Vec<String> =
                    text.split([',', ' ']).filter(|item| !item.is_empty()).map(quoted).collect();
                wrong.mend(format!("write {{key}} = [{}]", items.join(", ")))
            }
            None => wrong,
        }]);
    };
    let (mut read, mut wrongs) = (Vec::new(), Vec::new());
    for item in items {
        match text(item.get_ref()).and_then(&one) {
            Ok(item) => read.push(item),
            Err(wrong) => {
                let place = item.span();
                let within = place.start.saturating_sub(start)..place.end.saturating_sub(start);
                wrongs.push(Wrong { within: Some(within), ..wrong });
            }
        }
    }
    if wrongs.is_empty() { Ok(read) } else { Err(wrongs) }
}
