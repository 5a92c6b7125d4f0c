//! fwknop's single packets: what its client made and its server took, and what nobody may get past.
//!
//! `tests/ancestors/fwknop-vectors.json` holds what fwknop 2.6.10 did: 54 packets, 14 refusals of the client, and 83
//! cases of the server.

mod properties;
mod server;
mod stories;
mod vectors;

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::door::spa::access::{Granted, Length, User, Weak};
use portcullis_core::door::spa::cipher::Mode;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope::{self, Keys};
use portcullis_core::door::spa::key::{CipherKey, HmacKey};
use portcullis_core::door::spa::message::{Guest, Message, Random, Request, VERSION, ports_from_text};
use portcullis_core::door::spa::refusal::Refusal;
use portcullis_core::door::spa::{Accepted, Spa, WINDOW};
use portcullis_core::net::PortSet;
use portcullis_core::time::Wall;

/// The time at which everything happens, in seconds since 1970.
const NOW: u64 = 1_795_226_993;

const ANYTHING: Weak =
    Weak { no_hmac: true, short_keys: true, old_hmac: true, other_modes: true, commands: true };

fn at(seconds: u64) -> Wall {
    Wall(Duration::from_secs(seconds))
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn keys_of(mode: Mode, cipher: &[u8], hmac: Option<(Digest, &[u8])>) -> Keys {
    let cipher = CipherKey::new(cipher).expect("a key");
    let hmac = hmac.map(|(digest, key)| (digest, HmacKey::new(key).expect("a key")));
    Keys::of_mode(mode, cipher, hmac.as_ref().map(|(digest, key)| (*digest, key))).expect("keys")
}

/// The keys of most recorded packets.
fn keys() -> Keys {
    keys_of(Mode::Cbc, b"testkey123", Some((Digest::Sha256, b"hmackey456")))
}

/// A user of these keys who may do everything but give commands.
fn user(keys: Keys) -> User {
    User {
        name: "alice".to_owned(),
        keys,
        weak: Weak { commands: false, ..ANYTHING },
        from: Vec::new(),
        tcp: PortSet::all(),
        udp: PortSet::all(),
        required_name: None,
        require_address: false,
        expires: None,
        length: Length::default(),
    }
}

fn spa(users: Vec<User>) -> Spa {
    Spa::new(users, WINDOW).expect("users without a fault")
}

/// `fwknop -A tcp/22 -a 10.78.0.1`, with what `change` makes of it.
fn message(change: impl FnOnce(&mut Message)) -> Message {
    let mut message = Message {
        random: Random::from_bytes(*b"8 random"),
        user: "alice".to_owned(),
        time: NOW,
        version: VERSION.to_owned(),
        guest: Guest::Address(address("10.78.0.1")),
        request: access("tcp/22"),
        timeout: None,
        server_authentication: None,
    };
    change(&mut message);
    message
}

fn access(ports: &str) -> Request {
    Request::Access(ports_from_text(ports).expect("ports"))
}

fn sealed(keys: &Keys, change: impl FnOnce(&mut Message)) -> String {
    envelope::seal(&message(change), Digest::Sha256, keys, *b"saltsalt").expect("a packet")
}

/// Whether the packet opens, for whom and to what; the address as text and the ports as fwknop writes them.
fn hear(spa: &mut Spa, source: &str, packet: impl AsRef<[u8]>) -> Result<Accepted, Refusal> {
    spa.receive(at(NOW), address(source), packet.as_ref()).map_err(|denied| denied.refusal)
}

fn opening(accepted: Result<Accepted, Refusal>) -> Result<(String, String, u64), Refusal> {
    match accepted?.granted {
        Granted::Opening(opening) => {
            let ports: Vec<String> = opening
                .ports
                .iter()
                .map(|port| format!("{}/{}", port.protocol.name(), port.number))
                .collect();
            Ok((opening.address.to_string(), ports.join(","), opening.length.as_secs()))
        }
        Granted::Command { address, command } => Ok((address.to_string(), command, 0)),
    }
}
