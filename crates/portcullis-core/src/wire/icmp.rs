//! ICMP (RFC 792) and ICMPv6 (RFC 4443), with the packet that an error quotes.

use std::net::IpAddr;

use super::read::{ipv4_at, ipv6_at, u16_at};
use super::transport::{Body, Extent};
use super::{Quoted, Refusal, Transport, extension};

/// Both protocols begin with eight bytes: type, code, checksum, and four that depend on the type.
const HEADER: usize = 8;

#[inline]
pub(super) fn decode<'a>(body: &Body<'a>) -> Result<Transport<'a>, Refusal> {
    let (&[kind, code, ..], behind) =
        body.bytes.split_first_chunk::<HEADER>().ok_or_else(|| body.shortage())?;
    if let Some(length) = body.length()
        && body.is_damaged(2, length)
    {
        return Err(Refusal::BadIcmpChecksum);
    }
    let (is_error, quoted) = match body.source {
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        IpAddr::V4(_) if matches!(kind, 3 | 4 | 5 | 11 | 12) => (true, quoted_ipv4(behind)),
        // All errors are below 128; four of them are defined.
        IpAddr::V6(_) if matches!(kind, 1..=4) => (true, quoted_ipv6(behind)),
        IpAddr::V4(_) | IpAddr::V6(_) => (false, None),
    };
    if is_error && quoted.is_none() && body.extent == Extent::Growing {
        return Err(Refusal::Truncated);
    }
    Ok(Transport::Icmp { kind, code, quoted })
}

/// Reads a quoted IPv4 packet. Its length and checksum are not verified: routers quote as little as eight bytes
/// behind the header (RFC 792), and some write into what they quote.
fn quoted_ipv4(bytes: &[u8]) -> Option<Quoted> {
    let first = *bytes.first()?;
    let header_length = usize::from(first & 0x0f) * 4;
    let fragment_offset = u16_at(bytes, 6)? & 0x1fff;
    if first >> 4 != 4 || header_length < 20 || fragment_offset != 0 {
        return None;
    }
    let (source, destination) = (ipv4_at(bytes, 12)?, ipv4_at(bytes, 16)?);
    quoted(source, destination, *bytes.get(9)?, bytes.get(header_length..)?)
}

fn quoted_ipv6(bytes: &[u8]) -> Option<Quoted> {
    if bytes.first()? >> 4 != 6 {
        return None;
    }
    let (source, destination) = (ipv6_at(bytes, 8)?, ipv6_at(bytes, 24)?);
    let mut rest = bytes.get(40..)?;
    let mut chain = extension::walk(rest, *bytes.get(6)?, extension::Start::BehindIpHeader).ok()?;
    if let Some(fragment) = chain.fragment {
        if fragment.offset != 0 {
            return None;
        }
        rest = rest.get(chain.length..)?;
        chain = extension::walk(rest, chain.protocol, extension::Start::BehindFragmentHeader).ok()?;
    }
    quoted(source, destination, chain.protocol, rest.get(chain.length..)?)
}

fn quoted(source: IpAddr, destination: IpAddr, protocol: u8, transport: &[u8]) -> Option<Quoted> {
    let (source_port, destination_port) = match protocol {
        6 | 17 | 132 => (u16_at(transport, 0)?, u16_at(transport, 2)?),
        _ => (0, 0),
    };
    Some(Quoted { source, destination, protocol, source_port, destination_port })
}
