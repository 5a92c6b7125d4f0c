//! Stories of doors that open to one authenticated datagram.

use portcullis_core::door::spa::access::{Length, User, Weak};
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope::{Keys, seal};
use portcullis_core::door::spa::key::{CipherKey, HmacKey};
use portcullis_core::door::spa::message::{Guest, Message, Random, Request, VERSION, ports_from_text};
use portcullis_core::door::spa::refusal::Refusal;
use portcullis_core::door::{SpaLock, spa};
use portcullis_core::net::PortSet;

use super::*;
use portcullis_core::net::Endpoint;
use portcullis_core::policy::Connected;

fn keys() -> Keys {
    let hmac = HmacKey::new(b"another key of many bytes").unwrap();
    Keys::new(CipherKey::new(b"a key of many bytes").unwrap(), Digest::Sha256, &hmac).unwrap()
}

fn door() -> Door {
    let user = User {
        name: "ann".to_owned(),
        keys: keys(),
        weak: Weak::default(),
        from: Vec::new(),
        tcp: PortSet::all(),
        udp: PortSet::default(),
        required_name: None,
        require_address: false,
        expires: None,
        length: Length::default(),
    };
    let lock = SpaLock { users: vec![user], window: spa::WINDOW, port: spa::PORT };
    Door { lock: Lock::Spa(lock), ..ssh() }
}

fn packet(story: &Story, ahead: u64, number: u8, guest: Guest, ports: &str) -> Payload {
    let message = Message {
        random: Random::from_bytes([number; 8]),
        user: "ann".to_owned(),
        time: story.now.wall.0.as_secs() + ahead,
        version: VERSION.to_owned(),
        guest,
        request: Request::Access(ports_from_text(ports).unwrap()),
        timeout: None,
        server_authentication: None,
    };
    let text = seal(&message, Digest::Sha256, &keys(), [number; 8]).unwrap();
    build::udp(4000, spa::PORT, text.as_bytes())
}

fn story() -> Story {
    let mut story = Story::with(with(vec![door()]));
    story.engine.covered_until(story.now.wall + seconds(5));
    story
}

#[test]
fn one_packet_opens_once_and_no_replay_does() {
    let mut story = story();
    let knock = packet(&story, 0, 1, Guest::Source, "tcp/22");
    story.packet(GUEST, knock.clone());
    assert!(story.is_open(GUEST));
    let opening = &story.engine.openings(story.now)[0];
    assert_eq!(opening.until, Some(story.now.wall + seconds(30)), "as the user's length says");
    assert_eq!(story.engine.counters().probes, 0);
    assert_eq!(story.engine.seen_packets().len(), 1);
    story.engine.close(story.now, SSH, None);
    story.packet("198.51.100.9", knock.clone());
    assert!(story.open.is_empty());
    assert_eq!(story.last_why(), Why::Spa(Refusal::Replayed));
    story.engine.reconfigure(story.now, with(vec![Door { renews: true, ..door() }]));
    story.packet("198.51.100.9", knock);
    assert!(story.open.is_empty(), "nor after a reload");
}

#[test]
fn what_a_start_would_not_refuse_is_on_the_disk_first() {
    let mut story = story();
    story.strikes = None;
    let knock = packet(&story, 60, 1, Guest::Source, "tcp/22");
    story.packet(GUEST, knock);
    assert!(story.open.is_empty());
    let (door, which) = story.spending.remove(0);
    story.engine.spent(story.now, door, which, true);
    story.told();
    assert!(story.is_open(GUEST));
    assert_eq!(story.engine.traces()[0].clock_difference, Some(60));
}

#[test]
fn after_a_start_what_is_older_is_refused() {
    let mut story = story();
    let knock = packet(&story, 0, 1, Guest::Source, "tcp/22");
    story.engine.refuse_before(story.now.wall + seconds(1));
    story.packet(GUEST, knock);
    assert!(story.open.is_empty());
    assert_eq!(story.last_why(), Why::Spa(Refusal::BeforeFloor));
    assert_eq!(story.engine.counters().probes, 0, "it proves who sent it, and is no probe");
}

