//! What can be seen of the kinds that need more than a look at one packet, and what can't: said by `check` of a
//! configuration and by `status` of the running program (`docs/decisions/0009-seeing-ack-scans.md`).

use std::net::IpAddr;

use portcullis_core::net::PortSet;
use portcullis_core::policy::Local;
use portcullis_core::scan::{FIRST_CHOSEN_PORT, MANY_PINGED};

use super::guard::Vitals;
use super::plan::Plan;
use super::surroundings::Look;

/// Where a segment with ACK is looked at: watched ports that no stack chooses for connections of its own. Ports with a
/// service are taken out as their traffic comes.
pub fn acks(watched: &PortSet, ephemeral: (u16, u16)) -> PortSet {
    let chosen = [ephemeral, (FIRST_CHOSEN_PORT, u16::MAX)].into_iter().filter(|(low, high)| low <= high);
    watched.without(&PortSet::from_ranges(chosen))
}

/// Whether this host has so many addresses that pings of them could be a sweep.
pub fn are_pings_seen(local: &Local) -> bool {
    let Local::Addresses(own) = local else { return false };
    let is_pinged = |address: &&IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    own.iter().filter(is_pinged).count() >= MANY_PINGED
}

/// What the running program can't see now, and why.
pub fn unseen(plan: &Plan, look: &Look, vitals: &Vitals, engine: &str) -> Vec<String> {
    if plan.persona.is_some() || plan.knockd.is_some() {
        return Vec::new();
    }
    if engine == "listen" {
        return vec![
            "half-open, odd and cut-up probes, SCTP, other protocols and pings: plain sockets see none"
                .to_owned(),
        ];
    }
    let mut unseen = vec![acks_unseen(&look.filter.acks, vitals.are_acks_unseen)];
    if !look.filter.pings {
        unseen
            .push(format!("pings: this host has fewer than {MANY_PINGED} addresses, nobody can sweep them"));
    }
    unseen
}

fn acks_unseen(acks: &PortSet, is_given_up: bool) -> String {
    match (acks.count(), is_given_up) {
        (0, _) => "ACK and Window scans: every watched port may belong to a connection of this host".to_owned(),
        (_, true) => {
            "ACK and Window scans: ordinary connections have too many ports here; looked for again in five minutes"
                .to_owned()
        }
        (..) => format!("ACK and Window scans but of ports {acks} without a service"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_looked_at_where_no_stack_has_chosen_the_port() {
        assert_eq!(acks(&PortSet::all(), (32_768, 60_999)).to_string(), "0-32767");
        assert_eq!(acks(&"1-65535".parse().unwrap(), (10_000, 20_000)).to_string(), "1-9999, 20001-32767");
        assert_eq!(acks(&"1-65535".parse().unwrap(), (1024, 65_535)).to_string(), "1-1023");
        assert_eq!(acks(&"22".parse().unwrap(), (60_999, 32_768)).to_string(), "22", "a range turned round");
    }

    #[test]
    fn a_host_with_few_addresses_looks_at_no_pings() {
        let local = |addresses: &[&str]| {
            Local::Addresses(addresses.iter().map(|address| address.parse().unwrap()).collect())
        };
        let few = ["127.0.0.1", "::1", "192.0.2.1", "fe80::1", "fe80::2", "fe80::3", "2001:db8::1"];
        assert!(!are_pings_seen(&local(&few)));
        assert!(are_pings_seen(&local(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"])));
    }
}
