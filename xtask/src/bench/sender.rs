//! Probes with any source address, as fast as one thread sends them, by a raw socket inside the attacker's namespace.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrIn, connect, send,
    sendmmsg, socket,
};
use testbed::Namespace;

/// Probes handed to the kernel in one call.
const AT_ONCE: usize = 128;

/// IP header and TCP header, both without options.
const LENGTH: usize = 40;

/// The first of the addresses that strangers have here; there are [`STRANGERS`] of them. The lab routes them.
const FIRST: u32 = u32::from_be_bytes([10, 96, 0, 0]);

/// 10.96.0.0/12.
pub const STRANGERS: u32 = 1 << 20;

/// The address of a stranger, by number.
///
/// # Panics
/// If there are not so many.
pub fn stranger(number: u32) -> Ipv4Addr {
    assert!(number < STRANGERS, "there are {STRANGERS} strangers, and no stranger {number}");
    Ipv4Addr::from(FIRST + number)
}

/// A SYN to a port, ready to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Probe([u8; LENGTH]);

impl Probe {
    /// The kernel fills in total length and checksum of the IP header (raw(7)).
    pub fn new(from: Ipv4Addr, to: SocketAddrV4) -> Self {
        Self::numbered(from, to, 0x1234_5678)
    }

    /// The same with a sequence number of its own.
    pub fn numbered(from: Ipv4Addr, to: SocketAddrV4, number: u32) -> Self {
        let mut bytes = [0; LENGTH];
        bytes[0] = 0x45;
        // Time to live, and TCP.
        bytes[8..10].copy_from_slice(&[64, 6]);
        bytes[12..16].copy_from_slice(&from.octets());
        bytes[16..20].copy_from_slice(&to.ip().octets());
        let tcp = &mut bytes[20..];
        tcp[..2].copy_from_slice(&40_000u16.to_be_bytes());
        tcp[2..4].copy_from_slice(&to.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&number.to_be_bytes());
        // Five words long; SYN; a window as nmap has it.
        tcp[12..16].copy_from_slice(&[5 << 4, 0x02, 4, 0]);
        let checksum = checksum(&bytes);
        bytes[36..38].copy_from_slice(&checksum.to_be_bytes());
        Self(bytes)
    }
}

/// The TCP checksum (RFC 9293 §3.1), with the pseudo header that the addresses of the IP header make.
fn checksum(packet: &[u8; LENGTH]) -> u16 {
    let words = packet[12..].chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>() + 6 + (LENGTH as u32 - 20);
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// A raw socket.
pub struct Sender {
    socket: OwnedFd,
    headers: MultiHeaders<SockaddrIn>,
}

impl Sender {
    /// Opens one in `from`, for packets to the address `to`.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(from: &Namespace, to: Ipv4Addr) -> io::Result<Self> {
        let socket = from.enter(|| -> io::Result<OwnedFd> {
            let (flags, raw) = (SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
            let socket = socket(AddressFamily::Inet, SockType::Raw, flags, raw)?;
            connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(to, 0)))?;
            Ok(socket)
        })?;
        Ok(Self { socket, headers: MultiHeaders::preallocate(AT_ONCE, None) })
    }

    /// Sends them one after the other, so many in a second; what is late is made up for at once.
    ///
    /// # Errors
    /// What the system said.
    pub fn send_at(&mut self, probes: &[Probe], in_a_second: u32) -> io::Result<()> {
        let start = Instant::now();
        for (number, probe) in (0..).zip(probes) {
            let due = start + Duration::from_secs(1) * number / in_a_second;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.send(std::slice::from_ref(probe))?;
        }
        Ok(())
    }

    /// Sends one datagram from an address; without a checksum, which RFC 768 leaves free.
    ///
    /// # Errors
    /// What the system said.
    pub fn send_datagram(&mut self, from: Ipv4Addr, to: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        let length = u16::try_from(payload.len() + 8).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut bytes = vec![0; 28];
        bytes[0] = 0x45;
        // Time to live, and UDP.
        bytes[8..10].copy_from_slice(&[64, 17]);
        bytes[12..16].copy_from_slice(&from.octets());
        bytes[16..20].copy_from_slice(&to.ip().octets());
        bytes[20..22].copy_from_slice(&40_000_u16.to_be_bytes());
        bytes[22..24].copy_from_slice(&to.port().to_be_bytes());
        bytes[24..26].copy_from_slice(&length.to_be_bytes());
        bytes.extend(payload);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// Sends them all.
    ///
    /// # Errors
    /// What the system said.
    pub fn send(&mut self, probes: &[Probe]) -> io::Result<()> {
        let nowhere = [None; AT_ONCE];
        for part in probes.chunks(AT_ONCE) {
            let mut left = part;
            while !left.is_empty() {
                let slices: Vec<[IoSlice<'_>; 1]> =
                    left.iter().map(|probe| [IoSlice::new(&probe.0)]).collect();
                let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
                let sent = sendmmsg(socket, &mut self.headers, &slices, &nowhere[..left.len()], [], flags)?;
                left = &left[sent.count()..];
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_has_a_good_checksum() {
        let probe = Probe::new(Ipv4Addr::new(10, 96, 0, 1), SocketAddrV4::new([10, 77, 0, 2].into(), 80));
        // Summed with its checksum in place a good one gives 0.
        assert_eq!(checksum(&probe.0), 0);
        assert_eq!(probe.0[20..24], [0x9c, 0x40, 0, 80]);
    }

    #[test]
    fn strangers_are_told_apart() {
        assert_eq!(stranger(0), Ipv4Addr::new(10, 96, 0, 0));
        assert_eq!(stranger(STRANGERS - 1), Ipv4Addr::new(10, 111, 255, 255));
    }
}
