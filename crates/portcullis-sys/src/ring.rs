//! The packet ring: one `AF_PACKET` socket for all interfaces, whose frames the kernel writes into memory we share.
//!
//! `TPACKET_V2`, because each packet wakes us; version 3 hands over blocks, at the earliest when its timer of 1 ms
//! runs out (`docs/decisions/0002-packet-ring.md` has the measurement). Needs Linux 4.20 for
//! `PACKET_IGNORE_OUTGOING`, without which every packet that leaves would be filtered too.

mod mapping;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::c_int;
use mapping::Mapping;
use portcullis_core::time::Wall;
use portcullis_core::wire::{Checksums, Frame, Link};

use crate::filter::{Program, SNAP_LENGTH, WHOLE_LENGTH};

/// Bytes of a frame for whole packets: [`WHOLE_LENGTH`] and the same header.
const WHOLE_FRAME_SIZE: usize = 2048;

/// Bytes of a frame: the kernel's header (80 with what it aligns) and [`SNAP_LENGTH`] of packet. Headers and the
/// beginning of a payload fit, and the default ring holds 32,768 packets: 40 ms at 0.8 million a second, in
/// which a commit lock held by another program's ruleset can be borne.
const FRAME_SIZE: usize = 512;

/// The kernel allocates the ring in such pieces, each of contiguous pages: small enough to be found on a machine
/// whose memory is fragmented.
const BLOCK_SIZE: usize = 64 * 1024;

/// How to open a [`Ring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// Size in MiB, 1 to 1024; it counts as resident memory once used.
    pub mebibytes: u16,
    /// Whether packets of up to [`WHOLE_LENGTH`] bytes have room, for doors that read what is inside. The ring then
    /// holds a quarter as many packets; a larger one makes up for it.
    pub is_for_whole_packets: bool,
}

impl RingOptions {
    fn frame_size(&self) -> usize {
        if self.is_for_whole_packets { WHOLE_FRAME_SIZE } else { FRAME_SIZE }
    }
}

impl Default for RingOptions {
    /// 16 MiB: nothing was lost with it at 0.8 million packets a second.
    fn default() -> RingOptions {
        RingOptions { mebibytes: 16, is_for_whole_packets: false }
    }
}

/// Why there is no ring, or why it didn't do what was asked.
#[derive(Debug)]
pub enum RingError {
    /// The process lacks `CAP_NET_RAW` in the user namespace that owns the network namespace, or a sandbox
    /// forbids packet sockets.
    NotPermitted(io::Error),
    /// The size isn't within 1 to 1024 MiB.
    Size(u16),
    /// The kernel refused this step.
    Refused {
        /// What was asked of it.
        step: Step,
        /// What it said.
        source: io::Error,
    },
}

/// What is asked of the kernel, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the socket.
    Socket,
    /// Attach the filter.
    Filter,
    /// Leave out packets that this host sends (since Linux 4.20).
    IgnoreOutgoing,
    /// Choose `TPACKET_V2`.
    Version,
    /// Allocate the ring.
    Ring,
    /// Map it.
    Map,
    /// Receive from all interfaces.
    Bind,
    /// Read the counters.
    Statistics,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Socket => "create a packet socket",
            Step::Filter => "attach the packet filter",
            Step::IgnoreOutgoing => "leave out packets sent by this host (needs Linux 4.20)",
            Step::Version => "choose version 2 of the packet ring",
            Step::Ring => "allocate the packet ring",
            Step::Map => "map the packet ring",
            Step::Bind => "receive from all interfaces",
            Step::Statistics => "read the packet counters",
        })
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::NotPermitted(_) => {
                write!(f, "not permitted to capture packets (CAP_NET_RAW is missing)")
            }
            RingError::Size(mebibytes) => write!(f, "a ring has 1 to 1024 MiB, not {mebibytes}"),
            RingError::Refused { step, .. } => write!(f, "the kernel refused to {step}"),
        }
    }
}

impl std::error::Error for RingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RingError::NotPermitted(source) | RingError::Refused { source, .. } => Some(source),
            RingError::Size(_) => None,
        }
    }
}

/// A frame in the ring, lent for the time of looking at it.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// The packet from its network header on.
    pub frame: Frame<'a>,
    /// Index of the interface where it arrived.
    pub interface: u32,
    /// When the kernel took it in, by the calendar.
    pub time: Wall,
}

/// How many packets passed the filter since the ring was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that were written into the ring.
    pub received: u64,
    /// Packets for which the ring had no room.
    pub dropped: u64,
}

