//! The whole vocabulary between the engine and the program, on one page: what comes out ([`Action`]), and what is
//! written down ([`Record`]).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::door::{self, DoorId, Name, Spending};
pub use crate::judge::evidence::Receipt;
use crate::net::{Prefix, Protocol};
use crate::policy::Block;
use crate::scan::Contact;
use crate::time::Wall;

/// What the program must do now. Closed and typed: nothing in here is ever interpreted as a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put these into the kernel in one batch, replacing the time-out of those that are there; answer with
    /// [`crate::engine::Engine::enforced`].
    Enforce(Vec<Block>),
    /// Take these out of the kernel; one that is not there is no fault.
    Release(Vec<Prefix>),
    /// Never drop these, whatever the sets say: the allow list as it is now, whole.
    Allow(Vec<Allowance>),
    /// Open `door` for `address`, in the kernel and by commands; answer with
    /// [`crate::engine::Engine::door_answered`].
    Open {
        /// Which, by its place in the configuration.
        door: DoorId,
        /// Its name.
        name: Name,
        /// For whom: one address.
        address: IpAddr,
        /// How long from now; `None` where nothing is kept open and nothing will be shut.
        remaining: Option<Duration>,
        /// Whether it was told before, and only the time has changed, or it is said again (after a restart, or since
        /// it was lost): whatever is done once for an opening (a start command) is done already. Not so where it was
        /// refused before, as a whole or in part.
        is_refresh: bool,
    },
    /// Shut `door` for `address`; one that is not open is no fault. Answer with
    /// [`crate::engine::Engine::door_answered`].
    Shut {
        /// Which, by its place in the configuration; [`DoorId::GONE`] if it is not in there any more.
        door: DoorId,
        /// Its name.
        name: Name,
        /// For whom.
        address: IpAddr,
        /// How many other openings it still has: a door that opens for everyone is shut with the last of them.
        left: usize,
        /// Whether sessions may be cut, where the door is configured to: not by the program's own end.
        may_cut: bool,
    },
    /// Have this on the disk as used up, then answer with [`crate::engine::Engine::spent`]; the door opens only then.
    Spend {
        /// Which door.
        door: DoorId,
        /// Its name.
        name: Name,
        /// What.
        which: Spending,
    },
    /// Write this down.
    Record(Record),
}

/// One entry of the allow list as the kernel holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Who.
    pub prefix: Prefix,
    /// How long from now; `None` is for ever.
    pub remaining: Option<Duration>,
}

/// The end of a ban or an allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// It ends then.
    At(Wall),
    /// It has no end; an operator said so by this word.
    Ever,
}

/// Number of a ban or a scan, unique within one store; printed as `b-7f3a` or `s-7f3a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

/// How a contact looks, as the field names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A SYN; refused, unanswered or half-open.
    Syn,
    /// A finished handshake.
    Connect,
    /// FIN alone.
    Fin,
    /// No flag at all.
    Null,
    /// FIN, PSH and URG.
    Xmas,
    /// FIN and ACK outside any connection.
    Maimon,
    /// A datagram.
    Udp,
    /// ACK without SYN, FIN or RST outside any connection: nmap's ACK and Window scans, which are the same packets.
    Ack,
    /// An SCTP INIT, or a COOKIE ECHO that nobody has a cookie for.
    Sctp,
    /// Any other mix of flags that no stack sends.
    Flags,
    /// Cut up so that nobody reads it on the way: a transport header in several fragments, fragments that contradict
    /// each other, more headers than anybody honest sends. Where the ports can't be read, such a probe counts as a port
    /// of its own, and no record names one ([`Contact::is_out_of_sight`]); where they can, this kind is told beside the
    /// one that the packet has.
    Fragments,
    /// A protocol of IP that nobody here speaks.
    IpProtocol,
    /// An ICMP question (echo, timestamp, address mask), as one of several to different addresses.
    IcmpSweep,
}

