//! The verbs' end of the control socket: plain and blocking.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{Reply, Request};
use crate::escape::Escaped;
use crate::exit::Exit;

/// How long a verb waits for the next piece of an answer: longer than the daemon lets itself take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a verb got no answer. Prints what, where, why, and how to mend it.
#[derive(Debug)]
pub struct Failure {
    /// How the verb ends.
    pub exit: Exit,
    /// For people.
    pub message: String,
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    /// Connects to the daemon whose socket stands at `path`.
    ///
    /// # Errors
    /// [`Exit::NotReachable`] with the command that starts it, or [`Exit::NotPermitted`].
    pub fn connect(path: &Path) -> Result<Client, Failure> {
        let connected = UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => Ok(Client { stream: BufReader::new(stream), path: path.to_owned() }),
            Err(error) => Err(unreachable(path, &error)),
        }
    }

    /// The daemon's socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks, hands each entry or outcome to `each` as it comes, and returns how many there were.
    ///
    /// # Errors
    /// The daemon's refusal, or that it no longer answers; also what `each` says, which ends it at once.
    pub fn ask(
        &mut self,
        request: &Request,
        mut each: impl FnMut(Reply) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        if let Err(error) = self.stream.get_mut().write_all(&request.to_line()) {
            // It may have refused and closed before we asked: what it said is still there to be read.
            if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
                return Err(self.silent(&error));
            }
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            match self.stream.read_until(b'\n', &mut line) {
                Ok(0) => return Err(self.silent(&io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(self.silent(&error)),
            }
            match serde_json::from_slice(&line) {
                Ok(Reply::End { count }) => return Ok(count),
                Ok(Reply::Refused { exit, message }) => {
                    // A reason may have line ends of its own; nothing else in it may reach the terminal.
                    let lines: Vec<String> = message.lines().map(|line| Escaped(line).to_string()).collect();
                    return Err(Failure { exit: Exit::from_code(exit), message: lines.join("\n") });
                }
                Ok(reply) => each(reply)?,
                Err(error) => {
                    return Err(Failure {
                        exit: Exit::Failed,
                        message: format!(
                            "what answers at {} is not understood: {error}\n  \
                             if portcullis was upgraded, restart the daemon",
                            self.path.display()
                        ),
                    });
                }
            }
        }
    }

    fn silent(&self, error: &io::Error) -> Failure {
        let path = self.path.display();
        let message = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!(
                "the daemon at {path} did not answer within {} seconds\n  \
                 see whether it still runs, and what its log says",
                PATIENCE.as_secs()
            ),
            io::ErrorKind::UnexpectedEof => format!(
                "the daemon at {path} hung up before it had answered\n  \
                 see whether it still runs, and what its log says"
            ),
            _ => format!("the connection to {path} broke: {error}"),
        };
        Failure { exit: Exit::NotReachable, message }
    }
}

fn unreachable(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure {
            exit: Exit::NotPermitted,
            message: format!(
                "you may not use {shown}: only root and the members of its group may\n  \
                 run it as root, or have root add you to the group (usually: portcullis)"
            ),
        },
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure {
            exit: Exit::NotReachable,
            message: format!(
                "no portcullis runs here: nobody answers at {shown}\n  \
                 start it: systemctl start portcullis, or in the foreground: portcullis run\n  \
                 if it was started with --state DIR, say the same --state DIR here"
            ),
        },
        _ => Failure {
            exit: Exit::NotReachable,
            message: format!("cannot reach the daemon at {shown}: {error}"),
        },
    }
}
