//! nmap 7.94, as captured: `mss` as the only option, window 1024, hop limits of 37 to 59, random identifications, one
//! source port for all probes and the next one for a retry, groups of probes and then a pause, and the RST of its
//! kernel where a service has answered. Paces from its manual: T2 0.4 s, T1 15 s, T0 5 min between probes.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::build::Extension;
use portcullis_core::wire::{TcpFlags, build};

use crate::host::Reply;
use crate::stage::{Stack, Stage};

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
