//! The two clocks, read together.

use std::time::Duration;

use portcullis_core::time::{Mono, Now, Wall};

/// This moment: the clock since boot that also counts suspended time (`CLOCK_BOOTTIME`), and the calendar
/// (`CLOCK_REALTIME`). Two calls that stay in user space, some 50 ns.
#[must_use]
pub fn now() -> Now {
    Now { mono: Mono(read(libc::CLOCK_BOOTTIME)), wall: Wall(read(libc::CLOCK_REALTIME)) }
}

/// Whether somebody (NTP, PTP) keeps the calendar right, as far as the kernel was told (adjtimex(2)).
#[must_use]
pub fn is_synchronized() -> bool {
    // SAFETY: timex is plain numbers, for which all zeroes is a value: it asks for nothing to be changed.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: timex is valid for reading and writing over the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    state >= 0 && timex.status & libc::STA_UNSYNC == 0
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that the call fills.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "Linux has had both clocks since 2.6.39");
    // A calendar set before 1970 counts as 1970: it is wrong anyhow, and must not stop us.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_agree_with_those_of_the_standard_library() {
        let (before, now) = (std::time::SystemTime::now(), now());
        let after = std::time::SystemTime::now();
        let since_1970 = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(since_1970(before) <= now.wall.0 && now.wall.0 <= since_1970(after));
        assert!(super::now().mono >= now.mono);
    }
}
