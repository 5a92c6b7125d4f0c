//! The systemd unit and the scripts, as far as they can be looked at without running (systemd itself judges the units
//! in `cargo xtask test`).

use std::fs;
use std::process::Command;

use super::packaged;

#[test]
fn the_unit_starts_the_modes_that_the_old_files_say() {
    let text = fs::read_to_string(packaged("portcullis-portsentry.service")).unwrap();
    assert!(
        text.contains("\nExecStart=/usr/bin/portcullis portsentry --as-configured --foreground "),
        "{text}"
    );
}

#[test]
fn the_scripts_hold_what_shellcheck_looks_for() {
    if !testbed::has(&["shellcheck"]) {
        return;
    }
    for script in ["portsentry.init", "alternatives.sh"] {
        let output =
            Command::new("shellcheck").args(["--shell=dash"]).arg(packaged(script)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
