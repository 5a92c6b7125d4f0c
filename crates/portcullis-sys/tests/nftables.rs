//! Our table in a real kernel, cross-checked with the `nft` program.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use portcullis_core::net::Prefix;
use portcullis_sys::netlink::NetlinkError;
use portcullis_sys::nftables::{Change, Element, Held, Monitor, Nftables};
use testbed::{Namespace, wait_until};

const SOON: Duration = Duration::from_secs(5);

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn ban(text: &str, seconds: u64) -> Element {
    Element { prefix: prefix(text), remaining: Some(Duration::from_secs(seconds)) }
}

fn for_ever(text: &str) -> Element {
    Element { prefix: prefix(text), remaining: None }
}

/// Prefixes and whole seconds that remain, rounded up, so that a test may take a moment.
fn seconds(elements: &[Element]) -> BTreeMap<Prefix, Option<u64>> {
    let up = |time: Duration| time.as_millis().div_ceil(1000) as u64;
    elements.iter().map(|element| (element.prefix, element.remaining.map(up))).collect()
}

/// A namespace with our table in it, or nothing where tests lack rights or `nft`.
fn with_table() -> Option<(Namespace, Nftables)> {
    if !testbed::has(&["nft"]) {
        return None;
    }
    let namespace = Namespace::new()?;
    let mut nftables = namespace.enter(|| Nftables::open("portcullis").unwrap());
    nftables.ensure().unwrap();
    Some((namespace, nftables))
}

fn ruleset(namespace: &Namespace) -> String {
    String::from_utf8(namespace.run(&["nft", "list", "ruleset"]).stdout).unwrap()
}

/// Every kind of prefix: one for each set.
fn of_every_kind() -> Vec<Element> {
    vec![
        ban("192.0.2.1", 600),
        ban("2001:db8::1", 601),
        ban("2001:db8:1::/64", 602),
        ban("2001:db8:1:100::/56", 603),
        ban("2001:db8:2::/48", 604),
        ban("198.51.100.0/24", 605),
        ban("2001:db8:4000::/36", 606),
        for_ever("192.0.2.2"),
        for_ever("2001:db8::2"),
        for_ever("203.0.113.0/25"),
        for_ever("2001:db8:8000::/33"),
    ]
}

#[test]
fn the_table_is_made_as_documented_and_found_intact() {
    let Some((namespace, mut nftables)) = with_table() else { return };
    assert_eq!(nftables.list().unwrap(), Held { is_intact: true, is_settled: true, ..Held::default() });
    let expected = "\
table inet portcullis {
	set banned4 {
		type ipv4_addr
		size 262143
		flags timeout
	}

	set banned6 {
		type ipv6_addr
		flags timeout
	}

	set banned6_64 {
		type ipv6_addr
		size 262143
		flags timeout
	}

	set banned6_56 {
		type ipv6_addr
		flags timeout
	}

	set banned6_48 {
		type ipv6_addr
		flags timeout
	}

	set nets4 {
		type ipv4_addr
		flags interval,timeout
	}

	set nets6 {
		type ipv6_addr
		flags interval,timeout
	}

	set held4 {
		type ipv4_addr
		size 262143
		flags timeout
	}

	set held6 {
		type ipv6_addr
		flags timeout
	}

	set held6_64 {
		type ipv6_addr
		size 262143
		flags timeout
	}

	set allowed4 {
		type ipv4_addr
		flags interval,timeout
	}

	set allowed6 {
		type ipv6_addr
		flags interval,timeout
	}

	chain prerouting {
		type filter hook prerouting priority raw; policy accept;
		ip saddr @allowed4 counter packets 0 bytes 0 accept comment \"allowed4\"
		ip saddr @banned4 counter packets 0 bytes 0 drop comment \"banned4\"
		ip saddr @nets4 counter packets 0 bytes 0 drop comment \"nets4\"
		ip saddr @held4 counter packets 0 bytes 0 jump held comment \"held4\"
		meta nfproto ipv4 counter packets 0 bytes 0 accept comment \"other-ipv4\"
		ip6 saddr @allowed6 counter packets 0 bytes 0 accept comment \"allowed6\"
		icmpv6 type 133-137 counter packets 0 bytes 0 accept comment \"neighbour-discovery\"
		ip6 saddr @banned6 counter packets 0 bytes 0 drop comment \"banned6\"
		ip6 saddr & ffff:ffff:ffff:ffff:: == @banned6_64 counter packets 0 bytes 0 drop comment \"banned6_64\"
		ip6 saddr & ffff:ffff:ffff:ff00:: == @banned6_56 counter packets 0 bytes 0 drop comment \"banned6_56\"
		ip6 saddr & ffff:ffff:ffff:: == @banned6_48 counter packets 0 bytes 0 drop comment \"banned6_48\"
		ip6 saddr @nets6 counter packets 0 bytes 0 drop comment \"nets6\"
		ip6 saddr @held6 counter packets 0 bytes 0 jump held comment \"held6\"
		ip6 saddr & ffff:ffff:ffff:ffff:: == @held6_64 counter packets 0 bytes 0 jump held comment \"held6_64\"
	}

	chain held {
		tcp flags != syn / syn,ack counter packets 0 bytes 0 accept comment \"held-standing\"
		tcp dport >= 0 counter packets 0 bytes 0 drop comment \"held-tcp\"
		meta l4proto udp socket transparent <= 1 counter packets 0 bytes 0 accept comment \"held-sockets\"
		udp dport < 32768 fib daddr type local counter packets 0 bytes 0 drop comment \"held-udp\"
	}
}
";
    assert_eq!(ruleset(&namespace), expected);
}

