//! The whole journey, from frames to what is done.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::engine::{Engine, Freshness, Host, Presence, Settings, View, answering};
use portcullis_core::event::{Action, Mode, Protection};
use portcullis_core::judge;
use portcullis_core::judge::trigger::{self, Rule};
use portcullis_core::ledger::Terms;
use portcullis_core::net::{PortSet, Prefix};
use portcullis_core::policy::{Connected, EPHEMERAL, Friend, Local, Surroundings};
use portcullis_core::scan::Contact;
use portcullis_core::scan::sources::Secret;
use portcullis_core::time::{Now, Wall};
use portcullis_core::wire::{Checksums, Frame, Link};

/// Odd ports have a service.
struct Odd;

impl Host for Odd {
    fn presence(&mut self, contact: &Contact, _: Freshness) -> Presence {
        if contact.target.port % 2 == 1 { Presence::Service } else { Presence::Nothing }
    }
}

/// Feeds frames to an engine that enforces after two ports; whatever comes, nobody protected is blocked.
///
/// The input: for each frame one byte for the interface and how time steps, one for its length, and its bytes.
pub fn engine_frames(input: &[u8]) {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let protected =
        [address("192.0.2.2"), address("192.0.2.1"), address("2001:db8::2"), address("198.51.100.53")];
    let allowed: Prefix = "203.0.113.0/24".parse().expect("a prefix");
    let settings = Settings {
        tcp: PortSet::all(),
        udp: PortSet::all(),
        judge: judge::Settings::Trigger(trigger::Settings {
            rule: Rule::Ports(2),
            window: Duration::from_secs(60),
            sources: 16,
        }),
        mode: Mode::Enforce,
        terms: Terms {
            first: Some(Duration::from_secs(60)),
            growth: 2.0,
            ceiling: Duration::from_secs(600),
            memory: Duration::from_secs(3600),
            hold: Duration::from_secs(60),
            hold_ceiling: Duration::from_secs(120),
        },
        answering: answering::Settings::default(),
        allow: vec![allowed],
        singly: None,
        doors: portcullis_core::door::Settings::default(),
    };
    let mut now = Now { wall: Wall(Duration::from_secs(1_700_000_000)), ..Now::default() };
    let mut engine = Engine::new(settings, View::Live, Secret([1; 16]));
    let surroundings = Surroundings {
        local: Local::Addresses([protected[0], protected[2]].into()),
        connected: vec![Connected { network: "192.0.2.0/24".parse().expect("a prefix"), interface: 1 }],
        friends: [(protected[1], Protection::Gateway), (protected[3], Protection::Resolver)]
            .map(|(address, why)| Friend { prefix: Prefix::single(address), why })
            .into(),
        trusted: vec![3],
        ephemeral: EPHEMERAL,
        protect: Vec::new(),
    };
    engine.surround(now, surroundings);
    let mut rest = input;
    while let Some((&[how, length], behind)) = rest.split_first_chunk() {
        let (bytes, next) = behind.split_at(usize::from(length).min(behind.len()));
        rest = next;
        now = now.later(Duration::from_millis(u64::from(how) * u64::from(how)));
        let link = if how % 2 == 0 { Link::RawIp } else { Link::Network { ethertype: 0x0800 } };
        let frame = Frame { link, bytes, wire_length: bytes.len(), checksums: Checksums::Valid };
        engine.frame(now, frame, u32::from(how % 4), &mut Odd);
        engine.tick(now, &mut Odd);
        while let Some(action) = engine.poll_action() {
            let Action::Enforce(blocks) = action else { continue };
            for block in &blocks {
                assert!(!protected.iter().any(|own| block.prefix().contains(*own)), "{block:?}");
                assert!(!block.prefix().overlaps(&allowed), "{block:?}");
            }
            let answers: Vec<_> = blocks.iter().map(|block| (block.prefix(), Ok(()))).collect();
            engine.enforced(now, &answers);
        }
    }
    assert!(engine.suspects().0 <= 16);
}
