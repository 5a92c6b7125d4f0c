//! What the program needs of its host.

use serde_json::Value;
use testbed::Namespace;

use crate::harness::{PROGRAM, Place, Said};
use crate::knocks::door;
use crate::patient::{GUEST, Patient};

fn finding<'a>(findings: &'a [Value], place: &str) -> &'a Value {
    let of_place = findings.iter().find(|own| own["where"] == place && own["grade"] != "ok");
    of_place.unwrap_or_else(|| panic!("nothing of {place}: {findings:#?}"))
}

#[test]
fn a_state_directory_on_a_read_only_file_system_is_named_and_mended() {
    let Some(host) = Namespace::with_mounts() else { return };
    let place = Place::new("");
    let configuration = place.configuration();
    host.run(&["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/var/lib"]);
    let look = || -> Said {
        let mut command = host.command(PROGRAM);
        command.args(["doctor", "--json", "-c"]).arg(&configuration).args(["--state", "/var/lib/portcullis"]);
        command.output().unwrap().into()
    };
    let said = look();
    let findings = said.lines();
    let fault = finding(&findings, "state");
    assert_eq!(fault["what"], "/var/lib/portcullis cannot be written: its file system is read-only");
    assert_eq!((said.code, &fault["grade"]), (1, &"fault".into()), "{said:?}");
    let command = fault["mend"][0]["command"].as_str().unwrap();
    host.run(&["sh", "-c", command]);
    let findings = look().lines();
    assert!(findings.iter().any(|own| own["where"] == "state" && own["grade"] == "ok"), "{findings:#?}");
}

#[test]
fn without_the_rights_it_says_what_it_could_not_see_and_ends_with_77() {
    let Some(mut patient) = Patient::new() else { return };
    if !testbed::has(&["setpriv"]) {
        return;
    }
    patient.serve();
    patient.enter(GUEST);
    let mut command = patient.lab.victim.command("setpriv");
    command.args(["--bounding-set", "-net_admin,-net_raw", "--inh-caps", "-net_admin,-net_raw", PROGRAM]);
    command.args(["doctor", "--json", "--state"]).arg(patient.place.state());
    let said = Said::from(command.output().unwrap());
    assert_eq!(said.code, 77, "{said:?}");
    let findings = said.lines();
    assert_eq!(finding(&findings, "rights")["what"], "this check lacks CAP_NET_RAW and CAP_NET_ADMIN");
    let what = finding(&findings, "door ssh")["what"].as_str().unwrap().to_owned();
    assert!(
        what.starts_with("whether the rules in force let a guest through to tcp 2222 is not known"),
        "{what}"
    );
}

#[test]
fn an_interface_that_is_not_there_and_other_firewalls_are_named() {
    let configuration = format!("[watch]\ninterfaces = [\"eth0\", \"eth9\"]\n{}", door(""));
    let Some(patient) = Patient::with(&configuration) else { return };
    patient.serve();
    patient.shell("iptables -A INPUT -p tcp --dport 9 -j DROP");
    let said = patient.doctor(&["--json"]);
    let findings = said.lines();
    let firewalls = findings.iter().find(|own| own["where"] == "firewalls").unwrap();
    assert_eq!(firewalls["what"], "besides our table these decide too: ip filter");
    let complaints = patient.complaints();
    assert_eq!(complaints.len(), 1, "{said:?}");
    assert!(complaints[0]["what"].as_str().unwrap().contains("eth9"), "{complaints:#?}");
    // While the program does not run, the verb sees it itself.
    let mut patient = patient;
    assert_eq!(patient.guard.stop(), 0);
    let configuration = patient.place.configuration();
    let findings = patient.doctor(&["--json", "-c", configuration.to_str().unwrap()]).lines();
    assert_eq!(finding(&findings, "interfaces")["what"], "eth9, named in [watch], is not there");
}

#[test]
fn a_ruleset_that_was_flushed_while_nobody_watched_is_named() {
    let Some(mut patient) = Patient::with(&format!("[respond]\nmode = \"enforce\"\n{}", door(""))) else {
        return;
    };
    patient.serve();
    assert_eq!(patient.complaints(), Vec::<Value>::new());
    patient.guard.kill();
    patient.shell("nft flush ruleset");
    let configuration = patient.place.configuration();
    let said = patient.doctor(&["--json", "-c", configuration.to_str().unwrap()]);
    let findings = said.lines();
    assert_eq!(finding(&findings, "table")["grade"], "fault");
    assert_eq!(finding(&findings, "portcullis")["what"], "the program does not run");
    // Its mend is to start the program: systemd is not here to do it.
    let mut again = crate::harness::Guard::at(&patient.lab.victim, &patient.place, &[]);
    assert_eq!(patient.complaints(), Vec::<Value>::new());
    assert_eq!(again.stop(), 0);
}
