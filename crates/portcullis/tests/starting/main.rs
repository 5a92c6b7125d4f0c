//! How the system starts portcullis in the place of PortSentry: the files of `packaging/portsentry`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod alternatives;
mod init;
mod real;
mod unit;

use std::path::PathBuf;

const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");

fn packaged(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../packaging/portsentry").join(name)
}
