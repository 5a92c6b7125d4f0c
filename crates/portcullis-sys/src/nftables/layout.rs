//! The table as we make it: its chain, sets and rules, each written down once. What is sent to make them is also
//! what the kernel's answer is compared with, so that "made" and "intact" cannot drift apart.

use std::time::Duration;

use portcullis_core::net::Prefix;

use super::numbers::*;
use crate::netlink::message::{Attributes, Writer};

/// `NFPROTO_INET`: one table for both families.
pub(super) const FAMILY: u8 = 1;
/// The base chain.
pub(super) const CHAIN: &str = "prerouting";
/// `NF_IP_PRI_RAW`: before connection tracking (-200) and DNAT (-100).
const PRIORITY: i32 = -300;

/// How many elements `banned4` and `banned6_64`, `held4` and `held6_64` take; more are refused with `ENFILE`. These are
/// the ones that an attack fills.
///
/// Knowing the size, the kernel makes room beforehand: a hash table that has to grow within one batch grows too
/// late, and a hundred thousand elements take twice the time. It reads the size as 16 bits there (`nelem_hint` of
/// `include/linux/rhashtable-types.h`), so that the lower 16 are all set: room for 65,535, in 1 MiB a set.
pub(super) const MOST_ELEMENTS: u32 = (1 << 18) - 1;
/// How many guests of one family a door takes; more are refused with `ENFILE`. Room for so many is 64 KiB, which
/// the kernel takes at once; who can open a door more often than this forges knocks.
const MOST_GUESTS: u32 = 4096;

/// One entry of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Who.
    pub prefix: Prefix,
    /// After this time, counted from the moment the kernel takes it, the kernel forgets the element; `None` is
    /// never. Below 10 ms it is taken for 10 ms: older kernels cut less than one tick to nothing, which there
    /// means for ever.
    pub remaining: Option<Duration>,
}

impl Element {
    /// Whether it goes into an interval set, where nothing may overlap with it.
    #[must_use]
    pub fn is_interval(&self) -> bool {
        !matches!(
            (self.prefix.address().is_ipv4(), self.prefix.length()),
            (true, 32) | (false, 48 | 56 | 64 | 128)
        )
    }
}

/// A set of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set<'a> {
    pub(super) name: &'a str,
    /// Bits of an address of its family: 32 or 128.
    pub(super) width: u8,
    pub(super) holds: Holds,
}

/// What the keys of a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// First addresses of prefixes of this one length, hashed.
    Length(u8),
    /// Single addresses, hashed; at most [`MOST_GUESTS`].
    Guests,
    /// Prefixes of any length that don't overlap.
    Intervals,
}

/// What a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Sources in this set pass, whatever the other sets say.
    Accept(&'static Set<'static>),
    /// Sources in this set are dropped.
    Drop(&'static Set<'static>),
    /// Sources in this set go through the chain of those who are held.
    Hold(&'static Set<'static>),
    /// Neighbour discovery and router messages (ICMPv6 types 133 to 137, RFC 4861 §4) pass always: without them
    /// one banned neighbour could cut the host from its gateway.
    NeighbourDiscovery,
    /// The rest of IPv4 passes here, without walking through the rules for IPv6.
    EndOfIpv4,
}

