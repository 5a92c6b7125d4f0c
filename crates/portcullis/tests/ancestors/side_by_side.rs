//! The distribution's PortSentry 1.2 and ours: the same file, the same probes, chosen by chance; then everything that
//! either has told and left behind must be the same, source by source, times and process numbers apart. Between
//! sources the order may differ: the original did one thing after the other, ours responds to several at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use testbed::wait_until;

use crate::dice::Dice;
use crate::observed::{Kind, by_source, kind};
use crate::probes::{Forge, MARKER, SYN, VICTIM, connect, datagram};
use crate::victim::{CONFIGURATION, IGNORE, Program, SOON, STATE, Victim, has_form, original_is_there};

const MODES: [&str; 6] = ["tcp", "udp", "stcp", "sudp", "atcp", "audp"];

/// Who scans; all of them the attacker's own, so that they can complete handshakes.
const SCANNERS: [Ipv4Addr; 5] = [
    Ipv4Addr::new(10, 77, 0, 31),
    Ipv4Addr::new(10, 77, 0, 32),
    Ipv4Addr::new(10, 77, 0, 33),
    Ipv4Addr::new(10, 77, 0, 34),
    Ipv4Addr::new(10, 77, 0, 135),
];

/// With those of the mark less than the 50 that 1.2 remembers, so that its forgetting does not show.
const PROBES: usize = 40;

/// Greetings that ours gives to a source in a minute, over UDP.
const GREETINGS_OVER_UDP: usize = 3;

/// The port that is always listed and that the mark goes to.
const MARKED: u16 = 1023;

const ANSWERS: &str = r#"KILL_HOSTS_DENY="ALL: $TARGET$ : DENY"
KILL_ROUTE="/bin/echo ROUTE $TARGET$ $PORT$ $MODE$ >> /run/kill.log"
KILL_RUN_CMD="/bin/echo CMD $TARGET$ $PORT$ $MODE$ >> /run/kill.log"
"#;

#[derive(Debug, Clone, Copy)]
struct Probe {
    from: SocketAddrV4,
    to: SocketAddrV4,
    flags: u8,
}

/// Lines, by whom they are about.
type BySource = BTreeMap<Option<IpAddr>, Vec<String>>;

/// What a run has told and left behind.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    administration: Vec<String>,
    log: BySource,
    responses: BySource,
    hosts_deny: BySource,
    history: BySource,
    blocked: BySource,
    greetings: BySource,
}

/// Ports and probes by chance, and a configuration around them.
struct Script {
    listed: Vec<u16>,
    excluded: Vec<u16>,
    probes: Vec<Probe>,
}

impl Script {
    fn new(dice: &mut Dice) -> Self {
        let mut ports = |count: usize| {
            let mut chosen = Vec::new();
            while chosen.len() < count {
                let port = dice.port(1, MARKED);
                if !chosen.contains(&port) {
                    chosen.push(port);
                }
            }
            chosen
        };
        let mut listed = ports(8);
        let excluded = ports(3).into_iter().filter(|port| !listed.contains(port)).collect::<Vec<_>>();
        listed.push(MARKED);
        let mut probes = Vec::new();
        for number in 0..PROBES {
            let anywhere = dice.port(1, 2000);
            let port = match dice.below(10) {
                0..6 => dice.one_of(&listed),
                6 => *excluded.first().unwrap_or(&anywhere),
                _ => anywhere,
            };
            // All kinds: half of them the usual ones, the others any byte of flags.
            let flags = match dice.below(2) {
                0 => dice.one_of(&[SYN, 0x01, 0x00, 0x29]),
                _ => u8::try_from(dice.below(256)).expect("it is below 256"),
            };
            let source_port = 40000 + u16::try_from(number).expect("there are few");
            probes.push(Probe {
                from: SocketAddrV4::new(dice.one_of(&SCANNERS), source_port),
                to: SocketAddrV4::new(VICTIM, port),
                flags,
            });
        }
        Self { listed, excluded, probes }
    }

