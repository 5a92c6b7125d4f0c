//! Bytes from a stream, with "how far did that go" instead of one error for every end.

use std::io::{self, BufReader, Read};

use super::CaptureError;

/// Whether a request for bytes could be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    Whole,
    /// The stream ended before the first byte.
    Nothing,
    /// The stream ended in between.
    Part,
}

/// The stream and the one buffer that packets are read into.
#[derive(Debug)]
pub(super) struct Input<R> {
    source: BufReader<R>,
    /// Bytes read so far.
    pub(super) offset: u64,
    pub(super) buffer: Vec<u8>,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Input<R> {
        Input { source: BufReader::with_capacity(64 * 1024, source), offset: 0, buffer: Vec::new() }
    }

    /// Fills `target`, however many reads that takes.
    pub(super) fn fill(&mut self, target: &mut [u8]) -> Result<Filled, CaptureError> {
        let (filled, count) = fill(&mut self.source, target)?;
        self.offset += count;
        Ok(filled)
    }

    /// Fills the buffer with exactly `length` bytes; the caller has looked whether that is a sensible number.
    pub(super) fn fill_buffer(&mut self, length: usize) -> Result<Filled, CaptureError> {
        self.buffer.resize(length, 0);
        let (filled, count) = fill(&mut self.source, &mut self.buffer)?;
        self.offset += count;
        Ok(filled)
    }

    /// Passes over `length` bytes. `false` if the stream ended before.
    pub(super) fn skip(&mut self, length: u64) -> Result<bool, CaptureError> {
        let skipped =
            io::copy(&mut self.source.by_ref().take(length), &mut io::sink()).map_err(CaptureError::Read)?;
        self.offset += skipped;
        Ok(skipped == length)
    }
}

fn fill(source: &mut impl Read, target: &mut [u8]) -> Result<(Filled, u64), CaptureError> {
    let mut count = 0;
    while count < target.len() {
        match source.read(&mut target[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CaptureError::Read(error)),
        }
    }
    let filled = match count {
        _ if count == target.len() => Filled::Whole,
        0 => Filled::Nothing,
        _ => Filled::Part,
    };
    Ok((filled, count as u64))
}

/// Numbers in the byte order of whoever wrote the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    /// Two bytes from `offset` on.
    pub(super) fn half(self, bytes: &[u8], offset: usize) -> u16 {
        let pair = [bytes[offset], bytes[offset + 1]];
        match self {
            Order::Little => u16::from_le_bytes(pair),
            Order::Big => u16::from_be_bytes(pair),
        }
    }

    /// Four bytes from `offset` on.
    pub(super) fn word(self, bytes: &[u8], offset: usize) -> u32 {
        let (first, second) = (u32::from(self.half(bytes, offset)), u32::from(self.half(bytes, offset + 2)));
        match self {
            Order::Little => second << 16 | first,
            Order::Big => first << 16 | second,
        }
    }
}
