//! AES-256 the way fwknop uses it: key and start value from a passphrase and a salt, PKCS#7, five modes.
//!
//! The cipher hides who asks for what; it does not protect against change. That is the HMAC's work, which is checked
//! first, so nobody without that key can use the padding to ask questions.

use aes::Aes256;
use aes::cipher::{
    Block, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit,
};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::key::CipherKey;

/// Bytes of one block of AES.
pub(super) const BLOCK: usize = 16;
/// Bytes of random salt in each packet.
pub const SALT: usize = 8;
/// The length to which [`Mode::Legacy`] fills or cuts a key (vectors `legacy-*`).
const LEGACY_KEY: usize = 16;

/// How the blocks are chained. The message does not name it: both sides must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The default; every other mode must be asked for by name.
    #[default]
    Cbc,
    /// Counter, the start value as a number of 128 bits.
    Ctr,
    /// Output feedback.
    Ofb,
    /// Cipher feedback of whole blocks.
    Cfb,
    /// Each block alone: equal blocks show.
    Ecb,
    /// CBC with the key filled up with the digit `0` to 16 bytes, or cut to them. Only without HMAC (measured).
    Legacy,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 6] = [Mode::Cbc, Mode::Ctr, Mode::Ofb, Mode::Cfb, Mode::Ecb, Mode::Legacy];

    /// The name that fwknop's options and files use, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mode::Cbc => "cbc",
            Mode::Ctr => "ctr",
            Mode::Ofb => "ofb",
            Mode::Cfb => "cfb",
            Mode::Ecb => "ecb",
            Mode::Legacy => "legacy",
        }
    }

    /// The mode of this name; capitals do not matter.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.name().eq_ignore_ascii_case(name))
    }
}

/// Key and start value as OpenSSL's `EVP_BytesToKey` makes them with MD5 and one round: each digest is over the one
/// before, the passphrase and the salt; the first two are the key, the third the start value.
fn derive(key: &CipherKey, salt: &[u8; SALT], mode: Mode) -> Zeroizing<[u8; 48]> {
    let mut filled = Zeroizing::new([b'0'; LEGACY_KEY]);
    let key = match mode {
        Mode::Legacy => {
            let taken = key.bytes().len().min(LEGACY_KEY);
            filled[..taken].copy_from_slice(&key.bytes()[..taken]);
            &filled[..]
        }
        _ => key.bytes(),
    };
    let mut material = Zeroizing::new([0; 48]);
    for digest in 0..3 {
        let mut hash = Md5::new();
        if digest > 0 {
            hash.update(&material[(digest - 1) * BLOCK..digest * BLOCK]);
        }
        hash.update(key);
        hash.update(salt);
        material[digest * BLOCK..(digest + 1) * BLOCK].copy_from_slice(&hash.finalize());
    }
    material
}

/// Deciphers in place and gives what is before the padding, or nothing if the padding is wrong: 1 to 16 bytes, each
/// its own number (RFC 5652 §6.3). fwknopd is lenient here (measured); nothing that fwknop sends needs that.
///
/// `text` is a whole number of blocks and not empty; otherwise there is nothing to give.
pub(super) fn decrypt<'t>(
    text: &'t mut [u8],
    key: &CipherKey,
    salt: &[u8; SALT],
    mode: Mode,
) -> Option<&'t [u8]> {
    if !text.len().is_multiple_of(BLOCK) {
        return None;
    }
    let material = derive(key, salt, mode);
    chain(text, &material, mode, Direction::Decrypt);
    let padding = usize::from(*text.last()?);
    let start = text.len().checked_sub(padding).filter(|_| (1..=BLOCK).contains(&padding))?;
    let (plain, filler) = text.split_at(start);
    filler.iter().all(|&byte| usize::from(byte) == padding).then_some(plain)
}

/// Fills up and enciphers.
pub(super) fn encrypt(plain: &[u8], key: &CipherKey, salt: &[u8; SALT], mode: Mode) -> Vec<u8> {
    let padding = BLOCK - plain.len() % BLOCK;
    let mut text = Vec::with_capacity(plain.len() + padding);
    text.extend_from_slice(plain);
    text.resize(plain.len() + padding, padding as u8);
    chain(&mut text, &derive(key, salt, mode), mode, Direction::Encrypt);
    text
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Encrypt,
    Decrypt,
}

