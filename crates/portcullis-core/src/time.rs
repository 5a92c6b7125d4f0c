//! Two clocks, one value.
//!
//! Whatever waits (windows, time-outs, the end of a ban) counts on [`Mono`], which never jumps.
//! Whatever is written down or shown uses [`Wall`], which somebody may set at any moment.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the clock that never jumps, counted from an arbitrary start (the boot of the
/// machine, or the first packet of a capture). Time spent suspended counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub Duration);

/// A point on the calendar, counted from 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub Duration);

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For waiting.
    pub mono: Mono,
    /// For writing down.
    pub wall: Wall,
}

impl Mono {
    /// How long ago `earlier` was; nothing if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Mono) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, span: Duration) -> Mono {
        Mono(self.0.saturating_add(span))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, span: Duration) -> Mono {
        Mono(self.0.saturating_sub(span))
    }
}

impl Wall {
    /// How long ago `earlier` was; nothing if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Wall) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;
    fn add(self, span: Duration) -> Wall {
        Wall(self.0.saturating_add(span))
    }
}

impl Now {
    /// Both clocks moved on by `span`.
    #[must_use]
    pub fn later(self, span: Duration) -> Now {
        Now { mono: self.mono + span, wall: self.wall + span }
    }
}
