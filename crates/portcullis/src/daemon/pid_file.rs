//! The file that holds the number of the process, for init scripts.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A pid file of this process; it goes with this value.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the number of this process to `path`, readable for all. What stood there is replaced, also a link: what
    /// that points to is left alone.
    ///
    /// # Errors
    /// The directory does not exist or cannot be written.
    pub fn write(path: &Path) -> io::Result<PidFile> {
        let id = std::process::id();
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{id}"));
        let aside = PathBuf::from(aside);
        // Of an earlier process with this number, that died in between.
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&aside)?;
            // In the background the umask is 077. Nobody sees the file under its name yet.
            file.set_permissions(Permissions::from_mode(0o644))?;
            writeln!(file, "{id}")?;
            fs::rename(&aside, path)
        };
        write().inspect_err(|_| {
            // The error that is told is the first one.
            let _ = fs::remove_file(&aside);
        })?;
        Ok(PidFile { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    /// Takes the file away, unless another process has put its own number there meanwhile.
    fn drop(&mut self) {
        let is_ours =
            fs::read_to_string(&self.path).is_ok_and(|text| text.trim() == std::process::id().to_string());
        if is_ours {
            // A pid file left behind is stale and gets replaced; at the end nothing more can be done.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn it_holds_the_number_while_the_process_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portsentry.pid");
        fs::write(&path, "999999\n").unwrap();
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        drop(file);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_is_replaced_and_what_it_points_to_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("p.pid"), directory.path().join("shadow"));
        fs::write(&other, "secret").unwrap();
        symlink(&other, &path).unwrap();
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "secret");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn the_file_of_a_successor_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.pid");
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        assert!(PidFile::write(&directory.path().join("missing/p.pid")).is_err());
        fs::create_dir(directory.path().join("p.pid")).unwrap();
        assert!(PidFile::write(&directory.path().join("p.pid")).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
