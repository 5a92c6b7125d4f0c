//! What doors are, as the kernel sees them; each value can only be made right.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::net::{PortSet, Prefix};

/// More doors are refused: so many still fit into one batch, and nobody has so many.
const MOST_DOORS: usize = 256;
/// More ranges of ports in all doors together are refused: each takes a rule, or two.
const MOST_RANGES: usize = 1024;
/// The longest name of a door, in bytes.
const LONGEST_NAME: usize = 64;
/// `IFNAMSIZ` of `include/uapi/linux/if.h` less its NUL.
const LONGEST_INTERFACE_NAME: usize = 15;

/// The name of a door, which becomes part of names of sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DoorName(String);

impl DoorName {
    /// 1 to 64 letters, digits, `_`, `-` or `.`.
    ///
    /// # Errors
    /// [`DoorFault::Name`].
    pub fn new(name: &str) -> Result<DoorName, DoorFault> {
        let is_name = (1..=LONGEST_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if is_name { Ok(DoorName(name.to_owned())) } else { Err(DoorFault::Name(name.to_owned())) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a network interface. The interface need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// 1 to 15 bytes, neither blanks nor `/` nor NUL (`dev_valid_name` of `net/core/dev.c`).
    ///
    /// # Errors
    /// [`DoorFault::Interface`].
    pub fn new(name: &str) -> Result<InterfaceName, DoorFault> {
        let is_name = (1..=LONGEST_INTERFACE_NAME).contains(&name.len())
            && !name.bytes().any(|byte| byte.is_ascii_whitespace() || byte == b'/' || byte == 0);
        if is_name { Ok(InterfaceName(name.to_owned())) } else { Err(DoorFault::Interface(name.to_owned())) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One bit of the packet mark, by which a rule of another firewall can tell guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u32);

impl Mark {
    /// `value` has exactly one bit set.
    ///
    /// # Errors
    /// [`DoorFault::Mark`].
    pub fn new(value: u32) -> Result<Mark, DoorFault> {
        if value.is_power_of_two() { Ok(Mark(value)) } else { Err(DoorFault::Mark(value)) }
    }

    /// The mark with this one bit.
    #[must_use]
    pub fn value(self) -> u32 {
        self.0
    }
}

/// One door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorRules {
    /// Its name.
    pub name: DoorName,
    /// At these, strangers can begin no connection.
    pub tcp: PortSet,
    /// At these, nothing of strangers arrives.
    pub udp: PortSet,
    /// What its guests' first packets (TCP: SYN without ACK; UDP: each) are marked with.
    pub mark: Option<Mark>,
}

/// All doors, and whom none of them shuts out besides packets on the loopback interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doors {
    doors: Vec<DoorRules>,
    /// Prefixes that pass every door.
    ///
    /// Not the sets `allowed4` and `allowed6`: these also hold gateways, resolvers, who is logged in, and guests of
    /// one door inside a banned network. None of them may be banned, but that doesn't make them guests of every
    /// door: behind a gateway that translates addresses is the world. The caller names his friends.
    pub friends: Vec<Prefix>,
    /// Interfaces where everybody passes every door.
    pub trusted: Vec<InterfaceName>,
    /// Whether packets to other hosts, which this one only forwards, pass. Without it nobody behind this host (a
    /// container, a machine in its LAN) reaches the doors' ports anywhere, save as a guest of ours.
    ///
    /// What counts is the address before any DNAT, so that published ports of containers stay shut. Leave it off
    /// where this host takes packets to addresses that are not in its table `local`: with a VRF, or TPROXY.
    pub spares_forwarded: bool,
}

impl Doors {
    /// Doors with friends and trusted interfaces still to be named. Several may have the same port: a packet passes if
    /// one of them has its source as a guest.
    ///
    /// # Errors
    /// [`DoorFault::Twice`], [`DoorFault::TooMany`], [`DoorFault::TooManyRanges`].
    pub fn new(doors: Vec<DoorRules>) -> Result<Doors, DoorFault> {
        if doors.len() > MOST_DOORS {
            return Err(DoorFault::TooMany(doors.len()));
        }
        let ranges = doors.iter().map(|door| door.tcp.ranges().len() + door.udp.ranges().len()).sum();
        if ranges > MOST_RANGES {
            return Err(DoorFault::TooManyRanges(ranges));
        }
        let mut names: Vec<&DoorName> = doors.iter().map(|door| &door.name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(DoorFault::Twice(twice[0].0.clone()));
        }
        Ok(Doors { doors, ..Doors::default() })
    }

    /// The doors, in the order in which they were given.
    #[must_use]
    pub fn doors(&self) -> &[DoorRules] {
        &self.doors
    }

    /// All bits that doors mark with.
    pub(super) fn marks(&self) -> u32 {
        self.doors.iter().filter_map(|door| door.mark).fold(0, |marks, mark| marks | mark.0)
    }
}

/// Somebody whom a door lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Which door.
    pub door: DoorName,
    /// Who.
    pub address: IpAddr,
    /// After this time, counted from the moment the kernel takes it, the kernel shuts him out; `None` is never. As for
    /// [`super::Element`], 10 ms at least.
    pub remaining: Option<Duration>,
}

/// The guests that the kernel knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guests {
    /// By door, in the doors' order.
    pub guests: Vec<Guest>,
    /// Whether nothing changed in nftables while they were read; see `Held::is_settled`.
    pub is_settled: bool,
}

/// Packets that a rule has matched since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes, with the IP header.
    pub bytes: u64,
}

/// What a door has done since the doors were last made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorTraffic {
    /// Which door.
    pub door: DoorName,
    /// First packets of its guests.
    pub guests: Traffic,
    /// Packets of strangers; at a port of several doors they count for the first one.
    pub shut_out: Traffic,
}

/// Why doors can't be made as they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoorFault {
    /// No name for a door.
    Name(String),
    /// Two doors have this name.
    Twice(String),
    /// So many doors.
    TooMany(usize),
    /// So many separate ranges of ports.
    TooManyRanges(usize),
    /// Not one single bit.
    Mark(u32),
    /// No name for an interface.
    Interface(String),
}

impl fmt::Display for DoorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DoorFault::Name(name) => {
                write!(f, "not a name for a door: {name:?}; write 1 to 64 letters, digits, '_', '-' or '.'")
            }
            DoorFault::Twice(name) => write!(f, "two doors are called {name:?}; give one another name"),
            DoorFault::TooMany(count) => {
                write!(f, "{count} doors are too many; at most {MOST_DOORS} can be made")
            }
            DoorFault::TooManyRanges(count) => write!(
                f,
                "the doors have {count} separate ranges of ports; at most {MOST_RANGES} can be shut: write wider ranges"
            ),
            DoorFault::Mark(value) => write!(
                f,
                "not one single bit of a packet mark: {value:#x}; write 0x1 to 0x80000000 with one bit set"
            ),
            DoorFault::Interface(name) => {
                write!(
                    f,
                    "not a name for an interface: {name:?}; write 1 to 15 characters without blanks and '/'"
                )
            }
        }
    }
}

impl std::error::Error for DoorFault {}
