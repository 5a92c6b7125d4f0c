use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::thread;

use proptest::prelude::*;
use testbed::{Namespace, has};

use super::*;

/// The file at `path`, with a lock that nobody else knows but who asks for the same path.
fn at(path: PathBuf) -> HostsDeny {
    let mut lock = path.clone().into_os_string();
    lock.push(".lock");
    HostsDeny::new(path, lock.into())
}

/// A file with this content in a directory of its own.
fn file(content: &str) -> (tempfile::TempDir, HostsDeny) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("hosts.deny");
    fs::write(&path, content).unwrap();
    (place, at(path))
}

fn content(file: &HostsDeny) -> String {
    fs::read_to_string(file.path()).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether TCP wrappers shut this client out; they read the files of the directory they are started in.
fn is_denied(place: &Path, client: &str) -> bool {
    for (name, text) in [("hosts.allow", ""), ("inetd.conf", "sshd stream tcp nowait root /bin/true sshd\n")]
    {
        fs::write(place.join(name), text).unwrap();
    }
    let mut command = std::process::Command::new("/usr/sbin/tcpdmatch");
    command.args(["-d", "-i", "inetd.conf", "sshd", client]).current_dir(place);
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    match printed.lines().find_map(|line| line.strip_prefix("access:")).map(str::trim) {
        Some("denied") => true,
        Some("granted") => false,
        _ => panic!("{printed}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[test]
fn a_template_becomes_a_line_that_tcp_wrappers_understand() {
    let subject = |address: &str| Subject { address: address.parse().unwrap(), port: 79, mode: "atcp" };
    for (template, host, line) in [
        ("ALL: $TARGET$", "10.0.0.1", "ALL: 10.0.0.1"),
        ("ALL: $TARGET$ : DENY", "fd77::1", "ALL: [fd77::1] : DENY"),
        ("ALL: [$TARGET$]", "fd77::1", "ALL: [fd77::1]"),
        ("ALL: $TARGET$ # $MODE$ $PORT$", "10.0.0.1", "ALL: 10.0.0.1 # atcp 79"),
    ] {
        assert_eq!(expand(template, &subject(host)), line);
    }
}

#[test]
fn a_line_is_put_in_once_and_behind_whole_lines() {
    for (before, after) in [
        ("", "ALL: 10.0.0.1\n"),
        ("ALL: 10.0.0.2\n", "ALL: 10.0.0.2\nALL: 10.0.0.1\n"),
        ("ALL: 10.0.0.2", "ALL: 10.0.0.2\nALL: 10.0.0.1\n"),
        ("ALL: 10.0.0.2\r\n", "ALL: 10.0.0.2\r\nALL: 10.0.0.1\n"),
        // A backslash would make it a part of the line before.
        ("ALL: 10.0.0.2 \\\n", "ALL: 10.0.0.2 \\\n\nALL: 10.0.0.1\n"),
        ("ALL: 10.0.0.2 \\", "ALL: 10.0.0.2 \\\n\nALL: 10.0.0.1\n"),
        // What is a part of a line, or of a longer one, is not the line.
        ("sshd: 10.0.0.2 \\\nALL: 10.0.0.1\n", "sshd: 10.0.0.2 \\\nALL: 10.0.0.1\nALL: 10.0.0.1\n"),
        ("ALL: 10.0.0.11\n#ALL: 10.0.0.1\n", "ALL: 10.0.0.11\n#ALL: 10.0.0.1\nALL: 10.0.0.1\n"),
    ] {
        let (_place, file) = file(before);
        assert_eq!(file.append("ALL: 10.0.0.1").unwrap(), Appended::New, "{before:?}");
        assert_eq!(content(&file), after);
        assert_eq!(file.append("ALL: 10.0.0.1").unwrap(), Appended::AlreadyThere, "{before:?}");
        assert_eq!(content(&file), after);
    }
    for before in ["ALL: 10.0.0.1", "ALL: 10.0.0.1  \r\nx\n"] {
        let (_place, file) = file(before);
        assert_eq!(file.append("ALL: 10.0.0.1").unwrap(), Appended::AlreadyThere);
        assert_eq!(content(&file), before);
    }
}

#[test]
fn a_missing_file_is_made_for_everybody_to_read() {
    let place = tempfile::tempdir().unwrap();
    let file = at(place.path().join("hosts.deny"));
    assert_eq!(file.remove("ALL: 10.0.0.1").unwrap(), 0);
    assert!(!file.path().exists());
    file.append("ALL: 10.0.0.1").unwrap();
    assert_eq!(content(&file), "ALL: 10.0.0.1\n");
    assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o7777, 0o644);
}

#[test]
fn what_is_no_line_is_refused() {
    let (_place, file) = file("");
    let long = "x".repeat(2047);
    for line in ["", " ", "ALL: 10.0.0.1\nALL: ALL", "a\rb", "a\0b", "ALL: 10.0.0.1 \\", &long] {
        let error = file.append(line).unwrap_err();
        assert!(matches!(error, HostsDenyError::NotALine { .. }), "{line:?}: {error}");
    }
    assert_eq!(content(&file), "");
}

#[test]
fn the_lines_of_a_host_are_taken_out_and_no_others() {
    let ours = [
        "ALL: 10.0.0.1",
        "ALL: 10.0.0.1 : DENY",
        "ALL: 10.0.0.1 # Portsentry blocked",
        "ALL:10.0.0.1\r",
        "  all : 10.0.0.1 : deny  ",
    ];
    let others = [
        "ALL: 10.0.0.11",
        "ALL: 10.0.0.",
        "ALL: 10.0.0.1 10.0.0.2",
        "ALL: 10.0.0.1, 10.0.0.2 : DENY",
        "ALL: 10.0.0.1/24",
        "ALL: 10.0.0.1 : ALLOW",
        "ALL: 10.0.0.1 : spawn (mail root)",
        "ALL: 10.0.0.1#x",
        "ALL EXCEPT sshd: 10.0.0.1",
        "sshd: 10.0.0.1",
        "# ALL: 10.0.0.1",
        "ALL: 10.0.0.2 \\",
        "ALL: 10.0.0.1",
        "",
        "ALL: ALL",
    ];
    let (_place, file) = file(&format!("{}\n{}", ours.join("\n"), others.join("\n")));
    assert_eq!(file.remove_host(address("10.0.0.1")).unwrap(), ours.len());
    assert_eq!(content(&file), others.join("\n"));
    assert_eq!(file.remove_host(address("10.0.0.1")).unwrap(), 0);
    for line in ["ALL: [fd77::1]", "ALL: fd77:0::1 : DENY", "ALL: [FD77::1] # x"] {
        file.append(line).unwrap();
    }
    assert_eq!(file.remove_host(address("fd77::1")).unwrap(), 3);
    assert_eq!(content(&file), format!("{}\n", others.join("\n")));
    assert_eq!(file.remove(" sshd: 10.0.0.1").unwrap(), 1);
    assert!(!content(&file).contains("\nsshd: "));
}

#[test]
fn mode_link_and_attributes_are_kept() {
    let (place, file) = file("ALL: 10.0.0.1\nALL: 10.0.0.2\n");
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
    let is_root = portcullis_sys::people::own_user() == 0;
    if is_root {
        std::os::unix::fs::chown(file.path(), Some(7), Some(8)).unwrap();
    }
    // Stands for the SELinux label, which only a kernel with SELinux takes.
    let has_attributes =
        rustix::fs::setxattr(file.path(), "user.label", b"etc_t", rustix::fs::XattrFlags::empty()).is_ok();
    let link = place.path().join("link");
    symlink("hosts.deny", &link).unwrap();
    let linked = HostsDeny::new(link.clone(), place.path().join("etc.lock"));
    linked.append("ALL: 10.0.0.3").unwrap();
    assert_eq!(linked.remove_host(address("10.0.0.2")).unwrap(), 1);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(content(&file), "ALL: 10.0.0.1\nALL: 10.0.0.3\n");
    let data = fs::metadata(file.path()).unwrap();
    assert_eq!(data.permissions().mode() & 0o7777, 0o640);
    if is_root {
        assert_eq!((data.uid(), data.gid()), (7, 8));
    }
    if has_attributes {
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(file.path(), "user.label", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"etc_t");
    }
    let names: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    // Nothing beside them but the lock.
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn a_link_that_leads_nowhere_yet_is_followed() {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("hosts.deny");
    symlink("elsewhere", &link).unwrap();
    at(link).append("ALL: 10.0.0.1").unwrap();
    assert_eq!(fs::read_to_string(place.path().join("elsewhere")).unwrap(), "ALL: 10.0.0.1\n");
}

#[test]
fn where_a_file_cannot_be_replaced_its_line_becomes_a_comment() {
    let (place, file) = file("ALL: 10.0.0.1\nALL: 10.0.0.2\nALL: 10.0.0.1 : DENY");
    fs::hard_link(file.path(), place.path().join("other")).unwrap();
    assert_eq!(file.remove_host(address("10.0.0.1")).unwrap(), 2);
    assert_eq!(content(&file), "#LL: 10.0.0.1\nALL: 10.0.0.2\n#LL: 10.0.0.1 : DENY");
    assert_eq!(fs::read_to_string(place.path().join("other")).unwrap(), content(&file));
    assert_eq!(file.remove_host(address("10.0.0.1")).unwrap(), 0);
}

#[test]
fn what_a_crash_left_behind_is_no_hindrance() {
    let (place, file) = file("ALL: 10.0.0.1\n");
    fs::write(place.path().join(".hosts.deny.portcullis"), "half a").unwrap();
    assert_eq!(file.remove("ALL: 10.0.0.1").unwrap(), 1);
    assert_eq!(content(&file), "");
    assert!(!place.path().join(".hosts.deny.portcullis").exists());
}

#[test]
fn what_is_no_file_is_refused_and_hangs_nobody() {
    let place = tempfile::tempdir().unwrap();
    let pipe = place.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for path in [pipe, "/dev/null".into()] {
        let error = at(path).append("ALL: 10.0.0.1").unwrap_err();
        assert!(matches!(error, HostsDenyError::NotAFile { .. }), "{error}");
    }
    let missing = HostsDeny::new(place.path().join("no/hosts.deny"), place.path().join("lock"));
    let error = missing.append("ALL: 10.0.0.1").unwrap_err().to_string();
    assert!(error.ends_with("make its directory"), "{error}");
}

#[test]
fn a_lock_that_is_never_given_back_is_said() {
    let (_place, file) = file("");
    let held = File::create(&file.lock).unwrap();
    held.lock().unwrap();
    let error = file.append("ALL: 10.0.0.1").unwrap_err();
    assert!(error.to_string().contains("another process has held its lock for 5 s"), "{error}");
    held.unlock().unwrap();
    file.append("ALL: 10.0.0.1").unwrap();
}

/// Who may read a file may lock it, and everybody may read hosts.deny.
#[test]
fn a_strangers_lock_holds_up_nobody() {
    let (place, _) = file("");
    let path = place.path().join("hosts.deny");
    let ours = HostsDeny::new(path.clone(), place.path().join("run/hosts.deny.lock"));
    let held = File::open(&path).unwrap();
    held.lock().unwrap();
    let begun = Instant::now();
    ours.append("ALL: 10.0.0.1").unwrap();
    assert_eq!(ours.remove("ALL: 10.0.0.1").unwrap(), 1);
    assert!(begun.elapsed() < LOCKED_FOR);
    let mode = fs::metadata(&ours.lock).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody but root can open it, and so nobody can lock it");
}

#[test]
fn many_at_once_lose_and_double_nothing() {
    let (_place, file) = file("# kept");
    let workers = 4;
    thread::scope(|scope| {
        for worker in 0..workers {
            let file = &file;
            scope.spawn(move || {
                for number in 0..50 {
                    // Common to all, one's own, and one that comes and goes.
                    file.append(&format!("ALL: 10.0.0.{number}")).unwrap();
                    file.append(&format!("ALL: 10.1.{worker}.{number}")).unwrap();
                    file.append(&format!("ALL: 10.2.{worker}.{number}")).unwrap();
                    let gone = address(&format!("10.2.{worker}.{number}"));
                    assert_eq!(file.remove_host(gone).unwrap(), 1);
                }
            });
        }
    });
    let content = content(&file);
    let mut lines: Vec<_> = content.lines().collect();
    assert_eq!(lines.len(), 1 + 50 + workers * 50, "{content}");
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 1 + 50 + workers * 50);
    assert!(!content.contains("10.2."));
}

/// More time than a loaded machine needs.
const WITHIN: Duration = Duration::from_secs(30);

/// Tells a copy of this test that it is to work, and on which file.
const WORK_ON: &str = "PORTCULLIS_TEST_HOSTS_DENY";

#[test]
fn killed_at_any_moment_it_costs_no_line() {
    if let Ok(path) = std::env::var(WORK_ON) {
        let file = at(path.into());
        // It is killed long before; but if the test fails it must not go on for ever.
        let end = Instant::now() + WITHIN;
        for number in (0..).take_while(|_| Instant::now() < end) {
            let gone = address(&format!("10.1.{}.{}", std::process::id() % 250, number % 250));
            file.append(&format!("ALL: {gone}")).unwrap();
            file.remove_host(gone).unwrap();
        }
        return;
    }
    let kept: String =
        (0..500).map(|number| format!("sshd: 10.9.{}.{}\n", number / 250, number % 250)).collect();
    let (place, file) = file(&kept);
    let name = thread::current().name().unwrap().to_owned();
    for round in 0..10_u64 {
        let mut workers: Vec<_> = (0..2)
            .map(|_| {
                let mut command = std::process::Command::new(std::env::current_exe().unwrap());
                command.args(["--exact", &name]).env(WORK_ON, file.path());
                command.stdout(std::process::Stdio::null()).spawn().unwrap()
            })
            .collect();
        let start = fs::metadata(file.path()).unwrap().ino();
        testbed::wait_until(WITHIN, "a line that was taken out", || {
            (fs::metadata(file.path()).unwrap().ino() != start).then_some(())
        });
        // Any moment will do.
        let moment = Instant::now() + Duration::from_micros(700 * round);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        for worker in &mut workers {
            worker.kill().unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&worker.wait().unwrap()), Some(9));
        }
        let now = content(&file);
        assert!(now.starts_with(&kept), "round {round}");
        for line in now[kept.len()..].lines() {
            assert!(line.starts_with("ALL: 10.1.") && lines::host_of(line).is_some(), "{line:?}");
        }
        file.append("ALL: 10.0.0.1").unwrap();
        assert_eq!(file.remove_host(address("10.0.0.1")).unwrap(), 1);
    }
    assert!(fs::read_dir(place.path()).unwrap().count() <= 2);
}

#[test]
fn ten_thousand_lines_hold_and_tcp_wrappers_obey_them() {
    if !has(&["tcpdmatch"]) {
        return;
    }
    let many: String =
        (0..10_000).map(|number| format!("ALL: 10.{}.{}.1\n", number / 250, number % 250)).collect();
    let (place, file) = file(&many);
    for line in
        ["ALL: 192.0.2.1", "ALL: [fd77::1]", "ALL: 192.0.2.2 : DENY", "ALL: 192.0.2.3 # Portsentry blocked"]
    {
        file.append(line).unwrap();
    }
    for host in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "fd77::1", "10.39.249.1"] {
        assert!(is_denied(place.path(), host), "{host}");
        assert_eq!(file.remove_host(address(host)).unwrap(), 1);
        assert!(!is_denied(place.path(), host), "{host}");
    }
    assert!(!is_denied(place.path(), "fd77::2"));
    assert!(is_denied(place.path(), "10.39.248.1"));
    assert_eq!(file.append("ALL: 10.20.20.1").unwrap(), Appended::AlreadyThere);
    assert_eq!(content(&file).lines().count(), 9_999);
}

