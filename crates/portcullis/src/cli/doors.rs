//! `doors`, `open`, `close` and `events`: the state of doors, by hand, and what happened there.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;

use super::list::send;
use super::output::Output;
use super::place::Place;
use crate::config::Span;
use crate::control::Term;
use crate::control::client::Failure;
use crate::control::doors::{DoorFields, OpeningFields};
use crate::control::protocol::{Reply, Request, Text};
use crate::doctor::{Finding, Grade};
use crate::escape::Escaped;
use crate::exit::Exit;
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

/// Arguments of `events`.
#[derive(Debug, Args)]
pub struct EventsArguments {
    /// Only what happened in this time
    #[arg(long, value_name = "TIME", default_value = "24h")]
    since: Span,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Attempts of the last hour are shown beneath a door, this many.
const ATTEMPTS: usize = 3;

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
    client.ask(&Request::DoorEvents { since: milliseconds_ago(Duration::from_secs(3600)) }, |reply| {
        if let Reply::Line { line } = reply
            && let Ok(line) = serde_json::from_str::<Value>(&line)
            && line["event"] == "knock"
            && line["why"].is_string()
        {
            attempts.push(line);
        }
        Ok(())
    })?;
    for door in &doors {
        output.line(&describe(door))?;
        for opening in &door.openings {
            output.line(&format!("  {}", describe_opening(opening)))?;
            for finding in &opening.way {
                in_the_way(finding).iter().try_for_each(|line| output.line(&format!("    {line}")))?;
            }
        }
        let own = attempts.iter().rev().filter(|line| line["door"] == door.door.as_str());
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

/// Tells what happened at doors.
pub fn events(arguments: &EventsArguments) -> Result<Exit, Failure> {
    let mut client = arguments.place.connect()?;
    let mut output = Output::new();
    let since = milliseconds_ago(arguments.since.0);
    client.ask(&Request::DoorEvents { since }, |reply| {
        let Reply::Line { line } = reply else { return Ok(()) };
        if arguments.json {
            return output.line(&line);
        }
        match serde_json::from_str::<Value>(&line) {
            Ok(event) => output.line(&sentence(&event)),
            Err(_) => output.line(&Escaped(&line).to_string()),
        }
    })?;
    output.finish()?;
    Ok(Exit::Done)
}

pub(super) fn milliseconds_ago(span: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_sub(span).as_millis()).unwrap_or(u64::MAX)
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

/// A line of JSON as a sentence; foreign parts are escaped.
fn sentence(line: &Value) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let (time, door, source) = (text("time"), text("door"), text("source"));
    let user = line["user"].as_str().map_or(String::new(), |user| format!(", {user}"));
    let clock = match line["clock_difference"].as_i64() {
        Some(seconds) if seconds != 0 => format!("; its clock differs by {seconds:+} s"),
        _ => String::new(),
    };
    let what = match text("event") {
        "open" => format!("door {door} opened for {source} ({}{user})", text("by")),
        "close" => format!("door {door} shut for {source} ({})", text("why")),
        "knock" if line["why"].is_string() => {
            let step = match (line["step"].as_u64(), line["of"].as_u64()) {
                (Some(step), Some(of)) => format!(" step {step} of {of}:"),
                _ => String::new(),
            };
            format!("door {door}{step} the knock by {source} {}{user}{clock}", text("why"))
        }
        "knock" => {
            let (step, of) = (line["step"].as_u64().unwrap_or(0), line["of"].as_u64().unwrap_or(0));
            format!("door {door} step {step} of {of} by {source}")
        }
        "fault" if line["door"].is_string() => {
            let mend = line["mend"].as_str().map_or(String::new(), |mend| format!("; mend: {mend}"));
            format!("door {door} is open to {source}, but {}{mend}", text("why"))
        }
        _ => text("what").to_owned() + text("why"),
    };
    Escaped(&format!("{time} {what}")).to_string()
}
