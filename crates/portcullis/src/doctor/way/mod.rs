//! The way of a guest through the rules in force: packets that were never sent are walked through them.
//!
//! Three of them: the first one of a connection, which bears the door's mark; a later one of the guest's; and an answer.
//! Pure: rules go in, and what they would do comes out. Our own table is left out: it lets a guest pass and drops
//! nothing of his.

pub mod packet;
pub mod walk;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use portcullis_core::net::Protocol;
use portcullis_sys::nftables::ruleset::{Base, Chain, Family, Hook, Ruleset};

use self::packet::{Byte, Device, ELSEWHERE, ESTABLISHED, LOCAL, NEW, Packet};
use self::walk::{Doubt, Spot, Walk, kind_of};

/// Of our own chains: raw. What comes before it does not know of our mark.
const OURS: i32 = -300;

/// Destinations are translated here, whatever priority a chain of type nat has among others of its kind
/// (`NF_IP_PRI_NAT_DST`).
const TRANSLATION: i32 = -100;

/// A guest's way to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    /// The guest.
    pub guest: IpAddr,
    /// Our address that he goes to.
    pub address: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The door's port.
    pub port: u16,
    /// What the door marks a guest's first packet with.
    pub mark: Option<u32>,
    /// Where his packets come in.
    pub came_in: Device,
}

/// Where packets to an address go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leg {
    /// The interface.
    pub device: Device,
    /// Our address on that way.
    pub source: Option<IpAddr>,
    /// Whether it is this host.
    pub is_local: bool,
}

/// Which of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The first of a connection.
    First,
    /// What the guest sends later.
    Later,
    /// What he is answered.
    Answer,
}

/// A table that drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// By which rule, or policy.
    pub by: Spot,
    /// The base chain that the packet was in.
    pub base: String,
    /// At which hook.
    pub hook: Hook,
    /// Which packet.
    pub which: Which,
    /// Whether a rule there could see our mark.
    pub sees_mark: bool,
    /// To or from this port it went there, which is another after a translation.
    pub port: u16,
}

/// What the rules do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journey {
    /// Where the first packet comes to; `None` if that could not be worked out.
    pub target: Option<(IpAddr, u16)>,
    /// Whether that is another host, or a container.
    pub is_forwarded: bool,
    /// Who drops something on the way for certain.
    pub drops: Vec<Dropped>,
    /// What stands in the way of knowing.
    pub doubts: Vec<Doubt>,
}

/// Walks the rules; `table` is our own, and `leg` tells the way to an address.
#[must_use]
pub fn walk(ruleset: &Ruleset, table: &str, trip: &Trip, leg: &dyn Fn(IpAddr) -> Option<Leg>) -> Journey {
    let mut journey = Journey::default();
    let mut passage =
        Passage { ruleset, table, walk: Walk::new(ruleset), journey: &mut journey, suspects: Vec::new() };
    let mut first = packet_of(trip);
    passage.through(Hook::Ingress, &mut first, Which::First, trip);
    passage.through(Hook::Prerouting, &mut first, Which::First, trip);
    let (Some(address), Some(port)) = (first.destination, first.port) else {
        let doubts = &mut journey.doubts;
        if doubts.is_empty() {
            let at =
                Spot { family: Family::Inet, table: "nat".into(), chain: "prerouting".into(), rule: None };
            doubts.push(Doubt { at, what: "where the port is sent on to".to_owned() });
        }
        return journey;
    };
    let redirected = first.destination_kind == Some(LOCAL);
    let way = leg(address);
    let is_local = redirected || way.as_ref().is_some_and(|way| way.is_local);
    first.destination_kind = Some(kind_of(is_local));
    passage.journey.target = Some((address, port));
    passage.journey.is_forwarded = !is_local;
    let hooks: &[Hook] = if is_local { &[Hook::Input] } else { &[Hook::Forward, Hook::Postrouting] };
    if !is_local {
        first.goes_out = Some(way.map(|way| way.device).unwrap_or_default());
    }
    hooks.iter().for_each(|hook| passage.through(*hook, &mut first, Which::First, trip));

    // What is later is not marked, and is translated without being asked.
    let mut later = Packet {
        state: ESTABLISHED,
        flags: packet::ACK,
        mark: [Some(0); 4],
        is_marked: false,
        destination: Some(address),
        port: Some(port),
        ..first.clone()
    };
    let all = [&[Hook::Ingress, Hook::Prerouting][..], hooks].concat();
    all.iter().for_each(|hook| passage.through(*hook, &mut later, Which::Later, trip));

    let mut answer = Packet {
        source: address,
        source_port: Some(port),
        destination: Some(trip.guest),
        port: later.source_port,
        flags: packet::SYN | packet::ACK,
        is_answer: true,
        came_in: later.goes_out.clone(),
        goes_out: Some(trip.came_in.clone()),
        source_kind: kind_of(is_local),
        destination_kind: Some(ELSEWHERE),
        ..later
    };
    let back: &[Hook] = match is_local {
        true => &[Hook::Output, Hook::Postrouting],
        false => &[Hook::Prerouting, Hook::Forward, Hook::Postrouting],
    };
    back.iter().for_each(|hook| passage.through(*hook, &mut answer, Which::Answer, trip));
    journey
}

