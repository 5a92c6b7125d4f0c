//! The IPv6 header (RFC 8200 §3), and the way over its extension headers to the transport.

use super::extension::{self, Start};
use super::fragments::{BYTES_KEPT, Datagram, Fragments, Piece};
use super::link::Rest;
use super::read::{array, ipv6_at};
use super::transport::{self, Body, Extent, Proof};
use super::{Packet, Refusal, Transport};
use crate::time::Mono;

/// Bytes of the fixed header.
const HEADER: usize = 40;

/// If the ports aren't among the first so many bytes of a packet, somebody hides them. The live capture shows that much
/// even behind [`MAXIMUM_VLAN_TAGS`](super::MAXIMUM_VLAN_TAGS) tags. Where fewer were captured, nothing is said of it.
pub const REACH: usize = 384;

#[inline]
pub(super) fn decode<'a>(
    fragments: &'a mut Fragments,
    now: Mono,
    rest: Rest<'a>,
) -> Result<Packet<'a>, Refusal> {
    let header = array::<HEADER>(rest.bytes, 0).ok_or_else(|| rest.shortage())?;
    let &[first, _, _, _, l0, l1, next_header, hop_limit, ..] = header;
    if first >> 4 != 6 {
        return Err(Refusal::BadIpVersion);
    }
    let (Some(source), Some(destination)) = (ipv6_at(header, 8), ipv6_at(header, 24)) else {
        return Err(Refusal::MappedAddress);
    };
    let told = usize::from(u16::from_be_bytes([l0, l1]));
    let on_wire = rest.wire_length.saturating_sub(HEADER);
    // Segments that the kernel has merged into more than 64 KiB ("BIG TCP") have a payload length of 0, and up to
    // Linux 6.18 a jumbo option in front: those go with the jumbograms. They belong to connections that stand.
    let is_merged = told == 0 && on_wire > usize::from(u16::MAX);
    if told == 0 && next_header == 0 {
        return Err(Refusal::Jumbogram);
    }
    let length = if is_merged { on_wire } else { told };
    if length > on_wire {
        return Err(Refusal::BadIpLength);
    }
    let payload = rest.bytes.get(HEADER..).unwrap_or_default();
    let mut bytes = payload.get(..length).unwrap_or(payload);
    let shortage = if bytes.len() < length { Refusal::Truncated } else { Refusal::TooShort };
    let hidden = Packet {
        source,
        destination,
        hop_limit,
        has_ip_options: false,
        is_fragmented: false,
        is_cut_up: false,
        transport: Transport::Hidden { number: 0 },
    };
    let out_of_reach = |refusal| match (refusal, shortage) {
        (Refusal::TooManyExtensionHeaders, _) => Ok(hidden),
        (Refusal::Truncated, Refusal::Truncated) if rest.bytes.len() >= REACH => Ok(hidden),
        (Refusal::Truncated, _) => Err(shortage),
        (refusal, _) => Err(refusal),
    };

    let mut chain = match extension::walk(bytes, next_header, Start::BehindIpHeader) {
        Ok(chain) => chain,
        Err(refusal) => return out_of_reach(refusal),
    };
    bytes = match bytes.get(chain.length..) {
        Some(bytes) => bytes,
        None if transport::has_ports(chain.protocol) => return out_of_reach(Refusal::Truncated),
        None => return Err(shortage),
    };
    let mut length = length - chain.length;
    let mut is_under_way = chain.is_under_way;
    let proof = if is_merged { Proof::None } else { Proof::of(rest.checksums) };
    if let Some(fragment) = chain.fragment {
        if fragment.offset != 0 || fragment.has_more {
            let wanted = BYTES_KEPT.saturating_sub(fragment.offset).min(length);
            if bytes.len() < wanted && rest.bytes.len() >= REACH {
                return Ok(Packet { is_fragmented: true, ..hidden });
            }
            let identification = fragment.identification;
            return fragments.join(
                now,
                &Piece {
                    datagram: Datagram { source, destination, identification, protocol: 0 },
                    hop_limit,
                    has_ip_options: false,
                    first_header: chain.protocol,
                    offset: fragment.offset,
                    has_more: fragment.has_more,
                    bytes,
                    length,
                    is_verifiable: !is_under_way && !matches!(proof, Proof::None),
                },
            );
        }
        // An atomic fragment is whole by itself and never joined with others (RFC 6946).
        chain = match extension::walk(bytes, chain.protocol, Start::BehindFragmentHeader) {
            Ok(chain) => chain,
            Err(refusal) => return out_of_reach(refusal),
        };
        if chain.fragment.is_some() {
            return Err(Refusal::BadExtensionHeader);
        }
        bytes = match bytes.get(chain.length..) {
            Some(bytes) => bytes,
            None if transport::has_ports(chain.protocol) => return out_of_reach(Refusal::Truncated),
            None => return Err(shortage),
        };
        length -= chain.length;
        is_under_way |= chain.is_under_way;
    }
    let proof = if is_under_way { Proof::None } else { proof };
    let protocol = chain.protocol;
    let body = Body { source, destination, protocol, bytes, extent: Extent::Plain(length), proof };
    match transport::decode(&body) {
        Ok(transport) => Ok(Packet { transport, ..hidden }),
        Err(refusal) if transport::has_ports(protocol) => out_of_reach(refusal),
        Err(refusal) => Err(refusal),
    }
}
