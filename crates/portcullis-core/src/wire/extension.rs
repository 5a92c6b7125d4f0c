//! The chain of IPv6 extension headers (RFC 8200 §4), up to the transport or to a fragment header.

use super::Refusal;
use super::read::{array, u16_at, u32_at};

/// How many extension headers may follow each other. RFC 8200 §4.1 knows eight kinds, each once and destination
/// options twice; more than this is nobody's traffic, and each costs time. The live capture has room for 49.
pub const MAXIMUM_EXTENSION_HEADERS: usize = 64;

/// Where a walk begins: a hop-by-hop header may only stand directly behind the IP header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    BehindIpHeader,
    BehindFragmentHeader,
}

/// What stood between the start and the transport header, or the end of a fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// What follows: a transport, ESP (50), or no next header (59).
    pub(super) protocol: u8,
    /// How many bytes the headers took.
    pub(super) length: usize,
    /// The fragment header, where the walk ended at one.
    pub(super) fragment: Option<Fragment>,
    /// Whether a routing header has segments left: then the IP header's destination is not the last one, and
    /// checksums can't be verified against it (RFC 8200 §8.1).
    pub(super) is_under_way: bool,
}

/// The fragment header's fields (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    /// In bytes.
    pub(super) offset: usize,
    pub(super) has_more: bool,
    pub(super) identification: u32,
}

/// Walks the extension headers in `bytes`, the first of which has the number `protocol`.
/// [`Refusal::Truncated`] where the bytes end before the headers do.
#[inline]
pub(super) fn walk(bytes: &[u8], mut protocol: u8, start: Start) -> Result<Chain, Refusal> {
    let mut length = 0;
    let mut is_under_way = false;
    for _ in 0..=MAXIMUM_EXTENSION_HEADERS {
        let unit = match protocol {
            // Hop-by-hop options.
            0 if length != 0 || start != Start::BehindIpHeader => return Err(Refusal::BadExtensionHeader),
            // Hop-by-hop options, destination options, mobility, HIP, shim6.
            0 | 60 | 135 | 139 | 140 => Unit::Eight,
            // Routing.
            43 => {
                let &[_, _, _, segments_left] = array(bytes, length).ok_or(Refusal::Truncated)?;
                is_under_way |= segments_left != 0;
                Unit::Eight
            }
            // Fragment.
            44 => {
                let next = *bytes.get(length).ok_or(Refusal::Truncated)?;
                let field = u16_at(bytes, length + 2).ok_or(Refusal::Truncated)?;
                let fragment = Fragment {
                    offset: usize::from(field & 0xfff8),
                    has_more: field & 1 != 0,
                    identification: u32_at(bytes, length + 4).ok_or(Refusal::Truncated)?,
                };
                length += 8;
                return Ok(Chain { protocol: next, length, fragment: Some(fragment), is_under_way });
            }
            // Authentication header: counts 4-byte units, less two (RFC 4302 §2.2).
            51 => Unit::Four,
            _ => return Ok(Chain { protocol, length, fragment: None, is_under_way }),
        };
        let &[next, size] = array(bytes, length).ok_or(Refusal::Truncated)?;
        let size = usize::from(size);
        length += match unit {
            Unit::Eight => (size + 1) * 8,
            Unit::Four => (size + 2) * 4,
        };
        protocol = next;
    }
    Err(Refusal::TooManyExtensionHeaders)
}

/// What a header's length byte counts, in bytes.
enum Unit {
    Eight,
    Four,
}
