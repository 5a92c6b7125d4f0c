//! Why a hosts.deny could not be changed, and how to mend it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::escape::printable;

/// Why a hosts.deny could not be changed. It is as it was.
#[derive(Debug)]
pub enum HostsDenyError {
    /// The text is no line of the file.
    NotALine {
        /// The text.
        line: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is something else than a file.
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// The file is larger than is sensible.
    TooLarge {
        /// Where.
        path: PathBuf,
        /// In bytes.
        largest: u64,
    },
    /// Somebody held the lock all the time.
    Locked {
        /// Where.
        path: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// The system refused.
    Failed {
        /// What was to be done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for HostsDenyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostsDenyError::NotALine { line, why } => write!(
                f,
                "hosts.deny cannot hold the line \"{}\": {why}; mend KILL_HOSTS_DENY, for instance \"ALL: $TARGET$\"",
                printable(line)
            ),
            HostsDenyError::NotAFile { path } => write!(
                f,
                "{}: is no regular file; move away what lies there, an empty file will do",
                printable(&path.to_string_lossy())
            ),
            HostsDenyError::TooLarge { path, largest } => write!(
                f,
                "{}: is larger than {} MiB, which TCP wrappers read at each connection; take old lines out, or leave \
                 KILL_HOSTS_DENY away",
                printable(&path.to_string_lossy()),
                largest >> 20
            ),
            HostsDenyError::Locked { path, after } => {
                let path = printable(&path.to_string_lossy());
                write!(
                    f,
                    "{path}: another process has held its lock for {} s; `lslocks` shows which, end that",
                    after.as_secs()
                )
            }
            HostsDenyError::Failed { doing, path, source } => {
                let mend = match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        "make room on its file system"
                    }
                    io::ErrorKind::ReadOnlyFilesystem => {
                        "mount it writable; under systemd its unit needs ReadWritePaths= for it"
                    }
                    io::ErrorKind::PermissionDenied => {
                        "`lsattr` shows whether it is immutable (`chattr -i` mends that), `ausearch -m avc` whether \
                         SELinux forbids it"
                    }
                    io::ErrorKind::NotFound => "make its directory",
                    _ => "see that it is a file that root can write",
                };
                write!(f, "{}: {doing}: {source}; {mend}", printable(&path.to_string_lossy()))
            }
        }
    }
}

impl Error for HostsDenyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            HostsDenyError::Failed { source, .. } => Some(source),
            _ => None,
        }
    }
}
