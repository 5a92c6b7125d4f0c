//! Names that scanners chose for themselves. In PortSentry the name of one host could keep another from being blocked,
//! and went unfiltered into log and files (fault 5).

use std::net::{Ipv4Addr, SocketAddrV4};

use testbed::wait_until;

use crate::load::watching;
use crate::observed::{Kind, kind};
use crate::probes::{Forge, SYN, VICTIM};
use crate::victim::{CONFIGURATION, Program, SOON, STATE, Victim};

const ANSWERS: &str = "BLOCK_TCP=\"1\"\nRESOLVE_HOST=\"1\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\n\
                       KILL_ROUTE=\"echo ROUTE $TARGET$ >> /run/kill.log\"\n";

#[test]
fn a_scanners_name_decorates_its_lines_and_does_nothing_else() {
    let Some(victim) = Victim::new() else { return };
    victim.write(CONFIGURATION, &watching("79,111", ANSWERS));
    let long = "long.".repeat(60);
    // 31 has an honest name; 32 is 300 characters; 33 has control characters and a shell command; the name of 34
    // begins with its own address, and that of 35 is made of the address of 36.
    let names = format!(
        "127.0.0.1 localhost\n10.77.0.31 scanner.example\n10.77.0.32 {long}example\n\
         10.77.0.33 \u{1b}[2J\u{7}$(touch${{IFS}}/run/owned);`reboot`\n10.77.0.34 10.77.0.34.evil.example\n\
         10.77.0.35 10.77.0.36-x.evil.example\n"
    );
    victim.write("/etc/hosts", &names);
    victim.write("/etc/nsswitch.conf", "hosts: files\n");
    let _daemon = victim.start(Program::Ours, "-stcp");
    let forge = Forge::new(&victim.lab.attacker);
    let scanners: Vec<Ipv4Addr> = (31..=36).map(|last| Ipv4Addr::new(10, 77, 0, last)).collect();
    for port in [111, 79] {
        for scanner in &scanners {
            forge.tcp(SocketAddrV4::new(*scanner, 40000), SocketAddrV4::new(VICTIM, port), SYN);
        }
        // One after the other, so that the second probe of each meets a host that is blocked.
        wait_until(SOON, "all to be blocked", || {
            let history = victim.read(&format!("{STATE}/portsentry.history"));
            scanners
                .iter()
                .all(|own| history.contains(&format!("/{own} Port: 111 TCP Blocked")))
                .then_some(())
        });
    }
    wait_until(SOON, "the second probes", || {
        let again = victim.syslog().iter().filter(|line| kind(line) == Kind::AlreadyBlocked).count();
        (again == scanners.len()).then_some(())
    });
    // Each was blocked once, whatever it or another was called.
    let mut routes: Vec<String> = victim.read("/run/kill.log").lines().map(str::to_owned).collect();
    routes.sort();
    assert_eq!(routes, scanners.iter().map(|own| format!("ROUTE {own}")).collect::<Vec<_>>());
    assert_eq!(victim.read("/etc/hosts.deny").lines().count(), scanners.len());
    assert!(victim.syslog().iter().any(|line| line.contains("from host: scanner.example/10.77.0.31 to")));
    assert!(!victim.lab.victim.enter(|| std::path::Path::new("/run/owned").exists()), "a name was run");
    let files = ["history", "blocked.stcp"].map(|name| victim.read(&format!("{STATE}/portsentry.{name}")));
    let log = victim.raw_syslog();
    for line in log.iter().map(String::as_str).chain(files.iter().flat_map(|file| file.lines())) {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.len() < 1000, "{} bytes: {line:?}", line.len());
        assert!(!line.contains(&long), "a name is at most 255 characters (RFC 1035): {line:?}");
    }
    // Six lines, each with its own address behind the name: no name makes a line of its own.
    for file in &files {
        assert_eq!(file.lines().count(), scanners.len(), "{file}");
    }
}
