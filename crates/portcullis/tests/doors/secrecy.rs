//! Keys, sequences and the ports of steps are nowhere but in their own files: not in what is printed, answered, stored, in
//! the process's arguments and environment, nor in a core dump.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use testbed::{Running, Signal, wait_until};

use crate::harness::{Guard, PROGRAM, Place, SOON};
use crate::knocks::{guests, knock, serve};
use crate::replays::{BELL, GUEST, Listener, OTHER, STEPS, lab_with_tools, secret_door};
use crate::single_packets::{enter_by_packet, spa_door};
use crate::why::everything;

/// What must not be found: keys as texts and as bytes, and ports of five digits.
struct Secrets {
    texts: Vec<Vec<u8>>,
    ports: BTreeSet<String>,
}

impl Secrets {
    /// Of the host's file; `of_knocks` are ports that were seen on the wire.
    fn of(file: &Path, of_knocks: impl IntoIterator<Item = u16>) -> Secrets {
        let text = fs::read_to_string(file).unwrap();
        let keys = text.lines().filter(|line| line.starts_with("key = ") || line.contains("KEY_BASE64 "));
        let mut texts: Vec<Vec<u8>> = Vec::new();
        for key in keys.filter_map(|line| line.split(' ').next_back()) {
            texts.push(key.trim_end_matches('=').as_bytes().to_vec());
            texts.push(base64(key));
        }
        // What is struck out is used up, and worth nothing.
        let written = text.lines().filter(|line| line.starts_with(' '));
        let mut ports: BTreeSet<String> =
            written.flat_map(|line| line.split(|c: char| !c.is_ascii_digit())).map(str::to_owned).collect();
        ports.extend(of_knocks.into_iter().map(|port| port.to_string()));
        ports.retain(|port| port.len() == 5 && port != "62201");
        Secrets { texts, ports }
    }

    /// Nothing of them is in `bytes`.
    #[track_caller]
    fn assert_absent(&self, bytes: &[u8], place: &str) {
        for text in &self.texts {
            assert!(!bytes.windows(text.len()).any(|own| own == text), "a key is in {place}");
        }
        for number in bytes.split(|byte| !byte.is_ascii_digit()) {
            let number = String::from_utf8_lossy(number);
            assert!(!self.ports.contains(&*number), "port {number} of a step is in {place}");
        }
    }
}

/// The bytes behind a text in base64.
fn base64(text: &str) -> Vec<u8> {
    let place = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        (bits, count) = (bits << 6 | u32::from(place(letter)), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// Everything that a running guard shows of itself and keeps.
#[track_caller]
fn assert_nothing_shows(guard: &Guard, place: &Place, secrets: &Secrets) {
    secrets.assert_absent(everything(guard).as_bytes(), "what it says");
    for verb in [&["bans"][..], &["explain", GUEST], &["explain", OTHER]] {
        let said = guard.verb(verb);
        secrets.assert_absent(format!("{}{}", said.out, said.err).as_bytes(), verb[0]);
    }
    for file in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{file}", guard.running.id())).unwrap();
        secrets.assert_absent(&bytes, file);
    }
    let mut stored = 0;
    for entry in fs::read_dir(place.state()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            secrets.assert_absent(&fs::read(&path).unwrap(), &path.display().to_string());
            stored += 1;
        }
    }
    assert!(stored > 0, "nothing was stored");
}

