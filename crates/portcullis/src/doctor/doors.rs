//! Whether a guest for whom a door is open really comes to what is behind it.

use std::net::IpAddr;

use portcullis_core::net::{Endpoint, PortSet, Protocol};
use portcullis_sys::nftables::ruleset::Ruleset;

use super::finding::{Finding, Grade, Step};
use super::marks::{self, Use};
use super::mends::{self, Wanted};
use super::scene::Scene;
use super::way::{Dropped, Journey, Leg, Trip, Which, walk};

/// So many ports of a door are tried; of more, those where somebody listens.
const MOST_PORTS: usize = 8;

/// A door, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub struct Behind {
    /// Its name.
    pub door: String,
    /// What it opens.
    pub opens: Vec<(Protocol, PortSet)>,
    /// What it marks guests with.
    pub mark: Option<u32>,
    /// Whether something has to listen there already: not where the door starts it.
    pub expects_service: bool,
}

/// Tries a door for a guest: one finding for each thing that is in his way, or one that says that nothing is.
#[must_use]
pub fn try_door(scene: &Scene, table: &str, behind: &Behind, guest: IpAddr) -> Vec<Finding> {
    let place = format!("door {}", behind.door);
    let mut findings = Vec::new();
    let mut tried = Vec::new();
    let guest = guest.to_canonical();
    match scene.leg(guest) {
        Some(leg) if leg.is_local => {
            return vec![for_guest(Finding::ok(&place, "the guest is this host itself"), guest)];
        }
        Some(Leg { source: Some(address), device, .. }) => {
            let attempt =
                Attempt { scene, table, behind, guest, address, leg: Leg { device, ..Leg::default() } };
            for (protocol, ports) in &behind.opens {
                let (chosen, nothing) = choose(scene, *protocol, ports);
                let nothing = nothing.filter(|_| behind.expects_service);
                findings.extend(nothing.map(|what| no_service(&place, what)));
                for port in chosen {
                    tried.push(format!("{} {port}", protocol.name()));
                    attempt.port(*protocol, port, &mut findings);
                }
            }
        }
        _ => {
            let what = format!("whether the door's way is free is not known: no route leads to {guest}");
            let mend = Step::advice(format!("look: ip route get {guest}"));
            findings.push(Finding::new(Grade::Warning, &place, what).mended_by(vec![mend]));
        }
    }
    if findings.is_empty() {
        let tried = tried.join(", ");
        let what = match behind.expects_service {
            true => format!(
                "{tried} can be reached: the rules in force let a guest through, and a service listens"
            ),
            false => format!(
                "{tried} can be reached, as far as the rules in force go; the door starts the service"
            ),
        };
        findings.push(Finding::ok(&place, what));
    }
    findings.into_iter().map(|finding| for_guest(finding, guest)).collect()
}

fn for_guest(finding: Finding, guest: IpAddr) -> Finding {
    Finding { guest: Some(guest.to_string()), ..finding }
}

/// The ports that are tried; and what is to be said where a wide range has no service at all.
fn choose(scene: &Scene, protocol: Protocol, ports: &PortSet) -> (Vec<u16>, Option<String>) {
    let all = || ports.ranges().iter().flat_map(|(low, high)| *low..=*high);
    if all().take(MOST_PORTS + 1).count() <= MOST_PORTS {
        return (all().collect(), None);
    }
    let mut held = scene.held(protocol, ports);
    held.truncate(MOST_PORTS);
    let nothing = held.is_empty().then(|| format!("nothing listens on any of {} {ports}", protocol.name()));
    (held, nothing)
}

fn no_service(place: &str, what: String) -> Finding {
    let mend = Step::advice("start the service; ss -ltnup shows who listens where");
    Finding::new(Grade::Fault, place, what).mended_by(vec![mend])
}

struct Attempt<'a> {
    scene: &'a Scene,
    table: &'a str,
    behind: &'a Behind,
    guest: IpAddr,
    /// Ours, as he reaches it.
    address: IpAddr,
    /// Where he is.
    leg: Leg,
}

