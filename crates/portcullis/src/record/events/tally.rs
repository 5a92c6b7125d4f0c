//! Summing up the events of a while: what `report` tells. Bounded, however many strangers there were.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use portcullis_core::net::Prefix;
use portcullis_core::time::Wall;
use serde::{Deserialize, Serialize};

use super::kind_names;
use super::query::{Event, EventReader, Filter};
use crate::record::json;
use crate::record::store::StoreError;

/// Sources and networks that are told apart; those that come later are counted together.
const SOURCES: usize = 65_536;

/// So many of each list are told.
const TOLD: usize = 20;

/// So many ports are told.
const PORTS_TOLD: usize = 30;

/// Faults and protected sources that are told.
const REMARKS: usize = 10;

/// Bars of the time line, at most.
const BARS: i64 = 60;

/// The sum of a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// From this moment, RFC 3339.
    pub since: String,
    /// To this one.
    pub until: String,
    /// The first event of this while that is still kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_kept: Option<String>,
    /// Events in all.
    pub events: u64,
    /// How many of each name.
    pub by_event: BTreeMap<String, u64>,
    /// Scans that were found, each counted once.
    pub scans: u64,
    /// Events that were told one by one (`probe`).
    pub probes: u64,
    /// Addresses that scanned or probed.
    pub sources: u64,
    /// What was decided of them: `block`, `observe`, …
    pub decisions: BTreeMap<String, u64>,
    /// Bans; one that grows or is put back counts again.
    pub bans: u64,
    /// The time line, without gaps.
    pub timeline: Vec<Bar>,
    /// Seconds of one bar.
    pub bar_seconds: u64,
    /// Who scanned most, by scans.
    pub top_sources: Vec<Count>,
    /// Their networks, /24 and /48.
    pub top_networks: Vec<Count>,
    /// Ports that most scans were after: `22`.
    pub top_ports: Vec<Count>,
    /// Kinds of probes, by scans.
    pub kinds: Vec<Count>,
    /// Doors: what happened there.
    pub doors: Vec<DoorCount>,
    /// Protected addresses whose packets looked like a scan, and why they are protected: worth a look.
    pub protected: Vec<Remark>,
    /// The latest faults.
    pub faults: Vec<Remark>,
    /// Events that could not be understood.
    pub damaged: u64,
    /// Sources that were one too many to be told apart.
    pub not_told_apart: u64,
}

/// One bar of the time line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// When it begins.
    pub time: String,
    /// Scans and single probes.
    pub scans: u64,
    /// Bans.
    pub bans: u64,
}

/// How often something was there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// What.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// What happened at a door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DoorCount {
    /// Its name.
    pub door: String,
    /// How often it opened.
    pub opened: u64,
    /// How many knocks came to nothing.
    pub failed: u64,
}

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remark {
    /// When.
    pub time: String,
    /// What, in words.
    pub what: String,
}

impl EventReader {
    /// Sums up what happened between two moments.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn report(&self, since: Wall, until: Wall) -> Result<Report, StoreError> {
        let mut tally = Tally::new(since, until);
        let filter = Filter { since: Some(tally.since), until: Some(tally.until), ..Filter::default() };
        let damaged = self.walk(&filter, |event| tally.take(event))?;
        Ok(Report { damaged, ..tally.finish() })
    }
}

/// A sum on its way.
struct Tally {
    since: i64,
    until: i64,
    bar: i64,
    first: Option<i64>,
    by_event: HashMap<&'static str, u64>,
    decisions: HashMap<&'static str, u64>,
    bars: Vec<(u64, u64)>,
    sources: HashMap<Prefix, u64>,
    networks: HashMap<Prefix, u64>,
    ports: Vec<u64>,
    kinds: Vec<u64>,
    doors: BTreeMap<String, (u64, u64)>,
    /// Scans that were found and are not over: their ports and kinds so far.
    under_way: HashMap<u64, (Vec<u16>, u64)>,
    not_told_apart: u64,
    protected: BTreeMap<String, Remark>,
    faults: Vec<Remark>,
    sum: Report,
}

