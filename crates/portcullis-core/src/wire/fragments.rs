//! Fragments, joined far enough to read the transport header: both families, in any order.
//!
//! A datagram is told of once, as soon as its transport header is complete; the rest of its fragments only settle
//! when it is over. A fragment that brings nothing new is a duplicate and ignored, as Linux does. One that contradicts
//! the others (by an overlap, other bytes, another end) makes Linux drop the datagram, in both families since 4.19
//! (RFC 5722, RFC 8900); but Linux may have dropped it earlier and unseen, after 64 other fragments of the same source
//! (`net.ipv4.ipfrag_max_dist`) or for want of memory, and then it joins that fragment with those that follow. So a
//! contradiction begins the datagram anew. The mistake is to tell of a datagram that Linux has dropped, or twice of
//! one: a probe too many on the account of whoever sends such fragments.
//!
//! The other mistake needs a datagram that Linux has dropped unseen and that we still hold: a probe under the same
//! identification whose fragments end the old one before its own first fragment has come is not seen.

use std::net::IpAddr;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::budget::Budget;
use super::checksum::Sum;
use super::extension::{self, Start};
use super::ranges::{Placement, Ranges};
use super::transport::{self, Body, Extent, Proof};
use super::{Packet, Refusal, Transport};
use crate::time::Mono;

/// How many bytes of each datagram are kept, from the start of what was cut into fragments. The longest TCP header
/// has 60 bytes; the rest is room for IPv6 destination options or the packet that an ICMP error quotes.
pub const BYTES_KEPT: usize = 128;

/// Places in each set of the table. Datagrams with the same hash share a set, and the oldest of them gives way. Eight
/// keep chance collisions rare below half of the table, and looking through them takes some 100 ns.
const WAYS: usize = 8;

/// What a stranger may cost us with fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLimits {
    /// How many datagrams may be under way at once, rounded up to a multiple of 8. About 330 bytes each.
    pub datagrams: usize,
    /// How long an IPv4 datagram may take from its first fragment on (`net.ipv4.ipfrag_time`: 30 s).
    pub ipv4_timeout: Duration,
    /// The same for IPv6 (RFC 8200 §4.5: 60 s).
    pub ipv6_timeout: Duration,
    /// How many fragments are looked at in a second, and in one burst. Those above are refused.
    pub per_second: u32,
}

/// 1,024 datagrams (a third of a MiB) and 50,000 fragments a second (some 1 % of a core).
impl Default for FragmentLimits {
    fn default() -> FragmentLimits {
        FragmentLimits {
            datagrams: 1024,
            ipv4_timeout: Duration::from_secs(30),
            ipv6_timeout: Duration::from_secs(60),
            per_second: 50_000,
        }
    }
}

/// What fragments of one datagram have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) identification: u32,
    /// Always 0 with IPv6, where fragments are matched without it.
    pub(super) protocol: u8,
}

/// One fragment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) datagram: Datagram,
    pub(super) hop_limit: u8,
    pub(super) has_ip_options: bool,
    /// The protocol number of what the whole datagram begins with.
    pub(super) first_header: u8,
    /// Where it belongs, in bytes.
    pub(super) offset: usize,
    /// Whether it is not the last.
    pub(super) has_more: bool,
    /// Its bytes, as far as they were captured.
    pub(super) bytes: &'a [u8],
    /// How many bytes it had on the wire.
    pub(super) length: usize,
    /// Whether the transport checksum may be verified.
    pub(super) is_verifiable: bool,
}

/// The table of datagrams under way: of a fixed size, and hashed with a secret, so that nobody can aim at the
/// place of somebody else's datagram.
#[derive(Debug)]
pub(super) struct Fragments {
    limits: FragmentLimits,
    hasher: SipHasher13,
    sets: Vec<[Entry; WAYS]>,
    budget: Budget,
    evicted: u64,
}

