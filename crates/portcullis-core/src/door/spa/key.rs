//! Keys: without `Debug`, wiped when they go, compared in constant time.

use std::fmt;

use base64ct::{Base64, Encoding};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The longest key of the cipher, in bytes: fwknop 2.6.10 refuses the 33rd (vector `key-33`).
pub const CIPHER_KEY_MAXIMUM: usize = 32;
/// The longest key of the HMAC, in bytes: fwknop 2.6.11's limit; 128 bytes are measured (vector `hmac-key-128`).
pub const HMAC_KEY_MAXIMUM: usize = 136;
/// A key with fewer bytes is short: 16 random bytes cannot be guessed, and nothing in the format slows a guess down
/// (one pass of MD5), so a passphrase of this length is already the lower edge of what is sensible.
pub const SHORT_KEY: usize = 16;

/// Why some bytes are no key. It never says what they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// No byte at all.
    Empty,
    /// More bytes than the format takes; how many it takes.
    TooLong(usize),
    /// The text is not standard base64 with its padding.
    NotBase64,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFault::Empty => write!(f, "the key is empty"),
            KeyFault::TooLong(most) => {
                write!(f, "the key has more than {most} bytes, which the format cannot use")
            }
            KeyFault::NotBase64 => {
                write!(f, "the key is not base64 (A-Z a-z 0-9 + /, filled up with = to fours)")
            }
        }
    }
}

impl std::error::Error for KeyFault {}

fn checked(bytes: &[u8], most: usize) -> Result<Zeroizing<Box<[u8]>>, KeyFault> {
    match bytes.len() {
        0 => Err(KeyFault::Empty),
        length if length > most => Err(KeyFault::TooLong(most)),
        _ => Ok(Zeroizing::new(bytes.into())),
    }
}

fn decoded(text: &str, most: usize) -> Result<Zeroizing<Box<[u8]>>, KeyFault> {
    let mut buffer = Zeroizing::new([0; 2 * HMAC_KEY_MAXIMUM]);
    if Base64::encoded_len(&buffer[..]) < text.len() {
        return Err(KeyFault::TooLong(most));
    }
    let bytes = Base64::decode(text, &mut buffer[..]).map_err(|_| KeyFault::NotBase64)?;
    checked(bytes, most)
}

/// Declares the two kinds of key, so that they are alike and still cannot be mixed up.
macro_rules! key {
    ($(#[doc = $doc:literal])+ $name:ident, $most:expr) => {
        $(#[doc = $doc])+
        #[derive(Clone)]
        pub struct $name(Zeroizing<Box<[u8]>>);

        impl $name {
            /// The key as it is: the bytes of a passphrase (`KEY`, `HMAC_KEY` in fwknop's files).
            ///
            /// # Errors
            /// Empty, or longer than the format takes.
            pub fn new(bytes: &[u8]) -> Result<$name, KeyFault> {
                checked(bytes, $most).map($name)
            }

            /// The key from base64 with padding (`KEY_BASE64`, `HMAC_KEY_BASE64`). Zero bytes are allowed.
            ///
            /// # Errors
            /// Not base64, empty, or longer than the format takes.
            pub fn from_base64(text: &str) -> Result<$name, KeyFault> {
                decoded(text, $most).map($name)
            }

            /// Whether it has fewer than [`SHORT_KEY`] bytes.
            #[must_use]
            pub fn is_short(&self) -> bool {
                self.0.len() < SHORT_KEY
            }

            pub(super) fn bytes(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

key! {
    /// The key of the cipher, 1 to 32 bytes.
    CipherKey, CIPHER_KEY_MAXIMUM
}
key! {
    /// The key of the HMAC, 1 to 136 bytes.
    HmacKey, HMAC_KEY_MAXIMUM
}

/// Whether the two keys of one user are the same bytes, which fwknopd refuses to start with (measured).
pub(super) fn are_the_same(cipher: &CipherKey, hmac: &HmacKey) -> bool {
    cipher.bytes().ct_eq(hmac.bytes()).into()
}

/// Whether two keys of the cipher are the same.
pub(super) fn are_equal(one: &CipherKey, other: &CipherKey) -> bool {
    one.bytes().ct_eq(other.bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_bounds() {
        assert_eq!(CipherKey::new(b"").err(), Some(KeyFault::Empty));
        assert_eq!(CipherKey::new(&[b'k'; 33]).err(), Some(KeyFault::TooLong(32)));
        assert!(CipherKey::new(&[b'k'; 32]).is_ok());
        assert_eq!(HmacKey::new(&[0; 137]).err(), Some(KeyFault::TooLong(136)));
        assert!(HmacKey::new(&[0; 136]).is_ok());
    }

    #[test]
    fn base64_keys_keep_their_zeros_and_need_their_padding() {
        let key = HmacKey::from_base64("AAAB").expect("three bytes");
        assert_eq!(key.bytes(), [0, 0, 1]);
        assert!(key.is_short());
        assert_eq!(CipherKey::from_base64("AAECAw").err(), Some(KeyFault::NotBase64));
        assert_eq!(CipherKey::from_base64("AA EC").err(), Some(KeyFault::NotBase64));
        assert_eq!(CipherKey::from_base64(&"A".repeat(44)).err(), Some(KeyFault::TooLong(32)));
        assert_eq!(CipherKey::from_base64(&"A".repeat(4000)).err(), Some(KeyFault::TooLong(32)));
    }
}
