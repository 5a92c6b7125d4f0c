use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use proptest::prelude::*;
use serde::Deserialize;

use super::super::doors::StepProtocol;
use super::*;

fn of(text: &str) -> Reading {
    read(Path::new("k.conf"), text)
}

/// What is said of `text`, as one text.
fn said(text: &str) -> String {
    of(text).diagnostics.iter().map(|said| format!("{said}\n")).collect()
}

/// The steps as knockd printed them.
fn printed(steps: &[Step]) -> String {
    let words: Vec<String> = steps
        .iter()
        .map(|step| {
            let protocol = if step.protocol == StepProtocol::Udp { "udp" } else { "tcp" };
            format!("{}:{protocol}", step.port)
        })
        .collect();
    words.join(",")
}

#[derive(Deserialize)]
struct Cases {
    config_parse_cases: Vec<ConfigCase>,
    one_time_sequence_cases: Vec<OneTimeCase>,
}

#[derive(Deserialize)]
struct ConfigCase {
    id: String,
    config: String,
    started: bool,
    output: Vec<String>,
}

#[derive(Deserialize)]
struct OneTimeCase {
    id: String,
    file_before: String,
    file_after: String,
    opened: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Differences {
    difference: Vec<Difference>,
}

#[derive(Deserialize)]
struct Difference {
    case: String,
    starts: bool,
    doors: Vec<String>,
    reason: String,
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("../../../../../tests/ancestors/knockd-cases.json")).unwrap()
}

/// What knockd said that it had read: doors, and of each the values that it echoed.
fn measured(output: &[String]) -> (Vec<String>, Vec<(String, String)>) {
    let mut doors: Vec<(String, Option<String>)> = Vec::new();
    let mut values = Vec::new();
    for line in output.iter().filter_map(|line| line.strip_prefix("config: ")) {
        if let Some(name) = line.strip_prefix("new section: '").and_then(|rest| rest.strip_suffix('\'')) {
            doors.push((name.to_owned(), None));
        } else if let Some(flag) = line.strip_prefix("tcp flag: ") {
            values.push(("flag".to_owned(), flag.to_ascii_lowercase()));
        } else if let Some((name, sequence)) = line.split_once(": sequence: ") {
            let last = doors.last_mut().unwrap();
            assert_eq!(last.0, name);
            last.1 = Some(sequence.to_owned());
        } else {
            for key in ["start_command", "seq_timeout", "target"] {
                if let Some((_, value)) = line.split_once(&format!(": {key}: ")) {
                    values.retain(|(other, _)| other != key);
                    values.push((key.to_owned(), value.to_owned()));
                }
            }
        }
    }
    let doors = doors.into_iter().filter(|(name, _)| name != "options");
    (doors.map(|(name, steps)| format!("{name} = {}", steps.unwrap_or_default())).collect(), values)
}

fn ours(config: &KnockdConfig) -> (Vec<String>, Vec<(String, String)>) {
    let mut values = Vec::new();
    let mut doors = Vec::new();
    for door in &config.doors {
        let Knock::Sequence(steps) = &door.knock else { panic!("no case has a file of sequences") };
        doors.push(format!("{} = {}", door.name, printed(steps)));
        if door.flags != Flags::ANY {
            let flags = door.flags.written(",");
            values.extend(flags.split(',').map(|flag| ("flag".to_owned(), flag.to_owned())));
        }
        if !door.start.is_empty() {
            values.push(("start_command".to_owned(), door.start.clone()));
        }
        if door.seq_timeout != Duration::from_secs(25) {
            values.push(("seq_timeout".to_owned(), door.seq_timeout.as_secs().to_string()));
        }
        if let Some(target) = door.target {
            values.push(("target".to_owned(), target.to_string()));
        }
    }
    (doors, values)
}

