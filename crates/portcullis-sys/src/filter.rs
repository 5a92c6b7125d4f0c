//! From "these ports on these interfaces" to a kernel filter, so that ordinary traffic never wakes us.
//!
//! The program is classic BPF for a `SOCK_DGRAM` packet socket (the data begins at the network header) and passes
//! only what may be a probe. Which packets those are stands at [`Program::compile`]. The kernel compiles the program
//! to machine code; ordinary traffic leaves it after about a dozen instructions.

mod assembler;
mod networks;
mod ranges;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use assembler::{Assembler, Label, Test};
use libc::sock_filter;
use portcullis_core::net::{PortSet, Prefix};
use portcullis_core::scan::is_spoken;
use ranges::Ranges;

/// Where probes may arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceChoice {
    /// On every interface except those with these indexes (loopback, and ports of a bridge, whose packets come
    /// again on the bridge). Interfaces that appear later are included.
    AllBut(Vec<u32>),
    /// On the interfaces with these indexes, and no other.
    Only(Vec<u32>),
}

/// What the kernel should let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterSpec {
    /// Destination ports to watch; SCTP uses them too.
    pub tcp: PortSet,
    /// Destination ports to watch.
    pub udp: PortSet,
    /// Interfaces to watch.
    pub interfaces: InterfaceChoice,
    /// UDP ports of `udp` to pass over for now: services of this host whose datagrams would flood us.
    pub muted_udp: Vec<u16>,
    /// Destination ports to which every TCP packet is handed on, whatever its flags: where knocks may come that don't
    /// say which flags they have. A port with ordinary traffic here costs a wake-up for each of its packets.
    pub heard_tcp: PortSet,
    /// Destination ports to which every datagram is handed on, muted or not, and up to [`WHOLE_LENGTH`] if the ring
    /// has room: where knocks, or single packets with all that they have to say, may come.
    pub heard_udp: PortSet,
    /// Destination ports to which a segment with ACK and without SYN, FIN and RST is handed on. Ports with ordinary
    /// traffic have no place here: each of its packets would wake us.
    pub acks: PortSet,
    /// Of protocols of IP that hosts don't speak to each other ([`is_spoken`]) every packet is handed on, but of these.
    /// `None`: of no protocol.
    pub all_protocols_but: Option<Vec<u8>>,
    /// Whether ICMP questions (echo, timestamp, address mask) are handed on.
    pub pings: bool,
    /// Networks of others whose traffic is looked at too, in both directions, as this host forwards or overhears it; at
    /// most [`MOST_NETWORKS`] count.
    pub networks: Vec<Prefix>,
}

/// So many networks of others at most: each costs up to two dozen instructions.
pub const MOST_NETWORKS: usize = 16;

/// How exactly a [`Program`] does what its [`FilterSpec`] asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Exactly: nothing else is let through.
    Exact,
    /// The ports or interfaces were too many single pieces for the kernel's limit, so the smallest gaps between them
    /// are let through as well: user space has to look at port and interface again.
    Coarse,
}

/// The longest program that a kernel takes (`BPF_MAXINSNS`).
pub const LONGEST_PROGRAM: usize = 4096;

/// The shortest ceiling that leaves room for the questions every program asks.
const SHORTEST_CEILING: usize = 768;

/// How many bytes of a packet are handed on: what fits in a frame of the ring behind the kernel's own header
/// (512 less 80). Enough for IPv6 with 380 bytes of extension headers before the ports.
pub const SNAP_LENGTH: u32 = 432;

/// How many bytes are handed on where [`FilterSpec::heard_udp`] is not empty, if the ring takes whole packets
/// ([`crate::ring::RingOptions::is_for_whole_packets`]): what fits in a frame of 2,048 behind the kernel's own header. A
/// single-packet knock has at most 1,500 with its IP header; in fragments it is not read.
pub const WHOLE_LENGTH: u32 = 1968;

