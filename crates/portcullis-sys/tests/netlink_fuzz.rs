//! No parser of kernel answers panics, whatever it is given.

use proptest::prelude::*;

/// A message of any type whose lengths are right, with bytes behind that are mostly attributes.
fn message() -> impl Strategy<Value = Vec<u8>> {
    (any::<u16>(), prop::collection::vec(attribute(3), 0..8), prop::collection::vec(any::<u8>(), 0..72))
        .prop_map(|(kind, attributes, head)| {
            let body: Vec<u8> = head.into_iter().chain(attributes.into_iter().flatten()).collect();
            let mut message = ((body.len() + 16) as u32).to_ne_bytes().to_vec();
            message.extend(kind.to_ne_bytes());
            message.extend([0; 10]);
            message.extend(body);
            message
        })
}

/// One attribute: a small type, and bytes or attributes inside.
fn attribute(depth: u32) -> BoxedStrategy<Vec<u8>> {
    let lengths = prop::sample::select(vec![0_usize, 1, 2, 4, 8, 16, 17]);
    let leaf = lengths.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length));
    let inside = if depth == 0 {
        leaf.boxed()
    } else {
        prop_oneof![leaf, prop::collection::vec(attribute(depth - 1), 0..4).prop_map(|nest| nest.concat())]
            .boxed()
    };
    (0..20_u16, inside)
        .prop_map(|(kind, value)| {
            let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        })
        .boxed()
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        portcullis_sys::netlink::read_anything(&bytes);
    }

    #[test]
    fn messages_with_odd_contents_are_read_without_a_panic(bytes in message()) {
        portcullis_sys::netlink::read_anything(&bytes);
    }

    #[test]
    fn cut_messages_are_read_without_a_panic(bytes in message(), cut in 0..200_usize) {
        portcullis_sys::netlink::read_anything(&bytes[..bytes.len() - cut.min(bytes.len())]);
    }
}
