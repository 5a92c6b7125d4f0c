//! A guard that runs inside a namespace for as long as a test does.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use testbed::{Namespace, Running, Signal, Stream};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");

/// To start, to answer, to end: each takes some ms, and long on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(20);

/// Bans whoever scans, proved or not, and however many they are: for tests of what a ban does, not of who gets one.
pub const BANS_EVERYBODY: &str = "[respond]\nunproved = \"ban\"\n[protect]\nbrake = 0\n";

/// A directory with a configuration and room for what the program keeps; the same place twice is a restart.
pub struct Place {
    directory: TempDir,
}

impl Place {
    /// With this configuration, in TOML; the machine's own (/etc/portcullis) is never read.
    pub fn new(configuration: &str) -> Self {
        let place = Self { directory: TempDir::new().unwrap() };
        place.configure(configuration);
        place
    }

    /// Writes another configuration; a running guard reads it when it is told to.
    pub fn configure(&self, configuration: &str) {
        fs::write(self.configuration(), configuration).unwrap();
    }

    /// The configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("portcullis.toml")
    }

    /// The directory for `--state`.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// A file of the test's own, next to them.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command that runs a guard of this place inside; for those that end by themselves, or are to be started
    /// by another program.
    pub fn command(&self, namespace: &Namespace, arguments: &[&str]) -> Command {
        self.command_through(namespace, &[], arguments)
    }

    /// The same, started by another program, as `["setpriv", "--bounding-set", "-net_raw"]`.
    pub fn command_through(&self, namespace: &Namespace, through: &[&str], arguments: &[&str]) -> Command {
        let words: Vec<&str> = through.iter().copied().chain([PROGRAM]).collect();
        let mut command = namespace.command(words[0]);
        command.args(&words[1..]).args(["run", "--json", "-c"]).arg(self.configuration());
        command.arg("--state").arg(self.state()).args(arguments);
        command
    }
}

/// What a program that has ended said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Standard output, which must be one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output, which must be one JSON value a line.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        self.out.lines().map(parse).collect()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs the program to its end, in the test's own network.
#[track_caller]
pub fn portcullis(words: &[&str]) -> Said {
    Command::new(PROGRAM).args(words).output().unwrap().into()
}

/// A running guard. It ends with the test (start it on the test's own thread).
pub struct Guard {
    /// The process, for signals and for what it prints.
    pub running: Running,
    state: PathBuf,
    // Last, so that the directory outlives the process.
    _place: Option<Place>,
}

impl Guard {
    /// With the built-in defaults.
    #[track_caller]
    pub fn start(namespace: &Namespace, arguments: &[&str]) -> Self {
        Self::configured(namespace, "", arguments)
    }

    /// With this configuration, in TOML.
    #[track_caller]
    pub fn configured(namespace: &Namespace, configuration: &str, arguments: &[&str]) -> Self {
        let place = Place::new(configuration);
        let guard = Self::at(namespace, &place, arguments);
        Self { _place: Some(place), ..guard }
    }

    /// At a place that outlives this guard. Returns when it watches.
    #[track_caller]
    pub fn at(namespace: &Namespace, place: &Place, arguments: &[&str]) -> Self {
        Self::of(&mut place.command(namespace, arguments), &place.state())
    }

    /// Of a command made by [`Place::command_through`]. Returns when it watches.
    #[track_caller]
    pub fn of(command: &mut Command, state: &Path) -> Self {
        let running = Running::spawn(command);
        let mut guard = Self { running, state: state.to_owned(), _place: None };
        guard.wait_for(SOON, |event| event["event"] == "start");
        guard
    }

    /// Waits for an event for which the claim holds; also one that was told earlier.
    ///
    /// # Panics
    /// With everything that was told, after `within` or when the guard ends.
    #[track_caller]
    pub fn wait_for(&mut self, within: Duration, claim: impl FnMut(&Value) -> bool) -> Value {
        self.wait_for_after(0, within, claim)
    }

    /// The same, passing over the first `passed` lines; with [`Running::count`] from before: an event since then.
    #[track_caller]
    pub fn wait_for_after(
        &mut self,
        passed: usize,
        within: Duration,
        mut claim: impl FnMut(&Value) -> bool,
    ) -> Value {
        let mut found = Value::Null;
        self.running.wait_for_line_after(passed, within, |line| {
            serde_json::from_str(line).is_ok_and(|event| {
                let holds = claim(&event);
                found = event;
                holds
            })
        });
        found
    }

    /// Everything that was told so far, in order.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let told = self.running.lines().into_iter().filter(|line| line.stream == Stream::Out);
        told.map(|line| serde_json::from_str(&line.text).unwrap()).collect()
    }

    /// The events of one kind told so far, as `scan`.
    pub fn told(&self, event: &str) -> Vec<Value> {
        self.events().into_iter().filter(|told| told["event"] == event).collect()
    }

    /// Gives a verb to this guard.
    #[track_caller]
    pub fn verb(&self, words: &[&str]) -> Said {
        let mut command = Command::new(PROGRAM);
        command.args(words).arg("--state").arg(&self.state).output().unwrap().into()
    }

    /// The same, with a text on its standard input.
    #[track_caller]
    pub fn verb_with_input(&self, words: &[&str], input: &str) -> Said {
        let mut command = Command::new(PROGRAM);
        command.args(words).arg("--state").arg(&self.state);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It reads its input to the end before it says anything, so that neither waits for the other. One that stops
        // reading early tells why.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap().into()
    }

    /// What `status` says.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.verb(&["status", "--json"]).json()
    }

    /// Kills it as the kernel does when memory is short (SIGKILL), and waits until it is gone.
    #[track_caller]
    pub fn kill(&mut self) {
        self.running.signal(Signal::SIGKILL);
        self.running.wait(SOON);
    }

    /// Tells it to end (SIGTERM), waits for that and returns its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.running.signal(Signal::SIGTERM);
        self.running.wait(SOON).code().unwrap_or(-1)
    }
}
