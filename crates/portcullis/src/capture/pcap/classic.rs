//! pcap: one header, then packets.

use std::io::Read;
use std::time::Duration;

use portcullis_core::time::Wall;

use super::input::{Filled, Input, Order};
use super::{CaptureError, Ending, Fault, Found, LONGEST_PACKET, Tally, link_of};

/// What the first four bytes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    order: Order,
    has_nanoseconds: bool,
}

impl Kind {
    /// `None` if this is no pcap file.
    pub(super) fn of(magic: [u8; 4]) -> Option<Kind> {
        let (order, has_nanoseconds) = match magic {
            [0xa1, 0xb2, 0xc3, 0xd4] => (Order::Big, false),
            [0xd4, 0xc3, 0xb2, 0xa1] => (Order::Little, false),
            [0xa1, 0xb2, 0x3c, 0x4d] => (Order::Big, true),
            [0x4d, 0x3c, 0xb2, 0xa1] => (Order::Little, true),
            _ => return None,
        };
        Some(Kind { order, has_nanoseconds })
    }
}

/// What the header says of all packets.
#[derive(Debug, Default)]
pub(super) struct File {
    kind: Kind,
    link: u16,
}

impl File {
    /// Reads the rest of the header; `None` if the file ends in it.
    pub(super) fn open(kind: Kind, input: &mut Input<impl Read>) -> Result<Option<File>, CaptureError> {
        let mut header = [0; 20];
        if input.fill(&mut header)? != Filled::Whole {
            return Ok(None);
        }
        let (major, minor) = (kind.order.half(&header, 0), kind.order.half(&header, 2));
        if major != 2 {
            return Err(CaptureError::Version { major, minor });
        }
        // The upper half may tell the length of a frame check sequence at the end of each frame; the IP header
        // tells where a packet ends, so it can be ignored.
        let link = (kind.order.word(&header, 16) & 0xffff) as u16;
        match link_of(link) {
            Some(_) => Ok(Some(File { kind, link })),
            None => Err(CaptureError::UnknownLink(link)),
        }
    }

    pub(super) fn step(
        &self,
        input: &mut Input<impl Read>,
        tally: &mut Tally,
    ) -> Result<Found, CaptureError> {
        let mut header = [0; 16];
        match input.fill(&mut header)? {
            Filled::Whole => {}
            Filled::Nothing => return Ok(Found::End(Ending::Whole)),
            Filled::Part => return Ok(Found::End(Ending::Cut)),
        }
        let word = |offset| self.kind.order.word(&header, offset);
        let (seconds, fraction, captured, wire_length) = (word(0), word(4), word(8), word(12));
        let length = usize::try_from(captured).unwrap_or(usize::MAX);
        if length > LONGEST_PACKET {
            let fault = Fault::PacketLength(captured);
            return Err(CaptureError::Damaged { packets: tally.packets, offset: input.offset, fault });
        }
        if input.fill_buffer(length)? != Filled::Whole {
            return Ok(Found::End(Ending::Cut));
        }
        let fraction = if self.kind.has_nanoseconds {
            Duration::from_nanos(fraction.into())
        } else {
            Duration::from_micros(fraction.into())
        };
        tally.time = Wall(Duration::from_secs(seconds.into()) + fraction);
        Ok(Found::Packet { link: self.link, bytes: 0..length, wire_length })
    }
}
