//! The store: what must outlive the program, in one SQLite file. What happened is in another, [`super::events`].
//!
//! Called by the slow path alone. Everything that belongs together goes in as one transaction and is synced before
//! [`Store::save`] returns, so a ban that is reported as `in force` survives a power cut. A full disk is an error of
//! its own kind; nothing is half written then, and the next save works as soon as there is room.
//!
//! The file is held for this process alone: a second portcullis is refused, and no shared memory file is needed.

pub mod doors;
mod open;
mod rows;

pub(super) use self::open::{make_directory, make_file, migrate, put_aside};

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::event::{Ban, Mode, Until};
use portcullis_core::ledger::{Change, Past};
use portcullis_core::net::Prefix;
use portcullis_core::time::Wall;
use rusqlite::{Connection, ErrorCode, params};

use self::doors::{DoorChanges, StoredDoors};
use self::rows::{CauseFields, ban_from, end_field, length_field, milliseconds, wall};
use crate::respond::effects::Effects;

/// The name of the file below the directory of `[record] state`.
pub const FILE_NAME: &str = "portcullis.db";

/// So many former bans are kept; of more, those that ended first are forgotten. As many as the ledger remembers.
pub const PAST_KEPT: usize = 65_536;

/// After a batch of more changes than this, the memory that held its pages is given back.
const LARGE_BATCH: usize = 5_000;

/// The store, open.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Rows in `past`, or a few more: when to look whether it is too long.
    past_rows: usize,
}

/// A store that has just been opened.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Something that the administrator must know: a broken file was put aside, and where it lies.
    pub warning: Option<String>,
    /// There was no file: nobody has run here before.
    pub is_new: bool,
}

/// What an earlier run left behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Bans that are not over, with their whole length (`None` is for ever); all of them pending.
    pub bans: Vec<(Ban, Option<std::time::Duration>)>,
    /// Who was banned before.
    pub past: Vec<(Prefix, Past)>,
    /// Who was allowed by hand, and is still.
    pub allowances: Vec<(Prefix, Until)>,
    /// What commands and files have done about bans.
    pub effects: Vec<(Prefix, Effects)>,
    /// Doors.
    pub doors: StoredDoors,
    /// The mode that an operator chose, if he has the last word.
    pub mode: Option<ModeByHand>,
    /// The first number that is free for a scan or a ban.
    pub next_id: u64,
    /// Rows that could not be understood and were passed over, one sentence each. They stay where they are.
    pub faults: Vec<String>,
}

/// A mode that was said by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeByHand {
    /// Which.
    pub mode: Mode,
    /// Since when.
    pub since: Wall,
    /// Who said so.
    pub by: String,
    /// Its end and whole length, where it has one; then the other mode holds.
    pub trial: Option<(Wall, Duration)>,
}

impl ModeByHand {
    /// The mode that holds at `now`, and what is left of it, where it has an end. A clock that was set back makes that no
    /// longer than the whole.
    #[must_use]
    pub fn at(&self, now: Wall) -> (Mode, Option<Duration>) {
        match self.trial {
            None => (self.mode, None),
            Some((until, length)) if until > now => (self.mode, Some(until.since(now).min(length))),
            Some(_) => (self.mode.other(), None),
        }
    }
}

/// What is to be kept now, all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct Changes<'a> {
    /// What the ledger changed.
    pub ledger: &'a [Change],
    /// The whole list of allowances, where it changed.
    pub allowances: Option<&'a [(Prefix, Until)]>,
    /// What commands and files have done about bans, where that changed; nothing is left with `None`.
    pub effects: &'a [(Prefix, Option<Effects>)],
    /// What changed at doors.
    pub doors: DoorChanges<'a>,
    /// The mode by hand, where it changed; `Some(None)` gives the last word back to the configuration.
    pub mode: Option<Option<&'a ModeByHand>>,
    /// The first number that is free; a smaller one than before changes nothing.
    pub next_id: u64,
}

/// Why the store cannot be used, or did not keep something.
#[derive(Debug)]
pub enum StoreError {
    /// Another process holds it.
    InUse(PathBuf),
    /// It was written by a later version of portcullis.
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest that this program knows.
        known: usize,
    },
    /// The disk (or the quota) is full; nothing was changed.
    Full(PathBuf),
    /// The file became unreadable while it was open.
    Broken(PathBuf, rusqlite::Error),
    /// A directory or file could not be made, opened or moved.
    File {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Anything else that SQLite complains of.
    Sqlite(PathBuf, rusqlite::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::InUse(path) => write!(
                f,
                "{}: another process has the store open; stop it, or run this one with --state DIR",
                path.display()
            ),
            StoreError::Newer { path, found, known } => write!(
                f,
                "{}: written by a later portcullis (layout {found}, this one knows {known}); install that version again, \
                 or move the file away to begin without the bans in it",
                path.display()
            ),
            StoreError::Full(path) => write!(
                f,
                "{}: no room left on the disk; nothing was saved, and what is in force stays so until it has room",
                path.display()
            ),
            StoreError::Broken(path, _) => write!(
                f,
                "{}: the store is damaged; at the next start it is put aside and a new one begun",
                path.display()
            ),
            StoreError::File { doing, path, .. } => write!(f, "{}: cannot {doing}", path.display()),
            StoreError::Sqlite(path, _) => write!(f, "{}: the store does not work", path.display()),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::File { source, .. } => Some(source),
            StoreError::Broken(_, source) | StoreError::Sqlite(_, source) => Some(source),
            StoreError::InUse(_) | StoreError::Newer { .. } | StoreError::Full(_) => None,
        }
    }
}

