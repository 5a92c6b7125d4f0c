//! The programs that read what we write, and those that ban through us: fail2ban, logcheck, logrotate, with the files
//! of `packaging/` and the distribution's own programs.

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::tz::TimeZone;
use portcullis::config::portsentry::StartMode;
use portcullis::record::portsentry::Voice;
use portcullis::record::portsentry::history::History;
use portcullis::record::portsentry::words::Host;
use portcullis_core::net::Protocol;
use portcullis_core::time::{Mono, Wall};
use serde_json::json;
use tempfile::TempDir;
use testbed::{Lab, Namespace, Running, Signal, rights, wait_until};

use crate::harness::{Guard, PROGRAM, SOON, Said};
use crate::kernel::is_banned;

/// A package of the distribution, unpacked and not installed: fail2ban and logcheck would bring a service that bans,
/// a mail server and a cron job to the machine of whoever runs the tests.
fn unpacked(package: &str) -> Option<PathBuf> {
    match testbed::unpack(package) {
        Ok(root) => Some(root),
        Err(_) if !testbed::is_installed("apt-get") => None,
        Err(error) => panic!("{error}"),
    }
}

/// A program of an unpacked package, and what it needs of others.
fn program(root: &Path, path: &str) -> Command {
    let mut command = Command::new(root.join(path));
    command.env("LC_ALL", "C").env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"));
    command
}

/// The library of an unpacked package, wherever its release and machine have their libraries.
fn library(package: &str, name: &str) -> Option<PathBuf> {
    let root = unpacked(package)?;
    let places = ["lib", "usr/lib"].into_iter().filter_map(|place| fs::read_dir(root.join(place)).ok());
    let found = places.flatten().map(|entry| entry.unwrap().path().join(name)).find(|path| path.exists());
    Some(found.unwrap_or_else(|| panic!("{} has no {name}", root.display())))
}

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(file)
}

/// Lines of history files, of both dialects; the addresses are told apart by their last number.
const HISTORY: [(&str, bool); 12] = [
    ("1795226889 - 11/21/2026 02:08:09 Host: 192.0.2.1/192.0.2.1 Port: 111 TCP Blocked", true),
    ("1109630388 - 03/01/2005 05:39:48 Host: scanner.example.com/192.0.2.2 Port: 22 TCP Blocked", true),
    ("1795226889 - 11/21/2026 02:08:09 Host: 2001:db8::3/2001:db8::3 Port: 7 UDP Blocked", true),
    // A name is what a stranger's DNS says: it never stands for the address.
    ("1795226889 - 11/21/2026 02:08:09 Host: 192.0.2.200/192.0.2.4 Port: 7 UDP Blocked", true),
    (
        "2026-11-21T02:08:20.453+0000 Scan from: [192.0.2.5] (192.0.2.5) protocol: [TCP] port: [111] type: [TCP \
         SYN/Normal scan] IP opts: [not set] ignored: [false] triggered: [true] noblock: [false] blocked: [true]",
        true,
    ),
    (
        "2026-11-21T02:08:20.453+0000 Scan from: [2001:db8::6] (2001:db8::6) protocol: [UDP] port: [7] type: [UDP] \
         IP opts: [unknown] ignored: [false] triggered: [true] noblock: [false] blocked: [false]",
        true,
    ),
    (
        "2026-11-21T02:08:20.453+0000 Scan from: [192.0.2.7] (x.example) protocol: [TCP] port: [9] type: [Unknown \
         Type: TCP Packet Flags: SYN: 1 FIN: 1 ACK: 0 PSH: 0 URG: 0 RST: 0] IP opts: [set] ignored: [false] \
         triggered: [true] noblock: [false] blocked: [true]",
        true,
    ),
    // On the ignore list.
    (
        "2026-11-21T02:08:20.453+0000 Scan from: [192.0.2.101] (192.0.2.101) protocol: [TCP] port: [111] type: [TCP \
         SYN/Normal scan] IP opts: [not set] ignored: [true] triggered: [unset] noblock: [unset] blocked: [unset]",
        false,
    ),
    // Below the trigger.
    (
        "2026-11-21T02:08:20.453+0000 Scan from: [192.0.2.102] (192.0.2.102) protocol: [TCP] port: [111] type: [TCP \
         SYN/Normal scan] IP opts: [not set] ignored: [false] triggered: [false] noblock: [unset] blocked: [unset]",
        false,
    ),
    // Its own address.
    (
        "2026-11-21T02:08:20.453+0000 Scan from: [192.0.2.103] (192.0.2.103) protocol: [TCP] port: [111] type: [TCP \
         SYN/Normal scan] IP opts: [not set] ignored: [true] triggered: [true] noblock: [true] blocked: [false]",
        false,
    ),
    // BLOCK_TCP="0".
    (
        "2026-11-21T02:08:20.453+0000 Scan from: [192.0.2.104] (192.0.2.104) protocol: [TCP] port: [111] type: [TCP \
         SYN/Normal scan] IP opts: [not set] ignored: [false] triggered: [true] noblock: [true] blocked: [false]",
        false,
    ),
    // A name that would like to end the line early.
    (
        "2026-11-21T02:08:20.453+0000 Scan from: [192.0.2.105] (x) protocol: [TCP] port: [1] type: [UDP] IP opts: \
         [set] ignored: [false] triggered: [true] noblock: [false] blocked: [true] y) protocol: [TCP] port: [111] \
         type: [UDP] IP opts: [not set] ignored: [true] triggered: [unset] noblock: [unset] blocked: [unset]",
        false,
    ),
];

