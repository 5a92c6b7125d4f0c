//! Files that an administrator changes while it runs. 1.2 read the ignore file at every event, and nothing else ever
//! again.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use testbed::wait_until;

use crate::load::watching;
use crate::probes::{Forge, SYN, VICTIM};
use crate::victim::{CONFIGURATION, IGNORE, Program, SOON, STATE, Victim};

const FRIEND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 31);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 32);

fn probe(forge: &Forge, from: Ipv4Addr) {
    forge.tcp(SocketAddrV4::new(from, 40000), SocketAddrV4::new(VICTIM, 111), SYN);
}

#[track_caller]
fn wait_for_line(victim: &Victim, words: &str) {
    wait_until(SOON, &format!("{words} in {:#?}", victim.syslog()), || {
        victim.syslog().iter().any(|line| line.contains(words)).then_some(())
    });
}

/// What stands half-edited in portsentry.conf must not come into force by the back door, and no half of it.
#[test]
fn a_changed_ignore_file_brings_nothing_else_with_it() {
    let Some(victim) = Victim::new() else { return };
    victim.write(CONFIGURATION, &watching("111", "BLOCK_TCP=\"1\"\n"));
    let _daemon = victim.start(Program::Ours, "-stcp");
    let edited = "BLOCK_TCP=\"1\"\nKILL_ROUTE=\"echo $TARGET$ >> /run/kill.log\"\n";
    victim.write(CONFIGURATION, &watching("79", edited));
    victim.write(IGNORE, &format!("{FRIEND}\nnonsense/99\n"));
    wait_for_line(&victim, "nonsense");
    let forge = Forge::new(&victim.lab.attacker);
    probe(&forge, FRIEND);
    probe(&forge, STRANGER);
    wait_for_line(&victim, "Host 10.77.0.32 has been blocked via nftables set");
    let sets = victim.lab.victim.run(&["nft", "list", "set", "inet", "portcullis-ps-stcp", "banned4"]).stdout;
    let sets = String::from_utf8_lossy(&sets).into_owned();
    assert!(sets.contains("10.77.0.32") && !sets.contains("10.77.0.31"), "{sets}");
    assert_eq!(victim.read("/run/kill.log"), "");
}

#[test]
fn an_ignore_file_that_is_moved_away_protects_on() {
    let Some(victim) = Victim::new() else { return };
    victim.write(CONFIGURATION, &watching("111", "BLOCK_TCP=\"1\"\n"));
    victim.write(IGNORE, &format!("{FRIEND}\n"));
    let _daemon = victim.start(Program::Ours, "-stcp");
    victim.lab.victim.run(&["mv", IGNORE, "/run/ignore.old"]);
    wait_for_line(&victim, "the ignore file cannot be read");
    let forge = Forge::new(&victim.lab.attacker);
    probe(&forge, FRIEND);
    probe(&forge, STRANGER);
    wait_for_line(&victim, "Host 10.77.0.32 has been blocked");
    assert!(!victim.syslog().iter().any(|line| line.contains("10.77.0.31")), "{:#?}", victim.syslog());
    // An editor writes the file in two steps: in between nobody is without protection, and at its end it counts.
    victim.write(IGNORE, "");
    let begun = Instant::now();
    wait_until(SOON, "the empty file to count", || {
        probe(&forge, FRIEND);
        victim.syslog().iter().any(|line| line.contains("Host 10.77.0.31 has been blocked")).then_some(())
    });
    assert!(begun.elapsed() > Duration::from_millis(500), "a file that has just changed is not at rest");
}

