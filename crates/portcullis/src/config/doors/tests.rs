use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::{Config, Faults, differences, load, load_for_run, parse, sample, write};
use super::*;

fn read(text: &str) -> Result<Vec<DoorConfig>, Faults> {
    parse(Path::new("p.toml"), text).map(|config| config.doors)
}

fn one(text: &str) -> DoorConfig {
    let mut doors = read(text).unwrap();
    assert_eq!(doors.len(), 1, "{text}");
    doors.remove(0)
}

/// All faults of `text` as one text.
fn faults(text: &str) -> String {
    read(text).expect_err("this text has a fault").to_string()
}

const SSH: &str = "[door.ssh]\nopens = \"tcp/22\"\nsequence = \"7000, 9000, 8000\"\n";

/// A good door of each kind, with nothing but what it needs.
const LEAST: [(KindName, &str); 4] = [
    (KindName::Sequence, SSH),
    (KindName::OneTime, "[door.d]\nkind = \"one-time\"\nopens = \"tcp/22\"\nsequences_file = \"/etc/s\"\n"),
    (KindName::Rotating, "[door.d]\nkind = \"rotating\"\nopens = \"tcp/22\"\nkeys = [\"%d/anna\"]\n"),
    (KindName::Spa, "[door.d]\nkind = \"spa\"\nopens = \"tcp/22\"\nusers = \"/etc/access\"\n"),
];

#[test]
fn the_table_says_the_defaults_that_hold() {
    let draft = Draft::default();
    for key in GROUPS.iter().flat_map(|group| group.keys) {
        assert_eq!(key.written(&draft), key.default, "{}", key.name);
        assert!(key.about.iter().all(|line| line.chars().count() <= 110), "{}", key.name);
    }
    assert_eq!(names().count(), names().collect::<std::collections::BTreeSet<_>>().len());
}

#[test]
fn every_key_is_explained_in_the_sample_and_may_be_written_with_its_default() {
    let sample = sample();
    for (kind, least) in LEAST {
        for group in GROUPS.iter().filter(|group| group.kinds.contains(&kind)) {
            for key in group.keys {
                assert!(sample.contains(&format!("\n#{} = {}\n", key.name, key.default)), "{}", key.name);
                if !least.contains(&format!("{} = ", key.name)) {
                    let text = format!("{least}{} = {}\n", key.name, key.default);
                    let expected = if key.name == "kind" { continue } else { read(least).unwrap() };
                    assert_eq!(read(&text).unwrap(), expected, "{text}");
                }
            }
        }
    }
}

