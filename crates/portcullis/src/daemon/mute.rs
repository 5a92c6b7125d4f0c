//! Ordinary traffic must not pay for being watched: a port or protocol with much of it is taken out of the kernel's
//! filter for a while.
//!
//! Datagrams are counted where something of ours answers, so a probe that is missed there would not have counted anyway
//! (but for one to another of our addresses, in that half minute). Segments with ACK and protocols of IP are counted
//! wherever they go: a scanner who sends so many to one port hides that port, and none of the others.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use portcullis_core::time::Mono;

/// Traffic is counted over so long.
const SPAN: Duration = Duration::from_secs(1);

/// What is much, and what is done about it.
#[derive(Clone, Copy)]
struct Limits {
    /// So many packets within [`SPAN`] are much traffic.
    many: u32,
    /// A number is muted for so long, then listened to again.
    muted_for: Duration,
    /// Numbers muted at once; the filter grows with them.
    most: usize,
}

/// The ports (or protocols) with much traffic.
pub struct Mute {
    limits: Limits,
    begun: Mono,
    /// At most one entry a number.
    packets: HashMap<u16, u32>,
    until: BTreeMap<u16, Mono>,
}

impl Mute {
    /// For datagrams to services: 500 of them cost us about 1 ms.
    #[must_use]
    pub fn of_datagrams() -> Mute {
        Mute::new(Limits { many: 500, muted_for: Duration::from_secs(30), most: 64 })
    }

    /// For segments with ACK. A connection that is worth the name has soon sent so many; a scanner sends one or two to a
    /// port. As many services as are muted at once few hosts have.
    #[must_use]
    pub fn of_segments() -> Mute {
        Mute::new(Limits { many: 20, muted_for: Duration::from_secs(300), most: 256 })
    }

    /// For protocols of IP: somebody's own tunnel.
    #[must_use]
    pub fn of_protocols() -> Mute {
        Mute::new(Limits { many: 20, muted_for: Duration::from_secs(300), most: 64 })
    }

    fn new(limits: Limits) -> Mute {
        Mute { limits, begun: Mono::default(), packets: HashMap::new(), until: BTreeMap::new() }
    }

    /// A packet went to `number`. Whether the list of muted ones has changed.
    pub fn count(&mut self, now: Mono, number: u16) -> bool {
        if now.since(self.begun) > SPAN {
            self.begun = now;
            self.packets.clear();
        }
        let count = self.packets.entry(number).or_default();
        *count += 1;
        let is_new = *count == self.limits.many && !self.is_full();
        if is_new {
            self.until.insert(number, now + self.limits.muted_for);
        }
        is_new
    }

    /// Whether no more can be muted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.until.len() >= self.limits.most
    }

    /// Ends what is over. Whether the list of muted ones has changed.
    pub fn end(&mut self, now: Mono) -> bool {
        let before = self.until.len();
        self.until.retain(|_, until| *until > now);
        self.until.len() != before
    }

    /// When the next one is to be listened to again.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        self.until.values().min().copied()
    }

    /// The muted ports (or protocols), sorted.
    #[must_use]
    pub fn numbers(&self) -> Vec<u16> {
        self.until.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_muted_for_a_while_and_a_quiet_one_never() {
        let mut mute = Mute::of_datagrams();
        let at = |ms| Mono(Duration::from_millis(ms));
        let changed: Vec<u64> = (0..1000).filter(|n| mute.count(at(n / 2), 443)).collect();
        assert_eq!((changed, mute.numbers()), (vec![499], vec![443]));
        assert!((0..10_000).all(|n| !mute.count(at(1000 + n * 10), 53)), "100 a second are not much");
        assert!(!mute.end(at(30_000)));
        assert!(mute.end(mute.next_timeout().unwrap()));
        assert!(mute.numbers().is_empty());
    }

    #[test]
    fn no_more_than_a_few_ports_are_muted() {
        let mut mute = Mute::of_datagrams();
        for port in 0..1000 {
            for _ in 0..500 {
                mute.count(Mono::default(), port);
            }
        }
        assert_eq!(mute.numbers().len(), 64);
        assert!(mute.is_full());
    }
}