fn chain(text: &mut [u8], material: &[u8; 48], mode: Mode, direction: Direction) {
    let (key, start) = material.split_at(32);
    let (blocks, _) = Block::<Aes256>::slice_as_chunks_mut(text);
    let reason = "the material is cut to the lengths of key and block";
    match (mode, direction) {
        (Mode::Cbc | Mode::Legacy, Direction::Decrypt) => {
            cbc::Decryptor::<Aes256>::new_from_slices(key, start).expect(reason).decrypt_blocks(blocks);
        }
        (Mode::Cbc | Mode::Legacy, Direction::Encrypt) => {
            cbc::Encryptor::<Aes256>::new_from_slices(key, start).expect(reason).encrypt_blocks(blocks);
        }
        (Mode::Ecb, Direction::Decrypt) => {
            Aes256::new_from_slice(key).expect(reason).decrypt_blocks(blocks);
        }
        (Mode::Ecb, Direction::Encrypt) => {
            Aes256::new_from_slice(key).expect(reason).encrypt_blocks(blocks);
        }
        (Mode::Ctr | Mode::Ofb | Mode::Cfb, _) => {
            stream(blocks, &Aes256::new_from_slice(key).expect(reason), start, mode, direction);
        }
    }
}

/// The three modes that make a stream to be laid over the text (NIST SP 800-38A). They are few lines each over the
/// block cipher, and rare; three more crates would be more to trust than this.
fn stream(blocks: &mut [Block<Aes256>], aes: &Aes256, start: &[u8], mode: Mode, direction: Direction) {
    let mut register = Block::<Aes256>::default();
    register.copy_from_slice(start);
    for block in blocks {
        let before = *block;
        let mut over = register;
        aes.encrypt_block(&mut over);
        for (byte, over) in block.iter_mut().zip(over) {
            *byte ^= over;
        }
        register = match (mode, direction) {
            (Mode::Ofb, _) => over,
            (Mode::Cfb, Direction::Encrypt) => *block,
            (Mode::Cfb, Direction::Decrypt) => before,
            _ => u128::from_be_bytes(register.into()).wrapping_add(1).to_be_bytes().into(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_enciphered_is_deciphered_in_every_mode_and_length() {
        let key = CipherKey::new(b"testkey123").expect("a key");
        for mode in Mode::ALL {
            for length in 0..70 {
                let plain = vec![b'p'; length];
                let mut text = encrypt(&plain, &key, b"saltsalt", mode);
                assert!(text.len() > length && text.len() <= length + BLOCK);
                assert_eq!(
                    decrypt(&mut text, &key, b"saltsalt", mode),
                    Some(&plain[..]),
                    "{mode:?} {length}"
                );
            }
            assert_eq!(Mode::from_name(&mode.name().to_uppercase()), Some(mode));
        }
    }

    #[test]
    fn a_counter_carries_over_all_its_bytes() {
        let aes = Aes256::new_from_slice(&[7; 32]).expect("a key");
        let mut blocks = [Block::<Aes256>::default(); 2];
        stream(&mut blocks, &aes, &[0xff; 16], Mode::Ctr, Direction::Encrypt);
        let mut zero = Block::<Aes256>::default();
        aes.encrypt_block(&mut zero);
        assert_eq!(blocks[1], zero);
    }

    #[test]
    fn wrong_padding_is_no_text() {
        let key = CipherKey::new(b"testkey123").expect("a key");
        for (last, wanted) in [(0, false), (1, true), (2, false), (16, false), (17, false), (255, false)] {
            let mut text = vec![b'p'; 32];
            text[31] = last;
            chain(&mut text, &derive(&key, b"saltsalt", Mode::Cbc), Mode::Cbc, Direction::Encrypt);
            assert_eq!(decrypt(&mut text, &key, b"saltsalt", Mode::Cbc).is_some(), wanted, "{last}");
        }
        assert_eq!(decrypt(&mut [], &key, b"saltsalt", Mode::Cbc), None);
        assert_eq!(decrypt(&mut [0; 17], &key, b"saltsalt", Mode::Cbc), None);
    }
}
