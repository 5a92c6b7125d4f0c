use std::fs;

use proptest::prelude::*;

use super::super::parse;
use super::*;

/// Carries over texts as if they had been read from files; the named ignore file is not there.
fn carry(texts: &[&str]) -> Import {
    let mut old = Old::default();
    let mut faults = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        old.add(Path::new(["portsentry.conf", "second", "third"][index]), text.as_bytes(), &mut faults);
    }
    assert_eq!(faults, []);
    let (path, reading) = old.reading.take().expect("the first text is a portsentry.conf");
    Carrying::new(path, reading.config).carry(&old)
}

fn fates(import: &Import, outcome: Outcome) -> Vec<&str> {
    import.report.iter().filter(|fate| fate.outcome == outcome).map(|fate| fate.what.as_str()).collect()
}

const DEBIAN: &str = "\
TCP_PORTS=\"1,11,15,79\"
UDP_PORTS=\"1,7,9\"
ADVANCED_PORTS_TCP=\"1024\"
ADVANCED_EXCLUDE_TCP=\"113,139\"
IGNORE_FILE=\"/etc/portsentry/portsentry.ignore\"
HISTORY_FILE=\"/var/lib/portsentry/portsentry.history\"
BLOCKED_FILE=\"/var/lib/portsentry/portsentry.blocked\"
RESOLVE_HOST = \"0\"
BLOCK_UDP=\"1\"
BLOCK_TCP=\"1\"
KILL_ROUTE=\"/sbin/route add -host $TARGET$ reject\"
KILL_HOSTS_DENY=\"ALL: $TARGET$ : DENY\"
KILL_RUN_CMD=\"/usr/bin/logger $TARGET$\"
SCAN_TRIGGER=\"3\"
PORT_BANNER=\"go away\"
";

