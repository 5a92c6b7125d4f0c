//! Packets of any kind: what is said is heard, and nothing that was changed is.

use portcullis_core::door::spa::cipher::Mode;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope;
use portcullis_core::door::spa::message::{Destination, Guest, Message, Port, Random, Request};
use portcullis_core::net::Protocol;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{hear, keys, keys_of, sealed, spa, user};

fn port() -> impl Strategy<Value = Port> {
    (select(vec![Protocol::Tcp, Protocol::Udp]), 1..=u16::MAX)
        .prop_map(|(protocol, number)| Port { protocol, number })
}

fn request() -> impl Strategy<Value = Request> {
    let ports = || prop::collection::vec(port(), 1..4);
    let destination =
        || ("[a-z0-9.-]{1,20}", 1..=u16::MAX).prop_map(|(host, port)| Destination { host, port });
    prop_oneof![
        "[ -~]{1,60}".prop_map(Request::Command),
        ports().prop_map(Request::Access),
        (ports(), destination()).prop_map(|(ports, to)| Request::Forward(ports, to)),
        (ports(), destination()).prop_map(|(ports, to)| Request::Redirect(ports, to)),
    ]
}

fn guest() -> impl Strategy<Value = Guest> {
    prop_oneof![
        Just(Guest::Source),
        (1..=u32::MAX).prop_map(|bits| Guest::Address(std::net::Ipv4Addr::from_bits(bits).into())),
        (1_u128 << 64..).prop_map(|bits| Guest::Address(std::net::Ipv6Addr::from_bits(bits).into())),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let fields = (any::<[u8; 8]>(), "[a-z][a-z0-9 _.@-]{0,28}", 0..1_000_000_000_000_u64, "[0-9.]{1,8}");
    let rest = (guest(), request(), option::of(0..=65_536_u32), option::of("[ -~]{0,10}"));
    (fields, rest).prop_map(
        |((random, user, time, version), (guest, request, timeout, server_authentication))| {
            let is_command = matches!(request, Request::Command(_));
            let random = Random::from_bytes(random);
            let timeout = timeout.filter(|_| !is_command);
            Message { random, user, time, version, guest, request, timeout, server_authentication }
        },
    )
}

proptest! {
    #[test]
    fn what_is_said_is_heard(
        message in message(),
        mode in select(&Mode::ALL[..]),
        digest in select(&Digest::ALL[..]),
        hmac in option::of(select(&Digest::ALL[..])),
        cipher_key in prop::collection::vec(any::<u8>(), 1..=32),
        hmac_key in prop::collection::vec(any::<u8>(), 33..=136),
        salt in any::<[u8; 8]>(),
    ) {
        let hmac = hmac.filter(|_| mode != Mode::Legacy).map(|digest| (digest, &hmac_key[..]));
        let keys = keys_of(mode, &cipher_key, hmac);
        match envelope::seal(&message, digest, &keys, salt) {
            Ok(packet) => prop_assert_eq!(envelope::read(packet.as_bytes(), &keys), Ok(message)),
            Err(refusal) => prop_assert_eq!(refusal, portcullis_core::door::spa::refusal::Refusal::TooLong),
        }
    }

    #[test]
    fn a_byte_that_was_changed_closes_the_door(place in any::<Index>(), change in 1..=255_u8) {
        let mut packet = sealed(&keys(), |_| {}).into_bytes();
        let place = place.index(packet.len());
        packet[place] ^= change;
        prop_assert!(hear(&mut spa(vec![user(keys())]), "10.78.0.1", packet).is_err());
    }

    #[test]
    fn a_packet_that_was_cut_or_grew_closes_the_door(length in 0..400_usize, more in any::<u8>()) {
        let mut packet = sealed(&keys(), |_| {}).into_bytes();
        let whole = packet.len();
        packet.resize(length, more);
        prop_assert!(length == whole || hear(&mut spa(vec![user(keys())]), "10.78.0.1", packet).is_err());
    }
}