fn milliseconds(wall: Wall) -> i64 {
    i64::try_from(wall.0.as_millis()).unwrap_or(i64::MAX)
}

fn moment(milliseconds: i64) -> String {
    json::time(Wall(Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))))
}

/// The shortest bar of a length that people think in, so that there are not too many.
fn bar(span: i64) -> i64 {
    const MINUTE: i64 = 60_000;
    let lengths = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2 * 1440, 7 * 1440, 30 * 1440];
    let fitting = lengths.into_iter().map(|minutes| minutes * MINUTE).find(|length| span / length < BARS);
    fitting.unwrap_or(span / BARS + 1)
}

impl Tally {
    fn new(since: Wall, until: Wall) -> Tally {
        let (since, until) = (milliseconds(since), milliseconds(until).max(milliseconds(since)));
        let bar = bar(until - since);
        // Bars begin at round moments.
        let bars = until / bar - since / bar + 1;
        Tally {
            since,
            until,
            bar,
            first: None,
            by_event: HashMap::new(),
            decisions: HashMap::new(),
            bars: vec![(0, 0); usize::try_from(bars).unwrap_or(1)],
            sources: HashMap::new(),
            networks: HashMap::new(),
            ports: vec![0; 1 << 16],
            kinds: vec![0; kind_names().len()],
            doors: BTreeMap::new(),
            under_way: HashMap::new(),
            not_told_apart: 0,
            protected: BTreeMap::new(),
            faults: Vec::new(),
            sum: Report::default(),
        }
    }

    fn take(&mut self, event: &Event<'_>) {
        self.sum.events += 1;
        self.first = Some(self.first.map_or(event.time(), |first| first.min(event.time())));
        *self.by_event.entry(event.name()).or_default() += 1;
        let place = usize::try_from(event.time() / self.bar - self.since / self.bar).unwrap_or(0);
        match event.name() {
            name @ ("scan" | "probe") => {
                let (decision, is_ended) = event.verdict();
                self.count_ports(event, is_ended);
                // The last word on a scan that was told before; what it adds are ports and kinds.
                if is_ended {
                    return;
                }
                let of_kind = if name == "scan" { &mut self.sum.scans } else { &mut self.sum.probes };
                *of_kind += 1;
                self.bars[place].0 += 1;
                if !decision.is_empty() {
                    *self.decisions.entry(decision).or_default() += 1;
                }
                if let Some(source) = event.whose() {
                    self.count_source(source);
                    if decision == "protected" {
                        self.remark_protected(event, source);
                    }
                }
            }
            "ban" => {
                self.sum.bans += 1;
                self.bars[place].1 += 1;
            }
            "open" | "knock" => self.count_door(event),
            "fault" => {
                if let Some(line) = event.line() {
                    let what = line.text("why").unwrap_or_default().to_owned();
                    if self.faults.len() >= REMARKS {
                        self.faults.remove(0);
                    }
                    self.faults.push(Remark { time: moment(event.time()), what });
                }
            }
            _ => {}
        }
    }

    /// A scan is told when it is found, and again when it is over, then with all of its ports: each is counted once, by
    /// its last line in this while.
    fn count_ports(&mut self, event: &Event<'_>, is_ended: bool) {
        let Some(id) = event.id() else { return self.add_ports(event.ports(), event.kinds()) };
        if is_ended {
            self.under_way.remove(&id);
            self.add_ports(event.ports(), event.kinds());
        } else if self.under_way.len() < SOURCES {
            self.under_way.insert(id, (event.ports().to_vec(), event.kinds()));
        } else {
            // Counted again at its end: better twice than never.
            self.add_ports(event.ports(), event.kinds());
        }
    }

    fn add_ports(&mut self, ports: &[u16], kinds: u64) {
        for port in ports {
            self.ports[usize::from(*port)] += 1;
        }
        for (place, count) in self.kinds.iter_mut().enumerate() {
            *count += (kinds >> place) & 1;
        }
    }

