//! Commands that a door runs: each once, owed to the end, and told when they fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use testbed::wait_until;

use crate::harness::{Guard, PROGRAM, Place, SOON, Said};
use crate::knocks::{RIGHT, enter, guests, knock, wait_until_over};
use crate::shutting::lab;

const GUEST: &str = "10.77.0.1";

const OTHER: &str = "10.77.0.9";

/// A door that only writes down in `ran` what it runs; `more` are lines of its table.
fn writing(place: &Place, more: &str) -> String {
    let ran = place.file("ran");
    let run = |word| format!("[\"/bin/sh\", \"-c\", \"echo {word} %IP% >>{}\"]", ran.display());
    format!(
        "[door.log]\nkind = \"sequence\"\nsequence = \"47113, 48117:udp, 46119\"\ncommand_open = {}\n\
         command_close = {}\n{more}\n",
        run("start"),
        run("stop")
    )
}

/// What was run.
fn ran(place: &Place) -> Vec<String> {
    fs::read_to_string(place.file("ran")).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[track_caller]
fn wait_until_ran(place: &Place, expected: &[&str]) {
    let mut last = Vec::new();
    wait_until(SOON, &format!("{expected:?} to have run"), || {
        last = ran(place);
        (last.len() >= expected.len()).then_some(())
    });
    assert_eq!(last, expected);
}

#[test]
fn start_and_stop_run_once_for_each_guest_however_often_he_knocks() {
    let Some(lab) = lab() else { return };
    let place = Place::new("");
    place.configure(&writing(&place, "open_for = \"4s\""));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    enter(&lab, &mut guard, GUEST);
    wait_until_ran(&place, &["start 10.77.0.1"]);
    enter(&lab, &mut guard, GUEST);
    enter(&lab, &mut guard, "fd77::1");
    // On a busy machine the first may be out before the second is in: only each guest's own stand in order.
    wait_until(SOON, "all of both guests", || (ran(&place).len() >= 4).then_some(()));
    assert!(guests(&guard, "log").is_empty());
    assert_eq!(guard.stop(), 0);
    for guest in [GUEST, "fd77::1"] {
        let own: Vec<String> = ran(&place).into_iter().filter(|line| line.ends_with(guest)).collect();
        assert_eq!(own, [format!("start {guest}"), format!("stop {guest}")], "each once, and in order");
    }
}

#[test]
fn a_stop_command_is_owed_over_a_kill() {
    let Some(lab) = lab() else { return };
    let place = Place::new("");
    place.configure(&writing(&place, "open_for = \"3s\""));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    enter(&lab, &mut guard, GUEST);
    let since = Instant::now();
    // A command that has begun is owed for on the disk.
    wait_until_ran(&place, &["start 10.77.0.1"]);
    guard.kill();
    // Started anew while the opening would last: it is run when that ends.
    let guard = Guard::at(&lab.victim, &place, &[]);
    wait_until_ran(&place, &["start 10.77.0.1", "stop 10.77.0.1"]);
    assert!(since.elapsed() >= Duration::from_secs(2), "run {:?} after the start", since.elapsed());
    assert!(guests(&guard, "log").is_empty());
}

#[test]
fn a_stop_command_is_run_by_the_next_start_when_its_time_is_over() {
    let Some(lab) = lab() else { return };
    let place = Place::new("");
    place.configure(&writing(&place, "open_for = \"1s\""));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    enter(&lab, &mut guard, GUEST);
    let since = Instant::now();
    wait_until_ran(&place, &["start 10.77.0.1"]);
    guard.kill();
    wait_until_over(since, "the time of the opening", || since.elapsed() < Duration::from_millis(1500));
    if ran(&place).len() == 2 {
        return; // The machine was so slow that the door was shut before the kill.
    }
    // Also where the door is not configured any more.
    place.configure("");
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    wait_until_ran(&place, &["start 10.77.0.1", "stop 10.77.0.1"]);
    assert_eq!(guard.stop(), 0);
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    assert_eq!(guard.stop(), 0);
    assert_eq!(ran(&place).len(), 2, "it was paid already");
    let store = rusqlite::Connection::open(place.state().join("portcullis.db")).unwrap();
    for table in ["openings", "debts"] {
        let count = format!("SELECT count(*) FROM {table}");
        let rows: u32 = store.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table} has kept what is over");
    }
}

