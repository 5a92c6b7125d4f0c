//! Scans in many names: decoys, which send what somebody else sends at the same moment, and scans whose ports are dealt
//! out to many sources. Each of these sources shows too little by itself; what they have in common shows the scan.
//!
//! Friends have in common that they try the same dead port: an old DNS entry, a service that is down. So nothing counts
//! here but different ports. All tables are bounded, and looked up by a keyed hash; what is pushed out begins anew.
//! Whoever forges sources can have at most [`ACCUSED`] of them accused in [`WINDOW`] by this room.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::event::{Id, Kind, Shape, Together};
use crate::net::{Endpoint, Prefix, Protocol};
use crate::scan::sources::{Memory, Secret, Sources};
use crate::scan::{Fingerprint, Probe, Weight};
use crate::time::Mono;

/// Decoys of a probe come within this time of it: nmap sends them back to back.
const BACK_TO_BACK: Duration = Duration::from_millis(300);

/// Probes of one port are compared for so long.
const MOMENT: Duration = Duration::from_secs(1);

/// How long a source's part in a pattern is remembered.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// So many ports that two sources probed in the same moment, with the same numbers in the packets: one program sent both.
/// A sequence number has 32 bits; that two stacks draw the same even once is no accident that happens. It takes more than
/// one or two, since whoever forges can have a friend held by so many packets in his name.
const TWINS: usize = 4;

/// So many ports that a source probed in the same moment as others of the same make, whatever the numbers: more than friends of several
/// dead services (say, two monitoring systems and a host whose services are down) have in common by chance.
const COMPANIONS: usize = 16;

/// So many more ports a source may have probed since the one that they are compared by: decoys take turns. Two scanners
/// of the same make who probe the same ports in their own order have each port in common, but not at the same turn.
const APART: u32 = 2;

/// Sources that share the work have at most so many ports each; with more they are found one by one.
const FEW: usize = 4;

/// So many sources share the work ...
const CROWD: usize = 8;

/// ... and so many different ports.
const CROWD_PORTS: usize = 10;

/// So many of them may have tried the same one, since some are dealt out again.
const TWICE: usize = 2;

/// Sources that share the work, as far as they are kept.
const MEMBERS: usize = 64;

/// Names of one probe that are kept of a moment. Decoys beyond them are judged one by one.
const NAMES: usize = 32;

/// Sources that all patterns together accuse within [`WINDOW`].
pub const ACCUSED: usize = 512;

/// Moments, crowds and sources kept at once: some 2 MiB in all.
const MOMENTS: usize = 1024;
const CROWDS: usize = 64;
const SOURCES: usize = 8192;

/// A source that a pattern accuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) unit: Prefix,
    pub(crate) source: IpAddr,
}

/// What sources have had in common lately.
pub(crate) struct Patterns {
    moments: Bounded<Endpoint, Vec<Seen>>,
    companions: Sources<Companions>,
    turns: Sources<Turns>,
    crowds: Bounded<Signature, Crowd>,
    belongings: Sources<Belonging>,
    /// Of the latest patterns, the number and how many belong to each.
    sizes: VecDeque<(Id, usize)>,
    accused: usize,
    accused_since: Mono,
}

/// A probe of a port, as it is compared with others of the same port.
#[derive(Clone, Copy)]
struct Seen {
    member: Member,
    at: Mono,
    /// Which of its probes it was.
    turn: u32,
    source_port: u16,
    sequence: u32,
    /// What else packets of one program have in common.
    make: (Kind, u16, u8),
    /// Whether another one like it came in the same moment.
    has_company: bool,
    /// Whether one of those had the same numbers too.
    has_twin: bool,
}

/// The ports that a source has probed in the same moment as others.
struct Companions {
    ports: Vec<u16>,
    /// Those of them where also the numbers were the same.
    twins: Vec<u16>,
    last: Mono,
}

/// What packets of one tool to one address have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Signature {
    target: IpAddr,
    protocol: Protocol,
    kind: Kind,
    window: u16,
    header_length: u8,
}

/// Who has sent packets of one signature.
#[derive(Default)]
struct Crowd {
    members: Vec<Part>,
    /// No member was seen last before this.
    oldest: Mono,
    id: Option<Id>,
}

/// One source's part in it.
struct Part {
    member: Member,
    ports: Vec<u16>,
    at: Mono,
    is_accused: bool,
}

