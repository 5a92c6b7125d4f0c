//! The Internet checksum (RFC 1071): a one's complement sum of 16-bit words.

use std::net::IpAddr;

/// A running sum. Pieces may be added in any order, provided that each starts at an even offset of the whole.
///
/// Words are added as they lie in memory: the sum's byte order doesn't matter until it is written down
/// (RFC 1071 §2 (B)).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// The sum of `bytes`; an odd last byte counts as if a zero followed.
    #[inline]
    pub(super) fn of(bytes: &[u8]) -> Sum {
        let mut sum = Sum::default();
        sum.add(bytes);
        sum
    }

    /// Adds `bytes`, which start at an even offset of what is summed.
    #[inline]
    pub(super) fn add(&mut self, bytes: &[u8]) {
        // 32 bits at a time into 64: no carry is lost below 16 GiB. Wrapping, because a check for the overflow that
        // cannot be would keep the compiler from using wide registers.
        let (words, rest) = bytes.as_chunks::<4>();
        let words =
            words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from(u32::from_ne_bytes(*word))));
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.0 += words + u64::from(u32::from_ne_bytes(last));
    }

    /// Adds another sum.
    #[inline]
    pub(super) fn add_sum(&mut self, other: Sum) {
        self.0 += u64::from(other.fold());
    }

    /// Adds the pseudo header of TCP, UDP and ICMPv6 (RFC 9293 §3.1, RFC 8200 §8.1). `length` is that of the
    /// transport header and its payload in bytes.
    #[inline]
    pub(super) fn add_pseudo_header(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        length: usize,
    ) {
        for address in [source, destination] {
            match address {
                IpAddr::V4(address) => self.add(&address.octets()),
                IpAddr::V6(address) => self.add(&address.octets()),
            }
        }
        self.add(&[0, protocol]);
        // Lengths fit 32 bits: an IP packet that is longer is refused before anyone sums it.
        self.add(&(length as u32).to_be_bytes());
    }

    /// This sum without a part of it.
    #[inline]
    pub(super) fn without(self, part: Sum) -> Sum {
        Sum(u64::from(self.fold()) + u64::from(!part.fold()))
    }

    /// Whether the checksum that was summed along with the rest is right.
    #[inline]
    pub(super) fn is_right(self) -> bool {
        self.fold() == u16::MAX
    }

    /// Whether a checksum field holds this sum as it is, not inverted.
    pub(super) fn is_written_in(self, field: [u8; 2]) -> bool {
        field == self.fold().to_ne_bytes()
    }

    /// What to write into the checksum field, whose bytes were zero while summing.
    #[cfg(any(test, feature = "build"))]
    pub(super) fn checksum(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    #[inline]
    fn fold(self) -> u16 {
        let mut sum = self.0;
        while let carry @ 1.. = sum >> 16 {
            sum = (sum & 0xffff) + carry;
        }
        sum as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.checksum(), [!0xdd, !0xf2]);
    }

    #[test]
    fn pieces_sum_up_in_any_order_and_can_be_taken_away() {
        let bytes: Vec<u8> = (0..=250).collect();
        let mut backwards = Sum::of(&bytes[128..]);
        backwards.add(&bytes[..128]);
        assert_eq!(backwards.checksum(), Sum::of(&bytes).checksum());
        assert_eq!(
            Sum::of(&bytes).without(Sum::of(&bytes[..40])).checksum(),
            Sum::of(&bytes[40..]).checksum()
        );
    }

    #[test]
    fn bytes_of_nothing_but_zeros_have_no_right_checksum() {
        assert!(!Sum::of(&[0; 8]).is_right());
    }
}
