//! nmap 7.94, as captured: `mss` as the only option, window 1024, hop limits of 37 to 59, random identifications, one
//! source port for all probes and the next one for a retry, groups of probes and then a pause, and the RST of its
//! kernel where a service has answered. Paces from its manual: T2 0.4 s, T1 15 s, T0 5 min between probes.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::build::Extension;
use portcullis_core::wire::{TcpFlags, build};

use super::{POPULAR, POPULAR_UDP};
use crate::Incident;
use crate::host::{Firewall, Reply};
use crate::stage::{Stack, Stage};
use crate::talk::{End, Side, Talk};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Technique {
    Syn,
    Connect,
    Udp,
    Flags(u8),
    SctpInit,
    SctpCookie,
    Protocol,
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// T3 to T5: groups, as fast as the answers come.
    Fast,
    /// One probe each time.
    Every(Duration),
}

pub(super) const T2: Pace = Pace::Every(Duration::from_millis(400));
pub(super) const T1: Pace = Pace::Every(Duration::from_secs(15));
pub(super) const T0: Pace = Pace::Every(Duration::from_secs(300));

/// A run of nmap.
pub(super) struct Nmap {
    pub(super) source: IpAddr,
    pub(super) target: IpAddr,
    pub(super) technique: Technique,
    pub(super) pace: Pace,
    /// In the order in which they are asked.
    pub(super) ports: Vec<u16>,
    /// Sent before each probe, in these names.
    pub(super) decoys: Vec<IpAddr>,
    /// Bytes of a fragment.
    pub(super) fragments: Option<usize>,
    pub(super) source_port: u16,
    pub(super) extensions: Vec<Extension>,
    /// Echo, SYN to 443, ACK to 80, timestamp: is the host there?
    pub(super) has_discovery: bool,
}

impl Nmap {
    pub(super) fn new(stage: &mut Stage, technique: Technique, pace: Pace, ports: Vec<u16>) -> Nmap {
        Nmap {
            source: stage.stranger(),
            target: stage.host.own(),
            technique,
            pace,
            ports,
            decoys: Vec::new(),
            fragments: None,
            source_port: stage.dice.port(33_000, 65_000),
            extensions: Vec::new(),
            has_discovery: false,
        }
    }

    /// Scans; says when it was done.
    pub(super) fn run(mut self, stage: &mut Stage) -> Duration {
        let mut at = stage.start;
        if self.has_discovery {
            at = self.discover(stage, at);
        }
        let round_trip = stage.dice.micros(300, 60_000);
        let mut left = std::mem::take(&mut self.ports);
        for retry in 0..2 {
            let mut silent = Vec::new();
            // A UDP scan that gets few answers falls to the rate at which errors come: one a second.
            let is_slow = retry > 0 && self.technique == Technique::Udp;
            for (index, port) in left.into_iter().enumerate() {
                let reply = self.probe(stage, at, port, retry, round_trip);
                if reply == Reply::Silence {
                    silent.push(port);
                }
                at += match self.pace {
                    Pace::Every(pause) => pause + stage.dice.micros(0, 40_000),
                    Pace::Fast if is_slow => stage.dice.micros(800_000, 1_100_000),
                    Pace::Fast if index % 10 < 9 => stage.dice.micros(10, 60),
                    Pace::Fast if reply == Reply::Silence => stage.dice.micros(90_000, 400_000),
                    Pace::Fast => round_trip + stage.dice.micros(50, 3_000),
                };
            }
            if is_slow || retry == 0 && self.technique == Technique::Udp {
                silent.truncate(40);
            }
            left = silent;
            if self.pace == Pace::Fast {
                at += stage.dice.micros(900_000, 1_250_000);
            }
        }
        at
    }

