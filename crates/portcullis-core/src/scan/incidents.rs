//! What one scan adds up to, from its verdict until it goes quiet. Bounded; what makes room is reported as ended.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::door::{DoorId, Name};
use crate::event::{Decision, Id, Kind, Receipt, Scan, Shape};
use crate::net::{Prefix, Protocol};
use crate::scan::Probe;
use crate::time::{Mono, Now};

/// Distinct ports kept of one scan: more than nmap's usual 1,000.
pub const PORTS_KEPT: usize = 1024;

/// Own addresses kept of one scan.
const TARGETS_KEPT: usize = 256;

/// A scan whose probes of different things are so far apart, in the mean, is called slow: twice what nmap's `-T1` waits.
pub const SLOW: Duration = Duration::from_secs(30);

/// Whether `things` different ones were probed slowly within `span`. Two are too few to have a pace.
fn is_slow(span: Duration, things: usize) -> bool {
    let gaps = u32::try_from(things).unwrap_or(u32::MAX).saturating_sub(1);
    gaps >= 2 && span >= SLOW * gaps
}

/// What the door at a place is called.
pub type Names<'a> = &'a dyn Fn(DoorId) -> Option<Name>;

/// One source that was found scanning.
struct Incident {
    id: Id,
    prefix: Prefix,
    protocols: BTreeSet<Protocol>,
    kinds: BTreeSet<Kind>,
    targets: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
    steps: BTreeSet<(Name, u8)>,
    probes: u64,
    first: Now,
    last: Now,
    decision: Decision,
    receipt: Option<Arc<Receipt>>,
    ban: Option<Option<Duration>>,
    /// Probes when it was last reported.
    reported: u64,
    /// Where it stands in the order of scans.
    ordered: Mono,
}

/// What was found about a scanner and decided about him.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// What is done.
    pub decision: Decision,
    /// How long the ban is, or would be (`Some(None)` is for ever); `None` where there is none.
    pub ban: Option<Option<Duration>>,
    /// What it rests on.
    pub receipt: Option<Arc<Receipt>>,
}

/// All scans under way.
pub struct Incidents {
    open: BTreeMap<IpAddr, Incident>,
    capacity: usize,
    quiet: Option<Duration>,
    /// Each scan with the time of a probe of it, in order. It may be an earlier probe than the last: then it is put
    /// right when the scan comes up, so that a probe costs nothing here.
    order: BTreeSet<(Mono, IpAddr)>,
}

impl Incidents {
    /// Room for `capacity` scans; one ends after `quiet` without a probe, or only when it is asked for.
    #[must_use]
    pub fn new(capacity: usize, quiet: Option<Duration>) -> Incidents {
        Incidents { open: BTreeMap::new(), capacity, quiet, order: BTreeSet::new() }
    }

    /// What was decided about the scan of `source`, if one is under way.
    #[must_use]
    pub fn decision(&self, source: IpAddr) -> Option<Decision> {
        self.open.get(&source).map(|incident| incident.decision)
    }

    /// Adds a probe to the scan of its source, if there is one.
    pub fn add(&mut self, probe: &Probe, names: Names<'_>) {
        if let Some(incident) = self.open.get_mut(&probe.contact.source) {
            incident.add(probe, names);
        }
    }

    /// Ends the scan of `source`; says what to report. In a capture that is every scan, otherwise only one that went
    /// on after it was reported.
    pub fn end(&mut self, source: IpAddr) -> Option<Scan> {
        let incident = self.open.remove(&source)?;
        self.order.remove(&(incident.ordered, source));
        (incident.probes > incident.reported || self.quiet.is_none()).then(|| incident.scan(source, true))
    }

