//! The program against a predicate that was written down without looking at it, run by a small machine of our own
//! and by the kernel's.

use std::os::unix::net::UnixDatagram;

use proptest::prelude::*;

use super::*;

/// What the kernel knows of a packet besides its bytes.
#[derive(Clone, Debug)]
struct Arrival {
    bytes: Vec<u8>,
    ethertype: u16,
    packet_type: u8,
    interface: u32,
    vlan: Option<u16>,
}

/// The classic BPF machine (Linux `Documentation/networking/filter.rst`), as far as our programs use it. Loads beyond
/// the packet end the program with 0, as in the kernel.
fn run(program: &Program, packet: &Arrival) -> u32 {
    let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
    let read = |offset: u32, size: usize| -> Option<u32> {
        let from = usize::try_from(offset).unwrap();
        let bytes = packet.bytes.get(from..from.checked_add(size)?)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    };
    loop {
        let sock_filter { code, jt, jf, k } = program.instructions[at];
        at += 1;
        let loaded = match code {
            0x06 => return k,
            0x05 => {
                at += k as usize;
                continue;
            }
            0x15 | 0x35 | 0x45 => {
                let holds = match code {
                    0x15 => a == k,
                    0x35 => a >= k,
                    _ => a & k != 0,
                };
                at += usize::from(if holds { jt } else { jf });
                continue;
            }
            0x54 => Some(a & k),
            0x01 => {
                x = k;
                continue;
            }
            0xb1 => match read(k, 1) {
                Some(byte) => {
                    x = 4 * (byte & 15);
                    continue;
                }
                None => None,
            },
            0x20 if k == 0xffff_f000 => Some(u32::from(packet.ethertype)),
            0x20 if k == 0xffff_f004 => Some(u32::from(packet.packet_type)),
            0x20 if k == 0xffff_f008 => Some(packet.interface),
            0x20 if k == 0xffff_f02c => Some(u32::from(packet.vlan.unwrap_or(0))),
            0x20 if k == 0xffff_f030 => Some(u32::from(packet.vlan.is_some())),
            0x20 => read(k, 4),
            0x28 => read(k, 2),
            0x30 => read(k, 1),
            0x48 => read(x + k, 2),
            0x50 => read(x + k, 1),
            _ => panic!("unknown instruction {code:#x} {k:#x}"),
        };
        match loaded {
            Some(value) => a = value,
            None => return 0,
        }
    }
}

/// What shall pass, said once more in Rust.
fn should_pass(spec: &FilterSpec, packet: &Arrival) -> bool {
    let is_watched = match &spec.interfaces {
        InterfaceChoice::AllBut(list) => !list.contains(&packet.interface),
        InterfaceChoice::Only(list) => list.contains(&packet.interface),
    };
    let is_of_this_vlan = packet.vlan.is_none_or(|tag| tag & 0xfff == 0);
    let is_delivered = match packet.packet_type {
        0 => true,
        1 | 2 => is_for_one_host(packet).unwrap_or(false),
        _ => false,
    };
    if let Some(is_of_network) = passes_as_of_a_network(spec, packet) {
        return is_watched && is_of_this_vlan && packet.packet_type < 4 && is_of_network;
    }
    is_delivered && is_watched && is_of_this_vlan && may_be_a_probe(spec, packet).unwrap_or(false)
}

