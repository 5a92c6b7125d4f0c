//! Elements of sets: written as the kernel wants them, read from its dumps, and made free of overlaps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portcullis_core::net::Prefix;

use super::layout::{Element, Holds, Set};
use super::numbers::*;
use crate::netlink::message::{self, Attributes, Writer};

/// How many elements go into one message. The widest (an IPv6 interval) takes 76 bytes, and a list must stay
/// below 64 KiB.
pub(super) const IN_ONE_MESSAGE: usize = 800;
/// One tick of the slowest clock that Linux is built with (HZ=100); see [`Element::remaining`].
const SHORTEST: Duration = Duration::from_millis(10);
/// About 136 years: what is longer, the kernel may refuse.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// The attributes of a message that adds these elements to a set or, without their timeouts, deletes them.
pub(super) fn write(out: &mut Writer, table: &str, set: &Set<'_>, elements: &[Element], with_timeouts: bool) {
    out.text(TABLE, table);
    out.text(ELEMENTS_SET, set.name);
    let list = out.open(ELEMENTS_LIST);
    for element in elements {
        let start = out.open(LIST_ELEMENT);
        write_key(out, element.prefix.address());
        if let Some(remaining) = element.remaining.filter(|_| with_timeouts) {
            let milliseconds = remaining.clamp(SHORTEST, LONGEST).as_millis();
            out.u64_be(ELEMENT_TIMEOUT, u64::try_from(milliseconds).expect("below LONGEST"));
        }
        out.close(start);
        // An interval ends before the first address that is no longer in it; one that reaches the end of the
        // address space has no end element.
        if set.is_of_intervals()
            && let Some(after) = address_after(&element.prefix)
        {
            let end = out.open(LIST_ELEMENT);
            write_key(out, after);
            out.u32_be(ELEMENT_FLAGS, libc::NFT_SET_ELEM_INTERVAL_END as u32);
            out.close(end);
        }
    }
    out.close(list);
}

fn write_key(out: &mut Writer, address: IpAddr) {
    let key = out.open(ELEMENT_KEY);
    match address {
        IpAddr::V4(v4) => out.attribute(DATA_VALUE, &v4.octets()),
        IpAddr::V6(v6) => out.attribute(DATA_VALUE, &v6.octets()),
    }
    out.close(key);
}

/// Whether the prefix reaches the end of the address space.
pub(super) fn is_open_ended(prefix: &Prefix) -> bool {
    address_after(prefix).is_none()
}

/// Whether two prefixes can't be in one interval set: they share addresses and are not the same.
pub(super) fn overlap(one: &Prefix, other: &Prefix) -> bool {
    one != other && one.overlaps(other)
}

fn address_after(prefix: &Prefix) -> Option<IpAddr> {
    let bits = u32::from(prefix.full_length() - prefix.length());
    match prefix.address() {
        IpAddr::V4(v4) => {
            Some(Ipv4Addr::from_bits(v4.to_bits().checked_add(1_u32.checked_shl(bits)?)?).into())
        }
        IpAddr::V6(v6) => {
            Some(Ipv6Addr::from_bits(v6.to_bits().checked_add(1_u128.checked_shl(bits)?)?).into())
        }
    }
}

/// One key of a set as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) address: IpAddr,
    /// Sorts before a start at the same address: one interval ends where the next begins.
    pub(super) is_start: bool,
    pub(super) remaining: Option<Duration>,
}

