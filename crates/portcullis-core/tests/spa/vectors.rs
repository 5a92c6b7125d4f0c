//! Every packet of the client is read, and made again byte for byte from the same random numbers; what the client
//! refuses to say, we refuse.

use portcullis_core::door::spa::cipher::Mode;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope::{self, Keys, KeysFault};
use portcullis_core::door::spa::key::{CipherKey, HmacKey, KeyFault};
use portcullis_core::door::spa::message::{
    Destination, Guest, Message, Random, Request, VERSION, is_user, ports_from_text,
};
use portcullis_core::door::spa::refusal::Refusal;
use serde_json::Value;

pub fn file() -> Value {
    let text =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/ancestors/fwknop-vectors.json"));
    serde_json::from_str(text).expect("fwknop-vectors.json is JSON")
}

fn cipher_key(vector: &Value) -> Result<CipherKey, KeyFault> {
    match (vector["key"].as_str(), vector["key_base64"].as_str()) {
        (Some(text), None) => CipherKey::new(text.as_bytes()),
        (None, Some(text)) => CipherKey::from_base64(text),
        keys => panic!("one key: {keys:?}"),
    }
}

fn keys(vector: &Value) -> Result<Keys, String> {
    let hmac = match (vector["hmac_key"].as_str(), vector["hmac_key_base64"].as_str()) {
        (Some(text), None) => Some(HmacKey::new(text.as_bytes())),
        (None, Some(text)) => Some(HmacKey::from_base64(text)),
        _ => None,
    };
    let hmac = hmac.transpose().map_err(|fault| fault.to_string())?;
    let digest = vector["hmac_digest"].as_str().map(|name| Digest::from_name(name).expect("a known digest"));
    let mode = vector["encryption_mode"].as_str().and_then(Mode::from_name).ok_or("no such mode")?;
    let cipher = cipher_key(vector).map_err(|fault| fault.to_string())?;
    Keys::of_mode(mode, cipher, digest.zip(hmac.as_ref())).map_err(|fault| fault.to_string())
}

fn salt(expected: &Value) -> [u8; 8] {
    let text = expected["salt_hex"].as_str().expect("a salt");
    u64::from_str_radix(text, 16).expect("8 bytes in hexadecimal").to_be_bytes()
}

#[test]
fn every_packet_of_the_client_is_read_and_made_again_byte_for_byte() {
    let file = file();
    let mut count = 0;
    for vector in file["vectors"].as_array().expect("a list") {
        let Some(packet) = vector["packet"].as_str() else { continue };
        let (name, expected) = (vector["name"].as_str().expect("a name"), &vector["expected"]);
        let keys = keys(vector).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let plain = expected["plaintext"].as_str().expect("a text");
        let (text, _) = plain.rsplit_once(':').expect("a digest");
        count += 1;
        if name == "cmd-180" {
            // 200 characters, where the server takes 192; and the packet is too long as well.
            assert_eq!(Message::from_text(text), Err(Refusal::BadMessage));
            assert_eq!(envelope::read(packet.as_bytes(), &keys), Err(Refusal::TooLong));
            continue;
        }
        let message = Message::from_text(text).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        let digest = vector["digest_types"]["message_digest"].as_str().and_then(Digest::from_name);
        let made = envelope::seal(&message, digest.expect("a known digest"), &keys, salt(expected));
        let read = envelope::read(packet.as_bytes(), &keys);
        if name == "many-ports" {
            // 417 characters: the client sends it, its server refuses it. We neither take nor make it.
            assert_eq!((read, made), (Err(Refusal::TooLong), Err(Refusal::TooLong)), "{name}");
        } else {
            assert_eq!(read.as_ref(), Ok(&message), "{name}");
            assert_eq!(made.as_deref(), Ok(packet), "{name}");
        }
        assert_eq!(message.to_text().as_deref(), Ok(text), "{name}");
        assert_eq!(Some(message.user.as_str()), expected["user"].as_str(), "{name}");
        assert_eq!(Some(message.time), expected["timestamp"].as_u64(), "{name}");
        assert_eq!(message.timeout.map(u64::from), expected["client_timeout"].as_u64(), "{name}");
        let destination = match &message.request {
            Request::Forward(_, to) | Request::Redirect(_, to) => Some(format!("{},{}", to.host, to.port)),
            _ => None,
        };
        assert_eq!(destination.as_deref(), expected["nat_access"].as_str(), "{name}");
    }
    assert_eq!(count, 54);
}

