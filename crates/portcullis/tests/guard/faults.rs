//! What goes wrong on real hosts: killed, out of room, without rights, told nonsense. Bans hold all the same, and what is
//! wrong is said.
//!
//! A calendar that is set while the guard runs is told in the stories of portcullis-core: no namespace has a calendar of
//! its own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use portcullis_core::net::Prefix;
use portcullis_sys::nftables::Nftables;
use serde_json::Value;
use testbed::{Lab, Namespace, Running, Signal, Stream, wait_until};

use crate::harness::{BANS_EVERYBODY, Guard, PROGRAM, Place, SOON, Said, portcullis};
use crate::kernel::{banned, is_banned, nmap, wait_for_bans};

/// Gives a verb inside, for a guard whose state lies in a mount of its namespace.
#[track_caller]
fn verb_inside(namespace: &Namespace, place: &Place, words: &[&str]) -> Said {
    let mut command = namespace.command(PROGRAM);
    command.args(words).arg("--state").arg(place.state()).output().unwrap().into()
}

/// Runs a command to its end, which must come by itself.
#[track_caller]
fn run_to_the_end(command: &mut Command) -> Said {
    let mut running = Running::spawn(command);
    let code = running.wait(SOON).code().unwrap_or(-1);
    Said { code, out: running.text(Stream::Out), err: running.text(Stream::Err) }
}

fn faults(guard: &Guard) -> Vec<String> {
    guard.told("fault").iter().map(|fault| fault["why"].as_str().unwrap().to_owned()).collect()
}

fn states(listed: &Said) -> BTreeSet<String> {
    listed.lines().iter().map(|ban| ban["state"].as_str().unwrap().to_owned()).collect()
}

/// Pauses that nobody could have planned for, the same in every run: a linear congruential generator (Knuth's MMIX).
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[test]
fn killed_fifty_times_under_a_scan_it_loses_no_ban_that_the_kernel_had_acknowledged() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["hping3", "nft"]) {
        return;
    }
    let place = Place::new(
        "[judge]\nby = \"trigger\"\ntrigger = 1\n[respond]\nmode = \"enforce\"\nunproved = \"ban\"\nban = \"2h\"\n[protect]\nbrake = 0\n",
    );
    let victim = lab.victim4().to_string();
    let _scan =
        lab.attacker.start(&["hping3", "-q", "-S", "--rand-source", "-p", "++1", "-i", "u2000", &victim]);
    let known = |guard: &Guard| -> BTreeSet<Prefix> {
        let listed = guard.verb(&["bans", "--json"]).lines();
        listed.iter().map(|ban| ban["prefix"].as_str().unwrap().parse().unwrap()).collect()
    };
    let mut moments = Moments(1);
    let mut acknowledged = BTreeSet::new();
    for round in 0..50 {
        // Also in the middle of its beginning: a third is not waited for.
        let mut guard = match moments.next(3) {
            0 => {
                let mut running = Running::spawn(&mut place.command(&lab.victim, &[]));
                std::thread::sleep(Duration::from_micros(moments.next(60_000)));
                running.signal(Signal::SIGKILL);
                running.wait(SOON);
                acknowledged = banned(&lab.victim).into_keys().collect();
                continue;
            }
            _ => Guard::at(&lab.victim, &place, &[]),
        };
        let known = known(&guard);
        let lost: Vec<&Prefix> = acknowledged.difference(&known).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?} of {}", acknowledged.len());
        assert_eq!(faults(&guard), [""; 0], "round {round}");
        std::thread::sleep(Duration::from_micros(moments.next(150_000)));
        guard.kill();
        acknowledged = banned(&lab.victim).into_keys().collect();
    }
    assert!(acknowledged.len() > 500, "there was hardly a scan: {} bans", acknowledged.len());

    // And the store alone knows them after a stop in order.
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    assert_eq!(guard.stop(), 0);
    let acknowledged: BTreeSet<Prefix> = banned(&lab.victim).into_keys().collect();
    lab.victim.run(&["nft", "delete", "table", "inet", "portcullis"]);
    let guard = Guard::at(&lab.victim, &place, &[]);
    assert_eq!(acknowledged.difference(&known(&guard)).next(), None);
    let in_force: BTreeSet<Prefix> = banned(&lab.victim).into_keys().collect();
    assert_eq!(acknowledged.difference(&in_force).next(), None);
}