/// `PACKET_HOST` of `linux/if_packet.h`: addressed to this very host by its link address.
const TO_THIS_HOST: u32 = libc::PACKET_HOST as u32;

/// `PACKET_OTHERHOST`: from here on a packet was overheard, sent or looped back. Below are broadcast and multicast.
const TO_OTHERS: u32 = libc::PACKET_OTHERHOST as u32;

/// IPv6 next headers that hide the transport: hop-by-hop, routing, fragment, authentication, destination options,
/// mobility, HIP, shim6 (IANA "IPv6 Extension Header Types" without ESP, behind which nothing can be read).
const EXTENSION_HEADERS: [u32; 8] = [0, 43, 44, 51, 60, 135, 139, 140];

/// A kernel filter, ready to be attached.
#[derive(Clone)]
pub struct Program {
    instructions: Vec<sock_filter>,
    coverage: Coverage,
    spec: FilterSpec,
}

impl Program {
    /// The program for `spec`. Of packets that are for this very host and arrive on a watched interface it passes
    ///
    /// - TCP to a watched port with SYN and without ACK; with neither ACK nor RST (NULL, FIN, Xmas and odd mixes);
    ///   with SYN and either FIN or RST; with FIN and ACK alone (Maimon's probe, and the ordinary end of a connection);
    /// - every TCP packet to a heard port;
    /// - UDP to a watched port that isn't muted, or to a heard one;
    /// - SCTP to a watched TCP port whose first chunk is INIT or COOKIE ECHO;
    /// - every IPv4 fragment, every IPv6 packet with an extension header, and every packet with a VLAN tag left
    ///   inside: their ports are out of reach for classic BPF, user space looks.
    ///
    /// In a frame to a broadcast or multicast link address Linux delivers UDP to our own addresses, but neither TCP nor
    /// SCTP (`tcp_v4_rcv`, `sctp_rcv`): of such frames UDP, fragments, and IPv6 with extension headers pass as above,
    /// unless the IP destination is a group too (224.0.0.0/4, 255.255.255.255, ff00::/8): that chatter is nobody's
    /// probe. What goes to a network's own broadcast address passes, user space knows the networks.
    ///
    /// - TCP to a port of [`FilterSpec::acks`] with ACK and neither SYN, FIN nor RST;
    /// - packets of protocols that hosts don't speak, and ICMP questions, as far as they are asked for.
    ///
    /// Of packets from and to [`FilterSpec::networks`], whoever has them on his link, it passes TCP but for segments with
    /// ACK and neither SYN, FIN nor RST, UDP from and to watched ports, and everything else: what is a probe there, and
    /// how it was answered, user space finds out.
    ///
    /// What the link address says to be for this host passes whatever its IP destination: a packet that is to be
    /// forwarded too. What is said to be for another host doesn't, even on an interface that takes everything.
    ///
    /// Packets with a VLAN tag other than 0 are not passed on the interface that carries the VLAN: the kernel
    /// shows them again on the VLAN's own interface, or drops them where there is none.
    #[must_use]
    pub fn compile(spec: &FilterSpec) -> Program {
        Program::compile_within(spec, LONGEST_PROGRAM)
    }

    /// As [`Program::compile`], with at most `ceiling` instructions (768 to 4096; values outside are moved to the
    /// nearer end), made coarser where it must be.
    #[must_use]
    pub fn compile_within(spec: &FilterSpec, ceiling: usize) -> Program {
        let ceiling = ceiling.clamp(SHORTEST_CEILING, LONGEST_PROGRAM);
        let wanted = Sets::of(spec);
        let mut room = ceiling;
        loop {
            let sets = wanted.clone().within(room);
            let instructions = assemble(&sets);
            // The fixed questions (about 50 instructions) and the stepping stones come on top of one for each change.
            let surplus = instructions.len().saturating_sub(ceiling);
            if surplus > 0 {
                room = room.saturating_sub(surplus);
                continue;
            }
            let coverage = if sets == wanted { Coverage::Exact } else { Coverage::Coarse };
            return Program { instructions, coverage, spec: spec.clone() };
        }
    }

