//! A lab of network namespaces that vanish with the test, for the tests of the other crates and for xtask.
//!
//! ```no_run
//! # use std::time::Duration;
//! use testbed::{Lab, Running};
//!
//! let Some(lab) = Lab::direct() else { return };      // no root: says so and the test is over
//! if !testbed::has(&["nmap"]) { return }              // no nmap: the same
//! lab.victim.run(&["nft", "add table inet mine"]);    // panics with stderr when it fails
//! let mut tap = Running::spawn(lab.victim.command("tcpdump").args(["-ni", "eth0"]));
//! tap.wait_for_line(Duration::from_secs(5), |line| line.contains("listening on"));
//! lab.attacker.run(&["nmap", "-sS", "-p", "1-10", &lab.victim4().to_string()]);
//! let ports = lab.victim.enter(|| std::net::TcpListener::bind("[::]:0"));   // on a thread inside
//! ```
//!
//! Nothing here has a name outside the test's process: a namespace lives as long as a file descriptor of the test
//! points to it, so that it goes even when the test is killed with SIGKILL, and labs side by side never meet.
//!
//! Without root, or without a tool, a test says why on standard error and returns; where the environment says
//! `PORTCULLIS_TESTS=must` (as `cargo xtask test` does) it fails instead.

mod ancestors;
mod lab;
mod mounts;
mod namespace;
mod rights;
mod running;
mod wait;

pub use ancestors::{target_directory, unpack};
pub use lab::Lab;
pub use namespace::{Namespace, Offloads};
pub use nix::sys::signal::Signal;
pub use rights::{has, is_installed, rights};
pub use running::{Line, Running, Stream};
pub use wait::wait_until;
