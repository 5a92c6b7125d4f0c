//! Doors: what is shut to strangers and opened to who knocks. Pure: told the time, asked packet by packet.
//!
//! The engine (`engine/doors.rs`) is the only caller: it hears every packet through here before the packet is
//! classified as a probe, and carries what comes out past policy into [`openings`]. Kinds of locks: [`sequence`] (also
//! the sequences that are used once), [`rotating`] (a sequence made of a secret and the time), and one datagram in
//! fwknop's format ([`spa`]).

pub(crate) mod attempts;
pub mod event;
mod guessing;
pub(crate) mod hearing;
pub mod openings;
pub mod rotating;
pub mod secret;
pub mod sequence;
pub mod spa;
mod touched;
pub(crate) mod traces;
mod turns;
pub(crate) mod ways;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::net::{PortSet, Prefix, Protocol};
pub use attempts::Mark;
pub use event::{By, Closing, Event, Trace, Why};
pub use openings::{Change, Opening, OpeningState};
pub use rotating::Rotating;
pub use secret::Key;
pub use sequence::{FlagTests, OneTime, Sequence, Step};

/// A door's place in the order of the configuration, from 0. A reload may move it; what is kept names it by [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DoorId(pub u16);

impl DoorId {
    /// The place of a door that a reload has taken away, while the last of it is being shut.
    pub const GONE: DoorId = DoorId(u16::MAX);
}

/// No more doors than this in one configuration.
pub const DOORS: usize = 1024;

/// A door's name. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A text that names no door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError;

impl Name {
    /// The name of a door in knockd.conf: any text, even one that an earlier door has (knockd 0.8, measured).
    #[must_use]
    pub fn verbatim(text: &str) -> Name {
        Name(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// One to 31 of `a-z`, `0-9`, `_` and `-`, beginning with a letter or digit: it becomes part of the names of sets in
    /// the kernel.
    fn from_str(text: &str) -> Result<Name, NameError> {
        let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let begins_well = bytes.first().is_some_and(is_plain);
        let goes_on_well = bytes.iter().all(|byte| is_plain(byte) || matches!(byte, b'_' | b'-'));
        if begins_well && goes_on_well && bytes.len() <= 31 { Ok(Name(text.into())) } else { Err(NameError) }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a door's name has 1 to 31 of a-z, 0-9, _ and -, and begins with a letter or a digit")
    }
}

impl std::error::Error for NameError {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Who holds a key, as the configuration names him. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User(pub Arc<str>);

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything about doors that the engine is configured with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// At most [`DOORS`]; later ones are never opened.
    pub doors: Vec<Door>,
}

/// One door.
#[derive(Clone, Debug, PartialEq)]
pub struct Door {
    /// Its name.
    pub name: Name,
    /// What opens it.
    pub lock: Lock,
    /// Who may come; empty is everyone. Asked of who knocks, and of whom is let in.
    pub guests: Vec<Prefix>,
    /// What is behind it.
    pub opens: Vec<(Protocol, PortSet)>,
    /// For how long. `None`: a knock is told and acted upon, and nothing is kept that would have to be shut again.
    pub open_for: Option<Duration>,
    /// For whom it opens.
    pub reach: Reach,
    /// How knocks are matched.
    pub style: Style,
    /// The address that is knocked at; `None` is any own one.
    pub target: Option<IpAddr>,
    /// Whether it acts.
    pub mode: Mode,
    /// Whether an opening goes on while its guest has a session behind the door ([`crate::engine::Host::has_session`]).
    pub renews: bool,
    /// Whether a knock that can't be replayed ends its sender's automatic ban. A plain sequence never does.
    pub pardons: bool,
    /// When a source's tries are ignored; `None` is never. Sequences and one-time sequences only: with the others there
    /// is nothing to guess, and forged tries would lock a guest out.
    pub patience: Option<Patience>,
}

impl Door {
    /// A door with everything that has a default at its default: for everyone to knock at, an own address, acting,
    /// pardoning, not renewing, [`Patience::default`].
    #[must_use]
    pub fn new(name: Name, lock: Lock, opens: Vec<(Protocol, PortSet)>, open_for: Option<Duration>) -> Door {
        Door {
            name,
            lock,
            guests: Vec::new(),
            opens,
            open_for,
            reach: Reach::Guest,
            style: Style::Safe,
            target: None,
            mode: Mode::Act,
            renews: false,
            pardons: true,
            patience: Some(Patience::default()),
        }
    }

    /// Whether this address may come.
    #[must_use]
    pub fn is_guest(&self, address: IpAddr) -> bool {
        self.guests.is_empty() || self.guests.iter().any(|prefix| prefix.contains(address))
    }
}

/// What opens a door.
#[derive(Clone, Debug, PartialEq)]
pub enum Lock {
    /// Packets to certain ports in order.
    Sequence {
        /// Opens.
        open: Sequence,
        /// Shuts the guest's opening before its time.
        close: Option<Sequence>,
    },
    /// Sequences that are used once each.
    OneTime(OneTime),
    /// A sequence made of a secret and the time.
    Rotating(Rotating),
    /// One datagram in fwknop's format.
    Spa(SpaLock),
}

/// A lock that is opened by one datagram in fwknop's format.
#[derive(Clone, PartialEq)]
pub struct SpaLock {
    /// Who may knock, with which keys, and what he may ask for; at most [`spa::USERS_MAXIMUM`]. The ports must be among
    /// those that the door opens: it opens all of them.
    pub users: Vec<spa::access::User>,
    /// How far the clocks may be apart; usually [`spa::WINDOW`].
    pub window: Duration,
    /// The UDP port that is listened to; usually [`spa::PORT`].
    pub port: u16,
}

impl fmt::Debug for SpaLock {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: Vec<&str> = self.users.iter().map(|user| user.name.as_str()).collect();
        f.debug_struct("SpaLock").field("users", &users).field("window", &self.window).finish_non_exhaustive()
    }
}

impl Lock {
    /// The word for it in records and configuration.
    #[must_use]
    pub fn by(&self) -> By {
        match self {
            Lock::Sequence { .. } => By::Sequence,
            Lock::OneTime(_) => By::OneTime,
            Lock::Rotating(_) => By::Rotating,
            Lock::Spa(_) => By::Spa,
        }
    }
}

/// What must be known to be used up, on the disk, before the door opens ([`crate::event::Action::Spend`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spending {
    /// This one-time sequence, by the number that the configuration gave it, and every one before it: to be struck
    /// from the door's file.
    Sequence(u32),
    /// This packet, whose sender's clock is so far ahead that a start after a crash would not refuse it by its time
    /// ([`spa::Accepted::record_first`]).
    Packet(spa::replay::Entry),
}

