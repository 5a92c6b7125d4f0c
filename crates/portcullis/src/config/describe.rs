//! What a good configuration means, in plain words and as JSON: what is watched, judged, protected and done.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use portcullis_core::scan::{FIRST_CHOSEN_PORT, MANY_PINGED};
use serde::Serialize;

use super::doors::{self, DoorSays};
use super::duration::Span;
use super::{By, Care, Config, EngineChoice, Judge, Trigger, Unproved};
use crate::escape::printable;

/// What `portcullis check` prints of a configuration without faults. The field names are those of its JSON form;
/// new ones may be added, none changes its meaning. Times are seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// What is looked at.
    pub watches: Watches,
    /// What is held to be a scan.
    pub judges: Judges,
    /// Who is never blocked.
    pub protects: Protects,
    /// What is done about a scanner.
    pub responds: Responds,
    /// Where the store lies.
    pub state: String,
    /// Who may speak with the running program.
    pub control: ControlSays,
    /// The doors.
    pub doors: Vec<DoorSays>,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Watches {
    /// The interfaces by name; empty is every one that is up, less the loopback.
    pub interfaces: Vec<String>,
    /// Networks of others whose traffic is judged too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<String>,
    /// TCP and SCTP ports, as the configuration writes them.
    pub tcp: String,
    /// How many those are.
    pub tcp_ports: usize,
    /// UDP ports.
    pub udp: String,
    /// How many those are.
    pub udp_ports: usize,
    /// `auto`, `ring` or `listen`.
    pub engine: &'static str,
    /// Size of the ring in MiB.
    pub ring_mib: u16,
}

/// What is held to be a scan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judges {
    /// `evidence` or `trigger`.
    pub by: &'static str,
    /// `careful`, `normal` or `strict`; left out where things are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub care: Option<&'static str>,
    /// The score that is a scan; left out where things are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// `ports` or `probes`.
    pub count: &'static str,
    /// How many of them are a scan. Where evidence is weighed: how many closed TCP ports are, at the slowest pace.
    pub trigger: u32,
    /// Within which time. Where evidence is weighed: by the clock that sees the slowest.
    pub window_seconds: f64,
    /// The slowest scan that is seen sends one probe in this time; left out where a single probe is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowest_probe_every_seconds: Option<f64>,
    /// How many sources are remembered at once.
    pub sources: usize,
}

/// Who is never blocked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Protects {
    /// The allow list.
    pub allow: Vec<String>,
    /// Interfaces whose traffic is not judged.
    pub interfaces: Vec<String>,
    /// Whether default gateways are protected.
    pub gateways: bool,
    /// Whether resolvers are.
    pub resolvers: bool,
    /// Whether time servers are.
    pub time_servers: bool,
    /// Whether hosts are from where somebody is logged in.
    pub logged_in: bool,
    /// Whether networks of containers are.
    pub containers: bool,
    /// Automatic bans and holds a minute beyond which the brake is on; 0 is no brake.
    pub brake: u32,
}

/// What is done about a scanner.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Responds {
    /// `observe` or `enforce`.
    pub mode: &'static str,
    /// Length of a first ban in seconds; left out where it is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban_seconds: Option<f64>,
    /// Whether bans have no end.
    pub ban_ever: bool,
    /// By what each return multiplies a ban.
    pub growth: f64,
    /// The longest ban.
    pub ban_max_seconds: f64,
    /// How long a source must stay away to count as new.
    pub memory_seconds: f64,
    /// `hold` or `ban`: what a scan costs that does not prove who sent it.
    pub unproved: &'static str,
    /// Length of a first hold in seconds.
    pub hold_seconds: f64,
    /// The longest hold.
    pub hold_max_seconds: f64,
    /// Whether bans outlive the program.
    pub keep_on_stop: bool,
    /// The first bans of a source that keeps coming back, as text; at most five, the last is the longest.
    #[serde(skip)]
    pub steps: Vec<String>,
}

/// Who may speak with the running program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlSays {
    /// The socket.
    pub socket: String,
    /// The group that may read.
    pub group: String,
    /// Who may change things, beside root.
    pub operators: Vec<String>,
}

