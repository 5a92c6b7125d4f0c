//! Questions and answers by UDP, ours and others'; answers that come when nobody waits for them any more.

use std::time::Duration;

use crate::stage::Stage;

/// A resolver far away, with timeouts, retries to a second one, and answers behind the close of the socket.
pub(super) fn dns(stage: &mut Stage) {
    let resolvers = [(stage.stranger(), 53), (stage.stranger(), 53)];
    let mut at = stage.start;
    for _ in 0..stage.dice.count(20, 150) {
        let is_late = stage.dice.percent(25);
        let delay =
            if is_late { stage.dice.micros(5_000_000, 12_000_000) } else { stage.dice.micros(800, 300_000) };
        let port = stage.question(at, resolvers[0], 48, delay);
        if is_late {
            stage.complain(at + delay + Duration::from_micros(30), resolvers[0], port);
            // Asked again after five seconds, as glibc does, here and there.
            let again = at + Duration::from_secs(5);
            stage.question(again, resolvers[1], 48, Duration::from_millis(20));
            if stage.dice.percent(50) {
                stage.question(again, resolvers[0], 48, Duration::from_millis(900));
            }
        }
        at += stage.dice.micros(1_000, 4_000_000);
    }
}

/// We are the server; some ask by TCP, some from port 53.
pub(super) fn dns_server(stage: &mut Stage) {
    stage.host.udp.insert(53);
    stage.host.tcp.insert(53);
    let own = stage.host.own();
    for _ in 0..stage.dice.count(10, 80) {
        let client = stage.stranger();
        let port = if stage.dice.percent(10) { 53 } else { stage.dice.port(1_024, 65_535) };
        let mut at = stage.start + stage.dice.micros(0, 60_000_000);
        for _ in 0..stage.dice.count(1, 3) {
            stage.datagram(at, (client, port), (own, 53), 44);
            stage.datagram(at + Duration::from_micros(400), (own, 53), (client, port), 120);
            at += stage.dice.micros(2_000, 2_000_000);
        }
    }
}

/// Our own resolver: a new port for every question, dozens of servers, some of which never or late answer.
pub(super) fn recursive(stage: &mut Stage) {
    let servers: Vec<_> = (0..stage.dice.count(10, 40)).map(|_| (stage.stranger(), 53)).collect();
    let own = stage.host.own();
    let mut at = stage.start;
    for _ in 0..stage.dice.count(60, 300) {
        let server = stage.dice.pick(&servers);
        match stage.dice.between(0, 9) {
            0 => {
                let port = stage.ephemeral();
                stage.datagram(at, (own, port), server, 50);
            }
            1 => {
                let delay = stage.dice.micros(2_500_000, 9_000_000);
                let port = stage.question(at, server, 50, delay);
                stage.complain(at + delay + Duration::from_micros(40), server, port);
            }
            _ => {
                let delay = stage.dice.micros(4_000, 250_000);
                stage.question(at, server, 50, delay);
            }
        }
        at += stage.dice.micros(500, 500_000);
    }
}

/// A client of a pool; each server is asked every minute or so, some answer when the socket is gone.
pub(super) fn ntp(stage: &mut Stage) {
    let servers: Vec<_> = (0..4).map(|_| (stage.stranger(), 123)).collect();
    let is_symmetric = stage.dice.percent(50);
    let own = stage.host.own();
    if is_symmetric {
        stage.host.udp.insert(123);
    }
    for round in 0..stage.dice.count(5, 40) as u32 {
        for server in &servers {
            let at = stage.start + round * Duration::from_secs(64) + stage.dice.micros(0, 4_000_000);
            if is_symmetric {
                stage.datagram(at, (own, 123), *server, 48);
                stage.datagram(at + Duration::from_millis(22), *server, (own, 123), 48);
            } else {
                let delay = if stage.dice.percent(10) { 6_000_000 } else { 30_000 };
                stage.question(at, *server, 48, Duration::from_micros(delay));
            }
        }
    }
}

/// A poller of a small network: SNMP, RADIUS and syslog to our ports, one of which nobody serves any more.
pub(super) fn management(stage: &mut Stage) {
    stage.host.udp.extend([161, 514]);
    let own = stage.host.own();
    let poller = stage.neighbour();
    let start = stage.start;
    for round in 0..stage.dice.count(5, 60) as u32 {
        let at = start + round * Duration::from_secs(30);
        let port = stage.ephemeral();
        stage.datagram(at, (poller, port), (own, 161), 82);
        stage.datagram(at + Duration::from_millis(1), (own, 161), (poller, port), 90);
        stage.datagram(at + Duration::from_millis(9), (poller, 514), (own, 514), 200);
        // Netflow went to a collector that is gone.
        stage.datagram(at + Duration::from_millis(15), (poller, 2055), (own, 2055), 700);
        stage.complain(at + Duration::from_millis(15) + Duration::from_micros(30), (poller, 2055), 2055);
        let server = (poller, 1812);
        stage.question(at + Duration::from_millis(20), server, 80, Duration::from_millis(4));
    }
}

/// Connections of ours to port 443 by UDP; the other side goes on sending when our socket is closed.
pub(super) fn quic(stage: &mut Stage) {
    let own = stage.host.own();
    for _ in 0..stage.dice.count(3, 15) {
        let (server, port) = ((stage.stranger(), 443), stage.ephemeral());
        let mut at = stage.start + stage.dice.micros(0, 60_000_000);
        for _ in 0..stage.dice.count(4, 40) {
            stage.datagram(at, (own, port), server, 200);
            at += stage.dice.micros(2_000, 60_000);
            stage.datagram(at, server, (own, port), 1_200);
            at += stage.dice.micros(100, 900_000);
        }
        if stage.dice.percent(40) {
            for _ in 0..stage.dice.count(1, 6) {
                at += stage.dice.micros(100_000, 30_000_000);
                stage.datagram(at, server, (own, port), 45);
                stage.complain(at + Duration::from_micros(30), server, port);
            }
        }
    }
}

/// Clients of our QUIC service, whose port and address may change in the middle.
pub(super) fn quic_server(stage: &mut Stage) {
    stage.host.udp.insert(443);
    let own = stage.host.own();
    for _ in 0..stage.dice.count(3, 15) {
        let (mut client, mut port) = (stage.stranger(), stage.ephemeral());
        let mut at = stage.start + stage.dice.micros(0, 60_000_000);
        for _ in 0..stage.dice.count(4, 30) {
            stage.datagram(at, (client, port), (own, 443), 1_200);
            at += stage.dice.micros(30, 900);
            stage.datagram(at, (own, 443), (client, port), 1_200);
            at += stage.dice.micros(10_000, 900_000);
            if stage.dice.percent(5) {
                (client, port) = (stage.stranger(), stage.ephemeral());
            }
        }
    }
}