impl Attempt<'_> {
    fn port(&self, protocol: Protocol, port: u16, findings: &mut Vec<Finding>) {
        let place = format!("door {}", self.behind.door);
        let trip = Trip {
            guest: self.guest,
            address: self.address,
            protocol,
            port,
            mark: self.behind.mark,
            came_in: self.leg.device.clone(),
        };
        let journey = match &self.scene.rules {
            Ok(rules) => {
                let journey = walk(rules, self.table, &trip, &|address| self.scene.leg(address));
                self.rules(&place, rules, &trip, &journey, findings);
                journey
            }
            Err(no_rules) => {
                let what = format!(
                    "whether the rules in force let a guest through to {} {port} is not known: {}",
                    protocol.name(),
                    no_rules.why
                );
                let mend = Step::advice("run it as root (CAP_NET_ADMIN)");
                findings.push(Finding::new(Grade::Warning, &place, what).mended_by(vec![mend]));
                Journey { target: Some((self.address, port)), ..Journey::default() }
            }
        };
        self.legacy(&place, &trip, findings);
        let Some((address, target)) = journey.target else { return };
        if journey.is_forwarded {
            self.forwarding(&place, &trip, address, target, findings);
        } else if self.behind.expects_service {
            self.service(&place, protocol, target, findings);
        }
    }

    /// Who drops him, and how he is let through.
    fn rules(
        &self,
        place: &str,
        rules: &Ruleset,
        trip: &Trip,
        journey: &Journey,
        findings: &mut Vec<Finding>,
    ) {
        let port = format!("{} {}", trip.protocol.name(), trip.port);
        let used = || marks::uses(Some(rules), &self.scene.mark_rules, self.table);
        let of_firewall = |one: &Dropped| (one.by.family, one.by.table.clone(), one.base.clone());
        let mut done: Vec<(_, _, _)> = Vec::new();
        for dropped in &journey.drops {
            if done.contains(&of_firewall(dropped)) {
                continue;
            }
            done.push(of_firewall(dropped));
            // All that this base chain drops is mended together.
            let of_chain: Vec<&Dropped> =
                journey.drops.iter().filter(|own| of_firewall(own) == of_firewall(dropped)).collect();
            let mut mend = Vec::new();
            let needs_mark = of_chain.iter().any(|own| own.which == Which::First && own.sees_mark);
            let mark = match (self.behind.mark, needs_mark) {
                (Some(mark), _) => mark,
                (None, false) => 0,
                (None, true) => match marks::free_bit(&used()) {
                    Some(bit) => {
                        mend.extend(set_mark(&self.behind.door, bit));
                        bit
                    }
                    None => {
                        findings.push(Finding::new(Grade::Fault, place, "no bit of the packet mark is free"));
                        continue;
                    }
                },
            };
            let leg = |address| self.scene.leg(address);
            // Where no mark can help, its later packets are not the matter either.
            let first = of_chain.iter().find(|own| own.which == Which::First && !own.sees_mark);
            let of_chain = first.map_or(of_chain.clone(), |own| vec![*own]);
            for own in &of_chain {
                for step in mends::for_drop(rules, self.table, trip, own, mark, &leg) {
                    if !mend.contains(&step) {
                        mend.push(step);
                    }
                }
            }
            // The general words once, behind the commands.
            mend.sort_by_key(|step| match step {
                Step::Configure { .. } => 0,
                Step::Run { .. } | Step::Rule { .. } => 1,
                Step::Keep { .. } => 2,
                Step::Advice { .. } => 3,
            });
            let what = format!("{} drops {} {port}", dropped.by, words(dropped.which));
            let why = "an accept of ours cannot overrule a drop in another table";
            findings.push(Finding::new(Grade::Fault, place, what).because(why).mended_by(mend));
        }
        if journey.drops.is_empty()
            && let Some(doubt) = journey.doubts.first()
        {
            let what = format!(
                "whether the rules in force let a guest through to {port} is not known: {} is not understood here ({})",
                doubt.at, doubt.what
            );
            let mend = Step::advice(match doubt.at.rule {
                Some(_) => format!(
                    "look at it: nft -a list chain {} {} {}",
                    doubt.at.family.name(),
                    doubt.at.table,
                    doubt.at.chain
                ),
                None => "look at it: nft -a list ruleset".to_owned(),
            });
            findings.push(Finding::new(Grade::Warning, place, what).mended_by(vec![mend]));
        }
    }

    /// Rules of old iptables are somewhere else, and tell nobody but its own program.
    fn legacy(&self, place: &str, trip: &Trip, findings: &mut Vec<Finding>) {
        let program = if self.guest.is_ipv6() { "ip6tables-legacy" } else { "iptables-legacy" };
        let Some((_, tables)) = self.scene.legacy.iter().find(|(own, _)| *own == program) else { return };
        let what = format!(
            "whether {program} lets a guest through is not known: its tables ({}) cannot be read here",
            tables.join(", ")
        );
        if findings.iter().any(|finding| finding.what == what) {
            return;
        }
        let mut mend = vec![Step::advice(format!("look at it: {program}-save"))];
        if let Some(mark) = self.behind.mark {
            let wanted =
                Wanted { protocol: trip.protocol, ports: (trip.port, trip.port), mark, which: Which::First };
            mend.push(Step::advice(format!(
                "if it drops him, this lets him through: {program} -I INPUT {}",
                wanted.iptables()
            )));
        }
        findings.push(Finding::new(Grade::Warning, place, what).mended_by(mend));
    }

    fn forwarding(
        &self,
        place: &str,
        trip: &Trip,
        address: IpAddr,
        target: u16,
        findings: &mut Vec<Finding>,
    ) {
        let port = format!("{} {}", trip.protocol.name(), trip.port);
        if self.scene.leg(address).is_none() {
            let what = format!("{port} is sent on to {address} port {target}, and no route leads there");
            findings.push(Finding::new(Grade::Fault, place, what));
        }
        let interface = &trip.came_in.name;
        if self.scene.forwards(interface, address.is_ipv6()) == Some(false) {
            let what =
                format!("{port} is sent on to {address} port {target}, but this host forwards nothing");
            let name = if address.is_ipv6() { "net.ipv6.conf.all.forwarding" } else { "net.ipv4.ip_forward" };
            let keep =
                Step::Keep { file: "/etc/sysctl.d/forwarding.conf".to_owned(), line: format!("{name} = 1") };
            // The doors look different where packets to others pass them.
            let mend = vec![Step::run(format!("sysctl -w {name}=1")), Step::run("portcullis reload"), keep];
            findings.push(Finding::new(Grade::Fault, place, what).mended_by(mend));
        }
    }

    fn service(&self, place: &str, protocol: Protocol, port: u16, findings: &mut Vec<Finding>) {
        let at = Endpoint { protocol, address: self.address, port };
        let name = format!("{} {port}", protocol.name());
        match self.scene.has_service(at, self.leg.device.index) {
            Some(true) => {}
            None => {
                let what =
                    format!("whether a service listens on {name} is not known: the kernel did not tell");
                findings.push(Finding::new(Grade::Warning, place, what));
            }
            Some(false) => {
                let holders = self.scene.holders(protocol, port).unwrap_or_default();
                let mut elsewhere: Vec<IpAddr> = holders.iter().map(|holder| holder.address).collect();
                elsewhere.sort_unstable();
                elsewhere.dedup();
                if elsewhere.is_empty() {
                    findings.push(no_service(place, format!("nothing listens on {name}")));
                    return;
                }
                let names: Vec<String> = elsewhere.iter().map(ToString::to_string).collect();
                let address = self.address;
                let what = format!(
                    "the service on {name} listens only on {}, and the guest comes to {address}",
                    names.join(" and ")
                );
                let mend = Step::advice(format!(
                    "let it listen on {address}, or on all addresses, and start it again"
                ));
                findings.push(Finding::new(Grade::Fault, place, what).mended_by(vec![mend]));
            }
        }
    }
}