#[test]
fn an_old_configuration_becomes_one_that_does_the_same() {
    let import = carry(&[
        DEBIAN,
        "TCP_MODE=\"atcp\"\nUDP_MODE=\"sudp\"\n",
        "127.0.0.1/32\n0.0.0.0\n192.168.1.1/24\n192.168.1.7\n0.0.0.0/0\n",
    ]);
    let expected = "\
# Made by `portcullis import portsentry` from portsentry.conf.
# Keys that are not here have their defaults.

[watch]
# Ports as PortSentry watched them with -atcp -sudp.
tcp = \"0-112, 114-138, 140-1023\"
udp = \"1, 7, 9\"

[judge]
# PortSentry's rule; \"evidence\" finds slower scans and spares more friends.
by = \"trigger\"
# PortSentry counts every probe, also of one port.
count = \"probes\"
# SCAN_TRIGGER was 3.
trigger = 3
# PortSentry had no window; this is the longest.
window = \"1d\"

[respond]
# BLOCK_TCP and BLOCK_UDP.
mode = \"enforce\"
# A block of PortSentry never ended. \"10m\" with growth forgives those who inherit an address.
ban = \"ever\"

[protect]
# From third.
allow = [\"127.0.0.1/32\", \"192.168.1.0/24\"]
";
    assert_eq!(import.toml, expected);
    assert_eq!(parse(Path::new("p"), &import.toml).unwrap(), import.config);
    assert_eq!(
        fates(&import, Outcome::Changed),
        ["protection", "HISTORY_FILE", "BLOCKED_FILE", "KILL_ROUTE", "SCAN_TRIGGER"]
    );
    assert_eq!(
        fates(&import, Outcome::Dropped),
        ["TCP_PORTS", "0.0.0.0/32", "0.0.0.0/0", "KILL_HOSTS_DENY", "KILL_RUN_CMD", "PORT_BANNER"]
    );
    let report = import.to_string();
    for line in [
        "Kept:\n",
        "  portsentry.conf:10: BLOCK_TCP: scanners are banned\n",
        "Dropped:\n  portsentry.conf:1: TCP_PORTS: not used with -atcp -sudp\n",
        "  third:5: 0.0.0.0/0: PortSentry took /0 for one address",
        "  portsentry.conf:13: KILL_RUN_CMD: portcullis runs no commands\n",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
}

#[test]
fn every_key_of_the_old_file_has_exactly_one_fate() {
    for modes in ["tcp udp", "atcp audp", "none", "stcp"] {
        let import = carry(&[DEBIAN, modes]);
        let config = portsentry::read(Path::new("p"), DEBIAN, None).config;
        for (key, line) in config.lines {
            let told =
                import.report.iter().filter(|fate| fate.what == key.name() && fate.line == line).count();
            // Without an ignore file nothing can be told of it here; import_portsentry reads the one that is named.
            let expected = usize::from(key != KeyName::IgnoreFile);
            assert_eq!(told, expected, "{modes} {}", key.name());
        }
    }
}

#[test]
fn a_block_that_ends_goes_on_to_end() {
    let import = carry(&[&format!("{DEBIAN}BLOCK_TIME=\"12h\"\nKILL_ROUTE_BY=\"nftables\"\n")]);
    assert_eq!(import.config.respond.ban, Some(Duration::from_secs(43_200)));
    assert_eq!(import.config.respond.growth, 1.0);
    assert_eq!(parse(Path::new("p"), &import.toml).unwrap(), import.config);
    let kept = fates(&import, Outcome::Kept);
    assert!(kept.contains(&"BLOCK_TIME") && kept.contains(&"KILL_ROUTE_BY"), "{kept:?}");
}

#[test]
fn a_trigger_of_one_that_bans_is_warned_of() {
    for (trigger, block, is_warned) in
        [("0", "1", true), ("1", "1", true), ("2", "1", false), ("1", "0", false)]
    {
        let text = format!("TCP_PORTS=\"1\"\nSCAN_TRIGGER=\"{trigger}\"\nBLOCK_TCP=\"{block}\"\n");
        let import = carry(&[&text]);
        assert_eq!(import.to_string().contains("Warning: trigger = 1"), is_warned, "{text}");
        assert_eq!(!import.warnings.is_empty(), is_warned);
    }
}

#[test]
fn files_go_by_their_names_unless_these_are_alike() {
    let fate = |path: &str| Fate {
        outcome: Outcome::Kept,
        path: path.into(),
        line: 3,
        what: "A".to_owned(),
        why: "b".to_owned(),
    };
    let mut import = carry(&["TCP_PORTS=\"1\"\n"]);
    import.report = vec![fate("/etc/portsentry/portsentry.conf"), fate("/a/x"), fate("/b/x")];
    assert_eq!(
        import.to_string(),
        "portsentry.conf is /etc/portsentry/portsentry.conf\nKept:\n  portsentry.conf:3: A: b\n  /a/x:3: A: b\n  /b/x:3: A: b\n"
    );
}

#[test]
fn nobody_is_banned_whom_the_old_one_left_alone() {
    let text =
        "TCP_PORTS=\"1-9\"\nUDP_PORTS=\"7\"\nKILL_ROUTE=\"/sbin/iptables -I INPUT -s $TARGET$ -j DROP\"\n";
    for (blocks, mode, tcp, udp) in [
        ("", Mode::Observe, "1-9", "7"),
        ("BLOCK_TCP=\"1\"\nBLOCK_UDP=\"1\"\n", Mode::Enforce, "1-9", "7"),
        ("BLOCK_TCP=\"1\"\nBLOCK_UDP=\"0\"\n", Mode::Enforce, "1-9", "none"),
        ("BLOCK_TCP=\"1\"\n", Mode::Enforce, "1-9", "none"),
        ("BLOCK_UDP=\"1\"\nBLOCK_TCP=\"2\"\n", Mode::Enforce, "none", "7"),
        ("BLOCK_TCP=\"2\"\n", Mode::Observe, "1-9", "7"),
    ] {
        let import = carry(&[&format!("{text}{blocks}")]);
        let (config, report) = (&import.config, import.to_string());
        assert_eq!(
            (config.respond.mode, config.watch.tcp.to_string(), config.watch.udp.to_string()),
            (mode, tcp.to_owned(), udp.to_owned()),
            "{blocks}"
        );
        assert_eq!(config.respond.ban.is_none(), mode == Mode::Enforce, "{blocks}");
        assert_eq!(report.contains("is not watched"), tcp == "none" || udp == "none", "{report}");
        assert_eq!(parse(Path::new("p"), &import.toml).unwrap(), import.config);
    }
}

#[test]
fn what_a_start_makes_of_the_ignore_file_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let (conf, ignore) = (directory.path().join("conf"), directory.path().join("portsentry.ignore"));
    fs::write(&conf, format!("TCP_PORTS=\"1\"\nIGNORE_FILE=\"{}\"\n", ignore.display())).unwrap();
    let allowed = |import: &Import| -> Vec<String> {
        import.config.protect.allow.iter().map(ToString::to_string).collect()
    };
    for mark in ["# Addresses of this host", "##\n# Do NOT edit below this line\n##"] {
        fs::write(&ignore, format!("10.0.0.0/8\n{mark}\n127.0.0.1\n192.0.2.7\n")).unwrap();
        let import = import_portsentry(std::slice::from_ref(&conf)).unwrap();
        assert_eq!(allowed(&import), ["10.0.0.0/8"]);
        let said = import.to_string();
        assert!(
            said.contains("portsentry.ignore:") && said.contains("2 left out, for they are made"),
            "{said}"
        );
    }
    // Whatever script has made the file: it was made from the static part.
    fs::write(&ignore, "10.1.0.0/16\n192.0.2.7\n").unwrap();
    fs::write(directory.path().join("portsentry.ignore.static"), "10.1.0.0/16\n").unwrap();
    let import = import_portsentry(std::slice::from_ref(&conf)).unwrap();
    assert_eq!(allowed(&import), ["10.1.0.0/16"]);
    assert!(import.to_string().contains("portsentry.ignore.static:1: 10.1.0.0/16"), "{import}");
}

#[test]
fn files_are_told_by_their_content_and_the_named_ignore_file_is_read() {
    let directory = std::env::temp_dir().join(format!("portcullis-import-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (conf, ignore, modes) = (directory.join("conf"), directory.join("ignore"), directory.join("modes"));
    fs::write(&ignore, "10.1.2.3\nhost.example\n").unwrap();
    fs::write(&modes, "MODE=stcp\n").unwrap();
    fs::write(&conf, format!("TCP_PORTS=\"1\"\nIGNORE_FILE=\"{}\"\n", ignore.display())).unwrap();
    let import = import_portsentry(&[modes.clone(), conf.clone()]).unwrap();
    let second = import_portsentry(&[conf.clone(), conf.clone()]).unwrap_err();
    let none = import_portsentry(std::slice::from_ref(&modes)).unwrap_err();
    fs::remove_file(&ignore).unwrap();
    let without = import_portsentry(std::slice::from_ref(&conf)).unwrap();
    let missing = import_portsentry(&[conf.clone(), directory.join("nowhere")]).unwrap_err();
    fs::remove_dir_all(&directory).unwrap();

    assert_eq!(import.config.protect.allow, ["10.1.2.3/32".parse().unwrap()]);
    assert!(import.diagnostics.iter().any(|said| said.to_string().contains("host.example")));
    assert!(import.config.watch.udp.is_empty());
    assert!(second.to_string().contains("second portsentry.conf"), "{second}");
    assert!(none.to_string().contains("give the path of a portsentry.conf"), "{none}");
    assert!(without.to_string().contains("no such file, so nobody was carried over"), "{without}");
    assert!(missing.to_string().contains("no such file"), "{missing}");
}

proptest! {
    #[test]
    fn whatever_is_imported_our_own_reader_takes(
        text in "((TCP_PORTS|UDP_PORTS|ADVANCED_PORTS_TCP|ADVANCED_EXCLUDE_UDP|BLOCK_TCP|BLOCK_UDP|SCAN_TRIGGER)=\"[0-9, -]{0,9}\"\n){0,9}",
        modes in prop::sample::select(vec!["", "tcp udp", "atcp audp", "none"]),
        ignore in "([0-9]{1,3}\\.[0-9]{1,3}\\.0\\.[0-9]{1,3}(/[0-9]{1,2})?\n){0,4}",
    ) {
        let import = carry(&[&format!("KILL_RUN_CMD=\"\u{1b}\n{text}"), modes, &ignore]);
        match parse(Path::new("p"), &import.toml) {
            Ok(read) => prop_assert_eq!(read, import.config),
            Err(faults) => prop_assert!(false, "{}\n{}", import.toml, faults),
        }
    }
}
