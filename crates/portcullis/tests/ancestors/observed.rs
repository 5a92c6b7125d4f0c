//! What a run told and left behind, read from its log lines and files in the words of either dialect, so that two
//! runs can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A kind of log line.
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

/// Whom a line of a log or a file is about; of two the first.
pub fn source(line: &str) -> Option<IpAddr> {
    line.split([' ', '/', '[', ']', '"']).find_map(|word| word.parse().ok())
}

/// The lines by whom they are about, each source's in their order. That order is a promise: ours runs the responses
/// to several sources at the same time, but what concerns one of them happens and is told in turn.
pub fn by_source(lines: &[String]) -> BTreeMap<Option<IpAddr>, Vec<String>> {
    let mut sorted: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for line in lines {
        sorted.entry(source(line)).or_default().push(line.clone());
    }
    sorted
}

/// The order in which scanners try ports is up to chance. In these lines each port stands as the number of its
/// first appearance, so that two orders compare equal when they tell the same story.
pub struct Ports {
    order: Vec<u16>,
}

impl Ports {
    /// Of log lines, in their order.
    pub fn of(lines: &[String]) -> Self {
        let mut order = Vec::new();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            for port in port_places(&words).filter_map(|place| digits(words[place]).parse().ok()) {
                if !order.contains(&port) {
                    order.push(port);
                }
            }
        }
        Self { order }
    }

    /// The line with `port: 111` as `port: #1`, and the same in the test's own responses.
    pub fn number(&self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let mut numbered: Vec<String> = words.iter().copied().map(str::to_owned).collect();
        for place in port_places(&words) {
            numbered[place] = self.number_word(words[place]);
        }
        numbered.join(" ")
    }

    fn number_word(&self, word: &str) -> String {
        let digits = digits(word);
        let known = digits.parse().ok().and_then(|port: u16| self.order.iter().position(|one| *one == port));
        match known {
            Some(place) => word.replacen(digits, &format!("#{}", place + 1), 1),
            None => word.to_owned(),
        }
    }
}

/// Which words of a line are ports: behind `port:`, and the second behind the test's own `ROUTE` and `CMD`.
fn port_places<'a>(words: &'a [&'a str]) -> impl Iterator<Item = usize> + 'a {
    (1..words.len()).filter(|place| {
        let in_response = *place > 1 && matches!(words[place - 2].trim_matches('"'), "ROUTE" | "CMD");
        words[place - 1] == "port:" || in_response
    })
}

fn digits(word: &str) -> &str {
    word.trim_matches(|letter: char| !letter.is_ascii_digit())
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
    /// What the responses wrote, by source; ports as in [`Ports`].
    pub responses: BTreeMap<Option<IpAddr>, Vec<String>>,
    /// The lines of hosts.deny, by source.
    pub hosts_deny: BTreeMap<Option<IpAddr>, Vec<String>>,
    /// The log lines about each source, ports as in [`Ports`], less those of [`Observed::aside`].
    pub lines: BTreeMap<Option<IpAddr>, Vec<String>>,
    /// Lines about services, and those of no known kind.
    pub aside: BTreeMap<Kind, Vec<String>>,
}

impl Observed {
    /// Of the log, of what the responses wrote and of hosts.deny.
    pub fn of(log: &[String], responses: &[String], hosts_deny: &[String]) -> Self {
        let mut observed = Self { hosts_deny: by_source(hosts_deny), ..Self::default() };
        for alert in log.iter().filter_map(|line| alert(line)) {
            observed.alerts += 1;
            observed.ports.entry(alert.kind).or_default().insert(alert.port);
        }
        let mut told = Vec::new();
        for line in log {
            match kind(line) {
                kind @ (Kind::Service | Kind::Other) => {
                    observed.aside.entry(kind).or_default().push(line.clone())
                }
                Kind::Administration => {}
                _ => told.push(line.clone()),
            }
        }
        let responses = by_source(responses);
        observed.blocked_addresses = responses.keys().flatten().map(IpAddr::to_string).collect();
        observed.lines = by_source(&told);
        for (source, lines) in &mut observed.lines {
            let ports = Ports::of(lines);
            let number = |lines: &[String]| lines.iter().map(|line| ports.number(line)).collect();
            *lines = number(lines);
            if let Some(of_source) = responses.get(source) {
                observed.responses.insert(*source, number(of_source));
            }
        }
        // Whose alerts are not among the lines that were kept has scanned like the others.
        let ports = Ports::of(log);
        for (source, lines) in responses {
            let number = || lines.iter().map(|line| ports.number(line)).collect();
            observed.responses.entry(source).or_insert_with(number);
        }
        observed
    }

    /// How many lines of a kind there are about sources.
    pub fn count(&self, wanted: Kind) -> usize {
        self.lines.values().flatten().filter(|line| kind(line) == wanted).count()
    }

    /// Lines that stand aside.
    pub fn aside(&self, kind: Kind) -> &[String] {
        self.aside.get(&kind).map_or(&[], Vec::as_slice)
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
    fn a_line_is_about_the_first_address_in_it() {
        let about = |line: &str| source(line).map(|source| source.to_string());
        assert_eq!(about("Host: 10.77.0.1/10.77.0.1 Port: 7 UDP Blocked").as_deref(), Some("10.77.0.1"));
        assert_eq!(about("ALL: [fd77::1] : DENY").as_deref(), Some("fd77::1"));
        assert_eq!(about("<29>attackalert: Ignoring TCP response per configuration file setting."), None);
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
