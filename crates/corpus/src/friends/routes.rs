//! What the network itself needs: pings, traceroutes, errors.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::{TcpFlags, build};

use crate::stage::{Stack, Stage};
use crate::talk::{End, Side, Talk};

fn ping(stage: &mut Stage, at: Duration, from: IpAddr, number: u16) {
    let own = if from.is_ipv4() { stage.host.own() } else { stage.host.own6() };
    let [high, low] = number.to_be_bytes();
    let payload = [0x61; 56];
    let echo = if from.is_ipv4() {
        build::icmp_with(8, 0, [0x1f, 0x90, high, low], &payload)
    } else {
        build::icmpv6_with(128, 0, [0x1f, 0x90, high, low], &payload)
    };
    stage.arrive(at, build::ip(from, own, echo).hop_limit(57).bytes());
}

/// Pings every few seconds, a port here and there, an HTTP check; from a few addresses, some by IPv6.
pub(super) fn monitoring(stage: &mut Stage) {
    stage.host.tcp.extend([22, 80, 443]);
    let every = Duration::from_secs(stage.dice.between(1, 60));
    for _ in 0..stage.dice.count(1, 4) {
        let monitor = if stage.dice.percent(30) { stage.stranger6() } else { stage.stranger() };
        for round in 0..stage.dice.count(20, 100) as u16 {
            let at = stage.start + u32::from(round) * every;
            ping(stage, at, monitor, round);
            if round % 5 == 0 {
                let port = stage.dice.pick(&[22, 80, 443]);
                let mut talk = Talk::to_us(stage, at, monitor, port);
                talk.open(stage);
                talk.close(stage, End::Fin(Side::Client));
            }
        }
    }
}

/// Three datagrams a hop, each to the next port above 33434; those that reach us are the last of them. mtr does it
/// again and again, with ports that begin anew.
pub(super) fn traceroute_udp(stage: &mut Stage) {
    let own = stage.host.own();
    for _ in 0..stage.dice.count(1, 3) {
        let (tracer, from) = (stage.stranger(), stage.ephemeral());
        let mut at = stage.start + stage.dice.micros(0, 30_000_000);
        let hops = stage.dice.port(6, 18);
        let first = 33_434 + 3 * (hops - 1);
        for run in 0..stage.dice.count(1, 3) as u16 {
            // The Linux tool sends sixteen at once: five hops too many.
            for step in 0..stage.dice.port(3, 16) {
                let probe = build::udp(from + run, first + step, &[0x40; 32]);
                let hop_limit = 1 + (step / 3) as u8;
                stage.arrive(at, build::ip(tracer, own, probe).hop_limit(hop_limit).bytes());
                at += stage.dice.micros(100, 30_000);
            }
            at += Duration::from_secs(20);
        }
    }
}

/// SYNs to one port, mostly one with a service, by `traceroute -T` and `mtr -T`.
pub(super) fn traceroute_tcp(stage: &mut Stage) {
    stage.host.tcp.insert(443);
    let own = stage.host.own();
    let dead = stage.closed_of(&[80, 8080], 1);
    for _ in 0..stage.dice.count(1, 3) {
        let tracer = stage.stranger();
        let port = dead.first().copied().filter(|_| stage.dice.percent(40)).unwrap_or(443);
        let mut at = stage.start + stage.dice.micros(0, 30_000_000);
        for step in 0..stage.dice.count(6, 40) {
            let from = stage.ephemeral();
            let probe = build::tcp(from, port, TcpFlags::SYN)
                .sequence(stage.dice.number() as u32)
                .window(5_840)
                .options(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 2]);
            let packet = build::ip(tracer, own, probe).hop_limit(1 + (step % 16) as u8);
            if let crate::host::Reply::Open { .. } = stage.arrive(at, packet.bytes()) {
                let reset = build::tcp(from, port, TcpFlags::RST).window(0);
                stage.arrive(at + Duration::from_millis(20), build::ip(tracer, own, reset).bytes());
            }
            at += stage.dice.micros(500, 300_000);
        }
    }
}

