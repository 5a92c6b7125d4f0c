//! `replay`: judges captures as if they arrived now, at the time of the packets. Touches nothing, needs no rights.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use portcullis_core::engine::{Engine, Freshness, Host, Presence, View};
use portcullis_core::event::{Action, Id, Scan, What};
use portcullis_core::net::Prefix;
use portcullis_core::policy::{Connected, EPHEMERAL, Local, Surroundings};
use portcullis_core::scan::Contact;
use portcullis_core::scan::sources::Secret;
use portcullis_core::time::{Mono, Now, Wall};
use portcullis_core::wire::{Checksums, Frame};

use crate::capture::pcap::{CaptureError, CaptureReader, Ending};
use crate::cli::replay::{self, ReplayArguments};
use crate::config::{Config, load};
use crate::daemon::plan;
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::record::log::{Log, Style};
use crate::record::{LogEvent, Summary, Told};

/// A capture has nobody who could aim at a bucket of the tables, and the same capture must always give the same
/// verdict: the key is fixed.
const KEY: Secret = Secret([0; 16]);

/// A step back further than this is no disorder.
const ANOTHER_RECORDING: Duration = Duration::from_secs(3600);

/// Reads the captures and tells what they hold.
#[must_use]
pub fn run(arguments: &ReplayArguments) -> Exit {
    let config = match &arguments.config {
        None => Config::default(),
        Some(file) => match load(std::slice::from_ref(file)) {
            Ok(config) => config,
            Err(faults) => {
                eprintln!("{faults}");
                return Exit::ConfigurationInvalid;
            }
        },
    };
    let mut replay = Replay::new(&config, arguments.local.as_ref());
    let mut exit = Exit::Done;
    for file in &arguments.files {
        if let Err(error) = replay.read(file) {
            eprintln!("portcullis: {}: {error}", Escaped(&file.to_string_lossy()));
            exit = Exit::Failed;
        }
    }
    if replay.first.is_none() && exit != Exit::Done {
        // Not a packet was read, and why has been said: there is nothing to sum up.
        return exit;
    }
    let told = replay.finish();
    let style = if arguments.json { Style::Json } else { Style::for_people(io::stdout()) };
    let mut log = Log::whole(io::stdout(), style);
    for event in told {
        if let Err(error) = log.tell(Mono::default(), &event) {
            // A reader that has seen enough (`| head`) is no fault.
            if error.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("portcullis: standard output: {error}");
                exit = Exit::Failed;
            }
            break;
        }
    }
    exit
}

/// A scan that a capture holds, and when it was clear that it is one.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The scan, whole.
    pub scan: Scan,
    /// The time of the last packet that the verdict needed.
    pub settled: Wall,
}

/// The scans that captures hold, one stream in this order: what `replay` tells of them, for who measures how well they
/// are judged.
///
/// # Errors
/// If one is no capture, or damaged; what came before is not told then.
pub fn judge<R: Read>(
    config: &Config,
    local: Option<&replay::Local>,
    captures: impl IntoIterator<Item = R>,
) -> Result<Vec<Finding>, CaptureError> {
    let mut replay = Replay::new(config, local);
    for capture in captures {
        replay.read_frames(&mut CaptureReader::open(capture)?)?;
    }
    replay.end();
    let settled = std::mem::take(&mut replay.settled);
    let finding = |(_, scan): (Wall, Scan)| {
        let settled = settled.get(&(scan.id, scan.source)).copied().unwrap_or(scan.last);
        Finding { scan, settled }
    };
    Ok(replay.scans.into_iter().map(finding).collect())
}

/// A capture under judgement.
struct Replay {
    engine: Engine,
    now: Now,
    first: Option<Wall>,
    last: Wall,
    /// How far the clock of waiting is ahead of the packets'.
    shift: Duration,
    scans: Vec<(Wall, Scan)>,
    /// When each was told of first.
    settled: BTreeMap<(Id, IpAddr), Wall>,
}

/// Nobody can be asked: the packets themselves tell, within the engine.
struct Nobody;

impl Host for Nobody {
    fn presence(&mut self, _: &Contact, _: Freshness) -> Presence {
        Presence::Unknown
    }
}

impl Replay {
    fn new(config: &Config, local: Option<&replay::Local>) -> Replay {
        let mut engine = Engine::new(plan::settings(config, config.respond.mode), View::Capture, KEY);
        let now = Now::default();
        engine.surround(now, surroundings(config, local));
        Replay {
            engine,
            now,
            first: None,
            last: Wall::default(),
            shift: Duration::ZERO,
            scans: Vec::new(),
            settled: BTreeMap::new(),
        }
    }

