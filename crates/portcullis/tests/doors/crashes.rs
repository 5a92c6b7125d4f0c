//! Recorded knocks over kills at any moment, over clocks that are set, and at other hosts: each kind that claims that a
//! knock is good once. The clock is the program's own, set by the distribution's libfaketime, so that nobody waits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use testbed::{Lab, Running, is_installed, unpack, wait_until};

use crate::harness::{Guard, PROGRAM, Place, SOON};
use crate::knocks::{let_in, reload, serve};
use crate::replays::{BELL, GUEST, Heard, Listener, OTHER, STEPS, assert_shut, lab_with_tools, secret_door};
use crate::shutting::gets_in;
use crate::single_packets::spa_door;

/// Longer than whatever a start refuses: a time step, and the mark that lies ahead.
const LEAP: i64 = 40;

/// A calendar that is set by hand; the clock that waits are measured by is the real one.
struct Calendar {
    library: PathBuf,
    file: PathBuf,
    ahead: i64,
}

impl Calendar {
    /// `None` where there is no apt-get.
    fn new(place: &Place) -> Option<Calendar> {
        if !is_installed("apt-get") {
            return None;
        }
        let libraries = fs::read_dir(unpack("libfaketime").unwrap().join("usr/lib")).unwrap();
        let library = libraries
            .map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists())
            .unwrap();
        let mut calendar = Calendar { library, file: place.file("ahead"), ahead: 0 };
        calendar.set(0);
        Some(calendar)
    }

    /// So many seconds before the real one, or behind it.
    fn set(&mut self, ahead: i64) {
        let aside = self.file.with_extension("aside");
        fs::write(&aside, format!("{ahead:+}\n")).unwrap();
        fs::rename(aside, &self.file).unwrap();
        self.ahead = ahead;
    }

    fn leap(&mut self, seconds: i64) {
        self.set(self.ahead + seconds);
    }

    fn moment(&self) -> Moment {
        Moment { ahead: self.ahead, at: Instant::now() }
    }

    /// Sets it to that moment again.
    fn return_to(&mut self, moment: &Moment) {
        self.set(moment.ahead - i64::try_from(moment.at.elapsed().as_secs()).unwrap());
    }

    /// For a command that goes by it.
    fn rule(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// When a knock was made.
struct Moment {
    ahead: i64,
    at: Instant,
}

/// A host with one door, and its guest.
struct Scene {
    kind: &'static str,
    lab: Lab,
    place: Place,
    secret: PathBuf,
    calendar: Calendar,
    _service: std::net::TcpListener,
}

impl Scene {
    fn new(kind: &'static str) -> Option<Scene> {
        let lab = lab_with_tools()?;
        let place = Place::new("");
        let secret = match kind {
            "one-time" => secret_door(&place, kind, &["--count", "40"]),
            "rotating" => secret_door(&place, kind, &["--user", "anna", "--time-step", "10s"]),
            // For whomever it comes from: the packet that is worth most to who has recorded it.
            _ => spa_door(&place, &["--allow-source"], BELL),
        };
        let calendar = Calendar::new(&place)?;
        let _service = serve(&lab.victim);
        Some(Scene { kind, lab, place, secret, calendar, _service })
    }

    fn start(&self) -> Guard {
        let mut command = self.place.command(&self.lab.victim, &[]);
        self.calendar.rule(&mut command);
        Guard::of(&mut command, &self.place.state())
    }

    fn packets(&self) -> usize {
        if self.kind == "spa" { 1 } else { STEPS }
    }

    /// Makes the guest's knock, and writes it down.
    #[track_caller]
    fn knock(&self, name: &str) -> Heard {
        let listener = Listener::start(&self.lab, self.place.file(name));
        self.knock_unheard(&self.secret);
        listener.finish(self.packets())
    }

    #[track_caller]
    fn knock_unheard(&self, secret: &Path) {
        let mut command = self.lab.attacker.command(PROGRAM);
        match self.kind {
            "spa" => command.args(["spa", "-s", "--key"]),
            "one-time" => command.args(["knock", "--one-time"]),
            _ => command.args(["knock", "--key"]),
        };
        command.arg(secret).arg(self.lab.victim4().to_string());
        self.calendar.rule(&mut command);
        assert!(Running::spawn(&mut command).wait(2 * SOON).success());
    }

    /// A knock that opens, and shut again behind it.
    #[track_caller]
    fn heard(&mut self, guard: &mut Guard, name: &str) -> (Heard, Moment) {
        // Away from everything that a start refuses; the doors wait for the mark on the disk.
        self.calendar.leap(LEAP);
        let (told, moment) = (guard.running.count(), self.calendar.moment());
        let heard = self.knock(name);
        guard.wait_for_after(told, SOON, |event| event["event"] == "open" && event["source"] == GUEST);
        assert!(gets_in(&self.lab, GUEST) && !gets_in(&self.lab, OTHER));
        assert_eq!(guard.verb(&["close", "ssh"]).code, 0);
        (heard, moment)
    }

    /// Takes the link address that a knock at another host went to.
    fn pass_for(&self, heard: &Heard) {
        self.lab.victim.ip(&format!("link set eth0 address {}\n", heard.link_address()));
        self.lab.attacker.ip("neigh flush dev eth0\n");
    }

    #[track_caller]
    fn assert_worthless(&self, heard: &Heard, guard: &mut Guard, when: &str) {
        heard.replay(&self.lab, guard);
        assert_shut(&self.lab, guard, &format!("{}, {when}", self.kind));
    }
}

/// What was heard is worth nothing, now and later, whatever the clock says, also after a kill.
fn over_kills_and_clocks(kind: &'static str) {
    let Some(mut scene) = Scene::new(kind) else { return };
    let mut guard = scene.start();
    let (heard, moment) = scene.heard(&mut guard, "heard.pcap");
    scene.assert_worthless(&heard, &mut guard, "at once");
    for (ahead, when) in [(9, "soon"), (600, "later"), (-3600, "the clock an hour back")] {
        scene.calendar.leap(ahead);
        scene.assert_worthless(&heard, &mut guard, when);
    }
    scene.calendar.return_to(&moment);
    scene.assert_worthless(&heard, &mut guard, "the clock set back to when it was made");
    reload(&guard);
    scene.assert_worthless(&heard, &mut guard, "after a reload");
    for (ahead, when) in
        [(0, "killed"), (-20, "killed, the clock a little back"), (-3600, "killed, an hour back")]
    {
        guard.kill();
        scene.calendar.return_to(&moment);
        scene.calendar.leap(ahead);
        guard = scene.start();
        scene.assert_worthless(&heard, &mut guard, when);
        scene.calendar.return_to(&moment);
        scene.assert_worthless(&heard, &mut guard, &format!("{when}, and then right"));
    }
    // And the next knock is as good as ever, once it is later than all that may have been used.
    scene.calendar.return_to(&moment);
    scene.calendar.leap(700);
    let (next, _) = scene.heard(&mut guard, "next.pcap");
    scene.assert_worthless(&next, &mut guard, "the next");
}

#[test]
fn a_one_time_knock_is_worth_nothing_over_kills_and_clocks() {
    over_kills_and_clocks("one-time");
}

#[test]
fn a_rotating_knock_is_worth_nothing_over_kills_and_clocks() {
    over_kills_and_clocks("rotating");
}

#[test]
fn a_single_packet_is_worth_nothing_over_kills_and_clocks() {
    over_kills_and_clocks("spa");
}

/// From the seed that the environment names, or another one each time.
fn seed() -> u64 {
    let named = std::env::var("PORTCULLIS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = named.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        since.as_nanos() as u64
    });
    println!("the moments of this run again: PORTCULLIS_SEED={seed}");
    seed
}

