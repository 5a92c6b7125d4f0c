//! What happened at doors lately, as the lines that were told: "why is it still shut?". Bounded, and kept by the store.

use std::collections::VecDeque;

use portcullis_core::event::{Record, What};
use portcullis_core::time::Wall;

use crate::record::store::doors::EVENTS_KEPT;
use crate::record::{LogEvent, json};

/// Lines that wait for the store at most; of more, the oldest are not kept.
const WAITING: usize = 4096;

/// The trail.
pub struct Trail {
    lines: VecDeque<(Wall, String)>,
    unsaved: VecDeque<(Wall, String)>,
}

impl Trail {
    /// What an earlier run left, oldest first.
    #[must_use]
    pub fn new(lines: Vec<(Wall, String)>) -> Trail {
        Trail { lines: lines.into(), unsaved: VecDeque::new() }
    }

    /// Takes a record, if it is of a door.
    pub fn take(&mut self, record: &Record) {
        if matches!(record.what, What::Door { .. }) {
            self.keep(&LogEvent::from(record.clone()));
        }
    }

    /// Takes what was told of a door.
    pub fn keep(&mut self, event: &LogEvent) {
        let line = (event.time, json::text(&json::Line::from(event)));
        if self.lines.len() >= EVENTS_KEPT as usize {
            self.lines.pop_front();
        }
        self.lines.push_back(line.clone());
        if self.unsaved.len() >= WAITING {
            self.unsaved.pop_front();
        }
        self.unsaved.push_back(line);
    }

    /// The latest lines since `since`, oldest first, at most `limit`.
    #[must_use]
    pub fn since(&self, since: Wall, limit: usize) -> Vec<String> {
        let recent = self.lines.iter().rev().take_while(|(time, _)| *time >= since).take(limit);
        let mut lines: Vec<String> = recent.map(|(_, line)| line.clone()).collect();
        lines.reverse();
        lines
    }

    /// What the store lacks; it counts as taken.
    pub fn unsaved(&mut self) -> Vec<(Wall, String)> {
        self.unsaved.drain(..).collect()
    }

    /// The store has not taken these.
    pub fn not_saved(&mut self, lines: Vec<(Wall, String)>) {
        for line in lines.into_iter().rev().take(WAITING.saturating_sub(self.unsaved.len())) {
            self.unsaved.push_front(line);
        }
    }
}