/// To which pattern a source belongs.
#[derive(Clone, Copy)]
struct Belonging {
    shape: Shape,
    id: Id,
    last: Mono,
}

/// How many ports a source has probed.
struct Turns {
    count: u32,
    last: Mono,
}

impl Memory for Turns {
    fn suspicion(&self, now: Mono) -> u32 {
        if now.since(self.last) > WINDOW { 0 } else { self.count }
    }

    fn last(&self) -> Mono {
        self.last
    }
}

impl Memory for Companions {
    fn suspicion(&self, now: Mono) -> u32 {
        if now.since(self.last) > WINDOW { 0 } else { (self.ports.len() + self.twins.len()) as u32 }
    }

    fn last(&self) -> Mono {
        self.last
    }
}

impl Memory for Belonging {
    fn suspicion(&self, _: Mono) -> u32 {
        1
    }

    fn last(&self) -> Mono {
        self.last
    }
}

impl Patterns {
    pub(crate) fn new(secret: Secret) -> Patterns {
        Patterns {
            moments: Bounded::new(MOMENTS, secret),
            companions: Sources::new(SOURCES, secret),
            turns: Sources::new(SOURCES, secret),
            crowds: Bounded::new(CROWDS, secret),
            belongings: Sources::new(SOURCES, secret),
            sizes: VecDeque::new(),
            accused: 0,
            accused_since: Mono::default(),
        }
    }

    /// A probe; which sources are scanners by what they have in common with others, that were not known to be. `number`
    /// is called for each new pattern.
    pub(crate) fn see(&mut self, unit: Prefix, probe: &Probe, mut number: impl FnMut() -> Id) -> Vec<Member> {
        if matches!(probe.weight, Weight::Doubtful | Weight::HalfOpen) || !probe.contact.has_port() {
            return Vec::new();
        }
        let member = Member { unit, source: probe.contact.source };
        let mut accused = self.see_companions(member, probe, &mut number);
        accused.extend(self.see_crowd(member, probe, &mut number));
        accused
    }

    /// To which pattern a source belongs.
    pub(crate) fn of(&self, unit: &Prefix) -> Option<(Shape, Together)> {
        let belonging = self.belongings.get(unit)?;
        let (_, sources) = self.sizes.iter().find(|(id, _)| *id == belonging.id)?;
        Some((belonging.shape, Together { incident: belonging.id, sources: *sources }))
    }

    fn see_companions(
        &mut self,
        member: Member,
        probe: &Probe,
        number: &mut impl FnMut() -> Id,
    ) -> Vec<Member> {
        let (contact, now) = (&probe.contact, probe.at.mono);
        let Fingerprint { sequence, window, header_length, .. } = contact.fingerprint;
        let own = Seen {
            member,
            at: now,
            turn: 0,
            source_port: contact.source_port,
            sequence,
            make: (contact.kind, window, header_length),
            has_company: false,
            has_twin: false,
        };
        let moment = self.moments.get(contact.target);
        moment.retain(|seen| now.since(seen.at) <= MOMENT && seen.at.since(now) <= MOMENT);
        if moment.iter().any(|seen| seen.member.unit == member.unit) || moment.len() >= NAMES {
            return Vec::new();
        }
        let mut company: Vec<(Prefix, bool)> = Vec::new();
        let mut own = own;
        let turns = self.turns.remember(now, member.unit, || Turns { count: 0, last: now });
        turns.count = turns.count.saturating_add(1);
        turns.last = now;
        own.turn = turns.count;
        for seen in moment.iter_mut() {
            if !are_companions(seen, &own) {
                continue;
            }
            let is_twin = are_twins(seen, &own, contact.target);
            let has_gone_on = self
                .turns
                .get(&seen.member.unit)
                .is_some_and(|turns| turns.count.saturating_sub(seen.turn) > APART);
            // Datagrams and INITs all look the same: without the same numbers they have nothing in common.
            if !is_twin && (has_gone_on || own.make.1 == 0) {
                continue;
            }
            own.has_company |= true;
            own.has_twin |= is_twin;
            // Each is told of it once in a moment, however many come.
            if !seen.has_company || is_twin && !seen.has_twin {
                seen.has_company = true;
                seen.has_twin |= is_twin;
                company.push((seen.member.unit, is_twin));
            }
        }
        moment.push(own);
        if !own.has_company {
            return Vec::new();
        }
        company.push((member.unit, own.has_twin));
        for (unit, is_twin) in company {
            let begin = || Companions { ports: Vec::new(), twins: Vec::new(), last: now };
            let companions = self.companions.remember(now, unit, begin);
            if now.since(companions.last) > WINDOW {
                *companions = begin();
            }
            companions.last = now;
            note(&mut companions.ports, contact.target.port, COMPANIONS);
            if is_twin {
                note(&mut companions.twins, contact.target.port, TWINS);
            }
        }
        let is_ripe = |seen: &&Seen| {
            self.companions
                .get(&seen.member.unit)
                .is_some_and(|own| own.twins.len() >= TWINS || own.ports.len() >= COMPANIONS)
        };
        let Some(moment) = self.moments.known(&contact.target) else { return Vec::new() };
        let has_company = |seen: &&Seen| seen.has_company;
        let ripe: Vec<Member> =
            moment.iter().filter(has_company).filter(is_ripe).map(|seen| seen.member).collect();
        if ripe.len() < 2 {
            return Vec::new();
        }
        let known = ripe.iter().find_map(|own| self.belongings.get(&own.unit)).copied();
        let id = match known {
            Some(Belonging { shape: Shape::Decoy, id, .. }) => id,
            _ => number(),
        };
        ripe.into_iter().filter(|own| self.belongs(now, own, Shape::Decoy, id)).collect()
    }

