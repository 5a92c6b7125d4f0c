//! Other firewalls that drop what our chain has let through.

use crate::patient::{GUEST, GUEST6, Patient};

/// What a firewall with a memory begins with.
const STANDING: &str = "iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; \
                        iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -p icmp -j ACCEPT";

#[test]
fn a_policy_of_iptables_that_drops() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.shell(&format!("{STANDING}; iptables -P INPUT DROP"));
    patient.is_named_and_mended(
        GUEST,
        "the policy of chain INPUT in table ip filter drops a guest's first packet",
    );
}

#[test]
fn a_policy_of_iptables_that_drops_everything_both_ways() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.shell("iptables -P INPUT DROP; iptables -P OUTPUT DROP");
    let way = patient.enter(GUEST);
    assert!(!patient.talks(GUEST));
    let findings = way.as_array().unwrap().clone();
    assert_eq!(findings.len(), 2, "{way:#}");
    assert!(findings[1]["what"].to_string().contains("drops the answers of tcp 2222"), "{way:#}");
    for finding in &findings {
        patient.carry_out(finding);
    }
    assert!(patient.talks(GUEST), "{way:#}");
    assert!(patient.complaints().is_empty());
}

#[test]
fn a_rule_of_ip6tables_that_rejects() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.shell("ip6tables -A INPUT -p ipv6-icmp -j ACCEPT; ip6tables -A INPUT -p tcp --syn -j REJECT");
    patient.is_named_and_mended(GUEST6, "rule 2 of chain INPUT in table ip6 filter");
}

#[test]
fn a_chain_far_down_in_iptables() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.shell(&format!(
        "{STANDING}; iptables -N strangers; iptables -N rest; iptables -A INPUT -j strangers; \
         iptables -A strangers -s 10.99.0.0/16 -j ACCEPT; iptables -A strangers -p tcp -m multiport --dports 80,443 -j RETURN; \
         iptables -A strangers -m state --state NEW -j rest; iptables -A rest -m addrtype --dst-type LOCAL -j DROP"
    ));
    patient.is_named_and_mended(GUEST, "rule 1 of chain rest in table ip filter");
}

#[test]
fn a_table_of_nftables_with_a_policy() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.rules(
        "table inet filter {
            set friends { type ipv4_addr; flags interval; elements = { 10.99.0.0/16, 192.0.2.1-192.0.2.9 } }
            chain input {
                type filter hook input priority filter; policy drop
                ct state vmap { established : accept, related : accept, invalid : drop }
                iifname lo accept
                meta l4proto { icmp, ipv6-icmp } accept
                ip saddr @friends tcp dport { 22, 2000-3000 } accept
                ip saddr . tcp dport { 10.99.0.0/16 . 2222, 10.77.0.0/24 . 80-443 } accept
                tcp dport vmap { 80 : accept, 443 : goto web }
            }
            chain web {
                counter accept
            }
        }\n",
    );
    for guest in [GUEST, GUEST6] {
        if guest == GUEST {
            patient.is_named_and_mended(guest, "the policy of chain input in table inet filter drops");
        } else {
            // The rule of the first mend is of both families.
            let way = patient.enter(guest);
            assert_eq!(way[0]["grade"], "ok", "{way:#}");
            assert!(patient.talks(guest));
        }
    }
}

#[test]
fn ufw_as_it_is_after_enable() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.lab.victim.run_with_input(&["iptables-restore"], UFW);
    patient.is_named_and_mended(GUEST, "the policy of chain INPUT in table ip filter drops");
    let rules = patient.lab.victim.run(&["iptables", "-S", "ufw-before-input"]);
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(rules.lines().nth(1).is_some_and(|first| first.contains("--mark 0x2000/0x2000")), "{rules}");
}

#[test]
fn what_is_to_be_kept_for_ufw_helps_after_it_has_loaded_anew() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.lab.victim.run_with_input(&["iptables-restore"], UFW);
    let way = patient.enter(GUEST);
    patient.carry_out(&way[0]);
    patient.lab.victim.run_with_input(&["iptables-restore"], UFW);
    assert!(!patient.talks(GUEST));
    let steps = way[0]["mend"].as_array().unwrap();
    let keep = steps.iter().find(|step| step["do"] == "keep").unwrap();
    assert_eq!(keep["file"], "/etc/ufw/before.rules, above COMMIT");
    let kept = UFW.replacen("COMMIT", &format!("{}\nCOMMIT", keep["line"].as_str().unwrap()), 1);
    patient.lab.victim.run_with_input(&["iptables-restore"], &kept);
    assert!(patient.talks(GUEST), "{kept}");
}

#[test]
fn firewalld_with_nftables_beneath_it() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.rules(FIREWALLD);
    patient.is_named_and_mended(GUEST, "of chain filter_INPUT in table inet firewalld");
}

