//! The daemon's answers in the words of the wire: entries as their fields, outcomes as sentences for people.

use std::net::IpAddr;

use portcullis_core::door::OpeningState;
use portcullis_core::event::{BanState, Mode, Protection, Until};
use portcullis_core::time::Wall;

use super::protocol::{PAGE, Reply};
use super::{Answer, Command, EventsPage, Outcome};
use crate::exit::Exit;
use crate::record::events::query::{Found, Page};
use crate::record::{json, words};

/// The command for the page behind this one; `None` where the answer was the last.
pub(super) fn next_page(answer: &Answer) -> Option<Command> {
    match answer {
        Answer::Bans(bans) if bans.len() >= PAGE => {
            Some(Command::Bans { after: bans.last().map(|ban| ban.prefix), at_most: PAGE })
        }
        Answer::Events(asked, found) => {
            let left = asked.left.map(|left| left.saturating_sub(found.lines.len() as u64));
            let next = found.next.filter(|_| left != Some(0))?;
            let at_most = left.map_or(PAGE, |left| PAGE.min(usize::try_from(left).unwrap_or(PAGE)));
            let page = Page { after: Some(next), at_most, ..asked.page.clone() };
            Some(Command::Events(Box::new(EventsPage { page, left })))
        }
        _ => None,
    }
}

/// The answer as replies, without the end.
///
/// # Errors
/// It is a refusal: how the verb ends, and why.
pub(super) fn replies(answer: Answer) -> Result<Vec<Reply>, (Exit, String)> {
    Ok(match answer {
        Answer::Status(status) => vec![Reply::Status(status)],
        Answer::Bans(bans) => bans.iter().map(|ban| Reply::Ban(ban.into())).collect(),
        Answer::Allowances(list) => list
            .into_iter()
            .map(|(prefix, until)| Reply::Allowance(json::allowance(prefix, Some(until))))
            .collect(),
        Answer::Doors(doors) => doors.into_iter().map(Reply::Door).collect(),
        Answer::Events(asked, found) => events(&asked, found),
        Answer::Report(report) => vec![Reply::Report(report)],
        Answer::Outcomes(outcomes) => outcomes.iter().map(outcome).collect(),
        Answer::Reloaded(changes) if changes.is_empty() => {
            vec![done("the configuration was read; nothing in it is different".to_owned())]
        }
        Answer::Reloaded(changes) => changes.into_iter().map(done).collect(),
        Answer::Refused { exit, message } => return Err((exit, message)),
    })
}

fn events(asked: &EventsPage, found: Found) -> Vec<Reply> {
    let position = asked.page.after.is_none().then_some(Reply::Position { number: found.newest });
    let lines = found.lines.into_iter().map(|line| Reply::Line { line });
    let damaged = (found.damaged > 0).then_some(Reply::Damaged { count: found.damaged });
    position.into_iter().chain(lines).chain(damaged).collect()
}

fn done(text: String) -> Reply {
    Reply::Outcome { exit: Exit::Done.code(), text }
}

