//! Packets for tests, built the way a reader would say them, with right checksums unless asked otherwise:
//!
//! ```
//! use portcullis_core::wire::{Link, TcpFlags, build};
//!
//! let probe = build::tcp(40_000, 22, TcpFlags::SYN);
//! let packet = build::ip("192.0.2.9", "198.51.100.1", probe).hop_limit(57);
//! let frame = build::frame(Link::Ethernet, &packet.bytes());
//! let cut = packet.fragments(8);
//! # assert_eq!((frame.len(), cut.len()), (54, 3));
//! ```
//!
//! Behind the feature `build`: for tests of any crate here, never for the program. It panics on what can't be built.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Link;
use super::checksum::Sum;

/// What an IP packet is to carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    protocol: u8,
    bytes: Vec<u8>,
    /// Where the checksum goes, and whether it covers a pseudo header.
    checksum: Option<(usize, PseudoHeader)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PseudoHeader {
    Never,
    Always,
    /// As ICMP: with IPv6 only.
    Ipv6,
}

/// A TCP segment; turns into a [`Payload`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    source_port: u16,
    destination_port: u16,
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    window: u16,
    options: Vec<u8>,
    payload: Vec<u8>,
}

/// A TCP segment without options and payload.
#[must_use]
pub fn tcp(source_port: u16, destination_port: u16, flags: u8) -> Segment {
    Segment {
        source_port,
        destination_port,
        flags,
        sequence: 1,
        acknowledgement: 0,
        window: 1024,
        options: Vec::new(),
        payload: Vec::new(),
    }
}

impl Segment {
    /// The sequence number, 1 if not given.
    #[must_use]
    pub fn sequence(self, sequence: u32) -> Segment {
        Segment { sequence, ..self }
    }

    /// The acknowledgement number, 0 if not given.
    #[must_use]
    pub fn acknowledgement(self, acknowledgement: u32) -> Segment {
        Segment { acknowledgement, ..self }
    }

    /// The window, 1024 if not given.
    #[must_use]
    pub fn window(self, window: u16) -> Segment {
        Segment { window, ..self }
    }

    /// Options: a multiple of 4 bytes, at most 40.
    #[must_use]
    pub fn options(self, options: &[u8]) -> Segment {
        assert!(
            options.len().is_multiple_of(4) && options.len() <= 40,
            "TCP options of {} bytes",
            options.len()
        );
        Segment { options: options.to_vec(), ..self }
    }

    /// What the segment carries.
    #[must_use]
    pub fn payload(self, payload: &[u8]) -> Segment {
        Segment { payload: payload.to_vec(), ..self }
    }
}

impl From<Segment> for Payload {
    fn from(segment: Segment) -> Payload {
        let mut bytes = Vec::with_capacity(20 + segment.options.len() + segment.payload.len());
        bytes.extend(segment.source_port.to_be_bytes());
        bytes.extend(segment.destination_port.to_be_bytes());
        bytes.extend(segment.sequence.to_be_bytes());
        bytes.extend(segment.acknowledgement.to_be_bytes());
        let words = 5 + segment.options.len() as u8 / 4;
        bytes.extend([words << 4, segment.flags]);
        bytes.extend(segment.window.to_be_bytes());
        bytes.extend([0, 0, 0, 0]);
        bytes.extend(segment.options);
        bytes.extend(segment.payload);
        Payload { protocol: 6, bytes, checksum: Some((16, PseudoHeader::Always)) }
    }
}

