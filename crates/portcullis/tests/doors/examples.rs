//! The worked examples of the guide: its own text is what runs here.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use testbed::{Lab, Namespace, wait_until};

use crate::harness::{Guard, PROGRAM, SOON};
use crate::kernel::{can_connect, nmap};
use crate::knocks::{guests, knock, serve};
use crate::shutting::{gets_in, lab};

const GUEST: &str = "10.77.0.1";

/// One call of nmap for each packet, as people do it at home.
fn nmap_each(lab: &Lab, scan: &str, ports: &[&str]) {
    for port in ports {
        nmap(&lab.attacker, &[scan, "-p", port, &lab.victim4().to_string()]);
    }
}

const GUIDE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/doors.md"));

/// The configuration of a door as the guide has it, and the commands below it, at a host of ours.
fn example(door: &str, host: &Lab) -> (String, Vec<String>) {
    let (_, behind) =
        GUIDE.split_once(&format!("```toml\n[door.{door}]\n")).expect("the guide has this door");
    let (table, behind) = behind.split_once("```").unwrap();
    let commands = behind.split("```").nth(1).unwrap().trim().lines();
    let here = |line: &str| line.replace("host.example", &host.victim4().to_string());
    (format!("[door.{door}]\n{table}"), commands.map(here).collect())
}

/// Runs a line of the guide as a guest types it.
#[track_caller]
fn type_in(lab: &Lab, line: &str) -> String {
    let line = line.replace("portcullis ", &format!("{PROGRAM} "));
    String::from_utf8_lossy(&lab.attacker.run(&["sh", "-c", &line]).stdout).into_owned()
}

#[test]
fn ssh_is_started_for_everyone_by_three_syns_and_stopped_by_three_fins() {
    if !testbed::has(&["nmap"]) {
        return;
    }
    let (Some(attacker), Some(victim)) = (Namespace::new(), Namespace::with_mounts()) else { return };
    let lab = Lab::direct_of(attacker, victim);
    // No systemd runs here; what it would have been told is written down.
    lab.victim.run(&["mount", "-t", "tmpfs", "tmpfs", "/usr/local/sbin"]);
    lab.victim.enter(|| {
        let program = "/usr/local/sbin/systemctl";
        fs::write(program, "#!/bin/sh\necho \"$*\" >>/run/told\n").unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    });
    let told = || lab.victim.enter(|| fs::read_to_string("/run/told").unwrap_or_default());
    let (configuration, commands) = example("sshd", &lab);
    let [starts, stops] = &commands[..] else { panic!("{commands:?}") };
    let mut guard = Guard::configured(&lab.victim, &configuration, &[]);
    let start = "--no-ask-password start -- ssh.service\n";
    type_in(&lab, starts);
    wait_until(SOON, "the start", || (told() == start).then_some(()));
    assert_eq!(guests(&guard, "sshd"), [GUEST]);
    // FINs in another order, and SYNs again, stop nothing.
    nmap_each(&lab, "-sF", &["9000", "7000", "8000"]);
    type_in(&lab, starts);
    assert_eq!(told(), start);
    type_in(&lab, stops);
    let both = format!("{start}--no-ask-password stop -- ssh.service\n");
    wait_until(SOON, "the stop", || (told() == both).then_some(()));
    assert!(guests(&guard, "sshd").is_empty());
    assert_eq!(guard.told("close")[0]["why"], "by knock");
    assert_eq!(guard.stop(), 0);
    assert_eq!(told(), both);
}

#[test]
fn every_way_of_nmap_to_send_a_packet_knocks() {
    let Some(lab) = lab() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let _service = serve(&lab.victim);
    let victim = lab.victim4().to_string();
    for (scan, steps) in [
        ("-sS", "7000, 7010, 7020"),
        ("-sT", "7000, 7010, 7020"),
        ("-sF", "7000:tcp:fin, 7010:tcp:fin, 7020:tcp:fin"),
        ("-sU", "7000:udp, 7010:udp, 7020:udp"),
    ] {
        let configuration = format!(
            "[door.ssh]\nkind = \"sequence\"\nsequence = \"{steps}\"\nopens = \"tcp/2222\"\nopen_for = \"1h\"\n"
        );
        let mut guard = Guard::configured(&lab.victim, &configuration, &[]);
        nmap_each(&lab, scan, &["7000", "7010", "7020"]);
        guard.wait_for(SOON, |event| event["event"] == "open");
        assert!(gets_in(&lab, GUEST) && !gets_in(&lab, "10.77.0.9"), "{scan}");
        assert_eq!(guard.verb(&["close", "ssh"]).code, 0);
        let told = guard.running.count();
        nmap(&lab.attacker, &[scan, "-r", "-p", "7000,7010,7020", &victim]);
        guard.wait_for_after(told, SOON, |event| event["event"] == "open");
        assert!(gets_in(&lab, GUEST), "{scan} in one call");
        assert_eq!(guard.verb(&["close", "ssh"]).code, 0);
        assert_eq!(guard.stop(), 0);
    }
}

#[test]
fn a_web_page_is_there_for_whoever_has_knocked() {
    let Some(lab) = lab() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let web = lab.victim.enter(|| TcpListener::bind(("::", 80))).unwrap();
    let server = std::thread::spawn(move || {
        let (mut guest, _) = web.accept().unwrap();
        let mut asked = [0; 64];
        let length = guest.read(&mut asked).unwrap();
        assert!(asked[..length].starts_with(b"GET / "));
        guest.write_all(b"HTTP/1.0 200 OK\r\n\r\nwelcome").unwrap();
    });
    let (configuration, commands) = example("web", &lab);
    let mut guard = Guard::configured(&lab.victim, &configuration, &[]);
    let victim = lab.victim4();
    assert!(!can_connect(&lab.attacker, GUEST, victim.into(), 80));
    assert_eq!(commands.len(), 3);
    commands.iter().for_each(|line| drop(type_in(&lab, line)));
    guard.wait_for(SOON, |event| event["event"] == "open");
    assert!(!can_connect(&lab.attacker, "10.77.0.9", victim.into(), 80));
    let page = lab.attacker.enter(|| {
        let mut guest = std::net::TcpStream::connect((victim, 80)).unwrap();
        guest.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        guest.read_to_string(&mut page).map(|_| page)
    });
    assert!(page.unwrap().ends_with("welcome"));
    server.join().unwrap();
}

#[test]
fn within_three_seconds_means_three_seconds() {
    let Some(lab) = lab() else { return };
    let _service = lab.victim.enter(|| TcpListener::bind(("::", 22))).unwrap();
    let gets_in = || can_connect(&lab.attacker, GUEST, lab.victim4().into(), 22);
    let (configuration, commands) = example("quick", &lab);
    let mut guard = Guard::configured(&lab.victim, &configuration, &[]);
    knock(&lab.attacker, GUEST, lab.victim4(), "7000 9000");
    let since = Instant::now();
    let told = guard.wait_for(SOON, |event| event["why"].is_string());
    assert_eq!((&told["step"], &told["why"]), (&2.into(), &"took too long".into()));
    assert!(since.elapsed() > Duration::from_millis(2900), "too long after {:?}", since.elapsed());
    knock(&lab.attacker, GUEST, lab.victim4(), "8000");
    assert!(!gets_in());
    let said = type_in(&lab, &commands[0]);
    assert!(said.contains("10.77.0.2:22 is open"), "{said}");
    assert!(gets_in());
}
