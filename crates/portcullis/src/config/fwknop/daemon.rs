//! fwknopd.conf: where packets are heard, and how old they may be.

use std::path::Path;
use std::time::Duration;

use portcullis_core::door::spa::{PORT, WINDOW};

use super::super::portsentry::{Diagnostic, Weight};
use super::lines::{Ends, Entry, Lines};

/// What matters of a fwknopd.conf; a keyword that is absent has fwknopd's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// The interface (`PCAP_INTF`); `None` where absent: every one.
    pub interface: Option<String>,
    /// The UDP port that packets come to (`PCAP_FILTER`, or `UDPSERV_PORT` with `ENABLE_UDP_SERVER`).
    pub port: u16,
    /// How old a packet may be (`MAX_SPA_PACKET_AGE`).
    pub max_age: Duration,
    /// What is to be known about the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Keywords that only say how fwknopd works inside, and need no counterpart.
const INSIDE: [&str; 22] = [
    "PCAP_LOOP_SLEEP",
    "PCAP_DISPATCH_COUNT",
    "ENABLE_PCAP_PROMISC",
    "ENABLE_PCAP_ANY_DIRECTION",
    "EXIT_AT_INTF_DOWN",
    "FLUSH_IPT_AT_INIT",
    "FLUSH_IPT_AT_EXIT",
    "FWKNOP_RUN_DIR",
    "FWKNOP_CONF_DIR",
    "FWKNOP_PID_FILE",
    "DIGEST_FILE",
    "DIGEST_DB_FILE",
    "ACCESS_FILE",
    "ACCESS_FOLDER",
    "SYSLOG_IDENTITY",
    "SYSLOG_FACILITY",
    "VERBOSE",
    "FIREWALL_EXE",
    "GPG_HOME_DIR",
    "GPG_EXE",
    "MAX_SNIFF_BYTES",
    "RULES_CHECK_THRESHOLD",
];
const KNOWN: [&str; 14] = [
    "PCAP_INTF",
    "PCAP_FILTER",
    "ENABLE_UDP_SERVER",
    "UDPSERV_PORT",
    "MAX_SPA_PACKET_AGE",
    "ENABLE_SPA_PACKET_AGING",
    "ENABLE_DIGEST_PERSISTENCE",
    "ENABLE_SPA_OVER_HTTP",
    "ENABLE_TCP_SERVER",
    "TCPSERV_PORT",
    "ENABLE_IPT_FORWARDING",
    "ENABLE_IPT_LOCAL_NAT",
    "ENABLE_IPT_SNAT",
    "ENABLE_X_FORWARDED_FOR",
];

/// Reads the text of a fwknopd.conf.
#[must_use]
pub fn read_daemon(path: &Path, text: &str) -> Daemon {
    let open = [&KNOWN[..], &INSIDE[..]].concat();
    let (mut lines, entries) = Lines::of(path, text, Ends::Line, &open, &[]);
    let (mut interface, mut filtered, mut served) = (None, None, None);
    let (mut is_server, mut max_age) = (false, WINDOW);
    for entry in &entries {
        match entry.keyword.as_str() {
            "PCAP_INTF" => {
                interface = Some(entry.value.to_owned()).filter(|name| !name.is_empty() && name != "any")
            }
            "PCAP_FILTER" => filtered = filter(&mut lines, entry),
            "ENABLE_UDP_SERVER" => is_server = lines.switch(entry),
            "UDPSERV_PORT" => served = port(&mut lines, entry),
            "MAX_SPA_PACKET_AGE" => {
                if let Some(seconds) = lines.number(entry, 86_400).filter(|seconds| *seconds > 0) {
                    max_age = Duration::from_secs(seconds);
                }
            }
            "ENABLE_SPA_PACKET_AGING" if !lines.switch(entry) => lines.left_out(
                entry,
                "the age of packets is always looked at, so that what is too old can be forgotten",
                "raise max_age of the door if clocks are far apart",
            ),
            "ENABLE_DIGEST_PERSISTENCE" if !lines.switch(entry) => {
                lines.left_out(entry, "replays are always noticed", "nothing to mend for portcullis");
            }
            "ENABLE_SPA_OVER_HTTP" | "ENABLE_TCP_SERVER" if lines.switch(entry) => {
                lines.left_out(entry, "packets are heard as single datagrams only", "let clients use -P udp");
            }
            "ENABLE_IPT_FORWARDING" | "ENABLE_IPT_LOCAL_NAT" | "ENABLE_IPT_SNAT" if lines.switch(entry) => {
                lines.left_out(
                    entry,
                    "no forwarding is made here",
                    "let guests ask for the port itself, without -N",
                );
            }
            word if open.contains(&word) || word.starts_with("IPT_") || word.starts_with("FIREWD_") => {}
            _ => lines.unknown(entry, &open),
        }
    }
    let port = if is_server { served } else { filtered }.unwrap_or(PORT);
    Daemon { interface, port, max_age, diagnostics: lines.diagnostics }
}

fn port(lines: &mut Lines, entry: &Entry) -> Option<u16> {
    let number = lines.number(entry, u64::from(u16::MAX)).and_then(|number| u16::try_from(number).ok());
    number.filter(|number| *number > 0)
}

/// `udp port 62201`, also with `dst`; any other filter is a program that we do not run.
fn filter(lines: &mut Lines, entry: &Entry) -> Option<u16> {
    let words: Vec<&str> = entry.value.split_whitespace().collect();
    let port = match words[..] {
        ["udp", "port", port] | ["udp", "dst", "port", port] => port.parse().ok().filter(|port| *port > 0),
        _ => None,
    };
    if port.is_none() {
        lines.say(
            Weight::Doubtful,
            entry.value_span.clone(),
            format!("PCAP_FILTER: only \"udp port N\" has a counterpart; datagrams to port {PORT} are heard"),
            "write udp_port into the door if it is another one",
        );
    }
    port
}
