//! The guest's file for single packets: fwknop's `.fwknoprc`, so that our client and fwknop's use the same one. It is
//! read by `config::fwknop`; here a section is chosen, and new keys are made.

use std::fmt::Write as _;
use std::io;

use base64ct::{Base64, Encoding};
use portcullis_core::door::spa::envelope::Keys;
use portcullis_core::door::spa::message::Port;
use zeroize::Zeroizing;

use super::make::random_key;
use super::{Fault, Place};
use crate::config::fwknop::{Section, read_client};
use crate::config::portsentry::Weight;
use crate::escape::printable;

/// What was chosen. Has no `Debug`, since it holds keys.
#[derive(Clone)]
pub struct ClientKey {
    /// The keys.
    pub keys: Keys,
    /// What else the section says.
    pub section: Section,
    /// What of the file has no meaning here, in words; no key is in it.
    pub remarks: Vec<String>,
}

/// Reads a section; without a name the only one, beside `[default]`.
///
/// # Errors
/// The first thing that is wrong with the file or the section.
pub fn read(place: &Place, name: Option<&str>) -> Result<ClientKey, Fault> {
    let text = place.read()?;
    from_text(place, &text, name)
}

fn from_text(place: &Place, text: &str, name: Option<&str>) -> Result<ClientKey, Fault> {
    let path = place.path();
    let client = read_client(path, text);
    // Without the line itself.
    let line = |fault: &crate::config::Fault| u32::try_from(fault.line).ok().filter(|line| *line > 0);
    if let Some(wrong) = client.diagnostics.iter().find(|said| said.weight == Weight::Fault) {
        let fault = &wrong.fault;
        return Err(Fault { line: line(fault), ..Fault::of_file(path, &*fault.message, &*fault.mend) });
    }
    let remarks = client.diagnostics.iter().filter(|said| said.weight >= Weight::Doubtful);
    let remarks = remarks
        .map(|said| Fault {
            line: line(&said.fault),
            ..Fault::of_file(path, &*said.fault.message, &*said.fault.mend)
        })
        .map(|fault| fault.to_string())
        .collect();
    let named = || client.sections.iter().filter(|section| !section.name.eq_ignore_ascii_case("default"));
    let names: Vec<&str> = named().map(|section| section.name.as_str()).collect();
    let names = printable(&names.join(", "));
    let section = match name {
        Some(name) => client.section(name).ok_or_else(|| {
            Fault::of_file(path, "it has no section of that name", format!("it has: {names}"))
        })?,
        None if named().count() > 1 => {
            return Err(Fault::of_file(
                path,
                "it has more than one section",
                format!("say which with -n: {names}"),
            ));
        }
        None => named().next().or(client.sections.first()).ok_or_else(|| {
            let mend = "give the guest's file, which `portcullis key spa --client` made, not the host's";
            Fault::of_file(path, "it has no section [NAME]", mend)
        })?,
    };
    let keys = section.keys().ok_or_else(|| {
        let mend = "make keys with `portcullis key spa`, or copy them again";
        Fault::of_file(path, "there is no KEY_BASE64, or the HMAC has the same key", mend)
    })?;
    Ok(ClientKey { keys, section: section.clone(), remarks })
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
    use portcullis_core::door::spa::digest::Digest;
    use portcullis_core::door::spa::message::{Guest, ports_from_text};
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
            opens: key.section.access.clone().unwrap(),
            guest: Guest::Address(source),
            seconds: Some(20),
            user: key.section.user.clone().unwrap(),
        };
        let now = Wall(Duration::from_secs(1_800_000_000));
        let sent = packet(&key.keys, Digest::Sha256, &wish, now).unwrap();
        let accepted = spa.receive(now, source, sent.as_bytes()).unwrap();
        let portcullis_core::door::spa::access::Granted::Opening(opening) = accepted.granted else {
            panic!()
        };
        assert_eq!(
            (opening.address, opening.length, opening.ports.len()),
            (source, Duration::from_secs(20), 2)
        );
        assert!(spa.receive(now, source, sent.as_bytes()).is_err());
        assert_ne!(sent, packet(&key.keys, Digest::Sha256, &wish, now).unwrap());
    }

    #[test]
    fn a_section_is_chosen_by_name_or_because_it_is_the_only_one() {
        let text = format!("[default]\n{KEYS}ACCESS tcp/22\n[one]\nACCESS tcp/80\n[Two]\nFW_TIMEOUT 40\n");
        let two = read(&text, Some("two")).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!((two.section.access, two.section.timeout), (ports_from_text("tcp/22"), Some(40)));
        assert!(two.keys.hmac().is_some() && two.remarks.is_empty());
        for (name, mend) in [(None, "say which with -n: one, Two"), (Some("three"), "it has: one, Two")] {
            assert_eq!(read(&text, name).map(drop).unwrap_err().mend, mend);
        }
        assert!(read(&format!("[default]\n{KEYS}"), None).is_ok());
        assert!(read(&format!("[default]\n{KEYS}[one]\nACCESS tcp/80\n"), None).is_ok());
        let remarks = read(&format!("[a]\n{KEYS}NAT_ACCESS 10.0.0.1\n"), None).map(|key| key.remarks);
        assert!(remarks.unwrap_or_else(|fault| panic!("{fault}"))[0].starts_with("/k:4: "));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        for (text, message) in [
            (format!("[a]\n{KEYS}FW_TIMEOUT x\n"), "FW_TIMEOUT"),
            ("[a]\nKEY_BASE64 =SECRET\n".to_owned(), "not base64"),
            ("[a]\nACCESS tcp/22\n".to_owned(), "there is no KEY_BASE64"),
            (format!("SOURCE ANY\n{KEYS}"), "no section"),
        ] {
            let fault = read(&text, None).map(drop).unwrap_err().to_string();
            assert!(fault.contains(message) && !fault.contains("SECRET"), "{fault}");
        }
    }
}
