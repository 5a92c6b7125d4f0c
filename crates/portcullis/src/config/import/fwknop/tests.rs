use std::fs;

use super::*;
use crate::config::fwknop::read_access;

const CIPHER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const HMAC: &str = "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+fw==";
const SECRETS: [&str; 4] = [CIPHER, HMAC, "s3cret phrase", "An0ther-s3cret-phrase"];

fn import(files: &[(&str, String)], weak: &[Weakness]) -> FwknopImport {
    let directory = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| directory.path().join(name)).collect();
    for (path, (_, text)) in paths.iter().zip(files) {
        fs::write(path, text).unwrap();
    }
    let made = import_fwknop(&paths, Some(Path::new("/keys")), weak).unwrap();
    let own = &made.import;
    assert_eq!(toml::parse(Path::new("new"), &own.toml).unwrap(), own.config, "{}", own.toml);
    let shown = format!("{own} {own:?} {}", serde_json::to_string(&own.report).unwrap());
    assert!(!SECRETS.iter().any(|secret| shown.contains(secret)), "{shown}");
    made
}

fn body(made: &FwknopImport) -> String {
    let lines = made.import.toml.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

fn strong(ports: &str) -> String {
    format!("SOURCE ANY\nOPEN_PORTS {ports}\nKEY_BASE64 {CIPHER}\nHMAC_KEY_BASE64 {HMAC}\n")
}

#[track_caller]
fn says(made: &FwknopImport, lines: &[&str]) {
    let report = made.import.to_string();
    for line in lines {
        assert!(report.contains(line), "{line}\n{report}");
    }
}

#[test]
fn users_become_guests_of_a_door_and_their_keys_stand_in_its_access_file_alone() {
    let access = format!(
        "#### shipped comment\n{};\nREQUIRE_SOURCE_ADDRESS Y\nFW_ACCESS_TIMEOUT 60\n\n\
         SOURCE 192.0.2.7/24, 2001:db8::/32\nOPEN_PORTS tcp/22, udp/53\nRESTRICT_PORTS udp/53\nKEY s3cret phrase of mine\n\
         HMAC_KEY An0ther-s3cret-phrase\nREQUIRE_USERNAME bert\nUSER robert\nENABLE_CMD_EXEC Y\nFORCE_NAT 192.0.2.1 22\n",
        strong("tcp/22").trim_end()
    );
    let daemon = "PCAP_INTF eth0;\nPCAP_FILTER udp port 40000;\nMAX_SPA_PACKET_AGE 60;\nVERBOSE 1;\n";
    let client = format!(
        "[default]\nSPA_SERVER_PORT 40000\n[host]\nALLOW_IP source\nKEY_BASE64 {CIPHER}\nHMAC_KEY_BASE64 {HMAC}\n[gone]\nKEY s3cret\n"
    );
    let files = [("access.conf", access), ("fwknopd.conf", daemon.to_owned()), (".fwknoprc", client)];
    let made = import(&files, &[]);
    assert_eq!(
        body(&made),
        "[door.fwknop]\nkind = \"spa\"\nopens = \"tcp/22\"\nopen_for = \"1m\"\nusers = \"/keys/fwknop.access\"\n\
         udp_port = 40000\nmax_age = \"1m\"\n"
    );
    says(
        &made,
        &[
            "access.conf:2: SOURCE: a user of [door.fwknop]",
            "access.conf:4: KEY_BASE64: as it is, in the access file of [door.fwknop]",
            "access.conf:11: RESTRICT_PORTS: taken off what [door.fwknop] opens",
            "access.conf:16: ENABLE_CMD_EXEC: commands out of a packet are never run",
            "access.conf:17: FORCE_NAT: no forwarding is made here",
            "fwknopd.conf:1: PCAP_INTF: knocks are heard on every interface",
            "fwknopd.conf:2: PCAP_FILTER: udp_port = 40000",
            "fwknopd.conf:3: MAX_SPA_PACKET_AGE: max_age = \"1m\"",
            "fwknopd.conf:4: VERBOSE: it says how fwknopd works inside",
            ".fwknoprc: [host]: it opens [door.fwknop] as before",
            ".fwknoprc: [gone]: no user who was carried over has its keys",
            "Warning: [host] lets in whoever its packet comes from",
            "Warning: portcullis shuts tcp/22 ([door.fwknop]) itself",
        ],
    );
    let [file] = &made.secrets[..] else { panic!("{}", made.secrets.len()) };
    assert_eq!(file.path, Path::new("/keys/fwknop.access"));
    // As the daemon reads it.
    let users = read_access(&file.path, &file.text);
    assert!(users.diagnostics.iter().all(|own| own.weight < Weight::LeftOut), "{:?}", users.diagnostics);
    let users: Vec<_> = users.stanzas.into_iter().map(|stanza| stanza.user).collect();
    let [anna, bert] = &users[..] else { panic!("{}", users.len()) };
    assert!(anna.require_address && anna.from.is_empty() && !bert.require_address);
    assert_eq!(anna.length.usual.as_secs(), 60);
    assert_eq!((bert.required_name.as_deref(), bert.name.as_str()), (Some("bert"), "robert"));
    assert_eq!(bert.from, ["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
    assert!(bert.tcp.contains(22) && bert.udp.is_empty() && bert.faults().is_empty());
}

#[test]
fn nobody_comes_to_ports_that_his_stanza_does_not_name() {
    let files =
        [("access.conf", format!("{}{}{}", strong("tcp/22"), strong("tcp/80,udp/53"), strong("tcp/22")))];
    let made = import(&files, &[]);
    let doors: Vec<(&str, String)> =
        made.import.config.doors.iter().map(|door| (door.name.as_str(), door.opens.to_string())).collect();
    assert_eq!(doors, [("fwknop", "tcp/22".to_owned()), ("fwknop-2", "tcp/80, udp/53".to_owned())]);
    let users = |file: &AccessFile| file.text.matches("\nSOURCE ").count();
    assert_eq!(made.secrets.iter().map(users).collect::<Vec<_>>(), [2, 1]);
    says(
        &made,
        &[
            "access.conf:6: OPEN_PORTS: [door.fwknop-2] opens tcp/80, udp/53, all of it also to who asks for a part",
        ],
    );
    // Only so many are tried with one packet.
    let many = import(&[("access.conf", strong("tcp/22").repeat(17))], &[]);
    assert_eq!(many.secrets.iter().map(users).collect::<Vec<_>>(), [16, 1]);
}

#[test]
fn what_is_weak_is_carried_over_only_if_it_is_asked_for_by_name() {
    let weak = "SOURCE ANY\nOPEN_PORTS tcp/22\nKEY An0ther-s3cret-phrase\nSOURCE ANY\nOPEN_PORTS tcp/22\nKEY s3cret phrase of mine\n\
                HMAC_KEY An0ther-s3cret-phrase\nHMAC_DIGEST_TYPE MD5\nENCRYPTION_MODE CTR\n";
    let files = [("access.conf", format!("{}{weak}", strong("tcp/22")))];
    let made = import(&files, &[Weakness::OldHmac]);
    assert_eq!((made.import.config.doors.len(), made.secrets.len()), (1, 1));
    assert!(!made.secrets[0].text.contains("s3cret"));
    says(
        &made,
        &[
            "access.conf:5: SOURCE: not carried over: its keys are weak (no-hmac)",
            "access.conf:8: SOURCE: not carried over: its keys are weak (other-modes)",
            "ask for what is weak by its name: --weak no-hmac",
            "--weak other-modes",
        ],
    );
    let asked = [Weakness::NoHmac, Weakness::OldHmac, Weakness::OtherModes];
    let made = import(&files, &asked);
    let weak: Vec<Vec<Weakness>> = made
        .import
        .config
        .doors
        .iter()
        .map(|door| match &door.kind {
            DoorKind::Spa(kind) => kind.weak.clone(),
            _ => panic!("{door:?}"),
        })
        .collect();
    // The strong user's door stays strong.
    assert_eq!(weak, [vec![], vec![Weakness::NoHmac], vec![Weakness::OldHmac, Weakness::OtherModes]]);
}

#[test]
fn commands_in_place_of_a_rule_are_the_doors() {
    let cycle = "CMD_CYCLE_OPEN /usr/bin/logger open $SRC\nCMD_CYCLE_CLOSE /usr/bin/logger close $IP\nCMD_CYCLE_TIMER 20\nFW_ACCESS_TIMEOUT 99\n";
    let made = import(&[("access.conf", format!("{}{cycle}", strong("tcp/22")))], &[]);
    let text = body(&made);
    for line in [
        "command_open = [\"/usr/bin/logger\", \"open\", \"%IP%\"]",
        "command_close = [\"/usr/bin/logger\", \"close\", \"%IP%\"]",
        "open_for = \"20s\"",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
    let file = &made.secrets[0].text;
    assert!(file.contains("MAX_FW_TIMEOUT 20\n") && !file.contains("99") && !file.contains("CMD_"));
    let made = import(&[("access.conf", format!("{}CMD_CYCLE_OPEN /bin/x $PORT\n", strong("tcp/22")))], &[]);
    assert!(made.import.config.doors.is_empty() && made.secrets.is_empty());
    says(&made, &["access.conf:1: SOURCE: not carried over: CMD_CYCLE has $PORT"]);
}

#[test]
fn a_stanza_that_opens_everything_opens_what_the_client_asks_for() {
    let access = strong("tcp/22").replace("OPEN_PORTS tcp/22\n", "");
    let made = import(&[("access.conf", access.clone())], &[]);
    says(
        &made,
        &[
            "access.conf:1: OPEN_PORTS: the stanza does not say what may be opened",
            "[door.fwknop] opens tcp/22",
        ],
    );
    let client = format!(
        "[host]\nACCESS tcp/443\nSPA_SERVER_PORT 5000\nKEY_BASE64 {CIPHER}\nHMAC_KEY_BASE64 {HMAC}\n"
    );
    let made = import(&[("rc", client), ("access.conf", access)], &[]);
    assert_eq!(made.import.config.doors[0].opens.to_string(), "tcp/443");
    says(&made, &["Warning: [host] sends to port 5000, and the doors listen at 62201"]);
}

#[test]
fn a_faulty_stanza_is_left_out_and_told() {
    let made = import(&[("access.conf", format!("SOURCE ANY\nKEY __CHANGEME__\n{}", strong("tcp/22")))], &[]);
    assert_eq!(made.import.diagnostics.iter().filter(|own| own.weight == Weight::Fault).count(), 1);
    says(
        &made,
        &["access.conf:1: SOURCE: not carried over", "access.conf:3: SOURCE: a user of [door.fwknop]"],
    );
}

#[test]
fn what_is_no_file_of_fwknop_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.conf");
    for text in ["listen 80\n", "[host]\nKEY s3cret\n", ""] {
        fs::write(&path, text).unwrap();
        let faults = import_fwknop(std::slice::from_ref(&path), None, &[]).map(drop).unwrap_err();
        assert!(faults.to_string().contains("give the path of an access.conf"), "{faults}");
    }
}
