//! Puts a new content in the place of a file, wholly or not at all.

use std::ffi::{CStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};

use super::sync_directory;

/// As large as the kernel lets a list of names or a value be (xattr(7), Limits).
const LARGEST_ATTRIBUTE: usize = 64 << 10;

/// Gives the file that `path` leads to, and that is open as `old`, this content. Its mode, owner and extended attributes
/// are kept.
///
/// # Errors
/// It can't be replaced; nothing has changed then.
pub(super) fn replace(path: &Path, old: &File, content: &[u8]) -> io::Result<()> {
    let real = fs::canonicalize(path)?;
    let (Some(directory), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    if old.metadata()?.nlink() != 1 {
        return Err(io::Error::other("it has another hard link, which would keep the old content"));
    }
    let mut aside = OsString::from(".");
    aside.push(name);
    aside.push(".portcullis");
    let aside = directory.join(aside);
    // What a crash has left behind; whoever holds the lock is alone here.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let result = write_like(old, &aside, content).and_then(|()| fs::rename(&aside, &real));
    if let Err(error) = result {
        // If it can't be removed either, the next replacement tries again, and the message is about the cause.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    // The content is in its place; a failure here only means that a power cut may bring the old one back, which has
    // every line that the new one has.
    let _ = sync_directory(directory);
    Ok(())
}

fn write_like(old: &File, aside: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    file.write_all(content)?;
    let like = old.metadata()?;
    // The owner first: giving a file away takes special bits from its mode.
    fchown(&file, Some(like.uid()), Some(like.gid()))?;
    file.set_permissions(like.permissions())?;
    copy_attributes(old, &file)?;
    file.sync_all()
}

/// SELinux label, access control list and whatever else there is.
fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    let mut names = vec![0; LARGEST_ATTRIBUTE];
    let length = match flistxattr(from, &mut names[..]) {
        // A file system without them.
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        listed => listed?,
    };
    let (mut value, mut other) = (vec![0; LARGEST_ATTRIBUTE], vec![0; LARGEST_ATTRIBUTE]);
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        let length = fgetxattr(from, name, &mut value[..])?;
        let value = &value[..length];
        // The label may be right by itself, where we may not set one.
        let is_right = fgetxattr(to, name, &mut other[..]).is_ok_and(|length| &other[..length] == value);
        if !is_right {
            fsetxattr(to, name, value, XattrFlags::empty())?;
        }
    }
    Ok(())
}
