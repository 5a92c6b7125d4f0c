//! Kept events as lines for people: when, what, who, and the rest in words. On a terminal a line is broken within its
//! column; elsewhere each event is one line.

use std::io::IsTerminal;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use portcullis_core::door::event::clock_words;

use crate::escape::Escaped;
use crate::record::events::Node;

/// Narrower than this nothing is readable anyway.
const NARROWEST: usize = 60;

/// Where the words begin: behind the time and the event.
const INDENT: usize = 24;

/// Ports that are shown; enough to see what the scan is after.
const PORTS: usize = 8;

/// How many columns standard output has; `None` where it is no terminal.
#[must_use]
pub fn columns() -> Option<usize> {
    let output = std::io::stdout();
    if !output.is_terminal() {
        return None;
    }
    let width = terminal_size::terminal_size_of(output).map_or(80, |(width, _)| usize::from(width.0));
    Some(width.max(NARROWEST))
}

/// The event as lines of at most so many columns; as one line without a limit.
#[must_use]
pub fn lines(event: &Node, columns: Option<usize>) -> Vec<String> {
    let name = event.text("event").unwrap_or("?");
    let moment = Escaped(&time(event.text("time").unwrap_or_default())).to_string();
    let head = format!("{moment:<14} {:<8}", Escaped(name).to_string());
    let text = Escaped(&words(event)).to_string();
    let Some(columns) = columns else { return vec![format!("{head} {text}")] };
    let mut lines = Vec::new();
    let mut line = format!("{head:<width$}", width = INDENT - 1);
    for word in text.split(' ') {
        let is_first = line.chars().count() <= INDENT;
        if !is_first && line.chars().count() + 1 + word.chars().count() > columns {
            lines.push(std::mem::replace(&mut line, " ".repeat(INDENT - 1)));
        }
        line.push(' ');
        line += word;
    }
    lines.push(line);
    lines
}

