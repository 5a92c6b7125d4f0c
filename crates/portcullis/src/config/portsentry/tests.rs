use std::path::Path;

use proptest::prelude::*;

use super::*;

/// What every file of 1.x has, so that a test shows only what it is about.
const FILES: &str = "IGNORE_FILE=\"/i\"\nHISTORY_FILE=\"/h\"\nBLOCKED_FILE=\"/b\"\n";

fn one(text: &str) -> Reading {
    read(Path::new("portsentry.conf"), text, Some(Dialect::One))
}

fn said(reading: &Reading) -> Vec<(Weight, usize, usize)> {
    reading.diagnostics.iter().map(|d| (d.weight, d.fault.line, d.fault.column)).collect()
}

#[test]
fn a_file_of_1x_is_read_without_a_word() {
    let text = "\
# PortSentry
TCP_PORTS=\"1,11,15,79,111,119,143,540,635,1080,1524,2000,5742,6667,12345,12346,20034,27665,31337,32771,32772,32773,32774,40421,49724,54320\"
UDP_PORTS = \"1,7,9,69,161,162,513,635,640,641,700,37444,34555,31335,32770,32771,32772,32773,32774,31337,54321\"
ADVANCED_PORTS_TCP=\"1024\"
ADVANCED_PORTS_UDP=\"1024\"
ADVANCED_EXCLUDE_TCP=\"113,139\"
ADVANCED_EXCLUDE_UDP=\"520,138,137,67\"
IGNORE_FILE=\"/etc/portsentry/portsentry.ignore\"
HISTORY_FILE=\"/var/lib/portsentry/portsentry.history\"
BLOCKED_FILE=\"/var/lib/portsentry/portsentry.blocked\"
RESOLVE_HOST = \"0\"
BLOCK_UDP=\"0\"
BLOCK_TCP=\"1\"
KILL_ROUTE=\"/sbin/route add -host $TARGET$ reject\"
KILL_HOSTS_DENY=\"ALL: $TARGET$ : DENY\"
KILL_RUN_CMD=\"/bin/echo '$TARGET$ $PORT$ $MODE$' | /usr/bin/mail root\"
KILL_RUN_CMD_FIRST = \"1\"
SCAN_TRIGGER=\"2\"
PORT_BANNER=\"** UNAUTHORIZED ACCESS PROHIBITED **\"\r
";
    let reading = read(Path::new("portsentry.conf"), text, None);
    assert_eq!(reading.diagnostics, []);
    let config = reading.config;
    assert_eq!(config.dialect, Dialect::One);
    assert_eq!(config.tcp_ports.as_ref().unwrap().count(), 26);
    assert_eq!(config.udp_ports.as_ref().unwrap().count(), 21);
    assert_eq!(config.advanced_tcp().to_string(), "0-112, 114-138, 140-1023");
    assert_eq!(config.advanced_udp().count(), 1020);
    assert_eq!(config.blocked_file.unwrap(), Path::new("/var/lib/portsentry/portsentry.blocked"));
    assert_eq!((config.block_tcp, config.block_udp), (BlockMode::Respond, BlockMode::LogOnly));
    assert_eq!(config.kill_route.unwrap(), "/sbin/route add -host $TARGET$ reject");
    assert_eq!(config.kill_hosts_deny.unwrap(), "ALL: $TARGET$ : DENY");
    assert!(config.kill_run_cmd_first && !config.resolve_host);
    assert_eq!(config.scan_trigger, 2);
    assert_eq!(config.port_banner.unwrap(), "** UNAUTHORIZED ACCESS PROHIBITED **");
    assert_eq!(config.lines[&KeyName::KillRoute], 14);
}

/// The lists "paranoid" and "bare-bones", as every file of 1.x and every how-to has them; "aware" is in the file above.
#[test]
fn the_other_two_lists_of_ports_are_read_without_a_word() {
    for (tcp, tcp_count, udp, udp_count) in [
        (
            "1,7,9,11,15,70,79,80,109,110,111,119,138,139,143,512,513,514,515,540,635,1080,1524,2000,2001,4000,4001,5742,6000,6001,6667,12345,12346,20034,27665,30303,32771,32772,32773,32774,31337,40421,40425,49724,54320",
            45,
            "1,7,9,66,67,68,69,111,137,138,161,162,474,513,517,518,635,640,641,666,700,2049,31335,27444,34555,32770,32771,32772,32773,32774,31337,54321",
            32,
        ),
        (
            "1,11,15,110,111,143,540,635,1080,1524,2000,12345,12346,20034,32771,32772,32773,32774,49724,54320",
            20,
            "1,7,9,69,161,162,513,640,700,32770,32771,32772,32773,32774,31337,54321",
            16,
        ),
    ] {
        let reading = one(&format!("{FILES}TCP_PORTS=\"{tcp}\"\nUDP_PORTS=\"{udp}\"\n"));
        assert_eq!(reading.diagnostics, []);
        assert_eq!(reading.config.tcp_ports.unwrap().count(), tcp_count);
        assert_eq!(reading.config.udp_ports.unwrap().count(), udp_count);
    }
}

