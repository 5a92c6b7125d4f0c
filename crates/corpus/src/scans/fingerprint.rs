//! `nmap -O`, as captured of 7.94: behind the ports six SYNs to an open one, two echoes, a datagram, then odd flags to
//! the open and to a closed port; what is not answered is sent three times.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::{TcpFlags, build};

use super::POPULAR;
use super::nmap::{Nmap, Pace, Technique, ports};
use crate::Incident;
use crate::host::Reply;
use crate::stage::Stage;

/// What its probes may be told as.
const ODD: [&str; 6] = ["null", "flags", "ack", "xmas", "udp", "icmp-sweep"];

/// With the ports that nmap asks by itself.
pub(super) fn usual(stage: &mut Stage) {
    let count = stage.dice.pick(&[20, 100]);
    let mut ports = ports(stage, count, &POPULAR);
    stage.dice.shuffle(&mut ports);
    let nmap = Nmap::new(stage, Technique::Syn, Pace::Fast, ports);
    stage.incidents.push(Incident::of(nmap.source, "syn", "vertical").besides(&ODD));
    play(stage, nmap);
}

/// Somebody who knows an open port and a closed one: only the flags tell.
pub(super) fn two_ports(stage: &mut Stage) {
    stage.host.has_three_services();
    let nmap = Nmap::new(stage, Technique::Syn, Pace::Fast, vec![22, 25]);
    let incident = Incident::of(nmap.source, "flags", "vertical").or_kind("null").or_kind("xmas");
    stage.incidents.push(incident.besides(&["syn", "ack", "udp", "icmp-sweep"]));
    play(stage, nmap);
}

fn play(stage: &mut Stage, nmap: Nmap) {
    let (source, target) = (nmap.source, nmap.target);
    let open = nmap.ports.iter().copied().find(|port| stage.host.tcp.contains(port));
    let closed = nmap.ports.iter().copied().find(|port| !stage.host.tcp.contains(port));
    let mut at = nmap.run(stage) + Duration::from_millis(100);
    let from = stage.dice.port(33_000, 60_000);
    let probe = |at, step: u16, port, (flags, window): (u8, u16)| Probe {
        at,
        source,
        target,
        from: from + step,
        port,
        flags,
        window,
    };
    if let Some(open) = open {
        for (step, window) in [1, 63, 4, 4, 16, 512].into_iter().enumerate() {
            probe(at, step as u16, open, (TcpFlags::SYN, window)).send(stage);
            at += Duration::from_millis(100);
        }
    }
    for (code, length) in [(9, 120), (0, 150)] {
        let echo = build::icmp_with(8, code, [0xa9, 0x0d, 1, 39], &vec![0; length]);
        stage.arrive(at, build::ip(source, target, echo).hop_limit(50).bytes());
        at += Duration::from_millis(25);
    }
    let datagram = build::udp(from + 20, 30_567, &[0x43; 300]);
    stage.arrive(at, build::ip(source, target, datagram).hop_limit(61).bytes());
    let (syn, fin, psh, urg) = (TcpFlags::SYN, TcpFlags::FIN, TcpFlags::PSH, TcpFlags::URG);
    let to_open = [(syn | 0xc0, 3), (0, 128), (syn | fin | psh | urg, 256), (TcpFlags::ACK, 1_024)];
    let to_closed = [(syn, 31_337), (TcpFlags::ACK, 32_768), (fin | psh | urg, 65_535)];
    let to_open = open.into_iter().flat_map(|port| to_open.map(|look| (port, look)));
    let to_closed = closed.into_iter().flat_map(|port| to_closed.map(|look| (port, look)));
    let mut left: Vec<_> = to_open.chain(to_closed).zip(10..).collect();
    for _ in 0..3 {
        left.retain(|((port, look), step)| {
            at += Duration::from_millis(25);
            probe(at, *step, *port, *look).send(stage) == Reply::Silence
        });
    }
}

struct Probe {
    at: Duration,
    source: IpAddr,
    target: IpAddr,
    from: u16,
    port: u16,
    flags: u8,
    window: u16,
}

impl Probe {
    fn send(self, stage: &mut Stage) -> Reply {
        let options = [3, 3, 10, 1, 2, 4, 1, 9, 8, 10, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 4, 2];
        let number = stage.dice.number() as u32;
        let acknowledgement = if self.flags & TcpFlags::ACK == 0 { 0 } else { number };
        let segment = build::tcp(self.from, self.port, self.flags)
            .sequence(408_727_120)
            .acknowledgement(acknowledgement)
            .window(self.window)
            .options(&options);
        let hop_limit = stage.dice.between(41, 61) as u8;
        let packet = build::ip(self.source, self.target, segment).hop_limit(hop_limit);
        let reply = stage.arrive(self.at, packet.identification(number & 0xffff).bytes());
        if let Reply::Open { .. } = reply {
            let reset = build::tcp(self.from, self.port, TcpFlags::RST).sequence(408_727_121).window(0);
            let at = self.at + Duration::from_millis(20);
            stage.arrive(at, build::ip(self.source, self.target, reset).hop_limit(55).unfragmented().bytes());
        }
        reply
    }
}
