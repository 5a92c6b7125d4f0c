//! What somebody who listens on the wire can do with what he heard: nothing, where a door is one-time or rotating.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testbed::{Lab, Offloads, Running, Signal, wait_until};

use crate::harness::{Guard, PROGRAM, Place, SOON, portcullis};
use crate::knocks::{SERVICE, guests, knock, let_in, reload, serve};
use crate::shutting::{gets_in, lab};

pub const GUEST: &str = "10.77.0.1";

pub const OTHER: &str = "10.77.0.9";

/// Shows that what was sent before has been heard.
pub const BELL: &str = "[door.bell]\nkind = \"sequence\"\nsequence = \"61001:udp, 61002:udp, 61003:udp\"\n\
                    mode = \"observe\"\nopens = \"tcp/2223\"\n";

/// Sends the frames of a capture again, byte for byte.
const RESEND: &str = "\
import socket, struct, sys, time
data = open(sys.argv[1], 'rb').read()
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(('eth0', 0))
at = 24
while at < len(data):
    length = struct.unpack('<I', data[at + 8:at + 12])[0]
    wire.send(data[at + 16:at + 16 + length])
    at += 16 + length
    time.sleep(0.002)
";

/// Whoever listens on the wire.
pub struct Listener {
    tcpdump: Running,
    file: PathBuf,
}

impl Listener {
    /// Begins to write down what the guest sends, but for his session.
    pub fn start(lab: &Lab, file: PathBuf) -> Self {
        Self::start_for(lab, file, GUEST)
    }

    /// The same, of a guest with another address.
    pub fn start_for(lab: &Lab, file: PathBuf, guest: &str) -> Self {
        let mut command = lab.attacker.command("tcpdump");
        command.args(["-n", "-U", "--immediate-mode", "-s", "2048", "-i", "eth0", "-w"]).arg(&file);
        let filter = format!("src host {guest} and (tcp or udp) and not port {SERVICE}");
        let mut tcpdump = Running::spawn(command.arg(filter));
        tcpdump.wait_for_line(SOON, |line| line.contains("listening on"));
        Self { tcpdump, file }
    }

    /// Ends when so many packets were heard.
    pub fn finish(mut self, packets: usize) -> Heard {
        wait_until(SOON, "the knock to be written down", || {
            (frames(&self.file).len() >= packets).then_some(())
        });
        self.tcpdump.signal(Signal::SIGINT);
        self.tcpdump.wait(SOON);
        let heard = frames(&self.file);
        assert_eq!(heard.len(), packets, "{heard:?}");
        // Ethernet, an IPv4 header without options, and the port behind the sender's.
        let hit = |frame: &Vec<u8>| {
            // Of IPv6 only the length is asked for.
            if frame[12] != 8 {
                return (0, None);
            }
            let port = u16::from_be_bytes([frame[36], frame[37]]);
            let length = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
            (port, (frame[23] == 17).then(|| frame[42..34 + length].to_vec()))
        };
        Heard { hits: heard.iter().map(hit).collect(), file: self.file }
    }
}

/// The frames of a capture (libpcap's format, little endian, as tcpdump writes it here).
fn frames(file: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(file).unwrap_or_default();
    let mut rest = bytes.get(24..).unwrap_or_default();
    let mut frames = Vec::new();
    while rest.len() > 16 {
        let length = u32::from_le_bytes([rest[8], rest[9], rest[10], rest[11]]) as usize;
        let Some(frame) = rest.get(16..16 + length) else { break };
        frames.push(frame.to_vec());
        rest = &rest[16 + length..];
    }
    frames
}

/// A knock that was heard.
pub struct Heard {
    file: PathBuf,
    /// Each packet's port, and what was in it if it was a datagram.
    hits: Vec<(u16, Option<Vec<u8>>)>,
}

