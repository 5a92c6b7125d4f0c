//! A door while it is read: a flat place for each key, which becomes a [`DoorConfig`] when all of it is known.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_core::net::{PortSet, Prefix};

use super::super::duration::Span;
use super::super::fault::Fault;
use super::super::schema::Key;
use super::super::write::quoted;
use super::{
    Command, Commands, DoorConfig, DoorKind, DoorMode, FEWEST_STEPS, Flags, GROUPS, KindName, OneTimeDoor,
    Opens, RotatingDoor, SecretFile, SequenceDoor, SpaDoor, Step, StepProtocol, Weakness, WrittenStep,
    schema,
};

/// A place for each key of a door, with the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub(super) kind: KindName,
    pub(super) opens: Opens,
    pub(super) open_for: Duration,
    pub(super) renew: bool,
    pub(super) cut_on_close: bool,
    pub(super) guests: Vec<Prefix>,
    pub(super) for_everyone: bool,
    pub(super) mode: DoorMode,
    pub(super) command_open: Option<Vec<String>>,
    pub(super) command_open_6: Option<Vec<String>>,
    pub(super) command_close: Option<Vec<String>>,
    pub(super) command_close_6: Option<Vec<String>>,
    pub(super) shell: bool,
    pub(super) service: Option<String>,
    pub(super) mark: Option<u32>,
    pub(super) window: Duration,
    pub(super) flags: Flags,
    pub(super) wrong_tries: u32,
    pub(super) ignored_for: Duration,
    pub(super) sequence: Vec<WrittenStep>,
    pub(super) close_sequence: Vec<WrittenStep>,
    pub(super) sequences_file: Option<SecretFile>,
    pub(super) warn_left: u32,
    pub(super) keys: Vec<SecretFile>,
    pub(super) ports: PortSet,
    pub(super) protocols: Vec<usize>,
    pub(super) time_step: Duration,
    pub(super) steps: u8,
    pub(super) users: Option<SecretFile>,
    pub(super) udp_port: u16,
    pub(super) max_age: Duration,
    pub(super) weak: Vec<usize>,
    pub(super) pardon: bool,
}

/// The documented defaults; the table repeats them as text, and a test compares the two.
impl Default for Draft {
    fn default() -> Draft {
        Draft {
            kind: KindName::Sequence,
            opens: Opens::default(),
            open_for: Duration::from_secs(30),
            renew: false,
            cut_on_close: false,
            guests: Vec::new(),
            for_everyone: false,
            mode: DoorMode::Act,
            command_open: Some(Vec::new()),
            command_open_6: None,
            command_close: Some(Vec::new()),
            command_close_6: None,
            shell: false,
            service: None,
            mark: None,
            window: Duration::from_secs(10),
            flags: Flags::FIRST,
            wrong_tries: 10,
            ignored_for: Duration::from_secs(600),
            sequence: Vec::new(),
            close_sequence: Vec::new(),
            sequences_file: None,
            warn_left: 5,
            keys: Vec::new(),
            ports: PortSet::from_ranges([(10_000, 60_000)]),
            protocols: vec![0, 1],
            time_step: Duration::from_secs(30),
            steps: 6,
            users: None,
            udp_port: 62_201,
            max_age: Duration::from_secs(120),
            weak: Vec::new(),
            pardon: true,
        }
    }
}

/// ACK and RST in a segment's flags.
const ACK_OR_RST: u8 = 0b1_0100;

/// As the core's `door::rotating::KEYS`.
const MOST_KEYS: usize = 256;