impl StoreError {
    /// What SQLite's `error` means for the file at `path`.
    pub(super) fn of(path: &Path, error: rusqlite::Error) -> StoreError {
        let path = path.to_owned();
        let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full(path),
            // Where the file system says EDQUOT or EFBIG instead of ENOSPC, SQLite says that writing failed.
            Some(ErrorCode::SystemIoFailure) if extended == rusqlite::ffi::SQLITE_IOERR_WRITE => {
                StoreError::Full(path)
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse(path),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Broken(path, error),
            _ => StoreError::Sqlite(path, error),
        }
    }
}

impl Store {
    /// Opens the store at `path`, making it and its directory if need be (0600 and 0700). A file that is no
    /// sound store is moved aside, never removed, and a new one begun; [`Opened::warning`] says so.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Newer`], or that the disk does not let us.
    pub fn open(path: &Path) -> Result<Opened, StoreError> {
        open::open(path)
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What an earlier run left behind. Bans that ended by `now` have become former ones; allowances that did are
    /// gone.
    ///
    /// # Errors
    /// As SQLite says; a single row that cannot be understood is none.
    pub fn load(&mut self, now: Wall) -> Result<Stored, StoreError> {
        self.bury_ended(now).or_else(|error| match error {
            // What has ended is passed over by the ledger as well; it can be tidied when there is room.
            StoreError::Full(_) => Ok(()),
            other => Err(other),
        })?;
        self.read().map_err(|error| StoreError::of(&self.path, error))
    }

    fn read(&mut self) -> rusqlite::Result<Stored> {
        let mut stored = Stored { next_id: 1, ..Stored::default() };
        let Stored { bans, past, allowances, effects, faults, .. } = &mut stored;

        let columns = "prefix, id, cause, scan, why, since, until, length, times, target";
        let mut select = self.connection.prepare(&format!("SELECT {columns} FROM bans"))?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            match ban_from(row) {
                Ok(ban) => bans.push(ban),
                Err(fault) => faults.push(format!("ban passed over: {fault}")),
            }
        }

        let mut select = self.connection.prepare("SELECT prefix, times, ended FROM past")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            match rows::past_from(row) {
                Ok(entry) => past.push(entry),
                Err(fault) => faults.push(format!("former ban passed over: {fault}")),
            }
        }
        self.past_rows = past.len();

