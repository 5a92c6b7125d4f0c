//! Doors of the whole program in a network of its own: real knocks on a real wire, and who gets in.
//!
//! Each test makes its own namespaces and its own guard, and takes both with it, so all run side by side.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod commands;
mod crashes;
mod crowds;
mod examples;
#[path = "../guard/harness.rs"]
#[expect(dead_code, reason = "the tests of the guard use the rest")]
mod harness;
#[path = "../guard/kernel.rs"]
#[expect(dead_code, reason = "the tests of the guard use the rest")]
mod kernel;
mod knocks;
mod lasting;
mod replays;
mod scans;
mod secrecy;
mod sessions;
mod shutting;
mod single_packets;
mod why;
