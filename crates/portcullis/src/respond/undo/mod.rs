//! What is known of well-known shell forms: what undoes them, and what they shut out.
//!
//! A block by a shell command is the administrator's; only where its inverse is certain do we undo it ourselves. So
//! everything here says no when in doubt: a form that is not known, an option that is not, a line that only a shell
//! understands. The cost of a wrong no is that a person has to undo it; of a wrong yes, a firewall with a hole.

mod blocks;
mod inverse;
mod opens;
#[cfg(test)]
mod tests;
mod words;

pub use self::blocks::{drops_incoming, is_ipv4_only, is_well_known_block};
pub use self::opens::{opened, undoes};

/// The command that undoes this one, which was run with its address already in it; `None` if that is not known.
///
/// Several commands, joined by `&&` or `;`, are undone in the opposite order, each of them whatever became of the one
/// before, and the status is 0 only if all succeeded. Undone is one run: who has run a command twice must run its
/// inverse twice.
#[must_use]
pub fn inverse(command: &str) -> Option<String> {
    let undone = inverses(command)?;
    match undone.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("failed=0; {} || failed=1; exit $failed", several.join(" || failed=1; "))),
    }
}

/// The same as single commands, in the order in which they are to be run.
#[must_use]
pub fn inverses(command: &str) -> Option<Vec<String>> {
    let undone = words::commands(command)?;
    let undone = undone.iter().rev();
    undone.map(|command| inverse::of(command).map(|words| words::line(&words))).collect()
}

/// Whether the last line that an inverse printed says that what it was to take away is not there (measured: iptables 1.8,
/// iproute2 6.1, net-tools 2.10, ipset 7.17). Then somebody has undone it before.
#[must_use]
pub fn is_gone_already(said: &str) -> bool {
    const SAYINGS: [&str; 6] = [
        "does a matching rule exist in that chain?",
        "RTNETLINK answers: No such process",
        "RTNETLINK answers: No such file or directory",
        "Error: FIB table does not exist.",
        "SIOCDELRT: No such process",
        "Element cannot be deleted from the set: it's not added",
    ];
    SAYINGS.iter().any(|saying| said.contains(saying))
}
