//! What opens a door: sequences, files of them, keys, users of single packets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::door::rotating::Shape;
use portcullis_core::door::spa::{self, SetupFault};
use portcullis_core::door::{FlagTests, Lock, Name, OneTime, Patience, Rotating, Sequence, SpaLock, Step};
use portcullis_core::net::{PortSet, Protocol};

use crate::config::doors::{
    DoorConfig, DoorKind, Opens, SecretFile, Step as WrittenStep, StepProtocol, Weakness,
};
use crate::config::fwknop::{Access, read_access};
use crate::config::portsentry::Weight;
use crate::keys::memory::keep_out_of_dumps;
use crate::keys::one_time::OneTimeFile;
use crate::keys::rotating::KeyFile;
use crate::keys::{Place, one_time, rotating};

/// Of unused sequences so many are listened for: a guest whose knock was lost on its way goes on to his next one.
const AHEAD: usize = 3;

/// Time steps that the clocks may be apart, either way (RFC 6238 §5.2).
const DRIFT: u8 = 1;

/// What opens a door.
pub(super) struct Key {
    /// The lock.
    pub(super) lock: Lock,
    /// When a source is not listened to.
    pub(super) patience: Option<Patience>,
    /// Where used sequences are struck.
    pub(super) sequences: Option<Arc<OneTimeFile>>,
}

/// Reads what the door's kind needs.
///
/// # Errors
/// A file that cannot be used, or steps that make no sequence; no secret is in it.
pub(super) fn key(own: &DoorConfig, name: &Name) -> Result<Key, String> {
    keep_out_of_dumps().map_err(|error| {
        format!("this process can't be kept out of core dumps, so no key is read: {error}")
    })?;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let place =
        |file: &SecretFile| Place::of(file, credentials.as_deref()).map_err(|fault| fault.to_string());
    let patience = |tries, pause| Some(Patience { tries, pause });
    match &own.kind {
        DoorKind::Sequence(kind) => {
            let open = sequence(&kind.open, kind.window)?;
            let close = if kind.close.is_empty() { None } else { Some(sequence(&kind.close, kind.window)?) };
            let patience = patience(kind.wrong_tries, kind.ignored_for);
            Ok(Key { lock: Lock::Sequence { open, close }, patience, sequences: None })
        }
        DoorKind::OneTime(kind) => {
            let file = one_time::read(&place(&kind.sequences)?, kind.flags, kind.window);
            let file = Arc::new(file.map_err(|fault| fault.to_string())?);
            let lock = Lock::OneTime(OneTime { sequences: file.sequences.clone(), ahead: AHEAD });
            let patience = patience(kind.wrong_tries, kind.ignored_for);
            Ok(Key { lock, patience, sequences: Some(file) })
        }
        DoorKind::Rotating(kind) => {
            let shape =
                Shape::new(kind.ports.clone(), kind.tcp, kind.udp, kind.steps, kind.time_step.as_secs());
            let shape = shape.map_err(|error| error.to_string())?;
            let read = |file| KeyFile::read(&place(file)?).map_err(|fault| fault.to_string());
            let files = kind.keys.iter().map(read).collect::<Result<Vec<KeyFile>, String>>()?;
            let keys = rotating::agree(&files, name, &shape).map_err(|faults| {
                faults.iter().map(ToString::to_string).collect::<Vec<String>>().join("\n")
            })?;
            let (host, keys, window) = (keys.host, keys.keys, kind.window);
            let lock = Lock::Rotating(Rotating { keys, host, shape, drift: DRIFT, window });
            Ok(Key { lock, patience: None, sequences: None })
        }
        DoorKind::Spa(kind) => {
            let users = spa_users(&place(&kind.users)?, &kind.weak, &own.opens)?;
            let lock = SpaLock { users, window: kind.max_age, port: kind.udp_port };
            Ok(Key { lock: Lock::Spa(lock), patience: None, sequences: None })
        }
    }
}

/// What `check` can say of a door's access file, if this process can read it: where it can't, that says nothing of whether
/// the program can.
///
/// # Errors
/// As a start would say it.
pub(in crate::daemon) fn check(own: &DoorConfig) -> Result<(), String> {
    let DoorKind::Spa(kind) = &own.kind else { return Ok(()) };
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let Ok(place) = Place::of(&kind.users, credentials.as_deref()) else { return Ok(()) };
    if std::fs::File::open(place.path()).is_err() {
        return Ok(());
    }
    keep_out_of_dumps().map_err(|error| {
        format!("this process can't be kept out of core dumps, so no key is read: {error}")
    })?;
    spa_users(&place, &kind.weak, &own.opens).map(drop)
}

