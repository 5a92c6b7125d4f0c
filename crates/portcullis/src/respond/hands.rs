//! The fast path's hands: bans go into our own set at once, and whatever takes a command or a file is handed to the
//! slow path as an errand.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::door::Name;
use portcullis_core::engine::Engine;
use portcullis_core::event::{Allowance, Cause};
use portcullis_core::ledger::Found;
use portcullis_core::net::{Prefix, Protocol};
use portcullis_core::policy::Block;
use portcullis_core::time::Now;
use portcullis_sys::netlink::NetlinkError;
use tokio::sync::mpsc;

use super::doors::DoorHands;
use super::nftables::{Kernel, NotShut};
use super::responses::Responses;

/// Sources that may wait for their responses; of more, the block fails and is tried again.
pub const WAITING: usize = 100_000;

/// Something for the slow path to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Respond to an event of this source.
    Respond {
        /// Whom to shut out.
        prefix: Prefix,
        /// The event's transport.
        protocol: Protocol,
        /// The port that it was aimed at.
        port: u16,
    },
    /// Take back what was done about this source.
    Undo(Prefix),
}

/// A persona's errands.
pub struct Errands {
    /// What is to be done about whom.
    pub responses: Responses,
    /// The way to the slow path.
    pub queue: mpsc::Sender<Errand>,
    /// Blocks that found no room on it.
    pub refused: u64,
}

/// What the fast path acts by.
pub struct Hands {
    /// `None` without the right to change the packet filter.
    pub kernel: Option<Kernel>,
    /// Only a persona has some.
    pub errands: Option<Errands>,
    /// At doors.
    pub doors: DoorHands,
    /// Bans of a persona's that were found in force in our own set, where somebody put them: missing there they go in
    /// again. As many at most as there are bans.
    pub adopted: BTreeSet<Prefix>,
}

impl Hands {
    /// Puts bans in force as far as the kernel can, and hands out errands for the rest. Returns the answers that are
    /// known now; an errand's comes later.
    pub fn enforce(
        &mut self,
        engine: &Engine,
        now: Now,
        blocks: &[Block],
    ) -> Vec<(Prefix, Result<(), String>)> {
        let Some(errands) = &self.errands else { return enforce_in_kernel(&mut self.kernel, blocks) };
        let (mut in_kernel, mut left_alone) = (Vec::new(), Vec::new());
        let mut asked = Vec::new();
        for block in blocks {
            let prefix = block.prefix();
            let cause = engine.ban_of(now, &prefix).map(|ban| ban.cause);
            match cause {
                Some(Cause::Probe { protocol, port, .. }) => {
                    if errands.responses.uses_set(protocol, prefix.address()) {
                        in_kernel.push(*block);
                    }
                    asked.push(Errand::Respond { prefix, protocol, port });
                }
                // Somebody else shuts it out, who is not asked for more.
                Some(Cause::FoundInForce) if !self.adopted.contains(&prefix) => {
                    left_alone.push((prefix, Ok(())))
                }
                // By hand: no event tells a command its port.
                _ => in_kernel.push(*block),
            }
        }
        let mut answers = enforce_in_kernel(&mut self.kernel, &in_kernel);
        answers.append(&mut left_alone);
        for errand in asked {
            let Errand::Respond { prefix, .. } = errand else { continue };
            let of_kernel = answers.iter().position(|(own, _)| *own == prefix);
            if let Some(place) = of_kernel {
                let (prefix, answer) = answers.swap_remove(place);
                if answer.is_err() {
                    answers.push((prefix, answer));
                    continue;
                }
            }
            if let Err(why) = self.hand_out(errand) {
                answers.push((prefix, Err(why)));
            }
        }
        answers
    }

    /// Lets these in again. Returns how many of them, from the first, are let in or will be without another word; with
    /// fewer than all, what the kernel refused, or that errands have no room. The others are asked for again.
    pub fn release(&mut self, prefixes: &[Prefix]) -> (usize, Option<String>) {
        if let Some(kernel) = &mut self.kernel
            && let Err(error) = kernel.release(prefixes)
        {
            return (0, Some(crate::causes::said(&error)));
        }
        for (place, prefix) in prefixes.iter().enumerate() {
            if let Err(why) = self.hand_out(Errand::Undo(*prefix)) {
                return (place, Some(why));
            }
        }
        (prefixes.len(), None)
    }

