//! The rules of others over the same packets, to compare: PortSentry 1.2's and scanlogd's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::time::Mono;
use portcullis_core::wire::{Checksums, Decoder, FragmentLimits, Frame, Link, Packet, TcpFlags, Transport};

use crate::Scenario;

/// PortSentry's list as shipped ("aware").
const WATCHED_TCP: [u16; 26] = [
    1, 11, 15, 79, 111, 119, 143, 540, 635, 1080, 1524, 2000, 5742, 6667, 12345, 12346, 20034, 27665, 31337,
    32771, 32772, 32773, 32774, 40421, 49724, 54320,
];

/// The same for UDP.
const WATCHED_UDP: [u16; 21] = [
    1, 7, 9, 69, 161, 162, 513, 635, 640, 641, 700, 37444, 34555, 31335, 32770, 32771, 32772, 32773, 32774,
    31337, 54321,
];

/// Whom PortSentry 1.2 (`-stcp`, `-sudp`, no trigger) accuses: any packet that could open something, to a watched port
/// without a service, is enough. IPv4 only, whole packets or not, before or behind no firewall.
#[must_use]
pub fn portsentry(scenario: &Scenario) -> Vec<IpAddr> {
    let mut accused = BTreeSet::new();
    each(scenario, |_, packet| {
        if !scenario.local.contains(&packet.destination) || packet.source.is_ipv6() {
            return;
        }
        let is_event = match packet.transport {
            Transport::Tcp(tcp) => {
                tcp.flags.0 & (TcpFlags::ACK | TcpFlags::RST) == 0
                    && WATCHED_TCP.contains(&tcp.destination_port)
                    && !scenario.services.0.contains(&tcp.destination_port)
            }
            Transport::Udp { destination_port, .. } => {
                WATCHED_UDP.contains(&destination_port) && !scenario.services.1.contains(&destination_port)
            }
            _ => false,
        };
        if is_event {
            accused.insert(packet.source);
        }
    });
    accused.into_iter().collect()
}

/// What ports of one source scanlogd has seen.
#[derive(Default)]
struct Seen {
    ports: BTreeSet<u16>,
    weight: u32,
    last: Duration,
}

/// Whom scanlogd accuses: distinct TCP ports of a source weigh 3 below 1024 and 1 above, 21 of weight is a scan, and a
/// pause of more than 3 s begins anew. It looks at what carries neither ACK nor RST.
#[must_use]
pub fn scanlogd(scenario: &Scenario) -> Vec<IpAddr> {
    const GAP: Duration = Duration::from_secs(3);
    let mut sources: BTreeMap<IpAddr, Seen> = BTreeMap::new();
    let mut accused = BTreeSet::new();
    each(scenario, |at, packet| {
        let Transport::Tcp(tcp) = packet.transport else { return };
        let is_local = scenario.local.contains(&packet.destination);
        if !is_local || packet.source.is_ipv6() || tcp.flags.0 & (TcpFlags::ACK | TcpFlags::RST) != 0 {
            return;
        }
        let seen = sources.entry(packet.source).or_default();
        if at.saturating_sub(seen.last) > GAP {
            *seen = Seen::default();
        }
        seen.last = at;
        if seen.ports.insert(tcp.destination_port) {
            seen.weight += if tcp.destination_port < 1024 { 3 } else { 1 };
        }
        if seen.weight >= 21 {
            accused.insert(packet.source);
        }
    });
    accused.into_iter().collect()
}

/// How many places (address, protocol, port) `source` had tried by `until`.
#[must_use]
pub fn places_tried(scenario: &Scenario, source: IpAddr, until: Duration) -> usize {
    let mut places = BTreeSet::new();
    each(scenario, |at, packet| {
        if packet.source != source || at > until {
            return;
        }
        let (protocol, port) = match packet.transport {
            Transport::Tcp(tcp) => (6, tcp.destination_port),
            Transport::Udp { destination_port, .. } => (17, destination_port),
            Transport::Sctp { destination_port, .. } => (132, destination_port),
            Transport::Icmp { .. } => (1, 0),
            Transport::Hidden { number } => (255, number),
            Transport::Other(number) => (255, number.into()),
        };
        places.insert((packet.destination, protocol, port));
    });
    places.len()
}

fn each(scenario: &Scenario, mut see: impl FnMut(Duration, &Packet<'_>)) {
    let mut decoder = Decoder::new(FragmentLimits::default(), [0; 16]);
    for captured in &scenario.packets {
        let bytes = &captured.bytes;
        let frame =
            Frame { link: Link::RawIp, bytes, wire_length: bytes.len(), checksums: Checksums::Verify };
        if let Ok(packet) = decoder.decode(Mono(captured.at), frame) {
            see(captured.at, &packet);
        }
    }
}
