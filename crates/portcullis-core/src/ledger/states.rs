//! How many bans are in each state, without looking at each.

use crate::event::BanState;

/// The counts.
#[derive(Default)]
pub(super) struct States([usize; 4]);

impl States {
    pub(super) fn count(&self, state: BanState) -> usize {
        self.0[place(state)]
    }

    pub(super) fn add(&mut self, state: BanState) {
        self.0[place(state)] += 1;
    }

    pub(super) fn remove(&mut self, state: BanState) {
        self.0[place(state)] -= 1;
    }

    pub(super) fn change(&mut self, before: BanState, after: BanState) {
        self.remove(before);
        self.add(after);
    }
}

fn place(state: BanState) -> usize {
    match state {
        BanState::Pending => 0,
        BanState::InForce => 1,
        BanState::Unsaved => 2,
        BanState::Failed => 3,
    }
}
