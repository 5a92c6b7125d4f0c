//! pcapng: sections of blocks; each section has its own byte order and interfaces.

use std::io::Read;
use std::time::Duration;

use portcullis_core::time::Wall;

use super::input::{Filled, Input, Order};
use super::{CaptureError, Ending, Fault, Found, LONGEST_PACKET, Tally};

/// Type of the block that begins a section; the same in both byte orders.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const INTERFACE_DESCRIPTION: u32 = 1;
/// Obsolete since 2004, still found in old files.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Type and length before a block's content.
const BEFORE_CONTENT: usize = 8;
/// And the length again behind it.
const AROUND_CONTENT: u32 = 12;

/// Blocks that are looked into may have a packet and so many bytes of other things (options, above all comments).
const LONGEST_BLOCK: usize = LONGEST_PACKET + 256 * 1024;

/// More than any host has; without a ceiling a file could fill the memory with interfaces.
const MOST_INTERFACES: usize = 65_536;

/// What holds until the next section begins.
#[derive(Debug, Default)]
pub(super) struct Section {
    order: Order,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    /// 0 is "no limit".
    snap_length: u32,
    /// Ticks of its clock a second; `None` if even 2^64 of them are no nanosecond.
    ticks_a_second: Option<u128>,
    offset_seconds: i64,
}

impl Section {
    /// Reads a section header behind its type. `false` if the file ends in it.
    pub(super) fn begin(&mut self, input: &mut Input<impl Read>) -> Result<bool, CaptureError> {
        self.begin_after(input, 0)
    }

    fn begin_after(&mut self, input: &mut Input<impl Read>, packets: u64) -> Result<bool, CaptureError> {
        let mut start = [0; 16];
        if input.fill(&mut start)? != Filled::Whole {
            return Ok(false);
        }
        let damaged = |offset, fault| Err(CaptureError::Damaged { packets, offset, fault });
        let order = match start[4..8] {
            [0x1a, 0x2b, 0x3c, 0x4d] => Order::Big,
            [0x4d, 0x3c, 0x2b, 0x1a] => Order::Little,
            _ => return damaged(input.offset, Fault::ByteOrder),
        };
        let (major, minor) = (order.half(&start, 8), order.half(&start, 10));
        if major != 1 {
            return Err(CaptureError::Version { major, minor });
        }
        // Type, length, mark, version, length of the section, length: 28 bytes at least; 20 of them are read.
        let length = order.word(&start, 0);
        if length < 28 || !length.is_multiple_of(4) {
            return damaged(input.offset, Fault::BlockLength(length));
        }
        let mut end = [0; 4];
        if !input.skip(u64::from(length) - 24)? || input.fill(&mut end)? != Filled::Whole {
            return Ok(false);
        }
        if order.word(&end, 0) != length {
            return damaged(input.offset, Fault::BlockEnd);
        }
        *self = Section { order, interfaces: Vec::new() };
        Ok(true)
    }

    pub(super) fn step(
        &mut self,
        input: &mut Input<impl Read>,
        tally: &mut Tally,
    ) -> Result<Found, CaptureError> {
        let mut kind = [0; 4];
        match input.fill(&mut kind)? {
            Filled::Whole => {}
            Filled::Nothing => return Ok(Found::End(Ending::Whole)),
            Filled::Part => return Ok(Found::End(Ending::Cut)),
        }
        if kind == SECTION_HEADER {
            let is_whole = self.begin_after(input, tally.packets)?;
            return Ok(if is_whole { Found::Nothing } else { Found::End(Ending::Cut) });
        }
        let mut length = [0; 4];
        if input.fill(&mut length)? != Filled::Whole {
            return Ok(Found::End(Ending::Cut));
        }
        let (kind, length) = (self.order.word(&kind, 0), self.order.word(&length, 0));
        let packets = tally.packets;
        let damaged = |offset, fault| CaptureError::Damaged { packets, offset, fault };
        if length < AROUND_CONTENT || !length.is_multiple_of(4) {
            return Err(damaged(input.offset, Fault::BlockLength(length)));
        }
        let rest = usize::try_from(length).unwrap_or(usize::MAX) - BEFORE_CONTENT;
        let is_wanted = matches!(kind, INTERFACE_DESCRIPTION | PACKET | SIMPLE_PACKET | ENHANCED_PACKET);
        if is_wanted && rest > LONGEST_BLOCK {
            return Err(damaged(input.offset, Fault::BlockLength(length)));
        }
        // What nobody looks at (names, statistics, secrets, other people's blocks) isn't kept, whatever its size.
        let is_whole = if is_wanted {
            input.fill_buffer(rest)? == Filled::Whole
        } else {
            input.skip(rest as u64 - 4)? && input.fill_buffer(4)? == Filled::Whole
        };
        if !is_whole {
            return Ok(Found::End(Ending::Cut));
        }
        let offset = input.offset;
        let (content, end) = input.buffer.split_at(input.buffer.len() - 4);
        if self.order.word(end, 0) != length {
            return Err(damaged(offset, Fault::BlockEnd));
        }
        let found = match kind {
            INTERFACE_DESCRIPTION => self.describe_interface(content).map(|()| Found::Nothing),
            PACKET => self.packet(content, true, tally),
            ENHANCED_PACKET => self.packet(content, false, tally),
            SIMPLE_PACKET => self.simple_packet(content),
            _ => Ok(Found::Nothing),
        };
        found.map_err(|fault| damaged(offset, fault))
    }

