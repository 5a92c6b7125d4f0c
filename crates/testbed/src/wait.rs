//! Waiting for a condition, with a deadline; nothing in a test sleeps and hopes.

use std::time::{Duration, Instant};

/// Between two looks. Short against what tests wait for (a process that starts: some ms), long enough to leave
/// the CPU to it.
const PAUSE: Duration = Duration::from_millis(2);

/// Asks `look` again and again until it gives a value, and returns that.
///
/// # Panics
/// After `within`, saying `what` was waited for. `look` is asked at least once, and once more at the deadline.
#[track_caller]
pub fn wait_until<T>(within: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        let late = start.elapsed() >= within;
        if let Some(value) = look() {
            return value;
        }
        assert!(!late, "waited {within:?} in vain for {what}");
        std::thread::sleep(PAUSE);
    }
}
