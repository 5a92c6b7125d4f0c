//! The journey of a packet, from bytes to what is to be done. Pure: it is told the time and what the host looks
//! like, asks one question ([`Host`]), and hands out [`Action`]s.
//!
//! The program calls [`Engine::frame`] for each packet, [`Engine::tick`] when [`Engine::next_timeout`] is due,
//! carries out what [`Engine::poll_action`] gives, and reports how that went. What an operator may ask stands in
//! [`operator`].

pub mod answering;
pub mod brake;
mod counters;
pub mod doors;
mod judging;
mod knocks;
pub mod operator;
mod owed;
pub mod singly;
mod trial;
mod widening;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

pub use counters::Counters;
pub use trial::TrialRefusal;

use crate::door;
use crate::door::hearing::Heard;
use crate::event::{
    Action, Allowance, Ban, BanState, Cause, Ending, Fate, Fault, Id, Mode, Protection, Record, What,
};
use crate::judge::evidence::Timing;
use crate::judge::{self, Judge};
use crate::ledger::{Change, Found, Ledger, Past, Terms};
use crate::net::{PortSet, Prefix, Protocol};
use crate::policy::{Block, Policy, Surroundings};
use crate::scan::Contact;
use crate::scan::answers::Answers;
use crate::scan::classify;
use crate::scan::incidents::Incidents;
use crate::scan::patterns::Patterns;
use crate::scan::sources::Secret;
use crate::scan::sweeps::Sweeps;
use crate::time::{Mono, Now};
use crate::wire::{Decoder, FragmentLimits, Frame, Refusals};

/// What the engine is configured to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// TCP and SCTP ports where a probe counts.
    pub tcp: PortSet,
    /// UDP ports where a probe counts.
    pub udp: PortSet,
    /// When a source is a scanner.
    pub judge: judge::Settings,
    /// Whether scanners are banned.
    pub mode: Mode,
    /// How long bans and holds are.
    pub terms: Terms,
    /// What a scan costs whom.
    pub answering: answering::Settings,
    /// The configured allow list.
    pub allow: Vec<Prefix>,
    /// PortSentry's way of judging instead of the trigger.
    pub singly: Option<singly::Settings>,
    /// The doors.
    pub doors: door::Settings,
}

/// Where the packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// From the wire, those for this host only; [`Host`] can be asked, and bans take effect.
    Live,
    /// From a capture, both directions; the packets themselves tell, and nothing takes effect.
    Capture,
}

impl View {
    fn timing(self) -> Timing {
        match self {
            View::Live => Timing::Live,
            View::Capture => Timing::Capture,
        }
    }
}

/// What the engine asks of its surroundings.
pub trait Host {
    /// Whether something of ours answers such a contact: a service, or a connection that stands.
    fn presence(&mut self, contact: &Contact, freshness: Freshness) -> Presence;

    /// Whether `guest` has a session that stands with one of these ports of ours; asked once for each opening that is
    /// about to end, of doors that renew.
    fn has_session(&mut self, _guest: IpAddr, _ports: &[(Protocol, PortSet)]) -> bool {
        false
    }

    /// Whether somebody in `prefix` has a connection with this host that stands; asked for each source that is found
    /// scanning while the brake is on, so it may be a few seconds old.
    fn has_peer_in(&mut self, _prefix: &Prefix) -> bool {
        false
    }
}

/// How old an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// A second at most.
    Recent,
    /// Asked now: a ban hangs on it.
    Fresh,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A service or a connection.
    Service,
    /// Nothing.
    Nothing,
    /// It cannot be said; the contact does not count.
    Unknown,
}

/// Scans under way at once while live; in a capture all are kept to its end.
const INCIDENTS: usize = 4096;

/// Scans kept of one capture.
const INCIDENTS_OF_CAPTURE: usize = 65_536;

/// Sources that would have been banned, kept by address; later ones are not counted any more.
pub const OBSERVED_KEPT: usize = 16_384;

