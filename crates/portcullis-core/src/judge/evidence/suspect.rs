//! What is remembered of one source, in bounded memory: the distinct things that it has tried, and our services that
//! it came for.

use std::net::IpAddr;
use std::time::Duration;

use super::ports::{Service, are_one_service, is_store, is_traceroute, is_worth_a_sweep};
use super::weights::{Doubt, Doubts, Pace, Sign, Weights};
use super::{Aim, Clocks, PIECES, SERVICES, Score};
use crate::event::Kind;
use crate::net::{Endpoint, Protocol};
use crate::scan::incidents::Names;
use crate::scan::sources::Memory;
use crate::scan::{Contact, Probe, Weight};
use crate::time::Mono;

/// So many times at one port, and it is a habit. nmap sends at most this many datagrams where answers are rare; a
/// health check of a dead service has done so after minutes.
const HABIT: u16 = 8;

/// A client that comes to a service this often has used it, wherever that cannot be seen.
const REGULAR: u16 = 3;

/// So many bare SYNs to closed ports, and what they lack is evidence: never alone.
const BARE: usize = 2;

/// A TCP header with no option but the segment size's four bytes (RFC 9293 §3.7.1). Window scaling and SACK (RFC 7323,
/// RFC 2018) are offered by every usual stack since 2000.
const BARE_HEADER: u8 = 24;

/// Windows that nmap and masscan offer in their raw SYNs, by every version since 2005; stacks offer more.
const TOOL_WINDOWS: [u16; 4] = [1024, 2048, 3072, 4096];

/// Visits that lie closer together are one: a browser opens several connections at once.
const VISIT: Duration = Duration::from_secs(10);

/// One source.
#[derive(Default)]
pub(super) struct Suspect {
    /// In the order in which they came.
    pub(super) pieces: Vec<Piece>,
    /// The one that he has left alone longest makes room.
    pub(super) services: Vec<Visited>,
    /// How much would be lost with it: kept, so that a full bucket is compared without a look at each one's pieces.
    worth: u32,
    last: Mono,
}

/// One distinct thing that he has tried.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    /// The first probe of it.
    pub(super) probe: Probe,
    /// When it came last.
    last: Mono,
    /// How often it came, retransmissions left out.
    pub(super) times: u16,
    pub(super) sign: Sign,
    pub(super) doubts: Doubts,
    fast: Score,
    patient: Score,
}

impl Piece {
    pub(super) fn weight(&self, pace: Pace) -> Score {
        match pace {
            Pace::Fast => self.fast,
            Pace::Patient => self.patient,
        }
    }

    /// Whether it is a SYN to a closed port that lacks what every stack sends.
    pub(super) fn is_bare(&self) -> bool {
        let contact = &self.probe.contact;
        contact.kind == Kind::Syn
            && matches!(contact.fingerprint.header_length, 1..=BARE_HEADER)
            && self.fast.0 > 0
    }

    /// Whether it is a bare SYN just as the usual scanners send it.
    pub(super) fn is_of_a_tool(&self) -> bool {
        self.is_bare() && TOOL_WINDOWS.contains(&self.probe.contact.fingerprint.window)
    }

    /// For whoever reads the verdict.
    pub(super) fn told(&self, pace: Pace, names: Names<'_>) -> super::Piece {
        let contact = &self.probe.contact;
        let aim = match self.probe.mark.map(|mark| (names(mark.door), mark.step)) {
            _ if contact.is_out_of_sight() => Aim::OutOfSight,
            _ if contact.kind == Kind::IpProtocol => Aim::Protocol(contact.target.port),
            _ if contact.kind == Kind::IcmpSweep => Aim::Address,
            None => Aim::Port(contact.target.protocol, contact.target.port),
            Some((Some(door), step)) => Aim::Step(door, step),
            Some((None, _)) => Aim::OutOfSight,
        };
        super::Piece {
            at: self.probe.at.wall,
            kind: contact.kind,
            aim,
            times: self.times.into(),
            sign: self.sign,
            doubts: self.doubts,
            weight: self.weight(pace),
        }
    }

    /// Whether it was first seen within `span` of `now`. Time may run backwards in a capture, so both ways count.
    pub(super) fn is_within(&self, span: Duration, now: Mono) -> bool {
        apart(now, self.probe.at.mono) <= span
    }
}

