//! The door's bit: whose else it is.

use serde_json::Value;

use crate::knocks::{door, reload};
use crate::patient::{GUEST, Patient};

#[test]
fn a_bit_that_is_taken_is_named_with_its_owner_and_another_is_proposed() {
    let Some(mut patient) = Patient::with(&door("open_for = \"1h\"\nmark = 0x40000")) else { return };
    patient.serve();
    assert!(patient.enter(GUEST)[0]["grade"] == "ok");
    assert_eq!(patient.complaints(), Vec::<Value>::new());
    let others = [
        ("ip rule add fwmark 0x80000/0xff0000 lookup 52 pref 5210", "ip rule 5210", "Tailscale"),
        (
            "iptables -t mangle -N ts-forward; iptables -t mangle -A PREROUTING -j ts-forward; iptables -t mangle -A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000",
            "rule 1 of chain ts-forward in table ip mangle",
            "Tailscale",
        ),
        (
            "nft 'add table inet theirs; add chain inet theirs p { type filter hook forward priority 0; }; add rule inet theirs p meta mark and 0x40000 != 0 drop'",
            "rule 1 of chain p in table inet theirs",
            "",
        ),
    ];
    let clear = "ip rule del pref 5210; iptables -t mangle -F; nft delete table inet theirs; true";
    for (command, place, owner) in others {
        patient.shell(command);
        let complaints = patient.complaints();
        let what = complaints[0]["what"].as_str().unwrap();
        assert!(what.contains("its mark 0x40000 is used by others"), "{what}");
        assert!(what.contains(place) && what.contains(owner), "{what}");
        assert!(complaints[0]["mend"].to_string().contains("mark = 0x2000"), "{complaints:#?}");
        patient.shell(clear);
    }
    assert_eq!(patient.complaints(), Vec::<Value>::new());
}

#[test]
fn a_bit_that_is_proposed_is_nobody_elses() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.shell(
        "ip rule add fwmark 0x2000/0x2000 lookup main pref 77; \
         iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; \
         iptables -A INPUT -m mark --mark 0x1000/0x1000 -j DROP; iptables -P INPUT DROP",
    );
    let way = patient.enter(GUEST);
    let steps = way[0]["mend"].as_array().unwrap();
    assert_eq!(steps[0]["line"], "mark = 0x80", "{way:#}");
    patient.carry_out(&way[0]);
    assert!(patient.talks(GUEST));
    assert_eq!(patient.complaints(), Vec::<Value>::new());
    reload(&patient.guard);
}

#[test]
fn the_rule_of_each_firewall_is_printed_and_lets_the_guest_through() {
    for (firewall, rules) in [
        (
            "iptables",
            "iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; iptables -P INPUT DROP",
        ),
        (
            "nft",
            "nft 'add table inet filter; \
                  add chain inet filter input { type filter hook input priority 0; policy drop; }; \
                  add rule inet filter input ct state established accept'",
        ),
    ] {
        let Some(mut patient) = Patient::with(&door("open_for = \"1h\"\nmark = 0x100")) else { return };
        patient.serve();
        let findings = patient.doctor(&["--json"]).lines();
        let steps: Vec<&Value> = findings.iter().flat_map(|own| own["mend"].as_array()).flatten().collect();
        let rule =
            steps.iter().find(|step| step["firewall"] == firewall).unwrap_or_else(|| panic!("{findings:#?}"));
        patient.shell(rules);
        patient.enter(GUEST);
        assert!(!patient.talks(GUEST));
        patient.shell(rule["command"].as_str().unwrap());
        assert!(patient.talks(GUEST), "{rule}");
        assert_eq!(patient.complaints(), Vec::<Value>::new());
    }
}
