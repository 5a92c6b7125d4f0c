//! Connections and questions of honest people, from the first segment to the last.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::{TcpFlags, build};

use crate::host::Reply;
use crate::stage::{Stack, Stage};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Whoever opened the connection.
    Client,
    /// Whoever took it.
    Server,
}

use Side::{Client, Server};

impl Side {
    fn other(self) -> Side {
        if self == Client { Server } else { Client }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// FIN by this side, then by the other.
    Fin(Side),
    /// RST by this side.
    Reset(Side),
    /// This side breaks off while the other still sends: a RST, so many late segments, each answered by a RST.
    BrokenOff(Side, usize),
    /// It goes on behind the end of the capture.
    Open,
}

/// A TCP connection.
pub struct Talk {
    /// Who opens it, and from which port.
    pub client: (IpAddr, u16),
    /// Who takes it, and at which port.
    pub server: (IpAddr, u16),
    /// Whether our host is the client.
    pub is_ours: bool,
    /// There and back again.
    pub round_trip: Duration,
    /// How the client's system looks.
    pub stack: Stack,
    at: Duration,
    hop_limit: u8,
    sequence: [u32; 2],
    last: Option<Side>,
}

impl Talk {
    /// A connection of a stranger to a service of ours.
    pub fn to_us(stage: &mut Stage, at: Duration, client: IpAddr, port: u16) -> Talk {
        let own = if client.is_ipv4() { stage.host.own() } else { stage.host.own6() };
        let client_port = stage.ephemeral();
        Talk::new(stage, at, (client, client_port), (own, port), false)
    }

    /// A connection of ours to somebody's service.
    pub fn from_us(stage: &mut Stage, at: Duration, server: IpAddr, port: u16) -> Talk {
        let own = if server.is_ipv4() { stage.host.own() } else { stage.host.own6() };
        let client_port = stage.ephemeral();
        Talk::new(stage, at, (own, client_port), (server, port), true)
    }

    fn new(
        stage: &mut Stage,
        at: Duration,
        client: (IpAddr, u16),
        server: (IpAddr, u16),
        is_ours: bool,
    ) -> Talk {
        let stack = if is_ours { Stack::Linux } else { Stack::of(client.0) };
        let other = if is_ours { server.0 } else { client.0 };
        let hop_limit = Stack::of(other).hop_limit(other);
        Talk {
            client,
            server,
            is_ours,
            round_trip: stage.dice.micros(500, 120_000),
            stack,
            at,
            hop_limit,
            sequence: [stage.dice.number() as u32, stage.dice.number() as u32],
            last: None,
        }
    }

    /// Three segments.
    pub fn open(&mut self, stage: &mut Stage) -> &mut Talk {
        self.step(stage, Client);
        let syn = self.stack.syn(&mut stage.dice, self.client.1, self.server.1).sequence(self.sequence[0]);
        self.put(stage, Client, syn);
        self.sequence[0] = self.sequence[0].wrapping_add(1);
        self.step(stage, Server);
        let answer = build::tcp(self.server.1, self.client.1, TcpFlags::SYN | TcpFlags::ACK)
            .sequence(self.sequence[1])
            .acknowledgement(self.sequence[0])
            .window(65_160)
            .options(&[2, 4, 5, 0xb4, 1, 3, 3, 7, 1, 1, 4, 2]);
        self.put(stage, Server, answer);
        self.sequence[1] = self.sequence[1].wrapping_add(1);
        self.segment(stage, Client, TcpFlags::ACK, 0)
    }

    /// `length` bytes, acknowledged.
    pub fn say(&mut self, stage: &mut Stage, side: Side, mut length: usize) -> &mut Talk {
        while length > 0 {
            let part = length.min(1448);
            length -= part;
            let push = if length == 0 { TcpFlags::PSH } else { 0 };
            self.segment(stage, side, TcpFlags::ACK | push, part);
        }
        self.segment(stage, side.other(), TcpFlags::ACK, 0)
    }

    /// Nothing for a while.
    pub fn rest(&mut self, pause: Duration) -> &mut Talk {
        self.at += pause;
        self
    }

    /// The end; says when.
    pub fn close(&mut self, stage: &mut Stage, end: End) -> Duration {
        match end {
            End::Open => {}
            End::Reset(side) => {
                self.segment(stage, side, TcpFlags::RST | TcpFlags::ACK, 0);
            }
            End::Fin(side) => {
                self.segment(stage, side, TcpFlags::FIN | TcpFlags::ACK, 0);
                self.segment(stage, side.other(), TcpFlags::FIN | TcpFlags::ACK, 0);
                self.segment(stage, side, TcpFlags::ACK, 0);
            }
            End::BrokenOff(side, late) => {
                self.segment(stage, side, TcpFlags::RST | TcpFlags::ACK, 0);
                let acknowledged = self.sequence[side as usize];
                for _ in 0..late {
                    self.segment(stage, side.other(), TcpFlags::ACK, 1448);
                    self.step(stage, side);
                    let (from, to) = self.ends(side);
                    let reset = build::tcp(from.1, to.1, TcpFlags::RST).sequence(acknowledged).window(0);
                    self.put(stage, side, reset);
                }
            }
        }
        self.at
    }

