//! The one table of everything that can be configured. The reader, its suggestions, the writer and the commented
//! sample all come from [`SECTIONS`], so that none of them can know a key that the others do not.

mod judge;

use std::path::PathBuf;
use std::time::Duration;

use portcullis_core::net::{PortSet, Prefix};

pub use self::judge::{EVIDENCE_KEYS, TRIGGER_KEYS};
use super::doors::{Flags, Opens, SecretFile, WrittenStep};
use super::{Config, EngineChoice, Mode, Unproved};

/// A section of the file, such as `[watch]`, whose keys are put into a `T`.
#[derive(Debug)]
pub struct Section<T: 'static = Config> {
    /// Its name, without brackets.
    pub name: &'static str,
    /// What it is about, a line for the sample and the manual.
    pub about: &'static str,
    /// Its keys, in the order in which they are explained.
    pub keys: &'static [Key<T>],
}

/// One key.
#[derive(Debug)]
pub struct Key<T: 'static = Config> {
    /// Its name within its section.
    pub name: &'static str,
    /// What it does, in lines of at most 100 characters.
    pub about: &'static [&'static str],
    /// The value that holds where nobody writes another, as TOML text.
    pub default: &'static str,
    /// What is written there, its bounds, and where it goes in a `T`.
    pub form: Form<T>,
}

/// What a key's value looks like, with its bounds, and how it is put into and taken out of a `T`.
#[derive(Debug)]
pub enum Form<T: 'static = Config> {
    /// One of some words; the functions speak of the word's place in the list.
    Word {
        /// The words, each with what it means.
        words: &'static [(&'static str, &'static str)],
        /// Puts the word with this index in.
        set: fn(&mut T, usize),
        /// The index of the word that holds.
        get: fn(&T) -> usize,
    },
    /// `true` or `false`.
    Switch(fn(&mut T) -> &mut bool),
    /// A whole number.
    Whole {
        /// The lowest.
        low: u64,
        /// The highest.
        high: u64,
        /// What is counted, in the plural.
        unit: &'static str,
        /// Puts a number within the bounds in.
        set: fn(&mut T, u64),
        /// The number that holds.
        get: fn(&T) -> u64,
    },
    /// A number, whole or not.
    Factor {
        /// The lowest.
        low: f64,
        /// The highest.
        high: f64,
        /// Where it lives.
        at: fn(&mut T) -> &mut f64,
    },
    /// A span of time.
    Span {
        /// The shortest.
        low: Duration,
        /// The longest.
        high: Duration,
        /// Where it lives.
        at: fn(&mut T) -> &mut Duration,
    },
    /// A span of time, or the word `ever`.
    SpanOrEver {
        /// The shortest.
        low: Duration,
        /// The longest.
        high: Duration,
        /// Where it lives.
        at: fn(&mut T) -> &mut Option<Duration>,
    },
    /// A set of ports.
    Ports(fn(&mut T) -> &mut PortSet),
    /// A list of prefixes.
    Prefixes(fn(&mut T) -> &mut Vec<Prefix>),
    /// A list of prefixes and of names of hosts.
    Friends(fn(&mut T) -> (&mut Vec<Prefix>, &mut Vec<String>)),
    /// A list of names of one kind.
    Names(NameKind, fn(&mut T) -> &mut Vec<String>),
    /// One name.
    Name(NameKind, fn(&mut T) -> &mut String),
    /// An absolute path of at most so many bytes.
    Path(usize, fn(&mut T) -> &mut PathBuf),
    /// Any of some words, each at most once, as their places in the list.
    WordSet(&'static [(&'static str, &'static str)], fn(&mut T) -> &mut Vec<usize>),
    /// A file with a secret, or nothing.
    Secret(fn(&mut T) -> &mut Option<SecretFile>),
    /// A list of files with secrets.
    Secrets(fn(&mut T) -> &mut Vec<SecretFile>),
    /// A command as a list of its words, or none; with `or_same` also the word `same`, which is `None`.
    Command {
        /// Whether `same` may be written.
        or_same: bool,
        /// Where it lives.
        at: fn(&mut T) -> &mut Option<Vec<String>>,
    },
    /// A unit of systemd, or nothing.
    Unit(fn(&mut T) -> &mut Option<String>),
    /// One bit of 32, or 0 for none.
    Bit(fn(&mut T) -> &mut Option<u32>),
    /// Ports with their protocols.
    Opens(fn(&mut T) -> &mut Opens),
    /// The steps of a sequence.
    Steps(fn(&mut T) -> &mut Vec<WrittenStep>),
    /// Conditions on the flags of a TCP segment.
    Flags(fn(&mut T) -> &mut Flags),
}

