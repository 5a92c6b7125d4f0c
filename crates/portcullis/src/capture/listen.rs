//! Plain sockets on the watched ports, for who may not capture and for PortSentry's connect modes: finished
//! connections and datagrams are seen, nothing else. A scanner sees these ports open; what he is told there is at
//! most the banner that was asked for (`banner`).
//!
//! `ports` opens the ports, comes back to those that were in use, and gives up those that a service wants.

mod banner;
mod ports;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use portcullis_core::event::Kind;
use portcullis_core::net::{Endpoint, PortSet, Protocol};
use portcullis_core::scan::{Contact, Fingerprint};
use portcullis_core::time::Mono;
use portcullis_core::wire::TcpFlags;
use portcullis_sys::descriptors::{WatchList, is_want};

use banner::Banner;
pub use banner::BannerCounts;
use ports::Ports;

/// Ports opened of each transport at most by `--engine listen`: who watches thousands of ports seldom means to open
/// them all.
pub const MOST: usize = 512;

/// What is opened where more than the ceiling of TCP ports are watched: what scanners try first, and hosts seldom
/// serve.
const USUAL_TCP: [u16; 24] = [
    1, 7, 11, 19, 23, 79, 111, 119, 135, 139, 445, 512, 513, 514, 1080, 1433, 2323, 3128, 3389, 5060, 5900,
    6379, 8080, 11211,
];

/// The same for UDP.
const USUAL_UDP: [u16; 10] = [7, 19, 69, 111, 137, 161, 389, 1900, 5060, 11211];

/// Contacts taken from one socket before the next gets its turn.
const TURN: usize = 16;

/// Sockets that one look asks the kernel about; the next look goes on with the others.
const AT_ONCE: usize = 256;

/// Where even the spare descriptor is gone, accepting rests so long: the connections wait in the kernel.
const REST: Duration = Duration::from_millis(100);

/// So long nothing must have run short before it is said to be over.
const CALM: Duration = Duration::from_secs(10);

/// Tokens of the watch list: one of these and the port, or the number of a connection on its way out.
const TCP: u64 = 1 << 16;
const UDP: u64 = 1 << 17;
const LEAVING: u64 = 1 << 32;

/// What is to be opened, and what is said to strangers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// TCP ports.
    pub tcp: PortSet,
    /// UDP ports.
    pub udp: PortSet,
    /// Where more ports of a transport are given than this, only the usual few of them are opened; `None` opens all.
    pub ceiling: Option<usize>,
    /// What is sent where the answer to a contact is [`Reply::Banner`]: these bytes, nothing added.
    pub banner: Option<Vec<u8>>,
}

/// What becomes of a contact, once it has been judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The connection is closed without a word.
    Silent,
    /// The banner is sent first, if there is one and the source has not had its share.
    Banner,
}

/// A port that is not ours, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unopened {
    /// Its transport.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
    /// Why.
    pub why: Why,
}

/// Why a port is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody has it, at one of our addresses at least.
    InUse,
    /// The right is missing: a port below 1024.
    NotPermitted,
    /// More descriptors than this process may have would be needed.
    TooMany,
    /// Whatever else the kernel said (errno).
    Refused(i32),
}

