//! Starts, signals, and what is owed.

use std::os::unix::net::UnixDatagram;

use testbed::{Signal, wait_until};

use super::host::{Host, Program, SOON, is_possible};

/// A door that is shut again after a time that no test waits for.
const LONG: &str = "[S]\nsequence = 7000,8000,9000\ntcpflags = syn\nstart_command = echo start %IP% >> /run/done\n\
                    cmd_timeout = 600\nstop_command = echo stop %IP% >> /run/done\n";

const KNOCK: &str = "knock -d 20 10.77.0.2 7000 8000 9000";

fn host() -> Option<Host> {
    if is_possible() { Host::new() } else { None }
}

/// Waits until the commands have written this.
#[track_caller]
fn wait_for_done(host: &Host, expected: &str) {
    wait_until(SOON, expected, || (host.read("/run/done") == expected).then_some(()));
}

#[test]
fn a_stop_command_comes_in_its_time_and_opening_again_only_puts_it_off() {
    let Some(host) = host() else { return };
    let doors = LONG.replace("600", "2");
    for (program, expected) in [
        // Two pairs, of which the first end shuts the door for both.
        (Program::Original, "start 10.77.0.1\nstart 10.77.0.1\nstop 10.77.0.1\nstop 10.77.0.1\n"),
        (Program::Ours, "start 10.77.0.1\nstop 10.77.0.1\n"),
    ] {
        host.write("/run/done", "");
        let daemon = host.start(program, &doors);
        host.guest(KNOCK);
        daemon.wait_for("S: OPEN SESAME");
        host.guest(KNOCK);
        wait_for_done(&host, expected);
        let log = daemon.log();
        let opened = log.iter().filter(|line| *line == "10.77.0.1: S: OPEN SESAME").count();
        assert_eq!(opened, 2, "{log:#?}");
        assert!(log.contains(&"10.77.0.1: S: command timeout".to_owned()), "{log:#?}");
        assert_eq!(log.last().unwrap(), "S: running command: echo stop 10.77.0.1 >> /run/done");
    }
}

#[test]
fn a_stop_command_is_owed_after_kill_9_and_at_an_end_by_a_signal() {
    let Some(host) = host() else { return };
    let mut daemon = host.start(Program::Ours, &LONG.replace("600", "3"));
    host.guest(KNOCK);
    wait_for_done(&host, "start 10.77.0.1\n");
    // The opening is in the store when its command has begun; nobody hears of the end of this one.
    daemon.running.signal(Signal::SIGKILL);
    daemon.running.wait(SOON);
    assert_eq!(host.read("/run/done"), "start 10.77.0.1\n");
    let mut daemon = host.start_again(Program::Ours);
    wait_for_done(&host, "start 10.77.0.1\nstop 10.77.0.1\n");
    // In order: killed before the store knows that it was done, it would be done once more.
    daemon.running.signal(Signal::SIGTERM);
    daemon.running.wait(SOON);
    for (signal, status) in [(Signal::SIGTERM, 15), (Signal::SIGINT, 2)] {
        host.write("/run/done", "");
        let mut daemon = host.start(Program::Ours, LONG);
        host.guest(KNOCK);
        wait_for_done(&host, "start 10.77.0.1\n");
        daemon.running.signal(signal);
        assert_eq!(daemon.running.wait(SOON).code(), Some(status), "{signal}");
        assert_eq!(host.read("/run/done"), "start 10.77.0.1\nstop 10.77.0.1\n", "{signal}");
        assert_eq!(host.log().last().unwrap(), "shutting down");
    }
}

#[test]
fn a_hangup_keeps_progress_and_the_old_file_if_the_new_one_is_bad() {
    let Some(host) = host() else { return };
    let mut daemon = host.start(Program::Ours, LONG);
    host.guest("knock 10.77.0.2 7000");
    daemon.wait_for("S: Stage 1");
    host.configure("[S]\nsequence = 7000,70000\n");
    daemon.running.signal(Signal::SIGHUP);
    wait_until(SOON, "the refusal", || {
        host.log().iter().any(|line| line.contains("the configuration was not changed")).then_some(())
    });
    host.guest("knock 10.77.0.2 8000");
    daemon.wait_for("S: Stage 2");
    host.configure(&format!("{LONG}[T]\nsequence = 7700\ntcpflags = syn\n"));
    daemon.running.signal(Signal::SIGHUP);
    let is_heard =
        || host.log().iter().filter(|line| line.starts_with("re-reading config file: ")).count() == 2;
    wait_until(SOON, "the second file", || is_heard().then_some(()));
    drop(daemon.log());
    host.guest("knock 10.77.0.2 9000 7700");
    daemon.wait_for("10.77.0.1: S: OPEN SESAME");
    wait_until(SOON, "the new door", || {
        // Until the new doors hold; a door of one step is open to everyone who comes.
        host.guest("knock 10.77.0.2 7700");
        host.log().contains(&"10.77.0.1: T: OPEN SESAME".to_owned()).then_some(())
    });
    let log = daemon.log();
    assert!(!log.iter().any(|line| line.contains("7000,")), "{log:#?}");
}