/// Says what `config` means.
#[must_use]
pub fn describe(config: &Config) -> Description {
    let watch = &config.watch;
    Description {
        watches: Watches {
            interfaces: watch.interfaces.clone(),
            protect: watch.protect.iter().map(ToString::to_string).collect(),
            tcp: watch.tcp.to_string(),
            tcp_ports: watch.tcp.count(),
            udp: watch.udp.to_string(),
            udp_ports: watch.udp.count(),
            engine: match watch.engine {
                EngineChoice::Auto => "auto",
                EngineChoice::Ring => "ring",
                EngineChoice::Listen => "listen",
            },
            ring_mib: watch.ring_mib,
        },
        judges: judges(&config.judge),
        protects: Protects {
            allow: config
                .protect
                .allow
                .iter()
                .map(ToString::to_string)
                .chain(config.protect.names.clone())
                .collect(),
            interfaces: config.protect.interfaces.clone(),
            gateways: config.protect.gateways,
            resolvers: config.protect.resolvers,
            time_servers: config.protect.time_servers,
            logged_in: config.protect.logged_in,
            containers: config.protect.containers,
            brake: config.protect.brake,
        },
        responds: Responds {
            mode: config.respond.mode.name(),
            ban_seconds: config.respond.ban.map(|ban| ban.as_secs_f64()),
            ban_ever: config.respond.ban.is_none(),
            growth: config.respond.growth,
            ban_max_seconds: config.respond.ban_max.as_secs_f64(),
            memory_seconds: config.respond.memory.as_secs_f64(),
            unproved: match config.respond.unproved {
                Unproved::Hold => "hold",
                Unproved::Ban => "ban",
            },
            hold_seconds: config.respond.hold.as_secs_f64(),
            hold_max_seconds: config.respond.hold_max.as_secs_f64(),
            keep_on_stop: config.respond.keep_on_stop,
            steps: steps(config),
        },
        state: shown(&config.record.state),
        control: ControlSays {
            socket: shown(&config.control.socket),
            group: config.control.group.clone(),
            operators: config.control.operators.clone(),
        },
        doors: config.doors.iter().map(doors::describe).collect(),
    }
}

fn judges(judge: &Judge) -> Judges {
    let sources = judge.sources;
    match judge.by {
        By::Trigger => {
            let (count, trigger) = match judge.trigger {
                Trigger::Ports(number) => ("ports", number),
                Trigger::Probes(number) => ("probes", number),
            };
            Judges {
                by: "trigger",
                care: None,
                score: None,
                count,
                trigger,
                window_seconds: judge.window.as_secs_f64(),
                slowest_probe_every_seconds: slowest(judge.window, trigger).map(|gap| gap.as_secs_f64()),
                sources,
            }
        }
        By::Evidence => {
            let settings = judge.evidence();
            let slowest = settings.slowest();
            Judges {
                by: "evidence",
                care: (judge.score == 0.0).then_some(match judge.care {
                    Care::Careful => "careful",
                    Care::Normal => "normal",
                    Care::Strict => "strict",
                }),
                score: Some(settings.enough.nats()),
                count: "ports",
                trigger: slowest.ports,
                window_seconds: slowest.within.as_secs_f64(),
                slowest_probe_every_seconds: (slowest.ports > 1).then_some(slowest.gap.as_secs_f64()),
                sources,
            }
        }
    }
}

/// The longest time between two probes of a scan that is still seen: the window holds one gap less than probes.
fn slowest(window: Duration, trigger: u32) -> Option<Duration> {
    window.checked_div(trigger.checked_sub(1)?)
}

