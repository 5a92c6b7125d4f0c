//! The persona of knockd: what its file says, as the daemon needs it. Doors of the core with nothing of ours in the
//! kernel, commands, and knockd's way of telling; scans are not judged here, and nobody is banned.

pub mod journal;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::door::{Door, Lock, Name, OneTime, Style};
use portcullis_core::net::{PortSet, Prefix};

use super::doorkeeper::{DoorActions, Pace};
use super::doors::{self, DoorPlan};
use super::persona::{RUN, STATE};
use super::plan::{Names, Plan};
use crate::cli::knockd::KnockdArguments;
use crate::config::doors::{Command, Commands};
use crate::config::knockd::{Knock, KnockdDoor, Options, read_file};
use crate::config::portsentry::{Diagnostic, Weight};
use crate::config::{Config, EngineChoice, Fault, Faults, Mode};
use crate::keys::Place;
use crate::keys::one_time::{self, OneTimeFile};
use crate::record::knockd::Settings;
use crate::record::portsentry::syslog::SOCKET;
use crate::respond::command::Limits;

/// The name of the instance, of its socket and its store.
const INSTANCE: &str = "knockd";

/// knockd had no end for commands, and many a file opens and shuts in one line with a `sleep` between. This is no limit
/// but for what hangs for ever.
const COMMAND_TIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// So many commands may run at once, since each may wait for its `sleep`.
const COMMANDS: usize = 1024;

/// What goes another way than with the program itself.
#[derive(Clone, Debug)]
pub struct Knockd {
    /// How it was called.
    pub arguments: KnockdArguments,
    /// The interface that knocks come by.
    pub interface: String,
    /// Where the process number goes, of a daemon.
    pub pid_file: PathBuf,
    /// Where lines go.
    pub lines: Settings,
    /// What the doors are called; two may have one name.
    pub shown: BTreeMap<Name, String>,
    /// What a person should know of the file, in the order of finding.
    pub diagnostics: Vec<Diagnostic>,
    /// The same where no line can be named.
    pub remarks: Vec<String>,
}

