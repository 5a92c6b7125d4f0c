//! A host in a test: it is told who comes, time is made up, and what the engine does is written down as words.

#![expect(clippy::unwrap_used, reason = "a story fails where it stands")]

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::door::{DoorId, Spending};
use portcullis_core::engine::answering::{self, Unproved};
use portcullis_core::engine::{Engine, Freshness, Host, Presence, Settings, View, brake};
use portcullis_core::event::{Action, How, Kind, Mode, Protection, What};
use portcullis_core::judge;
use portcullis_core::judge::trigger::{self, Rule};
use portcullis_core::ledger::Terms;
use portcullis_core::net::{Endpoint, PortSet, Prefix, Protocol};
use portcullis_core::policy::{Connected, EPHEMERAL, Friend, Local, Surroundings};
use portcullis_core::scan::sources::Secret;
use portcullis_core::scan::{Contact, Fingerprint};
use portcullis_core::time::{Now, Wall};
use portcullis_core::wire::TcpFlags;

/// The host of every story; `2001:db8::2` is its other address.
pub const HERE: &str = "192.0.2.2";

/// Ports with a service, and whether the kernel can be asked at all.
#[derive(Default)]
pub struct Services {
    pub ports: HashSet<u16>,
    /// Asked for fresh answers, these are services too: they have come in between.
    pub come_lately: HashSet<u16>,
    pub is_mute: bool,
    /// Who has a session behind a door.
    pub sessions: HashSet<IpAddr>,
    /// Who has a connection with us.
    pub peers: HashSet<IpAddr>,
}

impl Host for Services {
    fn presence(&mut self, contact: &Contact, freshness: Freshness) -> Presence {
        let port = contact.target.port;
        let lately = freshness == Freshness::Fresh && self.come_lately.contains(&port);
        match () {
            () if self.is_mute => Presence::Unknown,
            () if lately || self.ports.contains(&port) => Presence::Service,
            () => Presence::Nothing,
        }
    }

    fn has_session(&mut self, guest: IpAddr, _: &[(Protocol, PortSet)]) -> bool {
        self.sessions.contains(&guest)
    }

    fn has_peer_in(&mut self, prefix: &Prefix) -> bool {
        self.peers.iter().any(|peer| prefix.contains(*peer))
    }
}

pub struct Story {
    pub engine: Engine,
    pub services: Services,
    pub now: Now,
    /// Whether the kernel takes what it is given.
    pub kernel_agrees: bool,
    /// Whom the kernel drops.
    pub kernel: Vec<Prefix>,
    /// Whom it holds.
    pub held: Vec<Prefix>,
    /// Which doors are open for whom.
    pub open: Vec<(DoorId, IpAddr)>,
    /// Whether the disk strikes what is spent; `None`: it has not answered yet.
    pub strikes: Option<bool>,
    pub spending: Vec<(DoorId, Spending)>,
    /// Makes fresh packets.
    pub fresh: u32,
}

pub fn settings(mode: Mode) -> Settings {
    Settings {
        tcp: PortSet::all(),
        udp: PortSet::all(),
        judge: judge::Settings::Trigger(trigger::Settings {
            rule: Rule::Ports(5),
            window: Duration::from_secs(60),
            sources: 1024,
        }),
        mode,
        terms: Terms {
            first: Some(Duration::from_secs(600)),
            growth: 2.0,
            ceiling: Duration::from_secs(7200),
            memory: Duration::from_secs(86_400),
            hold: Duration::from_secs(60),
            hold_ceiling: Duration::from_secs(120),
        },
        // Most stories are about what a ban does; `holding` tells the others.
        answering: answering::Settings {
            unproved: Unproved::Ban,
            brake: brake::Settings { limit: 0 },
            ..answering::Settings::default()
        },
        allow: vec!["203.0.113.0/24".parse().unwrap()],
        singly: None,
        doors: portcullis_core::door::Settings::default(),
    }
}

