//! Doors: what opens a port to who knocks.

pub mod spa;
