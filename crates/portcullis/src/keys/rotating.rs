//! The file of a key from which sequences follow: everything that the guest needs beside the host's name, and all that
//! the host needs of one user. Both have the same file.
//!
//! ```text
//! portcullis rotating key, version 1
//! # Secret: …
//! user = anna
//! door = ssh
//! host = 6d1f…        16 random bytes in hex, the same in all keys of one door: a knock opens no other host
//! key = …             32 random bytes in base64
//! ports = 10000-60000
//! protocols = tcp, udp
//! steps = 6
//! time_step = 30s
//! ```

use std::fmt::{self, Write};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use portcullis_core::door::rotating::{HostId, Shape};
use portcullis_core::door::spa::message::is_user;
use portcullis_core::door::{Key, Name, User};
use portcullis_core::net::Protocol;
use zeroize::Zeroizing;

use super::{Fault, Place, make, numbered};
use crate::config::Span;

/// The first line.
const HEAD: &str = "portcullis rotating key, version 1";

/// What the first line of any version begins with.
const ANY_HEAD: &str = "portcullis rotating key, version ";

/// Bytes of a key: as many as the hash gives (RFC 2104 §3).
pub const KEY_BYTES: usize = 32;

/// The longest name of a user, in characters: what fwknop keeps of one (fwknop 2.6.10, measured).
pub const USER_LONGEST: usize = 29;

/// One key file.
#[derive(Clone)]
pub struct KeyFile {
    /// Where it was read.
    pub path: PathBuf,
    /// Who has it.
    pub user: User,
    /// The door that it opens.
    pub door: Name,
    /// The host that it opens it at.
    pub host: HostId,
    /// The secret.
    pub key: Key,
    /// What the steps are chosen from.
    pub shape: Shape,
}

impl fmt::Debug for KeyFile {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile")
            .field("path", &self.path)
            .field("user", &self.user)
            .field("door", &self.door)
            .finish_non_exhaustive()
    }
}

/// The names in the file, in its order.
const NAMES: [&str; 8] = ["user", "door", "host", "key", "ports", "protocols", "steps", "time_step"];

impl KeyFile {
    /// Reads a key file.
    ///
    /// # Errors
    /// It is not there, open to others, of another version, or a line is not as it should be.
    pub fn read(place: &Place) -> Result<KeyFile, Fault> {
        let text = place.read()?;
        KeyFile::from_text(place, &text)
    }

