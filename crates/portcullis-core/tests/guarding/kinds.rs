//! Every kind of probe, as packets in a capture and as packets that arrive: who is a scanner by them, and who is not.

use std::time::Duration;

use portcullis_core::engine::{Engine, Freshness, Host, Presence, View};
use portcullis_core::event::{Action, Mode, What};
use portcullis_core::judge;
use portcullis_core::judge::trigger::{self, Rule};
use portcullis_core::policy::Surroundings;
use portcullis_core::scan::Contact;
use portcullis_core::scan::sources::Secret;
use portcullis_core::time::Now;
use portcullis_core::wire::build::{self, Packet, Payload, Segment};
use portcullis_core::wire::{Checksums, Frame, Link, TcpFlags};

use crate::story::{HERE, settings, surroundings};

const STRANGER: &str = "198.51.100.7";
const ACK: u8 = TcpFlags::ACK;
const SYN: u8 = TcpFlags::SYN;
const RST: u8 = TcpFlags::RST;

/// Nobody is asked in a capture.
struct Nobody;

impl Host for Nobody {
    fn presence(&mut self, _: &Contact, _: Freshness) -> Presence {
        Presence::Unknown
    }
}

/// Packets, a millisecond after each other unless something else is said, and the scans that they hold.
struct Capture {
    engine: Engine,
    now: Now,
    told: Vec<String>,
}

impl Capture {
    fn of_everybody() -> Capture {
        Capture::with(Surroundings { ephemeral: (32768, 60999), ..Surroundings::default() })
    }

    fn of_one_host() -> Capture {
        Capture::with(surroundings())
    }

    fn with(surroundings: Surroundings) -> Capture {
        let mut engine = Engine::new(settings(Mode::Observe), View::Capture, Secret([3; 16]));
        engine.surround(Now::default(), surroundings);
        Capture { engine, now: Now::default(), told: Vec::new() }
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.later(span);
        self.engine.tick(self.now, &mut Nobody);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.pass(Duration::from_millis(1));
        let frame =
            Frame { link: Link::RawIp, bytes, wire_length: bytes.len(), checksums: Checksums::Verify };
        self.engine.frame(self.now, frame, 0, &mut Nobody);
    }

    fn packet(&mut self, from: &str, to: &str, payload: impl Into<Payload>) {
        // The stranger is some routers away.
        let hop_limit = if from == STRANGER { 57 } else { 64 };
        let packet = match (from.parse().unwrap(), to.parse().unwrap()) {
            (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) => build::ip(from, to, payload),
            (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) => build::ip(from, to, payload),
            _ => panic!("one family"),
        };
        self.bytes(&packet.hop_limit(hop_limit).bytes());
    }

    /// To the host, and perhaps its answer.
    fn asked(&mut self, question: Segment, answer: Option<Segment>) {
        self.packet(STRANGER, HERE, question);
        if let Some(answer) = answer {
            self.packet(HERE, STRANGER, answer);
        }
    }

    /// The host is heard, so that its silence means something.
    fn heard(&mut self) {
        self.packet("198.51.100.99", HERE, build::tcp(40_000, 80, SYN));
        self.packet(HERE, "198.51.100.99", build::tcp(80, 40_000, SYN | ACK));
    }

    /// The shapes of the scans, by source and number of the incident.
    fn shapes(self) -> Vec<(String, String)> {
        let mut shapes: Vec<(String, String)> = self
            .ended()
            .map(|scan| {
                let words = portcullis_core::words::evidence(&scan);
                let company =
                    words.split_once(';').map(|(_, company)| company.to_owned()).unwrap_or_default();
                (format!("{} {}{company}", scan.id.0, scan.shape.name()), scan.source.to_string())
            })
            .collect();
        shapes.sort();
        shapes
    }

    fn ended(mut self) -> impl Iterator<Item = portcullis_core::event::Scan> {
        self.engine.finish(self.now, &mut Nobody);
        std::iter::from_fn(move || self.engine.poll_action()).filter_map(|action| match action {
            Action::Record(record) => match record.what {
                What::Scan(scan) if scan.is_ended => Some(scan),
                _ => None,
            },
            _ => None,
        })
    }

