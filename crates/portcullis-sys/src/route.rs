//! The host's interfaces, its own addresses and its default gateways, and a notice when they change.
//!
//! Whatever is ours, or leads us out, is never blocked; so policy must know it, and at once when it changes.
//! Attributes: `include/uapi/linux/rtnetlink.h`, `if_link.h`, `if_addr.h`.

mod ways;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use portcullis_core::net::Prefix;

use crate::netlink::message::{self, Attributes, Message, Writer};
use crate::netlink::socket::{Received, Socket};
use crate::netlink::{NetlinkError, Request};

pub use self::ways::{MarkRule, Way, mark_rules, way_to};

/// How often a list that changed while it was read is read again.
const READINGS: usize = 8;

/// What one look at the network brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// All interfaces, also those that are down.
    pub interfaces: Vec<Interface>,
    /// All own addresses of both families.
    pub addresses: Vec<Address>,
    /// The next hops of all default routes, in all tables, each once.
    pub gateways: Vec<IpAddr>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number in this namespace; never 0.
    pub index: u32,
    /// Its name; bytes that are no UTF-8 are replaced. Whoever may make interfaces chose it: escape it on a
    /// terminal.
    pub name: String,
    /// Whether it is switched on (`IFF_UP`), with or without a carrier.
    pub is_up: bool,
    /// Whether it is a loopback.
    pub is_loopback: bool,
    /// The bridge, bond or other master that it is a port of.
    pub master: Option<u32>,
    /// Whether its master is a bridge, a bond or a team: what arrives here arrives on the master again (net/core/dev.c,
    /// `another_round`).
    pub is_port: bool,
    /// What the driver calls itself (`IFLA_INFO_KIND`: bridge, veth, tun, vlan …); `None` for a real card.
    pub kind: Option<String>,
}

/// One own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the interface that has it.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// How many bits of it are the directly connected network's: 0 to 32, or 0 to 128.
    pub prefix_length: u8,
    /// The directly connected network. On a point-to-point interface it is the other side's.
    pub network: Prefix,
}

/// Reads interfaces, addresses and default gateways. Needs no rights.
///
/// # Errors
/// If the kernel can't be asked.
pub fn snapshot() -> Result<Network, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE, "route")?;
    let any = libc::AF_UNSPEC as u8;
    let interfaces =
        list(&mut socket, libc::RTM_GETLINK, any, Request::new("list interfaces", ""), |body, into| {
            into.extend(read_interface(body));
        })?;
    let addresses =
        list(&mut socket, libc::RTM_GETADDR, any, Request::new("list addresses", ""), |body, into| {
            into.extend(read_address(body));
        })?;
    let mut gateways = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = Request::new("list routes", if family == libc::AF_INET { "IPv4" } else { "IPv6" });
        gateways.extend(list(&mut socket, libc::RTM_GETROUTE, family as u8, request, read_gateways)?);
    }
    gateways.sort_unstable();
    gateways.dedup();
    Ok(Network { interfaces, addresses, gateways })
}

/// Whether there are routes by which this host takes packets to addresses that are not in its table `local`: those of
/// a VRF lie in the VRF's table, and TPROXY is set up with one in a table of its own (`ip route add local …`,
/// tproxy.rst, vrf.rst). Needs no rights.
///
/// # Errors
/// If the kernel can't be asked.
pub fn takes_in_beyond_its_addresses() -> Result<bool, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE, "route")?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = Request::new("list routes", if family == libc::AF_INET { "IPv4" } else { "IPv6" });
        let found =
            list(&mut socket, libc::RTM_GETROUTE, family as u8, request, |body, into: &mut Vec<()>| {
                into.extend(leads_in_elsewhere(body).then_some(()));
            })?;
        if !found.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads a list until it is of one moment. If it never is, the last one has to do: the change that disturbed it
