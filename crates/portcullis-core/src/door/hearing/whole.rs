//! Steps that stand, and attempts that have become whole by them.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Early, Hearing, Knock, LOOK_AGAIN, Outcome, WATCHED};
use crate::door::attempts::{Attempt, Goal, Identity, Knocker, Mark};
use crate::door::turns::Good;
use crate::door::ways::Leads;
use crate::door::{Door, DoorId, Why};
use crate::time::Now;

impl Hearing {
    /// Steps that stand: the packet is held by their attempts, and whatever is whole comes out. Whether it is excused.
    pub(super) fn advance(
        &mut self,
        now: Now,
        doors: &[Door],
        knock: &Knock,
        knocker: &mut Knocker,
        identity: Identity,
        standing: Vec<Attempt>,
    ) -> bool {
        let source = knock.source;
        let mut number = None;
        let mut is_excused = false;
        let mut whole = Vec::new();
        for mut attempt in standing {
            let (step, of) = (attempt.right, attempt.goal.length());
            let Some(door) = self.door(&attempt.goal) else { continue };
            // Who is no guest is followed only to say so. A sequence of another time excuses nothing; it is followed only to say why. What was used, or may have
            // been, is held until it is known whose knock it is ([`Turns::is_forgiven`]).
            let good = match &attempt.goal {
                Goal::Way(_) => Good::Now,
                Goal::Turn(turn) => self.good(now, turn),
            };
            let is_refused = matches!(good, Good::Refused(_));
            let may_be_held =
                matches!(good, Good::Now | Good::In(_) | Good::Refused(Why::BeforeStart | Why::Replayed));
            let is_guest = self.is_guest(doors, source, &attempt.goal);
            if is_guest && may_be_held {
                let number = *number
                    .get_or_insert_with(|| knocker.keep(now, knock.contact, Mark { door, step }, identity));
                attempt.held.push(number);
                is_excused = true;
            }
            if is_guest && !is_refused {
                self.outcomes.push_back(Outcome::Step { door, source, step, of });
            }
            if step == of {
                whole.push((is_refused, door, attempt));
            } else {
                knocker.attempts.push(attempt);
            }
        }
        // What opens a door forgives its packets before they count for what opens none.
        whole.sort_by_key(|(is_refused, ..)| *is_refused);
        for (_, door, attempt) in whole {
            if self.is_guest(doors, source, &attempt.goal) {
                self.succeed(now, source, door, knocker, &attempt);
            } else {
                self.refuse(door, source, &attempt);
            }
        }
        is_excused
    }

    /// An attempt is whole, and its source no guest.
    fn refuse(&mut self, door: DoorId, source: IpAddr, attempt: &Attempt) {
        let of = attempt.goal.length();
        if let Goal::Turn(turn) = &attempt.goal
            && let Some(turns) = self.turns.iter_mut().find(|turns| turns.id == door)
        {
            // Whoever listened in shall not come with it from a guest's address.
            turns.spend(turn, source);
        }
        let (why, user) = (Why::NotAGuest, attempt.goal.user().cloned());
        self.outcomes.push_back(Outcome::Failed { door, source, step: of, of, why, user, clock: None });
    }

    /// An attempt is whole.
    fn succeed(&mut self, now: Now, source: IpAddr, door: DoorId, knocker: &mut Knocker, attempt: &Attempt) {
        let of = attempt.goal.length();
        let (leads, user, clock) = match &attempt.goal {
            Goal::Way(way) => (way.leads, None, None),
            Goal::Turn(turn) => {
                let good = self.good(now, turn);
                let Some(turns) = self.turns.iter().find(|turns| turns.id == door) else { return };
                let user = Some(turn.user.clone());
                let clock = Some(turns.clock_difference(now.wall, turn));
                let wait = match good {
                    Good::Refused(why) => {
                        let is_forgiven = turns.is_forgiven(why, turn, source);
                        let step = of;
                        self.outcomes.push_back(Outcome::Failed { door, source, step, of, why, user, clock });
                        if is_forgiven {
                            knocker.forgive(&attempt.held);
                            self.touched.excuse(source, |port| turn.steps.contains(&port));
                        } else {
                            let unheld = knocker.take_unheld();
                            self.count_after_all(source, unheld);
                        }
                        return;
                    }
                    Good::In(wait) => Some(wait),
                    Good::Now if self.is_covered(turns, turn) => None,
                    Good::Now => Some(LOOK_AGAIN),
                };
                if let Some(turns) = self.turns.iter_mut().find(|turns| turns.id == door) {
                    turns.spend(turn, source);
                }
                if let Some(wait) = wait {
                    let (at, door) = (now.mono + wait, turn.door.clone());
                    self.early.push(Early { at, door, source, turn: turn.clone() });
                    knocker.forgive(&attempt.held);
                    self.touched.excuse(source, |port| turn.steps.contains(&port));
                    return;
                }
                (Leads::Open, user, clock)
            }
        };
        knocker.forgive(&attempt.held);
        match &attempt.goal {
            Goal::Way(way) => {
                self.touched.excuse(source, |port| way.has(port));
                if way.refuses_scans() && way.leads != Leads::Close {
                    // One is enough: what he touches tells the same of all.
                    knocker.attempts.retain(|own| {
                        !own.is_done || !matches!(&own.goal, Goal::Way(own) if Arc::ptr_eq(own, way))
                    });
                    knocker.attempts.push(Attempt {
                        goal: attempt.goal.clone(),
                        ends: now.mono + WATCHED,
                        is_done: true,
                        held: Vec::new(),
                        ..*attempt
                    });
                }
            }
            Goal::Turn(turn) => self.touched.excuse(source, |port| turn.steps.contains(&port)),
        }
        self.guessing.forget(source);
        self.outcomes.push_back(Outcome::Right { door, source, of, leads, user, clock });
    }
}
