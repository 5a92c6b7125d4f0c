//! Descriptors: how many this process may have, and which of many have something to tell.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Raises the limit on open descriptors (`RLIMIT_NOFILE`) so that `wanted` are allowed, or as near to it as this
/// process may go, and returns how many are allowed then. It is never lowered.
///
/// Without `CAP_SYS_RESOURCE` it ends at the hard limit, with it at `fs.nr_open`. Children inherit the limit.
///
/// # Errors
/// The limit could not even be read.
pub fn allow(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // First with a higher hard limit, which needs the right to; then up to the hard limit.
    for ceiling in [limit.rlim_max.max(wanted), limit.rlim_max] {
        if limit.rlim_cur >= wanted {
            break;
        }
        let higher = libc::rlimit { rlim_cur: wanted.min(ceiling), rlim_max: ceiling };
        // SAFETY: `higher` lives through the call, which only reads it.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const higher) } == 0 {
            return Ok(higher.rlim_cur);
        }
    }
    Ok(limit.rlim_cur)
}

/// Whether a call failed because no descriptor, or no memory for one, is left to the process or the whole system.
#[must_use]
pub fn is_want(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Many descriptors watched as one: asking costs what is ready, not what is watched (epoll, level-triggered).
#[derive(Debug)]
pub struct WatchList {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl WatchList {
    /// An empty list that tells of `at_once` ready ones at most in one answer.
    ///
    /// # Errors
    /// No descriptor or memory is left.
    pub fn new(at_once: usize) -> io::Result<WatchList> {
        // SAFETY: no pointers are passed.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: epoll_create1 has just returned this descriptor, nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        Ok(WatchList { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; at_once.max(1)] })
    }

    /// Watches one more, known by `token` from now on. It leaves the list when it is closed.
    ///
    /// # Errors
    /// It is on the list already, can't be watched, or the user's limit on watches is reached.
    pub fn add(&self, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLRDHUP) as u32, u64: token };
        let (list, what) = (self.epoll.as_raw_fd(), descriptor.as_raw_fd());
        // SAFETY: both descriptors are open through the call, and `event` is only read.
        let added = unsafe { libc::epoll_ctl(list, libc::EPOLL_CTL_ADD, what, &raw mut event) };
        if added < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The tokens of those that are ready now, without waiting; where there are more than fit into one answer, the
    /// kernel goes round.
    ///
    /// # Errors
    /// None that a caller could mend; a signal is no error.
    pub fn ready(&mut self, mut tell: impl FnMut(u64)) -> io::Result<()> {
        let most = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: `events` has room for `most` entries, and a time-out of zero returns at once.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), most, 0) };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        self.events[..count].iter().for_each(|event| tell(event.u64));
        Ok(())
    }
}

impl AsFd for WatchList {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_what_is_ready_is_told_and_what_is_closed_leaves() {
        let mut list = WatchList::new(8).unwrap();
        let (quiet, _open) = UnixStream::pair().unwrap();
        let (ready, mut sender) = UnixStream::pair().unwrap();
        list.add(quiet.as_fd(), 7).unwrap();
        list.add(ready.as_fd(), 9).unwrap();
        sender.write_all(b"x").unwrap();
        let told = |list: &mut WatchList| {
            let mut tokens = Vec::new();
            list.ready(|token| tokens.push(token)).unwrap();
            tokens
        };
        assert_eq!(told(&mut list), [9]);
        drop(ready);
        assert_eq!(told(&mut list), [0u64; 0]);
    }

    #[test]
    fn a_limit_that_is_high_enough_stays() {
        let allowed = allow(1).unwrap();
        assert!(allowed >= 1);
        assert_eq!(allow(2).unwrap(), allowed);
    }
}