    fn see_crowd(&mut self, member: Member, probe: &Probe, number: &mut impl FnMut() -> Id) -> Vec<Member> {
        let (contact, now) = (&probe.contact, probe.at.mono);
        let crowd = self.crowds.get(Signature {
            target: contact.target.address,
            protocol: contact.target.protocol,
            kind: contact.kind,
            window: contact.fingerprint.window,
            header_length: contact.fingerprint.header_length,
        });
        if now.since(crowd.oldest) > WINDOW {
            crowd.members.retain(|part| now.since(part.at) <= WINDOW);
            crowd.oldest = crowd.members.iter().map(|part| part.at).min().unwrap_or(now);
        }
        // The two ports of one stream are one (RFC 3550 §11).
        let is_stream = contact.kind == Kind::Udp && contact.target.port >= 1024;
        let port = if is_stream { contact.target.port & !1 } else { contact.target.port };
        let place = crowd.members.iter().position(|part| part.member.unit == member.unit);
        let is_news = match place {
            Some(place) => {
                let part = &mut crowd.members[place];
                part.at = now;
                note(&mut part.ports, port, FEW + 1)
            }
            None if crowd.members.len() < MEMBERS => {
                crowd.members.push(Part { member, ports: vec![port], at: now, is_accused: false });
                true
            }
            // Who is accused already, and then who came first, makes room: or a crowd of nobodies would hide the rest.
            None => {
                let least = (0..MEMBERS).min_by_key(|&place| {
                    let part = &crowd.members[place];
                    (!part.is_accused, part.ports.len(), part.at)
                });
                if let Some(place) = least {
                    crowd.members[place] = Part { member, ports: vec![port], at: now, is_accused: false };
                }
                true
            }
        };
        if !is_news || crowd.members.len() < CROWD {
            return Vec::new();
        }
        // What no stack sends to open a connection is worth a look each time. What half the world's stacks send is no
        // likeness: from the third port on, which few friends have out of date.
        let least = if is_made_by_hand(probe) { 1 } else { 3 };
        // Work that is dealt out is hardly done twice: what many have tried is a dead service that they know.
        let mut all: Vec<u16> = crowd.members.iter().flat_map(|part| part.ports.iter().copied()).collect();
        all.sort_unstable();
        let of_work: Vec<u16> = all
            .chunk_by(|one, other| one == other)
            .filter(|same| same.len() <= TWICE)
            .map(|same| same[0])
            .collect();
        let takes_part = |part: &&mut Part| {
            let own = part.ports.iter().filter(|port| of_work.binary_search(port).is_ok()).count();
            own >= least && part.ports.len() <= FEW
        };
        let parts: Vec<&mut Part> = crowd.members.iter_mut().filter(takes_part).collect();
        if parts.len() < CROWD || of_work.len() < CROWD_PORTS {
            return Vec::new();
        }
        let id = *crowd.id.get_or_insert_with(number);
        let fresh: Vec<Member> = parts
            .into_iter()
            .filter_map(|part| (!std::mem::replace(&mut part.is_accused, true)).then_some(part.member))
            .collect();
        fresh.into_iter().filter(|own| self.belongs(now, own, Shape::Distributed, id)).collect()
    }

