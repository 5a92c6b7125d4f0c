//! Those who knock, and what can be seen of doors from outside.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use testbed::{Lab, Namespace, wait_until};

use crate::harness::{Guard, SOON};

/// The service behind the doors of these tests.
pub const SERVICE: u16 = 2222;

/// Right for [`door`]. Of ports that no text holds by chance.
pub const RIGHT: &str = "47113 48117:udp 46119";

/// Between two knocks: a sender that is moved to another processor must not overtake itself.
const GAP: Duration = Duration::from_millis(2);

/// The door `ssh`, which [`RIGHT`] opens; `more` are lines of its table.
pub fn door(more: &str) -> String {
    format!(
        "[door.ssh]\nkind = \"sequence\"\nsequence = \"47113, 48117:udp, 46119\"\nopens = \"tcp/{SERVICE}\"\n{more}\n"
    )
}

/// Listens, so that connections come about; nothing is accepted.
pub fn serve(namespace: &Namespace) -> TcpListener {
    namespace.enter(|| TcpListener::bind(("::", SERVICE))).unwrap()
}

/// Sends one packet for each step, as `7000` or `7000:udp`, from one of the namespace's addresses.
#[track_caller]
pub fn knock(from: &Namespace, source: &str, target: impl Into<IpAddr>, steps: &str) {
    let (source, target) = (source.parse().unwrap(), target.into());
    let hits: Vec<(u16, bool)> = steps
        .split_whitespace()
        .map(|step| match step.strip_suffix(":udp") {
            Some(port) => (port.parse().unwrap(), true),
            None => (step.parse().unwrap(), false),
        })
        .collect();
    from.enter(|| {
        for (port, is_udp) in hits {
            hit(source, SocketAddr::new(target, port), is_udp);
            std::thread::sleep(GAP);
        }
    });
}

/// One SYN, or one datagram.
pub fn hit(source: IpAddr, target: SocketAddr, is_udp: bool) {
    if is_udp {
        UdpSocket::bind((source, 0)).unwrap().send_to(&[0], target).unwrap();
        return;
    }
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    // Given up at once: the SYN is not repeated.
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
        answer => answer.unwrap(),
    }
}

/// Knocks rightly, and waits until the guard has said that the door is open to that source.
#[track_caller]
pub fn enter(lab: &Lab, guard: &mut Guard, source: &str) -> Value {
    let told = guard.running.count();
    let target = if source.contains(':') { IpAddr::from(lab.victim6()) } else { lab.victim4().into() };
    knock(&lab.attacker, source, target, RIGHT);
    guard.wait_for_after(told, SOON, |event| event["event"] == "open" && event["source"] == source)
}

/// For how many seconds the kernel lets an address in, if at all. Read by the administrator's own tool.
pub fn let_in(namespace: &Namespace, set: &str, address: &str) -> Option<u64> {
    let listed = namespace.command("nft").args(["-j", "list", "set", "inet", "portcullis", set]).output();
    let listed: Value = serde_json::from_slice(&listed.unwrap().stdout).ok()?;
    let elements =
        listed["nftables"].as_array()?.iter().find_map(|object| object["set"]["elem"].as_array())?;
    let element =
        elements.iter().map(|element| &element["elem"]).find(|element| element["val"] == address)?;
    element["expires"].as_u64()
}

/// What `doors` says of one.
#[track_caller]
pub fn listed(guard: &Guard, name: &str) -> Value {
    let said = guard.verb(&["doors", "--json"]);
    said.lines().into_iter().find(|door| door["door"] == name).unwrap_or_else(|| panic!("{said:?}"))
}

/// For whom a door is open, by what `doors` says.
#[track_caller]
pub fn guests(guard: &Guard, name: &str) -> Vec<String> {
    let door = listed(guard, name);
    let openings = door["openings"].as_array().unwrap().iter();
    openings.map(|opening| opening["source"].as_str().unwrap().to_owned()).collect()
}

/// Waits until something is no more, and says how long that took since `since`.
#[track_caller]
pub fn wait_until_over(since: Instant, what: &str, mut is_there: impl FnMut() -> bool) -> Duration {
    wait_until(SOON, what, || (!is_there()).then_some(()));
    since.elapsed()
}

/// Has the configuration read anew; when that is answered it holds.
#[track_caller]
pub fn reload(guard: &Guard) {
    let said = guard.verb(&["reload"]);
    assert_eq!(said.code, 0, "{said:?}");
}
