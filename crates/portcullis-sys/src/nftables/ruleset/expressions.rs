//! Expressions of rules, from the kernel's attributes.

use super::super::numbers::*;
use super::numbers::*;
use super::xtables;
use super::{Comparison, Data, Destination, Expression, Field, Place, Register, Verdict};
use crate::netlink::message::{self, Attributes};

/// How many bytes there are in registers.
const REGISTERS: usize = 64;

/// An expression; one that is not understood is [`Expression::Unknown`].
pub(super) fn expression(attributes: Attributes<'_>) -> Expression {
    let name = attributes.get(EXPRESSION_NAME).and_then(message::text).unwrap_or_default();
    known(name, attributes.inside(EXPRESSION_DATA)).unwrap_or_else(|| Expression::Unknown(name.to_owned()))
}

fn known(name: &str, data: Attributes<'_>) -> Option<Expression> {
    let number = |kind| data.get(kind).and_then(message::u32_be);
    let at = |kind| number(kind).and_then(register);
    Some(match name {
        "counter" | "log" | "last" | "objref" | "quota_object" | "flow_offload" => Expression::Nothing,
        "meta" => match (number(META_KEY)?, at(META_REGISTER), at(META_SOURCE_REGISTER)) {
            (key, Some(into), _) => Expression::Load { into, field: Field::Meta(key) },
            (key, None, Some(from)) if key == libc::NFT_META_MARK as u32 => Expression::SetMark { from },
            // Other things that are set change no way.
            (_, None, Some(_)) => Expression::Nothing,
            _ => return None,
        },
        "ct" => match at(CT_REGISTER) {
            Some(into) => {
                let direction = data.get(CT_DIRECTION).and_then(|value| value.first().copied());
                Expression::Load { into, field: Field::Connection(number(CT_KEY)?, direction) }
            }
            None => Expression::Nothing,
        },
        "payload" => {
            // Without a register to load it is written.
            let Some(into) = at(PAYLOAD_REGISTER) else { return Some(Expression::Nothing) };
            let (offset, length) = (number(PAYLOAD_OFFSET)? as usize, number(PAYLOAD_LENGTH)? as usize);
            let field = match i32::try_from(number(PAYLOAD_BASE)?).ok()? {
                libc::NFT_PAYLOAD_NETWORK_HEADER => Field::Network { offset, length },
                libc::NFT_PAYLOAD_TRANSPORT_HEADER => Field::Transport { offset, length },
                _ => Field::Other,
            };
            Expression::Load { into, field }
        }
        "fib" => Expression::Load {
            into: at(FIB_REGISTER)?,
            field: Field::Route { result: number(FIB_RESULT)?, flags: number(FIB_FLAGS)? },
        },
        "exthdr" if at(META_REGISTER).is_none() => Expression::Nothing,
        "exthdr" | "rt" | "osf" | "numgen" | "xfrm" => {
            Expression::Load { into: at(META_REGISTER)?, field: Field::Other }
        }
        "socket" | "hash" | "tunnel" => Expression::Load { into: at(2)?, field: Field::Other },
        "bitwise" => {
            if number(BITWISE_OPERATION).unwrap_or(0) != 0 {
                return None;
            }
            let (mask, flip) = (value(data, BITWISE_MASK)?, value(data, BITWISE_XOR)?);
            if mask.len() != flip.len() {
                return None;
            }
            Expression::Bitwise { from: at(BITWISE_FROM)?, into: at(BITWISE_TO)?, mask, flip }
        }
        "byteorder" => Expression::ByteOrder {
            from: at(BYTEORDER_FROM)?,
            into: at(BYTEORDER_TO)?,
            length: number(BYTEORDER_LENGTH)? as usize,
            size: number(BYTEORDER_SIZE)? as usize,
        },
        "cmp" => Expression::Compare {
            register: at(COMPARE_REGISTER)?,
            how: comparison(number(COMPARE_HOW)?)?,
            value: value(data, COMPARE_DATA)?,
        },
        "range" => Expression::Range {
            register: at(RANGE_REGISTER)?,
            is_outside: number(RANGE_HOW)? == libc::NFT_RANGE_NEQ as u32,
            from: value(data, RANGE_FROM)?,
            to: value(data, RANGE_TO)?,
        },
        "lookup" => Expression::Lookup {
            register: at(LOOKUP_REGISTER)?,
            set: message::text(data.get(LOOKUP_SET)?)?.to_owned(),
            is_inverted: number(LOOKUP_FLAGS).unwrap_or(0) & 1 != 0,
            into: match number(LOOKUP_INTO) {
                None => None,
                Some(VERDICT) => Some(Destination::Verdict),
                Some(other) => Some(Destination::Register(register(other)?)),
            },
        },
        "immediate" => match (number(IMMEDIATE_REGISTER)?, data_of(data.inside(IMMEDIATE_DATA))?) {
            (VERDICT, Data::Verdict(verdict)) => Expression::Verdict(verdict),
            (into, Data::Value(value)) => Expression::Value { into: register(into)?, value },
            _ => return None,
        },
        "limit" => Expression::Limit { is_over: number(LIMIT_FLAGS).unwrap_or(0) & 1 != 0 },
        "connlimit" => Expression::Limit { is_over: number(CONNLIMIT_FLAGS).unwrap_or(0) & 1 != 0 },
        // One that counts for each source passes or not by its count.
        "dynset" if data.get(DYNSET_EXPRESSION).or(data.get(DYNSET_EXPRESSIONS)).is_none() => {
            Expression::Nothing
        }
        "reject" => Expression::Verdict(Verdict::Drop),
        "queue" => Expression::Verdict(Verdict::Queue),
        "notrack" => Expression::NoTrack,
        "nat" if number(NAT_TYPE)? == NAT_OF_DESTINATION => Expression::Translate {
            address: at(NAT_ADDRESS).map(Place::Register),
            port: at(NAT_PORT).map(Place::Register),
            is_redirect: false,
        },
        "redir" => Expression::Translate {
            address: None,
            port: at(REDIRECT_PORT).map(Place::Register),
            is_redirect: true,
        },
        // The source only.
        "nat" | "masq" => Expression::Verdict(Verdict::Accept),
        "match" | "target" => {
            let xt = message::text(data.get(XT_NAME)?)?;
            let (revision, bytes) = (number(XT_REVISION).unwrap_or(0), data.get(XT_DATA)?);
            let read = if name == "match" { xtables::test } else { xtables::target };
            return Some(
                read(xt, revision, bytes).unwrap_or_else(|| Expression::Unknown(format!("iptables' {xt}"))),
            );
        }
        _ => return None,
    })
}

