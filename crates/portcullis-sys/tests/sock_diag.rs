//! What the kernel says about services, against sockets that are really there.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use portcullis_core::net::{Endpoint, PortSet, Protocol};
use portcullis_sys::sock_diag::{Session, Sockets};
use testbed::{Namespace, wait_until};

/// A namespace with addresses on lo and on `eth0`, and a question to it.
struct Host {
    namespace: Namespace,
    sockets: Sockets,
}

const ETH0: &str = "eth0";
const SOON: Duration = Duration::from_secs(5);
/// Not at once: a process that another test is just starting holds all our descriptors until its exec.
const CLOSED: &str = "the last copy of the listener to be closed";

impl Host {
    fn new() -> Option<Host> {
        let namespace = Namespace::new()?;
        namespace.ip("link add eth0 type veth peer name eth1\nlink set eth0 up\nlink set eth1 up\n");
        namespace.add_address(ETH0, "192.0.2.1/24");
        namespace.add_address(ETH0, "2001:db8::1/64");
        let sockets = namespace.enter(|| Sockets::open().unwrap());
        Some(Host { namespace, sockets })
    }

    fn interface(&self, name: &str) -> u32 {
        let name = std::ffi::CString::new(name).unwrap();
        // SAFETY: name is a NUL-terminated text that lives over the call.
        self.namespace.enter(|| unsafe { libc::if_nametoindex(name.as_ptr()) })
    }

    fn asks(&mut self, protocol: Protocol, address: &str, port: u16, interface: u32) -> bool {
        let at = Endpoint { protocol, address: address.parse().unwrap(), port };
        let from: IpAddr = if at.address.is_ipv4() { "192.0.2.99" } else { "2001:db8::99" }.parse().unwrap();
        let known = self.sockets.has_service(at, Some((from, 4000)), interface).unwrap();
        assert_eq!(known, self.sockets.has_service(at, None, interface).unwrap(), "{address}");
        known
    }

    /// The addresses, of all that the host has, at which the service is there.
    fn where_is(&mut self, protocol: Protocol, port: u16) -> Vec<&'static str> {
        let eth0 = self.interface(ETH0);
        ["127.0.0.1", "192.0.2.1", "::1", "2001:db8::1"]
            .into_iter()
            .filter(|address| self.asks(protocol, address, port, eth0))
            .collect()
    }
}

fn port_of(socket: &UdpSocket) -> u16 {
    socket.local_addr().unwrap().port()
}

/// A TCP socket that is bound but doesn't listen, or an IPv6 one with IPV6_V6ONLY, as std can't make them.
fn raw_socket(family: i32, kind: i32, options: &[(i32, i32, &[u8])]) -> OwnedFd {
    // SAFETY: takes no pointers.
    let raw = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    assert!(raw >= 0);
    // SAFETY: just opened, known to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    for (level, name, value) in options {
        // SAFETY: value is valid for its length over the call.
        let result = unsafe {
            libc::setsockopt(raw, *level, *name, value.as_ptr().cast(), value.len() as libc::socklen_t)
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }
    socket
}

/// Binds to the wildcard address and a port of the kernel's choice, and returns it.
fn bind_any(socket: &OwnedFd, family: i32) -> u16 {
    // SAFETY: sockaddr_in6 is plain numbers, for which all zeroes is a value.
    let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    address.sin6_family = family as libc::sa_family_t;
    let mut length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    let raw = socket.as_raw_fd();
    // SAFETY: address is at least as long as either family's and lives over the calls; length says how long.
    unsafe {
        assert_eq!(libc::bind(raw, (&raw const address).cast(), length), 0);
        assert_eq!(libc::getsockname(raw, (&raw mut address).cast(), &raw mut length), 0);
    }
    // The port stands at the same place in both families.
    u16::from_be(address.sin6_port)
}

fn listen(socket: &OwnedFd) {
    // SAFETY: takes no pointers; the descriptor is open.
    assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), 5) }, 0);
}

const ALL: [&str; 4] = ["127.0.0.1", "192.0.2.1", "::1", "2001:db8::1"];

