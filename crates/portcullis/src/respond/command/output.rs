//! What a command prints: read as it comes, the end of it kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How much of the end of each stream is kept, in bytes.
const KEPT: usize = 4096;

/// How long what the shell printed before its end may take to be read: it lies in the pipe already. Only a command that
/// leaves something in the background is waited for as long as this.
const REST: Duration = Duration::from_millis(100);

/// How many commands may have left something in the background that still could print. Beyond it the pipes are closed,
/// and what then prints into them gets an error or SIGPIPE.
static LINGERING: Semaphore = Semaphore::const_new(64);

/// Both outputs of a command. Dropping it leaves them being read until they end.
pub(super) struct Output {
    readers: [Option<JoinHandle<()>>; 2],
    /// Standard error first: that is what a message wants to tell.
    tails: [Arc<Mutex<Vec<u8>>>; 2],
}

impl Output {
    pub(super) fn of(child: &mut Child) -> Output {
        let tails = [Arc::default(), Arc::default()];
        let error = child.stderr.take().map(|pipe| tokio::spawn(keep_tail(pipe, Arc::clone(&tails[0]))));
        let out = child.stdout.take().map(|pipe| tokio::spawn(keep_tail(pipe, Arc::clone(&tails[1]))));
        Output { readers: [error, out], tails }
    }

    /// Whether nobody is left who could print.
    pub(super) fn has_ended(&self) -> bool {
        self.readers.iter().flatten().all(JoinHandle::is_finished)
    }

    /// The last line that says something, of standard error or else of standard output. To be asked once, after the
    /// end.
    pub(super) async fn last_line(&mut self) -> Option<String> {
        let mut readers = self.readers.each_mut().map(Option::take);
        let ends = async {
            for reader in readers.iter_mut().flatten() {
                // It neither panics nor is it aborted before this.
                let _ = reader.await;
            }
        };
        if timeout(REST, ends).await.is_err() {
            linger(readers.into_iter().flatten().collect());
        }
        self.tails.iter().find_map(|tail| {
            let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            let text = String::from_utf8_lossy(&tail);
            text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
        })
    }
}

/// Lets the streams of a background process be read on, as far as there is room for that.
fn linger(readers: Vec<JoinHandle<()>>) {
    let Ok(permit) = LINGERING.try_acquire() else {
        readers.iter().for_each(JoinHandle::abort);
        return;
    };
    tokio::spawn(async move {
        for reader in readers.into_iter().filter(|reader| !reader.is_finished()) {
            let _ = reader.await;
        }
        drop(permit);
    });
}

async fn keep_tail(mut pipe: impl AsyncRead + Unpin, tail: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; KEPT];
    // An error of a pipe ends it like its end does; the message then tells a little less.
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(&buffer[..count]);
        let surplus = tail.len().saturating_sub(KEPT);
        tail.drain(..surplus);
    }
}
