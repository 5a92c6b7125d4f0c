//! Who asks "are you there?" of many addresses. One ping is nobody's business, and a monitoring system that watches an
//! address or two pings for years: only from [`MANY`] different addresses on are the questions evidence.

use std::net::IpAddr;
use std::time::Duration;

use crate::net::Prefix;
use crate::scan::Probe;
use crate::scan::sources::{Memory, Secret, Sources};
use crate::time::Mono;

/// So many different addresses are a sweep. Fewer are asked by whoever looks after a host that has as many addresses.
pub const MANY: usize = 5;

/// Who has asked nothing for so long begins anew: patient sweeps take an address an hour.
const MEMORY: Duration = Duration::from_secs(24 * 3600);

/// Sources remembered: some 4 MiB if all of them are about to become a sweep.
const CAPACITY: usize = 4096;

/// Whom a sweep asked last, so that a question that is repeated does not count again.
const LAST_KEPT: usize = 16;

/// Hop limits that packets begin with, by every usual stack: no router was on the way.
const NEARBY: [u8; 3] = [64, 128, 255];

/// Who has asked whom.
pub(crate) struct Sweeps {
    sources: Sources<Asked>,
}

struct Asked {
    /// The first questions, to different addresses; all were told once they are [`MANY`].
    first: Vec<Probe>,
    /// Whom it asked after that, the latest last.
    later: Vec<IpAddr>,
    last: Mono,
}

impl Memory for Asked {
    fn suspicion(&self, now: Mono) -> u32 {
        if now.since(self.last) > MEMORY { 0 } else { (self.first.len() + self.later.len()) as u32 }
    }

    fn last(&self) -> Mono {
        self.last
    }
}

impl Sweeps {
    pub(crate) fn new(secret: Secret) -> Sweeps {
        Sweeps { sources: Sources::new(CAPACITY, secret) }
    }

    /// `address` has answered `source`, who asked from nearby: so does whoever watches his neighbours.
    pub(crate) fn answer(&mut self, source: &Prefix, address: IpAddr) -> bool {
        let Some(asked) = self.sources.get_mut(source) else { return false };
        let is_answered = |probe: &Probe| {
            probe.contact.target.address == address && NEARBY.contains(&probe.contact.fingerprint.hop_limit)
        };
        let before = asked.first.len();
        asked.first.retain(|probe| !is_answered(probe));
        asked.first.len() < before
    }

    /// A question of `source`. The questions that count from now on: none while it may be nothing, all of them when it
    /// becomes a sweep, then each to another address.
    pub(crate) fn ask(&mut self, source: Prefix, probe: Probe) -> Vec<Probe> {
        let now = probe.at.mono;
        let begin = || Asked { first: Vec::new(), later: Vec::new(), last: now };
        let asked = self.sources.remember(now, source, begin);
        if now.since(asked.last) > MEMORY {
            *asked = begin();
        }
        asked.last = now;
        let address = probe.contact.target.address;
        let is_known = asked.first.iter().any(|seen| seen.contact.target.address == address)
            || asked.later.contains(&address);
        if is_known {
            return Vec::new();
        }
        if asked.first.len() < MANY {
            asked.first.push(probe);
            return if asked.first.len() == MANY { asked.first.clone() } else { Vec::new() };
        }
        if asked.later.len() == LAST_KEPT {
            asked.later.remove(0);
        }
        asked.later.push(address);
        vec![probe]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::net::{Endpoint, Protocol};
    use crate::scan::{Contact, Fingerprint, Weight};
    use crate::time::Now;
    use crate::wire::TcpFlags;

    fn ask(sweeps: &mut Sweeps, second: u64, last_byte: u8) -> usize {
        ask_from(sweeps, second, last_byte, 57)
    }

    fn ask_from(sweeps: &mut Sweeps, second: u64, last_byte: u8, hop_limit: u8) -> usize {
        let address = IpAddr::from([192, 0, 2, last_byte]);
        let source = "198.51.100.7".parse().unwrap();
        let contact = Contact {
            source,
            source_port: 0,
            target: Endpoint { protocol: Protocol::Icmp, address, port: 0 },
            kind: Kind::IcmpSweep,
            flags: TcpFlags::default(),
            has_ip_options: false,
            is_cut_up: false,
            fingerprint: Fingerprint { hop_limit, ..Fingerprint::default() },
            interface: 0,
        };
        let at = Now::default().later(Duration::from_secs(second));
        let probe = Probe { contact, at, weight: Weight::Firm, mark: None };
        sweeps.ask(Prefix::single(source), probe).len()
    }

    #[test]
    fn pings_of_a_few_addresses_never_count_however_long_they_go_on() {
        let mut sweeps = Sweeps::new(Secret([1; 16]));
        assert!((0..100_000).all(|second| ask(&mut sweeps, second, (second % 4) as u8) == 0));
    }

    #[test]
    fn with_the_fifth_address_all_count_and_then_each_new_one_once() {
        let mut sweeps = Sweeps::new(Secret([1; 16]));
        let counts: Vec<usize> = [1, 2, 2, 3, 4, 5, 5, 1, 6, 7, 6]
            .map(|address| ask(&mut sweeps, 3600 * u64::from(address), address))
            .into();
        assert_eq!(counts, [0, 0, 0, 0, 0, 5, 0, 0, 1, 1, 0]);
        assert_eq!(ask(&mut sweeps, 60 * 3600, 9), 0, "that was another day");
    }

    #[test]
    fn neighbours_that_answer_a_neighbour_are_not_swept_and_others_are() {
        for (hop_limit, expected) in [(64, 0), (255, 0), (57, 6)] {
            let mut sweeps = Sweeps::new(Secret([1; 16]));
            let source = "198.51.100.7".parse().unwrap();
            let count = |last: u8| {
                let count = ask_from(&mut sweeps, u64::from(last), last, hop_limit);
                sweeps.answer(&source, IpAddr::from([192, 0, 2, last]));
                count
            };
            assert_eq!((1..7).map(count).sum::<usize>(), expected, "{hop_limit}");
        }
    }
}
