//! Reader of our own configuration files. It goes on after a fault, so that one run shows them all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};
use serde::Serialize;

use super::doors::{self, DoorConfig, DoorKind, Draft, MOST_DOORS, SecretFile};
use super::duration::Span;
use super::fault::{Fault, Faults, Place, Source};
use super::schema::{self, Key, SECTIONS, Section};
use super::suggest::nearest;
use super::value;
use super::{By, Config};
use portcullis_sys::filter::MOST_NETWORKS;

/// No configuration is that long; whatever is, is another file.
const LARGEST: u64 = 1024 * 1024;

/// How many faults of one file are told; a file with more is no configuration, or its faults have one cause.
const MOST_FAULTS: usize = 100;

/// Reads `files` in order, each over the ones before it: a key that a later file names replaces the earlier value,
/// lists as a whole. Without files it gives the defaults.
///
/// # Errors
/// All faults of all files.
pub fn load(files: &[PathBuf]) -> Result<Config, Faults> {
    load_with_overrides(files).map(|(config, _)| config)
}

/// A key that stands in two files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Override {
    /// The section of the key, such as `watch` or `door.ssh`.
    pub section: String,
    /// The key.
    pub key: &'static str,
    /// The file and line that hold.
    pub by: Place,
    /// The file and line that no longer do.
    pub over: Place,
}

/// As [`load`], and tells which keys stand in more than one file.
///
/// # Errors
/// All faults of all files.
pub fn load_with_overrides(files: &[PathBuf]) -> Result<(Config, Vec<Override>), Faults> {
    read_files(files).finish().map(|read| (read.config, read.overrides))
}

/// As [`load_with_overrides`], and looks at the files with secrets that doors name: whether they are there, and
/// nobody else can read them. This is what a program has to use that acts.
///
/// # Errors
/// All faults of all files, or of the secrets.
pub fn load_for_run(files: &[PathBuf]) -> Result<(Config, Vec<Override>), Faults> {
    let read = read_files(files).finish()?;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let wrong = |(file, at): (&SecretFile, &Fault)| {
        let wrong = file.inspect(credentials.as_deref()).err()?;
        Some(Fault { message: format!("{}: {}", at.message, wrong.message), mend: wrong.mend, ..at.clone() })
    };
    let faults: Vec<Fault> = read.secrets.iter().filter_map(|(file, at)| wrong((file, at))).collect();
    if faults.is_empty() { Ok((read.config, read.overrides)) } else { Err(Faults(faults)) }
}

fn read_files(files: &[PathBuf]) -> Reading {
    let mut reading = Reading::default();
    for path in files {
        match read_text(path) {
            Ok(text) => reading.add(path, &text),
            Err(fault) => reading.faults.push(*fault),
        }
    }
    reading
}

/// Reads one text as if it stood in a file at `path`.
///
/// # Errors
/// All faults of the text.
pub fn parse(path: &Path, text: &str) -> Result<Config, Faults> {
    let mut reading = Reading::default();
    reading.add(path, text);
    reading.finish().map(|read| read.config)
}

/// The files below `directory` that [`load`] is meant for, in order: `portcullis.toml`, then `conf.d/*.toml` by
/// name. Those that are not there are left out, hidden ones too.
///
/// # Errors
/// The directory `conf.d` cannot be read.
pub fn standard_files(directory: &Path) -> Result<Vec<PathBuf>, Faults> {
    let mut files = Vec::new();
    let main = directory.join("portcullis.toml");
    if main.symlink_metadata().is_ok() {
        files.push(main);
    }
    let beside = directory.join("conf.d");
    let listed: io::Result<Vec<PathBuf>> = match beside.read_dir() {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let mut listed = listed.map_err(|error| Faults(vec![unreadable(&beside, &error)]))?;
    listed.retain(|path| {
        path.extension().is_some_and(|extension| extension == "toml")
            && !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    });
    listed.sort();
    files.extend(listed);
    Ok(files)
}

/// The bytes of a file that somebody wrote by hand, at most 1 MiB of them.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, Box<Fault>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Box::new(Fault::of_file(
            path,
            "larger than 1 MiB, so this is no configuration",
            "give the path of a configuration file",
        )));
    }
    Ok(bytes)
}

