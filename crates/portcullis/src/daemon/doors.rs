//! Doors of the configuration as the engine, the kernel and the doorkeeper know them; files with secrets are read on the
//! way ([`locks`]).

mod locks;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_core::door::{Door, FlagTests, Lock, Mode, Name, Reach, Sequence, Settings};
use portcullis_core::net::{PortSet, Protocol};
use portcullis_sys::netlink::NetlinkError;
use portcullis_sys::nftables::{DoorName, DoorRules, Doors, Guests, InterfaceName, Mark};
use portcullis_sys::sock_diag::Sockets;
use tokio::sync::mpsc;

use self::locks::{Key, key};
pub(super) use self::locks::{check, sequence};
use super::doorkeeper::{DoorActions, Pace};
use super::forwarding;
use crate::causes;
use crate::config::Config;
use crate::config::doors::{DoorConfig, DoorMode};
use crate::keys::one_time::OneTimeFile;
use crate::respond::doors::{DoorErrand, DoorHands};

/// All doors of a configuration.
#[derive(Clone, Debug, Default)]
pub struct DoorPlan {
    /// For the engine.
    pub settings: Settings,
    /// For the doorkeeper.
    pub actions: BTreeMap<Name, DoorActions>,
    /// For the kernel.
    pub kernel: Doors,
    in_kernel: BTreeMap<Name, DoorName>,
    /// What a person should know of files with secrets; no secret is in it.
    pub remarks: Vec<String>,
    /// What has to come through to us.
    pub listened: Listened,
    /// Whether knocks carry times, so that a start has to refuse those of before.
    pub has_times: bool,
    /// How commands are run.
    pub pace: Pace,
    /// Whether the kernel was found to lack what sparing packets to other hosts takes.
    shuts_for_others: bool,
}

/// Whom the kernel lets in, by each door that is in it.
pub type GuestsByDoor = BTreeMap<Name, BTreeSet<IpAddr>>;

impl DoorPlan {
    /// The doors of `config`; with `observes` none of them acts.
    ///
    /// # Errors
    /// What stands in the way of a door, one sentence each: a file with secrets, a kernel's limit.
    pub fn of(config: &Config, observes: bool) -> Result<DoorPlan, Vec<String>> {
        let (mut plan, mut rules, mut faults) = (DoorPlan::default(), Vec::new(), Vec::new());
        for own in &config.doors {
            let made = door(own, observes).and_then(|door| Ok((door, rules_of(own)?)));
            let ((door, sequences), own_rules) = match made {
                Ok(made) => made,
                Err(why) => {
                    faults.push(format!("door {}: {why}", own.name));
                    continue;
                }
            };
            plan.listened.add(&door.lock);
            plan.has_times |= matches!(door.lock, Lock::Rotating(_) | Lock::Spa(_));
            if let Some(sequences) = &sequences {
                plan.remarks.extend(sequences.faults.iter().map(ToString::to_string));
            }
            plan.actions.insert(door.name.clone(), DoorActions { sequences, ..actions(own) });
            if let (Some(own_rules), Mode::Act) = (own_rules, door.mode) {
                plan.in_kernel.insert(door.name.clone(), own_rules.name.clone());
                rules.push(own_rules);
            }
            plan.settings.doors.push(door);
        }
        match Doors::new(rules) {
            Ok(mut doors) => {
                doors.friends.clone_from(&config.protect.allow);
                match trusted(&config.protect.interfaces) {
                    Ok(trusted) => doors.trusted = trusted,
                    Err(why) => faults.push(why),
                }
                plan.kernel = doors;
                if let Err(error) = plan.look_at_forwarding() {
                    let why = "routes could not be read, so that nobody behind this host reaches the doors' ports anywhere";
                    plan.remarks.push(format!("{why}: {}", causes::said(&error)));
                }
            }
            Err(fault) => faults.push(fault.to_string()),
        }
        if faults.is_empty() { Ok(plan) } else { Err(faults) }
    }

    /// Looks whether packets to other hosts pass the doors ([`forwarding`]); says whether that has changed. A container
    /// engine that starts after us switches forwarding on only then.
    ///
    /// # Errors
    /// The kernel did not answer; it is as before.
    pub fn look_at_forwarding(&mut self) -> Result<bool, NetlinkError> {
        if self.kernel.doors().is_empty() {
            return Ok(false);
        }
        let is_spared = !self.shuts_for_others && forwarding::is_spared()?;
        let was_spared = std::mem::replace(&mut self.kernel.spares_forwarded, is_spared);
        Ok(is_spared != was_spared)
    }

