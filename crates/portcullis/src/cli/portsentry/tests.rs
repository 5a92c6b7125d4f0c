//! The command lines of both dialects: what was measured of the originals, and what we add.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::config::portsentry::StartMode;

fn read(line: &str) -> Result<Asked, Misuse> {
    let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    parse(&words)
}

#[track_caller]
fn started(line: &str) -> PortsentryArguments {
    match read(line) {
        Ok(Asked::Start(arguments)) => *arguments,
        other => panic!("{line}: {other:?}"),
    }
}

#[track_caller]
fn refused(line: &str) -> Misuse {
    read(line).expect_err(line)
}

#[test]
fn each_mode_of_1_x_goes_to_the_background_and_to_syslog() {
    for mode in StartMode::ALL {
        let arguments = started(&format!("-{}", mode.word()));
        let expected = PortsentryArguments { modes: vec![mode], ..PortsentryArguments::of(Dialect::One) };
        assert_eq!(arguments, expected);
        assert!(arguments.is_background && arguments.logs_to_syslog && !arguments.logs_to_stdout);
    }
}

#[test]
fn one_mode_of_each_protocol_may_stand_side_by_side() {
    assert_eq!(started("-atcp -audp").modes, [StartMode::Atcp, StartMode::Audp]);
    assert_eq!(started("-udp -stcp").modes, [StartMode::Udp, StartMode::Stcp]);
    for line in ["-tcp -stcp", "-tcp -tcp", "-audp -tcp -sudp"] {
        let misuse = refused(line);
        assert!(misuse.why.contains("one mode a protocol"), "{line}: {}", misuse.why);
        assert_eq!(misuse.code(), 255);
    }
}

#[test]
fn misuse_of_1_x_prints_its_usage_and_ends_with_255() {
    for line in
        ["-tcp extra", "-tcp -x", "-tcp -h", "-tcp -V", "-tcp --connect", "-tcp -c", "-c -tcp", "-tcp -D"]
    {
        let misuse = refused(line);
        assert_eq!((misuse.dialect, misuse.code()), (Dialect::One, 255), "{line}");
        let (printed, why) = misuse.said();
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[3], "Version: 1.2");
        assert!(lines.contains(&"usage: portsentry [-tcp -udp -stcp -atcp -sudp -audp]"), "{printed}");
        assert!(why.starts_with("portsentry: ") && why.ends_with('\n'), "{why}");
    }
}

#[test]
fn a_mode_of_1_x_takes_a_few_words_of_ours() {
    let arguments = started(
        "-atcp -c /a/p.conf --foreground -l stdout -l syslog --state /s --pid-file=/run/p.pid -v -d --background-child",
    );
    assert_eq!(arguments.configuration, Some(PathBuf::from("/a/p.conf")));
    assert_eq!(arguments.state, Some(PathBuf::from("/s")));
    assert_eq!(arguments.pid_file, Some(PathBuf::from("/run/p.pid")));
    assert!(arguments.is_verbose && arguments.is_debug && arguments.is_background_child);
    assert!(!arguments.is_background && arguments.logs_to_stdout && arguments.logs_to_syslog);
    assert!(refused("-tcp -l stdout").why.contains("--foreground"));
}

#[test]
fn the_modes_may_stand_in_files() {
    let arguments = started("--as-configured --pid-file /run/portsentry.pid");
    assert!(arguments.is_as_configured && arguments.is_background && arguments.modes.is_empty());
    assert_eq!(arguments.dialect, Dialect::One);
    assert_eq!(refused("--as-configured -tcp").code(), 255);
    assert_eq!(read("--modes"), Ok(Asked::Modes(vec![])));
    assert_eq!(read("--modes /a b"), Ok(Asked::Modes(vec!["/a".into(), "b".into()])));
}

#[test]
fn without_a_mode_of_1_x_it_is_2_x_in_the_foreground() {
    let arguments = started("");
    assert_eq!(arguments, PortsentryArguments::of(Dialect::Two));
    assert!(!arguments.is_connect && !arguments.is_background && arguments.logs_to_stdout);
    assert_eq!(arguments.interfaces, Interfaces::AllButLoopback);
}

#[test]
fn the_options_of_2_x_are_read_in_every_form_that_getopt_took() {
    for line in [
        "--connect -c /a -l syslog -D -L -S -d -v",
        "-DLSdv -c/a --connect -lsyslog",
        "-vd --configfile=/a --conn --log syslog --daemon --disable-local-check --disable-s",
        "-l syslog -D -L -S --debug --verbose --configfile /a --connect",
    ] {
        let expected = PortsentryArguments {
            is_connect: true,
            configuration: Some("/a".into()),
            logs_to_stdout: false,
            logs_to_syslog: true,
            acts_on_local: true,
            ignores_services: true,
            is_verbose: true,
            is_debug: true,
            is_background: true,
            warnings: vec!["-L changes nothing here: this host itself is never blocked".to_owned()],
            ..PortsentryArguments::of(Dialect::Two)
        };
        assert_eq!(started(line), expected, "{line}");
    }
    // The beginning of two options is neither.
    assert!(refused("--con").why.contains("--connect or --configfile"));
    assert!(started("--ste").notes.is_empty());
    assert!(started("--conn").is_connect);
    assert_eq!(started("-D -l stdout"), started("-D"));
    let both = started("-l syslog --logoutput=stdout");
    assert!(both.logs_to_stdout && both.logs_to_syslog);
}

