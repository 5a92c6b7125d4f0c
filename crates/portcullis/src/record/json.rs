//! Records as lines of JSON: one object a line, with the field names that the manual promises.
//!
//! Times are RFC 3339 in UTC with milliseconds. What is not known is left out. New fields may be added, none changes
//! its meaning.

use std::borrow::Cow;

use jiff::Timestamp;
use portcullis_core::door;
use portcullis_core::event::{
    Ban, Brake, Cause, Decision, Fate, Fault, Id, Mode, Receipt, Scan, Until, What,
};
use portcullis_core::judge::evidence::Score;
use portcullis_core::net::Prefix;
use portcullis_core::scan::Contact;
use portcullis_core::time::Wall;
use serde::{Deserialize, Serialize};

use crate::doctor::Step;

use super::{LogEvent, Start, Summary, Told, words};

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// When it happened.
    pub time: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The events and their fields.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The program watches.
    Start(Start),
    /// It has ended.
    Stop {
        /// Why.
        why: String,
    },
    /// The only line that accuses anyone.
    Scan(ScanFields),
    /// One event, where they are judged one by one.
    Probe(ProbeFields),
    /// A ban, as it stands.
    Ban(BanFields),
    /// A ban has ended.
    Unban {
        /// Its number.
        id: String,
        /// Whose.
        prefix: String,
        /// `banned` or `held`: what has ended.
        how: &'static str,
        /// `expired`, `by hand`, …
        why: &'static str,
    },
    /// An allowance made by hand, or taken back.
    Allow(AllowFields),
    /// A block was asked for and refused.
    Refused {
        /// Of whom.
        prefix: String,
        /// Because of whom.
        protected: String,
        /// Why that one is protected.
        why: &'static str,
    },
    /// Bans, or guests of doors, were missing from the kernel and are sent again.
    Repair {
        /// How many bans.
        bans: usize,
        /// How many guests, if any.
        #[serde(skip_serializing_if = "is_zero")]
        guests: usize,
    },
    /// The brake was put on, or has let go.
    Brake(BrakeFields),
    /// A door was opened for somebody.
    Open(DoorFields),
    /// It was shut again.
    Close(DoorFields),
    /// A step of a knock, or how it ended.
    Knock(DoorFields),
    /// Something has changed, and nobody has to do anything about it.
    Notice {
        /// What.
        what: String,
    },
    /// Something is wrong.
    Fault {
        /// At which door.
        #[serde(skip_serializing_if = "Option::is_none")]
        door: Option<String>,
        /// For which guest.
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        /// What, where and why.
        why: String,
        /// How to mend it.
        #[serde(skip_serializing_if = "Option::is_none")]
        mend: Option<String>,
    },
    /// The configuration was read anew.
    Reload {
        /// What is different now.
        changes: Vec<String>,
    },
    /// Only told from now on.
    Observe {
        /// Who said so.
        by: String,
    },
    /// Blocked from now on.
    Enforce {
        /// Who said so.
        by: String,
    },
    /// Numbers at the end, or after a day.
    Summary(Summary),
    /// Lines are missing here, because there were too many at once.
    #[serde(rename = "summary")]
    LeftOut {
        /// How many.
        lines_left_out: u64,
    },
}

/// The fields of an `open`, `close` or `knock` line. A knock is told by its steps, never by their ports.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DoorFields {
    door: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_difference: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

fn fault(why: String, mend: Option<String>) -> Event {
    Event::Fault { door: None, source: None, why, mend }
}

