//! The host's file of users who may open a door by a single packet: fwknop's `access.conf`, so that one that is there
//! already can be used as it is. A stanza begins with `SOURCE` (`ANY`, or networks of either family) and is one user.
//!
//! Read: `OPEN_PORTS` (required; here with ranges, too) `RESTRICT_PORTS` `KEY` `KEY_BASE64` `HMAC_KEY` `HMAC_KEY_BASE64`
//! `HMAC_DIGEST_TYPE` `ENCRYPTION_MODE` `FW_ACCESS_TIMEOUT` `MAX_FW_TIMEOUT` `REQUIRE_USERNAME` `REQUIRE_SOURCE_ADDRESS`
//! `ACCESS_EXPIRE` `ACCESS_EXPIRE_EPOCH`. Of our own: `USER`, how the user is called in records, which fwknopd passes
//! over (fwknopd 2.6.10, measured). What fwknopd would do beside opening (commands, NAT, GnuPG, other files) is refused
//! by name, since a door says that in its own table, or not at all.

use std::time::Duration;

use portcullis_core::door::spa::USERS_MAXIMUM;
use portcullis_core::door::spa::access::{Length, User, Weak};
use portcullis_core::net::{Prefix, PrefixError};
use portcullis_core::time::Wall;

use super::stanza::{KEY_WORDS, Stanza, word_and_rest};
use super::{Fault, Place, numbered};
use crate::config::doors::Opens;

/// The words that are read beside those of keys.
const WORDS: [&str; 12] = [
    "SOURCE",
    "OPEN_PORTS",
    "RESTRICT_PORTS",
    "FW_ACCESS_TIMEOUT",
    "MAX_FW_TIMEOUT",
    "REQUIRE_USERNAME",
    "REQUIRE_SOURCE_ADDRESS",
    "REQUIRE_SOURCE",
    "ACCESS_EXPIRE",
    "ACCESS_EXPIRE_EPOCH",
    "DESTINATION",
    "USER",
];

/// What has another place with us, or none: the beginning of the word, and what to do.
const ELSEWHERE: [(&str, &str); 9] = [
    ("CMD_CYCLE", "write command_open and command_close into the door's table"),
    ("ENABLE_CMD", "delete it: packets that bring commands are not run"),
    ("CMD_", "delete it: packets that bring commands are not run"),
    ("GPG_", "make a key with `portcullis key spa`: GnuPG packets are not read"),
    ("FORCE_", "delete it: nothing is redirected here"),
    ("DISABLE_DNAT", "delete it: nothing is redirected here"),
    ("FORWARD_ALL", "delete it: nothing is redirected here"),
    ("%", "put the stanzas into this file"),
    ("include", "put the stanzas into this file"),
];

/// Reads the users, in the file's order, in which their keys are tried. `weak` is what the door's table accepts.
///
/// # Errors
/// Everything that is wrong with the file; a user who is not as he must be is no user.
pub fn read(place: &Place, weak: Weak) -> Result<Vec<User>, Vec<Fault>> {
    let text = place.read().map_err(|fault| vec![fault])?;
    from_text(place, &text, weak)
}

fn from_text(place: &Place, text: &str, weak: Weak) -> Result<Vec<User>, Vec<Fault>> {
    let path = place.path();
    let mut faults = Vec::new();
    let mut stanzas: Vec<Stanza> = Vec::new();
    for (number, line) in numbered(text) {
        let Some((word, rest)) = word_and_rest(line) else { continue };
        let value = rest.split(';').next().unwrap_or_default().trim();
        if word == "SOURCE" {
            stanzas.push(Stanza::new(number));
        }
        let elsewhere = ELSEWHERE.iter().find(|(begin, _)| word.starts_with(begin));
        let is_off = value.eq_ignore_ascii_case("n");
        let Some(stanza) = stanzas.last_mut() else {
            let mend = "begin each user with a line SOURCE ANY";
            faults.push(Fault::of_line(path, number, "it stands before the first SOURCE", mend));
            continue;
        };
        if WORDS.contains(&word) || KEY_WORDS.contains(&word) {
            stanza.push(number, word, value);
        } else if let Some((begin, mend)) = elsewhere {
            if !is_off {
                faults.push(Fault::of_line(path, number, format!("{begin}… has no meaning here"), *mend));
            }
        } else {
            // Not shown: it may be part of a key.
            let mend = "delete the line; `portcullis key spa` shows what a user has";
            faults.push(Fault::of_line(path, number, "no such word is known", mend));
        }
    }
    if stanzas.is_empty() && faults.is_empty() {
        let mend = "make a user with `portcullis key spa`";
        faults.push(Fault::of_file(path, "there is no user in it", mend));
    }
    if let Some(stanza) = stanzas.get(USERS_MAXIMUM) {
        let message = format!("this is user {}, and each costs work for every packet", USERS_MAXIMUM + 1);
        faults.push(Fault::of_line(path, stanza.line, message, "put the rest into another door's file"));
    }
    let mut users = Vec::new();
    for (stanza, number) in stanzas.iter().zip(1..) {
        match user(place, stanza, number, weak) {
            Ok(user) => users.push(user),
            Err(fault) => faults.extend(fault),
        }
    }
    if faults.is_empty() {
        Ok(users)
    } else {
        faults.sort_by_key(|fault| fault.line);
        Err(faults)
    }
}

