//! The one table of what ours does otherwise than PortSentry did, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

const TABLE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/ancestors/differences.toml"));

/// What ours does in some cells otherwise than was measured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Of the cases, each in each of the modes.
    pub tools: Vec<String>,
    pub modes: Vec<String>,
    /// A fault of PortSentry that is mended, or a rule of safety.
    pub reason: String,
    /// The ports of each type of alert; empty where ours sees nothing.
    pub ports: BTreeMap<String, BTreeSet<u16>>,
    /// Who is blocked.
    pub blocked: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    difference: Vec<Difference>,
}

/// All of them.
pub fn differences() -> Vec<Difference> {
    let table: Table = toml::from_str(TABLE).unwrap_or_else(|error| panic!("differences.toml: {error}"));
    table.difference
}

/// The one for a cell.
pub fn difference<'a>(table: &'a [Difference], tool: &str, mode: &str) -> Option<&'a Difference> {
    let named = |names: &[String], name: &str| names.iter().any(|one| one == name);
    table.iter().find(|entry| named(&entry.tools, tool) && named(&entry.modes, mode))
}

/// What is named in `docs/ancestors-flaws.md` is there: `file` or `file: function`, a further function of the same file
/// alone.
#[test]
fn every_fault_names_tests_that_are_there() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(program.join("../../docs/ancestors-flaws.md")).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut file, mut named) = (String::new(), 0);
    for word in text.split('`').skip(1).step_by(2) {
        let (path, function) = word.split_once(": ").unwrap_or((word, word));
        if path.ends_with(".rs") {
            let path = match path.strip_prefix("core ") {
                Some(path) => program.join("../portcullis-core").join(path),
                None => program.join(path),
            };
            file = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        let is_part = |byte: u8| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if function.contains('_') && function.bytes().all(is_part) {
            assert!(file.contains(&format!("fn {function}()")), "{word}");
            named += 1;
        }
    }
    assert!(named > 30, "only {named} were found");
}