fn door_event(door: &door::Name, event: &door::Event) -> Event {
    let fields = DoorFields { door: door.to_string(), ..DoorFields::default() };
    let of_opening = |opening: &door::Opening| DoorFields {
        source: Some(opening.address.to_string()),
        until: opening.until.map(time),
        by: Some(opening.by.name()),
        user: opening.user.as_ref().map(ToString::to_string),
        ..fields.clone()
    };
    match event {
        door::Event::Knocked { source, step, of } => Event::Knock(DoorFields {
            source: Some(source.to_string()),
            step: Some(*step),
            of: Some(*of),
            ..fields
        }),
        door::Event::Opened { opening, .. } => Event::Open(of_opening(opening)),
        door::Event::WouldOpen { address, by, user } => Event::Knock(DoorFields {
            source: Some(address.to_string()),
            by: Some(by.name()),
            user: user.as_ref().map(ToString::to_string),
            why: Some(door::Why::Observed.words()),
            ..fields
        }),
        door::Event::Closed { opening, why, .. } => {
            Event::Close(DoorFields { why: Some(why.words()), ..of_opening(opening) })
        }
        door::Event::Attempt(trace) => Event::Knock(DoorFields {
            source: Some(trace.source.to_string()),
            step: Some(trace.step),
            of: Some(trace.of),
            user: trace.user.as_ref().map(ToString::to_string),
            clock_difference: trace.clock_difference,
            why: Some(trace.why.words()),
            ..fields
        }),
        door::Event::Spent { .. } => Event::Notice { what: event.sentence(door) },
        door::Event::NotDone { .. } => fault(event.sentence(door), None),
    }
}

/// The fields of a `probe` line: one event, where they are judged one by one.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeFields {
    source: String,
    protocol: &'static str,
    kind: &'static str,
    port: u16,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    protection: Option<&'static str>,
}

impl ProbeFields {
    fn of(contact: &Contact, fate: Fate) -> ProbeFields {
        let (decision, protection) = match fate {
            Fate::Protected(why) => ("protected", Some(why.words())),
            Fate::Counted => ("counted", None),
            Fate::OnlyTold { .. } => ("observe", None),
            Fate::Blocked | Fate::BlockedBefore => ("block", None),
        };
        ProbeFields {
            source: contact.source.to_string(),
            protocol: contact.target.protocol.name(),
            kind: contact.kind.name(),
            port: contact.target.port,
            decision,
            protection,
        }
    }
}

/// The fields of a `scan` line.
#[derive(Clone, Debug, Serialize)]
pub struct ScanFields {
    id: String,
    source: String,
    prefix: String,
    protocol: Vec<&'static str>,
    kinds: Vec<&'static str>,
    shape: &'static str,
    /// The number that all sources of one scan in many names have in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<String>,
    /// How many they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<usize>,
    targets: usize,
    ports: Vec<u16>,
    /// Steps of doors among them: `door ssh step 2`. Their ports are not told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<String>,
    probes: u64,
    first: String,
    last: String,
    /// What the evidence came to, in nats; left out where things are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    /// What it rests on, oldest first: at most 33 pieces against him, and at most 6 for him.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<PieceFields>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    protection: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ban_seconds: Option<u64>,
    /// `ever` where the ban has no end; its seconds are left out then.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<&'static str>,
    #[serde(skip_serializing_if = "is_false")]
    ended: bool,
    why: String,
}

/// The fields of a `ban` line, and of an entry of `bans`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BanFields {
    /// `b-7f3a`.
    pub id: String,
    /// Whose.
    pub prefix: String,
    /// `banned`, or `held` for who has not proved that his packets are his own.
    pub how: Cow<'static, str>,
    /// The scan's number, `probe` (one event was enough), `operator`, or `found in force`.
    pub cause: Cow<'static, str>,
    /// Since when.
    pub since: String,
    /// Until when; `ever` without an end.
    pub until: Cow<'static, str>,
    /// `in force`, `pending`, …
    pub state: Cow<'static, str>,
    /// Which time this is for the prefix, from 1; holds are counted apart from bans.
    pub times: u32,
    /// When somebody let it in before its time, where that is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pardoned: Option<String>,
    /// The operator's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The fields of a `brake` line.
#[derive(Clone, Debug, Serialize)]
pub struct BrakeFields {
    /// `on` or `off`.
    state: &'static str,
    /// Automatic bans and holds a minute that it lets pass.
    limit: u32,
    /// How many came while it was on.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<u64>,
    /// Whom it has kept back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept_back: Vec<String>,
}

