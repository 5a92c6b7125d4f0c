//! Scans by the real tools, each from a source of its own: seen, of the right kind, from the right source, to the
//! right ports.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Lab, Namespace, Running};

use crate::harness::{Guard, SOON};

/// A scan is over, and told once more with all its ports, when it was quiet for so long.
const WINDOW: &str = "[judge]\nby = \"trigger\"\nwindow = \"2s\"\n";

/// All below the ephemeral range, where UDP and FIN+ACK are mostly late answers.
const PORTS: [u16; 12] = [7, 21, 22, 23, 25, 80, 110, 443, 1000, 8080, 10001, 31337];

/// nmap tries a dozen ports in well under a second; fifteen of them side by side on a busy machine take longer.
const NMAP: Duration = Duration::from_secs(60);

/// A way to scan, and what packets tell of it.
struct Way {
    options: &'static [&'static str],
    /// One, or two with a space between.
    kinds: &'static str,
    protocol: &'static str,
}

const fn way(options: &'static [&'static str], kinds: &'static str, protocol: &'static str) -> Way {
    Way { options, kinds, protocol }
}

/// Ways that both families have.
const COMMON: [Way; 14] = [
    way(&["-sS"], "syn", "tcp"),
    // On closed ports a connect scan is the same packets.
    way(&["-sT"], "syn", "tcp"),
    way(&["-sF"], "fin", "tcp"),
    way(&["-sN"], "null", "tcp"),
    way(&["-sX"], "xmas", "tcp"),
    way(&["-sM"], "maimon", "tcp"),
    way(&["-sU"], "udp", "udp"),
    way(&["-sY"], "sctp", "sctp"),
    way(&["-sZ"], "sctp", "sctp"),
    way(&["-sA"], "ack", "tcp"),
    way(&["-sW"], "ack", "tcp"),
    way(&["-sS", "--scanflags", "SYNFIN"], "flags", "tcp"),
    way(&["-sS", "--scanflags", "URG"], "flags", "tcp"),
    way(&["-sS", "--scanflags", "PSH"], "flags", "tcp"),
];

/// Ways that only IPv4 has: nmap cuts neither IPv6 packets nor datagrams into fragments.
const FRAGMENTS: [Way; 2] =
    [way(&["-sS", "-f"], "syn fragments", "tcp"), way(&["-sS", "--mtu", "16"], "syn fragments", "tcp")];

/// Each way starts from an address of its own, all at once; then each has to be told as what it is.
///
/// `source` makes the address of the n-th way, as `10.77.0.9/24`; `unit` what it is judged as.
fn all_are_seen(lab: &Lab, ways: &[&Way], target: &str, source: impl Fn(usize) -> String, unit: u8) {
    // Closed ports answer datagrams with at most so many errors a second, and nmap would wait for each.
    lab.victim.sysctl("net.ipv4.icmp_ratelimit", "0");
    lab.victim.sysctl("net.ipv6.icmp.ratelimit", "0");
    let mut guard = Guard::configured(&lab.victim, WINDOW, &["--observe"]);
    let mut scans: Vec<(String, &Way, Running)> = Vec::new();
    for (number, way) in ways.iter().enumerate() {
        let address = source(number);
        lab.add_attacker(&address);
        let address = address.split('/').next().unwrap().to_owned();
        let running = nmap(&lab.attacker, way.options, &address, target);
        scans.push((address, way, running));
    }
    for (_, _, running) in &mut scans {
        assert!(running.wait(NMAP).success());
    }
    for (address, way, _) in &scans {
        let told = scan_of(&mut guard, address, &PORTS);
        let what = format!("nmap {:?}: {told}", way.options);
        assert_eq!(told["kinds"], json!(way.kinds.split(' ').collect::<Vec<_>>()), "{what}");
        assert_eq!(told["protocol"], json!([way.protocol]), "{what}");
        assert_eq!(told["decision"], "observe", "{what}");
        assert_eq!((&told["shape"], &told["targets"]), (&json!("vertical"), &json!(1)), "{what}");
        let (_, length) = told["prefix"].as_str().unwrap().split_once('/').unwrap();
        assert_eq!(length, unit.to_string(), "{what}");
    }
    let sources: BTreeSet<String> = guard.told("scan").iter().map(source_of).collect();
    assert_eq!(
        sources,
        scans.iter().map(|(address, ..)| address.clone()).collect(),
        "nobody else is accused"
    );
}

fn nmap(attacker: &Namespace, options: &[&str], source: &str, target: &str) -> Running {
    let ports = PORTS.map(|port| port.to_string()).join(",");
    let mut words = vec!["nmap", "-n", "-Pn", "-T4", "-e", "eth0", "-S", source, "-p", &ports];
    words.extend(if target.contains(':') { &["-6"][..] } else { &[] });
    words.extend(options);
    words.push(target);
    attacker.start(&words)
}

