//! The bodies of the fuzz targets: plain functions, so that the workspace's tests run them as property tests on
//! stable Rust (`tests/fuzz_bodies.rs` of the crate that each one feeds). One that returns has found nothing.

pub mod capture;
pub mod configuration;
pub mod control;
pub mod doors;
pub mod engine;
pub mod kernel;
pub mod spa;
pub mod wire;
