//! The daemon's end of the control socket.
//!
//! Nothing that a client does can hold up anybody else: lines, answers and clients are counted, and everything waits
//! for a bounded time.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::access::{Access, Right};
use super::protocol::{LINE_LIMIT, Reply, Request};
use super::replies::{next_page, replies};
use super::{Answer, Asked, Command, Peer};
use crate::exit::Exit;

/// How many clients are served at once; the next is told to come again.
pub const CLIENTS: usize = 64;

/// How many of these may be clients that can only read, so that an operator always gets in.
pub const READERS: usize = 48;

/// How many more are told so at once, instead of being cut off without a word.
const REFUSALS: usize = 64;

/// How many may follow the events at once; each costs a question every half second.
pub const FOLLOWERS: usize = 16;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first look at a connection, or the last answer, to the end of the next request line.
    pub request: Duration,
    /// For the daemon to answer one command; a reload looks names up and may take a while.
    pub answer: Duration,
    /// For a client to take one piece of an answer.
    pub write: Duration,
    /// For a client to take a whole answer.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request: Duration::from_secs(10),
            answer: Duration::from_secs(20),
            write: Duration::from_secs(10),
            whole: Duration::from_secs(60),
        }
    }
}

/// Why the control socket could not be opened.
#[derive(Debug)]
pub enum BindError {
    /// Another portcullis holds this place.
    InUse(PathBuf),
    /// A system call failed.
    Io {
        /// What was tried.
        doing: &'static str,
        /// At which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BindError::InUse(path) => write!(
                f,
                "another portcullis already answers at {}; stop it first, or run this one with --state DIR",
                path.display()
            ),
            BindError::Io { doing, path, .. } => {
                write!(f, "control socket: cannot {doing} {}", path.display())
            }
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BindError::InUse(_) => None,
            BindError::Io { source, .. } => Some(source),
        }
    }
}

/// The socket, open and in its place. Dropping it takes the file away again.
#[derive(Debug)]
pub struct Server {
    listener: StdListener,
    place: Place,
}

/// The file of the socket, and the lock that makes it ours.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    inode: u64,
    /// Held until the process ends; the kernel lets go of it even after kill -9.
    _lock: File,
}

impl Server {
    /// Opens the control socket at `path` with mode 0660 and the group of `access`, making its directory if need be.
    ///
    /// The file appears in its place with its final mode and group: it is made in a private directory beside and
    /// moved. A file that a dead portcullis left there is replaced.
    ///
    /// # Errors
    /// [`BindError::InUse`] if somebody answers there, otherwise what the system said.
    pub fn bind(path: &Path, access: &Access) -> Result<Server, BindError> {
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| BindError::Io { doing, path, source }
        };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(failed("make the directory", directory))?;

        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(BindError::InUse(path.to_owned())),
            Err(fs::TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        // Somebody who does not know of the lock may answer there all the same.
        if StdStream::connect(path).is_ok() {
            return Err(BindError::InUse(path.to_owned()));
        }

        let nursery = Nursery::make(directory).map_err(failed("make a directory in", directory))?;
        let newborn = nursery.0.join("s");
        let listener = StdListener::bind(&newborn).map_err(failed("open", path))?;
        std::os::unix::fs::chown(&newborn, None, access.group())
            .map_err(failed("give to its group", path))?;
        fs::set_permissions(&newborn, Permissions::from_mode(0o660))
            .map_err(failed("set the mode of", path))?;
        listener.set_nonblocking(true).map_err(failed("prepare", path))?;
        let inode = fs::metadata(&newborn).map_err(failed("look at", path))?.ino();
        fs::rename(&newborn, path).map_err(failed("move into place", path))?;
        Ok(Server { listener, place: Place { path: path.to_owned(), inode, _lock: lock } })
    }

    /// Serves until `desk` is closed. Each thing asked goes to `desk`; `access` may change on reload. Run it on the
    /// runtime of the slow path.
    ///
    /// # Errors
    /// What the system said when the socket could not be waited on.
    pub async fn serve(
        self,
        desk: mpsc::Sender<Asked>,
        access: watch::Receiver<Access>,
        limits: Limits,
    ) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener)?;
        let _place = self.place;
        let seats = Arc::new(Seats {
            all: Arc::new(Semaphore::new(CLIENTS)),
            readers: Arc::new(Semaphore::new(READERS)),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
        });
        loop {
            let stream = tokio::select! {
                () = desk.closed() => return Ok(()),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    // No descriptor is left (EMFILE), or the client is gone again: the next may do better, but not at
                    // once, or we would spin.
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let session = Session { desk: desk.clone(), access: access.clone(), limits };
            tokio::spawn(session.receive(stream, Arc::clone(&seats)));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Only what is still ours: an administrator may have put something else there.
        if fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // Nothing is left to do if it fails: the next start replaces the file anyway.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A directory that nobody else can look into, gone when dropped.
struct Nursery(PathBuf);

impl Nursery {
    fn make(parent: &Path) -> io::Result<Nursery> {
        // The lock is held, so what stands there under our number is left from a process that is dead.
        let path = parent.join(format!(".{}", std::process::id()));
        let remains = Nursery(path.clone());
        drop(remains);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Nursery(path))
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        // A directory of ours that cannot be removed is untidy and does no harm; `bind` has said its own word.
        let _ = fs::remove_file(self.0.join("s"));
        let _ = fs::remove_dir(&self.0);
    }
}

/// Who may sit down.
pub(super) struct Seats {
    all: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    pub(super) followers: Arc<Semaphore>,
}

/// One client.
pub(super) struct Session {
    desk: mpsc::Sender<Asked>,
    access: watch::Receiver<Access>,
    limits: Limits,
}

/// Why a session ends before the client wants it to.
pub(super) enum Over {
    /// The client is gone, or too slow: nobody is left to tell.
    Gone,
    /// This is the last word.
    Refused(Exit, String),
}

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Over {
        Over::Gone
    }
}

