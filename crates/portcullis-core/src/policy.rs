//! What may be done to whom. The allow list has its last word here, and only this room can build a [`Block`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::event::{How, Protection};
use crate::net::Prefix;

/// The right to block one prefix: made by policy alone, so that nobody passes the allow list by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    prefix: Prefix,
    how: How,
    remaining: Option<Duration>,
}

impl Block {
    /// Whom.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// How much.
    #[must_use]
    pub fn how(&self) -> How {
        self.how
    }

    /// How long from now; `None` is for ever.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.remaining
    }
}

/// A block was refused, since this prefix is protected for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protected {
    /// Whom it would have hit.
    pub prefix: Prefix,
    /// Why that may not be.
    pub why: Protection,
}

/// The addresses that are ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Local {
    /// Whatever a packet is for, it is for us: a capture that says nothing of its host.
    #[default]
    Any,
    /// These.
    Addresses(BTreeSet<IpAddr>),
}

/// What the host looks like from outside; told anew whenever it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Own addresses, of every interface.
    pub local: Local,
    /// Directly connected networks, whose members are judged one by one.
    pub connected: Vec<Connected>,
    /// Whom the host needs, or who is at home on it, each with the reason; the first reason for a prefix is told.
    pub friends: Vec<Friend>,
    /// Interfaces whose traffic is not judged, by index.
    pub trusted: Vec<u32>,
    /// Ports that the own stack chooses for outgoing connections, inclusive.
    pub ephemeral: (u16, u16),
    /// Networks of others whose traffic is judged too (`[watch] protect`), and whose hosts are never blocked.
    pub protect: Vec<Prefix>,
}

/// A directly connected network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connected {
    /// Its addresses.
    pub network: Prefix,
    /// The interface that leads there, by index; 0 where that is not known (a capture).
    pub interface: u32,
}

/// Somebody who may not be blocked, as the host itself shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Friend {
    /// Who.
    pub prefix: Prefix,
    /// Why.
    pub why: Protection,
}

/// Linux's default of `net.ipv4.ip_local_port_range`.
pub const EPHEMERAL: (u16, u16) = (32768, 60999);

/// The rules.
#[derive(Default)]
pub struct Policy {
    surroundings: Surroundings,
    /// The friends among [`Surroundings::friends`] that are one address: there may be hundreds, and every ban asks.
    friends: BTreeMap<IpAddr, Protection>,
    /// Those that are networks: few.
    friendly: Vec<Friend>,
    allow: Vec<Prefix>,
    by_hand: Vec<Prefix>,
    guests: BTreeSet<IpAddr>,
    /// IPv6 /64s that somebody protected shares with strangers: their members are judged one by one.
    shared: BTreeSet<Prefix>,
    /// Networks where whoever configured us knows that each address is somebody else.
    apart: Vec<Prefix>,
}

impl Policy {
    /// What the host looks like.
    #[must_use]
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// The host looks like this now.
    pub fn surround(&mut self, surroundings: Surroundings) {
        self.friends.clear();
        self.friendly.clear();
        for friend in &surroundings.friends {
            if friend.prefix.is_single() {
                self.friends.entry(friend.prefix.address()).or_insert(friend.why);
            } else {
                self.friendly.push(*friend);
            }
        }
        self.surroundings = surroundings;
        self.find_shared();
    }

    /// A door is open to `guest` who has proved his address and his secret, or is not any more.
    pub fn welcome(&mut self, guest: IpAddr, is_in: bool) {
        let has_changed = if is_in { self.guests.insert(guest) } else { self.guests.remove(&guest) };
        if has_changed && guest.is_ipv6() {
            self.find_shared();
        }
    }

    /// The configured allow list is this now.
    pub fn allow(&mut self, prefixes: Vec<Prefix>) {
        self.allow = prefixes;
        self.find_shared();
    }

    /// The allow list made by hand is this now.
    pub fn allow_by_hand(&mut self, prefixes: Vec<Prefix>) {
        self.by_hand = prefixes;
        self.find_shared();
    }

    /// In these IPv6 networks each address is judged by itself, from now on.
    pub fn judge_apart(&mut self, networks: Vec<Prefix>) {
        self.apart = networks;
    }

