//! The one door by which effects leave: only this room changes the system. On its own it does so only inside our
//! nftables table; the files and shell lines of an old portsentry.conf are the administrator's word, carried out as
//! written.

pub mod command;
pub mod doors;
pub mod effects;
pub mod hands;
pub mod hosts_deny;
pub mod nftables;
pub mod responses;
pub mod undo;
