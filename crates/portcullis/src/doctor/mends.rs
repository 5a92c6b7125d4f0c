//! The rule that lets a guest through another firewall, ready to be used, in the words of whoever keeps that firewall.
//!
//! It stands on the door's mark and names protocol and port as well. A rule that is proposed for a firewall's own place
//! for such rules is tried there first, on a copy of the rules that were read.

use std::net::IpAddr;

use portcullis_core::net::Protocol;
use portcullis_sys::nftables::ruleset::{
    Chain, Comparison, Expression, Family, Field, Hook, Rule, Ruleset, Verdict,
};

use super::finding::Step;
use super::way::packet::ESTABLISHED;
use super::way::{Dropped, Leg, Trip, Which, walk};

/// What a rule is to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The ports, from and to, as they are where the rule stands.
    pub ports: (u16, u16),
    /// The door's bit.
    pub mark: u32,
    /// Which packets.
    pub which: Which,
}

impl Wanted {
    /// In the words of iptables.
    #[must_use]
    pub fn iptables(&self) -> String {
        let (transport, port) = (self.protocol.name(), self.between(':'));
        match self.which {
            Which::First => {
                let mark = self.mark;
                format!("-p {transport} --dport {port} -m mark --mark {mark:#x}/{mark:#x} -j ACCEPT")
            }
            Which::Later => {
                format!("-p {transport} --dport {port} -m conntrack --ctstate ESTABLISHED -j ACCEPT")
            }
            Which::Answer => {
                format!("-p {transport} --sport {port} -m conntrack --ctstate ESTABLISHED -j ACCEPT")
            }
        }
    }

    /// In the words of nft.
    #[must_use]
    pub fn nft(&self) -> String {
        let (transport, port) = (self.protocol.name(), self.between('-'));
        match self.which {
            Which::First => {
                let mark = self.mark;
                format!("{transport} dport {port} meta mark and {mark:#x} == {mark:#x} accept")
            }
            Which::Later => format!("{transport} dport {port} ct state established accept"),
            Which::Answer => format!("{transport} sport {port} ct state established accept"),
        }
    }

    fn between(&self, sign: char) -> String {
        match self.ports {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low}{sign}{high}"),
        }
    }

    /// What such a rule does, without protocol and port, which are known to be right.
    fn expressions(&self) -> Vec<Expression> {
        let (field, bits) = match self.which {
            Which::First => (Field::Meta(3), self.mark),
            Which::Later | Which::Answer => (Field::Connection(0, None), ESTABLISHED),
        };
        let bits = bits.to_ne_bytes().to_vec();
        vec![
            Expression::Load { into: 0, field },
            Expression::Bitwise { from: 0, into: 0, mask: bits.clone(), flip: vec![0; 4] },
            Expression::Compare { register: 0, how: Comparison::Equal, value: bits },
            Expression::Verdict(Verdict::Accept),
        ]
    }
}

/// The one static rule that honours a door's mark, for each kind of firewall: its name, and the command.
#[must_use]
pub fn static_rules(wanted: &Wanted) -> Vec<(&'static str, String)> {
    let (iptables, nft) = (wanted.iptables(), wanted.nft());
    let (transport, ports, mark) = (wanted.protocol.name(), wanted.between(':'), wanted.mark);
    // As it was before it was sent on to the container, whose own port may be another.
    let of_container = format!(
        "-p {transport} -m conntrack --ctorigdstport {ports} -m mark --mark {mark:#x}/{mark:#x} -j ACCEPT"
    );
    vec![
        ("iptables", format!("iptables -I INPUT {iptables}")),
        ("nft", format!("nft insert rule inet filter input {nft}")),
        ("ufw", format!("iptables -I ufw-before-input {iptables}")),
        ("firewalld", format!("nft insert rule inet firewalld filter_INPUT {nft}")),
        ("docker", format!("iptables -I DOCKER-USER {of_container}")),
    ]
}

