//! What a packet says: the fields between the colons.
//!
//! ```text
//! RAND:b64(USER):TIME:VERSION:TYPE:b64(MSG)[:b64(NAT)][:b64(AUTH)][:TIMEOUT]:DIGEST
//! ```
//!
//! Types: 0 command, 1 access, 2 NAT, 3 access with time-out, 4 NAT with time-out, 5 local NAT, 6 local NAT with
//! time-out. All of it printable ASCII; base64 without padding. Rules measured with fwknop 2.6.10.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64ct::{Base64Unpadded, Encoding};

use super::digest::Digest;
use super::refusal::Refusal;
use crate::net::Protocol;

/// The version that fwknop 2.6 writes. No receiver compares it (a packet with `9.9` is accepted, measured).
pub const VERSION: &str = "3.0.0";
/// What the fields before the digest may take in base64: fwknopd's limit for MSG, and ours for NAT and AUTH.
const FIELD_LETTERS: usize = 256;
/// fwknopd's limit for USER, in characters of base64: 48 bytes.
const USER_LETTERS: usize = 64;
/// Longer time-outs cannot be said, in seconds.
pub const TIMEOUT_MAXIMUM: u32 = 65_536;

/// The 16 digits in front of each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random([u8; 16]);

impl Random {
    /// The digits that these random bytes give.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Random {
        let text = format!("{:016}", u64::from_le_bytes(bytes) % 10_000_000_000_000_000);
        Random::from_digits(&text).expect("a number below 10^16 has 16 digits")
    }

    /// These very digits; nothing if they are not 16.
    #[must_use]
    pub fn from_digits(text: &str) -> Option<Random> {
        let digits: [u8; 16] = text.as_bytes().try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Random(digits))
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

/// One port that is asked for. fwknop can say TCP and UDP, one port at a time, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// 1 to 65535.
    pub number: u16,
}

/// For whom is asked.
///
/// fwknop's format knows IPv4 addresses only, and so do its programs: an IPv6 address inside is refused by both
/// (vector `ipv6-allow`, server case `own-encoder-v6msg`). Our doors take one, in the form of RFC 5952 only, since
/// the field is base64 and has room for it; only our own client writes it. Over IPv6 a packet of an old client may
/// say `0.0.0.0`, which means the packet's source in either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guest {
    /// `0.0.0.0` (`-s`): whoever the packet comes from. Whoever carries it off unseen and is first is let in instead.
    Source,
    /// This address (`-a`, `-R`).
    Address(IpAddr),
}

impl Guest {
    /// The guest as the message writes it. No zeros in front of octets (refused by fwknop, vector
    /// `allow-host-octets`), no IPv4 in the guise of IPv6, no prefix, no name.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Guest> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(if address.is_unspecified() {
                Guest::Source
            } else {
                Guest::Address(address.into())
            });
        }
        let address: Ipv6Addr = text.parse().ok()?;
        let is_canonical = address.to_ipv4_mapped().is_none() && address.to_string() == text;
        is_canonical.then_some(Guest::Address(address.into()))
    }

    fn to_text(self) -> String {
        match self {
            Guest::Source => Ipv4Addr::UNSPECIFIED.to_string(),
            Guest::Address(address) => address.to_string(),
        }
    }
}

/// Where a NAT request leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// An address or a name; letters, digits, `.`, `-`, and `:` for IPv6.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl Destination {
    /// From `HOST,PORT`.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Destination> {
        let (host, port) = text.split_once(',')?;
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        let is_host = !host.is_empty() && host.bytes().all(is_letter);
        Some(Destination { host: is_host.then(|| host.to_owned())?, port: port_from_text(port)? })
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Type 0: run this.
    Command(String),
    /// Types 1 and 3: let me to these ports.
    Access(Vec<Port>),
    /// Types 2 and 4: lead these ports to another host (`-N`).
    Forward(Vec<Port>, Destination),
    /// Types 5 and 6: lead these ports to another port of the server itself (`--nat-local`).
    Redirect(Vec<Port>, Destination),
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// 16 digits, so that no two messages are alike.
    pub random: Random,
    /// Who says he sends it.
    pub user: String,
    /// When it was made, in seconds since 1970.
    pub time: u64,
    /// The version of the protocol, 1 to 8 characters.
    pub version: String,
    /// For whom.
    pub guest: Guest,
    /// What for.
    pub request: Request,
    /// For how long, in seconds (`-f`), 0 to [`TIMEOUT_MAXIMUM`]. Commands cannot carry one.
    pub timeout: Option<u32>,
    /// The field AUTH, which no client of today writes and nobody reads.
    pub server_authentication: Option<String>,
}

impl Message {
    /// Reads a deciphered text with its digest.
    pub(super) fn read(plain: &[u8]) -> Result<Message, Refusal> {
        let is_text = plain.len() >= 36 && plain.iter().all(|byte| (b' '..=b'~').contains(byte));
        let text = std::str::from_utf8(plain).ok().filter(|_| is_text).ok_or(Refusal::NotText)?;
        if plain[16] != b':' || !plain[..16].iter().all(u8::is_ascii_digit) {
            return Err(Refusal::BadRandom);
        }
        let (message, digest) = text.rsplit_once(':').ok_or(Refusal::BadFields)?;
        if Digest::that_gives(message.as_bytes(), digest.as_bytes()).is_none() {
            return Err(Refusal::BadDigest);
        }
        Message::from_text(message)
    }

