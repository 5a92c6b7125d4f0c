//! What `status` tells, and the line of the day.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::event::Mode;

use super::guard::Vitals;
use super::peers;
use super::slow::Slow;
use crate::config::{Config, lines};
use crate::control::Status;
use crate::record::{Summary, json};

/// How things are.
#[must_use]
pub fn status(slow: &Slow, vitals: &Vitals) -> Status {
    let (mode, by) = slow.mode;
    let observed = (mode == Mode::Observe).then(|| would_have_banned(vitals, &peers::connected()));
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: std::process::id(),
        since: json::time(slow.since.wall),
        mode: mode.name().to_owned(),
        mode_by: by.words().to_owned(),
        configuration: slow.plan.configuration(),
        engine: slow.engine.to_owned(),
        interfaces: slow.look.watched.clone(),
        packets: vitals.counters.packets,
        dropped: vitals.dropped,
        refused: refused(vitals),
        probes: vitals.counters.probes,
        sources: vitals.suspects.0 as u64,
        forgotten: vitals.suspects.1,
        scans: vitals.counters.scans,
        bans: vitals.bans as u64,
        bans_not_in_force: vitals.bans_not_in_force as u64,
        bans_unsaved: vitals.bans_unsaved as u64,
        allowances: vitals.allowances as u64,
        would_have_banned: observed.map(|(sources, _)| sources),
        would_have_banned_peers: observed.map(|(_, peers)| peers),
        records_left_out: vitals.left_out,
        faults: faults(slow, vitals),
    }
}

/// The numbers of a while of observing.
#[must_use]
pub fn summary(vitals: &Vitals, connected: &HashSet<IpAddr>, span: Duration) -> Summary {
    let (sources, peers) = would_have_banned(vitals, connected);
    Summary {
        packets: vitals.counters.packets,
        seconds: span.as_secs_f64(),
        sources: vitals.suspects.0 as u64,
        scanners: vitals.counters.scans,
        dropped: Some(vitals.dropped),
        faults: refused(vitals),
        would_have_banned: Some(sources),
        would_have_banned_peers: Some(peers),
    }
}

fn would_have_banned(vitals: &Vitals, connected: &HashSet<IpAddr>) -> (u64, u64) {
    let peers = vitals.observed.iter().filter(|own| connected.contains(own)).count();
    (vitals.observed.len() as u64, peers as u64)
}

fn refused(vitals: &Vitals) -> std::collections::BTreeMap<String, u64> {
    let counted = vitals.refusals.iter().filter(|(_, count)| *count > 0);
    counted.map(|(refusal, count)| (refusal.name().to_owned(), count)).collect()
}

/// What is wrong now.
fn faults(slow: &Slow, vitals: &Vitals) -> Vec<String> {
    let mut faults = slow.faults.clone();
    faults.extend(slow.store_fault.clone());
    if let Some(complaint) = &vitals.complaint {
        faults.push(format!("the kernel refused the last change: {complaint}"));
    }
    if vitals.unanswered > 0 {
        faults.push(format!(
            "whether a service is there could not be asked {} times; those packets did not count",
            vitals.unanswered
        ));
    }
    for name in &slow.look.absent {
        let name = name.escape_debug();
        faults.push(format!("there is no interface \"{name}\" now; it is watched when it comes"));
    }
    faults
}

/// What is different between two configurations, one sentence each.
#[must_use]
pub fn differences(old: &Config, new: &Config) -> Vec<String> {
    let (old, new) = (lines(old), lines(new));
    let changed = old.iter().zip(&new).filter(|(old, new)| old != new);
    changed.map(|((key, old), (_, new))| format!("{key} = {new} (was {old})")).collect()
}

/// Keys whose value holds from start to end: what they name is opened once, some of it with rights given up later.
const FIXED: [&str; 5] =
    ["watch.engine", "watch.ring_mib", "record.state", "control.socket", "control.group"];

/// Whether this difference cannot be applied to a running program.
#[must_use]
pub fn needs_restart(difference: &str) -> bool {
    FIXED.iter().any(|key| difference.strip_prefix(key).is_some_and(|rest| rest.starts_with(" =")))
}
