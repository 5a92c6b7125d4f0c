//! Each text, with the place it was measured in. `cases` is `tests/ancestors/portsentry-cases.json`.

use std::time::Duration;

use portcullis_core::time::Wall;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn packet(source: &str, protocol: Protocol, port: u16, flags: u8) -> Attack {
    Attack {
        time: Wall(Duration::from_secs(1_795_226_400)),
        source: ip(source),
        protocol,
        port,
        seen: Seen::Packet { flags, has_ip_options: ip(source).is_ipv4().then_some(false) },
        fate: AttackFate::Blocking,
    }
}

fn connection(source: &str, protocol: Protocol, port: u16) -> Attack {
    Attack { seen: Seen::Connection, ..packet(source, protocol, port, 0) }
}

/// The flag cases of 1.2 -stcp and 2.x pcap (`cases`, 57 single packets, one each to TCP 111).
#[test]
fn flags_have_the_names_that_were_measured() {
    let unknown = |bits: [u8; 6]| {
        let [syn, fin, ack, psh, urg, rst] = bits;
        format!(
            "Unknown Type: TCP Packet Flags: SYN: {syn} FIN: {fin} ACK: {ack} PSH: {psh} URG: {urg} RST: {rst}"
        )
    };
    let same = |text: String| (text.clone(), text);
    let plain = |text: &str| same(text.to_owned());
    for (flags, (one, two)) in [
        (0x02, plain("TCP SYN/Normal scan")),
        (0x01, plain("TCP FIN scan")),
        (0x00, (" TCP NULL scan".to_owned(), "TCP NULL scan".to_owned())),
        (0x29, plain("TCP XMAS scan")),
        (0x09, same(unknown([0, 1, 0, 1, 0, 0]))),
        (0x21, same(unknown([0, 1, 0, 0, 1, 0]))),
        (0x08, same(unknown([0, 0, 0, 1, 0, 0]))),
        (0x20, same(unknown([0, 0, 0, 0, 1, 0]))),
        (0x28, same(unknown([0, 0, 0, 1, 1, 0]))),
        (0x03, same(unknown([1, 1, 0, 0, 0, 0]))),
        (0x0a, same(unknown([1, 0, 0, 1, 0, 0]))),
        (0x2b, plain("TCP XMAS scan")),
        (0xeb, plain("TCP XMAS scan")),
        (0xc0, (" TCP NULL scan".to_owned(), unknown([0; 6]))),
        (0xc2, plain("TCP SYN/Normal scan")),
        (0x81, plain("TCP FIN scan")),
        (0x42, plain("TCP SYN/Normal scan")),
        // Never seen by either, which looks only at packets without ACK and RST; the text is that of the rule.
        (0x16, same(unknown([1, 0, 1, 0, 0, 1]))),
    ] {
        assert_eq!(kind(Voice::One(StartMode::Stcp), flags), one, "{flags:#x}");
        assert_eq!(kind(Voice::Two, flags), two, "{flags:#x}");
    }
}

#[test]
fn alerts_of_one_are_those_of_its_modes() {
    use StartMode::{Atcp, Audp, Stcp, Sudp, Tcp, Udp};
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    for (mode, attack, line) in [
        // cases: 1.2 tcp, nmap -sT.
        (
            Tcp,
            connection("10.77.0.1", tcp, 111),
            "attackalert: Connect from host: 10.77.0.1/10.77.0.1 to TCP port: 111",
        ),
        // cases: 1.2 udp, nmap -sU.
        (
            Udp,
            connection("10.77.0.1", udp, 7),
            "attackalert: Connect from host: 10.77.0.1/10.77.0.1 to UDP port: 7",
        ),
        // cases: 1.2 stcp, nmap -sS.
        (
            Stcp,
            packet("10.77.0.1", tcp, 111, 2),
            "attackalert: TCP SYN/Normal scan from host: 10.77.0.1/10.77.0.1 to TCP port: 111",
        ),
        // cases: 1.2 stcp, nmap -sN: two blanks.
        (
            Atcp,
            packet("10.77.0.1", tcp, 111, 0),
            "attackalert:  TCP NULL scan from host: 10.77.0.1/10.77.0.1 to TCP port: 111",
        ),
        // cases: 1.2 stcp, nmap --scanflags SYNFIN.
        (
            Stcp,
            packet("10.77.0.1", tcp, 111, 3),
            "attackalert: Unknown Type: TCP Packet Flags: SYN: 1 FIN: 1 ACK: 0 PSH: 0 URG: 0 RST: 0 from host: \
             10.77.0.1/10.77.0.1 to TCP port: 111",
        ),
        // cases: 1.2 sudp, nmap -sU.
        (
            Sudp,
            packet("10.77.0.1", udp, 143, 0),
            "attackalert: UDP scan from host: 10.77.0.1/10.77.0.1 to UDP port: 143",
        ),
        (
            Audp,
            packet("10.77.0.1", udp, 161, 0),
            "attackalert: UDP scan from host: 10.77.0.1/10.77.0.1 to UDP port: 161",
        ),
    ] {
        assert_eq!(one_alert(mode, &attack, "10.77.0.1"), line);
        assert_eq!(one_ip_options(&attack, "10.77.0.1"), None);
    }
    let named = one_alert(Stcp, &packet("192.0.2.1", tcp, 1, 2), "scan.example");
    assert_eq!(named, "attackalert: TCP SYN/Normal scan from host: scan.example/192.0.2.1 to TCP port: 1");
}