/// Where a line of the log goes in a report of logcheck.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Section {
    Alert,
    Event,
    Nowhere,
}

/// Lines of syslog, whether fail2ban bans the host, and where logcheck reports it.
const SYSLOG: [(&str, bool, Section); 31] = {
    use Section::{Alert, Event, Nowhere};
    [
        ("adminalert: PortSentry 1.2 is starting.", false, Nowhere),
        ("adminalert: Going into listen mode on TCP port: 111", false, Nowhere),
        ("adminalert: Going into stealth listen mode on UDP port: 7", false, Nowhere),
        ("adminalert: Advanced mode will monitor first 1024 ports", false, Nowhere),
        ("adminalert: Advanced mode will manually exclude port: 113 ", false, Nowhere),
        ("adminalert: Advanced mode will manually exclude no ports", false, Nowhere),
        ("adminalert: Advanced Stealth scan detection mode activated. Ignored TCP port: 22", false, Nowhere),
        ("adminalert: PortSentry is now active and listening.", false, Nowhere),
        ("adminalert: The configuration has been read again and holds from now on.", false, Nowhere),
        ("securityalert: PortSentry is shutting down", false, Nowhere),
        ("adminalert: PortSentry is shutting down", false, Nowhere),
        // An operator's own doing, or what he has asked for.
        ("adminalert: Host: 192.0.2.1/192.0.2.1 is let in again (its time is over)", false, Nowhere),
        ("Host: 2001:db8::1/2001:db8::1 is let in again (by hand)", false, Nowhere),
        ("adminalert: ERROR: could not bind TCP socket: 143. Attempting to continue", false, Event),
        ("securityalert: ERROR: There was an error trying to block host 192.0.2.1", false, Event),
        // That a service has come to a trap's port, or has left one, is no fault, but nobody should miss it.
        ("adminalert: port 143/tcp is free, and watched now", false, Event),
        ("adminalert: a service has come to port 143/udp, so it is not watched for now", false, Event),
        ("attackalert: TCP SYN/Normal scan from host: 192.0.2.1/192.0.2.1 to TCP port: 111", false, Alert),
        ("attackalert:  TCP NULL scan from host: x.example/192.0.2.1 to TCP port: 111", false, Alert),
        ("attackalert: Host: 192.0.2.1/192.0.2.1 is already blocked Ignoring", false, Alert),
        ("attackalert: Ignoring TCP response per configuration file setting.", false, Alert),
        ("attackalert: ERROR: Could not block host x.example/192.0.2.2 !!", true, Alert),
        ("attackalert: ERROR: Could not block host 192.0.2.3/192.0.2.3!!", true, Alert),
        (
            "attackalert: Host 192.0.2.4 has been blocked via wrappers with string: \"ALL: 192.0.2.4\"",
            true,
            Alert,
        ),
        (
            "attackalert: Host 2001:db8::5 has been blocked via dropped route using command: \"/sbin/route\"",
            true,
            Alert,
        ),
        ("attackalert: External command run for host: 192.0.2.6 using command: \"/bin/true\"", true, Alert),
        ("Portsentry is now active and listening.", false, Nowhere),
        ("/etc/portsentry/portsentry.conf:7: doubtful: KILL_ROUTE lacks $TARGET$", false, Event),
        ("No target variable specified in KILL_ROUTE option. Skipping.", false, Event),
        (
            "Scan from: [192.0.2.7] (192.0.2.7) protocol: [TCP] port: [111] type: [TCP FIN scan] IP opts: [not set] \
             ignored: [false] triggered: [true] noblock: [false] blocked: [true]",
            true,
            Alert,
        ),
        (
            "Scan from: [192.0.2.8] (192.0.2.8) protocol: [TCP] port: [111] type: [TCP FIN scan] IP opts: [not set] \
             ignored: [true] triggered: [unset] noblock: [unset] blocked: [unset]",
            false,
            Nowhere,
        ),
    ]
};

