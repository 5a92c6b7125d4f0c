//! The rules of everybody that are in force: what another table would do with a packet can be worked out from them.
//!
//! Only read, never changed; iptables-nft's tables are among them, its own matches as far as they are known
//! ([`Test`]). Nothing here decides anything: the program walks the rules. Reading costs a millisecond for some hundred
//! rules and has ceilings, so that a ruleset of any size takes bounded room; it belongs on the slow path. Needs
//! CAP_NET_ADMIN.

mod expressions;
mod numbers;
mod read;
mod xtables;

use std::collections::BTreeMap;

pub use self::read::{MOST_ELEMENTS, MOST_RULES, ruleset};

/// The rules in force, without those of bridges and of ARP, and without tables that are switched off (`dormant`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// All chains, with their rules.
    pub chains: Vec<Chain>,
    /// The sets that rules ask.
    pub sets: BTreeMap<SetName, Set>,
    /// Tables that only the process which made them may change.
    pub owned: Vec<(Family, String)>,
}

/// What packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// What comes in on single interfaces.
    Netdev,
}

impl Family {
    /// As `nft` writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
            Family::Netdev => "netdev",
        }
    }
}

/// Which set: its table's family and name, and its own.
pub type SetName = (Family, String, String);

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its table's.
    pub family: Family,
    /// Its table. Whoever made it chose the name: escape it on a terminal. The same of all names here.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where packets come into it; `None` if only from other chains.
    pub base: Option<Base>,
    /// In their order.
    pub rules: Vec<Rule>,
    /// Whether rules are missing, because there are more than [`MOST_RULES`].
    pub is_cut: bool,
}

/// The place of a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// At which hook.
    pub hook: Hook,
    /// In which order at that hook, lowest first.
    pub priority: i32,
    /// Whether what comes to its end is dropped.
    pub drops: bool,
    /// Whether it only sees the first packet of a connection, and translates.
    pub is_nat: bool,
    /// Of which interfaces, at ingress.
    pub devices: Vec<String>,
}

/// Where packets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// As they come in on an interface.
    Ingress,
    /// Before it is known where they go.
    Prerouting,
    /// To this host.
    Input,
    /// Through it.
    Forward,
    /// From it.
    Output,
    /// As they leave.
    Postrouting,
}

impl Hook {
    /// As `nft` writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Hook::Ingress => "ingress",
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// By which `nft delete rule … handle` knows it.
    pub handle: u64,
    /// In their order.
    pub expressions: Vec<Expression>,
}

/// Where in the registers (64 bytes): the first byte.
pub type Register = usize;

/// What a rule does, one after the other; the first test that fails ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Something about the packet into a register.
    Load {
        /// Where to.
        into: Register,
        /// What.
        field: Field,
    },
    /// A value into a register.
    Value {
        /// Where to.
        into: Register,
        /// What.
        value: Vec<u8>,
    },
    /// `(it & mask) ^ flip`.
    Bitwise {
        /// From where.
        from: Register,
        /// Where to.
        into: Register,
        /// As long as what it is about.
        mask: Vec<u8>,
        /// The same.
        flip: Vec<u8>,
    },
    /// The order of bytes is turned round, on machines where it differs from that of the network.
    ByteOrder {
        /// From where.
        from: Register,
        /// Where to.
        into: Register,
        /// How many bytes in all.
        length: usize,
        /// How many bytes a number has.
        size: usize,
    },
    /// Is it so, byte by byte from the first?
    Compare {
        /// What.
        register: Register,
        /// How.
        how: Comparison,
        /// With what.
        value: Vec<u8>,
    },
    /// Is it between these, or neither below nor above them?
    Range {
        /// What.
        register: Register,
        /// Whether it is to be outside.
        is_outside: bool,
        /// The lowest.
        from: Vec<u8>,
        /// The highest.
        to: Vec<u8>,
    },
    /// Is it in the set?
    Lookup {
        /// What.
        register: Register,
        /// Which set of the same table.
        set: String,
        /// Whether it is to be absent.
        is_inverted: bool,
        /// What the set says of it goes here.
        into: Option<Destination>,
    },
    /// iptables' own tests.
    Test {
        /// What.
        test: Test,
        /// Whether it is to fail.
        is_inverted: bool,
    },
    /// A limit that is kept as long as little comes: true below it.
    Limit {
        /// Whether only what is beyond it passes.
        is_over: bool,
    },
    /// A register goes into the packet's mark.
    SetMark {
        /// From where.
        from: Register,
    },
    /// The packet's mark becomes `(mark & keep) ^ flip`.
    ChangeMark {
        /// Bits that stay.
        keep: u32,
        /// Bits that turn round.
        flip: u32,
    },
    /// The connection's mark becomes the packet's: `(mark & keep) ^ (connection & mask)`.
    RestoreMark {
        /// Bits of the packet's mark that stay.
        keep: u32,
        /// Bits of the connection's that count.
        mask: u32,
    },
    /// The connection is not tracked.
    NoTrack,
    /// The destination becomes another.
    Translate {
        /// The new address; the old one stays without.
        address: Option<Place>,
        /// The new port; the old one stays without.
        port: Option<Place>,
        /// Whether the new address is this host's own on the interface where the packet came in.
        is_redirect: bool,
    },
    /// What becomes of the packet.
    Verdict(Verdict),
    /// Counters, logs: nothing becomes of the packet by it.
    Nothing,
    /// Something that is not understood here; its name.
    Unknown(String),
}

