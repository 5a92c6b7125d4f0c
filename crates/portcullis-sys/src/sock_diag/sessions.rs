//! The sessions that stand on ports: told, and cut.

use std::net::{IpAddr, SocketAddr};

use portcullis_core::net::{PortSet, Protocol};

use super::{ANY_STATE, FAMILIES, LISTEN, QUESTION, Sockets, address_at, number_of, or_none};
use crate::netlink::message::u16_be;
use crate::netlink::{NetlinkError, Request};

/// `SOCK_DESTROY` of `include/uapi/linux/sock_diag.h`, since Linux 4.5.
const SOCK_DESTROY: u16 = 21;
/// States of `include/net/tcp_states.h` in which data can still come or go: established, and closed by the other side
/// alone.
const STANDING: u32 = 1 << 1 | 1 << 8;
/// All but waiting for strangers, waiting out an end (6), and closed (7): half-open connections (3 and 12) too, since
/// the packet that finishes their handshake would pass a door that is shut.
const LIVING: u32 = ANY_STATE & !(1 << LISTEN | 1 << 6 | 1 << 7);
/// So many are cut by one call: as many as a guest has ports to come from.
const MOST_CUT: usize = 65_536;

/// A socket that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The other side.
    pub remote: SocketAddr,
    /// This side.
    pub local: SocketAddr,
}

/// The sessions that stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// How many there are.
    pub count: usize,
    /// The first of them, as many as were asked for.
    pub first: Vec<Session>,
}

impl Sockets {
    /// The sessions that stand on local ports: TCP connections that are established or closed by the other side alone,
    /// and connected UDP sockets. At most `most` are listed, all are counted.
    ///
    /// What goes through this host, to a container for instance, has no socket here and is not among them.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn established(
        &mut self,
        protocol: Protocol,
        ports: &PortSet,
        most: usize,
    ) -> Result<Sessions, NetlinkError> {
        let mut sessions = Sessions::default();
        self.visit_sessions(protocol, ports, STANDING, |session, _| {
            sessions.count += 1;
            if sessions.first.len() < most {
                sessions.first.push(session);
            }
        })?;
        Ok(sessions)
    }

    /// Whether `remote` has a session that stands on one of these local ports.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn has_session_with(
        &mut self,
        protocol: Protocol,
        ports: &PortSet,
        remote: IpAddr,
    ) -> Result<bool, NetlinkError> {
        let (remote, mut is_found) = (remote.to_canonical(), false);
        self.visit_sessions(protocol, ports, STANDING, |session, _| {
            is_found |= session.remote.ip() == remote;
        })?;
        Ok(is_found)
    }

    /// Cuts the connections that `remote` has, or is about to have, to local ports: the programs at both ends get an
    /// error (TCP sends a RST). Returns how many there were, at most 65,536.
    ///
    /// # Errors
    /// [`NetlinkError::Unsupported`] if the kernel can't, see [`Sockets::can_destroy`];
    /// [`NetlinkError::is_permission`] without CAP_NET_ADMIN: in both cases nothing was cut. Otherwise the kernel
    /// couldn't be asked any more, and some may be.
    pub fn destroy(
        &mut self,
        protocol: Protocol,
        ports: &PortSet,
        remote: IpAddr,
    ) -> Result<usize, NetlinkError> {
        let remote = remote.to_canonical();
        let mut found = Vec::new();
        self.visit_sessions(protocol, ports, LIVING, |session, socket| {
            if session.remote.ip() == remote && found.len() < MOST_CUT {
                found.push(*socket);
            }
        })?;
        let mut cut = 0;
        for socket in &found {
            cut += usize::from(self.destroy_socket(protocol, socket)?);
        }
        Ok(cut)
    }

    /// Whether this kernel can cut sessions (`CONFIG_INET_DIAG_DESTROY`). Needs no rights.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn can_destroy(&mut self) -> Result<bool, NetlinkError> {
        // Nothing is connected from port 0 to port 0.
        let mut nobody = Socket([0; SOCKET]);
        nobody.0[0] = libc::AF_INET as u8;
        match self.destroy_socket(Protocol::Tcp, &nobody) {
            Ok(_) => Ok(true),
            Err(NetlinkError::Unsupported { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn visit_sessions(
        &mut self,
        protocol: Protocol,
        ports: &PortSet,
        states: u32,
        mut visit: impl FnMut(Session, &Socket),
    ) -> Result<(), NetlinkError> {
        // The kernel picks out a single port itself.
        let port = match ports.ranges() {
            &[(low, high)] if low == high => low,
            _ => 0,
        };
        for any in FAMILIES {
            let see = |answer: &[u8]| {
                let found = session_of(answer).filter(|(session, _)| ports.contains(session.local.port()));
                if let Some((session, socket)) = found {
                    visit(session, &socket);
                }
            };
            or_none(self.list(protocol, (any, port), states, see))?;
        }
        Ok(())
    }

    /// Says whether it was still there.
    fn destroy_socket(&mut self, protocol: Protocol, socket: &Socket) -> Result<bool, NetlinkError> {
        let request = Request::new("cut a session of", protocol.name());
        let sequence = self.socket.reserve_sequences(1);
        match self.socket.ask(&socket.order(protocol, sequence), sequence, request, |_| ()) {
            Ok(_) => Ok(true),
            Err(error) => match error.refusal() {
                // Gone, or closed already (net/ipv4/tcp.c, tcp_abort).
                Some(libc::ENOENT | libc::ENOTCONN) => Ok(false),
                Some(libc::EOPNOTSUPP) => {
                    Err(NetlinkError::Unsupported { request, option: "CONFIG_INET_DIAG_DESTROY" })
                }
                _ => Err(error),
            },
        }
    }
}

/// Bytes of the family and a `struct inet_diag_sockid`.
const SOCKET: usize = 1 + 48;

/// A socket as the kernel names it: its family, then ports, addresses, interface and cookie, by which no other one is
/// meant that came to have the same addresses meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Socket([u8; SOCKET]);

impl Socket {
    /// The message that destroys it.
    fn order(&self, protocol: Protocol, sequence: u32) -> [u8; QUESTION] {
        let mut bytes = [0; QUESTION];
        bytes[..4].copy_from_slice(&(QUESTION as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&SOCK_DESTROY.to_ne_bytes());
        bytes[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes[16] = self.0[0];
        bytes[17] = number_of(protocol) as u8;
        bytes[20..24].copy_from_slice(&ANY_STATE.to_ne_bytes());
        bytes[24..].copy_from_slice(&self.0[1..]);
        bytes
    }
}

/// What a `struct inet_diag_msg` tells; `None` for a socket that is not connected.
pub(super) fn session_of(answer: &[u8]) -> Option<(Session, Socket)> {
    let [local_port, remote_port] = [u16_be(answer.get(4..6)?)?, u16_be(answer.get(6..8)?)?];
    if remote_port == 0 {
        return None;
    }
    let local = SocketAddr::new(address_at(answer, 8)?.to_canonical(), local_port);
    let remote = SocketAddr::new(address_at(answer, 24)?.to_canonical(), remote_port);
    let mut socket = [0; SOCKET];
    socket[0] = *answer.first()?;
    socket[1..].copy_from_slice(answer.get(4..52)?);
    Some((Session { remote, local }, Socket(socket)))
}
