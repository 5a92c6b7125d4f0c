//! Captures of scans and of friends, made by generator, and who is to blame in each: what the judge is measured on.
//!
//! A [`Family`] is a kind of scan or of friend; with a seed it becomes a [`Scenario`]: other hosts, services,
//! firewalls, paces, orders, directions. Nothing is fetched, no capture lies in the tree, and the same seed gives the
//! same bytes on every machine.
//!
//! ```
//! let family = corpus::families().into_iter().find(|family| family.name == "nmap -sS").unwrap();
//! let scenario = family.scenario(0);
//! assert!(scenario.packets.len() > 10 && scenario.incidents.len() == 1);
//! ```
//!
//! How real they are: nmap's techniques and fingerprints, masscan and hping3 were captured on a veth and then made by
//! our own means, and so were the answers of a Linux kernel; zmap, Mirai and nmap's paces are as their authors describe
//! them; FTP, SIP, DNS, happy eyeballs and their like follow their RFCs; what lingers (bookmarks, forwards, swarms,
//! cameras) follows experience, and is the least sure.
//!
//! `portcullis`' test and example `accuracy` replay them and [`score`] counts; `cargo xtask corpus DIR` writes them as
//! captures. Scans are in `scans/`, friends in `friends/`, [`rules`] has the rules of others, to compare.

pub mod dice;
mod friends;
pub mod host;
pub mod pcap;
pub mod rules;
mod scans;
pub mod score;
pub mod stage;
pub mod talk;
mod view;

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::wire::Link;

pub use scans::THREE_SERVICES;
use stage::Stage;
pub use view::Disorder;

/// What is asked of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A scan, fast or to nmap's T1, with five ports or more, or twelve addresses or more.
    Scan,
    /// T0, one an hour, few ports, decoys, distributed, ACK alone, fragments, sweeps.
    HardScan,
    /// Nobody to blame, seen whole.
    Friend,
    /// Nobody to blame, seen one way only or from the middle on, or one of many peers.
    OddFriend,
}

impl Class {
    /// All, in the order of the table.
    pub const ALL: [Class; 4] = [Class::Scan, Class::HardScan, Class::Friend, Class::OddFriend];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Class::Scan => "ordinary scan",
            Class::HardScan => "hard scan",
            Class::Friend => "ordinary friend",
            Class::OddFriend => "odd friend",
        }
    }

    /// Whether somebody is to be found.
    #[must_use]
    pub fn is_scan(self) -> bool {
        matches!(self, Class::Scan | Class::HardScan)
    }
}

/// What was in a capture that somebody is to blame for.
#[derive(Clone, Debug)]
pub struct Incident {
    /// In whose names the probes came; whoever is named besides these is blamed wrongly.
    pub sources: Vec<IpAddr>,
    /// How many of them must be named for the scan to be found. With decoys one is enough: nobody can tell which.
    pub enough: usize,
    /// The kinds, as the field `kinds` calls them: one of these must be named.
    pub kinds: Vec<&'static str>,
    /// Kinds that may be named besides (a ping before, a finished handshake with a service).
    pub besides: Vec<&'static str>,
    /// The shapes that are right.
    pub shapes: Vec<&'static str>,
}

impl Incident {
    /// One source, one kind, one shape.
    #[must_use]
    pub fn of(source: IpAddr, kind: &'static str, shape: &'static str) -> Incident {
        Incident {
            sources: vec![source],
            enough: 1,
            kinds: vec![kind],
            besides: Vec::new(),
            shapes: vec![shape],
        }
    }

    /// These kinds may be named too.
    #[must_use]
    pub fn besides(mut self, kinds: &[&'static str]) -> Incident {
        self.besides.extend(kinds);
        self
    }

    /// This kind is right as well.
    #[must_use]
    pub fn or_kind(mut self, kind: &'static str) -> Incident {
        self.kinds.push(kind);
        self
    }

    /// This shape is right as well.
    #[must_use]
    pub fn or_shape(mut self, shape: &'static str) -> Incident {
        self.shapes.push(shape);
        self
    }
}

/// A packet and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Since 1970.
    pub at: Duration,
    /// From the IP header on.
    pub bytes: Vec<u8>,
}

/// A kind of scan or of friend.
#[derive(Clone, Copy)]
pub struct Family {
    /// What it is called in the table.
    pub name: &'static str,
    /// What is asked of it.
    pub class: Class,
    /// Plays it.
    play: fn(&mut Stage),
    /// How it may be seen.
    seen: view::Seen,
}

/// A family played with one seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its family.
    pub family: &'static str,
    /// What is asked of it.
    pub class: Class,
    /// Its seed.
    pub seed: u64,
    /// The addresses of the guarded host.
    pub local: Vec<IpAddr>,
    /// Its services, firewall, and how it was seen; for people.
    pub about: String,
    /// What the frames of the capture begin with.
    pub link: Link,
    /// The number of the VLAN that frames are tagged with, where the link has tags.
    pub vlan: Option<u16>,
    /// Bytes kept of each frame.
    pub snap: usize,
    /// As they stand in the file; time may step back.
    pub packets: Vec<Captured>,
    /// Who is to be found; nobody in a capture of friends.
    pub incidents: Vec<Incident>,
    /// TCP and UDP ports with a service.
    pub services: (Vec<u16>, Vec<u16>),
}

impl Family {
    fn new(name: &'static str, class: Class, play: fn(&mut Stage)) -> Family {
        Family { name, class, play, seen: view::Seen::Whole }
    }

    /// The family with this seed.
    #[must_use]
    pub fn scenario(&self, seed: u64) -> Scenario {
        let mut stage = Stage::new(self.name, seed);
        (self.play)(&mut stage);
        view::of(self, seed, stage)
    }
}

impl Scenario {
    /// Its name as a file: `nmap-sS-7`.
    #[must_use]
    pub fn file_name(&self) -> String {
        let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let mut name: String = self.family.chars().map(letter).collect();
        while name.contains("--") {
            name = name.replace("--", "-");
        }
        format!("{}-{}", name.trim_matches('-'), self.seed)
    }
}

/// All families, scans first.
#[must_use]
pub fn families() -> Vec<Family> {
    [scans::families(), friends::families()].concat()
}

/// The families of the class.
#[must_use]
pub fn families_of(class: Class) -> Vec<Family> {
    families().into_iter().filter(|family| family.class == class).collect()
}
