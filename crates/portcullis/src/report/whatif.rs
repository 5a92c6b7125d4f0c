//! What another configuration would have made of the scans that are kept.
//!
//! A record knows what a scan came to, not each of its packets. So there are three answers: banned, not banned, and not to
//! be told; and who stayed below the thresholds that held then is in no record at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_core::event::{Mode, Protection};
use serde::Serialize;

use crate::config::{By, Config, Trigger};
use crate::record::events::Node;

/// Scans that are compared, at most; of more the latest.
const SCANS: usize = 200_000;

/// What would be different.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WhatIf {
    /// Scans that were compared.
    pub scans: u64,
    /// Addresses that they came from.
    pub sources: u64,
    /// Scans that would have led to a ban or a hold, and did not.
    pub added: Vec<Difference>,
    /// Scans that led to a ban or a hold, and would not have.
    pub gone: Vec<Difference>,
    /// Scans of which the records do not tell it.
    pub unknown: Vec<Difference>,
    /// Bans that would have lasted longer.
    pub longer: u64,
    /// Bans that would have been over sooner.
    pub shorter: u64,
    /// Older scans that were too many to be compared.
    pub left_out: u64,
}

/// A scan about which something is different.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// When it was found.
    pub time: String,
    /// Its number.
    pub id: String,
    /// Who scanned.
    pub source: String,
    /// Why it would be different, or why that cannot be told.
    pub why: String,
}

/// What a configuration says of a scan.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    Banned,
    NotBanned(String),
    Unknown(&'static str),
}

/// The lines of one scan: as it was found, and as it was over.
#[derive(Default)]
struct Lines {
    found: Option<Node>,
    ended: Option<Node>,
}

impl Lines {
    /// The one that knows most.
    fn last(&self) -> Option<&Node> {
        self.ended.as_ref().or(self.found.as_ref())
    }
}

/// Scans and bans on their way to a comparison.
#[derive(Default)]
pub struct Recorded {
    scans: BTreeMap<u64, Lines>,
    /// Which time it was, by the number of the scan that led to the ban.
    times: HashMap<String, u64>,
    left_out: u64,
}

impl Recorded {
    /// Takes an event; those that are neither scan nor ban don't matter.
    pub fn take(&mut self, event: Node) {
        match event.text("event") {
            Some("scan") => {
                let Some(id) = event.text("id").and_then(crate::record::events::number_of) else { return };
                let lines = self.scans.entry(id).or_default();
                let is_ended = event.get("ended").is_some();
                *(if is_ended { &mut lines.ended } else { &mut lines.found }) = Some(event);
                if self.scans.len() > SCANS {
                    self.scans.pop_first();
                    self.left_out += 1;
                }
            }
            Some("ban") => {
                if let (Some(cause), Some(times)) = (event.text("cause"), event.number("times"))
                    && self.times.len() < SCANS
                {
                    self.times.insert(cause.to_owned(), times);
                }
            }
            _ => {}
        }
    }

    /// Compares what was done with what `config` would have done.
    #[must_use]
    pub fn compare(&self, config: &Config) -> WhatIf {
        let mut result = WhatIf { left_out: self.left_out, ..WhatIf::default() };
        let mut sources = BTreeSet::new();
        for lines in self.scans.values() {
            let Some(scan) = lines.last() else { continue };
            let Some(source) = scan.text("source").and_then(|source| source.parse::<IpAddr>().ok()) else {
                continue;
            };
            result.scans += 1;
            sources.insert(source);
            let first = lines.found.as_ref().unwrap_or(scan);
            let difference = |why: String| Difference {
                time: first.text("time").unwrap_or_default().to_owned(),
                id: scan.text("id").unwrap_or_default().to_owned(),
                source: source.to_string(),
                why,
            };
            let was_done = matches!(first.text("decision"), Some("block" | "hold"));
            let evidence = scan.text("why").unwrap_or_default();
            match (judge(config, lines, source), was_done) {
                (Verdict::Banned, false) => result.added.push(difference(evidence.to_owned())),
                (Verdict::NotBanned(why), true) => result.gone.push(difference(why)),
                (Verdict::Unknown(why), _) => result.unknown.push(difference(why.to_owned())),
                (Verdict::Banned, true) => self.compare_length(config, first, &mut result),
                (Verdict::NotBanned(_), false) => {}
            }
        }
        result.sources = sources.len() as u64;
        result
    }