#[test]
fn a_file_of_2x_is_read_without_a_word() {
    let text = "\
TCP_PORTS=\"1,7,512-515,540,543-544\"
UDP_PORTS=\"7,9,517-518\"
IGNORE_FILE=\"/etc/portsentry/portsentry.ignore\"
HISTORY_FILE=\"/var/log/portsentry.log\"
BLOCKED_FILE=\"/tmp/portsentry.blocked\"
#BLOCK_TCP=\"1\"
";
    let reading = read(Path::new("portsentry.conf"), text, None);
    assert_eq!(reading.diagnostics, []);
    assert_eq!(reading.config.dialect, Dialect::Two);
    assert_eq!(reading.config.tcp_ports.unwrap().to_string(), "1, 7, 512-515, 540, 543-544");
}

#[test]
fn the_dialect_is_told_by_the_content() {
    for (text, dialect) in [
        ("TCP_PORTS=\"1-5\"\nADVANCED_PORTS_TCP=\"1024\"", Dialect::One),
        ("TCP_PORTS=\"1,2\"", Dialect::Two),
        ("TCP_PORTS=\"1-5\"\nIGNORE_FILE=\"/i\"\nHISTORY_FILE=\"/h\"\nBLOCKED_FILE=\"/b\"", Dialect::Two),
        ("TCP_PORTS=\"1,2\"\nIGNORE_FILE=\"/i\"\nHISTORY_FILE=\"/h\"\nBLOCKED_FILE=\"/b\"", Dialect::One),
    ] {
        assert_eq!(read(Path::new("p"), text, None).config.dialect, dialect, "{text}");
    }
    for (text, is) in [
        ("# x\nTCP_PORTS=\"1\"", true),
        ("  tcp_ports = “1”", true),
        ("KILL_ROUTE \"x\"", true),
        ("[watch]\ntcp = \"1-1023\"\n", false),
        ("", false),
        ("# TCP_PORTS=\"1\"", false),
    ] {
        assert_eq!(is_portsentry(text.as_bytes()), is, "{text}");
    }
}

/// One list of TCP ports written in some way: what is read, and what is said (weight, line, column).
fn check_ports(dialect: Dialect, text: &str, ports: &str, expected: &[(Weight, usize, usize)]) {
    let reading = read(Path::new("p"), &format!("{text}\n{FILES}UDP_PORTS=\"9\"\n"), Some(dialect));
    let read = reading.config.tcp_ports.as_ref().map_or("absent".to_owned(), ToString::to_string);
    assert_eq!(read, ports, "{text}");
    assert_eq!(said(&reading), expected, "{text}\n{:#?}", reading.diagnostics);
    assert!(reading.diagnostics.iter().all(|diagnostic| !diagnostic.fault.mend.is_empty()), "{text}");
}