#[test]
fn two_firewalls_one_behind_the_other() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.rules(FIREWALLD);
    patient.shell(&format!("{STANDING}; iptables -P INPUT DROP"));
    let way = patient.enter(GUEST);
    assert_eq!(way.as_array().unwrap().len(), 2, "{way:#}");
    for finding in way.as_array().unwrap() {
        assert!(!patient.talks(GUEST));
        patient.carry_out(finding);
    }
    assert!(patient.talks(GUEST));
    assert!(patient.complaints().is_empty());
}

#[test]
fn a_rule_that_cannot_be_read_is_named_instead_of_guessed_at() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.shell("iptables -A INPUT -p tcp --dport 2222 -m recent --name far --rcheck --seconds 9 -j DROP");
    let way = patient.enter(GUEST);
    assert_eq!(way[0]["grade"], "warning", "{way:#}");
    let what = way[0]["what"].as_str().unwrap();
    assert!(what.contains("is not known: rule 1 of chain INPUT in table ip filter"), "{what}");
    assert!(what.contains("iptables' recent"), "{what}");
    assert!(patient.talks(GUEST));
    // Where it makes no difference, it is no doubt.
    patient.shell(
        "iptables -P INPUT DROP; iptables -F INPUT; iptables -A INPUT -m recent --name far --rcheck -j DROP",
    );
    let said = patient.doctor(&[]);
    assert!(
        said.out.contains("in table ip filter") && said.out.contains("drops a guest's first packet"),
        "{said:?}"
    );
}

#[test]
fn who_drops_before_us_cannot_be_helped_by_a_mark_and_it_is_said() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.shell("nft 'add table inet early; add chain inet early p { type filter hook prerouting priority -400; }; add rule inet early p tcp dport 2222 drop'");
    let way = patient.enter("10.77.0.1");
    let what = way[0]["what"].as_str().unwrap();
    assert!(what.contains("rule 1 of chain p in table inet early"), "{way:#}");
    assert!(way[0]["mend"][0]["text"].as_str().unwrap().contains("make an exception there"), "{way:#}");
}

#[test]
fn a_mark_that_somebody_wipes_off_is_noticed() {
    let Some(mut patient) = Patient::new() else { return };
    patient.serve();
    patient.shell(&format!("{STANDING}; iptables -P INPUT DROP"));
    patient.is_named_and_mended(GUEST, "drops a guest's first packet");
    patient.shell("iptables -t mangle -A PREROUTING -j CONNMARK --restore-mark");
    assert!(!patient.talks(GUEST));
    let complaints = patient.complaints();
    assert!(
        complaints[0]["what"].as_str().unwrap().contains("drops a guest's first packet"),
        "{complaints:#?}"
    );
}

/// Of `ufw enable` on Debian 12, shortened by its logging and its rules for ICMP.
const UFW: &str = "*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-after-input - [0:0]
:ufw-after-logging-input - [0:0]
:ufw-before-input - [0:0]
:ufw-before-logging-input - [0:0]
:ufw-logging-deny - [0:0]
:ufw-not-local - [0:0]
:ufw-reject-input - [0:0]
:ufw-skip-to-policy-input - [0:0]
:ufw-track-input - [0:0]
:ufw-user-input - [0:0]
-A INPUT -j ufw-before-logging-input
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-after-logging-input
-A INPUT -j ufw-reject-input
-A INPUT -j ufw-track-input
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-after-input -m addrtype --dst-type BROADCAST -j ufw-skip-to-policy-input
-A ufw-after-logging-input -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix \"[UFW BLOCK] \"
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-skip-to-policy-input -j DROP
-A ufw-user-input -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
";

/// Of firewalld 1.3 with its zone `public`, shortened by what is not at the hook `input`.
const FIREWALLD: &str = "table inet firewalld {
    chain mangle_PREROUTING {
        type filter hook prerouting priority mangle + 10; policy accept;
        jump mangle_PREROUTING_ZONES
    }
    chain mangle_PREROUTING_ZONES { iifname \"eth0\" goto mangle_PRE_public
        goto mangle_PRE_public
    }
    chain mangle_PRE_public {
    }
    chain filter_PREROUTING {
        type filter hook prerouting priority filter + 10; policy accept;
        icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
        meta nfproto ipv6 fib saddr . mark . iif oif missing drop
    }
    chain filter_INPUT {
        type filter hook input priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname \"lo\" accept
        ct state invalid drop
        jump filter_INPUT_ZONES
        reject with icmpx admin-prohibited
    }
    chain filter_INPUT_ZONES {
        iifname \"eth0\" goto filter_IN_public
        goto filter_IN_public
    }
    chain filter_IN_public {
        jump filter_IN_public_allow
        meta l4proto { icmp, ipv6-icmp } accept
    }
    chain filter_IN_public_allow {
        tcp dport 22 accept
        ip6 daddr fe80::/64 udp dport 546 accept
    }
}
";
