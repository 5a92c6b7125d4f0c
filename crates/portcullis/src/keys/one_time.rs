//! The file of sequences that are used once, in knockd's format: one a line, written as a `sequence` is; lines that are
//! empty or begin with `#` don't count (knockd 0.8, measured). A used one is struck out with a `#`: a leading blank is
//! overwritten, as knockd does; where there is none, the `#` is put in front, so that no digit is lost.
//!
//! Both sides strike their own copy. [`make()`] writes lines with a leading blank, so that knockd can go on with the
//! file at any time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::door::{FlagTests, Sequence, sequence};
use portcullis_core::net::Protocol;
use zeroize::Zeroizing;

use super::make::{random_below, sync_directory};
use super::{Fault, Place, numbered};
use crate::config::doors::{Flags, Step, StepProtocol, WrittenStep};

/// The fewest and the most steps of sequences that are made.
pub const STEPS: std::ops::RangeInclusive<u8> = 3..=32;

/// The most sequences that are made at once.
pub const COUNT: u16 = 10_000;

/// What a file holds.
#[derive(Debug)]
pub struct OneTimeFile {
    place: Place,
    flags: Flags,
    window: Duration,
    /// The unused sequences in the file's order, each with the number of its line, from 1. It names the sequence as
    /// long as nobody puts lines into the file.
    pub sequences: Vec<(u32, Sequence)>,
    /// Lines that are no sequence, and are passed over.
    pub faults: Vec<Fault>,
}

/// Reads a file of sequences. `flags` is what is asked of a TCP step's flags where it does not say, `window` the time
/// for each sequence.
///
/// # Errors
/// It can't be read at all, or it is a credential, in which nothing can be struck.
pub fn read(place: &Place, flags: Flags, window: Duration) -> Result<OneTimeFile, Fault> {
    if place.is_credential() {
        return Err(Fault::of_file(
            place.path(),
            "it is a credential, in which used sequences cannot be struck",
            "write an absolute path, such as /var/lib/portcullis/NAME.sequences",
        ));
    }
    let text = place.read()?;
    let mut file =
        OneTimeFile { place: place.clone(), flags, window, sequences: Vec::new(), faults: Vec::new() };
    let mut lines: HashMap<Vec<Step>, u32> = HashMap::new();
    for (number, line) in numbered(&text) {
        let line = line.trim();
        let (is_struck, written) = match line.strip_prefix('#') {
            Some(struck) => (true, struck),
            None => (false, line),
        };
        if line.is_empty() {
            continue;
        }
        let steps = file.steps(written);
        let first = steps.as_ref().ok().and_then(|steps| lines.get(steps).copied());
        match (steps, first) {
            // Of what is struck only that counts which is a sequence, so that it does not come again.
            (Ok(steps), None) if is_struck => {
                lines.insert(steps, number);
            }
            _ if is_struck => {}
            (Err((message, mend)), _) => {
                file.faults.push(Fault::of_line(place.path(), number, message, mend))
            }
            (Ok(_), Some(first)) if !place.is_of_knockd() => {
                let message =
                    format!("it is the sequence of line {first} again, which may have been recorded");
                file.faults.push(Fault::of_line(place.path(), number, message, "delete the line"));
            }
            (Ok(steps), _) => {
                file.sequences.push((number, file.sequence(&steps)));
                lines.entry(steps).or_insert(number);
            }
        }
    }
    Ok(file)
}