/// The lengths of the first bans of a source that keeps coming back, up to the longest.
fn steps(config: &Config) -> Vec<String> {
    let respond = &config.respond;
    let Some(mut ban) = respond.ban else { return Vec::new() };
    let mut steps = vec![Span(ban).to_string()];
    while steps.len() < 4 && respond.growth > 1.0 && ban < respond.ban_max {
        let grown = ban.as_secs_f64() * respond.growth;
        ban = Duration::try_from_secs_f64(grown).unwrap_or(respond.ban_max).min(respond.ban_max);
        steps.push(Span(ban).to_string());
    }
    if respond.growth > 1.0 && ban < respond.ban_max {
        steps.push(format!("… up to {}", Span(respond.ban_max)));
    }
    steps
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn seconds(seconds: f64) -> Span {
    Span(Duration::try_from_secs_f64(seconds).unwrap_or(Span::LONGEST))
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watches = &self.watches;
        let on = match watches.interfaces.is_empty() {
            true => "every interface that is up, but the loopback".to_owned(),
            false => watches.interfaces.join(", "),
        };
        writeln!(f, "Watches     {}", printable(&on))?;
        if !watches.protect.is_empty() {
            writeln!(f, "            what goes from and to {} too", watches.protect.join(", "))?;
        }
        writeln!(f, "            TCP and SCTP ports {} ({} of them)", watches.tcp, watches.tcp_ports)?;
        writeln!(f, "            UDP ports {} ({} of them)", watches.udp, watches.udp_ports)?;
        let how = match watches.engine {
            "listen" => "with plain sockets: finished connections and datagrams only".to_owned(),
            _ => format!("with a packet ring of {} MiB; no port is opened", watches.ring_mib),
        };
        writeln!(f, "            {how}")?;
        if watches.engine != "listen" {
            writeln!(
                f,
                "            not seen: ACK and Window scans of ports that offer a service or lie above {}, and pings \
                 where this host has fewer than {} addresses",
                FIRST_CHOSEN_PORT - 1,
                MANY_PINGED
            )?;
        }

        let judges = &self.judges;
        let within = seconds(judges.window_seconds);
        match (judges.trigger, judges.count, judges.slowest_probe_every_seconds) {
            _ if judges.by == "evidence" => write_evidence(judges, f)?,
            (1, _, _) | (_, _, None) => {
                writeln!(f, "A scan is   the first probe to a watched port without a service")?;
            }
            (number, count, Some(gap)) => {
                let what = if count == "ports" { "distinct ports" } else { "probes" };
                writeln!(f, "A scan is   {number} {what} within {within} from one source")?;
                writeln!(f, "            slowest scan seen: one probe every {}", seconds(gap))?;
            }
        }
        writeln!(f, "            {} sources are remembered at once", judges.sources)?;

        let protects = &self.protects;
        let mut friends = vec!["this host's own addresses".to_owned()];
        friends.extend(protects.gateways.then(|| "the default gateways".to_owned()));
        friends.extend(protects.resolvers.then(|| "the resolvers of /etc/resolv.conf".to_owned()));
        writeln!(f, "Protects    {}", friends.join(", "))?;
        let mut others: Vec<&str> = Vec::new();
        others.extend(protects.time_servers.then_some("time servers in use"));
        others.extend(protects.logged_in.then_some("hosts from where somebody is logged in"));
        others.extend(protects.containers.then_some("networks of this host's containers"));
        for line in [others.join(", "), protects.allow.join(", ")].iter().filter(|line| !line.is_empty()) {
            writeln!(f, "            {line}")?;
        }
        if !protects.interfaces.is_empty() {
            writeln!(f, "            all that comes in by {}", printable(&protects.interfaces.join(", ")))?;
        }

        match protects.brake {
            0 => writeln!(f, "            without a brake")?,
            limit => writeln!(
                f,
                "            beyond {limit} bans and holds a minute the brake spares who is connected"
            )?,
        }

        let responds = &self.responds;
        let bans = match responds.ban_ever {
            true => "for ever".to_owned(),
            false if responds.steps.len() == 1 => format!("for {}, each time", responds.steps[0]),
            false => format!(
                "for {}; after {} away a source counts as new",
                responds.steps.join(", "),
                seconds(responds.memory_seconds)
            ),
        };
        match responds.mode {
            "enforce" => {
                writeln!(f, "Does        enforce: bans scanners {bans}")?;
                let stop = if responds.keep_on_stop { "stay until their time" } else { "are lifted" };
                writeln!(f, "            when the program stops, bans {stop}")?;
            }
            _ => writeln!(f, "Does        observe: tells, and bans nobody (it would ban {bans})")?,
        }
        let (hold, longest) = (seconds(responds.hold_seconds), seconds(responds.hold_max_seconds));
        match responds.unproved {
            "ban" => {
                writeln!(f, "            bans also who does not prove who he is: forged scans hit friends")?
            }
            _ => writeln!(
                f,
                "            who does not prove who he is is held instead, for {hold}, {longest} at most: what stands goes on"
            )?,
        }
        for door in &self.doors {
            writeln!(f, "{door}")?;
        }
        writeln!(f, "Keeps       {}", printable(&self.state))?;
        write!(
            f,
            "Answers     at {}, readable for group {}",
            printable(&self.control.socket),
            printable(&self.control.group)
        )?;
        match self.control.operators.as_slice() {
            [] => write!(f, "; only root changes things"),
            operators => write!(f, "; root and {} change things", printable(&operators.join(", "))),
        }
    }
}

