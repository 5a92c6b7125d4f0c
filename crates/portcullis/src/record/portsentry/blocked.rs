//! The blocked file: who has been dealt with. An administrator takes a host out of it to have it judged afresh.
//!
//! 1.x: text, one line a block, one file a mode. 2.x: records of bytes. Both forms are read, also in one file (2.x
//! appends records to a text file of 1.x that it is given, measured); a file goes on in the form it has, so that
//! nothing is destroyed.

mod form;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use portcullis_core::net::Protocol;
use portcullis_core::time::{Mono, Wall};

use self::form::{Form, Piece, What, pieces, record};
use super::append::{AppendOnly, Holds, Notice, open_existing};
use super::words::{self, Host};
use super::{Voice, time};
use crate::config::portsentry::StartMode;
use crate::escape::printable;

/// Largest file that is read, in bytes: 800,000 hosts as text.
const LARGEST: u64 = 64 << 20;

/// How many odd lines are named one by one.
const NAMED: usize = 5;

/// The file of a mode of 1.x: `BLOCKED_FILE` and the mode behind a dot.
#[must_use]
pub fn blocked_path(base: &Path, mode: StartMode) -> PathBuf {
    let mut path = base.as_os_str().to_owned();
    path.push(".");
    path.push(mode.word());
    path.into()
}

/// What the file said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Who is in it.
    pub addresses: BTreeSet<IpAddr>,
    /// What is to be known about it, one sentence each.
    pub notices: Vec<String>,
}

/// The blocked file.
#[derive(Debug)]
pub struct BlockedFile {
    file: AppendOnly,
    own_form: Form,
    /// As the file has it; none until it was read.
    form: Option<Form>,
    /// Where a torn record ends the file, nothing can be appended that anybody finds again.
    is_torn: bool,
    /// The file as it was when we read or wrote it last; none where it was not there.
    stamp: Option<Stamp>,
    is_changed: bool,
    /// Who is in it, as far as we know: nobody is entered twice.
    entered: BTreeSet<IpAddr>,
    zone: TimeZone,
}

