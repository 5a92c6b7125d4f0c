//! The ten cases of files with one-time sequences, knocked at by the distribution's `knock`: what opens, and what stands in
//! the file behind it.

use serde_json::Value;
use testbed::wait_until;

use super::cases;
use super::host::{Host, Program, SOON, is_possible, translated};

const FILE: &str = "/etc/sequences";

/// A case, its knocks (they follow from its sequences and from what was logged), and where ours ends otherwise.
struct Case {
    id: &'static str,
    knocks: &'static [&'static str],
    difference: Option<Difference>,
}

/// How many openings, the file behind them, and why.
struct Difference {
    opened: usize,
    file_after: &'static str,
    #[expect(dead_code, reason = "for who reads this table")]
    why: &'static str,
}

const fn case(id: &'static str, knocks: &'static [&'static str]) -> Case {
    Case { id, knocks, difference: None }
}

const fn other(
    id: &'static str,
    knocks: &'static [&'static str],
    opened: usize,
    file_after: &'static str,
    why: &'static str,
) -> Case {
    Case { id, knocks, difference: Some(Difference { opened, file_after, why }) }
}

const CASES: [Case; 10] = [
    case("ots-basic", &["7000,8000,9000", "7000,8000,9000", "7100,8100,9100"]),
    other(
        "ots-nospace",
        &["7000,8000,9000", "7000,8000,9000", "7100,8100,9100"],
        2,
        "#7000,8000,9000\n#7100,8100,9100\n7200,8200,9200\n",
        "the # is put before the line, and no digit is lost",
    ),
    // knockd died of it.
    case("ots-last", &["7000,8000,9000", "7000,8000,9000"]),
    case("ots-comment-blank", &["7000,8000,9000", "7100,8100,9100"]),
    other(
        "ots-badline",
        &["7000,8000,9000", "7000,8000,9000"],
        1,
        " 70000,1\n#7000,8000,9000\n 7100,8100,9100\n 7200,1\n",
        "the line that was used is struck; with knockd another was, and a replay opened again",
    ),
    other(
        "ots-longer-next",
        &["7000,8000,9000", "5555"],
        1,
        "#7000,8000,9000\n 7100,8100,9100,5555\n 7200,1\n",
        "a finished attempt is over, and one packet more opens nothing",
    ),
    case("ots-half-compare", &["7000,8000,9000,1111", "7000,8000,9999,2222"]),
    case("ots-samehalf", &["7000,8000,9000,1111", "7100,1,1,1", "7000,8000,9000,1111"]),
    other(
        "ots-ipv6",
        &["7000,8000,9000", "7100,8100,9100"],
        2,
        "#7000,8000,9000\n#7100,8100,9100\n 7200,8200,9200\n",
        "what is listened for does not hang on the family: the second sequence opens too",
    ),
    case("ots-wrong-attempt", &["7000,9000"]),
];

/// Knocks at one of the programs; how often it opened.
#[track_caller]
fn openings(host: &Host, program: Program, case: &Value, own: &Case, expected: usize) -> usize {
    host.write(FILE, case["file_before"].as_str().unwrap());
    // Soon over after a wrong knock; knockd counts whole seconds, so that of one second nothing may be left.
    let doors = format!("[A]\none_time_sequences = {FILE}\nseq_timeout = 2\ntcpflags = syn\n");
    let mut daemon = host.start(program, &doors);
    let target = if own.id == "ots-ipv6" { "fd78::2" } else { "10.78.0.2" };
    let count = |log: &[String]| log.iter().filter(|line| line.ends_with("A: OPEN SESAME")).count();
    let mut openings = 0;
    let knocks = match program {
        // It was measured with one knock; the second, a replay, opens once more there.
        Program::Original if own.id == "ots-badline" => &own.knocks[..1],
        _ => own.knocks,
    };
    for (place, knock) in knocks.iter().enumerate() {
        if daemon.running.has_ended().is_some() {
            break;
        }
        let before = host.read(FILE);
        host.guest(&translated(&format!("knock -d 20 {target} {}", knock.replace(',', " "))));
        if knock_is_next(&before, knock) && openings < expected {
            wait_until(SOON, &format!("{}: opening {}", own.id, openings + 1), || {
                let is_open = count(&host.log()) > openings;
                (is_open && host.read(FILE) != before).then_some(())
            });
        } else if place + 1 < knocks.len() {
            std::thread::sleep(std::time::Duration::from_millis(2100));
        }
        openings = count(&host.log());
    }
    if program == Program::Original && case["alive"] == false {
        wait_until(SOON, "knockd to die of it", || daemon.running.has_ended());
    } else {
        openings = count(&daemon.log());
    }
    openings
}

#[test]
fn each_file_is_used_up_as_by_knockd_or_the_reason_is_told() {
    if !is_possible() {
        return;
    }
    let Some(host) = Host::new() else { return };
    let text = cases();
    let measured = text["one_time_sequence_cases"].as_array().unwrap();
    assert_eq!(measured.len(), CASES.len());
    for case in measured {
        let id = case["id"].as_str().unwrap();
        let own = CASES.iter().find(|own| own.id == id).unwrap();
        let (opened, after) =
            (case["opened"].as_array().unwrap().len(), case["file_after"].as_str().unwrap());
        let theirs = openings(&host, Program::Original, case, own, opened);
        assert_eq!(
            (theirs, host.read(FILE).as_str()),
            (opened, after),
            "{id}: knockd did as it was measured to"
        );
        let (opened, after) =
            own.difference.as_ref().map_or((opened, after), |other| (other.opened, other.file_after));
        let ours = openings(&host, Program::Ours, case, own, opened);
        assert_eq!((ours, host.read(FILE).as_str()), (opened, after), "{id}: {:#?}", host.log());
    }
}

/// Whether the first line that is left in the file is this knock.
fn knock_is_next(file: &str, knock: &str) -> bool {
    let lines = file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter(|line| !line.contains("70000")).take(1).any(|line| line == knock)
}
