//! Where the daemon that a verb speaks with has its socket.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{Config, load, standard_files};
use crate::control::client::{Client, Failure};
use crate::daemon::persona::RUN;
use crate::daemon::plan::DIRECTORY;
use crate::exit::Exit;

/// The name of the socket below the directory of `--state`.
pub const SOCKET_NAME: &str = "ctl.sock";

/// How the name of every socket ends.
const SOCKET_END: &str = ".sock";

/// Which daemon is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct Place {
    /// The daemon's control socket [default: as configured, /run/portcullis/ctl.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "state")]
    socket: Option<PathBuf>,
    /// The directory of a daemon that was started with --state
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The daemon that runs as an older program, by its name: ps-atcp for portsentry -atcp
    #[arg(long, value_name = "NAME", conflicts_with = "socket", value_parser = instance_name)]
    instance: Option<String>,
}

/// A name that is no path.
fn instance_name(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains('/') || text.starts_with('.') {
        true => Err("a name such as ps-atcp; portcullis status tells those that run".to_owned()),
        false => Ok(text.to_owned()),
    }
}

impl Place {
    /// The path of the socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        match (&self.socket, &self.state, &self.instance) {
            (Some(socket), ..) => socket.clone(),
            (None, state, Some(name)) => {
                let directory = state.as_deref().unwrap_or(Path::new(RUN));
                directory.join(format!("{name}{SOCKET_END}"))
            }
            (None, Some(state), None) => state.join(SOCKET_NAME),
            (None, None, None) => configured_socket().unwrap_or_else(|| Config::default().control.socket),
        }
    }

    /// Connects to it.
    ///
    /// # Errors
    /// As [`Client::connect`]; if others answer in the same place, they are named.
    pub fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.socket()).map_err(|mut failure| {
            let others = self.others();
            if failure.exit == Exit::NotReachable && !others.is_empty() {
                let names = others.join(", ");
                failure.message = format!(
                    "nobody answers at {}, but these run here: {names}\n  \
                     say which: --instance {}\n  \
                     or start the program itself: systemctl start portcullis",
                    self.socket().display(),
                    others[0]
                );
            }
            failure
        })
    }

    /// The names of the instances that answer beside this one, sorted.
    #[must_use]
    pub fn others(&self) -> Vec<String> {
        let own = self.socket();
        let beside = own.parent().unwrap_or(Path::new("."));
        // A directory that cannot be read tells nobody's name.
        let files = fs::read_dir(beside).into_iter().flatten().flatten();
        let name = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(SOCKET_END).map(str::to_owned);
        let answers = |path: &PathBuf| *path != own && UnixStream::connect(path).is_ok();
        let mut names: Vec<String> = files
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|end| end == "sock") && answers(path))
            .filter_map(name)
            .collect();
        names.sort();
        names
    }
}

/// The socket that the configuration names. Who may not read it, or finds it faulty, goes on with the default: the
/// daemon that he asks may well run all the same.
fn configured_socket() -> Option<PathBuf> {
    let files = standard_files(Path::new(DIRECTORY)).ok()?;
    load(&files).ok().map(|config| config.control.socket)
}
