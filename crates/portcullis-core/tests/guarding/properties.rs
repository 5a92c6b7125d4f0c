//! Whatever is configured and whoever comes: nobody protected is banned, held, or inside a wider ban.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portcullis_core::engine::answering::{self, Unproved};
use portcullis_core::engine::{Settings, brake};
use portcullis_core::event::{Action, Kind, Mode, Protection};
use portcullis_core::judge;
use portcullis_core::judge::evidence::{self, Score};
use portcullis_core::judge::trigger::{self, Rule};
use portcullis_core::ledger::Terms;
use portcullis_core::net::{PortSet, Prefix};
use portcullis_core::policy::{Connected, EPHEMERAL, Friend, Local, Surroundings};
use proptest::collection::vec;
use proptest::prelude::*;

use super::story::{self, Story};

/// Few enough that sources, networks and those protected meet often.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..4, 0u32..8)
            .prop_map(|(net, host)| Ipv4Addr::from_bits(0xc000_0200 + (net << 8) + host).into()),
        (0u128..2, 0u128..3, 0u128..6, 0u128..3).prop_map(|(net48, net56, net64, host)| {
            let base = 0x2001_0db8_u128 << 96;
            Ipv6Addr::from_bits(base + (net48 << 80) + (net56 << 72) + (net64 << 64) + host).into()
        }),
        Just(Ipv4Addr::new(224, 0, 0, 1).into()),
        Just(Ipv4Addr::UNSPECIFIED.into()),
        Just(Ipv4Addr::BROADCAST.into()),
        Just(Ipv6Addr::LOCALHOST.into()),
    ]
}

fn network() -> impl Strategy<Value = Prefix> {
    (address(), prop_oneof![Just(24u8), Just(30), Just(48), Just(56), Just(64), Just(128)])
        .prop_map(|(address, length)| Prefix::containing(address, length))
}

fn surroundings() -> impl Strategy<Value = Surroundings> {
    let friend = (network(), prop_oneof![Just(Protection::Gateway), Just(Protection::OwnNetwork)])
        .prop_map(|(prefix, why)| Friend { prefix, why });
    (vec(address(), 1..4), vec(network(), 0..3), vec(address(), 0..3), vec(friend, 0..2)).prop_map(
        |(own, connected, gateways, mut friends)| Surroundings {
            local: Local::Addresses(own.into_iter().collect()),
            connected: connected.into_iter().map(|network| Connected { network, interface: 1 }).collect(),
            friends: {
                let of =
                    |address: IpAddr| Friend { prefix: Prefix::single(address), why: Protection::Gateway };
                friends.extend(gateways.into_iter().map(of));
                friends
            },
            trusted: Vec::new(),
            ephemeral: EPHEMERAL,
            protect: Vec::new(),
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    let judging = (1u32..5, any::<bool>(), any::<bool>(), 0u32..20);
    let lists = (vec(network(), 0..2), vec(network(), 0..2));
    let lengths = (proptest::option::of(1u64..7200), 1.0..5.0f64, 1u64..600);
    (judging, lists, lengths).prop_map(
        |((count, by_probes, bans, limit), (allow, apart), (first, growth, hold))| Settings {
            judge: match (count, by_probes) {
                (1, _) => judge::Settings::Evidence(evidence::Settings {
                    enough: Score(1500),
                    sources: 64,
                    ..evidence::Settings::default()
                }),
                _ => judge::Settings::Trigger(trigger::Settings {
                    rule: if by_probes { Rule::Probes(count - 1) } else { Rule::Ports(count - 1) },
                    window: Duration::from_secs(60),
                    sources: 64,
                }),
            },
            terms: Terms {
                first: first.map(Duration::from_secs),
                growth,
                ceiling: Duration::from_secs(7200),
                memory: Duration::from_secs(86_400),
                hold: Duration::from_secs(hold),
                hold_ceiling: Duration::from_secs(hold * 2),
            },
            answering: answering::Settings {
                unproved: if bans { Unproved::Ban } else { Unproved::Hold },
                brake: brake::Settings { limit },
                apart,
            },
            allow,
            tcp: PortSet::all(),
            ..story::settings(Mode::Enforce)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_configuration_bans_a_protected_address(
        settings in settings(),
        first in surroundings(),
        then in surroundings(),
        sources in vec((address(), any::<bool>(), 0u64..90), 1..12),
    ) {
        let allow = settings.allow.clone();
        let mut story = Story::with(settings);
        story.engine.surround(story.now, first.clone());
        story.told();
        let half = sources.len() / 2;
        for (number, (source, is_proved, pause)) in sources.iter().enumerate() {
            let around = if number < half { &first } else { &then };
            if number == half {
                story.engine.surround(story.now, then.clone());
            }
            let own: Vec<IpAddr> = match &around.local {
                Local::Addresses(own) => own.iter().copied().collect(),
                Local::Any => Vec::new(),
            };
            let target = own[0];
            let own = own.iter().map(|address| Prefix::single(*address));
            let protected: Vec<Prefix> =
                own.chain(around.friends.iter().map(|friend| friend.prefix)).collect();
            for port in 1..=4 {
                let kind = if *is_proved { Kind::Connect } else { Kind::Syn };
                let contact = story::contact_of(*source, target, kind, port);
                story.engine.contact(story.now, contact, &mut story.services);
                while let Some(action) = story.engine.poll_action() {
                    let Action::Enforce(blocks) = action else { continue };
                    for block in &blocks {
                        let prefix = block.prefix();
                        prop_assert!(!protected.iter().any(|own| prefix.overlaps(own)), "{block:?} {around:?}");
                        prop_assert!(!allow.iter().any(|own| own.overlaps(&prefix)), "{block:?} {allow:?}");
                        prop_assert!(prefix.address().is_ipv6() || prefix.is_single(), "{block:?}");
                        let special = [IpAddr::from([224, 0, 0, 1]), Ipv4Addr::UNSPECIFIED.into()];
                        prop_assert!(!special.iter().any(|own| prefix.contains(*own)), "{block:?}");
                    }
                    let answers: Vec<_> = blocks.iter().map(|block| (block.prefix(), Ok(()))).collect();
                    story.engine.enforced(story.now, &answers);
                }
            }
            story.pass(Duration::from_secs(*pause));
            for ban in story.engine.bans(story.now, None, usize::MAX) {
                prop_assert!(!protected.iter().any(|own| ban.prefix.overlaps(own)), "{ban:?} {around:?}");
            }
        }
    }
}
