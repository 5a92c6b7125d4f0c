//! Every verb against a running guard, with the exit codes that scripts depend on.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use testbed::{Lab, Namespace, wait_until};

use crate::harness::{BANS_EVERYBODY, Guard, PROGRAM, Place, SOON, Said, portcullis};
use crate::kernel::{banned, is_banned, listed_by_nft, nmap, wait_for_bans};

/// `nobody` and `daemon`, which every system has; and the group of the latter.
const NOBODY: &str = "65534";
const DAEMON: &str = "1";

fn bans(guard: &Guard) -> Vec<Value> {
    guard.verb(&["bans", "--json"]).lines()
}

/// Gives a verb as somebody else.
#[track_caller]
fn verb_as(namespace: &Namespace, user: &str, group: &str, place: &Place, words: &[&str]) -> Said {
    let mut command = namespace.command("setpriv");
    command.args(["--reuid", user, "--regid", group, "--clear-groups", PROGRAM]);
    command.args(words).arg("--state").arg(place.state()).output().unwrap().into()
}

#[test]
fn bans_by_hand_are_made_listed_and_lifted() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nft"]) {
        return;
    }
    lab.victim.ip("route add default via 10.77.0.254\n");
    let mut guard = Guard::start(&lab.victim, &["--observe"]);
    assert_eq!(guard.verb(&["bans"]).out, "");

    let said = guard.verb(&["ban", "198.18.0.9", "--for", "10m", "--why", "asked by the provider"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.starts_with("198.18.0.9/32 is banned until ") && said.out.contains("in force"),
        "{said:?}"
    );
    assert_eq!(listed_by_nft(&lab.victim, "banned4", "198.18.0.9").unwrap()["timeout"], 600);
    let [ban] = bans(&guard).try_into().unwrap();
    assert_eq!((&ban["cause"], &ban["why"]), (&"operator".into(), &"asked by the provider".into()));
    let told = guard.wait_for(SOON, |event| event["event"] == "ban");
    assert_eq!(told["id"], ban["id"]);

    let more = ["198.18.1.0/24", "2001:db8:7::/48", "2001:db8::9", "198.18.0.10"];
    assert_eq!(guard.verb(&[&["ban"][..], &more, &["--for", "ever"]].concat()).code, 0);
    wait_for_bans(&lab.victim, &[&["198.18.0.9"][..], &more].concat());
    assert_eq!(
        listed_by_nft(&lab.victim, "banned6", "2001:db8::9"),
        None,
        "an element without a timeout is plain"
    );

    // By prefix, by number, and whatever lies inside.
    assert_eq!(guard.verb(&["unban", "198.18.0.10", ban["id"].as_str().unwrap()]).code, 0);
    wait_for_bans(&lab.victim, &more[..3]);
    assert_eq!(guard.verb(&["unban", "2001:db8::/32"]).code, 0);
    wait_for_bans(&lab.victim, &more[..1]);
    assert_eq!(guard.verb(&["unban", "198.18.0.77"]).code, 1);
    assert_eq!(guard.verb(&["unban", "b-ffff"]).code, 1);
    let said = guard.verb(&["ban", "198.18.1.7", "--for", "1m"]);
    assert_eq!(said.code, 1, "a wider ban holds for longer: {said:?}");
    assert!(said.err.contains("portcullis unban"), "{said:?}");
    let said = guard.verb(&["unban", "--all"]);
    assert_eq!((said.code, said.out.as_str()), (0, "1 ban has ended\n"));
    assert!(banned(&lab.victim).is_empty());
    assert!(bans(&guard).is_empty());
    assert_eq!(guard.stop(), 0);
}

