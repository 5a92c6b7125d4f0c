//! Runs that follow each other or stand side by side. PortSentry 1.2 forgot at a restart whom it had blocked, and did
//! everything to him once more; 2.x remembered, and never blocked again (fault 13).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use testbed::wait_until;

use crate::load::{scan_from_many, scanner, watching};
use crate::observed::{Kind, kind};
use crate::probes::{Forge, SYN, VICTIM};
use crate::victim::{CONFIGURATION, Program, SOON, STATE, Victim};

const MANY: u32 = 2000;

/// 2,000 hosts take 2,000 lines and commands.
const LONG: Duration = Duration::from_secs(120);

/// The addresses in the sets of one instance.
fn in_sets_of(victim: &Victim, instance: &str) -> BTreeSet<Ipv4Addr> {
    let table = format!("portcullis-ps-{instance}");
    // There may be no such table for a moment.
    let list = format!("nft list table inet {table} 2>/dev/null || true");
    let listed = victim.lab.victim.run(&["sh", "-c", &list]).stdout;
    let text = String::from_utf8_lossy(&listed).into_owned();
    let words = text.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let scanner = |address: &Ipv4Addr| matches!(address.octets(), [198, 18, ..] | [10, 77, 0, 31..=40]);
    words.filter_map(|word| word.parse().ok()).filter(scanner).collect()
}