#[test]
fn two_doors_of_one_name_are_two_doors() {
    let Some(host) = host() else { return };
    let door = |ports: &str, word: &str| {
        format!(
            "[S]\nsequence = {ports}\ntcpflags = syn\nstart_command = echo {word} %IP% >> /run/done\ncmd_timeout = 1\n\
             stop_command = echo end {word} %IP% >> /run/done\n"
        )
    };
    let doors = door("7000,8000", "one") + &door("7100,8100", "two");
    let daemon = host.start(Program::Ours, &doors);
    host.guest("knock -d 20 10.77.0.2 7100 8100");
    wait_for_done(&host, "two 10.77.0.1\nend two 10.77.0.1\n");
    assert!(daemon.log().contains(&"10.77.0.1: S: OPEN SESAME".to_owned()));
    host.guest("knock -d 20 10.77.0.2 7000 8000");
    wait_for_done(&host, "two 10.77.0.1\nend two 10.77.0.1\none 10.77.0.1\nend one 10.77.0.1\n");
}

#[test]
fn commands_for_ipv6_are_those_of_ipv6_and_an_empty_one_is_none() {
    let Some(host) = host() else { return };
    for (six, expected) in [
        ("", "four fd77::1\n"),
        ("start_command_6 = echo six %IP% >> /run/done\n", "six fd77::1\n"),
        ("start_command_6 =\n", ""),
    ] {
        host.write("/run/done", "");
        let start = "start_command = echo four %IP% >> /run/done";
        let daemon =
            host.start(Program::Ours, &format!("[S]\nsequence = 7000\ntcpflags = syn\n{start}\n{six}"));
        host.guest("knock -6 fd77::2 7000");
        daemon.wait_for("fd77::1: S: OPEN SESAME");
        wait_for_done(&host, expected);
        assert_eq!(daemon.log().iter().any(|line| line.contains("running command")), !six.ends_with("=\n"));
    }
}

#[test]
fn an_address_that_comes_later_is_knocked_at_and_another_target_too() {
    let Some(host) = host() else { return };
    let doors = "[S]\nsequence = 7000,8000\ntcpflags = syn\n[T]\nsequence = 7000,8000\ntcpflags = syn\ntarget = 10.99.0.1\n";
    let daemon = host.start(Program::Ours, doors);
    host.lab.victim.add_address("eth0", "10.77.0.44/24");
    wait_until(SOON, "the new address", || {
        host.guest("knock -d 20 10.77.0.44 7000 8000");
        host.log().contains(&"10.77.0.1: S: OPEN SESAME".to_owned()).then_some(())
    });
    // Routed to this host, and for none of its addresses.
    host.lab.attacker.ip("route add 10.99.0.0/24 via 10.77.0.2");
    host.guest("knock -d 20 10.99.0.1 7000 8000");
    daemon.wait_for("10.77.0.1: T: OPEN SESAME");
}

#[test]
fn with_4_only_ipv4_is_heard() {
    let Some(host) = host() else { return };
    host.configure("[S]\nsequence = 7000\ntcpflags = syn\n");
    let words = Host::words(Program::Ours);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["-4", "-v"]).collect();
    let mut running = host.lab.victim.start(&words);
    running.wait_for_line(SOON, |line| line == "starting up, listening on eth0");
    host.guest("knock -6 fd77::2 7000");
    host.guest("knock 10.77.0.2 7000");
    running.wait_for_line(SOON, |line| line == "10.77.0.1: S: OPEN SESAME");
    assert!(!running.lines().iter().any(|line| line.text.contains("fd77::1")));
}

#[test]
fn help_and_what_is_not_understood_end_with_0_and_a_bad_file_with_1() {
    let Some(host) = host() else { return };
    host.write("/etc/bad.conf", "x = 1\n");
    for words in [&["-h"][..], &["-V"], &["--nope"], &["-c", "/etc/bad.conf"], &["-c", "/no/such"]] {
        let codes = [Program::Original, Program::Ours].map(|program| {
            let start = Host::words(program);
            let start = start.iter().take_while(|word| *word != "-i").collect::<Vec<_>>();
            let mut command = host.lab.victim.command(start[0]);
            command.args(&start[1..]).args(words).env("LD_LIBRARY_PATH", super::host::libraries());
            let output = command.output().unwrap();
            let shows_usage = String::from_utf8_lossy(&output.stdout).starts_with("usage: knockd [options]");
            (output.status.code(), shows_usage)
        });
        let [theirs, ours] = codes;
        // A file that is not there is no question of usage, but knockd showed it all the same.
        assert_eq!(ours, theirs, "{words:?}");
    }
}