#[test]
fn tcp_wrappers_obey_a_line_behind_whatever_stood_there() {
    if !has(&["tcpdmatch"]) {
        return;
    }
    for before in ["", "sshd: 10.0.0.9", "sshd: 10.0.0.9 \\", "sshd: 10.0.0.9 \\\n", "ALL: 10.0.0.9\r\n"] {
        let (place, file) = file(before);
        file.append("ALL: [fd77::1]").unwrap();
        file.append("ALL: 10.0.0.1").unwrap();
        for (host, expected) in
            [("10.0.0.1", true), ("fd77::1", true), ("10.0.0.2", false), ("fd77::2", false)]
        {
            assert_eq!(is_denied(place.path(), host), expected, "{before:?} {host}");
        }
        file.remove_host(address("10.0.0.1")).unwrap();
        assert!(!is_denied(place.path(), "10.0.0.1"));
        assert!(is_denied(place.path(), "fd77::1"));
    }
}

#[test]
fn a_line_of_the_greatest_length_is_read_whole_and_a_longer_one_is_not() {
    if !has(&["tcpdmatch"]) {
        return;
    }
    let (place, file) = file("");
    let line = format!("ALL: {}10.0.0.1", " ".repeat(2046 - "ALL: 10.0.0.1".len()));
    assert_eq!(line.len(), 2046);
    file.append(&line).unwrap();
    assert!(is_denied(place.path(), "10.0.0.1"));
    assert!(!is_denied(place.path(), "10.0.0.2"));
    // Two bytes more and they cut off the last digit, which leaves the pattern of a whole network.
    fs::write(file.path(), format!("ALL:   {}\n", &line[5..])).unwrap();
    assert!(is_denied(place.path(), "10.0.0.2"));
}

