//! The scans that are asked of nmap: technique, pace, ports, disguise, and what is right to say of each.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::TcpFlags;
use portcullis_core::wire::build::Extension;

use super::nmap::{Nmap, Pace, T1, T2, Technique, ports};
use super::{POPULAR, POPULAR_UDP};
use crate::Incident;
use crate::host::Firewall;
use crate::stage::Stage;
use crate::talk::{End, Side, Talk};

/// Five, the top hundred, or some hundreds more.
fn usual_count(stage: &mut Stage) -> usize {
    match stage.dice.between(0, 3) {
        0 => stage.dice.count(12, 30),
        1 | 2 => 100,
        _ => stage.dice.count(200, 600),
    }
}

fn fast(stage: &mut Stage, technique: Technique) -> Nmap {
    let count = usual_count(stage);
    let popular: &[u16] = if technique == Technique::Udp { &POPULAR_UDP } else { &POPULAR };
    let ports = ports(stage, count, popular);
    let has_discovery = stage.dice.percent(50);
    Nmap { has_discovery, ..Nmap::new(stage, technique, Pace::Fast, ports) }
}

/// What the discovery before may be told as.
const DISCOVERY: [&str; 3] = ["syn", "ack", "icmp-sweep"];

fn play(stage: &mut Stage, nmap: Nmap, kind: &'static str, shape: &'static str) {
    stage.incidents.push(Incident::of(nmap.source, kind, shape).besides(&DISCOVERY));
    nmap.run(stage);
}

pub(super) fn three_services(stage: &mut Stage) {
    stage.host.has_three_services();
    let count = stage.dice.pick(&[100, 300]);
    let ports = ports(stage, count, &POPULAR);
    let nmap = Nmap::new(stage, Technique::Syn, Pace::Fast, ports);
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn syn(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Syn);
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn connect(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Connect);
    stage.incidents.push(Incident::of(nmap.source, "syn", "vertical").or_kind("connect").besides(&DISCOVERY));
    nmap.run(stage);
}

pub(super) fn udp(stage: &mut Stage) {
    let mut nmap = fast(stage, Technique::Udp);
    nmap.ports.truncate(150);
    play(stage, nmap, "udp", "vertical");
}

pub(super) fn null(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Flags(0));
    play(stage, nmap, "null", "vertical");
}

pub(super) fn fin(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Flags(TcpFlags::FIN));
    play(stage, nmap, "fin", "vertical");
}

pub(super) fn xmas(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Flags(TcpFlags::FIN | TcpFlags::PSH | TcpFlags::URG));
    play(stage, nmap, "xmas", "vertical");
}

pub(super) fn maimon(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Flags(TcpFlags::FIN | TcpFlags::ACK));
    play(stage, nmap, "maimon", "vertical");
}

/// `-sA` and `-sW` are the same packets.
pub(super) fn ack(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Flags(TcpFlags::ACK));
    play(stage, nmap, "ack", "vertical");
}

pub(super) fn flags(stage: &mut Stage) {
    let (syn, fin, urg, psh) = (TcpFlags::SYN, TcpFlags::FIN, TcpFlags::URG, TcpFlags::PSH);
    let odd = stage.dice.pick(&[syn | fin, urg, psh, syn | fin | urg | psh, syn | TcpFlags::RST, urg | psh]);
    let nmap = fast(stage, Technique::Flags(odd));
    play(stage, nmap, "flags", "vertical");
}

pub(super) fn sctp_init(stage: &mut Stage) {
    let mut nmap = fast(stage, Technique::SctpInit);
    nmap.ports.truncate(52);
    play(stage, nmap, "sctp", "vertical");
}

pub(super) fn sctp_cookie(stage: &mut Stage) {
    let mut nmap = fast(stage, Technique::SctpCookie);
    nmap.ports.truncate(52);
    play(stage, nmap, "sctp", "vertical");
}

pub(super) fn protocols(stage: &mut Stage) {
    let mut protocols: Vec<u16> = (0..=255).collect();
    stage.dice.shuffle(&mut protocols);
    let nmap = Nmap::new(stage, Technique::Protocol, Pace::Fast, protocols);
    let incident = Incident::of(nmap.source, "ip-protocol", "vertical");
    stage.incidents.push(incident.besides(&["ack", "udp", "sctp", "icmp-sweep", "flags"]));
    nmap.run(stage);
}

