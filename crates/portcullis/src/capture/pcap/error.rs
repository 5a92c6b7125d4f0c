//! What can be wrong with a capture.

use std::fmt;
use std::io;

use super::{LONGEST_PACKET, link_name};

/// Why a capture can't be read, or not any further.
#[derive(Debug)]
pub enum CaptureError {
    /// The operating system said so.
    Read(io::Error),
    /// There isn't a single byte.
    Empty,
    /// It begins like no capture.
    NotACapture {
        /// Its first bytes, zeros where it is shorter.
        begins: [u8; 4],
    },
    /// It is compressed.
    Compressed {
        /// The command that undoes it.
        undo: &'static str,
    },
    /// A version of the format that doesn't exist yet, or is long gone.
    Version {
        /// Number before the dot.
        major: u16,
        /// Number behind it.
        minor: u16,
    },
    /// All of its packets have a link type that nothing here reads.
    UnknownLink(u16),
    /// From here on it makes no sense.
    Damaged {
        /// Whole packets before.
        packets: u64,
        /// Where in the file, in bytes: behind what was read last.
        offset: u64,
        /// What makes no sense.
        fault: Fault,
    },
}

/// What makes no sense in a damaged capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A packet claims so many bytes.
    PacketLength(u32),
    /// A block claims so many bytes.
    BlockLength(u32),
    /// The length at the end of a block isn't the one at its beginning.
    BlockEnd,
    /// A block is too short for what it must contain, or its parts exceed it.
    BlockContent,
    /// A section has no byte order mark.
    ByteOrder,
    /// A packet came in by this interface, which the file hasn't described.
    Interface(u32),
    /// A section describes more interfaces than a host can have.
    TooManyInterfaces,
}

impl CaptureError {
    /// The error for a file whose first bytes are no capture's.
    pub(super) fn of_unknown(begins: [u8; 4]) -> CaptureError {
        match begins {
            [0x1f, 0x8b, ..] => CaptureError::Compressed { undo: "gunzip" },
            [0x28, 0xb5, 0x2f, 0xfd] => CaptureError::Compressed { undo: "unzstd" },
            [0xfd, b'7', b'z', b'X'] => CaptureError::Compressed { undo: "unxz" },
            _ => CaptureError::NotACapture { begins },
        }
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureError::Read(_) => write!(f, "can't be read"),
            CaptureError::Empty => write!(f, "is empty; a capture has at least a header"),
            CaptureError::NotACapture { begins: [a, b, c, d] } => write!(
                f,
                "is no capture: it begins with {a:02x} {b:02x} {c:02x} {d:02x}, neither pcap nor pcapng; \
                 write one with `tcpdump -w FILE`"
            ),
            CaptureError::Compressed { undo } => {
                write!(f, "is compressed; undo that first, as in `{undo} < FILE | portcullis replay -`")
            }
            CaptureError::Version { major, minor } => {
                write!(f, "has format version {major}.{minor}; pcap 2 and pcapng 1 can be read")
            }
            CaptureError::UnknownLink(link) => write!(
                f,
                "has link type {link} ({}), which can't be read; Ethernet, Linux cooked, raw IP and BSD loopback can",
                link_name(*link)
            ),
            CaptureError::Damaged { packets, offset, fault } => {
                write!(f, "is damaged before byte {offset}, after {packets} packets: {fault}")
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::PacketLength(length) => {
                write!(f, "a packet claims {length} bytes, more than the {LONGEST_PACKET} that one can have")
            }
            Fault::BlockLength(length) => write!(f, "a block can't have {length} bytes"),
            Fault::BlockEnd => write!(f, "a block ends with another length than it began with"),
            Fault::BlockContent => write!(f, "a block is too short for its content"),
            Fault::ByteOrder => write!(f, "a section doesn't say its byte order"),
            Fault::Interface(number) => write!(f, "interface {number} was never described"),
            Fault::TooManyInterfaces => write!(f, "a section describes more than 65,536 interfaces"),
        }
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CaptureError::Read(source) => Some(source),
            _ => None,
        }
    }
}