/// What is wrong with a door as a whole: the key whose place is shown (none is the door's name), what, and the mend.
type Wrong = (Option<&'static str>, String, String);

impl Draft {
    /// The draft that becomes `door`.
    #[must_use]
    pub fn of(door: &DoorConfig) -> Draft {
        let commands = &door.commands;
        let words = |command: &Option<Command>| match command {
            None => Vec::new(),
            Some(Command::Argv(words)) => words.clone(),
            Some(Command::Shell(line)) => vec![line.clone()],
        };
        let six = |six: &Option<Command>, four: &Option<Command>| (six != four).then(|| words(six));
        let mut draft = Draft {
            kind: door.kind.name(),
            opens: door.opens.clone(),
            open_for: door.open_for,
            renew: door.renew,
            cut_on_close: door.cut_on_close,
            guests: door.guests.clone(),
            for_everyone: door.for_everyone,
            mode: door.mode,
            command_open: Some(words(&commands.open)),
            command_open_6: six(&commands.open_6, &commands.open),
            command_close: Some(words(&commands.close)),
            command_close_6: six(&commands.close_6, &commands.close),
            shell: commands.each().any(|(_, command)| matches!(command, Command::Shell(_))),
            service: door.service.clone(),
            mark: door.mark,
            pardon: door.pardon || door.kind.name() == KindName::Sequence,
            ..Draft::default()
        };
        match &door.kind {
            DoorKind::Sequence(kind) => {
                draft.window = kind.window;
                draft.flags = kind.flags;
                (draft.wrong_tries, draft.ignored_for) = (kind.wrong_tries, kind.ignored_for);
                let written =
                    |steps: &[Step]| steps.iter().map(|step| WrittenStep::of(*step, kind.flags)).collect();
                (draft.sequence, draft.close_sequence) = (written(&kind.open), written(&kind.close));
            }
            DoorKind::OneTime(kind) => {
                draft.window = kind.window;
                draft.flags = kind.flags;
                (draft.wrong_tries, draft.ignored_for) = (kind.wrong_tries, kind.ignored_for);
                draft.sequences_file = Some(kind.sequences.clone());
                draft.warn_left = kind.warn_left;
            }
            DoorKind::Rotating(kind) => {
                draft.window = kind.window;
                draft.keys = kind.keys.clone();
                draft.ports = kind.ports.clone();
                draft.protocols =
                    [kind.tcp, kind.udp].iter().enumerate().filter(|(_, is)| **is).map(|(n, _)| n).collect();
                (draft.time_step, draft.steps) = (kind.time_step, kind.steps);
            }
            DoorKind::Spa(kind) => {
                (draft.udp_port, draft.max_age) = (kind.udp_port, kind.max_age);
                draft.users = Some(kind.users.clone());
                let place = |weak: &Weakness| Weakness::ALL.iter().position(|other| other == weak);
                draft.weak = kind.weak.iter().filter_map(place).collect();
            }
        }
        draft
    }

    /// The keys of its kind with their values as TOML text.
    pub fn all(&self) -> impl Iterator<Item = (&'static Key<Draft>, String)> {
        let keys =
            GROUPS.iter().filter(|group| group.kinds.contains(&self.kind)).flat_map(|group| group.keys);
        keys.map(|key| (key, key.written(self)))
    }

    /// Of those the kind, and all that differ from their defaults.
    pub fn written(&self) -> impl Iterator<Item = (&'static Key<Draft>, String)> {
        self.all().filter(|(key, value)| key.name == "kind" || value != key.default)
    }

    /// The door that it is, or all that is wrong with it as a whole. `places` holds a fault that lacks its message at
    /// each key that was written, `header` one at the door's name.
    pub fn finish(
        self,
        name: &str,
        header: &Fault,
        places: &BTreeMap<&'static str, Fault>,
    ) -> Result<DoorConfig, Vec<Fault>> {
        let wrongs = self.wrongs(places);
        if !wrongs.is_empty() {
            let fault = |(key, message, mend): Wrong| {
                let at = key.and_then(|key| places.get(key)).unwrap_or(header);
                let label = key.map(|key| format!(" {key}")).unwrap_or_default();
                Fault { message: format!("[door.{name}]{label}: {message}"), mend, ..at.clone() }
            };
            return Err(wrongs.into_iter().map(fault).collect());
        }
        let commands = self.commands();
        let (window, flags) = (self.window, self.flags);
        let (wrong_tries, ignored_for) = (self.wrong_tries, self.ignored_for);
        let steps = |written: &[WrittenStep]| written.iter().map(|step| step.with(flags)).collect();
        let missing = |what: &str| Fault {
            message: format!("[door.{name}]: {what} is missing"),
            mend: format!("write {what}"),
            ..header.clone()
        };
        let kind = match self.kind {
            KindName::Sequence => DoorKind::Sequence(SequenceDoor {
                open: steps(&self.sequence),
                close: steps(&self.close_sequence),
                window,
                flags,
                wrong_tries,
                ignored_for,
            }),
            KindName::OneTime => DoorKind::OneTime(OneTimeDoor {
                sequences: self.sequences_file.ok_or_else(|| vec![missing("sequences_file")])?,
                window,
                flags,
                warn_left: self.warn_left,
                wrong_tries,
                ignored_for,
            }),
            KindName::Rotating => DoorKind::Rotating(RotatingDoor {
                keys: self.keys,
                ports: self.ports,
                tcp: self.protocols.contains(&0),
                udp: self.protocols.contains(&1),
                time_step: self.time_step,
                steps: self.steps,
                window,
            }),
            KindName::Spa => DoorKind::Spa(SpaDoor {
                udp_port: self.udp_port,
                users: self.users.ok_or_else(|| vec![missing("users")])?,
                max_age: self.max_age,
                weak: schema::weaknesses(&self.weak),
            }),
        };
        Ok(DoorConfig {
            name: name.to_owned(),
            pardon: self.pardon && kind.name() != KindName::Sequence,
            kind,
            opens: self.opens,
            open_for: self.open_for,
            guests: self.guests,
            renew: self.renew,
            cut_on_close: self.cut_on_close,
            mode: self.mode,
            commands,
            service: self.service,
            for_everyone: self.for_everyone,
            mark: self.mark,
        })
    }

    fn commands(&self) -> Commands {
        let command = |words: &[String]| match words {
            [] => None,
            [line] if self.shell => Some(Command::Shell(line.clone())),
            words => Some(Command::Argv(words.to_vec())),
        };
        let four = |words: &Option<Vec<String>>| command(words.as_deref().unwrap_or_default());
        let six = |six: &Option<Vec<String>>, same: &Option<Vec<String>>| match six {
            Some(words) => command(words),
            None => four(same),
        };
        Commands {
            open: four(&self.command_open),
            open_6: six(&self.command_open_6, &self.command_open),
            close: four(&self.command_close),
            close_6: six(&self.command_close_6, &self.command_close),
        }
    }

    fn wrongs(&self, places: &BTreeMap<&'static str, Fault>) -> Vec<Wrong> {
        let mut wrongs = Vec::new();
        for key in places.keys() {
            let Some((group, _)) = schema::key(key) else { continue };
            if !group.kinds.contains(&self.kind) {
                wrongs.push(self.not_of_this_kind(key, group.kinds));
            }
        }
        self.wrong_kind(&mut wrongs);
        self.wrong_effects(&mut wrongs);
        self.wrong_commands(&mut wrongs);
        wrongs
    }

    fn not_of_this_kind(&self, key: &'static str, kinds: &[KindName]) -> Wrong {
        let words: Vec<String> = kinds.iter().map(|kind| quoted(kind.word())).collect();
        let message = match key {
            "pardon" => "a sequence can be sniffed, so it pardons nobody".to_owned(),
            _ => format!("a door of kind {} has no such key", quoted(self.kind.word())),
        };
        (Some(key), message, format!("delete the line, or write kind = {}", words.join(" or ")))
    }

    /// What each kind needs.
    fn wrong_kind(&self, wrongs: &mut Vec<Wrong>) {
        let mut needs = |key: &str, example: &str| {
            let message = format!("a door of kind {} needs {key}", quoted(self.kind.word()));
            wrongs.push((None, message, format!("write {key} = {example}")));
        };
        match self.kind {
            KindName::Sequence if self.sequence.is_empty() => {
                needs("sequence", "\"7000, 8000:udp, 9000\", with ports of your own");
            }
            KindName::OneTime if self.sequences_file.is_none() => {
                needs("sequences_file", "\"/etc/portcullis/NAME.sequences\"; `portcullis key` makes one");
            }
            KindName::Rotating if self.keys.is_empty() => {
                needs("keys", "[\"/etc/portcullis/NAME.key\"]; `portcullis key` makes one");
            }
            KindName::Spa if self.users.is_none() => {
                needs("users", "\"/etc/portcullis/NAME.access\"; `portcullis key` makes one");
            }
            KindName::Sequence => self.wrong_sequences(wrongs),
            KindName::Rotating => self.wrong_shape(wrongs),
            KindName::Spa if schema::weaknesses(&self.weak).contains(&Weakness::CommandMessages) => {
                let message = "a command that comes in a packet is never run: nothing from the wire becomes a command here";
                let mend = "take \"command-messages\" out, and write what is to be run into command_open";
                wrongs.push((Some("weak"), message.to_owned(), mend.to_owned()));
            }
            KindName::OneTime | KindName::Spa => {}
        }
    }

    /// The bounds of the core's `door::rotating::Shape`.
    fn wrong_shape(&self, wrongs: &mut Vec<Wrong>) {
        let count = self.ports.count();
        if self.protocols.is_empty() {
            let mend = "write protocols = [\"tcp\", \"udp\"], or one of them".to_owned();
            wrongs.push((Some("protocols"), "steps can be neither of both".to_owned(), mend));
        } else if self.ports.contains(0) || count * self.protocols.len() < 1000 {
            let message = match self.ports.contains(0) {
                true => "port 0 can't be knocked at".to_owned(),
                false => format!("{count} ports are too few to draw from"),
            };
            wrongs.push((Some("ports"), message, "write more ports, such as \"10000-60000\"".to_owned()));
        }
        if self.time_step.subsec_nanos() != 0 {
            let whole = Span(Duration::from_secs(self.time_step.as_secs()));
            let mend = format!("write time_step = \"{whole}\"");
            wrongs.push((Some("time_step"), "it is counted in whole seconds".to_owned(), mend));
        }
        if self.keys.len() > MOST_KEYS {
            let message =
                format!("there are {} keys, and all steps of each must be known beforehand", self.keys.len());
            wrongs.push((
                Some("keys"),
                message,
                format!("write at most {MOST_KEYS}, and the rest into another door"),
            ));
        }
    }

    fn wrong_sequences(&self, wrongs: &mut Vec<Wrong>) {
        for (key, steps) in [("sequence", &self.sequence), ("close_sequence", &self.close_sequence)] {
            if (1..FEWEST_STEPS).contains(&steps.len()) {
                let count = steps.len();
                wrongs.push((
                    Some(key),
                    format!(
                        "{count} step{} would soon be found by a scan",
                        if count == 1 { "" } else { "s" }
                    ),
                    format!("write at least {FEWEST_STEPS} steps, not in the order of their numbers"),
                ));
            }
        }
        let steps =
            |written: &[WrittenStep]| -> Vec<Step> { written.iter().map(|s| s.with(self.flags)).collect() };
        let (open, close) = (steps(&self.sequence), steps(&self.close_sequence));
        for (key, steps) in [("sequence", &open), ("close_sequence", &close)] {
            let is_deaf = |step: &Step| matches!(step.protocol, StepProtocol::Tcp(flags) if flags.set & ACK_OR_RST != 0);
            if steps.iter().any(is_deaf) {
                wrongs.push((
                    Some(key),
                    "packets with ACK or RST are never heard, since a scan with them looks like traffic"
                        .to_owned(),
                    "take ack and rst out of its flags, and out of flags = …".to_owned(),
                ));
            }
        }
        if !close.is_empty() && (open.starts_with(&close) || close.starts_with(&open)) {
            wrongs.push((
                Some("close_sequence"),
                "whoever knocks to open would close, since one of the two begins with the other".to_owned(),
                "begin it otherwise; the order of the opening turned round will do".to_owned(),
            ));
        }
    }

    fn wrong_effects(&self, wrongs: &mut Vec<Wrong>) {
        let does_something = self.service.is_some() || !self.commands().is_empty();
        if self.opens.is_empty() {
            if !does_something {
                wrongs.push((
                    None,
                    "it opens nothing, runs nothing and starts nothing".to_owned(),
                    "write what is behind it, such as opens = \"tcp/22\"".to_owned(),
                ));
            }
            for (key, is) in
                [("renew", self.renew), ("cut_on_close", self.cut_on_close), ("mark", self.mark.is_some())]
            {
                if is {
                    wrongs.push((
                        Some(key),
                        "it opens no port, so nothing can be known of sessions and packets".to_owned(),
                        format!("write opens = \"tcp/22\" or the like, or delete {key}"),
                    ));
                }
            }
        }
    }

    fn wrong_commands(&self, wrongs: &mut Vec<Wrong>) {
        let mut has_any = false;
        for (key, words) in [
            ("command_open", &self.command_open),
            ("command_open_6", &self.command_open_6),
            ("command_close", &self.command_close),
            ("command_close_6", &self.command_close_6),
        ] {
            let Some([program, rest @ ..]) = words.as_deref() else { continue };
            has_any = true;
            if self.shell && !rest.is_empty() {
                wrongs.push((
                    Some(key),
                    "with shell = true a command is one text".to_owned(),
                    format!("write {key} = [{}]", quoted(&words.as_deref().unwrap_or_default().join(" "))),
                ));
            } else if !self.shell && !program.starts_with('/') {
                let (first, is_line) =
                    (program.split_whitespace().next().unwrap_or(""), program.contains(' '));
                wrongs.push((
                    Some(key),
                    format!("\"{program}\" is no absolute path of a program"),
                    match is_line {
                        true => format!("write each word by itself, [\"{first}\", …]; or shell = true"),
                        false => "write the whole path, such as /usr/sbin/nft; or shell = true".to_owned(),
                    },
                ));
            }
        }
        if self.shell && !has_any {
            let mend = "delete it, or write command_open".to_owned();
            wrongs.push((Some("shell"), "there is no command for the shell".to_owned(), mend));
        }
    }
}
