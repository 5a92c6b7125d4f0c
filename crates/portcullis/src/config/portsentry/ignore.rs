//! Reader of portsentry.ignore: whom PortSentry never touched.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::Path;

use portcullis_core::net::Prefix;

use super::super::fault::Source;
use super::ignore_build::made_from;
use super::{Diagnostic, Dialect, Weight};

/// How many diagnostics of one file are told.
const MOST: usize = 200;

/// One line of an ignore file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IgnoreEntry {
    /// Who is ignored.
    pub prefix: Prefix,
    /// The line, counted from 1.
    pub line: usize,
}

/// Reads `text`, which stands in the ignore file at `path`. Masks hold on both sides (`192.168.1.1/24` is the
/// network), `/0` is everyone, both families are read, and a line that has no meaning is said and left out (of
/// the first 200 such lines).
#[must_use]
pub fn read_ignore(path: &Path, text: &str, dialect: Dialect) -> (Vec<IgnoreEntry>, Vec<Diagnostic>) {
    let source = Source { path, text };
    let (mut entries, mut diagnostics) = (Vec::new(), Vec::new());
    let made_from = made_from(text);
    let mut start = 0;
    for (index, whole) in text.split_inclusive('\n').enumerate() {
        let line = start..start + whole.trim_end_matches(['\n', '\r']).len();
        start += whole.len();
        let content = text[line.clone()].trim_start_matches('\u{feff}');
        let content = content.split_once('#').map_or(content, |(before, _)| before);
        let Some(entry) = content.split_whitespace().next() else { continue };
        let at = line.start + text[line.clone()].find(entry).unwrap_or(0);
        let mut say = |weight: Weight, span: Range<usize>, message: String, mend: &str| {
            if diagnostics.len() < MOST {
                diagnostics.push(Diagnostic { weight, fault: source.fault(span, message, mend) });
            }
        };
        let span = at..at + entry.len();
        match meaning(entry) {
            Ok((prefix, remark)) => {
                if at > line.start && text[line.start..at].starts_with([' ', '\t']) {
                    let says = format!("{} never matched an entry behind blanks", dialect.name());
                    say(Weight::Repaired, line.start..span.end, says, "begin the line with the address");
                }
                // Nobody wrote those, so there is nobody to be told of them.
                let remark = remark.filter(|_| made_from.is_none_or(|made_from| at < made_from));
                if let Some((weight, message, mend)) = remark.and_then(|remark| remark.say(dialect, prefix)) {
                    say(weight, span, message, mend);
                }
                entries.push(IgnoreEntry { prefix, line: index + 1 });
            }
            Err(why) => {
                let says = format!("\"{entry}\" {why}; nobody is ignored by this line");
                say(
                    Weight::LeftOut,
                    span,
                    says,
                    "write an address or a network: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32",
                );
            }
        }
    }
    (entries, diagnostics)
}

/// What is to be said of an entry that has a meaning.
enum Remark {
    /// Host bits behind the length.
    HostBits,
    /// `/255.255.255.0`.
    DottedMask,
    /// `/0`.
    Everyone,
    /// Fewer than four parts, or parts in octal or hexadecimal.
    ShortForm,
    /// IPv6.
    Six,
}

impl Remark {
    fn say(self, dialect: Dialect, prefix: Prefix) -> Option<(Weight, String, &'static str)> {
        let nothing = "nothing to mend for portcullis";
        match (self, dialect) {
            (Remark::HostBits, Dialect::One) => None,
            (Remark::HostBits, Dialect::Two) => Some((
                Weight::Repaired,
                format!(
                    "PortSentry 2.x never matched an address with bits behind its length; read as {prefix}"
                ),
                "write the network",
            )),
            (Remark::DottedMask, _) => Some((
                Weight::Repaired,
                format!("{} passed over a mask in dots; read as {prefix}", dialect.name()),
                "write the mask as a number of bits",
            )),
            (Remark::Everyone, _) => Some((
                Weight::Note,
                format!(
                    "{prefix} is everyone, so nothing is ever judged; PortSentry took /0 for a single address"
                ),
                "write the address without /0 if only that one is meant",
            )),
            (Remark::ShortForm, _) => Some((
                Weight::Note,
                format!("a short form, which C reads as {prefix}"),
                "write all four parts, or the network that is meant with its length",
            )),
            (Remark::Six, Dialect::One) => Some((
                Weight::Repaired,
                format!("PortSentry 1.x knew no IPv6; {prefix} is ignored now"),
                nothing,
            )),
            (Remark::Six, Dialect::Two) => None,
        }
    }
}

