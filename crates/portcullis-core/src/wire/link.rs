//! From the start of a frame to the start of its IP packet.

use super::read::{array, u16_at};
use super::{Checksums, Frame, Link, Refusal};

/// How many VLAN tags may follow each other. Real networks use two (IEEE 802.1ad), providers now and then three;
/// more is nobody's traffic, and each costs time.
pub const MAXIMUM_VLAN_TAGS: usize = 8;

/// An IP version, as the link told or the packet's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

/// What is left of a frame from some header on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest<'a> {
    /// The captured bytes.
    pub(super) bytes: &'a [u8],
    /// How many there were on the wire; never fewer than `bytes`.
    pub(super) wire_length: usize,
    pub(super) checksums: Checksums,
}

impl<'a> Rest<'a> {
    /// Without the first `count` bytes.
    #[inline]
    fn behind(self, count: usize) -> Result<Rest<'a>, Refusal> {
        let bytes = self.bytes.get(count..).ok_or_else(|| self.shortage())?;
        Ok(Rest { bytes, wire_length: self.wire_length.saturating_sub(count), ..self })
    }

    /// Why bytes are missing here: the capture cut them off, or they never were.
    #[inline]
    pub(super) fn shortage(&self) -> Refusal {
        if self.bytes.len() < self.wire_length { Refusal::Truncated } else { Refusal::TooShort }
    }
}

/// Finds the IP packet in a frame.
#[inline]
pub(super) fn network<'a>(frame: &Frame<'a>) -> Result<(Version, Rest<'a>), Refusal> {
    let rest = Rest {
        bytes: frame.bytes,
        wire_length: frame.wire_length.max(frame.bytes.len()),
        checksums: frame.checksums,
    };
    match frame.link {
        Link::Network { ethertype } => behind_ethertype(ethertype, rest),
        Link::Ethernet => at_ethertype(rest, 12, 14),
        // Packet type, ARPHRD type, address length, 8 bytes of address, protocol.
        Link::CookedV1 => at_ethertype(rest, 14, 16),
        // The protocol leads, then come 18 bytes of interface, type and address.
        Link::CookedV2 => at_ethertype(rest, 0, 20),
        Link::RawIp => match rest.bytes.first().map(|first| first >> 4) {
            Some(4) => Ok((Version::V4, rest)),
            Some(6) => Ok((Version::V6, rest)),
            Some(_) => Err(Refusal::BadIpVersion),
            None => Err(rest.shortage()),
        },
        Link::Null => {
            let family = array(rest.bytes, 0).ok_or_else(|| rest.shortage())?;
            // The capturing machine's byte order: families are small, so the order that gives a small number holds.
            let family = u32::from_le_bytes(*family).min(u32::from_be_bytes(*family));
            let rest = rest.behind(4)?;
            match family {
                2 => Ok((Version::V4, rest)),
                // AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS.
                10 | 24 | 28 | 30 => Ok((Version::V6, rest)),
                _ => Err(Refusal::NotIp),
            }
        }
    }
}

#[inline]
fn at_ethertype(rest: Rest<'_>, position: usize, behind: usize) -> Result<(Version, Rest<'_>), Refusal> {
    let ethertype = u16_at(rest.bytes, position).ok_or_else(|| rest.shortage())?;
    behind_ethertype(ethertype, rest.behind(behind)?)
}

#[inline]
fn behind_ethertype(mut ethertype: u16, mut rest: Rest<'_>) -> Result<(Version, Rest<'_>), Refusal> {
    for _ in 0..=MAXIMUM_VLAN_TAGS {
        match ethertype {
            0x0800 => return Ok((Version::V4, rest)),
            0x86dd => return Ok((Version::V6, rest)),
            // 802.1Q, 802.1ad, and the number that came before 802.1ad: tag control information, next EtherType.
            0x8100 | 0x88a8 | 0x9100 => {
                ethertype = u16_at(rest.bytes, 2).ok_or_else(|| rest.shortage())?;
                rest = rest.behind(4)?;
            }
            _ => return Err(Refusal::NotIp),
        }
    }
    Err(Refusal::TooManyVlanTags)
}
