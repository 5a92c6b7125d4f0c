use super::*;

use std::time::Duration;

const STCP: Voice = Voice::One(StartMode::Stcp);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn set(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn file(path: &Path, voice: Voice) -> BlockedFile {
    BlockedFile::new(path.into(), voice, TimeZone::UTC)
}

fn enter(file: &mut BlockedFile, name: &str, address: &str, now: u64) {
    let host = Host { name, address: ip(address) };
    let time = Wall(Duration::from_secs(1_795_226_889));
    file.append(time, host, Protocol::Tcp, 111, Mono(Duration::from_secs(now)));
}

/// PortSentry 1.2, measured.
const LINE: &str = "1795226889 - 11/21/2026 02:08:09 Host: 10.77.0.1/10.77.0.1 Port: 111 TCP Blocked\n";

#[test]
fn each_mode_of_one_has_its_own_file() {
    let path = blocked_path(Path::new("/var/lib/portsentry/portsentry.blocked"), StartMode::Atcp);
    assert_eq!(path, Path::new("/var/lib/portsentry/portsentry.blocked.atcp"));
}

#[test]
fn entries_are_those_that_were_measured() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("one");
    let mut one = file(&path, STCP);
    assert_eq!(one.read().unwrap(), Held::default());
    enter(&mut one, "10.77.0.1", "10.77.0.1", 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), LINE);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);

    let path = place.path().join("two");
    let mut two = file(&path, Voice::Two);
    enter(&mut two, "10.77.0.1", "10.77.0.1", 0);
    enter(&mut two, "fd77::1", "fd77::1", 0);
    let bytes = fs::read(&path).unwrap();
    if cfg!(target_endian = "little") {
        // PortSentry 2.x, measured.
        assert_eq!(bytes[..6], [0x02, 0x00, 0x0a, 0x4d, 0x00, 0x01]);
        assert_eq!(bytes[6..10], [0x0a, 0x00, 0xfd, 0x77]);
    }
    assert_eq!(bytes.len(), 6 + 18);
    assert_eq!(two.read().unwrap().addresses, set(&["10.77.0.1", "fd77::1"]));
    assert!(one.take_notices().is_empty() && two.take_notices().is_empty());
}

#[test]
fn a_restart_keeps_every_entry_and_repeats_none() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("blocked.stcp");
    enter(&mut file(&path, STCP), "10.77.0.1", "10.77.0.1", 0);
    let mut again = file(&path, STCP);
    again.prepare(Mono::default());
    assert_eq!(again.read().unwrap().addresses, set(&["10.77.0.1"]));
    for address in ["10.77.0.1", "10.77.0.2", "10.77.0.2"] {
        enter(&mut again, "x", address, 0);
    }
    assert_eq!(again.read().unwrap().addresses, set(&["10.77.0.1", "10.77.0.2"]));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    // Taken out, it may come in again.
    again.remove(&set(&["10.77.0.2"])).unwrap();
    enter(&mut again, "x", "10.77.0.2", 0);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    // Also without a first look at the file.
    enter(&mut file(&path, STCP), "x", "10.77.0.1", 0);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
}

#[test]
fn a_host_that_waits_for_the_disk_is_not_one_that_was_taken_out() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("blocked");
    let mut one = file(&path, STCP);
    fs::create_dir(&path).unwrap();
    enter(&mut one, "x", "10.77.0.1", 0);
    fs::remove_dir(&path).unwrap();
    assert!(one.changed());
    assert_eq!(one.read().unwrap().addresses, set(&["10.77.0.1"]));
}

#[test]
fn a_file_of_the_other_version_is_read_and_goes_on_in_its_form() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("text");
    fs::write(&path, LINE).unwrap();
    let mut two = file(&path, Voice::Two);
    two.prepare(Mono::default());
    enter(&mut two, "10.77.0.1", "10.77.0.2", 0);
    let second = LINE.replace("/10.77.0.1", "/10.77.0.2");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{LINE}{second}"));
    let says = format!(
        "{} has the text of PortSentry 1.x, though this runs as 2.x; its hosts are read and it goes on in that form",
        path.display()
    );
    assert_eq!(two.take_notices(), [Notice::Note(says)]);

    let path = place.path().join("records");
    fs::write(&path, record(ip("10.77.0.1"))).unwrap();
    let mut one = file(&path, STCP);
    one.prepare(Mono::default());
    let held = one.read().unwrap();
    assert_eq!((held.addresses, held.notices.len()), (set(&["10.77.0.1"]), 1));
    enter(&mut one, "x", "10.77.0.2", 0);
    assert_eq!(fs::read(&path).unwrap(), [record(ip("10.77.0.1")), record(ip("10.77.0.2"))].concat());
}