/// The sentence for one outcome.
fn outcome(outcome: &Outcome) -> Reply {
    let not_done = |exit: Exit, text| Reply::Outcome { exit: exit.code(), text };
    match outcome {
        Outcome::Banned(ban) => {
            let until = words::until(ban.until);
            let (prefix, state, id) = (ban.prefix, ban.state.words(), json::ban_id(ban.id));
            match ban.state {
                BanState::InForce | BanState::Unsaved => {
                    done(format!("{prefix} is banned {until}, {state} ({id})"))
                }
                BanState::Pending | BanState::Failed => not_done(
                    Exit::Failed,
                    format!(
                        "{prefix} is to be banned {until}, but {state} ({id}); it is tried again, see status"
                    ),
                ),
            }
        }
        Outcome::Protected { asked, protected, why } => not_done(
            Exit::RefusedForSafety,
            if asked == protected {
                let how_to_go_on = match why {
                    Protection::Peer => "; to ban it all the same: --despite-brake",
                    _ => "",
                };
                format!("{asked} is not banned: it is {}{how_to_go_on}", why.words())
            } else {
                format!("{asked} is not banned: {protected} in it is {}", why.words())
            },
        ),
        Outcome::Unbanned { id, prefix } => {
            done(format!("{prefix} is no longer banned ({})", json::ban_id(*id)))
        }
        Outcome::AllUnbanned(ended) => {
            let count = ended.len();
            done(format!("{count} {} ended", words::plural(count as u64, "ban has", "bans have")))
        }
        Outcome::NotBanned(target) => {
            not_done(Exit::Failed, format!("{target} is not banned; portcullis bans lists who is"))
        }
        Outcome::Allowed { prefix, until } => done(format!("{prefix} is allowed {}", words::until(*until))),
        Outcome::Disallowed(prefix) => done(format!("{prefix} is no longer allowed by hand")),
        Outcome::NotAllowed(prefix) => not_done(
            Exit::Failed,
            format!("{prefix} is not allowed by hand; portcullis allow --list tells who is"),
        ),
        Outcome::Opened(opening) => match opening.state {
            OpeningState::Failed => not_done(
                Exit::Failed,
                format!("door {} could not be opened for {}; see status", opening.name, opening.address),
            ),
            OpeningState::Pending | OpeningState::InForce => {
                let until =
                    opening.until.map_or(String::new(), |end| format!(" {}", words::until(Until::At(end))));
                done(format!("door {} is open for {}{until}", opening.name, opening.address))
            }
        },
        Outcome::Closed { door, address } => done(format!("door {door} is shut for {address}")),
        Outcome::NotOpen { door, address: None } => {
            not_done(Exit::Failed, format!("nobody is in by door {door}: it is shut to everybody already"))
        }
        Outcome::NotOpen { door, address: Some(address) } => not_done(
            Exit::Failed,
            format!("door {door} is not open for {address}; portcullis doors lists who is in"),
        ),
        Outcome::NotOpened { door, why } => not_done(Exit::Failed, format!("door {door}: {why}")),
        Outcome::Mode { mode, until, hits } => done(mode_holds(*mode, *until, hits)),
        Outcome::ModeNotChanged { why, is_done: true } => done((*why).to_owned()),
        Outcome::ModeNotChanged { why, is_done: false } => not_done(Exit::Failed, (*why).to_owned()),
        Outcome::Failed { prefix, why } => not_done(Exit::Failed, format!("{prefix}: {why}")),
    }
}

/// What the mode that begins now means, how long it holds, and whom it would hit.
fn mode_holds(mode: Mode, until: Option<Wall>, (hit, hits): &(Vec<IpAddr>, usize)) -> String {
    let end = |end| words::until(Until::At(end));
    let mut said = match (mode, until) {
        (Mode::Observe, None) => {
            "observing: scans are told and not blocked, and bans that scans had brought have ended; \
                                  portcullis enforce begins to block"
                .to_owned()
        }
        (Mode::Observe, Some(until)) => format!(
            "observing {}, then blocking begins again by itself; bans that scans had brought have ended",
            end(until)
        ),
        (Mode::Enforce, Some(until)) => format!(
            "enforcing on trial {}: scanners are blocked; if nobody says portcullis enforce --keep by then, it only \
             observes again and lets everybody in",
            end(until)
        ),
        (Mode::Enforce, None) => "enforcing: scanners are blocked; portcullis observe stops that".to_owned(),
    };
    if mode == Mode::Enforce && *hits > 0 {
        let named: Vec<String> = hit.iter().map(ToString::to_string).collect();
        let more = if hit.len() < *hits { " …" } else { "" };
        said.push_str(&format!(
            "\n{hits} who {} connected now would have been banned lately: {}{more}; portcullis allow ADDRESS keeps \
             somebody in",
            words::plural(*hits as u64, "is", "are"),
            named.join(", ")
        ));
    }
    if mode == Mode::Enforce && until.is_none() {
        said.push_str(
            "\nif this shuts you out: portcullis enforce --confirm 10m ends by itself unless it is kept",
        );
    }
    said
}
