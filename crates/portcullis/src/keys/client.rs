//! The guest's file for single packets: fwknop's `.fwknoprc`, so that our client and fwknop's use the same one.
//!
//! `[default]` holds for all sections, the others are named. Read: the words for keys, `USE_HMAC`, `ACCESS`, `ALLOW_IP`,
//! `FW_TIMEOUT`, `SPOOF_USER`, `DIGEST_TYPE`, `SPA_SERVER_PORT`; what only says how fwknop's client finds its way is
//! passed over. A value ends at a blank, `;` or `#` (fwknop 2.6.10, measured).

use std::fmt::Write as _;
use std::io;

use base64ct::{Base64, Encoding};
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope::Keys;
use portcullis_core::door::spa::message::{Guest, Port, ports_from_text};
use zeroize::Zeroizing;

use super::make::random_key;
use super::stanza::{KEY_WORDS, Stanza, word_and_rest};
use super::{Fault, Place, numbered};

/// What a section says. Has no `Debug`, since it holds keys.
#[derive(Clone)]
pub struct ClientKey {
    /// The keys.
    pub keys: Keys,
    /// The digest inside the packet.
    pub digest: Digest,
    /// What is to be opened.
    pub opens: Option<Vec<Port>>,
    /// For whom.
    pub guest: Option<Guest>,
    /// For how long, in seconds.
    pub timeout: Option<u32>,
    /// The name that the packet carries.
    pub user: Option<String>,
    /// Where the packet is sent to.
    pub port: Option<u16>,
}

const WORDS: [&str; 8] = [
    "USE_HMAC",
    "ACCESS",
    "ALLOW_IP",
    "FW_TIMEOUT",
    "SPOOF_USER",
    "DIGEST_TYPE",
    "SPA_SERVER_PORT",
    "SPA_SERVER_PROTO",
];

/// Words that change the packet into one that we don't make.
const NOT_MADE: [&str; 6] = ["NAT_", "GPG_", "USE_GPG", "KEY_FILE", "HMAC_KEY_FILE", "TIME_OFFSET"];

/// Reads a section; without a name the only one.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(place: &Place, name: Option<&str>) -> Result<ClientKey, Fault> {
    let text = place.read()?;
    from_text(place, &text, name)
}

fn from_text(place: &Place, text: &str, name: Option<&str>) -> Result<ClientKey, Fault> {
    let path = place.path();
    let mut defaults = Stanza::new(1);
    let mut sections: Vec<(&str, Stanza)> = Vec::new();
    let mut is_default = true;
    for (number, line) in numbered(text) {
        if let Some(title) = line.trim().strip_prefix('[').and_then(|title| title.strip_suffix(']')) {
            is_default = title.eq_ignore_ascii_case("default");
            if !is_default {
                sections.push((title, Stanza::new(number)));
            }
            continue;
        }
        let Some((word, rest)) = word_and_rest(line) else { continue };
        if word == "SOURCE" {
            let message = "this is the host's file of users";
            return Err(Fault::of_line(
                path,
                number,
                message,
                "give the guest's, which `key spa --client` made",
            ));
        }
        let value = rest.split([' ', '\t', ';', '#']).next().unwrap_or_default();
        match sections.last_mut() {
            Some((_, section)) if !is_default => section.push(number, word, value),
            _ => defaults.push(number, word, value),
        }
    }
    let names = || {
        let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
        crate::escape::printable(&names.join(", "))
    };
    let place_of = |name: &str| sections.iter().position(|(title, _)| title.eq_ignore_ascii_case(name));
    let chosen = match (name, sections.len()) {
        (Some(name), _) => Some(place_of(name).ok_or_else(|| {
            Fault::of_file(path, "it has no section of that name", format!("it has: {}", names()))
        })?),
        (None, 0) => None,
        (None, 1) => Some(0),
        (None, _) => {
            let mend = format!("say which with -n: {}", names());
            return Err(Fault::of_file(path, "it has more than one section", mend));
        }
    };
    let stanza = match chosen {
        Some(place) => defaults.overlaid(sections.swap_remove(place).1),
        None => defaults,
    };
    client_key(place, &stanza)
}

