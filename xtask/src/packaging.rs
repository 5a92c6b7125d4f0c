//! The systemd units, judged by systemd itself where that is there to judge.

use std::fs;
use std::process::{Command, Stdio};

use crate::program;

/// How exposed the unit may be, in tenths: systemd's scale goes from 0 to 100 (`systemd-analyze security`).
const EXPOSURE: u32 = 20;

/// The first systemd that judges a file without a running systemd (its NEWS, 250).
const JUDGES_FILES: u32 = 250;

/// The unit that is shut in. The other one runs commands of root's, which nothing may be kept from.
const SHUT_IN: &str = "systemd/portcullis.service";

/// All units.
const UNITS: [&str; 2] = [SHUT_IN, "portsentry/portcullis-portsentry.service"];

/// Checks that the units are well formed, and ours is shut in.
///
/// # Errors
/// If systemd finds a fault in one, or ours is more exposed than [`EXPOSURE`].
pub fn check() -> Result<(), String> {
    if version().is_none_or(|version| version < JUDGES_FILES) {
        println!("no systemd of version {JUDGES_FILES} here to judge the units");
        return Ok(());
    }
    let packaging = program::workspace().join("packaging");
    let threshold = format!("--threshold={EXPOSURE}");
    let mut exposure = Command::new("systemd-analyze");
    exposure.args(["--no-pager", "--offline=true", &threshold, "security"]).arg(packaging.join(SHUT_IN));
    program::succeed(exposure.stdout(Stdio::null()))?;

    // A unit is only well formed if its programs exist, so a copy names one that surely does.
    let aside = testbed::target_directory().join("systemd");
    for unit in UNITS.map(|unit| packaging.join(unit)) {
        let complain = |error: std::io::Error| format!("{}: {error}", unit.display());
        let text = fs::read_to_string(&unit).map_err(complain)?;
        let copy = aside.join(unit.file_name().expect("a unit has a name"));
        fs::create_dir_all(&aside)
            .and_then(|()| fs::write(&copy, text.replace("/usr/bin/portcullis", "/bin/true")))
            .map_err(|error| format!("{}: {error}", copy.display()))?;
        program::succeed(
            Command::new("systemd-analyze").args(["--man=no", "--recursive-errors=no", "verify"]).arg(&copy),
        )?;
    }
    Ok(())
}

/// From `systemd 252 (252.38-1~deb12u1)`.
fn version() -> Option<u32> {
    let output = Command::new("systemd-analyze").arg("--version").output().ok()?;
    String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1)?.parse().ok()
}