/// Adds the keys in one message of a dump; those that are no addresses are left out.
pub(super) fn read_into(body: &[u8], keys: &mut Vec<Key>) {
    keys.extend(Attributes::behind(body, 4).inside(ELEMENTS_LIST).filter_map(|element| {
        let mut key = Key { address: Ipv4Addr::UNSPECIFIED.into(), is_start: true, remaining: None };
        let mut address = None;
        for attribute in Attributes::new(element.value) {
            match attribute.kind {
                ELEMENT_KEY => address = Attributes::new(attribute.value).get(DATA_VALUE),
                ELEMENT_FLAGS => {
                    let flags = message::u32_be(attribute.value).unwrap_or_default();
                    key.is_start = flags & libc::NFT_SET_ELEM_INTERVAL_END as u32 == 0;
                }
                ELEMENT_EXPIRATION => {
                    key.remaining = message::u64_be(attribute.value).map(Duration::from_millis);
                }
                _ => {}
            }
        }
        key.address = message::address(address?)?;
        Some(key)
    }));
}

/// Makes elements of a set's keys. Returns how many of them we could not have made: somebody else's ranges that
/// are no prefix, or hashed keys with bits behind the set's length (which match nothing).
pub(super) fn gather(set: &Set<'_>, mut keys: Vec<Key>, into: &mut Vec<Element>) -> usize {
    let mut foreign = 0;
    let mut take = |prefix: Option<Prefix>, remaining| match prefix {
        Some(prefix) => into.push(Element { prefix, remaining }),
        None => foreign += 1,
    };
    match set.holds {
        Holds::Length(_) | Holds::Guests => {
            let length = if let Holds::Length(length) = set.holds { length } else { set.width };
            for key in keys {
                let prefix = Prefix::containing(key.address, length);
                take(Some(prefix).filter(|prefix| prefix.address() == key.address), key.remaining);
            }
        }
        Holds::Intervals => {
            keys.sort_unstable();
            let mut next = keys.iter().peekable();
            while let Some(start) = next.next() {
                if start.is_start {
                    let end = next.next_if(|key| !key.is_start).map(|key| key.address);
                    take(prefix_between(start.address, end), start.remaining);
                }
            }
        }
    }
    foreign
}

/// The prefix that begins at `start` and ends before `end` (or with the address space), if there is one.
fn prefix_between(start: IpAddr, end: Option<IpAddr>) -> Option<Prefix> {
    let (length, full) = match (start, end) {
        (IpAddr::V4(start), Some(IpAddr::V4(end))) => {
            (host_bits(end.to_bits().wrapping_sub(start.to_bits()).into())?, 32)
        }
        (IpAddr::V4(start), None) => {
            (host_bits((1_u64 << 32).wrapping_sub(start.to_bits().into()).into())?, 32)
        }
        (IpAddr::V6(start), Some(IpAddr::V6(end))) => {
            (host_bits(end.to_bits().wrapping_sub(start.to_bits()))?, 128)
        }
        (IpAddr::V6(start), None) => match start.to_bits() {
            0 => (128, 128),
            bits => (host_bits(bits.wrapping_neg())?, 128),
        },
        _ => return None,
    };
    let prefix = Prefix::containing(start, full - length);
    Some(prefix).filter(|prefix| prefix.address() == start)
}

/// How many bits count up to `size`, if it is a power of two.
fn host_bits(size: u128) -> Option<u8> {
    size.is_power_of_two().then(|| size.trailing_zeros() as u8)
}

/// The same addresses for the same times, without overlaps: a prefix inside another one goes, unless it stays
/// longer; then the outer one is split around it.
pub(super) fn without_overlaps(elements: &[Element]) -> Vec<Element> {
    let mut sorted = elements.to_vec();
    sorted.sort_unstable_by_key(|element| (element.prefix.address(), element.prefix.length()));
    let mut apart = Vec::with_capacity(sorted.len());
    let mut rest = sorted.as_slice();
    while let Some(first) = rest.first() {
        // Sorted like this, whatever lies inside a prefix follows it directly.
        let inside = rest.partition_point(|element| first.prefix.covers(&element.prefix));
        split(first.prefix, Stay::Absent, &rest[..inside], &mut apart);
        rest = &rest[inside..];
    }
    apart
}

/// How long a prefix stays; the later the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stay {
    Absent,
    For(Duration),
    Ever,
}

