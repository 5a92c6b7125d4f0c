//! One knock: exactly one SYN, or one datagram.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use portcullis_core::net::Protocol;
use socket2::{Domain, Socket, Type};

/// What a UDP knock carries (knock 0.8, measured).
const PAYLOAD: [u8; 1] = [0];

/// Knocks at `target` once. A TCP knock is a connection that is given up at once: its SYN is never sent again.
///
/// # Errors
/// Nothing was sent: no route, no such address family here, or the local packet filter refused.
pub fn hit(target: SocketAddr, protocol: Protocol) -> io::Result<()> {
    if protocol == Protocol::Udp {
        let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        return UdpSocket::bind(any)?.send_to(&PAYLOAD, target).map(drop);
    }
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), None)?;
    match socket.connect(&target.into()) {
        // The SYN is on its way, which is all that is wanted; on this very host it may even be answered already.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        answer => answer,
    }
}
