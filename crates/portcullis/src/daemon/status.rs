//! What `status` tells, and the line of the day.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::engine::Counters;
use portcullis_core::event::Mode;
use portcullis_core::policy::Friend;
use portcullis_core::wire::Refusals;

use super::archive::Archive;
use super::doors;
use super::guard::{Complaints, Vitals};
use super::peers;
use super::sight;
use super::slow::Slow;
use crate::control::{ProtectedFields, Status};
use crate::record::{Summary, json};

/// Protected prefixes that are told.
const PROTECTED_TOLD: usize = 256;

/// How things are.
#[must_use]
pub fn status(slow: &Slow, vitals: &Vitals) -> Status {
    let (mode, by) = slow.mode;
    let observed = (mode == Mode::Observe).then(|| would_have_banned(vitals, &peers::connected()));
    let health = slow.output.archive().map(Archive::health).unwrap_or_default();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: std::process::id(),
        since: json::time(slow.since.wall),
        mode: mode.name().to_owned(),
        mode_by: by.words().to_owned(),
        mode_until: vitals.mode_until.map(json::time),
        configuration: slow.plan.configuration(),
        engine: slow.engine.to_owned(),
        interfaces: slow.look.watched.clone(),
        packets: vitals.received,
        dropped: vitals.dropped,
        refused: refused(vitals),
        probes: vitals.counters.probes,
        sources: vitals.suspects.0 as u64,
        forgotten: vitals.suspects.1,
        scans: vitals.counters.scans,
        bans: vitals.bans as u64,
        held: vitals.held as u64,
        bans_not_in_force: vitals.bans_not_in_force as u64,
        bans_unsaved: vitals.bans_unsaved as u64,
        brake: vitals.brake.clone(),
        spared: vitals.counters.spared,
        allowances: vitals.allowances as u64,
        protected: protected(slow),
        shut: doors::shut(slow.plan.doors.kernel.doors().iter()),
        would_have_banned: observed.map(|(sources, _)| sources),
        would_have_banned_peers: observed.map(|(_, peers)| peers),
        records_left_out: vitals.left_out,
        events_kept: health.kept,
        events_lost: health.lost,
        events_bytes: health.bytes,
        others: Vec::new(),
        unseen: sight::unseen(&slow.plan, &slow.look, vitals, slow.engine),
        faults: faults(slow, vitals),
    }
}

/// Who is protected since the host needs him, or he is at home on it.
fn protected(slow: &Slow) -> Vec<ProtectedFields> {
    let friends = slow.look.surroundings.friends.iter().take(PROTECTED_TOLD);
    let fields = |friend: &Friend| ProtectedFields {
        prefix: friend.prefix.to_string(),
        why: friend.why.words().to_owned(),
    };
    friends.map(fields).collect()
}

/// What had been counted at a moment.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    counters: Counters,
    refusals: Refusals,
    dropped: u64,
}

impl Counted {
    /// What has been counted by now.
    #[must_use]
    pub fn of(vitals: &Vitals) -> Counted {
        Counted {
            counters: vitals.counters.clone(),
            refusals: vitals.refusals.clone(),
            dropped: vitals.dropped,
        }
    }
}

/// The numbers of a while of observing: what was counted since `before`.
#[must_use]
pub fn summary(vitals: &Vitals, before: &Counted, connected: &HashSet<IpAddr>, span: Duration) -> Summary {
    let (sources, peers) = would_have_banned(vitals, connected);
    let refused = vitals.refusals.iter().map(|(refusal, count)| {
        (refusal.name().to_owned(), count.saturating_sub(before.refusals.count(refusal)))
    });
    Summary {
        packets: vitals.counters.packets.saturating_sub(before.counters.packets),
        seconds: span.as_secs_f64(),
        sources: None,
        scanners: vitals.counters.scans.saturating_sub(before.counters.scans),
        dropped: Some(vitals.dropped.saturating_sub(before.dropped)),
        faults: refused.filter(|(_, count)| *count > 0).collect(),
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
    faults.extend(slow.output.archive().and_then(Archive::complaint));
    let Complaints { filter, table, bans, releases, allowances, doors } = &vitals.complaints;
    for (what, complaint) in [
        ("the packet filter", filter),
        ("our table", table),
        ("bans", bans),
        ("releases from bans", releases),
        ("the allow list", allowances),
        ("doors", doors),
    ] {
        faults.extend(complaint.as_ref().map(|answer| format!("the kernel refused {what}: {answer}")));
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

/// Keys whose value holds from start to end: what they name is opened once, some of it with rights given up later.
const FIXED: [&str; 5] =
    ["watch.engine", "watch.ring_mib", "record.state", "control.socket", "control.group"];

/// The same where ports are opened.
const FIXED_LISTENING: [&str; 2] = ["watch.tcp", "watch.udp"];

/// Whether this difference cannot be applied to a running program, which has opened ports or not.
#[must_use]
pub fn needs_restart(difference: &str, opens_ports: bool) -> bool {
    let listening: &[&str] = if opens_ports { &FIXED_LISTENING } else { &[] };
    let is_key = |key: &&str| difference.strip_prefix(*key).is_some_and(|rest| rest.starts_with(" ="));
    FIXED.iter().chain(listening).any(is_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vitals(packets: u64, scans: u64, dropped: u64) -> Vitals {
        Vitals {
            counters: Counters { packets, scans, ..Counters::default() },
            refusals: Refusals::default(),
            received: packets,
            dropped,
            suspects: (0, 0),
            bans: 0,
            bans_not_in_force: 0,
            bans_unsaved: 0,
            held: 0,
            brake: None,
            allowances: 0,
            mode_until: None,
            observed: ["192.0.2.1", "192.0.2.2"].map(|a| a.parse().unwrap()).into(),
            unanswered: 0,
            left_out: 0,
            are_acks_unseen: false,
            complaints: Complaints::default(),
        }
    }

    #[test]
    fn the_line_of_a_day_tells_of_that_day_only() {
        let before = Counted::of(&vitals(1000, 7, 4));
        let connected = HashSet::from(["192.0.2.2".parse().unwrap()]);
        let summary = summary(&vitals(1500, 9, 4), &before, &connected, Duration::from_secs(86_400));
        assert_eq!((summary.packets, summary.scanners, summary.dropped), (500, 2, Some(0)));
        assert_eq!((summary.would_have_banned, summary.would_have_banned_peers), (Some(2), Some(1)));
    }
}