impl Fragments {
    pub(super) fn new(limits: FragmentLimits, secret: &[u8; 16]) -> Fragments {
        let sets = limits.datagrams.div_ceil(WAYS).max(1);
        Fragments {
            limits,
            hasher: SipHasher13::new_with_key(secret),
            sets: vec![[Entry::default(); WAYS]; sets],
            budget: Budget::default(),
            evicted: 0,
        }
    }

    /// How many datagrams lost their place before they were told of.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Adds a fragment; the packet, if its transport header became complete by it.
    pub(super) fn join<'a>(&'a mut self, now: Mono, piece: &Piece<'_>) -> Result<Packet<'a>, Refusal> {
        if !self.budget.spend(now, self.limits.per_second) {
            return Err(Refusal::FragmentRate);
        }
        let mut piece = *piece;
        let is_ragged = piece.has_more && !piece.length.is_multiple_of(8);
        if is_ragged && piece.datagram.source.is_ipv4() {
            // Linux cuts it to what fits, and joins that (net/ipv4/ip_fragment.c, `ip_frag_queue`).
            piece.length -= piece.length % 8;
            piece.bytes = piece.bytes.get(..piece.length).unwrap_or(piece.bytes);
        } else if is_ragged {
            self.doubt(now, &piece.datagram);
            return Err(Refusal::BadFragment);
        }
        // The last offset that fits the header field is 65,528.
        let (Ok(start), Ok(end)) = (u16::try_from(piece.offset), u16::try_from(piece.offset + piece.length))
        else {
            return Err(Refusal::BadFragment);
        };
        if start == end {
            self.doubt(now, &piece.datagram);
            return Err(Refusal::BadFragment);
        }
        let entry = self.place(now, &piece.datagram);
        match entry.parts.add(&piece, start, end) {
            Ok(()) => entry.tell(),
            Err(contradiction) => entry.contradicted(now, &piece, (start, end), contradiction),
        }
    }

    /// Linux may have forgotten this datagram (by an empty fragment, or an IPv6 one that isn't a multiple of 8). If it was
    /// told of already, the next under its identification is taken for another one; if not, what has come is kept, since
    /// not every path through the kernel forgets it, and what contradicts it is told of.
    fn doubt(&mut self, now: Mono, datagram: &Datagram) {
        let limits = &self.limits;
        let index = Fragments::index(&self.hasher, self.sets.len(), datagram);
        let own = self
            .sets
            .get_mut(index)
            .and_then(|set| set.iter_mut().find(|entry| entry.rank(now, datagram, limits) == Rank::Wanted));
        if let Some(entry) = own.filter(|entry| entry.state == State::Settled) {
            entry.state = State::Free;
        }
    }

    /// The set in which this datagram has its place.
    fn index(hasher: &SipHasher13, sets: usize, datagram: &Datagram) -> usize {
        // Takes the upper bits of the hash, scaled to the number of sets: no set is preferred.
        let hash = u128::from(hasher.hash(&datagram.bytes()));
        ((hash * sets as u128) >> 64) as usize
    }

    /// The entry of this datagram: its own, or a free one, or the one that is missed least.
    fn place(&mut self, now: Mono, datagram: &Datagram) -> &mut Entry {
        let index = Fragments::index(&self.hasher, self.sets.len(), datagram);
        let limits = &self.limits;
        let entry = self
            .sets
            .get_mut(index)
            .and_then(|set| {
                set.iter_mut().min_by_key(|entry| (entry.rank(now, datagram, limits), entry.opened))
            })
            .expect("the index was scaled to the number of sets, and no set is empty");
        match entry.rank(now, datagram, limits) {
            Rank::Wanted => return entry,
            Rank::Free | Rank::Settled => {}
            Rank::Waiting => self.evicted += 1,
        }
        let parts = Parts { datagram: Some(*datagram), ..Parts::default() };
        *entry = Entry { state: State::Waiting, opened: now, parts };
        entry
    }
}

