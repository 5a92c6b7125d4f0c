//! Everything that the verb `doctor` looks at, in the order of its findings.

use std::net::IpAddr;

use portcullis_core::net::{Prefix, Protocol};
use portcullis_sys::nftables::Nftables;
use portcullis_sys::route;

use super::doors::{Behind, look_at_marks, try_door};
use super::finding::{Finding, Grade, Step};
use super::host;
use super::scene::Scene;
use crate::causes;
use crate::config::doors::{DoorConfig, DoorMode};
use crate::control::doors::DoorFields;
use crate::daemon::plan::Plan;

/// Guests of one door who are tried; what stands in the way of one is in the way of most.
const MOST_GUESTS: usize = 4;

/// Somebody on the internet: addresses for documentation (RFC 5737, RFC 3849), of which rules know nothing.
const SOMEBODY: [&str; 2] = ["198.51.100.1", "2001:db8::1"];

/// What the running program says of its doors.
pub struct Running {
    /// Its doors.
    pub doors: Vec<DoorFields>,
    /// What it says is wrong.
    pub faults: Vec<String>,
    /// Whether it blocks.
    pub is_enforcing: bool,
    /// What happened at doors in the last day, as lines of JSON.
    pub events: Vec<serde_json::Value>,
}

/// What was found; and whether the rights for it were missing.
pub struct Found {
    /// In the order in which they are told.
    pub findings: Vec<Finding>,
    /// Whether something could not be looked at for want of rights.
    pub lacks_rights: bool,
}

/// Looks at everything.
#[must_use]
pub fn examine(plan: &Plan, running: Option<&Running>) -> Found {
    let scene = Scene::look();
    let mut findings = Vec::new();
    findings.push(program(running, &plan.config.doors));
    for fault in running.iter().flat_map(|running| &running.faults) {
        findings.push(Finding::new(Grade::Fault, "portcullis", fault.clone()));
    }
    for complaint in &scene.complaints {
        findings.push(Finding::new(Grade::Warning, "kernel", complaint.clone()));
    }
    let lacks_rights = scene.rules.as_ref().is_err_and(|no_rules| no_rules.is_permission);
    findings.extend(host::look(plan, running, &scene));
    doors(plan, running, &scene, &mut findings);
    Found { findings, lacks_rights }
}

fn program(running: Option<&Running>, doors: &[DoorConfig]) -> Finding {
    if running.is_some() {
        return Finding::ok("portcullis", "the program runs");
    }
    let why = match doors.is_empty() {
        true => "nobody watches, and nobody is banned",
        false => "nobody hears a knock; doors that are shut stay shut",
    };
    let mend = Step::run("systemctl start portcullis");
    Finding::new(Grade::Warning, "portcullis", "the program does not run").because(why).mended_by(vec![mend])
}

fn doors(plan: &Plan, running: Option<&Running>, scene: &Scene, findings: &mut Vec<Finding>) {
    let told = |own: &DoorConfig| running.and_then(|all| all.doors.iter().find(|door| door.door == own.name));
    let acts = |own: &DoorConfig| match told(own) {
        Some(door) => door.mode == "act",
        None => own.mode == DoorMode::Act,
    };
    let acting: Vec<&DoorConfig> =
        plan.config.doors.iter().filter(|own| acts(own) && !own.opens.is_empty()).collect();
    if let Some(running) = running {
        let absent =
            plan.config.doors.iter().filter(|own| !running.doors.iter().any(|door| door.door == own.name));
        findings.extend(absent.map(|own| {
            let what = "it is in the configuration, and the running program does not know it";
            Finding::new(Grade::Fault, format!("door {}", own.name), what)
                .mended_by(vec![Step::run("portcullis reload")])
        }));
    }
    if !acting.is_empty() || running.is_some_and(|running| running.is_enforcing) {
        findings.extend(in_kernel(plan));
    }
    if acting.is_empty() {
        return;
    }
    let behinds: Vec<Behind> = acting.iter().map(|own| Behind::of(own)).collect();
    for (own, behind) in acting.iter().zip(&behinds) {
        let openings = told(own).map(|door| door.openings.as_slice()).unwrap_or_default();
        let mut guests: Vec<IpAddr> =
            openings.iter().filter_map(|opening| opening.source.parse().ok()).take(MOST_GUESTS).collect();
        let is_open = !guests.is_empty();
        if !is_open {
            guests = examples(&own.guests, scene);
        }
        // What the door starts itself is not there while nobody is in.
        let behind = Behind { expects_service: behind.expects_service || is_open, ..behind.clone() };
        if guests.is_empty() {
            let what = "nobody was found for whom it could be tried: no route leads to anybody";
            findings.push(Finding::new(Grade::Warning, format!("door {}", own.name), what));
        }
        for guest in guests {
            findings.extend(try_door(scene, &plan.names.table, &behind, guest));
        }
    }
    findings.extend(look_at_marks(scene, &plan.names.table, &behinds));
}

