//! Traffic from and to networks of others: asked before anything else, since it is for others by its link address.

use std::net::IpAddr;

use portcullis_core::net::Prefix;

use super::assembler::{Assembler, Label, Test};
use super::{
    EXTENSION_HEADERS, LOAD_BYTE, LOAD_HALF, LOAD_HEADER_LENGTH, LOAD_TRANSPORT_BYTE, LOAD_TRANSPORT_HALF,
    LOAD_WORD, MASK, SET_X, Sets, ancillary, choose, member,
};

/// `PACKET_OUTGOING`: from here on a packet was sent or looped back, not received.
const NOT_RECEIVED: u32 = libc::PACKET_OUTGOING as u32;

/// Lays the questions in front: a packet of one of the networks ends here, any other goes on to `usual`.
pub(super) fn before(code: &mut Assembler, sets: &Sets, pass: Label, drop: Label, usual: Label) {
    // UDP: one of the ports has to be watched, that of the question or that of the answer.
    let source_port = member(code, &sets.udp, pass, drop);
    code.go_to(source_port);
    code.plain(LOAD_TRANSPORT_HALF, 0);
    let answer = code.here();
    let destination_port = member(code, &sets.udp, pass, answer);
    code.go_to(destination_port);
    code.plain(LOAD_TRANSPORT_HALF, 2);
    let udp = code.here();

    // TCP: whatever begins, refuses or ends (SYN, FIN, RST), and what has no ACK.
    let flags = code.branch(Test::AnyBit, 0x10, drop, pass);
    code.branch(Test::AnyBit, 0x07, pass, flags);
    code.plain(LOAD_TRANSPORT_BYTE, 13);
    let tcp = code.here();
    let transport = choose(code, &[(libc::IPPROTO_TCP, tcp), (libc::IPPROTO_UDP, udp)], pass);

    let extensions = EXTENSION_HEADERS
        .iter()
        .rev()
        .fold(transport, |next, &header| code.branch(Test::Equal, header, pass, next));
    code.go_to(extensions);
    code.plain(LOAD_BYTE, 6);
    code.plain(SET_X, 40);
    let ipv6 = code.here();
    code.go_to(transport);
    code.plain(LOAD_BYTE, 9);
    code.plain(LOAD_HEADER_LENGTH, 0);
    let whole = code.here();
    code.branch(Test::AnyBit, 0x3fff, pass, whole);
    code.plain(LOAD_HALF, 6);
    let ipv4 = code.here();

    // Source and destination: RFC 791 §3.1, RFC 8200 §3.
    let of_family =
        |is_ipv4: bool| sets.networks.iter().filter(move |own| own.address().is_ipv4() == is_ipv4);
    // A packet that is too short for both its addresses ends at the look at its last word.
    let mut ask = |is_ipv4: bool, offsets: [u32; 2], last_word: u32, inside: Label| {
        let first =
            of_family(is_ipv4).fold(usual, |next, network| is_in(code, network, offsets, inside, next));
        if first == usual {
            return usual;
        }
        code.go_to(first);
        code.plain(LOAD_WORD, last_word);
        code.here()
    };
    let is_of_ipv4 = ask(true, [12, 16], 16, ipv4);
    let is_of_ipv6 = ask(false, [8, 24], 36, ipv6);
    let family = choose(code, &[(libc::ETH_P_IP, is_of_ipv4), (libc::ETH_P_IPV6, is_of_ipv6)], usual);
    code.go_to(family);
    code.plain(LOAD_WORD, ancillary(libc::SKF_AD_PROTOCOL));
    let is_received = code.here();
    code.branch(Test::AtLeast, NOT_RECEIVED, drop, is_received);
    code.plain(LOAD_WORD, ancillary(libc::SKF_AD_PKTTYPE));
}

/// Whether the address at one of these offsets lies in `network`.
fn is_in(code: &mut Assembler, network: &Prefix, offsets: [u32; 2], inside: Label, outside: Label) -> Label {
    let address: Vec<u8> = match network.address() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    offsets.iter().fold(outside, |next, &offset| {
        let words = address.as_chunks::<4>().0.iter().zip(0..4u32).rev();
        words.fold(inside, |then, (word, number)| {
            let bits = u32::from(network.length()).saturating_sub(32 * number).min(32);
            // A word of which nothing is asked needs no look, but for the first: "all addresses" is a network too.
            if bits == 0 && number > 0 {
                return then;
            }
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            code.branch(Test::Equal, u32::from_be_bytes(*word) & mask, then, next);
            code.plain(MASK, mask);
            code.plain(LOAD_WORD, offset + 4 * number);
            code.here()
        })
    })
}