pub(super) fn traceroute_icmp(stage: &mut Stage) {
    for _ in 0..stage.dice.count(1, 4) {
        let tracer = if stage.dice.percent(30) { stage.stranger6() } else { stage.stranger() };
        let mut at = stage.start + stage.dice.micros(0, 30_000_000);
        for step in 0..stage.dice.count(6, 60) as u16 {
            ping(stage, at, tracer, step);
            at += stage.dice.micros(500, 900_000);
        }
    }
}

/// Ours: the routers on the way answer with "time exceeded", the target with "port unreachable".
pub(super) fn our_traceroute(stage: &mut Stage) {
    let own = stage.host.own();
    let target = stage.stranger();
    let from = stage.ephemeral();
    let mut at = stage.start;
    for step in 0..stage.dice.port(18, 48) {
        let probe = build::ip(own, target, build::udp(from, 33_434 + step, &[0x40; 32]))
            .hop_limit(1 + (step / 3) as u8);
        let bytes = probe.bytes();
        stage.pass(at, bytes.clone());
        let router = stage.stranger();
        let is_there = step / 3 > 9;
        let error = if is_there { build::icmp(3, 3, &bytes) } else { build::icmp(11, 0, &bytes) };
        let sender = if is_there { target } else { router };
        if stage.dice.percent(85) {
            stage.pass(at + Duration::from_millis(12), build::ip(sender, own, error).hop_limit(55).bytes());
        }
        at += stage.dice.micros(100, 40_000);
    }
}

/// "Fragmentation needed" and "packet too big" from routers about our segments, and the segments again.
pub(super) fn path_mtu(stage: &mut Stage) {
    stage.host.tcp.insert(443);
    for _ in 0..stage.dice.count(2, 12) {
        let client = if stage.dice.percent(40) { stage.stranger6() } else { stage.stranger() };
        let router = if client.is_ipv4() { stage.stranger() } else { stage.stranger6() };
        let at = stage.start + stage.dice.micros(0, 60_000_000);
        let mut talk = Talk::to_us(stage, at, client, 443);
        talk.open(stage).say(stage, Side::Client, 500).say(stage, Side::Server, 6_000);
        let quoted = build::ip(talk.server.0, client, build::tcp(443, talk.client.1, TcpFlags::ACK)).bytes();
        let error = if client.is_ipv4() {
            build::icmp_with(3, 4, [0, 0, 0x05, 0x78], &quoted)
        } else {
            build::icmpv6_with(2, 0, [0, 0, 0x05, 0x00], &quoted)
        };
        stage.pass(talk.now(), build::ip(router, talk.server.0, error).hop_limit(60).bytes());
        talk.rest(Duration::from_millis(5)).say(stage, Side::Server, 6_000);
        talk.close(stage, End::Fin(Side::Client));
    }
}

/// Unreachable hosts and closed ports out there, about what we have sent: a few targets, again and again.
pub(super) fn errors(stage: &mut Stage) {
    let own = stage.host.own();
    let targets: Vec<IpAddr> = (0..stage.dice.count(2, 4)).map(|_| stage.stranger()).collect();
    for _ in 0..stage.dice.count(5, 40) {
        let (target, router) = (stage.dice.pick(&targets), stage.stranger());
        let (from, at) = (stage.ephemeral(), stage.start + stage.dice.micros(0, 90_000_000));
        let is_udp = stage.dice.percent(50);
        let sent = if is_udp {
            build::ip(own, target, build::udp(from, 53, &[1; 30]))
        } else {
            let syn = Stack::Linux.syn(&mut stage.dice, from, 443);
            build::ip(own, target, syn)
        };
        stage.pass(at, sent.bytes());
        let (code, sender) = stage.dice.pick(&[(1, router), (3, target), (13, router), (10, router)]);
        let error = build::icmp(3, code, &sent.bytes());
        stage.pass(at + Duration::from_millis(30), build::ip(sender, own, error).hop_limit(52).bytes());
    }
}