        let mut select = self.connection.prepare("SELECT prefix, until FROM allowances")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            match rows::allowance_from(row) {
                Ok(entry) => allowances.push(entry),
                Err(fault) => faults.push(format!("allowance passed over: {fault}")),
            }
        }

        let columns = "prefix, hosts_deny, route, boot, has_run";
        let mut select = self.connection.prepare(&format!("SELECT {columns} FROM effects"))?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            match rows::effects_from(row) {
                Ok(entry) => effects.push(entry),
                Err(fault) => faults.push(format!("what was done about a ban passed over: {fault}")),
            }
        }

        stored.doors = doors::read(&self.connection, &mut stored.faults)?;

        let mut select =
            self.connection.prepare("SELECT mode, since, by, until, length FROM mode_by_hand")?;
        let mut rows = select.query([])?;
        if let Some(row) = rows.next()? {
            let is_enforce = row.get_ref(0)?.as_str()? == Mode::Enforce.name();
            let mode = if is_enforce { Mode::Enforce } else { Mode::Observe };
            let end: Option<(i64, i64)> = row.get::<_, Option<i64>>(3)?.zip(row.get(4)?);
            let trial = end.map(|(until, length)| (wall(until), wall(length).0));
            stored.mode = Some(ModeByHand { mode, since: wall(row.get(1)?), by: row.get(2)?, trial });
        }

        let mut select = self.connection.prepare("SELECT value FROM counters WHERE name = 'next id'")?;
        if let Some(row) = select.query([])?.next()? {
            // Below 0 it is damaged, and the numbers in use say where to go on.
            stored.next_id = rows::id(row.get(0)?).map_or(1, |id| id.0);
        }
        // A number that is in use is never free, whatever became of the counter.
        let taken = stored.bans.iter().map(|(ban, _)| ban.id.0).max().unwrap_or(0);
        stored.next_id = stored.next_id.max(taken.saturating_add(1));
        Ok(stored)
    }

    /// Keeps all of it, or nothing. On return it is on the disk, as far as the disk tells the truth.
    ///
    /// # Errors
    /// [`StoreError::Full`] and what else SQLite says; try again with the same changes.
    pub fn save(&mut self, changes: &Changes<'_>) -> Result<(), StoreError> {
        self.write(changes).map_err(|error| StoreError::of(&self.path, error))
    }

    fn write(&mut self, changes: &Changes<'_>) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let mut past_rows = self.past_rows;
        {
            let mut put_ban = transaction.prepare(
                "INSERT OR REPLACE INTO bans \
                 (prefix, id, cause, scan, target, why, since, until, length, times) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?;
            let mut end_ban = transaction.prepare("DELETE FROM bans WHERE prefix = ?1")?;
            let mut put_past = transaction
                .prepare("INSERT OR REPLACE INTO past (prefix, times, ended) VALUES (?1, ?2, ?3)")?;
            for change in changes.ledger {
                match change {
                    Change::Banned { ban, length } => {
                        let CauseFields { cause, scan, target, why } = CauseFields::of(&ban.cause);
                        put_ban.execute(params![
                            ban.prefix.to_string(),
                            ban.id.0.cast_signed(),
                            cause,
                            scan,
                            target,
                            why,
                            milliseconds(ban.since.0),
                            end_field(ban.until),
                            length_field(*length),
                            ban.times,
                        ])?;
                    }
                    Change::Gone { prefix, past } => {
                        let prefix = prefix.to_string();
                        end_ban.execute([&prefix])?;
                        if let Some(past) = past {
                            put_past.execute(params![prefix, past.times, milliseconds(past.ended.0)])?;
                            past_rows += 1;
                        }
                    }
                }
            }
        }
        doors::write(&transaction, &changes.doors)?;
        for (prefix, effects) in changes.effects {
            let prefix = prefix.to_string();
            match effects {
                None => transaction.execute("DELETE FROM effects WHERE prefix = ?1", [prefix])?,
                Some(Effects { hosts_deny, route, boot, has_run }) => transaction.execute(
                    "INSERT OR REPLACE INTO effects (prefix, hosts_deny, route, boot, has_run) \
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![prefix, hosts_deny, route, route.as_ref().map(|_| boot), has_run],
                )?,
            };
        }
        if let Some(allowances) = changes.allowances {
            transaction.execute("DELETE FROM allowances", [])?;
            let mut put = transaction.prepare("INSERT INTO allowances (prefix, until) VALUES (?1, ?2)")?;
            for (prefix, until) in allowances {
                put.execute(params![prefix.to_string(), end_field(*until)])?;
            }
        }
        if let Some(mode) = changes.mode {
            transaction.execute("DELETE FROM mode_by_hand", [])?;
            if let Some(ModeByHand { mode, since, by, trial }) = mode {
                let (until, length) =
                    trial.map(|(until, length)| (milliseconds(until.0), milliseconds(length))).unzip();
                transaction.execute(
                    "INSERT INTO mode_by_hand (only, mode, since, by, until, length) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
                    params![mode.name(), milliseconds(since.0), by, until, length],
                )?;
            }
        }
        transaction.execute(
            "INSERT INTO counters (name, value) VALUES ('next id', ?1) \
             ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            [changes.next_id.cast_signed()],
        )?;
        // Looked at seldom, since it walks the whole table.
        if past_rows > 2 * PAST_KEPT {
            trim_past(&transaction)?;
            past_rows = PAST_KEPT;
        }
        transaction.commit()?;
        self.past_rows = past_rows;
        if changes.ledger.len() > LARGE_BATCH {
            self.connection.release_memory()?;
        }
        Ok(())
    }

    /// Makes former bans of those that ended while nobody ran.
    fn bury_ended(&mut self, now: Wall) -> Result<(), StoreError> {
        let mut bury = || {
            let transaction = self.connection.transaction()?;
            let now = [milliseconds(now.0)];
            transaction.execute(
                "INSERT OR REPLACE INTO past (prefix, times, ended) \
                 SELECT prefix, times, until FROM bans WHERE typeof(until) = 'integer' AND until <= ?1",
                now,
            )?;
            for table in ["bans", "allowances"] {
                transaction.execute(
                    &format!("DELETE FROM {table} WHERE typeof(until) = 'integer' AND until <= ?1"),
                    now,
                )?;
            }
            trim_past(&transaction)?;
            transaction.commit()
        };
        bury().map_err(|error| StoreError::of(&self.path, error))
    }
}

fn trim_past(connection: &Connection) -> rusqlite::Result<()> {
    let rows: i64 = connection.query_row("SELECT count(*) FROM past", [], |row| row.get(0))?;
    if rows > PAST_KEPT as i64 {
        connection.execute(
            "DELETE FROM past WHERE prefix IN (SELECT prefix FROM past ORDER BY ended LIMIT ?1)",
            [rows - PAST_KEPT as i64],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
