//! Shell lines of the administrator (`KILL_ROUTE`, `KILL_RUN_CMD`), run as PortSentry ran them: by `/bin/sh -c`, as
//! written, with the macros replaced. Unlike there a line has an end, and what became of it is looked at.
//!
//! Called from the slow path; nothing here blocks its thread.

mod error;
mod output;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

pub use self::error::{CommandError, End};
use self::output::Output;
use crate::config::portsentry::missing_programs;

/// The longest line that is run, in bytes; half of what Linux takes as one argument (execve(2), `MAX_ARG_STRLEN`).
/// PortSentry's limit was 1023.
pub const LONGEST_LINE: usize = 64 << 10;

/// Where root's programs are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Between two looks at a command that was asked to end.
const PAUSE: Duration = Duration::from_millis(10);

/// Whom a command is about. Only numbers and words of ours: no byte that a stranger chose gets into a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `$TARGET$`.
    pub address: IpAddr,
    /// `$PORT$`, the destination port.
    pub port: u16,
    /// `$MODE$`: `tcp`, `udp`, `stcp`, `sudp`, `atcp`, `audp`, `stealth` or `connect`.
    pub mode: &'static str,
}

/// The template with all its macros replaced, as plain text and without quoting, in the order `$TARGET$`, `$PORT$`,
/// `$MODE$` (PortSentry 1.2, measured).
#[must_use]
pub fn expand(template: &str, subject: &Subject) -> String {
    template
        .replace("$TARGET$", &subject.address.to_string())
        .replace("$PORT$", &subject.port.to_string())
        .replace("$MODE$", subject.mode)
}

/// How long a command may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From its start until it is asked to end (SIGTERM).
    pub time: Duration,
    /// From then until it is made to (SIGKILL), and once more until it is given up.
    pub grace: Duration,
    /// Whether it is left to itself when the program ends, rather than killed.
    pub is_left_behind: bool,
}

impl Default for Limits {
    /// 30 s, which is long for a firewall that waits for another's lock, and 2 s.
    fn default() -> Limits {
        Limits { time: Duration::from_secs(30), grace: Duration::from_secs(2), is_left_behind: false }
    }
}

/// What is run: a line by a shell, or a program with its words as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// By `/bin/sh -c`.
    Shell(String),
    /// The program, then its arguments; no shell reads them.
    Program(Vec<String>),
}

impl Invocation {
    /// As messages show it.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Invocation::Shell(line) => line.clone(),
            Invocation::Program(words) => words.join(" "),
        }
    }

    /// Runs it to its end, as [`run`] does.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn run(&self, limits: &Limits) -> Result<(), CommandError> {
        match self {
            Invocation::Shell(line) => run(line, limits).await,
            // The shell is only there for the umask: it becomes the program, and reads none of its words.
            Invocation::Program(words) => run_words("exec \"$0\" \"$@\"", words, limits).await,
        }
    }
}

/// Runs a line to its end. It has a process group of its own, no input, the root directory as its place, an environment
/// of `PATH`, `HOME`, `SHELL` and `LANG`, and the umask 077 that PortSentry's commands had. What it prints is kept for
/// the message, the last 4 KiB. What it leaves in the background goes on undisturbed, and is not waited for.
///
/// If the future is dropped before it is ready, the whole group is killed, unless it is to be left behind.
///
/// # Errors
/// It could not be started, its status was not 0, it was killed, or it took too long.
pub async fn run(line: &str, limits: &Limits) -> Result<(), CommandError> {
    run_words(line, &[], limits).await
}

async fn run_words(line: &str, words: &[String], limits: &Limits) -> Result<(), CommandError> {
    let shown = if words.is_empty() { line.to_owned() } else { words.join(" ") };
    let failed = |end, said| CommandError { command: shown.clone(), end, said };
    if line.len().max(shown.len()) > LONGEST_LINE {
        return Err(failed(End::TooLong, None));
    }
    let mut child = start(line, words).map_err(|error| failed(End::NotStarted(error), None))?;
    // Declared after the child, so dropped before it: the number is still its own then.
    let own = child.id().filter(|_| !limits.is_left_behind);
    let mut group = Group(own.and_then(|id| Pid::from_raw(id.cast_signed())));
    let mut output = Output::of(&mut child);
    let Ok(ended) = timeout(limits.time, child.wait()).await else {
        let is_gone = end(&mut child, &mut group, &mut output, limits.grace).await;
        return Err(failed(End::TimedOut { after: limits.time, is_gone }, output.last_line().await));
    };
    group.0 = None;
    let said = output.last_line().await;
    match ended.map(meaning) {
        Ok(None) => Ok(()),
        Ok(Some(End::NotFound { status, .. })) => {
            Err(failed(End::NotFound { status, missing: missing_programs(&shown) }, said))
        }
        Ok(Some(end)) => Err(failed(end, said)),
        Err(error) => Err(failed(End::Unknown(error), said)),
    }
}

/// What a status means, if not success.
fn meaning(status: ExitStatus) -> Option<End> {
    match status.code() {
        Some(0) => None,
        // POSIX.1-2024, Shell Command Language, 2.8.2: found but not executable, and not found.
        Some(status @ (126 | 127)) => Some(End::NotFound { status, missing: Vec::new() }),
        Some(status) => Some(End::Status(status)),
        None => Some(End::Signal(status.signal().unwrap_or_default())),
    }
}

fn start(line: &str, words: &[String]) -> io::Result<Child> {
    Command::new("/bin/sh")
        .arg("-c")
        // The umask is set by the shell itself: ours is shared by all our threads, and other files would get it.
        .arg(format!("umask 077; {line}"))
        .args(words)
        .env_clear()
        .envs([("PATH", PATH), ("HOME", "/root"), ("SHELL", "/bin/sh"), ("LANG", "C")])
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// A process group, killed on drop. Empty as soon as its leader has been waited for: from then on the number may be
/// another's.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(id) = self.0 {
            // It fails only if nobody is left there, or all have become somebody else: nothing to do about either.
            let _ = kill_process_group(id, signal);
        }
    }

    /// Whether the leader has ended; it is not waited for, and keeps its number.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        self.0.is_none_or(|id| !matches!(waitid(WaitId::Pid(id), options), Ok(None)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Ends a command and all that it has started; whether the shell is gone.
async fn end(child: &mut Child, group: &mut Group, output: &mut Output, grace: Duration) -> bool {
    group.signal(Signal::TERM);
    let all_gone = async {
        while !(group.has_ended() && output.has_ended()) {
            sleep(PAUSE).await;
        }
    };
    // Whether in time or not: what is left is killed.
    let _ = timeout(grace, all_gone).await;
    group.signal(Signal::KILL);
    // A process that waits for a dead disk can't be killed; it must not hang us too.
    let is_gone = timeout(grace, child.wait()).await.is_ok();
    group.0 = None;
    is_gone
}
