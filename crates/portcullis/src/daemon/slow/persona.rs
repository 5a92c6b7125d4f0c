//! What the slow path does for a persona beside its own: errands, and files that an administrator edits.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::net::{Prefix, Protocol};
use portcullis_sys::clock;
use tokio::time::Instant;

use super::Slow;
use crate::control::{Answer, Outcome};
use crate::daemon::errands::{Done, Errands, Standing};
use crate::daemon::guard::Order;
use crate::daemon::persona::Persona;
use crate::record::portsentry::Settled;

/// How long an operator waits for what a persona has done to be undone.
const UNDOING: Duration = Duration::from_secs(20);

/// In a flood what responses have done is given to the store so often: each time is a wait for the disk.
const SAVED_EVERY: Duration = Duration::from_millis(100);

/// How long the responses that run when the program ends may take.
const LAST_ERRANDS: Duration = Duration::from_secs(5);

impl Slow {
    pub(super) fn every_second(&mut self) {
        self.output.catch_up();
        self.save_trail();
        if self.errands.as_ref().is_some_and(Errands::is_dirty) {
            self.save_all(&[], 0);
        }
        if let Some(journal) = self.output.journal() {
            let taken_out = journal.taken_out(clock::now());
            if !taken_out.is_empty() {
                self.give(Order::Rearm(taken_out));
            }
        }
        if self.plan.persona.as_mut().is_some_and(Persona::is_ignore_file_changed) {
            self.read_again();
        }
    }

    /// An errand has ended: it is told, and the ledger learns how it went.
    pub(super) fn finish(&mut self, done: Done) {
        match done {
            Done::Responded { prefix, protocol, port, steps, standing } => {
                let source = prefix.address();
                let now = clock::now();
                if standing == Standing::Restored {
                    return self.give(Order::Answered(prefix, Ok(())));
                }
                // What is told is in the store: killed behind it, we would do it once more, and undo it only once.
                let is_due = self.effects_saved.is_none_or(|at| at.elapsed() >= SAVED_EVERY);
                if is_due && self.errands.as_ref().is_some_and(Errands::is_dirty) {
                    self.save_all(&[], 0);
                    self.effects_saved = Some(Instant::now());
                }
                for step in steps {
                    if let Some(journal) = self.output.journal() {
                        journal.step(protocol, source, step, now);
                    }
                }
                match standing {
                    // Its steps have told why, and our set may hold all the same.
                    Standing::Again => self.give(Order::Answered(prefix, Err(String::new()))),
                    Standing::InForce(remark) => {
                        self.give(Order::Answered(prefix, Ok(())));
                        self.settled(source, protocol, port, Settled::Blocked);
                        if let Some(why) = remark {
                            let why = format!("{source} is shut out, but not every response worked: {why}");
                            self.fault(&why, "mend what it complains of");
                        }
                    }
                    // Was answered above.
                    Standing::Restored => {}
                    Standing::GivenUp(why) => {
                        self.give(Order::GiveUp(prefix));
                        self.settled(source, protocol, port, Settled::Failed { why });
                    }
                }
            }
            Done::Undone { prefix, left } => {
                // Its responses may have ended behind its ban, and have named it blocked.
                if let Some(journal) = self.output.journal() {
                    journal.let_in(BTreeSet::from([prefix.address()]), clock::now());
                }
                for left in left {
                    self.fault(&format!("{} is not wholly let in again", prefix.address()), &left);
                }
            }
        }
    }

    fn settled(&mut self, source: IpAddr, protocol: Protocol, port: u16, outcome: Settled) {
        if let Some(journal) = self.output.journal() {
            journal.settled(source, protocol, port, outcome, clock::now());
        }
    }

    /// The ignore file has changed: what it says holds from now on, unless it cannot be read.
    fn read_again(&mut self) {
        match self.plan.persona.as_ref().map_or(Ok(Default::default()), Persona::ignored_now) {
            Ok((ignored, diagnostics)) => {
                self.plan.config.protect.allow = ignored;
                self.give(Order::configure(&self.plan, self.mode.0));
                for diagnostic in diagnostics {
                    self.fault(&diagnostic.to_string(), "");
                }
            }
            Err(faults) => self.fault(
                &format!("the ignore file has changed, and what it says cannot be taken over:\n{faults}"),
                "what was read before holds on",
            ),
        }
    }

    /// Whoever ends a ban of a persona is told what he has to undo himself: that is known when the errands have ended.
    pub(super) async fn with_what_is_left_to_undo(&mut self, answer: Answer) -> Answer {
        let (Answer::Outcomes(mut outcomes), true) = (answer.clone(), self.errands.is_some()) else {
            return answer;
        };
        let mut waited_for: HashSet<Prefix> = outcomes.iter().filter_map(Outcome::unbanned).collect();
        let deadline = Instant::now() + UNDOING;
        while !waited_for.is_empty()
            && let Ok(done) = tokio::time::timeout_at(deadline, next_errand(self.errands.as_mut())).await
        {
            if let Done::Undone { prefix, left } = &done
                && waited_for.remove(prefix)
                && !left.is_empty()
            {
                let why = format!("it is no longer blocked by us, but {}", left.join("; "));
                let outcome = outcomes.iter_mut().find(|own| own.unbanned() == Some(*prefix));
                if let Some(outcome) = outcome {
                    *outcome = Outcome::Failed { prefix: *prefix, why };
                }
            }
            self.finish(done);
        }
        Answer::Outcomes(outcomes)
    }

    /// What runs may end; what waits is done at the next start, since the store knows the ban and not the response.
    pub(super) async fn end_errands(&mut self) {
        let deadline = Instant::now() + LAST_ERRANDS;
        while self.errands.as_ref().is_some_and(Errands::is_running) {
            match tokio::time::timeout_at(deadline, next_errand(self.errands.as_mut())).await {
                Ok(done) => self.finish(done),
                Err(_) => return,
            }
        }
    }
}

/// Waits for the next errand to end; without errands for ever.
pub(super) async fn next_errand(errands: Option<&mut Errands>) -> Done {
    match errands {
        Some(errands) => errands.next().await,
        None => std::future::pending().await,
    }
}
