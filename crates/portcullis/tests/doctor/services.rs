//! What is behind the door: nothing, or something that listens elsewhere.

use serde_json::Value;

use crate::knocks::SERVICE;
use crate::patient::{GUEST, Patient, echo};

#[test]
fn a_guest_who_comes_freely_is_told_so() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    let way = patient.enter(GUEST);
    assert_eq!(way[0]["grade"], "ok", "{way:#}");
    assert!(patient.talks(GUEST));
    assert_eq!(patient.complaints(), Vec::<Value>::new());
    assert!(patient.guard.told("fault").is_empty());
    let said = patient.guard.verb(&["doors"]);
    assert!(said.out.contains("can be reached"), "{said:?}");
}

#[test]
fn a_door_without_a_service_behind_it_is_named() {
    let Some(mut patient) = Patient::new() else { return };
    let way = patient.enter(GUEST);
    assert_eq!(way[0]["what"], format!("nothing listens on tcp {SERVICE}"));
    assert_eq!(patient.complaints().len(), 1);
    patient.serve();
    assert_eq!(patient.complaints(), Vec::<Value>::new());
}

#[test]
fn a_service_on_the_loopback_or_another_address_is_named() {
    for (address, elsewhere) in
        [("127.0.0.1", "127.0.0.1"), ("10.77.0.3", "10.77.0.3"), ("fd77::2", "fd77::2")]
    {
        let Some(mut patient) = Patient::new() else { return };
        patient.lab.victim.ip("addr add 10.77.0.3/24 dev eth0\n");
        echo(&patient.lab.victim, address, SERVICE);
        let way = patient.enter(GUEST);
        let says = format!(
            "the service on tcp {SERVICE} listens only on {elsewhere}, and the guest comes to 10.77.0.2"
        );
        assert_eq!(way[0]["what"], says, "{way:#}");
        assert!(!patient.talks(GUEST));
        let said = patient.doctor(&[]);
        assert!(said.out.contains(&says) && said.code == 1, "{said:?}");
        let last = way[0]["mend"][0]["text"].as_str().unwrap();
        assert!(last.contains("let it listen on 10.77.0.2"), "{last}");
    }
}

#[test]
fn without_a_running_program_the_configuration_is_read_and_its_absence_told() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    let configuration = patient.place.configuration();
    let configuration = configuration.to_str().unwrap();
    assert_eq!(patient.guard.stop(), 0);
    let said = patient.doctor(&["--json", "-c", configuration]);
    let findings = said.lines();
    let of = |place: &str| findings.iter().find(|own| own["where"] == place).unwrap_or(&Value::Null);
    assert_eq!(of("portcullis")["grade"], "warning", "{said:?}");
    assert_eq!(of("table")["grade"], "ok", "the doors stay shut: {said:?}");
    assert_eq!(of("door ssh")["grade"], "ok", "{said:?}");
    assert_eq!(said.code, 1);
    patient.shell("nft delete table inet portcullis");
    let said = patient.doctor(&["--json", "-c", configuration]);
    let gone = said.lines().into_iter().find(|own| own["where"] == "table").unwrap();
    assert_eq!(gone["grade"], "fault", "{said:?}");
    patient.place.configure("[door.ssh]\nkind = \"sequence\"\n");
    let said = patient.doctor(&["--json", "-c", configuration]);
    assert!(said.code == 1 && said.out.contains("configuration"), "{said:?}");
}
