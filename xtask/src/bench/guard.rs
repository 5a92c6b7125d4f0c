//! A guard that runs in a namespace, and what it and the kernel tell about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testbed::{Namespace, Running};

/// Far more than anything takes; a guard that hangs should not hang the benchmark.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of one guard, gone when dropped.
pub struct State(PathBuf);

impl State {
    /// An empty one, with a configuration that says nothing.
    ///
    /// # Errors
    /// What the system said.
    pub fn new(name: &str) -> Result<Self, String> {
        let path = testbed::target_directory().join(format!("bench-{}-{name}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let state = Self(path);
        // Its own, so that no configuration of this host is read.
        state.configure("")?;
        Ok(state)
    }

    /// Writes another configuration.
    ///
    /// # Errors
    /// What the system said.
    pub fn configure(&self, configuration: &str) -> Result<(), String> {
        fs::write(self.configuration(), configuration)
            .map_err(|error| format!("{}: {error}", self.configuration().display()))
    }

    /// A file of the row's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn configuration(&self) -> PathBuf {
        self.file("bench.toml")
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// A running guard.
pub struct Guard<'a> {
    running: Running,
    namespace: &'a Namespace,
    program: &'a Path,
    state: &'a State,
}

impl<'a> Guard<'a> {
    /// The command that starts one; `mode` is `--observe` or `--enforce`.
    pub fn command(namespace: &Namespace, program: &Path, state: &State, mode: &str) -> Command {
        let mut command = namespace.command(&program.display().to_string());
        command.args(["run", mode, "--json", "--state"]).arg(&state.0);
        command.arg("-c").arg(state.configuration());
        command
    }

    /// Starts one and waits until it watches.
    pub fn start(namespace: &'a Namespace, program: &'a Path, state: &'a State, mode: &str) -> Self {
        let running = Running::spawn(&mut Self::command(namespace, program, state, mode));
        let mut guard = Self { running, namespace, program, state };
        guard.wait_until_started();
        guard
    }

    /// One that was started otherwise.
    pub fn of(running: Running, namespace: &'a Namespace, program: &'a Path, state: &'a State) -> Self {
        Self { running, namespace, program, state }
    }

    /// Waits until it has said that it watches.
    pub fn wait_until_started(&mut self) {
        self.running.wait_for_line(PATIENCE, |line| line.contains(r#""event":"start""#));
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// Everything that it has told so far.
    pub fn told(&self) -> String {
        self.running.text(testbed::Stream::Out)
    }

    /// Asks `status`.
    ///
    /// # Errors
    /// If the answer is not what it should be.
    pub fn status(&self) -> Result<Status, String> {
        let program = self.program.display().to_string();
        let state = self.state.0.display().to_string();
        let output = self.namespace.run(&[&program, "status", "--json", "--state", &state]);
        serde_json::from_slice(&output.stdout).map(Status).map_err(|error| format!("status: {error}"))
    }

    /// Bans a list by hand for a day and waits until the kernel and the store have them all.
    ///
    /// # Errors
    /// As [`Guard::status`].
    pub fn ban(&self, list: &str) -> Result<(), String> {
        let program = self.program.display().to_string();
        let state = self.state.0.display().to_string();
        self.namespace.run_with_input(&[&program, "ban", "-", "--for", "1d", "--state", &state], list);
        let wanted = list.lines().count() as u64;
        testbed::wait_until(PATIENCE, "all bans in force and saved", || {
            let status = self.status().ok()?;
            let left = status.number("bans_not_in_force") + status.number("bans_unsaved");
            (status.number("bans") == wanted && left == 0).then_some(())
        });
        Ok(())
    }

    /// Ends it; its bans stay in the kernel.
    pub fn stop(mut self) {
        self.running.stop(PATIENCE);
    }
}

/// An answer of `status`.
#[derive(Debug)]
pub struct Status(Value);

impl Status {
    /// A number by its name.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_else(|| panic!("status has no {name}: {}", self.0))
    }
}

/// What a process has in memory, and the packet ring in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Resident bytes, without the ring.
    pub besides_ring: u64,
    /// Size of the ring.
    pub ring: u64,
}

impl Memory {
    /// Of this process.
    ///
    /// # Errors
    /// What the system said.
    pub fn of(process: u32) -> Result<Self, String> {
        let path = format!("/proc/{process}/smaps");
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        Ok(Self::read(&text))
    }

    /// Reads proc_pid_smaps(5). The ring is what a socket is mapped as.
    fn read(smaps: &str) -> Self {
        let mut memory = Self { besides_ring: 0, ring: 0 };
        let mut is_ring = false;
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let (Some(first), rest) = (words.next(), words) else { continue };
            let bytes = |mut rest: std::str::SplitWhitespace<'_>| {
                rest.next().and_then(|count| count.parse::<u64>().ok()).unwrap_or_default() * 1024
            };
            match first {
                "Size:" if is_ring => memory.ring += bytes(rest),
                "Rss:" if !is_ring => memory.besides_ring += bytes(rest),
                _ if !first.ends_with(':') => is_ring = line.contains("socket:["),
                _ => {}
            }
        }
        memory
    }
}

/// The CPU time that a process has used.
///
/// # Errors
/// What the system said.
pub fn cpu_time(process: u32) -> Result<Duration, String> {
    let place = format!("/proc/{process}/task");
    let complain = |error: std::io::Error| format!("{place}: {error}");
    let mut nanoseconds = 0;
    for task in fs::read_dir(&place).map_err(complain)? {
        let text = match fs::read_to_string(task.map_err(complain)?.path().join("schedstat")) {
            // A thread that has just ended takes its time with it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            // So does one that ends while it is read (ESRCH).
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => continue,
            read => read.map_err(complain)?,
        };
        let used = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        nanoseconds += used.ok_or_else(|| format!("{place}: schedstat says {text}"))?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_told_from_the_rest() {
        let smaps = "55d0-55d1 r-xp 00000000 fe:00 1 /usr/bin/portcullis\nSize:    400 kB\nRss:     300 kB\n\
                     7f00-7f01 rw-s 00000000 00:08 77 socket:[77]\nSize:  16384 kB\nRss:   16384 kB\n\
                     7ffd-7ffe rw-p 00000000 00:00 0 [stack]\nSize:     132 kB\nRss:       8 kB\n";
        assert_eq!(Memory::read(smaps), Memory { besides_ring: 308 * 1024, ring: 16 << 20 });
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        assert!(cpu_time(std::process::id()).unwrap() > Duration::ZERO);
        assert!(Memory::of(std::process::id()).unwrap().besides_ring > 100_000);
    }
}
