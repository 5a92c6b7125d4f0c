//! Port lists of portsentry.conf: commas, ranges, and what came in between.

use std::ops::Range;

use portcullis_core::net::PortSet;

use super::lines::{Entry, Lines};
use super::{Dialect, Weight};

/// How many ports 1.x watches at most (`MAXSOCKS`); it drops the rest in silence.
const MOST_OF_ONE: usize = 64;

/// The ports of a list; what is no port is said and left out.
pub(super) fn read(lines: &mut Lines, entry: &Entry) -> PortSet {
    let mut ranges = Vec::new();
    let mut start = 0;
    let mut blank = None;
    let (mut count, mut range) = (0, None);
    for element in entry.value.split(',') {
        let end = start + element.len();
        let trimmed = element.trim();
        let lead = element.len() - element.trim_start().len();
        let place = start + lead..start + lead + trimmed.len();
        start = end + 1;
        if trimmed.is_empty() {
            continue;
        }
        count += 1;
        if trimmed.len() < element.len() {
            blank.get_or_insert(place.clone());
        }
        match element_range(trimmed) {
            Ok((low, high)) if low <= high => {
                if low < high {
                    range.get_or_insert((place, low, high));
                }
                ranges.push((low, high));
            }
            Ok((high, low)) => {
                ranges.push((low, high));
                let says =
                    format!("the range {trimmed} runs backwards; {} could not read it", lines.dialect.name());
                lines.say(Weight::Repaired, entry.place(place), says, format!("write {low}-{high}"));
            }
            Err(why) => {
                let says = format!("\"{trimmed}\" is no port: {why}");
                lines.say(
                    Weight::LeftOut,
                    entry.place(place),
                    says,
                    "write ports from 1 to 65535, commas between them",
                );
            }
        }
    }
    notes(lines, entry, blank, range, count);
    PortSet::from_ranges(ranges)
}

fn notes(
    lines: &mut Lines,
    entry: &Entry,
    blank: Option<Range<usize>>,
    range: Option<(Range<usize>, u16, u16)>,
    count: usize,
) {
    let name = entry.key.name();
    if let Some(place) = blank {
        let says = match lines.dialect {
            Dialect::One => {
                format!("{name} has blanks between its ports; they do no harm, though the file forbids them")
            }
            Dialect::Two => {
                format!("{name} has blanks between its ports; PortSentry 2.x read them before a port only")
            }
        };
        let weight = if lines.dialect == Dialect::One { Weight::Note } else { Weight::Repaired };
        lines.say(weight, entry.place(place), says, "write commas without blanks");
    }
    if let Some((place, low, high)) = range.filter(|_| lines.dialect == Dialect::One) {
        let says = format!("PortSentry 1.x knew no ranges and watched only {low}; read as {low} to {high}");
        lines.say(Weight::Repaired, entry.place(place), says, "nothing to mend for portcullis");
    }
    if lines.dialect == Dialect::One && count > MOST_OF_ONE && !name.starts_with("ADVANCED") {
        let says = format!(
            "{name} has {count} entries; PortSentry 1.x watched the first {MOST_OF_ONE}, here all are"
        );
        lines.say(Weight::Note, entry.value_span(), says, "nothing to mend for portcullis");
    }
}

/// One element: a port, or a range as it is written (perhaps backwards).
fn element_range(text: &str) -> Result<(u16, u16), &'static str> {
    match text.split_once('-') {
        None => port(text).map(|port| (port, port)),
        Some((low, high)) => Ok((port(low.trim())?, port(high.trim())?)),
    }
}

fn port(text: &str) -> Result<u16, &'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("only digits may stand here");
    }
    match text.parse() {
        Ok(0) => Err("0 is none"),
        Ok(port) => Ok(port),
        Err(_) => Err("the highest is 65535"),
    }
}
