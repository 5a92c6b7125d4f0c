//! The rotating sequences of now and of the time steps around it: which are listened for, and which have been used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::rotating::{KEYS, derive};
use super::touched::Port;
use super::{DoorId, Name, Rotating, User, Why};
use crate::time::Wall;

/// With few keys, knocks of so many time steps either way are recognised, only to say that a clock is wrong.
const TOLD: u64 = 10;

/// So many keys are few.
const FEW: usize = 16;

/// One sequence: of one user for one time step.
pub(crate) struct Turn {
    pub(crate) door: Name,
    pub(crate) user: User,
    pub(crate) time_step: u64,
    pub(crate) steps: Vec<Port>,
    pub(crate) window: Duration,
}

/// What a whole sequence is good for.
pub(crate) enum Good {
    /// It opens now.
    Now,
    /// Its time step begins in this time by our clock, and it opens then: so whatever has opened a door carries a time
    /// before any later start of the program, which refuses it for that.
    In(Duration),
    /// It opens nothing.
    Refused(Why),
}

/// All sequences of one door.
pub(crate) struct Turns {
    pub(crate) id: DoorId,
    pub(crate) name: Name,
    lock: Rotating,
    /// An attempt with more other packets than this is taken for a scan; `None`: as with a sequence.
    pub(crate) others: Option<u16>,
    /// The time step that the table is for.
    current: Option<u64>,
    all: Vec<Arc<Turn>>,
    by_port: BTreeMap<Port, Vec<Arc<Turn>>>,
    /// Used already, and by whom; none before `lowest`.
    used: BTreeMap<(User, u64), IpAddr>,
    /// Time steps before this one are over for good, even if the clock is set back.
    lowest: u64,
}

impl Turns {
    pub(crate) fn new(id: DoorId, name: Name, lock: Rotating) -> Turns {
        Turns {
            id,
            name,
            others: lock.shape.others(),
            lock,
            current: None,
            all: Vec::new(),
            by_port: BTreeMap::new(),
            used: BTreeMap::new(),
            lowest: 0,
        }
    }

    /// Takes over what the former configuration's door of this name has seen.
    pub(crate) fn inherit(&mut self, before: &Turns) {
        // Another period counts other steps; what was used is refused by time instead.
        if before.lock.shape.period() == self.lock.shape.period() {
            self.used.clone_from(&before.used);
            self.lowest = before.lowest;
        } else if let Some((_, step)) = before.used.keys().max_by_key(|(_, step)| *step) {
            let over = step.saturating_add(1).saturating_mul(before.lock.shape.period());
            self.lowest = over.div_ceil(self.lock.shape.period());
        }
    }

    /// The sequences that have this port as a step.
    pub(crate) fn at(&mut self, now: Wall, port: Port) -> &[Arc<Turn>] {
        self.refresh(now);
        self.by_port.get(&port).map_or(&[], Vec::as_slice)
    }

    /// Whether this port is a step of one of the same user's sequences.
    pub(crate) fn is_of(&self, user: &User, port: Port) -> bool {
        self.by_port.get(&port).is_some_and(|turns| turns.iter().any(|turn| turn.user == *user))
    }

    /// Whether this port might be a step.
    pub(crate) fn is_choice(&self, (protocol, port): Port) -> bool {
        self.lock.shape.is_choice(protocol, port)
    }

    /// What a sequence would be good for now.
    pub(crate) fn judge(&self, now: Wall, floor: Wall, turn: &Turn) -> Good {
        let current = self.lock.shape.time_step(now);
        let begins = self.begins(turn);
        if turn.time_step.abs_diff(current) > u64::from(self.lock.drift) {
            Good::Refused(Why::Clock)
        } else if self.used.contains_key(&(turn.user.clone(), turn.time_step)) {
            Good::Refused(Why::Replayed)
        } else if begins < floor {
            Good::Refused(Why::BeforeStart)
        } else if turn.time_step < self.lowest {
            Good::Refused(Why::Clock)
        } else if begins > now {
            Good::In(begins.since(now))
        } else {
            Good::Now
        }
    }

    /// When its time step begins.
    pub(crate) fn begins(&self, turn: &Turn) -> Wall {
        Wall(Duration::from_secs(turn.time_step.saturating_mul(self.lock.shape.period())))
    }

    /// Whether its time is over, so that it need not be waited for any longer.
    pub(crate) fn is_over(&self, now: Wall, turn: &Turn) -> bool {
        turn.time_step + u64::from(self.lock.drift) < self.lock.shape.time_step(now)
    }

    /// It is used up, by `source`.
    pub(crate) fn spend(&mut self, turn: &Turn, source: IpAddr) {
        self.used.insert((turn.user.clone(), turn.time_step), source);
    }

    /// Whether a whole sequence that is refused is the knock of a friend all the same, as far as can be told: made before
    /// the start, or sent twice by who has used it. (Whoever sends it as him can as well send anything else as him.)
    pub(crate) fn is_forgiven(&self, why: Why, turn: &Turn, source: IpAddr) -> bool {
        match why {
            Why::BeforeStart => true,
            Why::Replayed => self.used.get(&(turn.user.clone(), turn.time_step)) == Some(&source),
            _ => false,
        }
    }

    /// Sender's clock minus ours, as far as time steps tell it, in seconds.
    pub(crate) fn clock_difference(&self, now: Wall, turn: &Turn) -> i64 {
        let current = self.lock.shape.time_step(now);
        let steps = i64::try_from(turn.time_step.abs_diff(current)).unwrap_or(i64::MAX);
        let steps = if turn.time_step < current { -steps } else { steps };
        steps.saturating_mul(self.lock.shape.period() as i64)
    }

    /// Makes the table be for now.
    fn refresh(&mut self, now: Wall) {
        let current = self.lock.shape.time_step(now);
        if self.current == Some(current) {
            return;
        }
        self.current = Some(current);
        let drift = u64::from(self.lock.drift);
        self.lowest = self.lowest.max(current.saturating_sub(drift));
        self.used.retain(|(_, step), _| *step >= self.lowest);
        let reach = if self.lock.keys.len() <= FEW { drift.max(TOLD) } else { drift };
        let steps = current.saturating_sub(reach)..=current.saturating_add(reach);
        self.all.retain(|turn| steps.contains(&turn.time_step));
        let known: BTreeSet<u64> = self.all.iter().map(|turn| turn.time_step).collect();
        for time_step in steps.filter(|step| !known.contains(step)) {
            for (user, key) in self.lock.keys.iter().take(KEYS) {
                self.all.push(Arc::new(Turn {
                    door: self.name.clone(),
                    user: user.clone(),
                    time_step,
                    steps: derive(key, &self.name, self.lock.host, &self.lock.shape, time_step),
                    window: self.lock.window,
                }));
            }
        }
        self.by_port.clear();
        for turn in &self.all {
            for port in &turn.steps {
                self.by_port.entry(*port).or_default().push(turn.clone());
            }
        }
    }
}
