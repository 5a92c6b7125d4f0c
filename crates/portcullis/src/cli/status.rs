//! `status`: what the daemon does now.

use clap::Args;

use super::output::Output;
use super::place::{OWN_NAME, Place, others, shown};
use crate::control::Status;
use crate::control::client::Failure;
use crate::control::protocol::{Reply, Request};
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::record::{json, words};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Tells it.
pub fn status(arguments: &StatusArguments) -> Result<Exit, Failure> {
    let mut client = arguments.place.connect()?;
    let mut output = Output::new();
    let others = others(client.path());
    client.ask(&Request::Status, |reply| {
        let Reply::Status(mut status) = reply else { return Ok(()) };
        status.others.clone_from(&others);
        if arguments.json {
            return output.line(&json::text(&status));
        }
        describe(&status).iter().try_for_each(|line| output.line(line))
    })?;
    output.finish()?;
    Ok(Exit::Done)
}

/// The answers to what an administrator asks first, in that order: is it on, does it see, does it act, is anything
/// wrong?
fn describe(status: &Status) -> Vec<String> {
    let clean = |text: &str| Escaped(text).to_string();
    let list = |texts: &[String]| {
        if texts.is_empty() { "none".to_owned() } else { clean(&texts.join(", ")) }
    };
    let configuration = status.configuration.as_deref().unwrap_or("built-in defaults");
    let doing = match status.mode.as_str() {
        "observe" if !status.shut.is_empty() => "observe (no scanner is blocked)",
        "observe" => "observe (nothing is blocked)",
        other => other,
    };
    let mut lines = vec![
        format!(
            "portcullis {} runs since {} (process {})",
            clean(&status.version),
            clean(&status.since),
            status.process
        ),
        format!("mode           {} ({}){}", clean(doing), clean(&status.mode_by), mode_end(status)),
        format!("watches        {} ({})", list(&status.interfaces), clean(&status.engine)),
        format!("configuration  {}", clean(configuration)),
        format!(
            "packets        {} looked at, {} dropped by the kernel{}",
            status.packets,
            status.dropped,
            refused(status)
        ),
        format!(
            "scans          {} from {} probes; {} {} remembered{}",
            status.scans,
            status.probes,
            status.sources,
            words::plural(status.sources, "source is", "sources are"),
            if status.forgotten > 0 {
                format!(", {} forgotten for want of room", status.forgotten)
            } else {
                String::new()
            }
        ),
        format!("bans           {}, and {} held{}", status.bans, status.held, not_whole(status)),
        format!("allowed        {} by hand", status.allowances),
    ];
    lines.extend(protected(status));
    if !status.shut.is_empty() {
        let shut = clean(&status.shut.join(" and "));
        lines.push(format!("doors          shut {shut} to all who have not knocked; see: portcullis doors"));
    }
    if let Some(kept_back) = &status.brake {
        lines.push(format!(
            "brake          on: too many scanners at once; kept back, since connected with this host: {}",
            list(kept_back)
        ));
    }
    if status.records_left_out > 0 {
        lines.push(format!(
            "left out       {} log lines, because there were too many at once",
            status.records_left_out
        ));
    }
    if let Some(would) = status.would_have_banned {
        let peers = status
            .would_have_banned_peers
            .map(|peers| format!(", {peers} of them {} of yours", words::plural(peers, "a peer", "peers")))
            .unwrap_or_default();
        lines.push(format!(
            "would have banned {would} {}{peers} in the last day; to block: portcullis enforce",
            words::plural(would, "source", "sources")
        ));
    }
    let others = status.others.iter();
    lines.extend(others.map(|name| {
        let which = if name == OWN_NAME { String::new() } else { format!(" --instance {}", clean(name)) };
        format!("beside it      {}; see it: portcullis status{which}", clean(shown(name)))
    }));
    lines.extend(status.unseen.iter().map(|what| format!("not seen       {}", clean(what))));
    lines.extend(status.faults.iter().map(|fault| format!("fault: {}", clean(fault))));
    lines
}

fn mode_end(status: &Status) -> String {
    let Some(until) = &status.mode_until else { return String::new() };
    let until = Escaped(until);
    match status.mode.as_str() {
        "enforce" => format!(", on trial until {until}; to stay: portcullis enforce --keep"),
        _ => format!(" until {until}, then enforce"),
    }
}

/// Who is protected, a line for each reason.
fn protected(status: &Status) -> Vec<String> {
    /// Named in one line.
    const NAMED: usize = 6;
    let mut reasons: Vec<&str> = status.protected.iter().map(|own| own.why.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let line = |(place, reason): (usize, &str)| {
        let all = status.protected.iter().filter(|own| own.why == reason);
        let mut named: Vec<String> =
            all.clone().take(NAMED).map(|own| Escaped(&own.prefix).to_string()).collect();
        if all.count() > NAMED {
            named.push("…".to_owned());
        }
        let title = if place == 0 { "protects" } else { "" };
        format!("{title:<15}{}: {}", named.join(", "), Escaped(reason))
    };
    reasons.into_iter().enumerate().map(line).collect()
}

fn refused(status: &Status) -> String {
    let reasons: Vec<String> =
        status.refused.iter().map(|(reason, count)| format!("{count} {}", Escaped(reason))).collect();
    if reasons.is_empty() { String::new() } else { format!("; not readable: {}", reasons.join(", ")) }
}

fn not_whole(status: &Status) -> String {
    let mut parts = Vec::new();
    if status.bans_not_in_force > 0 {
        parts.push(format!("{} not in force yet", status.bans_not_in_force));
    }
    if status.bans_unsaved > 0 {
        parts.push(format!("{} not saved yet", status.bans_unsaved));
    }
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}