#[test]
fn ip_options_get_a_line_of_their_own() {
    let seen = Seen::Packet { flags: 2, has_ip_options: Some(true) };
    let attack = Attack { seen, ..packet("10.77.0.1", Protocol::Tcp, 111, 2) };
    // cases: 1.2 stcp, nmap -sS --ip-options R.
    let line = "attackalert: Packet from host: 10.77.0.1/10.77.0.1 to TCP port: 111 has IP options set (detection \
                avoidance technique).";
    assert_eq!(one_ip_options(&attack, "10.77.0.1").unwrap(), line);
}

#[test]
fn already_blocked_and_not_blocked_differ_by_mode() {
    use StartMode::{Atcp, Audp, Stcp, Sudp, Tcp, Udp};
    let host = Host { name: "a.example", address: ip("10.77.0.1") };
    for mode in [Tcp, Udp] {
        // cases: 1.2 tcp, nmap -sT.
        assert_eq!(
            already_blocked(Voice::One(mode), host),
            "attackalert: Host: 10.77.0.1 is already blocked. Ignoring"
        );
        assert_eq!(
            not_blocked(Voice::One(mode), host),
            "attackalert: ERROR: Could not block host 10.77.0.1 !!"
        );
    }
    // cases: 1.2 stcp, nmap -sS; 2.x pcap, nmap -sU, and connect, nmap -sT.
    for voice in [Stcp, Sudp, Atcp, Audp].map(Voice::One).into_iter().chain([Voice::Two]) {
        assert_eq!(
            already_blocked(voice, host),
            "attackalert: Host: a.example/10.77.0.1 is already blocked Ignoring"
        );
    }
    let blank = "attackalert: ERROR: Could not block host a.example/10.77.0.1 !!";
    assert_eq!(not_blocked(Voice::One(Stcp), host), blank);
    for mode in [Sudp, Atcp, Audp] {
        let none = "attackalert: ERROR: Could not block host a.example/10.77.0.1!!";
        assert_eq!(not_blocked(Voice::One(mode), host), none);
    }
    assert_eq!(
        not_blocked(Voice::Two, host),
        "attackalert: Error during target dispose a.example/10.77.0.1!"
    );
}