/// How a door gets its bit.
#[must_use]
pub fn set_mark(door: &str, bit: u32) -> Vec<Step> {
    vec![
        Step::Configure { table: format!("[door.{door}]"), line: format!("mark = {bit:#x}") },
        Step::run("portcullis reload"),
    ]
}

/// Findings about the bits that doors mark with: who else uses them, and which is free.
#[must_use]
pub fn look_at_marks(scene: &Scene, table: &str, doors: &[Behind]) -> Vec<Finding> {
    let uses = marks::uses(scene.rules.as_ref().ok(), &scene.mark_rules, table);
    let marked = doors.iter().filter_map(|door| Some((door, door.mark?)));
    marked.map(|(door, bit)| look_at_mark(&uses, door, bit)).collect()
}

fn look_at_mark(uses: &[Use], behind: &Behind, bit: u32) -> Finding {
    let place = format!("door {}", behind.door);
    let conflicts = marks::conflicts(uses, bit);
    let Some(first) = conflicts.first() else {
        let what = format!(
            "nobody else uses its mark {bit:#x}; another firewall lets its guests through by this rule"
        );
        return Finding::ok(place, what).mended_by(honouring(behind, bit));
    };
    let whose =
        conflicts.iter().find_map(|own| own.whose).map_or(String::new(), |whose| format!(" ({whose})"));
    let does = if first.sets { "sets" } else { "asks for" };
    let more = match conflicts.len() {
        1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    let what =
        format!("its mark {bit:#x} is used by others{whose}: {} {does} {:#x}{more}", first.place, first.bits);
    let why = "where others set the bit strangers are taken for guests; where others ask for it guests go their ways";
    let mut mend = Vec::new();
    if let Some(free) = marks::free_bit(uses) {
        mend.extend(set_mark(&behind.door, free));
        mend.push(Step::advice(format!("and write {free:#x} for {bit:#x} into the rule that honours it")));
    }
    Finding::new(Grade::Fault, place, what).because(why).mended_by(mend)
}

/// The rules that honour a door's mark, for each of its ranges of ports.
fn honouring(behind: &Behind, mark: u32) -> Vec<Step> {
    let ranges = behind.opens.iter().flat_map(|(protocol, ports)| {
        ports.ranges().iter().map(|range| Wanted {
            protocol: *protocol,
            ports: *range,
            mark,
            which: Which::First,
        })
    });
    let rules = ranges.flat_map(|wanted| mends::static_rules(&wanted));
    rules.map(|(firewall, command)| Step::Rule { firewall: firewall.to_owned(), command }).collect()
}

fn words(which: Which) -> &'static str {
    match which {
        Which::First => "a guest's first packet to",
        Which::Later => "what a guest sends later to",
        Which::Answer => "the answers of",
    }
}
