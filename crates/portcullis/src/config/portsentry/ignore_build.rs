//! The making of the ignore file, which was the work of init scripts: this host's own addresses change, and an ignore
//! file has to follow.
//!
//! - Debian's script made the whole file out of `portsentry.ignore.static` and the addresses of all interfaces.
//! - That of Red Hat and of the how-tos kept what stands above a box that says "Do NOT edit below this", and wrote
//!   below it the addresses of all interfaces, the gateways, the nameservers and 0.0.0.0.
//!
//! Neither knew IPv6, and Debian's finds no address with the ifconfig of today (1.2-14, measured). A file of neither
//! form is its administrator's and never touched.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::super::fault::Fault;
use super::super::toml::read_bytes;
use super::{Diagnostic, Dialect, decode, read_ignore};

/// What the scripts looked for.
const BOX: &str = "Do NOT edit below this";

/// What our file of Debian's form says above the addresses of this host.
const OF_THIS_HOST: &str = "# Addresses of this host";

/// Where the part begins that is made by the program or by a script, if `text` has one.
pub(super) fn made_from(text: &str) -> Option<usize> {
    [OF_THIS_HOST, BOX].into_iter().filter_map(|mark| text.find(mark)).min()
}

/// The line, counted from 1, where the part begins that is made by the program or by a script, if `text` has one.
#[must_use]
pub fn made_from_line(text: &str) -> Option<usize> {
    made_from(text).map(|at| 1 + text[..at].matches('\n').count())
}

/// Addresses that must never be blocked, as the host has them now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Of all interfaces, loopback too.
    pub addresses: Vec<IpAddr>,
    /// Default gateways.
    pub gateways: Vec<IpAddr>,
    /// Nameservers of resolv.conf(5).
    pub nameservers: Vec<IpAddr>,
}

/// What has become of an ignore file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// Whether it was written.
    pub outcome: RefreshOutcome,
    /// What of the static part has no meaning and was left out.
    pub diagnostics: Vec<Diagnostic>,
}

/// Whether an ignore file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// It holds the addresses of now.
    Written,
    /// It held them already.
    Unchanged,
    /// It has neither form, so it is left alone.
    Administrators,
}

/// Brings the ignore file at `path` up to date, if it is one that init scripts made.
///
/// The new file takes the place of the old one in one step, with its owner, and mode 0644. Behind a link, the file that
/// it points to is the one that changes.
///
/// # Errors
/// A file cannot be read, or the new one not written; then the old one stands.
pub fn refresh_ignore(path: &Path, own: &OwnAddresses) -> Result<Refreshed, Box<Fault>> {
    let static_path = static_of(path);
    let now = read_if_there(path)?;
    let (text, diagnostics) = match read_if_there(&static_path)? {
        Some(kept) => {
            let (text, diagnostics) = debian(&static_path, &kept, own);
            (Some(text), diagnostics)
        }
        None => (now.as_ref().and_then(|now| red_hat(now, own)), Vec::new()),
    };
    let outcome = match text {
        None => RefreshOutcome::Administrators,
        Some(text) if now.as_ref() == Some(&text) => RefreshOutcome::Unchanged,
        Some(text) => {
            replace(path, &text).map_err(|error| {
                let says = format!("the ignore file cannot be written: {error}");
                Fault::of_file(path, says, "addresses of this host are protected all the same")
            })?;
            RefreshOutcome::Written
        }
    };
    Ok(Refreshed { outcome, diagnostics })
}

/// Whether there is no ignore file at `path`, but the static part from which the start makes one.
#[must_use]
pub fn is_made_at_the_start(path: &Path) -> bool {
    !path.exists() && static_part(path).is_some()
}

/// The static part from which the ignore file at `path` is made at each start, if it has one.
#[must_use]
pub fn static_part(path: &Path) -> Option<PathBuf> {
    Some(static_of(path)).filter(|path| path.exists())
}

/// The file of Debian's form: what of the static part is an address, as it stands there, and our addresses. `path` is
/// that of the static part.
#[must_use]
pub fn debian(path: &Path, kept: &str, own: &OwnAddresses) -> (String, Vec<Diagnostic>) {
    let (entries, diagnostics) = read_ignore(path, kept, Dialect::One);
    let lines: Vec<&str> = kept.lines().collect();
    let mut text = format!(
        "# DO NOT EDIT: portcullis makes this file anew at each start and whenever an address of this host changes.\n\
         # What shall be ignored for good belongs in {}.\n",
        path.display().to_string().escape_default()
    );
    for line in entries.iter().filter_map(|entry| lines.get(entry.line - 1)) {
        text += line;
        text.push('\n');
    }
    text += OF_THIS_HOST;
    text.push('\n');
    list(&mut text, own.addresses.iter().copied());
    (text, diagnostics)
}

