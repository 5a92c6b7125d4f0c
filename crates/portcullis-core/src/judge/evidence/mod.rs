//! A sequential test (Wald) over what a source has tried: each *distinct* thing weighs by how much likelier it is
//! from a scanner than from a friend, services that it came for weigh for it, and three clocks add up what lies within
//! seconds, an hour and a week. Nothing else of a source is remembered than these pieces, so a verdict can always say
//! what it rests on.
//!
//! [`weights`] is the table, `suspect` the bounded memory, [`Receipt`] the evidence that goes with a verdict.
//! `docs/decisions/0007` says why it is so.

mod ports;
mod receipt;
mod suspect;
pub mod weights;

use std::time::Duration;

pub use self::receipt::{Aim, Favour, Piece, Receipt, Score};
use self::suspect::Suspect;
use self::weights::{Doubts, Pace, Sign, Weights};
use crate::judge::{Judge, Meeting, Verdict};
use crate::net::{Endpoint, Prefix};
use crate::scan::incidents::Names;
use crate::scan::sources::{Secret, Sources};
use crate::scan::{Contact, Probe};
use crate::time::{Mono, Now};

/// Distinct things kept of a source: three times what it takes to convict one of the slowest. Beyond it the lightest
/// is forgotten.
pub const PIECES: usize = 32;

/// Services of ours kept of a source. More would not count: what they weigh has a ceiling.
pub const SERVICES: usize = 6;

/// Whoever has stayed away for longer than any clock may be pushed out by anybody.
const FORGOTTEN: Duration = Duration::from_secs(31 * 86_400);

/// Endpoints remembered where a service was of late: more than a host offers, and bounded all the same.
const STOPPED: usize = 1024;

/// How long after its end a service may be expected to come back.
const RESTART: Duration = Duration::from_secs(3600);

/// How much it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Care {
    /// Ten thousand to one.
    Careful,
    /// Some four hundred to one.
    #[default]
    Normal,
    /// A hundred to one.
    Strict,
}

impl Care {
    /// The score from which on a source is a scanner: ln of the odds that it takes, after those of the first thing
    /// seen.
    #[must_use]
    pub fn enough(self) -> Score {
        match self {
            Care::Careful => Score(9210),
            Care::Normal => Score(6000),
            Care::Strict => Score(4605),
        }
    }
}

/// Within which times evidence is added up, shortest first. Each longer one asks for more: in a week more goes wrong
/// with a friend than in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// For the fast: seconds.
    pub fast: Duration,
    /// For those who wait: an hour.
    pub slow: Duration,
    /// For the patient: a week. Nothing counts for longer.
    pub patient: Duration,
}

impl Default for Clocks {
    fn default() -> Clocks {
        Clocks {
            fast: Duration::from_secs(60),
            slow: Duration::from_secs(3600),
            patient: Duration::from_secs(7 * 86_400),
        }
    }
}

/// One of the clocks.
#[derive(Clone, Copy)]
struct Clock {
    span: Duration,
    pace: Pace,
    /// What it asks for, in hundredths of [`Settings::enough`].
    hundredths: i32,
    /// How often [`Settings::credit`] may be taken off for services that were used.
    credits: i32,
    /// How long ago he may have come for a service that still speaks for him.
    visited: Duration,
}

impl Clocks {
    fn each(&self) -> [Clock; 3] {
        let clock =
            |span, pace, hundredths, credits, visited| Clock { span, pace, hundredths, credits, visited };
        [
            clock(self.fast, Pace::Fast, 100, 1, self.slow),
            clock(self.slow, Pace::Patient, 108, 2, self.slow),
            clock(self.patient, Pace::Patient, 115, 3, self.patient),
        ]
    }
}

