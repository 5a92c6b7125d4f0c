//! Sources that are held: they begin nothing new here, and whatever stands goes on, in both directions.
//!
//! A hold is for whoever has not proved that his packets are his own, so that it must cost a friend in whose name
//! somebody scans next to nothing: no connection tracking is asked, and none is switched on.

use super::layout::{self, Element, HOLDS, Set};
use super::numbers::*;
use super::{Nftables, Way};
use crate::netlink::message::{Attributes, Writer};
use crate::netlink::{NetlinkError, Request};

/// Where packets of sources that are held go.
pub(super) const CHAIN: &str = "held";

/// A rule of the chain.
///
/// A TCP segment passes only for what it shows: a fragment that is cut before the flags shows nothing, and is dropped
/// (RFC 1858 §3). Later fragments pass: without their first one nobody can put them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// TCP that begins nothing passes: what stands goes on, and answers to our own connections arrive.
    Standing,
    /// The rest of TCP is dropped.
    Syn,
    /// Datagrams for which there is a socket pass: to a service, where a session may stand, and to whatever of ours has
    /// asked something.
    Sockets,
    /// Other datagrams to this host are dropped, but for those to [`HIGH_PORTS`].
    Datagrams,
}

/// The rules, in their order.
pub(super) static RULES: [Rule; 4] = [Rule::Standing, Rule::Syn, Rule::Sockets, Rule::Datagrams];

/// How many of [`RULES`] are left where the kernel cannot say whether there is a socket.
const OF_TCP: usize = 2;

/// Datagrams of held sources to ports from here on pass: where this host translates addresses, answers to other hosts
/// come to ports that no socket of ours has, and stacks choose theirs from here on (`net.ipv4.ip_local_port_range`; RFC
/// 6335 §6 from 49152).
const HIGH_PORTS: u16 = 32_768;

impl Rule {
    /// The comment by which an administrator, and [`super::Counter`], tell the rules apart.
    pub(super) fn name(self) -> &'static str {
        match self {
            Rule::Standing => "held-standing",
            Rule::Syn => "held-tcp",
            Rule::Sockets => "held-sockets",
            Rule::Datagrams => "held-udp",
        }
    }
}

impl Nftables {
    /// Has these begin nothing new: their TCP segments with SYN and without ACK are dropped, and their datagrams to
    /// ports below 32768 of this host where there is no socket for them. Those that are held already get the new
    /// time. On kernels without `CONFIG_NFT_SOCKET` or `CONFIG_NFT_FIB` datagrams pass.
    ///
    /// # Errors
    /// [`NetlinkError::NotHeld`] for anything but a single address or an IPv6 /64; nothing was changed then.
    /// [`NetlinkError::has_changed_nothing`] says whether the kernel's state is known.
    pub fn hold(&mut self, sources: &[Element]) -> Result<(), NetlinkError> {
        if let Some(wide) = sources.iter().find(|source| Set::of_hold(&source.prefix).is_none()) {
            return Err(NetlinkError::NotHeld { prefix: wide.prefix });
        }
        // Each once: one that is named twice would be deleted twice.
        let sources = super::last_of_each(sources);
        self.change_with(|nftables| nftables.batch_holds(&sources, Way::Replace))
    }

    /// Puts the elements that can be held at all into the batch.
    pub(super) fn batch_holds(&mut self, sources: &[Element], way: Way) -> Result<(), NetlinkError> {
        for set in HOLDS {
            let of_set = sources
                .iter()
                .filter(|element| Set::of_hold(&element.prefix).is_some_and(|own| std::ptr::eq(own, set)));
            self.batch_elements(set, of_set, way, true)?;
        }
        Ok(())
    }

