//! Asks the kernel whether something is there: sockets first, then whether the port is translated to somewhere else.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::engine::{Freshness, Host, Presence};
use portcullis_core::event::Kind;
use portcullis_core::net::{Endpoint, PortSet, Prefix, Protocol};
use portcullis_core::scan::Contact;
use portcullis_core::time::Mono;
use portcullis_sys::conntrack::Conntrack;
use portcullis_sys::filter::FilterSpec;
use portcullis_sys::netlink::NetlinkError;
use portcullis_sys::sock_diag::{Ended, Sockets};

use super::mute::Mute;

/// An answer may be this old.
const RECENT: Duration = Duration::from_secs(1);

/// Answers remembered at once; all are forgotten together when there is no room.
const REMEMBERED: usize = 8192;

/// Who is connected is asked again after this; under the brake a peer more or less waits that long.
const PEERS_RECENT: Duration = Duration::from_secs(5);

/// Connections looked at for it. With more, some peers are not known as such: the brake then keeps fewer back.
const PEERS: usize = 100_000;

/// The kernel, as the engine may ask it.
pub struct KernelHost {
    sockets: Sockets,
    conntrack: Conntrack,
    now: Mono,
    recent: HashMap<Endpoint, (Mono, bool)>,
    peers: Option<(Mono, BTreeSet<IpAddr>)>,
    datagrams: Mute,
    segments: Mute,
    protocols: Mute,
    is_mute_changed: bool,
    conversations: Conversations,
    /// What of a short connection is gone before it is looked for. A kernel that can't tell leaves such a guest to
    /// what the socket tables still show.
    ended: Option<Ended>,
    failures: u64,
    disregards_services: bool,
}

impl KernelHost {
    /// Opens the ways to ask.
    ///
    /// # Errors
    /// Netlink could not be opened.
    pub fn open() -> Result<KernelHost, NetlinkError> {
        Ok(KernelHost {
            sockets: Sockets::open()?,
            conntrack: Conntrack::open()?,
            now: Mono::default(),
            recent: HashMap::new(),
            peers: None,
            datagrams: Mute::of_datagrams(),
            segments: Mute::of_segments(),
            protocols: Mute::of_protocols(),
            is_mute_changed: false,
            conversations: Conversations::default(),
            ended: Ended::open().ok(),
            failures: 0,
            disregards_services: false,
        })
    }

    /// A service does not keep a contact from being a probe any more (2.x `-S`); a connection that stands does.
    pub fn disregard_services(&mut self) {
        self.disregards_services = true;
    }

    /// It is so late now; answers grow old by it.
    pub fn set_time(&mut self, now: Mono) {
        self.now = now;
        self.hear_of_ends();
    }

    /// Notes whose connections have ended: packets of theirs may still wait to be judged.
    fn hear_of_ends(&mut self) {
        let (conversations, now) = (&mut self.conversations, self.now);
        let Some(ended) = &mut self.ended else { return };
        let heard = ended.drain(|session| {
            let (address, port) = (session.local.ip(), session.local.port());
            conversations.note(now, session.remote.ip(), Endpoint { protocol: Protocol::Tcp, address, port });
        });
        self.failures += u64::from(heard.is_err());
    }

    /// What is to be left out of the filter, where that has changed since the last call.
    pub fn muted(&mut self) -> Option<Muted> {
        let mut is_changed = std::mem::take(&mut self.is_mute_changed);
        for mute in [&mut self.datagrams, &mut self.segments, &mut self.protocols] {
            is_changed |= mute.end(self.now);
        }
        is_changed.then(|| Muted {
            udp: self.datagrams.numbers(),
            acks: (!self.segments.is_full()).then(|| self.segments.numbers()),
            protocols: self.protocols.numbers().into_iter().filter_map(|own| own.try_into().ok()).collect(),
        })
    }

