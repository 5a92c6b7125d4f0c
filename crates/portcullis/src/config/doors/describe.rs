//! What a door means, in plain words and as JSON. Ports of knocks are not among them: what is printed is shown
//! around.

use std::fmt;

use serde::Serialize;

use super::super::duration::Span;
use super::super::portsentry::missing_programs;
use super::odds::said;
use super::{Command, DoorConfig, DoorKind, DoorMode, Step, StepProtocol};
use crate::escape::printable;

/// What `portcullis check` says of a door. The field names are those of its JSON form; new ones may be added, none
/// changes its meaning.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DoorSays {
    /// Its name.
    pub name: String,
    /// `sequence`, `one-time`, `rotating` or `spa`.
    pub kind: &'static str,
    /// `act` or `observe`.
    pub mode: &'static str,
    /// What it opens, as `tcp/22, udp/51820`; empty if nothing.
    pub opens: String,
    /// For how long.
    pub open_for_seconds: f64,
    /// Who may knock; empty is everybody.
    pub guests: Vec<String>,
    /// Whether it opens to all guests.
    pub for_everyone: bool,
    /// How many steps a knock has, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// How many sequences of as many steps there are, for kind `sequence`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guess_one_in: Option<f64>,
    /// The sentences below its first line.
    pub says: Vec<String>,
    /// What is worth a thought.
    pub warnings: Vec<String>,
}

/// Says what `door` means.
#[must_use]
pub fn describe(door: &DoorConfig) -> DoorSays {
    let (steps, guess) = match &door.kind {
        DoorKind::Sequence(kind) => (Some(kind.open.len()), Some(kind.odds().one_in)),
        DoorKind::Rotating(kind) => (Some(usize::from(kind.steps)), None),
        DoorKind::OneTime(_) | DoorKind::Spa(_) => (None, None),
    };
    DoorSays {
        name: door.name.clone(),
        kind: door.kind.name().word(),
        mode: door.mode.word(),
        opens: door.opens.to_string(),
        open_for_seconds: door.open_for.as_secs_f64(),
        guests: door.guests.iter().map(ToString::to_string).collect(),
        for_everyone: door.for_everyone,
        steps,
        guess_one_in: guess,
        says: says(door),
        warnings: warnings(door),
    }
}

fn says(door: &DoorConfig) -> Vec<String> {
    let mut says = vec![effect(door)];
    says.extend(knock(door));
    if door.renew {
        says.push("stays open to a guest while a session of his lasts".to_owned());
    }
    if door.cut_on_close {
        says.push("cuts the guest's sessions when it closes".to_owned());
    }
    let closing =
        if door.commands.close.is_some() || door.commands.close_6.is_some() { "and closes" } else { "" };
    if let Some((_, command)) = door.commands.each().next() {
        let how = match command {
            Command::Argv(words) => words.first().map_or(String::new(), Clone::clone),
            Command::Shell(_) => "a line of the shell".to_owned(),
        };
        says.push(format!("runs {how} as it opens {closing}").trim_end().to_owned());
    }
    if let Some(unit) = &door.service {
        says.push(format!("starts {unit} as it opens, stops it when it has closed to the last"));
    }
    if let Some(mark) = door.mark {
        says.push(format!("marks a guest's packets with {mark:#x} for other firewalls"));
    }
    if door.pardon {
        says.push("a right knock lifts automatic bans of the knocker".to_owned());
    }
    says
}

fn effect(door: &DoorConfig) -> String {
    let guests: Vec<String> = door.guests.iter().map(ToString::to_string).collect();
    let of = if guests.is_empty() { String::new() } else { format!(" of {}", guests.join(", ")) };
    let to = match (door.for_everyone, guests.is_empty()) {
        (true, true) => "everybody".to_owned(),
        (true, false) => format!("all{of}"),
        (false, _) => format!("whoever{of} has knocked"),
    };
    let length = Span(door.open_for);
    let opens = match door.opens.is_empty() {
        true => format!("opens to {to} for {length}"),
        false => format!("shuts {}, and opens it to {to} for {length}", door.opens),
    };
    match door.mode {
        DoorMode::Act => opens,
        DoorMode::Observe => format!("observe: tells, and does nothing (it {opens})"),
    }
}

