//! The outside of a packet: base64, HMAC, cipher.
//!
//! ```text
//! B      = base64("Salted__" || salt || AES-256(plaintext))
//! packet = B without its first 10 characters || base64(HMAC(B))
//! ```

use base64ct::{Base64Unpadded, Encoding};

use super::cipher::{self, BLOCK, Mode, SALT};
use super::digest::{Digest, Seal};
use super::key::{self, CipherKey, HmacKey};
use super::message::Message;
use super::refusal::Refusal;

/// Shorter payloads are dropped by fwknopd without a word (measured: 139 is, 140 is not).
pub const SHORTEST: usize = 140;
/// Longer ones are GnuPG packets to fwknopd, whatever they are (measured: 396 is taken, 417 is not).
pub const LONGEST: usize = 399;

/// What every B begins with, and the client cuts off: 60 of the 64 bits of `Salted__`.
const PREFIX: &[u8] = b"U2FsdGVkX1";
const MAGIC: &[u8] = b"Salted__";
/// What the other 4 bits allow the first character to be.
const FIRST: &[u8] = b"89+/";

/// Why keys do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysFault {
    /// Cipher and HMAC have the same key; fwknopd does not start with that (measured).
    Same,
    /// [`Mode::Legacy`] with an HMAC; the client refuses that (vector `mode-legacy`).
    LegacyWithHmac,
}

impl std::fmt::Display for KeysFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KeysFault::Same => "the keys of cipher and HMAC are the same; make two (fwknop --key-gen)",
            KeysFault::LegacyWithHmac => {
                "the legacy mode of the cipher cannot be used with an HMAC; leave the mode out"
            }
        })
    }
}

impl std::error::Error for KeysFault {}

/// What both sides of a door share.
#[derive(Clone)]
pub struct Keys {
    cipher: CipherKey,
    mode: Mode,
    seal: Option<Seal>,
    is_short: bool,
}

impl Keys {
    /// Keys for a cipher in CBC and an HMAC over it.
    ///
    /// # Errors
    /// The two are the same.
    pub fn new(cipher: CipherKey, digest: Digest, hmac: &HmacKey) -> Result<Keys, KeysFault> {
        Keys::of_mode(Mode::Cbc, cipher, Some((digest, hmac)))
    }

    /// Keys for whatever fwknop can be told to do, also without an HMAC: then whoever guesses the key offline, or
    /// changes bits on the way, is told nothing but a wrong digest. On the receiving side such keys must be asked for
    /// by name ([`Weak`](super::access::Weak)).
    ///
    /// # Errors
    /// The two keys are the same, or the mode cannot go with an HMAC.
    pub fn of_mode(
        mode: Mode,
        cipher: CipherKey,
        hmac: Option<(Digest, &HmacKey)>,
    ) -> Result<Keys, KeysFault> {
        let is_short = cipher.is_short() || hmac.is_some_and(|(_, key)| key.is_short());
        match hmac {
            Some((_, key)) if key::are_the_same(&cipher, key) => return Err(KeysFault::Same),
            Some(_) if mode == Mode::Legacy => return Err(KeysFault::LegacyWithHmac),
            _ => {}
        }
        let seal = hmac.map(|(digest, key)| Seal::new(digest, key));
        Ok(Keys { cipher, mode, seal, is_short })
    }

    /// How the blocks are chained.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The digest of the HMAC, if there is one.
    #[must_use]
    pub fn hmac(&self) -> Option<Digest> {
        self.seal.as_ref().map(Seal::digest)
    }

    /// Whether one of the keys is shorter than [`SHORT_KEY`](super::key::SHORT_KEY).
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.is_short
    }
}

/// Whether the keys are the same, found out in constant time. HMAC keys are compared by what they make of nothing.
impl PartialEq for Keys {
    fn eq(&self, other: &Keys) -> bool {
        let tag = |keys: &Keys| keys.seal.as_ref().map(|seal| (seal.digest(), seal.over(b"", b"")));
        let is_same_hmac = match (tag(self), tag(other)) {
            (Some((digest, own)), Some((others, tag))) => digest == others && own.is(tag.as_bytes()),
            (None, None) => true,
            _ => false,
        };
        key::are_equal(&self.cipher, &other.cipher) && self.mode == other.mode && is_same_hmac
    }
}

impl Eq for Keys {}

