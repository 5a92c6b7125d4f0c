//! Addresses, prefixes and ports: parsed once at the edge, typed ever after.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What can be probed: the transports with ports, and the two layers below them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
    /// RFC 792 and RFC 4443: has no ports, the address alone is asked for. Its port is always 0.
    Icmp,
    /// IP itself: the number of a protocol takes the place of the port.
    Ip,
}

impl Protocol {
    /// The lower-case name used in records and configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
            Protocol::Icmp => "icmp",
            Protocol::Ip => "ip",
        }
    }
}

/// One port of one transport at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Which transport.
    pub protocol: Protocol,
    /// The local address that was aimed at.
    pub address: IpAddr,
    /// The port there, 0 to 65535.
    pub port: u16,
}

/// An IPv4 or IPv6 network without host bits: `192.0.2.0/24`, `2001:db8::/64`.
///
/// IPv4-mapped IPv6 addresses (`::ffff:0:0/96`) never occur inside: they become IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The network of `length` bits that `address` lies in; host bits are cleared and a length
    /// beyond the family's is cut to one address.
    #[must_use]
    pub fn containing(address: IpAddr, length: u8) -> Prefix {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let length = length.min(32);
                let bits = v4.to_bits() & mask32(length);
                Prefix { address: IpAddr::V4(Ipv4Addr::from_bits(bits)), length }
            }
            IpAddr::V6(v6) => {
                let length = length.min(128);
                let bits = v6.to_bits() & mask128(length);
                Prefix { address: IpAddr::V6(Ipv6Addr::from_bits(bits)), length }
            }
        }
    }

    /// The prefix that holds `address` and nothing else.
    #[must_use]
    pub fn single(address: IpAddr) -> Prefix {
        Prefix::containing(address, 128)
    }

    /// The first address of the network.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Number of fixed bits: 0 to 32, or 0 to 128.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// The length of a single address of this family: 32 or 128.
    #[must_use]
    pub fn full_length(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether this is one single address.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.length == self.full_length()
    }

    /// Whether `address` lies inside.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()) & mask32(self.length) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()) & mask128(self.length) == 0
            }
            _ => false,
        }
    }

    /// Whether all of `other` lies inside.
    #[must_use]
    pub fn covers(&self, other: &Prefix) -> bool {
        self.length <= other.length && self.contains(other.address)
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Prefix) -> bool {
        self.covers(other) || other.covers(self)
    }
}

fn mask32(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn mask128(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// Always with the length, so that a record never leaves open what was meant.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// Not an IPv4 or IPv6 address before the `/`.
    Address,
    /// The length is no number, or beyond 32 (IPv4) or 128 (IPv6).
    Length,
    /// Bits are set behind the length; the network that was probably meant.
    HostBits(Prefix),
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrefixError::Address => write!(f, "not an IPv4 or IPv6 address"),
            PrefixError::Length => {
                write!(f, "the length after '/' is 0 to 32 for IPv4, 0 to 128 for IPv6")
            }
            PrefixError::HostBits(meant) => {
                write!(f, "has bits set behind its length; the network is {meant}")
            }
        }
    }
}

impl std::error::Error for PrefixError {}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let (address, length) = match text.split_once('/') {
            None => (text, None),
            Some((address, length)) => (address, Some(length)),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address)?;
        let Some(length) = length else { return Ok(Prefix::single(address)) };
        if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PrefixError::Length);
        }
        let mut length: u8 = length.parse().map_err(|_| PrefixError::Length)?;
        if let (IpAddr::V6(_), IpAddr::V4(_)) = (address, address.to_canonical()) {
            length = length.checked_sub(96).ok_or(PrefixError::Length)?;
        }
        let address = address.to_canonical();
        if length > (if address.is_ipv4() { 32 } else { 128 }) {
            return Err(PrefixError::Length);
        }
        let prefix = Prefix::containing(address, length);
        if prefix.address == address { Ok(prefix) } else { Err(PrefixError::HostBits(prefix)) }
    }
}

/// A set of ports: sorted, disjoint, inclusive ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet {
    ranges: Vec<(u16, u16)>,
}

impl PortSet {
    /// Every port from 0 to 65535.
    #[must_use]
    pub fn all() -> PortSet {
        PortSet { ranges: vec![(0, u16::MAX)] }
    }

