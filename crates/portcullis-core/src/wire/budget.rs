//! A ceiling on work that strangers can cause: so much a second, and as much in one burst.

use crate::time::Mono;

const SECOND: u64 = 1_000_000_000;

/// What is left to spend, counted in billionths of one piece of work.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    /// When it was last looked at; nothing before the first time.
    looked: Option<Mono>,
    left: u64,
}

impl Budget {
    /// Takes one piece of work out of it, if there is one. A clock that steps back neither fills nor empties it.
    pub(super) fn spend(&mut self, now: Mono, per_second: u32) -> bool {
        let full = u64::from(per_second) * SECOND;
        self.left = match self.looked {
            None => full,
            Some(looked) => {
                let elapsed = now.since(looked).as_nanos().min(u128::from(SECOND)) as u64;
                (self.left + elapsed * u64::from(per_second)).min(full)
            }
        };
        self.looked = Some(now);
        match self.left.checked_sub(SECOND) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_one_second_of_work_and_comes_back_with_time() {
        let mut budget = Budget::default();
        let mut now = Mono(Duration::from_secs(1000));
        let spent = |budget: &mut Budget, now| (0..1000).filter(|_| budget.spend(now, 10)).count();
        assert_eq!(spent(&mut budget, now), 10);
        now = now + Duration::from_millis(300);
        assert_eq!(spent(&mut budget, now), 3);
        now = now - Duration::from_secs(500);
        assert_eq!(spent(&mut budget, now), 0);
        now = now + Duration::from_millis(100);
        assert_eq!(spent(&mut budget, now), 1, "a step back does not stop it for 500 s");
        now = now + Duration::from_secs(3600);
        assert_eq!(spent(&mut budget, now), 10);
        assert!(!Budget::default().spend(now, 0));
        assert!(Budget::default().spend(now, u32::MAX));
    }
}