    /// The scans: source, kinds, ports.
    fn scans(mut self) -> Vec<String> {
        self.engine.finish(self.now, &mut Nobody);
        while let Some(action) = self.engine.poll_action() {
            if let Action::Record(record) = action
                && let What::Scan(scan) = record.what
                && scan.is_ended
            {
                let kinds: Vec<&str> = scan.kinds.iter().map(|kind| kind.name()).collect();
                let protocols: Vec<&str> = scan.protocols.iter().map(|own| own.name()).collect();
                self.told.push(format!(
                    "{} {} {} {} ports of {}",
                    scan.source,
                    protocols.join("+"),
                    kinds.join("+"),
                    scan.ports.len(),
                    scan.targets
                ));
            }
        }
        self.told
    }
}

#[test]
fn an_ack_scan_is_seen_by_the_resets_that_answer_it() {
    let mut capture = Capture::of_one_host();
    for port in [21, 22, 23, 25, 80, 110, 443, 8080] {
        let reset = build::tcp(port, 40_000, RST).sequence(9);
        capture.asked(build::tcp(40_000, port, ACK).acknowledgement(9), Some(reset));
    }
    assert_eq!(capture.scans(), ["198.51.100.7 tcp ack 8 ports of 1"]);
}

#[test]
fn an_ack_scan_of_a_host_that_says_nothing_takes_twice_the_ports() {
    for (ports, expected) in [(9, vec![]), (10, vec!["198.51.100.7 tcp ack 10 ports of 1"])] {
        let mut capture = Capture::of_one_host();
        for port in 1..=ports {
            capture.asked(build::tcp(40_000, port, ACK), None);
        }
        assert_eq!(capture.scans(), expected);
    }
}

#[test]
fn sessions_that_began_before_the_capture_are_no_ack_scan() {
    let mut capture = Capture::of_one_host();
    for port in 1..=40 {
        capture.asked(
            build::tcp(50_000 + port, port, ACK).sequence(1),
            Some(build::tcp(port, 50_000 + port, ACK)),
        );
        capture.asked(build::tcp(50_000 + port, port, ACK | TcpFlags::FIN).sequence(2), None);
        capture.pass(Duration::from_secs(3));
    }
    assert!(capture.scans().is_empty());
}

#[test]
fn sessions_of_which_only_one_direction_is_captured_are_no_ack_scan() {
    for begins in [true, false] {
        let mut capture = Capture::of_everybody();
        for port in 1..=40 {
            let segment = |flags, sequence| build::tcp(50_000 + port, port, flags).sequence(sequence);
            if begins {
                capture.asked(segment(SYN, 6), None);
            }
            capture.asked(segment(ACK, 7), None);
            capture.asked(segment(ACK | TcpFlags::PSH, 8), None);
            capture.pass(Duration::from_secs(3));
            capture.asked(segment(ACK | TcpFlags::FIN, 500), None);
        }
        assert!(capture.scans().is_empty());
    }
}

#[test]
fn who_breaks_off_many_downloads_does_not_blame_the_server() {
    let mut capture = Capture::of_one_host();
    for port in 40_000..40_100 {
        let data = |sequence| build::tcp(443, port, ACK).sequence(sequence);
        capture.asked(data(1), Some(build::tcp(port, 443, RST)));
        capture.pass(Duration::from_secs(3));
        capture.asked(data(1001), Some(build::tcp(port, 443, RST)));
    }
    assert!(capture.scans().is_empty());
}

#[test]
fn a_server_that_refuses_large_posts_does_not_blame_its_clients() {
    let mut capture = Capture::of_one_host();
    for port in 40_000..40_100 {
        let data = |sequence| build::tcp(port, 80, ACK).sequence(sequence);
        capture.asked(data(1), Some(build::tcp(80, port, RST)));
        capture.asked(data(1001), Some(build::tcp(80, port, RST)));
    }
    assert!(capture.scans().is_empty());
}