#[test]
fn with_a_full_disk_bans_are_in_force_and_saved_when_there_is_room() {
    const BANS: usize = 3000;
    let Some(victim) = Namespace::with_mounts() else { return };
    let place = Place::new("");
    let state = place.state();
    fs::create_dir(&state).unwrap();
    victim.run(&["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", state.to_str().unwrap()]);
    let mut guard = Guard::at(&victim, &place, &["--enforce"]);
    let filler = state.join("filler");
    let full = victim.enter(|| fs::write(&filler, vec![0; 4 << 20]));
    assert!(full.is_err(), "4 MiB found room on a disk of 2");

    let list: Vec<String> =
        (0..BANS).map(|number| format!("198.18.{}.{}", number / 250, number % 250)).collect();
    let ban = |addresses: &[String]| {
        for piece in addresses.chunks(500) {
            let mut words = vec!["ban", "--for", "1d"];
            words.extend(piece.iter().map(String::as_str));
            let said = verb_inside(&victim, &place, &words);
            assert_eq!(said.code, 0, "{said:?}");
        }
    };
    ban(&list);
    assert_eq!(banned(&victim).len(), BANS);
    // Of bans, and of the events that tell of them: two stores on one disk, and each says what it cannot keep.
    let complaints = ["events are not kept: ", "what must outlive a restart cannot be stored: "];
    for complaint in complaints {
        let told = guard.wait_for(SOON, |event| {
            event["event"] == "fault" && event["why"].as_str().unwrap().starts_with(complaint)
        });
        assert!(told["why"].as_str().unwrap().contains("no room left on the disk"), "{told}");
    }
    wait_until(SOON, "every ban to be called unsaved", || {
        let listed = verb_inside(&victim, &place, &["bans", "--json"]);
        (states(&listed) == BTreeSet::from(["in force, unsaved".to_owned()])).then_some(())
    });
    let status = verb_inside(&victim, &place, &["status", "--json"]).json();
    assert_eq!(status["bans_unsaved"], BANS);
    assert!(status["faults"][0].as_str().unwrap().contains("no room"), "{status}");
    ban(&["198.18.99.1".to_owned()]);
    let mut told = faults(&guard);
    told.sort();
    assert_eq!(told.len(), complaints.len(), "a fault that lasts is told once: {told:?}");
    for (told, complaint) in told.iter().zip(complaints) {
        assert!(told.starts_with(complaint), "{told}");
    }

    victim.enter(|| fs::remove_file(&filler)).unwrap();
    wait_until(SOON, "every ban to be saved", || {
        let listed = verb_inside(&victim, &place, &["bans", "--json"]);
        (states(&listed) == BTreeSet::from(["in force".to_owned()])).then_some(())
    });
    guard.wait_for(SOON, |event| event["why"] == "the store takes changes again");
    guard.kill();
    victim.enter(|| Nftables::open("portcullis").unwrap().remove_table()).unwrap();
    let _guard = Guard::at(&victim, &place, &["--enforce"]);
    assert_eq!(banned(&victim).len(), BANS + 1);
}

#[test]
fn with_a_state_directory_that_is_read_only_it_guards_and_says_so() {
    let Some(victim) = Namespace::with_mounts() else { return };
    let place = Place::new("");
    let state = place.state();
    let socket = place.file("ctl.sock");
    let socket = socket.to_str().unwrap();
    fs::create_dir(&state).unwrap();
    victim.run(&["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", state.to_str().unwrap()]);
    place.configure(&format!(
        "[record]\nstate = \"{}\"\n[control]\nsocket = \"{socket}\"\n[respond]\nmode = \"enforce\"\nunproved = \"ban\"\n",
        state.display()
    ));
    let mut command = victim.command(PROGRAM);
    let mut guard = Guard::of(command.args(["run", "--json", "-c"]).arg(place.configuration()), &state);
    let told = guard.wait_for(SOON, |event| event["event"] == "fault");
    let why = told["why"].as_str().unwrap();
    assert!(why.contains("bans cannot be stored") && why.contains("Read-only file system"), "{told}");
    assert_eq!(portcullis(&["ban", "198.18.0.1", "--socket", socket]).code, 0);
    assert!(is_banned(&victim, "198.18.0.1"));
    wait_until(SOON, "the ban to be called unsaved", || {
        let listed = portcullis(&["bans", "--json", "--socket", socket]);
        (states(&listed) == BTreeSet::from(["in force, unsaved".to_owned()])).then_some(())
    });
    assert_eq!(guard.stop(), 0);
}

