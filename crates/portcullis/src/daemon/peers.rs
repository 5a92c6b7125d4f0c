//! Who is connected with this host now: what a ban would have cut off.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Connections that stand, as proc(5) prints them.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// `TCP_ESTABLISHED` of include/net/tcp_states.h, as the tables print it.
const ESTABLISHED: &str = "01";

/// The remote ends of all established TCP connections; a table that cannot be read has none.
#[must_use]
pub fn connected() -> HashSet<IpAddr> {
    by_socket().into_values().filter(|address| !address.is_loopback()).collect()
}

/// The same, by the number of the socket that each connection has on our side.
#[must_use]
pub fn by_socket() -> HashMap<u64, IpAddr> {
    TABLES
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| remote_ends(&table))
        .collect()
}

fn remote_ends(table: &str) -> Vec<(u64, IpAddr)> {
    let remote_end = |line: &str| {
        let mut words = line.split_whitespace().skip(2);
        let (remote, state) = (words.next()?, words.next()?);
        // Behind the state: queues, timer, retransmissions, user, time-out.
        let socket = words.nth(5)?.parse().ok()?;
        if state == ESTABLISHED { Some((socket, address(remote.split(':').next()?)?)) } else { None }
    };
    table.lines().skip(1).filter_map(remote_end).collect()
}

/// The kernel prints each 32-bit word of an address in its own byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn remote_ends_are_read_from_the_kernels_tables() {
        let behind = "00000000:00000000 00:00000000 00000000  1000        0";
        let line = |number: u32, ends: &str, state: &str, socket: u32| {
            format!("   {number}: {ends} {state} {behind} {socket} 1 0000000000000000 20 4 30 10 -1\n")
        };
        let table = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n".into(),
            line(0, "0100007F:0277 00000000:0000", "0A", 1),
            line(1, "020000C0:0016 090071CB:D431", "01", 2),
            line(
                2,
                "0000000000000000FFFF0000020000C0:0016 0000000000000000FFFF000007643 3C6:D431",
                "01",
                3,
            ),
            line(3, "B80D0120000000000000000002000000:0016 B80D0120000000000000000001000000:D431", "01", 4),
        ];
        let expected: Vec<(u64, IpAddr)> =
            [(2, "203.113.0.9"), (4, "2001:db8::1")].map(|(socket, a)| (socket, a.parse().unwrap())).into();
        assert_eq!(remote_ends(&table.concat()), expected);
    }
}