#[test]
fn a_daemon_tells_its_caller_whether_it_could_start_and_has_a_pid_file() {
    let Some(host) = host() else { return };
    host.write("/etc/bad.conf", "x = 1\n");
    let words = |file: &str| {
        // Gone with the first process of its own process namespace.
        let program = env!("CARGO_BIN_EXE_portcullis");
        let line = format!(
            "{program} knockd -d -i eth0 -p /run/own.pid -c {file}; echo returned $?; read -r line; kill -TERM \
             $(cat /run/own.pid); while [ -e /run/own.pid ]; do sleep 0.01; done; echo gone; read -r line"
        );
        let mut command = host.lab.victim.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", &line]);
        command.stdin(std::process::Stdio::piped());
        testbed::Running::spawn(&mut command)
    };
    let mut failed = words("/etc/bad.conf");
    failed.wait_for_line(SOON, |line| line == "returned 1");
    assert!(failed.lines().iter().any(|line| line.text.contains("bad.conf:1:")), "{:#?}", failed.lines());
    drop(failed);
    host.configure("[S]\nsequence = 7000\ntcpflags = syn\n");
    let mut daemon = words("/etc/knockd.conf");
    daemon.wait_for_line(SOON, |line| line == "returned 0");
    host.guest("knock 10.77.0.2 7000");
    wait_until(SOON, "the opening", || {
        host.log().contains(&"10.77.0.1: S: OPEN SESAME".to_owned()).then_some(())
    });
    assert!(host.read("/run/own.pid").trim().parse::<u32>().is_ok());
    let orders = daemon.stdin();
    std::io::Write::write_all(&mut orders.unwrap(), b"end\n").unwrap();
    daemon.wait_for_line(SOON, |line| line == "gone");
    assert_eq!(host.log().last().unwrap(), "shutting down");
}

#[test]
fn a_missing_interface_is_said_and_waited_for() {
    let Some(host) = host() else { return };
    host.configure("[S]\nsequence = 7000\ntcpflags = syn\n");
    let program = env!("CARGO_BIN_EXE_portcullis");
    let start = [program, "knockd", "-v", "-i", "late0", "-c", "/etc/knockd.conf"];
    let mut running = host.lab.victim.start(&start);
    running.wait_for_line(SOON, |line| line.contains("there is no interface late0"));
    host.lab.attacker.join("late0", &host.lab.victim, "late0");
    host.lab.attacker.add_address("late0", "10.66.0.1/24");
    host.lab.victim.add_address("late0", "10.66.0.2/24");
    wait_until(SOON, "a knock by the new interface", || {
        host.guest("knock 10.66.0.2 7000");
        running.lines().iter().any(|line| line.text == "10.66.0.1: S: OPEN SESAME").then_some(())
    });
}

#[test]
fn a_stop_command_whose_time_came_while_nobody_ran_is_run_by_the_next_start() {
    let Some(host) = host() else { return };
    let mut daemon = host.start(Program::Ours, &LONG.replace("600", "1"));
    host.guest(KNOCK);
    wait_for_done(&host, "start 10.77.0.1\n");
    daemon.running.signal(Signal::SIGKILL);
    daemon.running.wait(SOON);
    if host.read("/run/done") != "start 10.77.0.1\n" {
        return; // The machine was so slow that its time was over before the kill.
    }
    // Only time brings it; and the door may be gone from the file by then.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let mut daemon = host.start(Program::Ours, "");
    wait_for_done(&host, "start 10.77.0.1\nstop 10.77.0.1\n");
    daemon.running.signal(Signal::SIGTERM);
    daemon.running.wait(SOON);
    drop(host.start(Program::Ours, "").log());
    assert_eq!(host.read("/run/done"), "start 10.77.0.1\nstop 10.77.0.1\n", "it was done already");
}

