//! .fwknoprc: what the client says to which server.

use std::net::IpAddr;
use std::path::Path;

use portcullis_core::door::spa::cipher::Mode;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope::Keys;
use portcullis_core::door::spa::key::{CipherKey, HmacKey, KeyFault};
use portcullis_core::door::spa::message::{Guest, Port, TIMEOUT_MAXIMUM, ports_from_text};

use super::super::portsentry::{Diagnostic, Weight};
use super::lines::{Ends, Entry, Lines};

/// A .fwknoprc, read.
pub struct Client {
    /// `[default]` first, if there is one, then the others in the order of the file.
    pub sections: Vec<Section>,
    /// What is to be known about the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// For whom the client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedAddress {
    /// `source`: whoever the packet comes from.
    Source,
    /// `resolve`: the address that a web service sees.
    Resolve,
    /// This one.
    Address(IpAddr),
}

/// One section; a value that it does not have is that of `[default]`, and has been filled in. Has no `Debug`, since it
/// holds keys.
#[derive(Clone, Default)]
pub struct Section {
    /// As written; `-n` finds it whatever its capitals.
    pub name: String,
    /// `SPA_SERVER`.
    pub server: Option<String>,
    /// `SPA_SERVER_PORT`.
    pub port: Option<u16>,
    /// `ACCESS`.
    pub access: Option<Vec<Port>>,
    /// `ALLOW_IP`.
    pub allow: Option<AllowedAddress>,
    /// `FW_TIMEOUT`, in seconds.
    pub timeout: Option<u32>,
    /// `SPOOF_USER`.
    pub user: Option<String>,
    /// `DIGEST_TYPE`, of the message.
    pub digest: Option<Digest>,
    cipher: Option<CipherKey>,
    hmac: Option<HmacKey>,
    hmac_digest: Option<Digest>,
    mode: Option<Mode>,
}

impl Section {
    /// The keys; nothing if there is none for the cipher, or if they do not go together.
    #[must_use]
    pub fn keys(&self) -> Option<Keys> {
        let digest = self.hmac_digest.unwrap_or(Digest::Sha256);
        let hmac = self.hmac.as_ref().map(|key| (digest, key));
        Keys::of_mode(self.mode.unwrap_or_default(), self.cipher.clone()?, hmac).ok()
    }

    fn filled_from(self, default: &Section) -> Section {
        let of = default.clone();
        Section {
            name: self.name,
            server: self.server.or(of.server),
            port: self.port.or(of.port),
            access: self.access.or(of.access),
            allow: self.allow.or(of.allow),
            timeout: self.timeout.or(of.timeout),
            user: self.user.or(of.user),
            digest: self.digest.or(of.digest),
            cipher: self.cipher.or(of.cipher),
            hmac: self.hmac.or(of.hmac),
            hmac_digest: self.hmac_digest.or(of.hmac_digest),
            mode: self.mode.or(of.mode),
        }
    }
}

/// Keywords whose values may be shown.
const OPEN: [&str; 13] = [
    "SPA_SERVER",
    "SPA_SERVER_PORT",
    "SPA_SERVER_PROTO",
    "ACCESS",
    "ALLOW_IP",
    "FW_TIMEOUT",
    "SPOOF_USER",
    "DIGEST_TYPE",
    "HMAC_DIGEST_TYPE",
    "ENCRYPTION_MODE",
    "USE_HMAC",
    "NAT_ACCESS",
    "NAT_LOCAL",
];
const SECRET: [&str; 4] = ["HMAC_KEY", "HMAC_KEY_BASE64", "KEY", "KEY_BASE64"];
/// Keywords of the client that have no counterpart in ours.
const OTHERS: [&str; 12] = [
    "SPA_SOURCE_PORT",
    "SPOOF_SOURCE_IP",
    "RAND_PORT",
    "TIME_OFFSET",
    "NAT_PORT",
    "NAT_RAND_PORT",
    "RESOLVE_IP_HTTPS",
    "RESOLVE_URL",
    "HTTP_USER_AGENT",
    "KEY_FILE",
    "HMAC_KEY_FILE",
    "WGET_CMD",
];

impl Client {
    /// The section of this name, whatever its capitals.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name.eq_ignore_ascii_case(name))
    }
}

