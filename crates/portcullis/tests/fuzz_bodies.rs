//! The fuzz targets' bodies as property tests, on inputs that are near enough to the real thing to get far.

#[path = "../../../fuzz/src/capture.rs"]
mod capture;
#[path = "../../../fuzz/src/configuration.rs"]
mod configuration;
#[path = "../../../fuzz/src/control.rs"]
mod control;

use proptest::prelude::*;

/// Texts made of the words of `words`, with noise between.
fn text(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let word = prop_oneof![4 => prop::sample::select(words).prop_map(str::to_owned), 1 => ".{0,6}"];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

const TOML: &[&str] = &[
    "[watch]\n",
    "[judge]\n",
    "[respond]\n",
    "[protect]\n",
    "[control]\n",
    "tcp",
    "udp",
    "ban",
    "mode",
    "allow",
    " = ",
    "=",
    "\n",
    "\"1-1023, !113\"",
    "\"10m\"",
    "\"enforce\"",
    "[\"192.0.2.0/24\"]",
    "5",
    "true",
    "\"",
    "[",
    "]",
    "#",
];

const OLD: &[&str] = &[
    "TCP_PORTS",
    "UDP_PORTS",
    "KILL_ROUTE",
    "BLOCK_TCP",
    "IGNORE_FILE",
    "ADVANCED_PORTS_TCP",
    "=",
    "\"",
    "\n",
    " ",
    "1,11,15",
    "512-515",
    "/sbin/route add -host $TARGET$ reject",
    "1024",
    "#",
    "\u{201d}",
    "\u{2013}",
    "10.0.0.1/24",
    "::1",
    "\r\n",
    "tcp",
    "MODE",
];

const FWKNOP: &[&str] = &[
    "SOURCE ANY\n",
    "SOURCE ",
    "10.0.0.1/8",
    "KEY ",
    "KEY secret\n",
    "HMAC_KEY ",
    "HMAC_KEY_BASE64 ",
    "AAECAw==",
    "OPEN_PORTS ",
    "tcp/22",
    "ACCESS_EXPIRE ",
    "13/32/99999",
    "FW_TIMEOUT ",
    "99999999999999999999",
    "PCAP_FILTER udp port ",
    "[",
    "[default]\n",
    "]",
    "%include x\n",
    ";",
    ",",
    " ",
    "\t",
    "#",
    "\n",
    "\r\n",
    "ſ",
];

const REQUEST: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"version\":1",
    "\"verb\":\"ban\"",
    "\"verb\":\"status\"",
    "\"prefixes\":",
    "\"192.0.2.1\"",
    "\"for\":\"10m\"",
    "\"why\":\"x\"",
    "\"all\":true",
    "\"targets\":",
    "null",
    "\\u0000",
];

/// A classic capture's header (version 2.4, Ethernet), for records of any length to follow.
const CAPTURE: [u8; 24] =
    [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];

proptest! {
    #[test]
    fn no_configuration_panics_and_what_is_good_reads_back(text in text(TOML)) {
        configuration::configuration(text.as_bytes());
    }

    #[test]
    fn no_old_configuration_panics(text in text(OLD)) {
        configuration::portsentry_files(text.as_bytes());
    }

    #[test]
    fn no_file_of_fwknop_panics(text in text(FWKNOP)) {
        configuration::fwknop_files(text.as_bytes());
    }

    #[test]
    fn no_request_panics_and_what_is_understood_says_the_same_again(text in text(REQUEST)) {
        control::control_request(text.as_bytes());
    }

    #[test]
    fn no_capture_panics(records in prop::collection::vec((any::<[u8; 8]>(), 0..70u32, 0..70usize), 0..8)) {
        let mut file = CAPTURE.to_vec();
        for (time, claimed, given) in records {
            file.extend(time);
            file.extend(claimed.to_le_bytes());
            file.extend(claimed.to_le_bytes());
            file.extend(vec![0; given]);
        }
        capture::capture_file(&file);
    }
}