#[test]
fn doors_of_one_name_all_pay_what_they_owe_at_the_end() {
    let Some(host) = host() else { return };
    let doors =
        format!("{LONG}{}", LONG.replace("7000,8000,9000", "7100,8100,9100").replace("done", "done2"));
    let mut daemon = host.start(Program::Ours, &doors);
    host.guest(KNOCK);
    host.guest(&KNOCK.replace("7000 8000 9000", "7100 8100 9100"));
    wait_for_done(&host, "start 10.77.0.1\n");
    wait_until(SOON, "the second door", || (host.read("/run/done2") == "start 10.77.0.1\n").then_some(()));
    daemon.running.signal(Signal::SIGTERM);
    daemon.running.wait(SOON);
    for file in ["/run/done", "/run/done2"] {
        assert_eq!(host.read(file), "start 10.77.0.1\nstop 10.77.0.1\n", "{file}");
    }
}

#[test]
fn the_systems_log_gets_knockds_lines_with_names_if_asked() {
    let Some(host) = host() else { return };
    host.write("/etc/hosts", "10.77.0.1 guest.example\n10.77.0.33 marker.example\n");
    let log = host.lab.victim.enter(|| UnixDatagram::bind("/dev/log").unwrap());
    // Read all the time: ten lines fill the queue, and the writer would wait.
    let (to, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok(length) = log.recv(&mut bytes) {
            let line = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if to.send(line).is_err() {
                return;
            }
        }
    });
    let doors = "UseSyslog\n[S]\nsequence = 7000,8000,9000\ntcpflags = syn\ncommand = /bin/true\n";
    let [theirs, ours] = [Program::Original, Program::Ours].map(|program| {
        let daemon = host.start_with(program, doors, &["-l"]);
        host.guest(KNOCK);
        wait_until(SOON, "the command", || {
            host.log().iter().any(|line| line.contains("running command")).then_some(())
        });
        let in_file = daemon.log();
        let mut lines: Vec<String> = Vec::new();
        wait_until(SOON, "the same lines in the system's log", || {
            let new = heard.try_iter().filter(|line| !line.contains("10.77.0.33"));
            lines.extend(new.map(|line| without_second(&line)));
            (lines.len() >= in_file.len()).then_some(())
        });
        drop(daemon);
        let text = |line: &String| line.split_once("knockd: ").unwrap().1.to_owned();
        assert_eq!(lines.iter().map(text).collect::<Vec<_>>(), in_file, "{program:?}");
        // What the test's own doors still said.
        heard.try_iter().for_each(drop);
        lines
    });
    assert_eq!(ours, theirs);
    let opened = "10.77.0.1 (guest.example): S: OPEN SESAME";
    assert!(ours.iter().any(|line| line.ends_with(opened)), "{ours:#?}");
}

/// `<29>Nov 21 02:09:05 knockd: text` with another time.
#[track_caller]
fn without_second(line: &str) -> String {
    let (before, text) = line.split_once("knockd: ").unwrap_or_else(|| panic!("{line:?}"));
    let (priority, time) = before.split_once('>').unwrap_or_else(|| panic!("{line:?}"));
    assert_eq!(time.len(), "Nov 21 02:09:05 ".len(), "{line:?}");
    format!("{priority}> knockd: {}", text.trim_end())
}

#[test]
fn paths_without_a_root_are_meant_from_where_knockd_meant_them() {
    let Some(host) = host() else { return };
    for program in [Program::Original, Program::Ours] {
        host.lab.victim.run(&["mkdir", "-p", "/run/place"]);
        for file in ["/run/place/own.log", "/run/own.pid"] {
            host.lab.victim.run(&["rm", "-f", file]);
        }
        host.write("/run/place/once", " 7000,8000\n 7100,8100\n");
        host.write("/run/place/own.conf", "[options]\nLogFile = own.log\n[S]\none_time_sequences = once\n");
        let start = Host::words(program);
        let program_words =
            start.iter().take_while(|word| *word != "-i").cloned().collect::<Vec<_>>().join(" ");
        let line = format!(
            "cd /run/place; {program_words} -d -i eth0 -c own.conf -p run/own.pid; echo returned $?; read -r line"
        );
        let mut command = host.lab.victim.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", &line]);
        command.stdin(std::process::Stdio::piped()).env("LD_LIBRARY_PATH", super::host::libraries());
        let mut running = testbed::Running::spawn(&mut command);
        running.wait_for_line(SOON, |line| line == "returned 0");
        wait_until(SOON, &format!("{program:?} to hear"), || {
            host.guest("knock -d 20 10.77.0.2 7000 8000");
            host.read("/run/place/own.log").contains("S: OPEN SESAME").then_some(())
        });
        wait_until(SOON, &format!("{program:?} to strike it where it was called"), || {
            (host.read("/run/place/once") == "#7000,8000\n 7100,8100\n").then_some(())
        });
        assert!(host.read("/run/own.pid").trim().parse::<u32>().is_ok(), "{program:?}: from /");
    }
}
