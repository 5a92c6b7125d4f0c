//! The guest's side on the wire: what a knock sends, beside the distribution's `knock`.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use portcullis::keys::Place;
use portcullis::keys::rotating::KeyFile;
use portcullis_core::door::rotating::derive;
use portcullis_core::net::Protocol;

use testbed::{Lab, Running, Signal, Stream, has, unpack};

const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");
const SOON: Duration = Duration::from_secs(20);

/// Everything that arrives at the victim's knock ports, until [`Wire::seen`] is asked.
struct Wire {
    tcpdump: Running,
}

impl Wire {
    fn tap(lab: &Lab) -> Wire {
        let filter = "dst portrange 7000-9999 and (tcp or udp)";
        let mut command = lab.victim.command("tcpdump");
        // In numbers too: what it says in words of a datagram hangs on the protocol that it knows the port by.
        command.args(["-n", "-l", "-t", "-x", "-i", "any", "--immediate-mode", "-Q", "in", filter]);
        let mut tcpdump = Running::spawn(&mut command);
        tcpdump.wait_for_line(SOON, |line| line.contains("listening on"));
        Wire { tcpdump }
    }

    /// The transport, the port and the flags of each packet, in order, up to the last one that is waited for.
    fn seen(self, last: &str) -> Vec<String> {
        self.until(|packets| packets.last().is_some_and(|packet| packet == last))
    }

    /// The first so many packets.
    fn count(self, packets: usize) -> Vec<String> {
        self.until(|seen| seen.len() == packets)
    }

    fn until(mut self, is_enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut text = String::new();
        self.tcpdump.wait_for_line(SOON, |line| {
            text += &format!("{line}\n");
            is_enough(&packets(&text))
        });
        self.tcpdump.signal(Signal::SIGINT);
        self.tcpdump.wait(SOON);
        packets(&self.tcpdump.text(Stream::Out))
    }
}

/// The packets of `tcpdump -x` that are there as a whole, in their own words.
fn packets(text: &str) -> Vec<String> {
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for line in text.lines() {
        // "\t0x0010:  0a4d 0001 …" goes on with what a line without an indent has begun.
        match (line.strip_prefix("\t0x").and_then(|line| line.split_once(':')), packets.last_mut()) {
            (Some((_, digits)), Some(packet)) => {
                let digits: String = digits.split_whitespace().collect();
                let bytes = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
                packet.extend(bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
            }
            _ if line.contains(" > ") => packets.push(Vec::new()),
            _ => {}
        }
    }
    packets.iter().filter_map(|packet| words(packet)).collect()
}

/// `7000 [S]`, `8000 UDP length 1`; nothing of a packet that is not there as a whole.
fn words(packet: &[u8]) -> Option<String> {
    let number = |at: usize| Some(usize::from(*packet.get(at)?) << 8 | usize::from(*packet.get(at + 1)?));
    // RFC 791 §3.1 and RFC 8200 §3; a knock has no extension headers.
    let (head, protocol, length) = match packet.first()? >> 4 {
        4 => (usize::from(packet[0] & 15) * 4, *packet.get(9)?, number(2)?),
        _ => (40, *packet.get(6)?, 40 + number(4)?),
    };
    if packet.len() < length {
        return None;
    }
    let port = number(head + 2)?;
    Some(match protocol {
        17 => format!("{port} UDP length {}", number(head + 4)? - 8),
        _ => {
            // RFC 9293 §3.1, from the lowest bit; ECN's two are not of interest.
            let flags = packet.get(head + 13)?;
            let set = "FSRP.U".chars().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1);
            format!("{port} [{}]", set.map(|(_, letter)| letter).collect::<String>())
        }
    })
}

fn ours(lab: &Lab, words: &[&str]) -> Output {
    lab.attacker.command(PROGRAM).arg("knock").args(words).output().unwrap()
}

fn theirs(lab: &Lab, words: &[&str]) -> Output {
    let place: PathBuf = unpack("knockd").unwrap();
    lab.attacker.command(place.join("usr/bin/knock").to_str().unwrap()).args(words).output().unwrap()
}

#[test]
fn a_knock_is_one_packet_a_port_in_order_as_with_the_distributions_knock() {
    if !has(&["tcpdump", "iptables"]) {
        return;
    }
    let Some(lab) = Lab::direct() else { return };
    // A host that drops them would get a SYN again and again from a client that waits.
    assert!(lab.victim.run(&["iptables", "-A", "INPUT", "-p", "tcp", "-j", "DROP"]).status.success());
    let host = lab.victim4().to_string();
    let items = ["-d", "1300", &host, "7000", "8000:udp", "9000"];
    let expected = ["7000 [S]", "8000 UDP length 1", "9000 [S]"];
    for knock in [ours, theirs] {
        let wire = Wire::tap(&lab);
        assert!(knock(&lab, &items).status.success());
        assert_eq!(wire.seen("9000 [S]"), expected);
    }
}

#[test]
fn knocks_leave_in_order_with_a_gap_also_over_ipv6() {
    if !has(&["tcpdump"]) {
        return;
    }
    let Some(lab) = Lab::direct() else { return };
    let host = lab.victim6().to_string();
    let wire = Wire::tap(&lab);
    let begun = std::time::Instant::now();
    let told = ours(&lab, &["-v", "-6", &host, "7000", "9000", "8000:udp"]);
    assert!(begun.elapsed() >= Duration::from_millis(40));
    assert_eq!(
        String::from_utf8(told.stdout).unwrap(),
        format!("hitting tcp {host}:7000\nhitting tcp {host}:9000\nhitting udp {host}:8000\n")
    );
    assert_eq!(wire.seen("8000 UDP length 1"), ["7000 [S]", "9000 [S]", "8000 UDP length 1"]);
}

