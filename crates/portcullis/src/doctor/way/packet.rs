//! A packet that was never sent, as rules would see it. What nobody can know of it beforehand is not known here either.

use std::net::IpAddr;

use portcullis_core::net::Protocol;
use portcullis_sys::nftables::ruleset::Field;

/// A byte, if it is known.
pub type Byte = Option<u8>;

/// TCP's flags (RFC 9293 §3.1).
pub const SYN: u8 = 0x02;
/// The same.
pub const ACK: u8 = 0x10;

/// States of connections, as `ct state` has them.
pub const ESTABLISHED: u32 = 2;
/// The first packet's.
pub const NEW: u32 = 8;
/// Not tracked.
pub const UNTRACKED: u32 = 64;

/// Kinds of addresses: `RTN_UNICAST` and `RTN_LOCAL` of rtnetlink(7).
pub const ELSEWHERE: u8 = 1;
/// An own one.
pub const LOCAL: u8 = 2;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// The packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// From whom.
    pub source: IpAddr,
    /// From which port.
    pub source_port: Option<u16>,
    /// To whom; not known after a translation that is not understood.
    pub destination: Option<IpAddr>,
    /// To which port.
    pub port: Option<u16>,
    /// TCP's flags.
    pub flags: u8,
    /// Its mark, in this machine's order.
    pub mark: [Byte; 4],
    /// Whether our own chain has set the door's bit.
    pub is_marked: bool,
    /// What conntrack says, one bit of `ct state`.
    pub state: u32,
    /// Where its connection's first packet went.
    pub original: (IpAddr, u16),
    /// Whether its connection was sent on to somewhere else.
    pub is_translated: bool,
    /// Whether it is of the answering side.
    pub is_answer: bool,
    /// Where it came in.
    pub came_in: Option<Device>,
    /// Where it goes out.
    pub goes_out: Option<Device>,
    /// The kind of its source's address.
    pub source_kind: u8,
    /// The kind of its destination's address.
    pub destination_kind: Option<u8>,
}

/// Of the `META` keys those that are known (`enum nft_meta_keys`).
mod meta {
    pub(super) const PROTOCOL: u32 = 1;
    pub(super) const MARK: u32 = 3;
    pub(super) const IIF: u32 = 4;
    pub(super) const OIF: u32 = 5;
    pub(super) const IIFNAME: u32 = 6;
    pub(super) const OIFNAME: u32 = 7;
    pub(super) const NFPROTO: u32 = 15;
    pub(super) const L4PROTO: u32 = 16;
    pub(super) const PKTTYPE: u32 = 19;
}

/// `enum nft_ct_keys`.
mod ct {
    pub(super) const STATE: u32 = 0;
    pub(super) const DIRECTION: u32 = 1;
    pub(super) const STATUS: u32 = 2;
    pub(super) const MARK: u32 = 3;
    pub(super) const PROTO_DST: u32 = 12;
}

/// How much may be loaded of what is not known: a register's four words.
const UNKNOWN: [Byte; 16] = [None; 16];

impl Packet {
    /// What a rule loads, filled up to whole words as the kernel does it.
    #[must_use]
    pub fn load(&self, field: &Field) -> Vec<Byte> {
        let mut bytes = match field {
            Field::Meta(key) => self.meta(*key),
            Field::Connection(key, direction) => self.connection(*key, *direction),
            Field::Network { offset, length } => slice(&self.network_header(), *offset, *length),
            Field::Transport { offset, length } => slice(&self.transport_header(), *offset, *length),
            Field::Route { result, flags } => self.route(*result, *flags),
            Field::Other => UNKNOWN.to_vec(),
        };
        bytes.resize(bytes.len().next_multiple_of(4), Some(0));
        bytes
    }

    /// Takes away what this and `other` do not agree in.
    pub fn blur(&mut self, other: &Packet) {
        for (own, byte) in self.mark.iter_mut().zip(other.mark) {
            if *own != byte {
                *own = None;
            }
        }
        if (self.destination, self.port) != (other.destination, other.port) {
            (self.destination, self.port, self.destination_kind) = (None, None, None);
        }
        self.is_translated |= other.is_translated;
    }

