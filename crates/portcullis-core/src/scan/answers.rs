//! In a capture nobody can be asked whether a service is there, nor of other hosts that we look after; the packets
//! themselves tell.
//!
//! A contact waits here for what its target answers: a SYN-ACK (or any segment but a reset), an INIT ACK or a
//! datagram says service; a RST, an ABORT or an ICMP error says none; [`PATIENCE`] of silence says none as well. All
//! tables are bounded; what does not fit is decided at once, as if the silence were over.
//!
//! A handshake that its own sender breaks off where a service has answered is told too: scanners do that, and clients
//! that have got an answer elsewhere first.
//!
//! Where a capture shows one direction only, a client who goes on after its SYN tells as much: it has seen an answer.
//! This holds only for targets that are never heard; where they are, their own answers tell. Where it shows the other
//! direction only, a refusal tells that somebody has asked.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::event::Kind;
use crate::net::{Endpoint, Protocol};
use crate::scan::sources::Secret;
use crate::scan::{Contact, Fingerprint};
use crate::time::{Mono, Now};
use crate::wire::{Packet, Tcp, TcpFlags, Transport};

/// How long a contact waits for its answer, in capture time.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Contacts that wait at once, services, conversations and speakers remembered: some ten MiB in all.
const CAPACITY: usize = 65_536;

/// What became of a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub contact: Contact,
    /// When it came.
    pub at: Now,
    /// What it met with.
    pub outcome: Outcome,
}

/// What a contact met with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A reset or an error.
    Refused,
    /// Nothing.
    Silence,
    /// A service.
    Answered,
    /// A service that its sender then spoke to. Told once, after [`Outcome::Answered`] or in its place.
    Used,
    /// A service, and its sender broke the handshake off with a reset.
    BrokenOff,
    /// A refusal, of which nothing else is in the capture: no packet of its sender is.
    OnlyRefused,
}

/// SCTP's chunk that refuses an association (RFC 9260 §3.3.7).
const SCTP_ABORT: u8 = 6;

/// One direction of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Flow {
    from: IpAddr,
    from_port: u16,
    to: Endpoint,
}

impl Flow {
    fn of(contact: &Contact) -> Flow {
        Flow { from: contact.source, from_port: contact.source_port, to: contact.target }
    }

    /// The other direction.
    fn turned(&self) -> Flow {
        let to = Endpoint { protocol: self.to.protocol, address: self.from, port: self.from_port };
        Flow { from: self.to.address, from_port: self.to.port, to }
    }
}

/// A contact that a service has answered.
#[derive(Clone, Copy)]
struct Answered {
    contact: Contact,
    /// Whether its sender has finished the handshake.
    is_finished: bool,
}

/// A map that forgets its oldest entries beyond [`CAPACITY`].
struct Recent<K, V> {
    map: HashMap<K, V, Secret>,
    order: VecDeque<K>,
}

impl<K: Copy + Eq + std::hash::Hash, V> Recent<K, V> {
    fn new(secret: Secret) -> Self {
        Recent { map: HashMap::with_hasher(secret), order: VecDeque::new() }
    }

    fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }

    fn contains(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }
}

/// Contacts without an answer, and since when.
type Waiting = HashMap<Flow, (Contact, Now), Secret>;

/// Whether the contact of this flow that began to wait at `since` waits still.
fn is_waiting(waiting: &Waiting, since: Mono, flow: &Flow) -> bool {
    waiting.get(flow).is_some_and(|(_, at)| at.mono == since)
}

/// Everything that packets have told so far.
pub struct Answers {
    waiting: Waiting,
    /// In the order in which they came; an entry whose contact is settled already is passed over.
    queue: VecDeque<(Mono, Flow)>,
    settled: Vec<Settled>,
    services: Recent<Endpoint, ()>,
    conversations: Recent<Flow, ()>,
    /// Contacts that a service has answered, until their sender speaks.
    answered: Recent<Flow, Answered>,
    /// Refusals of something that was not seen, until it is clear that it never will be.
    unseen: VecDeque<(Now, Contact)>,
    /// Whoever has sent a packet.
    heard: Recent<IpAddr, ()>,
    /// Whoever was contacted, and whether he was heard since.
    targets: Recent<IpAddr, bool>,
    has_two_ways: bool,
}

