//! Plain sockets for doors of the kind `spa`, for who may not capture (`--engine listen`): each such door's UDP port is
//! open then, at every address of both families. With the ring nothing of this is made, and no port is open.
//!
//! The sockets share their port with nobody: a program that shared it could take a guest's packet for itself, and use it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use portcullis_core::net::{PortSet, Protocol};
use portcullis_core::time::Mono;
use portcullis_sys::listening::UdpPort;

use super::listen::{Unopened, Why};

/// Between two tries of a port that somebody else has.
const AGAIN: Duration = Duration::from_secs(5);

/// Datagrams taken from one socket before the next gets its turn.
const TURN: usize = 64;

/// Room for one datagram: no real one is longer (`spa::envelope` refuses those of 400 bytes and more), and of a longer one
/// the beginning is enough to refuse it.
const ROOM: usize = 2048;

/// One datagram that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken<'a> {
    /// Who sent it, or says so.
    pub source: IpAddr,
    /// Which of our addresses it was sent to; unspecified if the kernel didn't say.
    pub to: IpAddr,
    /// The port of ours.
    pub port: u16,
    /// Where it came in; 0 if the kernel didn't say.
    pub interface: u32,
    /// What is in it, or the first 2048 bytes.
    pub payload: &'a [u8],
}

/// The ports of doors.
#[derive(Debug, Default)]
pub struct Datagrams {
    open: Vec<(u16, UdpPort)>,
    waiting: Vec<(u16, Why)>,
    again: Mono,
    notices: Vec<Told>,
    taken: u64,
}

/// What has changed with a door's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is open now.
    Opened(u16),
    /// It could not be opened.
    Unopened(Unopened),
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Told::Opened(port) => write!(f, "UDP port {port} is open now for the packets of doors"),
            Told::Unopened(unopened) => write!(
                f,
                "a door of kind spa cannot be knocked at: not opened: {unopened}\n  free the port, or take another \
                 one by udp_port; it is tried again every {} seconds",
                AGAIN.as_secs()
            ),
        }
    }
}

impl Datagrams {
    /// Opens the ports, those that are free.
    #[must_use]
    pub fn open(ports: &PortSet, now: Mono) -> Datagrams {
        let mut datagrams = Datagrams::default();
        datagrams.set(ports, now);
        datagrams
    }

    /// Has these ports open from now on, and no other.
    pub fn set(&mut self, ports: &PortSet, now: Mono) {
        self.open.retain(|(port, _)| ports.contains(*port));
        self.waiting.clear();
        self.again = now + AGAIN;
        for port in ports.ranges().iter().flat_map(|(low, high)| *low..=*high) {
            if self.open.iter().any(|(own, _)| *own == port) {
                continue;
            }
            match UdpPort::open_alone(port) {
                Ok(open) => self.open.push((port, open)),
                Err(error) => {
                    let why = Why::of(&error);
                    self.waiting.push((port, why));
                    self.notices.push(Told::Unopened(Unopened { protocol: Protocol::Udp, port, why }));
                }
            }
        }
    }

    /// What came since, at most `limit`; returns how many.
    pub fn drain(&mut self, limit: usize, mut hear: impl FnMut(Taken<'_>)) -> usize {
        let mut buffer = [0; ROOM];
        let mut seen = 0;
        for (port, open) in &self.open {
            for _ in 0..TURN.min(limit.saturating_sub(seen)) {
                let (datagram, length) = match open.receive_into(&mut buffer) {
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // What somebody's ICMP left on the socket; it is taken with it.
                    Err(_) => continue,
                };
                seen += 1;
                let unspecified = super::listen::unspecified(datagram.from.ip());
                hear(Taken {
                    source: datagram.from.ip().to_canonical(),
                    to: datagram.to.unwrap_or(unspecified).to_canonical(),
                    port: *port,
                    interface: datagram.interface,
                    payload: buffer.get(..length).unwrap_or(&buffer),
                });
            }
        }
        self.taken += seen as u64;
        seen
    }

    /// Tries again what was not free. Early calls do nothing.
    pub fn tick(&mut self, now: Mono) {
        if self.waiting.is_empty() || now < self.again {
            return;
        }
        self.again = now + AGAIN;
        for (port, why) in std::mem::take(&mut self.waiting) {
            match UdpPort::open_alone(port) {
                Ok(open) => {
                    self.open.push((port, open));
                    self.notices.push(Told::Opened(port));
                }
                Err(_) => self.waiting.push((port, why)),
            }
        }
    }

    /// When [`Datagrams::tick`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        (!self.waiting.is_empty()).then_some(self.again)
    }

    /// What has changed since the last call.
    pub fn take_notices(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.notices)
    }

    /// What to wait on.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.iter().map(|(_, open)| open.as_fd())
    }

    /// The ports that are open now.
    #[must_use]
    pub fn opened(&self) -> PortSet {
        PortSet::from_ranges(self.open.iter().map(|(port, _)| (*port, *port)))
    }

    /// How many datagrams were taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }
}