#[test]
fn whether_the_door_has_opened_is_said() {
    let Some(lab) = Lab::direct() else { return };
    let host = lab.victim4().to_string();
    let shut = ours(&lab, &["--until-open", "22", "--patience", "300ms", &host, "7000"]);
    assert_eq!(shut.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&shut.stderr).contains("no service listens"), "{shut:?}");
    let socket = (lab.victim4(), 22);
    let _service = lab.victim.enter(|| std::net::TcpListener::bind(socket)).unwrap();
    let open = ours(&lab, &["--until-open", "ssh", &host, "7000"]);
    assert!(open.status.success(), "{open:?}");
    assert!(String::from_utf8_lossy(&open.stdout).contains(":22 is open"), "{open:?}");
}

/// Runs `portcullis key …` and gives what it printed.
fn made(words: &[&str]) -> String {
    let output = Command::new(PROGRAM).arg("key").args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_rotating_key_sends_the_steps_of_this_moment_over_both_families() {
    if !has(&["tcpdump"]) {
        return;
    }
    let Some(lab) = Lab::direct() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ssh.key");
    let path = file.to_str().unwrap();
    let printed = made(&[
        "rotating",
        "--door",
        "ssh",
        "--user",
        "anna",
        "--ports",
        "7000-9999",
        "--time-step",
        "10s",
        "-o",
        path,
    ]);
    let key = KeyFile::read(&Place::closed(&file)).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let secret = text.lines().find_map(|line| line.strip_prefix("key = ")).unwrap();
    assert!(!printed.contains(secret) && printed.contains("[door.ssh]\nkind = \"rotating\""), "{printed}");
    for (host, family) in [(lab.victim4().to_string(), "-4"), (lab.victim6().to_string(), "-6")] {
        let tap = Wire::tap(&lab);
        let time_step = || key.shape.time_step(portcullis_sys::clock::now().wall);
        let before = time_step();
        let told = ours(&lab, &["--key", path, family, &host]);
        let after = time_step();
        assert!(told.status.success(), "{told:?}");
        let arrived = tap.count(6);
        // It waits rather than knock in the last second, so the step is one of those that the call has seen.
        let is_of = |step| {
            let steps = derive(&key.key, &key.door, key.host, &key.shape, step);
            let words: Vec<String> = steps
                .iter()
                .map(|(protocol, port)| match protocol {
                    Protocol::Udp => format!("{port} UDP length 1"),
                    _ => format!("{port} [S]"),
                })
                .collect();
            words == arrived
        };
        assert!((before..=after).any(is_of), "{arrived:?}");
    }
}

#[test]
fn a_one_time_sequence_is_struck_before_it_is_sent_and_never_sent_again() {
    if !has(&["tcpdump"]) {
        return;
    }
    let Some(lab) = Lab::direct() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("s");
    let path = file.to_str().unwrap();
    made(&["one-time", "--door", "ssh", "--count", "7", "-o", path]);
    // Known ports in front of those that were made, where the tap listens.
    let more = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!(" 7000,8000:udp,9000\n 7100,8100\n{more}")).unwrap();
    let host = lab.victim4().to_string();
    // A name that leads nowhere uses nothing up.
    assert!(!ours(&lab, &["--one-time", path, "no.such.name.invalid"]).status.success());
    for expected in [&["7000 [S]", "8000 UDP length 1", "9000 [S]"][..], &["7100 [S]", "8100 [S]"]] {
        let tap = Wire::tap(&lab);
        assert!(ours(&lab, &["--one-time", path, &host]).status.success());
        assert_eq!(tap.count(expected.len()), expected);
    }
    let left = std::fs::read_to_string(&file).unwrap();
    assert_eq!(left, format!("#7000,8000:udp,9000\n#7100,8100\n{more}"));
    for _ in 0..7 {
        assert!(ours(&lab, &["--one-time", path, &host]).status.success());
    }
    let told = ours(&lab, &["--one-time", path, &host]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("no unused sequence"), "{told:?}");
}

#[test]
fn a_key_that_others_can_read_is_refused_and_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("k");
    let path = file.to_str().unwrap();
    let words = ["rotating", "--door", "ssh", "--user", "anna", "-o", path];
    made(&words);
    let before = std::fs::read(&file).unwrap();
    let again = Command::new(PROGRAM).arg("key").args(words).output().unwrap();
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = Command::new(PROGRAM).args(["knock", "--key", path, "127.0.0.1"]).output().unwrap();
    assert!(String::from_utf8_lossy(&told.stderr).contains("others can read"), "{told:?}");
}

#[test]
fn the_results_are_those_of_the_distributions_knock() {
    let place = unpack("knockd").unwrap();
    let theirs = place.join("usr/bin/knock");
    for words in [
        &["-h"][..],
        &["-V"],
        &["127.0.0.1"],
        &["-d", "-5", "127.0.0.1", "7000"],
        &["no.such.name.invalid", "7000"],
        &["127.0.0.1", "9"],
    ] {
        let code = |program: &str, first: &[&str]| {
            Command::new(program).args(first).args(words).output().unwrap().status.code()
        };
        let original = code(theirs.to_str().unwrap(), &[]);
        assert_eq!(code(PROGRAM, &["knock"]), original, "{words:?}");
    }
}
