//! `report`: a while in one view.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::history::History;
use super::moment::{Moment, now};
use super::output::{self, Output};
use super::place::Place;
use crate::control::client::Failure;
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::record::json;
use crate::report::{Heading, page, text};

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// From this moment: 24h or 7d ago, 2026-11-21, 2026-11-21T14:30, or RFC 3339
    #[arg(long, value_name = "TIME", default_value = "24h")]
    since: Moment,
    /// Up to this moment [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Write a page that needs nothing from elsewhere; - is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// One JSON object
    #[arg(long, conflicts_with = "html")]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Sums up what happened, as text for mail, as a page, or as JSON.
pub fn report(arguments: &ReportArguments) -> Result<Exit, Failure> {
    let now = now();
    let (since, until) = (arguments.since.wall(now), arguments.until.map_or(now, |moment| moment.wall(now)));
    if until < since {
        let message = "--until is before --since".to_owned();
        return Err(Failure { exit: Exit::Usage, message });
    }
    let report = History::open(&arguments.place)?.report(since, until)?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let heading = Heading { host: &host };
    match &arguments.html {
        None if arguments.json => output::print(&json::text(&report)),
        None => output::print(&text(heading, &report)),
        Some(path) if path.as_os_str() == "-" => output::print(&page(heading, &report)),
        Some(path) => {
            write_whole(path, &page(heading, &report))?;
            let mut output = Output::new();
            output.line(&format!("written to {}", Escaped(&path.to_string_lossy())))?;
            output.finish()?;
            Ok(Exit::Done)
        }
    }
}

/// Writes beside the file and then in its place, so that a web server never shows half of it.
pub(super) fn write_whole(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure {
        exit: Exit::Failed,
        message: format!("{}: cannot be written: {error}", Escaped(&path.to_string_lossy())),
    };
    // What is no regular file (/dev/stdout, a pipe) cannot be replaced, and is written to.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return std::fs::write(path, text).map_err(failed);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        // What is half written is of no use; that it could not be written is what counts.
        let _ = std::fs::remove_file(&beside);
        failed(error)
    })
}
