//! What the engine counts: every packet ends in exactly one of these, or in a [`crate::wire::Refusal`].

use crate::event::Kind;

/// Counts since start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets handed to the engine.
    pub packets: u64,
    /// From interfaces that are trusted.
    pub trusted: u64,
    /// Segments of connections, answers, error messages.
    pub no_contact: u64,
    /// For multicast or broadcast addresses.
    pub for_many: u64,
    /// For other hosts.
    pub elsewhere: u64,
    /// To ports that are not watched.
    pub unwatched: u64,
    /// From sources that are banned already.
    pub banned: u64,
    /// Late answers to our own packets.
    pub late_answers: u64,
    /// To services.
    pub to_services: u64,
    /// Where the kernel could not say whether a service is there.
    pub unknown: u64,
    /// Pieces of evidence taken back because a service had come.
    pub withdrawn: u64,
    /// Sources found scanning.
    pub scans: u64,
    probes: [u64; Kind::ALL.len()],
}

impl Counters {
    /// Probes counted of one kind.
    #[must_use]
    pub fn probes_of(&self, kind: Kind) -> u64 {
        Kind::ALL.iter().zip(self.probes).find(|(own, _)| **own == kind).map_or(0, |(_, count)| count)
    }

    /// Probes counted.
    #[must_use]
    pub fn probes(&self) -> u64 {
        self.probes.iter().sum()
    }

    pub(super) fn count(&mut self, kind: Kind) {
        if let Some(count) = self.probes.get_mut(kind as usize) {
            *count += 1;
        }
    }
}
