use super::*;

use crate::config::portsentry::StartMode;
use crate::record::portsentry::{Seen, Step};

const STCP: Voice = Voice::One(StartMode::Stcp);

fn at(seconds: u64) -> Mono {
    Mono(Duration::from_secs(seconds))
}

fn source() -> IpAddr {
    "10.77.0.1".parse().unwrap()
}

fn seen(port: u16, fate: AttackFate) -> Attack {
    Attack {
        time: Wall(Duration::from_secs(1_795_226_400)),
        source: source(),
        protocol: Protocol::Tcp,
        port,
        seen: Seen::Packet { flags: 2, has_ip_options: Some(false) },
        fate,
    }
}

fn done(step: Step) -> StepDone {
    StepDone { step, text: "x".into(), result: Ok(()) }
}

/// What came out, short: the start of a line, `event blocked: […]`, `file PORT`.
fn told(order: &mut Order) -> Vec<String> {
    let told = order.take().into_iter().map(|told| match told {
        Told::Line(_, text) => text.trim_start_matches("attackalert: ").to_owned(),
        Told::Event { text, .. } => {
            let port = text.split("port: ").nth(1).unwrap().split(' ').next().unwrap();
            format!("event {port} {}", text.rsplit("noblock: ").next().unwrap())
        }
        Told::Blocked { name, port, .. } => format!("file {name} {port}"),
    });
    told.collect()
}

fn alert(port: u16) -> String {
    format!("TCP SYN/Normal scan from host: a/10.77.0.1 to TCP port: {port}")
}

const ALREADY: &str = "Host: a/10.77.0.1 is already blocked Ignoring";
const STILL: &str = "Host: a/10.77.0.1 is still being blocked Ignoring";
const COULD_NOT: &str = "ERROR: Could not block host a/10.77.0.1 !!";

/// PortSentry 1.2 -stcp, `tests/ancestors/portsentry-cases.json`, nmap -sS: alert, hosts.deny, route, command, and only
/// then the next alert.
#[test]
fn later_events_wait_for_the_responses_of_the_first() {
    let mut order = Order::new(STCP);
    order.attack(seen(111, AttackFate::Blocking), "a", at(0));
    order.attack(seen(1, AttackFate::AlreadyBlocked), "a", at(0));
    assert_eq!(told(&mut order), [alert(111)]);
    order.step(source(), &done(Step::HostsDeny));
    order.step(source(), &done(Step::Route));
    order.attack(seen(7, AttackFate::AlreadyBlocked), "a", at(1));
    order.step(source(), &done(Step::Command));
    order.settled(source(), "10.77.0.1", Protocol::Tcp, 111, &Settled::Blocked);
    let expected = [
        "Host 10.77.0.1 has been blocked via wrappers with string: \"x\"".to_owned(),
        "Host 10.77.0.1 has been blocked via dropped route using command: \"x\"".to_owned(),
        "External command run for host: 10.77.0.1 using command: \"x\"".to_owned(),
        "file a 111".to_owned(),
        alert(1),
        ALREADY.to_owned(),
        alert(7),
        ALREADY.to_owned(),
    ];
    assert_eq!(told(&mut order), expected);
    order.attack(seen(15, AttackFate::AlreadyBlocked), "a", at(2));
    assert_eq!(told(&mut order), [alert(15), ALREADY.to_owned()]);
    assert_eq!((order.held(), order.open.len()), (0, 0));
}

/// 2.x pcap, nmap -sU: steps, event, then `already blocked` and event.
#[test]
fn an_event_of_two_is_written_when_its_outcome_is_known() {
    let mut order = Order::new(Voice::Two);
    order.attack(seen(1, AttackFate::Blocking), "a", at(0));
    order.attack(seen(15, AttackFate::AlreadyBlocked), "a", at(0));
    assert!(told(&mut order).is_empty());
    order.step(source(), &done(Step::Route));
    order.settled(source(), "b", Protocol::Tcp, 1, &Settled::Blocked);
    assert_eq!(
        told(&mut order),
        [
            "Host 10.77.0.1 has been blocked via dropped route using command: \"x\"",
            "file a 1",
            "event [1] [false] blocked: [true]",
            ALREADY,
            "event [15] [false] blocked: [true]",
        ]
    );
}