    fn discover(&self, stage: &mut Stage, at: Duration) -> Duration {
        let mut at = at;
        let port = self.source_port.wrapping_sub(256);
        let segments = [
            None,
            Some(build::tcp(port, 443, TcpFlags::SYN).options(&[2, 4, 5, 0xb4])),
            Some(build::tcp(port, 80, TcpFlags::ACK).acknowledgement(stage.dice.number() as u32)),
        ];
        for segment in segments {
            let payload = match segment {
                Some(segment) => segment.into(),
                None if self.source.is_ipv4() => build::icmp_with(8, 0, [0x41, 7, 0, 0], &[]),
                None => build::icmpv6_with(128, 0, [0x41, 7, 0, 0], &[]),
            };
            let packet = self.dress(stage, self.source, payload);
            let reply = stage.arrive(at, packet.bytes());
            self.reset(stage, at + Duration::from_millis(25), port, 443, reply, 2);
            at += stage.dice.micros(20, 90);
        }
        at + stage.dice.micros(50_000, 500_000)
    }

    /// One probe, with its decoys; how the host answered the real one.
    fn probe(&self, stage: &mut Stage, at: Duration, port: u16, retry: u16, round_trip: Duration) -> Reply {
        let source_port =
            if self.source_port < 1024 { self.source_port } else { self.source_port + 2 * retry };
        let sequence = 0x3f00_0000 + u32::from(self.source_port) * 7919 + u32::from(retry) * 131_070;
        let payload: build::Payload = match self.technique {
            Technique::Connect => return self.connect(stage, at, port, round_trip),
            Technique::Syn => build::tcp(source_port, port, TcpFlags::SYN)
                .sequence(sequence)
                .options(&[2, 4, 5, 0xb4])
                .into(),
            Technique::Flags(flags) if flags & TcpFlags::ACK != 0 => {
                build::tcp(source_port, port, flags).sequence(0).acknowledgement(sequence).into()
            }
            Technique::Flags(flags) => build::tcp(source_port, port, flags).sequence(sequence).into(),
            Technique::Udp => build::udp(source_port, port, udp_payload(port)),
            Technique::SctpInit => build::sctp(source_port, port, 0, 1),
            Technique::SctpCookie => build::sctp(source_port, port, stage.dice.number() as u32, 10),
            Technique::Protocol => protocol_probe(source_port, port),
        };
        let mut sent = at;
        for decoy in &self.decoys {
            let packet = self.dress(stage, *decoy, payload.clone());
            stage.arrive(sent, packet.bytes());
            sent += stage.dice.micros(20, 120);
        }
        let packet = self.dress(stage, self.source, payload);
        let reply = match self.fragments {
            None => stage.arrive(sent, packet.bytes()),
            Some(size) => {
                let mut reply = Reply::Silence;
                for fragment in packet.fragments(size) {
                    reply = match stage.arrive(sent, fragment) {
                        Reply::Silence => reply,
                        answer => answer,
                    };
                    sent += stage.dice.micros(10, 30);
                }
                reply
            }
        };
        self.reset(stage, sent + round_trip, source_port, port, reply, sequence.wrapping_add(1));
        reply
    }

    /// The kernel of the scanner knows nothing of the connection that was answered.
    fn reset(
        &self,
        stage: &mut Stage,
        at: Duration,
        source_port: u16,
        port: u16,
        reply: Reply,
        sequence: u32,
    ) {
        if let Reply::Open { .. } = reply {
            let reset = build::tcp(source_port, port, TcpFlags::RST).sequence(sequence).window(0);
            stage.arrive(at, build::ip(self.source, self.target, reset).hop_limit(55).unfragmented().bytes());
        }
    }

    fn connect(&self, stage: &mut Stage, at: Duration, port: u16, round_trip: Duration) -> Reply {
        let source_port = stage.ephemeral();
        let syn = Stack::Linux.syn(&mut stage.dice, source_port, port);
        let hop_limit = 55;
        let syn = build::ip(self.source, self.target, syn).hop_limit(hop_limit).unfragmented();
        let reply = stage.arrive(at, syn.bytes());
        if let Reply::Open { sequence } = reply {
            let segment = |flags| {
                let segment = build::tcp(source_port, port, flags).sequence(2).acknowledgement(sequence + 1);
                build::ip(self.source, self.target, segment.window(502)).hop_limit(hop_limit).unfragmented()
            };
            stage.pass(at + round_trip, segment(TcpFlags::ACK).bytes());
            stage.pass(
                at + round_trip + Duration::from_micros(40),
                segment(TcpFlags::RST | TcpFlags::ACK).bytes(),
            );
        }
        reply
    }