fn write_evidence(judges: &Judges, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let score = judges.score.unwrap_or_default();
    let care = judges.care.map(|care| format!("{care}: ")).unwrap_or_default();
    writeln!(f, "A scan is   a score of {score} from one source ({care}what it tried is weighed)")?;
    match judges.slowest_probe_every_seconds {
        None => writeln!(f, "            the first probe to a closed port is enough")?,
        Some(0.0) => {
            writeln!(f, "            no number of closed ports alone is enough: lower score or care")?
        }
        Some(gap) => writeln!(
            f,
            "            slowest scan seen: one closed TCP port every {}, found at the {}th, if he never used a service",
            seconds(gap.floor()),
            judges.trigger
        )?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn the_defaults_are_said_in_plain_words() {
        assert_eq!(
            describe(&Config::default()).to_string(),
            "\
Watches     every interface that is up, but the loopback
            TCP and SCTP ports 1-65535 (65535 of them)
            UDP ports 1-65535 (65535 of them)
            with a packet ring of 16 MiB; no port is opened
            not seen: ACK and Window scans of ports that offer a service or lie above 32767, and pings where this host has fewer than 5 addresses
A scan is   a score of 6 from one source (normal: what it tried is weighed)
            slowest scan seen: one closed TCP port every 2d8h, found at the 5th, if he never used a service
            32768 sources are remembered at once
Protects    this host's own addresses, the default gateways, the resolvers of /etc/resolv.conf
            time servers in use, hosts from where somebody is logged in, networks of this host's containers
            beyond 100 bans and holds a minute the brake spares who is connected
Does        observe: tells, and bans nobody (it would ban for 10m, 20m, 40m, 1h20m, … up to 7d; after 30d away a source counts as new)
            who does not prove who he is is held instead, for 1m, 2m at most: what stands goes on
Keeps       /var/lib/portcullis
Answers     at /run/portcullis/ctl.sock, readable for group portcullis; only root changes things"
        );
    }

    #[test]
    fn an_unusual_configuration_is_said_as_it_is() {
        let text = "[watch]\ninterfaces = [\"eth0\"]\ntcp = \"22, 80-90\"\nudp = \"none\"\nengine = \"listen\"\n\
                    [judge]\nby = \"trigger\"\ntrigger = 1\n[respond]\nmode = \"enforce\"\nban = \"ever\"\nkeep_on_stop = false\n\
                    [protect]\nallow = [\"10.0.0.0/8\", \"home.example\"]\ngateways = false\nlogged_in = false\ninterfaces = [\"wg0\"]\n\
                    [control]\noperators = [\"anna\"]\n";
        let said = describe(&parse(Path::new("p"), text).unwrap()).to_string();
        for line in [
            "Watches     eth0\n",
            "ports 22, 80-90 (12 of them)",
            "UDP ports none (0 of them)",
            "with plain sockets",
            "A scan is   the first probe",
            "Protects    this host's own addresses, the resolvers of /etc/resolv.conf\n",
            "            time servers in use, networks of this host's containers\n",
            "            10.0.0.0/8, home.example\n",
            "all that comes in by wg0",
            "enforce: bans scanners for ever",
            "bans are lifted",
            "root and anna change things",
        ] {
            assert!(said.contains(line), "{line}\n{said}");
        }
    }

    #[test]
    fn the_json_form_has_the_promised_names() {
        let json = serde_json::to_value(describe(&Config::default())).unwrap();
        assert_eq!(json["judges"]["slowest_probe_every_seconds"], 201_600.0);
        assert_eq!((&json["judges"]["by"], &json["judges"]["care"]), (&"evidence".into(), &"normal".into()));
        let counting = parse(Path::new("p"), "[judge]\nby = \"trigger\"\n").unwrap();
        let counting = serde_json::to_value(describe(&counting)).unwrap();
        assert_eq!(counting["judges"]["slowest_probe_every_seconds"], 15.0);
        assert_eq!(counting["judges"]["count"], "ports");
        assert_eq!(json["watches"]["tcp"], "1-65535");
        assert_eq!(json["responds"]["ban_seconds"], 600.0);
        assert_eq!(json["responds"]["mode"], "observe");
        assert_eq!(json["control"]["socket"], "/run/portcullis/ctl.sock");
    }

    #[test]
    fn bans_that_do_not_grow_are_not_said_to_grow() {
        let text = "[respond]\ngrowth = 1\nmode = \"enforce\"\n";
        let said = describe(&parse(Path::new("p"), text).unwrap()).to_string();
        assert!(said.contains("bans scanners for 10m, each time\n"), "{said}");
        let text = "[respond]\ngrowth = 100\nban_max = \"1h\"\n";
        assert_eq!(describe(&parse(Path::new("p"), text).unwrap()).responds.steps, ["10m", "1h"]);
    }
}
