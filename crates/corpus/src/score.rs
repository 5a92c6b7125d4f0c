//! What was found, who was blamed, and the table of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use crate::{Class, Scenario, rules};

/// What a judge said of one source.
#[derive(Clone, Debug)]
pub struct Accusation {
    /// Who.
    pub source: IpAddr,
    /// The field `kinds`.
    pub kinds: Vec<String>,
    /// The field `shape`.
    pub shape: String,
    /// The time of the packet that settled it.
    pub settled: Duration,
}

/// How a judge did with one capture.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whether the scan was found; false where there is none.
    pub is_found: bool,
    /// Whether its kind was right.
    pub is_kind_right: bool,
    /// Whether its shape was right.
    pub is_shape_right: bool,
    /// Who was accused and had done nothing.
    pub blamed: Vec<IpAddr>,
    /// How many places the scanner had tried when the verdict fell.
    pub probes: Option<usize>,
}

impl Outcome {
    /// What these accusations are worth.
    #[must_use]
    pub fn of(scenario: &Scenario, accusations: &[Accusation]) -> Outcome {
        let sources: Vec<IpAddr> = accusations.iter().map(|accusation| accusation.source).collect();
        let mut outcome = Outcome::of_sources(scenario, &sources);
        if !outcome.is_found {
            return outcome;
        }
        outcome.is_kind_right = true;
        outcome.is_shape_right = true;
        for incident in &scenario.incidents {
            for accusation in accusations.iter().filter(|one| incident.sources.contains(&one.source)) {
                let kinds: Vec<&str> = accusation.kinds.iter().map(String::as_str).collect();
                let is_named = kinds.iter().any(|kind| incident.kinds.contains(kind));
                let has_wrong = kinds
                    .iter()
                    .any(|kind| !incident.kinds.contains(kind) && !incident.besides.contains(kind));
                outcome.is_kind_right &= is_named && !has_wrong;
                outcome.is_shape_right &= incident.shapes.contains(&accusation.shape.as_str());
            }
        }
        let first = &scenario.incidents[0].sources[0];
        outcome.probes = accusations
            .iter()
            .find(|accusation| accusation.source == *first)
            .map(|accusation| rules::places_tried(scenario, *first, accusation.settled));
        outcome
    }

    /// The same of a judge that names nothing but sources.
    #[must_use]
    pub fn of_sources(scenario: &Scenario, accused: &[IpAddr]) -> Outcome {
        let is_found = !scenario.incidents.is_empty()
            && scenario.incidents.iter().all(|incident| {
                incident.sources.iter().filter(|source| accused.contains(source)).count() >= incident.enough
            });
        let is_guilty =
            |source: &IpAddr| scenario.incidents.iter().any(|incident| incident.sources.contains(source));
        let blamed = accused.iter().filter(|source| !is_guilty(source)).copied().collect();
        Outcome { is_found, blamed, ..Outcome::default() }
    }
}

/// Counts of one family or class under one judge.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Captures.
    pub captures: usize,
    /// Those whose scan was found.
    pub found: usize,
    /// Found, with the right kind.
    pub kind: usize,
    /// Found, with the right shape.
    pub shape: usize,
    /// Found, with both.
    pub right: usize,
    /// Captures in which somebody was blamed who had done nothing.
    pub blaming: usize,
    /// Of those found, the probes until the verdict.
    pub probes: Vec<usize>,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.captures += 1;
        self.found += usize::from(outcome.is_found);
        self.kind += usize::from(outcome.is_kind_right);
        self.shape += usize::from(outcome.is_shape_right);
        self.right += usize::from(outcome.is_kind_right && outcome.is_shape_right);
        self.blaming += usize::from(!outcome.blamed.is_empty());
        self.probes.extend(outcome.probes);
    }

    /// The upper median of the probes until the verdict.
    #[must_use]
    pub fn median(&self) -> Option<usize> {
        let mut sorted = self.probes.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    fn part(count: usize, of: usize) -> f64 {
        if of == 0 { 0.0 } else { count as f64 * 100.0 / of as f64 }
    }
}

/// Whose verdicts are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judge {
    /// Ours, told the host's addresses.
    Ours,
    /// Ours, with every destination taken for guarded.
    OursAny,
    /// PortSentry's rule.
    PortSentry,
    /// scanlogd's rule.
    Scanlogd,
}

