use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use portcullis_core::door::spa::replay::Entry;
use portcullis_core::door::{self, By, DoorId, Opening, OpeningState, User};
use portcullis_core::event::{BanState, Cause, How, Id};
use portcullis_core::net::Protocol;
use tempfile::tempdir;

use super::*;

/// Long before every ban of these tests ends.
const NOW: Wall = Wall(Duration::from_secs(1_000));

fn prefix(number: u32) -> Prefix {
    Prefix::single(std::net::Ipv4Addr::from_bits(0x0b00_0000 + number).into())
}

fn ban(number: u32) -> Ban {
    Ban {
        id: Id(u64::from(number)),
        prefix: prefix(number),
        how: How::Banned,
        cause: Cause::Scan { id: Id(7), why: "5 probes".into() },
        since: Wall(Duration::from_millis(1_000_500)),
        until: Until::At(Wall(Duration::from_millis(9_000_250))),
        state: BanState::Pending,
        times: 2,
        pardoned: None,
    }
}

fn banned(ban: Ban) -> Change {
    let length = match ban.until {
        Until::At(_) => Some(Duration::from_millis(8_000_000)),
        Until::Ever => None,
    };
    Change::Banned { ban, length }
}

fn open(directory: &Path) -> Store {
    let Opened { store, warning, .. } = Store::open(&directory.join(FILE_NAME)).unwrap();
    assert_eq!(warning, None);
    store
}

fn save(store: &mut Store, ledger: &[Change]) -> Result<(), StoreError> {
    store.save(&Changes { ledger, next_id: 1, ..Changes::default() })
}

#[test]
fn what_was_saved_is_there_after_a_restart() {
    let directory = tempdir().unwrap();
    let by_hand = Ban {
        prefix: "2001:db8::/64".parse().unwrap(),
        cause: Cause::Operator { why: "it's \"bad\"\n\u{1b}".into() },
        until: Until::Ever,
        ..ban(3)
    };
    let adopted = Ban { prefix: "0.0.0.0/1".parse().unwrap(), cause: Cause::FoundInForce, ..ban(4) };
    let trial = Some((NOW + Duration::from_secs(600), Duration::from_secs(600)));
    let mode = ModeByHand { mode: Mode::Enforce, since: NOW, by: "alice".into(), trial };
    let allowances = [("10.0.0.0/8".parse().unwrap(), Until::Ever), (prefix(1), Until::At(Wall(NOW.0 * 2)))];
    let past = Past { times: 3, ended: NOW };
    let mut store = open(directory.path());
    store
        .save(&Changes {
            ledger: &[
                banned(ban(2)),
                banned(by_hand.clone()),
                banned(adopted.clone()),
                banned(ban(9)),
                Change::Gone { prefix: prefix(9), past: Some(past) },
                Change::Gone { prefix: prefix(10), past: None },
            ],
            allowances: Some(&allowances),
            mode: Some(Some(&mode)),
            next_id: 0x7f3b,
            ..Changes::default()
        })
        .unwrap();
    drop(store);

    let mut stored = open(directory.path()).load(NOW).unwrap();
    stored.bans.sort_by_key(|(ban, _)| ban.id);
    stored.allowances.sort_by_key(|(prefix, _)| prefix.to_string());
    assert_eq!(stored.bans.len(), 3);
    assert_eq!(stored.bans[0], (ban(2), Some(Duration::from_millis(8_000_000))));
    assert_eq!(stored.bans[1], (by_hand, None));
    assert_eq!(stored.bans[2].0, adopted);
    assert_eq!(stored.past, [(prefix(9), past)]);
    assert_eq!(stored.allowances[0].1, Until::Ever);
    assert_eq!(stored.allowances.len(), 2);
    assert_eq!(stored.mode, Some(mode));
    assert_eq!(stored.next_id, 0x7f3b);
    assert_eq!(stored.faults, [""; 0]);
}