/// How to let through what was dropped.
#[must_use]
pub fn for_drop(
    ruleset: &Ruleset,
    table: &str,
    trip: &Trip,
    dropped: &Dropped,
    mark: u32,
    leg: &dyn Fn(IpAddr) -> Option<Leg>,
) -> Vec<Step> {
    let (family, name) = (dropped.by.family, &dropped.by.table);
    if dropped.which == Which::First && !dropped.sees_mark {
        return vec![Step::advice(format!(
            "make an exception there for {} {}: that chain comes before ours, so that no mark is on the packet yet",
            trip.protocol.name(),
            dropped.port
        ))];
    }
    let wanted =
        Wanted { protocol: trip.protocol, ports: (dropped.port, dropped.port), mark, which: dropped.which };
    let is_ipv6 = trip.guest.is_ipv6();
    if !is_plain(name) || !is_plain(&dropped.base) {
        let text = format!(
            "put this rule first into chain {} of table {} {name}: {}",
            dropped.base,
            family.name(),
            wanted.nft()
        );
        return vec![Step::advice(text)];
    }
    let is_fit = |chain: &str| {
        is_chain(ruleset, family, name, chain) && helps(ruleset, table, trip, dropped, &wanted, chain, leg)
    };
    if name == "firewalld" {
        return of_firewalld(ruleset, family, &dropped.base, &wanted);
    }
    if !is_iptables(ruleset, family, name, &dropped.base) {
        let command = format!("nft insert rule {} {name} {} {}", family.name(), dropped.base, wanted.nft());
        let line =
            format!("chain {} of table {} {name}, first: {}", dropped.base, family.name(), wanted.nft());
        return vec![Step::run(command), Step::Keep { file: "your nftables.conf".to_owned(), line }];
    }
    let program = iptables_program(is_ipv6);
    let rule = wanted.iptables();
    if let Some(chain) = ufw_chain(dropped.hook, is_ipv6).filter(|chain| is_fit(chain)) {
        let file = if is_ipv6 { "/etc/ufw/before6.rules" } else { "/etc/ufw/before.rules" };
        return vec![
            Step::run(format!("{program} -I {chain} {rule}")),
            Step::Keep { file: format!("{file}, above COMMIT"), line: format!("-A {chain} {rule}") },
        ];
    }
    let chain = match dropped.hook {
        Hook::Forward if is_fit("DOCKER-USER") => "DOCKER-USER",
        _ => dropped.base.as_str(),
    };
    let of_table = if name == "filter" { String::new() } else { format!("-t {name} ") };
    let text = "iptables forgets this at the next start: keep it where your other rules are kept \
                (iptables-persistent: netfilter-persistent save)";
    vec![Step::run(format!("{program} {of_table}-I {chain} {rule}")), Step::advice(text)]
}

/// firewalld knows no rule that goes by marks, and with nftables beneath it its direct rules overrule nothing of its
/// own (firewalld.direct(5), Caveats). Its table can be added to, until it loads anew; where it keeps that for itself
/// only its own words help.
fn of_firewalld(ruleset: &Ruleset, family: Family, base: &str, wanted: &Wanted) -> Vec<Step> {
    let (transport, port) = (wanted.protocol.name(), wanted.between('-'));
    let keep = Step::advice(format!(
        "firewalld forgets that when it loads anew; to keep it: firewall-cmd --permanent --add-port={port}/{transport} \
         (for everyone, as firewalld sees it: the door goes on shutting strangers out before it)"
    ));
    if ruleset.owned.iter().any(|(own, name)| (*own, name.as_str()) == (family, "firewalld")) {
        return vec![Step::run(format!("firewall-cmd --add-port={port}/{transport}")), keep];
    }
    let name = family.name();
    vec![Step::run(format!("nft insert rule {name} firewalld {base} {}", wanted.nft())), keep]
}

