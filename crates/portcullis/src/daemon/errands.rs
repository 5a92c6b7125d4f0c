//! A persona's errands: responses by command and file, run beside the packet loop, a few at once, each source's in
//! order. What has been done is remembered, so that a second try does only what is left and `unban` can undo it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::net::{Prefix, Protocol};
use portcullis_core::time::Mono;
use portcullis_sys::clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::causes;
use crate::record::portsentry::{Step, StepDone};
use crate::respond::command::{self, End, Limits};
use crate::respond::effects::Effects;
use crate::respond::hands::Errand;
use crate::respond::hosts_deny::HostsDeny;
use crate::respond::responses::{Response, Responses};
use crate::respond::undo;

/// Sources whose commands run at the same time.
const AT_ONCE: usize = 8;

/// A command that tells somebody and ends within this time is told with the blocks before it, as PortSentry told them. If
/// it takes longer the blocks are told alone, and the source is called blocked.
const SOON: Duration = Duration::from_secs(1);

/// A response that failed so often is given up; the source's next event begins anew, but not before [`REST`].
const TRIES: u32 = 5;

/// How long nothing is tried for a source that was given up.
const REST: Duration = Duration::from_secs(60);

/// Sources given up lately that are remembered; of more, the first are forgotten.
const GIVEN_UP_KEPT: usize = 10_000;

/// What is left to a person where others had made the block.
const BY_OTHERS: &str = "whoever had blocked it before portcullis came, PortSentry most likely, may have left a firewall \
                         rule and a line in hosts.deny: take them away by hand";

/// What came of an errand.
#[derive(Debug)]
pub enum Done {
    /// Responses were tried.
    Responded {
        /// For whom.
        prefix: Prefix,
        /// The event's transport.
        protocol: Protocol,
        /// The event's port.
        port: u16,
        /// What was done, in order; steps that an earlier try had done are not told again.
        steps: Vec<StepDone>,
        /// How it stands now.
        standing: Standing,
    },
    /// What had been done was undone.
    Undone {
        /// For whom.
        prefix: Prefix,
        /// What could not be undone, one sentence each: what a person has to do.
        left: Vec<String>,
    },
}

/// How a source's block stands after a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is shut out.
    InForce {
        /// Whether this is the first that is heard of it: not if somebody had emptied our set, the machine was
        /// started anew, or the command behind the block has ended after the block was told.
        is_news: bool,
        /// Not everything has worked, and it is not tried again by itself; how to mend it.
        mend: Option<String>,
    },
    /// Something failed, as its step says; the ledger asks again.
    Again {
        /// Whether the source is shut out all the same, which nobody has been told yet.
        is_shut_out: bool,
    },
    /// Nothing shuts it out, and that is not tried again by itself. Why, where no step has said it.
    GivenUp(String),
}

/// The errands of one persona.
pub struct Errands {
    responses: Responses,
    hosts_deny: Arc<HostsDeny>,
    set: String,
    limits: Limits,
    boot: String,
    effects: HashMap<Prefix, Effects>,
    /// Changed since they were last taken for the store.
    unsaved: HashSet<Prefix>,
    failures: HashMap<Prefix, u32>,
    /// Blocked by others before us; bounded by the bans, like those below.
    found: HashSet<Prefix>,
    /// Told to be in force, by this run or an earlier one; bounded by the bans, whose ends come here as errands.
    in_force: HashSet<Prefix>,
    given_up: HashMap<IpAddr, Mono>,
    given_up_in_order: VecDeque<IpAddr>,
    queue: mpsc::Receiver<Errand>,
    /// Under way now.
    busy: HashSet<Prefix>,
    /// Waiting for an errand about the same source to end.
    after: VecDeque<Errand>,
    /// Of these, the ones that wait no longer; and what the start finds to undo.
    ready: VecDeque<Errand>,
    running: JoinSet<Finished>,
    /// From those that are under way: the blocks stand, and the command behind them takes its time.
    standing_to: mpsc::Sender<Finished>,
    standing: mpsc::Receiver<Finished>,
}