#[test]
fn port_lists_are_read_as_plainly_meant() {
    use Weight::{Fault, LeftOut, Note, Repaired};
    for (text, ports, said) in [
        ("TCP_PORTS=\"1,11\"", "1, 11", vec![]),
        ("TCP_PORTS \"1,11\"", "1, 11", vec![]),
        ("TCP_PORTS=\"1,11\" # basic", "1, 11", vec![]),
        ("TCP_PORTS=\"1,11", "1, 11", vec![(Note, 1, 12)]),
        ("TCP_PORTS\t=\"1,11\"", "1, 11", vec![(Repaired, 1, 1)]),
        ("  TCP_PORTS=\"1,11\"", "1, 11", vec![(Repaired, 1, 1)]),
        ("tcp_ports=\"1,11\"", "1, 11", vec![(Repaired, 1, 1)]),
        ("TCP_PORTS=“1,11”", "1, 11", vec![(Repaired, 1, 11)]),
        ("TCP_PORTS=”1,11”", "1, 11", vec![(Repaired, 1, 11)]),
        ("TCP_PORTS=\"1,11”", "1, 11", vec![(Repaired, 1, 16)]),
        ("TCP_PORTS='1,11'", "1, 11", vec![(Repaired, 1, 11)]),
        ("TCP_PORTS=1,11", "1, 11", vec![(Repaired, 1, 11)]),
        ("TCP_PORTS= x \"1,11\"", "1, 11", vec![(Note, 1, 12)]),
        ("TCP_PORTS=\"1, 11\"", "1, 11", vec![(Note, 1, 15)]),
        ("TCP_PORTS=\"512-515\"", "512-515", vec![(Repaired, 1, 12)]),
        ("TCP_PORTS=\"1,9-7\"", "1, 7-9", vec![(Repaired, 1, 14)]),
        (
            "TCP_PORTS=\"1,abc,70000,0,-1,5\"",
            "1, 5",
            vec![(LeftOut, 1, 14), (LeftOut, 1, 18), (LeftOut, 1, 24), (LeftOut, 1, 26)],
        ),
        ("TCP_PORTS=\"1 2,3\"", "3", vec![(LeftOut, 1, 12)]),
        ("TCP_PORTS=\"1,11,12,12\n346,20034\"", "1, 11-12, 12346, 20034", vec![(Repaired, 1, 12)]),
        ("TCP_PORTS=\"1,11,\n  12,\n13\"", "1, 11-13", vec![(Repaired, 1, 12)]),
        ("TCP_PORTS=“1,11\n,12”", "1, 11-12", vec![(Repaired, 1, 11), (Repaired, 1, 12)]),
        ("TCP_PORTS=\"1,6553\n99\"", "1", vec![(Repaired, 1, 12), (LeftOut, 1, 14)]),
        ("TCP_PORTS=\"1\"\nTCP_PORTS=\"2\"", "1", vec![(Note, 2, 1)]),
        ("TCP_PORTS=", "absent", vec![(Fault, 1, 1)]),
        ("TCP_PORTS=1 # one", "absent", vec![(Fault, 1, 11)]),
        ("TPC_PORTS=\"1\"", "absent", vec![(LeftOut, 1, 1)]),
    ] {
        check_ports(Dialect::One, text, ports, &said);
    }
    for (text, ports, said) in [
        ("TCP_PORTS=\"1,512-515\"", "1, 512-515", vec![]),
        ("TCP_PORTS\t=\t\"1\"", "1", vec![]),
        ("TCP_PORTS \"1\"", "1", vec![(Repaired, 1, 1)]),
        ("TCP=\"1\"", "1", vec![(Repaired, 1, 1)]),
        ("TCP_PORTS=\"1\"\nTCP_PORTS=\"2\"", "2", vec![(Note, 2, 1)]),
        ("TCP_PORTS=\"1", "1", vec![(Repaired, 1, 12)]),
        ("TCP_PORTS=\"1,11,12,12\n346,20034\"", "1, 11-12, 12346, 20034", vec![(Repaired, 1, 12)]),
        ("TCP_PORTS=\"1 ,2\"", "1-2", vec![(Repaired, 1, 12)]),
        ("TCP_PORTS=\"\"", "absent", vec![(Repaired, 1, 1)]),
        // A range without a beginning, which ran away in the connect mode of 2.x (fault 18).
        ("TCP_PORTS=\"7,-65535\"", "7", vec![(LeftOut, 1, 14)]),
        ("TCP_PORTS=\"9-7,0\"", "7-9", vec![(Repaired, 1, 12), (LeftOut, 1, 16)]),
        ("ADVANCED_PORTS_TCP=\"1024\"", "absent", vec![(Note, 1, 1)]),
        ("TPC_PORTS=\"1\"", "absent", vec![(Fault, 1, 1)]),
        ("hello", "absent", vec![(Fault, 1, 1)]),
    ] {
        check_ports(Dialect::Two, text, ports, &said);
    }
}

#[test]
fn a_wrap_in_the_middle_of_a_number_is_shown_with_its_mend() {
    let reading = one(&format!("{FILES}TCP_PORTS=\"1,12,12\n346\"\n"));
    assert_eq!(
        reading.diagnostics[0].to_string(),
        "portsentry.conf:4:12: read as meant: TCP_PORTS is wrapped over several lines; PortSentry read only the \
         first. Read as one list, 12 and 346 as 12346\n  4 | TCP_PORTS=\"1,12,12\n    |            ^^^^^^^\n  \
         write TCP_PORTS=\"1,12,12346\" on one line"
    );
}

