//! A mode for a while: blocking on trial until somebody confirms it, observing for an hour. It ends by itself, on the
//! fast path, so that nobody who has shut himself out has to wait for a busy disk.

use super::*;

/// A mode that gives way to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) then: Mode,
    pub(super) until: Mono,
}

/// Why a mode was not begun for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialRefusal {
    /// That mode holds already, without an end.
    HoldsAlready,
}

impl Engine {
    /// Begins `mode` for `length`; then the other one holds again. A trial of the same mode that is under way lasts for
    /// `length` from now; one of the other mode ends. Says which automatic bans ended.
    ///
    /// # Errors
    /// The mode holds already: to end it would be somebody else's surprise.
    pub fn try_mode(&mut self, now: Now, mode: Mode, length: Duration) -> Result<Vec<Ban>, TrialRefusal> {
        let is_same = self.settings.mode == mode;
        if is_same && self.trial.is_none() {
            return Err(TrialRefusal::HoldsAlready);
        }
        // Who observes instead of confirming does not want to block afterwards.
        let was_unconfirmed = !is_same && mode == Mode::Observe && self.trial.is_some();
        let ended = self.set_mode(now, mode);
        self.trial = (!was_unconfirmed).then_some(Trial { then: mode.other(), until: now.mono + length });
        Ok(ended)
    }

    /// Goes on with a trial of an earlier run, of which so much is left: the mode in force is what is tried.
    pub fn resume_trial(&mut self, now: Now, left: Duration) {
        self.trial = Some(Trial { then: self.settings.mode.other(), until: now.mono + left });
    }

    /// The mode in force has no end any more; whether it had one.
    pub fn keep_mode(&mut self) -> bool {
        self.trial.take().is_some()
    }

    /// What holds after the mode in force, and how long that lasts still; `None` where it has no end.
    #[must_use]
    pub fn trial(&self, now: Now) -> Option<(Mode, Duration)> {
        self.trial.map(|trial| (trial.then, trial.until.since(now.mono)))
    }

    pub(super) fn tick_trial(&mut self, now: Now) {
        if let Some(Trial { then, .. }) = self.trial.filter(|trial| trial.until <= now.mono) {
            self.set_mode(now, then);
            self.record(now, What::TrialOver { mode: then });
        }
    }
}
