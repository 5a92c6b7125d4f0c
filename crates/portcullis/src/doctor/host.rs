//! What the program needs of its host: rights, a place to write, interfaces, a clock that is right.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_core::door::event::tells_age;
use portcullis_sys::capabilities::{self, Capability};
use portcullis_sys::clock;
use portcullis_sys::route;
use portcullis_sys::sock_diag::Sockets;
use rustix::fs::{Access, access, statvfs};
use rustix::io::Errno;
use serde_json::Value;

use super::examination::Running;
use super::finding::{Finding, Grade, Step};
use super::scene::Scene;
use crate::causes;
use crate::daemon::plan::Plan;

/// Less room than this for the store is soon none.
const ROOM: u64 = 16 << 20;

/// A knock may be made this long before or after by its own rules; what differs more tells of a clock.
const CLOCK_SECONDS: i64 = 60;

/// Looks at the host.
#[must_use]
pub fn look(plan: &Plan, running: Option<&Running>, scene: &Scene) -> Vec<Finding> {
    let mut findings = rights(running);
    findings.push(state(&plan.config.record.state));
    findings.extend(interfaces(plan, running));
    findings.extend(ipv6(Path::new("/proc/sys/net/ipv6")));
    findings.extend(firewalls(scene, &plan.names.table));
    findings.extend(cutting(plan));
    if plan.doors.has_times {
        findings.push(synchronized());
    }
    findings.extend(running.and_then(|running| by_knocks(&running.events)));
    findings
}

/// Of this process: whoever starts the program as this was started gives it the same.
fn rights(running: Option<&Running>) -> Vec<Finding> {
    let missing: Vec<&str> = [Capability::NetRaw, Capability::NetAdmin]
        .into_iter()
        .filter(|capability| !capabilities::has(*capability).unwrap_or(false))
        .map(Capability::name)
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let what = format!("this check lacks {}", missing.join(" and "));
    let why = match running {
        Some(_) => "the rules in force can only be looked at with them",
        None => "a program that is started like this could not capture, or not block, either",
    };
    let mend = Step::advice(
        "run it as root; for the program: its systemd unit, or setcap cap_net_raw,cap_net_admin+ep on its file",
    );
    vec![Finding::new(Grade::Warning, "rights", what).because(why).mended_by(vec![mend])]
}

/// Whether what must outlive a restart can be written. Nothing is written for it.
fn state(wanted: &Path) -> Finding {
    const PLACE: &str = "state";
    let there = wanted.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let shown = wanted.display();
    let why = "bans, openings and used sequences would not outlive a restart";
    match access(there, Access::WRITE_OK) {
        Ok(()) => {}
        Err(Errno::ROFS) => {
            let what = format!("{shown} cannot be written: its file system is read-only");
            let elsewhere = Step::advice("or set [record] state to a place that can be written");
            let mend = match mount_point(there) {
                Some(point) => vec![Step::run(format!("mount -o remount,rw {point}")), elsewhere],
                None => vec![elsewhere],
            };
            return Finding::new(Grade::Fault, PLACE, what).because(why).mended_by(mend);
        }
        Err(error) => {
            let what = format!("{shown} cannot be written by this user: {}", std::io::Error::from(error));
            return Finding::new(Grade::Warning, PLACE, what).because("the program may run as another one");
        }
    }
    let room = statvfs(there).map(|found| found.f_bavail.saturating_mul(found.f_frsize));
    match room {
        Ok(room) if room < ROOM => {
            let what = format!("{} KiB are left for {shown}", room >> 10);
            let mend = Step::advice(format!("make room below {}", there.display()));
            Finding::new(Grade::Fault, PLACE, what).because(why).mended_by(vec![mend])
        }
        _ => Finding::ok(PLACE, format!("{shown} can be written")),
    }
}