/// The file of the other form, or `None` if `text` has no such box.
#[must_use]
pub fn red_hat(text: &str, own: &OwnAddresses) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let says = lines.iter().position(|line| line.starts_with('#') && line.contains(BOX))?;
    // The scripts cut two lines above the words, whatever stood there; only lines of the box are ours to cut.
    let above = lines[..says].iter().rev().take(2).take_while(|line| line.starts_with('#')).count();
    let mut new: String = lines[..says - above].iter().flat_map(|line| [*line, "\n"]).collect();
    let edge = format!("{}\n", "#".repeat(60));
    new += &edge;
    new += "#\n";
    new += &format!("# {BOX} line: portcullis writes it anew at each\n");
    new += "# start and whenever an address of this host changes\n#\n";
    new += &edge;
    let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let all = own.addresses.iter().chain(&own.gateways).chain(&own.nameservers).copied();
    list(&mut new, all.chain([nobody]));
    Some(new)
}

/// Each address once, in the order of first mention.
fn list(text: &mut String, addresses: impl Iterator<Item = IpAddr>) {
    let mut seen = BTreeSet::new();
    for address in addresses.filter(|address| seen.insert(*address)) {
        text.push_str(&format!("{address}\n"));
    }
}

/// `portsentry.ignore.static` for `portsentry.ignore`.
fn static_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".static");
    PathBuf::from(name)
}