    /// Whom our sets never drop.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn allow(&mut self, allowances: &[Allowance]) -> Result<(), NetlinkError> {
        self.kernel.as_mut().map_or(Ok(()), |kernel| kernel.allow(allowances))
    }

    /// Whether a ban has a place in our own sets.
    #[must_use]
    pub fn is_for_kernel(&self, prefix: &Prefix, cause: &Cause) -> bool {
        match (&self.errands, cause) {
            (Some(errands), Cause::Probe { protocol, .. }) => {
                errands.responses.uses_set(*protocol, prefix.address())
            }
            (Some(_), Cause::FoundInForce) => self.adopted.contains(prefix),
            _ => true,
        }
    }

    /// Our set holds these: whichever of them was found in force, and by nothing else, was found there.
    pub fn adopt(&mut self, engine: &Engine, now: Now, in_set: &[Found]) {
        if self.errands.is_none() {
            return;
        }
        let is_found = |prefix: &Prefix| {
            engine.ban_of(now, prefix).is_some_and(|ban| matches!(ban.cause, Cause::FoundInForce))
        };
        self.adopted.retain(is_found);
        self.adopted.extend(in_set.iter().map(|found| found.prefix).filter(is_found));
    }

    /// Opens a door; the engine is to be told how that went.
    ///
    /// # Errors
    /// As [`DoorHands::open`].
    pub fn open_door(
        &mut self,
        name: &Name,
        address: IpAddr,
        remaining: Option<Duration>,
        is_refresh: bool,
    ) -> Result<(), String> {
        self.doors.open(self.kernel.as_mut(), name, address, remaining, is_refresh)
    }

    /// Shuts a door.
    ///
    /// # Errors
    /// As [`DoorHands::shut`].
    pub fn shut_door(
        &mut self,
        name: &Name,
        address: IpAddr,
        left: usize,
        may_cut: bool,
    ) -> Result<(), String> {
        self.doors.shut(self.kernel.as_mut(), name, address, left, may_cut)
    }

    /// The doors are these now.
    ///
    /// # Errors
    /// The kernel refused, or may not be asked; the doors before hold on.
    pub fn set_doors(&mut self, doors: DoorHands) -> Result<(), NotShut> {
        match &mut self.kernel {
            Some(kernel) => kernel.set_doors(&doors.kernel)?,
            None if doors.in_kernel.is_empty() => {}
            None => return Err(NotShut::Refused(crate::daemon::NO_RIGHT_TO_BLOCK.to_owned())),
        }
        self.doors = doors;
        Ok(())
    }

    /// Makes our table, if bans will go there.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn prepare(&mut self) -> Result<(), NetlinkError> {
        let has_bans = self.errands.as_ref().is_none_or(|errands| errands.responses.may_use_set());
        let is_used = has_bans || !self.doors.in_kernel.is_empty();
        match &mut self.kernel {
            Some(kernel) if is_used => kernel.prepare(),
            _ => Ok(()),
        }
    }

    fn hand_out(&mut self, errand: Errand) -> Result<(), String> {
        let Some(errands) = &mut self.errands else { return Ok(()) };
        errands.queue.try_send(errand).map_err(|_| {
            errands.refused += 1;
            format!("{WAITING} sources wait for their responses already; it is tried again")
        })
    }
}

fn enforce_in_kernel(kernel: &mut Option<Kernel>, blocks: &[Block]) -> Vec<(Prefix, Result<(), String>)> {
    match kernel {
        _ if blocks.is_empty() => Vec::new(),
        Some(kernel) => kernel.enforce(blocks),
        None => {
            let no_right = || Err(crate::daemon::NO_RIGHT_TO_BLOCK.to_owned());
            blocks.iter().map(|block| (block.prefix(), no_right())).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use portcullis_sys::nftables::Doors;

    use super::*;
    use crate::config::portsentry::{Dialect, PortsentryConfig};

    /// Hands with room for so many errands, and the other end of their queue.
    fn hands(room: usize) -> (Hands, mpsc::Receiver<Errand>) {
        let (queue, fetched) = mpsc::channel(room);
        let responses = Responses::of(&PortsentryConfig::empty(Dialect::One), "stcp", "sudp");
        let doors = DoorHands {
            kernel: Doors::default(),
            in_kernel: BTreeMap::new(),
            with_errands: BTreeSet::new(),
            owing: BTreeSet::new(),
            queue: mpsc::channel(1).0,
        };
        let errands = Some(Errands { responses, queue, refused: 0 });
        (Hands { kernel: None, errands, doors, adopted: BTreeSet::new() }, fetched)
    }

    #[test]
    fn a_source_for_which_there_is_no_room_is_refused_counted_and_told_so() {
        let (mut hands, mut fetched) = hands(1);
        let respond = |last| {
            let prefix = Prefix::single(IpAddr::from([192, 0, 2, last]));
            Errand::Respond { prefix, protocol: Protocol::Tcp, port: 111 }
        };
        hands.hand_out(respond(1)).unwrap();
        for again in 1..=2 {
            let why = hands.hand_out(respond(2)).unwrap_err();
            assert!(why.contains("100000 sources wait") && why.contains("tried again"), "{why}");
            assert_eq!(hands.errands.as_ref().unwrap().refused, again);
        }
        assert_eq!(fetched.try_recv().unwrap(), respond(1));
        hands.hand_out(respond(2)).unwrap();
    }

    #[test]
    fn of_more_releases_than_there_is_room_for_only_the_rest_is_owed() {
        let (mut hands, mut fetched) = hands(2);
        let all: Vec<Prefix> = (0..5).map(|last| Prefix::single(IpAddr::from([192, 0, 2, last]))).collect();
        let mut owed = &all[..];
        let mut undone = Vec::new();
        for done in [2, 2, 1] {
            let (count, why) = hands.release(owed);
            assert_eq!((count, why.is_some()), (done, owed.len() > done));
            owed = &owed[count..];
            while let Ok(Errand::Undo(prefix)) = fetched.try_recv() {
                undone.push(prefix);
            }
        }
        assert_eq!(undone, all, "each once");
    }
}
