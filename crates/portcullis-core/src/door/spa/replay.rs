//! What was seen, so that nothing opens twice.
//!
//! Remembered is what a packet says, not its letters: a packet wrapped anew is the same. An entry is forgotten only
//! when its time lies outside the window, and then nothing of that time or before it is taken any more, so that a
//! clock which is set back brings no old packet to life. That rule refuses nobody in vain: it reaches only to the
//! times of packets that really came.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::message::Message;
use super::refusal::Refusal;
use crate::time::Wall;

/// Packets of one user that are remembered at a time. With the usual window that is one a second; who needs more is
/// refused, and nobody else: 256 entries of 40 bytes a user are the whole memory.
pub const ENTRIES_A_USER: usize = 256;

/// One packet that was seen; what the store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// When the packet says that it was made, in seconds since 1970.
    pub time: u64,
    /// 16 bytes of a digest over what it says. They tell nothing of keys.
    pub mark: [u8; 16],
}

impl Entry {
    /// The entry of a message.
    pub(super) fn of(message: &Message) -> Result<Entry, Refusal> {
        let digest = Sha256::digest(message.to_text()?.as_bytes());
        let mut mark = [0; 16];
        mark.copy_from_slice(&digest[..16]);
        Ok(Entry { time: message.time, mark })
    }
}

/// The memory.
pub(super) struct Seen {
    window: Duration,
    /// With the user who sent it; those that the store gave back are nobody's.
    entries: BTreeMap<Entry, Option<usize>>,
    of_user: Vec<usize>,
    unsaved: Vec<Entry>,
    floor: Wall,
}

impl Seen {
    pub(super) fn new(window: Duration, users: usize) -> Seen {
        Seen {
            window,
            entries: BTreeMap::new(),
            of_user: vec![0; users],
            unsaved: Vec::new(),
            floor: Wall::default(),
        }
    }

    pub(super) fn floor(&self) -> Wall {
        self.floor
    }

    pub(super) fn raise_floor(&mut self, floor: Wall) {
        self.floor = self.floor.max(floor);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.entries.keys().copied()
    }

