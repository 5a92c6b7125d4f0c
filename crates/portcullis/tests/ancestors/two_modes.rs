//! One mode of TCP and one of UDP in one process; PortSentry had a process each.

use std::net::{SocketAddr, SocketAddrV4};

use testbed::wait_until;

use crate::load::watching;
use crate::probes::{Forge, SYN, VICTIM, connect, datagram};
use crate::victim::{CONFIGURATION, Program, SOON, Victim};

/// The ports that are open on the victim: `["tcp 111", "udp 111"]`.
fn open_ports(victim: &Victim) -> Vec<String> {
    let sockets = victim.lab.victim.run(&["ss", "-Htuln"]).stdout;
    let port = |line: &str| {
        let mut words = line.split_whitespace();
        let transport = words.next()?.to_owned();
        let local = words.nth(3)?;
        Some(format!("{transport} {}", local.rsplit_once(':')?.1))
    };
    let mut ports: Vec<String> = String::from_utf8_lossy(&sockets).lines().filter_map(port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[track_caller]
fn wait_for(victim: &Victim, pair: &str, words: &str) {
    wait_until(SOON, &format!("{pair}: {words} in {:#?}", victim.syslog()), || {
        victim.syslog().iter().any(|line| line.contains(words)).then_some(())
    });
}

#[test]
fn every_pair_of_modes_opens_and_sees_what_each_does_alone() {
    let Some(victim) = Victim::new() else { return };
    let forge = Forge::new(&victim.lab.attacker);
    let from = SocketAddrV4::new("10.77.0.77".parse().unwrap(), 0);
    let to = SocketAddrV4::new(VICTIM, 111);
    for (tcp, is_tcp_open) in [("-tcp", true), ("-stcp", false), ("-atcp", false)] {
        for (udp, is_udp_open) in [("-udp", true), ("-sudp", false), ("-audp", false)] {
            let pair = format!("{tcp} {udp}");
            victim.clean();
            victim.write(CONFIGURATION, &watching("111", "BLOCK_TCP=\"0\"\nBLOCK_UDP=\"0\"\n"));
            let _daemon = victim.start(Program::Ours, &pair);
            let expected: Vec<&str> = is_tcp_open
                .then_some("tcp 111")
                .into_iter()
                .chain(is_udp_open.then_some("udp 111"))
                .collect();
            assert_eq!(open_ports(&victim), expected, "{pair}");

            let seen = if is_tcp_open { "Connect from host" } else { "SYN/Normal scan from host" };
            if is_tcp_open {
                connect(&victim.lab.attacker, SocketAddr::V4(from), SocketAddr::V4(to)).unwrap();
            } else {
                forge.tcp(SocketAddrV4::new(*from.ip(), 40000), to, SYN);
            }
            wait_for(&victim, &pair, &format!("{seen}: 10.77.0.77/10.77.0.77 to TCP port: 111"));
            let _socket = datagram(&victim.lab.attacker, SocketAddr::V4(from), SocketAddr::V4(to));
            let seen = if is_udp_open { "Connect from host" } else { "UDP scan from host" };
            wait_for(&victim, &pair, &format!("{seen}: 10.77.0.77/10.77.0.77 to UDP port: 111"));
            let alerts = victim
                .syslog()
                .iter()
                .filter(|line| line.contains("attackalert: ") && line.contains(" port: 111"))
                .count();
            assert_eq!(alerts, 2, "{pair}: each is told once: {:#?}", victim.syslog());
        }
    }
}

#[test]
fn a_second_start_of_the_same_modes_says_that_one_runs_whichever_comes_first() {
    let Some(victim) = Victim::new() else { return };
    victim.write(CONFIGURATION, &watching("111", "BLOCK_TCP=\"0\"\nBLOCK_UDP=\"0\"\n"));
    for (first, second) in [("-tcp -udp", "-udp -tcp"), ("-audp -atcp", "-atcp -audp")] {
        let _daemon = victim.start(Program::Ours, first);
        let mut again = victim.lab.victim.command(env!("CARGO_BIN_EXE_portcullis"));
        let refused = again.arg("portsentry").args(second.split_whitespace()).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stdout) + String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(255), "{second}: {said}");
        assert!(said.contains("another portcullis already answers"), "{second}: {said}");
    }
}
