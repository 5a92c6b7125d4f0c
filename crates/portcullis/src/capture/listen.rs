//! Plain sockets on the watched ports, for who may not capture: finished connections and datagrams are seen, nothing
//! else. A scanner sees these ports open; nothing is ever sent to him.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use portcullis_core::event::Kind;
use portcullis_core::net::{Endpoint, PortSet, Protocol};
use portcullis_core::scan::Contact;
use portcullis_core::wire::TcpFlags;

/// Ports opened of each transport at most: beyond it a descriptor each is too much to ask of a host.
pub const MOST: usize = 512;

/// What is opened where more than [`MOST`] TCP ports are watched: what scanners try first, and hosts seldom serve.
const USUAL_TCP: [u16; 24] = [
    1, 7, 11, 19, 23, 79, 111, 119, 135, 139, 445, 512, 513, 514, 1080, 1433, 2323, 3128, 3389, 5060, 5900,
    6379, 8080, 11211,
];

/// The same for UDP.
const USUAL_UDP: [u16; 10] = [7, 19, 69, 111, 137, 161, 389, 1900, 5060, 11211];

/// Contacts taken from one socket before the next gets its turn.
const TURN: usize = 16;

/// Open sockets, and what came by them.
pub struct Listener {
    tcp: Vec<TcpListener>,
    udp: Vec<(UdpSocket, u16)>,
    taken: Vec<(Protocol, u16, io::ErrorKind)>,
    is_usual: bool,
    accepted: u64,
}

/// Not one port could be opened.
#[derive(Debug)]
pub struct ListenError {
    last: Option<io::Error>,
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

impl Listener {
    /// Opens the watched ports, those that are free; of more than [`MOST`] a usual few.
    ///
    /// # Errors
    /// Not one could be opened.
    pub fn open(tcp: &PortSet, udp: &PortSet) -> Result<Listener, ListenError> {
        let mut listener =
            Listener { tcp: Vec::new(), udp: Vec::new(), taken: Vec::new(), is_usual: false, accepted: 0 };
        let mut last = None;
        for port in listener.choose(tcp, &USUAL_TCP) {
            match bind(port, TcpListener::bind) {
                Ok(socket) if socket.set_nonblocking(true).is_ok() => listener.tcp.push(socket),
                Ok(_) => listener.taken.push((Protocol::Tcp, port, io::ErrorKind::Other)),
                Err(error) => {
                    listener.taken.push((Protocol::Tcp, port, error.kind()));
                    last = Some(error);
                }
            }
        }
        for port in listener.choose(udp, &USUAL_UDP) {
            match bind(port, UdpSocket::bind) {
                Ok(socket) if socket.set_nonblocking(true).is_ok() => listener.udp.push((socket, port)),
                Ok(_) => listener.taken.push((Protocol::Udp, port, io::ErrorKind::Other)),
                Err(error) => {
                    listener.taken.push((Protocol::Udp, port, error.kind()));
                    last = Some(error);
                }
            }
        }
        if listener.tcp.is_empty() && listener.udp.is_empty() {
            return Err(ListenError { last });
        }
        Ok(listener)
    }

    /// What came since, each contact once; returns how many.
    pub fn drain(&mut self, limit: usize, mut see: impl FnMut(Contact)) -> usize {
        let mut seen = 0;
        for socket in &self.tcp {
            for _ in 0..TURN.min(limit.saturating_sub(seen)) {
                // Whatever goes wrong with one connection (it is gone again, no descriptor is left), the next look
                // at this socket tries anew.
                let Ok((stream, from)) = socket.accept() else { break };
                if let Ok(to) = stream.local_addr() {
                    see(contact(Kind::Connect, Protocol::Tcp, from, to.ip(), to.port()));
                }
                seen += 1;
            }
        }
        let mut first_byte = [0u8; 1];
        for (socket, port) in &self.udp {
            for _ in 0..TURN.min(limit.saturating_sub(seen)) {
                let Ok((_, from)) = socket.recv_from(&mut first_byte) else { break };
                // A plain socket does not tell which of our addresses a datagram was sent to.
                let unspecified = match from.ip().to_canonical() {
                    IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                };
                see(contact(Kind::Udp, Protocol::Udp, from, unspecified, *port));
                seen += 1;
            }
        }
        self.accepted += seen as u64;
        seen
    }

    /// What to wait on.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let tcp = self.tcp.iter().map(AsFd::as_fd);
        tcp.chain(self.udp.iter().map(|(socket, _)| socket.as_fd())).collect()
    }

    /// Connections and datagrams taken.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// What these eyes cannot see.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = vec![format!(
            "listening on {} TCP and {} UDP ports: only finished connections and datagrams are seen; half-open \
             scans, odd flags and other ports are not",
            self.tcp.len(),
            self.udp.len()
        )];
        if self.is_usual {
            remarks.push(format!(
                "more than {MOST} ports are watched, so only those that scanners usually try are opened; name fewer \
                 in [watch] tcp and udp to choose"
            ));
        }
        if !self.taken.is_empty() {
            let ports = self
                .taken
                .iter()
                .take(8)
                .map(|(protocol, port, why)| format!("{port}/{} ({why})", protocol.name()));
            let more = if self.taken.len() > 8 { ", …" } else { "" };
            let ports = ports.collect::<Vec<String>>().join(", ");
            remarks.push(format!("not opened: {ports}{more}"));
        }
        remarks
    }

    fn choose(&mut self, watched: &PortSet, usual: &[u16]) -> Vec<u16> {
        if watched.count() <= MOST {
            return watched.ranges().iter().flat_map(|(low, high)| *low..=*high).collect();
        }
        self.is_usual = true;
        usual.iter().copied().filter(|port| watched.contains(*port)).collect()
    }
}

/// Both families at once where the host has IPv6, otherwise IPv4.
fn bind<S>(port: u16, bind: impl Fn(SocketAddr) -> io::Result<S>) -> io::Result<S> {
    let any = |address: IpAddr| SocketAddr::new(address, port);
    bind(any(Ipv6Addr::UNSPECIFIED.into())).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => bind(any(Ipv4Addr::UNSPECIFIED.into())),
    })
}

fn contact(kind: Kind, protocol: Protocol, from: SocketAddr, to: IpAddr, port: u16) -> Contact {
    Contact {
        source: from.ip().to_canonical(),
        source_port: from.port(),
        target: Endpoint { protocol, address: to.to_canonical(), port },
        kind,
        flags: TcpFlags::default(),
        has_ip_options: false,
        interface: 0,
    }
}
