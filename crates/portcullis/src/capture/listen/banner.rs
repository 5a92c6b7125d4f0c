//! What is said to whoever connects, and how a connection ends so that he can read it.
//!
//! A socket that is closed while it holds unread input sends a reset, and a reset may overtake the banner. So after
//! the banner only our direction is closed, what the stranger still sends is thrown away, and the connection goes
//! when he has closed his, or when its time is over.
//!
//! Strangers decide how often this happens, hence the ceilings: so many banners a minute for one source (over UDP
//! the source may be forged, and whoever is named gets the answer), so many sources remembered, so many connections
//! on their way out. Beyond them nothing is said, and that is counted.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use portcullis_core::net::{Prefix, Protocol};
use portcullis_core::time::Mono;
use portcullis_sys::listening::{Datagram, UdpPort};

/// Shares are for this long.
const MINUTE: Duration = Duration::from_secs(60);

/// Banners a source in a minute, over TCP: a program that asks what stands behind each port gets an answer on
/// everything that is listed by default.
const TCP_SHARE: u16 = 120;

/// The same over UDP: enough for a program that asks again, too little to be of use against a third party.
const UDP_SHARE: u16 = 3;

/// Sources whose shares are remembered; 4096 a minute over UDP is 205 datagrams a second at the very most.
const SOURCES: usize = 4096;

/// Connections on their way out, in all and of one source; the oldest ends for a newer one.
const LEAVING: usize = 256;
/// See [`LEAVING`].
const LEAVING_OF_ONE: usize = 16;

/// How long a connection may take to read its banner and to close.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes thrown away at one turn, and how many turns a connection gets: 64 KiB is more than any first request.
const GULP: usize = 4096;
/// See [`GULP`].
const GULPS: u8 = 16;

/// What was counted of banners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BannerCounts {
    /// Sent.
    pub sent: u64,
    /// Not sent, because the source had its share or too many sources had come within a minute.
    pub withheld: u64,
    /// That the kernel refused or took only a part of: the other side is gone, or its window is closed.
    pub failed: u64,
    /// Connections that have it and are not closed yet.
    pub leaving: usize,
}

/// The banner, and whom it was given to.
pub struct Banner {
    text: Option<Vec<u8>>,
    shares: HashMap<(Protocol, Prefix), Share>,
    leaving: BTreeMap<u64, Leaving>,
    next_number: u64,
    counts: BannerCounts,
}

/// What a source has had since.
struct Share {
    since: Mono,
    given: u16,
}

/// A connection that has its banner.
struct Leaving {
    stream: TcpStream,
    source: IpAddr,
    until: Mono,
    gulps: u8,
}

impl Banner {
    /// No banner, or an empty one: nothing is ever said.
    pub fn new(text: Option<Vec<u8>>) -> Banner {
        Banner {
            text: text.filter(|text| !text.is_empty()),
            shares: HashMap::new(),
            leaving: BTreeMap::new(),
            next_number: 0,
            counts: BannerCounts::default(),
        }
    }

    /// Says it to who has connected. Returns the connection and its number if it has to be watched until it ends.
    pub fn greet(
        &mut self,
        now: Mono,
        stream: TcpStream,
        source: IpAddr,
        may_linger: bool,
    ) -> Option<(u64, BorrowedFd<'_>)> {
        if !self.has_share(now, Protocol::Tcp, source) {
            return None;
        }
        let text = self.text.as_deref()?;
        // The buffer of a new connection takes 16 KiB (net.ipv4.tcp_wmem), so a part only is a rare thing.
        let is_sent = stream.set_nonblocking(true).is_ok()
            && (&stream).write(text).is_ok_and(|written| written == text.len())
            && stream.shutdown(Shutdown::Write).is_ok();
        if !is_sent {
            self.counts.failed += 1;
            return None;
        }
        self.counts.sent += 1;
        let mut leaving = Leaving { stream, source, until: now + PATIENCE, gulps: GULPS };
        if !leaving.goes_on() || !may_linger {
            return None;
        }
        self.make_room(source);
        let number = self.next_number;
        self.next_number += 1;
        let leaving = self.leaving.entry(number).or_insert(leaving);
        Some((number, leaving.stream.as_fd()))
    }

