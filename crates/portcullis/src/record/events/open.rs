//! Opening the events: for the one writer, and for those who only read.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::EventStore;
use super::chapter::{CHAPTER, Chapter};
use super::query::EventReader;
use crate::record::store::{self, StoreError};

/// From an empty file to today's layout, as in [`store`].
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];

/// Events that have just been opened.
#[derive(Debug)]
pub struct OpenedEvents {
    /// The events.
    pub store: EventStore,
    /// Something that the administrator must know: a broken file was put aside, and where it lies.
    pub warning: Option<String>,
    /// Nothing was ever kept here.
    pub is_new: bool,
}

pub(super) fn open(path: &Path) -> Result<OpenedEvents, StoreError> {
    store::make_directory(path)?;
    let opened = |store: EventStore, warning| OpenedEvents { is_new: store.next == 1, store, warning };
    match prepare(path) {
        Ok(store) => Ok(opened(store, None)),
        Err(StoreError::Broken(_, why)) => {
            let aside = store::put_aside(path)?;
            let warning = format!(
                "the events in {} were damaged ({why}); they lie at {} now, and new ones are kept from here on; bans and \
                 doors are elsewhere and not touched by it; to look into the old ones: sqlite3 {1} .recover",
                path.display(),
                aside.display()
            );
            Ok(opened(prepare(path)?, Some(warning)))
        }
        Err(other) => Err(other),
    }
}

fn prepare(path: &Path) -> Result<EventStore, StoreError> {
    store::make_file(path)?;
    let failed = |error| StoreError::of(path, error);
    let mut connection = connect(path).map_err(failed)?;
    store::migrate(&mut connection, path, &MIGRATIONS)?;
    let next = next(&connection).map_err(failed)?;
    let chapter = Chapter::read(&connection, next / CHAPTER).map_err(failed)?;
    Ok(EventStore { connection, path: path.to_owned(), next, chapter })
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    // Before the first table is made, or it does nothing.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // No commit waits for the disk; only what moves the log into the file does.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
    connection.pragma_update(None, "cache_size", -2048)?;
    Ok(connection)
}

/// The number of the next event; walks over every summary, and so finds pages that are no pages.
fn next(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT total(length(ports)) FROM chapters", [], |_| Ok(()))?;
    let kept: i64 =
        connection.query_row("SELECT coalesce(max(number), 0) FROM events", [], |row| row.get(0))?;
    let told = connection.query_row("SELECT value FROM counters WHERE name = 'next'", [], |row| row.get(0));
    let told: i64 = match told {
        Err(rusqlite::Error::QueryReturnedNoRows) => 1,
        told => told?,
    };
    Ok(told.max(kept + 1))
}

impl EventReader {
    /// Opens the events at `path` for reading. Nothing is made or mended.
    ///
    /// # Errors
    /// As [`EventStore::open`]; a file that is not there is [`StoreError::File`].
    pub fn open(path: &Path) -> Result<EventReader, StoreError> {
        // SQLite says only that it cannot open it; whether it is there and may be read, the system says better.
        std::fs::File::open(path).map_err(|source| StoreError::File {
            doing: "open the events",
            path: path.to_owned(),
            source,
        })?;
        let failed = |error| StoreError::of(path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(Duration::from_secs(2))?;
            connection.pragma_update(None, "cache_size", -4096)?;
            let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            Ok((connection, found))
        };
        let (connection, found) = open().map_err(failed)?;
        if usize::try_from(found).unwrap_or(usize::MAX) > MIGRATIONS.len() {
            return Err(StoreError::Newer { path: path.to_owned(), found, known: MIGRATIONS.len() });
        }
        Ok(EventReader::new(connection, path.to_owned()))
    }
}
