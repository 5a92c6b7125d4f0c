use super::*;

use std::os::unix::fs::{chown, symlink};

use testbed::{Namespace, rights};

fn at(seconds: u64) -> Mono {
    Mono(Duration::from_secs(seconds))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn line(file: &mut AppendOnly, text: &str, now: u64) {
    file.append(format!("{text}\n").into_bytes(), Holds::Lines, at(now));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn fault(file: &mut AppendOnly) -> String {
    match file.take_notices().as_slice() {
        [Notice::Fault(text)] => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_and_its_directories_are_made_with_their_modes() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("var/lib/portsentry/history");
    let mut file = AppendOnly::new(path.clone(), 0o600);
    line(&mut file, "one", 0);
    line(&mut file, "two", 0);
    assert_eq!(text(&path), "one\ntwo\n");
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o755));
    assert!(file.take_notices().is_empty() && file.due().is_none());
}

#[test]
fn what_stands_there_stays_and_a_torn_line_is_ended() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("history");
    fs::write(&path, "old\ntorn").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let mut file = AppendOnly::new(path.clone(), 0o600);
    file.prepare(at(0));
    assert_eq!(text(&path), "old\ntorn");
    line(&mut file, "new", 0);
    line(&mut file, "newer", 0);
    assert_eq!((text(&path).as_str(), mode(&path)), ("old\ntorn\nnew\nnewer\n", 0o640));
}

#[test]
fn a_file_that_was_rotated_away_is_begun_anew() {
    let place = tempfile::tempdir().unwrap();
    let (path, old) = (place.path().join("history"), place.path().join("history.1"));
    let mut file = AppendOnly::new(path.clone(), 0o644);
    line(&mut file, "one", 0);
    fs::rename(&path, &old).unwrap();
    // Noticed after a second at the latest, or when told.
    line(&mut file, "two", 1);
    assert_eq!((text(&old).as_str(), text(&path).as_str()), ("one\n", "two\n"));
    fs::rename(&path, &old).unwrap();
    file.reopen();
    line(&mut file, "three", 1);
    fs::remove_file(&path).unwrap();
    line(&mut file, "four", 2);
    assert_eq!((text(&old).as_str(), text(&path).as_str()), ("two\n", "four\n"));
}

#[test]
fn nobody_can_have_another_file_written() {
    if rights().is_none() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let open_to_all = place.path().join("tmp");
    fs::create_dir(&open_to_all).unwrap();
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o1777)).unwrap();
    let victim = place.path().join("shadow");
    fs::write(&victim, "secret\n").unwrap();
    let path = open_to_all.join("portsentry.blocked");

    for (trap, said) in [
        ("link", "symbolic link in a directory where others may make one"),
        ("dangling", "symbolic link in a directory where others may make one"),
        ("hard", "it has 2 names (hard links)"),
        ("owner", "it belongs to user 65534"),
        ("fifo", "no regular file"),
    ] {
        match trap {
            "link" => symlink(&victim, &path).unwrap(),
            "dangling" => symlink(place.path().join("nothing"), &path).unwrap(),
            "hard" => fs::hard_link(&victim, &path).unwrap(),
            "owner" => {
                fs::write(&path, "").unwrap();
                chown(&path, Some(65534), None).unwrap();
            }
            _ => assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success()),
        }
        let mut file = AppendOnly::new(path.clone(), 0o644);
        line(&mut file, "one", 0);
        let why = fault(&mut file);
        assert!(why.contains(said) && why.starts_with(path.to_str().unwrap()), "{trap}: {why}");
        assert_eq!(text(&victim), "secret\n", "{trap}");
        assert!(!place.path().join("nothing").exists());
        // Said once; when it is mended, nothing is missing.
        file.tick(Holds::Lines, at(1));
        assert!(file.take_notices().is_empty(), "{trap}");
        fs::remove_file(&path).unwrap();
        file.tick(Holds::Lines, file.due().expect("a line waits"));
        let said = Notice::Note(format!("{} is written again; nothing is missing", path.display()));
        assert_eq!(file.take_notices(), [said], "{trap}");
        assert_eq!(text(&path), "one\n");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_link_that_only_root_can_have_made_is_followed() {
    let place = tempfile::tempdir().unwrap();
    let (path, target) = (place.path().join("history"), place.path().join("elsewhere"));
    fs::write(&target, "old\n").unwrap();
    symlink(&target, &path).unwrap();
    let mut file = AppendOnly::new(path.clone(), 0o644);
    line(&mut file, "new", 0);
    assert_eq!(text(&target), "old\nnew\n");
    fs::remove_file(&target).unwrap();
    line(&mut file, "newer", 5);
    assert!(fault(&mut file).contains("symbolic link that leads nowhere"));
}

#[test]
fn lines_wait_for_a_full_disk_and_none_is_torn_or_lost() {
    let Some(inside) = Namespace::with_mounts() else { return };
    inside.run(&["mkdir", "/var/small"]);
    inside.run(&["mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", "/var/small"]);
    let path = Path::new("/var/small/history");
    // 100 bytes a line, so that the last one that fits is cut in the middle.
    let text_of = |number: usize| format!("{number:099}");
    let mut file = AppendOnly::new(path.into(), 0o644);
    inside.enter(|| {
        for number in 0..60 {
            line(&mut file, &text_of(number), 0);
        }
        assert_eq!(fs::metadata(path).unwrap().len(), 4096, "a part of a line fits");
        let why = fault(&mut file);
        assert!(why.contains("No space left on device"), "{why}");
        file.tick(Holds::Lines, at(1));
        assert!(file.take_notices().is_empty(), "said once");
        assert_eq!(file.waiting().len(), 20);
    });
    inside.run(&["mount", "-o", "remount,size=1m", "/var/small"]);
    inside.enter(|| {
        file.tick(Holds::Lines, at(2));
        let expected: String = (0..60).map(|number| text_of(number) + "\n").collect();
        assert_eq!(text(path), expected);
        assert!(matches!(file.take_notices().as_slice(), [Notice::Note(said)] if said.ends_with("nothing is missing")));
    });
}

#[test]
fn what_is_cut_by_a_full_disk_is_written_as_a_whole_into_a_new_file() {
    let Some(inside) = Namespace::with_mounts() else { return };
    inside.run(&["mkdir", "/var/small"]);
    inside.run(&["mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", "/var/small"]);
    let path = Path::new("/var/small/history");
    inside.enter(|| {
        let mut file = AppendOnly::new(path.into(), 0o644);
        line(&mut file, &"a".repeat(4000), 0);
        line(&mut file, &"b".repeat(200), 0);
        fs::remove_file(path).unwrap();
        file.tick(Holds::Lines, at(1));
        assert_eq!(text(path), "b".repeat(200) + "\n");
    });
}

#[test]
fn what_waits_is_bounded_and_what_is_missing_is_said() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("blocked");
    fs::create_dir(&path).unwrap();
    let mut file = AppendOnly::new(path.clone(), 0o644);
    for number in 0..UNWRITTEN + 7 {
        line(&mut file, &number.to_string(), 0);
    }
    assert_eq!(file.waiting().len(), UNWRITTEN);
    let why = fault(&mut file);
    assert!(why.contains("Is a directory"), "{why}");
    fs::remove_dir(&path).unwrap();
    file.tick(Holds::Lines, at(1));
    assert_eq!(text(&path).lines().count(), UNWRITTEN);
    let said = format!("{} is written again; 7 lines are missing", path.display());
    assert_eq!(file.take_notices(), [Notice::Note(said)]);
}
