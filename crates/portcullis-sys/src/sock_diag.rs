//! "Is a service there?", asked of the kernel.
//!
//! One exact question per port, so that the kernel's own lookup decides: wildcards, dual stack, IPV6_V6ONLY and
//! sockets bound to a device mean here what they mean to a packet. About 3 µs a question, without allocation.
//! The layout of questions and answers is that of `include/uapi/linux/inet_diag.h`.

mod ended;
mod sessions;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_core::net::{Endpoint, Protocol};

use crate::netlink::message::{HEADER, Message, u16_be};
use crate::netlink::socket::Socket;
use crate::netlink::{NetlinkError, Request};

pub use self::ended::Ended;
pub use self::sessions::{Session, Sessions};

/// `TCP_LISTEN` of `include/net/tcp_states.h`; SCTP uses the same number.
const LISTEN: u8 = 10;
/// Every state.
const ANY_STATE: u32 = u32::MAX;
/// `struct inet_diag_req_v2` behind its message header.
const QUESTION: usize = HEADER + 56;

/// A connection to the kernel's socket tables.
#[derive(Debug)]
pub struct Sockets {
    socket: Socket,
}

/// A socket that waits on a port: a TCP listener, or a UDP socket that is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its port.
    pub port: u16,
    /// The address that it is bound to; the wildcard of its family where it takes everything.
    pub address: IpAddr,
    /// The number that `fstat` gives its owner.
    pub inode: u64,
}

/// What an exact question is about, as the kernel sees it.
struct Question {
    protocol: Protocol,
    /// `idiag_src` and `idiag_sport`.
    source: (IpAddr, u16),
    /// `idiag_dst` and `idiag_dport`.
    destination: (IpAddr, u16),
    interface: u32,
    states: u32,
    flags: i32,
}

impl Sockets {
    /// Connects to the socket tables of this network namespace. Needs no rights, except that the kernel may
    /// have to load its modules `tcp_diag` and `udp_diag` (as for `ss`): open it before giving up rights.
    ///
    /// # Errors
    /// [`NetlinkError::Open`] if the kernel can't tell about TCP and UDP. To an exact question such a kernel
    /// would answer "no such socket", and every client of a service would look like a scanner.
    pub fn open() -> Result<Sockets, NetlinkError> {
        let mut sockets = Sockets { socket: Socket::open(libc::NETLINK_SOCK_DIAG, "sock_diag")? };
        for (protocol, family) in [(Protocol::Tcp, "tcp_diag"), (Protocol::Udp, "udp_diag")] {
            let none: u32 = 0;
            sockets.list(protocol, (Ipv4Addr::UNSPECIFIED.into(), 0), none, |_| {}).map_err(|error| {
                match error {
                    NetlinkError::Refused { source, .. } => NetlinkError::Open { family, source },
                    other => other,
                }
            })?;
        }
        Ok(sockets)
    }