    fn from_text(place: &Place, text: &str) -> Result<KeyFile, Fault> {
        let path = place.path();
        let again = "make a new one with `portcullis key rotating`, or copy it again";
        match text.lines().next() {
            Some(HEAD) => {}
            Some(head) if head.starts_with(ANY_HEAD) => {
                let message = "it is of another version than 1, which is the one that this program knows";
                return Err(Fault::of_line(path, 1, message, "use a program of the version that made it"));
            }
            _ => return Err(Fault::of_line(path, 1, format!("it does not begin with \"{HEAD}\""), again)),
        }
        let mut values: [Option<(u32, &str)>; NAMES.len()] = [None; NAMES.len()];
        for (number, line) in numbered(text).skip(1) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            // Not shown: it may be part of the key.
            let Some(slot) = NAMES.iter().position(|known| *known == name.trim()) else {
                return Err(Fault::of_line(path, number, "no such line belongs here", again));
            };
            if values[slot].replace((number, value.trim())).is_some() {
                return Err(Fault::of_line(path, number, format!("{} is said twice", NAMES[slot]), again));
            }
        }
        let missing =
            |slot: usize| Fault::of_file(path, format!("the line \"{} = …\" is missing", NAMES[slot]), again);
        let mut found = [(0, ""); NAMES.len()];
        for (slot, value) in values.into_iter().enumerate() {
            found[slot] = value.ok_or_else(|| missing(slot))?;
        }
        let wrong = |slot: usize, message: &str| Fault::of_line(path, found[slot].0, message, again);
        let [user, door, host, key, ports, protocols, steps, time_step] = found.map(|(_, value)| value);
        check_user(user).map_err(|message| wrong(0, message))?;
        let door: Name = door.parse().map_err(|error| wrong(1, &format!("{error}")))?;
        let host = host_of(host).ok_or_else(|| wrong(2, "the host's number is 32 digits of hex"))?;
        let key = key_of(key).map_err(|message| wrong(3, message))?;
        let ports = ports.parse().map_err(|_| wrong(4, "these are no ports; write them as 10000-60000"))?;
        let (mut tcp, mut udp) = (false, false);
        for protocol in protocols.split(',') {
            match protocol.trim() {
                "tcp" => tcp = true,
                "udp" => udp = true,
                _ => return Err(wrong(5, "steps are of tcp, udp, or tcp, udp")),
            }
        }
        let steps = steps.parse().map_err(|_| wrong(6, "the number of steps is no number"))?;
        let period = match time_step.parse::<Span>() {
            Ok(Span(period)) if period.subsec_nanos() == 0 => period.as_secs(),
            _ => return Err(wrong(7, "the time step is no time in whole seconds, such as 30s")),
        };
        let shape = Shape::new(ports, tcp, udp, steps, period)
            .map_err(|error| Fault::of_file(path, error.to_string(), again))?;
        Ok(KeyFile { path: path.to_owned(), user: User(user.into()), door, host, key, shape })
    }

    /// The text of a new key file, with a new key, for `host` or a new one.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn make(
        user: &User,
        door: &Name,
        host: Option<HostId>,
        shape: &Shape,
    ) -> io::Result<Zeroizing<String>> {
        let mut number = [0; 16];
        make::random(&mut number)?;
        let host = host.unwrap_or(HostId(number));
        let key = make::random_key(KEY_BYTES)?;
        let mut letters = Zeroizing::new([0; 64]);
        let key = Base64::encode(&key, &mut letters[..]).expect("32 bytes are 44 letters");
        let (ports, protocols) = ports_and_protocols(shape);
        let time_step = Span(Duration::from_secs(shape.period()));
        // With room for all of it: a text that grows leaves its former letters behind.
        let mut text = Zeroizing::new(String::with_capacity(4096 + ports.len()));
        write!(
            text,
            "{HEAD}\n\
             # Secret: whoever has this file can open the door. Host and guest have the same one, with mode 0600.\n\
             user = {user}\ndoor = {door}\nhost = "
        )
        .and_then(|()| host.0.iter().try_for_each(|byte| write!(text, "{byte:02x}")))
        .and_then(|()| {
            write!(
                text,
                "\nkey = {key}\nports = {ports}\nprotocols = {protocols}\nsteps = {}\ntime_step = {time_step}\n",
                shape.length()
            )
        })
        .expect("writing to a text cannot fail");
        Ok(text)
    }
}

/// What is wrong with the name of a user, if anything is. The rule is fwknop's, so that one name does for all doors.
///
/// # Errors
/// What.
pub fn check_user(user: &str) -> Result<(), &'static str> {
    if is_user(user) && user.len() <= USER_LONGEST && user.trim() == user {
        return Ok(());
    }
    Err(
        "a user's name has 1 to 29 characters of ASCII, without \" / \\ [ ] : ; | = , + * ? < > and without blanks at its ends",
    )
}

/// What a door of the host needs of its key files.
#[derive(Clone)]
pub struct DoorKeys {
    /// This host's number.
    pub host: HostId,
    /// Who may knock, in the order of the files.
    pub keys: Vec<(User, Key)>,
}

