//! One value of the file, read into its place in a [`Config`] by what the table says of its key.

use std::ops::Range;
use std::path::PathBuf;

use ::toml::de::DeValue;
use portcullis_core::net::{PortSet, PortSetError, Prefix, PrefixError};

use super::Config;
use super::duration::{Span, SpanError};
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

/// Puts `value`, which stands in the file as `raw`, into `config`, or says all that is wrong with it and leaves
/// `config` alone.
///
/// `start` is where the value begins in the file: items of a list know their places from the file's beginning.
pub(super) fn read(form: &Form, value: &DeValue, start: usize, raw: &str, config: &mut Config) -> Vec<Wrong> {
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
        Form::Names(kind, at) => {
            let one = |text: &str| name(*kind, text).map(|()| text.to_owned());
            return list(value, start, one).map_or_else(|wrongs| wrongs, |read| put(at(config), read));
        }
        Form::Name(kind, at) => text(value)
            .and_then(|text| name(*kind, text).map(|()| text.to_owned()))
            .map(|name| *at(config) = name),
        Form::Path(longest, at) => path(*longest, value).map(|path| *at(config) = path),
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
    let written = text(value)?;
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