/// The mount point that a path is below; `None` if its name could not stand in a command.
fn mount_point(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    // proc(5): the fifth word. Of several at one place the last one counts, and the longest is the nearest.
    let points =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| path.starts_with(point));
    let nearest = points.max_by_key(|point| PathBuf::from(point).components().count())?;
    let is_plain = nearest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte));
    is_plain.then(|| nearest.to_owned())
}

fn interfaces(plan: &Plan, running: Option<&Running>) -> Vec<Finding> {
    const PLACE: &str = "interfaces";
    let network = match route::snapshot() {
        Ok(network) => network,
        Err(error) => {
            let what = format!("interfaces could not be read: {}", causes::said(&error));
            return vec![Finding::new(Grade::Warning, PLACE, what)];
        }
    };
    let mut findings = Vec::new();
    for (key, names) in
        [("[watch]", &plan.config.watch.interfaces), ("[protect]", &plan.config.protect.interfaces)]
    {
        // The running program tells this itself.
        let names = names.iter().filter(|_| running.is_none());
        for name in names.filter(|name| !network.interfaces.iter().any(|own| own.name == **name)) {
            let what = format!("{name}, named in {key}, is not there");
            let mend = Step::advice(format!("ip link shows which are; mend {key} interfaces"));
            findings.push(Finding::new(Grade::Warning, PLACE, what).mended_by(vec![mend]));
        }
    }
    let is_watched = |name: &String| {
        plan.config.watch.interfaces.is_empty() || plan.config.watch.interfaces.contains(name)
    };
    let up: Vec<&str> = network
        .interfaces
        .iter()
        .filter(|own| own.is_up && !own.is_loopback && is_watched(&own.name))
        .map(|own| own.name.as_str())
        .collect();
    findings.push(match up.is_empty() {
        true => Finding::new(Grade::Warning, PLACE, "none that could be watched is up")
            .mended_by(vec![Step::advice("ip link set NAME up")]),
        false => Finding::ok(PLACE, format!("{} can be watched", up.join(", "))),
    });
    findings
}

/// A host without IPv6 is whole; but who knocks by it hears nothing.
fn ipv6(settings: &Path) -> Option<Finding> {
    const PLACE: &str = "IPv6";
    if !settings.exists() {
        let what = "this kernel has none: nobody comes or knocks by it";
        return Some(Finding::ok(PLACE, what));
    }
    let is_off =
        fs::read_to_string(settings.join("conf/all/disable_ipv6")).is_ok_and(|text| text.trim() == "1");
    let mend = vec![
        Step::run("sysctl -w net.ipv6.conf.all.disable_ipv6=0"),
        Step::advice("only if it is wanted; nothing is wrong without it"),
    ];
    is_off.then(|| Finding::ok(PLACE, "it is switched off: nobody comes or knocks by it").mended_by(mend))
}

/// Who else decides.
fn firewalls(scene: &Scene, ours: &str) -> Option<Finding> {
    let rules = scene.rules.as_ref().ok()?;
    let mut tables: Vec<String> = rules
        .chains
        .iter()
        .filter(|chain| chain.table != ours && chain.base.as_ref().is_some_and(|base| !base.is_nat))
        .map(|chain| format!("{} {}", chain.family.name(), chain.table))
        .collect();
    tables.sort_unstable();
    tables.dedup();
    let names = tables.join(", ");
    (!tables.is_empty()).then(|| {
        let what = format!("besides our table these decide too: {names}");
        Finding::ok("firewalls", what)
            .because("a packet has to pass all of them, and any of them may drop it")
    })
}

/// Doors that cut sessions want a part of the kernel that not all have.
fn cutting(plan: &Plan) -> Option<Finding> {
    let door = plan.config.doors.iter().find(|own| own.cut_on_close)?;
    match Sockets::open().and_then(|mut sockets| sockets.can_destroy()) {
        Ok(true) => None,
        Ok(false) => {
            let what = "cut_on_close cuts nothing: this kernel was built without CONFIG_INET_DIAG_DESTROY";
            let mend = Step::advice(
                "sessions go on after the door has shut; take cut_on_close out, or take another kernel",
            );
            Some(Finding::new(Grade::Fault, format!("door {}", door.name), what).mended_by(vec![mend]))
        }
        Err(error) => {
            let what = format!("whether sessions can be cut is not known: {}", causes::said(&error));
            Some(Finding::new(Grade::Warning, format!("door {}", door.name), what))
        }
    }
}

