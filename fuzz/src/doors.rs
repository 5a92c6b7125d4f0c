//! Knocks and whatever else comes, at doors of every kind.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::door::rotating::{HostId, Shape};
use portcullis_core::door::{
    Door, FlagTests, Key, Lock, Name, OneTime, Rotating, Sequence, Settings as Doors, Step, Style, User,
};
use portcullis_core::engine::{Engine, Freshness, Host, Presence, Settings, View, answering};
use portcullis_core::event::{Action, Mode};
use portcullis_core::judge;
use portcullis_core::judge::trigger::{self, Rule};
use portcullis_core::ledger::Terms;
use portcullis_core::net::{PortSet, Protocol};
use portcullis_core::policy::{EPHEMERAL, Local, Surroundings};
use portcullis_core::scan::Contact;
use portcullis_core::scan::sources::Secret;
use portcullis_core::time::{Now, Wall};
use portcullis_core::wire::{Checksums, Frame, Link};

/// Nothing is there.
pub struct Nothing;

impl Host for Nothing {
    fn presence(&mut self, _: &Contact, _: Freshness) -> Presence {
        Presence::Nothing
    }
}

fn sequence(ports: &[u16]) -> Sequence {
    let step = |&port| Step { port, protocol: Protocol::Tcp, flags: FlagTests::default() };
    Sequence::new(ports.iter().map(step).collect(), Duration::from_secs(5)).expect("few real ports")
}

fn doors() -> Vec<Door> {
    let open = || vec![(Protocol::Tcp, PortSet::from_ranges([(22, 22)]))];
    let door = |name: &str, lock| Door::new(Name::verbatim(name), lock, open(), Some(Duration::from_secs(9)));
    let plain = |ports: &[u16]| Lock::Sequence { open: sequence(ports), close: Some(sequence(&[3, 2, 1])) };
    let key = Key::new(vec![7; 16].into()).expect("long enough");
    let few = Shape::new(PortSet::from_ranges([(1, 1000)]), true, true, 3, 10).expect("enough choices");
    let rotating = Rotating {
        keys: vec![(User("ann".into()), key)],
        host: HostId([1; 16]),
        shape: few,
        drift: 1,
        window: Duration::from_secs(5),
    };
    let one_time = OneTime { sequences: vec![(1, sequence(&[1, 1])), (2, sequence(&[2, 3]))], ahead: 2 };
    let knockd = Style::Knockd { scans_may_open: true };
    vec![
        door("plain", plain(&[1, 2, 3])),
        door("one-time", Lock::OneTime(one_time)),
        door("rotating", Lock::Rotating(rotating)),
        Door { style: knockd, ..door("old", plain(&[1, 2])) },
        Door { style: knockd, target: Some(IpAddr::from([192, 0, 2, 99])), ..door("old", plain(&[2])) },
    ]
}

/// An engine with doors of every kind that one packet does not open, and the time that it begins at.
#[must_use]
pub fn engine() -> (Engine, Now) {
    let now = Now { wall: Wall(Duration::from_secs(1_700_000_000)), ..Now::default() };
    let settings = Settings {
        tcp: PortSet::all(),
        udp: PortSet::all(),
        judge: judge::Settings::Trigger(trigger::Settings {
            rule: Rule::Ports(3),
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
        allow: Vec::new(),
        singly: None,
        doors: Doors { doors: doors() },
    };
    let mut engine = Engine::new(settings, View::Live, Secret([1; 16]));
    let own = [IpAddr::from([192, 0, 2, 2]), "2001:db8::2".parse().expect("an address")];
    engine.surround(
        now,
        Surroundings { local: Local::Addresses(own.into()), ephemeral: EPHEMERAL, ..Surroundings::default() },
    );
    (engine, now)
}

/// Hands a frame to the engine.
pub fn hear(engine: &mut Engine, now: Now, bytes: &[u8]) {
    let frame = Frame { link: Link::RawIp, bytes, wire_length: bytes.len(), checksums: Checksums::Valid };
    engine.frame(now, frame, 1, &mut Nothing);
}

/// Frames of a byte for the time step, a byte of length, and so many bytes: whatever comes, openings have an end, and are
/// for somebody who can be let in; nothing panics.
pub fn doors_frames(input: &[u8]) {
    let (mut engine, now) = engine();
    let (mut now, mut rest) = (now, input);
    while let Some((&[how, length], behind)) = rest.split_first_chunk() {
        let (bytes, next) = behind.split_at(usize::from(length).min(behind.len()));
        rest = next;
        now = now.later(Duration::from_millis(u64::from(how) * u64::from(how) / 8));
        if how == 255 {
            now.wall = Wall(now.wall.0.saturating_sub(Duration::from_secs(3600)));
        }
        hear(&mut engine, now, bytes);
        if how % 3 == 0 {
            engine.tick(now, &mut Nothing);
        }
        while let Some(action) = engine.poll_action() {
            match action {
                Action::Open { door, address, remaining, .. } => {
                    assert!(!address.is_multicast() && !address.is_unspecified(), "{address}");
                    assert!(remaining.is_some_and(|left| left <= Duration::from_secs(9)));
                    let answer = if how % 2 == 0 { Ok(()) } else { Err("no".to_owned()) };
                    engine.door_answered(now, door, address, answer);
                }
                Action::Shut { door, address, .. } => engine.door_answered(now, door, address, Ok(())),
                Action::Spend { door, which, .. } => engine.spent(now, door, which, how % 2 == 0),
                Action::Enforce(blocks) => {
                    let answers: Vec<_> = blocks.iter().map(|block| (block.prefix(), Ok(()))).collect();
                    engine.enforced(now, &answers);
                }
                _ => {}
            }
        }
    }
    let end = now.later(Duration::from_secs(60));
    engine.tick(end, &mut Nothing);
    assert!(engine.openings(end).is_empty(), "every opening has an end");
    assert_eq!(engine.knockers().0, 0, "and so has every attempt");
}
