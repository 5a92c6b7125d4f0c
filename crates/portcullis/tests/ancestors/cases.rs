//! The measured cases of PortSentry 1.2 and 2.x, driven by the real tools against a fresh daemon each.
//!
//! The original runs through the same harness where there is one (1.2), so that a difference is one between the
//! programs and not one between the harness and the measurement.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::differences::{Difference, difference, differences};
use crate::observed::{Kind, Observed, alert, by_source};
use crate::probes::{Forge, MARKER, SYN, VICTIM, connect, datagram};
use crate::victim::{CONFIGURATION, Daemon, Program, SOON, Victim, original_is_there};

const CASES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/ancestors/portsentry-cases.json"));

/// Cells of a mode that are driven at the same time. Most of them wait for nmap's clock and not for a processor.
const AT_ONCE: usize = 4;

/// The file that the responses of the tests write; `kill.log` in the measurements.
const RESPONSES: &str = "/run/kill.log";

/// What was measured of one tool against one mode.
#[derive(Debug, Clone, Deserialize)]
struct Case {
    tool: String,
    mode: String,
    command: String,
    detected: bool,
    /// `None`: responses were off.
    blocked: Option<bool>,
    blocked_addresses: BTreeSet<String>,
    logged: BTreeSet<String>,
    ports: BTreeMap<String, BTreeSet<u16>>,
    alerts: Option<usize>,
    #[serde(default)]
    responses: Vec<String>,
    #[serde(default)]
    hosts_deny: Vec<String>,
    /// The first six.
    #[serde(default)]
    log_lines: Vec<String>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(CASES).unwrap()
}

impl Case {
    /// The configuration of the measurements.
    fn configuration(&self) -> String {
        let block = u8::from(self.blocked.is_some());
        let mut text = format!(
            r#"TCP_PORTS="1,7,15,79,111,143"
UDP_PORTS="1,7,15,69,79,111,143"
IGNORE_FILE="/etc/portsentry/portsentry.ignore"
HISTORY_FILE="/var/lib/portsentry/portsentry.history"
BLOCKED_FILE="/var/lib/portsentry/portsentry.blocked"
RESOLVE_HOST="0"
BLOCK_UDP="{block}"
BLOCK_TCP="{block}"
KILL_ROUTE="/bin/echo ROUTE $TARGET$ $PORT$ $MODE$ >> {RESPONSES}"
KILL_HOSTS_DENY="ALL: $TARGET$ : DENY"
KILL_RUN_CMD="/bin/echo CMD $TARGET$ $PORT$ $MODE$ >> {RESPONSES}"
SCAN_TRIGGER="0"
"#
        );
        if self.mode.starts_with("1.2") {
            text += "ADVANCED_PORTS_TCP=\"1024\"\nADVANCED_PORTS_UDP=\"1024\"\n\
                     ADVANCED_EXCLUDE_TCP=\"113,139\"\nADVANCED_EXCLUDE_UDP=\"520,138,137,67\"\n";
        }
        text
    }

    fn start(&self, victim: &Victim, program: Program) -> Daemon {
        match self.mode.split_once(' ').unwrap() {
            ("1.2", mode) => victim.start(program, &format!("-{mode}")),
            ("2.x", "connect") => victim.start_modern(&["--connect", "-c", CONFIGURATION]),
            ("2.x", method) => victim.start_modern(&["--stealth", "-m", method, "-c", CONFIGURATION]),
            other => panic!("no such mode: {other:?}"),
        }
    }

