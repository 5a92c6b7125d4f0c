//! access.conf: who may knock, with which keys, for what.

use std::path::Path;
use std::time::Duration;

use portcullis_core::door::spa::access::{Length, User, Weak};
use portcullis_core::door::spa::cipher::Mode;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope::Keys;
use portcullis_core::door::spa::key::{CipherKey, HmacKey, KeyFault};
use portcullis_core::door::spa::message::{TIMEOUT_MAXIMUM, ports_from_text};
use portcullis_core::net::{PortSet, Prefix, PrefixError, Protocol};
use portcullis_core::time::Wall;

use super::super::portsentry::{Diagnostic, Weight};
use super::lines::{Ends, Entry, Lines};
use crate::keys::rotating::check_user;

/// Keywords whose values may be shown.
const OPEN: [&str; 24] = [
    "SOURCE",
    "DESTINATION",
    "OPEN_PORTS",
    "RESTRICT_PORTS",
    "HMAC_DIGEST_TYPE",
    "ENCRYPTION_MODE",
    "FW_ACCESS_TIMEOUT",
    "MAX_FW_TIMEOUT",
    "REQUIRE_USERNAME",
    "REQUIRE_SOURCE_ADDRESS",
    "REQUIRE_SOURCE",
    "ENABLE_CMD_EXEC",
    "ACCESS_EXPIRE",
    "ACCESS_EXPIRE_EPOCH",
    "CMD_CYCLE_OPEN",
    "CMD_CYCLE_CLOSE",
    "CMD_CYCLE_TIMER",
    "FORCE_NAT",
    "FORCE_SNAT",
    "FORCE_MASQUERADE",
    "DISABLE_DNAT",
    "FORWARD_ALL",
    "ENABLE_CMD_SUDO_EXEC",
    // Of our own: how the user is called in records. fwknopd passes it over (2.6.10, measured).
    "USER",
];
const SECRET: [&str; 4] = ["HMAC_KEY", "HMAC_KEY_BASE64", "KEY", "KEY_BASE64"];

/// An access.conf, read.
pub struct Access {
    /// The stanzas that can be used, in the order of the file.
    pub stanzas: Vec<Stanza>,
    /// What is to be known about the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// One stanza: a user, and what fwknopd would do besides opening. Has no `Debug`, since it holds keys.
pub struct Stanza {
    /// The line of its SOURCE, counted from 1.
    pub line: usize,
    /// The user, called as `USER` says, or else `stanza1` and so on. Nothing weak is allowed yet: see [`Stanza::weak`].
    pub user: User,
    /// What weak settings the stanza relies on, and that have to be asked for by name.
    pub weak: Weak,
    /// `CMD_CYCLE_OPEN` and its likes.
    pub cycle: Option<Cycle>,
}

/// Commands in place of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cycle {
    /// Run when a packet is good.
    pub open: String,
    /// Run later; `None` where it says `NONE`, or nothing.
    pub close: Option<String>,
    /// How much later.
    pub timer: Duration,
}

/// What has been read of a stanza so far.
#[derive(Default)]
struct Draft<'t> {
    line: usize,
    at: std::ops::Range<usize>,
    from: Vec<Prefix>,
    open: Option<(PortSet, PortSet)>,
    restricted: (PortSet, PortSet),
    cipher: Option<CipherKey>,
    hmac: Option<HmacKey>,
    digest: Option<Digest>,
    mode: Mode,
    usual: Option<u64>,
    most: Option<u64>,
    name: Option<&'t str>,
    user: Option<&'t str>,
    require_address: bool,
    commands: bool,
    expires: Option<Wall>,
    cycle: Cycle,
    is_broken: bool,
}

/// Reads the text of an access.conf.
#[must_use]
pub fn read_access(path: &Path, text: &str) -> Access {
    let (mut lines, entries) = Lines::of(path, text, Ends::Line, &OPEN, &SECRET);
    let mut stanzas = Vec::new();
    let mut draft: Option<Draft> = None;
    for entry in &entries {
        if entry.keyword == "SOURCE" {
            stanzas.extend(draft.take().and_then(|draft| finish(&mut lines, draft)));
            let (line, at) = (lines.line(&entry.keyword_span), entry.keyword_span.clone());
            draft = Some(Draft { line, at, ..Draft::default() });
        }
        if entry.keyword.starts_with('%') {
            lines.left_out(entry, "other files are not followed", "name that file too when importing");
            continue;
        }
        let Some(draft) = &mut draft else {
            lines.say(
                Weight::Fault,
                entry.keyword_span.clone(),
                "this stands before the first SOURCE, so it belongs to no stanza",
                "begin the stanza with SOURCE ANY",
            );
            continue;
        };
        let faults = lines.diagnostics.len();
        keyword(&mut lines, draft, entry);
        draft.is_broken |= lines.diagnostics[faults..].iter().any(|said| said.weight == Weight::Fault);
    }
    stanzas.extend(draft.take().and_then(|draft| finish(&mut lines, draft)));
    for (index, stanza) in stanzas.iter_mut().enumerate() {
        if stanza.user.name.is_empty() {
            stanza.user.name = format!("stanza{}", index + 1);
        }
    }
    Access { stanzas, diagnostics: lines.diagnostics }
}

