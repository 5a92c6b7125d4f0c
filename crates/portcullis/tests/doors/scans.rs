//! Scans of the ports around a door's, which never leave it open.
//!
//! What is promised for a sequence (which anybody can hit by chance): nobody who touches more than four other ports
//! gets, or keeps, an opening. A scan that happens to begin with the steps in their order opens the door for as long as
//! it takes to touch the fifth other port, and is shut out again by that.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use testbed::{Lab, wait_until};

use crate::harness::{Guard, SOON};
use crate::kernel::{can_connect, nmap};
use crate::knocks::{SERVICE, guests, hit, knock, let_in, serve};
use crate::shutting::lab;

/// In the order in which a scan comes by, open for long to whoever gets it open; nobody is ignored for wrong tries, so
/// that nothing but the rule about scans keeps it shut. The other door shows that a packet was heard.
const DOORS: &str = "[door.ssh]\nkind = \"sequence\"\nsequence = \"7000, 7001, 7002\"\nopens = \"tcp/2222\"\n\
                     open_for = \"1h\"\nwindow = \"10m\"\nwrong_tries = 1000\n\
                     [door.bell]\nkind = \"sequence\"\nsequence = \"61001:udp, 61002:udp, 61003:udp\"\n\
                     mode = \"observe\"\nwrong_tries = 1000\nopens = \"tcp/2223\"\n";

/// Waits until the guard has heard all that was sent before.
#[track_caller]
fn wait_until_heard(lab: &Lab, guard: &mut Guard, number: u8) {
    let ringer = format!("10.77.0.{number}");
    lab.add_attacker(&format!("{ringer}/24"));
    let mut rung: Option<Instant> = None;
    wait_until(2 * SOON, "the bell to be heard", || {
        // A ring that was full may have lost it.
        if rung.is_none_or(|rung| rung.elapsed() > Duration::from_secs(1)) {
            knock(&lab.attacker, &ringer, lab.victim4(), "61001:udp 61002:udp 61003:udp");
            rung = Some(Instant::now());
        }
        let is_heard = |event: &serde_json::Value| {
            event["source"] == ringer.as_str() && event["why"].to_string().contains("observes")
        };
        guard.told("knock").iter().any(is_heard).then_some(())
    });
}

#[track_caller]
fn assert_shut(lab: &Lab, guard: &Guard, scanner: &str, scan: &str) {
    assert!(guests(guard, "ssh").is_empty(), "open after {scan}: {:?}", guests(guard, "ssh"));
    assert_eq!(let_in(&lab.victim, "door_ssh4", scanner), None, "after {scan}");
    assert!(!can_connect(&lab.attacker, scanner, lab.victim4().into(), SERVICE), "after {scan}");
}

#[test]
fn scans_of_all_ports_in_any_order_leave_no_door_open() {
    let Some(lab) = lab() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, DOORS, &[]);
    let victim = lab.victim4().to_string();
    for round in 0..3u8 {
        let scanners = [0, 1, 2].map(|number| format!("10.77.0.{}", 20 + 3 * round + number));
        scanners.iter().for_each(|scanner| lab.add_attacker(&format!("{scanner}/24")));
        let [ascending, random, descending] = &scanners;
        let all =
            "nmap -n -Pn --disable-arp-ping -T4 --max-retries 0 -sS -p 1-65535 --min-rate 15000 -e eth0 -S";
        let nmap = |scanner: &str, order: &[&str]| {
            let words: Vec<&str> = all.split(' ').chain([scanner]).chain(order.iter().copied()).collect();
            lab.attacker.start(&[&words, &[victim.as_str()][..]].concat())
        };
        let mut running = [nmap(ascending, &["-r"]), nmap(random, &[])];
        descend(&lab, descending);
        for nmap in &mut running {
            assert!(nmap.wait(6 * SOON).success());
        }
        wait_until_heard(&lab, &mut guard, 100 + round);
        for scanner in &scanners {
            assert_shut(&lab, &guard, scanner, &format!("three scans at once, round {round}"));
        }
    }
    assert!(guard.told("open").is_empty(), "not even for a moment: {:?}", guard.told("open"));
}

/// nmap knows no such order.
fn descend(lab: &Lab, scanner: &str) {
    let (source, target): (IpAddr, IpAddr) = (scanner.parse().unwrap(), lab.victim4().into());
    lab.attacker.enter(|| {
        for port in (1..=65_535).rev() {
            hit(source, SocketAddr::new(target, port), false);
        }
    });
}

#[test]
fn scans_of_twenty_ports_around_the_doors_leave_it_shut() {
    let Some(lab) = lab() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, DOORS, &[]);
    let victim = lab.victim4().to_string();
    let scans = [
        ("6983-7002", "-r"),
        ("6990-7009", "-r"),
        ("6995-7014", "--randomize-hosts"),
        ("7000-7019", "--randomize-hosts"),
        ("7000,7001,6990-7007", "--randomize-hosts"),
        ("7000-7019", "-r"),
    ];
    for (number, (ports, order)) in (20..).zip(scans) {
        let scanner = format!("10.77.0.{number}");
        lab.add_attacker(&format!("{scanner}/24"));
        nmap(&lab.attacker, &["-sS", "-e", "eth0", "-S", &scanner, order, "-p", ports, &victim]);
        wait_until_heard(&lab, &mut guard, 100 + number);
        assert_shut(&lab, &guard, &scanner, &format!("{ports} {order}"));
    }
    // Only the last of them begins with the steps, in their order, for sure; a random one may by chance.
    let last = format!("10.77.0.{}", 19 + scans.len());
    let told = |event: &str| guard.told(event).into_iter().find(|told| told["source"] == last.as_str());
    assert!(told("open").is_some(), "{:?}", guard.events());
    assert_eq!(told("close").unwrap()["why"], "its source goes on to scan");
}