fn source_of(scan: &Value) -> String {
    scan["source"].as_str().unwrap().to_owned()
}

/// Waits for the line that tells the end of the scan of `source`, which must name exactly these ports.
fn scan_of(guard: &mut Guard, source: &str, ports: &[u16]) -> Value {
    let told = guard.wait_for(SOON, |event| {
        event["event"] == "scan" && event["source"] == source && event["ended"] == true
    });
    assert_eq!(told["ports"], json!(ports), "{told}");
    told
}

#[test]
fn every_scan_of_a_neighbour_is_seen_as_what_it_is() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let ways: Vec<&Way> = COMMON.iter().chain(&FRAGMENTS).collect();
    all_are_seen(&lab, &ways, "10.77.0.2", |number| format!("10.77.0.{}/24", 100 + number), 32);
}

#[test]
fn a_scan_of_ip_protocols_is_seen_and_tunnels_are_not() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    lab.victim.sysctl("net.ipv4.icmp_ratelimit", "0");
    lab.add_attacker("10.77.0.101/24");
    lab.add_attacker("10.77.0.102/24");
    let mut guard = Guard::configured(&lab.victim, WINDOW, &["--observe"]);
    let scan = |source: &str, protocols: &str| {
        let words = format!("nmap -n -Pn -T4 -e eth0 -S {source} -sO -p {protocols} 10.77.0.2");
        let mut nmap = lab.attacker.start(&words.split(' ').collect::<Vec<_>>());
        assert!(nmap.wait(NMAP).success());
    };
    scan("10.77.0.101", "2,4,41,47,50,51,88,89,103,108,112,115");
    scan("10.77.0.102", "150-170");
    let told = guard.wait_for(SOON, |event| event["event"] == "scan" && event["ended"] == true);
    assert_eq!((&told["source"], &told["kinds"]), (&json!("10.77.0.102"), &json!(["ip-protocol"])));
    assert_eq!((&told["protocol"], &told["ports"]), (&json!(["ip"]), &json!([])), "{told}");
    assert!(guard.told("scan").iter().all(|scan| scan["source"] == "10.77.0.102"));
}

#[test]
fn a_sweep_of_pings_over_own_addresses_is_seen_and_two_pings_are_not() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    for last in 10..20 {
        lab.victim.ip(&format!("addr add 10.77.0.{last}/24 dev eth0\n"));
    }
    lab.add_attacker("10.77.0.101/24");
    lab.add_attacker("10.77.0.102/24");
    // PortSentry's rule has no opinion of pings by ports, by probes it has.
    let mut guard = Guard::configured(&lab.victim, &format!("{WINDOW}count = \"probes\"\n"), &["--observe"]);
    let sweep = |source: &str, targets: &str| {
        let words = format!("nmap -n -sn -PE --disable-arp-ping --send-ip -T4 -e eth0 -S {source} {targets}");
        let mut nmap = lab.attacker.start(&words.split(' ').collect::<Vec<_>>());
        assert!(nmap.wait(NMAP).success());
    };
    sweep("10.77.0.101", "10.77.0.10-11");
    sweep("10.77.0.102", "10.77.0.10-19");
    let told = guard.wait_for(SOON, |event| event["event"] == "scan" && event["ended"] == true);
    assert_eq!((&told["source"], &told["kinds"]), (&json!("10.77.0.102"), &json!(["icmp-sweep"])));
    assert_eq!((&told["shape"], &told["targets"]), (&json!("horizontal"), &json!(10)), "{told}");
    assert!(guard.told("scan").iter().all(|scan| scan["source"] == "10.77.0.102"));
}

#[test]
fn every_scan_from_afar_is_seen_as_what_it_is() {
    let Some(lab) = Lab::routed() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let ways: Vec<&Way> = COMMON.iter().chain(&FRAGMENTS).collect();
    all_are_seen(&lab, &ways, "10.77.0.2", |number| format!("10.78.0.{}/24", 100 + number), 32);
}

#[test]
fn every_ipv6_scan_of_a_neighbour_is_seen_as_what_it_is() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let ways: Vec<&Way> = COMMON.iter().collect();
    all_are_seen(&lab, &ways, "fd77::2", |number| format!("fd77::1{number:02}/64"), 128);
}

#[test]
fn every_ipv6_scan_from_afar_is_seen_as_what_it_is() {
    let Some(lab) = Lab::routed() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    // A network of its own for each way: members of one far /64 are judged together.
    let router = lab.router.as_ref().unwrap();
    router.ip("route add fd78::/48 dev attacker0\n");
    let ways: Vec<&Way> = COMMON.iter().collect();
    all_are_seen(&lab, &ways, "fd77::2", |number| format!("fd78:0:0:{}::1/64", 100 + number), 64);
}