#[test]
fn interfaces_are_names_or_one_word_for_all() {
    let named = |names: &[&str]| Interfaces::Named(names.iter().map(ToString::to_string).collect());
    for (line, expected) in [
        ("-i eth0", named(&["eth0"])),
        ("-i eth0 --interface=wg0 -iany0", named(&["eth0", "wg0", "any0"])),
        ("-i ALL", Interfaces::All),
        ("-i any", Interfaces::All),
        ("-i ALL_NLO -i ALL_NLO", Interfaces::AllButLoopback),
    ] {
        assert_eq!(started(line).interfaces, expected, "{line}");
    }
    for line in ["-i eth0 -i ALL", "-i ALL_NLO -i eth0", "-i ALL -i ALL_NLO", "-i abcdefghijklmnop", "-i"] {
        assert_eq!(refused(line).code(), 1, "{line}");
    }
}

#[test]
fn the_method_is_compared_by_its_beginning_and_means_the_ring() {
    for line in ["-m pcap", "-m raw", "-mrawhide", "--method=pcapng", "--connect -m raw"] {
        assert!(started(line).notes[0].contains("ring"), "{line}");
    }
    assert_eq!(refused("-m ra").code(), 1);
}

#[test]
fn misuse_of_2_x_ends_with_1_and_names_the_letter_by_its_number() {
    for (line, number) in [
        ("-x", Some("0170")),
        ("-foo", Some("0146")),
        ("-Tcp", Some("0124")),
        ("--explode", None),
        ("--connect --stealth", None),
        ("--connect --connect", None),
        ("--debug=yes", None),
        ("-l file", None),
        ("-c", Some("0143")),
    ] {
        let misuse = refused(line);
        assert_eq!((misuse.dialect, misuse.code()), (Dialect::Two, 1), "{line}");
        let (printed, why) = misuse.said();
        assert_eq!(printed, "Portsentry is shutting down\n");
        let says = "Unknown argument, getopt returned character code ";
        match number {
            Some(number) => assert!(why.contains(&format!("\n{says}{number}\n")), "{line}: {why}"),
            None => assert!(!why.contains(says), "{line}: {why}"),
        }
    }
}

#[test]
fn words_of_2_x_that_are_no_options_are_passed_over_and_said() {
    let arguments = started("tcp --connect -- -udp");
    assert!(arguments.is_connect);
    assert_eq!(arguments.warnings.len(), 2);
    assert!(arguments.warnings[1].contains("\"-udp\""));
}

#[test]
fn help_and_version_are_answered_where_they_stand() {
    assert_eq!(read("-h --explode"), Ok(Asked::Help));
    assert_eq!(read("-vV"), Ok(Asked::Version));
    assert_eq!(refused("--explode -h").code(), 1);
    assert!(version_line().starts_with("Portsentry 2.0.7 ("));
    for option in [
        "--stealth",
        "--connect",
        "-m,",
        "-i,",
        "-l,",
        "-c,",
        "-D,",
        "-L,",
        "-S,",
        "-d,",
        "-v,",
        "-h,",
        "-V,",
    ] {
        assert!(HELP_TWO.contains(option), "{option}");
    }
}

#[test]
fn paths_hold_from_any_directory_once_they_are_absolute() {
    let mut arguments = started("-tcp -c p.conf --state /s");
    arguments.make_absolute().unwrap();
    assert_eq!(arguments.configuration, Some(std::env::current_dir().unwrap().join("p.conf")));
    assert_eq!(arguments.state, Some(PathBuf::from("/s")));
    let upstream = Path::new("/usr/local/psionic/portsentry/portsentry.conf");
    assert_eq!(started("-tcp").configuration_or_default(|path| path == upstream), upstream);
    let usual = Path::new("/etc/portsentry/portsentry.conf");
    assert_eq!(started("-tcp").configuration_or_default(|_| true), usual);
    assert_eq!(started("").configuration_or_default(|path| path == upstream), usual);
}

proptest! {
    #[test]
    fn no_command_line_makes_it_panic(words in prop::collection::vec("-{0,2}(tcp|audp|as-configured|modes|m|i|l|c|[a-zA-Z=-]{0,4}|raw|ALL|\\PC{0,3})", 0..6)) {
        let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        if let Err(misuse) = parse(&words) {
            prop_assert!(!misuse.why.is_empty());
        }
    }
}
