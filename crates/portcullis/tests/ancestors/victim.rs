//! The host that is scanned: a network with an attacker, own /etc, /var, /run and /dev/log, and in it either the
//! distribution's PortSentry 1.2 or ours, started alike.

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use testbed::{Lab, Namespace, Running, Stream, wait_until};

/// To start, to answer, to end: each takes some ms, and long on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(30);

/// Where both look for their configuration.
pub const CONFIGURATION: &str = "/etc/portsentry/portsentry.conf";

/// Where the configuration of the tests keeps the ignore file.
pub const IGNORE: &str = "/etc/portsentry/portsentry.ignore";

/// Where the configuration of the tests keeps history and blocked files.
pub const STATE: &str = "/var/lib/portsentry";

/// What goes through the log to see how far it has been read.
const MARK: &[u8] = b"mark";

/// The first process of a process namespace. It starts the daemon as an administrator would, tells how that
/// ended, and obeys the test; whatever has gone to the background ends with it.
const INIT: &str = r#"how=$1; shift
if [ "$how" = background ]; then "$@" </dev/null; echo "returned $?"
else "$@" </dev/null & fi
while read -r line; do eval "$line"; done"#;

/// Who guards the victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The distribution's PortSentry 1.2, unpacked and not installed.
    Original,
    /// `portcullis portsentry`.
    Ours,
}

impl Program {
    fn words(self) -> Vec<String> {
        match self {
            Self::Original => vec![original().display().to_string()],
            Self::Ours => vec![env!("CARGO_BIN_EXE_portcullis").to_owned(), "portsentry".to_owned()],
        }
    }
}

/// The program of the distribution's package, unpacked at the first call.
///
/// # Panics
/// If it can't be had; whoever can do without asks [`original_is_there`] first.
pub fn original() -> PathBuf {
    let root = testbed::unpack("portsentry").unwrap_or_else(|error| panic!("{error}"));
    root.join("usr/sbin/portsentry")
}

/// Whether this is a machine on which the distribution's package can be unpacked; says so if not.
pub fn original_is_there() -> bool {
    testbed::has(&["apt-get", "dpkg-deb"])
}

/// An attacker and a victim, and the victim's system log.
///
/// The attacker is 10.77.0.1 and fd77::1 and has 10.77.0.77 for marks (see [`crate::probes`]); the victim is
/// 10.77.0.2 and fd77::2.
pub struct Victim {
    pub lab: Lab,
    log: Arc<Mutex<Vec<String>>>,
    /// Into the log, and how many marks have come out of it.
    marks: (UnixDatagram, Arc<AtomicU64>),
    services: Option<Running>,
}