    /// Judges the packets of one file.
    fn read(&mut self, path: &Path) -> Result<(), ReadError> {
        let source: Box<dyn Read> = match path.as_os_str().as_encoded_bytes() {
            b"-" => Box::new(io::stdin().lock()),
            _ => Box::new(File::open(path).map_err(ReadError::Open)?),
        };
        let mut capture = CaptureReader::open(source).map_err(ReadError::Capture)?;
        self.read_frames(&mut capture).map_err(ReadError::Capture)?;
        for (link, count) in capture.skipped() {
            eprintln!(
                "portcullis: {}: {count} packets of link type {link} passed over; nothing here reads it",
                Escaped(&path.to_string_lossy())
            );
        }
        if capture.ending() == Some(Ending::Cut) {
            eprintln!(
                "portcullis: {}: cut after {} packets; what was whole is judged",
                Escaped(&path.to_string_lossy()),
                capture.packets()
            );
        }
        Ok(())
    }

    fn read_frames<R: Read>(&mut self, capture: &mut CaptureReader<R>) -> Result<(), CaptureError> {
        while let Some(frame) = capture.next_frame()? {
            self.arrive(frame.time);
            let frame = Frame {
                link: frame.link,
                bytes: frame.bytes,
                wire_length: frame.wire_length,
                checksums: Checksums::Recorded,
            };
            self.engine.frame(self.now, frame, 0, &mut Nobody);
            self.collect();
        }
        Ok(())
    }

    /// Captures may run backwards a little (several interfaces): waiting never does. A long step back is another
    /// recording (files in any order), whose clock goes on from here.
    fn arrive(&mut self, time: Wall) {
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = self.last.max(time);
        if time + ANOTHER_RECORDING < self.now.wall {
            self.shift = self.now.mono.0.saturating_sub(time.0);
        }
        self.now = Now { mono: self.now.mono.max(Mono(time.0.saturating_add(self.shift))), wall: time };
        if self.engine.next_timeout().is_some_and(|due| due <= self.now.mono) {
            self.engine.tick(self.now, &mut Nobody);
        }
    }

    fn collect(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            // The verdict is told once, when the scan is over and everything is known of it.
            if let Action::Record(record) = action
                && let What::Scan(scan) = record.what
            {
                if scan.is_ended {
                    self.scans.push((record.time, Scan { is_ended: false, ..scan }));
                } else {
                    self.settled.entry((scan.id, scan.source)).or_insert(scan.last);
                }
            }
        }
    }

    /// Behind the last packet: what still waits is decided.
    fn end(&mut self) {
        self.engine.finish(self.now, &mut Nobody);
        self.collect();
    }

    fn finish(mut self) -> Vec<LogEvent> {
        self.end();
        let counters = self.engine.counters();
        let first = self.first.unwrap_or_default();
        let refusals = self.engine.refusals().iter().filter(|(_, count)| *count > 0);
        let summary = Summary {
            packets: counters.packets,
            seconds: self.last.since(first).as_secs_f64(),
            sources: Some(self.engine.suspects().0 as u64 + self.scans.len() as u64),
            scanners: self.scans.len() as u64,
            faults: refusals.map(|(refusal, count)| (refusal.name().to_owned(), count)).collect(),
            ..Summary::default()
        };
        self.scans.sort_by_key(|(_, scan)| (scan.first, scan.source));
        let scans = self
            .scans
            .into_iter()
            .map(|(_, scan)| LogEvent { time: scan.last, told: Told::Seen(What::Scan(scan)) });
        scans.chain([LogEvent { time: self.last, told: Told::Summary(summary) }]).collect()
    }
}

/// What is known of the host that was captured: its addresses, if the operator says them. Its networks are taken to be
/// those of its addresses, as they nearly always are.
fn surroundings(config: &Config, local: Option<&replay::Local>) -> Surroundings {
    let (local, connected) = match local {
        None | Some(replay::Local::Any) => (Local::Any, Vec::new()),
        Some(replay::Local::Addresses(addresses)) => {
            let connected = addresses
                .iter()
                .filter(|own| own.is_ipv6())
                .map(|own| Connected { network: Prefix::containing(*own, 64), interface: 0 });
            let addresses: BTreeSet<IpAddr> = addresses.iter().copied().collect();
            (Local::Addresses(addresses.clone()), connected.collect())
        }
    };
    let protect = config.watch.protect.clone();
    Surroundings { local, connected, ephemeral: EPHEMERAL, protect, ..Surroundings::default() }
}

/// Why a file was not judged to its end.
#[derive(Debug)]
enum ReadError {
    Open(io::Error),
    Capture(CaptureError),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Open(error) => write!(f, "can't be opened: {error}"),
            ReadError::Capture(error) => {
                write!(f, "{error}")?;
                match std::error::Error::source(error) {
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_never_runs_backwards_and_an_older_recording_goes_on_from_here() {
        let mut replay = Replay::new(&Config::default(), None);
        let mut at = |seconds| {
            replay.arrive(Wall(Duration::from_secs(seconds)));
            replay.now.mono.0.as_secs()
        };
        assert_eq!([at(10_000), at(9_990), at(10_001)], [10_000, 10_000, 10_001], "a little disorder");
        assert_eq!([at(100), at(160), at(3000)], [10_001, 10_061, 12_901], "files in any order");
        assert_eq!(at(20_000), 29_901);
        // A crafted capture may claim any time.
        at(u64::MAX);
        at(0);
        at(u64::MAX);
    }
}
