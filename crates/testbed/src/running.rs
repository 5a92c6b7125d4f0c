//! A program that runs beside the test: its lines as they come, its end on drop.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait_until;

/// A child process that is killed, and waited for, when this value is dropped. Only this one: what it has started
/// itself is its own affair.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    heard: Arc<Heard>,
    readers: Vec<JoinHandle<()>>,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A line that a program printed, and when it was read.
#[derive(Debug, Clone)]
pub struct Line {
    /// Where it came from.
    pub stream: Stream,
    /// The line without its end; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// When it was read, which is a little after it was written.
    pub at: Instant,
}

#[derive(Debug, Default)]
struct Heard {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    /// Streams that have not ended.
    open: usize,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A claim that panics (an assertion in it) poisons the lock; the lines are whole all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Starts the command with both outputs collected. Standard input is what the command says.
    ///
    /// # Panics
    /// If it can't be started.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let name = describe(command);
        let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|error| panic!("{name}: {error}"));
        let heard = Arc::new(Heard::default());
        heard.lock().open = 2;
        let out = listen(child.stdout.take().expect("it was asked for above"), Stream::Out, &heard);
        let err = listen(child.stderr.take().expect("it was asked for above"), Stream::Err, &heard);
        Self { child, name, heard, readers: vec![out, err] }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, once, if the command was given `Stdio::piped()`.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for a line, of either stream, for which the claim holds; also one that came earlier.
    ///
    /// # Panics
    /// With everything it printed, after `within` or as soon as it has ended without such a line.
    #[track_caller]
    pub fn wait_for_line(&mut self, within: Duration, claim: impl FnMut(&str) -> bool) -> Line {
        self.wait_for_line_after(0, within, claim)
    }

    /// The same, passing over the first `passed` lines; with [`Running::count`] from before an event: a line that
    /// came after it.
    ///
    /// # Panics
    /// As [`Running::wait_for_line`].
    #[track_caller]
    pub fn wait_for_line_after(
        &mut self,
        passed: usize,
        within: Duration,
        mut claim: impl FnMut(&str) -> bool,
    ) -> Line {
        let deadline = Instant::now() + within;
        let mut next = passed;
        let mut state = self.heard.lock();
        loop {
            while let Some(line) = state.lines.get(next) {
                if claim(&line.text) {
                    return line.clone();
                }
                next += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.open == 0 || left.is_zero() {
                let why = if state.open == 0 { "it ended".to_owned() } else { format!("waited {within:?}") };
                let printed = print(&state.lines);
                drop(state);
                panic!("{}: {why} without the line that was waited for; it printed:\n{printed}", self.name);
            }
            state = self.heard.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many lines it has printed so far.
    pub fn count(&self) -> usize {
        self.heard.lock().lines.len()
    }

    /// Everything that it has printed so far, in the order of reading.
    pub fn lines(&self) -> Vec<Line> {
        self.heard.lock().lines.clone()
    }

    /// What it has printed so far on one stream.
    pub fn text(&self, stream: Stream) -> String {
        let state = self.heard.lock();
        state
            .lines
            .iter()
            .filter(|line| line.stream == stream)
            .map(|line| format!("{}\n", line.text))
            .collect()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it has ended.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) {
        assert!(self.has_ended().is_none(), "{} has ended:\n{}", self.name, print(&self.lines()));
        let id = Pid::from_raw(i32::try_from(self.id()).expect("process ids are below 2^22"));
        kill(id, signal).expect("its own child, not yet waited for");
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its own child can be waited for")
    }

    /// Waits for its end, and for its last line.
    ///
    /// # Panics
    /// With everything it printed, if it still runs after `within`.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        let status = wait_until(within, &what, || self.has_ended());
        // A grandchild that holds the pipe open must not hang the test, so the readers are not joined blindly.
        wait_until(within, &format!("the last line of {}", self.name), || {
            (self.heard.lock().open == 0).then_some(())
        });
        status
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Panics
    /// If it has ended already, or still runs after `within`.
    #[track_caller]
    pub fn stop(&mut self, within: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(within)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only if it has ended and been waited for, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..).filter(JoinHandle::is_finished) {
            let _ = reader.join();
        }
        if thread::panicking() {
            eprintln!("{} printed until the failure:\n{}", self.name, print(&self.lines()));
        }
    }
}

fn listen(from: impl Read + Send + 'static, stream: Stream, heard: &Arc<Heard>) -> JoinHandle<()> {
    let heard = Arc::clone(heard);
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        // A read error ends the stream like its end does; there is nobody to report it to but the waiting test,
        // which then says what is missing.
        while from.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            heard.lock().lines.push(Line { stream, text, at: Instant::now() });
            heard.changed.notify_all();
            bytes.clear();
        }
        heard.lock().open -= 1;
        heard.changed.notify_all();
    })
}

/// The program and its arguments, without what `Namespace::command` puts in front.
fn describe(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    match words.iter().position(|word| word == "--") {
        Some(end) if words[0] == "setpriv" => words[end + 1..].join(" "),
        _ => words.join(" "),
    }
}

fn print(lines: &[Line]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        let mark = if line.stream == Stream::Out { "  | " } else { "  ! " };
        writeln!(text, "{mark}{}", line.text).expect("writing to a String cannot fail");
        text
    })
}