#[test]
fn the_measured_configurations_are_read_as_knockd_read_them() {
    let differences: Differences =
        ::toml::from_str(include_str!("../../../../../tests/ancestors/knockd-config-differences.toml"))
            .unwrap();
    let mut used = Vec::new();
    let cases = cases().config_parse_cases;
    assert_eq!(cases.len(), 43);
    for case in cases {
        let reading = of(&case.config);
        let (mut doors, mut values) = measured(&case.output);
        let (our_doors, mut our_values) = ours(&reading.config);
        let id = &case.id;
        match differences.difference.iter().find(|difference| difference.case == *id) {
            None => {
                assert_eq!(reading.is_usable(), case.started, "{id}: {:?}", reading.diagnostics);
                if case.started {
                    values.sort();
                    our_values.sort();
                    assert_eq!((&our_doors, our_values), (&doors, values), "{id}");
                }
            }
            Some(difference) => {
                used.push(difference.case.clone());
                assert_eq!((reading.is_usable(), &our_doors), (difference.starts, &difference.doors), "{id}");
                doors.retain(|_| case.started);
                assert!((reading.is_usable(), &our_doors) != (case.started, &doors), "{id} is no difference");
                assert!(!difference.reason.is_empty() && !reading.diagnostics.is_empty(), "{id} is not said");
            }
        }
    }
    let listed: Vec<&String> = differences.difference.iter().map(|difference| &difference.case).collect();
    assert_eq!(used.len(), listed.len(), "{used:?} of {listed:?}");
}

#[test]
fn the_measured_files_of_sequences_are_struck_out_line_by_line() {
    let mut asked = 0;
    for case in cases().one_time_sequence_cases {
        let mut text = case.file_before.clone();
        for _ in &case.opened {
            // `ots-badline` and `ots-last` included: what knockd did there was a fault of its own.
            let file = read_one_time(Path::new("s"), &text, Flags::ANY);
            let Some(current) = file.current() else { continue };
            text = struck(&text, current.line).unwrap();
        }
        asked += 1;
        let expected = match case.id.as_str() {
            // knockd wrote over the first digit.
            "ots-nospace" => "#7000,8000,9000\n#7100,8100,9100\n7200,8200,9200\n",
            // knockd struck the line above, so that the used sequence could be used again.
            "ots-badline" => " 70000,1\n#7000,8000,9000\n 7100,8100,9100\n 7200,1\n",
            _ => case.file_after.as_str(),
        };
        assert_eq!(text, expected, "{}", case.id);
    }
    assert_eq!(asked, 10);
}

#[test]
fn a_file_of_sequences_says_which_is_next_and_shows_none() {
    let text = "# made\n#7000,1,2\n\n70000,1\n 7100, 8100:udp, 9100:tcp:fin\n 1,2,3 # of spring\n";
    let file = read_one_time(Path::new("s"), text, Flags::FIRST);
    let current = file.current().unwrap();
    assert_eq!((current.line, printed(&current.steps).as_str()), (5, "7100:tcp,8100:udp,9100:tcp"));
    assert_eq!(current.steps[0].protocol, StepProtocol::Tcp(Flags::FIRST));
    assert_eq!(current.steps[2].protocol, StepProtocol::Tcp(Flags { set: 1, clear: 0 }));
    assert_eq!((file.entries.len(), file.used, file.entries[1].line), (2, 1, 6));
    let said = file.diagnostics[0].to_string();
    assert!(said.starts_with("s:4:1: left out: port 70000 is invalid; the line is passed over"), "{said}");
    assert!(!said.contains("70000,1"), "{said}");
    assert_eq!(struck("a\n\tb\n", 2).unwrap(), "a\n#b\n");
    assert_eq!(
        (struck("#a\n", 1), struck("a", 2), struck("a", 0), struck("\n", 1)),
        (None, None, None, None)
    );
}

