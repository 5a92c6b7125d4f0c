//! Where the daemon that a verb speaks with has its socket.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{Config, load, standard_files};
use crate::control::client::{Client, Failure};
use crate::daemon::plan::DIRECTORY;

/// The name of the socket below the directory of `--state`.
pub const SOCKET_NAME: &str = "ctl.sock";

/// Which daemon is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct Place {
    /// The daemon's control socket [default: as configured, /run/portcullis/ctl.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "state")]
    socket: Option<PathBuf>,
    /// The directory of a daemon that was started with --state
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Place {
    /// The path of the socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        match (&self.socket, &self.state) {
            (Some(socket), _) => socket.clone(),
            (None, Some(state)) => state.join(SOCKET_NAME),
            (None, None) => configured_socket().unwrap_or_else(|| Config::default().control.socket),
        }
    }

    /// Connects to it.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.socket())
    }
}

/// The socket that the configuration names. Who may not read it, or finds it faulty, goes on with the default: the
/// daemon that he asks may well run all the same.
fn configured_socket() -> Option<PathBuf> {
    let files = standard_files(Path::new(DIRECTORY)).ok()?;
    load(&files).ok().map(|config| config.control.socket)
}
