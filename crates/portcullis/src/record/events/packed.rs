//! Values of JSON in few bytes: what every line repeats (keys, words, its own time and source) takes one or two.
//!
//! Whatever is packed comes out again letter by letter: a form that is shorter is taken only where it prints the same
//! text. Bytes that make no sense are told as such and never more than they are worth: nothing is allocated that the
//! bytes themselves do not fill.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use portcullis_core::net::Prefix;
use portcullis_core::time::Wall;

use super::node::Node;
use super::words::WORDS;
use crate::record::json;

// The first byte of a value. Part of the file's layout.
const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const WHOLE: u8 = 3;
const NEGATIVE: u8 = 4;
const REAL: u8 = 5;
const TEXT: u8 = 6;
const SENTENCE: u8 = 7;
const TIME: u8 = 8;
const ADDRESS_4: u8 = 9;
const ADDRESS_6: u8 = 10;
const PREFIX_4: u8 = 11;
const PREFIX_6: u8 = 12;
const SOURCE: u8 = 13;
const SOURCE_PREFIX: u8 = 14;
const SCAN_ID: u8 = 15;
const BAN_ID: u8 = 16;
const LIST: u8 = 17;
const OBJECT: u8 = 18;
const ASCENDING: u8 = 19;
const THOUSANDTHS: u8 = 20;
/// The value stands in a column of the row.
pub(super) const COLUMN: u8 = 31;
/// From here on small numbers stand for themselves.
const SMALL: u8 = 32;
/// From here on words of the list.
const WORD: u8 = 64;

/// No line nests deeper; what does is damaged.
const DEPTH: u32 = 32;

/// What the values of one line refer to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    /// Milliseconds since 1970.
    pub(super) time: i64,
    /// The source that stands in the row.
    pub(super) source: Option<IpAddr>,
}

/// Puts a value behind `bytes`.
pub(super) fn pack(value: &Node, context: Context, bytes: &mut Vec<u8>) {
    match value {
        Node::Null => bytes.push(NULL),
        Node::Flag(flag) => bytes.push(if *flag { TRUE } else { FALSE }),
        Node::Whole(number) => pack_whole(*number, bytes),
        Node::Negative(number) => {
            bytes.push(NEGATIVE);
            put(number.cast_unsigned() ^ u64::MAX, bytes);
        }
        Node::Real(number) => pack_real(*number, bytes),
        Node::Text(text) => pack_text(text, context, bytes),
        Node::List(list) => match ascending(list) {
            Some(numbers) => {
                bytes.push(ASCENDING);
                put_ascending(&numbers, bytes);
            }
            None => {
                bytes.push(LIST);
                put(list.len() as u64, bytes);
                list.iter().for_each(|item| pack(item, context, bytes));
            }
        },
        Node::Object(fields) => {
            bytes.push(OBJECT);
            put(fields.len() as u64, bytes);
            for (key, value) in fields {
                pack_word(key, bytes);
                pack(value, context, bytes);
            }
        }
    }
}

fn pack_whole(number: u64, bytes: &mut Vec<u8>) {
    match u8::try_from(number) {
        Ok(small) if small < WORD - SMALL => bytes.push(SMALL + small),
        _ => {
            bytes.push(WHOLE);
            put(number, bytes);
        }
    }
}

fn pack_real(number: f64, bytes: &mut Vec<u8>) {
    let thousandths = (number * 1000.0).round();
    // Below 2^53 every whole number is one; the sign of a zero would be lost.
    if thousandths > 0.0 && thousandths < 9e15 && (thousandths / 1000.0).to_bits() == number.to_bits() {
        bytes.push(THOUSANDTHS);
        put(thousandths as u64, bytes);
    } else {
        bytes.push(REAL);
        bytes.extend(number.to_le_bytes());
    }
}

/// One word, or a text as it is.
pub(super) fn pack_word(text: &str, bytes: &mut Vec<u8>) {
    match WORDS.iter().position(|word| *word == text) {
        Some(place) => bytes.push(WORD + u8::try_from(place).expect("WORDS is within its limit")),
        None => {
            bytes.push(TEXT);
            put(text.len() as u64, bytes);
            bytes.extend(text.as_bytes());
        }
    }
}

