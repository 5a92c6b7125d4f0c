//! The UDP header (RFC 768).

use std::net::IpAddr;

use super::read::array;
use super::transport::{Body, Proof};
use super::{Refusal, Transport};

#[inline]
pub(super) fn decode<'a>(body: &Body<'a>) -> Result<Transport<'a>, Refusal> {
    let &[s0, s1, d0, d1, l0, l1, c0, c1] = array(body.bytes, 0).ok_or_else(|| body.shortage())?;
    let told = usize::from(u16::from_be_bytes([l0, l1]));
    // A length of 0 means "more than 64 KiB" behind a jumbogram or after the kernel has merged datagrams. Over IPv6
    // Linux takes it for "all that is there" at any size (`__udp6_lib_rcv`).
    let length = match (body.length(), body.source) {
        (Some(length), IpAddr::V6(_)) if told == 0 => length,
        (Some(length), IpAddr::V4(_)) if told == 0 && length > usize::from(u16::MAX) => length,
        (None, IpAddr::V6(_)) if told == 0 => body.bytes.len(),
        _ => told,
    };
    if length < 8 || body.length().is_some_and(|most| length > most) {
        return Err(Refusal::BadUdpLength);
    }
    match ([c0, c1], body.source) {
        ([0, 0], IpAddr::V4(_)) => {}
        ([0, 0], IpAddr::V6(_)) if !matches!(body.proof, Proof::None) => {
            return Err(Refusal::MissingUdpChecksum);
        }
        _ if body.is_damaged(6, length) => return Err(Refusal::BadUdpChecksum),
        _ => {}
    }
    let end = length.min(body.bytes.len());
    Ok(Transport::Udp {
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        payload: body.bytes.get(8..end).unwrap_or_default(),
    })
}
