//! What is done about whom the judge has convicted: a ban, a hold, or nothing, and what is told of it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::widening::Widening;
use super::{Engine, Host, OBSERVED_KEPT, View, brake};
use crate::event::{Cause, Decision, Ending, How, Id, Mode, Protection, Receipt, Until, What};
use crate::ledger::Terms;
use crate::net::Prefix;
use crate::policy::Block;
use crate::scan::Probe;
use crate::scan::incidents::{Ruling, sum_up};
use crate::time::Now;
use crate::words;

/// What a scan costs a source whose address it does not prove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unproved {
    /// A hold: somebody else may have scanned in its name.
    #[default]
    Hold,
    /// A ban, as if it were proved. Whoever forges a scan in a friend's name shuts him out.
    Ban,
}

/// How convicted sources are answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// What a scan costs whose sender is not proved.
    pub unproved: Unproved,
    /// When there are too many at once.
    pub brake: brake::Settings,
    /// IPv6 networks where each address is somebody else.
    pub apart: Vec<Prefix>,
}

/// How sure it is that a convicted source has sent what came in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Its probes that are proved convict it by themselves.
    Proved,
    /// They don't.
    Missing,
}

/// What a source is convicted by.
pub(super) struct Case {
    /// The probes that count.
    pub(super) evidence: Vec<Probe>,
    /// What they weigh, where they are weighed.
    pub(super) receipt: Option<Arc<Receipt>>,
}

impl Engine {
    /// Answers a source that is convicted by this evidence: policy has its word, and every member is told of.
    pub(super) fn answer(
        &mut self,
        now: Now,
        prefix: Prefix,
        case: &Case,
        proof: Proof,
        host: &mut dyn Host,
    ) {
        let id = self.ledger.next_id();
        let is_kept_back = self.is_kept_back(now, &prefix, proof, host);
        if !is_kept_back {
            self.count_towards_the_brake(now, &prefix);
        }
        let (how, term) = self.sentence(now, &prefix, proof);
        let decision = match (self.policy.grant(prefix, how, term), self.settings.mode) {
            (Err(protected), _) => {
                self.counters.spared += 1;
                Decision::Protected(protected.why)
            }
            (Ok(_), Mode::Observe) => Decision::Observe,
            (Ok(_), Mode::Enforce) if is_kept_back => {
                self.counters.kept_back += 1;
                self.brake.keep_back(now.mono, prefix);
                Decision::Protected(Protection::Peer)
            }
            (Ok(block), Mode::Enforce) => {
                let why = self.why(id, prefix, case, term);
                self.block(now, block, Cause::Scan { id, why });
                self.widen(now, prefix, how, id);
                match how {
                    How::Held => Decision::Hold,
                    How::Banned => Decision::Block,
                }
            }
        };
        let evidence = &case.evidence;
        let ban = (!matches!(decision, Decision::Protected(_))).then_some(term);
        let ruling = Ruling { decision, ban, receipt: case.receipt.clone() };
        let members: BTreeSet<IpAddr> = evidence.iter().map(|probe| probe.contact.source).collect();
        for member in members {
            let own: Vec<Probe> =
                evidence.iter().filter(|probe| probe.contact.source == member).copied().collect();
            self.counters.scans += 1;
            if decision == Decision::Observe && self.observed.len() < OBSERVED_KEPT {
                self.observed.insert(member);
            }
            let doors = &self.doors;
            let names = |door| doors.name(door);
            for scan in self.incidents.begin(id, prefix, &own, &ruling, &names) {
                self.record(now, What::Scan(scan));
            }
        }
    }

    fn count_towards_the_brake(&mut self, now: Now, prefix: &Prefix) {
        if self.settings.mode == Mode::Enforce
            && self.view == View::Live
            && self.policy.protected(prefix).is_none()
            && let Some(told) = self.brake.count(now.mono)
        {
            self.record(now, What::Brake(told));
        }
    }

    /// How much, and how long. While the brake is on, who is not proved gets the shortest hold there is, whatever the
    /// configuration says.
    fn sentence(&self, now: Now, prefix: &Prefix, proof: Proof) -> (How, Option<Duration>) {
        let how = match (proof, self.settings.answering.unproved) {
            (Proof::Missing, _) if self.brake.is_on() => {
                return (How::Held, Some(self.settings.terms.hold));
            }
            (Proof::Proved, _) | (Proof::Missing, Unproved::Ban) => How::Banned,
            (Proof::Missing, Unproved::Hold) => How::Held,
        };
        (how, self.ledger.term(now, prefix, how))
    }

