//! A port that has a service is no trap, and a service is known by its address and family.

use std::time::Duration;

use serde_json::json;
use testbed::{Lab, Running};

use crate::harness::{Guard, SOON};
use crate::peers::{accused, bind, everything_is_judged, listen, nothing_was_a_probe};

/// A run of nmap over a handful of ports, beside others.
const NMAP: Duration = Duration::from_secs(60);

fn nmap(lab: &Lab, options: &str, source: &str, ports: &str, target: &str) -> Running {
    let options = format!("nmap -n -Pn -T4 -e eth0 -S {source} -p {ports} {options} {target}");
    lab.attacker.start(&options.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn an_open_port_is_no_trap_but_flags_that_no_stack_sends_are() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let _services = listen(&lab.victim, "0.0.0.0", 8001..=8010);
    let _datagrams = bind(&lab.victim, "0.0.0.0", 8001..=8010);
    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    for options in ["-sS", "-sT", "-sU"] {
        let mut scan = nmap(&lab, options, "10.77.0.1", "8001-8010", "10.77.0.2");
        assert!(scan.wait(NMAP).success());
    }
    nothing_was_a_probe(&lab, &mut guard);
    for (options, source, kind) in
        [("-sF", "10.77.0.11", "fin"), ("-sN", "10.77.0.12", "null"), ("-sX", "10.77.0.13", "xmas")]
    {
        lab.add_attacker(&format!("{source}/24"));
        let mut scan = nmap(&lab, &format!("{options} --max-retries 0"), source, "8001-8010", "10.77.0.2");
        assert!(scan.wait(NMAP).success());
        let told = guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == source);
        assert_eq!(told["kinds"], json!([kind]));
    }
}

#[test]
fn a_service_is_known_by_its_address_and_family() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    lab.victim.add_address("eth0", "10.77.0.3/24");
    lab.victim.sysctl("net.ipv4.icmp_ratelimit", "0");
    lab.victim.sysctl("net.ipv6.icmp.ratelimit", "0");
    let mut held = Vec::new();
    for (address, first) in [("::", 8000), ("0.0.0.0", 8100), ("127.0.0.1", 8300), ("10.77.0.2", 8400)] {
        held.push((
            listen(&lab.victim, address, first..=first + 5),
            bind(&lab.victim, address, first..=first + 5),
        ));
    }
    lab.victim.sysctl("net.ipv6.bindv6only", "1");
    held.push((listen(&lab.victim, "::", 8200..=8205), bind(&lab.victim, "::", 8200..=8205)));

    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    let cases = [
        ("dual stack", "8000-8005", "10.77.0.2", false),
        ("dual stack", "8000-8005", "fd77::2", false),
        ("IPv4 only", "8100-8105", "10.77.0.2", false),
        ("IPv4 only", "8100-8105", "fd77::2", true),
        ("IPv6 only", "8200-8205", "10.77.0.2", true),
        ("IPv6 only", "8200-8205", "fd77::2", false),
        ("loopback only", "8300-8305", "10.77.0.2", true),
        ("loopback only", "8300-8305", "fd77::2", true),
        ("another address only", "8400-8405", "10.77.0.2", false),
        ("another address only", "8400-8405", "10.77.0.3", true),
    ];
    let mut scans = Vec::new();
    for (number, (_, ports, target, _)) in cases.iter().enumerate() {
        for (transport, options) in [(1, "-sS"), (2, "-sU --max-retries 0")] {
            let (source, length, family) = match target.contains(':') {
                true => (format!("fd77::{transport}{number:02}"), 64, "-6"),
                false => (format!("10.77.0.{transport}{number:02}"), 24, ""),
            };
            lab.add_attacker(&format!("{source}/{length}"));
            let scan = nmap(&lab, &format!("{options} {family}"), &source, ports, target);
            scans.push((source, number, scan));
        }
    }
    for (_, _, scan) in &mut scans {
        assert!(scan.wait(NMAP).success());
    }
    everything_is_judged(&lab, &mut guard);
    let accused = accused(&guard);
    for (source, number, _) in scans {
        let (service, ports, target, is_trap) = cases[number];
        let is_told = accused.contains(&source);
        assert_eq!(is_told, is_trap, "{source} at {service} service, {target} {ports}; accused: {accused:?}");
    }
}