    /// Whether the program lets through more than was asked for.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Number of instructions, 1 to [`LONGEST_PROGRAM`].
    #[must_use]
    pub fn length(&self) -> usize {
        self.instructions.len()
    }

    /// Gives the socket this filter in place of the one it has; there is no moment without one.
    ///
    /// Kernels before 6.10 lend a socket 20 KiB for options, which a long program exceeds (ENOMEM): it is then made
    /// coarser by halves until it fits. Returns what is attached in the end.
    pub(crate) fn attach(&self, socket: impl AsFd) -> io::Result<Program> {
        let mut program = self.clone();
        loop {
            match program.attach_as_it_is(socket.as_fd()) {
                Ok(()) => return Ok(program),
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOMEM) && program.length() > SHORTEST_CEILING =>
                {
                    program = Program::compile_within(&program.spec, program.length() / 2);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn attach_as_it_is(&self, socket: impl AsFd) -> io::Result<()> {
        let length = u16::try_from(self.instructions.len()).expect("at most 4096 by construction");
        let program = libc::sock_fprog { len: length, filter: self.instructions.as_ptr().cast_mut() };
        let size = libc::socklen_t::try_from(size_of_val(&program)).expect("a dozen bytes");
        // SAFETY: the descriptor is open for as long as `socket` is borrowed; the kernel reads `size` bytes of
        // `program` and through it `len` instructions of a vector that lives until this function returns, and writes
        // to neither (the pointer is mutable only in C's declaration).
        let result = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("length", &self.length())
            .field("coverage", &self.coverage)
            .field("spec", &self.spec)
            .finish()
    }
}

/// The sets that cost instructions.
#[derive(Clone, PartialEq, Eq)]
struct Sets {
    interfaces: Ranges,
    /// Where probes pass.
    tcp: Ranges,
    /// Where every packet passes.
    heard_tcp: Ranges,
    udp: Ranges,
    acks: Ranges,
    protocols: Ranges,
    pings: bool,
    networks: Vec<Prefix>,
    length: u32,
}

impl Sets {
    fn of(spec: &FilterSpec) -> Sets {
        let interfaces = match &spec.interfaces {
            InterfaceChoice::AllBut(indexes) => Ranges::of_numbers(indexes).complement(),
            InterfaceChoice::Only(indexes) => Ranges::of_numbers(indexes),
        };
        let muted = PortSet::from_ranges(spec.muted_udp.iter().map(|&port| (port, port)));
        let ports = |set: &PortSet| {
            let wide = set.ranges().iter().map(|&(low, high)| (u32::from(low), u32::from(high)));
            Ranges::new(wide, u32::from(u16::MAX))
        };
        let both = |one: &PortSet, other: &PortSet| {
            ports(&PortSet::from_ranges(one.ranges().iter().chain(other.ranges()).copied()))
        };
        Sets {
            interfaces,
            tcp: both(&spec.tcp, &spec.heard_tcp),
            heard_tcp: ports(&spec.heard_tcp),
            udp: both(&spec.udp.without(&muted), &spec.heard_udp),
            acks: ports(&spec.acks),
            protocols: match &spec.all_protocols_but {
                None => Ranges::of_numbers(&[]),
                Some(muted) => {
                    let is_wanted = |number: &u8| !is_spoken(*number) && !muted.contains(number);
                    Ranges::of_numbers(&(0..=u8::MAX).filter(is_wanted).map(u32::from).collect::<Vec<_>>())
                }
            },
            pings: spec.pings,
            networks: spec.networks.iter().take(MOST_NETWORKS).copied().collect(),
            length: if spec.heard_udp.is_empty() { SNAP_LENGTH } else { WHOLE_LENGTH },
        }
    }

    /// Coarser, so that all together have at most `ceiling` changes: interfaces may take a quarter, ports for segments with
    /// ACK half of the rest, heard ports, whose gaps are full of ordinary traffic as well, half of what is left then, and
    /// of the last the smaller of the other two gets what it needs up to a half.
    fn within(self, ceiling: usize) -> Sets {
        let interfaces = self.interfaces.coarsened(ceiling / 4);
        let left = ceiling.saturating_sub(interfaces.changes.len());
        let acks = self.acks.coarsened(left / 2);
        let left = left.saturating_sub(acks.changes.len());
        let heard_tcp = self.heard_tcp.coarsened(left / 2);
        let left = left.saturating_sub(heard_tcp.changes.len());
        let share = |own: usize, other: usize| own.min((left / 2).max(left.saturating_sub(other)));
        let (tcp, udp) = (self.tcp.changes.len(), self.udp.changes.len());
        Sets {
            interfaces,
            tcp: self.tcp.coarsened(share(tcp, udp)),
            heard_tcp,
            acks,
            udp: self.udp.coarsened(share(udp, tcp)),
            protocols: self.protocols,
            pings: self.pings,
            networks: self.networks,
            length: self.length,
        }
    }
}

/// Offset of an ancillary load, as the kernel writes it.
fn ancillary(which: libc::c_int) -> u32 {
    (libc::SKF_AD_OFF + which).cast_unsigned()
}

const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
/// The same behind the IP header, whose length stands in X.
const LOAD_TRANSPORT_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
const LOAD_TRANSPORT_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
/// X becomes four times the low half of a byte: the length of an IPv4 header (RFC 791 §3.1).
const LOAD_HEADER_LENGTH: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
const SET_X: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
const MASK: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;

/// Lays the stations out, the last one first; read from the bottom up it follows a packet.
fn assemble(sets: &Sets) -> Vec<sock_filter> {
    let mut code = Assembler::default();
    let pass = code.ret(sets.length);
    let drop = code.ret(0);
    let may_pass = arrived_where_we_watch(&mut code, &sets.interfaces, pass, drop);
    let tcp_port = member(&mut code, &sets.tcp, may_pass, drop);
    let udp_port = member(&mut code, &sets.udp, may_pass, drop);

    let sctp_port = read_port(&mut code, tcp_port);
    // RFC 9260 §3.2: the first chunk's type is the byte behind the common header; 10 is COOKIE ECHO, 1 INIT.
    let is_cookie = code.branch(Test::Equal, 10, sctp_port, drop);
    code.branch(Test::Equal, 1, sctp_port, is_cookie);
    code.plain(LOAD_TRANSPORT_BYTE, 12);
    let sctp = in_a_frame_to_us(&mut code, drop);
    let udp = read_port(&mut code, udp_port);
    let heard_port = member(&mut code, &sets.heard_tcp, may_pass, drop);
    // Where nothing is heard, ordinary traffic ends with its flags.
    let tcp_port_of_others = if heard_port == drop { drop } else { read_port(&mut code, heard_port) };
    let tcp_port_of_probe = read_port(&mut code, tcp_port);
    let tcp_port_of_ack = match member(&mut code, &sets.acks, may_pass, heard_port) {
        nowhere if nowhere == drop => drop,
        port => read_port(&mut code, port),
    };
    tcp_flags_of_a_probe(&mut code, tcp_port_of_probe, tcp_port_of_others, tcp_port_of_ack);
    let tcp = in_a_frame_to_us(&mut code, drop);

    // RFC 792, RFC 950, RFC 4443: the type is the first byte.
    let icmp = if sets.pings { type_is_one_of(&mut code, &[8, 13, 17], may_pass, drop) } else { drop };
    let icmp6 = if sets.pings { type_is_one_of(&mut code, &[128], may_pass, drop) } else { drop };
    code.go_to(may_pass);
    let to_us = in_a_frame_to_us(&mut code, drop);
    let others = member(&mut code, &sets.protocols, to_us, drop);
    let transport = choose(
        &mut code,
        &[(libc::IPPROTO_SCTP, sctp), (libc::IPPROTO_ICMP, icmp), (libc::IPPROTO_ICMPV6, icmp6)],
        others,
    );
    let transport = choose(&mut code, &[(libc::IPPROTO_TCP, tcp), (libc::IPPROTO_UDP, udp)], transport);

    let extensions = EXTENSION_HEADERS
        .iter()
        .rev()
        .fold(transport, |next, &header| code.branch(Test::Equal, header, may_pass, next));
    code.go_to(extensions);
    code.plain(LOAD_BYTE, 6); // RFC 8200 §3: next header
    code.plain(SET_X, 40);
    let ipv6 = code.here();

    code.go_to(transport);
    code.plain(LOAD_BYTE, 9); // RFC 791 §3.1: protocol
    code.plain(LOAD_HEADER_LENGTH, 0);
    let whole = code.here();
    // More fragments, or an offset other than 0; "don't fragment" (0x4000) and the reserved bit are left out.
    code.branch(Test::AnyBit, 0x3fff, may_pass, whole);
    code.plain(LOAD_HALF, 6);
    let ipv4 = code.here();

    let families = [
        (libc::ETH_P_IP, ipv4),
        (libc::ETH_P_IPV6, ipv6),
        (libc::ETH_P_8021Q, may_pass),
        (libc::ETH_P_8021AD, may_pass),
    ];
    let family = choose(&mut code, &families, drop);
    code.go_to(family);
    code.plain(LOAD_WORD, ancillary(libc::SKF_AD_PROTOCOL));
    let is_for_us = code.here();
    let is_for_many = not_to_a_group(&mut code, is_for_us, drop);
    let is_for_many = code.branch(Test::AtLeast, TO_OTHERS, drop, is_for_many);
    code.branch(Test::Equal, TO_THIS_HOST, is_for_us, is_for_many);
    code.plain(LOAD_WORD, ancillary(libc::SKF_AD_PKTTYPE));
    if !sets.networks.is_empty() {
        let usual = code.here();
        networks::before(&mut code, sets, may_pass, drop, usual);
    }
    code.finish()
}

/// Goes on to what was laid last if the link address was ours.
fn in_a_frame_to_us(code: &mut Assembler, drop: Label) -> Label {
    let next = code.here();
    code.branch(Test::Equal, TO_THIS_HOST, next, drop);
    code.plain(LOAD_WORD, ancillary(libc::SKF_AD_PKTTYPE));
    code.here()
}

/// The type of an ICMP message.
fn type_is_one_of(code: &mut Assembler, types: &[u32], pass: Label, drop: Label) -> Label {
    let question = types.iter().fold(drop, |next, &kind| code.branch(Test::Equal, kind, pass, next));
    code.go_to(question);
    code.plain(LOAD_TRANSPORT_BYTE, 0);
    code.here()
}

/// Asked of frames to many only, so that ordinary traffic doesn't pay for it: is the IP destination one host's?
fn not_to_a_group(code: &mut Assembler, one: Label, drop: Label) -> Label {
    // RFC 4291 §2.7: ff00::/8.
    code.branch(Test::Equal, 0xff, drop, one);
    code.plain(LOAD_BYTE, 24);
    let ipv6 = code.here();
    // RFC 5771 §3: 224.0.0.0/4. Above it all but 255.255.255.255 is reserved, and Linux takes it for one host's.
    let multicast = code.branch(Test::AtLeast, 0xe000_0000, drop, one);
    let reserved = code.branch(Test::AtLeast, 0xf000_0000, one, multicast);
    code.branch(Test::Equal, u32::MAX, drop, reserved);
    code.plain(LOAD_WORD, 16);
    let ipv4 = code.here();
    let family = choose(code, &[(libc::ETH_P_IP, ipv4), (libc::ETH_P_IPV6, ipv6)], one);
    code.go_to(family);
    code.plain(LOAD_WORD, ancillary(libc::SKF_AD_PROTOCOL));
    code.here()
}

/// Asked last, since few packets come so far: is the interface watched, and is the packet not another VLAN's?
fn arrived_where_we_watch(code: &mut Assembler, interfaces: &Ranges, pass: Label, drop: Label) -> Label {
    let search = member(code, interfaces, pass, drop);
    code.go_to(search);
    code.plain(LOAD_WORD, ancillary(libc::SKF_AD_IFINDEX));
    let interface = code.here();
    // IEEE 802.1Q: the low twelve bits are the VLAN; 0 only carries a priority and stays with this interface.
    code.branch(Test::AnyBit, 0x0fff, drop, interface);
    code.plain(LOAD_WORD, ancillary(libc::SKF_AD_VLAN_TAG));
    let tag = code.here();
    code.branch(Test::Equal, 0, interface, tag);
    code.plain(LOAD_WORD, ancillary(libc::SKF_AD_VLAN_TAG_PRESENT));
    code.here()
}

/// Binary search for the accumulator.
fn member(code: &mut Assembler, set: &Ranges, inside: Label, outside: Label) -> Label {
    search(code, &set.changes, set.starts_inside, inside, outside)
}

fn search(
    code: &mut Assembler,
    changes: &[u32],
    starts_inside: bool,
    inside: Label,
    outside: Label,
) -> Label {
    if changes.is_empty() {
        return if starts_inside { inside } else { outside };
    }
    let middle = changes.len() / 2;
    let is_inside_from_there = starts_inside ^ middle.is_multiple_of(2);
    let above = search(code, &changes[middle + 1..], is_inside_from_there, inside, outside);
    let below = search(code, &changes[..middle], starts_inside, inside, outside);
    code.branch(Test::AtLeast, changes[middle], above, below)
}

/// The destination port stands at the same place in TCP, UDP and SCTP.
fn read_port(code: &mut Assembler, next: Label) -> Label {
    code.go_to(next);
    code.plain(LOAD_TRANSPORT_HALF, 2);
    code.here()
}

/// RFC 9293 §3.1: the flag byte is the fourteenth of the header.
fn tcp_flags_of_a_probe(code: &mut Assembler, probe: Label, ordinary: Label, ack: Label) -> Label {
    const FIN: u32 = 0x01;
    const SYN: u32 = 0x02;
    const RST: u32 = 0x04;
    const ACK: u32 = 0x10;
    // Without SYN: no RST, and either no ACK or FIN and ACK alone.
    let has_ack = if ack == ordinary { ordinary } else { code.branch(Test::AnyBit, FIN, ordinary, ack) };
    let is_maimon = code.branch(Test::Equal, FIN | ACK, probe, has_ack);
    let without_reset = code.branch(Test::AnyBit, ACK, is_maimon, probe);
    let without_syn = code.branch(Test::AnyBit, RST, ordinary, without_reset);
    // With SYN and ACK: an answer to our own connection, unless FIN or RST stands beside it.
    let is_mix = code.branch(Test::AnyBit, FIN | RST, probe, ordinary);
    let with_syn = code.branch(Test::AnyBit, ACK, is_mix, probe);
    code.branch(Test::AnyBit, SYN, with_syn, without_syn);
    code.plain(MASK, 0x3f); // ECE and CWR (RFC 3168) say nothing here
    code.plain(LOAD_TRANSPORT_BYTE, 13);
    code.here()
}

/// Compares the accumulator with each number in turn.
fn choose(code: &mut Assembler, cases: &[(libc::c_int, Label)], otherwise: Label) -> Label {
    cases.iter().rev().fold(otherwise, |next, &(number, target)| {
        if target == next {
            return next;
        }
        code.branch(Test::Equal, number.cast_unsigned(), target, next)
    })
}
