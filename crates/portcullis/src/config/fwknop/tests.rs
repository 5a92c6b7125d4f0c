use std::path::Path;
use std::time::Duration;

use portcullis_core::door::spa::access::{Granted, Weak};
use portcullis_core::door::spa::cipher::Mode;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::envelope;
use portcullis_core::door::spa::message::ports_from_text;
use portcullis_core::door::spa::{PORT, Spa, WINDOW};
use portcullis_core::net::PortSet;
use portcullis_core::time::Wall;

use super::super::portsentry::{Diagnostic, Weight};
use super::*;

const SECRETS: [&str; 2] = ["s3cret", "An0therS3cret"];

fn access(text: &str) -> Access {
    let read = read_access(Path::new("access.conf"), text);
    keeps_secrets(&read.diagnostics);
    read
}

fn client(text: &str) -> Client {
    let read = read_client(Path::new(".fwknoprc"), text);
    keeps_secrets(&read.diagnostics);
    read
}

fn keeps_secrets(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let shown = format!("{diagnostic} {diagnostic:?}");
        assert!(
            !SECRETS.iter().any(|secret| shown.to_lowercase().contains(&secret.to_lowercase())),
            "{shown}"
        );
    }
}

/// Line, weight and beginning of what is said.
fn said(diagnostics: &[Diagnostic]) -> Vec<(usize, Weight, &str)> {
    let of = |said: &'_ Diagnostic| (said.fault.line, said.weight);
    diagnostics
        .iter()
        .map(|said| (of(said).0, of(said).1, said.fault.message.split(':').next().unwrap_or("")))
        .collect()
}

#[test]
fn a_stanza_becomes_a_user() {
    let read = access(
        "# comment\nSOURCE  10.78.0.0/24, 192.0.2.7;\nOPEN_PORTS tcp/22, udp/53\nRESTRICT_PORTS udp/53\n\
         KEY_BASE64 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\
         HMAC_KEY_BASE64 QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+fw==\n\
         HMAC_DIGEST_TYPE SHA512\nFW_ACCESS_TIMEOUT 60\nREQUIRE_USERNAME alice\nREQUIRE_SOURCE_ADDRESS Y\n\
         ACCESS_EXPIRE 11/21/2026\n",
    );
    assert_eq!(said(&read.diagnostics), []);
    let [stanza] = &read.stanzas[..] else { panic!("one stanza") };
    let user = &stanza.user;
    assert_eq!((stanza.line, user.name.as_str()), (2, "stanza1"));
    assert_eq!((&user.tcp, &user.udp), (&"22".parse().unwrap(), &PortSet::default()));
    assert_eq!(user.from, ["10.78.0.0/24".parse().unwrap(), "192.0.2.7/32".parse().unwrap()]);
    assert_eq!((user.keys.mode(), user.keys.hmac()), (Mode::Cbc, Some(Digest::Sha512)));
    assert_eq!((user.length.usual.as_secs(), user.length.most.as_secs()), (60, 300));
    assert_eq!(user.required_name.as_deref(), Some("alice"));
    assert!(user.require_address);
    assert_eq!(user.expires, Some(Wall(Duration::from_secs(1_795_219_200))));
    assert_eq!((stanza.weak, user.faults()), (Weak::default(), vec![]));
}

#[test]
fn what_is_weak_is_named_and_not_allowed() {
    let read = access("SOURCE ANY\nKEY s3cret\nENCRYPTION_MODE ctr\nENABLE_CMD_EXEC Y\n");
    let [stanza] = &read.stanzas[..] else { panic!("one stanza") };
    let wanted = Weak { no_hmac: true, short_keys: true, other_modes: true, commands: true, old_hmac: false };
    assert_eq!(stanza.weak, wanted);
    assert!(!stanza.user.faults().is_empty());
    assert_eq!(stanza.user.tcp, PortSet::all());
}

