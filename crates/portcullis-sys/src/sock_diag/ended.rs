//! Notices connections as they end, before nothing is left of them in the socket tables.

use super::sessions::{self, Session};
use crate::netlink::socket::{Received, Socket};
use crate::netlink::{NetlinkError, Request};

/// `SKNLGRP_INET_TCP_DESTROY` and `SKNLGRP_INET6_TCP_DESTROY` of `include/uapi/linux/sock_diag.h`, since Linux 4.3.
const GROUPS: [libc::c_int; 2] = [1, 3];

/// TCP connections of this network namespace that have ended.
///
/// Only what was a connection is told: a packet to a port without a listener makes no socket, so that nobody can
/// bring himself in here.
#[derive(Debug)]
pub struct Ended {
    socket: Socket,
}

impl Ended {
    /// Listens from now on. Needs no rights.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Ended, NetlinkError> {
        let family = "ends of connections";
        let socket = Socket::open(libc::NETLINK_SOCK_DIAG, family)?;
        for group in GROUPS {
            socket.join(group).map_err(|source| NetlinkError::Open { family, source })?;
        }
        Ok(Ended { socket })
    }

    /// Shows each connection that has ended since the last call to `visit`, without waiting for more. Where they were
    /// more than the queue holds (some hundreds), the later ones are missing.
    ///
    /// # Errors
    /// If the socket can't be read.
    pub fn drain(&mut self, mut visit: impl FnMut(Session)) -> Result<(), NetlinkError> {
        loop {
            let request = Request::new("read events", "");
            match self.socket.receive().map_err(|source| NetlinkError::Receive { request, source })? {
                Received::Nothing => return Ok(()),
                Received::Overrun => {}
                Received::Messages(messages) => messages
                    .filter_map(|message| sessions::session_of(message.body))
                    .for_each(|(session, _)| visit(session)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use testbed::{Namespace, wait_until};

    use super::*;

    #[test]
    fn a_connection_that_leaves_nothing_behind_is_told() {
        let Some(namespace) = Namespace::new() else { return };
        namespace.enter(|| {
            let mut ended = Ended::open().unwrap();
            for address in ["127.0.0.1:0", "[::1]:0"] {
                let listener = TcpListener::bind(address).unwrap();
                let local = listener.local_addr().unwrap();
                let guest = TcpStream::connect(local).unwrap();
                let remote = guest.local_addr().unwrap();
                let (mut host, _) = listener.accept().unwrap();
                // Who closes second waits for nothing.
                drop(guest);
                assert_eq!(host.read(&mut [0]).unwrap(), 0);
                drop((host, listener));
                let expected = Session { remote, local };
                wait_until(Duration::from_secs(20), "the end to be told", || {
                    let mut is_told = false;
                    ended.drain(|session| is_told |= session == expected).unwrap();
                    is_told.then_some(())
                });
                // And who is refused ends nothing of ours.
                assert!(TcpStream::connect(local).is_err());
            }
        });
    }
}
