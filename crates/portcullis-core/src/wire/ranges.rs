//! Which parts of a fragmented datagram have come.

/// How many gaps are remembered. Fragments in order make one range, reversed ones too; a scattered 64 KiB datagram
/// of Ethernet-size fragments makes at most 22, rarely more than this many.
const MOST: usize = 16;

/// Disjoint ranges of bytes that don't touch each other.
///
/// Ranges beyond the most that is remembered are forgotten at once: then an overlap with them goes unnoticed, and
/// bytes that come twice count twice. That can end a datagram early, never keep one from ending.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ranges {
    ranges: [(u16, u16); MOST],
    count: usize,
    has_forgotten: bool,
}

/// How a new range lies among those that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// All of it had come.
    Known,
    /// Nothing of it had come.
    Apart,
    /// Some of it had come.
    Overlapping,
}

impl Ranges {
    /// The end of the last range, 0 if there is none.
    pub(super) fn end(&self) -> u16 {
        self.iter().map(|(_, end)| end).max().unwrap_or_default()
    }

    /// Whether there were more ranges than are remembered.
    pub(super) fn has_forgotten(&self) -> bool {
        self.has_forgotten
    }

    /// Adds the bytes from `start` to `end`.
    pub(super) fn insert(&mut self, start: u16, end: u16) -> Placement {
        let mut known = 0;
        let mut merged = (start, end);
        let mut after = Ranges { has_forgotten: self.has_forgotten, ..Ranges::default() };
        for (low, high) in self.iter() {
            if low <= end && start <= high {
                known += high.min(end) - low.max(start);
                merged = (merged.0.min(low), merged.1.max(high));
            } else {
                after.push((low, high));
            }
        }
        let new = (end - start) - known;
        if new == 0 {
            return Placement::Known;
        }
        after.push(merged);
        *self = after;
        if known == 0 { Placement::Apart } else { Placement::Overlapping }
    }

    fn iter(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.ranges.iter().copied().take(self.count)
    }

    fn push(&mut self, range: (u16, u16)) {
        if let Some(place) = self.ranges.get_mut(self.count) {
            *place = range;
            self.count += 1;
        } else {
            self.has_forgotten = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_tell_what_is_new() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.insert(16, 24), Placement::Apart);
        assert_eq!(ranges.insert(0, 8), Placement::Apart);
        assert_eq!(ranges.insert(16, 24), Placement::Known);
        assert_eq!(ranges.insert(8, 16), Placement::Apart);
        assert_eq!(ranges.count, 1);
        assert_eq!(ranges.insert(4, 20), Placement::Known);
        assert_eq!(ranges.insert(16, 40), Placement::Overlapping);
        assert_eq!(ranges.end(), 40);
    }

    #[test]
    fn more_gaps_than_can_be_remembered_do_no_harm() {
        let mut ranges = Ranges::default();
        for start in (0..1000).map(|index| index * 16) {
            assert_eq!(ranges.insert(start, start + 8), Placement::Apart);
        }
        assert!(ranges.has_forgotten());
        assert_eq!(ranges.count, MOST);
        assert_eq!(ranges.insert(0, 65_535), Placement::Overlapping);
    }
}
