//! The TCP header (RFC 9293 §3.1).

use super::read::array;
use super::transport::{Body, Extent};
use super::{Refusal, Tcp, TcpFlags, Transport};

#[inline]
pub(super) fn decode<'a>(body: &Body<'a>) -> Result<Transport<'a>, Refusal> {
    let &[s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1, ..] =
        array::<20>(body.bytes, 0).ok_or_else(|| body.shortage())?;
    let header_length = usize::from(offset >> 4) * 4;
    if header_length < 20 || body.length().is_some_and(|length| header_length > length) {
        return Err(Refusal::BadTcpOffset);
    }
    // A short capture that has lost TCP options still tells all that is asked for; a datagram in fragments has to
    // show its whole header, since what is missing may yet overlap.
    if header_length > body.bytes.len() && !matches!(body.extent, Extent::Plain(_)) {
        return Err(Refusal::Truncated);
    }
    if let Some(length) = body.length()
        && body.is_damaged(16, length)
    {
        return Err(Refusal::BadTcpChecksum);
    }
    let payload_length = match body.extent {
        Extent::Plain(length) => length - header_length,
        Extent::Joined(_) | Extent::Growing | Extent::Full => 0,
    };
    Ok(Transport::Tcp(Tcp {
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        sequence: u32::from_be_bytes([q0, q1, q2, q3]),
        acknowledgement: u32::from_be_bytes([a0, a1, a2, a3]),
        flags: TcpFlags(flags),
        window: u16::from_be_bytes([w0, w1]),
        header_length: (offset >> 4) * 4,
        payload_length,
    }))
}