impl From<tokio::time::error::Elapsed> for Over {
    fn from(_: tokio::time::error::Elapsed) -> Over {
        Over::Gone
    }
}

impl Session {
    /// From the first look to the last word.
    async fn receive(self, stream: UnixStream, seats: Arc<Seats>) {
        // A peer that cannot be named is not served; it is gone already.
        let Ok(credentials) = stream.peer_cred() else { return };
        let peer = Peer { user: credentials.uid(), group: credentials.gid(), process: credentials.pid() };
        let Ok(groups) = portcullis_sys::people::peer_groups(&stream) else { return };
        let right = self.access.borrow().right(&peer, &groups);
        let (read, write) = stream.into_split();
        let mut wire = Wire { read: BufReader::new(read), write, limits: self.limits };

        let reader_seat = match right {
            Right::Change => None,
            Right::Read => Some(Arc::clone(&seats.readers).try_acquire_owned()),
            Right::None => {
                let refusal = self.access.borrow().refusal(Right::Read);
                return wire.refuse(&seats, Reply::refused(Exit::NotPermitted, refusal)).await;
            }
        };
        let seat = Arc::clone(&seats.all).try_acquire_owned();
        if seat.is_err() || matches!(reader_seat, Some(Err(_))) {
            let refusal = format!("{CLIENTS} clients are connected already; try again in a moment");
            return wire.refuse(&seats, Reply::refused(Exit::Failed, refusal)).await;
        }

        while let Ok(Some(line)) = wire.line().await {
            match self.answer(&line, &peer, right, &mut wire, &seats).await {
                Ok(()) => {}
                Err(Over::Gone) => return,
                Err(Over::Refused(exit, message)) => {
                    if wire.send(&[Reply::refused(exit, message)]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Answers one request.
    async fn answer(
        &self,
        line: &[u8],
        peer: &Peer,
        right: Right,
        wire: &mut Wire,
        seats: &Seats,
    ) -> Result<(), Over> {
        let unclear = |sentence| Over::Refused(Exit::Usage, sentence);
        let request = Request::parse(line).map_err(unclear)?;
        if let Request::Events(events) = &request
            && events.follow
        {
            return self.follow(events, peer, wire, seats).await;
        }
        let mut command = request.command().map_err(unclear)?;
        if command.is_change() && right < Right::Change {
            let refusal = self.access.borrow().refusal(Right::Change);
            return Err(Over::Refused(Exit::NotPermitted, refusal));
        }
        let whole = self.limits.whole;
        timeout(whole, async {
            let mut count = 0;
            loop {
                let answer = self.ask(command.clone(), peer).await?;
                let next = next_page(&answer);
                let mut replies = replies(answer).map_err(|(exit, message)| Over::Refused(exit, message))?;
                count += replies.len() as u64;
                let is_last = next.is_none();
                if is_last {
                    replies.push(Reply::End { count });
                }
                wire.send(&replies).await?;
                match next {
                    None => return Ok(()),
                    Some(next) => command = next,
                }
            }
        })
        .await?
    }

    /// Takes one command to the daemon and its answer back.
    pub(super) async fn ask(&self, command: Command, peer: &Peer) -> Result<Answer, Over> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { command, by: peer.clone(), answer };
        let stopping = || Over::Refused(Exit::NotReachable, "the daemon is stopping".to_owned());
        let late = || {
            let sentence =
                "the daemon did not answer in time; what was asked may still be done: see portcullis status";
            Over::Refused(Exit::Failed, sentence.to_owned())
        };
        let both_ways = async {
            self.desk.send(asked).await.map_err(|_| stopping())?;
            answered.await.map_err(|_| stopping())
        };
        timeout(self.limits.answer, both_ways).await.unwrap_or_else(|_| Err(late()))
    }
}

/// Lines in, lines out, each in bounded time and size.
pub(super) struct Wire {
    pub(super) read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    limits: Limits,
}

impl Wire {
    /// The next request without its line end; `None` where the client is done. A line that is too long ends the
    /// session with a word.
    async fn line(&mut self) -> Result<Option<Vec<u8>>, Over> {
        let mut line = Vec::new();
        let mut limited = (&mut self.read).take(LINE_LIMIT as u64);
        timeout(self.limits.request, limited.read_until(b'\n', &mut line)).await??;
        match line.pop() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) if line.len() + 1 >= LINE_LIMIT => {
                let sentence = format!("a request line is at most {LINE_LIMIT} bytes long");
                self.send(&[Reply::refused(Exit::Usage, sentence)]).await?;
                Err(Over::Gone)
            }
            // The client closed in the middle of a line: whatever it began to say was not said.
            Some(_) => Ok(None),
        }
    }

    pub(super) async fn send(&mut self, replies: &[Reply]) -> Result<(), Over> {
        let mut bytes = Vec::new();
        for reply in replies {
            serde_json::to_writer(&mut bytes, reply)
                .expect("replies are made of texts, numbers and lists, which JSON can always say");
            bytes.push(b'\n');
        }
        timeout(self.limits.write, self.write.write_all(&bytes)).await??;
        Ok(())
    }

    /// The last word to somebody who gets no seat.
    async fn refuse(mut self, seats: &Seats, refusal: Reply) {
        let Ok(_seat) = seats.refusals.try_acquire() else { return };
        // A client that does not take it has given up, which is what it was to be told.
        let _ = self.send(&[refusal]).await;
    }
}