#[test]
fn more_than_64_ports_are_all_watched_and_it_is_said() {
    let list: Vec<String> = (100..200).map(|port| (port * 3).to_string()).collect();
    let reading = one(&format!("{FILES}TCP_PORTS=\"{}\"\n", list.join(",")));
    assert_eq!(reading.config.tcp_ports.unwrap().count(), 100);
    assert!(
        reading.diagnostics[0].fault.message.contains("has 100 entries; PortSentry 1.x watched the first 64")
    );
}

#[test]
fn commands_are_diagnosed_but_never_repaired() {
    for (value, weight, column, what) in [
        ("\"/sbin/route add –host $TARGET$ reject\"", Weight::Doubtful, 29, "a long dash"),
        ("\"/bin/echo “$TARGET$”\"", Weight::Doubtful, 23, "a typographic quote"),
        ("\"/sbin/route add -host 1.2.3.4\"", Weight::Doubtful, 13, "lacks $TARGET$"),
        ("\"echo $TARGET$ \"x\" | mail\"", Weight::Doubtful, 27, "the value ends here"),
    ] {
        let reading = one(&format!("{FILES}TCP_PORTS=\"1\"\nKILL_ROUTE={value}\n"));
        let first = &reading.diagnostics[0];
        assert_eq!((first.weight, first.fault.line, first.fault.column), (weight, 5, column), "{first}");
        assert!(first.fault.message.contains(what), "{first}");
        let inside = value.trim_matches('"').split('"').next().unwrap();
        assert_eq!(reading.config.kill_route.as_deref(), Some(inside));
    }
}

#[test]
fn a_command_that_goes_on_below_is_a_fault_and_its_rest_is_not_read_as_settings() {
    let reading = one(&format!(
        "{FILES}TCP_PORTS=\"1\"\nKILL_ROUTE=\"/sbin/iptables -I INPUT\n -s $TARGET$ -j DROP\"\nBLOCK_TCP=\"1\"\n"
    ));
    assert_eq!(reading.config.kill_route, None);
    assert_eq!(reading.config.block_tcp, BlockMode::Respond);
    assert_eq!(said(&reading)[0], (Weight::Fault, 5, 13));
    assert!(!reading.is_usable());
}

#[test]
fn numbers_are_read_as_each_dialect_did() {
    for (key, value, in_one, in_two) in [
        ("BLOCK_TCP", "1", (1, None), (1, None)),
        ("BLOCK_TCP", "3", (0, Some(Weight::Note)), (0, Some(Weight::Fault))),
        ("BLOCK_TCP", "1 yes", (1, Some(Weight::Note)), (0, Some(Weight::Fault))),
        ("RESOLVE_HOST", "7", (1, Some(Weight::Note)), (0, Some(Weight::Fault))),
        ("SCAN_TRIGGER", "5", (5, None), (5, None)),
        ("SCAN_TRIGGER", "60", (60, Some(Weight::Note)), (60, None)),
        ("SCAN_TRIGGER", "5x", (5, Some(Weight::Note)), (0, Some(Weight::Fault))),
        ("SCAN_TRIGGER", "-3", (0, Some(Weight::LeftOut)), (0, Some(Weight::Fault))),
        ("SCAN_TRIGGER", "65536", (0, Some(Weight::LeftOut)), (0, Some(Weight::Fault))),
        ("ADVANCED_PORTS_TCP", "65536", (65536, None), (65536, Some(Weight::Note))),
    ] {
        for (dialect, (number, weight)) in [(Dialect::One, in_one), (Dialect::Two, in_two)] {
            let text = format!("{FILES}TCP_PORTS=\"1\"\nKILL_ROUTE=\"x $TARGET$\"\n{key}=\"{value}\"\n");
            let reading = read(Path::new("p"), &text, Some(dialect));
            let config = &reading.config;
            let read = match key {
                "BLOCK_TCP" => config.block_tcp as u32,
                "RESOLVE_HOST" => u32::from(config.resolve_host),
                "SCAN_TRIGGER" => config.scan_trigger,
                _ => config.advanced_ports_tcp,
            };
            assert_eq!(read, number, "{key}={value} {dialect:?}");
            assert_eq!(reading.diagnostics.first().map(|d| d.weight), weight, "{key}={value} {dialect:?}");
        }
    }
}