/// A UDP datagram.
#[must_use]
pub fn udp(source_port: u16, destination_port: u16, payload: &[u8]) -> Payload {
    let length = u16::try_from(8 + payload.len()).expect("a UDP datagram is at most 65,535 bytes long");
    let mut bytes = Vec::with_capacity(usize::from(length));
    for word in [source_port, destination_port, length, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(payload);
    Payload { protocol: 17, bytes, checksum: Some((6, PseudoHeader::Always)) }
}

/// An SCTP packet with one empty chunk of type `first_chunk`. Its CRC32c is left 0: nobody here verifies it.
#[must_use]
pub fn sctp(source_port: u16, destination_port: u16, verification_tag: u32, first_chunk: u8) -> Payload {
    let mut bytes = Vec::with_capacity(16);
    bytes.extend(source_port.to_be_bytes());
    bytes.extend(destination_port.to_be_bytes());
    bytes.extend(verification_tag.to_be_bytes());
    bytes.extend([0, 0, 0, 0, first_chunk, 0, 0, 4]);
    Payload { protocol: 132, bytes, checksum: None }
}

/// An ICMP message in an IPv4 packet: type, code, four zero bytes behind the checksum, and `body`.
#[must_use]
pub fn icmp(kind: u8, code: u8, body: &[u8]) -> Payload {
    icmp_with(kind, code, [0; 4], body)
}

/// The same with the four bytes behind the checksum: an echo's identifier and sequence number, the MTU of a link.
#[must_use]
pub fn icmp_with(kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Payload {
    let bytes = [&[kind, code, 0, 0], &rest[..], body].concat();
    Payload { protocol: 1, bytes, checksum: Some((2, PseudoHeader::Never)) }
}

/// The same as ICMPv6, for an IPv6 packet.
#[must_use]
pub fn icmpv6(kind: u8, code: u8, body: &[u8]) -> Payload {
    icmpv6_with(kind, code, [0; 4], body)
}

/// The same with the four bytes behind the checksum.
#[must_use]
pub fn icmpv6_with(kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Payload {
    Payload { protocol: 58, checksum: Some((2, PseudoHeader::Ipv6)), ..icmp_with(kind, code, rest, body) }
}

/// Any other protocol, or one of the above with bytes of one's own and no checksum filled in.
#[must_use]
pub fn other(protocol: u8, bytes: &[u8]) -> Payload {
    Payload { protocol, bytes: bytes.to_vec(), checksum: None }
}

impl Payload {
    /// Writes no checksum: 0 stays in its place (which UDP over IPv4 allows).
    #[must_use]
    pub fn without_checksum(self) -> Payload {
        Payload { checksum: None, ..self }
    }
}

/// An IPv6 extension header to put before the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options: this many bytes of padding behind the first eight, a multiple of 8.
    HopByHop(usize),
    /// Destination options, with padding likewise.
    DestinationOptions(usize),
    /// A routing header of type 4 without a list, and its segments left.
    Routing {
        /// 0 where the packet has arrived.
        segments_left: u8,
    },
    /// An authentication header with an integrity value of 12 bytes.
    Authentication,
    /// Mobility header.
    Mobility,
    /// Host identity protocol.
    HostIdentity,
    /// Shim6.
    Shim6,
    /// A fragment header that says that it is the only fragment (RFC 6946).
    AtomicFragment,
}

impl Extension {
    fn number(&self) -> u8 {
        match self {
            Extension::HopByHop(_) => 0,
            Extension::DestinationOptions(_) => 60,
            Extension::Routing { .. } => 43,
            Extension::Authentication => 51,
            Extension::Mobility => 135,
            Extension::HostIdentity => 139,
            Extension::Shim6 => 140,
            Extension::AtomicFragment => 44,
        }
    }

    fn bytes(&self, next: u8) -> Vec<u8> {
        match self {
            Extension::HopByHop(padding) | Extension::DestinationOptions(padding) => {
                assert!(padding.is_multiple_of(8) && *padding <= 2040, "padding of {padding} bytes");
                let units = (padding / 8) as u8;
                // PadN behind PadN; Pad1 is a zero byte.
                let mut bytes = vec![next, units, 1, 4, 0, 0, 0, 0];
                bytes.resize(8 + padding, 0);
                bytes
            }
            Extension::Routing { segments_left } => vec![next, 0, 4, *segments_left, 0, 0, 0, 0],
            Extension::Authentication => {
                let mut bytes = vec![next, 4];
                bytes.resize(24, 0);
                bytes
            }
            Extension::Mobility | Extension::HostIdentity | Extension::Shim6 | Extension::AtomicFragment => {
                vec![next, 0, 0, 0, 0, 0, 0, 0]
            }
        }
    }
}

/// An IP packet under construction; the family is that of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    source: IpAddr,
    destination: IpAddr,
    payload: Payload,
    hop_limit: u8,
    identification: u32,
    is_fragmentable: bool,
    options: Vec<u8>,
    before_fragment: Vec<Extension>,
    behind_fragment: Vec<Extension>,
    checksum: Checksum,
}

/// What stands in the transport's checksum field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksum {
    Right,
    Wrong,
    Unfinished,
}

/// An address, or the text of one.
pub trait Address {
    /// The address; panics on a text that is none.
    fn address(self) -> IpAddr;
}

impl Address for &str {
    fn address(self) -> IpAddr {
        self.parse().expect("the text of an IP address")
    }
}

impl Address for IpAddr {
    fn address(self) -> IpAddr {
        self
    }
}

impl Address for Ipv4Addr {
    fn address(self) -> IpAddr {
        self.into()
    }
}

