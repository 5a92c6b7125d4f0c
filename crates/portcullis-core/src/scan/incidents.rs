//! What one scan adds up to, from its verdict until it goes quiet. Bounded; what makes room is reported as ended.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::event::{Decision, Id, Kind, Scan, Shape};
use crate::net::{Prefix, Protocol};
use crate::scan::Probe;
use crate::time::{Mono, Now};

/// Distinct ports kept of one scan: more than nmap's usual 1,000.
pub const PORTS_KEPT: usize = 1024;

/// Own addresses kept of one scan.
const TARGETS_KEPT: usize = 256;

/// One source that was found scanning.
struct Incident {
    id: Id,
    prefix: Prefix,
    protocols: BTreeSet<Protocol>,
    kinds: BTreeSet<Kind>,
    targets: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
    probes: u64,
    first: Now,
    last: Now,
    decision: Decision,
    ban: Option<Option<Duration>>,
    /// Probes when it was last reported.
    reported: u64,
}

/// All scans under way.
pub struct Incidents {
    open: BTreeMap<IpAddr, Incident>,
    capacity: usize,
    quiet: Option<Duration>,
    /// No scan goes quiet earlier; the true time may be later, since probes only put it off.
    look_at: Option<Mono>,
}

impl Incidents {
    /// Room for `capacity` scans; one ends after `quiet` without a probe, or only when it is asked for.
    #[must_use]
    pub fn new(capacity: usize, quiet: Option<Duration>) -> Incidents {
        Incidents { open: BTreeMap::new(), capacity, quiet, look_at: None }
    }

    /// What was decided about the scan of `source`, if one is under way.
    #[must_use]
    pub fn decision(&self, source: IpAddr) -> Option<Decision> {
        self.open.get(&source).map(|incident| incident.decision)
    }

    /// Adds a probe to the scan of its source, if there is one.
    pub fn add(&mut self, probe: &Probe) {
        if let Some(incident) = self.open.get_mut(&probe.contact.source) {
            incident.add(probe);
        }
    }

    /// Ends the scan of `source`; says what to report. In a capture that is every scan, otherwise only one that went
    /// on after it was reported.
    pub fn end(&mut self, source: IpAddr) -> Option<Scan> {
        let incident = self.open.remove(&source)?;
        (incident.probes > incident.reported || self.quiet.is_none()).then(|| incident.scan(source, true))
    }

    /// Begins a scan with its evidence (all of one source) and what was decided; says what to report, the scan that
    /// had to make room first.
    pub fn begin(
        &mut self,
        id: Id,
        prefix: Prefix,
        evidence: &[Probe],
        decision: Decision,
        ban: Option<Option<Duration>>,
    ) -> Vec<Scan> {
        let Some(first) = evidence.first() else { return Vec::new() };
        let source = first.contact.source;
        let mut reports = Vec::new();
        if self.open.len() >= self.capacity && !self.open.contains_key(&source) {
            let oldest = self.open.iter().min_by_key(|(source, incident)| (incident.last.mono, **source));
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                reports.extend(self.end(oldest));
            }
        }
        let mut incident = Incident {
            id,
            prefix,
            protocols: BTreeSet::new(),
            kinds: BTreeSet::new(),
            targets: BTreeSet::new(),
            ports: BTreeSet::new(),
            probes: 0,
            first: first.at,
            last: first.at,
            decision,
            ban,
            reported: 0,
        };
        for probe in evidence {
            incident.add(probe);
        }
        incident.reported = incident.probes;
        reports.push(incident.scan(source, false));
        if let Some(quiet) = self.quiet {
            let ends = incident.last.mono + quiet;
            self.look_at = Some(self.look_at.map_or(ends, |at| at.min(ends)));
        }
        self.open.insert(source, incident);
        reports
    }

    /// Ends the scans that have gone quiet; those that went on after their report are reported once more.
    pub fn end_quiet(&mut self, now: Mono) -> Vec<Scan> {
        let Some(quiet) = self.quiet else { return Vec::new() };
        if self.look_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let ended = self.end_where(|incident| now.since(incident.last.mono) >= quiet);
        self.look_at = self.open.values().map(|incident| incident.last.mono + quiet).min();
        ended
    }

    /// Ends all scans.
    pub fn end_all(&mut self) -> Vec<Scan> {
        self.end_where(|_| true)
    }

    /// When it is worth looking for scans that have gone quiet; none has before.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        if self.open.is_empty() { None } else { self.look_at }
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

    fn end_where(&mut self, is_over: impl Fn(&Incident) -> bool) -> Vec<Scan> {
        let mut over: Vec<(Now, IpAddr)> = self
            .open
            .iter()
            .filter(|(_, incident)| is_over(incident))
            .map(|(source, incident)| (incident.first, *source))
            .collect();
        over.sort_unstable_by_key(|(first, source)| (first.mono, *source));
        over.into_iter().filter_map(|(_, source)| self.end(source)).collect()
    }
}

impl Incident {
    fn add(&mut self, probe: &Probe) {
        let contact = &probe.contact;
        self.protocols.insert(contact.target.protocol);
        self.kinds.insert(contact.kind);
        if self.targets.len() < TARGETS_KEPT {
            self.targets.insert(contact.target.address);
        }
        if self.ports.len() < PORTS_KEPT {
            self.ports.insert(contact.target.port);
        }
        self.probes += 1;
        self.last = probe.at;
    }

    fn scan(&self, source: IpAddr, is_ended: bool) -> Scan {
        let shape = match (self.ports.len(), self.targets.len()) {
            (_, 1) => Shape::Vertical,
            (1, _) => Shape::Horizontal,
            _ => Shape::Block,
        };
        Scan {
            id: self.id,
            source,
            prefix: self.prefix,
            protocols: self.protocols.iter().copied().collect(),
            kinds: self.kinds.iter().copied().collect(),
            shape,
            targets: self.targets.len(),
            ports: self.ports.iter().copied().collect(),
            probes: self.probes,
            first: self.first.wall,
            last: self.last.wall,
            decision: self.decision,
            ban: self.ban,
            is_ended,
        }
    }
}
