//! Which ports a source has touched lately: what tells a knock from a scan that comes by.

use std::net::IpAddr;
use std::time::Duration;

use crate::net::{Prefix, Protocol};
use crate::scan::sources::{Memory, Secret, Sources};
use crate::time::Mono;

/// An attempt whose source touched more other ports than this is taken for a scan. A guest tries the door itself, and
/// one or two things besides. Rotating sequences have a rule of their own ([`super::rotating::Shape::others`]).
pub(crate) const OTHERS: usize = 4;

/// How long before the first knock touching counts.
const BEFORE: Duration = Duration::from_secs(10);

/// Ports kept of one source; who touches more within the time is a scanner, whatever listens there.
const KEPT: usize = 24;

/// Sources kept. One that has touched more is forgotten later.
const SOURCES: usize = 16_384;

/// A port of ours.
pub(crate) type Port = (Protocol, u16);

struct Ports {
    seen: Vec<(Port, Mono)>,
    /// When the last of those that found no room any more was touched.
    lost: Option<Mono>,
    last: Mono,
}

impl Memory for Ports {
    fn suspicion(&self, _: Mono) -> u32 {
        self.seen.len() as u32
    }

    fn last(&self) -> Mono {
        self.last
    }
}

pub(crate) struct Touched {
    sources: Sources<Ports>,
}

impl Touched {
    pub(crate) fn new(secret: Secret) -> Touched {
        Touched { sources: Sources::new(SOURCES, secret) }
    }

    /// A source has touched this port.
    pub(crate) fn add(&mut self, now: Mono, source: IpAddr, port: Port) {
        // nmap's host discovery asks both before it knocks for somebody.
        if port == (Protocol::Tcp, 80) || port == (Protocol::Tcp, 443) {
            return;
        }
        let begin = || Ports { seen: Vec::with_capacity(1), lost: None, last: now };
        let ports = self.sources.remember(now, Prefix::single(source), begin);
        ports.last = ports.last.max(now);
        if let Some((_, at)) = ports.seen.iter_mut().find(|(own, _)| *own == port) {
            *at = (*at).max(now);
            return;
        }
        if ports.seen.len() >= KEPT {
            let oldest =
                ports.seen.iter().zip(0..).min_by_key(|((_, at), _)| *at).map_or(0, |(_, place)| place);
            let (_, at) = ports.seen.swap_remove(oldest);
            ports.lost = ports.lost.max(Some(at));
        }
        ports.seen.push((port, now));
    }

    /// Whether an attempt that began at `first` looks like a scan: its source has touched too many ports that are
    /// no `own` ones and where nothing is.
    pub(crate) fn looks_like_a_scan(
        &self,
        source: IpAddr,
        first: Mono,
        is_own: impl Fn(Port) -> bool,
        is_service: &mut dyn FnMut(Port) -> bool,
    ) -> bool {
        let Some(ports) = self.sources.get(&Prefix::single(source)) else { return false };
        let from = first - BEFORE;
        if ports.lost.is_some_and(|lost| lost >= from) {
            return true;
        }
        let others = || ports.seen.iter().filter(|(port, at)| *at >= from && !is_own(*port));
        others().count() > OTHERS && others().filter(|(port, _)| !is_service(*port)).count() > OTHERS
    }

    /// These were steps of a knock that opened, and count no more.
    pub(crate) fn excuse(&mut self, source: IpAddr, is_own: impl Fn(Port) -> bool) {
        if let Some(ports) = self.sources.get_mut(&Prefix::single(source)) {
            ports.seen.retain(|(port, _)| !is_own(*port));
        }
    }
}
