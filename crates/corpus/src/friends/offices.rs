//! Offices: directory servers, shares, printers, cameras, collectors of logs.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::build;

use crate::stage::{Stack, Stage};
use crate::talk::{End, Side, Talk};
use Side::{Client, Server};

/// A directory server: each client uses a dozen of its ports in the first seconds, all of them with services.
pub(super) fn directory(stage: &mut Stage) {
    let high = [49_152 + stage.dice.port(0, 2_000), 55_000 + stage.dice.port(0, 2_000)];
    let tcp = [53, 88, 135, 139, 389, 445, 464, 636, 3268, high[0], high[1]];
    stage.host.tcp.extend(tcp);
    stage.host.udp.extend([53, 88, 123, 389]);
    let own = stage.host.own();
    for _ in 0..stage.dice.count(2, 10) {
        let client = stage.neighbour();
        let mut at = stage.start + stage.dice.micros(0, 60_000_000);
        for port in [53, 389, 88, 123] {
            let from = stage.dice.port(49_152, 65_535);
            stage.datagram(at, (client, from), (own, port), 120);
            stage.datagram(at + Duration::from_micros(500), (own, port), (client, from), 200);
            at += stage.dice.micros(200, 9_000);
        }
        let mut order = tcp;
        stage.dice.shuffle(&mut order);
        for port in order {
            let mut talk = Talk::to_us(stage, at, client, port);
            talk.round_trip = Duration::from_micros(400);
            talk.stack = Stack::Windows;
            talk.open(stage).say(stage, Client, 300).say(stage, Server, 1_200);
            let end = stage.dice.pick(&[End::Fin(Client), End::Reset(Client), End::Open]);
            at = talk.close(stage, end) + stage.dice.micros(100, 400_000);
        }
    }
}

/// `\\host\share` where there is none: 445 and 139 at once, the name service, then WebDAV on 80.
pub(super) fn share(stage: &mut Stage) {
    for port in [445, 139, 80] {
        stage.host.tcp.remove(&port);
    }
    let own = stage.host.own();
    let client = stage.neighbour();
    let mut at = stage.start;
    for _ in 0..stage.dice.count(1, 6) {
        for retry in 0..3_u32 {
            let question = build::udp(137, 137, &[0x20; 50]);
            let at = at + retry * Duration::from_millis(1_500);
            stage.arrive(at, build::ip(client, own, question).hop_limit(128).bytes());
        }
        stage.attempt(at, client, 445, Stack::Windows);
        let (_, last) = stage.attempt(at + Duration::from_millis(1), client, 139, Stack::Windows);
        if stage.dice.percent(50) {
            stage.attempt(last + Duration::from_millis(300), client, 80, Stack::Windows);
        }
        at = last + stage.dice.micros(10_000_000, 600_000_000);
    }
}

/// A printer had this address: its ports are asked for, and its ink by SNMP, all day, by some clients.
pub(super) fn printer(stage: &mut Stage) {
    for port in [9100, 631] {
        stage.host.tcp.remove(&port);
    }
    stage.host.udp.remove(&161);
    let own = stage.host.own();
    for _ in 0..stage.dice.count(1, 6) {
        let client = stage.neighbour();
        let mut at = stage.start + stage.dice.micros(0, 60_000_000);
        for _ in 0..stage.dice.count(3, 40) {
            let from = stage.ephemeral();
            let question = build::udp(from, 161, &[0x30; 78]);
            stage.arrive(at, build::ip(client, own, question).hop_limit(64).bytes());
            let port = stage.dice.pick(&[9100, 9100, 631]);
            stage.attempt(at + Duration::from_secs(1), client, port, Stack::Windows);
            at += stage.dice.micros(20_000_000, 300_000_000);
        }
    }
}

/// Senders to our collectors, which never answer: syslog, flows, metrics.
pub(super) fn collectors(stage: &mut Stage) {
    stage.host.udp.extend([514, 2055, 6343, 8125]);
    let own = stage.host.own();
    for _ in 0..stage.dice.count(2, 15) {
        let sender = if stage.dice.percent(70) { stage.neighbour() } else { stage.stranger() };
        let count = stage.dice.count(1, 3);
        let mut ports = [514, 2055, 6343, 8125];
        stage.dice.shuffle(&mut ports);
        let from = stage.ephemeral();
        for _ in 0..stage.dice.count(10, 60) {
            let at = stage.start + stage.dice.micros(0, 120_000_000);
            let port = stage.dice.pick(&ports[..count]);
            stage.datagram(at, (sender, from), (own, port), 300);
        }
    }
}

