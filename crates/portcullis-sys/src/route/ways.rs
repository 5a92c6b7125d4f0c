//! Where a packet would go, and which routing rules go by its mark.

use std::net::IpAddr;

use super::{ROUTE_HEAD, list};
use crate::netlink::message::{self, Attributes, Message, Writer};
use crate::netlink::socket::Socket;
use crate::netlink::{NetlinkError, Request};

/// Where packets to an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface by which they leave.
    pub interface: u32,
    /// Our address as we would write to it.
    pub source: Option<IpAddr>,
    /// Whether the address is this host's own.
    pub is_local: bool,
}

/// Asks the routes for the way to `address`; `None` if there is none. Needs no rights.
///
/// # Errors
/// If the kernel can't be asked.
pub fn way_to(address: IpAddr) -> Result<Option<Way>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE, "route")?;
    let sequence = socket.reserve_sequences(1);
    let mut question = Writer::default();
    let open = question.open_message(libc::RTM_GETROUTE, 0, sequence);
    let mut head = [0; ROUTE_HEAD];
    let address = address.to_canonical();
    (head[0], head[1]) = match address {
        IpAddr::V4(_) => (libc::AF_INET as u8, 32),
        IpAddr::V6(_) => (libc::AF_INET6 as u8, 128),
    };
    question.raw(&head);
    match address {
        IpAddr::V4(own) => question.attribute(libc::RTA_DST, &own.octets()),
        IpAddr::V6(own) => question.attribute(libc::RTA_DST, &own.octets()),
    }
    question.close_message(open);
    let request = Request::new("ask for a route", "");
    let read = |answer: &Message<'_>| read_way(answer.body);
    match socket.ask(question.bytes(), sequence, request, read) {
        Ok(answer) => Ok(answer.flatten()),
        Err(error) => match error.refusal() {
            // No route, one that refuses, or a kernel without this family.
            Some(
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::EACCES
                | libc::EINVAL
                | libc::EOPNOTSUPP
                | libc::EAFNOSUPPORT,
            ) => Ok(None),
            _ => Err(error),
        },
    }
}

fn read_way(body: &[u8]) -> Option<Way> {
    let kind = *body.get(7)?;
    let attributes = Attributes::behind(body, ROUTE_HEAD);
    Some(Way {
        interface: attributes.get(libc::RTA_OIF).and_then(message::u32_ne)?,
        source: attributes.get(libc::RTA_PREFSRC).and_then(message::address),
        is_local: kind == libc::RTN_LOCAL,
    })
}

/// A routing rule that goes by packet marks (`ip rule … fwmark MARK/MASK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkRule {
    /// Its place in the order.
    pub priority: u32,
    /// What the masked mark has to be.
    pub mark: u32,
    /// The bits that count.
    pub mask: u32,
}

/// The routing rules of both families that go by marks, each once. Needs no rights.
///
/// # Errors
/// If the kernel can't be asked.
pub fn mark_rules() -> Result<Vec<MarkRule>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE, "route")?;
    let mut rules: Vec<MarkRule> = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = Request::new("list routing rules", "");
        rules.extend(list(&mut socket, libc::RTM_GETRULE, family as u8, request, |body, into| {
            into.extend(read_mark_rule(body));
        })?);
    }
    rules.sort_unstable();
    rules.dedup();
    Ok(rules)
}

/// Attributes of `include/uapi/linux/fib_rules.h`; the head is as long as a route's.
fn read_mark_rule(body: &[u8]) -> Option<MarkRule> {
    const PRIORITY: u16 = 6;
    const MARK: u16 = 10;
    const MASK: u16 = 16;
    let attributes = Attributes::behind(body, ROUTE_HEAD);
    let number = |kind| attributes.get(kind).and_then(message::u32_ne);
    let (mark, mask) = (number(MARK)?, number(MASK).unwrap_or(u32::MAX));
    (mask != 0).then_some(MarkRule { priority: number(PRIORITY).unwrap_or(0), mark, mask })
}

/// Every parser of this room; see [`crate::netlink::read_anything`].
pub(super) fn read_anything(body: &[u8]) {
    let _ = (read_way(body), read_mark_rule(body));
}
