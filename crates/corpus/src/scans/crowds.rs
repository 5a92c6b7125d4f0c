//! Scans in many names: decoys beside the real one, and many sources that share the work.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use portcullis_core::wire::{TcpFlags, build};

use super::POPULAR;
use super::nmap::{Nmap, Pace, Technique, ports};
use crate::Incident;
use crate::stage::Stage;

/// Nobody can tell which of them is the real one: one that is found is enough, and none of them is a friend.
pub(super) fn decoys(stage: &mut Stage) {
    let count = stage.dice.count(10, 100);
    let ports = ports(stage, count, &POPULAR);
    let decoys = stage.dice.count(3, 10);
    let mut nmap = Nmap::new(stage, Technique::Syn, Pace::Fast, ports);
    nmap.decoys = (0..decoys).map(|_| stage.stranger()).collect();
    let mut incident = Incident::of(nmap.source, "syn", "decoy");
    incident.sources.extend(&nmap.decoys);
    stage.incidents.push(incident);
    nmap.run(stage);
}

pub(super) fn one_port_each(stage: &mut Stage) {
    let sources = stage.dice.count(20, 80);
    distributed(stage, sources, 1);
}

pub(super) fn few_ports_each(stage: &mut Stage) {
    let sources = stage.dice.count(8, 30);
    let each = stage.dice.count(2, 4);
    distributed(stage, sources, each);
}

/// One list of ports, dealt out; the same tool everywhere.
fn distributed(stage: &mut Stage, sources: usize, each: usize) {
    let mut left = ports(stage, sources * each, &POPULAR);
    let names: Vec<_> = (0..sources).map(|_| stage.stranger()).collect();
    let pause = Duration::from_millis(stage.dice.between(20, 4_000));
    let mut at = stage.start;
    let own = stage.host.own();
    while let Some(port) = left.pop() {
        let source = names[left.len() % names.len()];
        let source_port = stage.ephemeral();
        let probe = build::tcp(source_port, port, TcpFlags::SYN).sequence(stage.dice.number() as u32);
        let number = stage.dice.number() as u32 & 0xffff;
        let hop_limit = stage.dice.between(230, 250) as u8;
        let packet = build::ip(source, own, probe.options(&[2, 4, 5, 0xb4])).hop_limit(hop_limit);
        stage.arrive(at, packet.identification(number).bytes());
        at += stage.dice.about(pause);
    }
    let mut incident = Incident::of(names[0], "syn", "distributed");
    // Half of them: some may have met nothing but services.
    incident.enough = sources.div_ceil(2);
    incident.sources = names;
    stage.incidents.push(incident);
}

/// One scanner, whose system has a /64 to itself: another address of it for every probe.
pub(super) fn addresses_of_one(stage: &mut Stage) {
    let IpAddr::V6(first) = stage.stranger6() else { unreachable!("a stranger with IPv6") };
    let count = stage.dice.count(12, 80);
    let own = stage.host.own6();
    let mut names = Vec::new();
    let mut at = stage.start;
    for port in ports(stage, count, &POPULAR) {
        let low = u128::from(stage.dice.number());
        let source = IpAddr::from(Ipv6Addr::from_bits(first.to_bits() >> 64 << 64 | low));
        names.push(source);
        let source_port = stage.ephemeral();
        let probe = build::tcp(source_port, port, TcpFlags::SYN).sequence(stage.dice.number() as u32);
        stage.arrive(at, build::ip(source, own, probe.options(&[2, 4, 5, 0xa0])).hop_limit(53).bytes());
        at += stage.dice.micros(1_000, 900_000);
    }
    let mut incident = Incident::of(names[0], "syn", "vertical").or_shape("distributed");
    // The verdict needs the first of them, and services some: a few of them named are enough.
    incident.enough = 3;
    incident.sources = names;
    stage.incidents.push(incident);
}
