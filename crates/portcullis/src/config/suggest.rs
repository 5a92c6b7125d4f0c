//! "Did you mean": the nearest of the names that exist.

/// The one of `names` that is nearest to `written`, if any is near enough to be meant: at most one slip (a letter
/// too much, too few, wrong, or two swapped) for three letters.
pub(super) fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.chars().count() > 40 {
        return None;
    }
    let written = written.to_lowercase().replace('-', "_");
    let allowed = (written.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (slips(&written, &name.to_lowercase()), name))
        .filter(|(slips, name)| {
            let begins = written.len() >= 3 && name.to_lowercase().starts_with(&written);
            begins || (*slips <= allowed && *slips < name.chars().count())
        })
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

/// Optimal string alignment distance (Damerau 1964): insertions, deletions, substitutions and swaps of neighbours.
fn slips(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (index, row) in rows.iter_mut().enumerate() {
        row[0] = index;
    }
    for (index, cell) in rows[0].iter_mut().enumerate() {
        *cell = index;
    }
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let change = usize::from(left[i - 1] != right[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_suggested() {
        let names = ["interfaces", "tcp", "udp", "engine", "mode", "growth", "ban", "ban_max"];
        for (written, meant) in [
            ("interface", Some("interfaces")),
            ("inter", Some("interfaces")),
            ("ban-max", Some("ban_max")),
            ("mdoe", Some("mode")),
            ("Engine", Some("engine")),
            ("tpc", Some("tcp")),
            ("weather", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, names), meant, "{written}");
        }
        assert_eq!(nearest(&"a".repeat(100_000), names), None);
    }
}