    /// From now on packets to other hosts do not pass the doors: the kernel has refused the rule for that, saying `why`.
    /// Returns what this means, for people.
    pub fn shut_for_others(&mut self, why: &str) -> String {
        (self.shuts_for_others, self.kernel.spares_forwarded) = (true, false);
        format!(
            "this host forwards, and doors cannot let pass what is for others (is the kernel's nft_fib_inet missing?): \
             containers and machines behind it are shut off at the doors' ports too, save from guests and friends: {why}"
        )
    }

    /// Packets to other hosts are to pass, or not to, as before: the kernel has refused the change.
    pub fn forward_as_before(&mut self) {
        self.kernel.spares_forwarded = !self.kernel.spares_forwarded;
    }

    /// A listing of the kernel's sets, by the engine's names of doors; those without a guest are in it too.
    #[must_use]
    pub fn by_door(&self, listed: &Guests) -> GuestsByDoor {
        let of_door = |in_kernel: &DoorName| {
            let own = listed.guests.iter().filter(|guest| guest.door == *in_kernel);
            own.map(|guest| guest.address).collect()
        };
        self.in_kernel.iter().map(|(name, in_kernel)| (name.clone(), of_door(in_kernel))).collect()
    }

    /// The fast path's hands for these doors, and the other end of their queue.
    #[must_use]
    pub fn hands(&self) -> (DoorHands, mpsc::Receiver<DoorErrand>) {
        let (queue, fetched) = mpsc::channel(crate::respond::doors::WAITING);
        (self.hands_by(queue), fetched)
    }

    /// The same after a reload, for a queue that is there already.
    #[must_use]
    pub fn hands_by(&self, queue: mpsc::Sender<DoorErrand>) -> DoorHands {
        let named = |is_meant: fn(&DoorActions) -> bool| -> BTreeSet<Name> {
            let meant = self.actions.iter().filter(|(_, actions)| is_meant(actions));
            meant.map(|(name, _)| name.clone()).collect()
        };
        DoorHands {
            kernel: self.kernel.clone(),
            in_kernel: self.in_kernel.clone(),
            with_errands: named(|actions| !actions.is_nothing()),
            owing: named(DoorActions::owes),
            queue,
        }
    }
}

fn door(own: &DoorConfig, observes: bool) -> Result<(Door, Option<Arc<OneTimeFile>>), String> {
    let name: Name = own.name.parse().map_err(|error| format!("{error}"))?;
    let Key { lock, patience, sequences } = key(own, &name)?;
    let opens = [(Protocol::Tcp, &own.opens.tcp), (Protocol::Udp, &own.opens.udp)];
    let opens = opens.into_iter().filter(|(_, ports)| ports.count() > 0);
    let opens = opens.map(|(protocol, ports)| (protocol, ports.clone())).collect();
    let is_observing = observes || own.mode == DoorMode::Observe;
    let door = Door {
        guests: own.guests.clone(),
        reach: if own.for_everyone { Reach::Everyone } else { Reach::Guest },
        mode: if is_observing { Mode::Observe } else { Mode::Act },
        renews: own.renew,
        pardons: own.pardon,
        patience,
        ..Door::new(name, lock, opens, Some(own.open_for))
    };
    Ok((door, sequences))
}

/// How many sessions stand behind doors that have just been shut; they go on, and only new ones need a knock.
#[must_use]
pub fn standing_sessions<'a>(doors: impl Iterator<Item = &'a DoorRules>) -> Option<String> {
    let mut sockets = Sockets::open().ok()?;
    let told: Vec<String> = doors
        .filter_map(|door| {
            let sessions = sockets.established(Protocol::Tcp, &door.tcp, 0).ok()?;
            let count = sessions.count;
            (count > 0).then(|| format!("{count} behind door {}", door.name.as_str()))
        })
        .collect();
    (!told.is_empty()).then(|| format!("doors are shut now; sessions that stand go on: {}", told.join(", ")))
}