#[test]
fn sctp_is_probed_by_init_and_by_cookie_echo() {
    for chunk in [1, 10] {
        let mut capture = Capture::of_one_host();
        for port in 1..=6 {
            capture.packet(STRANGER, HERE, build::sctp(40_000, port, 0, chunk));
            capture.packet(HERE, STRANGER, build::sctp(port, 40_000, 0, 6));
        }
        assert_eq!(capture.scans(), ["198.51.100.7 sctp sctp 6 ports of 1"]);
    }
}

#[test]
fn a_cookie_that_is_taken_is_a_service() {
    let mut capture = Capture::of_one_host();
    for port in 1..=20 {
        capture.packet(STRANGER, HERE, build::sctp(40_000, port, 7, 10));
        capture.packet(HERE, STRANGER, build::sctp(port, 40_000, 8, 11));
    }
    assert!(capture.scans().is_empty());
}

/// "Protocol unreachable" (RFC 792), quoting a packet of `protocol`.
fn protocol_unreachable(protocol: u8) -> Payload {
    let mut body = vec![0; 4];
    body.extend(ip(STRANGER, HERE, build::other(protocol, &[0; 8])));
    build::icmp(3, 2, &body)
}

fn ip(from: &str, to: &str, payload: Payload) -> Vec<u8> {
    let [from, to]: [std::net::Ipv4Addr; 2] = [from.parse().unwrap(), to.parse().unwrap()];
    build::ip(from, to, payload).bytes()
}

#[test]
fn a_scan_of_ip_protocols_names_no_ports() {
    for is_answered in [true, false] {
        let mut capture = Capture::of_one_host();
        for protocol in 180..200 {
            capture.packet(STRANGER, HERE, build::other(protocol, &[]));
            if is_answered {
                capture.packet(HERE, STRANGER, protocol_unreachable(protocol));
            }
        }
        assert_eq!(capture.scans(), ["198.51.100.7 ip ip-protocol 0 ports of 1"]);
    }
}

#[test]
fn tunnels_and_routing_protocols_are_no_scan() {
    let mut capture = Capture::of_one_host();
    for protocol in [2, 4, 41, 47, 50, 51, 88, 89, 97, 103, 108, 112, 115, 136, 137] {
        for _ in 0..3 {
            capture.packet(STRANGER, HERE, build::other(protocol, &[1; 40]));
            capture.pass(Duration::from_secs(3));
        }
    }
    assert!(capture.scans().is_empty());
}

#[test]
fn pings_of_many_addresses_are_a_sweep_and_of_a_few_are_nothing() {
    for kind in [8, 13, 17] {
        for (last, expected) in [(4, vec![]), (30, vec!["198.51.100.7 icmp icmp-sweep 0 ports of 30"])] {
            let mut settings = settings(Mode::Observe);
            // PortSentry's rule for ports has no opinion of pings; by probes it has.
            settings.judge = judge::Settings::Trigger(trigger::Settings {
                rule: Rule::Probes(5),
                window: Duration::from_secs(60),
                sources: 1024,
            });
            let mut capture = Capture::of_everybody();
            capture.engine = Engine::new(settings, View::Capture, Secret([3; 16]));
            for round in 0..if last == 4 { 50 } else { 1 } {
                for address in 1..=last {
                    let target = format!("192.0.2.{address}");
                    capture.packet(STRANGER, &target, build::icmp(kind, 0, &[round; 8]));
                    capture.packet(&target, STRANGER, build::icmp(0, 0, &[round; 8]));
                }
            }
            assert_eq!(capture.scans(), expected);
        }
    }
}

#[test]
fn a_header_in_tiny_fragments_is_told_beside_its_kind_and_counts_at_open_ports() {
    let mut capture = Capture::of_one_host();
    for port in 20..26 {
        let syn = build::tcp(40_000, port, SYN).options(&[2, 4, 5, 0xb4]);
        let from: std::net::Ipv4Addr = STRANGER.parse().unwrap();
        let to: std::net::Ipv4Addr = HERE.parse().unwrap();
        let packet: Packet = build::ip(from, to, syn).identification(u32::from(port));
        for fragment in packet.fragments(8) {
            capture.bytes(&fragment);
        }
        capture.packet(HERE, STRANGER, build::tcp(port, 40_000, SYN | ACK));
    }
    assert_eq!(capture.scans(), ["198.51.100.7 tcp syn+fragments 6 ports of 1"]);
}