#[test]
fn every_key_of_a_sequence_is_read_into_its_place() {
    let door = one(r#"
        [door.web-1]
        kind = "sequence"
        opens = "tcp/80, tcp/443, udp/443"
        open_for = "1h"
        renew = true
        cut_on_close = true
        guests = ["192.0.2.0/24", "2001:db8::/32"]
        for_everyone = true
        mode = "observe"
        command_open = ["/bin/echo", "%IP% came"]
        command_open_6 = []
        command_close = ["/bin/echo", "closed"]
        command_close_6 = ["/bin/echo", "closed 6"]
        service = "ssh.service"
        mark = 0x40000
        window = "3s"
        flags = "fin, psh, !ack"
        wrong_tries = 3
        ignored_for = "1d"
        sequence = "7000, 8000:udp, 9000:tcp:syn+!ack"
        close_sequence = "9000, 8000:udp, 7000"
        "#);
    let flags = Flags { set: 0b1001, clear: 0b1_0000 };
    let tcp = |port, flags| Step { port, protocol: StepProtocol::Tcp(flags) };
    let udp = |port| Step { port, protocol: StepProtocol::Udp };
    let argv = |words: &[&str]| Some(Command::Argv(words.iter().map(|word| (*word).to_owned()).collect()));
    assert_eq!(
        door.kind,
        DoorKind::Sequence(SequenceDoor {
            open: vec![tcp(7000, flags), udp(8000), tcp(9000, Flags::FIRST)],
            close: vec![tcp(9000, flags), udp(8000), tcp(7000, flags)],
            window: Duration::from_secs(3),
            flags,
            wrong_tries: 3,
            ignored_for: Duration::from_secs(86_400),
        })
    );
    assert_eq!(
        door.commands,
        Commands {
            open: argv(&["/bin/echo", "%IP% came"]),
            open_6: None,
            close: argv(&["/bin/echo", "closed"]),
            close_6: argv(&["/bin/echo", "closed 6"]),
        }
    );
    assert_eq!((door.name.as_str(), door.opens.to_string().as_str()), ("web-1", "tcp/80, tcp/443, udp/443"));
    assert_eq!(
        (door.open_for, door.mode, door.mark),
        (Duration::from_secs(3600), DoorMode::Observe, Some(1 << 18))
    );
    assert!(door.renew && door.cut_on_close && door.for_everyone && !door.pardon);
    assert_eq!((door.guests.len(), door.service.as_deref()), (2, Some("ssh.service")));
}

#[test]
fn each_kind_has_its_own_keys() {
    let text = "[door.a]\nkind = \"one-time\"\nopens = \"tcp/22\"\nsequences_file = \"/etc/a\"\nwarn_left = 0\npardon = false\n\
                [door.b]\nkind = \"rotating\"\nopens = \"tcp/22\"\nkeys = [\"%d/anna\", \"/etc/b\"]\nports = \"20000-30000\"\n\
                time_step = \"1m\"\nsteps = 5\nprotocols = [\"udp\"]\nwindow = \"5s\"\n\
                [door.c]\nkind = \"spa\"\nopens = \"tcp/22\"\nusers = \"/etc/c\"\nudp_port = 443\nmax_age = \"30s\"\n\
                weak = [\"short-keys\", \"no-hmac\", \"short-keys\"]\n";
    let doors = read(text).unwrap();
    assert!(!doors[0].pardon && doors[1].pardon && doors[2].pardon);
    let DoorKind::OneTime(first) = &doors[0].kind else { panic!("{:?}", doors[0]) };
    assert_eq!((first.sequences.written(), first.warn_left), ("/etc/a", 0));
    let DoorKind::Rotating(second) = &doors[1].kind else { panic!("{:?}", doors[1]) };
    assert_eq!((second.keys.len(), second.steps, second.ports.count()), (2, 5, 10_001));
    assert_eq!((second.tcp, second.udp), (false, true));
    assert_eq!((second.time_step, second.window), (Duration::from_secs(60), Duration::from_secs(5)));
    let DoorKind::Spa(third) = &doors[2].kind else { panic!("{:?}", doors[2]) };
    assert_eq!((third.udp_port, third.max_age), (443, Duration::from_secs(30)));
    assert_eq!(third.weak, [Weakness::NoHmac, Weakness::ShortKeys]);
}

#[test]
fn doors_keep_the_order_of_the_file_and_are_written_as_they_read() {
    let text = "[door.z]\nopens = \"tcp/22\"\nsequence = \"7000, 9000, 8000:tcp:fin\"\nflags = \"any\"\n\
                [door.a]\nshell = true\nsequence = \"1:udp, 3, 2\"\ncommand_open = [\"echo \\\"%IP%\\\" | cat\"]\ncommand_close_6 = [\"x\"]\n\
                [door.m]\nkind = \"spa\"\nopens = \"udp/5\"\nusers = \"%d/u\"\nweak = [\"no-hmac\"]\nmark = 4\npardon = false\n\
                [door.k]\nkind = \"rotating\"\nkeys = [\"/k\"]\nservice = \"a.socket\"\nsteps = 3\n\
                [door.o]\nkind = \"one-time\"\nopens = \"tcp/1-9\"\nsequences_file = \"/o\"\nwindow = \"2m\"\n";
    let config = parse(Path::new("p"), text).unwrap();
    assert_eq!(
        config.doors.iter().map(|door| door.name.as_str()).collect::<Vec<_>>(),
        ["z", "a", "m", "k", "o"]
    );
    assert_eq!(parse(Path::new("q"), &write(&config)).unwrap(), config);
}

#[test]
fn a_later_file_changes_single_keys_of_a_door() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let files = [file("a", SSH), file("b", "[door.ssh]\nopen_for = \"5m\"\nopens = \"tcp/2222\"\n")];
    let config = load(&files).unwrap();
    assert_eq!(config.doors.len(), 1);
    assert_eq!(config.doors[0].opens.to_string(), "tcp/2222");
    assert_eq!(config.doors[0].open_for, Duration::from_secs(300));
    let (_, overrides) = load_for_run(&files).unwrap();
    assert_eq!(overrides.len(), 1);
    assert_eq!((overrides[0].section.as_str(), overrides[0].key), ("door.ssh", "opens"));
}