fn knock(door: &DoorConfig) -> Vec<String> {
    match &door.kind {
        DoorKind::Sequence(kind) => {
            let odds = kind.odds();
            let mut says = vec![
                format!("knock: {} steps within {}", kind.open.len(), Span(kind.window)),
                format!(
                    "guessing: 1 in {}; {} wrong tries of a source, and it is ignored for {}, so a thousand sources need {} years",
                    said(odds.one_in),
                    kind.wrong_tries,
                    Span(kind.ignored_for),
                    said(odds.years_for_a_thousand)
                ),
                "whoever records a knock can repeat it".to_owned(),
            ];
            if !kind.close.is_empty() {
                says.push(format!("{} steps close it before its time", kind.close.len()));
            }
            says
        }
        DoorKind::OneTime(kind) => vec![format!(
            "knock: the next sequence of {} within {}; warns when {} are left",
            kind.sequences,
            Span(kind.window),
            kind.warn_left
        )],
        DoorKind::Rotating(kind) => vec![format!(
            "knock: {} steps within {}, new every {}, from {} key{}",
            kind.steps,
            Span(kind.window),
            Span(kind.time_step),
            kind.keys.len(),
            if kind.keys.len() == 1 { "" } else { "s" }
        )],
        DoorKind::Spa(kind) => {
            let mut says = vec![format!(
                "knock: one encrypted packet to udp/{}, at most {} old, of a user in {}",
                kind.udp_port,
                Span(kind.max_age),
                kind.users
            )];
            if !kind.weak.is_empty() {
                let words: Vec<&str> = kind.weak.iter().map(|weak| weak.word()).collect();
                says.push(format!("accepts what is weak: {}", words.join(", ")));
            }
            says
        }
    }
}

fn warnings(door: &DoorConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if let DoorKind::Sequence(kind) = &door.kind {
        for (key, steps) in [("sequence", &kind.open), ("close_sequence", &kind.close)] {
            if is_in_order(steps) {
                warnings.push(format!(
                    "the steps of {key} stand in the order of their ports, the first thing that a scan or a guesser does; mix them"
                ));
            }
            if !steps.is_empty() && steps.iter().all(|step| step == &steps[0]) {
                warnings.push(format!(
                    "the steps of {key} are all the same, so anything that tries that port again and again completes it; take several ports"
                ));
            }
        }
    }
    warnings.extend(shuts_out_its_administrator(door));
    for (key, command) in door.commands.each() {
        let line = match command {
            Command::Shell(line) => line.clone(),
            Command::Argv(words) => match words.first() {
                Some(program) => format!("'{}'", program.replace('\'', "'\\''")),
                None => continue,
            },
        };
        for missing in missing_programs(&line) {
            let found = match missing.found {
                Some(path) => format!("; it is at {}", path.display()),
                None => String::new(),
            };
            warnings.push(format!("{key}: there is no program {}{found}", missing.program));
        }
    }
    if let (DoorKind::Spa(kind), true) = (&door.kind, door.for_everyone)
        && !kind.weak.is_empty()
    {
        warnings.push("one weak packet opens it to everybody".to_owned());
    }
    warnings
}

/// The port by which an administrator comes in: SSH's usual one, or that of the session that this is asked in.
fn shuts_out_its_administrator(door: &DoorConfig) -> Option<String> {
    const SSH: u16 = 22;
    // sshd(8): the client's address and port, then the server's.
    let session = std::env::var("SSH_CONNECTION").ok();
    let session = session.and_then(|words| words.split(' ').nth(3)?.parse::<u16>().ok());
    let (port, what) = [(Some(SSH), "where SSH usually is"), (session, "by which you are here")]
        .into_iter()
        .find_map(|(port, what)| Some((port.filter(|port| door.opens.tcp.contains(*port))?, what)))?;
    (door.mode == DoorMode::Act).then(|| {
        format!(
            "tcp/{port}, {what}, is shut to you too. Keep a session open and knock once before you leave; an address in \
             [protect] allow needs no knock; `portcullis open {} ADDRESS` lets in by hand; on the console \
             `nft delete table inet portcullis` opens everything once portcullis is stopped",
            door.name
        )
    })
}

/// Whether the ports only rise or only fall, within one protocol.
fn is_in_order(steps: &[Step]) -> bool {
    let is_udp = |step: &Step| step.protocol == StepProtocol::Udp;
    let pairs = || steps.windows(2);
    steps.len() > 1
        && pairs().all(|pair| is_udp(&pair[0]) == is_udp(&pair[1]))
        && (pairs().all(|pair| pair[0].port < pair[1].port)
            || pairs().all(|pair| pair[0].port > pair[1].port))
}

impl fmt::Display for DoorSays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("Door        {} ({})", self.name, self.kind);
        write!(f, "{}", printable(&name))?;
        for line in &self.says {
            write!(f, "\n            {}", printable(line))?;
        }
        for warning in &self.warnings {
            write!(f, "\n            Warning: {}", printable(warning))?;
        }
        Ok(())
    }
}
