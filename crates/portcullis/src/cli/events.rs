//! `events`: what happened.

use clap::Args;
use clap::builder::PossibleValuesParser;
use portcullis_core::net::Prefix;

use super::history::History;
use super::moment::{Moment, milliseconds, now};
use super::output::Output;
use super::place::Place;
use super::telling;
use crate::control::client::Failure;
use crate::control::protocol::{EventsRequest, Reply, Request};
use crate::escape::Escaped;
use crate::exit::Exit;
use crate::record::events::query::{Filter, parse_source};
use crate::record::events::{Node, event_names, kind_names, parse};

/// Lines that stand before those to come, as tail(1) shows them.
const BEFORE: u64 = 10;

/// Arguments of `events`.
#[derive(Debug, Args)]
pub struct EventsArguments {
    /// From this moment: 24h or 7d ago, 2026-11-21, 2026-11-21T14:30, or RFC 3339 [default: 24h]
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Up to this moment
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    until: Option<Moment>,
    /// Only of this address or network
    #[arg(long, value_name = "ADDR|PREFIX", value_parser = parse_source)]
    source: Option<Prefix>,
    /// Only scans that touched this port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only scans with this kind of packet
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(kind_names()), hide_possible_values = true)]
    kind: Option<String>,
    /// Only these events; may be given several times
    #[arg(long = "event", value_name = "EVENT", value_parser = PossibleValuesParser::new(event_names()), hide_possible_values = true)]
    events: Vec<String>,
    /// Only what happened at this door
    #[arg(long, value_name = "NAME")]
    door: Option<String>,
    /// Only the latest so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    /// Then wait for what is still to come
    #[arg(short, long)]
    follow: bool,
    /// For other programs: one JSON object a line, or comma-separated values
    #[arg(long, value_name = "FORM")]
    export: Option<Form>,
    /// One JSON object a line
    #[arg(long, conflicts_with = "export")]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// How events are written for other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values, RFC 4180, with a line of names.
    Csv,
}

/// The columns of `--export csv`. More may be added at the end.
const CSV: [&str; 16] = [
    "time", "event", "id", "source", "prefix", "protocol", "kinds", "ports", "probes", "decision", "cause",
    "state", "until", "door", "by", "why",
];

impl EventsArguments {
    fn request(&self) -> EventsRequest {
        let now = now();
        // Who follows wants to see what comes; who asks without a time wants to see the last day.
        let since = match (self.since, self.until, self.follow) {
            (None, None, false) => Some(Moment::Ago(std::time::Duration::from_secs(86_400))),
            (since, ..) => since,
        };
        let filter = Filter {
            since: since.map(|moment| milliseconds(moment.wall(now))),
            until: self.until.map(|moment| milliseconds(moment.wall(now))),
            source: self.source,
            port: self.port,
            kind: self.kind.clone(),
            events: self.events.clone(),
            door: self.door.clone(),
            id: None,
        };
        EventsRequest { filter, ..EventsRequest::default() }
    }

    fn form(&self) -> Option<Form> {
        if self.json { Some(Form::Jsonl) } else { self.export }
    }
}

/// Tells what happened.
pub fn events(arguments: &EventsArguments) -> Result<Exit, Failure> {
    let mut history = History::open(&arguments.place)?;
    let mut writer = Writer { output: Output::new(), form: arguments.form(), columns: telling::columns() };
    writer.begin()?;
    let request = arguments.request();
    let limit = match (arguments.limit, arguments.since) {
        (None, None) if arguments.follow => Some(BEFORE),
        (limit, _) => limit,
    };
    let mut count = 0u64;
    let reach = match limit {
        Some(limit) => {
            let (lines, reach) = history.latest(&request, limit)?;
            count = lines.len() as u64;
            lines.iter().try_for_each(|line| writer.line(line))?;
            reach
        }
        None => history.each(&request, |line| {
            count += 1;
            writer.line(line)
        })?,
    };
    if arguments.follow {
        writer.output.flush()?;
        return follow(history, &request, reach.newest, writer);
    }
    if count == 0 && writer.form.is_none() && writer.output.is_terminal() {
        writer.output.line(match reach.newest {
            0 => "nothing has happened yet that is kept",
            _ => "nothing of that kind; say --since 7d for more than the last day, or ask for less",
        })?;
    }
    writer.output.finish()?;
    Ok(Exit::Done)
}

