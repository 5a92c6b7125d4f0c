//! The guest's side on the wire: what a knock sends, beside the distribution's `knock`.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

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
        command.args(["-n", "-l", "-t", "-i", "any", "--immediate-mode", "-Q", "in", filter]);
        let mut tcpdump = Running::spawn(&mut command);
        tcpdump.wait_for_line(SOON, |line| line.contains("listening on"));
        Wire { tcpdump }
    }

    /// The transport, the port and the flags of each packet, in order, up to the last one that is waited for.
    fn seen(mut self, last: &str) -> Vec<String> {
        self.tcpdump.wait_for_line(SOON, |line| words(line).as_deref() == Some(last));
        self.tcpdump.signal(Signal::SIGINT);
        self.tcpdump.wait(SOON);
        self.tcpdump.text(Stream::Out).lines().filter_map(words).collect()
    }
}

/// `7000 [S]`, `8000 UDP length 1`
fn words(line: &str) -> Option<String> {
    let (addresses, what) = line.split_once("> ")?.1.split_once(": ")?;
    let port = addresses.rsplit('.').next()?;
    let what = match what.strip_prefix("Flags ") {
        Some(flags) => flags.split(',').next()?.to_owned(),
        None => what.split(", ").collect::<Vec<_>>().join(" "),
    };
    Some(format!("{port} {what}"))
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