fn lines_of(victim: &Victim, path: &str) -> Vec<String> {
    let mut lines: Vec<String> = victim.read(path).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn denied(numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut lines: Vec<String> = numbers.map(|number| format!("ALL: {}", scanner(number))).collect();
    lines.sort();
    lines
}

/// `rest` is how hosts are shut out; `are_in` says whether all the first so many are.
fn two_thousand_outlast_a_restart(rest: &str, are_in: impl Fn(&Victim, u32) -> bool) {
    let Some(victim) = Victim::new() else { return };
    let configuration = format!("BLOCK_TCP=\"1\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\n{rest}");
    victim.write(CONFIGURATION, &watching("111", &configuration));
    let blocked = format!("{STATE}/portsentry.blocked.stcp");
    let forge = Forge::new(&victim.lab.attacker);
    let mut daemon = victim.start(Program::Ours, "-stcp");
    scan_from_many(&victim, &forge, 0..MANY, 111, 4000);
    let all = usize::try_from(MANY).unwrap();
    wait_until(LONG, "2,000 hosts to be blocked", || {
        (victim.read(&blocked).lines().count() == all).then_some(())
    });
    daemon.stop();
    assert!(are_in(&victim, MANY), "a guard that ends lets nobody in");
    let before = victim.raw_syslog().len();
    let _daemon = victim.start(Program::Ours, "-stcp");
    // Some of the old ones come again, and one new one, which is told last.
    scan_from_many(&victim, &forge, MANY - 20..MANY + 1, 111, 4000);
    let new = format!("Host {} has been blocked via wrappers", scanner(MANY));
    wait_until(LONG, "the new scanner to be blocked", || {
        victim.syslog()[before..].iter().any(|line| line.contains(&new)).then_some(())
    });
    wait_until(SOON, "all to be in force", || are_in(&victim, MANY + 1).then_some(()));
    let since = victim.syslog().split_off(before);
    let again = since
        .iter()
        .filter(|line| kind(line) == Kind::Response && !line.contains(&scanner(MANY).to_string()));
    assert_eq!(again.collect::<Vec<_>>(), Vec::<&String>::new(), "nobody is blocked twice");
    assert_eq!(lines_of(&victim, "/etc/hosts.deny"), denied(0..MANY + 1));
    wait_until(SOON, "the blocked file", || (victim.read(&blocked).lines().count() == all + 1).then_some(()));
    let history = victim.read(&format!("{STATE}/portsentry.history"));
    assert_eq!(history.lines().count(), all + 1);
}

#[test]
fn two_thousand_in_our_own_set_outlast_a_restart() {
    two_thousand_outlast_a_restart("", |victim, count| {
        in_sets_of(victim, "stcp") == (0..count).map(scanner).collect()
    });
}

#[test]
fn two_thousand_by_command_outlast_a_restart() {
    two_thousand_outlast_a_restart("KILL_ROUTE=\"echo $TARGET$ >> /run/kill.log\"\n", |victim, count| {
        let mut all: Vec<String> = (0..count).map(|number| scanner(number).to_string()).collect();
        all.sort();
        lines_of(victim, "/run/kill.log") == all
    });
}

#[test]
fn two_modes_leave_each_other_alone() {
    let (first, second, third) =
        (Ipv4Addr::new(10, 77, 0, 31), Ipv4Addr::new(10, 77, 0, 32), Ipv4Addr::new(10, 77, 0, 33));
    let Some(victim) = Victim::new() else { return };
    let configuration = "BLOCK_TCP=\"1\"\nBLOCK_UDP=\"1\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\n";
    victim.write(CONFIGURATION, &watching("111", configuration));
    let forge = Forge::new(&victim.lab.attacker);
    let target = SocketAddrV4::new(VICTIM, 111);
    let mut tcp = victim.start(Program::Ours, "-stcp");
    let mut udp = victim.start(Program::Ours, "-sudp");
    forge.tcp(SocketAddrV4::new(first, 40000), target, SYN);
    forge.udp(SocketAddrV4::new(second, 40000), target, b"hello");
    let holds = |instance: &str, addresses: &[Ipv4Addr]| {
        wait_until(SOON, &format!("{instance} to hold {addresses:?}"), || {
            (in_sets_of(&victim, instance) == addresses.iter().copied().collect()).then_some(())
        });
    };
    holds("stcp", &[first]);
    holds("sudp", &[second]);
    wait_until(SOON, "hosts.deny", || (victim.read("/etc/hosts.deny").lines().count() == 2).then_some(()));
    tcp.kill();
    udp.stop();
    holds("stcp", &[first]);
    holds("sudp", &[second]);
    let _udp = victim.start(Program::Ours, "-sudp");
    forge.udp(SocketAddrV4::new(third, 40000), target, b"hello");
    holds("sudp", &[second, third]);
    holds("stcp", &[first]);
    let _tcp = victim.start(Program::Ours, "-stcp");
    forge.tcp(SocketAddrV4::new(third, 40000), target, SYN);
    holds("stcp", &[first, third]);
    holds("sudp", &[second, third]);
    // The third is blocked in both, as with PortSentry, but needs its line only once.
    let lines = [first, second, third].map(|address| format!("ALL: {address}"));
    assert_eq!(lines_of(&victim, "/etc/hosts.deny"), lines);
}

/// PortSentry 1.2 wrote into the blocked file whom it only told of, and so do we; its next run began with an empty file.
#[test]
fn who_was_only_told_of_is_blocked_once_blocking_is_on() {
    let Some(victim) = Victim::new() else { return };
    let rest = "KILL_ROUTE=\"echo $TARGET$ >> /run/kill.log\"\n";
    let scanner = Ipv4Addr::new(10, 77, 0, 31);
    let forge = Forge::new(&victim.lab.attacker);
    let probe = || forge.tcp(SocketAddrV4::new(scanner, 40000), SocketAddrV4::new(VICTIM, 111), SYN);
    victim.write(CONFIGURATION, &watching("111", &format!("BLOCK_TCP=\"0\"\n{rest}")));
    let mut daemon = victim.start(Program::Ours, "-stcp");
    probe();
    let blocked = format!("{STATE}/portsentry.blocked.stcp");
    wait_until(SOON, "the blocked file", || (victim.read(&blocked).lines().count() == 1).then_some(()));
    daemon.stop();
    victim.write(CONFIGURATION, &watching("111", &format!("BLOCK_TCP=\"1\"\n{rest}")));
    let _daemon = victim.start(Program::Ours, "-stcp");
    probe();
    wait_until(SOON, "the scanner to be blocked", || {
        (lines_of(&victim, "/run/kill.log") == [scanner.to_string()]).then_some(())
    });
    wait_until(SOON, "the history", || {
        let history = victim.read(&format!("{STATE}/portsentry.history"));
        (history.lines().count() == 2).then_some(())
    });
    assert_eq!(victim.read(&blocked).lines().count(), 1, "the file names a host once");
}

#[test]
fn a_block_that_ends_while_nobody_runs_leaves_nothing_behind() {
    for route in ["KILL_ROUTE=\"ip route add blackhole $TARGET$/32\"\n", ""] {
        let Some(victim) = Victim::new() else { return };
        let rest = format!("BLOCK_TCP=\"1\"\nBLOCK_TIME=\"3s\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\n{route}");
        victim.write(CONFIGURATION, &watching("111", &rest));
        let scanner = Ipv4Addr::new(10, 77, 0, 31);
        let forge = Forge::new(&victim.lab.attacker);
        let routes = || {
            let listed = victim.lab.victim.run(&["ip", "route", "show", "type", "blackhole"]).stdout;
            String::from_utf8_lossy(&listed).into_owned()
        };
        let blocked = format!("{STATE}/portsentry.blocked.stcp");
        let mut daemon = victim.start(Program::Ours, "-stcp");
        let begun = Instant::now();
        forge.tcp(SocketAddrV4::new(scanner, 40000), SocketAddrV4::new(VICTIM, 111), SYN);
        wait_until(SOON, "the blocked file", || (victim.read(&blocked).lines().count() == 1).then_some(()));
        assert_eq!(routes().contains("10.77.0.31"), !route.is_empty(), "{}", routes());
        daemon.stop();
        wait_until(SOON, "the end", || (begun.elapsed() > Duration::from_secs(5)).then_some(()));
        let _daemon = victim.start(Program::Ours, "-stcp");
        wait_until(SOON, "everything to be undone", || {
            let is_undone = victim.read("/etc/hosts.deny").is_empty() && routes().is_empty();
            (is_undone && victim.read(&blocked).is_empty()).then_some(())
        });
        forge.tcp(SocketAddrV4::new(scanner, 40001), SocketAddrV4::new(VICTIM, 111), SYN);
        wait_until(SOON, "the scanner to be blocked again", || {
            (victim.read("/etc/hosts.deny") == "ALL: 10.77.0.31\n").then_some(())
        });
    }
}

/// A firewall that is loaded anew empties every set (`nft flush ruleset`). That we fill ours again is no new block.
#[test]
fn a_set_that_somebody_empties_is_filled_again_without_a_second_line() {
    let Some(victim) = Victim::new() else { return };
    victim.write(CONFIGURATION, &watching("111", "BLOCK_TCP=\"1\"\n"));
    let (first, second) = (Ipv4Addr::new(10, 77, 0, 31), Ipv4Addr::new(10, 77, 0, 32));
    let forge = Forge::new(&victim.lab.attacker);
    let probe = |from| forge.tcp(SocketAddrV4::new(from, 40000), SocketAddrV4::new(VICTIM, 111), SYN);
    let history = || victim.read(&format!("{STATE}/portsentry.history"));
    let _daemon = victim.start(Program::Ours, "-stcp");
    probe(first);
    wait_until(SOON, "the first block", || (history().lines().count() == 1).then_some(()));
    for _ in 0..2 {
        victim.lab.victim.run(&["nft", "flush", "ruleset"]);
        wait_until(SOON, "the set", || in_sets_of(&victim, "stcp").contains(&first).then_some(()));
    }
    probe(second);
    wait_until(SOON, "the second block", || history().contains("/10.77.0.32 ").then_some(()));
    assert_eq!(history().lines().count(), 2, "{}", history());
    let told = victim.syslog().into_iter().filter(|line| line.contains("Host 10.77.0.31 has been blocked"));
    assert_eq!(told.count(), 1);
}

/// The command ends long behind the ban that asked for it; what it did is undone, and nothing calls the host blocked.
#[test]
fn a_ban_that_ends_while_its_command_runs_leaves_no_line() {
    let Some(victim) = Victim::new() else { return };
    let rest = "BLOCK_TCP=\"1\"\nBLOCK_TIME=\"1s\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\n\
                KILL_RUN_CMD=\"sleep 3; echo ran >> /run/kill.log\"\n";
    victim.write(CONFIGURATION, &watching("111", rest));
    let _daemon = victim.start(Program::Ours, "-stcp");
    let forge = Forge::new(&victim.lab.attacker);
    forge.tcp(SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 31), 40000), SocketAddrV4::new(VICTIM, 111), SYN);
    wait_until(SOON, "the command", || (victim.read("/run/kill.log") == "ran\n").then_some(()));
    wait_until(SOON, "the line to go", || victim.read("/etc/hosts.deny").is_empty().then_some(()));
    let blocked = format!("{STATE}/portsentry.blocked.stcp");
    wait_until(SOON, "the blocked file", || victim.read(&blocked).is_empty().then_some(()));
}

