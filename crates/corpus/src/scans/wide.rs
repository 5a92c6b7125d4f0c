//! Scans over many of our addresses.

use std::net::Ipv6Addr;
use std::time::Duration;

use portcullis_core::wire::{TcpFlags, build};

use super::POPULAR;
use super::nmap::ports;
use crate::Incident;
use crate::host::Reply;
use crate::stage::Stage;

/// zmap 4: no options, window 65535, hop limit 255, identification 54321, a source port of its own for each target.
pub(super) fn zmap(stage: &mut Stage) {
    let count = stage.dice.count(16, 60);
    let port = stage.dice.pick(&[23, 2323, 3389, 5555, 7547]);
    one_port(stage, count, port, 65_535, 54_321);
}

pub(super) fn horizontal(stage: &mut Stage) {
    let count = stage.dice.count(12, 40);
    let port = stage.dice.pick(&[23, 445, 3389, 5900, 1433]);
    let number = stage.dice.number() as u32 & 0xffff;
    one_port(stage, count, port, 1024, number);
}

pub(super) fn few_addresses(stage: &mut Stage) {
    let count = stage.dice.count(6, 11);
    one_port(stage, count, 23, 1024, 7);
}

/// The port is one that we offer: only the breadth, and the half-open connections, tell.
pub(super) fn service(stage: &mut Stage) {
    stage.host.has_three_services();
    let count = stage.dice.count(16, 60);
    let port = stage.dice.pick(&[22, 80, 443]);
    one_port(stage, count, port, 1024, 54_321);
}

fn one_port(stage: &mut Stage, count: usize, port: u16, window: u16, number: u32) {
    stage.host.take_addresses(count);
    let source = stage.stranger();
    let mut targets = stage.host.v4.clone();
    stage.dice.shuffle(&mut targets);
    let mut at = stage.start;
    let pause = stage.dice.pick(&[100, 5_000, 300_000]);
    for target in targets {
        let source_port = stage.ephemeral();
        let sequence = stage.dice.number() as u32;
        let packet = |segment: build::Segment| {
            build::ip(source, target, segment).hop_limit(243).identification(number).bytes()
        };
        let probe = build::tcp(source_port, port, TcpFlags::SYN).sequence(sequence).window(window);
        if let Reply::Open { .. } = stage.arrive(at, packet(probe)) {
            let reset = build::tcp(source_port, port, TcpFlags::RST).sequence(sequence + 1).window(0);
            stage.arrive(at + Duration::from_millis(30), packet(reset));
        }
        at += stage.dice.about(Duration::from_micros(pause));
    }
    stage.incidents.push(Incident::of(source, "syn", "horizontal"));
}

pub(super) fn block(stage: &mut Stage) {
    let count = stage.dice.count(4, 16);
    stage.host.take_addresses(count);
    let source = stage.stranger();
    let count = stage.dice.count(4, 12);
    let ports = ports(stage, count, &POPULAR);
    let mut targets: Vec<_> =
        stage.host.v4.iter().flat_map(|target| ports.iter().map(move |port| (*target, *port))).collect();
    stage.dice.shuffle(&mut targets);
    let mut at = stage.start;
    for (target, port) in targets {
        let probe = build::tcp(61_000, port, TcpFlags::SYN).options(&[2, 4, 5, 0xb4]);
        let hop_limit = stage.dice.between(37, 59) as u8;
        stage.arrive(at, build::ip(source, target, probe).hop_limit(hop_limit).bytes());
        at += stage.dice.micros(200, 20_000);
    }
    stage.incidents.push(Incident::of(source, "syn", "block"));
}

/// `nmap -sn -PE`, or a loop of `ping -c 1`.
pub(super) fn sweep(stage: &mut Stage) {
    let count = stage.dice.count(6, 60);
    stage.host.take_addresses(count);
    let source = stage.stranger();
    let mut at = stage.start;
    let body = if stage.dice.percent(50) { 0 } else { 56 };
    for (index, target) in stage.host.v4.clone().into_iter().enumerate() {
        let echo = build::icmp_with(8, 0, [0x12, 0x34, 0, index as u8], &vec![0x61; body]);
        stage.arrive(at, build::ip(source, target, echo).hop_limit(51).bytes());
        at += stage.dice.micros(1_000, 400_000);
    }
    stage.incidents.push(Incident::of(source, "icmp-sweep", "horizontal"));
}

/// The same with IPv6.
pub(super) fn sweep6(stage: &mut Stage) {
    let count = stage.dice.count(6, 40);
    let source = stage.stranger6();
    let first = stage.host.v6[0].to_bits();
    stage.host.v6.extend((1..count as u128).map(|step| Ipv6Addr::from_bits(first.wrapping_add(step))));
    let mut at = stage.start;
    for (index, target) in stage.host.v6.clone().into_iter().enumerate() {
        if target.is_unicast_link_local() {
            continue;
        }
        let echo = build::icmpv6_with(128, 0, [0x12, 0x34, 0, index as u8], &[0x61; 8]);
        stage.arrive(at, build::ip(source, target, echo).hop_limit(51).bytes());
        at += stage.dice.micros(1_000, 400_000);
    }
    stage.incidents.push(Incident::of(source, "icmp-sweep", "horizontal"));
}

/// As Mirai does it: telnet, one time in ten at 2323, the target's address as sequence number, any window.
pub(super) fn worm(stage: &mut Stage) {
    let count = stage.dice.count(16, 60);
    stage.host.take_addresses(count);
    let source = stage.stranger();
    let mut targets = stage.host.v4.clone();
    stage.dice.shuffle(&mut targets);
    let mut at = stage.start;
    for target in targets {
        let port = if stage.dice.percent(10) { 2323 } else { 23 };
        let (from, window) = (stage.dice.port(1_024, 65_535), stage.dice.port(100, 65_535));
        let probe = build::tcp(from, port, TcpFlags::SYN).sequence(target.to_bits()).window(window);
        let number = stage.dice.number() as u32 & 0xffff;
        stage.arrive(at, build::ip(source, target, probe).hop_limit(47).identification(number).bytes());
        at += stage.dice.micros(5_000, 2_000_000);
    }
    stage.incidents.push(Incident::of(source, "syn", "horizontal").or_shape("block"));
}

/// Telephone exchanges, amplifiers: a real question to one UDP port of each address.
pub(super) fn udp(stage: &mut Stage) {
    let count = stage.dice.count(14, 60);
    stage.host.take_addresses(count);
    let source = stage.stranger();
    let (port, length) = stage.dice.pick(&[(5060, 410), (11_211, 15), (161, 43), (1900, 94), (389, 52)]);
    let from = stage.dice.port(5_000, 61_000);
    let mut at = stage.start;
    for target in stage.host.v4.clone() {
        let question = build::udp(from, port, &vec![0x4f; length]);
        stage.arrive(at, build::ip(source, target, question).hop_limit(51).bytes());
        at += stage.dice.micros(500, 400_000);
    }
    stage.incidents.push(Incident::of(source, "udp", "horizontal"));
}
