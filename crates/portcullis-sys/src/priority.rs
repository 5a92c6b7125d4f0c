//! How soon the scheduler lets a thread run when others want to run as well.

use std::io;

/// Nine levels below the least: ahead of ordinary work, behind what an administrator has put first.
const AHEAD: i32 = -10;

/// Lets the calling thread run ahead of ordinary ones (setpriority(2): on Linux the value belongs to the thread).
///
/// # Errors
/// Without CAP_SYS_NICE or a fitting RLIMIT_NICE; nothing is changed then.
pub fn raise() -> io::Result<()> {
    // SAFETY: the call takes no pointers; 0 is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, AHEAD) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
