//! Doors as the configuration has them: `[door.NAME]`, one table a door. The room reads and explains them; what a
//! knock is worth is decided in the core.

mod describe;
mod draft;
mod files;
mod odds;
mod opens;
mod schema;
mod step;
#[cfg(test)]
mod tests;

use std::time::Duration;

use portcullis_core::net::{PortSet, Prefix};

pub use self::describe::{DoorSays, describe};
pub(super) use self::draft::Draft;
pub use self::files::{SecretFile, SecretWrong, closed_to_others};
pub use self::odds::{Odds, odds};
pub use self::opens::Opens;
pub use self::schema::{GROUPS, Group};
pub(super) use self::schema::{key, names};
pub use self::step::{Flags, Slip, Step, StepProtocol, WrittenStep};
pub(super) use self::step::{NAMES as FLAG_NAMES, pieces};

/// The most doors that one configuration may have; each costs rules that every new connection passes.
pub const MOST_DOORS: usize = 64;

/// The most steps of a sequence, as knockd has it (knockd 0.8, measured: the 33rd is refused).
pub const MOST_STEPS: usize = 32;

/// The fewest steps of a native sequence: with less, a scan over a few ports around the door's soon finds it.
pub const FEWEST_STEPS: usize = 3;

/// One door.
#[derive(Clone, Debug, PartialEq)]
pub struct DoorConfig {
    /// Its name: 1 to 31 of `a-z`, `0-9`, `-` and `_`, a letter or digit first, since sets in the kernel bear it.
    pub name: String,
    /// How it is knocked at.
    pub kind: DoorKind,
    /// The ports that are shut to everybody else, and open to a guest.
    pub opens: Opens,
    /// For how long, 1 s to 24 h.
    pub open_for: Duration,
    /// Who may come; empty is everybody.
    pub guests: Vec<Prefix>,
    /// Whether the opening is prolonged while a session of its guest lasts.
    pub renew: bool,
    /// Whether the guest's sessions are cut when it closes.
    pub cut_on_close: bool,
    /// Whether anything is done at all.
    pub mode: DoorMode,
    /// What is run.
    pub commands: Commands,
    /// The unit of systemd that is started with the first guest and stopped after the last.
    pub service: Option<String>,
    /// Whether a knock opens it for everybody who is in `guests`, rather than for the knocker alone.
    pub for_everyone: bool,
    /// Whether a right knock lifts the knocker's automatic bans; never so with a sequence, which can be sniffed.
    pub pardon: bool,
    /// One bit that a guest's packets to the door are marked with, so that another firewall can let them through.
    pub mark: Option<u32>,
}

/// How a door is knocked at.
#[derive(Clone, Debug, PartialEq)]
pub enum DoorKind {
    /// Packets to ports in a fixed order.
    Sequence(SequenceDoor),
    /// Sequences of which each is used once.
    OneTime(OneTimeDoor),
    /// Sequences that follow from a key and the time.
    Rotating(RotatingDoor),
    /// One encrypted packet.
    Spa(SpaDoor),
}

/// The name of a kind alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindName {
    /// `sequence`
    Sequence,
    /// `one-time`
    OneTime,
    /// `rotating`
    Rotating,
    /// `spa`
    Spa,
}

impl KindName {
    /// All of them, in the order of the documentation.
    pub const ALL: [KindName; 4] = [KindName::Sequence, KindName::OneTime, KindName::Rotating, KindName::Spa];

    /// As the configuration writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            KindName::Sequence => "sequence",
            KindName::OneTime => "one-time",
            KindName::Rotating => "rotating",
            KindName::Spa => "spa",
        }
    }
}

impl DoorKind {
    /// Its name alone.
    #[must_use]
    pub fn name(&self) -> KindName {
        match self {
            DoorKind::Sequence(_) => KindName::Sequence,
            DoorKind::OneTime(_) => KindName::OneTime,
            DoorKind::Rotating(_) => KindName::Rotating,
            DoorKind::Spa(_) => KindName::Spa,
        }
    }
}

/// A door with a fixed sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceDoor {
    /// What opens it, [`FEWEST_STEPS`] to [`MOST_STEPS`].
    pub open: Vec<Step>,
    /// What closes it before its time; empty if nothing does.
    pub close: Vec<Step>,
    /// The time from the first knock to the last, 1 s to 10 min.
    pub window: Duration,
    /// What is asked of TCP flags where a step does not say.
    pub flags: Flags,
    /// How many wrong tries of one source within [`SequenceDoor::ignored_for`], before its knocks are ignored; 1 to
    /// 1,000.
    pub wrong_tries: u32,
    /// For how long they are ignored, 1 s to 24 h.
    pub ignored_for: Duration,
}