#[test]
fn a_listener_is_a_service_where_it_listens() {
    let Some(mut host) = Host::new() else { return };
    for (bind, expected) in [
        ("0.0.0.0:0", &ALL[..2]),
        ("127.0.0.1:0", &ALL[..1]),
        ("192.0.2.1:0", &ALL[1..2]),
        ("[::]:0", &ALL[..]),
        ("[2001:db8::1]:0", &ALL[3..]),
        ("[::1]:0", &ALL[2..3]),
    ] {
        let tcp = host.namespace.enter(|| TcpListener::bind(bind).unwrap());
        let port = tcp.local_addr().unwrap().port();
        assert_eq!(host.where_is(Protocol::Tcp, port), expected, "TCP {bind}");
        assert_eq!(host.where_is(Protocol::Udp, port), [""; 0], "UDP {bind}");
        drop(tcp);
        wait_until(SOON, CLOSED, || host.where_is(Protocol::Tcp, port).is_empty().then_some(()));

        let udp = host.namespace.enter(|| UdpSocket::bind(bind).unwrap());
        let port = port_of(&udp);
        assert_eq!(host.where_is(Protocol::Udp, port), expected, "UDP {bind}");
        assert_eq!(host.where_is(Protocol::Tcp, port), [""; 0], "TCP {bind}");
        wait_until(SOON, CLOSED, || (host.sockets.udp_ports().unwrap() == [port]).then_some(()));
    }
}

#[test]
fn a_socket_for_ipv6_only_is_no_service_for_ipv4() {
    let Some(mut host) = Host::new() else { return };
    let only: &[(i32, i32, &[u8])] = &[(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &1_i32.to_ne_bytes())];
    for (protocol, kind) in [(Protocol::Tcp, libc::SOCK_STREAM), (Protocol::Udp, libc::SOCK_DGRAM)] {
        let (socket, port) = host.namespace.enter(|| {
            let socket = raw_socket(libc::AF_INET6, kind, only);
            let port = bind_any(&socket, libc::AF_INET6);
            (socket, port)
        });
        if protocol == Protocol::Tcp {
            assert_eq!(host.where_is(protocol, port), [""; 0], "bound, not listening");
            listen(&socket);
        }
        assert_eq!(host.where_is(protocol, port), ALL[2..], "{protocol:?}");
    }
}

#[test]
fn a_socket_bound_to_a_device_is_a_service_only_there() {
    let Some(mut host) = Host::new() else { return };
    let (eth0, lo) = (host.interface(ETH0), host.interface("lo"));
    for (protocol, kind) in [(Protocol::Tcp, libc::SOCK_STREAM), (Protocol::Udp, libc::SOCK_DGRAM)] {
        let (_socket, port) = host.namespace.enter(|| {
            let socket =
                raw_socket(libc::AF_INET, kind, &[(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"eth0\0")]);
            let port = bind_any(&socket, libc::AF_INET);
            if protocol == Protocol::Tcp {
                listen(&socket);
            }
            (socket, port)
        });
        assert!(host.asks(protocol, "192.0.2.1", port, eth0), "{protocol:?}");
        assert!(!host.asks(protocol, "192.0.2.1", port, lo), "{protocol:?}");
        assert!(!host.asks(protocol, "192.0.2.1", port, 0), "{protocol:?}");
    }
}

#[test]
fn a_connected_udp_socket_serves_its_peer_alone() {
    let Some(mut host) = Host::new() else { return };
    for (bind, peer, other) in [
        ("192.0.2.1:0", "192.0.2.7:53", "192.0.2.8"),
        ("[2001:db8::1]:0", "[2001:db8::7]:53", "2001:db8::8"),
        ("[::]:0", "[2001:db8::7]:53", "2001:db8::8"),
    ] {
        let udp = host.namespace.enter(|| {
            let udp = UdpSocket::bind(bind).unwrap();
            udp.connect(peer).unwrap();
            udp
        });
        let local = udp.local_addr().unwrap();
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        let other: IpAddr = other.parse().unwrap();
        let at = Endpoint { protocol: Protocol::Udp, address: local.ip(), port: local.port() };
        let eth0 = host.interface(ETH0);
        let sockets = &mut host.sockets;
        assert!(sockets.has_service(at, Some((peer.ip(), 53)), eth0).unwrap(), "{bind}");
        assert!(!sockets.has_service(at, Some((peer.ip(), 54)), eth0).unwrap(), "{bind}");
        assert!(!sockets.has_service(at, Some((other, 53)), eth0).unwrap(), "{bind}");
        assert!(!sockets.has_service(at, None, eth0).unwrap(), "{bind}");
        assert!(sockets.connection_exists(at, (peer.ip(), 53), eth0).unwrap(), "{bind}");
        assert!(!sockets.connection_exists(at, (other, 53), eth0).unwrap(), "{bind}");
    }
}

