//! From the last knock on the wire to the first SYN that gets through the door.

mod fwknop;
mod secrets;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt::RcvBufForce,
};
use testbed::{Lab, Namespace, Running};

use super::guard::{Guard, PATIENCE, State};
use super::sender::{Probe, Sender, stranger};
use super::stream::route_strangers;
use super::table::{Line, median, quantile, time};
use super::{Bench, lab, output, system};

/// What lies behind the door.
const PORT: u16 = 22;

/// What opens it: SYNs, since each of them is the cheapest knock for either program.
const STEPS: [u16; 3] = [7000, 9000, 8000];

/// knockd has to start a shell and iptables.
const LIMIT: Duration = Duration::from_secs(5);

/// Room for SYNs that arrive while nobody reads.
const ROOM: usize = 16 * 1024 * 1024;

/// A sequence, a rotating sequence and a single packet at ours; a sequence at the distribution's knockd with a rule of
/// iptables, a single packet at its fwknopd.
pub fn measure(bench: &Bench) -> Result<Vec<Line>, String> {
    let few = bench.runs(400) / 4 + 1;
    let knockd = match knockd() {
        Some(knockd) => Some(measure_knockd(&knockd, few)?),
        None => None,
    };
    let fwknopd = match fwknop::Fwknopd::unpacked() {
        Some(fwknopd) => Some(fwknop::measure_peer(&fwknopd, few.min(40))?),
        None => None,
    };
    let sequence = measure_sequence(bench, bench.runs(400))?;
    let rotating = secrets::measure_rotating(bench, bench.runs(200).min(secrets::USERS))?;
    let single = secrets::measure_single(bench, bench.runs(200).min(secrets::PACKETS))?;
    Ok(vec![
        line("a sequence", &sequence, knockd.as_deref(), None),
        line("a rotating sequence", &rotating, knockd.as_deref(), None),
        line("a single packet", &single, knockd.as_deref(), fwknopd.as_deref()),
    ])
}

fn said(times: &[Duration]) -> String {
    format!("{} / {}", time(median(times)), time(quantile(times, 0.99)))
}

/// The promise is about knockd; where fwknopd does the same it is told too.
fn line(kind: &str, ours: &[Duration], knockd: Option<&[Duration]>, fwknopd: Option<&[Duration]>) -> Line {
    let what =
        format!("last knock to the first SYN let through, median / p99 ({} guests, {kind})", ours.len());
    let mut line = Line::told(what, said(ours));
    let mut is_faster = true;
    let (mut peers, mut ratios) = (Vec::new(), Vec::new());
    for (name, theirs) in [("knockd 0.8", knockd), ("fwknopd 2.6.10", fwknopd)] {
        let Some(theirs) = theirs else { continue };
        let ratio = median(theirs).as_secs_f64() / median(ours).as_secs_f64();
        is_faster &= ratio >= 100.0;
        peers.push(format!("{name} {}", said(theirs)));
        ratios.push(format!("{ratio:.0} ×"));
    }
    if !peers.is_empty() {
        line = line.peer(peers.join(", "), ratios.join(", "));
    }
    let is_quick =
        median(ours) <= Duration::from_micros(100) && quantile(ours, 0.99) <= Duration::from_millis(2);
    line.target("0.1 ms / 2 ms, 100 × faster", is_quick && is_faster)
}

fn measure_sequence(bench: &Bench, rounds: usize) -> Result<Vec<Duration>, String> {
    let (lab, state) = (lab()?, State::new("doors")?);
    let [first, second, third] = STEPS;
    state.configure(&format!(
        "[door.ssh]\nkind = \"sequence\"\nsequence = \"{first}, {second}, {third}\"\nopens = \"tcp/{PORT}\"\n\
         open_for = \"1h\"\n"
    ))?;
    let guard = Guard::start(&lab.victim, &bench.program, &state, "--enforce");
    let times = rounds_of(&lab, rounds, sequence_of_steps(&lab), || Ok(()))?;
    guard.stop();
    Ok(times)
}

/// Knocks of [`STEPS`].
fn sequence_of_steps(lab: &Lab) -> impl FnMut(&mut Sender, u32) -> Result<Instant, String> {
    let victim = lab.victim4();
    move |sender, round| {
        let knocks = STEPS.map(|port| Probe::new(stranger(round), SocketAddrV4::new(victim, port)));
        send_knocks(sender, &knocks)
    }
}

/// Sends them all, and says when the last was sent.
fn send_knocks(sender: &mut Sender, knocks: &[Probe]) -> Result<Instant, String> {
    let (last, before) = knocks.split_last().ok_or("a knock without steps")?;
    sender.send(before).map_err(system)?;
    let knocked = Instant::now();
    sender.send(std::slice::from_ref(last)).map_err(system)?;
    Ok(knocked)
}

