//! `portcullis knockd` beside the distribution's knockd 0.8, with real packets in namespaces: the same doors open and the
//! same lines are written, or the difference stands in a table with its reason.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod clients;
mod host;
mod one_time;
mod running;

use serde_json::Value;

/// What was measured of knockd 0.8.
fn cases() -> Value {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/ancestors/knockd-cases.json"));
    serde_json::from_str(text).unwrap()
}
