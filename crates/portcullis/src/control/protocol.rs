//! The lines on the wire. A client sends a request, the server any number of replies, of which the last is `end` or
//! `refused`; then the client may send the next request.
//!
//! Version 1. A server that is asked in another version says so, and does nothing.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use portcullis_core::event::Mode;
use portcullis_core::net::Prefix;
use portcullis_core::time::Wall;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::doors::DoorFields;
use super::term::Term;
use super::{Command, EventsPage, Status, Target};
use crate::exit::Exit;
use crate::record::events::query::{Filter, Page};
use crate::record::events::tally::Report;
use crate::record::json::{AllowFields, BanFields};

/// The version that this program speaks.
pub const VERSION: u32 = 1;

/// The longest request line in bytes, its end included.
pub const LINE_LIMIT: usize = 64 * 1024;

/// How many prefixes a client puts into one request: 500 of at most 43 letters stay well below [`LINE_LIMIT`].
pub const PIECE: usize = 500;

/// The longest reason in bytes.
pub const WHY_LIMIT: usize = 500;

/// How many entries of a list the server asks of the daemon at a time.
pub const PAGE: usize = 500;

/// A request as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase")]
pub enum Request {
    /// How are things?
    Status,
    /// The whole list of bans.
    Bans,
    /// Ban.
    Ban {
        /// Whom.
        prefixes: Vec<Text<Prefix>>,
        /// How long.
        #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
        term: Option<Text<Term>>,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
        /// Also whoever is connected with this host while the brake is on.
        #[serde(default, skip_serializing_if = "is_false")]
        despite_brake: bool,
    },
    /// End bans: those that are named, or with `all` every one.
    Unban {
        /// Which.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        targets: Vec<Text<Target>>,
        /// All of them.
        #[serde(default, skip_serializing_if = "is_false")]
        all: bool,
    },
    /// The whole list of allowances made by hand.
    Allowances,
    /// Allow.
    Allow {
        /// Whom.
        prefixes: Vec<Text<Prefix>>,
        /// How long.
        #[serde(rename = "for")]
        term: Text<Term>,
    },
    /// Take allowances back.
    Disallow {
        /// Whose.
        prefixes: Vec<Text<Prefix>>,
    },
    /// The doors.
    Doors,
    /// Open a door.
    Open {
        /// Its name.
        door: String,
        /// For whom.
        address: Text<IpAddr>,
        /// How long.
        #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
        term: Option<Text<Term>>,
    },
    /// Shut a door.
    Close {
        /// Its name.
        door: String,
        /// For whom; everybody, if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<Text<IpAddr>>,
    },
    /// Events that are kept.
    Events(Box<EventsRequest>),
    /// The events of a while, summed up.
    Report {
        /// Since when, in milliseconds since 1970.
        since: u64,
        /// Until when.
        until: u64,
    },
    /// Only tell what would be done.
    Observe {
        /// How long.
        #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
        term: Option<Text<Term>>,
    },
    /// Block.
    Enforce {
        /// On trial for so long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm: Option<Text<Term>>,
        /// The trial has shown that it may stay.
        #[serde(default, skip_serializing_if = "is_false")]
        keep: bool,
    },
    /// Read the configuration anew.
    Reload,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Which events, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventsRequest {
    /// Which.
    pub filter: Filter,
    /// Newest first.
    #[serde(skip_serializing_if = "is_false")]
    pub backwards: bool,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Those behind the event of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Go on with those that are still to come, until the client hangs up.
    #[serde(skip_serializing_if = "is_false")]
    pub follow: bool,
}

impl EventsRequest {
    /// Its first page.
    #[must_use]
    pub fn page(self) -> EventsPage {
        let at_most = self.limit.map_or(PAGE, |limit| PAGE.min(usize::try_from(limit).unwrap_or(PAGE)));
        let EventsRequest { filter, backwards: is_backwards, limit: left, after, .. } = self;
        EventsPage { page: Page { filter, is_backwards, after, at_most }, left }
    }
}

/// A reply as it stands on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "lowercase")]
pub enum Reply {
    /// To `status`.
    Status(Box<Status>),
    /// One entry of `bans`.
    Ban(BanFields),
    /// One entry of `allowances`.
    Allowance(AllowFields),
    /// One entry of `doors`.
    Door(DoorFields),
    /// One event: a line of JSON as it was told.
    Line {
        /// The line.
        line: String,
    },
    /// How far the events reached when they were looked at, before their lines; while they are followed also now and then
    /// to say that the daemon is there.
    Position {
        /// The number of the newest.
        number: i64,
    },
    /// Events could not be understood, and were passed over.
    Damaged {
        /// How many.
        count: u64,
    },
    /// To `report`.
    Report(Box<Report>),
    /// What became of one thing that was named.
    Outcome {
        /// The exit code that it alone would give.
        exit: u8,
        /// A sentence for people; foreign parts are escaped.
        text: String,
    },
    /// Everything was said.
    End {
        /// How many entries or outcomes came before.
        count: u64,
    },
    /// It was not done.
    Refused {
        /// The exit code.
        exit: u8,
        /// Why, and how to mend it.
        message: String,
    },
}

impl Reply {
    /// A refusal.
    #[must_use]
    pub fn refused(exit: Exit, message: impl Into<String>) -> Reply {
        Reply::Refused { exit: exit.code(), message: message.into() }
    }
}

/// A typed value that stands as its text on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<T>(pub T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Text).map_err(|error| de::Error::custom(format_args!("{text:?}: {error}")))
    }
}