/// `None` where it is not from or to a network of others; a packet too short to tell doesn't pass.
fn passes_as_of_a_network(spec: &FilterSpec, packet: &Arrival) -> Option<bool> {
    let bytes = &packet.bytes;
    let is_of_family = |is_ipv4| spec.networks.iter().any(|own| own.address().is_ipv4() == is_ipv4);
    let addresses: Vec<std::net::IpAddr> = match packet.ethertype {
        0x0800 if !is_of_family(true) => return None,
        0x86dd if !is_of_family(false) => return None,
        0x0800 => [12, 16]
            .map(|at| bytes.get(at..at + 4).map(|four| <[u8; 4]>::try_from(four).unwrap().into()))
            .into_iter()
            .map_while(|address| address)
            .collect(),
        0x86dd => [8, 24]
            .map(|at| bytes.get(at..at + 16).map(|all| <[u8; 16]>::try_from(all).unwrap().into()))
            .into_iter()
            .map_while(|address| address)
            .collect(),
        _ => return None,
    };
    if addresses.len() < 2 {
        return Some(false);
    }
    if !addresses.iter().any(|address| spec.networks.iter().any(|own| own.contains(*address))) {
        return None;
    }
    let passes = || {
        let (protocol, header) = if packet.ethertype == 0x0800 {
            if bytes.get(6)? & 0x3f != 0 || *bytes.get(7)? != 0 {
                return Some(true);
            }
            (*bytes.get(9)?, usize::from(bytes[0] & 0xf) * 4)
        } else {
            (*bytes.get(6)?, 40)
        };
        let port =
            |at: usize| Some(u16::from_be_bytes([*bytes.get(header + at)?, *bytes.get(header + at + 1)?]));
        let is_watched = |port| {
            spec.udp.contains(port) && !spec.muted_udp.contains(&port) || spec.heard_udp.contains(port)
        };
        Some(match protocol {
            6 => {
                let flags = *bytes.get(header + 13)?;
                flags & 0x07 != 0 || flags & 0x10 == 0
            }
            17 => is_watched(port(2)?) || is_watched(port(0)?),
            _ => true,
        })
    };
    Some(passes().unwrap_or(false))
}

/// `None` where the packet is too short to tell.
fn is_for_one_host(packet: &Arrival) -> Option<bool> {
    Some(match packet.ethertype {
        0x0800 => {
            let destination = packet.bytes.get(16..20)?;
            destination[0] >> 4 != 14 && destination != [255; 4]
        }
        0x86dd => *packet.bytes.get(24)? != 0xff,
        _ => true,
    })
}

/// `None` where the packet is too short to tell.
fn may_be_a_probe(spec: &FilterSpec, packet: &Arrival) -> Option<bool> {
    let bytes = &packet.bytes;
    let (protocol, header) = match packet.ethertype {
        0x8100 | 0x88a8 => return Some(true),
        0x0800 => {
            let [flags, offset] = [*bytes.get(6)?, *bytes.get(7)?];
            if flags & 0x3f != 0 || offset != 0 {
                return Some(true);
            }
            (*bytes.get(9)?, usize::from(bytes[0] & 0xf) * 4)
        }
        0x86dd => {
            let next = *bytes.get(6)?;
            if [0, 43, 44, 51, 60, 135, 139, 140].contains(&next) {
                return Some(true);
            }
            (next, 40)
        }
        _ => return Some(false),
    };
    if !is_spoken(protocol) {
        let is_wanted = |muted: &Vec<u8>| !muted.contains(&protocol);
        return Some(packet.packet_type == 0 && spec.all_protocols_but.as_ref().is_some_and(is_wanted));
    }
    let transport = bytes.get(header..)?;
    let port = || Some(u16::from_be_bytes([*transport.get(2)?, *transport.get(3)?]));
    Some(match protocol {
        6 | 132 if packet.packet_type != 0 => false,
        6 => {
            let flags = *transport.get(13)?;
            let (fin, syn, rst) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
            let (psh, ack, urg) = (flags & 8 != 0, flags & 16 != 0, flags & 32 != 0);
            let is_odd = match (syn, ack, rst) {
                (true, false, _) | (true, true, true) | (false, false, false) => true,
                (true, true, false) => fin,
                (false, true, false) => fin && !psh && !urg,
                (false, _, true) => false,
            };
            let is_segment = ack && !syn && !fin && !rst;
            is_odd && spec.tcp.contains(port()?)
                || is_segment && spec.acks.contains(port()?)
                || spec.heard_tcp.contains(port()?)
        }
        17 => {
            let port = port()?;
            spec.udp.contains(port) && !spec.muted_udp.contains(&port) || spec.heard_udp.contains(port)
        }
        132 => {
            matches!(*transport.get(12)?, 1 | 10)
                && (spec.tcp.contains(port()?) || spec.heard_tcp.contains(port()?))
        }
        1 => spec.pings && [8, 13, 17].contains(transport.first()?),
        58 => spec.pings && *transport.first()? == 128,
        _ => false,
    })
}

