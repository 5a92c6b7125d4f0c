//! `ban` and `unban`: by hand, through the same policy as everything else.

use clap::Args;
use portcullis_core::net::Prefix;

use super::list::{Word, gather, send};
use super::place::Place;
use crate::control::Target;
use crate::control::client::Failure;
use crate::control::protocol::{Request, Text, texts};
use crate::control::term::Term;
use crate::exit::Exit;

/// Arguments of `ban`.
#[derive(Debug, Args)]
pub struct BanArguments {
    /// Addresses or networks; - reads them from standard input, one a line
    #[arg(value_name = "PREFIX", required = true)]
    prefixes: Vec<Word<Prefix>>,
    /// How long: 10m, 2h, 7d, ever [default: as configured]
    #[arg(long = "for", value_name = "TIME")]
    term: Option<Term>,
    /// A reason, kept with the ban
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    why: String,
    /// Also whoever is connected with this host while the brake is on
    #[arg(long)]
    despite_brake: bool,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `unban`.
#[derive(Debug, Args)]
pub struct UnbanArguments {
    /// Addresses, networks or numbers of bans (b-7f3a); - reads them from standard input
    #[arg(value_name = "PREFIX|ID", required_unless_present = "all", conflicts_with = "all")]
    targets: Vec<Word<Target>>,
    /// Every ban
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    place: Place,
}

/// Bans.
pub fn ban(arguments: &BanArguments) -> Result<Exit, Failure> {
    let prefixes = gather(&arguments.prefixes)?;
    send(&arguments.place, &prefixes, |piece| Request::Ban {
        prefixes: texts(piece),
        term: arguments.term.map(Text),
        why: arguments.why.clone(),
        despite_brake: arguments.despite_brake,
    })
}

/// Ends bans.
pub fn unban(arguments: &UnbanArguments) -> Result<Exit, Failure> {
    if arguments.all {
        return send(&arguments.place, &[()], |_| Request::Unban { targets: Vec::new(), all: true });
    }
    let targets = gather(&arguments.targets)?;
    send(&arguments.place, &targets, |piece| Request::Unban { targets: texts(piece), all: false })
}
