//! A while in one view: as text for mail, and as a page of its own that needs nothing from elsewhere.
//!
//! Called by `report`; what was summed up comes from [`crate::record::events::tally`].

mod page;
mod plot;
mod text;
pub mod whatif;

use crate::record::events::tally::Report;
use crate::record::words::plural;

pub use self::page::page;
pub use self::text::text;

/// What the report is about: this host, by its name.
#[derive(Clone, Copy, Debug)]
pub struct Heading<'a> {
    /// Its name.
    pub host: &'a str,
}

/// The while in one sentence, which stands first in both forms.
fn summary(report: &Report) -> String {
    let attacks = report.scans + report.probes;
    if attacks == 0 {
        return match report.events {
            0 => "Nothing happened that is kept.".to_owned(),
            _ => "Nobody scanned this host.".to_owned(),
        };
    }
    let what = match (report.scans, report.probes) {
        (scans, 0) => format!("{scans} {}", plural(scans, "scan", "scans")),
        (0, probes) => format!("{probes} {}", plural(probes, "probe", "probes")),
        (scans, probes) => format!("{scans} scans and {probes} probes"),
    };
    let more = if report.not_told_apart > 0 { "more than " } else { "" };
    let count = |decision: &str| report.decisions.get(decision).copied().unwrap_or(0);
    let mut parts = Vec::new();
    for (decision, words) in [
        ("block", "led to a ban"),
        ("observe", "would have led to a ban (observing)"),
        ("hold", "led to a hold"),
        ("protected", "came from protected addresses"),
    ] {
        if count(decision) > 0 {
            parts.push(format!("{} {words}", count(decision)));
        }
    }
    let of = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{what} from {more}{} {}{of}.", report.sources, plural(report.sources, "address", "addresses"))
}

/// What a person should look at, the gravest first.
fn remarks(report: &Report) -> Vec<String> {
    let mut remarks = Vec::new();
    let faults = report.by_event.get("fault").copied().unwrap_or(0);
    let told = report.faults.len() as u64;
    if faults > told {
        remarks.push(format!("{faults} faults; the last {told}:"));
    }
    remarks.extend(report.faults.iter().map(|fault| format!("{}: {}", clock(&fault.time), fault.what)));
    remarks.extend(report.protected.iter().map(|one| format!("{}: {}", clock(&one.time), one.what)));
    if report.damaged > 0 {
        remarks.push(format!("{} events could not be understood, and are left out here", report.damaged));
    }
    if let Some(first) = &report.first_kept
        && report.events > 0
        && starts_late(report, first)
    {
        remarks.push(format!(
            "the first event that is kept is of {}; this report may begin there",
            clock(first)
        ));
    }
    remarks
}

/// Whether the first event that is kept is so far behind the beginning that what was before may have been forgotten.
fn starts_late(report: &Report, first: &str) -> bool {
    let at = |text: &str| text.parse::<jiff::Timestamp>().map_or(0, |stamp| stamp.as_second());
    let (since, until) = (at(&report.since), at(&report.until));
    at(first) - since > (until - since) / 4
}

/// Local time without the year.
fn clock(text: &str) -> String {
    local(text, "%m-%d %H:%M")
}

fn local(text: &str, format: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(stamp) => stamp.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string(),
        Err(_) => text.to_owned(),
    }
}

/// What most people call a port.
fn service(port: &str) -> &'static str {
    match port {
        "21" => "ftp",
        "22" => "ssh",
        "23" => "telnet",
        "25" => "smtp",
        "53" => "dns",
        "80" => "http",
        "110" => "pop3",
        "111" => "rpcbind",
        "123" => "ntp",
        "135" => "msrpc",
        "139" => "netbios",
        "143" => "imap",
        "161" => "snmp",
        "389" => "ldap",
        "443" => "https",
        "445" => "smb",
        "465" => "smtps",
        "587" => "submission",
        "993" => "imaps",
        "1433" => "mssql",
        "1521" => "oracle",
        "1723" => "pptp",
        "1900" => "ssdp",
        "2222" => "ssh",
        "2375" => "docker",
        "3306" => "mysql",
        "3389" => "rdp",
        "5060" => "sip",
        "5432" => "postgres",
        "5555" => "adb",
        "5900" => "vnc",
        "5985" => "winrm",
        "6379" => "redis",
        "6443" => "kubernetes",
        "8080" => "http",
        "8443" => "https",
        "9200" => "elastic",
        "11211" => "memcached",
        "27017" => "mongodb",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