    pub(super) fn take_unsaved(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.unsaved)
    }

    /// Gives back what the store kept. Of more than there is room for the newest stay, and the floor covers the rest.
    pub(super) fn restore(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let room = ENTRIES_A_USER * self.of_user.len();
        let mut restored = 0;
        for entry in entries {
            if self.entries.insert(entry, None).is_none() {
                restored += 1;
            }
            if restored > room {
                self.forget_first();
                restored -= 1;
            }
        }
    }

    /// Takes a packet that is genuine: whether it may open, at this time and for the first time.
    pub(super) fn admit(&mut self, now: Wall, user: usize, entry: Entry) -> Result<(), Refusal> {
        if self.entries.contains_key(&entry) {
            return Err(Refusal::Replayed);
        }
        let made = Wall(Duration::from_secs(entry.time));
        // The seconds are whole in the packet, so the comparison is in whole seconds too.
        let clock = Wall(Duration::from_secs(now.0.as_secs()));
        if clock.since(made) > self.window {
            return Err(Refusal::TooOld);
        }
        if made.since(clock) > self.window {
            return Err(Refusal::TooNew);
        }
        if made < self.floor {
            return Err(Refusal::BeforeFloor);
        }
        while let Some((oldest, _)) = self.entries.first_key_value()
            && clock.since(Wall(Duration::from_secs(oldest.time))) > self.window
        {
            self.forget_first();
        }
        match self.of_user.get_mut(user) {
            Some(count) if *count < ENTRIES_A_USER => *count += 1,
            _ => return Err(Refusal::TooMany),
        }
        self.entries.insert(entry, Some(user));
        // Nobody may ever fetch them; what has been forgotten since needs no saving.
        if self.unsaved.len() >= ENTRIES_A_USER * self.of_user.len() {
            let entries = &self.entries;
            self.unsaved.retain(|entry| entries.contains_key(entry));
        }
        self.unsaved.push(entry);
        Ok(())
    }

    fn forget_first(&mut self) {
        let Some((entry, user)) = self.entries.pop_first() else { return };
        if let Some(count) = user.and_then(|user| self.of_user.get_mut(user)) {
            *count = count.saturating_sub(1);
        }
        self.raise_floor(Wall(Duration::from_secs(entry.time.saturating_add(1))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(120);

    fn at(seconds: u64) -> Wall {
        Wall(Duration::from_secs(seconds))
    }

    fn entry(time: u64, mark: u8) -> Entry {
        Entry { time, mark: [mark; 16] }
    }

    #[test]
    fn the_window_is_the_same_to_both_sides() {
        for (now, wanted) in [
            (1000, Ok(())),
            (1120, Ok(())),
            (1121, Err(Refusal::TooOld)),
            (880, Ok(())),
            (879, Err(Refusal::TooNew)),
        ] {
            let mut seen = Seen::new(WINDOW, 1);
            assert_eq!(seen.admit(at(now), 0, entry(1000, 1)), wanted, "{now}");
        }
        let mut seen = Seen::new(WINDOW, 1);
        assert_eq!(seen.admit(Wall(Duration::from_millis(1_120_900)), 0, entry(1000, 1)), Ok(()));
    }

    #[test]
    fn what_is_forgotten_never_comes_back_even_with_the_clock_set_back() {
        let mut seen = Seen::new(WINDOW, 1);
        assert_eq!(seen.admit(at(1000), 0, entry(1000, 1)), Ok(()));
        assert_eq!(seen.admit(at(1120), 0, entry(1120, 2)), Ok(()));
        assert_eq!(seen.len(), 2);
        assert_eq!(seen.admit(at(1121), 0, entry(1121, 3)), Ok(()));
        assert_eq!(seen.len(), 2, "the first is too old to be taken, and forgotten");
        assert_eq!(seen.admit(at(1000), 0, entry(1000, 1)), Err(Refusal::BeforeFloor));
        assert_eq!(seen.admit(at(1000), 0, entry(1120, 2)), Err(Refusal::Replayed));
        assert_eq!(seen.admit(at(1000), 0, entry(1001, 4)), Ok(()), "a new one opens at the time set back");
    }

    #[test]
    fn a_user_who_sends_too_much_harms_nobody_else() {
        let mut seen = Seen::new(WINDOW, 2);
        for time in 0..ENTRIES_A_USER as u64 {
            assert_eq!(seen.admit(at(1000), 0, entry(900 + time % 200, time as u8)), Ok(()));
        }
        assert_eq!(seen.admit(at(1000), 0, entry(1001, 0)), Err(Refusal::TooMany));
        assert_eq!(seen.admit(at(1000), 1, entry(1001, 1)), Ok(()));
        assert_eq!(seen.len(), ENTRIES_A_USER + 1);
        assert_eq!(seen.admit(at(1100), 0, entry(1100, 0)), Ok(()), "room again when some are too old");
    }

    #[test]
    fn what_the_store_gives_back_is_seen_and_what_finds_no_room_is_too_old() {
        let mut seen = Seen::new(WINDOW, 1);
        seen.restore((0..300).map(|time| entry(1000 + time, 1)));
        assert_eq!(seen.len(), ENTRIES_A_USER);
        assert_eq!(seen.admit(at(1100), 0, entry(1100, 1)), Err(Refusal::Replayed));
        assert_eq!(seen.admit(at(1040), 0, entry(1043, 1)), Err(Refusal::BeforeFloor));
        assert!(seen.take_unsaved().is_empty());
        assert_eq!(seen.admit(at(1100), 0, entry(1100, 2)), Ok(()));
        assert_eq!(seen.take_unsaved(), [entry(1100, 2)]);
        assert!(seen.take_unsaved().is_empty());
    }

    #[test]
    fn unsaved_entries_that_nobody_fetches_do_not_pile_up() {
        let mut seen = Seen::new(WINDOW, 1);
        for time in 0..10_000 {
            assert_eq!(seen.admit(at(1000 + time), 0, entry(1000 + time, 1)), Ok(()));
        }
        assert!(seen.take_unsaved().len() <= ENTRIES_A_USER);
    }
}
