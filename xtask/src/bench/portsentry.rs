//! The peer: Debian's portsentry 1.2, unpacked and never installed, in namespaces of its own.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use testbed::{Namespace, Running};

/// As the manual of 1.2 has it. The mode that watches the most, reacting at the first probe, which is its default.
const CONFIGURATION: &str = r#"
ADVANCED_PORTS_TCP="1024"
ADVANCED_EXCLUDE_TCP="113,139"
IGNORE_FILE="/etc/portsentry/portsentry.ignore"
HISTORY_FILE="/var/lib/portsentry/portsentry.history"
BLOCKED_FILE="/var/lib/portsentry/portsentry.blocked"
RESOLVE_HOST="0"
BLOCK_UDP="1"
BLOCK_TCP="1"
KILL_ROUTE="/usr/sbin/iptables -I INPUT -s $TARGET$ -j DROP"
SCAN_TRIGGER="0"
"#;

/// What it says when it watches.
const READY: &str = "PortSentry is now active and listening";

/// It tries to bind each port it watches when it starts, which takes a few ms.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running PortSentry, or portcullis in its place; it ends with this value.
pub struct PortSentry {
    running: Running,
    told: Receiver<String>,
    is_over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl PortSentry {
    /// The program in the place where the package was unpacked, if it can run here.
    pub fn program(unpacked: &Path) -> Option<String> {
        let program = unpacked.join("usr/sbin/portsentry");
        (program.is_file() && Path::new("/usr/sbin/iptables").exists()).then(|| program.display().to_string())
    }

    /// Starts it in a namespace that has mounts of its own, and waits until it watches.
    ///
    /// # Errors
    /// What went wrong, with its log.
    pub fn start(namespace: &Namespace, program: &str) -> Result<Self, String> {
        Self::start_as(namespace, program, "-atcp", CONFIGURATION)
    }

    /// The same in any mode and with any configuration.
    ///
    /// # Errors
    /// As [`PortSentry::start`].
    pub fn start_as(
        namespace: &Namespace,
        program: &str,
        mode: &str,
        configuration: &str,
    ) -> Result<Self, String> {
        // It goes into the background; in a process namespace of its own it ends with the first process there.
        let mut command = namespace.command("unshare");
        let script = "\"$0\" \"$1\" && exec sleep infinity";
        command.args(["--pid", "--fork", "--kill-child", "sh", "-c", script, program, mode]);
        Self::wait_for(namespace, &mut command, configuration)
    }

    /// Portcullis in its place, with the same files.
    ///
    /// # Errors
    /// As [`PortSentry::start`].
    pub fn start_ours(
        namespace: &Namespace,
        program: &Path,
        mode: &str,
        configuration: &str,
    ) -> Result<Self, String> {
        let mut command = namespace.command(&program.display().to_string());
        command.args(["portsentry", mode, "--foreground"]);
        Self::wait_for(namespace, &mut command, configuration)
    }

    fn wait_for(namespace: &Namespace, command: &mut Command, configuration: &str) -> Result<Self, String> {
        let log = namespace.enter(|| -> std::io::Result<UnixDatagram> {
            fs::create_dir_all("/etc/portsentry")?;
            fs::create_dir_all("/var/lib/portsentry")?;
            fs::write("/etc/portsentry/portsentry.conf", configuration)?;
            fs::write("/etc/portsentry/portsentry.ignore", "127.0.0.1/32\n0.0.0.0\n")?;
            let log = UnixDatagram::bind("/dev/log")?;
            log.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(log)
        });
        let log = log.map_err(|error| format!("a place for portsentry: {error}"))?;
        let (lines, told) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let is_over_for_reader = Arc::clone(&is_over);
        // Read all the time: it would wait for a log that is full.
        let reader = thread::spawn(move || {
            let mut line = [0; 2048];
            while !is_over_for_reader.load(Ordering::Relaxed) {
                if let Ok(length) = log.recv(&mut line) {
                    // Nobody hears it once the start is over.
                    drop(lines.send(String::from_utf8_lossy(&line[..length]).into_owned()));
                }
            }
        });
        let running = Running::spawn(command);
        let peer = Self { running, told, is_over, reader: Some(reader) };
        let mut log = String::new();
        while !log.contains(READY) {
            let line = peer.told.recv_timeout(PATIENCE);
            log += &line.map_err(|_| format!("portsentry does not watch; its log:\n{log}"))?;
            log.push('\n');
        }
        Ok(peer)
    }

    /// What it has told the system's log since it was asked last.
    pub fn told(&self) -> Vec<String> {
        self.told.try_iter().collect()
    }

    /// Ends it in order, so that it says what it has held back. Not for the peer, which is in the background.
    pub fn stop(&mut self) {
        self.running.stop(PATIENCE);
    }
}

impl Drop for PortSentry {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It has nothing to panic about.
        let _ = self.reader.take().map(JoinHandle::join);
    }
}
