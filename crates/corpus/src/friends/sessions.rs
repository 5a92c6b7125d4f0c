//! Connections of users to our services, and of ours to others'.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::{TcpFlags, build};

use crate::host::Reply;
use crate::stage::{Stack, Stage};
use crate::talk::{End, Side, Talk};
use Side::{Client, Server};

/// Pages with several connections each, some kept open, some broken off, some by IPv6.
pub(super) fn web(stage: &mut Stage) {
    stage.host.tcp.extend([80, 443]);
    for _ in 0..stage.dice.count(2, 12) {
        let client = if stage.dice.percent(30) { stage.stranger6() } else { stage.stranger() };
        visit(stage, client);
    }
}

/// One reader: a few connections at about the same time.
fn visit(stage: &mut Stage, client: IpAddr) {
    let start = stage.start + stage.dice.micros(0, 60_000_000);
    for index in 0..stage.dice.count(1, 6) {
        let at = start + stage.dice.micros(0, 300_000);
        let port = if index == 0 && stage.dice.percent(30) { 80 } else { 443 };
        let mut talk = Talk::to_us(stage, at, client, port);
        talk.open(stage);
        for _ in 0..stage.dice.count(1, 4) {
            let (asked, sent) = (stage.dice.count(80, 900), stage.dice.count(200, 20_000));
            talk.say(stage, Client, asked).say(stage, Server, sent);
            let pause = stage.dice.micros(1_000, 4_000_000);
            talk.rest(pause);
        }
        let end = stage.dice.pick(&[
            End::Fin(Client),
            End::Fin(Server),
            End::Reset(Client),
            End::Open,
            End::BrokenOff(Client, 3),
        ]);
        talk.close(stage, end);
    }
}

/// Servers that bring mail, and clients that fetch it, on several of our ports.
pub(super) fn mail(stage: &mut Stage) {
    stage.host.tcp.extend([25, 143, 465, 587, 993, 995]);
    for _ in 0..stage.dice.count(3, 10) {
        let client = stage.stranger();
        let start = stage.start + stage.dice.micros(0, 300_000_000);
        for _ in 0..stage.dice.count(1, 4) {
            let at = start + stage.dice.micros(0, 5_000_000);
            let port = stage.dice.pick(&[25, 25, 587, 465, 993, 143]);
            let mut talk = Talk::to_us(stage, at, client, port);
            talk.open(stage).say(stage, Server, 80).say(stage, Client, 20).say(stage, Server, 200);
            talk.say(stage, Client, 3_000).say(stage, Server, 30);
            talk.close(stage, End::Fin(Client));
        }
    }
}

/// Long sessions with pauses; somebody mistypes his password and comes again.
pub(super) fn ssh(stage: &mut Stage) {
    stage.host.tcp.insert(22);
    for _ in 0..stage.dice.count(1, 4) {
        let client = stage.stranger();
        let mut at = stage.start + stage.dice.micros(0, 30_000_000);
        for _ in 0..stage.dice.count(1, 3) {
            let mut talk = Talk::to_us(stage, at, client, 22);
            talk.open(stage).say(stage, Server, 40).say(stage, Client, 1_500).say(stage, Server, 1_200);
            for _ in 0..stage.dice.count(3, 40) {
                talk.say(stage, Client, 36).say(stage, Server, 60);
                let pause = stage.dice.micros(50_000, 20_000_000);
                talk.rest(pause);
            }
            at = talk.close(stage, End::Fin(Client)) + Duration::from_secs(2);
        }
    }
}

/// We are the client: many servers, some slow, some that refuse, and ends that come late.
pub(super) fn browsing(stage: &mut Stage) {
    let resolver = (stage.neighbour(), 53);
    for _ in 0..stage.dice.count(4, 25) {
        let server = if stage.dice.percent(25) { stage.stranger6() } else { stage.stranger() };
        let mut at = stage.start + stage.dice.micros(0, 60_000_000);
        let delay = stage.dice.micros(500, 30_000);
        stage.question(at, resolver, 40, delay);
        at += Duration::from_millis(40);
        let port = stage.dice.pick(&[443, 443, 443, 80, 8443]);
        let mut talk = Talk::from_us(stage, at, server, port);
        if stage.dice.percent(6) {
            refused(stage, &talk);
            continue;
        }
        talk.open(stage).say(stage, Client, 517).say(stage, Server, 4_200);
        let received = stage.dice.count(500, 30_000);
        talk.say(stage, Client, 400).say(stage, Server, received);
        match stage.dice.between(0, 3) {
            0 => drop(talk.close(stage, End::Fin(Client))),
            1 => drop(talk.close(stage, End::Fin(Server))),
            2 => drop(talk.close(stage, End::Open)),
            _ => {
                // We have gone; the server ends its side a minute later, and our kernel has forgotten.
                talk.close(stage, End::Reset(Client));
                let pause = stage.dice.micros(20_000_000, 90_000_000);
                talk.rest(pause);
                talk.segment(stage, Server, TcpFlags::FIN | TcpFlags::ACK, 0);
            }
        }
    }
}

