//! Ports that are translated to somewhere else are services: containers, redirects.

use std::net::SocketAddr;

use serde_json::json;
use testbed::{Lab, Namespace};

use crate::harness::{Guard, SOON};
use crate::peers::{
    accused, bind, converse, converse_by_datagram, echo, echo_datagrams, everything_is_judged, knock, listen,
};

/// 8001 to 8008 are a container's, 9001 to 9008 are all one port of the host.
const RULES: &str = "add table inet published\n\
    add chain inet published prerouting { type nat hook prerouting priority -100; }\n\
    add rule inet published prerouting ip daddr 10.77.0.2 tcp dport 8001-8008 dnat ip to 172.20.0.2\n\
    add rule inet published prerouting ip daddr 10.77.0.2 udp dport 8001-8008 dnat ip to 172.20.0.2\n\
    add rule inet published prerouting ip6 daddr fd77::2 tcp dport 8001-8008 dnat ip6 to fd20::2\n\
    add rule inet published prerouting tcp dport 9001-9008 redirect to :9000\n";

#[test]
fn ports_of_a_container_and_redirected_ports_are_services() {
    let Some(lab) = Lab::direct() else { return };
    let Some(container) = Namespace::new() else { return };
    if !testbed::has(&["nft"]) {
        return;
    }
    lab.victim.join("inside", &container, "eth0");
    lab.victim.ip("addr add 172.20.0.1/24 dev inside\naddr add fd20::1/64 dev inside nodad\n");
    container.ip("addr add 172.20.0.2/24 dev eth0\naddr add fd20::2/64 dev eth0 nodad\n\
                  route add default via 172.20.0.1\nroute add ::/0 via fd20::1\n");
    lab.victim.sysctl("net.ipv4.ip_forward", "1");
    lab.victim.sysctl("net.ipv6.conf.all.forwarding", "1");
    lab.victim.run_with_input(&["nft", "-f", "-"], RULES);
    echo(listen(&container, "::", 8001..=8008));
    echo_datagrams(bind(&container, "0.0.0.0", 8001..=8008));
    echo(listen(&lab.victim, "0.0.0.0", 9000..=9000));

    // The first probe is a scan here.
    let mut guard =
        Guard::configured(&lab.victim, "[judge]\nby = \"trigger\"\ntrigger = 1\n", &["--observe"]);
    let service = |address: &str, port| SocketAddr::new(address.parse().unwrap(), port);
    for _ in 0..5 {
        for port in 8001..=8008 {
            converse(&lab.attacker, service("10.77.0.2", port));
            converse(&lab.attacker, service("fd77::2", port));
            converse_by_datagram(&lab.attacker, service("10.77.0.2", port));
            converse(&lab.attacker, service("10.77.0.2", port + 1000));
        }
    }
    everything_is_judged(&lab, &mut guard);
    assert!(accused(&guard).is_empty(), "{:#?}", guard.told("scan"));

    // The neighbouring port has no rule.
    knock(&lab.attacker, service("10.77.0.2", 8011), SOON);
    let told = guard.wait_for(SOON, |event| event["event"] == "scan" && event["source"] == "10.77.0.1");
    assert_eq!(told["ports"], json!([8011]));
}