/// A service of ours that he has come for.
#[derive(Clone, Copy)]
pub(super) struct Visited {
    pub(super) endpoint: Endpoint,
    pub(super) visits: u16,
    /// Whether it was seen that he has used it.
    is_seen_used: bool,
    last: Mono,
}

impl Visited {
    pub(super) fn is_used(&self) -> bool {
        self.is_seen_used || self.visits >= REGULAR
    }

    pub(super) fn sign(&self) -> Sign {
        if self.is_used() { Sign::Used } else { Sign::Touched }
    }

    pub(super) fn is_within(&self, span: Duration, now: Mono) -> bool {
        apart(now, self.last) <= span
    }
}

impl Suspect {
    /// Takes a probe in; whether that can have changed the verdict. What he repeats never does: it was weighed
    /// already, and too many repetitions only make it lighter.
    pub(super) fn take(
        &mut self,
        probe: &Probe,
        has_just_stopped: bool,
        weights: &Weights,
        clocks: &Clocks,
    ) -> bool {
        let now = probe.at.mono;
        self.last = now;
        if let Some(place) = self.pieces.iter().position(|piece| is_same(&piece.probe, probe)) {
            let piece = &mut self.pieces[place];
            if !is_retransmission(&piece.probe.contact, &probe.contact) {
                piece.times = piece.times.saturating_add(1);
            }
            piece.last = now;
            let is_firmer = probe.weight < piece.probe.weight;
            if is_firmer {
                piece.probe.weight = probe.weight;
            }
            if is_firmer || piece.times == HABIT {
                self.weigh_anew(weights, clocks);
            }
            return is_firmer;
        }
        if self.pieces.len() == PIECES {
            // The lightest says least; of those, the oldest.
            let lightest = (0..PIECES).min_by_key(|&place| self.pieces[place].patient).unwrap_or(0);
            self.pieces.remove(lightest);
        }
        let mut doubts = Doubts::default();
        // What no stack sends is no attempt to come for the service.
        if has_just_stopped && !probe.contact.is_proved_by_flags() && probe.weight != Weight::HalfOpen {
            doubts = doubts.with(Doubt::JustStopped);
        }
        let sign = Sign::FirstClosed;
        let mut piece =
            Piece { probe: *probe, last: now, times: 1, sign, doubts, fast: Score(0), patient: Score(0) };
        piece.weigh(&self.pieces, weights, clocks);
        if self.pieces.capacity() == 0 {
            // Room for one only: most sources of a flood are seen once.
            self.pieces.reserve_exact(1);
        }
        self.pieces.push(piece);
        self.value();
        true
    }

    /// What his SYNs within `span` lack, if that is evidence: it counts once for all of them.
    pub(super) fn lack(&self, span: Duration, now: Mono) -> Option<Sign> {
        let (mut bare, mut of_a_tool) = (0, 0);
        for piece in self.pieces.iter().filter(|piece| piece.is_within(span, now)) {
            bare += usize::from(piece.is_bare());
            of_a_tool += usize::from(piece.is_of_a_tool());
        }
        match () {
            () if of_a_tool >= BARE => Some(Sign::ToolSyn),
            () if bare >= BARE => Some(Sign::BareSyn),
            () => None,
        }
    }

    fn value(&mut self) {
        let weight: u32 = self.pieces.iter().map(|piece| piece.patient.0.max(0).cast_unsigned()).sum();
        self.worth = (self.pieces.len() as u32) << 24 | weight.min(0x00ff_ffff);
    }

    /// He has come for a service of ours.
    pub(super) fn meet(&mut self, now: Mono, endpoint: Endpoint, is_used: bool) {
        self.last = now;
        if let Some(visited) = self.services.iter_mut().find(|visited| visited.endpoint == endpoint) {
            if apart(now, visited.last) >= VISIT {
                visited.visits = visited.visits.saturating_add(1);
            }
            visited.is_seen_used |= is_used;
            visited.last = now;
            return;
        }
        if self.services.len() == SERVICES {
            let oldest = (0..SERVICES).min_by_key(|&place| self.services[place].last).unwrap_or(0);
            self.services.swap_remove(oldest);
        }
        self.services.push(Visited { endpoint, visits: 1, is_seen_used: is_used, last: now });
    }