    /// Reads a message without its digest.
    ///
    /// # Errors
    /// The first field that breaks a rule of the format.
    pub fn from_text(text: &str) -> Result<Message, Refusal> {
        let mut fields = text.split(':');
        let mut next = || fields.next().ok_or(Refusal::BadFields);
        let random = Random::from_digits(next()?).ok_or(Refusal::BadRandom)?;
        let user = decoded(next()?, USER_LETTERS).filter(|user| is_user(user)).ok_or(Refusal::BadUser)?;
        let time = number(next()?, 12).ok_or(Refusal::BadTime)?;
        let version = next()?;
        if !(1..=8).contains(&version.len()) || !version.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(Refusal::BadVersion);
        }
        let kind = number(next()?, 2).filter(|kind| *kind <= 6).ok_or(Refusal::BadType)?;
        let what = decoded(next()?, FIELD_LETTERS).ok_or(Refusal::BadMessage)?;
        let (guest, what) = what.split_once(',').ok_or(Refusal::BadAddress)?;
        let guest = Guest::from_text(guest).ok_or(Refusal::BadAddress)?;
        let mut destination = || {
            let text = decoded(next()?, FIELD_LETTERS).ok_or(Refusal::BadNat)?;
            Destination::from_text(&text).ok_or(Refusal::BadNat)
        };
        let ports = || ports_from_text(what).ok_or(Refusal::BadPorts);
        let request = match kind {
            0 if what.is_empty() => return Err(Refusal::BadCommand),
            0 => Request::Command(what.to_owned()),
            1 | 3 => Request::Access(ports()?),
            2 | 4 => Request::Forward(ports()?, destination()?),
            _ => Request::Redirect(ports()?, destination()?),
        };
        let mut rest: [Option<&str>; 3] = [fields.next(), fields.next(), fields.next()];
        let timeout = match kind {
            3 | 4 | 6 => {
                let last = rest.iter_mut().rfind(|field| field.is_some()).ok_or(Refusal::BadFields)?;
                let seconds = last.take().and_then(|text| number(text, 5)).ok_or(Refusal::BadTimeout)?;
                let seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds <= TIMEOUT_MAXIMUM);
                Some(seconds.ok_or(Refusal::BadTimeout)?)
            }
            _ => None,
        };
        let [authentication, None, None] = rest else { return Err(Refusal::BadFields) };
        let server_authentication = match authentication {
            Some(text) => Some(decoded(text, FIELD_LETTERS).ok_or(Refusal::BadFields)?),
            None => None,
        };
        let version = version.to_owned();
        Ok(Message { random, user, time, version, guest, request, timeout, server_authentication })
    }

    /// The message without its digest, byte for byte as fwknop writes it.
    ///
    /// # Errors
    /// What no receiver would take, found by reading it again.
    pub fn to_text(&self) -> Result<String, Refusal> {
        let (kind, what, destination) = match &self.request {
            Request::Command(command) => (0, command.clone(), None),
            Request::Access(ports) => (1, ports_to_text(ports), None),
            Request::Forward(ports, to) => (2, ports_to_text(ports), Some(to)),
            Request::Redirect(ports, to) => (5, ports_to_text(ports), Some(to)),
        };
        let kind = match (kind, self.timeout) {
            (0, Some(_)) => return Err(Refusal::BadTimeout),
            (1, Some(_)) => 3,
            (2, Some(_)) => 4,
            (5, Some(_)) => 6,
            (kind, _) => kind,
        };
        let mut text = format!(
            "{}:{}:{}:{}:{kind}:{}",
            self.random.as_str(),
            encoded(&self.user),
            self.time,
            self.version,
            encoded(&format!("{},{what}", self.guest.to_text())),
        );
        let nat = destination.map(|to| encoded(&format!("{},{}", to.host, to.port)));
        let authentication = self.server_authentication.as_deref().map(encoded);
        let timeout = self.timeout.map(|seconds| seconds.to_string());
        for field in [nat, authentication, timeout].into_iter().flatten() {
            text.push(':');
            text.push_str(&field);
        }
        // A field with a colon or a stray guest reads back as something else.
        match Message::from_text(&text)? {
            same if same == *self => Ok(text),
            _ => Err(Refusal::BadFields),
        }
    }
}

/// Ports as fwknop's `-A` writes them: `tcp/22,udp/53`. No ranges, no port 0, no comma at the end (measured).
#[must_use]
pub fn ports_from_text(text: &str) -> Option<Vec<Port>> {
    text.split(',')
        .map(|item| {
            let (protocol, number) = item.split_once('/')?;
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                _ => return None,
            };
            Some(Port { protocol, number: port_from_text(number)? })
        })
        .collect()
}

fn ports_to_text(ports: &[Port]) -> String {
    let items: Vec<String> =
        ports.iter().map(|port| format!("{}/{}", port.protocol.name(), port.number)).collect();
    items.join(",")
}

fn port_from_text(text: &str) -> Option<u16> {
    let port = number(text, 5).filter(|_| !text.starts_with('0'))?;
    u16::try_from(port).ok()
}

/// The characters that fwknop takes in a user name: printable ASCII without these.
#[must_use]
pub fn is_user(text: &str) -> bool {
    const REFUSED: &[u8] = b"\"/\\[]:;|=,+*?<>";
    let is_letter = |byte: u8| (b' '..=b'~').contains(&byte) && !REFUSED.contains(&byte);
    !text.is_empty() && text.bytes().all(is_letter)
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let is_number = (1..=digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

fn encoded(text: &str) -> String {
    Base64Unpadded::encode_string(text.as_bytes())
}

/// The printable ASCII in `letters` of base64, of which there are at most `most`.
fn decoded(letters: &str, most: usize) -> Option<String> {
    let mut buffer = [0; FIELD_LETTERS / 4 * 3];
    if letters.len() > most {
        return None;
    }
    let bytes = Base64Unpadded::decode(letters, &mut buffer).ok()?;
    let text = std::str::from_utf8(bytes).ok()?;
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte)).then(|| text.to_owned())
}