/// An open packet ring; unmapped and closed when dropped.
#[derive(Debug)]
pub struct Ring {
    /// Before the socket, so that it is unmapped before that is closed.
    mapping: Mapping,
    socket: OwnedFd,
    /// The slot that the kernel fills next, or has filled.
    next: usize,
    statistics: Statistics,
    program: Program,
}

impl Ring {
    /// Opens a ring on all interfaces of this network namespace, those that come later included.
    ///
    /// The socket is created without a protocol and bound last, so that no packet slips in before the filter, and
    /// with `ETH_P_ALL`: bound to `ETH_P_IP` the kernel copies each incoming packet since about 6.15.
    ///
    /// # Errors
    /// [`RingError::NotPermitted`] without `CAP_NET_RAW`; the others say which step failed.
    pub fn open(options: &RingOptions, program: &Program) -> Result<Ring, RingError> {
        if !(1..=1024).contains(&options.mebibytes) {
            return Err(RingError::Size(options.mebibytes));
        }
        let socket = packet_socket()?;
        let program =
            program.attach(&socket).map_err(|source| RingError::Refused { step: Step::Filter, source })?;
        set_option(&socket, libc::PACKET_IGNORE_OUTGOING, &1i32, Step::IgnoreOutgoing)?;
        set_option(&socket, libc::PACKET_VERSION, &VERSION_2, Step::Version)?;
        let size = usize::from(options.mebibytes) * 1024 * 1024;
        let narrow = |value: usize| u32::try_from(value).expect("at most 1 GiB");
        let request = libc::tpacket_req {
            tp_block_size: narrow(BLOCK_SIZE),
            tp_block_nr: narrow(size / BLOCK_SIZE),
            tp_frame_size: narrow(options.frame_size()),
            tp_frame_nr: narrow(size / options.frame_size()),
        };
        set_option(&socket, libc::PACKET_RX_RING, &request, Step::Ring)?;
        let mapping = Mapping::of_ring(&socket, size, options.frame_size())
            .map_err(|source| RingError::Refused { step: Step::Map, source })?;
        bind_to_everything(&socket)?;
        Ok(Ring { mapping, socket, next: 0, statistics: Statistics::default(), program })
    }

    /// Shows up to `limit` frames to `look`, oldest first, and gives each back to the kernel when `look` returns.
    /// Returns how many there were; fewer than `limit` means that the ring is empty.
    pub fn drain(&mut self, limit: usize, mut look: impl FnMut(Captured<'_>)) -> usize {
        let slots = self.mapping.slots();
        for seen in 0..limit {
            let Some(slot) = self.mapping.filled_slot(self.next) else { return seen };
            self.next = (self.next + 1) % slots;
            if let Some(captured) = slot.captured() {
                look(captured);
            }
        }
        limit
    }

    /// Puts another filter in the place of the present one. No packet is missed: each is judged by one or the other.
    /// Packets that the old one let through may still be in the ring.
    ///
    /// # Errors
    /// [`RingError::Refused`] if the kernel refuses; the old filter then stays.
    pub fn set_filter(&mut self, program: &Program) -> Result<(), RingError> {
        self.program = program
            .attach(&self.socket)
            .map_err(|source| RingError::Refused { step: Step::Filter, source })?;
        Ok(())
    }

    /// The filter in force; coarser than the one given where the kernel found that too long.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Packets received and dropped since the ring was opened.
    ///
    /// # Errors
    /// [`RingError::Refused`] if the kernel doesn't tell.
    pub fn statistics(&mut self) -> Result<Statistics, RingError> {
        let mut since_last: libc::tpacket_stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        get_option(&self.socket, libc::SOL_PACKET, libc::PACKET_STATISTICS, &mut since_last)
            .map_err(|source| RingError::Refused { step: Step::Statistics, source })?;
        // The kernel counts dropped packets among the received ones, and begins again at 0 after each reading.
        let received = since_last.tp_packets.saturating_sub(since_last.tp_drops);
        self.statistics.received += u64::from(received);
        self.statistics.dropped += u64::from(since_last.tp_drops);
        Ok(self.statistics)
    }

    /// Takes the error that the socket has to tell, if there is one, so that it doesn't end every wait at once. The
    /// ring goes on: a socket on all interfaces outlives each of them.
    ///
    /// # Errors
    /// The error itself; it is a thing to count, not a reason to stop.
    pub fn take_error(&self) -> io::Result<()> {
        let mut number: c_int = 0;
        get_option(&self.socket, libc::SOL_SOCKET, libc::SO_ERROR, &mut number)?;
        if number == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(number)) }
    }

    /// Bytes of memory that the ring takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.mapping.size()
    }

    /// How many packets it holds.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.mapping.slots()
    }
}

