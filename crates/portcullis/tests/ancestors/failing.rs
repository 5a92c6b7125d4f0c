//! Responses that go wrong: said, tried again within a ceiling, and nobody is called blocked who is not. PortSentry
//! took every command for done, and waited for each (fault 6).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use testbed::wait_until;

use crate::load::watching;
use crate::probes::{Forge, SYN, VICTIM};
use crate::victim::{CONFIGURATION, Program, SOON, STATE, Victim};

/// A command has 30 s to end; and a failed response is tried again after a while.
const LATE: Duration = Duration::from_secs(90);

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 31);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 32);

struct Scene {
    victim: Victim,
    forge: Forge,
}

impl Scene {
    fn new(rest: &str) -> Option<Self> {
        let victim = Victim::new()?;
        victim.write(CONFIGURATION, &watching("79,111", rest));
        let forge = Forge::new(&victim.lab.attacker);
        Some(Self { victim, forge })
    }

    fn probe(&self, from: Ipv4Addr, port: u16) {
        self.forge.tcp(SocketAddrV4::new(from, 40000), SocketAddrV4::new(VICTIM, port), SYN);
    }

    #[track_caller]
    fn wait_for_line(&self, within: Duration, words: &[&str]) {
        wait_until(within, &format!("a line with {words:?} in {:#?}", self.victim.syslog()), || {
            self.says(words).then_some(())
        });
    }

    fn says(&self, words: &[&str]) -> bool {
        self.victim.syslog().iter().any(|line| words.iter().all(|word| line.contains(word)))
    }

    /// How often the responses of the test wrote this line.
    fn times(&self, line: &str) -> usize {
        self.victim.read("/run/kill.log").lines().filter(|written| *written == line).count()
    }

    /// Whether the history or the blocked file call the source blocked.
    fn is_called_blocked(&self, source: Ipv4Addr) -> bool {
        let files = [format!("{STATE}/portsentry.history"), format!("{STATE}/portsentry.blocked.stcp")];
        files.iter().any(|file| self.victim.read(file).contains(&format!("/{source} ")))
    }
}

#[test]
fn a_command_that_hangs_is_ended_and_holds_up_nobody_else() {
    let hang = "BLOCK_TCP=\"2\"\nKILL_RUN_CMD=\"if [ $TARGET$ = 10.77.0.31 ]; then echo began >> /run/kill.log; \
                sleep 1000; fi; echo ended $TARGET$ >> /run/kill.log\"\n";
    let Some(scene) = Scene::new(hang) else { return };
    let _daemon = scene.victim.start(Program::Ours, "-stcp");
    scene.probe(FIRST, 111);
    wait_until(SOON, "the command that hangs", || (scene.times("began") == 1).then_some(()));
    scene.probe(SECOND, 111);
    scene.wait_for_line(SOON, &["External command run for host: 10.77.0.32"]);
    assert_eq!(scene.times("ended 10.77.0.32"), 1);
    assert!(!scene.says(&["External command run for host: 10.77.0.31"]), "it hangs still");
    scene.wait_for_line(LATE, &["There was an error trying to run command", "10.77.0.31"]);
    scene.probe(SECOND, 79);
    scene.wait_for_line(SOON, &["from host: 10.77.0.32/10.77.0.32 to TCP port: 79"]);
    assert!(!scene.is_called_blocked(FIRST));
    assert!(scene.is_called_blocked(SECOND));
    assert_eq!(scene.times("ended 10.77.0.31"), 0);
}