#[test]
fn a_ban_of_somebody_protected_is_refused_and_says_whom_it_would_hit() {
    let Some(lab) = Lab::direct() else { return };
    lab.victim.ip("route add default via 10.77.0.254\n");
    let guard = Guard::configured(&lab.victim, "[protect]\nallow = [\"203.0.113.0/24\"]\n", &["--enforce"]);
    assert_eq!(guard.verb(&["allow", "192.0.2.7"]).code, 0);
    for (prefix, whom) in [
        ("10.77.0.2", "10.77.0.2/32 is not banned: it is an address of this host"),
        ("10.0.0.0/8", "10.77.0.2/32 in it is an address of this host"),
        ("10.77.0.254", "a default gateway"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("127.0.0.1", "127.0.0.1"),
        ("203.0.113.9", "203.0.113.0/24 in it is on the configured allow list"),
        ("192.0.2.0/24", "192.0.2.7/32 in it is"),
        ("fd77::/64", "fd77::2/128 in it is an address of this host"),
    ] {
        let said = guard.verb(&["ban", prefix]);
        assert_eq!((said.code, said.out.as_str()), (5, ""), "{prefix}: {said:?}");
        assert!(said.err.contains(whom), "{prefix}: {said:?}");
    }
    // One of many: the others are banned all the same.
    let said = guard.verb(&["ban", "198.18.0.1", "10.77.0.2", "198.18.0.2"]);
    assert_eq!((said.code, said.out.lines().count(), said.err.lines().count()), (5, 2, 1));
    wait_for_bans(&lab.victim, &["198.18.0.1", "198.18.0.2"]);
}

#[test]
fn who_is_allowed_by_hand_is_let_out_listed_and_forgotten() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let place = Place::new("");
    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    assert_eq!(guard.verb(&["ban", "10.77.0.1", "10.77.0.7"]).code, 0);
    assert_eq!(guard.verb(&["allow", "10.77.0.1"]).code, 0);
    wait_for_bans(&lab.victim, &["10.77.0.7"]);
    nmap(&lab.attacker, &["-sS", "-p", "21-40", &lab.victim4().to_string()]);
    let scan = guard.wait_for(SOON, |event| event["event"] == "scan");
    assert_eq!(scan["decision"], "protected");

    let said =
        guard.verb_with_input(&["allow", "-", "--for", "1h"], "# friends\n198.18.0.0/24\n2001:db8::/64\n");
    assert_eq!(said.code, 0, "{said:?}");
    let listed = guard.verb(&["allow", "--list", "--json"]).lines();
    let prefixes: Vec<&str> = listed.iter().map(|entry| entry["prefix"].as_str().unwrap()).collect();
    assert_eq!(prefixes, ["10.77.0.1/32", "198.18.0.0/24", "2001:db8::/64"]);
    assert_eq!(listed[0]["until"], "ever");
    assert!(listed[1]["until"].as_str().unwrap().ends_with('Z'));
    assert_eq!(guard.status()["allowances"], 3);

    assert_eq!(guard.verb(&["allow", "--remove", "198.18.0.0/24"]).code, 0);
    assert_eq!(guard.verb(&["allow", "--remove", "198.18.0.0/24"]).code, 1);
    assert_eq!(guard.verb(&["allow", "198.18.5.5", "--for", "1s"]).code, 0);
    guard.wait_for(SOON, |event| {
        event["event"] == "allow" && event["prefix"] == "198.18.5.5/32" && event["state"] == "taken back"
    });
    assert_eq!(guard.stop(), 0);

    let guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    let listed = guard.verb(&["allow", "--list"]);
    assert_eq!(listed.out.lines().count(), 2, "{listed:?}");
    assert_eq!(guard.verb(&["ban", "10.77.0.1"]).code, 5);
}

