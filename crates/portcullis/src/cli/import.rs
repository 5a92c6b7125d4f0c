//! `import`: the configuration of an older program as one of ours, with a report of what became of it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::Output;
use crate::config::doors::Weakness;
use crate::config::portsentry::{Diagnostic, Weight};
use crate::config::{
    AccessFile, Fate, FwknopImport, Import, import_fwknop, import_knockd, import_portsentry,
};
use crate::control::client::Failure;
use crate::exit::Exit;
use crate::keys::make;
use crate::keys::memory::keep_out_of_dumps;
use crate::record::json;

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// Of PortSentry 1.x or 2.x
    Portsentry(PortsentryArguments),
    /// Of knockd: its doors
    Knockd(KnockdArguments),
    /// Of fwknop: its users as guests of doors
    Fwknop(FwknopArguments),
}

#[derive(Debug, Args)]
struct PortsentryArguments {
    /// portsentry.conf, and with it portsentry.ignore and /etc/default/portsentry where they say something
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    to: To,
}

#[derive(Debug, Args)]
struct KnockdArguments {
    /// knockd.conf, and with it /etc/default/knockd
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    to: To,
}

#[derive(Debug, Args)]
struct FwknopArguments {
    /// access.conf, and with it fwknopd.conf and .fwknoprc
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Write the keys to this directory, as files that only their owner can read [default: nowhere]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Carry over users who need this weak setting: no-hmac, short-keys, old-hmac or other-modes
    #[arg(long, value_name = "SETTING", value_delimiter = ',', value_parser = weakness)]
    weak: Vec<Weakness>,
    #[command(flatten)]
    to: To,
}

fn weakness(word: &str) -> Result<Weakness, String> {
    let own = Weakness::ALL.into_iter().find(|weak| weak.word() == word);
    own.filter(|weak| *weak != Weakness::CommandMessages)
        .ok_or_else(|| "write no-hmac, short-keys, old-hmac or other-modes".to_owned())
}

/// Where the new configuration goes.
#[derive(Debug, Args)]
struct To {
    /// Write the new configuration to this file, which must not exist [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print configuration and report as one JSON object
    #[arg(long)]
    json: bool,
}

/// The whole import, for programs.
#[derive(Serialize)]
struct Whole<'a> {
    /// The new configuration.
    toml: &'a str,
    /// What has become of each line.
    report: &'a [Fate],
    /// What was found in the old files.
    diagnostics: &'a [Diagnostic],
    /// What is worth a thought.
    warnings: &'a [String],
}

/// Carries it over: the configuration goes to standard output or its file, the report to standard error.
pub fn import(arguments: &ImportArguments) -> Result<Exit, Failure> {
    let mut secrets = Vec::new();
    let (import, To { output, json }) = match &arguments.from {
        From::Portsentry(PortsentryArguments { files, to }) => (import_portsentry(files), to),
        From::Knockd(KnockdArguments { files, to }) => (import_knockd(files), to),
        From::Fwknop(FwknopArguments { files, keys, weak, to }) => {
            keep_out_of_dumps().map_err(|error| {
                let message = format!("keys would not be safe in memory, so none was read: {error}");
                Failure { exit: Exit::Failed, message }
            })?;
            let carried = import_fwknop(files, keys.as_deref(), weak);
            let import = carried.map(|FwknopImport { import, secrets: made }| {
                secrets = made;
                import
            });
            if keys.is_none() {
                secrets.clear();
            }
            (import, to)
        }
    };
    let import =
        import.map_err(|faults| Failure { exit: Exit::ConfigurationInvalid, message: faults.to_string() })?;
    let Import { toml, report, diagnostics, warnings, .. } = &import;
    write_secrets(&secrets)?;
    if let Some(path) = output
        && let Err(failure) = write_new(path, toml)
    {
        // A second try would find them in its way.
        secrets.iter().for_each(take_back);
        return Err(failure);
    }
    let mut printed = Output::new();
    if *json {
        printed.line(&json::text(&Whole { toml, report, diagnostics, warnings }))?;
    } else {
        if output.is_none() {
            printed.line(toml.trim_end())?;
        }
        diagnostics.iter().for_each(|diagnostic| eprintln!("{diagnostic}"));
        eprint!("{import}");
        eprintln!("{}", next_step(output.as_deref()));
    }
    printed.finish()?;

    match diagnostics.iter().filter(|diagnostic| diagnostic.weight >= Weight::Fault).count() {
        0 => Ok(Exit::Done),
        faults => Err(Failure {
            exit: Exit::ConfigurationInvalid,
            message: format!(
                "{faults} of the old settings could not be understood, and have their defaults in the new \
                 configuration; mend them there, or in the old file and import it again"
            ),
        }),
    }
}

/// What to do with the new configuration: look at it, try it, and only then let it ban.
fn next_step(output: Option<&Path>) -> String {
    match output {
        Some(path) => {
            let path = path.display();
            format!(
                "Next: portcullis check {path}; then, to try it without a ban: portcullis run --observe -c {path}"
            )
        }
        None => "Next: write it to a file with -o portcullis.toml, then: portcullis check portcullis.toml"
            .to_owned(),
    }
}

/// All of them or none.
fn write_secrets(secrets: &[AccessFile]) -> Result<(), Failure> {
    for (index, secret) in secrets.iter().enumerate() {
        if let Err(fault) = make::file(&secret.path, &secret.text) {
            secrets[..index].iter().for_each(take_back);
            return Err(Failure { exit: Exit::Failed, message: fault.to_string() });
        }
    }
    Ok(())
}

/// Removes a file that was made just now.
fn take_back(secret: &AccessFile) {
    if let Err(error) = std::fs::remove_file(&secret.path) {
        eprintln!("{} could not be removed again: {error}", secret.path.display());
    }
}

/// Never over a file that is there: it may be the only one of its kind.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let written = File::create_new(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        let shown = path.display();
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let message = match (error.kind(), directory) {
            (io::ErrorKind::AlreadyExists, _) => {
                format!("{shown} exists already, and nothing was written; move it away or name another file")
            }
            (io::ErrorKind::NotFound, Some(directory)) => {
                let directory = directory.display();
                format!(
                    "cannot write {shown}: there is no directory {directory}\n  \
                     make it and try again: mkdir -p {directory}"
                )
            }
            _ => format!("cannot write {shown}: {error}"),
        };
        Failure { exit: Exit::Failed, message }
    })
}