impl OneTimeFile {
    /// Strikes the sequence of line `which`, and every one before it. When this returns, that is on the disk, and still
    /// is after a crash; a crash meanwhile leaves the old file or the new one. Owner and mode stay. Done twice it does no
    /// harm. It waits for the disk: nothing for the fast path.
    ///
    /// # Errors
    /// The file can't be rewritten, or line `which` is not what it was when it was read. Then nothing is struck, and
    /// the door must stay shut.
    pub fn strike(&self, which: u32) -> Result<(), Fault> {
        let shown = self.place.path();
        let read = self.sequences.iter().find(|(number, _)| *number == which);
        let Some((_, sequence)) = read else {
            let message = format!("there was no unused sequence in line {which}");
            return Err(Fault::of_file(shown, message, "reload, so that the file is read again"));
        };
        let failed = |error: io::Error| {
            Fault::of_file(
                shown,
                format!("the used sequence cannot be struck: {error}"),
                "give it a directory in which its owner can write, on a disk with room",
            )
        };
        let file = self.place.open()?;
        let text = self.place.read_from(&file)?;
        let mut struck = Zeroizing::new(String::with_capacity(text.len() + which as usize + 1));
        let mut is_same = false;
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            let written = line.trim();
            let is_open = number <= which && !written.is_empty() && !written.starts_with('#');
            let steps = if is_open { self.steps(written).ok() } else { None };
            if number == which {
                let was_struck = written.strip_prefix('#').and_then(|struck| self.steps(struck).ok());
                let found = steps.as_ref().or(was_struck.as_ref());
                is_same = found.is_some_and(|steps| self.sequence(steps) == *sequence);
            }
            match (steps, line.strip_prefix([' ', '\t'])) {
                (None, _) => struck.push_str(line),
                (Some(_), Some(rest)) => {
                    struck.push('#');
                    struck.push_str(rest);
                }
                (Some(_), None) => {
                    struck.push('#');
                    struck.push_str(line);
                }
            }
        }
        if !is_same {
            let message =
                format!("line {which} is no longer the sequence that it was, so nothing was struck");
            return Err(Fault::of_line(shown, which, message, "reload, so that the file is read again"));
        }
        // A link stays one: what it leads to is replaced.
        let path = shown.canonicalize().map_err(failed)?;
        replace(&path, &file, &struck).map_err(failed)
    }

    fn steps(&self, line: &str) -> Result<Vec<Step>, (String, &'static str)> {
        // What is wrong with a step would show it.
        let steps = WrittenStep::read_all(line).map_err(|slip| {
            let step = line[..slip.within.start.min(line.len())].matches(',').count() + 1;
            let mend = "write PORT or PORT:udp, 1 to 32 of them with commas between, or a # before the line";
            (format!("its step {step} is none"), mend)
        })?;
        Ok(steps.into_iter().map(|step| step.with(self.flags)).collect())
    }

    fn sequence(&self, steps: &[Step]) -> Sequence {
        let steps = steps.iter().map(|step| match step.protocol {
            StepProtocol::Tcp(flags) => sequence::Step {
                port: step.port,
                protocol: Protocol::Tcp,
                flags: FlagTests { must: flags.set, must_not: flags.clear },
            },
            StepProtocol::Udp => {
                sequence::Step { port: step.port, protocol: Protocol::Udp, flags: FlagTests::default() }
            }
        });
        Sequence::new(steps.collect(), self.window)
            .expect("a line that is not empty has 1 to 32 steps with ports")
    }
}

/// Puts `text` in the place of `old`, which lies at `path`.
fn replace(path: &Path, old: &File, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".striking");
    let aside: PathBuf = path.with_file_name(name);
    // Of a run that was broken off.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_aside(&aside, old, text).and_then(|()| fs::rename(&aside, path));
    if let Err(error) = written {
        // It is of no use; that it cannot be removed either is the same fault again.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    sync_directory(path)
}

fn write_aside(aside: &Path, old: &File, text: &str) -> io::Result<()> {
    let data = old.metadata()?;
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    let own = new.metadata()?;
    if (own.uid(), own.gid()) != (data.uid(), data.gid()) {
        fchown(&new, Some(data.uid()), Some(data.gid()))?;
    }
    new.set_permissions(fs::Permissions::from_mode(data.mode() & 0o7777))?;
    new.write_all(text.as_bytes())?;
    new.sync_all()
}

