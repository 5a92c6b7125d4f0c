//! Who is a scanner. A judge weighs probes and keeps its own bounded memory; it asks nobody and does nothing.
//!
//! Called by the engine with each probe. [`trigger`] is PortSentry's rule.

pub mod trigger;

use crate::net::{Endpoint, Prefix};
use crate::scan::Probe;
use crate::time::Mono;

/// What a judge thinks of a source.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough to say.
    Open,
    /// A scanner. Before anything is done, the engine asks afresh whether services have come to the probed ports.
    Scanner,
}

/// The seam between counting and acting.
pub trait Judge: Send {
    /// Weighs one probe of `prefix`.
    fn weigh(&mut self, prefix: Prefix, probe: &Probe) -> Verdict;

    /// The probes that count against `prefix`, oldest first.
    fn evidence(&self, prefix: &Prefix) -> &[Probe];

    /// A service has come to `endpoint`: whatever was aimed there no longer counts. Says what is left to think.
    fn withdraw(&mut self, now: Mono, prefix: &Prefix, endpoint: Endpoint) -> Verdict;

    /// Forgets `prefix`; the case is closed.
    fn forget(&mut self, prefix: &Prefix);

    /// How many sources are remembered, and how many were forgotten to make room.
    fn memory(&self) -> (usize, u64);
}