#[test]
fn what_knockd_refused_is_a_fault_with_its_place_and_mend() {
    for (text, place, says, mend) in [
        ("sequence=1\n", "1:1", "all directives must belong to a section", "[options]"),
        ("[options]\nfoo=1\n", "2:1", "[options] has no \"foo\"", "[options] has usesyslog"),
        ("[A]\nsequence=1\nsecuence=1\n", "3:1", "a door has no \"secuence\"", "did you mean \"sequence\"?"),
        ("[A]\nsequence=1\ninterface=eth0\n", "3:1", "no \"interface\"", "belongs below [options]"),
        ("[options]\n  sequence = 1\n", "2:3", "no \"sequence\"", "below the name of a door"),
        ("[options]\nUseSyslog = yes\n", "2:1", "usesyslog takes no value", "alone on its line"),
        ("[A]\nsequence=1\n; x\n", "3:1", "has no =", "a comment begins with #"),
        ("[A]\nsequence\n", "2:1", "\"sequence\" has no =", "write sequence = and a value"),
        ("[A]\ncommand=/bin/true\n", "1:2", "section 'A' has an empty knock sequence", "sequence = 7000"),
        ("[]\nsequence=1\n", "1:1", "bad section name", "[openSSH]"),
        ("[A]\nsequence = 1, 65536\n", "2:15", "port 65536 is invalid", "1 to 65535"),
        ("[A]\nsequence = 1:icmp\n", "2:14", "unknown protocol \"icmp\"", "tcp or udp"),
        ("[A]\nsequence=1\ntcpflags = syn,acc\n", "3:16", "unrecognized flag \"acc\"", "fin, syn"),
        ("[A]\nsequence=1\ntcpflags =\n", "3:11", "unrecognized flag \"\"", "fin, syn"),
        ("[A]\nsequence=1\ntarget = gate.example\n", "3:10", "is no address", "IPv4 or IPv6"),
    ] {
        let reading = of(text);
        let all = said(text);
        assert!(!reading.is_usable(), "{text}");
        let is_it = |line: &str| line.contains(": fault: ") && line.contains(says);
        let line = all.lines().find(|line| is_it(line)).unwrap_or_else(|| panic!("{text}\n{all}"));
        assert!(line.starts_with(&format!("k.conf:{place}: fault: ")), "{text}\n{all}");
        assert!(all.contains(mend), "{text}\n{all}");
    }
}

#[test]
fn what_knockd_read_otherwise_than_meant_is_said() {
    let door = |line: &str| format!("[A]\nsequence = 7000,9000,8000\ntcpflags=syn\n{line}\n");
    for (line, says) in [
        ("sequence = 7000,abc,8000", "left out: \"abc\" is port 0 for knockd"),
        ("sequence = 7000,abc,8000", "left out: the door [A] is left out"),
        ("sequence = 7000,,8000", "left out: no port stands here"),
        ("sequence = 7000,9000,8000,", "4:26: read as meant: knockd took what follows the last comma"),
        ("sequence = 7000,-1,8000", "doubtful: knockd took -1 for port 65535"),
        ("sequence = 7000,9000,8000 # x", "4:26: note: knockd read 8000 and passed over \"# x\""),
        ("sequence = 7000,8000,9000", "note: the ports rise, as a scan goes over them"),
        ("sequence = 7000", "note: a door of one port opens to every packet"),
        ("sequence = 1,3,2", "note: sequence stands above already"),
        ("tcpflags = fin, ack", "4:17: read as meant: knockd refused the blank before \"ack\""),
        ("tcpflags = !syn", "doubtful: \"!syn\" says the opposite"),
        ("seq_timeout = soon", "doubtful: seq_timeout is a number of seconds; knockd read 0"),
        ("seq_timeout = soon", "doubtful: with 0 seconds no sequence"),
        ("seq_timeout = 5s", "doubtful: seq_timeout is a number of seconds; knockd read 5"),
        ("cmd_timeout = -3", "doubtful: -3 seconds is taken for 0"),
        ("stop_command = /bin/true", "doubtful: a stop command runs only after a start command"),
        ("command = /bin/echo %ip%", "4:21: doubtful: only %IP% is the knocker's address"),
        ("command = /bin/echo %IP% # open", "4:26: note: this is no comment of knockd"),
        ("command = \"/bin/echo %IP%\"", "doubtful: knockd takes no quotes away"),
        ("command = /nowhere/x %IP%", "doubtful: there is no program /nowhere/x"),
        (
            "command = /sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
            "note: -A puts the rule behind",
        ),
        ("one_time_sequences = /etc/s", "doubtful: the door has a file of sequences too"),
        ("UseSyslog", "note: this holds for all doors"),
        ("[A]\nsequence=1,3,2", "note: there is a door [A] already"),
        ("[Options]\nsequence=1,3,2", "doubtful: [Options] is a door of that name"),
    ] {
        let all = said(&door(line));
        assert!(of(&door(line)).is_usable(), "{line}\n{all}");
        assert!(all.contains(says), "{line}\n{all}");
    }
    assert!(said("[A]\nsequence=1,3,2\n").contains("note: the door [A] has no TCPFlags"));
    let long = door(&format!("command = /bin/echo {}", "x".repeat(5000)));
    assert!(said(&long).contains("doubtful: knockd split a line as long as this"));
    assert_eq!(said(&door("command = /bin/echo %IP%")), "", "nothing is said where nothing is to be said");
}