#[test]
fn what_is_added_is_held_by_the_kernel_with_its_time() {
    let Some((namespace, mut nftables)) = with_table() else { return };
    let bans = of_every_kind();
    nftables.add(&bans).unwrap();
    let held = nftables.list().unwrap();
    assert_eq!(seconds(&held.elements), seconds(&bans));
    assert_eq!((held.foreign, held.is_intact, held.is_settled), (0, true, true));
    let printed = ruleset(&namespace);
    for ban in &bans {
        let text =
            if ban.prefix.is_single() { ban.prefix.address().to_string() } else { ban.prefix.to_string() };
        // Masked addresses in hash sets are printed without their length.
        let text =
            if matches!(ban.prefix.length(), 48 | 56 | 64) { ban.prefix.address().to_string() } else { text };
        assert!(printed.contains(&text), "{text} is not in\n{printed}");
    }
}

#[test]
fn adding_again_replaces_the_time_in_both_directions() {
    let Some((_namespace, mut nftables)) = with_table() else { return };
    nftables.add(&of_every_kind()).unwrap();
    let later: Vec<Element> = of_every_kind()
        .into_iter()
        .map(|element| match element.remaining {
            None => Element { remaining: Some(Duration::from_secs(50)), ..element },
            Some(time) if time.as_secs().is_multiple_of(3) => Element { remaining: None, ..element },
            Some(time) if time.as_secs().is_multiple_of(2) => {
                Element { remaining: Some(time / 2), ..element }
            }
            Some(time) => Element { remaining: Some(time * 2), ..element },
        })
        .collect();
    nftables.add(&later).unwrap();
    assert_eq!(seconds(&nftables.list().unwrap().elements), seconds(&later));
    // One named twice in a batch: the last one holds.
    nftables.add(&[ban("192.0.2.1", 5), ban("192.0.2.9", 7), ban("192.0.2.1", 60)]).unwrap();
    let held = seconds(&nftables.list().unwrap().elements);
    assert_eq!(held[&prefix("192.0.2.1")], Some(60));
    assert_eq!(held[&prefix("192.0.2.9")], Some(7));
}

#[test]
fn removing_what_is_absent_is_no_fault() {
    let Some((_namespace, mut nftables)) = with_table() else { return };
    nftables.add_new(&of_every_kind()).unwrap();
    let absent = ["192.0.2.77", "2001:db8::77", "2001:db8:77::/64", "10.0.0.0/8", "192.0.2.1", "192.0.2.1"];
    nftables.remove(&absent.map(prefix)).unwrap();
    let held = seconds(&nftables.list().unwrap().elements);
    assert!(!held.contains_key(&prefix("192.0.2.1")));
    assert_eq!(held.len(), of_every_kind().len() - 1);
    // Within, and around, what is there: not the same prefix, so nothing goes.
    nftables.remove(&["198.51.100.0/25", "198.51.0.0/16", "198.51.100.128/25"].map(prefix)).unwrap();
    assert_eq!(seconds(&nftables.list().unwrap().elements), held);
    let all: Vec<Prefix> = held.into_keys().collect();
    nftables.remove(&all).unwrap();
    assert_eq!(nftables.list().unwrap().elements, []);
}