    /// Whatever was aimed at `endpoint` and is no proof by itself was no probe after all; whether there was something.
    pub(super) fn withdraw(&mut self, endpoint: &Endpoint, weights: &Weights, clocks: &Clocks) -> bool {
        let before = self.pieces.len();
        self.pieces.retain(|piece| {
            let contact = &piece.probe.contact;
            let is_met = piece.probe.weight == Weight::HalfOpen;
            contact.target != *endpoint || contact.is_proved_by_flags() || is_met
        });
        let is_changed = self.pieces.len() < before;
        if is_changed {
            self.weigh_anew(weights, clocks);
        }
        is_changed
    }

    /// Weighs each piece by those before it.
    fn weigh_anew(&mut self, weights: &Weights, clocks: &Clocks) {
        for place in 0..self.pieces.len() {
            let (before, rest) = self.pieces.split_at_mut(place);
            if let Some(piece) = rest.first_mut() {
                piece.weigh(before, weights, clocks);
            }
        }
        self.value();
    }
}

impl Memory for Suspect {
    /// First by how many distinct things he has tried, so that nobody who has tried fewer pushes him out; then by
    /// what they weigh.
    fn suspicion(&self, now: Mono) -> u32 {
        if apart(now, self.last) > super::FORGOTTEN {
            return 0;
        }
        self.worth
    }

    fn last(&self) -> Mono {
        self.last
    }
}

impl Piece {
    fn weigh(&mut self, before: &[Piece], weights: &Weights, clocks: &Clocks) {
        let now = self.probe.at.mono;
        let earlier = before.iter().filter(|piece| apart(now, piece.last) <= clocks.patient);
        self.sign = sign(&self.probe, earlier);
        let mut doubts = doubts(&self.probe, self.sign);
        if self.doubts.has(Doubt::JustStopped) {
            doubts = doubts.with(Doubt::JustStopped);
        }
        if self.times >= HABIT {
            doubts = doubts.with(Doubt::Habit);
        }
        if self.sign == Sign::FourthClosed
            && is_aimed_at_a_store(self)
            && before.iter().all(is_aimed_at_a_store)
        {
            doubts = doubts.with(Doubt::OneTrade);
        }
        self.doubts = doubts;
        self.fast = weights.of(self.sign, doubts, Pace::Fast);
        self.patient = weights.of(self.sign, doubts, Pace::Patient);
    }
}

fn is_aimed_at_a_store(piece: &Piece) -> bool {
    is_store(piece.probe.contact.target.port)
}

/// As what a probe is to be weighed after the `earlier` ones.
fn sign<'a>(probe: &Probe, earlier: impl Iterator<Item = &'a Piece>) -> Sign {
    let contact = &probe.contact;
    let target = &contact.target;
    match contact.kind {
        _ if contact.is_out_of_sight() => return Sign::Hidden,
        _ if contact.is_proved_by_flags() => return Sign::OddFlags,
        Kind::Udp if is_traceroute(target.protocol, target.port) || may_be_broadcast(target.address) => {
            return Sign::InPassing;
        }
        _ if is_late(probe) => return Sign::LateAnswer,
        _ => {}
    }
    let service = Service::at(target.protocol, target.port);
    let (mut is_first, mut closed) = (true, 0);
    let (mut has_target, mut has_address, mut has_port, mut has_service) = (false, false, false, false);
    let mut is_near = false;
    for piece in earlier {
        let other = &piece.probe.contact.target;
        if matches!(piece.sign, Sign::LateAnswer | Sign::InPassing | Sign::Hidden) {
            continue;
        }
        is_first = false;
        has_target |= other == target;
        has_address |= other.address == target.address;
        has_port |= (other.protocol, other.port) == (target.protocol, target.port);
        has_service |= are_one_service((other.protocol, other.port), (target.protocol, target.port));
        is_near |= are_near(other.address, target.address, service);
        closed += usize::from(piece.sign <= Sign::LaterClosed);
    }
    let is_named = is_worth_a_sweep(target.port) && service != Service::Peers;
    match () {
        () if contact.kind == Kind::IcmpSweep => {
            if is_first || is_near {
                Sign::Sweep
            } else {
                Sign::SweepFar
            }
        }
        () if probe.weight == Weight::HalfOpen => {
            if is_first || is_near {
                Sign::HalfOpen
            } else {
                Sign::SweepFar
            }
        }
        () if is_first => Sign::FirstClosed,
        () if has_target => Sign::Again,
        () if has_address && has_port => Sign::Filled,
        () if has_address && has_service => Sign::Companion,
        () if has_address => Sign::CLOSED[closed.min(Sign::CLOSED.len() - 1)],
        () if !is_near => match has_port && is_named && !matches!(service, Service::Web | Service::Names) {
            true => Sign::SweepFar,
            false => Sign::Wandering,
        },
        () if service == Service::Peers => Sign::Wandering,
        () if has_port && is_named => Sign::Sweep,
        () if has_port => Sign::SweepOfTrifle,
        () if is_named => Sign::Beside,
        () => Sign::Wandering,
    }
}

