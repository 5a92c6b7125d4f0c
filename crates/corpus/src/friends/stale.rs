//! Those who look for what was here once.

use std::time::Duration;

use portcullis_core::wire::{TcpFlags, build};

use crate::stage::{Stack, Stage};
use crate::talk::{End, Side, Talk};

/// A router still forwards one port to us; many strangers use it.
pub(super) fn left_over(stage: &mut Stage) {
    let port = stage.closed_of(&[25_565, 32_400, 8_123, 3_389, 51_413], 1);
    for _ in 0..stage.dice.count(10, 80) {
        let client = stage.stranger();
        let mut at = stage.start + stage.dice.micros(0, 600_000_000);
        for _ in 0..stage.dice.count(1, 8) {
            let stack = Stack::of(client);
            let (_, last) = stage.attempt(at, client, port[0], stack);
            at = last + stage.dice.micros(200_000, 30_000_000);
        }
    }
}

/// One client, one dead port, every few minutes or seconds, for a day or four.
pub(super) fn for_days(stage: &mut Stage) {
    let client = if stage.dice.percent(50) { stage.neighbour() } else { stage.stranger() };
    let port = stage.closed_of(&[8_086, 9_100, 5_044, 10_051, 443, 3_306], 1);
    let every = Duration::from_secs(stage.dice.pick(&[10, 60, 300, 900]));
    for round in 0..stage.dice.count(50, 350) as u32 {
        let at = stage.start + round * every + stage.dice.micros(0, 2_000_000);
        stage.attempt(at, client, port[0], Stack::Linux);
    }
}

/// Two or three ports that had services, tried by a browser (two connections at once, then again), beside one that
/// still has.
pub(super) fn bookmarks(stage: &mut Stage) {
    stage.host.tcp.insert(443);
    let client = if stage.dice.percent(50) { stage.neighbour() } else { stage.stranger() };
    let count = stage.dice.count(2, 3);
    let ports = stage.closed_of(&[8_080, 8_443, 3_000, 9_090, 10_000], count);
    let mut at = stage.start;
    let stack = Stack::of(client);
    for _ in 0..stage.dice.count(2, 6) {
        let mut talk = Talk::to_us(stage, at, client, 443);
        talk.open(stage).say(stage, Side::Client, 500).say(stage, Side::Server, 9_000);
        talk.close(stage, End::Fin(Side::Client));
        for port in &ports {
            at += stage.dice.micros(2_000_000, 60_000_000);
            for connection in 0..2 {
                stage.attempt(at + Duration::from_millis(connection * 250), client, *port, stack);
            }
        }
        at += stage.dice.micros(5_000_000, 900_000_000);
    }
}

/// The name of another server points to us: web and mail of its users, and what searches the web for it.
pub(super) fn old_name(stage: &mut Stage) {
    for port in [80, 443, 25, 993] {
        stage.host.tcp.remove(&port);
    }
    for _ in 0..stage.dice.count(5, 40) {
        let client = if stage.dice.percent(20) { stage.stranger6() } else { stage.stranger() };
        let mut at = stage.start + stage.dice.micros(0, 3_000_000_000);
        // A browser asks 443 and falls back to 80; a mail server asks 25 alone.
        let ports: &[u16] = if stage.dice.percent(60) { &[443, 80] } else { &[25] };
        let stack = Stack::of(client);
        for _ in 0..stage.dice.count(1, 3) {
            for port in ports {
                let (_, last) = stage.attempt(at, client, *port, stack);
                at = last + stage.dice.micros(10_000, 400_000);
            }
            at += stage.dice.micros(10_000_000, 900_000_000);
        }
    }
}

/// The address was somebody else's: game servers' browsers and players ask two or three UDP ports.
pub(super) fn former_tenant(stage: &mut Stage) {
    let own = stage.host.own();
    let ports = [27_015, 27_016, 9_987];
    for _ in 0..stage.dice.count(10, 80) {
        let (player, from) = (stage.stranger(), stage.dice.port(1_024, 65_535));
        let mut at = stage.start + stage.dice.micros(0, 900_000_000);
        let port = stage.dice.pick(&ports);
        for _ in 0..stage.dice.count(1, 10) {
            let question = build::udp(from, port, &[0xff; 25]);
            stage.arrive(at, build::ip(player, own, question).hop_limit(110).bytes());
            at += stage.dice.micros(500_000, 5_000_000);
        }
    }
}

/// Somebody floods a third party in our name: SYN-ACKs and RSTs come back to ports that we never used.
pub(super) fn backscatter(stage: &mut Stage) {
    let own = stage.host.own();
    for _ in 0..stage.dice.count(1, 4) {
        let victim = stage.stranger();
        let port = stage.dice.pick(&[80, 443, 53, 22]);
        let mut at = stage.start;
        for _ in 0..stage.dice.count(5, 60) {
            let to = stage.dice.port(1_024, 65_535);
            let flags = stage.dice.pick(&[
                TcpFlags::SYN | TcpFlags::ACK,
                TcpFlags::RST | TcpFlags::ACK,
                TcpFlags::RST,
            ]);
            let segment =
                build::tcp(port, to, flags).acknowledgement(stage.dice.number() as u32).window(64_240);
            stage.arrive(at, build::ip(victim, own, segment).hop_limit(52).bytes());
            at += stage.dice.micros(1_000, 5_000_000);
        }
    }
}

/// We send mail, or read IRC, and the server asks who we are (RFC 1413) at a port that is closed; a mail server also
/// connects back to our port 25.
pub(super) fn ident(stage: &mut Stage) {
    stage.host.tcp.remove(&113);
    stage.host.tcp.remove(&25);
    for _ in 0..stage.dice.count(1, 8) {
        let server = stage.stranger();
        let at = stage.start + stage.dice.micros(0, 300_000_000);
        let mut talk = Talk::from_us(stage, at, server, 25);
        talk.open(stage);
        stage.attempt(talk.now() + Duration::from_millis(5), server, 113, Stack::Linux);
        if stage.dice.percent(30) {
            stage.attempt(talk.now() + Duration::from_millis(50), server, 25, Stack::Linux);
        }
        talk.rest(Duration::from_secs(5)).say(stage, Side::Server, 60).say(stage, Side::Client, 2_000);
        talk.close(stage, End::Fin(Side::Client));
    }
}
