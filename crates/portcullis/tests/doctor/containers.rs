//! A port that is a container's.

use std::net::SocketAddr;

use serde_json::Value;
use testbed::Namespace;

use crate::knocks::{SERVICE, door};
use crate::patient::{GUEST, Patient, STRANGER, echo, talks};

/// A patient whose door leads into a container, and the container.
fn with_container(configuration: &str) -> Option<(Patient, Namespace)> {
    let patient = Patient::with(configuration)?;
    let container = Namespace::new()?;
    patient.lab.victim.join("docker0", &container, "eth0");
    patient.lab.victim.ip("addr add 172.20.0.1/24 dev docker0\n");
    container.ip("addr add 172.20.0.2/24 dev eth0\nroute add default via 172.20.0.1\n");
    echo(&container, "0.0.0.0", 80);
    patient.shell(&format!(
        "iptables -t nat -N DOCKER; \
         iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER; \
         iptables -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport {SERVICE} -j DNAT --to-destination 172.20.0.2:80; \
         iptables -N DOCKER-USER; iptables -N DOCKER; iptables -P FORWARD DROP; \
         iptables -A FORWARD -j DOCKER-USER; \
         iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; \
         iptables -A FORWARD -o docker0 -j DOCKER; \
         iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT; \
         iptables -A DOCKER -d 172.20.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT"
    ));
    Some((patient, container))
}

fn reaches(patient: &Patient, source: &str) -> bool {
    talks(&patient.lab.attacker, source, SocketAddr::new(patient.lab.victim4().into(), SERVICE))
}

#[test]
fn a_published_port_is_followed_into_its_container() {
    let Some((mut patient, _container)) = with_container(&door("open_for = \"1h\"")) else { return };
    patient.lab.victim.sysctl("net.ipv4.ip_forward", "1");
    let way = patient.enter(GUEST);
    assert_eq!(way[0]["grade"], "ok", "{way:#}");
    assert!(reaches(&patient, GUEST) && !reaches(&patient, STRANGER));
}

#[test]
fn a_host_that_forwards_nothing_is_named() {
    let Some((mut patient, _container)) = with_container(&door("open_for = \"1h\"")) else { return };
    patient.lab.victim.sysctl("net.ipv4.ip_forward", "0");
    patient.is_named_and_mended(GUEST, "but this host forwards nothing");
}

#[test]
fn a_drop_for_containers_is_mended_where_docker_keeps_a_place_for_it() {
    let Some((mut patient, _container)) = with_container(&door("open_for = \"1h\"")) else { return };
    patient.lab.victim.sysctl("net.ipv4.ip_forward", "1");
    patient.shell("iptables -A DOCKER-USER -i eth0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -A DOCKER-USER -i eth0 -j DROP");
    patient.is_named_and_mended(GUEST, "rule 2 of chain DOCKER-USER in table ip filter");
    let rules = patient.lab.victim.run(&["iptables", "-S", "DOCKER-USER"]);
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(rules.lines().nth(1).is_some_and(|first| first.contains("--dport 80 -m mark")), "{rules}");
}

#[test]
fn the_rule_for_docker_goes_by_the_published_port() {
    let configuration = door("open_for = \"1h\"\nmark = 0x100");
    let Some((mut patient, _container)) = with_container(&configuration) else { return };
    patient.lab.victim.sysctl("net.ipv4.ip_forward", "1");
    patient.shell("iptables -A DOCKER-USER -i eth0 -m conntrack --ctstate ESTABLISHED -j ACCEPT; iptables -A DOCKER-USER -i eth0 -j DROP");
    patient.enter(GUEST);
    assert!(!reaches(&patient, GUEST));
    let findings = patient.doctor(&["--json"]).lines();
    let mut steps = findings.iter().flat_map(|own| own["mend"].as_array()).flatten();
    let rule = steps.find(|step| step["firewall"] == "docker").unwrap();
    patient.shell(rule["command"].as_str().unwrap());
    assert!(reaches(&patient, GUEST) && !reaches(&patient, STRANGER), "{rule}");
    let of_doors: Vec<Value> =
        patient.complaints().into_iter().filter(|own| own["guest"].is_string()).collect();
    assert_eq!(of_doors, Vec::<Value>::new());
}

#[test]
fn a_policy_of_forward_without_docker() {
    let Some((mut patient, _container)) = with_container(&door("open_for = \"1h\"")) else { return };
    patient.lab.victim.sysctl("net.ipv4.ip_forward", "1");
    patient.shell("iptables -F FORWARD; iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT");
    patient.is_named_and_mended(GUEST, "the policy of chain FORWARD in table ip filter");
}

#[test]
fn a_translation_in_words_of_nft_is_followed_too() {
    let Some(mut patient) = Patient::new() else { return };
    echo(&patient.lab.victim, "::", 8080);
    patient.rules(&format!(
        "table ip mine {{
            map ports {{ type inet_service : inet_service; elements = {{ {SERVICE} : 8080 }} }}
            chain prerouting {{ type nat hook prerouting priority dstnat; policy accept
                ip daddr 10.77.0.2 tcp dport {SERVICE} redirect to :tcp dport map @ports
            }}
            chain input {{ type filter hook input priority filter; policy accept
                ct state established accept
                tcp dport 8080 drop
            }}
        }}\n"
    ));
    patient.is_named_and_mended(GUEST, "rule 2 of chain input in table ip mine");
    assert_eq!(patient.complaints(), Vec::<Value>::new());
}
