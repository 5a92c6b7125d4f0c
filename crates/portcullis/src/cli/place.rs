//! Where the daemon that a verb speaks with has its socket.

use std::path::PathBuf;

use clap::Args;

use crate::control::client::{Client, Failure};

/// The socket of a daemon that was started without saying otherwise.
pub const DEFAULT_SOCKET: &str = "/run/portcullis/ctl.sock";

/// The name of the socket below the directory of `--state`.
pub const SOCKET_NAME: &str = "ctl.sock";

/// Which daemon is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct Place {
    /// The daemon's control socket [default: /run/portcullis/ctl.sock]
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
            (None, None) => PathBuf::from(DEFAULT_SOCKET),
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
