//! The summary of 256 events in a row: which times, events, kinds and ports are in it. Whoever looks for something reads
//! a few thousand summaries instead of a million rows.

use rusqlite::{Connection, Transaction, params};

use super::packed::put_ascending;
use super::row::{Row, read_ports};

/// Events in a chapter.
pub(super) const CHAPTER: i64 = 256;

/// Words of 64 bits for all ports.
const PORT_WORDS: usize = 65_536 / 64;

/// A summary that grows.
#[derive(Clone, Debug)]
pub(super) struct Chapter {
    /// The events' numbers, less what is below 256.
    pub(super) number: i64,
    first: i64,
    last: i64,
    /// A bit for each event's place.
    events: i64,
    kinds: i64,
    ports: Box<[u64]>,
}

impl Chapter {
    pub(super) fn new(number: i64) -> Chapter {
        let ports = vec![0; PORT_WORDS].into_boxed_slice();
        Chapter { number, first: i64::MAX, last: i64::MIN, events: 0, kinds: 0, ports }
    }

    /// The chapter `number` as it was written, or an empty one.
    pub(super) fn read(connection: &Connection, number: i64) -> rusqlite::Result<Chapter> {
        let mut chapter = Chapter::new(number);
        let mut select = connection
            .prepare("SELECT first, last, events, kinds, ports FROM chapters WHERE chapter = ?1")?;
        let mut rows = select.query([number])?;
        if let Some(row) = rows.next()? {
            (chapter.first, chapter.last) = (row.get(0)?, row.get(1)?);
            (chapter.events, chapter.kinds) = (row.get(2)?, row.get(3)?);
            // Ports that cannot be read may be any.
            match read_ports(row.get_ref(4)?.as_blob()?) {
                Ok(ports) => ports.into_iter().for_each(|port| chapter.mark(port)),
                Err(_) => chapter.ports.fill(u64::MAX),
            }
        }
        Ok(chapter)
    }

    pub(super) fn take(&mut self, row: &Row) {
        self.first = self.first.min(row.time);
        self.last = self.last.max(row.time);
        self.events |= 1 << row.event;
        self.kinds |= row.kinds.cast_signed();
        row.ports.iter().for_each(|port| self.mark(*port));
    }

    fn mark(&mut self, port: u16) {
        self.ports[usize::from(port) / 64] |= 1 << (port % 64);
    }

    pub(super) fn write(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        // One that holds nothing has no times.
        if self.first > self.last {
            return Ok(());
        }
        let mut ports = Vec::new();
        for (place, word) in self.ports.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                ports.push(place as u64 * 64 + u64::from(left.trailing_zeros()));
                left &= left - 1;
            }
        }
        let mut bytes = Vec::with_capacity(ports.len() * 2);
        put_ascending(&ports, &mut bytes);
        transaction
            .prepare(
                "INSERT OR REPLACE INTO chapters (chapter, first, last, events, kinds, ports) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![self.number, self.first, self.last, self.events, self.kinds, bytes])?;
        Ok(())
    }
}

/// Whether `port` is among the ports that [`Chapter::write`] wrote; bytes that make no sense may hold any.
pub(super) fn may_hold(bytes: &[u8], port: u16) -> bool {
    let mut bytes = bytes.iter().copied();
    let mut number = || {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let byte = bytes.next()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
            if shift > 28 {
                return None;
            }
        }
    };
    let Some(count) = number() else { return true };
    let mut reached = 0;
    for _ in 0..count {
        let Some(step) = number() else { return true };
        reached += step;
        if reached >= u64::from(port) {
            return reached == u64::from(port);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_where_it_was_written_and_nowhere_else() {
        let mut bytes = Vec::new();
        put_ascending(&[0, 22, 80, 8080, 65_535], &mut bytes);
        for port in [0, 22, 80, 8080, 65_535] {
            assert!(may_hold(&bytes, port), "{port}");
        }
        for port in [1, 21, 23, 81, 65_534] {
            assert!(!may_hold(&bytes, port), "{port}");
        }
        assert!(!may_hold(&[0], 22), "no port at all");
        assert!(may_hold(&[3, 0xff], 22) && may_hold(&[], 22), "what cannot be read may hold it");
    }
}
