//! `import portsentry` as a program: what goes where, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

const OLD: &str =
    "TCP_PORTS=\"1,11,15\"\nUDP_PORTS=\"1,7\"\nBLOCK_TCP=\"1\"\nBLOCK_UDP=\"1\"\nSCAN_TRIGGER=\"2\"\n";

fn import(directory: &Path, words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["import", "portsentry"])
        .args(words)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_configuration_goes_to_standard_output_and_the_report_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("old.conf"), OLD).unwrap();
    let (code, toml, report) = import(directory.path(), &["old.conf"]);
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("old.conf:1: TCP_PORTS"), "{report}");
    let config = portcullis::config::parse(Path::new("new.toml"), &toml).unwrap();
    assert!(config.watch.tcp.contains(11) && !config.watch.tcp.contains(12));

    let (code, whole, _) = import(directory.path(), &["old.conf", "--json"]);
    let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    assert_eq!((code, whole["toml"].as_str().unwrap().trim_end()), (0, toml.trim_end()));
    assert!(!whole["report"].as_array().unwrap().is_empty());
}

#[test]
fn a_file_that_is_there_is_never_written_over() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("old.conf"), OLD).unwrap();
    let (code, printed, report) = import(directory.path(), &["old.conf", "-o", "new.toml"]);
    assert_eq!((code, printed.as_str()), (0, ""));
    assert!(report.contains("Next: portcullis check new.toml"), "{report}");
    let first = fs::read_to_string(directory.path().join("new.toml")).unwrap();
    assert!(first.contains("[watch]"));
    let (code, _, error) = import(directory.path(), &["old.conf", "-o", "new.toml"]);
    assert_eq!(code, 1);
    assert!(error.contains("new.toml exists already"), "{error}");
    assert_eq!(fs::read_to_string(directory.path().join("new.toml")).unwrap(), first);
}

#[test]
fn what_cannot_be_read_or_understood_ends_with_4() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("other.conf"), "listen 80\n").unwrap();
    for file in ["other.conf", "missing.conf"] {
        let (code, printed, error) = import(directory.path(), &[file]);
        assert_eq!((code, printed.as_str()), (4, ""), "{error}");
        assert!(error.contains(file), "{error}");
    }
}
