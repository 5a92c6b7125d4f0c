//! The archive: events on their way into the store, and questions about them, each on a thread of its own, so that
//! neither a slow disk nor a long question holds up the slow path.
//!
//! Both ways in are bounded. An event that finds the queue full, or no room on the disk, is counted and gone; bans have a
//! file and a way of their own.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use portcullis_core::time::Wall;
use portcullis_sys::clock;
use tokio::sync::oneshot;

use crate::causes;
use crate::config::Config;
use crate::control::{Answer, EventsPage};
use crate::exit::Exit;
use crate::record::LogEvent;
use crate::record::events::query::EventReader;
use crate::record::events::{BATCH, EventStore, Node, Retention, line, parse};
use crate::record::store::StoreError;

/// Events that wait to be written, at most.
const WAITING: usize = 8192;

/// Questions that wait to be answered, at most.
const QUESTIONS: usize = 64;

/// An event is written so long after it came, together with those that came meanwhile.
const GATHER: Duration = Duration::from_millis(100);

/// While nothing happens, what is too old is looked for this often; a store that failed is tried again.
const REST: Duration = Duration::from_secs(60);

/// A question waits so long for what was told before it to be written.
const WRITTEN: Duration = Duration::from_secs(2);

/// The reader closes the file when nobody has asked for so long.
const CLOSE_AFTER: Duration = Duration::from_secs(10);

/// Something to tell the administrator; beyond so many nobody has read the first.
const REMARKS: usize = 8;

/// What the writer is given.
enum Message {
    Event(Box<LogEvent>),
    /// Lines that an earlier run told.
    Lines(Vec<String>),
    Retain(Retention),
    /// Write what came before, then say so.
    Flush(SyncSender<()>),
}

/// What is asked.
enum Question {
    Events(Box<EventsPage>),
    Report(Wall, Wall),
}

struct Asked {
    question: Question,
    answer: oneshot::Sender<Answer>,
}

/// Numbers about the archive.
#[derive(Debug, Default)]
struct Numbers {
    kept: AtomicU64,
    lost: AtomicU64,
    bytes: AtomicU64,
}

/// How the archive is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Events that were kept since the start.
    pub kept: u64,
    /// Events that were not: there were too many at once, or the store did not take them.
    pub lost: u64,
    /// Bytes of the file that hold something.
    pub bytes: u64,
}

/// A fault, or the end of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What, where and why.
    pub why: String,
    /// How to mend it; may be empty.
    pub mend: &'static str,
}

/// What both threads and the slow path see.
#[derive(Default)]
struct Shared {
    numbers: Numbers,
    remarks: Mutex<Vec<Remark>>,
    /// The complaint that holds now.
    complaint: Mutex<Option<String>>,
}

impl Shared {
    fn remark(&self, why: String, mend: &'static str) {
        let mut remarks = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        if remarks.len() < REMARKS {
            remarks.push(Remark { why, mend });
        }
    }

    /// Whether this is a new complaint, or the end of one.
    fn complain(&self, complaint: Option<String>) -> bool {
        let mut before = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *before != complaint;
        *before = complaint;
        is_new
    }
}

/// The slow path's end of it. Dropping it has everything written.
pub struct Archive {
    events: Option<SyncSender<Message>>,
    questions: Option<SyncSender<Asked>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("health", &self.health()).finish_non_exhaustive()
    }
}

/// What `config` says is kept.
#[must_use]
pub fn retention(config: &Config) -> Retention {
    Retention { keep: config.record.keep, bytes: u64::from(config.record.keep_mib) << 20 }
}

