//! Sets of numbers as the places where membership changes, and how they are made coarser.

/// A set of 32-bit numbers: whether 0 is inside, and then every number from which on it is the other way round.
///
/// A binary search over `changes` answers with one comparison a step, and each change costs one instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ranges {
    pub(super) starts_inside: bool,
    pub(super) changes: Vec<u32>,
}

impl Ranges {
    /// From sorted, disjoint, inclusive ranges that don't touch, within 0 to `last`.
    pub(super) fn new(ranges: impl IntoIterator<Item = (u32, u32)>, last: u32) -> Ranges {
        let mut set = Ranges { starts_inside: false, changes: Vec::new() };
        for (low, high) in ranges {
            if low == 0 {
                set.starts_inside = true;
            } else {
                set.changes.push(low);
            }
            if high < last {
                set.changes.push(high + 1);
            }
        }
        set
    }

    /// From single numbers, in any order.
    pub(super) fn of_numbers(numbers: &[u32]) -> Ranges {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut joined: Vec<(u32, u32)> = Vec::new();
        for number in sorted {
            match joined.last_mut() {
                Some(range) if range.1 + 1 == number => range.1 = number,
                _ => joined.push((number, number)),
            }
        }
        Ranges::new(joined, u32::MAX)
    }

    /// Everything that isn't inside.
    pub(super) fn complement(self) -> Ranges {
        Ranges { starts_inside: !self.starts_inside, ..self }
    }

    /// The smallest sets first lose their gaps: a superset with at most `ceiling` changes.
    pub(super) fn coarsened(self, ceiling: usize) -> Ranges {
        if self.changes.len() <= ceiling {
            return self;
        }
        // A gap that is bounded on both sides begins at an odd change if the set starts outside, else at an even one.
        let first_gap = usize::from(!self.starts_inside);
        let mut gaps: Vec<(u32, usize)> = (first_gap..self.changes.len().saturating_sub(1))
            .step_by(2)
            .map(|index| (self.changes[index + 1] - self.changes[index], index))
            .collect();
        gaps.sort_unstable();
        let surplus = (self.changes.len() - ceiling).div_ceil(2);
        let mut is_kept = vec![true; self.changes.len()];
        for &(_, index) in gaps.iter().take(surplus) {
            is_kept[index] = false;
            is_kept[index + 1] = false;
        }
        let changes = self.changes.iter().zip(is_kept).filter(|(_, keep)| *keep).map(|(change, _)| *change);
        Ranges { starts_inside: self.starts_inside, changes: changes.collect() }
    }
}