#[test]
fn an_overlap_is_refused_as_such_and_changes_nothing() {
    let Some((_namespace, mut nftables)) = with_table() else { return };
    nftables.add(&[ban("10.0.0.0/16", 100)]).unwrap();
    for overlapping in ["10.0.0.0/8", "10.0.128.0/17", "10.0.0.0/24", "10.0.7.0/24", "0.0.0.0/0"] {
        for way in [Nftables::add, Nftables::add_new] {
            let result = way(&mut nftables, &[ban("192.0.2.1", 9), ban(overlapping, 100)]);
            let error = result.expect_err(overlapping);
            assert!(matches!(error, NetlinkError::Overlap { .. }), "{overlapping}: {error}");
            assert!(error.has_changed_nothing() && error.to_string().contains("nets4"), "{error}");
        }
    }
    assert_eq!(seconds(&nftables.list().unwrap().elements), seconds(&[ban("10.0.0.0/16", 100)]));
    // Neighbours don't overlap.
    nftables.add(&[ban("10.1.0.0/16", 100), ban("9.0.0.0/8", 100), ban("255.255.255.0/24", 3)]).unwrap();
    assert_eq!(nftables.list().unwrap().elements.len(), 4);
}

#[test]
fn the_allow_list_is_replaced_whole_and_may_overlap() {
    let Some((namespace, mut nftables)) = with_table() else { return };
    nftables.set_allowed(&[for_ever("10.0.0.0/8"), for_ever("fe80::/10")]).unwrap();
    nftables.add(&[ban("10.0.0.1", 600)]).unwrap();
    let second = [for_ever("10.0.0.0/8"), ban("10.0.0.9", 5), for_ever("::/0"), for_ever("255.255.255.255")];
    nftables.set_allowed(&second).unwrap();
    let held = nftables.list().unwrap();
    let disjoint = [for_ever("10.0.0.0/8"), for_ever("::/0"), for_ever("255.255.255.255")];
    assert_eq!(seconds(&held.allowed), seconds(&disjoint));
    assert_eq!(held.elements.len(), 1);
    assert!(ruleset(&namespace).contains("10.0.0.0/8"), "{}", ruleset(&namespace));
    nftables.set_allowed(&[ban("10.0.0.0/31", 50), for_ever("10.0.0.1")]).unwrap();
    let split = [ban("10.0.0.0/32", 50), for_ever("10.0.0.1")];
    assert_eq!(seconds(&nftables.list().unwrap().allowed), seconds(&split));
    nftables.set_allowed(&[]).unwrap();
    assert_eq!(nftables.list().unwrap().allowed, []);
}

#[test]
fn the_kernel_forgets_when_the_time_is_over() {
    let Some((_namespace, mut nftables)) = with_table() else { return };
    let short = |text| Element { prefix: prefix(text), remaining: Some(Duration::from_millis(30)) };
    let none = |text| Element { prefix: prefix(text), remaining: Some(Duration::ZERO) };
    nftables.add(&[short("192.0.2.1"), short("10.0.0.0/8"), none("192.0.2.2"), none("11.0.0.0/8")]).unwrap();
    nftables.set_allowed(&[short("10.0.0.0/8"), none("2001:db8::/32")]).unwrap();
    wait_until(SOON, "the elements to expire", || {
        let held = nftables.list().unwrap();
        (held.elements.is_empty() && held.allowed.is_empty() && held.foreign == 0).then_some(())
    });
    // What expired is no obstacle for what comes.
    nftables.add(&[ban("10.0.0.0/9", 60), ban("192.0.2.1", 60)]).unwrap();
    nftables.remove(&[prefix("11.0.0.0/8")]).unwrap();
    assert_eq!(nftables.list().unwrap().elements.len(), 2);
}

