//! The report as one HTML file: no script, no image, no font and no style from elsewhere; it opens from a mail, a disk or
//! a web server, on a phone or a screen, by day and by night.

use std::fmt::Write as _;

use super::plot::{html, rows, timeline};
use super::text::span;
use super::{Heading, local, remarks, service, summary};
use crate::record::events::tally::{Count, Report};

/// The page's only style.
const STYLE: &str = include_str!("page.css");

/// The page.
#[must_use]
pub fn page(heading: Heading<'_>, report: &Report) -> String {
    let host = html(heading.host);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>portcullis on {host}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>portcullis on {host}</h1>\n<p class=\"while\">{} to {}</p>\n<p class=\"summary\">{}</p>\n</header>\n",
        html(&local(&report.since, "%Y-%m-%d %H:%M")),
        html(&local(&report.until, "%Y-%m-%d %H:%M %Z")),
        html(&summary(report)),
    );
    // Writing to a String cannot fail.
    let _ = write!(page, "<main>\n{}", numbers(report));
    let remarks = remarks(report);
    if !remarks.is_empty() {
        page += "<section class=\"wide look\">\n<h2>To look at</h2>\n<ul>\n";
        for remark in &remarks {
            let _ = writeln!(page, "<li>{}</li>", html(remark));
        }
        page += "</ul>\n</section>\n";
    }
    page += &when(report);
    page += &section(
        "From where",
        "Addresses by scans",
        &report.top_sources,
        |_| "",
        "Nobody scanned this host.",
    );
    page += &section(
        "Networks",
        "/24 and /48 by scans",
        &report.top_networks,
        |_| "",
        "Nobody scanned this host.",
    );
    page +=
        &section("Ports", "By scans that were after them", &report.top_ports, service, "No port was probed.");
    page += &section("Kinds", "By scans", &report.kinds, |_| "", "No probe came.");
    page += &doors(report);
    let _ = write!(
        page,
        "</main>\n<footer>{} events in all. More: <code>portcullis events</code>, <code>portcullis explain \
         ADDRESS</code>.</footer>\n</body>\n</html>\n",
        report.events
    );
    page
}

fn numbers(report: &Report) -> String {
    let event = |name: &str| report.by_event.get(name).copied().unwrap_or(0);
    let mut list = String::from("<section class=\"wide numbers\" aria-label=\"In numbers\">\n<dl>\n");
    let attacks = if report.scans == 0 && report.probes > 0 {
        ("probes", report.probes)
    } else {
        ("scans", report.scans)
    };
    for (name, count) in [
        attacks,
        ("addresses", report.sources),
        ("bans", report.bans),
        ("refused bans", event("refused")),
        ("doors opened", event("open")),
        ("faults", event("fault")),
    ] {
        let class = if name == "faults" && count > 0 { " class=\"bad\"" } else { "" };
        let _ = writeln!(list, "<div{class}><dt>{name}</dt><dd>{count}</dd></div>");
    }
    list + "</dl>\n</section>\n"
}

fn when(report: &Report) -> String {
    let mut section = String::from("<section class=\"wide\">\n<h2>When</h2>\n");
    if report.timeline.iter().all(|bar| bar.scans + bar.bans == 0) {
        section += "<p class=\"empty\">No scan and no ban in this while.</p>\n";
    } else {
        let is_long = report.timeline.len() as u64 * report.bar_seconds > 2 * 86_400;
        let _ = write!(
            section,
            "<p class=\"note\"><span class=\"key scans\"></span> scans <span class=\"key bans\"></span> bans, each bar {}</p>\n{}\n",
            span(report.bar_seconds),
            timeline(&report.timeline, is_long)
        );
    }
    section + "</section>\n"
}

fn section(
    title: &str,
    note: &str,
    counts: &[Count],
    beside: impl Fn(&str) -> &'static str,
    empty: &str,
) -> String {
    let body = if counts.is_empty() {
        format!("<p class=\"empty\">{empty}</p>")
    } else {
        format!("<p class=\"note\">{note}</p>\n{}", rows(counts, beside))
    };
    format!("<section>\n<h2>{title}</h2>\n{body}\n</section>\n")
}

fn doors(report: &Report) -> String {
    let mut section = String::from("<section>\n<h2>Doors</h2>\n");
    if report.doors.is_empty() {
        section += "<p class=\"empty\">Nobody knocked, and no door was opened.</p>\n";
    } else {
        section += "<table>\n<tr><th>door</th><th>opened</th><th>failed knocks</th></tr>\n";
        for door in &report.doors {
            let _ = writeln!(
                section,
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                html(&door.door),
                door.opened,
                door.failed
            );
        }
        section += "</table>\n";
    }
    section + "</section>\n"
}
