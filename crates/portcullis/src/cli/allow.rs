//! `allow`: who is never banned, as said by hand; beside the allow list of the configuration.

use clap::Args;
use portcullis_core::net::Prefix;

use super::list::{Word, gather, send};
use super::output::Output;
use super::place::Place;
use crate::control::client::Failure;
use crate::control::protocol::{Reply, Request, Text, texts};
use crate::control::term::Term;
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::record::json;

/// Arguments of `allow`.
#[derive(Debug, Args)]
pub struct AllowArguments {
    /// Addresses or networks; - reads them from standard input, one a line
    #[arg(value_name = "PREFIX", required_unless_present_any = ["list", "remove"], conflicts_with_all = ["list", "remove"])]
    prefixes: Vec<Word<Prefix>>,
    /// How long: 10m, 2h, 7d [default: ever]
    #[arg(long = "for", value_name = "TIME", conflicts_with_all = ["list", "remove"])]
    term: Option<Term>,
    /// List what was allowed by hand
    #[arg(long, conflicts_with = "remove")]
    list: bool,
    /// Take back what was allowed by hand
    #[arg(long, value_name = "PREFIX", num_args = 1..)]
    remove: Vec<Word<Prefix>>,
    /// With --list: one JSON object a line
    #[arg(long, requires = "list")]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Allows, lists or removes.
pub fn allow(arguments: &AllowArguments) -> Result<Exit, Failure> {
    let place = &arguments.place;
    if arguments.list {
        return list(arguments);
    }
    if !arguments.remove.is_empty() {
        let prefixes = gather(&arguments.remove)?;
        return send(place, &prefixes, |piece| Request::Disallow { prefixes: texts(piece) });
    }
    let prefixes = gather(&arguments.prefixes)?;
    let term = Text(arguments.term.unwrap_or(Term::Ever));
    send(place, &prefixes, |piece| Request::Allow { prefixes: texts(piece), term })
}

fn list(arguments: &AllowArguments) -> Result<Exit, Failure> {
    let mut client = arguments.place.connect()?;
    let mut output = Output::new();
    let count = client.ask(&Request::Allowances, |reply| match reply {
        Reply::Allowance(entry) if arguments.json => output.line(&json::text(&entry)),
        Reply::Allowance(entry) => {
            let until = entry.until.as_deref().unwrap_or("ever");
            let until = if until == "ever" { "for ever".to_owned() } else { format!("until {until}") };
            output.line(&format!("{:<43} {}", Escaped(&entry.prefix), Escaped(&until)))
        }
        _ => Ok(()),
    })?;
    if count == 0 && output.is_terminal() && !arguments.json {
        output.line("nobody was allowed by hand; the configured allow list stands in portcullis.toml")?;
    }
    output.finish()?;
    Ok(Exit::Done)
}
