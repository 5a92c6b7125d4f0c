//! Users: their keys, and what they may have opened for whom and how long.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::cipher::Mode;
use super::envelope::Keys;
use super::message::{Guest, Message, Port, Request};
use super::refusal::Refusal;
use crate::net::{PortSet, Prefix, Protocol};
use crate::time::Wall;

/// What is weak and therefore must be asked for by name. Nothing of it is allowed by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weak {
    /// No HMAC: every junk packet is deciphered, and a passphrase is all that stands between a guess and the door.
    pub no_hmac: bool,
    /// Keys of fewer than 16 bytes; one recorded packet is enough to try passphrases at leisure.
    pub short_keys: bool,
    /// MD5 or SHA-1 for the HMAC.
    pub old_hmac: bool,
    /// Another mode than CBC.
    pub other_modes: bool,
    /// Command messages. They are only given back as data; who runs them is somebody else's decision.
    pub commands: bool,
}

/// One who may knock. Has no `Debug`, since it holds keys.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// As the configuration calls it.
    pub name: String,
    /// The keys that make a packet this user's.
    pub keys: Keys,
    /// What weak settings were asked for by name.
    pub weak: Weak,
    /// From where packets are taken, and for whom may be asked; empty is from everywhere and for everyone. (fwknop's
    /// SOURCE, which looks at the packet's source only.)
    pub from: Vec<Prefix>,
    /// The TCP ports that may be asked for.
    pub tcp: PortSet,
    /// The UDP ports that may be asked for.
    pub udp: PortSet,
    /// The name that must stand inside, if any (REQUIRE_USERNAME).
    pub required_name: Option<String>,
    /// Whether the address must stand inside (REQUIRE_SOURCE_ADDRESS). Without it a packet made with `-s` lets in
    /// whoever brings it first.
    pub require_address: bool,
    /// When the user's time is over.
    pub expires: Option<Wall>,
    /// How long is opened when the packet does not say, and how long at most.
    pub length: Length,
}

/// For how long is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// When the packet does not say, or says 0.
    pub usual: Duration,
    /// Whatever the packet says.
    pub most: Duration,
}

/// fwknopd's: 30 s, and at most 300 s (measured).
impl Default for Length {
    fn default() -> Length {
        Length { usual: Duration::from_secs(30), most: Duration::from_secs(300) }
    }
}

/// Why a user cannot be had as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserFault {
    /// No HMAC, not asked for.
    NoHmac,
    /// A key of fewer than 16 bytes, not asked for.
    ShortKey,
    /// MD5 or SHA-1, not asked for.
    OldHmac,
    /// Another mode than CBC, not asked for.
    OtherMode,
    /// A length of nothing, or a usual length beyond the longest.
    Length,
    /// Nothing may be asked for.
    NoPorts,
}

impl fmt::Display for UserFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UserFault::NoHmac => {
                "there is no HMAC key: without one, recorded packets can be taken apart and junk costs \
                the most; make one (fwknop --key-gen), or ask for it by name"
            }
            UserFault::ShortKey => {
                "a key has fewer than 16 bytes: one recorded packet is enough to guess it at leisure; \
                make a new one (fwknop --key-gen), or ask for it by name"
            }
            UserFault::OldHmac => {
                "the HMAC is made with MD5 or SHA-1; take sha256 on both sides, or ask for it by name"
            }
            UserFault::OtherMode => {
                "the cipher's mode is not CBC; take cbc on both sides, or ask for it by name"
            }
            UserFault::Length => "the usual length is nothing, or longer than the longest",
            UserFault::NoPorts => "no port may be asked for",
        })
    }
}

impl std::error::Error for UserFault {}

/// What a packet has opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Who may come in. Never multicast, never unspecified.
    pub address: IpAddr,
    /// To where; at least one port.
    pub ports: Vec<Port>,
    /// For how long.
    pub length: Duration,
}

/// What a packet is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// Ports for an address.
    Opening(Opening),
    /// A command, of a user who may say such things.
    Command {
        /// Who the packet is for; as careful as with an opening.
        address: IpAddr,
        /// What was said: printable ASCII, and nothing but data.
        command: String,
    },
}