/// A door with sequences that are used once.
#[derive(Clone, Debug, PartialEq)]
pub struct OneTimeDoor {
    /// The file of the sequences.
    pub sequences: SecretFile,
    /// The time from the first knock to the last, 1 s to 10 min.
    pub window: Duration,
    /// What is asked of TCP flags where a step does not say.
    pub flags: Flags,
    /// How few sequences are left when it is said, 0 to 1,000.
    pub warn_left: u32,
    /// As with [`SequenceDoor::wrong_tries`].
    pub wrong_tries: u32,
    /// As with [`SequenceDoor::ignored_for`].
    pub ignored_for: Duration,
}

/// A door whose sequence follows from a key and the time.
#[derive(Clone, Debug, PartialEq)]
pub struct RotatingDoor {
    /// The key files, one a user; 1 to 256.
    pub keys: Vec<SecretFile>,
    /// The ports that steps are drawn from, without 0.
    pub ports: PortSet,
    /// Whether steps may be TCP. Ports times protocols are at least 1,000.
    pub tcp: bool,
    /// Whether steps may be UDP.
    pub udp: bool,
    /// How long one sequence is the right one (RFC 6238 §4.1, X), whole seconds from 10 s to 5 min.
    pub time_step: Duration,
    /// How many knocks a sequence has, 3 to 16.
    pub steps: u8,
    /// The time from the first knock to the last, 1 s to 10 min.
    pub window: Duration,
}

/// A door for one encrypted packet in fwknop's format.
#[derive(Clone, Debug, PartialEq)]
pub struct SpaDoor {
    /// The UDP port that the packet is sent to; nothing listens there.
    pub udp_port: u16,
    /// The access file with users and keys.
    pub users: SecretFile,
    /// How old a packet may be, or how far in the future, 1 s to 24 h.
    pub max_age: Duration,
    /// Weak settings that are accepted all the same.
    pub weak: Vec<Weakness>,
}

/// A weak setting that has to be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weakness {
    /// Packets without an HMAC.
    NoHmac,
    /// Keys of less than 16 bytes.
    ShortKeys,
    /// Packets that name a command to be run. A known word, which no door can have: they are never run.
    CommandMessages,
    /// MD5 or SHA-1 for the HMAC.
    OldHmac,
    /// Another mode of the cipher than CBC.
    OtherModes,
}

impl Weakness {
    /// All of them, in the order of the documentation.
    pub const ALL: [Weakness; 5] = [
        Weakness::NoHmac,
        Weakness::ShortKeys,
        Weakness::CommandMessages,
        Weakness::OldHmac,
        Weakness::OtherModes,
    ];

    /// As the configuration writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Weakness::NoHmac => "no-hmac",
            Weakness::ShortKeys => "short-keys",
            Weakness::CommandMessages => "command-messages",
            Weakness::OldHmac => "old-hmac",
            Weakness::OtherModes => "other-modes",
        }
    }
}

/// Whether a door does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorMode {
    /// It shuts its ports and opens them.
    Act,
    /// It only reports what it would have done.
    Observe,
}

impl DoorMode {
    /// As the configuration writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            DoorMode::Act => "act",
            DoorMode::Observe => "observe",
        }
    }
}

/// What a door runs. `%IP%` in any word stands for the guest's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// When it opens for an IPv4 guest.
    pub open: Option<Command>,
    /// When it opens for an IPv6 guest.
    pub open_6: Option<Command>,
    /// When it closes for an IPv4 guest.
    pub close: Option<Command>,
    /// When it closes for an IPv6 guest.
    pub close_6: Option<Command>,
}

impl Commands {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Commands::default()
    }

    /// Each of them once, with its key.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &Command)> {
        let own = |six: &Option<Command>, four: &Option<Command>| six.is_some() && six != four;
        let all = [
            ("command_open", &self.open, true),
            ("command_open_6", &self.open_6, own(&self.open_6, &self.open)),
            ("command_close", &self.close, true),
            ("command_close_6", &self.close_6, own(&self.close_6, &self.close)),
        ];
        all.into_iter()
            .filter(|(_, _, own)| *own)
            .filter_map(|(key, command, _)| Some((key, command.as_ref()?)))
    }
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A program with its arguments; no shell is asked.
    Argv(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}