    /// Runs the tool to its end.
    fn drive(&self, victim: &Victim, forge: &Forge) {
        if let Some((_, rest)) = self.command.split_once("flags byte 0x") {
            let flags = u8::from_str_radix(rest.split(',').next().unwrap(), 16).unwrap();
            let from = SocketAddrV4::new(victim.lab.attacker4(), 40111);
            forge.tcp(from, SocketAddrV4::new(VICTIM, 111), flags);
            return;
        }
        let mut shell = victim.lab.attacker.command("sh");
        let status = shell.args(["-c", &self.command]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        // Whoever finds a port closed says so by its exit code; only a tool that is missing is our fault.
        assert_ne!(status.unwrap().code(), Some(127), "{}", self.command);
    }

    /// Sends a probe that this mode sees, as the last one.
    fn mark(&self, victim: &Victim, forge: &Forge) {
        let target = SocketAddrV4::new(VICTIM, 111);
        match self.mode.as_str() {
            "1.2 tcp" | "2.x connect" => {
                // Whether the daemon greets or hangs up is not asked here.
                drop(connect(&victim.lab.attacker, SocketAddrV4::new(MARKER, 0).into(), target.into()));
            }
            "1.2 udp" | "1.2 sudp" | "1.2 audp" => {
                datagram(&victim.lab.attacker, SocketAddrV4::new(MARKER, 0).into(), target.into());
            }
            _ => forge.tcp(SocketAddrV4::new(MARKER, 40222), target, SYN),
        }
    }

    /// The log of this mode: of the system, or standard output of a 2.x.
    fn log(&self, victim: &Victim, daemon: &Daemon) -> Vec<String> {
        if self.mode.starts_with("1.2") { victim.syslog() } else { daemon.printed() }
    }

    /// What the run has shown so far, less what belongs to the mark.
    fn observe(&self, victim: &Victim, daemon: &Daemon) -> Observed {
        let mark = MARKER.to_string();
        let others = |lines: Vec<String>| -> Vec<String> {
            lines.into_iter().filter(|line| !line.contains(&mark)).collect()
        };
        let lines = |path| victim.read(path).lines().map(str::to_owned).collect();
        let log = self.log(victim, daemon);
        let begin = log.iter().position(|line| line.contains("now active")).map_or(0, |ready| ready + 1);
        let log = log[begin..].iter().map(|line| line.replace(RESPONSES, "kill.log")).collect();
        Observed::of(&others(log), &others(lines(RESPONSES)), &others(lines("/etc/hosts.deny")))
    }

    /// Whether the mark has been dealt with to the end.
    fn marked(&self, victim: &Victim, daemon: &Daemon) -> bool {
        let mark = MARKER.to_string();
        let told = |line: &String| {
            let alerted = alert(line).is_some_and(|alert| alert.source == mark);
            let answered = line.contains("External command run for host: 10.77.0.77");
            if self.blocked.is_some() { answered } else { alerted }
        };
        self.log(victim, daemon).iter().any(told)
    }

    /// What is not as measured, in words; nothing if all is.
    fn compare(&self, program: Program, is: &Observed) -> Vec<String> {
        // The measurements have the first six lines of each run.
        let was = Observed::of(&self.log_lines, &self.responses, &self.hosts_deny);
        let mut faults = Faults::default();
        faults.equal("ports", &self.ports, &is.ports);
        faults.equal("types", &self.logged, &is.ports.keys().cloned().collect());
        faults.equal("detected", &self.detected, &(is.alerts > 0));
        faults.equal("blocked addresses", &self.blocked_addresses, &is.blocked_addresses);
        faults.equal("whether it blocks", &self.blocked.unwrap_or(false), &!is.blocked_addresses.is_empty());
        // How often nmap repeats a datagram depends on its clock.
        if let Some(alerts) = self.alerts.filter(|_| !self.command.contains("-sU")) {
            faults.equal("number of alerts", &alerts, &is.alerts);
        }
        if self.blocked.is_some() {
            faults.equal("responses", &was.responses, &is.responses);
            faults.equal("hosts.deny", &was.hosts_deny, &is.hosts_deny);
            for (source, was) in &was.lines {
                let is = is.lines.get(source).map_or(&[][..], Vec::as_slice);
                let told = |lines: &[String]| -> Vec<String> {
                    lines.iter().take(was.len()).map(|line| self.without_turn(line)).collect()
                };
                faults.equal("log lines", &told(was), &told(is));
            }
            self.compare_services(&was, is, program, &mut faults);
            let already = is.alerts - is.blocked_addresses.len().min(is.alerts);
            faults.equal("\"already blocked\" lines", &already, &is.count(Kind::AlreadyBlocked));
            faults.others(&was, is);
        }
        faults.0
    }

    /// 2.x wrote a line for each packet to a real service, however friendly (fault 18). Ours never does.
    fn compare_services(&self, was: &Observed, is: &Observed, program: Program, faults: &mut Faults) {
        let services = |run: &Observed| run.aside(Kind::Service).iter().cloned().collect::<BTreeSet<_>>();
        let was = if program == Program::Ours { BTreeSet::new() } else { services(was) };
        faults.equal("lines about services", &was, &services(is));
    }

    /// When nmap repeats a datagram depends on its clock, and so does whose turn it is in an alert.
    fn without_turn(&self, line: &str) -> String {
        match line.split_once('#') {
            Some((before, after)) if line.contains("port: ") && self.command.contains("-sU") => {
                format!("{before}#{}", after.trim_start_matches(|letter: char| letter.is_ascii_digit()))
            }
            _ => line.to_owned(),
        }
    }

    /// What is not as the table of differences says, in words.
    fn compare_with(&self, stated: &Difference, is: &Observed) -> Vec<String> {
        let mut faults = Faults::default();
        // hosts_options(5) reads an IPv6 address in brackets only.
        let denied = |address: &String| match address.contains(':') {
            true => format!("ALL: [{address}] : DENY"),
            false => format!("ALL: {address} : DENY"),
        };
        let hosts_deny: Vec<String> = stated.blocked.iter().map(denied).collect();
        let same = stated.ports == self.ports
            && stated.blocked == self.blocked_addresses
            && hosts_deny == self.hosts_deny;
        if same {
            faults.0.push("differences.toml states for it what was measured: take it out".to_owned());
        }
        faults.equal("ports", &stated.ports, &is.ports);
        faults.equal("blocked addresses", &stated.blocked, &is.blocked_addresses);
        faults.equal("hosts.deny", &by_source(&hosts_deny), &is.hosts_deny);
        faults.equal("response lines", &(3 * stated.blocked.len()), &is.count(Kind::Response));
        faults.equal("lines of no known kind", &[].as_slice(), &is.aside(Kind::Other));
        faults.0
    }
}

/// What doesn't agree.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, was: &T, is: &T) {
        if was != is {
            self.0.push(format!("{what}:\n      expected {was:?}\n      but is   {is:?}"));
        }
    }

    /// Lines of no known kind must be lines of the original's.
    fn others(&mut self, was: &Observed, is: &Observed) {
        let known = was.aside(Kind::Other);
        let strange = is.aside(Kind::Other).iter().filter(|line| !known.contains(line)).collect::<Vec<_>>();
        self.equal("lines of no known kind", &Vec::new(), &strange);
    }
}

