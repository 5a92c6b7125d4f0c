//! Which ports are ours: opened if they are free, tried again while they are not, given up when a service comes.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use portcullis_core::net::Protocol;
use portcullis_core::time::Mono;
use portcullis_sys::descriptors::{self, WatchList};
use portcullis_sys::listening::{TcpPort, UdpPort};
use portcullis_sys::sock_diag::Sockets;

use super::{Notice, TCP, UDP, Unopened, Why};

/// Between two looks at what has become free, and at who has come. A service that is started again keeps its port
/// closed for a second or two; whoever scans in that time is missed rather than in its way.
const VISIT: Duration = Duration::from_secs(5);

/// Ports tried again in one visit (some µs each); more than these take turns.
const TRIES: usize = 256;

/// Descriptors left to the rest of the program: its store, its clients, the commands that it runs.
const RESERVE: u64 = 512;

/// Changes kept until somebody takes them.
const NOTICES: usize = 4096;

/// The ports.
pub struct Ports {
    tcp: BTreeMap<u16, TcpPort>,
    udp: BTreeMap<u16, UdpPort>,
    unopened: BTreeMap<(Protocol, u16), Why>,
    /// `None` where the kernel can't tell who has a port; then the kernel alone decides who gets what.
    sockets: Option<Sockets>,
    /// Ports that may be open at once.
    most: usize,
    next_visit: Mono,
    /// The last port that was tried again.
    tried: Option<(Protocol, u16)>,
    notices: Vec<Notice>,
}

impl Ports {
    /// Opens what is free; also the last error of a port that is not.
    pub fn open(tcp: &[u16], udp: &[u16], watch: &WatchList, now: Mono) -> (Ports, Option<io::Error>) {
        let wanted = (tcp.len() + udp.len()) as u64 + RESERVE;
        // If not even the limit can be read, opening finds out where it is.
        let allowed = descriptors::allow(wanted).unwrap_or(wanted);
        let most = usize::try_from(allowed.saturating_sub(RESERVE).max(allowed / 2)).unwrap_or(usize::MAX);
        let mut ports = Ports {
            tcp: BTreeMap::new(),
            udp: BTreeMap::new(),
            unopened: BTreeMap::new(),
            sockets: Sockets::open().ok(),
            most,
            next_visit: now + VISIT,
            tried: None,
            notices: Vec::new(),
        };
        let mut last = None;
        let all = tcp.iter().map(|port| (Protocol::Tcp, *port));
        for (protocol, port) in all.chain(udp.iter().map(|port| (Protocol::Udp, *port))) {
            last = ports.try_open(protocol, port, watch).err().or(last);
        }
        (ports, last)
    }

    pub fn tcp(&self, port: u16) -> Option<&TcpPort> {
        self.tcp.get(&port)
    }

    pub fn udp(&self, port: u16) -> Option<&UdpPort> {
        self.udp.get(&port)
    }

    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty()
    }

    pub fn opened(&self) -> impl Iterator<Item = (Protocol, u16)> {
        let tcp = self.tcp.keys().map(|port| (Protocol::Tcp, *port));
        tcp.chain(self.udp.keys().map(|port| (Protocol::Udp, *port)))
    }

    pub fn unopened(&self) -> impl Iterator<Item = Unopened> {
        self.unopened.iter().map(|(&(protocol, port), &why)| Unopened { protocol, port, why })
    }

    pub fn next_visit(&self) -> Mono {
        self.next_visit
    }

    pub fn tell(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES {
            self.notices.push(notice);
        }
    }

    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Gives up the ports that a service has come to, and tries those again that were not free.
    pub fn visit(&mut self, now: Mono, watch: &WatchList) {
        if now < self.next_visit {
            return;
        }
        self.next_visit = now + VISIT;
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            self.give_up(protocol, None);
        }
        // Not those that were given up just now: whoever came has them.
        let after = self.tried;
        let waiting = self.unopened.keys().copied();
        let later = waiting.clone().filter(|port| after.is_none_or(|after| *port > after));
        let earlier = waiting.filter(|port| after.is_some_and(|after| *port <= after));
        let turn: Vec<(Protocol, u16)> = later.chain(earlier).take(TRIES).collect();
        for (protocol, port) in turn {
            self.tried = Some((protocol, port));
            if self.try_open(protocol, port, watch).is_ok() {
                self.tell(Notice::Opened(protocol, port));
            }
        }
    }

    /// Whether a contact at our address `to` belongs to a service that has come to the port; then it is the
    /// service's from now on.
    ///
    /// Only IPv6 is asked about, one question a contact: everything else the kernel hands to the service by itself
    /// ([`portcullis_sys::listening`]).
    pub fn is_given_up(&mut self, protocol: Protocol, port: u16, to: IpAddr) -> bool {
        to.to_canonical().is_ipv6() && self.give_up(protocol, Some(port)) > 0
    }

    /// Gives up those of our ports (or only this one) that somebody else has at every address of a family: how many.
    /// A service at one address has that address to itself, and the port stays watched at all others.
    fn give_up(&mut self, protocol: Protocol, port: Option<u16>) -> usize {
        let Some(sockets) = &mut self.sockets else { return 0 };
        let mut wanted = Vec::new();
        // A question without an answer is asked again at the next visit.
        drop(sockets.holders(protocol, port, |holder| {
            let ours = match protocol {
                Protocol::Tcp => self.tcp.get(&holder.port).map(TcpPort::inode),
                _ => self.udp.get(&holder.port).map(UdpPort::inode),
            };
            if ours.is_some_and(|ours| ours != holder.inode) && holder.address.is_unspecified() {
                wanted.push(holder.port);
            }
        }));
        wanted.sort_unstable();
        wanted.dedup();
        for port in &wanted {
            match protocol {
                Protocol::Tcp => drop(self.tcp.remove(port)),
                _ => drop(self.udp.remove(port)),
            }
            self.unopened.insert((protocol, *port), Why::InUse);
            self.tell(Notice::GivenUp(protocol, *port));
        }
        wanted.len()
    }

    fn try_open(&mut self, protocol: Protocol, port: u16, watch: &WatchList) -> io::Result<()> {
        let opened = if self.tcp.len() + self.udp.len() >= self.most {
            Err((Why::TooMany, io::Error::other("the limit on open files is too low")))
        } else {
            let opened = match protocol {
                Protocol::Tcp => open_tcp(port, watch).map(|open| drop(self.tcp.insert(port, open))),
                _ => open_udp(port, watch).map(|open| drop(self.udp.insert(port, open))),
            };
            opened.map_err(|error| (Why::of(&error), error))
        };
        match opened {
            Ok(()) => {
                self.unopened.remove(&(protocol, port));
                Ok(())
            }
            Err((why, error)) => {
                self.unopened.insert((protocol, port), why);
                Err(error)
            }
        }
    }
}

fn open_tcp(port: u16, watch: &WatchList) -> io::Result<TcpPort> {
    let open = TcpPort::open(port)?;
    watch.add(open.as_fd(), TCP | u64::from(port))?;
    Ok(open)
}

fn open_udp(port: u16, watch: &WatchList) -> io::Result<UdpPort> {
    let open = UdpPort::open(port)?;
    watch.add(open.as_fd(), UDP | u64::from(port))?;
    Ok(open)
}
