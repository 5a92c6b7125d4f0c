//! The measuring instrument: numbered datagrams from a stranger to an open port of the victim. The receiver sits
//! behind the packet filter, so the last datagram that it gets tells when the stranger was shut out.

use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use testbed::{Lab, Namespace};

use super::sender::stranger;

/// An open port of the victim that no probe is sent to.
pub const PORT: u16 = 9;

/// Room for what arrives while nobody reads.
const ROOM: usize = 64 * 1024 * 1024;

/// Makes the strangers' addresses usable from the attacker, and gives the victim a way back to them.
pub fn route_strangers(lab: &Lab) {
    // Whatever lies in a local route is an address of this host.
    lab.attacker.ip("route add local 10.96.0.0/12 dev lo\n");
    lab.victim.ip(&format!("route add 10.96.0.0/12 via {}\n", lab.attacker4()));
}

/// Datagrams from one or more strangers.
pub struct Stream {
    receiver: UdpSocket,
    senders: Vec<UdpSocket>,
    /// Times count from here.
    start: Instant,
    next: usize,
}

impl Stream {
    /// A receiver in the victim.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(lab: &Lab) -> io::Result<Self> {
        let receiver = lab.victim.enter(|| -> io::Result<UdpSocket> {
            let receiver = UdpSocket::bind((lab.victim4(), PORT))?;
            setsockopt(&receiver, RcvBufForce, &ROOM)?;
            receiver.set_nonblocking(true)?;
            Ok(receiver)
        })?;
        Ok(Self { receiver, senders: Vec::new(), start: Instant::now(), next: 0 })
    }

    /// From now on these strangers send, in turns; datagrams on their way are forgotten.
    ///
    /// # Errors
    /// What the system said.
    pub fn begin(&mut self, attacker: &Namespace, strangers: &[u32]) -> io::Result<()> {
        let to = self.receiver.local_addr()?;
        self.senders = attacker.enter(|| {
            let sender = |&number: &u32| {
                let sender = UdpSocket::bind(SocketAddrV4::new(stranger(number), 0))?;
                sender.connect(to).map(|()| sender)
            };
            strangers.iter().map(sender).collect::<io::Result<_>>()
        })?;
        while self.receive()?.is_some() {}
        Ok(())
    }

    /// The time now, as it stands in the datagrams.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Sends the next datagram.
    ///
    /// # Errors
    /// What the system said.
    pub fn send(&mut self) -> io::Result<()> {
        let sender = &self.senders[self.next % self.senders.len()];
        self.next += 1;
        let now = u64::try_from(self.now().as_nanos()).map_err(io::Error::other)?;
        sender.send(&now.to_ne_bytes()).map(drop)
    }

    /// When the next datagram that has got through was sent.
    ///
    /// # Errors
    /// What the system said.
    pub fn receive(&mut self) -> io::Result<Option<Duration>> {
        let mut sent = [0; 8];
        match self.receiver.recv(&mut sent) {
            Ok(_) => Ok(Some(Duration::from_nanos(u64::from_ne_bytes(sent)))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends until nothing has got through for `quiet`, with `pause` in between, and returns when the first and
    /// the last that did were sent.
    ///
    /// # Errors
    /// If the last is not sent within `limit`.
    pub fn until_shut_out(
        &mut self,
        pause: Duration,
        quiet: Duration,
        limit: Duration,
    ) -> io::Result<Option<(Duration, Duration)>> {
        let begun = self.now();
        let mut seen: Option<(Duration, Duration)> = None;
        loop {
            self.send()?;
            while let Some(sent) = self.receive()? {
                seen = Some((seen.map_or(sent, |(first, _)| first), sent));
            }
            let now = self.now();
            if now - seen.map_or(begun, |(_, last)| last) > quiet {
                return Ok(seen);
            }
            if now - begun > limit {
                return Err(io::Error::other(format!("nobody was shut out within {limit:?}")));
            }
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
    }
}
