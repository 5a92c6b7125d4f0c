//! Attempts under way, by source: how far each has got, and which packets are excused by it.

use std::sync::Arc;

use super::User;
use super::turns::Turn;
use super::ways::Way;
use crate::net::Endpoint;
use crate::scan::Contact;
use crate::scan::sources::Memory;
use crate::time::{Mono, Now};

/// Attempts of one source at a time; who makes more guesses.
pub(crate) const AT_ONCE: usize = 32;

/// A step of a door, by name of the door's place and number: what a record shows instead of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Which door.
    pub door: super::DoorId,
    /// Which step, from 1.
    pub step: u8,
}

/// What an attempt is after.
#[derive(Clone)]
pub(crate) enum Goal {
    Way(Arc<Way>),
    Turn(Arc<Turn>),
}

impl Goal {
    pub(crate) fn length(&self) -> u8 {
        match self {
            Goal::Way(way) => way.sequence.length(),
            Goal::Turn(turn) => turn.steps.len() as u8,
        }
    }

    pub(crate) fn user(&self) -> Option<&User> {
        match self {
            Goal::Way(_) => None,
            Goal::Turn(turn) => Some(&turn.user),
        }
    }
}

/// One attempt.
pub(crate) struct Attempt {
    pub(crate) goal: Goal,
    /// When its first step came.
    pub(crate) first: Mono,
    /// When its time is over.
    pub(crate) ends: Mono,
    /// How many steps were right.
    pub(crate) right: u8,
    /// Which, where their order is free: one bit each.
    pub(crate) which: u32,
    /// At a rotating sequence: how many packets to ports that might have been steps, and were none, have come since its
    /// first step ([`super::rotating::Shape::others`]).
    pub(crate) others: u16,
    /// Whether it has opened its door, and is kept only to see whether its source goes on to scan.
    pub(crate) is_done: bool,
    /// The packets that were its right steps, by their numbers in [`Knocker::packets`].
    pub(crate) held: Vec<u32>,
}

/// A packet that was a right step.
pub(crate) struct Packet {
    pub(crate) number: u32,
    /// What it is if it was no knock after all; `None` where it would not be a probe anyway.
    pub(crate) contact: Option<Contact>,
    pub(crate) at: Now,
    pub(crate) mark: Mark,
    pub(crate) identity: Identity,
}

/// What makes a segment the same as another: a stack repeats it with the same port and number (RFC 9293 §3.8.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) target: Endpoint,
    pub(crate) source_port: u16,
    pub(crate) sequence: u32,
    pub(crate) flags: u8,
}

/// What is kept of one source that knocks.
#[derive(Default)]
pub(crate) struct Knocker {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) packets: Vec<Packet>,
    next: u32,
    pub(crate) last: Mono,
    /// Where it stands in the queue of ends.
    pub(crate) due: Option<Mono>,
}

impl Memory for Knocker {
    /// Who has got farther is forgotten later: a flood of first steps pushes out no second one.
    fn suspicion(&self, _: Mono) -> u32 {
        self.attempts.iter().map(|attempt| u32::from(attempt.right)).max().unwrap_or(0)
    }

    fn last(&self) -> Mono {
        self.last
    }
}

impl Knocker {
    /// Keeps a packet that is about to be held by an attempt.
    pub(crate) fn keep(&mut self, at: Now, contact: Option<Contact>, mark: Mark, identity: Identity) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        // Room for one only: most sources of a flood send one.
        self.packets.reserve_exact(1);
        self.packets.push(Packet { number, contact, at, mark, identity });
        number
    }

    /// Whether an attempt holds a packet that is the same as this one.
    pub(crate) fn is_repeated(&self, identity: Identity) -> bool {
        self.packets.iter().any(|packet| packet.identity == identity)
    }

    /// Packets that no attempt holds any more, taken out.
    pub(crate) fn take_unheld(&mut self) -> Vec<Packet> {
        let attempts = &self.attempts;
        self.packets
            .extract_if(.., |packet| !attempts.iter().any(|attempt| attempt.held.contains(&packet.number)))
            .collect()
    }

    /// The packets of an attempt that succeeded are forgiven, whoever else holds them.
    pub(crate) fn forgive(&mut self, held: &[u32]) {
        self.packets.retain(|packet| !held.contains(&packet.number));
    }

    /// When the first of its attempts ends.
    pub(crate) fn first_end(&self) -> Option<Mono> {
        self.attempts.iter().map(|attempt| attempt.ends).min()
    }
}

/// The number of a step in an order that is free.
pub(crate) fn bit(steps: &[super::touched::Port], port: super::touched::Port) -> Option<u32> {
    steps.iter().position(|own| *own == port).map(|place| 1 << place)
}