fn ports(most: usize) -> impl Strategy<Value = PortSet> {
    let single = any::<u16>().prop_map(|port| (port, port));
    let near = (0u16..64, 0u16..4).prop_map(|(low, more)| (low, low + more));
    let far = (any::<u16>(), 0u16..2000).prop_map(|(low, more)| (low, low.saturating_add(more)));
    prop_oneof![
        1 => Just(PortSet::all()),
        1 => Just(PortSet::default()),
        2 => prop::collection::vec(prop_oneof![near, far], 0..most).prop_map(PortSet::from_ranges),
        2 => prop::collection::vec(single, 0..most).prop_map(PortSet::from_ranges),
    ]
}

fn specs(most: usize) -> impl Strategy<Value = FilterSpec> {
    let indexes = prop::collection::vec(prop_oneof![0u32..20, any::<u32>()], 0..12);
    let interfaces = prop_oneof![
        indexes.clone().prop_map(InterfaceChoice::AllBut),
        indexes.prop_map(InterfaceChoice::Only)
    ];
    let heard = prop_oneof![1 => Just(PortSet::default()), 1 => ports(most)];
    let muted = prop::option::of(prop::collection::vec(any::<u8>(), 0..6));
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(std::net::IpAddr::from),
        any::<[u8; 16]>().prop_map(std::net::IpAddr::from)
    ];
    let network = (address, 0u8..129).prop_map(|(address, length)| Prefix::containing(address, length % 40));
    let networks = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(network, 1..4)];
    let beyond = (heard.clone(), muted, any::<bool>(), networks);
    (
        ports(most),
        ports(most),
        interfaces,
        prop::collection::vec(0u16..64, 0..6),
        heard.clone(),
        heard,
        beyond,
    )
        .prop_map(|(tcp, udp, interfaces, muted_udp, heard_tcp, heard_udp, beyond)| {
            let (acks, all_protocols_but, pings, networks) = beyond;
            FilterSpec {
                tcp,
                udp,
                interfaces,
                muted_udp,
                heard_tcp,
                heard_udp,
                acks,
                all_protocols_but,
                pings,
                networks,
            }
        })
}