/// The scanner is elsewhere; what comes here are SYNs of the zombie, and the RSTs of its innocent kernel.
pub(super) fn idle(stage: &mut Stage) {
    let count = stage.dice.count(12, 60);
    let ports = ports(stage, count, &POPULAR);
    let nmap = Nmap::new(stage, Technique::Syn, Pace::Every(Duration::from_millis(50)), ports);
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn polite(stage: &mut Stage) {
    let count = stage.dice.count(15, 120);
    let ports = ports(stage, count, &POPULAR);
    let nmap = Nmap::new(stage, Technique::Syn, T2, ports);
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn sneaky(stage: &mut Stage) {
    let count = stage.dice.count(10, 40);
    let technique = stage.dice.pick(&[Technique::Syn, Technique::Syn, Technique::Flags(TcpFlags::FIN)]);
    let ports = ports(stage, count, &POPULAR);
    let nmap = Nmap::new(stage, technique, T1, ports);
    let kind = if technique == Technique::Syn { "syn" } else { "fin" };
    stage.incidents.push(Incident::of(nmap.source, kind, "vertical").or_shape("slow"));
    nmap.run(stage);
}

/// `-p 21-25,80`: the least that is asked for, at most two of them services.
fn few(stage: &mut Stage, technique: Technique, pace: Pace) -> Nmap {
    let count = stage.dice.count(5, 10);
    let mut wanted = if technique == Technique::Udp { POPULAR_UDP.to_vec() } else { POPULAR.to_vec() };
    stage.dice.shuffle(&mut wanted);
    wanted.truncate(count);
    // Of what was asked, five found nothing: else there is little to tell them from a guest.
    if stage.host.tcp.len() > 2 {
        stage.host.tcp.retain(|port| !wanted[2..].contains(port));
        stage.host.udp.retain(|port| !wanted[2..].contains(port));
    }
    while wanted
        .iter()
        .filter(|port| !stage.host.tcp.contains(port) && !stage.host.udp.contains(port))
        .count()
        < 5
    {
        let port = stage.dice.port(1, 10_000);
        if !wanted.contains(&port) {
            wanted.push(port);
        }
    }
    Nmap::new(stage, technique, pace, wanted)
}

pub(super) fn few_but_enough(stage: &mut Stage) {
    let fin = Technique::Flags(TcpFlags::FIN);
    let technique =
        stage.dice.pick(&[Technique::Syn, Technique::Syn, Technique::Connect, fin, Technique::Udp]);
    let nmap = few(stage, technique, Pace::Fast);
    let kind = match technique {
        Technique::Udp => "udp",
        Technique::Flags(_) => "fin",
        _ => "syn",
    };
    stage.incidents.push(Incident::of(nmap.source, kind, "vertical").besides(&["connect"]));
    nmap.run(stage);
}

pub(super) fn few_and_sneaky(stage: &mut Stage) {
    let nmap = few(stage, Technique::Syn, T1);
    stage.incidents.push(Incident::of(nmap.source, "syn", "vertical").or_shape("slow"));
    nmap.run(stage);
}

/// What has answered is asked what it is, by ordinary connections.
pub(super) fn versions(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Syn);
    let source = nmap.source;
    let open: Vec<u16> = nmap.ports.iter().copied().filter(|port| stage.host.tcp.contains(port)).collect();
    stage.incidents.push(Incident::of(source, "syn", "vertical").besides(&DISCOVERY).besides(&["connect"]));
    let mut at = nmap.run(stage);
    for port in open {
        for question in [0, 18, 22] {
            let mut talk = Talk::to_us(stage, at, source, port);
            talk.open(stage).say(stage, Side::Client, question).say(stage, Side::Server, 60);
            talk.close(stage, End::Fin(Side::Client));
            at += stage.dice.micros(20_000, 2_000_000);
        }
    }
}

pub(super) fn two(stage: &mut Stage) {
    syn(stage);
    let technique = stage.dice.pick(&[Technique::Syn, Technique::Connect]);
    let nmap = fast(stage, technique);
    stage.start += stage.dice.micros(0, 500_000);
    stage
        .incidents
        .push(Incident::of(nmap.source, "syn", "vertical").besides(&DISCOVERY).besides(&["connect"]));
    nmap.run(stage);
}

/// For a capture that shows nothing but its resets.
pub(super) fn syn_to_a_bare_host(stage: &mut Stage) {
    stage.host.firewall = Firewall::Bare;
    let mut nmap = fast(stage, Technique::Syn);
    nmap.has_discovery = false;
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn from_a_known_port(stage: &mut Stage) {
    let technique = stage.dice.pick(&[Technique::Syn, Technique::Udp]);
    let mut nmap = fast(stage, technique);
    nmap.source_port = stage.dice.pick(&[53, 20, 80, 123]);
    nmap.has_discovery = false;
    play(stage, nmap, if technique == Technique::Syn { "syn" } else { "udp" }, "vertical");
}

pub(super) fn ipv6(stage: &mut Stage) {
    let technique = stage.dice.pick(&[Technique::Syn, Technique::Connect, Technique::Udp]);
    let nmap = fast(stage, technique);
    let nmap = Nmap { source: stage.stranger6(), target: stage.host.own6(), ..nmap };
    let kind = if technique == Technique::Udp { "udp" } else { "syn" };
    let incident = Incident::of(nmap.source, kind, "vertical").besides(&DISCOVERY).besides(&["connect"]);
    stage.incidents.push(incident);
    nmap.run(stage);
}

pub(super) fn extension_headers(stage: &mut Stage) {
    let choices = [
        vec![Extension::DestinationOptions(0)],
        vec![Extension::HopByHop(8)],
        vec![Extension::HopByHop(0), Extension::DestinationOptions(16)],
        vec![Extension::Routing { segments_left: 0 }],
        vec![Extension::AtomicFragment],
    ];
    let extensions = choices[stage.dice.count(0, choices.len() - 1)].clone();
    let nmap = fast(stage, Technique::Syn);
    let nmap = Nmap { source: stage.stranger6(), target: stage.host.own6(), extensions, ..nmap };
    stage
        .incidents
        .push(Incident::of(nmap.source, "syn", "vertical").besides(&["fragments"]).besides(&DISCOVERY));
    nmap.run(stage);
}

pub(super) fn link_local(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Syn);
    let source = IpAddr::from(std::net::Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        0x0211,
        0x22ff,
        0xfe33,
        stage.dice.port(1, 0xfffe),
    ));
    let nmap = Nmap { source, target: stage.host.v6[1].into(), has_discovery: false, ..nmap };
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn neighbour(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Syn);
    let nmap = Nmap { source: stage.neighbour(), ..nmap };
    play(stage, nmap, "syn", "vertical");
}