/// The engine.
pub struct Engine {
    view: View,
    settings: Settings,
    decoder: Decoder,
    answers: Answers,
    sweeps: Sweeps,
    /// Handshakes that their senders broke off, counted in the same way.
    broken_off: Sweeps,
    patterns: Patterns,
    judge: Box<dyn Judge>,
    /// Sees only probes that prove who sent them: whom it convicts is banned, whom only the other convicts is held.
    judge_of_proved: Box<dyn Judge>,
    /// Whether there was such a probe at all.
    has_seen_proof: bool,
    brake: brake::Brake,
    widening: widening::Widening,
    singly: Option<singly::Singly>,
    policy: Policy,
    ledger: Ledger,
    incidents: Incidents,
    /// Allowed by hand, and until when (`None` is for ever).
    allowances: BTreeMap<Prefix, Option<Mono>>,
    /// When the first of them ends.
    allowance_ends: Option<Mono>,
    observed: BTreeSet<IpAddr>,
    trial: Option<trial::Trial>,
    owed: owed::Owed,
    doors: doors::Doors,
    actions: VecDeque<Action>,
    counters: Counters,
    secret: Secret,
}

impl Engine {
    /// An engine that remembers nothing. `secret` is drawn anew for each run of the program.
    #[must_use]
    pub fn new(mut settings: Settings, view: View, secret: Secret) -> Engine {
        let (capacity, quiet) = match view {
            View::Live => (INCIDENTS, Some(settings.judge.quiet())),
            View::Capture => (INCIDENTS_OF_CAPTURE, None),
        };
        let timing = view.timing();
        let mut policy = Policy::default();
        policy.allow(settings.allow.clone());
        policy.judge_apart(settings.answering.apart.clone());
        Engine {
            view,
            decoder: Decoder::new(FragmentLimits::default(), secret.0),
            answers: Answers::new(secret),
            sweeps: Sweeps::new(secret),
            broken_off: Sweeps::new(secret),
            patterns: Patterns::new(secret),
            judge: settings.judge.judge(timing, secret),
            judge_of_proved: settings.judge.judge(timing, secret),
            has_seen_proof: false,
            brake: brake::Brake::new(settings.answering.brake),
            widening: widening::Widening::new(secret),
            singly: settings.singly.map(|own| singly::Singly::new(own, secret)),
            policy,
            ledger: Ledger::new(settings.terms, secret),
            incidents: Incidents::new(capacity, quiet),
            allowances: BTreeMap::new(),
            allowance_ends: None,
            observed: BTreeSet::new(),
            trial: None,
            owed: owed::Owed::default(),
            doors: doors::Doors::new(std::mem::take(&mut settings.doors), secret),
            actions: VecDeque::new(),
            counters: Counters::default(),
            settings,
            secret,
        }
    }