/// Whether this can be a packet at all: what is asked before any key is used. Costs one look at each character.
pub(super) fn check(packet: &[u8]) -> Result<(), Refusal> {
    if packet.len() < SHORTEST {
        Err(Refusal::TooShort)
    } else if packet.len() > LONGEST {
        Err(Refusal::TooLong)
    } else if packet.starts_with(PREFIX) || packet.starts_with(b"hQ") {
        Err(Refusal::Prefixed)
    } else if let Some(stray) =
        packet.iter().find(|byte| !byte.is_ascii_alphanumeric() && !b"+/".contains(byte))
    {
        Err(if *stray == b'=' { Refusal::Padded } else { Refusal::NotBase64 })
    } else if !FIRST.contains(&packet[0]) {
        Err(Refusal::NotSalted)
    } else {
        Ok(())
    }
}

/// Reads a packet with keys that are known to be its own, without asking whether it is new or what it may: for clients
/// that check what they made, and for tests. Doors are for [`Spa::receive`](super::Spa::receive).
///
/// # Errors
/// The first rule that the packet breaks.
pub fn read(packet: &[u8], keys: &Keys) -> Result<Message, Refusal> {
    check(packet)?;
    open(packet, keys)
}

/// Opens a packet that passed [`check`]: length, HMAC, base64, cipher, digest, fields, in this order.
///
/// A packet that is not of these keys costs one HMAC over at most 409 characters.
pub(super) fn open(packet: &[u8], keys: &Keys) -> Result<Message, Refusal> {
    let letters = keys.seal.as_ref().map_or(0, |seal| seal.digest().letters());
    let (body, tag) = packet.split_at(packet.len().saturating_sub(letters));
    let encoded = PREFIX.len() + body.len();
    let bytes = encoded / 4 * 3 + [0, 0, 1, 2][encoded % 4];
    let header = MAGIC.len() + SALT;
    if encoded % 4 == 1 || bytes <= header || !(bytes - header).is_multiple_of(BLOCK) {
        return Err(Refusal::BadLength);
    }
    if keys.seal.as_ref().is_some_and(|seal| !seal.over(PREFIX, body).is(tag)) {
        return Err(Refusal::BadHmac);
    }
    let mut text = [0; PREFIX.len() + LONGEST];
    text[..PREFIX.len()].copy_from_slice(PREFIX);
    text.get_mut(PREFIX.len()..encoded).ok_or(Refusal::TooLong)?.copy_from_slice(body);
    let mut decoded = [0; (PREFIX.len() + LONGEST) / 4 * 3 + 2];
    let bytes =
        Base64Unpadded::decode(&text[..encoded], &mut decoded).map_err(|_| Refusal::NotCanonical)?.len();
    let (salted, text) = decoded[..bytes].split_at_mut(header);
    let (magic, salt) = salted.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(Refusal::NotSalted);
    }
    let salt = salt.try_into().expect("cut to the length of a salt");
    let plain = cipher::decrypt(text, &keys.cipher, salt, keys.mode).ok_or(Refusal::BadPadding)?;
    Message::read(plain)
}

/// Makes the packet that carries `message`, byte for byte as fwknop's client does with the same salt.
///
/// `digest` is that of the message inside (`-m`); the default is SHA-256.
///
/// # Errors
/// The message breaks a rule of the format, or the packet would be one that no receiver takes: fwknop's client sends
/// packets of more than 399 characters without a word, which its server then refuses.
pub fn seal(message: &Message, digest: Digest, keys: &Keys, salt: [u8; SALT]) -> Result<String, Refusal> {
    let packet = wrap(message.to_text()?.as_bytes(), digest, keys, salt);
    match packet.len() {
        ..SHORTEST => Err(Refusal::TooShort),
        SHORTEST..=LONGEST => Ok(packet),
        _ => Err(Refusal::TooLong),
    }
}

/// The packet around any text, which may be wrong or too long: the second half of [`seal`], and for tests of what
/// nobody should send.
#[must_use]
pub(super) fn wrap(text: &[u8], digest: Digest, keys: &Keys, salt: [u8; SALT]) -> String {
    let plain = [text, b":", digest.of(text).as_bytes()].concat();
    let mut bytes = [MAGIC, &salt].concat();
    bytes.extend(cipher::encrypt(&plain, &keys.cipher, &salt, keys.mode));
    let encoded = Base64Unpadded::encode_string(&bytes);
    let body = encoded.as_bytes().strip_prefix(PREFIX).expect("eight fixed bytes begin every text");
    let mut packet = encoded[PREFIX.len()..].to_owned();
    if let Some(seal) = &keys.seal {
        packet.push_str(seal.over(PREFIX, body).as_str());
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_continues_the_magic_word() {
        for last in 0..=255_u8 {
            let text = Base64Unpadded::encode_string(&[MAGIC, &[last, 0]].concat());
            assert!(text.as_bytes().starts_with(PREFIX));
            assert!(FIRST.contains(&text.as_bytes()[PREFIX.len()]), "{text}");
        }
    }
}
