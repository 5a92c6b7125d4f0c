//! Secrets: never shown, compared in constant time, wiped when nobody needs them any more.

use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A shared secret. It has no `Debug` and no text: nothing can print it by accident. Clones share one piece of memory,
/// which is wiped with the last of them.
#[derive(Clone)]
pub struct Key(Arc<Zeroizing<Vec<u8>>>);

impl Key {
    /// The fewest bytes of a key: RFC 2104 §3 wants no less than the hash gives, and an attacker who has recorded a
    /// knock can try keys at leisure. 16 random bytes are out of reach, fewer are not.
    pub const SHORTEST: usize = 16;

    /// A key of these bytes, or `None` if there are fewer than [`Key::SHORTEST`]. Whoever reads them from a file hands
    /// them over in a [`Zeroizing`], so that no copy is left behind.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Key> {
        (bytes.len() >= Key::SHORTEST).then(|| Key(Arc::new(bytes)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Key {
    /// In a time that tells nothing of where they differ.
    fn eq(&self, other: &Key) -> bool {
        self.bytes().ct_eq(other.bytes()).into()
    }
}

impl Eq for Key {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_and_short_ones_refused() {
        let key = |byte: u8, length| Key::new(Zeroizing::new(vec![byte; length]));
        assert!(key(1, 16) == key(1, 16) && key(1, 16).is_some());
        assert!(key(1, 16) != key(2, 16) && key(1, 16) != key(1, 17));
        assert!(key(1, 15).is_none());
    }
}