/// Reads the text of a .fwknoprc.
#[must_use]
pub fn read_client(path: &Path, text: &str) -> Client {
    let (mut lines, entries) = Lines::of(path, text, Ends::Word, &OPEN, &[&SECRET[..], &OTHERS[..]].concat());
    let mut sections: Vec<Section> = Vec::new();
    for entry in &entries {
        if let Some(name) = entry.keyword.strip_prefix('[') {
            // The keyword is in capitals; the text is not.
            let shown = &text[entry.keyword_span.clone()][1..];
            let name = shown.get(..name.find(']').unwrap_or(name.len())).unwrap_or(shown);
            sections.push(Section { name: name.to_owned(), ..Section::default() });
            continue;
        }
        let Some(section) = sections.last_mut() else {
            lines.say(
                Weight::LeftOut,
                entry.keyword_span.clone(),
                "this stands before the first section",
                "write [default] above it",
            );
            continue;
        };
        keyword(&mut lines, section, entry);
    }
    sections.sort_by_key(|section| !section.name.eq_ignore_ascii_case("default"));
    let default = sections.first().filter(|first| first.name.eq_ignore_ascii_case("default")).cloned();
    if let Some(default) = default {
        sections = sections.into_iter().map(|section| section.filled_from(&default)).collect();
    }
    Client { sections, diagnostics: lines.diagnostics }
}

fn keyword(lines: &mut Lines, section: &mut Section, entry: &Entry) {
    let is_wrong = |is_none: bool, lines: &mut Lines, must: &str| {
        if is_none {
            lines.wrong(entry, must, "see fwknop(8)");
        }
    };
    match entry.keyword.as_str() {
        "SPA_SERVER" => section.server = Some(entry.value.to_owned()),
        "SPA_SERVER_PORT" => {
            section.port = entry.value.parse().ok().filter(|port| *port > 0);
            is_wrong(section.port.is_none(), lines, "is a port from 1 to 65535");
        }
        "SPA_SERVER_PROTO" if entry.value.eq_ignore_ascii_case("udp") => {}
        "SPA_SERVER_PROTO" => lines.left_out(entry, "packets are sent as datagrams only", "write udp"),
        "ACCESS" => {
            section.access = ports_from_text(entry.value);
            is_wrong(section.access.is_none(), lines, "is no list of ports like tcp/22,udp/53");
        }
        "ALLOW_IP" => {
            section.allow = match entry.value.to_ascii_lowercase().as_str() {
                "source" => Some(AllowedAddress::Source),
                "resolve" => Some(AllowedAddress::Resolve),
                text => Guest::from_text(text).map(|guest| match guest {
                    Guest::Source => AllowedAddress::Source,
                    Guest::Address(address) => AllowedAddress::Address(address),
                }),
            };
            is_wrong(section.allow.is_none(), lines, "is source, resolve, or one address");
        }
        "FW_TIMEOUT" => {
            let seconds = lines.number(entry, u64::from(TIMEOUT_MAXIMUM));
            section.timeout = seconds.and_then(|seconds| u32::try_from(seconds).ok());
        }
        "SPOOF_USER" => section.user = Some(entry.value.to_owned()),
        "DIGEST_TYPE" => {
            section.digest = Digest::from_name(entry.value);
            is_wrong(section.digest.is_none(), lines, "is no digest that fwknop knows");
        }
        "HMAC_DIGEST_TYPE" => {
            section.hmac_digest = Digest::from_name(entry.value);
            is_wrong(section.hmac_digest.is_none(), lines, "is no digest that fwknop knows");
        }
        "ENCRYPTION_MODE" => {
            section.mode = Mode::from_name(entry.value);
            is_wrong(section.mode.is_none(), lines, "is no mode that is written here");
        }
        // An HMAC key says it already.
        "USE_HMAC" => {
            lines.switch(entry);
        }
        "KEY" => section.cipher = key(lines, entry, CipherKey::new(entry.value.as_bytes())),
        "KEY_BASE64" => section.cipher = key(lines, entry, CipherKey::from_base64(entry.value)),
        "HMAC_KEY" => section.hmac = key(lines, entry, HmacKey::new(entry.value.as_bytes())),
        "HMAC_KEY_BASE64" => section.hmac = key(lines, entry, HmacKey::from_base64(entry.value)),
        "NAT_ACCESS" | "NAT_LOCAL" => {
            lines.left_out(entry, "portcullis makes no forwardings", "ask for the port itself");
        }
        word if OTHERS.contains(&word) || word.starts_with("GPG_") || word == "USE_GPG" => {
            lines.left_out(entry, "has no counterpart here", "nothing to mend if the door opens");
        }
        _ => lines.unknown(entry, &[&OPEN[..], &SECRET[..], &OTHERS[..]].concat()),
    }
}

fn key<K>(lines: &mut Lines, entry: &Entry, key: Result<K, KeyFault>) -> Option<K> {
    if !entry.rest.is_empty() {
        lines.say(
            Weight::Doubtful,
            entry.keyword_span.clone(),
            format!(
                "{}: fwknop's client takes the key to end at the first blank, ; or #, while access.conf takes the whole \
                 line; if the same text stands there, the two sides have different keys",
                entry.keyword
            ),
            "make keys without blanks (fwknop --key-gen), and write them on both sides",
        );
    }
    match key {
        Ok(key) => Some(key),
        Err(why) => {
            lines.wrong(entry, &why.to_string(), "make keys with fwknop --key-gen");
            None
        }
    }
}
