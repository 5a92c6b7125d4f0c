//! Translated destinations, against a real DNAT to another namespace and a redirect.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use portcullis_core::net::Protocol;
use portcullis_sys::conntrack::Conntrack;
use testbed::{Namespace, wait_until};

const SOON: Duration = Duration::from_secs(5);

fn pair(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip(), address.port())
}

/// A client, a host in the middle, and a container behind it that the host publishes as port 8080.
struct Published {
    client: Namespace,
    host: Namespace,
    _container: Namespace,
    _services: (TcpListener, TcpListener, UdpSocket),
}

fn publish() -> Option<Published> {
    if !testbed::has(&["nft"]) {
        return None;
    }
    let (client, host, container) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
    client.join("eth0", &host, "eth0");
    host.join("eth1", &container, "eth0");
    for (namespace, interface, net, number) in
        [(&client, "eth0", 1, 2), (&host, "eth0", 1, 1), (&host, "eth1", 2, 1), (&container, "eth0", 2, 2)]
    {
        namespace.add_address(interface, &format!("10.0.{net}.{number}/24"));
        namespace.add_address(interface, &format!("2001:db8:{net}::{number}/64"));
    }
    container.ip("route add default via 10.0.2.1\nroute add ::/0 via 2001:db8:2::1\n");
    host.sysctl("net.ipv4.ip_forward", "1");
    host.sysctl("net.ipv6.conf.all.forwarding", "1");
    let rules = "table inet published {
        chain prerouting {
            type nat hook prerouting priority dstnat
            ip daddr 10.0.1.1 tcp dport 8080 dnat ip to 10.0.2.2:80
            ip daddr 10.0.1.1 udp dport 8080 dnat ip to 10.0.2.2:53
            ip6 daddr 2001:db8:1::1 tcp dport 8080 dnat ip6 to [2001:db8:2::2]:80
            tcp dport 9090 redirect to :9091
        }
    }";
    host.run_with_input(&["nft", "-f", "-"], rules);
    let services = container.enter(|| {
        (
            TcpListener::bind("[::]:80").unwrap(),
            TcpListener::bind("[::]:1080").unwrap(),
            UdpSocket::bind("0.0.0.0:53").unwrap(),
        )
    });
    Some(Published { client, host, _container: container, _services: services })
}

#[test]
fn a_published_port_is_translated_and_others_are_not() {
    let Some(lab) = publish() else { return };
    let mut conntrack = lab.host.enter(|| Conntrack::open().unwrap());
    let mut ask = |protocol, source, destination| {
        conntrack.destination_is_translated(protocol, pair(source), pair(destination)).unwrap()
    };
    for published in ["10.0.1.1:8080", "[2001:db8:1::1]:8080"] {
        let published: SocketAddr = published.parse().unwrap();
        let stream = lab.client.enter(|| TcpStream::connect_timeout(&published, SOON).unwrap());
        assert!(ask(Protocol::Tcp, stream.local_addr().unwrap(), published), "{published}");
        assert!(
            !ask(Protocol::Udp, stream.local_addr().unwrap(), published),
            "{published}: another protocol"
        );
    }
    // Redirected to another port of the host itself, where nobody listens: the probe alone tells.
    for redirected in ["10.0.1.1:9090", "[2001:db8:1::1]:9090"] {
        let redirected: SocketAddr = redirected.parse().unwrap();
        let _listener = lab.host.enter(|| TcpListener::bind(SocketAddr::new(redirected.ip(), 9091)).unwrap());
        let stream = lab.client.enter(|| TcpStream::connect_timeout(&redirected, SOON).unwrap());
        assert!(ask(Protocol::Tcp, stream.local_addr().unwrap(), redirected), "{redirected}");
        let direct = SocketAddr::new(redirected.ip(), 9091);
        let stream = lab.client.enter(|| TcpStream::connect_timeout(&direct, SOON).unwrap());
        assert!(!ask(Protocol::Tcp, stream.local_addr().unwrap(), direct), "{direct}");
    }
    let datagram: SocketAddr = "10.0.1.1:8080".parse().unwrap();
    let sender = lab.client.enter(|| UdpSocket::bind("10.0.1.2:0").unwrap());
    sender.send_to(b"hello", datagram).unwrap();
    let source = sender.local_addr().unwrap();
    wait_until(SOON, "the datagram to be tracked", || ask(Protocol::Udp, source, datagram).then_some(()));
    // Nothing is known of a flow that never was, nor of one between two families.
    assert!(!ask(Protocol::Tcp, "10.0.1.2:4".parse().unwrap(), datagram));
    assert!(!ask(Protocol::Tcp, "[::1]:4".parse().unwrap(), datagram));
    assert!(!ask(Protocol::Sctp, source, datagram));
}

#[test]
fn asking_does_not_switch_tracking_on() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.enter(|| {
        let mut conntrack = Conntrack::open().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut known = |stream: &TcpStream| {
            conntrack
                .destination_is_translated(Protocol::Tcp, pair(stream.local_addr().unwrap()), pair(at))
                .unwrap()
        };
        let first = TcpStream::connect(at).unwrap();
        assert!(!known(&first));
        let second = TcpStream::connect(at).unwrap();
        assert!(!known(&second));
        let tracked =
            std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap_or_default();
        assert!(matches!(tracked.trim(), "" | "0"), "{tracked}");
    });
}