#[test]
fn large_datagrams_in_fragments_are_not_cut_up() {
    let mut capture = Capture::of_one_host();
    capture.heard();
    let from: std::net::Ipv4Addr = STRANGER.parse().unwrap();
    let to: std::net::Ipv4Addr = HERE.parse().unwrap();
    for port in 20..26 {
        let packet =
            build::ip(from, to, build::udp(40_000, port, &[7; 3000])).identification(u32::from(port));
        for fragment in packet.fragments(1480) {
            capture.bytes(&fragment);
        }
    }
    assert_eq!(capture.scans(), ["198.51.100.7 udp udp 6 ports of 1"]);
}

#[test]
fn odd_flags_count_at_open_ports_and_every_mix_has_its_name() {
    for (flags, kind) in [(0x01, "fin"), (0x00, "null"), (0x29, "xmas"), (0x2b, "flags"), (0x03, "flags")] {
        let mut capture = Capture::of_one_host();
        for port in 20..26 {
            // Somebody honest is served there.
            capture.packet("198.51.100.99", HERE, build::tcp(40_000, port, SYN));
            capture.packet(HERE, "198.51.100.99", build::tcp(port, 40_000, SYN | ACK));
            capture.asked(build::tcp(40_000, port, flags), None);
        }
        assert_eq!(capture.scans(), [format!("198.51.100.7 tcp {kind} 6 ports of 1")]);
    }
}

#[test]
fn a_scan_from_and_of_link_local_addresses_is_seen() {
    let mut capture = Capture::of_everybody();
    for port in 20..26 {
        capture.packet("fe80::7", "fe80::2", build::tcp(40_000, port, SYN));
        capture.packet("fe80::2", "fe80::7", build::tcp(port, 40_000, RST | ACK));
    }
    assert_eq!(capture.scans(), ["fe80::7 tcp syn 6 ports of 1"]);
}

#[test]
fn a_datagram_is_a_probe_whatever_it_carries() {
    let mut capture = Capture::of_one_host();
    capture.heard();
    for (port, payload) in [
        (53, &b"\0\0\x01\0\0\x01"[..]),
        (123, b"\xe3\0\x04\xfa"),
        (161, b"0:\x02\x01"),
        (500, b""),
        (1900, b"M-SEARCH"),
    ] {
        capture.packet(STRANGER, HERE, build::udp(40_000, port, payload));
    }
    assert_eq!(capture.scans(), ["198.51.100.7 udp udp 5 ports of 1"]);
}

#[test]
fn the_pace_of_a_scan_gives_it_its_shape() {
    for (pause, shape) in [(1, "vertical"), (15, "vertical"), (40, "slow"), (300, "slow")] {
        let mut settings = settings(Mode::Observe);
        settings.judge = judge::Settings::Trigger(trigger::Settings {
            rule: Rule::Ports(5),
            window: Duration::from_secs(3600),
            sources: 1024,
        });
        let mut capture = Capture::of_one_host();
        capture.engine = Engine::new(settings, View::Capture, Secret([3; 16]));
        capture.engine.surround(Now::default(), surroundings());
        for port in 1..=8 {
            // Each probe is sent twice, as nmap does where nothing answers.
            for _ in 0..2 {
                capture.asked(build::tcp(40_000, port, SYN), Some(build::tcp(port, 40_000, RST | ACK)));
            }
            capture.pass(Duration::from_secs(pause));
        }
        let shapes = capture.shapes();
        assert!(shapes.len() == 1 && shapes[0].0.ends_with(shape), "{pause} s: {shapes:?}");
    }
}

#[test]
fn decoys_are_one_incident_whose_origin_is_unknown() {
    let mut capture = Capture::of_one_host();
    let sources = ["198.51.100.7", "198.51.100.8", "203.0.114.5"];
    for port in 1..=4 {
        for source in sources {
            let probe = build::tcp(51_000, port, SYN).sequence(0x1234_5678).options(&[2, 4, 5, 0xb4]);
            capture.packet(source, HERE, probe);
            capture.packet(HERE, source, build::tcp(port, 51_000, RST | ACK));
        }
        capture.pass(Duration::from_millis(200));
    }
    let what = "1 decoy the same from 3 sources at once: decoys, origin unknown".to_owned();
    let expected: Vec<_> = sources.map(|source| (what.clone(), source.to_owned())).into();
    assert_eq!(capture.shapes(), expected);
}