impl Why {
    /// Why the kernel refused to open it.
    #[must_use]
    pub fn of(error: &io::Error) -> Why {
        match error.kind() {
            io::ErrorKind::AddrInUse => Why::InUse,
            io::ErrorKind::PermissionDenied => Why::NotPermitted,
            _ if is_want(error) => Why::TooMany,
            _ => Why::Refused(error.raw_os_error().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} (", self.port, self.protocol.name())?;
        match self.why {
            Why::InUse => write!(f, "in use")?,
            Why::NotPermitted => write!(f, "not permitted")?,
            Why::TooMany => write!(f, "the limit on open files, LimitNOFILE= or ulimit -n, is too low")?,
            Why::Refused(errno) => io::Error::from_raw_os_error(errno).fmt(f)?,
        }
        write!(f, ")")
    }
}

/// What has changed since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A port that was in use was free, and is ours now.
    Opened(Protocol, u16),
    /// A service has come to the port, and it is the service's now.
    GivenUp(Protocol, u16),
    /// No descriptor is left for connections: each is taken, judged and closed at once.
    OutOfDescriptors,
    /// That is over.
    DescriptorsAgain,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Opened(protocol, port) => {
                write!(f, "port {port}/{} is free, and watched now", protocol.name())
            }
            Notice::GivenUp(protocol, port) => {
                write!(
                    f,
                    "a service has come to port {port}/{}, so it is not watched for now",
                    protocol.name()
                )
            }
            Notice::OutOfDescriptors => write!(
                f,
                "no file descriptor is left: connections are seen, but nobody gets a banner\n  raise LimitNOFILE= \
                 of the unit (ulimit -n), or fs.file-max"
            ),
            Notice::DescriptorsAgain => write!(f, "there are enough file descriptors again"),
        }
    }
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenCounts {
    /// Connections and datagrams taken.
    pub accepted: u64,
    /// Connections that were gone again before they could be taken.
    pub gone: u64,
    /// How often no descriptor was left for a connection.
    pub out_of_descriptors: u64,
    /// Banners.
    pub banners: BannerCounts,
}

/// Open sockets, and what came by them.
pub struct Listener {
    ports: Ports,
    watch: WatchList,
    banner: Banner,
    is_usual: bool,
    /// Given up for the moment of an accept where no other descriptor is left.
    spare: Option<OwnedFd>,
    rests_until: Option<Mono>,
    short_since: Option<Mono>,
    counts: ListenCounts,
    ready: Vec<u64>,
}

/// Not one port could be opened.
#[derive(Debug)]
pub struct ListenError {
    last: Option<io::Error>,
    /// Each port, and why not.
    pub unopened: Vec<Unopened>,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not one of the watched ports could be opened")?;
        if let Some(error) = &self.last {
            write!(f, " ({error})")?;
        }
        write!(
            f,
            "\n  ports below 1024 need root or CAP_NET_BIND_SERVICE; name free ports in [watch] tcp and udp"
        )
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.last.as_ref().map(|error| error as &(dyn std::error::Error + 'static))
    }
}

impl Listening {
    /// As `--engine listen` does it: [`MOST`] ports of a transport, and never a word to anybody.
    #[must_use]
    pub fn usual(tcp: &PortSet, udp: &PortSet) -> Listening {
        Listening { tcp: tcp.clone(), udp: udp.clone(), ceiling: Some(MOST), banner: None }
    }

    /// The ports to open, and whether they are only the usual few.
    fn choose(&self, watched: &PortSet, usual: &[u16]) -> (Vec<u16>, bool) {
        if self.ceiling.is_some_and(|ceiling| watched.count() > ceiling) {
            return (usual.iter().copied().filter(|port| watched.contains(*port)).collect(), true);
        }
        // To the kernel port 0 is any port that is free.
        (
            watched.ranges().iter().flat_map(|(low, high)| *low..=*high).filter(|port| *port != 0).collect(),
            false,
        )
    }
}

impl Listener {
    /// Opens the ports, those that are free.
    ///
    /// # Errors
    /// Not one could be opened.
    pub fn open(listening: &Listening, now: Mono) -> Result<Listener, ListenError> {
        let (tcp, is_usual_tcp) = listening.choose(&listening.tcp, &USUAL_TCP);
        let (udp, is_usual_udp) = listening.choose(&listening.udp, &USUAL_UDP);
        let without = |error| ListenError { last: Some(error), unopened: Vec::new() };
        let watch = WatchList::new(AT_ONCE).map_err(without)?;
        let spare = Some(watch.as_fd().try_clone_to_owned().map_err(without)?);
        let (ports, last) = Ports::open(&tcp, &udp, &watch, now);
        if ports.is_empty() {
            return Err(ListenError { last, unopened: ports.unopened().collect() });
        }
        Ok(Listener {
            ports,
            watch,
            banner: Banner::new(listening.banner.clone()),
            is_usual: is_usual_tcp || is_usual_udp,
            spare,
            rests_until: None,
            short_since: None,
            counts: ListenCounts::default(),
            ready: Vec::with_capacity(AT_ONCE),
        })
    }