#[test]
fn a_store_that_is_damaged_is_put_aside_and_bans_are_found_in_the_kernel() {
    let Some(victim) = Namespace::new() else { return };
    let place = Place::new("");
    let mut guard = Guard::at(&victim, &place, &["--enforce"]);
    assert_eq!(guard.verb(&["ban", "198.18.0.1", "2001:db8::/48"]).code, 0);
    assert_eq!(guard.stop(), 0);
    fs::write(place.state().join("portcullis.db"), "not a store ".repeat(1000)).unwrap();
    let mut guard = Guard::at(&victim, &place, &["--enforce"]);
    let told = guard.wait_for(SOON, |event| event["event"] == "fault");
    assert!(told["why"].as_str().unwrap().contains("portcullis.db.broken-1"), "{told}");
    let bans = guard.verb(&["bans", "--json"]).lines();
    assert_eq!(bans.len(), 2);
    assert!(bans.iter().all(|ban| ban["cause"] == "found in force"), "{bans:?}");
}

#[test]
fn what_the_kernel_refuses_is_called_so_and_tried_until_it_is_taken() {
    let Some(victim) = Namespace::new() else { return };
    if !testbed::has(&["nft"]) {
        return;
    }
    // A set of our name that is something else: the kernel takes neither ours nor its elements.
    victim.run(&["nft", "add table inet portcullis; add set inet portcullis banned4 { type ether_addr; }"]);
    let mut guard = Guard::configured(&victim, BANS_EVERYBODY, &["--enforce"]);
    let told = guard.wait_for(SOON, |event| event["event"] == "fault");
    let why = told["why"].as_str().unwrap();
    assert!(why.contains("banned4") && why.contains("nft delete table inet portcullis"), "{told}");
    let said = guard.verb(&["ban", "198.18.0.1"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("not in force"), "{said:?}");
    let status = guard.status();
    assert_eq!((&status["bans"], &status["bans_not_in_force"]), (&1.into(), &1.into()));

    victim.run(&["nft", "delete table inet portcullis"]);
    wait_for_bans(&victim, &["198.18.0.1"]);
    guard.wait_for(SOON, |event| event["event"] == "ban" && event["state"] == "in force");
    assert_eq!(guard.status()["bans_not_in_force"], 0);
    assert_eq!(guard.stop(), 0);
}

#[test]
fn bans_of_another_run_are_adopted_with_the_time_they_have_left() {
    let Some(victim) = Namespace::new() else { return };
    let mut guard = Guard::configured(&victim, BANS_EVERYBODY, &["--enforce"]);
    assert_eq!(guard.verb(&["ban", "198.18.0.1", "--for", "1h"]).code, 0);
    assert_eq!(guard.verb(&["ban", "198.18.0.2", "--for", "ever"]).code, 0);
    guard.kill();
    let before = banned(&victim);
    for mode in ["--observe", "--enforce"] {
        let mut guard = Guard::start(&victim, &[mode]);
        let [first, second] = guard.verb(&["bans", "--json"]).lines().try_into().unwrap();
        assert_eq!((&first["cause"], &second["until"]), (&"found in force".into(), &"ever".into()));
        let (was, is) =
            (before.values().next().unwrap().unwrap(), banned(&victim).into_values().next().unwrap());
        assert!(was.abs_diff(is.unwrap()) < Duration::from_secs(10), "{was:?} became {is:?}");
        assert_eq!(guard.stop(), 0);
    }
}

#[test]
fn without_rights_it_says_which_are_missing() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap", "unshare"]) {
        return;
    }
    let place = Place::new("");
    let no_admin = ["setpriv", "--bounding-set", "-net_admin"];
    let said = run_to_the_end(&mut place.command_through(&lab.victim, &no_admin, &["--enforce"]));
    assert_eq!(said.code, 77, "{said:?}");
    assert!(said.err.contains("CAP_NET_ADMIN") && said.err.contains("setcap"), "{said:?}");

    let no_raw = ["setpriv", "--bounding-set", "-net_raw"];
    let said = run_to_the_end(&mut place.command_through(&lab.victim, &no_raw, &["--observe"]));
    assert_eq!(said.code, 77, "{said:?}");
    assert!(said.err.contains("--engine listen") && said.err.contains("setcap"), "{said:?}");

    let mut command = place.command_through(&lab.victim, &no_admin, &["--observe"]);
    let mut guard = Guard::of(&mut command, &place.state());
    guard.wait_for(SOON, |event| {
        event["event"] == "fault" && event["why"].as_str().unwrap().contains("nothing can be blocked")
    });
    nmap(&lab.attacker, &["-sS", "-p", "21-40", &lab.victim4().to_string()]);
    guard.wait_for(SOON, |event| event["event"] == "scan" && event["decision"] == "observe");
    for words in [&["ban", "198.18.0.1"][..], &["enforce"]] {
        let said = guard.verb(words);
        assert_eq!((said.code, said.out.as_str()), (77, ""), "{said:?}");
        assert!(said.err.contains("CAP_NET_ADMIN"), "{said:?}");
    }
    assert_eq!(guard.status()["mode"], "observe");
    place.configure("[respond]\nmode = \"enforce\"\nunproved = \"ban\"\n");
    assert_eq!(guard.stop(), 0);

    // Capabilities of a user namespace that the network does not belong to.
    let place = Place::new("[watch]\ntcp = \"9001-9003\"\nudp = \"9001\"\n");
    let elsewhere = ["unshare", "--user", "--map-root-user"];
    let mut command = place.command_through(&lab.victim, &elsewhere, &["--engine", "listen", "--enforce"]);
    let said = run_to_the_end(&mut command);
    assert_eq!(said.code, 77, "{said:?}");
    let mut command = place.command_through(&lab.victim, &elsewhere, &["--engine", "listen", "--observe"]);
    let mut guard = Guard::of(&mut command, &place.state());
    assert_eq!(guard.verb(&["ban", "198.18.0.1"]).code, 77);
    assert_eq!(guard.stop(), 0);
}