    /// Holds have a length of their own and are not compared.
    fn compare_length(&self, config: &Config, scan: &Node, result: &mut WhatIf) {
        if scan.text("decision") != Some("block") {
            return;
        }
        let times = scan.text("id").and_then(|id| self.times.get(id)).copied().unwrap_or(1);
        let before = match (scan.number("ban_seconds"), scan.text("until")) {
            (Some(seconds), _) => Some(seconds),
            (None, Some("ever")) => None,
            _ => return,
        };
        let after = length(config, times).map(|length| length.as_secs());
        // For ever is longer than any number.
        let order = |seconds: Option<u64>| seconds.map_or(u64::MAX, |seconds| seconds);
        match order(after).cmp(&order(before)) {
            std::cmp::Ordering::Greater => result.longer += 1,
            std::cmp::Ordering::Less => result.shorter += 1,
            std::cmp::Ordering::Equal => {}
        }
    }
}

/// How long the ban number `times` of a source lasts; `None` is for ever.
fn length(config: &Config, times: u64) -> Option<Duration> {
    let first = config.respond.ban?;
    let exponent = i32::try_from(times.saturating_sub(1).min(1000)).unwrap_or(1000);
    let seconds = first.as_secs_f64() * config.respond.growth.powi(exponent);
    let most = config.respond.ban_max.max(first);
    Some(if seconds >= most.as_secs_f64() { most } else { Duration::from_secs_f64(seconds) })
}

fn judge(config: &Config, lines: &Lines, source: IpAddr) -> Verdict {
    let Some(scan) = lines.last() else { return Verdict::Unknown("nothing is known of it") };
    if let Some(prefix) = config.protect.allow.iter().find(|prefix| prefix.contains(source)) {
        return Verdict::NotBanned(format!("{source} is allowed: {prefix}"));
    }
    if scan.text("decision") == Some("protected") && stays_protected(config, scan) {
        return Verdict::NotBanned(format!("it is {}", scan.text("protection").unwrap_or("protected")));
    }
    match (config.respond.mode, config.judge.by) {
        (Mode::Observe, _) => Verdict::NotBanned("the mode is observe".to_owned()),
        (Mode::Enforce, By::Evidence) => is_weighed(config, scan),
        (Mode::Enforce, By::Trigger) => is_scan(config, lines, scan),
    }
}

/// Whether the evidence, as it was weighed then, is enough now.
fn is_weighed(config: &Config, scan: &Node) -> Verdict {
    let score = match scan.get("score") {
        Some(Node::Real(score)) => *score,
        Some(Node::Whole(score)) => *score as f64,
        _ => return Verdict::Unknown("it was counted then, and not weighed"),
    };
    let needed = match config.judge.score {
        0.0 => f64::from(config.judge.care.enough().0) / 1000.0,
        score => score,
    };
    match score >= needed {
        true => Verdict::Banned,
        false => Verdict::NotBanned(format!("its evidence came to {score:.1}, and {needed:.1} are needed")),
    }
}

fn stays_protected(config: &Config, scan: &Node) -> bool {
    let why = scan.text("protection").unwrap_or_default();
    let is = |protection: Protection| why == protection.words();
    if is(Protection::Allowed) {
        // Not on the new list, or it would not have come here.
        return !config.protect.names.is_empty();
    }
    (config.protect.gateways || !is(Protection::Gateway))
        && (config.protect.resolvers || !is(Protection::Resolver))
}

