//! iptables' own matches and targets, as `iptables-nft` puts them into nftables: the structures of
//! `include/uapi/linux/netfilter/xt_*.h` and `nf_nat.h`.

use super::{Expression, Place, Test, Verdict};

/// A match; `None` if it is not known.
pub(super) fn test(name: &str, revision: u32, data: &[u8]) -> Option<Expression> {
    let (test, is_inverted) = match (name, revision) {
        ("comment", _) => return Some(Expression::Nothing),
        // The rate is kept as long as little comes.
        ("limit", _) => return Some(Expression::Limit { is_over: false }),
        ("tcp", 0) => return tcp(data),
        ("udp", 0) => return udp(data),
        ("state", 0) => (Test::State(u16::try_from(u32_at(data, 0)?).ok()?), false),
        ("conntrack", 1..=3) => return conntrack(revision, data),
        ("mark", 1) => (Test::Mark { value: u32_at(data, 0)?, mask: u32_at(data, 4)? }, *data.get(8)? != 0),
        ("multiport", 1) => return multiport(data),
        ("addrtype", 1) => {
            let flags = u32_at(data, 4)?;
            // 4 and 8: only as one interface sees it.
            if flags & !3 != 0 {
                return None;
            }
            let test = Test::AddressKind {
                source: u16_at(data, 0)?,
                destination: u16_at(data, 2)?,
                is_source_inverted: flags & 1 != 0,
                is_destination_inverted: flags & 2 != 0,
            };
            (test, false)
        }
        ("pkttype", 0) => (Test::PacketKind(u8::try_from(u32_at(data, 0)?).ok()?), u32_at(data, 4)? != 0),
        _ => return None,
    };
    Some(Expression::Test { test, is_inverted })
}

/// A target; `None` if it is not known.
pub(super) fn target(name: &str, revision: u32, data: &[u8]) -> Option<Expression> {
    Some(match (name, revision) {
        ("LOG" | "NFLOG" | "ULOG" | "TRACE" | "AUDIT" | "TCPMSS" | "CHECKSUM" | "DSCP" | "TOS", _) => {
            Expression::Nothing
        }
        ("REJECT", _) => Expression::Verdict(Verdict::Drop),
        ("NFQUEUE", _) => Expression::Verdict(Verdict::Queue),
        ("MASQUERADE" | "SNAT", _) => Expression::Verdict(Verdict::Accept),
        ("MARK", 2) => Expression::ChangeMark { keep: !u32_at(data, 4)?, flip: u32_at(data, 0)? },
        ("CONNMARK", 1 | 2) => return connmark(revision, data),
        ("NOTRACK", 0) => Expression::NoTrack,
        ("CT", 1 | 2) if u16_at(data, 0)? & 1 != 0 => Expression::NoTrack,
        ("DNAT", 0) => old_range(data, false)?,
        ("DNAT", 1 | 2) => range(data, false)?,
        // For IPv4 the old structure, for IPv6 the first of the new ones, both of revision 0.
        ("REDIRECT", 0) if data.len() < 40 => old_range(data, true)?,
        ("REDIRECT", 0) => range(data, true)?,
        _ => return None,
    })
}

/// `struct xt_connmark_tginfo1` and `2`.
fn connmark(revision: u32, data: &[u8]) -> Option<Expression> {
    const SET: u8 = 0;
    const SAVE: u8 = 1;
    const RESTORE: u8 = 2;
    let (shift, mode) = if revision == 1 { (0, *data.get(12)?) } else { (*data.get(13)?, *data.get(14)?) };
    match mode {
        // What the connection is marked with changes nothing for this packet.
        SET | SAVE => Some(Expression::Nothing),
        RESTORE if shift == 0 => {
            Some(Expression::RestoreMark { keep: !u32_at(data, 8)?, mask: u32_at(data, 4)? })
        }
        _ => None,
    }
}

/// `struct xt_tcp`.
fn tcp(data: &[u8]) -> Option<Expression> {
    let (source, destination) = ((u16_at(data, 0)?, u16_at(data, 2)?), (u16_at(data, 4)?, u16_at(data, 6)?));
    let (option, mask, value, inverted) = (*data.get(8)?, *data.get(9)?, *data.get(10)?, *data.get(11)?);
    let flags = (mask != 0 || inverted & 4 != 0)
        .then_some(Expression::Test { test: Test::Flags { mask, value }, is_inverted: inverted & 4 != 0 });
    single(option == 0, [ports(source, true, inverted & 1), ports(destination, false, inverted & 2), flags])
}

