//! `doors`, `open` and `close`: the state of doors, how the last knocks ended, and doors by hand.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;

use super::list::send;
use super::moment::{Moment, milliseconds, now};
use super::output::Output;
use super::place::Place;
use super::telling::at_door;
use crate::control::Term;
use crate::control::client::Failure;
use crate::control::doors::{DoorFields, OpeningFields};
use crate::control::protocol::{EventsRequest, Reply, Request, Text};
use crate::doctor::{Finding, Grade};
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::record::events::query::Filter;
use crate::record::events::{Node, parse};
use crate::record::json;

/// Arguments of `doors`.
#[derive(Debug, Args)]
pub struct DoorsArguments {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `open`.
#[derive(Debug, Args)]
pub struct OpenArguments {
    /// The door's name
    door: String,
    /// For whom
    address: IpAddr,
    /// How long [default: as the door says]
    #[arg(long = "for", value_name = "TIME")]
    term: Option<Term>,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `close`.
#[derive(Debug, Args)]
pub struct CloseArguments {
    /// The door's name
    door: String,
    /// For whom [default: everybody]
    address: Option<IpAddr>,
    #[command(flatten)]
    place: Place,
}

/// Attempts of the last hour are shown beneath a door, this many.
const ATTEMPTS: usize = 3;

/// The last hour.
const ATTEMPTS_OF: Duration = Duration::from_secs(3600);

/// So many of the last knocks are looked through for them.
const LOOKED_AT: u64 = 2000;

/// Lists the doors, for whom they are open, and how the last knocks ended.
pub fn doors(arguments: &DoorsArguments) -> Result<Exit, Failure> {
    let mut client = arguments.place.connect()?;
    let mut output = Output::new();
    let mut doors = Vec::new();
    client.ask(&Request::Doors, |reply| {
        if let Reply::Door(door) = reply {
            doors.push(door);
        }
        Ok(())
    })?;
    if arguments.json {
        doors.iter().try_for_each(|door| output.line(&json::text(door)))?;
        output.finish()?;
        return Ok(Exit::Done);
    }
    let mut attempts = Vec::new();
    let filter = Filter {
        since: Some(milliseconds(Moment::Ago(ATTEMPTS_OF).wall(now()))),
        events: vec!["knock".to_owned()],
        ..Filter::default()
    };
    let request =
        EventsRequest { filter, backwards: true, limit: Some(LOOKED_AT), ..EventsRequest::default() };
    let asked = client.ask(&Request::Events(Box::new(request)), |reply| {
        if let Reply::Line { line } = reply
            && let Some(line) = parse(&line)
            && line.text("why").is_some()
        {
            attempts.push(line);
        }
        Ok(())
    });
    if let Err(Failure { message, .. }) = asked {
        eprintln!("portcullis: how the last knocks ended is not known: {message}");
    }
    for door in &doors {
        output.line(&describe(door))?;
        for opening in &door.openings {
            output.line(&format!("  {}", describe_opening(opening)))?;
            for finding in &opening.way {
                in_the_way(finding).iter().try_for_each(|line| output.line(&format!("    {line}")))?;
            }
        }
        let own = attempts.iter().filter(|line| line.text("door") == Some(door.door.as_str()));
        for line in own.take(ATTEMPTS) {
            output.line(&format!("  {}", sentence(line)))?;
        }
    }
    if doors.is_empty() && output.is_terminal() {
        output.line("no door is configured; [door.NAME] in portcullis.toml makes one")?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

/// Opens a door by hand.
pub fn open(arguments: &OpenArguments) -> Result<Exit, Failure> {
    send(&arguments.place, &[()], |_| Request::Open {
        door: arguments.door.clone(),
        address: Text(arguments.address),
        term: arguments.term.map(Text),
    })
}

/// Shuts a door by hand.
pub fn close(arguments: &CloseArguments) -> Result<Exit, Failure> {
    send(&arguments.place, &[()], |_| Request::Close {
        door: arguments.door.clone(),
        address: arguments.address.map(Text),
    })
}

fn describe(door: &DoorFields) -> String {
    let opens = if door.opens.is_empty() { "runs commands" } else { &door.opens };
    let left = door.sequences_left.map_or(String::new(), |left| format!(", {left} sequences left"));
    let state = match (door.mode.as_str(), door.openings.len()) {
        ("observe", _) => "only observes".to_owned(),
        (_, 0) => "shut".to_owned(),
        (_, count) => format!("open for {count}"),
    };
    let line = format!("{:<16} {:<9} {opens:<24} {state}{left}", door.door, door.kind);
    Escaped(&line).to_string()
}

fn describe_opening(opening: &OpeningFields) -> String {
    let user = opening.user.as_ref().map_or(String::new(), |user| format!(", {user}"));
    let until = opening.until.as_deref().unwrap_or("");
    let line = format!("{:<40} until {until} ({}{user}), {}", opening.source, opening.by, opening.state);
    Escaped(&line).to_string()
}

/// What stands in the way of a guest for whom the door is open; foreign parts are escaped.
fn in_the_way(finding: &Finding) -> Vec<String> {
    let what = Escaped(&finding.what).to_string();
    if finding.grade == Grade::Ok {
        return vec![what];
    }
    let mends = finding.mend.iter().map(|step| format!("  mend: {}", Escaped(&step.text())));
    [format!("but {what}")].into_iter().chain(mends).collect()
}

/// A failed knock as a line; foreign parts are escaped.
fn sentence(event: &Node) -> String {
    let time = event.text("time").unwrap_or_default();
    Escaped(&format!("{time} {}", at_door(event))).to_string()
}