impl User {
    /// Everything that is wrong with the user, so that it can be said in one go.
    #[must_use]
    pub fn faults(&self) -> Vec<UserFault> {
        let weak = self.weak;
        let hmac = self.keys.hmac();
        [
            (hmac.is_none() && !weak.no_hmac, UserFault::NoHmac),
            (self.keys.is_short() && !weak.short_keys, UserFault::ShortKey),
            (hmac.is_some_and(|digest| digest.is_old()) && !weak.old_hmac, UserFault::OldHmac),
            (self.keys.mode() != Mode::Cbc && !weak.other_modes, UserFault::OtherMode),
            (self.length.usual.is_zero() || self.length.usual > self.length.most, UserFault::Length),
            (self.tcp.is_empty() && self.udp.is_empty() && !weak.commands, UserFault::NoPorts),
        ]
        .into_iter()
        .filter_map(|(is_wrong, fault)| is_wrong.then_some(fault))
        .collect()
    }

    /// Whether packets from `source` are this user's at all.
    pub(super) fn may_send_from(&self, source: IpAddr) -> bool {
        self.from.is_empty() || self.from.iter().any(|prefix| prefix.contains(source))
    }

    /// What the message is good for, in fwknopd's order: name, address, NAT, command, ports.
    pub(super) fn grant(&self, now: Wall, source: IpAddr, message: &Message) -> Result<Granted, Refusal> {
        if self.expires.is_some_and(|end| now >= end) {
            return Err(Refusal::Expired);
        }
        if self.required_name.as_ref().is_some_and(|name| *name != message.user) {
            return Err(Refusal::WrongName);
        }
        let address = self.guest(source, message.guest)?;
        let ports = match &message.request {
            Request::Command(_) if !self.weak.commands => return Err(Refusal::Command),
            Request::Command(command) => return Ok(Granted::Command { address, command: command.clone() }),
            Request::Access(ports) => ports,
            Request::Forward(..) => return Err(Refusal::Forwarding),
            // A port led to itself is that port; anything else would need a rule that nobody here makes.
            Request::Redirect(ports, to) if ports.iter().all(|port| port.number == to.port) => ports,
            Request::Redirect(..) => return Err(Refusal::Redirection),
        };
        let is_allowed = |port: &Port| match port.protocol {
            Protocol::Tcp => self.tcp.contains(port.number),
            Protocol::Udp => self.udp.contains(port.number),
            Protocol::Sctp | Protocol::Icmp | Protocol::Ip => false,
        };
        if !ports.iter().all(is_allowed) {
            return Err(Refusal::PortNotAllowed);
        }
        let asked = message.timeout.filter(|seconds| *seconds > 0);
        let length = asked.map_or(self.length.usual, |seconds| Duration::from_secs(u64::from(seconds)));
        let mut ports = ports.clone();
        ports.sort_unstable();
        ports.dedup();
        Ok(Granted::Opening(Opening { address, ports, length: length.min(self.length.most) }))
    }

    /// Whom the door is opened for.
    ///
    /// A private address can be named only by who has it: from elsewhere it would be that of somebody behind the
    /// guest's NAT, or a stranger with the same one on our side.
    fn guest(&self, source: IpAddr, guest: Guest) -> Result<IpAddr, Refusal> {
        let source = source.to_canonical();
        let address = match guest {
            Guest::Source if self.require_address => return Err(Refusal::SourceRequired),
            Guest::Source => source,
            Guest::Address(address) => address,
        };
        if !can_be_a_host(address) {
            Err(Refusal::NotAHost)
        } else if address != source && is_private(address) {
            Err(Refusal::PrivateAddress)
        } else if !self.may_send_from(address) {
            Err(Refusal::AddressNotAllowed)
        } else {
            Ok(address)
        }
    }
}

/// Whether one host can have this address and come from it (RFC 6890; ff00::/8 and :: for IPv6).
fn can_be_a_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] != 0 && address.octets()[0] < 224,
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_multicast(),
    }
}

/// Addresses that mean somebody else on the other side of a NAT or a link: RFC 1918, 6598 (carriers), 3927 and 4291
/// (link-local), 4193 (unique local), loopback.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let is_carriers =
                Prefix::containing(Ipv4Addr::new(100, 64, 0, 0).into(), 10).contains(address.into());
            address.is_private() || address.is_loopback() || address.is_link_local() || is_carriers
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}
