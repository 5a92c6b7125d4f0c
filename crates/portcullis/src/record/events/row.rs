//! A line of JSON as a row, and back.

use std::net::IpAddr;

use jiff::Timestamp;
use portcullis_core::net::Prefix;
use rusqlite::Row as Found;

use super::node::Node;
use super::packed::{self, COLUMN, Context, Damaged, Unpacker};
use super::words::{DECISIONS, ENDED, EVENTS, KINDS, event_code, kind_bit};
use crate::record::{LogEvent, json};

/// The columns that [`Row::read`] wants, in this order.
pub(super) const COLUMNS: &str = "number, time, event, source, width, kinds, ports, body, verdict, id";

/// A row that can be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) time: i64,
    pub(super) event: u8,
    pub(super) source: Option<IpAddr>,
    pub(super) width: Option<u8>,
    pub(super) verdict: Option<u8>,
    pub(super) kinds: u64,
    pub(super) ports: Vec<u16>,
    pub(super) id: Option<u64>,
    pub(super) body: Vec<u8>,
}

/// The line of an event as the store takes it.
#[must_use]
pub fn line(event: &LogEvent) -> Node {
    parse(&json::text(&json::Line::from(event))).expect("a line of ours is JSON")
}

/// A line as it was told once; `None` if it is none.
#[must_use]
pub fn parse(line: &str) -> Option<Node> {
    serde_json::from_str(line).ok()
}

impl Row {
    /// The row of a line; `None` where it has no time, or is no object.
    pub(super) fn of(line: &Node) -> Option<Row> {
        let Node::Object(fields) = line else { return None };
        let time = line.text("time")?.parse::<Timestamp>().ok()?.as_millisecond();
        let event = event_code(line.text("event").unwrap_or_default());
        let (source, width) = whom(line).unzip();
        let kinds = kinds(line).unwrap_or(0);
        let ports = ports(line).unwrap_or_default();
        let id = line.text("id").and_then(number_of);
        let verdict = line.text("decision").map(|decision| {
            let place = DECISIONS.iter().position(|own| *own == decision).unwrap_or(0);
            let place = u8::try_from(place).expect("DECISIONS is short");
            if line.get("ended").is_some() { place + ENDED } else { place }
        });
        let context = Context { time, source };
        let mut body = Vec::with_capacity(96);
        for (key, value) in fields {
            let is_column = match key.as_str() {
                "time" => continue,
                "event" if event != 0 => continue,
                "source" => width == Some(None),
                "kinds" | "kind" => kinds != 0 && print_kinds(key, kinds).as_ref() == Some(value),
                "ports" | "port" => !ports.is_empty() && print_ports(key, &ports).as_ref() == Some(value),
                _ => false,
            };
            packed::pack_word(key, &mut body);
            if is_column {
                body.push(COLUMN);
            } else {
                packed::pack(value, context, &mut body);
            }
        }
        Some(Row { time, event, source, width: width.flatten(), verdict, kinds, ports, id, body })
    }

    /// The column of the source.
    pub(super) fn source_field(&self) -> Option<Vec<u8>> {
        self.source.map(packed::octets)
    }

    /// The column of the kinds.
    pub(super) fn kinds_field(&self) -> Option<i64> {
        (self.kinds != 0).then(|| self.kinds.cast_signed())
    }

    /// The column of the ports.
    pub(super) fn ports_field(&self) -> Option<Vec<u8>> {
        if self.ports.is_empty() {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.ports.len() + 2);
        let numbers: Vec<u64> = self.ports.iter().map(|port| u64::from(*port)).collect();
        packed::put_ascending(&numbers, &mut bytes);
        Some(bytes)
    }