const fn set(name: &'static str, width: u8, holds: Holds) -> Set<'static> {
    Set { name, width, holds }
}

/// Single IPv4 addresses.
pub(super) static BANNED4: Set<'static> = set("banned4", 32, Holds::Length(32));
static BANNED6: Set<'static> = set("banned6", 128, Holds::Length(128));
static BANNED6_64: Set<'static> = set("banned6_64", 128, Holds::Length(64));
static BANNED6_56: Set<'static> = set("banned6_56", 128, Holds::Length(56));
static BANNED6_48: Set<'static> = set("banned6_48", 128, Holds::Length(48));
static HELD4: Set<'static> = set("held4", 32, Holds::Length(32));
static HELD6: Set<'static> = set("held6", 128, Holds::Length(128));
static HELD6_64: Set<'static> = set("held6_64", 128, Holds::Length(64));
static NETS4: Set<'static> = set("nets4", 32, Holds::Intervals);
static NETS6: Set<'static> = set("nets6", 128, Holds::Intervals);
static ALLOWED4: Set<'static> = set("allowed4", 32, Holds::Intervals);
static ALLOWED6: Set<'static> = set("allowed6", 128, Holds::Intervals);

/// The sets of those that are shut out.
pub(super) static BANS: [&Set<'static>; 7] =
    [&BANNED4, &BANNED6, &BANNED6_64, &BANNED6_56, &BANNED6_48, &NETS4, &NETS6];
/// The sets of those that can begin nothing new.
pub(super) static HOLDS: [&Set<'static>; 3] = [&HELD4, &HELD6, &HELD6_64];
/// The sets of those that are never shut out.
pub(super) static ALLOWED: [&Set<'static>; 2] = [&ALLOWED4, &ALLOWED6];

/// The rules of the chain, in their order.
pub(super) static RULES: [Rule; 14] = [
    Rule::Accept(&ALLOWED4),
    Rule::Drop(&BANNED4),
    Rule::Drop(&NETS4),
    Rule::Hold(&HELD4),
    Rule::EndOfIpv4,
    Rule::Accept(&ALLOWED6),
    Rule::NeighbourDiscovery,
    Rule::Drop(&BANNED6),
    Rule::Drop(&BANNED6_64),
    Rule::Drop(&BANNED6_56),
    Rule::Drop(&BANNED6_48),
    Rule::Drop(&NETS6),
    Rule::Hold(&HELD6),
    Rule::Hold(&HELD6_64),
];

impl Set<'static> {
    /// The set that a ban of this prefix belongs into.
    pub(super) fn of_ban(prefix: &Prefix) -> &'static Set<'static> {
        match (prefix.full_length(), prefix.length()) {
            (32, 32) => &BANNED4,
            (32, _) => &NETS4,
            (_, 128) => &BANNED6,
            (_, 64) => &BANNED6_64,
            (_, 56) => &BANNED6_56,
            (_, 48) => &BANNED6_48,
            _ => &NETS6,
        }
    }

    /// The set that a hold of this prefix belongs into; only single addresses and IPv6 /64 can be held.
    pub(super) fn of_hold(prefix: &Prefix) -> Option<&'static Set<'static>> {
        match (prefix.full_length(), prefix.length()) {
            (32, 32) => Some(&HELD4),
            (128, 128) => Some(&HELD6),
            (128, 64) => Some(&HELD6_64),
            _ => None,
        }
    }

    /// The set that an allowance of this prefix belongs into.
    pub(super) fn of_allowance(prefix: &Prefix) -> &'static Set<'static> {
        if prefix.full_length() == 32 { &ALLOWED4 } else { &ALLOWED6 }
    }
}

impl Set<'_> {
    pub(super) fn is_of_intervals(&self) -> bool {
        self.holds == Holds::Intervals
    }
}

impl Rule {
    /// The comment by which an administrator, and [`super::Counter`], tell the rules apart.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Rule::Accept(set) | Rule::Drop(set) | Rule::Hold(set) => set.name,
            Rule::NeighbourDiscovery => "neighbour-discovery",
            Rule::EndOfIpv4 => "other-ipv4",
        }
    }
}

/// The attributes that make the table. Flags 0 also wake it if somebody made it dormant.
pub(super) fn write_table(out: &mut Writer, table: &str) {
    out.text(TABLE, table);
    out.u32_be(TABLE_FLAGS, 0);
}

/// The attributes that make a chain at our place.
pub(super) fn write_chain(out: &mut Writer, table: &str, chain: &str) {
    out.text(TABLE, table);
    out.text(CHAIN_NAME, chain);
    let hook = out.open(CHAIN_HOOK);
    out.u32_be(HOOK_NUMBER, libc::NF_INET_PRE_ROUTING as u32);
    out.attribute(HOOK_PRIORITY, &PRIORITY.to_be_bytes());
    out.close(hook);
    out.u32_be(CHAIN_POLICY, libc::NF_ACCEPT as u32);
    out.text(CHAIN_TYPE, "filter");
}

/// The attributes that make a chain to which only rules lead.
pub(super) fn write_inner_chain(out: &mut Writer, table: &str, chain: &str) {
    out.text(TABLE, table);
    out.text(CHAIN_NAME, chain);
}

/// The attributes that make a set, besides its number within the batch.
pub(super) fn write_set(out: &mut Writer, table: &str, set: &Set<'_>) {
    // The numbers by which `nft` knows that keys are addresses (`src/datatype.c`); the kernel only keeps them.
    const IPV4_ADDRESS: u32 = 7;
    const IPV6_ADDRESS: u32 = 8;
    out.text(TABLE, table);
    out.text(SET_NAME, set.name);
    let interval = if set.is_of_intervals() { libc::NFT_SET_INTERVAL } else { 0 };
    out.u32_be(SET_FLAGS, (interval | libc::NFT_SET_TIMEOUT) as u32);
    out.u32_be(SET_KEY_TYPE, if set.width == 32 { IPV4_ADDRESS } else { IPV6_ADDRESS });
    out.u32_be(SET_KEY_LENGTH, u32::from(set.width / 8));
    let most = match set.holds {
        Holds::Length(32 | 64) => MOST_ELEMENTS,
        Holds::Guests => MOST_GUESTS,
        Holds::Length(_) | Holds::Intervals => return,
    };
    let description = out.open(SET_DESCRIPTION);
    out.u32_be(DESCRIPTION_SIZE, most);
    out.close(description);
}

