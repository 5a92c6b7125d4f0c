//! A bounded table of prefixes that a flood of made-up sources cannot wash out.
//!
//! Buckets of `WAYS` entries, chosen by a keyed hash: a newcomer to a full bucket displaces the least suspicious
//! entry of that bucket, and of those the longest unseen. Each operation looks at one bucket only, so its cost is
//! bounded whatever is sent, and nobody without the key can aim at a bucket. The mistake that is possible: of two
//! equally unsuspicious sources the older one is forgotten, and a very slow scanner begins anew.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::net::{Endpoint, Prefix};
use crate::time::Mono;

/// Entries in a bucket: enough that chance fills none much earlier than the others, few enough to look at each.
const WAYS: usize = 16;

/// The key of every hash over what strangers choose; drawn anew at each start, so that nobody can aim at a bucket.
#[derive(Clone, Copy)]
pub struct Secret(pub [u8; 16]);

impl Secret {
    /// The keyed hash of a prefix.
    #[must_use]
    pub fn hash(&self, prefix: &Prefix) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        match prefix.address() {
            IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
            IpAddr::V6(address) => hasher.write_u128(address.to_bits()),
        }
        hasher.write_u8(prefix.length());
        hasher.finish()
    }

    /// The keyed hash of an endpoint.
    #[must_use]
    pub fn hash_endpoint(&self, endpoint: &Endpoint) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        match endpoint.address {
            IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
            IpAddr::V6(address) => hasher.write_u128(address.to_bits()),
        }
        hasher.write_u16(endpoint.port);
        hasher.write_u8(endpoint.protocol as u8);
        hasher.finish()
    }
}

/// For the maps of this room: a keyed hash over what strangers choose.
impl std::hash::BuildHasher for Secret {
    type Hasher = Keyed;

    fn build_hasher(&self) -> Keyed {
        Keyed(SipHasher13::new_with_key(&self.0))
    }
}

/// See [`Secret`].
pub struct Keyed(SipHasher13);

impl Hasher for Keyed {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
}

/// What is remembered of a source.
pub trait Memory {
    /// How much would be lost by forgetting it now; 0 is nothing.
    fn suspicion(&self, now: Mono) -> u32;
    /// When it was last touched.
    fn last(&self) -> Mono;
}

/// The table.
pub struct Sources<M> {
    buckets: Vec<Vec<(Prefix, M)>>,
    secret: Secret,
    length: usize,
    evicted: u64,
}

impl<M: Memory> Sources<M> {
    /// A table for about `capacity` sources (rounded up to a power of two, at least 16). Memory is taken as
    /// sources come.
    #[must_use]
    pub fn new(capacity: usize, secret: Secret) -> Sources<M> {
        let buckets = capacity.div_ceil(WAYS).max(1).next_power_of_two();
        let buckets = std::iter::repeat_with(Vec::new).take(buckets).collect();
        Sources { buckets, secret, length: 0, evicted: 0 }
    }

    /// What is remembered of `prefix`.
    #[must_use]
    pub fn get(&self, prefix: &Prefix) -> Option<&M> {
        self.buckets[self.bucket(prefix)].iter().find(|(own, _)| own == prefix).map(|(_, memory)| memory)
    }

    /// What is remembered of `prefix`, begun by `begin` if nothing is; makes room at need.
    pub fn remember(&mut self, now: Mono, prefix: Prefix, begin: impl FnOnce() -> M) -> &mut M {
        self.remember_telling(now, prefix, begin).0
    }

    /// The same, and who had to make room.
    pub fn remember_telling(
        &mut self,
        now: Mono,
        prefix: Prefix,
        begin: impl FnOnce() -> M,
    ) -> (&mut M, Option<(Prefix, M)>) {
        let mut evicted = None;
        let bucket = self.bucket(&prefix);
        let bucket = &mut self.buckets[bucket];
        let place = match bucket.iter().position(|(own, _)| *own == prefix) {
            Some(place) => place,
            None if bucket.len() < WAYS => {
                // Room for one only: most sources of a flood are seen once, and most buckets stay far from full.
                bucket.reserve_exact(1);
                bucket.push((prefix, begin()));
                self.length += 1;
                bucket.len() - 1
            }
            None => {
                let least = (0..WAYS)
                    .min_by_key(|&place| (bucket[place].1.suspicion(now), bucket[place].1.last()))
                    .unwrap_or(0);
                evicted = Some(std::mem::replace(&mut bucket[least], (prefix, begin())));
                self.evicted += 1;
                least
            }
        };
        (&mut bucket[place].1, evicted)
    }

    /// What is remembered of `prefix`, to be changed.
    pub fn get_mut(&mut self, prefix: &Prefix) -> Option<&mut M> {
        let bucket = self.bucket(prefix);
        self.buckets[bucket].iter_mut().find(|(own, _)| own == prefix).map(|(_, memory)| memory)
    }

    /// Forgets `prefix` and hands out what was remembered of it.
    pub fn forget(&mut self, prefix: &Prefix) -> Option<M> {
        let bucket = self.bucket(prefix);
        let bucket = &mut self.buckets[bucket];
        let place = bucket.iter().position(|(own, _)| own == prefix)?;
        self.length -= 1;
        Some(bucket.swap_remove(place).1)
    }

    /// How many sources are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many were forgotten to make room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn bucket(&self, prefix: &Prefix) -> usize {
        self.secret.hash(prefix) as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    struct Seen(u32, Mono);

    impl Memory for Seen {
        fn suspicion(&self, _: Mono) -> u32 {
            self.0
        }
        fn last(&self) -> Mono {
            self.1
        }
    }

    fn source(number: u32) -> Prefix {
        Prefix::single(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_flood_of_strangers_does_not_wash_out_a_suspect() {
        let mut table = Sources::new(1024, Secret([7; 16]));
        table.remember(Mono::default(), source(0), || Seen(2, Mono::default()));
        for number in 1..100_000 {
            let now = Mono(Duration::from_micros(u64::from(number)));
            table.remember(now, source(number), || Seen(1, now));
        }
        assert!(table.get(&source(0)).is_some());
        assert!(table.len() <= 1024);
        assert!(table.evicted() > 98_000);
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let mut table = Sources::new(16, Secret([7; 16]));
        for number in 0..1000 {
            table.remember(Mono::default(), source(number), || Seen(1, Mono::default()));
            assert!(table.forget(&source(number)).is_some());
        }
        assert!(table.is_empty());
        assert_eq!(table.evicted(), 0);
    }
}