impl Kind {
    /// The name in records (`kinds` of a `scan` line).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Syn => "syn",
            Kind::Connect => "connect",
            Kind::Fin => "fin",
            Kind::Null => "null",
            Kind::Xmas => "xmas",
            Kind::Maimon => "maimon",
            Kind::Udp => "udp",
            Kind::Sctp => "sctp",
            Kind::Flags => "flags",
            Kind::Ack => "ack",
            Kind::Fragments => "fragments",
            Kind::IpProtocol => "ip-protocol",
            Kind::IcmpSweep => "icmp-sweep",
        }
    }
}

/// The outline of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Several ports of one address.
    Vertical,
    /// One port of several addresses.
    Horizontal,
    /// Several ports of several addresses.
    Block,
    /// Any of these at a pace of [`crate::scan::incidents::SLOW`] or more from one probe to the next.
    Slow,
    /// The same probes in several names at the same moment: who of them sent them can't be told.
    Decoy,
    /// One scan, dealt out to many sources.
    Distributed,
}

impl Shape {
    /// The name in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Shape::Vertical => "vertical",
            Shape::Horizontal => "horizontal",
            Shape::Block => "block",
            Shape::Slow => "slow",
            Shape::Decoy => "decoy",
            Shape::Distributed => "distributed",
        }
    }
}

/// Whether scanners are banned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Only tell what would have been done.
    #[default]
    Observe,
    /// Do it.
    Enforce,
}

impl Mode {
    /// The one that holds when this one ends by itself.
    #[must_use]
    pub fn other(self) -> Mode {
        match self {
            Mode::Observe => Mode::Enforce,
            Mode::Enforce => Mode::Observe,
        }
    }

    /// The name in records, in the configuration and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mode::Observe => "observe",
            Mode::Enforce => "enforce",
        }
    }
}

/// How much of a source is shut out. Only [`crate::policy`] says who gets which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// It begins nothing new; what stands goes on, and so do answers to our own packets. For sources whose address is
    /// not proved: somebody else may have scanned in their name.
    Held,
    /// Nothing of it arrives.
    Banned,
}

impl How {
    /// The word in records (`how` of a `ban` line) and lists.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            How::Held => "held",
            How::Banned => "banned",
        }
    }
}

/// What was decided about a scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is banned.
    Block,
    /// It is held: its address is not proved.
    Hold,
    /// It would have been banned, had the mode been `enforce`.
    Observe,
    /// It may not be banned, for this reason.
    Protected(Protection),
}

/// Why an address may never be blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protection {
    /// An address of this host.
    Own,
    /// A default gateway.
    Gateway,
    /// A configured resolver.
    Resolver,
    /// A time server in use.
    TimeServer,
    /// The remote end of a login session.
    LoggedIn,
    /// A network of this host's own containers or virtual machines.
    OwnNetwork,
    /// The allow list of the configuration.
    Allowed,
    /// A name of the allow list of the configuration leads to it.
    AllowedName,
    /// Allowed by an operator while running.
    AllowedByHand,
    /// A door is open to him, and his knock can't be sniffed and replayed.
    Guest,
    /// In a network that this host looks after (`[watch] protect`).
    LookedAfter,
    /// Unspecified, loopback, multicast or broadcast: nobody's own address.
    Special,
    /// It has a connection with this host, and the brake is on ([`crate::engine::brake`]).
    Peer,
}

impl Protection {
    /// For people: completes "… is".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Protection::Own => "an address of this host",
            Protection::Gateway => "a default gateway",
            Protection::Resolver => "a configured resolver",
            Protection::TimeServer => "a time server in use",
            Protection::LoggedIn => "where somebody is logged in from",
            Protection::OwnNetwork => "a network of this host's containers or virtual machines",
            Protection::AllowedName => "what a name on the configured allow list leads to",
            Protection::Guest => "a guest to whom a door is open",
            Protection::Allowed => "on the configured allow list",
            Protection::AllowedByHand => "allowed by hand",
            Protection::LookedAfter => "in a network that [watch] protect names",
            Protection::Special => "a special address (unspecified, loopback, multicast or broadcast)",
            Protection::Peer => "connected with this host, and the brake is on",
        }
    }
}