#[test]
fn a_stanza_with_a_fault_lets_nobody_in_and_the_others_stay() {
    let read = access(
        "KEY s3cret\nSOURCE ANY\nKEY s3cret\nOPEN_PORTS tcp/22-25\nSOURCE ANY\nHMAC_KEY s3cret\n\
         SOURCE nonsense\nKEY s3cret\nSOURCE ANY\nKEY s3cret\nHMAC_KEY s3cret\nSOURCE ANY\nKEY __CHANGEME__\n\
         SOURCE 10.0.0.1/8\nKEY s3cret\nHMAC_KEY An0therS3cret\n",
    );
    assert_eq!(
        said(&read.diagnostics),
        [
            (1, Weight::Fault, "this stands before the first SOURCE, so it belongs to no stanza"),
            (4, Weight::Fault, "OPEN_PORTS"),
            (5, Weight::Fault, "the stanza has no key that can be used"),
            (7, Weight::Fault, "SOURCE"),
            (9, Weight::Fault, "the keys of cipher and HMAC are the same; make two (fwknop --key-gen)"),
            (13, Weight::Fault, "KEY"),
            (14, Weight::Note, "SOURCE"),
        ]
    );
    assert_eq!(read.stanzas.len(), 1);
    assert_eq!(read.stanzas[0].user.from, ["10.0.0.0/8".parse().unwrap()]);
}

#[test]
fn what_has_no_counterpart_is_named_and_no_secret_is_shown() {
    let read = access(
        "SOURCE ANY\n%include /etc/more.conf\nKEY An0therS3cret\nHMAC_KEY s3cret\nFORCE_NAT 192.0.2.1 22\n\
         GPG_DECRYPT_PW s3cret\nHMACKEY s3cret\nKEY=s3cret\ns3cret\nOPEN_PORT tcp/22\nHMAC_KEY s3cret\n",
    );
    assert_eq!(
        said(&read.diagnostics),
        [
            (2, Weight::LeftOut, "%INCLUDE"),
            (5, Weight::LeftOut, "FORCE_NAT"),
            (6, Weight::LeftOut, "GPG_DECRYPT_PW"),
            (7, Weight::LeftOut, "fwknop has no such keyword here"),
            (8, Weight::LeftOut, "fwknop has no such keyword here"),
            (9, Weight::LeftOut, "fwknop has no such keyword here"),
            (10, Weight::LeftOut, "fwknop has no such keyword here"),
            (11, Weight::Fault, "HMAC_KEY"),
        ]
    );
    assert_eq!(read.diagnostics[3].fault.mend, "did you mean HMAC_KEY?");
    assert_eq!(read.diagnostics[6].fault.mend, "did you mean OPEN_PORTS?");
    assert!(read.stanzas.is_empty());
}

#[test]
fn commands_in_place_of_a_rule_are_kept() {
    let read = access(
        "SOURCE ANY\nKEY s3cret\nCMD_CYCLE_OPEN /bin/echo open $IP\nCMD_CYCLE_CLOSE NONE\nCMD_CYCLE_TIMER 2\n",
    );
    let wanted = Cycle { open: "/bin/echo open $IP".to_owned(), close: None, timer: Duration::from_secs(2) };
    assert_eq!(read.stanzas[0].cycle, Some(wanted));
}

/// The trap: the same line means one key to the client and another to the server, and both are told.
#[test]
fn a_key_with_blanks_is_whole_for_the_server_and_cut_by_the_client() {
    let server = access("SOURCE ANY\nKEY rc s3cret with spaces\nHMAC_KEY rchmac\n");
    assert_eq!(said(&server.diagnostics), [(2, Weight::Doubtful, "KEY")]);
    // Vector `rcfile-plain`.
    let rc = "[default]\nSPOOF_USER  carol\nACCESS tcp/22\nALLOW_IP 10.78.0.1\nUSE_HMAC Y\n[plain]\n\
              SPA_SERVER 10.78.0.2\nKEY rc s3cret with spaces\nHMAC_KEY rchmac\nFW_TIMEOUT 33\n";
    let client = client(rc);
    assert_eq!(said(&client.diagnostics), [(8, Weight::Doubtful, "KEY")]);
    let packet = "KEY rc\nHMAC_KEY rchmac\n";
    let cut = access(&format!("SOURCE ANY\n{packet}"));
    let keys = client.section("PLAIN").expect("the section").keys().expect("keys");
    assert!(keys == cut.stanzas[0].user.keys);
    assert!(keys != server.stanzas[0].user.keys);
}