    /// Begins a scan with its evidence (all of one source) and the ruling; says what to report, the scan that
    /// had to make room first.
    pub fn begin(
        &mut self,
        id: Id,
        prefix: Prefix,
        evidence: &[Probe],
        ruling: &Ruling,
        names: Names<'_>,
    ) -> Vec<Scan> {
        let Some(first) = evidence.first() else { return Vec::new() };
        let source = first.contact.source;
        let mut reports = Vec::new();
        if self.open.len() >= self.capacity
            && !self.open.contains_key(&source)
            && let Some((_, oldest)) = self.oldest()
        {
            reports.extend(self.end(oldest));
        }
        let mut incident = Incident::new(id, prefix, first, evidence, ruling, names);
        incident.reported = incident.probes;
        reports.push(incident.scan(source, false));
        incident.ordered = incident.last.mono;
        let place = (incident.ordered, source);
        if let Some(before) = self.open.insert(source, incident) {
            self.order.remove(&(before.ordered, source));
        }
        self.order.insert(place);
        reports
    }

    /// Ends the scans that have gone quiet; those that went on after their report are reported once more.
    pub fn end_quiet(&mut self, now: Mono) -> Vec<Scan> {
        let Some(quiet) = self.quiet else { return Vec::new() };
        let mut over = Vec::new();
        while let Some((last, source)) = self.oldest()
            && now.since(last) >= quiet
        {
            self.order.remove(&(last, source));
            over.extend(self.open.get(&source).map(|incident| (incident.first.mono, source)));
        }
        self.end_these(over)
    }

    /// Ends all scans.
    pub fn end_all(&mut self) -> Vec<Scan> {
        let all = self.open.iter().map(|(source, incident)| (incident.first.mono, *source));
        self.end_these(all.collect())
    }

    /// When it is worth looking for scans that have gone quiet; none has before.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        let (at, _) = self.order.first()?;
        Some(*at + self.quiet?)
    }

    /// How many scans are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// In the order in which they began.
    fn end_these(&mut self, mut over: Vec<(Mono, IpAddr)>) -> Vec<Scan> {
        over.sort_unstable();
        over.into_iter().filter_map(|(_, source)| self.end(source)).collect()
    }

    /// The scan whose last probe is the longest ago, and where it stands in the order.
    fn oldest(&mut self) -> Option<(Mono, IpAddr)> {
        loop {
            let place = *self.order.first()?;
            let incident = self.open.get_mut(&place.1)?;
            if incident.last.mono <= place.0 {
                return Some(place);
            }
            self.order.remove(&place);
            incident.ordered = incident.last.mono;
            self.order.insert((incident.ordered, place.1));
        }
    }
}

/// What a scan adds up to that is not (yet) under way here; `None` without evidence.
#[must_use]
pub fn sum_up(id: Id, prefix: Prefix, evidence: &[Probe], ruling: &Ruling, names: Names<'_>) -> Option<Scan> {
    let first = evidence.first()?;
    let incident = Incident::new(id, prefix, first, evidence, ruling, names);
    Some(incident.scan(first.contact.source, false))
}

impl Incident {
    fn new(
        id: Id,
        prefix: Prefix,
        first: &Probe,
        evidence: &[Probe],
        ruling: &Ruling,
        names: Names<'_>,
    ) -> Incident {
        let mut incident = Incident {
            id,
            prefix,
            protocols: BTreeSet::new(),
            kinds: BTreeSet::new(),
            targets: BTreeSet::new(),
            ports: BTreeSet::new(),
            steps: BTreeSet::new(),
            probes: 0,
            first: first.at,
            last: first.at,
            decision: ruling.decision,
            receipt: ruling.receipt.clone(),
            ban: ruling.ban,
            reported: 0,
            ordered: first.at.mono,
        };
        for probe in evidence {
            incident.add(probe, names);
        }
        incident
    }

