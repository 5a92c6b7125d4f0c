//! What was measured, as lines of a table, and the few statistics that it takes.

use std::time::Duration;

/// Whether a figure is what was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Met,
    /// It is not; `docs/benchmarks.md` says why.
    Missed,
    /// Nothing was promised: it is told because it is worth knowing.
    Told,
}

impl Verdict {
    pub fn of(is_met: bool) -> Self {
        if is_met { Self::Met } else { Self::Missed }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "**missed**",
            Self::Told => "told",
        }
    }
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub what: String,
    pub target: String,
    pub guard: String,
    /// The same measured of the peer, or of the bare host; it says which.
    pub peer: String,
    pub ratio: String,
    pub verdict: Verdict,
}

impl Line {
    /// A line without target and peer.
    pub fn told(what: impl Into<String>, guard: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            target: String::new(),
            guard: guard.into(),
            peer: String::new(),
            ratio: String::new(),
            verdict: Verdict::Told,
        }
    }

    /// The same with a target, which is met or missed.
    pub fn target(self, target: &str, is_met: bool) -> Self {
        Self { target: target.to_owned(), verdict: Verdict::of(is_met), ..self }
    }

    /// The same with the peer's figure, and how many times better ours is.
    pub fn peer(self, peer: impl Into<String>, ratio: impl Into<String>) -> Self {
        Self { peer: peer.into(), ratio: ratio.into(), ..self }
    }
}

/// The lines of `met | FIGURE | PROMISE: TARGET` that an example printed; also `MISSED` and `told`, and whatever else it
/// printed is passed over.
///
/// # Errors
/// There is none.
pub fn promised(printed: &str) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for line in printed.lines() {
        let mut parts = line.splitn(3, " | ");
        let (Some(verdict), Some(figure), Some(promise)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (what, target) = promise.rsplit_once(": ").unwrap_or((promise, ""));
        lines.push(match verdict {
            "told" => Line::told(promise, figure),
            "met" | "MISSED" => Line::told(what, figure).target(target, verdict == "met"),
            _ => continue,
        });
    }
    if lines.is_empty() { Err(format!("there is nothing to read in:\n{printed}")) } else { Ok(lines) }
}

/// The lines as a table of Markdown, which reads well on a terminal too.
pub fn markdown(lines: &[Line]) -> String {
    let head = ["what", "target", "portcullis", "beside it", "ratio", ""].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(lines.iter().map(|line| {
        let verdict = line.verdict.word().to_owned();
        [&line.what, &line.target, &line.guard, &line.peer, &line.ratio, &verdict].map(String::clone)
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, &width) in row.iter().zip(&widths) {
            text += &format!("| {cell:<width$} ");
        }
        text += "|\n";
        if index == 0 {
            text += &widths.map(|width| format!("|{}", "-".repeat(width + 2))).concat();
            text += "|\n";
        }
    }
    text
}

/// The value below which this part (0.0 to 1.0) of the values lies; of an even number of values the upper median.
///
/// # Panics
/// If there are none.
pub fn quantile<T: Copy + PartialOrd>(values: &[T], part: f64) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|one, other| one.partial_cmp(other).expect("nothing measured is NaN"));
    let index = (sorted.len() as f64 * part) as usize;
    sorted[index.min(sorted.len() - 1)]
}

pub fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    quantile(values, 0.5)
}

/// A time with three digits or so.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 0.1 {
        format!("{:.2} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let hundred: Vec<u32> = (0..100).rev().collect();
        assert_eq!((median(&hundred), quantile(&hundred, 0.99), quantile(&hundred, 1.0)), (50, 99, 99));
        assert_eq!((median(&[3, 1, 2]), quantile(&[7], 0.99)), (2, 7));
    }

    #[test]
    fn the_table_is_markdown_in_columns() {
        let lines = [
            Line::told("idle", "3 ms"),
            Line::told("latency", "40 µs").target("0.1 ms", true).peer("2.60 ms", "65 ×"),
        ];
        let expected = "
| what    | target | portcullis | beside it | ratio |      |
|---------|--------|------------|-----------|-------|------|
| idle    |        | 3 ms       |           |       | told |
| latency | 0.1 ms | 40 µs      | 2.60 ms   | 65 ×  | met  |
";
        assert_eq!(format!("\n{}", markdown(&lines)), expected);
    }

    #[test]
    fn times_have_three_digits_or_so() {
        let said = [40, 2600, 150_000, 14_250_000].map(|micros| time(Duration::from_micros(micros)));
        assert_eq!(said, ["40 µs", "2.60 ms", "150 ms", "14.25 s"]);
    }
}