fn read_text(path: &Path) -> Result<String, Box<Fault>> {
    String::from_utf8(read_bytes(path)?).map_err(|error| {
        let whole = String::from_utf8_lossy(error.as_bytes());
        let at = error.utf8_error().valid_up_to();
        let source = Source { path, text: &whole };
        Box::new(source.fault(
            at..at + 1,
            format!("not UTF-8: the byte 0x{:02x} stands here", error.as_bytes()[at]),
            "save the file as UTF-8 (`iconv -f latin1 -t utf8` converts an older one)",
        ))
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    let (why, mend) = match error.kind() {
        io::ErrorKind::NotFound => ("there is no such file", "check the path"),
        io::ErrorKind::PermissionDenied => {
            ("you may not read it", "run as root, or let the group portcullis read it")
        }
        io::ErrorKind::IsADirectory => ("this is a directory", "name the file inside"),
        _ => return Fault::of_file(path, format!("cannot be read: {error}"), "check the path"),
    };
    Fault::of_file(path, why, mend)
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    config: Config,
    faults: Vec<Fault>,
    /// Where each key was written last.
    places: BTreeMap<(String, &'static str), Place>,
    /// The doors in the order in which they were written first.
    doors: Vec<Building>,
    overrides: Vec<Override>,
    /// Where `protect` of `[watch]` was written last; a fault that still lacks its message.
    networks_at: Option<Fault>,
    /// Where `ban` was written last; a fault that still lacks its message.
    ban_at: Option<Fault>,
    /// Where `ban_max` was written last, likewise.
    ban_max_at: Option<Fault>,
    /// Where `hold` was written last, likewise.
    hold_at: Option<Fault>,
    /// Where `hold_max` was written last, likewise.
    hold_max_at: Option<Fault>,
    /// Where each key of `[judge]` was written last, likewise.
    judge_at: BTreeMap<&'static str, Fault>,
}

/// A door whose keys are being read; each file may add some.
struct Building {
    name: String,
    draft: Draft,
    /// Where its name was written first; a fault that lacks its message.
    header: Fault,
    /// Where each of its keys was written last, likewise.
    places: BTreeMap<&'static str, Fault>,
}

/// Everything that was read, without faults.
struct Whole {
    config: Config,
    overrides: Vec<Override>,
    /// Each file with a secret, and where it is named: a fault whose message names the key and lacks what is wrong.
    secrets: Vec<(SecretFile, Fault)>,
}

/// The faults of one file.
#[derive(Default)]
struct Found {
    /// Each with its place.
    faults: Vec<(usize, Fault)>,
    /// What a fault of syntax has made unreliable; further faults there would only repeat it.
    damaged: Vec<Range<usize>>,
    /// How many more there are than are told.
    more: usize,
}

impl Found {
    /// Adds a fault at `at`, unless it repeats one, or there are too many; whether it did.
    fn add(&mut self, at: usize, fault: impl FnOnce() -> Fault) -> bool {
        if self.damaged.iter().any(|range| range.contains(&at)) {
            return false;
        }
        if self.faults.len() >= MOST_FAULTS {
            self.more += 1;
            return false;
        }
        self.faults.push((at, fault()));
        true
    }
}

impl Reading {
    fn add(&mut self, path: &Path, text: &str) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Source { path, text };
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut found = Found::default();
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let mend = || syntax_mend(&source, error.message(), span.start);
            if found.add(span.start, || source.fault(span.clone(), error.message(), mend())) {
                found.damaged.push(damage(text, span.start));
            }
        }
        self.read_sections(&source, table.get_ref(), &mut found);
        found.faults.sort_by_key(|(at, _)| *at);
        self.faults.extend(found.faults.into_iter().map(|(_, fault)| fault));
        if found.more > 0 {
            let says = format!("there are {} further faults", found.more);
            self.faults.push(Fault::of_file(path, says, "mend those above first"));
        }
    }

    fn finish(mut self) -> Result<Whole, Faults> {
        let respond = &self.config.respond;
        // The defaults agree, so at least one of each two was written.
        let ban =
            (respond.ban.unwrap_or_default(), respond.ban_max, self.ban_max_at.take(), self.ban_at.take());
        let hold = (respond.hold, respond.hold_max, self.hold_max_at.take(), self.hold_at.take());
        let mut too_long = Vec::new();
        for (key, (first, longest, longest_at, first_at)) in [("ban", ban), ("hold", hold)] {
            let at = longest_at.or(first_at).filter(|_| first > longest);
            let (first, longest) = (Span(first), Span(longest));
            too_long.extend(at.map(|at| Fault {
                message: format!("[respond] {key} = \"{first}\" is longer than {key}_max = \"{longest}\""),
                mend: format!("write {key}_max = \"{first}\" or longer, or a shorter {key}"),
                ..at
            }));
        }
        let networks = self.config.watch.protect.len();
        too_long.extend(self.networks_at.take().filter(|_| networks > MOST_NETWORKS).map(|at| Fault {
            message: format!("[watch] protect names {networks} networks, more than the filter has room for"),
            mend: format!("name at most {MOST_NETWORKS}, wider ones"),
            ..at
        }));
        if self.faults.is_empty() {
            self.faults = too_long;
        }
        if self.faults.is_empty() {
            self.faults.extend(of_the_other_judge(&self.config, &self.judge_at));
        }
        let mut secrets = Vec::new();
        // Keys that could not be read have their defaults now; what follows from them would only mislead.
        let is_whole = self.faults.is_empty();
        for door in std::mem::take(&mut self.doors).into_iter().filter(|_| is_whole) {
            match door.draft.finish(&door.name, &door.header, &door.places) {
                Ok(config) => {
                    secrets.extend(secrets_of(&config, &door.header, &door.places));
                    self.config.doors.push(config);
                }
                Err(faults) => self.faults.extend(faults),
            }
        }
        match self.faults.is_empty() {
            true => Ok(Whole { config: self.config, overrides: self.overrides, secrets }),
            false => Err(Faults(self.faults)),
        }
    }

    fn read_sections(&mut self, source: &Source, table: &DeTable, found: &mut Found) {
        for (name, value) in table {
            let written: &str = name.get_ref();
            match (schema::section(written), value.get_ref()) {
                (None, DeValue::Table(doors)) if written == "door" => self.read_doors(source, doors, found),
                (None, _) if written == "door" => {
                    found.add(name.span().start, || nameless_door(source, name.span()));
                }
                (Some(section), DeValue::Table(keys)) => self.read_keys(source, section, keys, found),
                (Some(section), _) => {
                    found.add(name.span().start, || {
                        source.fault(
                            name.span(),
                            format!("\"{}\" is a section", section.name),
                            format!("write [{}] on a line of its own, its keys below it", section.name),
                        )
                    });
                }
                (None, other) => {
                    found.add(name.span().start, || unknown_section(source, name.span(), written, other));
                }
            }
        }
    }

    fn read_keys(&mut self, source: &Source, section: &'static Section, keys: &DeTable, found: &mut Found) {
        for (name, value) in keys {
            let written: &str = name.get_ref();
            let Some(key) = section.key(written) else {
                found.add(name.span().start, || unknown_key(source, name.span(), section, written));
                continue;
            };
            let span = read_value(source, section.name, key, name.span(), value, &mut self.config, found);
            self.note(source, section.name, key.name, &span);
            match (section.name, key.name) {
                ("watch", "protect") => self.networks_at = Some(source.fault(span, "", "")),
                ("respond", "ban") => self.ban_at = Some(source.fault(span, "", "")),
                ("judge", key) => {
                    self.judge_at.insert(key, source.fault(span, "", ""));
                }
                ("respond", "ban_max") => self.ban_max_at = Some(source.fault(span, "", "")),
                ("respond", "hold") => self.hold_at = Some(source.fault(span, "", "")),
                ("respond", "hold_max") => self.hold_max_at = Some(source.fault(span, "", "")),
                _ => {}
            }
        }
    }

    /// Remembers where a key was written, and whether it stood elsewhere before.
    fn note(&mut self, source: &Source, section: &str, key: &'static str, span: &Range<usize>) {
        let here = Place { path: source.path.to_owned(), line: source.place(span.start).0 };
        if let Some(over) = self.places.insert((section.to_owned(), key), here.clone()) {
            self.overrides.push(Override { section: section.to_owned(), key, by: here, over });
        }
    }

    fn read_doors(&mut self, source: &Source, doors: &DeTable, found: &mut Found) {
        let mut doors: Vec<_> = doors.iter().collect();
        // The parser sorts by name; a door's number is its place in the file.
        doors.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in doors {
            let (span, written): (_, &str) = (name.span(), name.get_ref());
            let Some(keys) = value.get_ref().as_table() else {
                found.add(span.start, || nameless_door(source, span.clone()));
                continue;
            };
            if let Err(mend) = door_name(written) {
                let says = format!("\"{written}\" can't be the name of a door");
                found.add(span.start, || source.fault(span.clone(), says, mend));
                continue;
            }
            let place = match self.doors.iter().position(|door| door.name == written) {
                Some(place) => place,
                None if self.doors.len() >= MOST_DOORS => {
                    let says = format!("there are more than {MOST_DOORS} doors");
                    let mend = "write several steps or several guests into one door";
                    found.add(span.start, || source.fault(span.clone(), says, mend));
                    continue;
                }
                None => {
                    let header = source.fault(span.clone(), "", "");
                    let (name, draft, places) = (written.to_owned(), Draft::default(), BTreeMap::new());
                    self.doors.push(Building { name, draft, header, places });
                    self.doors.len() - 1
                }
            };
            self.read_door(source, place, keys, found);
        }
    }

    fn read_door(&mut self, source: &Source, place: usize, keys: &DeTable, found: &mut Found) {
        let label = format!("door.{}", self.doors[place].name);
        for (name, value) in keys {
            let written: &str = name.get_ref();
            let Some((_, key)) = doors::key(written) else {
                found.add(name.span().start, || unknown_door_key(source, name.span(), &label, written));
                continue;
            };
            let draft = &mut self.doors[place].draft;
            let span = read_value(source, &label, key, name.span(), value, draft, found);
            self.note(source, &label, key.name, &span);
            self.doors[place].places.insert(key.name, source.fault(span, "", ""));
        }
    }
}

/// Keys that would change something, if the other judge were chosen: whoever wrote them expects it.
fn of_the_other_judge(config: &Config, written: &BTreeMap<&'static str, Fault>) -> Vec<Fault> {
    let (chosen, other, keys) = match config.judge.by {
        By::Evidence => ("evidence", "trigger", schema::TRIGGER_KEYS),
        By::Trigger => ("trigger", "evidence", schema::EVIDENCE_KEYS),
    };
    let says = |key: &&'static str| {
        let at = written.get(key)?;
        let key = schema::section("judge")?.key(key)?;
        let (name, value, default) = (key.name, key.written(config), key.written(&Config::default()));
        (value != default).then(|| Fault {
            message: format!("[judge] {name} = {value} means nothing to the judge \"{chosen}\""),
            mend: format!("write by = \"{other}\" beside it, or take the line out"),
            ..at.clone()
        })
    };
    keys.iter().filter_map(says).collect()
}

