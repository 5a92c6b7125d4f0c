//! How a host is shut out where no command does it, and how it is let in again. PortSentry had no set of its own, and no
//! way back (faults 13, 16 and 24).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Output;

use testbed::wait_until;

use crate::load::watching;
use crate::probes::{Forge, SYN, VICTIM};
use crate::victim::{CONFIGURATION, Daemon, Program, SOON, STATE, Victim};

const SCANNER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 31);

/// A victim that watches 79 and 111, and blocks as `rest` says.
fn victim(rest: &str) -> Option<Victim> {
    let victim = Victim::new()?;
    victim.write(CONFIGURATION, &watching("79,111", &format!("BLOCK_TCP=\"1\"\n{rest}")));
    Some(victim)
}

/// The guard, and the scanner blocked by it.
#[track_caller]
fn blocked(victim: &Victim) -> Daemon {
    let daemon = victim.start(Program::Ours, "-stcp");
    scan(victim, 111);
    wait_until(SOON, "the block", || is_called_blocked(victim).then_some(()));
    daemon
}

fn scan(victim: &Victim, port: u16) {
    let forge = Forge::new(&victim.lab.attacker);
    forge.tcp(SocketAddrV4::new(SCANNER, 40000), SocketAddrV4::new(VICTIM, port), SYN);
}

fn is_called_blocked(victim: &Victim) -> bool {
    victim.read(&format!("{STATE}/portsentry.blocked.stcp")).contains(&format!("/{SCANNER} "))
}

fn listing(victim: &Victim, words: &[&str]) -> String {
    String::from_utf8(victim.lab.victim.run(words).stdout).unwrap()
}

fn is_in_set(victim: &Victim) -> bool {
    listing(victim, &["nft", "list", "table", "inet", "portcullis-ps-stcp"]).contains(&SCANNER.to_string())
}

fn rules(victim: &Victim) -> String {
    listing(victim, &["iptables", "-S", "INPUT"])
}

fn let_in(victim: &Victim) -> Vec<String> {
    victim.syslog().into_iter().filter(|line| line.contains("is let in again")).collect()
}

fn unban(victim: &Victim) -> Output {
    let mut command = victim.lab.victim.command(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["unban", "--instance", "ps-stcp"]).arg(SCANNER.to_string()).output().unwrap()
}

#[test]
fn where_no_command_shuts_out_our_own_set_does() {
    let well_known =
        "KILL_ROUTE=\"/sbin/iptables -I INPUT -s $TARGET$ -j DROP\"\nKILL_ROUTE_BY=\"nftables\"\n";
    for rest in ["", well_known] {
        let Some(victim) = victim(rest) else { return };
        let _daemon = blocked(&victim);
        assert!(is_in_set(&victim), "{rest}");
        assert_eq!(rules(&victim), "-P INPUT ACCEPT\n", "{rest}");
        assert!(victim.syslog().iter().any(|line| line.contains("has been blocked via nftables set")));
        assert_eq!(unban(&victim).status.code(), Some(0), "{rest}");
        let told = "<29>adminalert: Host: 10.77.0.31/10.77.0.31 is let in again (by hand)";
        wait_until(SOON, "the line about it", || (let_in(&victim) == [told]).then_some(()));
        assert!(!is_in_set(&victim) && !is_called_blocked(&victim), "{rest}");
    }
}

#[test]
fn a_command_that_fails_beside_our_set_does_not_repeat_that_the_set_holds() {
    let Some(victim) = victim("KILL_RUN_CMD=\"echo try >> /run/kill.log; exit 3\"\n") else { return };
    let _daemon = victim.start(Program::Ours, "-stcp");
    scan(&victim, 111);
    wait_until(SOON, "the end of all tries", || {
        let is_over = |line: &String| line.contains("10.77.0.31 is shut out, but not every response worked");
        victim.syslog().iter().any(is_over).then_some(())
    });
    let told = victim.syslog().iter().filter(|line| line.contains("via nftables set")).count();
    assert_eq!((victim.read("/run/kill.log").lines().count(), told), (5, 1), "{:#?}", victim.syslog());
    assert!(is_in_set(&victim));
    let all_else = victim.syslog().iter().filter(|line| line.contains("not in force")).count();
    assert_eq!(all_else, 0, "it is, by the set: {:#?}", victim.syslog());
}

