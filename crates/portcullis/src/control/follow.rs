//! Following the events: a client that stays gets each one as it is kept, until it hangs up.

use std::time::Duration;

use tokio::io::AsyncBufReadExt;
use tokio::time::{Instant, sleep};

use super::protocol::{EventsRequest, PAGE, Reply};
use super::replies::replies;
use super::server::{FOLLOWERS, Over, Seats, Session, Wire};
use super::{Answer, Command, Peer};
use crate::exit::Exit;

/// New events are looked for this often.
const LOOK: Duration = Duration::from_millis(500);

/// A client hears at least this often that we are there; it waits three times as long.
const HEARTBEAT: Duration = Duration::from_secs(10);

impl Session {
    /// Sends events behind `request.after`, then each as it comes. Ends when the client says anything, or goes.
    pub(super) async fn follow(
        &self,
        request: &EventsRequest,
        peer: &Peer,
        wire: &mut Wire,
        seats: &Seats,
    ) -> Result<(), Over> {
        let Ok(_seat) = seats.followers.try_acquire() else {
            let sentence = format!("{FOLLOWERS} clients follow the events already; try again later");
            return Err(Over::Refused(Exit::Failed, sentence));
        };
        // Without a place to begin at, only what is still to come counts.
        let mut begins = request.after.is_none();
        let mut asked = EventsRequest { backwards: false, limit: None, ..request.clone() }.page();
        let mut heard = Instant::now();
        loop {
            let answer = self.ask(Command::Events(Box::new(asked.clone())), peer).await?;
            let (next, newest) = match &answer {
                Answer::Events(_, found) => (found.next, found.newest),
                _ => (None, asked.page.after.unwrap_or(0)),
            };
            let mut said = replies(answer).map_err(|(exit, message)| Over::Refused(exit, message))?;
            if begins {
                said = vec![Reply::Position { number: newest }];
            }
            if !said.is_empty() {
                heard = Instant::now();
                wire.send(&said).await?;
            } else if heard.elapsed() >= HEARTBEAT {
                heard = Instant::now();
                wire.send(&[Reply::Position { number: newest }]).await?;
            }
            asked.page.at_most = PAGE;
            asked.page.after = Some(match next {
                Some(next) if !begins => next,
                _ => newest.max(asked.page.after.unwrap_or(0)),
            });
            let is_more = next.is_some() && !begins;
            begins = false;
            if !is_more {
                tokio::select! {
                    () = sleep(LOOK) => {}
                    // The end of the stream, or a word: it has had enough.
                    _ = wire.read.fill_buf() => return Err(Over::Gone),
                }
            }
        }
    }
}
