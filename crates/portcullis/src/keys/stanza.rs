//! Lines of fwknop's files: a word in capitals, blanks, a value.

use portcullis_core::door::spa::cipher::Mode;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope::Keys;
use portcullis_core::door::spa::key::{CipherKey, HmacKey};

use super::Fault;
use super::Place;

/// The values of one stanza or section, each with its line. Of two with one word the later holds.
pub(super) struct Stanza<'t> {
    /// Where it begins.
    pub line: u32,
    values: Vec<(u32, &'t str, &'t str)>,
}

/// The words for keys, which both sides' files have.
pub(super) const KEY_WORDS: [&str; 6] =
    ["KEY", "KEY_BASE64", "HMAC_KEY", "HMAC_KEY_BASE64", "HMAC_DIGEST_TYPE", "ENCRYPTION_MODE"];

/// The word and what is behind it; nothing if the line is empty or a comment.
pub(super) fn word_and_rest(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    Some((word.trim_end_matches(':'), rest.trim()))
}

impl<'t> Stanza<'t> {
    pub fn new(line: u32) -> Stanza<'t> {
        Stanza { line, values: Vec::new() }
    }

    pub fn push(&mut self, line: u32, word: &'t str, value: &'t str) {
        self.values.push((line, word, value));
    }

    /// The value of `word` with its line.
    pub fn get(&self, word: &str) -> Option<(u32, &'t str)> {
        self.values.iter().rev().find(|(_, other, _)| *other == word).map(|(line, _, value)| (*line, *value))
    }

    /// Every line.
    pub fn each(&self) -> impl Iterator<Item = (u32, &'t str, &'t str)> + '_ {
        self.values.iter().copied()
    }

    /// The later values on top of these.
    pub fn overlaid(mut self, later: Stanza<'t>) -> Stanza<'t> {
        self.line = later.line;
        self.values.extend(later.values);
        self
    }

    /// Whether `word` is `Y`.
    pub fn is_yes(&self, word: &str) -> bool {
        self.get(word).is_some_and(|(_, value)| value.eq_ignore_ascii_case("y"))
    }

    /// The keys that it names; without an HMAC if it names none.
    pub fn keys(&self, place: &Place) -> Result<Keys, Fault> {
        let path = place.path();
        let again = "make keys with `portcullis key spa`, or copy them again";
        let fault = |line: u32, word: &str, why: &dyn std::fmt::Display| {
            Fault::of_line(path, line, format!("{word}: {why}"), again)
        };
        // As fwknop's own sample file has it, a key that everybody knows.
        for word in KEY_WORDS {
            if let Some((line, "__CHANGEME__")) = self.get(word) {
                return Err(fault(line, word, &"it is still the sample's, which is no secret"));
            }
        }
        let cipher = match (self.get("KEY_BASE64"), self.get("KEY")) {
            (Some((line, text)), _) => {
                CipherKey::from_base64(text).map_err(|error| fault(line, "KEY_BASE64", &error))?
            }
            (None, Some((line, text))) => {
                CipherKey::new(text.as_bytes()).map_err(|error| fault(line, "KEY", &error))?
            }
            (None, None) => {
                return Err(Fault::of_line(path, self.line, "there is no KEY_BASE64 here, nor KEY", again));
            }
        };
        let hmac = match (self.get("HMAC_KEY_BASE64"), self.get("HMAC_KEY")) {
            (Some((line, text)), _) => {
                Some(HmacKey::from_base64(text).map_err(|error| fault(line, "HMAC_KEY_BASE64", &error))?)
            }
            (None, Some((line, text))) => {
                Some(HmacKey::new(text.as_bytes()).map_err(|error| fault(line, "HMAC_KEY", &error))?)
            }
            (None, None) => None,
        };
        let digest = match self.get("HMAC_DIGEST_TYPE") {
            None => Digest::Sha256,
            Some((line, name)) => {
                let known = "it is one of md5, sha1, sha256, sha384, sha512, sha3_256, sha3_512";
                Digest::from_name(name).ok_or_else(|| fault(line, "HMAC_DIGEST_TYPE", &known))?
            }
        };
        let mode = match self.get("ENCRYPTION_MODE") {
            None => Mode::Cbc,
            Some((line, name)) => {
                let known = "it is one of cbc, ctr, ofb, cfb, ecb, legacy";
                Mode::from_name(name).ok_or_else(|| fault(line, "ENCRYPTION_MODE", &known))?
            }
        };
        Keys::of_mode(mode, cipher, hmac.as_ref().map(|key| (digest, key)))
            .map_err(|error| Fault::of_line(path, self.line, error.to_string(), again))
    }

    /// A whole number behind `word`.
    pub fn number(&self, place: &Place, word: &str) -> Result<Option<u64>, Fault> {
        let Some((line, text)) = self.get(word) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Fault::of_line(place.path(), line, format!("{word}: it is no whole number"), "write digits only")
        })
    }
}