    fn dress(&self, stage: &mut Stage, source: IpAddr, payload: impl Into<build::Payload>) -> build::Packet {
        let mut packet = build::ip(source, self.target, payload)
            .hop_limit(stage.dice.between(37, 59) as u8)
            .identification(stage.dice.number() as u32 & 0xffff);
        for extension in &self.extensions {
            packet = packet.extension(extension.clone());
        }
        packet
    }
}

/// What nmap sends to some ports, by length; to most others nothing.
fn udp_payload(port: u16) -> &'static [u8] {
    const ZEROS: [u8; 192] = [0x30; 192];
    match port {
        53 => &ZEROS[..12],
        123 => &ZEROS[..48],
        161 => &ZEROS[..60],
        137 => &ZEROS[..50],
        500 => &ZEROS[..192],
        111 | 2049 => &ZEROS[..40],
        135 | 1030 => &ZEROS[..72],
        1900 => &ZEROS[..90],
        _ => &[],
    }
}

/// TCP, UDP, SCTP and ICMP get a header of their own, everything else nothing.
fn protocol_probe(source_port: u16, protocol: u16) -> build::Payload {
    match protocol {
        1 => build::icmp_with(8, 0, [7, 7, 0, 0], &[]),
        6 => build::tcp(source_port, 80, TcpFlags::ACK).acknowledgement(77).into(),
        17 => build::udp(source_port, 40_125, &[]),
        132 => build::sctp(source_port, 80, 0, 1),
        other => build::other(other as u8, &[]),
    }
}

/// `count` ports as nmap asks them: the popular ones among them early.
pub(super) fn ports(stage: &mut Stage, count: usize, popular: &[u16]) -> Vec<u16> {
    let mut ports: Vec<u16> = popular.iter().copied().take(count).collect();
    while ports.len() < count {
        let port = stage.dice.port(1, 65_535);
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    let early = count.min(25);
    let (first, rest) = ports.split_at_mut(early);
    stage.dice.shuffle(first);
    stage.dice.shuffle(rest);
    ports
}

/// Five, the top hundred, or some hundreds more.
fn usual_count(stage: &mut Stage) -> usize {
    match stage.dice.between(0, 3) {
        0 => stage.dice.count(12, 30),
        1 | 2 => 100,
        _ => stage.dice.count(200, 600),
    }
}

fn fast(stage: &mut Stage, technique: Technique) -> Nmap {
    let count = usual_count(stage);
    let popular: &[u16] = if technique == Technique::Udp { &POPULAR_UDP } else { &POPULAR };
    let ports = ports(stage, count, popular);
    let has_discovery = stage.dice.percent(50);
    Nmap { has_discovery, ..Nmap::new(stage, technique, Pace::Fast, ports) }
}

/// What the discovery before may be told as.
const DISCOVERY: [&str; 3] = ["syn", "ack", "icmp-sweep"];

fn play(stage: &mut Stage, nmap: Nmap, kind: &'static str, shape: &'static str) {
    stage.incidents.push(Incident::of(nmap.source, kind, shape).besides(&DISCOVERY));
    nmap.run(stage);
}

pub(super) fn three_services(stage: &mut Stage) {
    stage.host.has_three_services();
    let count = stage.dice.pick(&[100, 300]);
    let ports = ports(stage, count, &POPULAR);
    let nmap = Nmap::new(stage, Technique::Syn, Pace::Fast, ports);
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn syn(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Syn);
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn connect(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Connect);
    stage.incidents.push(Incident::of(nmap.source, "syn", "vertical").or_kind("connect").besides(&DISCOVERY));
    nmap.run(stage);
}

pub(super) fn udp(stage: &mut Stage) {
    let mut nmap = fast(stage, Technique::Udp);
    nmap.ports.truncate(150);
    play(stage, nmap, "udp", "vertical");
}

pub(super) fn null(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Flags(0));
    play(stage, nmap, "null", "vertical");
}