#[test]
fn the_last_word_can_be_given_back_to_the_configuration() {
    let directory = tempdir().unwrap();
    let mut store = open(directory.path());
    let mode = ModeByHand { mode: Mode::Observe, since: NOW, by: "root".into(), trial: None };
    store.save(&Changes { mode: Some(Some(&mode)), ..Changes::default() }).unwrap();
    save(&mut store, &[]).unwrap();
    assert_eq!(store.load(NOW).unwrap().mode, Some(mode));
    store.save(&Changes { mode: Some(None), ..Changes::default() }).unwrap();
    assert_eq!(store.load(NOW).unwrap().mode, None);
}

#[test]
fn numbers_never_go_back() {
    let directory = tempdir().unwrap();
    let mut store = open(directory.path());
    for next_id in [100, 5] {
        store.save(&Changes { next_id, ..Changes::default() }).unwrap();
    }
    assert_eq!(store.load(NOW).unwrap().next_id, 100);
    save(&mut store, &[banned(ban(400))]).unwrap();
    assert_eq!(store.load(NOW).unwrap().next_id, 401);
}

#[test]
fn a_ban_that_ended_while_nobody_ran_is_remembered_as_a_former_one() {
    let directory = tempdir().unwrap();
    let mut store = open(directory.path());
    let forever = Ban { until: Until::Ever, ..ban(6) };
    let allowed = [(prefix(7), Until::At(NOW))];
    let ledger = [banned(ban(5)), banned(forever.clone())];
    store.save(&Changes { ledger: &ledger, allowances: Some(&allowed), ..Changes::default() }).unwrap();
    let stored = store.load(Wall(Duration::from_secs(1_000_000))).unwrap();
    assert_eq!(stored.bans, [(forever, None)]);
    let ended = Wall(Duration::from_millis(9_000_250));
    assert_eq!(stored.past, [(prefix(5), Past { times: 2, ended })]);
    assert_eq!(stored.allowances, []);
}

#[test]
fn former_bans_have_a_ceiling_and_the_oldest_go_first() {
    let directory = tempdir().unwrap();
    let mut store = open(directory.path());
    let beyond = 100u32;
    let gone: Vec<Change> = (0..2 * PAST_KEPT as u32 + beyond)
        .map(|number| Change::Gone {
            prefix: prefix(number),
            past: Some(Past { times: 1, ended: Wall(Duration::from_secs(number.into())) }),
        })
        .collect();
    save(&mut store, &gone).unwrap();
    let past = store.read().unwrap().past;
    assert_eq!(past.len(), PAST_KEPT);
    assert!(past.iter().all(|(_, past)| past.ended.0.as_secs() >= PAST_KEPT as u64));
}

#[test]
fn nobody_else_can_read_it() {
    let directory = tempdir().unwrap();
    let state = directory.path().join("deep/state");
    let mut store = open(&state);
    save(&mut store, &[banned(ban(1))]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for file in fs::read_dir(&state).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_second_process_is_refused() {
    let directory = tempdir().unwrap();
    let mut first = open(directory.path());
    assert!(matches!(Store::open(&directory.path().join(FILE_NAME)), Err(StoreError::InUse(_))));
    save(&mut first, &[banned(ban(1))]).unwrap();
    drop(first);
    open(directory.path());
}

#[test]
fn a_later_layout_is_refused_and_left_alone() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let before = fs::read(directory.path().join(FILE_NAME)).unwrap();
    let error = Store::open(&directory.path().join(FILE_NAME)).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert_eq!(fs::read(directory.path().join(FILE_NAME)).unwrap(), before);
}

#[test]
fn a_broken_file_is_put_aside_and_never_lost() {
    let directory = tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    for attempt in 1..=2 {
        let garbage = vec![attempt; 10_000];
        fs::write(&path, &garbage).unwrap();
        let Opened { mut store, warning, .. } = Store::open(&directory.path().join(FILE_NAME)).unwrap();
        let aside = directory.path().join(format!("{FILE_NAME}.broken-{attempt}"));
        assert!(warning.unwrap().contains(&aside.display().to_string()));
        assert_eq!(fs::read(aside).unwrap(), garbage);
        save(&mut store, &[banned(ban(1))]).unwrap();
        drop(store);
        assert_eq!(open(directory.path()).load(NOW).unwrap().bans.len(), 1);
    }
}

#[test]
fn damage_in_the_middle_is_found_at_the_start() {
    let directory = tempdir().unwrap();
    let mut store = open(directory.path());
    save(&mut store, &(1..2_000).map(|number| banned(ban(number))).collect::<Vec<_>>()).unwrap();
    drop(store);
    let path = directory.path().join(FILE_NAME);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20_000..40_000].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let Opened { mut store, warning, .. } = Store::open(&directory.path().join(FILE_NAME)).unwrap();
    assert!(warning.unwrap().contains("damaged"));
    assert_eq!(store.load(NOW).unwrap(), Stored { next_id: 1, ..Stored::default() });
}

