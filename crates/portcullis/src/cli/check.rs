//! `check`: a configuration is read exactly as `run` would read it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::print;
use crate::config::{self, Checked, sample, standard_files};
use crate::control::client::Failure;
use crate::daemon::plan::{DIRECTORY, check_access};
use crate::exit::Exit;
use crate::record::json;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The configuration, or an old file: portsentry.conf, /etc/default/portsentry, knockd.conf [default: what run would read]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Say what it means as JSON
    #[arg(long)]
    json: bool,
    /// Print a configuration with every key, its default and what it means
    #[arg(long, conflicts_with_all = ["file", "json"])]
    sample: bool,
}

/// Prints every fault, or what the configuration means.
pub fn check(arguments: &CheckArguments) -> Result<Exit, Failure> {
    if arguments.sample {
        return print(&sample());
    }
    let files = match &arguments.file {
        Some(file) => Ok(vec![file.clone()]),
        None => standard_files(Path::new(DIRECTORY)),
    };
    let checked = files
        .and_then(|files| {
            let checked = config::check(&files)?;
            if matches!(checked, Checked::Portcullis { .. }) {
                check_access(&files)?;
            }
            Ok(checked)
        })
        .map_err(|faults| Failure { exit: Exit::ConfigurationInvalid, message: faults.to_string() })?;
    print(&if arguments.json { json::text(&checked) } else { checked.to_string() })?;
    match checked {
        Checked::Portsentry { usable: false, .. }
        | Checked::Knockd { usable: false, .. }
        | Checked::Modes { usable: false, .. } => Ok(Exit::ConfigurationInvalid),
        _ => Ok(Exit::Done),
    }
}
