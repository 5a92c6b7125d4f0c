//! What this run is to do: the configuration, and what the command line puts over it.

use std::path::{Path, PathBuf};

use portcullis_core::door;
use portcullis_core::engine::{Settings, answering, brake};
use portcullis_core::event::Mode;
use portcullis_core::ledger::Terms;
use portcullis_core::net::{PortSet, Protocol};

use super::doors::DoorPlan;
use super::knockd::Knockd;
use super::persona::Persona;
use crate::capture::listen::Listening;
use crate::cli::knockd::KnockdArguments;
use crate::cli::portsentry::PortsentryArguments;
use crate::cli::run::RunArguments;
use crate::config::doors::{DoorConfig, DoorKind};
use crate::config::{Config, EngineChoice, Fault, Faults, load_for_run, standard_files};
use crate::record::store::FILE_NAME;

/// Where the configuration stands if nobody says otherwise.
pub const DIRECTORY: &str = "/etc/portcullis";

/// As what the program was started.
#[derive(Debug)]
pub enum Started {
    /// As itself.
    Run(RunArguments),
    /// As PortSentry.
    Portsentry(Box<PortsentryArguments>),
    /// As knockd.
    Knockd(Box<KnockdArguments>),
}

/// What is one running program's own, so that several never fight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The table in the kernel.
    pub table: String,
    /// The file of the store.
    pub store: PathBuf,
}

/// The plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is configured, with the command line put over it.
    pub config: Config,
    /// The files that it was read from; none is the built-in defaults.
    pub files: Vec<PathBuf>,
    /// The mode that the command line asks for.
    pub mode_of_run: Option<Mode>,
    /// What is this program's own.
    pub names: Names,
    /// The doors.
    pub doors: DoorPlan,
    /// What goes another way because the program was started as PortSentry.
    pub persona: Option<Persona>,
    /// The same of knockd.
    pub knockd: Option<Knockd>,
}

/// Who determined the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeBy {
    /// `--observe` or `--enforce`.
    CommandLine,
    /// The verb `observe` or `enforce`, now or in an earlier run.
    Hand,
    /// `[respond] mode`.
    Configuration,
    /// Nobody: it starts harmless.
    Default,
}

impl ModeBy {
    /// For `status`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            ModeBy::CommandLine => "command line",
            ModeBy::Hand => "by hand",
            ModeBy::Configuration => "configuration",
            ModeBy::Default => "built-in default",
        }
    }
}

/// What `check` can say of the access files that `files` name: the same as a start, where it can read them.
///
/// # Errors
/// Every fault that stops a start.
pub fn check_access(files: &[PathBuf]) -> Result<(), Faults> {
    let (config, _) = load_for_run(files)?;
    let place = files.first().cloned().unwrap_or_default();
    let fault = |own: &DoorConfig| {
        let why = super::doors::check(own).err()?;
        Some(Fault::of_file(&place, format!("door {}: {why}", own.name), "mend it, or take the door out"))
    };
    let faults: Vec<Fault> = config.doors.iter().filter_map(fault).collect();
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
}

impl Plan {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Every fault in it.
    pub fn read(started: &Started) -> Result<Plan, Faults> {
        match started {
            Started::Run(arguments) => Plan::native(arguments),
            Started::Portsentry(arguments) => Persona::plan(arguments),
            Started::Knockd(arguments) => Knockd::plan(arguments),
        }
    }

    fn native(arguments: &RunArguments) -> Result<Plan, Faults> {
        let files = match &arguments.config {
            Some(file) => vec![file.clone()],
            None => standard_files(Path::new(DIRECTORY))?,
        };
        let (mut config, _) = load_for_run(&files)?;
        if !arguments.interfaces.is_empty() {
            config.watch.interfaces.clone_from(&arguments.interfaces);
        }
        if let Some(engine) = arguments.engine() {
            config.watch.engine = engine;
        }
        if let Some(state) = &arguments.state {
            config.record.state.clone_from(state);
        }
        if let Some(socket) = arguments.socket() {
            config.control.socket = socket;
        }
        let store = config.record.state.join(FILE_NAME);
        let names = Names { table: super::TABLE.to_owned(), store };
        let observes = arguments.mode() == Some(Mode::Observe);
        let mut doors = DoorPlan::of(&config, observes).map_err(|why| {
            let place = files.first().cloned().unwrap_or_default();
            Faults(
                why.into_iter()
                    .map(|why| Fault::of_file(&place, why, "mend it, or take the door out"))
                    .collect(),
            )
        })?;
        doors.remarks.extend(unheard(&config));
        Ok(Plan { config, files, mode_of_run: arguments.mode(), names, doors, persona: None, knockd: None })
    }

