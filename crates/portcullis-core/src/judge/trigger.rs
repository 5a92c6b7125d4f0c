//! PortSentry's rule with a window: so many distinct ports, or so many probes, within a time, and it is a scan.

use std::time::Duration;

use crate::event::Kind;
use crate::judge::evidence::Receipt;
use crate::judge::{Judge, Meeting, Verdict};
use crate::net::{Endpoint, Prefix};
use crate::scan::incidents::Names;
use crate::scan::sources::{Memory, Secret, Sources};
use crate::scan::{Contact, Probe, Weight};
use crate::time::{Mono, Now};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// So many distinct ports of a transport, 1 to [`MOST`].
    Ports(u32),
    /// So many probes, 1 to [`MOST`]; a TCP retransmission is not another one.
    Probes(u32),
}

/// No rule can ask for more: it bounds the evidence that one source can make us keep.
pub const MOST: u32 = 64;

/// A firm probe weighs this much, an unanswered one of a one-way capture half, a doubtful one a quarter of it.
const FIRM: u32 = 4;

/// The configuration of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is counted, and how much is a scan.
    pub rule: Rule,
    /// Within which time.
    pub window: Duration,
    /// How many sources are remembered.
    pub sources: usize,
}

/// The judge.
pub struct Trigger {
    rule: Rule,
    window: Duration,
    suspects: Sources<Suspect>,
}

impl Trigger {
    /// A judge without memory.
    #[must_use]
    pub fn new(settings: Settings, secret: Secret) -> Trigger {
        Trigger {
            rule: settings.rule,
            window: settings.window,
            suspects: Sources::new(settings.sources, secret),
        }
    }
}

impl Judge for Trigger {
    fn weigh(&mut self, prefix: Prefix, probe: &Probe) -> Verdict {
        let now = probe.at.mono;
        let window = self.window;
        let (Rule::Ports(enough) | Rule::Probes(enough)) = self.rule;
        let suspect =
            self.suspects.remember(now, prefix, || Suspect { probes: Vec::with_capacity(1), window });
        suspect.probes.retain(|seen| now.since(seen.at.mono) <= window);
        let known = suspect.probes.iter().position(|seen| match self.rule {
            _ if is_same_answerer(seen, probe) => true,
            Rule::Ports(_) => is_same_port(seen, probe),
            Rule::Probes(_) => is_retransmission(seen, probe),
        });
        match known {
            // The port counts from its last probe on, so that a window never closes over an active scan.
            Some(place) => {
                let seen = suspect.probes.remove(place);
                // The firmest stands first in the order of weights.
                suspect.probes.push(Probe { weight: seen.weight.min(probe.weight), ..*probe });
            }
            None => {
                // Doubtful probes alone can be four times as many as it takes firm ones.
                if suspect.probes.len() >= (enough * FIRM) as usize {
                    suspect.probes.remove(0);
                }
                suspect.probes.push(*probe);
            }
        }
        suspect.verdict(enough)
    }

    /// Services do not count here.
    fn meet(&mut self, _: Now, _: Prefix, _: &Contact, _: Meeting) {}

    fn evidence(&self, prefix: &Prefix) -> Vec<Probe> {
        self.suspects.get(prefix).map(|suspect| suspect.probes.clone()).unwrap_or_default()
    }

    /// A count says all there is to say.
    fn receipt(&self, _: Now, _: &Prefix, _: Names<'_>) -> Option<Receipt> {
        None
    }

    fn withdraw(&mut self, now: Now, prefix: &Prefix, endpoint: Endpoint) -> Verdict {
        let Some(mut suspect) = self.suspects.forget(prefix) else { return Verdict::Open };
        suspect.probes.retain(|seen| seen.contact.target != endpoint || seen.contact.is_proved_by_flags());
        if suspect.probes.is_empty() {
            return Verdict::Open;
        }
        let (Rule::Ports(enough) | Rule::Probes(enough)) = self.rule;
        let verdict = suspect.verdict(enough);
        self.suspects.remember(now.mono, *prefix, || suspect);
        verdict
    }

    fn forget(&mut self, prefix: &Prefix) {
        self.suspects.forget(prefix);
    }

    fn memory(&self) -> (usize, u64) {
        (self.suspects.len(), self.suspects.evicted())
    }
}

struct Suspect {
    /// Sorted by time; within the window as of the last probe.
    probes: Vec<Probe>,
    window: Duration,
}

impl Suspect {
    fn verdict(&self, enough: u32) -> Verdict {
        let weight: u32 = self.probes.iter().map(weight).sum();
        if weight >= enough * FIRM { Verdict::Scanner } else { Verdict::Open }
    }
}

impl Memory for Suspect {
    fn suspicion(&self, now: Mono) -> u32 {
        self.probes.iter().filter(|seen| now.since(seen.at.mono) <= self.window).map(weight).sum()
    }

    fn last(&self) -> Mono {
        self.probes.last().map(|seen| seen.at.mono).unwrap_or_default()
    }
}

fn weight(probe: &Probe) -> u32 {
    match probe.weight {
        Weight::Firm => FIRM,
        Weight::Unanswered => 2,
        Weight::Doubtful | Weight::HalfOpen => 1,
    }
}

fn is_same_port(one: &Probe, other: &Probe) -> bool {
    let (one, other) = (&one.contact.target, &other.contact.target);
    one.port == other.port && one.protocol == other.protocol
}

