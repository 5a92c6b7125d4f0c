//! The lines of all measured cases, taken apart into events and results, and put together again by us.

use std::collections::HashSet;

use serde::Deserialize;

use super::*;
use crate::config::portsentry::StartMode;
use crate::record::portsentry::{Seen, Step};

const CASES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/ancestors/portsentry-cases.json"));

#[derive(Deserialize)]
struct Case {
    tool: String,
    mode: String,
    /// The first six of its log.
    #[serde(default)]
    log_lines: Vec<String>,
}

/// An event of the original, with what it did about it.
struct Happened {
    attack: Attack,
    steps: Vec<StepDone>,
    is_already_blocked: bool,
}

/// The part between two texts.
fn between<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &line[line.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

/// The address of `NAME/ADDR` or `ADDR`.
fn address(host: &str) -> IpAddr {
    host.rsplit('/').next().unwrap().parse().unwrap()
}

fn packet(voice: Voice, kind: &str, has_ip_options: Option<bool>) -> Seen {
    let flags = match kind {
        "Connect" => return Seen::Connection,
        "UDP" | "UDP scan" => 0,
        kind => (0..=u8::MAX).find(|&flags| words::kind(voice, flags) == kind).expect("a kind of scan"),
    };
    Seen::Packet { flags, has_ip_options }
}

fn event(source: IpAddr, of: &str, port: &str, seen: Seen) -> Happened {
    let protocol = if of == "TCP" { Protocol::Tcp } else { Protocol::Udp };
    let (time, fate) = (Wall::default(), AttackFate::Blocking);
    let attack = Attack { time, source, protocol, port: port.parse().unwrap(), seen, fate };
    Happened { attack, steps: Vec::new(), is_already_blocked: false }
}

fn step(line: &str) -> Option<(IpAddr, StepDone)> {
    let (step, host) = [
        (Step::HostsDeny, "attackalert: Host ", " has been blocked via wrappers"),
        (Step::Route, "attackalert: Host ", " has been blocked via dropped route"),
        (Step::Command, "External command run for host: ", " using"),
    ]
    .into_iter()
    .find_map(|(step, before, after)| Some((step, between(line, before, after)?)))?;
    let text = line.split_once('"')?.1.strip_suffix('"')?.to_owned();
    Some((address(host), StepDone { step, text, result: Ok(()) }))
}

/// 1.2: first the alert, then what was done.
fn events_of_one(voice: Voice, lines: &[&str]) -> Vec<Happened> {
    let mut events: Vec<Happened> = Vec::new();
    for line in lines {
        if let Some((_, done)) = step(line) {
            events.last_mut().unwrap().steps.push(done);
        } else if line.contains(" is already blocked") {
            events.last_mut().unwrap().is_already_blocked = true;
        } else if line.contains("has IP options set") {
            let Seen::Packet { has_ip_options, .. } = &mut events.last_mut().unwrap().attack.seen else {
                panic!("{line}");
            };
            *has_ip_options = Some(true);
        } else {
            let kind = between(line, "attackalert: ", " from host: ").unwrap();
            let source = address(between(line, " from host: ", " to ").unwrap());
            let (before, port) = line.rsplit_once(" port: ").unwrap();
            events.push(event(source, &before[before.len() - 3..], port, packet(voice, kind, Some(false))));
        }
    }
    events
}

/// 2.x: first what was done, then the event; the sixth line may come before its event.
fn events_of_two(voice: Voice, lines: &[&str]) -> Vec<Happened> {
    let mut events: Vec<Happened> = Vec::new();
    let (mut steps, mut blocked, mut of) = (Vec::new(), false, None);
    for line in lines {
        if let Some((source, done)) = step(line) {
            steps.push(done);
            of = Some(source);
        } else if let Some(host) = between(line, "Host: ", " is already blocked") {
            (blocked, of) = (true, Some(address(host)));
        } else {
            let has_ip_options = match between(line, "IP opts: [", "]").unwrap() {
                "set" => Some(true),
                "not set" => Some(false),
                _ => None,
            };
            let seen = packet(voice, between(line, "type: [", "]").unwrap(), has_ip_options);
            let source = address(between(line, "Scan from: [", "]").unwrap());
            let of_protocol = between(line, "protocol: [", "]").unwrap();
            let mut event = event(source, of_protocol, between(line, "port: [", "]").unwrap(), seen);
            (event.steps, event.is_already_blocked) = (std::mem::take(&mut steps), blocked);
            (blocked, of) = (false, None);
            events.push(event);
        }
    }
    if let Some(source) = of {
        let mut event = event(source, "TCP", "0", Seen::Connection);
        (event.steps, event.is_already_blocked) = (steps, blocked);
        events.push(event);
    }
    events
}

/// What we write; with `is_beside`, all later packets come before the first response is done, as happens to us.
fn replay(voice: Voice, events: &[Happened], is_beside: bool) -> Vec<String> {
    let mut order = Order::new(voice);
    let mut blocked = HashSet::new();
    let mut results = Vec::new();
    for Happened { attack, steps, is_already_blocked } in events {
        let is_first = blocked.insert(attack.source);
        // The sixth line may be an alert of which it is not told what came of it.
        assert!(is_first != *is_already_blocked || (steps.is_empty() && !is_first), "the case is consistent");
        let fate = if is_first { AttackFate::Blocking } else { AttackFate::AlreadyBlocked };
        order.attack(Attack { fate, ..*attack }, &attack.source.to_string(), Mono::default());
        if is_first {
            results.push((attack, steps));
            if !is_beside {
                settle(&mut order, &mut results);
            }
        }
    }
    settle(&mut order, &mut results);
    let told = order.take().into_iter().filter_map(|told| match told {
        Told::Line(_, text) | Told::Event { text, .. } => Some(text),
        Told::Blocked { .. } => None,
    });
    told.collect()
}

fn settle(order: &mut Order, results: &mut Vec<(&Attack, &Vec<StepDone>)>) {
    for (attack, steps) in results.drain(..) {
        for done in steps {
            order.step(attack.source, done);
        }
        order.settled(attack.source, "", attack.protocol, attack.port, &Settled::Blocked);
    }
}

#[test]
fn the_lines_of_every_measured_case_come_out_byte_for_byte() {
    let cases: Vec<Case> = serde_json::from_str(CASES).unwrap();
    let (mut with_lines, mut held) = (0, 0);
    for Case { tool, mode, log_lines } in &cases {
        let voice = match mode.strip_prefix("1.2 ") {
            Some(word) => Voice::One(StartMode::of(word).unwrap()),
            None => Voice::Two,
        };
        let expected: Vec<&str> = log_lines
            .iter()
            .map(|line| line.strip_prefix("<29>").unwrap_or(line))
            // Of the capture, not of an attack.
            .filter(|line| {
                !line.ends_with(", a service is running") && !line.starts_with("Packet is too short")
            })
            .collect();
        if expected.is_empty() {
            continue;
        }
        with_lines += 1;
        let events = match voice {
            Voice::One(_) => events_of_one(voice, &expected),
            Voice::Two => events_of_two(voice, &expected),
        };
        let sources: HashSet<IpAddr> = events.iter().map(|event| event.attack.source).collect();
        // Lines of several sources have no order of their own when responses run beside.
        for is_beside in [false, true].into_iter().take(if sources.len() == 1 { 2 } else { 1 }) {
            let mut lines = replay(voice, &events, is_beside);
            lines.truncate(expected.len());
            assert_eq!(lines, expected, "{tool}, {mode}, beside: {is_beside}");
            held += usize::from(is_beside && events.len() > 1);
        }
    }
    // As many as the file has: nobody shall take them away unseen.
    assert!(with_lines > 100 && held > 50, "{with_lines}, {held}");
}
