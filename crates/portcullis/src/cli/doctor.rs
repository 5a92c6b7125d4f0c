//! `doctor`: is it really protecting? Reads only.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::moment::{Moment, milliseconds, now};
use super::output::Output;
use super::place::Place;
use super::run::RunArguments;
use crate::control::client::Failure;
use crate::control::protocol::{EventsRequest, Reply, Request};
use crate::daemon::plan::{Plan, Started};
use crate::doctor::examination::{Found, Running, examine};
use crate::doctor::{Finding, Grade, Step};
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::record::events::query::Filter;
use crate::record::json;

/// So many of the last events at doors are looked through.
const EVENTS: u64 = 10_000;

/// What happened before is no matter any more.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// The configuration [default: the running program's, or what run would read]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Looks, and tells what was found. [`Exit::Failed`] where something is wrong, or may be.
pub fn doctor(arguments: &DoctorArguments) -> Result<Exit, Failure> {
    let (running, configuration) = ask(&arguments.place)?;
    let state = arguments.place.state().map(Path::to_owned);
    let plan = RunArguments::with(arguments.config.clone().or(configuration), state);
    let found = match Plan::read(&Started::Run(plan)) {
        Ok(plan) => examine(&plan, running.as_ref()),
        Err(faults) => {
            Found { findings: faults.0.iter().map(of_configuration).collect(), lacks_rights: false }
        }
    };
    let mut output = Output::new();
    for finding in &found.findings {
        match arguments.json {
            true => output.line(&json::text(finding))?,
            false => describe(finding).iter().try_for_each(|line| output.line(line))?,
        }
    }
    output.finish()?;
    let is_well = found.findings.iter().all(|finding| finding.grade == Grade::Ok);
    Ok(match (is_well, found.lacks_rights) {
        (_, true) => Exit::NotPermitted,
        (true, false) => Exit::Done,
        (false, false) => Exit::Failed,
    })
}

/// What the running program says, if it runs, and its configuration file.
fn ask(place: &Place) -> Result<(Option<Running>, Option<PathBuf>), Failure> {
    let mut client = match place.connect() {
        Ok(client) => client,
        Err(failure) if failure.exit == Exit::NotReachable => return Ok((None, None)),
        Err(failure) => return Err(failure),
    };
    let mut configuration = None;
    let mut running =
        Running { doors: Vec::new(), faults: Vec::new(), is_enforcing: false, events: Vec::new() };
    client.ask(&Request::Status, |reply| {
        if let Reply::Status(status) = reply {
            running.faults.clone_from(&status.faults);
            running.is_enforcing = status.mode == "enforce";
            configuration = status.configuration.map(PathBuf::from);
        }
        Ok(())
    })?;
    client.ask(&Request::Doors, |reply| {
        if let Reply::Door(door) = reply {
            running.doors.push(door);
        }
        Ok(())
    })?;
    let filter = Filter {
        since: Some(milliseconds(Moment::Ago(DAY).wall(now()))),
        events: ["knock", "open", "close", "fault"].map(str::to_owned).into(),
        ..Filter::default()
    };
    let request = EventsRequest { filter, backwards: true, limit: Some(EVENTS), ..EventsRequest::default() };
    let asked = client.ask(&Request::Events(Box::new(request)), |reply| {
        if let Reply::Line { line } = reply
            && let Ok(line) = serde_json::from_str::<serde_json::Value>(&line)
            && line["door"].is_string()
        {
            running.events.push(line);
        }
        Ok(())
    });
    // Oldest first, as they were told.
    running.events.reverse();
    if let Err(failure) = asked {
        // That events are not kept is among the daemon's faults as well; what else is wrong can be looked for.
        eprintln!("portcullis: what happened at doors is not known: {}", failure.message);
    }
    Ok((Some(running), configuration))
}

fn of_configuration(fault: &crate::config::Fault) -> Finding {
    Finding::new(Grade::Fault, "configuration", fault.to_string())
}

/// A finding for people; foreign parts are escaped.
pub fn describe(finding: &Finding) -> Vec<String> {
    let clean = |text: &str| Escaped(text).to_string();
    let tried =
        finding.guest.as_ref().map_or(String::new(), |guest| format!(" (tried for {})", clean(guest)));
    let mut lines = Vec::new();
    for (index, line) in finding.what.lines().enumerate() {
        lines.push(match index {
            0 => format!("{:<8} {}: {}{tried}", finding.grade.word(), clean(&finding.place), clean(line)),
            _ => format!("         {}", clean(line)),
        });
    }
    if !finding.why.is_empty() {
        lines.push(format!("         why: {}", clean(&finding.why)));
    }
    lines.extend(finding.mend.iter().map(|step| {
        let label = if matches!(step, Step::Rule { .. }) { "rule" } else { "mend" };
        format!("         {label}: {}", clean(&step.text()))
    }));
    lines
}