pub(super) fn fin(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Flags(TcpFlags::FIN));
    play(stage, nmap, "fin", "vertical");
}

pub(super) fn xmas(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Flags(TcpFlags::FIN | TcpFlags::PSH | TcpFlags::URG));
    play(stage, nmap, "xmas", "vertical");
}

pub(super) fn maimon(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Flags(TcpFlags::FIN | TcpFlags::ACK));
    play(stage, nmap, "maimon", "vertical");
}

/// `-sA` and `-sW` are the same packets.
pub(super) fn ack(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Flags(TcpFlags::ACK));
    play(stage, nmap, "ack", "vertical");
}

pub(super) fn flags(stage: &mut Stage) {
    let (syn, fin, urg, psh) = (TcpFlags::SYN, TcpFlags::FIN, TcpFlags::URG, TcpFlags::PSH);
    let odd = stage.dice.pick(&[syn | fin, urg, psh, syn | fin | urg | psh, syn | TcpFlags::RST, urg | psh]);
    let nmap = fast(stage, Technique::Flags(odd));
    play(stage, nmap, "flags", "vertical");
}

pub(super) fn sctp_init(stage: &mut Stage) {
    let mut nmap = fast(stage, Technique::SctpInit);
    nmap.ports.truncate(52);
    play(stage, nmap, "sctp", "vertical");
}

pub(super) fn sctp_cookie(stage: &mut Stage) {
    let mut nmap = fast(stage, Technique::SctpCookie);
    nmap.ports.truncate(52);
    play(stage, nmap, "sctp", "vertical");
}

pub(super) fn protocols(stage: &mut Stage) {
    let mut protocols: Vec<u16> = (0..=255).collect();
    stage.dice.shuffle(&mut protocols);
    let nmap = Nmap::new(stage, Technique::Protocol, Pace::Fast, protocols);
    let incident = Incident::of(nmap.source, "ip-protocol", "vertical");
    stage.incidents.push(incident.besides(&["ack", "udp", "sctp", "icmp-sweep", "flags"]));
    nmap.run(stage);
}