impl Stay {
    fn of(element: &Element) -> Stay {
        element.remaining.map_or(Stay::Ever, Stay::For)
    }
}

/// Adds what `prefix` consists of: it stays for `outer`, except that `inside` (sorted, all within it) may stay
/// longer.
fn split(prefix: Prefix, outer: Stay, inside: &[Element], into: &mut Vec<Element>) {
    let own = inside.iter().take_while(|element| element.prefix == prefix).count();
    let stay = inside[..own].iter().map(Stay::of).fold(outer, Stay::max);
    let inside = &inside[own..];
    if !inside.iter().any(|element| Stay::of(element) > stay) {
        match stay {
            Stay::Absent => {}
            Stay::For(time) => into.push(Element { prefix, remaining: Some(time) }),
            Stay::Ever => into.push(Element { prefix, remaining: None }),
        }
        return;
    }
    let [low, high] = halves(&prefix);
    let middle = inside.partition_point(|element| low.covers(&element.prefix));
    split(low, stay, &inside[..middle], into);
    split(high, stay, &inside[middle..], into);
}

/// The two halves of a prefix that is no single address.
fn halves(prefix: &Prefix) -> [Prefix; 2] {
    let length = prefix.length() + 1;
    let bit = u32::from(prefix.full_length() - length);
    let upper: IpAddr = match prefix.address() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() | 1 << bit).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() | 1 << bit).into(),
    };
    [Prefix::containing(prefix.address(), length), Prefix::containing(upper, length)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(text: &str, seconds: Option<u64>) -> Element {
        Element { prefix: text.parse().unwrap(), remaining: seconds.map(Duration::from_secs) }
    }

    fn check(elements: &[(&str, Option<u64>)], expected: &[(&str, Option<u64>)]) {
        let given: Vec<Element> = elements.iter().map(|&(text, time)| element(text, time)).collect();
        let wanted: Vec<Element> = expected.iter().map(|&(text, time)| element(text, time)).collect();
        assert_eq!(without_overlaps(&given), wanted, "{elements:?}");
    }

    #[test]
    fn overlaps_are_resolved_without_losing_an_address_or_a_second() {
        check(&[("10.0.0.5", None), ("10.0.0.0/8", None)], &[("10.0.0.0/8", None)]);
        check(&[("10.0.0.0/8", Some(5)), ("10.0.0.0/8", Some(9))], &[("10.0.0.0/8", Some(9))]);
        check(&[("10.0.0.0/8", None), ("10.1.0.0/16", Some(5))], &[("10.0.0.0/8", None)]);
        check(
            &[("10.0.0.0/30", Some(5)), ("10.0.0.1", None), ("10.0.0.4", Some(1))],
            &[("10.0.0.0", Some(5)), ("10.0.0.1", None), ("10.0.0.2/31", Some(5)), ("10.0.0.4", Some(1))],
        );
        check(&[("::/0", Some(5)), ("8000::/1", None)], &[("::/1", Some(5)), ("8000::/1", None)]);
        check(&[("10.0.0.2", None), ("2001:db8::/32", None)], &[("10.0.0.2", None), ("2001:db8::/32", None)]);
    }

    #[test]
    fn an_interval_reaches_to_the_end_of_the_address_space() {
        for text in ["0.0.0.0/0", "::/0", "240.0.0.0/4", "ff00::/8", "255.255.255.255", "128.0.0.0/1"] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(address_after(&prefix), None, "{text}");
            assert_eq!(prefix_between(prefix.address(), None), Some(prefix), "{text}");
        }
        for text in ["0.0.0.0/1", "::/1", "10.0.0.0/31", "2001:db8::/33", "10.0.0.7"] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(prefix_between(prefix.address(), address_after(&prefix)), Some(prefix), "{text}");
        }
        assert_eq!(prefix_between("10.0.0.1".parse().unwrap(), Some("10.0.0.3".parse().unwrap())), None);
    }
}
