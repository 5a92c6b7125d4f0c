//! A file to which whole lines or records are appended, for ever: never truncated, never in pieces, and never through
//! a trap that somebody laid in a world-writable directory.
//!
//! When the disk is full or the file can't be opened, what is to be written waits ([`UNWRITTEN`] of them, beyond that
//! it is counted), the fault is said once, and it is tried again every [`RETRY`].

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::time::Mono;
use portcullis_sys::people;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Lines or records that wait for a disk; about 1 MiB.
pub(in crate::record) const UNWRITTEN: usize = 10_000;

/// How long after a fault it is tried again.
pub(in crate::record) const RETRY: Duration = Duration::from_secs(1);

/// Something to say about a file, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It can't be written, and why, and how to mend it.
    Fault(String),
    /// It can be written again, or is read in a way that is to be known.
    Note(String),
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::record) enum Holds {
    /// Lines; a torn last one is ended before another is appended.
    Lines,
    /// Records of bytes.
    Records,
}

/// A file that only grows.
#[derive(Debug)]
pub(in crate::record) struct AppendOnly {
    path: PathBuf,
    mode: u32,
    open: Option<File>,
    /// Device and inode of what was open last.
    identity: Option<(u64, u64)>,
    waiting: VecDeque<Vec<u8>>,
    /// How much of the first that waits stands in the file of `identity` already: a disk that is full takes a part.
    written: usize,
    left_out: u64,
    fault: Option<String>,
    retry_at: Mono,
    looked_at: Option<Mono>,
    /// Whether the open file's last line lacks its end: somebody's editor, or a disk that was full.
    lacks_line_end: bool,
    notices: Vec<Notice>,
}

impl AppendOnly {
    /// The file at `path`, which is created with `mode` at the first line; directories above it with 0755.
    pub(in crate::record) fn new(path: PathBuf, mode: u32) -> AppendOnly {
        AppendOnly {
            path,
            mode,
            open: None,
            identity: None,
            waiting: VecDeque::new(),
            written: 0,
            left_out: 0,
            fault: None,
            retry_at: Mono::default(),
            looked_at: None,
            lacks_line_end: false,
            notices: Vec::new(),
        }
    }

    pub(in crate::record) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line with its end, or a record, in one write; or keeps it until that can be done.
    pub(in crate::record) fn append(&mut self, bytes: Vec<u8>, holds: Holds, now: Mono) {
        if self.waiting.len() < UNWRITTEN {
            self.waiting.push_back(bytes);
        } else {
            self.left_out += 1;
        }
        self.tick(holds, now);
    }

    /// Creates the file if it isn't there, so that a fault is known before there is a line.
    pub(in crate::record) fn prepare(&mut self, now: Mono) {
        if let Err(error) = self.ensure(now) {
            self.fail(&error, now);
        }
    }

    /// Writes what waits, if it is time to try.
    pub(in crate::record) fn tick(&mut self, holds: Holds, now: Mono) {
        if (self.waiting.is_empty() && self.fault.is_none()) || now < self.retry_at {
            return;
        }
        match self.ensure(now).and_then(|()| self.write(holds)) {
            Ok(()) => self.recover(),
            Err(error) => self.fail(&error, now),
        }
    }

    /// The file may be another one now (logrotate): looked at before the next line.
    pub(in crate::record) fn reopen(&mut self) {
        self.open = None;
    }

    /// Forgets what waits and is not to be written any more.
    pub(in crate::record) fn retain(&mut self, mut is_kept: impl FnMut(&[u8]) -> bool) {
        if self.waiting.front().is_some_and(|bytes| !is_kept(bytes)) {
            // What stands of it in the file already is ended by the next line.
            self.written = 0;
            self.open = None;
        }
        self.waiting.retain(|bytes| is_kept(bytes));
    }

    /// Something about this file that was found elsewhere.
    pub(in crate::record) fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// When [`AppendOnly::tick`] has something to do.
    pub(in crate::record) fn due(&self) -> Option<Mono> {
        (!self.waiting.is_empty() || self.fault.is_some()).then_some(self.retry_at)
    }

    /// What waits for the disk, oldest first.
    pub(in crate::record) fn waiting(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.waiting.iter().map(Vec::as_slice)
    }

