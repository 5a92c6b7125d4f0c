//! How knockd wrote things down (knockd 0.8, measured): lines with the minute in a file, the same text in the system's log
//! and on the screen. fail2ban filters look for `OPEN SESAME` and `Stage N`.
//!
//! Called by the slow path of the persona alone. A line may wait for the name of the address that it begins with; those
//! behind it wait too, so that their order stays.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use portcullis_core::time::{Mono, Now, Wall};

use super::portsentry::append::{AppendOnly, Holds, Notice};
use super::portsentry::names::{Answer, Names, PATIENCE};
use super::portsentry::syslog::Syslog;
use super::portsentry::time;

/// knockd's facility (daemon, 3) times 8, and its severity (notice, 5): knockd 0.8, measured.
const PRIORITY: u8 = 29;

/// The log names steps, and who knocks knows the ports: nobody else is to read it.
const MODE: u32 = 0o640;

/// Lines that wait for names; of more, the first goes without.
const WAITING: usize = 1024;

/// How often it is looked whether a name has come.
const LOOK: Duration = Duration::from_millis(20);

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The file.
    pub file: Option<PathBuf>,
    /// The socket of the system's log.
    pub syslog: Option<PathBuf>,
    /// Whether also standard output.
    pub screen: bool,
    /// Whether names stand beside addresses.
    pub looks_up: bool,
}

/// What is written.
#[derive(Debug)]
pub struct Lines {
    settings: Settings,
    zone: TimeZone,
    file: Option<AppendOnly>,
    syslog: Option<Syslog>,
    names: Option<Names>,
    waiting: VecDeque<Line>,
    look_at: Mono,
}

#[derive(Debug)]
struct Line {
    time: Wall,
    since: Mono,
    who: Option<IpAddr>,
    text: String,
}

impl Lines {
    /// Opens what lines go to; the zone is that of the file's times.
    ///
    /// # Errors
    /// No thread for names can be started.
    pub fn open(settings: Settings, zone: TimeZone, now: Now) -> io::Result<Lines> {
        let names = if settings.looks_up { Some(Names::new()?) } else { None };
        let mut lines = Lines {
            file: settings.file.clone().map(|path| AppendOnly::new(path, MODE)),
            syslog: settings.syslog.as_deref().map(|path| syslog(path, &zone)),
            names,
            waiting: VecDeque::new(),
            look_at: Mono::default(),
            settings,
            zone,
        };
        if let Some(file) = &mut lines.file {
            file.prepare(now.mono);
        }
        lines.tell_of_file();
        Ok(lines)
    }

    /// Lines go here from now on; those that wait too. Whether names are asked for stays as it was.
    pub fn set(&mut self, settings: Settings, now: Now) {
        if settings.file != self.settings.file {
            self.file = settings.file.clone().map(|path| AppendOnly::new(path, MODE));
        }
        if settings.syslog != self.settings.syslog {
            self.syslog = settings.syslog.as_deref().map(|path| syslog(path, &self.zone));
        }
        self.settings = settings;
        if let Some(file) = &mut self.file {
            file.prepare(now.mono);
        }
        self.tell_of_file();
    }

    /// The file was moved away; the next line goes to a new one.
    pub fn reopen(&mut self) {
        if let Some(file) = &mut self.file {
            file.reopen();
        }
    }

    /// A line; with `who`, it begins with his address (and name), and `text` follows behind a colon.
    pub fn say(&mut self, who: Option<IpAddr>, text: &str, now: Now) {
        self.waiting.push_back(Line { time: now.wall, since: now.mono, who, text: text.to_owned() });
        self.tick(now);
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        self.flush(now, false);
        if let Some(file) = &mut self.file {
            file.tick(Holds::Lines, now.mono);
        }
        if let Some(syslog) = &mut self.syslog {
            syslog.tick(now);
        }
        self.tell_of_file();
        self.look_at = now.mono + LOOK;
    }

