//! A sequence made of a secret and the time: recorded, it is worth nothing a minute later, nor at any other host or door.
//!
//! # The derivation
//!
//! Both sides use [`derive()`]; anyone else can do the same from this:
//!
//! * Time step: `T` = Unix time in whole seconds, divided by the period (30 s unless configured), rounded down
//!   (RFC 6238 §4).
//! * Stream: `HMAC-SHA-256(key, M || C)` for `C` = 0, 1, 2, … (32 bits, big endian), one after another, where
//!   `M` = `"portcullis rotating 1"` (21 bytes of ASCII), the length of the door's name (1 byte), the door's name, the
//!   host's number (16 bytes, made with the key), `T` (64 bits, big endian).
//! * Choices: all pairs of protocol and port that are offered, in order: the TCP ports ascending (if TCP is offered), then
//!   the UDP ports ascending (if UDP is). They are numbered from 0; `N` is their number.
//! * Steps: the next 8 bytes of the stream, big endian, modulo `N`, are the number of a step. One that has come
//!   before is skipped. The first `length` of them are the sequence, in the order in which they are to be sent.
//!   (The remainder favours no choice by more than 1 in 2^47.)
//!
//! TCP steps are sent as SYN, UDP steps as a datagram whose content doesn't matter.
//!
//! The receiver takes them in any order and more than once, since networks reorder and repeat; it is the choice of the
//! steps that proves the key. Six steps of 30,000 ports are worth 80 bits even so.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Key, Name, User};
use crate::net::{PortSet, Protocol};
use crate::time::Wall;

/// More keys than this are not listened for at one door: all their steps have to be known beforehand.
pub const KEYS: usize = 256;

/// The fewest and the most steps.
pub const LENGTHS: std::ops::RangeInclusive<u8> = 3..=16;

/// The shortest and the longest period in seconds.
pub const PERIODS: std::ops::RangeInclusive<u64> = 10..=300;

/// The fewest choices of protocol and port.
pub const FEWEST_CHOICES: usize = 1000;

/// The number of a host, made with its keys: a knock made for it opens no other. Not a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostId(pub [u8; 16]);

/// What both sides agree on about the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    ports: PortSet,
    tcp: bool,
    udp: bool,
    length: u8,
    period: u64,
}

/// Why a shape can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeError {
    /// The length is outside [`LENGTHS`].
    Length,
    /// The period is outside [`PERIODS`].
    Period,
    /// Fewer than [`FEWEST_CHOICES`] pairs of protocol and port, or port 0 among them.
    Ports,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShapeError::Length => {
                write!(f, "a rotating sequence has {} to {} steps", LENGTHS.start(), LENGTHS.end())
            }
            ShapeError::Period => {
                write!(f, "the period is {} to {} seconds", PERIODS.start(), PERIODS.end())
            }
            ShapeError::Ports => {
                write!(f, "at least {FEWEST_CHOICES} pairs of protocol and port are needed, without port 0")
            }
        }
    }
}

impl std::error::Error for ShapeError {}

impl Shape {
    /// `length` steps out of these ports, by TCP or UDP or both, another sequence every `period` seconds.
    ///
    /// # Errors
    /// A number is out of its bounds, or there are too few ports.
    pub fn new(ports: PortSet, tcp: bool, udp: bool, length: u8, period: u64) -> Result<Shape, ShapeError> {
        if !LENGTHS.contains(&length) {
            return Err(ShapeError::Length);
        }
        if !PERIODS.contains(&period) {
            return Err(ShapeError::Period);
        }
        let shape = Shape { ports, tcp, udp, length, period };
        if shape.ports.contains(0) || shape.choices() < FEWEST_CHOICES {
            return Err(ShapeError::Ports);
        }
        Ok(shape)
    }

    /// How many steps.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Seconds for which one sequence is the right one.
    #[must_use]
    pub fn period(&self) -> u64 {
        self.period
    }

    /// The ports that steps are chosen from, by this protocol.
    #[must_use]
    pub fn ports(&self, protocol: Protocol) -> PortSet {
        match protocol {
            Protocol::Tcp if self.tcp => self.ports.clone(),
            Protocol::Udp if self.udp => self.ports.clone(),
            _ => PortSet::default(),
        }
    }

