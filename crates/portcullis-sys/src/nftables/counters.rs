//! What our rules have matched.

use super::layout::{self, CHAIN, RULES};
use super::numbers::*;
use super::{Nftables, held};
use crate::netlink::NetlinkError;
use crate::netlink::message::{self, Attributes};

/// What a rule has matched since the rules were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The rule: the name of the set that it asks, or `neighbour-discovery`, or `other-ipv4`; of those who are held,
    /// `held-tcp` and `held-udp` what was dropped, `held-standing` and `held-sockets` what passed.
    pub rule: &'static str,
    /// Packets.
    pub packets: u64,
    /// Bytes, with the IP header.
    pub bytes: u64,
}

impl Nftables {
    /// What the rules have matched, in their order; none if the table is gone.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn counters(&mut self) -> Result<Vec<Counter>, NetlinkError> {
        let mut counters = Vec::with_capacity(RULES.len() + held::RULES.len());
        for chain in [CHAIN, held::CHAIN] {
            self.list_rules(Some(chain), |attributes| counters.extend(read(attributes).and_then(of_ours)))?;
        }
        Ok(counters)
    }
}

/// The comment of a rule, and what it has matched: packets and bytes.
pub(super) fn read(rule: Attributes<'_>) -> Option<(&str, u64, u64)> {
    let name = message::text(rule.get(RULE_USERDATA)?.get(2..)?)?;
    let counter = rule
        .inside(RULE_EXPRESSIONS)
        .map(|element| Attributes::new(element.value))
        .find(|expression| expression.get(EXPRESSION_NAME).and_then(message::text) == Some("counter"))?;
    let data = counter.inside(EXPRESSION_DATA);
    let number = |kind| data.get(kind).and_then(message::u64_be);
    Some((name, number(COUNTER_PACKETS)?, number(COUNTER_BYTES)?))
}

/// The same, if it is a rule of ours.
pub(super) fn of_ours((name, packets, bytes): (&str, u64, u64)) -> Option<Counter> {
    let of_held = held::RULES.iter().map(|rule| rule.name());
    let rule = RULES.iter().map(layout::Rule::name).chain(of_held).find(|ours| *ours == name)?;
    Some(Counter { rule, packets, bytes })
}
