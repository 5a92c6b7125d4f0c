//! The latest attempts, and how often knocks may be told of.
//!
//! Attempts that got beyond their first step are kept and told apart from those that did not: whoever floods with first
//! steps hides nobody's knock.

use std::collections::VecDeque;

use super::Trace;
use crate::time::Mono;

/// Traces kept of each kind.
const KEPT: usize = 128;

/// So many of a kind may be told at once, and so many more each second.
const BURST: u32 = 100;
const RATE: u32 = 10;

#[derive(Default)]
pub(crate) struct Traces {
    begun: Kind,
    advanced: Kind,
}

struct Kind {
    kept: VecDeque<Trace>,
    tokens: u32,
    filled: Mono,
}

impl Default for Kind {
    fn default() -> Kind {
        Kind { kept: VecDeque::new(), tokens: BURST, filled: Mono::default() }
    }
}

impl Traces {
    /// Keeps a trace.
    pub(crate) fn add(&mut self, trace: Trace) {
        let kind = self.kind(is_advanced(trace.step, trace.of));
        if kind.kept.len() >= KEPT {
            kind.kept.pop_front();
        }
        kind.kept.push_back(trace);
    }

    /// Whether something about a step may be told now.
    pub(crate) fn may_tell(&mut self, now: Mono, step: u8, of: u8) -> bool {
        self.kind(is_advanced(step, of)).may_tell(now)
    }

    /// The latest first.
    pub(crate) fn latest(&self) -> Vec<Trace> {
        let kinds = [&self.advanced, &self.begun];
        let mut all: Vec<Trace> =
            kinds.into_iter().flat_map(|kind| kind.kept.iter().rev()).cloned().collect();
        all.sort_by_key(|trace| std::cmp::Reverse(trace.at));
        all
    }

    fn kind(&mut self, is_advanced: bool) -> &mut Kind {
        if is_advanced { &mut self.advanced } else { &mut self.begun }
    }
}

impl Kind {
    fn may_tell(&mut self, now: Mono) -> bool {
        let seconds = now.since(self.filled).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(RATE);
            self.tokens = self.tokens.saturating_add(more).min(BURST);
            self.filled = now;
        }
        let may = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        may
    }
}

/// A step that a stranger does not make by chance.
fn is_advanced(step: u8, of: u8) -> bool {
    step > 1 || (of == 1 && step == 1)
}