/// Where a ban comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The judge found a scan.
    Scan {
        /// Its number.
        id: Id,
        /// What it was, in words: `5 SYN probes to 5 closed TCP ports in 1 ms`.
        why: String,
    },
    /// One event was enough: sources are judged one by one ([`crate::engine::singly`]).
    Probe {
        /// The event's transport.
        protocol: Protocol,
        /// The port that it was aimed at; a response by command may name it.
        port: u16,
        /// What it was, in words: `SYN probe to TCP port 111`.
        why: String,
    },
    /// An operator, with his reason where he gave one.
    Operator {
        /// His words, escaped before they are shown.
        why: String,
    },
    /// It stood in the kernel's sets when the program looked, and the store did not know it.
    FoundInForce,
}

impl Cause {
    /// Whether nobody asked for it by hand.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        matches!(self, Cause::Scan { .. } | Cause::Probe { .. })
    }
}

/// Something worth writing down.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When it happened.
    pub time: Wall,
    /// What happened.
    pub what: What,
}

/// What a record tells.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A scanner was found, or (with `is_ended`) has gone quiet.
    Scan(Scan),
    /// One event, where they are told one by one.
    Probe {
        /// What came.
        contact: Contact,
        /// What became of it.
        fate: Fate,
    },
    /// A ban is in force (or could not be put in force).
    Ban(Ban),
    /// A ban has ended.
    Unban {
        /// Which.
        id: Id,
        /// Whose.
        prefix: Prefix,
        /// Whether it was a hold.
        how: How,
        /// How it came to its end.
        why: Ending,
    },
    /// An operator allowed, or no longer allows, a prefix.
    Allow {
        /// Whom.
        prefix: Prefix,
        /// Until when; `None` where the allowance was taken back.
        until: Option<Until>,
    },
    /// A block was asked for and refused.
    Refused {
        /// Of whom.
        prefix: Prefix,
        /// Because of whom.
        protected: Prefix,
        /// Why that one is protected.
        why: Protection,
    },
    /// Bans, or guests of doors, were missing from the kernel and are sent again; one that the kernel refuses tells so
    /// by itself.
    Repair {
        /// How many bans.
        bans: usize,
        /// How many guests.
        guests: usize,
    },
    /// A mode that was to hold for a while has come to its end.
    TrialOver {
        /// Which holds from now on.
        mode: Mode,
    },
    /// The brake was put on, or has let go.
    Brake(Brake),
    /// Something happened at a door.
    Door {
        /// Which.
        door: Name,
        /// What.
        event: door::Event,
    },
    /// Something went wrong that a person should know.
    Fault(Fault),
}

/// What the brake tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brake {
    /// Whether it is on now.
    pub is_on: bool,
    /// How many automatic bans and holds a minute it lets pass.
    pub limit: u32,
    /// How many there were while it was on; 0 when it was put on just now.
    pub blocks: u64,
    /// Whom it has kept back: connected with this host when they were found scanning. Cut at
    /// [`crate::engine::brake::KEPT_BACK`].
    pub kept_back: Vec<Prefix>,
}

/// What became of one event, where they are told one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its source is never blocked, and was not counted.
    Protected(Protection),
    /// It was counted; its source has caused too few so far.
    Counted,
    /// It would have led to a block, had that been asked for.
    OnlyTold {
        /// Whether it is the first one of its source.
        is_first: bool,
    },
    /// It leads to a block, which begins now.
    Blocked,
    /// Its source is blocked, or about to be, by an earlier one.
    BlockedBefore,
}

