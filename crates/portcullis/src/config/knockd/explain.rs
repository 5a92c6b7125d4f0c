//! What a knockd.conf means, in plain words; never which ports open a door.

use std::fmt;

use serde::Serialize;

use super::super::doors::Flags;
use super::super::duration::Span;
use super::{Knock, KnockdConfig, KnockdDoor};
use crate::escape::printable;

/// One door in words. The field names are those of its JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoorExplained {
    /// Its name.
    pub name: String,
    /// What it means, a line each.
    pub says: Vec<String>,
}

/// Says what each door means.
#[must_use]
pub fn explain(config: &KnockdConfig) -> Vec<DoorExplained> {
    config.doors.iter().map(|door| DoorExplained { name: door.name.clone(), says: says(door) }).collect()
}

fn says(door: &KnockdDoor) -> Vec<String> {
    let timeout = Span(door.seq_timeout);
    let mut says = vec![match &door.knock {
        Knock::Sequence(steps) => {
            let plural = if steps.len() == 1 { "" } else { "s" };
            format!("knock: {} step{plural} within {timeout}", steps.len())
        }
        Knock::OneTime(path) => {
            format!("knock: the next sequence of {} within {timeout}", path.display())
        }
    }];
    says.push(match door.flags {
        Flags::ANY => "any TCP packet counts, whatever its flags".to_owned(),
        flags => format!("TCP packets count with {}", flags.written(", ")),
    });
    says.extend(door.target.map(|target| format!("at {target} instead of this host's addresses")));
    let six = |six: &Option<String>| match six.as_deref() {
        None => String::new(),
        Some("") => "; nothing for IPv6".to_owned(),
        Some(command) => format!("; for IPv6: {command}"),
    };
    match door.start.as_str() {
        "" if door.start_6.as_deref().is_none_or(str::is_empty) => {
            says.push("runs nothing; the log tells of it".to_owned());
        }
        command => says.push(format!("runs: {command}{}", six(&door.start_6))),
    }
    if !door.stop.is_empty() && (!door.start.is_empty() || door.start_6.is_some()) {
        says.push(format!("{} later: {}{}", Span(door.cmd_timeout), door.stop, six(&door.stop_6)));
    }
    says
}

impl fmt::Display for DoorExplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Door        {}", printable(&self.name))?;
        self.says.iter().try_for_each(|line| write!(f, "\n            {}", printable(line)))
    }
}