impl Heard {
    /// Knocks with it again, byte for byte and from another address, and waits until the guard has heard that.
    #[track_caller]
    pub fn replay(&self, lab: &Lab, guard: &mut Guard) {
        lab.attacker.run(&["python3", "-c", RESEND, self.file.to_str().unwrap()]);
        for (port, payload) in &self.hits {
            match payload {
                Some(payload) => {
                    let sender = lab.attacker.enter(|| UdpSocket::bind((OTHER, 0))).unwrap();
                    sender.send_to(payload, (lab.victim4(), *port)).unwrap();
                }
                None => knock(&lab.attacker, OTHER, lab.victim4(), &port.to_string()),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let told = guard.running.count();
        knock(&lab.attacker, "10.77.0.7", lab.victim4(), "61001:udp 61002:udp 61003:udp");
        guard.wait_for_after(told, SOON, |event| event["why"].to_string().contains("observes"));
        // They were refused for what they are, and not on their way.
        let status = guard.status();
        assert!(!status["refused"].to_string().contains("checksum"), "{status}");
    }

    /// How many bytes are in the datagram that it is.
    pub fn payload(&self, is_ipv6: bool) -> usize {
        let frame = &frames(&self.file)[0];
        frame.len() - if is_ipv6 { 14 + 40 + 8 } else { 14 + 20 + 8 }
    }

    /// The ports of its steps.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.hits.iter().map(|(port, _)| *port)
    }

    /// The first of its steps, as [`knock`] takes them.
    pub fn steps(&self, count: usize) -> String {
        let step = |(port, payload): &(u16, Option<Vec<u8>>)| match payload {
            Some(_) => format!("{port}:udp"),
            None => port.to_string(),
        };
        self.hits.iter().take(count).map(step).collect::<Vec<_>>().join(" ")
    }

    /// The link address that it was sent to.
    pub fn link_address(&self) -> String {
        let bytes = &frames(&self.file)[0][..6];
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
    }
}

/// As many steps as the sequences of these tests have.
pub const STEPS: usize = 4;

/// A door of a kind, with its secret file at the host and the guest's copy.
pub fn secret_door(place: &Place, kind: &str, words: &[&str]) -> PathBuf {
    let (host, guest) = (place.file("host.secret"), place.file("guest.secret"));
    let said = portcullis(
        &[&["key", kind, "--door", "ssh", "--steps", "4", "-o", host.to_str().unwrap()], words].concat(),
    );
    assert_eq!(said.code, 0, "{said:?}");
    fs::copy(&host, &guest).unwrap();
    fs::set_permissions(&guest, fs::Permissions::from_mode(0o600)).unwrap();
    let own = match kind {
        "one-time" => format!("sequences_file = \"{}\"", host.display()),
        _ => format!("keys = [\"{}\"]\nsteps = 4\ntime_step = \"10s\"", host.display()),
    };
    place.configure(&format!(
        "[door.ssh]\nkind = \"{kind}\"\n{own}\nopens = \"tcp/{SERVICE}\"\nopen_for = \"1h\"\n{BELL}"
    ));
    guest
}

/// Begins the guest's own knock.
fn client(lab: &Lab, option: &str, secret: &Path) -> Running {
    lab.attacker.start(&[PROGRAM, "knock", option, secret.to_str().unwrap(), &lab.victim4().to_string()])
}

/// A knock of the guest that opens the door, written down on its way; then the door is shut again.
#[track_caller]
fn heard(lab: &Lab, guard: &mut Guard, place: &Place, option: &str, secret: &Path, name: &str) -> Heard {
    let listener = Listener::start(lab, place.file(name));
    let told = guard.running.count();
    assert!(client(lab, option, secret).wait(2 * SOON).success());
    guard.wait_for_after(told, SOON, |event| event["event"] == "open" && event["source"] == GUEST);
    assert!(gets_in(lab, GUEST) && !gets_in(lab, OTHER));
    let heard = listener.finish(STEPS);
    assert_eq!(guard.verb(&["close", "ssh"]).code, 0);
    heard
}

#[track_caller]
pub fn assert_shut(lab: &Lab, guard: &Guard, when: &str) {
    assert!(guests(guard, "ssh").is_empty(), "{when}: {:?}", guests(guard, "ssh"));
    for address in [GUEST, OTHER] {
        assert_eq!(let_in(&lab.victim, "door_ssh4", address), None, "{when}");
        assert!(!gets_in(lab, address), "{when}: {address} is let in");
    }
}

pub fn lab_with_tools() -> Option<Lab> {
    let lab = lab()?;
    lab.add_attacker("10.77.0.7/24");
    if !testbed::has(&["tcpdump", "python3", "ethtool"]) {
        return None;
    }
    // Else what is written down has checksums that the card would have had to finish, and is refused for them.
    lab.switch_offloads(Offloads::Off);
    Some(lab)
}

#[test]
fn a_one_time_knock_that_was_heard_opens_nothing() {
    let Some(lab) = lab_with_tools() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new("");
    let secret = secret_door(&place, "one-time", &["--count", "20"]);
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    let first = heard(&lab, &mut guard, &place, "--one-time", &secret, "first.pcap");
    first.replay(&lab, &mut guard);
    assert_shut(&lab, &guard, "at once");
    // The next is the next one of both files, and the first is no better for that.
    let second = heard(&lab, &mut guard, &place, "--one-time", &secret, "second.pcap");
    assert_ne!(first.hits, second.hits);
    first.replay(&lab, &mut guard);
    second.replay(&lab, &mut guard);
    assert_shut(&lab, &guard, "after another");
    guard.kill();
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    first.replay(&lab, &mut guard);
    second.replay(&lab, &mut guard);
    assert_shut(&lab, &guard, "after a kill");
    reload(&guard);
    second.replay(&lab, &mut guard);
    assert_shut(&lab, &guard, "after a reload");
}

#[test]
fn a_one_time_knock_has_opened_once_at_most_whenever_the_guard_is_killed() {
    let Some(lab) = lab_with_tools() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new("");
    let secret = secret_door(&place, "one-time", &["--count", "20"]);
    let mut opened = 0;
    for round in 0..8u64 {
        let mut guard = Guard::at(&lab.victim, &place, &[]);
        let listener = Listener::start(&lab, place.file(&format!("{round}.pcap")));
        assert!(client(&lab, "--one-time", &secret).wait(2 * SOON).success());
        // From before the last knock is judged to after its door has opened.
        std::thread::sleep(Duration::from_micros(round * 1500));
        guard.kill();
        let has_opened = let_in(&lab.victim, "door_ssh4", GUEST).is_some();
        opened += usize::from(has_opened);
        let heard = listener.finish(STEPS);
        lab.victim.run(&["nft", "flush", "set", "inet", "portcullis", "door_ssh4"]);
        let mut guard = Guard::at(&lab.victim, &place, &[]);
        // Nobody's any more, whether the store had it or not. (Not open is no fault here.)
        guard.verb(&["close", "ssh"]);
        heard.replay(&lab, &mut guard);
        // One that had not opened is as good as it was, and may open now; so may the forged one then, but no more.
        if has_opened {
            assert_shut(&lab, &guard, &format!("round {round}"));
        }
        guard.verb(&["close", "ssh"]);
        heard.replay(&lab, &mut guard);
        assert_shut(&lab, &guard, &format!("round {round}, again"));
        assert_eq!(guard.stop(), 0);
    }
    assert!(opened > 0, "none of the kills came late enough");
}

#[test]
fn a_rotating_knock_that_was_heard_opens_nothing() {
    let Some(lab) = lab_with_tools() else { return };
    let _service = serve(&lab.victim);
    let place = Place::new("");
    let secret = secret_door(&place, "rotating", &["--user", "anna", "--time-step", "10s"]);
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    // What began before the start is refused, so that the first may take until the next time step.
    let heard = wait_until(4 * SOON, "a knock that opens", || {
        let listener = Listener::start(&lab, place.file("heard.pcap"));
        assert!(client(&lab, "--key", &secret).wait(2 * SOON).success());
        let heard = listener.finish(STEPS);
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(1) {
            if let_in(&lab.victim, "door_ssh4", GUEST).is_some() {
                return Some(heard);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    });
    let since = Instant::now();
    assert!(gets_in(&lab, GUEST) && !gets_in(&lab, OTHER));
    assert_eq!(guard.told("open")[0]["user"], "anna");
    assert_eq!(guard.verb(&["close", "ssh"]).code, 0);
    heard.replay(&lab, &mut guard);
    assert_shut(&lab, &guard, "at once");
    guard.kill();
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    heard.replay(&lab, &mut guard);
    assert_shut(&lab, &guard, "after a kill");
    // As long as it would be in time by its clock, and longer.
    while since.elapsed() < Duration::from_secs(25) {
        std::thread::sleep(Duration::from_secs(3));
        heard.replay(&lab, &mut guard);
        assert_shut(&lab, &guard, &format!("{:?} later", since.elapsed()));
    }
}
