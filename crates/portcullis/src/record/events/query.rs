//! Asking the events: by time, source, port, kind, event and door, a bounded page at a time.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use portcullis_core::net::Prefix;
use rusqlite::{Connection, Statement, params};
use serde::{Deserialize, Serialize};

use super::chapter::{CHAPTER, may_hold};
use super::node::Node;
use super::packed::octets;
use super::row::{COLUMNS, Row};
use super::words::{DECISIONS, ENDED, event_code, kind_bit};
use crate::record::json;
use crate::record::store::StoreError;

/// Of so many events of one source its own index is used; of more, they are found faster among all.
const OF_ONE_SOURCE: usize = 5000;

/// So many events are looked at for one page, so that none takes longer than some milliseconds.
const LOOKED_AT: usize = 10_000;

/// What is asked for. Whatever is not said is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Not before this moment, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Not after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Of this address or network: events of addresses in it, and of networks that it lies in.
    #[serde(skip_serializing_if = "Option::is_none", with = "prefix_text")]
    pub source: Option<Prefix>,
    /// Scans and probes that touched this port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Scans and probes with this kind of packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// These events; all, if none is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Events of this door.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// The scan or the ban of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

mod prefix_text {
    use super::{Prefix, Serialize};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(prefix: &Option<Prefix>, to: S) -> Result<S::Ok, S::Error> {
        prefix.map(|prefix| prefix.to_string()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Prefix>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

/// One page of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// What is asked for.
    pub filter: Filter,
    /// Newest first.
    pub is_backwards: bool,
    /// Behind the event of this number, in the direction of reading; `None` begins.
    pub after: Option<i64>,
    /// At most so many lines.
    pub at_most: usize,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The lines, in the direction of reading.
    pub lines: Vec<String>,
    /// Where the next page begins; `None` where there is none. A page may be empty and have a next.
    pub next: Option<i64>,
    /// The number of the newest event that is kept, whatever was asked for; 0 if there is none.
    pub newest: i64,
    /// Rows that could not be understood and were passed over.
    pub damaged: u64,
}

/// The events, open for reading.
#[derive(Debug)]
pub struct EventReader {
    connection: Connection,
    path: PathBuf,
}

impl EventReader {
    pub(super) fn new(connection: Connection, path: PathBuf) -> EventReader {
        EventReader { connection, path }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds one page.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn page(&self, page: &Page) -> Result<Found, StoreError> {
        self.find(page).map_err(|error| StoreError::of(&self.path, error))
    }

    fn find(&self, page: &Page) -> rusqlite::Result<Found> {
        // What is written in between is not seen, so that a page and its end belong together.
        let transaction = self.connection.unchecked_transaction()?;
        let newest = transaction
            .query_row("SELECT coalesce(max(number), 0) FROM events", [], |row| row.get::<_, i64>(0))?;
        let mut search = Search { page, found: Found { newest, ..Found::default() } };
        match search.numbers(&transaction)? {
            Some(numbers) => search.among(&transaction, &numbers)?,
            None => search.chapter_by_chapter(&transaction, newest)?,
        }
        Ok(search.found)
    }

    /// Hands every event that `filter` asks for to `each`, oldest first, without making lines of them.
    ///
    /// # Errors
    /// As SQLite says.
    pub(crate) fn walk(&self, filter: &Filter, mut each: impl FnMut(&Event<'_>)) -> Result<u64, StoreError> {
        let mut walk = || {
            let transaction = self.connection.unchecked_transaction()?;
            let page = Page { filter: filter.clone(), is_backwards: false, after: None, at_most: usize::MAX };
            let wanted = Wanted::of(filter);
            let mut damaged = 0;
            let mut select = transaction.prepare(&format!(
                "SELECT {COLUMNS} FROM events WHERE number >= ?1 AND number < ?2 ORDER BY number"
            ))?;
            let mut chapters = chapters(&transaction, &page)?;
            let mut found = chapters.query(params![0, i64::MAX, page.since(), page.until()])?;
            while let Some(chapter) = found.next()? {
                if !wanted.may_be_in(chapter)? {
                    continue;
                }
                let number: i64 = chapter.get(0)?;
                let mut rows = select.query([number * CHAPTER, (number + 1) * CHAPTER])?;
                while let Some(row) = rows.next()? {
                    match Row::read(row)? {
                        Ok(row) if wanted.is(&row) => each(&Event { row: &row }),
                        Ok(_) => {}
                        Err(_) => damaged += 1,
                    }
                }
            }
            Ok(damaged)
        };
        walk().map_err(|error| StoreError::of(&self.path, error))
    }
}

/// An event as [`EventReader::walk`] hands it out; its line is made only where it is needed.
pub(crate) struct Event<'a> {
    row: &'a Row,
}

impl Event<'_> {
    /// Milliseconds since 1970.
    pub(crate) fn time(&self) -> i64 {
        self.row.time
    }

    /// Its name; empty where the store has no word for it.
    pub(crate) fn name(&self) -> &'static str {
        super::words::EVENTS.get(usize::from(self.row.event)).copied().unwrap_or_default()
    }

    /// The number of its scan or ban.
    pub(crate) fn id(&self) -> Option<u64> {
        self.row.id
    }

    /// Whose it is.
    pub(crate) fn whose(&self) -> Option<Prefix> {
        self.row.whose()
    }

    /// What was decided, and whether the scan is over; empty where nothing was, or the word is not known.
    pub(crate) fn verdict(&self) -> (&'static str, bool) {
        let verdict = self.row.verdict.unwrap_or_default();
        let place = usize::from(verdict % ENDED);
        (DECISIONS.get(place).copied().unwrap_or_default(), verdict >= ENDED)
    }

    /// Its kinds, as bits by [`super::kind_names`].
    pub(crate) fn kinds(&self) -> u64 {
        self.row.kinds
    }

    /// Its ports.
    pub(crate) fn ports(&self) -> &[u16] {
        &self.row.ports
    }

    /// The whole line; `None` where it cannot be understood.
    pub(crate) fn line(&self) -> Option<Node> {
        self.row.line().ok()
    }
}

/// What is asked for, in the words of the rows.
struct Wanted<'a> {
    filter: &'a Filter,
    /// Bits of event codes.
    events: i64,
    /// Bits of kinds; none that exists, where the kind is not known.
    kinds: Option<u64>,
}