#[test]
fn an_end_by_signal_runs_what_is_owed() {
    let Some(lab) = lab() else { return };
    let place = Place::new("");
    place.configure(&writing(&place, "open_for = \"1h\""));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    enter(&lab, &mut guard, GUEST);
    enter(&lab, &mut guard, OTHER);
    // Commands for two guests run side by side: only each guest's own stand in order.
    let sorted = |place: &Place| {
        let mut lines = ran(place);
        lines.sort_unstable();
        lines
    };
    let starts = ["start 10.77.0.1", "start 10.77.0.9"];
    wait_until(SOON, "both starts", || (sorted(&place) == starts).then_some(()));
    assert_eq!(guard.stop(), 0);
    assert_eq!(sorted(&place), [&starts[..], &["stop 10.77.0.1", "stop 10.77.0.9"]].concat());
    let guard = Guard::at(&lab.victim, &place, &[]);
    assert!(guests(&guard, "log").is_empty());
    assert_eq!(ran(&place).len(), 4);
}

#[test]
fn what_is_for_everyone_starts_with_the_first_guest_and_stops_after_the_last() {
    let Some(lab) = lab() else { return };
    let place = Place::new("");
    place.configure(&writing(&place, "open_for = \"1h\"\nfor_everyone = true"));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    enter(&lab, &mut guard, GUEST);
    enter(&lab, &mut guard, OTHER);
    wait_until_ran(&place, &["start 10.77.0.1"]);
    assert_eq!(guard.verb(&["close", "log", GUEST]).code, 0);
    // Killed and started anew the second guest keeps it running.
    guard.kill();
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    wait_until(SOON, "the second guest alone", || {
        let in_there = guests(&guard, "log");
        if in_there.iter().any(|guest| guest == GUEST) {
            // The kill came before the store.
            guard.verb(&["close", "log", GUEST]);
        }
        (in_there == [OTHER]).then_some(())
    });
    enter(&lab, &mut guard, OTHER);
    assert_eq!(ran(&place), ["start 10.77.0.1"]);
    assert_eq!(guard.verb(&["close", "log", OTHER]).code, 0);
    wait_until_ran(&place, &["start 10.77.0.1", "stop 10.77.0.1"]);
    enter(&lab, &mut guard, OTHER);
    wait_until_ran(&place, &["start 10.77.0.1", "stop 10.77.0.1", "start 10.77.0.9"]);
}

#[test]
fn whoever_knocks_while_it_is_stopped_for_everyone_has_it_started_again() {
    let Some(lab) = lab() else { return };
    let place = Place::new("");
    let (go, ran_file) = (place.file("go"), place.file("ran"));
    let (go, ran_file) = (go.display(), ran_file.display());
    let stop = format!("until test -e {go}; do sleep 0.05; done; echo stop >>{ran_file}");
    place.configure(&format!(
        "[door.log]\nkind = \"sequence\"\nsequence = \"47113, 48117:udp, 46119\"\nopen_for = \"1h\"\nshell = true\n\
         for_everyone = true\ncommand_open = [\"echo start >>{ran_file}\"]\ncommand_close = [\"{stop}\"]\n"
    ));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    enter(&lab, &mut guard, GUEST);
    wait_until_ran(&place, &["start"]);
    assert_eq!(guard.verb(&["close", "log"]).code, 0);
    enter(&lab, &mut guard, OTHER);
    fs::write(place.file("go"), "").unwrap();
    wait_until_ran(&place, &["start", "stop", "start"]);
    assert_eq!(guests(&guard, "log"), [OTHER]);
}

