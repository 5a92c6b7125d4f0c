//! The keys that no PortSentry has: `BLOCK_TIME` and `KILL_ROUTE_BY`. PortSentry 1.2 passes over keys that it does not
//! know, so a file with them still serves both programs; 2.x does not start with them.

use std::time::Duration;

use super::super::duration::Span;
use super::lines::{Entry, Lines};
use super::{KillRouteBy, Weight};

/// The bounds of a block, as those of a ban in our own configuration.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// `BLOCK_TIME`: a span from 1 s to a year, or `ever` (also by an empty value).
pub(super) fn block_time(lines: &mut Lines, entry: &Entry) -> Option<Duration> {
    let text = entry.value.trim();
    if text.is_empty() || text == "ever" {
        return None;
    }
    let why = match text.parse::<Span>() {
        Ok(Span(time)) if (SHORTEST..=LONGEST).contains(&time) => return Some(time),
        Ok(_) => "not between 1s and 365d".to_owned(),
        Err(error) => error.to_string(),
    };
    let says = format!("BLOCK_TIME is {why}");
    let mend = "write how long a block lasts, such as \"10m\", \"12h\" or \"7d\", or \"ever\"";
    lines.say(Weight::Fault, entry.value_span(), says, mend);
    None
}

/// `KILL_ROUTE_BY`: `command` or `nftables`.
pub(super) fn kill_route_by(lines: &mut Lines, entry: &Entry) -> KillRouteBy {
    match entry.value.trim() {
        "" | "command" => KillRouteBy::Command,
        "nftables" => KillRouteBy::Nftables,
        _ => {
            let mend = "write \"command\" to run KILL_ROUTE as it stands, or \"nftables\" to block in \
                        portcullis' own set where KILL_ROUTE only shuts an address out";
            let says = "KILL_ROUTE_BY is neither command nor nftables";
            lines.say(Weight::Fault, entry.value_span(), says, mend);
            KillRouteBy::Command
        }
    }
}
