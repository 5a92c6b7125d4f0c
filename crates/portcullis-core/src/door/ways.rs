//! Which sequences are listened for: each a way to open a door, or to shut it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::touched::Port;
use super::{Door, DoorId, Lock, Name, Sequence, Settings, Step, Style};
use crate::net::Protocol;
use crate::wire::TcpFlags;

/// What a sequence leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    Open,
    Close,
    /// Opens once; the number is the configuration's.
    Once(u32),
}

/// One sequence that is listened for.
#[derive(PartialEq)]
pub(crate) struct Way {
    pub(crate) door: Name,
    pub(crate) leads: Leads,
    pub(crate) sequence: Sequence,
    pub(crate) style: Style,
    target: Option<IpAddr>,
}

impl Way {
    pub(crate) fn is_knockds(&self) -> bool {
        matches!(self.style, Style::Knockd { .. })
    }

    pub(crate) fn refuses_scans(&self) -> bool {
        self.style != Style::Knockd { scans_may_open: true }
    }

    /// Whether a packet to this address is for this door.
    pub(crate) fn is_target(&self, address: IpAddr, is_local: bool) -> bool {
        self.target.map_or(is_local, |target| target == address)
    }

    pub(crate) fn has(&self, port: Port) -> bool {
        self.sequence.steps().iter().any(|step| is_port(step, port))
    }

    /// The place (from 1) of the first step that this packet could be, whatever came before.
    pub(crate) fn place(&self, port: Port, flags: TcpFlags) -> Option<u8> {
        let place = self.sequence.steps().iter().position(|step| is_step(step, port, flags))?;
        u8::try_from(place + 1).ok()
    }

    /// Whether this packet is the step behind `right` ones.
    pub(crate) fn is_next(&self, right: u8, port: Port, flags: TcpFlags) -> bool {
        self.sequence.steps().get(usize::from(right)).is_some_and(|step| is_step(step, port, flags))
    }

    /// Whether these flags are looked at at all: datagrams always are, and segments unless every TCP step asks for
    /// others (knockd 0.8, measured: other flags are ignored, not wrong).
    pub(crate) fn regards(&self, port: Port, flags: TcpFlags) -> bool {
        let mut tcp = self.sequence.steps().iter().filter(|step| step.protocol == Protocol::Tcp).peekable();
        port.0 == Protocol::Udp || tcp.peek().is_none() || tcp.any(|step| step.flags.pass(flags))
    }
}

fn is_port(step: &Step, (protocol, port): Port) -> bool {
    step.protocol == protocol && step.port == port
}

fn is_step(step: &Step, port: Port, flags: TcpFlags) -> bool {
    is_port(step, port) && (step.protocol == Protocol::Udp || step.flags.pass(flags))
}

/// All sequences that are listened for, with the places of their doors.
#[derive(Default)]
pub(crate) struct Ways {
    ways: Vec<(DoorId, Arc<Way>)>,
    /// One-time sequences that wait for their turn.
    waiting: Vec<(DoorId, VecDeque<(u32, Sequence)>)>,
}

impl Ways {
    /// The sequences of a configuration; those that are the same as before are the very same, so that attempts at them go
    /// on. One-time sequences are left out if they are `struck`.
    pub(crate) fn new(settings: &Settings, before: &Ways, struck: &[(Name, Sequence)]) -> Ways {
        let mut ways = Ways::default();
        for (door, id) in settings.doors.iter().take(super::DOORS).zip(0..) {
            let id = DoorId(id);
            match &door.lock {
                Lock::Sequence { open, close } => {
                    ways.add(id, door, Leads::Open, open.clone(), before);
                    if let Some(close) = close {
                        ways.add(id, door, Leads::Close, close.clone(), before);
                    }
                }
                Lock::OneTime(one_time) => {
                    let is_struck = |own: &Sequence| {
                        struck.iter().any(|(name, sequence)| *name == door.name && sequence == own)
                    };
                    // Whatever stands before a struck one is struck too.
                    let from = one_time
                        .sequences
                        .iter()
                        .rposition(|(_, own)| is_struck(own))
                        .map_or(0, |last| last + 1);
                    let left = one_time.sequences[from..].iter().cloned().collect();
                    ways.waiting.push((id, left));
                    ways.refill(id, door, one_time.ahead, before);
                }
                Lock::Rotating(_) | Lock::Spa(_) => {}
            }
        }
        ways
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (DoorId, &Arc<Way>)> {
        self.ways.iter().map(|(id, way)| (*id, way))
    }

    /// The door of a way that is still listened for.
    pub(crate) fn door(&self, way: &Arc<Way>) -> Option<DoorId> {
        self.ways.iter().find(|(_, own)| Arc::ptr_eq(own, way)).map(|(id, _)| *id)
    }

    /// A one-time sequence is used up, and those before it. How many are left.
    pub(crate) fn spend(&mut self, id: DoorId, door: &Door, which: u32) -> usize {
        let Lock::OneTime(one_time) = &door.lock else { return 0 };
        let place = one_time.sequences.iter().position(|(own, _)| *own == which);
        let is_over = |number: u32| one_time.sequences.iter().position(|(own, _)| *own == number) <= place;
        self.ways.retain(|(own, way)| {
            !(*own == id && matches!(way.leads, Leads::Once(number) if is_over(number)))
        });
        for (own, waiting) in &mut self.waiting {
            if *own == id {
                waiting.retain(|(number, _)| !is_over(*number));
            }
        }
        let before = Ways { ways: self.ways.clone(), waiting: Vec::new() };
        self.refill(id, door, one_time.ahead, &before);
        let listened = self.ways.iter().filter(|(own, _)| *own == id).count();
        listened
            + self.waiting.iter().filter(|(own, _)| *own == id).map(|(_, left)| left.len()).sum::<usize>()
    }

    /// Lets waiting one-time sequences in until enough are listened for.
    fn refill(&mut self, id: DoorId, door: &Door, ahead: usize, before: &Ways) {
        while self.ways.iter().filter(|(own, _)| *own == id).count() < ahead.max(1) {
            let next = self.waiting.iter_mut().find(|(own, _)| *own == id);
            let Some((number, sequence)) = next.and_then(|(_, waiting)| waiting.pop_front()) else { return };
            self.add(id, door, Leads::Once(number), sequence, before);
        }
    }

    fn add(&mut self, id: DoorId, door: &Door, leads: Leads, sequence: Sequence, before: &Ways) {
        let way = Way { door: door.name.clone(), leads, sequence, style: door.style, target: door.target };
        let way = before
            .ways
            .iter()
            .find(|(_, old)| **old == way)
            .map_or_else(|| Arc::new(way), |(_, old)| old.clone());
        self.ways.push((id, way));
    }
}