/// Local time without the year: `11-21 02:08:20`.
#[must_use]
pub fn time(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(stamp) => stamp.to_zoned(TimeZone::system()).strftime("%m-%d %H:%M:%S").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// Who, and the rest.
#[must_use]
pub fn words(event: &Node) -> String {
    let text = |key: &str| event.text(key).unwrap_or_default();
    let id = event.text("id").map_or(String::new(), |id| format!(" ({id})"));
    let short = |prefix: &str| {
        let single = prefix.strip_suffix("/32").or_else(|| prefix.strip_suffix("/128"));
        single.unwrap_or(prefix).to_owned()
    };
    match text("event") {
        "scan" => {
            let ended = if event.get("ended").is_some() { " (over)" } else { "" };
            let whole = match event.text("prefix") {
                Some(prefix) if short(prefix) != text("source") => format!(", with all of {prefix}"),
                _ => String::new(),
            };
            format!(
                "{}{ended}: {}{}; {}{whole}{id}",
                text("source"),
                text("why"),
                ports(event),
                decision(event)
            )
        }
        "probe" => format!(
            "{}: {} to {} port {}; {}",
            text("source"),
            text("kind"),
            text("protocol"),
            event.number("port").unwrap_or(0),
            decision(event)
        ),
        "ban" => {
            let until = match text("until") {
                "ever" => "for ever".to_owned(),
                until => format!("until {}", time(until)),
            };
            let cause = match (text("cause"), event.text("why")) {
                ("operator", None) => "by hand".to_owned(),
                ("operator", Some(why)) => format!("by hand: {why}"),
                (cause, _) => cause.to_owned(),
            };
            let times = event.number("times").filter(|times| *times > 1);
            let times = times.map_or(String::new(), |times| format!(", time {times}"));
            let how = if text("how") == "held" { " held" } else { "" };
            format!("{}{how} {until}, {}; {cause}{times}{id}", short(text("prefix")), text("state"))
        }
        "unban" => format!("{}: {}{id}", short(text("prefix")), text("why")),
        "allow" => {
            let until = event.text("until").map_or(String::new(), |until| match until {
                "ever" => " for ever".to_owned(),
                until => format!(" until {}", time(until)),
            });
            format!("{} {}{until}", short(text("prefix")), text("state"))
        }
        "refused" => {
            format!(
                "{} was not banned: {} is {}",
                short(text("prefix")),
                short(text("protected")),
                text("why")
            )
        }
        "repair" => format!("{} bans were missing, and are put back", event.number("bans").unwrap_or(0)),
        "open" | "close" | "knock" => at_door(event),
        "fault" => {
            let mend = event.text("mend").map_or(String::new(), |mend| format!("; to mend it: {mend}"));
            match (event.text("door"), event.text("source")) {
                (Some(door), Some(source)) => {
                    format!("door {door} is open to {source}, but {}{mend}", text("why"))
                }
                _ => format!("{}{mend}", text("why")),
            }
        }
        "notice" => text("what").to_owned(),
        "start" => {
            format!("portcullis {}, {}, on {}", text("version"), text("mode"), list(event, "interfaces"))
        }
        "stop" => text("why").to_owned(),
        "observe" | "enforce" => format!("from now on ({})", text("by")),
        "reload" if event.list("changes").is_empty() => "nothing is different".to_owned(),
        "reload" => list(event, "changes"),
        _ => rest(event),
    }
}

/// What happened at a door.
#[must_use]
pub fn at_door(event: &Node) -> String {
    let text = |key: &str| event.text(key).unwrap_or_default();
    let (door, source) = (text("door"), text("source"));
    let user = event.text("user").map_or(String::new(), |user| format!(", {user}"));
    let clock = match event.get("clock_difference") {
        Some(Node::Whole(seconds)) => clock_words(text("why"), i64::try_from(*seconds).unwrap_or(i64::MAX)),
        Some(Node::Negative(seconds)) => clock_words(text("why"), *seconds),
        _ => String::new(),
    };
    match (text("event"), event.text("why")) {
        ("open", _) => format!("door {door} opened for {source} ({}{user})", text("by")),
        ("close", why) => format!("door {door} shut for {source} ({})", why.unwrap_or_default()),
        (_, Some(why)) => {
            let step = match (event.number("step"), event.number("of")) {
                (Some(step), Some(of)) => format!(" step {step} of {of}:"),
                _ => String::new(),
            };
            format!("door {door}{step} the knock by {source} {why}{user}{clock}")
        }
        (_, None) => {
            let (step, of) = (event.number("step").unwrap_or(0), event.number("of").unwrap_or(0));
            format!("door {door} step {step} of {of} by {source}")
        }
    }
}

/// What was decided, and for how long.
#[must_use]
pub fn decision(event: &Node) -> String {
    let length = match (event.number("ban_seconds"), event.text("until")) {
        (Some(seconds), _) => {
            let span = std::time::Duration::from_secs(seconds);
            format!(" for {}", crate::config::Span(span))
        }
        (None, Some("ever")) => " for ever".to_owned(),
        _ => String::new(),
    };
    match event.text("decision").unwrap_or_default() {
        "block" => format!("banned{length}"),
        "hold" => format!("held{length}, since its address is not proved"),
        "observe" => format!("would be banned{length}"),
        "protected" => format!("not banned: it is {}", event.text("protection").unwrap_or("protected")),
        other => other.to_owned(),
    }
}

fn ports(event: &Node) -> String {
    let ports = event.list("ports");
    let mut shown: Vec<String> =
        ports.iter().filter_map(Node::as_whole).take(PORTS).map(|port| port.to_string()).collect();
    if shown.is_empty() {
        return String::new();
    }
    if ports.len() > PORTS {
        shown.push("…".to_owned());
    }
    format!(" ({})", shown.join(" "))
}

fn list(event: &Node, key: &str) -> String {
    event.texts(key).collect::<Vec<_>>().join(", ")
}

/// Fields that have no sentence of their own.
fn rest(event: &Node) -> String {
    let Node::Object(fields) = event else { return String::new() };
    let told = fields.iter().filter(|(key, _)| key != "time" && key != "event").map(|(key, value)| {
        let value = match value {
            Node::Text(text) => text.clone(),
            other => crate::record::json::text(other),
        };
        format!("{} {value}", key.replace('_', " "))
    });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::events::parse;

    const LINES: &str = include_str!("../record/events/lines.jsonl");

    #[test]
    fn every_event_fits_a_narrow_terminal_and_loses_no_word() {
        for text in LINES.lines() {
            let event = parse(text).unwrap();
            let broken = lines(&event, Some(80));
            assert!(broken.iter().all(|line| line.chars().count() <= 80), "{broken:?}");
            let whole = lines(&event, None).concat();
            let words = |lines: &str| lines.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&broken.join(" ")), words(&whole));
        }
    }

    #[test]
    fn nothing_foreign_reaches_the_terminal() {
        let event = parse(r#"{"time":"\u001b[2J","event":"scan","source":"\u001b]0;x\u0007"}"#).unwrap();
        let told = lines(&event, Some(80)).concat();
        assert!(!told.contains('\u{7}'), "{told:?}");
    }

    #[test]
    fn an_event_reads_as_a_sentence() {
        let told: Vec<String> = LINES.lines().map(|text| words(&parse(text).unwrap())).collect();
        let all = told.join("\n");
        for part in [
            "203.0.113.9: 5 probes to 5 closed TCP ports in 3 ms (21 22 23 25 80); banned for 10m (s-7f3a)",
            "2001:db8::77: 4 probes to 1 TCP port of 4 addresses in 1.0 s (443); would be banned for ever, with all \
             of 2001:db8::/64 (s-7f3c)",
            "in force; s-7f3a (b-7f3b)",
            "203.0.113.9: expired (b-7f3b)",
            "door ssh step 2 of 3: the knock by 198.51.100.8 came too late for the next step, anna; its clock differs \
             by -40 s",
            "lines left out 700",
        ] {
            assert!(all.contains(part), "{part}\n{all}");
        }
    }
}