/// Puts the key files of one door together. They must be for this door, with these steps, for one and the same
/// host, and each user and key may come only once.
///
/// # Errors
/// Everything that does not fit.
pub fn agree(files: &[KeyFile], door: &Name, shape: &Shape) -> Result<DoorKeys, Vec<Fault>> {
    let mut faults = Vec::new();
    for (place, file) in files.iter().enumerate() {
        let before = &files[..place];
        let mut fault = |message: String, mend: &str| faults.push(Fault::of_file(&file.path, message, mend));
        if file.door != *door {
            let message = format!("it is the key of door \"{}\", not of \"{door}\"", file.door);
            fault(message, "make one for this door with `portcullis key rotating`");
        }
        if file.shape != *shape {
            let message = format!("its steps are {}, those of the door {}", said(&file.shape), said(shape));
            fault(message, "write into the door's table what stands in the key, or make all its keys anew");
        }
        if before.first().is_some_and(|first| first.host != file.host) {
            let message = format!("it is for another host than {}", files[0].path.display());
            fault(message, "make it with `portcullis key rotating --beside` that file");
        }
        if let Some(other) = before.iter().find(|other| other.user == file.user) {
            let message = format!("it is of user {}, as is {}", file.user, other.path.display());
            fault(message, "give each user one key, and each key a user of its own");
        } else if let Some(other) = before.iter().find(|other| other.key == file.key) {
            let message = format!("its key is that of {}", other.path.display());
            fault(message, "make each user a key of his own with `portcullis key rotating`");
        }
    }
    let keys = files.iter().map(|file| (file.user.clone(), file.key.clone())).collect();
    match files.first() {
        Some(first) if faults.is_empty() => Ok(DoorKeys { host: first.host, keys }),
        Some(_) => Err(faults),
        // No host has this number, and nobody a key.
        None => Ok(DoorKeys { host: HostId([0; 16]), keys }),
    }
}

/// `6 of tcp and udp 10000-60000, every 30s`
fn said(shape: &Shape) -> String {
    let (ports, protocols) = ports_and_protocols(shape);
    let time_step = Span(Duration::from_secs(shape.period()));
    format!("{} of {} {ports}, every {time_step}", shape.length(), protocols.replace(", ", " and "))
}

fn ports_and_protocols(shape: &Shape) -> (String, String) {
    let offered = [Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol, shape.ports(protocol)));
    let offered: Vec<_> = offered.into_iter().filter(|(_, ports)| !ports.is_empty()).collect();
    let names: Vec<&str> = offered.iter().map(|(protocol, _)| protocol.name()).collect();
    (offered.first().map_or(String::new(), |(_, ports)| ports.to_string()), names.join(", "))
}

fn host_of(text: &str) -> Option<HostId> {
    let bytes = text.as_bytes();
    if bytes.len() != 32 || !bytes.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let number = u128::from_str_radix(text, 16).ok()?;
    Some(HostId(number.to_be_bytes()))
}