    /// Sentences to say: a fault once when it begins, and its end.
    pub(in crate::record) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn ensure(&mut self, now: Mono) -> io::Result<()> {
        // logrotate renames the file away; once a second is often enough to notice.
        if self.open.is_some() && self.looked_at.is_none_or(|then| now.since(then) >= RETRY) {
            self.looked_at = Some(now);
            let there = fs::metadata(&self.path).ok().map(|found| identity(&found));
            if there != self.identity {
                self.open = None;
            }
        }
        if self.open.is_some() {
            return Ok(());
        }
        let mut file = open_to_append(&self.path, self.mode)?;
        let found = identity(&file.metadata()?);
        if self.identity != Some(found) {
            // Another file: what was begun in the old one is written here as a whole.
            self.written = 0;
        }
        self.lacks_line_end = self.written == 0 && !ends_with_line(&mut file)?;
        self.identity = Some(found);
        self.looked_at = Some(now);
        self.open = Some(file);
        Ok(())
    }

    fn write(&mut self, holds: Holds) -> io::Result<()> {
        let Some(file) = &mut self.open else { return Ok(()) };
        if holds == Holds::Lines && self.lacks_line_end && !self.waiting.is_empty() {
            file.write_all(b"\n")?;
        }
        self.lacks_line_end = false;
        while let Some(bytes) = self.waiting.front() {
            match file.write(&bytes[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.written == bytes.len() {
                self.waiting.pop_front();
                self.written = 0;
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: &io::Error, now: Mono) {
        self.retry_at = now + RETRY;
        // A file system that went read-only, or a handle that is stale: the next attempt begins anew.
        self.open = None;
        let why = error.to_string();
        if self.fault.as_ref() != Some(&why) {
            self.notices.push(Notice::Fault(format!(
                "{}: {why}; lines wait here and are written when that is mended",
                self.path.display()
            )));
            self.fault = Some(why);
        }
    }

    fn recover(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        if self.fault.take().is_none() {
            return;
        }
        let missing = match left_out {
            0 => "nothing is missing".to_owned(),
            1 => "1 line is missing".to_owned(),
            lines => format!("{lines} lines are missing"),
        };
        self.notices.push(Notice::Note(format!("{} is written again; {missing}", self.path.display())));
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Whether nothing stands in the file behind its last line's end.
fn ends_with_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Opens a file that grows, or creates it.
fn open_to_append(path: &Path, mode: u32) -> io::Result<File> {
    match open_existing(path, OpenOptions::new().read(true).append(true)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened,
    }
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot create {}: {error}", directory.display()))
        })?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true).mode(mode);
    let file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            io::Error::new(error.kind(), "it is a symbolic link that leads nowhere; remove the link")
        }
        _ => error,
    })?;
    // The umask of a daemon may have taken bits away that others are to have.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// Opens a file for which nobody but root or us can have laid a trap.
///
/// # Errors
/// What open(2) says; `PermissionDenied` in words of our own where the file is not to be trusted.
pub(in crate::record) fn open_existing(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // O_NONBLOCK: a FIFO would hold us up.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed());
    let file = match options.open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            options.open(target_of_own_link(path)?)?
        }
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(refused("it is no regular file; name one in the configuration".to_owned()));
    }
    if !is_trusted(found.uid()) {
        return Err(refused(format!(
            "it belongs to user {}, who could have put it there to have another file written; remove it, or \
             chown root, or name a file in a directory of root's in the configuration",
            found.uid()
        )));
    }
    if found.nlink() > 1 {
        return Err(refused(format!(
            "it has {} names (hard links), so that another file may be meant; remove all but one",
            found.nlink()
        )));
    }
    Ok(file)
}

/// Where a symbolic link leads that root or we made in a directory where nobody else could have made it.
fn target_of_own_link(path: &Path) -> io::Result<PathBuf> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = fs::metadata(directory.unwrap_or(Path::new(".")))?;
    let link = fs::symlink_metadata(path)?;
    if !is_trusted(link.uid()) || !is_trusted(directory.uid()) || directory.mode() & 0o022 != 0 {
        return Err(refused(
            "it is a symbolic link in a directory where others may make one; remove it, or name a file in a \
             directory of root's in the configuration"
                .to_owned(),
        ));
    }
    fs::canonicalize(path)
}

fn is_trusted(user: u32) -> bool {
    user == 0 || user == people::own_user()
}

fn refused(why: String) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests;
