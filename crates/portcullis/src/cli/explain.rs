//! `explain`: why somebody is banned, or is not: the evidence, what was decided, until when, and how to undo it.

use std::str::FromStr;

use clap::Args;
use portcullis_core::net::Prefix;
use serde::Serialize;

use super::history::History;
use super::output::Output;
use super::place::Place;
use super::telling::{self, decision, time};
use crate::control::client::Failure;
use crate::control::protocol::{EventsRequest, Reply, Request};
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::record::events::query::{Filter, parse_source};
use crate::record::events::{Node, number_of, parse};
use crate::record::json::{self, BanFields};

/// So many of the latest events about somebody are looked through, and shown with `--json`.
const LOOKED_AT: u64 = 500;

/// So many are shown to a person.
const SHOWN: usize = 12;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// An address or network, or the number of a scan or a ban: 203.0.113.9, s-7f3a, b-7f3b
    #[arg(value_name = "ADDR|ID")]
    about: About,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Whom or what it is about.
#[derive(Clone, Debug, PartialEq)]
enum About {
    Source(Prefix),
    /// `s-7f3a` or `b-7f3b`, and its number.
    Number(String, u64),
}

impl FromStr for About {
    type Err = String;

    fn from_str(text: &str) -> Result<About, String> {
        match number_of(text) {
            Some(number) => Ok(About::Number(text.to_owned(), number)),
            None => parse_source(text).map(About::Source).map_err(|error| {
                format!(
                    "{error}; write an address, a network, or the number of a scan (s-7f3a) or a ban (b-7f3b)"
                )
            }),
        }
    }
}

/// All that is known.
#[derive(Debug, Serialize)]
struct Receipt {
    /// The address or network.
    about: String,
    /// `banned`, `not banned`, or `not known` where nobody runs who could tell.
    state: &'static str,
    /// The ban that holds now.
    #[serde(skip_serializing_if = "Option::is_none")]
    ban: Option<BanFields>,
    /// The scan that led to it, or the latest one: its line with everything that it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    scan: Option<Node>,
    /// The command that ends the ban.
    #[serde(skip_serializing_if = "Option::is_none")]
    undo: Option<String>,
    /// The latest events about it, oldest first.
    events: Vec<Node>,
}

/// Tells why.
pub fn explain(arguments: &ExplainArguments) -> Result<Exit, Failure> {
    let mut history = History::open(&arguments.place)?;
    let source = match &arguments.about {
        About::Source(prefix) => *prefix,
        About::Number(id, number) => whose(&mut history, id, *number)?,
    };
    let events = about(&mut history, Filter { source: Some(source), ..Filter::default() }, LOOKED_AT)?;
    let (state, ban) = match &mut history {
        History::Kept(_) => ("not known", None),
        History::Running(client) => {
            let mut bans: Vec<(Prefix, BanFields)> = Vec::new();
            client.ask(&Request::Bans, |reply| {
                if let Reply::Ban(ban) = reply
                    && let Ok(prefix) = ban.prefix.parse::<Prefix>()
                    && prefix.overlaps(&source)
                {
                    bans.push((prefix, ban));
                }
                Ok(())
            })?;
            // The one that covers all of it says more than one of a part.
            bans.sort_by_key(|(prefix, _)| (!prefix.covers(&source), prefix.length()));
            match bans.into_iter().next() {
                Some((_, ban)) => ("banned", Some(ban)),
                None => ("not banned", None),
            }
        }
    };
    if events.is_empty() && ban.is_none() {
        let message = format!(
            "nothing is known of {}: it has not been told of since events are kept\n  \
             what was seen lately: portcullis events",
            short(&source)
        );
        return Err(Failure { exit: Exit::Failed, message });
    }
    let scan = of_which(&arguments.about, ban.as_ref(), &events).cloned();
    let undo = ban.as_ref().map(|ban| format!("portcullis unban {}", short_text(&ban.prefix)));
    let receipt = Receipt { about: short(&source), state, ban, scan, undo, events };
    let mut output = Output::new();
    if arguments.json {
        output.line(&json::text(&receipt))?;
    } else {
        describe(&receipt, telling::columns()).iter().try_for_each(|line| output.line(line))?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

fn about(history: &mut History, filter: Filter, limit: u64) -> Result<Vec<Node>, Failure> {
    let request = EventsRequest { filter, ..EventsRequest::default() };
    let (lines, _) = history.latest(&request, limit)?;
    Ok(lines.iter().filter_map(|line| parse(line)).collect())
}

/// Whose the scan or ban of this number is.
fn whose(history: &mut History, id: &str, number: u64) -> Result<Prefix, Failure> {
    let events = about(history, Filter { id: Some(number), ..Filter::default() }, LOOKED_AT)?;
    let event = events.iter().find(|event| event.text("id") == Some(id));
    let whose = event.and_then(|event| event.text("source").or_else(|| event.text("prefix")));
    whose.and_then(|whose| parse_source(whose).ok()).ok_or_else(|| Failure {
        exit: Exit::Failed,
        message: format!(
            "no scan and no ban of the number {id} is kept\n  \
             numbers stand in the log, in portcullis events and in portcullis bans"
        ),
    })
}

/// The scan in question: the one that was named, the one that led to the ban, or the latest. Of its lines the last one
/// knows most.
fn of_which<'a>(about: &About, ban: Option<&BanFields>, events: &'a [Node]) -> Option<&'a Node> {
    let named = match about {
        About::Number(id, _) if id.starts_with("s-") => Some(id.as_str()),
        About::Number(id, _) => {
            let ban = events.iter().find(|event| event.text("id") == Some(id));
            ban.and_then(|ban| ban.text("cause"))
        }
        About::Source(_) => None,
    };
    let named = named.or(ban.map(|ban| ban.cause.as_ref()));
    let is_scan = |event: &&Node| event.text("event") == Some("scan");
    let of_name = events.iter().rev().filter(is_scan).find(|event| event.text("id") == named);
    of_name.or_else(|| events.iter().rev().find(is_scan))
}