fn doubts(probe: &Probe, sign: Sign) -> Doubts {
    let contact = &probe.contact;
    let service = Service::at(contact.target.protocol, contact.target.port);
    let mut doubts = Doubts::default();
    if matches!(sign, Sign::Hidden | Sign::LateAnswer | Sign::InPassing) {
        return doubts;
    }
    if sign <= Sign::LaterClosed {
        if service == Service::Peers {
            doubts = doubts.with(Doubt::Peer);
        } else if service.is_left_over() {
            doubts = doubts.with(Doubt::LeftOver);
        }
    }
    if contact.is_mid_conversation() {
        doubts = doubts.with(Doubt::EndOfConnection);
    }
    if probe.weight == Weight::Unanswered {
        doubts = doubts.with(match contact.kind {
            Kind::Udp => Doubt::Silence,
            _ if contact.is_mid_conversation() => Doubt::NoReset,
            _ => Doubt::NoAnswer,
        });
    }
    match comes_back(contact) {
        true if contact.kind == Kind::Syn => doubts.with(Doubt::DataConnection),
        true => doubts.with(Doubt::ReturnPort),
        false => doubts,
    }
}

/// Whether it looks like a service's own way back to us: an FTP server's data connection (RFC 959 §3.2), or a
/// datagram or broken segment from a service's port to another one.
fn comes_back(contact: &Contact) -> bool {
    let (from, to) = (contact.source_port, contact.target.port);
    match contact.kind {
        Kind::Syn => from == 20 && to >= 1024,
        Kind::Udp => (from < 1024 || from == 2049) && to >= 512 && from != to,
        _ => (1..1024).contains(&from) && to >= 1024,
    }
}

/// Nobody here knows the networks of a capture; most broadcast addresses end so.
fn may_be_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[3] == 255)
}

/// Whether two of our addresses are neighbours, such as one scan sweeps and one owner has. The web's great houses
/// fill networks of their own, so that there only the same subnet counts.
fn are_near(one: IpAddr, other: IpAddr, service: Service) -> bool {
    let is_web = service == Service::Web;
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (one.to_bits() ^ other.to_bits()) >> (if is_web { 8 } else { 16 }) == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (one.to_bits() ^ other.to_bits()) >> (if is_web { 64 } else { 80 }) == 0
        }
        _ => false,
    }
}

/// Whether it may be a late answer: to a port that our stack chooses, or from a service's port to another one (some
/// resolvers ask from any port). The price: datagrams from such a port to high ports are no scan by themselves.
fn is_late(probe: &Probe) -> bool {
    let contact = &probe.contact;
    probe.weight == Weight::Doubtful
        || contact.kind == Kind::Udp && contact.source_port < 1024 && contact.target.port >= 1024
}

/// The same thing tried again. A service that we ask often answers from its one port to a fresh port of ours each
/// time: all its late answers are one doubt.
fn is_same(one: &Probe, other: &Probe) -> bool {
    let (a, b) = (&one.contact, &other.contact);
    let are_late = is_late(one) && is_late(other);
    a.kind == b.kind
        && (a.target == b.target || are_late && (a.source, a.source_port) == (b.source, b.source_port))
}

/// A stack repeats a segment from the same port (RFC 9293 §3.8.1); a datagram is never repeated by the stack.
fn is_retransmission(one: &Contact, other: &Contact) -> bool {
    one.target.protocol != Protocol::Udp && (one.source, one.source_port) == (other.source, other.source_port)
}

pub(super) fn apart(one: Mono, other: Mono) -> Duration {
    one.0.abs_diff(other.0)
}
