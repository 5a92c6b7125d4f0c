//! The SCTP common header and the type of the first chunk (RFC 9260 §3). The CRC32c is not verified: a probe with
//! a wrong one is a probe of somebody who can't write SCTP, and no service answers it.

use super::read::array;
use super::transport::Body;
use super::{Refusal, Transport};

#[inline]
pub(super) fn decode<'a>(body: &Body<'a>) -> Result<Transport<'a>, Refusal> {
    // Ports, verification tag, checksum, and the four bytes that every chunk begins with.
    let &[s0, s1, d0, d1, v0, v1, v2, v3, _, _, _, _, first_chunk, _, _, _] =
        array(body.bytes, 0).ok_or_else(|| body.shortage())?;
    Ok(Transport::Sctp {
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        verification_tag: u32::from_be_bytes([v0, v1, v2, v3]),
        first_chunk,
    })
}