#[test]
fn a_row_that_makes_no_sense_is_told_and_costs_only_itself() {
    let directory = tempdir().unwrap();
    let mut store = open(directory.path());
    save(&mut store, &[banned(ban(1)), banned(ban(2))]).unwrap();
    let spoil = "UPDATE bans SET prefix = 'all of them' WHERE id = 1";
    store.connection.execute(spoil, []).unwrap();
    for field in ["NULL", "''", "'never'", "0.5"] {
        let spoil = format!("UPDATE bans SET until = {field} WHERE id = 2");
        assert!(store.connection.execute(&spoil, []).is_err(), "{field} would be no end");
    }
    let stored = store.load(NOW).unwrap();
    assert_eq!(stored.bans.len(), 1);
    assert_eq!(stored.faults.len(), 1);
    assert!(stored.faults[0].contains("all of them"), "{:?}", stored.faults);
}

#[test]
fn a_damaged_number_is_none() {
    let directory = tempdir().unwrap();
    let mut store = open(directory.path());
    save(&mut store, &(1..=3).map(|number| banned(ban(number))).collect::<Vec<_>>()).unwrap();
    for spoil in [
        "UPDATE bans SET id = -1 WHERE id = 1",
        "UPDATE bans SET scan = -1 WHERE id = 2",
        "UPDATE counters SET value = -1",
    ] {
        store.connection.execute(spoil, []).unwrap();
    }
    let stored = store.load(NOW).unwrap();
    assert_eq!(stored.bans.iter().map(|(ban, _)| ban.id).collect::<Vec<_>>(), [Id(3)]);
    assert_eq!((stored.faults.len(), stored.next_id), (2, 4), "{:?}", stored.faults);
}

/// As after a power cut: the log ends anywhere, and what was never synced is missing.
#[test]
fn a_cut_log_gives_a_state_that_was_saved() {
    let directory = tempdir().unwrap();
    let mut store = open(directory.path());
    let mut ends = vec![0];
    let file = |name: &str| directory.path().join(format!("{FILE_NAME}{name}"));
    for step in 1..=5u32 {
        let batch: Vec<Change> = (0..step * 20).map(|number| banned(ban(step * 1000 + number))).collect();
        save(&mut store, &batch).unwrap();
        ends.push(fs::metadata(file("-wal")).unwrap().len());
    }
    let (main, log) = (fs::read(file("")).unwrap(), fs::read(file("-wal")).unwrap());
    // After each save so many bans stand there.
    let counts = [0, 20, 60, 120, 200, 300];
    let mut seen = Vec::new();
    for cut in (0..=log.len()).step_by(1_531).chain([log.len()]) {
        let copy = tempdir().unwrap();
        fs::write(copy.path().join(FILE_NAME), &main).unwrap();
        fs::write(copy.path().join(format!("{FILE_NAME}-wal")), &log[..cut]).unwrap();
        let mut store = open(copy.path());
        let found = store.load(NOW).unwrap().bans.len();
        let whole = ends.iter().rposition(|&end| end <= cut as u64).unwrap();
        assert_eq!(found, counts[whole], "cut at {cut} of {}", log.len());
        save(&mut store, &[banned(ban(1))]).unwrap();
        seen.push(found);
    }
    seen.dedup();
    assert_eq!(seen, counts, "every state was tried");
}

