//! A UDP service with much traffic must not pay for being watched: its port is taken out of the kernel's filter for a
//! while. Only ports where something of ours answers are muted, so a probe that is missed there would not have counted
//! anyway (but for one to another of our addresses, in that half minute).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use portcullis_core::time::Mono;

/// So many datagrams to services at one port within [`SPAN`] are much traffic: there they cost us about 1 ms.
const MANY: u32 = 500;

/// Traffic is counted over so long.
const SPAN: Duration = Duration::from_secs(1);

/// A port is muted for so long, then listened to again.
const MUTED_FOR: Duration = Duration::from_secs(30);

/// Ports muted at once; the filter grows with them.
const MOST: usize = 64;

/// The ports with much traffic.
#[derive(Default)]
pub struct Mute {
    begun: Mono,
    /// At most one entry a port.
    datagrams: HashMap<u16, u32>,
    until: BTreeMap<u16, Mono>,
}

impl Mute {
    /// A datagram went to a service at `port`. Whether the list of muted ports has changed.
    pub fn count(&mut self, now: Mono, port: u16) -> bool {
        if now.since(self.begun) > SPAN {
            self.begun = now;
            self.datagrams.clear();
        }
        let count = self.datagrams.entry(port).or_default();
        *count += 1;
        let is_new = *count == MANY && self.until.len() < MOST;
        if is_new {
            self.until.insert(port, now + MUTED_FOR);
        }
        is_new
    }

    /// Ends what is over. Whether the list of muted ports has changed.
    pub fn end(&mut self, now: Mono) -> bool {
        let before = self.until.len();
        self.until.retain(|_, until| *until > now);
        self.until.len() != before
    }

    /// When the next port is to be listened to again.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        self.until.values().min().copied()
    }

    /// The muted ports, sorted.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.until.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_muted_for_a_while_and_a_quiet_one_never() {
        let mut mute = Mute::default();
        let at = |ms| Mono(Duration::from_millis(ms));
        let changed: Vec<u64> = (0..1000).filter(|n| mute.count(at(n / 2), 443)).collect();
        assert_eq!((changed, mute.ports()), (vec![499], vec![443]));
        assert!((0..10_000).all(|n| !mute.count(at(1000 + n * 10), 53)), "100 a second are not much");
        assert!(!mute.end(at(30_000)));
        assert!(mute.end(mute.next_timeout().unwrap()));
        assert!(mute.ports().is_empty());
    }

    #[test]
    fn no_more_than_a_few_ports_are_muted() {
        let mut mute = Mute::default();
        for port in 0..1000 {
            for _ in 0..MANY {
                mute.count(Mono::default(), port);
            }
        }
        assert_eq!(mute.ports().len(), MOST);
    }
}
