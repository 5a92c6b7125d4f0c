//! Users and groups: names to numbers as the system's name services know them, and which groups the process at the
//! other end of a socket is in.
//!
//! Called by the program's control socket to decide who may ask and who may change.

#![expect(unsafe_code, reason = "the name services and SO_PEERGROUPS have no safe interface in std")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// How large the answer of the name service may get; a group of ten thousand members fits.
const LARGEST_ANSWER: usize = 1 << 20;

/// The number of the group of this name; `None` if there is no such group.
///
/// # Errors
/// What the name service says, and `ERANGE` if the entry is larger than a mebibyte.
pub fn group_by_name(name: &str) -> io::Result<Option<u32>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    grow(|buffer| {
        // SAFETY: `libc::group` is plain data of pointers and numbers, for which all zeroes is a valid value.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: `name` ends with NUL; `entry` and `found` are ours and writable; `buffer` is writable for the
        // length that is given. All outlive the call, and nothing of `entry` that points into `buffer` is read.
        let fault = unsafe {
            libc::getgrnam_r(name.as_ptr(), &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut found)
        };
        outcome(fault, (!found.is_null()).then_some(entry.gr_gid))
    })
}

/// The number of the user of this name; `None` if there is no such user.
///
/// # Errors
/// As [`group_by_name`].
pub fn user_by_name(name: &str) -> io::Result<Option<u32>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    grow(|buffer| {
        // SAFETY: as in `group_by_name`, for `libc::passwd`.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: as in `group_by_name`.
        let fault = unsafe {
            libc::getpwnam_r(name.as_ptr(), &mut entry, buffer.as_mut_ptr().cast(), buffer.len(), &mut found)
        };
        outcome(fault, (!found.is_null()).then_some(entry.pw_uid))
    })
}

/// The user that this process acts as.
#[must_use]
pub fn own_user() -> u32 {
    // SAFETY: geteuid takes nothing, touches no memory of ours and cannot fail (geteuid(2)).
    unsafe { libc::geteuid() }
}

/// The supplementary groups that the process at the other end of a connected Unix stream socket had when it connected
/// (`SO_PEERGROUPS`, Linux 4.13).
///
/// # Errors
/// What getsockopt(2) says, such as `ENOTSOCK`.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    // NGROUPS_MAX is 65536 (include/uapi/linux/limits.h), so the largest answer is 256 KiB; nearly all fit at once.
    let mut groups = vec![0u32; 64];
    loop {
        let mut length = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: the descriptor is borrowed and open; `groups` is writable for `length` bytes, and `length` is ours.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut length,
            )
        };
        let needed = length as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(needed);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // net/core/sock.c, sk_getsockopt: a buffer that is too short is answered with ERANGE and the right length.
        if error.raw_os_error() != Some(libc::ERANGE) || needed <= groups.len() {
            return Err(error);
        }
        groups.resize(needed, 0);
    }
}

/// Calls `ask` with larger and larger buffers for as long as it says `ERANGE`.
fn grow<T>(mut ask: impl FnMut(&mut [u8]) -> io::Result<Option<T>>) -> io::Result<Option<T>> {
    let mut size = 1024;
    loop {
        match ask(&mut vec![0u8; size]) {
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && size < LARGEST_ANSWER => size *= 2,
            answer => return answer,
        }
    }
}

/// getpwnam_r(3) and its kin return the error itself; these few mean "not found" on one system or another.
fn outcome<T>(fault: libc::c_int, found: Option<T>) -> io::Result<Option<T>> {
    match fault {
        0 | libc::ENOENT | libc::ESRCH => Ok(found),
        _ => Err(io::Error::from_raw_os_error(fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn root_is_known_by_name() {
        assert_eq!(user_by_name("root").unwrap(), Some(0));
        assert_eq!(group_by_name("root").unwrap(), Some(0));
    }

    #[test]
    fn nobody_is_found_under_a_name_that_cannot_be() {
        assert_eq!(user_by_name("no such user").unwrap(), None);
        assert_eq!(group_by_name("no\0group").unwrap(), None);
    }

    #[test]
    fn the_groups_of_a_peer_are_those_of_its_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let expected: Vec<u32> = line.split_whitespace().map(|group| group.parse().unwrap()).collect();
        assert_eq!(peer_groups(&one).unwrap(), expected);
        assert!(peer_groups(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