fn keyword<'t>(lines: &mut Lines, draft: &mut Draft<'t>, entry: &Entry<'t>) {
    match entry.keyword.as_str() {
        "SOURCE" => source(lines, draft, entry),
        "OPEN_PORTS" => draft.open = ports(lines, entry),
        "RESTRICT_PORTS" => draft.restricted = ports(lines, entry).unwrap_or_default(),
        "KEY" => once(lines, entry, &mut draft.cipher, CipherKey::new(entry.value.as_bytes())),
        "KEY_BASE64" => once(lines, entry, &mut draft.cipher, CipherKey::from_base64(entry.value)),
        "HMAC_KEY" => once(lines, entry, &mut draft.hmac, HmacKey::new(entry.value.as_bytes())),
        "HMAC_KEY_BASE64" => once(lines, entry, &mut draft.hmac, HmacKey::from_base64(entry.value)),
        "HMAC_DIGEST_TYPE" => {
            draft.digest = Digest::from_name(entry.value);
            if draft.digest.is_none() {
                lines.wrong(entry, "is no digest that fwknop knows", "write SHA256 or SHA512");
            }
        }
        "ENCRYPTION_MODE" => match Mode::from_name(entry.value) {
            Some(mode) => draft.mode = mode,
            None => lines.wrong(entry, "is no mode that is read here", "write CBC on both sides"),
        },
        "FW_ACCESS_TIMEOUT" => draft.usual = lines.number(entry, u64::from(TIMEOUT_MAXIMUM)),
        "MAX_FW_TIMEOUT" => draft.most = lines.number(entry, u64::from(TIMEOUT_MAXIMUM)),
        "REQUIRE_USERNAME" => draft.name = Some(entry.value),
        "USER" => match check_user(entry.value) {
            Ok(()) => draft.user = Some(entry.value),
            Err(why) => lines.wrong(entry, why, "write USER anna"),
        },
        "REQUIRE_SOURCE_ADDRESS" | "REQUIRE_SOURCE" => draft.require_address = lines.switch(entry),
        "ENABLE_CMD_EXEC" => draft.commands = lines.switch(entry),
        "ACCESS_EXPIRE" => expires(lines, draft, entry),
        "ACCESS_EXPIRE_EPOCH" => {
            let end = lines.number(entry, u64::from(u32::MAX)).filter(|seconds| *seconds > 0);
            draft.expires = end.map(|seconds| Wall(Duration::from_secs(seconds)));
        }
        "CMD_CYCLE_OPEN" => draft.cycle.open = entry.value.to_owned(),
        "CMD_CYCLE_CLOSE" => draft.cycle.close = Some(entry.value.to_owned()).filter(|text| text != "NONE"),
        "CMD_CYCLE_TIMER" => {
            draft.cycle.timer =
                Duration::from_secs(lines.number(entry, u64::from(TIMEOUT_MAXIMUM)).unwrap_or(0));
        }
        "DESTINATION" => lines.left_out(
            entry,
            "packets to every own address count, since the format names no host",
            "give each host keys of its own",
        ),
        "FORCE_NAT" | "FORCE_SNAT" | "FORCE_MASQUERADE" | "DISABLE_DNAT" | "FORWARD_ALL" => {
            lines.left_out(
                entry,
                "no forwarding is made here",
                "let guests ask for the port itself, without -N",
            );
        }
        "ENABLE_CMD_SUDO_EXEC"
        | "CMD_SUDO_EXEC_USER"
        | "CMD_SUDO_EXEC_GROUP"
        | "CMD_EXEC_USER"
        | "CMD_EXEC_GROUP" => {
            lines.left_out(entry, "commands out of a packet are never run", "use a door with command_open");
        }
        word if word.starts_with("GPG_") => {
            lines.left_out(
                entry,
                "GnuPG packets are not taken",
                "give the user KEY_BASE64 and HMAC_KEY_BASE64",
            );
        }
        _ => lines.unknown(entry, &[&OPEN[..], &SECRET[..]].concat()),
    }
}

fn source(lines: &mut Lines, draft: &mut Draft, entry: &Entry) {
    for part in entry.value.split([',', ' ', '\t']).filter(|part| !part.is_empty()) {
        if part.eq_ignore_ascii_case("ANY") {
            draft.from.clear();
            return;
        }
        match part.parse::<Prefix>() {
            Ok(prefix) => draft.from.push(prefix),
            Err(PrefixError::HostBits(prefix)) => {
                let says = format!("SOURCE: {part} has bits set behind its length; read as {prefix}");
                lines.say(Weight::Note, entry.value_span.clone(), says, format!("write {prefix}"));
                draft.from.push(prefix);
            }
            Err(why) => {
                let says = format!("SOURCE: {part}: {why}");
                lines.say(
                    Weight::Fault,
                    entry.value_span.clone(),
                    says,
                    "write ANY, or networks like 192.0.2.0/24",
                );
            }
        }
    }
    if entry.value.is_empty() {
        lines.wrong(entry, "names nobody", "write ANY, or networks like 192.0.2.0/24");
    }
}

