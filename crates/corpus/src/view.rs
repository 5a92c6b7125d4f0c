//! From what happened to what a capture shows: one direction, from the middle on, in disorder, cut, with other
//! people's traffic around it.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::Link;

use crate::dice::Dice;
use crate::friends::background;
use crate::stage::Stage;
use crate::{Captured, Class, Family, Scenario};

/// How a family is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Both directions, from its beginning.
    Whole,
    /// Some captures show only what arrives.
    SometimesInbound,
    /// Only what arrives.
    Inbound,
    /// Only what leaves.
    Outbound,
    /// The first part is missing, so that connections begin with an ACK.
    MidStream,
}

/// How packets stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disorder {
    /// By their times.
    None,
    /// By their times, but these are taken by several clocks that differ by some milliseconds.
    Clocks,
    /// Neighbours have changed places, as with several receive queues.
    Queues,
    /// The times were lost: a few microseconds between packets, whatever was between them.
    Lost,
    /// Recordings of other days in one file: it jumps ahead by months, or back.
    Merged,
}

pub(crate) fn of(family: &Family, seed: u64, mut stage: Stage) -> Scenario {
    let has_background =
        family.seen == Seen::Whole && stage.dice.percent(50) || family.class.is_scan() && seed % 2 == 1;
    if has_background {
        background::around(&mut stage);
    }
    let (host, incidents, mut packets, mut dice) = stage.into_tape();
    let local = host.addresses();
    let is_inbound = match family.seen {
        Seen::Whole | Seen::Outbound | Seen::MidStream => false,
        Seen::Inbound => true,
        Seen::SometimesInbound => dice.percent(20),
    };
    if is_inbound {
        packets.retain(|captured| !local.contains(&source(captured)));
    }
    match family.seen {
        Seen::Outbound => packets.retain(|captured| local.contains(&source(captured))),
        Seen::MidStream => {
            // Behind the first packets whatever the pace: a beginning that is only seconds long would be gone.
            let missing = packets.len() * dice.count(5, 60) / 100;
            packets.drain(..missing);
        }
        Seen::Whole | Seen::SometimesInbound | Seen::Inbound => {}
    }
    let disorder = match dice.between(0, 19) {
        0 | 1 => Disorder::Clocks,
        2 | 3 => Disorder::Queues,
        // Made by tools that cut and join captures; a scan's pace is part of what it is.
        4 if family.class == Class::OddFriend => Disorder::Lost,
        5 if family.class == Class::OddFriend => Disorder::Merged,
        _ => Disorder::None,
    };
    disturb(&mut packets, disorder, &mut dice);
    let about = format!(
        "{}, {} TCP services{}{}{}",
        host.firewall.name(),
        host.tcp.len(),
        if has_background { ", among others" } else { "" },
        match family.seen {
            _ if is_inbound => ", inbound only",
            Seen::Outbound => ", outbound only",
            Seen::MidStream => ", from the middle on",
            _ => "",
        },
        match disorder {
            Disorder::None => "",
            Disorder::Clocks => ", two clocks",
            Disorder::Queues => ", out of order",
            Disorder::Lost => ", times lost",
            Disorder::Merged => ", merged",
        },
    );
    let link = dice.pick(&[
        Link::Ethernet,
        Link::Ethernet,
        Link::Ethernet,
        Link::CookedV1,
        Link::CookedV2,
        Link::RawIp,
    ]);
    Scenario {
        family: family.name,
        class: family.class,
        seed,
        local,
        about,
        link,
        vlan: dice.percent(6).then(|| dice.port(2, 4_000)),
        snap: dice.pick(&[262_144, 262_144, 262_144, 1514, 128]),
        packets,
        incidents,
        services: (host.tcp.iter().copied().collect(), host.udp.iter().copied().collect()),
    }
}

fn disturb(packets: &mut [Captured], disorder: Disorder, dice: &mut Dice) {
    match disorder {
        Disorder::None => {}
        Disorder::Clocks => {
            let ahead = dice.micros(200, 8_000);
            for captured in packets.iter_mut() {
                if dice.percent(50) {
                    captured.at += ahead;
                }
            }
        }
        Disorder::Queues => {
            for place in 1..packets.len() {
                let near = packets[place].at.saturating_sub(packets[place - 1].at) < Duration::from_millis(1);
                if near && dice.percent(10) {
                    packets.swap(place - 1, place);
                }
            }
        }
        Disorder::Lost => {
            let first = packets.first().map_or(Duration::ZERO, |captured| captured.at);
            for (place, captured) in packets.iter_mut().enumerate() {
                captured.at = first + Duration::from_micros(12) * place as u32;
            }
        }
        Disorder::Merged => {
            const MONTH: Duration = Duration::from_secs(30 * 86_400);
            let (one, other) = (dice.count(0, packets.len()), dice.count(0, packets.len()));
            for captured in packets.iter_mut().skip(one) {
                captured.at += MONTH;
            }
            for captured in packets.iter_mut().skip(other) {
                captured.at -= 2 * MONTH;
            }
        }
    }
}

/// Whom a packet names as its sender.
///
/// # Panics
/// If it is no IP packet; the stage takes down nothing else.
#[must_use]
pub(crate) fn source(captured: &Captured) -> IpAddr {
    let bytes = &captured.bytes;
    let of = "a whole IP header stands at the start";
    if bytes[0] >> 4 == 4 {
        <[u8; 4]>::try_from(&bytes[12..16]).expect(of).into()
    } else {
        <[u8; 16]>::try_from(&bytes[8..24]).expect(of).into()
    }
}