impl Address for Ipv6Addr {
    fn address(self) -> IpAddr {
        self.into()
    }
}

/// An IP packet with hop limit 64 and identification 1.
#[must_use]
pub fn ip(source: impl Address, destination: impl Address, payload: impl Into<Payload>) -> Packet {
    let (source, destination) = (source.address(), destination.address());
    assert_eq!(source.is_ipv4(), destination.is_ipv4(), "both addresses of a packet have one family");
    Packet {
        source,
        destination,
        payload: payload.into(),
        hop_limit: 64,
        identification: 1,
        is_fragmentable: true,
        options: Vec::new(),
        before_fragment: Vec::new(),
        behind_fragment: Vec::new(),
        checksum: Checksum::Right,
    }
}

impl Packet {
    /// Time to live or hop limit.
    #[must_use]
    pub fn hop_limit(self, hop_limit: u8) -> Packet {
        Packet { hop_limit, ..self }
    }

    /// What fragments of this packet have in common; IPv4 takes the lower 16 bits.
    #[must_use]
    pub fn identification(self, identification: u32) -> Packet {
        Packet { identification, ..self }
    }

    /// With IPv4's flag that forbids routers to cut it; IPv6 has none, and needs none.
    #[must_use]
    pub fn unfragmented(self) -> Packet {
        Packet { is_fragmentable: false, ..self }
    }

    /// IPv4 options: a multiple of 4 bytes, at most 40. Repeated in every fragment.
    #[must_use]
    pub fn options(self, options: &[u8]) -> Packet {
        assert!(
            options.len().is_multiple_of(4) && options.len() <= 40,
            "IP options of {} bytes",
            options.len()
        );
        assert!(self.source.is_ipv4(), "only IPv4 has options in its header");
        Packet { options: options.to_vec(), ..self }
    }

    /// One more IPv6 extension header, which is cut into fragments with the payload.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Packet {
        assert!(self.source.is_ipv6(), "only IPv6 has extension headers");
        self.behind_fragment.push(extension);
        self
    }

    /// One more IPv6 extension header, which every fragment repeats before its fragment header.
    #[must_use]
    pub fn unfragmentable(mut self, extension: Extension) -> Packet {
        assert!(self.source.is_ipv6(), "only IPv6 has extension headers");
        self.before_fragment.push(extension);
        self
    }

    /// With a wrong transport checksum, as by `nmap --badsum`.
    #[must_use]
    pub fn damaged(self) -> Packet {
        Packet { checksum: Checksum::Wrong, ..self }
    }

    /// With the transport checksum left to a network card, as the kernel hands it to virtual ones: the sum of the
    /// pseudo header stands in its place.
    #[must_use]
    pub fn unfinished(self) -> Packet {
        Packet { checksum: Checksum::Unfinished, ..self }
    }

    /// The whole IP packet.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (first, body) = self.fragmentable();
        match self.source {
            IpAddr::V4(_) => self.ipv4(&body, if self.is_fragmentable { 0 } else { 0x4000 }),
            IpAddr::V6(_) => self.ipv6(first, &body, None),
        }
    }

    /// The packet in fragments that carry `size` bytes each, a multiple of 8, the last perhaps fewer.
    #[must_use]
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        let (_, body) = self.fragmentable();
        assert!(size > 0 && size.is_multiple_of(8), "fragments of {size} bytes");
        (0..body.len())
            .step_by(size)
            .map(|start| self.fragment(start, (start + size).min(body.len())))
            .collect()
    }

    /// One fragment: the bytes from `start` to `end` of what can be cut. Overlaps are made of these.
    #[must_use]
    pub fn fragment(&self, start: usize, end: usize) -> Vec<u8> {
        let (first, body) = self.fragmentable();
        let has_more = end < body.len();
        let part = body.get(start..end).expect("a fragment lies inside its packet");
        match self.source {
            IpAddr::V4(_) => self.ipv4(part, (start / 8) as u16 | u16::from(has_more) << 13),
            IpAddr::V6(_) => self.ipv6(first, part, Some(start as u16 & 0xfff8 | u16::from(has_more))),
        }
    }

    /// What can be cut into fragments, and the number of the header that it begins with.
    fn fragmentable(&self) -> (u8, Vec<u8>) {
        let mut body = self.payload.bytes.clone();
        if let Some((position, pseudo_header)) = self.payload.checksum {
            let has_pseudo_header = match pseudo_header {
                PseudoHeader::Never => false,
                PseudoHeader::Always => true,
                PseudoHeader::Ipv6 => self.source.is_ipv6(),
            };
            let mut pseudo = Sum::default();
            if has_pseudo_header {
                let length = body.len();
                pseudo.add_pseudo_header(self.source, self.destination, self.payload.protocol, length);
            }
            let mut sum = Sum::of(&body);
            sum.add_sum(pseudo);
            let mut checksum = sum.checksum();
            // A sum of 0 is sent as all ones, since 0 means "none" (RFC 768).
            if self.payload.protocol == 17 && checksum == [0, 0] {
                checksum = [0xff, 0xff];
            }
            match self.checksum {
                Checksum::Right => {}
                Checksum::Wrong => checksum[0] ^= 0x55,
                Checksum::Unfinished => checksum = pseudo.checksum().map(|byte| !byte),
            }
            body[position..position + 2].copy_from_slice(&checksum);
        }
        chain(&self.behind_fragment, self.payload.protocol, body)
    }

    fn ipv4(&self, body: &[u8], fragment: u16) -> Vec<u8> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (self.source, self.destination) else {
            unreachable!("ip() made sure of one family")
        };
        let header_length = 20 + self.options.len();
        let total =
            u16::try_from(header_length + body.len()).expect("an IPv4 packet is at most 65,535 bytes long");
        let mut header = vec![0x40 | (header_length / 4) as u8, 0];
        header.extend(total.to_be_bytes());
        header.extend((self.identification as u16).to_be_bytes());
        header.extend(fragment.to_be_bytes());
        header.extend([self.hop_limit, self.payload.protocol, 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(&self.options);
        let checksum = Sum::of(&header).checksum();
        header[10..12].copy_from_slice(&checksum);
        [&header, body].concat()
    }

    fn ipv6(&self, mut first: u8, body: &[u8], fragment: Option<u16>) -> Vec<u8> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (self.source, self.destination) else {
            unreachable!("ip() made sure of one family")
        };
        let mut body = body.to_vec();
        if let Some(field) = fragment {
            let mut header = vec![first, 0];
            header.extend(field.to_be_bytes());
            header.extend(self.identification.to_be_bytes());
            body = [header, body].concat();
            first = 44;
        }
        let (first, body) = chain(&self.before_fragment, first, body);
        let length = u16::try_from(body.len()).expect("an IPv6 payload is at most 65,535 bytes long");
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([first, self.hop_limit]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(body);
        packet
    }
}

