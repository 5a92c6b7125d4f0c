//! Reading numbers and addresses out of bytes without a chance to panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `N` bytes from `offset` on, if they are there.
#[inline]
pub(super) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<&[u8; N]> {
    bytes.get(offset..)?.first_chunk()
}

/// The big-endian number at `offset`.
#[inline]
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(|two| u16::from_be_bytes(*two))
}

/// The big-endian number at `offset`.
#[inline]
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(|four| u32::from_be_bytes(*four))
}

/// The IPv4 address at `offset`.
#[inline]
pub(super) fn ipv4_at(bytes: &[u8], offset: usize) -> Option<IpAddr> {
    array(bytes, offset).map(|four: &[u8; 4]| IpAddr::V4(Ipv4Addr::from(*four)))
}

/// The IPv6 address at `offset`; nothing where it is IPv4-mapped, since such an address on the wire could only
/// pass for an IPv4 neighbour that never sent it.
#[inline]
pub(super) fn ipv6_at(bytes: &[u8], offset: usize) -> Option<IpAddr> {
    let address = array(bytes, offset).map(|sixteen: &[u8; 16]| Ipv6Addr::from(*sixteen))?;
    match address.to_ipv4_mapped() {
        Some(_) => None,
        None => Some(IpAddr::V6(address)),
    }
}
