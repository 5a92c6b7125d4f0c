//! The host of a case: doors as its configuration says, packets as frames, time made up.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::door::{
    self, Door, Event, FlagTests, Lock, Name, OneTime, Sequence, Settings, Step, Style,
};
use portcullis_core::engine::{self, Engine, Freshness, Host, Presence, View, answering};
use portcullis_core::event::{Action, Mode, What};
use portcullis_core::judge;
use portcullis_core::judge::trigger::{self, Rule};
use portcullis_core::ledger::Terms;
use portcullis_core::net::{PortSet, Protocol};
use portcullis_core::policy::{EPHEMERAL, Local, Surroundings};
use portcullis_core::scan::Contact;
use portcullis_core::scan::sources::Secret;
use portcullis_core::time::{Now, Wall};
use portcullis_core::wire::build::{self, Extension};
use portcullis_core::wire::{Checksums, Frame, Link, TcpFlags};
use serde_json::Value;

/// One packet of a case.
#[derive(Clone, Debug)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// `None` is ICMP.
    pub port: Option<(Protocol, u16)>,
    pub flags: u8,
    pub payload: usize,
    pub has_extension: bool,
    /// Makes the source port and sequence number.
    pub number: u32,
}

pub fn flags(words: &str) -> u8 {
    let bit = |word: &str| match word.to_ascii_lowercase().as_str() {
        "fin" => TcpFlags::FIN,
        "syn" => TcpFlags::SYN,
        "rst" => TcpFlags::RST,
        "psh" => TcpFlags::PSH,
        "ack" => TcpFlags::ACK,
        "urg" => TcpFlags::URG,
        "none" => 0,
        other => panic!("flag {other}"),
    };
    words.split_whitespace().map(bit).fold(0, |all, bit| all | bit)
}

impl Packet {
    pub fn of(step: &Value, number: u32) -> Packet {
        let protocol = match step["proto"].as_str().unwrap() {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            _ => None,
        };
        Packet {
            source: step["src"].as_str().unwrap().parse().unwrap(),
            destination: step["dst"].as_str().unwrap().parse().unwrap(),
            port: protocol.map(|protocol| (protocol, step["dport"].as_u64().unwrap() as u16)),
            flags: step["flags"].as_str().map_or(0, flags),
            payload: step["payload_len"].as_u64().unwrap_or(0) as usize,
            has_extension: step["ipv6_ext_header"].is_string(),
            number,
        }
    }

    pub fn tcp(source: &str, destination: &str, port: u16, flags: u8, number: u32) -> Packet {
        Packet {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            port: Some((Protocol::Tcp, port)),
            flags,
            payload: 0,
            has_extension: false,
            number,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let source_port = 40_000 + self.number as u16 % 20_000;
        let payload = vec![0; self.payload];
        let inside: build::Payload = match self.port {
            Some((Protocol::Udp, port)) => build::udp(source_port, port, &[0]),
            Some((_, port)) => {
                build::tcp(source_port, port, self.flags).sequence(self.number).payload(&payload).into()
            }
            None => build::icmp(8, 0, &[]),
        };
        let packet = build::ip(self.source, self.destination, inside);
        if self.has_extension {
            packet.extension(Extension::DestinationOptions(0)).bytes()
        } else {
            packet.bytes()
        }
    }
}

pub struct CaseHost {
    pub engine: Engine,
    pub now: Now,
    pub services: HashSet<u16>,
    /// `A 10.78.0.1`, in order.
    pub opened: Vec<String>,
    /// Sequences to be struck from their file, in order; struck at once.
    pub struck: Vec<u32>,
}

struct Services<'a>(&'a HashSet<u16>);

impl Host for Services<'_> {
    fn presence(&mut self, contact: &Contact, _: Freshness) -> Presence {
        if self.0.contains(&contact.target.port) { Presence::Service } else { Presence::Nothing }
    }
}

pub fn sequence(text: &str, tests: FlagTests, window: Duration) -> Sequence {
    let step = |item: &str| {
        let (port, protocol) = item.trim().split_once(':').unwrap_or((item.trim(), "tcp"));
        let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
        Step { port: port.trim().parse().unwrap(), protocol, flags: tests }
    };
    Sequence::new(text.split(',').map(step).collect(), window).unwrap()
}