#[test]
fn what_takes_a_restart_is_said_at_a_reload_and_not_half_done() {
    let Some(victim) = Victim::new() else { return };
    for (mode, edited, named) in [
        (
            "-stcp",
            watching("111", "BLOCK_TCP=\"1\"\n").replace("portsentry.history", "other.history"),
            "HISTORY_FILE",
        ),
        ("-tcp", watching("79,111", "BLOCK_TCP=\"1\"\n"), "watch.tcp = "),
    ] {
        victim.clean();
        victim.write(CONFIGURATION, &watching("111", "BLOCK_TCP=\"1\"\n"));
        let mut daemon = victim.start(Program::Ours, mode);
        victim.write(CONFIGURATION, &edited);
        // To everybody in the namespace but its first process.
        daemon.order("kill -HUP -1\n");
        wait_for_line(
            &victim,
            &format!("nothing was changed, since this takes a restart of portcullis: {named}"),
        );
        daemon.stop();
    }
    let others = victim.lab.victim.run(&["ls", STATE]).stdout;
    assert!(!String::from_utf8_lossy(&others).contains("other.history"));
}

/// PortSentry let nobody in because its BLOCK_TCP became 0, and neither a reload nor a restart does here.
#[test]
fn who_is_blocked_stays_so_when_blocking_is_switched_off() {
    let Some(victim) = Victim::new() else { return };
    let forge = Forge::new(&victim.lab.attacker);
    let blocked = || victim.read(&format!("{STATE}/portsentry.blocked.stcp"));
    let is_in_set = || {
        let words = ["nft", "list", "set", "inet", "portcullis-ps-stcp", "banned4"];
        String::from_utf8_lossy(&victim.lab.victim.run(&words).stdout).contains(&STRANGER.to_string())
    };
    victim.write(CONFIGURATION, &watching("111", "BLOCK_TCP=\"1\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\n"));
    let mut daemon = victim.start(Program::Ours, "-stcp");
    probe(&forge, STRANGER);
    wait_until(SOON, "the block", || blocked().contains("/10.77.0.32 ").then_some(()));
    victim.write(CONFIGURATION, &watching("111", "BLOCK_TCP=\"0\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\n"));
    daemon.order("kill -HUP -1\n");
    wait_for_line(&victim, "nobody is blocked from now on, and whoever is blocked stays so");
    let mut told = 0;
    for _ in 0..2 {
        // What has just been told is done: the next one is only told of, and the first is known.
        probe(&forge, FRIEND);
        probe(&forge, STRANGER);
        wait_until(SOON, "the one who is blocked to be told of", || {
            let lines = victim.syslog();
            let known = lines.iter().filter(|line| line.contains("/10.77.0.32 is already blocked")).count();
            (known > told).then(|| told = known)
        });
        assert!(is_in_set() && blocked().contains("/10.77.0.32 "), "{}", blocked());
        assert_eq!(victim.read("/etc/hosts.deny"), "ALL: 10.77.0.32\n");
        daemon.stop();
        daemon = victim.start(Program::Ours, "-stcp");
    }
    wait_for_line(&victim, "Ignoring TCP response per configuration file setting");
    assert!(!victim.syslog().iter().any(|line| line.contains("have ended")), "{:#?}", victim.syslog());
}

/// What is odd about the files is said where it is new, and where it was said before it is not.
#[test]
fn a_reload_says_what_is_newly_odd_about_the_files() {
    let Some(victim) = Victim::new() else { return };
    victim.write(CONFIGURATION, &watching("111", "BLOCK_TCP=\"1\"\nKILL_HOSTS_DENY=\"ALL: nobody\"\n"));
    let mut daemon = victim.start(Program::Ours, "-stcp");
    let times = |words: &str| victim.syslog().iter().filter(|line| line.contains(words)).count();
    assert_eq!(times("KILL_HOSTS_DENY lacks $TARGET$"), 1);
    let odd = "BLOCK_TCP=\"1\"\nKILL_HOSTS_DENY=\"ALL: nobody\"\nKILL_ROUTE=\"/sbin/halt\"\n";
    victim.write(CONFIGURATION, &watching("111", odd));
    daemon.order("kill -HUP -1\n");
    wait_for_line(&victim, "KILL_ROUTE lacks $TARGET$, so it is never used; our own nftables set blocks");
    assert_eq!(times("KILL_HOSTS_DENY lacks $TARGET$"), 1, "{:#?}", victim.syslog());
}
