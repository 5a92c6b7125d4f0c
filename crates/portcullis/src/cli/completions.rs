//! `completions`: the script for a shell.

use std::io::{self, Write};

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use super::Arguments;
use crate::control::client::Failure;
use crate::exit::Exit;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// For which shell
    shell: KnownShell,
}

/// The shells that are promised; clap_complete knows more.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum KnownShell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub fn completions(arguments: &CompletionsArguments) -> Result<Exit, Failure> {
    let shell = match arguments.shell {
        KnownShell::Bash => Shell::Bash,
        KnownShell::Zsh => Shell::Zsh,
        KnownShell::Fish => Shell::Fish,
    };
    // Into memory first: clap_complete panics where a write fails, and a closed pipe is no fault.
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "portcullis", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure { exit: Exit::Failed, message: format!("cannot write to standard output: {error}") })
        }
        _ => Ok(Exit::Done),
    }
}