/// The configuration of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The score that is a scan.
    pub enough: Score,
    /// The clocks.
    pub clocks: Clocks,
    /// How many sources are remembered. Each costs at most 4,512 bytes: 141 MiB for 32,768. The engine keeps two such
    /// judges, of all and of proved sources: 282 MiB at the very worst.
    pub sources: usize,
    /// What flags weigh that no stack sends.
    pub odd_flags: Score,
    /// What a datagram weighs that may be a late answer.
    pub late_answer: Score,
    /// What services that he came for can take off at most by the fast clock; twice and three times as much by the
    /// others if he has used them. It has a ceiling, or a visit to the web server between two probes would hide any
    /// scan.
    pub credit: Score,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            enough: Care::Normal.enough(),
            clocks: Clocks::default(),
            sources: 32_768,
            odd_flags: Score(2500),
            late_answer: Score(100),
            credit: Score(1000),
        }
    }
}

/// The slowest scan that is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowest {
    /// So many closed TCP ports of one host, none of them a usual left-over, by one who never came for a service.
    pub ports: u32,
    /// So much time may pass between two of them; nothing where no number of ports is enough.
    pub gap: Duration,
    /// The clock that sees it.
    pub within: Duration,
}

impl Settings {
    /// The slowest scan that these settings see, as long as nobody has to make room.
    #[must_use]
    pub fn slowest(&self) -> Slowest {
        let weights = self.weights();
        let seen = self.clocks.each().into_iter().flat_map(|clock| {
            let enough = self.enough(clock);
            (1..PIECES as u32).filter_map(move |gaps| {
                let gap = clock.span / gaps;
                let ports = ports_needed(&weights, clock, gap, self.clocks.patient, enough)?;
                Some(Slowest { ports, gap, within: clock.span })
            })
        });
        let never = Slowest { ports: u32::MAX, gap: Duration::ZERO, within: self.clocks.patient };
        seen.max_by_key(|seen| seen.gap).unwrap_or(never)
    }

    /// What `clock` asks for.
    fn enough(&self, clock: Clock) -> Score {
        Score(self.enough.0 * clock.hundredths / 100)
    }

    fn weights(&self) -> Weights {
        Weights::new(self.odd_flags, self.late_answer)
    }
}

/// At which closed port a scan with this `gap` comes to `enough` within the clock's span; each weighs by those of the
/// `patient` time before it.
fn ports_needed(
    weights: &Weights,
    clock: Clock,
    gap: Duration,
    patient: Duration,
    enough: Score,
) -> Option<u32> {
    let fit = |span: Duration| (span.as_nanos() / gap.as_nanos().max(1)).min(PIECES as u128) as usize;
    let (remembered, added) = (fit(patient), fit(clock.span));
    let weight = |place: usize| {
        let sign = Sign::CLOSED[place.min(remembered).min(Sign::CLOSED.len() - 1)];
        weights.of(sign, Doubts::default(), clock.pace).0
    };
    let reaches = |last: usize| (last.saturating_sub(added)..=last).map(weight).sum::<i32>() >= enough.0;
    (0..2 * PIECES).find(|last| reaches(*last)).map(|last| last as u32 + 1)
}

/// Whose clock it is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// The clock that never jumps.
    Live,
    /// The packets' own times, so that neither their order nor other captures between them change a verdict.
    Capture,
}

/// The judge.
pub struct Evidence {
    settings: Settings,
    weights: Weights,
    clocks: [Clock; 3],
    timing: Timing,
    suspects: Sources<Suspect>,
    /// Where a service was met, and when last; by keyed hash, each place holds one.
    services: Vec<(u64, Mono)>,
    secret: Secret,
}

impl Evidence {
    /// A judge without memory.
    #[must_use]
    pub fn new(settings: Settings, timing: Timing, secret: Secret) -> Evidence {
        Evidence {
            settings,
            weights: settings.weights(),
            clocks: settings.clocks.each(),
            timing,
            suspects: Sources::new(settings.sources, secret),
            services: vec![(0, Mono::default()); STOPPED],
            secret,
        }
    }

