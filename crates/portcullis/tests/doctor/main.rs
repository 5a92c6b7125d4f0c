//! What stands between an open door and its guest is named, and the mend that is printed really lets him through.
//!
//! Each test makes its own namespaces, its own other firewall and its own guard. A mend is carried out as it is printed:
//! lines of the configuration are written, commands are run, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod containers;
mod firewalls;
#[path = "../guard/harness.rs"]
#[expect(dead_code, reason = "the tests of the guard use the rest")]
mod harness;
mod host;
#[path = "../guard/kernel.rs"]
#[expect(dead_code, reason = "the tests of the guard use the rest")]
mod kernel;
#[path = "../doors/knocks.rs"]
#[expect(dead_code, reason = "the tests of doors use the rest")]
mod knocks;
mod marks;
mod patient;
mod services;