/// A guard that may write core dumps of any size is made to crash, and writes none; another program does.
#[track_caller]
fn assert_no_core_dump(place: &Place, lab: &testbed::Lab) {
    let directory = place.file("cores");
    fs::create_dir_all(&directory).unwrap();
    let unlimited = |words: &[&str]| {
        let mut command: Command = lab.victim.command("sh");
        command.args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh"]).args(words);
        command.current_dir(&directory);
        Running::spawn(&mut command)
    };
    let crash = |running: &mut Running| {
        running.signal(Signal::SIGABRT);
        running.wait(SOON).core_dumped()
    };
    let mut other = unlimited(&["sleep", "600"]);
    wait_until(SOON, "sleep to run", || {
        let name = fs::read_to_string(format!("/proc/{}/comm", other.id())).unwrap();
        (name.trim() == "sleep").then_some(())
    });
    if !crash(&mut other) {
        println!("this machine keeps no core dumps at all, so nothing is shown");
        return;
    }
    let (configuration, state) = (place.configuration(), place.state());
    let words = ["run", "--json", "-c", configuration.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let mut running = unlimited(&[&[PROGRAM][..], &words].concat());
    running.wait_for_line(SOON, |line| line.contains("\"start\""));
    assert!(!crash(&mut running), "a core dump was written, with keys in it");
}

/// Knocks of every outcome, and then a look at everything.
fn nothing_is_told_of(kind: &'static str) {
    let Some(lab) = lab_with_tools() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new("");
    let secret = match kind {
        "one-time" => secret_door(&place, kind, &["--count", "20"]),
        "rotating" => secret_door(&place, kind, &["--user", "anna", "--time-step", "10s"]),
        _ => spa_door(&place, &[], BELL),
    };
    let host = place.file(if kind == "spa" { "host.access" } else { "host.secret" });
    let mut ports: Vec<u16> = Vec::new();
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    if kind == "spa" {
        enter_by_packet(&lab, &secret, GUEST);
    } else {
        let option = if kind == "one-time" { "--one-time" } else { "--key" };
        wait_until(4 * SOON, "a knock that opens", || {
            let listener = Listener::start(&lab, place.file("heard.pcap"));
            let target = lab.victim4().to_string();
            let words = [PROGRAM, "knock", option, secret.to_str().unwrap(), &target];
            assert!(lab.attacker.start(&words).wait(2 * SOON).success());
            let heard = listener.finish(STEPS);
            // By others: again, and half of one, and then a scan, so that all is told as what it looks like.
            let has_opened = !guests(&guard, "ssh").is_empty();
            if has_opened {
                heard.replay(&lab, &mut guard);
            }
            let mut half = heard.steps(2);
            if kind == "rotating" {
                ports.extend(heard.ports());
            } else {
                let text = fs::read_to_string(&host).unwrap();
                let next = text.lines().find(|line| line.starts_with(' ')).unwrap();
                half = next.split(',').take(2).collect::<Vec<_>>().join(" ");
            }
            knock(&lab.attacker, OTHER, lab.victim4(), &half);
            has_opened.then_some(())
        });
    }
    knock(&lab.attacker, OTHER, lab.victim4(), "1001 1002 1003 1004 1005 1006 1007 1008");
    guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == OTHER);
    let mut secrets = Secrets::of(&host, ports);
    assert!(secrets.ports.len() >= if kind == "spa" { 0 } else { STEPS });
    assert!(kind == "one-time" || !secrets.texts.is_empty());
    secrets.ports.remove(&guard.running.id().to_string());
    assert_nothing_shows(&guard, &place, &secrets);
    // For people, too; and what is left of the run before.
    assert_eq!(guard.stop(), 0);
    let mut command = lab.victim.command(PROGRAM);
    command.args(["run", "-c"]).arg(place.configuration()).arg("--state").arg(place.state());
    let mut plain = Running::spawn(&mut command);
    plain.wait_for_line(SOON, |line| line.contains("portcullis") && line.contains("watches"));
    plain.stop(SOON);
    let said: String = plain.lines().iter().map(|line| format!("{}\n", line.text)).collect();
    secrets.assert_absent(said.as_bytes(), "the log for people");
    assert_no_core_dump(&place, &lab);
}

#[test]
fn nothing_of_a_one_time_door_is_told() {
    nothing_is_told_of("one-time");
}

#[test]
fn nothing_of_a_rotating_door_is_told() {
    nothing_is_told_of("rotating");
}

#[test]
fn nothing_of_a_door_for_single_packets_is_told() {
    nothing_is_told_of("spa");
}