#[test]
fn steps_that_were_done_have_one_line_and_those_that_failed_say_why() {
    let done = |step, text: &str| StepDone { step, text: text.to_owned(), result: Ok(()) };
    let address = ip("10.77.0.1");
    // cases: 1.2 stcp, nmap -sS; the same text in 2.x.
    for (done, line) in [
        (
            done(Step::HostsDeny, "ALL: 10.77.0.1 : DENY"),
            "attackalert: Host 10.77.0.1 has been blocked via wrappers with string: \"ALL: 10.77.0.1 : DENY\"",
        ),
        (
            done(Step::Route, "/bin/echo ROUTE 10.77.0.1 111 stcp >> kill.log"),
            "attackalert: Host 10.77.0.1 has been blocked via dropped route using command: \"/bin/echo ROUTE \
             10.77.0.1 111 stcp >> kill.log\"",
        ),
        (
            done(Step::Command, "/bin/echo CMD 10.77.0.1 111 stcp >> kill.log"),
            "attackalert: External command run for host: 10.77.0.1 using command: \"/bin/echo CMD 10.77.0.1 111 \
             stcp >> kill.log\"",
        ),
        // Ours.
        (
            done(Step::Set, "inet portcullis-ps-stcp banned4"),
            "attackalert: Host 10.77.0.1 has been blocked via nftables set \"inet portcullis-ps-stcp banned4\"",
        ),
    ] {
        assert_eq!(step(address, &done), [line]);
    }
    let failed = |step, text: &str| StepDone {
        step,
        text: text.to_owned(),
        result: Err("exit status 1\n\x1b[2J".to_owned()),
    };
    assert_eq!(
        step(address, &failed(Step::HostsDeny, "ALL: x")),
        [
            "adminalert: cannot open hosts.deny file: /etc/hosts.deny for blocking.",
            "securityalert: ERROR: There was an error trying to block host 10.77.0.1: KILL_HOSTS_DENY, \"ALL: x\": exit \
             status 1; \\u{1b}[2J",
        ]
    );
    assert_eq!(
        step(address, &failed(Step::Route, "false")),
        [
            "adminalert: ERROR: There was an error trying to block host (system fail) 10.77.0.1: KILL_ROUTE: exit status \
          1; \\u{1b}[2J"
        ]
    );
    assert_eq!(
        step(address, &failed(Step::Command, "false")),
        [
            "adminalert: ERROR: There was an error trying to run command (system fail) 10.77.0.1: KILL_RUN_CMD: exit \
          status 1; \\u{1b}[2J"
        ]
    );
    assert!(step(address, &failed(Step::Set, "banned4"))[0].starts_with("adminalert: ERROR: nftables set"));
}

#[test]
fn a_reason_of_any_length_takes_one_line() {
    let result = Err("ü\n".repeat(100_000));
    let lines = step(ip("10.77.0.1"), &StepDone { step: Step::Route, text: "x".to_owned(), result });
    assert!(lines[0].len() < 4000 && !lines[0].contains('\n'));
}

/// The flags table of 2.x, and the lines of `cases`.
#[test]
fn an_event_of_two_is_one_line_whatever_became_of_it() {
    let tcp = Protocol::Tcp;
    // PortSentry 2.x, measured (history file, cases: 2.x pcap nmap -sT).
    let base = "Scan from: [10.77.0.1] (10.77.0.1) protocol: [TCP] port: [111] type: [TCP SYN/Normal scan] IP opts: \
                [not set] ";
    for (fate, is_blocked, flags) in [
        (
            AttackFate::Ignored,
            IsBlocked::No,
            "ignored: [true] triggered: [unset] noblock: [unset] blocked: [unset]",
        ),
        (
            AttackFate::BelowTrigger,
            IsBlocked::No,
            "ignored: [false] triggered: [false] noblock: [unset] blocked: [unset]",
        ),
        (
            AttackFate::Local,
            IsBlocked::No,
            "ignored: [true] triggered: [true] noblock: [true] blocked: [false]",
        ),
        (
            AttackFate::LogOnly { is_first: true },
            IsBlocked::No,
            "ignored: [false] triggered: [true] noblock: [true] blocked: [false]",
        ),
        (
            AttackFate::Blocking,
            IsBlocked::Yes,
            "ignored: [false] triggered: [true] noblock: [false] blocked: [true]",
        ),
        (
            AttackFate::AlreadyBlocked,
            IsBlocked::Yes,
            "ignored: [false] triggered: [true] noblock: [false] blocked: [true]",
        ),
        (
            AttackFate::Blocking,
            IsBlocked::No,
            "ignored: [false] triggered: [true] noblock: [false] blocked: [false]",
        ),
    ] {
        let attack = Attack { fate, ..packet("10.77.0.1", tcp, 111, 2) };
        assert_eq!(two_event(&attack, "10.77.0.1", is_blocked), format!("{base}{flags}"));
    }
    let rest = "ignored: [false] triggered: [true] noblock: [false] blocked: [true]";
    let options = Seen::Packet { flags: 2, has_ip_options: Some(true) };
    for (attack, start) in [
        // cases: 2.x raw, nmap -sS --ip-options R.
        (
            Attack { seen: options, ..packet("10.77.0.1", tcp, 111, 2) },
            "Scan from: [10.77.0.1] (10.77.0.1) protocol: [TCP] port: [111] type: [TCP SYN/Normal scan] IP opts: [set]",
        ),
        // cases: 2.x pcap, nmap -sU.
        (
            packet("10.77.0.1", Protocol::Udp, 1, 0),
            "Scan from: [10.77.0.1] (10.77.0.1) protocol: [UDP] port: [1] type: [UDP] IP opts: [not set]",
        ),
        // cases: 2.x pcap, nmap -6 -sU.
        (
            packet("fd77::1", Protocol::Udp, 79, 0),
            "Scan from: [fd77::1] (fd77::1) protocol: [UDP] port: [79] type: [UDP] IP opts: [unknown]",
        ),
        // cases: 2.x connect, nmap -sU and -6 -sT.
        (
            connection("10.77.0.1", Protocol::Udp, 1),
            "Scan from: [10.77.0.1] (10.77.0.1) protocol: [UDP] port: [1] type: [Connect] IP opts: [unknown]",
        ),
        (
            connection("fd77::1", tcp, 1),
            "Scan from: [fd77::1] (fd77::1) protocol: [TCP] port: [1] type: [Connect] IP opts: [unknown]",
        ),
        // cases: 2.x raw, hping3 ECE+CWR only.
        (
            packet("10.77.0.1", tcp, 111, 0xc0),
            "Scan from: [10.77.0.1] (10.77.0.1) protocol: [TCP] port: [111] type: [Unknown Type: TCP Packet Flags: \
             SYN: 0 FIN: 0 ACK: 0 PSH: 0 URG: 0 RST: 0] IP opts: [not set]",
        ),
    ] {
        let name = attack.source.to_string();
        assert_eq!(two_event(&attack, &name, IsBlocked::Yes), format!("{start} {rest}"));
    }
}