    fn find_shared(&mut self) {
        let own = match &self.surroundings.local {
            Local::Any => None,
            Local::Addresses(own) => Some(own.iter()),
        };
        let addresses = own.into_iter().flatten();
        let addresses = addresses.chain(self.friends.keys()).chain(&self.guests);
        let prefixes = self.allow.iter().chain(&self.by_hand).filter(|prefix| prefix.length() > 64);
        self.shared = addresses
            .copied()
            .chain(prefixes.map(Prefix::address))
            .filter(IpAddr::is_ipv6)
            .map(|address| Prefix::containing(address, 64))
            .collect();
    }

    /// Whether a packet to `destination` is aimed at us. The unspecified address is what a plain socket knows of its
    /// own side.
    #[must_use]
    pub fn is_local(&self, destination: IpAddr) -> bool {
        match &self.surroundings.local {
            _ if destination.is_unspecified() => true,
            Local::Any => true,
            Local::Addresses(own) => own.contains(&destination),
        }
    }

    /// Whether `destination` is somebody else's, whom we look after: no kernel can be asked what is there.
    #[must_use]
    pub fn is_looked_after(&self, destination: IpAddr) -> bool {
        self.surroundings.protect.iter().any(|network| network.contains(destination))
            && !self.is_local(destination)
    }

    /// Whether a packet to `destination` may go to many (multicast, broadcast): then it is nobody's probe.
    #[must_use]
    pub fn is_for_many(&self, destination: IpAddr) -> bool {
        destination.is_multicast()
            || match destination {
                IpAddr::V4(v4) => v4.is_broadcast() || self.is_directed_broadcast(destination),
                IpAddr::V6(_) => false,
            }
    }

    /// Whether this is the first or last address of a directly connected IPv4 network (RFC 1122 §3.2.1.3): a packet
    /// from there is forged.
    fn is_ours_as_a_whole(&self, address: IpAddr) -> bool {
        let is_first = |network: &Prefix| network.length() < 31 && network.address() == address;
        address.is_ipv4()
            && (self.is_directed_broadcast(address)
                || self.surroundings.connected.iter().any(|own| is_first(&own.network)))
    }

    fn is_directed_broadcast(&self, destination: IpAddr) -> bool {
        self.surroundings.connected.iter().any(|Connected { network, .. }| {
            network.length() < 31
                && network.contains(destination)
                && destination_bits(destination) == last_of(network)
        })
    }

    /// What a source is judged as: an IPv4 address, an IPv6 /64, but a single address on a directly connected
    /// network and in fe80::/10, where scanner, gateway and victim share one /64, and wherever somebody protected shares
    /// the /64: neither must he shield a scanner, nor the scanner have him or a neighbour blamed; nor where the configuration
    /// says that a /64 has many owners. Where the networks are not known (a capture), whoever shares a /64 with his target is near.
    #[must_use]
    pub fn unit(&self, source: IpAddr, target: IpAddr) -> Prefix {
        let is_near = match source {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => {
                v6.is_unicast_link_local()
                    || self.surroundings.connected.iter().any(|own| own.network.contains(source))
                    || self.shared.contains(&Prefix::containing(source, 64))
                    || self.apart.iter().any(|network| network.contains(source))
                    || (self.surroundings.local == Local::Any
                        && Prefix::containing(source, 64).contains(target))
            }
        };
        if is_near { Prefix::single(source) } else { Prefix::containing(source, 64) }
    }

    /// Whether `source` belongs to a directly connected network, and came by an interface that does not lead there: the
    /// stack's answer could not reach who sent it (what strict `rp_filter` refuses after we have seen it).
    #[must_use]
    pub fn is_misplaced(&self, source: IpAddr, interface: u32) -> bool {
        let is_link_local = matches!(source, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if interface == 0 || is_link_local {
            return false;
        }
        let mut homes =
            self.surroundings.connected.iter().filter(|own| own.network.contains(source)).peekable();
        homes.peek().is_some() && homes.all(|own| own.interface != 0 && own.interface != interface)
    }

    /// Whether a door can be opened for `address`: not for one that is nobody's own.
    #[must_use]
    pub fn may_be_let_in(&self, address: IpAddr) -> bool {
        let is_this_network = matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0);
        !address.is_unspecified() && !is_this_network && !self.is_for_many(address)
    }