/// 0.1 ms to 1 s, short ones as often as long ones.
fn moment(seed: &mut u64) -> Duration {
    // splitmix64
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let part = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
    Duration::from_secs_f64(1e-4 * 10_f64.powf(4.0 * part))
}

/// The guard is killed at any moment behind the knock: a knock that carries a time is worth nothing afterwards, whether it
/// had opened or not. (A one-time sequence that was not heard before the kill is as good as it was: `replays` has those.)
fn killed_at_any_moment(kind: &'static str) {
    let Some(mut scene) = Scene::new(kind) else { return };
    let mut seed = seed();
    let mut opened = Vec::new();
    for round in 0..6 {
        let mut guard = scene.start();
        scene.calendar.leap(LEAP);
        let made = scene.calendar.moment();
        let wait = moment(&mut seed);
        let listener = Listener::start(&scene.lab, scene.place.file(&format!("{round}.pcap")));
        scene.knock_unheard(&scene.secret);
        std::thread::sleep(wait);
        guard.kill();
        let heard = listener.finish(scene.packets());
        opened.push((wait, let_in(&scene.lab.victim, "door_ssh4", GUEST).is_some()));
        scene.lab.victim.run(&["nft", "flush", "set", "inet", "portcullis", "door_ssh4"]);
        let mut guard = scene.start();
        // Nobody's any more, whether the store had it or not. (Not open is no fault here.)
        guard.verb(&["close", "ssh"]);
        let when = |what: &str| format!("{what}; round {round}, killed after {wait:?}");
        scene.assert_worthless(&heard, &mut guard, &when("at once"));
        guard.kill();
        scene.calendar.return_to(&made);
        scene.calendar.leap(-15);
        let mut guard = scene.start();
        scene.calendar.return_to(&made);
        scene.assert_worthless(&heard, &mut guard, &when("with the clock set back"));
        assert_eq!(guard.stop(), 0);
    }
    println!("killed after, and whether it had opened: {opened:?}");
}

