//! Captures written by hand, byte for byte as the drafts say, then read, cut at every length and spoilt.

use std::io;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Writes numbers in one byte order.
#[derive(Clone)]
struct Pen {
    is_big: bool,
    bytes: Vec<u8>,
}

impl Pen {
    fn new(is_big: bool) -> Pen {
        Pen { is_big, bytes: Vec::new() }
    }

    fn half(mut self, value: u16) -> Pen {
        self.bytes.extend(if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn word(mut self, value: u32) -> Pen {
        self.bytes.extend(if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn long(mut self, value: u64) -> Pen {
        self.bytes.extend(if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Pen {
        self.bytes.extend(bytes);
        self
    }

    fn padded(self, bytes: &[u8]) -> Pen {
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        self.raw(bytes).raw(&[0xee; 3][..padding])
    }

    fn classic_header(self, magic: u32, link: u32) -> Pen {
        self.word(magic).half(2).half(4).word(0).word(0).word(65535).word(link)
    }

    fn classic_packet(self, seconds: u32, fraction: u32, bytes: &[u8], wire_length: u32) -> Pen {
        self.word(seconds).word(fraction).word(bytes.len() as u32).word(wire_length).raw(bytes)
    }

    fn block(self, kind: u32, content: impl FnOnce(Pen) -> Pen) -> Pen {
        let content = content(Pen::new(self.is_big)).bytes;
        let length = content.len() as u32 + 12;
        self.word(kind).word(length).raw(&content).word(length)
    }

    fn section(self) -> Pen {
        self.block(0x0a0d_0d0a, |pen| pen.word(0x1a2b_3c4d).half(1).half(0).long(u64::MAX))
    }

    fn interface(self, link: u16, snap_length: u32, options: impl FnOnce(Pen) -> Pen) -> Pen {
        self.block(1, |pen| options(pen.half(link).half(0).word(snap_length)))
    }

    fn option(self, code: u16, value: &[u8]) -> Pen {
        self.half(code).half(value.len() as u16).padded(value)
    }

    fn enhanced(self, interface: u32, ticks: u64, bytes: &[u8], wire_length: u32) -> Pen {
        self.block(6, |pen| {
            let pen = pen.word(interface).word((ticks >> 32) as u32).word(ticks as u32);
            pen.word(bytes.len() as u32)
                .word(wire_length)
                .padded(bytes)
                .option(1, b"a comment")
                .half(0)
                .half(0)
        })
    }
}

type Packet = (Duration, Link, Vec<u8>, usize);

fn read(bytes: &[u8]) -> Result<(Vec<Packet>, Option<Ending>), CaptureError> {
    let mut reader = CaptureReader::open(bytes)?;
    let mut packets = Vec::new();
    while let Some(CapturedFrame { time, link, bytes, wire_length }) = reader.next_frame()? {
        packets.push((time.0, link, bytes.to_vec(), wire_length));
    }
    assert_eq!(reader.packets(), packets.len() as u64);
    Ok((packets, reader.ending()))
}

fn at(seconds: u64, nanoseconds: u32) -> Duration {
    Duration::new(seconds, nanoseconds)
}

fn classic(is_big: bool) -> Vec<u8> {
    let pen = Pen::new(is_big).classic_header(0xa1b2_c3d4, 1);
    pen.classic_packet(1_000_000_000, 999_999, b"abc", 60).classic_packet(5, 1, b"", 0).bytes
}

fn next_generation(is_big: bool) -> Vec<u8> {
    let pen = Pen::new(is_big)
        .section()
        .interface(1, 0, |pen| pen)
        .interface(101, 96, |pen| pen.option(9, &[9]).half(0).half(0))
        .enhanced(0, 1_000_000_000_000_001, b"abcde", 60)
        .block(0x0bad, |pen| pen.word(7))
        .enhanced(1, 3_000_000_007, b"raw", 3);
    pen.bytes
}

#[test]
fn pcap_is_read_in_both_byte_orders_and_resolutions() {
    for is_big in [false, true] {
        let expected = vec![
            (at(1_000_000_000, 999_999_000), Link::Ethernet, b"abc".to_vec(), 60),
            (at(5, 1000), Link::Ethernet, vec![], 0),
        ];
        assert_eq!(read(&classic(is_big)).unwrap(), (expected, Some(Ending::Whole)));
        let nanoseconds =
            Pen::new(is_big).classic_header(0xa1b2_3c4d, 276).classic_packet(5, 1, b"x", 1).bytes;
        assert_eq!(read(&nanoseconds).unwrap().0, [(at(5, 1), Link::CookedV2, b"x".to_vec(), 1)]);
    }
}

#[test]
fn pcapng_is_read_with_each_interfaces_link_and_clock() {
    for is_big in [false, true] {
        let offset = |seconds: i64| if is_big { seconds.to_be_bytes() } else { seconds.to_le_bytes() };
        let pen = Pen::new(is_big)
            .section()
            .interface(1, 0, |pen| pen)
            .interface(101, 0, |pen| pen.option(2, b"eth0").option(9, &[9]).option(14, &offset(-2)))
            .interface(113, 0, |pen| pen.option(9, &[0x80 | 10]).option(14, &offset(100)).half(0).half(0))
            .interface(0, 0, |pen| pen.option(9, &[120]))
            .enhanced(0, 1_000_000_000_000_001, b"abcde", 60)
            .block(0x0bad, |pen| pen.word(7))
            .enhanced(1, 3_000_000_007, b"raw", 3)
            .enhanced(2, 1024 + 512, b"cooked", 6)
            .enhanced(3, 77, b"null", 4);
        let expected = vec![
            (at(1_000_000_000, 1000), Link::Ethernet, b"abcde".to_vec(), 60),
            (at(1, 7), Link::RawIp, b"raw".to_vec(), 3),
            (at(101, 500_000_000), Link::CookedV1, b"cooked".to_vec(), 6),
            (at(0, 0), Link::Null, b"null".to_vec(), 4),
        ];
        assert_eq!(read(&pen.bytes).unwrap(), (expected, Some(Ending::Whole)));
    }
}

#[test]
fn a_second_section_has_its_own_byte_order_and_interfaces() {
    let second = Pen::new(true).section().interface(101, 0, |pen| pen).enhanced(0, 1_000_000, b"b", 1).bytes;
    let both = [next_generation(false), second.clone()].concat();
    let (packets, ending) = read(&both).unwrap();
    assert_eq!((packets.len(), ending), (3, Some(Ending::Whole)));
    assert_eq!(packets[2], (at(1, 0), Link::RawIp, b"b".to_vec(), 1));
    // An interface of the section before is gone.
    let stale = Pen::new(true).section().enhanced(0, 0, b"c", 1).bytes;
    let error = read(&[second, stale].concat()).unwrap_err();
    assert!(
        matches!(error, CaptureError::Damaged { packets: 1, fault: Fault::Interface(0), .. }),
        "{error:?}"
    );
}

#[test]
fn simple_and_obsolete_packets_are_read() {
    let pen = Pen::new(false)
        .section()
        .interface(1, 6, |pen| pen)
        .block(2, |pen| pen.half(0).half(0).word(0).word(2_000_000).word(3).word(9).padded(b"old"))
        .block(3, |pen| pen.word(5).padded(b"whole"))
        .block(3, |pen| pen.word(1500).padded(b"snapped!"));
    let expected = vec![
        (at(2, 0), Link::Ethernet, b"old".to_vec(), 9),
        (at(2, 0), Link::Ethernet, b"whole".to_vec(), 5),
        (at(2, 0), Link::Ethernet, b"snappe".to_vec(), 1500),
    ];
    assert_eq!(read(&pen.bytes).unwrap().0, expected);
}

/// Bytes where a cut leaves only whole packets and nothing else.
fn whole_up_to(file: &[u8]) -> Vec<usize> {
    let mut reader = CaptureReader::open(file).unwrap();
    let mut ends = vec![];
    while reader.next_frame().unwrap().is_some() {
        ends.push(usize::try_from(reader.input.offset).unwrap());
    }
    ends
}

#[test]
fn a_file_cut_anywhere_gives_its_whole_packets_and_says_so() {
    for file in [classic(false), classic(true), next_generation(false), next_generation(true)] {
        let ends = whole_up_to(&file);
        assert_eq!(ends.len(), 2);
        for length in 4..=file.len() {
            let (packets, ending) = read(&file[..length]).unwrap();
            assert_eq!(packets.len(), ends.iter().filter(|end| **end <= length).count(), "cut at {length}");
            if ends.contains(&length) {
                assert_eq!(ending, Some(Ending::Whole), "cut at {length}");
            }
        }
        // In the middle of the last packet, of its header, and of the file's header.
        for length in [file.len() - 1, ends[0] + 5, 6] {
            assert_eq!(read(&file[..length]).unwrap().1, Some(Ending::Cut), "cut at {length}");
        }
    }
}

#[test]
fn links_that_nobody_reads_are_counted() {
    let pen = Pen::new(false)
        .section()
        .interface(127, 0, |pen| pen)
        .interface(1, 0, |pen| pen)
        .enhanced(0, 0, b"air", 3)
        .enhanced(1, 0, b"wire", 4)
        .enhanced(0, 0, b"air", 3);
    let mut reader = CaptureReader::open(&pen.bytes[..]).unwrap();
    assert_eq!(reader.next_frame().unwrap().unwrap().bytes, b"wire");
    assert_eq!(reader.next_frame().unwrap(), None);
    assert_eq!(reader.skipped().collect::<Vec<_>>(), [(127, 2)]);
    let radio = Pen::new(false).classic_header(0xa1b2_c3d4, 127).bytes;
    let error = read(&radio).unwrap_err();
    assert!(matches!(error, CaptureError::UnknownLink(127)));
    assert!(error.to_string().contains("127 (802.11"), "{error}");
}

#[test]
fn what_is_no_capture_says_what_it_is() {
    for (file, message) in [
        (&b""[..], "is empty"),
        (b"#!/bin/sh", "is no capture: it begins with 23 21 2f 62"),
        (b"ab", "is no capture: it begins with 61 62 00 00"),
        (b"\x1f\x8b\x08\0", "`gunzip <"),
        (b"\x28\xb5\x2f\xfd", "`unzstd <"),
        (&Pen::new(true).word(0xa1b2_c3d4).half(7).half(1).raw(&[0; 16]).bytes, "has format version 7.1"),
    ] {
        let error = read(file).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn damage_is_told_with_its_place_and_ends_the_reading() {
    let header = || Pen::new(false).section().interface(1, 0, |pen| pen);
    let spoilt_end = |mut pen: Pen| {
        *pen.bytes.last_mut().unwrap() = 1;
        pen
    };
    for (pen, wanted) in [
        (
            Pen { bytes: classic(false), ..Pen::new(false) }.word(0).word(0).word(300_000).word(0),
            Fault::PacketLength(300_000),
        ),
        (header().word(6).word(30).raw(&[0; 40]), Fault::BlockLength(30)),
        (header().word(6).word(8).raw(&[0; 40]), Fault::BlockLength(8)),
        (header().word(6).word(0xffff_fff0).raw(&[0; 40]), Fault::BlockLength(0xffff_fff0)),
        (spoilt_end(header().enhanced(0, 0, b"x", 1)), Fault::BlockEnd),
        (header().block(6, |pen| pen.word(0)), Fault::BlockContent),
        (header().block(6, |pen| pen.word(0).long(0).word(9).word(9).padded(b"short")), Fault::BlockContent),
        (header().block(1, |pen| pen.half(1).half(0).word(0).half(9).half(99)), Fault::BlockContent),
        (header().enhanced(1, 0, b"x", 1), Fault::Interface(1)),
        (Pen::new(false).block(0x0a0d_0d0a, |pen| pen.word(1).raw(&[0; 12])), Fault::ByteOrder),
    ] {
        let error = read(&pen.bytes).unwrap_err();
        assert!(
            matches!(error, CaptureError::Damaged { fault, .. } if fault == wanted),
            "{wanted:?}: {error:?}"
        );
    }
    let damaged = header().enhanced(1, 0, b"x", 1).enhanced(0, 0, b"y", 1).bytes;
    let mut reader = CaptureReader::open(&damaged[..]).unwrap();
    assert!(reader.next_frame().is_err());
    assert_eq!(reader.next_frame().unwrap(), None);
}

#[test]
fn interfaces_have_a_ceiling() {
    let one = Pen::new(false).interface(1, 0, |pen| pen).bytes;
    let most = [Pen::new(false).section().bytes, one.repeat(65_536)].concat();
    assert_eq!(read(&most).unwrap().1, Some(Ending::Whole));
    let error = read(&[most, one].concat()).unwrap_err();
    assert!(matches!(error, CaptureError::Damaged { fault: Fault::TooManyInterfaces, .. }));
}

/// Gives one byte a read, with an interruption before each, as a slow pipe under signals.
struct Drip<'a>(&'a [u8], bool);

impl io::Read for Drip<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = self.0.len().min(1);
        self.0.read(&mut target[..length])
    }
}

#[test]
fn a_slow_pipe_gives_the_same_packets() {
    for file in [classic(true), next_generation(false)] {
        let mut reader = CaptureReader::open(Drip(&file, false)).unwrap();
        while reader.next_frame().unwrap().is_some() {}
        assert_eq!((reader.packets(), reader.ending()), (2, Some(Ending::Whole)));
    }
}

#[test]
fn memory_has_a_ceiling_whatever_a_block_claims() {
    // A block of a kind that nobody reads may have 4 GiB: it is passed over, not kept.
    let begin = Pen::new(false).section().word(10).word(0xffff_fff0).bytes;
    let endless = io::Read::chain(&begin[..], io::Read::take(io::repeat(0), 50_000_000));
    let mut reader = CaptureReader::open(endless).unwrap();
    assert_eq!(reader.next_frame().unwrap(), None);
    assert_eq!(reader.ending(), Some(Ending::Cut));
    assert!(reader.input.buffer.capacity() < LONGEST_PACKET);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(kind in 0usize..6, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let begins = [
            vec![],
            classic(false)[..24].to_vec(),
            classic(true)[..24].to_vec(),
            next_generation(false)[..28].to_vec(),
            next_generation(true)[..48].to_vec(),
            next_generation(false)[..48].to_vec(),
        ];
        let _ = read(&[begins[kind].clone(), bytes].concat());
    }

    #[test]
    fn spoilt_bytes_never_panic(
        which in 0usize..4,
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut file = [classic(false), classic(true), next_generation(false), next_generation(true)][which].clone();
        for (index, byte) in spoils {
            let index = index.index(file.len());
            file[index] = byte;
        }
        if let Ok((packets, _)) = read(&file) {
            prop_assert!(packets.iter().all(|packet| packet.3 >= packet.2.len()));
        }
    }
}