fn key_of(text: &str) -> Result<Key, &'static str> {
    let mut bytes = Zeroizing::new(vec![0; text.len()]);
    let length =
        Base64::decode(text, &mut bytes).map_err(|_| "the key is not base64 with its padding")?.len();
    bytes.truncate(length);
    match length {
        KEY_BYTES => Key::new(bytes).ok_or("the key is too short"),
        ..KEY_BYTES => Err("the key is too short: it has 32 bytes, 44 letters of base64"),
        _ => Err("the key is too long: it has 32 bytes, 44 letters of base64"),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::door::rotating::derive;
    use portcullis_core::net::PortSet;

    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn text() -> String {
        format!(
            "{HEAD}\n# x\nuser = anna\ndoor = ssh\nhost = 000102030405060708090a0b0c0d0e0f\nkey = {KEY}\n\
             ports = 10000-60000\nprotocols = tcp, udp\nsteps = 6\ntime_step = 30s\n"
        )
    }

    fn read(text: &str) -> Result<KeyFile, Fault> {
        KeyFile::from_text(&Place::closed("/k"), text)
    }

    fn shape() -> Shape {
        Shape::new(PortSet::from_ranges([(10_000, 60_000)]), true, true, 6, 30).unwrap()
    }

    #[test]
    fn a_key_that_was_made_is_read_by_both_sides_to_the_same_steps() {
        let directory = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
        let (user, door) = (User("anna".into()), "ssh".parse().unwrap());
        make::file(&one, &KeyFile::make(&user, &door, None, &shape()).unwrap()).unwrap();
        let host = KeyFile::read(&Place::closed(&one)).unwrap();
        assert_eq!((&host.user, &host.door, &host.shape), (&user, &door, &shape()));
        std::fs::copy(&one, &two).unwrap();
        let guest = KeyFile::read(&Place::closed(&two)).unwrap();
        let steps = |file: &KeyFile| derive(&file.key, &file.door, file.host, &file.shape, 7);
        assert_eq!(steps(&host), steps(&guest));
        let other = read(&KeyFile::make(&user, &door, Some(host.host), &shape()).unwrap()).unwrap();
        assert!(other.key != host.key && other.host == host.host);
        assert_ne!(read(&KeyFile::make(&user, &door, None, &shape()).unwrap()).unwrap().host, host.host);
    }

    #[test]
    fn odd_shapes_are_written_as_they_are_read() {
        let shape = Shape::new("2000-2999, 4000".parse().unwrap(), false, true, 16, 300).unwrap();
        let text = KeyFile::make(&User("b".into()), &"d".parse().unwrap(), None, &shape).unwrap();
        assert_eq!(read(&text).unwrap().shape, shape);
        assert!(text.contains("time_step = 5m\n"), "{}", &*text);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_never_with_what_stands_there() {
        assert_eq!(
            read(&text()).unwrap().host,
            HostId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
        );
        for (from, to, line, message) in [
            ("version 1", "version 2", Some(1), "another version"),
            (HEAD, "[door.ssh]", Some(1), "does not begin"),
            (KEY, "AAECAwQFBgcICQoLDA0ODw==", Some(6), "too short"),
            (KEY, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISI=", Some(6), "too long"),
            (KEY, "SECRETSECRET", Some(6), "too short"),
            (KEY, "SECRET!", Some(6), "not base64"),
            (KEY, "", Some(6), "too short"),
            ("key = ", "", Some(6), "no such line"),
            ("user = anna", "user = SECRET:", Some(3), "a user's name"),
            ("user = anna\n", "", None, "\"user = …\" is missing"),
            ("door = ssh", "door = ssh\ndoor = ssh", Some(5), "door is said twice"),
            ("door = ssh", "door = SECRET", Some(4), "a door's name"),
            ("host = 00", "host = +0", Some(5), "32 digits"),
            ("10000-60000", "SECRET", Some(7), "no ports"),
            ("10000-60000", "1-400", None, "1000 pairs"),
            ("tcp, udp", "SECRET", Some(8), "tcp, udp"),
            ("steps = 6", "steps = SECRET", Some(9), "no number"),
            ("steps = 6", "steps = 2", None, "3 to 16 steps"),
            ("30s", "30500ms", Some(10), "whole seconds"),
            ("30s", "5s", None, "10 to 300"),
        ] {
            let text = text().replacen(from, to, 1);
            let fault = read(&text).unwrap_err();
            let said = fault.to_string();
            assert!(fault.line == line && said.contains(message), "{from} -> {to}: {said}");
            assert!(!said.contains("SECRET") && !said.contains("AAEC"), "{said}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let shown = format!("{:?}", read(&text()).unwrap());
        assert!(shown.contains("anna") && !shown.contains("AAEC") && !shown.contains("30, 31"), "{shown}");
    }

    #[test]
    fn keys_of_one_door_agree_or_it_is_said_why_not() {
        let made = |user: &str, host: Option<HostId>| {
            read(&KeyFile::make(&User(user.into()), &"ssh".parse().unwrap(), host, &shape()).unwrap())
                .unwrap()
        };
        let door: Name = "ssh".parse().unwrap();
        let anna = made("anna", None);
        let bert = made("bert", Some(anna.host));
        let DoorKeys { host, keys } = agree(&[anna.clone(), bert.clone()], &door, &shape()).unwrap();
        assert_eq!((host, keys.len(), &keys[1].0), (anna.host, 2, &User("bert".into())));
        let others = Shape::new(shape().ports(Protocol::Tcp), true, false, 6, 30).unwrap();
        let renamed = KeyFile { user: User("bert".into()), ..anna.clone() };
        for (files, door, shape, message) in [
            (vec![anna.clone()], "web".parse().unwrap(), shape(), "not of \"web\""),
            (vec![anna.clone()], door.clone(), others, "6 of tcp and udp 10000-60000, every 30s"),
            (vec![anna.clone(), made("bert", None)], door.clone(), shape(), "another host"),
            (vec![anna.clone(), anna.clone()], door.clone(), shape(), "user anna"),
            (vec![anna, renamed], door, shape(), "its key is that of"),
        ] {
            let faults = agree(&files, &door, &shape).map(drop).unwrap_err();
            assert!(faults.len() == 1 && faults[0].message.contains(message), "{faults:?}");
        }
    }
}
