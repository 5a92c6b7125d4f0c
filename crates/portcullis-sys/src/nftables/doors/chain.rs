//! The chain `doors` and the chain of each door: their rules and sets, each written down once, as what is sent and as
//! what is compared.

use portcullis_core::net::PortSet;

use super::rules::{DoorName, DoorRules, Doors};
use crate::netlink::message::Writer;
use crate::nftables::layout::{self, Holds, Set};
use crate::nftables::numbers::*;

/// The base chain.
pub(super) const CHAIN: &str = "doors";
/// All sets and chains of doors begin like this.
pub(super) const PREFIX: &str = "door_";
/// How many ranges of ports one rule compares with: a rule has at most 128 expressions (`NFT_RULE_MAXEXPRS` of
/// `net/netfilter/nf_tables_api.c`) in 4 KiB.
const MOST_TESTS: usize = 64;

pub(super) static FRIENDS: [Set<'static>; 2] = [
    Set { name: "friends4", width: 32, holds: Holds::Intervals },
    Set { name: "friends6", width: 128, holds: Holds::Intervals },
];

/// The transports that doors know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    fn number(self) -> i32 {
        match self {
            Transport::Tcp => libc::IPPROTO_TCP,
            Transport::Udp => libc::IPPROTO_UDP,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }

    fn ports_of(self, door: &DoorRules) -> &PortSet {
        match self {
            Transport::Tcp => &door.tcp,
            Transport::Udp => &door.udp,
        }
    }
}

const BOTH: [Transport; 2] = [Transport::Tcp, Transport::Udp];

/// The chain of a door, where its guests are looked for; also the comment of the rules that shut strangers out.
pub(super) fn own_name(door: &DoorName) -> String {
    format!("{PREFIX}{}", door.as_str())
}

/// The set of a door's guests of one family: `width` is 32 or 128.
pub(super) fn guests_name(door: &DoorName, width: u8) -> String {
    format!("{PREFIX}{}{}", door.as_str(), if width == 32 { 4 } else { 6 })
}

pub(super) fn guests_set(name: &str, width: u8) -> Set<'_> {
    Set { name, width, holds: Holds::Guests }
}

/// All ports of the doors, in at most [`MOST_TESTS`] ranges: where they are more, the smallest gaps between them are
/// filled. Whoever goes to a port in a filled gap passes behind the doors' own rules, which are exact.
fn all_ports(doors: &Doors, transport: Transport) -> PortSet {
    let all = doors.doors().iter().flat_map(|door| transport.ports_of(door).ranges().iter().copied());
    let all = PortSet::from_ranges(all);
    let mut gaps: Vec<(u16, u16)> =
        all.ranges().windows(2).map(|pair| (pair[0].1 + 1, pair[1].0 - 1)).collect();
    gaps.sort_unstable_by_key(|(low, high)| high - low);
    gaps.truncate(all.ranges().len().saturating_sub(MOST_TESTS));
    PortSet::from_ranges(all.ranges().iter().copied().chain(gaps))
}

/// A rule of the chain.
///
/// A packet passes only for what it shows: a fragment that is cut before the flags, or before the port, shows neither
/// that it belongs to something that stands nor that it goes elsewhere (RFC 1858 §3), and comes to the doors. Later
/// fragments pass: without their first one nobody can put them together.
///
/// Ports stand in the rules themselves, not in sets. Rules change at one moment; but a set of intervals that was made
/// in the same batch is still empty for a moment when its rules are in force already (seen on Linux 6.18, where such
/// sets come into force after the rules do), and "not among the doors' ports" would be true for all.
#[derive(Clone, Debug)]
pub(super) enum Rule<'a> {
    /// Whoever set our bits before, they would let him through the firewall that honours them.
    ClearMarks(u32),
    Loopback,
    Trusted(&'a str),
    /// TCP that begins nothing: anything but SYN without ACK.
    Standing,
    /// Other ports than the doors'.
    OtherPorts(Transport, PortSet),
    OtherProtocols,
    /// To a host that is not this one.
    Forwarded,
    Friends(&'static Set<'static>),
    /// Whoever comes to this door's ports goes through its chain.
    Asks {
        door: &'a DoorRules,
        at: At,
    },
    /// In the door's chain: guests pass, and are marked.
    Guests {
        door: &'a DoorRules,
        width: u8,
    },
    /// Whoever is left is dropped: in the door's chain all, in the chain `doors` whoever comes to these of its ports.
    Shut {
        door: &'a DoorRules,
        at: Option<At>,
    },
}

