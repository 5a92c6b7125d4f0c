//! After an opening the door is tried: does the guest come to what is behind it?
//!
//! Rules, routes and sockets are read for it ([`crate::doctor`]), at most once a second whatever strangers and guests do;
//! what waits and what is kept has a ceiling.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::door::{self, Name};
use portcullis_core::event::{Record, What};
use portcullis_core::time::Mono;
use portcullis_sys::clock;

use super::Slow;
use crate::control::doors::DoorFields;
use crate::doctor::{Behind, Finding, Grade, Scene, try_door};
use crate::record::{Stuck, Told};

/// Openings that wait to be tried at most; of more, the oldest are not.
const WAITING: usize = 64;

/// Openings that are tried with one look at the kernel.
const AT_ONCE: usize = 8;

/// Openings of which is kept what was found.
const KEPT: usize = 4096;

/// What a door starts has this time until it has to be there.
const STARTING: Duration = Duration::from_secs(5);

/// Which doors are to be tried, and what was found.
#[derive(Debug, Default)]
pub struct Ways {
    waiting: VecDeque<(Mono, Name, IpAddr)>,
    found: BTreeMap<(Name, IpAddr), Vec<Finding>>,
}

impl Ways {
    /// Puts what was found beside each opening.
    pub fn tell(&self, doors: &mut [DoorFields]) {
        for door in doors {
            let Ok(name) = door.door.parse::<Name>() else { continue };
            for opening in &mut door.openings {
                let Ok(address) = opening.source.parse() else { continue };
                if let Some(found) = self.found.get(&(name.clone(), address)) {
                    opening.way.clone_from(found);
                }
            }
        }
    }

    /// To be tried when it is so late.
    fn expect(&mut self, due: Mono, door: &Name, guest: IpAddr) {
        if self.waiting.iter().any(|(_, name, address)| (name, *address) == (door, guest)) {
            return;
        }
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((due, door.clone(), guest));
    }

    fn forget(&mut self, door: &Name, guest: IpAddr) {
        self.waiting.retain(|(_, name, address)| (name, *address) != (door, guest));
        self.found.remove(&(door.clone(), guest));
    }

    /// What is to be tried now.
    fn due(&mut self, now: Mono) -> Vec<(Name, IpAddr)> {
        let mut due = Vec::new();
        let mut later = VecDeque::new();
        for (at, name, address) in self.waiting.drain(..) {
            match at <= now && due.len() < AT_ONCE {
                true => due.push((name, address)),
                false => later.push_back((at, name, address)),
            }
        }
        self.waiting = later;
        due
    }

    /// Keeps what was found; says whether it is new.
    fn keep(&mut self, place: (Name, IpAddr), findings: Vec<Finding>) -> bool {
        if self.found.len() >= KEPT && !self.found.contains_key(&place) {
            self.found.pop_first();
        }
        self.found.insert(place, findings.clone()) != Some(findings)
    }
}

impl Slow {
    /// Notes that a door was opened or shut.
    pub(super) fn note_way(&mut self, record: &Record) {
        let What::Door { door: name, event } = &record.what else { return };
        match event {
            door::Event::Opened { opening, .. } => {
                let starts = self
                    .plan
                    .doors
                    .actions
                    .get(name)
                    .is_some_and(|own| own.service.is_some() || !own.commands.is_empty());
                let wait = if starts { STARTING } else { Duration::ZERO };
                self.ways.expect(clock::now().mono + wait, name, opening.address);
            }
            door::Event::Closed { opening, .. } => self.ways.forget(name, opening.address),
            _ => {}
        }
    }

    /// Tries what waits, with one look at the kernel. To be called once a second.
    pub(super) fn try_ways(&mut self) {
        let due = self.ways.due(clock::now().mono);
        let mut scene = None;
        for (name, guest) in due {
            let doors = &self.plan.config.doors;
            let Some(own) = doors.iter().find(|own| own.name == name.as_str() && !own.opens.is_empty())
            else {
                continue;
            };
            // What the door starts has been started by now.
            let behind = Behind { expects_service: true, ..Behind::of(own) };
            let scene = scene.get_or_insert_with(Scene::look);
            let findings = try_door(scene, &self.plan.names.table, &behind, guest);
            if !self.ways.keep((name.clone(), guest), findings.clone()) {
                continue;
            }
            for finding in findings.into_iter().filter(|finding| finding.grade != Grade::Ok) {
                let stuck = Stuck { door: name.to_string(), source: guest, finding };
                self.output.tell(Told::Stuck(stuck));
            }
        }
    }
}
