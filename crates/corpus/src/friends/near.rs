//! What hangs about in a local network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portcullis_core::wire::build;

use crate::stage::Stage;

/// The broadcast address of the host's /24.
fn broadcast(stage: &Stage) -> IpAddr {
    let [a, b, c, _] = stage.host.v4[0].octets();
    Ipv4Addr::new(a, b, c, 255).into()
}

fn multicast(last: [u8; 2]) -> IpAddr {
    Ipv4Addr::new(if last[0] == 0 { 224 } else { 239 }, if last[0] == 0 { 0 } else { 255 }, last[0], last[1])
        .into()
}

/// Neighbours that announce and look for things, to everybody; now and then a unicast answer to who asked.
pub(super) fn chatter(stage: &mut Stage) {
    let own = stage.host.own();
    let everybody = broadcast(stage);
    let mdns6 = IpAddr::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb));
    for _ in 0..stage.dice.count(4, 25) {
        let neighbour = stage.neighbour();
        let near6 =
            IpAddr::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0211, 0x22ff, 0xfe33, stage.dice.port(1, 0xfffe)));
        for _ in 0..stage.dice.count(3, 20) {
            let at = stage.start + stage.dice.micros(0, 300_000_000);
            let port = stage.ephemeral();
            match stage.dice.between(0, 8) {
                0 => stage.datagram(at, (neighbour, 5353), (multicast([0, 251]), 5353), 120),
                1 => stage.datagram(at, (near6, 5353), (mdns6, 5353), 120),
                2 => stage.datagram(at, (neighbour, port), (multicast([255, 250]), 1900), 150),
                3 => stage.datagram(at, (neighbour, port), (multicast([0, 252]), 5355), 40),
                4 => stage.datagram(at, (neighbour, 137), (everybody, 137), 50),
                5 => stage.datagram(at, (neighbour, 138), (everybody, 138), 200),
                6 => stage.datagram(at, (neighbour, 17_500), (everybody, 17_500), 140),
                7 => stage.datagram(at, (neighbour, 57_621), (everybody, 57_621), 44),
                // RFC 6762 §5.4: whoever asked with the unicast bit is answered alone.
                _ => stage.datagram(at, (neighbour, 5353), (own, 5353), 180),
            }
        }
    }
}

/// We look for things by SSDP, and every neighbour answers from a port of his own to our one.
pub(super) fn search(stage: &mut Stage) {
    let own = stage.host.own();
    let neighbours: Vec<_> = (0..stage.dice.count(2, 12)).map(|_| stage.neighbour()).collect();
    for round in 0..stage.dice.count(1, 6) as u32 {
        let at = stage.start + round * Duration::from_secs(120);
        let port = stage.ephemeral();
        stage.datagram(at, (own, port), (multicast([255, 250]), 1900), 130);
        for neighbour in &neighbours {
            let from = if stage.dice.percent(50) { 1900 } else { stage.ephemeral() };
            // Up to MX seconds later, and some answer when nobody listens any more.
            let at = at + stage.dice.micros(2_000, 5_000_000);
            for _ in 0..stage.dice.count(1, 4) {
                stage.datagram(at, (*neighbour, from), (own, port), 300);
            }
        }
    }
}

/// WS-Discovery (a scanner, a share): the question to everybody, the answers alone, from port 3702.
pub(super) fn ws_discovery(stage: &mut Stage) {
    let own = stage.host.own();
    let neighbours: Vec<_> = (0..stage.dice.count(2, 12)).map(|_| stage.neighbour()).collect();
    for round in 0..stage.dice.count(2, 12) as u32 {
        let at = stage.start + round * Duration::from_secs(30);
        let port = stage.ephemeral();
        for repetition in 0..3_u32 {
            let at = at + repetition * Duration::from_millis(150);
            stage.datagram(at, (own, port), (multicast([255, 250]), 3702), 600);
            for neighbour in &neighbours {
                let delay = stage.dice.micros(1_000, 4_000_000);
                stage.datagram(at + delay, (*neighbour, 3702), (own, port), 900);
            }
        }
    }
}

/// Leases asked for and given, by broadcast and alone.
pub(super) fn dhcp(stage: &mut Stage) {
    let own = stage.host.own();
    let server = stage.neighbour();
    let (nobody, all) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv4Addr::BROADCAST));
    for round in 0..stage.dice.count(2, 20) as u32 {
        let at = stage.start + round * Duration::from_secs(900) + stage.dice.micros(0, 90_000_000);
        stage.datagram(at, (nobody, 68), (all, 67), 300);
        stage.datagram(at + Duration::from_millis(30), (server, 67), (all, 68), 300);
        stage.datagram(at + Duration::from_secs(1), (own, 68), (server, 67), 300);
        stage.datagram(at + Duration::from_secs(1) + Duration::from_millis(8), (server, 67), (own, 68), 300);
    }
}

/// Lamps, speakers, printers: broadcasts on ports of their own, and each now and then one probe of a known port of
/// every neighbour (a printer's client, a speaker's).
pub(super) fn things(stage: &mut Stage) {
    let own = stage.host.own();
    let everybody = broadcast(stage);
    for _ in 0..stage.dice.count(2, 10) {
        let thing = stage.neighbour();
        let port = stage.dice.pick(&[6666, 6667, 9999, 38_899, 5678, 10_001, 20_002, 34_962, 56_700]);
        for round in 0..stage.dice.count(10, 60) as u32 {
            let at = stage.start + round * Duration::from_secs(10) + stage.dice.micros(0, 900_000);
            stage.datagram(at, (thing, port), (everybody, port), 180);
        }
        let at = stage.start + stage.dice.micros(0, 100_000_000);
        let from = stage.ephemeral();
        match stage.dice.between(0, 3) {
            0 => {
                let ask = build::udp(from, 161, &[0x30; 48]);
                stage.arrive(at, build::ip(thing, own, ask).bytes());
            }
            1 => {
                let ask = build::udp(137, 137, &[0x30; 50]);
                for retry in 0..3 {
                    let at = at + Duration::from_millis(1_500) * retry;
                    stage.arrive(at, build::ip(thing, own, ask.clone()).bytes());
                }
            }
            _ => {}
        }
    }
}