/// The block stands; that somebody is told of it takes its time.
#[test]
fn a_command_that_tells_of_a_block_holds_up_nothing_that_is_said_of_it() {
    let slow = "BLOCK_TCP=\"1\"\nKILL_ROUTE=\"echo route $TARGET$ >> /run/kill.log\"\n\
                KILL_RUN_CMD=\"until [ -e /run/go ]; do sleep 0.1; done; echo told $TARGET$ >> /run/kill.log; \
                [ $TARGET$ = 10.77.0.31 ]\"\n";
    let Some(scene) = Scene::new(slow) else { return };
    let _daemon = scene.victim.start(Program::Ours, "-stcp");
    scene.probe(FIRST, 111);
    scene.probe(SECOND, 111);
    for source in [FIRST, SECOND] {
        wait_until(SOON, "the blocked file", || scene.is_called_blocked(source).then_some(()));
        assert!(scene.says(&[&format!("Host {source} has been blocked via dropped route")]));
    }
    assert!(!scene.says(&["External command run"]), "it still waits");
    scene.victim.write("/run/go", "");
    scene.wait_for_line(SOON, &["External command run for host: 10.77.0.31"]);
    scene.wait_for_line(
        LATE,
        &["10.77.0.32 is shut out, but not every response worked", "root: sh -c 'until ["],
    );
    for source in [FIRST, SECOND] {
        let named = format!("/{source} ");
        let files = [format!("{STATE}/portsentry.history"), format!("{STATE}/portsentry.blocked.stcp")];
        for file in files {
            let text = scene.victim.read(&file);
            assert_eq!(text.lines().filter(|line| line.contains(&named)).count(), 1, "{file}: {text}");
        }
        assert_eq!(scene.times(&format!("route {source}")), 1);
    }
    let lines = scene.victim.syslog();
    let tries =
        |line: &&String| line.contains("trying to run command (system fail) 10.77.0.32: KILL_RUN_CMD: ");
    assert_eq!(lines.iter().filter(tries).count(), 5, "one line a try: {lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("10.77.0.32") && line.contains("ERROR")).count(), 6);
}

#[test]
fn a_command_that_fails_is_tried_again_and_never_called_done() {
    let fail = "BLOCK_TCP=\"1\"\nKILL_ROUTE=\"echo try $TARGET$ >> /run/kill.log; exit 3\"\n\
                KILL_RUN_CMD=\"echo told $TARGET$ >> /run/kill.log\"\n";
    let Some(scene) = Scene::new(fail) else { return };
    let _daemon = scene.victim.start(Program::Ours, "-stcp");
    scene.probe(FIRST, 111);
    scene.wait_for_line(SOON, &["There was an error trying to block host", "10.77.0.31"]);
    wait_until(LATE, "a second try", || (scene.times("try 10.77.0.31") >= 2).then_some(()));
    scene.probe(SECOND, 79);
    scene.wait_for_line(SOON, &["from host: 10.77.0.32/10.77.0.32 to TCP port: 79"]);
    assert!(!scene.says(&["has been blocked via dropped route"]), "{:#?}", scene.victim.syslog());
    assert!(!scene.is_called_blocked(FIRST));
    assert_eq!(scene.times("told 10.77.0.31"), 1, "what has worked is not done twice");
}

/// Few services read hosts.deny: where a command was to shut the host out and did not, it is not shut out.
#[test]
fn a_line_in_hosts_deny_does_not_stand_in_for_a_route_that_failed() {
    let fail = "BLOCK_TCP=\"1\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\nKILL_ROUTE=\"exit 4 # $TARGET$\"\n";
    let Some(scene) = Scene::new(fail) else { return };
    let _daemon = scene.victim.start(Program::Ours, "-stcp");
    scene.probe(FIRST, 111);
    let denied = || scene.victim.read("/etc/hosts.deny");
    wait_until(SOON, "the line", || (denied() == "ALL: 10.77.0.31\n").then_some(()));
    scene.wait_for_line(LATE, &["attackalert: ERROR: Could not block host 10.77.0.31/10.77.0.31 !!"]);
    // It is tried no more, and nobody could unban a host that is not banned.
    wait_until(SOON, "the line to be taken out", || denied().is_empty().then_some(()));
    assert!(!scene.is_called_blocked(FIRST));
}

#[test]
fn a_hosts_deny_that_is_read_only_is_said_and_tried_again() {
    let both = "BLOCK_TCP=\"1\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\n\
                KILL_ROUTE=\"echo route $TARGET$ >> /run/kill.log\"\n";
    let Some(scene) = Scene::new(both) else { return };
    let guarded = &scene.victim.lab.victim;
    guarded.run(&["mount", "--bind", "/etc", "/etc"]);
    guarded.run(&["mount", "-o", "remount,bind,ro", "/etc"]);
    let mut daemon = scene.victim.start(Program::Ours, "-stcp");
    scene.probe(FIRST, 111);
    scene.wait_for_line(SOON, &["cannot open hosts.deny file: /etc/hosts.deny for blocking."]);
    scene.wait_for_line(SOON, &["securityalert: ERROR: There was an error trying to block host 10.77.0.31"]);
    scene.wait_for_line(SOON, &["has been blocked via dropped route", "10.77.0.31"]);
    assert!(!scene.says(&["via wrappers"]));
    assert!(!scene.is_called_blocked(FIRST), "not all that was asked for is done");
    // The daemon has mounts of its own, which were copied from the namespace's.
    daemon.order("mount -o remount,bind,rw /etc\n");
    scene.wait_for_line(LATE, &["Host 10.77.0.31 has been blocked via wrappers"]);
    assert_eq!(scene.victim.read("/etc/hosts.deny"), "ALL: 10.77.0.31\n");
    assert_eq!(scene.times("route 10.77.0.31"), 1, "what has worked is not done twice");
    wait_until(SOON, "the blocked file", || scene.is_called_blocked(FIRST).then_some(()));
}

#[test]
fn a_full_disk_hides_no_scan_and_nothing_is_called_done() {
    let both = "BLOCK_TCP=\"1\"\nKILL_HOSTS_DENY=\"ALL: $TARGET$\"\n\
                KILL_ROUTE=\"echo route $TARGET$ >> /run/kill.log\"\n";
    let Some(scene) = Scene::new(both) else { return };
    let guarded = &scene.victim.lab.victim;
    guarded.run(&["mkdir", "/var/lib/small"]);
    guarded.run(&["mount", "-t", "tmpfs", "-o", "size=1m", "small", "/var/lib/small"]);
    // hosts.deny, history, blocked file and our own store: all on the disk that gets full.
    let move_there = "mkdir /var/lib/small/portsentry /var/lib/small/portcullis && rm -r /var/lib/portsentry && \
                      ln -s small/portsentry /var/lib/portsentry && ln -s small/portcullis /var/lib/portcullis && \
                      mv /etc/hosts.deny /var/lib/small/ && ln -s /var/lib/small/hosts.deny /etc/hosts.deny";
    guarded.run(&["sh", "-c", move_there]);
    let _daemon = scene.victim.start(Program::Ours, "-stcp");
    guarded.run(&[
        "sh",
        "-c",
        "dd if=/dev/zero of=/var/lib/small/fill bs=4k 2>/dev/null; df /var/lib/small >&2",
    ]);
    scene.probe(FIRST, 111);
    scene.wait_for_line(SOON, &["from host: 10.77.0.31/10.77.0.31 to TCP port: 111"]);
    scene.wait_for_line(SOON, &["There was an error trying to block host 10.77.0.31"]);
    wait_until(SOON, "the route", || (scene.times("route 10.77.0.31") == 1).then_some(()));
    scene.probe(SECOND, 79);
    scene.wait_for_line(SOON, &["from host: 10.77.0.32/10.77.0.32 to TCP port: 79"]);
    assert!(!scene.says(&["via wrappers"]));
    assert_eq!(scene.victim.read("/etc/hosts.deny"), "", "no half a line");
    guarded.run(&["rm", "/var/lib/small/fill"]);
    scene.wait_for_line(LATE, &["Host 10.77.0.31 has been blocked via wrappers"]);
    scene.wait_for_line(LATE, &["Host 10.77.0.32 has been blocked via wrappers"]);
    let mut lines: Vec<String> = scene.victim.read("/etc/hosts.deny").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["ALL: 10.77.0.31", "ALL: 10.77.0.32"]);
}
