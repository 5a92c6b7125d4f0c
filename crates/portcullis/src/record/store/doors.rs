//! Doors in the store: openings, what their commands still owe, what happened, and up to when packets that carry a time
//! may have been seen.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::door::spa::replay::Entry;
use portcullis_core::door::{By, Change, DoorId, Name, Opening, OpeningState, User};
use portcullis_core::time::Wall;
use rusqlite::{Connection, Row, Transaction, params};

use super::rows::{milliseconds, wall};

/// Up to when a packet that carries a time may have been seen by an earlier run.
const SEEN_UNTIL: &str = "seen until";

/// Doors, as an earlier run left them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredDoors {
    /// Openings, with their whole length; also those that are over.
    pub openings: Vec<(Opening, Duration)>,
    /// What is still to be run, as it was given to [`DoorChanges::debts`].
    pub debts: Vec<(Name, IpAddr, String)>,
    /// Lines of what happened, oldest first, as an earlier version kept them here.
    pub events: Vec<(Wall, String)>,
    /// Packets that are used up.
    pub used: Vec<Entry>,
    /// Up to when a packet that carries a time may have been seen.
    pub seen_until: Option<Wall>,
}

/// What changed at doors.
#[derive(Clone, Copy, Debug, Default)]
pub struct DoorChanges<'a> {
    /// Openings.
    pub openings: &'a [Change],
    /// What is owed from now on; `None` is no more.
    pub debts: &'a [(Name, IpAddr, Option<String>)],
    /// What an earlier version kept of what happened is elsewhere now.
    pub are_events_moved: bool,
    /// Packets that are used up.
    pub used: &'a [Entry],
    /// A later mark than before; an earlier one changes nothing.
    pub seen_until: Option<Wall>,
}

pub(super) fn read(connection: &Connection, faults: &mut Vec<String>) -> rusqlite::Result<StoredDoors> {
    let mut stored = StoredDoors::default();
    let mut select =
        connection.prepare("SELECT door, address, since, until, length, by, user FROM openings")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        match opening(row) {
            Ok(opening) => stored.openings.push(opening),
            Err(why) => faults.push(format!("opening of a door passed over: {why}")),
        }
    }
    let mut select = connection.prepare("SELECT door, address, owes FROM debts")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        match place(row).and_then(|(door, address)| Ok((door, address, text(row, 2)?))) {
            Ok(debt) => stored.debts.push(debt),
            Err(why) => faults.push(format!("what a door owes passed over: {why}")),
        }
    }
    let mut select = connection.prepare("SELECT time, line FROM door_events ORDER BY number")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        stored.events.push((wall(row.get(0)?), row.get(1)?));
    }
    let mut select = connection.prepare("SELECT time, mark FROM used_packets")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let time: i64 = row.get(0)?;
        match row.get_ref(1)?.as_blob().ok().and_then(|mark| <[u8; 16]>::try_from(mark).ok()) {
            Some(mark) => stored.used.push(Entry { time: time.cast_unsigned(), mark }),
            None => faults.push("a used packet has no mark, and was passed over".to_owned()),
        }
    }
    let mut select = connection.prepare("SELECT value FROM counters WHERE name = ?1")?;
    if let Some(row) = select.query([SEEN_UNTIL])?.next()? {
        stored.seen_until = Some(wall(row.get(0)?));
    }
    Ok(stored)
}

fn text(row: &Row<'_>, column: usize) -> Result<String, String> {
    row.get(column).map_err(|error| error.to_string())
}

fn place(row: &Row<'_>) -> Result<(Name, IpAddr), String> {
    let (door, address) = (text(row, 0)?, text(row, 1)?);
    let address = address.parse().map_err(|error| format!("{address:?}: {error}"))?;
    Ok((Name::verbatim(&door), address))
}

fn opening(row: &Row<'_>) -> Result<(Opening, Duration), String> {
    let (name, address) = place(row)?;
    let number = |column| row.get::<_, i64>(column).map_err(|error| format!("{name}: {error}"));
    let by = text(row, 5)?;
    let user: Option<String> = row.get(6).map_err(|error| format!("{name}: {error}"))?;
    let opening = Opening {
        door: DoorId::GONE,
        since: wall(number(2)?),
        until: Some(wall(number(3)?)),
        by: By::named(&by).ok_or_else(|| format!("{name}: {by:?} opens no door"))?,
        user: user.map(|user| User(user.into())),
        state: OpeningState::Pending,
        name: name.clone(),
        address,
    };
    Ok((opening, wall(number(4)?).0))
}

pub(super) fn write(transaction: &Transaction<'_>, changes: &DoorChanges<'_>) -> rusqlite::Result<()> {
    for change in changes.openings {
        match change {
            Change::Opened { opening, length } => transaction.execute(
                "INSERT OR REPLACE INTO openings (door, address, since, until, length, by, user) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    opening.name.as_str(),
                    opening.address.to_string(),
                    milliseconds(opening.since.0),
                    milliseconds(opening.until.unwrap_or(opening.since).0),
                    milliseconds(*length),
                    opening.by.name(),
                    opening.user.as_ref().map(ToString::to_string),
                ],
            )?,
            Change::Shut { door, address } => transaction.execute(
                "DELETE FROM openings WHERE door = ?1 AND address = ?2",
                params![door.as_str(), address.to_string()],
            )?,
        };
    }
    for (door, address, owes) in changes.debts {
        let (door, address) = (door.as_str(), address.to_string());
        match owes {
            Some(owes) => transaction.execute(
                "INSERT OR REPLACE INTO debts (door, address, owes) VALUES (?1, ?2, ?3)",
                params![door, address, owes],
            )?,
            None => transaction
                .execute("DELETE FROM debts WHERE door = ?1 AND address = ?2", params![door, address])?,
        };
    }
    if changes.are_events_moved {
        transaction.execute("DELETE FROM door_events", [])?;
    }
    for Entry { time, mark } in changes.used {
        transaction.execute(
            "INSERT OR IGNORE INTO used_packets (time, mark) VALUES (?1, ?2)",
            params![time.cast_signed(), mark],
        )?;
    }
    if let Some(mark) = changes.seen_until {
        // What was made before the mark is refused by its time.
        let seconds = i64::try_from(mark.0.as_secs()).unwrap_or(i64::MAX);
        transaction.execute("DELETE FROM used_packets WHERE time < ?1", [seconds])?;
        transaction.execute(
            "INSERT INTO counters (name, value) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            params![SEEN_UNTIL, milliseconds(mark.0)],
        )?;
    }
    Ok(())
}
