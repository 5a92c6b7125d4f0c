//! What the kernel of a namespace holds, read apart from the guard.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portcullis_core::net::Prefix;
use portcullis_sys::nftables::Nftables;
use serde_json::Value;
use testbed::{Namespace, wait_until};
use tokio::net::TcpSocket;

use crate::harness::SOON;

/// How long a packet that is dropped is waited for; whoever gets an answer has it within a millisecond.
const SILENCE: Duration = Duration::from_millis(400);

/// Who is banned in the kernel, and for how long still. Empty where the table is gone.
pub fn banned(namespace: &Namespace) -> BTreeMap<Prefix, Option<Duration>> {
    let held = namespace.enter(|| Nftables::open("portcullis").unwrap().list().unwrap());
    held.elements.into_iter().map(|element| (element.prefix, element.remaining)).collect()
}

/// The same for one.
pub fn is_banned(namespace: &Namespace, prefix: &str) -> bool {
    banned(namespace).contains_key(&prefix.parse().unwrap())
}

/// Waits until exactly these are banned.
#[track_caller]
pub fn wait_for_bans(namespace: &Namespace, prefixes: &[&str]) {
    let mut expected: Vec<Prefix> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
    expected.sort_unstable();
    let mut last = Vec::new();
    let what = format!("the kernel to hold {prefixes:?} and nothing else");
    wait_until(SOON, &what, || {
        last = banned(namespace).into_keys().collect();
        (last == expected).then_some(())
    });
}

/// An element as the administrator's own tool shows it: `timeout` and `expires` in seconds.
#[track_caller]
pub fn listed_by_nft(namespace: &Namespace, set: &str, address: &str) -> Option<Value> {
    let output = namespace.run(&["nft", "-j", "list", "set", "inet", "portcullis", set]);
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let objects = listed["nftables"].as_array().unwrap();
    let elements = objects.iter().find_map(|object| object["set"]["elem"].as_array())?;
    elements.iter().map(|element| &element["elem"]).find(|element| element["val"] == address).cloned()
}

/// Whether a TCP connection from one address to another comes about.
pub fn can_connect(from: &Namespace, source: &str, target: IpAddr, port: u16) -> bool {
    let source = SocketAddr::new(source.parse().unwrap(), 0);
    let connect = async {
        let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.bind(source).unwrap();
        let connected = socket.connect(SocketAddr::new(target, port));
        tokio::time::timeout(SILENCE, connected).await.is_ok_and(|connected| connected.is_ok())
    };
    from.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(connect)
    })
}

/// Scans with one packet a port and without looking whether the host is up. Returns how many ports answered that they
/// are closed.
#[track_caller]
pub fn nmap(from: &Namespace, words: &[&str]) -> usize {
    let quick = ["nmap", "-n", "-Pn", "--disable-arp-ping", "-T4", "--max-retries", "0", "-oG", "-"];
    let output = from.run(&[&quick, words].concat());
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    // `Ports: 22/open/tcp//ssh///, 23/closed/tcp…`, or for what most are: `Ignored State: closed (994)`.
    let ignored = printed.split("Ignored State: closed (").nth(1);
    let ignored: Option<usize> = ignored.and_then(|rest| rest.split(')').next()?.parse().ok());
    printed.matches("/closed/").count() + ignored.unwrap_or(0)
}
