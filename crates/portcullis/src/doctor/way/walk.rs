//! What the rules of one base chain do with a packet.
//!
//! A rule that is not understood may match or not; then both are gone on with, so that the answer is certain wherever it
//! comes out the same.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use portcullis_sys::nftables::ruleset::{
    Chain, Comparison, Data, Destination, Expression, Family, Place, Register, Ruleset, Set, SetElement,
    Test, Verdict,
};

use super::packet::{Byte, ELSEWHERE, LOCAL, Packet, UNTRACKED, known};

/// Rules that are walked at most for one question; a ruleset that takes more is not understood.
const MOST_STEPS: usize = 200_000;

/// The kernel refuses rulesets that jump deeper (`NFT_JUMP_STACK_SIZE`).
const MOST_JUMPS: usize = 16;

/// A place in the rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The table's family.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// Which rule, from 1, and its handle; `None` is the policy.
    pub rule: Option<(usize, u64)>,
}

/// A rule that was not understood, and what in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// Where.
    pub at: Spot,
    /// What.
    pub what: String,
}

/// How a packet can come out of a chain.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// It may pass.
    pub passes: bool,
    /// It may be dropped here.
    pub drops: Vec<Spot>,
    /// It may come to the end.
    pub returns: bool,
    /// What is not understood.
    pub doubts: Vec<Doubt>,
}

/// A packet's way through chains.
pub struct Walk<'a> {
    ruleset: &'a Ruleset,
    chains: HashMap<(Family, &'a str, &'a str), &'a Chain>,
    steps: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    Perhaps,
}

impl Answer {
    fn of(is_so: bool) -> Answer {
        if is_so { Answer::Yes } else { Answer::No }
    }

    fn inverted_if(self, is_inverted: bool) -> Answer {
        match (self, is_inverted) {
            (Answer::Yes, true) => Answer::No,
            (Answer::No, true) => Answer::Yes,
            (answer, _) => answer,
        }
    }
}

type Registers = [Byte; 64];