/// Whether the rule, first in that chain, does away with the drop.
fn helps(
    ruleset: &Ruleset,
    table: &str,
    trip: &Trip,
    dropped: &Dropped,
    wanted: &Wanted,
    chain: &str,
    leg: &dyn Fn(IpAddr) -> Option<Leg>,
) -> bool {
    let mut mended = ruleset.clone();
    let is_meant = |own: &&mut Chain| {
        (own.family, own.table.as_str(), own.name.as_str())
            == (dropped.by.family, dropped.by.table.as_str(), chain)
    };
    let Some(found) = mended.chains.iter_mut().find(is_meant) else { return false };
    found.rules.insert(0, Rule { handle: 0, expressions: wanted.expressions() });
    let trip = Trip { mark: Some(wanted.mark), ..trip.clone() };
    let is_same = |own: &Dropped| {
        (&own.base, &own.by.table, own.which) == (&dropped.base, &dropped.by.table, dropped.which)
    };
    !walk(&mended, table, &trip, leg)
        .drops
        .iter()
        .any(|own| is_same(own) && own.by.family == dropped.by.family)
}

fn is_chain(ruleset: &Ruleset, family: Family, table: &str, chain: &str) -> bool {
    ruleset
        .chains
        .iter()
        .any(|own| (own.family, own.table.as_str(), own.name.as_str()) == (family, table, chain))
}

fn ufw_chain(hook: Hook, is_ipv6: bool) -> Option<&'static str> {
    Some(match (hook, is_ipv6) {
        (Hook::Input, false) => "ufw-before-input",
        (Hook::Input, true) => "ufw6-before-input",
        (Hook::Output, false) => "ufw-before-output",
        (Hook::Output, true) => "ufw6-before-output",
        (Hook::Forward, false) => "ufw-before-forward",
        (Hook::Forward, true) => "ufw6-before-forward",
        _ => return None,
    })
}

/// Whether this is a chain that `iptables` can be told to change: one of its own names, and nothing in the table that
/// it could not say.
fn is_iptables(ruleset: &Ruleset, family: Family, table: &str, base: &str) -> bool {
    const TABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];
    const CHAINS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
    let of_table = || ruleset.chains.iter().filter(|own| own.family == family && own.table == table);
    let can_say = |expression: &Expression| {
        !matches!(
            expression,
            Expression::Lookup { .. }
                | Expression::ByteOrder { .. }
                | Expression::Load { field: Field::Connection(..) | Field::Route { .. } | Field::Other, .. }
        )
    };
    matches!(family, Family::Ip | Family::Ip6)
        && TABLES.contains(&table)
        && CHAINS.contains(&base)
        && of_table().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.expressions).all(can_say)
}

fn iptables_program(is_ipv6: bool) -> &'static str {
    if is_ipv6 { "ip6tables" } else { "iptables" }
}

/// Whether a name can stand in a command as it is.
fn is_plain(name: &str) -> bool {
    let is_of = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_') && name.bytes().all(is_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_shows_the_rules_that_are_printed() {
        let guide = include_str!("../../../../docs/guide/doors.md");
        let wanted = Wanted { protocol: Protocol::Tcp, ports: (22, 22), mark: 0x2000, which: Which::First };
        for (firewall, command) in static_rules(&wanted) {
            assert!(guide.lines().any(|line| line == command), "{firewall}: {command}");
        }
    }

    #[test]
    fn a_range_of_ports_is_written_as_each_program_wants_it() {
        let wanted = Wanted { protocol: Protocol::Udp, ports: (60, 69), mark: 4, which: Which::First };
        assert_eq!(wanted.iptables(), "-p udp --dport 60:69 -m mark --mark 0x4/0x4 -j ACCEPT");
        assert_eq!(wanted.nft(), "udp dport 60-69 meta mark and 0x4 == 0x4 accept");
    }

    #[test]
    fn a_name_that_a_shell_would_read_is_no_part_of_a_command() {
        for name in ["", "-t", "a b", "a;b", "$(x)", "a'b", "a\nb", "ä"] {
            assert!(!is_plain(name), "{name:?}");
        }
        assert!(is_plain("ufw-before_input.4") && is_plain("_x"));
    }
}
