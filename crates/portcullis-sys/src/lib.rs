//! Every kernel interface that portcullis uses, behind a safe API.
//!
//! The only crate with `unsafe`; each block says why it holds. Nothing here decides anything.

pub mod capabilities;
pub mod clock;
pub mod conntrack;
pub mod descriptors;
pub mod filter;
pub mod listening;
pub mod netlink;
pub mod nftables;
pub mod people;
pub mod priority;
pub mod ring;
pub mod route;
pub mod sock_diag;
pub mod wake;