    /// Whether a packet to `at` would find a service.
    ///
    /// TCP: a listening socket; a connection that stands, or waits out its end, is none. UDP: any bound socket,
    /// where one that is connected counts only for the address in `from`. SCTP: a listening socket on this port
    /// at any address, since the kernel doesn't look up single listeners; without SCTP in the kernel, no.
    ///
    /// `interface` is the index of the interface where the packet came in: a socket bound to another device is
    /// no service; 0 leaves out all that are bound to a device.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn has_service(
        &mut self,
        at: Endpoint,
        from: Option<(IpAddr, u16)>,
        interface: u32,
    ) -> Result<bool, NetlinkError> {
        let local = (at.address.to_canonical(), at.port);
        let nobody = (any_of(local.0), 0);
        let (protocol, states, flags) = (at.protocol, ANY_STATE, 0);
        match protocol {
            // Asked for nobody in particular, so that no connection hides the listener.
            Protocol::Tcp => {
                let question =
                    Question { protocol, source: local, destination: nobody, interface, states, flags };
                Ok(self.state_of(&question)? == Some(LISTEN))
            }
            Protocol::Udp => {
                let question = Question {
                    protocol,
                    source: remote_of(local.0, from).unwrap_or(nobody),
                    destination: local,
                    interface,
                    states,
                    flags,
                };
                Ok(self.state_of(&question)?.is_some())
            }
            Protocol::Sctp => {
                let mut is_found = false;
                for any in FAMILIES {
                    let visit = |answer: &[u8]| is_found |= port_of(answer) == Some(at.port);
                    or_none(self.list(protocol, (any, 0), 1 << LISTEN, visit))?;
                }
                Ok(is_found)
            }
            // They have no ports that a socket could hold.
            Protocol::Icmp | Protocol::Ip => Ok(false),
        }
    }

    /// Whether a socket has this very conversation: a connection in any state, also one that waits out its end,
    /// or a UDP socket that would take the datagram. A late segment belongs to one.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn connection_exists(
        &mut self,
        at: Endpoint,
        from: (IpAddr, u16),
        interface: u32,
    ) -> Result<bool, NetlinkError> {
        let local = (at.address.to_canonical(), at.port);
        let Some(remote) = remote_of(local.0, Some(from)) else { return Ok(false) };
        let (source, destination) = match at.protocol {
            // The kernel swaps them "for historical reasons" (net/ipv4/udp_diag.c, udp_dump_one).
            Protocol::Udp => (remote, local),
            Protocol::Tcp | Protocol::Sctp => (local, remote),
            Protocol::Icmp | Protocol::Ip => return Ok(false),
        };
        let question =
            Question { protocol: at.protocol, source, destination, interface, states: ANY_STATE, flags: 0 };
        Ok(self.state_of(&question)?.is_some_and(|state| state != LISTEN))
    }

    /// The local ports of all UDP sockets, of both families and at any address, sorted.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn udp_ports(&mut self) -> Result<Vec<u16>, NetlinkError> {
        let mut ports = Vec::new();
        for any in FAMILIES {
            or_none(self.list(Protocol::Udp, (any, 0), ANY_STATE, |answer| ports.extend(port_of(answer))))?;
        }
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }

    /// Shows each socket that waits for strangers to `visit`: on `port`, or on all ports.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn holders(
        &mut self,
        protocol: Protocol,
        port: Option<u16>,
        mut visit: impl FnMut(Holder),
    ) -> Result<(), NetlinkError> {
        let states = if protocol == Protocol::Udp { ANY_STATE } else { 1 << LISTEN };
        for any in FAMILIES {
            let see = |answer: &[u8]| {
                // Older kernels show every port, whatever was asked.
                holder_of(answer)
                    .filter(|holder| port.is_none_or(|port| port == holder.port))
                    .map(&mut visit);
            };
            or_none(self.list(protocol, (any, port.unwrap_or(0)), states, see))?;
        }
        Ok(())
    }

    /// The state of the socket that the kernel finds; `None` if it finds none.
    fn state_of(&mut self, question: &Question) -> Result<Option<u8>, NetlinkError> {
        let sequence = self.socket.reserve_sequences(1);
        let request = Request::new("look up a socket", question.protocol.name());
        match self.socket.ask(&question.bytes(sequence), sequence, request, |answer| state_of(answer.body)) {
            Ok(answer) => Ok(answer.flatten()),
            Err(error) => or_none(Err(error)).map(|()| None),
        }
    }

    /// Shows each socket of the protocol, of the family of the address and on the port (0 is every port), in one of
    /// `states` to `visit`.
    fn list(
        &mut self,
        protocol: Protocol,
        (any, port): (IpAddr, u16),
        states: u32,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<(), NetlinkError> {
        let flags = libc::NLM_F_DUMP;
        let question =
            Question { protocol, source: (any, port), destination: (any, 0), interface: 0, states, flags };
        let sequence = self.socket.reserve_sequences(1);
        let request = Request::new("list sockets", protocol.name());
        let read = |message: &Message<'_>| visit(message.body);
        // Socket tables have no moments: a list that was interrupted is as good as any.
        self.socket.dump(&question.bytes(sequence), sequence, request, read).map(|_is_of_one_moment| ())
    }
}