#[test]
fn decoys_are_told_in_one_incident_with_the_scanner_that_hides_among_them() {
    for (lab, network) in [(Lab::direct(), "10.77.0"), (Lab::routed(), "10.78.0")] {
        let Some(lab) = lab else { return };
        if !testbed::has(&["nmap"]) {
            return;
        }
        let mut guard = Guard::configured(&lab.victim, WINDOW, &["--observe"]);
        let decoys = format!("{network}.71,{network}.72,ME");
        let words = ["nmap", "-n", "-Pn", "-T4", "-sS", "-D", &decoys, "-p", "21-32", "10.77.0.2"];
        lab.attacker.run(&words);
        let ports: Vec<u16> = (21..=32).collect();
        let mut incidents = BTreeSet::new();
        for host in [1, 71, 72] {
            let told = scan_of(&mut guard, &format!("{network}.{host}"), &ports);
            assert_eq!(told["kinds"], json!(["syn"]));
            assert_eq!((&told["shape"], &told["sources"]), (&json!("decoy"), &json!(3)), "{told}");
            assert!(told["why"].as_str().unwrap().ends_with("decoys, origin unknown"), "{told}");
            incidents.insert(told["incident"].as_str().unwrap().to_owned());
        }
        assert_eq!(incidents.len(), 1, "{incidents:?}");
    }
}

#[test]
fn hping3_and_masscan_are_seen() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["hping3", "masscan"]) {
        return;
    }
    let mut guard = Guard::configured(&lab.victim, WINDOW, &["--observe"]);
    for source in ["10.77.0.81", "10.77.0.82", "10.77.0.83"] {
        lab.add_attacker(&format!("{source}/24"));
    }
    let syn = ["hping3", "-q", "-a", "10.77.0.81", "-S", "--scan", "21-40", "10.77.0.2"];
    let xmas = ["hping3", "-q", "-a", "10.77.0.82", "-FPU", "--scan", "21-40", "10.77.0.2"];
    let mut masscan = lab.attacker.command("masscan");
    masscan.args(["10.77.0.2", "-p21-40", "--source-ip", "10.77.0.83", "-e", "eth0", "--wait", "0"]);
    masscan.args(["--router-ip", "10.77.0.2", "--rate", "500"]);
    let mut running = [lab.attacker.start(&syn), lab.attacker.start(&xmas), Running::spawn(&mut masscan)];
    for tool in &mut running {
        tool.wait(NMAP);
    }
    let ports: Vec<u16> = (21..=40).collect();
    for (source, kind) in [("10.77.0.81", "syn"), ("10.77.0.82", "xmas"), ("10.77.0.83", "syn")] {
        assert_eq!(scan_of(&mut guard, source, &ports)["kinds"], json!([kind]));
    }
}

#[test]
fn a_router_sees_scans_of_the_network_that_it_looks_after_and_spares_its_clients() {
    let Some(lab) = Lab::routed() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    lab.victim.sysctl("net.ipv4.icmp_ratelimit", "0");
    lab.add_attacker("10.78.0.101/24");
    lab.add_attacker("10.78.0.102/24");
    lab.add_attacker("10.78.0.103/24");
    let listeners: Vec<_> = (21..=40)
        .map(|port| lab.victim.enter(|| std::net::TcpListener::bind((lab.victim4(), port))).unwrap())
        .collect();
    let configuration = format!("[watch]\nprotect = [\"10.77.0.0/25\"]\n{WINDOW}");
    let mut guard = Guard::configured(lab.router.as_ref().unwrap(), &configuration, &["--observe"]);
    let scan = |source: &str, options: &str| {
        let words = format!("nmap -n -Pn -T4 -e eth0 -S {source} {options} 10.77.0.2");
        assert!(lab.attacker.start(&words.split(' ').collect::<Vec<_>>()).wait(NMAP).success());
    };
    // Whoever is served everywhere is no scanner, and nobody asks the router's own kernel for the ports of others.
    scan("10.78.0.101", "-sT -p 21-40");
    scan("10.78.0.102", "-sS -p 41-60");
    scan("10.78.0.103", "-sU -p 41-60");
    drop(listeners);
    for (source, kind) in [("10.78.0.102", "syn"), ("10.78.0.103", "udp")] {
        let told = scan_of(&mut guard, source, &(41..=60).collect::<Vec<u16>>());
        assert_eq!(told["kinds"], json!([kind]), "{told}");
    }
    let sources: BTreeSet<String> = guard.told("scan").iter().map(source_of).collect();
    assert_eq!(sources, BTreeSet::from(["10.78.0.102".to_owned(), "10.78.0.103".to_owned()]));
}