    /// The mode, given what was last said by hand, and who determined it.
    #[must_use]
    pub fn mode(&self, by_hand: Option<Mode>) -> (Mode, ModeBy) {
        match (self.mode_of_run, by_hand) {
            (Some(mode), _) => (mode, ModeBy::CommandLine),
            (None, Some(mode)) => (mode, ModeBy::Hand),
            (None, None) if self.files.is_empty() => (self.config.respond.mode, ModeBy::Default),
            (None, None) => (self.config.respond.mode, ModeBy::Configuration),
        }
    }

    /// What the engine is told.
    #[must_use]
    pub fn settings(&self, mode: Mode) -> Settings {
        let doors = self.doors.settings.clone();
        let Some(persona) = &self.persona else {
            return Settings { doors, ..settings(&self.config, mode) };
        };
        // Where BLOCK_TCP and BLOCK_UDP are 0 nobody is blocked any more, and whoever is blocked stays so, as it was
        // with PortSentry; only an operator who says observe ends the blocks of before.
        let mode = if self.config.respond.mode == Mode::Observe { Mode::Enforce } else { mode };
        Settings { singly: Some(persona.judging()), ..settings(&self.config, mode) }
    }

    /// What is opened, if ports are to be opened at all.
    #[must_use]
    pub fn listening(&self) -> Option<Listening> {
        let watch = &self.config.watch;
        let Some(persona) = &self.persona else {
            // A door's port is the door's, whoever else would watch it.
            let udp = watch.udp.without(&self.doors.listened.single);
            return (watch.engine == EngineChoice::Listen).then(|| Listening::usual(&watch.tcp, &udp));
        };
        let opened = |protocol, ports: &PortSet| {
            if persona.opens(protocol) { ports.clone() } else { PortSet::default() }
        };
        let (tcp, udp) = (opened(Protocol::Tcp, &watch.tcp), opened(Protocol::Udp, &watch.udp));
        let banner = persona.portsentry.port_banner.clone().map(String::into_bytes);
        (tcp.count() + udp.count() > 0).then_some(Listening { tcp, udp, ceiling: None, banner })
    }

    /// The ports of TCP and of UDP that are looked for on the wire: those watched, but for a transport whose ports are
    /// opened instead.
    #[must_use]
    pub fn on_the_wire(&self) -> (PortSet, PortSet) {
        let is_opened = |protocol| self.persona.as_ref().is_some_and(|own| own.opens(protocol));
        let ports =
            |protocol, ports: &PortSet| if is_opened(protocol) { PortSet::default() } else { ports.clone() };
        (ports(Protocol::Tcp, &self.config.watch.tcp), ports(Protocol::Udp, &self.config.watch.udp))
    }

    /// The configuration's name for people; `None` with the built-in defaults.
    #[must_use]
    pub fn configuration(&self) -> Option<String> {
        self.files.first().map(|file| file.display().to_string())
    }
}

/// Doors that nobody can open by knocking, since their packets can't be seen.
fn unheard(config: &Config) -> Option<String> {
    let is_seen = |door: &&DoorConfig| matches!(door.kind, DoorKind::Spa(_));
    let unheard: Vec<&str> =
        config.doors.iter().filter(|door| !is_seen(door)).map(|door| door.name.as_str()).collect();
    (config.watch.engine == EngineChoice::Listen && !unheard.is_empty()).then(|| {
        format!(
            "with --engine listen no knock is heard but single packets: {} only by hand (portcullis open); give the \
             right to capture, or make them of kind spa",
            match unheard.as_slice() {
                [door] => format!("door {door} opens"),
                doors => format!("doors {} open", doors.join(", ")),
            }
        )
    })
}

/// What a configuration means to the engine.
#[must_use]
pub fn settings(config: &Config, mode: Mode) -> Settings {
    Settings {
        tcp: config.watch.tcp.clone(),
        udp: config.watch.udp.clone(),
        judge: config.judge.settings(),
        mode,
        terms: Terms {
            first: config.respond.ban,
            growth: config.respond.growth,
            ceiling: config.respond.ban_max,
            memory: config.respond.memory,
            hold: config.respond.hold,
            hold_ceiling: config.respond.hold_max,
        },
        answering: answering::Settings {
            unproved: config.respond.unproved,
            brake: brake::Settings { limit: config.protect.brake },
            apart: config.judge.apart.clone(),
        },
        allow: config.protect.allow.clone(),
        singly: None,
        doors: door::Settings::default(),
    }
}
