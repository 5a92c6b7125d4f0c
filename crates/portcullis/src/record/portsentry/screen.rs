//! Lines to standard output, as 2.x writes them where it is not told otherwise; errors go to standard error.
//!
//! A terminal or a pipe that nobody reads must not hold the program up, so a thread writes, behind a bounded queue.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use super::syslog::{Severity, left_out_text};

/// Lines that wait for a reader.
const BACKLOG: usize = 10_000;

/// Standard output and standard error.
#[derive(Debug)]
pub struct Screen {
    lines: SyncSender<(Severity, String)>,
    left_out: Arc<AtomicU64>,
    /// Closed when the thread has written its last line.
    is_done: Receiver<()>,
}

impl Screen {
    /// Begins to write.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new() -> io::Result<Screen> {
        Screen::to(io::stdout(), io::stderr())
    }

    fn to(normal: impl Write + Send + 'static, errors: impl Write + Send + 'static) -> io::Result<Screen> {
        let (lines, queue) = sync_channel(BACKLOG);
        let left_out = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&left_out);
        let (done, is_done) = channel();
        thread::Builder::new().name("screen".into()).spawn(move || {
            // Closed by falling out of scope, however the thread ends.
            let _done: Sender<()> = done;
            write(&queue, &counter, normal, errors);
        })?;
        Ok(Screen { lines, left_out, is_done })
    }

    /// Waits until everything is written, but no longer than `patience`.
    pub fn finish(self, patience: Duration) {
        drop(self.lines);
        // Nothing is ever sent: either it closes, or whoever reads is too slow to be waited for.
        let _ = self.is_done.recv_timeout(patience);
    }

    /// One line.
    pub fn send(&self, severity: Severity, text: &str) {
        match self.lines.try_send((severity, text.to_owned())) {
            Ok(()) => {}
            // Disconnected: whoever read has gone, there is nobody to tell.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Ends with the sender, or when nobody reads any more.
fn write(
    queue: &Receiver<(Severity, String)>,
    left_out: &AtomicU64,
    mut normal: impl Write,
    mut errors: impl Write,
) {
    while let Ok((severity, text)) = queue.recv() {
        let written = match severity {
            Severity::Error => writeln!(errors, "{text}").and_then(|()| errors.flush()),
            _ => writeln!(normal, "{text}").and_then(|()| normal.flush()),
        };
        let missing = left_out.swap(0, Ordering::Relaxed);
        let said = match missing {
            0 => Ok(()),
            lines => writeln!(errors, "{}", left_out_text(lines)),
        };
        if written.and(said).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pipe(Sender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(from: &Receiver<Vec<u8>>) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.extend(from.recv_timeout(Duration::from_secs(10)).expect("a line comes"));
        }
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn errors_go_to_standard_error() {
        let ((normal, out), (errors, err)) = (channel(), channel());
        let screen = Screen::to(Pipe(normal), Pipe(errors)).unwrap();
        screen.send(Severity::Notice, "Scan from: [10.77.0.1]");
        screen.send(Severity::Error, "attackalert: Error during target dispose a/10.77.0.1!");
        assert_eq!(line(&out), "Scan from: [10.77.0.1]\n");
        assert_eq!(line(&err), "attackalert: Error during target dispose a/10.77.0.1!\n");
    }

    #[test]
    fn the_last_lines_are_waited_for() {
        let ((normal, out), (errors, _)) = (channel(), channel());
        let screen = Screen::to(Pipe(normal), Pipe(errors)).unwrap();
        for number in 0..1000 {
            screen.send(Severity::Notice, &number.to_string());
        }
        screen.finish(Duration::from_secs(10));
        let written: Vec<u8> = out.try_iter().flatten().collect();
        assert!(written.ends_with(b"\n999\n"));
    }

    /// Writes nothing until it is let go.
    struct Stuck(Receiver<()>, Pipe);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Blocks for as long as the sender lives and is silent.
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_costs_counted_lines_and_never_time() {
        let ((go, stop), (normal, out), (errors, err)) = (channel(), channel(), channel());
        let screen = Screen::to(Stuck(stop, Pipe(normal)), Pipe(errors)).unwrap();
        for number in 0..BACKLOG + 100 {
            screen.send(Severity::Notice, &number.to_string());
        }
        drop(go);
        assert_eq!(line(&out), "0\n");
        // The first line may or may not have left the queue when it became full.
        let said = line(&err);
        assert!(said.contains(" log lines were left out"), "{said}");
    }
}