enum Finished {
    Responded { prefix: Prefix, protocol: Protocol, port: u16, steps: Vec<StepDone>, effects: Effects },
    Undone { prefix: Prefix, left: Vec<String> },
}

impl Errands {
    /// Errands that are fetched from `queue`; `effects` is what an earlier run has done, `set` the name of our own
    /// set, `boot` the kernel's name of this boot.
    #[must_use]
    pub fn new(
        responses: Responses,
        hosts_deny: HostsDeny,
        set: String,
        boot: String,
        effects: HashMap<Prefix, Effects>,
        queue: mpsc::Receiver<Errand>,
    ) -> Errands {
        // Each says it once at most.
        let (standing_to, standing) = mpsc::channel(AT_ONCE);
        Errands {
            responses,
            hosts_deny: Arc::new(hosts_deny),
            set,
            limits: Limits::default(),
            boot,
            effects,
            unsaved: HashSet::new(),
            failures: HashMap::new(),
            found: HashSet::new(),
            in_force: HashSet::new(),
            given_up: HashMap::new(),
            given_up_in_order: VecDeque::new(),
            queue,
            busy: HashSet::new(),
            after: VecDeque::new(),
            ready: VecDeque::new(),
            running: JoinSet::new(),
            standing_to,
            standing,
        }
    }

    /// These are in force since an earlier run, which has told so: that they are put back is no news.
    pub fn are_told(&mut self, before: impl IntoIterator<Item = Prefix>) {
        self.in_force.extend(before);
    }

    /// Others had blocked these before us: what they did for it is not known, and not ours to undo.
    pub fn were_found(&mut self, by_others: impl IntoIterator<Item = Prefix>) {
        self.found.extend(by_others);
    }

    /// Takes back what was done about these: their bans ended while nobody ran who could have.
    pub fn undo_of(&mut self, ended: &BTreeSet<Prefix>) {
        let is_done = |prefix: &&Prefix| self.effects.contains_key(prefix);
        self.ready.extend(ended.iter().filter(is_done).copied().map(Errand::Undo));
    }

    /// The configuration has changed; errands under way end as they began.
    pub fn set_responses(&mut self, responses: Responses) {
        self.responses = responses;
    }

