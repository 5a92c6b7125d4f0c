//! What the clients of the cases sent: `knock`, and nmap in its ways. As packets, since who made them does not matter
//! here; the programs themselves are run against ours in namespaces.

use std::collections::HashSet;
use std::time::Duration;

use portcullis_core::net::Protocol;
use portcullis_core::wire::TcpFlags;

use super::host::Packet;

const NMAP: Duration = Duration::from_millis(40);

/// The packets of a command, each with the pause behind it.
pub fn packets(
    id: &str,
    command: &str,
    is_dropping: bool,
    services: &HashSet<u16>,
) -> Vec<(Packet, Duration)> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let target = *words.iter().find(|word| word.starts_with("10.78") || word.starts_with("fd78")).unwrap();
    // The cases' IPv6 clients are chosen by the stack.
    let source = if target.starts_with("fd78") { "fd78::3" } else { "10.78.0.1" };
    // Each call makes numbers of its own.
    let seed = words
        .iter()
        .flat_map(|word| word.bytes())
        .fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
    let seed = seed % 1_000_000;
    let mut sent = match words[0] {
        "knock" => knock(&words, source, target, seed),
        "nmap" => nmap(&words, source, target, seed, is_dropping),
        other => panic!("{other}"),
    };
    if words[0] == "nmap" && !words.contains(&"-n") {
        // The case's note: it asked for names for seconds first.
        sent.last_mut().unwrap().1 += Duration::from_secs(4);
    }
    // A client's stack refuses a SYN+ACK that nobody waits for.
    let opens = |packet: &Packet| {
        packet.flags == TcpFlags::SYN && packet.port.is_some_and(|(_, port)| services.contains(&port))
    };
    let mut all = Vec::new();
    for (packet, pause) in sent {
        let is_answered = opens(&packet);
        let reset = Packet { flags: TcpFlags::RST, number: packet.number + 1, ..packet.clone() };
        all.push((packet, if is_answered { Duration::from_micros(200) } else { pause }));
        if is_answered {
            all.push((reset, pause));
        }
    }
    assert!(!all.is_empty(), "{id}");
    all
}

fn knock(words: &[&str], source: &str, target: &str, seed: u32) -> Vec<(Packet, Duration)> {
    let delay = words.iter().position(|word| *word == "-d").map(|place| words[place + 1]);
    let pause = delay.map_or(Duration::from_micros(300), |text| Duration::from_millis(text.parse().unwrap()));
    let behind = words.iter().position(|word| *word == target).unwrap() + 1;
    let is_udp = words.contains(&"-u");
    let ports = words[behind..].iter().zip(seed..);
    ports
        .map(|(word, number)| {
            let (port, protocol) = word.split_once(':').unwrap_or((word, "tcp"));
            let mut packet = Packet::tcp(source, target, port.parse().unwrap(), TcpFlags::SYN, number);
            // Only the small letters are UDP (knock 0.8, measured).
            if is_udp || protocol == "udp" {
                packet.port = Some((Protocol::Udp, port.parse().unwrap()));
            }
            (packet, pause)
        })
        .collect()
}

fn nmap(words: &[&str], source: &str, target: &str, seed: u32, is_dropping: bool) -> Vec<(Packet, Duration)> {
    let place = words.iter().position(|word| *word == "-p").unwrap();
    let mut ports: Vec<u16> = Vec::new();
    for item in words[place + 1].split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        ports.extend(first.parse::<u16>().unwrap()..=last.parse().unwrap());
    }
    if !words.contains(&"-r") && ports.len() > 1 {
        // It chose an order at random; in the case it was not the right one.
        ports.reverse();
    }
    let flags = match () {
        () if words.contains(&"-sF") => TcpFlags::FIN,
        () if words.contains(&"-sA") => TcpFlags::ACK,
        () => TcpFlags::SYN,
    };
    let mut number = seed;
    let mut sent = Vec::new();
    let mut send = |port, flags, pause| {
        number += 1;
        sent.push((Packet::tcp(source, target, port, flags, number), pause));
    };
    if !words.contains(&"-Pn") {
        // Host discovery; the ICMP messages are nothing to a door.
        send(443, TcpFlags::SYN, NMAP);
        send(80, TcpFlags::ACK, NMAP);
    }
    let is_repeated = is_dropping && !words.contains(&"--max-retries");
    let pause = if ports.len() > 100 { Duration::from_micros(50) } else { NMAP };
    for &port in &ports {
        send(port, flags, pause);
        if is_repeated {
            // With another number and port: nothing tells it from another knock.
            send(port, flags, Duration::from_secs(1));
        }
    }
    sent
}
