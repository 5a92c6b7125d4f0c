//! Programs of other projects, to be compared with: unpacked below `target/`, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// The target directory that the running program was built in.
///
/// # Panics
/// If the running program was not built by cargo, or was moved.
pub fn target_directory() -> PathBuf {
    let program = std::env::current_exe().expect("Linux knows its programs");
    // Cargo marks the target directory for backup programs (https://bford.info/cachedir/).
    let marked = program.ancestors().find(|place| place.join("CACHEDIR.TAG").is_file());
    marked
        .unwrap_or_else(|| panic!("{}: is not in a target directory of cargo", program.display()))
        .to_owned()
}

/// What a library's package is called in other releases, beside its name with `t64` behind it (Debian 13 and Ubuntu 24.04,
/// where times have 64 bits).
const OTHER_NAMES: [(&str, &str); 1] = [("libassuan0", "libassuan9")];

/// Downloads a package of the distribution and unpacks it below `target/ancestors/`, once. Nothing is installed
/// and nothing is started; returned is the directory that stands for `/`:
/// `unpack("portsentry")?.join("usr/sbin/portsentry")`. A library is found by the name of its package in Debian 12, whatever
/// it is called in this release.
///
/// # Errors
/// What went wrong in the words of the tool, for the person at the terminal: no Debian or Ubuntu, no network, no
/// such package.
pub fn unpack(package: &str) -> Result<PathBuf, String> {
    unpack_into(&target_directory().join("ancestors"), package, |package, aside| {
        by_any_name(package, |name| download_and_unpack(name, aside))
    })
}

/// The first success with one of the names that a package may have; the first complaint if there is none.
fn by_any_name<T>(package: &str, fetch: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    fetch(package).or_else(|complaint| {
        let others =
            OTHER_NAMES.iter().filter(|(own, _)| *own == package).map(|(_, other)| (*other).to_owned());
        let mut others = others.chain([format!("{package}t64")]);
        others.find_map(|name| fetch(&name).ok()).ok_or(complaint)
    })
}

fn unpack_into(
    ancestors: &Path,
    package: &str,
    fetch: impl Fn(&str, &Path) -> Result<PathBuf, String>,
) -> Result<PathBuf, String> {
    let place = ancestors.join(package);
    if place.is_dir() {
        return Ok(place);
    }
    // Aside, and renamed when it is whole, so that a run that was broken off leaves nothing half behind, and
    // tests side by side don't meet, neither processes nor threads of one.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let aside = ancestors.join(format!(".{package}-{}-{number}", std::process::id()));
    let unpacked = fetch(package, &aside).and_then(|root| match fs::rename(root, &place) {
        Err(error) if !place.is_dir() => Err(format!("{}: {error}", place.display())),
        _ => Ok(place),
    });
    match fs::remove_dir_all(&aside) {
        Err(error) if unpacked.is_ok() => Err(format!("{}: {error}", aside.display())),
        _ => unpacked,
    }
}

fn download_and_unpack(package: &str, aside: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(aside).map_err(|error| format!("{}: {error}", aside.display()))?;
    run(Command::new("apt-get").args(["--quiet", "download", package]).current_dir(aside))?;
    let files = fs::read_dir(aside).map_err(|error| format!("{}: {error}", aside.display()))?;
    let mut files = files.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let file = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let file = file.ok_or_else(|| format!("apt-get downloaded no package {package}"))?;
    let root = aside.join("root");
    run(Command::new("dpkg-deb").arg("--extract").arg(file).arg(&root))?;
    Ok(root)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} failed ({}; are the package lists fresh?):\n{printed}", output.status))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn the_target_directory_holds_this_test() {
        assert!(std::env::current_exe().unwrap().starts_with(super::target_directory()));
    }

    #[test]
    fn portsentry_is_unpacked_and_not_installed() {
        let unpacked = super::unpack("portsentry");
        if !crate::is_installed("apt-get") {
            unpacked.unwrap_err();
            return;
        }
        let root = unpacked.unwrap();
        assert!(root.join("usr/sbin/portsentry").is_file());
        assert!(!crate::is_installed("portsentry"));
    }

    #[test]
    fn a_library_is_found_by_the_name_that_it_has_in_this_release() {
        let fetch = |there: &'static [&str]| {
            move |name: &str| match there.contains(&name) {
                true => Ok(name.to_owned()),
                false => Err(format!("no package {name}")),
            }
        };
        let found = |package, there| super::by_any_name(package, fetch(there));
        assert_eq!(found("libfko3", &["libfko3", "libfko3t64"]).unwrap(), "libfko3");
        assert_eq!(found("libfko3", &["libfko3t64"]).unwrap(), "libfko3t64");
        assert_eq!(found("libassuan0", &["libassuan9"]).unwrap(), "libassuan9");
        assert_eq!(found("knockd", &[]).unwrap_err(), "no package knockd");
    }

    #[test]
    fn two_threads_that_unpack_the_same_package_get_it_whole() {
        let place = super::target_directory().join(format!("threads-{}", std::process::id()));
        let (begun, written) = (Barrier::new(2), Barrier::new(2));
        let fetch = |_: &str, aside: &Path| {
            let root = aside.join("root");
            // Each has seen that the package is not there, and then both write it.
            begun.wait();
            fs::create_dir_all(&root).and_then(|()| fs::create_dir(root.join("usr"))).unwrap();
            written.wait();
            Ok(root)
        };
        let unpack = || super::unpack_into(&place, "some", fetch);
        thread::scope(|scope| {
            for thread in [scope.spawn(unpack), scope.spawn(unpack)] {
                let root = thread.join().unwrap().unwrap();
                assert!(root == place.join("some") && root.join("usr").is_dir());
            }
        });
        let left: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["some"]);
        fs::remove_dir_all(place).unwrap();
    }
}
