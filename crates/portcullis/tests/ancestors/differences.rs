//! The one table of what ours does otherwise than PortSentry did, and why.

use std::collections::{BTreeMap, BTreeSet};

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