/// The attributes that make a rule.
pub(super) fn write_rule(out: &mut Writer, table: &str, rule: &Rule) {
    write_expressions(out, table, CHAIN, rule.name(), |out| {
        match rule {
            Rule::Accept(set) | Rule::Drop(set) | Rule::Hold(set) => write_source_is_in(out, set),
            Rule::EndOfIpv4 => write_family_is(out, libc::NFPROTO_IPV4 as u8),
            Rule::NeighbourDiscovery => {
                write_family_is(out, libc::NFPROTO_IPV6 as u8);
                write_transport_is(out, libc::IPPROTO_ICMPV6);
                write_payload(out, libc::NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1);
                write_compare(out, libc::NFT_CMP_GTE, &[133]);
                write_compare(out, libc::NFT_CMP_LTE, &[137]);
            }
        }
        write_counter(out);
        match rule {
            Rule::Hold(_) => write_jump(out, super::held::CHAIN),
            Rule::Drop(_) => write_verdict(out, libc::NF_DROP),
            Rule::Accept(_) | Rule::EndOfIpv4 | Rule::NeighbourDiscovery => {
                write_verdict(out, libc::NF_ACCEPT);
            }
        }
    });
}

/// TCP that begins nothing: anything but SYN without ACK.
pub(super) fn write_begins_nothing(out: &mut Writer) {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    write_transport_is(out, libc::IPPROTO_TCP);
    // RFC 9293 §3.1: the flag byte is the fourteenth of the header.
    write_payload(out, libc::NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1);
    write_bitwise(out, &[SYN | ACK], &[0]);
    write_compare(out, libc::NFT_CMP_NEQ, &[SYN]);
}

/// The destination is of this type (`RTN_LOCAL`, `RTN_UNICAST`, …) in the routing tables.
pub(super) fn write_destination_is(out: &mut Writer, kind: u8) {
    expression(out, "fib", |out| {
        out.u32_be(FIB_REGISTER, libc::NFT_REG_1 as u32);
        out.u32_be(FIB_RESULT, FIB_RESULT_ADDRESS_TYPE);
        out.u32_be(FIB_FLAGS, FIB_FLAG_DESTINATION);
    });
    write_compare(out, libc::NFT_CMP_EQ, &u32::from(kind).to_ne_bytes());
}

/// The attributes that make any rule: of its expressions, and with its name as a comment.
pub(super) fn write_expressions(
    out: &mut Writer,
    table: &str,
    chain: &str,
    name: &str,
    write: impl FnOnce(&mut Writer),
) {
    out.text(TABLE, table);
    out.text(RULE_CHAIN, chain);
    let list = out.open(RULE_EXPRESSIONS);
    write(out);
    out.close(list);
    // As nft keeps a comment: type 0, length with the NUL, text (libnftnl, NFTNL_UDATA_RULE_COMMENT).
    let length = u8::try_from(name.len() + 1).expect("our names are short");
    let comment: Vec<u8> = [0, length].into_iter().chain(name.bytes()).chain([0]).collect();
    out.attribute(RULE_USERDATA, &comment);
}

pub(super) fn write_counter(out: &mut Writer) {
    let counter = out.open(LIST_ELEMENT);
    out.text(EXPRESSION_NAME, "counter");
    out.close(counter);
}

pub(super) fn write_verdict(out: &mut Writer, verdict: i32) {
    expression(out, "immediate", |out| {
        out.u32_be(IMMEDIATE_REGISTER, libc::NFT_REG_VERDICT as u32);
        let data = out.open(IMMEDIATE_DATA);
        let nest = out.open(DATA_VERDICT);
        out.attribute(VERDICT_CODE, &verdict.to_be_bytes());
        out.close(nest);
        out.close(data);
    });
}

/// On to a chain that has no hook, and back at its end.
pub(super) fn write_jump(out: &mut Writer, chain: &str) {
    expression(out, "immediate", |out| {
        out.u32_be(IMMEDIATE_REGISTER, libc::NFT_REG_VERDICT as u32);
        let data = out.open(IMMEDIATE_DATA);
        let nest = out.open(DATA_VERDICT);
        out.attribute(VERDICT_CODE, &libc::NFT_JUMP.to_be_bytes());
        out.text(VERDICT_CHAIN, chain);
        out.close(nest);
        out.close(data);
    });
}