#[test]
fn what_a_well_known_command_did_is_taken_back_with_the_line_in_hosts_deny() {
    let both =
        "KILL_HOSTS_DENY=\"ALL: $TARGET$\"\nKILL_ROUTE=\"/sbin/iptables -I INPUT -s $TARGET$ -j DROP\"\n";
    let Some(victim) = victim(both) else { return };
    if !testbed::has(&["iptables"]) {
        return;
    }
    let _daemon = blocked(&victim);
    assert_eq!(victim.read("/etc/hosts.deny"), "ALL: 10.77.0.31\n");
    assert!(rules(&victim).contains("-A INPUT -s 10.77.0.31/32 -j DROP\n"), "{}", rules(&victim));
    let output = unban(&victim);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((victim.read("/etc/hosts.deny").as_str(), rules(&victim).as_str()), ("", "-P INPUT ACCEPT\n"));
    assert!(!is_called_blocked(&victim));
    // He is a stranger like any other again.
    scan(&victim, 79);
    wait_until(SOON, "the second block", || is_called_blocked(&victim).then_some(()));
    assert!(rules(&victim).contains("10.77.0.31/32"));
}

#[test]
fn what_only_a_person_can_take_back_is_said_to_him() {
    let strange = "KILL_HOSTS_DENY=\"ALL: $TARGET$\"\nKILL_ROUTE=\"echo shut $TARGET$ >> /run/kill.log\"\n";
    let Some(victim) = victim(strange) else { return };
    let _daemon = blocked(&victim);
    let output = unban(&victim);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("undo by hand what this command did: echo shut 10.77.0.31 >> /run/kill.log"),
        "{said}"
    );
    assert_eq!(victim.read("/etc/hosts.deny"), "", "what could be taken back has been");
    assert!(!is_called_blocked(&victim));
}

#[test]
fn who_lets_in_all_is_told_what_is_left_too() {
    let Some(victim) = victim("KILL_ROUTE=\"echo shut $TARGET$ >> /run/kill.log\"\n") else { return };
    let _daemon = blocked(&victim);
    let mut command = victim.lab.victim.command(env!("CARGO_BIN_EXE_portcullis"));
    let output = command.args(["unban", "--instance", "ps-stcp", "--all"]).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 ban has ended"), "{said}");
    let left = "undo by hand what this command did: echo shut 10.77.0.31 >> /run/kill.log";
    assert!(said.contains("10.77.0.31") && said.contains(left), "{said}");
}

#[test]
fn what_somebody_has_taken_back_already_is_left_to_nobody() {
    let Some(victim) = victim("KILL_ROUTE=\"/sbin/iptables -I INPUT -s $TARGET$ -j DROP\"\n") else { return };
    if !testbed::has(&["iptables"]) {
        return;
    }
    let _daemon = blocked(&victim);
    victim.lab.victim.run(&["iptables", "-F", "INPUT"]);
    let output = unban(&victim);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let told = victim.syslog();
    assert!(!told.iter().any(|line| line.contains("not wholly let in")), "{told:#?}");
}

#[test]
fn whom_somebody_put_into_our_set_is_there_again_after_a_flush() {
    let Some(victim) = victim("") else { return };
    let _daemon = blocked(&victim);
    let table = ["inet", "portcullis-ps-stcp", "banned4"];
    let has =
        |address: &str| listing(&victim, &[&["nft", "list", "set"][..], &table].concat()).contains(address);
    let element = ["{", "10.77.0.99", "timeout", "1h", "}"];
    victim.lab.victim.run(&[&["nft", "add", "element"][..], &table, &element].concat());
    let bans = || listing(&victim, &[env!("CARGO_BIN_EXE_portcullis"), "bans", "--instance", "ps-stcp"]);
    wait_until(SOON, "him to be listed", || bans().contains("10.77.0.99").then_some(()));
    victim.lab.victim.run(&[&["nft", "flush", "set"][..], &table].concat());
    wait_until(SOON, "both to be back", || (has("10.77.0.31") && has("10.77.0.99")).then_some(()));
}

