//! `observe`, `enforce` and `reload`.

use super::list::send;
use super::place::Place;
use crate::control::Term;
use crate::control::client::Failure;
use crate::control::protocol::{Request, Text};
use crate::exit::Exit;

/// Only tells what would be blocked, and ends the bans that scans have brought.
#[derive(Debug, clap::Args)]
pub struct ObserveArguments {
    /// For so long only (such as 1h); then blocking begins again by itself.
    #[arg(long = "for", value_name = "TIME")]
    term: Option<Term>,
    #[command(flatten)]
    place: Place,
}

/// Blocks scanners from now on.
#[derive(Debug, clap::Args)]
pub struct EnforceArguments {
    /// On trial for so long (such as 10m): it only observes again unless `enforce --keep` is said in time.
    #[arg(long, value_name = "TIME", conflicts_with = "keep")]
    confirm: Option<Term>,
    /// Ends the trial: it goes on blocking.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    place: Place,
}

/// Only tells from now on.
pub fn observe(arguments: &ObserveArguments) -> Result<Exit, Failure> {
    send(&arguments.place, &[()], |_| Request::Observe { term: arguments.term.map(Text) })
}

/// Blocks from now on.
pub fn enforce(arguments: &EnforceArguments) -> Result<Exit, Failure> {
    let (confirm, keep) = (arguments.confirm.map(Text), arguments.keep);
    send(&arguments.place, &[()], |_| Request::Enforce { confirm, keep })
}

/// Has the configuration read anew.
pub fn reload(place: &Place) -> Result<Exit, Failure> {
    send(place, &[()], |_| Request::Reload)
}