impl Victim {
    /// `None` without rights (see [`testbed::rights`]).
    #[track_caller]
    pub fn new() -> Option<Self> {
        let lab = Lab::direct_of(Namespace::new()?, Namespace::with_mounts()?);
        lab.add_attacker("10.77.0.77/24");
        // Closed ports answer datagrams with at most so many errors a second, and nmap would wait for each.
        lab.victim.sysctl("net.ipv4.icmp_ratelimit", "0");
        lab.victim.sysctl("net.ipv6.icmp.ratelimit", "0");
        // As in the measurements: a port that PortSentry has closed is at once free for its next run.
        lab.victim.sysctl("net.ipv4.tcp_max_tw_buckets", "0");
        let log = Arc::new(Mutex::new(Vec::new()));
        let socket = lab.victim.enter(|| UnixDatagram::bind("/dev/log")).unwrap();
        let heard = Arc::clone(&log);
        let into_log = UnixDatagram::unbound().unwrap();
        lab.victim.enter(|| into_log.connect("/dev/log")).unwrap();
        let marks = Arc::new(AtomicU64::new(0));
        let marks_heard = Arc::clone(&marks);
        // It holds nothing but the socket, and ends when the test's process does.
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length) = socket.recv(&mut buffer) {
                if buffer[..length] == *MARK {
                    marks_heard.fetch_add(1, Ordering::Release);
                    continue;
                }
                let text = String::from_utf8_lossy(&buffer[..length]);
                lock(&heard).push(text.trim_end_matches(['\0', '\n']).to_owned());
            }
        });
        let victim = Self { lab, log, marks: (into_log, marks), services: None };
        victim.write(IGNORE, "");
        victim.clean();
        Some(victim)
    }

    /// Starts the services of the measurements: TCP 143 says something and hangs up, UDP 69 answers. Both listen
    /// on IPv4 only.
    #[track_caller]
    pub fn start_services(&mut self) {
        const SERVICES: &str = "import socket, threading
tcp = socket.create_server(('', 143), backlog=64)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(('', 69))
def datagrams():
    while True:
        data, peer = udp.recvfrom(2000)
        udp.sendto(b'here', peer)
threading.Thread(target=datagrams, daemon=True).start()
print('ready', flush=True)
while True:
    connection, peer = tcp.accept()
    try: connection.sendall(b'* OK ready\\r\\n')
    except OSError: pass
    connection.close()
";
        let mut services = self.lab.victim.start(&["python3", "-c", SERVICES]);
        services.wait_for_line(SOON, |line| line == "ready");
        self.services = Some(services);
    }

    /// Takes away what a run has left, so that the next one finds a fresh host.
    pub fn clean(&self) {
        self.lab.victim.enter(|| {
            for place in [STATE, "/var/lib/portcullis", "/run/portcullis"] {
                match fs::remove_dir_all(place) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{place}: {error}"),
                    _ => {}
                }
            }
            fs::create_dir(STATE).unwrap();
            fs::write("/etc/hosts.deny", "").unwrap();
            fs::write("/run/kill.log", "").unwrap();
        });
        // What ours has in the kernel, it has in tables of these names.
        let tables = self.lab.victim.run(&["nft", "list", "tables"]).stdout;
        for table in String::from_utf8_lossy(&tables).lines().filter(|table| table.contains("portcullis")) {
            let words: Vec<&str> = ["nft", "delete"].into_iter().chain(table.split_whitespace()).collect();
            self.lab.victim.run(&words);
        }
        self.catch_up();
        lock(&self.log).clear();
    }

    /// Writes a file of the victim's, with the directories above it.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        self.lab.victim.enter(|| {
            fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        });
    }

    /// Reads a file of the victim's; one that does not exist is empty.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        self.lab.victim.enter(|| match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => panic!("{path}: {error}"),
        })
    }

    /// The system log since [`Victim::clean`], each entry without time and process number:
    /// `<29>attackalert: …`.
    pub fn syslog(&self) -> Vec<String> {
        self.raw_syslog().iter().map(|entry| without_time(entry)).collect()
    }

    /// The same, exactly as it arrived.
    pub fn raw_syslog(&self) -> Vec<String> {
        self.catch_up();
        lock(&self.log).clone()
    }

    /// Waits until all that was said before has been read: it comes out of the socket in the order in which it went in.
    #[track_caller]
    fn catch_up(&self) {
        let (into_log, heard) = &self.marks;
        let before = heard.load(Ordering::Acquire);
        into_log.send(MARK).unwrap();
        wait_until(SOON, "the log to be read", || (heard.load(Ordering::Acquire) > before).then_some(()));
    }

    /// Whether a daemon has said since [`Victim::clean`] that it ends.
    pub fn has_ended(&self) -> bool {
        self.syslog().iter().any(|line| line.ends_with("adminalert: PortSentry is shutting down"))
    }

    /// Starts a daemon of the 1.x kind, which goes to the background, and returns when it watches. The mode (with
    /// ours also two) may be followed by other words.
    ///
    /// # Panics
    /// If it doesn't say within [`SOON`] that it does.
    #[track_caller]
    pub fn start(&self, program: Program, mode: &str) -> Daemon {
        let before = self.raw_syslog().len();
        let words: Vec<&str> = mode.split_whitespace().collect();
        let daemon = self.launch(program, &words, "background");
        wait_until(SOON, &format!("{program:?} {mode} that watches"), || {
            let log = self.syslog();
            let ready = log[before..].iter().any(|line| line.contains("PortSentry is now active"));
            (ready && !daemon.returned().is_empty()).then_some(())
        });
        daemon
    }

    /// Starts a daemon of the 2.x kind in the foreground, and returns when it watches. Only ours: the
    /// distribution has no 2.x.
    #[track_caller]
    pub fn start_modern(&self, words: &[&str]) -> Daemon {
        let mut daemon = self.launch(Program::Ours, words, "foreground");
        daemon.running.wait_for_line(SOON, |line| line.contains("Portsentry is now active and listening."));
        daemon
    }

    fn launch(&self, program: Program, words: &[&str], how: &str) -> Daemon {
        let mut command = self.lab.victim.command("unshare");
        command.args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
            "sh",
            "-c",
            INIT,
            "init",
            how,
        ]);
        command.args(program.words()).args(words).stdin(Stdio::piped());
        let mut running = Running::spawn(&mut command);
        let orders = running.stdin();
        Daemon { running, orders }
    }
}