/// `extensions` before `body`, which begins with the header `number`; the new first number and bytes.
fn chain(extensions: &[Extension], number: u8, body: Vec<u8>) -> (u8, Vec<u8>) {
    extensions.iter().rev().fold((number, body), |(next, behind), extension| {
        (extension.number(), [extension.bytes(next), behind].concat())
    })
}

/// `packet` behind the header of `link`.
#[must_use]
pub fn frame(link: Link, packet: &[u8]) -> Vec<u8> {
    tagged(link, &[], packet)
}

/// `packet` behind the header of `link` and VLAN tags: pairs of EtherType (0x8100, 0x88a8) and VLAN number, the
/// outermost first. For [`Link::Network`] the first tag's EtherType must be the link's own.
#[must_use]
pub fn tagged(link: Link, tags: &[(u16, u16)], packet: &[u8]) -> Vec<u8> {
    let is_ipv4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let ethertype: u16 = if is_ipv4 { 0x0800 } else { 0x86dd };
    let mut types: Vec<u16> = tags.iter().map(|(ethertype, _)| *ethertype).collect();
    types.push(ethertype);
    let outermost = types[0].to_be_bytes();
    let mut bytes = match link {
        Link::Ethernet => [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &outermost[..]].concat(),
        Link::CookedV1 => [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 2, 0, 0], &outermost[..]].concat(),
        Link::CookedV2 => [&outermost[..], &[0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 2, 0, 0]].concat(),
        Link::Null => if is_ipv4 { 2_u32 } else { 30 }.to_ne_bytes().to_vec(),
        Link::RawIp => Vec::new(),
        Link::Network { ethertype } => {
            assert_eq!(ethertype, types[0], "the link announces what the frame begins with");
            Vec::new()
        }
    };
    for ((_, number), next) in tags.iter().zip(&types[1..]) {
        bytes.extend(number.to_be_bytes());
        bytes.extend(next.to_be_bytes());
    }
    assert!(tags.is_empty() || !matches!(link, Link::Null | Link::RawIp), "{link:?} has no tags");
    bytes.extend(packet);
    bytes
}