/// Our SYN meets a RST.
pub(super) fn refused(stage: &mut Stage, talk: &Talk) {
    let (from, to) = (talk.client, talk.server);
    let at = talk.now();
    let syn = Stack::Linux.syn(&mut stage.dice, from.1, to.1);
    stage.pass(at, build::ip(from.0, to.0, syn).unfragmented().bytes());
    let reset = build::tcp(to.1, from.1, TcpFlags::RST | TcpFlags::ACK).sequence(0).window(0);
    stage.pass(at + talk.round_trip, build::ip(to.0, from.0, reset).hop_limit(50).bytes());
}

/// `curl | head`, a film that is wound forward: RSTs of ours from a new port each time, and late segments to them.
pub(super) fn broken_downloads(stage: &mut Stage) {
    let server = stage.stranger();
    let mut at = stage.start;
    for _ in 0..stage.dice.count(8, 60) {
        let mut talk = Talk::from_us(stage, at, server, 443);
        talk.open(stage).say(stage, Client, 400).say(stage, Server, 12_000);
        let late = stage.dice.count(2, 12);
        at = talk.close(stage, End::BrokenOff(Client, late));
        if stage.dice.percent(30) {
            talk.rest(Duration::from_secs(2)).segment(stage, Server, TcpFlags::FIN | TcpFlags::ACK, 0);
        }
        at += stage.dice.micros(50_000, 3_000_000);
    }
}

/// Our server closes before it has read everything.
pub(super) fn refused_uploads(stage: &mut Stage) {
    stage.host.tcp.insert(443);
    let client = stage.stranger();
    let mut at = stage.start;
    for _ in 0..stage.dice.count(4, 30) {
        let mut talk = Talk::to_us(stage, at, client, 443);
        talk.open(stage).say(stage, Client, 9_000).say(stage, Server, 300);
        let late = stage.dice.count(2, 20);
        at = talk.close(stage, End::BrokenOff(Server, late));
        at += stage.dice.micros(10_000, 2_000_000);
    }
}

/// A company, a mobile network: hundreds of connections to our services from one address, now and then a wrong port.
pub(super) fn many_behind_one(stage: &mut Stage) {
    stage.host.tcp.extend([80, 443, 993, 587]);
    let client = stage.stranger();
    let start = stage.start;
    for _ in 0..stage.dice.count(20, 120) {
        let at = start + stage.dice.micros(0, 120_000_000);
        let port = stage.dice.pick(&[443, 443, 443, 80, 993, 587]);
        let mut talk = Talk::to_us(stage, at, client, port);
        talk.stack = Stack::any(&mut stage.dice);
        talk.open(stage).say(stage, Client, 400).say(stage, Server, 3_000);
        let end = stage.dice.pick(&[End::Fin(Client), End::Fin(Server), End::Reset(Client), End::Open]);
        talk.close(stage, end);
    }
    for port in stage.closed_of(&[8080, 8443, 5228, 21], 1) {
        for _ in 0..stage.dice.count(1, 5) {
            let at = start + stage.dice.micros(0, 120_000_000);
            let stack = Stack::any(&mut stage.dice);
            stage.attempt(at, client, port, stack);
        }
    }
}

/// A proxy in front of several services of ours, with checks of all of them, one of which is down.
pub(super) fn load_balancer(stage: &mut Stage) {
    let services = [8_000, 8_001, 8_002, 8_003, 8_004, 8_005];
    stage.host.tcp.extend(services);
    let down = stage.dice.pick(&services);
    stage.host.tcp.remove(&down);
    let balancer = stage.neighbour();
    let start = stage.start;
    for round in 0..stage.dice.count(5, 30) as u32 {
        let at = start + round * Duration::from_secs(5);
        for port in services {
            let at = at + stage.dice.micros(0, 40_000);
            if port == down {
                stage.attempt(at, balancer, port, Stack::Linux);
                continue;
            }
            let mut talk = Talk::to_us(stage, at, balancer, port);
            talk.round_trip = Duration::from_micros(300);
            talk.open(stage).say(stage, Client, 200).say(stage, Server, 2_000);
            let end = stage.dice.pick(&[End::Fin(Server), End::Reset(Client), End::Open]);
            talk.close(stage, end);
        }
    }
}

