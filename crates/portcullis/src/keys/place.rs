//! Where a file of secrets lies, who else may see it, and reading it without leaving copies behind.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::{Zeroize, Zeroizing};

use super::Fault;
use crate::config::doors::{SecretFile, SecretWrong, closed_to_others};

/// No file of secrets is longer, in bytes: a hundred sequences take 3 KiB, 16 users of single packets 5 KiB.
pub const LONGEST: u64 = 1 << 20;

/// A file of secrets, and how well it must be guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    guard: Guard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// Ours or root's, and closed to everybody else.
    Closed,
    /// Handed over by systemd, in a directory that is closed.
    Credential,
    /// As it comes.
    Any,
}

impl Place {
    /// A file that must be closed to others.
    #[must_use]
    pub fn closed(path: impl Into<PathBuf>) -> Place {
        Place { path: path.into(), guard: Guard::Closed }
    }

    /// A file that the configuration names, with `credentials` as the directory of `%d`.
    ///
    /// # Errors
    /// It is a credential, and there is no such directory.
    pub fn of(secret: &SecretFile, credentials: Option<&Path>) -> Result<Place, Fault> {
        let path = secret
            .path(credentials)
            .map_err(|wrong| Fault::of_file(Path::new(secret.written()), wrong.message, wrong.mend))?;
        let guard = if secret.is_credential() { Guard::Credential } else { Guard::Closed };
        Ok(Place { path, guard })
    }

    /// A file of knockd's, which reads it whoever else may (knockd 0.8, measured).
    #[must_use]
    pub fn of_knockd(path: impl Into<PathBuf>) -> Place {
        Place { path: path.into(), guard: Guard::Any }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether knockd's own rules hold for it.
    pub(super) fn is_of_knockd(&self) -> bool {
        self.guard == Guard::Any
    }

    /// Whether it lies where nothing can be changed.
    pub(super) fn is_credential(&self) -> bool {
        self.guard == Guard::Credential
    }

    /// Opens it, having looked at the very file that was opened.
    pub(super) fn open(&self) -> Result<File, Fault> {
        let path = &self.path;
        // A pipe in its place would have us wait for a writer.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
            let (message, mend) = match error.kind() {
                io::ErrorKind::NotFound => {
                    ("there is no such file".to_owned(), "make it, or correct the path")
                }
                io::ErrorKind::PermissionDenied => {
                    ("you may not read it".to_owned(), "run this as its owner, or as root")
                }
                _ => (format!("it cannot be opened: {error}"), "check the path"),
            };
            Fault::of_file(path, message, mend)
        })?;
        let data = file.metadata().map_err(|error| self.unreadable(&error))?;
        let wrong = match self.guard {
            Guard::Any if data.is_file() => None,
            Guard::Any => Some(SecretWrong {
                message: "it is no regular file".to_owned(),
                mend: "give the path of the file itself".to_owned(),
            }),
            guard => closed_to_others(&data, path, guard == Guard::Credential).err(),
        };
        if let Some(wrong) = wrong {
            return Err(Fault::of_file(path, wrong.message, wrong.mend));
        }
        if data.size() > LONGEST {
            let message =
                format!("it has {} bytes, and no file of this kind has more than {LONGEST}", data.size());
            return Err(Fault::of_file(path, message, "check the path"));
        }
        Ok(file)
    }

    /// Reads it whole.
    ///
    /// # Errors
    /// It is not there, not closed to others, too long, or no text.
    pub fn read(&self) -> Result<Zeroizing<String>, Fault> {
        self.read_from(&self.open()?)
    }

    pub(super) fn read_from(&self, file: &File) -> Result<Zeroizing<String>, Fault> {
        // Room for all of it at once, as a buffer that grows leaves its former contents behind; and a little more, so that
        // the end is seen without growing.
        let size = file.metadata().map_err(|error| self.unreadable(&error))?.size().min(LONGEST);
        let mut bytes = Zeroizing::new(Vec::with_capacity(size as usize + 64));
        file.take(LONGEST).read_to_end(&mut bytes).map_err(|error| self.unreadable(&error))?;
        String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
            error.into_bytes().zeroize();
            Fault::of_file(&self.path, "it is no text", "check the path")
        })
    }

    fn unreadable(&self, error: &io::Error) -> Fault {
        Fault::of_file(&self.path, format!("it cannot be read: {error}"), "check the disk")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_very_file_that_is_read_is_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, "secret").unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let credential = SecretFile::new("%d/a").unwrap();
        let credential = Place::of(&credential, Some(directory.path())).unwrap();
        mode(0o600);
        assert_eq!(Place::closed(&path).read().unwrap().as_str(), "secret");
        mode(0o440);
        assert!(Place::closed(&path).read().unwrap_err().message.contains("has mode 0440"));
        assert_eq!(credential.read().unwrap().as_str(), "secret");
        mode(0o644);
        assert!(credential.read().is_err());
        assert_eq!(Place::of_knockd(&path).read().unwrap().as_str(), "secret");
    }

    #[test]
    fn what_is_no_small_text_file_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let closed = |name: &str, bytes: &[u8]| {
            fs::write(at(name), bytes).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
        };
        closed("binary", b"\xff\xfe");
        closed("long", &vec![b'x'; LONGEST as usize + 1]);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        for (name, message) in [
            ("none", "there is no such file"),
            ("binary", "it is no text"),
            ("long", "no file of this kind has more"),
            ("pipe", "no regular file"),
            ("", "no regular file"),
        ] {
            let fault = Place::closed(at(name)).read().unwrap_err();
            assert!(fault.message.contains(message), "{fault}");
        }
    }
}