    /// The ports of `ranges` (each inclusive, in any order, overlapping or not).
    #[must_use]
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u16, u16)>) -> PortSet {
        let mut sorted: Vec<(u16, u16)> = ranges.into_iter().filter(|(low, high)| low <= high).collect();
        sorted.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (low, high) in sorted {
            match joined.last_mut() {
                Some(last) if u32::from(low) <= u32::from(last.1) + 1 => last.1 = last.1.max(high),
                _ => joined.push((low, high)),
            }
        }
        PortSet { ranges: joined }
    }

    /// This set less the ports of `other`.
    #[must_use]
    pub fn without(&self, other: &PortSet) -> PortSet {
        let mut left = Vec::new();
        for &(low, high) in &self.ranges {
            let mut next = u32::from(low);
            for &(cut_low, cut_high) in &other.ranges {
                if u32::from(cut_high) < next || cut_low > high {
                    continue;
                }
                if u32::from(cut_low) > next {
                    left.push((next as u16, cut_low - 1));
                }
                next = u32::from(cut_high) + 1;
            }
            if next <= u32::from(high) {
                left.push((next as u16, high));
            }
        }
        PortSet { ranges: left }
    }

    /// Whether `port` is in the set.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        let after = self.ranges.partition_point(|&(low, _)| low <= port);
        after > 0 && self.ranges[after - 1].1 >= port
    }

    /// The ranges, sorted, disjoint, inclusive.
    #[must_use]
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }

    /// Whether no port is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many ports are in the set, 0 to 65536.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ranges.iter().map(|&(low, high)| usize::from(high - low) + 1).sum()
    }
}

/// As the configuration writes it: `1-112, 114-1023`, or `none`.
impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ranges.is_empty() {
            return write!(f, "none");
        }
        for (index, (low, high)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low}-{high}")?;
            }
        }
        Ok(())
    }
}

/// Why a text is no port set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSetError {
    /// This part is neither a port (0 to 65535), nor a range `a-b`, nor one of them behind `!`.
    Part(String),
    /// The range runs backwards; as it was probably meant.
    Backwards(u16, u16),
}

impl fmt::Display for PortSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortSetError::Part(part) => write!(
                f,
                "\"{}\" is no port: write ports (0 to 65535), ranges (1-1023) and exceptions (!113), \
                 separated by commas",
                part.escape_default()
            ),
            PortSetError::Backwards(low, high) => {
                write!(f, "the range {high}-{low} runs backwards; write {low}-{high}")
            }
        }
    }
}

impl std::error::Error for PortSetError {}

/// `all`, `none`, or ports, ranges and exceptions separated by commas: `1-1023, !113, !139`.
/// Exceptions hold wherever they stand. A text of exceptions alone means all ports but them.
impl FromStr for PortSet {
    type Err = PortSetError;

    fn from_str(text: &str) -> Result<PortSet, PortSetError> {
        match text.trim() {
            "all" => return Ok(PortSet::all()),
            "none" | "" => return Ok(PortSet::default()),
            _ => {}
        }
        let (mut wanted, mut excepted) = (Vec::new(), Vec::new());
        for part in text.split(',').map(str::trim) {
            match part.strip_prefix('!') {
                Some(exception) => excepted.push(parse_range(exception.trim())?),
                None => wanted.push(parse_range(part)?),
            }
        }
        let wanted = if wanted.is_empty() { PortSet::all() } else { PortSet::from_ranges(wanted) };
        Ok(wanted.without(&PortSet::from_ranges(excepted)))
    }
}

fn parse_range(part: &str) -> Result<(u16, u16), PortSetError> {
    let port = |text: &str| -> Result<u16, PortSetError> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(port) if digits => Ok(port),
            _ => Err(PortSetError::Part(part.to_owned())),
        }
    };
    let (low, high) = match part.split_once('-') {
        None => (port(part)?, port(part)?),
        Some((low, high)) => (port(low.trim())?, port(high.trim())?),
    };
    if low <= high { Ok((low, high)) } else { Err(PortSetError::Backwards(high, low)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_no_host_bits() {
        let meant = Prefix::containing("192.168.1.1".parse().unwrap(), 24);
        assert_eq!("192.168.1.1/24".parse::<Prefix>(), Err(PrefixError::HostBits(meant)));
        assert_eq!(meant.to_string(), "192.168.1.0/24");
        assert_eq!("::ffff:10.0.0.0/104".parse::<Prefix>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("10.0.0.0/33".parse::<Prefix>(), Err(PrefixError::Length));
        assert_eq!("0.0.0.0/0".parse::<Prefix>().unwrap().length(), 0);
        assert!("::/0".parse::<Prefix>().unwrap().contains("2001:db8::1".parse().unwrap()));
        assert!(!"::/0".parse::<Prefix>().unwrap().contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn port_sets_read_and_print() {
        for (text, printed, count) in [
            ("1-1023, !113, !139", "1-112, 114-138, 140-1023", 1021),
            ("22", "22", 1),
            ("!22", "0-21, 23-65535", 65535),
            ("all", "0-65535", 65536),
            ("none", "none", 0),
            ("5-7,6-9,10", "5-10", 6),
            ("0-65535, !0, !65535", "1-65534", 65534),
        ] {
            let set: PortSet = text.parse().unwrap();
            assert_eq!(set.to_string(), printed, "{text}");
            assert_eq!(set.count(), count, "{text}");
        }
        assert_eq!("9-7".parse::<PortSet>(), Err(PortSetError::Backwards(7, 9)));
        for bad in ["70000", "a", "1,,2", "-5", "+5", "1-2-3"] {
            assert!(bad.parse::<PortSet>().is_err(), "{bad}");
        }
    }
}
