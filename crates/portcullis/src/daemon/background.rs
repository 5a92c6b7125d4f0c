//! Going to the background, as PortSentry did, but with an answer for the caller.
//!
//! PortSentry forked before it knew whether it could start, and its caller heard 0 all the same. Here the process that
//! the caller sees starts the program a second time, and waits until that one says that it watches, or ends; then
//! its exit code and its words are the caller's. A second start rather than fork(2), since the program has no `unsafe`.
//!
//! Between the two is a pipe, the standard output of the second: what it prints goes on to the caller, up to a NUL,
//! which says that it is ready. Text has none.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::Mode;

use crate::cli::portsentry::BACKGROUND_CHILD;

/// How long a start may take before it counts as failed. An honest one takes milliseconds; with the longest of
/// lists and a slow disk some seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Starts this program again as `name`, in the background, with the same `words` (those behind the program's name), and
/// waits until it is ready or has ended. Returns the exit code for the caller: 0, or that of the process that could
/// not start (128 and the signal's number if one killed it). `failed` is the code for a start that fails on our side.
#[must_use]
pub fn start_in_background(name: &str, words: &[OsString], failed: u8) -> u8 {
    // Through /proc, so that it is this very program, even if its file has been replaced.
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(with_marker(words));
    match start(&mut command, &mut io::stdout(), PATIENCE) {
        Ok(Started::Ready) => 0,
        Ok(Started::Ended(status)) => code(status),
        Ok(Started::Hangs) => {
            eprintln!(
                "{name}: it was not ready after {} s and was ended; start it in the foreground to see why",
                PATIENCE.as_secs()
            );
            failed
        }
        Err(error) => {
            eprintln!(
                "{name}: it could not be started in the background: {error}; the foreground needs no second process"
            );
            failed
        }
    }
}

/// The words with our mark, before what `--` takes out of the options.
fn with_marker(words: &[OsString]) -> Vec<OsString> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let mut words = words.to_vec();
    words.insert(end, format!("--{BACKGROUND_CHILD}").into());
    words
}

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Started {
    Ready,
    Ended(ExitStatus),
    Hangs,
}

/// Starts `command` and waits until it is ready; what it prints before goes to `caller`. One that is not ready in
/// time is killed: a half-started guard must not stay behind a start that failed.
fn start(command: &mut Command, caller: &mut impl Write, patience: Duration) -> io::Result<Started> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut pipe = child.stdout.take().expect("it was asked for above");
    let (tells, told) = mpsc::channel();
    // On a thread of its own, because a pipe's reader cannot be given a deadline. It ends with the pipe.
    thread::spawn(move || {
        let mut piece = [0; 4096];
        loop {
            let count = match pipe.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A pipe that cannot be read is one that says nothing more; how the child ended tells the rest.
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
            let ready = piece[..count].iter().position(|byte| *byte == 0);
            let text = piece[..ready.unwrap_or(count)].to_vec();
            if tells.send((text, ready.is_some())).is_err() || ready.is_some() {
                return;
            }
        }
    });
    let deadline = std::time::Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        match told.recv_timeout(left) {
            Ok((text, is_ready)) => {
                // A caller who reads no more has no less of a guard.
                let _ = caller.write_all(&text).and_then(|()| caller.flush());
                if is_ready {
                    return Ok(Started::Ready);
                }
            }
            // Its end of the pipe is shut: it has ended, or is about to.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return ended_by(&mut child, deadline);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => return hangs(&mut child),
        }
    }
}

/// Waits for the end of a child that has shut its standard output.
fn ended_by(child: &mut Child, deadline: std::time::Instant) -> io::Result<Started> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Started::Ended(status));
        }
        if std::time::Instant::now() >= deadline {
            return hangs(child);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn hangs(child: &mut Child) -> io::Result<Started> {
    child.kill()?;
    child.wait()?;
    Ok(Started::Hangs)
}

/// An exit code as a shell tells it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    // 0 without the word "ready" would be a lie: nobody watches.
    match u8::try_from(code) {
        Ok(0) | Err(_) => 1,
        Ok(code) => code,
    }
}

/// What is left to do once the guard watches: to say so.
#[derive(Debug)]
#[must_use = "whoever started this process waits for the word"]
pub struct Ready {
    is_in_background: bool,
}

impl Ready {
    /// For a process that stays where it was started; only takes the name.
    ///
    /// # Errors
    /// The kernel refuses the name.
    pub fn in_foreground(name: &str) -> io::Result<Ready> {
        take_the_name(name)?;
        Ok(Ready { is_in_background: false })
    }

    /// For the process that [`start_in_background`] started, before it opens anything: a session of its own, `/` as
    /// its directory, nothing readable for others (umask 077), and the name.
    ///
    /// # Errors
    /// The kernel refuses one of these: most likely it was started by hand and leads a group of processes already.
    pub fn in_background(name: &str) -> io::Result<Ready> {
        rustix::process::setsid()?;
        std::env::set_current_dir("/")?;
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        take_the_name(name)?;
        Ok(Ready { is_in_background: true })
    }

    /// Says that the guard watches, and lets go of the caller's terminal.
    ///
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub fn ready(self) -> io::Result<()> {
        if !self.is_in_background {
            return Ok(());
        }
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        let mut caller = io::stdout().lock();
        // A caller who has gone meanwhile (Ctrl-C) hears nothing; the guard watches all the same.
        match caller.write_all(b"\0").and_then(|()| caller.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        Ok(())
    }
}

/// Names the main thread, whichever calls, and with it the process (proc(5), `/proc/pid/comm`): `ps`, `pidof` and
/// `killall` know it by that.
fn take_the_name(name: &str) -> io::Result<()> {
    std::fs::write("/proc/self/comm", name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[track_caller]
    fn outcome(script: &str, patience: Duration) -> (Started, String) {
        let mut printed = Vec::new();
        let started = start(&mut shell(script), &mut printed, patience).unwrap();
        (started, String::from_utf8(printed).unwrap())
    }

    #[test]
    fn a_caller_goes_on_as_soon_as_the_guard_is_ready() {
        // It lives until this test's end shuts its standard input, which nobody would wait for.
        let (started, printed) = outcome("echo listening; printf '\\0behind'; read line", PATIENCE);
        assert_eq!((started, printed.as_str()), (Started::Ready, "listening\n"));
    }

    #[test]
    fn a_start_that_fails_gives_its_words_and_its_exit_code() {
        for (script, expected) in
            [("echo no; exit 255", 255), ("echo no; exit 3", 3), ("echo no; kill -9 $$", 137), ("echo no", 1)]
        {
            let (started, printed) = outcome(script, PATIENCE);
            let Started::Ended(status) = started else { panic!("{script}: {started:?}") };
            assert_eq!((code(status), printed.as_str()), (expected, "no\n"), "{script}");
        }
    }

    #[test]
    fn a_start_that_hangs_is_ended() {
        for script in ["exec sleep 60", "exec sleep 60 >&-"] {
            let begun = Instant::now();
            assert_eq!(outcome(script, Duration::from_millis(100)).0, Started::Hangs, "{script}");
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
    }

    #[test]
    fn the_marker_is_an_option_whatever_else_was_said() {
        let words = |line: &str| -> Vec<OsString> { line.split_whitespace().map(OsString::from).collect() };
        assert_eq!(with_marker(&words("-tcp")), words("-tcp --background-child"));
        assert_eq!(with_marker(&words("-D -- x")), words("-D --background-child -- x"));
    }
}
