//! Files with secrets: where they are, and whether nobody else can read them.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The path of a file with a secret, as written: absolute, or `%d/NAME` for a credential of the unit
/// (systemd.exec(5), `LoadCredential=`, and systemd.unit(5), specifier `%d`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile(String);

/// What is wrong with a file that should hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretWrong {
    /// What is wrong, and why.
    pub message: String,
    /// How to mend it.
    pub mend: String,
}

/// Longest path in bytes, less the closing NUL (`PATH_MAX`).
const LONGEST: usize = 4095;

impl SecretFile {
    /// Takes a path as written; `None` if it is neither absolute nor begins with `%d/`, or no path at all.
    #[must_use]
    pub fn new(written: &str) -> Option<SecretFile> {
        let within = written.strip_prefix("%d").unwrap_or(written);
        let fits = within.starts_with('/') && within.len() > 1 && within.len() <= LONGEST;
        (fits && !written.contains('\0')).then(|| SecretFile(written.to_owned()))
    }

    /// As written.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.0
    }

    /// Whether systemd hands it to the unit.
    #[must_use]
    pub fn is_credential(&self) -> bool {
        self.0.starts_with("%d/")
    }

    /// Where it lies, with `credentials` as the directory of `%d` (systemd gives it in `CREDENTIALS_DIRECTORY`).
    ///
    /// # Errors
    /// It is a credential, and there is no such directory.
    pub fn path(&self, credentials: Option<&Path>) -> Result<PathBuf, SecretWrong> {
        match (self.0.strip_prefix("%d/"), credentials) {
            (None, _) => Ok(PathBuf::from(&self.0)),
            (Some(name), Some(directory)) => Ok(directory.join(name)),
            (Some(name), None) => Err(SecretWrong {
                message: format!("\"{self}\" is a credential, and systemd has given none"),
                mend: format!(
                    "write LoadCredential={name}:PATH into the unit, or an absolute path here; outside of the unit set CREDENTIALS_DIRECTORY"
                ),
            }),
        }
    }

    /// Looks whether it is there, a file, ours or root's, and closed to everybody else.
    ///
    /// # Errors
    /// It is not.
    pub fn inspect(&self, credentials: Option<&Path>) -> Result<PathBuf, SecretWrong> {
        let path = self.path(credentials)?;
        let shown = path.display();
        let data = path.metadata().map_err(|error| SecretWrong {
            message: match error.kind() {
                io::ErrorKind::NotFound => format!("there is no file {shown}"),
                io::ErrorKind::PermissionDenied => format!("you may not look at {shown}"),
                _ => format!("{shown} cannot be read: {error}"),
            },
            mend: match error.kind() {
                io::ErrorKind::NotFound => "make it, or correct the path".to_owned(),
                io::ErrorKind::PermissionDenied => "run this as root".to_owned(),
                _ => "check the path".to_owned(),
            },
        })?;
        closed_to_others(&data, &path, self.is_credential())?;
        Ok(path)
    }
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Looks whether `data` are those of a regular file, ours or root's, and closed to everybody else. `path` is for what is
/// said.
///
/// # Errors
/// They are not.
pub fn closed_to_others(data: &Metadata, path: &Path, is_credential: bool) -> Result<(), SecretWrong> {
    let shown = path.display();
    let mode = data.permissions().mode() & 0o777;
    if !data.is_file() {
        return Err(SecretWrong {
            message: format!("{shown} is no regular file"),
            mend: "give the path of the file itself".to_owned(),
        });
    }
    if data.uid() != 0 && data.uid() != own_user() {
        return Err(SecretWrong {
            message: format!("{shown} belongs to user {}, who can change it", data.uid()),
            mend: format!("chown root {shown}"),
        });
    }
    // A credential for another user than root is given by an access list, whose mask shows as the group's right
    // to read; its directory is closed to everybody else (systemd.exec(5), "Credentials").
    let others = if is_credential { 0o037 } else { 0o077 };
    if mode & others != 0 {
        return Err(SecretWrong {
            message: format!("{shown} has mode {mode:04o}, so others can read or change it"),
            mend: format!("chmod 0600 {shown}; whoever may have read it knows the secret, so make a new one"),
        });
    }
    Ok(())
}

/// The user that this process runs as.
fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ssh.key");
        fs::write(&path, "x").unwrap();
        let file = SecretFile::new(path.to_str().unwrap()).unwrap();
        let credential = SecretFile::new("%d/ssh.key").unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();

        mode(0o600);
        assert_eq!(file.inspect(None).unwrap(), path);
        assert_eq!(credential.inspect(Some(directory.path())).unwrap(), path);
        assert!(credential.inspect(None).unwrap_err().message.contains("systemd has given none"));
        mode(0o400);
        assert!(file.inspect(None).is_ok());
        for open in [0o640, 0o604, 0o620, 0o602, 0o644] {
            mode(open);
            let wrong = file.inspect(None).unwrap_err();
            assert!(wrong.message.contains(&format!("has mode {open:04o}")), "{wrong:?}");
        }
        let nowhere = SecretFile::new(directory.path().join("n").to_str().unwrap()).unwrap();
        assert!(nowhere.inspect(None).unwrap_err().message.contains("there is no file"));
        let folder = SecretFile::new(directory.path().to_str().unwrap()).unwrap();
        assert!(folder.inspect(None).unwrap_err().message.contains("no regular file"));
    }

    #[test]
    fn only_absolute_paths_and_credentials_are_paths_of_secrets() {
        for (written, is) in [
            ("/a", true),
            ("%d/a", true),
            ("a", false),
            ("%h/a", false),
            ("/", false),
            ("%d", false),
            ("/a\0", false),
        ] {
            assert_eq!(SecretFile::new(written).is_some(), is, "{written}");
        }
    }
}