    /// When [`KernelHost::muted`] has something to say without a packet.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        [&self.datagrams, &self.segments, &self.protocols].into_iter().filter_map(Mute::next_timeout).min()
    }

    /// Questions that the kernel did not answer.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// The other ends of all connections that stand.
    fn connected(&mut self) -> BTreeSet<IpAddr> {
        match self.sockets.established(Protocol::Tcp, &PortSet::all(), PEERS) {
            Ok(sessions) => sessions.first.iter().map(|session| session.remote.ip().to_canonical()).collect(),
            Err(_) => {
                self.failures += 1;
                BTreeSet::new()
            }
        }
    }

    fn ask(&mut self, contact: &Contact) -> Result<bool, NetlinkError> {
        if self.disregards_services {
            return Ok(false);
        }
        let (target, source) = (contact.target, (contact.source, contact.source_port));
        if contact.kind == Kind::IpProtocol {
            return Ok(is_read_by_a_program(target.port));
        }
        if self.sockets.has_service(target, None, contact.interface)? {
            return Ok(true);
        }
        match self.conntrack.destination_is_translated(target.protocol, source, (target.address, target.port))
        {
            // Who may only watch cannot ask this, and was told so at the start.
            Err(error) if error.is_permission() => Ok(false),
            answer => answer,
        }
    }

    /// Whether a socket is connected to exactly this source: its packets are no first contacts. Only what is or may
    /// be part of a conversation is worth the question; so is what may have begun one, with a listener that took one
    /// guest and was gone before it was looked for.
    fn is_connected(&mut self, contact: &Contact) -> Result<bool, NetlinkError> {
        let is_conversation = contact.is_mid_conversation()
            || contact.kind == Kind::Syn
            || contact.target.protocol == Protocol::Udp;
        if !is_conversation {
            return Ok(false);
        }
        let from = (contact.source, contact.source_port);
        if self.sockets.connection_exists(contact.target, from, contact.interface)? {
            self.conversations.note(self.now, contact.source, contact.target);
            return Ok(true);
        }
        // What has ended just now may not have been heard of.
        self.hear_of_ends();
        Ok(contact.target.protocol == Protocol::Tcp && self.conversations.had(self.now, contact))
    }
}

impl Host for KernelHost {
    fn has_session(&mut self, guest: IpAddr, ports: &[(Protocol, PortSet)]) -> bool {
        ports.iter().any(|(protocol, ports)| {
            self.sockets.has_session_with(*protocol, ports, guest).unwrap_or_else(|_| {
                self.failures += 1;
                false
            })
        })
    }

    fn has_peer_in(&mut self, prefix: &Prefix) -> bool {
        if self.peers.as_ref().is_none_or(|(at, _)| self.now.since(*at) >= PEERS_RECENT) {
            self.peers = Some((self.now, self.connected()));
        }
        let peers = self.peers.as_ref().map(|(_, peers)| peers);
        // The first address at or behind the prefix's own is inside, or none is.
        let next = peers.and_then(|peers| peers.range(prefix.address()..).next());
        next.is_some_and(|peer| prefix.contains(*peer))
    }