    /// Whether the brake is on, and this one is connected with us, and has not been kept back for long. Who is proved, or
    /// goes on, is not spared: an idle connection to a service would make him immune, and he could put the brake on
    /// himself, and keep it on.
    fn is_kept_back(&self, now: Now, prefix: &Prefix, proof: Proof, host: &mut dyn Host) -> bool {
        proof == Proof::Missing
            && self.view == View::Live
            && self.settings.mode == Mode::Enforce
            && self.brake.may_keep_back(now.mono, prefix)
            && self.would_keep_back(prefix, host)
    }

    fn why(&self, id: Id, prefix: Prefix, case: &Case, term: Option<Duration>) -> String {
        let names = |door| self.doors.name(door);
        let receipt = case.receipt.clone();
        let ruling = Ruling { decision: Decision::Block, ban: Some(term), receipt };
        let whole = sum_up(id, prefix, &case.evidence, &ruling, &names);
        let why = whole.as_ref().map(words::evidence_with_kinds).unwrap_or_default();
        match &case.receipt {
            Some(receipt) => format!("{why}; {}", receipt.words()),
            None => why,
        }
    }

    /// Enters a ban or a hold and sends it on its way. In a capture nothing takes effect.
    pub(super) fn block(&mut self, now: Now, block: Block, cause: Cause) {
        if self.view == View::Capture {
            return;
        }
        self.owed.forget(&block.prefix());
        if let Some(evicted) = self.ledger.enter(now, block, cause) {
            self.let_in(now, &[evicted], Ending::Evicted);
        }
        self.actions.push_back(crate::event::Action::Enforce(vec![block]));
    }

    /// Where enough of a wider IPv6 network is banned, it is banned as a whole, unless it holds somebody protected:
    /// then its parts stay banned one by one. What ends earlier inside gives way to it.
    fn widen(&mut self, now: Now, banned: Prefix, how: How, id: Id) {
        let mut inner = (how == How::Banned && self.view == View::Live).then_some(banned);
        while let Some(wider) = inner.and_then(|inner| self.widening.add(now.mono, inner)) {
            inner = None;
            let term = self.ledger.term(now, &wider, How::Banned);
            let Ok(block) = self.policy.block(wider, term) else { continue };
            let end = term.map(|term| now.wall + term);
            let inside = self.ledger.inside(&wider).into_iter().filter_map(|own| self.ledger.get(now, &own));
            let ends_first = |until| match (until, end) {
                (_, None) => true,
                (Until::Ever, Some(_)) => false,
                (Until::At(other), Some(end)) => other <= end,
            };
            let replaced: Vec<Prefix> =
                inside.filter(|own| ends_first(own.until)).map(|own| own.prefix).collect();
            let cause = Cause::Scan { id, why: Widening::why(&wider) };
            self.block(now, block, cause);
            self.lift(now, &replaced, Ending::Replaced);
            inner = Some(wider);
        }
    }

    /// Whether the brake would keep `prefix` back now: it is on, and somebody in there is connected with us. An operator
    /// is told so before he bans.
    #[must_use]
    pub fn would_keep_back(&self, prefix: &Prefix, host: &mut dyn Host) -> bool {
        self.brake.is_on() && host.has_peer_in(prefix)
    }

    /// Whom the brake has kept back since it was put on; `None` while it is not on.
    #[must_use]
    pub fn kept_back(&self) -> Option<&BTreeSet<Prefix>> {
        self.brake.is_on().then(|| self.brake.kept_back())
    }

    /// How many holds there are.
    #[must_use]
    pub fn holds(&self) -> usize {
        self.ledger.holds()
    }

    /// New terms and settings, for what is answered from now on.
    pub(super) fn reconfigure_answering(&mut self, terms: Terms, settings: &Settings) {
        self.ledger.set_terms(terms);
        self.brake.set(settings.brake);
        self.policy.judge_apart(settings.apart.clone());
    }
}
