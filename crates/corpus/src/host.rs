//! The guarded host as the network sees it: its addresses, its services, its firewall, and how a Linux kernel answers
//! what arrives. Measured on 6.18 (`nmap` against a namespace), and as RFC 9293 §3.10.7 and RFC 1122 §3.2.2 say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portcullis_core::wire::{Packet, Tcp, TcpFlags, Transport, build};

use crate::dice::Dice;

/// What stands before the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// Nothing: the kernel answers with RST and ICMP errors.
    Bare,
    /// What is for no service gets no answer.
    Drop,
    /// What is for no service is refused with "port unreachable", as iptables' REJECT does by itself.
    Reject,
}

impl Firewall {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Firewall::Bare => "bare",
            Firewall::Drop => "drop",
            Firewall::Reject => "reject",
        }
    }
}

/// How the host answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A SYN-ACK with this sequence number.
    Open {
        /// The host's first sequence number.
        sequence: u32,
    },
    /// A RST.
    Reset,
    /// An ICMP error.
    Unreachable,
    /// Something of the application, or an echo.
    Data,
    /// Nothing.
    Silence,
}

/// The guarded host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its addresses; the first is the usual one.
    pub v4: Vec<Ipv4Addr>,
    /// Likewise; the first is global, the second link-local.
    pub v6: Vec<Ipv6Addr>,
    /// TCP ports with a service.
    pub tcp: BTreeSet<u16>,
    /// UDP ports with a service.
    pub udp: BTreeSet<u16>,
    /// What stands before them.
    pub firewall: Firewall,
    /// Whether pings pass the firewall.
    pub answers_ping: bool,
    dice: Dice,
    /// Linux sends six ICMP errors to a destination at once, then one a second (`net.ipv4.icmp_ratelimit`); here in
    /// microseconds of credit, and when it was counted.
    credit: BTreeMap<IpAddr, (u64, Duration)>,
}

/// What six errors at once cost.
const FULL_CREDIT: u64 = 6_000_000;

/// What one costs.
const ERROR: u64 = 1_000_000;

/// Services by how common they are.
const SERVICES: [u16; 25] = [
    22, 80, 443, 25, 993, 587, 143, 110, 53, 8080, 3306, 5432, 21, 389, 636, 8443, 9100, 6379, 5222, 873,
    2049, 111, 1883, 5000, 465,
];