/// Of several sources that scan as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Together {
    /// The number that all of them have in common.
    pub incident: Id,
    /// How many they were when this was told.
    pub sources: usize,
}

/// One source that was found scanning.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// The scan's number.
    pub id: Id,
    /// One address.
    pub source: IpAddr,
    /// What was judged: the address, or the /64 that it lies in.
    pub prefix: Prefix,
    /// Which transports, sorted.
    pub protocols: Vec<Protocol>,
    /// Which kinds, sorted.
    pub kinds: Vec<Kind>,
    /// The outline.
    pub shape: Shape,
    /// With whom it scans, where that is seen.
    pub together: Option<Box<Together>>,
    /// How many own addresses were probed.
    pub targets: usize,
    /// The distinct ports, sorted; cut at [`crate::scan::incidents::PORTS_KEPT`].
    pub ports: Vec<u16>,
    /// Steps of doors that were among them, sorted; their ports are not told.
    pub steps: Vec<(Name, u8)>,
    /// How many probes counted.
    pub probes: u64,
    /// The first of them.
    pub first: Wall,
    /// The last of them.
    pub last: Wall,
    /// What was decided.
    pub decision: Decision,
    /// What the verdict rests on, where it was weighed and not only counted.
    pub receipt: Option<Arc<Receipt>>,
    /// How long the ban is, or would be (`Some(None)` is for ever); `None` where there is none.
    pub ban: Option<Option<Duration>>,
    /// Whether this is the last word on a scan that was reported before.
    pub is_ended: bool,
}

/// One ban, as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Ban {
    /// Its number.
    pub id: Id,
    /// Whose.
    pub prefix: Prefix,
    /// How much is shut out.
    pub how: How,
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub since: Wall,
    /// Until when.
    pub until: Until,
    /// How far it has got.
    pub state: BanState,
    /// Which time this is for the prefix, from 1; holds are counted apart from bans.
    pub times: u32,
    /// When somebody let it in before its time, where that is remembered: the count has begun anew then.
    pub pardoned: Option<Wall>,
}

impl Ban {
    /// Whether nobody asked for it by hand. Nobody holds by hand.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        self.how == How::Held || self.cause.is_automatic()
    }
}

/// How far a ban has got on its way into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanState {
    /// Sent, not yet acknowledged.
    Pending,
    /// Acknowledged by the kernel.
    InForce,
    /// Acknowledged by the kernel, and refused by the store: a reboot would forget it.
    Unsaved,
    /// Refused by the kernel; it is tried again.
    Failed,
}

impl BanState {
    /// The words in records and lists.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            BanState::Pending => "pending",
            BanState::InForce => "in force",
            BanState::Unsaved => "in force, unsaved",
            BanState::Failed => "not in force",
        }
    }
}

/// How a ban came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its time was over.
    Expired,
    /// An operator took it back.
    Operator,
    /// Blocking was switched off, and it was an automatic one.
    Observe,
    /// It has become protected since.
    Protected,
    /// The ledger was full, and it was the next to end anyway.
    Evicted,
    /// A longer or wider ban took its place.
    Replaced,
    /// It could not be put in force, however often that was tried.
    GivenUp,
    /// Its source has knocked in a way that proves him.
    Pardoned,
}

impl Ending {
    /// The word in records.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Ending::Expired => "expired",
            Ending::Operator => "by hand",
            Ending::Observe => "observing now",
            Ending::Protected => "protected now",
            Ending::Evicted => "ledger full",
            Ending::Replaced => "replaced",
            Ending::GivenUp => "given up",
            Ending::Pardoned => "pardoned by a knock",
        }
    }
}

/// Something went wrong that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The kernel refused bans; they are tried again.
    NotEnforced {
        /// How many.
        bans: usize,
        /// The kernel's answer, for people.
        answer: String,
    },
    /// The kernel refused to take something out, or to change the allow list.
    NotChanged {
        /// The kernel's answer, for people.
        answer: String,
    },
}