    /// When [`Lines::tick`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        let look = (!self.waiting.is_empty()).then_some(self.look_at);
        let file = self.file.as_ref().and_then(AppendOnly::due);
        let syslog = self.syslog.as_ref().and_then(Syslog::due);
        [look, file, syslog].into_iter().flatten().min()
    }

    /// The last lines go, with names or without.
    pub fn finish(&mut self, now: Now) {
        self.flush(now, true);
        self.tick(now);
    }

    fn flush(&mut self, now: Now, is_last: bool) {
        while let Some(line) = self.waiting.front() {
            let address = line.who.as_ref().map(IpAddr::to_string).unwrap_or_default();
            let whose = match (line.who, &mut self.names) {
                (Some(who), Some(names)) => match names.ask(who, now.mono) {
                    Answer::Name(name) if name != address => format!("{address} ({name})"),
                    Answer::Name(_) => address,
                    Answer::Later => {
                        let is_late = now.mono.since(line.since) >= PATIENCE;
                        if !is_late && !is_last && self.waiting.len() <= WAITING {
                            return;
                        }
                        address
                    }
                },
                _ => address,
            };
            let Some(line) = self.waiting.pop_front() else { return };
            let text = if whose.is_empty() { line.text } else { format!("{whose}: {}", line.text) };
            self.write(line.time, &text, now);
        }
    }

    fn write(&mut self, time: Wall, text: &str, now: Now) {
        if let Some(file) = &mut self.file {
            let stamp = time::knockd(time, &self.zone);
            file.append(format!("[{stamp}] {text}\n").into_bytes(), Holds::Lines, now.mono);
        }
        if let Some(syslog) = &mut self.syslog {
            syslog.notice(text, now);
        }
        if self.settings.screen {
            // A terminal that has gone is no reason to stop.
            drop(writeln!(io::stdout(), "{text}"));
        }
    }

    /// A log that cannot be written is only warned of (knockd 0.8, measured).
    fn tell_of_file(&mut self) {
        for notice in self.file.as_mut().map(AppendOnly::take_notices).unwrap_or_default() {
            let (Notice::Fault(said) | Notice::Note(said)) = notice;
            drop(writeln!(io::stderr(), "knockd: warning: {said}"));
        }
    }
}

fn syslog(path: &Path, zone: &TimeZone) -> Syslog {
    Syslog::tagged(path.to_owned(), "knockd".to_owned(), PRIORITY, zone.clone())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn at(milliseconds: u64) -> Now {
        Now {
            mono: Mono::default() + Duration::from_millis(milliseconds),
            wall: Wall(Duration::from_millis(1_795_226_945_000 + milliseconds)),
        }
    }

    #[test]
    fn the_file_and_the_systems_log_have_knockds_form() {
        let place = tempfile::tempdir().unwrap();
        let (file, socket) = (place.path().join("knockd.log"), place.path().join("log"));
        let log = UnixDatagram::bind(&socket).unwrap();
        let settings =
            Settings { file: Some(file.clone()), syslog: Some(socket), screen: false, looks_up: false };
        let mut lines = Lines::open(settings.clone(), TimeZone::UTC, at(0)).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, MODE);
        lines.say(None, "starting up, listening on eth0", at(0));
        lines.say(Some("10.78.0.1".parse().unwrap()), "S: Stage 1", at(60_000));
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "[2026-11-21 02:09] starting up, listening on eth0\n[2026-11-21 02:10] 10.78.0.1: S: Stage 1\n"
        );
        let mut heard = [0; 200];
        let length = log.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"<29>Nov 21 02:09:05 knockd: starting up, listening on eth0");
        let other = place.path().join("other.log");
        lines.set(Settings { file: Some(other.clone()), ..settings }, at(61_000));
        lines.say(None, "shutting down", at(61_000));
        assert_eq!(fs::read_to_string(&other).unwrap(), "[2026-11-21 02:10] shutting down\n");
        assert_eq!(lines.due(), None);
    }

    #[test]
    fn lines_wait_for_names_in_their_order() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("knockd.log");
        let settings = Settings { file: Some(file.clone()), looks_up: true, ..Settings::default() };
        let mut lines = Lines::open(settings, TimeZone::UTC, at(0)).unwrap();
        // Whether or not anybody answers about an address for documents (RFC 5737).
        lines.say(Some("192.0.2.1".parse().unwrap()), "S: Stage 1", at(0));
        lines.say(None, "behind it", at(0));
        lines.finish(at(1));
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains(" 192.0.2.1") && lines[0].ends_with(": S: Stage 1"), "{text}");
        assert!(lines[1].ends_with("] behind it"), "{text}");
    }
}
