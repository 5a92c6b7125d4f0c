//! Reading the ruleset.

use std::collections::{BTreeSet, HashMap};

use super::super::READINGS;
use super::super::numbers::*;
use super::expressions::{data_of, expression};
use super::numbers::*;
use super::{Base, Chain, Expression, Family, Hook, Rule, Ruleset, Set, SetElement, SetName};
use crate::netlink::message::{self, Attributes, Message, Writer};
use crate::netlink::socket::Socket;
use crate::netlink::{NetlinkError, Request};

/// Rules that are read at most; ten times of what a large firewall has.
pub const MOST_RULES: usize = 20_000;

/// Elements of sets that are read at most, of all together; blocklists are longer, and are then said to be cut.
pub const MOST_ELEMENTS: usize = 100_000;

/// Reads what is in force in this network namespace.
///
/// # Errors
/// If the kernel can't be asked; without CAP_NET_ADMIN one that [`NetlinkError::is_permission`].
pub fn ruleset() -> Result<Ruleset, NetlinkError> {
    let mut reader = Reader {
        socket: Socket::open(libc::NETLINK_NETFILTER, "nftables")?,
        question: Writer::default(),
        elements: 0,
    };
    let request = Request::new("list tables", "");
    let tables = reader.list(libc::NFT_MSG_GETTABLE, 0, request, |_| {}, table_of)?;
    let chains = reader.list(libc::NFT_MSG_GETCHAIN, 0, Request::new("list chains", ""), |_| {}, chain_of)?;
    let mut count = 0;
    let rules = reader.list(
        libc::NFT_MSG_GETRULE,
        0,
        Request::new("list rules", ""),
        |_| {},
        |body| {
            let found = rule_of(body, count < MOST_RULES)?;
            count += 1;
            Some(found)
        },
    )?;
    let mut ruleset = gather(&tables, chains, rules);
    for name in asked(&ruleset) {
        if let Some(set) = reader.set(&name)? {
            ruleset.sets.insert(name, set);
        }
    }
    Ok(ruleset)
}

struct Reader {
    socket: Socket,
    question: Writer,
    /// How many elements have been read.
    elements: usize,
}