    /// The next thing to do, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Engine::tick`] is due; earlier or repeated ticks are harmless.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Mono> {
        let timeouts = [
            self.ledger.next_timeout(),
            self.answers.next_timeout(),
            self.incidents.next_timeout(),
            self.owed.next_timeout(),
            self.doors.next_timeout(),
            self.brake.next_timeout(),
            self.allowance_ends,
            self.trial.map(|trial| trial.until),
        ];
        timeouts.into_iter().flatten().min()
    }

    /// One packet, as it was captured on `interface` (0 for a capture).
    pub fn frame(&mut self, now: Now, frame: Frame<'_>, interface: u32, host: &mut dyn Host) {
        self.counters.packets += 1;
        let is_trusted = self.policy.surroundings().trusted.contains(&interface);
        if is_trusted && self.doors.are_none() {
            self.counters.trusted += 1;
            return;
        }
        let learns = self.learns();
        let Ok(packet) = self.decoder.decode(now.mono, frame) else { return };
        let mut heard = Heard::default();
        if self.view == View::Live && !self.doors.are_none() {
            heard = self.doors.hear_packet(now, &packet, interface, &self.policy, host);
        }
        if is_trusted {
            self.counters.trusted += 1;
            self.settle_doors(now, host);
            return;
        }
        if learns {
            self.answers.learn(now, &packet);
        }
        let contact = classify::contact(&packet, interface);
        let is_echo = classify::is_echo_reply(&packet);
        let (source, destination) = (packet.source, packet.destination);
        if learns {
            if is_echo {
                self.hear_echo(now, destination, source);
            }
            // What waited may be settled by this very packet, and must count before what follows it.
            self.settle(now, host);
        }
        match contact {
            Some(_) if heard.is_excused => self.counters.knocks += 1,
            Some(contact) => {
                self.contact_marked(now, contact, heard.mark, host);
            }
            None => self.counters.no_contact += 1,
        }
        self.settle_doors(now, host);
    }

    /// One contact: from a packet, or from a socket that listened for it. Says what became of it where contacts are
    /// judged one by one ([`singly`]), and it was a probe.
    pub fn contact(&mut self, now: Now, contact: Contact, host: &mut dyn Host) -> Option<Fate> {
        self.contact_marked(now, contact, None, host)
    }

    /// Whatever is due: bans that end, scans that have gone quiet, contacts that have waited long enough.
    pub fn tick(&mut self, now: Now, host: &mut dyn Host) {
        if self.learns() {
            self.settle(now, host);
        }
        // The kernel ends them by itself, but its clock stands still while the machine sleeps, and ours does not.
        let expired = self.ledger.expire(now);
        self.let_in(now, &expired, Ending::Expired);
        let again = self.ledger.retry(now);
        self.enforce(now, &again);
        let (releases, is_allow_list) = self.owed.due(now.mono);
        if !releases.is_empty() {
            self.actions.push_back(Action::Release(releases));
        }
        if is_allow_list {
            self.send_allow_list(now);
        }
        for scan in self.incidents.end_quiet(now.mono) {
            self.record(now, What::Scan(scan));
        }
        self.end_allowances(now);
        self.tick_trial(now);
        if let Some(told) = self.brake.tick(now.mono) {
            self.record(now, What::Brake(told));
        }
        self.tick_knocks(now, host);
        self.tick_openings(now, host);
    }

    /// The end of a capture, or of the program: what still waits is decided, and every scan gets its last word.
    pub fn finish(&mut self, now: Now, host: &mut dyn Host) {
        let later = now.later(crate::scan::answers::PATIENCE);
        self.settle(later, host);
        for scan in self.incidents.end_all() {
            self.record(now, What::Scan(scan));
        }
    }

    /// The host looks like this now; bans of whoever is protected by it end.
    pub fn surround(&mut self, now: Now, surroundings: Surroundings) {
        if *self.policy.surroundings() == surroundings {
            return;
        }
        self.policy.surround(surroundings);
        self.lift_protected(now);
    }

    /// How the kernel answered an [`Action::Enforce`]: for each prefix nothing, or its complaint.
    pub fn enforced(&mut self, now: Now, answers: &[(Prefix, Result<(), String>)]) {
        let mut refused = 0;
        let mut complaint = None;
        for (prefix, answer) in answers {
            if let Err(answer) = answer {
                refused += 1;
                complaint.get_or_insert_with(|| answer.clone());
            }
            // A ban that ended while it was under way must not stay.
            if answer.is_ok() && self.ledger.remaining(now, prefix).is_none() {
                self.actions.push_back(Action::Release(vec![*prefix]));
                continue;
            }
            if let Some(ban) = self.ledger.acknowledge(now, prefix, answer.is_ok()) {
                self.record(now, What::Ban(ban));
            }
        }
        if let Some(answer) = complaint {
            self.record(now, What::Fault(Fault::NotEnforced { bans: refused, answer }));
        }
    }

    /// Whether the kernel has done an [`Action::Release`]; if not, it is owed, and tried again.
    pub fn released(&mut self, now: Now, prefixes: &[Prefix], is_done: bool) {
        self.owed.released(now.mono, prefixes, is_done);
    }

    /// Whether the kernel has done an [`Action::Allow`]; if not, it is owed, and tried again.
    pub fn allowed(&mut self, now: Now, is_done: bool) {
        self.owed.allowed(now.mono, is_done);
    }

    /// What the kernel held when a listing was begun at `listed`: what is missing goes in again, what was unknown is
    /// adopted, unless policy forbids it.
    pub fn compare(&mut self, now: Now, listed: Mono, found: &[Found]) {
        let (policy, owed) = (&self.policy, &self.owed);
        // Who is still to be let in is no stranger in the sets.
        let found: Vec<Found> = found.iter().filter(|own| !owed.is_release(&own.prefix)).copied().collect();
        let grant = |own: &Found| policy.grant(own.prefix, own.how, own.remaining).ok();
        let difference = self.ledger.compare(now, listed, &found, grant);
        for ban in difference.adopted {
            self.record(now, What::Ban(ban));
        }
        if !difference.forbidden.is_empty() {
            self.actions.push_back(Action::Release(difference.forbidden));
        }
        if !difference.missing.is_empty() {
            self.enforce(now, &difference.missing);
            self.record(now, What::Repair { bans: difference.missing.len(), guests: 0 });
        }
    }

    /// Bans and their past, as the store knew them; call once, before the first packet.
    pub fn restore(
        &mut self,
        now: Now,
        bans: &[(Ban, Option<Duration>)],
        past: &[(Prefix, Past)],
        found: &[Found],
        next_id: u64,
    ) {
        self.ledger.begin_ids(next_id);
        for (prefix, past) in past {
            self.ledger.restore_past(now, *prefix, *past);
        }
        for (ban, length) in bans {
            self.ledger.restore(now, ban, *length);
        }
        self.ledger.recognise(now, found);
        if !found.is_empty() {
            self.compare(now, now.mono, found);
        }
        self.lift_protected(now);
        if self.settings.mode == Mode::Observe {
            self.lift_automatic(now);
        }
        let pending = self.ledger.pending();
        self.enforce(now, &pending);
    }

    /// Up to `limit` changes that the store lacks.
    pub fn changes(&mut self, now: Now, limit: usize) -> Vec<Change> {
        self.ledger.changes(now, limit)
    }

    /// Whether the store lacks something.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.ledger.is_dirty()
    }

    /// The store has (or has not) kept these.
    pub fn saved(&mut self, changes: &[Change], is_kept: bool) {
        self.ledger.saved(changes, is_kept);
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the wire refused, by reason.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        self.decoder.refusals()
    }

    /// Sends these bans to the kernel with the time that they have left.
    fn enforce(&mut self, now: Now, prefixes: &[Prefix]) {
        let blocks: Vec<Block> = prefixes
            .iter()
            .filter_map(|prefix| {
                let (how, remaining) = (self.ledger.how(prefix)?, self.ledger.remaining(now, prefix)?);
                self.policy.grant(*prefix, how, remaining).ok()
            })
            .collect();
        if !blocks.is_empty() {
            self.actions.push_back(Action::Enforce(blocks));
        }
    }

    /// Ends these bans.
    fn lift(&mut self, now: Now, prefixes: &[Prefix], why: Ending) -> Vec<Ban> {
        // Somebody wants these in.
        let is_pardon = matches!(why, Ending::Operator | Ending::Pardoned | Ending::Protected);
        let end = |prefix| match is_pardon {
            true => self.ledger.pardon(now, prefix),
            false => self.ledger.remove(now, prefix),
        };
        let lifted: Vec<Ban> = prefixes.iter().filter_map(end).collect();
        self.let_in(now, &lifted, why);
        lifted
    }

    /// Has the kernel let those in whose ban is over, and tells it.
    fn let_in(&mut self, now: Now, over: &[Ban], why: Ending) {
        if over.is_empty() {
            return;
        }
        self.actions.push_back(Action::Release(over.iter().map(|ban| ban.prefix).collect()));
        for ban in over {
            self.record(now, What::Unban { id: ban.id, prefix: ban.prefix, how: ban.how, why });
        }
    }

    fn lift_protected(&mut self, now: Now) {
        let policy = &self.policy;
        let protected = self.ledger.prefixes(|prefix, _| policy.protected(prefix).is_some());
        self.lift(now, &protected, Ending::Protected);
    }

    fn lift_automatic(&mut self, now: Now) -> Vec<Ban> {
        let automatic = self.ledger.prefixes(|_, cause| cause.is_automatic());
        self.lift(now, &automatic, Ending::Observe)
    }

    fn record(&mut self, now: Now, mut what: What) {
        if let What::Scan(scan) = &mut what
            && let Some((shape, together)) = self.patterns.of(&scan.prefix)
        {
            scan.shape = shape;
            scan.together = Some(Box::new(together));
            // In a capture nothing but these lines bears the number.
            if self.view == View::Capture {
                scan.id = together.incident;
            }
        }
        self.actions.push_back(Action::Record(Record { time: now.wall, what }));
    }
}
