//! "Is this destination translated?", asked of the kernel's connection tracking.
//!
//! A port that is published to a container, or redirected, has no socket on this host and is a service all the
//! same. The connection tracking entry of the probe itself tells: its answers would come from another address
//! or port than the probe went to. Attributes: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`.

use std::fs::File;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

use portcullis_core::net::Protocol;

use crate::netlink::message::{self, Attributes, Writer};
use crate::netlink::socket::Socket;
use crate::netlink::{NetlinkError, Request};

/// `IPCTNL_MSG_CT_GET`.
const GET: u16 = ((libc::NFNL_SUBSYS_CTNETLINK as u16) << 8) | 1;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PORTS: u16 = 2;
const SOURCE_V4: u16 = 1;
const SOURCE_V6: u16 = 3;
const PROTOCOL: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

/// How many connections are tracked in this network namespace, as text.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// A connection to the kernel's connection tracking, or the knowledge that there is none.
#[derive(Debug)]
pub struct Conntrack {
    tracking: Option<Tracking>,
    question: Writer,
}

#[derive(Debug)]
struct Tracking {
    socket: Socket,
    count: File,
}

impl Tracking {
    /// Whether not one connection is tracked: then this one isn't. A look costs a tenth of a question, and most hosts
    /// without containers track nothing. The kernel counts a connection before it lets its first packet on
    /// (net/netfilter/nf_conntrack_core.c, `__nf_conntrack_alloc`).
    fn is_idle(&self) -> bool {
        let mut text = [0; 2];
        matches!(self.count.read_at(&mut text, 0), Ok(2)) && text == *b"0\n"
    }
}

impl Conntrack {
    /// Connects to connection tracking, if this kernel has it. It is neither loaded nor switched on by this: the
    /// kernel would load the module for a question, so that where it isn't there none is asked. (Where it is,
    /// the first question may load its reporter, `nf_conntrack_netlink`, which tracks nothing.)
    ///
    /// # Errors
    /// [`NetlinkError::Open`] if there is connection tracking, but no netlink to it.
    pub fn open() -> Result<Conntrack, NetlinkError> {
        let tracking = match File::open(COUNT) {
            Err(_) => None,
            Ok(count) => {
                let socket = Socket::open(libc::NETLINK_NETFILTER, "connection tracking")?;
                Some(Tracking { socket, count })
            }
        };
        Ok(Conntrack { tracking, question: Writer::default() })
    }

    /// Whether this kernel tracked connections when this was opened.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.tracking.is_some()
    }

    /// Whether packets of this flow, as they come in, are sent on to another address or port (DNAT, redirect).
    /// A flow that is not tracked is not translated: `false`.
    ///
    /// # Errors
    /// Only if the kernel can't be asked; without CAP_NET_ADMIN one that [`NetlinkError::is_permission`].
    pub fn destination_is_translated(
        &mut self,
        protocol: Protocol,
        source: (IpAddr, u16),
        destination: (IpAddr, u16),
    ) -> Result<bool, NetlinkError> {
        let Some(tracking) = &mut self.tracking else { return Ok(false) };
        if matches!(protocol, Protocol::Icmp | Protocol::Ip) || tracking.is_idle() {
            return Ok(false);
        }
        let socket = &mut tracking.socket;
        let source = (source.0.to_canonical(), source.1);
        let destination = (destination.0.to_canonical(), destination.1);
        if source.0.is_ipv4() != destination.0.is_ipv4() {
            return Ok(false);
        }
        let sequence = socket.reserve_sequences(1);
        write_question(&mut self.question, sequence, protocol, source, destination);
        let request = Request::new("look up a tracked connection", protocol.name());
        let answer = socket.ask(self.question.bytes(), sequence, request, |answer| {
            answerer(answer.body).is_some_and(|answerer| answerer != destination)
        });
        match answer {
            Ok(is_translated) => Ok(is_translated.unwrap_or(false)),
            Err(error) if error.refusal() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn write_question(
    out: &mut Writer,
    sequence: u32,
    protocol: Protocol,
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
) {
    out.clear();
    let open = out.open_message(GET, 0, sequence);
    out.netfilter_head(if source.0.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8, 0);
    let tuple = out.open(TUPLE_ORIGINAL);
    let addresses = out.open(TUPLE_ADDRESSES);
    for (address, offset) in [(source.0, 0), (destination.0, 1)] {
        match address {
            IpAddr::V4(v4) => out.attribute(SOURCE_V4 + offset, &v4.octets()),
            IpAddr::V6(v6) => out.attribute(SOURCE_V6 + offset, &v6.octets()),
        }
    }
    out.close(addresses);
    let ports = out.open(TUPLE_PORTS);
    let number = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
        Protocol::Sctp => libc::IPPROTO_SCTP,
        Protocol::Icmp => libc::IPPROTO_ICMP,
        Protocol::Ip => libc::IPPROTO_IP,
    };
    out.attribute(PROTOCOL, &[number as u8]);
    out.attribute(SOURCE_PORT, &source.1.to_be_bytes());
    out.attribute(DESTINATION_PORT, &destination.1.to_be_bytes());
    out.close(ports);
    out.close(tuple);
    out.close_message(open);
}

/// Who will answer, as the tracking entry has it: the source of the reply.
fn answerer(body: &[u8]) -> Option<(IpAddr, u16)> {
    let reply = Attributes::behind(body, 4).inside(TUPLE_REPLY);
    let addresses = reply.inside(TUPLE_ADDRESSES);
    let address = addresses.get(SOURCE_V4).or_else(|| addresses.get(SOURCE_V6)).and_then(message::address)?;
    let port = reply.inside(TUPLE_PORTS).get(SOURCE_PORT).and_then(message::u16_be)?;
    Some((address, port))
}

/// Every parser of this room; see [`crate::netlink::read_anything`].
pub(crate) fn read_anything(body: &[u8]) {
    let _ = answerer(body);
}