/// Packets that mostly get as far as the ports.
fn arrivals() -> impl Strategy<Value = Arrival> {
    let protocol = prop_oneof![
        4 => Just(6u8), 3 => Just(17u8), 2 => Just(132u8), 1 => Just(1u8), 1 => Just(58u8),
        1 => Just(44u8), 1 => any::<u8>()
    ];
    let port = prop_oneof![3 => 0u16..70, 1 => any::<u16>()];
    let fragment = prop_oneof![6 => Just(0u16), 2 => Just(0x4000), 1 => any::<u16>()];
    let chunk = prop_oneof![Just(1u8), Just(10), 0u8..12];
    let header = (protocol, port, fragment, any::<u8>(), chunk, 0u8..16, prop::bool::weighted(0.9));
    let destination = prop_oneof![4 => any::<[u8; 4]>(), 1 => Just([255; 4]), 1 => Just([224, 0, 0, 251])];
    let bytes = (any::<bool>(), header, 0usize..100, prop::collection::vec(any::<u8>(), 100), destination);
    let type_and_length = (
        prop_oneof![8 => Just(None), 1 => any::<u16>().prop_map(Some), 1 => Just(Some(0x8100)), 1 => Just(Some(0x88a8))],
        prop_oneof![6 => Just(0u8), 3 => 1u8..3, 1 => 0u8..8],
        prop_oneof![4 => 0u32..20, 1 => any::<u32>()],
        prop_oneof![4 => Just(None), 1 => Just(Some(0)), 1 => Just(Some(0x6000)), 1 => any::<u16>().prop_map(Some)],
    );
    (bytes, type_and_length).prop_map(|((is_ipv6, fields, length, mut bytes, destination), about)| {
        let (protocol, port, fragment, flags, chunk, words, is_whole) = fields;
        let transport = if is_ipv6 {
            bytes[0] = 0x60;
            bytes[24..28].copy_from_slice(&destination);
            bytes[6] = protocol;
            40
        } else {
            bytes[0] = 0x40 | words;
            bytes[16..20].copy_from_slice(&destination);
            bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
            bytes[9] = protocol;
            usize::from(words) * 4
        };
        bytes[transport + 2..transport + 4].copy_from_slice(&port.to_be_bytes());
        bytes[transport + 12] = chunk;
        bytes[transport + 13] = flags;
        if !is_whole {
            bytes.truncate(length);
        }
        let (ethertype, packet_type, interface, vlan) = about;
        let ethertype = ethertype.unwrap_or(if is_ipv6 { 0x86dd } else { 0x0800 });
        Arrival { bytes, ethertype, packet_type, interface, vlan }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn exactly_what_should_pass_passes(spec in specs(40), packets in prop::collection::vec(arrivals(), 60)) {
        let program = Program::compile(&spec);
        prop_assert_eq!(program.coverage(), Coverage::Exact);
        for packet in packets {
            let length = if spec.heard_udp.is_empty() { SNAP_LENGTH } else { WHOLE_LENGTH };
            let wanted = if should_pass(&spec, &packet) { length } else { 0 };
            prop_assert_eq!(run(&program, &packet), wanted, "{:?}", packet);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn many_ports_are_still_exact_or_pass_more(
        spec in specs(1500), packets in prop::collection::vec(arrivals(), 30), ceiling in SHORTEST_CEILING..4097,
    ) {
        let program = Program::compile_within(&spec, ceiling);
        prop_assert!(program.length() <= ceiling);
        program.attach_as_it_is(UnixDatagram::unbound().unwrap()).unwrap();
        for packet in packets {
            match (run(&program, &packet) != 0, should_pass(&spec, &packet)) {
                (false, true) => prop_assert!(false, "lost {packet:?}"),
                (true, false) => prop_assert_eq!(program.coverage(), Coverage::Coarse, "{:?}", packet),
                _ => {}
            }
        }
    }
}

fn spec(tcp: PortSet, udp: PortSet) -> FilterSpec {
    FilterSpec {
        tcp,
        udp,
        interfaces: InterfaceChoice::AllBut(vec![1]),
        muted_udp: Vec::new(),
        heard_tcp: PortSet::default(),
        heard_udp: PortSet::default(),
        acks: PortSet::default(),
        all_protocols_but: None,
        pings: false,
        networks: Vec::new(),
    }
}

fn every_nth(step: usize) -> PortSet {
    PortSet::from_ranges((0..=u16::MAX).step_by(step).map(|port| (port, port)))
}

fn tcp_syn_to(port: u16) -> Arrival {
    let mut bytes = vec![0; 40];
    bytes[0] = 0x45;
    bytes[9] = 6;
    bytes[22..24].copy_from_slice(&port.to_be_bytes());
    bytes[33] = 0x02;
    Arrival { bytes, ethertype: 0x0800, packet_type: 0, interface: 2, vlan: None }
}

#[test]
fn every_port_is_decided_exactly_even_far_down_a_long_program() {
    let set = PortSet::from_ranges((0..1900u16).map(|index| (index * 33 + 5, index * 33 + 5)));
    let program = Program::compile(&spec(set.clone(), PortSet::default()));
    assert_eq!(program.coverage(), Coverage::Exact);
    for port in 0..=u16::MAX {
        assert_eq!(run(&program, &tcp_syn_to(port)) != 0, set.contains(port), "{port}");
    }
}

#[test]
fn ports_too_fine_for_the_kernel_are_passed_by_the_coarse() {
    for step in [2, 3, 16] {
        let set = every_nth(step);
        let program = Program::compile(&spec(set.clone(), set.clone()));
        assert_eq!(program.coverage(), Coverage::Coarse);
        assert!(program.length() <= LONGEST_PROGRAM, "{}", program.length());
        program.attach_as_it_is(UnixDatagram::unbound().unwrap()).unwrap();
        for port in set.ranges().iter().map(|range| range.0) {
            assert_ne!(run(&program, &tcp_syn_to(port)), 0, "{port}");
        }
    }
}

#[test]
fn a_coarse_set_keeps_its_widest_gaps() {
    // Every other port up to 20,000, then nothing: what lies above must stay out.
    let set = PortSet::from_ranges((0..10_000u16).map(|index| (index * 2, index * 2)));
    let program = Program::compile(&spec(set, PortSet::default()));
    assert_eq!(program.coverage(), Coverage::Coarse);
    assert_eq!(run(&program, &tcp_syn_to(30_000)), 0);
}

#[test]
fn a_thousand_bridge_ports_leave_room_for_ports() {
    let interfaces = InterfaceChoice::AllBut((0..1000).map(|index| index * 2 + 4).collect());
    let spec = FilterSpec { interfaces, ..spec("1-1023, !113".parse().unwrap(), "53,161".parse().unwrap()) };
    let program = Program::compile(&spec);
    assert_eq!(program.coverage(), Coverage::Coarse, "2,000 changes are more than a quarter of the program");
    assert_eq!(run(&program, &tcp_syn_to(113)), 0);
    assert_ne!(run(&program, &tcp_syn_to(22)), 0);
    assert_eq!(run(&program, &Arrival { interface: 2002, ..tcp_syn_to(22) }), 0, "as many as fit stay out");
}

#[test]
fn a_datagram_to_us_in_a_frame_to_many_is_seen_and_chatter_is_not() {
    let program = Program::compile(&spec(PortSet::all(), PortSet::all()));
    for packet_type in [1, 2] {
        let to = |protocol: u8, destination: [u8; 4]| {
            let mut packet = Arrival { packet_type, ..tcp_syn_to(161) };
            packet.bytes[9] = protocol;
            packet.bytes[16..20].copy_from_slice(&destination);
            run(&program, &packet) != 0
        };
        assert!(to(17, [198, 51, 100, 1]));
        assert!(!to(6, [198, 51, 100, 1]), "Linux drops TCP in such a frame");
        for group in [[224, 0, 0, 251], [239, 255, 255, 250], [255; 4]] {
            assert!(!to(17, group), "{group:?}");
        }
    }
}

#[test]
fn ordinary_traffic_leaves_early() {
    let program = Program::compile(&spec(PortSet::all(), PortSet::all()));
    assert!(program.length() < 70, "{}", program.length());
    for flags in [0x10, 0x18, 0x12, 0x52, 0x14, 0x04, 0x19] {
        let mut packet = tcp_syn_to(80);
        packet.bytes[33] = flags;
        assert_eq!(run(&program, &packet), 0, "flags {flags:#x}");
    }
}

#[test]
fn a_segment_passes_where_none_is_expected_and_nowhere_else() {
    let acks = "1-32767, !22, !80, !443".parse().unwrap();
    let program = Program::compile(&FilterSpec { acks, ..spec(PortSet::all(), PortSet::all()) });
    for (flags, passes) in
        [(0x10, true), (0x18, true), (0x11, true), (0x19, false), (0x14, false), (0x12, false)]
    {
        let mut packet = tcp_syn_to(8080);
        packet.bytes[33] = flags;
        assert_eq!(run(&program, &packet) != 0, passes, "flags {flags:#x}");
    }
    for port in [22, 80, 443, 40_000] {
        let mut packet = tcp_syn_to(port);
        packet.bytes[33] = 0x10;
        assert_eq!(run(&program, &packet), 0, "{port}");
    }
}

#[test]
fn a_protocol_that_nobody_speaks_passes_and_tunnels_never_do() {
    let muted = FilterSpec { all_protocols_but: Some(vec![253]), ..spec(PortSet::all(), PortSet::all()) };
    let program = Program::compile(&muted);
    for (protocol, passes) in
        [(200, true), (253, false), (47, false), (50, false), (4, false), (112, false), (3, true)]
    {
        let mut packet = tcp_syn_to(0);
        packet.bytes[9] = protocol;
        assert_eq!(run(&program, &packet) != 0, passes, "{protocol}");
    }
}

#[test]
fn what_others_send_to_a_network_that_we_protect_passes_and_so_do_the_answers() {
    let networks = vec!["198.51.100.0/24".parse().unwrap()];
    let program =
        Program::compile(&FilterSpec { networks, ..spec("1-100".parse().unwrap(), PortSet::default()) });
    let overheard = |source: [u8; 4], destination: [u8; 4], flags| {
        let mut packet = Arrival { packet_type: 3, ..tcp_syn_to(5000) };
        packet.bytes[12..16].copy_from_slice(&source);
        packet.bytes[16..20].copy_from_slice(&destination);
        packet.bytes[33] = flags;
        run(&program, &packet) != 0
    };
    let (stranger, host) = ([203, 0, 113, 9], [198, 51, 100, 7]);
    assert!(
        overheard(stranger, host, 0x02) && overheard(host, stranger, 0x12) && overheard(host, stranger, 0x14)
    );
    assert!(!overheard(stranger, host, 0x10) && !overheard(stranger, host, 0x18), "ordinary traffic");
    assert!(!overheard(stranger, [198, 51, 101, 7], 0x02));
}

#[test]
fn everything_at_once_fits_into_the_shortest_program() {
    let network = |number: u16| std::net::Ipv6Addr::new(0x2001, 0xdb8, number, 1, 2, 3, 4, 5);
    let networks = (0..MOST_NETWORKS as u16).map(|number| Prefix::single(network(number).into())).collect();
    let everything = FilterSpec {
        interfaces: InterfaceChoice::AllBut((0..1000).map(|index| index * 2 + 4).collect()),
        heard_tcp: every_nth(3),
        heard_udp: every_nth(5),
        acks: every_nth(7),
        all_protocols_but: Some((150..250).step_by(2).collect()),
        pings: true,
        networks,
        ..spec(every_nth(2), every_nth(2))
    };
    let program = Program::compile_within(&everything, 0);
    assert!(program.length() <= SHORTEST_CEILING, "{}", program.length());
    program.attach_as_it_is(UnixDatagram::unbound().unwrap()).unwrap();
}

#[test]
fn every_packet_to_a_heard_port_passes_and_those_beside_it_leave_as_before() {
    let heard_tcp: PortSet = "7000,8000-8001".parse().unwrap();
    let spec = FilterSpec { heard_tcp, ..spec("1-100".parse().unwrap(), PortSet::default()) };
    let program = Program::compile(&spec);
    for flags in 0..=u8::MAX {
        let with_flags = |port| {
            let mut packet = tcp_syn_to(port);
            packet.bytes[33] = flags;
            run(&program, &packet) != 0
        };
        assert!(with_flags(7000) && with_flags(8001), "flags {flags:#x}");
        assert!(!with_flags(7001) && !with_flags(22000), "flags {flags:#x}");
    }
    let mut ordinary = tcp_syn_to(80);
    assert_ne!(run(&program, &ordinary), 0);
    ordinary.bytes[33] = 0x10;
    assert_eq!(run(&program, &ordinary), 0);
}

#[test]
fn thousands_of_heard_ranges_fit_into_what_the_kernel_takes() {
    let heard = PortSet::from_ranges((0..5000u16).map(|index| (index * 13, index * 13)));
    let everything =
        FilterSpec { heard_tcp: heard.clone(), heard_udp: heard.clone(), ..spec(every_nth(2), every_nth(3)) };
    let program = Program::compile(&everything);
    assert_eq!(program.coverage(), Coverage::Coarse);
    assert!(program.length() <= LONGEST_PROGRAM, "{}", program.length());
    program.attach_as_it_is(UnixDatagram::unbound().unwrap()).unwrap();
    for &(port, _) in heard.ranges() {
        let mut packet = tcp_syn_to(port);
        packet.bytes[33] = 0x10;
        assert_ne!(run(&program, &packet), 0, "TCP {port}");
        packet.bytes[9] = 17;
        assert_ne!(run(&program, &packet), 0, "UDP {port}");
    }
    // A hundred knocks' ports beside everything watched are exact.
    let some = PortSet::from_ranges((0..100u16).map(|index| (index * 600, index * 600)));
    let usual =
        FilterSpec { heard_tcp: some.clone(), heard_udp: some, ..spec(PortSet::all(), PortSet::all()) };
    assert_eq!(Program::compile(&usual).coverage(), Coverage::Exact);
}
