//! Sentences about scans: a ban keeps its reason in words, so that it can be read for as long as the ban lasts.

use std::time::Duration;

use crate::event::{Kind, Scan, Shape};
use crate::net::Protocol;
use crate::scan::Contact;
use crate::scan::incidents::PORTS_KEPT;

/// One event: `SYN probe to TCP port 111`.
#[must_use]
pub fn event(contact: &Contact) -> String {
    let kind = match contact.kind {
        Kind::Connect => "connection",
        Kind::Udp => "datagram",
        _ => "probe",
    };
    let flags = match contact.kind {
        Kind::Connect | Kind::Udp => String::new(),
        kind => format!("{} ", kind_words(kind)),
    };
    format!("{flags}{kind} to {} port {}", protocol_words(contact.target.protocol), contact.target.port)
}

/// The evidence of a scan: `14 probes to 14 closed TCP ports in 0.4 s`.
///
/// A port is called closed where the kinds say so: SYN, datagrams and INITs count only against ports without a
/// service, odd flags against any.
#[must_use]
pub fn evidence(scan: &Scan) -> String {
    tell_evidence(scan, "") + &company(scan)
}

/// The same with the kinds named: `14 SYN probes to 14 closed TCP ports in 0.4 s`.
#[must_use]
pub fn evidence_with_kinds(scan: &Scan) -> String {
    let kinds: Vec<&str> = scan.kinds.iter().map(|&kind| kind_words(kind)).collect();
    tell_evidence(scan, &format!("{} ", and(&kinds))) + &company(scan)
}

/// With whom a source scans: `; the same from 6 sources at once: decoys, origin unknown`.
fn company(scan: &Scan) -> String {
    match (&scan.together, scan.shape) {
        (Some(together), Shape::Decoy) => {
            format!("; the same from {} sources at once: decoys, origin unknown", together.sources)
        }
        (Some(together), _) => format!("; shared with {} sources", together.sources),
        (None, _) => String::new(),
    }
}

fn tell_evidence(scan: &Scan, kinds: &str) -> String {
    let closed = scan.kinds.iter().all(|kind| matches!(kind, Kind::Syn | Kind::Udp | Kind::Sctp));
    let protocols: Vec<&str> = scan.protocols.iter().map(|&protocol| protocol_words(protocol)).collect();
    let addresses = if scan.targets > 1 { format!(" of {} addresses", scan.targets) } else { String::new() };
    let (probes, time) = (plural(scan.probes, "probe", "probes"), seconds(scan.last.since(scan.first)));
    let ports = scan.ports.len() + scan.steps.len();
    if scan.kinds.iter().all(|kind| matches!(kind, Kind::IpProtocol | Kind::IcmpSweep)) {
        let what =
            if scan.kinds.contains(&Kind::IpProtocol) { " for protocols that nobody speaks" } else { "" };
        return format!("{} {kinds}{probes}{what}{addresses} in {time}", scan.probes);
    }
    if ports == 0 {
        return format!("{} {kinds}{probes} to ports out of sight{addresses} in {time}", scan.probes);
    }
    format!(
        "{} {kinds}{probes} to {}{} {}{} {}{addresses} in {time}",
        scan.probes,
        if scan.ports.len() < PORTS_KEPT { "" } else { "at least " },
        ports,
        if closed { "closed " } else { "" },
        and(&protocols),
        plural(ports as u64, "port", "ports"),
    )
}

/// What a person calls the kind.
pub(crate) fn kind_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Syn => "SYN",
        Kind::Connect => "connect",
        Kind::Fin => "FIN",
        Kind::Null => "NULL",
        Kind::Xmas => "Xmas",
        Kind::Maimon => "Maimon",
        Kind::Udp => "UDP",
        Kind::Sctp => "SCTP",
        Kind::Flags => "odd-flag",
        Kind::Ack => "ACK",
        Kind::Fragments => "cut-up",
        Kind::IpProtocol => "IP-protocol",
        Kind::IcmpSweep => "ICMP",
    }
}

pub(crate) fn protocol_words(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
        Protocol::Icmp => "ICMP",
        Protocol::Ip => "IP",
    }
}

/// `one` for 1, otherwise `more`.
#[must_use]
pub fn plural<'a>(count: u64, one: &'a str, more: &'a str) -> &'a str {
    if count == 1 { one } else { more }
}

/// `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn and(parts: &[&str]) -> String {
    match parts {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// A measured time: `0.004 s`, `0.4 s`, `12 s`, `3 min`, `5 h`.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.0005 {
        "less than 1 ms".to_owned()
    } else if seconds < 0.0995 {
        format!("{} ms", (seconds * 1e3).round())
    } else if seconds < 9.95 {
        format!("{seconds:.1} s")
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.0} h", seconds / 3600.0)
    }
}
