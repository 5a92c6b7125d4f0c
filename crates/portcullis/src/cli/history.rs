//! Where a verb gets the events from: the daemon, or, where none runs, the file that it kept them in.

use portcullis_core::time::Wall;

use super::place::Place;
use crate::causes;
use crate::control::client::{Client, Failure};
use crate::control::protocol::{EventsRequest, PAGE, Reply, Request};
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::record::events::query::EventReader;
use crate::record::events::tally::Report;
use crate::record::store::StoreError;

/// The events that are kept.
pub enum History {
    /// The daemon finds them.
    Running(Client),
    /// Nobody runs; they are read here.
    Kept(EventReader),
}

/// What a question about events came to, besides the lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// The newest event when it was asked.
    pub newest: i64,
    /// How many could not be understood.
    pub damaged: u64,
}

impl History {
    /// Connects to the daemon, or opens the file that it would keep events in.
    ///
    /// # Errors
    /// As [`Place::connect`]; [`Exit::NotPermitted`] where the file may not be read.
    pub fn open(place: &Place) -> Result<History, Failure> {
        let failure = match place.connect() {
            Err(failure) if failure.exit == Exit::NotReachable => failure,
            connected => return connected.map(History::Running),
        };
        let path = place.events_file();
        match EventReader::open(&path) {
            Ok(reader) => {
                eprintln!("portcullis: nobody runs; these are the events in {}", path.display());
                Ok(History::Kept(reader))
            }
            Err(StoreError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let message = format!("{}\n  and no events are kept in {}", failure.message, path.display());
                Err(Failure { message, ..failure })
            }
            Err(StoreError::File { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                let message = format!(
                    "nobody runs, and the events in {} are for root to read\n  run it as root, or start the daemon",
                    path.display()
                );
                Err(Failure { exit: Exit::NotPermitted, message })
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Hands each event to `each`, as its line.
    ///
    /// # Errors
    /// The daemon's refusal, a file that cannot be read, or what `each` says.
    pub fn each(
        &mut self,
        request: &EventsRequest,
        mut each: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<Reach, Failure> {
        let mut reach = Reach::default();
        match self {
            History::Running(client) => {
                client.ask(&Request::Events(Box::new(request.clone())), |reply| {
                    match reply {
                        Reply::Line { line } => each(&line)?,
                        Reply::Position { number } => reach.newest = number,
                        Reply::Damaged { count } => reach.damaged += count,
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            History::Kept(reader) => {
                let mut left = request.limit;
                let mut page = request.clone().page().page;
                loop {
                    let found = reader.page(&page).map_err(|error| failed(&error))?;
                    reach.newest = found.newest;
                    reach.damaged += found.damaged;
                    found.lines.iter().try_for_each(|line| each(line))?;
                    left = left.map(|left| left.saturating_sub(found.lines.len() as u64));
                    let (Some(next), true) = (found.next, left != Some(0)) else { break };
                    page.after = Some(next);
                    page.at_most = left.map_or(PAGE, |left| PAGE.min(usize::try_from(left).unwrap_or(PAGE)));
                }
            }
        }
        if reach.damaged > 0 {
            eprintln!("portcullis: {} events could not be understood, and are left out", reach.damaged);
        }
        Ok(reach)
    }

    /// The latest `limit` events, oldest first.
    ///
    /// # Errors
    /// As [`History::each`].
    pub fn latest(&mut self, request: &EventsRequest, limit: u64) -> Result<(Vec<String>, Reach), Failure> {
        let mut lines = Vec::new();
        let request = EventsRequest { backwards: true, limit: Some(limit), ..request.clone() };
        let reach = self.each(&request, |line| {
            lines.push(line.to_owned());
            Ok(())
        })?;
        lines.reverse();
        Ok((lines, reach))
    }

    /// Sums a while up.
    ///
    /// # Errors
    /// As [`History::each`].
    pub fn report(&mut self, since: Wall, until: Wall) -> Result<Report, Failure> {
        match self {
            History::Kept(reader) => reader.report(since, until).map_err(|error| failed(&error)),
            History::Running(client) => {
                let [since, until] =
                    [since, until].map(|at| u64::try_from(at.0.as_millis()).unwrap_or(u64::MAX));
                let mut report = None;
                client.ask(&Request::Report { since, until }, |reply| {
                    if let Reply::Report(said) = reply {
                        report = Some(*said);
                    }
                    Ok(())
                })?;
                let message = "the daemon sent no report; if portcullis was upgraded, restart it".to_owned();
                report.ok_or(Failure { exit: Exit::Failed, message })
            }
        }
    }
}

fn failed(error: &StoreError) -> Failure {
    Failure { exit: Exit::Failed, message: Escaped(&causes::said(error)).to_string() }
}