impl From<&Brake> for BrakeFields {
    fn from(brake: &Brake) -> BrakeFields {
        BrakeFields {
            state: if brake.is_on { "on" } else { "off" },
            limit: brake.limit,
            blocks: (!brake.is_on).then_some(brake.blocks),
            kept_back: brake.kept_back.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The fields of an `allow` line, and of an entry of `allow --list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllowFields {
    /// Whom.
    pub prefix: String,
    /// Until when; left out where the allowance was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Cow<'static, str>>,
    /// `allowed` or `taken back`.
    pub state: Cow<'static, str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl From<&LogEvent> for Line {
    fn from(event: &LogEvent) -> Line {
        Line { time: time(event.time), event: Event::from(&event.told) }
    }
}

impl From<&Told> for Event {
    fn from(told: &Told) -> Event {
        match told {
            Told::Seen(what) => Event::from(what),
            Told::Start(start) => Event::Start(start.clone()),
            Told::Stop { why } => Event::Stop { why: why.clone() },
            Told::Reload { changes } => Event::Reload { changes: changes.clone() },
            Told::Observe { by } => Event::Observe { by: by.clone() },
            Told::Enforce { by } => Event::Enforce { by: by.clone() },
            Told::Notice { what } => Event::Notice { what: what.clone() },
            Told::Fault { why, mend } => fault(why.clone(), (!mend.is_empty()).then(|| mend.clone())),
            Told::Stuck(stuck) => {
                let mend: Vec<String> = stuck.finding.mend.iter().map(Step::text).collect();
                Event::Fault {
                    door: Some(stuck.door.clone()),
                    source: Some(stuck.source.to_string()),
                    why: stuck.finding.what.clone(),
                    mend: (!mend.is_empty()).then(|| mend.join("; ")),
                }
            }
            Told::LeftOut { lines } => Event::LeftOut { lines_left_out: *lines },
            Told::Summary(summary) => Event::Summary(summary.clone()),
        }
    }
}

impl From<&What> for Event {
    fn from(what: &What) -> Event {
        match what {
            What::Scan(scan) => Event::Scan(scan.into()),
            What::Probe { contact, fate } => Event::Probe(ProbeFields::of(contact, *fate)),
            What::Ban(ban) => Event::Ban(ban.into()),
            What::Unban { id, prefix, how, why } => Event::Unban {
                id: ban_id(*id),
                prefix: prefix.to_string(),
                how: how.name(),
                why: why.words(),
            },
            What::Brake(brake) => Event::Brake(brake.into()),
            What::Allow { prefix, until } => Event::Allow(allowance(*prefix, *until)),
            What::Refused { prefix, protected, why } => Event::Refused {
                prefix: prefix.to_string(),
                protected: protected.to_string(),
                why: why.words(),
            },
            What::Repair { bans, guests } => Event::Repair { bans: *bans, guests: *guests },
            What::TrialOver { mode: Mode::Observe } => Event::Observe { by: words::UNCONFIRMED.to_owned() },
            What::TrialOver { mode: Mode::Enforce } => Event::Enforce { by: words::OBSERVED.to_owned() },
            What::Door { door, event } => door_event(door, event),
            What::Fault(Fault::NotEnforced { bans, answer }) => {
                fault(words::not_enforced(*bans, answer), None)
            }
            What::Fault(Fault::NotChanged { answer }) => fault(words::not_changed(answer), None),
        }
    }
}

impl From<&Scan> for ScanFields {
    fn from(scan: &Scan) -> ScanFields {
        let (decision, protection) = match scan.decision {
            Decision::Block => ("block", None),
            Decision::Hold => ("hold", None),
            Decision::Observe => ("observe", None),
            Decision::Protected(why) => ("protected", Some(why.words())),
        };
        ScanFields {
            id: scan_id(scan.id),
            source: scan.source.to_string(),
            prefix: scan.prefix.to_string(),
            protocol: scan.protocols.iter().map(|protocol| protocol.name()).collect(),
            kinds: scan.kinds.iter().map(|kind| kind.name()).collect(),
            shape: scan.shape.name(),
            incident: scan.together.as_ref().map(|own| scan_id(own.incident)),
            sources: scan.together.as_ref().map(|own| own.sources),
            targets: scan.targets,
            ports: scan.ports.clone(),
            steps: scan.steps.iter().map(|(door, step)| format!("door {door} step {step}")).collect(),
            probes: scan.probes,
            first: time(scan.first),
            last: time(scan.last),
            score: scan.receipt.as_ref().map(|receipt| tenths(receipt.score)),
            evidence: scan.receipt.iter().flat_map(|receipt| pieces(receipt)).collect(),
            decision,
            protection,
            ban_seconds: scan.ban.flatten().map(|ban| ban.as_secs()),
            until: matches!(scan.ban, Some(None)).then_some("ever"),
            ended: scan.is_ended,
            why: words::evidence(scan),
        }
    }
}

/// One piece of what a verdict rests on.
#[derive(Clone, Debug, Serialize)]
struct PieceFields {
    /// When it was seen first; left out of what speaks for him, which has no one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// What it weighed; below 0 it speaks for him.
    weight: f64,
    what: String,
}

fn pieces(receipt: &Receipt) -> impl Iterator<Item = PieceFields> {
    let against = receipt.pieces.iter().map(|piece| PieceFields {
        time: Some(time(piece.at)),
        weight: tenths(piece.weight),
        what: piece.words(),
    });
    let for_him = receipt.for_him.iter().map(|favour| PieceFields {
        time: None,
        weight: tenths(favour.weight),
        what: favour.words(),
    });
    against.chain(for_him)
}

/// Nats with one digit behind the point, as they are told everywhere.
fn tenths(score: Score) -> f64 {
    f64::from(score.0 / 100) / 10.0
}

impl From<&Ban> for BanFields {
    fn from(ban: &Ban) -> BanFields {
        let (cause, why) = match &ban.cause {
            Cause::Scan { id, why } => (Cow::Owned(scan_id(*id)), (!why.is_empty()).then(|| why.clone())),
            Cause::Operator { why } => ("operator".into(), (!why.is_empty()).then(|| why.clone())),
            Cause::Probe { why, .. } => ("probe".into(), Some(why.clone())),
            Cause::FoundInForce => ("found in force".into(), None),
        };
        BanFields {
            id: ban_id(ban.id),
            prefix: ban.prefix.to_string(),
            how: ban.how.name().into(),
            cause,
            since: time(ban.since),
            until: until(ban.until),
            state: ban.state.words().into(),
            times: ban.times,
            pardoned: ban.pardoned.map(time),
            why,
        }
    }
}

/// The fields of an allowance; `None` where it was taken back.
#[must_use]
pub fn allowance(prefix: Prefix, end: Option<Until>) -> AllowFields {
    AllowFields {
        prefix: prefix.to_string(),
        until: end.map(until),
        state: if end.is_some() { "allowed" } else { "taken back" }.into(),
    }
}

/// RFC 3339 in UTC with milliseconds, cut and not rounded, so that nothing is told to lie ahead. Beyond the year 9999
/// it stays at that year's end.
#[must_use]
pub fn time(wall: Wall) -> String {
    stamp(wall).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The same moment for jiff.
#[must_use]
pub fn stamp(wall: Wall) -> Timestamp {
    let milliseconds = i64::try_from(wall.0.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}

/// The end as its field tells it.
#[must_use]
pub fn until(end: Until) -> Cow<'static, str> {
    match end {
        Until::At(wall) => time(wall).into(),
        Until::Ever => "ever".into(),
    }
}

/// `s-7f3a`
#[must_use]
pub fn scan_id(id: Id) -> String {
    format!("s-{:x}", id.0)
}

/// `b-7f3a`
#[must_use]
pub fn ban_id(id: Id) -> String {
    format!("b-{:x}", id.0)
}

/// The number in `b-7f3a`; `None` where the text is none.
#[must_use]
pub fn parse_ban_id(text: &str) -> Option<Id> {
    let digits = text.strip_prefix("b-")?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().map(Id)
}

/// The line's text, without its end.
#[must_use]
pub fn text(line: &impl Serialize) -> String {
    serde_json::to_string(line)
        .expect("lines are made of texts, numbers and lists, which JSON can always say")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
