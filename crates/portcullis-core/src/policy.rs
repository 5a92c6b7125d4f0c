//! What may be done to whom; only this room can build a [`Block`].

use std::time::Duration;

use crate::net::Prefix;

/// The right to block one prefix: made by policy alone, so that nobody passes the allow list by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    prefix: Prefix,
    remaining: Option<Duration>,
}

impl Block {
    /// Whom.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// How long from now; `None` is for ever.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.remaining
    }
}