#[test]
fn what_is_wrong_with_a_value_is_shown_where_it_stands() {
    for (line, expected) in [
        (
            "sequence = \"7000, 80x, 9\"",
            "p.toml:4:19: [door.d] sequence: \"80x\" is no port\n  4 | sequence = \"7000, 80x, 9\"\n    |                   ^^^\n  write a port from 1 to 65535, such as 7000, 7000:udp or 7000:tcp:fin",
        ),
        ("opens = \"tcp/22, sctp/9\"", "4:18: [door.d] opens: \"sctp\" has no doors"),
        ("flags = \"syn, akc\"", "4:15: [door.d] flags: \"akc\" is no flag of TCP"),
        ("open_for = \"0s\"", "\"0s\" is out of bounds"),
        ("open_for = \"2d\"", "a time from \"1s\" to \"1d\""),
        ("window = \"11m\"", "a time from \"1s\" to \"10m\""),
        ("kind = \"sequense\"", "did you mean \"sequence\"?"),
        ("opens_for = \"30s\"", "[door.d] has no key \"opens_for\"\n"),
        ("opens_for = \"30s\"", "did you mean \"open_for\"?"),
        ("growth = 2", "\"growth\" belongs below [respond]"),
        ("mark = 6", "0x6 has 2 bits"),
        ("mark = 0x100000000", "is no bit of 32"),
        ("service = \"ssh\"", "write \"ssh.service\""),
        ("service = \"a b.service\"", "can't be the name of a unit"),
        ("keys = [\"anna.key\"]", "\"anna.key\" is no absolute path"),
        ("users = \"access\"", "or %d/NAME for a credential"),
        ("weak = [\"no-hmca\"]", "did you mean \"no-hmac\"?"),
        (
            "command_open = \"/bin/echo %IP%\"",
            "write each word by itself, command_open = [\"/bin/echo\", \"%IP%\"]",
        ),
        ("command_open = [\"a\\u0000b\"]", "can't hold a NUL"),
        ("command_open = [\"\", \"x\"]", "the program is missing"),
    ] {
        let said = faults(&format!("[door.d]\n\n\n{line}\n"));
        assert!(said.contains(expected), "{line}\n{said}");
    }
}

