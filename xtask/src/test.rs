//! `cargo xtask test`: everything that must hold, on any machine that has Rust and a C compiler.

use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, ExitCode, Stdio};

use crate::{Outcome, licences, packaging, privilege, program, tools};

/// Runs all checks; the tests last, with a one-line total.
pub fn perform(arguments: &[String]) -> Outcome {
    if let Some(unknown) = arguments.first() {
        return Err(format!(
            "{unknown}: takes no arguments; for some of the tests: cargo test -p CRATE NAME"
        ));
    }
    tools::install_missing(&tools::all())?;
    tools::unpack_ancestors()?;
    step("licences of dependencies");
    licences::check()?;
    step("format");
    program::succeed(&mut program::cargo(&["fmt", "--all", "--check"]))?;
    step("lints");
    let lints = ["clippy", "--locked", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    program::succeed(&mut program::cargo(&lints))?;
    step("documents");
    let documents = &mut program::cargo(&["doc", "--locked", "--quiet", "--workspace", "--no-deps"]);
    program::succeed(documents.env("RUSTDOCFLAGS", "--deny warnings"))?;
    step("systemd units");
    packaging::check()?;
    step("tests");
    let tests = &mut program::cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    if !privilege::is_root() {
        privilege::sudo("tests make network namespaces, which needs root")?;
        // Cargo builds as you, and only the built tests run as root, so that nothing in target/ is root's.
        tests.args(["--config", "target.'cfg(all())'.runner = ['sudo', '--preserve-env']"]);
    }
    run_tests(tests)
}

fn step(what: &str) {
    println!("\nxtask: {what}");
}

fn run_tests(tests: &mut Command) -> Outcome {
    let name = program::describe(tests);
    let mut child = tests
        .env("PORTCULLIS_TESTS", "must")
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let output = BufReader::new(child.stdout.take().expect("it was asked for above"));
    let mut total = Count::default();
    for line in output.lines() {
        let line = line.map_err(|error| format!("{name}: {error}"))?;
        println!("{line}");
        if let Some(count) = Count::read(&line) {
            total += count;
        }
    }
    let status = child.wait().map_err(|error| format!("{name}: {error}"))?;

    println!();
    if total.ignored > 0 {
        println!(
            "{} ignored: a test that is passed over here would never run; mend or remove it",
            total.ignored
        );
    }
    if !status.success() && total.failed == 0 {
        println!("{name} failed ({status}), see above");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    let good = status.success() && total.failed == 0 && total.ignored == 0 && total.passed > 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Count {
    /// Reads `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s`.
    fn read(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let of = |name: &str| {
            counts.split("; ").find_map(|count| count.strip_suffix(name)?.trim_end().parse::<u64>().ok())
        };
        Some(Self { passed: of("passed")?, failed: of("failed")?, ignored: of("ignored")? })
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.ignored += more.ignored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_line_of_a_test_run_is_read() {
        let ok =
            "test result: ok. 13 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 2.07s";
        assert_eq!(Count::read(ok), Some(Count { passed: 13, failed: 0, ignored: 2 }));
        let failed =
            "test result: FAILED. 11 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
        assert_eq!(Count::read(failed), Some(Count { passed: 11, failed: 2, ignored: 0 }));
        assert_eq!(Count::read("test lab::result ... ok"), None);
    }
}
