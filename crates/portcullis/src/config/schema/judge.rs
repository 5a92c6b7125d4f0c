//! The keys of `[judge]`.

use super::super::{By, Care, Trigger};
use super::{DAY, Form, HOUR, Key, MINUTE, MONTH, SECOND, Section};

/// Keys of `[judge]` that only the judge `trigger` heeds.
pub const TRIGGER_KEYS: &[&str] = &["count", "trigger", "window"];

/// Keys of `[judge]` that only the judge `evidence` heeds.
pub const EVIDENCE_KEYS: &[&str] =
    &["care", "score", "fast", "slow", "patient", "odd_flags", "late_answer", "credit"];

/// When a source is a scanner.
pub(super) const JUDGE: Section = Section {
    name: "judge",
    about: "When a source is a scanner.",
    keys: &[
        Key {
            name: "by",
            about: &["How sources are judged."],
            default: "\"evidence\"",
            form: Form::Word {
                words: &[
                    ("evidence", "what a source has tried is weighed: finds the slow, spares the clumsy"),
                    ("trigger", "so many within the window, and it is a scan, as PortSentry does it"),
                ],
                set: |c, word| c.judge.by = [By::Evidence, By::Trigger][word],
                get: |c| c.judge.by as usize,
            },
        },
        Key {
            name: "care",
            about: &[
                "How much evidence it takes: how many times likelier it must be that this is a scanner.",
                "Ports below are closed TCP ports of one host within a minute.",
            ],
            default: "\"normal\"",
            form: Form::Word {
                words: &[
                    ("careful", "10,000 times; some 6 ports. Where a blamed friend is worse than a scan"),
                    ("normal", "400 times; 4 or 5 ports"),
                    ("strict", "100 times; 3 or 4 ports. Where few friends ever come"),
                ],
                set: |c, word| c.judge.care = [Care::Careful, Care::Normal, Care::Strict][word],
                get: |c| c.judge.care as usize,
            },
        },
        Key {
            name: "score",
            about: &[
                "The same as a number: the score from which on a source is a scanner, as `scan` records tell it.",
                "It is a logarithm: 1 more asks for 2.7 times as much. 0 leaves it to care.",
            ],
            default: "0",
            form: Form::Factor { low: 0.0, high: 100.0, at: |c| &mut c.judge.score },
        },
        Key {
            name: "fast",
            about: &["Evidence is added up by three clocks. Within this time for fast scans,"],
            default: "\"1m\"",
            form: Form::Span { low: SECOND, high: HOUR, at: |c| &mut c.judge.fast },
        },
        Key {
            name: "slow",
            about: &["within this time for those who wait between probes (8 % more is asked for),"],
            default: "\"1h\"",
            form: Form::Span { low: MINUTE, high: DAY, at: |c| &mut c.judge.slow },
        },
        Key {
            name: "patient",
            about: &["and within this time for the patient (15 % more). Nothing counts for longer."],
            default: "\"7d\"",
            form: Form::Span { low: HOUR, high: MONTH, at: |c| &mut c.judge.patient },
        },
        Key {
            name: "odd_flags",
            about: &["What TCP flags weigh that no stack sends, at each distinct port."],
            default: "2.5",
            form: Form::Factor { low: 0.0, high: 10.0, at: |c| &mut c.judge.odd_flags },
        },
        Key {
            name: "late_answer",
            about: &["What a datagram weighs that may be a late answer to one of ours."],
            default: "0.1",
            form: Form::Factor { low: 0.0, high: 10.0, at: |c| &mut c.judge.late_answer },
        },
        Key {
            name: "credit",
            about: &[
                "What services that a source came for take off its score at most. By the slower clocks twice and",
                "three times as much, if it has used them. More saves busy gateways, and hides scans behind visits.",
            ],
            default: "1",
            form: Form::Factor { low: 0.0, high: 10.0, at: |c| &mut c.judge.credit },
        },
        Key {
            name: "count",
            about: &["Only by trigger: what is counted."],
            default: "\"ports\"",
            form: Form::Word {
                words: &[
                    ("ports", "distinct ports of one source; knocking on one port again adds nothing"),
                    ("probes", "every probe of one source, as PortSentry counts"),
                ],
                set: |c, word| {
                    let number = trigger_number(c.judge.trigger);
                    c.judge.trigger = [Trigger::Ports(number), Trigger::Probes(number)][word];
                },
                get: |c| match c.judge.trigger {
                    Trigger::Ports(_) => 0,
                    Trigger::Probes(_) => 1,
                },
            },
        },
        Key {
            name: "trigger",
            about: &["Only by trigger: how many of them are a scan; 1 is the first probe."],
            default: "5",
            form: Form::Whole {
                low: 1,
                high: 64,
                unit: "ports or probes",
                set: |c, number| {
                    c.judge.trigger = match c.judge.trigger {
                        Trigger::Ports(_) => Trigger::Ports(number as u32),
                        Trigger::Probes(_) => Trigger::Probes(number as u32),
                    };
                },
                get: |c| u64::from(trigger_number(c.judge.trigger)),
            },
        },
        Key {
            name: "window",
            about: &[
                "Only by trigger: within which time. Longer finds slower scans, and forgets the harmless slip later.",
            ],
            default: "\"1m\"",
            form: Form::Span { low: SECOND, high: DAY, at: |c| &mut c.judge.window },
        },
        Key {
            name: "sources",
            about: &["How many sources are remembered at once; beyond it the least suspicious is forgotten."],
            default: "32768",
            form: Form::Whole {
                low: 1024,
                high: 1_048_576,
                unit: "sources",
                set: |c, number| c.judge.sources = number as usize,
                get: |c| c.judge.sources as u64,
            },
        },
        Key {
            name: "apart",
            about: &[
                "IPv6 networks where a /64 has many owners: each address there is judged, held and banned by",
                "itself. Elsewhere a far /64 is one source; on directly connected networks each address is.",
            ],
            default: "[]",
            form: Form::Prefixes(|c| &mut c.judge.apart),
        },
    ],
};

fn trigger_number(trigger: Trigger) -> u32 {
    match trigger {
        Trigger::Ports(number) | Trigger::Probes(number) => number,
    }
}