/// Whether what is known of it is enough.
fn is_scan(config: &Config, lines: &Lines, scan: &Node) -> Verdict {
    let counted = |line: &Node| counted(config, line);
    let (needed, is_by_ports) = match config.judge.trigger {
        Trigger::Ports(needed) => (u64::from(needed), true),
        Trigger::Probes(needed) => (u64::from(needed), false),
    };
    let ports = counted(scan);
    if ports.all == 0 {
        return Verdict::Unknown("it was no scan of ports");
    }
    let amount = |ports: Ports, line: &Node| match is_by_ports {
        true => ports.surely,
        // Of probes it is only known how many there were in all.
        false if ports.surely == ports.all => line.number("probes").unwrap_or(0),
        false => ports.surely,
    };
    let at_most = |ports: Ports, line: &Node| match is_by_ports {
        true => ports.perhaps,
        false => line.number("probes").unwrap_or(u64::MAX),
    };
    if ports.perhaps == 0 || at_most(ports, scan) < needed {
        if scan.number("targets").unwrap_or(1) > 1 && ports.perhaps > 0 {
            return Verdict::Unknown(
                "it was aimed at several of our addresses, and what counted there is not kept",
            );
        }
        let what = if is_by_ports { "ports" } else { "probes" };
        return Verdict::NotBanned(format!(
            "{} {what} of it would have counted",
            at_most(ports, scan).min(ports.perhaps)
        ));
    }
    let is_enough =
        |line: &Node| amount(counted(line), line) >= needed && span(line) <= Some(config.judge.window);
    match lines.found.iter().chain(&lines.ended).any(is_enough) {
        true => Verdict::Banned,
        false if amount(ports, scan) < needed => {
            Verdict::Unknown("which of its ports were TCP and which UDP is not kept")
        }
        false => {
            Verdict::Unknown("its packets lie further apart than the window, and when each came is not kept")
        }
    }
}

/// How many of a scan's ports are watched.
#[derive(Clone, Copy)]
struct Ports {
    all: u64,
    surely: u64,
    perhaps: u64,
}

fn counted(config: &Config, line: &Node) -> Ports {
    let protocols: Vec<&str> = line.texts("protocol").collect();
    let (tcp, udp) = (&config.watch.tcp, &config.watch.udp);
    let sets: Vec<_> = protocols.iter().map(|protocol| if *protocol == "udp" { udp } else { tcp }).collect();
    // Steps of doors count whatever is watched.
    let steps = line.list("steps").len() as u64;
    let mut ports = Ports { all: steps, surely: steps, perhaps: steps };
    for port in line.list("ports").iter().filter_map(Node::as_whole) {
        let port = u16::try_from(port).unwrap_or(0);
        ports.all += 1;
        ports.surely += u64::from(sets.iter().all(|set| set.contains(port)));
        ports.perhaps += u64::from(sets.iter().any(|set| set.contains(port)));
    }
    ports
}