    /// The keys that each configuration has.
    fn ports_and_files(&self) -> String {
        let list = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let (listed, excluded) = (list(&self.listed), list(&self.excluded));
        format!(
            r#"TCP_PORTS="{listed}"
UDP_PORTS="{listed}"
ADVANCED_PORTS_TCP="1024"
ADVANCED_PORTS_UDP="1024"
ADVANCED_EXCLUDE_TCP="{excluded}"
ADVANCED_EXCLUDE_UDP="{excluded}"
IGNORE_FILE="{IGNORE}"
HISTORY_FILE="{STATE}/portsentry.history"
BLOCKED_FILE="{STATE}/portsentry.blocked"
RESOLVE_HOST="0"
"#
        )
    }
}

/// One way to configure both, less the ports and files.
struct Scenario {
    name: &'static str,
    configuration: String,
    ignore: &'static str,
    /// How many of three marks are told: all, or those from the trigger on.
    marks: usize,
    /// Whether whoever connects waits for a greeting.
    greeted: bool,
}

impl Scenario {
    fn new(name: &'static str, configuration: &str) -> Self {
        Self { name, configuration: configuration.to_owned(), ignore: "", marks: 3, greeted: false }
    }
}

/// A daemon that has seen all probes.
struct Run<'a> {
    victim: &'a Victim,
    mode: &'a str,
    greetings: BySource,
}

impl Run<'_> {
    /// Everything that can be seen by now, less what belongs to the marks.
    fn left(&self) -> Left {
        let mark = MARKER.to_string();
        let lines = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.contains(&mark)).map(str::to_owned).collect()
        };
        let (administration, told) = self.administration();
        let file = |path: &str| by_source(&lines(&self.victim.read(path)));
        let dated = |path: &str| {
            let undated =
                lines(&self.victim.read(path)).iter().map(|line| without_date(line)).collect::<Vec<_>>();
            by_source(&undated)
        };
        Left {
            log: by_source(&lines(&told.join("\n"))),
            administration,
            responses: file("/run/kill.log"),
            hosts_deny: file("/etc/hosts.deny"),
            history: dated(&format!("{STATE}/portsentry.history")),
            blocked: dated(&format!("{STATE}/portsentry.blocked.{}", self.mode)),
            greetings: self.greetings.clone(),
        }
    }

    /// What is said of the daemon itself, and all other lines. The ports that it watches are listed in the order of
    /// the file by one and of their numbers by the other; and only ours says what is odd about a file.
    fn administration(&self) -> (Vec<String>, Vec<String>) {
        let of_daemon = |line: &String| kind(line) == Kind::Administration;
        let (mut administration, told): (Vec<_>, Vec<_>) =
            self.victim.syslog().into_iter().partition(of_daemon);
        administration.retain(|line| !line.contains("adminalert: /etc/portsentry/"));
        administration.sort();
        (administration, told)
    }

    /// Whether the marks have been dealt with to the end: the history is written last.
    fn is_marked(&self, marks: usize) -> bool {
        let mark = MARKER.to_string();
        let log = self.victim.syslog();
        let count =
            |wanted: Kind| log.iter().filter(|line| kind(line) == wanted && line.contains(&mark)).count();
        count(Kind::Alert) == marks
            && count(Kind::AlreadyBlocked) == marks - 1
            && self.victim.read(&format!("{STATE}/portsentry.history")).contains(&mark)
    }
}

/// `1795226889 - 11/21/2026 02:08:09 Host: …` without the time, if that has this form.
fn without_date(line: &str) -> String {
    match line.split_once(" Host: ") {
        Some((date, rest)) if has_form(date, "0000000000 - 00/00/0000 00:00:00") => format!("Host: {rest}"),
        _ => line.to_owned(),
    }
}

/// Sends one probe in the way that a mode is about; returns what was said to it.
fn send(victim: &Victim, forge: &Forge, mode: &str, probe: &Probe, greeted: bool) -> Option<String> {
    let attacker = &victim.lab.attacker;
    let mut text = Vec::new();
    match mode {
        "tcp" => {
            // A port that is not listed refuses.
            let mut connection = connect(attacker, probe.from.into(), probe.to.into()).ok()?;
            // PortSentry hangs up when it has said what it has to say; one that resets has said nothing more.
            let _ = connection.read_to_end(&mut text);
        }
        "udp" => {
            let socket = datagram(attacker, probe.from.into(), probe.to.into());
            if greeted {
                text.resize(2000, 0);
                socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
                let length = socket.recv(&mut text).ok()?;
                text.truncate(length);
            }
            // Each port has a queue of its own, and who asks them in turn takes a later datagram first.
            wait_until(SOON, "the datagram to be read", || is_read(victim).then_some(()));
        }
        "sudp" | "audp" => forge.udp(probe.from, probe.to, b"hello"),
        _ => forge.tcp(probe.from, probe.to, probe.flags),
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Whether no datagram waits in a socket of the victim's. In /proc/net/udp the fifth field is `tx_queue:rx_queue`.
fn is_read(victim: &Victim) -> bool {
    ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"].iter().all(|table| {
        victim.read(table).lines().skip(1).all(|socket| {
            let queues = socket.split_whitespace().nth(4);
            queues.is_some_and(|queues| queues.ends_with(":00000000"))
        })
    })
}

