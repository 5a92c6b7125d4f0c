//! How an operator speaks with the running program: one object of JSON a line over a Unix stream socket.
//!
//! A verb of the command line uses [`client`]; the daemon binds a [`server::Server`] and answers the [`Asked`] that
//! come out of it. What is asked is a typed [`Command`], what comes back a typed [`Answer`]: texts exist on the wire
//! only.

pub mod access;
pub mod client;
pub mod doors;
mod follow;
pub mod protocol;
mod replies;
pub mod server;
pub mod status;
pub mod term;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use portcullis_core::door::{Name, Opening};
use portcullis_core::event::{Ban, Id, Mode, Protection, Until};
use portcullis_core::net::{Prefix, PrefixError};
use portcullis_core::time::Wall;
use tokio::sync::oneshot;

use crate::exit::Exit;
use crate::record::events::query::{Found, Page};
use crate::record::events::tally::Report;
use crate::record::json;

pub use status::{ProtectedFields, Status};
pub use term::Term;

/// What an operator wants, understood and permitted. The daemon's main loop gets these from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// How are things?
    Status,
    /// The bans behind `after` in the order of prefixes, at most `at_most`; fewer than that are the last.
    Bans {
        /// The last prefix of the page before; `None` begins.
        after: Option<Prefix>,
        /// The size of a page, so that no list ever holds up the fast path.
        at_most: usize,
    },
    /// Ban these.
    Ban {
        /// Whom.
        prefixes: Vec<Prefix>,
        /// How long; `None` is as the configuration says.
        term: Option<Term>,
        /// The operator's reason, at most [`protocol::WHY_LIMIT`] bytes, not yet escaped; may be empty.
        why: String,
        /// Also whoever is connected with this host while the brake is on.
        despite_brake: bool,
    },
    /// End these bans.
    Unban(Vec<Target>),
    /// End every ban.
    UnbanAll,
    /// The allowances that were made by hand; the engine holds no more than
    /// [`ALLOWANCES`](portcullis_core::engine::operator::ALLOWANCES).
    Allowances,
    /// Allow these; a ban that they cover ends.
    Allow {
        /// Whom.
        prefixes: Vec<Prefix>,
        /// How long.
        term: Term,
    },
    /// Take these allowances back.
    Disallow(Vec<Prefix>),
    /// Observe or enforce from now on, over restarts, until `reload`; or for so long only, after which the other mode
    /// holds again.
    SetMode {
        /// Which.
        mode: Mode,
        /// How long; `None` is without an end.
        length: Option<Duration>,
    },
    /// Blocking, which was on trial, has no end any more.
    KeepEnforcing,
    /// The doors, and for whom they are open.
    Doors,
    /// Open a door.
    Open {
        /// Its name.
        door: String,
        /// For whom.
        address: IpAddr,
        /// How long; `None` is as the door says.
        term: Option<Term>,
    },
    /// Shut a door.
    Close {
        /// Its name.
        door: String,
        /// For whom; `None` is for everybody.
        address: Option<IpAddr>,
    },
    /// A page of the events that are kept.
    Events(Box<EventsPage>),
    /// The events of a while, summed up.
    Report {
        /// From this moment.
        since: Wall,
        /// To this one.
        until: Wall,
    },
    /// Read the configuration anew.
    Reload,
}

impl Command {
    /// Whether it changes something, which takes more rights than reading.
    #[must_use]
    pub fn is_change(&self) -> bool {
        !matches!(
            self,
            Command::Status
                | Command::Bans { .. }
                | Command::Allowances
                | Command::Doors
                | Command::Events(_)
                | Command::Report { .. }
        )
    }
}

/// A page of events, and how many more may follow it.
#[derive(Clone, Debug, PartialEq)]
pub struct EventsPage {
    /// The page.
    pub page: Page,
    /// So many lines in all, from this page on; `None` is no limit.
    pub left: Option<u64>,
}

/// A ban as an operator names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// By the prefix that is banned.
    Prefix(Prefix),
    /// By its number: `b-7f3a`.
    Ban(Id),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Prefix(prefix) => prefix.fmt(f),
            Target::Ban(id) => f.write_str(&json::ban_id(*id)),
        }
    }
}