/// The distribution's knockd, unpacked and never installed, if it can run here.
fn knockd() -> Option<PathBuf> {
    let unpacked = testbed::is_installed("apt-get").then(|| testbed::unpack("knockd"))?.ok()?;
    let program = unpacked.join("usr/sbin/knockd");
    (program.is_file() && Path::new("/usr/sbin/iptables").exists()).then_some(program)
}

fn measure_knockd(knockd: &Path, rounds: usize) -> Result<Vec<Duration>, String> {
    let (lab, state) = (lab()?, State::new("knockd")?);
    let log = state.file("knockd.log");
    let [first, second, third] = STEPS;
    let configuration = state.file("knockd.conf");
    let text = format!(
        "[options]\nlogfile = {}\n[ssh]\nsequence = {first},{second},{third}\nseq_timeout = 5\ntcpflags = syn,!ack\n\
         command = /usr/sbin/iptables -I INPUT -s %IP% -p tcp --dport {PORT} -j ACCEPT\n",
        log.display()
    );
    std::fs::write(&configuration, text).map_err(|error| format!("{}: {error}", configuration.display()))?;
    shut(&lab.victim)?;
    let mut command = lab.victim.command(&knockd.display().to_string());
    command.args(["-i", "eth0", "-c"]).arg(&configuration);
    let _running = Running::spawn(&mut command);
    testbed::wait_until(PATIENCE, "knockd to listen", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("listening on")).then_some(())
    });
    // Its rules are taken away after each round, as many of them would slow it down.
    rounds_of(&lab, rounds, sequence_of_steps(&lab), || shut(&lab.victim))
}

/// The door of somebody who has no portcullis.
fn shut(victim: &Namespace) -> Result<(), String> {
    output(victim.command("iptables").args(["-F", "INPUT"]))?;
    let port = PORT.to_string();
    let rule = ["-A", "INPUT", "-p", "tcp", "--syn", "--dport", &port, "-j", "DROP"];
    output(victim.command("iptables").args(rule)).map(drop)
}

fn rounds_of(
    lab: &Lab,
    rounds: usize,
    mut knock: impl FnMut(&mut Sender, u32) -> Result<Instant, String>,
    mut after: impl FnMut() -> Result<(), String>,
) -> Result<Vec<Duration>, String> {
    route_strangers(lab);
    let behind = Behind::open(lab).map_err(system)?;
    let mut sender = Sender::open(&lab.attacker, lab.victim4()).map_err(system)?;
    let mut times = Vec::with_capacity(rounds);
    for round in 0..u32::try_from(rounds).map_err(|error| error.to_string())? {
        let guest = stranger(round);
        let knocked = knock(&mut sender, round)?;
        times.push(first_through(&mut sender, &behind, guest, lab.victim4(), knocked)?);
        after()?;
    }
    Ok(times)
}

/// Sends one SYN after the other, each with its number, until one of them has got through; says how long after the knock
/// that one was sent.
fn first_through(
    sender: &mut Sender,
    behind: &Behind,
    guest: Ipv4Addr,
    victim: Ipv4Addr,
    knocked: Instant,
) -> Result<Duration, String> {
    let mut sent = Vec::new();
    loop {
        let number = u32::try_from(sent.len()).map_err(|error| error.to_string())?;
        let syn = Probe::numbered(guest, SocketAddrV4::new(victim, PORT), number);
        sent.push(knocked.elapsed());
        sender.send(std::slice::from_ref(&syn)).map_err(system)?;
        if let Some(number) = behind.first(guest).map_err(system)? {
            return sent.get(number as usize).copied().ok_or("a SYN came that was never sent".to_owned());
        }
        if knocked.elapsed() > LIMIT {
            return Err(format!("the door was not open to {guest} within {LIMIT:?}"));
        }
    }
}

/// The measuring instrument: a raw socket gets its copy of a segment behind all packet filters (raw(7)), whether or not
/// anybody listens on its port.
struct Behind(OwnedFd);

impl Behind {
    fn open(lab: &Lab) -> io::Result<Behind> {
        lab.victim.enter(|| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Tcp)?;
            setsockopt(&socket, RcvBufForce, &ROOM)?;
            Ok(Behind(socket))
        })
    }

    /// The number of the first SYN of this guest to the door's port that waits to be read.
    fn first(&self, guest: Ipv4Addr) -> io::Result<Option<u32>> {
        let mut packet = [0; 128];
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Ok(length) => length,
                Err(nix::errno::Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            // With the IP header, which has no options here. The knocks come through too.
            if length >= 40 && packet[12..16] == guest.octets() && packet[22..24] == PORT.to_be_bytes() {
                return Ok(Some(u32::from_be_bytes([packet[24], packet[25], packet[26], packet[27]])));
            }
        }
    }
}
