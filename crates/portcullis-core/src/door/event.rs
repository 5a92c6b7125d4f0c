//! What doors have to tell. No port of a door is ever in here: a knock is told by door and step.

use std::net::IpAddr;

use super::spa::refusal::Refusal;
use super::{Name, Opening, User};
use crate::time::Wall;

/// What opened a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// A sequence that is the same every time.
    Sequence,
    /// A sequence that is used once.
    OneTime,
    /// A sequence made of a secret and the time.
    Rotating,
    /// One authenticated datagram.
    Spa,
    /// An operator.
    Operator,
}

impl By {
    /// Whether who opened in this way has shown a secret that nobody can sniff and use again.
    #[must_use]
    pub fn proves(self) -> bool {
        matches!(self, By::OneTime | By::Rotating | By::Spa)
    }

    /// The word in records, in the store and in the configuration (`kind`).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            By::Sequence => "sequence",
            By::OneTime => "one-time",
            By::Rotating => "rotating",
            By::Spa => "spa",
            By::Operator => "operator",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<By> {
        [By::Sequence, By::OneTime, By::Rotating, By::Spa, By::Operator]
            .into_iter()
            .find(|by| by.name() == name)
    }
}

/// What happened at a door.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A right step; the first begins an attempt. Limited in rate.
    Knocked {
        /// Whose.
        source: IpAddr,
        /// Which step, from 1.
        step: u8,
        /// Of how many.
        of: u8,
    },
    /// It opens. Told when it is decided; that it could not be done is told as a fault.
    Opened {
        /// For whom, by what, until when.
        opening: Opening,
        /// Whether it stood open to him already, and only lasts longer now.
        is_refresh: bool,
    },
    /// It would have opened, if it were not told to observe.
    WouldOpen {
        /// For whom.
        address: IpAddr,
        /// By what.
        by: By,
        /// Whose knock it was.
        user: Option<User>,
    },
    /// It is shut again for this guest.
    Closed {
        /// Which opening.
        opening: Opening,
        /// Why.
        why: Closing,
        /// How many openings of the door are left.
        left: usize,
    },
    /// An attempt has come to its end (well or badly): "why is it still shut?". Limited in rate.
    Attempt(Trace),
    /// A sequence has been used up.
    Spent {
        /// How many are left.
        left: usize,
    },
    /// The kernel, or who else opens doors, has refused; it is tried again.
    NotDone {
        /// Whose opening.
        address: IpAddr,
        /// Whether it was to be opened, rather than shut.
        is_opening: bool,
        /// The answer, for people.
        answer: String,
    },
}

/// How an opening came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Its time was over.
    Expired,
    /// The guest knocked to close.
    Knock,
    /// An operator closed it.
    Operator,
    /// The configuration has no such door any more, or this guest may not come any more.
    Removed,
    /// There were too many, and it was the next to end anyway.
    Evicted,
    /// Its source went on to touch so many ports that the knock was none, but the beginning of a scan.
    Scan,
    /// The program ends, and would not be there to do what its end owes.
    Stopped,
}

impl Closing {
    /// The word in records.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Closing::Expired => "expired",
            Closing::Knock => "by knock",
            Closing::Operator => "by hand",
            Closing::Removed => "not configured any more",
            Closing::Evicted => "too many openings",
            Closing::Scan => "its source goes on to scan",
            Closing::Stopped => "the program ends, and nobody would be there to do it in time",
        }
    }
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// At which door.
    pub door: Name,
    /// Whose.
    pub source: IpAddr,
    /// When it came to its end.
    pub at: Wall,
    /// How many steps were right; 1 of 1 for a datagram that proved its sender.
    pub step: u8,
    /// Of how many.
    pub of: u8,
    /// What it led to.
    pub why: Why,
    /// Whose key it was made with, where that is proved.
    pub user: Option<User>,
    /// The time in the knock minus ours, in seconds, where it can be told: how far the sender's clock is ahead, or (see
    /// [`tells_age`]) how old the knock is.
    pub clock_difference: Option<i64>,
}