impl Datagram {
    fn bytes(&self) -> [u8; 37] {
        let mut bytes = [0; 37];
        let (source, rest) = bytes.split_at_mut(16);
        let (destination, rest) = rest.split_at_mut(16);
        for (to, address) in [(source, self.source), (destination, self.destination)] {
            let octets = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            to.copy_from_slice(&octets);
        }
        let (identification, protocol) = rest.split_at_mut(4);
        identification.copy_from_slice(&self.identification.to_be_bytes());
        protocol.copy_from_slice(&[self.protocol]);
        bytes
    }
}

/// A place in the table.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    state: State,
    opened: Mono,
    parts: Parts,
}

/// What has come of a datagram.
#[derive(Clone, Copy, Debug)]
struct Parts {
    datagram: Option<Datagram>,
    /// What the fragment at offset 0 said.
    first: Option<First>,
    head: [u8; BYTES_KEPT],
    /// Which bytes of `head` have come, a bit each.
    present: u128,
    came: Ranges,
    /// How many different bytes have come; too many once `came` has forgotten some.
    received: u32,
    /// The length of the whole, known by its last fragment.
    total: Option<u16>,
    /// The sum of all that came, while every byte went into it exactly once.
    sum: Option<Sum>,
    /// Whether a fragment came that did not fit the others.
    is_contradicted: bool,
}

#[derive(Clone, Copy, Debug)]
struct First {
    header: u8,
    hop_limit: u8,
    has_ip_options: bool,
    /// Its bytes.
    length: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    /// Its transport header is not complete.
    Waiting,
    /// It was told of or refused; only the rest of its fragments is awaited.
    Settled,
}

/// How readily an entry gives its place to another datagram; the first in this order is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Wanted,
    Free,
    Settled,
    Waiting,
}

impl Default for Parts {
    fn default() -> Parts {
        Parts {
            datagram: None,
            first: None,
            head: [0; BYTES_KEPT],
            present: 0,
            came: Ranges::default(),
            received: 0,
            total: None,
            sum: Some(Sum::default()),
            is_contradicted: false,
        }
    }
}

impl Entry {
    fn rank(&self, now: Mono, datagram: &Datagram, limits: &FragmentLimits) -> Rank {
        let Some(own) = &self.parts.datagram else { return Rank::Free };
        let timeout = if own.source.is_ipv4() { limits.ipv4_timeout } else { limits.ipv6_timeout };
        // Counted in both directions: an entry from before a step back of the clock ends as well.
        let age = now.since(self.opened).max(self.opened.since(now));
        match self.state {
            State::Free => Rank::Free,
            _ if age > timeout => Rank::Free,
            _ if own == datagram => Rank::Wanted,
            State::Settled => Rank::Settled,
            State::Waiting => Rank::Waiting,
        }
    }

    /// A fragment came that doesn't fit the others. Linux drops the datagram, or has forgotten it and begins anew, or
    /// ignores this fragment; it can't be seen which. So what the fragment says replaces what was kept, byte by byte.
    ///
    /// - If that makes a header, it is told of, once more if need be.
    /// - If no header was complete, and bytes of it are in dispute, the ports are called hidden: Linux may read others
    ///   than we would.
    fn contradicted(
        &mut self,
        now: Mono,
        piece: &Piece<'_>,
        (start, end): (u16, u16),
        contradiction: Refusal,
    ) -> Result<Packet<'_>, Refusal> {
        let was_told = self.state == State::Settled;
        let is_about_head = self.parts.present != 0 || piece.offset < BYTES_KEPT;
        let is_changed = self.parts.begin_anew(piece, start, end);
        if was_told && !is_changed {
            return Err(contradiction);
        }
        self.state = State::Waiting;
        self.opened = now;
        match self.parts.read() {
            Err(Refusal::FragmentPending) if !was_told && is_about_head => {
                let Some(packet) = self.parts.hidden() else { return Err(contradiction) };
                Ok(packet)
            }
            Err(Refusal::FragmentPending) => Err(contradiction),
            outcome => {
                self.state = State::Settled;
                outcome
            }
        }
    }

    /// The packet, if this is the moment to tell of it.
    fn tell(&mut self) -> Result<Packet<'_>, Refusal> {
        let is_whole = self.parts.is_whole();
        // A datagram that is over frees its place, so that the next one may use the same identification at once.
        let settled = if is_whole { State::Free } else { State::Settled };
        if self.state == State::Settled {
            self.state = settled;
            return Err(Refusal::FragmentRest);
        }
        let outcome = self.parts.read();
        if outcome != Err(Refusal::FragmentPending) {
            self.state = settled;
        }
        outcome
    }
}