#[test]
fn a_connection_is_known_also_after_its_end_but_is_no_service() {
    let Some(mut host) = Host::new() else { return };
    for bind in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let (listener, client, server) = host.namespace.enter(|| {
            let listener = TcpListener::bind(bind).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            (listener, client, server)
        });
        let (local, remote) = (server.local_addr().unwrap(), client.local_addr().unwrap());
        let at = Endpoint { protocol: Protocol::Tcp, address: local.ip(), port: local.port() };
        let client_side = Endpoint { protocol: Protocol::Tcp, address: remote.ip(), port: remote.port() };
        let (from, to) = ((remote.ip(), remote.port()), (local.ip(), local.port()));
        let sockets = &mut host.sockets;
        assert!(sockets.has_service(at, Some(from), 1).unwrap(), "{bind}: the listener is hidden");
        assert!(sockets.connection_exists(at, from, 1).unwrap(), "{bind}");
        assert!(sockets.connection_exists(client_side, to, 1).unwrap(), "{bind}");
        assert!(!sockets.connection_exists(at, (remote.ip(), remote.port() ^ 1), 1).unwrap(), "{bind}");
        assert!(!sockets.has_service(client_side, Some(to), 1).unwrap(), "{bind}: a client is no service");
        drop(listener);
        assert!(
            !sockets.has_service(at, Some(from), 1).unwrap(),
            "{bind}: the connection alone is no service"
        );
        // Whoever closes first waits out the end.
        drop(server);
        drop(client);
        assert!(sockets.connection_exists(at, from, 1).unwrap(), "{bind}: TIME_WAIT");
        assert!(!sockets.has_service(at, Some(from), 1).unwrap(), "{bind}: TIME_WAIT is no service");
    }
}

#[test]
fn questions_that_make_no_sense_find_nothing() {
    let Some(mut host) = Host::new() else { return };
    assert_eq!(host.where_is(Protocol::Sctp, 80), [""; 0]);
    let at = Endpoint { protocol: Protocol::Tcp, address: "127.0.0.1".parse().unwrap(), port: 80 };
    assert!(!host.sockets.connection_exists(at, ("::1".parse().unwrap(), 1), 1).unwrap());
    let sctp = Endpoint { protocol: Protocol::Sctp, ..at };
    assert!(!host.sockets.connection_exists(sctp, ("127.0.0.1".parse().unwrap(), 1), 1).unwrap());
    assert_eq!(host.sockets.udp_ports().unwrap(), [0; 0]);
}

#[test]
fn the_sessions_on_a_port_are_counted_and_those_of_one_guest_are_cut() {
    let Some(lab) = testbed::Lab::direct() else { return };
    let mut sockets = lab.victim.enter(|| Sockets::open().unwrap());
    assert!(sockets.can_destroy().unwrap(), "this kernel has CONFIG_INET_DIAG_DESTROY");
    let listener = lab.victim.enter(|| TcpListener::bind("[::]:2222").unwrap());
    let other = lab.victim.enter(|| TcpListener::bind("0.0.0.0:2223").unwrap());
    let ports: PortSet = "2222".parse().unwrap();
    let (guest, guest6): (IpAddr, IpAddr) = (lab.attacker4().into(), lab.attacker6().into());
    let connect = |to: &str, listener: &TcpListener| {
        let client = lab.attacker.enter(|| TcpStream::connect(to).unwrap());
        (client, listener.accept().unwrap().0)
    };
    let mine = [connect("10.77.0.2:2222", &listener), connect("10.77.0.2:2222", &listener)];
    let mine6 = connect("[fd77::2]:2222", &listener);
    let beside = connect("10.77.0.2:2223", &other);
    let closed = connect("10.77.0.2:2222", &listener);
    closed.0.shutdown(std::net::Shutdown::Write).unwrap();
    closed.1.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!((&closed.1).read(&mut [0]).unwrap(), 0);
    let all = sockets.established(Protocol::Tcp, &ports, 2).unwrap();
    assert_eq!((all.count, all.first.len()), (4, 2));
    let all = sockets.established(Protocol::Tcp, &"2000-2222,2224".parse().unwrap(), 99).unwrap();
    let expected = Session { remote: mine6.0.local_addr().unwrap(), local: mine6.1.local_addr().unwrap() };
    assert!(all.count == 4 && all.first.contains(&expected), "{all:?}");
    let expected = mine[0].0.local_addr().unwrap();
    assert!(all.first.iter().any(|session| session.remote == expected), "mapped addresses are IPv4");

    assert_eq!(sockets.destroy(Protocol::Tcp, &ports, "10.77.0.9".parse().unwrap()).unwrap(), 0);
    assert_eq!(sockets.destroy(Protocol::Tcp, &ports, guest).unwrap(), 3);
    for (client, server) in &mine {
        for mut side in [client, server] {
            side.set_read_timeout(Some(SOON)).unwrap();
            let error = side.read(&mut [0]).unwrap_err();
            let cut = [std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::ConnectionAborted];
            assert!(cut.contains(&error.kind()), "{error}");
        }
    }
    assert_eq!(sockets.established(Protocol::Tcp, &ports, 9).unwrap().count, 1);
    assert_eq!(sockets.destroy(Protocol::Tcp, &PortSet::all(), guest6).unwrap(), 1);
    assert_eq!(sockets.established(Protocol::Tcp, &ports, 9).unwrap().count, 0);
    (&beside.0).write_all(b"x").unwrap();
    (&beside.1).read_exact(&mut [0]).unwrap();
    // The service itself goes on.
    connect("10.77.0.2:2222", &listener);
}

