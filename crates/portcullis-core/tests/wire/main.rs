//! What the decoder promises, packet by packet (`links`, `internet`, `transports`, `fragments`), and for packets
//! and bytes of any kind (`properties`).

mod fragments;
mod internet;
mod links;
mod properties;
mod transports;

use std::time::Duration;

use portcullis_core::time::Mono;
use portcullis_core::wire::build;
use portcullis_core::wire::{
    Checksums, Decoder, FragmentLimits, Frame, Link, Refusal, Tcp, TcpFlags, Transport,
};

const STRANGER: &str = "192.0.2.9";
const HOST: &str = "198.51.100.1";
const STRANGER6: &str = "2001:db8::9";
const HOST6: &str = "2001:db8:1::1";

/// Maximum segment size 1460, as nmap sends it.
const SYN_OPTIONS: [u8; 4] = [2, 4, 5, 0xb4];

const NOW: Mono = Mono(Duration::from_secs(1_000_000));

fn decoder() -> Decoder {
    Decoder::new(FragmentLimits::default(), *b"a key for a test")
}

fn raw(bytes: &[u8]) -> Frame<'_> {
    on(Link::RawIp, bytes)
}

fn on(link: Link, bytes: &[u8]) -> Frame<'_> {
    Frame { link, bytes, wire_length: bytes.len(), checksums: Checksums::Verify }
}

/// The transport that a decoder without memories finds in an IP packet.
#[track_caller]
fn accepted(bytes: &[u8]) -> Transport<'_> {
    // The packet may borrow from the decoder, so the decoder has to stay; a test can afford that.
    Box::leak(Box::new(decoder())).decode(NOW, raw(bytes)).expect("a good packet").transport
}

/// A decoder without memories refuses this IP packet for this reason, and counts it.
#[track_caller]
fn refused(bytes: &[u8], reason: Refusal) {
    frame_refused(raw(bytes), reason);
}

#[track_caller]
fn frame_refused(frame: Frame<'_>, reason: Refusal) {
    let mut decoder = decoder();
    assert_eq!(decoder.decode(NOW, frame), Err(reason));
    assert_eq!(decoder.refusals().count(reason), 1);
    assert_eq!(decoder.refusals().total(), 1);
}

/// The probe that [`syn_to`] builds, as it should be read.
fn syn(port: u16) -> Transport<'static> {
    Transport::Tcp(Tcp {
        source_port: 40_000,
        destination_port: port,
        sequence: 7,
        acknowledgement: 0,
        flags: TcpFlags(TcpFlags::SYN),
        window: 0x0400,
        header_length: 24,
        payload_length: 0,
    })
}

/// A SYN with 24 bytes of TCP header, as nmap sends.
fn syn_to(port: u16) -> build::Segment {
    build::tcp(40_000, port, TcpFlags::SYN).sequence(7).options(&SYN_OPTIONS)
}

/// The same change made to both families' probe.
fn probes(port: u16) -> [build::Packet; 2] {
    [build::ip(STRANGER, HOST, syn_to(port)), build::ip(STRANGER6, HOST6, syn_to(port))]
}

/// `packet` with one byte replaced, and the IPv4 header checksum right again where `repair` asks for it.
fn with_byte(packet: &[u8], position: usize, value: u8, repair: Repair) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    bytes[position] = value;
    if repair == Repair::IpChecksum {
        bytes[10..12].fill(0);
        let length = usize::from(bytes[0] & 0x0f) * 4;
        let sum: u32 =
            bytes[..length].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        bytes[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    }
    bytes
}

#[derive(PartialEq, Eq)]
enum Repair {
    IpChecksum,
    Nothing,
}

#[test]
fn every_refusal_has_a_name_of_its_own_fit_for_json() {
    let mut names: Vec<&str> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
    assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Refusal::ALL.len());
    let decoder = decoder();
    assert_eq!(decoder.refusals().iter().map(|(refusal, _)| refusal).collect::<Vec<_>>(), Refusal::ALL);
}