    /// Says it to who has sent a datagram.
    pub fn answer(&mut self, now: Mono, port: &UdpPort, datagram: &Datagram) {
        if !self.has_share(now, Protocol::Udp, datagram.from.ip()) {
            return;
        }
        let Some(text) = self.text.as_deref() else { return };
        match port.answer(datagram, text) {
            Ok(()) => self.counts.sent += 1,
            Err(_) => self.counts.failed += 1,
        }
    }

    /// There is something to hear from a connection on its way out.
    pub fn hear(&mut self, number: u64) {
        if let Some(leaving) = self.leaving.get_mut(&number)
            && !leaving.goes_on()
        {
            self.leaving.remove(&number);
        }
    }

    /// Ends a connection at once.
    pub fn end(&mut self, number: u64) {
        self.leaving.remove(&number);
    }

    /// Ends all connections: their descriptors are needed.
    pub fn end_all(&mut self) {
        self.leaving.clear();
    }

    /// Ends the connections whose time is over.
    pub fn tick(&mut self, now: Mono) {
        // They were all given the same patience, so the oldest is the first to lose it.
        while let Some(oldest) = self.leaving.first_entry()
            && oldest.get().until <= now
        {
            oldest.remove();
        }
    }

    /// When [`Banner::tick`] has something to do.
    pub fn next_timeout(&self) -> Option<Mono> {
        self.leaving.first_key_value().map(|(_, leaving)| leaving.until)
    }

    pub fn counts(&self) -> BannerCounts {
        BannerCounts { leaving: self.leaving.len(), ..self.counts }
    }

    fn has_share(&mut self, now: Mono, protocol: Protocol, source: IpAddr) -> bool {
        if self.text.is_none() {
            return false;
        }
        // Of IPv6 a whole subnet counts as one, since anybody has one.
        let source = source.to_canonical();
        let key = (protocol, Prefix::containing(source, if source.is_ipv4() { 32 } else { 64 }));
        if self.shares.len() >= SOURCES && !self.shares.contains_key(&key) {
            self.shares.retain(|_, share| now.since(share.since) < MINUTE);
        }
        if self.shares.len() >= SOURCES && !self.shares.contains_key(&key) {
            self.counts.withheld += 1;
            return false;
        }
        let share = self.shares.entry(key).or_insert(Share { since: now, given: 0 });
        if now.since(share.since) >= MINUTE {
            *share = Share { since: now, given: 0 };
        }
        let most = if protocol == Protocol::Tcp { TCP_SHARE } else { UDP_SHARE };
        let has_share = share.given < most;
        share.given += u16::from(has_share);
        self.counts.withheld += u64::from(!has_share);
        has_share
    }

    fn make_room(&mut self, source: IpAddr) {
        let of_source = self.leaving.iter().filter(|(_, leaving)| leaving.source == source);
        let (oldest, count) =
            of_source.fold((None, 0), |(oldest, count), (number, _)| (oldest.or(Some(*number)), count + 1));
        if count >= LEAVING_OF_ONE {
            oldest.and_then(|number| self.leaving.remove(&number));
        } else if self.leaving.len() >= LEAVING {
            self.leaving.pop_first();
        }
    }
}

impl Leaving {
    /// Throws away what the stranger has sent; whether there may be more.
    fn goes_on(&mut self) -> bool {
        let mut gulp = [0u8; GULP];
        while self.gulps > 0 {
            self.gulps -= 1;
            match self.stream.read(&mut gulp) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => {
                    // A look that finds nothing costs him nothing.
                    self.gulps += 1;
                    return matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
                }
            }
        }
        false
    }
}