#[test]
fn ports_dealt_out_to_many_are_one_incident_and_a_friend_of_a_dead_port_is_not_in_it() {
    let mut capture = Capture::of_one_host();
    for number in 0..24 {
        let (source, port) = (format!("198.51.100.{}", 100 + number % 12), 1000 + number);
        capture.packet(
            &source,
            HERE,
            build::tcp(40_000, port, SYN).options(&[2, 4, 5, 0xb4]).sequence(7 * u32::from(number)),
        );
        capture.packet(HERE, &source, build::tcp(port, 40_000, RST | ACK));
        let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        capture.packet("198.51.100.9", HERE, build::tcp(50_000 + number, 8080, SYN).options(&options));
        capture.packet(HERE, "198.51.100.9", build::tcp(8080, 50_000 + number, RST | ACK));
        capture.pass(Duration::from_secs(5));
    }
    let shapes = capture.shapes();
    assert_eq!(shapes.len(), 12, "{shapes:?}");
    assert!(shapes.iter().all(|(what, _)| what == "1 distributed shared with 12 sources"), "{shapes:?}");
}

/// A router that looks after a network: it sees both directions, and its own kernel knows nothing of what is there.
#[test]
fn a_router_judges_what_goes_to_the_network_that_it_looks_after() {
    let mut story = crate::story::Story::new(Mode::Observe);
    let protect = vec!["203.0.114.0/24".parse().unwrap()];
    story.engine.surround(story.now, Surroundings { protect, ..surroundings() });
    let mut told = Vec::new();
    let mut pass = |story: &mut crate::story::Story, from: &str, to: &str, segment: Segment| {
        told.extend(story.pass(Duration::from_millis(1)));
        let bytes = ip(from, to, segment.into());
        let frame = Frame {
            link: Link::RawIp,
            bytes: &bytes,
            wire_length: bytes.len(),
            checksums: Checksums::Verify,
        };
        story.engine.frame(story.now, frame, 1, &mut story.services);
        told.extend(story.told());
    };
    let (host, friend) = ("203.0.114.7", "198.51.100.99");
    for port in 20..30 {
        // A friend is served at each port; the scanner comes to others that refuse him.
        pass(&mut story, friend, host, build::tcp(40_000, port, SYN));
        pass(&mut story, host, friend, build::tcp(port, 40_000, SYN | ACK));
        pass(&mut story, friend, host, build::tcp(40_000, port, ACK | TcpFlags::FIN));
        pass(&mut story, STRANGER, host, build::tcp(40_000, port, SYN));
        pass(&mut story, host, STRANGER, build::tcp(port, 40_000, SYN | ACK));
        // To others this router pays no heed.
        pass(&mut story, STRANGER, "203.0.115.7", build::tcp(40_000, port + 100, SYN));
    }
    for port in 100..105 {
        pass(&mut story, STRANGER, host, build::tcp(40_000, port, SYN));
        pass(&mut story, host, STRANGER, build::tcp(port, 40_000, RST | ACK));
    }
    assert_eq!(told, ["scan 198.51.100.7 syn [100, 101, 102, 103, 104] Observe"]);
    // A host behind it that scans another is told, and never blocked.
    let mut told = Vec::new();
    for port in 100..105 {
        for (from, to, segment) in [
            (host, "203.0.114.8", build::tcp(40_000, port, SYN)),
            ("203.0.114.8", host, build::tcp(port, 40_000, RST | ACK)),
        ] {
            let bytes = ip(from, to, segment.into());
            let frame = Frame {
                link: Link::RawIp,
                bytes: &bytes,
                wire_length: bytes.len(),
                checksums: Checksums::Verify,
            };
            story.engine.frame(story.now, frame, 1, &mut story.services);
        }
        told.extend(story.told());
    }
    assert_eq!(told, ["scan 203.0.114.7 syn [100, 101, 102, 103, 104] Protected(LookedAfter)"]);
}