/// Drives all cells of a mode and fails with all that don't agree.
fn drive(program: Program, mode: &str) {
    if !testbed::has(&["nmap", "hping3", "curl", "python3", "nft"]) {
        return;
    }
    if program == Program::Original && !original_is_there() {
        return;
    }
    let table = if program == Program::Ours { differences() } else { Vec::new() };
    let mut cases: Vec<Case> = cases().into_iter().filter(|case| case.mode == mode).collect();
    assert!(cases.len() >= 37, "{mode}: {} cases", cases.len());
    // Those that wait longest begin, so that nobody is waited for at the end.
    cases.sort_by_key(|case| {
        !["-sV", "-T2", "--badsum", "-sN", "-sU"].iter().any(|slow| case.command.contains(slow))
    });
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        let mut lab = None;
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            // A cell that panics spoils its network and not the report on the others.
            let cell = catch_unwind(AssertUnwindSafe(|| {
                if lab.is_none() {
                    lab = Some(furnish()?);
                }
                let (victim, forge) = lab.as_ref()?;
                let stated = difference(&table, &case.tool, mode);
                // It was seen once that 1.2 ended by itself just after its start.
                let ended = || vec!["the original has ended by itself three times".to_owned()];
                Some((0..3).find_map(|_| cell(case, program, victim, forge, stated)).unwrap_or_else(ended))
            }));
            let faults = match cell {
                Ok(Some(faults)) => faults,
                Ok(None) => return,
                Err(panic) => {
                    lab = None;
                    let text = panic.downcast_ref::<String>().cloned();
                    vec![text.unwrap_or_else(|| "panicked".to_owned())]
                }
            };
            if !faults.is_empty() {
                let text = format!("{} ({})\n    {}", case.tool, case.command, faults.join("\n    "));
                failed.lock().unwrap().push(text);
            }
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{program:?} {mode}: {} of {} cells differ:\n\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n\n")
    );
}

fn furnish() -> Option<(Victim, Forge)> {
    let mut victim = Victim::new()?;
    victim.start_services();
    let forge = Forge::new(&victim.lab.attacker);
    Some((victim, forge))
}