fn user(place: &Place, stanza: &Stanza<'_>, number: usize, weak: Weak) -> Result<User, Vec<Fault>> {
    let one = |fault: Fault| vec![fault];
    let path = place.path();
    let (line, source) = stanza.get("SOURCE").unwrap_or((stanza.line, ""));
    let from = networks(source).ok_or_else(|| {
        one(Fault::of_line(
            path,
            line,
            "SOURCE: these are no networks",
            "write ANY, or 192.0.2.0/24, 2001:db8::/32",
        ))
    })?;
    if let Some((line, destination)) = stanza.get("DESTINATION")
        && !destination.eq_ignore_ascii_case("any")
    {
        let mend = "delete the line: a door is at every address of this host";
        return Err(one(Fault::of_line(path, line, "DESTINATION has no meaning here", mend)));
    }
    let ports = |word: &str| -> Result<Option<Opens>, Fault> {
        let Some((line, text)) = stanza.get(word) else { return Ok(None) };
        Opens::read(text)
            .map(Some)
            .map_err(|slip| Fault::of_line(path, line, format!("{word}: {}", slip.message), slip.mend))
    };
    let open = ports("OPEN_PORTS").map_err(one)?.ok_or_else(|| {
        let message = "it does not say what may be opened, which to fwknopd means everything";
        one(Fault::of_line(path, stanza.line, message, "write OPEN_PORTS tcp/22"))
    })?;
    let but = ports("RESTRICT_PORTS").map_err(one)?.unwrap_or_default();
    let usual = stanza.number(place, "FW_ACCESS_TIMEOUT").map_err(one)?.map(Duration::from_secs);
    let most = stanza.number(place, "MAX_FW_TIMEOUT").map_err(one)?.map(Duration::from_secs);
    let length = Length::default();
    let usual = usual.unwrap_or(length.usual.min(most.unwrap_or(length.usual)));
    let length = Length { usual, most: most.unwrap_or(length.most.max(usual)) };
    let named =
        |word: &str| stanza.get(word).map(|(_, name)| name.to_owned()).filter(|name| !name.is_empty());
    let required_name = named("REQUIRE_USERNAME");
    let name = named("USER").or_else(|| required_name.clone()).unwrap_or_else(|| format!("stanza {number}"));
    let user = User {
        name,
        keys: stanza.keys(place).map_err(one)?,
        weak,
        from,
        tcp: open.tcp.without(&but.tcp),
        udp: open.udp.without(&but.udp),
        required_name,
        require_address: stanza.is_yes("REQUIRE_SOURCE_ADDRESS") || stanza.is_yes("REQUIRE_SOURCE"),
        expires: expiry(place, stanza).map_err(one)?,
        length,
    };
    let faults: Vec<Fault> = user
        .faults()
        .iter()
        .map(|fault| {
            let mend = "make new keys with `portcullis key spa`, or name it in the door's weak = […] where that can be";
            Fault::of_line(path, stanza.line, fault.to_string(), mend)
        })
        .collect();
    if faults.is_empty() { Ok(user) } else { Err(faults) }
}

/// `ANY` is everywhere, which is said by an empty list. Bits behind the prefix don't matter, as with fwknopd.
fn networks(text: &str) -> Option<Vec<Prefix>> {
    if text.eq_ignore_ascii_case("any") {
        return Some(Vec::new());
    }
    text.split(',')
        .map(|item| match item.trim().parse::<Prefix>() {
            Ok(prefix) | Err(PrefixError::HostBits(prefix)) => Some(prefix),
            Err(_) => None,
        })
        .collect()
}