    /// A source belongs to a pattern; whether that is new, and it may be accused of it.
    fn belongs(&mut self, now: Mono, member: &Member, shape: Shape, id: Id) -> bool {
        if self.belongings.get(&member.unit).is_some_and(|own| now.since(own.last) <= WINDOW) {
            return false;
        }
        if now.since(self.accused_since) > WINDOW {
            (self.accused, self.accused_since) = (0, now);
        }
        if self.accused >= ACCUSED {
            return false;
        }
        self.accused += 1;
        let belonging = Belonging { shape, id, last: now };
        *self.belongings.remember(now, member.unit, || belonging) = belonging;
        match self.sizes.iter_mut().find(|(own, _)| *own == id) {
            Some((_, size)) => *size += 1,
            None => {
                self.sizes.truncate(CROWDS - 1);
                self.sizes.push_front((id, 1));
            }
        }
        true
    }
}

/// Whether one program may have sent both.
fn are_companions(one: &Seen, other: &Seen) -> bool {
    one.make == other.make && one.at.since(other.at).max(other.at.since(one.at)) <= BACK_TO_BACK
}

/// Whether one program has sent both. TCP's sequence number tells; datagrams only have the source port, which those that
/// speak from a fixed one, or from the same as the other side's, have in common too.
fn are_twins(one: &Seen, other: &Seen, target: Endpoint) -> bool {
    let has_chosen_port = one.source_port >= 1024 && one.source_port != target.port;
    let is_telling = if target.protocol == Protocol::Tcp { one.sequence > 1 } else { has_chosen_port };
    is_telling && (one.source_port, one.sequence) == (other.source_port, other.sequence)
}

/// Whether no operating system's stack makes such packets. Each of them offers at least three options on a SYN
/// (RFC 9293 §3.7.1, RFC 7323, RFC 2018); nmap and masscan send one or none.
fn is_made_by_hand(probe: &Probe) -> bool {
    let contact = &probe.contact;
    match contact.kind {
        Kind::Syn => (1..=24).contains(&contact.fingerprint.header_length),
        _ => contact.is_proved_by_flags(),
    }
}

/// Keeps a port, if it is new and there is room; whether it was kept.
fn note(ports: &mut Vec<u16>, port: u16, most: usize) -> bool {
    let is_new = ports.len() < most && !ports.contains(&port);
    if is_new {
        ports.push(port);
    }
    is_new
}

/// A map that forgets its oldest entries beyond its capacity.
struct Bounded<K, V> {
    map: HashMap<K, V, Secret>,
    order: VecDeque<K>,
    capacity: usize,
}

impl<K: Copy + Eq + std::hash::Hash, V: Default> Bounded<K, V> {
    fn new(capacity: usize, secret: Secret) -> Bounded<K, V> {
        Bounded { map: HashMap::with_hasher(secret), order: VecDeque::new(), capacity }
    }