impl Answers {
    /// Nothing yet.
    #[must_use]
    pub fn new(secret: Secret) -> Answers {
        Answers {
            waiting: HashMap::with_hasher(secret),
            queue: VecDeque::new(),
            settled: Vec::new(),
            services: Recent::new(secret),
            conversations: Recent::new(secret),
            answered: Recent::new(secret),
            unseen: VecDeque::new(),
            heard: Recent::new(secret),
            targets: Recent::new(secret),
            has_two_ways: false,
        }
    }

    /// Learns from any packet of the capture, before it is judged: it may be somebody's answer.
    pub fn learn(&mut self, now: Now, packet: &Packet<'_>) {
        self.heard.insert(packet.source, ());
        if let Some(is_heard) = self.targets.map.get_mut(&packet.source) {
            *is_heard = true;
            self.has_two_ways = true;
        }
        match packet.transport {
            Transport::Tcp(tcp) => {
                let back = reverse(packet, Protocol::Tcp, tcp.source_port, tcp.destination_port);
                if tcp.flags.has(TcpFlags::RST) {
                    self.break_off(now, &back.turned(), &tcp);
                    if !self.refuse(&back) {
                        self.refuse_unseen(now, packet, &tcp);
                    }
                } else if tcp.flags.has(TcpFlags::ACK) {
                    if tcp.flags.has(TcpFlags::SYN) {
                        self.services.insert(back.to, ());
                    }
                    self.answer(&back, Outcome::Answered);
                    self.conversations.insert(back, ());
                    if !tcp.flags.has(TcpFlags::SYN) && !tcp.flags.has(TcpFlags::FIN) {
                        self.goes_on(now, &back.turned(), tcp.payload_length > 0);
                    }
                }
            }
            Transport::Udp { source_port, destination_port, .. } => {
                let back = reverse(packet, Protocol::Udp, source_port, destination_port);
                if self.answer(&back, Outcome::Used) {
                    self.services.insert(back.to, ());
                }
                self.conversations.insert(back, ());
            }
            Transport::Sctp { source_port, destination_port, first_chunk, .. } => {
                let back = reverse(packet, Protocol::Sctp, source_port, destination_port);
                if first_chunk == SCTP_ABORT {
                    self.refuse(&back);
                } else if self.answer(&back, Outcome::Answered) {
                    self.services.insert(back.to, ());
                }
            }
            Transport::Icmp { quoted: Some(quoted), .. } => {
                let (protocol, port) = match protocol_of(quoted.protocol) {
                    Protocol::Ip => (Protocol::Ip, quoted.protocol.into()),
                    protocol => (protocol, quoted.destination_port),
                };
                let to = Endpoint { protocol, address: quoted.destination, port };
                self.refuse(&Flow { from: quoted.source, from_port: quoted.source_port, to });
            }
            Transport::Other(number) => {
                let to = Endpoint { protocol: Protocol::Ip, address: packet.source, port: number.into() };
                let back = Flow { from: packet.destination, from_port: 0, to };
                if self.waiting.remove(&back).is_some() {
                    self.services.insert(back.to, ());
                }
                self.conversations.insert(back, ());
            }
            _ => {}
        }
    }

    /// Whether `contact` is part of a conversation that the capture has shown, or goes to a known service.
    #[must_use]
    pub fn explains(&self, contact: &Contact) -> bool {
        self.has_service(&contact.target) || self.conversations.contains(&Flow::of(contact))
    }

    /// Minds a contact to a known service, so that it is told when its sender speaks to it.
    pub fn mind(&mut self, contact: &Contact) {
        self.answered.insert(Flow::of(contact), Answered { contact: *contact, is_finished: false });
    }

    /// Whether something has answered at `endpoint`.
    #[must_use]
    pub fn has_service(&self, endpoint: &Endpoint) -> bool {
        self.services.contains(endpoint)
    }