#[test]
fn a_rotating_knock_is_worth_nothing_whenever_the_guard_is_killed() {
    killed_at_any_moment("rotating");
}

#[test]
fn a_single_packet_is_worth_nothing_whenever_the_guard_is_killed() {
    killed_at_any_moment("spa");
}

/// What was heard at one host opens nothing at another that has secrets of its own; the same address and the same link
/// address, so that every byte is for it.
fn at_another_host(kind: &'static str) {
    let (Some(mut scene), Some(mut other)) = (Scene::new(kind), Scene::new(kind)) else { return };
    let mut guard = scene.start();
    let mut guard_of_other = other.start();
    // Both hosts have the same time, in which both doors may open.
    other.calendar.leap(LEAP);
    let (heard, moment) = scene.heard(&mut guard, "heard.pcap");
    other.calendar.return_to(&moment);
    other.pass_for(&heard);
    let told = guard_of_other.running.count();
    heard.replay(&other.lab, &mut guard_of_other);
    assert_shut(&other.lab, &guard_of_other, &format!("{kind}, at another host"));
    // Which hears its own guest.
    other.knock_unheard(&other.secret);
    guard_of_other.wait_for_after(told, SOON, |event| event["event"] == "open" && event["source"] == GUEST);
}

#[test]
fn a_one_time_knock_is_worth_nothing_at_another_host() {
    at_another_host("one-time");
}

#[test]
fn a_rotating_knock_is_worth_nothing_at_another_host() {
    at_another_host("rotating");
}

#[test]
fn a_single_packet_is_worth_nothing_at_another_host() {
    at_another_host("spa");
}

/// What the guide warns of: the format of single packets names no host.
#[test]
fn a_single_packet_opens_once_at_every_host_that_has_the_same_key() {
    let (Some(mut scene), Some(mut other)) = (Scene::new("spa"), Scene::new("spa")) else { return };
    fs::copy(scene.place.file("host.access"), other.place.file("host.access")).unwrap();
    let mut guard = scene.start();
    let mut guard_of_other = other.start();
    other.calendar.leap(LEAP);
    let (heard, moment) = scene.heard(&mut guard, "heard.pcap");
    other.calendar.return_to(&moment);
    other.pass_for(&heard);
    heard.replay(&other.lab, &mut guard_of_other);
    wait_until(SOON, "the other host to open", || let_in(&other.lab.victim, "door_ssh4", GUEST));
    assert_eq!(guard_of_other.verb(&["close", "ssh"]).code, 0);
    other.assert_worthless(&heard, &mut guard_of_other, "a second time");
}