/// `struct xt_udp`.
fn udp(data: &[u8]) -> Option<Expression> {
    let (source, destination) = ((u16_at(data, 0)?, u16_at(data, 2)?), (u16_at(data, 4)?, u16_at(data, 6)?));
    let inverted = *data.get(8)?;
    single(true, [ports(source, true, inverted & 1), ports(destination, false, inverted & 2), None])
}

fn ports(range: (u16, u16), of_source: bool, inverted: u8) -> Option<Expression> {
    let test = Test::Ports { of_source, of_destination: !of_source, ranges: vec![range] };
    (range != (0, u16::MAX) || inverted != 0).then_some(Expression::Test { test, is_inverted: inverted != 0 })
}

/// An expression is one test; one that has several of them is rare (iptables-nft says them in nftables' words) and
/// not understood.
fn single(is_known: bool, tests: [Option<Expression>; 3]) -> Option<Expression> {
    let mut tests = tests.into_iter().flatten();
    match (is_known, tests.next(), tests.next()) {
        (true, None, None) => Some(Expression::Nothing),
        (true, Some(test), None) => Some(test),
        _ => None,
    }
}

/// `struct xt_conntrack_mtinfo1` to `3`; only the state, or the original port, alone.
fn conntrack(revision: u32, data: &[u8]) -> Option<Expression> {
    const STATE: u16 = 1;
    const ORIGINAL_PORT: u16 = 1 << 9;
    /// It was written `-m state`.
    const ALIAS: u16 = 1 << 13;
    let (asked, inverted) = (u16_at(data, 146)?, u16_at(data, 148)?);
    let (test, flag) = match asked & !ALIAS {
        STATE if revision == 1 => (Test::State(u16::from(*data.get(150)?)), STATE),
        STATE => (Test::State(u16_at(data, 150)?), STATE),
        ORIGINAL_PORT if revision == 3 => {
            (Test::OriginalPort(u16_at(data, 140)?, u16_at(data, 156)?), ORIGINAL_PORT)
        }
        _ => return None,
    };
    Some(Expression::Test { test, is_inverted: inverted & flag != 0 })
}

/// `struct xt_multiport_v1`.
fn multiport(data: &[u8]) -> Option<Expression> {
    let (which, count) = (*data.first()?, usize::from(*data.get(1)?));
    let (mut ranges, mut index) = (Vec::new(), 0);
    while index < count.min(15) {
        let low = u16_at(data, 2 + 2 * index)?;
        let is_range = *data.get(32 + index)? != 0;
        let high = if is_range { u16_at(data, 4 + 2 * index)? } else { low };
        ranges.push((low, high));
        index += if is_range { 2 } else { 1 };
    }
    let test = Test::Ports { of_source: which != 1, of_destination: which != 0, ranges };
    Some(Expression::Test { test, is_inverted: *data.get(47)? != 0 })
}

/// The address is given.
const HAS_ADDRESS: u32 = 1;
/// The port is given.
const HAS_PORT: u32 = 2;

/// `struct nf_nat_range` and `nf_nat_range2`; an address that is chosen out of several is not understood.
fn range(data: &[u8], is_redirect: bool) -> Option<Expression> {
    let flags = u32_at(data, 0)?;
    let (low, high) = (data.get(4..20)?, data.get(20..36)?);
    if flags & !(HAS_ADDRESS | HAS_PORT | 4 | 16) != 0 || low != high {
        return None;
    }
    // An IPv4 address is in the first four bytes.
    let address = (flags & HAS_ADDRESS != 0).then(|| Place::Value(low.to_vec()));
    let port = (flags & HAS_PORT != 0).then(|| data.get(36..38)).flatten();
    Some(Expression::Translate { address, port: port.map(|port| Place::Value(port.to_vec())), is_redirect })
}

/// `struct nf_nat_ipv4_multi_range_compat`.
fn old_range(data: &[u8], is_redirect: bool) -> Option<Expression> {
    let flags = u32_at(data, 4)?;
    let (low, high) = (data.get(8..12)?, data.get(12..16)?);
    if flags & !(HAS_ADDRESS | HAS_PORT | 4 | 16) != 0 || low != high {
        return None;
    }
    let address = (flags & HAS_ADDRESS != 0).then(|| Place::Value(low.to_vec()));
    let port = (flags & HAS_PORT != 0).then(|| data.get(16..18)).flatten();
    Some(Expression::Translate { address, port: port.map(|port| Place::Value(port.to_vec())), is_redirect })
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}