/// The scanner is elsewhere; what comes here are SYNs of the zombie, and the RSTs of its innocent kernel.
pub(super) fn idle(stage: &mut Stage) {
    let count = stage.dice.count(12, 60);
    let ports = ports(stage, count, &POPULAR);
    let nmap = Nmap::new(stage, Technique::Syn, Pace::Every(Duration::from_millis(50)), ports);
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn polite(stage: &mut Stage) {
    let count = stage.dice.count(15, 120);
    let ports = ports(stage, count, &POPULAR);
    let nmap = Nmap::new(stage, Technique::Syn, T2, ports);
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn sneaky(stage: &mut Stage) {
    let count = stage.dice.count(10, 40);
    let technique = stage.dice.pick(&[Technique::Syn, Technique::Syn, Technique::Flags(TcpFlags::FIN)]);
    let ports = ports(stage, count, &POPULAR);
    let nmap = Nmap::new(stage, technique, T1, ports);
    let kind = if technique == Technique::Syn { "syn" } else { "fin" };
    stage.incidents.push(Incident::of(nmap.source, kind, "vertical").or_shape("slow"));
    nmap.run(stage);
}

/// `-p 21-25,80`: the least that is asked for, at most two of them services.
fn few(stage: &mut Stage, technique: Technique, pace: Pace) -> Nmap {
    let count = stage.dice.count(5, 10);
    let mut wanted = if technique == Technique::Udp { POPULAR_UDP.to_vec() } else { POPULAR.to_vec() };
    stage.dice.shuffle(&mut wanted);
    wanted.truncate(count);
    // Of what was asked, five found nothing: else there is little to tell them from a guest.
    if stage.host.tcp.len() > 2 {
        stage.host.tcp.retain(|port| !wanted[2..].contains(port));
        stage.host.udp.retain(|port| !wanted[2..].contains(port));
    }
    while wanted
        .iter()
        .filter(|port| !stage.host.tcp.contains(port) && !stage.host.udp.contains(port))
        .count()
        < 5
    {
        let port = stage.dice.port(1, 10_000);
        if !wanted.contains(&port) {
            wanted.push(port);
        }
    }
    Nmap::new(stage, technique, pace, wanted)
}

pub(super) fn few_but_enough(stage: &mut Stage) {
    let fin = Technique::Flags(TcpFlags::FIN);
    let technique =
        stage.dice.pick(&[Technique::Syn, Technique::Syn, Technique::Connect, fin, Technique::Udp]);
    let nmap = few(stage, technique, Pace::Fast);
    let kind = match technique {
        Technique::Udp => "udp",
        Technique::Flags(_) => "fin",
        _ => "syn",
    };
    stage.incidents.push(Incident::of(nmap.source, kind, "vertical").besides(&["connect"]));
    nmap.run(stage);
}

pub(super) fn few_and_sneaky(stage: &mut Stage) {
    let nmap = few(stage, Technique::Syn, T1);
    stage.incidents.push(Incident::of(nmap.source, "syn", "vertical").or_shape("slow"));
    nmap.run(stage);
}

/// What has answered is asked what it is, by ordinary connections.
pub(super) fn versions(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Syn);
    let source = nmap.source;
    let open: Vec<u16> = nmap.ports.iter().copied().filter(|port| stage.host.tcp.contains(port)).collect();
    stage.incidents.push(Incident::of(source, "syn", "vertical").besides(&DISCOVERY).besides(&["connect"]));
    let mut at = nmap.run(stage);
    for port in open {
        for question in [0, 18, 22] {
            let mut talk = Talk::to_us(stage, at, source, port);
            talk.open(stage).say(stage, Side::Client, question).say(stage, Side::Server, 60);
            talk.close(stage, End::Fin(Side::Client));
            at += stage.dice.micros(20_000, 2_000_000);
        }
    }
}

/// Behind the ports: probes of open and closed ones with odd flags, a datagram, two echoes (nmap's manual, "TCP/IP
/// Fingerprinting Methods", T1 to T7, U1, IE).
pub(super) fn system(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Syn);
    let (source, target, from) = (nmap.source, nmap.target, nmap.source_port);
    let incident = Incident::of(source, "syn", "vertical").besides(&DISCOVERY);
    stage.incidents.push(incident.besides(&["null", "flags", "ack", "xmas", "udp"]));
    let mut at = nmap.run(stage);
    let open = stage.host.tcp.first().copied().unwrap_or(7);
    let closed = stage.closed_of(&POPULAR, 1)[0];
    let (syn, fin, psh, urg) = (TcpFlags::SYN, TcpFlags::FIN, TcpFlags::PSH, TcpFlags::URG);
    let options = [3, 3, 10, 1, 2, 4, 1, 9, 8, 10, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 4, 2];
    for (port, flags) in [
        (open, syn),
        (open, 0),
        (open, syn | fin | urg | psh),
        (open, TcpFlags::ACK),
        (closed, syn),
        (closed, TcpFlags::ACK),
        (closed, fin | psh | urg),
    ] {
        let probe = build::tcp(from, port, flags).window(128).options(&options);
        stage.arrive(at, build::ip(source, target, probe).hop_limit(50).unfragmented().bytes());
        at += Duration::from_millis(25);
    }
    let probe = build::udp(from, 40_125, &[0x43; 300]);
    stage.arrive(at, build::ip(source, target, probe).hop_limit(50).bytes());
    for code in [9, 0] {
        let echo = build::icmp_with(8, code, [1, 2, 1, 39], &[0; 120]);
        stage.arrive(at, build::ip(source, target, echo).hop_limit(50).bytes());
        at += Duration::from_millis(25);
    }
}

pub(super) fn two(stage: &mut Stage) {
    syn(stage);
    let technique = stage.dice.pick(&[Technique::Syn, Technique::Connect]);
    let nmap = fast(stage, technique);
    stage.start += stage.dice.micros(0, 500_000);
    stage
        .incidents
        .push(Incident::of(nmap.source, "syn", "vertical").besides(&DISCOVERY).besides(&["connect"]));
    nmap.run(stage);
}

