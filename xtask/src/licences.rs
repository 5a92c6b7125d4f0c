//! The licence of every crate that is linked or run at build time, against the list in `deny.toml`.
//!
//! `cargo deny` does this and more, but takes minutes to build; this small check runs on any machine, and
//! [`check`] runs `cargo deny` too where it is installed.

use std::collections::BTreeSet;
use std::fs;

use crate::program;

/// Checks the licences of all dependencies, of all targets and kinds.
///
/// # Errors
/// Naming each crate whose licence is not allowed, or what could not be read.
pub fn check() -> Result<(), String> {
    let path = program::workspace().join("deny.toml");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let allowed = allowed_in(&text).map_err(|why| format!("{}: {why}", path.display()))?;

    let mut tree = program::cargo(&["tree", "--locked", "--workspace", "--edges", "all", "--target", "all"]);
    let output = tree.args(["--prefix", "none", "--no-dedupe", "--format", "{p}\t{l}"]).output();
    let output = output.map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree failed:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    // Many lines name the same crate; cargo marks one that it doesn't unfold again.
    let printed = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<_> = printed.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    let refused: Vec<_> = crates
        .iter()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(_, licence)| !allows(&allowed, licence))
        .map(|(name, licence)| {
            format!("  {name}: {}", if licence.is_empty() { "none stated" } else { licence })
        })
        .collect();
    if !refused.is_empty() {
        return Err(format!("licences that deny.toml does not allow:\n{}", refused.join("\n")));
    }
    println!("{} crates, all under {}", crates.len(), allowed.iter().cloned().collect::<Vec<_>>().join(", "));

    if testbed::is_installed("cargo-deny") {
        program::succeed(&mut program::cargo(&["deny", "--all-features", "check"]))?;
    }
    Ok(())
}

fn allowed_in(deny: &str) -> Result<BTreeSet<String>, String> {
    let table: toml::Table = deny.parse().map_err(|error| format!("{error}"))?;
    let list =
        table.get("licenses").and_then(|licenses| licenses.get("allow")).and_then(toml::Value::as_array);
    let list = list.ok_or("[licenses] allow is missing")?;
    list.iter()
        .map(|name| {
            name.as_str().map(str::to_owned).ok_or("[licenses] allow holds something that is no text".into())
        })
        .collect()
}

/// Whether an SPDX licence expression can be met with the allowed licences. Crates older than SPDX write `A/B`
/// for `A OR B`.
///
/// What can't be read is not allowed; so is `X WITH Y` unless the list has it in these words.
fn allows(allowed: &BTreeSet<String>, expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allowed };
    reader.either().is_some_and(|met| met && reader.words.is_empty())
}

/// AND binds tighter than OR, WITH tighter than both (SPDX 2.3, Annex D).
struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl Reader<'_> {
    fn either(&mut self) -> Option<bool> {
        let mut met = self.both()?;
        while self.take("OR") {
            met |= self.both()?;
        }
        Some(met)
    }

    fn both(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.take("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let met = self.either()?;
            return self.take(")").then_some(met);
        }
        let mut name = self.next().filter(|word| !["AND", "OR", "WITH", ")"].contains(word))?.to_owned();
        if self.take("WITH") {
            name = format!("{name} WITH {}", self.next()?);
        }
        Some(self.allowed.contains(&name))
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.words.first() == Some(&word);
        if there {
            self.words = &self.words[1..];
        }
        there
    }

    fn next(&mut self) -> Option<&str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_allowed_if_the_list_can_meet_it() {
        let allowed = allowed_in("[licenses]\nallow = ['MIT', 'Apache-2.0', 'Unicode-3.0']").unwrap();
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("", false),
            ("MIT OR GPL-3.0-only", true),
            ("MIT AND GPL-3.0-only", false),
            ("MIT/Apache-2.0", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND CC0-1.0", false),
            ("GPL-2.0 OR MIT AND Unicode-3.0", true),
            ("GPL-2.0 AND MIT OR GPL-3.0-only", false),
            ("Apache-2.0 WITH LLVM-exception", false),
            ("Apache-2.0 WITH LLVM-exception OR MIT", true),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT Apache-2.0", false),
        ] {
            assert_eq!(allows(&allowed, expression), expected, "{expression}");
        }
    }

    #[test]
    fn a_deny_file_without_a_list_is_a_fault() {
        assert!(allowed_in("[licenses]").is_err());
        assert!(allowed_in("[licenses]\nallow = [1]").is_err());
    }
}
