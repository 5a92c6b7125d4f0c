//! Packets that look like probes and are none.

use std::net::{Ipv4Addr, SocketAddrV4};

use testbed::wait_until;

use crate::load::watching;
use crate::probes::{Forge, VICTIM};
use crate::victim::{CONFIGURATION, Program, SOON, Victim};

/// Both PortSentries blocked the resolver whose answer came too late (fault 3).
#[test]
fn a_late_answer_blocks_nobody_and_a_question_to_the_same_port_does() {
    let Some(victim) = Victim::new() else { return };
    victim.write(CONFIGURATION, &watching("111,32771,40000", "BLOCK_UDP=\"1\"\n"));
    let _daemon = victim.start(Program::Ours, "-sudp");
    let forge = Forge::new(&victim.lab.attacker);
    let datagram = |last, from, to| {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, last), from);
        forge.udp(from, SocketAddrV4::new(VICTIM, to), b"hello");
    };
    datagram(31, 53, 40000);
    datagram(31, 123, 40000);
    // Packets keep their order: when this one is blocked, the others have been judged.
    datagram(32, 5353, 40000);
    wait_until(SOON, "the block", || {
        let is_blocked = |line: &String| line.contains("Host 10.77.0.32 has been blocked");
        victim.syslog().iter().any(is_blocked).then_some(())
    });
    assert!(!victim.syslog().iter().any(|line| line.contains("10.77.0.31")), "{:#?}", victim.syslog());
    // To a port from which this host never asks, it is no answer.
    datagram(31, 53, 111);
    wait_until(SOON, "the second block", || {
        let is_blocked = |line: &String| line.contains("Host 10.77.0.31 has been blocked");
        victim.syslog().iter().any(is_blocked).then_some(())
    });
}
