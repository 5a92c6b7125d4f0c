//! What was found, and how it is mended.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It may be wrong, or will be.
    Warning,
    /// It is wrong.
    Fault,
}

impl Grade {
    /// For people, and in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Grade::Ok => "ok",
            Grade::Warning => "warning",
            Grade::Fault => "fault",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad.
    pub grade: Grade,
    /// About what: `door ssh`, `configuration`, `mark`.
    #[serde(rename = "where")]
    pub place: String,
    /// For whom it was tried, at a door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
    /// What was found, one sentence without its full stop.
    pub what: String,
    /// Why that is so, or matters; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What to do, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mend: Vec<Step>,
}

/// One step of a mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Step {
    /// A line for our configuration.
    Configure {
        /// The table: `[door.ssh]`.
        table: String,
        /// The line.
        line: String,
    },
    /// A command, for root, as it stands.
    Run {
        /// The command.
        command: String,
    },
    /// A line for a file of somebody else, so that it outlives a restart.
    Keep {
        /// Which file, and where in it.
        file: String,
        /// The line.
        line: String,
    },
    /// A rule that honours a door's mark, where it is wanted.
    Rule {
        /// For whose firewall.
        firewall: String,
        /// How it is put in.
        command: String,
    },
    /// What only a person can do.
    Advice {
        /// What.
        text: String,
    },
}

impl Step {
    /// A command.
    pub fn run(command: impl Into<String>) -> Step {
        Step::Run { command: command.into() }
    }

    /// Advice.
    pub fn advice(text: impl Into<String>) -> Step {
        Step::Advice { text: text.into() }
    }

    /// On one line.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Step::Configure { table, line } => format!("in portcullis.toml, in {table}: {line}"),
            Step::Run { command } => command.clone(),
            Step::Rule { firewall, command } => format!("{firewall}: {command}"),
            Step::Keep { file, line } => format!("to keep it, in {file}: {line}"),
            Step::Advice { text } => text.clone(),
        }
    }
}

impl Finding {
    /// That something is as it should be.
    pub fn ok(place: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding::new(Grade::Ok, place, what)
    }

    /// With neither a reason nor a mend yet.
    pub fn new(grade: Grade, place: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding {
            grade,
            place: place.into(),
            guest: None,
            what: what.into(),
            why: String::new(),
            mend: Vec::new(),
        }
    }

    /// The same with its reason.
    #[must_use]
    pub fn because(self, why: impl Into<String>) -> Finding {
        Finding { why: why.into(), ..self }
    }

    /// The same with its mend.
    #[must_use]
    pub fn mended_by(self, mend: Vec<Step>) -> Finding {
        Finding { mend, ..self }
    }
}
