//! Many peers at many of our ports: BitTorrent, calls between browsers, overlay networks.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::build;

use crate::host::Reply;
use crate::stage::{Stack, Stage};
use crate::talk::{End, Side, Talk};
use Side::{Client, Server};

/// One listening port for TCP, uTP and DHT; many peers in and out, some of whose ports are closed.
pub(super) fn bittorrent(stage: &mut Stage) {
    let port = stage.dice.port(6_881, 60_000);
    stage.host.tcp.insert(port);
    stage.host.udp.insert(port);
    let own = stage.host.own();
    for _ in 0..stage.dice.count(15, 80) {
        let (peer, theirs) = (stage.stranger(), stage.dice.port(1_024, 65_535));
        let at = stage.start + stage.dice.micros(0, 120_000_000);
        match stage.dice.between(0, 5) {
            0 => {
                let mut talk = Talk::to_us(stage, at, peer, port);
                talk.open(stage).say(stage, Client, 68).say(stage, Server, 9_000);
                talk.close(stage, End::Reset(Client));
            }
            1 => {
                let mut talk = Talk::from_us(stage, at, peer, theirs);
                talk.open(stage).say(stage, Client, 68).say(stage, Server, 20_000);
                talk.close(stage, End::BrokenOff(Client, 4));
            }
            2 => {
                // A peer that has gone: our SYNs, and no answer.
                let from = stage.ephemeral();
                let syn = Stack::Linux.syn(&mut stage.dice, from, theirs);
                for retry in [0, 1, 3] {
                    let at = at + Duration::from_secs(retry);
                    stage.pass(at, build::ip(own, peer, syn.clone()).unfragmented().bytes());
                }
            }
            _ => {
                let mut at = at;
                let is_theirs = stage.dice.percent(50);
                for _ in 0..stage.dice.count(2, 20) {
                    let (ours, remote) = ((own, port), (peer, theirs));
                    let (first, second) = if is_theirs { (remote, ours) } else { (ours, remote) };
                    stage.datagram(at, first, second, 60);
                    at += stage.dice.micros(10_000, 200_000);
                    stage.datagram(at, second, first, 900);
                    at += stage.dice.micros(100, 60_000);
                }
            }
        }
    }
}

/// Our client has ended; the swarm has not heard of it. Peers ask the port for hours, by TCP and UDP, and older ones
/// the port that the client had the day before.
pub(super) fn after_bittorrent(stage: &mut Stage) {
    let own = stage.host.own();
    let ports: Vec<u16> = (0..stage.dice.count(1, 3)).map(|_| stage.dice.port(6_881, 60_000)).collect();
    for _ in 0..stage.dice.count(20, 120) {
        let (peer, theirs) = (stage.stranger(), stage.dice.port(1_024, 65_535));
        let mut at = stage.start + stage.dice.micros(0, 3_000_000_000);
        let port = stage.dice.pick(&ports);
        for _ in 0..stage.dice.count(1, 6) {
            if stage.dice.percent(60) {
                let question = build::udp(theirs, port, &[0x64; 100]);
                stage.arrive(at, build::ip(peer, own, question).hop_limit(48).bytes());
            } else {
                let stack = Stack::of(peer);
                stage.attempt(at, peer, port, stack);
            }
            at += stage.dice.micros(1_000_000, 120_000_000);
        }
    }
}

/// RFC 8445: each side tries all pairs of addresses and ports; some come before ours has gone out, some when it is over.
pub(super) fn stun(stage: &mut Stage) {
    let own = stage.host.own();
    let server = (stage.stranger(), 3478);
    for _ in 0..stage.dice.count(1, 5) {
        let mut at = stage.start + stage.dice.micros(0, 60_000_000);
        let ours: Vec<u16> = (0..stage.dice.count(1, 4)).map(|_| stage.ephemeral()).collect();
        for port in &ours {
            stage.datagram(at, (own, *port), server, 28);
            stage.datagram(at + Duration::from_millis(25), server, (own, *port), 60);
        }
        at += Duration::from_millis(200);
        let peer = stage.stranger();
        let theirs: Vec<u16> = (0..stage.dice.count(1, 3)).map(|_| stage.dice.port(1_024, 65_535)).collect();
        for port in &ours {
            for remote in &theirs {
                let is_first = stage.dice.percent(40);
                let (out, back) = if is_first { (30, 0) } else { (0, 30) };
                stage.datagram(at + Duration::from_millis(out), (own, *port), (peer, *remote), 92);
                stage.datagram(at + Duration::from_millis(back), (peer, *remote), (own, *port), 92);
                at += Duration::from_millis(20);
            }
        }
        for _ in 0..stage.dice.count(20, 100) {
            at += Duration::from_millis(20);
            stage.datagram(at, (peer, theirs[0]), (own, ours[0]), 500);
            stage.datagram(at + Duration::from_millis(5), (own, ours[0]), (peer, theirs[0]), 500);
        }
        at += Duration::from_secs(4);
        for port in &ours {
            stage.datagram(at, (peer, theirs[0]), (own, *port), 92);
            stage.complain(at + Duration::from_micros(40), (peer, theirs[0]), *port);
        }
    }
}