/// A range of ports.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    transport: Transport,
    ports: (u16, u16),
}

/// A chain with its rules in their order.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) name: String,
    pub(super) rules: Vec<Rule<'a>>,
}

/// All chains, the base chain last, since its rules lead to the others.
///
/// In the base chain what ends for most packets stands first. Behind it a door costs strangers no more than a
/// comparison of ports: only in the chain of a door to whose port a packet goes is it asked for guests. That chain ends
/// by shutting out; but where doors have a port in common it goes back, so that the other's guests are asked too, and
/// those who are left are shut out when all have been.
pub(super) fn chains(doors: &Doors) -> Vec<Chain<'_>> {
    let shared = shared(doors);
    let mut chains: Vec<Chain<'_>> = (doors.doors().iter().zip(&shared))
        .map(|(door, &is_shared)| {
            let mut rules: Vec<Rule<'_>> = [32, 128].map(|width| Rule::Guests { door, width }).into();
            if !is_shared {
                rules.push(Rule::Shut { door, at: None });
            }
            Chain { name: own_name(&door.name), rules }
        })
        .collect();
    chains.push(Chain { name: CHAIN.to_owned(), rules: base_rules(doors, &shared) });
    chains
}

fn base_rules<'a>(doors: &'a Doors, shared: &[bool]) -> Vec<Rule<'a>> {
    let mut rules = Vec::new();
    if doors.marks() != 0 {
        rules.push(Rule::ClearMarks(doors.marks()));
    }
    rules.push(Rule::Loopback);
    rules.extend(doors.trusted.iter().map(|name| Rule::Trusted(name.as_str())));
    rules.push(Rule::Standing);
    rules.extend(BOTH.map(|transport| Rule::OtherPorts(transport, all_ports(doors, transport))));
    rules.push(Rule::OtherProtocols);
    if doors.spares_forwarded {
        rules.push(Rule::Forwarded);
    }
    rules.extend(FRIENDS.iter().map(Rule::Friends));
    let of_each = || BOTH.into_iter().flat_map(|transport| of_each(doors, transport));
    rules.extend(of_each().map(|(index, at)| Rule::Asks { door: &doors.doors()[index], at }));
    let left = of_each().filter(|(index, _)| shared[*index]);
    rules.extend(left.map(|(index, at)| Rule::Shut { door: &doors.doors()[index], at: Some(at) }));
    rules
}

/// The ranges of all doors in their order, with the door's place.
fn of_each(doors: &Doors, transport: Transport) -> impl Iterator<Item = (usize, At)> {
    doors.doors().iter().enumerate().flat_map(move |(index, door)| {
        let ranges = transport.ports_of(door).ranges().iter();
        ranges.map(move |&ports| (index, At { transport, ports }))
    })
}

/// Which doors have a port in common with another one.
fn shared(doors: &Doors) -> Vec<bool> {
    let mut shared = vec![false; doors.doors().len()];
    for transport in BOTH {
        let mut ranges: Vec<(u16, u16, usize)> = of_each(doors, transport)
            .map(|(index, At { ports: (low, high), .. })| (low, high, index))
            .collect();
        ranges.sort_unstable();
        // Of those before, the one that reaches furthest: whatever overlaps with any overlaps with it.
        let mut furthest: Option<(u16, usize)> = None;
        for (low, high, index) in ranges {
            match furthest {
                Some((reach, other)) if low <= reach => {
                    (shared[index], shared[other]) = (true, true);
                    if high > reach {
                        furthest = Some((high, index));
                    }
                }
                _ => furthest = Some((high, index)),
            }
        }
    }
    shared
}

impl Rule<'_> {
    /// The comment by which an administrator, and [`super::DoorTraffic`], tell the rules apart.
    pub(super) fn name(&self) -> String {
        match self {
            Rule::ClearMarks(_) => "marks-of-others".to_owned(),
            Rule::Loopback => "lo".to_owned(),
            Rule::Trusted(interface) => format!("trusted {interface}"),
            Rule::Standing => "standing".to_owned(),
            Rule::OtherPorts(transport, _) => format!("other-{}", transport.name()),
            Rule::OtherProtocols => "other-protocols".to_owned(),
            Rule::Forwarded => "forwarded".to_owned(),
            Rule::Friends(set) => set.name.to_owned(),
            Rule::Guests { door, width, .. } => guests_name(&door.name, *width),
            Rule::Asks { door, .. } | Rule::Shut { door, .. } => own_name(&door.name),
        }
    }
}

