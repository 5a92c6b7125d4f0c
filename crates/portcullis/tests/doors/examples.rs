//! The worked examples of the guide.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use testbed::{Lab, wait_until};

use crate::harness::{Guard, Place, SOON};
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

#[test]
fn ssh_is_started_for_everyone_by_three_syns_and_stopped_by_three_fins() {
    let Some(lab) = lab() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let place = Place::new("");
    let ran = place.file("ran");
    let run = |word| format!("[\"/bin/sh\", \"-c\", \"echo {word} >>{}\"]", ran.display());
    place.configure(&format!(
        "[door.sshd]\nkind = \"sequence\"\nsequence = \"7000, 9000, 8000\"\n\
         close_sequence = \"7000:tcp:fin, 9000:tcp:fin, 8000:tcp:fin\"\nwindow = \"30s\"\nopen_for = \"24h\"\n\
         for_everyone = true\ncommand_open = {}\ncommand_close = {}\n",
        run("start"),
        run("stop")
    ));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    let said = || fs::read_to_string(&ran).unwrap_or_default();
    nmap_each(&lab, "-sS", &["7000", "9000", "8000"]);
    wait_until(SOON, "the start", || (said() == "start\n").then_some(()));
    assert_eq!(guests(&guard, "sshd"), [GUEST]);
    // FINs in another order, and SYNs again, stop nothing.
    nmap_each(&lab, "-sF", &["9000", "7000", "8000"]);
    nmap_each(&lab, "-sS", &["7000", "9000", "8000"]);
    assert_eq!(said(), "start\n");
    nmap_each(&lab, "-sF", &["7000", "9000", "8000"]);
    wait_until(SOON, "the stop", || (said() == "start\nstop\n").then_some(()));
    assert!(guests(&guard, "sshd").is_empty());
    assert_eq!(guard.told("close")[0]["why"], "by knock");
    assert_eq!(guard.stop(), 0);
    assert_eq!(said(), "start\nstop\n");
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
    let web = lab.victim.enter(|| TcpListener::bind(("::", 80))).unwrap();
    let server = std::thread::spawn(move || {
        let (mut guest, _) = web.accept().unwrap();
        let mut asked = [0; 64];
        let length = guest.read(&mut asked).unwrap();
        assert!(asked[..length].starts_with(b"GET / "));
        guest.write_all(b"HTTP/1.0 200 OK\r\n\r\nwelcome").unwrap();
    });
    let mut guard = Guard::configured(
        &lab.victim,
        "[door.web]\nkind = \"sequence\"\nsequence = \"3821, 12345:udp, 30123\"\nopens = \"tcp/80, tcp/443\"\n\
         open_for = \"10m\"\n",
        &[],
    );
    let victim = lab.victim4();
    assert!(!can_connect(&lab.attacker, GUEST, victim.into(), 80));
    knock(&lab.attacker, GUEST, victim, "3821 12345:udp 30123");
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
    let _service = serve(&lab.victim);
    let mut guard = Guard::configured(
        &lab.victim,
        "[door.ssh]\nkind = \"sequence\"\nsequence = \"7000, 9000, 8000\"\nwindow = \"3s\"\nopens = \"tcp/2222\"\n",
        &[],
    );
    knock(&lab.attacker, GUEST, lab.victim4(), "7000 9000");
    let since = Instant::now();
    let told = guard.wait_for(SOON, |event| event["why"].is_string());
    assert_eq!((&told["step"], &told["why"]), (&2.into(), &"took too long".into()));
    assert!(since.elapsed() > Duration::from_millis(2900), "too long after {:?}", since.elapsed());
    knock(&lab.attacker, GUEST, lab.victim4(), "8000");
    assert!(!gets_in(&lab, GUEST));
    knock(&lab.attacker, GUEST, lab.victim4(), "7000 9000 8000");
    guard.wait_for(SOON, |event| event["event"] == "open");
    assert!(gets_in(&lab, GUEST));
}