fn client_key(place: &Place, stanza: &Stanza<'_>) -> Result<ClientKey, Fault> {
    let path = place.path();
    let wrong = |line: u32, message: &str, mend: &str| Fault::of_line(path, line, message, mend);
    for (line, word, value) in stanza.each() {
        let is_known = WORDS.contains(&word) || KEY_WORDS.contains(&word);
        let is_off = value.eq_ignore_ascii_case("n");
        if !is_known && !is_off && NOT_MADE.iter().any(|begin| word.starts_with(begin)) {
            let mend = "delete the line, or use fwknop's own client";
            return Err(wrong(line, "it asks for what this client does not make", mend));
        }
    }
    if let Some((line, protocol)) = stanza.get("SPA_SERVER_PROTO")
        && !protocol.eq_ignore_ascii_case("udp")
    {
        return Err(wrong(line, "this client sends by UDP only", "write SPA_SERVER_PROTO udp"));
    }
    let keys = stanza.keys(place)?;
    let (is_asked, is_waived) =
        (stanza.is_yes("USE_HMAC"), stanza.get("USE_HMAC").is_some_and(|(_, value)| value == "N"));
    if keys.hmac().is_none() && (is_asked || !is_waived) {
        let mend = "write HMAC_KEY_BASE64 as the host has it; if it has none, say so by USE_HMAC N";
        return Err(wrong(stanza.line, "there is no HMAC key", mend));
    }
    let digest = match stanza.get("DIGEST_TYPE") {
        None => Digest::Sha256,
        Some((line, name)) => Digest::from_name(name)
            .ok_or_else(|| wrong(line, "DIGEST_TYPE: there is no such digest", "write sha256"))?,
    };
    let opens = match stanza.get("ACCESS") {
        None => None,
        Some((line, text)) => Some(
            ports_from_text(text)
                .ok_or_else(|| wrong(line, "ACCESS: these are no ports", "write tcp/22 or tcp/22,udp/53"))?,
        ),
    };
    let guest = match stanza.get("ALLOW_IP") {
        None => None,
        Some((_, word)) if word.eq_ignore_ascii_case("source") => Some(Guest::Source),
        Some((line, text)) => Some(Guest::from_text(text).ok_or_else(|| {
            wrong(
                line,
                "ALLOW_IP: this is no address",
                "write the guest's address, or source; or give -a or -s",
            )
        })?),
    };
    let number = |word: &str, most: u64| -> Result<Option<u64>, Fault> {
        let number = stanza.number(place, word)?;
        if number.is_some_and(|number| number > most) {
            let line = stanza.get(word).map_or(stanza.line, |(line, _)| line);
            return Err(wrong(
                line,
                &format!("{word}: the number is too large"),
                &format!("write at most {most}"),
            ));
        }
        Ok(number)
    };
    let timeout = number("FW_TIMEOUT", 65_536)?.map(|seconds| seconds as u32);
    let port = number("SPA_SERVER_PORT", 65_535)?.map(|port| port as u16).filter(|port| *port > 0);
    let user = stanza.get("SPOOF_USER").map(|(_, name)| name.to_owned());
    Ok(ClientKey { keys, digest, opens, guest, timeout, user, port })
}

/// A new pair of keys, for the host's file and for the guest's.
pub struct Made {
    /// A stanza for the host ([`crate::config::fwknop`]).
    pub host: Zeroizing<String>,
    /// A section for the guest.
    pub guest: Zeroizing<String>,
}