/// Doors whose knocks carry a time stand and fall with the clock.
fn synchronized() -> Finding {
    const PLACE: &str = "clock";
    match clock::is_synchronized() {
        true => Finding::ok(PLACE, "it is kept right by somebody (NTP)"),
        false => Finding::new(Grade::Warning, PLACE, "nobody keeps it right")
            .because("rotating doors and single packets refuse whoever differs by half a minute, or two")
            .mended_by(vec![Step::advice("switch NTP on: timedatectl set-ntp true, or install chrony")]),
    }
}

/// What those who knocked say of the clock: where their times differ by the same from ours, it is ours.
fn by_knocks(events: &[Value]) -> Option<Finding> {
    let mut differences: Vec<(i64, &str)> = events
        .iter()
        .filter(|event| !event["why"].as_str().is_some_and(tells_age))
        .filter_map(|event| Some((event["clock_difference"].as_i64()?, event["source"].as_str()?)))
        .filter(|(seconds, _)| seconds.abs() >= CLOCK_SECONDS)
        .collect();
    differences.sort_unstable();
    differences.dedup_by_key(|(_, source)| *source);
    let (middle, _) = *differences.get(differences.len() / 2)?;
    let alike = differences.iter().filter(|(seconds, _)| (seconds - middle).abs() < CLOCK_SECONDS).count();
    let what = match alike {
        1 => format!("a guest's clock and ours differ by {middle:+} s, so that his knocks are refused"),
        _ => format!("{alike} guests have clocks that differ from ours by about {middle:+} s: ours is wrong"),
    };
    let mend = vec![
        Step::advice("compare with a clock that you trust: date -u"),
        Step::advice("set it right: chronyc makestep, or timedatectl set-ntp true"),
    ];
    let grade = if alike > 1 { Grade::Fault } else { Grade::Warning };
    Some(Finding::new(grade, "clock", what).mended_by(mend))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn several_guests_who_agree_are_right_about_the_time() {
        let knock = |source: &str, seconds: i64| json!({"source": source, "clock_difference": seconds});
        assert_eq!(by_knocks(&[]), None);
        let replay = json!({"source": "192.0.2.1", "clock_difference": -90, "why": "has been used before"});
        assert_eq!(by_knocks(&[replay]), None, "that is how old it is");
        assert_eq!(by_knocks(&[knock("192.0.2.1", 12), json!({"source": "192.0.2.2"})]), None);
        let one = by_knocks(&[knock("192.0.2.1", -3600), knock("192.0.2.1", -3601)]).unwrap();
        assert_eq!(one.grade, Grade::Warning, "{one:?}");
        let three = [knock("192.0.2.1", 3600), knock("192.0.2.2", 3590), knock("192.0.2.3", 3611)];
        let three = by_knocks(&three).unwrap();
        assert_eq!(three.grade, Grade::Fault);
        assert!(three.what.starts_with("3 guests") && three.what.contains("+3600 s"), "{}", three.what);
    }

    #[test]
    fn a_host_without_ipv6_is_named_and_not_blamed() {
        let settings = tempfile::tempdir().unwrap();
        assert_eq!(ipv6(settings.path()), None);
        let all = settings.path().join("conf/all");
        fs::create_dir_all(&all).unwrap();
        fs::write(all.join("disable_ipv6"), "1\n").unwrap();
        for found in [ipv6(settings.path()), ipv6(Path::new("/nowhere"))] {
            assert_eq!(found.unwrap().grade, Grade::Ok);
        }
    }
}
