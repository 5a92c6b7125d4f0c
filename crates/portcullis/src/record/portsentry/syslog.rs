//! Lines to the system's log: datagrams to `/dev/log`, as syslog(3) makes them.
//!
//! Nothing here waits. A log daemon that is slow or gone costs lines only when [`BACKLOG`] is full; each line that is
//! left out is counted, and one line says how many as soon as there is somebody to read it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use portcullis_core::time::{Mono, Now};

use super::time;
use crate::record::words;

/// Where the system's log listens.
pub const SOCKET: &str = "/dev/log";

/// Lines kept for a log daemon that does not take them; about 2 MiB. A restart of rsyslog takes less than a second.
pub const BACKLOG: usize = 10_000;

/// Longest text of a line, in bytes: rsyslog cuts at 8 KiB (`$MaxMessageSize`), and so nothing is too long for the
/// kernel.
const LONGEST_LINE: usize = 8000;

/// How long a socket that is gone is left alone between two attempts.
const RETRY: Duration = Duration::from_millis(200);

/// How soon a full socket is tried again; with the kernel's smallest queue (`net.unix.max_dgram_qlen`, 10) that is
/// 2,000 lines a second.
const FULL_RETRY: Duration = Duration::from_millis(5);

/// syslog(3), facility daemon: the number in front of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// An error, 2.x only.
    Error,
    /// Every line of 1.x, nearly every one of 2.x.
    Notice,
    /// 2.x with `-v`.
    Info,
    /// 2.x with `-d`.
    Debug,
}

impl Severity {
    /// Facility 3 (daemon) times 8 and the severity (RFC 3164 §4.1.1).
    #[must_use]
    pub fn priority(self) -> u8 {
        match self {
            Severity::Error => 27,
            Severity::Notice => 29,
            Severity::Info => 30,
            Severity::Debug => 31,
        }
    }
}

/// The way to the system's log.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    tag: String,
    /// What is said of lines that were left out.
    notice: u8,
    zone: TimeZone,
    socket: Option<UnixDatagram>,
    backlog: VecDeque<Vec<u8>>,
    left_out: u64,
    left_out_ever: u64,
    retry_at: Mono,
}

impl Syslog {
    /// Lines of the process `pid` to the socket at `path`; it need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf, pid: u32, zone: TimeZone) -> Syslog {
        Syslog::tagged(path, format!("portsentry[{pid}]"), Severity::Notice.priority(), zone)
    }

    /// Lines of whom `tag` names, all with this `priority` (RFC 3164 §4.1.1: facility times 8, and the severity).
    #[must_use]
    pub fn tagged(path: PathBuf, tag: String, priority: u8, zone: TimeZone) -> Syslog {
        Syslog {
            path,
            tag,
            notice: priority,
            zone,
            socket: None,
            backlog: VecDeque::new(),
            left_out: 0,
            left_out_ever: 0,
            retry_at: Mono::default(),
        }
    }

    /// One line, stamped with `now`.
    pub fn send(&mut self, severity: Severity, text: &str, now: Now) {
        self.send_with(severity.priority(), text, now);
    }

    /// One line with the priority that all have ([`Syslog::tagged`]).
    pub fn notice(&mut self, text: &str, now: Now) {
        self.send_with(self.notice, text, now);
    }

    fn send_with(&mut self, priority: u8, text: &str, now: Now) {
        let line = self.line(priority, text, now);
        if self.backlog.len() < BACKLOG {
            self.backlog.push_back(line);
        } else {
            self.left_out += 1;
            self.left_out_ever += 1;
        }
        self.tick(now);
    }

    /// Sends what waits, as far as somebody takes it.
    pub fn tick(&mut self, now: Now) {
        if now.mono < self.retry_at {
            return;
        }
        // A second attempt with a new socket: the log daemon was restarted, the old socket leads nowhere.
        for attempt in 0..2 {
            match self.flush(now) {
                Ok(()) => return,
                Err(ErrorKind::WouldBlock) => {
                    self.retry_at = now.mono + FULL_RETRY;
                    return;
                }
                Err(_) => {
                    let was_connected = self.socket.take().is_some();
                    if !was_connected || attempt == 1 {
                        self.retry_at = now.mono + RETRY;
                        return;
                    }
                }
            }
        }
    }

    fn flush(&mut self, now: Now) -> Result<(), ErrorKind> {
        if self.backlog.is_empty() && self.left_out == 0 {
            return Ok(());
        }
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(&self.path).map_err(|error| error.kind())?,
        };
        let socket = self.socket.insert(socket);
        while let Some(line) = self.backlog.front() {
            match socket.send(line) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.kind()),
            }
            self.backlog.pop_front();
        }
        if self.left_out > 0 {
            let said = self.left_out;
            self.left_out = 0;
            let text = left_out_text(said);
            let line = self.line(self.notice, &text, now);
            self.backlog.push_back(line);
            return self.flush(now);
        }
        Ok(())
    }

    /// When [`Syslog::tick`] has something to do again.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        (!self.backlog.is_empty() || self.left_out > 0).then_some(self.retry_at)
    }

    /// How many lines nobody took, since the start.
    #[must_use]
    pub fn left_out_ever(&self) -> u64 {
        self.left_out_ever
    }

    /// Lines that wait for somebody to take them.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.backlog.len() as u64
    }

    fn line(&self, priority: u8, text: &str, now: Now) -> Vec<u8> {
        let stamp = time::syslog(now.wall, &self.zone);
        let end = text.floor_char_boundary(LONGEST_LINE);
        format!("<{priority}>{stamp} {}: {}", self.tag, &text[..end]).into_bytes()
    }
}

