//! `whatif`: what another configuration would have done with what is kept.

use std::path::PathBuf;

use clap::Args;

use super::history::History;
use super::moment::{Moment, milliseconds, now};
use super::output::Output;
use super::place::Place;
use super::telling::time;
use crate::config::load;
use crate::control::client::Failure;
use crate::control::protocol::EventsRequest;
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::record::events::parse;
use crate::record::events::query::Filter;
use crate::record::json;
use crate::record::words::plural;
use crate::report::whatif::{Difference, Recorded, WhatIf};

/// So many of each are shown to a person.
const SHOWN: usize = 20;

/// Arguments of `whatif`.
#[derive(Debug, Args)]
pub struct WhatifArguments {
    /// The other configuration
    #[arg(value_name = "NEW.toml")]
    config: PathBuf,
    /// From this moment: 24h or 7d ago, 2026-11-21, 2026-11-21T14:30, or RFC 3339
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: Moment,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Compares; nothing is changed.
pub fn whatif(arguments: &WhatifArguments) -> Result<Exit, Failure> {
    let config = load(std::slice::from_ref(&arguments.config))
        .map_err(|faults| Failure { exit: Exit::ConfigurationInvalid, message: faults.to_string() })?;
    let filter = Filter {
        since: Some(milliseconds(arguments.since.wall(now()))),
        events: vec!["scan".to_owned(), "ban".to_owned()],
        ..Filter::default()
    };
    let mut recorded = Recorded::default();
    let request = EventsRequest { filter, ..EventsRequest::default() };
    History::open(&arguments.place)?.each(&request, |line| {
        if let Some(event) = parse(line) {
            recorded.take(event);
        }
        Ok(())
    })?;
    let what = recorded.compare(&config);
    let mut output = Output::new();
    if arguments.json {
        output.line(&json::text(&what))?;
    } else {
        let name = arguments.config.to_string_lossy();
        describe(&what, &name).iter().try_for_each(|line| output.line(&Escaped(line).to_string()))?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

fn describe(what: &WhatIf, name: &str) -> Vec<String> {
    let bans = |count: usize| plural(count as u64, "ban", "bans");
    let mut lines = vec![format!(
        "With {name}, of {} {} by {} {}:",
        what.scans,
        plural(what.scans, "scan", "scans"),
        what.sources,
        plural(what.sources, "address", "addresses")
    )];
    lines.push(format!("  {:>6} {} would be added", what.added.len(), bans(what.added.len())));
    lines.push(format!("  {:>6} {} would be gone", what.gone.len(), bans(what.gone.len())));
    lines.push(format!("  {:>6} would last longer, {} shorter", what.longer, what.shorter));
    lines.push(format!("  {:>6} cannot be told from what is kept", what.unknown.len()));
    for (title, differences) in
        [("Added", &what.added), ("Gone", &what.gone), ("Cannot be told", &what.unknown)]
    {
        if differences.is_empty() {
            continue;
        }
        lines.push(String::new());
        lines.push(format!("{title}:"));
        let latest = differences.iter().rev().take(SHOWN);
        lines.extend(latest.map(|Difference { time: at, id, source, why }| {
            format!("  {} {source:<15} {why} ({id})", time(at))
        }));
        if differences.len() > SHOWN {
            lines.push(format!("  and {} before these; --json tells all", differences.len() - SHOWN));
        }
    }
    lines.push(String::new());
    if what.left_out > 0 {
        lines.push(format!("{} older scans were too many to be compared.", what.left_out));
    }
    lines
        .push("Who stayed below the thresholds that held then is not kept: lower ones would find".to_owned());
    lines.push("more than is told here. Services, doors and the brake are as they were then.".to_owned());
    lines
}
