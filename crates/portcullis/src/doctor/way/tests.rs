//! Rules made by hand, and what they would do.

use std::net::IpAddr;

use portcullis_core::net::Protocol;
use portcullis_sys::nftables::ruleset::{
    Base, Chain, Comparison, Destination, Expression, Family, Field, Hook, Place, Rule, Ruleset, Set,
    SetElement, Verdict,
};

use super::packet::Device;
use super::{Journey, Leg, Trip, Which, walk};

const BIT: u32 = 0x2000;

fn trip(mark: Option<u32>) -> Trip {
    Trip {
        guest: "192.0.2.7".parse().unwrap(),
        address: "198.51.100.2".parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 22,
        mark,
        came_in: Device { index: 2, name: "eth0".into() },
    }
}

/// This host is 198.51.100.2, everything else is behind eth1.
fn leg(address: IpAddr) -> Option<Leg> {
    let is_local = address == trip(None).address;
    Some(Leg { device: Device { index: 3, name: "eth1".into() }, source: None, is_local })
}

fn chain(name: &str, base: Option<Base>, rules: Vec<Vec<Expression>>) -> Chain {
    let rules = rules.into_iter().zip(1..).map(|(expressions, handle)| Rule { handle, expressions });
    Chain {
        family: Family::Inet,
        table: "filter".into(),
        name: name.into(),
        base,
        rules: rules.collect(),
        is_cut: false,
    }
}

fn at(hook: Hook, priority: i32, drops: bool) -> Option<Base> {
    Some(Base { hook, priority, drops, is_nat: false, devices: Vec::new() })
}

fn input(drops: bool) -> Option<Base> {
    at(Hook::Input, 0, drops)
}

fn accept() -> Expression {
    Expression::Verdict(Verdict::Accept)
}

fn drop_it() -> Expression {
    Expression::Verdict(Verdict::Drop)
}

fn riddle() -> Expression {
    Expression::Unknown("riddle".into())
}

fn equals(field: Field, value: &[u8]) -> Vec<Expression> {
    vec![
        Expression::Load { into: 0, field },
        Expression::Compare { register: 0, how: Comparison::Equal, value: value.to_vec() },
    ]
}

fn port_is(port: u16) -> Vec<Expression> {
    equals(Field::Transport { offset: 2, length: 2 }, &port.to_be_bytes())
}

fn established() -> Vec<Expression> {
    [equals(Field::Connection(0, None), &2_u32.to_ne_bytes()), vec![accept()]].concat()
}

fn marked() -> Vec<Expression> {
    let bits = BIT.to_ne_bytes().to_vec();
    vec![
        Expression::Load { into: 0, field: Field::Meta(3) },
        Expression::Bitwise { from: 0, into: 0, mask: bits.clone(), flip: vec![0; 4] },
        Expression::Compare { register: 0, how: Comparison::Equal, value: bits },
        accept(),
    ]
}

fn journey(chains: Vec<Chain>, mark: Option<u32>) -> Journey {
    walk(&Ruleset { chains, ..Ruleset::default() }, "portcullis", &trip(mark), &leg)
}

/// `passes`, `dropped by …` for the first packet, or `unknown`.
#[track_caller]
fn check(chains: Vec<Chain>, mark: Option<u32>, expected: &str) {
    let journey = journey(chains, mark);
    let first = journey.drops.iter().find(|own| own.which == Which::First);
    let came = match (first, journey.doubts.first()) {
        (Some(dropped), _) => match dropped.by.rule {
            Some((number, _)) => format!("{} {number}", dropped.by.chain),
            None => format!("{} policy", dropped.by.chain),
        },
        (None, Some(doubt)) => format!("unknown {}", doubt.what),
        (None, None) => "passes".to_owned(),
    };
    assert_eq!(came, expected, "{journey:#?}");
}