#[test]
fn commands_for_ipv6_fall_back_or_are_nothing() {
    let (four, six) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let door = |lines: &str| of(&format!("[A]\nsequence=1\n{lines}")).config.doors.remove(0);
    let plain = door("command = a\nstop_command = b\n");
    assert_eq!((plain.start_for(four), plain.start_for(six)), (Some("a"), Some("a")));
    assert_eq!((plain.stop_for(four), plain.stop_for(six)), (Some("b"), Some("b")));
    let own = door("start_command = a\ncommand_6 = c\nstop_command = b\nstop_command_6 = d\n");
    assert_eq!(
        (own.start_for(six), own.stop_for(six), own.stop_for(four)),
        (Some("c"), Some("d"), Some("b"))
    );
    let nothing = door("start_command = a\nstart_command_6 =\nstop_command = b\n");
    assert_eq!((nothing.start_for(four), nothing.start_for(six)), (Some("a"), None));
    assert_eq!((nothing.stop_for(four), nothing.stop_for(six)), (Some("b"), None));
    let only_stop = door("stop_command = b\n");
    assert_eq!((only_stop.start_for(four), only_stop.stop_for(four)), (None, None));
}

#[test]
fn options_are_read_and_have_knockds_defaults() {
    let text = "[options]\n UseSyslog\n LogFile = /var/log/k.log\n pidfile=/run/k.pid\n[A]\nsequence=1\n[options]\nInterface = eth1\n";
    let options = of(text).config.options;
    assert!(options.use_syslog);
    assert_eq!(options.log_file.as_deref(), Some(Path::new("/var/log/k.log")));
    assert_eq!(options.pid_file.as_deref(), Some(Path::new("/run/k.pid")));
    assert_eq!((options.interface(), of("").config.options.interface()), ("eth1", "eth0"));
}

#[test]
fn a_knockd_conf_is_told_from_ours() {
    for (text, is) in [
        ("[options]\nUseSyslog\n", true),
        ("[openSSH]\n sequence = 7000,8000\n", true),
        ("[A]\nCOMMAND = /bin/true\n", true),
        ("[watch]\ntcp = \"1\"\n", false),
        ("[door.ssh]\nsequence = \"7000, 8000, 9000\"\n", false),
        ("[door.ssh]\nsequence = 7000\n", false),
        ("", false),
        ("TCP_PORTS=\"1\"\n", false),
    ] {
        assert_eq!(is_knockd(text.as_bytes()), is, "{text}");
    }
}

#[test]
fn a_door_is_explained_without_its_ports() {
    let text = "[A]\nsequence = 7000,9000,8000\nseq_timeout=5\ntcpflags=syn\ncommand = /bin/echo %IP%\ncommand_6=\n\
                cmd_timeout = 10\nstop_command = /bin/false\ntarget=192.0.2.1\n[B]\none_time_sequences=/etc/s\n";
    let doors = explain(&of(text).config);
    assert_eq!(
        doors[0].to_string(),
        "Door        A\n            knock: 3 steps within 5s\n            TCP packets count with syn\n            at 192.0.2.1 instead \
         of this host's addresses\n            runs: /bin/echo %IP%; nothing for IPv6\n            10s later: /bin/false"
    );
    assert!(doors[1].to_string().contains("the next sequence of /etc/s within 25s"));
    assert!(doors[1].to_string().contains("runs nothing"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,40}|(\\[[a-z]{0,3}\\]\n|sequence=[0-9,: a-z-]{0,12}\n|tcpflags *= *[a-z,! ]{0,9}\n|command=[ -~]{0,20}\r\n){0,6}") {
        let reading = of(&text);
        for said in &reading.diagnostics {
            prop_assert!(!said.to_string().is_empty());
        }
        let _any_will_do = read_one_time(Path::new("s"), &text, Flags::ANY);
    }
}