    /// Lets `contact` wait for its answer.
    pub fn wait(&mut self, now: Now, contact: Contact) {
        if !self.targets.contains(&contact.target.address) {
            self.targets.insert(contact.target.address, false);
        }
        let flow = Flow::of(&contact);
        if let Some((first, _)) = self.waiting.get(&flow) {
            if contact.is_mid_conversation() && contact.fingerprint.sequence != first.fingerprint.sequence {
                self.talks(flow);
            }
            return;
        }
        while self.waiting.len() >= CAPACITY
            && let Some((since, oldest)) = self.queue.pop_front()
        {
            self.give_up(since, &oldest);
        }
        if self.queue.len() >= 2 * CAPACITY {
            // Most entries are of contacts that were answered; behind one that was not they would pile up for as long
            // as the capture's clock stands still.
            let waiting = &self.waiting;
            self.queue.retain(|(since, flow)| is_waiting(waiting, *since, flow));
        }
        self.waiting.insert(flow, (contact, now));
        self.queue.push_back((now.mono, flow));
    }

    /// The contacts that turned out to have found nothing, oldest first within each call.
    pub fn settle(&mut self, now: Mono) -> Vec<Settled> {
        while let Some(&(since, flow)) = self.queue.front() {
            if is_waiting(&self.waiting, since, &flow) && now.since(since) < PATIENCE {
                break;
            }
            self.give_up(since, &flow);
            self.queue.pop_front();
        }
        while let Some(&(at, contact)) = self.unseen.front()
            && now.since(at.mono) >= PATIENCE
        {
            self.unseen.pop_front();
            if !self.heard.contains(&contact.source) {
                self.settled.push(Settled { contact, at, outcome: Outcome::OnlyRefused });
            }
        }
        std::mem::take(&mut self.settled)
    }

