//! May this test make namespaces, and does it have its tools? If not: say why and skip, or fail where it must run.

use std::env;
use std::io::{self, Write};
use std::path::Path;

use nix::sched::{CloneFlags, unshare};

/// Tools that every namespace needs: `ip` (iproute2), `nsenter` and `setpriv` (util-linux).
const ALWAYS: [&str; 3] = ["ip", "nsenter", "setpriv"];

/// Whether this process may make network namespaces; otherwise says so, and the test is to return.
///
/// `Lab` and `Namespace` ask this themselves. It is found out by making one, not by looking at the user's number:
/// root in a container may not, and a user inside `unshare --user --map-root-user` may.
///
/// # Panics
/// Instead of `None`, if the environment says `PORTCULLIS_TESTS=must`.
#[track_caller]
pub fn rights() -> Option<()> {
    let tried =
        std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join().expect("unshare cannot panic");
    match tried {
        Ok(()) => has(&ALWAYS).then_some(()),
        Err(error) => {
            skip(&format!(
                "no right to make a network namespace ({error}); run it as root, or through `cargo xtask test`"
            ));
            None
        }
    }
}

/// Whether all these programs are installed; otherwise names the missing ones, and the test is to return.
///
/// # Panics
/// Instead of `false`, if the environment says `PORTCULLIS_TESTS=must`.
#[must_use]
#[track_caller]
pub fn has(tools: &[&str]) -> bool {
    let missing: Vec<_> = tools.iter().copied().filter(|tool| !is_installed(tool)).collect();
    if missing.is_empty() {
        return true;
    }
    skip(&format!("not installed: {}; `cargo xtask test` installs it", missing.join(", ")));
    false
}

/// Where tools are looked for: the caller's PATH, and the places of administration tools, which an ordinary
/// user's PATH lacks on Debian.
pub(crate) fn search_path() -> String {
    let path = env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

/// Whether a program is installed, also where only administrators look (/usr/sbin). Says nothing and skips nothing.
pub fn is_installed(program: &str) -> bool {
    search_path().split(':').any(|place| Path::new(place).join(program).is_file())
}

#[track_caller]
fn skip(why: &str) {
    assert!(env::var("PORTCULLIS_TESTS").as_deref() != Ok("must"), "PORTCULLIS_TESTS=must, but {why}");
    let thread = std::thread::current();
    // Not eprintln!, which the test harness swallows for tests that pass. If standard error is closed there is
    // nobody to tell.
    let _ = writeln!(io::stderr(), "skipped: {}: {why}", thread.name().unwrap_or("test"));
}