/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;

/// The first byte of a register: four of sixteen bytes, which are also sixteen of four bytes.
fn register(number: u32) -> Option<Register> {
    let number = number as usize;
    let first = match number {
        1..=4 => (number - 1) * 16,
        8..=23 => (number - 8) * 4,
        _ => return None,
    };
    (first < REGISTERS).then_some(first)
}

fn comparison(number: u32) -> Option<Comparison> {
    Some(match number {
        0 => Comparison::Equal,
        1 => Comparison::NotEqual,
        2 => Comparison::Less,
        3 => Comparison::LessOrEqual,
        4 => Comparison::Greater,
        5 => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn value(data: Attributes<'_>, kind: u16) -> Option<Vec<u8>> {
    match data_of(data.inside(kind))? {
        Data::Value(value) => Some(value),
        Data::Verdict(_) => None,
    }
}

/// A value or a verdict.
pub(super) fn data_of(data: Attributes<'_>) -> Option<Data> {
    if let Some(value) = data.get(DATA_VALUE) {
        return (value.len() <= REGISTERS).then(|| Data::Value(value.to_vec()));
    }
    data.get(DATA_VERDICT)?;
    let verdict = data.inside(DATA_VERDICT);
    let code = verdict.get(VERDICT_CODE).and_then(message::u32_be)?.cast_signed();
    let chain = || verdict.get(VERDICT_CHAIN).and_then(message::text).map(str::to_owned);
    Some(Data::Verdict(match code {
        libc::NFT_CONTINUE => Verdict::Continue,
        libc::NFT_RETURN => Verdict::Return,
        libc::NFT_JUMP => Verdict::Jump(chain()?),
        libc::NFT_GOTO => Verdict::Goto(chain()?),
        // The upper half is a queue's number, or an error's.
        code => match code & 0xff {
            libc::NF_DROP => Verdict::Drop,
            libc::NF_ACCEPT => Verdict::Accept,
            _ => Verdict::Queue,
        },
    }))
}