#[test]
fn a_read_only_file_is_said_and_one_mounted_by_itself_is_kept_in_place() {
    let Some(namespace) = Namespace::with_mounts() else { return };
    let (place, file) = file("ALL: 10.0.0.1\nALL: 10.0.0.2\n");
    let path = file.path().to_str().unwrap();
    namespace.run(&["mount", "--bind", path, path]);
    namespace.enter(|| {
        file.append("ALL: 10.0.0.3").unwrap();
        assert_eq!(file.remove_host(address("10.0.0.1")).unwrap(), 1);
    });
    assert_eq!(content(&file), "#LL: 10.0.0.1\nALL: 10.0.0.2\nALL: 10.0.0.3\n");
    namespace.run(&["mount", "-o", "remount,bind,ro", path]);
    namespace.enter(|| {
        for error in [file.append("ALL: 10.0.0.4").unwrap_err(), file.remove("ALL: 10.0.0.2").unwrap_err()] {
            assert!(error.to_string().contains("mount it writable"), "{error}");
        }
        assert_eq!(content(&file), "#LL: 10.0.0.1\nALL: 10.0.0.2\nALL: 10.0.0.3\n");
    });
    drop(place);
}

#[test]
fn a_full_disk_costs_no_line() {
    let Some(namespace) = Namespace::with_mounts() else { return };
    // A page is what tmpfs deals in: the file fills the last one of its file system up to two bytes.
    namespace.run(&["mount", "-t", "tmpfs", "-o", "size=8k", "full", "/var/tmp"]);
    namespace.enter(|| {
        let file = HostsDeny::new("/var/tmp/hosts.deny".into(), "/run/hosts.deny.lock".into());
        let mut full = "ALL: 10.0.0.1\nALL: 10.0.0.2\n".to_owned();
        full.push_str(&"#".repeat(8192 - full.len() - 6));
        fs::write(file.path(), &full).unwrap();
        let error = file.append("ALL: 10.0.0.3").unwrap_err();
        assert!(error.to_string().contains("make room"), "{error}");
        assert_eq!(content(&file), full);
        // There is no room for a copy either.
        assert_eq!(file.remove_host(address("10.0.0.1")).unwrap(), 1);
        assert_eq!(content(&file), full.replacen('A', "#", 1));
        assert_eq!(fs::read_dir("/var/tmp").unwrap().count(), 1);
        fs::write(file.path(), "ALL: 10.0.0.1\nALL: 10.0.0.2\n").unwrap();
        file.append("ALL: 10.0.0.3").unwrap();
        assert_eq!(file.remove_host(address("10.0.0.1")).unwrap(), 1);
        assert_eq!(content(&file), "ALL: 10.0.0.2\nALL: 10.0.0.3\n");
    });
}

proptest! {
    /// Whatever stands in the file: putting in adds one line, and taking out gives back what was there.
    #[test]
    fn in_and_out_leaves_the_rest(before in proptest::collection::vec("(ALL|sshd): (10\\.0\\.0\\.[0-9]|ALL)( : DENY| # x)?( \\\\|\r)?", 0..6), ends in any::<bool>()) {
        let mut before = before.join("\n");
        if ends {
            before.push('\n');
        }
        let (_place, file) = file(&before);
        prop_assert_eq!(file.append("ALL: 192.0.2.9").unwrap(), Appended::New);
        prop_assert!(content(&file).starts_with(&before));
        prop_assert_eq!(file.remove_host(address("192.0.2.9")).unwrap(), 1);
        let after = content(&file);
        prop_assert_eq!(after.trim_end_matches('\n'), before.trim_end_matches('\n'));
    }
}
