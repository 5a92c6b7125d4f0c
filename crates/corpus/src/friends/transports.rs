//! What is rarer than a plain connection: other protocols, fragments, keep-alives, and a host that has forgotten.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use portcullis_core::wire::{TcpFlags, build};

use crate::host::{Firewall, Reply};
use crate::stage::Stage;
use crate::talk::{End, Side, Talk};
use Side::{Client, Server};

/// ESP, GRE and IP in IP with a partner; IGMP, OSPF, VRRP and PIM of the routers near by.
pub(super) fn protocols(stage: &mut Stage) {
    let own = stage.host.own();
    let partner = stage.stranger();
    let tunnel = stage.dice.pick(&[50, 47, 4, 51]);
    for packet in 0..stage.dice.count(10, 80) as u32 {
        let at = stage.start + packet * Duration::from_millis(200) + stage.dice.micros(0, 90_000);
        stage.pass(at, build::ip(partner, own, build::other(tunnel, &[0x45; 96])).hop_limit(52).bytes());
        stage.pass(
            at + Duration::from_millis(1),
            build::ip(own, partner, build::other(tunnel, &[0x45; 96])).bytes(),
        );
    }
    for port in [500, 4500] {
        stage.host.udp.insert(port);
        stage.datagram(stage.start, (partner, port), (own, port), 300);
        stage.datagram(stage.start + Duration::from_millis(30), (own, port), (partner, port), 300);
    }
    let router = stage.neighbour();
    for round in 0..stage.dice.count(5, 40) as u32 {
        let at = stage.start + round * Duration::from_secs(10);
        for (protocol, last) in [(2, 1), (89, 5), (112, 18), (103, 13)] {
            let group = IpAddr::from(Ipv4Addr::new(224, 0, 0, last));
            stage
                .pass(at, build::ip(router, group, build::other(protocol, &[0x11; 32])).hop_limit(1).bytes());
        }
    }
}

/// RFC 9260 §5.1: INIT, INIT ACK, COOKIE ECHO, COOKIE ACK, then data both ways.
pub(super) fn sctp(stage: &mut Stage) {
    let own = stage.host.own();
    for _ in 0..stage.dice.count(1, 4) {
        let peer = stage.stranger();
        let from = stage.dice.pick(&[2905, 36_412, 38_412]);
        let mut at = stage.start + stage.dice.micros(0, 9_000_000);
        for (is_ours, tag, chunk) in [(false, 0, 1), (true, 7, 2), (false, 9, 10), (true, 7, 11)] {
            let (source, target) = if is_ours { (own, peer) } else { (peer, own) };
            stage.pass(at, build::ip(source, target, build::sctp(from, from, tag, chunk)).bytes());
            at += Duration::from_millis(9);
        }
        for _ in 0..stage.dice.count(5, 50) {
            let (source, target) = if stage.dice.percent(50) { (own, peer) } else { (peer, own) };
            let chunk = stage.dice.pick(&[0, 3, 4, 5]);
            stage.pass(at, build::ip(source, target, build::sctp(from, from, 9, chunk)).bytes());
            at += stage.dice.micros(1_000, 30_000_000);
        }
    }
}

/// Long answers in fragments, some of which are lost or come late, to a new port of ours each time.
pub(super) fn fragments(stage: &mut Stage) {
    let own = stage.host.own();
    let resolver = stage.stranger();
    let mut at = stage.start;
    for _ in 0..stage.dice.count(5, 60) {
        let port = stage.ephemeral();
        stage.datagram(at, (own, port), (resolver, 53), 60);
        at += stage.dice.micros(2_000, 90_000);
        let answer = build::ip(resolver, own, build::udp(53, port, &[0x61; 3_100]))
            .identification(stage.dice.number() as u32 & 0xffff);
        let mut parts = answer.fragments(1_480);
        if stage.dice.percent(20) {
            parts.swap(0, 1);
        }
        if stage.dice.percent(15) {
            parts.pop();
        }
        for part in parts {
            stage.pass(at, part);
            at += stage.dice.micros(5, 300);
        }
        at += stage.dice.micros(10_000, 2_000_000);
    }
}