/// As rsyslog writes them, with the old time and with the new.
fn syslog_lines() -> Vec<String> {
    let old = SYSLOG.iter().map(|(text, ..)| format!("Nov 21 02:10:00 host portsentry[19535]: {text}"));
    let new = SYSLOG
        .iter()
        .map(|(text, ..)| format!("2026-11-21T02:10:00.123456+00:00 host portsentry[7]: {text}"));
    old.chain(new).collect()
}

/// The lines that the filter matches, by the distribution's program.
fn matched(fail2ban: &Path, lines: &[String], filter: &str) -> Vec<String> {
    let place = TempDir::new().unwrap();
    let log = place.path().join("log");
    fs::write(&log, lines.join("\n") + "\n").unwrap();
    let mut command = program(fail2ban, "usr/bin/fail2ban-regex");
    let said: Said = command.arg("--print-all-matched").arg(&log).arg(filter).output().unwrap().into();
    assert_eq!(said.code, 0, "{said:?}");
    // |- Matched line(s):
    // |  the lines
    // `-
    let from_there = said.out.lines().skip_while(|line| !line.contains("Matched line(s):")).skip(1);
    from_there.map_while(|line| line.strip_prefix("|  ")).map(str::to_owned).collect()
}

fn filter() -> String {
    packaging("fail2ban/filter.d/portcullis-portsentry.conf").to_str().unwrap().to_owned()
}

#[test]
fn fail2ban_finds_whoever_was_to_be_blocked_and_nobody_else() {
    let Some(fail2ban) = unpacked("fail2ban") else { return };
    let history: Vec<String> = HISTORY.iter().map(|(line, _)| (*line).to_owned()).collect();
    let expected = HISTORY.iter().filter(|(_, is_match)| *is_match).map(|(line, _)| (*line).to_owned());
    assert_eq!(matched(&fail2ban, &history, &filter()), expected.collect::<Vec<_>>());

    let syslog = syslog_lines();
    let is_match = SYSLOG.iter().chain(&SYSLOG).map(|(_, is_match, _)| *is_match);
    let expected = syslog.iter().zip(is_match).filter(|(_, is_match)| *is_match);
    assert_eq!(
        matched(&fail2ban, &syslog, &filter()),
        expected.map(|(line, _)| line.clone()).collect::<Vec<_>>()
    );

    // Who leaves the blocking to fail2ban asks for the hosts that BLOCK_TCP="0" let go.
    let let_go = matched(&fail2ban, &history, &format!("{}[noblock=true]", filter()));
    assert!(let_go.iter().any(|line| line.contains("192.0.2.104")), "{let_go:?}");
    assert!(!let_go.iter().any(|line| line.contains("192.0.2.103")), "{let_go:?}");
}

#[test]
fn a_host_name_is_never_taken_for_the_address() {
    let Some(fail2ban) = unpacked("fail2ban") else { return };
    let place = TempDir::new().unwrap();
    let log = place.path().join("log");
    fs::write(&log, HISTORY.map(|(line, _)| line).join("\n") + "\n").unwrap();
    let mut command = program(&fail2ban, "usr/bin/fail2ban-regex");
    let said: Said = command.args(["-o", "ip"]).arg(&log).arg(filter()).output().unwrap().into();
    let addresses: Vec<&str> = said.out.lines().collect();
    let expected =
        ["192.0.2.1", "192.0.2.2", "2001:db8::3", "192.0.2.4", "192.0.2.5", "2001:db8::6", "192.0.2.7"];
    assert_eq!(addresses, expected);
}

