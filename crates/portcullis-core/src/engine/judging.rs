//! From a contact to a verdict and to what is done about it: the middle of a packet's journey.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Engine, Freshness, Host, OBSERVED_KEPT, Presence, View, singly};
use crate::door::Mark;
use crate::event::{Cause, Decision, Fate, Kind, Mode, What};
use crate::judge::Verdict;
use crate::net::{Endpoint, Prefix, Protocol};
use crate::scan::classify;
use crate::scan::incidents::sum_up;
use crate::scan::{Contact, Probe, Weight};
use crate::time::Now;
use crate::words;

impl Engine {
    /// The same, of a contact that may be a step of a door.
    pub(super) fn contact_marked(
        &mut self,
        now: Now,
        contact: Contact,
        mark: Option<Mark>,
        host: &mut dyn Host,
    ) -> Option<Fate> {
        if self.is_counted_without_judging(&contact) {
            return None;
        }
        let Some(weight) = classify::weight(&contact, self.policy.surroundings().ephemeral) else {
            self.counters.late_answers += 1;
            return None;
        };
        let probe = Probe { contact, at: now, weight, mark };
        if contact.kind == Kind::IcmpSweep {
            let unit = self.policy.unit(contact.source, contact.target.address);
            for probe in self.sweeps.ask(unit, probe) {
                self.count(probe, host);
            }
            return None;
        }
        if contact.is_proved_by_flags() && self.singly.is_none() {
            self.count(probe, host);
            return None;
        }
        match self.view {
            View::Capture if self.answers.explains(&contact) => self.counters.to_services += 1,
            View::Capture => self.answers.wait(now, contact),
            View::Live => match host.presence(&contact, Freshness::Recent) {
                Presence::Service => self.counters.to_services += 1,
                Presence::Unknown => self.counters.unknown += 1,
                Presence::Nothing if self.singly.is_some() => return self.count_singly(probe, host),
                Presence::Nothing => self.count(probe, host),
            },
        }
        None
    }

    /// Whether nothing is to be learnt from a contact, whoever answers it; why is counted.
    fn is_counted_without_judging(&mut self, contact: &Contact) -> bool {
        let target = contact.target;
        let is_watched = match target.protocol {
            // Where the port is out of sight it may be any.
            _ if !contact.has_port() => true,
            Protocol::Udp => self.settings.udp.contains(target.port),
            _ => self.settings.tcp.contains(target.port),
        };
        let counter = if self.policy.is_for_many(target.address) {
            &mut self.counters.for_many
        } else if self.policy.is_misplaced(contact.source, contact.interface) {
            &mut self.counters.misplaced
        } else if !self.policy.is_local(target.address) {
            &mut self.counters.elsewhere
        } else if !is_watched {
            &mut self.counters.unwatched
        } else if self.singly.is_some() && !singly::is_event(contact) {
            &mut self.counters.no_contact
        } else if self.view == View::Live && self.is_untold_if_blocked(contact.source) {
            &mut self.counters.banned
        } else {
            return false;
        };
        *counter += 1;
        true
    }

    /// Judges what a capture has settled.
    pub(super) fn settle(&mut self, now: Now, host: &mut dyn Host) {
        for settled in self.answers.settle(now.mono) {
            let ephemeral = self.policy.surroundings().ephemeral;
            let Some(weight) = classify::weight(&settled.contact, ephemeral) else { continue };
            // Nobody has to answer a segment of a conversation.
            let is_silence_telling =
                settled.is_refused || (self.answers.has_two_ways() && !settled.contact.is_mid_conversation());
            let weight = if is_silence_telling { weight } else { weight.max(Weight::Unanswered) };
            self.count(Probe { contact: settled.contact, at: settled.at, weight, mark: None }, host);
        }
    }

    /// A probe: it adds to the scan that is under way, or is weighed.
    fn count(&mut self, probe: Probe, host: &mut dyn Host) {
        self.counters.probes += 1;
        let source = probe.contact.source;
        let unit = self.policy.unit(source, probe.contact.target.address);
        let is_decided = match self.incidents.decision(source) {
            None => false,
            Some(_) if self.view == View::Capture => true,
            Some(Decision::Observe) => true,
            Some(Decision::Protected(_)) => self.policy.protected(&unit).is_some(),
            Some(Decision::Block) => false,
        };
        if is_decided {
            let doors = &self.doors;
            self.incidents.add(&probe, &|door| doors.name(door));
            return;
        }
        // His ban (or what protected him) is over, and he has not stopped: that is a new scan.
        if let Some(scan) = self.incidents.end(source) {
            self.record(probe.at, What::Scan(scan));
        }
        if self.judge.weigh(unit, &probe) == Verdict::Scanner {
            self.accuse(probe.at, unit, host);
        }
    }

    /// The judge says scanner: every counted port is asked afresh, then policy has its word.
    fn accuse(&mut self, now: Now, prefix: Prefix, host: &mut dyn Host) {
        if self.withdraw_services(now, prefix, host) == Verdict::Open {
            return;
        }
        let evidence = self.judge.evidence(&prefix).to_vec();
        self.judge.forget(&prefix);
        let term = self.ledger.term(now, &prefix);
        let id = self.ledger.next_id();
        let decision = match (self.policy.block(prefix, term), self.settings.mode) {
            (Err(protected), _) => Decision::Protected(protected.why),
            (Ok(block), Mode::Enforce) => {
                let whole = {
                    let doors = &self.doors;
                    sum_up(id, prefix, &evidence, Decision::Block, Some(term), &|door| doors.name(door))
                };
                let why = whole.as_ref().map(words::evidence_with_kinds).unwrap_or_default();
                self.block(now, block, Cause::Scan { id, why });
                Decision::Block
            }
            (Ok(_), Mode::Observe) => Decision::Observe,
        };
        let members: BTreeSet<IpAddr> = evidence.iter().map(|probe| probe.contact.source).collect();
        for member in members {
            let own: Vec<Probe> =
                evidence.iter().filter(|probe| probe.contact.source == member).copied().collect();
            self.counters.scans += 1;
            if decision == Decision::Observe && self.observed.len() < OBSERVED_KEPT {
                self.observed.insert(member);
            }
            let ban = (!matches!(decision, Decision::Protected(_))).then_some(term);
            let doors = &self.doors;
            let names = |door| doors.name(door);
            for scan in self.incidents.begin(id, prefix, &own, decision, ban, &names) {
                self.record(now, What::Scan(scan));
            }
        }
    }

    /// Takes away the evidence of ports that a service has come to.
    fn withdraw_services(&mut self, now: Now, unit: Prefix, host: &mut dyn Host) -> Verdict {
        let asked: BTreeMap<Endpoint, Contact> = self
            .judge
            .evidence(&unit)
            .iter()
            .filter(|probe| !probe.contact.is_proved_by_flags())
            .map(|probe| (probe.contact.target, probe.contact))
            .collect();
        for (endpoint, contact) in asked {
            let has_service = match self.view {
                View::Capture => self.answers.has_service(&endpoint),
                View::Live => host.presence(&contact, Freshness::Fresh) != Presence::Nothing,
            };
            if has_service {
                self.counters.withdrawn += 1;
                if self.judge.withdraw(now.mono, &unit, endpoint) == Verdict::Open {
                    return Verdict::Open;
                }
            }
        }
        Verdict::Scanner
    }
}
