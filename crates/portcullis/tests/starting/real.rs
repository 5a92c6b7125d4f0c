//! The program itself, started as scripts of PortSentry's days start it.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::thread;
use std::time::Duration;

use testbed::{Namespace, wait_until};

use super::{PROGRAM, packaged};

const SOON: Duration = Duration::from_secs(20);

const CONFIGURATION: &str = "TCP_PORTS=\"1,11,15\"\nUDP_PORTS=\"1,7\"\nIGNORE_FILE=\"/etc/portsentry/portsentry.ignore\"\n\
    HISTORY_FILE=\"/var/lib/portsentry/portsentry.history\"\nBLOCKED_FILE=\"/var/lib/portsentry/portsentry.blocked\"\n\
    ADVANCED_PORTS_TCP=\"1024\"\nADVANCED_PORTS_UDP=\"1024\"\n";

/// A machine of its own, with the old files.
fn machine(configuration: &str) -> Option<Namespace> {
    let machine = Namespace::with_mounts()?;
    machine.enter(|| {
        for directory in ["/etc/portsentry", "/var/lib/portsentry", "/run/names"] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write("/etc/portsentry/portsentry.conf", configuration).unwrap();
        fs::write("/etc/portsentry/portsentry.ignore", "127.0.0.1\n").unwrap();
        std::os::unix::fs::symlink(PROGRAM, "/run/names/portsentry").unwrap();
    });
    Some(machine)
}

/// Runs it by its old name, to the end of what the caller sees. Its output goes through pipes, which a process in the
/// background must not hold open.
fn portsentry(machine: &Namespace, words: &[&str]) -> Output {
    let mut command = machine.command("/run/names/portsentry");
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
}

#[track_caller]
fn assert_started(output: &Output) {
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// The process whose number the file holds; it ends with the test.
struct Guard {
    id: i32,
}

impl Guard {
    fn of(machine: &Namespace, pid_file: &str) -> Guard {
        let text = machine.enter(|| fs::read_to_string(pid_file)).unwrap();
        Guard { id: text.trim().parse().unwrap() }
    }

    fn place(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.id))
    }

    fn read(&self, name: &str) -> String {
        fs::read(self.place().join(name))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn runs(&self) -> bool {
        self.read("comm") == "portsentry\n" && !self.read("stat").contains(") Z ")
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.id).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.runs() {
            self.signal(rustix::process::Signal::KILL);
        }
    }
}

#[test]
fn in_the_background_it_watches_when_its_caller_goes_on() {
    let Some(machine) = machine(CONFIGURATION) else { return };
    let output = portsentry(&machine, &["-stcp", "-sudp", "--pid-file", "/run/portsentry.pid"]);
    assert_started(&output);
    let guard = Guard::of(&machine, "/run/portsentry.pid");
    assert!(guard.runs());
    assert!(guard.read("cmdline").starts_with("portsentry\0-stcp\0-sudp\0"), "{}", guard.read("cmdline"));
    assert!(guard.read("status").contains("Umask:\t0077"));
    assert_eq!(fs::read_link(guard.place().join("cwd")).unwrap(), Path::new("/"));
    // proc_pid_stat(5): the sixth field; its name, the second, has no blank.
    let stat = guard.read("stat");
    let session = stat.split_whitespace().nth(5);
    assert_eq!(session, Some(guard.id.to_string().as_str()), "the session is its own");
    if testbed::is_installed("pidof") {
        let found = machine.run(&["pidof", "portsentry"]).stdout;
        let found = String::from_utf8_lossy(&found).into_owned();
        assert!(found.split_whitespace().any(|id| id == guard.id.to_string()), "{found}");
    }
    for stream in ["0", "1", "2"] {
        let target = fs::read_link(guard.place().join("fd").join(stream)).unwrap();
        assert_eq!(target, Path::new("/dev/null"), "{stream}");
    }
    guard.signal(rustix::process::Signal::TERM);
    wait_until(SOON, "its end", || (!guard.runs()).then_some(()));
    assert!(!machine.enter(|| Path::new("/run/portsentry.pid").exists()));
}

