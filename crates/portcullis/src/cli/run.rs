//! `run`: the declaration of its arguments; the work is the daemon's.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portcullis_core::event::Mode;

use super::place::SOCKET_NAME;
use crate::config::EngineChoice;

/// Arguments of `run`. What is given here outranks the configuration for this run.
#[derive(Debug, Default, Args)]
pub struct RunArguments {
    /// The configuration [default: /etc/portcullis/portcullis.toml if it is there]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only tell what would be done
    #[arg(long, conflicts_with = "enforce")]
    observe: bool,
    /// Block scanners
    #[arg(long)]
    enforce: bool,
    /// How to see packets: listen opens plain sockets on the watched ports
    #[arg(long, value_enum)]
    engine: Option<EngineName>,
    /// Watch this interface only; may be repeated
    #[arg(short, long = "interface", value_name = "IFACE")]
    pub interfaces: Vec<String>,
    /// Keep everything that is written in this directory, the control socket too
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Tell events as JSON on standard output, one object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EngineName {
    Auto,
    Ring,
    Listen,
}

impl RunArguments {
    /// As `run` without options would be started, but for these.
    #[must_use]
    pub fn with(config: Option<PathBuf>, state: Option<PathBuf>) -> RunArguments {
        RunArguments { config, state, ..RunArguments::default() }
    }

    /// The mode that was asked for.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        match (self.observe, self.enforce) {
            (true, _) => Some(Mode::Observe),
            (false, true) => Some(Mode::Enforce),
            (false, false) => None,
        }
    }

    /// The engine that was asked for.
    #[must_use]
    pub fn engine(&self) -> Option<EngineChoice> {
        self.engine.map(|engine| match engine {
            EngineName::Auto => EngineChoice::Auto,
            EngineName::Ring => EngineChoice::Ring,
            EngineName::Listen => EngineChoice::Listen,
        })
    }

    /// The control socket that goes with `--state`.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|state| state.join(SOCKET_NAME))
    }
}