#[test]
fn odd_lines_are_named_kept_and_passed_over() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("blocked");
    fs::write(&path, format!("{LINE}# mine \x1b\n")).unwrap();
    let mut one = file(&path, STCP);
    // A control character makes it no line: what follows cannot be told from a torn record.
    assert_eq!(one.read().unwrap().notices.len(), 1);
    fs::write(&path, format!("# mine\n{LINE}{}", "x\n".repeat(10))).unwrap();
    let held = one.read().unwrap();
    assert_eq!(held.addresses, set(&["10.77.0.1"]));
    assert_eq!(held.notices.len(), NAMED + 1);
    assert!(held.notices[0].contains("\"# mine\""), "{:?}", held.notices);
    assert!(held.notices[NAMED].ends_with("6 more such lines"));
    assert_eq!(one.remove(&set(&["10.77.0.1"])).unwrap(), 1);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("# mine\n{}", "x\n".repeat(10)));
}

#[test]
fn nothing_is_written_behind_a_torn_record() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("blocked");
    let whole = record(ip("10.77.0.1"));
    let torn = [&whole[..], &record(ip("fd77::1"))[..7]].concat();
    fs::write(&path, &torn).unwrap();
    let mut two = file(&path, Voice::Two);
    let held = two.read().unwrap();
    let says = format!("{}: the last 7 bytes are no whole record; they are passed over", path.display());
    assert_eq!((held.addresses, held.notices), (set(&["10.77.0.1"]), vec![says]));
    assert_eq!(fs::read(&path).unwrap(), torn, "reading changes nothing");
    enter(&mut two, "x", "10.77.0.2", 0);
    assert_eq!(fs::read(&path).unwrap(), [whole, record(ip("10.77.0.2"))].concat());
    assert_eq!(fs::read(place.path().join("blocked.damaged")).unwrap(), torn);
    assert!(!two.changed());
}

#[test]
fn taking_hosts_out_leaves_the_rest_its_mode_and_its_owner() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("blocked");
    let other = LINE.replace("10.77.0.1 Port", "110.77.0.1 Port");
    fs::write(&path, format!("{LINE}{other}{LINE}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let mut one = file(&path, STCP);
    assert_eq!(one.remove(&set(&["10.77.0.1", "192.0.2.1"])).unwrap(), 2);
    assert_eq!(fs::read_to_string(&path).unwrap(), other);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o604);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left aside");
    assert!(!one.changed(), "it was us");
    assert_eq!(one.remove(&set(&["10.77.0.1"])).unwrap(), 0);
    assert_eq!(file(&place.path().join("none"), STCP).remove(&set(&["10.77.0.1"])).unwrap(), 0);
    // A line goes on being appended to the new file.
    enter(&mut one, "10.77.0.1", "10.77.0.1", 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), other + LINE);
}

#[test]
fn a_host_that_waits_for_the_disk_can_be_taken_out_too() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("blocked");
    fs::create_dir(&path).unwrap();
    let mut one = file(&path, STCP);
    enter(&mut one, "x", "10.77.0.1", 0);
    enter(&mut one, "10.77.0.1", "10.77.0.2", 0);
    assert!(one.remove(&set(&["10.77.0.1"])).is_err(), "a directory");
    fs::remove_dir(&path).unwrap();
    one.tick(Mono(Duration::from_secs(1)));
    assert_eq!(one.read().unwrap().addresses, set(&["10.77.0.2"]));
}

#[test]
fn an_administrators_change_is_noticed_and_our_own_is_none() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("blocked");
    let mut one = file(&path, STCP);
    enter(&mut one, "x", "10.77.0.1", 0);
    enter(&mut one, "x", "10.77.0.2", 0);
    one.read().unwrap();
    assert!(!one.changed());
    // sed -i: another file under the same name. A line of ours in between hides nothing.
    let kept = fs::read_to_string(&path).unwrap().lines().nth(1).unwrap().to_owned() + "\n";
    fs::write(place.path().join("sed"), kept).unwrap();
    fs::rename(place.path().join("sed"), &path).unwrap();
    enter(&mut one, "x", "10.77.0.3", 0);
    assert!(one.changed());
    assert!(one.changed(), "until it is read");
    assert_eq!(one.read().unwrap().addresses, set(&["10.77.0.2", "10.77.0.3"]));
    assert!(!one.changed());
    fs::remove_file(&path).unwrap();
    assert!(one.changed());
    assert_eq!(one.read().unwrap(), Held::default());
    enter(&mut one, "x", "10.77.0.1", 0);
    assert_eq!(one.read().unwrap().addresses, set(&["10.77.0.1"]));
}
