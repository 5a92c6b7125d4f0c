//! What an IP packet carries: the one place where the four transports are told apart.

use std::net::IpAddr;

use super::checksum::Sum;
use super::read::array;
use super::{Checksums, Refusal, Transport, icmp, sctp, tcp, udp};

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
    /// Likewise, but a field that holds no more than the pseudo header's sum counts as unfinished, not as wrong.
    Recorded,
    /// By this sum over the whole body.
    Sum(Sum),
}

impl Proof {
    /// What can be done for an unfragmented packet.
    #[inline]
    pub(super) fn of(checksums: Checksums) -> Proof {
        match checksums {
            Checksums::Verify => Proof::Bytes,
            Checksums::Recorded => Proof::Recorded,
            Checksums::Valid | Checksums::Unfinished => Proof::None,
        }
    }
}

/// Whether this protocol has ports that a packet could hide.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 132)
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

    /// Whether the checksum at `position` is known to be wrong. It covers the first `covered` bytes and, but for
    /// ICMP over IPv4, the addresses, the protocol and that length.
    #[inline]
    pub(super) fn is_damaged(&self, position: usize, covered: usize) -> bool {
        let mut sum = match self.proof {
            Proof::None => return false,
            Proof::Bytes | Proof::Recorded => match self.bytes.get(..covered) {
                Some(bytes) => Sum::of(bytes),
                None => return false,
            },
            Proof::Sum(sum) if self.length() == Some(covered) => sum,
            Proof::Sum(_) => return false,
        };
        let mut pseudo_header = Sum::default();
        if self.protocol != 1 {
            pseudo_header.add_pseudo_header(self.source, self.destination, self.protocol, covered);
        }
        sum.add_sum(pseudo_header);
        !sum.is_right() && !self.is_unfinished(position, pseudo_header)
    }

    /// Whether the sender has left the checksum at `position` to its network card, which never got to it
    /// (`CHECKSUM_PARTIAL`: the field holds the sum of the pseudo header, not yet inverted).
    #[cold]
    fn is_unfinished(&self, position: usize, pseudo_header: Sum) -> bool {
        matches!(self.proof, Proof::Recorded)
            && array(self.bytes, position).is_some_and(|field| pseudo_header.is_written_in(*field))
    }
}