/// The earlier of both words' ends; a day ends the user when it begins, by the host's own calendar.
fn expiry(place: &Place, stanza: &Stanza<'_>) -> Result<Option<Wall>, Fault> {
    let epoch =
        stanza.number(place, "ACCESS_EXPIRE_EPOCH")?.map(|seconds| Wall(Duration::from_secs(seconds)));
    let Some((line, text)) = stanza.get("ACCESS_EXPIRE") else { return Ok(epoch) };
    let parts: Vec<Option<i16>> = text.split('/').map(|part| part.parse().ok()).collect();
    let day = match parts[..] {
        [Some(month), Some(day), Some(year)] => {
            let (month, day) = (i8::try_from(month).ok(), i8::try_from(day).ok());
            month.zip(day).and_then(|(month, day)| jiff::civil::Date::new(year, month, day).ok())
        }
        _ => None,
    };
    let second = day
        .and_then(|day| day.to_zoned(jiff::tz::TimeZone::system()).ok())
        .and_then(|start| u64::try_from(start.timestamp().as_second()).ok());
    let Some(second) = second else {
        let message = "ACCESS_EXPIRE: this is no day";
        return Err(Fault::of_line(place.path(), line, message, "write MM/DD/YYYY, such as 12/31/2027"));
    };
    let day = Wall(Duration::from_secs(second));
    Ok(Some(epoch.map_or(day, |epoch| epoch.min(day))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "KEY_BASE64 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\
                        HMAC_KEY_BASE64 EBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8=\n";

    fn read(text: &str) -> Result<Vec<User>, Vec<Fault>> {
        from_text(&Place::closed("/a"), text, Weak::default())
    }

    #[test]
    fn a_file_of_fwknop_is_read_as_it_is() {
        let text = format!(
            "#### fwknop access.conf\nSOURCE   ANY;\nREQUIRE_SOURCE_ADDRESS  Y\nOPEN_PORTS tcp/22, udp/1194\n\
             RESTRICT_PORTS udp/1194\n{KEYS}HMAC_DIGEST_TYPE sha512\nFW_ACCESS_TIMEOUT 60\nENABLE_CMD_EXEC N\n\n\
             SOURCE 10.0.0.5/8, 2001:db8::/32\nUSER bert\nREQUIRE_USERNAME b\nOPEN_PORTS tcp/80-90\nKEY a pass phrase with blanks\n\
             HMAC_KEY another one, 16 and more; a comment\nMAX_FW_TIMEOUT 20\nACCESS_EXPIRE_EPOCH 2000000000\n"
        );
        let users = read(&text).map_err(|faults| format!("{faults:?}")).unwrap();
        let [anna, bert] = &users[..] else { panic!("{}", users.len()) };
        assert_eq!((anna.name.as_str(), anna.require_address, anna.from.len()), ("stanza 1", true, 0));
        assert!(anna.tcp.contains(22) && anna.udp.is_empty());
        assert_eq!(anna.length, Length { usual: Duration::from_secs(60), most: Duration::from_secs(300) });
        assert_eq!((bert.name.as_str(), bert.required_name.as_deref()), ("bert", Some("b")));
        assert_eq!(bert.from, ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        assert!(bert.tcp.contains(85) && !bert.require_address);
        assert_eq!(bert.length.usual, Duration::from_secs(20));
        assert_eq!(bert.expires, Some(Wall(Duration::from_secs(2_000_000_000))));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_and_nothing_of_a_key() {
        let base = format!("SOURCE ANY\nOPEN_PORTS tcp/22\n{KEYS}");
        let hmac = KEYS.lines().last().unwrap();
        for (from, to, line, message) in [
            ("SOURCE ANY\n", "", 1, "before the first SOURCE"),
            ("ANY", "SECRET", 1, "no networks"),
            ("OPEN_PORTS tcp/22\n", "", 1, "means everything"),
            ("tcp/22", "tcp/0", 2, "no port"),
            ("KEY_BASE64 AAEC", "KEY_BASE64 =SECRET", 3, "not base64"),
            (hmac, "", 1, "no HMAC key"),
            (hmac, "HMAC_KEY SECRET", 1, "fewer than 16 bytes"),
            (hmac, "SECRETSECRET", 4, "no such word"),
            (hmac, "HMAC_KEY __CHANGEME__", 4, "sample"),
            ("OPEN_PORTS", "CMD_CYCLE_OPEN /bin/x\nOPEN_PORTS", 2, "CMD_CYCLE… has no meaning"),
            ("OPEN_PORTS", "HMAC_DIGEST_TYPE x\nOPEN_PORTS", 2, "sha256"),
            ("OPEN_PORTS", "ACCESS_EXPIRE 31/12/2027\nOPEN_PORTS", 2, "no day"),
            ("OPEN_PORTS", "FW_ACCESS_TIMEOUT 0\nOPEN_PORTS", 1, "length"),
            ("OPEN_PORTS", "DESTINATION 192.0.2.1\nOPEN_PORTS", 2, "DESTINATION"),
        ] {
            let faults = read(&base.replacen(from, to, 1)).map(drop).unwrap_err();
            let is_said = |fault: &Fault| fault.line == Some(line) && fault.message.contains(message);
            assert!(faults.iter().any(is_said), "{to}: {faults:?}");
            assert!(!faults.iter().any(|fault| fault.to_string().contains("SECRET")), "{faults:?}");
        }
        assert_eq!(read(&format!("{base}{base}GPG_X y\nSOURCE x\n")).map(drop).unwrap_err().len(), 2);
        assert!(read("# nobody\n").map(drop).unwrap_err()[0].message.contains("no user"));
        assert_eq!(read(&base.repeat(17)).map(drop).unwrap_err().len(), 1);
    }

    #[test]
    fn a_day_ends_when_it_begins() {
        let text = format!("SOURCE ANY\nOPEN_PORTS tcp/22\nACCESS_EXPIRE 12/31/2027\n{KEYS}");
        let expires = read(&text).map_err(|faults| format!("{faults:?}")).unwrap()[0].expires.unwrap();
        let noon = 1_830_254_400 + 43_200; // 2027-12-31T12:00:00Z
        assert!(expires.0.as_secs() <= noon + 3600 && expires.0.as_secs() + 36 * 3600 > noon);
    }
}
