//! What the administrator wants: one typed [`Config`], whichever file it was read from.

mod check;
mod describe;
pub mod doors;
mod duration;
mod fault;
pub mod fwknop;
mod host_name;
mod import;
pub mod knockd;
pub mod portsentry;
pub mod schema;
mod suggest;
mod toml;
mod value;
mod write;

use std::path::PathBuf;
use std::time::Duration;

pub use portcullis_core::engine::answering::Unproved;
pub use portcullis_core::event::Mode;
pub use portcullis_core::judge::evidence::Care;
use portcullis_core::judge::evidence::{Clocks, Score};
use portcullis_core::judge::trigger::Rule;
use portcullis_core::judge::{self, evidence, trigger};
use portcullis_core::net::{PortSet, Prefix};

pub use self::check::{Checked, check};
pub use self::describe::{Description, describe};
use self::doors::DoorConfig;
pub use self::duration::{Span, SpanError};
pub use self::fault::{Fault, Faults, Place};
pub use self::host_name::{HOST_NAMES, is_host_name};
pub use self::import::{
    AccessFile, Fate, FwknopImport, Import, Outcome, import_fwknop, import_knockd, import_portsentry,
};
pub use self::toml::{Override, load, load_for_run, load_with_overrides, parse, standard_files};
pub use self::write::{Line, differences, lines, sample, write, write_door};

/// Everything that can be configured. Each reader (TOML, old PortSentry files) produces this and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[watch]`
    pub watch: Watch,
    /// `[judge]`
    pub judge: Judge,
    /// `[respond]`
    pub respond: Respond,
    /// `[protect]`
    pub protect: Protect,
    /// `[record]`
    pub record: Record,
    /// `[control]`
    pub control: Control,
    /// `[door.NAME]`, in the order of the files.
    pub doors: Vec<DoorConfig>,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// Names of interfaces; empty is every interface that is up, less the loopback.
    pub interfaces: Vec<String>,
    /// Networks of others whose traffic is judged too, as this host forwards or overhears it; at most 16.
    pub protect: Vec<Prefix>,
    /// TCP (and SCTP) ports where a probe counts.
    pub tcp: PortSet,
    /// UDP ports where a probe counts.
    pub udp: PortSet,
    /// How packets are seen.
    pub engine: EngineChoice,
    /// Size of the packet ring in MiB, 1 to 1024.
    pub ring_mib: u16,
}

/// How packets are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// The ring, or nothing: `auto` never opens a port.
    Auto,
    /// A packet ring on AF_PACKET.
    Ring,
    /// Plain sockets on the watched ports.
    Listen,
}

/// When a source is a scanner.
#[derive(Clone, Debug, PartialEq)]
pub struct Judge {
    /// Which judge.
    pub by: By,
    /// How much it takes where evidence is weighed.
    pub care: Care,
    /// The score that is a scan, 0 to 100; 0 leaves it to `care`.
    pub score: f64,
    /// Within which times evidence is added up: for the fast, 1 s to 1 h.
    pub fast: Duration,
    /// For those who wait, 1 min to 1 day.
    pub slow: Duration,
    /// For the patient, 1 h to 30 days.
    pub patient: Duration,
    /// What flags weigh that no stack sends, 0 to 10.
    pub odd_flags: f64,
    /// What a datagram weighs that may be a late answer, 0 to 10.
    pub late_answer: f64,
    /// What services that he came for take off at most, 0 to 10.
    pub credit: f64,
    /// What is counted, and how much of it is a scan.
    pub trigger: Trigger,
    /// Within which time, 1 s to 24 h.
    pub window: Duration,
    /// How many sources are remembered at once, 1,024 to 1,048,576.
    pub sources: usize,
    /// IPv6 networks whose addresses are judged one by one.
    pub apart: Vec<Prefix>,
}

/// Which judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A sequential test over everything that a source has tried.
    Evidence,
    /// PortSentry's rule.
    Trigger,
}

/// PortSentry's rule: so many, and it is a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// So many distinct ports, 1 to 64.
    Ports(u32),
    /// So many probes, 1 to 64.
    Probes(u32),
}

impl Judge {
    /// What it means to the engine.
    #[must_use]
    pub fn settings(&self) -> judge::Settings {
        match self.by {
            By::Evidence => judge::Settings::Evidence(self.evidence()),
            By::Trigger => {
                let rule = match self.trigger {
                    Trigger::Ports(count) => Rule::Ports(count),
                    Trigger::Probes(count) => Rule::Probes(count),
                };
                let Judge { window, sources, .. } = *self;
                judge::Settings::Trigger(trigger::Settings { rule, window, sources })
            }
        }
    }