#[test]
fn rules_are_walked_in_their_order_and_the_policy_comes_last() {
    check(vec![], None, "passes");
    check(vec![chain("in", input(false), vec![])], None, "passes");
    check(vec![chain("in", input(true), vec![established()])], None, "in policy");
    let open = [port_is(22), vec![accept()]].concat();
    check(vec![chain("in", input(true), vec![established(), open.clone()])], None, "passes");
    check(vec![chain("in", input(true), vec![vec![drop_it()], open.clone()])], None, "in 1");
    let other = [port_is(23), vec![drop_it()]].concat();
    check(vec![chain("in", input(false), vec![other, open])], None, "passes");
    // A second base chain is asked all the same.
    let first = chain("a", at(Hook::Input, -1, false), vec![vec![accept()]]);
    check(vec![chain("in", input(false), vec![vec![drop_it()]]), first], None, "in 1");
    // Ours, other hooks and other families are not.
    let ours = Chain { table: "portcullis".into(), ..chain("in", input(true), vec![]) };
    let six = Chain { family: Family::Ip6, ..chain("in", input(true), vec![]) };
    check(vec![ours, six, chain("fw", at(Hook::Forward, 0, true), vec![])], None, "passes");
}

#[test]
fn chains_are_gone_into_and_come_back_from() {
    let jump = |name: &str| vec![Expression::Verdict(Verdict::Jump(name.into()))];
    let goto = |name: &str| vec![Expression::Verdict(Verdict::Goto(name.into()))];
    let back = || chain("sub", None, vec![vec![Expression::Verdict(Verdict::Return)], vec![drop_it()]]);
    check(vec![chain("in", input(true), vec![jump("sub"), vec![accept()]]), back()], None, "passes");
    check(vec![chain("in", input(true), vec![goto("sub"), vec![accept()]]), back()], None, "in policy");
    let inner = chain("sub", None, vec![jump("deep")]);
    let deep = chain("deep", None, vec![[port_is(22), vec![drop_it()]].concat()]);
    check(vec![chain("in", input(false), vec![jump("sub")]), inner, deep], None, "deep 1");
    // A circle, which the kernel would refuse, ends.
    let circle = chain("in", input(false), vec![jump("in")]);
    check(vec![circle], None, "unknown more rules than are read");
    check(vec![chain("in", input(false), vec![jump("gone")])], None, "unknown a chain that is not there");
}

#[test]
fn what_is_not_understood_is_a_doubt_only_where_it_matters() {
    let perhaps = |verdict| vec![riddle(), verdict];
    check(vec![chain("in", input(false), vec![perhaps(drop_it())])], None, "unknown riddle");
    check(vec![chain("in", input(false), vec![perhaps(accept())])], None, "passes");
    check(vec![chain("in", input(true), vec![established(), perhaps(accept())])], None, "unknown riddle");
    check(vec![chain("in", input(true), vec![established(), perhaps(drop_it())])], None, "in 2");
    // It does not come to the riddle.
    let other = [port_is(23), perhaps(drop_it())].concat();
    check(vec![chain("in", input(false), vec![other])], None, "passes");
    check(vec![chain("in", input(false), vec![vec![riddle()]])], None, "passes");
    // Bytes that nobody knows beforehand, such as the guest's port.
    let from_port = |low: u16| {
        let load = Expression::Load { into: 0, field: Field::Transport { offset: 0, length: 2 } };
        let how = Comparison::Greater;
        vec![load, Expression::Compare { register: 0, how, value: low.to_be_bytes().to_vec() }, drop_it()]
    };
    check(
        vec![chain("in", input(false), vec![from_port(1023)])],
        None,
        "unknown a value that is not known here",
    );
    let cut = Chain { is_cut: true, ..chain("in", input(true), vec![]) };
    check(vec![cut], None, "unknown more rules than are read");
}

#[test]
fn the_mark_is_there_behind_our_chain_and_until_somebody_wipes_it_off() {
    let firewall = || chain("in", input(true), vec![established(), marked()]);
    check(vec![firewall()], Some(BIT), "passes");
    check(vec![firewall()], None, "in policy");
    check(vec![firewall()], Some(BIT << 1), "in policy");
    let wipe = |priority| {
        let zero = Expression::Value { into: 0, value: vec![0; 4] };
        chain(
            "wipe",
            at(Hook::Prerouting, priority, false),
            vec![vec![zero, Expression::SetMark { from: 0 }]],
        )
    };
    check(vec![wipe(-150), firewall()], Some(BIT), "in policy");
    check(vec![wipe(-400), firewall()], Some(BIT), "passes");
    let perhaps = chain(
        "wipe",
        at(Hook::Prerouting, -150, false),
        vec![vec![riddle(), Expression::ChangeMark { keep: 0, flip: 0 }]],
    );
    check(vec![perhaps, firewall()], Some(BIT), "unknown riddle");
    let early = |priority| chain("pre", at(Hook::Prerouting, priority, true), vec![established(), marked()]);
    check(vec![early(-301)], Some(BIT), "pre policy");
    check(vec![early(-300)], Some(BIT), "unknown a value that is not known here");
    check(vec![early(-299)], Some(BIT), "passes");
}