#[test]
fn what_was_told_is_not_done_again_after_a_kill() {
    let Some(victim) = Victim::new() else { return };
    let rest = "BLOCK_TCP=\"1\"\nKILL_ROUTE=\"echo $TARGET$ >> /run/kill.log\"\n";
    victim.write(CONFIGURATION, &watching("111", rest));
    let mut daemon = victim.start(Program::Ours, "-stcp");
    let forge = Forge::new(&victim.lab.attacker);
    let probe = |last| {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, last), 40000);
        forge.tcp(from, SocketAddrV4::new(VICTIM, 111), SYN);
    };
    let told = |words: &str| victim.syslog().iter().any(|line| line.contains(words)).then_some(());
    probe(31);
    wait_until(SOON, "the block", || told("Host 10.77.0.31 has been blocked via dropped route"));
    daemon.kill();
    let _daemon = victim.start(Program::Ours, "-stcp");
    probe(32);
    wait_until(SOON, "the next block", || told("Host 10.77.0.32 has been blocked via dropped route"));
    assert_eq!(lines_of(&victim, "/run/kill.log"), ["10.77.0.31", "10.77.0.32"]);
}

/// Whom PortSentry itself had shut out is left as he is: not put into our set, and not missed there.
#[test]
fn whom_an_older_portsentry_has_blocked_is_left_to_it() {
    let Some(victim) = Victim::new() else { return };
    let (old, new) = (Ipv4Addr::new(10, 77, 0, 31), Ipv4Addr::new(10, 77, 0, 32));
    victim.write(CONFIGURATION, &watching("111", "BLOCK_TCP=\"1\"\n"));
    let line = "1795226889 - 11/21/2026 02:08:09 Host: 10.77.0.31/10.77.0.31 Port: 111 TCP Blocked\n";
    victim.write(&format!("{STATE}/portsentry.blocked.stcp"), line);
    let forge = Forge::new(&victim.lab.attacker);
    let probe = |from| forge.tcp(SocketAddrV4::new(from, 40000), SocketAddrV4::new(VICTIM, 111), SYN);
    let bans = || {
        let words = [env!("CARGO_BIN_EXE_portcullis"), "bans", "--instance", "ps-stcp"];
        String::from_utf8(victim.lab.victim.run(&words).stdout).unwrap()
    };
    for round in 0..2 {
        let mut daemon = victim.start(Program::Ours, "-stcp");
        probe(old);
        probe(new);
        wait_until(SOON, "the new one's block", || in_sets_of(&victim, "stcp").contains(&new).then_some(()));
        // Once it is empty, everything is compared, and what is missing goes in again.
        victim.lab.victim.run(&["nft", "flush", "ruleset"]);
        wait_until(SOON, "the set", || in_sets_of(&victim, "stcp").contains(&new).then_some(()));
        assert_eq!(in_sets_of(&victim, "stcp"), BTreeSet::from([new]), "round {round}");
        let bans = bans();
        let is_left = |line: &str| line.contains("10.77.0.31") && line.contains("found in force");
        assert!(bans.lines().any(is_left), "round {round}: {bans}");
        daemon.stop();
    }
    let _daemon = victim.start(Program::Ours, "-stcp");
    let mut unban = victim.lab.victim.command(env!("CARGO_BIN_EXE_portcullis"));
    let said = unban.args(["unban", "10.77.0.31", "--instance", "ps-stcp"]).output().unwrap();
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "what others did is not undone by us: {why}");
    assert!(why.contains("a firewall rule and a line in hosts.deny: take them away by hand"), "{why}");
    let told = victim.syslog();
    assert!(!told.iter().any(|line| line.contains("Host 10.77.0.31 has been blocked")), "{told:#?}");
    let is_heard = |line: &&String| line.contains("Host: 10.77.0.31/10.77.0.31 is already blocked Ignoring");
    let heard = told.iter().filter(is_heard).count();
    assert_eq!(
        heard, 2,
        "nobody knows whether that block still holds, so each of his probes is told: {told:#?}"
    );
}