#[test]
fn the_recorded_client_files_say_what_the_client_sent() {
    let file: serde_json::Value = serde_json::from_str(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/ancestors/fwknop-vectors.json"
    )))
    .expect("fwknop-vectors.json is JSON");
    let vectors = file["vectors"].as_array().expect("a list");
    let mut count = 0;
    for vector in vectors.iter().filter(|vector| vector["rc_file"].is_string()) {
        let name = vector["client_args"][4].as_str().expect("-n NAME");
        let read = read_client(Path::new(".fwknoprc"), vector["rc_file"].as_str().expect("a file"));
        let section = read.section(name).expect("the section");
        let packet = vector["packet"].as_str().expect("a packet");
        let message =
            envelope::read(packet.as_bytes(), &section.keys().expect("keys")).expect("its own packet");
        assert_eq!(Some(message.user), section.user);
        assert_eq!(message.timeout, section.timeout);
        assert_eq!(section.access, ports_from_text("tcp/22"));
        assert_eq!(section.allow, Some(AllowedAddress::Address("10.78.0.1".parse().unwrap())));
        assert_eq!(section.server.as_deref(), Some("10.78.0.2"));
        count += 1;
    }
    assert_eq!(count, 2);
}

#[test]
fn a_stanza_that_was_read_opens_to_the_recorded_packet() {
    let read = access("SOURCE ANY\nKEY testkey123\nHMAC_KEY hmackey456\nOPEN_PORTS tcp/22\n");
    let mut user = read.stanzas[0].user.clone();
    user.weak = read.stanzas[0].weak;
    let mut spa = Spa::new(vec![user], WINDOW).expect("what is weak has been asked for");
    let packet = "98wacjvbjH0NZyYaFoI8JyPlNO4AmzqTNkhwnv6M9SzS1Nuj3Rbvc4Qq08FHoxHfZAP0T5PBX/IzT2tbUWLb0YDa+igjG37mi8X\
                  RAHd3Rnb3ilz0GbZiiWLhbxSVp/IAlU9D4eF86UGko/9nnPKywCEXTPPXM+jb0nGLNMR0K7KrxjE4zoJHsGqILcSfeDNKEMGl\
                  kQC2kSUY";
    let now = Wall(Duration::from_secs(1_795_226_993));
    let accepted = spa.receive(now, "10.78.0.1".parse().unwrap(), packet.as_bytes()).expect("opens");
    assert!(matches!(accepted.granted, Granted::Opening(_)));
}

#[test]
fn the_server_file_tells_where_packets_are_heard() {
    let read = |text| read_daemon(Path::new("fwknopd.conf"), text);
    let plain = read("PCAP_INTF eth0;\nPCAP_FILTER udp port 4711;\nMAX_SPA_PACKET_AGE 60;\n");
    assert_eq!((plain.interface.as_deref(), plain.port, plain.max_age.as_secs()), (Some("eth0"), 4711, 60));
    assert_eq!(said(&plain.diagnostics), []);
    let server = read("ENABLE_UDP_SERVER Y;\nUDPSERV_PORT 5000;\nPCAP_FILTER tcp port 1;\n");
    assert_eq!(server.port, 5000);
    assert_eq!(said(&server.diagnostics), [(3, Weight::Doubtful, "PCAP_FILTER")]);
    let off = read(
        "ENABLE_SPA_PACKET_AGING N;\nENABLE_DIGEST_PERSISTENCE N;\nENABLE_SPA_OVER_HTTP Y;\n\
         ENABLE_IPT_FORWARDING N;\nPCAP_LOOP_SLEEP 1;\nMAX_SPA_PACKET_AGE never;\nNONSENSE 1;\n",
    );
    assert_eq!(
        said(&off.diagnostics),
        [
            (1, Weight::LeftOut, "ENABLE_SPA_PACKET_AGING"),
            (2, Weight::LeftOut, "ENABLE_DIGEST_PERSISTENCE"),
            (3, Weight::LeftOut, "ENABLE_SPA_OVER_HTTP"),
            (6, Weight::Fault, "MAX_SPA_PACKET_AGE"),
            (7, Weight::LeftOut, "fwknop has no such keyword here"),
        ]
    );
    assert_eq!((off.port, off.max_age), (PORT, WINDOW));
}