/// What doors shut to strangers: `["tcp/22", "udp/1194"]`.
#[must_use]
pub fn shut<'a>(doors: impl Iterator<Item = &'a DoorRules>) -> Vec<String> {
    let of_door = |door: &DoorRules| {
        let ports = [("tcp", &door.tcp), ("udp", &door.udp)];
        ports.map(|(transport, ports)| (ports.count() > 0).then(|| format!("{transport}/{ports}")))
    };
    doors.flat_map(of_door).flatten().collect()
}

/// What the kernel is to shut; nothing where the door opens no port.
fn rules_of(own: &DoorConfig) -> Result<Option<DoorRules>, String> {
    if own.opens.is_empty() {
        return Ok(None);
    }
    if own.for_everyone {
        let why = "for_everyone cannot go with opens: the kernel lets in guests, not everyone";
        return Err(format!("{why}; leave out one of the two (a service that is started needs no opens)"));
    }
    let mark = own.mark.map(Mark::new).transpose().map_err(|fault| fault.to_string())?;
    let name = DoorName::new(&own.name).map_err(|fault| fault.to_string())?;
    Ok(Some(DoorRules { name, tcp: own.opens.tcp.clone(), udp: own.opens.udp.clone(), mark }))
}

fn actions(own: &DoorConfig) -> DoorActions {
    DoorActions {
        commands: own.commands.clone(),
        service: own.service.clone(),
        for_everyone: own.for_everyone,
        cut: own.cut_on_close.then(|| (own.opens.tcp.clone(), own.opens.udp.clone())),
        sequences: None,
        is_told: false,
    }
}

/// Where packets have to come through to us, whatever else is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listened {
    /// SYNs without ACK to these TCP ports: as good as watched, and as cheap.
    pub syns: PortSet,
    /// Datagrams to these UDP ports, unless a busy service of ours has the port.
    pub datagrams: PortSet,
    /// Every packet to these TCP ports.
    pub all_tcp: PortSet,
    /// Every datagram to these UDP ports.
    pub all_udp: PortSet,
    /// Those of them that single packets are sent to.
    pub single: PortSet,
}

impl Listened {
    pub(super) fn add(&mut self, lock: &Lock) {
        let mut steps = |sequence: &Sequence| {
            for step in sequence.steps() {
                let ports = match (step.protocol, step.flags == FlagTests::SYN) {
                    (Protocol::Udp, _) => &mut self.all_udp,
                    (_, true) => &mut self.syns,
                    (_, false) => &mut self.all_tcp,
                };
                *ports = with(ports, &PortSet::from_ranges([(step.port, step.port)]));
            }
        };
        match lock {
            Lock::Sequence { open, close } => [open].into_iter().chain(close).for_each(steps),
            Lock::OneTime(own) => own.sequences.iter().for_each(|(_, sequence)| steps(sequence)),
            // So many ports that the answers to our own connections come there too.
            Lock::Rotating(own) => {
                self.syns = with(&self.syns, &own.shape.ports(Protocol::Tcp));
                self.datagrams = with(&self.datagrams, &own.shape.ports(Protocol::Udp));
            }
            Lock::Spa(own) => {
                let port = PortSet::from_ranges([(own.port, own.port)]);
                self.all_udp = with(&self.all_udp, &port);
                self.single = with(&self.single, &port);
            }
        }
    }
}

/// Both sets in one.
pub fn with(one: &PortSet, other: &PortSet) -> PortSet {
    PortSet::from_ranges(one.ranges().iter().chain(other.ranges()).copied())
}

fn trusted(names: &[String]) -> Result<Vec<InterfaceName>, String> {
    names.iter().map(|name| InterfaceName::new(name).map_err(|fault| fault.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_cannot_spare_others_is_not_asked_again() {
        let ports = PortSet::from_ranges([(22, 22)]);
        let name = DoorName::new("ssh").unwrap();
        let rules = DoorRules { name, tcp: ports, udp: PortSet::default(), mark: None };
        let mut plan = DoorPlan { kernel: Doors::new(vec![rules]).unwrap(), ..DoorPlan::default() };
        plan.kernel.spares_forwarded = true;
        let told = plan.shut_for_others("no such file or directory");
        assert!(told.contains("nft_fib_inet") && told.ends_with("no such file or directory"), "{told}");
        assert!(!plan.look_at_forwarding().unwrap(), "whether or not this machine forwards");
        assert!(!plan.kernel.spares_forwarded);
    }
}
