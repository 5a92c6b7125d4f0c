//! The distribution's fwknopd, as it comes: by libpcap and with rules of iptables.

use std::ffi::OsString;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis_core::door::spa;
use testbed::Running;

use super::super::guard::{PATIENCE, State};
use super::super::sender::stranger;
use super::super::{lab, output, system};
use super::{Sender, rounds_of, secrets, shut};

/// Unpacked and never installed, and where its libraries are.
pub struct Fwknopd {
    program: PathBuf,
    libraries: OsString,
}

impl Fwknopd {
    /// `None` where it can't run.
    pub fn unpacked() -> Option<Fwknopd> {
        if !testbed::is_installed("apt-get") || !Path::new("/usr/sbin/iptables").exists() {
            return None;
        }
        let mut libraries = OsString::new();
        for package in ["libfko3", "libgpgme11", "libassuan0"] {
            let place = testbed::unpack(package).ok()?.join("usr/lib");
            for entry in std::fs::read_dir(place).ok()?.flatten() {
                libraries.push(entry.path());
                libraries.push(":");
            }
        }
        let program = testbed::unpack("fwknop-server").ok()?.join("usr/sbin/fwknopd");
        program.is_file().then_some(Fwknopd { program, libraries })
    }
}

/// How long it takes to let a guest through.
pub fn measure_peer(fwknopd: &Fwknopd, rounds: usize) -> Result<Vec<Duration>, String> {
    let (lab, state) = (lab()?, State::new("fwknopd")?);
    let program = testbed::target_directory().join("release/portcullis");
    let (access, keys) = secrets::single_keys(&program, &state)?;
    let (configuration, run) = (state.file("fwknopd.conf"), state.file("run"));
    std::fs::create_dir(&run).map_err(system)?;
    std::fs::write(&configuration, "PCAP_INTF eth0;\n").map_err(system)?;
    output(std::process::Command::new("chmod").arg("600").arg(&configuration))?;
    shut(&lab.victim)?;
    let mut command = lab.victim.command(&fwknopd.program.display().to_string());
    command.env("LD_LIBRARY_PATH", &fwknopd.libraries).args(["-f", "-i", "eth0", "-c"]).arg(&configuration);
    command.arg("-a").arg(&access).arg("-r").arg(&run);
    let mut running = Running::spawn(&mut command);
    running.wait_for_line(PATIENCE, |line| line.contains("main event loop"));
    let target = SocketAddrV4::new(lab.victim4(), spa::PORT);
    let knock = |sender: &mut Sender, round: u32| {
        let packet = secrets::packet(&keys, stranger(round), round)?;
        let knocked = Instant::now();
        sender.send_datagram(stranger(round), target, packet.as_bytes()).map_err(system)?;
        Ok(knocked)
    };
    // Its rules are its own to take away: it looks for those that it has made.
    rounds_of(&lab, rounds, knock, || Ok(()))
}