/// PortSentry 1.2 and 2.x on Debian 12.
#[test]
fn the_lines_of_a_start_are_those_of_the_originals() {
    use StartMode::{Atcp, Audp, Stcp, Sudp, Tcp, Udp};
    for (mode, line) in [
        (Tcp, "adminalert: Going into listen mode on TCP port: 7"),
        (Udp, "adminalert: Going into listen mode on UDP port: 7"),
        (Stcp, "adminalert: Going into stealth listen mode on TCP port: 7"),
        (Sudp, "adminalert: Going into stealth listen mode on UDP port: 7"),
    ] {
        assert_eq!(one_listening(mode, 7).unwrap(), line);
    }
    assert_eq!(one_listening(Atcp, 7), None);
    assert_eq!(one_advanced(1024), "adminalert: Advanced mode will monitor first 1024 ports");
    assert_eq!(one_excludes(113), "adminalert: Advanced mode will manually exclude port: 113 ");
    assert_eq!(
        one_ignored_port(Audp, 520),
        "adminalert: Advanced Stealth scan detection mode activated. Ignored UDP port: 520"
    );
    assert_eq!(two_listening(Protocol::Tcp, 7), "Listen on AF_INET6: TCP port: 7");
    assert_eq!(
        two_ignored(ip("10.77.0.1"), "/etc/portsentry/portsentry.ignore"),
        "Host: 10.77.0.1 found in ignore file /etc/portsentry/portsentry.ignore, aborting actions"
    );
    assert_eq!(one_history_fault(Path::new("/h")), "adminalert: ERROR: Cannot open history file: /h.");
    assert_eq!(one_blocked_fault(Path::new("/b")), "adminalert: ERROR: Cannot open blocked file: /b.");
}

#[test]
fn a_line_of_the_files_of_one_is_the_one_that_was_measured() {
    let host = Host { name: "tamilxtreme.com", address: ip("213.251.132.169") };
    assert_eq!(
        one_blocked(host, Protocol::Tcp, 22),
        "Host: tamilxtreme.com/213.251.132.169 Port: 22 TCP Blocked"
    );
    assert!(one_blocked(host, Protocol::Udp, 22).ends_with(" Port: 22 UDP Blocked"));
}
