//! What a single packet costs the door: `cargo bench -p portcullis-core --bench spa`. Prints `NANOSECONDS ns: WHAT`, and
//! sends a million mutated packets through the fuzz body and its receiver, of which none may take longer than 50 µs
//! each time that it is asked.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock; the core is told the time")]

#[path = "../../../fuzz/src/spa.rs"]
mod body;

use std::hint::black_box;
use std::time::{Duration, Instant};

use portcullis_core::door::spa::cipher::Mode;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope::Keys;
use portcullis_core::door::spa::key::{CipherKey, HmacKey};
use portcullis_core::door::spa::{USERS_MAXIMUM, build};
use portcullis_core::time::Wall;

/// Each figure is the best of so many passes: what disturbs can only make it slower.
const PASSES: usize = 5;
/// Packets of a pass.
const PACKETS: u32 = 20_000;
/// What no packet may cost.
const LIMIT: Duration = Duration::from_micros(50);
/// Mutated packets of each kind of key.
const MUTATED: u64 = 1_000_000;

fn main() {
    let cipher = || CipherKey::new(b"testkey123").expect("a key");
    let users = |digest: Digest, most: u8| -> Vec<Keys> {
        let keys = (0..most).map(|user| {
            let hmac = HmacKey::new(&[user; 64]).expect("a key");
            Keys::new(cipher(), digest, &hmac).expect("two keys")
        });
        keys.collect()
    };
    let now = Wall(Duration::from_secs(body::NOW));
    let measure = |what: &str, keys: &[Keys], packet: &[u8]| {
        let mut spa = body::receiver(keys);
        let pass = |_| {
            let start = Instant::now();
            for _ in 0..PACKETS {
                black_box(spa.receive(now, body::SOURCE, black_box(packet)).is_ok());
            }
            start.elapsed() / PACKETS
        };
        let best = (0..PASSES).map(pass).min().expect("at least one pass");
        println!("{} ns: {what}", best.as_nanos());
    };
    let most = u8::try_from(USERS_MAXIMUM).expect("few users");
    let stranger =
        Keys::new(cipher(), Digest::Sha256, &HmacKey::new(b"nobody's").expect("a key")).expect("keys");
    let text = |length: usize| [body::MESSAGE.as_bytes(), &vec![b'x'; length]].concat();
    let usual = build::around(&text(0), Digest::Sha256, &stranger, *b"saltsalt");
    measure("random bytes", &users(Digest::Sha256, most), &[b'#'; 200]);
    for digest in Digest::ALL {
        let stranger = Keys::new(cipher(), digest, &HmacKey::new(b"nobody's").expect("a key")).expect("keys");
        let mut longest = String::new();
        for more in 0..200 {
            let packet = build::around(&text(more), Digest::Sha256, &stranger, *b"saltsalt");
            if packet.len() < 400 {
                longest = packet;
            }
        }
        let what = format!("the longest packet of a stranger, {most} users of {}", digest.name());
        measure(&what, &users(digest, most), longest.as_bytes());
    }
    measure("a usual packet of a stranger, one user", &users(Digest::Sha256, 1), usual.as_bytes());
    let bare = |key: &[u8]| {
        Keys::of_mode(Mode::Cbc, CipherKey::new(key).expect("a key"), None).expect("a key alone")
    };
    let junk = build::around(&text(150), Digest::Sha256, &bare(b"nobody's"), *b"saltsalt");
    assert!((370..400).contains(&junk.len()), "{}", junk.len());
    measure(
        &format!("a long packet of a stranger, {most} users without an HMAC"),
        &vec![bare(b"testkey123"); usize::from(most)],
        junk.as_bytes(),
    );
    let known = users(Digest::Sha256, most);
    let good = build::around(&text(0), Digest::Sha256, &known[usize::from(most) - 1], *b"saltsalt");
    measure("a replay of the last user", &known, good.as_bytes());
    mutated(now);
}

/// A million changed packets for a receiver with three kinds of keys: the mean, and the slowest one when asked again.
fn mutated(now: Wall) {
    let keys = body::keys();
    let mut spa = body::receiver(&keys);
    let good: Vec<String> = keys
        .iter()
        .map(|keys| build::around(body::MESSAGE.as_bytes(), Digest::Sha256, keys, *b"saltsalt"))
        .collect();
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        // xorshift64: the same packets on each run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (mut total, mut slowest) = (Duration::ZERO, Duration::ZERO);
    for count in 0..MUTATED {
        let changes = next().to_le_bytes();
        let length = 2 + 2 * (count as usize % 4);
        body::spa_packet(&[&[(count % 9) as u8], &changes[..length]].concat());
        let packet = body::mutated(&good[(count % 3) as usize], &changes[..length]);
        let mut once = || {
            let start = Instant::now();
            black_box(spa.receive(now, body::SOURCE, &packet).is_ok());
            start.elapsed()
        };
        let first = once();
        total += first;
        // Whoever takes the processor away from us does so seldom twice in a row, and hardly ever five times.
        let fastest = if first > LIMIT / 10 { (0..5).map(|_| once()).min().expect("five") } else { first };
        assert!(fastest <= LIMIT, "a packet costs {fastest:?}: {}", packet.escape_ascii());
        slowest = slowest.max(fastest);
    }
    println!("{} ns: a mutated packet, three kinds of users, mean", total.as_nanos() / u128::from(MUTATED));
    println!("{} ns: the slowest of {MUTATED} mutated packets", slowest.as_nanos());
}
