//! What the figures were measured on, and where they are kept.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::output;
use crate::program;

/// The table of `docs/benchmarks.md` stands between these; what stands around it is written by hand.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// Date, kernel, processor, and the commit that was measured.
///
/// # Errors
/// If `date` or `uname` is missing.
pub fn describe() -> Result<String, String> {
    let date = output(Command::new("date").args(["-u", "+%F"]))?;
    let kernel = output(Command::new("uname").args(["-sr"]))?;
    let text = fs::read_to_string("/proc/cpuinfo").map_err(|error| format!("/proc/cpuinfo: {error}"))?;
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("processor of unknown model", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_err(|error| format!("processors: {error}"))?;
    let is_virtual = text.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    let place = if is_virtual { "a virtual machine" } else { "a machine" };
    Ok(format!("Measured on {}, {}, {place} with {cores} × {model}.", date.trim(), kernel.trim()))
}

/// Puts the table into `docs/benchmarks.md`.
///
/// # Errors
/// If the file is not there or has no place for it.
pub fn keep(table: &str) -> Result<PathBuf, String> {
    let path = program::workspace().join("docs/benchmarks.md");
    let complain = |why: &str| format!("{}: {why}", path.display());
    let text = fs::read_to_string(&path).map_err(|error| complain(&error.to_string()))?;
    let text = replace(&text, table).ok_or_else(|| complain(&format!("has no {BEGIN} … {END}")))?;
    fs::write(&path, text).map_err(|error| complain(&error.to_string()))?;
    Ok(path)
}

fn replace(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", table.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_measured_is_replaced() {
        let text = format!("# Head\n\n{BEGIN}\nold\n{END}\n\nwhy\n");
        let expected = format!("# Head\n\n{BEGIN}\n\nnew\n\n{END}\n\nwhy\n");
        assert_eq!(replace(&text, "new\n"), Some(expected));
        assert_eq!(replace("nothing", "new"), None);
    }
}