/// A value that a rule names itself, or has in a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Here.
    Register(Register),
    /// This.
    Value(Vec<u8>),
}

/// Where the value of a map goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Into a register.
    Register(Register),
    /// It is the verdict.
    Verdict,
}

/// Something about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `enum nft_meta_keys`.
    Meta(u32),
    /// `enum nft_ct_keys`, of the connection; in which direction, if that is asked.
    Connection(u32, Option<u8>),
    /// Bytes of the network header.
    Network {
        /// From which byte on.
        offset: usize,
        /// How many.
        length: usize,
    },
    /// Bytes of the transport header.
    Transport {
        /// From which byte on.
        offset: usize,
        /// How many.
        length: usize,
    },
    /// What the routes say of an address.
    Route {
        /// `enum nft_fib_result`: 1 the interface's number, 2 its name, 3 the kind of address.
        result: u32,
        /// `enum nft_fib_flags`: 1 the source, 2 the destination; 32 whether there is one.
        flags: u32,
    },
    /// Not known here.
    Other,
}

/// How two are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// iptables' own tests, where `iptables-nft` does not say them in nftables' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// One of these ports.
    Ports {
        /// The source's.
        of_source: bool,
        /// The destination's; with both either.
        of_destination: bool,
        /// From, to.
        ranges: Vec<(u16, u16)>,
    },
    /// TCP flags: `flags & mask == value`.
    Flags {
        /// Which.
        mask: u8,
        /// As these.
        value: u8,
    },
    /// The connection's state is one of these bits: 1 invalid, 2 established, 4 related, 8 new, 64 source translated,
    /// 128 destination translated, 256 untracked.
    State(u16),
    /// The port that the connection's first packet went to.
    OriginalPort(u16, u16),
    /// `mark & mask == value`.
    Mark {
        /// Which bits.
        mask: u32,
        /// As these.
        value: u32,
    },
    /// The kind of an address, as bits of `RTN_…`; 0 is any.
    AddressKind {
        /// Of the source.
        source: u16,
        /// Of the destination.
        destination: u16,
        /// Whether the source's is to be another.
        is_source_inverted: bool,
        /// Whether the destination's is to be another.
        is_destination_inverted: bool,
    },
    /// `PACKET_HOST` and so on.
    PacketKind(u8),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves the base chain.
    Accept,
    /// It is gone, with or without an answer.
    Drop,
    /// It goes on in a program.
    Queue,
    /// The next rule.
    Continue,
    /// Back to where the chain was called, or on to the policy.
    Return,
    /// Into this chain and back.
    Jump(String),
    /// Into this chain.
    Goto(String),
}

/// A set or map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// How long its keys are, in bytes.
    pub key_length: usize,
    /// Whether keys are ranges.
    pub is_of_intervals: bool,
    /// The lengths of what its keys are made of, each filled up to four bytes; empty for a single one.
    pub fields: Vec<usize>,
    /// In no order.
    pub elements: Vec<SetElement>,
    /// Whether elements are missing, because there are more than [`MOST_ELEMENTS`].
    pub is_cut: bool,
}

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetElement {
    /// Its key, or the lowest.
    pub key: Vec<u8>,
    /// The highest, in sets with several fields.
    pub key_end: Option<Vec<u8>>,
    /// Whether a range ends before this key, rather than begins with it.
    pub is_end: bool,
    /// Whether it is for everything that has no other.
    pub is_for_all: bool,
    /// What the map says.
    pub data: Option<Data>,
}

/// What a map says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A value.
    Value(Vec<u8>),
    /// A verdict.
    Verdict(Verdict),
}

/// Every parser of this room; see [`crate::netlink::read_anything`].
pub(crate) fn read_anything(body: &[u8]) {
    read::read_anything(body);
}