#[test]
fn commands_that_fail_or_are_not_there_are_told() {
    let Some(lab) = lab() else { return };
    for (command, why) in [
        ("[\"/bin/sh\", \"-c\", \"echo no room >&2; exit 3\"]", "no room"),
        ("[\"/nowhere/to-be-found\"]", "/nowhere/to-be-found"),
    ] {
        let configuration = format!(
            "[door.log]\nkind = \"sequence\"\nsequence = \"47113, 48117:udp, 46119\"\nopen_for = \"1h\"\n\
             command_open = {command}\n"
        );
        let mut guard = Guard::configured(&lab.victim, &configuration, &[]);
        enter(&lab, &mut guard, GUEST);
        let told = guard.wait_for(SOON, |event| event["event"] == "fault");
        let said = told["why"].as_str().unwrap();
        assert!(said.contains("door log") && said.contains(GUEST) && said.contains(why), "{told}");
        assert_eq!(guard.stop(), 0);
    }
}

#[test]
fn a_command_that_hangs_holds_up_nobody_else_and_no_end() {
    let Some(lab) = lab() else { return };
    let place = Place::new("");
    let hanging = "[door.slow]\nkind = \"sequence\"\nsequence = \"45101, 45102, 45103\"\nopen_for = \"1h\"\n\
                   command_open = [\"/bin/sleep\", \"600\"]\ncommand_close = [\"/bin/true\"]\n";
    place.configure(&format!("{hanging}{}", writing(&place, "open_for = \"1h\"")));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    knock(&lab.attacker, OTHER, lab.victim4(), "45101 45102 45103");
    guard.wait_for(SOON, |event| event["event"] == "open" && event["door"] == "slow");
    enter(&lab, &mut guard, GUEST);
    wait_until_ran(&place, &["start 10.77.0.1"]);
    let since = Instant::now();
    assert_eq!(guard.stop(), 0);
    assert!(since.elapsed() < SOON, "it took {:?} to end", since.elapsed());
    assert_eq!(ran(&place), ["start 10.77.0.1", "stop 10.77.0.1"]);
}

#[test]
fn no_shell_reads_the_words_of_a_command() {
    let Some(lab) = lab() else { return };
    let place = Place::new("");
    let target = place.file("$(id) ; %IP% 'quoted' & more").display().to_string();
    place.configure(&format!(
        "[door.log]\nkind = \"sequence\"\nsequence = \"47113, 48117:udp, 46119\"\n\
         command_open = [\"/bin/touch\", \"{target}\"]\n"
    ));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    enter(&lab, &mut guard, GUEST);
    let made = target.replace("%IP%", GUEST);
    wait_until(SOON, &made, || fs::exists(&made).unwrap().then_some(()));
}

#[test]
fn a_door_that_runs_commands_is_for_root_to_open() {
    let Some(lab) = lab() else { return };
    if !testbed::has(&["setpriv"]) {
        return;
    }
    let place = Place::new("");
    let access = "[control]\ngroup = \"daemon\"\noperators = [\"nobody\"]\n";
    let quiet = "[door.ssh]\nkind = \"sequence\"\nsequence = \"45101, 45102, 45103\"\nopens = \"tcp/2222\"\n";
    place.configure(&format!("{access}{quiet}{}", writing(&place, "")));
    let guard = Guard::at(&lab.victim, &place, &[]);
    for directory in [place.state(), place.state().parent().unwrap().to_owned()] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o711)).unwrap();
    }
    let as_operator = |words: &[&str]| -> Said {
        let mut command = lab.victim.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "1", "--clear-groups", PROGRAM]).args(words);
        command.arg("--state").arg(place.state()).output().unwrap().into()
    };
    assert_eq!(as_operator(&["open", "ssh", GUEST]).code, 0);
    let said = as_operator(&["open", "log", GUEST]);
    assert_eq!(said.code, 77, "{said:?}");
    assert!(said.err.contains("root"), "{said:?}");
    assert_eq!(guard.verb(&["open", "log", GUEST]).code, 0);
    assert_eq!(as_operator(&["close", "log", GUEST]).code, 77);
    wait_until_ran(&place, &["start 10.77.0.1"]);
    knock(&lab.attacker, OTHER, lab.victim4(), RIGHT);
    wait_until_ran(&place, &["start 10.77.0.1", "start 10.77.0.9"]);
}