fn pack_text(text: &str, context: Context, bytes: &mut Vec<u8>) {
    if pack_typed(text, context, bytes) {
        return;
    }
    if !text.contains(' ') || WORDS.contains(&text) {
        return pack_word(text, bytes);
    }
    bytes.push(SENTENCE);
    put(text.split(' ').count() as u64, bytes);
    for word in text.split(' ') {
        let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        match word.parse::<u64>() {
            Ok(number) if is_number && number.to_string() == word => pack_whole(number, bytes),
            _ => pack_word(word, bytes),
        }
    }
}

/// Texts that print a typed value; only where the value prints the same text.
fn pack_typed(text: &str, context: Context, bytes: &mut Vec<u8>) -> bool {
    let first = text.as_bytes().first().copied().unwrap_or_default();
    if let Some((kind, digits)) = text.split_once('-')
        && let Some(tag) = [("s", SCAN_ID), ("b", BAN_ID)].iter().find(|own| own.0 == kind).map(|own| own.1)
        && let Ok(number) = u64::from_str_radix(digits, 16)
        && format!("{number:x}") == digits
    {
        bytes.push(tag);
        put(number, bytes);
        return true;
    }
    if !first.is_ascii_hexdigit() && first != b':' {
        return false;
    }
    if text.len() == 24
        && let Ok(stamp) = text.parse::<Timestamp>()
        && print_time(stamp.as_millisecond()).as_deref() == Some(text)
    {
        bytes.push(TIME);
        put(zigzag(stamp.as_millisecond().wrapping_sub(context.time)), bytes);
        return true;
    }
    if let Ok(address) = text.parse::<IpAddr>()
        && address.to_string() == text
    {
        if context.source == Some(address) {
            bytes.push(SOURCE);
        } else {
            bytes.push(if address.is_ipv4() { ADDRESS_4 } else { ADDRESS_6 });
            bytes.extend(octets(address));
        }
        return true;
    }
    if text.contains('/')
        && let Ok(prefix) = text.parse::<Prefix>()
        && prefix.to_string() == text
    {
        let of_source = |source: IpAddr| {
            source.is_ipv4() == prefix.address().is_ipv4()
                && Prefix::containing(source, prefix.length()) == prefix
        };
        if context.source.is_some_and(of_source) {
            bytes.push(SOURCE_PREFIX);
        } else {
            bytes.push(if prefix.address().is_ipv4() { PREFIX_4 } else { PREFIX_6 });
            bytes.extend(octets(prefix.address()));
        }
        bytes.push(prefix.length());
        return true;
    }
    false
}

fn print_time(milliseconds: i64) -> Option<String> {
    let milliseconds = u64::try_from(milliseconds).ok()?;
    Some(json::time(Wall(std::time::Duration::from_millis(milliseconds))))
}

/// The bytes of an address, 4 or 16.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An address of its 4 or 16 bytes.
pub(super) fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(|octets| Ipv4Addr::from(octets).into()),
        16 => <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

/// The numbers of a list that rises strictly, and holds more than one.
fn ascending(list: &[Node]) -> Option<Vec<u64>> {
    let numbers: Option<Vec<u64>> = list.iter().map(Node::as_whole).collect();
    numbers.filter(|numbers| numbers.len() > 1 && numbers.is_sorted_by(|low, high| low < high))
}