#[test]
fn a_mode_said_by_hand_outlives_a_restart_and_ends_with_reload() {
    let Some(lab) = Lab::direct() else { return };
    let place = Place::new("[respond]\nmode = \"observe\"\n");
    let is = |guard: &Guard, mode: &str, by: &str| {
        let status = guard.status();
        assert_eq!((&status["mode"], &status["mode_by"]), (&mode.into(), &by.into()));
    };
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    is(&guard, "observe", "configuration");
    assert_eq!(guard.verb(&["enforce"]).code, 0);
    is(&guard, "enforce", "by hand");
    guard.wait_for(SOON, |event| event["event"] == "enforce");
    guard.kill();

    let mut guard = Guard::at(&lab.victim, &place, &[]);
    is(&guard, "enforce", "by hand");
    assert_eq!(guard.verb(&["reload"]).code, 0);
    is(&guard, "observe", "configuration");
    assert_eq!(guard.stop(), 0);

    let mut guard = Guard::at(&lab.victim, &place, &["--enforce"]);
    is(&guard, "enforce", "command line");
    assert_eq!(guard.verb(&["observe"]).code, 0);
    is(&guard, "observe", "by hand");
    assert_eq!(guard.stop(), 0);
    is(&Guard::start(&lab.victim, &[]), "observe", "configuration");
}

#[test]
fn observing_lets_scanners_out_and_keeps_bans_by_hand() {
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nmap"]) {
        return;
    }
    let mut guard = Guard::configured(&lab.victim, BANS_EVERYBODY, &["--enforce"]);
    assert_eq!(guard.verb(&["ban", "198.18.0.1"]).code, 0);
    nmap(&lab.attacker, &["-sS", "-p", "21-40", &lab.victim4().to_string()]);
    guard.wait_for(SOON, |event| event["event"] == "ban" && event["prefix"] == "10.77.0.1/32");
    wait_for_bans(&lab.victim, &["10.77.0.1", "198.18.0.1"]);
    assert_eq!(guard.verb(&["observe"]).code, 0);
    wait_for_bans(&lab.victim, &["198.18.0.1"]);
    nmap(&lab.attacker, &["-sS", "-p", "21-40", &lab.victim4().to_string()]);
    let scan = guard.wait_for(SOON, |event| event["event"] == "scan" && event["decision"] == "observe");
    assert_eq!(scan["ban_seconds"], 1200, "he has been here before");
    let status = guard.status();
    assert_eq!(status["would_have_banned"], 1, "{status}");
}

#[test]
fn a_long_list_is_banned_in_seconds_and_outlives_a_restart() {
    const COUNT: usize = 20_000;
    let Some(lab) = Lab::direct() else { return };
    if !testbed::has(&["nft"]) {
        return;
    }
    let place = Place::new("");
    let mut guard = Guard::at(&lab.victim, &place, &["--observe"]);
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 0));
    let mut list = "# an abuse list\n\n".to_owned();
    list.extend(
        (0..COUNT as u32).map(|number| format!("{}  # number {number}\n", Ipv4Addr::from(first + number))),
    );
    let said = guard.verb_with_input(&["ban", "-", "--for", "1d", "--why", "listed"], &list);
    assert_eq!((said.code, said.out.as_str()), (0, "20000 done, 0 not\n"), "{said:?}");
    assert_eq!(banned(&lab.victim).len(), COUNT);
    assert_eq!(bans(&guard).len(), COUNT);
    // At once, while the store still has most of it before it.
    assert_eq!(guard.stop(), 0);

    lab.victim.run(&["nft", "flush", "ruleset"]);
    let guard = Guard::at(&lab.victim, &place, &["--observe"]);
    wait_until(SOON, "all bans to be in force again", || (banned(&lab.victim).len() == COUNT).then_some(()));
    let bans = bans(&guard);
    for ban in bans {
        assert_eq!((&ban["why"], &ban["state"]), (&"listed".into(), &"in force".into()), "{ban}");
    }
    assert_eq!(guard.verb(&["unban", "--all"]).out, "20000 bans have ended\n");
    assert!(banned(&lab.victim).is_empty());

    let said = guard.verb_with_input(&["ban", "-"], "198.18.0.1\nexample.org\n10.0.0.1/8\n");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("standard input:2: ") && said.err.contains("standard input:3: "), "{said:?}");
    assert!(banned(&lab.victim).is_empty(), "a list with faults does nothing");
}