fn packet_of(trip: &Trip) -> Packet {
    Packet {
        protocol: trip.protocol,
        source: trip.guest,
        source_port: None,
        destination: Some(trip.address),
        port: Some(trip.port),
        flags: packet::SYN,
        mark: [Some(0); 4],
        is_marked: false,
        state: NEW,
        original: (trip.address, trip.port),
        is_translated: false,
        is_answer: false,
        came_in: Some(trip.came_in.clone()),
        goes_out: None,
        source_kind: ELSEWHERE,
        destination_kind: Some(LOCAL),
    }
}

struct Passage<'a, 'b> {
    ruleset: &'a Ruleset,
    table: &'b str,
    walk: Walk<'a>,
    journey: &'b mut Journey,
    /// Rules that may have changed the mark: where another one asks for it, these are the riddle.
    suspects: Vec<Doubt>,
}

impl Passage<'_, '_> {
    /// All base chains of a hook, in their order.
    fn through(&mut self, hook: Hook, packet: &mut Packet, which: Which, trip: &Trip) {
        let mut chains: Vec<(&Chain, &Base)> = self
            .ruleset
            .chains
            .iter()
            .filter_map(|chain| Some((chain, chain.base.as_ref()?)))
            .filter(|(chain, base)| base.hook == hook && self.concerns(chain, base, packet, which))
            .collect();
        chains.sort_by_key(|(_, base)| place(base));
        // Every datagram of a guest's bears the mark, of TCP only what begins a connection.
        let is_marked = which == Which::First || (which == Which::Later && trip.protocol == Protocol::Udp);
        let marked = trip.mark.filter(|_| is_marked && hook == Hook::Prerouting);
        for (chain, base) in chains {
            if let Some(mark) = marked.filter(|_| base.priority > OURS) {
                mark_once(packet, mark);
            }
            if base.is_nat && packet.is_translated {
                continue;
            }
            let mut seen = packet.clone();
            if let Some(mark) = marked.filter(|_| base.priority == OURS) {
                // Whichever was made last comes first there.
                unknown_bit(&mut seen, mark);
            }
            let is_before =
                hook < Hook::Prerouting || (hook == Hook::Prerouting && base.priority < TRANSLATION);
            if which == Which::Later && is_before {
                (seen.destination, seen.port) = (Some(trip.address), Some(trip.port));
                seen.destination_kind = Some(LOCAL);
            }
            let entered = seen.clone();
            let ends = self.walk.base(chain, &mut seen);
            match (ends.passes, ends.drops.into_iter().next()) {
                (false, Some(by)) => self.journey.drops.push(Dropped {
                    by,
                    base: chain.name.clone(),
                    hook,
                    which,
                    sees_mark: hook > Hook::Prerouting || (hook == Hook::Prerouting && base.priority > OURS),
                    port: if which == Which::Answer { seen.source_port } else { seen.port }
                        .unwrap_or(trip.port),
                }),
                // Nobody knows what it has become.
                _ if seen.destination.is_none() || seen.port.is_none() => {
                    self.journey.doubts.extend(ends.doubts);
                }
                (true, Some(_)) => {
                    self.journey.doubts.append(&mut self.suspects);
                    self.journey.doubts.extend(ends.doubts);
                }
                _ if seen.mark != entered.mark => self.suspects.extend(ends.doubts),
                _ => {}
            }
            carry_on(packet, &entered, seen);
            if packet.destination.is_none() || packet.port.is_none() {
                return;
            }
        }
        if let Some(mark) = marked {
            mark_once(packet, mark);
        }
    }

    fn concerns(&self, chain: &Chain, base: &Base, packet: &Packet, which: Which) -> bool {
        let is_family = match chain.family {
            Family::Inet | Family::Netdev => true,
            Family::Ip => !packet.is_ipv6(),
            Family::Ip6 => packet.is_ipv6(),
        };
        let is_device = base.hook != Hook::Ingress
            || packet.came_in.as_ref().is_some_and(|device| base.devices.contains(&device.name));
        // Sources are translated elsewhere, and only first packets are looked at for that.
        let is_for_translation = !base.is_nat || (which == Which::First && base.hook == Hook::Prerouting);
        is_family && is_device && is_for_translation && chain.table != self.table
    }
}

/// What a chain has changed of the packet goes on with it.
fn carry_on(packet: &mut Packet, entered: &Packet, seen: Packet) {
    if seen.mark != entered.mark {
        packet.mark = seen.mark;
    }
    if (seen.destination, seen.port, seen.is_translated)
        != (entered.destination, entered.port, entered.is_translated)
    {
        (packet.destination, packet.port) = (seen.destination, seen.port);
        (packet.is_translated, packet.destination_kind) = (seen.is_translated, seen.destination_kind);
    }
    packet.state = seen.state;
}

/// Ours has set the bit by now; once, so that whoever takes it away afterwards has done so.
fn mark_once(packet: &mut Packet, mark: u32) {
    if !packet.is_marked {
        packet.is_marked = true;
        for (byte, bits) in packet.mark.iter_mut().zip(mark.to_ne_bytes()) {
            *byte = byte.map(|byte| byte | bits);
        }
    }
}

/// In which order chains of a hook come.
fn place(base: &Base) -> (i32, i32) {
    if base.is_nat { (TRANSLATION, base.priority) } else { (base.priority, i32::MIN) }
}

fn unknown_bit(packet: &mut Packet, mark: u32) {
    let unknown = |(byte, bits): (&mut Byte, u8)| {
        if bits != 0 {
            *byte = None;
        }
    };
    packet.mark.iter_mut().zip(mark.to_ne_bytes()).for_each(unknown);
}
