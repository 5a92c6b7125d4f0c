//! fwknop's single packets.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use portcullis_core::door::spa::access::{Length, User, Weak};
use portcullis_core::door::spa::cipher::Mode;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope::{self, Keys};
use portcullis_core::door::spa::key::{CipherKey, HmacKey};
use portcullis_core::door::spa::message::Message;
use portcullis_core::door::spa::{Spa, WINDOW, build};
use portcullis_core::net::PortSet;
use portcullis_core::time::Wall;

/// A message that opens, at [`NOW`].
pub const MESSAGE: &str = "1976350554185933:YWxpY2U:1795226993:3.0.0:1:MTAuNzguMC4xLHRjcC8yMg";
/// Its time, in seconds since 1970.
pub const NOW: u64 = 1_795_226_993;
/// Whom it lets in.
pub const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 1));

/// The keys of the users of [`receiver`]: with an HMAC, with the slowest HMAC, and without.
#[must_use]
pub fn keys() -> [Keys; 3] {
    let cipher = || CipherKey::new(b"testkey123").expect("a key");
    let hmac = HmacKey::new(b"hmackey456").expect("a key");
    [(Mode::Cbc, Some(Digest::Sha256)), (Mode::Cbc, Some(Digest::Sha3_512)), (Mode::Ctr, None)].map(
        |(mode, digest)| {
            Keys::of_mode(mode, cipher(), digest.map(|digest| (digest, &hmac)))
                .expect("keys that go together")
        },
    )
}

/// Users of these keys who may do everything.
#[must_use]
pub fn receiver(keys: &[Keys]) -> Spa {
    let weak = Weak { no_hmac: true, short_keys: true, old_hmac: true, other_modes: true, commands: true };
    let user = |keys: &Keys| User {
        name: String::new(),
        keys: keys.clone(),
        weak,
        from: Vec::new(),
        tcp: PortSet::all(),
        udp: PortSet::all(),
        required_name: None,
        require_address: false,
        expires: None,
        length: Length::default(),
    };
    Spa::new(keys.iter().map(user).collect(), WINDOW).expect("users without a fault")
}

/// A good packet with some bytes changed: pairs of a place and what is laid over the byte there; a place behind the
/// end cuts the packet off at the byte given with it.
#[must_use]
pub fn mutated(packet: &str, changes: &[u8]) -> Vec<u8> {
    let mut bytes = packet.as_bytes().to_vec();
    for change in changes.as_chunks::<2>().0 {
        match bytes.get_mut(usize::from(change[0])) {
            Some(byte) => *byte ^= change[1],
            None => bytes.truncate(usize::from(change[1])),
        }
    }
    bytes
}

/// The first byte says what the rest is: a payload; what is changed in a good packet; or the text of a message, which
/// is packed with the right keys.
///
/// What is changed opens nothing where there is an HMAC. What opens does so once. What can be read can be written,
/// and is the same then.
pub fn spa_packet(input: &[u8]) {
    let Some((&how, rest)) = input.split_first() else { return };
    let keys = keys();
    let sealed = &keys[usize::from(how / 3 % 3)];
    let good = build::around(MESSAGE.as_bytes(), Digest::Sha256, sealed, *b"saltsalt");
    let payload = match how % 3 {
        0 => rest.to_vec(),
        1 => mutated(&good, rest),
        _ => build::around(rest, Digest::Sha256, sealed, *b"saltsalt").into_bytes(),
    };
    let now = Wall(Duration::from_secs(NOW));
    let mut spa = receiver(&keys);
    let first = spa.receive(now, SOURCE, &payload);
    if how % 3 == 1 && payload != good.as_bytes() {
        assert!(!first.as_ref().is_ok_and(|accepted| keys[accepted.user].hmac().is_some()), "forged");
    }
    let again = spa.receive(now, SOURCE, &payload);
    assert!(again.is_err());
    assert!(spa.remembered() <= 1);
    assert_eq!(spa.refusals().total(), 1 + u64::from(first.is_err()));
    for keys in &keys {
        let Ok(message) = envelope::read(&payload, keys) else { continue };
        let text = message.to_text().expect("what can be read can be written");
        assert_eq!(Message::from_text(&text).as_ref(), Ok(&message));
    }
}