    fn add(&mut self, probe: &Probe, names: Names<'_>) {
        let contact = &probe.contact;
        self.kinds.insert(contact.kind);
        if self.targets.len() < TARGETS_KEPT {
            self.targets.insert(contact.target.address);
        }
        if contact.is_cut_up {
            self.kinds.insert(Kind::Fragments);
        }
        if !contact.is_out_of_sight() {
            self.protocols.insert(contact.target.protocol);
        }
        if contact.has_port() {
            match probe.mark.map(|mark| (names(mark.door), mark.step)) {
                Some((Some(door), step)) if self.steps.len() < PORTS_KEPT => {
                    self.steps.insert((door, step));
                }
                // Of a door that is gone, or one step too many: its port is nobody's business all the same.
                Some(_) => {}
                None if self.ports.len() < PORTS_KEPT => {
                    self.ports.insert(contact.target.port);
                }
                None => {}
            }
        }
        self.probes += 1;
        self.last = probe.at;
    }

    fn scan(&self, source: IpAddr, is_ended: bool) -> Scan {
        let things = (self.ports.len() + self.steps.len()).max(self.targets.len());
        let shape = match (self.ports.len(), self.targets.len()) {
            _ if is_slow(self.last.mono.since(self.first.mono), things) => Shape::Slow,
            (_, 1) => Shape::Vertical,
            (0 | 1, _) => Shape::Horizontal,
            _ => Shape::Block,
        };
        Scan {
            id: self.id,
            source,
            prefix: self.prefix,
            protocols: self.protocols.iter().copied().collect(),
            kinds: self.kinds.iter().copied().collect(),
            shape,
            together: None,
            targets: self.targets.len(),
            ports: self.ports.iter().copied().collect(),
            steps: self.steps.iter().cloned().collect(),
            probes: self.probes,
            first: self.first.wall,
            last: self.last.wall,
            decision: self.decision,
            receipt: self.receipt.clone(),
            ban: self.ban,
            is_ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Endpoint;
    use crate::scan::{Contact, Fingerprint, Weight};
    use crate::wire::TcpFlags;

    fn probe(source: &str, at: u64) -> Probe {
        let target = Endpoint { protocol: Protocol::Tcp, address: "192.0.2.2".parse().unwrap(), port: 23 };
        let source = source.parse().unwrap();
        Probe {
            contact: Contact {
                source,
                source_port: 9,
                target,
                kind: Kind::Syn,
                flags: TcpFlags::default(),
                has_ip_options: false,
                is_cut_up: false,
                fingerprint: Fingerprint::default(),
                interface: 0,
            },
            at: Now::default().later(Duration::from_secs(at)),
            weight: Weight::Firm,
            mark: None,
        }
    }

    fn begin(incidents: &mut Incidents, source: &str, at: u64) -> Vec<IpAddr> {
        let probe = probe(source, at);
        let prefix = Prefix::single(probe.contact.source);
        let ruling = Ruling { decision: Decision::Observe, ban: None, receipt: None };
        let told = incidents.begin(Id(1), prefix, &[probe], &ruling, &|_| None);
        told.iter().filter(|scan| scan.is_ended).map(|scan| scan.source).collect()
    }

    #[test]
    fn the_scan_that_rested_longest_makes_room_and_the_others_end_in_their_time() {
        let [early, middle, late] = ["198.51.100.1", "198.51.100.2", "198.51.100.3"];
        let mut incidents = Incidents::new(2, Some(Duration::from_secs(60)));
        begin(&mut incidents, early, 0);
        begin(&mut incidents, middle, 10);
        incidents.add(&probe(middle, 20), &|_| None);
        incidents.add(&probe(early, 30), &|_| None);
        let expected: Vec<IpAddr> = vec![middle.parse().unwrap()];
        assert_eq!(begin(&mut incidents, late, 40), expected);
        let second = |second| Mono::default() + Duration::from_secs(second);
        assert!(incidents.end_quiet(second(89)).is_empty() && incidents.len() == 2);
        let ended: Vec<IpAddr> = incidents.end_quiet(second(90)).iter().map(|scan| scan.source).collect();
        assert_eq!((ended, incidents.len()), (vec![early.parse().unwrap()], 1));
        assert_eq!(incidents.next_timeout(), Some(second(100)));
        // It told all that it had when it began.
        assert!(incidents.end_quiet(second(100)).is_empty() && incidents.is_empty());
        assert_eq!(incidents.next_timeout(), None);
    }
}