pub(super) fn write_source_is_in(out: &mut Writer, set: &Set<'_>) {
    let is_ipv4 = set.width == 32;
    let length = u32::from(set.width / 8);
    write_family_is(out, if is_ipv4 { libc::NFPROTO_IPV4 as u8 } else { libc::NFPROTO_IPV6 as u8 });
    // The source address: RFC 791 §3.1, RFC 8200 §3.
    write_payload(out, libc::NFT_PAYLOAD_NETWORK_HEADER, if is_ipv4 { 12 } else { 8 }, length);
    if let Holds::Length(bits @ 0..128) = set.holds
        && !is_ipv4
    {
        let mask = u128::MAX << (128 - u32::from(bits));
        write_bitwise(out, &mask.to_be_bytes(), &[0; 16]);
    }
    expression(out, "lookup", |out| {
        out.text(LOOKUP_SET, set.name);
        out.u32_be(LOOKUP_REGISTER, libc::NFT_REG_1 as u32);
    });
}

/// What was loaded becomes `(it & mask) ^ flip`, each as wide as it.
pub(super) fn write_bitwise(out: &mut Writer, mask: &[u8], flip: &[u8]) {
    let length = u32::try_from(mask.len()).expect("an address at most");
    expression(out, "bitwise", |out| {
        out.u32_be(BITWISE_FROM, libc::NFT_REG_1 as u32);
        out.u32_be(BITWISE_TO, libc::NFT_REG_1 as u32);
        out.u32_be(BITWISE_LENGTH, length);
        write_value(out, BITWISE_MASK, mask);
        write_value(out, BITWISE_XOR, flip);
    });
}

pub(super) fn write_transport_is(out: &mut Writer, protocol: i32) {
    write_meta(out, libc::NFT_META_L4PROTO);
    write_compare(out, libc::NFT_CMP_EQ, &[protocol as u8]);
}

pub(super) fn write_family_is(out: &mut Writer, family: u8) {
    write_meta(out, libc::NFT_META_NFPROTO);
    write_compare(out, libc::NFT_CMP_EQ, &[family]);
}

pub(super) fn write_meta(out: &mut Writer, key: i32) {
    expression(out, "meta", |out| {
        out.u32_be(META_REGISTER, libc::NFT_REG_1 as u32);
        out.u32_be(META_KEY, key as u32);
    });
}

pub(super) fn write_compare(out: &mut Writer, how: i32, value: &[u8]) {
    expression(out, "cmp", |out| {
        out.u32_be(COMPARE_REGISTER, libc::NFT_REG_1 as u32);
        out.u32_be(COMPARE_HOW, how as u32);
        write_value(out, COMPARE_DATA, value);
    });
}

pub(super) fn write_not_between(out: &mut Writer, low: &[u8], high: &[u8]) {
    expression(out, "range", |out| {
        out.u32_be(RANGE_REGISTER, libc::NFT_REG_1 as u32);
        out.u32_be(RANGE_HOW, libc::NFT_RANGE_NEQ as u32);
        write_value(out, RANGE_FROM, low);
        write_value(out, RANGE_TO, high);
    });
}

pub(super) fn write_payload(out: &mut Writer, base: i32, offset: u32, length: u32) {
    expression(out, "payload", |out| {
        out.u32_be(PAYLOAD_REGISTER, libc::NFT_REG_1 as u32);
        out.u32_be(PAYLOAD_BASE, base as u32);
        out.u32_be(PAYLOAD_OFFSET, offset);
        out.u32_be(PAYLOAD_LENGTH, length);
    });
}

fn write_value(out: &mut Writer, kind: u16, value: &[u8]) {
    let nest = out.open(kind);
    out.attribute(DATA_VALUE, value);
    out.close(nest);
}

pub(super) fn expression(out: &mut Writer, name: &str, write: impl FnOnce(&mut Writer)) {
    let element = out.open(LIST_ELEMENT);
    out.text(EXPRESSION_NAME, name);
    let data = out.open(EXPRESSION_DATA);
    write(out);
    out.close(data);
    out.close(element);
}

/// Whether all that we sent is in what the kernel holds. The kernel adds attributes of its own (handles,
/// counts), but changes none of ours, and keeps the order and number of those that repeat.
pub(super) fn is_as_sent(sent: Attributes<'_>, held: Attributes<'_>) -> bool {
    sent.enumerate().all(|(index, ours)| {
        let of_kind = |attributes: Attributes<'_>| attributes.filter(|a| a.kind == ours.kind).count();
        let earlier = sent.take(index).filter(|a| a.kind == ours.kind).count();
        of_kind(sent) == of_kind(held)
            && held.filter(|a| a.kind == ours.kind).nth(earlier).is_some_and(|theirs| {
                if ours.is_nested {
                    is_as_sent(Attributes::new(ours.value), Attributes::new(theirs.value))
                } else {
                    ours.value == theirs.value
                }
            })
    })
}