#[test]
fn a_packet_of_the_client_is_nothing_with_other_keys() {
    let file = file();
    let vectors: Vec<&Value> = file["vectors"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|vector| vector["packet"].is_string())
        .collect();
    let other = Keys::new(
        CipherKey::new(b"another key").expect("a key"),
        Digest::Sha256,
        &HmacKey::new(b"another hmac key").expect("a key"),
    )
    .expect("two keys");
    for vector in vectors {
        let packet = vector["packet"].as_str().expect("a packet");
        let refusal = envelope::read(packet.as_bytes(), &other).expect_err("other keys");
        assert!(
            matches!(refusal, Refusal::BadHmac | Refusal::BadLength | Refusal::TooLong),
            "{}: {refusal:?}",
            vector["name"]
        );
    }
}

/// What a client's words ask for, as far as it can be said.
fn argument<'v>(vector: &'v Value, option: &str) -> Option<&'v str> {
    let words = vector["client_args"].as_array().expect("a list");
    let place = words.iter().position(|word| word == option)?;
    words[place + 1].as_str()
}

#[test]
fn what_the_client_refuses_to_say_we_refuse() {
    let file = file();
    let mut count = 0;
    for vector in file["vectors"].as_array().expect("a list") {
        if vector["client_refused"] != true {
            continue;
        }
        count += 1;
        let name = vector["name"].as_str().expect("a name");
        let ports = || ports_from_text(argument(vector, "-A").expect("ports"));
        let guest = || Guest::from_text(argument(vector, "-a").expect("an address"));
        match name {
            "port-range-try" | "icmp-none" | "icmp-port" | "none-1" | "tcp-65536" | "tcp-0" => {
                assert_eq!(ports(), None, "{name}");
            }
            "mode-legacy" | "legacy-longkey" => {
                assert_eq!(keys(vector).err(), Some(KeysFault::LegacyWithHmac.to_string()), "{name}");
            }
            "mode-pcbc" => assert_eq!(Mode::from_name("pcbc"), None),
            "key-33" => assert_eq!(cipher_key(vector).err(), Some(KeyFault::TooLong(32))),
            "user-utf8" => assert!(!is_user(argument(vector, "--spoof-user").expect("a name"))),
            "allow-host-octets" => assert_eq!(guest(), None),
            // Ours can say it to ours; see `message::Guest`.
            "ipv6-allow" => assert_eq!(guest(), Some(Guest::Address("fd78::1".parse().expect("an address")))),
            "cmd-260" => {
                let message = Message {
                    random: Random::from_bytes([7; 8]),
                    user: "alice".to_owned(),
                    time: 1_795_226_993,
                    version: VERSION.to_owned(),
                    guest: guest().expect("an address"),
                    request: Request::Command(argument(vector, "-C").expect("a command").to_owned()),
                    timeout: None,
                    server_authentication: None,
                };
                assert_eq!(message.to_text(), Err(Refusal::BadMessage));
            }
            // An option that this version of the client does not have: the program's business.
            "server-auth" => assert_eq!(argument(vector, "--server-auth"), Some("foo")),
            name => panic!("{name}: nothing says how this is refused"),
        }
    }
    assert_eq!(count, 14);
    assert_eq!(Destination::from_text("192.168.10.5,22,1"), None);
    assert_eq!(Destination::from_text("192.168.10.5"), None);
}
