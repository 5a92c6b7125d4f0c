//! How soon the scheduler lets a thread run when others want to run as well.

use std::io;

/// Nine levels below the least: ahead of ordinary work, behind what an administrator has put first.
const AHEAD: i32 = -10;

/// The turn that the thread asks for, in nanoseconds; the least that the kernel grants (kernel/sched/syscalls.c,
/// `__setscheduler_params`). Who wakes up with a shorter turn than the one that runs takes the processor at once
/// (`PREEMPT_SHORT`); otherwise the one that runs has its 3 ms first, whatever their priorities.
const TURN: u64 = 100_000;

/// `struct sched_attr` of `include/uapi/linux/sched/types.h`, in its first version.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Lets the calling thread run ahead of ordinary ones, and as soon as it wakes: on a busy host that decides how long
/// a scanner goes on. Kernels before 6.12 know no turns, and take the priority only.
///
/// # Errors
/// Without CAP_SYS_NICE or a fitting RLIMIT_NICE; only the turn has changed then, which needs no right.
pub fn raise() -> io::Result<()> {
    let nice = present()?.nice;
    set(nice.min(AHEAD)).or_else(|refused| {
        set(nice)?;
        Err(refused)
    })
}

/// What the kernel has about the calling thread.
fn present() -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    let size = size_of::<Attributes>();
    // SAFETY: the kernel writes at most `size` bytes to attributes, which is valid with any; 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if result == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

fn set(nice: i32) -> io::Result<()> {
    let size = u32::try_from(size_of::<Attributes>()).map_err(io::Error::other)?;
    // Policy 0 is SCHED_OTHER.
    let attributes = Attributes { size, nice, runtime: TURN, ..Attributes::default() };
    // SAFETY: attributes is a sched_attr of the size that it names, alive over the call, which only reads it: the
    // kernel writes to it only to refuse a size that it does not know, and this one is of the first version. 0 is
    // the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_the_turn_and_with_the_right_the_priority() {
        let before = present().unwrap();
        // On a thread of its own, which takes all of it away when it ends.
        let raising = std::thread::spawn(|| (raise(), present().unwrap()));
        let (raised, after) = raising.join().unwrap();
        let expected = if raised.is_ok() { before.nice.min(AHEAD) } else { before.nice };
        assert_eq!(after.nice, expected);
        // A kernel without turns tells none.
        assert!(before.runtime == 0 || after.runtime == TURN, "{} {}", before.runtime, after.runtime);
    }
}
