//! What a run told and left behind, read from its log lines and files in the words of either dialect, so that two
//! runs can be compared.

use std::collections::{BTreeMap, BTreeSet};

/// A kind of log line. Kinds are compared one by one, each in its order: commands run beside the detection, so a
/// later alert may be told before an earlier command has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A probe that counted.
    Alert,
    /// A response that was carried out.
    Response,
    /// A source that had its responses already.
    AlreadyBlocked,
    /// A packet with IP options.
    Options,
    /// BLOCK=0.
    OnlyLogged,
    /// 2.x: a port with a service.
    Service,
    /// 1.x: start, stop, what is watched.
    Administration,
    /// Anything else, which for ours has to be something the original says too.
    Other,
}

/// One probe as the log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub kind: String,
    pub source: String,
    pub port: u16,
}

/// The alert that a line of either dialect tells.
pub fn alert(line: &str) -> Option<Alert> {
    if let Some(text) = line.split_once("Scan from: [").map(|(_, text)| text) {
        let (source, rest) = text.split_once(']')?;
        let port = rest.split_once("port: [")?.1.split_once(']')?.0.parse().ok()?;
        let kind = rest.split_once("type: [")?.1.split_once("] IP opts")?.0;
        return Some(Alert { kind: kind.to_owned(), source: source.to_owned(), port });
    }
    let text = line.split_once("attackalert: ")?.1;
    let (kind, rest) = text.split_once(" from host: ")?;
    let (host, target) = rest.split_once(" to ")?;
    let port = target.strip_prefix("TCP port: ").or_else(|| target.strip_prefix("UDP port: "))?;
    // A line about IP options goes on after the port, and is not an alert of its own.
    let port = port.parse().ok()?;
    Some(Alert { kind: kind.to_owned(), source: host.rsplit('/').next()?.to_owned(), port })
}

/// What sort of line this is.
pub fn kind(line: &str) -> Kind {
    let rules = [
        ("has IP options set", Kind::Options),
        ("is already blocked", Kind::AlreadyBlocked),
        ("has been blocked via", Kind::Response),
        ("External command run for host", Kind::Response),
        ("per configuration file setting", Kind::OnlyLogged),
        ("a service is running", Kind::Service),
        ("adminalert: ", Kind::Administration),
        ("is now active and listening", Kind::Administration),
        ("securityalert: PortSentry is shutting down", Kind::Administration),
    ];
    if alert(line).is_some() {
        return Kind::Alert;
    }
    rules.iter().find(|(text, _)| line.contains(text)).map_or(Kind::Other, |(_, kind)| *kind)
}

/// The order in which scanners try ports is up to chance. In these lines each port stands as the number of its
/// first appearance in an alert, so that two orders compare equal when they tell the same story.
pub struct Ports {
    order: Vec<u16>,
}

impl Ports {
    /// Of log lines, in their order.
    pub fn of(lines: &[String]) -> Self {
        let mut order = Vec::new();
        for alert in lines.iter().filter_map(|line| alert(line)) {
            if !order.contains(&alert.port) {
                order.push(alert.port);
            }
        }
        Self { order }
    }

    /// The line with `port: 111` as `port: #1`, and the same in the test's own responses.
    pub fn number(&self, line: &str) -> String {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for place in 1..words.len() {
            let after_port = words[place - 1] == "port:";
            let in_response = place > 1 && matches!(command_word(&words[place - 2]), "ROUTE" | "CMD");
            if after_port || in_response {
                words[place] = self.number_word(&words[place]);
            }
        }
        words.join(" ")
    }

    fn number_word(&self, word: &str) -> String {
        let digits = word.trim_matches(|letter: char| !letter.is_ascii_digit());
        let known = digits.parse().ok().and_then(|port: u16| self.order.iter().position(|one| *one == port));
        match known {
            Some(place) => word.replacen(digits, &format!("#{}", place + 1), 1),
            None => word.to_owned(),
        }
    }
}

fn command_word(word: &str) -> &str {
    word.trim_matches('"')
}

/// What is compared of a run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The ports of each type of alert.
    pub ports: BTreeMap<String, BTreeSet<u16>>,
    /// How many alerts.
    pub alerts: usize,
    /// Whoever had a response.
    pub blocked_addresses: BTreeSet<String>,
    /// What the responses wrote, in order; ports as in [`Ports`].
    pub responses: Vec<String>,
    /// The lines of hosts.deny, in order.
    pub hosts_deny: Vec<String>,
    /// The log lines by kind, ports as in [`Ports`].
    pub lines: BTreeMap<Kind, Vec<String>>,
}

impl Observed {
    /// Of the log, of what the responses wrote and of hosts.deny.
    pub fn of(log: &[String], responses: &[String], hosts_deny: &[String]) -> Self {
        let ports = Ports::of(log);
        let mut observed = Self { hosts_deny: hosts_deny.to_vec(), ..Self::default() };
        for alert in log.iter().filter_map(|line| alert(line)) {
            observed.alerts += 1;
            observed.ports.entry(alert.kind).or_default().insert(alert.port);
        }
        for line in log {
            observed.lines.entry(kind(line)).or_default().push(ports.number(line));
        }
        for response in responses {
            observed.blocked_addresses.extend(response.split(' ').nth(1).map(str::to_owned));
            observed.responses.push(ports.number(response));
        }
        observed
    }

    /// The lines of a kind.
    pub fn lines_of(&self, kind: Kind) -> &[String] {
        self.lines.get(&kind).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_tell_an_alert() {
        let told = |kind: &str, source: &str, port| {
            Some(Alert { kind: kind.to_owned(), source: source.to_owned(), port })
        };
        let old = "<29>attackalert:  TCP NULL scan from host: a.example/10.77.0.1 to TCP port: 7";
        assert_eq!(alert(old), told(" TCP NULL scan", "10.77.0.1", 7));
        let new = "Scan from: [fd77::1] (fd77::1) protocol: [UDP] port: [7] type: [UDP] IP opts: [unknown] ignored: \
                   [false] triggered: [true] noblock: [false] blocked: [true]";
        assert_eq!(alert(new), told("UDP", "fd77::1", 7));
        let options = "<29>attackalert: Packet from host: 10.77.0.1/10.77.0.1 to TCP port: 1 has IP options set \
                       (detection avoidance technique).";
        assert_eq!((alert(options), kind(options)), (None, Kind::Options));
    }

    #[test]
    fn a_port_counts_by_its_turn() {
        let log = ["<29>attackalert: UDP scan from host: 10.77.0.1/10.77.0.1 to UDP port: 7".to_owned()];
        let ports = Ports::of(&log);
        assert!(ports.number(&log[0]).ends_with("10.77.0.1/10.77.0.1 to UDP port: #1"));
        assert_eq!(ports.number("ROUTE 10.77.0.1 7 sudp"), "ROUTE 10.77.0.1 #1 sudp");
        assert_eq!(
            ports.number("command: \"/bin/echo CMD 10.7.7.1 7 x\""),
            "command: \"/bin/echo CMD 10.7.7.1 #1 x\""
        );
        assert_eq!(ports.number("CMD 10.77.0.1 9 sudp"), "CMD 10.77.0.1 9 sudp", "a port that nobody tried");
    }
}
