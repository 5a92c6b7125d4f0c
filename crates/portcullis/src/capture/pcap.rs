//! Reads capture files (pcap and pcapng) as a stream, with a fixed ceiling on memory: the food of `replay`.
//!
//! Our own reader: `pcap-parser` takes the first read of a pipe for the whole file header, loses the reason of a
//! failed read and stops at a block that is larger than its buffer; `pcap-file` has had no stable release since 2022.
//! What `replay` needs is two loops over lengths. Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
//!
//! Mind the checksums: in a capture that was taken on the sending host (or a virtual network) those of packets sent
//! are unfinished, and nothing in the file says so. The caller knows which side is its own and decides.

mod classic;
mod error;
mod input;
mod next_generation;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read;

use portcullis_core::time::Wall;
use portcullis_core::wire::Link;

pub use error::{CaptureError, Fault};
use input::{Filled, Input};

/// More bytes in one packet than any network has: libpcap's own ceiling (`MAXIMUM_SNAPLEN`). A record that claims
/// more is damage, not a packet.
pub const LONGEST_PACKET: usize = 262_144;

/// A packet from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedFrame<'a> {
    /// When it was captured. A packet that was saved without a time (pcapng's simple packet block) has that of the
    /// packet before it.
    pub time: Wall,
    /// What the bytes begin with.
    pub link: Link,
    /// The captured bytes, at most [`LONGEST_PACKET`].
    pub bytes: &'a [u8],
    /// How many bytes were on the wire.
    pub wire_length: usize,
}

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Behind a whole packet.
    Whole,
    /// In the middle of something: the capture was cut, or is still being written. All whole packets were given.
    Cut,
}

/// A capture being read.
#[derive(Debug)]
pub struct CaptureReader<R> {
    input: Input<R>,
    format: Format,
    tally: Tally,
    ending: Option<Ending>,
}

#[derive(Debug)]
enum Format {
    Classic(classic::File),
    NextGeneration(next_generation::Section),
}

/// What was found so far.
#[derive(Debug, Default)]
struct Tally {
    packets: u64,
    time: Wall,
    skipped: BTreeMap<u16, u64>,
}

/// What a step forward found.
enum Found {
    /// A packet, whose bytes stand in this range of the buffer.
    Packet {
        link: u16,
        bytes: std::ops::Range<usize>,
        wire_length: u32,
    },
    Nothing,
    End(Ending),
}

impl<R: Read> CaptureReader<R> {
    /// Begins to read; the kind of file is found out from its first bytes.
    ///
    /// # Errors
    /// If it is no capture, one of a version or link type that can't be read, or can't be read at all.
    pub fn open(source: R) -> Result<CaptureReader<R>, CaptureError> {
        let mut input = Input::new(source);
        let mut magic = [0; 4];
        match input.fill(&mut magic)? {
            Filled::Whole => {}
            Filled::Nothing => return Err(CaptureError::Empty),
            Filled::Part => return Err(CaptureError::NotACapture { begins: magic }),
        }
        let (format, ending) = if let Some(kind) = classic::Kind::of(magic) {
            match classic::File::open(kind, &mut input)? {
                Some(file) => (Format::Classic(file), None),
                None => (Format::Classic(classic::File::default()), Some(Ending::Cut)),
            }
        } else if magic == next_generation::SECTION_HEADER {
            let mut section = next_generation::Section::default();
            let is_whole = section.begin(&mut input)?;
            (Format::NextGeneration(section), (!is_whole).then_some(Ending::Cut))
        } else {
            return Err(CaptureError::of_unknown(magic));
        };
        Ok(CaptureReader { input, format, tally: Tally::default(), ending })
    }

    /// The next packet; `None` behind the last one, see [`CaptureReader::ending`].
    ///
    /// # Errors
    /// If the file can't be read any further or makes no sense from here on. Then it is over: the next call gives
    /// `None`.
    pub fn next_frame(&mut self) -> Result<Option<CapturedFrame<'_>>, CaptureError> {
        let (link, bytes, wire_length) = loop {
            if self.ending.is_some() {
                return Ok(None);
            }
            let found = match &mut self.format {
                Format::Classic(file) => file.step(&mut self.input, &mut self.tally),
                Format::NextGeneration(section) => section.step(&mut self.input, &mut self.tally),
            };
            match found {
                Ok(Found::Nothing) => {}
                Ok(Found::End(ending)) => self.ending = Some(ending),
                Ok(Found::Packet { link, bytes, wire_length }) => match link_of(link) {
                    Some(link) => break (link, bytes, wire_length),
                    None => *self.tally.skipped.entry(link).or_default() += 1,
                },
                Err(error) => {
                    self.ending = Some(Ending::Cut);
                    return Err(error);
                }
            }
        };
        self.tally.packets += 1;
        let bytes = &self.input.buffer[bytes];
        let wire_length = usize::try_from(wire_length).expect("usize has at least 32 bits on Linux");
        Ok(Some(CapturedFrame {
            time: self.tally.time,
            link,
            bytes,
            wire_length: wire_length.max(bytes.len()),
        }))
    }

    /// How many packets it gave.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.tally.packets
    }

    /// How it ended; `None` while it hasn't. [`Ending::Cut`] is to be shown as a warning: "cut after N packets".
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Packets that were passed over because nothing here reads their link type: its number, and how many.
    pub fn skipped(&self) -> impl Iterator<Item = (u16, u64)> {
        self.tally.skipped.iter().map(|(&link, &count)| (link, count))
    }
}

/// The link types of <https://www.tcpdump.org/linktypes.html> that can be read.
fn link_of(number: u16) -> Option<Link> {
    Some(match number {
        0 | 108 => Link::Null,
        1 => Link::Ethernet,
        // RAW as it is written to files, as BSD and OpenBSD wrote it, and IPV4 and IPV6.
        101 | 12 | 14 | 228 | 229 => Link::RawIp,
        113 => Link::CookedV1,
        276 => Link::CookedV2,
        _ => return None,
    })
}

/// The name of a link type that can't be read, where it is one that people meet.
#[must_use]
pub fn link_name(number: u16) -> &'static str {
    match number {
        8 => "SLIP",
        9 | 50 | 51 => "PPP",
        105 | 119 | 127 | 163 | 192 => "802.11 (captured in monitor mode)",
        187 | 201 | 251 | 254 => "Bluetooth",
        189 | 220 | 249 => "USB",
        239 => "NFLOG",
        195 | 215 | 230 | 283 => "802.15.4",
        _ => "unknown",
    }
}