    /// The entry of `key`, if there is one.
    fn known(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    /// The entry of `key`, begun if there is none.
    fn get(&mut self, key: K) -> &mut V {
        if !self.map.contains_key(&key) {
            if self.order.len() >= self.capacity
                && let Some(oldest) = self.order.pop_front()
            {
                self.map.remove(&oldest);
            }
            self.order.push_back(key);
        }
        self.map.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Contact;
    use crate::time::Now;
    use crate::wire::TcpFlags;

    struct Scene {
        patterns: Patterns,
        next: u64,
    }

    impl Scene {
        fn new() -> Scene {
            Scene { patterns: Patterns::new(Secret([5; 16])), next: 0 }
        }

        /// A SYN; who is accused by it.
        fn syn(&mut self, at_ms: u64, source: u32, port: u16, sequence: u32, header_length: u8) -> usize {
            let source = std::net::Ipv4Addr::from_bits(0xc633_6400 + source).into();
            let address = "192.0.2.2".parse().unwrap();
            let contact = Contact {
                source,
                source_port: 40_000,
                target: Endpoint { protocol: Protocol::Tcp, address, port },
                kind: Kind::Syn,
                flags: TcpFlags(TcpFlags::SYN),
                has_ip_options: false,
                is_cut_up: false,
                fingerprint: Fingerprint { hop_limit: 50, sequence, window: 1024, header_length },
                interface: 0,
            };
            let at = Now::default().later(Duration::from_millis(at_ms));
            let probe = Probe { contact, at, weight: Weight::Firm, mark: None };
            let next = &mut self.next;
            let number = || {
                *next += 1;
                Id(*next)
            };
            self.patterns.see(Prefix::single(source), &probe, number).len()
        }

        fn of(&self, source: u32) -> Option<(Shape, usize)> {
            let unit = Prefix::single(std::net::Ipv4Addr::from_bits(0xc633_6400 + source).into());
            self.patterns.of(&unit).map(|(shape, together)| (shape, together.sources))
        }
    }

    #[test]
    fn decoys_are_known_by_the_fourth_port_and_are_one_incident() {
        let mut scene = Scene::new();
        let mut accused = Vec::new();
        for port in 1..=5 {
            accused.push(
                (0..6).map(|source| scene.syn(u64::from(port) * 500, source, port, 77, 24)).sum::<usize>(),
            );
        }
        assert_eq!(accused, [0, 0, 0, 6, 0], "three forged packets in a friend's name hold nobody");
        assert!((0..6).all(|source| scene.of(source) == Some((Shape::Decoy, 6))));
        assert_eq!(scene.next, 1);
    }

    #[test]
    fn friends_of_one_dead_port_are_no_pattern_however_many_they_are() {
        let mut scene = Scene::new();
        for round in 0..20 {
            for source in 0..100 {
                let sequence = round * 1000 + source;
                assert_eq!(scene.syn(u64::from(round) * 3000, source, 8080, sequence, 40), 0);
            }
        }
    }

    #[test]
    fn friends_of_many_dead_services_with_one_port_each_are_no_pattern() {
        let mut scene = Scene::new();
        for source in 0..200 {
            assert_eq!(
                scene.syn(u64::from(source) * 700, source, 2000 + source as u16, source * 9 + 2, 40),
                0
            );
        }
    }

    #[test]
    fn two_monitors_of_a_few_dead_services_are_no_pattern() {
        let mut scene = Scene::new();
        for round in 0..50 {
            for port in 0..9 {
                for source in 0..2 {
                    let sequence = round * 100 + u32::from(port) * 10 + source + 2;
                    assert_eq!(scene.syn(u64::from(round) * 10_000, source, 7000 + port, sequence, 40), 0);
                }
            }
        }
    }

    #[test]
    fn ports_dealt_out_to_many_sources_of_one_tool_are_one_incident() {
        let mut scene = Scene::new();
        let accused: Vec<usize> = (0..20)
            .map(|source| scene.syn(u64::from(source) * 4000, source, 100 + source as u16, source * 31, 24))
            .collect();
        assert_eq!(accused.iter().sum::<usize>(), 20);
        assert_eq!(accused[..10], [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
        assert_eq!(scene.of(19), Some((Shape::Distributed, 20)));
        // With an ordinary stack behind it, each has to have tried three.
        for (all, expected) in [(30, 0), (45, 15)] {
            let mut scene = Scene::new();
            let accused: usize = (0..all)
                .map(|number| {
                    let (source, port) = (number % 15, 100 + number as u16);
                    scene.syn(u64::from(number) * 4000, source, port, number * 31, 40)
                })
                .sum();
            assert_eq!(accused, expected);
        }
    }

    #[test]
    fn a_crowd_of_nobodies_hides_none_of_those_who_come_later() {
        let mut scene = Scene::new();
        for source in 0..200 {
            scene.syn(0, source, 9000, source * 31, 24);
        }
        let accused: usize = (0..40)
            .map(|source| {
                scene.syn(1000 + u64::from(source), 500 + source, 100 + source as u16, source * 31, 24)
            })
            .sum();
        assert!(accused >= 20, "{accused}");
    }

    #[test]
    fn forged_sources_without_number_accuse_no_more_than_so_many() {
        let mut scene = Scene::new();
        let mut accused = 0;
        for source in 0..50_000u32 {
            accused += scene.syn(u64::from(source / 100), source, (source % 60_000) as u16, 7, 20);
        }
        assert!(accused <= ACCUSED, "{accused}");
        assert!(scene.patterns.moments.map.len() <= MOMENTS && scene.patterns.crowds.map.len() <= CROWDS);
    }
}