#[test]
fn sets_are_searched_as_the_kernel_does() {
    let element = |key: &[u8], is_end| SetElement { key: key.to_vec(), is_end, ..SetElement::default() };
    let asked = |set: Set, field: Field, is_inverted| {
        let lookup =
            Expression::Lookup { register: 0, set: "s".into(), is_inverted, into: None::<Destination> };
        let rule = vec![Expression::Load { into: 0, field }, lookup, drop_it()];
        let sets = [((Family::Inet, "filter".to_owned(), "s".to_owned()), set)].into();
        let ruleset =
            Ruleset { chains: vec![chain("in", input(false), vec![rule])], sets, ..Ruleset::default() };
        let journey = walk(&ruleset, "portcullis", &trip(None), &leg);
        (journey.drops.iter().any(|own| own.which == Which::First), !journey.doubts.is_empty())
    };
    let source = || Field::Network { offset: 12, length: 4 };
    let hash = |elements| Set { key_length: 4, elements, ..Set::default() };
    let ranges = |elements| Set { key_length: 4, is_of_intervals: true, elements, ..Set::default() };
    assert_eq!(asked(hash(vec![element(&[192, 0, 2, 7], false)]), source(), false), (true, false));
    assert_eq!(asked(hash(vec![element(&[192, 0, 2, 8], false)]), source(), false), (false, false));
    assert_eq!(asked(hash(vec![element(&[192, 0, 2, 8], false)]), source(), true), (true, false));
    let cut = Set { is_cut: true, ..hash(vec![]) };
    assert_eq!(asked(cut, source(), false), (false, true));
    for (low, high, is_in) in [(7, 8, true), (6, 7, false), (0, 7, false), (0, 255, true), (8, 9, false)] {
        let set = ranges(vec![element(&[192, 0, 2, low], false), element(&[192, 0, 2, high], true)]);
        assert_eq!(asked(set, source(), false), (is_in, false), "{low} to {high}");
    }
    // One range begins where another one ends.
    let set = ranges(vec![
        element(&[192, 0, 2, 0], false),
        element(&[192, 0, 2, 7], true),
        element(&[192, 0, 2, 7], false),
        element(&[192, 0, 2, 9], true),
    ]);
    assert_eq!(asked(set, source(), false), (true, false));
    let all = SetElement { is_for_all: true, ..SetElement::default() };
    assert_eq!(asked(ranges(vec![all]), source(), false), (true, false));
}

#[test]
fn a_translation_is_followed_through_the_host() {
    let nat = |address: [u8; 4], is_redirect: bool| {
        let rule = Expression::Translate {
            address: (!is_redirect).then(|| Place::Value(address.to_vec())),
            port: Some(Place::Value(80_u16.to_be_bytes().to_vec())),
            is_redirect,
        };
        let base = Base { is_nat: true, ..at(Hook::Prerouting, -100, false).unwrap() };
        chain("pre", Some(base), vec![[port_is(22), vec![rule]].concat()])
    };
    let closed = |hook| chain("closed", at(hook, 0, true), vec![established()]);
    let away = journey(vec![nat([172, 17, 0, 2], false), closed(Hook::Forward)], None);
    assert_eq!(away.target, Some(("172.17.0.2".parse().unwrap(), 80)));
    assert!(away.is_forwarded);
    assert_eq!((away.drops.len(), away.drops[0].port, away.drops[0].hook), (1, 80, Hook::Forward));
    let home = journey(vec![nat([0; 4], true), closed(Hook::Input)], None);
    assert_eq!(home.target, Some((trip(None).address, 80)));
    assert_eq!((home.drops.len(), home.drops[0].hook), (1, Hook::Input));
    check(vec![nat([0; 4], true), closed(Hook::Forward)], None, "passes");
}

#[test]
fn later_packets_and_answers_are_tried_too() {
    let both =
        vec![chain("in", input(true), vec![marked()]), chain("out", at(Hook::Output, 0, true), vec![])];
    let journey = journey(both, Some(BIT));
    let dropped: Vec<_> = journey.drops.iter().map(|own| (own.which, own.base.as_str(), own.port)).collect();
    assert_eq!(dropped, [(Which::Later, "in", 22), (Which::Answer, "out", 22)]);
}