    fn time(&self, now: Now) -> Now {
        match self.timing {
            Timing::Live => now,
            Timing::Capture => Now { mono: Mono(now.wall.0), ..now },
        }
    }

    /// Whether a service was at `endpoint` so recently that it may only be starting again.
    fn has_just_stopped(&self, now: Mono, endpoint: &Endpoint) -> bool {
        let hash = self.secret.hash_endpoint(endpoint);
        let (known, last) = self.services[hash as usize % STOPPED];
        known == hash && suspect::apart(now, last) <= RESTART
    }

    /// What `suspect` comes to by `clock`, and what was taken off for services.
    fn add_up(&self, suspect: &Suspect, clock: Clock, now: Mono) -> (Score, Score) {
        let within = suspect.pieces.iter().filter(|piece| piece.is_within(clock.span, now));
        let mut against: i32 = within.map(|piece| piece.weight(clock.pace).0).sum();
        if let Some(sign) = suspect.lack(clock.span, now) {
            against += self.weights.of(sign, Doubts::default(), clock.pace).0;
        }
        let (mut touched, mut used) = (0, 0);
        for visited in suspect.services.iter().filter(|visited| visited.is_within(clock.visited, now)) {
            let weight = -self.weights.of(visited.sign(), Doubts::default(), clock.pace).0;
            *(if visited.is_used() { &mut used } else { &mut touched }) += weight;
        }
        let credit = self.settings.credit.0;
        let taken_off = (touched.min(credit) + used).min(credit * clock.credits);
        (Score(against - taken_off), Score(taken_off))
    }

    /// By which clock `suspect` is a scanner.
    fn convicting(&self, suspect: &Suspect, now: Mono) -> Option<Clock> {
        self.clocks
            .into_iter()
            .find(|clock| self.add_up(suspect, *clock, now).0 >= self.settings.enough(*clock))
    }

    fn verdict(&self, suspect: &Suspect, now: Mono) -> Verdict {
        match self.convicting(suspect, now) {
            Some(_) => Verdict::Scanner,
            None => Verdict::Open,
        }
    }
}

impl Judge for Evidence {
    fn weigh(&mut self, prefix: Prefix, probe: &Probe) -> Verdict {
        let probe = Probe { at: self.time(probe.at), ..*probe };
        let now = probe.at.mono;
        // Flags that no stack sends are no client's of a service, whether it runs or starts again.
        let has_just_stopped =
            !probe.contact.is_proved_by_flags() && self.has_just_stopped(now, &probe.contact.target);
        let suspect = self.suspects.remember(now, prefix, Suspect::default);
        if !suspect.take(&probe, has_just_stopped, &self.weights, &self.settings.clocks) {
            return Verdict::Open;
        }
        self.suspects.get(&prefix).map_or(Verdict::Open, |suspect| self.verdict(suspect, now))
    }

    fn meet(&mut self, now: Now, prefix: Prefix, contact: &Contact, how: Meeting) {
        let now = self.time(now).mono;
        let hash = self.secret.hash_endpoint(&contact.target);
        self.services[hash as usize % STOPPED] = (hash, now);
        let suspect = self.suspects.remember(now, prefix, Suspect::default);
        suspect.meet(now, contact.target, how == Meeting::Used);
    }

    fn evidence(&self, prefix: &Prefix) -> Vec<Probe> {
        let pieces = self.suspects.get(prefix).map_or(&[][..], |suspect| &suspect.pieces);
        pieces.iter().map(|piece| piece.probe).collect()
    }