pub fn surroundings() -> Surroundings {
    Surroundings {
        local: Local::Addresses([HERE, "2001:db8::2"].map(|a| a.parse().unwrap()).into()),
        connected: ["192.0.2.0/24", "2001:db8::/64"]
            .map(|network| Connected { network: network.parse().unwrap(), interface: 1 })
            .into(),
        friends: [
            ("192.0.2.1", Protection::Gateway),
            ("2001:db8:1::1", Protection::Gateway),
            ("198.51.100.53", Protection::Resolver),
        ]
        .map(|(address, why)| Friend { prefix: address.parse().unwrap(), why })
        .into(),
        trusted: vec![9],
        ephemeral: EPHEMERAL,
        protect: Vec::new(),
    }
}

/// A contact of this kind, from one address to one port of another.
pub fn contact_of(source: IpAddr, address: IpAddr, kind: Kind, port: u16) -> Contact {
    let protocol = match kind {
        Kind::Udp => Protocol::Udp,
        Kind::Sctp => Protocol::Sctp,
        Kind::IpProtocol => Protocol::Ip,
        Kind::IcmpSweep => Protocol::Icmp,
        _ => Protocol::Tcp,
    };
    let target = Endpoint { protocol, address, port };
    let flags = TcpFlags(match kind {
        Kind::Syn => TcpFlags::SYN,
        Kind::Fin => TcpFlags::FIN,
        Kind::Maimon => TcpFlags::FIN | TcpFlags::ACK,
        Kind::Ack => TcpFlags::ACK,
        Kind::Xmas => TcpFlags::FIN | TcpFlags::PSH | TcpFlags::URG,
        _ => 0,
    });
    let (source_port, has_ip_options) = (40_000, false);
    let (is_cut_up, fingerprint) = (false, Fingerprint::default());
    Contact { source, source_port, target, kind, flags, has_ip_options, is_cut_up, fingerprint, interface: 1 }
}

impl Story {
    pub fn new(mode: Mode) -> Story {
        Story::with(settings(mode))
    }

    pub fn with(settings: Settings) -> Story {
        let now = Now { wall: Wall(Duration::from_secs(1_700_000_000)), ..Now::default() };
        let mut engine = Engine::new(settings, View::Live, Secret([3; 16]));
        engine.surround(now, surroundings());
        Story {
            engine,
            services: Services::default(),
            now,
            kernel_agrees: true,
            kernel: Vec::new(),
            held: Vec::new(),
            open: Vec::new(),
            strikes: Some(true),
            spending: Vec::new(),
            fresh: 0,
        }
    }

    pub fn contact(&mut self, source: &str, kind: Kind, port: u16) -> Vec<String> {
        self.contact_from(source, 40_000, kind, port)
    }

    pub fn contact_from(&mut self, source: &str, source_port: u16, kind: Kind, port: u16) -> Vec<String> {
        let source: IpAddr = source.parse().unwrap();
        let address = if source.is_ipv4() { HERE } else { "2001:db8::2" }.parse().unwrap();
        let contact = Contact { source_port, ..contact_of(source, address, kind, port) };
        self.engine.contact(self.now, contact, &mut self.services);
        self.told()
    }

    /// One SYN to each port, a millisecond apart.
    pub fn scan(&mut self, source: &str, ports: impl IntoIterator<Item = u16>) -> Vec<String> {
        let mut told = Vec::new();
        for port in ports {
            self.pass(Duration::from_millis(1));
            told.extend(self.contact(source, Kind::Syn, port));
        }
        told
    }

    /// Time passes; what is due happens when it is due.
    pub fn pass(&mut self, span: Duration) -> Vec<String> {
        let end = self.now.later(span);
        let mut told = Vec::new();
        while let Some(at) = self.engine.next_timeout()
            && at <= end.mono
        {
            self.now = self.now.later(at.since(self.now.mono));
            self.engine.tick(self.now, &mut self.services);
            told.extend(self.told());
        }
        self.now = end;
        self.engine.tick(self.now, &mut self.services);
        told.extend(self.told());
        told
    }

