//! Doors: ports where only guests can begin something.
//!
//! The chain `doors` stands at the place of the bans: before connection tracking and any DNAT. At a door's ports it drops
//! TCP with SYN and without ACK, and every UDP datagram, unless the source is in the door's set, a friend, or comes over
//! the loopback or a trusted interface. Connections are not tracked: what stands goes on, also after its guest's
//! time is over. The kernel holds that time itself, so a door shuts even if the program is gone, and stays shut.

mod chain;
mod rules;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::net::Prefix;

use super::elements;
use super::layout::{self, Element, Set};
use super::numbers::*;
use super::{IN_ONE_MESSAGE, Nftables, counters};
use crate::netlink::message::{self, Attributes, Message, Writer};
use crate::netlink::{NetlinkError, Request};

pub use self::rules::{
    DoorFault, DoorName, DoorRules, DoorTraffic, Doors, Guest, Guests, InterfaceName, Mark, Traffic,
};

/// What there is of doors in our table, ours or of an earlier run.
#[derive(Debug, Default)]
pub(super) struct Standing {
    has_chain: bool,
    /// Those of single doors.
    chains: Vec<String>,
    sets: Vec<String>,
}

impl Standing {
    fn is_nothing(&self) -> bool {
        !self.has_chain && self.chains.is_empty() && self.sets.is_empty()
    }
}

impl Nftables {
    /// From now on [`Nftables::is_intact`], [`Nftables::ensure`] and [`Nftables::restore`] are about these doors too;
    /// nothing is sent. For one who watches what another connection makes.
    pub fn expect_doors(&mut self, doors: Doors) {
        self.doors = Some(Arc::new(doors));
    }

    /// Makes these the doors, and lets these guests in as by [`Nftables::open_door`], at one moment: no port is open
    /// to strangers in between, and guests of doors that stay are not touched. What stood of other doors is taken
    /// away, with their guests. Where all is so already nothing is sent but the guests, so that the counters stay.
    /// Only the friends' sets, being of intervals, may come into force a moment later, so that a friend's SYN has to be
    /// sent twice.
    ///
    /// Guests of a door that isn't among these are left out.
    ///
    /// # Errors
    /// Nothing has changed, and the doors expected before are still expected, if
    /// [`NetlinkError::has_changed_nothing`]. `EOPNOTSUPP` or `ENOENT` for a rule: the kernel lacks `nft_fib_inet`
    /// ([`Doors::spares_forwarded`]).
    pub fn set_doors(&mut self, doors: Doors, guests: &[Guest]) -> Result<(), NetlinkError> {
        let doors = Arc::new(doors);
        let earlier = self.doors.replace(Arc::clone(&doors));
        let result = self.make_doors(&doors, guests);
        if result.is_err() {
            self.doors = earlier;
        }
        result
    }

    fn make_doors(&mut self, doors: &Doors, guests: &[Guest]) -> Result<(), NetlinkError> {
        let standing = if self.are_doors_intact()? { None } else { Some(self.standing_doors()?) };
        self.batch.begin(&mut self.socket);
        self.batch_expected_doors(standing.as_ref());
        self.batch_guests(doors, guests);
        self.batch.commit(&mut self.socket)
    }

    /// Takes all doors away, so that their ports are open to everybody; the bans stay. No doors are no fault.
    ///
    /// # Errors
    /// [`NetlinkError::has_changed_nothing`] says whether the doors may be gone.
    pub fn remove_doors(&mut self) -> Result<(), NetlinkError> {
        let standing = self.standing_doors()?;
        self.batch.begin(&mut self.socket);
        self.batch_removal(&standing);
        self.batch.commit(&mut self.socket)?;
        self.doors = None;
        Ok(())
    }

