//! Where a scenario is played: the guarded host, the dice, and the tape that takes down every packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portcullis_core::time::Mono;
use portcullis_core::wire::{Checksums, Decoder, FragmentLimits, Frame, Link, TcpFlags, build};

use crate::dice::Dice;
use crate::host::{Host, Reply};
use crate::{Captured, Incident};

/// 2026-01-01T00:00:00Z: every capture begins within the months behind it.
const YEAR: Duration = Duration::from_secs(1_767_225_600);

/// The stage of one scenario.
pub struct Stage {
    /// What is drawn.
    pub dice: Dice,
    /// The guarded host.
    pub host: Host,
    /// When it begins.
    pub start: Duration,
    /// Who is to be found.
    pub incidents: Vec<Incident>,
    tape: Vec<Captured>,
    decoder: Decoder,
}

impl Stage {
    pub(crate) fn new(name: &str, seed: u64) -> Stage {
        let mut dice = Dice::new(name, seed);
        let start = YEAR + Duration::from_micros(dice.between(0, 10_000_000_000_000));
        Stage {
            host: Host::new(&mut dice),
            dice,
            start,
            incidents: Vec::new(),
            tape: Vec::new(),
            decoder: Decoder::new(FragmentLimits::default(), [0; 16]),
        }
    }

    /// Takes down a packet, whoever sent it.
    pub fn pass(&mut self, at: Duration, bytes: Vec<u8>) {
        self.tape.push(Captured { at, bytes });
    }

    /// A packet arrives and the host answers as its kernel and firewall do; a fragment may be answered by what it
    /// completes. A finished scan's answers are on the tape too.
    pub fn arrive(&mut self, at: Duration, bytes: Vec<u8>) -> Reply {
        let frame = Frame {
            link: Link::RawIp,
            bytes: &bytes,
            wire_length: bytes.len(),
            checksums: Checksums::Verify,
        };
        let answer = match self.decoder.decode(Mono(at), frame) {
            Ok(packet) => self.host.answer(at, &packet, &bytes),
            Err(_) => (Reply::Silence, None),
        };
        self.pass(at, bytes);
        let (reply, answer) = answer;
        if let Some(answer) = answer {
            let answered = at + self.dice.micros(12, 90);
            self.pass(answered, answer);
        }
        reply
    }

    /// Everything that happened, in order of time.
    pub(crate) fn into_tape(mut self) -> (Host, Vec<Incident>, Vec<Captured>, Dice) {
        self.tape.sort_by_key(|captured| captured.at);
        (self.host, self.incidents, self.tape, self.dice)
    }

    /// Somebody out there, far away; IPv4.
    pub fn stranger(&mut self) -> IpAddr {
        Ipv4Addr::new(
            198,
            self.dice.pick(&[18, 19]),
            self.dice.between(0, 255) as u8,
            self.dice.between(1, 254) as u8,
        )
        .into()
    }

    /// The same with IPv6.
    pub fn stranger6(&mut self) -> IpAddr {
        let mut word = || self.dice.between(1, 0xffff) as u16;
        Ipv6Addr::new(0x2001, 0xdb8, word(), word(), word(), word(), word(), word()).into()
    }

    /// Somebody in the same IPv4 network.
    pub fn neighbour(&mut self) -> IpAddr {
        let own = self.host.v4.clone();
        loop {
            let [a, b, c, _] = own[0].octets();
            let address = Ipv4Addr::new(a, b, c, self.dice.between(2, 250) as u8);
            if !own.contains(&address) {
                return address.into();
            }
        }
    }

    /// A port that a client's stack chooses.
    pub fn ephemeral(&mut self) -> u16 {
        self.dice.port(32_768, 60_999)
    }

    /// `count` ports that nobody offers here, of these.
    pub fn closed_of(&mut self, ports: &[u16], count: usize) -> Vec<u16> {
        let mut closed: Vec<u16> =
            ports.iter().copied().filter(|port| !self.host.tcp.contains(port)).collect();
        self.dice.shuffle(&mut closed);
        closed.truncate(count);
        closed
    }
}

/// How a system opens connections: the options and window of its SYN, and its first hop limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// Linux 6.
    Linux,
    /// Windows 10 and 11.
    Windows,
    /// macOS, iOS.
    Apple,
}

impl Stack {
    /// One of them.
    pub fn any(dice: &mut Dice) -> Stack {
        dice.pick(&[Stack::Linux, Stack::Windows, Stack::Apple])
    }

    /// The system of this machine: always the same.
    #[must_use]
    pub fn of(address: IpAddr) -> Stack {
        [Stack::Linux, Stack::Windows, Stack::Apple][usize::from(last_byte(address)) % 3]
    }

    /// What arrives of the first hop limit from there: the way is as long each time.
    #[must_use]
    pub fn hop_limit(self, address: IpAddr) -> u8 {
        let first = if self == Stack::Windows { 128 } else { 64 };
        // Strangers' addresses are not private, neighbours' may be (`Stage::neighbour`); few look at the difference.
        first - 5 - last_byte(address) / 16
    }

    /// Its SYN.
    pub fn syn(self, dice: &mut Dice, source_port: u16, port: u16) -> build::Segment {
        let stamp = (dice.number() as u32).to_be_bytes();
        let with_stamp = |before: &[u8], behind: &[u8]| [before, &[8, 10], &stamp, &[0; 4], behind].concat();
        let (window, options) = match self {
            Stack::Linux => (64_240, with_stamp(&[2, 4, 5, 0xb4, 4, 2], &[1, 3, 3, 7])),
            Stack::Windows => (64_240, vec![2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2]),
            Stack::Apple => (65_535, with_stamp(&[2, 4, 5, 0xb4, 1, 3, 3, 6, 1, 1], &[4, 2, 0, 0])),
        };
        // RFC 3168 §6.1.1: whoever can do ECN says so by two more flags; Apple's systems often do.
        let congestion = if self != Stack::Windows && dice.percent(15) { 0xc0 } else { 0 };
        build::tcp(source_port, port, TcpFlags::SYN | congestion)
            .sequence(dice.number() as u32)
            .window(window)
            .options(&options)
    }

    /// When a SYN without an answer is sent again, counted from the first.
    #[must_use]
    pub fn retries(self) -> &'static [u64] {
        match self {
            // net.ipv4.tcp_syn_retries, cut: most callers give up before the sixth.
            Stack::Linux => &[1_000, 3_000, 7_000, 15_000],
            Stack::Windows => &[1_000, 3_000, 7_000, 15_000],
            Stack::Apple => &[1_000, 2_000, 3_000, 4_000, 5_000, 7_000, 11_000],
        }
    }
}

fn last_byte(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    }
}