fn read_if_there(path: &Path) -> Result<Option<String>, Box<Fault>> {
    match path.try_exists() {
        Ok(false) => Ok(None),
        // What cannot even be looked at is reported by the reading.
        _ => read_bytes(path).map(|bytes| Some(decode(&bytes))),
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let (path, owner) = match fs::canonicalize(path) {
        Ok(path) => {
            let old = path.metadata()?;
            (path, Some((old.uid(), old.gid())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
        Err(error) => return Err(error),
    };
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    let aside = PathBuf::from(aside);
    // Of an earlier process with this number, that died in between.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(&aside)?;
        // In the background the umask is 077. Nobody sees the file under its name yet.
        file.set_permissions(Permissions::from_mode(0o644))?;
        if let Some((user, group)) = owner {
            fchown(&file, Some(user), Some(group))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, &path)
    };
    write().inspect_err(|_| {
        // The error that is told is the first one.
        let _ = fs::remove_file(&aside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    use proptest::prelude::*;

    fn own() -> OwnAddresses {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        OwnAddresses {
            addresses: parse(&["127.0.0.1", "::1", "192.0.2.7", "2001:db8::7"]),
            gateways: parse(&["192.0.2.1", "fe80::1"]),
            nameservers: parse(&["192.0.2.1", "198.51.100.53"]),
        }
    }

    const STATIC: &str = "\
# Keep these
127.0.0.1/32
0.0.0.0
  10.1.0.0/16   # the office
192.0.2.9 host nine
host.example
2001:db8:1::/48
";

    #[test]
    fn debians_form_is_the_static_part_and_our_addresses() {
        let (text, diagnostics) = debian(Path::new("/e/i.static"), STATIC, &own());
        let expected = "\
# DO NOT EDIT: portcullis makes this file anew at each start and whenever an address of this host changes.
# What shall be ignored for good belongs in /e/i.static.
127.0.0.1/32
0.0.0.0
  10.1.0.0/16   # the office
192.0.2.9 host nine
2001:db8:1::/48
# Addresses of this host
127.0.0.1
::1
192.0.2.7
2001:db8::7
";
        assert_eq!(text, expected);
        assert!(diagnostics.iter().any(|said| said.to_string().contains("host.example")), "{diagnostics:?}");
    }

    #[test]
    fn what_we_have_written_ourselves_is_not_remarked_on() {
        let made = debian(Path::new("/e/i.static"), STATIC, &own()).0;
        let boxed = red_hat("10.0.0.9\n# Do NOT edit below this\n", &own()).unwrap();
        for text in [&made, &boxed] {
            let (entries, diagnostics) = read_ignore(Path::new("/e/i"), text, Dialect::One);
            assert!(entries.iter().any(|entry| entry.prefix.to_string() == "2001:db8::7/128"), "{text}");
            assert!(!diagnostics.iter().any(|said| said.to_string().contains("db8::7")), "{diagnostics:?}");
        }
        let (_, diagnostics) = read_ignore(Path::new("/e/i"), &made, Dialect::One);
        let said: Vec<String> = diagnostics.iter().map(Diagnostic::on_one_line).collect();
        let of_six = "/e/i:7: read as meant: PortSentry 1.x knew no IPv6; 2001:db8:1::/48 is ignored now; nothing to \
                      mend for portcullis";
        assert!(said.iter().any(|line| line == of_six), "{said:?}");
    }

    #[test]
    fn a_file_that_the_start_makes_is_not_called_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portsentry.ignore");
        assert!(!is_made_at_the_start(&path));
        fs::write(static_of(&path), "192.0.2.1\n").unwrap();
        assert!(is_made_at_the_start(&path));
        assert_eq!(refresh_ignore(&path, &own()).unwrap().outcome, RefreshOutcome::Written);
        assert!(!is_made_at_the_start(&path));
    }

    #[test]
    fn the_other_form_keeps_what_stands_above_the_box() {
        let below = "\
############################################################
#
# Do NOT edit below this line: portcullis writes it anew at each
# start and whenever an address of this host changes
#
############################################################
127.0.0.1
::1
192.0.2.7
2001:db8::7
192.0.2.1
fe80::1
198.51.100.53
0.0.0.0
";
        for (text, kept) in [
            (
                "# mine\n10.0.0.9\n\n##########\n#        #\n# Do NOT edit below this #\n#\n###\n203.0.113.1\n",
                "# mine\n10.0.0.9\n\n",
            ),
            ("10.0.0.9\n# Do NOT edit below this\n203.0.113.1\n", "10.0.0.9\n"),
            ("#\n# Do NOT edit below this\n", ""),
            ("# Do NOT edit below this", ""),
            ("10.0.0.9\r\n####\r\n#\r\n# Do NOT edit below this\r\n", "10.0.0.9\n"),
        ] {
            let new = red_hat(text, &own()).unwrap();
            assert_eq!(new, format!("{kept}{below}"), "{text}");
            assert_eq!(red_hat(&new, &own()), Some(new.clone()), "made twice, it is the same");
        }
        assert_eq!(red_hat("10.0.0.9\nDo NOT edit below this\n", &own()), None);
    }

    #[test]
    fn whoever_stands_in_the_new_file_is_ignored() {
        for text in
            [debian(Path::new("s"), STATIC, &own()).0, red_hat("# Do NOT edit below this", &own()).unwrap()]
        {
            let (entries, _) = read_ignore(Path::new("i"), &text, Dialect::One);
            for address in own().addresses {
                assert!(entries.iter().any(|entry| entry.prefix.contains(address)), "{address}\n{text}");
            }
        }
    }

    #[test]
    fn a_file_of_an_init_script_is_brought_up_to_date_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portsentry.ignore");
        let refreshed = || refresh_ignore(&path, &own()).unwrap().outcome;
        assert_eq!(refreshed(), RefreshOutcome::Administrators);
        assert!(!path.exists(), "nobody wanted one");

        fs::write(&path, "10.0.0.9\n").unwrap();
        assert_eq!(refreshed(), RefreshOutcome::Administrators);
        assert_eq!(fs::read_to_string(&path).unwrap(), "10.0.0.9\n");

        fs::write(&path, "10.0.0.9\n#\n#\n# Do NOT edit below this #\n203.0.113.1\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        // Another owner, if we may: that is what root has to keep.
        let owner = if chown(&path, Some(65_534), Some(65_534)).is_ok() {
            65_534
        } else {
            path.metadata().unwrap().uid()
        };
        assert_eq!(refreshed(), RefreshOutcome::Written);
        let metadata = path.metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o644, owner));
        assert_eq!(refreshed(), RefreshOutcome::Unchanged);
        let inode = metadata.ino();
        assert_eq!(path.metadata().unwrap().ino(), inode, "what is up to date is not written");

        fs::write(directory.path().join("portsentry.ignore.static"), STATIC).unwrap();
        assert_eq!(refreshed(), RefreshOutcome::Written);
        assert!(fs::read_to_string(&path).unwrap().contains("# the office\n"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn behind_a_link_the_file_itself_changes_and_the_link_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("i"), directory.path().join("real"));
        fs::write(&other, "# Do NOT edit below this\n").unwrap();
        symlink(&other, &path).unwrap();
        assert_eq!(refresh_ignore(&path, &own()).unwrap().outcome, RefreshOutcome::Written);
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert!(fs::read_to_string(&other).unwrap().contains("\n192.0.2.7\n"));
    }

    #[test]
    fn what_cannot_be_written_is_said_and_the_old_file_stands() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("d.static"), "10.0.0.1\n").unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        let fault = refresh_ignore(&directory.path().join("d"), &own()).unwrap_err();
        assert!(!fault.mend.is_empty(), "{fault}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_grow(text in "((# ?|#+|# Do NOT edit below this|[0-9.:/ ]{0,12}|\\PC{0,6})\r?\n){0,8}") {
            if let Some(new) = red_hat(&text, &own()) {
                prop_assert_eq!(red_hat(&new, &own()), Some(new.clone()));
            }
            let (made, _) = debian(Path::new("s"), &text, &own());
            prop_assert!(made.lines().count() <= text.lines().count() + 7);
        }
    }
}