impl Reader {
    /// Reads a list until it is of one moment; if it never is, the last one has to do. What isn't there has none.
    fn list<T>(
        &mut self,
        message: i32,
        family: u8,
        request: Request,
        write: impl Fn(&mut Writer),
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut found = Vec::new();
        for _ in 0..READINGS {
            found.clear();
            let sequence = self.socket.reserve_sequences(1);
            self.question.clear();
            let open = self.question.open_message(kind(message), libc::NLM_F_DUMP, sequence);
            self.question.netfilter_head(family, 0);
            write(&mut self.question);
            self.question.close_message(open);
            let visit = |message: &Message<'_>| found.extend(read(message.body));
            match self.socket.dump(self.question.bytes(), sequence, request, visit) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) if error.refusal() == Some(libc::ENOENT) => return Ok(Vec::new()),
                Err(error) if error.refusal() == Some(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// A set with its elements; `None` if there is none of this name.
    fn set(&mut self, name: &SetName) -> Result<Option<Set>, NetlinkError> {
        let (family, table, own) = name;
        let family = number_of(*family);
        let write = |out: &mut Writer| out.text(TABLE, table);
        let request = Request::new("list sets", "");
        let found = self.list(libc::NFT_MSG_GETSET, family, request, write, |body| set_of(body, own))?;
        let Some(mut set) = found.into_iter().next() else { return Ok(None) };
        let left = MOST_ELEMENTS - self.elements;
        let mut elements = Vec::new();
        let (write, request) = (
            |out: &mut Writer| {
                out.text(TABLE, table);
                out.text(ELEMENTS_SET, own);
            },
            Request::new("list elements of a set", ""),
        );
        let mut is_cut = false;
        let found = self.list(libc::NFT_MSG_GETSETELEM, family, request, write, |body| {
            let mut part = Vec::new();
            is_cut |= !elements_of(body, left, &mut part);
            Some(part)
        })?;
        for part in found {
            elements.extend(part);
        }
        if elements.len() > left {
            elements.truncate(left);
            is_cut = true;
        }
        self.elements += elements.len();
        (set.elements, set.is_cut) = (elements, is_cut);
        Ok(Some(set))
    }
}

/// A table and its flags.
type Table = (Family, String, u32);

/// A rule and the chain that it is of; what it does is left out where there are too many.
type Found = (Family, String, String, Option<Rule>);

fn gather(tables: &[Table], chains: Vec<Chain>, rules: Vec<Found>) -> Ruleset {
    let with = |flag: u32| {
        let tables = tables.iter().filter(move |(.., flags)| flags & flag != 0);
        tables.map(|(family, name, _)| (*family, name.clone()))
    };
    let asleep: BTreeSet<(Family, String)> = with(DORMANT).collect();
    let mut ruleset = Ruleset { owned: with(OWNER).collect(), ..Ruleset::default() };
    let mut places = HashMap::new();
    for chain in chains {
        if asleep.contains(&(chain.family, chain.table.clone())) {
            continue;
        }
        let place = (chain.family, chain.table.clone(), chain.name.clone());
        places.entry(place).or_insert_with(|| {
            ruleset.chains.push(chain);
            ruleset.chains.len() - 1
        });
    }
    for (family, table, chain, rule) in rules {
        let Some(place) = places.get(&(family, table, chain)) else { continue };
        match (ruleset.chains.get_mut(*place), rule) {
            (Some(chain), Some(rule)) => chain.rules.push(rule),
            (Some(chain), None) => chain.is_cut = true,
            (None, _) => {}
        }
    }
    ruleset
}

/// The sets that rules ask.
fn asked(ruleset: &Ruleset) -> BTreeSet<SetName> {
    let mut asked = BTreeSet::new();
    for chain in &ruleset.chains {
        for expression in chain.rules.iter().flat_map(|rule| &rule.expressions) {
            if let Expression::Lookup { set, .. } = expression {
                asked.insert((chain.family, chain.table.clone(), set.clone()));
            }
        }
    }
    asked
}

fn number_of(family: Family) -> u8 {
    match family {
        Family::Inet => libc::NFPROTO_INET as u8,
        Family::Ip => libc::NFPROTO_IPV4 as u8,
        Family::Ip6 => libc::NFPROTO_IPV6 as u8,
        Family::Netdev => libc::NFPROTO_NETDEV as u8,
    }
}

/// The family at the head of a message; `None` for those that are left out.
fn family_of(body: &[u8]) -> Option<Family> {
    let number = *body.first()?;
    let all = [Family::Inet, Family::Ip, Family::Ip6, Family::Netdev];
    all.into_iter().find(|family| number_of(*family) == number)
}

fn table_of(body: &[u8]) -> Option<Table> {
    let attributes = Attributes::behind(body, 4);
    let flags = attributes.get(TABLE_FLAGS).and_then(message::u32_be).unwrap_or(0);
    Some((family_of(body)?, name_at(attributes, TABLE_NAME)?, flags))
}

fn name_at(attributes: Attributes<'_>, kind: u16) -> Option<String> {
    attributes.get(kind).and_then(message::text).map(str::to_owned)
}

fn chain_of(body: &[u8]) -> Option<Chain> {
    let family = family_of(body)?;
    let attributes = Attributes::behind(body, 4);
    let hook = attributes.inside(CHAIN_HOOK);
    let base = hook.get(HOOK_NUMBER).and_then(message::u32_be).and_then(|number| {
        let names = hook.inside(HOOK_DEVICES).filter(|device| device.kind == DEVICE_NAME);
        let names = names.filter_map(|device| message::text(device.value));
        let single = hook.get(HOOK_DEVICE).and_then(message::text);
        Some(Base {
            hook: hook_of(family, number)?,
            priority: hook.get(HOOK_PRIORITY).and_then(message::u32_be)?.cast_signed(),
            drops: attributes.get(CHAIN_POLICY).and_then(message::u32_be) == Some(libc::NF_DROP as u32),
            is_nat: attributes.get(CHAIN_TYPE).and_then(message::text) == Some("nat"),
            devices: single.into_iter().chain(names).map(str::to_owned).collect(),
        })
    });
    Some(Chain {
        family,
        table: name_at(attributes, TABLE)?,
        name: name_at(attributes, CHAIN_NAME)?,
        base,
        rules: Vec::new(),
        is_cut: false,
    })
}

fn hook_of(family: Family, number: u32) -> Option<Hook> {
    if family == Family::Netdev {
        return (number == 0).then_some(Hook::Ingress);
    }
    Some(match number {
        0 => Hook::Prerouting,
        1 => Hook::Input,
        2 => Hook::Forward,
        3 => Hook::Output,
        4 => Hook::Postrouting,
        5 => Hook::Ingress,
        _ => return None,
    })
}

fn rule_of(body: &[u8], is_wanted: bool) -> Option<Found> {
    let attributes = Attributes::behind(body, 4);
    let rule = is_wanted.then(|| Rule {
        handle: attributes.get(RULE_HANDLE).and_then(message::u64_be).unwrap_or(0),
        expressions: attributes
            .inside(RULE_EXPRESSIONS)
            .map(|element| expression(Attributes::new(element.value)))
            .collect(),
    });
    Some((family_of(body)?, name_at(attributes, TABLE)?, name_at(attributes, RULE_CHAIN)?, rule))
}

/// The set, if it is the one of this name.
fn set_of(body: &[u8], wanted: &str) -> Option<Set> {
    let attributes = Attributes::behind(body, 4);
    let name = attributes.get(SET_NAME).and_then(message::text)?;
    let number = |kind| attributes.get(kind).and_then(message::u32_be);
    let fields = attributes.inside(SET_DESCRIPTION).inside(DESCRIPTION_FIELDS);
    let length = |field: &[u8]| Attributes::new(field).get(FIELD_LENGTH).and_then(message::u32_be);
    (name == wanted).then(|| Set {
        key_length: number(SET_KEY_LENGTH).unwrap_or(0) as usize,
        is_of_intervals: number(SET_FLAGS).unwrap_or(0) & libc::NFT_SET_INTERVAL as u32 != 0,
        fields: fields.filter_map(|field| length(field.value)).map(|length| length as usize).collect(),
        ..Set::default()
    })
}

/// Reads elements into `into` until it has `most`; says whether it has all.
fn elements_of(body: &[u8], most: usize, into: &mut Vec<SetElement>) -> bool {
    for element in Attributes::behind(body, 4).inside(ELEMENTS_LIST) {
        if into.len() >= most {
            return false;
        }
        let element = Attributes::new(element.value);
        let key = |kind| element.inside(kind).get(DATA_VALUE).map(<[u8]>::to_vec);
        let flags = element.get(ELEMENT_FLAGS).and_then(message::u32_be).unwrap_or(0);
        into.push(SetElement {
            key: key(ELEMENT_KEY).unwrap_or_default(),
            key_end: key(ELEMENT_KEY_END),
            is_end: flags & IS_END != 0,
            is_for_all: flags & IS_FOR_ALL != 0,
            data: data_of(element.inside(ELEMENT_DATA)),
        });
    }
    true
}

pub(super) fn read_anything(body: &[u8]) {
    let _ = (table_of(body), chain_of(body), rule_of(body, true), set_of(body, "a"));
    elements_of(body, 16, &mut Vec::new());
    let _ = expression(Attributes::new(body));
    for name in ["tcp", "udp", "conntrack", "mark", "multiport", "addrtype", "pkttype", "state"] {
        for revision in 0..4 {
            let _ = super::xtables::test(name, revision, body);
        }
    }
    for name in ["MARK", "CONNMARK", "CT", "DNAT", "REDIRECT"] {
        for revision in 0..4 {
            let _ = super::xtables::target(name, revision, body);
        }
    }
}