    /// What came since, each contact once, at most `limit`; returns how many. `see` judges a contact and says what
    /// becomes of it.
    pub fn drain(&mut self, now: Mono, limit: usize, mut see: impl FnMut(Contact) -> Reply) -> usize {
        if self.rests_until.is_some_and(|until| now < until) {
            return 0;
        }
        self.rests_until = None;
        let mut ready = std::mem::take(&mut self.ready);
        // There is nothing to mend, and the wait for the same list would say it too.
        drop(self.watch.ready(|token| ready.push(token)));
        let mut seen = 0;
        for token in ready.drain(..) {
            let room = TURN.min(limit.saturating_sub(seen));
            // Cannot be cut off: the lower bits are the port.
            let port = token as u16;
            seen += match token {
                LEAVING.. => {
                    self.banner.hear(token - LEAVING);
                    0
                }
                UDP.. => self.drain_udp(now, port, room, &mut see),
                _ => self.drain_tcp(now, port, room, &mut see),
            };
        }
        self.ready = ready;
        self.counts.accepted += seen as u64;
        seen
    }

    fn drain_tcp(
        &mut self,
        now: Mono,
        port: u16,
        room: usize,
        see: &mut impl FnMut(Contact) -> Reply,
    ) -> usize {
        for seen in 0..room {
            let (stream, from, may_linger) = match self.accept(now, port) {
                Accepted::Connection(stream, from, may_linger) => (stream, from, may_linger),
                Accepted::Gone => continue,
                Accepted::Nothing => return seen,
            };
            // One that is reset already has no local address; the port is known all the same.
            let to = stream.local_addr().map_or(unspecified(from.ip()), |to| to.ip());
            if self.ports.is_given_up(Protocol::Tcp, port, to) {
                return seen + 1;
            }
            let contact = contact(Kind::Connect, Protocol::Tcp, from, to, port);
            if see(contact) == Reply::Banner
                && let Some((number, stream)) = self.banner.greet(now, stream, contact.source, may_linger)
                && self.watch.add(stream, LEAVING + number).is_err()
            {
                self.banner.end(number);
            }
        }
        room
    }

    /// The next connection to the port. Where no descriptor is left for it, it gets the spare one.
    fn accept(&mut self, now: Mono, port: u16) -> Accepted {
        let Some(open) = self.ports.tcp(port) else { return Accepted::Nothing };
        let first = open.accept();
        let is_short = first.as_ref().is_err_and(is_want);
        let taken = if is_short {
            self.counts.out_of_descriptors += 1;
            self.banner.end_all();
            self.spare = None;
            open.accept()
        } else {
            first
        };
        let accepted = match taken {
            Ok((stream, from)) => Accepted::Connection(stream, from, !is_short),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Accepted::Nothing,
            Err(error) if is_want(&error) => {
                self.rests_until = Some(now + REST);
                Accepted::Nothing
            }
            // ECONNABORTED, or an error of the network that Linux hands over here: this connection is no more.
            Err(_) => {
                self.counts.gone += 1;
                Accepted::Gone
            }
        };
        if is_short {
            if self.short_since.is_none() {
                self.ports.tell(Notice::OutOfDescriptors);
            }
            self.short_since = Some(now);
        }
        accepted
    }

