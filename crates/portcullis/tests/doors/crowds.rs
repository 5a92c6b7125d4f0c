//! Others on the wire at the same time: crowds that knock too, and packets with a guest's address that he never sent.

use std::fs;

use testbed::Lab;

use crate::harness::{Guard, PROGRAM, Place, SOON, portcullis};
use crate::knocks::{RIGHT, SERVICE, door, enter, guests, knock, serve};
use crate::shutting::{gets_in, lab};

const GUEST: &str = "10.77.0.1";

/// What the guard has in memory, in KiB, besides the ring that it shares with the kernel.
fn memory(guard: &Guard) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", guard.running.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_guest_gets_in_while_a_hundred_thousand_knock_the_first_step() {
    let Some(lab) = lab() else { return };
    if !testbed::has(&["hping3"]) {
        return;
    }
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, &door("open_for = \"1h\"\nwindow = \"10m\""), &[]);
    let victim = lab.victim4().to_string();
    let flood = ["hping3", "-q", "-S", "--rand-source", "-p", "47113", "-i", "u20", "-c", "100000", &victim];
    let mut flood = lab.attacker.start(&flood);
    enter(&lab, &mut guard, GUEST);
    assert!(gets_in(&lab, GUEST), "not let in during the flood");
    flood.wait(6 * SOON);
    enter(&lab, &mut guard, "10.77.0.9");
    assert!(gets_in(&lab, "10.77.0.9"), "not let in after the flood");
    let memory = memory(&guard);
    // Each of them is remembered, up to 131,072: else the crowd could push out a guest between two steps.
    assert!(memory < 96 * 1024, "{memory} KiB");
    assert_eq!(guests(&guard, "ssh"), [GUEST, "10.77.0.9"]);
}

/// A packet with the guest's address to a port that no knock of his goes to.
fn forge(lab: &Lab, step: &str) {
    knock(&lab.attacker, GUEST, lab.victim4(), step);
}

#[test]
fn a_forged_packet_spoils_a_sequence_only_where_it_is_a_step_out_of_order() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, &door("open_for = \"1h\""), &[]);
    knock(&lab.attacker, GUEST, lab.victim4(), "47113 48117:udp");
    forge(&lab, "46118");
    knock(&lab.attacker, GUEST, lab.victim4(), "46119");
    guard.wait_for(SOON, |event| event["event"] == "open");
    assert!(gets_in(&lab, GUEST));
    assert_eq!(guard.verb(&["close", "ssh"]).code, 0);
    // Whoever knows the sequence can spoil it, and could as well knock it.
    let told = guard.running.count();
    knock(&lab.attacker, GUEST, lab.victim4(), "47113");
    forge(&lab, "46119");
    knock(&lab.attacker, GUEST, lab.victim4(), "48117:udp 46119");
    guard.wait_for_after(told, SOON, |event| event["why"].to_string().contains("out of order"));
    assert!(!gets_in(&lab, GUEST));
    enter(&lab, &mut guard, GUEST);
}

#[test]
fn forged_packets_do_not_disturb_a_rotating_knock() {
    let Some(lab) = lab() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new("");
    let key = place.file("anna.key");
    let key = key.to_str().unwrap();
    let said =
        portcullis(&["key", "rotating", "--door", "ssh", "--user", "anna", "--time-step", "10s", "-o", key]);
    assert_eq!(said.code, 0, "{said:?}");
    place.configure(&format!(
        "[door.ssh]\nkind = \"rotating\"\nkeys = [\"{key}\"]\ntime_step = \"10s\"\nopens = \"tcp/{SERVICE}\"\n"
    ));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    let victim = lab.victim4().to_string();
    // What began before the start is refused, so that the first may be in vain.
    for _ in 0..4 {
        let mut knocking = lab.attacker.start(&[PROGRAM, "knock", "--key", key, "--delay", "100", &victim]);
        while knocking.has_ended().is_none() {
            forge(&lab, "9999 9999:udp 61000");
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
        let told = guard.wait_for(SOON, |event| event["event"] == "knock" || event["event"] == "open");
        assert!(!told["why"].to_string().contains("looked like a scan"), "{told}");
        if gets_in(&lab, GUEST) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_secs(4));
    }
    assert_eq!(guests(&guard, "ssh"), [GUEST], "{:?}", guard.events());
}