/// Ours: said as soon as somebody listens again.
pub(super) fn left_out_text(lines: u64) -> String {
    let word = words::plural(lines, "line was", "lines were");
    format!("adminalert: ERROR: {lines} log {word} left out, there were more than the log takes")
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use portcullis_core::time::Wall;

    fn at(milliseconds: u64) -> Now {
        let span = Duration::from_millis(milliseconds);
        Now { mono: Mono(span), wall: Wall(Duration::from_secs(1_795_226_400) + span) }
    }

    fn lines(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 65536];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|length| text(&buffer[..length]))).collect()
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_datagram_is_the_one_that_was_measured() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(path, 19535, TimeZone::UTC);
        let alert = "attackalert: TCP SYN/Normal scan from host: 10.77.0.1/10.77.0.1 to TCP port: 111";
        syslog.send(Severity::Notice, alert, at(600_000));
        syslog.send(Severity::Error, "an error of 2.x", at(600_000));
        // PortSentry 1.2, measured on /dev/log.
        let measured = "<29>Nov 21 02:10:00 portsentry[19535]: attackalert: TCP SYN/Normal scan from host: \
                        10.77.0.1/10.77.0.1 to TCP port: 111";
        assert_eq!(lines(&socket), [measured, "<27>Nov 21 02:10:00 portsentry[19535]: an error of 2.x"]);
        assert_eq!(syslog.due(), None);
    }

    #[test]
    fn lines_wait_for_a_log_daemon_that_is_restarted() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let first = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(path.clone(), 1, TimeZone::UTC);
        syslog.send(Severity::Notice, "one", at(0));
        assert_eq!(lines(&first).len(), 1);
        drop(first);
        std::fs::remove_file(&path).unwrap();
        syslog.send(Severity::Notice, "two", at(1000));
        syslog.send(Severity::Notice, "three", at(1001));
        let second = UnixDatagram::bind(&path).unwrap();
        assert!(lines(&second).is_empty());
        let due = syslog.due().expect("two lines wait");
        syslog.tick(Now { mono: due, ..at(1300) });
        let got = lines(&second);
        assert_eq!(got.len(), 2, "{got:?}");
        assert!(got[0].ends_with("]: two") && got[1].ends_with("]: three"));
        // A socket bound anew at the same path is found at once, without a line lost.
        drop(second);
        std::fs::remove_file(&path).unwrap();
        let third = UnixDatagram::bind(&path).unwrap();
        syslog.send(Severity::Notice, "four", at(2000));
        assert_eq!(lines(&third).len(), 1);
        assert_eq!(syslog.left_out_ever(), 0);
    }

    #[test]
    fn a_log_daemon_that_does_not_read_costs_counted_lines_and_never_time() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(path, 1, TimeZone::UTC);
        let extra = 5;
        let mut sent = 0;
        while syslog.left_out_ever() < extra {
            syslog.send(Severity::Notice, &format!("{sent}"), at(0));
            sent += 1;
            assert!(sent < 2 * BACKLOG as u64, "the backlog has no end");
        }
        let mut got = Vec::new();
        let mut now = 0;
        while syslog.due().is_some() {
            got.extend(lines(&socket));
            now += 10;
            syslog.tick(at(now));
            assert!(now < 1_000_000, "never done");
        }
        got.extend(lines(&socket));
        assert_eq!(got.len() as u64, sent - extra + 1);
        let last = got.last().unwrap();
        assert!(
            last.ends_with("ERROR: 5 log lines were left out, there were more than the log takes"),
            "{last}"
        );
        let numbers: Vec<String> =
            got[..got.len() - 1].iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
        assert_eq!(numbers, (0..sent - extra).map(|n| n.to_string()).collect::<Vec<_>>(), "in order");
    }

    #[test]
    fn a_line_of_any_length_fits_into_a_datagram() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(path, 1, TimeZone::UTC);
        syslog.send(Severity::Notice, &"ü".repeat(1 << 20), at(0));
        assert_eq!(lines(&socket).len(), 1);
    }
}