/// Somebody who reads our pages first, and goes on doing so.
pub(super) fn user(stage: &mut Stage) {
    stage.host.has_three_services();
    let nmap = fast(stage, Technique::Syn);
    let mut at = stage.start;
    stage.start += Duration::from_secs(20);
    for _ in 0..stage.dice.count(2, 12) {
        let mut talk = Talk::to_us(stage, at, nmap.source, 443);
        talk.open(stage).say(stage, Side::Client, 600).say(stage, Side::Server, 9_000);
        talk.close(stage, End::Fin(Side::Client));
        at += stage.dice.micros(100_000, 5_000_000);
    }
    play(stage, nmap, "syn", "vertical");
}

pub(super) fn fragments(stage: &mut Stage) {
    let nmap = fast(stage, Technique::Syn);
    let nmap = Nmap { fragments: Some(8), has_discovery: false, ..nmap };
    let incident = Incident::of(nmap.source, "fragments", "vertical").or_kind("syn");
    stage.incidents.push(incident);
    nmap.run(stage);
}

pub(super) fn longer_fragments(stage: &mut Stage) {
    let technique = stage.dice.pick(&[Technique::Udp, Technique::Flags(TcpFlags::FIN), Technique::Syn]);
    let nmap = fast(stage, technique);
    let kind = match technique {
        Technique::Udp => "udp",
        Technique::Syn => "syn",
        _ => "fin",
    };
    let nmap = Nmap { fragments: Some(24), has_discovery: false, ..nmap };
    stage.incidents.push(Incident::of(nmap.source, kind, "vertical").besides(&["fragments"]));
    nmap.run(stage);
}
