//! Lines of `/etc/hosts.deny`, the list of TCP wrappers (hosts_access(5)): put in once, taken out again, and everything
//! else in the file left as the administrator has it.
//!
//! Called from the slow path, on a thread that may wait: each change is on the disk when the call returns.

mod error;
mod lines;
mod replace;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use self::error::HostsDenyError;
use super::command::{self, Subject};

/// TCP wrappers read 2047 bytes of a line, its end among them (tcpdmatch 7.6, measured). A longer one is cut, and
/// `10.0.0.1` without its last digit is the pattern of a whole network.
const LONGEST_LINE: usize = 2046;

/// More is not read: half a million lines. TCP wrappers read the whole file at each connection, so a file of this size
/// has long been a burden.
const LARGEST_FILE: u64 = 16 << 20;

/// How long another of us may hold the lock.
const LOCKED_FOR: Duration = Duration::from_secs(5);

/// Between two tries to get the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A hosts.deny, which need not exist yet.
///
/// Every change is made under an exclusive lock (flock(2)), so that several of us, one for each mode, don't meet. Locked
/// is a file of our own that only root can open: everybody may read hosts.deny, so everybody could lock it, and hold up
/// every block.
///
/// **Putting in** writes to the file as it is, through a symbolic link too, at its end and in one go: mode, owner, label
/// and attributes stay what they are. If there is no room for the whole line the part is taken back.
///
/// **Taking out** must not lose a neighbour's line to a crash or a full disk, and whoever reads the file meanwhile must
/// not see half of it. So the new content is written aside (next to the file that a link leads to, with its mode, owner
/// and all extended attributes, the SELinux label among them), synced and renamed over it: the file is the old one or
/// the new one at any time. Where that can't be (a file that is mounted by itself or has a second hard link, a
/// directory that is read-only, no room), the line stays and its first letter is overwritten by `#`: one byte in
/// place, which takes no room and can't be half done; what it leaves is a comment.
///
/// Somebody who writes to the file without taking the lock can lose his line if he does so in the moment of a taking
/// out; a putting in can't do him harm.
#[derive(Clone, Debug)]
pub struct HostsDeny {
    path: PathBuf,
    lock: PathBuf,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was put in.
    New,
    /// It was there already, and nothing was changed.
    AlreadyThere,
}

/// The line that a `KILL_HOSTS_DENY` makes of `subject`. As [`command::expand`], but an IPv6 address stands in brackets,
/// as TCP wrappers need it; brackets that the template has around `$TARGET$` itself are not doubled.
#[must_use]
pub fn expand(template: &str, subject: &Subject) -> String {
    let bracketed = match subject.address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let template = match subject.address {
        IpAddr::V6(_) => template.replace("[$TARGET$]", "$TARGET$"),
        IpAddr::V4(_) => template.to_owned(),
    };
    command::expand(&template.replace("$TARGET$", &bracketed), subject)
}

impl HostsDeny {
    /// The file at `path`, changed under the lock of the file `lock`, which is made where there is none; all who change
    /// the same `path` must name the same. Nothing is opened yet.
    #[must_use]
    pub fn new(path: PathBuf, lock: PathBuf) -> HostsDeny {
        HostsDeny { path, lock }
    }

    /// The path, as messages name it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts `line` at the end, unless it is there already. A file that is missing is made, readable for everybody
    /// (0644), as PortSentry 1.2 made it; a last line without an end gets its end first.
    ///
    /// # Errors
    /// The line is none that the file can hold, or the file can't be written; then it is as it was.
    pub fn append(&self, line: &str) -> Result<Appended, HostsDenyError> {
        self.must_be_a_line(line)?;
        let doing = "cannot put a line in";
        let mut options = OpenOptions::new();
        options.read(true).append(true);
        let _alone = self.lock()?;
        let (mut file, is_made) = match self.open(&options, doing)? {
            Some(file) => (file, false),
            None => {
                options.create(true).mode(0o644);
                let made = self.open(&options, doing)?;
                let missing = || self.failed(doing, io::ErrorKind::NotFound.into());
                (made.ok_or_else(missing)?, true)
            }
        };
        if is_made {
            // Whatever the umask is: those who guard their services by TCP wrappers are not all root.
            let mode = fs::Permissions::from_mode(0o644);
            file.set_permissions(mode).map_err(|error| self.failed(doing, error))?;
        }
        let content = self.read(&mut file, doing)?;
        if lines::single(&content).any(|(_, other)| other == line.trim_ascii_end()) {
            return Ok(Appended::AlreadyThere);
        }
        let text = format!("{}{line}\n", lines::what_ends_the_last(&content));
        let length = content.len() as u64;
        write_whole(&mut file, length, text.as_bytes()).map_err(|error| self.failed(doing, error))?;
        if is_made && let Some(directory) = self.path.parent() {
            sync_directory(directory).map_err(|error| self.failed(doing, error))?;
        }
        Ok(Appended::New)
    }

    /// Takes out every line that is this one; how many there were. Blanks at the ends don't matter.
    ///
    /// # Errors
    /// The file can't be read or written; then it is as it was.
    pub fn remove(&self, line: &str) -> Result<usize, HostsDenyError> {
        let line = line.trim_ascii();
        self.remove_all(|other| !line.is_empty() && other.trim_ascii_start() == line)
    }

