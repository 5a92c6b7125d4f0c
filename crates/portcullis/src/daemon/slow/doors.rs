//! What the slow path does about doors: their errands, their openings in the store.

use std::time::Duration;

use portcullis_core::door::{self, Spending};
use portcullis_core::event::{Mode, Record, What};
use portcullis_sys::clock;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Slow;
use crate::daemon::doorkeeper::{DoorDone, Failed};
use crate::daemon::guard::Order;
use crate::daemon::plan::Plan;
use crate::record::store::Changes;
use crate::record::store::doors::DoorChanges;
use crate::respond::nftables::NotShut;

/// How long the commands of doors that run, or are owed, when the program ends may take.
const LAST_COMMANDS: Duration = Duration::from_secs(10);

/// The mark that is kept lies so far ahead; it is moved each [`MARK_EVERY`].
const MARK_AHEAD: Duration = Duration::from_secs(15);

/// How often the mark is moved.
pub(super) const MARK_EVERY: Duration = Duration::from_secs(5);

/// What helps where the kernel lacks what sparing packets to other hosts takes.
const LOAD: &str = "modprobe nft_fib_inet, then reload";

impl Slow {
    pub(super) fn record(&mut self, record: Record) {
        if let What::TrialOver { mode } = record.what {
            self.end_trial(mode);
        }
        self.note_way(&record);
        self.output.record(record);
    }

    /// Has the fast path go by `plan`, and waits until the kernel has agreed to its doors.
    ///
    /// # Errors
    /// It has not, or nobody answered; the plan before holds on.
    pub(super) async fn configure(&mut self, plan: &mut Plan, mode: Mode) -> Result<(), String> {
        loop {
            let (order, answer) = Order::configure(plan, mode);
            self.give(order);
            match answer.await {
                Ok(Ok(())) => break,
                Ok(Err(NotShut::PerhapsByForwarding(why))) => {
                    let told = plan.doors.shut_for_others(&why);
                    self.fault(&told, LOAD);
                }
                Ok(Err(NotShut::Refused(why))) => return Err(format!("the doors could not be shut: {why}")),
                Err(_) => return Err("the packet loop did not answer".to_owned()),
            }
        }
        if let Some(listing) = &mut self.listing {
            listing.expect_doors(plan.doors.kernel.clone());
        }
        Ok(())
    }

    /// Has the kernel shut the same doors otherwise, since what passes them has changed.
    pub(super) async fn shut_anew(&mut self) {
        let (to, answer) = oneshot::channel();
        self.give(Order::ShutAnew(Box::new(self.plan.doors.clone()), to));
        match answer.await {
            Ok(Ok(())) => {
                if let Some(listing) = &mut self.listing {
                    listing.expect_doors(self.plan.doors.kernel.clone());
                }
            }
            Ok(Err(NotShut::PerhapsByForwarding(why))) => {
                let told = self.plan.doors.shut_for_others(&why);
                self.fault(&told, LOAD);
            }
            Ok(Err(NotShut::Refused(why))) => {
                self.plan.doors.forward_as_before();
                self.fault(
                    &format!("the doors could not be shut otherwise: {why}"),
                    "packets to other hosts pass them, or do not, as before; it is tried again",
                );
            }
            // The packet loop has ended, and so do we.
            Err(_) => {}
        }
    }

    /// An errand at a door has come so far.
    pub(super) fn finish_at_door(&mut self, done: DoorDone) {
        match done {
            DoorDone::Owing { name, address, owes } => {
                // Before anything is started: whatever happens from here on, it will be stopped.
                let debts = [(name, address, Some(owes))];
                self.save_doors(&DoorChanges { debts: &debts, ..DoorChanges::default() });
                let [(name, address, _)] = debts;
                self.keeper.begin_opening(&name, address);
            }
            DoorDone::Begins { name, address, is_end, runs } => {
                self.output.at_door(&name, address, is_end, &runs);
            }
            DoorDone::Ran { name, address, is_end, failed } => {
                for Failed { why, status } in failed {
                    if let (Some(status), Some(journal)) = (status, self.output.knockd()) {
                        journal.status(&name, status, &why);
                        continue;
                    }
                    let why = format!("door {name}, guest {address}: {why}");
                    self.fault(&why, if is_end { "run it by hand, if the door is still open" } else { "" });
                }
                if is_end {
                    let debts = [(name, address, None)];
                    self.save_doors(&DoorChanges { debts: &debts, ..DoorChanges::default() });
                }
            }
            DoorDone::Used { door, packet } => {
                let used = [packet];
                let is_kept = self.save_doors(&DoorChanges { used: &used, ..DoorChanges::default() });
                self.give(Order::Spent(door, Spending::Packet(packet), is_kept));
            }
            DoorDone::Struck { door, which, result } => {
                self.give(Order::Spent(door, Spending::Sequence(which), result.is_ok()));
                if let Err(why) = result {
                    let why = format!(
                        "a sequence could not be struck from its file, so the door stays shut: {why}"
                    );
                    self.fault(&why, "make room, or mend the file's rights");
                }
            }
        }
    }

    /// Up to a moment that lies ahead, packets with a time in them may be seen: said to the store first, and then to the
    /// engine, which opens doors to them without waiting for the disk.
    pub(super) fn move_mark(&mut self) {
        if !self.plan.doors.has_times {
            return;
        }
        let mark = clock::now().wall + MARK_AHEAD;
        self.marked = mark;
        if self.save_doors(&DoorChanges { seen_until: Some(mark), ..DoorChanges::default() }) {
            self.give(Order::Covered(mark));
        }
    }

    /// Moves the mark before its time where the clock was set forward: until then knocks wait.
    pub(super) fn move_mark_after_a_jump(&mut self) {
        if clock::now().wall + MARK_EVERY >= self.marked {
            self.move_mark();
        }
    }

    /// Whether the store has kept changes of openings.
    pub(super) fn save_openings(&mut self, openings: &[door::Change]) -> bool {
        self.save_doors(&DoorChanges { openings, ..DoorChanges::default() })
    }

    fn save_doors(&mut self, doors: &DoorChanges<'_>) -> bool {
        self.save(&Changes { doors: *doors, ..Changes::default() })
    }

    /// What runs may end; what waits is owed, and done at the next start.
    pub(super) async fn end_at_doors(&mut self) {
        let deadline = Instant::now() + LAST_COMMANDS;
        while self.keeper.is_busy() {
            match tokio::time::timeout_at(deadline, self.keeper.next()).await {
                Ok(done) => self.finish_at_door(done),
                Err(_) => break,
            }
        }
        self.save_doors(&DoorChanges { seen_until: Some(clock::now().wall), ..DoorChanges::default() });
    }
}
