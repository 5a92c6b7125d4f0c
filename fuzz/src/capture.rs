//! Capture files.

use portcullis::capture::pcap::CaptureReader;

/// Reads a capture to its end.
pub fn capture_file(input: &[u8]) {
    let Ok(mut capture) = CaptureReader::open(input) else { return };
    let mut packets = 0;
    while let Ok(Some(frame)) = capture.next_frame() {
        assert!(frame.bytes.len() <= frame.wire_length);
        packets += 1;
    }
    assert_eq!(capture.packets(), packets);
}