/// A fail2ban of its own: configuration, socket, database and log are the test's.
struct Fail2ban {
    root: PathBuf,
    sessions: Cell<u32>,
    place: TempDir,
    server: Running,
}

impl Fail2ban {
    fn start(root: PathBuf, lab: &Lab, guard_state: &Path) -> Self {
        let place = TempDir::new().unwrap();
        let etc = place.path();
        for directory in ["action.d", "filter.d", "jail.d"] {
            fs::create_dir(etc.join(directory)).unwrap();
        }
        for file in ["fail2ban.conf", "filter.d/sshd.conf", "filter.d/common.conf"] {
            fs::copy(root.join("etc/fail2ban").join(file), etc.join(file)).unwrap();
        }
        for file in [
            "action.d/portcullis.conf",
            "filter.d/portcullis-portsentry.conf",
            "jail.d/portcullis-portsentry.conf",
        ] {
            fs::copy(packaging("fail2ban").join(file), etc.join(file)).unwrap();
        }
        let database = format!("[Definition]\ndbfile = {}\n", etc.join("database").display());
        fs::write(etc.join("fail2ban.local"), database).unwrap();
        let log = etc.join("auth.log");
        // Not empty: fail2ban knows a file again by its first line.
        fs::write(&log, "Nov  1 00:00:00 host sshd[1]: Server listening on :: port 22.\n").unwrap();
        fs::write(etc.join("history"), HISTORY[1].0.to_owned() + "\n").unwrap();
        let state = guard_state.display();
        let history = format!(
            "[portcullis-portsentry]\nenabled = true\nlogpath = {}\nbanaction = \
             portcullis[program=\"{PROGRAM}\", options=\"--state {state}\"]\n",
            etc.join("history").display()
        );
        fs::write(etc.join("jail.local"), history).unwrap();
        let jail = format!(
            "[DEFAULT]\nbackend = polling\nusedns = no\nignoreself = false\n\n[door]\nenabled = true\nfilter = \
             sshd\nlogpath = {}\nmaxretry = 5\nfindtime = 10m\nbantime = 10m\naction = portcullis[name=door, \
             program=\"{PROGRAM}\", options=\"--state {state}\"]\n",
            log.display()
        );
        fs::write(etc.join("jail.conf"), jail).unwrap();
        let mut command = lab.victim.command(root.join("usr/bin/fail2ban-server").to_str().unwrap());
        command.env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"));
        Self::own(etc, &mut command).args(["-f", "--logtarget", "STDOUT", "start"]);
        let mut server = Running::spawn(&mut command);
        for jail in ["door", "portcullis-portsentry"] {
            server.wait_for_line(SOON, |line| line.contains(&format!("Jail '{jail}' started")));
        }
        Self { root, sessions: Cell::new(1000), place, server }
    }

