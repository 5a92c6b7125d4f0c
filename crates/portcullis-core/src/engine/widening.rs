//! Wider bans by evidence: who has a whole /56 or /48 of IPv6 comes back from the next /64 as soon as one is banned.
//!
//! Only bans count, holds don't: a hold says that somebody else may have sent the packets, and whoever forges four /64
//! of a provider must not have its customers shut out.

use std::time::Duration;

use crate::net::Prefix;
use crate::scan::sources::{Memory, Secret, Sources};
use crate::time::Mono;

/// So many banned prefixes within the next wider one, and that is banned itself. Four: of the 256 /64 of a /56 two or
/// three may be two or three customers.
const ENOUGH: usize = 4;

/// Within this time: as long as whoever hops from one to the next needs, and short against the time after which a
/// provider gives a prefix to somebody else.
const WITHIN: Duration = Duration::from_secs(3600);

/// Wider prefixes watched at once; the one with the fewest banned ones is forgotten first.
const CAPACITY: usize = 1024;

/// What was banned lately, by the next wider prefix.
pub(super) struct Widening {
    wider: Sources<Banned>,
}

struct Banned {
    /// The bans, oldest first; never more than [`ENOUGH`].
    prefixes: Vec<(Mono, Prefix)>,
}

impl Memory for Banned {
    fn suspicion(&self, _: Mono) -> u32 {
        self.prefixes.len() as u32
    }

    fn last(&self) -> Mono {
        self.prefixes.last().map_or_else(Mono::default, |(at, _)| *at)
    }
}

impl Widening {
    pub(super) fn new(secret: Secret) -> Widening {
        Widening { wider: Sources::new(CAPACITY, secret) }
    }

    /// `prefix` was banned. Says which wider prefix that convicts, if it does.
    pub(super) fn add(&mut self, now: Mono, prefix: Prefix) -> Option<Prefix> {
        let length = match (prefix.full_length(), prefix.length()) {
            (128, 64) => 56,
            (128, 56) => 48,
            _ => return None,
        };
        let wider = Prefix::containing(prefix.address(), length);
        let banned = self.wider.remember(now, wider, || Banned { prefixes: Vec::new() });
        banned.prefixes.retain(|(at, own)| now.since(*at) < WITHIN && *own != prefix);
        banned.prefixes.push((now, prefix));
        if banned.prefixes.len() < ENOUGH {
            return None;
        }
        self.wider.forget(&wider);
        Some(wider)
    }

    /// How many have to be banned, for the reason that is told.
    pub(super) fn why(prefix: &Prefix) -> String {
        let inside = if prefix.length() == 56 { "/64" } else { "/56" };
        format!("{ENOUGH} {inside} networks in it were banned within an hour")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(widening: &mut Widening, minute: u64, prefix: &str) -> Option<String> {
        let now = Mono(Duration::from_secs(minute * 60));
        widening.add(now, prefix.parse().unwrap()).map(|wider| wider.to_string())
    }

    #[test]
    fn four_neighbours_within_an_hour_convict_their_network() {
        let mut widening = Widening::new(Secret([5; 16]));
        for (minute, prefix, wider) in [
            (0, "2001:db8:0:1::/64", None),
            (1, "2001:db8:0:1::/64", None),
            (2, "2001:db8:0:2::/64", None),
            (3, "2001:db8:0:3::/64", None),
            (4, "2001:db8:0:103::/64", None),
            (62, "2001:db8:0:4::/64", None),
            (63, "2001:db8:0:5::/64", None),
            (64, "2001:db8:0:6::/64", None),
            (65, "2001:db8:0:7::/64", Some("2001:db8::/56")),
            (66, "2001:db8:0:8::/64", None),
            (67, "198.51.100.7", None),
            (67, "2001:db8::7", None),
            (68, "2001:db8:9:100::/56", None),
            (69, "2001:db8:9:200::/56", None),
            (70, "2001:db8:9:300::/56", None),
            (71, "2001:db8:9:400::/56", Some("2001:db8:9::/48")),
        ] {
            assert_eq!(add(&mut widening, minute, prefix).as_deref(), wider, "{prefix} at {minute}");
        }
    }
}
