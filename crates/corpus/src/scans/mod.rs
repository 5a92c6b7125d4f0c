//! Scans: what nmap, masscan, zmap, hping3 and patient people send, and how a host answers.

mod crowds;
mod fingerprint;
mod nmap;
mod runs;
mod slow;
mod tools;
mod wide;

use crate::{Class, Family, view::Seen};

/// TCP ports that scanners ask for first.
pub(crate) const POPULAR: [u16; 80] = [
    80, 23, 443, 21, 22, 25, 3389, 110, 445, 139, 143, 53, 135, 3306, 8080, 1723, 111, 995, 993, 5900, 1025,
    587, 8888, 199, 1720, 465, 548, 113, 81, 6001, 10000, 514, 5060, 179, 1026, 2000, 8443, 8000, 32768, 554,
    26, 1433, 49152, 2001, 515, 8008, 49154, 1027, 5666, 646, 5000, 5631, 631, 49153, 8081, 2049, 88, 79,
    5800, 106, 2121, 1110, 49155, 6000, 513, 990, 5357, 427, 543, 544, 5101, 144, 7, 389, 8009, 3128, 444,
    9999, 5432, 6379,
];

/// The same of UDP.
pub(crate) const POPULAR_UDP: [u16; 60] = [
    631, 161, 137, 123, 138, 1434, 445, 135, 67, 53, 139, 500, 68, 520, 1900, 4500, 514, 49152, 162, 69,
    5353, 111, 49154, 1701, 998, 996, 997, 999, 3283, 49153, 1812, 136, 2222, 2049, 32768, 5060, 1025, 1433,
    3456, 80, 20031, 1026, 7, 1646, 1645, 593, 518, 2048, 626, 1027, 177, 1719, 427, 497, 4444, 1023, 19, 9,
    17185, 31337,
];

/// All families of scans.
pub(crate) fn families() -> Vec<Family> {
    let scan = |name, play| Family::new(name, Class::Scan, play);
    let also_inbound = |name, play| Family { seen: Seen::SometimesInbound, ..scan(name, play) };
    let hard = |name, play| Family::new(name, Class::HardScan, play);
    vec![
        scan(THREE_SERVICES, runs::three_services),
        also_inbound("nmap -sS", runs::syn),
        also_inbound("nmap -sT", runs::connect),
        also_inbound("nmap -sU", runs::udp),
        also_inbound("nmap -sN", runs::null),
        also_inbound("nmap -sF", runs::fin),
        also_inbound("nmap -sX", runs::xmas),
        scan("nmap -sM", runs::maimon),
        also_inbound("nmap --scanflags", runs::flags),
        scan("nmap -sY", runs::sctp_init),
        scan("nmap -sZ", runs::sctp_cookie),
        scan("nmap -sO", runs::protocols),
        scan("nmap -sI, in the zombie's name", runs::idle),
        scan("nmap -T2", runs::polite),
        scan("nmap -T1", runs::sneaky),
        scan("nmap -g 53", runs::from_a_known_port),
        scan("nmap -6", runs::ipv6),
        scan("nmap -6, extension headers", runs::extension_headers),
        scan("nmap -6, link-local", runs::link_local),
        scan("nmap of a neighbour", runs::neighbour),
        scan("nmap of a user of the web", runs::user),
        scan("nmap, five to ten ports", runs::few_but_enough),
        scan("nmap -T1, five to ten ports", runs::few_and_sneaky),
        scan("nmap -sV", runs::versions),
        scan("nmap -O", fingerprint::usual),
        scan("two scanners at once", runs::two),
        also_inbound("masscan", tools::masscan),
        also_inbound("hping3 -S", tools::hping_syn),
        also_inbound("hping3, odd flags", tools::hping_flags),
        scan("hping3 -2", tools::hping_udp),
        scan("sockets in a loop", tools::script),
        scan("UDP with payloads", tools::payloads),
        also_inbound("zmap, own addresses", wide::zmap),
        scan("one port, own addresses", wide::horizontal),
        also_inbound("ports and addresses", wide::block),
        also_inbound("telnet worm, own addresses", wide::worm),
        scan("one UDP port, own addresses", wide::udp),
        scan("UDP, any ports", tools::any_udp),
        hard("ping sweep", wide::sweep),
        hard("ping sweep over IPv6", wide::sweep6),
        hard("one port, few addresses", wide::few_addresses),
        hard("one service, own addresses", wide::service),
        hard("nmap -T0", slow::paranoid),
        hard("one probe an hour", slow::hourly),
        hard("one probe a minute", slow::minutely),
        hard("FIN, one an hour", slow::hourly_fin),
        hard("UDP, one in ten minutes", slow::udp),
        hard("addresses, one an hour", slow::horizontal),
        Family { seen: Seen::Inbound, ..hard("nmap -T0, inbound only", slow::paranoid) },
        hard("a user, one probe in ten minutes", slow::user),
        hard("nmap -O, two ports", fingerprint::two_ports),
        hard("few ports", slow::few_ports),
        hard("few ports over IPv6", slow::few_ports6),
        hard("nmap -D", crowds::decoys),
        hard("distributed, one port each", crowds::one_port_each),
        hard("distributed, few ports each", crowds::few_ports_each),
        hard("IPv6, another address each time", crowds::addresses_of_one),
        hard("nmap -sA", runs::ack),
        hard("nmap -sW", runs::ack),
        hard("nmap -f", runs::fragments),
        hard("nmap --mtu 24", runs::longer_fragments),
        hard("overlapping fragments", tools::overlaps),
        Family { seen: Seen::Outbound, ..hard("nmap -sS, answers only", runs::syn_to_a_bare_host) },
    ]
}

/// Of these, the probes until the verdict are told.
pub const THREE_SERVICES: &str = "nmap -sS, fast, 3 services";