    fn door_answered(&mut self, door: DoorId, address: IpAddr) {
        let answer = if self.kernel_agrees { Ok(()) } else { Err("no".to_owned()) };
        self.engine.door_answered(self.now, door, address, answer);
    }

    /// Carries out what the engine decided, and says it in words.
    pub fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Enforce(blocks) => {
                    let answer = || if self.kernel_agrees { Ok(()) } else { Err("no".to_owned()) };
                    let answers: Vec<_> = blocks.iter().map(|block| (block.prefix(), answer())).collect();
                    for block in blocks.iter().filter(|_| self.kernel_agrees) {
                        match block.how() {
                            How::Held => self.held.push(block.prefix()),
                            How::Banned => self.kernel.push(block.prefix()),
                        }
                    }
                    self.engine.enforced(self.now, &answers);
                }
                Action::Release(prefixes) => {
                    told.push(format!("release {prefixes:?}"));
                    if self.kernel_agrees {
                        self.kernel.retain(|prefix| !prefixes.contains(prefix));
                        self.held.retain(|prefix| !prefixes.contains(prefix));
                    }
                    self.engine.released(self.now, &prefixes, self.kernel_agrees);
                }
                Action::Open { door, address, .. } => {
                    if self.kernel_agrees && !self.open.contains(&(door, address)) {
                        self.open.push((door, address));
                    }
                    self.door_answered(door, address);
                }
                Action::Shut { door, address, .. } => {
                    if self.kernel_agrees {
                        self.open.retain(|place| *place != (door, address));
                    }
                    self.door_answered(door, address);
                }
                Action::Spend { door, which, .. } => match self.strikes {
                    Some(is_done) => self.engine.spent(self.now, door, which, is_done),
                    None => self.spending.push((door, which)),
                },
                Action::Allow(_) => self.engine.allowed(self.now, self.kernel_agrees),
                Action::Record(record) => told.push(words(&record.what)),
            }
        }
        told
    }
}

fn words(what: &What) -> String {
    match what {
        What::Scan(scan) => {
            let kinds: Vec<&str> = scan.kinds.iter().map(|kind| kind.name()).collect();
            let end = if scan.is_ended { " ended" } else { "" };
            let steps: String =
                scan.steps.iter().map(|(door, step)| format!(" + door {door} step {step}")).collect();
            format!(
                "scan{end} {} {} {:?}{steps} {:?}",
                scan.source,
                kinds.join("+"),
                scan.ports,
                scan.decision
            )
        }
        What::Probe { contact, fate } => {
            let kind = contact.kind.name();
            format!("probe {} {kind} {} {fate:?}", contact.source, contact.target.port)
        }
        What::Ban(ban) => {
            let state = ban.state.words();
            let how = match ban.how {
                How::Held => "hold",
                How::Banned => "ban",
            };
            let pardoned = if ban.pardoned.is_some() { ", pardoned before" } else { "" };
            match ban.until {
                portcullis_core::event::Until::Ever => format!("{how} {} ever {state}{pardoned}", ban.prefix),
                portcullis_core::event::Until::At(end) => {
                    format!("{how} {} {}s {state}{pardoned}", ban.prefix, end.since(ban.since).as_secs())
                }
            }
        }
        What::TrialOver { mode } => format!("trial over: {}", mode.name()),
        What::Brake(told) => format!("brake {} {:?}", told.is_on, told.kept_back),
        What::Unban { prefix, how: How::Banned, why, .. } => format!("unban {prefix} {}", why.words()),
        What::Unban { prefix, how: How::Held, why, .. } => format!("hold of {prefix} {}", why.words()),
        What::Allow { prefix, until } => format!("allow {prefix} {}", until.is_some()),
        What::Refused { prefix, protected, why } => format!("refused {prefix} {protected} {why:?}"),
        What::Repair { bans, guests: 0 } => format!("repair {bans}"),
        What::Repair { guests, .. } => format!("repair {guests} guests"),
        What::Door { door, event } => event.sentence(door),
        What::Fault(fault) => format!("fault {fault:?}"),
    }
}
