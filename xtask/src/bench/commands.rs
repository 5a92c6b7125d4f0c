//! A command for each of many sources: whether every one is run, once, and no probe is lost meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant, SystemTime};

use testbed::Lab;

use super::portsentry::PortSentry;
use super::sender::{Probe, Sender, stranger};
use super::stream::route_strangers;
use super::table::{Line, time};
use super::{Bench, lab_for_peer, system};

const SOURCES: u32 = 3000;

/// Sources in a second. At the second PortSentry lost more than half when it was measured first.
const RATES: [u32; 2] = [500, 3000];

/// All responses, and only the command.
const BLOCK: [&str; 2] = ["1", "2"];

const MODE: &str = "-stcp";

const PORT: u16 = 111;

/// Where each command leaves its source. Neither program is asked what it has done: the command itself tells.
const RAN: &str = "/run/ran";

/// When nothing more has come for so long nothing more will: the slowest command seen took a tenth of it.
const QUIET: Duration = Duration::from_secs(3);

/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

/// What a file's time says is up to a tick of the kernel old (10 ms with the slowest clock, CONFIG_HZ=100), and may lie before the last probe.
const CLOCK_OF_FILES: Duration = Duration::from_millis(10);

/// `/bin/true` behind the mark. A line so short is written by one write(2) to the end of the file, so that commands
/// side by side don't mix theirs.
fn configuration(block: &str) -> String {
    format!(
        "TCP_PORTS=\"1,11,15,{PORT}\"\nIGNORE_FILE=\"/etc/portsentry/portsentry.ignore\"\n\
         HISTORY_FILE=\"/var/lib/portsentry/portsentry.history\"\n\
         BLOCKED_FILE=\"/var/lib/portsentry/portsentry.blocked\"\nRESOLVE_HOST=\"0\"\nBLOCK_UDP=\"0\"\n\
         BLOCK_TCP=\"{block}\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\n\
         KILL_RUN_CMD=\"echo $TARGET$ >>{RAN}; exec /bin/true\"\nSCAN_TRIGGER=\"0\"\n"
    )
}

/// What came of so many sources.
struct Seen {
    /// Sources whose command was run at least once.
    sources: usize,
    /// Commands beyond the first of a source.
    repeated: usize,
    /// Sources of which no alert is in the system's log.
    lost: usize,
    /// From the last probe to the last command.
    after: Duration,
}

impl Seen {
    fn is_complete(&self) -> bool {
        self.sources == SOURCES as usize && self.repeated == 0 && self.lost == 0
    }

    fn text(&self) -> String {
        let Self { sources, repeated, lost, after } = self;
        let repeated = if *repeated == 0 { String::new() } else { format!(", {repeated} again") };
        let after = match *after {
            after if after < CLOCK_OF_FILES => "with".to_owned(),
            after => format!("{} after", time(after)),
        };
        format!("{sources} commands{repeated}, {lost} probes lost, done {after} the last probe")
    }
}

/// Both programs, at both rates, with all responses and with the command alone.
pub fn measure(bench: &Bench) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for rate in RATES {
        for block in BLOCK {
            let configuration = configuration(block);
            let lab = lab_for_peer()?;
            let mut ours = PortSentry::start_ours(&lab.victim, &bench.program, MODE, &configuration)?;
            let seen = knock(&lab, &ours, rate)?;
            ours.stop();
            let what =
                format!("a command for each of {SOURCES} sources at {rate}/s, `BLOCK_TCP=\"{block}\"`");
            let line = Line::told(what, seen.text());
            let mut line = line.target("every command once, no probe lost", seen.is_complete());
            if let Some(program) = &bench.peer {
                let lab = lab_for_peer()?;
                let peer = PortSentry::start_as(&lab.victim, program, MODE, &configuration)?;
                let of_peer = knock(&lab, &peer, rate)?;
                let ratio = format!("{:.1} × as many", seen.sources as f64 / of_peer.sources.max(1) as f64);
                line = line.peer(format!("PortSentry 1.2 {}", of_peer.text()), ratio);
            }
            lines.push(line);
        }
    }
    Ok(lines)
}

/// A SYN from each source, and then the wait until no more commands are run.
fn knock(lab: &Lab, guard: &PortSentry, rate: u32) -> Result<Seen, String> {
    route_strangers(lab);
    let to = SocketAddrV4::new(lab.victim4(), PORT);
    let probes: Vec<Probe> = (0..SOURCES).map(|source| Probe::new(stranger(source), to)).collect();
    let mut sender = Sender::open(&lab.attacker, lab.victim4()).map_err(system)?;
    sender.send_at(&probes, rate).map_err(system)?;
    let ended = SystemTime::now();
    let (mut ran, mut alerts) = (String::new(), BTreeSet::new());
    let (mut last, mut news) = (ended, Instant::now());
    while news.elapsed() < QUIET {
        std::thread::sleep(LOOK);
        let told = guard.told();
        let (now, at) = lab.victim.enter(read).map_err(|error| format!("{RAN}: {error}"))?;
        if !told.is_empty() || now != ran {
            news = Instant::now();
        }
        alerts.extend(told.iter().filter_map(|line| source(line)));
        (ran, last) = (now, at.unwrap_or(last));
    }
    let mut times = BTreeMap::<&str, usize>::new();
    for source in ran.lines() {
        *times.entry(source).or_default() += 1;
    }
    let known: BTreeSet<String> = (0..SOURCES).map(|number| stranger(number).to_string()).collect();
    if let Some(stray) = times.keys().find(|source| !known.contains(**source)) {
        return Err(format!("{RAN} names {stray}, which sent nothing"));
    }
    Ok(Seen {
        sources: times.len(),
        repeated: times.values().map(|count| count - 1).sum(),
        lost: SOURCES as usize - alerts.len(),
        after: last.duration_since(ended).unwrap_or_default(),
    })
}

/// What the commands have left so far, and when the last did.
fn read() -> std::io::Result<(String, Option<SystemTime>)> {
    match fs::read_to_string(RAN) {
        Ok(text) => Ok((text, Some(fs::metadata(RAN)?.modified()?))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((String::new(), None)),
        Err(error) => Err(error),
    }
}

/// The stranger whose probe a line of the log alerts of.
fn source(line: &str) -> Option<Ipv4Addr> {
    let (_, rest) = line.split_once("attackalert: TCP SYN/Normal scan from host: ")?;
    rest.split_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_names_its_source() {
        let alert = "<29>Nov 21 02:10:00 portsentry[7]: attackalert: TCP SYN/Normal scan from host: \
                     10.96.0.1/10.96.0.1 to TCP port: 111";
        assert_eq!(source(alert), Some(Ipv4Addr::new(10, 96, 0, 1)));
        let other =
            "<29>Nov 21 02:10:00 portsentry[7]: attackalert: External command run for host: 10.96.0.1 using";
        assert_eq!(source(other), None);
    }
}