fn meaning(entry: &str) -> Result<(Prefix, Option<Remark>), &'static str> {
    let (address, length) = match entry.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (entry, None),
    };
    let (address, short) = match address.parse::<IpAddr>() {
        Ok(address) => (address, false),
        Err(_) => (IpAddr::V4(short_form(address).ok_or("is no address")?), true),
    };
    let canonical = address.to_canonical();
    let offset = if address.is_ipv6() && canonical.is_ipv4() { 96 } else { 0 };
    let full = if canonical.is_ipv4() { 32 } else { 128 };
    let (length, dotted) = match length {
        None => (full, false),
        Some(text) if text.contains('.') && full == 32 => {
            (dotted_mask(text).ok_or("has no valid mask")?, true)
        }
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length: u8 = text.parse().map_err(|_| "has no valid length")?;
            let length = length.checked_sub(offset).ok_or("has no valid length")?;
            (length, false)
        }
        Some(_) => return Err("has no valid length"),
    };
    if length > full {
        return Err("has no valid length");
    }
    let prefix = Prefix::containing(canonical, length);
    let remark = match () {
        () if length == 0 => Some(Remark::Everyone),
        () if dotted => Some(Remark::DottedMask),
        () if short => Some(Remark::ShortForm),
        () if prefix.address() != canonical => Some(Remark::HostBits),
        () if full == 128 => Some(Remark::Six),
        () => None,
    };
    Ok((prefix, remark))
}

/// One to four numbers, decimal, octal or hexadecimal; the last fills all bytes that are left (inet_aton(3)).
fn short_form(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(c_number).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) {
        return None;
    }
    let free = 8 * (4 - leading.len() as u32);
    if free < 32 && *last >= 1 << free {
        return None;
    }
    let high = leading.iter().enumerate().fold(0, |bits, (index, part)| bits | part << (24 - 8 * index));
    Some(Ipv4Addr::from_bits(high | last))
}

fn c_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if digits.starts_with(['+', '-']) { None } else { u32::from_str_radix(digits, radix).ok() }
}

fn dotted_mask(text: &str) -> Option<u8> {
    let bits = text.parse::<Ipv4Addr>().ok()?.to_bits();
    (bits.leading_ones() + bits.trailing_zeros() == 32).then_some(bits.leading_ones() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_mean_what_was_meant() {
        for (text, prefix, weight) in [
            ("127.0.0.1", "127.0.0.1/32", None),
            ("127.0.0.1/32", "127.0.0.1/32", None),
            ("192.168.1.1/24", "192.168.1.0/24", None),
            ("10.0.0.1 # x", "10.0.0.1/32", None),
            ("10.0.0.1 and more", "10.0.0.1/32", None),
            ("10.0.0.1\r", "10.0.0.1/32", None),
            ("\u{feff}10.0.0.1", "10.0.0.1/32", None),
            (" 10.0.0.1", "10.0.0.1/32", Some(Weight::Repaired)),
            ("10.0.0.0/0", "0.0.0.0/0", Some(Weight::Note)),
            ("10.1.2.3/255.255.0.0", "10.1.0.0/16", Some(Weight::Repaired)),
            ("10.1", "10.0.0.1/32", Some(Weight::Note)),
            ("010.0.0.1", "8.0.0.1/32", Some(Weight::Note)),
            ("0.0.0.0", "0.0.0.0/32", None),
            ("FD77::1/64", "fd77::/64", None),
            ("fd77::1", "fd77::1/128", Some(Weight::Repaired)),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8", None),
        ] {
            let (entries, said) = read_ignore(Path::new("i"), text, Dialect::One);
            let read: Vec<String> = entries.iter().map(|entry| entry.prefix.to_string()).collect();
            assert_eq!(read, [prefix], "{text}");
            let said = said.first().map(|diagnostic| diagnostic.weight);
            assert_eq!(said, weight, "{text}");
        }
    }

    #[test]
    fn what_names_nobody_is_said_and_left_out() {
        for text in [
            "host.example.com",
            "10.0.0.1/33",
            "10.0.0.1/",
            "fe80::1%eth0",
            "1.2.3.4.5",
            "10.0.0.0/255.0.255.0",
            "::/129",
        ] {
            let (entries, said) =
                read_ignore(Path::new("i"), &format!("# x\n\n{text}\n10.9.9.9"), Dialect::Two);
            assert_eq!(entries, [IgnoreEntry { prefix: "10.9.9.9".parse().unwrap(), line: 4 }], "{text}");
            assert_eq!(
                (said[0].weight, said[0].fault.line, said[0].fault.column),
                (Weight::LeftOut, 3, 1),
                "{text}"
            );
        }
    }

    #[test]
    fn a_network_with_host_bits_is_said_where_2x_never_matched_it() {
        let (entries, said) = read_ignore(Path::new("i"), "192.168.1.1/24\n", Dialect::Two);
        assert_eq!(entries[0].prefix.to_string(), "192.168.1.0/24");
        assert!(
            said[0].to_string().contains("i:1:1: read as meant: PortSentry 2.x never matched"),
            "{}",
            said[0]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(\\PC{0,8}|[0-9a-fx.:/# \t\n]{0,24}){0,4}") {
            let (entries, said) = read_ignore(Path::new("i"), &text, Dialect::One);
            prop_assert!(entries.len() <= text.lines().count());
            for diagnostic in said {
                prop_assert!(!diagnostic.to_string().is_empty());
            }
        }
    }
}
