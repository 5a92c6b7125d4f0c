//! The 83 cases of fwknopd: the same packets to users with the same rights.

use portcullis_core::door::spa::access::{Granted, Length, User};
use portcullis_core::door::spa::cipher::Mode;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::message::{Destination, Guest, Message, Request};
use portcullis_core::door::spa::refusal::Refusal::{self, *};
use portcullis_core::door::spa::{Accepted, Spa, build, envelope};
use portcullis_core::net::PortSet;
use serde_json::Value;

use super::{ANYTHING, access, address, hear, keys, keys_of, message, opening, sealed, spa, user, vectors};

/// What became of a case: granted, or refused for this reason.
type Outcome = Result<Accepted, Refusal>;

const CLIENT: &str = "10.78.0.1";

/// One packet to a server whose only user is this one.
fn one(user: User, packet: impl AsRef<[u8]>) -> Outcome {
    hear(&mut spa(vec![user]), CLIENT, packet)
}

/// One packet of the usual keys, with what `change` makes of it.
fn usual(change: impl FnOnce(&mut Message)) -> Outcome {
    one(user(keys()), sealed(&keys(), change))
}

/// A user with another right than usual.
fn with(change: impl FnOnce(&mut User)) -> User {
    let mut user = user(keys());
    change(&mut user);
    user
}

fn from_second(first: &str, second: impl AsRef<[u8]>, source: &str) -> Outcome {
    let mut spa = spa(vec![user(keys())]);
    hear(&mut spa, CLIENT, first).expect("the first opens");
    hear(&mut spa, source, second)
}

/// The text of a message with some of it replaced: what our own encoder refuses to write.
fn around(from: &str, to: &str) -> Outcome {
    let text = message(|_| {}).to_text().expect("a text").replace(from, to);
    one(user(keys()), build::around(text.as_bytes(), Digest::Sha256, &keys(), *b"saltsalt"))
}

fn changed(packet: &str, place: usize) -> Vec<u8> {
    let mut bytes = packet.as_bytes().to_vec();
    let byte = &mut bytes[place];
    *byte = if *byte == b'A' { b'B' } else { b'A' };
    bytes
}

/// The user without an HMAC key, and his packet.
fn bare() -> (User, String) {
    let keys = keys_of(Mode::Cbc, b"testkey123", None);
    (user(keys.clone()), sealed(&keys, |_| {}))
}

fn bare_again(change: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    let (user, packet) = bare();
    let mut spa = spa(vec![user]);
    hear(&mut spa, CLIENT, &packet).expect("the first opens");
    let mut again = packet.into_bytes();
    change(&mut again);
    hear(&mut spa, CLIENT, again)
}

/// Three stanzas: one of another network, one for tcp/80 with keys of its own, one that may give commands.
fn stanzas() -> (Spa, super::Keys, super::Keys) {
    let second = keys_of(Mode::Cbc, b"second key", Some((Digest::Sha256, b"second hmac key")));
    let third = keys_of(Mode::Cbc, b"third key", Some((Digest::Sha256, b"third hmac key")));
    let mut users = vec![user(keys()), user(second.clone()), user(third.clone())];
    users[0].from = vec!["10.99.0.0/16".parse().expect("a prefix")];
    users[1].tcp = PortSet::from_ranges([(80, 80)]);
    users[2].weak = ANYTHING;
    (spa(users), second, third)
}

fn command(text: &str) -> Request {
    Request::Command(text.to_owned())
}

fn server(mode: Mode, digest: Option<Digest>) -> Outcome {
    let keys = keys_of(mode, b"testkey123", digest.map(|digest| (digest, &b"hmackey456"[..])));
    one(user(keys.clone()), sealed(&keys, |_| {}))
}

fn spaces(client: &[u8]) -> Outcome {
    let of = |key| keys_of(Mode::Cbc, key, Some((Digest::Sha256, b"hmackey456")));
    one(user(of(b"rc key with spaces")), sealed(&of(client), |_| {}))
}