/// `None` if the original has ended by itself, as it does seen once.
fn run<'a>(
    victim: &'a Victim,
    program: Program,
    mode: &'a str,
    script: &Script,
    scenario: &Scenario,
) -> Option<Left> {
    victim.clean();
    victim.write(IGNORE, scenario.ignore);
    victim.write(CONFIGURATION, &(script.ports_and_files() + &scenario.configuration));
    let mut daemon = victim.start(program, &format!("-{mode}"));
    let forge = Forge::new(&victim.lab.attacker);
    let mut run = Run { victim, mode, greetings: BySource::new() };
    for probe in &script.probes {
        if let Some(text) = send(victim, &forge, mode, probe, scenario.greeted) {
            let greetings = run.greetings.entry(Some(IpAddr::V4(*probe.from.ip()))).or_default();
            // Over UDP ours answers a source so often a minute and no more: who is named there may be somebody else's
            // victim. The original answered always.
            if mode != "udp" || greetings.len() < GREETINGS_OVER_UDP {
                greetings.push(text);
            }
        }
    }
    for port in 50001..=50003 {
        let from = SocketAddrV4::new(MARKER, port);
        let mark = Probe { from, to: SocketAddrV4::new(VICTIM, MARKED), flags: SYN };
        send(victim, &forge, mode, &mark, false);
    }
    let ended =
        wait_until(SOON, &format!("{program:?} {mode} to tell the marks ({})", scenario.name), || {
            let ended = program == Program::Original && victim.has_ended();
            (ended || run.is_marked(scenario.marks)).then_some(ended)
        });
    if ended {
        return None;
    }
    // What others' commands have still to do beside the marks, until nothing has come for a while.
    let mut left = run.left();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(300) {
        std::thread::sleep(Duration::from_millis(20));
        let now = run.left();
        if now != left {
            (left, since) = (now, Instant::now());
        }
    }
    daemon.stop();
    Some(run.left())
}

/// The original and ours in all six modes.
fn compare(scenario: &Scenario) {
    compare_with(Program::Ours, scenario);
}

/// The original and another (or itself, to try the comparison).
fn compare_with(other: Program, scenario: &Scenario) {
    if !original_is_there() {
        return;
    }
    let mut dice = Dice::new(scenario.name);
    let Some(victim) = Victim::new() else { return };
    for scanner in SCANNERS {
        victim.lab.add_attacker(&format!("{scanner}/24"));
    }
    let mut faults = Vec::new();
    for mode in MODES {
        let script = Script::new(&mut dice);
        let original = (0..3).find_map(|_| run(&victim, Program::Original, mode, &script, scenario));
        let original = original.expect("three times in a row is more than chance");
        assert!(!original.history.is_empty(), "no probe was seen in {mode}: {original:#?}");
        let ours = (0..3).find_map(|_| run(&victim, other, mode, &script, scenario));
        let ours = ours.expect("only the original ends by itself");
        faults.extend(original.differs_from(&ours, mode));
    }
    assert!(faults.is_empty(), "{}: {} differences\n{}", scenario.name, faults.len(), faults.join("\n"));
}

