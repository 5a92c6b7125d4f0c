//! Lists of prefixes on the command line or, with `-`, on standard input, and how they are sent.

use std::fmt::Display;
use std::io::{self, BufRead};
use std::str::FromStr;

use super::output::Output;
use super::place::Place;
use crate::control::client::Failure;
use crate::control::protocol::{PIECE, Reply, Request};
use crate::escape::{Escaped, EscapedBytes};
use crate::exit::Exit;

/// The longest line of a list that is read; no prefix and no comment needs more.
const LINE_LIMIT: u64 = 64 * 1024;

/// How many outcomes are printed one by one; of more only what went wrong, and the number.
const TOLD: usize = 20;

/// One word of a list on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<T> {
    /// This one.
    Given(T),
    /// `-`: those on standard input.
    Input,
}

impl<T: FromStr<Err: Display>> FromStr for Word<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Word<T>, T::Err> {
        if text == "-" { Ok(Word::Input) } else { text.parse().map(Word::Given) }
    }
}

/// The values that are meant. `-` stands alone; then each line of standard input is one, `#` begins a comment, and
/// empty lines don't count. Every faulty line is told before anything is done.
///
/// # Errors
/// [`Exit::Usage`] with every faulty line.
pub fn gather<T: Copy + FromStr<Err: Display>>(words: &[Word<T>]) -> Result<Vec<T>, Failure> {
    let given: Vec<T> = words
        .iter()
        .filter_map(|word| match word {
            Word::Given(value) => Some(*value),
            Word::Input => None,
        })
        .collect();
    if given.len() == words.len() {
        return Ok(given);
    }
    if words.len() > 1 {
        let message = "- stands alone: the whole list comes from standard input then".to_owned();
        return Err(Failure { exit: Exit::Usage, message });
    }
    read(io::stdin().lock())
}

fn read<T: FromStr<Err: Display>>(mut input: impl BufRead) -> Result<Vec<T>, Failure> {
    /// As many faults as help; the rest is counted.
    const SHOWN: usize = 20;
    let (mut values, mut faults, mut fault_count) = (Vec::new(), Vec::new(), 0usize);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length =
            io::Read::take(&mut input, LINE_LIMIT).read_until(b'\n', &mut line).map_err(|error| Failure {
                exit: Exit::Failed,
                message: format!("cannot read standard input: {error}"),
            })?;
        if length == 0 {
            break;
        }
        let bytes = line.split(|&byte| byte == b'#').next().unwrap_or_default().trim_ascii();
        if bytes.is_empty() {
            continue;
        }
        let parsed = match str::from_utf8(bytes) {
            Ok(text) => text.parse().map_err(|error: T::Err| error.to_string()),
            Err(_) => Err("not a text".to_owned()),
        };
        match parsed {
            Ok(value) => values.push(value),
            Err(why) => {
                fault_count += 1;
                if faults.len() < SHOWN {
                    let shown = &bytes[..bytes.len().min(80)];
                    faults.push(format!("standard input:{number}: \"{}\": {why}", EscapedBytes(shown)));
                }
            }
        }
    }
    if fault_count == 0 {
        return Ok(values);
    }
    if fault_count > faults.len() {
        faults.push(format!("and {} more", fault_count - faults.len()));
    }
    faults.push("nothing was done; mend these lines and try again".to_owned());
    Err(Failure { exit: Exit::Usage, message: faults.join("\n  ") })
}

/// Sends `values` in pieces, each as the request that `request` makes of it, and tells what became of them.
///
/// # Errors
/// What ended it; pieces before that are done, and the message says how many values were in them.
pub fn send<T: Copy>(
    place: &Place,
    values: &[T],
    request: impl Fn(&[T]) -> Request,
) -> Result<Exit, Failure> {
    let mut client = place.connect()?;
    let mut output = Output::new();
    let (mut exit, mut done, mut failed) = (Exit::Done, 0usize, 0usize);
    for (index, piece) in values.chunks(PIECE).enumerate() {
        let answered = client.ask(&request(piece), |reply| {
            if let Reply::Outcome { exit: code, text } = reply {
                let part = Exit::from_code(code);
                exit = exit.and(part);
                if part != Exit::Done {
                    failed += 1;
                    eprintln!("portcullis: {}", Escaped(&text));
                } else {
                    done += 1;
                    if values.len() <= TOLD {
                        output.line(&Escaped(&text).to_string())?;
                    }
                }
            }
            Ok(())
        });
        if let Err(mut failure) = answered {
            if index > 0 && !failure.message.is_empty() {
                failure.message +=
                    &format!("\n  the first {} of {} were dealt with before", index * PIECE, values.len());
            }
            return Err(failure);
        }
    }
    if values.len() > TOLD {
        output.line(&format!("{done} done, {failed} not"))?;
    }
    output.finish()?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::net::Prefix;

    #[test]
    fn a_list_may_have_comments_and_empty_lines() {
        let list: &[u8] = b"# abuse list\n203.0.113.9\n\n 2001:db8::/64  # a network\r\n198.51.100.0/24";
        let prefixes: Vec<Prefix> = read(list).unwrap();
        assert_eq!(prefixes.len(), 3);
    }

    #[test]
    fn every_faulty_line_is_told_and_escaped() {
        let list: &[u8] = b"203.0.113.9\n10.0.0.1/8\n\x1b[2J\n\xff\n";
        let failure = read::<Prefix>(list).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        for part in
            ["input:2: ", "10.0.0.0/8", "input:3: \"\\u{1b}[2J\"", "input:4: \"\\xff\"", "nothing was"]
        {
            assert!(failure.message.contains(part), "{part}: {}", failure.message);
        }
    }

    #[test]
    fn a_flood_of_faults_is_counted() {
        let failure = read::<Prefix>("x\n".repeat(1000).as_bytes()).unwrap_err();
        assert!(failure.message.contains("and 980 more"), "{}", failure.message);
    }
}