/// raises an event, and the caller comes again.
fn list<T>(
    socket: &mut Socket,
    kind: u16,
    family: u8,
    request: Request,
    read: impl Fn(&[u8], &mut Vec<T>),
) -> Result<Vec<T>, NetlinkError> {
    let mut question = Writer::default();
    let mut found = Vec::new();
    for _ in 0..READINGS {
        found.clear();
        question.clear();
        let sequence = socket.reserve_sequences(1);
        let open = question.open_message(kind, libc::NLM_F_DUMP, sequence);
        // The heads of the three questions differ in length and agree in what we ask: nothing but the family.
        let mut head = [0; INTERFACE_HEAD];
        head[0] = family;
        question.raw(&head[..head_of(kind)]);
        question.close_message(open);
        let visit = |message: &Message<'_>| read(message.body, &mut found);
        match socket.dump(question.bytes(), sequence, request, visit) {
            Ok(true) => break,
            Ok(false) => {}
            // A kernel without this family has none of it.
            Err(error) if matches!(error.refusal(), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Size of `struct ifinfomsg`.
const INTERFACE_HEAD: usize = 16;
/// Size of `struct ifaddrmsg`.
const ADDRESS_HEAD: usize = 8;
/// Size of `struct rtmsg`.
const ROUTE_HEAD: usize = 12;

fn head_of(kind: u16) -> usize {
    match kind {
        libc::RTM_GETLINK => INTERFACE_HEAD,
        libc::RTM_GETADDR => ADDRESS_HEAD,
        _ => ROUTE_HEAD,
    }
}

fn read_interface(body: &[u8]) -> Option<Interface> {
    /// `IFLA_INFO_KIND` and `IFLA_INFO_SLAVE_KIND` of `if_link.h`.
    const INFO_KIND: u16 = 1;
    const INFO_SLAVE_KIND: u16 = 4;
    let index = message::u32_ne(body.get(4..8)?).filter(|&index| index != 0)?;
    let flags = message::u32_ne(body.get(8..12)?)?;
    let has = |flag: libc::c_int| flags & flag as u32 != 0;
    let attributes = Attributes::behind(body, INTERFACE_HEAD);
    let name = attributes.get(libc::IFLA_IFNAME)?.split(|&byte| byte == 0).next()?;
    let information = attributes.inside(libc::IFLA_LINKINFO);
    let kind_of_port = information.get(INFO_SLAVE_KIND).and_then(message::text);
    Some(Interface {
        index,
        name: String::from_utf8_lossy(name).into_owned(),
        is_up: has(libc::IFF_UP),
        is_loopback: has(libc::IFF_LOOPBACK),
        master: attributes.get(libc::IFLA_MASTER).and_then(message::u32_ne),
        is_port: matches!(kind_of_port, Some("bridge" | "bond" | "team")),
        kind: information.get(INFO_KIND).and_then(message::text).map(str::to_owned),
    })
}

fn read_address(body: &[u8]) -> Option<Address> {
    let prefix_length = *body.get(1)?;
    let interface = message::u32_ne(body.get(4..8)?)?;
    let attributes = Attributes::behind(body, ADDRESS_HEAD);
    let of_network = attributes.get(libc::IFA_ADDRESS).and_then(message::address);
    // IFA_LOCAL is missing where it would say the same: IPv6 without a peer.
    let own = attributes.get(libc::IFA_LOCAL).and_then(message::address).or(of_network)?;
    let network = Prefix::containing(of_network.unwrap_or(own), prefix_length);
    Some(Address { interface, address: own, prefix_length, network })
}

/// The next hops of a route, if it is a default route that leads somewhere.
fn read_gateways(body: &[u8], into: &mut Vec<IpAddr>) {
    let (Some(&destination_length), Some(&kind)) = (body.get(1), body.get(7)) else { return };
    if destination_length != 0 || kind != libc::RTN_UNICAST {
        return;
    }
    let attributes = Attributes::behind(body, ROUTE_HEAD);
    into.extend(gateway(attributes));
    let mut hops = attributes.get(libc::RTA_MULTIPATH).unwrap_or_default();
    // struct rtnexthop: its length in two bytes, six bytes more, attributes.
    while let Some(length) = hops.first_chunk().map(|&length| usize::from(u16::from_ne_bytes(length))) {
        let Some(hop) = hops.get(8..length) else { return };
        into.extend(gateway(Attributes::new(hop)));
        hops = hops.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// Whether a route leads to this host and lies in another table than `local`.
fn leads_in_elsewhere(body: &[u8]) -> bool {
    let (Some(&table), Some(&kind)) = (body.get(4), body.get(7)) else { return false };
    // A number above 255 has room in the attribute only.
    let whole = Attributes::behind(body, ROUTE_HEAD).get(libc::RTA_TABLE).and_then(message::u32_ne);
    kind == libc::RTN_LOCAL && whole.unwrap_or(table.into()) != u32::from(libc::RT_TABLE_LOCAL)
}

/// The next hop: of the route's own family, or of the other one (`RTA_VIA`, RFC 5549).
fn gateway(attributes: Attributes<'_>) -> Option<IpAddr> {
    let via = || attributes.get(libc::RTA_VIA)?.get(2..);
    attributes
        .get(libc::RTA_GATEWAY)
        .or_else(via)
        .and_then(message::address)
        .map(|address| address.to_canonical())
}

/// Notices changes of interfaces, addresses and routes.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
}

impl Watch {
    /// Listens from now on; take the [`snapshot`] after this, so that no change falls between. Needs no rights.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Watch, NetlinkError> {
        let family = "route events";
        let socket = Socket::open(libc::NETLINK_ROUTE, family)?;
        for group in [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV6_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV6_ROUTE,
        ] {
            socket
                .join(group as libc::c_int)
                .map_err(|source: io::Error| NetlinkError::Open { family, source })?;
        }
        Ok(Watch { socket })
    }

    /// Reads all events that wait, without waiting for more. Says whether something may have changed; lost
    /// events count as a change.
    ///
    /// # Errors
    /// If the socket can't be read.
    pub fn drain(&mut self) -> Result<bool, NetlinkError> {
        let mut has_changed = false;
        loop {
            let request = Request::new("read events", "");
            match self.socket.receive().map_err(|source| NetlinkError::Receive { request, source })? {
                Received::Nothing => return Ok(has_changed),
                Received::Overrun | Received::Messages(_) => has_changed = true,
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Every parser of this room; see [`crate::netlink::read_anything`].
pub(crate) fn read_anything(body: &[u8]) {
    let _ = (read_interface(body), read_address(body), leads_in_elsewhere(body));
    read_gateways(body, &mut Vec::new());
    ways::read_anything(body);
}
