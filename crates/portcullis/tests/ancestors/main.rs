//! Ours beside PortSentry: the same host, the same configuration, the same probes.
//!
//! `cases` drives the measured cases of 1.2 and 2.x (`tests/ancestors/portsentry-cases.json`), `side_by_side` runs the
//! distribution's program in the same minute. Where ours is meant to differ, `tests/ancestors/differences.toml` says
//! how and why, and nothing else may. The other files hold what PortSentry could not do.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod cases;
mod changing;
mod dice;
mod differences;
mod ends_of_blocks;
mod failing;
mod load;
mod names;
mod no_events;
mod observed;
mod probes;
mod restarting;
mod side_by_side;
mod two_modes;
mod victim;
