//! Asks the kernel whether something is there: sockets first, then whether the port is translated to somewhere else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::engine::{Freshness, Host, Presence};
use portcullis_core::net::{Endpoint, PortSet, Protocol};
use portcullis_core::scan::Contact;
use portcullis_core::time::Mono;
use portcullis_sys::conntrack::Conntrack;
use portcullis_sys::netlink::NetlinkError;
use portcullis_sys::sock_diag::Sockets;

use super::mute::Mute;

/// An answer may be this old.
const RECENT: Duration = Duration::from_secs(1);

/// Answers remembered at once; all are forgotten together when there is no room.
const REMEMBERED: usize = 8192;

/// The kernel, as the engine may ask it.
pub struct KernelHost {
    sockets: Sockets,
    conntrack: Conntrack,
    now: Mono,
    recent: HashMap<Endpoint, (Mono, bool)>,
    mute: Mute,
    is_mute_changed: bool,
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
            mute: Mute::default(),
            is_mute_changed: false,
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
    }

    /// The UDP ports to be left out of the filter, where that has changed since the last call.
    pub fn muted(&mut self) -> Option<Vec<u16>> {
        let has_ended = self.mute.end(self.now);
        let is_changed = std::mem::take(&mut self.is_mute_changed) || has_ended;
        is_changed.then(|| self.mute.ports())
    }

    /// When [`KernelHost::muted`] has something to say without a packet.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        self.mute.next_timeout()
    }

    /// Questions that the kernel did not answer.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    fn ask(&mut self, contact: &Contact) -> Result<bool, NetlinkError> {
        if self.disregards_services {
            return Ok(false);
        }
        let (target, source) = (contact.target, (contact.source, contact.source_port));
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
    /// be part of a conversation is worth the question.
    fn is_connected(&mut self, contact: &Contact) -> Result<bool, NetlinkError> {
        let is_conversation = contact.is_mid_conversation() || contact.target.protocol == Protocol::Udp;
        if !is_conversation {
            return Ok(false);
        }
        let from = (contact.source, contact.source_port);
        self.sockets.connection_exists(contact.target, from, contact.interface)
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
        if answer.as_ref().is_ok_and(|found| *found) && contact.target.protocol == Protocol::Udp {
            self.is_mute_changed |= self.mute.count(self.now, contact.target.port);
        }
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

/// Contacts that came by sockets of our own: nothing else is there.
pub struct Ours;

impl Host for Ours {
    fn presence(&mut self, _: &Contact, _: Freshness) -> Presence {
        Presence::Nothing
    }
}