#[test]
fn an_interface_that_disappears_and_returns_is_watched_again() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let mut guard = Guard::configured(&lab.victim, BANS_EVERYBODY, &["--enforce", "-i", "eth0"]);
    lab.victim.ip("link del eth0\n");
    let status = wait_until(SOON, "the absence to be told", || {
        let status = guard.status();
        (status["faults"].as_array().is_some_and(|faults| !faults.is_empty())).then_some(status)
    });
    assert!(status["faults"][0].as_str().unwrap().contains("\"eth0\""), "{status}");
    assert!(status["interfaces"].as_array().unwrap().is_empty(), "{status}");

    lab.attacker.join("eth0", &lab.victim, "eth0");
    lab.attacker.add_address("eth0", "10.77.0.1/24");
    lab.victim.add_address("eth0", "10.77.0.2/24");
    wait_until(SOON, "eth0 to be watched", || {
        let status = guard.status();
        (status["interfaces"][0] == "eth0" && status["faults"].as_array().is_none_or(Vec::is_empty))
            .then_some(())
    });
    // The address came last, and is known a moment after the interface.
    wait_until(SOON, "a scan to be seen", || {
        nmap(&lab.attacker, &["-sS", "-p", "21-40", "10.77.0.2"]);
        (!guard.told("ban").is_empty()).then_some(())
    });
    wait_for_bans(&lab.victim, &["10.77.0.1"]);
    assert_eq!(guard.stop(), 0);
}

#[test]
fn ten_faults_in_a_configuration_are_ten_in_the_answer() {
    let place = Place::new(
        "[watch]\ntcp = \"0-70000\"\nudp = 7\nengin = \"ring\"\n[judge]\ntrigger = 0\nwindow = \"60\"\nby = \"luck\"\n\
         [respond]\nmode = \"maybe\"\nban = \"1y2\"\n[protect]\nallow = [\"10.0.0.1/8\"]\n[recrod]\n",
    );
    let file = place.configuration();
    for words in [&["check"][..], &["run", "-c"]] {
        let said = portcullis(&[words, &[file.to_str().unwrap()]].concat());
        assert_eq!((said.code, said.out.as_str()), (4, ""), "{said:?}");
        let lines: Vec<&str> = said.err.lines().collect();
        let places = lines.iter().filter(|line| line.contains(&format!("{}:", file.display()))).count();
        assert_eq!(places, 10, "{}", said.err);
        assert!(said.err.contains("engine") && said.err.contains("record"), "{}", said.err);
    }
}