#[test]
fn what_is_missing_is_said_of_the_file() {
    let reading = one("SCAN_TRIGGER=\"0\"\nBLOCK_TCP=\"2\"\n");
    let lines: Vec<String> = reading.diagnostics.iter().map(|d| d.fault.message.clone()).collect();
    assert!(lines[0].contains("BLOCK_TCP is 2, but KILL_RUN_CMD is not set"), "{lines:#?}");
    assert!(lines[1].contains("IGNORE_FILE is missing"), "{lines:#?}");
    assert!(lines[4].contains("only -atcp and -audp can start"), "{lines:#?}");
    assert!(reading.is_usable(), "the advanced modes need no list");
    let of_two = read(Path::new("p"), "SCAN_TRIGGER=\"0\"\n", Some(Dialect::Two));
    assert!(!of_two.is_usable());
}

#[test]
fn a_key_in_capitals_outranks_one_that_no_portsentry_knew() {
    for text in ["tcp_ports=\"1\"\nTCP_PORTS=\"7\"\n", "TCP_PORTS=\"7\"\ntcp_ports=\"1\"\n"] {
        let reading = one(&format!("{FILES}{text}"));
        assert_eq!(reading.config.tcp_ports.as_ref().unwrap().to_string(), "7", "{text}");
    }
}

#[test]
fn bytes_of_an_old_code_page_are_read_with_their_quotes() {
    let mut bytes = b"TCP_PORTS=\x931,11\x94\nKILL_RUN_CMD=\"echo \x96n\"\n# gr\xfcn\n".to_vec();
    bytes.extend(FILES.as_bytes());
    let reading = one(&decode(&bytes));
    assert_eq!(reading.config.tcp_ports.as_ref().unwrap().to_string(), "1, 11");
    assert_eq!(said(&reading), [(Weight::Repaired, 1, 11), (Weight::Doubtful, 2, 20)]);
}

#[test]
fn a_long_file_of_junk_is_refused_at_once() {
    for junk in ["a\n", "X=\"1\n", "TCP_PORTS=\"1\n", "TCP_PORTS=\"a\"\n", "\"\n"] {
        for dialect in [Dialect::One, Dialect::Two] {
            let reading = read(Path::new("p"), &junk.repeat(200_000 / junk.len()), Some(dialect));
            assert!((1..=206).contains(&reading.diagnostics.len()), "{junk}: {}", reading.diagnostics.len());
            assert!(!reading.is_usable() || junk.contains("TCP"), "{junk}");
        }
    }
    let list = format!("{FILES}TCP_PORTS=\"{}\"", "x,".repeat(100_000));
    assert!(one(&list).diagnostics.len() <= 206);
}

