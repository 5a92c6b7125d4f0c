//! PortSentry's way of judging: every probe is told, sources are judged one by one, by how many events they caused
//! whenever that was, and a block has no other end than its configured one.
//!
//! Only what PortSentry called an event is one here: a datagram, a connection taken by a socket, and a TCP segment
//! without ACK and without RST (both versions, measured). Who may be blocked stays policy's word.

use std::net::IpAddr;

use super::{Engine, Freshness, Host, Presence};
use crate::event::{Ban, Cause, Ending, Fate, How, Mode, What};
use crate::net::{Prefix, Protocol};
use crate::scan::sources::{Memory, Secret, Sources};
use crate::scan::{Contact, Probe};
use crate::time::{Mono, Now};
use crate::wire::TcpFlags;
use crate::words;

/// How to judge one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The event of a source that is too many (`SCAN_TRIGGER`); 0 is 1, the first.
    pub enough: u32,
    /// How many sources are counted at once.
    pub sources: usize,
    /// Whether TCP events lead to a block (in the mode enforce).
    pub blocks_tcp: bool,
    /// Whether UDP events do.
    pub blocks_udp: bool,
    /// Whether events of sources that are blocked are told.
    pub tells_blocked: bool,
}

impl Settings {
    fn blocks(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Udp => self.blocks_udp,
            Protocol::Tcp | Protocol::Sctp | Protocol::Icmp | Protocol::Ip => self.blocks_tcp,
        }
    }
}

/// What is counted.
pub(super) struct Singly {
    pub(super) settings: Settings,
    counted: Sources<Counted>,
}

struct Counted {
    events: u32,
    /// Whether the source was told of as one that would have been blocked.
    is_told: bool,
    last: Mono,
}

impl Memory for Counted {
    fn suspicion(&self, _: Mono) -> u32 {
        self.events
    }

    fn last(&self) -> Mono {
        self.last
    }
}

impl Singly {
    pub(super) fn new(settings: Settings, secret: Secret) -> Singly {
        Singly { settings, counted: Sources::new(settings.sources, secret) }
    }

    /// Counts an event; whether it is one too many.
    fn is_too_many(&mut self, now: Mono, source: Prefix) -> bool {
        let counted = self.counted.remember(now, source, || Counted { events: 0, is_told: false, last: now });
        counted.events = counted.events.saturating_add(1);
        counted.last = now;
        counted.events >= self.settings.enough
    }

    /// Marks a source as told of; whether it was not before.
    fn is_first_told(&mut self, now: Mono, source: Prefix) -> bool {
        let begin = || Counted { events: 1, is_told: false, last: now };
        !std::mem::replace(&mut self.counted.remember(now, source, begin).is_told, true)
    }

    pub(super) fn forget(&mut self, source: &Prefix) {
        self.counted.forget(source);
    }

    pub(super) fn memory(&self) -> (usize, u64) {
        (self.counted.len(), self.counted.evicted())
    }
}

/// Whether PortSentry took such a contact for an event.
pub(super) fn is_event(contact: &Contact) -> bool {
    const SEGMENT_OR_ANSWER: u8 = TcpFlags::ACK | TcpFlags::RST;
    matches!(contact.target.protocol, Protocol::Tcp | Protocol::Udp)
        && !contact.is_out_of_sight()
        && contact.flags.0 & SEGMENT_OR_ANSWER == 0
}

impl Engine {
    /// Whether a contact comes from who is shut out, and is not judged any more. Who is held can still prove himself: a
    /// handshake that he had begun before may be finished. One by one it is told of those whom others had blocked:
    /// whether that still holds, nobody here knows.
    pub(super) fn is_untold_if_blocked(&self, contact: &Contact) -> bool {
        let Some(prefix) = self.ledger.covering(contact.source) else { return false };
        if self.ledger.how(&prefix) == Some(How::Held) {
            return !contact.proves_its_source();
        }
        let is_found = matches!(self.ledger.cause(&prefix), Some(Cause::FoundInForce));
        self.singly.as_ref().is_none_or(|own| !own.settings.tells_blocked && !is_found)
    }

    /// Judges one event, and tells it.
    pub(super) fn count_singly(&mut self, probe: Probe, host: &mut dyn Host) -> Option<Fate> {
        let (now, contact) = (probe.at, probe.contact);
        let source = Prefix::single(contact.source);
        let term = self.ledger.term(now, &source, How::Banned);
        let singly = self.singly.as_mut()?;
        let mut granted = None;
        let fate = match self.policy.block(source, term) {
            Err(protected) => Fate::Protected(protected.why),
            Ok(_) if self.ledger.covering(contact.source).is_some() => Fate::BlockedBefore,
            Ok(_) if !singly.is_too_many(now.mono, source) => Fate::Counted,
            // A service has come, or a connection that stands answers: nobody is blocked for it.
            Ok(_) if host.presence(&contact, Freshness::Fresh) != Presence::Nothing => {
                self.counters.withdrawn += 1;
                return None;
            }
            Ok(block)
                if self.settings.mode == Mode::Enforce && singly.settings.blocks(contact.target.protocol) =>
            {
                granted = Some(block);
                Fate::Blocked
            }
            Ok(_) => Fate::OnlyTold { is_first: singly.is_first_told(now.mono, source) },
        };
        self.counters.probes += 1;
        self.counters.scans += u64::from(matches!(fate, Fate::Blocked | Fate::OnlyTold { is_first: true }));
        // Told before it is done, so that whoever answers for the block knows the event by then.
        self.record(now, What::Probe { contact, fate });
        if let Some(block) = granted {
            let (protocol, port) = (contact.target.protocol, contact.target.port);
            self.block(now, block, Cause::Probe { protocol, port, why: words::event(&contact) });
        }
        Some(fate)
    }

    /// Forgets how many events a source has caused, and lets it in if one of these had shut it out.
    pub fn rearm(&mut self, now: Now, source: IpAddr) {
        let prefix = Prefix::single(source);
        if let Some(singly) = &mut self.singly {
            singly.forget(&prefix);
        }
        let is_ours = |ban: Ban| ban.cause.is_automatic();
        if self.ledger.get(now, &prefix).is_some_and(is_ours) {
            self.lift(now, &[prefix], Ending::Operator);
        }
    }

    /// A block could not be put in force, and is not tried again: its next event begins anew. What has been done for it
    /// stays as it is.
    pub fn give_up(&mut self, now: Now, prefix: Prefix) {
        if let Some(ban) = self.ledger.remove(now, &prefix) {
            self.record(now, What::Unban { id: ban.id, prefix, how: ban.how, why: Ending::GivenUp });
        }
    }
}