#[test]
fn what_is_too_large_for_one_batch_goes_in_and_out() {
    let Some((_namespace, mut nftables)) = with_table() else { return };
    let address = |index: u32| Prefix::single(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + index)));
    let bans: Vec<Element> = (0..40_000)
        .map(|index| Element { prefix: address(index), remaining: Some(Duration::from_secs(1000)) })
        .collect();
    nftables.add(&bans).unwrap();
    nftables.add(&bans).unwrap();
    let held = nftables.list().unwrap();
    assert_eq!((held.elements.len(), held.is_settled), (40_000, true));
    let (held, wanted) = (seconds(&held.elements), seconds(&bans));
    // A busy machine takes its time.
    let is_held = |(prefix, time): (&Prefix, &Option<u64>)| wanted[prefix].unwrap() - time.unwrap() < 60;
    assert!(held.len() == wanted.len() && held.iter().all(is_held));
    // A fault at the end of what is one batch: none of it is taken.
    let more: Vec<Element> = (40_000..50_000)
        .map(|index| Element { prefix: address(index), remaining: Some(Duration::from_secs(1000)) })
        .chain([ban("172.16.0.0/16", 5), ban("172.16.0.0/12", 5)])
        .collect();
    let error = nftables.add_new(&more).unwrap_err();
    assert!(error.is_overlap() && error.has_changed_nothing(), "{error}");
    assert_eq!(nftables.list().unwrap().elements.len(), 40_000);
    // In what is several, the error says that the first ones are in force.
    let error = nftables.add(&bans.iter().chain(&more).copied().collect::<Vec<_>>()).unwrap_err();
    assert!(error.is_overlap() && !error.has_changed_nothing(), "{error}");
    assert!(nftables.list().unwrap().is_intact);
    nftables.remove(&more.iter().map(|ban| ban.prefix).collect::<Vec<_>>()).unwrap();
    let prefixes: Vec<Prefix> = bans.iter().map(|ban| ban.prefix).collect();
    nftables.remove(&prefixes).unwrap();
    assert_eq!(nftables.list().unwrap().elements.len(), 0);
}

#[test]
fn whatever_somebody_changes_is_noticed_and_mended() {
    let Some((namespace, mut nftables)) = with_table() else { return };
    nftables.add(&of_every_kind()).unwrap();
    nftables.set_allowed(&[for_ever("10.0.0.0/8")]).unwrap();
    let held = seconds(&nftables.list().unwrap().elements);
    for change in [
        "flush chain inet portcullis prerouting",
        "insert rule inet portcullis prerouting accept",
        "add rule inet portcullis prerouting accept",
        "chain inet portcullis prerouting { policy drop; }",
        "table inet portcullis { flags dormant; }",
        "flush chain inet portcullis prerouting; delete set inet portcullis banned6_56",
        "flush chain inet portcullis prerouting; delete set inet portcullis held6",
        "flush chain inet portcullis held",
        "insert rule inet portcullis held accept",
        "replace rule inet portcullis prerouting handle H counter drop",
    ] {
        assert!(nftables.is_intact().unwrap(), "before {change}");
        let handle = first_rule_handle(&namespace);
        namespace.run_with_input(&["nft", "-f", "-"], &change.replace('H', &handle));
        assert!(!nftables.is_intact().unwrap(), "{change}");
        nftables.ensure().unwrap();
        let mut expected = held.clone();
        if change.contains("banned6_56") {
            expected.remove(&prefix("2001:db8:1:100::/56"));
        }
        assert_eq!(seconds(&nftables.list().unwrap().elements), expected, "{change}");
        nftables.add(&of_every_kind()).unwrap();
    }
    // All gone: everything comes back in one batch.
    namespace.run(&["nft", "flush", "ruleset"]);
    assert_eq!(nftables.list().unwrap(), Held { is_settled: true, ..Held::default() });
    assert_eq!(nftables.counters().unwrap(), []);
    assert!(matches!(nftables.add(&of_every_kind()), Err(NetlinkError::Refused { .. })));
    nftables.restore(&[for_ever("10.0.0.0/8")], &of_every_kind()).unwrap();
    let again = nftables.list().unwrap();
    assert!(again.is_intact);
    assert_eq!((seconds(&again.elements), again.allowed.len()), (held, 1));
}

