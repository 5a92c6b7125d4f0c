//! The pure engine of portcullis.
//!
//! Bytes, typed input and the time go in; typed [`event::Action`]s come out. Nothing here opens a
//! socket or a file, reads a clock, starts a thread or draws a random number, so a test can run a
//! year in a second and the same packets always give the same verdict.
//!
//! A knock is heard by [`door`] first. A packet walks through [`wire`], [`scan`], [`judge`], [`policy`] and [`ledger`]; [`engine`] leads it there.

pub mod door;
pub mod engine;
pub mod event;
pub mod judge;
pub mod ledger;
pub mod net;
pub mod policy;
pub mod scan;
pub mod time;
pub mod wire;
pub mod words;