    /// How evidence is weighed.
    #[must_use]
    pub fn evidence(&self) -> evidence::Settings {
        evidence::Settings {
            enough: if self.score > 0.0 { Score::of_nats(self.score) } else { self.care.enough() },
            clocks: Clocks { fast: self.fast, slow: self.slow, patient: self.patient },
            sources: self.sources,
            odd_flags: Score::of_nats(self.odd_flags),
            late_answer: Score::of_nats(self.late_answer),
            credit: Score::of_nats(self.credit),
        }
    }
}

/// What is done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// Whether anything is done at all.
    pub mode: Mode,
    /// How long a first ban lasts; `None` is for ever.
    pub ban: Option<Duration>,
    /// By what each return multiplies it, 1 to 100.
    pub growth: f64,
    /// No ban gets longer than this.
    pub ban_max: Duration,
    /// How long a source must stay away to count as new.
    pub memory: Duration,
    /// What a scan costs whose sender is not proved.
    pub unproved: Unproved,
    /// How long a first hold lasts.
    pub hold: Duration,
    /// No hold gets longer than this.
    pub hold_max: Duration,
    /// Whether bans stay in the kernel when the program stops.
    pub keep_on_stop: bool,
}

/// Who is never blocked.
#[derive(Clone, Debug, PartialEq)]
pub struct Protect {
    /// The allow list: prefixes.
    pub allow: Vec<Prefix>,
    /// The allow list: names of hosts.
    pub names: Vec<String>,
    /// Interfaces whose traffic is not judged.
    pub interfaces: Vec<String>,
    /// Whether default gateways are protected.
    pub gateways: bool,
    /// Whether the resolvers of `/etc/resolv.conf` are protected.
    pub resolvers: bool,
    /// Whether time servers in use are.
    pub time_servers: bool,
    /// Whether the remote ends of login sessions are.
    pub logged_in: bool,
    /// Whether the networks of this host's containers and virtual machines are.
    pub containers: bool,
    /// Automatic bans and holds a minute that are usual; 0 is no brake.
    pub brake: u32,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The directory of the store.
    pub state: PathBuf,
    /// How long events are kept, 1 h to 10 years.
    pub keep: Duration,
    /// How much room they may take in MiB, 1 to 65,536.
    pub keep_mib: u32,
}

/// Who may speak with the running program.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// The control socket.
    pub socket: PathBuf,
    /// The group that may read.
    pub group: String,
    /// Users who may change things, beside root.
    pub operators: Vec<String>,
}

/// The documented defaults, which hold without any file. `schema` repeats them as text; a test compares the two.
impl Default for Config {
    fn default() -> Config {
        let every_port = || PortSet::from_ranges([(1, u16::MAX)]);
        Config {
            watch: Watch {
                interfaces: Vec::new(),
                protect: Vec::new(),
                tcp: every_port(),
                udp: every_port(),
                engine: EngineChoice::Auto,
                ring_mib: 16,
            },
            judge: Judge {
                by: By::Evidence,
                care: Care::Normal,
                score: 0.0,
                fast: Duration::from_secs(60),
                slow: Duration::from_secs(3600),
                patient: Duration::from_secs(7 * 86_400),
                odd_flags: 2.5,
                late_answer: 0.1,
                credit: 1.0,
                trigger: Trigger::Ports(5),
                window: Duration::from_secs(60),
                sources: 32_768,
                apart: Vec::new(),
            },
            respond: Respond {
                mode: Mode::Observe,
                ban: Some(Duration::from_secs(600)),
                growth: 2.0,
                ban_max: Duration::from_secs(7 * 86_400),
                memory: Duration::from_secs(30 * 86_400),
                unproved: Unproved::Hold,
                hold: Duration::from_secs(60),
                hold_max: Duration::from_secs(120),
                keep_on_stop: true,
            },
            protect: Protect {
                allow: Vec::new(),
                names: Vec::new(),
                interfaces: Vec::new(),
                gateways: true,
                resolvers: true,
                time_servers: true,
                logged_in: true,
                containers: true,
                brake: 100,
            },
            record: Record {
                state: PathBuf::from("/var/lib/portcullis"),
                keep: Duration::from_secs(90 * 86_400),
                keep_mib: 256,
            },
            control: Control {
                socket: PathBuf::from("/run/portcullis/ctl.sock"),
                group: "portcullis".to_owned(),
                operators: Vec::new(),
            },
            doors: Vec::new(),
        }
    }
}
