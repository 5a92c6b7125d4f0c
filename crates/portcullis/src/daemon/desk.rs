//! An operator's command, carried out on the engine.

use std::net::IpAddr;

use portcullis_core::door::Opening;
use portcullis_core::engine::doors::OpenRefusal;
use portcullis_core::engine::operator::{BanRefusal, Selector};
use portcullis_core::engine::{Engine, Host, TrialRefusal};
use portcullis_core::event::{Ban, Mode, Protection, Until};
use portcullis_core::net::Prefix;
use portcullis_core::time::Now;

use crate::control::doors::DoorFields;
use crate::control::{Answer, Command, Outcome, Target, Term};
use crate::exit::Exit;
use crate::record::json;

/// What the engine says to `command`. `perform` carries out what the engine decides on the way, so that an answer
/// tells how far a ban has really got.
pub fn answer(
    engine: &mut Engine,
    now: Now,
    command: Command,
    can_block: bool,
    host: &mut dyn Host,
    mut perform: impl FnMut(&mut Engine),
) -> Answer {
    match command {
        Command::Bans { after, at_most } => Answer::Bans(engine.bans(now, after, at_most)),
        Command::Ban { prefixes, term, why, despite_brake } => {
            if !can_block {
                return no_right();
            }
            let length = term.map_or(engine.usual_ban(), Term::duration);
            let ban = |prefix: Prefix| {
                if !despite_brake && engine.would_keep_back(&prefix, host) {
                    return Outcome::Protected { asked: prefix, protected: prefix, why: Protection::Peer };
                }
                let outcome = engine.ban(now, prefix, length, why.clone());
                perform(engine);
                match outcome {
                    // The kernel has answered in between.
                    Ok(ban) => Outcome::Banned(engine.ban_of(now, &prefix).unwrap_or(ban)),
                    Err(refusal) => refused(prefix, refusal),
                }
            };
            Answer::Outcomes(prefixes.into_iter().map(ban).collect())
        }
        Command::Unban(targets) => {
            let unban = |target| {
                let which = match target {
                    Target::Prefix(prefix) => Selector::Prefix(prefix),
                    Target::Ban(id) => Selector::Id(id),
                };
                let ended = engine.unban(now, which);
                perform(engine);
                if ended.is_empty() {
                    return vec![not_banned(engine, now, target)];
                }
                ended.into_iter().map(|ban| unbanned(engine, ban)).collect()
            };
            Answer::Outcomes(targets.into_iter().flat_map(unban).collect())
        }
        Command::UnbanAll => {
            let ended = engine.unban(now, Selector::All).into_iter().map(|ban| ban.prefix).collect();
            perform(engine);
            Answer::Outcomes(vec![Outcome::AllUnbanned(ended)])
        }
        Command::Allowances => {
            let until = |remaining: Option<_>| {
                remaining.map_or(Until::Ever, |remaining| Until::At(now.wall + remaining))
            };
            let all = engine.allowances(now).into_iter();
            Answer::Allowances(all.map(|own| (own.prefix, until(own.remaining))).collect())
        }
        Command::Allow { prefixes, term } => {
            let length = term.duration();
            let until = length.map_or(Until::Ever, |length| Until::At(now.wall + length));
            let is_done = engine.allow(now, &prefixes, length).is_ok();
            perform(engine);
            let outcome = |prefix| match is_done {
                true => Outcome::Allowed { prefix, until },
                false => Outcome::Failed { prefix, why: TOO_MANY_ALLOWED.to_owned() },
            };
            Answer::Outcomes(prefixes.into_iter().map(outcome).collect())
        }
        Command::Disallow(prefixes) => {
            let was_allowed = engine.disallow(now, &prefixes);
            perform(engine);
            let outcome = |(prefix, was_allowed)| match was_allowed {
                true => Outcome::Disallowed(prefix),
                false => Outcome::NotAllowed(prefix),
            };
            Answer::Outcomes(prefixes.into_iter().zip(was_allowed).map(outcome).collect())
        }
        Command::Doors => {
            let openings = engine.openings(now);
            let fields = |door| DoorFields::of(door, openings.iter());
            Answer::Doors(engine.doors().iter().map(fields).collect())
        }
        Command::Open { door, address, term } => {
            let outcome = open(engine, now, &door, address, term);
            perform(engine);
            Answer::Outcomes(vec![match outcome {
                // The kernel has answered in between.
                Ok(own) => Outcome::Opened(as_it_stands(engine, now, own)),
                Err(why) => Outcome::NotOpened { door, why },
            }])
        }
        Command::Close { door, address } => {
            let Some(id) = engine.door_named(&door) else {
                return Answer::Outcomes(vec![Outcome::NotOpened { door, why: NO_SUCH_DOOR.to_owned() }]);
            };
            let closed = engine.close(now, id, address);
            perform(engine);
            let outcome = |own: Opening| Outcome::Closed { door: own.name, address: own.address };
            match closed.is_empty() {
                true => Answer::Outcomes(vec![Outcome::NotOpen { door, address }]),
                false => Answer::Outcomes(closed.into_iter().map(outcome).collect()),
            }
        }
        Command::SetMode { mode: Mode::Enforce, .. } if !can_block => no_right(),
        Command::SetMode { mode, length } => {
            let outcome = match length {
                None => {
                    engine.set_mode(now, mode);
                    Ok(())
                }
                Some(length) => engine.try_mode(now, mode, length).map(drop),
            };
            perform(engine);
            Answer::Outcomes(vec![match outcome {
                Ok(()) => mode_holds(engine, now),
                Err(TrialRefusal::HoldsAlready) => Outcome::ModeNotChanged {
                    why: match mode {
                        Mode::Enforce => "it enforces already, without an end; there is nothing to confirm",
                        Mode::Observe => "it observes already, without an end; nothing would begin again",
                    },
                    is_done: false,
                },
            }])
        }
        Command::KeepEnforcing => Answer::Outcomes(vec![match (engine.mode(), engine.trial(now)) {
            (Mode::Enforce, Some(_)) => {
                engine.keep_mode();
                mode_holds(engine, now)
            }
            (Mode::Enforce, None) => {
                Outcome::ModeNotChanged { why: "it enforces, and was not on trial", is_done: true }
            }
            (Mode::Observe, _) => Outcome::ModeNotChanged {
                why: "it observes; if the trial is over already: portcullis enforce",
                is_done: false,
            },
        }]),
        Command::Status | Command::Reload | Command::Events(_) | Command::Report { .. } => Answer::Refused {
            exit: Exit::Failed,
            message: "this is answered before it comes here; please report it as a bug".to_owned(),
        },
    }
}