/// Nodes that know each other by hearsay (a blockchain, a mesh VPN): one port of ours, often by several of a peer's;
/// some knock at ports that we had earlier.
pub(super) fn overlay(stage: &mut Stage) {
    let port = stage.dice.pick(&[30_303, 8_333, 4_001, 51_820, 41_641]);
    stage.host.tcp.insert(port);
    stage.host.udp.insert(port);
    let own = stage.host.own();
    let earlier = stage.dice.port(20_000, 60_000);
    let peers: Vec<IpAddr> = (0..stage.dice.count(10, 60)).map(|_| stage.stranger()).collect();
    for peer in peers {
        let at = stage.start + stage.dice.micros(0, 600_000_000);
        for retry in 0..stage.dice.count(1, 4) as u32 {
            let (at, from) = (at + retry * Duration::from_secs(20), stage.dice.port(1_024, 65_535));
            stage.datagram(at, (peer, from), (own, port), 130);
            stage.datagram(at + Duration::from_micros(300), (own, port), (peer, from), 200);
        }
        if stage.dice.percent(20) {
            let (reply, last) = stage.attempt(at, peer, earlier, Stack::Linux);
            if reply != Reply::Silence {
                stage.attempt(last + Duration::from_secs(30), peer, earlier, Stack::Linux);
            }
        }
    }
}

/// An old file-sharing network: our client asks hundreds of hosts out of a stale list, by TCP and UDP, each at a port of
/// its own; most have gone, and some answer "host unreachable". Others ask us, at the one port that we have.
pub(super) fn gnutella(stage: &mut Stage) {
    let port = stage.dice.pick(&[6346, 6347, 4662, 4672, 28_755]);
    stage.host.tcp.insert(port);
    stage.host.udp.insert(port);
    let own = stage.host.own();
    for _ in 0..stage.dice.count(40, 250) {
        let usual = [6346, 4662, 4672];
        let theirs =
            if stage.dice.percent(30) { stage.dice.pick(&usual) } else { stage.dice.port(1_024, 65_535) };
        let peer = stage.stranger();
        let at = stage.start + stage.dice.micros(0, 200_000_000);
        match stage.dice.between(0, 9) {
            0..=4 => {
                stage.datagram(at, (own, port), (peer, theirs), 31);
                if stage.dice.percent(25) {
                    stage.datagram(at + Duration::from_millis(90), (peer, theirs), (own, port), 120);
                }
            }
            5..=7 => {
                let from = stage.ephemeral();
                let syn = Stack::Windows.syn(&mut stage.dice, from, theirs);
                let syn = build::ip(own, peer, syn).unfragmented();
                for retry in [0, 3] {
                    stage.pass(at + Duration::from_secs(retry), syn.bytes());
                }
                if stage.dice.percent(30) {
                    let router = stage.stranger();
                    let error = build::icmp(3, 1, &syn.bytes());
                    let at = at + Duration::from_millis(3_100);
                    stage.pass(at, build::ip(router, own, error).hop_limit(50).bytes());
                }
            }
            8 => {
                let mut talk = Talk::from_us(stage, at, peer, theirs);
                talk.open(stage).say(stage, Client, 200).say(stage, Server, 900);
                talk.close(stage, End::Fin(Server));
            }
            _ => {
                stage.datagram(at, (peer, theirs), (own, port), 31);
                stage.datagram(at + Duration::from_millis(1), (own, port), (peer, theirs), 200);
            }
        }
    }
}