fn first_rule_handle(namespace: &Namespace) -> String {
    let listed = namespace.run(&["nft", "-a", "list", "chain", "inet", "portcullis", "prerouting"]).stdout;
    let listed = String::from_utf8(listed).unwrap();
    let line = listed.lines().find(|line| line.contains("allowed4")).unwrap();
    line.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn only_changes_by_others_are_events() {
    let Some((namespace, mut nftables)) = with_table() else { return };
    let mut monitor = namespace.enter(|| Monitor::open("portcullis").unwrap());
    monitor.disregard(nftables.port()).unwrap();
    nftables.add(&of_every_kind()).unwrap();
    nftables.remove(&[prefix("192.0.2.1")]).unwrap();
    nftables.set_allowed(&[for_ever("10.0.0.0/8")]).unwrap();
    nftables.remove_table().unwrap();
    nftables.ensure().unwrap();
    nftables.add(&of_every_kind()).unwrap();
    assert!(!monitor.wait(Duration::ZERO).unwrap(), "our own changes wake us");
    // Another table is nobody's business, not even one of the same name in another family.
    namespace.run(&["nft", "add table ip portcullis; delete table ip portcullis; add table inet other"]);
    assert_eq!(monitor.drain().unwrap(), Change::None);
    for change in [
        "delete element inet portcullis banned4 { 192.0.2.2 }",
        "flush set inet portcullis nets4",
        "flush chain inet portcullis prerouting",
        "add rule inet portcullis prerouting drop",
        "add element inet portcullis banned6 { 2001:db8::7 }",
        "flush ruleset",
    ] {
        namespace.run(&["nft", change]);
        assert!(monitor.wait(SOON).unwrap());
        assert_eq!(monitor.drain().unwrap(), Change::Touched, "{change}");
        assert_eq!(monitor.drain().unwrap(), Change::None, "{change}");
        nftables.restore(&[], &of_every_kind()).unwrap();
    }
}

#[test]
fn elements_that_expire_are_no_events() {
    let Some((namespace, mut nftables)) = with_table() else { return };
    let mut monitor = namespace.enter(|| Monitor::open("portcullis").unwrap());
    monitor.disregard(nftables.port()).unwrap();
    let short = |text| Element { prefix: prefix(text), remaining: Some(Duration::from_millis(20)) };
    nftables.add(&[short("192.0.2.1"), short("10.0.0.0/8")]).unwrap();
    wait_until(SOON, "the elements to expire", || nftables.list().unwrap().elements.is_empty().then_some(()));
    // The hash set's collector comes once a second, the interval set's with the next commit.
    nftables.add(&[ban("11.0.0.0/8", 5), ban("192.0.2.7", 5)]).unwrap();
    assert!(!monitor.wait(Duration::from_millis(1200)).unwrap());
    assert_eq!(monitor.drain().unwrap(), Change::None);
}

#[test]
fn lost_events_are_said_to_be_lost() {
    let Some((namespace, mut nftables)) = with_table() else { return };
    let mut monitor = namespace.enter(|| Monitor::open("portcullis").unwrap());
    // Not disregarded: forty thousand echoes are more than the queue holds.
    let bans: Vec<Element> = (0..40_000)
        .map(|index| Element {
            prefix: Prefix::single(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + index))),
            remaining: None,
        })
        .collect();
    nftables.add_new(&bans).unwrap();
    assert_eq!(monitor.drain().unwrap(), Change::Lost);
    assert_eq!(monitor.drain().unwrap(), Change::None);
}

