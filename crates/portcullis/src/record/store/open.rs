//! Opening: the directory, the file, its layout, and what to do about a broken one.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{Opened, Store, StoreError};

/// From an empty file to today's layout; `PRAGMA user_version` says how many of these were done. Never change one that
/// was released: add the next.
pub(super) const MIGRATIONS: [&str; 4] = [
    include_str!("schema.sql"),
    include_str!("effects.sql"),
    include_str!("doors.sql"),
    include_str!("trial.sql"),
];

/// SQLite keeps these beside its file; they are part of it.
const COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];

pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    make_directory(path)?;
    let path = path.to_owned();
    // Where even that cannot be told, opening it fails too.
    let is_new = !path.exists();
    match prepare(&path) {
        Ok(store) => Ok(Opened { store, warning: None, is_new }),
        Err(StoreError::Broken(_, why)) => {
            let aside = put_aside(&path)?;
            let warning = format!(
                "the store {} was damaged ({why}); it lies at {} now, and a new one was begun: bans in the kernel \
                 are found there, others are lost; to look into the old one: sqlite3 {1} .recover",
                path.display(),
                aside.display()
            );
            Ok(Opened { store: prepare(&path)?, warning: Some(warning), is_new })
        }
        Err(other) => Err(other),
    }
}

/// Makes the directory of the file at `path`, for root alone.
pub(in crate::record) fn make_directory(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|source| StoreError::File {
        doing: "make the directory",
        path: directory.to_owned(),
        source,
    })
}

/// Makes the file, if it is not there: SQLite would make it with a wider mode; its companions take the mode of the file.
pub(in crate::record) fn make_file(path: &Path) -> Result<(), StoreError> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|source| StoreError::File { doing: "open the store", path: path.to_owned(), source })
}

fn prepare(path: &Path) -> Result<Store, StoreError> {
    make_file(path)?;
    let connection = connect(path).map_err(|error| StoreError::of(path, error))?;
    let mut store = Store { connection, path: path.to_owned(), past_rows: 0 };
    migrate(&mut store.connection, path, &MIGRATIONS)?;
    walk(&store).map_err(|error| StoreError::of(path, error))?;
    Ok(store)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // One that is just ending gets a moment; one that runs holds it for good.
    connection.busy_timeout(Duration::from_millis(500))?;
    // Before the first access to the log, so that its index lives in our memory (sqlite.org/wal.html §8).
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    // WAL answers with its name; whatever else comes back, transactions still hold.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // After a large batch the log shrinks again at the next checkpoint.
    connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
    // The pages of 100,000 bans: a batch that does not fit is written to the log several times over. `save` gives
    // the memory back afterwards.
    connection.pragma_update(None, "cache_size", -16 * 1024)?;
    Ok(connection)
}

/// Walks over every row, which finds pages that are no pages; a tenth of what `PRAGMA quick_check` costs, which looks
/// at every constraint as well. A row that makes no sense costs only itself when it is read.
fn walk(store: &Store) -> rusqlite::Result<()> {
    for table in ["bans", "past", "allowances", "effects"] {
        let rows = format!("SELECT total(length(prefix)) FROM {table} NOT INDEXED");
        store.connection.query_row(&rows, [], |_| Ok(()))?;
    }
    Ok(())
}

/// Brings the layout up to date, each step in a transaction of its own.
pub(in crate::record) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let failed = |error| StoreError::of(path, error);
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    if done > migrations.len() {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: migrations.len() });
    }
    for (version, migration) in migrations.iter().enumerate().skip(done) {
        let mut step = || {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", version as i64 + 1)?;
            transaction.commit()
        };
        step().map_err(failed)?;
    }
    Ok(())
}

/// Moves the file and its companions to the first free name; tells the new one.
pub(in crate::record) fn put_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let beside = |end: &str| {
        let mut name = OsString::from(path);
        name.push(end);
        PathBuf::from(name)
    };
    let number = (1u32..).find(|number| !beside(&format!(".broken-{number}")).exists()).unwrap_or(u32::MAX);
    let aside = format!(".broken-{number}");
    for companion in COMPANIONS {
        let from = beside(companion);
        match fs::rename(&from, beside(&format!("{aside}{companion}"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(StoreError::File { doing: "put the damaged store aside", path: from, source });
            }
            Ok(()) => {}
        }
    }
    Ok(beside(&aside))
}
