//! What happened, kept: every event that the log tells, in an SQLite file of its own beside the store.
//!
//! It is written by one thread of the daemon (`daemon/archive.rs`), and read by another and, where no daemon runs,
//! by the verbs themselves. A file of its own, since it is the large one: damage to it costs no ban, its commits wait for
//! no disk, and saving a ban waits for no event. On a power cut the events of the last seconds may be missing; what is
//! there is whole (sqlite.org/wal.html, `synchronous=NORMAL`).
//!
//! An event takes some 150 bytes: its body is packed (`packed.rs`), and instead of an index for each question there is
//! one on the source, one on the number in `id`, and a summary of each 256 events (`chapter.rs`).

mod chapter;
mod node;
mod open;
mod packed;
pub mod query;
mod row;
pub mod tally;
mod words;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::time::Wall;
use rusqlite::{Connection, params};

use self::chapter::{CHAPTER, Chapter};
pub use self::node::Node;
pub use self::open::OpenedEvents;
pub use self::packed::Damaged;
use self::row::Row;
pub use self::row::{line, number_of, parse};
pub use self::words::{event_names, kind_names};
use super::store::StoreError;

/// Events of one batch, at most: a transaction of a few milliseconds.
pub const BATCH: usize = 1024;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Nothing older.
    pub keep: Duration,
    /// No more bytes than this in the file; its log beside it has at most 8 MiB more.
    pub bytes: u64,
}

/// Where the events of the store at `store` are: `portcullis.db` has `portcullis-events.db`.
#[must_use]
pub fn beside(store: &Path) -> PathBuf {
    let mut name = OsString::from(store.file_stem().unwrap_or_default());
    name.push("-events.db");
    store.with_file_name(name)
}

/// The events, open for writing.
#[derive(Debug)]
pub struct EventStore {
    connection: Connection,
    path: PathBuf,
    /// The number that the next event gets.
    next: i64,
    /// The summary of the chapter that it goes into.
    chapter: Chapter,
}

impl EventStore {
    /// Opens the file at `path`, making it if need be (0600, in a directory of 0700). A damaged one is moved aside, never
    /// removed; [`OpenedEvents::warning`] says so.
    ///
    /// # Errors
    /// As [`super::store::Store::open`].
    pub fn open(path: &Path) -> Result<OpenedEvents, StoreError> {
        open::open(path)
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps these lines, all or none; those without a time are no events, and are passed over. Returns how many are
    /// kept.
    ///
    /// # Errors
    /// [`StoreError::Full`] and what else SQLite says; nothing is kept then, and the next call may do better.
    pub fn append(&mut self, lines: &[Node]) -> Result<usize, StoreError> {
        let rows: Vec<Row> = lines.iter().filter_map(Row::of).collect();
        match self.write(&rows) {
            Ok((next, chapter)) => {
                (self.next, self.chapter) = (next, chapter);
                Ok(rows.len())
            }
            Err(error) => Err(StoreError::of(&self.path, error)),
        }
    }

    fn write(&mut self, rows: &[Row]) -> rusqlite::Result<(i64, Chapter)> {
        let (mut next, mut chapter) = (self.next, self.chapter.clone());
        let transaction = self.connection.transaction()?;
        {
            let mut put = transaction.prepare(
                "INSERT INTO events (number, time, event, source, width, verdict, kinds, ports, id, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?;
            for row in rows {
                if chapter.number != next / CHAPTER {
                    chapter.write(&transaction)?;
                    chapter = Chapter::new(next / CHAPTER);
                }
                put.execute(params![
                    next,
                    row.time,
                    row.event,
                    row.source_field(),
                    row.width,
                    row.verdict,
                    row.kinds_field(),
                    row.ports_field(),
                    row.id.map(u64::cast_signed),
                    row.body,
                ])?;
                chapter.take(row);
                next += 1;
            }
            chapter.write(&transaction)?;
            // Also when every event has gone: a number is given once.
            transaction
                .prepare("INSERT OR REPLACE INTO counters (name, value) VALUES ('next', ?1)")?
                .execute([next])?;
        }
        transaction.commit()?;
        Ok((next, chapter))
    }

    /// Takes out what is too old or too much, a few chapters at a time; call it again while it says that there is more.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn retain(&mut self, now: Wall, retention: &Retention) -> Result<bool, StoreError> {
        self.retain_some(now, retention).map_err(|error| StoreError::of(&self.path, error))
    }

    fn retain_some(&mut self, now: Wall, retention: &Retention) -> rusqlite::Result<bool> {
        /// So many chapters at a time: some 4,000 rows.
        const STEP: usize = 16;
        let oldest = now.0.saturating_sub(retention.keep).as_millis();
        let oldest = i64::try_from(oldest).unwrap_or(i64::MAX);
        let mut is_more = false;
        let transaction = self.connection.transaction()?;
        for done in 0..=STEP {
            let sql = "SELECT chapter, first, last FROM chapters ORDER BY chapter LIMIT 1";
            let found = transaction.query_row(sql, [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            });
            let (chapter, first, last) = match found {
                Err(rusqlite::Error::QueryReturnedNoRows) => break,
                found => found?,
            };
            let is_current = chapter == self.chapter.number;
            let is_too_much = used(&transaction)? > retention.bytes;
            if first >= oldest && !is_too_much {
                break;
            }
            if done == STEP {
                is_more = true;
                break;
            }
            let (from, to) = (chapter * CHAPTER, (chapter + 1) * CHAPTER);
            if (is_too_much || last < oldest) && !is_current {
                transaction.execute("DELETE FROM events WHERE number >= ?1 AND number < ?2", [from, to])?;
                transaction.execute("DELETE FROM chapters WHERE chapter = ?1", [chapter])?;
                continue;
            }
            // A chapter that goes on, or that is only partly too old: its summary may tell of more than is left.
            let sql = "DELETE FROM events WHERE number >= ?1 AND number < ?2 AND time < ?3";
            transaction.execute(sql, [from, to, oldest])?;
            if last >= oldest {
                transaction
                    .execute("UPDATE chapters SET first = ?2 WHERE chapter = ?1", [chapter, oldest])?;
            } else {
                transaction.execute("DELETE FROM chapters WHERE chapter = ?1", [chapter])?;
            }
            break;
        }
        transaction.commit()?;
        // What was freed goes back to the file system only where the file is larger than it may be.
        if pages(&self.connection)? > retention.bytes {
            let mut give_back = self.connection.prepare("PRAGMA incremental_vacuum(256)")?;
            let mut rows = give_back.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(is_more)
    }

    /// Bytes of the file that hold something.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        used(&self.connection).map_err(|error| StoreError::of(&self.path, error))
    }
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    let value: i64 = connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or(0))
}

/// Bytes of the whole file.
fn pages(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(pragma(connection, "page_count")? * pragma(connection, "page_size")?)
}

/// Of these, less the pages that are free.
fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let free = pragma(connection, "freelist_count")? * pragma(connection, "page_size")?;
    Ok(pages(connection)?.saturating_sub(free))
}

#[cfg(test)]
mod tests;
