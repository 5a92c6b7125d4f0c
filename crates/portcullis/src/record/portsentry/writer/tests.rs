use super::*;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use portcullis_core::time::Wall;
use testbed::{Namespace, wait_until};

use crate::config::portsentry::StartMode;
use crate::record::portsentry::{Seen, Step};

const STCP: Voice = Voice::One(StartMode::Stcp);

/// Milliseconds after 2026-11-21T02:08:09Z.
fn at(milliseconds: u64) -> Now {
    let span = Duration::from_millis(milliseconds);
    Now { mono: Mono(span), wall: Wall(Duration::from_secs(1_795_226_889) + span) }
}

fn source() -> IpAddr {
    Ipv4Addr::new(10, 77, 0, 1).into()
}

fn seen(port: u16, fate: AttackFate, now: Now) -> Attack {
    Attack {
        time: now.wall,
        source: source(),
        protocol: Protocol::Tcp,
        port,
        seen: Seen::Packet { flags: 2, has_ip_options: Some(false) },
        fate,
    }
}

fn done(step: Step, text: &str) -> StepDone {
    StepDone { step, text: text.into(), result: Ok(()) }
}

struct Place {
    directory: tempfile::TempDir,
    log: UnixDatagram,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let log = UnixDatagram::bind(directory.path().join("log")).unwrap();
        log.set_nonblocking(true).unwrap();
        Place { directory, log }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn writer(&self, voice: Voice) -> Writer {
        Writer::new(self.settings(voice), at(0)).unwrap()
    }

