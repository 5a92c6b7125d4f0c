//! What blocking does on a real host: who is shut out, who never is, and that it stays so whatever others do to the
//! ruleset.

use std::fs;
use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

use testbed::{Lab, Namespace, wait_until};

use crate::harness::{BANS_EVERYBODY, Guard, Place, SOON};
use crate::kernel::{banned, can_connect, is_banned, listed_by_nft, nmap, wait_for_bans};

/// A service of the victim.
const SERVICE: u16 = 2222;

/// What is promised for a ruleset that somebody flushed.
const REPAIR: Duration = Duration::from_secs(1);

fn serve(namespace: &Namespace) -> TcpListener {
    namespace.enter(|| TcpListener::bind(("::", SERVICE))).unwrap()
}

/// Probes of closed ports, from the attacker's first address.
#[track_caller]
fn scan(lab: &Lab) {
    nmap(&lab.attacker, &["-sS", "-p", "21-40", &lab.victim4().to_string()]);
}

/// Bans many by hand, from 198.18.0.0 on.
#[track_caller]
fn ban_many(lab: &Lab, guard: &Guard, count: u32) {
    let first = u32::from(std::net::Ipv4Addr::new(198, 18, 0, 0));
    let list: String =
        (first..first + count).map(|bits| format!("{}\n", std::net::Ipv4Addr::from(bits))).collect();
    let said = guard.verb_with_input(&["ban", "-", "--for", "1h"], &list);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(banned(&lab.victim).len(), count as usize);
}

#[test]
fn a_scanner_is_shut_out_before_its_scan_has_got_anywhere() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap", "nft"]) {
        return;
    }
    lab.add_attacker("10.77.0.9/24");
    lab.add_attacker("fd77::9/64");
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, BANS_EVERYBODY, &["--enforce"]);
    for (scanner, friend, victim, set, arguments) in [
        ("10.77.0.1", "10.77.0.9", IpAddr::from(lab.victim4()), "banned4", &["-sS"][..]),
        ("fd77::1", "fd77::9", lab.victim6().into(), "banned6", &["-6", "-sS"]),
    ] {
        assert!(can_connect(&lab.attacker, scanner, victim, SERVICE));
        let ports = ["-e", "eth0", "-S", scanner, "-p", "1-300", "--max-rate", "2000"];
        let answers = nmap(&lab.attacker, &[arguments, &ports, &[&victim.to_string()]].concat());
        // How few they are is measured where nothing else runs (`cargo xtask bench`).
        assert!(answers < 150, "{answers} of 300 ports answered {scanner}");

        let ban = guard.wait_for(SOON, |event| event["event"] == "ban" && event["state"] == "in force");
        assert!(ban["cause"].as_str().unwrap().starts_with("s-"), "{ban}");
        let element = listed_by_nft(&lab.victim, set, scanner).unwrap();
        assert_eq!(element["timeout"], 600);
        assert!(element["expires"].as_u64().unwrap() > 500, "{element}");

        assert!(!can_connect(&lab.attacker, scanner, victim, SERVICE));
        assert!(can_connect(&lab.attacker, friend, victim, SERVICE));
    }
    wait_for_bans(&lab.victim, &["10.77.0.1/32", "fd77::1/128"]);
    assert_eq!(guard.stop(), 0);
}

#[test]
fn neighbours_are_still_found_where_one_is_banned() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nft"]) {
        return;
    }
    let guard = Guard::configured(&lab.victim, BANS_EVERYBODY, &["--enforce"]);
    let link_local = lab.attacker.run(&["ip", "-br", "-6", "addr", "show", "dev", "eth0", "scope", "link"]);
    let link_local = String::from_utf8_lossy(&link_local.stdout).into_owned();
    let link_local = link_local.split_whitespace().find_map(|word| word.strip_suffix("/64")).unwrap();
    assert_eq!(guard.verb(&["ban", "fd77::1", link_local]).code, 0);
    lab.attacker.run(&["ip", "neigh", "flush", "all"]);
    assert!(!can_connect(&lab.attacker, "fd77::1", lab.victim6().into(), SERVICE));
    wait_until(SOON, "the victim's link address", || {
        let known = lab.attacker.run(&["ip", "-6", "neigh", "show", "fd77::2"]);
        String::from_utf8_lossy(&known.stdout).contains("lladdr").then_some(())
    });
}