    /// Takes out the lines that shut out exactly this host from everything, as PortSentry and we write them:
    /// `ALL: 10.0.0.1`, the same with `: DENY` or a remark, an IPv6 address with or without brackets. A line that names
    /// more clients, or single services, is not ours and stays.
    ///
    /// # Errors
    /// As [`HostsDeny::remove`].
    pub fn remove_host(&self, address: IpAddr) -> Result<usize, HostsDenyError> {
        self.remove_all(|line| lines::host_of(line) == Some(address))
    }

    fn remove_all(&self, is_meant: impl Fn(&str) -> bool) -> Result<usize, HostsDenyError> {
        let doing = "cannot take a line out";
        // Not to append: the kernel would put a positioned write at the end as well (pwrite(2), BUGS).
        let _alone = self.lock()?;
        let Some(mut file) = self.open(OpenOptions::new().read(true).write(true), doing)? else {
            return Ok(0);
        };
        let content = self.read(&mut file, doing)?;
        let meant: Vec<_> =
            lines::single(&content).filter(|(_, line)| is_meant(line)).map(|(place, _)| place).collect();
        if meant.is_empty() {
            return Ok(0);
        }
        if replace::replace(&self.path, &file, &lines::without(&content, &meant)).is_err() {
            // Why it could not be replaced doesn't matter: this way is as good, only less tidy.
            for place in &meant {
                file.write_all_at(b"#", place.start as u64).map_err(|error| self.failed(doing, error))?;
            }
            file.sync_data().map_err(|error| self.failed(doing, error))?;
        }
        Ok(meant.len())
    }

    fn must_be_a_line(&self, line: &str) -> Result<(), HostsDenyError> {
        let why = if line.contains(['\n', '\r', '\0']) {
            "it holds a line break or a NUL"
        } else if line.trim_ascii().is_empty() {
            "it is empty"
        } else if line.ends_with('\\') {
            "a backslash at its end would join it with the next"
        } else if line.len() > LONGEST_LINE {
            "TCP wrappers read no more than 2046 bytes of a line"
        } else {
            return Ok(());
        };
        Err(HostsDenyError::NotALine { line: line.to_owned(), why })
    }

    /// Opens the file; `None` if it doesn't exist. Called under the lock.
    fn open(&self, options: &OpenOptions, doing: &'static str) -> Result<Option<File>, HostsDenyError> {
        // A named pipe in the place of the file must not hang us when it is opened.
        let mut options = options.clone();
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let file = match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| self.failed(doing, error))?,
        };
        if !file.metadata().map_err(|error| self.failed(doing, error))?.is_file() {
            return Err(HostsDenyError::NotAFile { path: self.path.clone() });
        }
        Ok(Some(file))
    }

    /// Waits until nobody else of us changes the file; he may again when the returned value is gone.
    fn lock(&self) -> Result<File, HostsDenyError> {
        let failed =
            |source| HostsDenyError::Failed { doing: "cannot lock", path: self.lock.clone(), source };
        if let Some(directory) = self.lock.parent().filter(|own| !own.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
        }
        let deadline = Instant::now() + LOCKED_FOR;
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
            let lock = options.open(&self.lock).map_err(failed)?;
            let opened = lock.metadata().map_err(failed)?;
            while let Err(error) = lock.try_lock() {
                match error {
                    fs::TryLockError::Error(error) => return Err(failed(error)),
                    fs::TryLockError::WouldBlock if Instant::now() >= deadline => {
                        return Err(HostsDenyError::Locked { path: self.lock.clone(), after: LOCKED_FOR });
                    }
                    fs::TryLockError::WouldBlock => std::thread::sleep(LOCK_PAUSE),
                }
            }
            // Who cleans up below /run may have taken the file away meanwhile, and the next one has made another.
            match fs::metadata(&self.lock) {
                Ok(now) if (now.dev(), now.ino()) == (opened.dev(), opened.ino()) => return Ok(lock),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ if Instant::now() >= deadline => {
                    return Err(HostsDenyError::Locked { path: self.lock.clone(), after: LOCKED_FOR });
                }
                _ => {}
            }
        }
    }

    fn read(&self, file: &mut File, doing: &'static str) -> Result<Vec<u8>, HostsDenyError> {
        let mut content = Vec::new();
        let mut limited = file.take(LARGEST_FILE + 1);
        limited.read_to_end(&mut content).map_err(|error| self.failed(doing, error))?;
        if content.len() as u64 > LARGEST_FILE {
            return Err(HostsDenyError::TooLarge { path: self.path.clone(), largest: LARGEST_FILE });
        }
        Ok(content)
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> HostsDenyError {
        HostsDenyError::Failed { doing, path: self.path.clone(), source }
    }
}

/// Writes all of `text` behind the `length` bytes that the file has, or nothing of it: half a line could name a whole
/// network (`ALL: 10.0.0.`).
fn write_whole(file: &mut File, length: u64, text: &[u8]) -> io::Result<()> {
    let mut written = 0;
    let result = loop {
        match file.write(&text[written..]) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
        if written == text.len() {
            break file.sync_data();
        }
    };
    // If the length is another, somebody wrote without the lock, and his line is not ours to cut.
    if result.is_err() && written > 0 && file.metadata()?.len() == length + written as u64 {
        file.set_len(length)?;
    }
    result
}

/// Makes a new name in `directory` last.
fn sync_directory(directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}