/// Whether the kernel shuts what is configured to be shut.
fn in_kernel(plan: &Plan) -> Option<Finding> {
    let intact = Nftables::open(&plan.names.table).and_then(|mut nftables| {
        // With or without the rule for what is forwarded: a kernel may lack the part for it, and forwarding that was just
        // switched is noticed half a minute later. Doors are shut to strangers either way.
        let mut kernel = plan.doors.kernel.clone();
        nftables.expect_doors(kernel.clone());
        if nftables.is_intact()? {
            return Ok(true);
        }
        kernel.spares_forwarded = !kernel.spares_forwarded;
        nftables.expect_doors(kernel);
        nftables.is_intact()
    });
    match intact {
        Ok(true) => Some(Finding::ok("table", "our table is as the configuration wants it")),
        Ok(false) => {
            let what = format!("table inet {} is not as the configuration wants it", plan.names.table);
            let why = "who is banned, and doors, may stand open to everybody";
            let mend =
                vec![Step::run("portcullis reload"), Step::advice("or start portcullis, if it does not run")];
            Some(Finding::new(Grade::Fault, "table", what).because(why).mended_by(mend))
        }
        // That rules cannot be read for want of rights is told of each door.
        Err(error) if error.is_permission() => None,
        Err(error) => {
            let what = format!("whether our table is whole is not known: {}", causes::said(&error));
            Some(Finding::new(Grade::Warning, "table", what))
        }
    }
}

impl Behind {
    /// What is behind a configured door.
    #[must_use]
    pub fn of(own: &DoorConfig) -> Behind {
        let opens = [(Protocol::Tcp, &own.opens.tcp), (Protocol::Udp, &own.opens.udp)];
        let opens = opens.into_iter().filter(|(_, ports)| !ports.is_empty());
        Behind {
            door: own.name.clone(),
            opens: opens.map(|(protocol, ports)| (protocol, ports.clone())).collect(),
            mark: own.mark,
            expects_service: own.service.is_none() && own.commands.is_empty(),
        }
    }
}

/// One guest of each family to whom a route leads: of those who may come, or from the internet, or a neighbour.
fn examples(allowed: &[Prefix], scene: &Scene) -> Vec<IpAddr> {
    let mut candidates: Vec<IpAddr> = allowed.iter().filter_map(within).collect();
    if allowed.is_empty() {
        candidates.extend(SOMEBODY.iter().filter_map(|address| address.parse::<IpAddr>().ok()));
        let network = route::snapshot().unwrap_or_default();
        let usual = |own: &&route::Address| !own.address.is_loopback() && !is_of_link(own.address);
        candidates.extend(network.addresses.iter().filter(usual).filter_map(|own| within(&own.network)));
    }
    let is_reached =
        |address: &&IpAddr| scene.leg(**address).is_some_and(|leg| !leg.is_local && leg.source.is_some());
    [true, false]
        .into_iter()
        .filter_map(|is_ipv4| {
            candidates.iter().filter(|own| own.is_ipv4() == is_ipv4).find(is_reached).copied()
        })
        .collect()
}

/// An address of a prefix, neither its first nor one of the first few, which are often our own.
fn within(prefix: &Prefix) -> Option<IpAddr> {
    Some(match prefix.address() {
        address if prefix.is_single() => address,
        IpAddr::V4(own) => {
            IpAddr::from((u32::from(own) | 0x0a & !(u32::MAX << (32 - prefix.length()))).to_be_bytes())
        }
        IpAddr::V6(own) => IpAddr::from((u128::from(own) | 0x0a).to_be_bytes()),
    })
}

fn is_of_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(own) if own.is_unicast_link_local())
}