/// A daemon and all that it has started, in a process namespace that ends with this value.
pub struct Daemon {
    /// The first process of that namespace; prints what the daemon does.
    pub running: Running,
    orders: Option<ChildStdin>,
}

impl Daemon {
    /// How the start came back to its caller: `["returned 0"]`.
    pub fn returned(&self) -> Vec<String> {
        let lines = self.running.lines().into_iter().map(|line| line.text);
        lines.filter(|line| line.starts_with("returned ")).collect()
    }

    /// What it printed on standard output.
    pub fn printed(&self) -> Vec<String> {
        let lines = self.running.lines().into_iter().filter(|line| line.stream == Stream::Out);
        lines.map(|line| line.text).collect()
    }

    /// Asks it to end (SIGTERM), and waits until it and all its commands are gone.
    #[track_caller]
    pub fn stop(&mut self) {
        self.end("TERM");
    }

    /// Kills it (SIGKILL) with all its commands, and waits until they are gone.
    #[track_caller]
    pub fn kill(&mut self) {
        self.end("KILL");
    }

    #[track_caller]
    fn end(&mut self, signal: &str) {
        // To everybody in the namespace but its first process, which stays and tells.
        self.order(&format!(
            "kill -{signal} -1; while kill -0 -1 2>/dev/null; do sleep 0.01; done; echo gone\n"
        ));
        self.running.wait_for_line(SOON, |line| line == "gone");
        self.orders = None;
        self.running.wait(SOON);
    }

    /// Has the first process of the namespace run a line of shell.
    #[track_caller]
    pub fn order(&mut self, line: &str) {
        let orders = self.orders.as_mut().expect("nobody gives orders after the end");
        orders.write_all(line.as_bytes()).unwrap();
        orders.flush().unwrap();
    }
}

impl Drop for Daemon {
    /// The kernel ends everybody in the namespace before its first process is gone, so that the next daemon finds
    /// the ports free.
    fn drop(&mut self) {
        self.orders = None;
        let deadline = Instant::now() + SOON;
        // One that still waits for its daemon to come back doesn't hear that; `Running` kills it.
        while self.running.has_ended().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// `<29>Nov 21 02:10:00 portsentry[19535]: attackalert: …` without the time and the tag. What has another form
/// stays as it is, so that a test which compares it fails.
fn without_time(entry: &str) -> String {
    let parts = || {
        let (priority, rest) = entry.split_once('>')?;
        let (head, text) = rest.split_once("]: ")?;
        let (time, process) = head.split_once(" portsentry[")?;
        let is_number = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
        (has_form(time, "Aaa 00 00:00:00") && is_number).then(|| format!("{priority}>{text}"))
    };
    parts().unwrap_or_else(|| entry.to_owned())
}

/// Whether a text is like this form, in which `0` stands for a digit (the day's first may be a blank), `A` and `a` for
/// letters, and all else for itself.
pub fn has_form(text: &str, form: &str) -> bool {
    let fits = |(place, (is, form)): (usize, (char, char))| match form {
        '0' => is.is_ascii_digit() || (is == ' ' && text[..place].ends_with(' ')),
        'A' => is.is_ascii_uppercase(),
        'a' => is.is_ascii_lowercase(),
        _ => is == form,
    };
    text.is_ascii() && text.len() == form.len() && text.chars().zip(form.chars()).enumerate().all(fits)
}

fn lock(log: &Mutex<Vec<String>>) -> std::sync::MutexGuard<'_, Vec<String>> {
    // A test that fails while it looks leaves the lines whole.
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
