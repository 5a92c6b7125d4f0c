//! The report as text of at most 72 columns, which mail leaves alone.

use std::fmt::Write as _;

use super::{Heading, clock, local, remarks, service, summary};
use crate::escape::Escaped;
use crate::record::events::tally::{Count, Report};

/// Columns of the whole.
const WIDTH: usize = 72;

/// Rows of a list; the page shows more.
const ROWS: usize = 10;

/// The report; what is foreign in it is escaped.
#[must_use]
pub fn text(heading: Heading<'_>, report: &Report) -> String {
    let mut text = String::new();
    let mut line = |line: &str| text += &format!("{}\n", line.trim_end());
    line(&format!("portcullis on {}", Escaped(heading.host)));
    line(&format!(
        "{} to {}",
        local(&report.since, "%Y-%m-%d %H:%M"),
        local(&report.until, "%Y-%m-%d %H:%M %Z")
    ));
    line("");
    wrap(&summary(report), "", &mut line);
    let remarks = remarks(report);
    if !remarks.is_empty() {
        line("");
        line("To look at");
        for remark in &remarks {
            wrap(&Escaped(remark).to_string(), "  ", &mut line);
        }
    }
    if report.scans + report.probes > 0 {
        line("");
        line(&format!("When (each column {})", span(report.bar_seconds)));
        for row in columns(report) {
            line(&row);
        }
        list("From where", &report.top_sources, |_| String::new(), &mut line);
        list("Networks", &report.top_networks, |_| String::new(), &mut line);
        list("Ports", &report.top_ports, |port| service(port).to_owned(), &mut line);
        list("Kinds", &report.kinds, |_| String::new(), &mut line);
    }
    if !report.doors.is_empty() {
        line("");
        line("Doors");
        for door in &report.doors {
            let name = Escaped(&door.door).to_string();
            line(&format!("  {name:<24} opened {}, knocks that failed {}", door.opened, door.failed));
        }
    }
    line("");
    line("More: portcullis events, portcullis explain ADDRESS");
    text
}

/// Breaks a sentence between words.
fn wrap(sentence: &str, indent: &str, line: &mut impl FnMut(&str)) {
    let mut row = indent.to_owned();
    let mut is_empty = true;
    for word in sentence.split(' ') {
        if !is_empty && row.chars().count() + 1 + word.chars().count() > WIDTH {
            line(&std::mem::replace(&mut row, format!("{indent}  ")));
        } else if !is_empty {
            row.push(' ');
        }
        row += word;
        is_empty = false;
    }
    line(&row);
}

/// The time line: eight heights a column, an axis, and its two ends.
fn columns(report: &Report) -> Vec<String> {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = report.timeline.iter().map(|bar| bar.scans).max().unwrap_or(0).max(1);
    let bars: String = report
        .timeline
        .iter()
        .map(|bar| match bar.scans {
            0 => '·',
            scans => HEIGHTS[usize::try_from((scans * 8).div_ceil(most)).unwrap_or(8).clamp(1, 8) - 1],
        })
        .collect();
    let first = report.timeline.first().map_or(String::new(), |bar| clock(&bar.time));
    let last = report.timeline.last().map_or(String::new(), |bar| clock(&bar.time));
    let width = report.timeline.len().max(first.len() + last.len() + 1);
    let gap = width - first.len() - last.len();
    vec![format!("  {bars}  most {most}"), format!("  {first}{}{last}", " ".repeat(gap))]
}

fn list(title: &str, counts: &[Count], beside: impl Fn(&str) -> String, line: &mut impl FnMut(&str)) {
    if counts.is_empty() {
        return;
    }
    /// Longest bar.
    const BAR: u64 = 16;
    line("");
    line(title);
    let most = counts.iter().map(|own| own.count).max().unwrap_or(1).max(1);
    for Count { name, count } in counts.iter().take(ROWS) {
        let mut row = format!("  {:<40} {count:>8}  ", format!("{} {}", Escaped(name), beside(name)));
        let length = usize::try_from((count * BAR).div_ceil(most)).unwrap_or(1);
        // Writing to a String cannot fail.
        let _ = write!(row, "{}", "▪".repeat(length));
        line(&row);
    }
    if counts.len() > ROWS {
        line(&format!("  and {} more", counts.len() - ROWS));
    }
}

/// `15 minutes`
pub(super) fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        seconds if seconds % 86_400 == 0 => (seconds / 86_400, "day"),
        seconds if seconds % 3600 == 0 => (seconds / 3600, "hour"),
        seconds if seconds % 60 == 0 => (seconds / 60, "minute"),
        seconds => (seconds, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