impl Question {
    fn bytes(&self, sequence: u32) -> [u8; QUESTION] {
        let mut bytes = [0; QUESTION];
        let mut at = 0;
        let mut put = |value: &[u8]| {
            bytes[at..at + value.len()].copy_from_slice(value);
            at += value.len();
        };
        put(&(QUESTION as u32).to_ne_bytes());
        put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        put(&((self.flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        put(&sequence.to_ne_bytes());
        put(&[0; 4]);
        let (family, protocol) = match (self.source.0, self.protocol) {
            (IpAddr::V4(_), protocol) => (libc::AF_INET, number_of(protocol)),
            (IpAddr::V6(_), protocol) => (libc::AF_INET6, number_of(protocol)),
        };
        put(&[family as u8, protocol as u8, 0, 0]);
        put(&self.states.to_ne_bytes());
        put(&self.source.1.to_be_bytes());
        put(&self.destination.1.to_be_bytes());
        put(&wide(self.source.0));
        put(&wide(self.destination.0));
        put(&self.interface.to_ne_bytes());
        // INET_DIAG_NOCOOKIE: whichever socket it is.
        put(&[0xff; 8]);
        bytes
    }
}

/// `SOCK_DIAG_BY_FAMILY` of `include/uapi/linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;

fn number_of(protocol: Protocol) -> i32 {
    match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
        Protocol::Sctp => libc::IPPROTO_SCTP,
        Protocol::Icmp => libc::IPPROTO_ICMP,
        Protocol::Ip => libc::IPPROTO_IP,
    }
}

/// The wildcard address of each family.
const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// An address as the kernel keeps it, four bytes or sixteen in a field of sixteen.
fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn any_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The other side, if it is of the same family; no packet has two.
fn remote_of(local: IpAddr, from: Option<(IpAddr, u16)>) -> Option<(IpAddr, u16)> {
    let (address, port) = from?;
    let address = address.to_canonical();
    (address.is_ipv4() == local.is_ipv4()).then_some((address, port))
}

/// Takes "no such socket, protocol or family" for an answer.
fn or_none(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if matches!(error.refusal(), Some(libc::ENOENT | libc::EPROTONOSUPPORT)) => Ok(()),
        result => result,
    }
}

/// `idiag_state` of a `struct inet_diag_msg`.
fn state_of(answer: &[u8]) -> Option<u8> {
    answer.get(1).copied()
}

/// `idiag_sport` of a `struct inet_diag_msg`.
fn port_of(answer: &[u8]) -> Option<u16> {
    u16_be(answer.get(4..6)?)
}

/// A `struct inet_diag_msg` of a socket that waits for strangers; `None` for one that is connected.
fn holder_of(answer: &[u8]) -> Option<Holder> {
    let is_connected = u16_be(answer.get(6..8)?)? != 0;
    let address = address_at(answer, 8)?;
    let inode = u32::from_ne_bytes(answer.get(68..72)?.try_into().ok()?);
    (!is_connected).then_some(Holder { port: port_of(answer)?, address, inode: inode.into() })
}

/// The address at this place of a `struct inet_diag_msg`, as its family says.
fn address_at(answer: &[u8], place: usize) -> Option<IpAddr> {
    let address: [u8; 16] = answer.get(place..place + 16)?.try_into().ok()?;
    Some(match i32::from(*answer.first()?) {
        libc::AF_INET => IpAddr::from([address[0], address[1], address[2], address[3]]),
        _ => IpAddr::from(address),
    })
}

/// Every parser of this room; see [`crate::netlink::read_anything`].
pub(crate) fn read_anything(body: &[u8]) {
    let _ = (state_of(body), port_of(body), holder_of(body), sessions::session_of(body));
}