impl Parts {
    /// Takes in a fragment of the bytes from `start` to `end`; refuses one that does not fit the others.
    fn add(&mut self, piece: &Piece<'_>, start: u16, end: u16) -> Result<(), Refusal> {
        let is_beyond_end = self.total.is_some_and(|total| end > total);
        let is_other_end = !piece.has_more && self.total.is_some_and(|total| end != total);
        let is_before_others = !piece.has_more && self.came.end() > end;
        if is_beyond_end || is_other_end || is_before_others {
            return Err(Refusal::BadFragment);
        }
        if self.differs(piece) {
            return Err(Refusal::FragmentOverlap);
        }
        if !piece.has_more {
            self.total = Some(end);
        }
        let placement = self.came.insert(start, end);
        if self.came.has_forgotten() {
            self.sum = None;
        }
        match placement {
            Placement::Known => return Ok(()),
            Placement::Apart => {
                self.received = self.received.saturating_add(u32::from(end - start));
                self.sum = self.sum.filter(|_| piece.is_verifiable && piece.bytes.len() == piece.length);
                if let Some(sum) = &mut self.sum {
                    sum.add(piece.bytes);
                }
            }
            Placement::Overlapping => return Err(Refusal::FragmentOverlap),
        }
        self.keep(piece);
        Ok(())
    }

    /// Whether the fragment says something else than what was kept.
    fn differs(&self, piece: &Piece<'_>) -> bool {
        let kept = self.head.iter().enumerate().skip(piece.offset);
        kept.zip(piece.bytes).any(|((position, kept), new)| self.has(position) && kept != new)
    }

    fn has(&self, position: usize) -> bool {
        self.present & (1 << position) != 0
    }

    /// Forgets what came, but for the bytes of the head that the fragment leaves as they were; whether it changed any.
    fn begin_anew(&mut self, piece: &Piece<'_>, start: u16, end: u16) -> bool {
        let before = (self.head, self.present);
        self.came = Ranges::default();
        self.came.insert(start, end);
        self.received = u32::from(end - start);
        self.total = (!piece.has_more).then_some(end);
        self.sum = None;
        self.is_contradicted = true;
        if piece.offset == 0 {
            self.first = None;
        }
        for position in piece.offset..BYTES_KEPT.min(piece.offset + piece.bytes.len()) {
            self.present &= !(1 << position);
        }
        self.keep(piece);
        before != (self.head, self.present)
    }

    /// Puts the fragment's bytes where none are kept yet.
    fn keep(&mut self, piece: &Piece<'_>) {
        if piece.offset == 0 {
            self.first.get_or_insert(First {
                header: piece.first_header,
                hop_limit: piece.hop_limit,
                has_ip_options: piece.has_ip_options,
                length: piece.bytes.len(),
            });
        }
        for (position, (to, from)) in self.head.iter_mut().skip(piece.offset).zip(piece.bytes).enumerate() {
            let bit = 1 << (piece.offset + position);
            if self.present & bit == 0 {
                *to = *from;
                self.present |= bit;
            }
        }
    }

