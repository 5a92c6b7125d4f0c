//! What the slow path does for a persona beside its own: errands, and files that an administrator edits.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::net::{Prefix, Protocol};
use portcullis_sys::clock;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Slow;
use crate::control::{Answer, Outcome};
use crate::daemon::errands::{Done, Errands, Standing};
use crate::daemon::guard::Order;
use crate::daemon::persona::Persona;
use crate::record::portsentry::{Settled, Step};

/// How long an operator waits for what a persona has done to be undone: shorter than his socket waits for an answer.
const UNDOING: Duration = Duration::from_secs(15);

/// In a flood what responses have done is given to the store so often: each time is a wait for the disk.
const SAVED_EVERY: Duration = Duration::from_millis(100);

/// How long the responses that run when the program ends may take.
const LAST_ERRANDS: Duration = Duration::from_secs(5);

/// An operator who has ended bans, and is answered when all that was done for them is undone. As many at once as the
/// control socket serves.
#[derive(Debug)]
pub struct Undoing {
    to: oneshot::Sender<Answer>,
    outcomes: Vec<Outcome>,
    waited_for: HashSet<Prefix>,
    until: Instant,
    /// Whom of all he is told by name.
    told: usize,
}

/// Of all whose bans have ended so many are named whom something is left of.
const NAMED: usize = 100;

impl Undoing {
    /// Answers if nothing is waited for any more, and waits on with the others if not.
    fn go_on(self, waiting: &mut Vec<Undoing>) {
        if self.waited_for.is_empty() {
            // The client may have gone away.
            drop(self.to.send(Answer::Outcomes(self.outcomes)));
        } else if !self.to.is_closed() {
            waiting.push(self);
        }
    }

    /// The ban has ended, and this is left of it.
    fn is_not_over(&mut self, prefix: Prefix, left: &str) {
        let why = format!("it is no longer blocked by us, but {left}");
        let is_his =
            |own: &&mut Outcome| matches!(own, Outcome::Unbanned { prefix: own, .. } if *own == prefix);
        if let Some(own) = self.outcomes.iter_mut().find(is_his) {
            *own = Outcome::Failed { prefix, why };
            return;
        }
        // He ended all of them.
        self.told += 1;
        if self.told < NAMED {
            self.outcomes.push(Outcome::Failed { prefix, why });
        } else if self.told == NAMED {
            let why = format!(
                "{why}; of how many more this is so, and what is left of them, stands in the system's log"
            );
            self.outcomes.push(Outcome::Failed { prefix, why });
        }
    }
}

impl Slow {
    pub(super) fn every_second(&mut self) {
        self.move_mark_after_a_jump();
        self.end_waiting();
        self.try_ways();
        self.output.catch_up();
        self.tell_of_archive();
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
                // What is told is in the store: killed behind it, we would do it once more, and undo it only once.
                let is_due = self.effects_saved.is_none_or(|at| at.elapsed() >= SAVED_EVERY);
                if is_due && self.errands.as_ref().is_some_and(Errands::is_dirty) {
                    self.save_all(&[], 0);
                    self.effects_saved = Some(Instant::now());
                }
                // Somebody has emptied our set, and we have filled it again.
                let is_known = matches!(standing, Standing::InForce { is_news: false, .. });
                for step in steps.into_iter().filter(|own| !(is_known && own.step == Step::Set)) {
                    if let Some(journal) = self.output.journal() {
                        journal.step(protocol, source, step, now);
                    }
                }
                match standing {
                    // Its steps have told why, and our set may hold all the same.
                    Standing::Again { is_shut_out } => {
                        if is_shut_out {
                            self.settled(source, protocol, port, Settled::Blocked);
                        }
                        self.give(Order::Answered(prefix, Err(String::new())));
                    }
                    // One of two answers; a ban that has ended meanwhile is let in by each.
                    Standing::InForce { is_news, mend, .. } => {
                        self.give(Order::Answered(prefix, Ok(())));
                        let settled = if is_news { Settled::Blocked } else { Settled::Restored };
                        self.settled(source, protocol, port, settled);
                        if let Some(mend) = mend {
                            let why = format!("{source} is shut out, but not every response worked");
                            self.fault(&why, &mend);
                        }
                    }
                    Standing::GivenUp(why) => {
                        self.give(Order::GiveUp(prefix));
                        self.settled(source, protocol, port, Settled::Failed { why });
                    }
                }
            }
            Done::Undone { prefix, left } => {
                // Its responses may have ended behind its ban, and have named it blocked.
                if let Some(journal) = self.output.journal() {
                    journal.let_in(BTreeSet::from([prefix.address()]), None, clock::now());
                }
                self.undone(prefix, &left);
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
                // It has no doors that could be refused.
                let (order, _) = Order::configure(&self.plan, self.mode.0);
                self.give(order);
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

    /// Answers, or lets the operator wait until the errands have ended: only then is it known what a person has to undo
    /// himself. Nobody else waits with him.
    pub(super) fn reply(&mut self, to: oneshot::Sender<Answer>, answer: Answer) {
        match answer {
            Answer::Outcomes(outcomes) if self.errands.is_some() => {
                let waited_for: HashSet<Prefix> =
                    outcomes.iter().flat_map(Outcome::unbanned).copied().collect();
                let until = Instant::now() + UNDOING;
                Undoing { to, outcomes, waited_for, until, told: 0 }.go_on(&mut self.undoing);
            }
            // The client may have gone away.
            answer => drop(to.send(answer)),
        }
    }

    /// What was done about `prefix` is undone, but for what is `left`.
    fn undone(&mut self, prefix: Prefix, left: &[String]) {
        for mut own in std::mem::take(&mut self.undoing) {
            if own.waited_for.remove(&prefix) && !left.is_empty() {
                own.is_not_over(prefix, &left.join("; "));
            }
            own.go_on(&mut self.undoing);
        }
    }

    /// Who has waited too long is told so.
    fn end_waiting(&mut self) {
        let now = Instant::now();
        for mut own in std::mem::take(&mut self.undoing) {
            if own.until <= now {
                for prefix in std::mem::take(&mut own.waited_for) {
                    own.is_not_over(
                        prefix,
                        "what its responses did is still being undone, or a command of its own still runs; what is \
                         left to you then stands in the system's log",
                    );
                }
            }
            own.go_on(&mut self.undoing);
        }
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
