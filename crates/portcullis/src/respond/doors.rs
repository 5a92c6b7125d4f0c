//! The fast path's hands at doors: the kernel's sets at once, commands and files by the slow path.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::door::{DoorId, Name, Spending};
use portcullis_sys::nftables::{DoorName, Doors};
use tokio::sync::mpsc;

use super::nftables::Kernel;
use crate::causes;

/// Errands at doors that may wait; of more, what is asked for fails and is tried again.
pub const WAITING: usize = 8192;

/// Something at a door for the slow path to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoorErrand {
    /// The door opens: run what that takes.
    Open {
        /// Which.
        name: Name,
        /// For whom.
        address: IpAddr,
    },
    /// The door is shut: run what is owed, cut what is to be cut.
    Shut {
        /// Which.
        name: Name,
        /// For whom.
        address: IpAddr,
        /// How many openings the door still has.
        left: usize,
        /// Whether sessions may be cut.
        may_cut: bool,
    },
    /// Put it on the disk that this is used up; the answer is [`portcullis_core::engine::Engine::spent`].
    Spend {
        /// Which door.
        door: DoorId,
        /// Its name.
        name: Name,
        /// What.
        which: Spending,
    },
}

/// How doors are opened and shut.
pub struct DoorHands {
    /// What the kernel is to shut.
    pub kernel: Doors,
    /// The doors that are in it, by the engine's name.
    pub in_kernel: BTreeMap<Name, DoorName>,
    /// The doors where the slow path has something to do.
    pub with_errands: BTreeSet<Name>,
    /// Those of them where the end of an opening owes a command, or stops a service.
    pub owing: BTreeSet<Name>,
    /// The way to the slow path.
    pub queue: mpsc::Sender<DoorErrand>,
}

impl DoorHands {
    /// Opens a door, as far as the kernel opens it, and hands out the rest.
    ///
    /// # Errors
    /// What the kernel refused, or that errands have no room.
    pub fn open(
        &self,
        kernel: Option<&mut Kernel>,
        name: &Name,
        address: IpAddr,
        remaining: Option<Duration>,
        is_refresh: bool,
    ) -> Result<(), String> {
        if let Some(in_kernel) = self.in_kernel.get(name) {
            let kernel = kernel.ok_or_else(|| crate::daemon::NO_RIGHT_TO_BLOCK.to_owned())?;
            kernel.open_door(in_kernel, address, remaining).map_err(|error| causes::said(&error))?;
        }
        match self.with_errands.contains(name) && !is_refresh {
            true => self.hand_out(DoorErrand::Open { name: name.clone(), address }),
            false => Ok(()),
        }
    }

    /// Shuts a door.
    ///
    /// # Errors
    /// As [`DoorHands::open`].
    pub fn shut(
        &self,
        kernel: Option<&mut Kernel>,
        name: &Name,
        address: IpAddr,
        left: usize,
        may_cut: bool,
    ) -> Result<(), String> {
        if let (Some(in_kernel), Some(kernel)) = (self.in_kernel.get(name), kernel) {
            kernel.shut_door(in_kernel, address).map_err(|error| causes::said(&error))?;
        }
        // Also for a door that is not configured any more: it may owe something.
        self.hand_out(DoorErrand::Shut { name: name.clone(), address, left, may_cut })
    }

    /// Has it put on the disk that this is used up.
    ///
    /// # Errors
    /// There is no room.
    pub fn spend(&self, door: DoorId, name: Name, which: Spending) -> Result<(), String> {
        self.hand_out(DoorErrand::Spend { door, name, which })
    }

    fn hand_out(&self, errand: DoorErrand) -> Result<(), String> {
        let full = |_| format!("{WAITING} errands at doors wait already; it is tried again");
        self.queue.try_send(errand).map_err(full)
    }
}