/// RTSP: asked for by TCP, film and sound come by UDP to two pairs of ports of ours that never answer but for a
/// report; each time the connection breaks, to others.
pub(super) fn cameras(stage: &mut Stage) {
    let own = stage.host.own();
    for _ in 0..stage.dice.count(1, 6) {
        let camera = stage.neighbour();
        let mut at = stage.start;
        for _ in 0..stage.dice.count(1, 6) {
            let mut talk = Talk::from_us(stage, at, camera, 554);
            talk.round_trip = Duration::from_millis(2);
            talk.open(stage).say(stage, Client, 300).say(stage, Server, 700);
            at = talk.close(stage, End::Open);
            let ours = stage.dice.port(16_400, 32_000) * 2;
            let theirs = stage.dice.port(3_000, 30_000) * 2;
            for packet in 0..stage.dice.count(20, 80) as u32 {
                let at = at + packet * Duration::from_millis(15);
                let pair = if packet % 3 == 0 { 2 } else { 0 };
                stage.datagram(at, (camera, theirs + pair), (own, ours + pair), 1_200);
                if packet == 10 {
                    stage.datagram(at, (camera, theirs + pair + 1), (own, ours + pair + 1), 60);
                    stage.datagram(at + Duration::from_millis(3), (own, ours + 1), (camera, theirs + 1), 60);
                }
            }
            at += stage.dice.micros(5_000_000, 60_000_000);
        }
    }
}

/// A crawler, a client of a hoster: whole connections to the service of each of our addresses.
pub(super) fn crawler(stage: &mut Stage) {
    let count = stage.dice.count(8, 60);
    stage.host.take_addresses(count);
    stage.host.tcp.extend([80, 443]);
    let client = stage.stranger();
    let mut addresses: Vec<IpAddr> = stage.host.v4.iter().map(|address| IpAddr::from(*address)).collect();
    stage.dice.shuffle(&mut addresses);
    let mut at = stage.start;
    for address in addresses {
        let port = if stage.dice.percent(30) { 80 } else { 443 };
        let mut talk = Talk::to_us(stage, at, client, port);
        talk.server.0 = address;
        talk.open(stage).say(stage, Client, 300).say(stage, Server, 3_000);
        talk.close(stage, End::Fin(Client));
        at += stage.dice.micros(1_000, 2_000_000);
    }
}

/// A whole office as a mirror port shows it: many clients, many servers, questions of all of them.
pub(super) fn mirror(stage: &mut Stage) {
    let resolver = stage.neighbour();
    let clients: Vec<IpAddr> = (0..stage.dice.count(6, 25)).map(|_| stage.neighbour()).collect();
    for _ in 0..stage.dice.count(20, 100) {
        let client = stage.dice.pick(&clients);
        let at = stage.start + stage.dice.micros(0, 60_000_000);
        let from = stage.ephemeral();
        stage.datagram(at, (client, from), (resolver, 53), 44);
        stage.datagram(at + Duration::from_millis(3), (resolver, 53), (client, from), 120);
        let server = stage.stranger();
        let port = stage.dice.pick(&[443, 443, 443, 80, 993, 22, 5228]);
        let mut talk = Talk::from_us(stage, at + Duration::from_millis(4), server, port);
        talk.client.0 = client;
        talk.open(stage).say(stage, Client, 500).say(stage, Server, 4_000);
        let end =
            stage.dice.pick(&[End::Fin(Client), End::Fin(Server), End::Open, End::BrokenOff(Client, 3)]);
        talk.close(stage, end);
    }
}

/// Our mail server delivers what has waited: dozens of servers at port 25, some of which are down or refuse.
pub(super) fn deliveries(stage: &mut Stage) {
    let own = stage.host.own();
    for _ in 0..stage.dice.count(10, 50) {
        let server = stage.stranger();
        let at = stage.start + stage.dice.micros(0, 120_000_000);
        match stage.dice.between(0, 9) {
            0 => {
                let from = stage.ephemeral();
                let syn = Stack::Linux.syn(&mut stage.dice, from, 25);
                for retry in [0, 1, 3, 7] {
                    stage.pass(at + Duration::from_secs(retry), build::ip(own, server, syn.clone()).bytes());
                }
            }
            1 => {
                let talk = Talk::from_us(stage, at, server, 25);
                super::sessions::refused(stage, &talk);
            }
            _ => {
                let mut talk = Talk::from_us(stage, at, server, 25);
                talk.open(stage).say(stage, Server, 60).say(stage, Client, 2_000).say(stage, Server, 40);
                talk.close(stage, End::Fin(Client));
            }
        }
    }
}

/// We watch some hosts by ping, every few seconds, and now and then one of them is away.
pub(super) fn our_monitoring(stage: &mut Stage) {
    let own = stage.host.own();
    let watched: Vec<IpAddr> = (0..stage.dice.count(3, 12)).map(|_| stage.stranger()).collect();
    for round in 0..stage.dice.count(5, 40) as u16 {
        for target in &watched {
            let at = stage.start + Duration::from_secs(10) * round.into() + stage.dice.micros(0, 500_000);
            let [high, low] = round.to_be_bytes();
            let echo = |kind| build::icmp_with(kind, 0, [0x2a, 0x2a, high, low], &[0x61; 56]);
            stage.pass(at, build::ip(own, *target, echo(8)).unfragmented().bytes());
            if stage.dice.percent(95) {
                let at = at + Duration::from_millis(14);
                stage.pass(at, build::ip(*target, own, echo(0)).hop_limit(55).bytes());
            }
        }
    }
}
