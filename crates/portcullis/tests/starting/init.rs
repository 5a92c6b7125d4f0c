//! The init script, run by dash in a namespace with its own /etc, /var and /run. Its guard is a stand-in that takes the
//! same words, writes the pid file and waits for signals; the modes are read by the real program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use testbed::Namespace;

use super::{PROGRAM, packaged};

/// Where the stand-in is, inside.
const STAND_IN: &str = "/run/stand-in";

struct Machine {
    inside: Namespace,
}

/// How a verb ended and what it printed on either stream.
type Ended = (i32, String);

impl Machine {
    fn new() -> Option<Machine> {
        let machine = Machine { inside: Namespace::with_mounts()? };
        machine.write("/etc/sysconfig/network", "NETWORKING=yes\n");
        // Named as the guard names itself; it does not outlive a broken test for long.
        machine.script(
            "/run/guard/portsentry",
            "trap 'echo HUP >> /var/signals' HUP\ntrap 'exit 15' TERM\ni=0\n\
             while [ $i -lt 600 ]; do i=$((i+1)); sleep 0.05; done\n",
        );
        let stand_in = format!(
            "case \"$2\" in --modes) exec {PROGRAM} \"$@\" ;; esac\n\
             [ -e /etc/broken ] && {{ echo 'no such port' >&2; exit 255; }}\n\
             echo \"$*\" >> /var/starts\n\
             /run/guard/portsentry > /dev/null 2>&1 &\n\
             while [ \"$1\" != --pid-file ]; do shift; done\n\
             until [ \"$(cat /proc/$!/comm)\" = portsentry ]; do :; done\n\
             echo $! > \"$2\"\n"
        );
        machine.script(STAND_IN, &stand_in);
        Some(machine)
    }

    fn write(&self, path: &str, text: &str) {
        self.inside.enter(|| {
            fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        });
    }

    fn script(&self, path: &str, body: &str) {
        self.write(path, &format!("#!/bin/sh\n{body}"));
        self.inside.enter(|| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap());
    }

    fn read(&self, path: &str) -> String {
        self.inside.enter(|| fs::read_to_string(path).unwrap_or_default())
    }

    fn exists(&self, path: &str) -> bool {
        self.inside.enter(|| Path::new(path).exists())
    }

    fn verb(&self, verb: &str) -> Ended {
        let shell = if testbed::is_installed("dash") { "dash" } else { "sh" };
        let mut command = self.inside.command(shell);
        // In files, since a guard in the background would hold a pipe open.
        command.arg("-c").arg(format!("PORTCULLIS={STAND_IN} {shell} \"$1\" $2 > /run/said 2>&1"));
        command.arg("sh").arg(packaged("portsentry.init").canonicalize().unwrap()).arg(verb);
        let code = command.status().unwrap().code().unwrap();
        (code, self.read("/run/said"))
    }

    #[track_caller]
    fn expect(&self, verb: &str, code: i32, says: &str) {
        let (ended, said) = self.verb(verb);
        assert!(ended == code && said.contains(says), "{verb}: {ended} {said}");
    }

    fn starts(&self) -> usize {
        self.read("/var/starts").lines().count()
    }
}

const PID_FILE: &str = "/var/run/portsentry.pid";

#[test]
fn every_verb_does_what_it_says() {
    let Some(machine) = Machine::new() else { return };
    machine.write("/etc/default/portsentry", "# modes\nTCP_MODE=”tcp”\nUDP_MODE=\"udp\"\n");
    machine.inside.enter(|| fs::create_dir_all("/var/lock/subsys").unwrap());
    machine.expect("status", 3, "is not running");
    machine.expect("reload", 7, "is not running");
    machine.expect("condrestart", 0, "");
    machine.expect("stop", 0, "is not running");
    assert_eq!(machine.starts(), 0);

    machine.expect("start", 0, "started: -tcp -udp");
    assert!(machine.read("/run/said").contains("typographic quotes"));
    assert_eq!(machine.read("/var/starts"), format!("portsentry -tcp -udp --pid-file {PID_FILE}\n"));
    assert!(machine.exists("/var/lock/subsys/portsentry"));
    let pid = machine.read(PID_FILE);
    machine.expect("status", 0, &format!("is running (process {})", pid.trim()));
    machine.expect("start", 0, "is running already");
    assert_eq!(machine.starts(), 1);

    for (count, verb) in [(1, "reload"), (2, "force-reload")] {
        machine.expect(verb, 0, "told to read its configuration anew");
        testbed::wait_until(std::time::Duration::from_secs(10), "the signal", || {
            (machine.read("/var/signals").lines().count() == count).then_some(())
        });
        assert_eq!(machine.read(PID_FILE), pid, "it goes on");
    }
    for (count, verb) in [(2, "restart"), (3, "condrestart"), (4, "try-restart")] {
        machine.expect(verb, 0, "started: -tcp -udp");
        assert_eq!(machine.starts(), count);
    }
    assert_ne!(machine.read(PID_FILE), pid);
    machine.expect("stop", 0, "stopped");
    assert!(!machine.exists(PID_FILE) && !machine.exists("/var/lock/subsys/portsentry"));
    machine.expect("force-reload", 0, "started");
    machine.expect("stop", 0, "stopped");
    machine.expect("explode", 2, "Usage:");
    machine.expect("", 2, "Usage:");
}