impl Wanted<'_> {
    fn of(filter: &Filter) -> Wanted<'_> {
        let events = match filter.events.as_slice() {
            [] if filter.door.is_some() => bits(&["open", "close", "knock", "fault"]),
            [] => -1,
            names => bits(names),
        };
        Wanted { filter, events, kinds: filter.kind.as_deref().map(|kind| kind_bit(kind).unwrap_or(0)) }
    }

    /// Columns of [`chapters`].
    fn may_be_in(&self, chapter: &rusqlite::Row<'_>) -> rusqlite::Result<bool> {
        let events: i64 = chapter.get(1)?;
        if events & self.events == 0 {
            return Ok(false);
        }
        if let Some(wanted) = self.kinds {
            let kinds: i64 = chapter.get(2)?;
            if kinds.cast_unsigned() & wanted == 0 {
                return Ok(false);
            }
        }
        match self.filter.port {
            Some(port) => Ok(may_hold(chapter.get_ref(3)?.as_blob()?, port)),
            None => Ok(true),
        }
    }

    fn is(&self, row: &Row) -> bool {
        let Filter { since, until, source, port, id, .. } = self.filter;
        since.is_none_or(|since| row.time >= since)
            && until.is_none_or(|until| row.time <= until)
            && self.events & (1 << row.event) != 0
            && self.kinds.is_none_or(|kinds| row.kinds & kinds != 0)
            && port.is_none_or(|port| row.ports.binary_search(&port).is_ok())
            && source.is_none_or(|source| row.whose().is_some_and(|whose| whose.overlaps(&source)))
            && (id.is_none() || row.id == *id)
    }

    /// What only the line tells.
    fn is_line(&self, line: &Node) -> bool {
        self.filter.door.as_deref().is_none_or(|door| line.text("door") == Some(door))
    }
}

fn bits(events: &[impl AsRef<str>]) -> i64 {
    events.iter().fold(0, |bits, name| bits | (1 << event_code(name.as_ref())))
}

impl Page {
    fn since(&self) -> i64 {
        self.filter.since.unwrap_or(i64::MIN)
    }

    fn until(&self) -> i64 {
        self.filter.until.unwrap_or(i64::MAX)
    }

    /// The events' numbers that this page may hold: from, and below.
    fn range(&self) -> (i64, i64) {
        match (self.after, self.is_backwards) {
            (None, _) => (0, i64::MAX),
            (Some(after), false) => (after.saturating_add(1), i64::MAX),
            (Some(after), true) => (0, after),
        }
    }

    fn order(&self) -> &'static str {
        if self.is_backwards { "DESC" } else { "ASC" }
    }
}

/// A page on its way.
struct Search<'a> {
    page: &'a Page,
    found: Found,
}