#[test]
fn counters_count_what_is_dropped_and_what_is_let_through() {
    let Some((namespace, mut nftables)) = with_table() else { return };
    namespace.enter(|| {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let send = |expected: bool| {
            sender.send_to(b"12345678", receiver.local_addr().unwrap()).unwrap();
            // Loopback delivers before send_to returns.
            receiver.set_nonblocking(true).unwrap();
            assert_eq!(receiver.recv(&mut [0; 16]).is_ok(), expected);
        };
        let mut count = |rule: &str| {
            let counters = nftables.counters().unwrap();
            let counter = counters.iter().find(|counter| counter.rule == rule).unwrap();
            (counter.packets, counter.bytes)
        };
        send(true);
        assert_eq!(count("other-ipv4"), (1, 36));
        let mut second = Nftables::open("portcullis").unwrap();
        second.add(&[ban("127.0.0.1", 60)]).unwrap();
        send(false);
        send(false);
        assert_eq!(count("banned4"), (2, 72));
        second.set_allowed(&[for_ever("127.0.0.0/8")]).unwrap();
        send(true);
        assert_eq!((count("allowed4"), count("banned4")), ((1, 36), (2, 72)));
        second.set_allowed(&[]).unwrap();
        second.remove(&[prefix("127.0.0.1")]).unwrap();
        second.add(&[ban("127.0.0.0/9", 60)]).unwrap();
        send(false);
        assert_eq!(count("nets4"), (1, 36));
    });
}

#[test]
fn neighbour_discovery_is_never_dropped() {
    let Some((here, mut nftables)) = with_table() else { return };
    let Some(there) = Namespace::new() else { return };
    here.join("eth0", &there, "eth0");
    here.add_address("eth0", "2001:db8::1/64");
    there.add_address("eth0", "2001:db8::2/64");
    let receiver = here.enter(|| UdpSocket::bind("[2001:db8::1]:5000").unwrap());
    receiver.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let sender = there.enter(|| UdpSocket::bind("[2001:db8::2]:0").unwrap());
    let packets = |rule: &str, nftables: &mut Nftables| {
        nftables.counters().unwrap().iter().find(|counter| counter.rule == rule).unwrap().packets
    };
    for (bans, rule) in [
        (vec![ban("2001:db8::2", 60), ban("fe80::/10", 60)], "banned6"),
        (vec![ban("2001:db8::/64", 60), ban("fe80::/64", 60)], "banned6_64"),
        (vec![ban("2001:db8::/56", 60), ban("fe80::/64", 60)], "banned6_56"),
        (vec![ban("2001:db8::/48", 60), ban("fe80::/64", 60)], "banned6_48"),
        (vec![ban("2001:db8::/32", 60), ban("fe80::/10", 60)], "nets6"),
    ] {
        nftables.add(&bans).unwrap();
        here.run(&["ip", "-6", "neigh", "flush", "dev", "eth0"]);
        there.run(&["ip", "-6", "neigh", "flush", "dev", "eth0"]);
        let solicited = packets("neighbour-discovery", &mut nftables);
        sender.send_to(b"hello", "[2001:db8::1]:5000").unwrap();
        wait_until(SOON, "the datagram to be dropped", || (packets(rule, &mut nftables) > 0).then_some(()));
        // It could be dropped only because our side had answered the question for its link address.
        assert!(packets("neighbour-discovery", &mut nftables) > solicited, "{rule}");
        assert!(receiver.recv(&mut [0; 16]).is_err(), "{rule} let a datagram through");
        let prefixes: Vec<Prefix> = bans.iter().map(|ban| ban.prefix).collect();
        nftables.remove(&prefixes).unwrap();
    }
    sender.send_to(b"hello", "[2001:db8::1]:5000").unwrap();
    receiver.set_read_timeout(Some(SOON)).unwrap();
    receiver.recv(&mut [0; 16]).unwrap();
}

#[test]
fn a_wrong_name_is_refused_before_anything_is_asked() {
    for name in ["", "no/table", "1st", "a b", "x;flush", "abcdefghijklmnopqrstuvwxyzabcdef"] {
        assert!(matches!(Nftables::open(name), Err(NetlinkError::TableName)), "{name}");
        assert!(matches!(Monitor::open(name), Err(NetlinkError::TableName)), "{name}");
    }
}

#[test]
fn without_rights_the_error_says_so() {
    let Some(namespace) = Namespace::new() else { return };
    let error = namespace.enter(|| {
        // SAFETY: takes no pointers. The raw call changes this thread only, which ends with the closure.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(result, 0);
        Nftables::open("portcullis").unwrap().ensure().unwrap_err()
    });
    assert!(error.is_permission() && error.has_changed_nothing(), "{error}");
}