/// The doors of the few words that the cases use.
fn doors(configuration: &str, style: Style) -> Vec<Door> {
    let sections = configuration.split('[').skip(1).map(|section| section.split_once(']').unwrap());
    sections
        .filter(|(name, _)| *name != "options")
        .map(|(name, body)| {
            let values: Vec<(&str, &str)> = body
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(k, v)| (k.trim(), v.trim()))
                .collect();
            let value = |key: &str| values.iter().rev().find(|(own, _)| *own == key).map(|(_, value)| *value);
            let mut tests = FlagTests::default();
            for word in value("tcpflags").unwrap_or_default().split(',').filter(|word| !word.is_empty()) {
                match word.strip_prefix('!') {
                    Some(word) => tests.must_not |= flags(word),
                    None => tests.must |= flags(word),
                }
            }
            let window = Duration::from_secs(value("seq_timeout").map_or(25, |text| text.parse().unwrap()));
            let open = sequence(value("sequence").unwrap(), tests, window);
            let lock = Lock::Sequence { open, close: None };
            Door {
                style,
                target: value("target").map(|text| text.parse().unwrap()),
                patience: None,
                ..Door::new(Name::verbatim(name), lock, Vec::new(), None)
            }
        })
        .collect()
}

impl CaseHost {
    pub fn new(configuration: &str, scans_may_open: bool) -> CaseHost {
        CaseHost::with(doors(configuration, Style::Knockd { scans_may_open }))
    }

    pub fn with_one_time(sequences: Vec<(u32, Sequence)>) -> CaseHost {
        let lock = Lock::OneTime(OneTime { sequences, ahead: 1 });
        CaseHost::with(vec![Door {
            style: Style::Knockd { scans_may_open: false },
            patience: None,
            ..Door::new(Name::verbatim("A"), lock, Vec::new(), None)
        }])
    }

    fn with(doors: Vec<Door>) -> CaseHost {
        let settings = engine::Settings {
            tcp: PortSet::default(),
            udp: PortSet::default(),
            judge: judge::Settings::Trigger(trigger::Settings {
                rule: Rule::Ports(5),
                window: Duration::from_secs(60),
                sources: 64,
            }),
            mode: Mode::Observe,
            terms: Terms {
                first: Some(Duration::from_secs(600)),
                growth: 1.0,
                ceiling: Duration::from_secs(600),
                memory: Duration::from_secs(600),
                hold: Duration::from_secs(60),
                hold_ceiling: Duration::from_secs(120),
            },
            answering: answering::Settings::default(),
            allow: Vec::new(),
            singly: None,
            doors: Settings { doors },
        };
        // Late in a second, where knockd's whole seconds did harm.
        let now = Now { wall: Wall(Duration::from_millis(1_700_000_000_900)), ..Now::default() };
        let mut engine = Engine::new(settings, View::Live, Secret([5; 16]));
        let own = ["10.78.0.2", "fd78::2"].map(|address| address.parse().unwrap());
        engine.surround(
            now,
            Surroundings {
                local: Local::Addresses(own.into()),
                ephemeral: EPHEMERAL,
                ..Surroundings::default()
            },
        );
        CaseHost { engine, now, services: HashSet::new(), opened: Vec::new(), struck: Vec::new() }
    }

    pub fn send(&mut self, packet: &Packet) {
        let bytes = packet.bytes();
        let frame = Frame {
            link: Link::RawIp,
            bytes: &bytes,
            wire_length: bytes.len(),
            checksums: Checksums::Verify,
        };
        self.engine.frame(self.now, frame, 1, &mut Services(&self.services));
        self.perform();
    }

    pub fn pass(&mut self, span: Duration) {
        let end = self.now.later(span);
        while let Some(at) = self.engine.next_timeout()
            && at <= end.mono
        {
            self.now = self.now.later(at.since(self.now.mono));
            self.engine.tick(self.now, &mut Services(&self.services));
            self.perform();
        }
        self.now = end;
    }

    fn perform(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Open { name, address, door, .. } => {
                    self.opened.push(format!("{name} {address}"));
                    self.engine.door_answered(self.now, door, address, Ok(()));
                }
                Action::Spend { door, which, .. } => {
                    let door::Spending::Sequence(number) = which else { panic!("{which:?}") };
                    self.struck.push(number);
                    self.engine.spent(self.now, door, which, true);
                }
                Action::Record(record) => {
                    if let What::Door { door, event: event @ Event::Knocked { .. } } = record.what {
                        assert!(!event.sentence(&door).contains("7000"));
                    }
                }
                _ => {}
            }
        }
    }
}