/// Reads one value into its place; gives the bytes where it stands.
fn read_value<T>(
    source: &Source,
    section: &str,
    key: &'static Key<T>,
    name: Range<usize>,
    value: &Spanned<DeValue>,
    target: &mut T,
    found: &mut Found,
) -> Range<usize> {
    // Values that the parser made up while it recovered have no place of their own.
    let span = if value.span().is_empty() { name } else { value.span() };
    let wrongs =
        value::read(&key.form, value.get_ref(), span.start, &source.text[clamp(source.text, &span)], target);
    for wrong in wrongs {
        let at = match wrong.within {
            Some(part) => span.start + part.start..span.start + part.end,
            None => span.clone(),
        };
        let message = format!("[{section}] {}: {}", key.name, wrong.message);
        let mend = wrong.mend.unwrap_or_else(|| format!("write {} = …, {}", key.name, key.form.phrase()));
        found.add(at.start, || source.fault(at.clone(), message, mend.replace("{key}", key.name)));
    }
    span
}

/// The files with secrets that a door names, each with where it is named.
fn secrets_of(
    door: &DoorConfig,
    header: &Fault,
    places: &BTreeMap<&'static str, Fault>,
) -> Vec<(SecretFile, Fault)> {
    let (key, files): (_, Vec<&SecretFile>) = match &door.kind {
        DoorKind::Sequence(_) => return Vec::new(),
        DoorKind::OneTime(kind) => ("sequences_file", vec![&kind.sequences]),
        DoorKind::Rotating(kind) => ("keys", kind.keys.iter().collect()),
        DoorKind::Spa(kind) => ("users", vec![&kind.users]),
    };
    let at =
        Fault { message: format!("[door.{}] {key}", door.name), ..places.get(key).unwrap_or(header).clone() };
    files.into_iter().map(|file| (file.clone(), at.clone())).collect()
}

