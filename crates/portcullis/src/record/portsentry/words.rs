//! Every text of PortSentry 1.2 and 2.x that an event, a response or a start causes. Scripts depend on them to the
//! byte, odd blanks included; the tests cite where each was measured.
//!
//! Texts of our own (what PortSentry never had to say) are marked as such and use its class words in the same place.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::path::Path;

use portcullis_core::net::Protocol;

use super::{Attack, AttackFate, Seen, Step, StepDone, Voice};
use crate::config::portsentry::StartMode;
use crate::escape::{one_line, printable};
use crate::record::words::plural;

/// The first line of PortSentry 1.2.
pub const ONE_STARTING: &str = "adminalert: PortSentry 1.2 is starting.";
/// The line that says that 1.x watches; guides tell their readers to look for it.
pub const ONE_READY: &str = "adminalert: PortSentry is now active and listening.";
/// The two last lines of 1.x.
pub const ONE_STOPPING: [&str; 2] =
    ["securityalert: PortSentry is shutting down", "adminalert: PortSentry is shutting down"];
/// The advanced modes of 1.x without `ADVANCED_EXCLUDE_…`.
pub const ONE_EXCLUDES_NOTHING: &str = "adminalert: Advanced mode will manually exclude no ports";
/// The line that says that 2.x watches.
pub const TWO_READY: &str = "Portsentry is now active and listening.";
/// The last line of 2.x.
pub const TWO_STOPPING: &str = "Portsentry is shutting down";

/// Longest reason of a failed step that is written, in characters: the output of a command may be of any length.
const LONGEST_REASON: usize = 1024;

/// `NAME/ADDR`: whoever has no name has the address twice.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// As resolved and cleaned ([`super::names`]), or the address.
    pub name: &'a str,
    /// The source.
    pub address: IpAddr,
}

impl Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.address)
    }
}

/// `TCP` or `UDP`.
#[must_use]
pub fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
        Protocol::Icmp => "ICMP",
        Protocol::Ip => "IP",
    }
}

/// What kind of scan a TCP packet with these flags is. 1.2 does not look at ECE and CWR; for 2.x such a packet is no
/// NULL scan, all else is alike (57 flag cases in `tests/ancestors/portsentry-cases.json`).
#[must_use]
pub fn kind(voice: Voice, flags: u8) -> String {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const PSH: u8 = 0x08;
    const ACK: u8 = 0x10;
    const URG: u8 = 0x20;
    let classic = flags & 0x3f;
    let is_null = match voice {
        Voice::One(_) => classic == 0,
        Voice::Two => flags == 0,
    };
    if is_null {
        return match voice {
            // The leading blank is the original's (PortSentry 1.2, measured).
            Voice::One(_) => " TCP NULL scan".to_owned(),
            Voice::Two => "TCP NULL scan".to_owned(),
        };
    }
    if classic & (FIN | URG | PSH) == FIN | URG | PSH {
        return "TCP XMAS scan".to_owned();
    }
    match classic {
        FIN => "TCP FIN scan".to_owned(),
        SYN => "TCP SYN/Normal scan".to_owned(),
        _ => {
            let bit = |flag: u8| u8::from(classic & flag != 0);
            format!(
                "Unknown Type: TCP Packet Flags: SYN: {} FIN: {} ACK: {} PSH: {} URG: {} RST: {}",
                bit(SYN),
                bit(FIN),
                bit(ACK),
                bit(PSH),
                bit(URG),
                bit(RST)
            )
        }
    }
}

/// 1.x: something was seen.
#[must_use]
pub fn one_alert(mode: StartMode, attack: &Attack, name: &str) -> String {
    let what = match attack.seen {
        Seen::Connection => "Connect".to_owned(),
        Seen::Packet { flags, .. } if attack.protocol == Protocol::Tcp => kind(Voice::One(mode), flags),
        Seen::Packet { .. } => "UDP scan".to_owned(),
    };
    let host = Host { name, address: attack.source };
    format!("attackalert: {what} from host: {host} to {} port: {}", protocol(attack.protocol), attack.port)
}

/// 1.x, raw modes: the packet had IP options; stands behind its alert. None if it had none.
#[must_use]
pub fn one_ip_options(attack: &Attack, name: &str) -> Option<String> {
    let Seen::Packet { has_ip_options: Some(true), .. } = attack.seen else { return None };
    let host = Host { name, address: attack.source };
    Some(format!(
        "attackalert: Packet from host: {host} to {} port: {} has IP options set (detection avoidance technique).",
        protocol(attack.protocol),
        attack.port
    ))
}

