//! The ten cases of one-time sequences. Their packets are not in the file; they follow from the sequences and from what
//! was logged.

use std::time::Duration;

use portcullis_core::door::FlagTests;
use portcullis_core::wire::TcpFlags;

use super::host::{CaseHost, Packet, sequence};
use super::text;

/// Its name, its knocks, and what differs.
type Case = (&'static str, &'static [&'static str], Option<(usize, &'static str)>);

/// Which knocks a case makes, in order (each a line of its file from 0, or other ports), and where ours ends otherwise:
/// how many openings, and why.
const CASES: &[Case] = &[
    ("ots-basic", &["7000,8000,9000", "7000,8000,9000", "7100,8100,9100"], None),
    ("ots-nospace", &["7000,8000,9000", "7000,8000,9000", "7100,8100,9100"], None),
    // With knockd the daemon died of it; ours goes on without a sequence.
    ("ots-last", &["7000,8000,9000", "7000,8000,9000"], None),
    ("ots-comment-blank", &["7000,8000,9000", "7100,8100,9100"], None),
    // With knockd it stayed valid, since another line was struck; a replay opened again.
    ("ots-badline", &["7000,8000,9000", "7000,8000,9000"], None),
    (
        "ots-longer-next",
        &["7000,8000,9000", "5555"],
        Some((1, "a finished attempt is over, and one packet more opens nothing")),
    ),
    ("ots-half-compare", &["7000,8000,9000,1111", "7000,8000,9999,2222"], None),
    ("ots-samehalf", &["7000,8000,9000,1111", "7100,1,1,1", "7000,8000,9000,1111"], None),
    (
        "ots-ipv6",
        &["7000,8000,9000", "7100,8100,9100"],
        Some((2, "what is listened for does not hang on the family: the second sequence opens too")),
    ),
    ("ots-wrong-attempt", &["7000,9000"], None),
];

#[test]
fn each_one_time_case_ends_as_with_knockd_or_has_its_reason() {
    let text = text();
    let cases = text["one_time_sequence_cases"].as_array().unwrap();
    assert_eq!((cases.len(), CASES.len()), (10, 10));
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let (_, knocks, difference) = CASES.iter().find(|(own, _, _)| *own == id).unwrap();
        let lines = case["file_before"].as_str().unwrap().lines().zip(0_u32..);
        let tests = FlagTests { must: TcpFlags::SYN, must_not: 0 };
        let usable = lines.filter(|(line, _)| !line.trim().is_empty() && !line.trim().starts_with('#'));
        // That a line which is no sequence is left out is for the file's reader.
        let usable = usable.filter(|(line, _)| !line.contains("70000"));
        let sequences: Vec<_> =
            usable.map(|(line, number)| (number, sequence(line, tests, Duration::from_secs(5)))).collect();
        let mut host = CaseHost::with_one_time(sequences.clone());
        let (source, target) =
            if id == "ots-ipv6" { ("fd78::1", "fd78::2") } else { ("10.78.0.1", "10.78.0.2") };
        let mut number = 0;
        for knock in *knocks {
            for port in knock.split(',') {
                number += 1;
                host.send(&Packet::tcp(source, target, port.parse().unwrap(), TcpFlags::SYN, number));
                host.pass(Duration::from_millis(30));
            }
            // A wrong knock is over before the next.
            host.pass(Duration::from_secs(6));
        }
        let theirs = case["opened"].as_array().unwrap().len();
        let expected = difference.map_or(theirs, |(ours, _)| ours);
        assert_eq!(host.opened.len(), expected, "{id}: {:?}", host.opened);
        assert!(difference.is_none() || expected != theirs, "{id} is no difference");
        let used: Vec<u32> = sequences.iter().take(expected).map(|(number, _)| *number).collect();
        assert_eq!(host.struck, used, "{id}: the lines that were used are struck, and no other");
    }
}
