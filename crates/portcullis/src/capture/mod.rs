//! Where packets come from: the ring on the wire ([`portcullis_sys::ring`]), plain sockets ([`listen`], and [`datagrams`]
//! for doors), or a capture file ([`pcap`]).

pub mod datagrams;
pub mod listen;
pub mod pcap;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use portcullis_core::time::Mono;
use portcullis_sys::clock;
use portcullis_sys::filter::{FilterSpec, Program};
use portcullis_sys::ring::{Ring, RingError, RingOptions};

use portcullis_core::net::PortSet;

use crate::config::doors::DoorKind;
use crate::config::{Config, EngineChoice};
use datagrams::Datagrams;
use listen::{Listener, Listening};

/// How the running program sees: by one of these, or by both where PortSentry's modes open the ports of one transport
/// and only watch those of the other.
pub struct Eyes {
    /// Every packet that could be a probe.
    pub ring: Option<Box<Ring>>,
    /// Finished connections and datagrams only.
    pub listener: Option<Box<Listener>>,
    /// The packets of doors of the kind `spa`, where they can't be seen on the wire.
    pub datagrams: Option<Datagrams>,
}

/// Why there is nothing to see with.
#[derive(Debug)]
pub enum EyesError {
    /// The right to capture is missing, and listening was not asked for.
    NotPermitted,
    /// The ring could not be made.
    Ring(RingError),
    /// Not one port could be opened.
    Listen(listen::ListenError),
}

impl fmt::Display for EyesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EyesError::NotPermitted => write!(
                f,
                "watching the wire needs the capability CAP_NET_RAW, which this process lacks\n  either start it as \
                 root, by its systemd unit, or after: setcap cap_net_raw,cap_net_admin+ep on its program file\n  or \
                 run it with --engine listen: it then opens plain sockets on the watched ports, and sees only \
                 finished connections and datagrams"
            ),
            EyesError::Ring(error) => write!(f, "the packet ring could not be made: {error}"),
            EyesError::Listen(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EyesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            EyesError::NotPermitted => None,
            EyesError::Ring(error) => Some(error),
            EyesError::Listen(error) => Some(error),
        }
    }
}

/// Whether a door reads what is inside packets, so that the ring has to take them whole.
#[must_use]
pub fn reads_whole_packets(config: &Config) -> bool {
    config.doors.iter().any(|door| matches!(door.kind, DoorKind::Spa(_)))
}

/// Whole packets only where a door reads what is inside: they leave the ring room for a quarter as many.
fn ring_options(config: &Config) -> RingOptions {
    RingOptions { mebibytes: config.watch.ring_mib, is_for_whole_packets: reads_whole_packets(config) }
}

impl Eyes {
    /// Opens what the configuration asks for: the ring unless it says `listen`, and the ports of `listening`. Without the
    /// ring the UDP ports of doors, `single_packets`, are opened too.
    ///
    /// # Errors
    /// See [`EyesError`].
    pub fn open(
        config: &Config,
        filter: &FilterSpec,
        listening: Option<&Listening>,
        single_packets: &PortSet,
    ) -> Result<Eyes, EyesError> {
        let ring = match config.watch.engine {
            EngineChoice::Listen => None,
            EngineChoice::Auto | EngineChoice::Ring => {
                match Ring::open(&ring_options(config), &Program::compile(filter)) {
                    Ok(ring) => Some(Box::new(ring)),
                    Err(RingError::NotPermitted(_)) => return Err(EyesError::NotPermitted),
                    Err(error) => return Err(EyesError::Ring(error)),
                }
            }
        };
        let now = clock::now().mono;
        let datagrams = ring.is_none().then(|| Datagrams::open(single_packets, now));
        let has_doors = datagrams.as_ref().is_some_and(|own| own.opened().count() > 0);
        let listening = listening.filter(|own| own.tcp.count() + own.udp.count() > 0 || !has_doors);
        let listener = listening.map(|listening| Listener::open(listening, now).map(Box::new));
        Ok(Eyes { ring, listener: listener.transpose().map_err(EyesError::Listen)?, datagrams })
    }

    /// `ring`, `listen` or `ring+listen`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match (&self.ring, &self.listener) {
            (Some(_), Some(_)) => "ring+listen",
            (None, _) => "listen",
            (Some(_), None) => "ring",
        }
    }

    /// What the operator should know of these eyes, one sentence each.
    #[must_use]
    pub fn remarks(&mut self) -> Vec<String> {
        let mut remarks = self.listener.as_ref().map(|own| own.remarks()).unwrap_or_default();
        let of_doors = self.datagrams.as_mut().map(Datagrams::take_notices).unwrap_or_default();
        remarks.extend(of_doors.iter().map(ToString::to_string));
        remarks
    }

    /// What to wait on.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let of_listener = self.listener.iter().flat_map(|own| own.descriptors());
        let of_doors = self.datagrams.iter().flat_map(Datagrams::descriptors);
        self.ring.iter().map(|own| own.as_fd()).chain(of_listener).chain(of_doors).collect()
    }

    /// When [`Eyes::tick`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        let of_doors = self.datagrams.as_ref().and_then(Datagrams::next_timeout);
        self.listener.as_ref().map(|own| own.next_timeout()).into_iter().chain(of_doors).min()
    }

    /// What time brings; what has changed with it, one sentence each.
    pub fn tick(&mut self, now: Mono) -> Vec<String> {
        let mut notices = Vec::new();
        if let Some(listener) = &mut self.listener {
            listener.tick(now);
            notices.extend(listener.take_notices().iter().map(ToString::to_string));
        }
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.tick(now);
            notices.extend(datagrams.take_notices().iter().map(ToString::to_string));
        }
        notices
    }

    /// Packets that passed the filter (and contacts of opened ports), and those dropped for want of room.
    pub fn statistics(&mut self) -> (u64, u64) {
        let accepted = self.listener.as_ref().map_or(0, |own| own.counts().accepted)
            + self.datagrams.as_ref().map_or(0, Datagrams::taken);
        // A ring whose counters cannot be read has counted nothing new.
        let of_ring = self.ring.as_mut().and_then(|own| own.statistics().ok());
        of_ring.map_or((accepted, 0), |own| (own.received + accepted, own.dropped))
    }
}
