//! Starting cargo, and finding what it built.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// The cargo that started us, in the workspace.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(workspace());
    cargo
}

/// Builds the program as it is shipped, and returns where it lies.
///
/// # Errors
/// If it doesn't build; cargo has said why.
pub fn build_release() -> Result<PathBuf, String> {
    succeed(&mut cargo(&["build", "--quiet", "--release", "--package", "portcullis"]))?;
    Ok(testbed::target_directory().join("release/portcullis"))
}

/// Runs a command with our own outputs.
///
/// # Errors
/// If it can't be started or fails; it has said why itself.
pub fn succeed(command: &mut Command) -> Result<(), String> {
    let name = describe(command);
    let status = command.status().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{name}` failed ({status}), see above")) }
}

/// A command as it would be typed.
pub fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