fn short(prefix: &Prefix) -> String {
    if prefix.is_single() { prefix.address().to_string() } else { prefix.to_string() }
}

fn short_text(prefix: &str) -> String {
    prefix.parse().map_or_else(|_| prefix.to_owned(), |prefix| short(&prefix))
}

/// The receipt for people; each line of ours, with foreign parts escaped.
fn describe(receipt: &Receipt, columns: Option<usize>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |text: String| lines.push(Escaped(&text).to_string());
    let about = &receipt.about;
    match &receipt.ban {
        Some(ban) => {
            let until = match ban.until.as_ref() {
                "ever" => "for ever".to_owned(),
                until => format!("until {}", time(until)),
            };
            line(format!("{about} is {} {until}: {} ({})", ban.how, ban.state, ban.id));
            if short_text(&ban.prefix) != *about {
                line(format!("  with        {}", ban.prefix));
            }
            line(format!("  since       {}", time(&ban.since)));
            let why = ban.why.as_deref().unwrap_or_default();
            line(match ban.cause.as_ref() {
                "operator" if why.is_empty() => "  cause       by hand, without a reason".to_owned(),
                "operator" => format!("  cause       by hand: {why}"),
                "found in force" => {
                    "  cause       found in force: it stood in the kernel, and the store did not know it"
                        .to_owned()
                }
                cause => format!("  cause       {cause}: {why}"),
            });
            if ban.times > 1 {
                line(format!(
                    "  again       this is ban number {} of it; each is longer than the one before",
                    ban.times
                ));
            }
        }
        None if receipt.state == "not known" => {
            line(format!("{about}: whether it is banned now only a running portcullis can tell"));
        }
        None => line(format!("{about} is not banned")),
    }
    if let Some(scan) = &receipt.scan {
        for text in evidence(scan) {
            line(text);
        }
    }
    if let Some(undo) = &receipt.undo {
        line(format!("  to undo     {undo}"));
        line(format!("  for good    portcullis allow {about}"));
    }
    if !receipt.events.is_empty() {
        lines.push(String::new());
        let hidden = receipt.events.len().saturating_sub(SHOWN);
        if hidden > 0 {
            lines.push(format!("The last {SHOWN} of {} events about it:", receipt.events.len()));
        } else {
            lines.push("What happened:".to_owned());
        }
        lines.extend(receipt.events.iter().skip(hidden).flat_map(|event| telling::lines(event, columns)));
    }
    lines
}

