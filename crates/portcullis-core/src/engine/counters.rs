//! What the engine counts. A live packet ends in exactly one of `trusted` to `unknown`, `probes`, or a
//! [`crate::wire::Refusal`]; in a capture a contact counts when it is settled.

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
    /// From neighbours' addresses by an interface that does not lead to them: forged.
    pub misplaced: u64,
    /// To ports that are not watched.
    pub unwatched: u64,
    /// From sources that are banned or held already.
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
    /// Of these, not answered, since they are protected or nobody's own addresses.
    pub spared: u64,
    /// Sources that the brake has kept back: they were connected with this host.
    pub kept_back: u64,
    /// Probes counted.
    pub probes: u64,
    /// Packets that are steps of a knock under way, or were of one that has opened its door. When a knock fails they count
    /// as what they are, and no more here.
    pub knocks: u64,
    /// Knocks and traces that were not told of, since there were too many.
    pub knocks_not_told: u64,
    /// Pardons that found no room among what is allowed by hand.
    pub pardons_left_out: u64,
    /// Openings that were shut before their time, since there were too many.
    pub openings_evicted: u64,
}