/// How long; `ever` is without an end.
fn length(term: Option<Text<Term>>) -> Option<std::time::Duration> {
    term.and_then(|term| term.0.duration())
}

/// Takes the typed values out of their texts.
fn plain<T>(texts: Vec<Text<T>>) -> Vec<T> {
    texts.into_iter().map(|text| text.0).collect()
}

/// Puts typed values into texts.
#[must_use]
pub fn texts<T: Copy>(values: &[T]) -> Vec<Text<T>> {
    values.iter().copied().map(Text).collect()
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize)]
struct Versioned<'a> {
    version: u32,
    #[serde(flatten)]
    request: &'a Request,
}

impl Request {
    /// The request as one line, its end included.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(&Versioned { version: VERSION, request: self })
            .expect("a request is made of texts and lists of texts, which JSON can always say");
        line.push(b'\n');
        line
    }

    /// Reads a line without its end; the error is a sentence for the client.
    pub fn parse(line: &[u8]) -> Result<Request, String> {
        let no_request = |error: serde_json::Error| format!("not a request: {error}");
        let Version { version } = serde_json::from_slice(line).map_err(no_request)?;
        if version != VERSION {
            return Err(format!(
                "the client speaks version {version} of the control protocol, the daemon version {VERSION}; \
                 restart the daemon after an upgrade, and use the client that came with it"
            ));
        }
        serde_json::from_slice(line).map_err(no_request)
    }

    /// The command that it asks for; lists begin with their first page. The error is a sentence for the client.
    pub fn command(self) -> Result<Command, String> {
        Ok(match self {
            Request::Status => Command::Status,
            Request::Bans => Command::Bans { after: None, at_most: PAGE },
            Request::Ban { why, .. } if why.len() > WHY_LIMIT => {
                return Err(format!("the reason is longer than {WHY_LIMIT} bytes; say it shorter"));
            }
            Request::Ban { prefixes, term, why, despite_brake } => {
                let term = term.map(|term| term.0);
                Command::Ban { prefixes: plain(prefixes), term, why, despite_brake }
            }
            Request::Unban { all: true, .. } => Command::UnbanAll,
            Request::Unban { targets, all: false } => Command::Unban(plain(targets)),
            Request::Allowances => Command::Allowances,
            Request::Allow { prefixes, term } => Command::Allow { prefixes: plain(prefixes), term: term.0 },
            Request::Disallow { prefixes } => Command::Disallow(plain(prefixes)),
            Request::Doors => Command::Doors,
            Request::Open { door, address, term } => {
                Command::Open { door, address: address.0, term: term.map(|term| term.0) }
            }
            Request::Close { door, address } => {
                Command::Close { door, address: address.map(|address| address.0) }
            }
            Request::Events(events) => Command::Events(Box::new(events.page())),
            Request::Report { since, until } => {
                let [since, until] = [since, until].map(|at| Wall(Duration::from_millis(at)));
                Command::Report { since, until }
            }
            Request::Observe { term } => Command::SetMode { mode: Mode::Observe, length: length(term) },
            Request::Enforce { keep: true, .. } => Command::KeepEnforcing,
            Request::Enforce { confirm, keep: false } => {
                Command::SetMode { mode: Mode::Enforce, length: length(confirm) }
            }
            Request::Reload => Command::Reload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_wire() {
        let prefixes = || vec![Text("203.0.113.0/24".parse().unwrap())];
        for request in [
            Request::Status,
            Request::Bans,
            Request::Ban {
                prefixes: prefixes(),
                term: Some(Text(Term::For(Duration::from_secs(600)))),
                why: "a \"quoted\"\nreason".into(),
                despite_brake: true,
            },
            Request::Unban { targets: vec![Text("b-7f3a".parse().unwrap())], all: false },
            Request::Unban { targets: vec![], all: true },
            Request::Allowances,
            Request::Allow { prefixes: prefixes(), term: Text(Term::Ever) },
            Request::Disallow { prefixes: prefixes() },
            Request::Doors,
            Request::Open {
                door: "ssh".into(),
                address: Text("2001:db8::1".parse().unwrap()),
                term: Some(Text(Term::For(Duration::from_secs(30)))),
            },
            Request::Close { door: "ssh".into(), address: None },
            Request::Report { since: 7, until: 9 },
            Request::Events(Box::new(EventsRequest {
                filter: Filter {
                    since: Some(-1),
                    source: Some("2001:db8::/32".parse().unwrap()),
                    events: vec!["scan".into()],
                    ..Filter::default()
                },
                limit: Some(3),
                after: Some(5),
                ..EventsRequest::default()
            })),
            Request::Observe { term: None },
            Request::Observe { term: Some(Text(Term::For(Duration::from_secs(3600)))) },
            Request::Enforce { confirm: None, keep: true },
            Request::Enforce { confirm: Some(Text(Term::For(Duration::from_secs(600)))), keep: false },
            Request::Reload,
        ] {
            let line = request.to_line();
            let (end, body) = line.split_last().unwrap();
            assert_eq!(*end, b'\n');
            assert!(!body.contains(&b'\n'), "one line a request");
            assert_eq!(Request::parse(body), Ok(request));
        }
    }

    #[test]
    fn the_largest_piece_fits_into_a_line() {
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0/124".parse::<Prefix>().unwrap();
        let request = Request::Ban {
            prefixes: vec![Text(longest); PIECE],
            term: Some(Text(Term::Ever)),
            why: "\u{1}".repeat(WHY_LIMIT),
            despite_brake: true,
        };
        assert!(request.to_line().len() < LINE_LIMIT);
    }

    #[test]
    fn what_is_no_request_is_answered_with_the_reason() {
        for (line, reason) in [
            ("", "EOF"),
            ("hello", "expected value"),
            ("{}", "missing field `version`"),
            (r#"{"version":2,"verb":"status"}"#, "version 2"),
            (r#"{"version":1,"verb":"explode"}"#, "unknown variant"),
            (r#"{"version":1,"verb":"ban","prefixes":["10.0.0.1/8"]}"#, "10.0.0.0/8"),
            (r#"{"version":1,"verb":"ban","prefixes":["10.0.0.1"],"for":"0"}"#, "ever"),
        ] {
            let error = Request::parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