    fn drain_udp(
        &mut self,
        now: Mono,
        port: u16,
        room: usize,
        see: &mut impl FnMut(Contact) -> Reply,
    ) -> usize {
        for seen in 0..room {
            let Some(open) = self.ports.udp(port) else { return seen };
            // An error is what a stranger's ICMP left on the socket, and is taken with it; or there is nothing more.
            let Ok(datagram) = open.receive() else { return seen };
            let to = datagram.to.unwrap_or(unspecified(datagram.from.ip()));
            if self.ports.is_given_up(Protocol::Udp, port, to) {
                return seen + 1;
            }
            let contact = Contact {
                interface: datagram.interface,
                ..contact(Kind::Udp, Protocol::Udp, datagram.from, to, port)
            };
            if see(contact) == Reply::Banner
                && let Some(open) = self.ports.udp(port)
            {
                self.banner.answer(now, open, &datagram);
            }
        }
        room
    }

    /// What time brings: ports are tried again and given up, connections on their way out are closed. Early calls do
    /// nothing.
    pub fn tick(&mut self, now: Mono) {
        self.banner.tick(now);
        if self.spare.is_none() {
            // Fails while there is still none; then the next connection finds that out, and rests.
            self.spare = self.watch.as_fd().try_clone_to_owned().ok();
        }
        if self.short_since.is_some_and(|since| now.since(since) >= CALM) {
            self.short_since = None;
            self.ports.tell(Notice::DescriptorsAgain);
        }
        self.ports.visit(now, &self.watch);
    }

    /// When [`Listener::tick`], or [`Listener::drain`] after a rest, has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Mono {
        let over = self.short_since.map(|since| since + CALM);
        let times = [self.rests_until, over, self.banner.next_timeout()];
        times.into_iter().flatten().fold(self.ports.next_visit(), Mono::min)
    }

    /// What has changed since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.ports.take_notices()
    }

    /// What to wait on; nothing while it rests.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        if self.rests_until.is_some() { Vec::new() } else { vec![self.watch.as_fd()] }
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> ListenCounts {
        ListenCounts { banners: self.banner.counts(), ..self.counts }
    }

    /// The ports that are open now, sorted; TCP first.
    pub fn opened(&self) -> impl Iterator<Item = (Protocol, u16)> {
        self.ports.opened()
    }

    /// The ports that are not ours now, and why.
    pub fn unopened(&self) -> impl Iterator<Item = Unopened> {
        self.ports.unopened()
    }

    /// What these eyes cannot see.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let count = |protocol| self.opened().filter(|(of, _)| *of == protocol).count();
        let mut remarks = vec![format!(
            "listening on {} TCP and {} UDP ports: only finished connections and datagrams are seen; half-open \
             scans, odd flags and other ports are not",
            count(Protocol::Tcp),
            count(Protocol::Udp)
        )];
        if self.is_usual {
            remarks.push(format!(
                "more than {MOST} ports are watched, so only those that scanners usually try are opened; name fewer \
                 in [watch] tcp and udp to choose"
            ));
        }
        let unopened: Vec<Unopened> = self.unopened().collect();
        if !unopened.is_empty() {
            let first: Vec<String> = unopened.iter().take(8).map(ToString::to_string).collect();
            let more = if unopened.len() > 8 { ", …" } else { "" };
            remarks.push(format!("not opened: {}{more}", first.join(", ")));
        }
        remarks
    }
}

/// What became of an accept.
enum Accepted {
    /// A connection, who made it, and whether it may keep its descriptor for a moment.
    Connection(TcpStream, SocketAddr, bool),
    /// One that is gone already.
    Gone,
    /// None for now.
    Nothing,
}

pub(super) fn unspecified(family_of: IpAddr) -> IpAddr {
    match family_of.to_canonical() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn contact(kind: Kind, protocol: Protocol, from: SocketAddr, to: IpAddr, port: u16) -> Contact {
    Contact {
        source: from.ip().to_canonical(),
        source_port: from.port(),
        target: Endpoint { protocol, address: to.to_canonical(), port },
        kind,
        flags: TcpFlags::default(),
        has_ip_options: false,
        is_cut_up: false,
        fingerprint: Fingerprint::default(),
        interface: 0,
    }
}
