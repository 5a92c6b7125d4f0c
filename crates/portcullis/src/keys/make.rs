//! Making secrets, and files for them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use super::Fault;

/// Fills `bytes` from the kernel's random numbers (getrandom(2)), waiting until it has enough of them after boot.
///
/// # Errors
/// The kernel has no such call, or a sandbox forbids it.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match getrandom(&mut *rest, GetRandomFlags::empty()) {
            Ok(count) => rest = &mut rest[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// So many random bytes, wiped when they go.
///
/// # Errors
/// As [`random`].
pub fn random_key(length: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    random(&mut bytes)?;
    Ok(bytes)
}

/// A random number below `bound`, none likelier than another.
///
/// # Errors
/// As [`random`].
///
/// # Panics
/// If `bound` is 0.
pub fn random_below(bound: u32) -> io::Result<u32> {
    // Numbers in the last, incomplete round of the bound would favour small results.
    let end = u32::MAX - u32::MAX % bound;
    loop {
        let mut bytes = [0; 4];
        random(&mut bytes)?;
        let number = u32::from_le_bytes(bytes);
        if number < end {
            return Ok(number % bound);
        }
    }
}

/// Makes a file with mode 0600 and this text, which is on the disk when this returns. It must not exist, and nothing of
/// it is left behind if that fails.
///
/// # Errors
/// It exists, there is no such directory, or the disk is full.
pub fn file(path: &Path, text: &str) -> Result<(), Fault> {
    let fault = |error: &io::Error| {
        let mend = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                "a key in use is never overwritten: take another name, or delete the file first"
            }
            io::ErrorKind::NotFound => "make the directory first",
            io::ErrorKind::PermissionDenied => "run this as root, or take a directory of your own",
            _ => "take another place",
        };
        Fault::of_file(path, format!("it cannot be made: {error}"), mend)
    };
    let mut made = OpenOptions::new();
    let mut made = made.write(true).create_new(true).mode(0o600).open(path).map_err(|error| fault(&error))?;
    let written =
        made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).and_then(|()| sync_directory(path));
    written.map_err(|error| {
        // What could not be written is of no use; that it cannot be removed either is the same fault again.
        let _ = std::fs::remove_file(path);
        fault(&error)
    })
}

/// Makes sure that the name of a file is on the disk.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_made_closed_and_never_over_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        file(&path, "one").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let fault = file(&path, "two").unwrap_err();
        assert!(fault.to_string().contains("never overwritten"), "{fault}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        assert!(file(&directory.path().join("no/key"), "x").unwrap_err().mend.contains("directory"));
    }

    #[test]
    fn random_numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut seen = [0_u32; 7];
        for _ in 0..700 {
            seen[random_below(7).unwrap() as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 40), "{seen:?}");
        assert_ne!(random_key(32).unwrap(), random_key(32).unwrap());
    }
}