/// Makes keys for `user`, who may open `ports`. With `require_address` the packet must name the guest's address, so that
/// nobody who carries it off can use it for himself.
///
/// # Errors
/// There are no random numbers.
pub fn make(user: &str, ports: &[Port], require_address: bool) -> io::Result<Made> {
    // As many bytes as fwknop --key-gen makes (fwknop 2.6.10, measured).
    let (cipher, hmac) = (random_key(32)?, random_key(64)?);
    let (mut letters, mut hmac_letters) = (Zeroizing::new([0; 64]), Zeroizing::new([0; 128]));
    let reason = "32 and 64 bytes are 44 and 88 letters";
    let cipher = Base64::encode(&cipher, &mut letters[..]).expect(reason);
    let hmac = Base64::encode(&hmac, &mut hmac_letters[..]).expect(reason);
    let items: Vec<String> =
        ports.iter().map(|port| format!("{}/{}", port.protocol.name(), port.number)).collect();
    let ports = items.join(",");
    let text = || Zeroizing::new(String::with_capacity(4096 + ports.len()));
    let (mut host, mut guest) = (text(), text());
    let require = if require_address { "REQUIRE_SOURCE_ADDRESS Y\n" } else { "" };
    write!(
        host,
        "# Secret: the keys of user {user}. One such paragraph for each user.\n\
         SOURCE ANY\nUSER {user}\nOPEN_PORTS {ports}\n{require}KEY_BASE64 {cipher}\nHMAC_KEY_BASE64 {hmac}\n\
         HMAC_DIGEST_TYPE sha256\n"
    )
    .expect("writing to a text cannot fail");
    write!(
        guest,
        "# Secret: for portcullis spa --key, and for fwknop --rc-file.\n\
         [{user}]\nACCESS {ports}\nKEY_BASE64 {cipher}\nHMAC_KEY_BASE64 {hmac}\nUSE_HMAC Y\n\
         HMAC_DIGEST_TYPE sha256\nSPOOF_USER {user}\n"
    )
    .expect("writing to a text cannot fail");
    Ok(Made { host, guest })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use portcullis_core::door::spa::access::User;
    use portcullis_core::door::spa::{Spa, WINDOW};
    use portcullis_core::time::Wall;

    use super::*;
    use crate::config::fwknop::read_access;
    use crate::guest::spa::{Wish, packet};
    use crate::keys::make;

    const KEYS: &str = "KEY_BASE64 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\
                        HMAC_KEY_BASE64 EBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8=\n";

    fn read(text: &str, name: Option<&str>) -> Result<ClientKey, Fault> {
        from_text(&Place::closed("/k"), text, name)
    }

    #[test]
    fn keys_that_were_made_open_for_the_guest_who_has_the_other_file() {
        let directory = tempfile::tempdir().unwrap();
        let ports = ports_from_text("tcp/22,udp/53").unwrap();
        let made = super::make("anna", &ports, true).unwrap();
        let [host, guest] = ["host", "guest"].map(|name| directory.path().join(name));
        make::file(&host, &made.host).unwrap();
        make::file(&guest, &made.guest).unwrap();
        let text = Place::closed(&host).read().unwrap();
        let access = read_access(&host, &text);
        assert!(access.diagnostics.is_empty(), "{:?}", access.diagnostics);
        let users: Vec<User> = access.stanzas.into_iter().map(|stanza| stanza.user).collect();
        assert_eq!(users[0].name, "anna");
        let mut spa = Spa::new(users, WINDOW).map_err(|faults| format!("{faults:?}")).unwrap();
        let key = super::read(&Place::closed(&guest), None).unwrap_or_else(|fault| panic!("{fault}"));
        let source: IpAddr = "198.51.100.7".parse().unwrap();
        let wish = Wish {
            opens: key.opens.clone().unwrap(),
            guest: Guest::Address(source),
            seconds: Some(20),
            user: key.user.clone().unwrap(),
        };
        let now = Wall(Duration::from_secs(1_800_000_000));
        let sent = packet(&key.keys, key.digest, &wish, now).unwrap();
        let accepted = spa.receive(now, source, sent.as_bytes()).unwrap();
        let portcullis_core::door::spa::access::Granted::Opening(opening) = accepted.granted else {
            panic!()
        };
        assert_eq!(
            (opening.address, opening.length, opening.ports.len()),
            (source, Duration::from_secs(20), 2)
        );
        assert!(spa.receive(now, source, sent.as_bytes()).is_err());
        assert_ne!(sent, packet(&key.keys, key.digest, &wish, now).unwrap());
    }

    #[test]
    fn sections_lie_over_the_default() {
        let text = format!(
            "[default]\n{KEYS}ACCESS tcp/22\nHTTP_USER_AGENT x\n[one]\nACCESS tcp/80 # web\nALLOW_IP source\n\
             [Two]\nFW_TIMEOUT 40;\nSPOOF_USER b\nSPA_SERVER_PORT 5000\nALLOW_IP 192.0.2.7\n"
        );
        let one = read(&text, Some("one")).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(
            (one.opens, one.guest, one.timeout),
            (ports_from_text("tcp/80"), Some(Guest::Source), None)
        );
        let two = read(&text, Some("two")).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!((two.opens, two.timeout, two.port), (ports_from_text("tcp/22"), Some(40), Some(5000)));
        assert_eq!(two.guest, Some(Guest::Address("192.0.2.7".parse().unwrap())));
        assert_eq!(two.user.as_deref(), Some("b"));
        for (name, mend) in [(None, "say which with -n: one, Two"), (Some("three"), "it has: one, Two")] {
            assert_eq!(read(&text, name).map(drop).unwrap_err().mend, mend);
        }
        assert!(read(KEYS, None).is_ok());
    }

    #[test]
    fn what_cannot_be_made_is_refused_without_telling_the_key() {
        for (more, message) in [
            ("NAT_ACCESS 10.0.0.1", "does not make"),
            ("USE_GPG Y", "does not make"),
            ("USE_GPG N\nALLOW_IP SECRET", "no address"),
            ("ACCESS SECRET", "no ports"),
            ("DIGEST_TYPE SECRET", "no such digest"),
            ("SPA_SERVER_PROTO tcp", "by UDP only"),
            ("FW_TIMEOUT 65537", "too large"),
            ("FW_TIMEOUT SECRET", "no whole number"),
            ("SOURCE ANY", "the host's file"),
            ("KEY_BASE64 =SECRET", "not base64"),
        ] {
            let fault = read(&format!("{KEYS}{more}\n"), None).map(drop).unwrap_err().to_string();
            assert!(fault.contains(message) && !fault.contains("SECRET"), "{more}: {fault}");
        }
        let key = KEYS.lines().next().unwrap();
        assert!(read(key, None).map(drop).unwrap_err().message.contains("no HMAC key"));
        assert!(read(&format!("{key}\nUSE_HMAC N\n"), None).is_ok());
    }
}