fn ports(lines: &mut Lines, entry: &Entry) -> Option<(PortSet, PortSet)> {
    let plain: String = entry.value.chars().filter(|letter| !letter.is_whitespace()).collect();
    let Some(ports) = ports_from_text(&plain) else {
        lines.wrong(
            entry,
            "is no list of ports like tcp/22, udp/53",
            "write one port after the other, no ranges",
        );
        return None;
    };
    let of = |protocol| {
        let own = ports.iter().filter(|port| port.protocol == protocol);
        PortSet::from_ranges(own.map(|port| (port.number, port.number)))
    };
    Some((of(Protocol::Tcp), of(Protocol::Udp)))
}

fn once<K>(lines: &mut Lines, entry: &Entry, place: &mut Option<K>, key: Result<K, KeyFault>) {
    if place.is_some() {
        lines.wrong(entry, "the stanza has this key already", "keep one of the two");
        return;
    }
    if !entry.keyword.ends_with("BASE64") && entry.value.contains([' ', '\t']) {
        lines.say(
            Weight::Doubtful,
            entry.keyword_span.clone(),
            format!(
                "{}: the key has blanks. Here all of it counts, but in .fwknoprc fwknop stops at the first",
                entry.keyword
            ),
            "make a key without blanks (fwknop --key-gen), or give it to the client on the command line",
        );
    }
    if entry.value == "__CHANGEME__" {
        lines.wrong(entry, "is still what the sample file says", "make keys with fwknop --key-gen");
        return;
    }
    match key {
        Ok(key) => *place = Some(key),
        Err(why) => lines.wrong(entry, &why.to_string(), "make keys with fwknop --key-gen"),
    }
}

/// `MM/DD/YYYY`; the user's time ends when that day begins, in UTC.
fn expires(lines: &mut Lines, draft: &mut Draft, entry: &Entry) {
    let parts: Vec<i16> = entry.value.split('/').filter_map(|part| part.parse().ok()).collect();
    let date = match parts[..] {
        [month, day, year] => i8::try_from(month)
            .ok()
            .zip(i8::try_from(day).ok())
            .and_then(|(month, day)| jiff::civil::Date::new(year, month, day).ok()),
        _ => None,
    };
    let start = date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let seconds = start.and_then(|start| u64::try_from(start.timestamp().as_second()).ok());
    match seconds {
        Some(seconds) => draft.expires = Some(Wall(Duration::from_secs(seconds))),
        None => lines.wrong(entry, "is no date as MM/DD/YYYY", "write 12/31/2026"),
    }
}

/// The stanza, unless something in it cannot be used: then nobody is let in by a part of it.
fn finish(lines: &mut Lines, draft: Draft) -> Option<Stanza> {
    let mut fault = |says: &str, mend: &str| {
        lines.say(Weight::Fault, draft.at.clone(), says, mend);
        None::<Stanza>
    };
    if draft.is_broken {
        return None;
    }
    let Some(cipher) = draft.cipher else {
        return fault(
            "the stanza has no key that can be used",
            "write KEY_BASE64 and HMAC_KEY_BASE64 into it",
        );
    };
    let digest = draft.digest.unwrap_or(Digest::Sha256);
    let keys = match Keys::of_mode(draft.mode, cipher, draft.hmac.as_ref().map(|key| (digest, key))) {
        Ok(keys) => keys,
        Err(why) => return fault(&why.to_string(), "make keys with fwknop --key-gen"),
    };
    let (tcp, udp) = draft.open.unwrap_or_else(|| (PortSet::all(), PortSet::all()));
    let usual = Duration::from_secs(draft.usual.filter(|seconds| *seconds > 0).unwrap_or(30));
    let most = Duration::from_secs(draft.most.filter(|seconds| *seconds > 0).unwrap_or(300)).max(usual);
    let weak = Weak {
        no_hmac: keys.hmac().is_none(),
        short_keys: keys.is_short(),
        old_hmac: keys.hmac().is_some_and(Digest::is_old),
        other_modes: keys.mode() != Mode::Cbc,
        commands: draft.commands,
    };
    let cycle = (!draft.cycle.open.is_empty()).then_some(draft.cycle);
    let user = User {
        name: draft.user.unwrap_or_default().to_owned(),
        keys,
        weak: Weak::default(),
        from: draft.from,
        tcp: tcp.without(&draft.restricted.0),
        udp: udp.without(&draft.restricted.1),
        required_name: draft.name.map(str::to_owned),
        require_address: draft.require_address,
        expires: draft.expires,
        length: Length { usual, most },
    };
    Some(Stanza { line: draft.line, user, weak, cycle })
}
