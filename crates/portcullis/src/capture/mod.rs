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

/// How the running program sees.
pub enum Eyes {
    /// Every packet that could be a probe.
    Ring(Box<Ring>),
    /// Finished connections and datagrams only.
    Listen(Box<Listener>),
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
    /// Opens what the configuration asks for.
    ///
    /// # Errors
    /// See [`EyesError`].
    pub fn open(config: &Config, filter: &FilterSpec, listening: &Listening) -> Result<Eyes, EyesError> {
        match config.watch.engine {
            EngineChoice::Listen => {
                let listener = Listener::open(listening, clock::now().mono).map_err(EyesError::Listen)?;
                Ok(Eyes::Listen(Box::new(listener)))
            }
            EngineChoice::Auto | EngineChoice::Ring => {
                match Ring::open(&ring_options(config), &Program::compile(filter)) {
                    Ok(ring) => Ok(Eyes::Ring(Box::new(ring))),
                    Err(RingError::NotPermitted(_)) => Err(EyesError::NotPermitted),
                    Err(error) => Err(EyesError::Ring(error)),
                }
            }
        }
    }

    /// `ring` or `listen`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Eyes::Ring(_) => "ring",
            Eyes::Listen(_) => "listen",
        }
    }

    /// What the operator should know of these eyes, one sentence each.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        match self {
            Eyes::Ring(_) => Vec::new(),
            Eyes::Listen(listener) => listener.remarks(),
        }
    }

    /// What to wait on.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Eyes::Ring(ring) => vec![ring.as_fd()],
            Eyes::Listen(listener) => listener.descriptors(),
        }
    }

    /// When [`Eyes::tick`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        match self {
            Eyes::Ring(_) => None,
            Eyes::Listen(listener) => Some(listener.next_timeout()),
        }
    }

    /// What time brings; what has changed with it, one sentence each.
    pub fn tick(&mut self, now: Mono) -> Vec<String> {
        let Eyes::Listen(listener) = self else { return Vec::new() };
        listener.tick(now);
        listener.take_notices().iter().map(ToString::to_string).collect()
    }

    /// Packets that passed the filter, and those dropped for want of room.
    pub fn statistics(&mut self) -> (u64, u64) {
        match self {
            // A ring whose counters cannot be read has counted nothing new.
            Eyes::Ring(ring) => ring.statistics().map_or((0, 0), |own| (own.received, own.dropped)),
            Eyes::Listen(listener) => (listener.counts().accepted, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn only_a_door_for_single_packets_makes_the_ring_take_them_whole() {
        let options = |text: &str| ring_options(&crate::config::parse(Path::new("c"), text).unwrap());
        let sequence = "[door.a]\nkind = \"sequence\"\nopens = \"tcp/22\"\nsequence = \"7000, 9000, 8000\"\n";
        let spa = "[door.b]\nkind = \"spa\"\nopens = \"tcp/22\"\nusers = \"/etc/access\"\n";
        assert_eq!(options(sequence), RingOptions::default());
        let both = options(&format!("[watch]\nring_mib = 32\n{sequence}{spa}"));
        assert_eq!(both, RingOptions { mebibytes: 32, is_for_whole_packets: true });
    }
}