#[test]
fn a_full_disk_loses_nothing_and_is_over_when_there_is_room() {
    let Some(namespace) = testbed::Namespace::with_mounts() else { return };
    namespace.run(&["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"]);
    namespace.enter(|| {
        let directory = Path::new("/mnt/state");
        let mut store = open(directory);
        save(&mut store, &[banned(ban(1))]).unwrap();
        let many: Vec<Change> = (2..60_000).map(|number| banned(ban(number))).collect();
        for _ in 0..3 {
            let error = save(&mut store, &many).unwrap_err();
            assert!(matches!(error, StoreError::Full(_)), "{error:?}");
            assert_eq!(store.read().unwrap().bans.len(), 1, "nothing half written");
        }
        drop(store);
        assert_eq!(open(directory).load(NOW).unwrap().bans[0].0, ban(1));
    });
    namespace.run(&["mount", "-o", "remount,size=64m", "/mnt"]);
    namespace.enter(|| {
        let mut store = open(Path::new("/mnt/state"));
        let many: Vec<Change> = (2..60_000).map(|number| banned(ban(number))).collect();
        save(&mut store, &many).unwrap();
        assert_eq!(store.load(NOW).unwrap().bans.len(), 59_999);
    });
}

#[test]
fn a_hundred_thousand_bans_are_kept_in_one_batch() {
    let directory = tempdir().unwrap();
    let mut store = open(directory.path());
    let many: Vec<Change> = (1..=100_000).map(|number| banned(ban(number))).collect();
    save(&mut store, &many).unwrap();
    drop(store);
    assert_eq!(open(directory.path()).load(NOW).unwrap().bans.len(), 100_000);
}

#[test]
fn what_commands_did_about_a_ban_is_remembered_until_it_is_undone() {
    let directory = tempdir().unwrap();
    let cause = Cause::Probe { protocol: Protocol::Udp, port: 69, why: "datagram to UDP port 69".into() };
    let ban = Ban { cause, ..ban(1) };
    let done = Effects {
        hosts_deny: Some("ALL: 11.0.0.1".into()),
        route: Some("/sbin/iptables -I INPUT -s 11.0.0.1 -j DROP".into()),
        boot: "0b00-7".into(),
        has_run: true,
    };
    let only_run = Effects { has_run: true, ..Effects::default() };
    let mut store = open(directory.path());
    let effects = [(prefix(1), Some(done.clone())), (prefix(2), Some(only_run.clone()))];
    let ledger = [banned(ban.clone())];
    store.save(&Changes { ledger: &ledger, effects: &effects, ..Changes::default() }).unwrap();
    drop(store);

    let mut store = open(directory.path());
    let stored = store.load(NOW).unwrap();
    assert_eq!(stored.effects, [(prefix(1), done), (prefix(2), only_run)]);
    assert_eq!(stored.bans[0].0, ban);
    store.save(&Changes { effects: &[(prefix(1), None)], ..Changes::default() }).unwrap();
    assert_eq!(store.load(NOW).unwrap().effects.len(), 1);
}

#[test]
fn a_store_of_the_first_layout_is_carried_over() {
    let directory = tempdir().unwrap();
    let connection = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    connection.execute_batch(include_str!("schema.sql")).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection
        .execute_batch(
            "INSERT INTO bans VALUES ('11.0.0.5/32', 5, 'scan', 7, '5 probes', 1000500, 9000250, 8000000, 2)",
        )
        .unwrap();
    drop(connection);
    let stored = open(directory.path()).load(NOW).unwrap();
    assert_eq!(stored.bans, [(ban(5), Some(Duration::from_millis(8_000_000)))]);
    assert_eq!(stored.faults, [""; 0]);
}

