//! The one table of what a door has, in the form of [`crate::config::schema::SECTIONS`].

use std::time::Duration;

use super::super::schema::{Form, Key};
use super::draft::Draft;
use super::{DoorMode, KindName, Weakness};

/// Some keys of a door.
#[derive(Debug)]
pub struct Group {
    /// What they are about, for the sample and the manual.
    pub about: &'static str,
    /// The kinds of doors that have them; a key stands in one group only.
    pub kinds: &'static [KindName],
    /// The keys.
    pub keys: &'static [Key<Draft>],
}

const SECOND: Duration = Duration::from_secs(1);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(86_400);

const EVERY: &[KindName] = &KindName::ALL;

/// Everything that can be configured of a door. A text or a list that is empty means that there is none.
pub const GROUPS: &[Group] = &[
    Group {
        about: "Every door.",
        kinds: EVERY,
        keys: &[
            Key {
                name: "kind",
                about: &["How it is knocked at."],
                default: "\"sequence\"",
                form: Form::Word {
                    words: &[
                        ("sequence", "packets to ports in a fixed order; whoever records it can repeat it"),
                        ("one-time", "sequences of which each is used once, from a file"),
                        ("rotating", "sequences that follow from a key and the time"),
                        ("spa", "one encrypted packet, as fwknop's clients send it"),
                    ],
                    set: |d, word| d.kind = KindName::ALL[word],
                    get: |d| KindName::ALL.iter().position(|kind| *kind == d.kind).unwrap_or(0),
                },
            },
            Key {
                name: "opens",
                about: &["What is shut to everybody, and open to whoever has knocked."],
                default: "\"\"",
                form: Form::Opens(|d| &mut d.opens),
            },
            Key {
                name: "open_for",
                about: &[
                    "For how long. Sessions that stand when it closes go on. The kernel closes the door at this",
                    "time, also if the program is gone.",
                ],
                default: "\"30s\"",
                form: Form::Span { low: SECOND, high: DAY, at: |d| &mut d.open_for },
            },
            Key {
                name: "renew",
                about: &["Whether the door stays open to a guest while a session of his lasts."],
                default: "false",
                form: Form::Switch(|d| &mut d.renew),
            },
            Key {
                name: "cut_on_close",
                about: &["Whether the guest's sessions are cut when the door closes."],
                default: "false",
                form: Form::Switch(|d| &mut d.cut_on_close),
            },
            Key {
                name: "guests",
                about: &["Who may knock at all. Empty: everybody."],
                default: "[]",
                form: Form::Prefixes(|d| &mut d.guests),
            },
            Key {
                name: "for_everyone",
                about: &["Whether a knock opens to all guests, rather than to the knocker's address alone."],
                default: "false",
                form: Form::Switch(|d| &mut d.for_everyone),
            },
            Key {
                name: "mode",
                about: &["Whether the door does anything. It does not depend on mode below [respond]."],
                default: "\"act\"",
                form: Form::Word {
                    words: &[
                        ("act", "its ports are shut, and opened to whoever has knocked"),
                        ("observe", "only tell what would have been done"),
                    ],
                    set: |d, word| d.mode = [DoorMode::Act, DoorMode::Observe][word],
                    get: |d| match d.mode {
                        DoorMode::Act => 0,
                        DoorMode::Observe => 1,
                    },
                },
            },
            Key {
                name: "command_open",
                about: &[
                    "Run as root when the door opens; %IP% in any word is the guest's address. A program and its",
                    "arguments, such as [\"/usr/bin/logger\", \"opened to %IP%\"]; no shell is asked.",
                ],
                default: "[]",
                form: Form::Command { or_same: false, at: |d| &mut d.command_open },
            },
            Key {
                name: "command_open_6",
                about: &["The same for IPv6 guests. [] runs nothing for them."],
                default: "\"same\"",
                form: Form::Command { or_same: true, at: |d| &mut d.command_open_6 },
            },
            Key {
                name: "command_close",
                about: &[
                    "Run when the door closes. It is remembered on disk, so it also runs after a crash or a restart.",
                ],
                default: "[]",
                form: Form::Command { or_same: false, at: |d| &mut d.command_close },
            },
            Key {
                name: "command_close_6",
                about: &["The same for IPv6 guests. [] runs nothing for them."],
                default: "\"same\"",
                form: Form::Command { or_same: true, at: |d| &mut d.command_close_6 },
            },
            Key {
                name: "shell",
                about: &["Whether each command is one text for /bin/sh -c instead."],
                default: "false",
                form: Form::Switch(|d| &mut d.shell),
            },
            Key {
                name: "service",
                about: &[
                    "A unit that is started when the door opens, and stopped when it has closed to the last.",
                ],
                default: "\"\"",
                form: Form::Unit(|d| &mut d.service),
            },
            Key {
                name: "mark",
                about: &[
                    "A bit that is set on a guest's packets to the door, so that one rule in another firewall can let",
                    "them through; portcullis doctor prints that rule. 0: none.",
                ],
                default: "0",
                form: Form::Bit(|d| &mut d.mark),
            },
        ],
    },
    Group {
        about: "Doors that are knocked at with several packets.",
        kinds: &[KindName::Sequence, KindName::OneTime, KindName::Rotating],
        keys: &[Key {
            name: "window",
            about: &["The time from the first knock to the last."],
            default: "\"10s\"",
            form: Form::Span { low: SECOND, high: TEN_MINUTES, at: |d| &mut d.window },
        }],
    },
    Group {
        about: "Doors with written sequences.",
        kinds: &[KindName::Sequence, KindName::OneTime],
        keys: &[
            Key {
                name: "flags",
                about: &[
                    "What is asked of TCP flags where a step does not say; flags that are not named are free.",
                ],
                default: "\"syn, !ack\"",
                form: Form::Flags(|d| &mut d.flags),
            },
            Key {
                name: "wrong_tries",
                about: &[
                    "So many wrong tries of one source, and its knocks at this door are ignored for a while.",
                ],
                default: "10",
                form: Form::Whole {
                    low: 1,
                    high: 1000,
                    unit: "tries",
                    set: |d, number| d.wrong_tries = number as u32,
                    get: |d| u64::from(d.wrong_tries),
                },
            },
            Key {
                name: "ignored_for",
                about: &["For how long, and within which time the tries are counted."],
                default: "\"10m\"",
                form: Form::Span { low: SECOND, high: DAY, at: |d| &mut d.ignored_for },
            },
        ],
    },
    Group {
        about: "kind = \"sequence\".",
        kinds: &[KindName::Sequence],
        keys: &[
            Key {
                name: "sequence",
                about: &["What opens the door, 3 to 32 steps."],
                default: "\"\"",
                form: Form::Steps(|d| &mut d.sequence),
            },
            Key {
                name: "close_sequence",
                about: &["What closes it before its time."],
                default: "\"\"",
                form: Form::Steps(|d| &mut d.close_sequence),
            },
        ],
    },
    Group {
        about: "kind = \"one-time\".",
        kinds: &[KindName::OneTime],
        keys: &[
            Key {
                name: "sequences_file",
                about: &[
                    "The file of the sequences, made by `portcullis key`. Used ones are struck out in it.",
                ],
                default: "\"\"",
                form: Form::Secret(|d| &mut d.sequences_file),
            },
            Key {
                name: "warn_left",
                about: &["How few sequences are left when it is said."],
                default: "5",
                form: Form::Whole {
                    low: 0,
                    high: 1000,
                    unit: "sequences",
                    set: |d, number| d.warn_left = number as u32,
                    get: |d| u64::from(d.warn_left),
                },
            },
        ],
    },
    Group {
        about: "kind = \"rotating\".",
        kinds: &[KindName::Rotating],
        keys: &[
            Key {
                name: "keys",
                about: &["The keys, made by `portcullis key`: one for each user."],
                default: "[]",
                form: Form::Secrets(|d| &mut d.keys),
            },
            Key {
                name: "ports",
                about: &["The ports that steps are drawn from; times protocols they are at least 1000."],
                default: "\"10000-60000\"",
                form: Form::Ports(|d| &mut d.ports),
            },
            Key {
                name: "protocols",
                about: &["The protocols that steps are drawn from."],
                default: "[\"tcp\", \"udp\"]",
                form: Form::WordSet(&[("tcp", "a SYN"), ("udp", "a datagram")], |d| &mut d.protocols),
            },
            Key {
                name: "time_step",
                about: &[
                    "How long one sequence is the right one; the clocks of both sides must agree about so well.",
                ],
                default: "\"30s\"",
                form: Form::Span {
                    low: Duration::from_secs(10),
                    // As the core's `door::rotating::Shape`.
                    high: Duration::from_secs(300),
                    at: |d| &mut d.time_step,
                },
            },
            Key {
                name: "steps",
                about: &["How many knocks a sequence has; the order in which they arrive does not matter."],
                default: "6",
                form: Form::Whole {
                    low: 3,
                    high: 16,
                    unit: "knocks",
                    set: |d, number| d.steps = number as u8,
                    get: |d| u64::from(d.steps),
                },
            },
        ],
    },
    Group {
        about: "kind = \"spa\".",
        kinds: &[KindName::Spa],
        keys: &[
            Key {
                name: "users",
                about: &["The access file: users, their keys, and what each may open."],
                default: "\"\"",
                form: Form::Secret(|d| &mut d.users),
            },
            Key {
                name: "udp_port",
                about: &[
                    "Where the packet is sent to. The port need not be open: it is seen on the wire. (With --engine listen",
                    "it is open.)",
                ],
                default: "62201",
                form: Form::Whole {
                    low: 1,
                    high: 65_535,
                    unit: "",
                    set: |d, number| d.udp_port = number as u16,
                    get: |d| u64::from(d.udp_port),
                },
            },
            Key {
                name: "max_age",
                about: &["How old a packet may be, or how far in the future, by its own clock."],
                default: "\"2m\"",
                form: Form::Span { low: SECOND, high: DAY, at: |d| &mut d.max_age },
            },
            Key {
                name: "weak",
                about: &["Weak settings of clients that are accepted all the same."],
                default: "[]",
                form: Form::WordSet(
                    &[
                        ("no-hmac", "packets without an HMAC"),
                        ("short-keys", "keys of less than 16 bytes"),
                        ("command-messages", "not possible here: write command_open instead"),
                        ("old-hmac", "an HMAC of MD5 or SHA-1"),
                        ("other-modes", "other modes of the cipher than CBC"),
                    ],
                    |d| &mut d.weak,
                ),
            },
        ],
    },
    Group {
        about: "Doors whose knock proves who knocks.",
        kinds: &[KindName::OneTime, KindName::Rotating, KindName::Spa],
        keys: &[Key {
            name: "pardon",
            about: &[
                "Whether a right knock lifts bans of the knocker's address, other than those made by hand or for ever.",
            ],
            default: "true",
            form: Form::Switch(|d| &mut d.pardon),
        }],
    },
];

/// The key called `name`, and the group that it stands in.
#[must_use]
pub(in crate::config) fn key(name: &str) -> Option<(&'static Group, &'static Key<Draft>)> {
    GROUPS.iter().find_map(|group| Some((group, group.keys.iter().find(|key| key.name == name)?)))
}

/// The names of all keys.
pub(in crate::config) fn names() -> impl Iterator<Item = &'static str> + Clone {
    GROUPS.iter().flat_map(|group| group.keys.iter().map(|key| key.name))
}

/// The weaknesses in the order of the table's words.
pub(super) fn weaknesses(places: &[usize]) -> Vec<Weakness> {
    places.iter().filter_map(|place| Weakness::ALL.get(*place).copied()).collect()
}
