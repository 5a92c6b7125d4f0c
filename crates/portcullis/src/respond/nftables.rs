//! Bans as elements of nftables sets, sent from the fast path; every answer of the kernel is read.
//!
//! The table is made when the first ban needs it: who only observes finds nothing changed on his machine.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::event::{Allowance, How};
use portcullis_core::ledger::Found;
use portcullis_core::net::Prefix;
use portcullis_core::policy::Block;
use portcullis_sys::netlink::NetlinkError;
use portcullis_sys::nftables::{Counter, DoorName, Doors, Element, Held, Nftables};

use crate::causes;

/// Why doors could not be shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotShut {
    /// Perhaps only because packets to other hosts were to pass them: without that it may succeed
    /// ([`Doors::spares_forwarded`] takes `nft_fib_inet`).
    PerhapsByForwarding(String),
    /// For this reason.
    Refused(String),
}

impl fmt::Display for NotShut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotShut::PerhapsByForwarding(why) | NotShut::Refused(why) => f.write_str(why),
        }
    }
}

/// Our table.
pub struct Kernel {
    nftables: Nftables,
    is_made: bool,
    /// Whether the sets were empty when they were read, and nothing has gone in since.
    is_empty: bool,
    allowed: Vec<Element>,
}

impl Kernel {
    /// Opens the way to the kernel; changes nothing.
    ///
    /// # Errors
    /// Netlink could not be opened.
    pub fn open(table: &str) -> Result<Kernel, NetlinkError> {
        Ok(Kernel { nftables: Nftables::open(table)?, is_made: false, is_empty: false, allowed: Vec::new() })
    }

    /// What the kernel holds.
    ///
    /// # Errors
    /// The listing failed, or the right to see it is missing.
    pub fn held(&mut self) -> Result<Held, NetlinkError> {
        let held = self.nftables.list()?;
        self.is_empty = held.is_settled && held.elements.is_empty() && held.held.is_empty();
        Ok(held)
    }

    /// Makes the table whole, without touching the elements.
    ///
    /// # Errors
    /// The kernel refused; nothing was changed.
    pub fn make(&mut self) -> Result<(), NetlinkError> {
        self.nftables.ensure()?;
        self.is_made = true;
        self.nftables.set_allowed(&self.allowed)
    }

    /// Makes the table if that has not been done, so that the first ban finds it.
    ///
    /// # Errors
    /// As [`Kernel::make`].
    pub fn prepare(&mut self) -> Result<(), NetlinkError> {
        if self.is_made { Ok(()) } else { self.make() }
    }

    /// Makes these the doors, at one moment; guests of doors that stay are not touched.
    ///
    /// # Errors
    /// The kernel refused; the doors before hold on.
    pub fn set_doors(&mut self, doors: &Doors) -> Result<(), NotShut> {
        let refused = |error| NotShut::Refused(causes::said(&error));
        if !doors.doors().is_empty() {
            self.prepare().map_err(refused)?;
        }
        // Without doors: what an earlier configuration had is taken away.
        self.nftables.set_doors(doors.clone(), &[]).map_err(|error| {
            match doors.spares_forwarded && error.may_lack_a_part() {
                true => NotShut::PerhapsByForwarding(causes::said(&error)),
                false => refused(error),
            }
        })
    }

    /// Whether these doors are shut already, as an earlier run left them.
    ///
    /// # Errors
    /// The kernel did not say.
    pub fn are_doors_shut(&mut self, doors: &Doors) -> Result<bool, NetlinkError> {
        self.nftables.expect_doors(doors.clone());
        self.nftables.is_intact()
    }