/// Idle sessions: keep-alives (RFC 9293 §3.8.4), segments that are sent again, FINs that are sent again until somebody
/// answers.
pub(super) fn keep_alives(stage: &mut Stage) {
    stage.host.tcp.extend([22, 443, 993]);
    for _ in 0..stage.dice.count(2, 12) {
        let client = stage.stranger();
        let (at, port) = (stage.start + stage.dice.micros(0, 9_000_000), stage.dice.pick(&[22, 443, 993]));
        let mut talk = Talk::to_us(stage, at, client, port);
        talk.open(stage).say(stage, Client, 300).say(stage, Server, 3_000);
        for _ in 0..stage.dice.count(3, 30) {
            talk.rest(Duration::from_secs(45));
            let side = stage.dice.pick(&[Client, Server]);
            let other = if side == Client { Server } else { Client };
            talk.segment(stage, side, TcpFlags::ACK, 0).segment(stage, other, TcpFlags::ACK, 0);
        }
        // His network is gone: his last FIN comes again and again, and we have closed long ago.
        talk.close(stage, End::Reset(Server));
        let own = talk.server.0;
        for retry in 0..stage.dice.count(1, 6) {
            talk.rest(Duration::from_millis(400 << retry));
            let fin = build::tcp(talk.client.1, port, TcpFlags::FIN | TcpFlags::ACK).acknowledgement(9);
            if stage.arrive(talk.now(), build::ip(client, own, fin).hop_limit(52).bytes()) == Reply::Reset {
                break;
            }
        }
    }
}

/// Our machine was switched off and on: what everybody still thinks open is answered by RST, then they come again.
pub(super) fn rebooted(stage: &mut Stage) {
    stage.host.tcp.extend([22, 80, 443, 993, 5432, 6379]);
    let gateway = stage.neighbour();
    for index in 0..stage.dice.count(4, 30) {
        // An application server keeps connections to several of our services.
        let client = if index < 2 { gateway } else { stage.stranger() };
        let own = stage.host.own();
        for _ in 0..stage.dice.count(1, 4) {
            let port = if client == gateway { stage.dice.pick(&[80, 5432, 6379, 22]) } else { 443 };
            let from = stage.ephemeral();
            let mut at = stage.start + stage.dice.micros(0, 40_000_000);
            for retry in [0, 300, 900, 2_100, 4_500] {
                let segment = build::tcp(from, port, TcpFlags::ACK | TcpFlags::PSH)
                    .sequence(stage.dice.number() as u32)
                    .acknowledgement(stage.dice.number() as u32)
                    .payload(&[0x17; 80]);
                let packet = build::ip(client, own, segment).hop_limit(54).unfragmented();
                at += Duration::from_millis(retry);
                if stage.arrive(at, packet.bytes()) == Reply::Reset {
                    break;
                }
            }
            let mut talk = Talk::to_us(stage, at + Duration::from_millis(100), client, port);
            talk.open(stage).say(stage, Client, 300).say(stage, Server, 2_000);
            talk.close(stage, End::Open);
        }
    }
}

/// Connection tracking has forgotten idle sessions of ours with many servers; theirs come to ports of ours that our
/// kernel knows no more.
pub(super) fn forgotten(stage: &mut Stage) {
    stage.host.firewall = Firewall::Bare;
    let own = stage.host.own();
    let server = stage.stranger();
    let mut at = stage.start;
    for _ in 0..stage.dice.count(5, 40) {
        let port = stage.ephemeral();
        let flags = stage.dice.pick(&[
            TcpFlags::FIN | TcpFlags::ACK,
            TcpFlags::ACK,
            TcpFlags::ACK | TcpFlags::PSH,
            TcpFlags::FIN | TcpFlags::ACK | TcpFlags::PSH,
        ]);
        let segment = build::tcp(443, port, flags)
            .sequence(stage.dice.number() as u32)
            .acknowledgement(stage.dice.number() as u32)
            .window(70);
        stage.arrive(at, build::ip(server, own, segment).hop_limit(54).unfragmented().bytes());
        at += stage.dice.micros(100_000, 60_000_000);
    }
}