/// What a name names, and so how it may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A network interface: 1 to 15 bytes, no blank, no `/`, no `:` (linux v6.18 net/core/dev.c, `dev_valid_name`).
    Interface,
    /// A user of the system, by name or number: 1 to 32 bytes, no blank, no `:` (`useradd(8)`).
    User,
    /// A group of the system, likewise (`groupadd(8)`).
    Group,
}

impl NameKind {
    /// What it is called in messages, with its article.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            NameKind::Interface => "an interface",
            NameKind::User => "a user",
            NameKind::Group => "a group",
        }
    }

    /// Whether `name` can be the name of such a thing at all.
    #[must_use]
    pub fn fits(self, name: &str) -> bool {
        let (longest, forbidden) = match self {
            NameKind::Interface => (15, "/:"),
            NameKind::User | NameKind::Group => (32, ":,"),
        };
        !name.is_empty()
            && name.len() <= longest
            && name != "."
            && name != ".."
            && !name.chars().any(|c| c.is_whitespace() || c.is_control() || forbidden.contains(c))
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const DECADE: Duration = Duration::from_secs(3650 * 86_400);

/// Longest path of a Unix socket in bytes, less the closing NUL (unix(7), `sun_path`).
const SOCKET_PATH: usize = 107;
/// Longest path in bytes, less the closing NUL (`PATH_MAX`).
const PATH: usize = 4095;

/// Everything that can be configured.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "watch",
        about: "What is looked at.",
        keys: &[
            Key {
                name: "interfaces",
                about: &[
                    "Only packets that come in by these interfaces. Empty: every interface that is up, also",
                    "those that come later, but not the loopback.",
                ],
                default: "[]",
                form: Form::Names(NameKind::Interface, |c| &mut c.watch.interfaces),
            },
            Key {
                name: "protect",
                about: &[
                    "Networks of others whose traffic is judged too, at most 16: on a router what goes through it, on a",
                    "mirror port what is heard there (the interface must be promiscuous). What offers a service is learnt",
                    "from the answers; both directions have to come by here. Hosts in them are never blocked. Much UDP",
                    "costs: each datagram from or to the ports of udp is looked at. ACK scans of them are not seen.",
                ],
                default: "[]",
                form: Form::Prefixes(|c| &mut c.watch.protect),
            },
            Key {
                name: "tcp",
                about: &[
                    "TCP and SCTP ports where a probe counts. A port that has a service is no trap: connections to",
                    "it are never counted, so nothing needs to be taken out by hand.",
                ],
                default: "\"1-65535\"",
                form: Form::Ports(|c| &mut c.watch.tcp),
            },
            Key {
                name: "udp",
                about: &["UDP ports where a probe counts."],
                default: "\"1-65535\"",
                form: Form::Ports(|c| &mut c.watch.udp),
            },
            Key {
                name: "engine",
                about: &["How packets are seen."],
                default: "\"auto\"",
                form: Form::Word {
                    words: &[
                        (
                            "auto",
                            "the ring; without the right to it, the program ends and says how to grant it",
                        ),
                        ("ring", "a packet ring: sees every kind of probe, opens no port"),
                        (
                            "listen",
                            "plain sockets on the watched ports: sees finished connections and datagrams only",
                        ),
                    ],
                    set: |c, word| {
                        c.watch.engine = [EngineChoice::Auto, EngineChoice::Ring, EngineChoice::Listen][word];
                    },
                    get: |c| match c.watch.engine {
                        EngineChoice::Auto => 0,
                        EngineChoice::Ring => 1,
                        EngineChoice::Listen => 2,
                    },
                },
            },
            Key {
                name: "ring_mib",
                about: &["Memory for packets that wait to be looked at; one ring serves all interfaces."],
                default: "16",
                form: Form::Whole {
                    low: 1,
                    high: 1024,
                    unit: "MiB",
                    set: |c, number| c.watch.ring_mib = number as u16,
                    get: |c| u64::from(c.watch.ring_mib),
                },
            },
        ],
    },
    judge::JUDGE,
    Section {
        name: "respond",
        about: "What is done about a scanner.",
        keys: &[
            Key {
                name: "mode",
                about: &["Whether anything is done at all."],
                default: "\"observe\"",
                form: Form::Word {
                    words: &[
                        ("observe", "only tell what would have been done"),
                        ("enforce", "ban scanners in the kernel's packet filter"),
                    ],
                    set: |c, word| c.respond.mode = [Mode::Observe, Mode::Enforce][word],
                    get: |c| match c.respond.mode {
                        Mode::Observe => 0,
                        Mode::Enforce => 1,
                    },
                },
            },
            Key {
                name: "ban",
                about: &[
                    "How long the first ban of a source lasts. With \"ever\" somebody has to lift each ban by hand,",
                    "also that of an address which has long gone to somebody else.",
                ],
                default: "\"10m\"",
                form: Form::SpanOrEver { low: SECOND, high: YEAR, at: |c| &mut c.respond.ban },
            },
            Key {
                name: "growth",
                about: &[
                    "By what a ban is multiplied each time that its source comes back. 1: every ban is the same.",
                ],
                default: "2",
                form: Form::Factor { low: 1.0, high: 100.0, at: |c| &mut c.respond.growth },
            },
            Key {
                name: "ban_max",
                about: &["No ban grows longer than this. It does not shorten \"ever\"."],
                default: "\"7d\"",
                form: Form::Span { low: SECOND, high: YEAR, at: |c| &mut c.respond.ban_max },
            },
            Key {
                name: "memory",
                about: &["How long a source must stay away before it counts as new."],
                default: "\"30d\"",
                form: Form::Span { low: SECOND, high: YEAR, at: |c| &mut c.respond.memory },
            },
            Key {
                name: "unproved",
                about: &[
                    "What a scan costs that does not prove who sent it. Most don't: whoever scans closed ports can put",
                    "any address on his packets. With \"ban\" anybody can have your users, your customers or the",
                    "servers that you depend on banned by scanning in their name, and what stands is cut as well.",
                ],
                default: "\"hold\"",
                form: Form::Word {
                    words: &[
                        (
                            "hold",
                            "its new connections are dropped for a short time; what stands goes on, and answers arrive",
                        ),
                        ("ban", "everything of it is dropped, as of who is proved; forged scans hit friends"),
                    ],
                    set: |c, word| c.respond.unproved = [Unproved::Hold, Unproved::Ban][word],
                    get: |c| match c.respond.unproved {
                        Unproved::Hold => 0,
                        Unproved::Ban => 1,
                    },
                },
            },
            Key {
                name: "hold",
                about: &["How long the first hold of a source lasts. It grows as a ban does, counted apart."],
                default: "\"1m\"",
                form: Form::Span { low: SECOND, high: DAY, at: |c| &mut c.respond.hold },
            },
            Key {
                name: "hold_max",
                about: &[
                    "No hold grows longer than this: the longest time that a friend in whose name somebody scanned",
                    "has to wait until he can connect again.",
                ],
                default: "\"2m\"",
                form: Form::Span { low: SECOND, high: DAY, at: |c| &mut c.respond.hold_max },
            },
            Key {
                name: "keep_on_stop",
                about: &[
                    "Whether bans stay in the kernel when the program stops; there each still ends at its time.",
                ],
                default: "true",
                form: Form::Switch(|c| &mut c.respond.keep_on_stop),
            },
        ],
    },
    Section {
        name: "protect",
        about: "Who is never blocked, whatever asks for it. This host's own addresses always belong to them.",
        keys: &[
            Key {
                name: "allow",
                about: &[
                    "The allow list: addresses and networks of both families, and names of hosts. A name is looked up",
                    "every 5 minutes, leads to at most 16 single addresses, and is kept a day after it leads nowhere;",
                    "so long as it is not known, nobody is protected by it. At most 64 names.",
                ],
                default: "[]",
                form: Form::Friends(|c| (&mut c.protect.allow, &mut c.protect.names)),
            },
            Key {
                name: "interfaces",
                about: &["What comes in by these interfaces is not judged, such as wg0 or tailscale0."],
                default: "[]",
                form: Form::Names(NameKind::Interface, |c| &mut c.protect.interfaces),
            },
            Key {
                name: "gateways",
                about: &["Whether the default gateways are protected."],
                default: "true",
                form: Form::Switch(|c| &mut c.protect.gateways),
            },
            Key {
                name: "resolvers",
                about: &["Whether the name servers of /etc/resolv.conf are protected."],
                default: "true",
                form: Form::Switch(|c| &mut c.protect.resolvers),
            },
            Key {
                name: "time_servers",
                about: &["Whether the servers that chrony, ntpd and systemd-timesyncd ask are protected."],
                default: "true",
                form: Form::Switch(|c| &mut c.protect.time_servers),
            },
            Key {
                name: "logged_in",
                about: &[
                    "Whether the hosts from where somebody is logged in are protected, as long as he is: by logind, utmp",
                    "or sshd. Mind that whoever has an account can scan while he is logged in.",
                ],
                default: "true",
                form: Form::Switch(|c| &mut c.protect.logged_in),
            },
            Key {
                name: "containers",
                about: &[
                    "Whether the networks of this host's containers and virtual machines are protected: those of bridges",
                    "that no real card belongs to.",
                ],
                default: "true",
                form: Form::Switch(|c| &mut c.protect.containers),
            },
            Key {
                name: "brake",
                about: &[
                    "The brake: beyond so many automatic bans and holds a minute somebody forges scans, or the judge",
                    "errs. Then who is not proved gets the shortest hold, who is proved is banned as ever, and whoever",
                    "has a connection with this host is left alone and listed, until it is quiet again. 0: no brake.",
                ],
                default: "100",
                form: Form::Whole {
                    low: 0,
                    high: 1_000_000,
                    unit: "bans and holds a minute",
                    set: |c, number| c.protect.brake = number as u32,
                    get: |c| u64::from(c.protect.brake),
                },
            },
        ],
    },
    Section {
        name: "record",
        about: "What is kept.",
        keys: &[
            Key {
                name: "state",
                about: &[
                    "The directory of the store: bans in force, and what led to them. Only root may read it.",
                ],
                default: "\"/var/lib/portcullis\"",
                form: Form::Path(PATH, |c| &mut c.record.state),
            },
            Key {
                name: "keep",
                about: &[
                    "How long events are kept: what `portcullis events` and `portcullis report` can tell.",
                ],
                default: "\"90d\"",
                form: Form::Span { low: HOUR, high: DECADE, at: |c| &mut c.record.keep },
            },
            Key {
                name: "keep_mib",
                about: &[
                    "How much room they may take; beyond it the oldest go first. A million take some 150 MiB.",
                ],
                default: "256",
                form: Form::Whole {
                    low: 1,
                    high: 65_536,
                    unit: "MiB",
                    set: |c, number| c.record.keep_mib = number as u32,
                    get: |c| u64::from(c.record.keep_mib),
                },
            },
        ],
    },
    Section {
        name: "control",
        about: "Who may speak with the running program.",
        keys: &[
            Key {
                name: "socket",
                about: &["The control socket, where the other verbs reach the program."],
                default: "\"/run/portcullis/ctl.sock\"",
                form: Form::Path(SOCKET_PATH, |c| &mut c.control.socket),
            },
            Key {
                name: "group",
                about: &["The group that may read over it."],
                default: "\"portcullis\"",
                form: Form::Name(NameKind::Group, |c| &mut c.control.group),
            },
            Key {
                name: "operators",
                about: &["Users who may also change things over it, beside root."],
                default: "[]",
                form: Form::Names(NameKind::User, |c| &mut c.control.operators),
            },
        ],
    },
];

/// The section called `name`.
#[must_use]
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl<T> Section<T> {
    /// The key called `name`.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key<T>> {
        let keys: &'static [Key<T>] = self.keys;
        keys.iter().find(|key| key.name == name)
    }
}