/// What ours does, and for a refusal why; nothing for cases that are not about what a packet says.
fn ours(case: &str) -> Option<(Outcome, Option<Refusal>)> {
    let good = sealed(&keys(), |_| {});
    let other_cipher = keys_of(Mode::Cbc, b"wrong key!", Some((Digest::Sha256, b"hmackey456")));
    let other_hmac = keys_of(Mode::Cbc, b"testkey123", Some((Digest::Sha256, b"wrong hmac key")));
    let ctr = keys_of(Mode::Ctr, b"testkey123", Some((Digest::Sha256, b"hmackey456")));
    let sha512 = keys_of(Mode::Cbc, b"testkey123", Some((Digest::Sha512, b"hmackey456")));
    let binary = keys_of(Mode::Cbc, &[0, 1, 2, 3, 4], Some((Digest::Sha256, &[0; 64])));
    let only_22 = || with(|user| (user.tcp, user.udp) = ("22".parse().expect("ports"), PortSet::default()));
    let named = |name: &str| with(|user| user.required_name = Some(name.to_owned()));
    let address_required = || with(|user| user.require_address = true);
    let ports =
        |count: u16| (0..count).map(|port| format!("tcp/{}", 20_000 + port)).collect::<Vec<_>>().join(",");
    let granted = |outcome| Some((outcome, None));
    let refused = |outcome, refusal| Some((outcome, Some(refusal)));
    match case {
        "normal" | "saved-packet-1st" | "own-encoder" | "P-udpraw" | "rand-port" | "udp-server-mode"
        | "nopersist-1" | "cmd-cycle" => granted(usual(|_| {})),
        "saved-packet-replay" | "nopersist-2" => refused(from_second(&good, &good, CLIENT), Replayed),
        "replay-other-src" => refused(from_second(&good, &good, "10.78.0.3"), Replayed),
        "replay-after-restart" => {
            let mut before = spa(vec![user(keys())]);
            hear(&mut before, CLIENT, &good).expect("the first opens");
            let mut after = spa(vec![user(keys())]);
            after.restore(before.entries());
            refused(hear(&mut after, CLIENT, &good), Replayed)
        }
        "hmac-bad" => refused(one(user(keys()), sealed(&other_hmac, |_| {})), BadHmac),
        "body-bit-flip" => refused(one(user(keys()), changed(&good, 50)), BadHmac),
        "good-after-bad" => {
            let mut spa = spa(vec![user(keys())]);
            assert_eq!(hear(&mut spa, CLIENT, changed(&good, 50)), Err(BadHmac));
            granted(hear(&mut spa, CLIENT, &good))
        }
        "with-prefix" => refused(one(user(keys()), format!("U2FsdGVkX1{good}")), Prefixed),
        "trailing-eq-hmac" => refused(one(user(keys()), format!("{good}=")), Padded),
        "trailing-newline" => refused(one(user(keys()), format!("{good}\n")), NotBase64),
        "trailing-nul" => refused(one(user(keys()), format!("{good}\0")), NotBase64),
        "short-139" => refused(one(user(keys()), &good[..139]), TooShort),
        "garbage-200" => refused(one(user(keys()), "garbage4".repeat(25)), NotSalted),
        "garbage-nonb64" => refused(one(user(keys()), "#garbage".repeat(25)), NotBase64),
        "long-450" => refused(one(user(keys()), "8".repeat(450)), TooLong),
        "long-1500" => refused(one(user(keys()), "8".repeat(1500)), TooLong),
        "old-10min" => refused(usual(|message| message.time -= 600), TooOld),
        "old-110s" => granted(usual(|message| message.time -= 110)),
        "future-10min" => refused(usual(|message| message.time += 600), TooNew),
        "source-s" => granted(usual(|message| message.guest = Guest::Source)),
        "source-s-hijack-from-.3" => {
            let packet = sealed(&keys(), |message| message.guest = Guest::Source);
            granted(hear(&mut spa(vec![user(keys())]), "10.78.0.3", packet))
        }
        "spoofed-src-77" => refused(hear(&mut spa(vec![user(keys())]), "10.78.0.77", &good), PrivateAddress),
        "multi" => granted(usual(|message| message.request = access("udp/53,tcp/443"))),
        "timeout-f60" | "own-encoder-timeout" => {
            let is_own = case == "own-encoder-timeout";
            granted(usual(|message| {
                message.timeout = Some(60);
                message.request = access(if is_own { "tcp/2023" } else { "tcp/22" });
            }))
        }
        "timeout-f5000" => granted(usual(|message| message.timeout = Some(5000))),
        "wrong-key" => refused(one(user(keys()), sealed(&other_cipher, |_| {})), BadPadding),
        "no-hmac-client" => refused(one(user(keys()), bare().1), BadHmac),
        "hmac-sha512-client-vs-256" => refused(one(user(keys()), sealed(&sha512, |_| {})), BadHmac),
        "digest-md5" => {
            let packet =
                envelope::seal(&message(|_| {}), Digest::Md5, &keys(), *b"saltsalt").expect("a packet");
            granted(one(user(keys()), packet))
        }
        "mode-ctr-vs-cbc" => refused(one(user(keys()), sealed(&ctr, |_| {})), BadPadding),
        "cmd-disabled" => refused(usual(|message| message.request = command("/bin/echo hi")), Command),
        "nat-disabled" => {
            let to = Destination { host: "192.168.10.5".to_owned(), port: 22 };
            let Request::Access(ports) = access("tcp/22") else { unreachable!("access is access") };
            refused(usual(|message| message.request = Request::Forward(ports, to)), Forwarding)
        }
        "ipv6" => {
            let packet = sealed(&keys(), |message| message.guest = Guest::Source);
            granted(hear(&mut spa(vec![user(keys())]), "fd78::1", packet))
        }
        "open-ports-denied" => refused(
            one(only_22(), sealed(&keys(), |message| message.request = access("tcp/80"))),
            PortNotAllowed,
        ),
        "open-ports-partly" => {
            let packet = sealed(&keys(), |message| message.request = access("tcp/22,tcp/80"));
            refused(one(only_22(), packet), PortNotAllowed)
        }
        "user-wrong" => refused(one(named("bob"), &good), WrongName),
        "user-right" => granted(one(named("alice"), &good)),
        "s-when-required" | "a-0.0.0.0" => {
            let packet =
                sealed(&keys(), |message| message.guest = Guest::from_text("0.0.0.0").expect("a guest"));
            refused(one(address_required(), packet), SourceRequired)
        }
        "max-timeout" => {
            let ten = std::time::Duration::from_secs(10);
            let user = with(|user| user.length = Length { usual: ten, most: ten });
            let packet = sealed(&keys(), |message| {
                (message.timeout, message.request) = (Some(60), access("tcp/80"));
            });
            granted(one(user, packet))
        }
        "nohmac-server-nohmac-client" | "nohmac-first" => granted(one(bare().0, bare().1)),
        "nohmac-server-hmac-client" => refused(one(bare().0, &good), NotCanonical),
        "nohmac-replay" => refused(bare_again(|_| {}), Replayed),
        "nohmac-replay-eq" => refused(bare_again(|packet| packet.push(b'=')), Padded),
        "nohmac-replay-eqeq" => refused(bare_again(|packet| packet.extend(b"=A")), Padded),
        "nohmac-replay-lastbits" => {
            // 128 bytes end in two letters more than a multiple of four, of which the last has four stray bits.
            refused(bare_again(|packet| *packet.last_mut().expect("a letter") += 1), NotCanonical)
        }
        "stanza2" => {
            let (mut spa, second, _) = stanzas();
            granted(hear(&mut spa, CLIENT, sealed(&second, |message| message.request = access("tcp/80"))))
        }
        "stanza3" => {
            let (mut spa, _, third) = stanzas();
            granted(hear(&mut spa, CLIENT, sealed(&third, |_| {})))
        }
        "cmd-exec" | "cmd-exec-s" => {
            let (mut spa, _, third) = stanzas();
            let packet = sealed(&third, |message| {
                message.request = command("/bin/echo hi");
                if case == "cmd-exec-s" {
                    message.guest = Guest::Source;
                }
            });
            granted(hear(&mut spa, CLIENT, packet))
        }
        "cmd-long-400+" => {
            let (mut spa, _, third) = stanzas();
            let text =
                message(|message| message.request = command(&"x".repeat(180))).to_text().expect("a text");
            let packet = build::around(text.as_bytes(), Digest::Sha256, &third, *b"saltsalt");
            refused(hear(&mut spa, CLIENT, packet), TooLong)
        }
        "P-http" => {
            let request = format!("GET /{} HTTP/1.1", good.replace('+', "-").replace('/', "_"));
            refused(one(user(keys()), request), NotBase64)
        }
        "base64-keys-live" => granted(one(user(binary.clone()), sealed(&binary, |_| {}))),
        "own-encoder-ver9.9" => granted(usual(|message| {
            message.version = "9.9".to_owned();
            message.request = access("tcp/2022");
        })),
        "own-encoder-v6msg" => {
            let packet = sealed(&keys(), |message| message.guest = Guest::Address(address("fd78::1")));
            granted(hear(&mut spa(vec![user(keys())]), "fd78::1", packet))
        }
        // base64 of "10.78.0.1,tcp/22", "10.78.0.1,tcp/0" and "10.78.0.1,tcp/22,".
        "own-encoder-port0" => refused(around("MTAuNzguMC4xLHRjcC8yMg", "MTAuNzguMC4xLHRjcC8w"), BadPorts),
        "own-encoder-trailingcomma" => {
            refused(around("MTAuNzguMC4xLHRjcC8yMg", "MTAuNzguMC4xLHRjcC8yMiw"), BadPorts)
        }
        "own-encoder-srvauth" => granted(usual(|message| {
            message.server_authentication = Some("secret".to_owned());
            message.request = access("tcp/2024");
        })),
        "user-63" => granted(usual(|message| message.user = "u".repeat(29))),
        "many-ports-417" => {
            let text = message(|message| message.request = access(&ports(12))).to_text().expect("a text");
            let packet = build::around(text.as_bytes(), Digest::Sha256, &keys(), *b"saltsalt");
            assert_eq!(packet.len(), 417);
            refused(one(user(keys()), packet), TooLong)
        }
        "ports-10" => granted(usual(|message| message.request = access(&ports(10)))),
        "server-sha512" => granted(server(Mode::Cbc, Some(Digest::Sha512))),
        "server-sha3_256" => granted(server(Mode::Cbc, Some(Digest::Sha3_256))),
        "server-ctr" => granted(server(Mode::Ctr, Some(Digest::Sha256))),
        "server-legacy" => granted(server(Mode::Legacy, None)),
        "server-key-spaces-full" => granted(spaces(b"rc key with spaces")),
        "server-key-spaces-first-word" => refused(spaces(b"rc"), BadPadding),
        "P-icmp" | "P-tcpraw" | "P-tcp-server" | "P-tcp-closed" | "udp-other-port" | "force-nat" => None,
        case => panic!("{case}: nothing says what ours does"),
    }
}

