//! What the slow path does about events that are kept: it hands questions on, and tells how the archive is.

use super::Slow;
use crate::control::{Answer, Asked, Command};
use crate::exit::Exit;

impl Slow {
    /// Hands a question about events on; gives back what is none.
    pub(super) fn ask_archive(&mut self, asked: Asked) -> Option<Asked> {
        if !matches!(asked.command, Command::Events(_) | Command::Report { .. }) {
            return Some(asked);
        }
        let Asked { command, answer, .. } = asked;
        match (self.output.archive(), command) {
            (Some(archive), Command::Events(page)) => archive.ask_events(page, answer),
            (Some(archive), Command::Report { since, until }) => archive.ask_report(since, until, answer),
            (None, _) => {
                let message = "no events are kept; the log says why".to_owned();
                self.reply(answer, Answer::Refused { exit: Exit::Failed, message });
            }
            (Some(_), _) => unreachable!("looked at above"),
        }
        None
    }

    /// Tells what the archive has to say.
    pub(super) fn tell_of_archive(&mut self) {
        let remarks = self.output.archive().map(|archive| archive.remarks()).unwrap_or_default();
        for remark in remarks {
            self.fault(&remark.why, remark.mend);
        }
    }
}