#[test]
fn a_start_that_fails_is_the_callers_to_know() {
    let Some(machine) = machine("TCP_PORTS=\"\"\nUDP_PORTS=\"\"\n") else { return };
    for (words, code) in [(["-tcp"].as_slice(), 255), (["-D"].as_slice(), 1), (["--connect"].as_slice(), 1)] {
        let output = portsentry(&machine, words);
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains("TCP_PORTS"), "{words:?}: {said}");
    }
    machine.enter(|| fs::remove_file("/etc/portsentry/portsentry.conf").unwrap());
    let output = portsentry(&machine, &["-tcp"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(255));
    assert!(said.contains("/etc/portsentry/portsentry.conf"), "{said}");
}

#[test]
fn a_second_start_fails_and_leaves_the_first_one_its_pid_file() {
    let Some(machine) = machine(CONFIGURATION) else { return };
    let words = ["-stcp", "--pid-file", "/run/portsentry.pid"];
    assert_started(&portsentry(&machine, &words));
    let guard = Guard::of(&machine, "/run/portsentry.pid");
    let output = portsentry(&machine, &words);
    assert_eq!(output.status.code(), Some(255), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(guard.runs());
    assert_eq!(Guard::of(&machine, "/run/portsentry.pid").id, guard.id);
}

#[test]
fn only_root_may_start_it() {
    let Some(machine) = machine(CONFIGURATION) else { return };
    // The program itself lies where not everybody may look; a descriptor leads there.
    let mut command = machine.command("sh");
    command.args(["-c", "exec 9< \"$1\"; exec setpriv --reuid 65534 --regid 65534 --clear-groups /proc/self/fd/9 portsentry -tcp"]);
    let output = command.arg("sh").arg(PROGRAM).output().unwrap();
    assert_eq!(output.status.code(), Some(255), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("You need to be root to run this."));
}

/// What how-tos and their copies have made of the file: it starts, or says line and mend.
#[test]
fn broken_files_start_or_say_where_and_how_to_mend_them() {
    let Some(machine) = machine("") else { return };
    let files = CONFIGURATION.lines().skip(2).collect::<Vec<_>>().join("\n");
    let write = |text: &str| {
        machine.enter(|| fs::write("/etc/portsentry/portsentry.conf", format!("{text}\n{files}\n")).unwrap());
    };
    for text in [
        "TCP_PORTS=”1,11”\nBLOCK_TCP=“0”",
        "TCP_PORTS=\"1,11,12,12\n346,20034\"",
        "TCP_PORTS=\"1, 11, 15\"",
        "TCP_PORTS=\"1,512-515,70000\"",
        "TCP_PORTS=1,11",
        "\tTCP_PORTS = \"1\"\r\n",
        "TCP_PORTS=\"1\"\nKILL_ROUTE=\"/sbin/route add –host $TARGET$ reject\"\nBLOCK_TCP=\"1\"",
        "TCP_PORTS=\"1\"\nNO_SUCH_KEY=\"1\"\nKILL_RUN_CMD=\"/no/such/program $TARGET$\"\nBLOCK_TCP=\"2\"",
        "TCP_PORTS=\"1\"\nKILL_ROUTE_BY=\"nftables\"\nBLOCK_TIME=\"7d\"\nBLOCK_TCP=\"1\"",
    ] {
        write(text);
        let output = portsentry(&machine, &["-stcp", "--pid-file", "/run/portsentry.pid"]);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        let guard = Guard::of(&machine, "/run/portsentry.pid");
        guard.signal(rustix::process::Signal::TERM);
        wait_until(SOON, "its end", || (!guard.runs()).then_some(()));
    }
    for (text, place, mend) in [
        (
            "TCP_PORTS=\"1\"\nKILL_ROUTE=\"/sbin/iptables -I INPUT\n -s $TARGET$ -j DROP\"",
            ":2:13",
            "on one line",
        ),
        ("TCP_PORTS=\"1\"\nBLOCK_TIME=\"7\"", ":2:13", "\"7d\""),
        ("TCP_PORTS=", ":1:1", "write TCP_PORTS="),
    ] {
        write(text);
        let output = portsentry(&machine, &["-stcp"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(255), "{text}\n{said}");
        assert!(said.contains(&format!("portsentry.conf{place}")) && said.contains(mend), "{text}\n{said}");
    }
}

#[test]
fn the_ignore_file_of_an_init_script_follows_the_hosts_addresses() {
    let Some(machine) = machine(CONFIGURATION) else { return };
    machine.add_address("lo", "192.0.2.7/24");
    let ignored = || machine.enter(|| fs::read_to_string("/etc/portsentry/portsentry.ignore").unwrap());
    machine
        .enter(|| fs::write("/etc/portsentry/portsentry.ignore.static", "10.1.0.0/16 # office\n").unwrap());
    assert_started(&portsentry(&machine, &["-stcp", "--pid-file", "/run/portsentry.pid"]));
    let guard = Guard::of(&machine, "/run/portsentry.pid");
    assert!(
        ignored().contains("DO NOT EDIT") && ignored().contains("\n10.1.0.0/16 # office\n"),
        "{}",
        ignored()
    );
    assert!(ignored().contains("\n192.0.2.7\n"));
    machine.add_address("lo", "2001:db8::7/64");
    wait_until(SOON, "the new address", || ignored().contains("\n2001:db8::7\n").then_some(()));
    assert!(guard.runs());
}

#[test]
fn the_ignore_file_is_called_missing_only_where_none_is_made() {
    const READY: &str = "is now active and listening";
    for is_made in [true, false] {
        let Some(machine) = machine(CONFIGURATION) else { return };
        let log = machine.enter(|| UnixDatagram::bind("/dev/log").unwrap());
        log.set_read_timeout(Some(SOON)).unwrap();
        machine.enter(|| fs::remove_file("/etc/portsentry/portsentry.ignore").unwrap());
        if is_made {
            machine.enter(|| fs::write("/etc/portsentry/portsentry.ignore.static", "10.1.0.0/16\n").unwrap());
        }
        // Beside the start: a full queue would hold it up.
        let reader = thread::spawn(move || {
            let mut said = String::new();
            let mut line = [0; 1024];
            while !said.contains(READY) {
                let length = log.recv(&mut line).unwrap();
                said += &String::from_utf8_lossy(&line[..length]);
            }
            said
        });
        assert_started(&portsentry(&machine, &["-stcp", "--pid-file", "/run/portsentry.pid"]));
        let _guard = Guard::of(&machine, "/run/portsentry.pid");
        let said = reader.join().unwrap();
        assert_eq!(said.contains("cannot open ignore file"), !is_made, "{said}");
    }
}

#[test]
fn even_a_wrong_word_ends_with_the_two_lines_in_the_log() {
    let Some(machine) = machine(CONFIGURATION) else { return };
    let log = machine.enter(|| UnixDatagram::bind("/dev/log").unwrap());
    log.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(portsentry(&machine, &["-tcp", "-stcp"]).status.code(), Some(255));
    for text in ["securityalert: PortSentry is shutting down", "adminalert: PortSentry is shutting down"] {
        let mut line = [0; 1024];
        let length = log.recv(&mut line).unwrap();
        let line = String::from_utf8_lossy(&line[..length]);
        assert!(line.starts_with("<29>") && line.trim_end_matches(['\0', '\n']).ends_with(text), "{line}");
    }
}

#[test]
fn a_fault_with_its_mend_is_one_line_in_the_log() {
    let Some(machine) = machine(CONFIGURATION) else { return };
    let log = machine.enter(|| UnixDatagram::bind("/dev/log").unwrap());
    log.set_read_timeout(Some(SOON)).unwrap();
    let line_with = |word: &str| loop {
        let mut line = [0; 9000];
        let length = log.recv(&mut line).unwrap();
        let line = String::from_utf8_lossy(&line[..length]).into_owned();
        if line.contains(word) {
            return line;
        }
    };
    let mut running = machine.start(&[PROGRAM, "portsentry", "-stcp", "--foreground"]);
    line_with("now active and listening");
    machine.enter(|| {
        fs::write("/etc/portsentry/portsentry.conf", "TCP_PORTS=\"1\"\nBLOCK_TIME=\"7\"\n").unwrap()
    });
    running.signal(testbed::Signal::SIGHUP);
    let line = line_with("the configuration was not changed");
    let expected =
        ": adminalert: ERROR: the configuration was not changed: /etc/portsentry/portsentry.conf:2:13: ";
    assert!(line.contains(expected), "{line}");
    assert!(line.contains("\"7d\"") && line.ends_with("; to mend it: mend it and reload again"), "{line}");
    assert!(!line.contains("\\n") && !line.contains('\n') && !line.contains(" | "), "{line}");
    running.stop(SOON);
}

/// What the systemd unit does, without systemd.
#[test]
fn in_the_foreground_it_reads_the_modes_and_tells_the_service_manager() {
    let Some(machine) = machine(CONFIGURATION) else { return };
    let manager = machine.enter(|| {
        fs::create_dir_all("/etc/default").unwrap();
        fs::write("/etc/default/portsentry", "TCP_MODE=”stcp”\nUDP_MODE=\"\"\n").unwrap();
        UnixDatagram::bind("/run/notify").unwrap()
    });
    manager.set_read_timeout(Some(SOON)).unwrap();
    let mut command = machine.command(PROGRAM);
    command.args(["portsentry", "--as-configured", "--foreground", "--pid-file", "/run/portsentry.pid"]);
    let mut running = testbed::Running::spawn(command.env("NOTIFY_SOCKET", "/run/notify"));
    let mut told = String::new();
    while !told.contains("READY=1") {
        let mut text = [0; 1024];
        let length = manager.recv(&mut text).unwrap();
        told += &String::from_utf8_lossy(&text[..length]);
    }
    let guard = Guard::of(&machine, "/run/portsentry.pid");
    assert_eq!(u32::try_from(guard.id).unwrap(), running.id());
    assert!(guard.runs(), "also in the foreground it is called portsentry");
    // 1.x ended with the number of the signal; the unit knows.
    assert_eq!(running.stop(SOON).code(), Some(15));

    machine.enter(|| fs::write("/etc/default/portsentry", "TCP_MODE=\"fast\"\n").unwrap());
    let output =
        machine.command(PROGRAM).args(["portsentry", "--as-configured", "--foreground"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("fast is not a valid mode."), "{said}");
}

#[test]
fn the_init_script_starts_restarts_and_stops_the_real_one() {
    let Some(machine) = machine(CONFIGURATION) else { return };
    machine.enter(|| {
        fs::create_dir_all("/etc/default").unwrap();
        fs::write("/etc/default/portsentry", "TCP_MODE=\"atcp\"\nUDP_MODE=\"audp\"\n").unwrap();
    });
    let verb = |verb: &str| {
        let mut command = machine.command("sh");
        command.env("PORTCULLIS", PROGRAM).arg(packaged("portsentry.init").canonicalize().unwrap()).arg(verb);
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), said)
    };
    let (code, said) = verb("start");
    assert_eq!(code, 0, "{said}");
    let first = Guard::of(&machine, "/run/portsentry.pid");
    assert!(first.runs() && verb("status").0 == 0);
    assert_eq!(verb("reload").0, 0);
    let (code, said) = verb("restart");
    assert_eq!(code, 0, "{said}");
    let second = Guard::of(&machine, "/run/portsentry.pid");
    assert!(second.runs() && !first.runs() && second.id != first.id);
    assert_eq!(verb("stop").0, 0);
    assert!(!second.runs() && verb("status").0 == 3);
}
