//! Notices that a file has changed which says who is a friend: resolv.conf, logind's sessions, utmp.
//!
//! Directories are watched, since such files are replaced; one that is not there when we start, or that lies on a file
//! system without notices, is looked at with everything else twice a minute.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::sessions::{LOGIND, UTMP};

/// Files, by their directory and name. sshd writes its records of a login before the user gets his shell.
const FILES: [&str; 3] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", UTMP];

/// Notices of what may have made a friend, or ended one.
#[derive(Debug)]
pub struct Watch {
    notices: OwnedFd,
    /// Directories with few files, of which every one counts.
    whole: Vec<i32>,
}

impl Watch {
    /// Watches from now on.
    ///
    /// # Errors
    /// The user watches too much already (`fs.inotify.max_user_instances`).
    pub fn open() -> io::Result<Watch> {
        let notices = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let what = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        // A directory that is not there has nobody's sessions.
        let whole = inotify::add_watch(&notices, LOGIND, what | WatchFlags::MODIFY).ok();
        for directory in FILES.iter().filter_map(|file| Path::new(file).parent()) {
            let _is_watched = inotify::add_watch(&notices, directory, what);
        }
        // utmp is written where it lies, and not closed in between.
        let _is_watched = inotify::add_watch(&notices, UTMP, WatchFlags::MODIFY);
        Ok(Watch { notices, whole: whole.into_iter().collect() })
    }

    /// Reads all notices that wait; whether one is about a friend. Lost ones count as one.
    ///
    /// # Errors
    /// The notices can't be read.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.notices, &mut room);
        let mut has_changed = false;
        loop {
            match reader.next() {
                Err(Errno::WOULDBLOCK) => return Ok(has_changed),
                Err(error) => return Err(error.into()),
                Ok(notice) => {
                    // Without a name it is about the file itself, or tells that some were lost.
                    let is_ours = notice.file_name().is_none_or(|name| {
                        let name = name.to_bytes();
                        let mut names = FILES.iter().filter_map(|file| Path::new(file).file_name());
                        names.any(|own: &OsStr| own.as_encoded_bytes() == name)
                    });
                    has_changed |= is_ours || self.whole.contains(&notice.wd());
                }
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}
