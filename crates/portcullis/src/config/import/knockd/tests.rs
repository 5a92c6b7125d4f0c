use std::fs;

use super::*;

fn import(text: &str) -> Import {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("knockd.conf");
    fs::write(&path, text).unwrap();
    let import = import_knockd(&[path]).unwrap();
    assert_eq!(toml::parse(Path::new("new"), &import.toml).unwrap(), import.config, "{}", import.toml);
    import
}

fn body(import: &Import) -> String {
    let lines = import.toml.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

/// What Debian ships (knockd 0.8-2), but for the first line of HTTPS.
const DEBIAN: &str = "[options]\n\tUseSyslog\n\n[openSSH]\n\tsequence    = 7000,8000,9000\n\tseq_timeout = 5\n\t\
command     = /sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\ttcpflags    = syn\n\n[closeSSH]\n\t\
sequence    = 9000,8000,7000\n\tseq_timeout = 5\n\tcommand     = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\t\
tcpflags    = syn\n\n[openHTTPS]\n\tsequence    = 12345,54321,24680,13579\n\tseq_timeout = 5\n\t\
command     = /usr/local/sbin/knock_add -i -c INPUT -p tcp -d 443 -f %IP%\n\ttcpflags    = syn\n";

#[test]
fn the_file_that_debian_ships_becomes_two_doors() {
    let import = import(DEBIAN);
    assert_eq!(
        body(&import),
        "[door.openssh]\nkind = \"sequence\"\nopens = \"tcp/22\"\nopen_for = \"1d\"\nwindow = \"5s\"\nflags = \"syn\"\n\
         sequence = \"7000, 8000, 9000\"\nclose_sequence = \"9000, 8000, 7000\"\n\
         [door.openhttps]\nkind = \"sequence\"\n\
         command_open = [\"/usr/local/sbin/knock_add -i -c INPUT -p tcp -d 443 -f %IP%\"]\nshell = true\n\
         window = \"5s\"\nflags = \"syn\"\nsequence = \"12345, 54321, 24680, 13579\"\n"
    );
    let report = import.to_string();
    for line in [
        "knockd.conf:7: [openSSH] start_command: opens = \"tcp/22\" until the sequence of [closeSSH] closes it",
        "knockd.conf:10: [closeSSH]: its sequence is close_sequence of [door.openssh]",
        "knockd.conf:19: [openHTTPS] start_command: run by the shell as before",
        "knockd.conf:2: usesyslog: what happens is in the journal",
        "Warning: portcullis shuts tcp/22 ([door.openssh]) itself",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
}

#[test]
fn a_command_with_its_inverse_is_done_natively_for_its_time() {
    let door = |start: &str, stop: &str, more: &str| {
        let text = format!(
            "[S]\nsequence=7000,9000,8000:udp\ntcpflags=syn,!ack\ncommand={start}\ncmd_timeout=20\nstop_command={stop}\n{more}"
        );
        import(&text).config.doors.remove(0)
    };
    let rule =
        |verb: &str, port: u16| format!("iptables {verb} INPUT -s %IP% -p tcp --dport {port} -j ACCEPT");
    let native = door(&rule("-I", 22), &rule("-D", 22), "");
    assert_eq!((native.opens.to_string().as_str(), native.open_for), ("tcp/22", Duration::from_secs(20)));
    assert!(native.commands.is_empty() && native.guests.is_empty());
    let only_four = door(&rule("-I", 22), &rule("-D", 22), "command_6 =\n");
    assert_eq!(only_four.guests.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0.0.0.0/0"]);

    let other_stop = door(&rule("-I", 22), &rule("-D", 23), "");
    assert!(other_stop.opens.is_empty());
    assert_eq!(other_stop.commands.open, Some(Command::Shell(rule("-I", 22))));
    assert_eq!(other_stop.commands.close_6, Some(Command::Shell(rule("-D", 23))));
    let other_six = door(&rule("-I", 22), &rule("-D", 22), "command_6 = /bin/echo six\nstop_command_6 =\n");
    assert_eq!(other_six.commands.open_6, Some(Command::Shell("/bin/echo six".to_owned())));
    assert_eq!(other_six.commands.close_6, None);
}

#[test]
fn names_and_bounds_are_ours_and_what_cannot_be_is_dropped_with_its_mend() {
    let text = "[My Door!]\nsequence=1,3,2\ncommand=/bin/true\nseq_timeout=0\n[my door]\nsequence=4,6,5\ncommand=/bin/true\ntcpflags=fin\n\
                [short]\nsequence=7\ncommand=/bin/true\n[acks]\nsequence=1,3,2\ntcpflags=syn,ack\ncommand=/bin/true\n\
                [nothing]\nsequence=9,8,10\n[once]\none_time_sequences=seq\ncommand=/bin/true\n\
                [twice]\none_time_sequences=/etc/seq\ncommand=/bin/true\ntcpflags=syn\ntarget=192.0.2.1\n";
    let import = import(text);
    let names: Vec<&str> = import.config.doors.iter().map(|door| door.name.as_str()).collect();
    assert_eq!(names, ["my-door", "my-door-2", "twice"]);
    assert!(import.config.doors[2].pardon);
    let report = import.to_string();
    for line in [
        "[My Door!] seq_timeout: 0s is out of bounds; it is 1s now",
        "[My Door!] tcpflags: any TCP packet counts, but for those with ACK or RST",
        "[short]: not carried over: 1 step would soon be found by a scan: write at least 3 steps",
        "[acks]: not carried over: packets with ACK or RST are never heard",
        "[nothing]: not carried over: it opens nothing, runs nothing",
        "[once] one_time_sequences: the file has no absolute path",
        "[twice] target: knocks are heard at this host's own addresses",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
}

#[test]
fn the_file_that_starts_knockd_is_known_and_others_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let start = file("default", "# x\nSTART_KNOCKD=1\nKNOCKD_OPTS=\"-i eth1\"\n");
    let import = import_knockd(&[file("k", DEBIAN), start]).unwrap();
    assert!(import.to_string().contains("default:3: KNOCKD_OPTS: knocks are heard"), "{import}");
    let faults =
        import_knockd(&[file("x", "hello\n"), directory.path().join("nowhere")]).unwrap_err().to_string();
    assert!(
        faults.contains("no line of it is a setting of knockd") && faults.contains("no such file"),
        "{faults}"
    );
}