#[test]
fn a_reload_applies_wholly_or_not_at_all_and_loses_nothing() {
    const JUDGE: &str = "[judge]\nby = \"trigger\"\ntrigger = 5\n";
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    // Five probes are a scan, not one fewer: so it shows when one of those before the reload is lost.
    let place = Place::new(&format!("[respond]\nmode = \"enforce\"\nunproved = \"ban\"\n{JUDGE}"));
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    let victim = lab.victim4().to_string();
    assert_eq!(guard.verb(&["ban", "198.18.0.1"]).code, 0);
    nmap(&lab.attacker, &["-sS", "-p", "21-23", &victim]);
    wait_until(SOON, "three probes", || (guard.status()["probes"] == 3).then_some(()));

    place.configure("[respond]\nmode = \"observe\"\n[judge]\ntriger = 1\n");
    let said = guard.verb(&["reload"]);
    assert_eq!(said.code, 4);
    assert!(said.err.contains("triger") && said.err.contains(":4:1"), "{said:?}");
    let before = guard.running.count();
    guard.running.signal(Signal::SIGHUP);
    let told = guard.wait_for_after(before, SOON, |event| event["event"] == "fault");
    assert!(told["why"].as_str().unwrap().contains("was not changed"), "{told}");
    assert_eq!(guard.status()["mode"], "enforce");

    place.configure(&format!("[respond]\nmode = \"enforce\"\nunproved = \"ban\"\nban = \"20m\"\n{JUDGE}"));
    guard.running.signal(Signal::SIGHUP);
    let told = guard.wait_for(SOON, |event| event["event"] == "reload");
    let changes: Vec<&str> =
        told["changes"].as_array().unwrap().iter().map(|own| own.as_str().unwrap()).collect();
    assert!(matches!(changes.as_slice(), [one] if one.contains("ban") && one.contains("20m")), "{told}");
    wait_for_bans(&lab.victim, &["198.18.0.1"]);
    nmap(&lab.attacker, &["-sS", "-p", "24-25", &victim]);
    let scan = guard.wait_for(SOON, |event| event["event"] == "scan");
    assert_eq!((&scan["probes"], &scan["ban_seconds"]), (&5.into(), &1200.into()), "{scan}");
    wait_for_bans(&lab.victim, &["10.77.0.1", "198.18.0.1"]);
    assert_eq!(guard.stop(), 0);
}

#[test]
fn an_end_in_order_is_quick_and_keeps_bans_unless_told_otherwise() {
    let Some(victim) = Namespace::new() else { return };
    for keep in [true, false] {
        let place = Place::new(&format!(
            "[respond]\nmode = \"enforce\"\nunproved = \"ban\"\nkeep_on_stop = {keep}\n"
        ));
        let mut guard = Guard::at(&victim, &place, &[]);
        assert_eq!(guard.verb(&["ban", "198.18.0.1", "--for", "1h"]).code, 0);
        let asked = Instant::now();
        assert_eq!(guard.stop(), 0);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(guard.told("stop").len(), 1);
        assert_eq!(is_banned(&victim, "198.18.0.1"), keep);
        if !keep {
            let tables = victim.run(&["nft", "list", "tables"]);
            assert_eq!(String::from_utf8_lossy(&tables.stdout), "");
            // What the store holds is in force again with the program.
            let _guard = Guard::at(&victim, &place, &[]);
            assert!(is_banned(&victim, "198.18.0.1"));
        }
    }
}

#[test]
fn a_service_manager_is_told_what_it_does() {
    let Some(victim) = Namespace::new() else { return };
    let place = Place::new("");
    let path = place.file("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let wait_for_state = |expected: &str| {
        let mut buffer = [0; 1024];
        let count = manager.recv(&mut buffer).unwrap();
        let said = String::from_utf8_lossy(&buffer[..count]).into_owned();
        assert!(said.lines().any(|line| line == expected), "{expected}: {said}");
    };
    let mut command = place.command(&victim, &["--observe"]);
    let mut guard = Guard::of(command.env("NOTIFY_SOCKET", &path), &place.state());
    wait_for_state("READY=1");
    guard.running.signal(Signal::SIGHUP);
    wait_for_state("RELOADING=1");
    wait_for_state("READY=1");
    assert_eq!(guard.stop(), 0);
    wait_for_state("STOPPING=1");
}

#[test]
fn a_second_guard_on_the_same_state_is_refused() {
    let Some(victim) = Namespace::new() else { return };
    let place = Place::new("");
    let mut guard = Guard::at(&victim, &place, &["--observe"]);
    let said = run_to_the_end(&mut place.command(&victim, &["--observe"]));
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.contains("another portcullis") && said.err.contains("--state"), "{said:?}");

    // By another socket it reaches the same store.
    place.configure(&format!(
        "[record]\nstate = \"{}\"\n[control]\nsocket = \"{}\"\n",
        place.state().display(),
        place.file("other.sock").display()
    ));
    let mut command = victim.command(PROGRAM);
    let said = run_to_the_end(command.args(["run", "--json", "-c"]).arg(place.configuration()));
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.contains("has the store open"), "{said:?}");
    let status: Value = guard.status();
    assert_eq!(status["bans"], 0);
    assert_eq!(guard.stop(), 0);
}