    /// Whether it is of IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.source.is_ipv6()
    }

    fn meta(&self, key: u32) -> Vec<Byte> {
        let device = |device: &Option<Device>| {
            device.as_ref().map_or(known(&[0; 4]), |device| known(&device.index.to_ne_bytes()))
        };
        let name = |device: &Option<Device>| {
            let mut name = [0; 16];
            let own = device.as_ref().map_or("", |device| device.name.as_str());
            name.iter_mut().zip(own.bytes().take(15)).for_each(|(to, from)| *to = from);
            known(&name)
        };
        match key {
            meta::MARK => self.mark.to_vec(),
            meta::PROTOCOL => known(if self.is_ipv6() { &[0x86, 0xdd] } else { &[0x08, 0x00] }),
            meta::NFPROTO => known(if self.is_ipv6() { &[10] } else { &[2] }),
            meta::L4PROTO => known(&[number(self.protocol)]),
            meta::IIF => device(&self.came_in),
            meta::OIF => device(&self.goes_out),
            meta::IIFNAME => name(&self.came_in),
            meta::OIFNAME => name(&self.goes_out),
            // PACKET_HOST.
            meta::PKTTYPE => known(&[0]),
            _ => UNKNOWN.to_vec(),
        }
    }

    fn connection(&self, key: u32, direction: Option<u8>) -> Vec<Byte> {
        match key {
            ct::STATE => known(&self.state.to_ne_bytes()),
            ct::DIRECTION => known(&[u8::from(self.is_answer)]),
            // IPS_DST_NAT; the other bits nobody asks for.
            ct::STATUS => known(&(if self.is_translated { 0x20_u32 } else { 0 }).to_ne_bytes()),
            // A connection that has just begun bears none.
            ct::MARK if self.state == NEW => known(&[0; 4]),
            ct::PROTO_DST if direction.unwrap_or(0) == 0 => known(&self.original.1.to_be_bytes()),
            _ => UNKNOWN.to_vec(),
        }
    }

    /// What the reverse path filters and `type local` ask; the guest is where our route to him leads.
    fn route(&self, result: u32, flags: u32) -> Vec<Byte> {
        const INTERFACE: u32 = 1;
        const KIND: u32 = 3;
        const OF_SOURCE: u32 = 1;
        const PRESENT: u32 = 32;
        let is_of_source = flags & OF_SOURCE != 0;
        match result {
            KIND if is_of_source => known(&u32::from(self.source_kind).to_ne_bytes()),
            KIND => match self.destination_kind {
                Some(kind) => known(&u32::from(kind).to_ne_bytes()),
                None => UNKNOWN.to_vec(),
            },
            INTERFACE if is_of_source && flags & PRESENT != 0 => known(&[1]),
            INTERFACE if is_of_source => self.meta(meta::IIF),
            _ => UNKNOWN.to_vec(),
        }
    }

    /// RFC 791 §3.1, RFC 8200 §3.
    fn network_header(&self) -> Vec<Byte> {
        let destination = |length| match self.destination {
            Some(IpAddr::V4(own)) => known(&own.octets()),
            Some(IpAddr::V6(own)) => known(&own.octets()),
            None => vec![None; length],
        };
        match self.source {
            IpAddr::V4(source) => {
                let mut header = vec![None; 12];
                (header[0], header[9]) = (Some(0x45), Some(number(self.protocol)));
                header.extend(known(&source.octets()));
                header.extend(destination(4));
                header
            }
            IpAddr::V6(source) => {
                let mut header = vec![None; 8];
                header[6] = Some(number(self.protocol));
                header.extend(known(&source.octets()));
                header.extend(destination(16));
                header
            }
        }
    }

    /// RFC 9293 §3.1; of UDP only the ports are there.
    fn transport_header(&self) -> Vec<Byte> {
        let mut header = port(self.source_port);
        header.extend(port(self.port));
        header.resize(20, None);
        if self.protocol == Protocol::Tcp {
            header[13] = Some(self.flags);
        }
        header
    }
}

fn port(port: Option<u16>) -> Vec<Byte> {
    port.map_or(vec![None; 2], |port| known(&port.to_be_bytes()))
}

/// These bytes, all of them known.
#[must_use]
pub fn known(bytes: &[u8]) -> Vec<Byte> {
    bytes.iter().copied().map(Some).collect()
}

/// A part; what lies beyond is not known.
fn slice(bytes: &[Byte], offset: usize, length: usize) -> Vec<Byte> {
    // No register takes more.
    (offset..offset.saturating_add(length.min(64))).map(|at| bytes.get(at).copied().flatten()).collect()
}

/// The number in the header: IANA, Protocol Numbers.
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
        Protocol::Icmp => 1,
        // Doors have no others than the first two.
        Protocol::Ip => 0,
    }
}
