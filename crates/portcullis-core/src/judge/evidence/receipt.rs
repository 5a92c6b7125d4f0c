//! What a verdict rests on, kept with it and printable: what was seen, when, what each piece weighed, and what argued
//! against.

use std::fmt;
use std::time::Duration;

use crate::door::Name;
use crate::event::Kind;
use crate::judge::evidence::weights::{Doubts, Sign};
use crate::net::Protocol;
use crate::time::Wall;
use crate::words;

/// An amount of evidence in thousandths of a nat: ln of how much likelier a scanner does this than a friend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(pub i32);

impl Score {
    /// The score that these two probabilities make, each within 0 to 1 and above 0.
    #[must_use]
    pub fn of_odds(scanner: f64, friend: f64) -> Score {
        Score::of_nats((scanner / friend).ln())
    }

    /// So many nats, within ±1,000.
    #[must_use]
    pub fn of_nats(nats: f64) -> Score {
        Score((nats.clamp(-1000.0, 1000.0) * 1000.0).round() as i32)
    }

    /// In nats.
    #[must_use]
    pub fn nats(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Score {
    /// With one digit behind the point, never rounded up: `6.2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let tenths = self.0.unsigned_abs() / 100;
        write!(f, "{sign}{}.{}", tenths / 10, tenths % 10)
    }
}

/// A verdict's evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// What it came to.
    pub score: Score,
    /// What it took.
    pub enough: Score,
    /// By which clock: only what was seen within this time was added up.
    pub within: Duration,
    /// What counted against him, oldest first; at most [`crate::judge::evidence::PIECES`].
    pub pieces: Vec<Piece>,
    /// What counted for him; at most [`crate::judge::evidence::SERVICES`].
    pub for_him: Vec<Favour>,
    /// How much of that was taken into account.
    pub taken_off: Score,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// When it was seen first.
    pub at: Wall,
    /// How it looked.
    pub kind: Kind,
    /// At what it was aimed.
    pub aim: Aim,
    /// How often it came, retransmissions left out; it counted once.
    pub times: u32,
    /// As what it was weighed.
    pub sign: Sign,
    /// Why it might not be what it seems.
    pub doubts: Doubts,
    /// What it weighed.
    pub weight: Score,
}

/// At what a probe was aimed. A door's ports are told by its steps alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Aim {
    /// This port.
    Port(Protocol, u16),
    /// This step of a door.
    Step(Name, u8),
    /// This protocol of IP, by its number.
    Protocol(u16),
    /// The address itself.
    Address,
    /// Not to be seen, or of a door that is gone.
    OutOfSight,
}

/// One service of ours that he has come for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Favour {
    /// Its transport.
    pub protocol: Protocol,
    /// Its port.
    pub port: u16,
    /// Whether he has used it, not only touched it.
    pub is_used: bool,
    /// How often he came.
    pub visits: u32,
    /// What it weighs, below 0.
    pub weight: Score,
}

impl Receipt {
    /// In short: `score 8.0 of 6.5 within 1m, 1.0 taken off for 2 services that he came for`.
    #[must_use]
    pub fn words(&self) -> String {
        let span = words::seconds(self.within);
        let mut text = format!("score {} where {} is enough within {span}", self.score, self.enough);
        if self.taken_off.0 > 0 {
            let services = self.for_him.len() as u64;
            let what = words::plural(services, "service", "services");
            text.push_str(&format!(", {} taken off for {services} {what} that he came for", self.taken_off));
        }
        text
    }
}

impl Piece {
    /// `+1.6 SYN to TCP port 23: the third service that is not there`.
    #[must_use]
    pub fn words(&self) -> String {
        let aim = match &self.aim {
            Aim::Port(protocol, port) => format!("{} port {port}", words::protocol_words(*protocol)),
            Aim::Step(door, step) => format!("door {door} step {step}"),
            Aim::Protocol(number) => format!("IP protocol {number}"),
            Aim::Address => "an address of ours".to_owned(),
            Aim::OutOfSight => "a port out of sight".to_owned(),
        };
        let mut text =
            format!("+{} {} to {aim}: {}", self.weight, words::kind_words(self.kind), self.sign.words());
        if self.times > 1 {
            text.push_str(&format!(", {} times", self.times));
        }
        let doubts: Vec<&str> = self.doubts.iter().map(super::weights::Doubt::words).collect();
        if !doubts.is_empty() {
            text.push_str(&format!("; but {}", words::and(&doubts)));
        }
        text
    }
}

impl Favour {
    /// `-1.0 TCP port 443, a service of ours: used, 14 visits`.
    #[must_use]
    pub fn words(&self) -> String {
        let how = if self.is_used { "used" } else { "touched" };
        let visits = words::plural(self.visits.into(), "visit", "visits");
        let protocol = words::protocol_words(self.protocol);
        format!(
            "{} {protocol} port {}, a service of ours: {how}, {} {visits}",
            self.weight, self.port, self.visits
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::evidence::weights::Doubt;

    #[test]
    fn scores_are_told_with_one_digit_and_never_rounded_up() {
        for (score, text) in [(6299, "6.2"), (0, "0.0"), (99, "0.0"), (-510, "-0.5"), (12_000, "12.0")] {
            assert_eq!(Score(score).to_string(), text);
        }
    }

    #[test]
    fn pieces_say_what_they_are() {
        let piece = Piece {
            at: Wall::default(),
            kind: Kind::Syn,
            aim: Aim::Port(Protocol::Tcp, 25),
            times: 9,
            sign: Sign::SecondClosed,
            doubts: Doubts::default().with(Doubt::LeftOver).with(Doubt::Habit),
            weight: Score(273),
        };
        assert_eq!(
            piece.words(),
            "+0.2 SYN to TCP port 25: the second service that is not there, 9 times; but old addresses are asked for \
             it for years and he comes again and again, as a client does"
        );
        let (protocol, weight) = (Protocol::Tcp, Score(-1012));
        let favour = Favour { protocol, port: 443, is_used: true, visits: 14, weight };
        assert_eq!(favour.words(), "-1.0 TCP port 443, a service of ours: used, 14 visits");
        let receipt = Receipt {
            score: Score(7000),
            enough: Score(6500),
            within: Duration::from_secs(60),
            pieces: vec![piece],
            for_him: vec![favour],
            taken_off: Score(1000),
        };
        assert_eq!(
            receipt.words(),
            "score 7.0 where 6.5 is enough within 60 s, 1.0 taken off for 1 service that he came for"
        );
    }
}