impl Left {
    fn differs_from(&self, ours: &Self, mode: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut equal = |what: &str, original: &[String], ours: &[String]| {
            let place = (0..original.len().max(ours.len())).find(|at| original.get(*at) != ours.get(*at));
            if let Some(place) = place {
                faults.push(format!(
                    "{mode}: {what}, line {} of {} and {}:\n  original {:?}\n  ours     {:?}",
                    place + 1,
                    original.len(),
                    ours.len(),
                    original.get(place),
                    ours.get(place)
                ));
            }
        };
        equal("what is said of itself", &self.administration, &ours.administration);
        let mut each_equal = |what: &str, original: &BySource, ours: &BySource| {
            let sources: BTreeSet<_> = original.keys().chain(ours.keys()).collect();
            for source in sources {
                let of = |lines: &BySource| lines.get(source).cloned().unwrap_or_default();
                let whose = source.map_or("everybody".to_owned(), |source| source.to_string());
                equal(&format!("{what} about {whose}"), &of(original), &of(ours));
            }
        };
        each_equal("log", &self.log, &ours.log);
        each_equal("responses", &self.responses, &ours.responses);
        each_equal("hosts.deny", &self.hosts_deny, &ours.hosts_deny);
        each_equal("history", &self.history, &ours.history);
        each_equal("blocked file", &self.blocked, &ours.blocked);
        each_equal("greetings", &self.greetings, &ours.greetings);
        faults
    }
}

fn with_answers(block: u8, rest: &str) -> String {
    format!("BLOCK_TCP=\"{block}\"\nBLOCK_UDP=\"{block}\"\n{ANSWERS}{rest}")
}

#[test]
fn the_original_compares_equal_to_itself() {
    let configuration = with_answers(1, "SCAN_TRIGGER=\"0\"\n");
    compare_with(Program::Original, &Scenario::new("the original twice", &configuration));
}

#[test]
fn all_responses_are_the_same() {
    compare(&Scenario::new("all responses", &with_answers(1, "SCAN_TRIGGER=\"0\"\n")));
}

#[test]
fn a_trigger_of_three_is_the_same() {
    let configuration = with_answers(1, "SCAN_TRIGGER=\"3\"\n");
    compare(&Scenario { marks: 1, ..Scenario::new("trigger", &configuration) });
}

#[test]
fn only_logging_is_the_same() {
    compare(&Scenario::new("only logging", &with_answers(0, "SCAN_TRIGGER=\"0\"\n")));
}

#[test]
fn only_the_command_is_the_same() {
    compare(&Scenario::new("only the command", &with_answers(2, "SCAN_TRIGGER=\"0\"\n")));
}

#[test]
fn the_command_first_is_the_same() {
    let configuration = with_answers(1, "SCAN_TRIGGER=\"1\"\nKILL_RUN_CMD_FIRST=\"1\"\n");
    compare(&Scenario::new("command first", &configuration));
}

#[test]
fn who_is_ignored_is_the_same() {
    // What 1.2 did not understand (a blank in front, a mask of 33) ours reads as meant or names at the start.
    let ignore = "# friends\n10.77.0.31 # the first\n\n10.77.0.129/26\n192.0.2.0/24\n";
    let configuration = with_answers(1, "SCAN_TRIGGER=\"0\"\n");
    compare(&Scenario { ignore, ..Scenario::new("ignored", &configuration) });
}

#[test]
fn greetings_are_the_same() {
    let configuration =
        with_answers(1, "SCAN_TRIGGER=\"0\"\nPORT_BANNER=\"** UNAUTHORIZED ACCESS % PROHIBITED **\"\n");
    compare(&Scenario { greeted: true, ..Scenario::new("greetings", &configuration) });
}

#[test]
fn odd_spellings_mean_the_same() {
    // Everything here was measured to be accepted by 1.2 (compat 1.2): no "=", blanks around it, text behind the
    // value, a value without its end, CR before LF, a key twice, keys that nobody knows, single quotes.
    let odd = "BLOCK_TCP \"1\"\r\nBLOCK_UDP   =   \"1\" # yes\nBLOCK_TCP=\"0\"\nSCAN_TRIGGER=\"2\r\n\
               KILL_HOSTS_DENY = \"ALL: $TARGET$ : DENY\nKILL_ROUTE =\"/bin/echo ROUTE $TARGET$ $PORT$ $MODE$ >> /run/kill.log\" \"x\"\n\
               UNKNOWN=\"1\"\n\
               KILL_RUN_CMD= \"/bin/echo CMD $TARGET$ '$MODE$' $PORT$ $TARGET$ | cat >> /run/kill.log\"\n\
               KILL_RUN_CMD_FIRST=\"yes\"";
    compare(&Scenario { marks: 2, ..Scenario::new("odd spellings", odd) });
}