#[test]
fn an_old_file_is_explained_in_plain_words() {
    let text = format!(
        "{FILES}TCP_PORTS=\"1,11\"\nADVANCED_EXCLUDE_TCP=\"113\"\nBLOCK_TCP=\"1\"\nSCAN_TRIGGER=\"3\"\n\
         KILL_ROUTE=\"/nowhere/sh -c $TARGET$\"\nKILL_RUN_CMD=\"/nowhere/portcullis-none\"\n\
         KILL_HOSTS_DENY=\"ALL: $TARGET$\"\nKILL_RUN_CMD_FIRST=\"1\"\n"
    );
    let explanation = explain(&one(&text).config);
    let said = explanation.to_string();
    for line in [
        "Written for PortSentry 1.x\n",
        "Watches     -tcp, -stcp TCP 1, 11\n",
        "-atcp       TCP 0-112, 114-1023\n",
        "A scan is   3 events of one source",
        "For TCP     run: /nowhere/portcullis-none\n            add to /etc/hosts.deny: ALL: $TARGET$\n            run: /nowhere/sh",
        "For UDP     log only\n",
        "File        /i (ignored hosts)\n",
        "line 8: KILL_ROUTE: /nowhere/sh does not exist; there is /",
        "line 9: KILL_RUN_CMD: /nowhere/portcullis-none does not exist; and none",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert_eq!(serde_json::to_value(&explanation).unwrap()["trigger"], 3);
}

#[test]
fn a_block_may_be_given_an_end_and_a_better_way() {
    use Weight::Fault;
    let day = Duration::from_secs(86_400);
    for (text, time, by, said_of_it) in [
        ("", None, KillRouteBy::Command, vec![]),
        ("BLOCK_TIME=\"7d\"\nKILL_ROUTE_BY=\"nftables\"", Some(7 * day), KillRouteBy::Nftables, vec![]),
        ("BLOCK_TIME=\"ever\"\nKILL_ROUTE_BY=\"command\"", None, KillRouteBy::Command, vec![]),
        ("BLOCK_TIME=\"\"\nKILL_ROUTE_BY=\"\"", None, KillRouteBy::Command, vec![]),
        ("BLOCK_TIME=\"1d12h\"", Some(day + day / 2), KillRouteBy::Command, vec![]),
        ("BLOCK_TIME=\"7\"", None, KillRouteBy::Command, vec![(Fault, 6, 13)]),
        ("BLOCK_TIME=\"0s\"", None, KillRouteBy::Command, vec![(Fault, 6, 13)]),
        ("BLOCK_TIME=\"366d\"", None, KillRouteBy::Command, vec![(Fault, 6, 13)]),
        ("KILL_ROUTE_BY=\"nft\"", None, KillRouteBy::Command, vec![(Fault, 6, 16)]),
    ] {
        for dialect in [Dialect::One, Dialect::Two] {
            let route = "KILL_ROUTE=\"/nowhere/iptables -I INPUT -s $TARGET$ -j DROP\"";
            let text = format!("{FILES}TCP_PORTS=\"1\"\n{route}\n{text}\nBLOCK_TCP=\"1\"\n");
            let reading = read(Path::new("p"), &text, Some(dialect));
            assert_eq!((reading.config.block_time, reading.config.kill_route_by), (time, by), "{text}");
            assert_eq!(said(&reading), said_of_it, "{text}");
            let explained = explain(&reading.config).to_string();
            let (block, missing) = match by {
                KillRouteBy::Command => ("TCP     run: /nowhere", true),
                KillRouteBy::Nftables => {
                    ("TCP     ban in the kernel's packet filter, in place of: /nowhere", false)
                }
            };
            assert!(explained.contains(block), "{explained}");
            assert_eq!(explained.contains("/nowhere/iptables does not exist"), missing, "{explained}");
            let lasts = time.map_or("A block     lasts for ever".to_owned(), |time| {
                format!("A block     ends after {}", crate::config::Span(time))
            });
            assert!(explained.contains(&lasts), "{explained}");
        }
    }
    for (route, why) in
        [("", "there is no KILL_ROUTE"), ("KILL_ROUTE=\"/bin/ban $TARGET$\"", "KILL_ROUTE does more than")]
    {
        let reading = one(&format!("{FILES}TCP_PORTS=\"1\"\nKILL_ROUTE_BY=\"nftables\"\n{route}\n"));
        assert!(!reading.config.replaces_kill_route());
        assert!(explain(&reading.config).to_string().contains(&format!("line 5: KILL_ROUTE_BY: {why}")));
    }
}

#[test]
fn what_guides_get_wrong_in_paths_is_named() {
    let text = "TCP_PORTS=\"1\"\nIGNORE_FILE=\"/etc/ portsentry.ignore\"\n\
                KILL_RUN_CMD=\"echo ALL: $TARGET$ >> /etc/host.deny\"\n";
    let reading = read(Path::new("p"), text, Some(Dialect::Two));
    assert_eq!(said(&reading), [(Weight::Doubtful, 2, 19), (Weight::Doubtful, 3, 42)]);
    assert_eq!(reading.config.ignore_file.unwrap(), Path::new("/etc/ portsentry.ignore"));
    assert!(reading.config.kill_run_cmd.unwrap().ends_with("/etc/host.deny"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for dialect in [None, Some(Dialect::One), Some(Dialect::Two)] {
            for diagnostic in read(Path::new("p"), &decode(&bytes), dialect).diagnostics {
                prop_assert!(!diagnostic.to_string().is_empty());
            }
        }
    }

    #[test]
    fn no_near_miss_makes_the_reader_panic(
        text in "([ \t]?(TCP_PORTS|KILL_ROUTE|KILL_ROUTE_BY|BLOCK_TIME|BLOCK_TCP|SCAN_TRIGGER|tcp|X)?[ \t]?=?[ ]?[\"“”']?[0-9, –$#a-z\r-]{0,12}[\"”' ]?\n){0,8}"
    ) {
        for dialect in [None, Some(Dialect::One), Some(Dialect::Two)] {
            let reading = read(Path::new("p"), &text, dialect);
            let _explained = explain(&reading.config).to_string();
            for diagnostic in &reading.diagnostics {
                prop_assert!(!diagnostic.fault.mend.is_empty(), "{}", diagnostic);
                prop_assert!(diagnostic.fault.line <= text.lines().count() + 1);
            }
        }
    }
}