    /// When the next contact has waited long enough.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        let waiting = self.queue.front().map(|&(since, _)| since);
        let unseen = self.unseen.front().map(|(at, _)| at.mono);
        waiting.into_iter().chain(unseen).min().map(|since| since + PATIENCE)
    }

    /// Whether the capture holds packets from the side that was contacted; without them silence means little.
    #[must_use]
    pub fn has_two_ways(&self) -> bool {
        self.has_two_ways
    }

    /// The contact of `flow` was followed by a segment that goes on from it, as no probe does: the other direction is not
    /// in the capture. Whether it is captured at all tells whether there is a service: if it is, this is a scanner who
    /// pretends, or packets that took another way.
    fn talks(&mut self, flow: Flow) {
        self.waiting.remove(&flow);
        self.conversations.insert(flow, ());
        if !self.has_two_ways {
            self.services.insert(flow.to, ());
        }
    }

    /// Nothing has answered the contact that began to wait at `since`, if it still waits.
    fn give_up(&mut self, since: Mono, flow: &Flow) {
        if is_waiting(&self.waiting, since, flow)
            && let Some((contact, at)) = self.waiting.remove(flow)
        {
            self.settled.push(Settled { contact, at, outcome: Outcome::Silence });
        }
    }

    /// A service has answered whatever waits on `flow`; whether something did.
    fn answer(&mut self, flow: &Flow, outcome: Outcome) -> bool {
        let Some((contact, at)) = self.waiting.remove(flow) else { return false };
        self.settled.push(Settled { contact, at, outcome });
        if outcome == Outcome::Answered {
            self.answered.insert(*flow, Answered { contact, is_finished: false });
        }
        true
    }

    /// The sender of `flow` goes on with it, perhaps with data.
    fn goes_on(&mut self, now: Now, flow: &Flow, has_data: bool) {
        let is_heard = self.targets.map.get(&flow.to.address).copied().unwrap_or(false);
        if !is_heard {
            // What waits may be a segment of the same kind, sent again; `wait` tells those apart.
            if self.waiting.get(flow).is_some_and(|(contact, _)| !contact.is_mid_conversation()) {
                self.answer(flow, Outcome::Answered);
            }
            if has_data {
                // The end of this stream is no probe. (A segment without data may be one by itself.)
                self.conversations.insert(*flow, ());
            }
        }
        if let Some(answered) = self.answered.map.get_mut(flow) {
            answered.is_finished = true;
        }
        if has_data && let Some(Answered { contact, .. }) = self.answered.map.remove(flow) {
            self.settled.push(Settled { contact, at: now, outcome: Outcome::Used });
        }
    }

    /// The sender of `flow` resets it: a handshake that he began is broken off if this is the next thing that he says
    /// (RFC 9293 §3.10.7.3: the reset of a SYN-ACK that nobody waits for).
    fn break_off(&mut self, now: Now, flow: &Flow, reset: &Tcp) {
        let Some(&Answered { contact, is_finished }) = self.answered.map.get(flow) else { return };
        let is_next = reset.sequence == contact.fingerprint.sequence.wrapping_add(1);
        if contact.kind == Kind::Syn && !is_finished && is_next {
            self.answered.map.remove(flow);
            self.settled.push(Settled { contact, at: now, outcome: Outcome::BrokenOff });
        }
    }

    /// Whether something waited for it.
    fn refuse(&mut self, flow: &Flow) -> bool {
        let Some((contact, at)) = self.waiting.remove(flow) else { return false };
        self.settled.push(Settled { contact, at, outcome: Outcome::Refused });
        true
    }

    /// A reset that a stack sends where a SYN meets a closed port has no number of its own (RFC 9293 §3.10.7.1), while
    /// that of a connection has. FIN, NULL and Xmas are refused likewise, but there are fewer of them.
    fn refuse_unseen(&mut self, now: Now, packet: &Packet<'_>, reset: &Tcp) {
        let is_refusal = reset.flags.classic() == TcpFlags::RST | TcpFlags::ACK
            && (reset.sequence, reset.window, reset.payload_length) == (0, 0, 0);
        if !is_refusal || self.heard.contains(&packet.destination) || self.unseen.len() >= CAPACITY {
            return;
        }
        let target = Endpoint { protocol: Protocol::Tcp, address: packet.source, port: reset.source_port };
        let contact = Contact {
            source: packet.destination,
            source_port: reset.destination_port,
            target,
            kind: Kind::Syn,
            flags: TcpFlags(TcpFlags::SYN),
            has_ip_options: false,
            is_cut_up: false,
            fingerprint: Fingerprint::default(),
            interface: 0,
        };
        self.unseen.push_back((now, contact));
    }
}

/// The flow that `packet` would be the answer to.
fn reverse(packet: &Packet<'_>, protocol: Protocol, source_port: u16, destination_port: u16) -> Flow {
    let to = Endpoint { protocol, address: packet.source, port: source_port };
    Flow { from: packet.destination, from_port: destination_port, to }
}