fn follow(
    history: History,
    request: &EventsRequest,
    newest: i64,
    mut writer: Writer,
) -> Result<Exit, Failure> {
    let History::Running(mut client) = history else {
        writer.output.finish()?;
        let message =
            "nobody runs, so nothing more is to come\n  start it: systemctl start portcullis".to_owned();
        return Err(Failure { exit: Exit::NotReachable, message });
    };
    let filter = Filter { since: None, ..request.filter.clone() };
    let request = EventsRequest { filter, follow: true, after: Some(newest), ..EventsRequest::default() };
    client.ask(&Request::Events(Box::new(request)), |reply| {
        if let Reply::Line { line } = reply {
            writer.line(&line)?;
            writer.output.flush()?;
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

/// Events on their way out.
struct Writer {
    output: Output,
    form: Option<Form>,
    columns: Option<usize>,
}

impl Writer {
    fn begin(&mut self) -> Result<(), Failure> {
        if self.form == Some(Form::Csv) { self.output.line(&CSV.join(",")) } else { Ok(()) }
    }

    fn line(&mut self, line: &str) -> Result<(), Failure> {
        let event = match self.form {
            Some(Form::Jsonl) => return self.output.line(line),
            _ => parse(line),
        };
        match (event, self.form) {
            // What answers is no event of ours; nothing in it may reach the terminal.
            (None, _) => self.output.line(&Escaped(line).to_string()),
            (Some(event), Some(Form::Csv)) => self.output.line(&csv(&event)),
            (Some(event), _) => {
                telling::lines(&event, self.columns).iter().try_for_each(|line| self.output.line(line))
            }
        }
    }
}

/// One record of RFC 4180, without its end.
fn csv(event: &Node) -> String {
    let fields = CSV.iter().map(|name| {
        let value = match (*name, event.get(name)) {
            ("kinds", None) => event.get("kind"),
            ("ports", None) => event.get("port"),
            ("why", None) => event.get("what"),
            (_, value) => value,
        };
        field(&value.map(plain).unwrap_or_default())
    });
    fields.collect::<Vec<_>>().join(",")
}

fn plain(value: &Node) -> String {
    match value {
        Node::Null => String::new(),
        Node::Text(text) => text.clone(),
        Node::List(list) => list.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => crate::record::json::text(other),
    }
}

/// A field; quoted where it must be. A spreadsheet would take what begins like a formula for one: it gets an apostrophe
/// (owasp.org, CSV Injection).
fn field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_columns_whatever_is_in_them() {
        let event = parse(
            r#"{"time":"T","event":"ban","prefix":"10.0.0.1/32","why":"a \"reason\", with\na line","ports":[22,80]}"#,
        )
        .unwrap();
        assert_eq!(csv(&event), "T,ban,,,10.0.0.1/32,,,22 80,,,,,,,,\"a \"\"reason\"\", with\na line\"");
        let formula = parse(r#"{"event":"ban","why":"=HYPERLINK(1)"}"#).unwrap();
        assert!(csv(&formula).ends_with(",'=HYPERLINK(1)"));
        for event in include_str!("../record/events/lines.jsonl").lines() {
            let event = parse(event).unwrap();
            let quoted = csv(&event);
            let mut is_quoted = false;
            let commas = quoted.chars().filter(|letter| {
                is_quoted ^= *letter == '"';
                *letter == ',' && !is_quoted
            });
            assert_eq!(commas.count(), CSV.len() - 1, "{quoted}");
        }
    }
}