impl FromStr for Target {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Target, PrefixError> {
        match json::parse_ban_id(text) {
            Some(id) => Ok(Target::Ban(id)),
            None => text.parse().map(Target::Prefix),
        }
    }
}

/// What the daemon says to a [`Command`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// To `Status`.
    Status(Box<Status>),
    /// To `Bans`: one page, sorted by prefix.
    Bans(Vec<Ban>),
    /// To `Allowances`: all of them, sorted by prefix.
    Allowances(Vec<(Prefix, Until)>),
    /// To `Doors`: all of them, in the order of the configuration.
    Doors(Vec<doors::DoorFields>),
    /// To `Events`: the page that was asked for, and what it holds.
    Events(Box<EventsPage>, Found),
    /// To `Report`.
    Report(Box<Report>),
    /// To a change: what became of each thing that was named.
    Outcomes(Vec<Outcome>),
    /// To `Reload`: what is different now, one sentence each; empty where nothing is.
    Reloaded(Vec<String>),
    /// It was not done at all, and why; in words for people, with the way to mend it.
    Refused {
        /// How the verb ends.
        exit: Exit,
        /// Why.
        message: String,
    },
}

/// What became of one thing that an operator named.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is banned; the ban tells how far it has got and until when it holds.
    Banned(Ban),
    /// It may not be banned.
    Protected {
        /// What was to be banned.
        asked: Prefix,
        /// Who in it is protected.
        protected: Prefix,
        /// Why.
        why: Protection,
    },
    /// The ban has ended.
    Unbanned {
        /// Its number.
        id: Id,
        /// Whose it was.
        prefix: Prefix,
    },
    /// These bans have ended (`unban --all`).
    AllUnbanned(Vec<Prefix>),
    /// There is no such ban.
    NotBanned(Target),
    /// It is allowed.
    Allowed {
        /// Whom.
        prefix: Prefix,
        /// Until when.
        until: Until,
    },
    /// It is no longer allowed by hand.
    Disallowed(Prefix),
    /// It was not allowed by hand.
    NotAllowed(Prefix),
    /// The door is open.
    Opened(Opening),
    /// The door is shut for this guest.
    Closed {
        /// Which.
        door: Name,
        /// For whom.
        address: IpAddr,
    },
    /// The door was not open for whoever was meant.
    NotOpen {
        /// Which.
        door: String,
        /// Who was meant; `None` is everybody.
        address: Option<IpAddr>,
    },
    /// The door was not opened.
    NotOpened {
        /// Which.
        door: String,
        /// Why, and how to mend it.
        why: String,
    },
    /// The mode holds.
    Mode {
        /// Which.
        mode: Mode,
        /// The end of it, after which the other one holds.
        until: Option<Wall>,
        /// Who is connected now and would have been banned while observing, the first of them, and how many there are.
        hits: (Vec<IpAddr>, usize),
    },
    /// The mode did not change.
    ModeNotChanged {
        /// Why, and what holds.
        why: &'static str,
        /// Whether that is what was asked for.
        is_done: bool,
    },
    /// It did not work.
    Failed {
        /// What was named.
        prefix: Prefix,
        /// Why, and how to mend it.
        why: String,
    },
}

impl Outcome {
    /// Whose bans have ended.
    #[must_use]
    pub fn unbanned(&self) -> &[Prefix] {
        match self {
            Outcome::Unbanned { prefix, .. } => std::slice::from_ref(prefix),
            Outcome::AllUnbanned(prefixes) => prefixes,
            _ => &[],
        }
    }
}

/// One command on its way to the daemon, with the way back.
#[derive(Debug)]
pub struct Asked {
    /// What is wanted.
    pub command: Command,
    /// Who wants it, for the log.
    pub by: Peer,
    /// Where the answer goes. Dropping it tells the client that the daemon is stopping.
    pub answer: oneshot::Sender<Answer>,
}

/// The process at the other end of the socket, as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user when it connected.
    pub user: u32,
    /// Its effective group when it connected.
    pub group: u32,
    /// Its process number, where the kernel tells.
    pub process: Option<i32>,
}