/// A service that we ask often answers from its one port to a fresh port of ours each time, and where the asking
/// socket closes as soon as it has its answer, none is left when we look. However many come from there, they are one
/// doubt. The price: a scan of nothing but ephemeral UDP ports from one port of his is not seen.
fn is_same_answerer(one: &Probe, other: &Probe) -> bool {
    let are_doubtful = one.weight == Weight::Doubtful && other.weight == Weight::Doubtful;
    let (one, other) = (&one.contact, &other.contact);
    are_doubtful && (one.source, one.source_port) == (other.source, other.source_port)
}

/// A stack repeats a SYN from the same port (RFC 9293 §3.8.1); a datagram is never repeated by the stack.
fn is_retransmission(one: &Probe, other: &Probe) -> bool {
    let (one, other) = (&one.contact, &other.contact);
    one.kind == Kind::Syn
        && one.source == other.source
        && one.source_port == other.source_port
        && one.target == other.target
        && one.kind == other.kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Protocol;
    use crate::wire::TcpFlags;

    fn probe(at_ms: u64, source_port: u16, port: u16, kind: Kind) -> Probe {
        let target = Endpoint { protocol: Protocol::Tcp, address: "192.0.2.2".parse().unwrap(), port };
        let source = "198.51.100.1".parse().unwrap();
        Probe {
            contact: Contact {
                source,
                source_port,
                target,
                kind,
                flags: TcpFlags::default(),
                has_ip_options: false,
                is_cut_up: false,
                fingerprint: crate::scan::Fingerprint::default(),
                interface: 0,
            },
            at: Now::default().later(Duration::from_millis(at_ms)),
            weight: Weight::Firm,
            mark: None,
        }
    }

    /// Probes as (milliseconds, source port, port); returns after how many of them the verdict fell.
    fn verdict_after(rule: Rule, script: &[(u64, u16, u16)]) -> Option<usize> {
        let settings = Settings { rule, window: Duration::from_secs(60), sources: 64 };
        let mut judge = Trigger::new(settings, Secret([1; 16]));
        let prefix = Prefix::single("198.51.100.1".parse().unwrap());
        let falls = script.iter().position(|&(at, source_port, port)| {
            judge.weigh(prefix, &probe(at, source_port, port, Kind::Syn)) == Verdict::Scanner
        });
        falls.map(|index| index + 1)
    }

    #[test]
    fn five_distinct_ports_within_the_window_are_a_scan() {
        let five = [(0, 1, 22), (100, 2, 23), (200, 3, 25), (300, 4, 80), (400, 5, 110)];
        assert_eq!(verdict_after(Rule::Ports(5), &five), Some(5));
    }

    #[test]
    fn one_port_again_and_again_is_no_scan() {
        let stubborn: Vec<_> = (0..1000).map(|n| (n * 10, n as u16, 22)).collect();
        assert_eq!(verdict_after(Rule::Ports(5), &stubborn), None);
        assert_eq!(verdict_after(Rule::Probes(5), &stubborn), Some(5));
    }

    #[test]
    fn a_retransmission_is_not_another_probe() {
        let patient: Vec<_> = (0..10).map(|n| (n * 1000, 7, 22)).collect();
        assert_eq!(verdict_after(Rule::Probes(5), &patient), None);
    }

    #[test]
    fn a_service_that_answers_late_is_one_doubt_however_often_it_is_asked() {
        let doubtful = |number: u16, source_port| Probe {
            weight: Weight::Doubtful,
            ..probe(u64::from(number), source_port, 40_000 + number, Kind::Udp)
        };
        for rule in [Rule::Ports(5), Rule::Probes(5)] {
            let settings = Settings { rule, window: Duration::from_secs(60), sources: 64 };
            let prefix = Prefix::single("198.51.100.1".parse().unwrap());
            let mut judge = Trigger::new(settings, Secret([1; 16]));
            for number in 0..1000 {
                assert_eq!(judge.weigh(prefix, &doubtful(number, 1812)), Verdict::Open);
            }
            assert_eq!(judge.evidence(&prefix).len(), 1);
            let verdicts = (0..19).map(|number| judge.weigh(prefix, &doubtful(number, 2000 + number)));
            assert_eq!(verdicts.filter(|verdict| *verdict == Verdict::Scanner).count(), 1);
        }
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let slow: Vec<_> = (0..20).map(|n| (n * 15_001, n as u16, 100 + n as u16)).collect();
        assert_eq!(verdict_after(Rule::Ports(5), &slow), None);
        let fast: Vec<_> = (0..20).map(|n| (n * 15_000, n as u16, 100 + n as u16)).collect();
        assert_eq!(verdict_after(Rule::Ports(5), &fast), Some(5));
    }

    #[test]
    fn a_service_that_has_come_takes_its_evidence_away() {
        let settings = Settings { rule: Rule::Ports(2), window: Duration::from_secs(60), sources: 64 };
        let mut judge = Trigger::new(settings, Secret([1; 16]));
        let prefix = Prefix::single("198.51.100.1".parse().unwrap());
        assert_eq!(judge.weigh(prefix, &probe(0, 1, 22, Kind::Syn)), Verdict::Open);
        let second = probe(1, 2, 23, Kind::Syn);
        assert_eq!(judge.weigh(prefix, &second), Verdict::Scanner);
        assert_eq!(judge.withdraw(Now::default(), &prefix, second.contact.target), Verdict::Open);
        assert_eq!(judge.evidence(&prefix).len(), 1);
    }
}
