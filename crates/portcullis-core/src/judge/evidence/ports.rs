//! What is known of ports in general: which belong to one service, which are left over, which are worth a sweep.
//!
//! Numbers from IANA's registry and from what clients do by themselves.

use crate::net::Protocol;

/// Ports that one client tries together, as if they were one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Web,
    WebBeside,
    Mail,
    Share,
    Mount,
    Names,
    Time,
    Tunnel,
    Remote,
    Voice,
    Peers,
    /// A port by itself.
    Port(u16),
}

impl Service {
    /// The service that lives there. The transport does not matter: 443 is the web's by TCP and by QUIC.
    pub(super) fn at(protocol: Protocol, port: u16) -> Service {
        match port {
            // The number of a protocol, or none.
            port if matches!(protocol, Protocol::Ip | Protocol::Icmp) => Service::Port(port),
            80 | 443 => Service::Web,
            8080 | 8443 => Service::WebBeside,
            25 | 110 | 143 | 465 | 587 | 993 | 995 | 4190 => Service::Mail,
            // Windows tries the second where the first is silent.
            137..=139 | 445 => Service::Share,
            // The portmapper is asked first.
            111 | 2049 => Service::Mount,
            53 | 853 => Service::Names,
            123 => Service::Time,
            500 | 1194 | 1701 | 1723 | 4500 | 51820 => Service::Tunnel,
            22 => Service::Remote,
            3478..=3481 | 5060 | 5061 | 5349 => Service::Voice,
            _ if is_peers(port) => Service::Peers,
            port => Service::Port(port),
        }
    }

    /// Whether it is asked for at addresses that have long lost it: by old names, configurations and forwards.
    pub(super) fn is_left_over(self) -> bool {
        !matches!(self, Service::Port(_) | Service::Peers)
    }
}

/// Stores of data that one application has several of: MySQL, PostgreSQL, Redis, Elasticsearch, memcached, MongoDB,
/// Cassandra, RabbitMQ, Kafka, ZooKeeper, etcd. They stand on one machine, and go with it.
pub(super) fn is_store(port: u16) -> bool {
    matches!(port, 2181 | 2379 | 3306 | 5432 | 5672 | 6379 | 9042 | 9092 | 9200 | 9300 | 11211 | 27017)
}

/// Where telephone systems take the ports of their streams from, by their defaults.
const STREAMS: (u16, u16) = (10_000, 32_767);

/// Whether two ports are one service's. A medium's stream and its control take an even port and the next one
/// (RFC 3550 §11).
pub(super) fn are_one_service(one: (Protocol, u16), other: (Protocol, u16)) -> bool {
    let is_stream = |(protocol, port)| protocol == Protocol::Udp && (STREAMS.0..=STREAMS.1).contains(&port);
    let are_streams = is_stream(one) && is_stream(other) && one.1 / 2 == other.1 / 2;
    are_streams || Service::at(one.0, one.1) == Service::at(other.0, other.1)
}

/// Ports of programs whose peers look for one another at addresses that they have heard of: BitTorrent, eMule,
/// Gnutella, Windows' delivery optimization, Dropbox, Bitcoin, IPFS, Ethereum.
fn is_peers(port: u16) -> bool {
    matches!(port, 6881..=6999 | 51413 | 4662 | 4672 | 6346 | 6347 | 7680 | 17500 | 8333 | 4001 | 30303)
}

/// Whether somebody would look for it at many addresses: a service is known there, and has had holes.
pub(super) fn is_worth_a_sweep(port: u16) -> bool {
    port < 1024
        || matches!(
            port,
            1080 | 1433
                | 1434
                | 1521
                | 1723
                | 1883
                | 1900
                | 2049
                | 2181
                | 2222
                | 2323
                | 2375
                | 2376
                | 3128
                | 3306
                | 3389
                | 4444
                | 4899
                | 5000
                | 5060
                | 5353
                | 5432
                | 5555
                | 5601
                | 5683
                | 5900
                ..=5903
                    | 5984
                    | 5985
                    | 6000
                    | 6379
                    | 7001
                    | 7547
                    | 8000
                    | 8080
                    | 8081
                    | 8086
                    | 8088
                    | 8291
                    | 8443
                    | 8545
                    | 8728
                    | 8888
                    | 9000
                    | 9090
                    | 9100
                    | 9200
                    | 10000
                    | 11211
                    | 27017
                    | 37215
                    | 52869
        )
}

/// The destination ports of traceroute's datagrams: 33434 and one more for each, by every implementation since Van
/// Jacobson's; 30 hops by three, and some that begin higher.
pub(super) fn is_traceroute(protocol: Protocol, port: u16) -> bool {
    protocol == Protocol::Udp && (33434..=33689).contains(&port)
}
