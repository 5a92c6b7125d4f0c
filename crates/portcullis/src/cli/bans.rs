//! `bans`: who is banned, why, and until when.

use clap::Args;

use super::output::Output;
use super::place::Place;
use crate::control::client::Failure;
use crate::control::protocol::{Reply, Request};
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::record::json::{self, BanFields, Event};

/// Arguments of `bans`.
#[derive(Debug, Args)]
pub struct BansArguments {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Lists the bans, sorted by prefix.
pub fn bans(arguments: &BansArguments) -> Result<Exit, Failure> {
    let mut client = arguments.place.connect()?;
    let mut output = Output::new();
    let mut is_first = true;
    let count = client.ask(&Request::Bans, |reply| {
        let Reply::Ban(ban) = reply else { return Ok(()) };
        if arguments.json {
            let time = ban.since.clone();
            return output.line(&json::text(&json::Line { time, event: Event::Ban(ban) }));
        }
        if std::mem::take(&mut is_first) && output.is_terminal() {
            output.line(&row(["NUMBER", "WHO", "HOW", "UNTIL", "STATE", "CAUSE"]))?;
        }
        output.line(&describe(&ban))
    })?;
    if count == 0 && output.is_terminal() && !arguments.json {
        output.line("nobody is banned")?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

fn describe(ban: &BanFields) -> String {
    let mut cause = ban.cause.to_string();
    if let Some(why) = &ban.why {
        cause = format!("{cause}: {why}");
    }
    if ban.times > 1 {
        cause = format!("{cause} (time {})", ban.times);
    }
    if let Some(at) = &ban.pardoned {
        cause = format!("{cause} (let in before its time at {at})");
    }
    row([&ban.id, &ban.prefix, &ban.how, &ban.until, &ban.state, &cause])
}

fn row(fields: [&str; 6]) -> String {
    let [id, prefix, how, until, state, cause] = fields.map(|text| Escaped(text).to_string());
    format!("{id:<8} {prefix:<20} {how:<6} {until:<24} {state:<17} {cause}")
}