/// What a scan came to, a line for each thing that is known of it.
fn evidence(scan: &Node) -> Vec<String> {
    let text = |key: &str| scan.text(key).unwrap_or_default();
    let list = |key: &str| scan.texts(key).collect::<Vec<_>>().join(", ");
    let mut lines = vec![
        format!(
            "  scan        {}{}",
            text("id"),
            if scan.get("ended").is_some() { "" } else { " (not over, or its end is not kept)" }
        ),
        format!("  evidence    {}", text("why")),
    ];
    if let (Some(first), Some(last)) = (scan.text("first"), scan.text("last")) {
        lines.push(format!("  seen        {} to {}", time(first), time(last)));
    }
    let targets = scan.number("targets").unwrap_or(1);
    lines.push(format!(
        "  outline     {}, {} by {}{}",
        text("shape"),
        list("kinds"),
        list("protocol"),
        if targets > 1 { format!(", at {targets} of our addresses") } else { String::new() }
    ));
    let ports = ranges(scan.list("ports").iter().filter_map(Node::as_whole));
    if !ports.is_empty() {
        lines.push(format!("  ports       {ports}"));
    }
    if !scan.list("steps").is_empty() {
        lines.push(format!("  and         {}", list("steps")));
    }
    lines.extend(scan.list("evidence").iter().map(|part| format!("  counted     {}", spell(part))));
    if let Some(Node::Real(score)) = scan.get("score") {
        lines.push(format!("  weight      {score:.1}"));
    }
    lines.push(format!("  decided     {}", decision(scan)));
    lines
}

/// A part of the evidence, whatever it is made of.
fn spell(part: &Node) -> String {
    match part {
        Node::Text(text) => text.clone(),
        Node::Object(fields) => {
            let fields =
                fields.iter().map(|(key, value)| format!("{} {}", key.replace('_', " "), spell(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        Node::List(list) => list.iter().map(spell).collect::<Vec<_>>().join(" "),
        other => json::text(other),
    }
}

/// `1-3 7 9-10`
fn ranges(numbers: impl Iterator<Item = u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, high)) if *high + 1 == number => *high = number,
            _ => ranges.push((number, number)),
        }
    }
    let print = |(low, high): &(u64, u64)| {
        if low == high { low.to_string() } else { format!("{low}-{high}") }
    };
    ranges.iter().map(print).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = include_str!("../record/events/lines.jsonl");

    fn events() -> Vec<Node> {
        LINES.lines().map(|line| parse(line).unwrap()).collect()
    }

    fn ban() -> BanFields {
        let ban = LINES.lines().find(|line| line.contains("\"event\":\"ban\"")).unwrap();
        serde_json::from_str(ban).unwrap()
    }

    #[test]
    fn the_scan_in_question_is_the_one_that_is_meant_with_all_that_it_came_to() {
        let events = events();
        let id = |about: &str, ban: Option<&BanFields>| {
            let scan = of_which(&about.parse().unwrap(), ban, &events).unwrap();
            (scan.text("id").unwrap().to_owned(), scan.get("ended").is_some())
        };
        assert_eq!(id("s-7f3c", None), ("s-7f3c".into(), false));
        assert_eq!(id("b-7f3b", None), ("s-7f3a".into(), true));
        assert_eq!(id("203.0.113.9", Some(&ban())), ("s-7f3a".into(), true));
        assert_eq!(id("203.0.113.9", None), ("s-7f40".into(), false), "the latest");
    }

    #[test]
    fn a_receipt_tells_the_evidence_the_cause_the_end_and_the_way_back() {
        let receipt = Receipt {
            about: "203.0.113.9".into(),
            state: "banned",
            scan: of_which(&About::Source("203.0.113.9/32".parse().unwrap()), Some(&ban()), &events())
                .cloned(),
            ban: Some(ban()),
            undo: Some("portcullis unban 203.0.113.9".into()),
            events: events(),
        };
        crate::schema::check("explain", &json::text(&receipt));
        let told = describe(&receipt, Some(80));
        let all = told.join("\n");
        for part in [
            "203.0.113.9 is banned until ",
            ": in force (b-7f3b)",
            "  cause       s-7f3a: 5 SYN probes",
            "  evidence    140 probes to 9 TCP and UDP ports of 2 addresses in 20 s",
            "  ports       21-23 25 80 443 3306 65535",
            "  and         door ssh step 2",
            "  decided     banned for 10m",
            "  to undo     portcullis unban 203.0.113.9",
            "The last 12 of 25 events about it:",
        ] {
            assert!(all.contains(part), "{part}\n{all}");
        }
    }

    #[test]
    fn weighed_evidence_is_spelled_whatever_it_is_made_of() {
        let scan = parse(r#"{"evidence":[{"port":23,"weight":1.5},"late answer"],"score":6.25}"#).unwrap();
        let lines = evidence(&scan).join("\n");
        assert!(
            lines.contains("counted     port 23, weight 1.5\n  counted     late answer\n  weight      6.2"),
            "{lines}"
        );
    }
}
