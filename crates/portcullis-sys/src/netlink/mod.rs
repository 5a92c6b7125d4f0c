//! Netlink, as far as portcullis speaks it: requests, batches and dumps to the kernel, and its events.
//!
//! [`nftables`](crate::nftables), [`sock_diag`](crate::sock_diag), [`conntrack`](crate::conntrack) and
//! [`route`](crate::route) speak through this room; nobody else does. The framing is that of
//! `include/uapi/linux/netlink.h`.

mod error;
pub(crate) mod message;
pub(crate) mod socket;

pub use error::{NetlinkError, Request};

/// Feeds `bytes` to every parser of kernel answers, for the fuzz target and the property test: none of them may
/// panic, whatever the kernel (or a stranger who found a way to speak for it) sends.
#[doc(hidden)]
pub fn read_anything(bytes: &[u8]) {
    for message in message::Messages::new(bytes) {
        crate::nftables::read_anything(message.body);
        crate::sock_diag::read_anything(message.body);
        crate::conntrack::read_anything(message.body);
        crate::route::read_anything(message.body);
        let _ = message.error_number();
    }
    crate::nftables::read_anything(bytes);
    crate::sock_diag::read_anything(bytes);
    crate::conntrack::read_anything(bytes);
    crate::route::read_anything(bytes);
}
