//! What a million events take: room, and the time that the verbs need with them, each as a person starts it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::guard::State;
use super::table::{Line, median, promised, time};
use super::{Bench, output};
use crate::program;

const EVENTS: &str = "1000000";

/// Builds what makes the events, so that nothing is built as root later.
///
/// # Errors
/// If it doesn't build.
pub fn build() -> Result<(), String> {
    let words = ["build", "--quiet", "--release", "--package", "portcullis", "--example", "events"];
    program::succeed(&mut program::cargo(&words))
}

/// The events, and questions about them.
pub fn measure(bench: &Bench) -> Result<Vec<Line>, String> {
    let state = State::new("store")?;
    let file = state.file("portcullis-events.db");
    let example = || Command::new(testbed::target_directory().join("release/examples/events"));
    let mut lines = promised(&output(example().arg("make").arg(&file).arg(EVENTS))?)?;
    let verb = |words: &[&str]| run(bench, &state.file(""), words);
    // Nothing is asked for that is not there, and the other way round.
    for (what, words, target) in [
        ("one start of the program without events", &["events", "--since", "1s"][..], None),
        ("`events --source` of a stranger who came once", &["events", "--source", "11.0.9.9"], Some(50)),
        (
            "`events --source` of one who came every hour, all of it",
            &["events", "--source", "11.0.0.0"],
            None,
        ),
        (
            "`events --source` of a /16, the latest 100",
            &["events", "--source", "11.1.0.0/16", "--limit", "100"],
            Some(50),
        ),
        (
            "`events --port` of a port that everybody wants, the latest 100",
            &["events", "--port", "22", "--limit", "100"],
            Some(50),
        ),
        (
            "`events --port` of a seldom one, the latest 100",
            &["events", "--port", "31337", "--limit", "100"],
            Some(50),
        ),
        (
            "`events --kind xmas`, one in 1000, the latest 100",
            &["events", "--kind", "xmas", "--limit", "100"],
            Some(50),
        ),
        (
            "`events --event knock`, one in 200, the latest 100",
            &["events", "--event", "knock", "--limit", "100"],
            Some(50),
        ),
        (
            "`events` of one hour in 30 days",
            &["events", "--since", "2026-11-10T00:00:00Z", "--until", "2026-11-10T01:00:00Z"],
            None,
        ),
        ("`report` of all of them", &["report"], Some(2000)),
        ("`report --html` of all of them", &["report", "--html", "-"], Some(2000)),
    ] {
        let has_since = words.contains(&"--since");
        let since = if has_since { &[][..] } else { &["--since", "2026-01-01"] };
        let words = [words, since].concat();
        let mut times = Vec::new();
        let mut size = 0;
        for _ in 0..bench.runs(5) {
            let start = Instant::now();
            size = verb(&words)?;
            times.push(start.elapsed());
        }
        let line =
            Line::told(format!("{what}, of {EVENTS}"), format!("{} ({size} lines)", time(median(&times))));
        lines.push(match target {
            Some(limit) => {
                let limit = Duration::from_millis(limit);
                line.target(&time(limit), median(&times) <= limit)
            }
            None => line,
        });
    }
    lines.extend(promised(&output(example().arg("forget").arg(&file))?)?);
    Ok(lines)
}

/// How many lines it printed.
fn run(bench: &Bench, state: &Path, words: &[&str]) -> Result<usize, String> {
    let mut command = Command::new(&bench.program);
    command.args(words).arg("--state").arg(state);
    Ok(output(&mut command)?.lines().count())
}