    fn settings(&self, voice: Voice) -> Settings {
        Settings {
            voice,
            syslog: Some(self.path("log")),
            screen: false,
            history: Some(self.path("history")),
            blocked: Some(self.path("blocked")),
            resolve_host: false,
            pid: 7,
            zone: TimeZone::UTC,
        }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// What came to the log meanwhile; the socket takes few datagrams at once, so the writer is asked again.
    fn lines(&self, writer: &mut Writer, now: Now) -> Vec<String> {
        let mut lines = Vec::new();
        let mut buffer = [0; 65536];
        loop {
            while let Ok(length) = self.log.recv(&mut buffer) {
                lines.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
            let Some(syslog) = &mut writer.syslog else { return lines };
            let Some(due) = syslog.due() else { return lines };
            syslog.tick(Now { mono: due, ..now });
        }
    }
}

/// PortSentry 1.2 -stcp, `tests/ancestors/portsentry-cases.json`, nmap -sS: the first six lines, and both files.
#[test]
fn a_scan_is_written_by_one_as_it_was_measured() {
    let place = Place::new();
    let mut writer = place.writer(STCP);
    let (first, now) = (seen(111, AttackFate::Blocking, at(0)), at(0));
    writer.attack(first, now);
    writer.attack(seen(1, AttackFate::AlreadyBlocked, now), now);
    writer.step(source(), done(Step::HostsDeny, "ALL: 10.77.0.1 : DENY"), now);
    writer.step(source(), done(Step::Route, "/bin/echo ROUTE 10.77.0.1 111 stcp >> kill.log"), now);
    writer.step(source(), done(Step::Command, "/bin/echo CMD 10.77.0.1 111 stcp >> kill.log"), now);
    assert_eq!((place.file("blocked").as_str(), place.file("history").as_str()), ("", ""));
    writer.settled(source(), Protocol::Tcp, 111, Settled::Blocked, now);
    let start = "<29>Nov 21 02:08:09 portsentry[7]: attackalert: ";
    let expected = [
        "TCP SYN/Normal scan from host: 10.77.0.1/10.77.0.1 to TCP port: 111",
        "Host 10.77.0.1 has been blocked via wrappers with string: \"ALL: 10.77.0.1 : DENY\"",
        "Host 10.77.0.1 has been blocked via dropped route using command: \"/bin/echo ROUTE 10.77.0.1 111 stcp >> \
         kill.log\"",
        "External command run for host: 10.77.0.1 using command: \"/bin/echo CMD 10.77.0.1 111 stcp >> kill.log\"",
        "TCP SYN/Normal scan from host: 10.77.0.1/10.77.0.1 to TCP port: 1",
        "Host: 10.77.0.1/10.77.0.1 is already blocked Ignoring",
    ]
    .map(|text| format!("{start}{text}"));
    assert_eq!(place.lines(&mut writer, now), expected);
    let line = "1795226889 - 11/21/2026 02:08:09 Host: 10.77.0.1/10.77.0.1 Port: 111 TCP Blocked\n";
    assert_eq!((place.file("blocked").as_str(), place.file("history").as_str()), (line, line));
    assert_eq!(writer.due().filter(|due| *due < at(1000).mono), None);
}

/// PortSentry 2.x pcap, the same.
#[test]
fn a_scan_is_written_by_two_as_it_was_measured() {
    let place = Place::new();
    let mut writer = place.writer(Voice::Two);
    let now = at(11_453);
    writer.attack(seen(111, AttackFate::Blocking, now), now);
    writer.attack(seen(1, AttackFate::AlreadyBlocked, now), now);
    writer.step(source(), done(Step::HostsDeny, "ALL: 10.77.0.1 : DENY"), now);
    writer.settled(source(), Protocol::Tcp, 111, Settled::Blocked, now);
    let rest = "type: [TCP SYN/Normal scan] IP opts: [not set] ignored: [false] triggered: [true] noblock: [false] \
                blocked: [true]";
    let event =
        |port: u16| format!("Scan from: [10.77.0.1] (10.77.0.1) protocol: [TCP] port: [{port}] {rest}");
    let start = "<29>Nov 21 02:08:20 portsentry[7]: ";
    let expected = [
        "attackalert: Host 10.77.0.1 has been blocked via wrappers with string: \"ALL: 10.77.0.1 : DENY\"",
        &event(111),
        "attackalert: Host: 10.77.0.1/10.77.0.1 is already blocked Ignoring",
        &event(1),
    ]
    .map(|text| format!("{start}{text}"));
    assert_eq!(place.lines(&mut writer, now), expected);
    let time = "2026-11-21T02:08:20.453+0000";
    assert_eq!(place.file("history"), format!("{time} {}\n{time} {}\n", event(111), event(1)));
    assert_eq!(writer.read_blocked(now).unwrap(), BTreeSet::from([source()]));
    assert_eq!(fs::read(place.path("blocked")).unwrap().len(), 6);
}

#[test]
fn a_host_that_could_not_be_blocked_stands_in_no_file() {
    let place = Place::new();
    let mut writer = place.writer(STCP);
    writer.attack(seen(111, AttackFate::Blocking, at(0)), at(0));
    let result = Err("exit status 1".to_owned());
    writer.step(source(), StepDone { step: Step::Route, text: "false".into(), result }, at(0));
    writer.settled(source(), Protocol::Tcp, 111, Settled::Failed { why: String::new() }, at(0));
    writer.attack(seen(1, AttackFate::AlreadyBlocked, at(1)), at(1));
    let lines = place.lines(&mut writer, at(1));
    assert!(lines.iter().any(|line| line.ends_with("10.77.0.1: KILL_ROUTE: exit status 1")), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("ERROR: Could not block host 10.77.0.1/10.77.0.1 !!")));
    assert!(!lines.iter().any(|line| line.contains("already blocked")), "{lines:?}");
    assert_eq!((place.file("blocked").as_str(), place.file("history").as_str()), ("", ""));
    writer.settled(source(), Protocol::Tcp, 111, Settled::Blocked, at(2));
    assert_eq!(place.file("blocked").lines().count(), 1);
    // Unbanned.
    assert_eq!(writer.forget(&BTreeSet::from([source()]), at(3)).unwrap(), 1);
    assert_eq!((place.file("blocked").as_str(), place.file("history").lines().count()), ("", 1));
    assert!(!writer.blocked_changed());
}

#[test]
fn a_flood_costs_counted_lines_but_no_blocked_host() {
    let place = Place::new();
    let mut writer = place.writer(STCP);
    let hosts = 12_000u32;
    let mut lines = Vec::new();
    for number in 0..hosts {
        let source = IpAddr::from((0x0a00_0001 + number).to_be_bytes());
        writer.attack(Attack { source, ..seen(1, AttackFate::Blocking, at(0)) }, at(0));
        writer.settled(source, Protocol::Tcp, 1, Settled::Blocked, at(0));
        lines.extend(place.lines(&mut writer, at(0)));
    }
    assert_eq!(lines.len() as u64, BURST);
    assert_eq!(writer.left_out_ever(), u64::from(hosts) - BURST);
    writer.tick(at(1000));
    let said = place.lines(&mut writer, at(1000));
    assert!(said.len() == 1 && said[0].contains("2000 log lines were left out"), "{said:?}");
    writer.say("adminalert: PortSentry is now active and listening.", at(1000));
    for _ in 0..2 * RATE {
        writer.attack(seen(1, AttackFate::AlreadyBlocked, at(1000)), at(1000));
        lines.extend(place.lines(&mut writer, at(1000)));
    }
    assert_eq!(lines.len() as u64, BURST + 1 + RATE);
    for name in ["blocked", "history"] {
        assert_eq!(place.file(name).lines().count(), hosts as usize, "{name}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_said_once_and_nothing_is_missing() {
    let place = Place::new();
    fs::create_dir(place.path("history")).unwrap();
    let mut writer = place.writer(STCP);
    let lines = place.lines(&mut writer, at(0));
    let path = place.path("history").display().to_string();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].ends_with(&format!("adminalert: ERROR: Cannot open history file: {path}.")),
        "{lines:?}"
    );
    assert!(lines[1].contains(&format!("adminalert: ERROR: {path}: Is a directory")), "{lines:?}");
    writer.attack(seen(111, AttackFate::LogOnly { is_first: true }, at(0)), at(0));
    writer.tick(at(1000));
    writer.attack(seen(112, AttackFate::LogOnly { is_first: false }, at(1500)), at(1500));
    assert_eq!(place.lines(&mut writer, at(1500)).len(), 4, "two alerts, ignoring, already blocked");
    fs::remove_dir(place.path("history")).unwrap();
    writer.tick(at(3000));
    assert!(place.lines(&mut writer, at(3000))[0].ends_with("is written again; nothing is missing"));
    assert_eq!(place.file("history"), place.file("blocked"));
    assert_eq!(place.file("history").lines().count(), 1);
}

/// `/etc/hosts` of a namespace of its own; no name server can be reached there.
#[test]
fn names_are_resolved_beside_the_loop_and_do_no_harm() {
    let Some(inside) = Namespace::with_mounts() else { return };
    let long = "a".repeat(300);
    let hosts = format!(
        "10.77.0.1 scan.example\n10.77.0.2 10.77.0.1-x.evil\n10.77.0.3 10.77.0.3.evil\n10.77.0.4 {long}\n"
    );
    inside.run_with_input(&["tee", "/etc/hosts"], &hosts);
    inside.run_with_input(&["tee", "/etc/nsswitch.conf"], "hosts: files\n");
    let place = Place::new();
    let mut settings = place.settings(STCP);
    settings.resolve_host = true;
    inside.enter(|| {
        let mut writer = Writer::new(settings, at(0)).unwrap();
        let mut lines = Vec::new();
        for last in 1..=5 {
            let source = IpAddr::from([10, 77, 0, last]);
            writer.attack(Attack { source, ..seen(1, AttackFate::Blocking, at(0)) }, at(0));
            writer.settled(source, Protocol::Tcp, 1, Settled::Blocked, at(0));
            writer.attack(Attack { source, ..seen(2, AttackFate::AlreadyBlocked, at(0)) }, at(0));
        }
        wait_until(Duration::from_secs(20), "all names", || {
            // Less than the patience with a name: what comes has been found, not given up.
            writer.tick(at(100));
            lines.extend(place.lines(&mut writer, at(100)));
            (lines.len() == 15).then_some(())
        });
        for (last, name) in
            [(1, "scan.example"), (2, "10.77.0.2"), (3, "10.77.0.3.evil"), (4, "10.77.0.4"), (5, "10.77.0.5")]
        {
            let host = format!("{name}/10.77.0.{last}");
            let of_host: Vec<&String> =
                lines.iter().filter(|line| line.contains(&format!("/10.77.0.{last} "))).collect();
            assert_eq!(of_host.len(), 3, "{lines:?}");
            assert!(of_host[0].ends_with(&format!("scan from host: {host} to TCP port: 1")), "{of_host:?}");
            assert!(of_host[1].ends_with(&format!("scan from host: {host} to TCP port: 2")), "{of_host:?}");
            assert!(
                of_host[2].ends_with(&format!("Host: {host} is already blocked Ignoring")),
                "{of_host:?}"
            );
            assert!(place.file("blocked").contains(&format!(" Host: {host} Port: 1 TCP Blocked\n")));
        }
        let expected: BTreeSet<IpAddr> = (1..=5).map(|last| IpAddr::from([10, 77, 0, last])).collect();
        assert_eq!(writer.read_blocked(at(100)).unwrap(), expected, "a name gives nobody immunity");
        assert!(Path::new(&place.path("history")).exists());
    });
}

/// Nobody answers; the line comes after two seconds with the address for the name.
#[test]
fn a_name_is_not_waited_for_longer_than_two_seconds() {
    let Some(inside) = Namespace::with_mounts() else { return };
    // A name server that is there and never answers.
    inside.run_with_input(&["tee", "/etc/resolv.conf"], "nameserver 127.0.0.53\noptions timeout:5\n");
    inside.run_with_input(&["tee", "/etc/nsswitch.conf"], "hosts: dns\n");
    let place = Place::new();
    let mut settings = place.settings(STCP);
    settings.resolve_host = true;
    inside.enter(|| {
        let _silent = std::net::UdpSocket::bind("127.0.0.53:53").unwrap();
        let mut writer = Writer::new(settings, at(0)).unwrap();
        for port in 1..=100 {
            writer.attack(seen(port, AttackFate::LogOnly { is_first: port == 1 }, at(0)), at(0));
        }
        writer.tick(at(1999));
        assert!(place.lines(&mut writer, at(1999)).is_empty());
        let due = writer.due().unwrap();
        assert!(due <= at(2020).mono, "{due:?}");
        writer.tick(at(2000));
        let lines = place.lines(&mut writer, at(2000));
        assert!(lines[0].ends_with("from host: 10.77.0.1/10.77.0.1 to TCP port: 1"), "{lines:?}");
        assert_eq!(lines.len(), 2 * HELD_EACH + 1);
        assert!(lines.last().unwrap().contains("adminalert: 68 more events of host: 10.77.0.1/10.77.0.1"));
    });
}

#[test]
fn the_end_writes_what_was_held_and_then_the_last_lines() {
    let place = Place::new();
    let mut writer = place.writer(STCP);
    writer.attack(seen(1, AttackFate::Blocking, at(0)), at(0));
    writer.attack(seen(2, AttackFate::AlreadyBlocked, at(0)), at(0));
    let log = place.log.try_clone().unwrap();
    log.set_nonblocking(false).unwrap();
    log.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 1024];
        let mut ends = Vec::new();
        while ends.last().is_none_or(|end| end != "shutting down") {
            let length = log.recv(&mut buffer).expect("the last line comes");
            let line = String::from_utf8(buffer[..length].to_vec()).unwrap();
            ends.push(
                line.rsplitn(3, ' ')
                    .take(2)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect::<Vec<_>>()
                    .join(" "),
            );
        }
        ends
    });
    assert_eq!(
        writer.finish(&["adminalert: PortSentry is shutting down"], at(1), Duration::from_secs(10)),
        0
    );
    assert_eq!(reader.join().unwrap(), ["port: 1", "port: 2", "blocked Ignoring", "shutting down"]);
}

#[test]
fn the_end_does_not_wait_for_a_log_that_is_gone() {
    let place = Place::new();
    fs::remove_file(place.path("log")).unwrap();
    let mut writer = place.writer(STCP);
    writer.say("adminalert: one", at(0));
    assert_eq!(writer.finish(&["adminalert: two"], at(1), Duration::from_millis(20)), 2);
}