#[test]
fn a_published_container_port_is_no_probe_and_is_shut_too() {
    let Some(lab) = Lab::direct() else { return };
    let Some(container) = Namespace::new() else { return };
    if !testbed::has(&["nft", "nmap"]) {
        return;
    }
    lab.add_attacker("10.77.0.9/24");
    lab.victim.join("bridge0", &container, "eth0");
    lab.victim.add_address("bridge0", "172.30.0.1/24");
    container.add_address("eth0", "172.30.0.2/24");
    container.ip("route add default via 172.30.0.1\n");
    lab.victim.sysctl("net.ipv4.ip_forward", "1");
    lab.victim.run_with_input(
        &["nft", "-f", "-"],
        "table ip nat {
            chain prerouting {
                type nat hook prerouting priority dstnat
                fib daddr type local tcp dport 8000-8009 dnat to 172.30.0.2:2222
            }
        }\n",
    );
    let _service = serve(&container);
    let mut guard = Guard::configured(&lab.victim, BANS_EVERYBODY, &["--enforce"]);
    let victim = IpAddr::from(lab.victim4());
    for port in 8000..8010 {
        assert!(can_connect(&lab.attacker, "10.77.0.1", victim, port));
    }
    scan(&lab);
    let scan = guard.wait_for(SOON, |event| event["event"] == "scan");
    let ports = scan["ports"].as_array().unwrap();
    assert!(ports.iter().all(|port| port.as_u64().unwrap() < 41), "{scan}");
    wait_for_bans(&lab.victim, &["10.77.0.1/32"]);
    assert!(!can_connect(&lab.attacker, "10.77.0.1", victim, 8000));
    assert!(can_connect(&lab.attacker, "10.77.0.9", victim, 8000));
}

#[test]
fn bans_end_by_the_kernel_and_grow_for_who_returns() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let _service = serve(&lab.victim);
    let place = Place::new(
        "[respond]\nmode = \"enforce\"\nunproved = \"ban\"\nban = \"2s\"\ngrowth = 3\nban_max = \"4s\"\n",
    );
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    let victim = IpAddr::from(lab.victim4());
    for (seconds, times) in [(2, 1), (4, 2)] {
        let before = guard.running.count();
        scan(&lab);
        let told =
            guard.wait_for_after(before, SOON, |event| event["event"] == "scan" && event["ended"].is_null());
        assert_eq!(told["ban_seconds"], seconds);
        let ban = guard.wait_for_after(before, SOON, |event| event["event"] == "ban");
        assert_eq!(ban["times"], times);
        assert!(!can_connect(&lab.attacker, "10.77.0.1", victim, SERVICE));
        guard.wait_for_after(before, SOON, |event| event["event"] == "unban" && event["why"] == "expired");
        wait_until(SOON, "the way to be open again", || {
            can_connect(&lab.attacker, "10.77.0.1", victim, SERVICE).then_some(())
        });
    }
    // Nobody is there to end this one but the kernel.
    let before = guard.running.count();
    scan(&lab);
    guard.wait_for_after(before, SOON, |event| event["event"] == "ban");
    guard.kill();
    assert!(is_banned(&lab.victim, "10.77.0.1"));
    wait_until(SOON, "the kernel to forgive", || banned(&lab.victim).is_empty().then_some(()));
    assert!(can_connect(&lab.attacker, "10.77.0.1", victim, SERVICE));
}

#[test]
fn nobody_protected_is_banned_in_a_forgers_name() {
    let Some(victim) = Namespace::with_mounts() else { return };
    let Some(attacker) = Namespace::new() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let lab = Lab::direct_of(attacker, victim);
    lab.victim.ip("route add default via 10.77.0.3\nroute add ::/0 via fd77::3\n");
    lab.victim.enter(|| fs::write("/etc/resolv.conf", "nameserver 10.77.0.53\n")).unwrap();
    let place = Place::new(
        "[respond]\nunproved = \"ban\"\n[protect]\nallow = [\"10.77.0.64/28\", \"fd77:0:0:0:aaaa::/80\"]\n",
    );
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    let forged = [
        ("10.77.0.2", "an address of this host"),
        ("10.77.0.3", "a default gateway"),
        ("10.77.0.53", "a configured resolver"),
        ("10.77.0.70", "on the configured allow list"),
        ("fd77::2", "an address of this host"),
        ("fd77::3", "a default gateway"),
        ("fd77::aaaa:0:0:1", "on the configured allow list"),
    ];
    for (source, _) in forged {
        let victim = if source.contains(':') { lab.victim6().to_string() } else { lab.victim4().to_string() };
        let family = if source.contains(':') { &["-6"][..] } else { &[] };
        let words = ["-sS", "-e", "eth0", "-S", source, "-p", "21-40", "--max-rate", "2000", &victim];
        nmap(&lab.attacker, &[family, &words].concat());
    }
    // As decoys of a scan that is real: one of the crowd is banned, and nobody else.
    let decoys = "10.77.0.3,10.77.0.53,10.77.0.70,ME,10.77.0.2";
    nmap(&lab.attacker, &["-sS", "-D", decoys, "-p", "21-40", &lab.victim4().to_string()]);
    wait_for_bans(&lab.victim, &["10.77.0.1/32"]);
    for (source, why) in forged {
        let told = guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == source);
        assert_eq!(told["decision"], "protected", "{told}");
        assert_eq!(told["protection"], why);
    }
    assert_eq!(guard.told("ban").len(), 1);
}

