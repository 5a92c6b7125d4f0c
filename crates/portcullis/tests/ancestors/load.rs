//! Many sources at once. PortSentry ran its commands in the packet loop, and lost up to 58 % of the probes meanwhile
//! (measured).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use testbed::wait_until;

use crate::observed::{Kind, alert, kind};
use crate::probes::{Forge, SYN, VICTIM};
use crate::victim::{CONFIGURATION, IGNORE, Program, STATE, Victim};

/// 3,000 commands take some seconds on two processors, and longer beside other tests.
const COMMANDS: Duration = Duration::from_secs(120);

/// The n-th of many scanners; 198.18.0.0/15 is for measurements (RFC 2544).
pub fn scanner(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + number)
}

/// A configuration that watches these ports with the files at their usual places.
pub fn watching(ports: &str, rest: &str) -> String {
    format!(
        r#"TCP_PORTS="{ports}"
UDP_PORTS="{ports}"
IGNORE_FILE="{IGNORE}"
HISTORY_FILE="{STATE}/portsentry.history"
BLOCKED_FILE="{STATE}/portsentry.blocked"
SCAN_TRIGGER="0"
{rest}"#
    )
}

/// One SYN to `port` of each of the scanners, at so many a second.
pub fn scan_from_many(victim: &Victim, forge: &Forge, numbers: std::ops::Range<u32>, port: u16, rate: u32) {
    // So that the answers have a way, as on a host with a default route.
    victim.lab.victim.ip("route replace 198.18.0.0/15 via 10.77.0.1\n");
    let start = Instant::now();
    for (sent, number) in (0_u32..).zip(numbers) {
        // The clock of a scanner, not of the test: nothing is waited for.
        let due = start + Duration::from_secs(1) * sent / rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        forge.tcp(SocketAddrV4::new(scanner(number), 40000), SocketAddrV4::new(VICTIM, port), SYN);
    }
}

fn each_has_its_command_once(rate: u32) {
    const SOURCES: u32 = 3000;
    let Some(victim) = Victim::new() else { return };
    let command = "BLOCK_TCP=\"2\"\nKILL_RUN_CMD=\"/bin/true && echo $TARGET$ >> /run/kill.log\"\n";
    victim.write(CONFIGURATION, &watching("111", command));
    let _daemon = victim.start(Program::Ours, "-stcp");
    let forge = Forge::new(&victim.lab.attacker);
    scan_from_many(&victim, &forge, 0..SOURCES, 111, rate);
    let told = |wanted: Kind| victim.syslog().iter().filter(|line| kind(line) == wanted).count();
    let expected = usize::try_from(SOURCES).unwrap();
    wait_until(COMMANDS, "the last command to be told", || (told(Kind::Response) >= expected).then_some(()));
    let mut alerts: BTreeMap<String, usize> = BTreeMap::new();
    for alert in victim.syslog().iter().filter_map(|line| alert(line)) {
        *alerts.entry(alert.source).or_default() += 1;
    }
    assert_eq!(alerts.len(), expected, "every source is told of");
    assert!(alerts.values().all(|times| *times == 1), "and once, as it came once");
    assert_eq!(told(Kind::Response), expected);
    let mut ran: Vec<String> = victim.read("/run/kill.log").lines().map(str::to_owned).collect();
    ran.sort();
    let mut sources: Vec<String> = (0..SOURCES).map(|number| scanner(number).to_string()).collect();
    sources.sort();
    assert!(ran == sources, "{} commands for {} sources", ran.len(), sources.len());
    wait_until(COMMANDS, "the last line of the history", || {
        let history = victim.read(&format!("{STATE}/portsentry.history"));
        (history.lines().count() == expected).then_some(())
    });
}

#[test]
fn at_500_a_second_every_source_has_its_command_once() {
    each_has_its_command_once(500);
}

#[test]
fn at_3000_a_second_every_source_has_its_command_once() {
    each_has_its_command_once(3000);
}