/// The users of an access file, which is in the form of fwknop's access.conf. What a user may open is what he may have
/// of the door's ports.
fn spa_users(place: &Place, allowed: &[Weakness], opens: &Opens) -> Result<Vec<spa::access::User>, String> {
    let text = place.read().map_err(|fault| fault.to_string())?;
    let Access { stanzas, diagnostics } = read_access(place.path(), &text);
    if let Some(fault) = diagnostics.iter().find(|own| own.weight >= Weight::LeftOut) {
        return Err(fault.to_string());
    }
    if stanzas.is_empty() {
        return Err(format!("{} names no user; make one: portcullis key spa", place.path().display()));
    }
    let is_allowed = |weakness| allowed.contains(&weakness);
    let mut users = Vec::new();
    for mut stanza in stanzas {
        if stanza.cycle.is_some() {
            let what = "CMD_CYCLE_OPEN is not run from here; the door's own command_open is";
            return Err(format!("{}:{}: {what}", place.path().display(), stanza.line));
        }
        stanza.user.weak = spa::access::Weak {
            no_hmac: stanza.weak.no_hmac && is_allowed(Weakness::NoHmac),
            short_keys: stanza.weak.short_keys && is_allowed(Weakness::ShortKeys),
            old_hmac: stanza.weak.old_hmac && is_allowed(Weakness::OldHmac),
            other_modes: stanza.weak.other_modes && is_allowed(Weakness::OtherModes),
            ..spa::access::Weak::default()
        };
        let asked = Opens { tcp: stanza.user.tcp.clone(), udp: stanza.user.udp.clone() };
        stanza.user.tcp = common(&asked.tcp, &opens.tcp);
        stanza.user.udp = common(&asked.udp, &opens.udp);
        if stanza.user.tcp.is_empty() && stanza.user.udp.is_empty() {
            let (path, line) = (place.path().display(), stanza.line);
            let may = match asked.tcp.is_empty() && asked.udp.is_empty() {
                true => "nothing".to_owned(),
                false => asked.to_string(),
            };
            return Err(format!(
                "{path}:{line}: {} may ask for {may}, and this door opens {opens}, so that no packet of his opens it; \
                 change OPEN_PORTS below that line, or opens of the door",
                stanza.user.name
            ));
        }
        users.push((stanza.line, stanza.user));
    }
    let lines: Vec<usize> = users.iter().map(|(line, _)| *line).collect();
    let users: Vec<spa::access::User> = users.into_iter().map(|(_, user)| user).collect();
    match spa::Spa::new(users.clone(), spa::WINDOW) {
        Ok(_) => Ok(users),
        Err(faults) => {
            let path = place.path().display();
            let told: Vec<String> = faults
                .iter()
                .map(|fault| match fault {
                    SetupFault::User(user, fault) => {
                        format!("{path}:{}: {fault}", lines.get(*user).copied().unwrap_or_default())
                    }
                    SetupFault::TooManyUsers => {
                        format!(
                            "{path}: more than {} users; each packet is tried with the keys of all",
                            spa::USERS_MAXIMUM
                        )
                    }
                })
                .collect();
            Err(told.join("\n"))
        }
    }
}

/// What is in both sets.
fn common(one: &PortSet, other: &PortSet) -> PortSet {
    one.without(&one.without(other))
}

/// The sequence of these steps.
pub(in crate::daemon) fn sequence(steps: &[WrittenStep], window: Duration) -> Result<Sequence, String> {
    let step = |step: &WrittenStep| match step.protocol {
        StepProtocol::Tcp(flags) => {
            let flags = FlagTests { must: flags.set, must_not: flags.clear };
            Step { port: step.port, protocol: Protocol::Tcp, flags }
        }
        StepProtocol::Udp => Step { port: step.port, protocol: Protocol::Udp, flags: FlagTests::default() },
    };
    Sequence::new(steps.iter().map(step).collect(), window).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::make;

    #[test]
    fn a_user_who_may_ask_for_nothing_of_the_door_is_named_with_the_lines_to_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access");
        let keys = "KEY a-of more than 16 bytes\nHMAC_KEY b-of more than 16 bytes";
        make::file(&path, &format!("# mine\nSOURCE ANY\nUSER anna\nOPEN_PORTS tcp/22\n{keys}\n")).unwrap();
        let opens = Opens::read("tcp/8080").unwrap();
        let said = spa_users(&Place::closed(&path), &[], &opens).map(drop).unwrap_err();
        for word in ["access:2: anna", "may ask for tcp/22", "opens tcp/8080", "change OPEN_PORTS"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[test]
    fn each_weak_setting_is_let_in_by_its_own_name_alone() {
        let directory = tempfile::tempdir().unwrap();
        let opens = Opens::read("tcp/22").unwrap();
        let long = "of more than 16 bytes";
        for (index, (weak, lines)) in [
            (Weakness::NoHmac, format!("KEY a-{long}")),
            (Weakness::ShortKeys, format!("KEY short\nHMAC_KEY b-{long}")),
            (Weakness::OldHmac, format!("KEY a-{long}\nHMAC_KEY b-{long}\nHMAC_DIGEST_TYPE sha1")),
            (Weakness::OtherModes, format!("KEY a-{long}\nHMAC_KEY b-{long}\nENCRYPTION_MODE ctr")),
        ]
        .into_iter()
        .enumerate()
        {
            let path = directory.path().join(index.to_string());
            make::file(&path, &format!("SOURCE ANY\nOPEN_PORTS tcp/22\n{lines}\n")).unwrap();
            let users = |allowed: &[Weakness]| {
                spa_users(&Place::closed(&path), allowed, &opens).map(|users| users.len())
            };
            let others: Vec<Weakness> = Weakness::ALL.into_iter().filter(|other| *other != weak).collect();
            assert!(users(&others).is_err(), "{}", weak.word());
            assert_eq!(users(&[weak]), Ok(1));
        }
    }
}
