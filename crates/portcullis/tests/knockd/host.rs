//! A host with doors in a namespace of its own, guarded by the distribution's knockd or by ours, and a guest beside it.

use std::fs;
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use testbed::{Lab, Namespace, Running, unpack, wait_until};

/// To start, to hear, to end: each takes some ms, and long on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(30);

/// A configuration, and the log that it names.
type Files = (&'static str, &'static str);

const FILES: Files = ("/etc/knockd.conf", "/run/knockd.log");

/// Of a second program that hears the same packets.
const BESIDE: Files = ("/etc/beside.conf", "/run/beside.log");

/// Doors of the test itself, at which nobody knocks but it: what came before them has been heard when they open.
const MARKS: &str = "[BEGIN]\nsequence = 33331:udp\n[END]\nsequence = 33332:udp\n";

/// From where the test knocks at its own doors; an address that no case uses.
const MARKER: &str = "10.77.0.33";

/// Who listens for knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The distribution's knockd 0.8, unpacked and not installed.
    Original,
    /// `portcullis knockd`.
    Ours,
}

/// The distribution's programs, below the directory that stands for `/`.
pub fn original() -> PathBuf {
    unpack("knockd").unwrap()
}

/// The directory of a library that its knockd needs.
pub fn libraries() -> PathBuf {
    let root = unpack("libpcap0.8").unwrap();
    let mut places = vec![root];
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(&place).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("libpcap.so") {
                return place;
            }
            if path.is_dir() {
                places.push(path);
            }
        }
    }
    panic!("libpcap0.8 has no library");
}

/// The guest is 10.77.0.1 and fd77::1, the host 10.77.0.2 and fd77::2.
pub struct Host {
    pub lab: Lab,
}

impl Host {
    /// `None` without rights (see [`testbed::rights`]).
    #[track_caller]
    pub fn new() -> Option<Host> {
        let lab = Lab::direct_of(Namespace::new()?, Namespace::with_mounts()?);
        lab.add_attacker(&format!("{MARKER}/24"));
        // Closed ports answer datagrams with at most so many errors a second, and nmap would wait for each.
        lab.victim.sysctl("net.ipv4.icmp_ratelimit", "0");
        lab.victim.sysctl("net.ipv6.icmp.ratelimit", "0");
        Some(Host { lab })
    }

    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        self.lab.victim.enter(|| fs::write(path, text).unwrap());
    }

    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        self.lab.victim.enter(|| match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => panic!("{path}: {error}"),
        })
    }

    /// Writes the configuration (that of a case, with the test's own doors) and takes the log of before away.
    #[track_caller]
    pub fn configure(&self, doors: &str) {
        self.configure_as(FILES, doors);
    }

    #[track_caller]
    fn configure_as(&self, (configuration, log): Files, doors: &str) {
        self.write(configuration, &format!("[options]\nLogFile = {log}\n{doors}\n{MARKS}"));
    }

    /// The words of a start in the foreground.
    pub fn words(program: Program) -> Vec<String> {
        Host::words_of(program, FILES)
    }

    fn words_of(program: Program, (configuration, _): Files) -> Vec<String> {
        let program = match program {
            Program::Original => vec![original().join("usr/sbin/knockd").display().to_string()],
            Program::Ours => vec![env!("CARGO_BIN_EXE_portcullis").to_owned(), "knockd".to_owned()],
        };
        program.into_iter().chain(["-i", "eth0", "-c", configuration].map(str::to_owned)).collect()
    }

    /// Starts it with these doors, and returns when it hears.
    #[track_caller]
    pub fn start(&self, program: Program, doors: &str) -> Daemon<'_> {
        self.start_with(program, doors, &[])
    }

    /// The same with more options.
    #[track_caller]
    pub fn start_with(&self, program: Program, doors: &str, options: &[&str]) -> Daemon<'_> {
        self.begin_log(FILES, doors);
        self.run(program, FILES, options)
    }

    /// Starts both with these doors, side by side: what they hear are the same packets.
    #[track_caller]
    pub fn start_both(&self, doors: &str) -> [Daemon<'_>; 2] {
        self.begin_log(BESIDE, doors);
        let theirs = self.run(Program::Original, BESIDE, &[]);
        [theirs, self.start(Program::Ours, doors)]
    }

    #[track_caller]
    fn begin_log(&self, files: Files, doors: &str) {
        self.configure_as(files, doors);
        let log = files.1;
        self.lab.victim.enter(|| match fs::remove_file(log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{log}: {error}"),
            _ => {}
        });
    }

    /// Starts it with what is there.
    #[track_caller]
    pub fn start_again(&self, program: Program) -> Daemon<'_> {
        self.run(program, FILES, &[])
    }

    #[track_caller]
    fn run(&self, program: Program, files: Files, options: &[&str]) -> Daemon<'_> {
        let words = Host::words_of(program, files);
        let mut command = self.lab.victim.command(&words[0]);
        command.args(&words[1..]).args(options).env("LD_LIBRARY_PATH", libraries());
        let daemon = Daemon { host: self, running: Running::spawn(&mut command), log: files.1 };
        daemon.mark("BEGIN", 33_331);
        daemon
    }

    /// Runs a command of the guest's to its end.
    #[track_caller]
    pub fn guest(&self, line: &str) {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if words[0] == "knock" {
            words[0] = original().join("usr/bin/knock").display().to_string();
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.lab.attacker.run(&words);
    }

    /// Something that listens on this port of the host's.
    #[track_caller]
    pub fn listen(&self, port: u16) -> TcpListener {
        let place = (self.lab.victim4(), port);
        self.lab.victim.enter(|| TcpListener::bind(place).unwrap())
    }

    /// All lines of the log, without their times and without those of the test's own doors.
    #[track_caller]
    pub fn log(&self) -> Vec<String> {
        self.log_of(FILES.1)
    }

    #[track_caller]
    fn log_of(&self, path: &str) -> Vec<String> {
        let text = self.read(path);
        let lines = text.lines().filter(|line| !line.is_empty()).map(|line| without_time(line).to_owned());
        lines.filter(|line| !line.contains(MARKER)).collect()
    }
}