/// After a reboot our set is empty; that we fill it again is no news of the hosts in it.
#[test]
fn a_reboot_repeats_no_line_of_whom_our_set_shuts_out() {
    let Some(victim) = Victim::new() else { return };
    victim.write(CONFIGURATION, &watching("111", "BLOCK_TCP=\"1\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\n"));
    let (first, second) = (Ipv4Addr::new(10, 77, 0, 31), Ipv4Addr::new(10, 77, 0, 32));
    let forge = Forge::new(&victim.lab.attacker);
    let probe = |from| forge.tcp(SocketAddrV4::new(from, 40000), SocketAddrV4::new(VICTIM, 111), SYN);
    let history = || victim.read(&format!("{STATE}/portsentry.history"));
    let mut daemon = victim.start(Program::Ours, "-stcp");
    probe(first);
    wait_until(SOON, "the first block", || (history().lines().count() == 1).then_some(()));
    daemon.stop();
    victim.lab.victim.run(&["nft", "flush", "ruleset"]);
    let _daemon = victim.start(Program::Ours, "-stcp");
    wait_until(SOON, "the set", || in_sets_of(&victim, "stcp").contains(&first).then_some(()));
    probe(second);
    wait_until(SOON, "the second block", || history().contains("/10.77.0.32 ").then_some(()));
    assert_eq!(history().lines().count(), 2, "{}", history());
    let told = victim.syslog().into_iter().filter(|line| line.contains("Host 10.77.0.31 has been blocked"));
    assert_eq!(told.count(), 2, "in hosts.deny, and by the set, each once");
}