    fn count_source(&mut self, source: Prefix) {
        let length = if source.address().is_ipv4() { 24 } else { 48 };
        let network = Prefix::containing(source.address(), length.min(source.length()));
        for (counts, key) in [(&mut self.sources, source), (&mut self.networks, network)] {
            let is_full = counts.len() >= SOURCES;
            match counts.get_mut(&key) {
                Some(count) => *count += 1,
                None if is_full => self.not_told_apart += 1,
                None => {
                    counts.insert(key, 1);
                }
            }
        }
    }

    fn remark_protected(&mut self, event: &Event<'_>, source: Prefix) {
        let name = source.address().to_string();
        if self.protected.len() >= REMARKS && !self.protected.contains_key(&name) {
            return;
        }
        let Some(line) = event.line() else { return };
        let why = line.text("protection").unwrap_or("protected");
        let what = format!("{name} is {why}, and was not banned: {}", line.text("why").unwrap_or("a probe"));
        self.protected.insert(name, Remark { time: moment(event.time()), what });
    }

    fn count_door(&mut self, event: &Event<'_>) {
        // Doors are configured; a name that strangers could choose does not get here.
        let Some(line) = event.line() else { return };
        let Some(door) = line.text("door") else { return };
        let (opened, failed) = self.doors.entry(door.to_owned()).or_default();
        match event.name() {
            "open" => *opened += 1,
            _ if line.text("why").is_some() => *failed += 1,
            _ => {}
        }
    }

    fn finish(mut self) -> Report {
        for (ports, kinds) in std::mem::take(&mut self.under_way).into_values() {
            self.add_ports(&ports, kinds);
        }
        let by_name = |counts: HashMap<&str, u64>| {
            counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
        };
        let bars = self.bars.iter().enumerate().map(|(place, (scans, bans))| Bar {
            time: moment((self.since / self.bar + place as i64) * self.bar),
            scans: *scans,
            bans: *bans,
        });
        let ports = self.ports.iter().enumerate().map(|(port, count)| (port, *count));
        let ports = top(ports, PORTS_TOLD).map(|(port, count)| Count { name: port.to_string(), count });
        let kinds = kind_names().iter().zip(self.kinds.iter().copied());
        let kinds = top(kinds, usize::MAX).map(|(kind, count)| Count { name: (*kind).to_owned(), count });
        let source = |prefix: Prefix| match prefix.is_single() {
            true => prefix.address().to_string(),
            false => prefix.to_string(),
        };
        let doors = self.doors.into_iter();
        Report {
            since: moment(self.since),
            until: moment(self.until),
            first_kept: self.first.map(moment),
            by_event: by_name(self.by_event),
            sources: self.sources.len() as u64,
            decisions: by_name(self.decisions),
            timeline: bars.collect(),
            bar_seconds: (self.bar / 1000).unsigned_abs(),
            top_ports: ports.collect(),
            kinds: kinds.collect(),
            top_sources: top(self.sources.into_iter(), TOLD)
                .map(|(prefix, count)| Count { name: source(prefix), count })
                .collect(),
            top_networks: top(self.networks.into_iter(), TOLD)
                .map(|(prefix, count)| Count { name: prefix.to_string(), count })
                .collect(),
            doors: doors.map(|(door, (opened, failed))| DoorCount { door, opened, failed }).collect(),
            protected: self.protected.into_values().collect(),
            faults: self.faults,
            not_told_apart: self.not_told_apart,
            ..self.sum
        }
    }
}

/// The largest, and of equals the first in order; zeros never.
fn top<T: Ord>(counts: impl Iterator<Item = (T, u64)>, at_most: usize) -> impl Iterator<Item = (T, u64)> {
    let mut counts: Vec<(T, u64)> = counts.filter(|(_, count)| *count > 0).collect();
    counts.sort_by(|(one, low), (other, high)| high.cmp(low).then_with(|| one.cmp(other)));
    counts.into_iter().take(at_most)
}
