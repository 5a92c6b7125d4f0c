//! The seven digests of the format, plain (inside the message) and keyed (behind the packet).

use base64ct::{Base64Unpadded, Encoding};
use md5::Md5;
use sha1::Sha1;
use sha2::digest::common::BlockSizeUser;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use sha3::{Sha3_256, Sha3_512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::key::HmacKey;

/// The longest digest in base64 without padding, in characters: that of 64 bytes.
const LONGEST: usize = 86;

/// A digest in base64 without padding.
pub(super) struct Encoded {
    text: [u8; LONGEST],
    length: usize,
}

impl Encoded {
    fn of(bytes: &[u8]) -> Encoded {
        let mut text = [0; LONGEST];
        let length =
            Base64Unpadded::encode(bytes, &mut text).expect("no digest has more than 64 bytes").len();
        Encoded { text, length }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("base64 is ASCII")
    }

    /// In constant time for texts of the right length.
    pub(super) fn is(&self, other: &[u8]) -> bool {
        self.as_bytes().ct_eq(other).into()
    }
}

/// Declares the digests once: name, type, letters in base64.
macro_rules! digests {
    ($($(#[doc = $doc:literal])+ $digest:ident: $name:literal, $letters:literal;)+) => {
        /// A digest of the format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Digest {
            $($(#[doc = $doc])+ $digest,)+
        }

        impl Digest {
            /// Every digest. Of two with the same length the first is tried first, as fwknopd does.
            pub const ALL: [Digest; 7] = [$(Digest::$digest),+];

            /// The name that fwknop's options and files use, in lower case.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Digest::$digest => $name,)+ }
            }

            /// Its characters in base64 without padding.
            #[must_use]
            pub fn letters(self) -> usize {
                match self { $(Digest::$digest => $letters,)+ }
            }

            /// The digest of `text`.
            pub(super) fn of(self, text: &[u8]) -> Encoded {
                match self { $(Digest::$digest => Encoded::of(&$digest::digest(text)),)+ }
            }
        }

        /// An HMAC with one of the digests and its key.
        #[derive(Clone)]
        pub(super) enum Seal {
            $($digest(Keyed<$digest>),)+
        }

        impl Seal {
            pub(super) fn new(digest: Digest, key: &HmacKey) -> Seal {
                match digest {
                    $(Digest::$digest => Seal::$digest(Keyed::new(key.bytes())),)+
                }
            }

            pub(super) fn digest(&self) -> Digest {
                match self { $(Seal::$digest(_) => Digest::$digest,)+ }
            }

            /// The HMAC over the two texts, one behind the other.
            pub(super) fn over(&self, first: &[u8], second: &[u8]) -> Encoded {
                match self {
                    $(Seal::$digest(keyed) => keyed.over(first, second),)+
                }
            }
        }
    };
}

digests! {
    /// RFC 1321; as an HMAC it must be asked for by name.
    Md5: "md5", 22;
    /// FIPS 180-4; as an HMAC it must be asked for by name.
    Sha1: "sha1", 27;
    /// FIPS 180-4, the default.
    Sha256: "sha256", 43;
    /// FIPS 180-4.
    Sha384: "sha384", 64;
    /// FIPS 180-4.
    Sha512: "sha512", 86;
    /// FIPS 202.
    Sha3_256: "sha3_256", 43;
    /// FIPS 202.
    Sha3_512: "sha3_512", 86;
}

impl Digest {
    /// The digest of this name; capitals do not matter.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Digest> {
        Digest::ALL.into_iter().find(|digest| digest.name().eq_ignore_ascii_case(name))
    }

    /// MD5 and SHA-1: broken as plain digests, so nobody should begin with them as an HMAC today.
    #[must_use]
    pub fn is_old(self) -> bool {
        matches!(self, Digest::Md5 | Digest::Sha1)
    }

    /// The digest that `encoded` is of `text`, by its length: fwknop's format does not name it.
    pub(super) fn that_gives(text: &[u8], encoded: &[u8]) -> Option<Digest> {
        Digest::ALL
            .into_iter()
            .filter(|digest| digest.letters() == encoded.len())
            .find(|digest| digest.of(text).is(encoded))
    }
}

/// HMAC (RFC 2104) with both halves of the key already digested, which saves two blocks for each packet. As secret as
/// the key; the digests wipe themselves when they go.
///
/// Not the `hmac` crate: its form for SHA-3 keeps half of the key in memory that is not wiped, and digests that half
/// again for each packet.
#[derive(Clone)]
pub(super) struct Keyed<D> {
    inner: D,
    outer: D,
}

impl<D: sha2::Digest + BlockSizeUser + Clone> Keyed<D> {
    fn new(key: &[u8]) -> Keyed<D> {
        let mut block = Zeroizing::new(vec![0_u8; D::block_size()]);
        if key.len() <= block.len() {
            block[..key.len()].copy_from_slice(key);
        } else {
            let digest = D::digest(key);
            block[..digest.len()].copy_from_slice(&digest);
        }
        let mut half = |change: u8| {
            block.iter_mut().for_each(|byte| *byte ^= change);
            D::new_with_prefix(&block[..])
        };
        Keyed { inner: half(0x36), outer: half(0x36 ^ 0x5c) }
    }

    fn over(&self, first: &[u8], second: &[u8]) -> Encoded {
        let inner = self.inner.clone().chain_update(first).chain_update(second).finalize();
        Encoded::of(&self.outer.clone().chain_update(inner).finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_what_the_digests_give() {
        for digest in Digest::ALL {
            assert_eq!(digest.of(b"x").as_bytes().len(), digest.letters(), "{digest:?}");
            assert_eq!(Digest::from_name(&digest.name().to_uppercase()), Some(digest));
            assert_eq!(Digest::that_gives(b"x", digest.of(b"x").as_bytes()), Some(digest));
            assert_eq!(Digest::that_gives(b"y", digest.of(b"x").as_bytes()), None);
        }
        assert_eq!(Digest::from_name("sha3"), None);
    }

    #[test]
    fn the_keyed_digest_is_that_of_rfc_4231_with_short_and_long_keys() {
        // Test cases 2 and 6, base64 of the HMAC-SHA-256 given there.
        let jefe = HmacKey::new(b"Jefe").expect("a key");
        let over = Seal::new(Digest::Sha256, &jefe).over(b"what do ya want ", b"for nothing?");
        assert_eq!(over.as_str(), "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM");
        let long = HmacKey::new(&[0xaa; 131]).expect("a key");
        let over = Seal::new(Digest::Sha256, &long)
            .over(b"Test Using Larger Than Block-Size Key - ", b"Hash Key First");
        assert_eq!(over.as_str(), "YOQxWR7gtn8Niiaqy/W3f44LxiE3KMUUBUYEDw7jf1Q");
    }
}
