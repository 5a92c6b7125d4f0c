//! Patient scanners, and those who want little.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::{TcpFlags, build};

use super::nmap::{Nmap, Pace, T0, Technique, ports};
use super::{POPULAR, POPULAR_UDP};
use crate::Incident;
use crate::stage::{Stack, Stage};
use crate::talk::{End, Side, Talk};

const HOUR: Duration = Duration::from_secs(3600);

fn play(stage: &mut Stage, technique: Technique, pace: Pace, count: (usize, usize), kind: &'static str) {
    let count = stage.dice.count(count.0, count.1);
    let popular: &[u16] = if technique == Technique::Udp { &POPULAR_UDP } else { &POPULAR };
    let ports = ports(stage, count, popular);
    let nmap = Nmap::new(stage, technique, pace, ports);
    stage.incidents.push(Incident::of(nmap.source, kind, "slow"));
    nmap.run(stage);
}

pub(super) fn paranoid(stage: &mut Stage) {
    play(stage, Technique::Syn, T0, (10, 60), "syn");
}

pub(super) fn hourly(stage: &mut Stage) {
    play(stage, Technique::Syn, Pace::Every(HOUR), (10, 40), "syn");
}

pub(super) fn hourly_fin(stage: &mut Stage) {
    play(stage, Technique::Flags(TcpFlags::FIN), Pace::Every(HOUR), (8, 30), "fin");
}

pub(super) fn minutely(stage: &mut Stage) {
    let pause = stage.dice.between(40, 120);
    play(stage, Technique::Syn, Pace::Every(Duration::from_secs(pause)), (8, 60), "syn");
    // Where slow begins is a matter of taste.
    stage.incidents[0].shapes.push("vertical");
}

pub(super) fn udp(stage: &mut Stage) {
    play(stage, Technique::Udp, Pace::Every(Duration::from_secs(600)), (10, 40), "udp");
}

/// Reads our pages all day, and tries a port now and then.
pub(super) fn user(stage: &mut Stage) {
    stage.host.has_three_services();
    let count = stage.dice.count(10, 40);
    let ports = ports(stage, count, &POPULAR);
    let nmap = Nmap::new(stage, Technique::Syn, Pace::Every(Duration::from_secs(600)), ports);
    let mut at = stage.start;
    for _ in 0..2 * count {
        let mut talk = Talk::to_us(stage, at, nmap.source, 443);
        talk.open(stage).say(stage, Side::Client, 500).say(stage, Side::Server, 4_000);
        talk.close(stage, End::Fin(Side::Client));
        at += stage.dice.about(Duration::from_secs(280));
    }
    stage.incidents.push(Incident::of(nmap.source, "syn", "slow"));
    nmap.run(stage);
}

/// One port, another of our addresses each hour.
pub(super) fn horizontal(stage: &mut Stage) {
    let count = stage.dice.count(12, 30);
    stage.host.take_addresses(count);
    let source = stage.stranger();
    let port = stage.dice.pick(&[23, 3389, 5900, 2323]);
    let mut targets = stage.host.v4.clone();
    stage.dice.shuffle(&mut targets);
    let mut at = stage.start;
    for target in targets {
        let source_port = stage.ephemeral();
        let probe = build::tcp(source_port, port, TcpFlags::SYN).sequence(stage.dice.number() as u32);
        stage.arrive(at, build::ip(source, target, probe.window(65_535)).hop_limit(240).bytes());
        at += stage.dice.about(HOUR);
    }
    stage.incidents.push(Incident::of(source, "syn", "slow").or_shape("horizontal"));
}

pub(super) fn few_ports(stage: &mut Stage) {
    let source = stage.stranger();
    few(stage, source);
}

pub(super) fn few_ports6(stage: &mut Stage) {
    let source = stage.stranger6();
    few(stage, source);
}

/// Three or four doors that somebody tries whose system is an ordinary one: remote desktops, databases, telnet.
fn few(stage: &mut Stage, source: IpAddr) {
    let wanted = [23, 3389, 5900, 6379, 3306, 5432, 445, 1433, 27_017, 9200, 2375, 11_211, 8080];
    let count = stage.dice.count(3, 4);
    let ports = stage.closed_of(&wanted, count);
    let mut at = stage.start;
    for port in ports {
        stage.attempt(at, source, port, Stack::Linux);
        at += stage.dice.micros(50_000, 4_000_000);
    }
    stage.incidents.push(Incident::of(source, "syn", "vertical"));
}