impl Host {
    pub(crate) fn new(dice: &mut Dice) -> Host {
        let own = Ipv4Addr::new(192, 168, dice.between(0, 250) as u8, dice.between(2, 250) as u8);
        let public = Ipv4Addr::new(198, 51, 100, dice.between(2, 250) as u8);
        let v4 = vec![if dice.percent(50) { own } else { public }];
        let site = dice.between(1, 0xffff) as u16;
        let global = Ipv6Addr::new(0x2001, 0xdb8, site, 1, 0, 0, 0, dice.port(2, 0xfffe));
        let near = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, dice.port(2, 0xfffe));
        let services = match dice.between(0, 3) {
            0 => 0,
            1 | 2 => 3,
            _ => dice.count(8, SERVICES.len()),
        };
        let udp: &[u16] = if services > 3 { &[53, 123] } else { &[] };
        Host {
            v4,
            v6: vec![global, near],
            tcp: SERVICES[..services].iter().copied().collect(),
            udp: udp.iter().copied().collect(),
            firewall: dice.pick(&[Firewall::Bare, Firewall::Bare, Firewall::Drop, Firewall::Reject]),
            answers_ping: dice.percent(70),
            dice: dice.clone(),
            credit: BTreeMap::new(),
        }
    }

    /// Its usual IPv4 address.
    #[must_use]
    pub fn own(&self) -> IpAddr {
        self.v4[0].into()
    }

    /// Its global IPv6 address.
    #[must_use]
    pub fn own6(&self) -> IpAddr {
        self.v6[0].into()
    }

    /// All its addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let v4 = self.v4.iter().map(|address| IpAddr::from(*address));
        v4.chain(self.v6.iter().map(|address| IpAddr::from(*address))).collect()
    }

    /// So many IPv4 addresses in all, next to each other.
    pub fn take_addresses(&mut self, count: usize) {
        let [a, b, c, _] = self.v4[0].octets();
        self.v4 = (0..count).map(|index| Ipv4Addr::new(a, b, c, 2 + index as u8)).collect();
    }

    /// Three services: the usual small server.
    pub fn has_three_services(&mut self) {
        self.tcp = SERVICES[..3].iter().copied().collect();
        self.udp.clear();
    }

    /// How it answers `packet`, whose bytes are `raw`.
    pub(crate) fn answer(
        &mut self,
        at: Duration,
        packet: &Packet<'_>,
        raw: &[u8],
    ) -> (Reply, Option<Vec<u8>>) {
        if !self.addresses().contains(&packet.destination) {
            return (Reply::Silence, None);
        }
        match packet.transport {
            Transport::Tcp(tcp) => self.answer_segment(at, packet, tcp, raw),
            Transport::Udp { source_port, destination_port, payload } => {
                if !self.udp.contains(&destination_port) {
                    return self.refuse(at, packet, raw, false);
                }
                if payload.is_empty() {
                    return (Reply::Silence, None);
                }
                let answer = build::udp(destination_port, source_port, &[0x5a; 48]);
                (Reply::Data, Some(self.send(packet, answer)))
            }
            Transport::Icmp { kind: 8, .. } if packet.source.is_ipv4() && self.is_pingable() => {
                (Reply::Data, Some(self.send(packet, build::icmp(0, 0, &[0; 8]))))
            }
            Transport::Icmp { kind: 13, .. }
                if packet.source.is_ipv4() && self.firewall == Firewall::Bare =>
            {
                (Reply::Data, Some(self.send(packet, build::icmp(14, 0, &[0; 12]))))
            }
            Transport::Icmp { kind: 128, .. } if packet.source.is_ipv6() && self.is_pingable() => {
                (Reply::Data, Some(self.send(packet, build::icmpv6(129, 0, &[0; 8]))))
            }
            Transport::Icmp { .. } | Transport::Hidden { .. } => (Reply::Silence, None),
            Transport::Sctp { .. } | Transport::Other(_) => self.refuse(at, packet, raw, true),
        }
    }

    fn is_pingable(&self) -> bool {
        self.firewall == Firewall::Bare || self.answers_ping
    }

    fn answer_segment(
        &mut self,
        at: Duration,
        packet: &Packet<'_>,
        tcp: Tcp,
        raw: &[u8],
    ) -> (Reply, Option<Vec<u8>>) {
        let is_open = self.tcp.contains(&tcp.destination_port);
        let flags = tcp.flags;
        if flags.has(TcpFlags::RST) {
            return (Reply::Silence, None);
        }
        if is_open && flags.classic() == TcpFlags::SYN {
            let sequence = self.dice.number() as u32;
            let answer = build::tcp(tcp.destination_port, tcp.source_port, TcpFlags::SYN | TcpFlags::ACK)
                .sequence(sequence)
                .acknowledgement(tcp.sequence.wrapping_add(1))
                .window(64_240)
                .options(&[2, 4, 5, 0xb4]);
            return (Reply::Open { sequence }, Some(self.send(packet, answer)));
        }
        if !is_open && self.firewall != Firewall::Bare {
            return self.refuse(at, packet, raw, false);
        }
        let reset = |flags| build::tcp(tcp.destination_port, tcp.source_port, flags).window(0);
        if flags.has(TcpFlags::ACK) {
            let answer = reset(TcpFlags::RST).sequence(tcp.acknowledgement);
            return (Reply::Reset, Some(self.send(packet, answer)));
        }
        if is_open {
            return (Reply::Silence, None);
        }
        let length = tcp.payload_length as u32 + u32::from(flags.0 & (TcpFlags::SYN | TcpFlags::FIN) != 0);
        let answer = reset(TcpFlags::RST | TcpFlags::ACK)
            .sequence(0)
            .acknowledgement(tcp.sequence.wrapping_add(length));
        (Reply::Reset, Some(self.send(packet, answer)))
    }

    /// An ICMP error, unless the firewall or the rate forbids it.
    fn refuse(
        &mut self,
        at: Duration,
        packet: &Packet<'_>,
        raw: &[u8],
        is_protocol: bool,
    ) -> (Reply, Option<Vec<u8>>) {
        if self.firewall == Firewall::Drop || !self.has_credit(at, packet.source) {
            return (Reply::Silence, None);
        }
        let quote = &raw[..raw.len().min(128)];
        let answer = match (packet.source.is_ipv4(), is_protocol && self.firewall == Firewall::Bare) {
            (true, true) => build::icmp(3, 2, quote),
            (true, false) => build::icmp(3, 3, quote),
            (false, true) => build::icmpv6_with(4, 1, [0, 0, 0, 40], quote),
            (false, false) => build::icmpv6(1, 4, quote),
        };
        (Reply::Unreachable, Some(self.send(packet, answer)))
    }

    fn has_credit(&mut self, at: Duration, to: IpAddr) -> bool {
        let (credit, counted) = self.credit.entry(to).or_insert((FULL_CREDIT, at));
        *credit = FULL_CREDIT.min(*credit + at.saturating_sub(*counted).as_micros() as u64);
        *counted = at.max(*counted);
        let has_credit = *credit >= ERROR;
        if has_credit {
            *credit -= ERROR;
        }
        has_credit
    }

    fn send(&mut self, packet: &Packet<'_>, payload: impl Into<build::Payload>) -> Vec<u8> {
        build::ip(packet.destination, packet.source, payload)
            .hop_limit(64)
            .identification(self.dice.number() as u32 & 0xffff)
            .bytes()
    }
}