    /// Who of the protected is inside `prefix`, or holds it.
    #[must_use]
    pub fn protected(&self, prefix: &Prefix) -> Option<Protected> {
        if is_special(prefix) || (prefix.is_single() && self.is_ours_as_a_whole(prefix.address())) {
            return Some(Protected { prefix: *prefix, why: Protection::Special });
        }
        // The first address at or behind the prefix's own is inside, or none is.
        let own = match &self.surroundings.local {
            Local::Any => None,
            Local::Addresses(own) => own.range(prefix.address()..).next(),
        };
        let listed = |list: &[Prefix], why| {
            list.iter().find(|own| own.overlaps(prefix)).map(|own| Protected { prefix: *own, why })
        };
        let one = |(address, why): (&IpAddr, Protection)| {
            prefix.contains(*address).then(|| Protected { prefix: Prefix::single(*address), why })
        };
        own.and_then(|address| one((address, Protection::Own)))
            .or_else(|| {
                let next = self.friends.range(prefix.address()..).next();
                next.and_then(|(address, why)| one((address, *why)))
            })
            .or_else(|| {
                let mut friendly = self.friendly.iter();
                let found = friendly.find(|friend| friend.prefix.overlaps(prefix));
                found.map(|friend| Protected { prefix: friend.prefix, why: friend.why })
            })
            .or_else(|| listed(&self.surroundings.protect, Protection::LookedAfter))
            .or_else(|| listed(&self.allow, Protection::Allowed))
            .or_else(|| listed(&self.by_hand, Protection::AllowedByHand))
            .or_else(|| {
                let next = self.guests.range(prefix.address()..).next();
                next.and_then(|address| one((address, Protection::Guest)))
            })
    }

    /// The right to ban `prefix` for so long, if nobody protected is touched.
    ///
    /// # Errors
    /// The first one protected, and why.
    pub fn block(&self, prefix: Prefix, remaining: Option<Duration>) -> Result<Block, Protected> {
        self.grant(prefix, How::Banned, remaining)
    }

    /// The right to shut out so much of `prefix` for so long, if nobody protected is touched. What can be held is what
    /// is judged ([`Policy::unit`]): a single address, or an IPv6 /64.
    ///
    /// # Errors
    /// The first one protected, and why.
    pub fn grant(&self, prefix: Prefix, how: How, remaining: Option<Duration>) -> Result<Block, Protected> {
        match self.protected(&prefix) {
            None => Ok(Block { prefix, how, remaining }),
            Some(protected) => Err(protected),
        }
    }
}

fn destination_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn last_of(network: &Prefix) -> u128 {
    let host_bits = network.full_length() - network.length();
    let host_mask = 1u128.checked_shl(u32::from(host_bits)).map_or(u128::MAX, |bit| bit - 1);
    destination_bits(network.address()) | host_mask
}