#[test]
fn what_is_wrong_with_a_door_as_a_whole_is_said_with_its_mend() {
    let least = |kind: KindName| LEAST.iter().find(|(name, _)| *name == kind).unwrap().1;
    for (text, at, message, mend) in [
        ("[door.a]\nopens = \"tcp/22\"\n".to_owned(), "1:7", "needs sequence", "write sequence ="),
        (
            "[door.a]\nkind = \"one-time\"\nopens = \"tcp/22\"\n".to_owned(),
            "1:7",
            "needs sequences_file",
            "key` makes",
        ),
        ("[door.a]\nkind = \"rotating\"\nopens = \"tcp/22\"\n".to_owned(), "1:7", "needs keys", "key` makes"),
        ("[door.a]\nkind = \"spa\"\nopens = \"tcp/22\"\n".to_owned(), "1:7", "needs users", "key` makes"),
        (
            "[door.a]\nsequence = \"1,3,2\"\n".to_owned(),
            "1:7",
            "opens nothing, runs nothing",
            "opens = \"tcp/22\"",
        ),
        (
            "[door.a]\nopens = \"tcp/1\"\nsequence = \"1,2\"\n".to_owned(),
            "3:12",
            "2 steps would soon",
            "at least 3",
        ),
        (format!("{SSH}close_sequence = \"9\"\n"), "4:18", "1 step would soon", "at least 3"),
        (format!("{SSH}close_sequence = \"7000,9000,8000,1\"\n"), "4:18", "would close", "turned round"),
        (
            format!("{SSH}flags = \"syn, ack\"\n"),
            "3:12",
            "packets with ACK or RST are never heard",
            "take ack and rst",
        ),
        (
            format!("{}ports = \"1-999\"\nprotocols = [\"tcp\"]\n", least(KindName::Rotating)),
            "5:9",
            "too few",
            "",
        ),
        (format!("{}protocols = []\n", least(KindName::Rotating)), "5:13", "neither", "[\"tcp\", \"udp\"]"),
        (
            format!("{}time_step = \"10500ms\"\n", least(KindName::Rotating)),
            "5:13",
            "whole seconds",
            "\"10s\"",
        ),
        (format!("{}time_step = \"6m\"\n", least(KindName::Rotating)), "5:13", "5m", ""),
        (
            format!("{}weak = [\"no-hmac\", \"command-messages\"]\n", least(KindName::Spa)),
            "5:8",
            "never run",
            "command_open",
        ),
        (format!("{SSH}users = \"/a\"\n"), "4:9", "has no such key", "kind = \"spa\""),
        (
            format!("{SSH}pardon = true\n"),
            "4:10",
            "pardons nobody",
            "\"one-time\" or \"rotating\" or \"spa\"",
        ),
        (format!("{}flags = \"any\"\n", least(KindName::Spa)), "5:9", "has no such key", "delete the line"),
        (
            format!("{}ports = \"1-9\"\n", least(KindName::Rotating)),
            "5:9",
            "9 ports are too few",
            "10000-60000",
        ),
        (format!("{}ports = \"0-9000\"\n", least(KindName::Rotating)), "5:9", "port 0", "10000-60000"),
        (format!("{SSH}command_open = [\"echo\", \"x\"]\n"), "4:16", "no absolute path", "or shell = true"),
        (format!("{SSH}command_open = [\"echo x\"]\n"), "4:16", "no absolute path", "[\"echo\", …]"),
        (format!("{SSH}shell = true\ncommand_open = [\"a\", \"b\"]\n"), "5:16", "is one text", "[\"a b\"]"),
        (format!("{SSH}shell = true\n"), "4:9", "no command for the shell", "command_open"),
        (
            "[door.a]\nsequence = \"1,3,2\"\nservice = \"a.service\"\nrenew = true\n".to_owned(),
            "4:9",
            "opens no port",
            "delete renew",
        ),
    ] {
        let said = faults(&text);
        assert!(said.contains(&format!("p.toml:{at}: [door.")), "{text}\n{said}");
        assert!(said.contains(message) && said.contains(mend) && said.ends_with("1 fault"), "{text}\n{said}");
    }
}

#[test]
fn a_door_has_a_name_that_the_kernel_takes() {
    for (text, mend) in [
        ("[door]\nopens = \"tcp/22\"\n", "write [door.NAME]"),
        ("[[door]]\nopens = \"tcp/22\"\n", "write [door.NAME]"),
        ("door = 1\n", "write [door.NAME]"),
        ("[door.\"my door\"]\nopens = \"tcp/22\"\n", "write a-z, 0-9, - and _"),
        ("[door.openSSH]\nopens = \"tcp/22\"\n", "write openssh"),
        ("[doors]\n", "did you mean [door.NAME]?"),
        ("[doors.ssh]\n", "did you mean [door.NAME]?"),
        ("open_for = \"1s\"\n", "belongs below a door"),
        ("[watch]\nopen_for = \"1s\"\n", "belongs below a door"),
    ] {
        let said = faults(text);
        assert!(said.contains(mend), "{text}\n{said}");
    }
    let long = "a".repeat(32);
    assert!(faults(&format!("[door.{long}]\n")).contains("at most 31"));
    let many: String = (0..=MOST_DOORS).map(|n| SSH.replace("ssh", &format!("d{n}"))).collect();
    assert!(faults(&many).contains("more than 64 doors"));
}

#[test]
fn secrets_are_looked_at_before_a_program_acts() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let text = format!(
        "[door.a]\nkind = \"rotating\"\nopens = \"tcp/22\"\nkeys = [\"{}\", \"{}\"]\n",
        path("one").display(),
        path("two").display()
    );
    fs::write(path("p.toml"), text).unwrap();
    fs::write(path("one"), "x").unwrap();
    fs::set_permissions(path("one"), fs::Permissions::from_mode(0o644)).unwrap();
    let files = [path("p.toml")];
    assert!(load(&files).is_ok(), "a configuration can be read without its secrets");
    let said = load_for_run(&files).unwrap_err().to_string();
    assert!(said.contains("p.toml:4:8: [door.a] keys: ") && said.contains("has mode 0644"), "{said}");
    assert!(
        said.contains("chmod 0600") && said.contains("there is no file") && said.ends_with("2 faults"),
        "{said}"
    );
    fs::write(path("two"), "x").unwrap();
    for name in ["one", "two"] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(load_for_run(&files).unwrap().0.doors.len(), 1);
}

