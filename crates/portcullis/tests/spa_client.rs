//! Single packets between ours and the distribution's fwknop, in both directions, with the files that `key spa` makes.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use portcullis::config::fwknop::read_access;
use portcullis::keys::Place;
use portcullis_core::door::spa::access::Granted;
use portcullis_core::door::spa::{Denied, Spa, WINDOW};
use portcullis_core::net::Protocol;
use testbed::{Lab, Running, is_installed, unpack, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");
const SOON: Duration = Duration::from_secs(20);

/// The distribution's programs, unpacked, and where their libraries are.
struct Fwknop {
    libraries: OsString,
    server: PathBuf,
    client: PathBuf,
}

impl Fwknop {
    /// `None` where there is no apt-get.
    fn unpacked() -> Option<Fwknop> {
        if !is_installed("apt-get") {
            return None;
        }
        let mut libraries = OsString::new();
        for package in ["libfko3", "libgpgme11", "libassuan0"] {
            let library = unpack(package).unwrap().join("usr/lib");
            for entry in fs::read_dir(library).unwrap() {
                libraries.push(entry.unwrap().path());
                libraries.push(":");
            }
        }
        Some(Fwknop {
            libraries,
            server: unpack("fwknop-server").unwrap().join("usr/sbin/fwknopd"),
            client: unpack("fwknop-client").unwrap().join("usr/bin/fwknop"),
        })
    }
}

/// The two files of one pair of keys.
struct Keys {
    directory: tempfile::TempDir,
}

impl Keys {
    fn made(more: &[&str]) -> Keys {
        let keys = Keys { directory: tempfile::tempdir().unwrap() };
        let mut command = Command::new(PROGRAM);
        command.args(["key", "spa", "--user", "anna", "--opens", "tcp/22", "-o"]);
        command.arg(keys.host()).arg("--client").arg(keys.guest()).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let text = fs::read_to_string(keys.host()).unwrap();
        for line in text.lines().filter(|line| line.contains("BASE64")) {
            let secret = line.split_once(' ').unwrap().1;
            assert!(!printed.contains(secret), "{printed}");
        }
        keys
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn host(&self) -> PathBuf {
        self.at("host.access")
    }

    fn guest(&self) -> PathBuf {
        self.at("guest.rc")
    }

    /// Our receiving side with the host's file.
    fn door(&self) -> Spa {
        let text = Place::closed(self.host()).read().unwrap();
        let access = read_access(&self.host(), &text);
        assert!(access.diagnostics.is_empty(), "{:?}", access.diagnostics);
        let users = access.stanzas.into_iter().map(|stanza| stanza.user).collect();
        Spa::new(users, WINDOW).unwrap_or_else(|faults| panic!("{faults:?}"))
    }
}

fn ours(lab: &Lab, keys: &Keys, words: &[&str]) -> Output {
    lab.attacker.command(PROGRAM).arg("spa").arg("--key").arg(keys.guest()).args(words).output().unwrap()
}

fn write_closed(path: &Path, text: &str) {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

/// For whom and for which TCP port the door opens.
fn granted(spa: &mut Spa, source: IpAddr, packet: &[u8]) -> Result<(IpAddr, u16, Duration), Denied> {
    let accepted = spa.receive(portcullis_sys::clock::now().wall, source, packet)?;
    let Granted::Opening(opening) = accepted.granted else { panic!("it is no opening") };
    assert_eq!(opening.ports[0].protocol, Protocol::Tcp);
    Ok((opening.address, opening.ports[0].number, opening.length))
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, IpAddr) {
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut buffer = [0; 2000];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..length].to_vec(), from.ip())
}

#[test]
fn the_distributions_fwknopd_opens_for_our_packet() {
    let Some(fwknop) = Fwknop::unpacked() else { return };
    let Some(lab) = Lab::direct() else { return };
    let keys = Keys::made(&["--allow-source"]);
    // fwknopd reads our file as it is; what it shall do stands in it too, since its doors have no table elsewhere.
    let stanza = fs::read_to_string(keys.host()).unwrap();
    let opened = keys.at("opened-$IP-$PORT");
    let access =
        format!("{stanza}CMD_CYCLE_OPEN /usr/bin/touch {}\nCMD_CYCLE_CLOSE NONE\n", opened.display());
    write_closed(&keys.at("access.conf"), &access);
    write_closed(&keys.at("fwknopd.conf"), "ENABLE_UDP_SERVER Y;\nPCAP_INTF eth0;\n");
    let mut command = lab.victim.command(fwknop.server.to_str().unwrap());
    command.env("LD_LIBRARY_PATH", &fwknop.libraries).args(["-f", "-U", "-t"]);
    command.arg("-c").arg(keys.at("fwknopd.conf")).arg("-a").arg(keys.at("access.conf"));
    command.arg("-r").arg(keys.at("run"));
    let mut server = Running::spawn(&mut command);
    server.wait_for_line(SOON, |line| line.contains("UDP server"));
    let host = lab.victim4().to_string();
    for (words, guest) in [
        (&[][..], "10.77.0.1"),
        (&["-s"], "10.77.0.1"),
        (&["-a", "198.51.100.7", "--for", "5s"], "198.51.100.7"),
    ] {
        let file = keys.at(&format!("opened-{guest}-22"));
        wait_until(SOON, &format!("fwknopd to open for {guest}"), || {
            // Its socket is there a little after its word for it; a packet more does no harm.
            let output = ours(&lab, &keys, &[&[host.as_str()], words].concat());
            assert!(output.status.success(), "{output:?}");
            file.exists().then_some(())
        });
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn our_door_opens_for_the_packet_of_the_distributions_client() {
    let Some(fwknop) = Fwknop::unpacked() else { return };
    let Some(lab) = Lab::direct() else { return };
    let keys = Keys::made(&[]);
    let mut spa = keys.door();
    let socket = (lab.victim4(), 62_201);
    let socket = lab.victim.enter(|| UdpSocket::bind(socket)).unwrap();
    let (host, own) = (lab.victim4().to_string(), lab.attacker4().to_string());
    for (words, opens) in
        [(&["-a", &own][..], Ok(30)), (&["-a", &own, "-f", "7"], Ok(7)), (&["-s"], Err("source-required"))]
    {
        let mut command = lab.attacker.command(fwknop.client.to_str().unwrap());
        command.env("LD_LIBRARY_PATH", &fwknop.libraries).env("HOME", keys.directory.path());
        command.arg("--rc-file").arg(keys.guest()).args(["-n", "anna", "-D", &host]).args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let (packet, from) = receive(&socket);
        match (granted(&mut spa, from, &packet), opens) {
            (Ok(granted), Ok(seconds)) => {
                assert_eq!(granted, (lab.attacker4().into(), 22, Duration::from_secs(seconds)));
            }
            (Err(denied), Err(name)) => assert_eq!(denied.refusal.name(), name),
            (result, _) => panic!("{words:?}: {result:?}"),
        }
    }
}

#[test]
fn our_packet_opens_our_door_over_both_families_and_says_for_whom() {
    let Some(lab) = Lab::direct() else { return };
    let keys = Keys::made(&[]);
    let mut spa = keys.door();
    let hosts: [(IpAddr, IpAddr); 2] =
        [(lab.victim4().into(), lab.attacker4().into()), (lab.victim6().into(), lab.attacker6().into())];
    for (host, guest) in hosts {
        let socket = lab.victim.enter(|| UdpSocket::bind((host, 5000))).unwrap();
        let output = ours(&lab, &keys, &[&host.to_string(), "-p", "5000", "--for", "1m"]);
        assert!(output.status.success(), "{output:?}");
        let (packet, from) = receive(&socket);
        assert_eq!(granted(&mut spa, from, &packet).unwrap(), (guest, 22, Duration::from_secs(60)));
        assert_eq!(granted(&mut spa, from, &packet).unwrap_err().refusal.name(), "replayed");
    }
}

#[test]
fn whether_it_has_opened_is_said_and_mistakes_send_nothing() {
    let Some(lab) = Lab::direct() else { return };
    let keys = Keys::made(&[]);
    let host = lab.victim4().to_string();
    let socket = (lab.victim4(), 22);
    let service = lab.victim.enter(|| std::net::TcpListener::bind(socket)).unwrap();
    let output = ours(&lab, &keys, &[&host, "--until-open", "22"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains(":22 is open"), "{output:?}");
    drop(service);
    let output = ours(&lab, &keys, &[&host, "--until-open", "22", "--patience", "100ms"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for (words, code) in
        [(&["--for", "1500ms"][..], 2), (&["-n", "bert"], 1), (&["-6"], 1), (&["--opens", "22"], 2)]
    {
        let output = ours(&lab, &keys, &[&[host.as_str()], words].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
    }
    let wrong =
        lab.attacker.command(PROGRAM).args(["spa", &host, "--key"]).arg(keys.host()).output().unwrap();
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("not the host's"), "{wrong:?}");
}
