//! Interfaces, addresses and gateways, against what the `ip` program has made.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::net::IpAddr;

use portcullis_sys::route::{Interface, Network, Watch, snapshot};
use testbed::Namespace;

fn look(namespace: &Namespace) -> Network {
    namespace.enter(|| snapshot().unwrap())
}

fn interface<'a>(network: &'a Network, name: &str) -> &'a Interface {
    network.interfaces.iter().find(|interface| interface.name == name).unwrap()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_bare_host_has_its_loopback() {
    let Some(namespace) = Namespace::new() else { return };
    let network = look(&namespace);
    let lo = interface(&network, "lo");
    assert!(lo.is_up && lo.is_loopback && lo.master.is_none() && !lo.is_port);
    let own: Vec<IpAddr> = network.addresses.iter().map(|address| address.address).collect();
    assert_eq!(own, addresses(&["127.0.0.1", "::1"]));
    assert_eq!(network.addresses[0].network.to_string(), "127.0.0.0/8");
    assert_eq!(network.gateways, addresses(&[]));
}

#[test]
fn interfaces_say_what_they_are_part_of() {
    let Some(namespace) = Namespace::new() else { return };
    namespace
        .ip("link add br0 type bridge\nlink add port0 type veth peer name far0\nlink set port0 master br0\n\
         link set br0 up\nlink set port0 up\n");
    let network = look(&namespace);
    let (bridge, port, far) =
        (interface(&network, "br0"), interface(&network, "port0"), interface(&network, "far0"));
    assert_eq!((port.master, port.is_port, port.is_up), (Some(bridge.index), true, true));
    assert_eq!((far.master, far.is_port, far.is_up), (None, false, false));
    assert!(!bridge.is_port && bridge.is_up);
}

#[test]
fn addresses_come_with_their_networks() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.ip(
        "link add eth0 type veth peer name far0\nlink set eth0 up\naddr add 192.0.2.17/28 dev eth0\n\
         addr add 10.0.0.1 peer 10.9.9.9/32 dev eth0\naddr add 2001:db8::17/56 dev eth0 nodad\n\
         addr add 2001:db8:1::1 peer 2001:db8:2::2/128 dev eth0 nodad\n",
    );
    let network = look(&namespace);
    let eth0 = interface(&network, "eth0").index;
    let of_eth0: Vec<(String, u8, String)> = network
        .addresses
        .iter()
        .filter(|address| address.interface == eth0 && !address.address.to_string().starts_with("fe80"))
        .map(|address| (address.address.to_string(), address.prefix_length, address.network.to_string()))
        .collect();
    let expected = [
        ("192.0.2.17", 28, "192.0.2.16/28"),
        ("10.0.0.1", 32, "10.9.9.9/32"),
        ("2001:db8::17", 56, "2001:db8::/56"),
        ("2001:db8:1::1", 128, "2001:db8:2::2/128"),
    ];
    for (address, length, connected) in expected {
        let wanted = (address.to_owned(), length, connected.to_owned());
        assert!(of_eth0.contains(&wanted), "{wanted:?} is not in {of_eth0:?}");
    }
    assert_eq!(of_eth0.len(), expected.len());
}

#[test]
fn gateways_of_every_default_route_are_found() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.ip("link add eth0 type veth peer name far0\nlink set eth0 up\nlink set far0 up\n\
         addr add 192.0.2.1/24 dev eth0\naddr add 2001:db8::1/64 dev eth0 nodad\n");
    let check = |lines: &str, expected: &[&str]| {
        namespace.ip(lines);
        assert_eq!(look(&namespace).gateways, addresses(expected), "{lines}");
    };
    check("route add default via 192.0.2.254\n", &["192.0.2.254"]);
    check("route add default via 192.0.2.253 table 77\n", &["192.0.2.253", "192.0.2.254"]);
    check(
        "route add 198.51.100.0/24 via 192.0.2.9\nroute add unreachable default metric 99\n",
        &["192.0.2.253", "192.0.2.254"],
    );
    check(
        "route add default metric 7 nexthop via 192.0.2.200 nexthop via 192.0.2.201\n\
         route del default via 192.0.2.254\nroute flush table 77\n",
        &["192.0.2.200", "192.0.2.201"],
    );
    check("route flush 0.0.0.0/0\nroute add ::/0 via fe80::1 dev eth0\n", &["fe80::1"]);
    check(
        "route add ::/0 metric 9 nexthop via 2001:db8::8 nexthop via 2001:db8::9\n",
        &["2001:db8::8", "2001:db8::9", "fe80::1"],
    );
    namespace.run(&["ip", "-6", "route", "flush", "default"]);
    check("route add 0.0.0.0/0 via inet6 fe80::7 dev eth0\n", &["fe80::7"]);
    check("nexthop add id 5 via 192.0.2.5 dev eth0\nroute replace default nhid 5\n", &["192.0.2.5"]);
}

#[test]
fn changes_are_noticed_and_quiet_is_quiet() {
    let Some(namespace) = Namespace::new() else { return };
    let mut watch = namespace.enter(|| Watch::open().unwrap());
    assert!(!watch.drain().unwrap());
    for lines in [
        "link add eth0 type veth peer name far0\n",
        "link set eth0 up\nlink set far0 up\n",
        "addr add 192.0.2.1/24 dev eth0\n",
        "addr add 2001:db8::1/64 dev eth0 nodad\n",
        "route add default via 192.0.2.254\n",
        "route add ::/0 via 2001:db8::2\n",
        "link del eth0\n",
    ] {
        namespace.ip(lines);
        assert!(watch.drain().unwrap(), "{lines}");
    }
    // More events than the queue holds are a change, not a fault.
    let many: String = (0..4000)
        .map(|index| format!("route add 10.{}.{}.0/24 dev lo\n", index / 256, index % 256))
        .collect();
    namespace.ip(&many);
    assert!(watch.drain().unwrap());
    assert!(!watch.drain().unwrap());
}