    fn receipt(&self, now: Now, prefix: &Prefix, names: Names<'_>) -> Option<Receipt> {
        let now = self.time(now).mono;
        let suspect = self.suspects.get(prefix)?;
        let clock = self.convicting(suspect, now)?;
        let (score, taken_off) = self.add_up(suspect, clock, now);
        let mut pieces: Vec<Piece> = suspect
            .pieces
            .iter()
            .filter(|piece| piece.is_within(clock.span, now))
            .map(|piece| piece.told(clock.pace, names))
            .collect();
        if let Some(sign) = suspect.lack(clock.span, now)
            && let Some(first) = pieces.first()
        {
            let weight = self.weights.of(sign, Doubts::default(), clock.pace);
            pieces.push(Piece { sign, doubts: Doubts::default(), weight, ..first.clone() });
        }
        let for_him = suspect
            .services
            .iter()
            .filter(|visited| visited.is_within(clock.visited, now))
            .map(|visited| Favour {
                protocol: visited.endpoint.protocol,
                port: visited.endpoint.port,
                is_used: visited.is_used(),
                visits: visited.visits.into(),
                weight: self.weights.of(visited.sign(), Doubts::default(), clock.pace),
            })
            .collect();
        let (enough, within) = (self.settings.enough(clock), clock.span);
        Some(Receipt { score, enough, within, pieces, for_him, taken_off })
    }

    fn withdraw(&mut self, now: Now, prefix: &Prefix, endpoint: Endpoint) -> Verdict {
        let now = self.time(now).mono;
        let Some(suspect) = self.suspects.get_mut(prefix) else { return Verdict::Open };
        suspect.withdraw(&endpoint, &self.weights, &self.settings.clocks);
        self.suspects.get(prefix).map_or(Verdict::Open, |suspect| self.verdict(suspect, now))
    }

    fn forget(&mut self, prefix: &Prefix) {
        self.suspects.forget(prefix);
    }

    fn memory(&self) -> (usize, u64) {
        (self.suspects.len(), self.suspects.evicted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::net::Protocol;
    use crate::scan::{Fingerprint, Weight};
    use crate::wire::TcpFlags;
    use std::mem::size_of;

    /// A SYN of a second of this day to this port of ours.
    fn syn(second: u64, port: u16, fingerprint: Fingerprint) -> Probe {
        let contact = Contact {
            source: "198.51.100.7".parse().unwrap(),
            source_port: 40_000,
            target: Endpoint { protocol: Protocol::Tcp, address: "192.0.2.2".parse().unwrap(), port },
            kind: Kind::Syn,
            flags: TcpFlags(TcpFlags::SYN),
            has_ip_options: false,
            is_cut_up: false,
            fingerprint,
            interface: 0,
        };
        let at = Now::default().later(Duration::from_secs(second));
        Probe { contact, at, weight: Weight::Firm, mark: None }
    }

    #[test]
    fn a_scanner_s_raw_syns_need_three_closed_ports_an_old_device_s_four() {
        let ports = [21, 23, 3389, 5900, 6000];
        for (header_length, window, needed) in
            [(24, 1024, 3), (20, 1024, 3), (24, 5840, 4), (40, 1024, 4), (0, 0, 4)]
        {
            let mut judge = Evidence::new(Settings::default(), Timing::Live, Secret([3; 16]));
            let fingerprint = Fingerprint { header_length, window, ..Fingerprint::default() };
            let found = ports.into_iter().zip(0..).position(|(port, second)| {
                let probe = syn(second, port, fingerprint);
                judge.weigh(Prefix::single(probe.contact.source), &probe) == Verdict::Scanner
            });
            assert_eq!(found, Some(needed - 1), "{header_length} bytes, window {window}");
        }
    }

    /// What docs/decisions/0007 promises, where a pointer has 64 bits.
    #[cfg(target_pointer_width = "64")]
    #[test]
    fn a_source_costs_so_many_bytes_and_no_more() {
        let source = size_of::<(Prefix, Suspect)>();
        let piece = size_of::<suspect::Piece>();
        let service = size_of::<suspect::Visited>();
        assert_eq!((source, piece, service), (96, 128, 40));
        // Both lists double as they grow.
        let most = source + PIECES.next_power_of_two() * piece + SERVICES.next_power_of_two() * service;
        assert_eq!(most, 4512);
    }
}
