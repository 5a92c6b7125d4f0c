//! The systemd unit, as far as it can be looked at without systemd running.

use std::fs;
use std::process::Command;

use super::{PROGRAM, packaged};

#[test]
fn the_unit_is_understood_by_systemd() {
    if !testbed::is_installed("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("portcullis-portsentry.service");
    let text = fs::read_to_string(packaged("portcullis-portsentry.service")).unwrap();
    assert!(text.contains("/usr/bin/portcullis portsentry --as-configured --foreground"));
    // Where it is installed on a real machine there is nothing yet.
    fs::write(&unit, text.replace("/usr/bin/portcullis", PROGRAM)).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn the_scripts_hold_what_shellcheck_looks_for() {
    if !testbed::is_installed("shellcheck") {
        return;
    }
    for script in ["portsentry.init", "alternatives.sh"] {
        let output =
            Command::new("shellcheck").args(["--shell=dash"]).arg(packaged(script)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