    /// Reads [`COLUMNS`]. The outer error is the store's, the inner one this row's.
    pub(super) fn read(found: &Found<'_>) -> rusqlite::Result<Result<Row, Damaged>> {
        let event: i64 = found.get(2)?;
        let source = match found.get_ref(3)?.as_blob_or_null()? {
            None => Ok(None),
            Some(octets) => packed::address(octets).map(Some).ok_or(Damaged),
        };
        let width: Option<i64> = found.get(4)?;
        let width = width.map(|width| u8::try_from(width).map_err(|_| Damaged)).transpose();
        let verdict: Option<i64> = found.get(8)?;
        let verdict = verdict.map(|verdict| u8::try_from(verdict).map_err(|_| Damaged)).transpose();
        let kinds: Option<i64> = found.get(5)?;
        let ports = found.get_ref(6)?.as_blob_or_null()?.map_or(Ok(Vec::new()), read_ports);
        let (time, body) = (found.get(1)?, found.get_ref(7)?.as_blob()?.to_vec());
        let id: Option<i64> = found.get(9)?;
        let row = || {
            Ok(Row {
                time,
                event: u8::try_from(event).map_err(|_| Damaged)?,
                source: source?,
                width: width?,
                verdict: verdict?,
                kinds: kinds.unwrap_or(0).cast_unsigned(),
                ports: ports?,
                id: id.map(i64::cast_unsigned),
                body,
            })
        };
        Ok(row())
    }

    /// The line, as it was told.
    pub(super) fn line(&self) -> Result<Node, Damaged> {
        let context = Context { time: self.time, source: self.source };
        let moment = Timestamp::from_millisecond(self.time).map_err(|_| Damaged)?;
        let moment = moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let mut fields = vec![("time".to_owned(), Node::Text(moment))];
        if self.event != 0 {
            let name = EVENTS.get(usize::from(self.event)).ok_or(Damaged)?;
            fields.push(("event".to_owned(), Node::Text((*name).to_owned())));
        }
        let mut unpacker = Unpacker::new(&self.body, context);
        while !unpacker.is_done() {
            let key = unpacker.word()?;
            let value = match (unpacker.is_column(), key.as_str()) {
                (false, _) => unpacker.value()?,
                (true, "source") => Node::Text(self.source.ok_or(Damaged)?.to_string()),
                (true, "kinds" | "kind") => print_kinds(&key, self.kinds).ok_or(Damaged)?,
                (true, "ports" | "port") => print_ports(&key, &self.ports).ok_or(Damaged)?,
                (true, _) => return Err(Damaged),
            };
            fields.push((key, value));
        }
        Ok(Node::Object(fields))
    }

    /// Whose event it is: one address, or a network.
    pub(super) fn whose(&self) -> Option<Prefix> {
        let source = self.source?;
        Some(self.width.map_or(Prefix::single(source), |width| Prefix::containing(source, width)))
    }
}

/// Whose event a line is, and the length if it is a network.
fn whom(line: &Node) -> Option<(IpAddr, Option<u8>)> {
    if let Some(source) = line.text("source")
        && let Ok(address) = source.parse::<IpAddr>()
        && address.to_string() == source
    {
        return Some((address, None));
    }
    let prefix: Prefix = line.text("prefix")?.parse().ok()?;
    // A single address has its own length, so that the column never tells a `source` field that was not there.
    Some((prefix.address(), Some(prefix.length())))
}

fn kinds(line: &Node) -> Option<u64> {
    match (line.get("kinds"), line.text("kind")) {
        (Some(Node::List(list)), _) => {
            Some(list.iter().filter_map(Node::as_text).filter_map(kind_bit).fold(0, |all, bit| all | bit))
        }
        (_, Some(kind)) => kind_bit(kind),
        _ => None,
    }
}

fn print_kinds(key: &str, kinds: u64) -> Option<Node> {
    let each = KINDS.iter().enumerate().filter(|(place, _)| kinds & (1 << place) != 0);
    let mut names = each.map(|(_, name)| Node::Text((*name).to_owned()));
    match key {
        "kind" => names.next(),
        _ => Some(Node::List(names.collect())),
    }
}