#[test]
fn what_comes_by_a_trusted_interface_is_not_judged() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    lab.attacker.join("wg0", &lab.victim, "wg0");
    lab.attacker.add_address("wg0", "10.99.0.1/24");
    lab.victim.add_address("wg0", "10.99.0.2/24");
    let place = Place::new("[respond]\nunproved = \"ban\"\n[protect]\ninterfaces = [\"wg0\"]\n");
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    nmap(&lab.attacker, &["-sS", "-p", "21-60", "10.99.0.2"]);
    scan(&lab);
    guard.wait_for(SOON, |event| event["event"] == "ban");
    wait_for_bans(&lab.victim, &["10.77.0.1/32"]);
    assert_eq!(guard.told("scan").len(), 1);
}

#[test]
fn a_flushed_ruleset_is_back_within_a_second_with_the_time_that_was_left() {
    const BANS: u32 = 10_000;
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nft"]) {
        return;
    }
    let mut guard = Guard::configured(&lab.victim, BANS_EVERYBODY, &["--enforce"]);
    assert_eq!(guard.verb(&["allow", "192.0.2.0/24"]).code, 0);
    ban_many(&lab, &guard, BANS);
    let before = banned(&lab.victim);
    let since = Instant::now();
    let mut repairs = Vec::new();
    let destructions: [&[&str]; 3] = [
        &["nft", "flush", "ruleset"],
        &["nft", "delete", "table", "inet", "portcullis"],
        &["nft", "flush", "ruleset"],
    ];
    for destruction in destructions {
        let told = guard.running.count();
        lab.victim.run(destruction);
        let destroyed = Instant::now();
        guard.wait_for_after(told, SOON, |event| event["event"] == "repair" && event["bans"] == BANS);
        let after = wait_until(SOON, "all bans to be back", || {
            let after = banned(&lab.victim);
            (after.len() == BANS as usize).then_some(after)
        });
        repairs.push(destroyed.elapsed());
        for (prefix, remaining) in &after {
            let (was, is) = (before[prefix].unwrap(), remaining.unwrap());
            let expected = was - since.elapsed();
            assert!(
                is.abs_diff(expected) < Duration::from_secs(2),
                "{prefix}: {is:?} instead of {expected:?}"
            );
        }
        let held =
            lab.victim.enter(|| portcullis_sys::nftables::Nftables::open("portcullis").unwrap().list());
        let held = held.unwrap();
        assert!(held.is_intact);
        assert_eq!(held.allowed.len(), 1);
    }
    // Other tests share the processor; what is promised is shown where it is least in their way.
    let best = repairs.iter().min().unwrap();
    assert!(*best < REPAIR, "put back after {repairs:?}");
}

#[test]
fn single_elements_are_put_back_adopted_or_taken_out() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nft"]) {
        return;
    }
    let mut guard = Guard::configured(&lab.victim, BANS_EVERYBODY, &["--enforce"]);
    assert_eq!(guard.verb(&["ban", "198.18.0.1", "198.18.0.2", "2001:db8:1::/64", "--for", "1h"]).code, 0);
    let element = |verb: &str, set: &str, element: &str| {
        lab.victim.run(&["nft", verb, "element", "inet", "portcullis", set, &format!("{{ {element} }}")]);
    };
    element("delete", "banned4", "198.18.0.1");
    guard.wait_for(SOON, |event| event["event"] == "repair" && event["bans"] == 1);
    wait_for_bans(&lab.victim, &["198.18.0.1/32", "198.18.0.2/32", "2001:db8:1::/64"]);

    element("add", "banned4", "198.18.0.3 timeout 30m");
    let adopted = guard.wait_for(SOON, |event| event["event"] == "ban" && event["prefix"] == "198.18.0.3/32");
    assert_eq!((&adopted["cause"], &adopted["state"]), (&"found in force".into(), &"in force".into()));
    assert_eq!(guard.verb(&["unban", "198.18.0.3"]).code, 0);

    // Our own address and a neighbour: only the second may stay.
    element("add", "banned4", "10.77.0.2 timeout 30m, 10.77.0.7 timeout 30m");
    let expected = ["198.18.0.1/32", "198.18.0.2/32", "2001:db8:1::/64", "10.77.0.7/32"];
    wait_for_bans(&lab.victim, &expected);

    lab.victim.run(&["nft", "flush", "chain", "inet", "portcullis", "prerouting"]);
    wait_until(SOON, "the rules to be back", || {
        let listed = lab.victim.run(&["nft", "list", "chain", "inet", "portcullis", "prerouting"]);
        String::from_utf8_lossy(&listed.stdout).contains("@banned4").then_some(())
    });
    wait_for_bans(&lab.victim, &expected);
}