    fn presence(&mut self, contact: &Contact, freshness: Freshness) -> Presence {
        let known = self.recent.get(&contact.target).filter(|(at, _)| self.now.since(*at) < RECENT);
        let is_service = match known {
            Some((_, is_service)) if freshness == Freshness::Recent => Ok(*is_service),
            _ => {
                if freshness == Freshness::Fresh && !self.conntrack.is_there() {
                    // Somebody may have begun to publish ports since; as rare as bans are, it is worth the look.
                    if let Ok(conntrack) = Conntrack::open() {
                        self.conntrack = conntrack;
                    }
                }
                let answer = self.ask(contact);
                if let Ok(is_service) = answer {
                    if self.recent.len() >= REMEMBERED {
                        self.recent.clear();
                    }
                    self.recent.insert(contact.target, (self.now, is_service));
                }
                answer
            }
        };
        let answer = match is_service {
            Ok(false) => self.is_connected(contact),
            known => known,
        };
        let is_service = answer.as_ref().is_ok_and(|found| *found);
        if is_service && contact.kind == Kind::Syn {
            self.conversations.note(self.now, contact.source, contact.target);
        }
        let port = contact.target.port;
        self.is_mute_changed |= match contact.kind {
            Kind::Udp => is_service && self.datagrams.count(self.now, port),
            Kind::Ack => self.segments.count(self.now, port),
            Kind::IpProtocol => self.protocols.count(self.now, port),
            _ => false,
        };
        match answer {
            Ok(true) => Presence::Service,
            Ok(false) => Presence::Nothing,
            Err(_) => {
                self.failures += 1;
                Presence::Unknown
            }
        }
    }
}

/// What is to be left out of the filter for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Muted {
    /// UDP ports.
    pub udp: Vec<u16>,
    /// TCP ports, for segments with ACK; `None` is all: there are too many with ordinary traffic.
    pub acks: Option<Vec<u16>>,
    /// Protocols of IP.
    pub protocols: Vec<u8>,
}

impl Muted {
    /// Nothing.
    #[must_use]
    pub fn nothing() -> Muted {
        Muted { acks: Some(Vec::new()), ..Muted::default() }
    }

    /// `filter` without what is muted.
    #[must_use]
    pub fn of(&self, filter: &FilterSpec) -> FilterSpec {
        let acks = match &self.acks {
            Some(ports) => filter.acks.without(&PortSet::from_ranges(ports.iter().map(|&port| (port, port)))),
            None => PortSet::default(),
        };
        let all_protocols_but = filter.all_protocols_but.as_ref().map(|_| self.protocols.clone());
        FilterSpec { muted_udp: self.udp.clone(), acks, all_protocols_but, ..filter.clone() }
    }
}

/// Who has lately begun a conversation with a service. Its last segments may find no socket any more: that of a passive
/// FTP transfer has neither a listener nor, once our end is acknowledged, a connection.
#[derive(Default)]
struct Conversations {
    last: HashMap<(IpAddr, Endpoint), Mono>,
}

/// Longer than most transfers that nothing is heard of between their first and their last segment; how long our side may
/// wait for its last acknowledgement (some 15 minutes, `tcp_retries2`) lies within.
const CONVERSATION: Duration = Duration::from_secs(3600);

impl Conversations {
    fn note(&mut self, now: Mono, source: IpAddr, target: Endpoint) {
        if self.last.len() >= REMEMBERED {
            self.last.clear();
        }
        self.last.insert((source, target), now);
    }

    fn had(&self, now: Mono, contact: &Contact) -> bool {
        // A SYN begins something new; it belongs to what has ended only if it has waited here meanwhile.
        let within = if contact.kind == Kind::Syn { RECENT } else { CONVERSATION };
        self.last.get(&(contact.source, contact.target)).is_some_and(|at| now.since(*at) < within)
    }
}

/// Whether a program takes packets of this protocol of IP from the kernel by a raw socket. What can't be read is
/// answered with no: then nobody else could say it either.
fn is_read_by_a_program(protocol: u16) -> bool {
    ["/proc/thread-self/net/raw", "/proc/thread-self/net/raw6"].iter().any(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // Each line's second word is "address:protocol", in hexadecimal digits.
        text.lines().skip(1).any(|line| {
            let local = line.split_whitespace().nth(1).and_then(|local| local.rsplit(':').next());
            local.and_then(|number| u16::from_str_radix(number, 16).ok()) == Some(protocol)
        })
    })
}

/// Contacts that came by sockets of our own: nothing else is there.
pub struct Ours;

impl Host for Ours {
    fn presence(&mut self, _: &Contact, _: Freshness) -> Presence {
        Presence::Nothing
    }
}