    /// How many bits guessing one sequence takes, given that its order does not count.
    #[must_use]
    pub fn bits(&self) -> f64 {
        let choices = self.choices() as f64;
        (0..self.length).map(|step| (choices - f64::from(step)).log2() - f64::from(step + 1).log2()).sum()
    }

    /// The time step that this moment lies in.
    #[must_use]
    pub fn time_step(&self, at: Wall) -> u64 {
        at.0.as_secs() / self.period
    }

    /// How many packets to other choices may come between the first step and the last one; `None` where no more can be
    /// allowed than at a door with a sequence that is always the same.
    ///
    /// A stranger can't know the steps, so he has to hit them by chance, and it is arithmetic that keeps scans out: behind
    /// a first hit, `k` more packets to distinct choices hit all the other `length - 1` steps with a chance below
    /// `(k / N)^(length - 1)`, where `N` is the number of choices and `k` = others allowed + `length - 1`. This is the
    /// largest `k` for which that stays below 1e-9: 475 of 30,000 choices with six steps (so 470 others), and 1022 of
    /// 64,512. It is as large as can be, since whoever forges packets in a guest's name makes the others in the middle of
    /// his knock.
    #[must_use]
    pub fn others(&self) -> Option<u16> {
        /// The chance of one attempt to be right by accident stays below this.
        const CHANCE: f64 = 1e-9;
        /// Whoever sends more is a scanner, whatever the arithmetic says.
        const MOST: f64 = 1024.0;
        let rest = f64::from(self.length - 1);
        let tries = self.choices() as f64 * CHANCE.powf(rest.recip());
        let others = (tries - rest).floor().min(MOST);
        (others > super::touched::OTHERS as f64).then_some(others as u16)
    }

    /// Whether this port may be a step.
    pub(crate) fn is_choice(&self, protocol: Protocol, port: u16) -> bool {
        let is_offered = match protocol {
            Protocol::Tcp => self.tcp,
            Protocol::Udp => self.udp,
            _ => false,
        };
        is_offered && self.ports.contains(port)
    }

    fn choices(&self) -> usize {
        self.ports.count() * (usize::from(self.tcp) + usize::from(self.udp))
    }

    fn choice(&self, number: usize) -> (Protocol, u16) {
        let count = self.ports.count();
        let protocol = if self.tcp && number < count { Protocol::Tcp } else { Protocol::Udp };
        let mut left = number % count;
        for &(first, last) in self.ports.ranges() {
            let size = usize::from(last - first) + 1;
            if left < size {
                return (protocol, first + left as u16);
            }
            left -= size;
        }
        unreachable!("a remainder is less than the number of ports")
    }
}

impl Default for Shape {
    /// Six steps out of TCP ports 20000 to 49999, which neither services nor Linux's first scans ask for, every 30 s.
    fn default() -> Shape {
        let ports = PortSet::from_ranges([(20_000, 49_999)]);
        Shape { ports, tcp: true, udp: false, length: 6, period: 30 }
    }
}

/// The sequence of `door` at `host` for who holds `key`, in time step `step`; see the head of this file.
#[must_use]
pub fn derive(key: &Key, door: &Name, host: HostId, shape: &Shape, step: u64) -> Vec<(Protocol, u16)> {
    let name = door.as_str().as_bytes();
    let mut begun = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("HMAC takes keys of any length");
    begun.update(b"portcullis rotating 1");
    // A name that is checked has 31 bytes at most.
    begun.update(&[name.len() as u8]);
    begun.update(name);
    begun.update(&host.0);
    begun.update(&step.to_be_bytes());
    let choices = shape.choices() as u64;
    let mut steps: Vec<(Protocol, u16)> = Vec::with_capacity(usize::from(shape.length));
    for block in 0_u32.. {
        let mut mac = begun.clone();
        mac.update(&block.to_be_bytes());
        let bytes = mac.finalize().into_bytes();
        for number in bytes.as_chunks::<8>().0 {
            let chosen = shape.choice((u64::from_be_bytes(*number) % choices) as usize);
            if !steps.contains(&chosen) {
                steps.push(chosen);
            }
            if steps.len() == usize::from(shape.length) {
                return steps;
            }
        }
    }
    unreachable!("among so many choices the steps are found long before the blocks are counted out")
}