#[test]
fn doors_are_said_in_plain_words_without_their_ports_of_knocks() {
    let says = |text: &str| describe(&one(text)).to_string();
    assert_eq!(
        says(SSH),
        "\
Door        ssh (sequence)
            shuts tcp/22, and opens it to whoever has knocked for 30s
            knock: 3 steps within 10s
            guessing: 1 in 281 trillion; 10 wrong tries of a source, and it is ignored for 10m, so a thousand sources need 268 thousand years
            whoever records a knock can repeat it
            Warning: tcp/22, where SSH usually is, is shut to you too. Keep a session open and knock once before you leave; an address in [protect] allow needs no knock; `portcullis open ssh ADDRESS` lets in by hand; on the console `nft delete table inet portcullis` opens everything once portcullis is stopped"
    );
    for (text, line) in [
        (
            format!("{SSH}for_everyone = true\nguests = [\"10.0.0.0/8\"]\n"),
            "opens it to all of 10.0.0.0/8 for 30s",
        ),
        (format!("{SSH}mode = \"observe\"\n"), "observe: tells, and does nothing (it shuts tcp/22"),
        (format!("{SSH}service = \"ssh.service\"\n"), "starts ssh.service as it opens"),
        (format!("{SSH}mark = 0x40000\n"), "marks a guest's packets with 0x40000"),
        (
            format!("{SSH}command_open = [\"/nowhere/x\"]\n"),
            "Warning: command_open: there is no program /nowhere/x",
        ),
        (format!("{SSH}shell = true\ncommand_open = [\"/nowhere/y 1 | cat\"]\n"), "no program /nowhere/y"),
        (
            SSH.replace("9000, 8000", "8000, 9000"),
            "Warning: the steps of sequence stand in the order of their ports",
        ),
        (SSH.replace("9000, 8000", "7000, 7000"), "Warning: the steps of sequence are all the same"),
        (LEAST[1].1.to_owned(), "knock: the next sequence of /etc/s within 10s; warns when 5 are left"),
        (LEAST[2].1.to_owned(), "knock: 6 steps within 10s, new every 30s, from 1 key"),
        (
            LEAST[3].1.to_owned(),
            "knock: one encrypted packet to udp/62201, at most 2m old, of a user in /etc/access",
        ),
        (LEAST[3].1.to_owned(), "a right knock lifts automatic bans"),
        (format!("{}weak = [\"no-hmac\"]\n", LEAST[3].1), "accepts what is weak: no-hmac"),
    ] {
        let said = says(&text);
        assert!(said.contains(line), "{line}\n{said}");
        assert!(!said.contains("7000") && !said.contains("9000"), "{said}");
    }
    let json = serde_json::to_value(describe(&one(SSH))).unwrap();
    assert_eq!(
        (&json["kind"], &json["steps"], &json["opens"]),
        (&"sequence".into(), &3.into(), &"tcp/22".into())
    );
}

#[test]
fn what_changes_on_reload_is_said_without_showing_a_sequence() {
    let config = |text: &str| -> Config { parse(Path::new("p"), text).unwrap() };
    let old = config(SSH);
    assert_eq!(differences(&old, &old), Vec::<String>::new());
    assert_eq!(differences(&old, &config(&SSH.replace("8000", "8001"))), ["door.ssh.sequence is another"]);
    assert_eq!(
        differences(&old, &config(&SSH.replace("8000", "8001, 5"))),
        ["door.ssh.sequence = (4 steps) (was (3 steps))"]
    );
    assert_eq!(
        differences(&old, &config(&format!("{SSH}open_for = \"1m\"\n"))),
        ["door.ssh.open_for = \"1m\" (was \"30s\")"]
    );
    assert_eq!(differences(&Config::default(), &old), ["door.ssh.kind = \"sequence\" (new)"]);
    assert_eq!(differences(&old, &Config::default()), ["door.ssh is gone"]);
}