#[test]
fn tables_of_others_that_drop_or_accept_first_change_nothing() {
    let others = [
        "table inet filter {
            chain input {
                type filter hook input priority filter; policy drop
                ct state established,related accept
                tcp dport 2222 accept
            }
        }\n",
        "table inet early {
            chain prerouting {
                type filter hook prerouting priority -400; policy accept
                tcp dport 2222 accept
                accept
            }
        }\n",
        "table inet strict {
            chain prerouting {
                type filter hook prerouting priority -500; policy accept
                tcp dport 1-100 drop
            }
        }\n",
    ];
    for other in others {
        let Some(lab) = Lab::direct() else { return };
        if !testbed::has(&["nmap", "nft"]) {
            return;
        }
        lab.add_attacker("10.77.0.9/24");
        lab.victim.run_with_input(&["nft", "-f", "-"], other);
        let _service = serve(&lab.victim);
        let mut guard = Guard::configured(&lab.victim, BANS_EVERYBODY, &["--enforce"]);
        let victim = IpAddr::from(lab.victim4());
        assert!(can_connect(&lab.attacker, "10.77.0.1", victim, SERVICE));
        scan(&lab);
        guard.wait_for(SOON, |event| event["event"] == "ban" && event["state"] == "in force");
        assert!(!can_connect(&lab.attacker, "10.77.0.1", victim, SERVICE), "with {other}");
        assert!(can_connect(&lab.attacker, "10.77.0.9", victim, SERVICE), "with {other}");
    }
}

#[test]
fn a_bridge_does_not_show_a_probe_twice() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    lab.victim
        .ip("addr flush dev eth0\nlink add br0 type bridge\nlink set eth0 master br0\nlink set br0 up\n");
    lab.victim.ip("addr add 10.77.0.2/24 dev br0\naddr add fd77::2/64 dev br0 nodad\n");
    let _service = serve(&lab.victim);
    wait_until(SOON, "the bridge to carry packets", || {
        can_connect(&lab.attacker, "10.77.0.1", lab.victim4().into(), SERVICE).then_some(())
    });
    // Every card of this lab is a virtual one, and a bridge of nothing else would be taken for one of containers.
    let configuration = format!("{BANS_EVERYBODY}containers = false\n[judge]\nby = \"trigger\"\n");
    let mut guard = Guard::configured(&lab.victim, &configuration, &["--enforce"]);
    nmap(&lab.attacker, &["-sS", "-p", "21-23", &lab.victim4().to_string()]);
    wait_until(SOON, "three probes", || (guard.status()["probes"].as_u64() >= Some(3)).then_some(()));
    nmap(&lab.attacker, &["-sS", "-p", "24", &lab.victim4().to_string()]);
    let status = wait_until(SOON, "the fourth", || {
        let status = guard.status();
        (status["probes"].as_u64() >= Some(4)).then_some(status)
    });
    assert_eq!((&status["probes"], &status["bans"]), (&4.into(), &0.into()));
    nmap(&lab.attacker, &["-sS", "-p", "25", &lab.victim4().to_string()]);
    let told = guard.wait_for(SOON, |event| event["event"] == "scan");
    assert_eq!((&told["probes"], &told["decision"]), (&5.into(), &"block".into()));
    wait_for_bans(&lab.victim, &["10.77.0.1/32"]);
}

#[test]
fn hosts_of_one_family_are_guarded() {
    for is_ipv6 in [false, true] {
        let Some(lab) = Lab::direct() else { return };
        if !testbed::has(&["nmap", "nft"]) {
            return;
        }
        let (scanner, victim) = if is_ipv6 {
            lab.victim.ip("addr del 10.77.0.2/24 dev eth0\naddr del 127.0.0.1/8 dev lo\n");
            ("fd77::1", IpAddr::from(lab.victim6()))
        } else {
            lab.victim.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
            ("10.77.0.1", lab.victim4().into())
        };
        let _service = lab.victim.enter(|| TcpListener::bind((victim, SERVICE))).unwrap();
        let mut guard = Guard::configured(&lab.victim, BANS_EVERYBODY, &["--enforce"]);
        let family = if is_ipv6 { &["-6"][..] } else { &[] };
        nmap(&lab.attacker, &[family, &["-sS", "-p", "21-40", &victim.to_string()]].concat());
        guard.wait_for(SOON, |event| event["event"] == "ban" && event["state"] == "in force");
        assert!(is_banned(&lab.victim, scanner));
        assert!(!can_connect(&lab.attacker, scanner, victim, SERVICE));
        assert!(guard.told("fault").is_empty());
        assert_eq!(guard.stop(), 0);
    }
}