/// For whom a door opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Each guest has an opening of his own.
    #[default]
    Guest,
    /// It stands open to everyone as long as anybody's opening lasts; whoever knocks to close shuts all openings.
    Everyone,
}

/// How knocks are matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As doors of our own: each door by itself; packets with ACK or RST never count, since a scan with them can't be
    /// told from traffic; no scan opens one.
    #[default]
    Safe,
    /// As knockd 0.8 did (measured): a packet to a port of any such door is judged by all attempts of its source.
    Knockd {
        /// Whether a port scan may open it, as it could with knockd.
        scans_may_open: bool,
    },
}

/// Whether a door acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It opens.
    #[default]
    Act,
    /// It only tells that it would have opened.
    Observe,
}

/// After how many wrong tries a source is not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// So many tries that failed, from 1.
    pub tries: u32,
    /// Within this time, and then for this time from the last of them.
    pub pause: Duration,
}

impl Default for Patience {
    /// Ten in ten minutes: a guest who mistypes gets there, who guesses ports gets 1,440 tries a day.
    fn default() -> Patience {
        Patience { tries: 10, pause: Duration::from_secs(600) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_into_the_name_of_a_set() {
        for name in ["ssh", "0", "a-b_c9", "abcdefghijklmnopqrstuvwxyz01234"] {
            assert_eq!(name.parse::<Name>().unwrap().as_str(), name);
        }
        for text in ["", "-a", "_a", "Ssh", "a b", "a.b", "ä", "abcdefghijklmnopqrstuvwxyz012345"] {
            assert_eq!(text.parse::<Name>(), Err(NameError), "{text}");
        }
        assert_eq!(Name::verbatim("Open SSH").as_str(), "Open SSH");
    }
}
