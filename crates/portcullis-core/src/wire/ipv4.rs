//! The IPv4 header (RFC 791).

use std::net::{IpAddr, Ipv4Addr};

use super::checksum::Sum;
use super::fragments::{Datagram, Fragments, Piece};
use super::link::Rest;
use super::read::array;
use super::transport::{self, Body, Extent, Proof};
use super::{Checksums, Packet, Refusal};
use crate::time::Mono;

#[inline]
pub(super) fn decode<'a>(
    fragments: &'a mut Fragments,
    now: Mono,
    rest: Rest<'a>,
) -> Result<Packet<'a>, Refusal> {
    let &[first, _, t0, t1, i0, i1, f0, f1, hop_limit, protocol, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3] =
        array(rest.bytes, 0).ok_or_else(|| rest.shortage())?;
    if first >> 4 != 4 {
        return Err(Refusal::BadIpVersion);
    }
    let header_length = usize::from(first & 0x0f) * 4;
    if header_length < 20 {
        return Err(Refusal::BadIpHeaderLength);
    }
    let header = rest.bytes.get(..header_length).ok_or_else(|| rest.shortage())?;
    let told = usize::from(u16::from_be_bytes([t0, t1]));
    // Segments that the kernel has merged into more than 64 KiB ("BIG TCP") have a total length of 0; neither of
    // their checksums was ever on a wire.
    let is_merged = told == 0 && rest.wire_length > usize::from(u16::MAX);
    let total_length = if is_merged { rest.wire_length } else { told };
    if total_length < header_length || total_length > rest.wire_length {
        return Err(Refusal::BadIpLength);
    }
    let is_left_to_card = rest.checksums == Checksums::Recorded && [c0, c1] == [0, 0];
    if !is_merged && !is_left_to_card && !Sum::of(header).is_right() {
        return Err(Refusal::BadIpChecksum);
    }
    // Whatever lies behind the total length is the link's padding.
    let end = total_length.min(rest.bytes.len());
    let bytes = rest.bytes.get(header_length..end).unwrap_or_default();
    let length = total_length - header_length;
    let source = IpAddr::V4(Ipv4Addr::new(s0, s1, s2, s3));
    let destination = IpAddr::V4(Ipv4Addr::new(d0, d1, d2, d3));
    let has_ip_options = header_length > 20;
    let proof = if is_merged { Proof::None } else { Proof::of(rest.checksums) };

    let field = u16::from_be_bytes([f0, f1]);
    let (offset, has_more) = (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0);
    if offset != 0 || has_more {
        let identification = u32::from(u16::from_be_bytes([i0, i1]));
        return fragments.join(
            now,
            &Piece {
                datagram: Datagram { source, destination, identification, protocol },
                hop_limit,
                has_ip_options,
                first_header: protocol,
                offset,
                has_more,
                bytes,
                length,
                is_verifiable: !matches!(proof, Proof::None),
            },
        );
    }
    let body = Body { source, destination, protocol, bytes, extent: Extent::Plain(length), proof };
    let transport = transport::decode(&body)?;
    Ok(Packet {
        source,
        destination,
        hop_limit,
        has_ip_options,
        is_fragmented: false,
        is_cut_up: false,
        transport,
    })
}