fn mode_holds(engine: &Engine, now: Now) -> Outcome {
    let until = engine.trial(now).map(|(_, left)| now.wall + left);
    Outcome::Mode { mode: engine.mode(), until, hits: (Vec::new(), 0) }
}

/// There is none of that name.
const NO_SUCH_DOOR: &str = "there is no such door; portcullis doors lists them";

fn open(
    engine: &mut Engine,
    now: Now,
    door: &str,
    address: IpAddr,
    term: Option<Term>,
) -> Result<Opening, String> {
    let id = engine.door_named(door).ok_or(NO_SUCH_DOOR)?;
    let length = match term {
        None => None,
        Some(term) => {
            Some(term.duration().ok_or("a door is never open for ever; say for how long: --for 2h")?)
        }
    };
    engine.open_by_hand(now, id, address, length).map_err(|refusal| {
        match refusal {
            OpenRefusal::NoDoor => NO_SUCH_DOOR,
            OpenRefusal::Special => "that address is nobody's own (unspecified, multicast or broadcast)",
            OpenRefusal::NoLength => "it keeps nothing open by itself; say for how long: --for 30s",
            OpenRefusal::Observes => "it only observes (mode = \"observe\"), so it is not shut either",
        }
        .to_owned()
    })
}

fn as_it_stands(engine: &Engine, now: Now, opening: Opening) -> Opening {
    let all = engine.openings(now);
    let found = all.into_iter().find(|own| (own.door, own.address) == (opening.door, opening.address));
    found.unwrap_or(opening)
}

/// The ban is over for us; whether it is for the kernel as well, the kernel has said in between.
fn unbanned(engine: &Engine, ban: Ban) -> Outcome {
    let Ban { id, prefix, .. } = ban;
    if engine.is_release_owed(&prefix) {
        let why = "the kernel has refused to let it in; that is tried again, and status says why".to_owned();
        return Outcome::Failed { prefix, why };
    }
    Outcome::Unbanned { id, prefix }
}

/// There is no such ban; a wider one made by hand may shut it out all the same.
fn not_banned(engine: &Engine, now: Now, target: Target) -> Outcome {
    let Target::Prefix(prefix) = target else { return Outcome::NotBanned(target) };
    match engine.bans_around(now, &prefix).first() {
        None => Outcome::NotBanned(target),
        Some(outer) => Outcome::Failed {
            prefix,
            why: format!(
                "it is shut out by {} of {}; take that back (portcullis unban {0}), or let this one through \
                 (portcullis allow {prefix})",
                json::ban_id(outer.id),
                outer.prefix
            ),
        },
    }
}

/// What to do when no more can be allowed.
const TOO_MANY_ALLOWED: &str =
    "too many are allowed by hand already; take some back, or write networks into [protect] allow";

fn no_right() -> Answer {
    Answer::Refused { exit: Exit::NotPermitted, message: super::NO_RIGHT_TO_BLOCK.to_owned() }
}

fn refused(asked: Prefix, refusal: BanRefusal) -> Outcome {
    match refusal {
        BanRefusal::Protected { prefix, why } => Outcome::Protected { asked, protected: prefix, why },
        BanRefusal::Overlaps { id, prefix } => Outcome::Failed {
            prefix: asked,
            why: format!(
                "{prefix} is banned already, for longer; take that back first: portcullis unban {}",
                json::ban_id(id)
            ),
        },
    }
}
