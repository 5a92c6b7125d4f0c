//! What an old file means, in plain words: what `check` says of a portsentry.conf.

use std::fmt;

use portcullis_core::net::PortSet;
use serde::Serialize;

use super::super::duration::Span;
use super::{BlockMode, Dialect, KeyName, KillRouteBy, PortsentryConfig, missing_programs};
use crate::escape::printable;

/// The meaning of a portsentry.conf. The field names are those of its JSON form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// `PortSentry 1.x` or `PortSentry 2.x`.
    pub dialect: &'static str,
    /// Ports by way of starting, such as `-tcp and -stcp`.
    pub watches: Vec<(String, String)>,
    /// How many events of a source it takes.
    pub trigger: u32,
    /// What happens for TCP and for UDP.
    pub responses: Vec<(String, Vec<String>)>,
    /// How long a block lasts, as `12h`, or `ever`.
    pub block_time: String,
    /// Files that are read or written.
    pub files: Vec<(String, String)>,
    /// What is not as the file expects: programs that do not exist.
    pub warnings: Vec<String>,
}

/// Says what `config` means on this machine; it looks whether the programs of its commands exist.
#[must_use]
pub fn explain(config: &PortsentryConfig) -> Explanation {
    let listed = |ports: &Option<PortSet>| ports.as_ref().map_or("none".to_owned(), ToString::to_string);
    let watches = match config.dialect {
        Dialect::One => vec![
            ("-tcp, -stcp".to_owned(), format!("TCP {}", listed(&config.tcp_ports))),
            ("-udp, -sudp".to_owned(), format!("UDP {}", listed(&config.udp_ports))),
            ("-atcp".to_owned(), format!("TCP {}", config.advanced_tcp())),
            ("-audp".to_owned(), format!("UDP {}", config.advanced_udp())),
        ],
        Dialect::Two => vec![
            ("tcp".to_owned(), format!("TCP {}", listed(&config.tcp_ports))),
            ("udp".to_owned(), format!("UDP {}", listed(&config.udp_ports))),
        ],
    };
    let mut warnings = Vec::new();
    for (key, command) in [("KILL_ROUTE", &config.kill_route), ("KILL_RUN_CMD", &config.kill_run_cmd)] {
        if key == "KILL_ROUTE" && config.replaces_kill_route() {
            continue;
        }
        for missing in command.iter().flat_map(|command| missing_programs(command)) {
            let line = config.lines.iter().find(|(name, _)| name.name() == key).map_or(0, |(_, line)| *line);
            let place = match &missing.found {
                Some(path) => format!("there is {}", path.display()),
                None => "and none of that name is installed".to_owned(),
            };
            warnings.push(format!("line {line}: {key}: {} does not exist; {place}", missing.program));
        }
    }
    if config.kill_route_by == KillRouteBy::Nftables && !config.replaces_kill_route() {
        let line = config.lines.get(&KeyName::KillRouteBy).copied().unwrap_or_default();
        let why = match config.kill_route {
            Some(_) => "KILL_ROUTE does more than shut an address out, so it is run as written all the same",
            None => "there is no KILL_ROUTE that it could replace",
        };
        warnings.push(format!("line {line}: KILL_ROUTE_BY: {why}"));
    }
    let files = [
        ("ignored hosts", &config.ignore_file),
        ("history", &config.history_file),
        ("blocked hosts", &config.blocked_file),
    ];
    Explanation {
        dialect: config.dialect.name(),
        watches,
        trigger: config.scan_trigger.max(1),
        responses: vec![
            ("TCP".to_owned(), responses(config, config.block_tcp)),
            ("UDP".to_owned(), responses(config, config.block_udp)),
        ],
        block_time: config.block_time.map_or_else(|| "ever".to_owned(), |time| Span(time).to_string()),
        files: files
            .into_iter()
            .filter_map(|(what, path)| Some((what.to_owned(), path.as_ref()?.to_string_lossy().into_owned())))
            .collect(),
        warnings,
    }
}

/// What is done, in the order in which PortSentry did it (specification, section 6.2).
fn responses(config: &PortsentryConfig, mode: BlockMode) -> Vec<String> {
    let command = config.kill_run_cmd.iter().map(|command| format!("run: {command}"));
    let mut block = Vec::new();
    block.extend(config.kill_hosts_deny.iter().map(|line| format!("add to /etc/hosts.deny: {line}")));
    block.extend(config.kill_route.iter().map(|command| match config.replaces_kill_route() {
        true => format!("ban in the kernel's packet filter, in place of: {command}"),
        false => format!("run: {command}"),
    }));
    if config.kill_route.is_none() {
        block.push("ban in the kernel's packet filter (there is no KILL_ROUTE)".to_owned());
    }
    match mode {
        BlockMode::LogOnly => vec!["log only".to_owned()],
        BlockMode::CommandOnly => command.collect(),
        BlockMode::Respond if config.kill_run_cmd_first => command.chain(block).collect(),
        BlockMode::Respond => block.into_iter().chain(command).collect(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Written for {}", self.dialect)?;
        for (index, (how, ports)) in self.watches.iter().enumerate() {
            let label = if index == 0 { "Watches" } else { "" };
            writeln!(f, "{label:12}{how:12}{ports}")?;
        }
        match self.trigger {
            1 => writeln!(f, "A scan is   the first event of a source")?,
            number => writeln!(f, "A scan is   {number} events of one source, however long that takes")?,
        }
        for (protocol, responses) in &self.responses {
            for (index, response) in responses.iter().enumerate() {
                let label = if index == 0 { format!("For {protocol}") } else { String::new() };
                writeln!(f, "{label:12}{}", printable(response))?;
            }
            if responses.is_empty() {
                writeln!(f, "For {protocol}     nothing: BLOCK is 2 and there is no KILL_RUN_CMD")?;
            }
        }
        match self.block_time.as_str() {
            "ever" => writeln!(
                f,
                "A block     lasts for ever, as with PortSentry; BLOCK_TIME=\"7d\" gives it an end"
            )?,
            time => writeln!(f, "A block     ends after {time} (BLOCK_TIME)")?,
        }
        for (what, path) in &self.files {
            writeln!(f, "File        {} ({what})", printable(path))?;
        }
        for warning in &self.warnings {
            writeln!(f, "Warning     {}", printable(warning))?;
        }
        Ok(())
    }
}