/// The text of a new file: `count` sequences of `steps` random ports each, of which neither any two nor their beginnings
/// are alike, and none is in the order of a scan.
///
/// # Errors
/// There are no random numbers.
pub fn make(count: u16, steps: u8) -> io::Result<Zeroizing<String>> {
    let mut text =
        Zeroizing::new(String::with_capacity(512 + usize::from(count) * (usize::from(steps) * 6 + 2)));
    text.push_str(
        "# Sequences that open a door once each. Secret: host and guest have a copy each, with mode 0600.\n\
         # Used ones are struck out with a #, on both sides; add no lines while the door is in use.\n",
    );
    let mut begun: HashMap<[u16; 2], ()> = HashMap::new();
    for _ in 0..count {
        let ports = loop {
            let mut ports: Vec<u16> = Vec::with_capacity(usize::from(steps));
            while ports.len() < usize::from(steps) {
                // Above the ports that services and scans prefer, and without 65535.
                let port = 10_000 + random_below(55_000)? as u16;
                if !ports.contains(&port) {
                    ports.push(port);
                }
            }
            let is_in_order = ports.is_sorted() || ports.iter().rev().is_sorted();
            if !is_in_order && begun.insert([ports[0], ports[1]], ()).is_none() {
                break ports;
            }
        };
        for (place, port) in ports.iter().enumerate() {
            let separator = if place == 0 { ' ' } else { ',' };
            write!(text, "{separator}{port}").expect("writing to a text cannot fail");
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        directory: tempfile::TempDir,
    }

    impl Scene {
        fn new(text: &str) -> Scene {
            let scene = Scene { directory: tempfile::tempdir().unwrap() };
            scene.write(text);
            scene
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("s")
        }

        fn write(&self, text: &str) {
            fs::write(self.path(), text).unwrap();
            fs::set_permissions(self.path(), fs::Permissions::from_mode(0o600)).unwrap();
        }

        fn text(&self) -> String {
            fs::read_to_string(self.path()).unwrap()
        }

        fn read(&self) -> OneTimeFile {
            read(&Place::closed(self.path()), Flags::FIRST, Duration::from_secs(10)).unwrap()
        }
    }

    fn numbers(file: &OneTimeFile) -> Vec<u32> {
        file.sequences.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn files_of_knockd_are_read_and_written_as_it_does() {
        // Before, which is struck, after: as knockd 0.8 did (tests/ancestors/knockd-cases.json, ots-*), but that no digit
        // is lost, and that of a wrong line above the used one nothing changes.
        for (before, open, which, after) in [
            (" 7000,8000\n 7100,8100\n", &[1, 2][..], 1, "#7000,8000\n 7100,8100\n"),
            ("7000,8000\n7100,8100\n", &[1, 2], 1, "#7000,8000\n7100,8100\n"),
            ("#000,8000\n7100,8100", &[2], 2, "#000,8000\n#7100,8100"),
            ("# c\n\n 7000,8000\n\n#x\n 7100\n", &[3, 6], 6, "# c\n\n#7000,8000\n\n#x\n#7100\n"),
            (" 70000,1\n 7000,8000\n 7100\n", &[2, 3], 2, " 70000,1\n#7000,8000\n 7100\n"),
            (" 7000 , 8000 : udp\r\n\t7100\r\n", &[1, 2], 2, "#7000 , 8000 : udp\r\n#7100\r\n"),
        ] {
            let scene = Scene::new(before);
            let file = scene.read();
            assert_eq!(numbers(&file), open, "{before:?}");
            file.strike(which).unwrap();
            assert_eq!(scene.text(), after, "{before:?}");
            // Again, as after a crash: nothing more happens.
            file.strike(which).unwrap();
            assert_eq!(scene.text(), after);
            assert!(numbers(&scene.read()).iter().all(|number| *number > which));
        }
    }

    #[test]
    fn a_line_that_is_none_is_said_without_what_stands_there() {
        let scene = Scene::new(" 7000,8000\n 7000,99999\n 1,2,0\n x\n 5:icmp\n 7000,8000\n#4,5\n 4, 5\n");
        let file = scene.read();
        assert_eq!(numbers(&file), [1]);
        let said: Vec<(u32, &str)> =
            file.faults.iter().map(|fault| (fault.line.unwrap(), fault.message.as_str())).collect();
        let again = "it is the sequence of line 1 again, which may have been recorded";
        let struck = "it is the sequence of line 7 again, which may have been recorded";
        assert_eq!(
            said,
            [
                (2, "its step 2 is none"),
                (3, "its step 3 is none"),
                (4, "its step 1 is none"),
                (5, "its step 1 is none"),
                (6, again),
                (8, struck)
            ]
        );
        assert!(!format!("{file:?}").contains("7000"), "{file:?}");
    }

    #[test]
    fn knockd_may_have_a_sequence_twice() {
        let scene = Scene::new(" 7000,8000\n 7000,8000\n");
        fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let file = read(&Place::of_knockd(scene.path()), Flags::ANY, Duration::from_secs(5)).unwrap();
        assert_eq!(numbers(&file), [1, 2]);
        file.strike(1).unwrap();
        assert_eq!(scene.text(), "#7000,8000\n 7000,8000\n");
        assert_eq!(scene.path().metadata().unwrap().mode() & 0o777, 0o644);
    }

    #[test]
    fn what_was_changed_meanwhile_is_not_struck() {
        let scene = Scene::new(" 7000,8000\n 7100,8100\n");
        let file = scene.read();
        let changed = " 1,2\n 7000,8000\n 7100,8100\n";
        scene.write(changed);
        let fault = file.strike(2).unwrap_err();
        assert!(
            fault.message.contains("nothing was struck") && !fault.to_string().contains("7000"),
            "{fault}"
        );
        assert!(file.strike(7).unwrap_err().message.contains("no unused sequence"));
        assert_eq!(scene.text(), changed);
        scene.write("# all gone\n");
        assert!(file.strike(1).is_err());
    }

    #[test]
    fn what_a_crash_left_aside_is_in_nobodys_way_and_links_stay() {
        let scene = Scene::new(" 7000,8000\n");
        let aside = scene.directory.path().join("s.striking");
        fs::write(&aside, "half").unwrap();
        let link = scene.directory.path().join("link");
        std::os::unix::fs::symlink("s", &link).unwrap();
        let file = read(&Place::closed(&link), Flags::FIRST, Duration::from_secs(10)).unwrap();
        file.strike(1).unwrap();
        assert_eq!(scene.text(), "#7000,8000\n");
        assert!(link.symlink_metadata().unwrap().is_symlink() && !aside.exists());
        assert_eq!(scene.path().metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_cannot_be_struck_is_an_error_and_leaves_all_as_it_was() {
        let scene = Scene::new(" 7000,8000\n");
        let file = scene.read();
        // A directory in the way of what is written aside stops root too.
        fs::create_dir(scene.directory.path().join("s.striking")).unwrap();
        let fault = file.strike(1).unwrap_err();
        assert!(fault.message.contains("cannot be struck"), "{fault}");
        assert_eq!(scene.text(), " 7000,8000\n");
        let credential = crate::config::doors::SecretFile::new("%d/s").unwrap();
        let credential = Place::of(&credential, Some(scene.directory.path())).unwrap();
        let fault = read(&credential, Flags::FIRST, Duration::from_secs(1)).unwrap_err();
        assert!(fault.message.contains("credential"), "{fault}");
    }

    #[test]
    fn sequences_that_are_made_are_all_different_and_none_is_a_scan() {
        let scene = Scene::new(&make(500, 3).unwrap());
        let file = scene.read();
        assert_eq!((file.sequences.len(), file.faults.len()), (500, 0));
        for (_, sequence) in &file.sequences {
            assert!(sequence.length() == 3 && !sequence.is_in_scanning_order());
        }
        assert!(scene.text().lines().skip(2).all(|line| line.starts_with(' ')));
    }
}
