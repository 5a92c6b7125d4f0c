//! The name `portsentry`: a link of alternatives, unless it is the distribution's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::{PROGRAM, packaged};

fn alternatives(root: &Path, verb: &str) -> (bool, String) {
    let output =
        Command::new("sh").arg(packaged("alternatives.sh")).arg(verb).env("ROOT", root).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let directories = [
        "usr/bin",
        "usr/sbin",
        "usr/share/portcullis",
        "etc/init.d",
        "etc/alternatives",
        "var/lib/alternatives",
    ];
    for directory in directories {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    symlink(PROGRAM, root.path().join("usr/bin/portcullis")).unwrap();
    fs::copy(packaged("portsentry.init"), root.path().join("usr/share/portcullis/portsentry.init")).unwrap();
    root
}

#[test]
fn the_name_leads_to_us_and_goes_with_us() {
    if !testbed::is_installed("update-alternatives") {
        return;
    }
    let root = root();
    for _ in ["once", "and again at the next version"] {
        let (is_done, said) = alternatives(root.path(), "install");
        assert!(is_done, "{said}");
    }
    let name = root.path().join("usr/sbin/portsentry");
    let output = Command::new(&name).arg("-V").output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).starts_with("Portsentry 2.0.7 (portcullis "),
        "{output:?}"
    );
    let init = fs::read_to_string(root.path().join("etc/init.d/portsentry")).unwrap();
    assert!(init.contains("# Provides:          portsentry"));

    let (is_done, said) = alternatives(root.path(), "remove");
    assert!(is_done, "{said}");
    assert!(!name.exists() && !root.path().join("etc/init.d/portsentry").exists());
}

#[test]
fn a_missing_file_is_a_fault_that_says_what_to_install() {
    for file in ["usr/bin/portcullis", "usr/share/portcullis/portsentry.init"] {
        let root = root();
        fs::remove_file(root.path().join(file)).unwrap();
        let (is_done, said) = alternatives(root.path(), "install");
        assert!(!is_done && said.contains(&format!("{file}; install it")), "{said}");
        assert!(said.contains("install -D -m 755"), "{said}");
        assert_eq!(fs::read_dir(root.path().join("etc/alternatives")).unwrap().count(), 0);
    }
}

#[test]
fn the_distributions_own_files_are_left_alone() {
    if !testbed::is_installed("update-alternatives") {
        return;
    }
    for name in ["usr/sbin/portsentry", "etc/init.d/portsentry"] {
        let root = root();
        let theirs = root.path().join(name);
        fs::write(&theirs, "theirs").unwrap();
        let (is_done, said) = alternatives(root.path(), "install");
        assert!(is_done && said.contains("another package's"), "{said}");
        let (is_done, said) = alternatives(root.path(), "remove");
        assert!(is_done, "{said}");
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        assert_eq!(fs::read_dir(root.path().join("etc/alternatives")).unwrap().count(), 0);
    }
}

#[test]
fn the_distributions_package_may_come_and_go_after_us() {
    if !testbed::is_installed("update-alternatives") {
        return;
    }
    let root = root();
    assert!(alternatives(root.path(), "install").0);
    let name = root.path().join("usr/sbin/portsentry");
    // dpkg puts its file in the place of our link.
    fs::remove_file(&name).unwrap();
    fs::write(&name, "theirs").unwrap();
    assert!(alternatives(root.path(), "install").0);
    assert_eq!(fs::read_to_string(&name).unwrap(), "theirs");
    fs::remove_file(&name).unwrap();
    assert!(alternatives(root.path(), "install").0);
    assert!(fs::symlink_metadata(&name).unwrap().is_symlink());
    fs::remove_file(&name).unwrap();
    fs::write(&name, "theirs").unwrap();
    let (is_done, said) = alternatives(root.path(), "remove");
    assert!(is_done, "{said}");
    assert_eq!(fs::read_to_string(&name).unwrap(), "theirs");
}
