//! Who is a scanner. A judge weighs probes and keeps its own bounded memory; it asks nobody and does nothing.
//!
//! Called by the engine with each probe, and with each contact that found a service. [`evidence`] is a sequential test
//! and the default; [`trigger`] is PortSentry's rule.

pub mod evidence;
pub mod trigger;

use std::time::Duration;

use crate::net::{Endpoint, Prefix};
use crate::scan::incidents::Names;
use crate::scan::sources::Secret;
use crate::scan::{Contact, Probe};
use crate::time::Now;
use evidence::{Evidence, Receipt, Timing};
use trigger::Trigger;

/// Which judge, and how it is configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Settings {
    /// What a source has tried is weighed.
    Evidence(evidence::Settings),
    /// So many within a time are a scan.
    Trigger(trigger::Settings),
}

impl Settings {
    /// A judge without memory.
    #[must_use]
    pub fn judge(self, timing: Timing, secret: Secret) -> Box<dyn Judge> {
        match self {
            Settings::Evidence(settings) => Box::new(Evidence::new(settings, timing, secret)),
            Settings::Trigger(settings) => Box::new(Trigger::new(settings, secret)),
        }
    }

    /// How long a scan must rest to be over. Twice nmap's slowest pace, so that such a scan is told as one.
    #[must_use]
    pub fn quiet(self) -> Duration {
        match self {
            Settings::Evidence(settings) => settings.clocks.fast.max(Duration::from_secs(600)),
            Settings::Trigger(settings) => settings.window,
        }
    }
}

/// What a judge thinks of a source.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough to say.
    Open,
    /// A scanner. Before anything is done, the engine asks afresh whether services have come to the probed ports.
    Scanner,
}

/// How somebody came for a service of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// He asked for it, and it is there.
    Touched,
    /// He was seen to send it something once it had answered.
    Used,
}

/// The seam between counting and acting.
pub trait Judge: Send {
    /// Weighs one probe of `prefix`.
    fn weigh(&mut self, prefix: Prefix, probe: &Probe) -> Verdict;

    /// Somebody of `prefix` has come for a service of ours.
    fn meet(&mut self, now: Now, prefix: Prefix, contact: &Contact, how: Meeting);

    /// The probes that count against `prefix`, oldest first.
    fn evidence(&self, prefix: &Prefix) -> Vec<Probe>;

    /// What a verdict against `prefix` rests on, if that is more than a count. Doors' ports are told by `names`.
    fn receipt(&self, now: Now, prefix: &Prefix, names: Names<'_>) -> Option<Receipt>;

    /// A service has come to `endpoint`: whatever was aimed there no longer counts. Says what is left to think.
    fn withdraw(&mut self, now: Now, prefix: &Prefix, endpoint: Endpoint) -> Verdict;

    /// Forgets `prefix`; the case is closed.
    fn forget(&mut self, prefix: &Prefix);

    /// How many sources are remembered, and how many were forgotten to make room.
    fn memory(&self) -> (usize, u64);
}