/// One cell, with a fresh daemon; what doesn't agree. `None` if the original has ended by itself.
fn cell(
    case: &Case,
    program: Program,
    victim: &Victim,
    forge: &Forge,
    stated: Option<&Difference>,
) -> Option<Vec<String>> {
    victim.clean();
    victim.write(CONFIGURATION, &case.configuration());
    let daemon = case.start(victim, program);
    case.drive(victim, forge);
    case.mark(victim, forge);
    let deadline = Instant::now() + SOON;
    while !case.marked(victim, &daemon) {
        if program == Program::Original && victim.has_ended() {
            return None;
        }
        if Instant::now() > deadline {
            let told = case.log(victim, &daemon).join("\n      ");
            return Some(vec![format!("the mark was never told of, only\n      {told}")]);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // Commands of several sources may run side by side and end in any order, so ours is given a moment after the
    // mark. What was too much stays too much.
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let is = case.observe(victim, &daemon);
        let faults =
            stated.map_or_else(|| case.compare(program, &is), |stated| case.compare_with(stated, &is));
        if faults.is_empty() || Instant::now() > deadline {
            return Some(faults);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_measured_case_has_a_mode_that_is_driven() {
    let modes: BTreeSet<String> = cases().into_iter().map(|case| case.mode).collect();
    let driven = [
        "1.2 atcp",
        "1.2 audp",
        "1.2 stcp",
        "1.2 sudp",
        "1.2 tcp",
        "1.2 udp",
        "2.x connect",
        "2.x pcap",
        "2.x raw",
    ];
    assert_eq!(modes, driven.map(str::to_owned).into());
    assert_eq!(cases().len(), 390);
}

#[test]
fn every_difference_is_one_of_a_measured_case() {
    let table = differences();
    let cases = cases();
    for entry in &table {
        assert!(!entry.reason.is_empty());
        for (tool, mode) in
            entry.tools.iter().flat_map(|tool| entry.modes.iter().map(move |mode| (tool, mode)))
        {
            assert!(
                cases.iter().any(|case| case.tool == *tool && case.mode == *mode),
                "differences.toml: no case {tool:?} in mode {mode:?}"
            );
            let entries =
                table.iter().filter(|one| one.tools.contains(tool) && one.modes.contains(mode)).count();
            assert_eq!(entries, 1, "differences.toml: {tool:?} in mode {mode:?} stands there twice");
        }
    }
}

#[test]
fn the_original_in_tcp_is_as_measured() {
    drive(Program::Original, "1.2 tcp");
}

#[test]
fn the_original_in_stcp_is_as_measured() {
    drive(Program::Original, "1.2 stcp");
}

#[test]
fn the_original_in_atcp_is_as_measured() {
    drive(Program::Original, "1.2 atcp");
}

#[test]
fn the_original_in_udp_is_as_measured() {
    drive(Program::Original, "1.2 udp");
}

#[test]
fn the_original_in_sudp_is_as_measured() {
    drive(Program::Original, "1.2 sudp");
}

#[test]
fn the_original_in_audp_is_as_measured() {
    drive(Program::Original, "1.2 audp");
}

#[test]
fn ours_in_tcp_is_as_measured() {
    drive(Program::Ours, "1.2 tcp");
}

#[test]
fn ours_in_stcp_is_as_measured() {
    drive(Program::Ours, "1.2 stcp");
}

#[test]
fn ours_in_atcp_is_as_measured() {
    drive(Program::Ours, "1.2 atcp");
}

#[test]
fn ours_in_udp_is_as_measured() {
    drive(Program::Ours, "1.2 udp");
}

#[test]
fn ours_in_sudp_is_as_measured() {
    drive(Program::Ours, "1.2 sudp");
}

#[test]
fn ours_in_audp_is_as_measured() {
    drive(Program::Ours, "1.2 audp");
}

#[test]
fn ours_in_the_2_x_mode_pcap_is_as_measured() {
    drive(Program::Ours, "2.x pcap");
}

#[test]
fn ours_in_the_2_x_mode_raw_is_as_measured() {
    drive(Program::Ours, "2.x raw");
}

#[test]
fn ours_in_the_2_x_mode_connect_is_as_measured() {
    drive(Program::Ours, "2.x connect");
}
