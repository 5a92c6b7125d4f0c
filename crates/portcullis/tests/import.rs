//! `import` as a program: what goes where, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

const OLD: &str =
    "TCP_PORTS=\"1,11,15\"\nUDP_PORTS=\"1,7\"\nBLOCK_TCP=\"1\"\nBLOCK_UDP=\"1\"\nSCAN_TRIGGER=\"2\"\n";

fn import(directory: &Path, words: &[&str]) -> (i32, String, String) {
    run(directory, &[&["import", "portsentry"], words].concat())
}

fn run(directory: &Path, words: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_portcullis")).args(words).current_dir(directory).output().unwrap();
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
fn a_directory_that_is_missing_is_named_with_what_makes_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("old.conf"), OLD).unwrap();
    let (code, _, error) = import(directory.path(), &["old.conf", "-o", "etc/new/new.toml"]);
    assert!(code == 1 && error.contains("mkdir -p etc/new\n"), "{error}");
    fs::create_dir_all(directory.path().join("etc/new")).unwrap();
    assert_eq!(import(directory.path(), &["old.conf", "-o", "etc/new/new.toml"]).0, 0);
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

const KNOCKD: &str = "[options]\n\tUseSyslog\n[openSSH]\n\tsequence = 7000,9000,8000\n\ttcpflags = syn\n\
    \tstart_command = /sbin/iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\tcmd_timeout = 20\n\
    \tstop_command = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n";

#[test]
fn a_knockd_conf_is_checked_and_becomes_doors_that_check_explains() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("knockd.conf"), KNOCKD).unwrap();
    let (code, said, error) = run(directory.path(), &["check", "knockd.conf"]);
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("Door        openSSH") && said.contains("portcullis import knockd"), "{said}");

    let (code, _, report) = run(directory.path(), &["import", "knockd", "knockd.conf", "-o", "new.toml"]);
    assert_eq!(code, 0, "{report}");
    assert!(
        report.contains("knockd.conf:6: [openSSH] start_command: opens = \"tcp/22\" for 20s"),
        "{report}"
    );
    let (code, said, error) = run(directory.path(), &["check", "new.toml"]);
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("Door        openssh (sequence)") && said.contains("shuts tcp/22"), "{said}");
    assert!(!said.contains("7000"), "ports of a knock are not shown around: {said}");

    fs::write(directory.path().join("knockd.conf"), KNOCKD.replace("8000", "80000")).unwrap();
    let (code, said, _) = run(directory.path(), &["check", "knockd.conf"]);
    assert!(code == 4 && said.contains("knockd.conf:4:23: fault: port 80000 is invalid"), "{said}");
    let (code, _, error) = run(directory.path(), &["import", "knockd", "knockd.conf"]);
    assert!(code == 4 && error.contains("1 of the old settings could not be understood"), "{error}");
}

#[test]
fn keys_of_fwknop_go_into_closed_files_where_the_user_says_and_nowhere_else() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let access = "SOURCE ANY\nOPEN_PORTS tcp/22\nKEY_BASE64 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\
                  HMAC_KEY a-s3cret-of-many-bytes\n";
    fs::write(at("access.conf"), access).unwrap();
    let (code, toml, report) = run(directory.path(), &["import", "fwknop", "access.conf"]);
    assert_eq!(code, 0, "{report}");
    assert!(toml.contains("users = \"/etc/portcullis/fwknop.access\""), "{toml}");
    assert!(report.contains("the keys were written nowhere"), "{report}");

    // Nothing is left behind where one of the two cannot be written.
    fs::create_dir(at("keys")).unwrap();
    let words = ["import", "fwknop", "access.conf", "--keys", "keys", "-o", "new.toml"];
    fs::write(at("new.toml"), "mine").unwrap();
    let (code, _, error) = run(directory.path(), &words);
    assert!(code == 1 && error.contains("new.toml exists already"), "{error}");
    assert!(!at("keys/fwknop.access").exists());
    fs::remove_file(at("new.toml")).unwrap();

    let (code, printed, report) = run(directory.path(), &words);
    assert_eq!(code, 0, "{report}");
    for shown in [toml, printed, report, fs::read_to_string(at("new.toml")).unwrap()] {
        assert!(!shown.contains("AAECAw") && !shown.contains("s3cret"), "{shown}");
    }
    let file = at("keys/fwknop.access");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&file).unwrap().contains("HMAC_KEY a-s3cret-of-many-bytes\n"));
    let (code, said, error) = run(directory.path(), &["check", "new.toml"]);
    assert!(code == 0 && said.contains("Door        fwknop (spa)"), "{said}{error}");

    // Keys in use are never overwritten.
    let (code, _, error) = run(directory.path(), &[&words[..5], &["-o", "other.toml"]].concat());
    assert!(code == 1 && error.contains("never overwritten") && !at("other.toml").exists(), "{error}");
}
