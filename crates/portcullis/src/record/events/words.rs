//! The words that stand in nearly every event, so that each takes one byte in the store.
//!
//! Their places are part of the file's layout: a word may be added at the end, none moved or taken out.

pub(super) const WORDS: &[&str] = &[
    // Keys of the lines.
    "time",
    "event",
    "id",
    "source",
    "prefix",
    "protocol",
    "kinds",
    "shape",
    "targets",
    "ports",
    "steps",
    "probes",
    "first",
    "last",
    "score",
    "decision",
    "protection",
    "ban_seconds",
    "until",
    "ended",
    "why",
    "how",
    "cause",
    "since",
    "state",
    "times",
    "door",
    "step",
    "of",
    "by",
    "user",
    "clock_difference",
    "kind",
    "port",
    "protected",
    "bans",
    "what",
    "mend",
    "changes",
    "version",
    "mode",
    "engine",
    "interfaces",
    "configuration",
    "shut",
    "packets",
    "seconds",
    "sources",
    "scanners",
    "dropped",
    "faults",
    "would_have_banned",
    "would_have_banned_peers",
    "lines_left_out",
    "evidence",
    "weight",
    "reason",
    "count",
    // Values.
    "tcp",
    "udp",
    "sctp",
    "syn",
    "connect",
    "fin",
    "null",
    "xmas",
    "maimon",
    "flags",
    "vertical",
    "horizontal",
    "block",
    "observe",
    "enforce",
    "counted",
    "hold",
    "ignored",
    "banned",
    "held",
    "operator",
    "probe",
    "found in force",
    "in force",
    "in force, unsaved",
    "pending",
    "not in force",
    "ever",
    "expired",
    "by hand",
    "observing now",
    "protected now",
    "ledger full",
    "replaced",
    "given up",
    "pardoned by a knock",
    "allowed",
    "taken back",
    "sequence",
    "one-time",
    "rotating",
    "spa",
    "ring",
    "listen",
    "icmp",
    "ack",
    "fragments",
    "ip-protocol",
    "icmp-sweep",
    "slow",
    "decoy",
    "distributed",
    // Words of sentences.
    "to",
    "in",
    "s",
    "ms",
    "min",
    "h",
    "closed",
    "TCP",
    "UDP",
    "SCTP",
    "and",
    "SYN",
    "INIT",
    "FIN",
    "NULL",
    "Xmas",
    "Maimon",
    "odd-flag",
    "datagram",
    "connection",
    "datagrams",
    "addresses",
    "at",
    "least",
    "than",
    "less",
    "1",
    "out",
    "sight",
    "a",
    "the",
    "is",
    "an",
    "address",
    "this",
    "host",
    "on",
    "list",
    "default",
    "gateway",
    "configured",
    "resolver",
    "for",
    "from",
    "was",
    "not",
    "no",
    "it",
    "with",
    "uid",
];

/// One byte names so many; the smaller ones are taken (`packed.rs`).
const LIMIT: usize = 192;

const _: () = assert!(WORDS.len() <= LIMIT && EVENTS.len() <= 63 && KINDS.len() <= 63);

/// Events, by their place; the first is any other.
pub(super) const EVENTS: &[&str] = &[
    "", "start", "stop", "scan", "ban", "unban", "pardon", "allow", "open", "close", "knock", "refused",
    "brake", "repair", "fault", "reload", "enforce", "observe", "summary", "notice", "probe", "hold",
];

/// Kinds of probes, by their place, in the order in which a line names them.
pub(super) const KINDS: &[&str] = &[
    "syn",
    "connect",
    "fin",
    "null",
    "xmas",
    "maimon",
    "udp",
    "sctp",
    "flags",
    "ack",
    "fragments",
    "ip-protocol",
    "icmp-sweep",
    "icmp",
];

/// What can be decided of a scan or a probe, by its place; the first is anything else.
pub(super) const DECISIONS: &[&str] = &["", "block", "hold", "observe", "ignored", "protected", "counted"];

/// Added to the place of a decision where the scan is over.
pub(super) const ENDED: u8 = 16;

/// The place of an event; 0 where it has none.
#[must_use]
pub fn event_code(name: &str) -> u8 {
    let place = EVENTS.iter().position(|own| *own == name).unwrap_or(0);
    u8::try_from(place).expect("EVENTS is short")
}

/// The bit of a kind, if it has one.
#[must_use]
pub fn kind_bit(name: &str) -> Option<u64> {
    KINDS.iter().position(|own| *own == name).map(|place| 1 << place)
}

/// The names of events that can be asked for.
#[must_use]
pub fn event_names() -> &'static [&'static str] {
    &EVENTS[1..]
}

/// The names of kinds that can be asked for.
#[must_use]
pub fn kind_names() -> &'static [&'static str] {
    KINDS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_word_has_one_place() {
        assert_eq!(WORDS.iter().collect::<BTreeSet<_>>().len(), WORDS.len(), "a word stands twice");
    }
}