#[test]
fn openings_and_what_they_owe_outlast_a_restart() {
    let directory = tempdir().unwrap();
    let opening = Opening {
        door: DoorId::GONE,
        name: "ssh".parse().unwrap(),
        address: "2001:db8::7".parse().unwrap(),
        since: Wall(Duration::from_secs(1_000)),
        until: Some(Wall(Duration::from_secs(1_030))),
        by: By::Rotating,
        user: Some(User("alice".into())),
        state: OpeningState::Pending,
    };
    let (name, address) = (opening.name.clone(), opening.address);
    let length = Duration::from_secs(30);
    let mut store = open(directory.path());
    let opened = [door::Change::Opened { opening: opening.clone(), length }];
    let debts = [(name.clone(), address, Some("{}".to_owned()))];
    let mark = Wall(Duration::from_secs(2_000));
    let used = [Entry { time: 1_999, mark: [7; 16] }, Entry { time: 2_001, mark: [8; 16] }];
    let doors = DoorChanges {
        openings: &opened,
        debts: &debts,
        used: &used,
        seen_until: Some(mark),
        ..DoorChanges::default()
    };
    store.save(&Changes { doors, ..Changes::default() }).unwrap();
    let earlier = DoorChanges { seen_until: Some(NOW), ..DoorChanges::default() };
    store.save(&Changes { doors: earlier, ..Changes::default() }).unwrap();
    drop(store);

    let mut store = open(directory.path());
    let stored = store.load(NOW).unwrap().doors;
    assert_eq!(stored.openings, [(opening, length)]);
    assert_eq!(stored.debts, [(name.clone(), address, "{}".to_owned())]);
    assert_eq!(stored.used, [used[1]], "what was made before the mark is refused by its time");
    assert_eq!(stored.seen_until, Some(mark), "a clock that was set back does not move it");
    let shut = [door::Change::Shut { door: name.clone(), address }];
    let debts = [(name, address, None)];
    let doors = DoorChanges { openings: &shut, debts: &debts, ..DoorChanges::default() };
    store.save(&Changes { doors, ..Changes::default() }).unwrap();
    let stored = store.load(NOW).unwrap().doors;
    assert!(stored.openings.is_empty() && stored.debts.is_empty());
}

#[test]
fn what_an_earlier_version_kept_of_doors_is_handed_on_once() {
    let directory = tempdir().unwrap();
    let mut store = open(directory.path());
    let line = r#"{"time":"2026-11-21T02:08:20.453Z","event":"open","door":"ssh"}"#;
    store.connection.execute("INSERT INTO door_events (time, line) VALUES (7000, ?1)", [line]).unwrap();
    let events = store.load(NOW).unwrap().doors.events;
    assert_eq!(events, [(Wall(Duration::from_secs(7)), line.to_owned())]);
    let doors = DoorChanges { are_events_moved: true, ..DoorChanges::default() };
    store.save(&Changes { doors, ..Changes::default() }).unwrap();
    assert_eq!(store.load(NOW).unwrap().doors.events, []);
}

#[test]
fn a_trial_ends_while_nothing_runs_and_a_clock_set_back_makes_it_no_longer() {
    let length = Duration::from_secs(600);
    let trial = Some((NOW + length, length));
    let said = ModeByHand { mode: Mode::Enforce, since: NOW, by: "root".into(), trial };
    assert_eq!(said.at(NOW + length / 2), (Mode::Enforce, Some(length / 2)));
    assert_eq!(said.at(NOW + length), (Mode::Observe, None));
    assert_eq!(said.at(Wall::default()), (Mode::Enforce, Some(length)));
    let forever = ModeByHand { trial: None, ..said };
    assert_eq!(forever.at(NOW + length * 100), (Mode::Enforce, None));
}
