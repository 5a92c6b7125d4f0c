//! What it costs to have it run while nothing happens.

use std::time::Duration;

use super::guard::{Guard, Memory, State, cpu_time};
use super::table::{Line, mebibytes, time};
use super::{Bench, lab};

/// Twice as long as anything that it does by the clock while nothing happens.
const LONG: Duration = Duration::from_secs(60);

/// A guard that nobody bothers.
pub fn measure(bench: &Bench) -> Result<Vec<Line>, String> {
    let (lab, state) = (lab()?, State::new("idle")?);
    let guard = Guard::start(&lab.victim, &bench.program, &state, "--enforce");
    let before = cpu_time(guard.id())?;
    std::thread::sleep(LONG);
    let used = cpu_time(guard.id())? - before;
    let memory = Memory::of(guard.id())?;
    guard.stop();
    let processor = Line::told("CPU time in an idle minute", time(used));
    let resident = mebibytes(memory.besides_ring);
    let what = format!("resident memory while idle, besides the one ring of {}", mebibytes(memory.ring));
    Ok(vec![
        processor.target("none to speak of", used <= Duration::from_millis(60)),
        Line::told(what, resident).target("16 MB", memory.besides_ring <= 16 << 20),
    ])
}
