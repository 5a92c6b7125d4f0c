//! masscan 1.3 and hping3 3.0, as captured, and scans that no tool has made so yet.

use std::time::Duration;

use portcullis_core::wire::{TcpFlags, build};

use super::nmap::ports;
use super::{POPULAR, POPULAR_UDP};
use crate::Incident;
use crate::host::Reply;
use crate::stage::{Stack, Stage};

/// No options, window 1024, hop limit 255, one source port, identification and sequence made of the target; a service
/// gets a RST of the kernel and, a tenth of a second later, one of its own.
pub(super) fn masscan(stage: &mut Stage) {
    let (source, own) = (stage.stranger(), stage.host.own());
    let source_port = stage.dice.port(40_000, 61_000);
    let count = stage.dice.pick(&[15, 50, 100, 400]);
    let mut ports = ports(stage, count, &POPULAR);
    stage.dice.shuffle(&mut ports);
    let mut at = stage.start;
    let pause = stage.dice.pick(&[100, 2_000, 10_000]);
    for port in ports {
        let sequence = stage.dice.number() as u32;
        let number = (sequence ^ u32::from(port)) & 0xffff;
        let packet = |segment: build::Segment, window| {
            build::ip(source, own, segment.window(window)).hop_limit(243).identification(number).bytes()
        };
        let reply =
            stage.arrive(at, packet(build::tcp(source_port, port, TcpFlags::SYN).sequence(sequence), 1024));
        if let Reply::Open { .. } = reply {
            let reset = build::tcp(source_port, port, TcpFlags::RST).sequence(sequence.wrapping_add(1));
            stage.arrive(at + Duration::from_millis(20), packet(reset.clone(), 0));
            stage.arrive(at + Duration::from_millis(120), packet(reset, 1200));
        }
        at += stage.dice.about(Duration::from_micros(pause));
    }
    stage.incidents.push(Incident::of(source, "syn", "vertical"));
}

pub(super) fn hping_syn(stage: &mut Stage) {
    hping(stage, TcpFlags::SYN, "syn");
}

pub(super) fn hping_flags(stage: &mut Stage) {
    let (fin, psh, urg) = (TcpFlags::FIN, TcpFlags::PSH, TcpFlags::URG);
    let (flags, kind) = stage.dice.pick(&[
        (fin | psh | urg, "xmas"),
        (fin, "fin"),
        (0, "null"),
        (TcpFlags::SYN | fin, "flags"),
        (urg, "flags"),
        (0x3f, "flags"),
    ]);
    hping(stage, flags, kind);
}

/// No options, window 512, hop limit 64 at home, source port and target port count upwards.
fn hping(stage: &mut Stage, flags: u8, kind: &'static str) {
    let (source, own) = (stage.stranger(), stage.host.own());
    let first = stage.dice.port(1, 8_000);
    let source_port = stage.dice.port(1_024, 3_000);
    let pause = stage.dice.pick(&[100, 20_000, 1_000_000]);
    let mut at = stage.start;
    for step in 0..stage.dice.count(12, 200) as u16 {
        let (from, to, sequence) = (source_port + step, first + step, stage.dice.number() as u32);
        let packet = |stage: &mut Stage, segment: build::Segment, window| {
            let number = stage.dice.number() as u32 & 0xffff;
            build::ip(source, own, segment.window(window)).hop_limit(52).identification(number).bytes()
        };
        let probe = packet(stage, build::tcp(from, to, flags).sequence(sequence), 512);
        if let Reply::Open { .. } = stage.arrive(at, probe) {
            let reset = build::tcp(from, to, TcpFlags::RST).sequence(sequence.wrapping_add(1));
            let reset = packet(stage, reset, 0);
            stage.arrive(at + Duration::from_millis(15), reset);
        }
        at += Duration::from_micros(pause) + stage.dice.micros(10, 200);
    }
    stage.incidents.push(Incident::of(source, kind, "vertical"));
}

pub(super) fn hping_udp(stage: &mut Stage) {
    let (source, own) = (stage.stranger(), stage.host.own());
    let first = stage.dice.port(1, 8_000);
    let mut at = stage.start;
    for step in 0..stage.dice.count(12, 120) as u16 {
        let packet = build::ip(source, own, build::udp(2_019 + step, first + step, &[])).hop_limit(52);
        stage.arrive(at, packet.bytes());
        at += stage.dice.micros(10_000, 60_000);
    }
    stage.incidents.push(Incident::of(source, "udp", "vertical"));
}

/// `for port in range(…): socket.connect(…)`, one after the other, by an ordinary system.
pub(super) fn script(stage: &mut Stage) {
    let source = stage.stranger();
    let first = stage.dice.port(1, 3_000);
    let mut at = stage.start;
    for step in 0..stage.dice.count(12, 60) as u16 {
        let (reply, last) = stage.attempt(at, source, first + step, Stack::Linux);
        at = last + stage.dice.micros(2_000, 80_000);
        if reply == Reply::Silence {
            at += Duration::from_secs(1);
        }
    }
    stage.incidents.push(Incident::of(source, "syn", "vertical").or_kind("connect").or_shape("slow"));
}

/// Real questions to the services that might be there, as masscan and zgrab ask them; each twice.
pub(super) fn payloads(stage: &mut Stage) {
    let (source, own) = (stage.stranger(), stage.host.own());
    let source_port = stage.ephemeral();
    let mut ports = POPULAR_UDP.to_vec();
    stage.dice.shuffle(&mut ports);
    ports.truncate(stage.dice.count(15, 60));
    let mut at = stage.start;
    for _ in 0..2 {
        for port in &ports {
            let length = stage.dice.count(12, 200);
            let packet = build::ip(source, own, build::udp(source_port, *port, &vec![0x2a; length]));
            stage.arrive(at, packet.hop_limit(243).bytes());
            at += stage.dice.micros(500, 50_000);
        }
        at += Duration::from_secs(1);
    }
    stage.incidents.push(Incident::of(source, "udp", "vertical"));
}

/// The second fragment writes the ports anew: what a filter has read is not what the host gets.
pub(super) fn overlaps(stage: &mut Stage) {
    let (source, own) = (stage.stranger(), stage.host.own());
    let count = stage.dice.count(12, 60);
    let ports = ports(stage, count, &POPULAR);
    let mut at = stage.start;
    for port in ports {
        let number = stage.dice.number() as u32 & 0xffff;
        let packet = |port| {
            build::ip(source, own, build::tcp(44_000, port, TcpFlags::SYN))
                .hop_limit(50)
                .identification(number)
        };
        let parts = [packet(80).fragment(0, 8), packet(port).fragment(0, 8), packet(port).fragment(8, 20)];
        for part in parts {
            stage.arrive(at, part);
            at += stage.dice.micros(20, 60);
        }
        at += stage.dice.micros(1_000, 90_000);
    }
    let incident = Incident::of(source, "fragments", "vertical").besides(&["syn", "flags"]);
    stage.incidents.push(incident);
}

/// Datagrams without content to ports of the whole range.
pub(super) fn any_udp(stage: &mut Stage) {
    let (source, own) = (stage.stranger(), stage.host.own());
    let from = stage.ephemeral();
    let mut at = stage.start;
    for _ in 0..stage.dice.count(40, 250) {
        let probe = build::udp(from, stage.dice.port(1, 65_535), &[]);
        stage.arrive(at, build::ip(source, own, probe).hop_limit(49).bytes());
        at += stage.dice.micros(300, 60_000);
    }
    stage.incidents.push(Incident::of(source, "udp", "vertical"));
}
