//! Protocols that open further connections: FTP, SIP, NFS, TFTP.

use std::time::Duration;

use crate::stage::Stage;
use crate::talk::{End, Side, Talk};
use Side::{Client, Server};

/// We are the server: each file comes from our port 20 to a port that the client has named.
pub(super) fn active_ftp(stage: &mut Stage) {
    stage.host.tcp.insert(21);
    let client = stage.stranger();
    let start = stage.start;
    let mut control = Talk::to_us(stage, start, client, 21);
    control.open(stage).say(stage, Server, 60).say(stage, Client, 20).say(stage, Server, 40);
    for _ in 0..stage.dice.count(2, 15) {
        control.say(stage, Client, 28).say(stage, Server, 30);
        let port = stage.dice.port(1_024, 65_000);
        let now = control.now();
        let mut data = Talk::from_us(stage, now, client, port);
        data.client.1 = 20;
        data.open(stage).say(stage, Client, 9_000);
        let end = data.close(stage, End::Fin(Client));
        control.rest(end.saturating_sub(now)).say(stage, Server, 24);
    }
    control.close(stage, End::Fin(Client));
}

/// We are the client: from port 20 of the server to our ports, which only FTP has told him.
pub(super) fn our_active_ftp(stage: &mut Stage) {
    let server = stage.stranger();
    let start = stage.start;
    let mut control = Talk::from_us(stage, start, server, 21);
    control.open(stage).say(stage, Server, 60).say(stage, Client, 20).say(stage, Server, 40);
    for _ in 0..stage.dice.count(2, 15) {
        control.say(stage, Client, 28).say(stage, Server, 30);
        let port = stage.ephemeral();
        let now = control.now();
        let mut data = Talk::to_us(stage, now, server, port);
        data.client.1 = 20;
        data.open(stage).say(stage, Client, 9_000);
        let end = data.close(stage, End::Fin(Client));
        control.rest(end.saturating_sub(now)).say(stage, Server, 24);
    }
    control.close(stage, End::Fin(Client));
}

/// We are the server: each file is fetched from another high port of ours; one came too late for its port.
pub(super) fn passive_ftp(stage: &mut Stage) {
    stage.host.tcp.insert(21);
    let client = stage.stranger();
    let start = stage.start;
    let mut control = Talk::to_us(stage, start, client, 21);
    control.open(stage).say(stage, Server, 60).say(stage, Client, 20).say(stage, Server, 40);
    for _ in 0..stage.dice.count(2, 25) {
        control.say(stage, Client, 6).say(stage, Server, 50);
        let port = stage.dice.port(49_152, 65_500);
        let now = control.now();
        let mut data = Talk::to_us(stage, now, client, port);
        data.round_trip = control.round_trip;
        data.open(stage).say(stage, Server, 12_000);
        let end = data.close(stage, End::Fin(Server));
        control.rest(end.saturating_sub(now)).say(stage, Server, 24);
    }
    if stage.dice.percent(20) {
        let (port, now) = (stage.dice.port(49_152, 65_500), control.now());
        stage.attempt(now, client, port, control.stack);
    }
    control.close(stage, End::Fin(Client));
}

/// Calls: SIP on 5060, and for each call RTP and RTCP both ways on a pair of ports of ours that is closed at the end,
/// while the other side still sends.
pub(super) fn sip(stage: &mut Stage) {
    stage.host.udp.insert(5060);
    let own = stage.host.own();
    let provider = stage.stranger();
    let mut at = stage.start;
    for _ in 0..stage.dice.count(1, 8) {
        stage.datagram(at, (provider, 5060), (own, 5060), 900);
        stage.datagram(at + Duration::from_millis(2), (own, 5060), (provider, 5060), 400);
        let media = stage.stranger();
        let (ours, theirs) = (stage.dice.port(5_000, 15_000) * 2, stage.dice.port(5_000, 30_000) * 2);
        at += Duration::from_secs(3);
        for packet in 0..stage.dice.count(40, 200) as u32 {
            let at = at + packet * Duration::from_millis(20);
            // Who is called may hear before he speaks.
            if packet > 3 {
                stage.datagram(at, (own, ours), (media, theirs), 172);
            }
            stage.datagram(at + Duration::from_millis(7), (media, theirs), (own, ours), 172);
            if packet % 50 == 0 {
                stage.datagram(at, (own, ours + 1), (media, theirs + 1), 60);
                stage.datagram(at + Duration::from_millis(9), (media, theirs + 1), (own, ours + 1), 60);
            }
        }
        at += Duration::from_secs(5);
        for late in 0..stage.dice.count(0, 6) as u32 {
            let at = at + late * Duration::from_millis(20);
            stage.datagram(at, (media, theirs), (own, ours), 172);
            stage.complain(at + Duration::from_micros(30), (media, theirs), ours);
        }
        at += stage.dice.micros(1_000_000, 90_000_000);
    }
}

/// Port mapper, mount and lock daemons on ports of their own, from privileged ports of the clients; and their
/// callbacks to us where we are the client.
pub(super) fn nfs(stage: &mut Stage) {
    let (mount, lock) = (stage.dice.port(20_000, 60_000), stage.dice.port(20_000, 60_000));
    stage.host.tcp.extend([111, 2049, mount, lock]);
    stage.host.udp.extend([111, mount, lock]);
    let own = stage.host.own();
    for _ in 0..stage.dice.count(1, 6) {
        let client = stage.neighbour();
        let mut at = stage.start + stage.dice.micros(0, 20_000_000);
        for port in [111, mount, 111, lock] {
            let from = stage.dice.port(600, 1_023);
            stage.datagram(at, (client, from), (own, port), 56);
            stage.datagram(at + Duration::from_micros(200), (own, port), (client, from), 28);
            at += stage.dice.micros(500, 9_000);
        }
        for port in [111, 2049, lock] {
            let mut talk = Talk::to_us(stage, at, client, port);
            talk.client.1 = stage.dice.port(665, 1_023);
            talk.round_trip = Duration::from_micros(300);
            talk.open(stage).say(stage, Client, 150).say(stage, Server, 3_000);
            let end = if port == 2049 { End::Open } else { End::Fin(Client) };
            at = talk.close(stage, end);
        }
    }
}

/// RFC 1350 §4: answers come from a new port of the server.
pub(super) fn tftp(stage: &mut Stage) {
    let own = stage.host.own();
    let server = stage.neighbour();
    let mut at = stage.start;
    for _ in 0..stage.dice.count(2, 12) {
        let (ours, theirs) = (stage.ephemeral(), stage.ephemeral());
        stage.datagram(at, (own, ours), (server, 69), 30);
        for _ in 0..stage.dice.count(3, 20) {
            at += stage.dice.micros(300, 3_000);
            stage.datagram(at, (server, theirs), (own, ours), 516);
            stage.datagram(at + Duration::from_micros(80), (own, ours), (server, theirs), 4);
        }
        at += stage.dice.micros(100_000, 5_000_000);
    }
}
