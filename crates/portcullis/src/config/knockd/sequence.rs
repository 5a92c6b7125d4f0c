//! `Sequence`, as knockd read it: each number by the rules of C's `atoi`.

use std::ops::Range;

use super::super::doors::{MOST_STEPS, WrittenStep};
use super::super::portsentry::Weight;

/// Something to know of a part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    /// How much it matters.
    pub weight: Weight,
    /// The bytes of the value.
    pub within: Range<usize>,
    /// What is so.
    pub message: String,
    /// What to write.
    pub mend: String,
}

/// The steps of a sequence, and what is to be known of them. `None` if there is a fault, or it could never be right.
pub(super) fn read(value: &str) -> (Option<Vec<WrittenStep>>, Vec<Remark>) {
    let (mut steps, mut remarks) = (Vec::new(), Vec::new());
    let mut is_good = true;
    let items: Vec<(usize, &str)> = super::super::doors::pieces(value, ',').collect();
    for (place, &(start, item)) in items.iter().enumerate() {
        let whole = start..start + item.len();
        let mut remark = |weight, within: Range<usize>, message: String, mend: &str| {
            is_good &= !matches!(weight, Weight::Fault | Weight::LeftOut);
            remarks.push(Remark { weight, within, message, mend: mend.to_owned() });
        };
        if place == MOST_STEPS {
            let mend = "write at most 32 steps, or two doors";
            remark(Weight::Fault, whole, "too many ports: this is the 33rd".to_owned(), mend);
            break;
        }
        if item.is_empty() {
            if place > 0 && place + 1 == items.len() {
                let says = "knockd took what follows the last comma for port 0, so this door could never open; it is read without";
                remark(
                    Weight::Repaired,
                    start.saturating_sub(1)..start,
                    says.to_owned(),
                    "take the comma away",
                );
            } else {
                let says = "no port stands here; knockd took it for port 0, so this door could never open";
                remark(Weight::LeftOut, whole, says.to_owned(), "write a port from 1 to 65535");
            }
            continue;
        }
        let (port, protocol) = match item.split_once(':') {
            Some((port, protocol)) => (port.trim(), Some(protocol)),
            None => (item, None),
        };
        let at = start..start + port.len();
        let (number, rest) = atoi(port);
        if number > 65_535 {
            remark(Weight::Fault, at, format!("port {number} is invalid"), "write a port from 1 to 65535");
            continue;
        }
        // The sixteen lowest bits, as knockd kept them (-1 becomes 65535, measured).
        let kept = (number & 0xffff) as u16;
        if kept == 0 {
            let says = format!("\"{port}\" is port 0 for knockd, so this door could never open");
            remark(Weight::LeftOut, at.clone(), says, "write a port from 1 to 65535");
        } else if number < 0 {
            let says = format!("knockd took {number} for port {kept}, and so it is used");
            remark(Weight::Doubtful, at.clone(), says, "write the port that is meant, 1 to 65535");
        } else if !rest.is_empty() {
            let says = format!("knockd read {number} and passed over \"{}\"", rest.trim());
            let mend = "a comment stands on a line of its own, which begins with #";
            remark(Weight::Note, start + port.len() - rest.len()..at.end, says, mend);
        }
        let Some(protocol) = protocol else {
            steps.push(WrittenStep::Tcp(kept));
            continue;
        };
        match protocol.trim().to_ascii_lowercase().as_str() {
            "tcp" => steps.push(WrittenStep::Tcp(kept)),
            "udp" => steps.push(WrittenStep::Udp(kept)),
            _ => {
                let (within, says) = (whole.end - protocol.trim().len()..whole.end, protocol.trim());
                let says = format!("unknown protocol \"{says}\" in knock sequence");
                remark(Weight::Fault, within, says, "write tcp or udp behind the colon, or nothing for tcp");
            }
        }
    }
    (is_good.then_some(steps), remarks)
}

/// The number at the beginning of a text by the rules of C (`atoi(3)`), 0 if there is none, and what follows it.
/// What does not fit 32 bits is as large as it may be.
pub(super) fn atoi(text: &str) -> (i64, &str) {
    let text = text.trim_start();
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return (0, text);
    }
    let number = digits[..end].parse::<i64>().unwrap_or(i64::from(i32::MAX)).min(i64::from(i32::MAX));
    (sign * number, &digits[end..])
}