    /// The rules that this kernel can have.
    fn held_rules(&self) -> &'static [Rule] {
        if self.can_ask_for_sockets { &RULES } else { &RULES[..OF_TCP] }
    }

    /// Makes the chain with its rules, before those that lead to it.
    pub(super) fn batch_held_chain(&mut self) {
        let rules = self.held_rules();
        let (batch, table) = (&mut self.batch, &self.table);
        batch.message(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, Request::new("make chain", CHAIN), |out| {
            layout::write_inner_chain(out, table, CHAIN);
        });
        batch.message(libc::NFT_MSG_DELRULE, 0, Request::new("delete rules of chain", CHAIN), |out| {
            out.text(TABLE, table);
            out.text(RULE_CHAIN, CHAIN);
        });
        for rule in rules {
            let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
            batch.message(libc::NFT_MSG_NEWRULE, flags, Request::new("make rule", rule.name()), |out| {
                write_rule(out, table, *rule);
            });
        }
    }

    /// Whether chain and rules are as they are made.
    pub(super) fn is_held_chain_intact(&mut self) -> Result<bool, NetlinkError> {
        let (table, rules) = (self.table.clone(), self.held_rules());
        let (mut seen, mut are_ours) = (0, true);
        let mut ours = Writer::default();
        self.list_rules(Some(CHAIN), |attributes| {
            ours.clear();
            are_ours &= rules.get(seen).is_some_and(|rule| {
                write_rule(&mut ours, &table, *rule);
                layout::is_as_sent(Attributes::new(ours.bytes()), attributes)
            });
            seen += 1;
        })?;
        Ok(are_ours && seen == rules.len())
    }

    /// Whether a layout was refused because this kernel cannot say whether there is a socket for a datagram: then the
    /// layout is made without, and datagrams of held sources pass.
    pub(super) fn lacks_sockets(&mut self, error: &NetlinkError) -> bool {
        let of_datagrams = [Rule::Sockets, Rule::Datagrams].map(Rule::name);
        let is_it = self.can_ask_for_sockets
            && error.is_missing()
            && matches!(error, NetlinkError::Refused { request, .. } if of_datagrams.contains(&request.object));
        self.can_ask_for_sockets &= !is_it;
        is_it
    }
}

/// The attributes that make a rule of the chain.
pub(super) fn write_rule(out: &mut Writer, table: &str, rule: Rule) {
    layout::write_expressions(out, table, CHAIN, rule.name(), |out| {
        match rule {
            Rule::Standing => layout::write_begins_nothing(out),
            Rule::Syn => {
                layout::write_transport_is(out, libc::IPPROTO_TCP);
                // To any port: whatever shows one. Later fragments don't.
                layout::write_payload(out, libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
                layout::write_compare(out, libc::NFT_CMP_GTE, &[0, 0]);
            }
            Rule::Sockets => {
                layout::write_transport_is(out, libc::IPPROTO_UDP);
                layout::expression(out, "socket", |out| {
                    out.u32_be(SOCKET_KEY, SOCKET_IS_TRANSPARENT);
                    out.u32_be(SOCKET_REGISTER, libc::NFT_REG_1 as u32);
                });
                // Transparent or not: any socket.
                layout::write_compare(out, libc::NFT_CMP_LTE, &[1]);
            }
            Rule::Datagrams => {
                layout::write_transport_is(out, libc::IPPROTO_UDP);
                layout::write_payload(out, libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
                layout::write_compare(out, libc::NFT_CMP_LT, &HIGH_PORTS.to_be_bytes());
                layout::write_destination_is(out, libc::RTN_LOCAL);
            }
        }
        layout::write_counter(out);
        let passes = matches!(rule, Rule::Standing | Rule::Sockets);
        layout::write_verdict(out, if passes { libc::NF_ACCEPT } else { libc::NF_DROP });
    });
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::UdpSocket;
    use std::time::Duration;

    use testbed::Namespace;

    use super::*;

    #[test]
    fn a_kernel_that_knows_no_sockets_gets_the_table_without_and_datagrams_pass() {
        let Some(namespace) = Namespace::new() else { return };
        let mut nftables = namespace.enter(|| Nftables::open("portcullis").expect("netlink"));
        let missing = |object| NetlinkError::Refused {
            request: Request::new("make rule", object),
            source: std::io::Error::from_raw_os_error(libc::ENOENT),
        };
        assert!(!nftables.lacks_sockets(&missing("held-tcp")), "that would be something else");
        assert!(nftables.lacks_sockets(&missing("held-udp")));
        assert!(!nftables.lacks_sockets(&missing("held-udp")), "without them it can't be that again");
        nftables.ensure().expect("the table");
        assert!(nftables.is_intact().expect("an answer"));
        assert_eq!(nftables.counters().expect("counters").len(), layout::RULES.len() + OF_TCP);
        let held = Element { prefix: "127.0.0.1".parse().expect("a prefix"), remaining: None };
        nftables.hold(&[held]).expect("the hold");
        namespace.enter(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
            socket.connect("127.0.0.1:9").expect("no packet yet");
            socket.send(b"?").expect("a datagram");
            let answer = socket.recv(&mut [0; 1]).expect_err("nobody is there");
            assert_eq!(answer.kind(), ErrorKind::ConnectionRefused, "it arrived, and was answered");
        });
    }
}