/// The attributes that make a rule.
pub(super) fn write_rule(out: &mut Writer, table: &str, chain: &str, rule: &Rule<'_>) {
    layout::write_expressions(out, table, chain, &rule.name(), |out| {
        write_question(out, rule);
        match rule {
            // Those who come are counted where they go.
            Rule::Asks { door, .. } => return layout::write_jump(out, &own_name(&door.name)),
            _ => layout::write_counter(out),
        }
        match rule {
            Rule::ClearMarks(marks) => return write_mark(out, !marks, 0),
            Rule::Guests { door, .. } => {
                if let Some(mark) = door.mark {
                    write_mark(out, !mark.value(), mark.value());
                }
            }
            _ => {}
        }
        let is_shut = matches!(rule, Rule::Shut { .. });
        layout::write_verdict(out, if is_shut { libc::NF_DROP } else { libc::NF_ACCEPT });
    });
}

fn write_question(out: &mut Writer, rule: &Rule<'_>) {
    match rule {
        Rule::ClearMarks(marks) => {
            layout::write_meta(out, libc::NFT_META_MARK);
            layout::write_bitwise(out, &marks.to_ne_bytes(), &[0; 4]);
            layout::write_compare(out, libc::NFT_CMP_NEQ, &[0; 4]);
        }
        Rule::Loopback => {
            // `LOOPBACK_IFINDEX` of `include/net/flow.h`, the same in every network namespace.
            const LOOPBACK: u32 = 1;
            layout::write_meta(out, libc::NFT_META_IIF);
            layout::write_compare(out, libc::NFT_CMP_EQ, &LOOPBACK.to_ne_bytes());
        }
        Rule::Trusted(interface) => {
            let mut name = [0; libc::IFNAMSIZ];
            name[..interface.len()].copy_from_slice(interface.as_bytes());
            layout::write_meta(out, libc::NFT_META_IIFNAME);
            layout::write_compare(out, libc::NFT_CMP_EQ, &name);
        }
        Rule::Standing => layout::write_begins_nothing(out),
        Rule::OtherPorts(transport, ports) => {
            write_port(out, *transport);
            for &(low, high) in ports.ranges() {
                if low == high {
                    layout::write_compare(out, libc::NFT_CMP_NEQ, &low.to_be_bytes());
                } else {
                    layout::write_not_between(out, &low.to_be_bytes(), &high.to_be_bytes());
                }
            }
        }
        Rule::OtherProtocols => {
            layout::write_meta(out, libc::NFT_META_L4PROTO);
            layout::write_compare(out, libc::NFT_CMP_NEQ, &[libc::IPPROTO_TCP as u8]);
            layout::write_meta(out, libc::NFT_META_L4PROTO);
            layout::write_compare(out, libc::NFT_CMP_NEQ, &[libc::IPPROTO_UDP as u8]);
        }
        Rule::Forwarded => layout::write_destination_is(out, libc::RTN_UNICAST),
        Rule::Friends(set) => layout::write_source_is_in(out, set),
        Rule::Guests { door, width } => {
            layout::write_source_is_in(out, &guests_set(&guests_name(&door.name, *width), *width));
        }
        Rule::Asks { at, .. } | Rule::Shut { at: Some(at), .. } => write_port_is(out, at),
        Rule::Shut { at: None, .. } => {}
    }
}

fn write_port_is(out: &mut Writer, at: &At) {
    write_port(out, at.transport);
    let (low, high) = at.ports;
    if low == high {
        layout::write_compare(out, libc::NFT_CMP_EQ, &low.to_be_bytes());
    } else {
        layout::write_compare(out, libc::NFT_CMP_GTE, &low.to_be_bytes());
        layout::write_compare(out, libc::NFT_CMP_LTE, &high.to_be_bytes());
    }
}

/// Loads the destination port, if there is one.
fn write_port(out: &mut Writer, transport: Transport) {
    layout::write_transport_is(out, transport.number());
    layout::write_payload(out, libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
}

/// The mark becomes `(mark & keep) ^ flip`.
fn write_mark(out: &mut Writer, keep: u32, flip: u32) {
    layout::write_meta(out, libc::NFT_META_MARK);
    layout::write_bitwise(out, &keep.to_ne_bytes(), &flip.to_ne_bytes());
    layout::expression(out, "meta", |out| {
        out.u32_be(META_SOURCE_REGISTER, libc::NFT_REG_1 as u32);
        out.u32_be(META_KEY, libc::NFT_META_MARK as u32);
    });
}