impl<'a> Walk<'a> {
    /// To walk these rules.
    #[must_use]
    pub fn new(ruleset: &'a Ruleset) -> Walk<'a> {
        let chains = ruleset.chains.iter();
        let chains = chains.map(|chain| ((chain.family, chain.table.as_str(), chain.name.as_str()), chain));
        Walk { ruleset, chains: chains.collect(), steps: 0 }
    }

    /// What this base chain does with `packet`, which may be changed on the way.
    pub fn base(&mut self, chain: &'a Chain, packet: &mut Packet) -> Ends {
        let mut ends = self.chain(chain, packet, 0);
        if ends.returns {
            ends.returns = false;
            match chain.base.as_ref().is_some_and(|base| base.drops) {
                true => ends.drops.push(spot(chain, None)),
                false => ends.passes = true,
            }
        }
        ends
    }

    fn chain(&mut self, chain: &'a Chain, packet: &mut Packet, depth: usize) -> Ends {
        let mut ends = Ends::default();
        // As it was where it may have gone back already.
        let mut gone: Vec<Packet> = Vec::new();
        if depth > MOST_JUMPS || chain.is_cut {
            return unclear(ends, spot(chain, None), "more rules than are read");
        }
        for (index, rule) in chain.rules.iter().enumerate() {
            let here = spot(chain, Some((index + 1, rule.handle)));
            self.steps += 1;
            if self.steps > MOST_STEPS {
                return unclear(ends, here, "more rules than are walked");
            }
            let before = packet.clone();
            let (matches, verdict, doubt) = self.rule(chain, &rule.expressions, packet);
            if matches == Answer::No {
                continue;
            }
            let is_certain = matches == Answer::Yes;
            if verdict == Some(Verdict::Queue) {
                return unclear(ends, here, doubt.as_deref().unwrap_or("a program decides (queue)"));
            }
            // A rule that only counts, or logs, is no matter, whether it matches or not.
            if verdict.is_some() || *packet != before {
                ends.doubts.extend(doubt.map(|what| Doubt { at: here.clone(), what }));
            }
            match verdict {
                None | Some(Verdict::Continue | Verdict::Queue) => {}
                Some(Verdict::Accept) => {
                    ends.passes = true;
                    if is_certain {
                        return settle(ends, packet, &gone);
                    }
                }
                Some(Verdict::Drop) => {
                    ends.drops.push(here);
                    if is_certain {
                        return settle(ends, packet, &gone);
                    }
                }
                Some(Verdict::Return) => {
                    ends.returns = true;
                    if is_certain {
                        return settle(ends, packet, &gone);
                    }
                    gone.push(packet.clone());
                }
                Some(Verdict::Jump(name) | Verdict::Goto(name)) if !self.knows(chain, &name) => {
                    return unclear(ends, here, "a chain that is not there");
                }
                Some(Verdict::Jump(name)) => {
                    let inner = self.into(chain, &name, packet, depth);
                    let comes_back = inner.returns;
                    take(&mut ends, inner);
                    if is_certain && !comes_back {
                        return settle(ends, packet, &gone);
                    }
                }
                Some(Verdict::Goto(name)) => {
                    let inner = self.into(chain, &name, packet, depth);
                    ends.returns |= inner.returns;
                    take(&mut ends, inner);
                    if is_certain {
                        return settle(ends, packet, &gone);
                    }
                    gone.push(packet.clone());
                }
            }
            if !is_certain {
                packet.blur(&before);
            }
        }
        ends.returns = true;
        settle(ends, packet, &gone)
    }

    fn knows(&self, from: &Chain, name: &str) -> bool {
        self.chains.contains_key(&(from.family, from.table.as_str(), name))
    }

    fn into(&mut self, from: &'a Chain, name: &str, packet: &mut Packet, depth: usize) -> Ends {
        match self.chains.get(&(from.family, from.table.as_str(), name)) {
            Some(chain) => self.chain(chain, packet, depth + 1),
            None => Ends { returns: true, ..Ends::default() },
        }
    }

    /// Whether a rule matches, its verdict, and what in it is not understood.
    fn rule(
        &self,
        chain: &Chain,
        expressions: &[Expression],
        packet: &mut Packet,
    ) -> (Answer, Option<Verdict>, Option<String>) {
        let mut registers: Registers = [Some(0); 64];
        let (mut matches, mut doubt, mut verdict) = (Answer::Yes, None, None);
        for expression in expressions {
            let (answer, what) = match expression {
                Expression::Verdict(own) => {
                    verdict = Some(own.clone());
                    break;
                }
                Expression::Translate { address, port, is_redirect } => {
                    translate(packet, &registers, address.as_ref(), port.as_ref(), *is_redirect);
                    verdict = Some(Verdict::Accept);
                    break;
                }
                Expression::Lookup { register, set, is_inverted, into } => {
                    let (answer, data) = self.look_up(chain, set, &registers, *register);
                    match (into, data) {
                        (Some(Destination::Verdict), Some(Data::Verdict(own))) => verdict = Some(own.clone()),
                        (Some(Destination::Register(into)), Some(Data::Value(value))) => {
                            store(&mut registers, *into, &known(value));
                        }
                        (Some(Destination::Register(into)), _) => store(&mut registers, *into, &[None; 16]),
                        // A verdict out of a map of which nobody knows what it says.
                        (Some(Destination::Verdict), _) if answer == Answer::Perhaps => {
                            return (Answer::Perhaps, Some(Verdict::Queue), Some(format!("the map {set}")));
                        }
                        _ => {}
                    }
                    (answer.inverted_if(*is_inverted), format!("the set {set}"))
                }
                other => simple(other, packet, &mut registers),
            };
            match answer {
                Answer::No => return (Answer::No, None, None),
                Answer::Yes => {}
                Answer::Perhaps => {
                    matches = Answer::Perhaps;
                    doubt.get_or_insert(what);
                }
            }
            if verdict.is_some() {
                break;
            }
        }
        (matches, verdict, doubt)
    }

    fn look_up(
        &self,
        chain: &Chain,
        name: &str,
        registers: &Registers,
        register: Register,
    ) -> (Answer, Option<&Data>) {
        let place = (chain.family, chain.table.clone(), name.to_owned());
        let Some(set) = self.ruleset.sets.get(&place) else { return (Answer::Perhaps, None) };
        let key = load(registers, register, set.key_length);
        let (answer, element) = find(set, &key);
        let answer = if set.is_cut && answer == Answer::No { Answer::Perhaps } else { answer };
        (answer, element.and_then(|element| element.data.as_ref()))
    }
}

fn spot(chain: &Chain, rule: Option<(usize, u64)>) -> Spot {
    Spot { family: chain.family, table: chain.table.clone(), chain: chain.name.clone(), rule }
}

fn unclear(mut ends: Ends, at: Spot, what: &str) -> Ends {
    ends.passes = true;
    ends.returns = true;
    ends.drops.push(at.clone());
    ends.doubts.push(Doubt { at, what: what.to_owned() });
    ends
}

fn settle(ends: Ends, packet: &mut Packet, gone: &[Packet]) -> Ends {
    gone.iter().for_each(|other| packet.blur(other));
    ends
}

fn take(ends: &mut Ends, inner: Ends) {
    ends.passes |= inner.passes;
    ends.drops.extend(inner.drops);
    ends.doubts.extend(inner.doubts);
}

/// What needs nothing but the packet; and what it is, if the answer is not known.
fn simple(expression: &Expression, packet: &mut Packet, registers: &mut Registers) -> (Answer, String) {
    let mut what = String::new();
    let answer = match expression {
        Expression::Load { into, field } => {
            store(registers, *into, &packet.load(field));
            Answer::Yes
        }
        Expression::Value { into, value } => {
            store(registers, *into, &known(value));
            Answer::Yes
        }
        Expression::Bitwise { from, into, mask, flip } => {
            let old = load(registers, *from, mask.len());
            let new = old.iter().zip(mask).zip(flip).map(|((byte, mask), flip)| match (byte, mask) {
                (Some(byte), mask) => Some((byte & mask) ^ flip),
                (None, 0) => Some(*flip),
                (None, _) => None,
            });
            store(registers, *into, &new.collect::<Vec<Byte>>());
            Answer::Yes
        }
        Expression::ByteOrder { from, into, length, size } => {
            let mut bytes = load(registers, *from, *length);
            if cfg!(target_endian = "little") && *size > 0 {
                bytes.chunks_mut(*size).for_each(<[Byte]>::reverse);
            }
            store(registers, *into, &bytes);
            Answer::Yes
        }
        Expression::Compare { register, how, value } => {
            "a value that is not known here".clone_into(&mut what);
            compare(&load(registers, *register, value.len()), *how, value)
        }
        Expression::Range { register, is_outside, from, to } => {
            "a value that is not known here".clone_into(&mut what);
            let bytes = load(registers, *register, from.len());
            let (low, high) = (
                compare(&bytes, Comparison::GreaterOrEqual, from),
                compare(&bytes, Comparison::LessOrEqual, to),
            );
            both(low, high).inverted_if(*is_outside)
        }
        Expression::Test { test, is_inverted } => {
            "a value that is not known here".clone_into(&mut what);
            tested(test, packet).inverted_if(*is_inverted)
        }
        Expression::Limit { is_over } => Answer::of(!is_over),
        Expression::SetMark { from } => {
            let bytes = load(registers, *from, 4);
            packet.mark.copy_from_slice(&bytes);
            Answer::Yes
        }
        Expression::ChangeMark { keep, flip } => {
            change_mark(packet, *keep, *flip);
            Answer::Yes
        }
        Expression::RestoreMark { keep, mask } => {
            let of_connection = packet.load(&portcullis_sys::nftables::ruleset::Field::Connection(3, None));
            change_mark(packet, *keep, 0);
            for ((own, byte), mask) in packet.mark.iter_mut().zip(of_connection).zip(mask.to_ne_bytes()) {
                *own = match (*own, byte) {
                    (own, _) if mask == 0 => own,
                    (Some(own), Some(byte)) => Some(own ^ (byte & mask)),
                    _ => None,
                };
            }
            Answer::Yes
        }
        Expression::NoTrack => {
            packet.state = UNTRACKED;
            Answer::Yes
        }
        Expression::Nothing => Answer::Yes,
        Expression::Unknown(name) => {
            what.clone_from(name);
            *registers = [None; 64];
            Answer::Perhaps
        }
        // The caller has them.
        Expression::Verdict(_) | Expression::Translate { .. } | Expression::Lookup { .. } => Answer::Perhaps,
    };
    (answer, what)
}

fn change_mark(packet: &mut Packet, keep: u32, flip: u32) {
    let bits = keep.to_ne_bytes().into_iter().zip(flip.to_ne_bytes());
    for (own, (keep, flip)) in packet.mark.iter_mut().zip(bits) {
        *own = match (*own, keep) {
            (Some(byte), keep) => Some((byte & keep) ^ flip),
            (None, 0) => Some(flip),
            (None, _) => None,
        };
    }
}

fn translate(
    packet: &mut Packet,
    registers: &Registers,
    address: Option<&Place>,
    port: Option<&Place>,
    is_redirect: bool,
) {
    let bytes = |place: &Place, length| match place {
        Place::Register(register) => load(registers, *register, length),
        Place::Value(value) => known(value.get(..length).unwrap_or_default()),
    };
    packet.is_translated = true;
    if let Some(place) = address {
        let length = if packet.is_ipv6() { 16 } else { 4 };
        let value: Option<Vec<u8>> = bytes(place, length).into_iter().collect();
        packet.destination = value.and_then(|value| match value.len() {
            4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        });
        packet.destination_kind = None;
    }
    if is_redirect {
        // To this host itself, as before.
        packet.destination_kind = Some(LOCAL);
    }
    if let Some(place) = port {
        packet.port = match bytes(place, 2).as_slice() {
            [Some(high), Some(low)] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        };
    }
}

fn load(registers: &Registers, from: Register, length: usize) -> Vec<Byte> {
    (from..from.saturating_add(length.min(64))).map(|at| registers.get(at).copied().flatten()).collect()
}

fn store(registers: &mut Registers, into: Register, bytes: &[Byte]) {
    for (register, byte) in registers.iter_mut().skip(into).zip(bytes) {
        *register = *byte;
    }
}

/// As memcmp(3) has it.
fn compare(bytes: &[Byte], how: Comparison, value: &[u8]) -> Answer {
    if matches!(how, Comparison::Equal | Comparison::NotEqual) {
        let differs = bytes.iter().zip(value).any(|(byte, value)| byte.is_some_and(|byte| byte != *value));
        let answer = match (differs, bytes.iter().all(Option::is_some)) {
            (true, _) => Answer::No,
            (false, true) => Answer::Yes,
            (false, false) => Answer::Perhaps,
        };
        return answer.inverted_if(how == Comparison::NotEqual);
    }
    let known: Option<Vec<u8>> = bytes.iter().copied().collect();
    let Some(order) = known.map(|known| known.as_slice().cmp(value)) else { return Answer::Perhaps };
    Answer::of(match how {
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Equal | Comparison::NotEqual => order.is_eq(),
    })
}

fn both(one: Answer, other: Answer) -> Answer {
    match (one, other) {
        (Answer::No, _) | (_, Answer::No) => Answer::No,
        (Answer::Yes, Answer::Yes) => Answer::Yes,
        _ => Answer::Perhaps,
    }
}

fn tested(test: &Test, packet: &Packet) -> Answer {
    match test {
        Test::Ports { of_source, of_destination, ranges } => {
            let within = |port: Option<u16>| match port {
                Some(port) => Answer::of(ranges.iter().any(|(low, high)| (*low..=*high).contains(&port))),
                None => Answer::Perhaps,
            };
            match (of_source, of_destination) {
                (true, false) => within(packet.source_port),
                (false, _) => within(packet.port),
                (true, true) => match (within(packet.source_port), within(packet.port)) {
                    (Answer::Yes, _) | (_, Answer::Yes) => Answer::Yes,
                    (Answer::No, Answer::No) => Answer::No,
                    _ => Answer::Perhaps,
                },
            }
        }
        Test::Flags { mask, value } => Answer::of(packet.flags & mask == *value),
        Test::State(states) => {
            let own = match packet.state {
                UNTRACKED => 256,
                other => other,
            };
            let translated = if packet.is_translated { 128 } else { 0 };
            Answer::of(u32::from(*states) & (own | translated) != 0)
        }
        Test::OriginalPort(low, high) => Answer::of((*low..=*high).contains(&packet.original.1)),
        Test::Mark { mask, value } => {
            let mask = mask.to_ne_bytes();
            let masked: Vec<Byte> = packet
                .mark
                .iter()
                .zip(mask)
                .map(|(byte, mask)| if mask == 0 { Some(0) } else { byte.map(|byte| byte & mask) })
                .collect();
            compare(&masked, Comparison::Equal, &value.to_ne_bytes())
        }
        Test::AddressKind { source, destination, is_source_inverted, is_destination_inverted } => {
            let is_of = |kinds: u16, kind: Option<u8>| match (kinds, kind) {
                (0, _) => None,
                (kinds, Some(kind)) => Some(Answer::of(kinds & (1 << kind) != 0)),
                (_, None) => Some(Answer::Perhaps),
            };
            let answer = |answer: Option<Answer>, is_inverted| {
                answer.map_or(Answer::Yes, |answer: Answer| answer.inverted_if(is_inverted))
            };
            both(
                answer(is_of(*source, Some(packet.source_kind)), *is_source_inverted),
                answer(is_of(*destination, packet.destination_kind), *is_destination_inverted),
            )
        }
        Test::PacketKind(kind) => Answer::of(*kind == 0),
    }
}

/// Looks for a key in a set.
fn find<'a>(set: &'a Set, key: &[Byte]) -> (Answer, Option<&'a SetElement>) {
    let for_all = set.elements.iter().find(|element| element.is_for_all);
    let elements = set.elements.iter().filter(|element| !element.is_for_all);
    if set.is_of_intervals && set.fields.is_empty() {
        let known: Option<Vec<u8>> = key.iter().copied().collect();
        let Some(known) = known else {
            return if set.elements.is_empty() { (Answer::No, None) } else { (Answer::Perhaps, None) };
        };
        // Where one range ends and the next begins both are there; the beginning counts.
        let last = elements
            .filter(|element| element.key <= known)
            .max_by(|one, other| one.key.cmp(&other.key).then(other.is_end.cmp(&one.is_end)));
        return match last.filter(|element| !element.is_end).or(for_all) {
            Some(element) => (Answer::Yes, Some(element)),
            None => (Answer::No, None),
        };
    }
    let mut is_unclear = false;
    for element in elements {
        match element_matches(set, element, key) {
            Answer::Yes if !is_unclear => return (Answer::Yes, Some(element)),
            Answer::No => {}
            Answer::Yes | Answer::Perhaps => is_unclear = true,
        }
    }
    match (is_unclear, for_all) {
        (true, _) => (Answer::Perhaps, None),
        (false, Some(element)) => (Answer::Yes, Some(element)),
        (false, None) => (Answer::No, None),
    }
}

fn element_matches(set: &Set, element: &SetElement, key: &[Byte]) -> Answer {
    let Some(end) = &element.key_end else { return compare(key, Comparison::Equal, &element.key) };
    let (mut at, mut answer) = (0, Answer::Yes);
    for length in &set.fields {
        let part = at..at + length;
        let (Some(key), Some(low), Some(high)) =
            (key.get(part.clone()), element.key.get(part.clone()), end.get(part))
        else {
            return Answer::Perhaps;
        };
        let (low, high) =
            (compare(key, Comparison::GreaterOrEqual, low), compare(key, Comparison::LessOrEqual, high));
        answer = both(answer, both(low, high));
        at += length.next_multiple_of(4);
    }
    answer
}

/// The kind of an address that is not this host's.
#[must_use]
pub fn kind_of(is_local: bool) -> u8 {
    if is_local { LOCAL } else { ELSEWHERE }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, table, chain) = (self.family.name(), &self.table, &self.chain);
        match self.rule {
            Some((number, handle)) => {
                write!(f, "rule {number} of chain {chain} in table {family} {table} (handle {handle})")
            }
            None => write!(f, "the policy of chain {chain} in table {family} {table}"),
        }
    }
}