#[test]
fn without_a_guard_verbs_say_so() {
    let place = Place::new("");
    let state = place.state();
    let state = state.to_str().unwrap();
    for words in [
        &["status"][..],
        &["bans"],
        &["ban", "198.18.0.1"],
        &["unban", "--all"],
        &["allow", "--list"],
        &["observe"],
        &["enforce"],
        &["reload"],
    ] {
        let said = portcullis(&[words, &["--state", state]].concat());
        assert_eq!((said.code, said.out.as_str()), (3, ""), "{words:?}: {said:?}");
        assert!(said.err.contains("portcullis run"), "{said:?}");
    }
    assert_eq!(portcullis(&["ban", "nobody"]).code, 2);
    assert_eq!(portcullis(&["--help"]).code, 0);
}

#[test]
fn a_configuration_is_checked_as_it_would_be_run() {
    let place = Place::new("[judge]\nby = \"trigger\"\ntrigger = 3\n");
    let file = place.configuration();
    let file = file.to_str().unwrap();
    let said = portcullis(&["check", file]);
    assert_eq!(said.code, 0, "{said:?}");

    place.configure("[judge]\ntriger = 3\n");
    let said = portcullis(&["check", file]);
    assert_eq!(said.code, 4);
    assert!(said.err.contains(&format!("{file}:2:1: ")) && said.err.contains("trigger"), "{said:?}");
    assert_eq!(portcullis(&["check", "/nowhere/portcullis.toml"]).code, 4);

    let old = place.file("portsentry.conf");
    fs::write(&old, "TCP_PORTS=\"1,11,15\"\nUDP_PORTS=\"7,9\"\nBLOCK_TCP=\"1\"\nSCAN_TRIGGER=\"2\"\n")
        .unwrap();
    let new = place.file("imported.toml");
    let said = portcullis(&["import", "portsentry", old.to_str().unwrap(), "-o", new.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(portcullis(&["check", new.to_str().unwrap()]).code, 0);
}

#[test]
fn the_control_socket_is_for_those_who_may() {
    let Some(lab) = Lab::direct() else { return };
    let place = Place::new("[control]\ngroup = \"daemon\"\n");
    let mut guard = Guard::at(&lab.victim, &place, &["--observe"]);
    let socket = place.state().join("ctl.sock");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o660);
    assert_eq!(mode(&place.state().join("portcullis.db")), 0o600);
    for directory in [place.state(), place.state().parent().unwrap().to_owned()] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o711)).unwrap();
    }
    let of = |user, group, words: &[&str]| verb_as(&lab.victim, user, group, &place, words);
    let status = of(NOBODY, NOBODY, &["status"]);
    assert_eq!(status.code, 77, "{status:?}");
    assert!(status.err.contains("group"), "{status:?}");

    assert_eq!(of(NOBODY, DAEMON, &["status"]).code, 0);
    assert_eq!(of(NOBODY, DAEMON, &["bans"]).code, 0);
    for words in
        [&["ban", "198.18.0.1"][..], &["unban", "--all"], &["enforce"], &["reload"], &["allow", "198.18.0.1"]]
    {
        let said = of(NOBODY, DAEMON, words);
        assert_eq!((said.code, said.out.as_str()), (77, ""), "{words:?}: {said:?}");
        assert!(said.err.contains("operators"), "{said:?}");
    }
    // Whatever somebody did to the file's mode, the peer's credentials are looked at.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(of(NOBODY, NOBODY, &["status"]).code, 77);

    place.configure("[control]\ngroup = \"daemon\"\noperators = [\"nobody\"]\n");
    assert_eq!(guard.verb(&["reload"]).code, 0);
    assert_eq!(of(NOBODY, DAEMON, &["ban", "198.18.0.1"]).code, 0);
    assert!(is_banned(&lab.victim, "198.18.0.1"));
    assert_eq!(guard.stop(), 0);
    assert!(!socket.exists());
}