/// From the first probe to the last.
fn span(line: &Node) -> Option<Duration> {
    let at = |key: &str| line.text(key)?.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    let milliseconds = u64::try_from(at("last")? - at("first")?).ok()?;
    Some(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use portcullis_core::net::PortSet;

    use super::*;
    use crate::record::events::parse;

    fn scan(id: u64, source: &str, seconds: u64, decision: &str, ports: &str, more: &str) -> Node {
        parse(&format!(
            r#"{{"time":"2026-11-21T02:00:00.000Z","event":"scan","id":"s-{id:x}","source":"{source}","protocol":["tcp"],"targets":1,"ports":[{ports}],"probes":9,"first":"2026-11-21T02:00:00.000Z","last":"2026-11-21T02:00:{seconds:02}.000Z","decision":"{decision}"{more},"why":"evidence"}}"#
        ))
        .unwrap()
    }

    fn enforcing() -> Config {
        let mut config = Config::default();
        config.respond.mode = Mode::Enforce;
        config.judge.by = By::Trigger;
        config
    }

    #[test]
    fn evidence_that_was_weighed_is_compared_with_what_is_needed_now() {
        let scans = [scan(1, "192.0.2.1", 3, "block", FIVE, r#","score":6.2"#)];
        let mut config = Config { judge: Config::default().judge, ..enforcing() };
        config.judge.score = 5.0;
        assert_eq!(counts(&compare(&config, &scans)), (0, 0, 0));
        config.judge.score = 7.0;
        assert_eq!(compare(&config, &scans).gone[0].why, "its evidence came to 6.2, and 7.0 are needed");
        let counted = [scan(1, "192.0.2.1", 3, "block", FIVE, "")];
        assert_eq!(counts(&compare(&config, &counted)), (0, 0, 1));
    }

    fn compare(config: &Config, scans: &[Node]) -> WhatIf {
        let mut recorded = Recorded::default();
        scans.iter().for_each(|scan| recorded.take(scan.clone()));
        recorded.compare(config)
    }

    /// Added, gone, unknown.
    fn counts(what: &WhatIf) -> (usize, usize, usize) {
        (what.added.len(), what.gone.len(), what.unknown.len())
    }

    const FIVE: &str = "21,22,23,25,80";

    #[test]
    fn who_was_only_observed_is_added_and_who_is_observed_now_is_gone() {
        let scans =
            [scan(1, "192.0.2.1", 3, "observe", FIVE, ""), scan(2, "192.0.2.2", 3, "block", FIVE, "")];
        assert_eq!(counts(&compare(&enforcing(), &scans)), (1, 0, 0));
        let what = compare(&Config::default(), &scans);
        assert_eq!(counts(&what), (0, 1, 0));
        crate::schema::check("whatif", &crate::record::json::text(&what));
        assert_eq!((what.scans, what.sources, what.gone[0].why.as_str()), (2, 2, "the mode is observe"));
    }

    #[test]
    fn thresholds_ports_and_friends_of_the_new_configuration_count() {
        let scans = [scan(1, "192.0.2.1", 3, "block", FIVE, "")];
        let mut config = enforcing();
        config.judge.trigger = Trigger::Ports(6);
        assert_eq!(compare(&config, &scans).gone[0].why, "5 ports of it would have counted");
        config.judge.trigger = Trigger::Probes(9);
        assert_eq!(counts(&compare(&config, &scans)), (0, 0, 0));
        config.judge.trigger = Trigger::Ports(5);
        config.watch.tcp = PortSet::from_ranges([(1, 24)]);
        assert_eq!(compare(&config, &scans).gone[0].why, "3 ports of it would have counted");
        let mut config = enforcing();
        config.protect.allow = vec!["192.0.2.0/24".parse().unwrap()];
        assert_eq!(compare(&config, &scans).gone[0].why, "192.0.2.1 is allowed: 192.0.2.0/24");
    }

    #[test]
    fn what_the_records_do_not_tell_is_said_and_not_guessed() {
        let mut config = enforcing();
        config.judge.window = Duration::from_secs(10);
        let slow = scan(1, "192.0.2.1", 30, "block", FIVE, "");
        assert_eq!(counts(&compare(&config, std::slice::from_ref(&slow))), (0, 0, 1));
        // As it was found it was quick enough; that it went on does not matter.
        let over = scan(2, "192.0.2.2", 50, "block", FIVE, r#","ended":true"#);
        let quick = scan(2, "192.0.2.2", 3, "block", FIVE, "");
        assert_eq!(counts(&compare(&config, &[quick, over])), (0, 0, 0));
        assert_eq!(counts(&compare(&config, &[scan(3, "192.0.2.3", 0, "block", "", "")])), (0, 0, 1));
    }

    #[test]
    fn who_is_protected_stays_so_unless_the_new_configuration_says_otherwise() {
        let gateway = format!(r#","protection":"{}""#, Protection::Gateway.words());
        let scans = [scan(1, "192.0.2.1", 3, "protected", FIVE, &gateway)];
        assert_eq!(counts(&compare(&enforcing(), &scans)), (0, 0, 0));
        let mut config = enforcing();
        config.protect.gateways = false;
        assert_eq!(counts(&compare(&config, &scans)), (1, 0, 0));
    }

    #[test]
    fn bans_that_would_last_longer_or_shorter_are_counted() {
        let scans = [scan(1, "192.0.2.1", 3, "block", FIVE, r#","ban_seconds":1200"#)];
        let ban = parse(r#"{"event":"ban","cause":"s-1","times":2}"#).unwrap();
        let lengths = |config: &Config| {
            let mut recorded = Recorded::default();
            [&scans[0], &ban].into_iter().for_each(|event| recorded.take(event.clone()));
            let what = recorded.compare(config);
            (what.longer, what.shorter)
        };
        assert_eq!(lengths(&enforcing()), (0, 0), "10 minutes, doubled");
        let mut config = enforcing();
        config.respond.growth = 1.0;
        assert_eq!(lengths(&config), (0, 1));
        config.respond.ban = None;
        assert_eq!(lengths(&config), (1, 0));
    }
}
