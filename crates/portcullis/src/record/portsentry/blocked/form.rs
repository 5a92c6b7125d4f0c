//! The two forms of the blocked file, taken apart into pieces that together are the whole file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Address families as Linux numbers them (include/linux/socket.h), which is what 2.x writes (measured).
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// How hosts are entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// 1.x.
    Text,
    /// 2.x.
    Binary,
}

/// A part of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its bytes, with its line's end.
    pub(super) range: Range<usize>,
    /// What it is.
    pub(super) what: What,
}

/// What a part of the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A line of 1.x.
    Line(IpAddr),
    /// A record of 2.x.
    Record(IpAddr),
    /// A line without anything.
    Blank,
    /// A line that names no host.
    Odd,
    /// What is neither, up to the end of the file: there is no telling where the next record would begin.
    Torn,
}

impl Piece {
    /// Whom it names.
    pub(super) fn host(&self) -> Option<IpAddr> {
        match self.what {
            What::Line(address) | What::Record(address) => Some(address),
            What::Blank | What::Odd | What::Torn => None,
        }
    }
}

/// Takes a file apart. Never fails; what has no meaning is named as such.
pub(super) fn pieces(bytes: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (length, what) = first(&bytes[at..]);
        pieces.push(Piece { range: at..at + length, what });
        at += length;
    }
    pieces
}

/// The first piece of what is not empty: at least one byte long.
fn first(rest: &[u8]) -> (usize, What) {
    if let Some((family, body)) = rest.split_first_chunk::<2>() {
        let found = match u16::from_ne_bytes(*family) {
            AF_INET => body.first_chunk::<4>().map(|octets| (6, IpAddr::from(Ipv4Addr::from(*octets)))),
            AF_INET6 => body.first_chunk::<16>().map(|octets| (18, IpAddr::from(Ipv6Addr::from(*octets)))),
            _ => None,
        };
        if let Some((length, address)) = found {
            return (length, What::Record(address));
        }
    }
    let length = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
    // Also the start of a record of IPv6 that was cut off: its first byte is a line feed.
    let is_record = matches!(rest.first_chunk::<2>(), Some(family)
        if [AF_INET, AF_INET6].contains(&u16::from_ne_bytes(*family)));
    let line = &rest[..length];
    if is_record || line.iter().any(|&byte| byte < b' ' && !matches!(byte, b'\n' | b'\r' | b'\t')) {
        return (rest.len(), What::Torn);
    }
    let text = String::from_utf8_lossy(line);
    if text.trim().is_empty() {
        return (length, What::Blank);
    }
    (length, host_of_line(text.trim_end()).map_or(What::Odd, What::Line))
}

/// The host of `… Host: NAME/ADDR Port: PORT TCP Blocked`, read from the right: a name may hold anything, also what
/// looks like the rest of a line, and never decides who is meant.
fn host_of_line(line: &str) -> Option<IpAddr> {
    let line = line.strip_suffix(" Blocked")?;
    let line = line.strip_suffix(" TCP").or_else(|| line.strip_suffix(" UDP"))?;
    let (line, port) = line.rsplit_once(' ')?;
    port.parse::<u32>().ok()?;
    let (before, address) = line.strip_suffix(" Port:")?.rsplit_once('/')?;
    before.contains("Host: ").then_some(())?;
    address.parse().ok()
}

/// A record of 2.x: the family in the order of this machine's bytes, then the address.
pub(super) fn record(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => [&AF_INET.to_ne_bytes()[..], &address.octets()].concat(),
        IpAddr::V6(address) => [&AF_INET6.to_ne_bytes()[..], &address.octets()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_line_names_the_address_behind_the_last_slash() {
        for (line, host) in [
            // PortSentry 1.2, measured, and the example of a guide.
            (
                "1795226889 - 11/21/2026 02:08:09 Host: 10.77.0.1/10.77.0.1 Port: 111 TCP Blocked",
                Some("10.77.0.1"),
            ),
            (
                "1109630388 - 03/01/2005 05:39:48 Host: tamilxtreme.com/213.251.132.169 Port: 22 TCP Blocked",
                Some("213.251.132.169"),
            ),
            // Before 1.0: two digits of the year.
            ("921196800 - 03/12/99 00:00:00 Host: a.b/192.0.2.1 Port: 53 UDP Blocked", Some("192.0.2.1")),
            ("1 - x Host: fd77::1/fd77::1 Port: 1 UDP Blocked", Some("fd77::1")),
            // A name that is a line by itself.
            ("1 - x Host: a/9.9.9.9 Port: 1 TCP Blocked/10.77.0.1 Port: 2 TCP Blocked", Some("10.77.0.1")),
            // The original took 110.77.0.1 for 10.77.0.1 (measured); a name is no address.
            ("1 - x Host: 10.77.0.1/110.77.0.1 Port: 2 TCP Blocked", Some("110.77.0.1")),
            ("1 - x Host: 10.77.0.1 Port: 2 TCP Blocked", None),
            ("1 - x Host: a/10.77.0.1x Port: 2 TCP Blocked", None),
            ("1 - x Host: a/10.77.0.1 Port: two TCP Blocked", None),
            ("1 - x Host: a/10.77.0.1 Port: 2 TCP", None),
        ] {
            assert_eq!(host_of_line(line), host.map(ip), "{line}");
        }
    }

    #[test]
    fn records_are_those_that_were_measured() {
        // PortSentry 2.x, measured on a little-endian machine: 02 00 0a 4d 00 01.
        let family = if cfg!(target_endian = "little") { [2, 0] } else { [0, 2] };
        assert_eq!(record(ip("10.77.0.1")), [&family[..], &[10, 77, 0, 1]].concat());
        assert_eq!(record(ip("fd77::1")).len(), 18);
    }

    #[test]
    fn text_and_records_may_stand_in_one_file() {
        let line = b"1 - x Host: a/192.0.2.1 Port: 2 TCP Blocked\r\n";
        let file = [
            &line[..],
            &record(ip("10.0.0.10")),
            &record(ip("a00::1")),
            b"\n# mine\n",
            &line[..],
            b"\x0a\0a",
        ]
        .concat();
        let what: Vec<What> = pieces(&file).into_iter().map(|piece| piece.what).collect();
        let host = ip("192.0.2.1");
        assert_eq!(
            what,
            [
                What::Line(host),
                What::Record(ip("10.0.0.10")),
                What::Record(ip("a00::1")),
                What::Blank,
                What::Odd,
                What::Line(host),
                if cfg!(target_endian = "little") { What::Torn } else { What::Blank },
            ]
        );
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_whole_file(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut at = 0;
            for piece in pieces(&bytes) {
                prop_assert_eq!(piece.range.start, at);
                prop_assert!(piece.range.end > at);
                at = piece.range.end;
            }
            prop_assert_eq!(at, bytes.len());
        }

        #[test]
        fn every_record_is_found_again(hosts in proptest::collection::vec(any::<IpAddr>(), 0..20)) {
            let file: Vec<u8> = hosts.iter().flat_map(|&host| record(host)).collect();
            let found: Vec<IpAddr> = pieces(&file).iter().filter_map(Piece::host).collect();
            prop_assert_eq!(found, hosts);
        }

        #[test]
        fn a_name_never_decides_who_is_meant(name in "[ -~]{0,60}", host in any::<IpAddr>()) {
            let line = format!("1 - x Host: {name}/{host} Port: 7 UDP Blocked");
            prop_assert_eq!(host_of_line(&line), Some(host));
        }
    }
}
