//! The one door by which effects leave: only this room changes the system, and only inside our own table.

pub mod effects;
pub mod nftables;
