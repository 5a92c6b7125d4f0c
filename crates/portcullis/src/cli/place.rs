//! Where the daemon that a verb speaks with has its socket.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{Config, load, standard_files};
use crate::control::client::{Client, Failure};
use crate::daemon::persona::{RUN, STATE};
use crate::daemon::plan::DIRECTORY;
use crate::exit::Exit;
use crate::record::events::beside;
use crate::record::store::FILE_NAME;

/// The name of the socket below the directory of `--state`.
pub const SOCKET_NAME: &str = "ctl.sock";

/// The same without its end, where an instance has its name: this one is not called so.
pub const OWN_NAME: &str = "ctl";

/// How the name of every socket ends.
const SOCKET_END: &str = ".sock";

/// And that of every instance's store.
const STORE_END: &str = ".db";

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
            (None, None, None) => configured().unwrap_or_default().control.socket,
        }
    }

    /// The directory of `--state`, if that is how it is meant.
    #[must_use]
    pub fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }

    /// The file in which that daemon keeps its events.
    #[must_use]
    pub fn events_file(&self) -> PathBuf {
        let store = match (&self.state, &self.instance) {
            (state, Some(name)) => {
                state.as_deref().unwrap_or(Path::new(STATE)).join(format!("{name}{STORE_END}"))
            }
            (Some(state), None) => state.join(FILE_NAME),
            (None, None) => configured().unwrap_or_default().record.state.join(FILE_NAME),
        };
        beside(&store)
    }

    /// Connects to it. Who names nobody, where the program itself does not run and one instance alone does, means that
    /// one; it is said on standard error.
    ///
    /// # Errors
    /// As [`Client::connect`]; if others answer in the same place, they are named.
    pub fn connect(&self) -> Result<Client, Failure> {
        let socket = self.socket();
        let failure = match Client::connect(&socket) {
            Err(failure) if failure.exit == Exit::NotReachable => failure,
            connected => return connected,
        };
        let others = others(&socket);
        match others.as_slice() {
            [] => Err(failure),
            [only] if only != OWN_NAME && self.is_left_open(&socket) => {
                let shown = socket.display();
                eprintln!("portcullis: nobody is at {shown}; this is {only}, the only one that runs here");
                Client::connect(&socket.with_file_name(format!("{only}{SOCKET_END}")))
            }
            _ => Err(Failure { message: self.say_which(&socket, &others), ..failure }),
        }
    }

    /// Whether nobody is named, and the socket is neither there nor in a directory where others than ours may be.
    fn is_left_open(&self, socket: &Path) -> bool {
        let is_ours = self.state.is_some() || socket.parent() == Some(Path::new(RUN));
        self.socket.is_none() && self.instance.is_none() && is_ours && !socket.exists()
    }

    fn say_which(&self, socket: &Path, others: &[String]) -> String {
        let names: Vec<&str> = others.iter().map(|name| shown(name)).collect();
        let which: Vec<String> = others
            .iter()
            .map(|name| match name.as_str() {
                OWN_NAME => "no --instance".to_owned(),
                name => format!("--instance {name}"),
            })
            .collect();
        let start = match &self.instance {
            Some(name) => {
                format!("or start {name} again: what an instance has blocked, only it can undo")
            }
            None => "or start the program itself: systemctl start portcullis".to_owned(),
        };
        format!(
            "nobody answers at {}, but these run here: {}\n  say which: {}\n  {start}",
            socket.display(),
            names.join(", "),
            which.join(", or ")
        )
    }
}

/// What people call the instance of this name.
pub fn shown(name: &str) -> &str {
    if name == OWN_NAME { "portcullis itself" } else { name }
}

/// The names of the instances that answer beside the one at `own`, sorted.
pub fn others(own: &Path) -> Vec<String> {
    let beside = own.parent().unwrap_or(Path::new("."));
    // A directory that cannot be read tells nobody's name.
    let files = fs::read_dir(beside).into_iter().flatten().flatten();
    let name = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(SOCKET_END).map(str::to_owned);
    let answers = |path: &PathBuf| path != own && UnixStream::connect(path).is_ok();
    let mut names: Vec<String> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|end| end == "sock") && answers(path))
        .filter_map(name)
        .collect();
    names.sort();
    names
}

/// The configuration. Who may not read it, or finds it faulty, goes on with the defaults: the daemon that he asks may well
/// run all the same.
fn configured() -> Option<Config> {
    let files = standard_files(Path::new(DIRECTORY)).ok()?;
    load(&files).ok()
}