/// Everything that was counted.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By class and family, in the order of the corpus.
    families: Vec<(Class, &'static str)>,
    tallies: BTreeMap<(Class, &'static str, Judge), Tally>,
    /// What went wrong under our own judge, a line each.
    pub faults: Vec<String>,
}

impl Report {
    /// Takes down how `judge` did with this capture.
    pub fn add(&mut self, scenario: &Scenario, judge: Judge, outcome: &Outcome) {
        let (class, family) = (scenario.class, scenario.family);
        if !self.families.contains(&(class, family)) {
            self.families.push((class, family));
        }
        self.tallies.entry((class, family, judge)).or_default().add(outcome);
        if matches!(judge, Judge::Ours | Judge::OursAny) {
            self.note_fault(scenario, judge, outcome);
        }
    }

    fn note_fault(&mut self, scenario: &Scenario, judge: Judge, outcome: &Outcome) {
        let mut what = Vec::new();
        if scenario.class.is_scan() && !outcome.is_found {
            what.push("not found".to_owned());
        }
        if outcome.is_found && !outcome.is_kind_right {
            what.push("kind wrong".to_owned());
        }
        if outcome.is_found && !outcome.is_shape_right {
            what.push("shape wrong".to_owned());
        }
        if let Some(blamed) = outcome.blamed.first() {
            what.push(format!("blamed {blamed} ({} in all)", outcome.blamed.len()));
        }
        if !what.is_empty() {
            let view = if judge == Judge::Ours { "" } else { " (any)" };
            let name = scenario.file_name();
            self.faults.push(format!("{name}{view}: {} [{}]", what.join(", "), scenario.about));
        }
    }

    /// Of one family under one judge.
    #[must_use]
    pub fn family(&self, name: &str, judge: Judge) -> Tally {
        self.sum(judge, |_, family| family == name)
    }

    /// Of a class under one judge.
    #[must_use]
    pub fn class(&self, class: Class, judge: Judge) -> Tally {
        self.sum(judge, |own, _| own == class)
    }

    fn sum(&self, judge: Judge, is_wanted: impl Fn(Class, &str) -> bool) -> Tally {
        let mut sum = Tally::default();
        for ((class, family, own), tally) in &self.tallies {
            if *own == judge && is_wanted(*class, family) {
                sum.captures += tally.captures;
                sum.found += tally.found;
                sum.kind += tally.kind;
                sum.shape += tally.shape;
                sum.right += tally.right;
                sum.blaming += tally.blaming;
                sum.probes.extend(&tally.probes);
            }
        }
        sum
    }

    /// The table, in Markdown: of each class and family the captures; under `portcullis` found, kind right, shape right,
    /// captures in which somebody was blamed wrongly; then found and blaming under the others.
    #[must_use]
    pub fn table(&self) -> String {
        let head = [
            "",
            "captures",
            "found",
            "kind",
            "shape",
            "blaming",
            "any: found",
            "blaming",
            "PortSentry: found",
            "blaming",
            "scanlogd: found",
            "blaming",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for class in Class::ALL {
            rows.push(self.row(&format!("**{}**", class.name()), class, |judge| self.class(class, judge)));
            for (_, family) in self.families.iter().filter(|(own, _)| *own == class) {
                rows.push(self.row(family, class, |judge| self.family(family, judge)));
            }
        }
        markdown(&rows)
    }

    fn row(&self, name: &str, class: Class, tally: impl Fn(Judge) -> Tally) -> Vec<String> {
        let found = |count: usize| if class.is_scan() { count.to_string() } else { String::new() };
        let ours = tally(Judge::Ours);
        let mut row = vec![name.to_owned(), ours.captures.to_string()];
        row.extend([found(ours.found), found(ours.kind), found(ours.shape), ours.blaming.to_string()]);
        for judge in [Judge::OursAny, Judge::PortSentry, Judge::Scanlogd] {
            let tally = tally(judge);
            row.extend([found(tally.found), tally.blaming.to_string()]);
        }
        row
    }

    /// What was promised, and what is: a line each of promise, figure and whether it is kept; of captures whose host is
    /// told, then of the same with every destination taken for guarded.
    #[must_use]
    pub fn targets(&self) -> Vec<(String, String, bool)> {
        [(Judge::Ours, ""), (Judge::OursAny, "any destination: ")]
            .into_iter()
            .flat_map(|(judge, view)| self.targets_of(judge, view))
            .collect()
    }

    fn targets_of(&self, judge: Judge, view: &str) -> Vec<(String, String, bool)> {
        let of = |class| self.class(class, judge);
        let (scans, hard) = (of(Class::Scan), of(Class::HardScan));
        let (friends, odd) = (of(Class::Friend), of(Class::OddFriend));
        let percent = |count, tally: &Tally| {
            format!("{:.1} % of {}", Tally::part(count, tally.captures), tally.captures)
        };
        let median = self.family(crate::THREE_SERVICES, judge).median();
        let right = Tally::part(hard.right, hard.captures);
        let lines = [
            (
                "ordinary scans found, kind and shape right: 99 %",
                percent(scans.right, &scans),
                Tally::part(scans.right, scans.captures) >= 99.0,
            ),
            (
                "hard scans found: 90 %",
                format!("{}; kind and shape right {right:.1} %", percent(hard.found, &hard)),
                Tally::part(hard.found, hard.captures) >= 90.0,
            ),
            (
                "captures of ordinary friends with anybody blamed: 0",
                format!("{} of {}", friends.blaming, friends.captures),
                friends.blaming == 0,
            ),
            (
                "the same of odd friends: 1 in 200",
                format!("{} of {}", odd.blaming, odd.captures),
                odd.blaming * 200 <= odd.captures,
            ),
            (
                "captures of scans in which a friend beside is blamed: 0",
                format!("{} of {}", scans.blaming + hard.blaming, scans.captures + hard.captures),
                scans.blaming + hard.blaming == 0,
            ),
            (
                "probes until the verdict, fast SYN scan, 3 services, median: 6",
                median.map_or("none found".to_owned(), |median| median.to_string()),
                median.is_some_and(|median| median <= 6),
            ),
        ];
        lines
            .into_iter()
            .map(|(promise, figure, is_met)| (format!("{view}{promise}"), figure, is_met))
            .collect()
    }
}

fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            write!(text, "| {cell:<width$} ").expect("a String takes everything");
        }
        text += "|\n";
        if index == 0 {
            text.extend(widths.iter().map(|width| format!("|{}", "-".repeat(width + 2))));
            text += "|\n";
        }
    }
    text
}