/// Sends SYNs with the guest's address to one closed port after the other, 300 in a second, as long as it is kept.
fn forge_for_ever(lab: &Lab) -> testbed::Running {
    let victim = lab.victim4().to_string();
    lab.attacker.start(&["hping3", "-q", "-S", "-a", GUEST, "-p", "++20000", "-i", "u3300", &victim])
}

#[test]
fn who_forges_syns_to_closed_ports_all_the_time_keeps_out_no_rotating_guest_and_no_single_packet() {
    let Some(lab) = lab() else { return };
    if !testbed::has(&["hping3"]) {
        return;
    }
    let _service = serve(&lab.victim);
    let place = Place::new("");
    let (key, host, client) =
        (place.file("anna.key"), place.file("host.access"), place.file("guest.fwknoprc"));
    let [key, host, client] = [&key, &host, &client].map(|path| path.to_str().unwrap());
    let opens = format!("tcp/{SERVICE}");
    let rotating = ["rotating", "--door", "ssh", "--user", "anna", "--time-step", "10s", "-o", key];
    let spa = ["spa", "--user", "anna", "--opens", &opens, "-o", host, "--client", client];
    for words in [&rotating[..], &spa] {
        let said = portcullis(&[&["key"], words].concat());
        assert_eq!(said.code, 0, "{said:?}");
    }
    place.configure(&format!(
        "[door.ssh]\nkind = \"rotating\"\nkeys = [\"{key}\"]\ntime_step = \"10s\"\nopens = \"{opens}\"\n\
         open_for = \"1h\"\n[door.web]\nkind = \"spa\"\nusers = \"{host}\"\nopens = \"{opens}\"\nopen_for = \"1h\"\n"
    ));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    let victim = lab.victim4().to_string();
    let _forger = forge_for_ever(&lab);
    // The forger is there long before the guest, and is heard.
    guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == GUEST);
    for (door, words) in [("ssh", ["knock", "--key", key]), ("web", ["spa", "--key", client])] {
        // What was made before the start, or shortly after, is refused.
        testbed::wait_until(4 * SOON, "a knock that opens amid forged packets", || {
            let mut command = lab.attacker.command(PROGRAM);
            let output = command.args(words).arg(&victim).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let since = std::time::Instant::now();
            while since.elapsed() < std::time::Duration::from_secs(2) {
                if guests(&guard, door) == [GUEST] {
                    return Some(());
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            None
        });
    }
    let spoiled = |event: &serde_json::Value| event["why"].to_string().contains("looked like a scan");
    assert!(!guard.told("knock").iter().any(spoiled), "{:?}", guard.told("knock"));
}

#[test]
fn the_distributions_knock_opens_our_doors() {
    let Some(lab) = lab() else { return };
    if !testbed::is_installed("apt-get") {
        return;
    }
    let client = testbed::unpack("knockd").unwrap().join("usr/bin/knock");
    let client = client.to_str().unwrap();
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(&lab.victim, &door("open_for = \"1h\""), &[]);
    let victim = lab.victim4().to_string();
    let steps: Vec<&str> = RIGHT.split(' ').collect();
    // It leaves no gap by itself, and networks may reorder what leaves together.
    lab.attacker.run(&[&[client, "-d", "10", &victim], &steps[..]].concat());
    guard.wait_for(SOON, |event| event["event"] == "open" && event["source"] == GUEST);
    assert!(gets_in(&lab, GUEST) && !gets_in(&lab, "10.77.0.9"));
}