    fn describe_interface(&mut self, content: &[u8]) -> Result<(), Fault> {
        /// Options that say how to read the clock.
        const RESOLUTION: u16 = 9;
        const OFFSET: u16 = 14;

        if content.len() < 8 {
            return Err(Fault::BlockContent);
        }
        if self.interfaces.len() == MOST_INTERFACES {
            return Err(Fault::TooManyInterfaces);
        }
        let order = self.order;
        let mut interface = Interface {
            link: order.half(content, 0),
            snap_length: order.word(content, 4),
            ticks_a_second: Some(1_000_000),
            offset_seconds: 0,
        };
        let mut options = &content[8..];
        while options.len() >= 4 {
            let (code, length) = (order.half(options, 0), usize::from(order.half(options, 2)));
            let Some(value) = options.get(4..4 + length) else { return Err(Fault::BlockContent) };
            match (code, value) {
                (0, _) => break,
                (RESOLUTION, [exponent]) => interface.ticks_a_second = ticks_a_second(*exponent),
                (OFFSET, value) if value.len() == 8 => {
                    interface.offset_seconds = self.long(value).cast_signed();
                }
                _ => {}
            }
            options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn long(&self, bytes: &[u8]) -> u64 {
        let (first, second) = (u64::from(self.order.word(bytes, 0)), u64::from(self.order.word(bytes, 4)));
        match self.order {
            Order::Little => second << 32 | first,
            Order::Big => first << 32 | second,
        }
    }

    /// An enhanced packet, or its obsolete forerunner, which differs only in the first word.
    fn packet(&self, content: &[u8], is_obsolete: bool, tally: &mut Tally) -> Result<Found, Fault> {
        const HEADER: usize = 20;
        if content.len() < HEADER {
            return Err(Fault::BlockContent);
        }
        let word = |offset| self.order.word(content, offset);
        let number = if is_obsolete { u32::from(self.order.half(content, 0)) } else { word(0) };
        let interface = self.interface(number)?;
        // Always the high word first, whatever the byte order.
        let ticks = u64::from(word(4)) << 32 | u64::from(word(8));
        let (captured, wire_length) = (word(12), word(16));
        let length = usize::try_from(captured).unwrap_or(usize::MAX);
        if length > LONGEST_PACKET {
            return Err(Fault::PacketLength(captured));
        }
        if length > content.len() - HEADER {
            return Err(Fault::BlockContent);
        }
        tally.time = interface.time(ticks);
        Ok(Found::Packet { link: interface.link, bytes: HEADER..HEADER + length, wire_length })
    }

    /// Belongs to the first interface and has no time; its captured length has to be concluded.
    fn simple_packet(&self, content: &[u8]) -> Result<Found, Fault> {
        const HEADER: usize = 4;
        if content.len() < HEADER {
            return Err(Fault::BlockContent);
        }
        let interface = self.interface(0)?;
        let wire_length = self.order.word(content, 0);
        let limit = if interface.snap_length == 0 { u32::MAX } else { interface.snap_length };
        let captured = wire_length.min(limit);
        let length = usize::try_from(captured).unwrap_or(usize::MAX).min(content.len() - HEADER);
        if length > LONGEST_PACKET {
            return Err(Fault::PacketLength(captured));
        }
        Ok(Found::Packet { link: interface.link, bytes: HEADER..HEADER + length, wire_length })
    }

    fn interface(&self, number: u32) -> Result<&Interface, Fault> {
        usize::try_from(number)
            .ok()
            .and_then(|index| self.interfaces.get(index))
            .ok_or(Fault::Interface(number))
    }
}

impl Interface {
    fn time(&self, ticks: u64) -> Wall {
        let since = match self.ticks_a_second {
            None => Duration::ZERO,
            Some(a_second) => {
                let (whole, rest) = (u128::from(ticks) / a_second, u128::from(ticks) % a_second);
                let seconds = u64::try_from(whole).expect("no more than the ticks");
                // The rest is below 2^64 and below a second's ticks: no overflow, and less than 10^9 comes out.
                let nanoseconds = u32::try_from(rest * 1_000_000_000 / a_second).expect("less than a second");
                Duration::new(seconds, nanoseconds)
            }
        };
        let offset = Duration::from_secs(self.offset_seconds.unsigned_abs());
        Wall(if self.offset_seconds < 0 {
            since.saturating_sub(offset)
        } else {
            since.saturating_add(offset)
        })
    }
}

/// From the exponent of `if_tsresol`: to the base 2 with the highest bit, else to the base 10.
fn ticks_a_second(exponent: u8) -> Option<u128> {
    let power = u32::from(exponent & 0x7f);
    if exponent & 0x80 == 0 { 10u128.checked_pow(power) } else { 1u128.checked_shl(power) }
}
