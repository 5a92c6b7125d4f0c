//! What an operator says about the mode and about friends: it is kept over restarts.

use std::net::IpAddr;

use portcullis_core::event::{Mode, Until};
use portcullis_core::time::Wall;
use portcullis_sys::clock;

use super::Slow;
use crate::control::{Answer, Command, Outcome};
use crate::daemon::peers;
use crate::daemon::plan::ModeBy;
use crate::record::Told;
use crate::record::store::{Changes, ModeByHand};
use crate::record::words;

/// Peers that are named before they might be shut out.
const HITS_NAMED: usize = 8;

impl Slow {
    /// Asks the fast path, and keeps what was said about the mode and about friends.
    pub(super) async fn ask(&mut self, command: Command, by: String) -> Answer {
        let is_allowing = matches!(command, Command::Allow { .. } | Command::Disallow(_));
        let begins_blocking =
            self.mode.0 == Mode::Observe && matches!(command, Command::SetMode { mode: Mode::Enforce, .. });
        let would_hit = if begins_blocking { self.would_hit().await } else { (Vec::new(), 0) };
        let mut answer = self.fast(command).await;
        if is_allowing && let Answer::Allowances(allowances) = self.fast(Command::Allowances).await {
            self.save(&Changes { allowances: Some(&allowances), ..Changes::default() });
        }
        if let Answer::Outcomes(outcomes) = &mut answer
            && let [Outcome::Mode { mode, until, hits }] = outcomes.as_mut_slice()
        {
            *hits = would_hit;
            self.keep_mode(*mode, *until, by);
        }
        answer
    }

    /// A mode that was to end has ended: the other one holds, and a restart must not bring it back.
    pub(super) fn end_trial(&mut self, mode: Mode) {
        self.mode = (mode, ModeBy::Hand);
        let by = match mode {
            Mode::Observe => words::UNCONFIRMED,
            Mode::Enforce => words::OBSERVED,
        };
        let said = ModeByHand { mode, since: clock::now().wall, by: by.to_owned(), trial: None };
        self.save(&Changes { mode: Some(Some(&said)), ..Changes::default() });
    }

    pub(super) fn set_mode(&mut self, mode: Mode, who: ModeBy, by: String) {
        if self.mode.0 != mode {
            self.output.tell(match mode {
                Mode::Observe => Told::Observe { by },
                Mode::Enforce => Told::Enforce { by },
            });
        }
        self.mode = (mode, who);
    }

    fn keep_mode(&mut self, mode: Mode, until: Option<Wall>, by: String) {
        let since = clock::now().wall;
        let trial = until.map(|until| (until, until.since(since)));
        let end = until.map_or(String::new(), |until| format!(", {}", words::until(Until::At(until))));
        self.set_mode(mode, ModeBy::Hand, format!("{by}{end}"));
        let said = ModeByHand { mode, since, by, trial };
        self.save(&Changes { mode: Some(Some(&said)), ..Changes::default() });
    }

    /// Who is connected with this host now and would have been banned while it observed: the first of them, and how many.
    async fn would_hit(&self) -> (Vec<IpAddr>, usize) {
        let Some(vitals) = self.vitals().await else { return (Vec::new(), 0) };
        let connected = peers::connected();
        let hit: Vec<IpAddr> =
            vitals.observed.iter().filter(|source| connected.contains(source)).copied().collect();
        (hit.iter().take(HITS_NAMED).copied().collect(), hit.len())
    }
}