    /// Lets `address` in for this time; if it is in already its time becomes this one.
    ///
    /// # Errors
    /// [`NetlinkError::is_missing`] if there is no such door in the kernel: [`Nftables::set_doors`].
    /// A refusal with `ENFILE`: the door has 4,096 guests of this family.
    pub fn open_door(
        &mut self,
        door: &DoorName,
        address: IpAddr,
        remaining: Option<Duration>,
    ) -> Result<(), NetlinkError> {
        self.batch.begin(&mut self.socket);
        let element = Element { prefix: Prefix::single(address), remaining };
        self.batch_guests_of(door, &[element], &[ADD, DELETE, ADD]);
        self.batch.commit(&mut self.socket)
    }

    /// Shuts `address` out; one that isn't in is no fault. Connections that stand go on.
    ///
    /// # Errors
    /// As [`Nftables::open_door`].
    pub fn shut_door(&mut self, door: &DoorName, address: IpAddr) -> Result<(), NetlinkError> {
        self.batch.begin(&mut self.socket);
        let element = Element { prefix: Prefix::single(address), remaining: None };
        self.batch_guests_of(door, &[element], &[ADD, DELETE]);
        self.batch.commit(&mut self.socket)
    }

    /// The guests of the expected doors with the time that remains to each; none where the kernel has no such door.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn guests(&mut self) -> Result<Guests, NetlinkError> {
        let mut all = Guests { guests: Vec::new(), is_settled: true };
        let Some(doors) = self.doors.clone() else { return Ok(all) };
        for door in doors.doors() {
            for width in [32, 128] {
                let name = chain::guests_name(&door.name, width);
                all.is_settled &= self.read_guests(&chain::guests_set(&name, width), |element| {
                    let (address, remaining) = (element.prefix.address(), element.remaining);
                    all.guests.push(Guest { door: door.name.clone(), address, remaining });
                })?;
            }
        }
        Ok(all)
    }

    fn read_guests(&mut self, set: &Set<'_>, visit: impl FnMut(Element)) -> Result<bool, NetlinkError> {
        let (mut keys, mut held) = (Vec::new(), Vec::new());
        let request = Request::new("list the guests of a door", "");
        let is_settled = self.list_elements(set.name, request, &mut keys, elements::read_into)?;
        elements::gather(set, keys, &mut held);
        held.into_iter().for_each(visit);
        Ok(is_settled)
    }

    /// What each of the expected doors has let in and shut out; nothing where the kernel has no such door.
    ///
    /// # Errors
    /// Only if the kernel can't be asked.
    pub fn door_traffic(&mut self) -> Result<Vec<DoorTraffic>, NetlinkError> {
        let Some(doors) = self.doors.clone() else { return Ok(Vec::new()) };
        let none = Traffic::default();
        let mut traffic: Vec<DoorTraffic> = doors
            .doors()
            .iter()
            .map(|door| DoorTraffic { door: door.name.clone(), guests: none, shut_out: none })
            .collect();
        let places: HashMap<String, usize> =
            (traffic.iter().map(|of_door| chain::own_name(&of_door.door))).zip(0..).collect();
        self.list_rules(None, |attributes| {
            let Some((name, packets, bytes)) = counters::read(attributes) else { return };
            let Some(chain) = attributes.get(RULE_CHAIN).and_then(message::text) else { return };
            // By its chain: the guests of door "a" and the strangers of door "a4" have one comment.
            let door = if chain == chain::CHAIN { name } else { chain };
            let Some(of_door) = places.get(door).and_then(|place| traffic.get_mut(*place)) else { return };
            let counter = if name == door { &mut of_door.shut_out } else { &mut of_door.guests };
            counter.packets += packets;
            counter.bytes += bytes;
        })?;
        Ok(traffic)
    }

    /// Whether the expected doors are as they are made; no doors are expected to leave no chain.
    pub(super) fn are_doors_intact(&mut self) -> Result<bool, NetlinkError> {
        let Some(doors) = self.doors.clone() else { return Ok(true) };
        let table = self.table.clone();
        let has_chain = self.is_there("look up chain", chain::CHAIN, libc::NFT_MSG_GETCHAIN, |out| {
            layout::write_chain(out, &table, chain::CHAIN);
        })?;
        if doors.doors().is_empty() {
            // Also one that is not as we make it.
            let standing = self.standing_doors()?;
            return Ok(standing.is_nothing());
        }
        Ok(has_chain
            && self.are_door_rules_intact(&doors)?
            && self.are_guest_sets_intact(&doors)?
            && self.are_friends_intact(&doors)?)
    }

    fn are_door_rules_intact(&mut self, doors: &Doors) -> Result<bool, NetlinkError> {
        let chains = chain::chains(doors);
        // How many of each chain's rules have been seen.
        let mut seen: HashMap<&str, (&chain::Chain<'_>, usize)> =
            chains.iter().map(|chain| (chain.name.as_str(), (chain, 0))).collect();
        let table = self.table.clone();
        let mut are_ours = true;
        let mut ours = Writer::default();
        self.list_rules(None, |attributes| {
            let name = attributes.get(RULE_CHAIN).and_then(message::text);
            // Chains that are not ours are not asked after: nothing of ours leads there.
            let Some((chain, seen)) = name.and_then(|name| seen.get_mut(name)) else { return };
            ours.clear();
            are_ours &= chain.rules.get(*seen).is_some_and(|rule| {
                chain::write_rule(&mut ours, &table, &chain.name, rule);
                layout::is_as_sent(Attributes::new(ours.bytes()), attributes)
            });
            *seen += 1;
        })?;
        Ok(are_ours && seen.values().all(|(chain, seen)| *seen == chain.rules.len()))
    }

    fn are_guest_sets_intact(&mut self, doors: &Doors) -> Result<bool, NetlinkError> {
        let table = self.table.clone();
        for door in doors.doors() {
            for width in [32, 128] {
                let name = chain::guests_name(&door.name, width);
                let set = chain::guests_set(&name, width);
                let write = |out: &mut Writer| layout::write_set(out, &table, &set);
                if !self.is_there("look up the guests' set of a door", "", libc::NFT_MSG_GETSET, write)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn are_friends_intact(&mut self, doors: &Doors) -> Result<bool, NetlinkError> {
        let table = self.table.clone();
        let wanted = friends_of(doors);
        for set in &chain::FRIENDS {
            let write = |out: &mut Writer| layout::write_set(out, &table, set);
            if !self.is_there("look up set", set.name, libc::NFT_MSG_GETSET, write)? {
                return Ok(false);
            }
            let (keys, _) = self.list_set(set)?;
            let mut held = Vec::new();
            if elements::gather(set, keys, &mut held) != 0 || !held.iter().eq(of_width(&wanted, set.width)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks for what there is of doors.
    pub(super) fn standing_doors(&mut self) -> Result<Standing, NetlinkError> {
        let table = self.table.clone();
        let has_chain = self.is_there("look up chain", chain::CHAIN, libc::NFT_MSG_GETCHAIN, |out| {
            out.text(TABLE, &table);
            out.text(CHAIN_NAME, chain::CHAIN);
        })?;
        let mut sets = Vec::new();
        let sequence = self.ask_for(libc::NFT_MSG_GETSET, libc::NLM_F_DUMP, |out| out.text(TABLE, &table));
        let visit = |message: &Message<'_>| sets.extend(set_of_doors(message.body));
        match self.socket.dump(self.question.bytes(), sequence, Request::new("list sets", ""), visit) {
            Err(error) if error.refusal() != Some(libc::ENOENT) => return Err(error),
            _ => {}
        }
        let mut chains = Vec::new();
        let sequence = self.ask_for(libc::NFT_MSG_GETCHAIN, libc::NLM_F_DUMP, |out| out.text(TABLE, &table));
        let visit = |message: &Message<'_>| chains.extend(chain_of_a_door(message.body, &table));
        self.socket.dump(self.question.bytes(), sequence, Request::new("list chains", ""), visit)?;
        // A list that was interrupted may show something twice.
        for names in [&mut sets, &mut chains] {
            names.sort_unstable();
            names.dedup();
        }
        Ok(Standing { has_chain, chains, sets })
    }

    /// Puts the expected doors into the batch, if `standing` says that they are not there as they should be.
    pub(super) fn batch_expected_doors(&mut self, standing: Option<&Standing>) {
        let (Some(doors), Some(standing)) = (self.doors.clone(), standing) else { return };
        if doors.doors().is_empty() {
            return self.batch_removal(standing);
        }
        let guests: Vec<(String, u8)> = doors
            .doors()
            .iter()
            .flat_map(|door| [32, 128].map(|width| (chain::guests_name(&door.name, width), width)))
            .collect();
        let request = Request::new("make table", "");
        let (batch, table) = (&mut self.batch, &self.table);
        batch.message(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, request, |out| {
            layout::write_table(out, table);
        });
        let chains = chain::chains(&doors);
        self.batch_clearing(
            standing,
            |name| chains.iter().any(|chain| chain.name == name),
            |set| guests.iter().any(|(name, _)| name == set),
        );
        let (batch, table) = (&mut self.batch, &self.table);
        for door in doors.doors() {
            let request = Request::new("make the chain of a door", "");
            batch.message(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, request, |out| {
                out.text(TABLE, table);
                out.text(CHAIN_NAME, &chain::own_name(&door.name));
            });
        }
        let request = Request::new("make chain", chain::CHAIN);
        batch.message(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, request, |out| {
            layout::write_chain(out, table, chain::CHAIN);
        });
        // Behind those that the bans have in the same batch.
        let mut numbers = 1000..;
        let mut number = move || numbers.next().expect("far fewer sets than numbers");
        for (name, width) in &guests {
            let request = Request::new("make the guests' set of a door", "");
            batch.message(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE, request, |out| {
                layout::write_set(out, table, &chain::guests_set(name, *width));
                out.u32_be(SET_ID, number());
            });
        }
        let friends = friends_of(&doors);
        for set in &chain::FRIENDS {
            let request = Request::new("make set", set.name);
            batch.message(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE, request, |out| {
                layout::write_set(out, table, set);
                out.u32_be(SET_ID, number());
            });
            let of_set: Vec<Element> = of_width(&friends, set.width).copied().collect();
            for part in of_set.chunks(IN_ONE_MESSAGE) {
                let request = Request::new("add elements to set", set.name);
                batch.message(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE, request, |out| {
                    elements::write(out, table, set, part, true);
                });
            }
        }
        for chain in &chains {
            for rule in &chain.rules {
                let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
                let request = Request::new("make a rule of doors", "");
                batch.message(libc::NFT_MSG_NEWRULE, flags, request, |out| {
                    chain::write_rule(out, table, &chain.name, rule);
                });
            }
        }
    }

    /// Takes away all that stands.
    fn batch_removal(&mut self, standing: &Standing) {
        self.batch_clearing(standing, |_| false, |_| false);
        if standing.has_chain {
            let request = Request::new("delete chain", chain::CHAIN);
            let table = &self.table;
            self.batch.message(libc::NFT_MSG_DELCHAIN, 0, request, |out| {
                out.text(TABLE, table);
                out.text(CHAIN_NAME, chain::CHAIN);
            });
        }
    }

    /// Empties the chains, and takes those of single doors and the sets away, without those to be kept.
    fn batch_clearing(
        &mut self,
        standing: &Standing,
        is_kept_chain: impl Fn(&str) -> bool,
        is_kept: impl Fn(&str) -> bool,
    ) {
        let (batch, table) = (&mut self.batch, &self.table);
        // First the one whose rules lead to the others.
        let base = standing.has_chain.then_some(chain::CHAIN);
        for chain in base.into_iter().chain(standing.chains.iter().map(String::as_str)) {
            let request = Request::new("delete rules of doors", "");
            batch.message(libc::NFT_MSG_DELRULE, 0, request, |out| {
                out.text(TABLE, table);
                out.text(RULE_CHAIN, chain);
            });
        }
        for chain in standing.chains.iter().filter(|chain| !is_kept_chain(chain)) {
            batch.message(libc::NFT_MSG_DELCHAIN, 0, Request::new("delete the chain of a door", ""), |out| {
                out.text(TABLE, table);
                out.text(CHAIN_NAME, chain);
            });
        }
        for set in standing.sets.iter().filter(|set| !is_kept(set)) {
            batch.message(libc::NFT_MSG_DELSET, 0, Request::new("delete a set of doors", ""), |out| {
                out.text(TABLE, table);
                out.text(SET_NAME, set);
            });
        }
    }

    fn batch_guests(&mut self, doors: &Doors, guests: &[Guest]) {
        for door in doors.doors() {
            let elements: Vec<Element> = guests
                .iter()
                .filter(|guest| guest.door == door.name)
                .map(|guest| Element { prefix: Prefix::single(guest.address), remaining: guest.remaining })
                .collect();
            // One that is named twice would be deleted twice.
            self.batch_guests_of(&door.name, &super::last_of_each(&elements), &[ADD, DELETE, ADD]);
        }
    }

    fn batch_guests_of(&mut self, door: &DoorName, guests: &[Element], steps: &[Step]) {
        for width in [32, 128] {
            let name = chain::guests_name(door, width);
            let set = chain::guests_set(&name, width);
            let of_set: Vec<Element> = of_width(guests, width).copied().collect();
            for part in of_set.chunks(IN_ONE_MESSAGE) {
                for (index, &(message, flags, verb)) in steps.iter().enumerate() {
                    // Only what stays needs its time.
                    let is_last = index + 1 == steps.len();
                    let table = &self.table;
                    self.batch.message(message, flags, Request::new(verb, ""), |out| {
                        elements::write(out, table, &set, part, is_last);
                    });
                }
            }
        }
    }
}

/// What is done to elements: message, flags, and how it is called.
type Step = (i32, i32, &'static str);
const ADD: Step = (libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE, "let a guest in at a door");
const DELETE: Step = (libc::NFT_MSG_DELSETELEM, 0, "shut a guest out of a door");

fn friends_of(doors: &Doors) -> Vec<Element> {
    let friends: Vec<Element> =
        doors.friends.iter().map(|&prefix| Element { prefix, remaining: None }).collect();
    elements::without_overlaps(&friends)
}

fn of_width(elements: &[Element], width: u8) -> impl Iterator<Item = &Element> {
    elements.iter().filter(move |element| element.prefix.full_length() == width)
}

/// The name of the set that a message is about, if it is one of doors.
fn set_of_doors(body: &[u8]) -> Option<String> {
    let name = Attributes::behind(body, 4).get(SET_NAME).and_then(message::text)?;
    let is_of_doors = name.starts_with(chain::PREFIX) || chain::FRIENDS.iter().any(|set| set.name == name);
    is_of_doors.then(|| name.to_owned())
}

/// The name of the chain that a message is about, if it is one of a door in this table.
fn chain_of_a_door(body: &[u8], table: &str) -> Option<String> {
    let attributes = Attributes::behind(body, 4);
    // The kernel lists the chains of all tables.
    attributes.get(TABLE).and_then(message::text).filter(|of| *of == table)?;
    let name = attributes.get(CHAIN_NAME).and_then(message::text)?;
    name.starts_with(chain::PREFIX).then(|| name.to_owned())
}

/// Every parser of this room; see [`crate::netlink::read_anything`].
pub(super) fn read_anything(body: &[u8]) {
    let _ = (set_of_doors(body), chain_of_a_door(body, "portcullis"));
}