/// Readable while a frame waits.
impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `TPACKET_V2` as the option wants it.
const VERSION_2: c_int = libc::tpacket_versions::TPACKET_V2 as c_int;

/// Where the kernel puts the sender's link address: behind the aligned header.
const ADDRESS_OFFSET: usize = size_of::<libc::tpacket2_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);

/// Where packet_rcv puts the packet: 16 bytes behind the aligned header and address.
const PACKET_OFFSET: usize =
    (ADDRESS_OFFSET + size_of::<libc::sockaddr_ll>()).next_multiple_of(libc::TPACKET_ALIGNMENT) + 16;

const _: () = assert!(PACKET_OFFSET + SNAP_LENGTH as usize <= FRAME_SIZE, "the packet fits");
const _: () = assert!(PACKET_OFFSET + WHOLE_LENGTH as usize <= WHOLE_FRAME_SIZE, "the packet fits");

impl mapping::Slot<'_> {
    /// The frame in this slot; `None` if what the kernel wrote makes no sense, which would be its fault.
    fn captured(&self) -> Option<Captured<'_>> {
        let header = self.header();
        let address = self.address(ADDRESS_OFFSET);
        let start = usize::from(header.tp_mac);
        let captured_length = usize::try_from(header.tp_snaplen).ok()?;
        let bytes = self.bytes().get(start..start.checked_add(captured_length)?)?;
        let checksums = if header.tp_status & libc::TP_STATUS_CSUMNOTREADY != 0 {
            Checksums::Unfinished
        } else if header.tp_status & libc::TP_STATUS_CSUM_VALID != 0 {
            Checksums::Valid
        } else {
            Checksums::Verify
        };
        Some(Captured {
            frame: Frame {
                link: Link::Network { ethertype: u16::from_be(address.sll_protocol) },
                bytes,
                wire_length: usize::try_from(header.tp_len).ok()?,
                checksums,
            },
            interface: u32::try_from(address.sll_ifindex).ok()?,
            time: Wall(Duration::new(header.tp_sec.into(), header.tp_nsec.min(999_999_999))),
        })
    }
}

fn packet_socket() -> Result<OwnedFd, RingError> {
    // SAFETY: no pointers are passed.
    let number = unsafe {
        libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
    };
    if number < 0 {
        let error = io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => RingError::NotPermitted(error),
            _ => RingError::Refused { step: Step::Socket, source: error },
        });
    }
    // SAFETY: socket has just returned this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn bind_to_everything(socket: &OwnedFd) -> Result<(), RingError> {
    // SAFETY: all bytes zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("a small constant");
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).expect("a small constant").to_be();
    let size = socket_length(&address);
    // SAFETY: `address` is a sockaddr_ll of `size` bytes, which the kernel only reads.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    refused(result, Step::Bind)
}

/// What may be handed to the kernel as an option, or filled by it.
///
/// # Safety
/// Plain data without padding or pointers, valid with any bytes.
unsafe trait OptionValue {}
// SAFETY: an integer.
unsafe impl OptionValue for c_int {}
// SAFETY: four integers.
unsafe impl OptionValue for libc::tpacket_req {}
// SAFETY: two integers.
unsafe impl OptionValue for libc::tpacket_stats {}

fn set_option<T: OptionValue>(
    socket: &OwnedFd,
    option: c_int,
    value: &T,
    step: Step,
) -> Result<(), RingError> {
    // SAFETY: `value` is plain data (`OptionValue`) of the size given, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast(),
            socket_length(value),
        )
    };
    refused(result, step)
}

fn get_option<T: OptionValue>(
    socket: &OwnedFd,
    level: c_int,
    option: c_int,
    value: &mut T,
) -> io::Result<()> {
    let mut size = socket_length(value);
    // SAFETY: the kernel writes at most `size` bytes to `value`, which is valid with any bytes (`OptionValue`).
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, std::ptr::from_mut(value).cast(), &raw mut size)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn socket_length<T>(value: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(value)).expect("a few bytes")
}

fn refused(result: c_int, step: Step) -> Result<(), RingError> {
    if result == 0 { Ok(()) } else { Err(RingError::Refused { step, source: io::Error::last_os_error() }) }
}
