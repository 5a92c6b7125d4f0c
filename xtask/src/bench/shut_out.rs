//! How much of a fast scan gets an answer.

use super::guard::{Guard, State};
use super::portsentry::PortSentry;
use super::table::{Line, median};
use super::{Bench, lab, lab_for_peer, output};
use testbed::Lab;

/// nmap's own choice of the commonest ports.
const PORTS: usize = 1000;

/// Scans a bare victim, one with the peer and a guarded one, in turns.
pub fn measure(bench: &Bench) -> Result<Vec<Line>, String> {
    let (mut bare, mut with_peer, mut guarded) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..bench.runs(5) {
        bare.push(scan(&lab()?)?);
        if let Some(program) = &bench.peer {
            let lab = lab_for_peer()?;
            let _peer = PortSentry::start(&lab.victim, program)?;
            with_peer.push(scan(&lab)?);
        }
        let (lab, state) = (lab()?, State::new(&format!("shut-out-{run}"))?);
        let guard = Guard::start(&lab.victim, &bench.program, &state, "--enforce");
        guarded.push(scan(&lab)?);
        guard.stop();
    }
    let percent = |answers: &[usize]| {
        let of = |answers: usize| answers as f64 * 100.0 / PORTS as f64;
        format!("{:.1} % (most {:.1} %)", of(median(answers)), of(answers.iter().copied().max().unwrap_or(0)))
    };
    let beside = match with_peer.is_empty() {
        true => format!("bare host {}", percent(&bare)),
        false => format!("PortSentry 1.2 {}, bare host {}", percent(&with_peer), percent(&bare)),
    };
    let ratio = median(if with_peer.is_empty() { &bare } else { &with_peer }) / median(&guarded).max(1);
    let what = format!("ports of `nmap -sS -T4` that answered, of {PORTS}, median of {}", guarded.len());
    let line = Line::told(what, percent(&guarded)).peer(beside, format!("{ratio} × fewer"));
    Ok(vec![line.target("at most 5 %", median(&guarded) * 100 <= 5 * PORTS)])
}

fn scan(lab: &Lab) -> Result<usize, String> {
    let victim = lab.victim4().to_string();
    // A scanner that has found silence repeats itself for a minute and learns nothing more: one repetition at a
    // steady rate, as for the others.
    let words = ["-sS", "-T4", "--max-retries", "1", "--min-rate", "500", "-n", "-oX", "-", &victim];
    let printed = output(lab.attacker.command("nmap").args(words))?;
    if !printed.contains(r#"<status state="up""#) {
        return Err(format!("nmap did not find the victim:\n{printed}"));
    }
    answers(&printed).ok_or_else(|| format!("nmap printed something unknown:\n{printed}"))
}

/// Ports that nmap found open or closed: it got an answer. (Its grepable output leaves them out where two states
/// are common.)
fn answers(xml: &str) -> Option<usize> {
    let mut answers = 0;
    for element in xml.split('<') {
        let state = attribute(element, "state");
        if !matches!(state, Some("open" | "closed")) {
            continue;
        }
        if element.starts_with("extraports ") {
            answers += attribute(element, "count")?.parse::<usize>().ok()?;
        } else if element.starts_with("state ") {
            answers += 1;
        }
    }
    Some(answers)
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = element.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_and_closed_ports_are_answers() {
        let xml = r#"<host><status state="up" reason="arp-response"/><ports>
            <extraports state="closed" count="240"><extrareasons reason="reset" count="240"/></extraports>
            <extraports state="filtered" count="758"></extraports>
            <port protocol="tcp" portid="80"><state state="open" reason="syn-ack"/></port>
            <port protocol="tcp" portid="81"><state state="filtered" reason="no-response"/></port>"#;
        assert_eq!(answers(xml), Some(241));
    }
}