impl Archive {
    /// Begins to keep events in the file at `path`.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn open(path: PathBuf, retention: Retention) -> std::io::Result<Archive> {
        let (events, received) = mpsc::sync_channel(WAITING);
        let (questions, asked) = mpsc::sync_channel(QUESTIONS);
        let shared = Arc::new(Shared::default());
        let writer =
            Writer { path: path.clone(), retention, store: None, tried: None, shared: Arc::clone(&shared) };
        let reader = Reader { path, flush: events.clone(), open: None, shared: Arc::clone(&shared) };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.to_owned()).spawn(run)
        };
        let threads = vec![
            spawn("events", Box::new(move || writer.run(&received)))?,
            spawn("questions", Box::new(move || reader.run(&asked)))?,
        ];
        Ok(Archive { events: Some(events), questions: Some(questions), shared, threads })
    }

    /// Keeps an event; never waits.
    pub fn keep(&self, event: &LogEvent) {
        self.send(Message::Event(Box::new(event.clone())), 1);
    }

    /// Keeps lines that were told by an earlier run.
    pub fn keep_lines(&self, lines: Vec<String>) {
        let count = lines.len() as u64;
        self.send(Message::Lines(lines), count);
    }

    /// Keeps so much from now on.
    pub fn retain(&self, retention: Retention) {
        // Beside a full queue it is said again at the next reload; nothing is lost meanwhile.
        self.send(Message::Retain(retention), 0);
    }

    fn send(&self, message: Message, count: u64) {
        if let Some(events) = &self.events
            && events.try_send(message).is_err()
        {
            self.shared.numbers.lost.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Has a page of events found.
    pub fn ask_events(&self, page: Box<EventsPage>, answer: oneshot::Sender<Answer>) {
        self.ask(Asked { question: Question::Events(page), answer });
    }

    /// Has a while summed up.
    pub fn ask_report(&self, since: Wall, until: Wall, answer: oneshot::Sender<Answer>) {
        self.ask(Asked { question: Question::Report(since, until), answer });
    }

    fn ask(&self, asked: Asked) {
        let refused = match &self.questions {
            None => Some(asked),
            Some(questions) => match questions.try_send(asked) {
                Ok(()) => None,
                Err(TrySendError::Full(asked) | TrySendError::Disconnected(asked)) => Some(asked),
            },
        };
        if let Some(asked) = refused {
            let message = "too many questions wait to be answered; try again in a moment".to_owned();
            // Who has gone meanwhile needs no answer.
            let _ = asked.answer.send(Answer::Refused { exit: Exit::Failed, message });
        }
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        let Numbers { kept, lost, bytes } = &self.shared.numbers;
        let [kept, lost, bytes] = [kept, lost, bytes].map(|number| number.load(Ordering::Relaxed));
        Health { kept, lost, bytes }
    }

    /// The fault that holds now.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        self.shared.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is to be told; each once.
    #[must_use]
    pub fn remarks(&self) -> Vec<Remark> {
        std::mem::take(&mut *self.shared.remarks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // The reader holds a way to the writer, so it goes first.
        drop(self.questions.take());
        drop(self.events.take());
        for thread in self.threads.drain(..).rev() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// The only one that writes.
struct Writer {
    path: PathBuf,
    retention: Retention,
    store: Option<EventStore>,
    /// When opening it was tried last.
    tried: Option<Instant>,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self, received: &Receiver<Message>) {
        self.open();
        let mut rest = REST;
        loop {
            let first = match received.recv_timeout(rest) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    rest = if self.retain() { GATHER } else { REST };
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut batch = Batch::default();
            let until = Instant::now() + GATHER;
            let mut is_done = batch.take(first, &mut self.retention);
            let mut is_over = false;
            while !is_done {
                match received.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(message) => is_done = batch.take(message, &mut self.retention),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        is_over = true;
                        break;
                    }
                }
            }
            self.write(&batch.lines);
            for waiting in batch.flushed {
                // It waited for a bounded time and may have given up.
                let _ = waiting.try_send(());
            }
            if is_over {
                return;
            }
            rest = if self.retain() { GATHER } else { REST };
        }
    }

    fn open(&mut self) {
        self.tried = Some(Instant::now());
        match EventStore::open(&self.path) {
            Ok(opened) => {
                if let Some(warning) = opened.warning {
                    self.shared.remark(warning, "");
                }
                self.store = Some(opened.store);
                self.well();
            }
            Err(error) => self.failed(&error),
        }
    }

    fn write(&mut self, lines: &[Node]) {
        if lines.is_empty() {
            return;
        }
        if self.store.is_none() && self.tried.is_none_or(|tried| tried.elapsed() >= REST) {
            self.open();
        }
        let numbers = &self.shared.numbers;
        let Some(store) = &mut self.store else {
            numbers.lost.fetch_add(lines.len() as u64, Ordering::Relaxed);
            return;
        };
        match store.append(lines) {
            Ok(kept) => {
                numbers.kept.fetch_add(kept as u64, Ordering::Relaxed);
                self.well();
            }
            Err(error) => {
                numbers.lost.fetch_add(lines.len() as u64, Ordering::Relaxed);
                self.failed(&error);
                if !matches!(error, StoreError::Full(_)) {
                    // Opened anew, it is put aside if it is damaged.
                    self.store = None;
                }
            }
        }
    }

    /// Whether there is more to take out.
    fn retain(&mut self) -> bool {
        let Some(store) = &mut self.store else { return false };
        let retained = store.retain(clock::now().wall, &self.retention);
        let bytes = store.bytes();
        match retained.and_then(|is_more| bytes.map(|bytes| (is_more, bytes))) {
            Ok((is_more, bytes)) => {
                self.shared.numbers.bytes.store(bytes, Ordering::Relaxed);
                is_more
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    fn failed(&self, error: &StoreError) {
        let why = format!("events are not kept: {}", causes::said(error));
        if self.shared.complain(Some(why.clone())) {
            let mend = "bans and doors are not touched by it; make room below the state directory, or mend its rights";
            self.shared.remark(why, mend);
        }
    }

    fn well(&self) {
        if self.shared.complain(None) && self.shared.numbers.lost.load(Ordering::Relaxed) > 0 {
            let lost = self.shared.numbers.lost.load(Ordering::Relaxed);
            self.shared.remark(format!("events are kept again; {lost} are missing since the start"), "");
        }
    }
}

/// What goes into the store together.
#[derive(Default)]
struct Batch {
    lines: Vec<Node>,
    flushed: Vec<SyncSender<()>>,
}

impl Batch {
    /// Whether it is to be written at once.
    fn take(&mut self, message: Message, retention: &mut Retention) -> bool {
        match message {
            Message::Event(event) => self.lines.push(line(&event)),
            Message::Lines(lines) => self.lines.extend(lines.iter().filter_map(|line| parse(line))),
            Message::Retain(now) => *retention = now,
            Message::Flush(waiting) => {
                self.flushed.push(waiting);
                return true;
            }
        }
        self.lines.len() >= BATCH
    }
}

/// The one that answers questions.
struct Reader {
    path: PathBuf,
    flush: SyncSender<Message>,
    open: Option<EventReader>,
    shared: Arc<Shared>,
}

impl Reader {
    fn run(mut self, asked: &Receiver<Asked>) {
        loop {
            match asked.recv_timeout(CLOSE_AFTER) {
                // Who has given up waiting costs nothing more.
                Ok(asked) if asked.answer.is_closed() => {}
                Ok(Asked { question, answer }) => {
                    let said = self.answer(question);
                    // Who has gone meanwhile needs no answer.
                    let _ = answer.send(said);
                }
                Err(RecvTimeoutError::Timeout) => self.open = None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn answer(&mut self, question: Question) -> Answer {
        // What was told before the question is part of the answer; the next pages follow from the first.
        let is_first = match &question {
            Question::Events(page) => page.page.after.is_none(),
            Question::Report(..) => true,
        };
        if is_first {
            self.have_written();
        }
        let answered = self.open().and_then(|reader| match question {
            Question::Events(page) => reader.page(&page.page).map(|found| Answer::Events(page, found)),
            Question::Report(since, until) => {
                reader.report(since, until).map(|report| Answer::Report(Box::new(report)))
            }
        });
        answered.unwrap_or_else(|error| {
            self.open = None;
            let complaint = self.shared.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let message = complaint.unwrap_or_else(|| causes::said(&error));
            Answer::Refused { exit: Exit::Failed, message }
        })
    }

    /// A disk that does not let us write does not keep us from reading what is there.
    fn have_written(&self) {
        let (done, written) = mpsc::sync_channel(1);
        if self.flush.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(WRITTEN);
        }
    }

    fn open(&mut self) -> Result<&EventReader, StoreError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => EventReader::open(&self.path)?,
        };
        Ok(self.open.insert(open))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::time::Wall;

    use super::*;
    use crate::record::Told;
    use crate::record::events::query::{Filter, Found, Page};

    const RETENTION: Retention = Retention { keep: Duration::from_secs(u64::MAX >> 12), bytes: 1 << 30 };

    fn notice(number: u64) -> LogEvent {
        let time = Wall(Duration::from_secs(1_795_000_000 + number));
        LogEvent { time, told: Told::Notice { what: format!("number {number}") } }
    }

    fn ask(archive: &Archive) -> Answer {
        let (to, answer) = oneshot::channel();
        let page = Page { filter: Filter::default(), is_backwards: true, after: None, at_most: 100_000 };
        archive.ask_events(Box::new(EventsPage { page, left: None }), to);
        answer.blocking_recv().unwrap()
    }

    #[test]
    fn what_was_told_before_a_question_is_in_its_answer() {
        let place = tempfile::tempdir().unwrap();
        let archive = Archive::open(place.path().join("e.db"), RETENTION).unwrap();
        for round in 1..=20 {
            archive.keep(&notice(round));
            let Answer::Events(_, Found { lines, .. }) = ask(&archive) else { panic!("no events") };
            assert_eq!(lines.len() as u64, round);
            assert!(lines[0].contains(&format!("number {round}")), "{}", lines[0]);
        }
        assert_eq!(archive.health().kept, 20);
    }

    #[test]
    fn the_end_writes_what_waits() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("e.db");
        let archive = Archive::open(path.clone(), RETENTION).unwrap();
        (0..500).for_each(|number| archive.keep(&notice(number)));
        drop(archive);
        let page = Page { filter: Filter::default(), is_backwards: false, after: None, at_most: 1000 };
        assert_eq!(EventReader::open(&path).unwrap().page(&page).unwrap().lines.len(), 500);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_once_and_events_are_counted() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "no directory").unwrap();
        let archive = Archive::open(file.join("e.db"), RETENTION).unwrap();
        (0..10).for_each(|number| archive.keep(&notice(number)));
        let Answer::Refused { message, .. } = ask(&archive) else { panic!("there can be no events") };
        assert!(message.starts_with("events are not kept: "), "{message}");
        assert_eq!((archive.health().kept, archive.health().lost), (0, 10));
        assert_eq!(archive.remarks().len(), 1);
        assert_eq!(archive.remarks(), []);
    }
}
