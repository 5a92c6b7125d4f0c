//! Where packets come from: the ring on the wire ([`portcullis_sys::ring`]), plain sockets ([`listen`]), or a capture
//! file ([`pcap`]).

pub mod listen;
pub mod pcap;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use portcullis_core::time::Mono;
use portcullis_sys::clock;
use portcullis_sys::filter::{FilterSpec, Program};
use portcullis_sys::ring::{Ring, RingError, RingOptions};

use crate::config::doors::DoorKind;
use crate::config::{Config, EngineChoice};
use listen::{Listener, Listening};

/// How the running program sees: by one of these, or by both where PortSentry's modes open the ports of one transport
/// and only watch those of the other.
pub struct Eyes {
    /// Every packet that could be a probe.
    pub ring: Option<Box<Ring>>,
    /// Finished connections and datagrams only.
    pub listener: Option<Box<Listener>>,
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
    /// Opens what the configuration asks for: the ring unless it says `listen`, and the ports of `listening`.
    ///
    /// # Errors
    /// See [`EyesError`].
    pub fn open(
        config: &Config,
        filter: &FilterSpec,
        listening: Option<&Listening>,
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
        let listener = listening.map(|listening| Listener::open(listening, clock::now().mono).map(Box::new));
        Ok(Eyes { ring, listener: listener.transpose().map_err(EyesError::Listen)? })
    }

    /// `ring`, `listen` or `ring+listen`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match (&self.ring, &self.listener) {
            (Some(_), Some(_)) => "ring+listen",
            (None, Some(_)) => "listen",
            (_, None) => "ring",
        }
    }

    /// What the operator should know of these eyes, one sentence each.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        self.listener.as_ref().map(|own| own.remarks()).unwrap_or_default()
    }

    /// What to wait on.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let of_listener = self.listener.iter().flat_map(|own| own.descriptors());
        self.ring.iter().map(|own| own.as_fd()).chain(of_listener).collect()
    }

    /// When [`Eyes::tick`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        self.listener.as_ref().map(|own| own.next_timeout())
    }

    /// What time brings; what has changed with it, one sentence each.
    pub fn tick(&mut self, now: Mono) -> Vec<String> {
        let Some(listener) = &mut self.listener else { return Vec::new() };
        listener.tick(now);
        listener.take_notices().iter().map(ToString::to_string).collect()
    }

    /// Packets that passed the filter (and contacts of opened ports), and those dropped for want of room.
    pub fn statistics(&mut self) -> (u64, u64) {
        let accepted = self.listener.as_ref().map_or(0, |own| own.counts().accepted);
        // A ring whose counters cannot be read has counted nothing new.
        let of_ring = self.ring.as_mut().and_then(|own| own.statistics().ok());
        of_ring.map_or((accepted, 0), |own| (own.received + accepted, own.dropped))
    }
}
