//! From a contact to a verdict: the middle of a packet's journey.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::answering::{Case, Proof};
use super::{Engine, Freshness, Host, Presence, View, singly};
use crate::door::Mark;
use crate::event::{Decision, Fate, Kind, What};
use crate::judge::{self, Judge, Meeting, Verdict};
use crate::net::{Endpoint, Prefix, Protocol};
use crate::policy::Local;
use crate::scan::answers::Outcome;
use crate::scan::classify;
use crate::scan::{Contact, Probe, Weight};
use crate::time::Now;

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
        match self.view_of(&contact.target) {
            View::Capture if self.answers.explains(&contact) => {
                self.counters.to_services += 1;
                if self.answers.has_service(&contact.target) {
                    self.answers.mind(&contact);
                    self.meet(now, &contact, Meeting::Touched);
                }
            }
            View::Capture => self.answers.wait(now, contact),
            View::Live => match host.presence(&contact, Freshness::Recent) {
                Presence::Service => {
                    self.counters.to_services += 1;
                    self.meet(now, &contact, Meeting::Touched);
                }
                Presence::Unknown => self.counters.unknown += 1,
                Presence::Nothing if self.singly.is_some() => return self.count_singly(probe, host),
                Presence::Nothing => self.count(probe, host),
            },
        }
        None
    }

    /// How it is found out whether a service is there: of others by their answers, also while live.
    fn view_of(&self, target: &Endpoint) -> View {
        match self.view {
            View::Live if self.policy.is_looked_after(target.address) => View::Capture,
            view => view,
        }
    }

    /// Whether answers are learnt from packets.
    pub(super) fn learns(&self) -> bool {
        self.view == View::Capture || !self.policy.surroundings().protect.is_empty()
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
        } else if !self.policy.is_local(target.address) && !self.policy.is_looked_after(target.address) {
            &mut self.counters.elsewhere
        } else if !is_watched {
            &mut self.counters.unwatched
        } else if self.singly.is_some() && !singly::is_event(contact) {
            &mut self.counters.no_contact
        } else if self.view == View::Live && self.is_untold_if_blocked(contact) {
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
            let is_telling = match settled.outcome {
                Outcome::Answered => {
                    self.meet(settled.at, &settled.contact, Meeting::Touched);
                    continue;
                }
                Outcome::Used => {
                    self.meet(settled.at, &settled.contact, Meeting::Used);
                    continue;
                }
                Outcome::BrokenOff => {
                    self.break_off(settled.at, settled.contact, host);
                    continue;
                }
                Outcome::OnlyRefused => {
                    let is_judged = matches!(self.view_of(&settled.contact.target), View::Capture)
                        && !self.is_counted_without_judging(&settled.contact);
                    if !is_judged {
                        continue;
                    }
                    true
                }
                Outcome::Refused => true,
                Outcome::Silence => self.is_silence_telling(&settled.contact),
            };
            let ephemeral = self.policy.surroundings().ephemeral;
            let Some(weight) = classify::weight(&settled.contact, ephemeral) else { continue };
            let weight = if is_telling { weight } else { weight.max(Weight::Unanswered) };
            self.count(Probe { contact: settled.contact, at: settled.at, weight, mark: None }, host);
        }
    }

    /// A service answered, and his handshake was broken off: over many addresses that is a sweep.
    fn break_off(&mut self, now: Now, contact: Contact, host: &mut dyn Host) {
        if !matches!(self.settings.judge, judge::Settings::Evidence(_)) {
            return;
        }
        let unit = self.policy.unit(contact.source, contact.target.address);
        let probe = Probe { contact, at: now, weight: Weight::HalfOpen, mark: None };
        for probe in self.broken_off.ask(unit, probe) {
            self.count(probe, host);
        }
    }

    /// In a capture without its host's addresses its own watching of others comes by too. Whom an answer goes to that
    /// asked from nearby is no sweeper for that.
    pub(super) fn hear_echo(&mut self, now: Now, asker: IpAddr, address: IpAddr) {
        if self.policy.surroundings().local != Local::Any {
            return;
        }
        let unit = self.policy.unit(asker, address);
        if self.sweeps.answer(&unit, address) {
            let endpoint = Endpoint { protocol: Protocol::Icmp, address, port: 0 };
            // Less evidence convicts nobody.
            let _ = self.judge.withdraw(now, &unit, endpoint);
        }
    }

    /// Whether silence in a capture says as much as a refusal. Where evidence is weighed it never does, so that a
    /// verdict does not hang on what else the capture shows.
    fn is_silence_telling(&self, contact: &Contact) -> bool {
        // Nobody has to answer a segment of a conversation.
        matches!(self.settings.judge, judge::Settings::Trigger(_))
            && self.answers.has_two_ways()
            && !contact.is_mid_conversation()
    }

    /// Somebody has come for a service of ours; that speaks for him. Where sources are judged one by one, nothing does.
    fn meet(&mut self, now: Now, contact: &Contact, how: Meeting) {
        if self.singly.is_none() {
            let unit = self.policy.unit(contact.source, contact.target.address);
            self.judge.meet(now, unit, contact, how);
            // Where nothing ever proves its source, as on the wire, this one has nobody to remember.
            if self.has_seen_proof {
                self.judge_of_proved.meet(now, unit, contact, how);
            }
        }
    }

    /// A probe: it is weighed by itself, and beside those of others.
    fn count(&mut self, probe: Probe, host: &mut dyn Host) {
        self.counters.probes += 1;
        let unit = self.policy.unit(probe.contact.source, probe.contact.target.address);
        let ledger = &mut self.ledger;
        let members = self.patterns.see(unit, &probe, || ledger.next_id());
        self.count_alone(unit, probe, host);
        for member in members {
            let is_answered = self.incidents.decision(member.source).is_some()
                || self.view == View::Live && self.ledger.covering(member.source).is_some();
            if !is_answered && !self.judge.evidence(&member.unit).is_empty() {
                self.accuse(probe.at, member.unit, Proof::Missing, host);
            }
        }
    }

    /// It adds to the scan of its source that is under way, or is weighed.
    fn count_alone(&mut self, unit: Prefix, probe: Probe, host: &mut dyn Host) {
        let source = probe.contact.source;
        let is_decided = match self.incidents.decision(source) {
            None => false,
            Some(_) if self.view == View::Capture => true,
            Some(Decision::Observe) => true,
            Some(Decision::Protected(_)) => self.policy.protected(&unit).is_some(),
            Some(Decision::Block | Decision::Hold) => false,
        };
        if is_decided {
            let doors = &self.doors;
            self.incidents.add(&probe, &|door| doors.name(door));
            return;
        }
        let is_held = self.view == View::Live && self.ledger.covering(source).is_some();
        // His ban (or what protected him) is over, and he has not stopped: that is a new scan.
        if !is_held && let Some(scan) = self.incidents.end(source) {
            self.record(probe.at, What::Scan(scan));
        }
        // Both see it: neither may miss what the other has convicted for.
        self.has_seen_proof |= probe.contact.proves_its_source();
        let by_proved = match probe.contact.proves_its_source() {
            true => self.judge_of_proved.weigh(unit, &probe),
            false => Verdict::Open,
        };
        // What he is held for is answered already.
        let by_all = if is_held { Verdict::Open } else { self.judge.weigh(unit, &probe) };
        match (by_proved, by_all) {
            (Verdict::Scanner, _) => self.accuse(probe.at, unit, Proof::Proved, host),
            (Verdict::Open, Verdict::Scanner) => self.accuse(probe.at, unit, Proof::Missing, host),
            (Verdict::Open, Verdict::Open) => {}
        }
    }

    /// The judge says scanner: every counted port is asked afresh, then policy has its word.
    fn accuse(&mut self, now: Now, prefix: Prefix, proof: Proof, host: &mut dyn Host) {
        if self.withdraw_services(now, prefix, proof, host) == Verdict::Open {
            return;
        }
        let doors = &self.doors;
        let judge = match proof {
            Proof::Proved => &self.judge_of_proved,
            Proof::Missing => &self.judge,
        };
        let receipt = judge.receipt(now, &prefix, &|door| doors.name(door)).map(Arc::new);
        let case = Case { evidence: judge.evidence(&prefix), receipt };
        self.judge.forget(&prefix);
        if proof == Proof::Proved {
            self.judge_of_proved.forget(&prefix);
        }
        self.answer(now, prefix, &case, proof, host);
    }

    fn judge_by(&mut self, proof: Proof) -> &mut dyn Judge {
        match proof {
            Proof::Proved => self.judge_of_proved.as_mut(),
            Proof::Missing => self.judge.as_mut(),
        }
    }

    /// Takes away the evidence of ports that a service has come to.
    fn withdraw_services(&mut self, now: Now, unit: Prefix, proof: Proof, host: &mut dyn Host) -> Verdict {
        let asked: BTreeMap<Endpoint, Contact> = self
            .judge_by(proof)
            .evidence(&unit)
            .iter()
            .filter(|probe| !probe.contact.is_proved_by_flags() && probe.weight != Weight::HalfOpen)
            .map(|probe| (probe.contact.target, probe.contact))
            .collect();
        for (endpoint, contact) in asked {
            let has_service = match self.view_of(&endpoint) {
                View::Capture => self.answers.has_service(&endpoint),
                View::Live => host.presence(&contact, Freshness::Fresh) != Presence::Nothing,
            };
            if has_service {
                self.counters.withdrawn += 1;
                if self.judge_by(proof).withdraw(now, &unit, endpoint) == Verdict::Open {
                    return Verdict::Open;
                }
            }
        }
        Verdict::Scanner
    }
}