impl Knockd {
    /// Reads knockd.conf and makes a plan of it.
    ///
    /// # Errors
    /// What stands in the way of a start; no line of the file is in it, since that may hold the ports.
    pub fn plan(arguments: &KnockdArguments) -> Result<Plan, Faults> {
        let file = arguments.configuration.clone();
        let reading = read_file(&file).map_err(|fault| Faults(vec![*fault]))?;
        let is_usable = reading.is_usable();
        let (config, mut diagnostics) = (reading.config, reading.diagnostics);
        // These go to logs, and a line may hold the ports.
        for own in &mut diagnostics {
            own.fault.line_text.clear();
        }
        if !is_usable {
            let faults = diagnostics.into_iter().filter(|own| own.weight == Weight::Fault);
            return Err(Faults(faults.map(|own| own.fault).collect()));
        }
        let mut remarks = Vec::new();
        let limits = Limits { time: COMMAND_TIME, is_left_behind: true, ..Limits::default() };
        let mut doors = DoorPlan::default();
        doors.pace = Pace { at_once: COMMANDS, limits };
        let (mut shown, mut faults) = (BTreeMap::new(), Vec::new());
        let taken: BTreeSet<&str> = config.doors.iter().map(|door| door.name.as_str()).collect();
        for own in &config.doors {
            let name = unlike(&own.name, &taken, &shown);
            let Lockset { lock, sequences } = match lock(own, &file, &arguments.directory) {
                Ok(lock) => lock,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            if let Some(sequences) = &sequences {
                remarks.extend(sequences.faults.iter().map(ToString::to_string));
                if sequences.sequences.is_empty() {
                    remarks.push(journal::no_more_sequences(&own.name));
                }
            }
            doors.listened.add(&lock);
            let style = Style::Knockd { scans_may_open: config.options.scans_may_open };
            doors.settings.doors.push(Door {
                guests: if arguments.only_four { vec![all_of_ipv4()] } else { Vec::new() },
                style,
                target: own.target,
                pardons: false,
                patience: None,
                ..Door::new(name.clone(), lock, Vec::new(), open_for(own))
            });
            let commands = commands(own);
            let actions = DoorActions { commands, sequences, is_told: true, ..DoorActions::default() };
            doors.actions.insert(name.clone(), actions);
            shown.insert(name, own.name.clone());
        }
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        if !config.options.scans_may_open {
            hear_scans(&mut doors);
        }
        let interface = arguments.interface.clone().unwrap_or_else(|| config.options.interface().to_owned());
        let own_config = own_config(arguments, &interface);
        let names = Names {
            table: format!("{}-{INSTANCE}", super::TABLE),
            store: own_config.record.state.join(format!("{INSTANCE}.db")),
        };
        let options = config.options;
        let log_file = options.log_file.or_else(|| arguments.log_file.clone());
        let log_file = log_file.map(|file| arguments.directory.join(file));
        let pid_file = options.pid_file.or_else(|| arguments.pid_file.clone());
        let knockd = Knockd {
            arguments: arguments.clone(),
            interface,
            pid_file: Path::new("/").join(pid_file.unwrap_or_else(|| PathBuf::from(Options::PID_FILE))),
            lines: Settings {
                file: log_file,
                syslog: options.use_syslog.then(|| PathBuf::from(SOCKET)),
                screen: arguments.is_verbose || arguments.is_debug,
                looks_up: arguments.looks_up,
            },
            shown,
            diagnostics,
            remarks,
        };
        Ok(Plan {
            config: own_config,
            files: vec![file],
            mode_of_run: None,
            names,
            doors,
            persona: None,
            knockd: Some(knockd),
        })
    }
}

/// A name for the door that no other has: what is owed and what stands open is kept by name.
fn unlike(name: &str, taken: &BTreeSet<&str>, shown: &BTreeMap<Name, String>) -> Name {
    let first = Name::verbatim(name);
    if !shown.contains_key(&first) {
        return first;
    }
    let others = (2_u32..).map(|number| format!("{name}#{number}"));
    let mut free = others.filter(|other| !taken.contains(other.as_str())).map(|own| Name::verbatim(&own));
    free.find(|own| !shown.contains_key(own)).expect("a file has fewer doors than there are numbers")
}

struct Lockset {
    lock: Lock,
    /// Where used sequences are struck.
    sequences: Option<Arc<OneTimeFile>>,
}

fn lock(own: &KnockdDoor, file: &Path, directory: &Path) -> Result<Lockset, Fault> {
    match &own.knock {
        Knock::Sequence(steps) => {
            let open = doors::sequence(steps, own.seq_timeout).map_err(|why| {
                let message = format!("[{}]: {why}", own.name);
                Fault::of_file(file, message, "write 1 to 32 ports from 1 to 65535")
            })?;
            Ok(Lockset { lock: Lock::Sequence { open, close: None }, sequences: None })
        }
        Knock::OneTime(path) => {
            let file = one_time::read(&Place::of_knockd(directory.join(path)), own.flags, own.seq_timeout)
                .map_err(|fault| Fault::of_file(&fault.path, fault.message, fault.mend))?;
            let file = Arc::new(file);
            let lock = Lock::OneTime(OneTime { sequences: file.sequences.clone(), ahead: 1 });
            Ok(Lockset { lock, sequences: Some(file) })
        }
    }
}

const FOUR: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

fn all_of_ipv4() -> Prefix {
    Prefix::containing(FOUR, 0)
}

/// Nothing is kept where nothing has to be stopped.
fn open_for(own: &KnockdDoor) -> Option<Duration> {
    let stops = own.stop_for(FOUR).or_else(|| own.stop_for(SIX)).is_some();
    stops.then_some(own.cmd_timeout)
}

fn commands(own: &KnockdDoor) -> Commands {
    let four = |command: Option<&str>| command.map(|line| Command::Shell(line.to_owned()));
    // Said in any case, since what is not said would be as for IPv4.
    let six = |command: Option<&str>| Some(Command::Shell(command.unwrap_or_default().to_owned()));
    Commands {
        open: four(own.start_for(FOUR)),
        open_6: six(own.start_for(SIX)),
        close: four(own.stop_for(FOUR)),
        close_6: six(own.stop_for(SIX)),
    }
}

/// What tells a scan from a knock are the other ports that it touches.
fn hear_scans(doors: &mut DoorPlan) {
    if !doors.settings.doors.is_empty() {
        doors.listened.syns = all_ports();
    }
    if doors.listened.all_udp.count() > 0 {
        doors.listened.datagrams = all_ports();
    }
}

fn all_ports() -> PortSet {
    PortSet::from_ranges([(1, u16::MAX)])
}

fn own_config(arguments: &KnockdArguments, interface: &str) -> Config {
    let mut config = Config::default();
    config.watch.tcp = PortSet::default();
    config.watch.udp = PortSet::default();
    config.watch.engine = EngineChoice::Ring;
    config.watch.interfaces = vec![interface.to_owned()];
    config.respond.mode = Mode::Observe;
    let (run, state) = match &arguments.state {
        Some(directory) => (directory.clone(), directory.clone()),
        None => (PathBuf::from(RUN), PathBuf::from(STATE)),
    };
    config.record.state = state;
    config.control.socket = run.join(format!("{INSTANCE}.sock"));
    config
}