/// Addresses that are nobody's own (RFC 6890, RFC 4291 §2.5 and §2.7): blocking one would hit the host itself, or
/// nobody. A prefix that contains one of them is as special.
fn is_special(prefix: &Prefix) -> bool {
    const SPECIAL: [(IpAddr, u8); 7] = [
        (IpAddr::V4(std::net::Ipv4Addr::new(0, 0, 0, 0)), 8),
        (IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 0)), 8),
        (IpAddr::V4(std::net::Ipv4Addr::new(224, 0, 0, 0)), 4),
        (IpAddr::V4(std::net::Ipv4Addr::BROADCAST), 32),
        (IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 128),
        (IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 128),
        (IpAddr::V6(std::net::Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
    ];
    SPECIAL.iter().any(|&(address, length)| Prefix::containing(address, length).overlaps(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let mut policy = Policy::default();
        policy.surround(Surroundings {
            local: Local::Addresses(["192.0.2.2", "2001:db8::2"].map(|a| a.parse().unwrap()).into()),
            connected: ["192.0.2.0/24", "2001:db8::/64"]
                .map(|network| Connected { network: network.parse().unwrap(), interface: 1 })
                .into(),
            friends: [
                ("192.0.2.1", Protection::Gateway),
                ("2001:db8:1::1", Protection::Gateway),
                ("198.51.100.53", Protection::Resolver),
                ("172.17.0.0/16", Protection::OwnNetwork),
                ("198.51.100.99", Protection::LoggedIn),
            ]
            .map(|(prefix, why)| Friend { prefix: prefix.parse().unwrap(), why })
            .into(),
            trusted: Vec::new(),
            ephemeral: EPHEMERAL,
            protect: Vec::new(),
        });
        policy.allow(vec!["203.0.113.0/24".parse().unwrap()]);
        policy
    }

    #[test]
    fn no_protected_address_is_blocked_nor_a_prefix_that_contains_one() {
        let policy = policy();
        for (prefix, why) in [
            ("192.0.2.2", Protection::Own),
            ("192.0.0.0/16", Protection::Own),
            ("192.0.2.1", Protection::Gateway),
            ("2001:db8:1::/64", Protection::Gateway),
            ("198.51.100.53", Protection::Resolver),
            ("198.51.100.99", Protection::LoggedIn),
            ("172.17.3.4", Protection::OwnNetwork),
            ("172.16.0.0/12", Protection::OwnNetwork),
            ("203.0.113.77", Protection::Allowed),
            ("203.0.0.0/16", Protection::Allowed),
            ("0.0.0.0", Protection::Special),
            ("0.0.0.0/0", Protection::Special),
            ("::/0", Protection::Special),
            ("127.0.0.1", Protection::Special),
            ("224.0.0.1", Protection::Special),
            ("255.255.255.255", Protection::Special),
            ("ff02::1", Protection::Special),
        ] {
            let refusal = policy.block(prefix.parse().unwrap(), None).unwrap_err();
            assert_eq!(refusal.why, why, "{prefix}");
        }
        assert!(policy.block("198.51.100.7".parse().unwrap(), None).is_ok());
    }

    #[test]
    fn a_guest_is_protected_while_a_door_is_open_to_him_and_his_64_shields_nobody() {
        let (mut policy, guest) = (policy(), "2001:db8:5::7".parse().unwrap());
        let (all, neighbour) = ("2001:db8:5::/64".parse().unwrap(), "2001:db8:5::bad".parse().unwrap());
        policy.welcome(guest, true);
        assert_eq!(policy.block(all, None).unwrap_err().why, Protection::Guest);
        assert_eq!(policy.unit(neighbour, "192.0.2.2".parse().unwrap()), Prefix::single(neighbour));
        assert!(policy.block(Prefix::single(neighbour), None).is_ok());
        policy.welcome(guest, false);
        assert!(policy.block(all, None).is_ok());
    }

    #[test]
    fn near_sources_are_judged_one_by_one() {
        let policy = policy();
        for (source, unit) in [
            ("198.51.100.7", "198.51.100.7/32"),
            ("2001:db8:2::7", "2001:db8:2::/64"),
            ("2001:db8::7", "2001:db8::7/128"),
            ("fe80::1", "fe80::1/128"),
        ] {
            assert_eq!(
                policy.unit(source.parse().unwrap(), "2001:db8:2::1".parse().unwrap()).to_string(),
                unit
            );
        }
    }

    #[test]
    fn in_a_capture_who_shares_a_64_with_his_target_is_near() {
        let (policy, source) = (Policy::default(), "2001:db8::7".parse().unwrap());
        assert_eq!(policy.unit(source, "2001:db8::2".parse().unwrap()).length(), 128);
        assert_eq!(policy.unit(source, "2001:db8:0:1::2".parse().unwrap()).length(), 64);
    }

    #[test]
    fn who_shares_a_64_with_somebody_protected_is_judged_alone() {
        let mut policy = policy();
        let target = "2001:db8::2".parse().unwrap();
        let unit = |policy: &Policy, source: &str| policy.unit(source.parse().unwrap(), target).length();
        assert_eq!(unit(&policy, "2001:db8:1::bad"), 128, "a gateway's /64");
        assert_eq!(unit(&policy, "2001:db8:9::bad"), 64);
        policy.allow_by_hand(vec!["2001:db8:9::7".parse().unwrap()]);
        assert_eq!(unit(&policy, "2001:db8:9::bad"), 128);
    }

    #[test]
    fn a_neighbour_who_comes_by_the_wrong_door_is_misplaced() {
        let policy = policy();
        let is_misplaced = |source: &str, interface| policy.is_misplaced(source.parse().unwrap(), interface);
        assert!(is_misplaced("192.0.2.9", 2));
        assert!(!is_misplaced("192.0.2.9", 1) && !is_misplaced("192.0.2.9", 0));
        assert!(!is_misplaced("198.51.100.9", 2) && !is_misplaced("fe80::1", 2));
    }

    #[test]
    fn what_is_for_many_is_nobodys_probe() {
        let policy = policy();
        for destination in ["192.0.2.255", "255.255.255.255", "224.0.0.251", "ff02::1"] {
            assert!(policy.is_for_many(destination.parse().unwrap()), "{destination}");
        }
        for destination in ["192.0.2.2", "2001:db8::2", "192.0.3.255"] {
            assert!(!policy.is_for_many(destination.parse().unwrap()), "{destination}");
        }
    }
}
