//! Who we are, and how to become root after saying so.

use std::fs;
use std::process::Command;

/// Number of the right to open packet sockets (linux/capability.h).
const CAP_NET_RAW: u32 = 13;

/// Whether this process is root. (In a user namespace: root there.)
pub fn is_root() -> bool {
    // Uid: real, effective, saved, file system (proc_pid_status(5)).
    status("Uid:").and_then(|ids| ids.split_whitespace().nth(1).map(|id| id == "0")).unwrap_or(false)
}

/// Whether a program started by this process may capture packets.
pub fn may_capture() -> bool {
    // Only ambient rights, or those of root, outlive exec.
    let held = if is_root() { "CapEff:" } else { "CapAmb:" };
    status(held)
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set & (1 << CAP_NET_RAW) != 0)
}

/// A command that runs as root: the program itself if we are, otherwise through sudo, which is said with `why`.
///
/// # Errors
/// If we are not root and there is no sudo.
pub fn as_root(program: &str, why: &str) -> Result<Command, String> {
    if is_root() {
        return Ok(Command::new(program));
    }
    sudo(why)?;
    let mut command = Command::new("sudo");
    command.args(["--", program]);
    Ok(command)
}

/// Says why sudo is wanted, and lets it ask for the password now rather than in the middle.
///
/// # Errors
/// If there is no sudo, or it refuses.
pub fn sudo(why: &str) -> Result<(), String> {
    println!("xtask: {why}; asking sudo for it");
    let answer = Command::new("sudo").arg("--validate").status();
    match answer {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("{why}, and sudo refused; run this command as root")),
        Err(error) => Err(format!("{why}, and sudo can't be started ({error}); run this command as root")),
    }
}

fn status(field: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix(field).map(str::to_owned))
}
