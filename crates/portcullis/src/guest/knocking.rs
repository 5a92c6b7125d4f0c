//! Which steps are to be sent: those of this moment, or the next unused ones.

use std::time::Duration;

use portcullis_core::door::rotating::Shape;
use portcullis_core::net::Protocol;
use portcullis_core::time::Now;

use crate::config::doors::Flags;
use crate::keys::{Fault, Place, one_time};

/// A time step that ends sooner is waited out: the knock would arrive in the next, and with a clock that is a little
/// slow, in one that the host does not take any more.
const LATE: Duration = Duration::from_secs(1);

/// The number of the time step to knock by. If this one is about to end, `wait` is told to wait until the next.
pub fn step_to_use(shape: &Shape, mut now: impl FnMut() -> Now, mut wait: impl FnMut(Duration)) -> u64 {
    let period = Duration::from_secs(shape.period());
    loop {
        let wall = now().wall;
        let step = shape.time_step(wall);
        let next = u32::try_from(step + 1).ok().and_then(|next| period.checked_mul(next));
        match next.and_then(|next| next.checked_sub(wall.0)) {
            Some(left) if left < LATE => wait(left),
            _ => return step,
        }
    }
}

/// Takes the first unused sequence of a file and strikes it, and only then gives it away: half sent and recorded, it must
/// not be sent again. Also how many are left.
///
/// # Errors
/// There is none left, or it can't be struck; nothing may be sent then.
pub fn spend_next(place: &Place) -> Result<(Vec<(Protocol, u16)>, usize), Fault> {
    let file = one_time::read(place, Flags::FIRST, Duration::from_secs(10))?;
    let Some((number, sequence)) = file.sequences.first() else {
        return Err(Fault {
            path: place.path().to_owned(),
            line: None,
            message: "no unused sequence is left in it".to_owned(),
            mend: "make a new file with `portcullis key one-time`, and copy it to both sides".to_owned(),
        });
    };
    file.strike(*number)?;
    let steps = sequence.steps().iter().map(|step| (step.protocol, step.port)).collect();
    Ok((steps, file.sequences.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::time::{Mono, Wall};

    #[test]
    fn a_step_that_is_about_to_end_is_waited_out() {
        let shape = Shape::default();
        for (at, waited, step) in [
            (Duration::from_secs(60), None, 2),
            (Duration::from_millis(89_000), None, 2),
            (Duration::from_millis(89_001), Some(Duration::from_millis(999)), 3),
            (Duration::from_millis(89_999), Some(Duration::from_millis(1)), 3),
        ] {
            let (clock, mut said) = (std::cell::Cell::new(at), None);
            let now = || Now { mono: Mono::default(), wall: Wall(clock.get()) };
            let used = step_to_use(&shape, now, |wait| {
                said = Some(wait);
                clock.set(clock.get() + wait);
            });
            assert_eq!((used, said), (step, waited), "{at:?}");
        }
    }

    #[test]
    fn each_sequence_is_given_away_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        crate::keys::make::file(&path, "# x\n 7000,8000:udp\n 7100\n").unwrap();
        let place = Place::closed(&path);
        let first = spend_next(&place).unwrap();
        assert_eq!(first, (vec![(Protocol::Tcp, 7000), (Protocol::Udp, 8000)], 1));
        assert_eq!(spend_next(&place).unwrap(), (vec![(Protocol::Tcp, 7100)], 0));
        assert!(spend_next(&place).unwrap_err().message.contains("no unused sequence"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# x\n#7000,8000:udp\n#7100\n");
    }
}