#[test]
fn who_repeats_a_packet_is_a_prober_whose_record_names_the_door_and_no_port() {
    let mut story = story();
    let knock = packet(&story, 0, 1, Guest::Source, "tcp/22");
    story.packet(GUEST, knock.clone());
    story.packet("198.51.100.9", knock);
    assert_eq!(story.engine.counters().probes, 1);
    let mut told = story.scan("198.51.100.9", 1..=5);
    told.extend(story.pass(seconds(120)));
    let scan = told.iter().find(|line| line.starts_with("scan 198.51.100.9")).unwrap();
    assert!(scan.contains("door ssh step 1") && !scan.contains("62201"), "{scan}");
}

#[test]
fn policy_has_its_word_about_whom_a_packet_names() {
    let mut story = story();
    for (number, guest, ports, why) in [
        (1, HERE, "tcp/22", Why::Address),
        (2, "192.0.2.255", "tcp/22", Why::Address),
        (3, "198.51.100.20", "tcp/23", Why::NotOffered),
    ] {
        let knock = packet(&story, 0, number, Guest::Address(address(guest)), ports);
        story.packet(GUEST, knock);
        assert_eq!(story.last_why(), why, "{guest}");
    }
    assert!(story.open.is_empty());
    let knock = packet(&story, 0, 9, Guest::Address(address("198.51.100.20")), "tcp/22");
    story.scan(GUEST, 1..=5);
    story.packet(GUEST, knock);
    assert!(story.is_open("198.51.100.20"), "heard from a banned source");
    assert_eq!(story.kernel.len(), 1, "who asks for another is not pardoned");
}

#[test]
fn junk_to_the_port_is_a_probe_with_a_trace() {
    let mut story = story();
    story.packet(GUEST, build::udp(4000, spa::PORT, &[b'x'; 180]));
    assert_eq!((story.engine.counters().probes, story.engine.traces().len()), (1, 1));
}

#[test]
fn a_datagram_from_a_socket_is_judged_as_one_from_the_wire() {
    let mut story = story();
    let sealed = |story: &Story, number| {
        let message = Message {
            random: Random::from_bytes([number; 8]),
            user: "ann".to_owned(),
            time: story.now.wall.0.as_secs(),
            version: VERSION.to_owned(),
            guest: Guest::Source,
            request: Request::Access(ports_from_text("tcp/22").unwrap()),
            timeout: None,
            server_authentication: None,
        };
        seal(&message, Digest::Sha256, &keys(), [number; 8]).unwrap()
    };
    let mut surroundings = crate::story::surroundings();
    surroundings.connected.push(Connected { network: "198.51.100.0/24".parse().unwrap(), interface: 7 });
    story.engine.surround(story.now, surroundings);
    for (number, source, to, port, interface, is_open) in [
        (1, "198.51.100.7", HERE, spa::PORT, 8, false),
        (2, "198.51.100.7", "198.51.100.255", spa::PORT, 7, false),
        (3, "198.51.100.7", "203.0.113.1", spa::PORT, 7, false),
        (4, "198.51.100.7", HERE, 7, 7, false),
        (5, "::ffff:198.51.100.7", HERE, spa::PORT, 7, true),
    ] {
        let target = Endpoint { protocol: Protocol::Udp, address: address(to), port };
        let payload = sealed(&story, number);
        story.engine.datagram(
            story.now,
            address(source),
            target,
            interface,
            payload.as_bytes(),
            &mut story.services,
        );
        story.told();
        assert_eq!(story.is_open("198.51.100.7"), is_open, "{source} to {to} port {port} at {interface}");
        story.engine.datagram(story.now, address(source), target, interface, b"junk", &mut story.services);
        story.told();
    }
    assert_eq!(story.engine.counters().probes, 0, "who sends to a socket of ours is no prober");
}