#[test]
fn a_connected_udp_socket_is_a_session_and_a_waiting_one_is_none() {
    let Some(lab) = testbed::Lab::direct() else { return };
    let mut sockets = lab.victim.enter(|| Sockets::open().unwrap());
    let ports: PortSet = "4000,4001".parse().unwrap();
    let [connected, _waiting] =
        ["10.77.0.2:4000", "10.77.0.2:4001"].map(|at| lab.victim.enter(|| UdpSocket::bind(at).unwrap()));
    lab.victim.enter(|| connected.connect("10.77.0.1:5000").unwrap());
    assert_eq!(sockets.established(Protocol::Udp, &ports, 9).unwrap().count, 1);
    assert_eq!(sockets.destroy(Protocol::Udp, &ports, lab.attacker4().into()).unwrap(), 1);
    assert_eq!(sockets.established(Protocol::Udp, &ports, 9).unwrap().count, 0);
    connected.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(connected.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
}

#[test]
fn a_half_open_connection_is_cut_too() {
    let Some(lab) = testbed::Lab::direct() else { return };
    if !testbed::has(&["nft"]) {
        return;
    }
    let mut sockets = lab.victim.enter(|| Sockets::open().unwrap());
    let listener = lab.victim.enter(|| TcpListener::bind("0.0.0.0:2222").unwrap());
    // The SYN arrives; what follows does not until the connection is cut.
    lab.victim.run_with_input(
        &["nft", "-f", "-"],
        "table ip late { chain c { type filter hook prerouting priority -300; tcp flags & syn == 0 drop; }; }",
    );
    let client = lab.attacker.enter(|| TcpStream::connect("10.77.0.2:2222").unwrap());
    let ports: PortSet = "2222".parse().unwrap();
    assert_eq!(sockets.established(Protocol::Tcp, &ports, 9).unwrap().count, 0);
    assert_eq!(sockets.destroy(Protocol::Tcp, &ports, lab.attacker4().into()).unwrap(), 1);
    assert_eq!(sockets.destroy(Protocol::Tcp, &ports, lab.attacker4().into()).unwrap(), 0);
    lab.victim.run(&["nft", "delete", "table", "ip", "late"]);
    (&client).write_all(b"late").unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!((&client).read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

#[test]
fn without_rights_nothing_is_cut_and_the_error_says_so() {
    let Some(lab) = testbed::Lab::direct() else { return };
    let listener = lab.victim.enter(|| TcpListener::bind("0.0.0.0:2222").unwrap());
    let _client = lab.attacker.enter(|| TcpStream::connect("10.77.0.2:2222").unwrap());
    let _server = listener.accept().unwrap();
    lab.victim.enter(|| {
        // SAFETY: takes no pointers. The raw call changes this thread only, which ends with the closure.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(result, 0);
        let mut sockets = Sockets::open().unwrap();
        assert!(sockets.can_destroy().unwrap());
        let ports: PortSet = "2222".parse().unwrap();
        let error = sockets.destroy(Protocol::Tcp, &ports, lab.attacker4().into()).unwrap_err();
        assert!(error.is_permission(), "{error}");
        assert_eq!(sockets.established(Protocol::Tcp, &ports, 0).unwrap().count, 1);
    });
}
