//! The distribution's PortSentry 1.2 and ours: the same file, the same probes, chosen by chance; then everything that
//! either has told and left behind must be the same, times and process numbers apart.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use testbed::wait_until;

use crate::dice::Dice;
use crate::observed::{Kind, kind};
use crate::probes::{Forge, MARKER, SYN, VICTIM, connect, datagram};
use crate::victim::{CONFIGURATION, IGNORE, Program, SOON, STATE, Victim, original_is_there};

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

/// What a run has told and left behind.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    log: BTreeMap<Kind, Vec<String>>,
    responses: Vec<String>,
    hosts_deny: Vec<String>,
    history: Vec<String>,
    blocked: Vec<String>,
    greetings: Vec<String>,
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
    greetings: Vec<String>,
}

impl Run<'_> {
    /// Everything that can be seen by now, less what belongs to the marks.
    fn left(&self) -> Left {
        let mark = MARKER.to_string();
        let lines = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.contains(&mark)).map(str::to_owned).collect()
        };
        let file = |path: &str| lines(&self.victim.read(path));
        let dated = |path: &str| file(path).iter().map(|line| without_date(line)).collect();
        let mut log: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
        for line in lines(&self.victim.syslog().join("\n")) {
            log.entry(kind(&line)).or_default().push(line);
        }
        Left {
            log,
            responses: file("/run/kill.log"),
            hosts_deny: file("/etc/hosts.deny"),
            history: dated(&format!("{STATE}/portsentry.history")),
            blocked: dated(&format!("{STATE}/portsentry.blocked.{}", self.mode)),
            greetings: self.greetings.clone(),
        }
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
    let digits = |text: &str, form: &str| {
        text.len() == form.len()
            && text
                .chars()
                .zip(form.chars())
                .all(|(is, form)| if form == '0' { is.is_ascii_digit() } else { is == form })
    };
    match line.split_once(" Host: ") {
        Some((date, rest)) if digits(date, "0000000000 - 00/00/0000 00:00:00") => format!("Host: {rest}"),
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

fn run<'a>(
    victim: &'a Victim,
    program: Program,
    mode: &'a str,
    script: &Script,
    scenario: &Scenario,
) -> Left {
    victim.clean();
    victim.write(IGNORE, scenario.ignore);
    victim.write(CONFIGURATION, &(script.ports_and_files() + &scenario.configuration));
    let mut daemon = victim.start(program, &format!("-{mode}"));
    let forge = Forge::new(&victim.lab.attacker);
    let mut run = Run { victim, mode, greetings: Vec::new() };
    for probe in &script.probes {
        run.greetings.extend(send(victim, &forge, mode, probe, scenario.greeted));
    }
    for port in 50001..=50003 {
        let from = SocketAddrV4::new(MARKER, port);
        let mark = Probe { from, to: SocketAddrV4::new(VICTIM, MARKED), flags: SYN };
        send(victim, &forge, mode, &mark, false);
    }
    wait_until(SOON, &format!("{program:?} {mode} to tell the marks ({})", scenario.name), || {
        run.is_marked(scenario.marks).then_some(())
    });
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
    run.left()
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
        let original = run(&victim, Program::Original, mode, &script, scenario);
        assert!(original.log.contains_key(&Kind::Alert), "no probe was seen in {mode}: {original:#?}");
        let ours = run(&victim, other, mode, &script, scenario);
        faults.extend(original.differs_from(&ours, mode));
    }
    assert!(faults.is_empty(), "{}: {} differences\n{}", scenario.name, faults.len(), faults.join("\n"));
}

impl Left {
    fn differs_from(&self, ours: &Self, mode: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut equal = |what: &str, original: &[String], ours: &[String]| {
            if let Some(place) =
                (0..original.len().max(ours.len())).find(|at| original.get(*at) != ours.get(*at))
            {
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
        let kinds = self.log.keys().chain(ours.log.keys()).collect::<std::collections::BTreeSet<_>>();
        for kind in kinds {
            let of = |left: &Self| left.log.get(kind).cloned().unwrap_or_default();
            equal(&format!("{kind:?}"), &of(self), &of(ours));
        }
        equal("responses", &self.responses, &ours.responses);
        equal("hosts.deny", &self.hosts_deny, &ours.hosts_deny);
        equal("history", &self.history, &ours.history);
        equal("blocked file", &self.blocked, &ours.blocked);
        equal("greetings", &self.greetings, &ours.greetings);
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
