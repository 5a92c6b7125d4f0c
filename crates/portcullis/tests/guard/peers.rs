//! Ordinary hosts beside the scanners: services, clients, and the one who shows that everything before was judged.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use testbed::{Lab, Namespace};

use crate::harness::{Guard, SOON};

/// A source that nothing else uses.
const WITNESS: &str = "10.77.0.250";

/// Where the witness knocks: nothing is there in any test. More than it takes.
const WITNESS_PORTS: RangeInclusive<u16> = 19_001..=19_008;

/// So many probes are the witness's.
pub const WITNESSED: u64 = 8;

/// A stranger knocks on closed ports, and must be told; so everything that came before him has been judged by then.
#[track_caller]
pub fn everything_is_judged(lab: &Lab, guard: &mut Guard) {
    lab.add_attacker(&format!("{WITNESS}/24"));
    let witness = lab.attacker.enter(|| UdpSocket::bind((WITNESS, 0))).unwrap();
    for port in WITNESS_PORTS {
        // An error is the answer to the datagram before: the port is closed, as it should be.
        if witness.send_to(b"?", (lab.victim4(), port)).is_err() {
            witness.send_to(b"?", (lab.victim4(), port)).unwrap();
        }
    }
    guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == WITNESS);
    testbed::wait_until(SOON, "the witness's last probe", || {
        (guard.status()["probes"].as_u64() >= Some(WITNESSED)).then_some(())
    });
}

/// Nobody was accused so far, and nothing was even counted.
#[track_caller]
pub fn nothing_was_a_probe(lab: &Lab, guard: &mut Guard) {
    everything_is_judged(lab, guard);
    let accused: Vec<_> = guard.told("scan").into_iter().filter(|scan| scan["source"] != WITNESS).collect();
    assert!(accused.is_empty(), "{accused:#?}");
    assert_eq!(guard.status()["probes"], WITNESSED);
}

/// Who was told to scan so far, beside the witness; sorted, each once.
pub fn accused(guard: &Guard) -> Vec<String> {
    let sources = guard.told("scan").into_iter().map(|scan| scan["source"].as_str().unwrap().to_owned());
    let mut sources: Vec<String> = sources.filter(|source| source != WITNESS).collect();
    sources.sort();
    sources.dedup();
    sources
}

/// Listens on these ports.
pub fn listen(namespace: &Namespace, address: &str, ports: RangeInclusive<u16>) -> Vec<TcpListener> {
    let address: IpAddr = address.parse().unwrap();
    namespace.enter(|| ports.map(|port| TcpListener::bind((address, port)).unwrap()).collect())
}

/// Binds these ports for datagrams.
pub fn bind(namespace: &Namespace, address: &str, ports: RangeInclusive<u16>) -> Vec<UdpSocket> {
    let address: IpAddr = address.parse().unwrap();
    namespace.enter(|| ports.map(|port| UdpSocket::bind((address, port)).unwrap()).collect())
}

/// Answers each connection with what it says, until the process ends.
pub fn echo(listeners: Vec<TcpListener>) {
    for listener in listeners {
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut said = [0; 64];
                // A client that breaks off is what some tests are about.
                while let Ok(count @ 1..) = stream.read(&mut said) {
                    if stream.write_all(&said[..count]).is_err() {
                        break;
                    }
                }
            }
        });
    }
}

/// Sends each datagram back, until the process ends.
pub fn echo_datagrams(sockets: Vec<UdpSocket>) {
    for socket in sockets {
        thread::spawn(move || {
            let mut said = [0; 64];
            loop {
                // An error is an ICMP answer to what was sent back before.
                if let Ok((count, from)) = socket.recv_from(&mut said) {
                    let _ = socket.send_to(&said[..count], from);
                }
            }
        });
    }
}

/// Connects, says something and hears it back.
#[track_caller]
pub fn converse(from: &Namespace, to: SocketAddr) {
    let mut stream = from.enter(|| TcpStream::connect_timeout(&to, SOON)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

/// The same by datagrams, each time from a fresh port.
#[track_caller]
pub fn converse_by_datagram(from: &Namespace, to: SocketAddr) {
    let any: IpAddr = if to.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap();
    let socket = from.enter(|| UdpSocket::bind((any, 0))).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send_to(b"hello", to).unwrap();
    let mut answer = [0; 5];
    socket.recv_from(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

/// Connects to a port that refuses; says what came instead.
pub fn knock(from: &Namespace, to: SocketAddr, patience: Duration) -> std::io::ErrorKind {
    from.enter(|| TcpStream::connect_timeout(&to, patience)).expect_err("nothing is there").kind()
}
