//! What an IP packet carries: the one place where the four transports are told apart.

use std::net::IpAddr;

use super::checksum::Sum;
use super::{Refusal, Transport, icmp, sctp, tcp, udp};

/// The part of an IP packet behind its headers.
#[derive(Clone, Copy)]
pub(super) struct Body<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    /// As much as there is: cut by the snap length or by missing fragments, never longer than the IP header says.
    pub(super) bytes: &'a [u8],
    pub(super) extent: Extent,
    pub(super) proof: Proof,
}

/// How long a body is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// This many bytes, by the IP header of an unfragmented packet.
    Plain(usize),
    /// This many bytes, joined from fragments that are all there.
    Joined(usize),
    /// Fragments are missing, more bytes will come.
    Growing,
    /// Fragments are missing, and as much is there as will ever be kept.
    Full,
}

/// How the transport checksum can be verified.
#[derive(Clone, Copy)]
pub(super) enum Proof {
    /// It can't, or need not.
    None,
    /// By summing the body's bytes, as far as they are there.
    Bytes,
    /// By this sum over the whole body.
    Sum(Sum),
}

/// Reads the transport header. [`Refusal::Truncated`] where bytes are missing that the packet had or will have.
#[inline]
pub(super) fn decode<'a>(body: &Body<'a>) -> Result<Transport<'a>, Refusal> {
    match (body.protocol, body.source) {
        (6, _) => tcp::decode(body),
        (17, _) => udp::decode(body),
        (132, _) => sctp::decode(body),
        (1, IpAddr::V4(_)) | (58, IpAddr::V6(_)) => icmp::decode(body),
        (other, _) => Ok(Transport::Other(other)),
    }
}

impl Body<'_> {
    /// The length of the whole, where it is known.
    #[inline]
    pub(super) fn length(&self) -> Option<usize> {
        match self.extent {
            Extent::Plain(length) | Extent::Joined(length) => Some(length),
            Extent::Growing | Extent::Full => None,
        }
    }

    /// Why bytes are missing: they were not captured or have not come yet, or the packet never had them.
    #[inline]
    pub(super) fn shortage(&self) -> Refusal {
        match self.length() {
            Some(length) if length <= self.bytes.len() => Refusal::TooShort,
            _ => Refusal::Truncated,
        }
    }

    /// Whether the checksum is known to be wrong. It covers the first `covered` bytes and, where
    /// `has_pseudo_header`, the addresses, the protocol and that length.
    #[inline]
    pub(super) fn is_damaged(&self, covered: usize, has_pseudo_header: bool) -> bool {
        let mut sum = match self.proof {
            Proof::None => return false,
            Proof::Bytes => match self.bytes.get(..covered) {
                Some(bytes) => Sum::of(bytes),
                None => return false,
            },
            Proof::Sum(sum) if self.length() == Some(covered) => sum,
            Proof::Sum(_) => return false,
        };
        if has_pseudo_header {
            sum.add_pseudo_header(self.source, self.destination, self.protocol, covered);
        }
        !sum.is_right()
    }
}