/// What tells a changed file from an unchanged one, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl BlockedFile {
    /// The file at `path`, which with 1.x has its suffix already ([`blocked_path`]). Nothing is read or created yet.
    #[must_use]
    pub fn new(path: PathBuf, voice: Voice, zone: TimeZone) -> BlockedFile {
        let form = match voice {
            Voice::One(_) => Form::Text,
            Voice::Two => Form::Binary,
        };
        let stamp = stamp(&path);
        // 0644 in both versions (measured).
        let file = AppendOnly::new(path, 0o644);
        BlockedFile {
            file,
            own_form: form,
            form: None,
            is_torn: false,
            stamp,
            is_changed: false,
            entered: BTreeSet::new(),
            zone,
        }
    }

    /// Who is in it. A file that isn't there holds nobody.
    ///
    /// # Errors
    /// It can't be read, is larger than 64 MiB, or is not to be trusted (a file of somebody else's, a hard link).
    pub fn read(&mut self) -> io::Result<Held> {
        self.is_changed = false;
        // Before reading: a change that happens meanwhile is seen by the next look.
        self.stamp = stamp(self.file.path());
        let mut held = Held::default();
        let bytes = match read_whole(self.file.path()) {
            Ok((bytes, _)) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let pieces = pieces(&bytes);
        let path = self.file.path().display();
        let (mut odd, mut has_text, mut has_records) = (0, false, false);
        self.is_torn = false;
        for Piece { range, what } in &pieces {
            match what {
                What::Line(address) => {
                    has_text = true;
                    held.addresses.insert(*address);
                }
                What::Record(address) => {
                    has_records = true;
                    held.addresses.insert(*address);
                }
                What::Blank => {}
                What::Odd => {
                    odd += 1;
                    if odd <= NAMED {
                        let text = String::from_utf8_lossy(&bytes[range.clone()]);
                        let shown: String = text.trim_end().chars().take(100).collect();
                        held.notices.push(format!(
                            "{path}: no host can be read from the line \"{}\"; it is kept and passed over",
                            printable(&shown)
                        ));
                    }
                }
                What::Torn => {
                    self.is_torn = true;
                    held.notices.push(format!(
                        "{path}: the last {} bytes are no whole record; they are passed over",
                        range.len()
                    ));
                }
            }
        }
        if odd > NAMED {
            held.notices.push(format!("{path}: {} more such lines", odd - NAMED));
        }
        // What waits for a disk that is full has not been taken out by anybody.
        held.addresses.extend(self.file.waiting().flat_map(form::pieces).filter_map(|piece| piece.host()));
        self.entered.clone_from(&held.addresses);
        let form = match (has_text, has_records) {
            (true, false) => Form::Text,
            (false, true) => Form::Binary,
            _ => self.own_form,
        };
        self.form = Some(form);
        if form != self.own_form {
            let (has, would) = match form {
                Form::Text => ("the text of PortSentry 1.x", "2.x"),
                Form::Binary => ("the records of PortSentry 2.x", "1.x"),
            };
            held.notices.push(format!(
                "{path} has {has}, though this runs as {would}; its hosts are read and it goes on in that form"
            ));
        }
        Ok(held)
    }

    /// Enters a host that was blocked at `time`, unless it is in the file already: a restart repeats no line.
    pub fn append(&mut self, time: Wall, host: Host<'_>, of: Protocol, port: u16, now: Mono) {
        if self.form.is_none() {
            // In which form to go on. Where it can't be read it can't be written either, which is said then, and what
            // waits is written in our own form.
            if let Ok(held) = self.read() {
                held.notices.into_iter().for_each(|notice| self.file.notice(Notice::Note(notice)));
            }
        }
        if self.is_torn {
            // Nothing can stand behind a torn record; a copy of the whole is kept beside.
            if let Err(error) = self.rewrite(|_| true) {
                let path = self.file.path().display();
                let says = format!("{path}: its torn end can't be taken out: {error}");
                self.file.notice(Notice::Fault(says));
            }
        }
        self.look();
        // After somebody else's change we can't know; twice is better than not at all.
        if !self.entered.insert(host.address) && !self.is_changed {
            return;
        }
        let (bytes, holds) = match self.form() {
            Form::Text => {
                let words = words::one_blocked(host, of, port);
                (format!("{} {words}\n", time::one(time, &self.zone)).into_bytes(), Holds::Lines)
            }
            Form::Binary => (record(host.address), Holds::Records),
        };
        self.file.append(bytes, holds, now);
        self.stamp = stamp(self.file.path());
    }

    /// Takes hosts out, in both forms; everything else stays as it is. Returns how many entries went.
    ///
    /// # Errors
    /// It can't be read or written anew; then it is unchanged.
    pub fn remove(&mut self, addresses: &BTreeSet<IpAddr>) -> io::Result<usize> {
        self.look();
        self.file.retain(|bytes| {
            !pieces(bytes).iter().any(|piece| piece.host().is_some_and(|host| addresses.contains(&host)))
        });
        let gone = self.rewrite(|piece| !piece.host().is_some_and(|host| addresses.contains(&host)));
        let gone = match gone {
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            gone => gone?,
        };
        self.entered.retain(|address| !addresses.contains(address));
        Ok(gone)
    }

    /// Whether somebody else has changed it since it was read: an administrator took a host out, perhaps. Asks for
    /// metadata only; stays true until [`BlockedFile::read`].
    pub fn changed(&mut self) -> bool {
        self.look();
        self.is_changed
    }

    /// Tries again what could not be written.
    pub fn tick(&mut self, now: Mono) {
        if self.file.due().is_none_or(|due| now < due) {
            return;
        }
        self.look();
        self.file.tick(self.holds(), now);
        self.stamp = stamp(self.file.path());
    }

    /// Creates it, so that a fault is known at the start.
    pub fn prepare(&mut self, now: Mono) {
        self.look();
        self.file.prepare(now);
        self.stamp = stamp(self.file.path());
    }

    /// When [`BlockedFile::tick`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        self.file.due()
    }

    /// Faults that began or ended, one sentence each.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.file.take_notices()
    }

    /// Its place.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    fn form(&self) -> Form {
        self.form.unwrap_or(self.own_form)
    }

    fn holds(&self) -> Holds {
        match self.form() {
            Form::Text => Holds::Lines,
            Form::Binary => Holds::Records,
        }
    }

    /// Notes a change of others before we change it ourselves.
    fn look(&mut self) {
        let found = stamp(self.file.path());
        if found != self.stamp {
            self.is_changed = true;
            // Another file may have the name now.
            self.file.reopen();
            self.stamp = found;
        }
    }

    /// Writes the file anew without some of its pieces: aside, then renamed, with mode and owner of the old one. A
    /// torn end goes, and then the old file is kept beside as `….damaged`.
    fn rewrite(&mut self, mut is_kept: impl FnMut(&Piece) -> bool) -> io::Result<usize> {
        let path = fs::canonicalize(self.file.path())?;
        let (bytes, old) = read_whole(self.file.path())?;
        let mut kept = Vec::with_capacity(bytes.len());
        let (mut gone, mut has_damage) = (0, false);
        for piece in pieces(&bytes) {
            if piece.what == What::Torn {
                has_damage = true;
            } else if is_kept(&piece) {
                kept.extend_from_slice(&bytes[piece.range]);
            } else {
                gone += 1;
            }
        }
        if gone == 0 && !has_damage {
            return Ok(0);
        }
        let aside = beside(&path, &format!("portcullis-{}", std::process::id()));
        let metadata = old.metadata()?;
        let written = write_aside(&aside, &kept, &metadata).and_then(|()| {
            if has_damage {
                // A copy of an earlier damage is not overwritten.
                match write_new(&beside(&path, "damaged"), &bytes, &metadata) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    written => written?,
                }
            }
            fs::rename(&aside, &path)
        });
        if let Err(error) = written {
            // The first fault is the one to tell; a file left aside is harmless and overwritten by nobody.
            let _ = fs::remove_file(&aside);
            return Err(error);
        }
        self.file.reopen();
        self.stamp = stamp(self.file.path());
        self.is_torn = false;
        Ok(gone)
    }
}

fn write_aside(aside: &Path, bytes: &[u8], like: &fs::Metadata) -> io::Result<()> {
    match fs::remove_file(aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => write_new(aside, bytes, like),
    }
}

/// A new file with the mode and the owner of another; none if it can't be written as a whole.
fn write_new(path: &Path, bytes: &[u8], like: &fs::Metadata) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| fchown(&file, Some(like.uid()), Some(like.gid())))
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777)))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // The first fault is the one to tell.
        let _ = fs::remove_file(path);
    }
    written
}

/// A name beside `path`, in the same directory.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn read_whole(path: &Path) -> io::Result<(Vec<u8>, File)> {
    let mut file = open_existing(path, OpenOptions::new().read(true))?;
    let mut bytes = Vec::new();
    (&mut file).take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let says = "it is larger than 64 MiB; move it away, a new one is begun";
        return Err(io::Error::new(ErrorKind::FileTooLarge, says));
    }
    Ok((bytes, file))
}

/// A symbolic link that an administrator made is followed, as by the reader.
fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        length: found.len(),
        modified: (found.mtime(), found.mtime_nsec()),
    })
}

#[cfg(test)]
mod tests;