/// `[2026-11-21 02:09] text` without its time. What has another form stays as it is, so that a test which compares it fails.
fn without_time(line: &str) -> &str {
    let form = "[0000-00-00 00:00] ";
    let has_form = line.is_char_boundary(form.len().min(line.len()))
        && line.len() >= form.len()
        && line.bytes().zip(form.bytes()).all(|(is, form)| match form {
            b'0' => is.is_ascii_digit(),
            _ => is == form,
        });
    if has_form { &line[form.len()..] } else { line }
}

/// One that runs; it is killed with this value.
pub struct Daemon<'a> {
    host: &'a Host,
    pub running: Running,
    log: &'static str,
}

impl Daemon<'_> {
    /// The log, when everything that was sent until now has been heard.
    #[track_caller]
    pub fn log(&self) -> Vec<String> {
        self.mark("END", 33_332);
        self.host.log_of(self.log)
    }

    /// Waits for a line of the log that ends so.
    #[track_caller]
    pub fn wait_for(&self, end: &str) {
        wait_until(SOON, end, || {
            self.host.log_of(self.log).iter().any(|line| line.ends_with(end)).then_some(())
        });
    }

    /// Knocks at a door of the test's until that opens once more.
    #[track_caller]
    fn mark(&self, door: &str, port: u16) {
        // Between the two a name may stand.
        let opening = format!(": {door}: OPEN SESAME");
        let is_opening = |line: &&str| line.contains(MARKER) && line.ends_with(&opening);
        let count = || self.host.read(self.log).lines().filter(is_opening).count();
        let before = count();
        let (marker, target): (IpAddr, IpAddr) = (MARKER.parse().unwrap(), self.host.lab.victim4().into());
        let socket = self.host.lab.attacker.enter(|| UdpSocket::bind((marker, 0)).unwrap());
        wait_until(SOON, &format!("a line of door {door} in {}", self.log), || {
            // A port that is closed answers, and the next datagram hears of it.
            drop(socket.send_to(&[0], (target, port)));
            std::thread::sleep(Duration::from_millis(20));
            (count() > before).then_some(())
        });
    }
}

/// The addresses of the cases as those of the lab.
pub fn translated(text: &str) -> String {
    text.replace("10.78.0.", "10.77.0.").replace("fd78::3", "fd77::1").replace("fd78::", "fd77::")
}

/// Whether the machine has all that these tests need; says so if not.
pub fn is_possible() -> bool {
    testbed::has(&["apt-get", "dpkg-deb", "nmap", "iptables"]) && Path::new("/dev").exists()
}
