//! What the lab promises to the tests that stand on it.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use testbed::{Lab, Namespace, Offloads, Running, Signal, Stream, wait_until};

const SOON: Duration = Duration::from_secs(10);

#[expect(clippy::unwrap_used, reason = "a test's helper, which clippy does not see as part of the test")]
fn greets(lab: &Lab, from: IpAddr, to: IpAddr) {
    let listener = lab.victim.enter(|| TcpListener::bind((to, 0))).unwrap();
    let target = listener.local_addr().unwrap();
    let mut stream = lab.attacker.enter(|| TcpStream::connect(target)).unwrap();
    let (mut accepted, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), from);
    accepted.write_all(b"hello").unwrap();
    drop(accepted);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn direct_neighbours_reach_each_other_in_both_families_at_once() {
    let Some(lab) = Lab::direct() else { return };
    greets(&lab, lab.attacker4().into(), lab.victim4().into());
    greets(&lab, lab.attacker6().into(), lab.victim6().into());
}

#[test]
fn a_router_stands_between_them_in_the_routed_lab() {
    let Some(lab) = Lab::routed() else { return };
    greets(&lab, lab.attacker4().into(), lab.victim4().into());
    greets(&lab, lab.attacker6().into(), lab.victim6().into());
    // One hop is not enough: with a time to live of 1 the router throws the packet away.
    let listener = lab.victim.enter(|| TcpListener::bind((lab.victim4(), 0))).unwrap();
    let target = SocketAddr::new(lab.victim4().into(), listener.local_addr().unwrap().port());
    lab.attacker.sysctl("net.ipv4.ip_default_ttl", "1");
    let refused = lab.attacker.enter(|| TcpStream::connect_timeout(&target, Duration::from_secs(2)));
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn an_added_address_can_be_used_at_once() {
    let Some(lab) = Lab::direct() else { return };
    for address in ["10.77.0.9", "fd77::9"] {
        let address: IpAddr = address.parse().unwrap();
        assert!(!lab.attacker.owns(address));
        lab.add_attacker(&format!("{address}/{}", if address.is_ipv4() { 24 } else { 64 }));
        assert!(lab.attacker.owns(address));
        assert!(!lab.victim.owns(address));
    }
}

#[test]
fn offloads_are_switched_on_every_interface() {
    let Some(lab) = Lab::routed() else { return };
    if !testbed::has(&["ethtool"]) {
        return;
    }
    let router = lab.router.as_ref().unwrap();
    let states = || {
        let ends =
            [(&lab.attacker, "eth0"), (&lab.victim, "eth0"), (router, "attacker0"), (router, "victim0")];
        ends.map(|(namespace, interface)| {
            let features = String::from_utf8(namespace.run(&["ethtool", "-k", interface]).stdout).unwrap();
            let names = ["tx-checksumming", "tcp-segmentation-offload", "generic-segmentation-offload"];
            names.map(|name| features.contains(&format!("{name}: on")))
        })
    };
    assert_eq!(states(), [[true; 3]; 4]);
    lab.switch_offloads(Offloads::Off);
    assert_eq!(states(), [[false; 3]; 4]);
    lab.switch_offloads(Offloads::On);
    assert_eq!(states(), [[true; 3]; 4]);
}

#[test]
fn labs_side_by_side_do_not_meet() {
    let (Some(one), Some(two)) = (Lab::direct(), Lab::direct()) else { return };
    let _listener = one.victim.enter(|| TcpListener::bind((one.victim4(), 7777))).unwrap();
    let refused = two.attacker.enter(|| TcpStream::connect((two.victim4(), 7777)));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_namespace_shows_its_own_interfaces_only() {
    let Some(namespace) = Namespace::new() else { return };
    let shown = namespace.run(&["ip", "-brief", "link"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert!(shown.contains("LOOPBACK,UP"), "{shown}");
}

#[test]
fn the_namespace_is_gone_when_its_value_is() {
    let Some(namespace) = Namespace::new() else { return };
    let inode = namespace.enter(|| fs::read_link("/proc/thread-self/ns/net")).unwrap();
    let held = || {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .any(|entry| entry.is_ok_and(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == inode)))
    };
    assert!(held());
    drop(namespace);
    assert!(!held());
}

#[test]
#[should_panic(expected = "Cannot find device")]
fn a_failing_command_panics_with_its_standard_error() {
    let Some(namespace) = Namespace::new() else { panic!("skipped: Cannot find device") };
    namespace.ip("link set nosuch up\n");
}

#[test]
fn fixed_paths_are_private_in_a_namespace_with_mounts() {
    let Some(namespace) = Namespace::with_mounts() else { return };
    let own = [
        "/etc/hosts.deny",
        "/etc/portsentry-testbed",
        "/var/run/testbed.pid",
        "/var/log/testbed",
        "/dev/log",
    ];
    let before: Vec<_> = own.iter().map(|path| fs::read(path).ok()).collect();
    namespace.enter(|| {
        for path in own {
            fs::write(path, "only here").unwrap();
        }
        fs::write("/dev/null", "away").unwrap();
        assert!(fs::read_to_string("/etc/passwd").unwrap().starts_with("root:"));
    });
    namespace.run(&[
        "sh",
        "-c",
        "grep -q 'only here' /etc/hosts.deny /dev/log && test -c /dev/null && ip link",
    ]);
    let after: Vec<_> = own.iter().map(|path| fs::read(path).ok()).collect();
    assert_eq!(before, after);
    assert!(!Path::new("/run/testbed").exists());
}

#[test]
fn a_program_keeps_its_id_and_gives_its_lines() {
    let Some(namespace) = Namespace::new() else { return };
    let mut shell = namespace.start(&["sh", "-c", "echo id $$; echo problem >&2; exec sleep 600"]);
    let line = shell.wait_for_line(SOON, |line| line.starts_with("id "));
    assert_eq!((line.text, line.stream), (format!("id {}", shell.id()), Stream::Out));
    shell.wait_for_line(SOON, |line| line == "problem");
    assert_eq!(shell.text(Stream::Err), "problem\n");
    shell.signal(Signal::SIGTERM);
    assert!(!shell.wait(SOON).success());
}

#[test]
#[should_panic(expected = "it ended without the line that was waited for; it printed:\n  | something else")]
fn a_program_that_ends_early_fails_the_wait_at_once() {
    let mut echo = Running::spawn(Command::new("echo").arg("something else"));
    echo.wait_for_line(Duration::from_secs(600), |line| line == "ready");
}

#[test]
#[should_panic(expected = "in vain for the moon")]
fn waiting_in_vain_says_for_what() {
    wait_until(Duration::from_millis(20), "the moon", || None::<()>);
}

/// Not a test by itself: the process that the next one kills.
#[test]
fn victim_of_sigkill() {
    if std::env::var_os("TESTBED_WAIT_TO_BE_KILLED").is_none() {
        return;
    }
    let namespace = Namespace::new().expect("the parent has the rights");
    let sleep = namespace.start(&["sleep", "600"]);
    writeln!(std::io::stderr(), "started {}", sleep.id()).unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn nothing_survives_a_test_that_is_killed() {
    if testbed::rights().is_none() {
        return;
    }
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "victim_of_sigkill"]).env("TESTBED_WAIT_TO_BE_KILLED", "1").stdin(Stdio::piped());
    let mut test = Running::spawn(&mut test);
    let line = test.wait_for_line(SOON, |line| line.contains("started ")).text;
    let child = Path::new("/proc").join(line.rsplit(' ').next().unwrap());
    let inside = |link: &str| fs::read_link(child.join(link)).ok();
    let name = || fs::read_to_string(child.join("comm")).unwrap_or_default();
    wait_until(SOON, "the program inside", || (name() == "sleep\n").then_some(()));
    assert_ne!(inside("ns/net"), fs::read_link("/proc/self/ns/net").ok());
    test.signal(Signal::SIGKILL);
    wait_until(SOON, "the end of the program inside", || (name() != "sleep\n").then_some(()));
}
