//! Reader of fwknop's files: access.conf and fwknopd.conf of the server, .fwknoprc of the client.
//!
//! What is read here becomes a door of the kind spa; what has no counterpart is named. No key is ever part of a
//! diagnostic: the line that is shown has stars in its place.

mod access;
mod client;
mod daemon;
mod lines;
#[cfg(test)]
mod tests;

pub use self::access::{Access, Cycle, Stanza, read_access};
pub use self::client::{AllowedAddress, Client, Section, read_client};
pub use self::daemon::{Daemon, read_daemon};
