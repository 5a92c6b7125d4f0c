//! Packets that no client makes, for tests.

use super::cipher::SALT;
use super::digest::Digest;
use super::envelope::{self, Keys};

/// A packet with right keys around any text: the digest, the cipher and the HMAC are as they should be.
#[must_use]
pub fn around(text: &[u8], digest: Digest, keys: &Keys, salt: [u8; SALT]) -> String {
    envelope::wrap(text, digest, keys, salt)
}
