//! The whole program in a network of its own: a real kernel, real tools, and what people and programs get to see.
//!
//! Each test makes its own namespaces and its own guard, and takes both with it, so all run side by side.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod at_home;
mod captures;
mod enforcing;
mod faults;
mod forwarded;
mod friends;
mod harness;
mod history;
mod holding;
mod kernel;
mod listening;
mod neighbours;
mod operating;
mod peers;
#[path = "../ancestors/probes.rs"]
#[expect(dead_code, reason = "the tests beside PortSentry use the rest")]
mod probes;
mod published;
mod scans;
mod services;