    fn own<'a>(etc: &Path, command: &'a mut Command) -> &'a mut Command {
        command.arg("-c").arg(etc).arg("-s").arg(etc.join("socket")).arg("-p").arg(etc.join("pid"))
    }

    /// Failed log-ins, as sshd tells of them, now; a process each, by which fail2ban tells sessions apart.
    fn fail(&self, source: &str, times: usize) {
        let now = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
        let sessions: String = (0..times)
            .map(|_| {
                let id = self.sessions.replace(self.sessions.get() + 1);
                format!("{now} host sshd[{id}]: Failed password for root from {source} port 40000 ssh2\n")
            })
            .collect();
        self.append("auth.log", &sessions);
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = fs::OpenOptions::new().append(true).open(self.place.path().join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn client(&self, words: &[&str]) -> Said {
        let mut command = program(&self.root, "usr/bin/fail2ban-client");
        Self::own(self.place.path(), &mut command).args(words).output().unwrap().into()
    }
}

#[test]
fn fail2ban_bans_through_portcullis_and_lets_in_again() {
    let Some(lab) = Lab::direct() else { return };
    let Some(fail2ban) = unpacked("fail2ban") else { return };
    let place = crate::harness::Place::new("");
    let guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    let mut fail2ban = Fail2ban::start(fail2ban, &lab, &place.state());
    fail2ban.fail("10.77.0.1", 4);
    fail2ban.fail("10.77.0.33", 5);
    let bans = || guard.verb(&["bans", "--json"]).lines();
    let banned = |address: &str| {
        let prefix = json!(format!("{address}/32"));
        bans().into_iter().find(|ban| ban["prefix"] == prefix)
    };
    let ban = wait_until(SOON, "the ban of who failed five times", || banned("10.77.0.33"));
    assert_eq!(ban["why"], "fail2ban, jail door: 5 failures");
    assert!(banned("10.77.0.1").is_none(), "four failures are fewer than five");
    assert!(is_banned(&lab.victim, "10.77.0.33"), "the kernel drops him");

    // The guard of the guarded door: whoever goes on is shut out, IPv6 as well.
    fail2ban.fail("10.77.0.1", 1);
    fail2ban.fail("fd77::1", 5);
    wait_until(SOON, "the other bans", || (bans().len() == 3).then_some(()));

    assert_eq!(fail2ban.client(&["set", "door", "unbanip", "10.77.0.33"]).code, 0);
    wait_until(SOON, "his release", || banned("10.77.0.33").is_none().then_some(()));
    assert!(!is_banned(&lab.victim, "10.77.0.33"));

    // The jail that reads the history of a portcullis that runs as PortSentry.
    let blocked = |source: &str| {
        let now = jiff::Zoned::now();
        let (seconds, date) = (now.timestamp().as_second(), now.strftime("%m/%d/%Y %H:%M:%S"));
        format!("{seconds} - {date} Host: x.example/{source} Port: 111 TCP Blocked\n")
    };
    fail2ban.append("history", &(blocked("10.77.0.44") + &blocked("fd77::44")));
    let ban = wait_until(SOON, "the ban of who is in the history", || banned("10.77.0.44"));
    assert_eq!(ban["why"], "fail2ban, jail portcullis-portsentry: 1 failures");

    // What is refused is told where fail2ban tells its faults.
    fail2ban.fail("10.77.0.2", 5);
    fail2ban.server.wait_for_line(SOON, |line| line.contains("ERROR") && line.contains("10.77.0.2"));
    assert!(banned("10.77.0.2").is_none(), "the host's own address");

    // When it ends it lets everybody in.
    fail2ban.server.stop(SOON);
    wait_until(SOON, "the release of all", || bans().is_empty().then_some(()));
}

/// What the distribution's logcheck reports of a log, with our rules and no others; nothing may be left unsorted.
/// `None` where it cannot be run.
#[track_caller]
fn logcheck(text: &str) -> Option<Vec<(String, Section)>> {
    let packages = ["logcheck", "logtail", "lockfile-progs"].map(unpacked);
    let ([Some(logcheck), Some(logtail), Some(lockfile)], Some(())) = (packages, rights()) else {
        return None;
    };
    let liblockfile = library("liblockfile1", "liblockfile.so.1")?;
    let place = TempDir::new().unwrap();
    let open_to_all = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    open_to_all(place.path());
    let programs = place.path().join("programs");
    fs::create_dir(&programs).unwrap();
    // It looks for these where they would be installed.
    let script = fs::read_to_string(logcheck.join("usr/sbin/logcheck")).unwrap();
    let script = script.replace("/usr/bin/lockfile-", &format!("{}/lockfile-", programs.display()));
    fs::write(programs.join("logcheck"), script).unwrap();
    fs::set_permissions(programs.join("logcheck"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(logtail.join("usr/sbin/logtail2"), programs.join("logtail2")).unwrap();
    for name in ["lockfile-create", "lockfile-touch", "lockfile-remove"] {
        fs::copy(lockfile.join("usr/bin").join(name), programs.join(name)).unwrap();
    }
    fs::copy(liblockfile, programs.join("liblockfile.so.1")).unwrap();
    let rules = place.path().join("rules");
    for directory in ["cracking.d", "violations.d", "violations.ignore.d", "ignore.d.server"] {
        fs::create_dir_all(rules.join(directory)).unwrap();
        let name = format!("{directory}/portcullis-portsentry");
        fs::copy(packaging("logcheck").join(&name), rules.join(&name)).unwrap();
    }
    let log = place.path().join("daemon.log");
    fs::write(&log, text).unwrap();
    let state = place.path().join("state");
    fs::create_dir(&state).unwrap();
    let lock = place.path().join("lock");
    fs::create_dir(&lock).unwrap();
    open_to_all(&state);
    open_to_all(&lock);
    let configuration = place.path().join("logcheck.conf");
    let settings = format!(
        "REPORTLEVEL=server\nLOCKDIR={0}\nLOCKFILE={0}/logcheck\nLOGTAIL={1}/logtail2\n",
        lock.display(),
        programs.display()
    );
    fs::write(&configuration, settings).unwrap();
    // It refuses to run as root.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(programs.join("logcheck"));
    command.args(["-o", "-t", "-s", "-H", "host", "-c"]).arg(&configuration).arg("-r").arg(&rules);
    command.arg("-l").arg(&log).arg("-S").arg(&state).current_dir("/").env("LC_ALL", "C");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let said: Said = command.env("PATH", path).env("LD_LIBRARY_PATH", &programs).output().unwrap().into();
    assert_eq!(said.code, 0, "{said:?}");
    let mut section = None;
    let mut reported = Vec::new();
    for line in said.out.lines() {
        section = match line {
            line if line.starts_with("Security Alerts") => Some(Section::Alert),
            line if line.starts_with("Security Events") => Some(Section::Event),
            line if line.starts_with("System Events") => panic!("nobody sorted this: {}", said.out),
            _ => section,
        };
        if line.contains("portsentry[") {
            reported.push((line.to_owned(), section.unwrap()));
        }
    }
    Some(reported)
}

#[test]
fn logcheck_alarms_about_attacks_and_errors_and_not_about_starts_and_stops() {
    let Some(mut reported) = logcheck(&(syslog_lines().join("\n") + "\n")) else { return };
    let of = SYSLOG.iter().chain(&SYSLOG).map(|(.., section)| *section);
    let expected = syslog_lines().into_iter().zip(of).filter(|(_, section)| *section != Section::Nowhere);
    let mut expected: Vec<(String, Section)> = expected.collect();
    let order = |(line, section): &(String, Section)| (*section == Section::Event, line.clone());
    expected.sort_by_key(order);
    reported.sort_by_key(order);
    assert_eq!(reported, expected);
}

/// As rsyslog does it: whatever comes to /dev/log goes into a file, without its priority and with the host's name.
struct LogDaemon {
    socket: UnixDatagram,
    lines: Vec<String>,
}

impl LogDaemon {
    fn start(machine: &Namespace) -> Self {
        let socket = machine.enter(|| UnixDatagram::bind("/dev/log")).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { socket, lines: Vec::new() }
    }

    /// Takes lines until one has all these words.
    #[track_caller]
    fn wait_for(&mut self, words: &[&str]) {
        while !self.lines.iter().any(|line| words.iter().all(|word| line.contains(word))) {
            let mut bytes = [0; 9000];
            let length = self.socket.recv(&mut bytes);
            let length = length.unwrap_or_else(|error| panic!("{error}: {words:?} in {:#?}", self.lines));
            let line = std::str::from_utf8(&bytes[..length]).unwrap();
            let (_, line) = line.split_once('>').unwrap();
            let (stamp, line) = line.split_at("Nov 21 02:10:00".len());
            self.lines.push(format!("{stamp} host{line}"));
        }
    }
}

/// From its start to its stop, with a scan in between that nmap makes and a command that fails.
#[track_caller]
fn logcheck_over_a_run(modes: &[&str], attack: &str, fault: &[&str], last_word: &str) {
    let (Some(attacker), Some(victim)) = (Namespace::new(), Namespace::with_mounts()) else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let lab = Lab::direct_of(attacker, victim);
    lab.victim.enter(|| {
        fs::create_dir_all("/etc/portsentry").unwrap();
        fs::create_dir_all("/var/lib/portsentry").unwrap();
        let configuration = "TCP_PORTS=\"1,7,15,79,111\"\nUDP_PORTS=\"7\"\nIGNORE_FILE=\"/etc/portsentry/ignore\"\n\
            HISTORY_FILE=\"/var/lib/portsentry/history\"\nBLOCKED_FILE=\"/var/lib/portsentry/blocked\"\n\
            BLOCK_TCP=\"1\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\nKILL_RUN_CMD=\"echo no $TARGET$ >&2; exit 3\"\n";
        fs::write("/etc/portsentry/portsentry.conf", configuration).unwrap();
        fs::write("/etc/portsentry/ignore", "127.0.0.1\n").unwrap();
    });
    let mut daemon = LogDaemon::start(&lab.victim);
    let mut guard = lab.victim.start(&[&[PROGRAM, "portsentry", "--foreground"], modes].concat());
    daemon.wait_for(&["now active and listening."]);
    let victim = lab.victim4().to_string();
    lab.attacker.run(&["nmap", "-sS", "-n", "-Pn", "--max-retries", "1", "-p", "1,7,15", &victim]);
    daemon.wait_for(&[attack]);
    daemon.wait_for(fault);
    guard.signal(Signal::SIGTERM);
    daemon.wait_for(&[last_word]);
    guard.wait(SOON);

    let Some(reported) = logcheck(&(daemon.lines.join("\n") + "\n")) else { return };
    let (mut alerts, mut events) = (Vec::new(), Vec::new());
    for line in daemon.lines {
        if line.contains("attackalert: ") || line.contains(attack) {
            alerts.push((line, Section::Alert));
        } else if line.contains("ERROR: ") {
            events.push((line, Section::Event));
        }
    }
    assert!(events.iter().any(|(line, _)| fault.iter().all(|word| line.contains(word))));
    // Each once and in order, and nothing of the start and the stop.
    assert_eq!(reported, [alerts, events].concat());
}

#[test]
fn logcheck_sorts_what_a_run_of_the_old_options_has_written() {
    logcheck_over_a_run(
        &["-stcp", "-sudp"],
        "attackalert: TCP SYN/Normal scan from host: 10.77.0.1/10.77.0.1 to TCP port: ",
        &["run command (system fail) 10.77.0.1: KILL_RUN_CMD: ", "ended with status 3: no 10.77.0.1"],
        "adminalert: PortSentry is shutting down",
    );
}

#[test]
fn logcheck_sorts_what_a_run_of_the_new_options_has_written() {
    logcheck_over_a_run(
        &["--stealth", "-l", "syslog"],
        "Scan from: [10.77.0.1] (10.77.0.1) protocol: [TCP] port: [",
        &["run command (system fail) 10.77.0.1: KILL_RUN_CMD: ", "ended with status 3: no 10.77.0.1"],
        "Portsentry is shutting down",
    );
}

#[test]
fn logrotate_turns_the_history_over_without_losing_a_line() {
    let Some(logrotate) = unpacked("logrotate") else { return };
    let Some(libpopt) = library("libpopt0", "libpopt.so.0") else { return };
    let place = TempDir::new().unwrap();
    let path = place.path().join("portsentry.history");
    let text = fs::read_to_string(packaging("logrotate/portcullis-portsentry")).unwrap();
    let named = "/var/lib/portsentry/portsentry.history";
    assert_eq!(text.matches(named).count(), 1);
    let configuration = place.path().join("logrotate.conf");
    fs::write(&configuration, text.replace(named, path.to_str().unwrap())).unwrap();
    let rotate = || {
        let mut command = program(&logrotate, "usr/sbin/logrotate");
        command.env("LD_LIBRARY_PATH", libpopt.parent().unwrap());
        let state = place.path().join("logrotate.state");
        let said: Said = command.arg("-f").arg("-s").arg(state).arg(&configuration).output().unwrap().into();
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    };

    let mut history = History::new(path.clone(), Voice::One(StartMode::Stcp), TimeZone::UTC);
    let address = "192.0.2.1".parse().unwrap();
    let host = Host { name: "192.0.2.1", address };
    let mut now = Mono(Duration::from_secs(100));
    let write = |history: &mut History, now, port| {
        history.blocked(Wall(Duration::from_secs(1_795_226_889)), host, Protocol::Tcp, port, now);
        assert!(history.take_notices().is_empty());
    };
    write(&mut history, now, 1);
    rotate();
    // Nobody has told it: a line at once still goes to the old file, one a second later makes a new one.
    write(&mut history, now, 2);
    now = now + Duration::from_secs(1);
    write(&mut history, now, 3);
    rotate();
    now = now + Duration::from_secs(1);
    write(&mut history, now, 4);

    let ports = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(' ').rev().nth(2).unwrap().to_owned()).collect()
    };
    assert_eq!(ports(&fs::read_to_string(&path).unwrap()), ["4"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ports(&fs::read_to_string(place.path().join("portsentry.history.1")).unwrap()), ["3"]);
    let oldest = Command::new("zcat").arg(place.path().join("portsentry.history.2.gz")).output().unwrap();
    assert_eq!(ports(std::str::from_utf8(&oldest.stdout).unwrap()), ["1", "2"]);
}