impl Search<'_> {
    /// The numbers of the events in question, where an index tells them and they are few.
    fn numbers(&self, connection: &Connection) -> rusqlite::Result<Option<BTreeSet<i64>>> {
        if let Some(id) = self.page.filter.id {
            let mut select = connection.prepare("SELECT number FROM events WHERE id = ?1")?;
            return select
                .query_map([id.cast_signed()], |row| row.get(0))?
                .collect::<Result<_, _>>()
                .map(Some);
        }
        let Some(source) = self.page.filter.source else { return Ok(None) };
        let most = OF_ONE_SOURCE as i64;
        let (low, high) = bounds(&source);
        let octet_count = if source.address().is_ipv4() { 4 } else { 16 };
        let mut select = connection.prepare(
            "SELECT number FROM events \
             WHERE source >= ?1 AND source <= ?2 AND length(source) = ?3 LIMIT ?4",
        )?;
        let rows = select.query_map(params![low, high, octet_count, most + 1], |row| row.get(0))?;
        let mut numbers: BTreeSet<i64> = rows.collect::<Result<_, _>>()?;
        // Networks that it lies in, and that begin before it.
        let mut select = connection.prepare(
            "SELECT number FROM events WHERE source = ?1 AND width IS NOT NULL AND width <= ?2 LIMIT ?3",
        )?;
        for length in 0..source.length() {
            let around = Prefix::containing(source.address(), length);
            let rows = select
                .query_map(params![octets(around.address()), length, most + 1], |row| row.get::<_, i64>(0))?;
            for number in rows {
                numbers.insert(number?);
            }
        }
        Ok((numbers.len() <= OF_ONE_SOURCE).then_some(numbers))
    }

    fn among(&mut self, connection: &Connection, numbers: &BTreeSet<i64>) -> rusqlite::Result<()> {
        let wanted = Wanted::of(&self.page.filter);
        let mut select = connection.prepare(&format!("SELECT {COLUMNS} FROM events WHERE number = ?1"))?;
        let (from, below) = self.page.range();
        let mut range: Vec<i64> = numbers.range(from..below).copied().collect();
        if self.page.is_backwards {
            range.reverse();
        }
        for number in range {
            let mut rows = select.query([number])?;
            if let Some(row) = rows.next()? {
                self.take(row, &wanted)?;
            }
            if self.found.lines.len() >= self.page.at_most {
                self.found.next = Some(number);
                break;
            }
        }
        Ok(())
    }

    fn chapter_by_chapter(&mut self, connection: &Connection, newest: i64) -> rusqlite::Result<()> {
        let wanted = Wanted::of(&self.page.filter);
        let mut select = connection.prepare(&format!(
            "SELECT {COLUMNS} FROM events WHERE number >= ?1 AND number < ?2 ORDER BY number {}",
            self.page.order()
        ))?;
        let (from, below) = self.page.range();
        let mut chapters = chapters(connection, self.page)?;
        let last = below.min(newest.saturating_add(1));
        let bounds = params![from / CHAPTER, last / CHAPTER, self.page.since(), self.page.until()];
        let mut rows = chapters.query(bounds)?;
        let mut looked_at = 0;
        while let Some(chapter) = rows.next()? {
            if !wanted.may_be_in(chapter)? {
                continue;
            }
            let number: i64 = chapter.get(0)?;
            let (first, end) = ((number * CHAPTER).max(from), ((number + 1) * CHAPTER).min(below));
            let mut events = select.query([first, end])?;
            while let Some(row) = events.next()? {
                looked_at += 1;
                let number = row.get(0)?;
                self.take(row, &wanted)?;
                if self.found.lines.len() >= self.page.at_most {
                    self.found.next = Some(number);
                    return Ok(());
                }
            }
            if looked_at >= LOOKED_AT {
                self.found.next = Some(if self.page.is_backwards { first } else { end - 1 });
                return Ok(());
            }
        }
        Ok(())
    }

    fn take(&mut self, row: &rusqlite::Row<'_>, wanted: &Wanted<'_>) -> rusqlite::Result<()> {
        match Row::read(row)?.map(|row| wanted.is(&row).then(|| row.line()).transpose()) {
            Ok(Ok(Some(line))) if wanted.is_line(&line) => self.found.lines.push(json::text(&line)),
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => self.found.damaged += 1,
        }
        Ok(())
    }
}

/// The summaries between two chapters that hold something of a time: number, events, kinds, ports.
fn chapters<'a>(connection: &'a Connection, page: &Page) -> rusqlite::Result<Statement<'a>> {
    connection.prepare(&format!(
        "SELECT chapter, events, kinds, ports FROM chapters \
         WHERE chapter >= ?1 AND chapter <= ?2 AND last >= ?3 AND first <= ?4 ORDER BY chapter {}",
        page.order()
    ))
}

/// The first and the last address of a network, as the column holds them.
fn bounds(prefix: &Prefix) -> (Vec<u8>, Vec<u8>) {
    let low = octets(prefix.address());
    let mut high = low.clone();
    for (place, byte) in high.iter_mut().enumerate() {
        let fixed = usize::from(prefix.length()).saturating_sub(place * 8).min(8);
        *byte |= u8::MAX.checked_shr(u32::try_from(fixed).unwrap_or(8)).unwrap_or(0);
    }
    (low, high)
}

/// The address or network that a person names; an address is a network of one.
///
/// # Errors
/// It is none; the sentence says how to write one.
pub fn parse_source(text: &str) -> Result<Prefix, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(Prefix::single(address)),
        Err(_) => text.parse::<Prefix>().map_err(|error| error.to_string()),
    }
}