#[test]
fn who_could_not_be_blocked_is_not_called_blocked_until_it_is() {
    let failed = Settled::Failed { why: String::new() };
    let mut one = Order::new(STCP);
    one.attack(seen(1, AttackFate::Blocking), "a", at(0));
    one.attack(seen(7, AttackFate::AlreadyBlocked), "a", at(0));
    one.settled(source(), "a", Protocol::Tcp, 1, &failed);
    one.attack(seen(15, AttackFate::AlreadyBlocked), "a", at(1));
    let could_not = COULD_NOT.to_owned();
    assert_eq!(
        told(&mut one),
        [alert(1), could_not.clone(), alert(7), could_not.clone(), alert(15), could_not.clone()]
    );
    // Tried again.
    one.settled(source(), "a", Protocol::Tcp, 1, &failed);
    one.settled(source(), "a", Protocol::Tcp, 1, &Settled::Blocked);
    one.attack(seen(79, AttackFate::AlreadyBlocked), "a", at(1));
    assert_eq!(told(&mut one), [could_not, "file a 1".to_owned(), alert(79), ALREADY.to_owned()]);

    let mut two = Order::new(Voice::Two);
    two.attack(seen(1, AttackFate::Blocking), "a", at(0));
    two.attack(seen(7, AttackFate::AlreadyBlocked), "a", at(0));
    two.settled(source(), "a", Protocol::Tcp, 1, &Settled::Failed { why: "no disk".into() });
    let could_not = "Error during target dispose a/10.77.0.1!";
    assert_eq!(
        told(&mut two),
        [
            "adminalert: ERROR: host 10.77.0.1 is not blocked: no disk",
            could_not,
            "event [1] [false] blocked: [false]",
            could_not,
            "event [7] [false] blocked: [false]",
        ]
    );
    two.settled(source(), "a", Protocol::Tcp, 1, &Settled::Blocked);
    assert_eq!(told(&mut two), ["file a 1", "event [1] [false] blocked: [true]"]);
}