/// He waits for the command to end, since only then is it known what is left to him; nobody else waits with him.
#[test]
fn an_operator_who_waits_for_a_command_to_end_keeps_nobody_waiting() {
    let hang = "KILL_RUN_CMD=\"echo began >> /run/kill.log; exec sleep 1000\"\n";
    let Some(victim) = victim(hang) else { return };
    let _daemon = victim.start(Program::Ours, "-stcp");
    scan(&victim, 111);
    wait_until(SOON, "the command", || (victim.read("/run/kill.log") == "began\n").then_some(()));
    assert!(is_in_set(&victim));
    let mut unban = victim.lab.victim.command(env!("CARGO_BIN_EXE_portcullis"));
    unban.args(["unban", "--instance", "ps-stcp"]).arg(SCANNER.to_string());
    let mut unban = unban.spawn().unwrap();
    wait_until(SOON, "his release", || (!is_in_set(&victim)).then_some(()));
    let status = listing(&victim, &[env!("CARGO_BIN_EXE_portcullis"), "status", "--instance", "ps-stcp"]);
    assert!(status.contains("bans"), "{status}");
    assert!(unban.try_wait().unwrap().is_none(), "the status was told while he waits");
    // He is answered all the same, that it is not over yet.
    let ended = wait_until(SOON, "his answer", || unban.try_wait().unwrap());
    assert_eq!(ended.code(), Some(1));
}

/// It re-arms the host, as with PortSentry, and lets in whom we have shut out ourselves.
#[test]
fn who_is_taken_out_of_the_blocked_file_is_let_in() {
    let Some(victim) = victim("KILL_HOSTS_DENY=\"ALL: $TARGET$\"\n") else { return };
    let _daemon = blocked(&victim);
    assert!(is_in_set(&victim));
    victim.write(&format!("{STATE}/portsentry.blocked.stcp"), "");
    wait_until(SOON, "his release", || {
        (!is_in_set(&victim) && victim.read("/etc/hosts.deny").is_empty()).then_some(())
    });
    wait_until(SOON, "the line about it", || {
        let told =
            "<29>adminalert: Host: 10.77.0.31/10.77.0.31 is let in again (taken out of the blocked file)";
        (let_in(&victim) == [told]).then_some(())
    });
    scan(&victim, 79);
    wait_until(SOON, "the second block", || (is_called_blocked(&victim) && is_in_set(&victim)).then_some(()));
}

/// 2.x did not see a second address that begins like the first, nor the link-local ones (fault 10).
#[test]
fn every_own_address_is_watched() {
    let Some(victim) = victim("") else { return };
    let host = &victim.lab.victim;
    // Beside 10.77.0.2; and one that comes while it runs.
    host.add_address("eth0", "10.77.0.22/24");
    let mut daemon = victim.start_modern(&["--stealth"]);
    host.add_address("eth0", "10.77.0.222/24");
    let printed = listing(&victim, &["ip", "-br", "-6", "addr", "show", "dev", "eth0", "scope", "link"]);
    let link_local = printed.split_whitespace().find_map(|word| word.strip_suffix("/64")).unwrap();
    let forge = Forge::new(&victim.lab.attacker);
    for (last, to) in [(41, [10, 77, 0, 22]), (42, [10, 77, 0, 222])] {
        let from = Ipv4Addr::new(10, 77, 0, last);
        let scan = format!("Scan from: [{from}]");
        // Once more and once more: an address that has just come is watched a moment later.
        wait_until(SOON, &scan, || {
            forge.tcp(SocketAddrV4::new(from, 40000), SocketAddrV4::new(to.into(), 111), SYN);
            daemon.printed().iter().any(|line| line.contains(&scan)).then_some(())
        });
    }
    let to = format!("{link_local}%eth0");
    victim.lab.attacker.run(&["nmap", "-6", "-sS", "-n", "-Pn", "--max-retries", "1", "-p", "79", &to]);
    daemon.running.wait_for_line(SOON, |line| line.contains("Scan from: [fe80:"));
}
