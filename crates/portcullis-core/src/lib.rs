//! The pure engine of portcullis.
//!
//! Bytes, typed input and the time go in; typed [`event::Action`]s come out. Nothing here opens a
//! socket or a file, reads a clock, starts a thread or draws a random number, so a test can run a
//! year in a second and the same packets always give the same verdict.
//!
//! The rooms stand in the order in which a packet walks through them.

pub mod event;
pub mod net;
pub mod policy;
pub mod time;
pub mod wire;
