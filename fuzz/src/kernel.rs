//! Answers of the kernel.

/// Reads the input as netlink messages of every kind that we ask for.
pub fn netlink_answer(input: &[u8]) {
    portcullis_sys::netlink::read_anything(input);
}