    /// The next errand that has ended. May be dropped and called again; nothing is lost.
    pub async fn next(&mut self) -> Done {
        loop {
            while self.running.len() < AT_ONCE
                && let Some(errand) = self.ready.pop_front()
            {
                if let Some(done) = self.begin(errand) {
                    return done;
                }
            }
            tokio::select! {
                // What stands before what has ended: the same source's lines come in that order.
                biased;
                Some(standing) = self.standing.recv() => return self.note(standing),
                Some(errand) = self.queue.recv(), if self.running.len() < AT_ONCE => {
                    if let Some(done) = self.begin(errand) {
                        return done;
                    }
                }
                Some(finished) = self.running.join_next(), if !self.running.is_empty() => {
                    match finished {
                        Ok(finished) => return self.end(finished),
                        // Only a panic of ours ends a task so; the source stays busy, and nothing is called done.
                        Err(error) => std::panic::resume_unwind(error.into_panic()),
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Whether an errand about `prefix` is under way or waits for one.
    #[must_use]
    pub fn is_busy_with(&self, prefix: &Prefix) -> bool {
        self.busy.contains(prefix)
    }

    /// Whether any is under way.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// What has been done about `prefix`.
    #[must_use]
    pub fn effects(&self, prefix: &Prefix) -> Option<&Effects> {
        self.effects.get(prefix)
    }

    /// Up to `limit` changes for the store; they count as taken. Give them back with [`Errands::not_saved`].
    pub fn changes(&mut self, limit: usize) -> Vec<(Prefix, Option<Effects>)> {
        let taken: Vec<Prefix> = self.unsaved.iter().take(limit).copied().collect();
        let change = |prefix: Prefix| {
            self.unsaved.remove(&prefix);
            (prefix, self.effects.get(&prefix).cloned())
        };
        taken.into_iter().map(change).collect()
    }

    /// Whether the store lacks something.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// The store has not kept these.
    pub fn not_saved(&mut self, changes: &[(Prefix, Option<Effects>)]) {
        self.unsaved.extend(changes.iter().map(|(prefix, _)| *prefix));
    }

    fn begin(&mut self, errand: Errand) -> Option<Done> {
        let (Errand::Respond { prefix, .. } | Errand::Undo(prefix)) = errand;
        if self.busy.contains(&prefix) {
            self.after.push_back(errand);
            return None;
        }
        match errand {
            Errand::Undo(prefix) => {
                self.failures.remove(&prefix);
                self.in_force.remove(&prefix);
                let is_found = self.found.remove(&prefix);
                let Some(effects) = self.effects.remove(&prefix) else {
                    let left = is_found.then(|| BY_OTHERS.to_owned()).into_iter().collect();
                    return Some(Done::Undone { prefix, left });
                };
                self.unsaved.insert(prefix);
                self.undo(prefix, effects);
                return None;
            }
            Errand::Respond { prefix, protocol, port } => {
                if self.rests(prefix.address()) {
                    let why = format!("it failed {TRIES} times; the next try is in a minute at most");
                    let standing = Standing::GivenUp(why);
                    return Some(Done::Responded { prefix, protocol, port, steps: Vec::new(), standing });
                }
                let effects = self.effects.get(&prefix).cloned().unwrap_or_default();
                let responses = self.responses.about(protocol, prefix.address(), port);
                let asked = responses.clone();
                // It holds since before the first try, which has told so.
                let is_told = |own: &Response| *own == Response::Set && self.failures.contains_key(&prefix);
                let is_left = |own: &Response| !own.is_done(&effects, &self.boot) && !is_told(own);
                let left = responses.into_iter().filter(is_left).collect();
                let (hosts_deny, limits) = (Arc::clone(&self.hosts_deny), self.limits);
                let (set, boot) = (self.set.clone(), self.boot.clone());
                // Of one that has been told nobody is told again.
                let standing = (!self.in_force.contains(&prefix)).then(|| self.standing_to.clone());
                self.running.spawn(async move {
                    let mut effects = effects;
                    let (blocks, command) = before_the_last_command(left);
                    let mut steps = respond(blocks, &mut effects, &boot, &set, &hosts_deny, &limits).await;
                    let Some(command) = command else {
                        return Finished::Responded { prefix, protocol, port, steps, effects };
                    };
                    let is_done = steps.iter().all(|own| own.result.is_ok());
                    let stands = standing.filter(|_| is_done && is_shut_out(&asked, &effects, &boot));
                    let before = effects.clone();
                    let mut telling = pin!(async move {
                        let told =
                            respond(vec![command], &mut effects, &boot, &set, &hosts_deny, &limits).await;
                        (told, effects)
                    });
                    let (told, effects) = match (stands, tokio::time::timeout(SOON, &mut telling).await) {
                        (_, Ok(told)) => told,
                        (None, Err(_)) => telling.await,
                        (Some(stands), Err(_)) => {
                            let steps = std::mem::take(&mut steps);
                            let done = Finished::Responded { prefix, protocol, port, steps, effects: before };
                            // Only a program that ends listens no more.
                            drop(stands.send(done).await);
                            telling.await
                        }
                    };
                    steps.extend(told);
                    Finished::Responded { prefix, protocol, port, steps, effects }
                });
            }
        }
        self.busy.insert(prefix);
        None
    }

    /// The blocks of an errand stand; it is not over yet.
    fn note(&mut self, finished: Finished) -> Done {
        match finished {
            Finished::Undone { prefix, left } => Done::Undone { prefix, left },
            Finished::Responded { prefix, protocol, port, steps, effects } => {
                self.keep(prefix, effects);
                let standing = Standing::InForce { is_news: self.in_force.insert(prefix), mend: None };
                Done::Responded { prefix, protocol, port, steps, standing }
            }
        }
    }

    fn keep(&mut self, prefix: Prefix, effects: Effects) {
        if !effects.is_nothing() {
            self.effects.insert(prefix, effects);
            self.unsaved.insert(prefix);
        }
    }

    fn end(&mut self, finished: Finished) -> Done {
        let (Finished::Responded { prefix, .. } | Finished::Undone { prefix, .. }) = finished;
        self.busy.remove(&prefix);
        // What waited for this one begins before anything that came later; of several the first makes the others
        // wait again.
        let (about, after) = self.after.drain(..).partition(|errand| is_about(errand, &prefix));
        self.after = after;
        self.ready.extend::<VecDeque<Errand>>(about);
        match finished {
            Finished::Undone { prefix, left } => Done::Undone { prefix, left },
            Finished::Responded { prefix, protocol, port, steps, effects } => {
                self.keep(prefix, effects);
                let standing = self.standing(prefix, protocol, &steps);
                Done::Responded { prefix, protocol, port, steps, standing }
            }
        }
    }

    fn standing(&mut self, prefix: Prefix, protocol: Protocol, steps: &[StepDone]) -> Standing {
        let Some(failed) = steps.iter().find(|step| step.result.is_err()) else {
            self.failures.remove(&prefix);
            let is_news = self.in_force.insert(prefix);
            return Standing::InForce { is_news, mend: None };
        };
        let effects = self.effects.get(&prefix).cloned().unwrap_or_default();
        let done = self.responses.about(protocol, prefix.address(), 0);
        let is_shut_out = is_shut_out(&done, &effects, &self.boot);
        let failures = self.failures.entry(prefix).or_default();
        *failures += 1;
        if *failures < TRIES {
            // A command that only tells somebody is no part of the block.
            let only_tells = failed.step == Step::Command;
            return Standing::Again {
                is_shut_out: only_tells && is_shut_out && self.in_force.insert(prefix),
            };
        }
        self.failures.remove(&prefix);
        if is_shut_out {
            let is_news = self.in_force.insert(prefix);
            return Standing::InForce { is_news, mend: Some(by_hand(failed)) };
        }
        self.rest(prefix.address());
        self.in_force.remove(&prefix);
        self.take_line_back(prefix);
        Standing::GivenUp(String::new())
    }

    /// Nobody is called blocked for a line in hosts.deny, so no `unban` would find it: it goes with the block that
    /// failed.
    fn take_line_back(&mut self, prefix: Prefix) {
        let Some(effects) = self.effects.get_mut(&prefix) else { return };
        let Some(line) = effects.hosts_deny.take() else { return };
        if effects.is_nothing() {
            self.effects.remove(&prefix);
        }
        self.unsaved.insert(prefix);
        self.undo(prefix, Effects { hosts_deny: Some(line), ..Effects::default() });
    }

    /// Begins to undo `effects`; until that has ended, other errands about `prefix` wait.
    fn undo(&mut self, prefix: Prefix, effects: Effects) {
        self.busy.insert(prefix);
        let (hosts_deny, limits) = (Arc::clone(&self.hosts_deny), self.limits);
        let is_of_this_boot = effects.boot == self.boot;
        self.running.spawn(async move {
            let left = undo_all(effects, is_of_this_boot, &hosts_deny, &limits).await;
            Finished::Undone { prefix, left }
        });
    }

    fn rests(&mut self, address: IpAddr) -> bool {
        let now = clock::now().mono;
        self.given_up.get(&address).is_some_and(|at| now.since(*at) < REST)
    }

    fn rest(&mut self, address: IpAddr) {
        if self.given_up.insert(address, clock::now().mono).is_none() {
            self.given_up_in_order.push_back(address);
        }
        if self.given_up_in_order.len() > GIVEN_UP_KEPT
            && let Some(first) = self.given_up_in_order.pop_front()
        {
            self.given_up.remove(&first);
        }
    }
}

/// What a person does about a step that goes on failing.
fn by_hand(failed: &StepDone) -> String {
    match failed.step {
        Step::Route | Step::Command => {
            format!("run it by hand as root: sh -c '{}'", failed.text.replace('\'', r"'\''"))
        }
        Step::HostsDeny | Step::Set => "its line of the last try says how".to_owned(),
    }
}

/// The blocks, and the command behind them that tells somebody. One that is to run first belongs to the blocks, which
/// wait for it.
fn before_the_last_command(mut left: Vec<Response>) -> (Vec<Response>, Option<Response>) {
    match left.pop() {
        Some(command) if !command.is_block() => (left, Some(command)),
        Some(block) => {
            left.push(block);
            (left, None)
        }
        None => (left, None),
    }
}

/// Whether what has been done keeps the source out. A line in hosts.deny does so only where nothing stronger was asked
/// for: most services never read it.
fn is_shut_out(asked: &[Response], effects: &Effects, boot: &str) -> bool {
    let is_done = |own: &Response| *own == Response::Set || own.is_done(effects, boot);
    let mut of_network =
        asked.iter().filter(|own| matches!(own, Response::Set | Response::Route(_))).peekable();
    match of_network.peek() {
        Some(_) => of_network.any(is_done),
        None => asked.iter().any(|own| own.is_block() && is_done(own)),
    }
}

fn is_about(errand: &Errand, source: &Prefix) -> bool {
    let (Errand::Respond { prefix, .. } | Errand::Undo(prefix)) = errand;
    prefix == source
}

/// Does what is left, in order; a step that fails does not keep the others from being tried.
async fn respond(
    responses: Vec<Response>,
    effects: &mut Effects,
    boot: &str,
    set: &str,
    hosts_deny: &Arc<HostsDeny>,
    limits: &Limits,
) -> Vec<StepDone> {
    let mut steps = Vec::new();
    for response in responses {
        let done = match response {
            // The fast path has put it there before it handed out the errand.
            Response::Set => StepDone { step: Step::Set, text: set.to_owned(), result: Ok(()) },
            Response::HostsDeny(line) => {
                let (file, text) = (Arc::clone(hosts_deny), line.clone());
                let appended = tokio::task::spawn_blocking(move || file.append(&text)).await;
                let result = match appended {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(causes::said(&error)),
                    Err(error) => Err(error.to_string()),
                };
                if result.is_ok() {
                    effects.hosts_deny = Some(line.clone());
                }
                StepDone { step: Step::HostsDeny, text: line, result }
            }
            Response::Route(line) => {
                let result = command::run(&line, limits).await.map_err(|error| causes::said(&error));
                if result.is_ok() {
                    effects.route = Some(line.clone());
                    effects.boot = boot.to_owned();
                }
                StepDone { step: Step::Route, text: line, result }
            }
            Response::Run(line) => {
                let result = command::run(&line, limits).await.map_err(|error| causes::said(&error));
                effects.has_run |= result.is_ok();
                StepDone { step: Step::Command, text: line, result }
            }
        };
        steps.push(done);
    }
    steps
}

/// Undoes what can be undone; says what is left to a person.
async fn undo_all(
    effects: Effects,
    is_of_this_boot: bool,
    hosts_deny: &Arc<HostsDeny>,
    limits: &Limits,
) -> Vec<String> {
    let mut left = Vec::new();
    if let Some(line) = effects.hosts_deny {
        let (file, text) = (Arc::clone(hosts_deny), line.clone());
        let removed = tokio::task::spawn_blocking(move || file.remove(&text)).await;
        let failed = match removed {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(causes::said(&error)),
            Err(error) => Some(error.to_string()),
        };
        left.extend(failed.map(|why| format!("take the line \"{line}\" out of hosts.deny ({why})")));
    }
    // Of an earlier boot nothing is left that could be undone.
    if let Some(route) = effects.route.filter(|_| is_of_this_boot) {
        let Some(inverses) = undo::inverses(&route).filter(|inverses| !inverses.is_empty()) else {
            left.push(format!("undo by hand what this command did: {route}"));
            return left;
        };
        // Each of them, whatever became of the one before.
        for inverse in inverses {
            if let Err(error) = command::run(&inverse, limits).await {
                let is_status = matches!(error.end, End::Status(_));
                if !is_status || !error.said.as_deref().is_some_and(undo::is_gone_already) {
                    left.push(format!("run this: {inverse} ({})", causes::said(&error)));
                }
            }
        }
    }
    left
}
