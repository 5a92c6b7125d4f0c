//! Who is at home on the host, or needed by it, is never blocked; and blocking can be tried without being locked out.

use std::fs;

use serde_json::Value;
use testbed::{Lab, wait_until};

use crate::harness::{Guard, Place, SOON};

/// Runs the program behind it with `$1` as its `/run`, and `$2` as its `/etc/hosts`.
const AT_HOME: &str = "mount --bind \"$1\" /run && mount --bind \"$2\" /etc/hosts && shift 2 && exec \"$@\"";

/// The reason for which `status` says that an address is protected.
fn reason(guard: &Guard, prefix: &str) -> Option<String> {
    let status = guard.status();
    let all = status["protected"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|own| own["prefix"] == prefix)?;
    Some(found["why"].as_str()?.to_owned())
}

#[test]
fn names_and_people_who_are_logged_in_are_protected_as_long_as_they_are() {
    let Some(lab) = Lab::direct() else { return };
    let place = Place::new("[protect]\nallow = [\"friend.example\", \"nobody.invalid\"]\n");
    let (run, hosts) = (place.file("run"), place.file("hosts"));
    let sessions = run.join("systemd/sessions");
    fs::create_dir_all(&sessions).unwrap();
    fs::write(&hosts, "127.0.0.1 localhost\n198.18.0.7 friend.example\n").unwrap();
    let (run, hosts) = (run.to_str().unwrap(), hosts.to_str().unwrap());
    let through = ["unshare", "--mount", "--propagation", "private", "sh", "-c", AT_HOME, "sh", run, hosts];
    let mut command = place.command_through(&lab.victim, &through, &["--enforce"]);
    let mut guard = Guard::of(&mut command, &place.state());

    let by_name = wait_until(SOON, "the name to be known", || reason(&guard, "198.18.0.7/32"));
    assert!(by_name.contains("name"), "{by_name}");
    let said = guard.verb(&["ban", "198.18.0.7"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("what a name on the configured allow list leads to"), "{said:?}");

    assert_eq!(guard.verb(&["ban", "198.18.0.9"]).code, 0);
    let session = "STATE=active\nCLASS=user\nREMOTE=1\nREMOTE_HOST=198.18.0.9\n";
    fs::write(sessions.join("c1"), session).unwrap();
    let told = guard.wait_for(SOON, |event| event["event"] == "unban" && event["prefix"] == "198.18.0.9/32");
    assert_eq!(told["why"], "protected now");
    assert_eq!(reason(&guard, "198.18.0.9/32").unwrap(), "where somebody is logged in from");
    assert_eq!(guard.verb(&["ban", "198.18.0.0/24"]).code, 5);
    let shown = guard.verb(&["status"]).out;
    assert!(shown.contains(" 198.18.0.7/32: what a name"), "{shown}");

    fs::remove_file(sessions.join("c1")).unwrap();
    wait_until(SOON, "the session to be over", || reason(&guard, "198.18.0.9/32").is_none().then_some(()));
    assert_eq!(guard.verb(&["ban", "198.18.0.9"]).code, 0);
    assert_eq!(guard.stop(), 0);
}

#[test]
fn the_networks_of_own_containers_are_protected_and_a_bridge_over_a_card_is_not() {
    let Some(lab) = Lab::direct() else { return };
    lab.victim.ip("link add docker0 type bridge\nlink set docker0 up\naddr add 172.17.0.1/16 dev docker0\n\
         link add veth7 type veth peer name far7\nlink set veth7 master docker0\n");
    let guard = Guard::start(&lab.victim, &["--enforce"]);
    let said = guard.verb(&["ban", "172.17.0.5"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("containers"), "{said:?}");
    lab.victim
        .ip("link add far0 type vxlan id 7 dstport 4789 remote 10.77.0.1\nlink set far0 master docker0\n");
    wait_until(SOON, "the bridge to lead elsewhere", || {
        reason(&guard, "172.17.0.0/16").is_none().then_some(())
    });
    assert_eq!(guard.verb(&["ban", "172.17.0.5"]).code, 0);
}

#[test]
fn an_unconfirmed_trial_ends_by_itself_also_after_a_kill() {
    let Some(lab) = Lab::direct() else { return };
    let place = Place::new("");
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    let said = guard.verb(&["enforce", "--confirm", "10m"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("on trial until") && said.out.contains("enforce --keep"), "{said:?}");
    let status = guard.status();
    assert_eq!((&status["mode"], &status["mode_by"]), (&"enforce".into(), &"by hand".into()));
    let until = status["mode_until"].clone();
    guard.kill();
    let mut guard = Guard::at(&lab.victim, &place, &[]);
    let status = guard.status();
    assert_eq!(status["mode"], "enforce");
    let seconds = |time: &Value| time.as_str().unwrap()[..19].to_owned();
    assert_eq!(
        seconds(&status["mode_until"])[..16],
        seconds(&until)[..16],
        "it goes on, and is not begun anew"
    );

    let said = guard.verb(&["enforce", "--confirm", "1s"]);
    assert_eq!(said.code, 0, "{said:?}");
    let told = guard.wait_for(SOON, |event| event["event"] == "observe");
    assert!(told["by"].as_str().unwrap().contains("confirmed"), "{told}");
    assert_eq!(guard.verb(&["enforce", "--keep"]).code, 1, "too late");
    guard.kill();
    let guard = Guard::at(&lab.victim, &place, &[]);
    assert_eq!(guard.status()["mode"], "observe");
}

#[test]
fn a_confirmed_trial_stays_and_observing_for_a_while_returns() {
    let Some(lab) = Lab::direct() else { return };
    let mut guard = Guard::start(&lab.victim, &[]);
    assert_eq!(guard.verb(&["observe", "--for", "1h"]).code, 1, "there is nothing to return to");
    assert_eq!(guard.verb(&["enforce", "--confirm", "10m"]).code, 0);
    assert_eq!(guard.verb(&["enforce", "--keep"]).code, 0);
    assert_eq!(guard.status()["mode_until"], Value::Null);
    assert_eq!(guard.verb(&["enforce", "--confirm", "10m"]).code, 1, "what holds is not put at risk");
    assert_eq!(guard.verb(&["observe", "--for", "1s"]).code, 0);
    let observes = guard.running.count();
    guard.wait_for_after(observes.saturating_sub(2), SOON, |event| {
        event["event"] == "enforce" && event["by"].as_str().is_some_and(|by| by.contains("observing is over"))
    });
    assert_eq!(guard.status()["mode"], "enforce");
}