fn ports(line: &Node) -> Option<Vec<u16>> {
    let port = |node: &Node| node.as_whole().and_then(|port| u16::try_from(port).ok());
    let ports: Vec<u16> = match line.get("ports") {
        Some(Node::List(list)) => list.iter().map(port).collect::<Option<_>>()?,
        _ => vec![line.get("port").and_then(port)?],
    };
    ports.is_sorted_by(|low, high| low < high).then_some(ports)
}

fn print_ports(key: &str, ports: &[u16]) -> Option<Node> {
    let mut numbers = ports.iter().map(|port| Node::Whole(u64::from(*port)));
    match key {
        "port" => numbers.next(),
        _ => Some(Node::List(numbers.collect())),
    }
}

/// The ports that [`Row::ports_field`] wrote.
pub(super) fn read_ports(bytes: &[u8]) -> Result<Vec<u16>, Damaged> {
    let context = Context { time: 0, source: None };
    let numbers = Unpacker::new(bytes, context).ascending()?;
    numbers.into_iter().map(|port| u16::try_from(port).map_err(|_| Damaged)).collect()
}

/// The number in `s-7f3a` or `b-7f3a`.
#[must_use]
pub fn number_of(id: &str) -> Option<u64> {
    let digits = id.strip_prefix("s-").or_else(|| id.strip_prefix("b-"))?;
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_number.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of each event, as the log tells it.
    const LINES: &str = include_str!("lines.jsonl");

    #[test]
    fn every_line_comes_out_of_its_row_letter_by_letter() {
        for text in LINES.lines() {
            let row = Row::of(&parse(text).unwrap()).unwrap();
            let told = row.line().unwrap();
            assert_eq!(json::text(&told), text);
            crate::schema::check("event", text);
            assert_ne!(row.event, 0, "{text}: a name that the store does not know takes more room");
        }
    }

    #[test]
    fn a_scan_takes_few_bytes() {
        let text = LINES.lines().find(|line| line.contains("\"scan\"")).unwrap();
        let row = Row::of(&parse(text).unwrap()).unwrap();
        let ports = row.ports_field().unwrap().len();
        assert!(row.body.len() + ports < 80, "{} of {}: {:?}", row.body.len() + ports, text.len(), row.body);
    }

    #[test]
    fn whose_an_event_is_comes_from_its_source_or_its_prefix() {
        let whose = |text: &str| Row::of(&parse(text).unwrap()).unwrap().whose().map(|own| own.to_string());
        let time = r#""time":"2026-11-21T02:08:20.453Z""#;
        for (rest, expected) in [
            (r#""event":"probe","source":"203.0.113.9""#, Some("203.0.113.9/32")),
            (r#""event":"ban","prefix":"203.0.113.9/32""#, Some("203.0.113.9/32")),
            (r#""event":"ban","prefix":"2001:db8::/64""#, Some("2001:db8::/64")),
            (r#""event":"start""#, None),
            (r#""event":"unban","prefix":"nonsense""#, None),
        ] {
            assert_eq!(whose(&format!("{{{time},{rest}}}")).as_deref(), expected, "{rest}");
        }
    }

    #[test]
    fn what_is_odd_is_kept_all_the_same() {
        let time = r#""time":"2026-11-21T02:08:20.453Z""#;
        for rest in [
            r#""event":"of tomorrow","new":{"a":[1,2.5,null]}"#,
            r#""event":"scan","source":"::FFFF:1.2.3.4","kinds":["xmas","syn"],"ports":[9,7],"port":70000"#,
            r#""event":"scan","kinds":["new"],"ports":[],"kind":"syn""#,
        ] {
            let text = format!("{{{time},{rest}}}");
            assert_eq!(json::text(&Row::of(&parse(&text).unwrap()).unwrap().line().unwrap()), text);
        }
    }
}