/// For a capture that shows nothing but its resets.
pub(super) fn syn_to_a_bare_host(stage: &mut Stage) {
    stage.host.firewall = Firewall::Bare;
    let mut nmap = fast(stage, Technique::Syn);
    nmap.has_discovery = false;
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn from_a_known_port(stage: &mut Stage) {
    let technique = stage.dice.pick(&[Technique::Syn, Technique::Udp]);
    let mut nmap = fast(stage, technique);
    nmap.source_port = stage.dice.pick(&[53, 20, 80, 123]);
    nmap.has_discovery = false;
    play(stage, nmap, if technique == Technique::Syn { "syn" } else { "udp" }, "vertical");
}

pub(super) fn ipv6(stage: &mut Stage) {
    let technique = stage.dice.pick(&[Technique::Syn, Technique::Connect, Technique::Udp]);
    let nmap = fast(stage, technique);
    let nmap = Nmap { source: stage.stranger6(), target: stage.host.own6(), ..nmap };
    let kind = if technique == Technique::Udp { "udp" } else { "syn" };
    let incident = Incident::of(nmap.source, kind, "vertical").besides(&DISCOVERY).besides(&["connect"]);
    stage.incidents.push(incident);
    nmap.run(stage);
}

pub(super) fn extension_headers(stage: &mut Stage) {
    let choices = [
        vec![Extension::DestinationOptions(0)],
        vec![Extension::HopByHop(8)],
        vec![Extension::HopByHop(0), Extension::DestinationOptions(16)],
        vec![Extension::Routing { segments_left: 0 }],
        vec![Extension::AtomicFragment],
    ];
    let extensions = choices[stage.dice.count(0, choices.len() - 1)].clone();
    let nmap = fast(stage, Technique::Syn);
    let nmap = Nmap { source: stage.stranger6(), target: stage.host.own6(), extensions, ..nmap };
    stage
        .incidents
        .push(Incident::of(nmap.source, "syn", "vertical").besides(&["fragments"]).besides(&DISCOVERY));
    nmap.run(stage);
}

pub(super) fn link_local(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Syn);
    let source = IpAddr::from(std::net::Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        0x0211,
        0x22ff,
        0xfe33,
        stage.dice.port(1, 0xfffe),
    ));
    let nmap = Nmap { source, target: stage.host.v6[1].into(), has_discovery: false, ..nmap };
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn neighbour(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Syn);
    let nmap = Nmap { source: stage.neighbour(), ..nmap };
    play(stage, nmap, "syn", "vertical");
}

/// Somebody who reads our pages first, and goes on doing so.
pub(super) fn user(stage: &mut Stage) {
    stage.host.has_three_services();
    let nmap = fast(stage, Technique::Syn);
    let mut at = stage.start;
    stage.start += Duration::from_secs(20);
    for _ in 0..stage.dice.count(2, 12) {
        let mut talk = Talk::to_us(stage, at, nmap.source, 443);
        talk.open(stage).say(stage, Side::Client, 600).say(stage, Side::Server, 9_000);
        talk.close(stage, End::Fin(Side::Client));
        at += stage.dice.micros(100_000, 5_000_000);
    }
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn fragments(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Syn);
    let nmap = Nmap { fragments: Some(8), has_discovery: false, ..nmap };
    let incident = Incident::of(nmap.source, "fragments", "vertical").or_kind("syn");
    stage.incidents.push(incident);
    nmap.run(stage);
}

pub(super) fn longer_fragments(stage: &mut Stage) {
    let technique = stage.dice.pick(&[Technique::Udp, Technique::Flags(TcpFlags::FIN), Technique::Syn]);
    let nmap = fast(stage, technique);
    let kind = match technique {
        Technique::Udp => "udp",
        Technique::Syn => "syn",
        _ => "fin",
    };
    let nmap = Nmap { fragments: Some(24), has_discovery: false, ..nmap };
    stage.incidents.push(Incident::of(nmap.source, kind, "vertical").besides(&["fragments"]));
    nmap.run(stage);
}