/// Whether this can be the name of a door (it becomes part of the names of sets in the kernel); otherwise what to
/// write.
fn door_name(name: &str) -> Result<(), String> {
    let fits = |name: &str| {
        name.len() <= 31
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    let lower = name.to_ascii_lowercase();
    match (fits(name), fits(&lower)) {
        (true, _) => Ok(()),
        (false, true) => Err(format!("write {lower}")),
        (false, false) => {
            Err("write a-z, 0-9, - and _, a letter or digit first; at most 31 in all".to_owned())
        }
    }
}

fn nameless_door(source: &Source, span: Range<usize>) -> Fault {
    source.fault(span, "a door needs a name", "write [door.NAME] on a line of its own, such as [door.ssh]")
}

fn unknown_door_key(source: &Source, span: Range<usize>, label: &str, written: &str) -> Fault {
    let mend = match (nearest(written, doors::names()), section_of(written)) {
        (Some(name), _) => format!("did you mean \"{name}\"?"),
        (None, Some(other)) => format!("\"{written}\" belongs below [{}]", other.name),
        (None, None) => format!("a door has the keys {}", doors::names().collect::<Vec<_>>().join(", ")),
    };
    source.fault(span, format!("[{label}] has no key \"{written}\""), mend)
}

/// The part of `range` that lies within `text` and on character boundaries.
fn clamp(text: &str, range: &Range<usize>) -> Range<usize> {
    if text.get(range.clone()).is_some() { range.clone() } else { 0..0 }
}

/// What a syntax fault at `at` makes unreliable: its line, and where it stands in a section's header, all of that
/// section, whose keys may now seem to belong to another.
fn damage(text: &str, at: usize) -> Range<usize> {
    let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = |from: usize| text[from..].find('\n').map_or(text.len(), |length| from + length + 1);
    let mut line_end = end(at);
    if text[start..].trim_start().starts_with('[') {
        while line_end < text.len() && !text[line_end..].trim_start_matches([' ', '\t']).starts_with('[') {
            line_end = end(line_end);
        }
    }
    start..line_end.max(at + 1)
}

/// What to write instead of something that is no TOML.
fn syntax_mend(source: &Source, message: &str, at: usize) -> String {
    let (_, _, line) = source.place(at);
    let value = line.split_once('=').map(|(_, value)| value.trim());
    if line.contains(['“', '”', '„', '‘', '’']) {
        return "replace the typographic quotes by plain ones: \"".to_owned();
    }
    if message.contains("duplicate") {
        return "keep one of them and delete the other".to_owned();
    }
    match value {
        Some("") => "write a value behind the =".to_owned(),
        Some(value) if !value.starts_with(['"', '\'', '[', '{']) => {
            let (value, _) = value.split_once('#').unwrap_or((value, ""));
            format!("put text between double quotes: \"{}\"", value.trim().trim_matches('"'))
        }
        Some(value) if value.starts_with('[') => {
            "a list looks like this: [\"one\", \"two\"]; each text between double quotes".to_owned()
        }
        Some(_) => "close the text with a double quote on the same line".to_owned(),
        None if line.trim_start().starts_with('[') => {
            "a section looks like this, alone on its line: [watch]".to_owned()
        }
        None => "write key = value; a comment begins with #".to_owned(),
    }
}

fn unknown_section(source: &Source, span: Range<usize>, written: &str, found: &DeValue) -> Fault {
    if !found.is_table()
        && let Some(section) = section_of(written)
    {
        return source.fault(
            span,
            format!("\"{written}\" stands outside its section"),
            format!("move it below [{}]", section.name),
        );
    }
    if !found.is_table() && doors::key(written).is_some() {
        let says = format!("\"{written}\" stands outside its section");
        return source.fault(span, says, "it belongs below a door, such as [door.ssh]");
    }
    let names = SECTIONS.iter().map(|section| section.name).chain(["door.NAME"]);
    let all: Vec<String> = names.clone().map(|name| format!("[{name}]")).collect();
    let mend = match nearest(written, names.chain(["door"])) {
        Some("door") => "did you mean [door.NAME]?".to_owned(),
        Some(name) => format!("did you mean [{name}]?"),
        None => format!("there are {}", all.join(", ")),
    };
    source.fault(span, format!("there is no section or key \"{written}\""), mend)
}

fn unknown_key(source: &Source, span: Range<usize>, section: &Section, written: &str) -> Fault {
    let names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
    let mend = match (section_of(written), nearest(written, names.iter().copied())) {
        (Some(other), _) => format!("\"{written}\" belongs below [{}]", other.name),
        (None, Some(name)) => format!("did you mean \"{name}\"?"),
        (None, None) if doors::key(written).is_some() => {
            format!("\"{written}\" belongs below a door, such as [door.ssh]")
        }
        (None, None) => {
            let everywhere = SECTIONS.iter().flat_map(|other| other.keys.iter().map(move |key| (other, key)));
            let near = nearest(written, everywhere.clone().map(|(_, key)| key.name));
            match everywhere.clone().find(|(_, key)| Some(key.name) == near) {
                Some((other, key)) => format!("did you mean \"{}\" below [{}]?", key.name, other.name),
                None => format!("[{}] has the keys {}", section.name, names.join(", ")),
            }
        }
    };
    source.fault(span, format!("[{}] has no key \"{written}\"", section.name), mend)
}

/// The section that has a key of this very name.
fn section_of(key: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.key(key).is_some())
}

#[cfg(test)]
mod tests;