    /// The packet whose ports nobody can know.
    fn hidden(&self) -> Option<Packet<'static>> {
        let Datagram { source, destination, .. } = self.datagram?;
        let First { hop_limit, has_ip_options, .. } =
            self.first.unwrap_or(First { header: 0, hop_limit: 0, has_ip_options: false, length: 0 });
        let transport = Transport::Hidden { number: 0 };
        Some(Packet {
            source,
            destination,
            hop_limit,
            has_ip_options,
            is_fragmented: true,
            is_cut_up: true,
            transport,
        })
    }

    /// Whether the transport header, behind `skipped` bytes of others, came whole with the first fragment.
    fn is_header_in_first(&self, transport: &Transport<'_>, skipped: usize) -> bool {
        let length = match transport {
            Transport::Tcp(tcp) => usize::from(tcp.header_length),
            Transport::Udp { .. } | Transport::Icmp { .. } => 8,
            Transport::Sctp { .. } => 16,
            Transport::Hidden { .. } | Transport::Other(_) => 0,
        };
        self.first.is_some_and(|first| first.length >= skipped + length)
    }

    fn is_whole(&self) -> bool {
        self.total.is_some_and(|total| self.received >= u32::from(total))
    }

    /// Reads the transport header, as far as the parts allow.
    fn read(&self) -> Result<Packet<'_>, Refusal> {
        let there = (self.present.trailing_ones() as usize).min(BYTES_KEPT);
        let head = self.head.get(..there).unwrap_or_default();
        let (Some(Datagram { source, destination, .. }), Some(first)) = (self.datagram, self.first) else {
            // Without the fragment at offset 0 nothing can be read, and a datagram is never whole.
            return Err(Refusal::FragmentPending);
        };
        let total = self.total.map(usize::from).filter(|_| self.is_whole());
        let missing = match total {
            Some(total) if total > there => Refusal::Truncated,
            Some(_) => Refusal::TooShort,
            None if there == BYTES_KEPT => Refusal::FragmentHeaderTooLong,
            None => Refusal::FragmentPending,
        };
        let told_apart = |refusal| if refusal == Refusal::Truncated { missing } else { refusal };

        let First { hop_limit, has_ip_options, .. } = first;
        let about = Packet {
            source,
            destination,
            hop_limit,
            has_ip_options,
            is_fragmented: true,
            is_cut_up: self.is_contradicted,
            transport: Transport::Hidden { number: 0 },
        };
        let out_of_reach = |refusal| match told_apart(refusal) {
            Refusal::Truncated | Refusal::FragmentHeaderTooLong if there == BYTES_KEPT => Ok(about),
            Refusal::TooManyExtensionHeaders => Ok(about),
            refusal => Err(refusal),
        };

        let (mut protocol, mut skipped, mut is_under_way) = (first.header, 0, false);
        if source.is_ipv6() {
            let chain = match extension::walk(head, first.header, Start::BehindFragmentHeader) {
                Ok(chain) => chain,
                Err(refusal) => return out_of_reach(refusal),
            };
            if chain.fragment.is_some() {
                return Err(Refusal::BadExtensionHeader);
            }
            (protocol, skipped, is_under_way) = (chain.protocol, chain.length, chain.is_under_way);
        }
        let bytes = match head.get(skipped..) {
            Some(bytes) => bytes,
            None if transport::has_ports(protocol) => return out_of_reach(missing),
            None => return Err(missing),
        };
        let extent = match total {
            Some(total) => Extent::Joined(total.saturating_sub(skipped)),
            None if there == BYTES_KEPT => Extent::Full,
            None => Extent::Growing,
        };
        let proof = match (self.sum, total) {
            (Some(sum), Some(_)) if !is_under_way => {
                Proof::Sum(sum.without(Sum::of(head.get(..skipped).unwrap_or_default())))
            }
            _ => Proof::None,
        };
        let body = Body { source, destination, protocol, bytes, extent, proof };
        match transport::decode(&body) {
            Ok(transport) => {
                let is_cut_up = about.is_cut_up || !self.is_header_in_first(&transport, skipped);
                Ok(Packet { transport, is_cut_up, ..about })
            }
            Err(refusal) if transport::has_ports(protocol) => out_of_reach(refusal),
            Err(refusal) => Err(told_apart(refusal)),
        }
    }
}