#[test]
fn a_hanging_response_hides_no_attack_for_longer_than_a_minute() {
    for voice in [STCP, Voice::Two] {
        let mut order = Order::new(voice);
        order.attack(seen(1, AttackFate::Blocking), "a", at(0));
        order.attack(seen(7, AttackFate::AlreadyBlocked), "a", at(30));
        order.take();
        assert_eq!(order.due(), Some(at(60)));
        order.tick(at(59));
        assert!(told(&mut order).is_empty());
        order.tick(at(60));
        order.tick(at(60));
        order.attack(seen(15, AttackFate::AlreadyBlocked), "a", at(61));
        let expected = match voice {
            Voice::One(_) => vec![alert(7), STILL.to_owned(), alert(15), STILL.to_owned()],
            Voice::Two => [
                STILL,
                "event [1] [false] blocked: [false]",
                STILL,
                "event [7] [false] blocked: [false]",
                STILL,
                "event [15] [false] blocked: [false]",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        assert_eq!(told(&mut order), expected);
        order.settled(source(), "a", Protocol::Tcp, 1, &Settled::Blocked);
        assert_eq!(told(&mut order)[0], "file a 1");
        assert_eq!((order.held(), order.due()), (0, None));
    }
}

/// BLOCK_TCP="0": 1.2 calls the host blocked all the same (measured), 2.x remembers nothing.
#[test]
fn log_only_is_written_as_by_each() {
    let fates = [true, false].map(|is_first| AttackFate::LogOnly { is_first });
    let mut one = Order::new(STCP);
    for (port, fate) in [1, 7].into_iter().zip(fates) {
        one.attack(seen(port, fate), "a", at(0));
    }
    let ignoring = "Ignoring TCP response per configuration file setting.".to_owned();
    assert_eq!(told(&mut one), [alert(1), ignoring, "file a 1".to_owned(), alert(7), ALREADY.to_owned()]);
    let mut two = Order::new(Voice::Two);
    for (port, fate) in [1, 7].into_iter().zip(fates) {
        two.attack(seen(port, fate), "a", at(0));
    }
    assert_eq!(told(&mut two), ["event [1] [true] blocked: [false]", "event [7] [true] blocked: [false]"]);
}

#[test]
fn the_ignored_are_silent_in_one_and_listed_in_two() {
    for fate in [AttackFate::Ignored, AttackFate::BelowTrigger] {
        let mut order = Order::new(STCP);
        order.attack(seen(1, fate), "a", at(0));
        assert!(told(&mut order).is_empty());
        let mut order = Order::new(Voice::Two);
        order.attack(seen(1, fate), "a", at(0));
        assert_eq!(told(&mut order), ["event [1] [unset] blocked: [unset]"]);
    }
    let mut order = Order::new(STCP);
    order.attack(seen(1, AttackFate::Local), "a", at(0));
    let never = "adminalert: Host: a/10.77.0.1 is protected and is never blocked Ignoring";
    assert_eq!(told(&mut order), [alert(1), never.to_owned()]);
}

#[test]
fn a_ban_of_an_earlier_run_is_not_called_blocked_before_its_responses_are_done() {
    let mut order = Order::new(STCP);
    order.pending(source());
    order.attack(seen(1, AttackFate::AlreadyBlocked), "a", at(0));
    assert_eq!(told(&mut order), [alert(1), STILL.to_owned()]);
    order.settled(source(), "a", Protocol::Tcp, 1, &Settled::Blocked);
    order.attack(seen(1, AttackFate::AlreadyBlocked), "a", at(0));
    assert_eq!(told(&mut order), ["file 10.77.0.1 1".to_owned(), alert(1), ALREADY.to_owned()]);
}

#[test]
fn a_ban_that_is_ended_meanwhile_lets_go_what_it_held() {
    let mut order = Order::new(STCP);
    order.attack(seen(1, AttackFate::Blocking), "a", at(0));
    order.attack(seen(7, AttackFate::AlreadyBlocked), "a", at(0));
    order.forget(source());
    assert_eq!(told(&mut order), [alert(1), alert(7), STILL.to_owned()]);
    assert_eq!((order.held(), order.open.len()), (0, 0));
}

#[test]
fn what_is_held_is_bounded_and_the_rest_is_counted() {
    let mut order = Order::new(STCP);
    order.attack(seen(1, AttackFate::Blocking), "a", at(0));
    for port in 0..100 {
        order.attack(seen(port, AttackFate::AlreadyBlocked), "a", at(0));
    }
    order.take();
    order.settled(source(), "a", Protocol::Tcp, 1, &Settled::Blocked);
    let lines = told(&mut order);
    assert_eq!(lines.len(), 1 + 2 * HELD_EACH + 1);
    assert_eq!(
        lines.last().unwrap(),
        "adminalert: 68 more events of host: a/10.77.0.1 while it was being dealt with, not listed one by one"
    );
    // All in all.
    let mut order = Order::new(STCP);
    for number in 0..400u32 {
        let source = IpAddr::from(number.to_be_bytes());
        order.attack(Attack { source, ..seen(1, AttackFate::Blocking) }, "a", at(0));
        for _ in 0..HELD_EACH {
            order.attack(Attack { source, ..seen(2, AttackFate::AlreadyBlocked) }, "a", at(0));
        }
    }
    assert_eq!(order.held(), HELD);
    order.tick(at(60));
    assert_eq!(order.held(), 0);
}

#[test]
fn more_sources_than_any_queue_takes_are_written_at_once() {
    let mut order = Order::new(Voice::Two);
    for number in 0..=OPEN as u32 {
        let source = IpAddr::from(number.to_be_bytes());
        order.attack(Attack { source, ..seen(1, AttackFate::Blocking) }, "a", at(0));
    }
    assert_eq!(told(&mut order), ["event [1] [false] blocked: [false]"]);
    assert_eq!(order.open.len(), OPEN);
}
