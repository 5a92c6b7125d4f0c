//! Packets made by hand, and marks: a probe from an address that nothing else uses. Packets keep their order on the
//! wire, so when the mark has been reported, everything before it has been too, or never will be.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use testbed::Namespace;

/// Who sends the marks; one of the attacker's addresses, so that it can complete a handshake.
pub const MARKER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 77);

/// The victim's address.
pub const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// TCP flags by their bits (RFC 9293 §3.1).
pub const SYN: u8 = 0x02;

/// Sends IPv4 packets with any source from a namespace.
pub struct Forge {
    socket: Socket,
}

impl Forge {
    pub fn new(namespace: &Namespace) -> Self {
        // IPPROTO_RAW: the caller writes the IP header; the kernel fills in the identification and the checksum.
        let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)));
        Self { socket: namespace.enter(raw).unwrap() }
    }

    /// A TCP segment without data, with a valid checksum.
    pub fn tcp(&self, from: SocketAddrV4, to: SocketAddrV4, flags: u8) {
        let mut segment = Vec::with_capacity(20);
        segment.extend(from.port().to_be_bytes());
        segment.extend(to.port().to_be_bytes());
        segment.extend(0x0102_0304_u32.to_be_bytes());
        segment.extend([0, 0, 0, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        self.send(from, to, 6, segment, 16);
    }

    /// A UDP datagram, with a valid checksum.
    pub fn udp(&self, from: SocketAddrV4, to: SocketAddrV4, data: &[u8]) {
        let length = u16::try_from(8 + data.len()).unwrap();
        let mut datagram = Vec::with_capacity(8 + data.len());
        datagram.extend(from.port().to_be_bytes());
        datagram.extend(to.port().to_be_bytes());
        datagram.extend(length.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(data);
        self.send(from, to, 17, datagram, 6);
    }

    fn send(&self, from: SocketAddrV4, to: SocketAddrV4, protocol: u8, mut payload: Vec<u8>, sum_at: usize) {
        let length = u16::try_from(payload.len()).unwrap();
        let mut summed = [from.ip().octets(), to.ip().octets()].concat();
        summed.extend([0, protocol]);
        summed.extend(length.to_be_bytes());
        summed.extend(&payload);
        let sum = checksum(&summed);
        payload[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45, 0];
        packet.extend((20 + length).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
        packet.extend(from.ip().octets());
        packet.extend(to.ip().octets());
        packet.extend(payload);
        let target = SockAddr::from(SocketAddrV4::new(*to.ip(), 0));
        loop {
            match self.socket.send_to(&packet, &target) {
                Ok(_) => return,
                // The queue of the interface is full for a moment; a probe that was never sent must not be missed.
                Err(error) if error.raw_os_error() == Some(105) => std::thread::yield_now(),
                Err(error) => panic!("{from} -> {to}: {error}"),
            }
        }
    }
}

/// Connects from one address to another and returns the open connection, or how that failed.
pub fn connect(namespace: &Namespace, from: SocketAddr, to: SocketAddr) -> io::Result<Socket> {
    namespace.enter(|| {
        let socket = Socket::new(Domain::for_address(from), Type::STREAM, None)?;
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(socket)
    })
}

/// One datagram from an address of the namespace's own.
pub fn datagram(namespace: &Namespace, from: SocketAddr, to: SocketAddr) -> UdpSocket {
    namespace.enter(|| {
        let socket = UdpSocket::bind(from).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.send_to(b"hello", to).unwrap();
        socket
    })
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("it was folded to 16 bits")
}