/// Connects and goes: SYN, ACK, RST or FIN, to the same two or three ports, every few seconds, one of them dead.
pub(super) fn health_checks(stage: &mut Stage) {
    stage.host.tcp.extend([80, 443]);
    let checker = if stage.dice.percent(50) { stage.neighbour() } else { stage.stranger() };
    let dead = stage.closed_of(&[8080, 9000, 5000], 1);
    let every = Duration::from_secs(stage.dice.between(2, 60));
    let start = stage.start;
    for round in 0..stage.dice.count(10, 80) as u32 {
        let at = start + round * every;
        for port in [80, 443] {
            let mut talk = Talk::to_us(stage, at, checker, port);
            talk.open(stage);
            let end = stage.dice.pick(&[End::Reset(Client), End::Fin(Client)]);
            talk.close(stage, end);
        }
        stage.attempt(at, checker, dead[0], Stack::Linux);
    }
}

/// For half a minute nobody is at the port, and all users try again.
pub(super) fn restart(stage: &mut Stage) {
    stage.host.tcp.insert(443);
    let users: Vec<IpAddr> = (0..stage.dice.count(3, 20)).map(|_| stage.stranger()).collect();
    let down = stage.start + Duration::from_secs(20);
    let up = down + stage.dice.micros(5_000_000, 40_000_000);
    for user in users {
        let mut at = stage.start + stage.dice.micros(0, 10_000_000);
        for _ in 0..stage.dice.count(4, 20) {
            if (down..up).contains(&at) {
                stage.host.tcp.remove(&443);
                let stack = Stack::of(user);
                let (reply, last) = stage.attempt(at, user, 443, stack);
                stage.host.tcp.insert(443);
                if reply == Reply::Silence {
                    at = last;
                }
                at += stage.dice.micros(100_000, 3_000_000);
                continue;
            }
            let mut talk = Talk::to_us(stage, at, user, 443);
            talk.open(stage).say(stage, Client, 400).say(stage, Server, 5_000);
            at = talk.close(stage, End::Fin(Client)) + stage.dice.micros(500_000, 6_000_000);
        }
    }
}

/// RFC 8305: both families are tried a quarter of a second apart, the slower one is broken off.
pub(super) fn happy_eyeballs(stage: &mut Stage) {
    stage.host.tcp.extend([80, 443]);
    let is_dead6 = stage.dice.percent(40);
    for _ in 0..stage.dice.count(3, 15) {
        let at = stage.start + stage.dice.micros(0, 60_000_000);
        let (old, new) = (stage.stranger(), stage.stranger6());
        if is_dead6 {
            stage.host.tcp.remove(&443);
            stage.attempt(at, new, 443, Stack::Apple);
            stage.host.tcp.insert(443);
        } else {
            let mut talk = Talk::to_us(stage, at, new, 443);
            talk.open(stage);
            talk.close(stage, End::Reset(Client));
        }
        let mut talk = Talk::to_us(stage, at + Duration::from_millis(250), old, 443);
        talk.open(stage).say(stage, Client, 500).say(stage, Server, 8_000);
        talk.close(stage, End::Fin(Client));
    }
}

/// Sessions go on from another address, where our kernel knows of none: segments with ACK, answered by RST.
pub(super) fn roaming(stage: &mut Stage) {
    stage.host.tcp.extend([22, 443, 993]);
    let (before, after) = (stage.stranger(), stage.stranger());
    let own = stage.host.own();
    let start = stage.start;
    let mut ports = Vec::new();
    for port in [22, 443, 443, 993, 993] {
        let mut talk = Talk::to_us(stage, start, before, port);
        talk.open(stage).say(stage, Client, 300).say(stage, Server, 3_000);
        ports.push((talk.client.1, port));
        talk.close(stage, End::Open);
    }
    let at = start + Duration::from_secs(30);
    for (client_port, port) in ports {
        for retry in [0, 400, 1_200, 2_800] {
            let segment = build::tcp(client_port, port, TcpFlags::ACK | TcpFlags::PSH)
                .sequence(stage.dice.number() as u32)
                .acknowledgement(stage.dice.number() as u32)
                .window(502)
                .payload(&[0x17; 60]);
            let at = at + Duration::from_millis(retry);
            let reply = stage.arrive(at, build::ip(after, own, segment).hop_limit(55).unfragmented().bytes());
            if reply == Reply::Reset {
                break;
            }
        }
    }
    for port in [22, 443, 993] {
        let mut talk = Talk::to_us(stage, at + Duration::from_secs(4), after, port);
        talk.open(stage).say(stage, Client, 300).say(stage, Server, 3_000);
        talk.close(stage, End::Fin(Client));
    }
}
