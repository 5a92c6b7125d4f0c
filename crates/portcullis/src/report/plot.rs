//! Plots as inline SVG and as rows with bars: no script, nothing from elsewhere, and readable without colour.

use std::fmt::Write as _;

use super::local;
use crate::record::events::tally::{Bar, Count};

/// Units of the drawing; it is scaled to the width of the page.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 120.0;

/// Room for the numbers at the left, above and for the times below.
const LEFT: f64 = 30.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 18.0;

/// Text as it may stand in HTML, in an element or in an attribute.
pub(super) fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in crate::escape::Escaped(text).to_string().chars() {
        match letter {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            letter => safe.push(letter),
        }
    }
    safe
}

/// A round number that is not smaller.
fn round_up(most: u64) -> u64 {
    let mut step = 1u64;
    loop {
        for factor in [1, 2, 5] {
            if step.saturating_mul(factor) >= most {
                return step.saturating_mul(factor);
            }
        }
        step = step.saturating_mul(10);
        if step == u64::MAX {
            return most;
        }
    }
}

/// Scans over time as bars, bans as a dark part of them.
pub(super) fn timeline(bars: &[Bar], is_long: bool) -> String {
    let most = round_up(bars.iter().map(|bar| bar.scans.max(bar.bans)).max().unwrap_or(0).max(1));
    let (width, height) = (WIDTH - LEFT, HEIGHT - TOP - BOTTOM);
    let base = TOP + height;
    let step = width / bars.len().max(1) as f64;
    let scale = |count: u64| height * count as f64 / most as f64;
    let sum = |count: fn(&Bar) -> u64| bars.iter().map(count).sum::<u64>();
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} scans and {} bans over time\">",
        sum(|bar| bar.scans),
        sum(|bar| bar.bans)
    );
    // Writing to a String cannot fail.
    for (count, y) in [(most, TOP), (most / 2, TOP + height / 2.0), (0, base)] {
        if count == 0 && y < base {
            continue;
        }
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 4.0,
            y + 3.0,
            compact(count)
        );
    }
    let format = if is_long { "%m-%d" } else { "%H:%M" };
    let labels = 4.min(bars.len().max(1));
    for (place, bar) in bars.iter().enumerate() {
        let x = LEFT + step * place as f64;
        for (class, count) in [("scans", bar.scans), ("bans", bar.bans)] {
            if count > 0 {
                let (inset, width) =
                    if class == "bans" { (step * 0.3, step * 0.4) } else { (step * 0.1, step * 0.8) };
                // Where there is one it must be seen, however many there are elsewhere.
                let tall = scale(count).max(1.5);
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{:.2}\" y=\"{:.2}\" width=\"{width:.2}\" height=\"{tall:.2}\">\
                     <title>{}: {} scans, {} bans</title></rect>",
                    x + inset,
                    base - tall,
                    html(&local(&bar.time, "%m-%d %H:%M")),
                    bar.scans,
                    bar.bans
                );
            }
        }
        if place % bars.len().div_ceil(labels) == 0 {
            let _ = write!(
                svg,
                "<text class=\"axis\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                HEIGHT - 5.0,
                html(&local(&bar.time, format))
            );
        }
    }
    svg + "</svg>"
}

/// `1.2k`
fn compact(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{}k", count / 1000),
        _ => format!("{}M", count / 1_000_000),
    }
}

/// A list with a bar behind each row: the name, what is known of it, the number.
pub(super) fn rows(counts: &[Count], beside: impl Fn(&str) -> &'static str) -> String {
    let most = counts.iter().map(|own| own.count).max().unwrap_or(1).max(1);
    let mut list = String::from("<ol class=\"rows\">");
    for Count { name, count } in counts {
        let note = beside(name);
        let note = if note.is_empty() { String::new() } else { format!(" <small>{note}</small>") };
        let share = *count as f64 * 100.0 / most as f64;
        let _ = write!(
            list,
            "<li><svg class=\"share\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect width=\"{share:.1}\" height=\"1\"/></svg><span>{}{note}</span><b>{count}</b></li>",
            html(name)
        );
    }
    list + "</ol>"
}
