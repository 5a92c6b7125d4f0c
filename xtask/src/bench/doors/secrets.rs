//! Doors whose knock follows from a key: made here by the core, so that only the time on the wire is measured.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis_core::door::rotating::{HostId, Shape, derive};
use portcullis_core::door::spa;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope::{Keys, seal};
use portcullis_core::door::spa::key::{CipherKey, HmacKey};
use portcullis_core::door::spa::message::{Guest, Message, Port, Random, Request, VERSION};
use portcullis_core::door::{Key, Name};
use portcullis_core::net::{PortSet, Protocol};
use portcullis_core::time::Wall;
use zeroize::Zeroizing;

use super::super::guard::{Guard, State};
use super::super::sender::{Probe, stranger};
use super::super::{Bench, lab, output, system};
use super::{PORT, rounds_of, send_knocks};

/// Each guest of a rotating door has a key of his own, since a knock is good once a time step.
pub const USERS: usize = 200;

/// So many packets of one user are remembered at a time, less those that warm up.
pub const PACKETS: usize = 250;

const DOOR: &str = "ssh";

/// Seconds of a time step: what began before the start is refused, and waited for.
const TIME_STEP: u64 = 10;

/// After the start: until a time step, or a second, has begun that a start would not refuse.
fn wait_for(seconds: u64) {
    let into = now().as_secs_f64() % seconds as f64;
    std::thread::sleep(Duration::from_secs_f64(seconds as f64 - into + 0.05));
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("this is long after 1970")
}

/// The value of a line of a key file.
fn value<'a>(text: &'a str, word: &str) -> Result<&'a str, String> {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.map(str::trim).ok_or_else(|| format!("a key file has no line {word}"))
}

/// A rotating sequence of SYNs, of a key each.
pub fn measure_rotating(bench: &Bench, rounds: usize) -> Result<Vec<Duration>, String> {
    let (lab, state) = (lab()?, State::new("rotating")?);
    let (mut keys, mut files, mut host) = (Vec::new(), Vec::new(), HostId([0; 16]));
    for user in 0..rounds {
        let file = state.file(&format!("{user}.key"));
        let mut command = Command::new(&bench.program);
        command.args(["key", "rotating", "--user", &format!("user{user}"), "-o"]).arg(&file);
        match files.first() {
            Some(first) => command.arg("--beside").arg(first),
            None => command.args(["--door", DOOR, "--protocols", "tcp", "--time-step", "10s"]),
        };
        output(&mut command)?;
        let text = fs::read_to_string(&file).map_err(system)?;
        let bytes = Zeroizing::new(base64(value(&text, "key =")?));
        keys.push(Key::new(bytes).ok_or("a key is too short")?);
        let hex = u128::from_str_radix(value(&text, "host =")?, 16).map_err(|error| error.to_string())?;
        host = HostId(hex.to_be_bytes());
        files.push(file);
    }
    let named: Vec<String> = files.iter().map(|file| format!("\"{}\"", file.display())).collect();
    state.configure(&format!(
        "[door.{DOOR}]\nkind = \"rotating\"\nkeys = [{}]\nprotocols = [\"tcp\"]\ntime_step = \"{TIME_STEP}s\"\n\
         opens = \"tcp/{PORT}\"\nopen_for = \"1h\"\n",
        named.join(", ")
    ))?;
    let ports = PortSet::from_ranges([(10_000, 60_000)]);
    let shape = Shape::new(ports, true, false, 6, TIME_STEP).map_err(|error| error.to_string())?;
    let name: Name = DOOR.parse().map_err(|error| format!("{error}"))?;
    let guard = Guard::start(&lab.victim, &bench.program, &state, "--enforce");
    wait_for(TIME_STEP);
    let victim = lab.victim4();
    let knock = |sender: &mut _, round: u32| {
        let step = shape.time_step(Wall(now()));
        let ports = derive(&keys[round as usize], &name, host, &shape, step);
        let probe = |(_, port)| Probe::new(stranger(round), SocketAddrV4::new(victim, port));
        send_knocks(sender, &ports.into_iter().map(probe).collect::<Vec<_>>())
    };
    let times = rounds_of(&lab, rounds, knock, || Ok(()))?;
    guard.stop();
    Ok(times)
}

/// A pair of files of one user of single packets, as either server reads them, and his keys.
pub fn single_keys(program: &Path, state: &State) -> Result<(std::path::PathBuf, Keys), String> {
    let file = state.file("host.access");
    let mut command = Command::new(program);
    command.args(["key", "spa", "--user", "anna", "--opens", &format!("tcp/{PORT}"), "-o"]).arg(&file);
    output(command.arg("--client").arg(state.file("guest.fwknoprc")))?;
    let text = fs::read_to_string(&file).map_err(system)?;
    let no_key = "a key of no good length";
    let cipher = CipherKey::new(&base64(value(&text, "KEY_BASE64 ")?)).map_err(|_| no_key)?;
    let hmac = HmacKey::new(&base64(value(&text, "HMAC_KEY_BASE64 ")?)).map_err(|_| no_key)?;
    let keys = Keys::new(cipher, Digest::Sha256, &hmac).map_err(|_| "both keys are the same")?;
    Ok((file, keys))
}

/// The packet of a guest, the number `number` of its second.
pub fn packet(keys: &Keys, guest: Ipv4Addr, number: u32) -> Result<String, String> {
    let now = now();
    let mut random = now.as_nanos().to_le_bytes();
    random[8..12].copy_from_slice(&number.to_le_bytes());
    let eight = |bytes: &[u8]| <[u8; 8]>::try_from(bytes).expect("eight bytes");
    let message = Message {
        random: Random::from_bytes(eight(&random[..8])),
        user: "anna".to_owned(),
        time: now.as_secs(),
        version: VERSION.to_owned(),
        guest: Guest::Address(guest.into()),
        request: Request::Access(vec![Port { protocol: Protocol::Tcp, number: PORT }]),
        timeout: None,
        server_authentication: None,
    };
    let salt = eight(&random[4..12]);
    seal(&message, Digest::Sha256, keys, salt).map_err(|refusal| refusal.words().to_owned())
}

/// A single packet in fwknop's format.
pub fn measure_single(bench: &Bench, rounds: usize) -> Result<Vec<Duration>, String> {
    let (lab, state) = (lab()?, State::new("single")?);
    let (file, keys) = single_keys(&bench.program, &state)?;
    state.configure(&format!(
        "[door.{DOOR}]\nkind = \"spa\"\nusers = \"{}\"\nopens = \"tcp/{PORT}\"\nopen_for = \"1h\"\n",
        file.display()
    ))?;
    let guard = Guard::start(&lab.victim, &bench.program, &state, "--enforce");
    wait_for(1);
    let target = SocketAddrV4::new(lab.victim4(), spa::PORT);
    let knock = |sender: &mut super::Sender, round: u32| {
        let packet = packet(&keys, stranger(round), round)?;
        let knocked = Instant::now();
        sender.send_datagram(stranger(round), target, packet.as_bytes()).map_err(system)?;
        Ok(knocked)
    };
    let times = rounds_of(&lab, rounds, knock, || Ok(()))?;
    guard.stop();
    Ok(times)
}

/// The bytes behind a text in base64 (RFC 4648 §4).
fn base64(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let place = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        (bits, count) = ((bits << 6) | u32::from(place), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_read() {
        assert_eq!(super::base64("cG9ydGN1bGxpcw=="), b"portcullis");
        assert_eq!(super::base64("+/8="), [0xfb, 0xff]);
    }
}