/// Addresses and ports of the rules that fwknopd made: `10.78.0.1 tcp/22`.
fn rules(case: &Value) -> Vec<(String, String)> {
    let rules = case["rules"].as_array().expect("a list").iter().map(|rule| {
        let words: Vec<&str> = rule.as_str().expect("a rule").split(' ').collect();
        let after =
            |option: &str| words[words.iter().position(|word| *word == option).expect("an option") + 1];
        let address = after("-s").strip_suffix("/32").expect("one address");
        (address.to_owned(), format!("{}/{}", after("-p"), after("--dport")))
    });
    rules.collect()
}

#[test]
fn every_case_of_the_server_ends_as_measured_or_as_the_table_of_differences_says() {
    let table =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/ancestors/fwknop-differences.toml"));
    let table: toml::Table = table.parse().expect("fwknop-differences.toml");
    let differences = table["difference"].as_array().expect("a list");
    let named = |case: &str| {
        let mut entries = differences.iter().filter(|entry| {
            entry["cases"].as_array().expect("cases").iter().any(|name| name.as_str() == Some(case))
        });
        let entry = entries.next().map(|entry| entry["ours"].as_str().expect("what ours does").to_owned());
        assert!(entries.next().is_none(), "{case} stands there twice");
        entry
    };
    let file = vectors::file();
    let cases = file["server_cases"].as_array().expect("a list");
    let (mut used, mut same) = (0, 0);
    for case in cases {
        let id = case["id"].as_str().expect("an id");
        let difference = named(id);
        used += usize::from(difference.is_some());
        let Some((outcome, wanted)) = ours(id) else {
            assert_eq!(difference.as_deref(), Some("not here"), "{id}");
            continue;
        };
        assert_eq!(outcome.as_ref().err().copied(), wanted, "{id}");
        let told = outcome.as_ref().err().map_or("granted", |refusal| refusal.name());
        if let Some(difference) = difference {
            assert_eq!(told, difference, "{id}");
            let measured = case["granted"] == true;
            assert_ne!(outcome.is_ok(), measured, "{id}: no difference, take it out of the table");
            continue;
        }
        same += 1;
        let is_command = matches!(&outcome, Ok(Accepted { granted: Granted::Command { .. }, .. }));
        assert_eq!(is_command, case["command_ran"] == true, "{id}");
        assert_eq!(outcome.is_ok(), case["granted"] == true || is_command, "{id}: {told}");
        let rules = rules(case);
        if !rules.is_empty() {
            let (address, ports, _) = opening(outcome).expect("granted");
            let mut wanted: Vec<&str> = rules.iter().map(|(_, port)| port.as_str()).collect();
            let mut ports: Vec<&str> = ports.split(',').collect();
            wanted.sort_unstable();
            ports.sort_unstable();
            assert_eq!(ports, wanted, "{id}");
            assert!(rules.iter().all(|(guest, _)| *guest == address), "{id}: {address}");
        }
    }
    let entries: usize =
        differences.iter().map(|entry| entry["cases"].as_array().expect("cases").len()).sum();
    assert_eq!((cases.len(), used, same), (83, entries, 83 - entries), "a name in the table is no case");
}

#[test]
fn lengths_are_those_that_were_measured() {
    for (case, seconds) in [
        ("normal", 30),
        ("timeout-f60", 60),
        ("timeout-f5000", 300),
        ("max-timeout", 10),
        ("own-encoder-timeout", 60),
    ] {
        let (outcome, _) = ours(case).expect("a case of this room");
        assert_eq!(opening(outcome).map(|(_, _, length)| length), Ok(seconds), "{case}");
    }
    let zero = one(user(keys()), sealed(&keys(), |message| message.timeout = Some(0)));
    assert_eq!(opening(zero).map(|(_, _, length)| length), Ok(30), "0 is not for ever, and not for nothing");
}