/// 1.x: `BLOCK_TCP` or `BLOCK_UDP` is 0.
#[must_use]
pub fn one_ignoring_response(of: Protocol) -> String {
    format!("attackalert: Ignoring {} response per configuration file setting.", protocol(of))
}

/// Nothing more is done, because the host is blocked. The connect modes of 1.x have a form of their own.
#[must_use]
pub fn already_blocked(voice: Voice, host: Host<'_>) -> String {
    match voice {
        Voice::One(StartMode::Tcp | StartMode::Udp) => {
            format!("attackalert: Host: {} is already blocked. Ignoring", host.address)
        }
        _ => format!("attackalert: Host: {host} is already blocked Ignoring"),
    }
}

/// Ours: its responses are not done yet, so that it is not called blocked.
#[must_use]
pub fn still_being_blocked(host: Host<'_>) -> String {
    format!("attackalert: Host: {host} is still being blocked Ignoring")
}

/// Ours: PortSentry 1.x would have blocked this host itself, or its gateway.
#[must_use]
pub fn never_blocked(host: Host<'_>) -> String {
    format!("adminalert: Host: {host} is protected and is never blocked Ignoring")
}

/// Ours: more events of one source than are held back.
#[must_use]
pub fn not_listed(host: Host<'_>, events: u64) -> String {
    let word = plural(events, "event", "events");
    format!(
        "adminalert: {events} more {word} of host: {host} while it was being dealt with, not listed one by one"
    )
}

/// 1.x: the history file can't be written; a line of ours behind it says why.
#[must_use]
pub fn one_history_fault(path: &Path) -> String {
    format!("adminalert: ERROR: Cannot open history file: {}.", path.display())
}

/// 1.x: the blocked file can't be written; a line of ours behind it says why.
#[must_use]
pub fn one_blocked_fault(path: &Path) -> String {
    format!("adminalert: ERROR: Cannot open blocked file: {}.", path.display())
}

/// The responses failed. The blank before `!!` is missing in three of the six modes (PortSentry 1.2, measured).
#[must_use]
pub fn not_blocked(voice: Voice, host: Host<'_>) -> String {
    match voice {
        Voice::One(StartMode::Tcp | StartMode::Udp) => {
            format!("attackalert: ERROR: Could not block host {} !!", host.address)
        }
        Voice::One(StartMode::Stcp) => format!("attackalert: ERROR: Could not block host {host} !!"),
        Voice::One(_) => format!("attackalert: ERROR: Could not block host {host}!!"),
        Voice::Two => format!("attackalert: Error during target dispose {host}!"),
    }
}

/// What a step did. Behind the words of PortSentry a failed one says why; only for hosts.deny it had two lines.
#[must_use]
pub fn step(address: IpAddr, done: &StepDone) -> Vec<String> {
    let text = printable(&done.text);
    let Err(why) = &done.result else {
        return vec![match done.step {
            Step::HostsDeny => {
                format!("attackalert: Host {address} has been blocked via wrappers with string: \"{text}\"")
            }
            Step::Route => {
                format!(
                    "attackalert: Host {address} has been blocked via dropped route using command: \"{text}\""
                )
            }
            Step::Command => {
                format!("attackalert: External command run for host: {address} using command: \"{text}\"")
            }
            Step::Set => format!("attackalert: Host {address} has been blocked via nftables set \"{text}\""),
        }];
    };
    let why = reason(why);
    match done.step {
        Step::HostsDeny => vec![
            "adminalert: cannot open hosts.deny file: /etc/hosts.deny for blocking.".to_owned(),
            format!(
                "securityalert: ERROR: There was an error trying to block host {address}: KILL_HOSTS_DENY, \"{text}\": \
                 {why}"
            ),
        ],
        // Why says which command it was.
        Step::Route => vec![format!(
            "adminalert: ERROR: There was an error trying to block host (system fail) {address}: KILL_ROUTE: {why}"
        )],
        Step::Command => vec![format!(
            "adminalert: ERROR: There was an error trying to run command (system fail) {address}: KILL_RUN_CMD: {why}"
        )],
        Step::Set => vec![format!("adminalert: ERROR: nftables set \"{text}\" for host {address}: {why}")],
    }
}

/// Ours: a block has ended, and why.
#[must_use]
pub fn let_in(voice: Voice, address: IpAddr, why: &str) -> String {
    let word = if voice == Voice::Two { "" } else { "adminalert: " };
    format!("{word}Host: {address}/{address} is let in again ({why})")
}

/// Ours: why a host could not be blocked, where the steps have not said it.
#[must_use]
pub fn why_not_blocked(address: IpAddr, why: &str) -> String {
    format!("adminalert: ERROR: host {address} is not blocked: {}", reason(why))
}