/// A list that rises strictly, as the steps in it.
pub(super) fn put_ascending(numbers: &[u64], bytes: &mut Vec<u8>) {
    put(numbers.len() as u64, bytes);
    let mut before = 0;
    for number in numbers {
        put(number - before, bytes);
        before = *number;
    }
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// Seven bits a byte, the lowest first (LEB128).
pub(super) fn put(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Bytes that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// Bytes on their way back.
pub(super) struct Unpacker<'a> {
    bytes: &'a [u8],
    context: Context,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(bytes: &'a [u8], context: Context) -> Unpacker<'a> {
        Unpacker { bytes, context }
    }

    /// Whether nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the next value stands in a column; if so it counts as read.
    pub(super) fn is_column(&mut self) -> bool {
        match self.bytes.split_first() {
            Some((&COLUMN, rest)) => {
                self.bytes = rest;
                true
            }
            _ => false,
        }
    }

    fn byte(&mut self) -> Result<u8, Damaged> {
        let (byte, rest) = self.bytes.split_first().ok_or(Damaged)?;
        self.bytes = rest;
        Ok(*byte)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(Damaged)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    /// A length of things that take at least a byte each.
    fn length(&mut self) -> Result<usize, Damaged> {
        let length = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        if length <= self.bytes.len() { Ok(length) } else { Err(Damaged) }
    }

    /// The numbers that [`put_ascending`] put.
    pub(super) fn ascending(&mut self) -> Result<Vec<u64>, Damaged> {
        let mut before = 0u64;
        (0..self.length()?)
            .map(|_| {
                before = before.checked_add(self.number()?).ok_or(Damaged)?;
                Ok(before)
            })
            .collect()
    }

    /// A key.
    pub(super) fn word(&mut self) -> Result<String, Damaged> {
        match self.byte()? {
            TEXT => self.literal(),
            byte if byte >= WORD => word(byte).map(str::to_owned),
            _ => Err(Damaged),
        }
    }

    fn literal(&mut self) -> Result<String, Damaged> {
        let length = self.length()?;
        str::from_utf8(self.take(length)?).map(str::to_owned).map_err(|_| Damaged)
    }

    fn sentence(&mut self) -> Result<String, Damaged> {
        let mut sentence = String::new();
        for number in 0..self.length()? {
            if number > 0 {
                sentence.push(' ');
            }
            match self.byte()? {
                TEXT => sentence += &self.literal()?,
                WHOLE => sentence += &self.number()?.to_string(),
                byte @ SMALL..WORD => sentence += &(byte - SMALL).to_string(),
                byte if byte >= WORD => sentence += word(byte)?,
                _ => return Err(Damaged),
            }
        }
        Ok(sentence)
    }

    /// The next value.
    pub(super) fn value(&mut self) -> Result<Node, Damaged> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: u32) -> Result<Node, Damaged> {
        if depth > DEPTH {
            return Err(Damaged);
        }
        Ok(match self.byte()? {
            NULL => Node::Null,
            FALSE => Node::Flag(false),
            TRUE => Node::Flag(true),
            WHOLE => Node::Whole(self.number()?),
            NEGATIVE => Node::Negative((self.number()? ^ u64::MAX).cast_signed()),
            REAL => {
                let bytes = self.take(8)?.try_into().map_err(|_| Damaged)?;
                Node::Real(f64::from_le_bytes(bytes))
            }
            THOUSANDTHS => Node::Real(self.number()? as f64 / 1000.0),
            TEXT => Node::Text(self.literal()?),
            SENTENCE => Node::Text(self.sentence()?),
            TIME => {
                let number = self.number()?;
                let step = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
                Node::Text(print_time(self.context.time.wrapping_add(step)).ok_or(Damaged)?)
            }
            ADDRESS_4 => Node::Text(address(self.take(4)?).ok_or(Damaged)?.to_string()),
            ADDRESS_6 => Node::Text(address(self.take(16)?).ok_or(Damaged)?.to_string()),
            PREFIX_4 => self.prefix(4)?,
            PREFIX_6 => self.prefix(16)?,
            SOURCE => Node::Text(self.context.source.ok_or(Damaged)?.to_string()),
            SOURCE_PREFIX => {
                let source = self.context.source.ok_or(Damaged)?;
                prefix_of(source, self.byte()?)?
            }
            SCAN_ID => Node::Text(format!("s-{:x}", self.number()?)),
            BAN_ID => Node::Text(format!("b-{:x}", self.number()?)),
            ASCENDING => Node::List(self.ascending()?.into_iter().map(Node::Whole).collect()),
            LIST => {
                let length = self.length()?;
                Node::List((0..length).map(|_| self.value_at(depth + 1)).collect::<Result<_, _>>()?)
            }
            OBJECT => {
                let length = self.length()?;
                let field = |_| Ok((self.word()?, self.value_at(depth + 1)?));
                Node::Object((0..length).map(field).collect::<Result<_, _>>()?)
            }
            byte @ SMALL..WORD => Node::Whole(u64::from(byte - SMALL)),
            byte => Node::Text(word(byte)?.to_owned()),
        })
    }

    fn prefix(&mut self, length: usize) -> Result<Node, Damaged> {
        let address = address(self.take(length)?).ok_or(Damaged)?;
        prefix_of(address, self.byte()?)
    }
}

fn prefix_of(address: IpAddr, length: u8) -> Result<Node, Damaged> {
    let longest = if address.is_ipv4() { 32 } else { 128 };
    if length > longest {
        return Err(Damaged);
    }
    Ok(Node::Text(Prefix::containing(address, length).to_string()))
}

fn word(byte: u8) -> Result<&'static str, Damaged> {
    let place = byte.checked_sub(WORD).ok_or(Damaged)?;
    WORDS.get(usize::from(place)).copied().ok_or(Damaged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONTEXT: Context =
        Context { time: 1_795_000_000_123, source: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9))) };

    fn there_and_back(value: &Node) -> Vec<u8> {
        let mut bytes = Vec::new();
        pack(value, CONTEXT, &mut bytes);
        let mut unpacker = Unpacker::new(&bytes, CONTEXT);
        assert_eq!(unpacker.value().as_ref(), Ok(value));
        assert!(unpacker.is_done());
        bytes
    }

    #[test]
    fn what_every_line_repeats_is_short() {
        for (text, most) in [
            ("203.0.113.9", 1),
            ("203.0.113.9/32", 2),
            ("203.0.113.0/24", 2),
            ("198.51.100.7", 5),
            ("2001:db8::/64", 18),
            ("2026-11-18T17:06:40.123Z", 6),
            ("s-7f3a", 4),
            ("b-0", 2),
            ("found in force", 1),
            ("14 probes to 14 closed TCP ports in 0.4 s", 16),
        ] {
            let length = there_and_back(&Node::Text(text.into())).len();
            assert!(length <= most, "{text}: {length}");
        }
    }

    #[test]
    fn what_only_looks_typed_stays_as_it_was_written() {
        for text in [
            "",
            " ",
            "  two  blanks ",
            "203.0.113.009",
            "2001:DB8::1",
            "10.0.0.1/8",
            "s-",
            "s-0x7",
            "s-007",
            "b-+1",
            "007 12 -0 18446744073709551616",
            "2026-13-18T17:06:40.123Z",
            "1969-12-31T23:59:59.000Z",
            "2026-11-18t17:06:40.123z",
            "ä \u{1b}[2J",
            "+7 s",
        ] {
            there_and_back(&Node::Text(text.into()));
        }
    }

    fn nodes() -> impl Strategy<Value = Node> {
        let text = prop_oneof![
            ".{0,20}",
            "[0-9a-f:./ -]{0,24}",
            any::<IpAddr>().prop_map(|address| address.to_string()),
            (any::<IpAddr>(), 0u8..=32).prop_map(|(a, length)| Prefix::containing(a, length).to_string()),
            prop::sample::select(WORDS).prop_map(str::to_owned),
        ];
        let leaf = prop_oneof![
            Just(Node::Null),
            any::<bool>().prop_map(Node::Flag),
            any::<u64>().prop_map(Node::Whole),
            (i64::MIN..0).prop_map(Node::Negative),
            prop::num::f64::NORMAL.prop_map(Node::Real),
            (0u32..1_000_000).prop_map(|n| Node::Real(f64::from(n) / 100.0)),
            text.clone().prop_map(Node::Text),
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Node::List),
                prop::collection::vec(any::<u16>().prop_map(|n| Node::Whole(n.into())), 0..6)
                    .prop_map(Node::List),
                prop::collection::vec((text.clone(), inner), 0..6).prop_map(Node::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_packed_comes_out_again(value in nodes()) {
            there_and_back(&value);
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut unpacker = Unpacker::new(&bytes, CONTEXT);
            while unpacker.value().is_ok() && !unpacker.is_done() {}
        }
    }
}