/// A lock with a sequence made of a secret and the time.
#[derive(Clone, PartialEq)]
pub struct Rotating {
    /// Who may knock, and with which key; at most [`KEYS`].
    pub keys: Vec<(User, Key)>,
    /// This host's number.
    pub host: HostId,
    /// What the steps are chosen from.
    pub shape: Shape,
    /// How many time steps the sender's clock may be wrong, either way (RFC 6238 §5.2 recommends 1).
    pub drift: u8,
    /// The time for all steps, from the first that comes.
    pub window: Duration,
}

impl fmt::Debug for Rotating {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: Vec<&User> = self.keys.iter().map(|(user, _)| user).collect();
        f.debug_struct("Rotating")
            .field("users", &users)
            .field("shape", &self.shape)
            .field("drift", &self.drift)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn key(byte: u8) -> Key {
        Key::new(Zeroizing::new(vec![byte; 32])).unwrap()
    }

    fn steps(key_byte: u8, door: &str, host: u8, step: u64) -> Vec<(Protocol, u16)> {
        let name: Name = door.parse().unwrap();
        derive(&key(key_byte), &name, HostId([host; 16]), &Shape::default(), step)
    }

    #[test]
    fn each_key_door_host_and_time_has_a_sequence_of_its_own() {
        let one = steps(1, "ssh", 1, 56_666_666);
        assert_eq!(one, steps(1, "ssh", 1, 56_666_666));
        for other in [
            steps(2, "ssh", 1, 56_666_666),
            steps(1, "web", 1, 56_666_666),
            steps(1, "ssh", 2, 56_666_666),
            steps(1, "ssh", 1, 56_666_667),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn steps_are_distinct_and_out_of_what_is_offered() {
        let ports = PortSet::from_ranges([(10_000, 10_499), (20_000, 20_499)]);
        let shape = Shape::new(ports.clone(), true, true, 16, 30).unwrap();
        let name: Name = "ssh".parse().unwrap();
        let (mut tcp, mut udp) = (0, 0);
        for step in 0..200 {
            let steps = derive(&key(9), &name, HostId([0; 16]), &shape, step);
            let distinct: std::collections::BTreeSet<_> = steps.iter().collect();
            assert_eq!((steps.len(), distinct.len()), (16, 16));
            assert!(steps.iter().all(|(_, port)| ports.contains(*port)));
            tcp += steps.iter().filter(|(protocol, _)| *protocol == Protocol::Tcp).count();
            udp += steps.iter().filter(|(protocol, _)| *protocol == Protocol::Udp).count();
        }
        assert!(tcp > 1400 && udp > 1400, "{tcp} {udp}");
    }

    #[test]
    fn shapes_that_are_easily_guessed_are_refused() {
        let ports = || PortSet::from_ranges([(20_000, 20_999)]);
        assert_eq!(Shape::new(ports(), true, false, 2, 30), Err(ShapeError::Length));
        assert_eq!(Shape::new(ports(), true, false, 6, 9), Err(ShapeError::Period));
        assert_eq!(Shape::new(ports(), false, false, 6, 30), Err(ShapeError::Ports));
        assert!(Shape::new(ports(), true, false, 6, 30).unwrap().bits() > 50.0);
        assert!(Shape::default().bits() > 79.0);
    }

    #[test]
    fn as_many_other_packets_as_chance_allows_and_no_more() {
        let shape = |first, last, udp, length| {
            Shape::new(PortSet::from_ranges([(first, last)]), true, udp, length, 30).unwrap()
        };
        assert_eq!(Shape::default().others(), Some(470));
        assert_eq!(shape(1024, 65_535, false, 6).others(), Some(1017));
        assert_eq!(shape(1024, 65_535, true, 8).others(), Some(1024));
        assert_eq!(shape(20_000, 20_999, false, 3).others(), None, "so few are guarded as a plain sequence");
        for own in [Shape::default(), shape(20_000, 29_999, true, 6), shape(20_000, 20_999, false, 16)] {
            let rest = f64::from(own.length - 1);
            let tries = f64::from(own.others().unwrap()) + rest;
            assert!((tries / own.choices() as f64).powf(rest) < 1e-9, "{own:?}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let rotating = Rotating {
            keys: vec![(User("ann".into()), key(b'K'))],
            host: HostId([7; 16]),
            shape: Shape::default(),
            drift: 1,
            window: Duration::from_secs(10),
        };
        let shown = format!("{rotating:?}");
        assert!(shown.contains("ann") && !shown.contains("75, 75") && !shown.contains("KK"), "{shown}");
    }
}