    /// Lets a guest in, for so long.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn open_door(
        &mut self,
        door: &DoorName,
        address: IpAddr,
        remaining: Option<Duration>,
    ) -> Result<(), NetlinkError> {
        match self.nftables.open_door(door, address, remaining) {
            Err(error) if error.is_missing() => {
                self.make()?;
                self.nftables.open_door(door, address, remaining)
            }
            answer => answer,
        }
    }

    /// Shuts a guest out again; one that is not in is no fault.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn shut_door(&mut self, door: &DoorName, address: IpAddr) -> Result<(), NetlinkError> {
        match self.nftables.shut_door(door, address) {
            // Without the door nobody is let in by it.
            Err(error) if error.is_missing() => Ok(()),
            answer => answer,
        }
    }

    /// The number by which a [`portcullis_sys::nftables::Monitor`] knows what we change ourselves.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.nftables.port()
    }

    /// Puts these in, with their time; for each the kernel's answer.
    pub fn enforce(&mut self, blocks: &[Block]) -> Vec<(Prefix, Result<(), String>)> {
        let of = |how: How| -> Vec<Element> {
            let wanted = blocks.iter().filter(|block| block.how() == how);
            wanted.map(|block| Element { prefix: block.prefix(), remaining: block.remaining() }).collect()
        };
        let (bans, holds) = (of(How::Banned), of(How::Held));
        let mut answers = if bans.is_empty() { Vec::new() } else { self.ban(bans) };
        if !holds.is_empty() {
            let result = self.with_table(|nftables| nftables.hold(&holds));
            answers.append(&mut self.answers(&holds, result));
        }
        answers
    }

    fn ban(&mut self, elements: Vec<Element>) -> Vec<(Prefix, Result<(), String>)> {
        match self.add(&elements) {
            Ok(()) => elements.iter().map(|element| (element.prefix, Ok(()))).collect(),
            Err(error) if elements.len() == 1 => vec![(elements[0].prefix, Err(causes::said(&error)))],
            Err(error) => {
                // What may have spoilt a batch are wide prefixes that overlap with something; the rest is sent
                // without them, and those one by one.
                let (wide, narrow): (Vec<Element>, Vec<Element>) =
                    elements.into_iter().partition(Element::is_interval);
                let result = if wide.is_empty() { Err(error) } else { self.add(&narrow) };
                let mut answers = self.answers(&narrow, result);
                for element in wide {
                    let answer = self.add(&[element]).map_err(|error| causes::said(&error));
                    answers.push((element.prefix, answer));
                }
                answers
            }
        }
    }

    /// What became of each of `elements`, which went in together. Where a batch was not taken wholly or not at all
    /// the kernel is asked which of them it holds: what is in force is called so.
    fn answers(
        &mut self,
        elements: &[Element],
        result: Result<(), NetlinkError>,
    ) -> Vec<(Prefix, Result<(), String>)> {
        let error = match result {
            Ok(()) => return elements.iter().map(|element| (element.prefix, Ok(()))).collect(),
            Err(error) => error,
        };
        let held: HashSet<Prefix> = if error.has_changed_nothing() {
            HashSet::new()
        } else {
            // If it cannot be listed either, all are called failed and sent again; that does no harm.
            let listed = self.nftables.list().unwrap_or_default();
            listed.elements.iter().chain(&listed.held).map(|element| element.prefix).collect()
        };
        let answer = causes::said(&error);
        let answer_to = |prefix| if held.contains(&prefix) { Ok(()) } else { Err(answer.clone()) };
        elements.iter().map(|element| (element.prefix, answer_to(element.prefix))).collect()
    }

    /// Takes these out; what is not there is no fault.
    ///
    /// # Errors
    /// The kernel refused; nothing was changed.
    pub fn release(&mut self, prefixes: &[Prefix]) -> Result<(), NetlinkError> {
        if self.is_made { self.nftables.remove(prefixes) } else { Ok(()) }
    }

    /// Whom the sets never drop; it goes in with the table if that is not made yet.
    ///
    /// # Errors
    /// The kernel refused; nothing was changed.
    pub fn allow(&mut self, allowances: &[Allowance]) -> Result<(), NetlinkError> {
        self.allowed =
            allowances.iter().map(|own| Element { prefix: own.prefix, remaining: own.remaining }).collect();
        if self.is_made { self.nftables.set_allowed(&self.allowed) } else { Ok(()) }
    }

    /// Takes the whole table away.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn remove_table(&mut self) -> Result<(), NetlinkError> {
        self.is_made = false;
        self.nftables.remove_table()
    }

    /// Packets and bytes that each of our rules has met.
    ///
    /// # Errors
    /// The listing failed.
    pub fn counters(&mut self) -> Result<Vec<Counter>, NetlinkError> {
        self.nftables.counters()
    }

    /// Somebody has taken something of ours away; the next ban makes the table anew.
    pub fn distrust(&mut self) {
        self.is_made = false;
    }

    fn add(&mut self, elements: &[Element]) -> Result<(), NetlinkError> {
        if elements.is_empty() {
            return Ok(());
        }
        // After a reboot many bans go into sets that are known to be empty, which is a third of the work.
        let is_empty = std::mem::take(&mut self.is_empty);
        self.with_table(|nftables| match is_empty {
            true => nftables.add_new(elements),
            false => nftables.add(elements),
        })
    }

    /// Makes the table first if it is not there.
    fn with_table(
        &mut self,
        change: impl Fn(&mut Nftables) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        if self.is_made {
            match change(&mut self.nftables) {
                Err(error) if error.is_missing() => self.is_made = false,
                answer => return answer,
            }
        }
        self.make()?;
        change(&mut self.nftables)
    }
}

/// What the kernel holds, as the ledger compares it.
#[must_use]
pub fn bans_of(held: &Held) -> Vec<Found> {
    let found = |how: How| {
        move |element: &Element| Found { prefix: element.prefix, how, remaining: element.remaining }
    };
    let banned = held.elements.iter().map(found(How::Banned));
    banned.chain(held.held.iter().map(found(How::Held))).collect()
}