/// How an attempt came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It opened the door.
    Opened,
    /// It shut the door.
    Closed,
    /// It would have opened the door, which only observes.
    Observed,
    /// It was right; whether the door opens hangs on the file of sequences, which is being written.
    Spending,
    /// It was right, and its sequence could not be struck from the file: the door stays shut.
    NotSpent,
    /// A port of the door came out of order.
    WrongStep,
    /// The time for it was over.
    TimedOut,
    /// Its source touched too many other ports: it looked like a scan.
    OtherPorts,
    /// Its source had too many wrong tries, and is not listened to for a while.
    Ignored,
    /// Too many others knocked at the same time.
    Crowded,
    /// It was made for a time that is not now: a clock is wrong.
    Clock,
    /// It has been used before.
    Replayed,
    /// It has been used before, and the door is open to its sender.
    Repeated,
    /// It is from before the program's start (or shortly after): it may have been used then.
    BeforeStart,
    /// Nobody's key makes it right, or it was changed on its way.
    NotAuthentic,
    /// It is a single packet, refused for this reason.
    Spa(Refusal),
    /// It asks for what this door does not give.
    NotOffered,
    /// It asks for an address that is nobody's to be let in.
    Address,
    /// It comes from, or is for, an address that is no guest of this door.
    NotAGuest,
}

impl Why {
    /// For people: completes "the knock …".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Why::Opened => "opened the door",
            Why::Closed => "shut the door",
            Why::Observed => "was right; the door only observes",
            Why::Spending => "was right; its sequence is being struck from the file",
            Why::NotSpent => "was right, but its sequence could not be struck from the file",
            Why::WrongStep => "had a step out of order",
            Why::TimedOut => "took too long",
            Why::OtherPorts => {
                "looked like a scan: its source touched too many other ports shortly before it, or meanwhile"
            }
            Why::Ignored => "was ignored: too many wrong tries from there",
            Why::Crowded => "was forgotten: too many others knocked at the same time",
            Why::Clock => "was made for another time: a clock is wrong",
            Why::Replayed => "has been used before",
            Why::Repeated => "was used already in this time step; the door is open to him",
            Why::BeforeStart => "may have been used before the program started",
            Why::NotAuthentic => "was made with another key, or changed on its way",
            Why::Spa(refusal) => refusal.words(),
            Why::NotOffered => "asked for what this door does not give",
            Why::Address => "asked for an address that can't be let in",
            Why::NotAGuest => "was for an address that is no guest of this door",
        }
    }
}

/// Whether the time in a knock that ended with these words ([`Why::words`]) tells how old it is, rather than what is wrong
/// with a clock: what was used before was right when it was made.
#[must_use]
pub fn tells_age(why: &str) -> bool {
    [Why::Replayed, Why::Repeated, Why::Spa(Refusal::Replayed)].iter().any(|own| own.words() == why)
}

/// For people: what [`Trace::clock_difference`] means behind these words ([`Why::words`]); nothing if it is 0.
#[must_use]
pub fn clock_words(why: &str, seconds: i64) -> String {
    match seconds {
        0 => String::new(),
        _ if tells_age(why) && seconds < 0 => {
            format!("; it was made {} s before, by its own clock", seconds.unsigned_abs())
        }
        _ => format!("; its clock differs by {seconds:+} s"),
    }
}

impl Event {
    /// The event of `door` in a sentence.
    #[must_use]
    pub fn sentence(&self, door: &Name) -> String {
        let whose = |user: &Option<User>| user.as_ref().map(|user| format!(", {user}")).unwrap_or_default();
        match self {
            Event::Knocked { source, step, of } => format!("door {door} step {step} of {of} by {source}"),
            Event::Opened { opening, is_refresh } => format!(
                "door {door} {} {} ({}{})",
                if *is_refresh { "stays open for" } else { "opens for" },
                opening.address,
                opening.by.name(),
                whose(&opening.user)
            ),
            Event::WouldOpen { address, by, user } => {
                format!("door {door} would open for {address} ({}{})", by.name(), whose(user))
            }
            Event::Closed { opening, why, .. } => {
                format!("door {door} is shut for {} ({})", opening.address, why.words())
            }
            Event::Attempt(trace) => {
                let clock = trace
                    .clock_difference
                    .map_or(String::new(), |seconds| clock_words(trace.why.words(), seconds));
                format!(
                    "door {door} step {} of {}: the knock by {} {}{clock}",
                    trace.step,
                    trace.of,
                    trace.source,
                    trace.why.words()
                )
            }
            Event::Spent { left } => format!("door {door} has used up a sequence; {left} left"),
            Event::NotDone { address, is_opening, answer } => {
                let what = if *is_opening { "opened" } else { "shut" };
                format!("door {door} could not be {what} for {address}: {answer}; it is tried again")
            }
        }
    }
}