/// By IANA's protocol numbers; whatever has no ports is IP's own.
fn protocol_of(number: u8) -> Protocol {
    match number {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        132 => Protocol::Sctp,
        _ => Protocol::Ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Checksums, Decoder, FragmentLimits, Frame, Link, build};

    fn contact(number: u32) -> Contact {
        let target = Endpoint { protocol: Protocol::Tcp, address: "192.0.2.2".parse().unwrap(), port: 22 };
        let source = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into();
        Contact {
            source,
            source_port: 40_000,
            target,
            kind: Kind::Syn,
            flags: TcpFlags::default(),
            has_ip_options: false,
            is_cut_up: false,
            fingerprint: Fingerprint::default(),
            interface: 0,
        }
    }

    #[test]
    fn a_capture_whose_clock_stands_still_fills_no_memory() {
        let mut answers = Answers::new(Secret([9; 16]));
        answers.wait(Now::default(), contact(0));
        for number in 1..4 * CAPACITY as u32 {
            let contact = contact(number);
            answers.wait(Now::default(), contact);
            answers.refuse(&Flow::of(&contact));
            assert_eq!(answers.settle(Mono::default()).len(), 1);
        }
        assert!(answers.queue.len() <= 2 * CAPACITY, "{}", answers.queue.len());
        assert_eq!(answers.settle(Mono::default() + PATIENCE).len(), 1, "the first is still there");
    }

    #[test]
    fn more_contacts_than_may_wait_are_decided_early_and_none_is_lost() {
        let mut answers = Answers::new(Secret([9; 16]));
        for number in 0..CAPACITY as u32 + 100 {
            answers.wait(Now::default(), contact(number));
        }
        assert_eq!((answers.waiting.len(), answers.settle(Mono::default()).len()), (CAPACITY, 100));
        assert_eq!(answers.settle(Mono::default() + PATIENCE).len(), CAPACITY);
    }

    /// A segment between the contact's ends, from its source if `is_on` and from its target otherwise.
    fn learn(answers: &mut Answers, second: u64, contact: &Contact, is_on: bool, flags: u8, sequence: u32) {
        let (source, destination) = (contact.source, contact.target.address);
        let (from, to) = (contact.source_port, contact.target.port);
        let (source, destination, from, to) =
            if is_on { (source, destination, from, to) } else { (destination, source, to, from) };
        let segment = build::tcp(from, to, flags).sequence(sequence).acknowledgement(1).window(0);
        let bytes = build::ip(source, destination, segment).bytes();
        let mut decoder = Decoder::new(FragmentLimits::default(), [0; 16]);
        let now = Now::default().later(Duration::from_secs(second));
        let frame = Frame {
            link: Link::RawIp,
            bytes: &bytes,
            wire_length: bytes.len(),
            checksums: Checksums::Verify,
        };
        let packet = decoder.decode(now.mono, frame).unwrap();
        answers.learn(now, &packet);
    }

    fn outcomes(answers: &mut Answers, second: u64) -> Vec<Outcome> {
        let now = Mono::default() + Duration::from_secs(second);
        answers.settle(now).iter().map(|settled| settled.outcome).collect()
    }

    const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
    const REFUSAL: u8 = TcpFlags::RST | TcpFlags::ACK;

    #[test]
    fn a_handshake_is_broken_off_by_a_reset_right_after_the_answer_and_not_later() {
        for (is_finished, sequence, expected) in
            [(false, 1, Some(Outcome::BrokenOff)), (true, 1, None), (false, 700, None)]
        {
            let mut answers = Answers::new(Secret([9; 16]));
            let contact = contact(0);
            answers.wait(Now::default(), contact);
            learn(&mut answers, 0, &contact, false, SYN_ACK, 5);
            if is_finished {
                learn(&mut answers, 0, &contact, true, TcpFlags::ACK, 1);
            }
            learn(&mut answers, 0, &contact, true, TcpFlags::RST, sequence);
            learn(&mut answers, 0, &contact, true, TcpFlags::RST, sequence);
            let told: Vec<Outcome> = [Outcome::Answered].into_iter().chain(expected).collect();
            assert_eq!(outcomes(&mut answers, 0), told, "{is_finished} {sequence}");
        }
    }

    #[test]
    fn a_refusal_alone_tells_that_somebody_has_asked_unless_he_is_heard() {
        for (flags, sequence, is_heard, expected) in [
            (REFUSAL, 0, false, vec![Outcome::OnlyRefused]),
            (REFUSAL, 0, true, vec![]),
            (REFUSAL, 77, false, vec![]),
            (TcpFlags::RST, 0, false, vec![]),
        ] {
            let mut answers = Answers::new(Secret([9; 16]));
            let contact = contact(0);
            learn(&mut answers, 0, &contact, false, flags, sequence);
            if is_heard {
                learn(&mut answers, 1, &contact, true, TcpFlags::ACK, 9);
            }
            assert!(outcomes(&mut answers, 1).is_empty(), "he may be heard yet");
            assert_eq!(answers.next_timeout().is_some(), !answers.unseen.is_empty());
            assert_eq!(outcomes(&mut answers, 2), expected, "{flags:#x} {sequence} {is_heard}");
        }
    }
}
