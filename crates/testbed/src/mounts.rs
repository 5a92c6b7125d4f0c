//! The file system of a mount namespace: own /etc, /var, /run and /dev, the rest as outside.
//!
//! For programs with fixed paths (`/etc/hosts.deny`, `/var/run/portsentry.pid`, `/dev/log`).

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};

/// Devices without which programs don't run, none of which can harm the host.
const DEVICES: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "net", "pts"];

/// Furnishes the mount namespace of the calling thread, which must have been unshared just before.
pub(crate) fn furnish() -> io::Result<()> {
    let nothing = None::<&str>;
    // Before anything else: what is mounted from here on must not travel back to the host.
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;

    empty("/run")?;
    directories("/run", &["lock", "user"])?;
    // The new directories are furnished below /run, of which the host sees nothing, and then moved into place.
    let stage = Path::new("/run/testbed");

    empty_at(stage)?;
    copy_tree(Path::new("/etc"), stage)?;
    move_to(stage, "/etc")?;

    empty_at(stage)?;
    for device in DEVICES.iter().filter(|device| Path::new("/dev").join(device).exists()) {
        let (from, to) = (Path::new("/dev").join(device), stage.join(device));
        if from.is_dir() {
            fs::create_dir(&to)?
        } else {
            drop(fs::File::create(&to)?)
        }
        mount(Some(&from), &to, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)?;
    }
    symlink("/proc/self/fd", stage.join("fd"))?;
    symlink("pts/ptmx", stage.join("ptmx"))?;
    fs::create_dir(stage.join("shm"))?;
    move_to(stage, "/dev")?;
    fs::remove_dir(stage)?;

    empty("/var")?;
    directories("/var", &["cache", "lib", "log", "spool", "tmp"])?;
    fs::set_permissions("/var/tmp", fs::Permissions::from_mode(0o1777))?;
    symlink("/run", "/var/run")?;
    symlink("/run/lock", "/var/lock")
}

fn empty(place: &str) -> io::Result<()> {
    mount(Some("testbed"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
    Ok(())
}

fn empty_at(stage: &Path) -> io::Result<()> {
    fs::create_dir_all(stage)?;
    mount(Some("testbed"), stage, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
    Ok(())
}

fn move_to(stage: &Path, place: &str) -> io::Result<()> {
    mount(Some(stage), place, None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    Ok(())
}

fn directories(place: &str, names: &[&str]) -> io::Result<()> {
    names.iter().try_for_each(|name| fs::create_dir(Path::new(place).join(name)))
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            fs::create_dir(&target)?;
            fs::set_permissions(&target, entry.metadata()?.permissions())?;
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}