/// Made harmless, on one line, and not of any length.
fn reason(why: &str) -> String {
    let why = why.trim_end();
    match why.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => one_line(&why[..end]) + "…",
        None => one_line(why),
    }
}

/// How the whole of the responses stands, as 2.x writes it into `blocked: […]`; the rest follows from the fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsBlocked {
    /// Yes.
    Yes,
    /// Not (yet, or the responses failed).
    No,
}

/// 2.x: the one line of every event, also of those that are ignored or below the trigger.
#[must_use]
pub fn two_event(attack: &Attack, name: &str, is_blocked: IsBlocked) -> String {
    let what = match attack.seen {
        Seen::Connection => "Connect".to_owned(),
        Seen::Packet { flags, .. } if attack.protocol == Protocol::Tcp => kind(Voice::Two, flags),
        Seen::Packet { .. } => "UDP".to_owned(),
    };
    let options = match attack.seen {
        Seen::Packet { has_ip_options: Some(true), .. } => "set",
        Seen::Packet { has_ip_options: Some(false), .. } => "not set",
        Seen::Packet { has_ip_options: None, .. } | Seen::Connection => "unknown",
    };
    // ignored, triggered, noblock, blocked; "unset": an earlier rule has ended the matter.
    let flags = match (attack.fate, is_blocked) {
        (AttackFate::Ignored, _) => ["true", "unset", "unset", "unset"],
        (AttackFate::BelowTrigger, _) => ["false", "false", "unset", "unset"],
        (AttackFate::Local, _) => ["true", "true", "true", "false"],
        (AttackFate::LogOnly { .. }, _) => ["false", "true", "true", "false"],
        (AttackFate::Blocking | AttackFate::AlreadyBlocked, IsBlocked::Yes) => {
            ["false", "true", "false", "true"]
        }
        (AttackFate::Blocking | AttackFate::AlreadyBlocked, IsBlocked::No) => {
            ["false", "true", "false", "false"]
        }
    };
    format!(
        "Scan from: [{}] ({name}) protocol: [{}] port: [{}] type: [{what}] IP opts: [{options}] \
         ignored: [{}] triggered: [{}] noblock: [{}] blocked: [{}]",
        attack.source,
        protocol(attack.protocol),
        attack.port,
        flags[0],
        flags[1],
        flags[2],
        flags[3],
    )
}

/// 1.x: what stands behind the time in the history and the blocked file, without the line's end.
#[must_use]
pub fn one_blocked(host: Host<'_>, of: Protocol, port: u16) -> String {
    format!("Host: {host} Port: {port} {} Blocked", protocol(of))
}

/// 1.x: a port that is watched, in the modes that have a list. None in the advanced modes.
#[must_use]
pub fn one_listening(mode: StartMode, port: u16) -> Option<String> {
    let stealth = match mode {
        StartMode::Tcp | StartMode::Udp => "",
        StartMode::Stcp | StartMode::Sudp => "stealth ",
        StartMode::Atcp | StartMode::Audp => return None,
    };
    Some(format!("adminalert: Going into {stealth}listen mode on {} port: {port}", of_mode(mode)))
}

/// 1.x, advanced modes: how far they reach.
#[must_use]
pub fn one_advanced(ports: u32) -> String {
    format!("adminalert: Advanced mode will monitor first {ports} ports")
}

/// 1.x, advanced modes: a port of `ADVANCED_EXCLUDE_…`; ends with a blank.
#[must_use]
pub fn one_excludes(port: u16) -> String {
    format!("adminalert: Advanced mode will manually exclude port: {port} ")
}

/// 1.x, advanced modes: a port that is excluded or in use.
#[must_use]
pub fn one_ignored_port(mode: StartMode, port: u16) -> String {
    format!(
        "adminalert: Advanced Stealth scan detection mode activated. Ignored {} port: {port}",
        of_mode(mode)
    )
}

/// 2.x, connect mode: a port that is watched.
#[must_use]
pub fn two_listening(of: Protocol, port: u16) -> String {
    format!("Listen on AF_INET6: {} port: {port}", protocol(of))
}

/// 2.x, verbose: its source is on the ignore list.
#[must_use]
pub fn two_ignored(source: IpAddr, file: &str) -> String {
    format!("Host: {source} found in ignore file {}, aborting actions", printable(file))
}

fn of_mode(mode: StartMode) -> &'static str {
    if mode.is_tcp() { "TCP" } else { "UDP" }
}

#[cfg(test)]
mod tests;