    /// When it is now.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.at
    }

    /// One segment of this side.
    pub fn segment(&mut self, stage: &mut Stage, side: Side, flags: u8, length: usize) -> &mut Talk {
        self.step(stage, side);
        let (from, to) = self.ends(side);
        let acknowledged = self.sequence[side.other() as usize];
        let segment = build::tcp(from.1, to.1, flags)
            .sequence(self.sequence[side as usize])
            .acknowledgement(acknowledged)
            .window(502)
            .options(&[1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 7])
            .payload(&vec![0x20; length]);
        self.put(stage, side, segment);
        let used = length as u32 + u32::from(flags & TcpFlags::FIN != 0);
        self.sequence[side as usize] = self.sequence[side as usize].wrapping_add(used);
        self
    }

    fn ends(&self, side: Side) -> ((IpAddr, u16), (IpAddr, u16)) {
        if side == Client { (self.client, self.server) } else { (self.server, self.client) }
    }

    /// Our own segments follow at once, those of the other side a way there and back later.
    fn step(&mut self, stage: &mut Stage, side: Side) {
        let is_ours = (side == Client) == self.is_ours;
        self.at += match self.last {
            Some(last) if last != side && !is_ours => self.round_trip,
            Some(_) => stage.dice.micros(15, 300),
            None => Duration::ZERO,
        };
        self.last = Some(side);
    }

    fn put(&mut self, stage: &mut Stage, side: Side, segment: build::Segment) {
        let is_ours = (side == Client) == self.is_ours;
        let (from, to) = self.ends(side);
        let hop_limit = if is_ours { 64 } else { self.hop_limit };
        let packet = build::ip(from.0, to.0, segment)
            .hop_limit(hop_limit)
            .identification(stage.dice.number() as u32 & 0xffff)
            .unfragmented();
        stage.pass(self.at, packet.bytes());
    }
}

impl Stage {
    /// An ordinary system's attempt to connect to `port` of ours where nobody may listen: the SYN, again if there is
    /// no answer, until it is told or tired. Says how it went and when.
    pub fn attempt(&mut self, at: Duration, client: IpAddr, port: u16, stack: Stack) -> (Reply, Duration) {
        let own = if client.is_ipv4() { self.host.own() } else { self.host.own6() };
        let source_port = self.ephemeral();
        let syn = stack.syn(&mut self.dice, source_port, port);
        let hop_limit = stack.hop_limit(client);
        let mut sent = at;
        for retry in std::iter::once(&0).chain(stack.retries()) {
            sent = at + Duration::from_millis(*retry);
            let number = self.dice.number() as u32 & 0xffff;
            let packet = build::ip(client, own, syn.clone()).hop_limit(hop_limit).identification(number);
            let reply = self.arrive(sent, packet.unfragmented().bytes());
            if reply != Reply::Silence {
                return (reply, sent);
            }
        }
        (Reply::Silence, sent)
    }

    /// A datagram from anybody to anybody.
    pub fn datagram(&mut self, at: Duration, from: (IpAddr, u16), to: (IpAddr, u16), length: usize) {
        let is_ours = self.host.addresses().contains(&from.0);
        let hop_limit = if is_ours { 64 } else { Stack::of(from.0).hop_limit(from.0) };
        let payload: Vec<u8> = (0..length).map(|place| (place * 7) as u8).collect();
        let number = self.dice.number() as u32 & 0xffff;
        let packet = build::ip(from.0, to.0, build::udp(from.1, to.1, &payload));
        self.pass(at, packet.hop_limit(hop_limit).identification(number).bytes());
    }

    /// A question of ours by UDP, and its answer `delay` later. Says from which port.
    pub fn question(&mut self, at: Duration, server: (IpAddr, u16), length: usize, delay: Duration) -> u16 {
        let own = if server.0.is_ipv4() { self.host.own() } else { self.host.own6() };
        let port = self.ephemeral();
        self.datagram(at, (own, port), server, length);
        self.datagram(at + delay, server, (own, port), length * 3);
        port
    }

    /// The host's complaint that nobody is at its UDP `port` any more, about a datagram from `from`.
    pub fn complain(&mut self, at: Duration, from: (IpAddr, u16), port: u16) {
        let own = if from.0.is_ipv4() { self.host.own() } else { self.host.own6() };
        let quoted = build::ip(from.0, own, build::udp(from.1, port, &[0; 16])).bytes();
        let error = if from.0.is_ipv4() { build::icmp(3, 3, &quoted) } else { build::icmpv6(1, 4, &quoted) };
        self.pass(at, build::ip(own, from.0, error).bytes());
    }
}