#[test]
fn odd_files_start_what_they_mean_or_nothing() {
    let Some(machine) = Machine::new() else { return };
    let default = "/etc/default/portsentry";
    let sysconfig = "/etc/sysconfig/portsentry";
    for (path, text, code, says) in [
        (default, "TCP_MODE=\"\"\nUDP_MODE=\"\"\n", 0, "no mode is configured"),
        (default, "TCP_MODE=\"fast\"\nUDP_MODE=\"udp\"\n", 1, "fast is not a valid mode."),
        (default, "TCP_MODE=\"udp\"\n", 1, "udp is not a valid mode."),
        (default, "TCP_MODE=\"$(touch /var/ran)\"\n", 1, "is not a valid mode."),
        (sysconfig, "MODE=none\n", 0, "no mode is configured"),
        ("/etc/portsentry/portsentry.modes", "tcp\nstcp\n", 1, "both watch TCP"),
        ("/etc/sysconfig/network", "NETWORKING=no\n", 0, "NETWORKING=no"),
        ("/etc/sysconfig/network", "export NETWORKING=\"no\" # for now\n", 0, "NETWORKING=no"),
    ] {
        machine.write(path, text);
        machine.expect("start", code, says);
        assert_eq!(machine.starts(), 0, "{text}");
        machine.expect("status", 3, "");
        machine.inside.enter(|| fs::remove_file(path).unwrap());
    }
    assert!(!machine.exists("/var/ran"));
    for (path, text, words) in [
        (default, "TCP_MODE=\"\"\nUDP_MODE='sudp'\n", "-sudp"),
        (sysconfig, "MODE=atcp\n", "-atcp"),
        ("/etc/portsentry/portsentry.modes", "# ours\natcp # all\naudp\n", "-atcp -audp"),
        ("/usr/does/not/matter", "", "-tcp -udp"),
    ] {
        if !text.is_empty() {
            machine.write(path, text);
        }
        machine.expect("start", 0, &format!("started: {words}"));
        machine.expect("stop", 0, "stopped");
        if !text.is_empty() {
            machine.inside.enter(|| fs::remove_file(path).unwrap());
        }
    }
}

#[test]
fn a_pid_file_that_is_not_ours_is_no_running_guard() {
    let Some(machine) = Machine::new() else { return };
    for text in ["1\n", "999999999\n", "junk; rm -rf /\n", "", "-1\n", "1 2\n"] {
        machine.write(PID_FILE, text);
        machine.expect("status", 1, "is dead, and /var/run/portsentry.pid is left over");
        machine.expect("reload", 7, "is not running");
    }
    machine.expect("start", 0, "started");
    machine.expect("status", 0, "is running");
    machine.expect("stop", 0, "stopped");
    machine.inside.enter(|| fs::create_dir_all("/var/lock/subsys").unwrap());
    machine.write("/var/lock/subsys/portsentry", "");
    machine.expect("status", 2, "/var/lock/subsys/portsentry is left over");
}

#[test]
fn a_start_that_fails_is_said_by_the_exit_code() {
    let Some(machine) = Machine::new() else { return };
    machine.write("/etc/broken", "");
    machine.inside.enter(|| fs::create_dir_all("/var/lock/subsys").unwrap());
    machine.expect("start", 1, "no such port");
    assert!(!machine.exists("/var/lock/subsys/portsentry"));
    machine.inside.enter(|| fs::remove_file(STAND_IN).unwrap());
    machine.expect("start", 5, "there is no /run/stand-in");
}
